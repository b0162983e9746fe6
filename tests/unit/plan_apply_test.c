/*
 * Plans on small random models with grouped heads: whatever the plan, in whatever order the rules
 * run and with any pass left out, the planned graph computes what the model does. Refusals by
 * message. Faults put into the folder must be caught by the proof, and at the right place.
 */
#include "plan_bench.h"

/* ---- every site, every kind ---------------------------------------------------------------- */

static void
test_sites(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof legal / sizeof *legal; i++)
		for (int tied = 0; tied < 2; tied++) {
			Bench b = open_bench(tied);
			Plan *p = plan_new(b.a, b.model);
			print_message("%s%s\n", legal[i].name, tied ? ", tied" : "");
			put_all(&b, p, legal[i].site, legal[i].make, legal[i].whole);
			check_same(&b, p,
				   legal[i].online *
					   (site_table[legal[i].site].layered ? LAYERS : 1));
			close_bench(&b);
		}
}

/* Everything at once: what must run is what the laws leave. */
static void
test_combined(void **state)
{
	(void)state;
	Bench b = open_bench(true);
	Plan *p = plan_new(b.a, b.model);
	put_all(&b, p, SITE_RESIDUAL, hadamard, false);
	put_all(&b, p, SITE_QK_RAW, so2, true);
	put_all(&b, p, SITE_QK_ROPE, hadamard, false);
	put_all(&b, p, SITE_V, hadamard, false);
	put_all(&b, p, SITE_MLP_MID, permutation, false);
	put_all(&b, p, SITE_DOWN_IN, hadamard, false);
	check_same(&b, p, LAYERS * 3);
	put_all(&b, p, SITE_ATTN_IN, dense, false);
	put_all(&b, p, SITE_MLP_IN, scaled_permutation, false);
	put_all(&b, p, SITE_HEAD_IN, blocks, false);
	put_all(&b, p, SITE_O_IN, hadamard, false);
	check_same(&b, p, LAYERS * 6 + 1);
	put_all(&b, p, SITE_ATTN_IN, padded, false);
	put_all(&b, p, SITE_MLP_IN, padded_scaled, false);
	put_all(&b, p, SITE_DOWN_IN, padded, false);
	put_all(&b, p, SITE_HEAD_IN, padded, false);
	put_all(&b, p, SITE_O_IN, padded, false);
	check_same(&b, p, LAYERS * 6 + 1);
	close_bench(&b);
}

/* Embedding and head from one table, or from two; what cannot share is refused where it is wanted.
 */
static void
test_tied(void **state)
{
	static const TiedTable wanted[] = {TIED_CHEAPER, TIED_TWICE, TIED_ONLINE};
	double want[TOKENS * VOCAB], got[TOKENS * VOCAB];
	(void)state;
	Bench b = open_bench(true);
	Plan *p = plan_new(b.a, b.model);
	put_all(&b, p, SITE_RESIDUAL, hadamard, false);
	logits(&b, graph_build(b.a, b.model), want);
	for (int i = 0; i < 3; i++) {
		const PassOptions o = {0};
		ProofResult r;
		const ProofOptions proof = {.jobs = 1, .tokens = tokens, .n_tokens = TOKENS};
		Graph *g = graph_build(b.a, b.model);
		g->tied.wanted = wanted[i];
		assert_true(graph_apply_plan(g, p, diag_new(b.a, stderr)));
		assert_true(passes_run(g, &o, diag_new(b.a, stderr)));
		logits(&b, g, got);
		assert_true(difference(got, want, TOKENS * VOCAB) < 1e-12);
		/* So small a head is no work beside a transform. */
		assert_int_equal(g->tied.chosen, wanted[i] ? wanted[i] : TIED_TWICE);
		assert_int_equal(count_online(g), wanted[i] == TIED_ONLINE ? 2 : 0);
		assert_true(
			proof_run(diag_new(b.a, stderr), graph_build(b.a, b.model), g, &proof, &r));
	}
	put_all(&b, p, SITE_HEAD_IN, hadamard, false);
	FILE *f;
	Diag *d = listen(&b, &f);
	Graph *g = graph_build(b.a, b.model);
	g->tied.wanted = TIED_ONLINE;
	assert_false(graph_apply_plan(g, p, d));
	fclose(f);
	assert_non_null(strstr(b.said, "plan.json:2:1"));
	assert_non_null(strstr(b.said, "head.in has a transform of its own"));
	free(b.said);
	close_bench(&b);
}

