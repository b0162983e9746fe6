/*
 * A scheduled graph as models of OpenVINO: one function of this file or of attention.c an op. Rows
 * are floats: what the plan rounds activations or the cache to is not done here (report.c).
 */
#include "lower.h"

#include <string.h>

const char *const npu_model_files[NPU_MODELS] = {
#define NPU_MODEL(e, file, what) [e] = file,
#include "models.def"
};

static const NpuModelFacts model_facts[NPU_MODELS] = {
	[NPU_STATEFUL] = {.dynamic = true, .layers = true, .head = true, .result = "logits"},
	[NPU_PREFILL] = {.layers = true, .result = "rows"},
	[NPU_DECODE] = {.layers = true, .head = true, .one = true, .result = "logits"},
	[NPU_HEAD] = {.head = true, .one = true, .result = "logits"},
};

/* ---- operands ----------------------------------------------------------------------------- */

Wire
lower_row(const Lower *l, const Value *v, int i)
{
	const Wire x = l->values[v->operands[i]].x;
	const int64_t width = l->g->funcs[l->func].values[v->operands[i]].width;
	return wire_shape(l->n, x).rank == 3 ? x : net_reshape(l->n, x, SHAPE(0, 0, width));
}

Wire
lower_heads(const Lower *l, const Value *v, int i, uint32_t heads)
{
	const Wire x = l->values[v->operands[i]].x;
	const int64_t width = l->g->funcs[l->func].values[v->operands[i]].width;
	if (wire_shape(l->n, x).rank == 4)
		return x;
	return net_reshape(l->n, x, SHAPE(0, 0, heads, width / heads));
}

/* An f32 constant; one that is stored otherwise is kept so until it is read. */
static Wire
constant(const Lower *l, const BinPart *p, Element to)
{
	const Wire w = net_part(l->n, p);
	return p->element == to ? w : net_decompress(l->n, w, to);
}

/* The vector that v names. */
static Wire
vector(const Lower *l, const Value *v)
{
	const Func *f = &l->g->funcs[l->func];
	return constant(l, &l->constants->vectors[l->func][v - f->values], ELEMENT_F32);
}

/*
 * OpenVINO's split of a stateful model for the NPU widens symmetric i4 weights itself and stops at
 * groups of fewer than 64; it leaves those with a zero point, be it 0.
 */
static bool
needs_zero(const Lower *l, const NpuMatrix *m)
{
	enum { LEAST = 64 };
	return l->model->dynamic && m->form.element == ELEMENT_I4 && m->groups > 1 &&
	       m->group < LEAST;
}

/*
 * The matrix m as f32 [rows, padded]. Compilers know this pattern: codes, converted to the type of
 * the scales, less their zero points, times scales; they keep the codes as they are stored.
 */
static Wire
matrix(const Lower *l, const NpuMatrix *m)
{
	const bool one_zero = m->form.zero || needs_zero(l, m);
	const Element e = one_zero ? ELEMENT_F32 : m->scales.element;
	if (!m->scales.bytes)
		return constant(l, &m->codes, ELEMENT_F32);
	Wire w = net_convert(l->n, net_part(l->n, &m->codes), e);
	if (m->form.zeros)
		w = net_binary(l->n, NET_SUBTRACT, w, net_part(l->n, &m->zeros));
	else if (one_zero)
		w = net_binary(l->n, NET_SUBTRACT, w, net_scalar(l->n, (float)m->form.zero, 1));
	w = net_binary(l->n, NET_MULTIPLY, w, constant(l, &m->scales, e));
	if (m->groups > 1)
		w = net_reshape(l->n, w, SHAPE(m->rows, m->padded));
	return e == ELEMENT_F32 ? w : net_convert(l->n, w, ELEMENT_F32);
}

static const NpuMatrix *
matrix_of(const Lower *l, const Value *v)
{
	return &l->constants->matrices[l->func][v - l->g->funcs[l->func].values];
}

/* ---- ops ---------------------------------------------------------------------------------- */

