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
#include <stdlib.h>
#include <string.h>

#include "ir/wide.h"

/* Rows that it is made of, spread over those of the site; vectors that are worked on side by side.
 */
enum { RUQUANT_TOKENS = 2048, RUQUANT_PANEL = 64, RUQUANT_TURNS = 3 };

/* A reflection by omega, or order[i] to i and then pairs turned by (cos, sin). */
typedef struct Step {
	const double *omega; /* null: the others */
	double factor;	     /* 2 / omega.omega */
	const uint32_t *order;
	const double *turns; /* [n / 2][2] */
} Step;

typedef struct Worst {
	double size;
	size_t at;
} Worst;

/*
 * A matrix at work on all blocks of the rows: vectors x [count][n]. While it is made they lie in
 * panels [n][RUQUANT_PANEL], the columns of M in panels behind them, and element i is row at[i] of
 * a panel: an order moves no numbers.
 */
typedef struct Composite {
	const SiteProblem *p;
	uint32_t n;
	size_t count, of_x, of_m; /* vectors; panels */
	double *x, *panels;
	uint32_t *at;
	const Step *step; /* of the pass under way; null: only the largest element is wanted */
	Worst *worst;	  /* of each panel */
	uint64_t *seed;
} Composite;

/* x += a y, rows of panels. */
WIDE_BODY void
add_row_body(double *restrict x, double a, const double *restrict y)
{
	for (int j = 0; j < RUQUANT_PANEL; j++)
		x[j] += a * y[j];
}

/* A step on a panel. */
WIDE_BODY void
apply_step_body(const Step *s, uint32_t n, const uint32_t *at, double *panel)
{
	if (s->omega) {
		double dot[RUQUANT_PANEL] = {0};
		for (uint32_t i = 0; i < n; i++)
			add_row_body(dot, s->omega[i], panel + (size_t)at[i] * RUQUANT_PANEL);
		for (uint32_t i = 0; i < n; i++)
			add_row_body(panel + (size_t)at[i] * RUQUANT_PANEL,
				     -s->factor * s->omega[i], dot);
		return;
	}
	for (uint32_t i = 0; i + 1 < n; i += 2) {
		const double c = s->turns[i], d = s->turns[i + 1];
		double *restrict x = panel + (size_t)at[i] * RUQUANT_PANEL;
		double *restrict y = panel + (size_t)at[i + 1] * RUQUANT_PANEL;
		for (int j = 0; j < RUQUANT_PANEL; j++) {
			const double u = x[j], v = y[j];
			x[j] = c * u - d * v;
			y[j] = d * u + c * v;
		}
	}
}
WIDE(static, apply_step, (const Step *s, uint32_t n, const uint32_t *at, double *panel),
     (s, n, at, panel))

typedef double PanelLanes __attribute__((vector_size(WIDE_BYTES), aligned(8), may_alias));
typedef int64_t PanelBits __attribute__((vector_size(WIDE_BYTES)));

/* Of each vector of a panel the largest size, as the bits of a double, which are in its order. */
WIDE_BODY void
panel_sizes_body(uint32_t n, const double *panel, int64_t *most)
{
	enum { LANES = WIDE_BYTES / sizeof(double), GROUPS = RUQUANT_PANEL / LANES };
	PanelBits all[GROUPS];
	memset(all, 0, sizeof all);
	for (uint32_t i = 0; i < n; i++, panel += RUQUANT_PANEL)
		for (int g = 0; g < GROUPS; g++) {
			const PanelLanes v = *(const PanelLanes *)(const void *)(panel + g * LANES);
			const PanelBits b = (PanelBits)v & INT64_MAX, more = b > all[g];
			all[g] = (b & more) | (all[g] & ~more);
		}
	memcpy(most, all, sizeof all);
}
WIDE(static, panel_sizes, (uint32_t n, const double *panel, int64_t *most), (n, panel, most))

static void
pass_panel(void *arg, int panel)
{
	const Composite *k = arg;
	double *x = k->panels + (size_t)panel * k->n * RUQUANT_PANEL;
	int64_t most[RUQUANT_PANEL];
	int at = 0;
	if (k->step)
		apply_step(k->step, k->n, k->at, x);
	if ((size_t)panel >= k->of_x)
		return;
	panel_sizes(k->n, x, most);
	for (int j = 1; j < RUQUANT_PANEL; j++)
		at = most[j] > most[at] ? j : at;
	k->worst[panel].at = (size_t)panel * RUQUANT_PANEL + (size_t)at;
	memcpy(&k->worst[panel].size, &most[at], sizeof most[at]);
}

/* Vector c of the panels: its elements are RUQUANT_PANEL apart. */
static double *
vector_at(const Composite *k, size_t c)
{
	return k->panels + c / RUQUANT_PANEL * k->n * RUQUANT_PANEL + c % RUQUANT_PANEL;
}