/* One random transform, or none, at every site of every layer. */
static void
test_random(void **state)
{
	(void)state;
	for (uint64_t seed = 0; seed < 60; seed++) {
		Bench b = open_bench(seed % 2);
		b.r.state = seed * 77 + 5;
		b.tied = seed % 4 == 1 ? TIED_CHEAPER : TIED_TWICE;
		Plan *p = plan_new(b.a, b.model);
		for (size_t i = 0; i < sizeof legal / sizeof *legal; i++)
			if (random_below(&b.r, 4) == 0)
				put_all(&b, p, legal[i].site, legal[i].make, legal[i].whole);
		if (random_below(&b.r, 2))
			p->transforms[SITE_V][0].transform = NULL;
		check_same(&b, p, -1);
		close_bench(&b);
	}
}

static void
test_kept_gain(void **state)
{
	(void)state;
	Bench b = open_bench(false);
	Plan *p = plan_new(b.a, b.model);
	put_all(&b, p, SITE_ATTN_IN, hadamard, false);
	for (int l = 0; l < LAYERS; l++)
		p->transforms[SITE_ATTN_IN][l].keep_gain = true;
	check_same(&b, p, LAYERS);
	Graph *g = planned(&b, p, NULL, 0);
	int gains = 0;
	for (int i = 0; i < g->funcs[1].count; i++)
		gains += g->funcs[1].values[i].op == OP_GAIN;
	assert_int_equal(gains, 2);
	put_all(&b, p, SITE_ATTN_IN, padded, false);
	for (int l = 0; l < LAYERS; l++)
		p->transforms[SITE_ATTN_IN][l].keep_gain = true;
	check_same(&b, p, LAYERS);
	/* A diagonal rides in the gain: one factor, no gain. */
	put_all(&b, p, SITE_ATTN_IN, diagonal, false);
	for (int l = 0; l < LAYERS; l++)
		p->transforms[SITE_ATTN_IN][l].keep_gain = true;
	check_same(&b, p, LAYERS);
	g = planned(&b, p, NULL, 0);
	gains = 0;
	for (int i = 0; i < g->funcs[1].count; i++)
		gains += g->funcs[1].values[i].op == OP_GAIN;
	assert_int_equal(gains, 1);
	close_bench(&b);
}

/* The transform in front of what a linear of layer 0 reads. */
static const Transform *
running(const Graph *g, Role role)
{
	const Func *f = &g->funcs[1];
	const Value *v = NULL;
	for (int i = 0; i < f->count && !v; i++)
		if (f->values[i].op == OP_LINEAR && f->values[i].role == (int)role)
			v = func_value(f, i);
	for (v = func_value(f, v->operands[0]); v->op != OP_TRANSFORM;)
		v = func_value(f, v->operands[0]);
	return v->transform;
}

static uint64_t
multiplies(const Transform *t)
{
	return transform_facts(t).multiplies;
}

