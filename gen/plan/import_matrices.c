/*
 * Rotations that QuaRot and SpinQuant fold into a model, from safetensors files: the model itself
 * says nothing. In their words rows are x R; here a map is R^T. Both run H of the mlp's width in
 * front of down; QuaRot, which takes Hadamard matrices for R2, folds into o the one of all its
 * columns, H_heads (x) H_head, of which v brings the second factor and the first runs. H of n = K
 * 2^k is B (x) Sylvester, B the first of pinned_bases.def that fits.
 */
#include "import_impl.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const struct {
	uint32_t order;
	const char *sha256;
} pinned[] = {
#define PINNED(order, sha256) {order, sha256},
#include "pinned_bases.def"
};

typedef struct Matrices {
	Import *x;
	const ImportFiles *files;
	const SafeTensor *r1, *r2_all, **r2; /* r2 [n_layer] */
} Matrices;

/* ---- tensors ------------------------------------------------------------------------------ */

/* The tensor of a base matrix of this order; null: no file has it. */
static const SafeTensor *
find_base(const Matrices *s, uint32_t order)
{
	const char *name = arena_printf(s->x->arena, "%u", order);
	const SafeTensor *t = NULL;
	for (uint32_t i = 0; i < s->files->n && !t; i++)
		t = safetensors_find(s->files->files[i], name);
	return t;
}

static bool
take(const Matrices *s, const SafeTensor *t, uint32_t n, const SafeTensor **slot)
{
	if (*slot)
		return import_refuse(s->x, t->loc, "tensor '%s' comes twice", t->name);
	if (t->rank != 2 || t->shape[0] != n || t->shape[1] != n || data_types[t->type].whole)
		return import_refuse(s->x, t->loc, "tensor '%s' is %s, not [%u, %u] of floats",
				     t->name, safetensor_describe(s->x->arena, t), n, n);
	*slot = t;
	return true;
}

static bool
read_tensor(Matrices *s, const SafeTensor *t)
{
	const Model *m = s->x->m;
	char *end;
	const unsigned long order = strtoul(t->name, &end, 10);
	if (t->name[0] >= '1' && t->name[0] <= '9' && !*end && order <= BASE_ORDER_MAX) {
		if (t->type == DTYPE_I8 && t->rank == 2 && t->shape[0] == order &&
		    t->shape[1] == order)
			return true;
		return import_refuse(s->x, t->loc,
				     "tensor '%s' is %s, not a base matrix, I8 [%lu, %lu]", t->name,
				     safetensor_describe(s->x->arena, t), order, order);
	}
	if (!strcmp(t->name, "R1"))
		return take(s, t, m->hidden, &s->r1);
	if (!strcmp(t->name, "R2"))
		return take(s, t, m->head_dim, &s->r2_all);
	for (uint32_t l = 0; l < m->n_layer; l++)
		if (!strcmp(t->name, arena_printf(s->x->arena, "model.layers.%u.self_attn.R2", l)))
			return take(s, t, m->head_dim, &s->r2[l]);
	import_refuse(s->x, t->loc, "tensor '%s' is no rotation that Lathe understands", t->name);
	diag_hint(s->x->d, "R1, R2, model.layers.N.self_attn.R2, and base matrices by their order");
	return false;
}

/* ---- maps --------------------------------------------------------------------------------- */

static const Atom *
atom_new(const Matrices *s, const char *name, const Transform *t)
{
	Atom *a = ARENA_NEW(s->x->arena, Atom);
	*a = (Atom){.name = name,
		    .n = t->n,
		    .t = t,
		    .inverse = transform_inverse(s->x->arena, t),
		    .orthogonal = true};
	return a;
}

