/*
 * Graphs of random shape through printer, parser, checker and passes. What the arena pass places is
 * verified by playing the phases on a map of the arena, apart from the checker's own reasoning.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "ir/interp.h"
#include "ir/pass.h"

enum { GRAPHS = 400, HIDDEN = 64, INTER = 96, LAYERS = 4, VOCAB = 50 };

/* ---- random numbers, a model --------------------------------------------------------------- */

typedef struct Random {
	uint64_t state;
} Random;

static uint32_t
random_below(Random *r, uint32_t n)
{
	r->state = r->state * 6364136223846793005u + 1442695040888963407u;
	return (uint32_t)(r->state >> 33) % n;
}

static Model
make_model(void)
{
	return (Model){.arch = "llama",
		       .n_layer = LAYERS,
		       .hidden = HIDDEN,
		       .n_head = 4,
		       .n_kv_head = 2,
		       .head_dim = 16,
		       .inter = INTER,
		       .n_vocab = VOCAB,
		       .n_ctx = 128,
		       .q_width = 64,
		       .kv_width = 32,
		       .one = 1,
		       .norm_eps = 1e-5f,
		       .rope_base = 10000};
}

static const Format weight_formats[] = {
	{.kind = NUMBER_FLOAT, .bits = 32},
	{.kind = NUMBER_FLOAT, .bits = 16},
	{.kind = NUMBER_INT, .bits = 4, .scale_bits = 16, .minimum = true, .group = 32},
	{.kind = NUMBER_INT, .bits = 4, .scale_bits = 16, .group = 64},
	{.kind = NUMBER_INT, .bits = 8, .scale_bits = 16},
	{.kind = NUMBER_INT, .bits = 8, .scale_bits = 32, .minimum = true},
	{.kind = NUMBER_INT, .bits = 8, .scale_bits = 16, .group = 32},
};
static const Format activation_formats[] = {
	{.kind = NUMBER_FLOAT, .bits = 32},
	{.kind = NUMBER_INT, .bits = 8, .scale_bits = 32, .group = 32},
	{.kind = NUMBER_INT, .bits = 8, .scale_bits = 32},
	{.kind = NUMBER_INT, .bits = 16, .scale_bits = 32},
};

/* Any of the cache's formats; layers may differ. */
static CacheFormat
random_cache(Random *r)
{
	static const uint8_t float_bits[] = {16, 32}, code_bits[] = {4, 8},
			     query_bits[] = {4, 6, 8, 16};
	if (random_below(r, 2))
		return (CacheFormat){{.kind = NUMBER_FLOAT, .bits = float_bits[random_below(r, 2)]},
				     0};
	return (CacheFormat){{.kind = NUMBER_INT,
			      .bits = code_bits[random_below(r, 2)],
			      .scale_bits = 32,
			      .zero = (uint8_t)random_below(r, 3)},
			     query_bits[random_below(r, 4)]};
}

static void
random_formats(Random *r, Graph *g)
{
	enum { N = sizeof weight_formats / sizeof *weight_formats };
	g->activations = activation_formats[random_below(r, 4)];
	graph_set_kv(g, -1, random_cache(r));
	bool one = random_below(r, 2);
	for (int i = 0; i < LAYERS && !one; i++)
		if (random_below(r, 2))
			graph_set_kv(g, i, random_cache(r));
	Format all = weight_formats[random_below(r, N)];
	for (int role = 0; role < ROLE_COUNT; role++)
		for (uint32_t i = 0; i < (role_layered[role] ? (uint32_t)LAYERS : 1); i++)
			if (role != ROLE_ATTN_NORM && role != ROLE_MLP_NORM && !role_optional[role])
				g->formats[role][i] =
					one ? all : weight_formats[random_below(r, N)];
}

/* ---- random functions ---------------------------------------------------------------------- */

typedef struct Maker {
	Random *r;
	Graph *g;
	Func *f;
	int attention; /* 1 once there is one */
	bool transforms;
} Maker;

/* A transform of a row: some go everywhere, some only through certain ops. */
static const Transform *
random_transform(Random *r, Arena *a, uint32_t n)
{
	static const char *const texts[] = {
		"block(H(16), %u)",
		"block(SO2[0.5 -1 0 0.25 3 -2 1 0.125], %u)",
		"block(P[2 0 1 3], %u)",
		"block(D[1 2 0.5 -1], %u)",
		"block(H(4) * P[1 0 3 2] * S[1 -1 -1 1], %u)",
		"block(R[1 2 3 4 5 6 7 8], %u)",
		"inv(block(SO2[0.5 -1 0 0.25 3 -2 1 0.125], %u))",
		"block(M[2 1 0 1], %u)",
	};
	const char *why = "no reason",
		   *s = arena_printf(a, texts[random_below(r, sizeof texts / sizeof *texts)], n);
	const Transform *t = transform_parse(a, &s, NULL, NULL, &why);
	if (!t)
		fail_msg("%s", why);
	return t;
}

