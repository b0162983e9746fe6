/* Scales against brute force: no scale of a fine row of them is better than PiSO's. */
#include "gen/method/grid.h"
#include "tests/random.h"

#include <math.h>
#include <setjmp.h>
#include <string.h>

#include <cmocka.h>

enum { N = 12, SCALES = 20000, CASES = 60 };

typedef struct Case {
	float w[N];
	double weight[N], h[N * N], v[N];
} Case;

/* Weights with a zero and a tie among them; a curvature of full rank and a target that is not its.
 */
static Case
case_of(uint64_t *seed)
{
	Case c;
	double x[2 * N][N];
	for (int i = 0; i < N; i++) {
		c.w[i] = (float)(random_real(seed) + random_real(seed) + random_real(seed));
		c.weight[i] = 0.01 + fabs(random_real(seed));
		c.v[i] = (double)c.w[i] + 0.3 * random_real(seed);
	}
	c.w[1] = 0.0f;
	c.w[2] = -c.w[3];
	for (int t = 0; t < 2 * N; t++)
		for (int i = 0; i < N; i++)
			x[t][i] = random_real(seed) + (i ? 0.5 * x[t][i - 1] : 0.0);
	for (int i = 0; i < N; i++)
		for (int j = 0; j < N; j++) {
			c.h[i * N + j] = 0.0;
			for (int t = 0; t < 2 * N; t++)
				c.h[i * N + j] += x[t][i] * x[t][j];
		}
	return c;
}

static Format
stored(int bits, uint8_t scale_bits, bool ternary)
{
	return (Format){.kind = NUMBER_INT,
			.bits = (uint8_t)bits,
			.scale_bits = scale_bits,
			.ternary = ternary};
}

/* J over all scales up to where everything becomes 0, of each sign that is allowed. */
static double
brute(Arena *a, const ScaleProblem *p)
{
	double best = 0.0;
	for (int k = 1; k <= SCALES; k++)
		for (int sign = 1; sign >= (p->either_sign ? -1 : 1); sign -= 2) {
			const float s = (float)(sign * 8.0 * k / SCALES);
			const double error = scale_error(a, p, s);
			best = error < best ? error : best;
			arena_reset(a);
		}
	return best;
}

static void
not_worse(double found, double other)
{
	if (found > other + 1e-9 * fabs(other))
		fail_msg("J is %.17g where %.17g can be had", found, other);
}

static void
compare(Arena *a, ScaleProblem *p)
{
	const ScaleResult piso = scale_piso(a, p, 0);
	assert_true(format_scale_round(p->format, piso.scale) == piso.scale);
	assert_true(piso.error == scale_error(a, p, piso.scale));
	not_worse(piso.error, scale_absmax(a, p, 1.0f).error);
	not_worse(piso.error, scale_mse(a, p, 20).error);
	if (p->format.scale_bits == 32)
		not_worse(piso.error, brute(a, p));
	arena_reset(a);
}

static void
test_brute_force(void **state)
{
	Arena *a = arena_new();
	uint64_t seed = 1;
	const Grid grids[] = {grid_of(stored(2, 32, false)), grid_of(stored(3, 32, false)),
			      grid_of(stored(4, 32, false)), grid_of(stored(2, 32, true)),
			      grid_e2m1()};
	(void)state;
	for (int k = 0; k < CASES; k++) {
		const Case c = case_of(&seed);
		ScaleProblem p = {.n = N, .w = c.w, .ld = N};
		p.grid = &grids[k % 5];
		p.format = stored(4, k % 7 ? 32 : 16, false);
		p.either_sign = k % 2;
		p.h = k % 3 == 0 ? c.h : NULL;
		p.weight = k % 3 == 1 ? c.weight : NULL;
		p.v = k % 4 < 2 ? c.v : NULL;
		compare(a, &p);
	}
	arena_free(a);
}

/* A diagonal H written as a dense one. */
static void
test_dense_is_diagonal(void **state)
{
	Arena *a = arena_new();
	uint64_t seed = 2;
	const Grid grid = grid_of(stored(3, 32, false));
	(void)state;
	for (int k = 0; k < CASES; k++) {
		Case c = case_of(&seed);
		ScaleProblem p = {.n = N,
				  .w = c.w,
				  .weight = c.weight,
				  .grid = &grid,
				  .format = stored(3, 32, false),
				  .either_sign = true};
		const ScaleResult diagonal = scale_piso(a, &p, 0);
		memset(c.h, 0, sizeof c.h);
		for (int i = 0; i < N; i++)
			c.h[i * N + i] = c.weight[i];
		p.h = c.h;
		p.ld = N;
		const ScaleResult dense = scale_piso(a, &p, 0);
		assert_true(fabs(dense.error - diagonal.error) <= 1e-12 * fabs(diagonal.error));
	}
	arena_free(a);
}

/* Near the diagonal's scale the window finds what the whole sweep does, unless that is far away. */
static void
test_window(void **state)
{
	Arena *a = arena_new();
	uint64_t seed = 3;
	int same = 0;
	const Grid grid = grid_of(stored(4, 32, false));
	(void)state;
	for (int k = 0; k < CASES; k++) {
		const Case c = case_of(&seed);
		const ScaleProblem p = {.n = N,
					.w = c.w,
					.h = c.h,
					.ld = N,
					.grid = &grid,
					.format = stored(4, 32, false)};
		const ScaleResult all = scale_piso(a, &p, 0), near = scale_piso(a, &p, 1);
		not_worse(all.error, near.error);
		not_worse(near.error, scale_error(a, &p, near.scale));
		same += near.error <= all.error * (1.0 - 1e-9);
	}
	assert_true(same > CASES * 3 / 4);
	arena_free(a);
}

