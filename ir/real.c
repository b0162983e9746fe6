/* exp, log, sin and cos: argument reduction by constants split in exact pieces, then a series. */
#include "real.h"
#include "support.h"

#include <string.h>

static uint64_t
real_bits(double x)
{
	uint64_t u;
	memcpy(&u, &x, sizeof u);
	return u;
}

static double
real_from_bits(uint64_t u)
{
	double x;
	memcpy(&x, &u, sizeof x);
	return x;
}

/* 2^k for a normal result. */
static double
real_power2(int k)
{
	return real_from_bits((uint64_t)(k + 1023) << 52);
}

/* Nearest integer, |x| < 2^51, ties to even. */
static double
real_nearest(double x)
{
	const double shift = 0x1.8p52;
	return (x + shift) - shift;
}

/* ln 2: the high part has 32 bits, so its product with an exponent is exact. */
static const double ln2_high = 0x1.62e42feep-1;
static const double ln2_low = 0x1.a39ef35793c76p-33;

double
real_exp(double x)
{
	if (x < -746)
		return 0;
	if (x > 710)
		return real_from_bits(0x7ff0000000000000u);
	double k = real_nearest(x * 0x1.71547652b82fep+0);
	double r = (x - k * ln2_high) - k * ln2_low;
	double y = 1;
	for (int n = 14; n > 0; n--)
		y = 1 + y * r / n;
	int e = (int)k, half = e / 2;
	return y * real_power2(half) * real_power2(e - half);
}

double
real_log(double x)
{
	uint64_t u = real_bits(x);
	int e = (int)(u >> 52) - 1023;
	double m = real_from_bits((u & 0xfffffffffffffu) | 0x3ff0000000000000u);
	if (m > 0x1.6a09e667f3bcdp+0) {
		m *= 0.5;
		e++;
	}
	/* ln m = 2 atanh(s), |s| <= 0.172 */
	double s = (m - 1) / (m + 1), q = s * s, sum = 0;
	for (int n = 23; n > 1; n -= 2)
		sum = (sum + 1.0 / n) * q;
	return e * ln2_high + (2 * s + (2 * s * sum + e * ln2_low));
}

/*
 * pi/2 in three pieces of at most 29 bits and a rest: for |x| <= 2^24 the product of a piece with
 * the quadrant is exact, and what is lost in the differences is below 2^-53.
 */
static const double half_pi[4] = {0x1.921fb54p+0, 0x1.10b4611p-30, 0x1.4c4c662p-59,
				  0x1.1701b839a252p-88};

void
real_sincos(double x, double *sine, double *cosine)
{
	double k = real_nearest(x * 0x1.45f306dc9c883p-1);
	double r = x;
	for (int i = 0; i < 4; i++)
		r -= k * half_pi[i];
	double q = r * r, s = 1, c = 1;
	for (int n = 18; n > 1; n -= 2) {
		s = 1 - s * q / (n * (n + 1));
		c = 1 - c * q / (n * (n - 1));
	}
	s *= r;
	switch ((int64_t)k & 3) {
	case 0:
		*sine = s, *cosine = c;
		break;
	case 1:
		*sine = c, *cosine = -s;
		break;
	case 2:
		*sine = -s, *cosine = -c;
		break;
	default:
		*sine = -c, *cosine = s;
		break;
	}
}
