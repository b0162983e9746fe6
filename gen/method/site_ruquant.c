/*
 * RUQuant's composite (ruquant.md sections 2.3 to 2.7): one orthogonal matrix for all blocks of a
 * row, elements dealt by zigzag, another matrix, a reflection of the whole row. A matrix is a
 * product of steps, each of which sends the vector with the largest element to one of random
 * entries of like size: a reflection, then three times an order and turned pairs.
 *
 * The reflection's product of the vector and the row may be taken in front of all of it: H_v M =
 * M H_(M^T v). Behind, where it takes as many operations, weights in front of the site may take
 * the first matrix.
 */
#include "sites.h"

#include <math.h>
#include <string.h>

/* Rows that it is made of, spread over those of the site; vectors of a piece of work. */
enum { RUQUANT_TOKENS = 2048, RUQUANT_VECTORS = 2048, RUQUANT_TURNS = 3 };

/* A reflection by omega, or order[i] to i and then pairs turned by (cos, sin). */
typedef struct Step {
	uint32_t n;
	const double *omega; /* null: the others */
	double factor;	     /* 2 / omega.omega */
	const uint32_t *order;
	const double *turns; /* [n / 2][2] */
} Step;

typedef struct Worst {
	double size;
	size_t at;
} Worst;

/* A matrix at work on all blocks of the rows: vectors x [count][n], M by its columns m [n][n]. */
typedef struct Composite {
	const SiteProblem *p;
	uint32_t n;
	size_t count;
	double *x, *m;
	const Step *step; /* of the pass under way; null: only the largest element is wanted */
	Worst *worst;	  /* of each piece */
	uint64_t *seed;
} Composite;

static void
apply_step(const Step *s, double *v, double *work)
{
	if (s->omega) {
		double dot = 0.0;
		for (uint32_t i = 0; i < s->n; i++)
			dot += s->omega[i] * v[i];
		for (uint32_t i = 0; i < s->n; i++)
			v[i] -= s->factor * dot * s->omega[i];
		return;
	}
	for (uint32_t i = 0; i < s->n; i++)
		work[i] = v[s->order[i]];
	for (uint32_t i = 0; i + 1 < s->n; i += 2) {
		const double c = s->turns[i], d = s->turns[i + 1];
		v[i] = c * work[i] - d * work[i + 1];
		v[i + 1] = d * work[i] + c * work[i + 1];
	}
	if (s->n % 2)
		v[s->n - 1] = work[s->n - 1];
}

static void
pass_piece(void *arg, int piece)
{
	const Composite *k = arg;
	const size_t first = (size_t)piece * RUQUANT_VECTORS;
	Worst worst = {-1.0, 0};
	Arena *scratch = arena_new();
	double *work = ARENA_ARRAY(scratch, double, k->n);
	for (size_t c = first; c < first + RUQUANT_VECTORS && c < k->count; c++) {
		double *x = k->x + c * k->n;
		if (k->step)
			apply_step(k->step, x, work);
		for (uint32_t i = 0; i < k->n; i++)
			if (fabs(x[i]) > worst.size)
				worst = (Worst){fabs(x[i]), c};
	}
	k->worst[piece] = worst;
	arena_free(scratch);
}

/* The step on all vectors and on M; the vector that has the largest element then, the first of
 * equals. */
static const double *
pass(Composite *k, const Step *step)
{
	const size_t pieces = (k->count + RUQUANT_VECTORS - 1) / RUQUANT_VECTORS;
	Worst worst = {-1.0, 0};
	k->step = step;
	parallel_for(k->p->jobs, (int)pieces, pass_piece, k);
	for (size_t i = 0; i < pieces; i++)
		worst = k->worst[i].size > worst.size ? k->worst[i] : worst;
	if (step) {
		Arena *scratch = arena_new();
		double *work = ARENA_ARRAY(scratch, double, k->n);
		for (uint32_t i = 0; i < k->n; i++)
			apply_step(step, k->m + (size_t)i * k->n, work);
		arena_free(scratch);
	}
	return k->x + worst.at * k->n;
}

/* In [0, 1). */
static double
uniform(uint64_t *seed)
{
	return (double)(stage_random(seed) >> 11) * 0x1p-53;
}

/* u: random entries of the length of v; false: v is next to it already, or 0. */
static bool
reflection(uint64_t *seed, const double *v, uint32_t n, double *omega)
{
	double length = 0.0, drawn = 0.0, square = 0.0;
	for (uint32_t i = 0; i < n; i++) {
		omega[i] = uniform(seed);
		drawn += omega[i] * omega[i];
		length += v[i] * v[i];
	}
	for (uint32_t i = 0; i < n; i++) {
		omega[i] = v[i] - (drawn > 0.0 ? omega[i] * sqrt(length / drawn) : 0.0);
		square += omega[i] * omega[i];
	}
	return square > 1e-10 * length;
}

