/*
 * Reflections tuned by their layer's outputs, on a small random model: gradients against what they
 * must be, the layer's error as plan, graph and stream have it, any number of threads.
 */
#include "plan_bench.h"

#include "gen/method/sites.h"
#include "gen/method/tune.h"

enum { LENGTH = 16, SEQUENCES = 6, N = SEQUENCES * LENGTH };

/* ---- gradients ------------------------------------------------------------------------------ */

/* The sum of g H_v y, whose slope by v differences of it give. */
static double
product_of(uint32_t n, size_t rows, const double *v, const double *y, const float *g)
{
	double sum = 0.0, square = 0.0;
	for (uint32_t i = 0; i < n; i++)
		square += v[i] * v[i];
	for (size_t r = 0; r < rows; r++) {
		double dot = 0.0;
		for (uint32_t i = 0; i < n; i++)
			dot += v[i] * y[r * n + i];
		for (uint32_t i = 0; i < n; i++)
			sum += (double)g[r * n + i] * (y[r * n + i] - 2.0 * dot / square * v[i]);
	}
	return sum;
}

static void
test_slope(void **state)
{
	enum { WIDTH = 12, ROWS = 5 };
	double v[WIDTH], y[ROWS * WIDTH], slope[WIDTH] = {0};
	float g[ROWS * WIDTH], x[ROWS * WIDTH];
	double square = 0.0;
	Random r = {3};
	(void)state;
	for (int i = 0; i < WIDTH; i++) {
		v[i] = random_real(&r);
		square += v[i] * v[i];
	}
	for (int i = 0; i < ROWS * WIDTH; i++) {
		y[i] = random_real(&r);
		g[i] = (float)random_real(&r);
	}
	for (int k = 0; k < ROWS; k++) {
		double dot = 0.0;
		for (int i = 0; i < WIDTH; i++)
			dot += v[i] * y[k * WIDTH + i];
		for (int i = 0; i < WIDTH; i++)
			x[k * WIDTH + i] = (float)(y[k * WIDTH + i] - 2.0 * dot / square * v[i]);
	}
	tune_slope(WIDTH, v, ROWS, x, g, slope);
	for (int i = 0; i < WIDTH; i++) {
		const double h = 1e-5, own = v[i];
		v[i] = own + h;
		const double more = product_of(WIDTH, ROWS, v, y, g);
		v[i] = own - h;
		const double less = product_of(WIDTH, ROWS, v, y, g);
		v[i] = own;
		assert_true(fabs((more - less) / (2.0 * h) - slope[i]) <
			    1e-5 * (1.0 + fabs(slope[i])));
	}
}

/* Numbers that grow together by a share grow what they are rounded to by the same: x by(x) is r
 * by(r). What is beyond the ends moves nothing but the scale. */
static void
test_rounding(void **state)
{
	enum { WIDTH = 40 };
	const Format formats[] = {
		{.kind = NUMBER_INT, .bits = 4, .scale_bits = 32},
		{.kind = NUMBER_INT, .bits = 4, .scale_bits = 32, .clip = 0.7f},
		{.kind = NUMBER_INT, .bits = 4, .scale_bits = 32, .zero = ZERO_REAL},
		{.kind = NUMBER_INT, .bits = 3, .scale_bits = 32, .zero = ZERO_REAL, .clip = 0.8f},
		{.kind = NUMBER_INT, .bits = 4, .scale_bits = 32, .zero = ZERO_INTEGER},
		{.kind = NUMBER_INT,
		 .bits = 2,
		 .scale_bits = 32,
		 .zero = ZERO_INTEGER,
		 .clip = 0.9f}};
	Random r = {9};
	(void)state;
	for (size_t f = 0; f < sizeof formats / sizeof *formats; f++)
		for (int sign = 0; sign < 2; sign++) {
			float x[WIDTH], rounded[WIDTH], by[WIDTH], was[WIDTH];
			double before = 0.0, after = 0.0, size = 0.0;
			int zeros = 0;
			for (int i = 0; i < WIDTH; i++) {
				x[i] = (float)(random_real(&r) + sign * 1.2);
				by[i] = was[i] = (float)random_real(&r);
			}
			stream_round(formats[f], x, WIDTH, rounded);
			const TuneRange range = tune_range_of_row(formats[f], x, WIDTH);
			tune_rounding_back(range, x, rounded, WIDTH, by);
			for (int i = 0; i < WIDTH; i++) {
				before += (double)was[i] * (double)rounded[i];
				after += (double)by[i] * (double)x[i];
				size += fabs((double)was[i] * (double)rounded[i]);
				zeros += by[i] == 0.0f;
			}
			if (!(fabs(before - after) < 1e-5 * size))
				fail_msg("format %zu: %g, not %g", f, after, before);
			if (!sign && (formats[f].clip != 0.0f) != (zeros > 0))
				fail_msg("format %zu: %d numbers do nothing", f, zeros);
		}
}

/* ---- runs ----------------------------------------------------------------------------------- */

typedef struct Case {
	Bench b;
	Recipe recipe;
	int32_t ids[N];
	Tokens tokens;
	Pool *pool;
	Plan *plan;
	RecipeRun run;
	int kept, left;
} Case;

static void
count(void *arg, const char *what, double share)
{
	Case *c = arg;
	(void)share;
	if (strstr(what, "reflections, error"))
		*(strstr(what, "left as they were") ? &c->left : &c->kept) += 1;
}

/* An element of a gain is much larger than others. */
static void
enlarge(const Tensor *gain, int i)
{
	((float *)gain->data)[i] *= 30.0f;
}

