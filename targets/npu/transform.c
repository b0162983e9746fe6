/*
 * Transforms as operations, one row of a table a kind. What mixes few elements is a product with a
 * constant matrix on the row cut into runs; long rows go through several such products, by the
 * factors of a Kronecker product.
 */
#include "../../ir/real.h"
#include "npu.h"

#include <math.h>
#include <string.h>

enum {
	BLOCK_MOST = 128, /* order of a matrix that stands for a structured transform */
	FACTORS_MOST = 8,
};

static Wire apply(Net *n, Wire x, const Transform *t);

/* ---- shapes ------------------------------------------------------------------------------- */

/* x [batch, ..., n] as [batch, runs, of] or, with right > 1, [batch, runs, of, right]. */
static Wire
cut(Net *n, Wire x, int64_t of, int64_t right)
{
	if (right > 1)
		return net_reshape(n, x, SHAPE(0, SHAPE_ANY, of, right));
	const Shape s = wire_shape(n, x);
	return s.dims[s.rank - 1] == of ? x : net_reshape(n, x, SHAPE(0, SHAPE_ANY, of));
}

/* x in the shape of `like`, whose dimensions behind the first two are fixed. */
static Wire
uncut(Net *n, Wire x, Wire like)
{
	Shape s = wire_shape(n, like);
	if (shape_equal(s, wire_shape(n, x)))
		return x;
	s.dims[0] = 0;
	s.dims[1] = SHAPE_ANY;
	return net_reshape(n, x, s);
}

/* ---- constants ---------------------------------------------------------------------------- */

/* x times m [order][order]^T, on the last dimension. */
static Wire
by_matrix(Net *n, Wire x, uint32_t order, const double *m)
{
	Arena *a = arena_new();
	const float *f = arena_floats(a, m, (size_t)order * order);
	const Wire y = net_matmul(n, x, net_f32(n, SHAPE(order, order), f), true);
	arena_free(a);
	return y;
}

static Wire
by_vector(Net *n, Operation op, Wire x, uint32_t order, const double *v)
{
	Arena *a = arena_new();
	const Wire y = net_binary(n, op, x, net_f32(n, SHAPE(order), arena_floats(a, v, order)));
	arena_free(a);
	return y;
}

/* y[k] = x[from[k]], of the last dimension. */
static Wire
by_index(Net *n, Wire x, uint32_t order, const uint32_t *from)
{
	Arena *a = arena_new();
	int64_t *indexes = ARENA_ARRAY(a, int64_t, order);
	for (uint32_t i = 0; i < order; i++)
		indexes[i] = from[i];
	const Wire at = net_i64(n, SHAPE(order), indexes);
	const Wire y = net_gather(n, x, at, wire_shape(n, x).rank - 1);
	arena_free(a);
	return y;
}

Wire
npu_with_zeros(Net *n, Wire x, uint32_t width, uint32_t count)
{
	Arena *a = arena_new();
	const int rank = wire_shape(n, x).rank;
	const Wire zeros = net_binary(n, NET_MULTIPLY, x, net_scalar(n, 0.0f, rank));
	Wire *parts = ARENA_ARRAY(a, Wire, count / width + 2);
	int used = 0;
	parts[used++] = x;
	for (uint32_t some; count; count -= some) {
		some = count < width ? count : width;
		parts[used++] = some < width ? net_slice(n, zeros, rank - 1, 0, some) : zeros;
	}
	const Wire y = net_concat(n, parts, used, rank - 1);
	arena_free(a);
	return y;
}

/* ---- kinds -------------------------------------------------------------------------------- */

static Wire
apply_identity(Net *n, Wire x, const Transform *t)
{
	(void)n;
	(void)t;
	return x;
}

/*
 * The factors of a Hadamard transform of order K 2^k, first factor first: the base with some of the
 * twos, then powers of two. Of those with factors up to BLOCK_MOST (the base itself may exceed it)
 * the fewest, and of these the ones with the smallest sum, which is the work of an element. Returns
 * how many.
 */