/* The factor that acts first leaves a chain where weights or a gain take it. */
static void
test_first_factors(void **state)
{
	(void)state;
	Bench b = open_bench(false);
	Plan *p = plan_new(b.a, b.model);
	put_all(&b, p, SITE_ATTN_IN, chain, false);
	put_all(&b, p, SITE_MLP_IN, chain, false);
	put_all(&b, p, SITE_DOWN_IN, chain, false);
	put_all(&b, p, SITE_O_IN, grouped_chain, false);
	for (int l = 0; l < LAYERS; l++)
		p->transforms[SITE_ATTN_IN][l].keep_gain = true;
	check_same(&b, p, LAYERS * 4);
	const Graph *g = planned(&b, p, NULL, 0);
	const Transform *whole = p->transforms[SITE_ATTN_IN][0].transform;
	/* Gain and diagonal are one multiplication, and no gain of a layer is left. */
	for (int i = 0; i < g->funcs[1].count; i++)
		assert_true(g->funcs[1].values[i].op != OP_GAIN);
	assert_int_equal(multiplies(running(g, ROLE_Q)), multiplies(whole));
	assert_int_equal(multiplies(running(g, ROLE_GATE)), multiplies(whole));
	/* up has the diagonal of down's rows. */
	whole = p->transforms[SITE_DOWN_IN][0].transform;
	assert_int_equal(multiplies(running(g, ROLE_DOWN)), multiplies(whole) - INTER);
	/* v has the diagonal and the blocks of o's. */
	const Transform *o = running(g, ROLE_O);
	assert_int_equal(o->kind, T_PRODUCT);
	assert_int_equal(o->n_children, 2);
	assert_int_equal(o->children[1]->kind, T_PERM);
	/* A cache of integers keeps v as the plan has it. */
	Graph *rounded = graph_build(b.a, b.model);
	const PassOptions none = {0};
	for (int l = 0; l < LAYERS; l++)
		graph_set_kv(
			rounded, l,
			(CacheFormat){.format = {.kind = NUMBER_INT, .bits = 8, .scale_bits = 32},
				      .query_bits = 16});
	assert_true(graph_apply_plan(rounded, p, diag_new(b.a, stderr)));
	assert_true(passes_run(rounded, &none, diag_new(b.a, stderr)));
	assert_int_equal(multiplies(running(rounded, ROLE_O)),
			 multiplies(p->transforms[SITE_O_IN][0].transform));
	close_bench(&b);
}

/* ---- contract ------------------------------------------------------------------------------ */

static void
test_contract(void **state)
{
	(void)state;
	check_contract(PLAIN);
}

/* ---- weights that are stored folded -------------------------------------------------------- */

/* A model whose file holds what g's folds make of the weights, its gains 1. */
static Model *
store_folded(Bench *b, const Graph *g)
{
	Model *m = ARENA_NEW(b->a, Model);
	*m = *b->model;
	m->tied = false;
	for (int role = 0; role < ROLE_COUNT; role++) {
		const uint32_t n = role_layered[role] ? LAYERS : 1;
		const Tensor **tensors = ARENA_ARRAY(b->a, const Tensor *, n);
		for (uint32_t l = 0; l < n && model_tensor(b->model, (Role)role, l); l++) {
			Tensor *t = ARENA_NEW(b->a, Tensor);
			*t = *model_tensor(b->model, (Role)role, l);
			float *to = ARENA_ARRAY(b->a, float, (size_t)t->rows * t->columns);
			t->data = (const uint8_t *)to;
			tensors[l] = t;
			for (uint32_t k = 0; k < t->columns && t->rows == 1; k++)
				to[k] = 1;
			for (int f = 0; f < g->count && t->rows > 1; f++)
				for (int i = 0; i < g->funcs[f].count; i++) {
					WeightSource s;
					WeightRow w;
					const Value *v = &g->funcs[f].values[i];
					if (v->role != role ||
					    (role_layered[role] && g->funcs[f].layer != (int)l))
						continue;
					weight_source_open(&s, g, &g->funcs[f], v, 1, NULL);
					weight_row_alloc(b->a, &w, (int)s.columns, FORMAT_F32);
					for (uint32_t r = 0; r < s.rows; r++, to += s.columns) {
						weight_source_row(&s, r, FORMAT_F32, &w);
						memcpy(to, w.row_f32, s.columns * sizeof *to);
					}
					weight_source_close(&s);
				}
		}
		m->tensors[role] = tensors;
	}
	return m;
}

