/*
 * Rotations of sites: smoothing and the chain of blocks, against what their definitions say,
 * written out densely.
 */
#include "gen/method/sites.h"
#include "tests/random.h"

#include <math.h>
#include <setjmp.h>
#include <string.h>

#include <cmocka.h>

enum { N = 32, HEADS = 4, KV_HEADS = 2, D = 8, ROWS = 20, TOKENS = 70, BLOCK = 8 };

typedef struct Data {
	Arena *arena;
	Recipe recipe;
	Model model;
	float x[TOKENS * N], w[ROWS * N];
	SiteProblem p;
} Data;

/* Elements of sizes that differ by much; some at 0 where `dead`. */
static void
fill(Data *d, uint64_t seed, bool dead)
{
	double sizes[N];
	memset(d, 0, sizeof *d);
	d->arena = arena_new();
	for (int i = 0; i < N; i++)
		sizes[i] = exp(3.0 * random_real(&seed));
	for (int i = 0; i < TOKENS * N; i++)
		d->x[i] = (float)(random_real(&seed) * sizes[i % N]);
	for (int i = 0; i < ROWS * N; i++)
		d->w[i] = (float)(random_real(&seed) * sizes[(i + 5) % N]);
	for (int i = 0; i < TOKENS && dead; i++)
		d->x[i * N + 3] = 0.0f;
	for (int i = 0; i < ROWS && dead; i++)
		d->w[i * N + 4] = 0.0f;
	d->recipe = (Recipe){.site_block = BLOCK, .site_smooth = 0.6, .smooth_o = true};
	d->model = (Model){.n_head = HEADS, .n_kv_head = KV_HEADS, .head_dim = D};
	d->p = (SiteProblem){.recipe = &d->recipe,
			     .model = &d->model,
			     .site = SITE_DOWN_IN,
			     .n = N,
			     .x = d->x,
			     .tokens = TOKENS,
			     .w = d->w,
			     .rows = ROWS,
			     .jobs = 3};
}

static double
peak(const float *x, int rows, int i)
{
	double most = 0.0;
	for (int r = 0; r < rows; r++)
		most = fabs((double)x[r * N + i]) > most ? fabs((double)x[r * N + i]) : most;
	return most;
}

static void
test_smoothing(void **state)
{
	(void)state;
	static Data d;
	double got[N], product = 0.0;
	fill(&d, 1, false);
	site_smoothing(&d.p, got);
	for (int i = 0; i < N; i++)
		product += log(got[i]);
	assert_true(fabs(product) < 1e-9);
	for (int i = 1; i < N; i++) {
		const double want = pow(peak(d.w, ROWS, i) / peak(d.w, ROWS, 0), 0.4) /
				    pow(peak(d.x, TOKENS, i) / peak(d.x, TOKENS, 0), 0.6);
		assert_true(fabs(got[i] / got[0] / want - 1.0) < 1e-9);
	}
	/* A gain that goes from x to w leaves 1 / s where it is behind the gain: d g. */
	double moved[N];
	for (int i = 0; i < N; i++) {
		const float g = (float)(1 << i % 4);
		for (int t = 0; t < TOKENS; t++)
			d.x[t * N + i] /= g;
		for (int r = 0; r < ROWS; r++)
			d.w[r * N + i] *= g;
	}
	site_smoothing(&d.p, moved);
	for (int i = 1; i < N; i++) {
		const double g = (1 << i % 4) / 1.0;
		assert_true(fabs(moved[i] / moved[0] / (got[i] / got[0]) / g - 1.0) < 1e-6);
	}
	arena_free(d.arena);
}

