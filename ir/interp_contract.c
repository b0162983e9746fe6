/*
 * The bit contract of ir/README.md, sequence by sequence, in plain scalar C. It shares nothing with
 * the templates: agreement by memcmp is evidence about both.
 */
#include <math.h>
#include <string.h>

#include "interp_impl.h"

/* ---- sums ------------------------------------------------------------------------------------ */

/* sum16 of fma(a_i, b_i, p). Padding with zeros adds nothing and is left out. */
static float
sum16_product(const float *a, const float *b, size_t n)
{
	float p[16] = {0};
	for (size_t i = 0; i < n; i++)
		p[i % 16] = fmaf(a[i], b[i], p[i % 16]);
	return contract_tree(p);
}

static float
sum16(const float *a, size_t n)
{
	float p[16] = {0};
	for (size_t i = 0; i < n; i++)
		p[i % 16] = p[i % 16] + a[i];
	return contract_tree(p);
}

static float
max2(float a, float b)
{
	return a > b ? a : b;
}

/* max16 of f(a_i), from `start`. */
static float
max16(const float *a, size_t n, float start, float (*f)(float))
{
	float p[16];
	for (int j = 0; j < 16; j++)
		p[j] = start;
	for (size_t i = 0; i < n; i++)
		p[i % 16] = max2(p[i % 16], f(a[i]));
	for (int w = 8; w > 0; w /= 2)
		for (int j = 0; j < w; j++)
			p[j] = max2(p[j], p[j + w]);
	return p[0];
}

static float
itself(float x)
{
	return x;
}

/* ---- rows ------------------------------------------------------------------------------------ */

/* One row of the tensor as floats: integer codes become fma or a product, as embed says. */
static void
weights_float(const Step *s, uint32_t row, WeightRow *w, float *dst)
{
	const Format f = step_weight_format(s);
	int k = (int)s->source.columns;
	weight_source_row(&s->source, row, f, w);
	if (format_is_float(f)) {
		memcpy(dst, w->row_f32, (size_t)k * sizeof *dst);
		return;
	}
	int groups = format_groups(f, k);
	int at = 0;
	for (int g = 0; g < groups; g++) {
		int end = at + format_group_width(f, k, g);
		int offset = f.zero ? w->zeros[g] : format_offset(f);
		for (; at < end; at++) {
			float c = (float)(w->codes[at] - offset);
			dst[at] =
				f.minimum ? fmaf(c, w->scales[g], w->minima[g]) : c * w->scales[g];
		}
	}
}

static void
contract_embed(Step *s)
{
	for (int m = 0; m < s->n; m++)
		weights_float(s, (uint32_t)s->tokens[m], &s->interp->tasks[0].row,
			      s->out->f + (size_t)m * s->source.columns);
}

static void
contract_rmsnorm(Step *s)
{
	size_t width = s->value->width;
	float inverse = (float)(1.0 / (double)width);
	for (int m = 0; m < s->n; m++) {
		const float *x = s->in[0]->f + (size_t)m * width;
		float *y = s->out->f + (size_t)m * width;
		float r = contract_rsqrt(fmaf(sum16_product(x, x, width), inverse, s->value->eps));
		for (size_t i = 0; i < width; i++)
			y[i] = x[i] * r;
	}
}

static void
contract_gain(Step *s)
{
	size_t width = s->value->width;
	float *gain = s->interp->transposed;
	weights_float(s, 0, &s->interp->tasks[0].row, gain);
	for (int m = 0; m < s->n; m++)
		for (size_t i = 0; i < width; i++)
			s->out->f[(size_t)m * width + i] =
				s->in[0]->f[(size_t)m * width + i] * gain[i];
}

static void
contract_bias(Step *s)
{
	size_t width = s->value->width;
	float *bias = s->interp->transposed;
	weights_float(s, 0, &s->interp->tasks[0].row, bias);
	for (int m = 0; m < s->n; m++)
		for (size_t i = 0; i < width; i++)
			s->out->f[(size_t)m * width + i] =
				s->in[0]->f[(size_t)m * width + i] + bias[i];
}

static void
contract_rmsnorm_heads(Step *s)
{
	size_t heads = (size_t)s->n * s->value->heads;
	size_t d = s->value->width / s->value->heads;
	float inverse = (float)(1.0 / (double)d);
	for (size_t h = 0; h < heads; h++) {
		const float *x = s->in[0]->f + h * d;
		float *y = s->out->f + h * d;
		float r = contract_rsqrt(fmaf(sum16_product(x, x, d), inverse, s->value->eps));
		for (size_t i = 0; i < d; i++)
			y[i] = x[i] * r;
	}
}

static void
contract_gain_heads(Step *s)
{
	size_t heads = (size_t)s->n * s->value->heads;
	size_t d = s->value->width / s->value->heads;
	float *gain = s->interp->transposed;
	weights_float(s, 0, &s->interp->tasks[0].row, gain);
	for (size_t i = 0; i < heads * d; i++)
		s->out->f[i] = s->in[0]->f[i] * gain[i % d];
}

static void
contract_quantize(Step *s)
{
	Format f = s->value->format;
	size_t width = s->value->width;
	int groups = format_groups(f, (int)width);
	for (int m = 0; m < s->n; m++) {
		size_t at = (size_t)m * width;
		for (int g = 0; g < groups; g++) {
			size_t n = (size_t)format_group_width(f, (int)width, g);
			int scale = m * groups + g;
			interp_quantize(f, s->in[0]->f + at, n, s->out->hi + at, s->out->lo + at,
					s->out->scales + scale, s->out->zeros + scale);
			at += n;
		}
	}
}