static int
make(Maker *m, Op op, int role, uint32_t width, int a, int b)
{
	Value v = value_new(op, width, (Loc){0});
	v.role = role;
	v.operands[0] = a;
	v.operands[1] = b;
	v.heads = strchr(op_table[op].attributes, 'h') ? width / 16 : 0;
	v.kv_heads = op == OP_ATTENTION ? 2 : 0;
	v.eps = strchr(op_table[op].attributes, 'e') ? 0.25f : 0;
	if (random_below(m->r, 20) == 0)
		v.basis.expression = "H(64) * P";
	if (op == OP_TRANSFORM) {
		v.transform = random_transform(m->r, m->g->arena, width);
		v.pinned = random_below(m->r, 2);
	}
	if (m->transforms && op == OP_LINEAR && random_below(m->r, 4) == 0)
		v.fold_in = random_transform(m->r, m->g->arena, m->f->values[a].width);
	if (m->transforms && (op == OP_LINEAR || op == OP_BIAS) && random_below(m->r, 4) == 0)
		v.fold_out = random_transform(m->r, m->g->arena, width);
	return func_add(m->g, m->f, v);
}

/* A row of this width, any of those there are; -1: none. */
static int
pick(Maker *m, uint32_t width)
{
	int found = -1;
	uint32_t n = 0;
	for (int i = 0; i < m->f->count; i++)
		if (m->f->values[i].width == width && op_table[m->f->values[i].op].result == 'r' &&
		    random_below(m->r, ++n) == 0)
			found = i;
	return found;
}

static void
make_attention(Maker *m)
{
	int k = make(m, OP_LINEAR, ROLE_K, 32, pick(m, HIDDEN), -1);
	int v = make(m, OP_LINEAR, ROLE_V, 32, pick(m, HIDDEN), -1);
	if (m->transforms && random_below(m->r, 2))
		k = make(m, OP_TRANSFORM, -1, 32, k, -1);
	if (random_below(m->r, 2))
		k = make(m, OP_BIAS, ROLE_K_BIAS, 32, k, -1);
	if (random_below(m->r, 2))
		v = make(m, OP_BIAS, ROLE_V_BIAS, 32, v, -1);
	if (random_below(m->r, 2))
		k = make(m, OP_RMSNORM_HEADS, -1, 32, k, -1);
	if (m->transforms && random_below(m->r, 3) == 0)
		k = make(m, OP_TRANSFORM, -1, 32, k, -1);
	if (random_below(m->r, 2))
		k = make(m, OP_GAIN_HEADS, ROLE_K_NORM, 32, k, -1);
	if (random_below(m->r, 4))
		k = make(m, OP_ROPE, -1, 32, k, -1);
	if (m->transforms && random_below(m->r, 2))
		v = make(m, OP_TRANSFORM, -1, 32, v, -1);
	int cache = make(m, OP_KV_APPEND, -1, 64, k, v);
	m->f->values[cache].format = graph_kv(m->g, m->f->layer);
	make(m, OP_ATTENTION, -1, HIDDEN, pick(m, HIDDEN), cache);
	m->attention = 1;
}