static void
open_case(Case *c, int reflect, int jobs, uint64_t memory)
{
	Diag *d;
	*c = (Case){.b = open_bench(false)};
	c->recipe =
		(Recipe){.attn = ROTATION_RUQUANT,
			 .mlp = ROTATION_RUQUANT,
			 .site_block = 8,
			 .ruquant_reflect = reflect,
			 .ruquant_tune = 60,
			 .ruquant_rate = 0.01,
			 .statistics = N,
			 .query = 16,
			 .weights = {.kind = NUMBER_INT, .bits = 8, .scale_bits = 16, .group = 16},
			 .activations = {.kind = NUMBER_INT,
					 .bits = 4,
					 .scale_bits = 32,
					 .zero = ZERO_REAL,
					 .clip = 0.9f},
			 .kv = FORMAT_F16,
			 .table = FORMAT_F16,
			 .length = LENGTH,
			 .sequences = SEQUENCES};
	for (int i = 0; i < N; i++)
		c->ids[i] = (int32_t)random_below(&c->b.r, VOCAB);
	c->tokens = (Tokens){c->ids, SEQUENCES, LENGTH};
	c->b.model->loc = (Loc){1, 0};
	for (int l = 0; l < LAYERS; l++)
		for (int k = 0; k < 3; k++) {
			enlarge(c->b.model->tensors[ROLE_ATTN_NORM][l], 5 + 7 * k);
			enlarge(c->b.model->tensors[ROLE_MLP_NORM][l], 4 + 9 * k);
		}
	c->pool = pool_new(c->b.a, memory);
	c->plan = plan_new(c->b.a, c->b.model);
	c->run = (RecipeRun){.model = c->b.model,
			     .recipe = &c->recipe,
			     .linalg = linalg_open(c->b.a, jobs),
			     .tokens = &c->tokens,
			     .jobs = jobs,
			     .progress = count,
			     .progress_arg = c};
	d = diag_new(c->b.a, stderr);
	stage_formats(&c->recipe, c->b.model, c->plan);
	assert_true(sites_choose(c->b.a, d, &c->run, c->pool, c->plan));
}

static void
close_case(Case *c)
{
	pool_free(c->pool);
	close_bench(&c->b);
}

/* Squared error of what the first layer leaves, as the compiled plan rounds weights and rows. */
static double
error_of(Case *c)
{
	Diag *d = diag_new(c->b.a, stderr);
	const Graph *g = recipe_graph(c->b.a, d, c->b.model, c->plan);
	Stream *s[STREAMS];
	double sum = 0.0;
	assert_non_null(g);
	for (int k = 0; k < STREAMS; k++) {
		s[k] = stream_new(c->b.a, c->pool, c->run.linalg, g, &c->tokens, (StreamKind)k, 1);
		for (int f = 0; g->funcs[f].layer < 1; f++)
			stream_function(s[k], &g->funcs[f]);
	}
	for (int i = 0; i < N * HIDDEN; i++) {
		const double off = (double)stream_carry(s[STREAM_FLOAT])[i] -
				   (double)stream_carry(s[STREAM_ROUNDED])[i];
		sum += off * off;
	}
	for (int k = 0; k < STREAMS; k++)
		stream_free(s[k]);
	return sum;
}

static void
tune(Case *c)
{
	Diag *d = diag_new(c->b.a, stderr);
	assert_true(tune_reflections(c->b.a, d, &c->run, c->pool, c->plan));
}

static void
test_less_error(void **state)
{
	(void)state;
	for (int reflect = REFLECT_BEHIND; reflect <= REFLECT_FRONT; reflect++) {
		static Case c;
		open_case(&c, reflect, 1, UINT64_MAX);
		const double before = error_of(&c);
		tune(&c);
		const double after = error_of(&c);
		assert_int_equal(c.kept + c.left, LAYERS);
		if (!(c.kept && after < 0.95 * before))
			fail_msg("an error of %g, was %g", after, before);
		close_case(&c);
	}
}

/* Uphill, by many rates: where a layer's error is not less its vectors are as they were. */
static void
test_worse_is_left(void **state)
{
	static const double rates[] = {-0.003, -0.01, -0.1};
	static Case c;
	double dense[HIDDEN * HIDDEN], again[HIDDEN * HIDDEN];
	int left = 0;
	(void)state;
	for (size_t i = 0; i < sizeof rates / sizeof *rates; i++) {
		open_case(&c, REFLECT_BEHIND, 1, UINT64_MAX);
		c.recipe.ruquant_rate = rates[i];
		const double before = error_of(&c);
		transform_dense(c.plan->transforms[SITE_ATTN_IN][0].transform, dense);
		tune(&c);
		transform_dense(c.plan->transforms[SITE_ATTN_IN][0].transform, again);
		const bool same = !memcmp(dense, again, sizeof dense);
		assert_true(same ? c.left > 0 : error_of(&c) < before);
		left += same;
		close_case(&c);
	}
	assert_true(left > 0);
}

static void
test_threads(void **state)
{
	static double one[LAYERS][HIDDEN * HIDDEN], other[HIDDEN * HIDDEN];
	(void)state;
	for (int k = 0; k < 2; k++) {
		static Case c;
		open_case(&c, REFLECT_BEHIND, k ? 3 : 1, k ? 0 : UINT64_MAX);
		tune(&c);
		for (int l = 0; l < LAYERS; l++) {
			transform_dense(c.plan->transforms[SITE_MLP_IN][l].transform,
					k ? other : one[l]);
			if (k)
				assert_memory_equal(one[l], other, sizeof other);
		}
		close_case(&c);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_slope),	      cmocka_unit_test(test_rounding),
		cmocka_unit_test(test_less_error),    cmocka_unit_test(test_threads),
		cmocka_unit_test(test_worse_is_left),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
