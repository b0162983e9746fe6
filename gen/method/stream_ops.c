/* Ops of a stream on rows of f32. */
#include "stream_impl.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "ir/interp_impl.h"
#include "ir/wide.h"

/* ---- e^x, many at a time -------------------------------------------------------------------- */

enum { LANES = WIDE_BYTES / sizeof(float) };
typedef float Lanes __attribute__((vector_size(WIDE_BYTES)));
typedef int32_t LaneBits __attribute__((vector_size(WIDE_BYTES)));

/* x = n ln 2 + r, e^r by its series to the seventh term: 2e-7 relative for x in [-87, 87], the ends
 * beyond them. In place; n need not be whole vectors, but x has room for them. */
WIDE_BODY void
exponentials_body(float *x, size_t n)
{
	for (size_t i = 0; i < n; i += LANES) {
		Lanes v, k, r, p;
		memcpy(&v, x + i, sizeof v);
		LaneBits low = v<-87.0f, high = v> 87.0f;
		v = (Lanes)(((LaneBits)v & ~low & ~high) | ((LaneBits)(Lanes){0} & low));
		v = v + (Lanes)((LaneBits)((Lanes){0} - 87.0f) & low) +
		    (Lanes)((LaneBits)((Lanes){0} + 87.0f) & high);
		k = (v * 1.44269504f + 12582912.0f) - 12582912.0f;
		r = (v - k * 0.693359375f) + k * 2.12194440e-4f;
		p = r * (1.0f / 5040.0f) + 1.0f / 720.0f;
		p = p * r + 1.0f / 120.0f;
		p = p * r + 1.0f / 24.0f;
		p = p * r + 1.0f / 6.0f;
		p = p * r + 0.5f;
		p = p * r + 1.0f;
		p = p * r + 1.0f;
		const LaneBits exponent = (__builtin_convertvector(k, LaneBits) + 127) << 23;
		p = p * (Lanes)exponent;
		memcpy(x + i, &p, sizeof p);
	}
}
WIDE(static, exponentials, (float *x, size_t n), (x, n))

static size_t
whole_lanes(size_t n)
{
	return (size_t)round_up(n, LANES);
}

/* ---- rows ----------------------------------------------------------------------------------- */

static void
rows_rmsnorm(const StreamStep *t, size_t first, size_t n)
{
	const size_t d = stream_run(t->v), runs = n * t->v->width / d, at = first * t->v->width;
	for (size_t h = 0; h < runs; h++) {
		const float *x = t->in[0] + at + h * d;
		float *y = t->out + at + h * d;
		double sum = 0.0;
		for (size_t i = 0; i < d; i++)
			sum += (double)x[i] * (double)x[i];
		const float r = (float)(1.0 / sqrt(sum / (double)d + (double)t->v->eps));
		for (size_t i = 0; i < d; i++)
			y[i] = x[i] * r;
	}
}

static void
rows_gain(const StreamStep *t, size_t first, size_t n)
{
	const size_t d = stream_run(t->v), at = first * t->v->width;
	for (size_t i = 0; i < n * t->v->width; i++)
		t->out[at + i] = t->in[0][at + i] * t->vector[i % d];
}

static void
rows_bias(const StreamStep *t, size_t first, size_t n)
{
	const size_t d = t->v->width, at = first * d;
	for (size_t i = 0; i < n * d; i++)
		t->out[at + i] = t->in[0][at + i] + t->vector[i % d];
}

static void
multiply_rows(const void *linalg, size_t rows, size_t n, const double *x, const double *m,
	      double *y)
{
	linalg_product(linalg, rows, n, n, x, m, y);
}

/* Elements of a panel of rows: with as many for scratch they stay in L2. */
enum { PANEL_ELEMENTS = 1 << 15 };

void
stream_transform(const Linalg *l, const Transform *t, const float *x, size_t n, bool add, float *y)
{
	const TransformProducts by = {multiply_rows, l};
	const size_t span = transform_span(t);
	const size_t most = t->n == t->n_out && t->n == span ? PANEL_ELEMENTS / span + 1 : 1;
	double *rows = take_memory(2 * most * span * sizeof *rows);
	for (size_t first = 0, some; first < n; first += some) {
		some = n - first < most ? n - first : most;
		for (size_t i = 0; i < some * t->n; i++)
			rows[i] = (double)x[first * t->n + i];
		transform_apply_rows(t, rows, some, rows + most * span, &by);
		for (size_t i = 0; i < some * t->n_out; i++) {
			float *to = y + first * t->n_out + i;
			*to = add ? *to + (float)rows[i] : (float)rows[i];
		}
	}
	free(rows);
}

