/*
 * Scales tuned end to end, on small random models with planned transforms: gradients against
 * differences of the loss, whose forward stream_test holds against the interpreters; what a run
 * keeps and what it puts back.
 */
#include "plan_bench.h"

#include "gen/method/distil.h"

/* Beyond one piece of logits and one of queries. */
enum { LENGTH = 150, SEQUENCES = 6, N = SEQUENCES * LENGTH };

static const int linears[] = {ROLE_Q, ROLE_K, ROLE_V, ROLE_O, ROLE_GATE, ROLE_UP, ROLE_DOWN};
enum { LINEARS = sizeof linears / sizeof *linears };

static void
quiet(void *arg, const char *what, double share)
{
	(void)arg;
	(void)what;
	(void)share;
}

/* Codes by chance in groups that rows are no multiples of, queries and keys large, so that
 * positions differ; every other layer has zero points. */
static void
give_codes(Bench *b, Graph *g, Plan *p, Format f)
{
	for (int k = 0; k < LINEARS; k++)
		for (int l = 0; l < LAYERS; l++) {
			const Tensor *t = b->model->tensors[linears[k]][l];
			const double size = k < 2 ? 2.0 : 1.0;
			Format format = f;
			format.zero = l % 2 ? ZERO_INTEGER : ZERO_NONE;
			const size_t groups = (size_t)format_groups(format, (int)t->columns);
			uint8_t *codes = ARENA_ARRAY(b->a, uint8_t, (size_t)t->rows * t->columns);
			float *scales = ARENA_ARRAY(b->a, float, t->rows *groups);
			float *zeros = ARENA_ARRAY(b->a, float, t->rows *groups);
			for (size_t i = 0; i < (size_t)t->rows * t->columns; i++)
				codes[i] = (uint8_t)random_below(&b->r, 16);
			for (size_t i = 0; i < t->rows * groups; i++) {
				scales[i] = format_scale_round(
					f, (float)(size * (1.5 + random_real(&b->r)) / 8.0 /
						   sqrt((double)t->columns)));
				zeros[i] = (float)(6 + random_below(&b->r, 4));
			}
			g->formats[linears[k]][l] = format;
			p->codes[linears[k]][l] =
				(PlanCodes){codes, scales, l % 2 ? zeros : NULL, {1, 0}};
		}
}

static const Format four = {.kind = NUMBER_INT, .bits = 4, .scale_bits = 16, .group = 16};

static const Graph *
a_graph(Bench *b, Plan *p, Format rows)
{
	const PassOptions o = {0};
	Diag *d = diag_new(b->a, stderr);
	Graph *g = graph_build(b->a, b->model);
	put_all(b, p, SITE_RESIDUAL, hadamard, false);
	put_all(b, p, SITE_V, hadamard, false);
	put_all(b, p, SITE_QK_ROPE, dense, false);
	put_all(b, p, SITE_DOWN_IN, signed_hadamard, false);
	put_all(b, p, SITE_O_IN, dense, false);
	assert_true(graph_apply_plan(g, p, d));
	give_codes(b, g, p, four);
	g->activations = rows;
	graph_set_kv(g, -1, (CacheFormat){.format = FORMAT_F32});
	assert_true(passes_run(g, &o, d));
	return g;
}

/* The last two sequences judge. */
static DistilRun
a_run(Bench *b, const Graph *g, Plan *p, Pool *pool, const int32_t *ids, int jobs)
{
	TokenText *text = ARENA_NEW(b->a, TokenText);
	Tokens *held = ARENA_NEW(b->a, Tokens);
	*text = (TokenText){ids, N - 2 * LENGTH, -1};
	*held = (Tokens){ids + text->count, 2, LENGTH};
	return (DistilRun){.graph = g,
			   .plan = p,
			   .linalg = linalg_open(b->a, jobs),
			   .pool = pool,
			   .text = text,
			   .held = held,
			   .jobs = jobs,
			   .steps = 4,
			   .seed = 42,
			   .rate = 2e-2,
			   .progress = quiet};
}

static void
some_tokens(Bench *b, int32_t ids[N])
{
	for (int i = 0; i < N; i++)
		ids[i] = (int32_t)random_below(&b->r, VOCAB);
}

/* ---- gradients ------------------------------------------------------------------------------ */

/* The loss with each factor i of a linear at 1 + h direction[i]. */
static double
loss_beside(Distil *x, const int32_t *ids, int role, int l, const float *direction, size_t n,
	    double h)
{
	for (size_t i = 0; i < n; i++)
		distil_factor(x, role, l, i, (float)(1.0 + h * (double)direction[i]));
	const double loss = distil_loss(x, ids, false);
	for (size_t i = 0; i < n; i++)
		distil_factor(x, role, l, i, 1.0f);
	return loss;
}

