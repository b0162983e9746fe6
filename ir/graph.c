/* Values and functions, the graph of a model, and the rewrites that passes share. */
#include "graph.h"

#include <string.h>

const OpInfo op_table[OP_COUNT] = {
#define OP(e, text, operands, result, tensor, attributes, width, kernel, meaning) \
	[e] = {text, operands, result, tensor, attributes, width, kernel, meaning},
#include "ops.def"
};

const Attribute attribute_table[ATTRIBUTE_COUNT] = {
	{'e', "eps", true, false, offsetof(Value, eps)},
	{'h', "heads", false, false, offsetof(Value, heads)},
	{'k', "kv_heads", false, false, offsetof(Value, kv_heads)},
	{'w', "window", false, true, offsetof(Value, window)},
	{'f', "factor", true, true, offsetof(Value, factor)},
	{'s', "sums", false, false, offsetof(Value, sums)},
	{'a', "alone", false, true, offsetof(Value, alone)},
	{'u', "used", false, false, offsetof(Value, used)},
	{'n', "norm", false, false, offsetof(Value, norm)},
	{'l', "slot", false, false, offsetof(Value, slot)},
};

const char *const kernel_names[KERNEL_KINDS] = {"rows", "linear", "kv", "attention"};

const Attribute *
attribute_find(char letter)
{
	for (int i = 0; i < ATTRIBUTE_COUNT; i++)
		if (attribute_table[i].letter == letter)
			return &attribute_table[i];
	BUG("no attribute '%c'", letter);
}

/* ---- values ------------------------------------------------------------------------------- */

Value
value_new(Op op, uint32_t width, Loc loc)
{
	Value v = {.op = op,
		   .role = -1,
		   .width = width,
		   .format = FORMAT_F32,
		   .basis = BASIS_IDENTITY,
		   .loc = loc,
		   .kernel = -1,
		   .buffer = -1};
	for (int i = 0; i < VALUE_OPERANDS; i++)
		v.operands[i] = -1;
	return v;
}

int
func_add(Graph *g, Func *f, Value v)
{
	if (f->count == f->capacity) {
		int capacity = f->capacity ? 2 * f->capacity : 32;
		Value *values = ARENA_ARRAY(g->arena, Value, (size_t)capacity);
		if (f->count)
			memcpy(values, f->values, (size_t)f->count * sizeof *values);
		f->values = values;
		f->capacity = capacity;
	}
	f->values[f->count] = v;
	return f->count++;
}

Format
graph_weight_format(const Graph *g, int role, int layer)
{
	return graph_expert_format(g, role, layer, 0);
}

Format
graph_expert_format(const Graph *g, int role, int layer, uint32_t expert)
{
	INVARIANT(role >= 0 && role < ROLE_COUNT);
	return g->formats[role][model_place(g->model, role, layer, expert)];
}

bool
graph_formats_equal(const Graph *g, int role, int layer, int other_role, int other_layer)
{
	const uint32_t n = model_experts(g->model, role);
	bool equal = n == model_experts(g->model, other_role);
	for (uint32_t e = 0; e < n && equal; e++)
		equal = format_equal(graph_expert_format(g, role, layer, e),
				     graph_expert_format(g, other_role, other_layer, e));
	return equal;
}

bool
graph_formats_mixed(const Graph *g, int role, int layer)
{
	const Format first = graph_weight_format(g, role, layer);
	bool mixed = false;
	for (uint32_t e = 1; e < model_experts(g->model, role); e++)
		mixed |= !format_equal(graph_expert_format(g, role, layer, e), first);
	return mixed;
}

Format
graph_activations(const Graph *g, int role, int layer)
{
	INVARIANT(role >= 0 && role < ROLE_COUNT);
	const Format *of = g->activations_of[role];
	const int i = role_layered[role] && layer >= 0 ? layer : 0;
	return of && of[i].bits ? of[i] : g->activations;
}

void
graph_set_activations(Graph *g, int role, int layer, Format f)
{
	INVARIANT(role >= 0 && role < ROLE_COUNT);
	Format **of = &g->activations_of[role];
	if (!*of)
		*of = ARENA_ARRAY(g->arena, Format, role_layered[role] ? g->model->n_layer : 1);
	(*of)[role_layered[role] && layer >= 0 ? layer : 0] = f;
}

