/*
 * The algebra against dense matrices: seeded random expressions of every kind, each built together
 * with its matrix from the definitions in transforms.def.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "ir/transform.h"
#include "tests/random.h"

enum { EXPRESSIONS = 3000 };

/* [-1, 1) */
/* ---- dense matrices by the definitions ---------------------------------------------------- */

static double *
multiply(Arena *a, uint32_t m, uint32_t n, uint32_t k, const double *x, const double *y)
{
	double *r = ARENA_ARRAY(a, double, (size_t)m *n);
	for (uint32_t i = 0; i < m; i++)
		for (uint32_t p = 0; p < k; p++)
			for (uint32_t j = 0; j < n; j++)
				r[i * n + j] += x[i * k + p] * y[p * n + j];
	return r;
}

static double *
identity(Arena *a, uint32_t n)
{
	double *r = ARENA_ARRAY(a, double, (size_t)n *n);
	for (uint32_t i = 0; i < n; i++)
		r[i * n + i] = 1.0;
	return r;
}

/* A random rotation: a product of plane rotations. */
static double *
random_rotation(Arena *a, uint64_t *seed, uint32_t n)
{
	double *r = identity(a, n);
	for (uint32_t step = 0; n > 1 && step < 3 * n; step++) {
		uint32_t i = random_below(seed, n), j = (i + 1 + random_below(seed, n - 1)) % n;
		double angle = 3.0 * random_real(seed), c = cos(angle), s = sin(angle);
		for (uint32_t k = 0; k < n; k++) {
			double x = r[i * n + k], y = r[j * n + k];
			r[i * n + k] = c * x - s * y;
			r[j * n + k] = s * x + c * y;
		}
	}
	return r;
}

typedef struct Pair {
	const Transform *t;
	double *m; /* [n][n] */
} Pair;

typedef struct Bases {
	const Base *all[4]; /* orders 1, 12 (paley1), 4 (data, not symmetric), 8 (doubled) */
} Bases;

static uint32_t
base_order(uint32_t n, uint32_t which)
{
	static const uint32_t orders[] = {1, 12, 4, 8};
	uint32_t runs = n / orders[which];
	return n % orders[which] == 0 && !(runs & (runs - 1)) ? orders[which] : 0;
}

static Pair
make_hadamard(Arena *a, uint64_t *seed, uint32_t n, const Bases *b)
{
	const char *why = NULL;
	uint32_t which = random_below(seed, 4);
	for (uint32_t k = 0; k < 4 && !base_order(n, which); k++)
		which = (which + 1) % 4;
	if (!base_order(n, which))
		return (Pair){transform_identity(a, n), identity(a, n)};
	const Base *base = b->all[which];
	Pair p = {transform_hadamard(a, n, base, &why), ARENA_ARRAY(a, double, (size_t)n *n)};
	uint32_t runs = n / base->order;
	for (uint32_t i = 0; i < n; i++)
		for (uint32_t j = 0; j < n; j++) {
			int e = base->entries[i / runs * base->order + j / runs];
			for (uint32_t x = i % runs & (j % runs); x; x &= x - 1)
				e = -e;
			p.m[i * n + j] = e / sqrt((double)n);
		}
	return p;
}

static Pair
make_perm(Arena *a, uint64_t *seed, uint32_t n)
{
	const char *why = NULL;
	uint32_t *perm = ARENA_ARRAY(a, uint32_t, n);
	for (uint32_t i = 0; i < n; i++) {
		uint32_t j = random_below(seed, i + 1);
		perm[i] = perm[j];
		perm[j] = i;
	}
	Pair p = {transform_perm(a, n, perm, &why), ARENA_ARRAY(a, double, (size_t)n *n)};
	for (uint32_t i = 0; i < n; i++)
		p.m[i * n + perm[i]] = 1.0;
	return p;
}

static Pair
make_vector(Arena *a, uint64_t *seed, uint32_t n, TransformKind kind)
{
	const char *why = NULL;
	double *v = ARENA_ARRAY(a, double, n), square = 0.0;
	Pair p = {.m = identity(a, n)};
	bool ones = random_below(seed, 4) == 0;
	for (uint32_t i = 0; i < n; i++) {
		v[i] = random_next(seed) & 1 ? 1.0 : -1.0;
		if (kind != T_SIGNS && !ones)
			v[i] *= 0.5 + fabs(random_real(seed));
		square += v[i] * v[i];
	}
	p.t = transform_vector(a, kind, n, v, &why);
	for (uint32_t i = 0; i < n; i++) {
		if (kind != T_HOUSEHOLDER)
			p.m[i * n + i] = v[i];
		for (uint32_t j = 0; j < n && kind == T_HOUSEHOLDER; j++)
			p.m[i * n + j] -= 2.0 * v[i] * v[j] / square;
	}
	return p;
}

static void
turn(double *m, uint32_t n, uint32_t i, uint32_t j, double angle)
{
	m[i * n + i] = m[j * n + j] = cos(angle);
	m[i * n + j] = -sin(angle);
	m[j * n + i] = sin(angle);
}