static void
vector_of(const Composite *k, size_t c, double *v)
{
	const double *x = vector_at(k, c);
	for (uint32_t i = 0; i < k->n; i++)
		v[i] = x[(size_t)k->at[i] * RUQUANT_PANEL];
}

/* The step on all vectors and on M; v becomes the vector that has the largest element then, the
 * first of equals. */
static void
pass(Composite *k, const Step *step, double *v)
{
	Worst worst = {-1.0, 0};
	k->step = step;
	if (step && step->order) {
		uint32_t *before = take_memory(k->n * sizeof *before);
		memcpy(before, k->at, k->n * sizeof *before);
		for (uint32_t i = 0; i < k->n; i++)
			k->at[i] = before[step->order[i]];
		free(before);
	}
	parallel_for(k->p->jobs, (int)(k->of_x + k->of_m), pass_panel, k);
	for (size_t i = 0; i < k->of_x; i++)
		worst = k->worst[i].size > worst.size ? k->worst[i] : worst;
	vector_of(k, worst.at, v);
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
turns_of(uint64_t *seed, const double *v, uint32_t n, const uint32_t *order, bool released,
	 double *turns)
{
	for (uint32_t i = 0; i + 1 < n; i += 2) {
		const double v0 = v[order[i]], v1 = v[order[i + 1]];
		const double u0 = uniform(seed), u1 = uniform(seed);
		const double length = sqrt((v0 * v0 + v1 * v1) * (u0 * u0 + u1 * u1));
		const double sine = length > 1e-12 ? (v0 * u1 - v1 * u0) / length : 0.0;
		turns[i] = length > 1e-12 ? (u0 * v0 + u1 * v1) / length : 1.0;
		turns[i + 1] = released ? -sine : sine;
	}
}

/* Panels of x and of M = I. */
static void
panels_open(Arena *scratch, Composite *k)
{
	const size_t n = k->n;
	k->of_x = (k->count + RUQUANT_PANEL - 1) / RUQUANT_PANEL;
	k->of_m = (n + RUQUANT_PANEL - 1) / RUQUANT_PANEL;
	k->panels = ARENA_ARRAY(scratch, double, (k->of_x + k->of_m) * n * RUQUANT_PANEL);
	k->worst = ARENA_ARRAY(scratch, Worst, k->of_x);
	k->at = ARENA_ARRAY(scratch, uint32_t, n);
	for (uint32_t i = 0; i < n; i++)
		k->at[i] = i;
	for (size_t c = 0; c < k->count; c++)
		for (size_t i = 0; i < n; i++)
			vector_at(k, c)[i * RUQUANT_PANEL] = k->x[c * n + i];
	for (size_t j = 0; j < n; j++)
		vector_at(k, k->of_x * RUQUANT_PANEL + j)[j * RUQUANT_PANEL] = 1.0;
}

/* The matrix for the blocks of x as they are, which become what it makes of them. */
static const Transform *
composite(Arena *run, Composite *k, const char **why)
{
	const Recipe *r = k->p->recipe;
	const uint32_t n = k->n;
	Arena *scratch = arena_new();
	double *omega = ARENA_ARRAY(scratch, double, n), *turns = ARENA_ARRAY(scratch, double, n);
	double *worst = ARENA_ARRAY(scratch, double, n);
	double *rows = ARENA_ARRAY(scratch, double, (size_t)n *n);
	uint32_t *order = ARENA_ARRAY(scratch, uint32_t, n);
	panels_open(scratch, k);
	pass(k, NULL, worst);
	for (int step = 0; step < r->ruquant_steps; step++) {
		if (!reflection(k->seed, worst, n, omega))
			continue;
		Step s = {.omega = omega};
		for (uint32_t i = 0; i < n; i++)
			s.factor += omega[i] * omega[i];
		s.factor = 2.0 / s.factor;
		pass(k, &s, worst);
		for (int turn = 0; turn < RUQUANT_TURNS; turn++) {
			random_order(k->seed, n, order);
			turns_of(k->seed, worst, n, order, r->ruquant_givens, turns);
			pass(k, &(Step){.order = order, .turns = turns}, worst);
		}
	}
	for (size_t c = 0; c < k->count; c++)
		vector_of(k, c, k->x + c * n);
	for (uint32_t j = 0; j < n; j++) {
		vector_of(k, k->of_x * RUQUANT_PANEL + j, worst);
		for (uint32_t i = 0; i < n; i++)
			rows[(size_t)i * n + j] = worst[i];
	}
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
reflect_rows(Arena *run, const Composite *k, size_t tokens, const char **why)
{
	const uint32_t n = k->p->n;
	Arena *scratch = arena_new();
	double *omega = ARENA_ARRAY(scratch, double, n), most = -1.0;
	size_t at = 0;
	for (size_t i = 0; i < tokens * n; i++)
		if (fabs(k->x[i]) > most) {
			most = fabs(k->x[i]);
			at = i / n;
		}
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