/* R^T of a stored R; null after a diagnostic. */
static const Atom *
stored_atom(const Matrices *s, const SafeTensor *t)
{
	const uint32_t n = (uint32_t)t->shape[0];
	double *m = ARENA_ARRAY(s->x->arena, double, (size_t)n *n);
	const char *why = "an element is NaN or infinite";
	bool finite = n <= TRANSFORM_MATRIX_MAX;
	for (uint32_t i = 0; i < n && finite; i++)
		for (uint32_t j = 0; j < n; j++) {
			m[(size_t)j * n + i] = safetensor_number(t, (uint64_t)i * n + j);
			finite &= isfinite(m[(size_t)j * n + i]);
		}
	const Transform *made = finite ? transform_recognise(s->x->arena, n, m, &why) : NULL;
	if (made && transform_facts(made).orthogonal)
		return atom_new(s, t->name, made);
	import_refuse(s->x, t->loc, "tensor '%s' is not orthogonal%s%s", t->name, made ? "" : ": ",
		      made ? "" : why);
	return NULL;
}

/*
 * Entries [k][k] of a base as the tools have it: Paley's first construction is transposed there, in
 * the second the two factors of the Kronecker product are swapped.
 */
static void
tools_order(const Base *b, int8_t *entries)
{
	const uint32_t k = b->order, half = k / 2;
	for (uint32_t i = 0; i < k; i++)
		for (uint32_t j = 0; j < k; j++)
			entries[i * k + j] = b->construction == BASE_PALEY1
						     ? b->entries[j * k + i]
						     : b->entries[(i % half * 2 + i / half) * k +
								  j % half * 2 + j / half];
}

static bool
has_digest(const Base *b, const char *sha256)
{
	char hex[65];
	if (b)
		sha256_hex(b->sha256, hex);
	return b && !strcmp(hex, sha256);
}

/* The base of a digest: by a construction, else of the files; null after a diagnostic. */
static const Base *
pinned_base(const Matrices *s, uint32_t k, const char *sha256)
{
	static const Construction constructions[] = {BASE_PALEY1, BASE_PALEY2};
	const uint32_t parameters[] = {k - 1, k / 2 - 1};
	Arena *a = s->x->arena;
	const char *why = NULL;
	int8_t *entries = ARENA_ARRAY(a, int8_t, (size_t)k * k);
	for (size_t i = 0; i < sizeof constructions / sizeof *constructions; i++) {
		const Base *b = base_make(a, constructions[i], parameters[i], &why);
		if (!b)
			continue;
		tools_order(b, entries);
		b = base_data(a, k, entries, &why);
		if (has_digest(b, sha256))
			return b;
	}
	const SafeTensor *t = find_base(s, k);
	const Base *b = t ? base_data(a, k, (const int8_t *)t->data, &why) : NULL;
	if (has_digest(b, sha256))
		return b;
	import_refuse(s->x, t ? t->loc : s->x->m->loc,
		      t ? "the base matrix '%u' is another one than the tool's"
			: "the tool's base matrix of order %u is needed, as tensor '%u'",
		      k, k);
	diag_hint(s->x->d, "I8 [%u, %u], row-major, of the digest %s", k, k, sha256);
	return NULL;
}

/* The tools' Hadamard transform of order n; null after a diagnostic. */
static const Transform *
tools_hadamard(const Matrices *s, uint32_t n)
{
	Arena *a = s->x->arena;
	const char *why = NULL;
	const Base *base = NULL;
	bool found = !(n & (n - 1));
	if (found)
		base = base_make(a, BASE_ONE, 1, &why);
	for (size_t i = 0; i < sizeof pinned / sizeof *pinned && !found; i++) {
		const uint32_t k = pinned[i].order, rest = n / k;
		if (n % k || (rest & (rest - 1)))
			continue;
		found = true;
		base = pinned_base(s, k, pinned[i].sha256);
	}
	if (!found)
		import_refuse(s->x, s->x->m->loc,
			      "QuaRot and SpinQuant have no Hadamard matrix of order %u", n);
	return base ? transform_hadamard(a, n, base, &why) : NULL;
}

/* ---- applying ----------------------------------------------------------------------------- */

