/*
 * One weight row in the codes that the packer stores and the interpreter multiplies.
 *
 * Rounding to nearest. Of the weights x that share a scale (a group, or the whole tensor):
 * symmetric:     scale = absmax / (2^(bits-1) - 1)
 * signed scale:  scale = peak / -2^(bits-1), peak being the first x of the largest magnitude: the
 *                extra code meets it
 * ternary:       scale = the mean of the |x| above half the mean |x|; it gives ternary weights back
 * with minimum:  minimum = min(x), scale = (max(x) - minimum) / (2^bits - 1)
 * integer zero:  scale = (max(x, 0) - min(x, 0)) / (2^bits - 1), zero = rint(-min(x, 0) / scale);
 *                the range holds 0, or the zero point would be no code
 * Scale and minimum are rounded to their stored type before zero point and codes are computed from
 * them, so the codes are nearest for the scale that is used.
 */
#include <math.h>
#include <string.h>

#include "interp.h"

void
weight_row_alloc(Arena *a, WeightRow *w, int columns, Format f)
{
	memset(w, 0, sizeof *w);
	w->row_f32 = ARENA_ARRAY(a, float, (size_t)columns);
	w->exact = ARENA_ARRAY(a, double, 2 * (size_t)columns);
	if (format_is_float(f))
		return;
	size_t groups = (size_t)format_groups(f, columns);
	w->codes = ARENA_ARRAY(a, uint8_t, (size_t)columns);
	w->zeros = ARENA_ARRAY(a, uint8_t, groups);
	w->scales = ARENA_ARRAY(a, float, groups);
	w->minima = ARENA_ARRAY(a, float, groups);
}

/* ---- ranges ------------------------------------------------------------------------------- */

WeightRange
weight_range(const float *x, int n, double above)
{
	WeightRange r = {.low = x[0], .high = x[0], .peak = x[0], .finite = true, .above = above};
	for (int i = 0; i < n; i++) {
		const double magnitude = fabs((double)x[i]);
		r.low = x[i] < r.low ? x[i] : r.low;
		r.high = x[i] > r.high ? x[i] : r.high;
		r.peak = fabsf(x[i]) > fabsf(r.peak) ? x[i] : r.peak;
		r.finite = r.finite && isfinite(x[i]);
		r.sum += magnitude;
		if (magnitude > above) {
			r.sum_above += magnitude;
			r.count_above++;
		}
	}
	r.count = (uint64_t)n;
	return r;
}

WeightRange
weight_range_join(WeightRange a, WeightRange b)
{
	a.low = b.low < a.low ? b.low : a.low;
	a.high = b.high > a.high ? b.high : a.high;
	a.peak = fabsf(b.peak) > fabsf(a.peak) ? b.peak : a.peak;
	a.finite = a.finite && b.finite;
	a.sum += b.sum;
	a.sum_above += b.sum_above;
	a.count += b.count;
	a.count_above += b.count_above;
	return a;
}

double
weight_range_above(const WeightRange *r)
{
	return r->sum / (double)r->count / 2;
}

/* ---- scales and codes --------------------------------------------------------------------- */

/* What the weights of one range are rounded with. */
typedef struct Grid {
	float scale, minimum;
	int zero;
} Grid;

static float
scale_of(const WeightRange *r, Format f, float minimum)
{
	const float span = f.minimum ? minimum : r->low < 0.0f ? r->low : 0.0f;
	if (f.minimum)
		return (r->high - span) / (float)format_top(f);
	if (f.zero)
		return ((r->high > 0.0f ? r->high : 0.0f) - span) / (float)format_top(f);
	if (f.ternary)
		return r->count_above ? (float)(r->sum_above / (double)r->count_above) : 0.0f;
	if (f.signed_scale)
		return r->peak / (float)-format_offset(f);
	return fabsf(r->peak) / (float)(format_top(f) >> 1);
}

/*
 * A non-finite weight or an overflowing scale stays visible in the scale: the packer reports it
 * with the tensor's name. A rounded minimum above every value has no span.
 */
static Grid
grid_of(const WeightRange *r, Format f)
{
	Grid g = {0};
	if (f.minimum)
		g.minimum = r->finite ? format_scale_round(f, r->low) : NAN;
	g.scale = r->finite ? scale_of(r, f, g.minimum) : NAN;
	if (r->finite)
		g.scale = format_scale_round(f, g.scale);
	if (g.scale == 0.0f || (f.minimum && g.scale < 0.0f))
		g.scale = 0.0f;
	if (f.zero && g.scale > 0.0f && isfinite(g.scale)) {
		const float z = (r->low < 0.0f ? -r->low : 0.0f) / g.scale;
		const float top = (float)format_top(f);
		g.zero = (int)contract_round(z > top ? top : z);
	}
	return g;
}

/* Codes of n values: code = rint((x - minimum) / scale) + offset, clamped. */
static void
codes_round(const float *x, int n, Grid g, int offset, int top, uint8_t *codes)
{
	float low = (float)-offset;
	float high = (float)(top - offset);
	for (int i = 0; i < n; i++) {
		float v = (x[i] - g.minimum) / g.scale;
		v = v < low ? low : v;
		v = v > high ? high : v;
		codes[i] = (uint8_t)((int)contract_round(v) + offset);
	}
}

