/* Scales of the groups of a row: what a rule is asked, and in which order. */
#include <math.h>
#include <string.h>

#include "round_impl.h"

/* Halfway between two codes the one nearer to 0 counts, as for grid_nearest. */
uint8_t
fit_code(Format f, Fit fit, double w)
{
	const double x = fit.scale == 0.0f ? 0.0 : w / (double)fit.scale;
	const double nearest = ceil(fabs(x) - 0.5);
	double code = (x < 0.0 ? -nearest : nearest) + fit.zero;
	code = code < 0.0 ? 0.0 : code > format_top(f) ? format_top(f) : code;
	return (uint8_t)code;
}

double
fit_value(Fit fit, uint8_t code)
{
	return (double)fit.scale * (code - fit.zero);
}

/* ---- asymmetric rules without a sweep ------------------------------------------------------- */

/* The range of the weights, 0 in it, shrunk. */
static Fit
range_fit(Format f, const float *w, int n, float shrink)
{
	float low = 0.0f, high = 0.0f;
	for (int i = 0; i < n; i++) {
		low = w[i] < low ? w[i] : low;
		high = w[i] > high ? w[i] : high;
	}
	Fit fit = {format_scale_round(f, (high - low) * shrink / (float)format_top(f)), 0};
	if (fit.scale > 0.0f) {
		const double zero = rint(-(double)low * (double)shrink / (double)fit.scale);
		fit.zero = (int)(zero > format_top(f) ? format_top(f) : zero);
	}
	return fit;
}

static double
plain_error(Format f, Fit fit, const float *w, int n)
{
	double sum = 0.0;
	for (int i = 0; i < n; i++) {
		const double d = (double)w[i] - fit_value(fit, fit_code(f, fit, (double)w[i]));
		sum += d * d;
	}
	return sum;
}

static Fit
range_mse(Format f, const float *w, int n, int steps)
{
	Fit best = {0};
	double least = INFINITY;
	for (int k = 1; k <= steps; k++) {
		const Fit fit = range_fit(f, w, n, (float)k / (float)steps);
		const double error = plain_error(f, fit, w, n);
		if (error < least) {
			least = error;
			best = fit;
		}
	}
	return best;
}

/* ---- one group ------------------------------------------------------------------------------ */

static float
clip_of(const Rounding *how)
{
	return how->clip != 0.0 ? (float)how->clip : 1.0f;
}

static Fit
ask_rule(Arena *scratch, const Rounding *how, ScaleProblem *p)
{
	Fit fit = {0};
	const bool zeros = p->format.zero != ZERO_NONE;
	if (how->scale == SCALE_ABSMAX && zeros)
		return range_fit(p->format, p->w, p->n, clip_of(how));
	if (how->scale == SCALE_MSE && zeros)
		return range_mse(p->format, p->w, p->n, how->mse_steps);
	const Grid grid = grid_of(p->format);
	p->grid = &grid;
	fit.zero = format_offset(p->format);
	if (how->scale == SCALE_ABSMAX)
		fit.scale = scale_absmax(scratch, p, clip_of(how)).scale;
	else if (how->scale == SCALE_MSE)
		fit.scale = scale_mse(scratch, p, how->mse_steps).scale;
	else if (how->scale == SCALE_E2M)
		fit.scale = scale_e2m(scratch, p).scale;
	else if (zeros)
		fit.scale = scale_piso_zero(scratch, p, DENSE_WINDOW, &fit.zero).scale;
	else
		fit.scale = scale_piso(scratch, p, DENSE_WINDOW).scale;
	return fit;
}

/* H of the group's columns. */
static const double *
group_curvature(Arena *scratch, const RoundWork *k, const uint32_t *at, uint32_t count)
{
	double *h = ARENA_ARRAY(scratch, double, (size_t)count *count);
	for (uint32_t i = 0; i < count; i++)
		for (uint32_t j = 0; j < count; j++)
			h[(size_t)i * count + j] = k->h[(size_t)at[i] * k->n + at[j]];
	return h;
}

