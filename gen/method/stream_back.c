/* Gradients of a stream's ops, and their way back through the values of a function. */
#include "stream_impl.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Rows of a linear's products that a thread does at a time. */
enum { BACK_ROWS = 64 };

/* ---- rows ----------------------------------------------------------------------------------- */

/* y = x r, r = (mean x^2 + eps)^-1/2: dx = r (dy - y mean(y dy)). */
static void
back_rmsnorm(const StreamBack *b, size_t first, size_t n)
{
	const Value *v = b->step.v;
	const size_t d = stream_run(v), runs = n * v->width / d;
	for (size_t h = 0; h < runs; h++) {
		const size_t at = first * v->width + h * d;
		const float *x = b->step.in[0] + at, *dy = b->by_out + at;
		float *dx = b->by_in[0] + at;
		double sum = 0.0, with = 0.0;
		for (size_t i = 0; i < d; i++) {
			sum += (double)x[i] * (double)x[i];
			with += (double)x[i] * (double)dy[i];
		}
		const double r = 1.0 / sqrt(sum / (double)d + (double)v->eps);
		const double share = with * r * r / (double)d;
		for (size_t i = 0; i < d; i++)
			dx[i] += (float)(r * ((double)dy[i] - (double)x[i] * share));
	}
}

static void
back_gain(const StreamBack *b, size_t first, size_t n)
{
	const size_t width = b->step.v->width, d = stream_run(b->step.v), at = first * width;
	for (size_t i = 0; i < n * width; i++)
		b->by_in[0][at + i] += b->by_out[at + i] * b->step.vector[i % d];
}

/* What is added to a row or rounds it. */
static void
back_same(const StreamBack *b, size_t first, size_t n)
{
	const size_t d = b->step.v->width;
	for (int k = 0; k < op_operands(b->step.v->op); k++)
		for (size_t i = first * d; i < (first + n) * d; i++)
			b->by_in[k][i] += b->by_out[i];
}

static void
back_transform(const StreamBack *b, size_t first, size_t n)
{
	const Transform *x = b->transposed;
	stream_transform(b->step.s->linalg, x, b->by_out + first * x->n, n, true,
			 b->by_in[0] + first * x->n_out);
}

static void
back_rope(const StreamBack *b, size_t first, size_t n)
{
	const Stream *s = b->step.s;
	const Value *v = b->step.v;
	const size_t width = v->width, d = width / v->heads, half = d / 2;
	for (size_t i = first; i < first + n; i++) {
		const size_t at = stream_rope(s, v, i % s->tokens->length);
		const float *cosines = s->cos_rows + at, *sines = s->sin_rows + at;
		for (size_t h = 0; h < v->heads; h++) {
			const float *dy = b->by_out + i * width + h * d;
			float *dx = b->by_in[0] + i * width + h * d;
			for (size_t k = 0; k < half; k++) {
				dx[k] += dy[k] * cosines[k] + dy[k + half] * sines[k];
				dx[k + half] += dy[k + half] * cosines[k] - dy[k] * sines[k];
			}
		}
	}
}

static void
back_append(const StreamBack *b, size_t first, size_t n)
{
	const Stream *s = b->step.s;
	const size_t width = s->graph->model->kv_width;
	for (int part = 0; part < 2; part++) {
		const float *from = b->by_out + (part ? s->n * width : 0);
		for (size_t i = first * width; i < (first + n) * width; i++)
			b->by_in[part][i] += from[i];
	}
}

/* y = a z c, z = 1 / (1 + e^-u). */
static void
back_gated(const StreamBack *b, size_t first, size_t n)
{
	const size_t d = b->step.v->width;
	const bool gelu = b->step.v->op == OP_GELU_MUL;
	for (size_t i = first * d; i < (first + n) * d; i++) {
		const float a = b->step.in[0][i], c = b->step.in[1][i], dy = b->by_out[i];
		const float u = gelu ? GELU_SLOPE * (a + GELU_CUBE * a * a * a) : a;
		const float slope = gelu ? GELU_SLOPE * (1.0f + 3.0f * GELU_CUBE * a * a) : 1.0f;
		const float z = 1.0f / (1.0f + expf(-u));
		b->by_in[0][i] += dy * c * z * (1.0f + a * (1.0f - z) * slope);
		b->by_in[1][i] += dy * a * z;
	}
}

