/*
 * Moments of what each expert reads on small random mixtures, against sums row by row; what they
 * are worth: error correction by them loses less on an expert's own rows than rounding to nearest.
 */
#include "plan_bench.h"

#include "gen/method/experts.h"
#include "gen/method/round.h"

enum { SEQUENCES = 30, N = SEQUENCES * TOKENS, TIED = 3 };

/* Experts 0 to 2 tie in every token, so that two of them fill the slots or are beaten by one of the
 * others, and expert 2 gets nothing. */
static void
tie_experts(const Model *m)
{
	for (uint32_t l = 0; l < LAYERS; l++) {
		const Tensor *t = m->tensors[ROLE_ROUTER][l];
		float *rows = (float *)(uintptr_t)t->data;
		for (uint32_t e = 1; e < TIED; e++)
			memcpy(rows + (size_t)e * HIDDEN, rows, HIDDEN * sizeof *rows);
	}
}

static Graph *
a_graph(Bench *b, Format weights, Format rows)
{
	const PassOptions o = {0};
	Graph *g = graph_build(b->a, b->model);
	const int roles[] = {ROLE_Q, ROLE_O, ROLE_EXPERT_GATE, ROLE_EXPERT_UP, ROLE_EXPERT_DOWN};
	for (size_t k = 0; k < sizeof roles / sizeof *roles; k++)
		for (uint32_t i = 0; i < model_places(b->model, roles[k]); i++)
			g->formats[roles[k]][i] = weights;
	g->activations = rows;
	assert_true(passes_run(g, &o, diag_new(b->a, stderr)));
	return g;
}

typedef struct Walk {
	Bench b;
	const Graph *graph;
	const Func *func;
	Pool *pool;
	Stream *streams[STREAMS];
	int32_t ids[N];
	Tokens tokens;
	int gate, down; /* the first values of their roles */
	ExpertMoments moments;
} Walk;

/* Both streams up to `down` of the last layer, which is not computed yet. */
static void
open_walk(Walk *w, bool tied)
{
	const Format weights = {.kind = NUMBER_INT, .bits = 3, .scale_bits = 16, .group = 0};
	const Format rows = {.kind = NUMBER_INT, .bits = 4, .scale_bits = 32};
	w->b = open_bench_with(false, EXPERTS);
	if (tied)
		tie_experts(w->b.model);
	w->graph = a_graph(&w->b, weights, rows);
	w->pool = pool_new(w->b.a, UINT64_MAX);
	w->tokens = (Tokens){w->ids, SEQUENCES, TOKENS};
	for (int i = 0; i < N; i++)
		w->ids[i] = (int32_t)random_below(&w->b.r, VOCAB);
	const Linalg *l = linalg_open(w->b.a, 2);
	w->func = &w->graph->funcs[LAYERS];
	for (int i = w->func->count; i-- > 0;) {
		const Value *v = func_value(w->func, i);
		w->gate = v->role == ROLE_EXPERT_GATE ? i : w->gate;
		w->down = v->role == ROLE_EXPERT_DOWN && v->op == OP_EXPERT ? i : w->down;
	}
	for (int k = 0; k < STREAMS; k++) {
		Stream *s = stream_new(w->b.a, w->pool, l, w->graph, &w->tokens, (StreamKind)k, 2);
		w->streams[k] = s;
		stream_keep(s);
		for (int f = 0; f < LAYERS; f++)
			stream_function(s, &w->graph->funcs[f]);
		stream_enter(s, w->func);
		const int *order = stream_order(w->b.a, w->func);
		for (int n = 0; order[n] != w->down; n++)
			stream_step(s, order[n], NULL);
	}
	const size_t square = (size_t)HIDDEN * HIDDEN;
	w->moments = (ExpertMoments){.linalg = l,
				     .pool = w->pool,
				     .rounded = w->streams[STREAM_ROUNDED],
				     .plain = w->streams[STREAM_FLOAT],
				     .experts = N_EXPERT,
				     .tokens = N,
				     .h = ARENA_ARRAY(w->b.a, double, square),
				     .g = ARENA_ARRAY(w->b.a, double, square),
				     .mean_h = ARENA_ARRAY(w->b.a, double, square),
				     .mean_g = ARENA_ARRAY(w->b.a, double, square)};
}

static void
close_walk(Walk *w)
{
	const int *order = stream_order(w->b.a, w->func);
	int at = 0;
	while (order[at] != w->down)
		at++;
	for (int k = 0; k < STREAMS; k++) {
		for (int n = at; n < w->func->count; n++)
			stream_step(w->streams[k], order[n], NULL);
		stream_leave(w->streams[k]);
		stream_free(w->streams[k]);
	}
	pool_free(w->pool);
	close_bench(&w->b);
}

/* What token t's route says of expert e: its slot, or -1; the weight. */
static int
slot_of(const Walk *w, StreamKind kind, int i, int t, uint32_t e, double *weight)
{
	const int route = func_value(w->func, i)->operands[1];
	const float *of = stream_rows(w->streams[kind], route) + (size_t)t * 2 * N_USED;
	for (int slot = 0; slot < N_USED; slot++)
		if (of[N_USED + slot] == (float)e) {
			*weight = (double)of[slot];
			return slot;
		}
	return -1;
}