static void
make_random_value(Maker *m)
{
	int x = pick(m, HIDDEN), y = pick(m, HIDDEN), u = pick(m, INTER), w = pick(m, INTER);
	if (m->transforms && random_below(m->r, 2)) {
		bool wide = u >= 0 && random_below(m->r, 3) == 0;
		make(m, OP_TRANSFORM, -1, wide ? INTER : HIDDEN, wide ? u : x, -1);
	}
	switch (random_below(m->r, 16)) {
	case 12:
		make(m, OP_BIAS, random_below(m->r, 2) ? ROLE_Q_BIAS : ROLE_DOWN_BIAS, HIDDEN, x,
		     -1);
		break;
	case 13:
		make(m, OP_RMSNORM_HEADS, -1, HIDDEN, x, -1);
		break;
	case 14:
		make(m, OP_GAIN_HEADS, ROLE_Q_NORM, HIDDEN, x, -1);
		break;
	case 15: /* a bias on each side of an epilogue, or on one */
		u = make(m, OP_LINEAR, ROLE_GATE, INTER, x, -1);
		w = make(m, OP_LINEAR, ROLE_UP, INTER, x, -1);
		w = make(m, OP_BIAS, ROLE_UP_BIAS, INTER, w, -1);
		if (random_below(m->r, 2))
			u = make(m, OP_BIAS, ROLE_GATE_BIAS, INTER, u, -1);
		u = make(m, OP_SILU_MUL, -1, INTER, u, w);
		u = make(m, OP_LINEAR, ROLE_DOWN, HIDDEN, u, -1);
		make(m, OP_ADD, -1, HIDDEN, x, make(m, OP_BIAS, ROLE_DOWN_BIAS, HIDDEN, u, -1));
		break;
	case 0:
		make(m, OP_RMSNORM, -1, HIDDEN, x, -1);
		break;
	case 1:
		make(m, OP_GAIN, random_below(m->r, 2) ? ROLE_ATTN_NORM : ROLE_MLP_NORM, HIDDEN, x,
		     -1);
		break;
	case 2:
		make(m, OP_LINEAR, random_below(m->r, 2) ? ROLE_Q : ROLE_O, HIDDEN, x, -1);
		break;
	case 3:
		make(m, OP_ROPE, -1, HIDDEN, x, -1);
		break;
	case 4:
		make(m, OP_SILU_MUL, -1, HIDDEN, x, y);
		break;
	case 5:
	case 6:
		make(m, OP_ADD, -1, HIDDEN, x, y);
		break;
	case 7:
		make(m, OP_LINEAR, random_below(m->r, 2) ? ROLE_GATE : ROLE_UP, INTER, x, -1);
		break;
	case 8:
		if (u >= 0)
			make(m, OP_SILU_MUL, -1, INTER, u, w);
		break;
	case 9:
		if (u >= 0)
			make(m, OP_LINEAR, ROLE_DOWN, HIDDEN, u, -1);
		break;
	case 10:
		if (!m->attention)
			make_attention(m);
		break;
	default: /* the shape that models have */
		u = make(m, OP_LINEAR, ROLE_GATE, INTER, x, -1);
		w = make(m, OP_LINEAR, ROLE_UP, INTER, x, -1);
		u = make(m, OP_SILU_MUL, -1, INTER, u, w);
		make(m, OP_ADD, -1, HIDDEN, x, make(m, OP_LINEAR, ROLE_DOWN, HIDDEN, u, -1));
	}
}

/* The last two values that nothing reads become one, until one is left. */
static void
make_end(Maker *m)
{
	for (;;) {
		int *uses = func_uses(m->g->arena, m->f), last = -1, before = -1;
		for (int i = 0; i < m->f->count; i++)
			if (uses[i] == 0) {
				before = last;
				last = i;
			}
		if (m->f->values[last].width == INTER)
			make(m, OP_LINEAR, ROLE_DOWN, HIDDEN, last, -1);
		else if (before >= 0 && m->f->values[before].width == INTER)
			make(m, OP_LINEAR, ROLE_DOWN, HIDDEN, before, -1);
		else if (before >= 0)
			make(m, OP_ADD, -1, HIDDEN, before, last);
		else if (m->f->values[last].op == OP_INPUT || m->f->values[last].op == OP_ATTENTION)
			make(m, OP_RMSNORM, -1, HIDDEN, last, -1);
		else {
			make(m, OP_OUTPUT, -1, HIDDEN, last, -1);
			return;
		}
	}
}

/* graph_build's graph with the bodies of its layers replaced by random ones; some stay. */
static Graph *
random_graph(Random *r, Arena *run, const Model *model)
{
	Graph *g = graph_build(run, model);
	random_formats(r, g);
	for (int n = 1; n <= LAYERS; n++) {
		Maker m = {
			.r = r, .g = g, .f = &g->funcs[n], .transforms = random_below(r, 2) == 1};
		if (random_below(r, 4) == 0)
			continue;
		m.f->values = NULL;
		m.f->count = m.f->capacity = 0;
		make(&m, OP_INPUT, -1, HIDDEN, -1, -1);
		for (uint32_t i = random_below(r, 14); i > 0; i--)
			make_random_value(&m);
		make_end(&m);
	}
	return g;
}

/* ---- round trip ---------------------------------------------------------------------------- */

static const char *
print(Arena *run, const Graph *g)
{
	Text *t = text_new(run);
	graph_print(t, g);
	return t->text;
}