static void
test_stored(void **state)
{
	(void)state;
	Bench b = open_bench(true);
	Plan *p = plan_new(b.a, b.model);
	put_all(&b, p, SITE_RESIDUAL, hadamard, false);
	put_all(&b, p, SITE_MLP_IN, hadamard, false);
	put_all(&b, p, SITE_V, dense, true);
	put_all(&b, p, SITE_DOWN_IN, hadamard, false);
	Graph *reference = graph_build(b.a, b.model);
	Model *plain = b.model;
	b.model = store_folded(&b, planned(&b, p, NULL, 0));
	p->stored = true;
	ProofResult r;
	ProofOptions o = {.jobs = 1, .tokens = tokens, .n_tokens = TOKENS, .tolerance = 1e-5};
	Graph *g = planned(&b, p, NULL, 0);
	assert_true(proof_run(diag_new(b.a, stderr), reference, g, &o, &r));
	print_message("stored: %.1e\n", r.worst);
	/* Another rotation than the stored one is found out. */
	p->transforms[SITE_DOWN_IN][1].transform = signed_hadamard(&b, INTER);
	FILE *f;
	Diag *d = listen(&b, &f);
	assert_false(proof_run(d, reference, planned(&b, p, NULL, 0), &o, &r));
	fclose(f);
	assert_non_null(strstr(b.said, "linear of tensor 't1.down'"));
	assert_non_null(strstr(b.said, "layers.1.mlp.down.in"));
	free(b.said);
	/* What is stored has the model's width. */
	const Transform *fits = p->transforms[SITE_DOWN_IN][0].transform;
	put_all(&b, p, SITE_DOWN_IN, padded, false);
	d = listen(&b, &f);
	assert_false(graph_apply_plan(graph_build(b.a, b.model), p, d));
	fclose(f);
	assert_non_null(strstr(b.said, "the weights are stored folded, and read rows of the"));
	free(b.said);
	for (int l = 0; l < LAYERS; l++)
		put(p, SITE_DOWN_IN, l, fits);
	/* Gains that are not 1 are not folded. */
	b.model = plain;
	d = listen(&b, &f);
	assert_false(graph_apply_plan(graph_build(b.a, plain), p, d));
	fclose(f);
	assert_non_null(strstr(b.said, "the weights are stored folded, so this gain should be 1"));
	free(b.said);
	close_bench(&b);
}

/* ---- refusals ------------------------------------------------------------------------------ */

static const Transform *
endless(Bench *b, uint32_t n)
{
	const char *why = NULL;
	return must(transform_pad(b->a, n, 65001, &why), why);
}

static const Transform *
dropped(Bench *b, uint32_t n)
{
	const char *why = NULL;
	return transform_inverse(b->a, must(transform_pad(b->a, n - 1, n, &why), why));
}

static const struct {
	const char *name;
	Site site;
	Make make;
	uint32_t order; /* 0: the site's */
	bool keep;	/* gains */
	const char *said;
} illegal[] = {
	{"order", SITE_RESIDUAL, hadamard, 12, false, "residual: H(12"},
	{"order hint", SITE_DOWN_IN, hadamard, 20, false, "a block transform to 40 repeats it"},
	{"order head", SITE_V, hadamard, 4, false,
	 "write it for a head, of order 8, or for all 16"},
	{"not orthogonal", SITE_RESIDUAL, diagonal, 0, false,
	 "rmsnorm commutes with orthogonal transforms only"},
	{"kept gain", SITE_RESIDUAL, hadamard, 0, true,
	 "a gain that the plan keeps lets nothing through"},
	{"hadamard in front of rope", SITE_QK_RAW, hadamard, 0, false,
	 "rope commutes only with rotations of its own pairs"},
	{"a permutation in front of rope", SITE_QK_RAW, permutation, 0, false,
	 "rope commutes only with rotations of its own pairs"},
	{"v mixes heads", SITE_V, hadamard, 16, false, "mixes the 2 heads of the row"},
	{"padded residual", SITE_RESIDUAL, padded, 0, false,
	 "makes 64 elements of 24: nothing may run there"},
	{"padded v", SITE_V, padded, 0, false, "makes 64 elements of 8: nothing may run there"},
	{"padded middle", SITE_MLP_MID, padded, 0, false,
	 "makes 64 elements of 40: nothing may run there"},
	{"padded embedding", SITE_EMBED_OUT, padded, 0, false,
	 "makes 64 elements of 24: only what matrices read may be longer"},
	{"padded keys", SITE_QK_ROPE, padded, 0, false,
	 "makes 64 elements of 8: only what matrices read may be longer"},
	{"padded to no end", SITE_DOWN_IN, endless, 0, false, "rows have up to 65000 elements"},
	{"dropped", SITE_DOWN_IN, dropped, 0, false, "no law brings back what is dropped"},
	{"hadamard on silu", SITE_MLP_MID, hadamard, 0, false,
	 "silu(gate) * up lets permutations through, and diagonals on up"},
};

