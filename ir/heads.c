#include "heads.h"

#include <math.h>
#include <string.h>

/* An expression that its parts make legal. */
static const Transform *
made(const Transform *t, const char *why)
{
	if (!t)
		BUG("no transform: %s", why);
	return t;
}

static const Transform *
compose(Arena *a, TransformKind kind, const Transform *const *children, uint32_t count)
{
	const char *why = NULL;
	return count == 1 ? children[0]
			  : made(transform_compose(a, kind, children, count, &why), why);
}

const Transform *
transform_after(Arena *a, const Transform *after, const Transform *before)
{
	const Transform *both[] = {after, before};
	const Transform *t = after && before ? compose(a, T_PRODUCT, both, 2)
			     : after	     ? after
					     : before;
	if (!t)
		return NULL;
	t = transform_normalise(a, t);
	return transform_facts(t).identity ? NULL : t;
}

/* ---- one run ------------------------------------------------------------------------------ */

/* The block by its numbers, for kinds whose structure says nothing about runs. */
static const Transform *
run_dense(Arena *a, const Transform *t, uint32_t d, uint32_t at)
{
	Arena *scratch = arena_new();
	const size_t n = t->n;
	const char *why = NULL;
	double *whole = ARENA_ARRAY(scratch, double, n *n);
	double *block = ARENA_ARRAY(scratch, double, (size_t)d *d);
	bool apart = true;
	transform_dense(t, whole);
	for (size_t i = at; i < at + d; i++)
		for (size_t j = 0; j < n; j++) {
			if (j >= at && j < at + d)
				block[(i - at) * d + (j - at)] = whole[i * n + j];
			else
				apart = apart && fabs(whole[i * n + j]) < 1e-14;
		}
	const Transform *r = NULL;
	if (apart)
		r = made(transform_matrix(a,
					  transform_facts(t).orthogonal ? T_ORTHOGONAL : T_MATRIX,
					  d, block, &why),
			 why);
	arena_free(scratch);
	return r;
}

static const Transform *
run_perm(Arena *a, const Transform *t, uint32_t d, uint32_t at)
{
	const char *why = NULL;
	uint32_t *perm = ARENA_ARRAY(a, uint32_t, d);
	for (uint32_t i = 0; i < d; i++) {
		if (t->perm[at + i] < at || t->perm[at + i] >= at + d)
			return NULL;
		perm[i] = t->perm[at + i] - at;
	}
	return made(transform_perm(a, d, perm, &why), why);
}

static const Transform *
run_product(Arena *a, const Transform *t, uint32_t d, uint32_t at)
{
	const Transform **children = ARENA_ARRAY(a, const Transform *, t->n_children);
	for (uint32_t i = 0; i < t->n_children; i++) {
		children[i] = heads_run(a, t->children[i], t->n / d, at / d);
		if (!children[i])
			return run_dense(a, t, d, at);
	}
	return compose(a, T_PRODUCT, children, t->n_children);
}

/* Children that lie in the run, or the run of a child in which it lies. */
static const Transform *
run_sum(Arena *a, const Transform *t, uint32_t d, uint32_t at)
{
	const Transform **inside = ARENA_ARRAY(a, const Transform *, t->n_children);
	uint32_t start = 0, count = 0, covered = 0;
	for (uint32_t i = 0; i < t->n_children; start += t->children[i++]->n) {
		const Transform *c = t->children[i];
		if (start <= at && at + d <= start + c->n && c->n > d && (at - start) % d == 0 &&
		    c->n % d == 0)
			return heads_run(a, c, c->n / d, (at - start) / d);
		if (start < at || start + c->n > at + d)
			continue;
		inside[count++] = c;
		covered += c->n;
	}
	return covered == d ? compose(a, T_SUM, inside, count) : run_dense(a, t, d, at);
}