static void
assert_correct(Arena *run, const Graph *g)
{
	if (graph_check(g, diag_new(run, NULL)) == 0)
		return;
	graph_check(g, diag_new(run, stderr));
	fputs(print(run, g), stderr);
	fail_msg("the checker rejects the graph");
}

static void
assert_same_func(const Func *a, const Func *b)
{
	assert_string_equal(a->name, b->name);
	assert_int_equal(a->layer, b->layer);
	assert_int_equal(a->same_as, b->same_as);
	assert_int_equal(a->count, b->count);
	for (int i = 0; i < a->count; i++) {
		assert_true(value_equal(&a->values[i], &b->values[i]));
		if (!a->values[i].basis.transform)
			assert_string_equal(a->values[i].basis.expression,
					    b->values[i].basis.expression);
		assert_int_equal(a->values[i].kernel, b->values[i].kernel);
		assert_int_equal(a->values[i].buffer, b->values[i].buffer);
	}
	assert_int_equal(a->n_order, b->n_order);
	if (a->n_order)
		assert_memory_equal(a->order, b->order, (size_t)a->n_order * sizeof *a->order);
	assert_int_equal(a->n_kernels, b->n_kernels);
	for (int i = 0; i < a->n_kernels; i++) {
		assert_int_equal(a->kernels[i].kind, b->kernels[i].kind);
		assert_int_equal(a->kernels[i].first, b->kernels[i].first);
		assert_int_equal(a->kernels[i].count, b->kernels[i].count);
		assert_int_equal(a->kernels[i].phase, b->kernels[i].phase);
		assert_int_equal(a->kernels[i].repeat_at_one, b->kernels[i].repeat_at_one);
	}
	assert_int_equal(a->n_buffers, b->n_buffers);
	for (int i = 0; i < a->n_buffers; i++) {
		assert_int_equal(a->buffers[i].bytes, b->buffers[i].bytes);
		assert_int_equal(a->buffers[i].offset, b->buffers[i].offset);
		assert_int_equal(a->buffers[i].first_use, b->buffers[i].first_use);
		assert_int_equal(a->buffers[i].last_use, b->buffers[i].last_use);
		assert_int_equal(a->buffers[i].caller, b->buffers[i].caller);
	}
}

static void
assert_round_trip(Arena *run, const Graph *g)
{
	Diag *d = diag_new(run, stderr);
	const char *text = print(run, g);
	uint32_t file = diag_file(d, "printed.ir", text, strlen(text));
	const Graph *again = graph_parse(run, d, file, text, strlen(text));
	assert_non_null(again);
	assert_string_equal(print(run, again), text);
	assert_int_equal(again->facts, g->facts);
	assert_int_equal(again->arena_bytes_per_token, g->arena_bytes_per_token);
	for (int i = 0; i < LAYERS; i++) {
		assert_true(format_equal(graph_kv(again, i), graph_kv(g, i)));
		assert_true(format_equal(graph_query(again, i), graph_query(g, i)));
	}
	assert_true(format_equal(again->activations, g->activations));
	assert_int_equal(again->count, g->count);
	for (int role = 0; role < ROLE_COUNT; role++)
		for (uint32_t i = 0; i < (role_layered[role] ? (uint32_t)LAYERS : 1); i++)
			assert_true(format_equal(again->formats[role][i], g->formats[role][i]));
	for (int n = 0; n < g->count; n++)
		assert_same_func(&g->funcs[n], &again->funcs[n]);
	assert_correct(run, again);
}

/* ---- the arena, played --------------------------------------------------------------------- */

enum { CELL = 64, CELLS = 1 << 14 };

typedef struct Play {
	const Graph *g;
	const Func *f;
	int owner[CELLS]; /* which value each 64 bytes of a token hold; -1: none */
} Play;

static const Buffer *
arena_buffer(const Play *p, int i)
{
	int b = p->f->values[i].buffer;
	return b < 0 || p->f->buffers[b].caller ? NULL : &p->f->buffers[b];
}

static void
play_write(Play *p, int i)
{
	const Buffer *b = arena_buffer(p, i);
	if (!b)
		return;
	uint64_t bytes = row_layout(&p->f->values[i]).bytes;
	assert_true(b->offset + bytes <= p->g->arena_bytes_per_token);
	for (uint64_t at = b->offset; at < b->offset + bytes; at += CELL)
		p->owner[at / CELL] = i;
}

