/*
 * The interpreters against programs that share nothing with Lathe: llama.cpp's logits of SmolLM2
 * (smollm2_llamacpp.json) and the greedy text of llama2.c's run.c on stories260K. Then the
 * contract against the double interpreter, and against itself however the work is cut.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "gen/model/model.h"
#include "ir/interp.h"
#include "ir/pass.h"

/* Initialisers of the formats at hand. */
#define F32                                      \
	{                                        \
		.kind = NUMBER_FLOAT, .bits = 32 \
	}
#define F16                                      \
	{                                        \
		.kind = NUMBER_FLOAT, .bits = 16 \
	}
#define A16                                                      \
	{                                                        \
		.kind = NUMBER_INT, .bits = 16, .scale_bits = 32 \
	}
#define A8_TOKEN                                                \
	{                                                       \
		.kind = NUMBER_INT, .bits = 8, .scale_bits = 32 \
	}
#define A8_GROUP                                                             \
	{                                                                    \
		.kind = NUMBER_INT, .bits = 8, .scale_bits = 32, .group = 32 \
	}
#define A(b, g, z, c)                                                                          \
	{                                                                                      \
		.kind = NUMBER_INT, .bits = b, .scale_bits = 32, .group = g, .zero = ZERO_##z, \
		.clip = c                                                                      \
	}
#define W(b, m, g)                                                                        \
	{                                                                                 \
		.kind = NUMBER_INT, .bits = b, .scale_bits = 16, .minimum = m, .group = g \
	}

/* A model and its lifetime; model null where the environment has no such file. */
typedef struct Fixture {
	Arena *run;
	Diag *diag;
	const Model *model;
} Fixture;

static bool
fixture_open(Fixture *x, const char *variable, const char *name)
{
	const char *folder = getenv(variable);
	*x = (Fixture){0};
	if (!folder) {
		print_message("skipped: %s is not set, so there is no %s\n", variable, name);
		return false;
	}
	x->run = arena_new();
	x->diag = diag_new(x->run, stderr);
	x->model = model_read(x->run, x->diag, arena_printf(x->run, "%s/%s", folder, name), NULL);
	assert_non_null(x->model);
	return true;
}

static bool
smollm2_open(Fixture *x)
{
	return fixture_open(x, "LATHE_MODELS", "SmolLM2-135M-Instruct.Q4_1.gguf");
}

static bool
stories_open(Fixture *x)
{
	return fixture_open(x, "LATHE_SHARED", "data/stories260K.bin");
}

/* All passes, or only the one that the numbers need. */
static void
run_passes(Fixture *x, Graph *g, bool all)
{
	static const char *const quantize[] = {"quantize"};
	PassOptions o = {0};
	if (!all) {
		o.only = quantize;
		o.n_only = 1;
	}
	assert_true(passes_run(g, &o, x->diag));
}

/* Root of the sum of squares. */
static double
norm(const double *x, size_t n)
{
	double s = 0.0;
	for (size_t i = 0; i < n; i++)
		s += x[i] * x[i];
	return sqrt(s);
}

static double
relative_difference(const float *a, const double *b, size_t n)
{
	double s = 0.0;
	for (size_t i = 0; i < n; i++)
		s += ((double)a[i] - b[i]) * ((double)a[i] - b[i]);
	return sqrt(s) / norm(b, n);
}

static int
compare_double(const void *a, const void *b)
{
	double x = *(const double *)a;
	double y = *(const double *)b;
	return (x > y) - (x < y);
}

static int
argmax(const double *x, int n)
{
	int best = 0;
	for (int i = 1; i < n; i++)
		if (x[i] > x[best])
			best = i;
	return best;
}

/* ---- llama.cpp --------------------------------------------------------------------------------
 */

enum { POSITIONS = 64, TOP = 5, PROBES = 16 };

typedef struct GoldenRow {
	int32_t token;
	double norm;
	long ids[PROBES]; /* the TOP largest first */
	double logits[PROBES];
} GoldenRow;

/* The text after "key": in s. */
static char *
after_key(char *s, const char *key)
{
	char *at = strstr(s, key);
	assert_non_null(at);
	return at + strlen(key);
}