static Pair
make_turn(Arena *a, uint64_t *seed, uint32_t n, TransformKind kind)
{
	const char *why = NULL;
	Pair p = {.m = identity(a, n)};
	double *angles = ARENA_ARRAY(a, double, n);
	if (n < 2 || (n % 2 && kind == T_SO2))
		return (Pair){transform_identity(a, n), p.m};
	if (kind == T_SO2) {
		for (uint32_t i = 0; i < n / 2; i++) {
			angles[i] = random_below(seed, 3) ? 3.0 * random_real(seed) : 0.0;
			turn(p.m, n, i, i + n / 2, angles[i]);
		}
		p.t = transform_vector(a, T_SO2, n, angles, &why);
		return p;
	}
	uint32_t i = random_below(seed, n), j = (i + 1 + random_below(seed, n - 1)) % n;
	angles[0] = 3.0 * random_real(seed);
	turn(p.m, n, i, j, angles[0]);
	p.t = transform_givens(a, n, i, j, angles[0], &why);
	return p;
}

static Pair
make_matrix(Arena *a, uint64_t *seed, uint32_t n, TransformKind kind)
{
	const char *why = NULL;
	Pair p = {.m = random_rotation(a, seed, n)};
	if (kind == T_MATRIX) {
		/* Rotation, stretch, rotation: well conditioned. */
		for (uint32_t i = 0; i < n * n; i++)
			p.m[i] *= 1.5 + (double)(i / n % 3);
		p.m = multiply(a, n, n, n, random_rotation(a, seed, n), p.m);
	}
	p.t = transform_matrix(a, kind, n, p.m, &why);
	return p;
}

static Pair make(Arena *a, uint64_t *seed, uint32_t n, int depth, const Bases *b);

static uint32_t
divisor(uint64_t *seed, uint32_t n)
{
	uint32_t d = 1 + random_below(seed, n);
	while (n % d)
		d--;
	return d;
}

static Pair
make_product(Arena *a, uint64_t *seed, uint32_t n, int depth, const Bases *b)
{
	const char *why = NULL;
	const Transform *c[3];
	Pair p = {.m = identity(a, n)};
	uint32_t count = 1 + random_below(seed, 3);
	for (uint32_t i = 0; i < count; i++) {
		Pair q = make(a, seed, n, depth - 1, b);
		/* Often the inverse or the transpose of the one before: there is something to
		 * cancel. */
		if (i && random_below(seed, 3) == 0) {
			c[i] = transform_inverse(a, c[i - 1]);
			q.m = ARENA_ARRAY(a, double, (size_t)n *n);
			transform_dense(c[i], q.m);
		} else {
			c[i] = q.t;
		}
		p.m = multiply(a, n, n, n, p.m, q.m);
	}
	p.t = transform_compose(a, T_PRODUCT, c, count, &why);
	return p;
}

static Pair
make_kronecker(Arena *a, uint64_t *seed, uint32_t n, int depth, const Bases *b)
{
	const char *why = NULL;
	uint32_t right = divisor(seed, n), left = n / right;
	Pair x = make(a, seed, left, depth - 1, b), y = make(a, seed, right, depth - 1, b);
	const Transform *c[] = {x.t, y.t};
	Pair p = {transform_compose(a, T_KRONECKER, c, 2, &why),
		  ARENA_ARRAY(a, double, (size_t)n *n)};
	for (uint32_t i = 0; i < n; i++)
		for (uint32_t j = 0; j < n; j++)
			p.m[i * n + j] = x.m[i / right * left + j / right] *
					 y.m[i % right * right + j % right];
	return p;
}

static Pair
make_block(Arena *a, uint64_t *seed, uint32_t n, int depth, const Bases *b)
{
	const char *why = NULL;
	uint32_t order = divisor(seed, n);
	Pair x = make(a, seed, order, depth - 1, b);
	Pair p = {transform_block(a, x.t, n, &why), ARENA_ARRAY(a, double, (size_t)n *n)};
	for (uint32_t i = 0; i < n; i++)
		for (uint32_t j = i / order * order; j < (i / order + 1) * order; j++)
			p.m[i * n + j] = x.m[i % order * order + j % order];
	return p;
}

static Pair
make_sum(Arena *a, uint64_t *seed, uint32_t n, int depth, const Bases *b)
{
	const char *why = NULL;
	const Transform *c[64];
	uint32_t count = 0;
	Pair p = {.m = ARENA_ARRAY(a, double, (size_t)n *n)};
	for (uint32_t at = 0, w; at < n; at += w) {
		w = 1 + random_below(seed, n - at);
		Pair x = make(a, seed, w, depth - 1, b);
		c[count++] = x.t;
		for (uint32_t i = 0; i < w; i++)
			memcpy(p.m + (at + i) * n + at, x.m + i * w, w * sizeof(double));
	}
	p.t = transform_compose(a, T_SUM, c, count, &why);
	return p;
}