Format
graph_kv(const Graph *g, int layer)
{
	INVARIANT(layer >= 0 && (uint32_t)layer < g->model->n_layer);
	return g->kv[layer].format;
}

Format
graph_query(const Graph *g, int layer)
{
	if (format_is_float(graph_kv(g, layer)))
		return FORMAT_F32;
	return (Format){.kind = NUMBER_INT, .bits = g->kv[layer].query_bits, .scale_bits = 32};
}

void
graph_tensor_shape(const Graph *g, const Value *v, uint32_t *rows, uint32_t *columns)
{
	INVARIANT(v->role >= 0 && v->role < ROLE_COUNT);
	model_shape(g->model, (Role)v->role, rows, columns);
	if (v->fold_in)
		*columns = v->fold_in->n;
}

uint32_t
linear_sums(Format weight, Format activation, uint32_t columns)
{
	if (!format_is_float(activation))
		return activation.group ? activation.group : weight.group;
	if (!weight.minimum)
		return 0;
	return weight.group ? weight.group : columns;
}

Format
graph_row_format(const Graph *g, int role, int layer)
{
	for (uint32_t e = 0; e < model_experts(g->model, role); e++)
		if (format_is_float(graph_expert_format(g, role, layer, e)))
			return FORMAT_F32;
	return graph_activations(g, role, layer);
}

uint32_t
graph_linear_sums(const Graph *g, int role, int layer, Format row, uint32_t columns)
{
	uint32_t sums = 0;
	for (uint32_t e = 0; e < model_experts(g->model, role) && !sums; e++)
		sums = linear_sums(graph_expert_format(g, role, layer, e), row, columns);
	return sums;
}

/* Groups that kernels read by: the lines of packed weights, the dwords of codes, five trits. */
enum { INTEGER_WEIGHT_GROUP = 16, INTEGER_ACTIVATION_GROUP = 32, TRITS_SET = 20 };
/* Sums of products of two bytes stay below 2^31. */
enum { INTEGER_COLUMNS_MOST = 65000 };

static bool
group_is_odd(uint32_t group, uint32_t columns, uint32_t unit)
{
	return group < columns && group % unit;
}

const char *
linear_fault(Arena *a, Format weight, Format activation, uint32_t columns)
{
	if (format_is_float(activation))
		return NULL;
	if (format_is_float(weight))
		return "weights that are floats do not read integers";
	if (activation.group && weight.group && weight.group % activation.group)
		return arena_printf(a, "activation groups of %u do not divide weight groups of %u",
				    activation.group, weight.group);
	if (group_is_odd(weight.group, columns, INTEGER_WEIGHT_GROUP))
		return arena_printf(a,
				    "weight groups of %u columns meet integer activations: "
				    "multiples of %d do",
				    weight.group, INTEGER_WEIGHT_GROUP);
	if (group_is_odd(activation.group, columns, INTEGER_ACTIVATION_GROUP))
		return arena_printf(a, "activation groups of %u columns: multiples of %d do",
				    activation.group, INTEGER_ACTIVATION_GROUP);
	if (weight.trits && activation.group % TRITS_SET &&
	    activation.group < (weight.group ? weight.group : columns))
		return arena_printf(a,
				    "activation groups of %u columns meet trits, five to a byte: "
				    "multiples of %d do",
				    activation.group, INTEGER_ACTIVATION_GROUP * TRITS_SET / 4);
	if (columns > INTEGER_COLUMNS_MOST)
		return arena_printf(a, "%u columns of integers, sums are exact up to %d", columns,
				    INTEGER_COLUMNS_MOST);
	return NULL;
}

/* Whether sums of some columns serve weights that want others: those without minima want none of a
 * row of floats. */
static bool
sums_serve(uint32_t sums, uint32_t wanted, Format row)
{
	return sums == wanted || (format_is_float(row) && wanted == 0);
}

static const char *
columns_words(Arena *a, uint32_t n)
{
	return n ? arena_printf(a, "%u columns", n) : "the row";
}

