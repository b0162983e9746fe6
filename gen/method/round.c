/* From a matrix and its moments to codes: what is common to all rows, then rows in parallel. */
#include "round.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "order.h"
#include "round_impl.h"

enum { DAMP_TRIES = 4, POWER_STEPS = 30 };

const char *
rounding_fault(Arena *a, const Rounding *r, Format f)
{
	if (format_is_float(f))
		return "floats are not rounded to codes";
	if (f.minimum)
		return "recipes give groups zero points, not minima";
	if (f.zero == ZERO_REAL)
		return "zero points of weights are whole numbers in recipes";
	if (f.per_tensor)
		return "one scale for a tensor is no rule's";
	if (f.ternary && f.zero)
		return "ternary codes have no zero points";
	if (f.ternary ? f.bits != 2 : f.trits)
		return "ternary codes have two bits, or are five to a byte";
	if (f.trits && f.group % 5)
		return arena_printf(a, "groups of %u do not divide into bytes of five trits",
				    f.group);
	if (r->groups == GROUPS_AS_ROUNDED && r->order == ORDER_STATIC && f.group)
		return "columns of many groups take turns: scales cannot wait for the first one";
	if (r->groups == GROUPS_AS_ROUNDED && r->round == ROUND_RTN)
		return "rounding to nearest corrects nothing that a scale could wait for";
	if (r->curvature == CURVATURE_PIVOT && r->round == ROUND_RTN)
		return "pivots are those of error correction, which rounding to nearest has not";
	if (r->groups == GROUPS_IN_TURN && r->curvature != CURVATURE_DENSE)
		return "what the others leave to a group in turn only a dense curvature says";
	if (r->scale == SCALE_E2M && !f.ternary)
		return "e2m parts weights into three, and their format is not ternary";
	if (r->clip != 0.0 && r->scale != SCALE_ABSMAX)
		return "weights.clip is of scales by the largest weight: other rules look for "
		       "theirs";
	if (r->scale == SCALE_MSE && r->mse_steps < 1)
		return arena_printf(a, "%d steps of a search", r->mse_steps);
	if (!(r->damp >= 0.0 && r->damp <= 1.0))
		return "the damping is a share of diag H, between 0 and 1";
	if (!(r->hold >= 0.0 && r->hold <= 100.0))
		return "what holds targets is a share of diag H, between 0 and 100";
	return NULL;
}

/* ---- the order of columns ------------------------------------------------------------------- */

static double
moment(const RoundProblem *p, uint32_t i, uint32_t j)
{
	return p->h ? p->h[(size_t)i * p->columns + j] : i == j ? 1.0 : 0.0;
}

static void
order_columns(Arena *a, RoundWork *k)
{
	const ColumnOrder order = k->p->how->round == ROUND_RTN ? ORDER_NONE : k->p->how->order;
	Ranked *columns = ARENA_ARRAY(a, Ranked, k->n);
	Ranked *groups = ARENA_ARRAY(a, Ranked, k->groups);
	k->column = ARENA_ARRAY(a, uint32_t, k->n);
	for (uint32_t i = 0; i < k->n; i++) {
		columns[i] = (Ranked){moment(k->p, i, i), i};
		groups[i / k->group].value += columns[i].value;
		groups[i / k->group].i = i / k->group;
	}
	if (order == ORDER_STATIC)
		order_falling(columns, k->n);
	if (order == ORDER_GROUPS) {
		for (uint32_t g = 0; g < k->groups; g++)
			order_falling(columns + (size_t)g * k->group, group_columns(k, g));
		order_falling(groups, k->groups);
	}
	uint32_t to = 0;
	for (uint32_t g = 0; g < k->groups; g++) {
		const uint32_t from = order == ORDER_GROUPS ? groups[g].i : g;
		for (uint32_t j = 0; j < group_columns(k, from); j++)
			k->column[to++] = columns[(size_t)from * k->group + j].i;
	}
}

/* Where each group's columns are in that order. */
static uint32_t *
places(Arena *a, const RoundWork *k)
{
	uint32_t *at = ARENA_ARRAY(a, uint32_t, k->n), *used = ARENA_ARRAY(a, uint32_t, k->groups);
	for (uint32_t i = 0; i < k->n; i++) {
		const uint32_t g = group_of(k, i);
		at[(size_t)g * k->group + used[g]++] = i;
	}
	return at;
}

/* ---- curvature and targets ------------------------------------------------------------------ */

static void
take_curvature(Arena *a, RoundWork *k)
{
	double mean = 0.0;
	k->h = ARENA_ARRAY(a, double, (size_t)k->n * k->n);
	k->dead = ARENA_ARRAY(a, bool, k->n);
	for (uint32_t i = 0; i < k->n; i++)
		for (uint32_t j = 0; j < k->n; j++)
			k->h[(size_t)i * k->n + j] = moment(k->p, k->column[i], k->column[j]);
	for (uint32_t i = 0; i < k->n; i++)
		mean += k->h[(size_t)i * k->n + i] / k->n;
	for (uint32_t i = 0; i < k->n; i++)
		if (k->h[(size_t)i * k->n + i] == 0.0) {
			k->h[(size_t)i * k->n + i] = mean > 0.0 ? mean : 1.0;
			k->dead[i] = true;
			k->r->dead++;
		}
}

