/*
 * Calibration streams against the interpreters on small random planned models: FLOAT against the
 * double one with weights before rounding, ROUNDED against the contract's.
 */
#include "plan_bench.h"

#include "gen/method/stream.h"

enum { SEQUENCES = 3, N = SEQUENCES * TOKENS };

static Graph *
rounded_graph(Bench *b, const Plan *p, Format weights, Format activations, CacheFormat kv)
{
	const PassOptions o = {0};
	Diag *d = diag_new(b->a, stderr);
	Graph *g = graph_build(b->a, b->model);
	assert_true(graph_apply_plan(g, p, d));
	for (int role = 0; role < ROLE_COUNT; role++)
		for (uint32_t i = 0; i < model_count(b->model, role); i++)
			if (b->model->tensors[role][i] && b->model->tensors[role][i]->rows > 1 &&
			    !role_stays_float(role))
				g->formats[role][i] = weights;
	g->activations = activations;
	graph_set_kv(g, -1, kv);
	assert_true(passes_run(g, &o, d));
	return g;
}

/* Every other sequence runs backwards. */
static void
fill(int32_t ids[N])
{
	for (int i = 0; i < N; i++)
		ids[i] = tokens[i / TOKENS % 2 ? TOKENS - 1 - i % TOKENS : i % TOKENS];
}

/* All functions; the logits, which the caller takes before stream_leave gives them back. */
static void
run(Bench *b, const Graph *g, StreamKind kind, uint64_t memory, int jobs, float *logits_of_all)
{
	int32_t ids[N];
	const Tokens t = {ids, SEQUENCES, TOKENS};
	Pool *pool = pool_new(b->a, memory);
	fill(ids);
	Stream *s = stream_new(b->a, pool, linalg_open(b->a, jobs), g, &t, kind, jobs);
	for (int f = 0; f < g->count; f++)
		stream_function(s, &g->funcs[f]);
	memcpy(logits_of_all, stream_carry(s), (size_t)N * VOCAB * sizeof *logits_of_all);
	stream_free(s);
	pool_free(pool);
}

static void
wanted(Bench *b, const Graph *g, Arithmetic arithmetic, double *to)
{
	int32_t ids[N];
	float row[TOKENS * VOCAB];
	fill(ids);
	for (int k = 0; k < SEQUENCES; k++) {
		const bool exact = arithmetic == ARITHMETIC_DOUBLE;
		Interp *x = interp_new(b->a, g, arithmetic, CTX, 1);
		double *at = to + (size_t)k * TOKENS * VOCAB;
		if (exact)
			interp_use_exact_weights(x);
		interp_eval(x, ids + (size_t)k * TOKENS, TOKENS, row, exact ? at : NULL, true);
		for (int i = 0; i < TOKENS * VOCAB && !exact; i++)
			at[i] = (double)row[i];
	}
}

static double
compare(Bench *b, const Graph *g, StreamKind kind)
{
	static float got[N * VOCAB], again[N * VOCAB];
	static double as_double[N * VOCAB], want[N * VOCAB];
	run(b, g, kind, UINT64_MAX, 3, got);
	run(b, g, kind, 0, 1, again);
	assert_memory_equal(got, again, sizeof got);
	wanted(b, g, kind == STREAM_FLOAT ? ARITHMETIC_DOUBLE : ARITHMETIC_CONTRACT, want);
	for (int i = 0; i < N * VOCAB; i++)
		as_double[i] = (double)got[i];
	return difference(as_double, want, N * VOCAB);
}

static Plan *
a_plan(Bench *b)
{
	Plan *p = plan_new(b->a, b->model);
	const struct {
		Site site;
		uint32_t n;
	} at[] = {{SITE_RESIDUAL, HIDDEN},
		  {SITE_V, D},
		  {SITE_QK_ROPE, D},
		  {SITE_DOWN_IN, INTER},
		  {SITE_EXPERT_DOWN_IN, EXPERT_INTER}};
	for (size_t k = 0; k < sizeof at / sizeof *at; k++)
		for (int l = 0; l < (site_table[at[k].site].layered ? LAYERS : 1) &&
				site_exists(b->model, at[k].site);
		     l++)
			p->transforms[at[k].site][l] =
				(PlanTransform){hadamard(b, at[k].n), false, {1, 0}};
	return p;
}

static const unsigned extras[] = {PLAIN,   BIASES,  BIASES | NORMS,
				  WINDOWS, EXPERTS, EXPERTS | SHARED};
enum { MODELS = sizeof extras / sizeof *extras };

/* With weights of 8 bits the rounded streams still differ by f32's rounding only, but for codes
 * that tip over. */
static void
test_streams(void **state)
{
	const Format weights = {
		.kind = NUMBER_INT, .bits = 8, .scale_bits = 16, .group = 0, .signed_scale = true};
	const Format rows = {
		.kind = NUMBER_INT, .bits = 16, .scale_bits = 32, .group = 0, .zero = ZERO_REAL};
	const CacheFormat caches[MODELS] = {
		{.format = FORMAT_F32},
		{.format = FORMAT_F16},
		{.format = {.kind = NUMBER_INT, .bits = 8, .scale_bits = 32}, .query_bits = 16},
		{.format = FORMAT_F32},
		{.format = FORMAT_F32},
		{.format = FORMAT_F16}};
	(void)state;
	for (size_t k = 0; k < MODELS; k++) {
		Bench b = open_bench(k == 1);
		b.model = make_model(b.a, k == 1, extras[k]);
		const Graph *g = rounded_graph(&b, a_plan(&b), weights, rows, caches[k]);
		assert_true(compare(&b, g, STREAM_FLOAT) < 2e-6);
		assert_true(compare(&b, g, STREAM_ROUNDED) < 2e-3);
		close_bench(&b);
	}
}

/* Four bits at every site: the rounding itself is there. */
static void
test_rounding_shows(void **state)
{
	const Format weights = {.kind = NUMBER_INT, .bits = 4, .scale_bits = 16};
	const Format rows = {.kind = NUMBER_INT, .bits = 4, .scale_bits = 32};
	const CacheFormat cache = {.format = {.kind = NUMBER_INT, .bits = 4, .scale_bits = 32},
				   .query_bits = 8};
	static double want[N * VOCAB], exact[N * VOCAB];
	(void)state;
	Bench b = open_bench(false);
	const Graph *g = rounded_graph(&b, a_plan(&b), weights, rows, cache);
	wanted(&b, g, ARITHMETIC_CONTRACT, want);
	wanted(&b, g, ARITHMETIC_DOUBLE, exact);
	const double rounding = difference(exact, want, N * VOCAB);
	assert_true(rounding > 0.05);
	assert_true(compare(&b, g, STREAM_ROUNDED) < 0.2 * rounding);
	close_bench(&b);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_streams),
		cmocka_unit_test(test_rounding_shows),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