static void
test_refusals(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof illegal / sizeof *illegal; i++) {
		Bench b = open_bench(false);
		Plan *p = plan_new(b.a, b.model);
		uint32_t width, heads;
		FILE *f;
		site_shape(b.model, illegal[i].site, &width, &heads);
		const Transform *t =
			illegal[i].make(&b, illegal[i].order ? illegal[i].order : width / heads);
		for (int l = 0; l < (site_table[illegal[i].site].layered ? LAYERS : 1); l++)
			put(p, illegal[i].site, l, t);
		for (int l = 0; l < LAYERS && illegal[i].keep; l++)
			p->transforms[SITE_ATTN_IN][l].keep_gain = true;
		Diag *d = listen(&b, &f);
		assert_false(graph_apply_plan(graph_build(b.a, b.model), p, d));
		fclose(f);
		print_message("%s", b.said);
		assert_int_equal(diag_errors(d), 1);
		assert_non_null(strstr(b.said, "plan.json:2:1"));
		assert_non_null(strstr(b.said, illegal[i].said));
		free(b.said);
		close_bench(&b);
	}
}

/* ---- faults -------------------------------------------------------------------------------- */

typedef struct Fault {
	int role, layer, kind;
} Fault;
enum { FLIP_SIGN, SWAP_ENTRIES, SWAP_HEADS };

static void
spoil(void *arg, int role, int layer, double *w, uint32_t rows, uint32_t columns)
{
	const Fault *f = arg;
	if (role != f->role || layer != f->layer)
		return;
	/* Looked up are the rows of tokens alone. */
	const uint32_t row = role == ROLE_EMBED ? (uint32_t)tokens[0] : rows / 2;
	const size_t at = (size_t)row * columns + columns / 3;
	double x = w[at];
	if (f->kind == FLIP_SIGN)
		w[at] = -x;
	if (f->kind == SWAP_ENTRIES) {
		w[at] = w[at + 1];
		w[at + 1] = x;
	}
	for (size_t k = 0; k < (size_t)D * columns && f->kind == SWAP_HEADS; k++) {
		x = w[k];
		w[k] = w[(size_t)D * columns + k];
		w[(size_t)D * columns + k] = x;
	}
}

static Plan *
rich_plan(Bench *b)
{
	Plan *p = plan_new(b->a, b->model);
	put_all(b, p, SITE_RESIDUAL, hadamard, false);
	put_all(b, p, SITE_QK_RAW, so2, true);
	put_all(b, p, SITE_QK_ROPE, hadamard, false);
	put_all(b, p, SITE_V, dense, true);
	put_all(b, p, SITE_MLP_MID, permutation, false);
	put_all(b, p, SITE_DOWN_IN, hadamard, false);
	return p;
}

static void
test_weight_faults(void **state)
{
	static const struct {
		int role;
		const char *site;
	} spoiled[] = {
		{ROLE_EMBED, "residual"},	  {ROLE_Q, "layers.1.attn.qk.raw"},
		{ROLE_K, "layers.1.attn.qk.raw"}, {ROLE_V, "layers.1.attn.v"},
		{ROLE_O, "layers.1.attn.v"},	  {ROLE_GATE, "layers.1.mlp.mid"},
		{ROLE_UP, "layers.1.mlp.mid"},	  {ROLE_DOWN, "layers.1.mlp.down.in"},
		{ROLE_HEAD, "residual"},
	};
	(void)state;
	Bench b = open_bench(true);
	Graph *g = planned(&b, rich_plan(&b), NULL, 0);
	for (size_t i = 0; i < sizeof spoiled / sizeof *spoiled; i++)
		for (int kind = FLIP_SIGN; kind <= SWAP_HEADS; kind++) {
			const int role = spoiled[i].role;
			Fault f = {role, role_layered[role] ? 1 : -1, kind};
			const WeightFault fault = {spoil, &f};
			const char *tensor = arena_printf(
				b.a, "'%s'",
				model_tensor(b.model, (Role)role, role_layered[role] ? 1 : 0)
					->name);
			must_refuse(&b, g, &fault, tensor, spoiled[i].site);
		}
	close_bench(&b);
}

