/*
 * The meaning of the ops in double precision, on the weights as compiled. Quantization of
 * activations and of the cache is the identity: what is left between this and the contract is
 * rounding.
 */
#include <math.h>
#include <string.h>

#include "interp_impl.h"
#include "wide.h"

/* A weight row in double. */
static void
weights_double(const Step *step, uint32_t row, TaskScratch *s)
{
	const Format f = step_weight_format(step);
	int k = (int)step->source.columns;
	if (step->interp->exact) {
		weight_source_row_exact(&step->source, row, &s->row);
		memcpy(s->weights, s->row.exact, (size_t)k * sizeof *s->weights);
		return;
	}
	weight_source_row(&step->source, row, f, &s->row);
	weight_row_values(&s->row, f, k, s->weights);
}

static double
dot(const double *a, const double *b, size_t n)
{
	double p[8] = {0};
	size_t i = 0;
	for (; i + 8 <= n; i += 8)
		for (size_t j = 0; j < 8; j++)
			p[j] += a[i + j] * b[i + j];
	for (; i < n; i++)
		p[0] += a[i] * b[i];
	return ((p[0] + p[4]) + (p[1] + p[5])) + ((p[2] + p[6]) + (p[3] + p[7]));
}

enum { DOT_ROWS = 4 };

/* Dot products of w with DOT_ROWS rows of x, each summed as dot() does. */
WIDE_BODY void
dots_body(const double *w, const double *const *x, size_t n, double *sums)
{
	double p[DOT_ROWS][8] = {{0}};
	size_t i = 0;
	for (; i + 8 <= n; i += 8)
		for (int r = 0; r < DOT_ROWS; r++)
			for (size_t j = 0; j < 8; j++)
				p[r][j] += w[i + j] * x[r][i + j];
	for (; i < n; i++)
		for (int r = 0; r < DOT_ROWS; r++)
			p[r][0] += w[i] * x[r][i];
	for (int r = 0; r < DOT_ROWS; r++)
		sums[r] = ((p[r][0] + p[r][4]) + (p[r][1] + p[r][5])) +
			  ((p[r][2] + p[r][6]) + (p[r][3] + p[r][7]));
}

WIDE(static, dots, (const double *w, const double *const *x, size_t n, double *sums),
     (w, x, n, sums))

static void
double_embed(Step *s)
{
	TaskScratch *scratch = &s->interp->tasks[0];
	const size_t columns = s->source.columns;
	for (int m = 0; m < s->n; m++) {
		weights_double(s, (uint32_t)s->tokens[m], scratch);
		memcpy(s->out->d + (size_t)m * columns, scratch->weights, columns * sizeof(double));
	}
	for (size_t i = 0; i < (size_t)s->n * columns && s->value->factor != 0; i++)
		s->out->d[i] *= (double)s->value->factor;
}

/* Rows, or heads of rows. */
static void
double_rmsnorm(Step *s)
{
	const size_t d = step_run(s), runs = (size_t)s->n * s->value->width / d;
	for (size_t h = 0; h < runs; h++) {
		const double *x = s->in[0]->d + h * d;
		double *y = s->out->d + h * d;
		double r = 1.0 / sqrt(dot(x, x, d) / (double)d + (double)s->value->eps);
		for (size_t i = 0; i < d; i++)
			y[i] = x[i] * r;
	}
}

static void
double_gain(Step *s)
{
	const size_t d = step_run(s), runs = (size_t)s->n * s->value->width / d;
	TaskScratch *scratch = &s->interp->tasks[0];
	weights_double(s, 0, scratch);
	for (size_t h = 0; h < runs; h++)
		for (size_t i = 0; i < d; i++)
			s->out->d[h * d + i] = s->in[0]->d[h * d + i] * scratch->weights[i];
}

