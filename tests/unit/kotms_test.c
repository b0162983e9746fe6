/*
 * KOTMS: gradients against differences of the loss written out in double, factors that stay
 * orthogonal, and what it is for: less error of ternary codes than a Hadamard transform leaves.
 */
#include "gen/method/site_kotms.h"
#include "tests/random.h"

#include <math.h>
#include <setjmp.h>
#include <string.h>

#include <cmocka.h>

enum { ROWS = 40, LEFT = 4, RIGHT = 6, N = LEFT * RIGHT, LL = LEFT * LEFT, RR = RIGHT * RIGHT };

/* Long tails, other sizes by column, and a row of zeros. */
static void
fill(float *w, uint32_t rows, uint32_t n, uint64_t seed)
{
	for (uint32_t i = 0; i < rows * n; i++) {
		const double x = random_real(&seed) + random_real(&seed);
		w[i] = (float)(x * fabs(x) * (1.0 + i % n % 5) * (i / n == 3 ? 0.0 : 0.05));
	}
}

/* ---- the loss by its definition ------------------------------------------------------------- */

/* o of (I + A) o = I - A, by elimination. */
static void
cayley(int n, const double *s, double *o)
{
	double m[64][128];
	assert_true(n <= 64);
	for (int i = 0; i < n; i++)
		for (int j = 0; j < n; j++) {
			const double a = s[i * n + j] - s[j * n + i];
			m[i][j] = (i == j) + a;
			m[i][n + j] = (i == j) - a;
		}
	for (int c = 0; c < n; c++) {
		const double pivot = m[c][c];
		for (int j = 0; j < 2 * n; j++)
			m[c][j] /= pivot;
		for (int i = 0; i < n; i++) {
			const double f = m[i][c];
			for (int j = 0; j < 2 * n && i != c; j++)
				m[i][j] -= f * m[c][j];
		}
	}
	for (int i = 0; i < n; i++)
		for (int j = 0; j < n; j++)
			o[i * n + j] = m[i][n + j];
}

/* C w B of a row. */
static void
rotated(const double *c, const double *b, const float *w, double *x)
{
	memset(x, 0, N * sizeof *x);
	for (int i = 0; i < LEFT; i++)
		for (int j = 0; j < RIGHT; j++)
			for (int k = 0; k < LEFT; k++)
				for (int l = 0; l < RIGHT; l++)
					x[i * RIGHT + j] += c[i * LEFT + k] *
							    (double)w[k * RIGHT + l] *
							    b[l * RIGHT + j];
}

/* modes [ROWS][2]: c and width; taken of the rows where `take`, else as they are. */
static double
loss_of(const float *w, KotmsLoss kind, const double *sl, const double *sr, double *modes,
	bool take)
{
	double c[LL], b[RR], x[N], nll = 0.0, all[3] = {0}, balance = 0.0;
	const double prior[] = {kind == KOTMS_LOSS_PAPER ? 0.25 : 1.0 / 3.0,
				kind == KOTMS_LOSS_PAPER ? 0.5 : 1.0 / 3.0,
				kind == KOTMS_LOSS_PAPER ? 0.25 : 1.0 / 3.0};
	int live = 0;
	cayley(LEFT, sl, c);
	cayley(RIGHT, sr, b);
	for (int r = 0; r < ROWS; r++) {
		double mean = 0.0, size = 0.0, square = 0.0, own = 0.0;
		rotated(c, b, w + r * N, x);
		for (int i = 0; i < N; i++)
			mean += x[i] / N;
		for (int i = 0; i < N; i++) {
			square += (x[i] - mean) * (x[i] - mean) / N;
			x[i] -= kind == KOTMS_LOSS_RELEASED ? mean : 0.0;
			size += fabs(x[i]) / N;
		}
		if (size == 0.0)
			continue;
		live++;
		if (take) {
			modes[2 * r] = size;
			modes[2 * r + 1] = kind == KOTMS_LOSS_RELEASED ? 0.25 * size : sqrt(square);
		}
		for (int i = 0; i < N; i++) {
			double density[3], sum = 0.0;
			for (int k = 0; k < 3; k++) {
				const double z = (x[i] - (k - 1) * modes[2 * r]) / modes[2 * r + 1];
				density[k] = prior[k] * exp(-0.5 * z * z) / modes[2 * r + 1] /
					     sqrt(2.0 * acos(-1.0));
				sum += density[k];
			}
			nll -= log(sum);
			for (int k = 0; k < 3; k++)
				all[k] += density[k] / sum;
			own += density[1] / sum / N;
		}
		balance += 0.1 * (own - 0.5) * (own - 0.5);
	}
	nll /= live * N;
	if (kind == KOTMS_LOSS_PAPER)
		return nll + balance / live;
	for (int k = 0; k < 3; k++)
		nll += 0.1 * (all[k] / (live * N) - 1.0 / 3.0) * (all[k] / (live * N) - 1.0 / 3.0);
	return nll;
}

static void
compare(const Linalg *l, KotmsLoss kind, int jobs)
{
	Arena *a = arena_new();
	float w[ROWS * N];
	double s[LL + RR], by[LL + RR], modes[2 * ROWS] = {0};
	uint64_t seed = 7;
	fill(w, ROWS, N, 3);
	for (int i = 0; i < LL + RR; i++)
		s[i] = 0.2 * random_real(&seed);
	const KotmsProblem p = {l, w, ROWS, LEFT, RIGHT, kind, jobs};
	const double loss = kotms_slopes(a, &p, s, s + LL, by, by + LL);
	const double wanted = loss_of(w, kind, s, s + LL, modes, true);
	if (!(fabs(loss - wanted) <= 1e-5 * fabs(wanted)))
		fail_msg("the loss is %.9g, by definition %.9g", loss, wanted);
	for (int i = 0; i < LL + RR; i++) {
		const double step = 1e-4, at = s[i];
		s[i] = at + step;
		const double above = loss_of(w, kind, s, s + LL, modes, false);
		s[i] = at - step;
		const double below = loss_of(w, kind, s, s + LL, modes, false);
		const double slope = (above - below) / (2.0 * step);
		s[i] = at;
		if (!(fabs(by[i] - slope) <= 2e-4 * (0.1 + fabs(slope))))
			fail_msg("slope %d is %.9g, by differences %.9g", i, by[i], slope);
	}
	arena_free(a);
}