static Pair
make_scalar(Arena *a, uint64_t *seed, uint32_t n)
{
	static const double values[] = {2.0, 0.5, -1.0, 3.7, 1.0};
	const char *why = NULL;
	double c = values[random_below(seed, 5)];
	Pair p = {transform_scalar(a, n, c, &why), identity(a, n)};
	for (uint32_t i = 0; i < n; i++)
		p.m[i * n + i] = c;
	return p;
}

/* inverse(x) or transpose(x) with its matrix found the slow way. */
static Pair
make_reversed(Arena *a, uint64_t *seed, uint32_t n, int depth, const Bases *b, TransformKind kind)
{
	Pair x = make(a, seed, n, depth - 1, b);
	Pair p = {.m = ARENA_ARRAY(a, double, (size_t)n *n)};
	if (kind == T_TRANSPOSE) {
		p.t = transform_transpose(a, x.t);
		for (uint32_t i = 0; i < n; i++)
			for (uint32_t j = 0; j < n; j++)
				p.m[j * n + i] = x.m[i * n + j];
		return p;
	}
	/* Gauss and Jordan with row pivots. */
	double *w = ARENA_ARRAY(a, double, (size_t)n *n);
	memcpy(w, x.m, (size_t)n * n * sizeof *w);
	p.m = identity(a, n);
	for (uint32_t k = 0; k < n; k++) {
		uint32_t pivot = k;
		for (uint32_t i = k; i < n; i++)
			pivot = fabs(w[i * n + k]) > fabs(w[pivot * n + k]) ? i : pivot;
		for (uint32_t j = 0; j < n; j++) {
			double t = w[k * n + j], u = p.m[k * n + j];
			w[k * n + j] = w[pivot * n + j];
			w[pivot * n + j] = t;
			p.m[k * n + j] = p.m[pivot * n + j];
			p.m[pivot * n + j] = u;
		}
		double d = w[k * n + k];
		for (uint32_t j = 0; j < n; j++) {
			w[k * n + j] /= d;
			p.m[k * n + j] /= d;
		}
		for (uint32_t i = 0; i < n; i++) {
			double f = w[i * n + k];
			for (uint32_t j = 0; j < n && i != k; j++) {
				w[i * n + j] -= f * w[k * n + j];
				p.m[i * n + j] -= f * p.m[k * n + j];
			}
		}
	}
	p.t = transform_inverse(a, x.t);
	return p;
}

static Pair
make(Arena *a, uint64_t *seed, uint32_t n, int depth, const Bases *b)
{
	/* Every kind but PAD, which is no square. */
	TransformKind kind = (TransformKind)random_below(seed, T_PAD);
	while (depth == 0 && transform_table[kind].children)
		kind = (TransformKind)random_below(seed, T_PAD);
	switch (kind) {
	case T_HADAMARD:
		return make_hadamard(a, seed, n, b);
	case T_PERM:
		return make_perm(a, seed, n);
	case T_SIGNS:
	case T_DIAGONAL:
	case T_HOUSEHOLDER:
		return make_vector(a, seed, n, kind);
	case T_ORTHOGONAL:
	case T_MATRIX:
		return make_matrix(a, seed, n, kind);
	case T_GIVENS:
	case T_SO2:
		return make_turn(a, seed, n, kind);
	case T_SCALAR:
		return make_scalar(a, seed, n);
	case T_PRODUCT:
		return make_product(a, seed, n, depth, b);
	case T_KRONECKER:
		return make_kronecker(a, seed, n, depth, b);
	case T_BLOCK:
		return make_block(a, seed, n, depth, b);
	case T_SUM:
		return make_sum(a, seed, n, depth, b);
	case T_INVERSE:
	case T_TRANSPOSE:
		return make_reversed(a, seed, n, depth, b, kind);
	default:
		return (Pair){transform_identity(a, n), identity(a, n)};
	}
}

/* ---- comparisons -------------------------------------------------------------------------- */

/* Largest difference, relative to the largest element. */
static double
distance(size_t n, const double *x, const double *y)
{
	double worst = 0.0, scale = 1e-300;
	for (size_t i = 0; i < n; i++) {
		double d = fabs(x[i] - y[i]);
		worst = d <= worst ? worst : d;
		scale = fabs(y[i]) > scale ? fabs(y[i]) : scale;
	}
	return worst / scale;
}

static const char *
text_of(Arena *a, const Transform *t)
{
	Text *text = text_new(a);
	transform_print(text, t, TRANSFORM_WHOLE);
	return text->text;
}

static uint64_t
cost(const Transform *t)
{
	TransformFacts f = transform_facts(t);
	return f.adds + f.multiplies;
}

