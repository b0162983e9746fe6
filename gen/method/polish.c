/* Finished codes made better: for the scales that they have, and scales for the codes. */
#include <math.h>
#include <string.h>

#include "round_impl.h"

static Fit
fit_of(const RoundWork *k, uint32_t row, uint32_t g)
{
	const size_t at = (size_t)row * k->groups + g;
	return (Fit){k->r->scales[at],
		     k->r->zeros ? (int)k->r->zeros[at] : format_offset(k->p->format)};
}

/* slopes [n][columns] of rows from `first` on: (what they stand for - their goals) H. */
static void
take_slopes(const RoundWork *k, uint32_t first, uint32_t n, double *differences, double *slopes)
{
	for (uint32_t r = 0; r < n; r++)
		for (uint32_t i = 0; i < k->n; i++)
			differences[(size_t)r * k->n + i] =
				(double)k->r->w[(size_t)(first + r) * k->n + k->column[i]] -
				k->goal[(size_t)(first + r) * k->n + i];
	memset(slopes, 0, (size_t)n * k->n * sizeof *slopes);
	linalg_update(k->p->linalg, n, k->n, k->n, 1.0, differences, k->n, k->h, k->n, slopes,
		      k->n);
}

static void
put_code(const RoundWork *k, uint32_t row, uint32_t i, Fit fit, uint8_t code)
{
	const size_t at = (size_t)row * k->n + k->column[i];
	k->r->codes[at] = code;
	k->r->w[at] = (float)fit_value(fit, code);
}

/*
 * Coordinate descent (autoround_gptq.md section 3.3): each column's code in turn becomes the one
 * nearest to where the loss has its minimum along that column.
 */
static void
descend(const RoundWork *k, uint32_t row, double *slope)
{
	for (int sweep = 0, changed = 1; sweep < k->p->how->sweeps && changed; sweep++) {
		changed = 0;
		for (uint32_t i = 0; i < k->n; i++) {
			const size_t at = (size_t)row * k->n + k->column[i];
			const double *h = k->h + (size_t)i * k->n;
			const Fit fit = fit_of(k, row, group_of(k, i));
			const double now = fit_value(fit, k->r->codes[at]);
			const uint8_t code = fit_code(k->p->format, fit, now - slope[i] / h[i]);
			const double d = fit_value(fit, code) - now;
			if (code == k->r->codes[at])
				continue;
			changed++;
			put_code(k, row, i, fit, code);
			linalg_add(slope, h, d, k->n);
		}
	}
}

/*
 * AutoRound's steps on the layer's own loss (section 3.3): an offset of each weight within its cell
 * goes against the sign of the loss's slope, by less each time; the best codes are kept. Weights
 * whose code is not the nearest start at the edge of the code's cell.
 */
typedef struct SignSteps {
	const RoundWork *k;
	uint32_t row;
	double *offset, *difference, *slope; /* [columns] */
	uint8_t *best;
	double least;
} SignSteps;

static void
start_signs(SignSteps *s)
{
	const RoundWork *k = s->k;
	s->least = INFINITY;
	for (uint32_t i = 0; i < k->n; i++) {
		const Fit fit = fit_of(k, s->row, group_of(k, i));
		const double x = fit.scale == 0.0f
					 ? 0.0
					 : k->w[(size_t)s->row * k->n + i] / (double)fit.scale;
		const double code = k->r->codes[(size_t)s->row * k->n + k->column[i]] - fit.zero;
		s->offset[i] = fmax(-0.49, fmin(0.49, x - code));
	}
}

/* The slope is that of the codes as they are. */
static void
step_signs(SignSteps *s, double step)
{
	const RoundWork *k = s->k;
	double loss = 0.0;
	for (uint32_t i = 0; i < k->n; i++)
		loss += s->difference[i] * s->slope[i];
	for (uint32_t i = 0; i < k->n && loss < s->least; i++)
		s->best[i] = k->r->codes[(size_t)s->row * k->n + k->column[i]];
	s->least = loss < s->least ? loss : s->least;
	for (uint32_t i = 0; i < k->n; i++) {
		const Fit fit = fit_of(k, s->row, group_of(k, i));
		const size_t at = (size_t)s->row * k->n + k->column[i];
		const double down = s->slope[i] * (double)fit.scale;
		const double code = (double)k->r->codes[at] - fit.zero;
		s->offset[i] -= down > 0.0 ? step : down < 0.0 ? -step : 0.0;
		const double to = s->offset[i] > 0.5 ? 1.0 : s->offset[i] < -0.5 ? -1.0 : 0.0;
		s->offset[i] -= to;
		put_code(k, s->row, i, fit,
			 fit_code(k->p->format, fit, (code + to) * (double)fit.scale));
	}
}