static void
test_zero_points(void **state)
{
	Arena *a = arena_new();
	uint64_t seed = 4;
	Format f = stored(2, 32, false);
	f.zero = ZERO_INTEGER;
	(void)state;
	for (int k = 0; k < CASES / 4; k++) {
		const Case c = case_of(&seed);
		ScaleProblem p = {.n = N, .w = c.w, .h = c.h, .ld = N, .format = f};
		int zero = -1;
		const ScaleResult r = scale_piso_zero(a, &p, 0, &zero);
		for (int z = 0; z <= 3; z++) {
			const Grid g = grid_with_zero(f, z);
			p.grid = &g;
			not_worse(r.error, brute(a, &p));
			if (z == zero)
				assert_true(r.error == scale_error(a, &p, r.scale));
		}
	}
	arena_free(a);
}

static void
test_nothing(void **state)
{
	Arena *a = arena_new();
	const float w[3] = {0.0f, -0.0f, 0.0f};
	const Grid grid = grid_of(stored(4, 16, false));
	const ScaleProblem p = {.n = 3, .w = w, .grid = &grid, .format = stored(4, 16, false)};
	(void)state;
	assert_true(scale_piso(a, &p, 0).scale == 0.0f);
	assert_true(scale_absmax(a, &p, 1.0f).scale == 0.0f);
	arena_free(a);
}

/* Of all ternary codes of a short row, each with its best scale, none is better than PiSO's where H
 * is diagonal: codes are then nearest to w / s for some s. */
static void
test_ternary_codes(void **state)
{
	enum { SHORT = 7, CODES = 2187 };
	Arena *a = arena_new();
	uint64_t seed = 9;
	const Grid grid = grid_of(stored(2, 32, true));
	(void)state;
	for (int k = 0; k < CASES; k++) {
		const Case c = case_of(&seed);
		ScaleProblem p = {.n = SHORT, .w = c.w, .ld = SHORT, .grid = &grid};
		double best = 0.0;
		p.format = stored(2, 32, true);
		p.weight = k % 2 ? c.weight : NULL;
		for (int i = 0; i < CODES; i++) {
			double alpha = 0.0, beta = 0.0;
			for (int j = 0, rest = i; j < SHORT; j++, rest /= 3) {
				const double h = p.weight ? p.weight[j] : 1.0;
				alpha += h * (rest % 3 - 1) * (double)c.w[j];
				beta += h * (rest % 3 != 1);
			}
			if (alpha > 0.0)
				best = fmin(best, -alpha * alpha / beta);
		}
		const double found = scale_piso(a, &p, 0).error;
		if (!(fabs(found - best) <= 1e-6 * fabs(best)))
			fail_msg("J is %.9g, of all codes %.9g", found, best);
		not_worse(found, scale_e2m(a, &p).error);
		arena_reset(a);
	}
	arena_free(a);
}

/* For the codes that the threshold gives no scale near by has less error under the damped H. */
static void
test_e2m(void **state)
{
	Arena *a = arena_new();
	uint64_t seed = 10;
	const Grid grid = grid_of(stored(2, 32, true));
	(void)state;
	for (int k = 0; k < CASES; k++) {
		Case c = case_of(&seed);
		ScaleProblem p = {.n = N, .w = c.w, .ld = N, .grid = &grid};
		double q[N], mean = 0.0, more = 0.0, j[3] = {0};
		p.format = stored(2, 32, true);
		p.h = c.h;
		p.v = k % 2 ? c.v : NULL;
		const double s = (double)scale_e2m(a, &p).scale;
		for (int i = 0; i < N; i++) {
			mean += fabs((double)c.w[i]) / N;
			more += 1e-4 * c.h[i * N + i] / N;
		}
		for (int i = 0; i < N; i++)
			q[i] = fabs((double)c.w[i]) <= 0.75 * mean ? 0.0
			       : c.w[i] > 0.0f			   ? 1.0
								   : -1.0;
		for (int t = 0; t < 3; t++)
			for (int i = 0; i < N; i++) {
				const double at = s * (1.0 + 0.001 * (t - 1));
				double aim = more * (double)c.w[i];
				aim += p.v ? c.v[i] : 0.0;
				for (int l = 0; l < N; l++) {
					aim += p.v ? 0.0 : c.h[i * N + l] * (double)c.w[l];
					j[t] += at * q[i] * c.h[i * N + l] * at * q[l];
				}
				j[t] += at * q[i] * (more * at * q[i] - 2.0 * aim);
			}
		assert_true(s > 0.0 && j[1] <= j[0] && j[1] <= j[2]);
		arena_reset(a);
	}
	arena_free(a);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_brute_force), cmocka_unit_test(test_dense_is_diagonal),
		cmocka_unit_test(test_window),	    cmocka_unit_test(test_zero_points),
		cmocka_unit_test(test_nothing),	    cmocka_unit_test(test_ternary_codes),
		cmocka_unit_test(test_e2m),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