static void
group_round(const float *x, int n, Format f, const WeightRange *tensor, int group, WeightRow *w,
	    uint8_t *codes)
{
	WeightRange own;
	if (!tensor) {
		own = weight_range(x, n, 0);
		if (f.ternary)
			own = weight_range(x, n, weight_range_above(&own));
		tensor = &own;
	}
	const Grid g = grid_of(tensor, f);
	const int offset = f.zero ? g.zero : format_offset(f);
	w->scales[group] = g.scale;
	w->minima[group] = g.minimum;
	w->zeros[group] = (uint8_t)g.zero;
	if (g.scale != 0.0f && isfinite(g.scale) && isfinite(g.minimum))
		codes_round(x, n, g, offset, format_top(f), codes);
	else
		memset(codes, offset, (size_t)n);
}

void
weight_row_round(int columns, Format f, const WeightRange *tensor, WeightRow *w)
{
	if (format_is_float(f)) {
		for (int i = 0; i < columns && f.bits == 16; i++)
			w->row_f32[i] = f16_to_f32(f32_to_f16(w->row_f32[i]));
		return;
	}
	INVARIANT(f.per_tensor == (tensor != NULL));
	for (int g = 0, at = 0; g < format_groups(f, columns); g++) {
		int n = format_group_width(f, columns, g);
		group_round(w->row_f32 + at, n, f, tensor, g, w, w->codes + at);
		at += n;
	}
}

void
weight_row_load(const Tensor *t, uint32_t row, Format f, WeightRow *w)
{
	int columns = (int)t->columns;
	if (t->packed && format_equal(t->type->format, f)) {
		for (int g = 0, k = 0, n; g < format_groups(f, columns); g++, k += n) {
			n = format_group_width(f, columns, g);
			t->packed->read(t->packed, row, (uint32_t)k, (uint32_t)n, w->codes + k,
					&w->scales[g], &w->zeros[g]);
		}
		return;
	}
	if (!format_is_float(f) && t->type->codes && format_equal(t->type->format, f)) {
		t->type->codes(tensor_row(t, row), columns, w->codes, w->scales, w->minima);
		return;
	}
	tensor_row_f32(t, row, w->row_f32);
	weight_row_round(columns, f, NULL, w);
}

/* A code of at most 8 bits times a float fits a double. */
void
weight_row_values(const WeightRow *w, Format f, int columns, double *values)
{
	if (format_is_float(f)) {
		for (int i = 0; i < columns; i++)
			values[i] = (double)w->row_f32[i];
		return;
	}
	int at = 0;
	for (int g = 0; g < format_groups(f, columns); g++) {
		const int end = at + format_group_width(f, columns, g);
		const int offset = f.zero ? w->zeros[g] : format_offset(f);
		const double scale = (double)w->scales[g];
		const double minimum = f.minimum ? (double)w->minima[g] : 0.0;
		for (; at < end; at++)
			values[at] = (w->codes[at] - offset) * scale + minimum;
	}
}

void
weight_row_centre(const WeightRow *w, Format f, int columns, int16_t *v)
{
	for (int g = 0, k = 0; g < format_groups(f, columns); g++) {
		const int z = f.zero ? w->zeros[g] : format_offset(f);
		for (int end = k + format_group_width(f, columns, g); k < end; k++)
			v[k] = (int16_t)(w->codes[k] - z);
	}
}

/* The sum of columns [k, end), which one group holds. */
static double
part_sum(const WeightRow *w, Format f, int group, int k, int end, double sum)
{
	int64_t codes = 0;
	const int n = end - k, offset = f.zero ? w->zeros[group] : format_offset(f);
	for (; k < end; k++)
		codes += w->codes[k] - offset;
	sum += (double)codes * (double)w->scales[group];
	return f.minimum ? sum + (double)n * (double)w->minima[group] : sum;
}

void
weight_row_sums(const WeightRow *w, Format f, int columns, int unit, float *sums)
{
	const int group = f.group && f.group < (uint32_t)columns ? (int)f.group : columns;
	for (int k = 0; k < columns; k += unit) {
		const int end = columns - k < unit ? columns : k + unit;
		double sum = 0;
		for (int from = k, g = k / group; from < end; g++) {
			const int stop = end - from < group - from % group ? end : (g + 1) * group;
			sum = part_sum(w, f, g, from, stop, sum);
			from = stop;
		}
		*sums++ = (float)sum;
	}
}

bool
weights_finite(const float *v, int n)
{
	for (int i = 0; i < n; i++)
		if (!isfinite(v[i]))
			return false;
	return true;
}

bool
weight_row_finite(const WeightRow *w, Format f, int columns)
{
	const int groups = format_groups(f, columns);
	if (format_is_float(f))
		return weights_finite(w->row_f32, columns);
	return weights_finite(w->scales, groups) &&
	       (!f.minimum || weights_finite(w->minima, groups));
}