/* Token t's row at the operand of i's role in a slot. */
static const float *
row_of(const Walk *w, StreamKind kind, int i, int slot, int t)
{
	int at = -1;
	for (int k = 0; k < w->func->count; k++) {
		const Value *v = func_value(w->func, k);
		if (v->op == OP_EXPERT && v->role == func_value(w->func, i)->role &&
		    (int)v->slot == slot)
			at = v->operands[0];
	}
	return stream_rows(w->streams[kind], at) + (size_t)t * HIDDEN;
}

/* Sums of expert e, or of all (e = N_EXPERT), row by row in double. */
static int
brute(const Walk *w, int i, uint32_t e, double *h, double *g, double *mass)
{
	int count = 0;
	for (int t = 0; t < N; t++)
		for (uint32_t k = 0; k < N_EXPERT; k++) {
			double c = 0, other = 0;
			const int slot = slot_of(w, STREAM_ROUNDED, i, t, k, &c);
			if (slot < 0 || (e < N_EXPERT && e != k))
				continue;
			const int plain =
				i == w->gate ? 0 : slot_of(w, STREAM_FLOAT, i, t, k, &other);
			const float *x = row_of(w, STREAM_ROUNDED, i, slot, t);
			const float *y = plain < 0 ? x : row_of(w, STREAM_FLOAT, i, plain, t);
			count++;
			*mass += c * c;
			for (int a = 0; a < HIDDEN; a++)
				for (int b = 0; b < HIDDEN; b++) {
					h[a * HIDDEN + b] += c * c * (double)x[a] * (double)x[b];
					g[a * HIDDEN + b] += c * c * (double)x[a] * (double)y[b];
				}
		}
	return count;
}

enum { SQUARE = HIDDEN * HIDDEN };

static void
check_moments(Walk *w, int i, int *empty)
{
	double all_h[SQUARE] = {0}, all_g[SQUARE] = {0}, all = 0;
	brute(w, i, N_EXPERT, all_h, all_g, &all);
	w->moments.mean_of = -1;
	for (uint32_t e = 0; e < N_EXPERT; e++) {
		double h[SQUARE] = {0}, g[SQUARE] = {0}, mass = 0;
		const int count = brute(w, i, e, h, g, &mass);
		const double own = count < HIDDEN ? (double)count / HIDDEN : 1;
		assert_int_equal(expert_moments(&w->moments, i, e, HIDDEN), count);
		for (int k = 0; k < SQUARE; k++) {
			h[k] = (count ? own * h[k] / mass : 0) + (1 - own) * all_h[k] / all;
			g[k] = (count ? own * g[k] / mass : 0) + (1 - own) * all_g[k] / all;
		}
		assert_true(difference(w->moments.h, h, SQUARE) < 1e-6);
		assert_true(difference(w->moments.g, g, SQUARE) < 1e-6);
		assert_true(difference(h, g, SQUARE) > 1e-3);
		*empty += count == 0;
	}
}

static void
test_moments(void **state)
{
	(void)state;
	for (int tied = 0; tied < 2; tied++) {
		Walk w = {0};
		int empty = 0;
		open_walk(&w, tied);
		check_moments(&w, w.gate, &empty);
		check_moments(&w, w.down, &empty);
		assert_int_equal(empty, tied ? 2 : 0);
		close_walk(&w);
	}
}

/* The squared error of what an expert adds to the stream, over its rows. */
static double
loss(const Walk *w, uint32_t e, const float *a, const float *b)
{
	double sum = 0;
	for (int t = 0; t < N; t++) {
		double c = 0;
		const int slot = slot_of(w, STREAM_ROUNDED, w->down, t, e, &c);
		const float *x = slot < 0 ? NULL : row_of(w, STREAM_ROUNDED, w->down, slot, t);
		for (int r = 0; r < HIDDEN && x; r++) {
			double y = 0;
			for (int k = 0; k < HIDDEN; k++)
				y += (double)(a[r * HIDDEN + k] - b[r * HIDDEN + k]) * (double)x[k];
			sum += c * c * y * y;
		}
	}
	return sum;
}

static void
test_correction(void **state)
{
	(void)state;
	Walk w = {0};
	open_walk(&w, false);
	for (uint32_t e = 0; e < N_EXPERT; e++) {
		float own[SQUARE];
		double losses[2];
		const Value *v = func_value(w.func, w.down);
		stream_expert_weights(w.graph, w.func, v, e, STREAM_FLOAT, 1, own);
		expert_moments(&w.moments, w.down, e, HIDDEN);
		for (int k = 0; k < 2; k++) {
			const Rounding how = {.round = k ? ROUND_GPTQ : ROUND_RTN,
					      .damp = 0.01,
					      .order = ORDER_GROUPS};
			const RoundProblem p = {
				.rows = HIDDEN,
				.columns = HIDDEN,
				.w = own,
				.h = w.moments.h,
				.format = graph_expert_format(w.graph, v->role, w.func->layer, e),
				.how = &how,
				.linalg = w.moments.linalg,
				.jobs = 1};
			RoundResult r;
			const char *why;
			assert_true(round_weights(w.b.a, &p, &r, &why));
			losses[k] = loss(&w, e, own, r.w);
		}
		assert_true(losses[1] < 0.8 * losses[0]);
	}
	close_walk(&w);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_moments),
		cmocka_unit_test(test_correction),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
