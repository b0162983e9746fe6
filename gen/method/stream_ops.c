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

static void *
scratch_of(size_t bytes)
{
	void *p = malloc(bytes);
	if (!p)
		fatal_environment("out of memory");
	return p;
}

/* ---- rows ----------------------------------------------------------------------------------- */

static size_t
run_of(const Value *v)
{
	return v->op == OP_RMSNORM_HEADS || v->op == OP_GAIN_HEADS ? v->width / v->heads : v->width;
}

static void
rows_rmsnorm(const StreamStep *t, size_t first, size_t n)
{
	const size_t d = run_of(t->v), runs = n * t->v->width / d, at = first * t->v->width;
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
	const size_t d = run_of(t->v), at = first * t->v->width;
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
rows_transform(const StreamStep *t, size_t first, size_t n)
{
	const size_t d = t->v->width;
	double *row = scratch_of(2 * d * sizeof *row);
	for (size_t i = first; i < first + n; i++) {
		for (size_t k = 0; k < d; k++)
			row[k] = (double)t->in[0][i * d + k];
		transform_apply(t->v->transform, row, row + d);
		for (size_t k = 0; k < d; k++)
			t->out[i * d + k] = (float)row[k];
	}
	free(row);
}

/* n values that share a scale become what their codes stand for. */
static void
round_run(Format f, const float *x, size_t n, int16_t *codes, float *y)
{
	int16_t *hi = codes, *lo = codes + n;
	float scale, zero = 0.0f;
	memset(lo, 0, n * sizeof *lo);
	interp_quantize(f, x, n, hi, lo, &scale, &zero);
	for (size_t i = 0; i < n; i++) {
		const float code = f.bits > 8 ? (float)(256 * hi[i] + lo[i]) : (float)hi[i];
		y[i] = (code - zero) * scale;
	}
}

/* A row in groups, of integers or floats. */
static void
round_row(Format f, const float *x, size_t n, int16_t *codes, float *y)
{
	const size_t group = f.group ? f.group : n;
	if (format_is_float(f)) {
		for (size_t i = 0; i < n; i++)
			y[i] = f.bits == 16 ? f16_to_f32(f32_to_f16(x[i])) : x[i];
		return;
	}
	for (size_t i = 0; i < n; i += group)
		round_run(f, x + i, n - i < group ? n - i : group, codes, y + i);
}

static void
rows_quantize(const StreamStep *t, size_t first, size_t n)
{
	const size_t d = t->v->width;
	int16_t *codes = scratch_of(2 * d * sizeof *codes);
	for (size_t i = first; i < first + n; i++)
		round_row(t->v->format, t->in[0] + i * d, d, codes, t->out + i * d);
	free(codes);
}

static void
rows_rope(const StreamStep *t, size_t first, size_t n)
{
	const size_t width = t->v->width, d = width / t->v->heads, half = d / 2;
	for (size_t i = first; i < first + n; i++) {
		const size_t position = i % t->s->tokens->length;
		const float *c = t->s->cos_rows + position * half;
		const float *s = t->s->sin_rows + position * half;
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
	int16_t *codes = scratch_of(2 * d * sizeof *codes);
	for (int part = 0; part < 2; part++)
		for (size_t i = first * width; i < (first + n) * width; i += d) {
			float *to = t->out + (part ? s->n * width : 0) + i;
			if (rounds_cache(s))
				round_row(f, t->in[part] + i, d, codes, to);
			else
				memcpy(to, t->in[part] + i, d * sizeof *to);
		}
	free(codes);
}

static void
rows_silu_mul(const StreamStep *t, size_t first, size_t n)
{
	const size_t d = t->v->width;
	float *e = scratch_of(whole_lanes(d) * sizeof *e);
	memset(e, 0, whole_lanes(d) * sizeof *e);
	for (size_t i = first; i < first + n; i++) {
		const float *a = t->in[0] + i * d, *b = t->in[1] + i * d;
		for (size_t k = 0; k < d; k++)
			e[k] = -a[k];
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

const StreamRowsFn stream_row_ops[OP_COUNT] = {
	[OP_RMSNORM] = rows_rmsnorm,   [OP_RMSNORM_HEADS] = rows_rmsnorm,
	[OP_GAIN] = rows_gain,	       [OP_GAIN_HEADS] = rows_gain,
	[OP_BIAS] = rows_bias,	       [OP_TRANSFORM] = rows_transform,
	[OP_QUANTIZE] = rows_quantize, [OP_ROPE] = rows_rope,
	[OP_KV_APPEND] = rows_append,  [OP_SILU_MUL] = rows_silu_mul,
	[OP_ADD] = rows_add,
};

/* ---- attention ------------------------------------------------------------------------------ */

/* Row i of scores becomes weights over positions 0 .. i; n is a multiple of whole vectors. */
static void
softmax_row(float *row, size_t i, size_t n)
{
	float most = row[0], sum = 0.0f;
	for (size_t k = 1; k <= i; k++)
		most = row[k] > most ? row[k] : most;
	for (size_t k = 0; k <= i; k++)
		row[k] -= most;
	memset(row + i + 1, 0, (n - i - 1) * sizeof *row);
	exponentials(row, i + 1);
	memset(row + i + 1, 0, (n - i - 1) * sizeof *row);
	for (size_t k = 0; k <= i; k++)
		sum += row[k];
	for (size_t k = 0; k <= i; k++)
		row[k] /= sum;
}

void
stream_attention(const StreamStep *t, int task)
{
	const Stream *s = t->s;
	const Value *v = t->v;
	const size_t length = s->tokens->length, d = v->width / v->heads, kv = d * v->kv_heads;
	const size_t sequence = (size_t)task / v->heads, head = (size_t)task % v->heads;
	const size_t kv_head = head / (v->heads / v->kv_heads), pitch = whole_lanes(length);
	const float *k = t->in[1] + sequence * length * kv + kv_head * d;
	float *scores = scratch_of(length * pitch * sizeof *scores);
	float *q = scratch_of(length * d * sizeof *q);
	int16_t *codes = scratch_of(2 * d * sizeof *codes);
	const Format query = graph_query(s->graph, s->func->layer);
	for (size_t i = 0; i < length; i++) {
		const float *row = t->in[0] + (sequence * length + i) * v->width + head * d;
		if (rounds_cache(s))
			round_row(query, row, d, codes, q + i * d);
		else
			memcpy(q + i * d, row, d * sizeof *q);
	}
	linalg_panel(s->linalg, true, length, length, d, (float)(1.0 / sqrt((double)d)), q, d, k,
		     kv, scores, pitch);
	for (size_t i = 0; i < length; i++)
		softmax_row(scores + i * pitch, i, pitch);
	linalg_panel(s->linalg, false, length, d, length, 1.0f, scores, pitch, k + s->n * kv, kv,
		     t->out + sequence * length * v->width + head * d, v->width);
	free(codes);
	free(q);
	free(scores);
}