static void
check_facts(Arena *a, const Transform *t, const double *m)
{
	const double tiny = 1e-9;
	uint32_t n = t->n;
	TransformFacts f = transform_facts(t);
	double *mt = ARENA_ARRAY(a, double, (size_t)n *n);
	assert_true(f.block >= 1 && n % f.block == 0);
	for (uint32_t i = 0; i < n; i++)
		for (uint32_t j = 0; j < n; j++) {
			double x = m[i * n + j];
			mt[j * n + i] = x;
			assert_true(i / f.block == j / f.block || fabs(x) < tiny);
			assert_true(!f.diagonal || i == j || fabs(x) < tiny);
			assert_true(!f.identity || fabs(x - (i == j)) < tiny);
			assert_true(!f.symmetric || fabs(x - m[j * n + i]) < tiny);
			assert_true(!f.signed_permutation || fabs(x) < tiny ||
				    fabs(fabs(x) - 1.0) < tiny);
			assert_true(!f.permutation || x > -tiny);
		}
	assert_true(!f.permutation || f.signed_permutation);
	if (f.orthogonal || f.signed_permutation)
		assert_true(distance((size_t)n * n, multiply(a, n, n, n, mt, m), identity(a, n)) <
			    tiny);
}

static void
check_folds(Arena *a, uint64_t *seed, const Pair *p)
{
	enum { ROWS = 5 };
	uint32_t n = p->t->n;
	double *w = ARENA_ARRAY(a, double, (size_t)ROWS *n), *v = ARENA_ARRAY(a, double, ROWS *n);
	for (uint32_t i = 0; i < ROWS * n; i++)
		w[i] = v[i] = random_real(seed);
	transform_fold_producer(a, p->t, v, ROWS);
	assert_true(distance((size_t)ROWS * n, v, multiply(a, n, ROWS, n, p->m, w)) < 1e-9);
	memcpy(v, w, (size_t)ROWS * n * sizeof *v);
	transform_fold_reader(a, p->t, v, ROWS);
	/* (w T^-1) T = w */
	assert_true(distance((size_t)ROWS * n, multiply(a, ROWS, n, n, v, p->m), w) < 1e-8);
}

/* y = x m^T in the plainest way; counts its calls. */
static void
multiply_plainly(const void *calls, size_t rows, size_t n, const double *x, const double *m,
		 double *y)
{
	++**(int *const *)calls;
	for (size_t r = 0; r < rows; r++)
		for (size_t i = 0; i < n; i++) {
			double sum = 0.0;
			for (size_t k = 0; k < n; k++)
				sum += m[i * n + k] * x[r * n + k];
			y[r * n + i] = sum;
		}
}

/* Rows at a time, matrices multiplied by another's hand; how often that was. */
static int
check_rows(Arena *a, uint64_t *seed, const Pair *p)
{
	const uint32_t n = p->t->n, count = 1 + random_below(seed, 7);
	const size_t all = (size_t)count * n;
	double *x = ARENA_ARRAY(a, double, all), *y = ARENA_ARRAY(a, double, all);
	double *work = ARENA_ARRAY(a, double, all);
	int calls = 0, *at = &calls;
	for (size_t i = 0; i < all; i++)
		x[i] = y[i] = random_real(seed);
	transform_apply_rows(p->t, y, count, work,
			     &(TransformProducts){multiply_plainly, (const void *)&at});
	for (uint32_t r = 0; r < count; r++)
		assert_true(distance(n, y + (size_t)r * n,
				     multiply(a, n, 1, n, p->m, x + (size_t)r * n)) < 1e-9);
	return calls;
}

static void
check_text(Arena *a, const Transform *t)
{
	const char *text = text_of(a, t), *at = text, *why = "";
	const Transform *back = transform_parse(a, &at, NULL, NULL, &why);
	if (!back)
		fail_msg("%s: %s at %s", text, why, at);
	assert_true(*at == 0);
	assert_string_equal(text_of(a, back), text);
	double *x = ARENA_ARRAY(a, double, (size_t)t->n * t->n);
	double *y = ARENA_ARRAY(a, double, (size_t)t->n * t->n);
	transform_dense(t, x);
	transform_dense(back, y);
	assert_true(distance((size_t)t->n * t->n, y, x) < 1e-9);
}

static void
check_normal(Arena *a, const Transform *t, const double *m)
{
	size_t square = (size_t)t->n * t->n;
	double *x = ARENA_ARRAY(a, double, square);
	const Transform *normal = transform_normalise(a, t);
	transform_dense(normal, x);
	if (distance(square, x, m) > 1e-9)
		fail_msg("%s\n is not\n%s", text_of(a, normal), text_of(a, t));
	if (cost(normal) > cost(t))
		fail_msg("%llu for %s\n%llu for %s", (unsigned long long)cost(normal),
			 text_of(a, normal), (unsigned long long)cost(t), text_of(a, t));
	const Transform *again = transform_normalise(a, normal);
	if (strcmp(text_of(a, again), text_of(a, normal)))
		fail_msg("%s\n again\n%s", text_of(a, normal), text_of(a, again));
	assert_true(transform_equal(t, normal));
}