static void
contract_rope(Step *s)
{
	size_t d = s->value->width / s->value->heads;
	size_t half = d / 2;
	for (int m = 0; m < s->n; m++) {
		const float *c = s->interp->cos_f + (size_t)m * half;
		const float *n = s->interp->sin_f + (size_t)m * half;
		for (uint32_t h = 0; h < s->value->heads; h++) {
			size_t at = (size_t)m * s->value->width + h * d;
			const float *x = s->in[0]->f + at;
			float *y = s->out->f + at;
			for (size_t i = 0; i < half; i++) {
				size_t j = i + half;
				y[i] = fmaf(x[i], c[i], -(x[j] * n[i]));
				y[j] = fmaf(x[i], n[i], x[j] * c[i]);
			}
		}
	}
}

static void
contract_silu_mul(Step *s)
{
	size_t n = (size_t)s->n * s->value->width;
	for (size_t i = 0; i < n; i++)
		s->out->f[i] = contract_silu(s->in[0]->f[i]) * s->in[1]->f[i];
}

static void
contract_add(Step *s)
{
	size_t n = (size_t)s->n * s->value->width;
	for (size_t i = 0; i < n; i++)
		s->out->f[i] = s->in[0]->f[i] + s->in[1]->f[i];
}

/* ---- attention ------------------------------------------------------------------------------- */

static void
contract_kv_append(Step *s)
{
	size_t width = s->interp->graph->model->kv_width;
	size_t at = (size_t)s->past * width;
	size_t n = (size_t)s->n * width;
	bool half = s->interp->graph->kv.bits == 16;
	for (size_t i = 0; i < n; i++) {
		float k = s->in[0]->f[i];
		float v = s->in[1]->f[i];
		step_keys(s)->f[at + i] = half ? f16_to_f32(f32_to_f16(k)) : k;
		step_vals(s)->f[at + i] = half ? f16_to_f32(f32_to_f16(v)) : v;
	}
}

enum { ATTENTION_BLOCK = 64 };

/* One head's columns of the cache. */
typedef struct HeadCache {
	const float *keys, *vals;
	size_t stride, d;
} HeadCache;

/* Attention over n positions from the start of a block: maximum, sum of e, row of e * v. */
static float
attention_block(HeadCache c, const float *q, size_t n, float *sum, float *row)
{
	float e[ATTENTION_BLOCK];
	float scale = (float)(1.0 / sqrt((double)c.d));
	for (size_t i = 0; i < n; i++)
		e[i] = sum16_product(q, c.keys + i * c.stride, c.d) * scale;
	float m = max16(e, n, -INFINITY, itself);
	memset(row, 0, c.d * sizeof *row);
	for (size_t i = 0; i < n; i++) {
		e[i] = contract_exp(e[i] - m);
		const float *v = c.vals + i * c.stride;
		for (size_t j = 0; j < c.d; j++)
			row[j] = fmaf(e[i], v[j], row[j]);
	}
	*sum = sum16(e, n);
	return m;
}

static void
attention_head(Step *s, uint32_t head, uint8_t *scratch)
{
	const Value *v = s->value;
	size_t d = v->width / v->heads;
	size_t kv_at = head / (v->heads / v->kv_heads) * d;
	float *row = (float *)(void *)scratch;
	for (int t = 0; t < s->n; t++) {
		HeadCache c = {step_keys(s)->f + kv_at, step_vals(s)->f + kv_at, d * v->kv_heads,
			       d};
		const float *q = s->in[0]->f + (size_t)t * v->width + head * d;
		float *total = s->out->f + (size_t)t * v->width + head * d;
		size_t left = (size_t)(s->past + t) + 1;
		float sum = 0.0f;
		float max = 0.0f;
		for (bool first = true; left > 0; first = false) {
			size_t n = left < ATTENTION_BLOCK ? left : ATTENTION_BLOCK;
			float l;
			float m = attention_block(c, q, n, &l, row);
			if (first) {
				max = m;
				sum = l;
				memcpy(total, row, d * sizeof *row);
			} else {
				float top = max2(max, m);
				float a = contract_exp(max - top);
				float b = contract_exp(m - top);
				sum = fmaf(sum, a, l * b);
				for (size_t j = 0; j < d; j++)
					total[j] = fmaf(total[j], a, row[j] * b);
				max = top;
			}
			c.keys += n * c.stride;
			c.vals += n * c.stride;
			left -= n;
		}
		float r = contract_rcp(sum);
		for (size_t j = 0; j < d; j++)
			total[j] = total[j] * r;
	}
}

static void
contract_attention(Step *s)
{
	step_parallel_heads(s, attention_head);
}

const StepFn interp_contract_ops[OP_COUNT] = {
	[OP_EMBED] = contract_embed,
	[OP_RMSNORM] = contract_rmsnorm,
	[OP_GAIN] = contract_gain,
	[OP_BIAS] = contract_bias,
	[OP_RMSNORM_HEADS] = contract_rmsnorm_heads,
	[OP_GAIN_HEADS] = contract_gain_heads,
	[OP_TRANSFORM] = interp_contract_transform,
	[OP_QUANTIZE] = contract_quantize,
	[OP_TILE] = step_same,
	[OP_LINEAR] = interp_contract_linear,
	[OP_ROPE] = contract_rope,
	[OP_KV_APPEND] = contract_kv_append,
	[OP_ATTENTION] = contract_attention,
	[OP_SILU_MUL] = contract_silu_mul,
	[OP_ADD] = contract_add,
};