const Transform *
heads_run(Arena *a, const Transform *t, uint32_t heads, uint32_t h)
{
	const char *why = NULL;
	INVARIANT(heads > 0 && h < heads && t->n % heads == 0 && t->n == t->n_out);
	const uint32_t d = t->n / heads, at = h * d;
	if (heads == 1)
		return t;
	switch ((TransformKind)t->kind) {
	case T_IDENTITY:
		return transform_identity(a, d);
	case T_SCALAR:
		return made(transform_scalar(a, d, t->scalar, &why), why);
	case T_SIGNS:
	case T_DIAGONAL:
		return made(transform_vector(a, (TransformKind)t->kind, d, t->vector + at, &why),
			    why);
	case T_PERM:
		return run_perm(a, t, d, at);
	case T_BLOCK:
		if (d % t->children[0]->n == 0)
			return d == t->children[0]->n
				       ? t->children[0]
				       : made(transform_block(a, t->children[0], d, &why), why);
		return run_dense(a, t, d, at);
	case T_PRODUCT:
		return run_product(a, t, d, at);
	case T_SUM:
		return run_sum(a, t, d, at);
	default:
		return run_dense(a, t, d, at);
	}
}

/* ---- all runs ----------------------------------------------------------------------------- */

const Transform *
heads_repeat(Arena *a, const Transform *t, uint32_t heads)
{
	const char *why = NULL;
	return heads == 1 ? t : made(transform_block(a, t, t->n * heads, &why), why);
}

/* The direct sum, as a block where all runs are the same. */
static const Transform *
join(Arena *a, const Transform *const *runs, uint32_t heads)
{
	bool same = true;
	for (uint32_t h = 1; h < heads; h++)
		same = same && (runs[h] == runs[0] || transform_equal(runs[h], runs[0]));
	return same ? heads_repeat(a, runs[0], heads) : compose(a, T_SUM, runs, heads);
}

const Transform *
heads_spread(Arena *a, const Transform *t, uint32_t kv_heads, uint32_t heads)
{
	const Transform **runs = ARENA_ARRAY(a, const Transform *, heads);
	const uint32_t group = heads / kv_heads;
	for (uint32_t h = 0; h < heads; h++) {
		runs[h] = h % group ? runs[h - 1] : heads_run(a, t, kv_heads, h / group);
		if (!runs[h])
			return NULL;
	}
	return join(a, runs, heads);
}

const Transform *
heads_gather(Arena *a, const Transform *t, uint32_t heads, uint32_t kv_heads)
{
	const Transform **runs = ARENA_ARRAY(a, const Transform *, kv_heads);
	const uint32_t group = heads / kv_heads;
	if (t->n != t->n_out)
		return NULL;
	for (uint32_t h = 0; h < heads; h++) {
		const Transform *run = heads_run(a, t, heads, h);
		if (!run ||
		    (h % group && run != runs[h / group] && !transform_equal(run, runs[h / group])))
			return NULL;
		if (h % group == 0)
			runs[h / group] = run;
	}
	return join(a, runs, kv_heads);
}

static bool
run_commutes_with_rope(const Transform *t, double *m)
{
	const size_t d = t->n, half = d / 2;
	transform_dense(t, m);
	for (size_t i = 0; i < half; i++) {
		const double *low = m + i * d, *high = m + (i + half) * d;
		for (size_t j = 0; j < d; j++)
			if (j % half != i && (fabs(low[j]) > 1e-15 || fabs(high[j]) > 1e-15))
				return false;
		if (fabs(low[i] - high[i + half]) > 1e-15 || fabs(low[i + half] + high[i]) > 1e-15)
			return false;
	}
	return true;
}

bool
heads_commute_with_rope(Arena *a, const Transform *t, uint32_t heads)
{
	Arena *scratch = arena_new();
	const size_t d = t->n / heads;
	double *m = ARENA_ARRAY(scratch, double, d *d);
	const Transform *before = NULL;
	bool ok = d % 2 == 0;
	for (uint32_t h = 0; h < heads && ok; h++) {
		const Transform *run = heads_run(a, t, heads, h);
		ok = run && (run == before || run_commutes_with_rope(run, m));
		before = run;
	}
	arena_free(scratch);
	return ok;
}
