/*
 * The vector words and functions of every ISA level: bits against libm's fmaf, ir/format.c and
 * ir/contract.c, errors against double libm. `words_test STRIDE` sweeps every STRIDE-th float (1:
 * all).
 */
#include "ir/interp.h"
#include "tests/exec/isa_suite.h"
#include "tests/exec/words_isa.h"

typedef struct Suite {
	const WordsIsa *isa[ISA_LEVEL_COUNT];
	int n_isa;
	uint32_t stride; /* of the sweeps over floats */
} Suite;

#define EACH_ISA(s, p) (int p = 0; p < (s)->n_isa; p++)

/* ---- words ----------------------------------------------------------------------------------- */

enum { BATCH = 4096 };

/* Triples near the edges of fma: special values in all combinations. */
static const uint32_t edge_bits[] = {
	0x00000000, 0x00000001, 0x00000002, 0x00000003, 0x007fffff, 0x00800000, 0x00800001,
	0x00ffffff, 0x01000000, 0x0c000000, 0x0c000001, 0x1a000000, 0x1fffffff, 0x20000000,
	0x33800000, 0x337fffff, 0x33800001, 0x34000000, 0x3effffff, 0x3f000000, 0x3f7fffff,
	0x3f800000, 0x3f800001, 0x3f800003, 0x3fc00000, 0x40000000, 0x4b7fffff, 0x4b800000,
	0x4b800001, 0x5f800000, 0x5f7fffff, 0x7e800000, 0x7effffff, 0x7f000000, 0x7f7ffffe,
	0x7f7fffff, 0x7f800000, 0x7fc00000,
};

static void
check_fma(const Suite *s, int n, const float *a, const float *b, const float *c)
{
	static const char *const names[] = {"vf_fma", "s_fma_soft"};
	float y[BATCH];
	for
		EACH_ISA(s, p)
	for (int soft = 0; soft < 2; soft++) {
		const WordsIsa *isa = s->isa[p];
		if (soft && !isa->fma_soft)
			continue;
		(soft ? isa->fma_soft : isa->fma)(n, a, b, c, y);
		for (int i = 0; i < n; i++) {
			float r = fmaf(a[i], b[i], c[i]);
			if (isnan(r) ? isnan(y[i]) : as_bits(r) == as_bits(y[i]))
				continue;
			fail_msg("%s, %s: fma(%a, %a, %a) is %a, expected %a", names[soft],
				 isa->name, (double)a[i], (double)b[i], (double)c[i], (double)y[i],
				 (double)r);
		}
	}
}

static void
fma_of_special_values(void **state)
{
	const Suite *s = *state;
	const uint32_t edges = COUNT(edge_bits), all = 8 * edges * edges * edges;
	float a[BATCH], b[BATCH], c[BATCH];
	for (uint32_t from = 0; from < all; from += BATCH) {
		for (uint32_t j = 0; j < BATCH; j++) {
			uint32_t i = (from + j) % all, sign = i % 8, t = i / 8;
			a[j] = as_float(edge_bits[t % edges] | (sign & 1) << 31);
			b[j] = as_float(edge_bits[t / edges % edges] | (sign & 2) << 30);
			c[j] = as_float(edge_bits[t / edges / edges] | (sign & 4) << 29);
		}
		check_fma(s, BATCH, a, b, c);
	}
}

/* c chosen so that a * b + c lies at, or a hair beside, the middle of two floats. */
static void
fma_at_halfway(void **state)
{
	const Suite *s = *state;
	float a[BATCH], b[BATCH], c[BATCH];
	uint64_t seed = 1;
	for (int round = 0; round < 256; round++) {
		for (int i = 0; i < BATCH; i++) {
			uint32_t k = draw(&seed);
			/* a * b = 2^e (1 + few bits) exactly; c = its half-ulp neighbourhood */
			int e = (int)(draw(&seed) % 300) - 170, shift = 23 + (int)(k % 5);
			float x = 1.0f + (float)(k >> 8 & 63) / 64.0f,
			      y = 1.0f + (float)(k >> 14 & 3) / 4.0f;
			a[i] = ldexpf(x, e / 2);
			b[i] = ldexpf(k & 1 << 30 ? -y : y, e - e / 2);
			c[i] = ldexpf(1.0f + (float)(k >> 16 & 3) * 0x1p-23f,
				      e + (k & 1 << 29 ? shift : -shift) + (k & 1 << 28 ? 1 : 0));
			if (k & 1 << 27)
				c[i] = ldexpf((float)(draw(&seed) >> 8),
					      e + (int)(k >> 20 & 63) - 32);
		}
		check_fma(s, BATCH, a, b, c);
	}
}

static void
fma_of_random_bits(void **state)
{
	const Suite *s = *state;
	float a[BATCH], b[BATCH], c[BATCH];
	uint64_t seed = 2;
	for (int round = 0; round < 256; round++) {
		for (int i = 0; i < BATCH; i++) {
			a[i] = as_float(draw(&seed));
			b[i] = as_float(draw(&seed));
			c[i] = as_float(draw(&seed));
			if (round % 2) /* near the product, so that digits cancel */
				c[i] = as_float(as_bits(-(a[i] * b[i])) + draw(&seed) % 8 - 4);
		}
		check_fma(s, BATCH, a, b, c);
	}
}

