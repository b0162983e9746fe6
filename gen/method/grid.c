/* Scales that are best for a run of weights: methods/piso.md. */
#include "grid.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "ir/wide.h"
#include "linalg.h"

/* ---- grids ---------------------------------------------------------------------------------- */

Grid
grid_with_zero(Format f, int zero)
{
	Grid g = {.count = format_top(f) + 1, .whole = true};
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

/* Sums over weights that become whole numbers from `low` to `high`, H diagonal. */
typedef struct WholeSums {
	double scale, low, high, alpha, beta;
} WholeSums;

enum { DOUBLES = WIDE_BYTES / sizeof(double) };
typedef double Doubles __attribute__((vector_size(WIDE_BYTES)));
typedef int64_t DoubleBits __attribute__((vector_size(WIDE_BYTES)));

/* All of them x; a where the mask is set, else b. */
#define ALL(x) ((Doubles){0} + (x))
#define EITHER(mask, a, b) ((Doubles)(((DoubleBits)(a) & (mask)) | ((DoubleBits)(b) & ~(mask))))

/* w and weight have room for whole vectors, the rest of them being 0. v null: weight w. */
WIDE_BODY void
whole_sums_body(WholeSums *s, const double *w, const double *weight, const double *v, size_t n)
{
	const Doubles low = ALL(s->low), high = ALL(s->high), shift = ALL(0x1.8p52);
	Doubles alpha = {0}, beta = {0};
	for (size_t i = 0; i < n; i += DOUBLES) {
		Doubles x, h, t, q, even;
		memcpy(&x, w + i, sizeof x);
		memcpy(&h, weight + i, sizeof h);
		memcpy(&t, v + i, sizeof t);
		q = x / s->scale;
		q = EITHER(q < low, low, q);
		q = EITHER(q > high, high, q);
		/* The nearest even one; of two that are as near the one nearer to 0 is meant. */
		even = (q + shift) - shift;
		q = EITHER(q - even == EITHER(q > 0.0, ALL(-0.5), ALL(0.5)),
			   even + (q - even) * 2.0, even);
		alpha += q * t;
		beta += q * q * h;
	}
	s->alpha = alpha[0] + alpha[1] + (alpha[2] + alpha[3]);
	s->beta = beta[0] + beta[1] + (beta[2] + beta[3]);
}
WIDE(static, whole_sums,
     (WholeSums * s, const double *w, const double *weight, const double *v, size_t n),
     (s, w, weight, v, n))

/* What scale_error asks again and again of one problem, in whole vectors. */
typedef struct WholeProblem {
	size_t n;
	double *w, *weight, *v;
	double low, high;
} WholeProblem;

static WholeProblem
whole_problem(Arena *scratch, const ScaleProblem *p)
{
	const size_t n = (size_t)round_up((size_t)p->n, DOUBLES);
	double *all = ARENA_ARRAY(scratch, double, 3 * n);
	WholeProblem k = {n,
			  all,
			  all + n,
			  all + 2 * n,
			  (double)p->grid->levels[0],
			  (double)p->grid->levels[p->grid->count - 1]};
	for (int i = 0; i < p->n; i++) {
		k.w[i] = (double)p->w[i];
		k.weight[i] = weight_of(p, i);
		k.v[i] = p->v ? p->v[i] : k.weight[i] * k.w[i];
	}
	return k;
}

static double
whole_error(const WholeProblem *k, float s)
{
	WholeSums sums = {.scale = (double)s, .low = k->low, .high = k->high};
	if (s == 0.0f)
		return 0.0;
	whole_sums(&sums, k->w, k->weight, k->v, k->n);
	return (double)s * ((double)s * sums.beta - 2.0 * sums.alpha);
}

double
scale_error(Arena *scratch, const ScaleProblem *p, float s)
{
	double alpha = 0.0, beta = 0.0;
	if (s == 0.0f)
		return 0.0;
	if (p->grid->whole && !p->h) {
		const WholeProblem k = whole_problem(scratch, p);
		return whole_error(&k, s);
	}
	const double *v = target(scratch, p);
	double *q = ARENA_ARRAY(scratch, double, (size_t)p->n);
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
scale_absmax(Arena *scratch, const ScaleProblem *p, float share)
{
	const float s = format_scale_round(p->format, absmax_scale(p) * share);
	return (ScaleResult){s, scale_error(scratch, p, s)};
}

ScaleResult
scale_mse(Arena *scratch, const ScaleProblem *p, int steps)
{
	const float top = absmax_scale(p);
	ScaleProblem plain = *p;
	ScaleResult best = {0.0f, INFINITY};
	plain.weight = plain.h = plain.v = NULL;
	const WholeProblem whole =
		p->grid->whole ? whole_problem(scratch, &plain) : (WholeProblem){0};
	for (int k = 1; k <= steps; k++) {
		const float s = format_scale_round(p->format, top * ((float)k / (float)steps));
		const double error =
			p->grid->whole ? whole_error(&whole, s) : scale_error(scratch, &plain, s);
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

static bool
comes_before(const Event *x, const Event *y)
{
	if (x->tau != y->tau)
		return x->tau > y->tau;
	return x->i != y->i ? x->i < y->i : fabs(x->step) < fabs(y->step);
}

/* By merging; `other` has room for n. Each weight's events come in their order already. */
static void
sort_events(Event *events, Event *other, int n)
{
	enum { RUN = 8 };
	Event *from = events, *to = other;
	for (int start = 0; start < n; start += RUN)
		for (int i = start + 1; i < n && i < start + RUN; i++) {
			const Event e = events[i];
			int k = i;
			for (; k > start && comes_before(&e, &events[k - 1]); k--)
				events[k] = events[k - 1];
			events[k] = e;
		}
	for (int run = RUN; run < n; run *= 2) {
		for (int start = 0; start < n; start += 2 * run) {
			const int middle = start + run < n ? start + run : n;
			const int end = middle + run < n ? middle + run : n;
			for (int i = start, a = start, b = middle; i < end; i++) {
				const bool left = b == end ||
						  (a < middle && !comes_before(&from[b], &from[a]));
				to[i] = from[left ? a++ : b++];
			}
		}
		Event *swapped = from;
		from = to;
		to = swapped;
	}
	if (from != events)
		memcpy(events, from, (size_t)n * sizeof *events);
}

typedef struct Sweep {
	const ScaleProblem *p;
	const double *v;
	double sign;	 /* of the scale: weights and targets are taken times it */
	double from, to; /* scales looked at, from the largest; from is infinite for all */
	double *q, *hq;	 /* hq: H q, dense only */
	double alpha, beta;
	Event *events, *sorted; /* sorted: room */
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

/*
 * A weight beyond the grid's end is off by at least what lies beyond; one that becomes 0, by
 * itself: both bound the error from below.
 */
typedef struct LeastError {
	double high, low; /* sizes of the levels that end the grid */
	double up, down;  /* of those beside 0; infinite: there is none */
	double beyond, lost;
} LeastError;

WIDE_BODY void
least_error_body(LeastError *e, const double *w, const double *weight, size_t n, double scale)
{
	Doubles beyond = {0}, lost = {0};
	for (size_t i = 0; i < n; i += DOUBLES) {
		Doubles x, h;
		memcpy(&x, w + i, sizeof x);
		memcpy(&h, weight + i, sizeof h);
		const DoubleBits positive = x > 0.0;
		const Doubles size = EITHER(positive, x, -x);
		const Doubles over =
			size - EITHER(positive, ALL(scale * e->high), ALL(scale * e->low));
		const DoubleBits none =
			size + size < EITHER(positive, ALL(scale * e->up), ALL(scale * e->down));
		const Doubles missed = EITHER(over > 0.0, over, ALL(0.0));
		beyond += h * missed * missed;
		lost += EITHER(none, h * size * size, ALL(0.0));
	}
	e->beyond = beyond[0] + beyond[1] + (beyond[2] + beyond[3]);
	e->lost = lost[0] + lost[1] + (lost[2] + lost[3]);
}
WIDE(static, least_error,
     (LeastError * e, const double *w, const double *weight, size_t n, double scale),
     (e, w, weight, n, scale))

static LeastError
ends_of(const Sweep *s)
{
	const Grid *g = s->p->grid;
	const int zero = grid_zero(g);
	const LeastError e = {.high = (double)g->levels[g->count - 1],
			      .low = -(double)g->levels[0],
			      .up = zero + 1 < g->count ? (double)g->levels[zero + 1] : INFINITY,
			      .down = zero ? -(double)g->levels[zero - 1] : INFINITY};
	if (s->sign > 0.0)
		return e;
	return (LeastError){.high = e.low, .low = e.high, .up = e.down, .down = e.up};
}

/* Leaves out scales that cannot be best, H diagonal and v its own: those whose least error is above
 * that of a scale whose J is known. */
static void
narrow(Sweep *s, const WholeProblem *k, double known)
{
	enum { STEPS = 8 };
	LeastError e = ends_of(s);
	double all = 0.0, peak = 0.0, ends[2] = {0.0, INFINITY};
	for (size_t i = 0; i < k->n; i++) {
		all += k->weight[i] * k->w[i] * k->w[i];
		peak = fabs(k->w[i]) > peak ? fabs(k->w[i]) : peak;
	}
	const double bound = (all + known) + 1e-9 * all;
	for (int large = 0; large < 2; large++) {
		double out = large ? 2.0 * peak : 0.0, in = large ? 0.0 : peak;
		for (int i = 0; i < STEPS && peak > 0.0; i++) {
			const double middle = 0.5 * (out + in);
			least_error(&e, k->w, k->weight, k->n, middle);
			if ((large ? e.lost : e.beyond) > bound)
				out = ends[large] = middle;
			else
				in = middle;
		}
	}
	s->to = ends[0];
	s->from = ends[1];
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
	sort_events(s->events, s->sorted, s->n_events);
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
	s.events = ARENA_ARRAY(scratch, Event, 2 * n * (size_t)p->grid->count);
	s.sorted = s.events + n * (size_t)p->grid->count;
	const WholeProblem whole =
		p->grid->whole && !p->h ? whole_problem(scratch, &fixed) : (WholeProblem){0};
	const bool narrows = whole.n && !p->v;
	const double known = narrows ? whole_error(&whole, 0.8f * absmax_scale(p)) : 0.0;
	if (narrows)
		narrow(&s, &whole, known);
	double best = sweep(&s, &error);
	if (p->either_sign) {
		s.sign = -s.sign;
		if (narrows)
			narrow(&s, &whole, fmin(known, error));
		/* Where no weight meets the longer end both are as good: the first one stays. */
		error *= 1.0 + 1e-9;
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

ScaleResult
scale_e2m(Arena *scratch, const ScaleProblem *p)
{
	double *q = ARENA_ARRAY(scratch, double, (size_t)p->n), mean = 0.0, diagonal = 0.0;
	double alpha = 0.0, beta = 0.0, beyond = 0.0, count = 0.0;
	const double *v = target(scratch, p);
	for (int i = 0; i < p->n; i++) {
		mean += fabs((double)p->w[i]) / p->n;
		diagonal += weight_of(p, i) / p->n;
	}
	for (int i = 0; i < p->n; i++)
		if (fabs((double)p->w[i]) > 0.75 * mean)
			q[i] = p->w[i] > 0.0f ? 1.0 : -1.0;
	for (int i = 0; i < p->n; i++) {
		const double w = (double)p->w[i], more = 1e-4 * diagonal;
		beyond += q[i] * w;
		count += q[i] * q[i];
		alpha += q[i] * (v[i] + more * w);
		beta += q[i] != 0.0 ? q[i] * (curved(p, i, q) + more * q[i]) : 0.0;
	}
	double s = count > 0.0 ? beyond / count : 0.0;
	if (beta > 0.0 && alpha > 0.0)
		s = alpha / beta;
	const float stored_scale = format_scale_round(p->format, (float)s);
	return (ScaleResult){stored_scale, scale_error(scratch, p, stored_scale)};
}