static void
test_random(void **state)
{
	static const uint32_t orders[] = {1, 2, 3, 4, 6, 8, 9, 12, 16, 24, 30, 36};
	static const int8_t four[] = {1, 1, 1, -1, -1, 1, 1, 1, 1, -1, 1, 1, 1, 1, -1, 1};
	const char *why = "";
	(void)state;
	Arena *run = arena_new(), *a = arena_new();
	Bases b = {{base_make(run, BASE_ONE, 1, &why), base_make(run, BASE_PALEY1, 11, &why),
		    base_data(run, 4, four, &why), base_make(run, BASE_DOUBLED, 8, &why)}};
	for (int i = 0; i < 4; i++)
		assert_non_null(b.all[i]);
	uint64_t kinds[TRANSFORM_KINDS] = {0};
	int products = 0;
	for (uint64_t i = 0; i < EXPRESSIONS; i++) {
		uint64_t seed = i;
		uint32_t n = orders[random_below(&seed, sizeof orders / sizeof *orders)];
		Pair p = make(a, &seed, n, 1 + (int)random_below(&seed, 3), &b);
		assert_non_null(p.t);
		kinds[p.t->kind]++;
		double *m = ARENA_ARRAY(a, double, (size_t)n *n);
		transform_dense(p.t, m);
		if (distance((size_t)n * n, m, p.m) > 1e-9)
			fail_msg("seed %llu: %s", (unsigned long long)i, text_of(a, p.t));
		check_facts(a, p.t, p.m);
		check_folds(a, &seed, &p);
		products += check_rows(a, &seed, &p);
		check_normal(a, p.t, p.m);
		if (n <= 12)
			check_text(a, p.t);
		arena_reset(a);
	}
	for (int k = 0; k < T_INVERSE; k++)
		assert_true(kinds[k] > 0);
	assert_true(products > 0);
	arena_free(a);
	arena_free(run);
}

/* ---- laws by text ------------------------------------------------------------------------- */

static const Transform *
parse(Arena *a, const char *text)
{
	const char *why = "";
	const Transform *t = transform_parse(a, &text, NULL, NULL, &why);
	if (!t || *text)
		fail_msg("%s at '%s'", why, text);
	return t;
}

static void
test_laws(void **state)
{
	static const struct {
		const char *from, *to;
	} laws[] = {
		{"H(8) * H(8)", "I(8)"},
		{"H(12, paley1(11)) * H(12, paley1(11))", "H(12, paley1(11)) * H(12, paley1(11))"},
		{"H(12, paley1(11)) * T(H(12, paley1(11)))", "I(12)"},
		{"H(72, paley2(17)) * H(72, paley2(17))", "I(72)"},
		{"P[2 0 1] * inv(P[2 0 1])", "I(3)"},
		{"P[2 0 1] * P[2 0 1]", "P[1 2 0]"},
		{"P[2 0 1] * S[1 -1 1] * P[1 2 0]", "S[1 1 -1]"},
		{"P[2 0 1] * D[2 3 4]", "D[4 2 3] * P[2 0 1]"},
		{"D[2 2 2]", "C(3, 2)"},
		{"D[2 -2 2]", "C(3, 2) * S[1 -1 1]"},
		{"inv(D[2 4]) * D[2 4]", "I(2)"},
		{"H(4) * C(4, 2) * H(4) * C(4, 3)", "C(4, 6)"},
		{"(H(4) (x) I(3)) * (I(4) (x) Q[0 1 0 0 0 1 1 0 0])",
		 "H(4) (x) Q[0 1 0 0 0 1 1 0 0]"},
		{"(H(4) (x) I(3)) * (H(4) (x) R[1 2 3])", "block(R[1 2 3], 12)"},
		{"block(R[1 2], 8) * block(R[1 2], 8)", "I(8)"},
		{"H(12, paley1(11)) (x) H(4)", "H(48, paley1(11))"},
		{"block(block(H(4), 8), 16)", "block(H(4), 16)"},
		{"block(C(4, 2) * H(4), 16)", "C(16, 2) * block(H(4), 16)"},
		{"H(4) (+) H(4)", "block(H(4), 8)"},
		{"(H(4) (+) R[1 2]) * (H(4) (+) R[1 2])", "I(6)"},
		{"I(4) (+) P[1 0]", "P[0 1 2 3 5 4]"},
		{"G(4, 0, 2, 0.5) * G(4, 2, 0, 0.5)", "I(4)"},
		{"G(4, 0, 2, 0.5) * G(4, 0, 2, 0.25)", "G(4, 0, 2, 0.75)"},
		{"SO2[0.5 1] * SO2[0.5 -1]", "SO2[1 0]"},
		{"T(H(4) * D[1 2 3 4])", "D[1 2 3 4] * H(4)"},
		{"H(8) * pad(5, 8)", "H(8) * pad(5, 8)"},
		{"T(pad(5, 8)) * H(8) * H(8) * pad(5, 8)", "I(5)"},
		{"pad(5, 8) * inv(pad(5, 8))", "pad(5, 8) * T(pad(5, 8))"},
		{"I(2) (x) H(4) (x) I(3)", "block(H(4) (x) I(3), 24)"},
		{"M[2 0 0 0.5] * inv(M[2 0 0 0.5])", "I(2)"},
		/* 6 is a cut of the right factor and a position in the left one's identity, but 4
		 * does not divide it; nor do two cuts that each is one's own. */
		{"block(R[1 2 3 4], 12) * (R[1 2] (x) R[1 2 3 4 5 6])",
		 "block(R[1 2 3 4], 12) * (R[1 2] (x) R[1 2 3 4 5 6])"},
		{"(R[1 2 3] (x) I(4)) * block(R[1 2], 12)", "R[1 2 3] (x) I(2) (x) R[1 2]"},
		{"(R[1 2 3] (x) R[1 2 3 4]) * block(R[1 2], 12)",
		 "R[1 2 3] (x) (R[1 2 3 4] * block(R[1 2], 4))"},
	};
	(void)state;
	Arena *a = arena_new();
	for (size_t i = 0; i < sizeof laws / sizeof *laws; i++) {
		const Transform *t = parse(a, laws[i].from);
		assert_string_equal(text_of(a, transform_normalise(a, t)), laws[i].to);
		assert_true(transform_equal(t, parse(a, laws[i].to)));
	}
	assert_false(
		transform_equal(parse(a, "H(12, paley1(11))"), parse(a, "T(H(12, paley1(11)))")));
	assert_false(transform_equal(parse(a, "P[1 2 0]"), parse(a, "P[2 0 1]")));
	arena_free(a);
}

