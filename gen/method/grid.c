/* Scales that are best for a run of weights: methods/piso.md. */
#include "grid.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "linalg.h"

/* ---- grids ---------------------------------------------------------------------------------- */

Grid
grid_with_zero(Format f, int zero)
{
	Grid g = {.count = format_top(f) + 1};
	for (int i = 0; i < g.count; i++)
		g.levels[i] = (float)(i - zero);
	return g;
}

Grid
grid_of(Format f)
{
	return grid_with_zero(f, format_offset(f));
}

Grid
grid_e2m1(void)
{
	static const float up[] = {0.0f, 0.5f, 1.0f, 1.5f, 2.0f, 3.0f, 4.0f, 6.0f};
	enum { N = sizeof up / sizeof *up };
	Grid g = {.count = 2 * N - 1};
	for (int i = 0; i < N; i++) {
		g.levels[N - 1 + i] = up[i];
		g.levels[N - 1 - i] = -up[i];
	}
	return g;
}

static int
grid_zero(const Grid *g)
{
	int zero = 0;
	while (g->levels[zero] < 0.0f)
		zero++;
	return zero;
}

/* Between neighbours the middle counts for the one nearer to 0, as the sweep's intervals do. */
int
grid_nearest(const Grid *g, double x)
{
	int k = grid_zero(g);
	while (k + 1 < g->count && 2.0 * x > (double)g->levels[k] + (double)g->levels[k + 1])
		k++;
	while (k > 0 && 2.0 * x < (double)g->levels[k] + (double)g->levels[k - 1])
		k--;
	return k;
}

/* ---- the error from its definition ---------------------------------------------------------- */

static double
weight_of(const ScaleProblem *p, int i)
{
	return p->h ? p->h[(size_t)i * p->ld + (size_t)i] : p->weight ? p->weight[i] : 1.0;
}

/* Row i of H times x. */
static double
curved(const ScaleProblem *p, int i, const double *x)
{
	double sum = 0.0;
	if (!p->h)
		return weight_of(p, i) * x[i];
	for (int j = 0; j < p->n; j++)
		sum += p->h[(size_t)i * p->ld + (size_t)j] * x[j];
	return sum;
}

static const double *
target(Arena *scratch, const ScaleProblem *p)
{
	if (p->v)
		return p->v;
	double *w = ARENA_ARRAY(scratch, double, (size_t)p->n);
	double *v = ARENA_ARRAY(scratch, double, (size_t)p->n);
	for (int i = 0; i < p->n; i++)
		w[i] = (double)p->w[i];
	for (int i = 0; i < p->n; i++)
		v[i] = curved(p, i, w);
	return v;
}

double
scale_error(Arena *scratch, const ScaleProblem *p, float s)
{
	const double *v = target(scratch, p);
	double *q = ARENA_ARRAY(scratch, double, (size_t)p->n);
	double alpha = 0.0, beta = 0.0;
	if (s == 0.0f)
		return 0.0;
	for (int i = 0; i < p->n; i++)
		q[i] = (double)p->grid->levels[grid_nearest(p->grid, (double)p->w[i] / (double)s)];
	for (int i = 0; i < p->n; i++) {
		alpha += q[i] * v[i];
		beta += q[i] != 0.0 ? q[i] * curved(p, i, q) : 0.0;
	}
	return (double)s * ((double)s * beta - 2.0 * alpha);
}

/* ---- rules ---------------------------------------------------------------------------------- */

static float
peak_of(const ScaleProblem *p)
{
	float peak = 0.0f;
	for (int i = 0; i < p->n; i++)
		peak = fabsf(p->w[i]) > fabsf(peak) ? p->w[i] : peak;
	return peak;
}

static float
absmax_scale(const ScaleProblem *p)
{
	const float low = -p->grid->levels[0], high = p->grid->levels[p->grid->count - 1];
	if (p->either_sign && low > high)
		return -peak_of(p) / low;
	return fabsf(peak_of(p)) / (low > 0.0f && low < high ? low : high);
}

ScaleResult
scale_absmax(Arena *scratch, const ScaleProblem *p)
{
	const float s = format_scale_round(p->format, absmax_scale(p));
	return (ScaleResult){s, scale_error(scratch, p, s)};
}

ScaleResult
scale_mse(Arena *scratch, const ScaleProblem *p, int steps)
{
	const float top = absmax_scale(p);
	ScaleProblem plain = *p;
	ScaleResult best = {0.0f, INFINITY};
	plain.weight = plain.h = plain.v = NULL;
	for (int k = 1; k <= steps; k++) {
		const float s = format_scale_round(p->format, top * ((float)k / (float)steps));
		const double error = scale_error(scratch, &plain, s);
		if (error < best.error)
			best = (ScaleResult){s, error};
	}
	best.error = scale_error(scratch, p, best.scale);
	return best;
}

/* ---- the sweep ------------------------------------------------------------------------------ */

/* At s = tau weight i goes to the next level, `step` away from the one it has, as s falls. */
typedef struct Event {
	double tau, step;
	int i;
} Event;

static int
event_order(const void *a, const void *b)
{
	const Event *x = a, *y = b;
	if (x->tau != y->tau)
		return x->tau < y->tau ? 1 : -1;
	return x->i != y->i ? (x->i > y->i) - (x->i < y->i)
			    : (fabs(x->step) > fabs(y->step)) - (fabs(x->step) < fabs(y->step));
}

typedef struct Sweep {
	const ScaleProblem *p;
	const double *v;
	double sign;	 /* of the scale: weights and targets are taken times it */
	double from, to; /* scales looked at, from the largest; from is infinite for all */
	double *q, *hq;	 /* hq: H q, dense only */
	double alpha, beta;
	Event *events;
	int n_events;
} Sweep;