static void
play_read(const Play *p, int i)
{
	const Buffer *b = arena_buffer(p, i);
	if (!b)
		return;
	for (uint64_t at = b->offset; at < b->offset + row_layout(&p->f->values[i]).bytes;
	     at += CELL)
		if (p->owner[at / CELL] != i) {
			fputs(print(p->g->arena, p->g), stderr);
			fail_msg("%s: %%%d is overwritten by %%%d", p->f->name, i,
				 p->owner[at / CELL]);
		}
}

/* What kernel k reads from others; `whole`: only what an element by element write would harm. */
static void
play_reads(const Play *p, int k, bool whole)
{
	const Func *f = p->f;
	for (int n = 0; n < f->kernels[k].count; n++) {
		const Value *v = &f->values[f->order[f->kernels[k].first + n]];
		for (int o = 0; o < op_operands(v->op); o++)
			if (f->values[v->operands[o]].kernel != k &&
			    (!whole || op_table[v->op].kernel != KERNEL_ROWS))
				play_read(p, v->operands[o]);
	}
}

/* Values in order, as a row goes through a kernel; other rows may still be at the beginning. */
static void
play_kernel(Play *p, int k)
{
	const Func *f = p->f;
	for (int n = 0; n < f->kernels[k].count; n++) {
		int i = f->order[f->kernels[k].first + n];
		for (int o = 0; o < op_operands(f->values[i].op); o++)
			if (f->values[f->values[i].operands[o]].kernel != k)
				play_read(p, f->values[i].operands[o]);
		play_write(p, i);
	}
	play_reads(p, k, true);
}

/* Kernels of a phase in both orders; a repeated kernel may be late by a phase. */
static void
play_func(Play *p, bool backwards)
{
	const Func *f = p->f;
	int phases = f->kernels[f->n_kernels - 1].phase + 1;
	memset(p->owner, -1, sizeof p->owner);
	if (f->values[0].op == OP_INPUT)
		play_write(p, 0);
	for (int phase = 0; phase < phases; phase++) {
		for (int n = 0; n < f->n_kernels; n++) {
			int k = backwards ? f->n_kernels - 1 - n : n;
			if (f->kernels[k].phase == phase)
				play_kernel(p, k);
		}
		for (int k = 0; k < f->n_kernels; k++)
			if (f->kernels[k].repeat_at_one && f->kernels[k].phase + 1 == phase)
				play_reads(p, k, false);
	}
	play_read(p, f->values[f->count - 1].operands[0]);
}

static void
assert_arena(const Graph *g)
{
	static Play p;
	assert_true(g->arena_bytes_per_token <= (uint64_t)CELLS * CELL);
	for (int n = 0; n < g->count; n++) {
		p.g = g;
		p.f = &g->funcs[n];
		play_func(&p, false);
		play_func(&p, true);
	}
}

/* ---- tests --------------------------------------------------------------------------------- */

/* Passes that may be left out, each with a chance of one in four. */
static int
random_disabled(Random *r, const char **names)
{
	int n = 0;
	for (int i = 0; i < pass_count; i++)
		if (!pass_table[i].mandatory && random_below(r, 4) == 0)
			names[n++] = pass_table[i].name;
	return n;
}

static void
test_random(void **state)
{
	Random r = {2026};
	Model model = make_model();
	int shared = 0, repeats = 0, in_place = 0;
	(void)state;
	for (int i = 0; i < GRAPHS; i++) {
		Arena *run = arena_new();
		const char *names[16];
		Graph *g = random_graph(&r, run, &model);
		PassOptions o = {.disable = names};
		o.n_disable = random_disabled(&r, names);
		assert_correct(run, g);
		assert_round_trip(run, g);
		assert_true(passes_run(g, &o, diag_new(run, stderr)));
		assert_round_trip(run, g);
		assert_arena(g);
		for (int n = 0; n < g->count; n++) {
			const Func *f = &g->funcs[n];
			shared += f->same_as != n;
			for (int k = 0; k < f->n_kernels; k++)
				repeats += f->kernels[k].repeat_at_one;
			for (int v = 0; v < f->count; v++)
				in_place += f->values[v].op == OP_ADD && f->values[v].buffer == 0;
		}
		arena_free(run);
	}
	/* The cases that matter did occur. */
	assert_true(shared > GRAPHS / 10);
	assert_true(repeats > GRAPHS);
	assert_true(in_place > GRAPHS);
}