const char *
graph_linear_fault(Arena *a, const Graph *g, int role, int layer, Format row, uint32_t columns,
		   uint32_t *expert)
{
	const uint32_t n = model_experts(g->model, role);
	const uint32_t sums = graph_linear_sums(g, role, layer, row, columns);
	for (uint32_t e = 0; e < n; e++) {
		const Format w = graph_expert_format(g, role, layer, e);
		const char *fault = linear_fault(a, w, row, columns);
		const uint32_t wanted = linear_sums(w, row, columns);
		*expert = e;
		if (!fault && !sums_serve(sums, wanted, row))
			fault = arena_printf(a,
					     "groups of %s do not go with the %s of another expert",
					     columns_words(a, wanted), columns_words(a, sums));
		if (fault)
			return fault;
	}
	return NULL;
}

/* ---- rewrites ----------------------------------------------------------------------------- */

int *
func_uses(Arena *a, const Func *f)
{
	int *uses = ARENA_ARRAY(a, int, (size_t)f->count + 1);
	for (int i = 0; i < f->count; i++)
		for (int k = 0; k < op_operands(f->values[i].op); k++)
			uses[f->values[i].operands[k]]++;
	return uses;
}

void
func_insert(Graph *g, Func *f, bool (*make)(const Graph *g, const Func *f, int i, Value *v))
{
	Func old = *f;
	int *moved = ARENA_ARRAY(g->arena, int, (size_t)old.count + 1);
	f->values = NULL;
	f->count = f->capacity = 0;
	for (int i = 0; i < old.count; i++) {
		Value v = old.values[i], front;
		for (int k = 0; k < op_operands(v.op); k++)
			v.operands[k] = moved[v.operands[k]];
		if (make(g, &old, i, &front)) {
			front.operands[0] = v.operands[0];
			v.operands[0] = func_add(g, f, front);
		}
		moved[i] = func_add(g, f, v);
	}
}

void
func_replace(Graph *g, Func *f, const int *by)
{
	int *moved = ARENA_ARRAY(g->arena, int, (size_t)f->count + 1);
	int count = 0;
	for (int i = 0; i < f->count; i++) {
		Value v = f->values[i];
		if (by[i] != i) {
			INVARIANT(by[i] >= 0 && by[i] < i);
			moved[i] = moved[by[i]];
			continue;
		}
		for (int k = 0; k < op_operands(v.op); k++)
			v.operands[k] = moved[v.operands[k]];
		moved[i] = count;
		f->values[count++] = v;
	}
	f->count = count;
}

typedef struct Sort {
	const Func *f;
	Func *to;
	Graph *g;
	int *moved; /* new index + 1, 0: not yet */
} Sort;

/* Depth is that of the expression: at most the values of the function. */
static void
sort_visit(Sort *s, int i)
{
	Value v = s->f->values[i];
	if (s->moved[i])
		return;
	for (int k = 0; k < op_operands(v.op); k++) {
		sort_visit(s, v.operands[k]);
		v.operands[k] = s->moved[v.operands[k]] - 1;
	}
	s->moved[i] = func_add(s->g, s->to, v) + 1;
}

static void
mark_live(const Func *f, bool *live, int i)
{
	if (live[i])
		return;
	live[i] = true;
	for (int k = 0; k < op_operands(f->values[i].op); k++)
		mark_live(f, live, f->values[i].operands[k]);
}

void
func_sort(Graph *g, Func *f)
{
	Func old = *f;
	Sort s = {.f = &old, .to = f, .g = g};
	bool *live = ARENA_ARRAY(g->arena, bool, (size_t)old.count + 1);
	int output = -1;
	s.moved = ARENA_ARRAY(g->arena, int, (size_t)old.count + 1);
	for (int i = 0; i < old.count; i++)
		if (old.values[i].op == OP_OUTPUT)
			mark_live(&old, live, output = i);
	INVARIANT(output >= 0);
	f->values = NULL;
	f->count = f->capacity = 0;
	for (int i = 0; i < old.count; i++)
		if (live[i] && i != output)
			sort_visit(&s, i);
	sort_visit(&s, output);
}

/* ---- equality ----------------------------------------------------------------------------- */

static bool
transforms_equal(const Transform *a, const Transform *b)
{
	return a == b || (a && b && transform_equal(a, b));
}