static void
random_order(uint64_t *seed, uint32_t n, uint32_t *order)
{
	for (uint32_t i = 0; i < n; i++) {
		const uint32_t k = (uint32_t)(uniform(seed) * (i + 1));
		order[i] = order[k];
		order[k] = i;
	}
}

/* Turns of the pairs of v in an order to the angles of random pairs; as released by their inverse,
 * which sends the random pairs to where v's are. */
static void
turns_of(uint64_t *seed, const double *v, const Step *s, bool released, double *turns)
{
	for (uint32_t i = 0; i + 1 < s->n; i += 2) {
		const double v0 = v[s->order[i]], v1 = v[s->order[i + 1]];
		const double u0 = uniform(seed), u1 = uniform(seed);
		const double length = sqrt((v0 * v0 + v1 * v1) * (u0 * u0 + u1 * u1));
		const double sine = length > 1e-12 ? (v0 * u1 - v1 * u0) / length : 0.0;
		turns[i] = length > 1e-12 ? (u0 * v0 + u1 * v1) / length : 1.0;
		turns[i + 1] = released ? -sine : sine;
	}
}

/* The matrix for the blocks of x as they are, which become what it makes of them. */
static const Transform *
composite(Arena *run, Composite *k, const char **why)
{
	const Recipe *r = k->p->recipe;
	const uint32_t n = k->n;
	Arena *scratch = arena_new();
	double *omega = ARENA_ARRAY(scratch, double, n), *turns = ARENA_ARRAY(scratch, double, n);
	double *rows = ARENA_ARRAY(scratch, double, (size_t)n *n);
	uint32_t *order = ARENA_ARRAY(scratch, uint32_t, n);
	k->m = ARENA_ARRAY(scratch, double, (size_t)n *n);
	for (uint32_t i = 0; i < n; i++)
		k->m[(size_t)i * n + i] = 1.0;
	const double *worst = pass(k, NULL);
	for (int step = 0; step < r->ruquant_steps; step++) {
		if (!reflection(k->seed, worst, n, omega))
			continue;
		Step s = {.n = n, .omega = omega};
		for (uint32_t i = 0; i < n; i++)
			s.factor += omega[i] * omega[i];
		s.factor = 2.0 / s.factor;
		worst = pass(k, &s);
		for (int turn = 0; turn < RUQUANT_TURNS; turn++) {
			s = (Step){.n = n, .order = order, .turns = turns};
			random_order(k->seed, n, order);
			turns_of(k->seed, worst, &s, r->ruquant_givens, turns);
			worst = pass(k, &s);
		}
	}
	for (uint32_t i = 0; i < n; i++)
		for (uint32_t j = 0; j < n; j++)
			rows[(size_t)j * n + i] = k->m[(size_t)i * n + j];
	const Transform *t = transform_matrix(run, T_ORTHOGONAL, n, rows, why);
	arena_free(scratch);
	return t && n < k->p->n ? transform_block(run, t, k->p->n, why) : t;
}

/* Elements dealt to blocks by the size that the matrix in front left them. */
static const Transform *
deal(Arena *run, const Composite *k, size_t tokens, const char **why)
{
	const uint32_t n = k->p->n;
	Arena *scratch = arena_new();
	float *peak = ARENA_ARRAY(scratch, float, n);
	double *row = ARENA_ARRAY(scratch, double, n);
	uint32_t *perm = ARENA_ARRAY(scratch, uint32_t, n);
	for (size_t i = 0; i < tokens * n; i++)
		peak[i % n] = fmaxf(peak[i % n], (float)fabs(k->x[i]));
	stage_zigzag(scratch, peak, n, k->n, perm);
	for (size_t t = 0; t < tokens; t++) {
		memcpy(row, k->x + t * n, n * sizeof *row);
		for (uint32_t i = 0; i < n; i++)
			k->x[t * n + i] = row[perm[i]];
	}
	const Transform *t = transform_perm(run, n, perm, why);
	arena_free(scratch);
	return t;
}

/* The reflection of the whole row, by the row with the largest element; null without *why where it
 * does nothing. */