static void
rows_transform(const StreamStep *t, size_t first, size_t n)
{
	const Transform *x = t->v->transform;
	stream_transform(t->s->linalg, x, t->in[0] + first * x->n, n, false,
			 t->out + first * x->n_out);
}

/* ---- rows as their codes stand for them ------------------------------------------------------ */

/* n values that share a scale; what their least and largest make of them (design.md section 7). */
typedef struct RowCodes {
	float least, most;
	float inverse, offset; /* a code is x inverse + offset, within [low, high], + first */
	float low, high, first;
	float zero, scale; /* and stands for (code - zero) scale */
} RowCodes;

WIDE_BODY void
row_ends_body(RowCodes *r, const float *x, size_t n)
{
	size_t i = 0;
	r->least = r->most = x[0];
	if (n >= LANES) {
		Lanes v, least, most;
		memcpy(&least, x, sizeof least);
		most = least;
		for (i = LANES; i + LANES <= n; i += LANES) {
			memcpy(&v, x + i, sizeof v);
			const LaneBits less = v<least, more = v> most;
			least = (Lanes)(((LaneBits)v & less) | ((LaneBits)least & ~less));
			most = (Lanes)(((LaneBits)v & more) | ((LaneBits)most & ~more));
		}
		for (int k = 0; k < LANES; k++) {
			r->least = least[k] < r->least ? least[k] : r->least;
			r->most = most[k] > r->most ? most[k] : r->most;
		}
	}
	for (; i < n; i++) {
		r->least = x[i] < r->least ? x[i] : r->least;
		r->most = x[i] > r->most ? x[i] : r->most;
	}
}
WIDE(static, row_ends, (RowCodes * r, const float *x, size_t n), (r, x, n))

enum { PAIRS = LANES / 2 };
typedef float Half __attribute__((vector_size(WIDE_BYTES / 2)));
typedef int32_t HalfBits __attribute__((vector_size(WIDE_BYTES / 2)));
typedef double Pairs __attribute__((vector_size(WIDE_BYTES)));

/* The product is exact in double, so that the sum is the contract's fma but where it lies within
 * 2^-29 of the middle of two floats. */
WIDE_BODY void
row_values_body(const RowCodes *r, const float *x, size_t n, float *y)
{
	const Half low = (Half){0} + r->low, high = (Half){0} + r->high;
	const Half shift = (Half){0} + 12582912.0f;
	for (size_t i = 0; i < n; i += PAIRS) {
		const size_t bytes = (n - i < PAIRS ? n - i : PAIRS) * sizeof *x;
		Half c = {0};
		memcpy(&c, x + i, bytes);
		c = __builtin_convertvector(__builtin_convertvector(c, Pairs) * (double)r->inverse +
						    (double)r->offset,
					    Half);
		const HalfBits below = c<low, above = c> high;
		c = (Half)(((HalfBits)c & ~(below | above)) | ((HalfBits)low & below) |
			   ((HalfBits)high & above));
		c = (((c + shift) - shift) + r->first - r->zero) * r->scale;
		memcpy(y + i, &c, bytes);
	}
}
WIDE(static, row_values, (const RowCodes *r, const float *x, size_t n, float *y), (r, x, n, y))

/* n values that share a scale become what their codes stand for. */
static void
round_run(Format f, const float *x, size_t n, float *y)
{
	RowCodes r = {.zero = 0.0f};
	float ends[2];
	int16_t hi[2], lo[2];
	row_ends(&r, x, n);
	ends[0] = r.least;
	ends[1] = r.most;
	interp_quantize(f, ends, 2, hi, lo, &r.scale, &r.zero);
	r.inverse = r.scale == 0.0f ? 0.0f : contract_rcp(r.scale);
	r.first = f.zero ? (float)format_low(f) : 0.0f;
	r.offset = f.zero ? r.zero - r.first : 0.0f;
	r.low = f.zero ? 0.0f : -(float)format_qmax(f);
	r.high = f.zero ? (float)format_high(f) - r.first : (float)format_qmax(f);
	row_values(&r, x, n, y);
}

void
stream_round(Format f, const float *x, size_t n, float *y)
{
	const size_t group = f.group ? f.group : n;
	if (format_is_float(f)) {
		for (size_t i = 0; i < n; i++)
			y[i] = f.bits == 16 ? f16_to_f32(f32_to_f16(x[i])) : x[i];
		return;
	}
	for (size_t i = 0; i < n; i += group)
		round_run(f, x + i, n - i < group ? n - i : group, y + i);
}