static bool
apply(const Matrices *s, Module m, Spot spot, uint32_t l, const Atom *a, bool inverse)
{
	return import_apply(s->x, m, spot, l, a, inverse, s->x->m->loc);
}

static bool
apply_residual(const Matrices *s)
{
	static const Module readers[] = {MODULE_Q,    MODULE_K,	 MODULE_V,
					 MODULE_GATE, MODULE_UP, MODULE_HEAD};
	static const Module makers[] = {MODULE_EMBED, MODULE_O, MODULE_DOWN};
	const Atom *r1 = s->r1 ? stored_atom(s, s->r1) : NULL;
	for (size_t i = 0; r1 && i < sizeof readers / sizeof *readers; i++)
		for (uint32_t l = 0; l < import_layers(s->x, readers[i]); l++)
			if (!apply(s, readers[i], SPOT_COLUMNS, l, r1, true))
				return false;
	for (size_t i = 0; r1 && i < sizeof makers / sizeof *makers; i++)
		for (uint32_t l = 0; l < import_layers(s->x, makers[i]); l++)
			if (!apply(s, makers[i], SPOT_ROWS, l, r1, false))
				return false;
	return r1 || !s->r1;
}

static bool
apply_values(const Matrices *s, uint32_t l, const Atom *heads, const Atom *hadamard)
{
	const SafeTensor *t = s->r2[l] ? s->r2[l] : s->r2_all;
	const Atom *r2 = hadamard ? hadamard : t ? stored_atom(s, t) : NULL;
	if (t && !r2)
		return false;
	if (r2 && (!apply(s, MODULE_V, SPOT_ROWS, l, r2, false) ||
		   !apply(s, MODULE_O, SPOT_COLUMNS, l, r2, true)))
		return false;
	return !heads || (apply(s, MODULE_O, SPOT_COLUMNS, l, heads, true) &&
			  apply(s, MODULE_O, SPOT_INPUT, l, heads, false));
}

/* QuaRot's: of a head, and of the heads of a row of o; false after a diagnostic. */
static bool
quarot_atoms(const Matrices *s, const Atom **head, const Atom **heads)
{
	const Model *m = s->x->m;
	const char *why = NULL;
	const Transform *h = tools_hadamard(s, m->head_dim), *all = tools_hadamard(s, m->n_head);
	if (!h || !all)
		return false;
	const Transform *parts[] = {all, transform_identity(s->x->arena, m->head_dim)};
	all = transform_compose(s->x->arena, T_KRONECKER, parts, 2, &why);
	*head = atom_new(s, "H", h);
	*heads = atom_new(s, "H of heads", all);
	return true;
}

bool
import_matrices(Import *x, const ImportFiles *files)
{
	Matrices s = {.x = x, .files = files};
	const bool quarot = files->dialect && !strcmp(files->dialect, "quarot");
	const Atom *head = NULL, *heads = NULL;
	s.r2 = ARENA_ARRAY(x->arena, const SafeTensor *, x->m->n_layer);
	for (uint32_t i = 0; i < files->n; i++)
		for (uint32_t k = 0; k < files->files[i]->count; k++)
			if (!read_tensor(&s, &files->files[i]->tensors[k]))
				return false;
	const Transform *down = tools_hadamard(&s, x->m->inter);
	if (!down || (quarot && !quarot_atoms(&s, &head, &heads)) || !apply_residual(&s))
		return false;
	const Atom *h = atom_new(&s, "H", down);
	for (uint32_t l = 0; l < x->m->n_layer; l++) {
		if (quarot && (s.r2[l] || s.r2_all))
			return import_refuse(
				x, (s.r2[l] ? s.r2[l] : s.r2_all)->loc,
				"QuaRot has no R2 of its own, it takes a Hadamard matrix");
		if (!apply(&s, MODULE_DOWN, SPOT_COLUMNS, l, h, true) ||
		    !apply(&s, MODULE_DOWN, SPOT_INPUT, l, h, false) ||
		    !apply_values(&s, l, heads, head))
			return false;
	}
	return true;
}
