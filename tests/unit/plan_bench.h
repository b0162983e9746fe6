/*
 * What the tests of plans share: small random models with grouped heads, transforms of every kind,
 * a plan at work on a model, and the table of what is legal where.
 */
#ifndef LATHE_TESTS_PLAN_BENCH_H
#define LATHE_TESTS_PLAN_BENCH_H

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "ir/heads.h"
#include "ir/pass.h"
#include "ir/plan_apply.h"
#include "ir/proof.h"

enum { LAYERS = 2, HIDDEN = 24, HEADS = 6, KV_HEADS = 2, D = 8, INTER = 40, VOCAB = 37, CTX = 16 };
enum { TOKENS = 7 };
static const int32_t tokens[TOKENS] = {3, 1, 4, 15, 9, 26, 5};

/* ---- a model ------------------------------------------------------------------------------- */

typedef struct Random {
	uint64_t state;
} Random;

static inline double
random_real(Random *r)
{
	r->state = r->state * 6364136223846793005u + 1442695040888963407u;
	return (double)(int32_t)(r->state >> 32) / 2147483648.0;
}

static inline uint32_t
random_below(Random *r, uint32_t n)
{
	return (uint32_t)((random_real(r) * 0.5 + 0.5) * n) % n;
}

static inline void
f32_dequantize(const uint8_t *src, int n, float *dst)
{
	memcpy(dst, src, (size_t)n * sizeof *dst);
}

static const StoredType f32_type = {"F32",	    1,	 4, {.kind = NUMBER_FLOAT, .bits = 32},
				    f32_dequantize, NULL};

static inline const Tensor *
random_tensor(Arena *a, Random *r, const Model *m, int role, uint32_t layer)
{
	Tensor *t = ARENA_NEW(a, Tensor);
	model_shape(m, (Role)role, &t->rows, &t->columns);
	float *x = ARENA_ARRAY(a, float, (size_t)t->rows * t->columns);
	for (size_t i = 0; i < (size_t)t->rows * t->columns; i++)
		x[i] = (float)(t->rows == 1 ? 1 + 0.5 * random_real(r)
					    : random_real(r) / sqrt(t->columns) * 2);
	t->name = arena_printf(a, "t%u.%s", layer, role_names[role]);
	t->type = &f32_type;
	t->data = (const uint8_t *)x;
	t->row_bytes = t->columns * sizeof(float);
	return t;
}

/* Optional tensors that a model has; windows, gelu and a scaled embedding; experts, and an MLP of
 * all tokens beside them. */
enum { PLAIN = 0, BIASES = 1, NORMS = 2, SANDWICH = 4, WINDOWS = 8, EXPERTS = 16, SHARED = 32 };
enum { N_EXPERT = 5, N_USED = 2, EXPERT_INTER = 24 };

static inline bool
model_has(int role, unsigned extras)
{
	if (role == ROLE_Q_NORM || role == ROLE_K_NORM)
		return extras & NORMS;
	if (role == ROLE_ATTN_POST || role == ROLE_MLP_POST)
		return extras & SANDWICH;
	if (role == ROLE_SHARED_GATE)
		return extras & SHARED;
	if (role >= ROLE_ROUTER && role < ROLE_SHARED_GATE)
		return extras & EXPERTS;
	if (role == ROLE_GATE || role == ROLE_UP || role == ROLE_DOWN)
		return !(extras & EXPERTS) || extras & SHARED;
	return !role_optional[role] || extras & BIASES;
}

static inline Model *
make_model(Arena *a, bool tied, unsigned extras)
{
	Random r = {7};
	Model *m = ARENA_NEW(a, Model);
	*m = (Model){.arch = "llama",
		     .n_layer = LAYERS,
		     .hidden = HIDDEN,
		     .n_head = HEADS,
		     .n_kv_head = KV_HEADS,
		     .head_dim = D,
		     .inter = INTER,
		     .n_vocab = VOCAB,
		     .n_ctx = CTX,
		     .q_width = HEADS * D,
		     .kv_width = KV_HEADS * D,
		     .one = 1,
		     .norm_eps = 1e-5f,
		     .rope_base = 10000,
		     .tied = tied};
	if (extras & WINDOWS) {
		m->window = 3;
		m->window_period = LAYERS;
		m->rope_base_window = 100;
		m->embed_scale = 1.5f;
		m->gelu = true;
	}
	if (extras & EXPERTS) {
		m->n_expert = N_EXPERT;
		m->n_used = N_USED;
		m->expert_inter = EXPERT_INTER;
		m->norm_experts = !(extras & SHARED);
	}
	for (int role = 0; role < ROLE_COUNT; role++) {
		const uint32_t n = model_count(m, role);
		const Tensor **tensors = ARENA_ARRAY(a, const Tensor *, n);
		for (uint32_t i = 0; i < n && model_has(role, extras); i++)
			tensors[i] = random_tensor(a, &r, m, role, i);
		if (tied && role == ROLE_HEAD)
			tensors[0] = m->tensors[ROLE_EMBED][0];
		m->tensors[role] = tensors;
	}
	return m;
}