const StreamBackFn stream_row_backs[OP_COUNT] = {
	[OP_RMSNORM] = back_rmsnorm,  [OP_RMSNORM_HEADS] = back_rmsnorm,
	[OP_GAIN] = back_gain,	      [OP_GAIN_HEADS] = back_gain,
	[OP_BIAS] = back_same,	      [OP_TRANSFORM] = back_transform,
	[OP_QUANTIZE] = back_same,    [OP_ROPE] = back_rope,
	[OP_KV_APPEND] = back_append, [OP_SILU_MUL] = back_gated,
	[OP_GELU_MUL] = back_gated,   [OP_ADD] = back_same,
};

/* ---- attention ------------------------------------------------------------------------------ */

typedef struct AttentionScratch {
	float *q, *weights, *slopes; /* [STREAM_QUERIES]: [d], [pitch], [pitch] */
	float *rows;		     /* [length][d] */
} AttentionScratch;

/* y [n][d], rows `pitch` apart, += x [n][d]. */
static void
add_rows(float *y, size_t pitch, const float *x, size_t n, size_t d)
{
	for (size_t i = 0; i < n; i++)
		for (size_t k = 0; k < d; k++)
			y[i * pitch + k] += x[i * d + k];
}

/* Slopes of the weights P become those of the scores: P (dP - sum of P dP in the row). */
static void
score_slopes(const AttentionScratch *a, size_t n, size_t keys, size_t pitch)
{
	for (size_t i = 0; i < n; i++) {
		const float *p = a->weights + i * pitch;
		float *s = a->slopes + i * pitch;
		double sum = 0.0;
		for (size_t k = 0; k < keys; k++)
			sum += (double)p[k] * (double)s[k];
		for (size_t k = 0; k < keys; k++)
			s[k] = p[k] * (s[k] - (float)sum);
	}
}

/* One query head: dV = P^T dO, dP = dO V^T, dQ = dS K / sqrt d, dK = dS^T Q / sqrt d. */
static void
attention_head(const StreamBack *b, const AttentionScratch *a, size_t sequence, size_t head)
{
	const Stream *s = b->step.s;
	const Value *v = b->step.v;
	const size_t length = s->tokens->length, d = v->width / v->heads, kv = d * v->kv_heads;
	const size_t pitch = stream_pitch(s),
		     cache = sequence * length * kv + head / (v->heads / v->kv_heads) * d;
	const float *keys = b->step.in[1] + cache, *values = keys + s->n * kv;
	float *by_keys = b->by_in[1] + cache, *by_values = by_keys + s->n * kv;
	const float factor = (float)(1.0 / sqrt((double)d));
	for (size_t at = 0, n; at < length; at += n) {
		const size_t row = (sequence * length + at) * v->width + head * d;
		n = stream_attention_weights(&b->step, sequence, head, at, a->q, a->weights);
		linalg_cross(s->linalg, at + n, d, n, 1.0f, a->weights, pitch, b->by_out + row,
			     v->width, a->rows, d);
		add_rows(by_values, kv, a->rows, at + n, d);
		linalg_panel(s->linalg, true, n, at + n, d, 1.0f, b->by_out + row, v->width, values,
			     kv, a->slopes, pitch);
		score_slopes(a, n, at + n, pitch);
		linalg_panel(s->linalg, false, n, d, at + n, factor, a->slopes, pitch, keys, kv,
			     a->rows, d);
		add_rows(b->by_in[0] + row, v->width, a->rows, n, d);
		linalg_cross(s->linalg, at + n, d, n, factor, a->slopes, pitch, a->q, d, a->rows,
			     d);
		add_rows(by_keys, kv, a->rows, at + n, d);
	}
}

void
stream_attention_back(const StreamBack *b, int task)
{
	const Value *v = b->step.v;
	const size_t d = v->width / v->heads, length = b->step.s->tokens->length;
	const size_t pitch = stream_pitch(b->step.s), shared = v->heads / v->kv_heads;
	const size_t sequence = (size_t)task / v->kv_heads, head = (size_t)task % v->kv_heads;
	AttentionScratch a = {take_memory(STREAM_QUERIES * d * sizeof(float)),
			      take_memory(STREAM_QUERIES * pitch * sizeof(float)),
			      take_memory(STREAM_QUERIES * pitch * sizeof(float)),
			      take_memory(length * d * sizeof(float))};
	for (size_t i = 0; i < shared; i++)
		attention_head(b, &a, sequence, head * shared + i);
	free(a.q);
	free(a.weights);
	free(a.slopes);
	free(a.rows);
}