/* Elements that nothing is known of get a finite factor; at o heads of a group share theirs. */
static void
test_smoothing_groups(void **state)
{
	(void)state;
	static Data d;
	double got[N];
	fill(&d, 2, true);
	site_smoothing(&d.p, got);
	for (int i = 0; i < N; i++)
		assert_true(isfinite(got[i]) && got[i] > 0.0);
	d.p.site = SITE_O_IN;
	site_smoothing(&d.p, got);
	for (int h = 0; h < HEADS; h++)
		for (int i = 0; i < D; i++) {
			const int first = h / 2 * 2 * D + i;
			double x = 0.0, w = 0.0;
			assert_true(got[h * D + i] == got[first]);
			for (int k = 0; k < 2; k++) {
				x = fmax(x, peak(d.x, TOKENS, first + k * D));
				w = fmax(w, peak(d.w, ROWS, first + k * D));
			}
			const double x0 = fmax(peak(d.x, TOKENS, 0), peak(d.x, TOKENS, D));
			const double w0 = fmax(peak(d.w, ROWS, 0), peak(d.w, ROWS, D));
			const double want = pow(w / w0, 0.4) / pow(x / x0, 0.6);
			assert_true(fabs(got[h * D + i] / got[0] / want - 1.0) < 1e-6);
		}
	arena_free(d.arena);
}

/* Sylvester's matrix of order BLOCK on each run. */
static void
blocks(const double *x, double *y)
{
	for (int i = 0; i < N; i++) {
		y[i] = 0.0;
		for (int k = 0; k < BLOCK; k++) {
			const int bits = __builtin_popcount((unsigned)(i % BLOCK & k));
			y[i] += (bits % 2 ? -1 : 1) * x[i / BLOCK * BLOCK + k] / sqrt(BLOCK);
		}
	}
}

static void
test_chain(void **state)
{
	(void)state;
	static Data d;
	double peaks[N] = {0}, row[N], want[N], work[N];
	int order[N], perm[N];
	const char *why = NULL;
	fill(&d, 3, false);
	const Transform *t = site_chain(d.arena, &d.p, &why);
	assert_non_null(t);
	for (int i = 0; i < TOKENS; i++) {
		for (int k = 0; k < N; k++)
			row[k] = (double)d.x[i * N + k];
		blocks(row, want);
		for (int k = 0; k < N; k++)
			peaks[k] = fmax(peaks[k], fabs(want[k]));
	}
	/* The largest first, to blocks 0 1 2 3 3 2 1 0 0 1 ... */
	for (int i = 0; i < N; i++) {
		int before = 0;
		for (int k = 0; k < N; k++)
			before += peaks[k] > peaks[i];
		order[before] = i;
	}
	for (int i = 0; i < N; i++) {
		const int blocks_of_row = N / BLOCK, round = i / blocks_of_row,
			  at = i % blocks_of_row;
		perm[(round % 2 ? blocks_of_row - 1 - at : at) * BLOCK + round] = order[i];
	}
	for (int k = 0; k < N; k++)
		row[k] = (double)d.x[k];
	blocks(row, want);
	for (int k = 0; k < N; k++)
		work[k] = want[perm[k]];
	blocks(work, want);
	transform_apply(t, row, work);
	for (int k = 0; k < N; k++)
		assert_true(fabs(row[k] - want[k]) < 1e-9);
	/* One block is the whole row. */
	d.recipe.site_block = 0;
	t = site_chain(d.arena, &d.p, &why);
	assert_int_equal(t->kind, T_HADAMARD);
	arena_free(d.arena);
}

/* The longest block that divides and has a Hadamard matrix. */
static void
test_block(void **state)
{
	static const struct {
		uint32_t n, most, want;
	} cases[] = {{576, 128, 96}, {576, 64, 64}, {1536, 128, 128}, {576, 0, 576},
		     {172, 64, 4},   {46, 128, 2},  {576, 1, 0},      {23, 128, 0}};
	(void)state;
	Arena *a = arena_new();
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		const Recipe r = {.site_block = (int)cases[i].most};
		const char *why = NULL;
		assert_int_equal(site_block(a, &r, cases[i].n, &why), cases[i].want);
		assert_int_equal(why != NULL, cases[i].want == 0);
	}
	arena_free(a);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_smoothing),
		cmocka_unit_test(test_smoothing_groups),
		cmocka_unit_test(test_chain),
		cmocka_unit_test(test_block),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
