/* Transforms: the table of kinds, constructors with their checks, inverse and transpose. */
#include "transform.h"

#include <math.h>
#include <string.h>

#include "dense.h"
#include "transform_impl.h"

const TransformInfo transform_table[TRANSFORM_KINDS] = {
#define TRANSFORM(e, text, key, children, data, what) [e] = {text, key, what, children, data},
#include "transforms.def"
};

/* ---- making ------------------------------------------------------------------------------- */

const Transform *
transform_new(Arena *a, Transform t)
{
	Transform *copy = ARENA_NEW(a, Transform);
	*copy = t;
	copy->n_out = t.n_out ? t.n_out : t.n;
	return copy;
}

static bool
order_fits(Arena *a, uint64_t n, const char **why)
{
	if (n && n <= TRANSFORM_ORDER_MAX)
		return true;
	*why = arena_printf(a, "an order is 1 to %d, not %llu", TRANSFORM_ORDER_MAX,
			    (unsigned long long)n);
	return false;
}

static double *
doubles_copy(Arena *a, const double *from, size_t n)
{
	double *copy = ARENA_ARRAY(a, double, n);
	memcpy(copy, from, n * sizeof *copy);
	return copy;
}

const Transform *
transform_identity(Arena *a, uint32_t n)
{
	INVARIANT(n);
	return transform_new(a, (Transform){.kind = T_IDENTITY, .n = n});
}

const Transform *
transform_hadamard(Arena *a, uint32_t n, const Base *base, const char **why)
{
	uint32_t runs = n / base->order;
	if (!order_fits(a, n, why))
		return NULL;
	if (n % base->order || (runs & (runs - 1))) {
		*why = arena_printf(a, "order %u is not a power of two times the base order %u", n,
				    base->order);
		return NULL;
	}
	return transform_new(a, (Transform){.kind = T_HADAMARD,
					    .n = n,
					    .base = base,
					    .program = base_program(a, base, false)});
}

const Transform *
transform_perm(Arena *a, uint32_t n, const uint32_t *perm, const char **why)
{
	if (!order_fits(a, n, why))
		return NULL;
	uint32_t *copy = ARENA_ARRAY(a, uint32_t, n), *seen = ARENA_ARRAY(a, uint32_t, n);
	for (uint32_t k = 0; k < n; k++) {
		copy[k] = perm[k];
		if (perm[k] >= n) {
			*why = arena_printf(a, "element %u of the permutation is %u, its order %u",
					    k, perm[k], n);
			return NULL;
		}
		if (seen[perm[k]]) {
			*why = arena_printf(
				a, "the permutation uses the index %u twice, in elements %u and %u",
				perm[k], seen[perm[k]] - 1, k);
			return NULL;
		}
		seen[perm[k]] = k + 1;
	}
	return transform_new(a, (Transform){.kind = T_PERM, .n = n, .perm = copy});
}

/* Angles that real_sincos takes. */
static bool
angle_fits(double x)
{
	return fabs(x) <= 0x1p24;
}

/* What is wrong with element k of a vector, or null. */
static const char *
element_check(TransformKind kind, double x)
{
	if (!isfinite(x))
		return "is not finite";
	switch (kind) {
	case T_SIGNS:
		return fabs(x) == 1.0 ? NULL : "is neither 1 nor -1";
	case T_DIAGONAL:
		if (x == 0.0)
			return "is 0: a diagonal with a zero has no inverse";
		return isfinite(1.0 / x) ? NULL : "is too near 0 to be inverted";
	case T_SO2:
		return angle_fits(x) ? NULL : "is an angle above 2^24";
	default:
		return NULL;
	}
}

const Transform *
transform_vector(Arena *a, TransformKind kind, uint32_t n, const double *v, const char **why)
{
	if (!order_fits(a, n, why))
		return NULL;
	if (kind == T_SO2 && n % 2) {
		*why = arena_printf(a, "rotations of pairs need an even order, not %u", n);
		return NULL;
	}
	uint32_t count = kind == T_SO2 ? n / 2 : n;
	double square = 0.0;
	for (uint32_t k = 0; k < count; k++) {
		const char *wrong = element_check(kind, v[k]);
		if (wrong) {
			*why = arena_printf(a, "element %u of the %s %s", k,
					    transform_table[kind].key, wrong);
			return NULL;
		}
		square += v[k] * v[k];
	}
	if (kind == T_HOUSEHOLDER && !(square >= 0x1p-900 && square <= 0x1p900)) {
		*why = square == 0.0 ? "a householder vector of zeros reflects nothing"
				     : "the householder vector's length is out of range";
		return NULL;
	}
	return transform_new(
		a, (Transform){.kind = (uint8_t)kind, .n = n, .vector = doubles_copy(a, v, count)});
}