/* What one code does: expressions that differ in numbers and permutations. */
static void
test_alike(void **state)
{
	static const struct {
		const char *a, *b;
		bool alike;
		uint32_t leaves; /* of a */
	} cases[] = {
		{"P[1 2 0] * D[1 2 3]", "P[2 0 1] * D[4 5 6]", true, 2},
		{"block(R[1 2], 4) * C(4, 2)", "block(R[3 4], 4) * C(4, 5)", true, 2},
		{"G(4, 0, 1, 0.5)", "G(4, 0, 1, 0.7)", true, 1},
		{"G(4, 0, 1, 0.5)", "G(4, 0, 2, 0.5)", false, 1},
		{"D[1 2 3]", "P[1 2 0]", false, 1},
		{"H(4)", "H(4)", true, 0},
		{"H(12, paley1(11))", "T(H(12, paley1(11)))", false, 0},
		{"block(D[1 2], 4)", "D[1 2] (+) D[1 2]", false, 1},
	};
	(void)state;
	Arena *a = arena_new();
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		const Transform *const *leaves;
		const Transform *x = parse(a, cases[i].a), *y = parse(a, cases[i].b);
		assert_int_equal(transform_alike(x, y), cases[i].alike);
		assert_int_equal(transform_alike(y, x), cases[i].alike);
		assert_int_equal(transform_leaves(a, x, &leaves), cases[i].leaves);
	}
	/* One leaf at two places is one table: an expression with two is other code. */
	const char *why;
	const Transform *d = parse(a, "D[1 2]"), *other = parse(a, "D[1 2]");
	const Transform *one = transform_compose(a, T_SUM, (const Transform *[]){d, d}, 2, &why);
	const Transform *two =
		transform_compose(a, T_SUM, (const Transform *[]){d, other}, 2, &why);
	assert_true(transform_equal(one, two));
	assert_false(transform_alike(one, two));
	arena_free(a);
}

static const Transform *
named(void *arg, const char *name, size_t n)
{
	return n == 2 && !memcmp(name, "R1", 2) ? arg : NULL;
}

static void
test_names(void **state)
{
	(void)state;
	Arena *a = arena_new();
	Transform r1 = *parse(a, "H(4)");
	r1.name = "R1";
	const char *s = "R1 * P[1 0 3 2]", *why = "";
	const Transform *t = transform_parse(a, &s, named, &r1, &why);
	assert_non_null(t);
	Text *text = text_new(a);
	transform_print(text, t, TRANSFORM_NAMED);
	assert_string_equal(text->text, "R1 * P[1 0 3 2]");
	assert_string_equal(text_of(a, t), "H(4) * P[1 0 3 2]");
	arena_free(a);
}