static void
test_dedup(void **state)
{
	static const int want[LAYERS + 2] = {0, 1, 1, 3, 1, 5};
	Arena *run = arena_new();
	Model model = make_model();
	Graph *g = graph_build(run, &model);
	PassOptions o = {.n_disable = 0};
	(void)state;
	g->activations = activation_formats[3];
	for (int i = 0; i < LAYERS; i++)
		g->formats[ROLE_O][i] = weight_formats[i == 2 ? 4 : 2];
	assert_true(passes_run(g, &o, diag_new(run, stderr)));
	for (int n = 0; n < g->count; n++)
		assert_int_equal(g->funcs[n].same_as, want[n]);
	arena_free(run);
}

/* Layers whose caches differ, or only the queries that meet them, have code of their own. */
static void
test_dedup_cache(void **state)
{
	static const int want[LAYERS + 2] = {0, 1, 2, 1, 4, 5};
	const Format codes = {.kind = NUMBER_INT, .bits = 8, .scale_bits = 32};
	Arena *run = arena_new();
	Model model = make_model();
	Graph *g = graph_build(run, &model);
	PassOptions o = {.n_disable = 0};
	(void)state;
	graph_set_kv(g, -1, (CacheFormat){codes, 16});
	graph_set_kv(g, 1, (CacheFormat){codes, 8});
	graph_set_kv(g, 3, (CacheFormat){.format = FORMAT_F16});
	assert_true(passes_run(g, &o, diag_new(run, stderr)));
	for (int n = 0; n < g->count; n++)
		assert_int_equal(g->funcs[n].same_as, want[n]);
	arena_free(run);
}

static void
test_layout(void **state)
{
	Value v = value_new(OP_QUANTIZE, 172, (Loc){0});
	(void)state;
	v.format = (Format){.kind = NUMBER_INT, .bits = 16, .scale_bits = 32};
	v.sums = 64;
	RowLayout r = row_layout(&v);
	assert_int_equal(r.padded, 176);
	assert_int_equal(r.planes, 2);
	assert_int_equal(r.n_sums, 3);
	assert_int_equal(r.n_scales, 1);
	assert_int_equal(r.hi, 0);
	assert_int_equal(r.lo, 192);
	assert_int_equal(r.sum_hi, 384);
	assert_int_equal(r.sum_lo, 448);
	assert_int_equal(r.scale, 512);
	assert_int_equal(r.bytes, 576);
	v.format = (Format){.kind = NUMBER_INT, .bits = 8, .scale_bits = 32, .group = 32};
	v.sums = 32;
	r = row_layout(&v);
	assert_int_equal(r.planes, 1);
	assert_int_equal(r.n_sums, 6);
	assert_int_equal(r.n_scales, 6);
	assert_int_equal(r.sum_hi, 192);
	assert_int_equal(r.scale, 256);
	assert_int_equal(r.bytes, 320);
	v = value_new(OP_TILE, 172, (Loc){0});
	v.sums = 172;
	r = row_layout(&v);
	assert_int_equal(r.padded, 176);
	assert_int_equal(r.n_sums, 1);
	assert_int_equal(r.xsum, 704);
	assert_int_equal(r.bytes, 768);
	v = value_new(OP_ADD, 172, (Loc){0});
	r = row_layout(&v);
	assert_int_equal(r.padded, 192);
	assert_int_equal(r.n_sums, 0);
	assert_int_equal(r.bytes, 768);
}

/* Rules that the text form cannot break. */
static void
test_check(void **state)
{
	Model model = make_model();
	(void)state;
	for (int rule = 0; rule < 7; rule++) {
		Arena *run = arena_new();
		Graph *g = graph_build(run, &model);
		Value *v = g->funcs[1].values;
		assert_correct(run, g);
		if (rule == 0)
			v[1].operands[0] = 2; /* later */
		else if (rule == 1)
			v[1].operands[1] = 0; /* one too many */
		else if (rule == 2)
			v[1].operands[0] = -1;
		else if (rule == 3)
			v[3].role = ROLE_COUNT;
		else if (rule == 4)
			v[1].role = ROLE_Q;
		else if (rule == 5)
			v[2].sums = 1; /* an attribute of another op */
		else
			g->funcs[2].same_as = 1; /* not deduped */
		assert_int_not_equal(graph_check(g, diag_new(run, NULL)), 0);
		arena_free(run);
	}
}

static void
break_graph(Graph *g)
{
	g->funcs[1].values[2].width++;
}