static void
rows_quantize(const StreamStep *t, size_t first, size_t n)
{
	const size_t d = t->v->width;
	for (size_t i = first; i < first + n; i++)
		stream_round(t->v->format, t->in[0] + i * d, d, t->out + i * d);
}

static void
rows_rope(const StreamStep *t, size_t first, size_t n)
{
	const size_t width = t->v->width, d = width / t->v->heads, half = d / 2;
	for (size_t i = first; i < first + n; i++) {
		const size_t at = stream_rope(t->s, t->v, i % t->s->tokens->length);
		const float *c = t->s->cos_rows + at, *s = t->s->sin_rows + at;
		for (size_t h = 0; h < t->v->heads; h++) {
			const float *x = t->in[0] + i * width + h * d;
			float *y = t->out + i * width + h * d;
			for (size_t k = 0; k < half; k++) {
				y[k] = x[k] * c[k] - x[k + half] * s[k];
				y[k + half] = x[k] * s[k] + x[k + half] * c[k];
			}
		}
	}
}

static bool
rounds_cache(const Stream *s)
{
	return s->kind == STREAM_ROUNDED;
}

/* All k rows, then all v rows, in the cache's format head by head. */
static void
rows_append(const StreamStep *t, size_t first, size_t n)
{
	const Stream *s = t->s;
	const size_t width = s->graph->model->kv_width, d = s->graph->model->head_dim;
	const Format f = graph_kv(s->graph, s->func->layer);
	for (int part = 0; part < 2; part++)
		for (size_t i = first * width; i < (first + n) * width; i += d) {
			float *to = t->out + (part ? s->n * width : 0) + i;
			if (rounds_cache(s))
				stream_round(f, t->in[part] + i, d, to);
			else
				memcpy(to, t->in[part] + i, d * sizeof *to);
		}
}

/* -u of a gate's a. */
static void
gate_exponents(const Value *v, const float *a, float *e)
{
	if (v->op == OP_GELU_MUL)
		for (size_t k = 0; k < v->width; k++)
			e[k] = -GELU_SLOPE * (a[k] + GELU_CUBE * a[k] * a[k] * a[k]);
	else
		for (size_t k = 0; k < v->width; k++)
			e[k] = -a[k];
}

static void
rows_gated(const StreamStep *t, size_t first, size_t n)
{
	const size_t d = t->v->width;
	float *e = take_memory(whole_lanes(d) * sizeof *e);
	memset(e, 0, whole_lanes(d) * sizeof *e);
	for (size_t i = first; i < first + n; i++) {
		const float *a = t->in[0] + i * d, *b = t->in[1] + i * d;
		gate_exponents(t->v, a, e);
		exponentials(e, d);
		for (size_t k = 0; k < d; k++)
			t->out[i * d + k] = a[k] / (1.0f + e[k]) * b[k];
	}
	free(e);
}

static void
rows_add(const StreamStep *t, size_t first, size_t n)
{
	const size_t d = t->v->width;
	for (size_t i = first * d; i < (first + n) * d; i++)
		t->out[i] = t->in[0][i] + t->in[1][i];
}

static void
rows_route(const StreamStep *t, size_t first, size_t n)
{
	const size_t experts = t->s->graph->model->n_expert, width = t->v->width;
	for (size_t i = first; i < first + n; i++)
		contract_route(t->in[0] + i * experts, experts, t->v->used, t->v->norm,
			       t->out + i * width);
}

static void
rows_weigh(const StreamStep *t, size_t first, size_t n)
{
	const size_t d = t->v->width, route = func_value(t->s->func, t->v->operands[1])->width;
	for (size_t i = first; i < first + n; i++)
		for (size_t k = 0; k < d; k++)
			t->out[i * d + k] = t->in[0][i * d + k] * t->in[1][i * route + t->v->slot];
}

static void
rows_sigmoid_mul(const StreamStep *t, size_t first, size_t n)
{
	const size_t d = t->v->width;
	for (size_t i = first; i < first + n; i++) {
		const float w = 1.0f / (1.0f + expf(-t->in[1][i]));
		for (size_t k = 0; k < d; k++)
			t->out[i * d + k] = t->in[0][i * d + k] * w;
	}
}

const StreamRowsFn stream_row_ops[OP_COUNT] = {
	[OP_RMSNORM] = rows_rmsnorm,
	[OP_RMSNORM_HEADS] = rows_rmsnorm,
	[OP_GAIN] = rows_gain,
	[OP_GAIN_HEADS] = rows_gain,
	[OP_BIAS] = rows_bias,
	[OP_TRANSFORM] = rows_transform,
	[OP_QUANTIZE] = rows_quantize,
	[OP_ROPE] = rows_rope,
	[OP_KV_APPEND] = rows_append,
	[OP_SILU_MUL] = rows_gated,
	[OP_GELU_MUL] = rows_gated,
	[OP_ADD] = rows_add,
	[OP_ROUTE] = rows_route,
	[OP_WEIGH] = rows_weigh,
	[OP_SIGMOID_MUL] = rows_sigmoid_mul,
};