static bool
value_equal_tensors(const Graph *g, const Func *a, const Func *b, int role)
{
	return role < 0 || graph_formats_equal(g, role, a->layer, role, b->layer);
}

static bool
transforms_alike(const Transform *a, const Transform *b)
{
	return a == b || (a && b && transform_alike(a, b));
}

/* The same code: what value_equal compares, constants and what transforms hold apart. */
static bool
value_same_code(const Value *a, const Value *b)
{
	if (a->op != b->op || a->role != b->role || a->width != b->width ||
	    !format_equal(a->format, b->format))
		return false;
	for (int k = 0; k < VALUE_OPERANDS; k++)
		if (a->operands[k] != b->operands[k])
			return false;
	return a->eps == b->eps && a->heads == b->heads && a->kv_heads == b->kv_heads &&
	       a->window == b->window && a->factor == b->factor && a->sums == b->sums &&
	       a->used == b->used && a->norm == b->norm && a->slot == b->slot &&
	       a->alone == b->alone && transforms_alike(a->transform, b->transform);
}

bool
value_equal(const Value *a, const Value *b)
{
	return value_same_code(a, b) && a->pinned == b->pinned && a->shared == b->shared &&
	       transforms_equal(a->transform, b->transform) &&
	       transforms_equal(a->fold_in, b->fold_in) &&
	       transforms_equal(a->fold_out, b->fold_out);
}

bool
func_equal(const Graph *g, const Func *a, const Func *b)
{
	if (a->count != b->count || (a->layer < 0) != (b->layer < 0) ||
	    func_is_last(g, a) != func_is_last(g, b))
		return false;
	for (int i = 0; i < a->count; i++)
		if (!value_same_code(&a->values[i], &b->values[i]) ||
		    a->values[i].kernel != b->values[i].kernel ||
		    !value_equal_tensors(g, a, b, a->values[i].role) ||
		    (a->values[i].op == OP_ATTENTION &&
		     !format_equal(graph_query(g, a->layer), graph_query(g, b->layer))))
			return false;
	return true;
}

/* ---- the graph of a model ----------------------------------------------------------------- */

typedef struct Builder {
	Graph *g;
	Func *f;
} Builder;

static Loc
role_loc(const Builder *b, int role)
{
	const Tensor *t = role < 0 ? NULL
				   : model_tensor(b->g->model, (Role)role,
						  b->f->layer < 0 ? 0 : (uint32_t)b->f->layer);
	return t ? t->loc : b->g->model->loc;
}

/* A value of up to two operands that names `role` (-1: none). */
static int
build(Builder *b, Op op, int role, uint32_t width, int a, int c)
{
	Value v = value_new(op, width, role_loc(b, role));
	v.role = op_table[op].tensor == TENSOR_NONE ? -1 : role;
	v.operands[0] = a;
	v.operands[1] = c;
	return func_add(b->g, b->f, v);
}

/* Whether the model has an optional tensor in this layer. */
static bool
builds(const Builder *b, int role)
{
	return model_tensor(b->g->model, (Role)role, (uint32_t)b->f->layer) != NULL;
}

/* With a bias (-1: of no role) where the model has one. */
static int
build_linear(Builder *b, int role, int bias, int x)
{
	uint32_t rows, columns;
	model_shape(b->g->model, (Role)role, &rows, &columns);
	int y = build(b, OP_LINEAR, role, rows, x, -1);
	return bias >= 0 && builds(b, bias) ? build(b, OP_BIAS, bias, rows, y, -1) : y;
}

/* rmsnorm and gain of x; positions are those of the gain's tensor. */
static int
build_norm(Builder *b, int role, int x)
{
	uint32_t width = b->f->values[x].width;
	int n = build(b, OP_RMSNORM, role, width, x, -1);
	b->f->values[n].eps = b->g->model->norm_eps;
	return build(b, OP_GAIN, role, width, n, -1);
}

/* The norm of each head and its gain, where the model has one. */
static int
build_head_norm(Builder *b, int role, int x, uint32_t heads)
{
	if (!builds(b, role))
		return x;
	uint32_t width = b->f->values[x].width;
	int n = build(b, OP_RMSNORM_HEADS, role, width, x, -1);
	b->f->values[n].eps = b->g->model->norm_eps;
	b->f->values[n].heads = heads;
	n = build(b, OP_GAIN_HEADS, role, width, n, -1);
	b->f->values[n].heads = heads;
	return n;
}

