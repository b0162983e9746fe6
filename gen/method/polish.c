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

/* slope = H (what the row stands for - its goal). */
static void
slope_of(const RoundWork *k, uint32_t row, double *difference, double *slope)
{
	for (uint32_t i = 0; i < k->n; i++)
		difference[i] = (double)k->r->w[(size_t)row * k->n + k->column[i]] -
				k->goal[(size_t)row * k->n + i];
	memset(slope, 0, k->n * sizeof *slope);
	for (uint32_t j = 0; j < k->n; j++)
		linalg_add(slope, k->h + (size_t)j * k->n, difference[j], k->n);
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
descend(Arena *scratch, const RoundWork *k, uint32_t row)
{
	double *difference = ARENA_ARRAY(scratch, double, k->n);
	double *slope = ARENA_ARRAY(scratch, double, k->n);
	slope_of(k, row, difference, slope);
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
static void
step_signs(Arena *scratch, const RoundWork *k, uint32_t row)
{
	const int steps = k->p->how->sweeps;
	double *offset = ARENA_ARRAY(scratch, double, k->n);
	double *difference = ARENA_ARRAY(scratch, double, k->n);
	double *slope = ARENA_ARRAY(scratch, double, k->n);
	uint8_t *best = ARENA_ARRAY(scratch, uint8_t, k->n);
	double least = INFINITY;
	for (uint32_t i = 0; i < k->n; i++) {
		const Fit fit = fit_of(k, row, group_of(k, i));
		const double x =
			fit.scale == 0.0f ? 0.0 : k->w[(size_t)row * k->n + i] / (double)fit.scale;
		const double code = k->r->codes[(size_t)row * k->n + k->column[i]] - fit.zero;
		offset[i] = fmax(-0.49, fmin(0.49, x - code));
	}
	for (int t = 0; t <= steps; t++) {
		double loss = 0.0;
		slope_of(k, row, difference, slope);
		for (uint32_t i = 0; i < k->n; i++)
			loss += difference[i] * slope[i];
		for (uint32_t i = 0; i < k->n && loss < least; i++)
			best[i] = k->r->codes[(size_t)row * k->n + k->column[i]];
		least = loss < least ? loss : least;
		for (uint32_t i = 0; i < k->n; i++) {
			const Fit fit = fit_of(k, row, group_of(k, i));
			const size_t at = (size_t)row * k->n + k->column[i];
			const double step = (1.0 - (double)t / (steps + 1)) / (steps + 1);
			const double down = slope[i] * (double)fit.scale;
			const double code = (double)k->r->codes[at] - fit.zero;
			offset[i] -= down > 0.0 ? step : down < 0.0 ? -step : 0.0;
			const double moved = code + (offset[i] > 0.5	? 1.0
						     : offset[i] < -0.5 ? -1.0
									: 0.0);
			offset[i] -= moved - code;
			put_code(k, row, i, fit,
				 fit_code(k->p->format, fit, moved * (double)fit.scale));
		}
	}
	for (uint32_t i = 0; i < k->n; i++)
		put_code(k, row, i, fit_of(k, row, group_of(k, i)), best[i]);
}

void
polish_row(Arena *scratch, const RoundWork *k, uint32_t i)
{
	if (k->p->how->polish == POLISH_DESCENT)
		descend(scratch, k, i);
	else if (k->p->how->polish == POLISH_AUTOROUND)
		step_signs(scratch, k, i);
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

/* The loss of the row as it is, from H (what it stands for - its goal). */
static double
loss_of(const RoundWork *k, uint32_t row, double *difference, double *slope)
{
	double loss = 0.0;
	slope_of(k, row, difference, slope);
	for (uint32_t i = 0; i < k->n; i++)
		loss += difference[i] * slope[i];
	return loss;
}

/*
 * All scales of the row at once (piso.md section 4): a s = b with a_gh = q_g^T H q_h and b_g =
 * q_g^T H goal. Kept where the loss falls once they are rounded to their stored type.
 */
void
refit_row(Arena *scratch, const RoundWork *k, const uint32_t *at, uint32_t i)
{
	const uint32_t n = k->n, groups = k->groups;
	double *q = ARENA_ARRAY(scratch, double, n), *part = ARENA_ARRAY(scratch, double, n);
	double *pull = ARENA_ARRAY(scratch, double, n), *b = ARENA_ARRAY(scratch, double, groups);
	double *a = ARENA_ARRAY(scratch, double, (size_t)groups *groups);
	float *scales = k->r->scales + (size_t)i * groups;
	float *old = ARENA_ARRAY(scratch, float, groups), *w = k->r->w + (size_t)i * n;
	float *old_w = ARENA_ARRAY(scratch, float, n);
	double mean = 0.0;
	for (uint32_t c = 0; c < n; c++) {
		q[c] = k->r->codes[(size_t)i * n + k->column[c]] -
		       fit_of(k, i, group_of(k, c)).zero;
		for (uint32_t j = 0; j < n; j++)
			pull[c] += k->h[(size_t)c * n + j] * k->goal[(size_t)i * n + j];
	}
	for (uint32_t g = 0; g < groups; g++) {
		memset(part, 0, n * sizeof *part);
		for (uint32_t j = 0; j < group_columns(k, g); j++) {
			const uint32_t from = at[g * k->group + j];
			b[g] += q[from] * pull[from];
			linalg_add(part, k->h + (size_t)from * n, q[from], n);
		}
		for (uint32_t c = 0; c < n; c++)
			a[(size_t)g * groups + group_of(k, c)] += q[c] * part[c];
	}
	for (uint32_t g = 0; g < groups; g++)
		mean += a[(size_t)g * groups + g] / groups;
	for (uint32_t g = 0; g < groups; g++)
		a[(size_t)g * groups + g] += 1e-6 * mean + (a[(size_t)g * groups + g] == 0.0);
	const double before = loss_of(k, i, part, pull);
	if (!solve_small(groups, a, b))
		return;
	memcpy(old, scales, groups * sizeof *old);
	memcpy(old_w, w, n * sizeof *old_w);
	for (uint32_t g = 0; g < groups; g++) {
		const float s = format_scale_round(k->p->format, (float)b[g]);
		const bool stays = !isfinite(s) || (s < 0.0f && !k->p->format.signed_scale);
		scales[g] = stays ? scales[g] : s;
	}
	for (uint32_t c = 0; c < n; c++)
		w[k->column[c]] = (float)fit_value(fit_of(k, i, group_of(k, c)),
						   k->r->codes[(size_t)i * n + k->column[c]]);
	if (loss_of(k, i, part, pull) < before)
		return;
	memcpy(scales, old, groups * sizeof *old);
	memcpy(w, old_w, n * sizeof *old_w);
}
