/* Plans: patterns, what a plan says of each place, sidecars, and plans written and read back. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "gen/model/safetensors.h"
#include "gen/pattern.h"
#include "gen/plan/plan.h"
#include "gen/plan/schema.h"

enum { LAYERS = 3, HIDDEN = 32, INTER = 64, VOCABULARY = 48 };

/* ---- patterns ----------------------------------------------------------------------------- */

static void
patterns_match_and_rank(void **state)
{
	(void)state;
	static const struct {
		const char *pattern, *name;
		int alternative;
	} cases[] = {
		{"layers.3.q", "layers.3.q", 0},
		{"layers.3.q", "layers.3.qq", -1},
		{"layers.*.q", "layers.12.q", 0},
		{"layers.*.q", "layers..q", -1},
		{"layers.*.q", "layers.1.2.q", -1},
		{"*", "embed", 0},
		{"*", "layers.0", -1},
		{"layers.*.{q,k}", "layers.0.k", 1},
		{"layers.*.{attn.in,mlp.in}", "layers.0.mlp.in", 1},
		{"{embed,head}", "head", 1},
		{"{embed,head}", "he", -1},
		{"layers.{0,1}.{q,k,v}", "layers.1.v", 5},
		{"layers.*.", "layers.1.", 0},
	};
	static const char *const rising[] = {"layers.*.*",	   "layers.*.{q,k}", "layers.*.q",
					     "layers.{0,1}.{q,k}", "layers.{0,1}.q", "layers.0.q"};
	Arena *a = arena_new();
	const char *why;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
		assert_int_equal(
			pattern_find(pattern_parse(a, cases[i].pattern, &why), cases[i].name, 0),
			cases[i].alternative);
	for (size_t i = 1; i < sizeof rising / sizeof *rising; i++)
		assert_true(pattern_parse(a, rising[i - 1], &why)->rank <
			    pattern_parse(a, rising[i], &why)->rank);
	assert_null(pattern_parse(a, "{a,b", &why));
	assert_null(pattern_parse(a, "a*", &why));
	arena_free(a);
}

/* ---- a model of shapes -------------------------------------------------------------------- */

static Model *
make_model(Arena *a, bool tied, uint32_t experts)
{
	static const StoredType f32 = {.name = "F32",
				       .block = 1,
				       .block_bytes = 4,
				       .format = {.kind = NUMBER_FLOAT, .bits = 32}};
	Model *m = ARENA_NEW(a, Model);
	*m = (Model){.arch = "llama",
		     .file = "test",
		     .n_layer = LAYERS,
		     .hidden = HIDDEN,
		     .n_head = 4,
		     .n_kv_head = 2,
		     .head_dim = 8,
		     .inter = INTER,
		     .n_vocab = VOCABULARY,
		     .n_ctx = 64,
		     .q_width = 32,
		     .kv_width = 16,
		     .one = 1,
		     .n_expert = experts,
		     .n_used = experts,
		     .expert_inter = INTER,
		     .tied = tied};
	memset(m->sha256, 0xab, sizeof m->sha256);
	for (int role = 0; role < ROLE_COUNT; role++) {
		const uint32_t n = model_places(m, role);
		const bool there = !role_optional[role] || (role_experts[role] && experts);
		const Tensor **slots = ARENA_ARRAY(a, const Tensor *, n);
		for (uint32_t l = 0; l < n && there; l++) {
			Tensor *t = ARENA_NEW(a, Tensor);
			t->name = role_names[role];
			t->type = &f32;
			model_shape(m, (Role)role, &t->rows, &t->columns);
			slots[l] = t;
		}
		m->tensors[role] = slots;
	}
	if (tied)
		m->tensors[ROLE_HEAD] = m->tensors[ROLE_EMBED];
	return m;
}

static Plan *
read_text(Arena *a, const Model *m, const char *json, const Text *data)
{
	Diag *d = diag_new(a, stderr);
	return plan_read_memory(a, d, "plan.json", json, strlen(json),
				data ? (const uint8_t *)data->text : NULL, data ? data->size : 0,
				m);
}

/* ---- what a plan says --------------------------------------------------------------------- */