static Value *
linear(const Graph *g, int func, int role)
{
	for (int i = 0; i < g->funcs[func].count; i++)
		if (g->funcs[func].values[i].role == role)
			return &g->funcs[func].values[i];
	fail();
	return NULL;
}

/* Folds that are lost, doubled, turned round or given to the wrong head. */
static void
test_fold_faults(void **state)
{
	static const int roles[] = {ROLE_Q, ROLE_K, ROLE_V, ROLE_O, ROLE_GATE, ROLE_UP, ROLE_DOWN};
	(void)state;
	Bench b = open_bench(false);
	for (size_t i = 0; i < sizeof roles / sizeof *roles; i++) {
		const char *tensor =
			arena_printf(b.a, "'%s'", model_tensor(b.model, (Role)roles[i], 1)->name);
		Graph *g = planned(&b, rich_plan(&b), NULL, 0);
		Value *v = linear(g, 2, roles[i]);
		assert_non_null(v->fold_in);
		v->fold_in = NULL;
		must_refuse(&b, g, NULL, tensor, "plan.json:2:1");
		g = planned(&b, rich_plan(&b), NULL, 0);
		v = linear(g, 2, roles[i]);
		v->fold_in = transform_inverse(b.a, v->fold_in);
		must_refuse(&b, g, NULL, tensor, "plan.json:2:1");
		g = planned(&b, rich_plan(&b), NULL, 0);
		v = linear(g, 2, roles[i]);
		assert_non_null(v->fold_out);
		v->fold_out = NULL;
		must_refuse(&b, g, NULL, tensor, "plan.json:2:1");
	}
	/* The bases say what the folds say, so these show where rows meet. */
	Graph *g = planned(&b, rich_plan(&b), NULL, 0);
	Value *v = linear(g, 2, ROLE_V);
	const Transform *swapped[] = {heads_run(b.a, v->fold_out, KV_HEADS, 1),
				      heads_run(b.a, v->fold_out, KV_HEADS, 0)};
	const char *why;
	v->fold_out = transform_compose(b.a, T_SUM, swapped, 2, &why);
	graph_derive_bases(g);
	must_refuse(&b, g, NULL, "layer.1: linear of tensor 't1.o'", "layers.1.attn.v");
	g = planned(&b, rich_plan(&b), NULL, 0);
	v = linear(g, 2, ROLE_Q);
	v->fold_out = transform_inverse(b.a, v->fold_out);
	graph_derive_bases(g);
	must_refuse(&b, g, NULL, "layer.1: attention", "layers.1.attn.qk.raw");
	g = planned(&b, rich_plan(&b), NULL, 0);
	v = linear(g, 1, ROLE_DOWN);
	v->fold_out = NULL;
	graph_derive_bases(g);
	must_refuse(&b, g, NULL, "layer.0: add", "residual");
	close_bench(&b);
}

/* ---- ready codes --------------------------------------------------------------------------- */

/* Codes of every layer's q rounded to nearest from the folded weights of g. */
static void
make_codes(Bench *b, const Graph *g, Plan *p, Format f)
{
	for (int l = 0; l < LAYERS; l++) {
		const Func *func = &g->funcs[l + 1];
		const Value *v = linear(g, l + 1, ROLE_GATE);
		WeightSource s;
		WeightRow w;
		weight_source_open(&s, g, func, v, 1, NULL);
		s.codes = NULL;
		const size_t groups = (size_t)format_groups(f, (int)s.columns);
		uint8_t *codes = ARENA_ARRAY(b->a, uint8_t, (size_t)s.rows * s.columns);
		float *scales = ARENA_ARRAY(b->a, float, s.rows *groups);
		weight_row_alloc(b->a, &w, (int)s.columns, f);
		for (uint32_t i = 0; i < s.rows; i++) {
			weight_source_row(&s, i, f, &w);
			memcpy(codes + (size_t)i * s.columns, w.codes, s.columns);
			memcpy(scales + i * groups, w.scales, groups * sizeof *scales);
		}
		weight_source_close(&s);
		p->weights[ROLE_GATE][l] = (PlanFormat){.format = f, .loc = {1, 9}};
		p->codes[ROLE_GATE][l] =
			(PlanCodes){.codes = codes, .scales = scales, .loc = {1, 18}};
	}
}