/* A pass that breaks the IR ends the program with its name and a file that holds the graph. */
static void
test_bug(void **state)
{
	static const Pass broken = {.name = "broken", .run = break_graph};
	Model model = make_model();
	char message[4096] = "", path[256];
	int fds[2], status;
	size_t size = 0;
	ssize_t n;
	(void)state;
	assert_int_equal(pipe(fds), 0);
	fflush(NULL);
	pid_t child = fork();
	if (child == 0) {
		Arena *run = arena_new();
		dup2(fds[1], 2);
		pass_apply(graph_build(run, &model), &broken, diag_new(run, stderr));
		_exit(0);
	}
	close(fds[1]);
	while (size < sizeof message - 1 &&
	       (n = read(fds[0], message + size, sizeof message - 1 - size)) > 0)
		size += (size_t)n;
	close(fds[0]);
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == EXIT_BUG);
	assert_non_null(strstr(message, "layer.0: %3 linear: @q has 64 columns"));
	const char *at = strstr(message, "pass 'broken' broke the IR");
	assert_non_null(at);
	at = strstr(at, "it is in ");
	assert_non_null(at);
	assert_int_equal(sscanf(at, "it is in %255[^ \n]", path), 1);

	Arena *run = arena_new();
	Mapped m;
	const char *error;
	assert_true(file_map(path, &m, &error));
	Graph *g = graph_parse(run, diag_new(run, stderr), 0, (const char *)m.data, m.size);
	assert_non_null(g);
	assert_int_equal(g->funcs[1].values[2].width, HIDDEN + 1);
	file_unmap(&m);
	unlink(path);
	arena_free(run);
}

/* ---- meaning ------------------------------------------------------------------------------- */

static void
f32_dequantize(const uint8_t *src, int n, float *dst)
{
	memcpy(dst, src, (size_t)n * sizeof *dst);
}

static const StoredType f32_type = {"F32",	    1,	 4, {.kind = NUMBER_FLOAT, .bits = 32},
				    f32_dequantize, NULL};

/* Random tensors, but no sandwich norms; gains of `ones` are 1 everywhere. */
static void
fill_model(Random *r, Arena *run, Model *m, int ones)
{
	for (int role = 0; role < ROLE_COUNT; role++) {
		uint32_t n = role_layered[role] ? m->n_layer : 1;
		const Tensor **tensors = ARENA_ARRAY(run, const Tensor *, n);
		m->tensors[role] = tensors;
		if (role == ROLE_ATTN_POST || role == ROLE_MLP_POST)
			continue;
		for (uint32_t i = 0; i < n; i++) {
			Tensor *t = ARENA_NEW(run, Tensor);
			model_shape(m, (Role)role, &t->rows, &t->columns);
			float *x = ARENA_ARRAY(run, float, (size_t)t->rows * t->columns);
			for (uint32_t k = 0; k < t->rows * t->columns; k++)
				x[k] = role == ones
					       ? 1.0f
					       : (float)random_below(r, 2001) / 4000.0f - 0.25f;
			t->name = role_names[role];
			t->type = &f32_type;
			t->data = (const uint8_t *)x;
			t->row_bytes = t->columns * sizeof(float);
			tensors[i] = t;
		}
	}
}

static int
count_ops(const Graph *g, Op op)
{
	int n = 0;
	for (int i = 0; i < g->count; i++)
		for (int k = 0; k < g->funcs[i].count; k++)
			n += g->funcs[i].values[k].op == op;
	return n;
}

static void
test_fold_gain(void **state)
{
	static const char *const only[] = {"fold-gain"};
	Arena *run = arena_new();
	Random r = {7};
	Model model = make_model();
	PassOptions o = {.only = only, .n_only = 1};
	(void)state;
	fill_model(&r, run, &model, ROLE_MLP_NORM);
	Graph *g = graph_build(run, &model);
	assert_true(passes_run(g, &o, diag_new(run, stderr)));
	assert_int_equal(count_ops(g, OP_GAIN), LAYERS + 1);
	assert_int_equal(count_ops(g, OP_RMSNORM), 2 * LAYERS + 1);

	/* One element of one layer keeps the gains of all layers. */
	float *row = ARENA_ARRAY(run, float, HIDDEN);
	Tensor *t = ARENA_NEW(run, Tensor);
	const Tensor **tensors = ARENA_ARRAY(run, const Tensor *, LAYERS);
	*t = *model.tensors[ROLE_MLP_NORM][2];
	memcpy(row, t->data, HIDDEN * sizeof *row);
	row[HIDDEN - 1] = 1.5f;
	t->data = (const uint8_t *)row;
	for (int i = 0; i < LAYERS; i++)
		tensors[i] = i == 2 ? t : model.tensors[ROLE_MLP_NORM][i];
	model.tensors[ROLE_MLP_NORM] = tensors;
	g = graph_build(run, &model);
	assert_true(passes_run(g, &o, diag_new(run, stderr)));
	assert_int_equal(count_ops(g, OP_GAIN), 2 * LAYERS + 1);
	arena_free(run);
}