static void
the_more_specific_pattern_wins(void **state)
{
	(void)state;
	Arena *a = arena_new();
	const Model *m = make_model(a, false, 0);
	const Plan *p = read_text(
		a, m,
		"{\"lathe_plan\": 1, \"weights\": {"
		"\"layers.*.*\": {\"bits\": 8}, \"layers.*.{q,k}\": {\"bits\": 6},"
		"\"layers.0.q\": {\"bits\": 3}, \"layers.*.q\": {\"bits\": 5, \"group\": 16},"
		"\"head\": {\"bits\": 1.58, \"group\": \"tensor\", \"scale\": \"bf16\"}},"
		"\"kv\": {\"layers.*\": {\"bits\": 8, \"scheme\": \"asymmetric\"},"
		"\"layers.2\": {\"bits\": 16}}}",
		NULL);
	assert_non_null(p);
	assert_int_equal(p->weights[ROLE_Q][0].format.bits, 3);
	assert_int_equal(p->weights[ROLE_Q][2].format.bits, 5);
	assert_int_equal(p->weights[ROLE_Q][2].format.group, 16);
	assert_int_equal(p->weights[ROLE_K][0].format.bits, 6);
	assert_int_equal(p->weights[ROLE_DOWN][1].format.bits, 8);
	assert_true(p->weights[ROLE_HEAD]->format.ternary &&
		    p->weights[ROLE_HEAD]->format.per_tensor);
	assert_true(p->weights[ROLE_HEAD]->format.bf16 && p->weights[ROLE_HEAD]->format.bits == 2);
	assert_false(plan_says(p->weights[ROLE_EMBED]->loc));
	assert_false(plan_says(p->weights[ROLE_ATTN_NORM][0].loc));
	assert_int_equal(p->kv[0].format.zero, ZERO_INTEGER);
	assert_int_equal(p->kv[0].query_bits, 16);
	assert_true(format_equal(p->kv[2].format, FORMAT_F16));
	arena_free(a);
}

static void
one_expert_wins_over_all(void **state)
{
	(void)state;
	Arena *a = arena_new();
	const Model *m = make_model(a, false, 4);
	const Plan *p = read_text(a, m,
				  "{\"lathe_plan\": 1, \"weights\": {"
				  "\"layers.0.{expert_gate,expert_up}\": {\"bits\": 4},"
				  "\"layers.*.expert_up.{0,3}\": {\"bits\": 8},"
				  "\"layers.1.expert_up.3\": {\"bits\": 6},"
				  "\"layers.1.expert_down.*\": {\"bits\": 5}}}",
				  NULL);
	/* By layer and expert. */
	static const uint8_t up[LAYERS][4] = {{8, 4, 4, 8}, {8, 0, 0, 6}, {8, 0, 0, 8}};
	for (uint32_t i = 0; i < LAYERS * 4; i++) {
		assert_int_equal(p->weights[ROLE_EXPERT_UP][i].format.bits, up[i / 4][i % 4]);
		assert_int_equal(p->weights[ROLE_EXPERT_GATE][i].format.bits, i / 4 ? 0 : 4);
		assert_int_equal(p->weights[ROLE_EXPERT_DOWN][i].format.bits, i / 4 == 1 ? 5 : 0);
	}
	assert_string_equal(plan_matrix_name(a, m, ROLE_EXPERT_UP, 7), "layers.1.expert_up.3");
	arena_free(a);
}

static void
a_tied_head_is_the_embedding(void **state)
{
	(void)state;
	Arena *a = arena_new();
	const Plan *p =
		read_text(a, make_model(a, true, 0),
			  "{\"lathe_plan\": 1, \"weights\": {\"head\": {\"bits\": 6}}}", NULL);
	assert_int_equal(p->weights[ROLE_EMBED]->format.bits, 6);
	assert_int_equal(p->weights[ROLE_HEAD]->format.bits, 6);
	arena_free(a);
}

static void
add_permutation(SafetensorsWriter *w, const char *name, uint32_t n, uint32_t shift)
{
	uint32_t *p = calloc(n, sizeof *p);
	const uint64_t shape[] = {n};
	for (uint32_t i = 0; i < n; i++)
		p[i] = (i + shift) % n;
	safetensors_add(w, name, DTYPE_U32, shape, 1, p, n * sizeof *p);
	free(p);
}

