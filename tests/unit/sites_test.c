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

/* ---- RUQuant -------------------------------------------------------------------------------- */

/* Few: a step makes rounding errors of those in front of it some times larger. */
enum { STEPS = 5 };

/* The next of [0, 1): splitmix64's 53 upper bits. */
static double
drawn(uint64_t *seed)
{
	uint64_t z = *seed += 0x9e3779b97f4a7c15u;
	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
	z = (z ^ z >> 27) * 0x94d049bb133111ebu;
	return (double)((z ^ z >> 31) >> 11) / 9007199254740992.0;
}

/* y = A x for all columns of x [n][count]. */
static void
multiply(const double *a, int n, int count, double *x)
{
	double y[N];
	for (int c = 0; c < count; c++) {
		for (int i = 0; i < n; i++) {
			y[i] = 0.0;
			for (int j = 0; j < n; j++)
				y[i] += a[i * n + j] * x[j * count + c];
		}
		for (int i = 0; i < n; i++)
			x[i * count + c] = y[i];
	}
}

static int
worst_column(const double *x, int n, int count)
{
	int at = 0;
	double most = -1.0;
	for (int c = 0; c < count; c++)
		for (int i = 0; i < n; i++)
			if (fabs(x[i * count + c]) > most) {
				most = fabs(x[i * count + c]);
				at = c;
			}
	return at;
}

/* I - 2 w w^T / w w for the reflection of column c of x to random entries of its length. */
static void
reflector(uint64_t *seed, const double *x, int n, int count, int c, double *w, double *a)
{
	double u2 = 0.0, v2 = 0.0, w2 = 0.0;
	for (int i = 0; i < n; i++) {
		w[i] = drawn(seed);
		u2 += w[i] * w[i];
		v2 += x[i * count + c] * x[i * count + c];
	}
	for (int i = 0; i < n; i++) {
		w[i] = x[i * count + c] - w[i] * sqrt(v2 / u2);
		w2 += w[i] * w[i];
	}
	for (int i = 0; i < n * n && a; i++)
		a[i] = (i % (n + 1) == 0) - 2.0 * w[i / n] * w[i % n] / w2;
}

/* The order and the turned pairs as a matrix. */
static void
turner(uint64_t *seed, const double *x, int n, int count, int c, bool released, double *a)
{
	int order[N];
	for (int i = 0; i < n; i++) {
		const int k = (int)(drawn(seed) * (i + 1));
		order[i] = order[k];
		order[k] = i;
	}
	memset(a, 0, sizeof *a * (size_t)(n * n));
	for (int i = 0; i < n; i += 2) {
		const double u0 = drawn(seed), u1 = drawn(seed);
		const double from = atan2(x[order[i + 1] * count + c], x[order[i] * count + c]);
		const double angle = (released ? -1 : 1) * (atan2(u1, u0) - from);
		a[i * n + order[i]] = cos(angle);
		a[i * n + order[i + 1]] = -sin(angle);
		a[(i + 1) * n + order[i]] = sin(angle);
		a[(i + 1) * n + order[i + 1]] = cos(angle);
	}
}

/* What STEPS outer steps make of the columns x [n][count]; m becomes their product. */
static void
dense_composite(uint64_t *seed, double *x, int n, int count, bool released, double *m)
{
	double a[BLOCK * BLOCK], w[BLOCK];
	for (int i = 0; i < n * n; i++)
		m[i] = i % (n + 1) == 0;
	for (int step = 0; step < STEPS; step++) {
		reflector(seed, x, n, count, worst_column(x, n, count), w, a);
		multiply(a, n, count, x);
		multiply(a, n, n, m);
		for (int turn = 0; turn < 3; turn++) {
			turner(seed, x, n, count, worst_column(x, n, count), released, a);
			multiply(a, n, count, x);
			multiply(a, n, n, m);
		}
	}
}

/* All blocks of rows [TOKENS][N] as columns, and back. */
static void
as_columns(double *rows, double *columns, bool back)
{
	enum { COUNT = TOKENS * N / BLOCK };
	for (int c = 0; c < COUNT; c++)
		for (int i = 0; i < BLOCK; i++) {
			double *row = rows + c * BLOCK + i, *column = columns + i * COUNT + c;
			*(back ? row : column) = *(back ? column : row);
		}
}