/* ---- transforms ---------------------------------------------------------------------------- */

typedef struct Bench {
	Arena *a;
	Random r;
	Model *model;
	TiedTable tied;
	char *said; /* by the diagnostics of the last refusal */
	size_t said_size;
} Bench;

static inline const Transform *
must(const Transform *t, const char *why)
{
	if (!t)
		print_error("%s\n", why ? why : "no reason");
	assert_non_null(t);
	return t;
}

static inline const Transform *
hadamard(Bench *b, uint32_t n)
{
	const char *why = NULL;
	Construction c;
	uint32_t parameter, order;
	assert_true(base_choose(n, &c, &parameter, &order));
	const Base *base = base_make(b->a, c, parameter, &why);
	assert_non_null(base);
	return must(transform_hadamard(b->a, n, base, &why), why);
}

static inline const Transform *
permutation(Bench *b, uint32_t n)
{
	const char *why = NULL;
	uint32_t *p = ARENA_ARRAY(b->a, uint32_t, n);
	for (uint32_t i = 0; i < n; i++) {
		uint32_t j = random_below(&b->r, i + 1);
		p[i] = p[j];
		p[j] = i;
	}
	return must(transform_perm(b->a, n, p, &why), why);
}

static inline const Transform *
vector(Bench *b, TransformKind kind, uint32_t n)
{
	const char *why = NULL;
	double *v = ARENA_ARRAY(b->a, double, n);
	for (uint32_t i = 0; i < n; i++) {
		double x = random_real(&b->r);
		v[i] = kind == T_SIGNS ? (x < 0 ? -1 : 1) : kind == T_DIAGONAL ? 1.5 + x : 3 * x;
	}
	return must(transform_vector(b->a, kind, n, v, &why), why);
}

static inline const Transform *
signs(Bench *b, uint32_t n)
{
	return vector(b, T_SIGNS, n);
}

static inline const Transform *
diagonal(Bench *b, uint32_t n)
{
	return vector(b, T_DIAGONAL, n);
}

static inline const Transform *
householder(Bench *b, uint32_t n)
{
	return vector(b, T_HOUSEHOLDER, n);
}

static inline const Transform *
so2(Bench *b, uint32_t n)
{
	return vector(b, T_SO2, n);
}

static inline const Transform *
dense(Bench *b, uint32_t n)
{
	const char *why = NULL;
	double *m = ARENA_ARRAY(b->a, double, (size_t)n *n);
	for (size_t i = 0; i < (size_t)n * n; i++)
		m[i] = 0.3 * random_real(&b->r) / sqrt(n) + (i % (n + 1) == 0);
	return must(transform_matrix(b->a, T_MATRIX, n, m, &why), why);
}

/* A random orthogonal matrix: a product of reflections, as data. */
static inline const Transform *
learned(Bench *b, uint32_t n)
{
	const char *why = NULL;
	const Transform *f[3] = {householder(b, n), signs(b, n), householder(b, n)};
	const Transform *t = must(transform_compose(b->a, T_PRODUCT, f, 3, &why), why);
	double *m = ARENA_ARRAY(b->a, double, (size_t)n *n);
	transform_dense(t, m);
	return must(transform_matrix(b->a, T_ORTHOGONAL, n, m, &why), why);
}

static inline const Transform *
signed_hadamard(Bench *b, uint32_t n)
{
	const char *why = NULL;
	const Transform *f[3] = {hadamard(b, n), signs(b, n), permutation(b, n)};
	return must(transform_compose(b->a, T_PRODUCT, f, 3, &why), why);
}

static inline const Transform *
scaled_permutation(Bench *b, uint32_t n)
{
	const char *why = NULL;
	const Transform *f[2] = {permutation(b, n), diagonal(b, n)};
	return must(transform_compose(b->a, T_PRODUCT, f, 2, &why), why);
}

