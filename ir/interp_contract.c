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
	const size_t n = (size_t)s->n * s->source.columns;
	for (size_t i = 0; i < n && s->value->factor != 0; i++)
		s->out->f[i] = s->out->f[i] * s->value->factor;
}

/* Rows, or heads of rows. */
static void
contract_rmsnorm(Step *s)
{
	const size_t d = step_run(s), runs = (size_t)s->n * s->value->width / d;
	const float inverse = (float)(1.0 / (double)d);
	for (size_t h = 0; h < runs; h++) {
		const float *x = s->in[0]->f + h * d;
		float *y = s->out->f + h * d;
		float r = contract_rsqrt(fmaf(sum16_product(x, x, d), inverse, s->value->eps));
		for (size_t i = 0; i < d; i++)
			y[i] = x[i] * r;
	}
}

static void
contract_gain(Step *s)
{
	const size_t d = step_run(s), runs = (size_t)s->n * s->value->width / d;
	float *gain = s->interp->transposed;
	weights_float(s, 0, &s->interp->tasks[0].row, gain);
	for (size_t h = 0; h < runs; h++)
		for (size_t i = 0; i < d; i++)
			s->out->f[h * d + i] = s->in[0]->f[h * d + i] * gain[i];
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
		const float *c = s->interp->cos_f + step_rope(s, m);
		const float *n = s->interp->sin_f + step_rope(s, m);
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
contract_gelu_mul(Step *s)
{
	size_t n = (size_t)s->n * s->value->width;
	for (size_t i = 0; i < n; i++)
		s->out->f[i] = contract_gelu(s->in[0]->f[i]) * s->in[1]->f[i];
}

static void
contract_add(Step *s)
{
	size_t n = (size_t)s->n * s->value->width;
	for (size_t i = 0; i < n; i++)
		s->out->f[i] = s->in[0]->f[i] + s->in[1]->f[i];
}

/* ---- experts -----------------------------------------------------------------------------------
 */

/* The number of the largest logit that no slot in front has, ties by the lower number. */
static size_t
next_expert(const float *logits, size_t n, const float *taken, size_t n_taken)
{
	size_t best = n;
	for (size_t i = 0; i < n; i++) {
		bool free = true;
		for (size_t k = 0; k < n_taken; k++)
			free &= (size_t)taken[k] != i;
		if (free && (best == n || logits[i] > logits[best]))
			best = i;
	}
	return best;
}

/* The sum of exp(x_i - max) over all experts. */
static float
route_sum(const float *x, size_t n, float max)
{
	float e[EXPERTS_MAX];
	INVARIANT(n <= EXPERTS_MAX);
	for (size_t i = 0; i < n; i++)
		e[i] = contract_exp(x[i] - max);
	return sum16(e, n);
}

void
contract_route(const float *x, size_t n, size_t used, bool norm, float *route)
{
	float *weights = route, *experts = route + used, sum = 0;
	for (size_t k = 0; k < used; k++) {
		experts[k] = (float)next_expert(x, n, experts, k);
		weights[k] = contract_exp(x[(size_t)experts[k]] - x[(size_t)experts[0]]);
		sum = sum + weights[k];
	}
	if (!norm)
		sum = route_sum(x, n, x[(size_t)experts[0]]);
	const float inverse = contract_rcp(sum);
	for (size_t k = 0; k < used; k++)
		weights[k] = weights[k] * inverse;
}

static void
contract_routes(Step *s)
{
	const size_t n = s->interp->graph->model->n_expert, used = s->value->used;
	for (int m = 0; m < s->n; m++)
		contract_route(s->in[0]->f + (size_t)m * n, n, used, s->value->norm,
			       s->out->f + (size_t)m * 2 * used);
}

static void
contract_weigh(Step *s)
{
	const size_t width = s->value->width;
	const Value *route = func_value(s->func, s->value->operands[1]);
	for (int m = 0; m < s->n; m++) {
		const float w = s->in[1]->f[(size_t)m * route->width + s->value->slot];
		for (size_t i = (size_t)m * width; i < (size_t)(m + 1) * width; i++)
			s->out->f[i] = s->in[0]->f[i] * w;
	}
}

static void
contract_sigmoid_mul(Step *s)
{
	const size_t width = s->value->width;
	for (int m = 0; m < s->n; m++) {
		const float w = contract_rcp(1.0f + contract_exp(-s->in[1]->f[m]));
		for (size_t i = (size_t)m * width; i < (size_t)(m + 1) * width; i++)
			s->out->f[i] = s->in[0]->f[i] * w;
	}
}

/* ---- attention ------------------------------------------------------------------------------- */

/* One head's row of k or v as the cache keeps it; of floats codes are the values. */
static void
cache_row(const float *x, size_t d, Format f, float *codes, float *scale, float *zero)
{
	int16_t hi[CACHE_HEAD_MOST], lo[CACHE_HEAD_MOST];
	if (format_is_float(f)) {
		for (size_t i = 0; i < d; i++)
			codes[i] = f.bits == 16 ? f16_to_f32(f32_to_f16(x[i])) : x[i];
		return;
	}
	INVARIANT(d <= CACHE_HEAD_MOST && f.bits <= 8);
	interp_quantize(f, x, d, hi, lo, scale, zero);
	for (size_t i = 0; i < d; i++)
		codes[i] = (float)hi[i];
}

static void
contract_kv_append(Step *s)
{
	const Model *m = s->interp->graph->model;
	const Format f = graph_kv(s->interp->graph, s->func->layer);
	const size_t d = m->head_dim, heads = m->n_kv_head;
	for (int part = 0; part < 2; part++) {
		Rows *to = part ? step_vals(s) : step_keys(s);
		for (size_t i = 0; i < (size_t)s->n * heads; i++) {
			const size_t at = (size_t)s->past * heads + i;
			cache_row(s->in[part]->f + i * d, d, f, to->f + at * d, to->scales + at,
				  to->zeros + at);
		}
	}
}

enum { ATTENTION_BLOCK = 64 };

/* One head's columns of the cache, from a position on. */
typedef struct HeadCache {
	Format format;
	const Rows *keys, *vals;
	size_t d, heads, head, position;
} HeadCache;

/* A query row: itself, and where keys are integers its codes 256 hi + lo and scale. */
typedef struct Query {
	const float *row;
	int16_t *hi, *lo;
	float scale, zero;
	int bits;
} Query;

/* Index of a position's scale; its row starts d times further. */
static size_t
cache_at(const HeadCache *c, size_t i)
{
	return (c->position + i) * c->heads + c->head;
}

static float
cache_dot(const HeadCache *c, const Query *q, size_t i)
{
	const size_t at = cache_at(c, i);
	const float *key = c->keys->f + at * c->d;
	if (format_is_float(c->format))
		return sum16_product(q->row, key, c->d);
	int32_t hi = 0, lo = 0, sum = 0;
	for (size_t j = 0; j < c->d; j++) {
		hi += q->hi[j] * (int32_t)key[j];
		lo += q->bits > 8 ? q->lo[j] * (int32_t)key[j] : 0;
		sum += q->bits > 8 ? 256 * q->hi[j] + q->lo[j] : q->hi[j];
	}
	float t = q->bits > 8 ? fmaf((float)hi, 256.0f, (float)lo) : (float)hi;
	if (c->format.zero)
		t = fmaf(-c->keys->zeros[at], (float)sum, t);
	return (t * c->keys->scales[at]) * q->scale;
}

/* Adds e * v over n positions to row, from 0. */
static void
cache_weigh(const HeadCache *c, const float *e, size_t n, float *row)
{
	const bool integers = !format_is_float(c->format);
	float w[ATTENTION_BLOCK], minus_zero[ATTENTION_BLOCK];
	memset(row, 0, c->d * sizeof *row);
	for (size_t i = 0; i < n; i++) {
		const size_t at = cache_at(c, i);
		const float *v = c->vals->f + at * c->d;
		w[i] = integers ? e[i] * c->vals->scales[at] : e[i];
		minus_zero[i] = -c->vals->zeros[at];
		for (size_t j = 0; j < c->d; j++)
			row[j] = fmaf(w[i], v[j], row[j]);
	}
	if (!c->format.zero)
		return;
	const float z = sum16_product(w, minus_zero, n);
	for (size_t j = 0; j < c->d; j++)
		row[j] = row[j] + z;
}

/* Attention over positions [skip, n) from the start of a block, those in front of them with an e of
 * 0: maximum, sum of e, row of e * v. */
static float
attention_block(const HeadCache *c, const Query *q, size_t skip, size_t n, float *sum, float *row)
{
	float e[ATTENTION_BLOCK] = {0};
	float scale = (float)(1.0 / sqrt((double)c->d));
	for (size_t i = skip; i < n; i++)
		e[i] = cache_dot(c, q, i) * scale;
	float m = max16(e + skip, n - skip, -INFINITY, itself);
	for (size_t i = skip; i < n; i++)
		e[i] = contract_exp(e[i] - m);
	cache_weigh(c, e, n, row);
	*sum = sum16(e, n);
	return m;
}

/* One query over positions [begin, end), which it sees; row is scratch. */
static void
attention_query(HeadCache c, const Query *q, size_t begin, size_t end, float *row, float *total)
{
	float sum = 0.0f;
	float max = 0.0f;
	c.position = begin / ATTENTION_BLOCK * ATTENTION_BLOCK;
	for (bool first = true; c.position < end; first = false) {
		const size_t left = end - c.position, skip = first ? begin - c.position : 0;
		size_t n = left < ATTENTION_BLOCK ? left : ATTENTION_BLOCK;
		float l;
		float m = attention_block(&c, q, skip, n, &l, row);
		if (first) {
			max = m;
			sum = l;
			memcpy(total, row, c.d * sizeof *row);
		} else {
			float top = max2(max, m);
			float a = contract_exp(max - top);
			float b = contract_exp(m - top);
			sum = fmaf(sum, a, l * b);
			for (size_t j = 0; j < c.d; j++)
				total[j] = fmaf(total[j], a, row[j] * b);
			max = top;
		}
		c.position += n;
	}
	float r = contract_rcp(sum);
	for (size_t j = 0; j < c.d; j++)
		total[j] = total[j] * r;
}

static void
attention_head(Step *s, uint32_t head, uint8_t *scratch)
{
	const Value *v = s->value;
	const Graph *g = s->interp->graph;
	const size_t d = v->width / v->heads;
	const Format query = graph_query(g, s->func->layer);
	const HeadCache c = {.format = graph_kv(g, s->func->layer),
			     .keys = step_keys(s),
			     .vals = step_vals(s),
			     .d = d,
			     .heads = v->kv_heads,
			     .head = head / (v->heads / v->kv_heads)};
	float *row = (float *)(void *)scratch;
	Query q = {.hi = (int16_t *)(row + d), .lo = (int16_t *)(row + d) + d, .bits = query.bits};
	for (int t = 0; t < s->n; t++) {
		const size_t at = (size_t)t * v->width + head * d;
		q.row = s->in[0]->f + at;
		if (!format_is_float(query))
			interp_quantize(query, q.row, d, q.hi, q.lo, &q.scale, &q.zero);
		attention_query(c, &q, step_first(s, t), (size_t)(s->past + t) + 1, row,
				s->out->f + at);
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
	[OP_RMSNORM_HEADS] = contract_rmsnorm,
	[OP_GAIN_HEADS] = contract_gain,
	[OP_TRANSFORM] = interp_contract_transform,
	[OP_QUANTIZE] = contract_quantize,
	[OP_TILE] = step_same,
	[OP_LINEAR] = interp_contract_linear,
	[OP_ROPE] = contract_rope,
	[OP_KV_APPEND] = contract_kv_append,
	[OP_ATTENTION] = contract_attention,
	[OP_SILU_MUL] = contract_silu_mul,
	[OP_GELU_MUL] = contract_gelu_mul,
	[OP_ROUTE] = contract_routes,
	[OP_WEIGH] = contract_weigh,
	[OP_SIGMOID_MUL] = contract_sigmoid_mul,
	[OP_ADD] = contract_add,
};