static void
polish_signs(Arena *scratch, const RoundWork *k, uint32_t first, uint32_t n, double *differences,
	     double *slopes)
{
	const int steps = k->p->how->sweeps;
	SignSteps *rows = ARENA_ARRAY(scratch, SignSteps, n);
	for (uint32_t r = 0; r < n; r++) {
		const size_t at = (size_t)r * k->n;
		rows[r] = (SignSteps){k,
				      first + r,
				      ARENA_ARRAY(scratch, double, k->n),
				      differences + at,
				      slopes + at,
				      ARENA_ARRAY(scratch, uint8_t, k->n),
				      0.0};
		start_signs(&rows[r]);
	}
	for (int t = 0; t <= steps; t++) {
		take_slopes(k, first, n, differences, slopes);
		for (uint32_t r = 0; r < n; r++)
			step_signs(&rows[r], (1.0 - (double)t / (steps + 1)) / (steps + 1));
	}
	for (uint32_t r = 0; r < n; r++)
		for (uint32_t i = 0; i < k->n; i++)
			put_code(k, first + r, i, fit_of(k, first + r, group_of(k, i)),
				 rows[r].best[i]);
}

void
polish_rows(Arena *scratch, const RoundWork *k, uint32_t first, uint32_t n)
{
	if (k->p->how->polish == POLISH_NONE)
		return;
	double *differences = ARENA_ARRAY(scratch, double, (size_t)n * k->n);
	double *slopes = ARENA_ARRAY(scratch, double, (size_t)n * k->n);
	if (k->p->how->polish == POLISH_AUTOROUND) {
		polish_signs(scratch, k, first, n, differences, slopes);
		return;
	}
	take_slopes(k, first, n, differences, slopes);
	for (uint32_t r = 0; r < n; r++)
		descend(k, first + r, slopes + (size_t)r * k->n);
}

/* ---- scales for finished codes -------------------------------------------------------------- */

/* a x = b in place, a [n][n] symmetric; false: not positive definite. */
static bool
solve_small(uint32_t n, double *a, double *b)
{
	for (uint32_t j = 0; j < n; j++) {
		for (uint32_t i = j; i < n; i++) {
			double sum = a[i * n + j];
			for (uint32_t c = 0; c < j; c++)
				sum -= a[i * n + c] * a[j * n + c];
			if (i == j && !(sum > 0.0))
				return false;
			a[i * n + j] = i == j ? sqrt(sum) : sum / a[j * n + j];
		}
	}
	for (uint32_t i = 0; i < n; i++) {
		for (uint32_t c = 0; c < i; c++)
			b[i] -= a[i * n + c] * b[c];
		b[i] /= a[i * n + i];
	}
	for (uint32_t i = n; i-- > 0;) {
		for (uint32_t c = i + 1; c < n; c++)
			b[i] -= a[c * n + i] * b[c];
		b[i] /= a[i * n + i];
	}
	return true;
}

/* For rows [first, first + n), all [n][..]: codes without their zero points q [columns], b =
 * q_g^T H goal [groups], a = q_g^T H q_h [groups][groups]. */
typedef struct Refit {
	const RoundWork *k;
	const uint32_t *at;
	uint32_t first, n;
	double *q, *a, *b;
} Refit;

/* Rows of H of a group's columns: in place where these are neighbours. */
static const double *
group_rows(const Refit *f, uint32_t g, double *room)
{
	const RoundWork *k = f->k;
	const uint32_t *at = f->at + (size_t)g * k->group, count = group_columns(k, g);
	if (at[count - 1] - at[0] == count - 1)
		return k->h + (size_t)at[0] * k->n;
	for (uint32_t j = 0; j < count; j++)
		memcpy(room + (size_t)j * k->n, k->h + (size_t)at[j] * k->n, k->n * sizeof *room);
	return room;
}