static int
golden_read(GoldenRow *rows)
{
	FILE *f = fopen("tests/exec/smollm2_llamacpp.json", "r");
	char line[4096];
	int n = 0;
	assert_non_null(f);
	while (n < POSITIONS && fgets(line, sizeof line, f)) {
		if (!strstr(line, "\"token\":"))
			continue;
		GoldenRow *r = &rows[n++];
		r->token = (int32_t)strtol(after_key(line, "\"token\":"), NULL, 10);
		r->norm = strtod(after_key(line, "\"norm\":"), NULL);
		char *s = after_key(line, "\"ids\":[");
		for (int i = 0; i < PROBES; i++)
			r->ids[i] = strtol(s + (i > 0), &s, 10);
		s = after_key(line, "\"logits\":[");
		for (int i = 0; i < PROBES; i++)
			r->logits[i] = strtod(s + (i > 0), &s);
	}
	fclose(f);
	return n;
}

static void
check_position(const GoldenRow *r, const double *logits, int n_vocab, double *worst)
{
	double rms = r->norm / sqrt((double)n_vocab);
	double d = fabs(norm(logits, (size_t)n_vocab) - r->norm) / r->norm;
	*worst = d > *worst ? d : *worst;
	for (int i = 0; i < PROBES; i++) {
		d = fabs(logits[r->ids[i]] - r->logits[i]) / rms;
		*worst = d > *worst ? d : *worst;
	}
	assert_int_equal(argmax(logits, n_vocab), r->ids[0]);
}

/* Both arithmetics: double close to llama.cpp in f32, the contract at 16 bits close to double. */
static void
test_smollm2(void **state)
{
	static GoldenRow rows[POSITIONS];
	int32_t tokens[POSITIONS];
	double worst = 0.0;
	Fixture x;
	(void)state;
	assert_int_equal(golden_read(rows), POSITIONS);
	if (!smollm2_open(&x))
		skip();
	size_t n_vocab = x.model->n_vocab;
	double *want = ARENA_ARRAY(x.run, double, POSITIONS *n_vocab);
	float *got = ARENA_ARRAY(x.run, float, POSITIONS *n_vocab);
	Graph *g = graph_build(x.run, x.model);
	g->activations = (Format)A16;
	graph_set_kv(g, -1, (CacheFormat){FORMAT_F16, 0});
	run_passes(&x, g, true);
	for (int i = 0; i < POSITIONS; i++)
		tokens[i] = rows[i].token;

	Interp *d = interp_new(x.run, g, ARITHMETIC_DOUBLE, POSITIONS, 2);
	interp_eval(d, tokens, POSITIONS, NULL, want, true);
	for (int i = 0; i < POSITIONS; i++)
		check_position(&rows[i], want + (size_t)i * n_vocab, (int)n_vocab, &worst);
	print_message("double against llama.cpp: %.2e\n", worst);
	assert_true(worst < 5e-5);

	Interp *c = interp_new(x.run, g, ARITHMETIC_CONTRACT, POSITIONS, 2);
	interp_eval(c, tokens, POSITIONS, got, NULL, true);
	double e[POSITIONS];
	for (size_t i = 0; i < POSITIONS; i++)
		e[i] = relative_difference(got + i * n_vocab, want + i * n_vocab, n_vocab);
	qsort(e, POSITIONS, sizeof *e, compare_double);
	print_message("contract against double: median %.2e, worst %.2e\n", e[POSITIONS / 2],
		      e[POSITIONS - 1]);
	assert_true(e[POSITIONS / 2] < 1e-3 && e[POSITIONS - 1] < 4e-3);
	arena_free(x.run);
}

/* ---- stories260K ------------------------------------------------------------------------------
 */