static inline const Transform *
blocks(Bench *b, uint32_t n)
{
	const char *why = NULL;
	return must(transform_block(b->a, hadamard(b, 8), n, &why), why);
}

/* Of o's input: an element of v the same in all query heads that read it. */
static inline const Transform *
grouped(Bench *b, uint32_t n)
{
	const char *why = NULL;
	double *v = ARENA_ARRAY(b->a, double, n);
	const uint32_t group = HEADS / KV_HEADS;
	for (uint32_t h = 0; h < HEADS; h++)
		for (uint32_t i = 0; i < D; i++)
			v[h * D + i] = h % group ? v[(h - 1) * D + i] : 1.5 + random_real(&b->r);
	return must(transform_vector(b->a, T_DIAGONAL, n, v, &why), why);
}

/* Blocks, a permutation, blocks behind a diagonal. */
static inline const Transform *
chain_behind(Bench *b, uint32_t n, const Transform *first)
{
	const char *why = NULL;
	const Transform *f[4] = {blocks(b, n), permutation(b, n), blocks(b, n), first};
	return must(transform_compose(b->a, T_PRODUCT, f, 4, &why), why);
}

static inline const Transform *
chain(Bench *b, uint32_t n)
{
	return chain_behind(b, n, diagonal(b, n));
}

static inline const Transform *
grouped_chain(Bench *b, uint32_t n)
{
	return chain_behind(b, n, grouped(b, n));
}

/* Whole rows, padded to a power of two, each coordinate over a scale. */
static inline const Transform *
padded_behind(Bench *b, uint32_t n, const Transform *first)
{
	const char *why = NULL;
	uint32_t to = 64;
	const Transform *f[4] = {diagonal(b, to), hadamard(b, to),
				 must(transform_pad(b->a, n, to, &why), why), first};
	return must(transform_compose(b->a, T_PRODUCT, f, first ? 4 : 3, &why), why);
}

static inline const Transform *
padded(Bench *b, uint32_t n)
{
	return padded_behind(b, n, NULL);
}

static inline const Transform *
padded_scaled(Bench *b, uint32_t n)
{
	return padded_behind(b, n, diagonal(b, n));
}

static inline const Transform *
padded_alone(Bench *b, uint32_t n)
{
	const char *why = NULL;
	return must(transform_pad(b->a, n, n + 3, &why), why);
}

typedef const Transform *(*Make)(Bench *b, uint32_t n);

/* ---- running ------------------------------------------------------------------------------- */

static inline Diag *
listen(Bench *b, FILE **f)
{
	*f = open_memstream(&b->said, &b->said_size);
	assert_non_null(*f);
	Diag *d = diag_new(b->a, *f);
	diag_file(d, "plan.json", "line one\nline two\nline three\n", 29);
	return d;
}

static inline Graph *
planned(Bench *b, const Plan *p, const char *const *disable, int n_disable)
{
	Diag *d = diag_new(b->a, stderr);
	Graph *g = graph_build(b->a, b->model);
	PassOptions o = {.disable = disable, .n_disable = n_disable};
	g->tied.wanted = b->tied;
	assert_true(graph_apply_plan(g, p, d));
	for (int role = 0; role < ROLE_COUNT; role++)
		for (int l = 0; l < (role_layered[role] ? LAYERS : 1); l++)
			if (plan_says(p->weights[role][l].loc))
				g->formats[role][l] = p->weights[role][l].format;
	assert_int_equal(graph_check(g, d), 0);
	assert_true(passes_run(g, &o, d));
	return g;
}

static inline void
logits(Bench *b, const Graph *g, double *to)
{
	Interp *x = interp_new(b->a, g, ARITHMETIC_DOUBLE, CTX, 1);
	interp_use_exact_weights(x);
	interp_eval(x, tokens, TOKENS, NULL, to, true);
}

static inline double
difference(const double *x, const double *want, size_t n)
{
	double d = 0, norm = 0;
	for (size_t i = 0; i < n; i++) {
		d += (x[i] - want[i]) * (x[i] - want[i]);
		norm += want[i] * want[i];
	}
	return sqrt(d / norm);
}

static inline int
count_online(const Graph *g)
{
	int n = 0;
	for (int f = 0; f < g->count; f++)
		for (int i = 0; i < g->funcs[f].count; i++)
			n += g->funcs[f].values[i].op == OP_TRANSFORM;
	return n;
}

