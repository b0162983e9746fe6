/*
 * Rotations that QuaRot and SpinQuant fold into a model, from safetensors files: the model itself
 * says nothing. In their words rows are x R; here a map is R^T. Both run H of the mlp's width in
 * front of down; QuaRot, which takes Hadamard matrices for R2, folds into o the one of all its
 * columns, H_heads (x) H_head, of which v brings the second factor and the first runs.
 */
#include "import_impl.h"

#include <stdlib.h>
#include <string.h>

typedef struct Matrices {
	Import *x;
	const ImportFiles *files;
	const SafeTensor *r1, *r2_all, **r2; /* r2 [n_layer] */
} Matrices;

/* ---- tensors ------------------------------------------------------------------------------ */

/* The tensor of a name; null: no file has it. */
static const SafeTensor *
find_base(const void *from, const char *name)
{
	const Matrices *s = from;
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
	const Transform *made = import_orthogonal(s->x, t, 1);
	return made ? atom_new(s, t->name, made) : NULL;
}

static const Transform *
tools_hadamard(const Matrices *s, uint32_t n)
{
	return import_hadamard(s->x, n, (ImportBases){find_base, s, NULL});
}

/* ---- applying ----------------------------------------------------------------------------- */

static bool
apply(const Matrices *s, Module m, Spot spot, uint32_t l, const Atom *a, bool inverse)
{
	return import_apply(s->x, m, spot, l, a, inverse, s->x->m->loc);
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
	if (!down || (quarot && !quarot_atoms(&s, &head, &heads)))
		return false;
	const Atom *r1 = s.r1 ? stored_atom(&s, s.r1) : NULL;
	if (s.r1 && (!r1 || !import_residual(x, r1, x->m->loc)))
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