static void
lower_input(Lower *l, const Value *v, Lowered *y)
{
	(void)v;
	y->x = l->carry;
}

/* Rows of the table; a static model gets them from the host. */
static void
lower_embed(Lower *l, const Value *v, Lowered *y)
{
	const NpuMatrix *m = matrix_of(l, v);
	y->x = l->rows;
	if (l->rows != NO_WIRE)
		return;
	y->x = net_gather(l->n, matrix(l, m), l->ids, 0);
	if (m->padded > m->columns)
		y->x = net_slice(l->n, y->x, 2, 0, m->columns);
}

/* x times 1 / sqrt(mean(x^2) + eps), of the last dimension. */
static Wire
normed(const Lower *l, Wire x, float eps)
{
	const int rank = wire_shape(l->n, x).rank;
	Wire r = net_mean(l->n, net_binary(l->n, NET_MULTIPLY, x, x));
	r = net_binary(l->n, NET_ADD, r, net_scalar(l->n, eps, rank));
	r = net_unary(l->n, NET_SQRT, r);
	r = net_binary(l->n, NET_DIVIDE, net_scalar(l->n, 1.0f, rank), r);
	return net_binary(l->n, NET_MULTIPLY, x, r);
}

static void
lower_rmsnorm(Lower *l, const Value *v, Lowered *y)
{
	y->x = normed(l, lower_row(l, v, 0), v->eps);
}

static void
lower_rmsnorm_heads(Lower *l, const Value *v, Lowered *y)
{
	y->x = normed(l, lower_heads(l, v, 0, v->heads), v->eps);
}

static void
lower_gain(Lower *l, const Value *v, Lowered *y)
{
	const Wire x = lower_row(l, v, 0);
	y->x = net_binary(l->n, NET_MULTIPLY, x, vector(l, v));
}

static void
lower_gain_heads(Lower *l, const Value *v, Lowered *y)
{
	const Wire x = lower_heads(l, v, 0, v->heads);
	y->x = net_binary(l->n, NET_MULTIPLY, x, vector(l, v));
}

static void
lower_bias(Lower *l, const Value *v, Lowered *y)
{
	const Wire x = lower_row(l, v, 0);
	y->x = net_binary(l->n, NET_ADD, x, vector(l, v));
}

static void
lower_transform(Lower *l, const Value *v, Lowered *y)
{
	y->x = npu_transform(l->n, lower_row(l, v, 0), v->transform);
}

/* Rows stay floats, in their own order. */
static void
lower_same(Lower *l, const Value *v, Lowered *y)
{
	*y = l->values[v->operands[0]];
}

static void
lower_linear(Lower *l, const Value *v, Lowered *y)
{
	const NpuMatrix *m = matrix_of(l, v);
	Wire x = lower_row(l, v, 0);
	if (m->padded > m->columns)
		x = npu_with_zeros(l->n, x, m->columns, m->padded - m->columns);
	y->x = net_matmul(l->n, x, matrix(l, m), true);
}

static void
lower_silu_mul(Lower *l, const Value *v, Lowered *y)
{
	const Wire silu = net_unary(l->n, NET_SWISH, lower_row(l, v, 0));
	y->x = net_binary(l->n, NET_MULTIPLY, silu, lower_row(l, v, 1));
}

static void
lower_add(Lower *l, const Value *v, Lowered *y)
{
	const Wire a = lower_row(l, v, 0);
	y->x = net_binary(l->n, NET_ADD, a, lower_row(l, v, 1));
}

static void
lower_output(Lower *l, const Value *v, Lowered *y)
{
	y->x = l->carry = lower_row(l, v, 0);
}