static void
double_bias(Step *s)
{
	size_t width = s->value->width;
	TaskScratch *scratch = &s->interp->tasks[0];
	weights_double(s, 0, scratch);
	for (int m = 0; m < s->n; m++)
		for (size_t i = 0; i < width; i++)
			s->out->d[(size_t)m * width + i] =
				s->in[0]->d[(size_t)m * width + i] + scratch->weights[i];
}

static void
double_transform(Step *s)
{
	const Transform *t = s->value->transform;
	double *row = s->interp->tasks[0].row.exact, *work = s->interp->tasks[0].weights;
	for (size_t m = 0; m < (size_t)s->n; m++) {
		memcpy(row, s->in[0]->d + m * t->n, t->n * sizeof *row);
		transform_apply(t, row, work);
		memcpy(s->out->d + m * t->n_out, row, t->n_out * sizeof *row);
	}
}

static void
linear_rows(Step *s, TaskScratch *scratch, uint32_t first, uint32_t end)
{
	size_t k = s->source.columns;
	for (uint32_t row = first; row < end; row++) {
		weights_double(s, row, scratch);
		for (int m = 0; m < s->n; m += DOT_ROWS) {
			const int some = s->n - m < DOT_ROWS ? s->n - m : DOT_ROWS;
			const double *x[DOT_ROWS];
			double sums[DOT_ROWS];
			for (int r = 0; r < DOT_ROWS; r++)
				x[r] = s->in[0]->d + (size_t)(m + (r < some ? r : 0)) * k;
			dots(scratch->weights, x, k, sums);
			for (int r = 0; r < some; r++)
				s->out->d[(size_t)(m + r) * s->source.rows + row] = sums[r];
		}
	}
}

static void
double_linear(Step *s)
{
	step_parallel_rows(s, linear_rows);
}

static void
double_rope(Step *s)
{
	size_t d = s->value->width / s->value->heads;
	size_t half = d / 2;
	for (int m = 0; m < s->n; m++) {
		const double *c = s->interp->cos_d + step_rope(s, m);
		const double *n = s->interp->sin_d + step_rope(s, m);
		for (uint32_t h = 0; h < s->value->heads; h++) {
			size_t at = (size_t)m * s->value->width + h * d;
			const double *x = s->in[0]->d + at;
			double *y = s->out->d + at;
			for (size_t i = 0; i < half; i++) {
				y[i] = x[i] * c[i] - x[i + half] * n[i];
				y[i + half] = x[i] * n[i] + x[i + half] * c[i];
			}
		}
	}
}

static void
attention_head(Step *s, uint32_t head, uint8_t *scratch)
{
	const Value *v = s->value;
	size_t d = v->width / v->heads;
	size_t kv_width = d * v->kv_heads;
	size_t kv_at = head / (v->heads / v->kv_heads) * d;
	const double *keys = step_keys(s)->d + kv_at;
	const double *vals = step_vals(s)->d + kv_at;
	double *e = (double *)(void *)scratch;
	for (int m = 0; m < s->n; m++) {
		size_t count = (size_t)(s->past + m) + 1;
		const double *q = s->in[0]->d + (size_t)m * v->width + head * d;
		double *o = s->out->d + (size_t)m * v->width + head * d;
		const size_t first = step_first(s, m);
		double max = -INFINITY;
		double sum = 0.0;
		for (size_t i = first; i < count; i++) {
			e[i] = dot(q, keys + i * kv_width, d) / sqrt((double)d);
			max = e[i] > max ? e[i] : max;
		}
		memset(o, 0, d * sizeof *o);
		for (size_t i = first; i < count; i++) {
			double w = exp(e[i] - max);
			sum += w;
			for (size_t j = 0; j < d; j++)
				o[j] += w * vals[i * kv_width + j];
		}
		for (size_t j = 0; j < d; j++)
			o[j] /= sum;
	}
}

static void
double_attention(Step *s)
{
	step_parallel_heads(s, attention_head);
}

static void
double_kv_append(Step *s)
{
	size_t width = s->interp->graph->model->kv_width;
	size_t at = (size_t)s->past * width;
	size_t bytes = (size_t)s->n * width * sizeof(double);
	memcpy(step_keys(s)->d + at, s->in[0]->d, bytes);
	memcpy(step_vals(s)->d + at, s->in[1]->d, bytes);
}