static void
test_slopes(void **state)
{
	Arena *a = arena_new();
	const Linalg *l = linalg_open(a, 2);
	(void)state;
	compare(l, KOTMS_LOSS_RELEASED, 1);
	compare(l, KOTMS_LOSS_PAPER, 2);
	arena_free(a);
}

/* ---- the rotation --------------------------------------------------------------------------- */

enum { WIDE_N = 64, WIDE_ROWS = 96 };

/* |w - w'|^2 / |w|^2 of the best ternary codes of each rotated row: the longest k of a row at their
 * mean, for the best k. */
static double
ternary_error(const Transform *t, const float *w)
{
	double error = 0.0, all = 0.0;
	for (int r = 0; r < WIDE_ROWS; r++) {
		double x[WIDE_N], work[WIDE_N], sum = 0.0, best = 0.0, square = 0.0;
		for (int i = 0; i < WIDE_N; i++)
			x[i] = (double)w[r * WIDE_N + i];
		if (t)
			transform_apply(t, x, work);
		for (int i = 0; i < WIDE_N; i++)
			square += x[i] * x[i];
		for (int i = 0; i < WIDE_N; i++) {
			int most = i;
			for (int j = i; j < WIDE_N; j++)
				most = fabs(x[j]) > fabs(x[most]) ? j : most;
			const double size = fabs(x[most]);
			x[most] = x[i];
			sum += size;
			best = fmax(best, sum * sum / (i + 1));
		}
		error += square - best;
		all += square;
	}
	return error / all;
}

static void
compare_error(const Linalg *l, const float *w, KotmsFactors factors, KotmsLoss loss)
{
	Arena *a = arena_new();
	const char *why = NULL;
	const Recipe recipe = {.kotms_factors = factors,
			       .kotms_loss = loss,
			       .kotms_steps = 100,
			       .kotms_rate = 0.01};
	SiteProblem p = {
		.recipe = &recipe, .linalg = l, .n = WIDE_N, .w = w, .rows = WIDE_ROWS, .jobs = 1};
	double dense[WIDE_N * WIDE_N], other[WIDE_N * WIDE_N];
	const Transform *t = site_kotms(a, &p, &why);
	assert_non_null(t);
	assert_true(transform_facts(t).orthogonal);
	transform_dense(t, dense);
	for (int i = 0; i < WIDE_N; i++)
		for (int j = 0; j < WIDE_N; j++) {
			double dot = 0.0;
			for (int k = 0; k < WIDE_N; k++)
				dot += dense[i * WIDE_N + k] * dense[j * WIDE_N + k];
			assert_true(fabs(dot - (i == j)) < 1e-12);
		}
	const double none = ternary_error(NULL, w), learned = ternary_error(t, w);
	Construction c;
	uint32_t parameter, order;
	assert_true(base_choose(WIDE_N, &c, &parameter, &order));
	const Base *base = base_make(a, c, parameter, &why);
	const double fixed = ternary_error(transform_hadamard(a, WIDE_N, base, &why), w);
	if (!(learned < fixed && fixed < none))
		fail_msg("ternary errors: none %.4f, Hadamard %.4f, learned %.4f", none, fixed,
			 learned);
	p.jobs = 3;
	transform_dense(site_kotms(a, &p, &why), other);
	assert_memory_equal(dense, other, sizeof dense);
	arena_free(a);
}

static void
test_less_error(void **state)
{
	Arena *a = arena_new();
	const Linalg *l = linalg_open(a, 3);
	float w[WIDE_ROWS * WIDE_N];
	(void)state;
	fill(w, WIDE_ROWS, WIDE_N, 5);
	compare_error(l, w, KOTMS_BALANCED, KOTMS_LOSS_RELEASED);
	compare_error(l, w, KOTMS_RELEASED, KOTMS_LOSS_PAPER);
	arena_free(a);
}

/* Figures of twla.md section 3.1. */
static void
test_factors(void **state)
{
	static const struct {
		uint32_t rows, n, released[2], balanced[2];
	} cases[] = {
		{4096, 4096, {8, 512}, {64, 64}},     {11008, 4096, {8, 512}, {64, 64}},
		{4096, 11008, {16, 688}, {128, 86}},  {5120, 5120, {8, 640}, {80, 64}},
		{5120, 13824, {16, 864}, {128, 108}}, {1024, 4096, {16, 256}, {64, 64}},
		{4096, 14336, {16, 896}, {128, 112}},
	};
	uint32_t left, right;
	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		assert_true(
			kotms_factors(KOTMS_RELEASED, cases[i].rows, cases[i].n, &left, &right));
		assert_true(left == cases[i].released[0] && right == cases[i].released[1]);
		assert_true(
			kotms_factors(KOTMS_BALANCED, cases[i].rows, cases[i].n, &left, &right));
		assert_true(left == cases[i].balanced[0] && right == cases[i].balanced[1]);
	}
	assert_false(kotms_factors(KOTMS_BALANCED, 8, 47, &left, &right));
	assert_false(kotms_factors(KOTMS_RELEASED, 8, 47, &left, &right));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_slopes),
		cmocka_unit_test(test_less_error),
		cmocka_unit_test(test_factors),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