Fit
fit_group(Arena *scratch, const RoundWork *k, const uint32_t *at, uint32_t count, const double *w,
	  const double *v)
{
	const Rounding *how = k->p->how;
	float *own = ARENA_ARRAY(scratch, float, count);
	double *weight = ARENA_ARRAY(scratch, double, count);
	double *aim = ARENA_ARRAY(scratch, double, count);
	ScaleProblem p = {.n = (int)count,
			  .w = own,
			  .ld = count,
			  .v = v ? aim : NULL,
			  .format = k->p->format,
			  .either_sign = k->p->format.signed_scale};
	for (uint32_t i = 0; i < count; i++) {
		own[i] = (float)w[at[i]];
		aim[i] = v ? v[at[i]] : 0.0;
		const double pivot = k->u ? k->u[(size_t)at[i] * k->n + at[i]] : 1.0;
		weight[i] = how->curvature == CURVATURE_PIVOT ? 1.0 / (pivot * pivot)
							      : k->h[(size_t)at[i] * k->n + at[i]];
	}
	if (how->curvature == CURVATURE_DENSE)
		p.h = count == k->n ? k->h : group_curvature(scratch, k, at, count);
	else if (how->curvature != CURVATURE_IDENTITY)
		p.weight = weight;
	/* What a target asks of a column holds other columns' shares, which only a dense H knows.
	 */
	if (how->curvature != CURVATURE_DENSE)
		p.v = NULL;
	if (how->scale != SCALE_PISO)
		p.h = p.weight = NULL, p.v = NULL;
	return ask_rule(scratch, how, &p);
}

/* ---- a row's groups ------------------------------------------------------------------------- */

/* Groups by falling sum of diag H. */
static void
groups_in_order(const RoundWork *k, const uint32_t *at, double *sums, uint32_t *order)
{
	for (uint32_t g = 0; g < k->groups; g++) {
		sums[g] = 0.0;
		for (uint32_t j = 0; j < group_columns(k, g); j++) {
			const uint32_t i = at[g * k->group + j];
			sums[g] += k->h[(size_t)i * k->n + i];
		}
		uint32_t to = g;
		for (; to > 0 && sums[order[to - 1]] < sums[g]; to--)
			order[to] = order[to - 1];
		order[to] = g;
	}
}

/*
 * One pass of coordinate descent over the groups (piso.md section 4): left = target - H cur, where
 * cur is what the groups that are done stand for and the weights of the others.
 */
static void
fit_in_turn(Arena *scratch, const RoundWork *k, const uint32_t *at, const double *w, double *left,
	    Fit *fits)
{
	double *sums = ARENA_ARRAY(scratch, double, k->groups);
	double *v = ARENA_ARRAY(scratch, double, k->n);
	uint32_t *order = ARENA_ARRAY(scratch, uint32_t, k->groups);
	Arena *own = arena_new();
	groups_in_order(k, at, sums, order);
	for (uint32_t o = 0; o < k->groups; o++) {
		const uint32_t g = order[o], count = group_columns(k, g);
		const uint32_t *columns = at + (size_t)g * k->group;
		for (uint32_t i = 0; i < count; i++) {
			double sum = left[columns[i]];
			for (uint32_t j = 0; j < count; j++)
				sum += k->h[(size_t)columns[i] * k->n + columns[j]] * w[columns[j]];
			v[columns[i]] = sum;
		}
		fits[g] = fit_group(own, k, columns, count, w, v);
		for (uint32_t j = 0; j < count; j++) {
			const double *row = k->h + (size_t)columns[j] * k->n;
			const uint8_t code = fit_code(k->p->format, fits[g], w[columns[j]]);
			const double d = fit_value(fits[g], code) - w[columns[j]];
			linalg_add(left, row, -d, k->n);
		}
		arena_reset(own);
	}
	arena_free(own);
}

void
fit_row(Arena *scratch, const RoundWork *k, const uint32_t *at, uint32_t i, Fit *fits)
{
	const double *w = k->plain + (size_t)i * k->n;
	const double *aim = k->target ? k->target + (size_t)i * k->n : NULL;
	if (k->p->how->scale == SCALE_PISO && k->p->how->groups == GROUPS_IN_TURN) {
		double *left = ARENA_ARRAY(scratch, double, k->n);
		for (uint32_t c = 0; c < k->n; c++) {
			double sum = 0.0;
			for (uint32_t j = 0; j < k->n; j++)
				sum += k->h[(size_t)c * k->n + j] * w[j];
			left[c] = (aim ? aim[c] : sum) - sum;
		}
		fit_in_turn(scratch, k, at, w, left, fits);
		return;
	}
	/* Alone, a group's target is what its own columns ask for: the row's where it is one. */
	for (uint32_t g = 0; g < k->groups; g++)
		fits[g] = fit_group(scratch, k, at + (size_t)g * k->group, group_columns(k, g), w,
				    k->groups == 1 ? aim : NULL);
}