static int
hadamard_factors(const Transform *t, uint32_t factors[FACTORS_MOST])
{
	int twos = 0, count = 0;
	uint64_t best = UINT64_MAX;
	while (t->n / t->base->order >> twos > 1)
		twos++;
	for (int own = 0; own <= twos; own++)
		for (int parts = 0; parts < FACTORS_MOST && parts <= twos - own; parts++) {
			const uint32_t first = t->base->order << own;
			uint32_t trial[FACTORS_MOST] = {first}, sum = first, most = 0;
			if ((parts == 0) != (own == twos) || (own && first > BLOCK_MOST))
				continue;
			for (int i = 0; i < parts; i++) {
				const int share = (twos - own) / parts + (i < (twos - own) % parts);
				trial[i + 1] = 1u << share;
				sum += 1u << share;
				most = trial[i + 1] > most ? trial[i + 1] : most;
			}
			const uint64_t cost = (uint64_t)(parts + (first > 1)) << 32 | sum;
			if (most > BLOCK_MOST || cost >= best)
				continue;
			best = cost;
			count = parts + 1;
			memcpy(factors, trial, sizeof trial);
		}
	if (count > 1 && factors[0] == 1)
		memmove(factors, factors + 1, sizeof *factors * (size_t)--count);
	return count;
}

/* Factor i of these as a matrix: orthogonal, so that the product is. */
static double *
hadamard_matrix(Arena *a, const Transform *t, uint32_t order, bool with_base)
{
	double *m = ARENA_ARRAY(a, double, (size_t)order *order);
	const uint32_t k = with_base ? t->base->order : 1, twos = order / k;
	for (uint32_t i = 0; i < order; i++)
		for (uint32_t j = 0; j < order; j++) {
			const uint32_t p = i / twos, q = j / twos;
			int sign = with_base
					   ? t->base->entries[t->transposed ? q * k + p : p * k + q]
					   : 1;
			for (uint32_t both = i % twos & j % twos; both; both &= both - 1)
				sign = -sign;
			m[(size_t)i * order + j] = sign / sqrt((double)order);
		}
	return m;
}

static Wire
apply_hadamard(Net *n, Wire x, const Transform *t)
{
	static const int swap[] = {0, 1, 3, 2};
	uint32_t factors[FACTORS_MOST];
	const int count = hadamard_factors(t, factors);
	Arena *a = arena_new();
	const Wire whole = x;
	int64_t right = 1;
	for (int i = count; i-- > 0; right *= factors[i]) {
		const bool with_base = i == 0;
		const double *m = hadamard_matrix(a, t, factors[i], with_base);
		x = cut(n, x, factors[i], right);
		if (right > 1)
			x = net_transpose(n, x, swap);
		x = by_matrix(n, x, factors[i], m);
		if (right > 1)
			x = net_transpose(n, x, swap);
	}
	arena_free(a);
	return uncut(n, x, whole);
}

static Wire
apply_perm(Net *n, Wire x, const Transform *t)
{
	return by_index(n, x, t->n, t->perm);
}

static Wire
apply_diagonal(Net *n, Wire x, const Transform *t)
{
	return by_vector(n, NET_MULTIPLY, x, t->n, t->vector);
}

static Wire
apply_matrix(Net *n, Wire x, const Transform *t)
{
	return by_matrix(n, x, t->n, t->matrix);
}

/* x - 2 v (v.x) / (v.v), by the unit vector u: x - (u.x) 2u. */
static Wire
apply_householder(Net *n, Wire x, const Transform *t)
{
	Arena *a = arena_new();
	double *u = ARENA_ARRAY(a, double, t->n), square = 0.0;
	for (uint32_t i = 0; i < t->n; i++)
		square += t->vector[i] * t->vector[i];
	for (uint32_t i = 0; i < t->n; i++)
		u[i] = t->vector[i] / sqrt(square);
	const Wire row = net_f32(n, SHAPE(1, t->n), arena_floats(a, u, t->n));
	for (uint32_t i = 0; i < t->n; i++)
		u[i] *= 2.0;
	const Wire along = by_vector(n, NET_MULTIPLY, net_matmul(n, x, row, true), t->n, u);
	arena_free(a);
	return net_binary(n, NET_SUBTRACT, x, along);
}

