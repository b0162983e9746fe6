/* Products, moments and factors against sums of doubles; the same bits for any number of threads.
 */
#include "gen/method/linalg.h"
#include "tests/random.h"

#include <math.h>
#include <setjmp.h>
#include <string.h>

#include <cmocka.h>

enum { JOBS = 3 };

static double *
doubles(Arena *a, uint64_t *seed, size_t n)
{
	double *x = ARENA_ARRAY(a, double, n);
	for (size_t i = 0; i < n; i++)
		x[i] = random_real(seed);
	return x;
}

static float *
floats(Arena *a, uint64_t *seed, size_t n)
{
	float *x = ARENA_ARRAY(a, float, n);
	for (size_t i = 0; i < n; i++)
		x[i] = (float)random_real(seed);
	return x;
}

/* A well-conditioned symmetric matrix. */
static double *
symmetric(Arena *a, uint64_t *seed, size_t n)
{
	const double *x = doubles(a, seed, n * n);
	double *h = ARENA_ARRAY(a, double, n *n);
	for (size_t i = 0; i < n; i++)
		for (size_t j = 0; j < n; j++) {
			for (size_t k = 0; k < n; k++)
				h[i * n + j] += x[i * n + k] * x[j * n + k] / (double)n;
			h[i * n + j] += i == j;
		}
	return h;
}

static void
near(double a, double b, double tolerance)
{
	if (fabs(a - b) > tolerance)
		fail_msg("%.17g and %.17g differ by more than %g", a, b, tolerance);
}

static void
test_linear(void **state)
{
	Arena *a = arena_new();
	uint64_t seed = 1;
	enum { M = 515, N = 37, K = 70 };
	const float *x = floats(a, &seed, M * K), *w = floats(a, &seed, N * K);
	float *y = ARENA_ARRAY(a, float, M *N), *one = ARENA_ARRAY(a, float, M *N);
	(void)state;
	linalg_linear(linalg_open(a, JOBS), M, N, K, x, w, y);
	linalg_linear(linalg_open(a, 1), M, N, K, x, w, one);
	assert_memory_equal(y, one, M * N * sizeof *y);
	for (size_t i = 0; i < M; i++)
		for (size_t j = 0; j < N; j++) {
			double sum = 0.0;
			for (size_t k = 0; k < K; k++)
				sum += (double)x[i * K + k] * (double)w[j * K + k];
			near((double)y[i * N + j], sum, 1e-5);
		}
	arena_free(a);
}

static void
test_moments(void **state)
{
	Arena *a = arena_new();
	uint64_t seed = 2;
	enum { T = 700, N = 130 };
	const float *x = floats(a, &seed, T * N), *z = floats(a, &seed, T * N);
	(void)state;
	for (int cross = 0; cross < 2; cross++) {
		const float *y = cross ? z : x;
		double *h = ARENA_ARRAY(a, double, N *N), *one = ARENA_ARRAY(a, double, N *N);
		for (int twice = 0; twice < 2; twice++) {
			linalg_moments(linalg_open(a, JOBS), T, N, x, cross ? z : NULL, h);
			linalg_moments(linalg_open(a, 1), T, N, x, cross ? z : NULL, one);
		}
		assert_memory_equal(h, one, N * N * sizeof *h);
		for (size_t i = 0; i < N; i++)
			for (size_t j = 0; j < N; j++) {
				double sum = 0.0;
				for (size_t t = 0; t < T; t++)
					sum += (double)x[t * N + i] * (double)y[t * N + j];
				near(h[i * N + j], 2.0 * sum, 1e-3);
				if (!cross)
					assert_true(h[i * N + j] == h[j * N + i]);
			}
	}
	arena_free(a);
}

static void
test_multiply(void **state)
{
	Arena *a = arena_new();
	uint64_t seed = 3;
	enum { M = 300, N = 21, K = 33 };
	const double *x = doubles(a, &seed, M * K), *b = doubles(a, &seed, K * N);
	double *c = ARENA_ARRAY(a, double, M *N);
	(void)state;
	for (int transposed = 0; transposed < 2; transposed++) {
		linalg_multiply(linalg_open(a, JOBS), transposed, M, N, K, x, b, c);
		for (size_t i = 0; i < M; i++)
			for (size_t j = 0; j < N; j++) {
				double sum = 0.0;
				for (size_t k = 0; k < K; k++)
					sum += x[i * K + k] * b[transposed ? j * K + k : k * N + j];
				near(c[i * N + j], sum, 1e-12);
			}
	}
	arena_free(a);
}

/* (h + damp I) u^T u is I. */
static void
test_factor(void **state)
{
	Arena *a = arena_new();
	uint64_t seed = 4;
	enum { N = 67 };
	const double damp = 0.25, *h = symmetric(a, &seed, N);
	double *u = ARENA_ARRAY(a, double, N *N);
	(void)state;
	assert_true(linalg_factor(linalg_open(a, JOBS), N, h, damp, u));
	for (size_t i = 0; i < N; i++) {
		double inverse[N] = {0};
		for (size_t k = 0; k < N; k++)
			for (size_t j = 0; j < N; j++)
				inverse[j] += u[k * N + i] * u[k * N + j];
		for (size_t j = 0; j < N; j++) {
			double sum = damp * inverse[j];
			for (size_t k = 0; k < N; k++)
				sum += h[j * N + k] * inverse[k];
			near(sum, i == j, 1e-12);
			if (j < i)
				assert_true(u[i * N + j] == 0.0);
		}
	}
	arena_free(a);
}

static void
test_solve(void **state)
{
	Arena *a = arena_new();
	uint64_t seed = 5;
	enum { N = 40, ROWS = 300 };
	const double *h = symmetric(a, &seed, N), *b = doubles(a, &seed, ROWS * N);
	double *x = ARENA_ARRAY(a, double, ROWS *N);
	(void)state;
	assert_true(linalg_solve(linalg_open(a, JOBS), N, h, 0.5, ROWS, b, x));
	for (size_t r = 0; r < ROWS; r++)
		for (size_t j = 0; j < N; j++) {
			double sum = 0.5 * x[r * N + j];
			for (size_t k = 0; k < N; k++)
				sum += x[r * N + k] * h[k * N + j];
			near(sum, b[r * N + j], 1e-12);
		}
	arena_free(a);
}

static void
test_refusals(void **state)
{
	Arena *a = arena_new();
	const double minus[4] = {1.0, 2.0, 2.0, 1.0};
	double nan[4] = {1.0, 0.0, 0.0, 1.0}, u[4];
	(void)state;
	nan[3] = NAN;
	const Linalg *l = linalg_open(a, 1);
	assert_false(linalg_factor(l, 2, minus, 0.0, u));
	assert_true(linalg_factor(l, 2, minus, 1.5, u));
	assert_false(linalg_factor(l, 2, nan, 1.0, u));
	assert_false(linalg_solve(l, 2, nan, 1.0, 1, minus, u));
	assert_true(linalg_machine(l)[0] != 0);
	arena_free(a);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_linear),	 cmocka_unit_test(test_moments),
		cmocka_unit_test(test_multiply), cmocka_unit_test(test_factor),
		cmocka_unit_test(test_solve),	 cmocka_unit_test(test_refusals),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