/* What `run stories260K.bin -t 0` of llama2.c prints, as ids, from BOS. */
static const int32_t story[] = {
	1,   403, 407, 261, 378, 432, 383, 286, 261, 376, 298, 315, 421, 395, 317, 426, 338, 401,
	396, 267, 337, 410, 408, 419, 292, 411, 322, 265, 282, 295, 433, 426, 385, 328, 432, 358,
	394, 261, 370, 432, 352, 266, 268, 388, 426, 338, 391, 266, 267, 337, 335, 312, 432, 398,
	312, 286, 267, 414, 270, 333, 415, 426, 13,  438, 310, 439, 419, 357, 336, 432, 313, 438,
	310, 432, 278, 316, 439, 419, 298, 414, 267, 265, 282, 295, 433, 426, 436, 317, 286, 296,
	418, 269, 279, 292, 416, 439, 413, 409, 416, 327, 263, 415, 294, 267, 400, 426, 338, 336,
	432, 313, 442, 391, 267, 337, 335, 364, 420, 268, 388, 432, 398, 359, 280, 303, 439, 413,
	272, 417, 264, 312, 426, 436, 13,  438, 310, 286, 296, 418, 269, 279, 292, 416, 439, 413,
	409, 416, 327, 263, 415, 294, 267, 400, 426, 338, 336, 432, 313, 442, 439, 423,
};
enum { STORY = sizeof story / sizeof *story };

static void
test_story(void **state)
{
	Fixture x;
	(void)state;
	if (!stories_open(&x))
		skip();
	int n_vocab = (int)x.model->n_vocab;
	double *logits = ARENA_ARRAY(x.run, double, (size_t)n_vocab);
	Graph *g = graph_build(x.run, x.model);
	run_passes(&x, g, true);
	Interp *i = interp_new(x.run, g, ARITHMETIC_DOUBLE, STORY, 1);
	for (int t = 0; t + 1 < STORY; t++) {
		interp_eval(i, &story[t], 1, NULL, logits, false);
		assert_int_equal(argmax(logits, n_vocab), story[t + 1]);
	}
	arena_free(x.run);
}

/* How the contract is run; weights of kind FLOAT mean the file's own. */
typedef struct Case {
	const char *name;
	Format weights, activations, kv;
	double tolerance; /* of the logits, relative to double on the same weights */
} Case;

/* 172 columns: with groups of 64 or 32 the last group of `down` is short. */
static const Case cases[] = {
	{"f32", F32, F32, F32, 2e-6},
	{"f16 weights", F16, F32, F16, 1e-3},
	{"w8 g32, a16", W(8, false, 32), A16, F16, 1e-3},
	{"w4 g64, a16", W(4, false, 64), A16, F16, 1e-3},
	{"w4 g64 min, a8 g32", W(4, true, 64), A8_GROUP, F16, 2e-2},
	{"w4 g32 min, a8", W(4, true, 32), A8_TOKEN, F32, 3e-2},
	{"w4 row, a8", W(4, false, 0), A8_TOKEN, F32, 3e-2},
	{"w4 row min, a8 g32", W(4, true, 0), A8_GROUP, F32, 2e-2},
	{"w8 g32 min, f32", W(8, true, 32), F32, F32, 2e-6},
	{"w8 g32, a16 real", W(8, false, 32), A(16, 0, REAL, 0), F32, 1e-4},
	{"w4 g32 min, a16 g32 integer", W(4, true, 32), A(16, 32, INTEGER, 0), F32, 1e-4},
	{"w4 g64, a8 real", W(4, false, 64), A(8, 0, REAL, 0), F32, 3e-2},
	{"w4 g64 min, a8 g32 real", W(4, true, 64), A(8, 32, REAL, 0), F32, 2e-2},
	{"w4 row, a8 integer", W(4, false, 0), A(8, 0, INTEGER, 0), F32, 3e-2},
	{"w4 row min, a6 g64 integer", W(4, true, 0), A(6, 64, INTEGER, 0), F32, 6e-2},
	{"w8 g32, a8 clip", W(8, false, 32), A(8, 0, NONE, 0.99f), F32, 5e-2},
	{"kv 8", F32, F32, A(8, 0, NONE, 0), 3e-2},
	{"kv 8, integer zero", F32, F32, A(8, 0, INTEGER, 0), 3e-2},
	{"kv 8, real zero", F32, F32, A(8, 0, REAL, 0), 3e-2},
	{"kv 4", F32, F32, A(4, 0, NONE, 0), 5e-1},
	{"kv 4, integer zero", F32, F32, A(4, 0, INTEGER, 0), 5e-1},
	{"kv 4, real zero", F32, F32, A(4, 0, REAL, 0), 5e-1},
};
enum { CASES = sizeof cases / sizeof *cases };