static void
test_codes(void **state)
{
	(void)state;
	for (int bits = 4; bits <= 8; bits += 4) {
		const Format f = {.kind = NUMBER_INT, .bits = (uint8_t)bits, .scale_bits = 32};
		Bench b = open_bench(false);
		Plan *p = rich_plan(&b);
		const ProofOptions o = {.jobs = 1, .tokens = tokens, .n_tokens = TOKENS};
		ProofResult r;
		make_codes(&b, planned(&b, p, NULL, 0), p, f);
		assert_true(proof_run(diag_new(b.a, stderr), graph_build(b.a, b.model),
				      planned(&b, p, NULL, 0), &o, &r));
		assert_int_equal(r.tensors, LAYERS);
		print_message("%d bits: %.1f dB\n", bits, r.worst_snr);
		/* The same codes under another rotation. */
		p->transforms[SITE_RESIDUAL][0].transform = signed_hadamard(&b, HIDDEN);
		FILE *out;
		Diag *d = listen(&b, &out);
		assert_false(
			proof_run(d, graph_build(b.a, b.model), planned(&b, p, NULL, 0), &o, &r));
		fclose(out);
		assert_int_equal(diag_errors(d), LAYERS);
		assert_non_null(strstr(b.said, "plan.json:3:1"));
		assert_non_null(strstr(b.said, "codes of tensor 't0.gate' stand"));
		free(b.said);
		close_bench(&b);
	}
}

/* An order of rows moves codes and scales as they are. */
static void
test_rows_moved(void **state)
{
	const Format f = {
		.kind = NUMBER_INT, .bits = 4, .scale_bits = 16, .minimum = true, .group = 8};
	(void)state;
	Bench b = open_bench(false);
	Plan *p = plan_new(b.a, b.model);
	put_all(&b, p, SITE_MLP_MID, permutation, false);
	Graph *g = planned(&b, p, NULL, 0);
	const uint32_t *perm = p->transforms[SITE_MLP_MID][1].transform->perm;
	WeightSource s;
	WeightRow got, want;
	weight_row_alloc(b.a, &got, HIDDEN, f);
	weight_row_alloc(b.a, &want, HIDDEN, f);
	weight_source_open(&s, g, &g->funcs[2], linear(g, 2, ROLE_UP), 1, NULL);
	assert_null(s.folded);
	for (uint32_t i = 0; i < INTER; i++) {
		weight_source_row(&s, i, f, &got);
		weight_row_load(model_tensor(b.model, ROLE_UP, 1), perm[i], f, &want);
		assert_memory_equal(got.codes, want.codes, HIDDEN);
		assert_memory_equal(got.scales, want.scales, HIDDEN / 8 * sizeof(float));
		assert_memory_equal(got.minima, want.minima, HIDDEN / 8 * sizeof(float));
	}
	weight_source_close(&s);
	close_bench(&b);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sites),	      cmocka_unit_test(test_combined),
		cmocka_unit_test(test_random),	      cmocka_unit_test(test_tied),
		cmocka_unit_test(test_kept_gain),     cmocka_unit_test(test_refusals),
		cmocka_unit_test(test_weight_faults), cmocka_unit_test(test_fold_faults),
		cmocka_unit_test(test_codes),	      cmocka_unit_test(test_contract),
		cmocka_unit_test(test_first_factors), cmocka_unit_test(test_stored),
		cmocka_unit_test(test_rows_moved),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