/* Rotations of pairs that share no element: y = x c + x[other] s. */
static Wire
apply_pairs(Net *n, Wire x, uint32_t order, const uint32_t *other, const double *c, const double *s)
{
	const Wire kept = by_vector(n, NET_MULTIPLY, x, order, c);
	const Wire turned = by_vector(n, NET_MULTIPLY, by_index(n, x, order, other), order, s);
	return net_binary(n, NET_ADD, kept, turned);
}

typedef struct Pairs {
	uint32_t *other;
	double *c, *s;
} Pairs;

static Pairs
pairs_none(Arena *a, uint32_t order)
{
	Pairs p = {ARENA_ARRAY(a, uint32_t, order), ARENA_ARRAY(a, double, order),
		   ARENA_ARRAY(a, double, order)};
	for (uint32_t i = 0; i < order; i++) {
		p.other[i] = i;
		p.c[i] = 1.0;
	}
	return p;
}

/* Elements i and j turn by an angle. */
static void
pairs_turn(Pairs *p, uint32_t i, uint32_t j, double angle)
{
	double sine, cosine;
	real_sincos(angle, &sine, &cosine);
	p->other[i] = j;
	p->other[j] = i;
	p->c[i] = p->c[j] = cosine;
	p->s[i] = -sine;
	p->s[j] = sine;
}

static Wire
apply_givens(Net *n, Wire x, const Transform *t)
{
	Arena *a = arena_new();
	Pairs p = pairs_none(a, t->n);
	pairs_turn(&p, t->i, t->j, t->scalar);
	x = apply_pairs(n, x, t->n, p.other, p.c, p.s);
	arena_free(a);
	return x;
}

static Wire
apply_so2(Net *n, Wire x, const Transform *t)
{
	Arena *a = arena_new();
	Pairs p = pairs_none(a, t->n);
	for (uint32_t i = 0; i < t->n / 2; i++)
		pairs_turn(&p, i, i + t->n / 2, t->vector[i]);
	x = apply_pairs(n, x, t->n, p.other, p.c, p.s);
	arena_free(a);
	return x;
}

static Wire
apply_scalar(Net *n, Wire x, const Transform *t)
{
	return net_binary(n, NET_MULTIPLY, x,
			  net_scalar(n, (float)t->scalar, wire_shape(n, x).rank));
}

static Wire
apply_product(Net *n, Wire x, const Transform *t)
{
	for (uint32_t i = t->n_children; i-- > 0;)
		x = apply(n, x, t->children[i]);
	return x;
}

/* With the row viewed as [left][order][right], each child acts on the middle. */
static Wire
apply_kronecker(Net *n, Wire x, const Transform *t)
{
	static const int swap[] = {0, 1, 3, 2};
	const Wire whole = x;
	int64_t right = 1;
	for (uint32_t i = t->n_children; i-- > 0; right *= t->children[i]->n) {
		const Transform *c = t->children[i];
		if (c->kind == T_IDENTITY)
			continue;
		x = cut(n, x, c->n, right);
		if (right > 1)
			x = net_transpose(n, x, swap);
		x = apply(n, x, c);
		if (right > 1)
			x = net_transpose(n, x, swap);
	}
	return uncut(n, x, whole);
}

static Wire
apply_block(Net *n, Wire x, const Transform *t)
{
	const Wire runs = cut(n, x, t->children[0]->n, 1);
	return uncut(n, apply(n, runs, t->children[0]), x);
}

static Wire
apply_sum(Net *n, Wire x, const Transform *t)
{
	Arena *a = arena_new();
	Wire *parts = ARENA_ARRAY(a, Wire, t->n_children);
	const int last = wire_shape(n, x).rank - 1;
	int64_t at = 0;
	for (uint32_t i = 0; i < t->n_children; i++, at += t->children[i - 1]->n) {
		const Wire run = net_slice(n, x, last, at, at + t->children[i]->n);
		parts[i] = apply(n, run, t->children[i]);
	}
	x = net_concat(n, parts, (int)t->n_children, last);
	arena_free(a);
	return x;
}