static void
data_names_bind_to_layers(void **state)
{
	(void)state;
	static const char *const none[] = {NULL};
	Arena *a = arena_new();
	SafetensorsWriter w;
	safetensors_begin(&w, a, none);
	for (uint32_t l = 0; l < LAYERS; l++)
		add_permutation(&w, arena_printf(a, "p.%u", l), INTER, l + 1);
	const Plan *p = read_text(
		a, make_model(a, false, 0),
		"{\"lathe_plan\": 1, \"transforms\": {\"P\": {\"permutation\": \"p.*\"},"
		"\"H\": {\"hadamard\": 64}, \"X\": {\"product\": [\"H\", {\"inverse\": \"P\"}]}},"
		"\"apply\": {\"layers.*.mlp.down.in\": \"X\", \"layers.1.mlp.mid\": \"P\"},"
		"\"data\": {\"file\": \"p.safetensors\"}}",
		safetensors_end(&w));
	assert_non_null(p);
	assert_null(p->transforms[SITE_MLP_MID][0].transform);
	assert_string_equal(p->transforms[SITE_MLP_MID][1].transform->name, "P");
	for (uint32_t l = 0; l < LAYERS; l++) {
		/* x = e_0: P^-1 moves element 0 to perm^-1(0) = perm[0]; each row of H starts so.
		 */
		double row[INTER] = {1}, work[INTER], want[INTER];
		const Transform *t = p->transforms[SITE_DOWN_IN][l].transform;
		transform_apply(t, row, work);
		for (uint32_t i = 0; i < INTER; i++) {
			const uint32_t bits = i & (l + 1);
			want[i] = (__builtin_popcount(bits) & 1 ? -1 : 1) / 8.0;
			assert_true(fabs(row[i] - want[i]) < 1e-12);
		}
	}
	arena_free(a);
}

/* ---- sidecars ----------------------------------------------------------------------------- */

static void
numbers_of_every_type(void **state)
{
	(void)state;
	static const struct {
		DataType type;
		uint64_t bits;
		double value;
	} cases[] = {
		{DTYPE_F64, 0xbff8000000000000, -1.5},
		{DTYPE_F32, 0x3fc00000, 1.5},
		{DTYPE_F16, 0xc100, -2.5},
		{DTYPE_F16, 0x0001, 0x1p-24},
		{DTYPE_BF16, 0x4049, 3.140625},
		{DTYPE_I64, 0xffffffffffffffff, -1},
		{DTYPE_I64, 0x8000000000000000, -0x1p63},
		{DTYPE_I32, 0x80000000, -2147483648.0},
		{DTYPE_I16, 0xfffe, -2},
		{DTYPE_I8, 0x80, -128},
		{DTYPE_U64, 0xffffffffffffffff, 0x1p64},
		{DTYPE_U32, 0xffffffff, 4294967295.0},
		{DTYPE_U16, 0x8000, 32768},
		{DTYPE_U8, 0xff, 255},
	};
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		uint8_t bytes[16] = {0};
		for (int k = 0; k < 8; k++)
			bytes[k + data_types[cases[i].type].bytes] =
				(uint8_t)(cases[i].bits >> (8 * k));
		const SafeTensor t = {.type = (uint8_t)cases[i].type, .data = bytes};
		int64_t whole;
		assert_true(safetensor_number(&t, 1) == cases[i].value);
		assert_true(safetensor_number(&t, 0) == 0);
		if (data_types[cases[i].type].whole && cases[i].value < 0x1p63) {
			assert_true(safetensor_integer(&t, 1, &whole));
			assert_true((double)whole == cases[i].value);
		}
	}
}

static void
every_kind_has_a_form(void **state)
{
	(void)state;
	bool seen[TRANSFORM_KINDS] = {false};
	for (int form = O_IDENTITY; form < SCHEMA_OBJECTS; form++)
		seen[schema_kind((SchemaObject)form)] = true;
	for (int kind = 0; kind < TRANSFORM_KINDS; kind++)
		assert_true(seen[kind]);
}

/* ---- written and read back ---------------------------------------------------------------- */

static uint32_t
next_random(uint32_t *state, uint32_t n)
{
	*state = *state * 1664525u + 1013904223u;
	return (*state >> 8) % n;
}

static double
next_number(uint32_t *state)
{
	return 0.25 + next_random(state, 1 << 20) * 0x1p-20;
}

