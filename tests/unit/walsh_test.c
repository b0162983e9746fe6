/* Influence, its scale, sequency and principal axes, against their definitions on dense matrices.
 */
#include "gen/method/site_pca.h"
#include "gen/method/site_walsh.h"
#include "ir/heads.h"
#include "tests/random.h"

#include <math.h>
#include <setjmp.h>
#include <string.h>

#include <cmocka.h>

enum { TOKENS = 19 };

static const Transform *
hadamard(Arena *a, uint32_t n)
{
	Construction c;
	uint32_t parameter, order;
	const char *why = NULL;
	assert_true(base_choose(n, &c, &parameter, &order));
	return transform_hadamard(a, n, base_make(a, c, parameter, &why), &why);
}

static void
test_sequency(void **state)
{
	static const uint32_t orders[] = {1, 2, 4, 8, 64, 128, 12, 20, 28, 48, 144, 172, 192, 576};
	(void)state;
	for (size_t k = 0; k < sizeof orders / sizeof *orders; k++) {
		const uint32_t n = orders[k];
		Arena *a = arena_new();
		const Transform *h = hadamard(a, n);
		double *m = ARENA_ARRAY(a, double, (size_t)n *n);
		uint32_t *perm = ARENA_ARRAY(a, uint32_t, n), before = 0, row = 0;
		bool *seen = ARENA_ARRAY(a, bool, n);
		transform_dense(h, m);
		walsh_sequency(a, h->base, n, perm);
		for (uint32_t r = 0; r < n; r++) {
			uint32_t changes = 0;
			assert_true(perm[r] < n && !seen[perm[r]]);
			seen[perm[r]] = true;
			for (uint32_t c = 0; c + 1 < n; c++)
				changes += (m[(size_t)perm[r] * n + c] < 0.0) !=
					   (m[(size_t)perm[r] * n + c + 1] < 0.0);
			assert_true(r == 0 || changes > before ||
				    (changes == before && perm[r] > row));
			/* Walsh's functions change their signs 0, 1, ... n - 1 times. */
			assert_true(n & (n - 1) || changes == r);
			before = changes;
			row = perm[r];
		}
		arena_free(a);
	}
}

static void
test_influence(void **state)
{
	enum { N = 48, BLOCK = 16 };
	static float x[TOKENS * N];
	double influence[N], want[N] = {0}, m[N * N], sum = 0.0;
	uint64_t seed = 7;
	const char *why = NULL;
	Arena *a = arena_new();
	const Transform *t = transform_block(a, hadamard(a, BLOCK), N, &why);
	(void)state;
	for (int i = 0; i < TOKENS * N; i++)
		x[i] = (float)(random_real(&seed) * (i % N == 5 ? 30.0 : 1.0));
	transform_dense(t, m);
	for (int k = 0; k < TOKENS; k++)
		for (int i = 0; i < N; i++) {
			double y = 0.0;
			for (int j = 0; j < N; j++)
				y += m[i * N + j] * (double)x[k * N + j];
			want[i] += y * y;
			sum += y * y;
		}
	assert_true(walsh_influence(a, t, x, TOKENS, N, influence));
	for (int i = 0; i < N; i++)
		assert_true(fabs(influence[i] - want[i] / sum) < 1e-12);
	assert_true(walsh_influence(a, NULL, x, TOKENS, N, influence));
	assert_true(influence[5] > 0.5);
	memset(x, 0, sizeof x);
	assert_false(walsh_influence(a, t, x, TOKENS, N, influence));
	assert_false(walsh_influence(a, t, x, 0, N, influence));
	x[3] = NAN;
	assert_false(walsh_influence(a, t, x, TOKENS, N, influence));
	arena_free(a);
}

/* Six heads of two elements in two groups. */
static void
test_tie(void **state)
{
	double x[12] = {1, 10, 2, 20, 6, 60, 0, 1, 0, 1, 3, 4};
	static const double want[12] = {3, 30, 3, 30, 3, 30, 1, 2, 1, 2, 1, 2};
	(void)state;
	walsh_tie(x, 12, 6, 2);
	for (int i = 0; i < 12; i++)
		assert_true(fabs(x[i] - want[i]) < 1e-12);
}

static void
test_scale(void **state)
{
	static const double influence[4] = {0.75, 0.25, 0.0, 0.0}, flat[4] = {.25, .25, .25, .25};
	double scale[4];
	(void)state;
	walsh_scale(influence, 4, 0.5, scale);
	assert_true(scale[0] == 2.0 && fabs(scale[1] - sqrt(2.0)) < 1e-15 && scale[3] == 1.0);
	walsh_scale(flat, 4, 0.25, scale);
	for (int i = 0; i < 4; i++)
		assert_true(fabs(scale[i] - pow(2.0, 0.25)) < 1e-15);
}

enum { HEADS = 3, DIM = 10, WIDTH = HEADS * DIM };

/* T C T^T of each head's C. */
static void
moments_behind(const Transform *t, const double *c, double *to)
{
	static double m[WIDTH * WIDTH];
	transform_dense(t, m);
	memset(to, 0, HEADS * DIM * DIM * sizeof *to);
	for (int h = 0; h < HEADS; h++)
		for (int i = 0; i < DIM * DIM; i++)
			for (int j = 0; j < DIM * DIM; j++)
				to[h * DIM * DIM + i] +=
					m[(h * DIM + i / DIM) * WIDTH + h * DIM + j / DIM] *
					m[(h * DIM + i % DIM) * WIDTH + h * DIM + j % DIM] *
					c[h * DIM * DIM + j];
}

static void
test_axes(void **state)
{
	static double c[HEADS * DIM * DIM], behind[HEADS * DIM * DIM];
	uint64_t seed = 3;
	const char *why = NULL;
	Arena *a = arena_new();
	(void)state;
	/* The last head is dead. */
	for (int t = 0; t < 25; t++)
		for (int h = 0; h < HEADS - 1; h++) {
			double y[DIM];
			for (int i = 0; i < DIM; i++)
				y[i] = random_real(&seed) * (i + 1) + (i ? 0.5 * y[i - 1] : 0.0);
			for (int i = 0; i < DIM * DIM; i++)
				c[h * DIM * DIM + i] += y[i / DIM] * y[i % DIM];
		}
	const Transform *pairs = pca_pairs(a, HEADS, DIM, c, &why);
	assert_non_null(pairs);
	assert_true(heads_commute_with_rope(a, pairs, HEADS));
	moments_behind(pairs, c, behind);
	for (int h = 0; h < HEADS; h++)
		for (int i = 0; i < DIM / 2; i++) {
			const double *of = behind + h * DIM * DIM;
			const int j = i + DIM / 2;
			assert_true(fabs(of[i * DIM + j]) < 1e-9);
			assert_true(of[i * DIM + i] >= of[j * DIM + j]);
		}
	const Transform *whole = pca_heads(a, HEADS, DIM, c, &why);
	assert_non_null(whole);
	assert_true(transform_facts(whole).orthogonal);
	moments_behind(whole, c, behind);
	for (int h = 0; h < HEADS; h++)
		for (int i = 0; i < DIM * DIM; i++) {
			const double *of = behind + h * DIM * DIM;
			assert_true(i / DIM == i % DIM || fabs(of[i]) < 1e-9);
			assert_true(i % (DIM + 1) || i == 0 || of[i - DIM - 1] >= of[i]);
		}
	arena_free(a);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sequency), cmocka_unit_test(test_influence),
		cmocka_unit_test(test_tie),	 cmocka_unit_test(test_scale),
		cmocka_unit_test(test_axes),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