/* ---- attention ------------------------------------------------------------------------------ */

/* Row i of scores becomes weights over positions first .. i, zeros before and up to n, whole
 * vectors. */
WIDE_BODY void
softmax_row_body(float *row, size_t first, size_t i, size_t n)
{
	float most = row[i], sum = 0.0f;
	Lanes v, all = {0}, top;
	for (size_t k = 0; k < first; k++)
		row[k] = row[i];
	for (size_t k = i + 1; k < n; k++)
		row[k] = row[i];
	memcpy(&top, row, sizeof top);
	for (size_t k = LANES; k < n; k += LANES) {
		memcpy(&v, row + k, sizeof v);
		const LaneBits more = v > top;
		top = (Lanes)(((LaneBits)v & more) | ((LaneBits)top & ~more));
	}
	for (int k = 0; k < LANES; k++)
		most = top[k] > most ? top[k] : most;
	for (size_t k = 0; k < n; k += LANES) {
		memcpy(&v, row + k, sizeof v);
		v -= most;
		memcpy(row + k, &v, sizeof v);
	}
	exponentials_body(row, n);
	for (size_t k = 0; k < first; k++)
		row[k] = 0.0f;
	for (size_t k = i + 1; k < n; k++)
		row[k] = 0.0f;
	for (size_t k = 0; k < n; k += LANES) {
		memcpy(&v, row + k, sizeof v);
		all += v;
	}
	for (int k = 0; k < LANES; k++)
		sum += all[k];
	for (size_t k = 0; k < n; k += LANES) {
		memcpy(&v, row + k, sizeof v);
		v /= sum;
		memcpy(row + k, &v, sizeof v);
	}
}
WIDE(static, softmax_row, (float *row, size_t first, size_t i, size_t n), (row, first, i, n))

size_t
stream_pitch(const Stream *s)
{
	return whole_lanes(s->tokens->length);
}

size_t
stream_attention_weights(const StreamStep *t, size_t sequence, size_t head, size_t at, float *q,
			 float *weights)
{
	const Stream *s = t->s;
	const Value *v = t->v;
	const size_t length = s->tokens->length, d = v->width / v->heads, kv = d * v->kv_heads;
	const size_t kv_head = head / (v->heads / v->kv_heads), pitch = stream_pitch(s);
	const size_t n = length - at < STREAM_QUERIES ? length - at : STREAM_QUERIES;
	const float *k = t->in[1] + sequence * length * kv + kv_head * d;
	const Format query = graph_query(s->graph, s->func->layer);
	for (size_t i = 0; i < n; i++) {
		const float *row = t->in[0] + (sequence * length + at + i) * v->width + head * d;
		if (rounds_cache(s))
			stream_round(query, row, d, q + i * d);
		else
			memcpy(q + i * d, row, d * sizeof *q);
	}
	linalg_panel(s->linalg, true, n, at + n, d, (float)(1.0 / sqrt((double)d)), q, d, k, kv,
		     weights, pitch);
	for (size_t i = 0; i < n; i++) {
		const size_t seen = at + i + 1;
		softmax_row(weights + i * pitch,
			    v->window && v->window < seen ? seen - v->window : 0, at + i,
			    whole_lanes(at + n));
	}
	return n;
}

void
stream_attention(const StreamStep *t, int task)
{
	const Stream *s = t->s;
	const Value *v = t->v;
	const size_t length = s->tokens->length, d = v->width / v->heads, kv = d * v->kv_heads;
	const size_t sequence = (size_t)task / v->heads, head = (size_t)task % v->heads;
	const size_t kv_head = head / (v->heads / v->kv_heads), pitch = stream_pitch(s);
	const float *values = t->in[1] + s->n * kv + sequence * length * kv + kv_head * d;
	float *weights = take_memory(STREAM_QUERIES * pitch * sizeof *weights);
	float *q = take_memory(STREAM_QUERIES * d * sizeof *q);
	for (size_t at = 0, n; at < length; at += n) {
		n = stream_attention_weights(t, sequence, head, at, q, weights);
		linalg_panel(s->linalg, false, n, d, at + n, 1.0f, weights, pitch, values, kv,
			     t->out + (sequence * length + at) * v->width + head * d, v->width);
	}
	free(q);
	free(weights);
}