/* A random transform of order n. */
static const Transform *
random_transform(Arena *a, uint32_t *seed, uint32_t n, int depth)
{
	const char *why = NULL;
	double *v = ARENA_ARRAY(a, double, (size_t)n *n);
	uint32_t *perm = ARENA_ARRAY(a, uint32_t, n);
	const Transform *two[2], *t = NULL;
	for (uint32_t i = 0; i < n; i++)
		perm[i] = i;
	for (uint32_t i = n; i > 1; i--) {
		const uint32_t k = next_random(seed, i), swap = perm[k];
		perm[k] = perm[i - 1];
		perm[i - 1] = swap;
	}
	for (uint32_t i = 0; i < n * n; i++)
		v[i] = next_number(seed) * (next_random(seed, 2) ? 1 : -1);
	switch (next_random(seed, depth > 2 || n < 8 ? 9 : 15)) {
	case 0:
		t = transform_identity(a, n);
		break;
	case 1:
		t = transform_hadamard(a, n, base_make(a, BASE_ONE, 1, &why), &why);
		break;
	case 2:
		t = transform_perm(a, n, perm, &why);
		break;
	case 3:
		for (uint32_t i = 0; i < n; i++)
			v[i] = v[i] < 0 ? -1 : 1;
		t = transform_vector(a, T_SIGNS, n, v, &why);
		break;
	case 4:
		t = transform_vector(a, T_DIAGONAL, n, v, &why);
		break;
	case 5:
		t = transform_vector(a, T_HOUSEHOLDER, n, v, &why);
		break;
	case 6:
		t = transform_givens(a, n, 0, n - 1, v[0], &why);
		break;
	case 7:
		t = transform_scalar(a, n, v[0], &why);
		break;
	case 8:
		t = transform_vector(a, T_SO2, n, v, &why);
		break;
	case 9:
		for (uint32_t i = 0; i < n; i++)
			v[i * n + i] += 3 * n;
		t = transform_matrix(a, T_MATRIX, n, v, &why);
		break;
	case 10:
	case 11:
		two[0] = random_transform(a, seed, n, depth + 1);
		two[1] = random_transform(a, seed, n, depth + 1);
		t = transform_compose(a, T_PRODUCT, two, 2, &why);
		break;
	case 12:
		two[0] = random_transform(a, seed, 4, depth + 1);
		two[1] = random_transform(a, seed, n / 4, depth + 1);
		t = transform_compose(a, T_KRONECKER, two, 2, &why);
		break;
	case 13:
		t = transform_block(a, random_transform(a, seed, n / 2, depth + 1), n, &why);
		break;
	default:
		two[0] = random_transform(a, seed, n / 2, depth + 1);
		two[1] = random_transform(a, seed, n / 2, depth + 1);
		t = transform_compose(a, T_SUM, two, 2, &why);
		break;
	}
	if (!t)
		fail_msg("no transform: %s", why);
	return next_random(seed, 4) ? t : transform_inverse(a, t);
}

static PlanFormat
random_weights(uint32_t *seed)
{
	static const uint8_t bits[] = {2, 3, 4, 5, 6, 8};
	PlanFormat f = {.loc = {1, 1}};
	const uint32_t kind = next_random(seed, 6);
	f.format = (Format){.kind = NUMBER_INT,
			    .bits = bits[next_random(seed, 6)],
			    .scale_bits = next_random(seed, 2) ? 16 : 32,
			    .group = next_random(seed, 2) * 20};
	f.format.bf16 = f.format.scale_bits == 16 && next_random(seed, 2);
	f.format.per_tensor = !f.format.group && next_random(seed, 2);
	if (kind == 0)
		f.format = next_random(seed, 2) ? FORMAT_F16 : FORMAT_F32;
	if (kind == 0)
		f.format.bf16 = f.format.per_tensor = false;
	if (kind == 1) {
		f.format.ternary = true;
		f.format.bits = 2;
		f.format.trits = next_random(seed, 2);
	}
	if (kind == 2)
		f.format.zero = next_random(seed, 2) ? ZERO_INTEGER : ZERO_REAL;
	f.format.minimum = kind == 3;
	f.format.signed_scale = kind == 4;
	return f;
}