const Transform *
transform_matrix(Arena *a, TransformKind kind, uint32_t n, const double *m, const char **why)
{
	static const double DRIFT_MAX = 1e-3, CONDITION_MAX = 1e10;
	if (!n || n > TRANSFORM_MATRIX_MAX) {
		*why = arena_printf(a, "a stored matrix has an order of 1 to %d, not %u",
				    TRANSFORM_MATRIX_MAX, n);
		return NULL;
	}
	for (size_t i = 0; i < (size_t)n * n; i++)
		if (!isfinite(m[i])) {
			*why = arena_printf(a, "element %zu, %zu of the matrix is not finite",
					    i / n, i % n);
			return NULL;
		}
	Transform t = {.kind = (uint8_t)kind, .n = n};
	double *copy = doubles_copy(a, m, (size_t)n * n);
	t.matrix = copy;
	if (kind == T_ORTHOGONAL) {
		bool ok;
		t.drift = dense_polar(n, copy, DRIFT_MAX, &ok);
		if (!ok) {
			*why = arena_printf(a,
					    "the matrix is not orthogonal: the largest element of "
					    "|Q^T Q - I| is %.3g, above %.0e",
					    t.drift, DRIFT_MAX);
			return NULL;
		}
	} else {
		double *inverse = ARENA_ARRAY(a, double, (size_t)n *n);
		double condition = dense_invert(n, m, inverse);
		t.inverse = inverse;
		if (!(condition <= CONDITION_MAX)) {
			*why = isinf(condition)
				       ? "the matrix has no inverse"
				       : arena_printf(a,
						      "the matrix is too near to one without an "
						      "inverse: condition number %.3g, above %.0e",
						      condition, CONDITION_MAX);
			return NULL;
		}
	}
	return transform_new(a, t);
}

const Transform *
transform_givens(Arena *a, uint32_t n, uint32_t i, uint32_t j, double angle, const char **why)
{
	if (!order_fits(a, n, why))
		return NULL;
	if (i >= n || j >= n || i == j) {
		*why = arena_printf(
			a, "a plane needs two different elements below %u, not %u and %u", n, i, j);
		return NULL;
	}
	if (!angle_fits(angle)) {
		*why = "the angle is not finite or above 2^24";
		return NULL;
	}
	return transform_new(
		a, (Transform){.kind = T_GIVENS, .n = n, .i = i, .j = j, .scalar = angle});
}

const Transform *
transform_scalar(Arena *a, uint32_t n, double c, const char **why)
{
	if (!order_fits(a, n, why))
		return NULL;
	if (!isfinite(c) || c == 0.0 || !isfinite(1.0 / c)) {
		*why = "a scalar must be finite and not 0, its inverse too";
		return NULL;
	}
	return transform_new(a, (Transform){.kind = T_SCALAR, .n = n, .scalar = c});
}

const Transform *
transform_join(Arena *a, TransformKind kind, const Transform *const *children, uint32_t count)
{
	const Transform **copy = ARENA_ARRAY(a, const Transform *, count);
	uint64_t n = kind == T_KRONECKER;
	for (uint32_t i = 0; i < count; i++) {
		copy[i] = children[i];
		n = kind == T_KRONECKER ? n * children[i]->n : n + children[i]->n;
	}
	Transform t = {.kind = (uint8_t)kind, .children = copy, .n_children = count};
	t.n = kind == T_PRODUCT ? children[count - 1]->n : (uint32_t)n;
	t.n_out = kind == T_PRODUCT ? children[0]->n_out : (uint32_t)n;
	return transform_new(a, t);
}

static bool
pads(const Transform *t)
{
	return t->n != t->n_out || t->n != transform_span(t);
}

