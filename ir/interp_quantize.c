/* Rows of floats into codes, as the bit contract says: one group, the whole row or a head at a
 * time. */
#include <math.h>
#include <string.h>

#include "interp_impl.h"

/* The least steps between codes of asymmetric rows. */
static const float least_range = 1e-4f, least_step = 1e-5f;

/* Integer zero points go this far from the codes: some 40 times what 8 or 16 bits span. */
static float
zero_most(Format f)
{
	return f.bits == 16 ? 2560000.0f : 10000.0f;
}

typedef float (*Choose)(float a, float b);

static float
larger(float a, float b)
{
	return a > b ? a : b;
}

static float
smaller(float a, float b)
{
	return a < b ? a : b;
}

static float
itself(float x)
{
	return x;
}

/* min16 or max16 of f(x_i), a row padded with what the sums start with: that only ever takes the
 * place of a NaN. */
static float
choose16(const float *x, size_t n, float (*f)(float), float start, Choose choose)
{
	float p[16];
	for (int j = 0; j < 16; j++)
		p[j] = start;
	for (size_t i = 0; i < round_up(n, 16); i++)
		p[i % 16] = choose(p[i % 16], i < n ? f(x[i]) : start);
	for (int w = 8; w > 0; w /= 2)
		for (int j = 0; j < w; j++)
			p[j] = choose(p[j], p[j + w]);
	return p[0];
}

static void
store_code(Format f, int c, int16_t *hi, int16_t *lo)
{
	int low = ((c + 128) & 255) - 128;
	if (f.bits <= 8) {
		*hi = (int16_t)c;
		return;
	}
	*hi = (int16_t)((c - low) / 256);
	*lo = (int16_t)low;
}

static void
symmetric(Format f, const float *x, size_t n, int16_t *hi, int16_t *lo, float *scale)
{
	float qmax = (float)format_qmax(f), range = choose16(x, n, fabsf, 0.0f, larger);
	if (f.clip != 0.0f)
		range = range * f.clip;
	float s = range * (1.0f / qmax);
	bool none = s < 0x1p-126f;
	float inverse = none ? 0.0f : contract_rcp(s);
	for (size_t i = 0; i < n; i++) {
		float c = none ? 0.0f : smaller(larger(x[i] * inverse, -qmax), qmax);
		store_code(f, (int)contract_round(c), hi + i, lo + i);
	}
	*scale = none ? 0.0f : s;
}

static void
asymmetric(Format f, const float *x, size_t n, int16_t *hi, int16_t *lo, float *scale, float *zero)
{
	const int first = format_low(f);
	const float top = (float)(format_high(f) - first), step = 1.0f / top;
	const bool real = f.zero == ZERO_REAL;
	float least = choose16(x, n, itself, real ? 0.0f : INFINITY, smaller);
	float most = choose16(x, n, itself, real ? 0.0f : -INFINITY, larger);
	if (f.clip != 0.0f) {
		least = least * f.clip;
		most = most * f.clip;
	}
	float range = most - least;
	float s = real ? larger(range, least_range) * step : larger(range * step, least_step);
	float inverse = contract_rcp(s), z = -least * inverse;
	if (!real) {
		z = smaller(larger(z, -zero_most(f)), zero_most(f));
		z = contract_round(z);
	}
	for (size_t i = 0; i < n; i++) {
		float c = smaller(larger(fmaf(x[i], inverse, z), 0.0f), top);
		store_code(f, (int)contract_round(c) + first, hi + i, lo + i);
	}
	*scale = s;
	*zero = z + (float)first;
}

void
interp_quantize(Format f, const float *x, size_t n, int16_t *hi, int16_t *lo, float *scale,
		float *zero)
{
	if (f.zero)
		asymmetric(f, x, n, hi, lo, scale, zero);
	else
		symmetric(f, x, n, hi, lo, scale);
}
