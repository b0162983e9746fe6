/* Programs of base matrices: their sums, their sizes, the order of their rounding. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "ir/hadamard.h"
#include "tests/random.h"

static const struct {
	Construction construction;
	uint32_t parameter, order, adds;
} programs[] = {
	{BASE_PALEY1, 11, 12, 54},   {BASE_PALEY1, 19, 20, 126},  {BASE_PALEY2, 13, 28, 225},
	{BASE_PALEY1, 27, 28, 252},  {BASE_PALEY2, 17, 36, 335},  {BASE_PALEY1, 59, 60, 954},
	{BASE_PALEY2, 37, 76, 1046}, {BASE_DOUBLED, 24, 24, 192},
};
enum { PROGRAMS = sizeof programs / sizeof *programs };

/* Integers: every sum is exact, so the program is the matrix. */
static void
check_exact(Arena *a, const Base *b, bool transposed)
{
	enum { WIDTH = 3, STRIDE = 5 };
	const uint32_t n = b->order;
	uint64_t seed = n;
	const Codelet *c = base_program(a, b, transposed);
	double *x = ARENA_ARRAY(a, double, n *STRIDE), *y = ARENA_ARRAY(a, double, n *STRIDE);
	for (uint32_t i = 0; i < n * STRIDE; i++)
		x[i] = y[i] = (double)(random_next(&seed) % 1000);
	codelet_run_double(c, y, STRIDE, WIDTH, 0, 1);
	for (uint32_t i = 0; i < n; i++)
		for (uint32_t k = 0; k < STRIDE; k++) {
			double sum = k < WIDTH ? 0.0 : x[i * STRIDE + k];
			for (uint32_t j = 0; j < n && k < WIDTH; j++)
				sum += x[j * STRIDE + k] *
				       b->entries[transposed ? j * n + i : i * n + j];
			assert_true(y[i * STRIDE + k] == sum);
		}
}

static void
test_programs(void **state)
{
	const char *why = "";
	(void)state;
	Arena *a = arena_new();
	for (int i = 0; i < PROGRAMS; i++) {
		const Base *b = base_make(a, programs[i].construction, programs[i].parameter, &why);
		assert_non_null(b);
		assert_int_equal(b->order, programs[i].order);
		const Codelet *c = base_program(a, b, false);
		print_message("order %u: %u additions\n", b->order, c->n_steps);
		assert_true(c->n_steps <= programs[i].adds);
		check_exact(a, b, false);
		check_exact(a, b, true);
		/* The same matrix gives the same program. */
		const Codelet *again = base_program(a, b, false);
		assert_int_equal(again->n_steps, c->n_steps);
		for (uint32_t k = 0; k < c->n_steps; k++) {
			assert_int_equal(again->steps[k].a, c->steps[k].a);
			assert_int_equal(again->steps[k].b, c->steps[k].b);
			assert_int_equal(again->steps[k].minus, c->steps[k].minus);
			assert_true(c->steps[k].a < b->order + k && c->steps[k].b < b->order + k);
		}
	}
	arena_free(a);
}

/* In floats the steps are executed as they stand, and a column's bits do not depend on the width.
 */
static void
test_float(void **state)
{
	enum { N = 36, WIDTH = 700 };
	const char *why = "";
	uint64_t seed = 3;
	(void)state;
	Arena *a = arena_new();
	const Codelet *c = base_program(a, base_make(a, BASE_PALEY2, 17, &why), false);
	float *x = ARENA_ARRAY(a, float, N *WIDTH), *y = ARENA_ARRAY(a, float, N *WIDTH);
	float *v = ARENA_ARRAY(a, float, N + c->n_steps);
	for (uint32_t i = 0; i < N * WIDTH; i++)
		x[i] = y[i] = (float)random_real(&seed);
	codelet_run_float(c, y, WIDTH, WIDTH, 0, 1);
	for (uint32_t k = 0; k < WIDTH; k++) {
		for (uint32_t i = 0; i < N; i++)
			v[i] = x[i * WIDTH + k];
		for (uint32_t i = 0; i < c->n_steps; i++) {
			const CodeletStep *s = &c->steps[i];
			v[N + i] = s->minus ? v[s->a] - v[s->b] : v[s->a] + v[s->b];
		}
		for (uint32_t i = 0; i < N; i++) {
			float want = v[c->outputs[i].value];
			want = c->outputs[i].negative ? -want : want;
			assert_memory_equal(&want, &y[i * WIDTH + k], sizeof want);
		}
	}
	arena_free(a);
}

/* A whole transform: butterflies in ascending strides, the base, the scale. */
static void
test_hadamard(void **state)
{
	enum { K = 12, RUNS = 32, N = K * RUNS };
	const char *why = "";
	uint64_t seed = 7;
	(void)state;
	Arena *a = arena_new();
	const Base *b = base_make(a, BASE_PALEY1, 11, &why);
	const Codelet *c = base_program(a, b, false);
	float x[2 * N], y[2 * N], column[K];
	double z[2 * N];
	for (int i = 0; i < 2 * N; i++)
		z[i] = x[i] = y[i] = (float)random_real(&seed);
	hadamard_run_float(c, N, y, 2);
	hadamard_run_double(c, N, z, 2);
	for (int r = 0; r < 2; r++) {
		float *row = x + r * N;
		for (int i = 0; i < N; i += RUNS) {
			float *v = row + i, t[RUNS];
			for (int s = 1; s < RUNS; s *= 2) {
				for (int k = 0; k < RUNS; k++)
					t[k] = k & s ? v[k - s] - v[k] : v[k] + v[k + s];
				memcpy(v, t, sizeof t);
			}
		}
		for (int k = 0; k < RUNS; k++) {
			for (int i = 0; i < K; i++)
				column[i] = row[i * RUNS + k];
			codelet_run_float(c, column, 1, 1, 0, 1);
			for (int i = 0; i < K; i++)
				row[i * RUNS + k] = column[i] * (float)(1.0 / sqrt(N));
		}
	}
	assert_memory_equal(x, y, sizeof x);
	for (int i = 0; i < 2 * N; i++)
		assert_true(fabs(z[i] - (double)y[i]) < 1e-5);
	arena_free(a);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_programs),
		cmocka_unit_test(test_float),
		cmocka_unit_test(test_hadamard),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