const Transform *
transform_compose(Arena *a, TransformKind kind, const Transform *const *children, uint32_t count,
		  const char **why)
{
	uint64_t n = kind == T_KRONECKER;
	INVARIANT(kind == T_PRODUCT || kind == T_KRONECKER || kind == T_SUM);
	if (!count) {
		*why = arena_printf(a, "a %s of nothing", transform_table[kind].key);
		return NULL;
	}
	for (uint32_t i = 0; i < count; i++) {
		const Transform *c = children[i];
		if (kind == T_PRODUCT) {
			if (i && children[i - 1]->n != c->n_out) {
				*why = arena_printf(a,
						    "factor %u of the product reads %u elements, "
						    "the next one writes %u",
						    i - 1, children[i - 1]->n, c->n_out);
				return NULL;
			}
			continue;
		}
		if (pads(c)) {
			*why = arena_printf(a, "only a product may pad, not a part of a %s",
					    transform_table[kind].key);
			return NULL;
		}
		n = kind == T_KRONECKER ? n * c->n : n + c->n;
		if (!order_fits(a, n, why))
			return NULL;
	}
	return count == 1 ? children[0] : transform_join(a, kind, children, count);
}

const Transform *
transform_repeat(Arena *a, const Transform *child, uint32_t n)
{
	const Transform **children = ARENA_ARRAY(a, const Transform *, 1);
	children[0] = child;
	return transform_new(
		a, (Transform){.kind = T_BLOCK, .n = n, .children = children, .n_children = 1});
}

const Transform *
transform_block(Arena *a, const Transform *child, uint32_t n, const char **why)
{
	if (!order_fits(a, n, why))
		return NULL;
	if (pads(child)) {
		*why = "only a product may pad, not a block";
		return NULL;
	}
	if (n % child->n) {
		*why = arena_printf(a, "blocks of %u do not divide %u", child->n, n);
		return NULL;
	}
	return transform_repeat(a, child, n);
}

const Transform *
transform_pad(Arena *a, uint32_t n, uint32_t n_out, const char **why)
{
	if (!order_fits(a, n, why) || !order_fits(a, n_out, why))
		return NULL;
	if (n_out <= n) {
		*why = arena_printf(a, "padding %u elements to %u adds none", n, n_out);
		return NULL;
	}
	return transform_new(a, (Transform){.kind = T_PAD, .n = n, .n_out = n_out});
}

/* ---- inverse and transpose ---------------------------------------------------------------- */

static const Transform *
rewrite_self(Arena *a, const Transform *t)
{
	(void)a;
	return t;
}

static const Transform *
rewrite_hadamard(Arena *a, const Transform *t)
{
	Transform r = *t;
	if (t->base->symmetric)
		return t;
	r.name = NULL;
	r.transposed = !t->transposed;
	r.program = t->other_program ? t->other_program : base_program(a, t->base, r.transposed);
	r.other_program = t->program;
	return transform_new(a, r);
}

static const Transform *
rewrite_perm(Arena *a, const Transform *t)
{
	uint32_t *perm = ARENA_ARRAY(a, uint32_t, t->n);
	for (uint32_t k = 0; k < t->n; k++)
		perm[t->perm[k]] = k;
	return transform_new(a, (Transform){.kind = T_PERM, .n = t->n, .perm = perm});
}

static const Transform *
invert_diagonal(Arena *a, const Transform *t)
{
	double *v = ARENA_ARRAY(a, double, t->n);
	for (uint32_t k = 0; k < t->n; k++)
		v[k] = 1.0 / t->vector[k];
	return transform_new(a, (Transform){.kind = t->kind, .n = t->n, .vector = v});
}

static const double *
matrix_transpose(Arena *a, uint32_t n, const double *m)
{
	double *r = ARENA_ARRAY(a, double, (size_t)n *n);
	for (size_t i = 0; i < n; i++)
		for (size_t j = 0; j < n; j++)
			r[j * n + i] = m[i * n + j];
	return r;
}

static const Transform *
rewrite_matrix(Arena *a, const Transform *t)
{
	Transform r = *t;
	r.name = NULL;
	r.matrix = matrix_transpose(a, t->n, t->matrix);
	if (t->inverse)
		r.inverse = matrix_transpose(a, t->n, t->inverse);
	return transform_new(a, r);
}