static const Transform *
reflect_rows(Arena *run, Composite *k, size_t tokens, const char **why)
{
	const uint32_t n = k->p->n;
	Arena *scratch = arena_new();
	double *omega = ARENA_ARRAY(scratch, double, n);
	const size_t at = (size_t)(pass(k, NULL) - k->x) / n;
	INVARIANT(at < tokens);
	const Transform *t = reflection(k->seed, k->x + at * n, n, omega)
				     ? transform_vector(run, T_HOUSEHOLDER, n, omega, why)
				     : NULL;
	arena_free(scratch);
	return t;
}

/* ---- reflections again ---------------------------------------------------------------------- */

/* Factors of a product, the last one applied first; products in it taken apart. */
enum { FACTORS_MAX = 16 };

static void
take_factors(const Transform *t, const Transform **factors, uint32_t *count)
{
	if (t->kind != T_PRODUCT) {
		INVARIANT(*count < FACTORS_MAX);
		factors[(*count)++] = t;
		return;
	}
	for (uint32_t i = 0; i < t->n_children; i++)
		take_factors(t->children[i], factors, count);
}

/* Which factor is the reflection; their count: none. */
static uint32_t
reflection_of(const Transform *t, const Transform **factors, uint32_t *count)
{
	uint32_t at = 0;
	*count = 0;
	if (t)
		take_factors(t, factors, count);
	while (at < *count && factors[at]->kind != T_HOUSEHOLDER)
		at++;
	return at;
}

bool
ruquant_reflection(Arena *scratch, const Transform *t, double *v)
{
	const Transform *factors[FACTORS_MAX];
	uint32_t count, at = reflection_of(t, factors, &count);
	if (at == count)
		return false;
	memcpy(v, factors[at]->vector, t->n * sizeof *v);
	double *work = ARENA_ARRAY(scratch, double, t->n);
	while (at-- > 0)
		transform_apply(factors[at], v, work);
	return true;
}

const Transform *
ruquant_moved(Arena *run, const Transform *t, const double *v, const char **why)
{
	const Transform *factors[FACTORS_MAX];
	uint32_t count;
	const uint32_t at = reflection_of(t, factors, &count);
	INVARIANT(at < count);
	Arena *scratch = arena_new();
	double *a = ARENA_ARRAY(scratch, double, 2 * (size_t)t->n);
	memcpy(a, v, t->n * sizeof *a);
	for (uint32_t i = 0; i < at; i++)
		transform_apply(transform_transpose(scratch, factors[i]), a, a + t->n);
	factors[at] = transform_vector(run, T_HOUSEHOLDER, t->n, a, why);
	arena_free(scratch);
	return factors[at] ? transform_compose(run, T_PRODUCT, factors, count, why) : NULL;
}

const Transform *
site_ruquant(Arena *run, const SiteProblem *p, const char **why)
{
	const size_t stride = (p->tokens + RUQUANT_TOKENS - 1) / RUQUANT_TOKENS;
	const size_t tokens = (p->tokens + stride - 1) / stride;
	const Transform *blocks[3], *all[4], *reflection = NULL;
	uint64_t seed = p->seed;
	uint32_t count = 0, n = 0;
	Arena *scratch = arena_new();
	Composite k = {.p = p, .n = site_divisor(p->recipe, p->n), .seed = &seed};
	k.count = tokens * (p->n / k.n);
	k.x = ARENA_ARRAY(scratch, double, tokens * p->n);
	k.worst = ARENA_ARRAY(scratch, Worst, (k.count + RUQUANT_VECTORS - 1) / RUQUANT_VECTORS);
	for (size_t t = 0; t < tokens; t++)
		for (uint32_t i = 0; i < p->n; i++)
			k.x[t * p->n + i] = (double)p->x[t * stride * p->n + i];
	*why = NULL;
	blocks[count++] = composite(run, &k, why);
	if (k.n < p->n && !*why)
		blocks[count++] = deal(run, &k, tokens, why);
	if (k.n < p->n && !*why)
		blocks[count++] = composite(run, &k, why);
	if (p->recipe->ruquant_reflect != REFLECT_NONE && !*why)
		reflection = reflect_rows(run, &k, tokens, why);
	arena_free(scratch);
	if (*why)
		return NULL;
	const bool front = p->recipe->ruquant_reflect == REFLECT_FRONT;
	if (reflection && !front)
		all[n++] = reflection;
	for (uint32_t i = count; i-- > 0;)
		all[n++] = blocks[i];
	if (reflection && front)
		all[n++] = reflection;
	const Transform *t = transform_compose(run, T_PRODUCT, all, n, why);
	return t && reflection && front ? ruquant_moved(run, t, reflection->vector, why) : t;
}