static void
f16_to_float(void **state)
{
	const Suite *s = *state;
	uint16_t *h = make(65536 * sizeof *h);
	float *y = make_floats(65536), *scalar = make_floats(65536), *expected = make_floats(65536);
	for (int i = 0; i < 65536; i++) {
		h[i] = (uint16_t)i;
		expected[i] = f16_to_f32(h[i]);
	}
	for
		EACH_ISA(s, p)
		{
			s->isa[p]->from_f16(65536, h, y, scalar);
			same("vector and scalar f16", s->isa[p]->name, 0, y, scalar,
			     65536 * sizeof *y);
			for (int i = 0; i < 65536; i++)
				if (isnan(expected[i]) ? !isnan(y[i])
						       : as_bits(y[i]) != as_bits(expected[i]))
					fail_msg("%s: half %04x is %a, expected %a",
						 s->isa[p]->name, i, (double)y[i],
						 (double)expected[i]);
		}
	free(h);
	free(y);
	free(scalar);
	free(expected);
}

/* All floats near halves and their midpoints, and a stride over the rest. */
static void
float_to_f16(void **state)
{
	const Suite *s = *state;
	float x[BATCH];
	uint16_t y[BATCH], scalar[BATCH];
	for (uint32_t from = 0; from < 0x40000; from += BATCH / 16) {
		for (uint32_t j = 0; j < BATCH; j++) {
			uint32_t step = from + j / 16, at = j % 16;
			/* every 2^12-th float above, from 2^-26 on, is a half or a midpoint */
			uint32_t u = step < 0x20000 ? (step << 12) + 0x32000000u + at - 8
						    : (step - 0x20000) * 0x3fedu + at;
			x[j] = as_float((u & 0x7fffffffu) | (j & 1) << 31);
		}
		for
			EACH_ISA(s, p)
			{
				s->isa[p]->to_f16(BATCH, x, y, scalar);
				same("vector and scalar f16", s->isa[p]->name, 1, y, scalar,
				     sizeof y);
				for (int j = 0; j < BATCH; j++) {
					uint16_t r = f32_to_f16(x[j]);
					bool ok =
						isnan(x[j]) ? (y[j] & 0x7fff) > 0x7c00 : y[j] == r;
					if (!ok)
						fail_msg("%s: %a becomes half %04x, expected %04x",
							 s->isa[p]->name, (double)x[j], y[j], r);
				}
			}
	}
}

/* ---- functions ------------------------------------------------------------------------------- */

static double
exact_rcp(double x)
{
	return 1.0 / x;
}

static double
exact_rsqrt(double x)
{
	return 1.0 / sqrt(x);
}

static double
exact_silu(double x)
{
	return x / (1.0 + exp(-x));
}

static double
exact_gelu(double x)
{
	return 0.5 * x * (1 + tanh(sqrt(2 / acos(-1.0)) * (x + 0.044715 * x * x * x)));
}

/* Of the correctly rounded result's binade, never below the smallest subnormal. */
static double
error_ulp(float y, double exact)
{
	int e;
	if (isinf((float)exact))
		return isinf(y) && (y > 0) == (exact > 0) ? 0.0 : 99.0;
	frexp(exact, &e);
	return fabs((double)y - exact) / (e < -125 ? 0x1p-149 : ldexp(1.0, e - 24));
}

typedef struct Function {
	const char *name;
	double (*exact)(double);
	float (*contract)(float);
	float low, high;
	double ulp, subnormal; /* limits of the error, ulp and 2^-149 */
} Function;

/* Bits of every ISA level against contract.c, and the error against double. */
static void
check_function(const Suite *s, Function f, size_t at)
{
	float x[BATCH], y[BATCH], expected[BATCH];
	double worst = 0, worst_subnormal = 0;
	int n = 0;
	const uint64_t stop = 0xff800000u;
	for (uint64_t u = 0; u < stop; u += s->stride) {
		if (u >= 0x7f800000u && u < 0x80000000u)
			u = 0x80000000u + u % s->stride;
		float v = as_float((uint32_t)u);
		if (v >= f.low && v <= f.high)
			x[n++] = v;
		if (u + s->stride >= stop)
			while (n && n % 16)
				x[n++] = x[0];
		if (n == 0 || (n < BATCH && u + s->stride < stop))
			continue;
		for (int i = 0; i < n; i++)
			expected[i] = f.contract(x[i]);
		for
			EACH_ISA(s, p)
			{
				void (*fn)(int, const float *, float *);
				memcpy(&fn, (const char *)s->isa[p] + at, sizeof fn);
				fn(n, x, y);
				same(f.name, s->isa[p]->name, 0, y, expected,
				     (size_t)n * sizeof *y);
			}
		for (int i = 0; i < n; i++) {
			double exact = f.exact((double)x[i]), e = error_ulp(expected[i], exact);
			double *to = fabs(exact) < 0x1p-126 ? &worst_subnormal : &worst;
			*to = e > *to ? e : *to;
		}
		n = 0;
	}
	print_message("  %-5s at most %.4f ulp, subnormal results %.3f\n", f.name, worst,
		      worst_subnormal);
	assert_true(worst <= f.ulp);
	assert_true(worst_subnormal <= f.subnormal);
	assert_true(worst > 0.3); /* the sweep met real values */
}