static int
build_rope(Builder *b, int role, int x, uint32_t heads)
{
	int r = build(b, OP_ROPE, role, b->f->values[x].width, x, -1);
	b->f->values[r].heads = heads;
	b->f->values[r].window = model_window(b->g->model, (uint32_t)b->f->layer);
	return r;
}

static int
build_attention(Builder *b, int x)
{
	const Model *m = b->g->model;
	int q = build_linear(b, ROLE_Q, ROLE_Q_BIAS, x);
	int k = build_linear(b, ROLE_K, ROLE_K_BIAS, x);
	int v = build_linear(b, ROLE_V, ROLE_V_BIAS, x);
	q = build_head_norm(b, ROLE_Q_NORM, q, m->n_head);
	k = build_head_norm(b, ROLE_K_NORM, k, m->n_kv_head);
	q = build_rope(b, ROLE_Q, q, m->n_head);
	k = build_rope(b, ROLE_K, k, m->n_kv_head);
	int cache = build(b, OP_KV_APPEND, ROLE_K, 2 * m->kv_width, k, v);
	b->f->values[cache].format = graph_kv(b->g, b->f->layer);
	int a = build(b, OP_ATTENTION, ROLE_Q, m->q_width, q, cache);
	b->f->values[a].heads = m->n_head;
	b->f->values[a].kv_heads = m->n_kv_head;
	b->f->values[a].window = model_window(m, (uint32_t)b->f->layer);
	return build_linear(b, ROLE_O, ROLE_O_BIAS, a);
}

/* Expert `slot` of a route, of a matrix. */
static int
build_expert(Builder *b, int role, int x, int route, uint32_t slot)
{
	uint32_t rows, columns;
	model_shape(b->g->model, (Role)role, &rows, &columns);
	const int y = build(b, OP_EXPERT, role, rows, x, route);
	b->f->values[y].slot = slot;
	return y;
}

/* What the experts of a route make of x: their sum in the order of the slots. */
static int
build_experts(Builder *b, int x)
{
	const Model *m = b->g->model;
	const int logits = build_linear(b, ROLE_ROUTER, -1, x);
	const int route = build(b, OP_ROUTE, -1, 2 * m->n_used, logits, -1);
	b->f->values[route].used = m->n_used;
	b->f->values[route].norm = m->norm_experts;
	int sum = -1;
	for (uint32_t slot = 0; slot < m->n_used; slot++) {
		const int gate = build_expert(b, ROLE_EXPERT_GATE, x, route, slot);
		const int up = build_expert(b, ROLE_EXPERT_UP, x, route, slot);
		const int mid = build(b, m->gelu ? OP_GELU_MUL : OP_SILU_MUL, -1, m->expert_inter,
				      gate, up);
		const int down = build_expert(b, ROLE_EXPERT_DOWN, mid, route, slot);
		const int w = build(b, OP_WEIGH, -1, m->hidden, down, route);
		b->f->values[w].slot = slot;
		sum = slot ? build(b, OP_ADD, ROLE_EXPERT_DOWN, m->hidden, sum, w) : w;
	}
	return sum;
}

static int build_mlp(Builder *b, int x);

/* Experts and, where the model has one, the MLP that all tokens go through, by its gate. */
static int
build_mixture(Builder *b, int x)
{
	const uint32_t hidden = b->g->model->hidden;
	int shared = builds(b, ROLE_UP) ? build_mlp(b, x) : -1;
	if (shared >= 0 && builds(b, ROLE_SHARED_GATE))
		shared = build(b, OP_SIGMOID_MUL, -1, hidden, shared,
			       build_linear(b, ROLE_SHARED_GATE, -1, x));
	const int experts = build_experts(b, x);
	return shared < 0 ? experts : build(b, OP_ADD, ROLE_EXPERT_DOWN, hidden, shared, experts);
}