static void
test_pad(void **state)
{
	(void)state;
	Arena *a = arena_new();
	const Transform *t = parse(a, "H(8) * pad(5, 8)");
	double row[8] = {1, 2, 3, 4, 5, 6, 7, 8}, want[8] = {1, 2, 3, 4, 5}, work[8];
	assert_int_equal(t->n, 5);
	assert_int_equal(t->n_out, 8);
	transform_apply(t, row, work);
	transform_apply(parse(a, "H(8)"), want, work);
	assert_memory_equal(row, want, sizeof row);
	/* Back: what was appended is dropped. */
	const Transform *back =
		transform_inverse(a, parse(a, "D[1 2 3 4 5 6 7 0.5] * H(8) * pad(5, 8)"));
	assert_string_equal(text_of(a, back),
			    "T(pad(5, 8)) * H(8) * D[1 0.5 0.3333333333333333 0.25 "
			    "0.2 0.16666666666666666 0.14285714285714285 2]");
	assert_string_equal(text_of(a, transform_transpose(a, t)), "T(pad(5, 8)) * H(8)");
	assert_string_equal(text_of(a, transform_transpose(a, transform_transpose(a, t))),
			    "H(8) * pad(5, 8)");
	assert_int_equal(transform_span(back), 8);
	assert_int_equal(transform_span(parse(a, "T(pad(5, 8)) * H(8) * pad(5, 8)")), 8);
	arena_free(a);
}

/* By its numbers: W T^-1 reads T x as W reads x, and T T^-1 is no identity. */
static void
test_pad_inverse(void **state)
{
	enum { N = 5, M = 8 };
	(void)state;
	Arena *a = arena_new();
	const Transform *t =
		parse(a, "P[3 1 0 2 4 5 7 6] * D[1 2 3 4 5 6 7 0.5] * H(8) * pad(5, 8) * "
			 "D[1 2 -1 0.5 3] * R[1 2 3 4 5]");
	const Transform *back = transform_inverse(a, t), *turned = transform_transpose(a, back);
	double to[M * N], from[N * M], same[M * N];
	transform_dense(t, to);
	transform_dense(back, from);
	transform_dense(turned, same);
	for (int i = 0; i < N; i++)
		for (int j = 0; j < N; j++) {
			double sum = 0.0;
			for (int k = 0; k < M; k++)
				sum += from[i * M + k] * to[k * N + j];
			assert_true(fabs(sum - (i == j)) < 1e-14);
		}
	for (int i = 0; i < N; i++)
		for (int k = 0; k < M; k++)
			assert_true(fabs(from[i * M + k] - same[k * N + i]) < 1e-14);
	const Transform *pair[] = {back, t}, *wrong[] = {t, back};
	const char *why;
	assert_true(transform_facts(
			    transform_normalise(a, transform_compose(a, T_PRODUCT, pair, 2, &why)))
			    .identity);
	const TransformFacts f = transform_facts(
		transform_normalise(a, transform_compose(a, T_PRODUCT, wrong, 2, &why)));
	assert_false(f.identity || f.orthogonal);
	arena_free(a);
}

/* ---- refusals ----------------------------------------------------------------------------- */

static void
test_refused(void **state)
{
	static const struct {
		const char *text, *why;
		size_t at;
	} cases[] = {
		{"P[0 2 0]", "the permutation uses the index 0 twice, in elements 0 and 2", 0},
		{"P[0 3 1]", "element 1 of the permutation is 3, its order 3", 0},
		{"P[0 0.5]", "an index of the permutation is no whole number in range", 8},
		{"D[1 0 2]",
		 "element 1 of the diagonal is 0: a diagonal with a zero has no inverse", 0},
		{"D[1 nan]", "element 1 of the diagonal is not finite", 0},
		{"D[1 4e-320]", "element 1 of the diagonal is too near 0 to be inverted", 0},
		{"S[1 2]", "element 1 of the signs is neither 1 nor -1", 0},
		{"R[0 0]", "a householder vector of zeros reflects nothing", 0},
		{"M[1 2 2 4]", "the matrix has no inverse", 0},
		{"M[1 0 0 1e-11]",
		 "the matrix is too near to one without an inverse: condition number 1e+11, above "
		 "1e+10",
		 0},
		{"M[1 2 3]", "a matrix needs a square number of elements", 8},
		{"Q[1 0 0 1.01]",
		 "the matrix is not orthogonal: the largest element of |Q^T Q - I| is 0.0201, "
		 "above "
		 "1e-03",
		 0},
		{"Q[1 0 0 inf]", "element 1, 1 of the matrix is not finite", 0},
		{"H(24)", "order 24 is not a power of two times the base order 1", 0},
		{"H(36, paley1(35))", "paley1(35): 35 is no power of a prime with remainder 3 by 4",
		 0},
		{"H(188, williamson(188))", "williamson(188): no quadruple of this order is stored",
		 0},
		{"H(4, data(++++++++++++++++))",
		 "rows 0 and 1 of the base matrix are not orthogonal", 0},
		{"H(0)", "an order is 1 to 16777216, not 0", 0},
		{"G(4, 1, 1, 0.5)", "a plane needs two different elements below 4, not 1 and 1", 0},
		{"G(4, 1, 9, 0.5)", "a plane needs two different elements below 4, not 1 and 9", 0},
		{"C(4, 0)", "a scalar must be finite and not 0, its inverse too", 0},
		{"H(4) * H(8)", "factor 0 of the product reads 4 elements, the next one writes 8",
		 0},
		{"H(4) (x) pad(2, 4)", "only a product may pad, not a part of a kronecker", 0},
		{"I(65536) (x) I(65536)", "an order is 1 to 16777216, not 4294967296", 0},
		{"block(H(8), 20)", "blocks of 8 do not divide 20", 0},
		{"pad(8, 8)", "padding 8 elements to 8 adds none", 0},
		{"block(T(pad(2, 4)) * H(4) * pad(2, 4), 8)", "only a product may pad, not a block",
		 0},
		{"H(2) (+) pad(2, 4)", "only a product may pad, not a part of a sum", 0},
		{"X(4)", "there is no transform 'X'", 0},
		{"R7", "no transform is called 'R7'", 0},
		{"H(4) * ", "a transform is expected here", 7},
		{"(H(4)", "')' is expected here", 5},
		{"H(99999999999)", "the number is too large", 2},
	};
	(void)state;
	Arena *a = arena_new();
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		const char *s = cases[i].text, *why = "";
		assert_null(transform_parse(a, &s, NULL, NULL, &why));
		assert_string_equal(why, cases[i].why);
		assert_int_equal(s - cases[i].text, cases[i].at);
	}
	char deep[400];
	memset(deep, '(', sizeof deep - 1);
	deep[sizeof deep - 1] = 0;
	const char *s = deep, *why = "";
	assert_null(transform_parse(a, &s, NULL, NULL, &why));
	assert_string_equal(why, "the expression is nested too deeply");
	arena_free(a);
}