typedef void (*LowerFn)(Lower *l, const Value *v, Lowered *y);
static const LowerFn lower_ops[] = {
	[OP_INPUT] = lower_input,
	[OP_EMBED] = lower_embed,
	[OP_RMSNORM] = lower_rmsnorm,
	[OP_GAIN] = lower_gain,
	[OP_TRANSFORM] = lower_transform,
	[OP_QUANTIZE] = lower_same,
	[OP_TILE] = lower_same,
	[OP_LINEAR] = lower_linear,
	[OP_BIAS] = lower_bias,
	[OP_RMSNORM_HEADS] = lower_rmsnorm_heads,
	[OP_GAIN_HEADS] = lower_gain_heads,
	[OP_ROPE] = lower_rope,
	[OP_KV_APPEND] = lower_kv_append,
	[OP_ATTENTION] = lower_attention,
	[OP_SILU_MUL] = lower_silu_mul,
	/* refused for devices: artefact.c */
	[OP_GELU_MUL] = NULL,
	[OP_ROUTE] = NULL,
	[OP_EXPERT] = NULL,
	[OP_WEIGH] = NULL,
	[OP_SIGMOID_MUL] = NULL,
	[OP_ADD] = lower_add,
	[OP_OUTPUT] = lower_output,
};
_Static_assert(sizeof lower_ops / sizeof *lower_ops == OP_COUNT, "every op has a row");

/* ---- functions and models ----------------------------------------------------------------- */

static void
lower_func(Lower *l, int func)
{
	const Func *f = &l->g->funcs[func];
	l->func = func;
	l->values = ARENA_ARRAY(l->run, Lowered, (size_t)f->count);
	for (int i = 0; i < f->count; i++)
		lower_ops[f->values[i].op](l, &f->values[i], &l->values[i]);
}

/* The inputs of a model, in the order of models.def, and what all layers share of them. */
static void
lower_inputs(Lower *l)
{
	const Shape ids = SHAPE(l->batch, l->tokens);
	const int64_t hidden = l->g->model->hidden;
	if (!l->model->layers) {
		l->carry = net_parameter(l->n, "rows", ELEMENT_F32, SHAPE(1, 1, hidden));
	} else if (l->model->dynamic) {
		l->ids = net_parameter(l->n, "input_ids", ELEMENT_I64, ids);
		const Wire mask = net_parameter(l->n, "attention_mask", ELEMENT_I64,
						SHAPE(SHAPE_ANY, SHAPE_ANY));
		const Wire positions = net_parameter(l->n, "position_ids", ELEMENT_I64, ids);
		l->beams = net_parameter(l->n, "beam_idx", ELEMENT_I32, SHAPE(SHAPE_ANY));
		lower_positions(l, positions);
		lower_dynamic_mask(l, mask);
	} else {
		const int64_t context = l->facts->context;
		l->rows = net_parameter(l->n, "embeds", ELEMENT_F32, SHAPE(1, l->tokens, hidden));
		const Wire positions = net_parameter(l->n, "position_ids", ELEMENT_I64, ids);
		l->mask = net_parameter(l->n, "mask", ELEMENT_F32,
					SHAPE(1, 1, l->tokens, context + l->tokens));
		lower_positions(l, positions);
	}
}

Net *
npu_lower(Arena *run, const Graph *g, const NpuFacts *f, const NpuConstants *c, NpuModel model)
{
	const NpuModelFacts *m = &model_facts[model];
	Lower l = {.run = run,
		   .g = g,
		   .facts = f,
		   .constants = c,
		   .model = m,
		   .n = net_new(run, c->identity, c->bin),
		   .batch = m->dynamic ? SHAPE_ANY : 1,
		   .tokens = m->dynamic ? SHAPE_ANY
			     : m->one	? 1
					: (int64_t)f->chunk,
		   .ids = NO_WIRE,
		   .rows = NO_WIRE};
	lower_inputs(&l);
	for (int n = 0; n < g->count; n++) {
		const bool head = n == g->count - 1;
		if (head ? !m->head : !m->layers)
			continue;
		lower_func(&l, n);
		if (!func_is_last(g, &g->funcs[n]) && l.carry != l.rows)
			net_name(l.n, l.carry, g->funcs[n].name);
	}
	net_result(l.n, m->result, l.carry);
	return l.n;
}
