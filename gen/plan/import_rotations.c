/*
 * What QuaRot, SpinQuant and auto-round share: stored rotations, one of the residual, and
 * Hadamard's transform of n = K 2^k as B (x) Sylvester, B the first of pinned_bases.def that fits.
 */
#include "import_impl.h"

#include <math.h>
#include <string.h>

static const struct {
	uint32_t order;
	const char *sha256;
} pinned[] = {
#define PINNED(order, sha256) {order, sha256},
#include "pinned_bases.def"
};

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

/* The base of a digest: by a construction, else stored; null after a diagnostic. */
static const Base *
pinned_base(const Import *x, uint32_t k, const char *sha256, ImportBases bases)
{
	static const Construction constructions[] = {BASE_PALEY1, BASE_PALEY2};
	const uint32_t parameters[] = {k - 1, k / 2 - 1};
	Arena *a = x->arena;
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
	const char *name = bases.name ? bases.name : arena_printf(a, "%u", k);
	const SafeTensor *t = bases.find(bases.from, name);
	const bool square = t && t->rank == 2 && t->shape[0] == k && t->shape[1] == k;
	for (uint32_t i = 0; square && i < k * k; i++) {
		const double e = safetensor_number(t, i);
		entries[i] = (int8_t)(e == 1 ? 1 : e == -1 ? -1 : 0);
	}
	const Base *b = square ? base_data(a, k, entries, &why) : NULL;
	if (has_digest(b, sha256))
		return b;
	import_refuse(x, t ? t->loc : x->m->loc,
		      t ? "the base matrix '%s' is another one than the tool's of order %u"
			: "the tensor '%s' is needed, the tool's base matrix of order %u",
		      name, k);
	diag_hint(x->d, "[%u, %u], row-major, as I8 of the digest %s", k, k, sha256);
	return NULL;
}

const Transform *
import_hadamard(const Import *x, uint32_t n, ImportBases bases)
{
	Arena *a = x->arena;
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
		base = pinned_base(x, k, pinned[i].sha256, bases);
	}
	if (!found)
		import_refuse(x, x->m->loc, "the tool has no Hadamard matrix of order %u", n);
	return base ? transform_hadamard(a, n, base, &why) : NULL;
}

/* ---- rotations ---------------------------------------------------------------------------- */

const Transform *
import_orthogonal(const Import *x, const SafeTensor *t, double factor)
{
	const uint32_t n = (uint32_t)t->shape[0];
	const char *why = "an element is NaN or infinite";
	bool finite = n <= TRANSFORM_MATRIX_MAX;
	double *m = finite ? ARENA_ARRAY(x->arena, double, (size_t)n *n) : NULL;
	for (uint32_t i = 0; i < n && finite; i++)
		for (uint32_t j = 0; j < n; j++) {
			const double e = safetensor_number(t, (uint64_t)i * n + j) * factor;
			m[(size_t)j * n + i] = e;
			finite &= isfinite(e);
		}
	const Transform *made = finite ? transform_recognise(x->arena, n, m, &why) : NULL;
	if (made && transform_facts(made).orthogonal)
		return made;
	import_refuse(x, t->loc, "tensor '%s' is not orthogonal%s%s", t->name, made ? "" : ": ",
		      made ? "" : why);
	return NULL;
}

bool
import_residual(Import *x, const Atom *r1, Loc loc)
{
	static const Module readers[] = {MODULE_Q,    MODULE_K,	 MODULE_V,
					 MODULE_GATE, MODULE_UP, MODULE_HEAD};
	static const Module makers[] = {MODULE_EMBED, MODULE_O, MODULE_DOWN};
	for (size_t i = 0; i < sizeof readers / sizeof *readers; i++)
		for (uint32_t l = 0; l < import_layers(x, readers[i]); l++)
			if (!import_apply(x, readers[i], SPOT_COLUMNS, l, r1, true, loc))
				return false;
	for (size_t i = 0; i < sizeof makers / sizeof *makers; i++)
		for (uint32_t l = 0; l < import_layers(x, makers[i]); l++)
			if (!import_apply(x, makers[i], SPOT_ROWS, l, r1, false, loc))
				return false;
	return true;
}
