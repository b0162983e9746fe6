/*
 * One weight row in the codes that the packer stores and the interpreter multiplies.
 *
 * Rounding to nearest: symmetric formats take scale = absmax / (2^(bits-1) - 1), formats with a
 * minimum take minimum = min(x) and scale = (max(x) - minimum) / (2^bits - 1). Scale and minimum
 * are rounded to their stored type before the codes are computed from them, so the codes are
 * nearest for the scale that is used.
 */
#include <math.h>
#include <string.h>

#include "interp.h"

/* Adding and subtracting it rounds |x| < 2^22 to the nearest even integer. */
static const float round_magic = 12582912.0f;

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
	w->scales = ARENA_ARRAY(a, float, groups);
	w->minima = ARENA_ARRAY(a, float, groups);
}

/* The nearest value of the scale's stored type; infinite where that type overflows. */
static float
scale_round(float s, Format f)
{
	return f.scale_bits == 16 ? f16_to_f32(f32_to_f16(s)) : s;
}

/* Codes of n values for a given scale and zero: code = rint(x / scale) + offset, clamped. */
static void
codes_round(const float *x, int n, float minimum, float scale, int offset, int top, uint8_t *codes)
{
	float low = (float)-offset;
	float high = (float)(top - offset);
	for (int i = 0; i < n; i++) {
		float v = (x[i] - minimum) / scale;
		v = v < low ? low : v;
		v = v > high ? high : v;
		v = (v + round_magic) - round_magic;
		codes[i] = (uint8_t)((int)v + offset);
	}
}

static void
group_round(const float *x, int n, Format f, uint8_t *codes, float *scale, float *minimum)
{
	int top = (1 << f.bits) - 1;
	int offset = format_offset(f);
	float low = x[0];
	float high = x[0];
	bool finite = true;
	for (int i = 0; i < n; i++) {
		low = x[i] < low ? x[i] : low;
		high = x[i] > high ? x[i] : high;
		finite = finite && isfinite(x[i]);
	}
	float m = 0.0f;
	float s = high > -low ? high : -low;
	if (f.minimum) {
		m = finite ? scale_round(low, f) : NAN;
		s = (high - m) / (float)top;
	} else {
		s = s / (float)(top >> 1);
	}
	/* A non-finite weight or an overflowing scale stays visible in the scale: the packer
	 * reports it with the tensor's name. A rounded minimum above every value has no span. */
	s = !finite ? NAN : s > 0.0f ? scale_round(s, f) : 0.0f;
	*scale = s;
	*minimum = m;
	if (s > 0.0f && isfinite(s) && isfinite(m))
		codes_round(x, n, m, s, offset, top, codes);
	else
		memset(codes, offset, (size_t)n);
}

static void
row_round(int columns, Format f, WeightRow *w)
{
	int groups = format_groups(f, columns);
	int at = 0;
	for (int g = 0; g < groups; g++) {
		int n = format_group_width(f, columns, g);
		group_round(w->row_f32 + at, n, f, w->codes + at, &w->scales[g], &w->minima[g]);
		at += n;
	}
}

void
weight_row_round(int columns, Format f, WeightRow *w)
{
	if (!format_is_float(f))
		row_round(columns, f, w);
	else if (f.bits == 16)
		for (int i = 0; i < columns; i++)
			w->row_f32[i] = f16_to_f32(f32_to_f16(w->row_f32[i]));
}

void
weight_row_load(const Tensor *t, uint32_t row, Format f, WeightRow *w)
{
	int columns = (int)t->columns;
	if (!format_is_float(f) && t->type->codes && format_equal(t->type->format, f)) {
		t->type->codes(tensor_row(t, row), columns, w->codes, w->scales, w->minima);
		return;
	}
	tensor_row_f32(t, row, w->row_f32);
	weight_row_round(columns, f, w);
}

/* The sum of columns [k, end), which one group holds. */
static double
part_sum(const WeightRow *w, Format f, int group, int k, int end, double sum)
{
	int64_t codes = 0;
	const int n = end - k, offset = format_offset(f);
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