/* The composite's steps as dense matrices: the same products, the same order, the same vector. */
static void
test_ruquant(void **state)
{
	enum { COUNT = TOKENS * N / BLOCK };
	static double rows[TOKENS * N], columns[TOKENS * N], peaks[N];
	static Data d;
	(void)state;
	for (int released = 0; released < 2; released++) {
		const char *why = NULL;
		double m[2][BLOCK * BLOCK], w[N], got[N], want[N], work[N];
		int order[N] = {0}, worst = 0;
		uint64_t seed = 77;
		fill(&d, 4, false);
		d.recipe.ruquant_steps = STEPS;
		d.recipe.ruquant_givens = released;
		d.recipe.ruquant_reflect = REFLECT_BEHIND;
		d.p.seed = seed;
		const Transform *t = site_ruquant(d.arena, &d.p, &why);
		assert_non_null(t);
		assert_true(transform_facts(t).orthogonal);
		assert_int_equal(t->n_children, 4);
		for (int i = 0; i < TOKENS * N; i++)
			rows[i] = (double)d.x[i];
		as_columns(rows, columns, false);
		dense_composite(&seed, columns, BLOCK, COUNT, released, m[0]);
		as_columns(rows, columns, true);
		memset(peaks, 0, sizeof peaks);
		for (int i = 0; i < TOKENS * N; i++)
			peaks[i % N] = fmax(peaks[i % N], fabs(rows[i]));
		for (int i = 0; i < N; i++) {
			int before = 0;
			for (int k = 0; k < N; k++)
				before += peaks[k] > peaks[i];
			const int round = before / (N / BLOCK), at = before % (N / BLOCK);
			order[(round % 2 ? N / BLOCK - 1 - at : at) * BLOCK + round] = i;
		}
		for (int k = 0; k < N; k++)
			assert_int_equal(t->children[2]->perm[k], order[k]);
		for (int r = 0; r < TOKENS; r++) {
			memcpy(work, rows + r * N, sizeof work);
			for (int k = 0; k < N; k++)
				rows[r * N + k] = work[order[k]];
		}
		as_columns(rows, columns, false);
		dense_composite(&seed, columns, BLOCK, COUNT, released, m[1]);
		as_columns(rows, columns, true);
		for (int i = 0; i < TOKENS * N; i++)
			worst = fabs(rows[i]) > fabs(rows[worst]) ? i : worst;
		reflector(&seed, rows + worst / N * N, N, 1, 0, w, NULL);
		double square = 0.0, dot = 0.0;
		for (int k = 0; k < N; k++) {
			want[k] = (double)d.x[5 * N + k];
			got[k] = want[k];
		}
		for (int f = 0; f < 2; f++) {
			for (int k = 0; k < N; k++)
				work[k] = f ? want[order[k]] : want[k];
			for (int b = 0; b < N; b += BLOCK)
				multiply(m[f], BLOCK, 1, work + b);
			memcpy(want, work, sizeof want);
		}
		for (int k = 0; k < N; k++) {
			square += w[k] * w[k];
			dot += w[k] * want[k];
		}
		for (int k = 0; k < N; k++)
			want[k] -= 2.0 * dot / square * w[k];
		transform_apply(t, got, work);
		for (int k = 0; k < N; k++)
			assert_true(fabs(got[k] - want[k]) < 1e-6 * (1.0 + fabs(want[k])));
		arena_free(d.arena);
	}
}

/* In front of the blocks the reflection makes the same map, and is the first factor. */
static void
test_ruquant_front(void **state)
{
	static Data d;
	const char *why = NULL;
	double behind[N * N], front[N * N];
	(void)state;
	fill(&d, 6, false);
	d.recipe.ruquant_steps = 16;
	for (int blocks = 0; blocks < 2; blocks++) {
		d.recipe.site_block = blocks ? BLOCK : 0;
		d.recipe.ruquant_reflect = REFLECT_BEHIND;
		const Transform *t = site_ruquant(d.arena, &d.p, &why);
		assert_int_equal(t->children[0]->kind, T_HOUSEHOLDER);
		transform_dense(t, behind);
		d.recipe.ruquant_reflect = REFLECT_FRONT;
		t = site_ruquant(d.arena, &d.p, &why);
		assert_int_equal(t->n_children, blocks ? 4 : 2);
		assert_int_equal(t->children[t->n_children - 1]->kind, T_HOUSEHOLDER);
		transform_dense(t, front);
		for (int i = 0; i < N * N; i++)
			assert_true(fabs(behind[i] - front[i]) < 1e-9);
	}
	arena_free(d.arena);
}

/* Blocks of odd order, one block, rows of zeros, no reflection: orthogonal, and any threads alike.
 */
static void
test_ruquant_edges(void **state)
{
	static Data d;
	const char *why = NULL;
	double a[N * N], b[N * N];
	(void)state;
	fill(&d, 5, true);
	d.recipe.ruquant_steps = 16;
	const Transform *t = site_ruquant(d.arena, &d.p, &why);
	assert_int_equal(t->n_children, 3);
	transform_dense(t, a);
	d.p.jobs = 1;
	transform_dense(site_ruquant(d.arena, &d.p, &why), b);
	assert_memory_equal(a, b, sizeof a);
	d.recipe.ruquant_reflect = REFLECT_BEHIND;
	d.recipe.site_block = 0;
	t = site_ruquant(d.arena, &d.p, &why);
	assert_int_equal(t->n_children, 2);
	d.recipe.site_block = 5;
	d.p.n = 30;
	t = site_ruquant(d.arena, &d.p, &why);
	assert_int_equal(t->children[3]->children[0]->n, 5);
	assert_true(transform_facts(t).orthogonal);
	memset(d.x, 0, sizeof d.x);
	d.p.n = N;
	d.recipe.site_block = BLOCK;
	t = site_ruquant(d.arena, &d.p, &why);
	assert_non_null(t);
	transform_dense(t, a);
	for (int i = 0; i < N * N; i++)
		assert_true(fabs(a[i]) < 1e-12 || fabs(a[i] - 1.0) < 1e-12);
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
		cmocka_unit_test(test_smoothing),     cmocka_unit_test(test_smoothing_groups),
		cmocka_unit_test(test_chain),	      cmocka_unit_test(test_block),
		cmocka_unit_test(test_ruquant),	      cmocka_unit_test(test_ruquant_edges),
		cmocka_unit_test(test_ruquant_front),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