static int
build_mlp(Builder *b, int x)
{
	int gate = build_linear(b, ROLE_GATE, ROLE_GATE_BIAS, x);
	int up = build_linear(b, ROLE_UP, ROLE_UP_BIAS, x);
	return build_linear(b, ROLE_DOWN, ROLE_DOWN_BIAS,
			    build(b, b->g->model->gelu ? OP_GELU_MUL : OP_SILU_MUL, -1,
				  b->g->model->inter, gate, up));
}

/* The norm of what a layer's half adds to the stream, where the model has one. */
static int
build_post_norm(Builder *b, int role, int x)
{
	return builds(b, role) ? build_norm(b, role, x) : x;
}

static void
build_output(Builder *b, int x)
{
	build(b, OP_OUTPUT, -1, b->f->values[x].width, x, -1);
}

static void
build_layer(Builder *b)
{
	uint32_t hidden = b->g->model->hidden;
	int x = build(b, OP_INPUT, -1, hidden, -1, -1);
	int y = build_attention(b, build_norm(b, ROLE_ATTN_NORM, x));
	x = build(b, OP_ADD, ROLE_O, hidden, x, build_post_norm(b, ROLE_ATTN_POST, y));
	y = build_norm(b, ROLE_MLP_NORM, x);
	y = b->g->model->n_expert ? build_mixture(b, y) : build_mlp(b, y);
	x = build(b, OP_ADD, ROLE_DOWN, hidden, x, build_post_norm(b, ROLE_MLP_POST, y));
	build_output(b, x);
}

static Builder
build_func(Graph *g, const char *name, int layer)
{
	Func *f = &g->funcs[g->count];
	f->name = name;
	f->loc = g->model->loc;
	f->layer = layer;
	f->same_as = g->count++;
	return (Builder){g, f};
}

/* Each matrix keeps the format that its file stores, vectors are f32. */
static void
build_formats(Graph *g)
{
	for (int role = 0; role < ROLE_COUNT; role++) {
		const Model *m = g->model;
		const uint32_t n = model_places(m, role), experts = model_experts(m, role);
		uint32_t rows, columns;
		model_shape(m, (Role)role, &rows, &columns);
		g->formats[role] = ARENA_ARRAY(g->arena, Format, n);
		for (uint32_t i = 0; i < n; i++) {
			const Tensor *t = model_expert(m, (Role)role, i / experts, i % experts);
			const bool stored = t && t->type && rows > 1 && !role_stays_float(role);
			g->formats[role][i] = stored ? t->type->format : FORMAT_F32;
		}
	}
}

Graph *
graph_build(Arena *run, const Model *m)
{
	Graph *g = ARENA_NEW(run, Graph);
	Builder b;
	g->arena = run;
	g->model = m;
	g->activations = FORMAT_F32;
	g->kv = ARENA_ARRAY(run, CacheFormat, m->n_layer);
	for (uint32_t i = 0; i < m->n_layer; i++)
		g->kv[i].format = FORMAT_F32;
	g->funcs = ARENA_ARRAY(run, Func, (size_t)m->n_layer + 2);
	build_formats(g);
	b = build_func(g, "embed", -1);
	const int embed = build(&b, OP_EMBED, ROLE_EMBED, m->hidden, -1, -1);
	b.f->values[embed].factor = m->embed_scale;
	build_output(&b, embed);
	for (uint32_t i = 0; i < m->n_layer; i++) {
		b = build_func(g, arena_printf(run, "layer.%u", i), (int)i);
		build_layer(&b);
	}
	b = build_func(g, "head", -1);
	build_output(&b, build_linear(&b, ROLE_HEAD, -1,
				      build_norm(&b, ROLE_FINAL_NORM,
						 build(&b, OP_INPUT, -1, m->hidden, -1, -1))));
	return g;
}

void
graph_set_kv(Graph *g, int layer, CacheFormat kv)
{
	for (uint32_t i = 0; i < g->model->n_layer; i++)
		if (layer < 0 || (uint32_t)layer == i)
			g->kv[i] = kv;
	for (int n = 0; n < g->count; n++) {
		Func *f = &g->funcs[n];
		for (int i = 0; i < f->count; i++)
			if (f->values[i].op == OP_KV_APPEND && (layer < 0 || layer == f->layer))
				f->values[i].format = kv.format;
	}
}
