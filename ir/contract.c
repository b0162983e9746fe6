/*
 * The scalar functions of the bit contract: add, multiply, fma and integer operations only, so
 * every target can repeat them bit for bit. At most 1.2 ulp (tests/unit/contract_test.c).
 *
 * exp uses x = n ln 2 + r with a minimax polynomial of degree 6 for exp(r), |r| <= ln 2 / 2; 2^n is
 * applied as two exact factors so that subnormal results are rounded once. The reciprocals
 * are a linear guess on the bits followed by Newton steps in residual form.
 */
#include <math.h>
#include <string.h>

#include "interp.h"

static float
from_bits(uint32_t u)
{
	float f;
	memcpy(&f, &u, sizeof f);
	return f;
}

static uint32_t
to_bits(float f)
{
	uint32_t u;
	memcpy(&u, &f, sizeof u);
	return u;
}

/* exp(x) = p * a * b, and lo is what rounding p lost. INVARIANT: -110 <= x <= 89, or NaN. */
typedef struct ExpParts {
	float p, lo, a, b;
} ExpParts;

static ExpParts
exp_parts(float x)
{
	float t = fmaf(x, 1.44269504f, 12582912.0f);
	uint32_t n = to_bits(t) - 0x4b400000u;
	float k = t - 12582912.0f;
	float r = fmaf(k, -0.693145752f, x);
	r = fmaf(k, -1.42860677e-6f, r);
	float q = fmaf(0.00138145394f, r, 0.00836874545f);
	q = fmaf(q, r, 0.041668389f);
	q = fmaf(q, r, 0.166665211f);
	q = fmaf(q, r, 0.49999994f);
	float s = fmaf(q, r * r, r);
	/* Arithmetic shift of a two's complement word, written without a signed shift. */
	uint32_t half = n >> 1 | (n & 0x80000000u);
	float p = 1.0f + s;
	return (ExpParts){
		.p = p,
		.lo = s - (p - 1.0f),
		.a = from_bits((half + 127u) << 23),
		.b = from_bits((n - half + 127u) << 23),
	};
}

float
contract_exp(float x)
{
	x = x > 89.0f ? 89.0f : x;
	x = x < -110.0f ? -110.0f : x;
	ExpParts e = exp_parts(x);
	return e.p * e.a * e.b;
}

float
contract_rcp(float x)
{
	float y = from_bits(0x7ef311c3u - to_bits(x));
	for (int i = 0; i < 3; i++) {
		float e = fmaf(-x, y, 1.0f);
		y = fmaf(y, e, y);
	}
	return y;
}

float
contract_rsqrt(float x)
{
	float y = from_bits(0x5f375a86u - (to_bits(x) >> 1));
	for (int i = 0; i < 3; i++) {
		float h = x * y;
		float e = fmaf(-h, y, 1.0f);
		y = fmaf(0.5f * y, e, y);
	}
	return y;
}

/*
 * x / (1 + exp(-x)). With e = exp(-|x|), d + l = 1 + e exactly; the quotient num / d is corrected
 * once by its residual. For x < 0 the numerator is x * p and 2^n is applied last, so that subnormal
 * results are rounded once.
 */
float
contract_silu(float x)
{
	x = x < -112.0f ? -112.0f : x;
	bool negative = to_bits(x) >> 31;
	float a = from_bits(to_bits(x) | 0x80000000u);
	a = a < -110.0f ? -110.0f : a;
	ExpParts p = exp_parts(a);
	float e = p.p * p.a * p.b;
	float h = x * p.p;
	float num = negative ? h : x;
	float num_lo = negative ? fmaf(x, p.lo, fmaf(x, p.p, -h)) : 0.0f;

	float d = 1.0f + e;
	float l = e - (d - 1.0f);
	float y = from_bits(0x7ef311c3u - to_bits(d));
	for (int i = 0; i < 2; i++) {
		float c = fmaf(-d, y, 1.0f);
		y = fmaf(y, c, y);
	}
	float q = num * y;
	float m = fmaf(-d, q, num);
	m = fmaf(-l, q, m) + num_lo;
	q = fmaf(y, m, q);
	return negative ? q * p.a * p.b : q;
}

/*
 * x / (1 + exp(-u)), u = 2 sqrt(2/pi) (x + 0.044715 x^3): the tanh form of gelu, in which tanh is
 * the sigmoid of twice its argument. Below -9.5, where gelu is less than 1e-32, x counts as -9.5.
 */
float
contract_gelu(float x)
{
	x = x < -9.5f ? -9.5f : x;
	const float u = x * fmaf(x * x, 0.0713548163f, 1.59576912f);
	return x * contract_rcp(1.0f + contract_exp(-u));
}

float
contract_tree(const float p[16])
{
	float t[16];
	memcpy(t, p, sizeof t);
	for (int n = 8; n > 0; n /= 2)
		for (int j = 0; j < n; j++)
			t[j] = t[j] + t[j + n];
	return t[0];
}