/* H's largest eigenvalue (autoround_gptq.md section 2). */
static double
largest_eigenvalue(Arena *a, const RoundWork *k)
{
	double *x = ARENA_ARRAY(a, double, k->n), *y = ARENA_ARRAY(a, double, k->n), norm = 1.0;
	for (uint32_t i = 0; i < k->n; i++)
		x[i] = 1.0;
	for (int step = 0; step < POWER_STEPS && norm > 0.0; step++) {
		norm = 0.0;
		for (uint32_t i = 0; i < k->n; i++) {
			y[i] = 0.0;
			for (uint32_t j = 0; j < k->n; j++)
				y[i] += k->h[(size_t)i * k->n + j] * x[j];
			norm += y[i] * y[i];
		}
		norm = sqrt(norm);
		for (uint32_t i = 0; i < k->n && norm > 0.0; i++)
			x[i] = y[i] / norm;
	}
	return norm;
}

/* The factor, with as much damping as it takes. */
static bool
factor(Arena *a, RoundWork *k, const char **why)
{
	const Rounding *how = k->p->how;
	double mean = 0.0;
	for (uint32_t i = 0; i < k->n; i++)
		mean += k->h[(size_t)i * k->n + i] / k->n;
	*why = "the moments of its inputs are not finite";
	if (!isfinite(mean))
		return false;
	const double share =
		how->alpha > 0.0 ? how->alpha * largest_eigenvalue(a, k) / mean : how->damp;
	k->u = ARENA_ARRAY(a, double, (size_t)k->n * k->n);
	double damp = share;
	for (int i = 0; i<DAMP_TRIES; i++, damp = damp> 0.0 ? damp * 10.0 : 1e-6)
		if (linalg_factor(k->p->linalg, k->n, k->h, damp * mean, k->u)) {
			k->damp = damp * mean;
			k->hold = how->alpha > 0.0 ? k->damp : fmax(how->hold * mean, k->damp);
			k->r->damped = damp;
			return true;
		}
	*why = "the moments of its inputs are singular, however damped";
	return false;
}

/* Columns of [rows][n] in the order of rounding, 0 where they are dead. */
static double *
gather(Arena *a, const RoundWork *k, const float *x)
{
	double *y = ARENA_ARRAY(a, double, (size_t)k->p->rows * k->n);
	for (uint32_t r = 0; r < k->p->rows; r++)
		for (uint32_t i = 0; i < k->n; i++)
			y[(size_t)r * k->n + i] =
				k->dead[i] ? 0.0 : (double)x[(size_t)r * k->n + k->column[i]];
	return y;
}

/* target = w G^T. */
static void
take_target(Arena *a, RoundWork *k)
{
	double *g = ARENA_ARRAY(a, double, (size_t)k->n * k->n);
	k->target = ARENA_ARRAY(a, double, (size_t)k->p->rows * k->n);
	for (uint32_t i = 0; i < k->n; i++)
		for (uint32_t j = 0; j < k->n; j++)
			g[(size_t)i * k->n + j] =
				k->p->g[(size_t)k->column[i] * k->n + k->column[j]];
	linalg_multiply(k->p->linalg, true, k->p->rows, k->n, k->n, k->w, g, k->target);
}

/* The weights whose outputs on the rounded inputs are nearest to the wanted ones. */
static bool
correct_weights(Arena *a, RoundWork *k)
{
	const size_t count = (size_t)k->p->rows * k->n;
	double *b = ARENA_ARRAY(a, double, count);
	for (size_t i = 0; i < count; i++)
		b[i] = k->target[i] + k->hold * k->w[i];
	k->goal = b;
	k->plain = k->p->how->fit == FIT_OWN ? k->plain : b;
	return linalg_solve(k->p->linalg, k->n, k->h, k->hold, k->p->rows, b, b);
}

/*
 * QRONOS: the first column is rounded for the exact target, then all others are solved anew; GPTQ
 * goes on from there, since the trailing part of u is the factor of what is left.
 */