static PlanCodes
random_codes(Arena *a, uint32_t *seed, const Tensor *t, const PlanFormat *f)
{
	const size_t groups = (size_t)format_groups(f->format, (int)t->columns);
	const uint32_t top = f->format.ternary ? 3 : 1u << f->format.bits;
	uint8_t *codes = ARENA_ARRAY(a, uint8_t, (size_t)t->rows * t->columns);
	float *scales = ARENA_ARRAY(a, float, t->rows *groups);
	float *zeros = ARENA_ARRAY(a, float, t->rows *groups);
	for (size_t i = 0; i < (size_t)t->rows * t->columns; i++)
		codes[i] = (uint8_t)next_random(seed, top);
	for (size_t i = 0; i < t->rows * groups; i++) {
		scales[i] = f->format.per_tensor && i ? scales[0]
						      : 0.5F + 0.25F * (float)next_random(seed, 8);
		zeros[i] = f->format.per_tensor && i ? zeros[0] : (float)next_random(seed, top);
	}
	return (PlanCodes){
		codes, scales, f->format.zero || f->format.minimum ? zeros : NULL, {1, 1}};
}

static Plan *
random_plan(Arena *a, uint32_t *seed, const Model *m)
{
	static const Site activations[] = {SITE_ATTN_IN, SITE_O_IN, SITE_MLP_IN, SITE_DOWN_IN,
					   SITE_HEAD_IN};
	Plan *p = plan_new(a, m);
	p->stored = next_random(seed, 2);
	if (next_random(seed, 2))
		p->maker = (PlanMaker){.program = "a \"program\"",
				       .recipe = "round=gptq seed=1",
				       .machine = next_random(seed, 2) ? "Zen" : NULL};
	for (int s = 0; s < SITE_COUNT; s++) {
		uint32_t width, heads;
		if (!site_exists(m, (Site)s))
			continue;
		site_shape(m, (Site)s, &width, &heads);
		const Transform *shared = random_transform(a, seed, width / heads, 0);
		const uint32_t way = next_random(seed, 4);
		for (uint32_t l = 0; l < (site_table[s].layered ? LAYERS : 1); l++)
			if (way)
				p->transforms[s][l] = (PlanTransform){
					way == 1 ? shared
						 : random_transform(a, seed, width / heads, 1),
					s == SITE_MLP_IN && next_random(seed, 2),
					{1, 1}};
	}
	for (int role = 0; role < ROLE_COUNT; role++) {
		const Tensor *t = model_tensor(m, (Role)role, 0);
		const bool alike = next_random(seed, 2);
		for (uint32_t i = 0; t && t->rows > 1 && i < model_places(m, role); i++) {
			PlanFormat *f = &p->weights[role][i];
			if (alike && i % model_experts(m, role))
				*f = f[-1];
			else if (next_random(seed, 3))
				*f = random_weights(seed);
			if (plan_says(f->loc) && !format_is_float(f->format) &&
			    next_random(seed, 2))
				p->codes[role][i] = random_codes(a, seed, t, f);
		}
	}
	for (size_t i = 0; i < sizeof activations / sizeof *activations; i++)
		for (uint32_t l = 0; l < (site_table[activations[i]].layered ? LAYERS : 1); l++) {
			PlanFormat *f = &p->activations[activations[i]][l];
			*f = (PlanFormat){.format = {.kind = NUMBER_INT,
						     .bits = 8,
						     .scale_bits = 32,
						     .zero = (uint8_t)next_random(seed, 3),
						     .clip = next_random(seed, 2) ? 0.0F : 0.9F},
					  .loc = {1, 1}};
			f->format.group = next_random(seed, 2) * 20;
		}
	for (uint32_t l = 0; l < LAYERS; l++)
		if (next_random(seed, 3))
			p->kv[l] = (PlanFormat){.format = {.kind = NUMBER_INT,
							   .bits = 4,
							   .scale_bits = 32,
							   .zero = (uint8_t)next_random(seed, 3)},
						.query_bits = next_random(seed, 2) ? 16 : 8,
						.loc = {1, 1}};
	return p;
}

static void
assert_same_format(const PlanFormat *a, const PlanFormat *b)
{
	assert_true(plan_says(a->loc) == plan_says(b->loc));
	assert_true(format_equal(a->format, b->format));
	assert_int_equal(a->query_bits, b->query_bits);
}