/* a's rows of group g. */
static void
refit_group(const Refit *f, uint32_t g, double *own, double *part, double *room)
{
	const RoundWork *k = f->k;
	const uint32_t count = group_columns(k, g), n = k->n;
	for (uint32_t r = 0; r < f->n; r++)
		for (uint32_t j = 0; j < count; j++)
			own[(size_t)r * count + j] =
				f->q[(size_t)r * n + f->at[(size_t)g * k->group + j]];
	memset(part, 0, (size_t)f->n * n * sizeof *part);
	linalg_update(k->p->linalg, f->n, n, count, 1.0, own, count, group_rows(f, g, room), n,
		      part, n);
	for (uint32_t r = 0; r < f->n; r++) {
		double *a = f->a + ((size_t)r * k->groups + g) * k->groups;
		for (uint32_t h = 0; h < k->groups; h++)
			for (uint32_t j = 0; j < group_columns(k, h); j++) {
				const uint32_t c = f->at[(size_t)h * k->group + j];
				a[h] += f->q[(size_t)r * n + c] * part[(size_t)r * n + c];
			}
	}
}

/* s^T a s - 2 s^T b: the loss without its constant. */
static double
refit_loss(uint32_t groups, const double *a, const double *b, const float *s)
{
	double loss = 0.0;
	for (uint32_t g = 0; g < groups; g++) {
		double sum = -2.0 * b[g];
		for (uint32_t h = 0; h < groups; h++)
			sum += a[(size_t)g * groups + h] * (double)s[h];
		loss += sum * (double)s[g];
	}
	return loss;
}

static void
refit_row(Arena *scratch, const Refit *f, uint32_t r)
{
	const RoundWork *k = f->k;
	const uint32_t groups = k->groups, row = f->first + r;
	const double *a = f->a + (size_t)r * groups * groups, *b = f->b + (size_t)r * groups;
	double *factor = ARENA_ARRAY(scratch, double, (size_t)groups *groups);
	double *x = ARENA_ARRAY(scratch, double, groups), mean = 0.0;
	float *scales = k->r->scales + (size_t)row * groups;
	float *better = ARENA_ARRAY(scratch, float, groups);
	memcpy(factor, a, (size_t)groups * groups * sizeof *factor);
	memcpy(x, b, groups * sizeof *x);
	for (uint32_t g = 0; g < groups; g++)
		mean += a[(size_t)g * groups + g] / groups;
	for (uint32_t g = 0; g < groups; g++)
		factor[(size_t)g * groups + g] += 1e-6 * mean + (a[(size_t)g * groups + g] == 0.0);
	if (!solve_small(groups, factor, x))
		return;
	for (uint32_t g = 0; g < groups; g++) {
		const float s = format_scale_round(k->p->format, (float)x[g]);
		const bool stays = !isfinite(s) || (s < 0.0f && !k->p->format.signed_scale);
		better[g] = stays ? scales[g] : s;
	}
	if (!(refit_loss(groups, a, b, better) < refit_loss(groups, a, b, scales)))
		return;
	memcpy(scales, better, groups * sizeof *scales);
	for (uint32_t c = 0; c < k->n; c++)
		put_code(k, row, c, fit_of(k, row, group_of(k, c)),
			 k->r->codes[(size_t)row * k->n + k->column[c]]);
}

/*
 * All scales of a row at once (piso.md section 4): a s = b. Kept where the loss falls once they are
 * rounded to their stored type.
 */
void
refit_rows(Arena *scratch, const RoundWork *k, const uint32_t *at, uint32_t first, uint32_t n)
{
	const size_t count = (size_t)n * k->n;
	Refit f = {.k = k, .at = at, .first = first, .n = n};
	double *part = ARENA_ARRAY(scratch, double, count);
	double *own = ARENA_ARRAY(scratch, double, (size_t)n * k->group);
	double *room = k->groups > 1 && k->p->how->order == ORDER_STATIC
			       ? ARENA_ARRAY(scratch, double, (size_t)k->group * k->n)
			       : NULL;
	f.q = ARENA_ARRAY(scratch, double, count);
	f.b = ARENA_ARRAY(scratch, double, (size_t)n * k->groups);
	f.a = ARENA_ARRAY(scratch, double, (size_t)n * k->groups * k->groups);
	linalg_update(k->p->linalg, n, k->n, k->n, 1.0, k->goal + (size_t)first * k->n, k->n, k->h,
		      k->n, part, k->n);
	for (uint32_t r = 0; r < n; r++)
		for (uint32_t c = 0; c < k->n; c++) {
			const uint32_t g = group_of(k, c);
			const size_t i = (size_t)r * k->n + c;
			f.q[i] = k->r->codes[(size_t)(first + r) * k->n + k->column[c]] -
				 fit_of(k, first + r, g).zero;
			f.b[(size_t)r * k->groups + g] += f.q[i] * part[i];
		}
	for (uint32_t g = 0; g < k->groups; g++)
		refit_group(&f, g, own, part, room);
	for (uint32_t r = 0; r < n; r++)
		refit_row(scratch, &f, r);
}