static bool
correct_first(Arena *a, RoundWork *k, const uint32_t *at)
{
	const uint32_t n = k->n, rest = n - 1, rows = k->p->rows;
	double *h = ARENA_ARRAY(a, double, (size_t)rest *rest);
	double *b = ARENA_ARRAY(a, double, (size_t)rows *rest);
	double *v = ARENA_ARRAY(a, double, (size_t)rows *n);
	for (uint32_t i = 1; i < n; i++)
		memcpy(h + (size_t)(i - 1) * rest, k->h + (size_t)i * n + 1, rest * sizeof *h);
	for (uint32_t r = 0; r < rows; r++) {
		Arena *scratch = arena_new();
		const double *w = k->w + (size_t)r * n, *t = k->target + (size_t)r * n;
		Fit *fits = ARENA_ARRAY(scratch, Fit, k->groups);
		double first = t[0];
		for (uint32_t j = 1; j < n; j++)
			first -= w[j] * k->h[j];
		fit_row(scratch, k, at, r, fits);
		const Fit fit = fits[group_of(k, 0)];
		const double q = fit_value(fit, fit_code(k->p->format, fit, first / k->h[0]));
		v[(size_t)r * n] = q; /* its error is in what is solved below */
		for (uint32_t j = 1; j < n; j++)
			b[(size_t)r * rest + j - 1] = t[j] + k->hold * w[j] - q * k->h[j];
		arena_free(scratch);
	}
	if (rest && !linalg_solve(k->p->linalg, rest, h, k->hold, rows, b, b))
		return false;
	for (uint32_t r = 0; r < rows; r++)
		memcpy(v + (size_t)r * n + 1, b + (size_t)r * rest, rest * sizeof *v);
	k->w = v;
	return true;
}

/* ---- all rows ------------------------------------------------------------------------------- */

typedef struct RowsJob {
	const RoundWork *k;
	const uint32_t *at;
} RowsJob;

static void
some_rows(void *arg, int task)
{
	const RowsJob *j = arg;
	const RoundWork *k = j->k;
	const uint32_t first = (uint32_t)task * ROUND_ROWS, left = k->p->rows - first;
	const uint32_t n = left < ROUND_ROWS ? left : ROUND_ROWS;
	Arena *scratch = arena_new();
	round_rows(scratch, k, j->at, first, n);
	arena_reset(scratch);
	polish_rows(scratch, k, first, n);
	arena_reset(scratch);
	if (k->p->how->refit)
		refit_rows(scratch, k, j->at, first, n);
	arena_free(scratch);
}

/* tr(d H d^T) of d [rows][n], by products in f32: to be looked at. */
static double
trace(Arena *a, const RoundWork *k, const double *d)
{
	const size_t count = (size_t)k->p->rows * k->n, square = (size_t)k->n * k->n;
	double squares = 0.0;
	for (size_t i = 0; i < count && !k->p->h; i++)
		squares += d[i] * d[i];
	if (!k->p->h)
		return squares;
	const float *h = arena_floats(a, k->h, square), *x = arena_floats(a, d, count);
	float *y = ARENA_ARRAY(a, float, count);
	double sum = 0.0;
	linalg_linear(k->p->linalg, k->p->rows, k->n, k->n, x, h, y);
	for (size_t i = 0; i < count; i++)
		sum += (double)x[i] * (double)y[i];
	return sum;
}

static void
measure(Arena *a, const RoundWork *k, const double *w, double all)
{
	const size_t count = (size_t)k->p->rows * k->n;
	double *d = gather(a, k, k->r->w);
	for (size_t i = 0; i < count; i++)
		d[i] -= w[i];
	k->r->error = all > 0.0 ? trace(a, k, d) / all : 0.0;
}

bool
round_weights(Arena *a, const RoundProblem *p, RoundResult *r, const char **why)
{
	const RoundRule rule = p->how->round;
	Arena *own = arena_new();
	RoundWork k = {.p = p, .n = p->columns, .r = r};
	k.group = p->format.group ? p->format.group : p->columns;
	k.groups = (k.n + k.group - 1) / k.group;
	*r = (RoundResult){.codes = ARENA_ARRAY(a, uint8_t, (size_t)p->rows * k.n),
			   .scales = ARENA_ARRAY(a, float, (size_t)p->rows *k.groups),
			   .w = ARENA_ARRAY(a, float, (size_t)p->rows *k.n)};
	r->zeros = p->format.zero ? ARENA_ARRAY(a, float, (size_t)p->rows *k.groups) : NULL;
	order_columns(own, &k);
	take_curvature(own, &k);
	const uint32_t *at = places(own, &k);
	double *w = gather(own, &k, p->w);
	k.w = k.goal = k.plain = w;
	const double all = trace(own, &k, w);
	bool ok = rule == ROUND_RTN ? isfinite(all) : factor(own, &k, why);
	if (!ok && rule == ROUND_RTN)
		*why = "the moments of its inputs, or its weights, are not finite";
	if (ok && p->g && rule != ROUND_GPTQ)
		take_target(own, &k);
	if (ok && k.target && rule != ROUND_RTN)
		ok = correct_weights(own, &k);
	if (ok && k.target && rule == ROUND_TWIN)
		k.w = k.goal;
	if (ok && k.target && rule == ROUND_QRONOS)
		ok = correct_first(own, &k, at);
	if (ok) {
		RowsJob j = {&k, at};
		parallel_for(p->jobs, (int)((p->rows + ROUND_ROWS - 1) / ROUND_ROWS), some_rows,
			     &j);
		measure(own, &k, w, all);
	}
	arena_free(own);
	return ok;
}
