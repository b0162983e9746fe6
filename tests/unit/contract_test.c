/* The contract's scalar functions against libm in double, on a stride of all floats. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "ir/interp.h"

/* Odd, so that every exponent is met with many mantissas: about 1.4 million floats of each sign. */
enum { STRIDE = 1543 };

static float
from_bits(uint32_t u)
{
	float f;
	memcpy(&f, &u, sizeof f);
	return f;
}

/* |got - want| in units of the last place of want as a float; subnormals count in 2^-149. */
static double
ulp_error(float got, double want)
{
	int exponent;
	if (isinf((float)want))
		return isinf(got) && (got > 0) == (want > 0) ? 0.0 : 1e9;
	frexp(want, &exponent);
	double unit = ldexp(1.0, exponent - 24);
	if (unit < 0x1p-149)
		unit = 0x1p-149;
	return fabs((double)got - want) / unit;
}

/* Largest error over the floats of [low, high]. */
static double
worst(float (*f)(float), double (*reference)(double), float low, float high)
{
	double max = 0.0;
	long n = 0;
	for (uint32_t sign = 0; sign < 2; sign++) {
		for (uint32_t u = 0; u < 0x7f800000u; u += STRIDE) {
			float x = from_bits(u | sign << 31);
			if (!(x >= low && x <= high))
				continue;
			double e = ulp_error(f(x), reference((double)x));
			max = e > max ? e : max;
			n++;
		}
	}
	assert_true(n > 100000);
	return max;
}

static double
reference_rcp(double x)
{
	return 1.0 / x;
}

static double
reference_rsqrt(double x)
{
	return 1.0 / sqrt(x);
}

static double
reference_silu(double x)
{
	return x / (1.0 + exp(-x));
}

static void
test_exp(void **state)
{
	(void)state;
	double e = worst(contract_exp, exp, -110.0f, 90.0f);
	print_message("exp %.4f ulp\n", e);
	assert_true(e < 1.02);
	assert_true(contract_exp(0.0f) == 1.0f);
	assert_true(contract_exp(-INFINITY) == 0.0f);
	assert_true(contract_exp(-200.0f) == 0.0f);
	assert_true(isinf(contract_exp(INFINITY)));
	assert_true(isnan(contract_exp(NAN)));
}

static void
test_rcp(void **state)
{
	(void)state;
	double e = worst(contract_rcp, reference_rcp, 0x1p-126f, 0x1p125f);
	print_message("rcp %.4f ulp\n", e);
	assert_true(e < 0.51);
	assert_true(contract_rcp(1.0f) == 1.0f);
}

static void
test_rsqrt(void **state)
{
	(void)state;
	double e = worst(contract_rsqrt, reference_rsqrt, 0x1p-126f, 3e38f);
	print_message("rsqrt %.4f ulp\n", e);
	assert_true(e < 1.0);
}

static void
test_silu(void **state)
{
	(void)state;
	double e = worst(contract_silu, reference_silu, -3e38f, 3e38f);
	print_message("silu %.4f ulp\n", e);
	assert_true(e < 1.2);
	assert_true(contract_silu(0.0f) == 0.0f);
	assert_true(contract_silu(3e38f) == 3e38f);
}

static double
reference_gelu(double x)
{
	return 0.5 * x * (1 + tanh(sqrt(2 / acos(-1.0)) * (x + 0.044715 * x * x * x)));
}

static void
test_gelu(void **state)
{
	(void)state;
	double e = worst(contract_gelu, reference_gelu, -1.0f, 3e38f), absolute = 0;
	print_message("gelu %.4f ulp from -1 on\n", e);
	assert_true(e < 2.5);
	for (float x = -12; x < -1; x += 0x1p-14f) {
		double error = fabs((double)contract_gelu(x) - reference_gelu((double)x));
		absolute = fmax(absolute, error / fabs((double)x));
	}
	print_message("gelu %.2e of x below\n", absolute);
	assert_true(absolute < 1e-7);
	assert_true(contract_gelu(0.0f) == 0.0f);
	assert_true(contract_gelu(3e38f) == 3e38f);
	assert_true(fabsf(contract_gelu(-3e38f)) < 1e-32f);
	assert_true(isnan(contract_gelu(NAN)));
}