static void
double_silu_mul(Step *s)
{
	size_t n = (size_t)s->n * s->value->width;
	for (size_t i = 0; i < n; i++) {
		double x = s->in[0]->d[i];
		s->out->d[i] = x / (1.0 + exp(-x)) * s->in[1]->d[i];
	}
}

static void
double_gelu_mul(Step *s)
{
	const double root = sqrt(2 / acos(-1.0));
	size_t n = (size_t)s->n * s->value->width;
	for (size_t i = 0; i < n; i++) {
		const double x = s->in[0]->d[i];
		const double t = tanh(root * (x + 0.044715 * x * x * x));
		s->out->d[i] = 0.5 * x * (1 + t) * s->in[1]->d[i];
	}
}

static void
double_add(Step *s)
{
	size_t n = (size_t)s->n * s->value->width;
	for (size_t i = 0; i < n; i++)
		s->out->d[i] = s->in[0]->d[i] + s->in[1]->d[i];
}

/* The number of the largest logit that no slot in front has. */
static size_t
next_expert(const double *logits, size_t n, const double *taken, size_t n_taken)
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

static void
double_route(Step *s)
{
	const size_t n = s->interp->graph->model->n_expert, used = s->value->used;
	for (int m = 0; m < s->n; m++) {
		const double *x = s->in[0]->d + (size_t)m * n;
		double *weights = s->out->d + (size_t)m * 2 * used, *experts = weights + used;
		double sum = 0;
		for (size_t k = 0; k < used; k++) {
			experts[k] = (double)next_expert(x, n, experts, k);
			weights[k] = exp(x[(size_t)experts[k]] - x[(size_t)experts[0]]);
		}
		for (size_t k = 0; k < used && s->value->norm; k++)
			sum += weights[k];
		for (size_t i = 0; i < n && !s->value->norm; i++)
			sum += exp(x[i] - x[(size_t)experts[0]]);
		for (size_t k = 0; k < used; k++)
			weights[k] /= sum;
	}
}

static void
double_weigh(Step *s)
{
	const size_t width = s->value->width;
	const Value *route = func_value(s->func, s->value->operands[1]);
	for (int m = 0; m < s->n; m++)
		for (size_t i = 0; i < width; i++)
			s->out->d[(size_t)m * width + i] =
				s->in[0]->d[(size_t)m * width + i] *
				s->in[1]->d[(size_t)m * route->width + s->value->slot];
}

static void
double_sigmoid_mul(Step *s)
{
	const size_t width = s->value->width;
	for (int m = 0; m < s->n; m++)
		for (size_t i = 0; i < width; i++)
			s->out->d[(size_t)m * width + i] =
				s->in[0]->d[(size_t)m * width + i] / (1.0 + exp(-s->in[1]->d[m]));
}

const StepFn interp_double_ops[OP_COUNT] = {
	[OP_EMBED] = double_embed,
	[OP_RMSNORM] = double_rmsnorm,
	[OP_GAIN] = double_gain,
	[OP_BIAS] = double_bias,
	[OP_RMSNORM_HEADS] = double_rmsnorm,
	[OP_GAIN_HEADS] = double_gain,
	[OP_TRANSFORM] = double_transform,
	[OP_QUANTIZE] = step_same,
	[OP_TILE] = step_same,
	[OP_KV_APPEND] = double_kv_append,
	[OP_LINEAR] = double_linear,
	[OP_ROPE] = double_rope,
	[OP_ATTENTION] = double_attention,
	[OP_SILU_MUL] = double_silu_mul,
	[OP_GELU_MUL] = double_gelu_mul,
	[OP_ROUTE] = double_route,
	[OP_WEIGH] = double_weigh,
	[OP_SIGMOID_MUL] = double_sigmoid_mul,
	[OP_ADD] = double_add,
};