static void
assert_same_codes(const PlanCodes *a, const PlanCodes *b, const Tensor *t, Format f)
{
	const size_t groups = t->rows * (size_t)format_groups(f, (int)t->columns);
	assert_true(!a->codes == !b->codes && !a->zeros == !b->zeros);
	if (!a->codes)
		return;
	assert_memory_equal(a->codes, b->codes, (size_t)t->rows * t->columns);
	assert_memory_equal(a->scales, b->scales, groups * sizeof(float));
	if (a->zeros)
		assert_memory_equal(a->zeros, b->zeros, groups * sizeof(float));
}

/* The same map, element by element. */
static void
assert_same_transform(Arena *a, const Transform *x, const Transform *y)
{
	assert_true(!x == !y);
	if (!x)
		return;
	const size_t n = (size_t)x->n * x->n_out;
	double *p = ARENA_ARRAY(a, double, n), *q = ARENA_ARRAY(a, double, n);
	assert_true(x->n == y->n && x->n_out == y->n_out);
	transform_dense(x, p);
	transform_dense(y, q);
	for (size_t i = 0; i < n; i++)
		assert_true(fabs(p[i] - q[i]) <= 1e-12 * (1 + fabs(p[i])));
}

static void
assert_same_plan(Arena *a, const Model *m, const Plan *x, const Plan *y)
{
	const char *const from[] = {x->maker.program, x->maker.recipe, x->maker.calibration,
				    x->maker.machine};
	const char *const to[] = {y->maker.program, y->maker.recipe, y->maker.calibration,
				  y->maker.machine};
	for (int i = 0; i < 4; i++)
		assert_true(!from[i] == !to[i] && (!from[i] || !strcmp(from[i], to[i])));
	assert_true(x->stored == y->stored);
	for (int s = 0; s < SITE_COUNT; s++)
		for (uint32_t l = 0; l < (site_table[s].layered ? LAYERS : 1); l++) {
			const PlanTransform *p = &x->transforms[s][l], *q = &y->transforms[s][l];
			assert_same_transform(a, p->transform, q->transform);
			assert_true(p->keep_gain == q->keep_gain);
			assert_same_format(&x->activations[s][l], &y->activations[s][l]);
		}
	for (int role = 0; role < ROLE_COUNT; role++)
		for (uint32_t i = 0; i < model_places(m, role); i++) {
			assert_same_format(&x->weights[role][i], &y->weights[role][i]);
			if (model_tensor(m, (Role)role, 0))
				assert_same_codes(&x->codes[role][i], &y->codes[role][i],
						  model_tensor(m, (Role)role, 0),
						  x->weights[role][i].format);
		}
	for (uint32_t l = 0; l < LAYERS; l++)
		assert_same_format(&x->kv[l], &y->kv[l]);
}

static void
written_plans_read_back(void **state)
{
	(void)state;
	for (uint32_t i = 0; i < 150; i++) {
		Arena *a = arena_new();
		uint32_t seed = i;
		const Model *m = make_model(a, false, i % 3 ? 0 : 3);
		const Plan *p = random_plan(a, &seed, m);
		const PlanText text = plan_write(a, p, m, "x.safetensors");
		const Plan *again = read_text(a, m, text.json->text, text.data);
		if (!again)
			fail_msg("plan %u was not read back:\n%s", i, text.json->text);
		assert_same_plan(a, m, p, again);
		const PlanText second = plan_write(a, again, m, "x.safetensors");
		/* The same map may be made of fewer nodes at the second time, never later. */
		const Plan *third = read_text(a, m, second.json->text, second.data);
		const PlanText last = plan_write(a, third, m, "x.safetensors");
		assert_string_equal(second.json->text, last.json->text);
		assert_true(!second.data == !last.data);
		if (last.data) {
			assert_int_equal(second.data->size, last.data->size);
			assert_memory_equal(second.data->text, last.data->text, last.data->size);
		}
		arena_free(a);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(patterns_match_and_rank),
		cmocka_unit_test(the_more_specific_pattern_wins),
		cmocka_unit_test(one_expert_wins_over_all),
		cmocka_unit_test(a_tied_head_is_the_embedding),
		cmocka_unit_test(data_names_bind_to_layers),
		cmocka_unit_test(numbers_of_every_type),
		cmocka_unit_test(every_kind_has_a_form),
		cmocka_unit_test(written_plans_read_back),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