/* A rotation that went through f16: the projection makes it orthogonal and stays near. */
static void
test_polar(void **state)
{
	enum { N = 96 };
	const char *why = "";
	uint64_t seed = 5;
	(void)state;
	Arena *a = arena_new();
	double *q = random_rotation(a, &seed, N), *qt = ARENA_ARRAY(a, double, N *N);
	for (uint32_t i = 0; i < N * N; i++)
		q[i] = rint(q[i] * 4096.0) / 4096.0;
	const Transform *t = transform_matrix(a, T_ORTHOGONAL, N, q, &why);
	assert_non_null(t);
	assert_true(t->drift > 1e-4 && t->drift < 1e-3);
	for (uint32_t i = 0; i < N * N; i++) {
		assert_true(fabs(t->matrix[i] - q[i]) < 1e-3);
		qt[i % N * N + i / N] = t->matrix[i];
	}
	assert_true(distance(N * N, multiply(a, N, N, N, qt, t->matrix), identity(a, N)) < 2e-13);
	/* What is orthogonal is left alone. */
	const Transform *again = transform_matrix(a, T_ORTHOGONAL, N, t->matrix, &why);
	assert_memory_equal(again->matrix, t->matrix, N * N * sizeof *q);
	arena_free(a);
}

/* Stored matrices larger than the tiles and panels of dense.c. */
static void
test_large(void **state)
{
	enum { N = 300, ROWS = 70 };
	const char *why = "";
	uint64_t seed = 11;
	(void)state;
	Arena *a = arena_new();
	double *m = random_rotation(a, &seed, N);
	double *q = ARENA_ARRAY(a, double, N *N), *w = ARENA_ARRAY(a, double, ROWS *N);
	double *v = ARENA_ARRAY(a, double, ROWS *N), *work = ARENA_ARRAY(a, double, N);
	for (uint32_t i = 0; i < N * N; i++) {
		q[i] = (double)(float)m[i];
		m[i] *= 1.0 + i / N % 7;
	}
	for (uint32_t i = 0; i < ROWS * N; i++)
		w[i] = v[i] = random_real(&seed);
	const Transform *t[] = {transform_matrix(a, T_MATRIX, N, m, &why),
				transform_matrix(a, T_ORTHOGONAL, N, q, &why)};
	for (int k = 0; k < 2; k++) {
		const double *dense = t[k]->matrix;
		assert_true(distance(N * N, dense, k ? q : m) < 1e-6);
		memcpy(v, w, ROWS * N * sizeof *v);
		transform_fold_reader(a, t[k], v, ROWS);
		assert_true(distance(ROWS * N, multiply(a, ROWS, N, N, v, dense), w) < 1e-11);
		memcpy(v, w, ROWS * N * sizeof *v);
		transform_fold_producer(a, t[k], v, ROWS);
		assert_true(distance(ROWS * N, v, multiply(a, N, ROWS, N, dense, w)) < 1e-12);
		memcpy(v, w, ROWS * N * sizeof *v);
		transform_apply(t[k], v, work);
		assert_true(distance(N, v, multiply(a, N, 1, N, dense, w)) < 1e-12);
	}
	arena_free(a);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_random),	cmocka_unit_test(test_laws),
		cmocka_unit_test(test_alike),	cmocka_unit_test(test_names),
		cmocka_unit_test(test_pad),	cmocka_unit_test(test_pad_inverse),
		cmocka_unit_test(test_refused), cmocka_unit_test(test_polar),
		cmocka_unit_test(test_large),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