/* ---- values --------------------------------------------------------------------------------- */

typedef struct LinearBack {
	const Stream *s;
	size_t rows, columns;
	const float *w, *by_out;
	float *by_in;
} LinearBack;

static void
linear_back(void *arg, int task)
{
	const LinearBack *j = arg;
	const size_t first = (size_t)task * BACK_ROWS, left = j->s->n - first;
	const size_t n = left < BACK_ROWS ? left : BACK_ROWS;
	float *product = take_memory(n * j->columns * sizeof *product);
	linalg_panel(j->s->linalg, false, n, j->columns, j->rows, 1.0f, j->by_out + first * j->rows,
		     j->rows, j->w, j->columns, product, j->columns);
	add_rows(j->by_in + first * j->columns, j->columns, product, n, j->columns);
	free(product);
}

static void
share_rows(void *arg, int task)
{
	const StreamBack *b = arg;
	const size_t first = (size_t)task * STREAM_ROWS, left = b->step.s->n - first;
	stream_row_backs[b->step.v->op](b, first, left < STREAM_ROWS ? left : STREAM_ROWS);
}

static void
share_attention(void *arg, int task)
{
	stream_attention_back(arg, task);
}

static int
shares(size_t n, size_t size)
{
	return (int)((n + size - 1) / size);
}

static void
value_back(const Stream *s, int i, const StreamLinears *l, float *by_out, StreamBack *b)
{
	const Value *v = b->step.v;
	for (int k = 0; k < op_operands(v->op); k++)
		b->step.in[k] = stream_rows(s, v->operands[k]);
	if (v->op == OP_LINEAR) {
		uint32_t rows, columns;
		graph_tensor_shape(s->graph, v, &rows, &columns);
		LinearBack j = {s, rows, columns, l->weights[i], b->by_out, b->by_in[0]};
		parallel_for(s->jobs, shares(s->n, BACK_ROWS), linear_back, &j);
		if (l->visit)
			l->visit(l->arg, i, b->step.in[0], b->by_out);
	} else if (v->op == OP_ATTENTION) {
		parallel_for(s->jobs, (int)(s->tokens->sequences * v->kv_heads), share_attention,
			     b);
	} else {
		INVARIANT(stream_row_backs[v->op]);
		if (v->op == OP_QUANTIZE && l->codes)
			l->codes(l->arg, i, by_out);
		float *vector = op_table[v->op].tensor == TENSOR_VECTOR
					? ARENA_ARRAY(s->arena, float, v->width)
					: NULL;
		if (vector)
			stream_weights(s->graph, s->func, v, s->kind, 1, vector);
		b->step.vector = vector;
		b->transposed =
			v->op == OP_TRANSFORM ? transform_transpose(s->arena, v->transform) : NULL;
		parallel_for(s->jobs, shares(s->n, STREAM_ROWS), share_rows, b);
	}
}

/* The gradient by value i's rows, zeros at first. */
static float *
gradient_of(const Stream *s, float **by, int i)
{
	const int root = s->root[i];
	const size_t n = s->n * func_value(s->func, root)->width;
	if (!by[root]) {
		by[root] = pool_take(s->pool, n);
		memset(by[root], 0, n * sizeof(float));
	}
	return by[root];
}

void
stream_back(Stream *s, const float *by_output, float *by_input, const StreamLinears *l)
{
	const Func *f = s->func;
	float **by = ARENA_ARRAY(s->arena, float *, (size_t)f->count);
	INVARIANT(s->keep);
	for (int i = f->count; i-- > 0;) {
		const Value *v = func_value(f, i);
		if (v->op == OP_OUTPUT)
			memcpy(gradient_of(s, by, i), by_output,
			       s->n * v->width * sizeof *by_output);
		if (s->root[i] != i || !by[i])
			continue;
		if (v->op == OP_INPUT)
			memcpy(by_input, by[i], s->n * v->width * sizeof *by_input);
		else if (op_operands(v->op)) {
			StreamBack b = {.step = {.s = s, .v = v}, .by_out = by[i]};
			for (int k = 0; k < op_operands(v->op); k++)
				b.by_in[k] = gradient_of(s, by, v->operands[k]);
			value_back(s, i, l, by[i], &b);
		}
		pool_give(s->pool, by[i]);
		by[i] = NULL;
	}
}