static Wire
apply_pad(Net *n, Wire x, const Transform *t)
{
	return t->transposed ? net_slice(n, x, wire_shape(n, x).rank - 1, 0, t->n_out)
			     : npu_with_zeros(n, x, t->n, t->n_out - t->n);
}

/* ---- words -------------------------------------------------------------------------------- */

static void words(Text *t, const Transform *x);

static void
words_product(Text *t, const Transform *x)
{
	text_printf(t, "product by %u", x->n);
}

static void
words_hadamard(Text *t, const Transform *x)
{
	uint32_t factors[FACTORS_MOST];
	const int count = hadamard_factors(x, factors);
	for (int i = count; i-- > 0;)
		text_printf(t, "%s%u", i == count - 1 ? "products by " : " and ", factors[i]);
}

static void
words_gather(Text *t, const Transform *x)
{
	(void)x;
	text_printf(t, "gather");
}

static void
words_pad(Text *t, const Transform *x)
{
	text_printf(t, x->transposed ? "slice" : "zeros behind");
}

static void
words_factors(Text *t, const Transform *x)
{
	(void)x;
	text_printf(t, "factors");
}

static void
words_reflection(Text *t, const Transform *x)
{
	(void)x;
	text_printf(t, "reflection of rank 1");
}

static void
words_pairs(Text *t, const Transform *x)
{
	(void)x;
	text_printf(t, "gather and factors");
}

static void
words_children(Text *t, const Transform *x)
{
	for (uint32_t i = x->n_children; i-- > 0;)
		if (x->children[i]->kind != T_IDENTITY) {
			text_printf(t, "%s", t->size ? ", " : "");
			words(t, x->children[i]);
		}
}

typedef struct Kind {
	Wire (*apply)(Net *n, Wire x, const Transform *t); /* null: no row of a graph has it */
	void (*words)(Text *t, const Transform *x);
	bool mixes; /* elements, by more than one operation: small ones become one matrix */
} Kind;

static const Kind kinds[TRANSFORM_KINDS] = {
	[T_IDENTITY] = {apply_identity, words_children, false},
	[T_HADAMARD] = {apply_hadamard, words_hadamard, true},
	[T_PERM] = {apply_perm, words_gather, false},
	[T_SIGNS] = {apply_diagonal, words_factors, false},
	[T_DIAGONAL] = {apply_diagonal, words_factors, false},
	[T_ORTHOGONAL] = {apply_matrix, words_product, false},
	[T_MATRIX] = {apply_matrix, words_product, false},
	[T_HOUSEHOLDER] = {apply_householder, words_reflection, true},
	[T_GIVENS] = {apply_givens, words_pairs, true},
	[T_SO2] = {apply_so2, words_pairs, true},
	[T_SCALAR] = {apply_scalar, words_factors, false},
	[T_PRODUCT] = {apply_product, words_children, true},
	[T_KRONECKER] = {apply_kronecker, words_children, true},
	[T_BLOCK] = {apply_block, words_children, false},
	[T_SUM] = {apply_sum, words_children, true},
	[T_PAD] = {apply_pad, words_pad, false},
};

static bool
is_small(const Transform *t)
{
	const TransformFacts f = transform_facts(t);
	return kinds[t->kind].mixes && t->n == t->n_out && transform_span(t) <= BLOCK_MOST &&
	       !f.permutation && !f.diagonal;
}

static Wire
apply(Net *n, Wire x, const Transform *t)
{
	if (!kinds[t->kind].apply)
		BUG("npu: a row goes through %s", transform_table[t->kind].text);
	if (!is_small(t))
		return kinds[t->kind].apply(n, x, t);
	Arena *a = arena_new();
	double *m = ARENA_ARRAY(a, double, (size_t)t->n * t->n);
	transform_dense(t, m);
	x = by_matrix(n, x, t->n, m);
	arena_free(a);
	return x;
}

Wire
npu_transform(Net *n, Wire x, const Transform *t)
{
	return apply(n, x, t);
}

static void
words(Text *t, const Transform *x)
{
	if (is_small(x))
		words_product(t, x);
	else
		kinds[x->kind].words(t, x);
}

void
npu_transform_words(Text *t, const Transform *x)
{
	words(t, x);
}