static Graph *
case_graph(Fixture *x, const Case *c, bool passes)
{
	Graph *g = graph_build(x->run, x->model);
	for (int r = 0; r < ROLE_COUNT; r++) {
		if (role_optional[r] || x->model->tensors[r][0]->rows == 1)
			continue;
		for (uint32_t l = 0; l < (role_layered[r] ? x->model->n_layer : 1); l++)
			g->formats[r][l] = c->weights;
	}
	g->activations = c->activations;
	graph_set_kv(g, -1, (CacheFormat){c->kv, format_is_float(c->kv) ? 0 : 16});
	run_passes(x, g, passes);
	return g;
}

static void
test_story_contract(void **state)
{
	Fixture x;
	(void)state;
	if (!stories_open(&x))
		skip();
	size_t n = (size_t)STORY * x.model->n_vocab;
	double *want = ARENA_ARRAY(x.run, double, n);
	float *got = ARENA_ARRAY(x.run, float, n);
	for (int i = 0; i < CASES; i++) {
		const Graph *g = case_graph(&x, &cases[i], true);
		Interp *d = interp_new(x.run, g, ARITHMETIC_DOUBLE, STORY, 1);
		Interp *c = interp_new(x.run, g, ARITHMETIC_CONTRACT, STORY, 1);
		interp_eval(d, story, STORY, NULL, want, true);
		interp_eval(c, story, STORY, got, NULL, true);
		double e = relative_difference(got, want, n);
		print_message("%s: %.2e\n", cases[i].name, e);
		assert_true(e < cases[i].tolerance);
	}
	arena_free(x.run);
}

/* The same tokens in calls of at most `step`, after `replay` of them were taken back. */
static void
eval_in_steps(Interp *i, int step, int replay, size_t n_vocab, float *logits)
{
	int n;
	for (int at = 0; at < STORY; at += n) {
		n = STORY - at < step ? STORY - at : step;
		interp_eval(i, story + at, n, logits + (size_t)at * n_vocab, NULL, true);
	}
	if (replay == 0)
		return;
	interp_truncate(i, STORY - replay);
	interp_eval(i, story + STORY - replay, replay, logits + (size_t)(STORY - replay) * n_vocab,
		    NULL, true);
}

/* The same bits with and without passes, on any threads, in calls of any length. */
static void
test_story_bits(void **state)
{
	static const struct {
		int jobs, step, replay;
		bool passes;
	} ways[] = {{1, 1, 0, true}, {3, 7, 100, true}, {2, STORY, 3, false}, {5, 65, 0, true}};
	Fixture x;
	(void)state;
	if (!stories_open(&x))
		skip();
	size_t n = (size_t)STORY * x.model->n_vocab;
	float *want = ARENA_ARRAY(x.run, float, n);
	float *got = ARENA_ARRAY(x.run, float, n);
	for (int i = 0; i < CASES; i++) {
		const Graph *g = case_graph(&x, &cases[i], true);
		Interp *c = interp_new(x.run, g, ARITHMETIC_CONTRACT, STORY, 1);
		interp_eval(c, story, STORY, want, NULL, true);
		for (size_t k = 0; k < sizeof ways / sizeof *ways; k++) {
			g = case_graph(&x, &cases[i], ways[k].passes);
			c = interp_new(x.run, g, ARITHMETIC_CONTRACT, STORY, ways[k].jobs);
			eval_in_steps(c, ways[k].step, ways[k].replay, x.model->n_vocab, got);
			assert_memory_equal(got, want, n * sizeof *got);
		}
		/* the last position alone */
		c = interp_new(x.run, g, ARITHMETIC_CONTRACT, STORY, 1);
		interp_eval(c, story, STORY, got, NULL, false);
		assert_memory_equal(got, want + n - x.model->n_vocab,
				    x.model->n_vocab * sizeof *got);
	}
	arena_free(x.run);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_smollm2),
		cmocka_unit_test(test_story),
		cmocka_unit_test(test_story_contract),
		cmocka_unit_test(test_story_bits),
	};
	if (!getenv("LATHE_MODELS") && !getenv("LATHE_SHARED")) {
		puts("skipped: neither LATHE_MODELS nor LATHE_SHARED is set");
		return 77;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
