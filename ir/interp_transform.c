/* Transforms of the bit contract (ir/README.md): the order of rounding of each kind. */
#include <math.h>
#include <string.h>

#include "interp_impl.h"
#include "real.h"

static void transform_float(const Transform *t, float *x, float *work);

/* fma(v, x, p) over 16 strided partial sums. */
static float
sum16_vector(const double *v, const float *x, uint32_t n)
{
	float p[16] = {0};
	for (uint32_t i = 0; i < n; i++)
		p[i % 16] = fmaf((float)v[i], x[i], p[i % 16]);
	return contract_tree(p);
}

static void
householder(const Transform *t, float *x)
{
	double square = 0;
	for (uint32_t i = 0; i < t->n; i++)
		square += t->vector[i] * t->vector[i];
	const float f = sum16_vector(t->vector, x, t->n) * (float)(2.0 / square);
	for (uint32_t i = 0; i < t->n; i++)
		x[i] = fmaf(-f, (float)t->vector[i], x[i]);
}

static void
matrix(const Transform *t, float *x, float *work)
{
	for (uint32_t i = 0; i < t->n; i++) {
		work[i] = 0;
		for (uint32_t k = 0; k < t->n; k++)
			work[i] = fmaf((float)t->matrix[(size_t)i * t->n + k], x[k], work[i]);
	}
	memcpy(x, work, t->n * sizeof *x);
}

/* As rope. */
static void
rotate(float *x, uint32_t i, uint32_t j, double angle)
{
	double sine, cosine;
	real_sincos(angle, &sine, &cosine);
	const float s = (float)sine, c = (float)cosine, a = x[i], b = x[j];
	x[i] = fmaf(a, c, -(b * s));
	x[j] = fmaf(a, s, b * c);
}

/* On the row viewed as [left][order][right] each child, the last first, acts on the middle. */
static void
kronecker(const Transform *t, float *x, float *work)
{
	uint32_t right = 1;
	for (uint32_t i = t->n_children; i-- > 0;) {
		const Transform *c = t->children[i];
		const uint32_t span = right * c->n;
		float *column = work, *rest = work + c->n;
		for (uint32_t at = 0; at < t->n; at += span)
			for (uint32_t r = 0; r < right; r++) {
				for (uint32_t k = 0; k < c->n; k++)
					column[k] = x[at + k * right + r];
				transform_float(c, column, rest);
				for (uint32_t k = 0; k < c->n; k++)
					x[at + k * right + r] = column[k];
			}
		right = span;
	}
}

/* x in place, both with room for the longest row on the way, n; work: 2 n floats and more by the
 * depth of Kronecker products, at most 4 n. */
static void
transform_float(const Transform *t, float *x, float *work)
{
	switch ((TransformKind)t->kind) {
	case T_IDENTITY:
		return;
	case T_HADAMARD:
		hadamard_run_float(t->program, t->n, x, 1);
		return;
	case T_PERM:
		memcpy(work, x, t->n * sizeof *x);
		for (uint32_t k = 0; k < t->n; k++)
			x[k] = work[t->perm[k]];
		return;
	case T_SIGNS:
	case T_DIAGONAL:
		for (uint32_t k = 0; k < t->n; k++)
			x[k] = x[k] * (float)t->vector[k];
		return;
	case T_SCALAR:
		for (uint32_t k = 0; k < t->n; k++)
			x[k] = x[k] * (float)t->scalar;
		return;
	case T_ORTHOGONAL:
	case T_MATRIX:
		matrix(t, x, work);
		return;
	case T_HOUSEHOLDER:
		householder(t, x);
		return;
	case T_GIVENS:
		rotate(x, t->i, t->j, t->scalar);
		return;
	case T_SO2:
		for (uint32_t k = 0; k < t->n / 2; k++)
			rotate(x, k, k + t->n / 2, t->vector[k]);
		return;
	case T_PRODUCT:
		for (uint32_t i = t->n_children; i-- > 0;)
			transform_float(t->children[i], x, work);
		return;
	case T_KRONECKER:
		kronecker(t, x, work);
		return;
	case T_BLOCK:
		for (uint32_t at = 0; at < t->n; at += t->children[0]->n)
			transform_float(t->children[0], x + at, work);
		return;
	case T_SUM:
		for (uint32_t i = 0, at = 0; i < t->n_children; at += t->children[i++]->n)
			transform_float(t->children[i], x + at, work);
		return;
	case T_PAD:
		if (t->n_out > t->n)
			memset(x + t->n, 0, (t->n_out - t->n) * sizeof *x);
		return;
	default:
		BUG("transform kind %d has no contract", t->kind);
	}
}

void
interp_contract_transform(Step *s)
{
	const Transform *t = s->value->transform;
	const size_t span = transform_span(t);
	Arena *scratch = arena_new();
	float *row = ARENA_ARRAY(scratch, float, span),
	      *work = ARENA_ARRAY(scratch, float, 4 * span);
	for (size_t m = 0; m < (size_t)s->n; m++) {
		memcpy(row, s->in[0]->f + m * t->n, t->n * sizeof *row);
		transform_float(t, row, work);
		memcpy(s->out->f + m * t->n_out, row, t->n_out * sizeof *row);
	}
	arena_free(scratch);
}