/* Weight i's level moves by d. */
static void
move(Sweep *s, int i, double d)
{
	const ScaleProblem *p = s->p;
	const double along = p->h ? s->hq[i] : weight_of(p, i) * s->q[i];
	s->alpha += d * s->sign * s->v[i];
	s->beta += 2.0 * d * along + d * d * weight_of(p, i);
	s->q[i] += d;
	if (p->h)
		linalg_add(s->hq, p->h + (size_t)i * p->ld, d, (size_t)p->n);
}

/* Where weight i's level starts, and its events within the scales that are looked at. */
static void
collect(Sweep *s, int i)
{
	const Grid *g = s->p->grid;
	const double w = s->sign * (double)s->p->w[i];
	const int side = w > 0.0 ? 1 : -1, zero = grid_zero(g);
	double started = 0.0;
	if (w == 0.0)
		return;
	for (int k = zero; k + side >= 0 && k + side < g->count; k += side) {
		const double a = (double)g->levels[k], b = (double)g->levels[k + side];
		const double tau = 2.0 * w / (a + b);
		if (tau <= s->to)
			break;
		if (tau >= s->from)
			started += b - a;
		else
			s->events[s->n_events++] = (Event){tau, b - a, i};
	}
	if (started != 0.0)
		move(s, i, started);
}

/* The best s of one sign; stored numbers beside it are the caller's to try. */
static double
sweep(Sweep *s, double *best_error)
{
	double best = 0.0;
	s->alpha = s->beta = 0.0;
	s->n_events = 0;
	memset(s->q, 0, (size_t)s->p->n * sizeof *s->q);
	if (s->p->h)
		memset(s->hq, 0, (size_t)s->p->n * sizeof *s->hq);
	for (int i = 0; i < s->p->n; i++)
		collect(s, i);
	qsort(s->events, (size_t)s->n_events, sizeof *s->events, event_order);
	double up = s->from;
	for (int t = 0; t <= s->n_events; t++) {
		const double low = t < s->n_events ? s->events[t].tau : s->to;
		if (s->beta > 0.0 && low < up) {
			double scale = s->alpha / s->beta;
			scale = scale > up ? up : scale < low ? low : scale;
			const double error = scale * (scale * s->beta - 2.0 * s->alpha);
			if (error < *best_error && scale > 0.0) {
				*best_error = error;
				best = s->sign * scale;
			}
		}
		up = low;
		if (t < s->n_events)
			move(s, s->events[t].i, s->events[t].step);
	}
	return best;
}

/* The next number that the format stores, `towards` infinity or 0. */
static float
stored_neighbour(Format f, float s, bool outwards)
{
	if (f.scale_bits == 32)
		return nextafterf(s, outwards ? copysignf(INFINITY, s) : 0.0f);
	const uint16_t half = format_scale_half(f, s);
	const uint16_t next = (uint16_t)(outwards ? half + 1 : half - 1);
	return f.bf16 ? bf16_to_f32(next) : f16_to_f32(next);
}

/* The stored number near s with the least error: s may end an interval. */
static ScaleResult
stored(Arena *scratch, const ScaleProblem *p, double s)
{
	const float nearest = format_scale_round(p->format, (float)s);
	ScaleResult best = {0.0f, 0.0};
	for (int k = -1; k <= 1 && nearest != 0.0f; k++) {
		const float one = k ? stored_neighbour(p->format, nearest, k > 0) : nearest;
		const double error = isfinite(one) ? scale_error(scratch, p, one) : INFINITY;
		if (error < best.error)
			best = (ScaleResult){one, error};
	}
	return best;
}

ScaleResult
scale_piso(Arena *scratch, const ScaleProblem *p, int window)
{
	const size_t n = (size_t)p->n;
	Sweep s = {.p = p, .sign = 1.0, .from = INFINITY, .to = 0.0};
	double error = 0.0;
	ScaleProblem fixed = *p;
	s.v = fixed.v = target(scratch, p);
	if (p->h && window && p->n > window) {
		ScaleProblem diagonal = fixed;
		double *weight = ARENA_ARRAY(scratch, double, n);
		for (int i = 0; i < p->n; i++)
			weight[i] = weight_of(p, i);
		diagonal.h = NULL;
		diagonal.weight = weight;
		diagonal.v = NULL;
		const double middle = (double)scale_piso(scratch, &diagonal, 0).scale;
		s.from = 1.3 * fabs(middle);
		s.to = 0.6 * fabs(middle);
		s.sign = middle < 0.0 ? -1.0 : 1.0;
	}
	s.q = ARENA_ARRAY(scratch, double, n);
	s.hq = p->h ? ARENA_ARRAY(scratch, double, n) : NULL;
	s.events = ARENA_ARRAY(scratch, Event, n * (size_t)p->grid->count);
	double best = sweep(&s, &error);
	if (p->either_sign) {
		s.sign = -s.sign;
		const double other = sweep(&s, &error);
		best = other != 0.0 ? other : best;
	}
	return stored(scratch, &fixed, best);
}

ScaleResult
scale_piso_zero(Arena *scratch, const ScaleProblem *p, int window, int *zero)
{
	ScaleResult best = {0.0f, INFINITY};
	ScaleProblem one = *p;
	one.v = target(scratch, p);
	for (int z = 0; z <= format_top(p->format); z++) {
		const Grid g = grid_with_zero(p->format, z);
		one.grid = &g;
		const ScaleResult r = scale_piso(scratch, &one, window);
		if (r.error < best.error) {
			best = r;
			*zero = z;
		}
	}
	return best;
}