static void
functions(void **state)
{
	static const Function table[] = {
		{"exp", exp, contract_exp, -110.0f, 90.0f, 1.01, 0.76},
		{"rcp", exact_rcp, contract_rcp, 0x1p-126f, 0x1p125f, 0.51, 0.51},
		{"rsqrt", exact_rsqrt, contract_rsqrt, 0x1p-126f, 3e38f, 1.0, 1.0},
		{"silu", exact_silu, contract_silu, -3e38f, 3e38f, 1.12, 0.95},
		{"gelu", exact_gelu, contract_gelu, -1.0f, 3e38f, 2.5, 1.0},
	};
	static const size_t at[] = {offsetof(WordsIsa, exp), offsetof(WordsIsa, rcp),
				    offsetof(WordsIsa, rsqrt), offsetof(WordsIsa, silu),
				    offsetof(WordsIsa, gelu)};
	for (int i = 0; i < COUNT(table); i++)
		check_function(*state, table[i], at[i]);
}

static void
scalar_functions(void **state)
{
	const Suite *s = *state;
	float x[BATCH], y[BATCH], r[BATCH];
	uint64_t seed = 3;
	for (int i = 0; i < BATCH; i++)
		x[i] = as_float(0x00800000u + draw(&seed) % 0x7d000000u);
	for
		EACH_ISA(s, p)
		{
			s->isa[p]->rcp_scalar(BATCH, x, y);
			for (int i = 0; i < BATCH; i++)
				r[i] = contract_rcp(x[i]);
			same("s_rcp", s->isa[p]->name, 0, y, r, sizeof y);
			s->isa[p]->rsqrt_scalar(BATCH, x, y);
			for (int i = 0; i < BATCH; i++)
				r[i] = contract_rsqrt(x[i]);
			same("s_rsqrt", s->isa[p]->name, 0, y, r, sizeof y);
		}
}

/* Beyond the ranges of the sweep. */
static void
functions_at_the_ends(void **state)
{
	const Suite *s = *state;
	float x[16] = {INFINITY, -INFINITY, 90.0f, 3e38f,  -120.0f,
		       -3e38f,	 0.0f,	    -0.0f, 1e-45f, -1e-45f};
	float y[16];
	for
		EACH_ISA(s, p)
		{
			s->isa[p]->exp(16, x, y);
			const float e[10] = {INFINITY, 0, INFINITY, INFINITY, 0, 0, 1, 1, 1, 1};
			same("exp", s->isa[p]->name, 0, y, e, sizeof e);
			x[10] = NAN;
			s->isa[p]->exp(16, x, y);
			assert_true(isnan(y[10]));
			x[10] = 0;
			s->isa[p]->silu(16, x, y);
			assert_true(y[2] == 90.0f && y[3] == 3e38f);
			for (int i = 2; i < 10; i++) {
				float r = contract_silu(x[i]);
				same("silu", s->isa[p]->name, i, &y[i], &r, sizeof r);
			}
			assert_true(y[6] == 0 && y[7] == 0);
			assert_true(fabsf(y[4]) <= 1e-45f && fabsf(y[5]) <= 1e-45f);
			s->isa[p]->gelu(16, x, y);
			assert_true(y[2] == 90.0f && y[3] == 3e38f && fabsf(y[5]) < 1e-32f);
			for (int i = 2; i < 10; i++) {
				float r = contract_gelu(x[i]);
				same("gelu", s->isa[p]->name, i, &y[i], &r, sizeof r);
			}
		}
}

int
main(int argc, char **argv)
{
	const int usable = isa_usable();
	Suite s = {.n_isa = 0, .stride = 60013};
	if (argc > 1)
		s.stride = (uint32_t)strtoul(argv[1], NULL, 10);
	if (s.stride == 0 || s.stride > 1u << 24) {
		fprintf(stderr, "use: %s [STRIDE], 1 to 16777216\n", argv[0]);
		return 2;
	}
#define LEVEL(suffix, name, has)              \
	if (usable >> ISA_LEVEL_##suffix & 1) \
		s.isa[s.n_isa++] = &words_isa_##suffix;
	ISA_LEVELS
#undef LEVEL
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_prestate(fma_of_special_values, &s),
		cmocka_unit_test_prestate(fma_at_halfway, &s),
		cmocka_unit_test_prestate(fma_of_random_bits, &s),
		cmocka_unit_test_prestate(f16_to_float, &s),
		cmocka_unit_test_prestate(float_to_f16, &s),
		cmocka_unit_test_prestate(functions, &s),
		cmocka_unit_test_prestate(scalar_functions, &s),
		cmocka_unit_test_prestate(functions_at_the_ends, &s),
	};
	return cmocka_run_group_tests_name("words", tests, NULL, NULL);
}