/* The same bits as the prototype that was swept over every float: a few results, written down. */
static void
test_bits(void **state)
{
	(void)state;
	static const struct {
		float (*f)(float);
		float x, y;
	} cases[] = {
		{contract_exp, -0x1.9ep+6f, 0x1p-149f},
		{contract_exp, -0x1.5d3334p+6f, 0x1.098716p-126f},
		{contract_exp, -0x1.42p+4f, 0x1.f3fe0cp-30f},
		{contract_exp, -0x1p+0f, 0x1.78b564p-2f},
		{contract_exp, -0x1.333334p-2f, 0x1.7b4c86p-1f},
		{contract_exp, 0x1.a36e2ep-14f, 0x1.00068ep+0f},
		{contract_exp, 0x1.666666p-1f, 0x1.01c2a6p+1f},
		{contract_exp, 0x1.6p+2f, 0x1.e96244p+7f},
		{contract_exp, 0x1.62ccccp+6f, 0x1.f46ff8p+127f},
		{contract_rcp, 0x1p-126f, 0x1p+126f},
		{contract_rcp, 0x1.1b578cp-65f, 0x1.ce97ccp+64f},
		{contract_rcp, 0x1.333334p-2f, 0x1.aaaaaap+1f},
		{contract_rcp, 0x1.8p+1f, 0x1.555556p-2f},
		{contract_rcp, 0x1.caf4acp+32f, 0x1.1d9662p-33f},
		{contract_rcp, 0x1.e17b84p+124f, 0x1.1039d4p-125f},
		{contract_rsqrt, 0x1.1039d4p-123f, 0x1.5f1556p+61f},
		{contract_rsqrt, 0x1.47ae14p-7f, 0x1.4p+3f},
		{contract_rsqrt, 0x1p+1f, 0x1.6a09e6p-1f},
		{contract_rsqrt, 0x1.8p+1f, 0x1.279a74p-1f},
		{contract_rsqrt, 0x1.204p+9f, 0x1.552f6ep-5f},
		{contract_rsqrt, 0x1.93e594p+99f, 0x1.203afap-50f},
		{contract_silu, -0x1.b8p+6f, -0x0p+0f},
		{contract_silu, -0x1.6cp+6f, -0x1.2ab2cep-125f},
		{contract_silu, -0x1.4p+4f, -0x1.621a7ep-25f},
		{contract_silu, -0x1.8p+1f, -0x1.236272p-3f},
		{contract_silu, -0x1p-2f, -0x1.c054cep-4f},
		{contract_silu, 0x1.0c6f7ap-20f, 0x1.0c6f82p-21f},
		{contract_silu, 0x1.ccccccp-1f, 0x1.479b04p-1f},
		{contract_silu, 0x1.8p+2f, 0x1.7f0ceep+2f},
		{contract_silu, 0x1.4p+5f, 0x1.4p+5f},
	};
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		float y = cases[i].f(cases[i].x);
		assert_memory_equal(&y, &cases[i].y, sizeof y);
	}
}

/* Numbers whose sum depends on the order: only the tree 8, 4, 2, 1 gives this one. */
static void
test_tree(void **state)
{
	(void)state;
	float p[16] = {0};
	p[0] = 0x1p24f;
	p[8] = 1.0f;
	p[1] = 1.0f;
	p[9] = 1.0f;
	/* (2^24 + 1) -> 2^24; 1 + 1 = 2; 2^24 + 2 is exact. In index order the ones are lost. */
	assert_true(contract_tree(p) == 0x1p24f + 2.0f);
	float order = 0.0f;
	for (int i = 0; i < 16; i++)
		order += p[i];
	assert_true(order != contract_tree(p));
	for (int i = 0; i < 16; i++)
		p[i] = (float)(1 << i);
	assert_true(contract_tree(p) == 65535.0f);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_exp),   cmocka_unit_test(test_rcp),
		cmocka_unit_test(test_rsqrt), cmocka_unit_test(test_silu),
		cmocka_unit_test(test_gelu),  cmocka_unit_test(test_bits),
		cmocka_unit_test(test_tree),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