static const Transform *
invert_matrix(Arena *a, const Transform *t)
{
	Transform r = *t;
	r.name = NULL;
	r.matrix = t->inverse;
	r.inverse = t->matrix;
	return transform_new(a, r);
}

static const Transform *
rewrite_givens(Arena *a, const Transform *t)
{
	Transform r = *t;
	r.name = NULL;
	r.scalar = -t->scalar;
	return transform_new(a, r);
}

static const Transform *
rewrite_so2(Arena *a, const Transform *t)
{
	double *v = ARENA_ARRAY(a, double, t->n / 2);
	for (uint32_t k = 0; k < t->n / 2; k++)
		v[k] = -t->vector[k];
	return transform_new(a, (Transform){.kind = T_SO2, .n = t->n, .vector = v});
}

static const Transform *
invert_scalar(Arena *a, const Transform *t)
{
	return transform_new(a,
			     (Transform){.kind = T_SCALAR, .n = t->n, .scalar = 1.0 / t->scalar});
}

static const Transform *
rewrite_pad(Arena *a, const Transform *t)
{
	return transform_new(a, (Transform){.kind = T_PAD,
					    .n = t->n_out,
					    .n_out = t->n,
					    .transposed = !t->transposed});
}

/* Children rewritten, the factors of a product in the opposite order. */
static const Transform *
rewrite_children(Arena *a, const Transform *t, const Transform *(*f)(Arena *, const Transform *))
{
	const Transform **children = ARENA_ARRAY(a, const Transform *, t->n_children);
	for (uint32_t i = 0; i < t->n_children; i++)
		children[t->kind == T_PRODUCT ? t->n_children - 1 - i : i] = f(a, t->children[i]);
	Transform r = *t;
	r.name = NULL;
	r.children = children;
	r.n = t->n_out;
	r.n_out = t->n;
	return transform_new(a, r);
}

static const Transform *
invert_children(Arena *a, const Transform *t)
{
	return rewrite_children(a, t, transform_inverse);
}

static const Transform *
transpose_children(Arena *a, const Transform *t)
{
	return rewrite_children(a, t, transform_transpose);
}

const Transform *
transform_inverse(Arena *a, const Transform *t)
{
	return transform_ops[t->kind].inverse(a, t);
}

const Transform *
transform_transpose(Arena *a, const Transform *t)
{
	return transform_ops[t->kind].transpose(a, t);
}

/* INVERSE and TRANSPOSE are only ever text: they have no row. */
#define ROW(name, invert, transpose, form)                                         \
	{                                                                          \
		transform_facts_##name, transform_apply_##name, invert, transpose, \
			transform_normalise_##form                                 \
	}
const TransformOps transform_ops[TRANSFORM_KINDS] = {
	[T_IDENTITY] = ROW(identity, rewrite_self, rewrite_self, leaf),
	[T_HADAMARD] = ROW(hadamard, rewrite_hadamard, rewrite_hadamard, leaf),
	[T_PERM] = ROW(perm, rewrite_perm, rewrite_perm, leaf),
	[T_SIGNS] = ROW(diagonal, rewrite_self, rewrite_self, leaf),
	[T_DIAGONAL] = ROW(diagonal, invert_diagonal, rewrite_self, leaf),
	[T_ORTHOGONAL] = ROW(matrix, rewrite_matrix, rewrite_matrix, leaf),
	[T_MATRIX] = ROW(matrix, invert_matrix, rewrite_matrix, leaf),
	[T_HOUSEHOLDER] = ROW(householder, rewrite_self, rewrite_self, leaf),
	[T_GIVENS] = ROW(givens, rewrite_givens, rewrite_givens, leaf),
	[T_SO2] = ROW(so2, rewrite_so2, rewrite_so2, leaf),
	[T_SCALAR] = ROW(scalar, invert_scalar, rewrite_self, leaf),
	[T_PRODUCT] = ROW(product, invert_children, transpose_children, product),
	[T_KRONECKER] = ROW(kronecker, invert_children, transpose_children, kronecker),
	[T_BLOCK] = ROW(block, invert_children, transpose_children, block),
	[T_SUM] = ROW(sum, invert_children, transpose_children, sum),
	[T_PAD] = ROW(pad, rewrite_pad, rewrite_pad, leaf),
};
#undef ROW