/* The planned graph, all passes and each set of them left out, gives the model's logits. */
static inline void
check_same(Bench *b, const Plan *p, int online)
{
	static const char *const passes[] = {"commute", "cancel", "fold-transform", "hoist"};
	double want[TOKENS * VOCAB], got[TOKENS * VOCAB];
	logits(b, graph_build(b->a, b->model), want);
	for (unsigned set = 0; set < 16; set++) {
		const char *disable[4];
		int n = 0;
		for (int k = 0; k < 4; k++)
			if (set & 1u << k)
				disable[n++] = passes[k];
		Graph *g = planned(b, p, disable, n);
		logits(b, g, got);
		const double d = difference(got, want, TOKENS * VOCAB);
		if (!(d < 1e-12))
			print_error("without set %u: %.2e\n", set, d);
		assert_true(d < 1e-12);
		if (set == 0 && online >= 0 && count_online(g) != online) {
			Text *t = text_new(b->a);
			graph_print(t, g);
			print_error("%s", t->text);
			assert_int_equal(count_online(g), online);
		}
		if (set)
			continue;
		ProofResult r;
		const ProofOptions o = {.jobs = 2, .tokens = tokens, .n_tokens = TOKENS};
		assert_true(
			proof_run(diag_new(b->a, stderr), graph_build(b->a, b->model), g, &o, &r));
		assert_true(r.worst < 1e-12 && r.rows > TOKENS);
	}
}

static inline void
put(Plan *p, Site s, int layer, const Transform *t)
{
	p->transforms[s][layer] = (PlanTransform){.transform = t, .loc = {1, 9}};
}

static inline void
put_all(Bench *b, Plan *p, Site s, Make make, bool whole)
{
	uint32_t width, heads;
	site_shape(b->model, s, &width, &heads);
	for (int l = 0; l < (site_table[s].layered ? LAYERS : 1); l++) {
		const char *why = NULL;
		if (heads > 1 && whole) {
			const Transform **runs = ARENA_ARRAY(b->a, const Transform *, heads);
			for (uint32_t h = 0; h < heads; h++)
				runs[h] = make(b, width / heads);
			put(p, s, l, must(transform_compose(b->a, T_SUM, runs, heads, &why), why));
		} else {
			put(p, s, l, make(b, width / heads));
		}
	}
}

static inline Bench
open_bench_with(bool tied, unsigned extras)
{
	Bench b = {.a = arena_new(), .r = {11}, .tied = TIED_TWICE};
	b.model = make_model(b.a, tied, extras);
	return b;
}

static inline Bench
open_bench(bool tied)
{
	return open_bench_with(tied, PLAIN);
}

static inline void
close_bench(Bench *b)
{
	arena_free(b->a);
}

/* ---- every site, every kind ---------------------------------------------------------------- */