/* Along a direction the differences of the loss are the slopes' share of it, within 1 %. */
static void
check_direction(Distil *x, const int32_t *ids, int role, int l, const float *direction,
		const float *slopes, size_t n)
{
	const double h = 2e-3;
	double along = 0.0;
	for (size_t i = 0; i < n; i++)
		along += (double)direction[i] * (double)slopes[i];
	const double got = (loss_beside(x, ids, role, l, direction, n, h) -
			    loss_beside(x, ids, role, l, direction, n, -h)) /
			   (2.0 * h);
	if (!(fabs(got - along) <= 0.01 * fabs(along) + 5e-6))
		print_error("%s of layer %d: %.6g by differences, %.6g\n", role_names[role], l, got,
			    along);
	assert_true(fabs(got - along) <= 0.01 * fabs(along) + 5e-6);
}

/* The scale that matters most, and all together in a direction by chance. */
static void
check_linear(Bench *b, Distil *x, const int32_t *ids, const float *slopes, int role, int l)
{
	const Tensor *t = b->model->tensors[role][l];
	const size_t n = t->rows * (size_t)format_groups(four, (int)t->columns);
	float *direction = ARENA_ARRAY(b->a, float, n);
	size_t most = 0;
	for (size_t i = 0; i < n; i++)
		most = fabsf(slopes[i]) > fabsf(slopes[most]) ? i : most;
	if (!(fabsf(slopes[most]) > 1e-4f))
		print_error("%s of layer %d: slopes of %.2g\n", role_names[role], l,
			    (double)fabsf(slopes[most]));
	assert_true(fabsf(slopes[most]) > 1e-4f);
	direction[most] = 1.0f;
	check_direction(x, ids, role, l, direction, slopes, n);
	for (size_t i = 0; i < n; i++)
		direction[i] = (float)random_real(&b->r);
	check_direction(x, ids, role, l, direction, slopes, n);
}

static void
test_gradients(void **state)
{
	const unsigned extras[] = {PLAIN, BIASES | NORMS, WINDOWS};
	(void)state;
	for (size_t e = 0; e < sizeof extras / sizeof *extras; e++) {
		static int32_t ids[N];
		Bench b = open_bench_with(e == 1, extras[e]);
		Plan *p = plan_new(b.a, b.model);
		const Graph *g = a_graph(&b, p, FORMAT_F32);
		some_tokens(&b, ids);
		Pool *pool = pool_new(b.a, UINT64_MAX);
		const DistilRun o = a_run(&b, g, p, pool, ids, 1);
		Distil *x = distil_new(b.a, &o);
		assert_true(distil_loss(x, ids, true) > 0.01);
		for (int k = 0; k < LINEARS; k++)
			for (int l = 0; l < LAYERS; l++)
				check_linear(&b, x, ids, distil_slopes(x, linears[k], l),
					     linears[k], l);
		distil_free(x);
		pool_free(pool);
		close_bench(&b);
	}
}

/* ---- runs ----------------------------------------------------------------------------------- */

/* A run's scales of a linear. */
static DistilResult
run(double rate, int jobs, uint64_t memory, int role, float *before, float *after)
{
	const Format rows = {.kind = NUMBER_INT, .bits = 6, .scale_bits = 32, .zero = ZERO_REAL};
	static int32_t ids[N];
	Bench b = open_bench(false);
	Plan *p = plan_new(b.a, b.model);
	const Graph *g = a_graph(&b, p, rows);
	some_tokens(&b, ids);
	Pool *pool = pool_new(b.a, memory);
	DistilRun o = a_run(&b, g, p, pool, ids, jobs);
	const Tensor *tensor = b.model->tensors[role][1];
	const size_t n = tensor->rows * (size_t)format_groups(four, (int)tensor->columns);
	o.rate = rate;
	memcpy(before, p->codes[role][1].scales, n * sizeof *before);
	const DistilResult r = distil(b.a, &o);
	memcpy(after, p->codes[role][1].scales, n * sizeof *after);
	for (size_t i = 0; i < n; i++)
		assert_true(after[i] == format_scale_round(four, after[i]) && after[i] > 0.0f);
	pool_free(pool);
	close_bench(&b);
	return r;
}

enum { SCALES = 256 };

static void
test_less(void **state)
{
	static float before[SCALES], after[SCALES], again[SCALES];
	(void)state;
	const DistilResult one = run(2e-2, 1, UINT64_MAX, ROLE_DOWN, before, after);
	const DistilResult other = run(2e-2, 3, 0, ROLE_DOWN, before, again);
	assert_true(one.kept && one.after < one.before);
	assert_memory_not_equal(before, after, sizeof before);
	assert_memory_equal(after, again, sizeof after);
	assert_true(one.before == other.before && one.after == other.after);
}

/* Steps uphill. */
static void
test_worse_is_put_back(void **state)
{
	static float before[SCALES], after[SCALES];
	(void)state;
	const DistilResult r = run(-2e-2, 1, UINT64_MAX, ROLE_Q, before, after);
	assert_true(!r.kept && r.after >= r.before);
	assert_memory_equal(before, after, sizeof before);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_gradients),
		cmocka_unit_test(test_less),
		cmocka_unit_test(test_worse_is_put_back),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