static void
eval(Arena *run, const Graph *g, float *logits)
{
	static const int32_t tokens[] = {3, 14, 15, 9, 26, 5, 35};
	enum { N = sizeof tokens / sizeof *tokens };
	Interp *i = interp_new(run, g, ARITHMETIC_CONTRACT, 32, 1);
	interp_eval(i, tokens, N, logits, NULL, false);
}

/* fold-gain, hoist, fuse, schedule and arena change no bit; quantize and tile say what is computed.
 */
static void
test_meaning(void **state)
{
	static const char *const base[] = {"quantize", "tile"};
	Random r = {11};
	Model model = make_model();
	Arena *run = arena_new();
	(void)state;
	fill_model(&r, run, &model, ROLE_ATTN_NORM);
	for (int i = 0; i < 12; i++) {
		float want[VOCAB], got[VOCAB];
		PassOptions plain = {.only = base, .n_only = 2}, all = {.n_only = 0};
		Random formats = {(uint64_t)i}, again = {(uint64_t)i};
		Graph *a = graph_build(run, &model), *b = graph_build(run, &model);
		random_formats(&formats, a);
		random_formats(&again, b);
		assert_true(passes_run(a, &plain, diag_new(run, stderr)));
		assert_true(passes_run(b, &all, diag_new(run, stderr)));
		assert_true(count_ops(a, OP_GAIN) > count_ops(b, OP_GAIN));
		eval(run, a, want);
		eval(run, b, got);
		assert_memory_equal(want, got, sizeof want);
		assert_true(want[0] != want[1]);
	}
	arena_free(run);
}

static void
eval_exact(Arena *run, const Graph *g, double *logits)
{
	static const int32_t tokens[] = {3, 14, 15, 9, 26, 5, 35};
	enum { N = sizeof tokens / sizeof *tokens };
	Interp *i = interp_new(run, g, ARITHMETIC_DOUBLE, 32, 1);
	interp_use_exact_weights(i);
	interp_eval(i, tokens, N, NULL, logits, true);
}

/* Wherever transforms stand, in graphs of any shape, commute, cancel and fold-transform change no
 * function, together or some of them, in any order; and they come to an end. */
static void
test_rewrites(void **state)
{
	static const char *const passes[] = {"commute", "cancel", "fold-transform"};
	enum { REWRITES = 150, LOGITS = 7 * VOCAB };
	Random r = {99};
	Model model = make_model();
	Arena *tensors = arena_new();
	int before = 0, after = 0;
	(void)state;
	fill_model(&r, tensors, &model, -1);
	for (int i = 0; i < REWRITES; i++) {
		Arena *run = arena_new();
		double want[LOGITS], got[LOGITS], d = 0, norm = 0;
		const char *only[4];
		PassOptions o = {.only = only, .n_only = 1 + (int)random_below(&r, 4)};
		for (int k = 0; k < o.n_only; k++)
			only[k] = passes[random_below(&r, 3)];
		Graph *g = random_graph(&r, run, &model);
		before += count_ops(g, OP_TRANSFORM);
		eval_exact(run, g, want);
		assert_true(passes_run(g, &o, diag_new(run, stderr)));
		after += count_ops(g, OP_TRANSFORM);
		assert_round_trip(run, g);
		eval_exact(run, g, got);
		for (int k = 0; k < LOGITS; k++) {
			d += (got[k] - want[k]) * (got[k] - want[k]);
			norm += want[k] * want[k];
		}
		if (!(d <= 1e-20 * norm))
			fail_msg("graph %d: %g", i, d / norm);
		arena_free(run);
	}
	print_message("%d transforms, then %d\n", before, after);
	assert_true(after < before);
	arena_free(tensors);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_random),	    cmocka_unit_test(test_dedup),
		cmocka_unit_test(test_dedup_cache), cmocka_unit_test(test_layout),
		cmocka_unit_test(test_check),	    cmocka_unit_test(test_bug),
		cmocka_unit_test(test_fold_gain),   cmocka_unit_test(test_meaning),
		cmocka_unit_test(test_rewrites),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