static const struct {
	const char *name;
	Site site;
	Make make;
	bool whole; /* another transform for each head */
	int online; /* a layer, or all where the site is one */
} legal[] = {
	{"residual hadamard", SITE_RESIDUAL, hadamard, false, 0},
	{"residual signed", SITE_RESIDUAL, signed_hadamard, false, 0},
	{"residual learned", SITE_RESIDUAL, learned, false, 0},
	{"residual blocks", SITE_RESIDUAL, blocks, false, 0},
	{"residual signs", SITE_RESIDUAL, signs, false, 0},
	{"residual permutation", SITE_RESIDUAL, permutation, false, 0},
	{"residual householder", SITE_RESIDUAL, householder, false, 0},
	{"attn.in hadamard", SITE_ATTN_IN, hadamard, false, 1},
	{"attn.in dense", SITE_ATTN_IN, dense, false, 1},
	{"attn.in diagonal", SITE_ATTN_IN, diagonal, false, 1},
	{"mlp.in blocks", SITE_MLP_IN, blocks, false, 1},
	{"mlp.in scaled", SITE_MLP_IN, scaled_permutation, false, 1},
	{"head.in hadamard", SITE_HEAD_IN, hadamard, false, 1},
	{"head.in learned", SITE_HEAD_IN, learned, false, 1},
	{"qk.raw so2", SITE_QK_RAW, so2, false, 0},
	{"qk.raw so2 by head", SITE_QK_RAW, so2, true, 0},
	{"qk.rope hadamard", SITE_QK_ROPE, hadamard, false, 2},
	{"qk.rope hadamard by head", SITE_QK_ROPE, signed_hadamard, true, 2},
	{"qk.rope dense", SITE_QK_ROPE, dense, false, 2},
	{"qk.rope diagonal by head", SITE_QK_ROPE, diagonal, true, 2},
	{"qk.rope so2 vanishes", SITE_QK_ROPE, so2, true, 0},
	{"v hadamard", SITE_V, hadamard, false, 0},
	{"v dense by head", SITE_V, dense, true, 0},
	{"v diagonal by head", SITE_V, diagonal, true, 0},
	{"o.in hadamard", SITE_O_IN, hadamard, false, 1},
	{"o.in dense", SITE_O_IN, dense, false, 1},
	{"o.in blocks go into v", SITE_O_IN, blocks, false, 0},
	{"o.in chain", SITE_O_IN, chain, false, 1},
	{"o.in chain, diagonal and blocks in v", SITE_O_IN, grouped_chain, false, 1},
	{"attn.in chain", SITE_ATTN_IN, chain, false, 1},
	{"mid permutation", SITE_MLP_MID, permutation, false, 0},
	{"mid diagonal", SITE_MLP_MID, diagonal, false, 0},
	{"mid signs", SITE_MLP_MID, signs, false, 0},
	{"mid both", SITE_MLP_MID, scaled_permutation, false, 0},
	{"down.in hadamard", SITE_DOWN_IN, hadamard, false, 1},
	{"down.in blocks", SITE_DOWN_IN, blocks, false, 1},
	{"down.in signed, its signs and order in up and gate", SITE_DOWN_IN, signed_hadamard, false,
	 1},
	{"down.in chain, its diagonal in up", SITE_DOWN_IN, chain, false, 1},
	{"down.in permutation vanishes", SITE_DOWN_IN, permutation, false, 0},
	{"attn.in padded", SITE_ATTN_IN, padded, false, 1},
	{"o.in padded", SITE_O_IN, padded, false, 1},
	{"o.in padded alone", SITE_O_IN, padded_alone, false, 1},
	{"mlp.in padded", SITE_MLP_IN, padded_scaled, false, 1},
	{"down.in padded, a diagonal in up", SITE_DOWN_IN, padded_scaled, false, 1},
	{"head.in padded", SITE_HEAD_IN, padded, false, 1},
};

/* Each alone in floats, by the sequences of the contract, within what floats give. */
static inline void
check_contract(unsigned extras)
{
	for (size_t i = 0; i < sizeof legal / sizeof *legal; i++) {
		double want[TOKENS * VOCAB], as_double[TOKENS * VOCAB];
		float got[TOKENS * VOCAB];
		Bench b = open_bench_with(i % 2, extras);
		Plan *p = plan_new(b.a, b.model);
		put_all(&b, p, legal[i].site, legal[i].make, legal[i].whole);
		logits(&b, graph_build(b.a, b.model), want);
		Graph *g = planned(&b, p, NULL, 0);
		Interp *x = interp_new(b.a, g, ARITHMETIC_CONTRACT, CTX, 2);
		interp_eval(x, tokens, TOKENS, got, NULL, true);
		for (int k = 0; k < TOKENS * VOCAB; k++)
			as_double[k] = (double)got[k];
		const double d = difference(as_double, want, TOKENS * VOCAB);
		if (!(d < 3e-6))
			print_error("%s: %.1e\n", legal[i].name, d);
		assert_true(d < 3e-6);
		close_bench(&b);
	}
}

/* ---- faults -------------------------------------------------------------------------------- */

/* Runs the proof, which must refuse once and say both texts. */
static inline void
must_refuse(Bench *b, const Graph *g, const WeightFault *fault, const char *place, const char *what)
{
	FILE *f;
	ProofResult r;
	const ProofOptions o = {.jobs = 1, .tokens = tokens, .n_tokens = TOKENS, .fault = fault};
	Diag *d = listen(b, &f);
	assert_false(proof_run(d, graph_build(b->a, b->model), g, &o, &r));
	fclose(f);
	assert_int_equal(diag_errors(d), 1);
	if (!strstr(b->said, place) || !strstr(b->said, what))
		print_error("%s\nwithout %s and %s\n", b->said, place, what);
	assert_non_null(strstr(b->said, place));
	assert_non_null(strstr(b->said, what));
	free(b->said);
}

#endif
