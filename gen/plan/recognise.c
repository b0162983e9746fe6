/*
 * Stored matrices that are Hadamard matrices: found out, they cost n log n additions and not n^2
 * multiplications. A matrix e of 1 and -1 is H S, H = B (x) Sylvester and S signs, where
 *   e[(c, d)][(a, b)] = B[c][a] Sylvester[d][b] s[(a, b)],
 * so its first row and every so-many-th element say what B and s are, and the rest must follow.
 */
#include "gen/plan/import.h"

#include <math.h>
#include <string.h>

static int
sylvester(uint32_t i, uint32_t j)
{
	uint32_t x = i & j;
	int sign = 1;
	for (; x; x &= x - 1)
		sign = -sign;
	return sign;
}

/* The base of these entries, by a construction where one gives them; null: they are none. */
static const Base *
base_of(Arena *a, uint32_t k, const int8_t *entries)
{
	const char *why;
	const struct {
		Construction c;
		uint32_t parameter;
	} tries[] = {{BASE_PALEY1, k - 1},
		     {BASE_PALEY2, k / 2 - 1},
		     {BASE_WILLIAMSON, k},
		     {BASE_DOUBLED, k}};
	if (k == 1)
		return entries[0] == 1 ? base_make(a, BASE_ONE, 1, &why) : NULL;
	for (size_t i = 0; i < sizeof tries / sizeof *tries; i++) {
		const Base *b = base_make(a, tries[i].c, tries[i].parameter, &why);
		if (b && b->order == k && !memcmp(b->entries, entries, (size_t)k * k))
			return b;
	}
	return base_data(a, k, entries, &why);
}

typedef struct Signs {
	const int8_t *e; /* [n][n] */
	uint32_t n;
	bool turned; /* read as the transpose */
} Signs;

static int
sign_at(const Signs *x, uint32_t i, uint32_t j)
{
	return x->turned ? x->e[(size_t)j * x->n + i] : x->e[(size_t)i * x->n + j];
}

/* Whether all of e follows from the base b [k][k] and the signs s. */
static bool
follows(const Signs *x, uint32_t k, const int8_t *b, const double *s)
{
	const uint32_t rest = x->n / k;
	for (uint32_t i = 0; i < x->n; i++)
		for (uint32_t j = 0; j < x->n; j++)
			if (sign_at(x, i, j) != b[i / rest * k + j / rest] *
							sylvester(i % rest, j % rest) *
							(s[j] < 0 ? -1 : 1))
				return false;
	return true;
}

/* H S with a base of order k, S = I where `plain`; null: it is none. */
static const Transform *
with_base(Arena *a, const Signs *x, uint32_t k, bool plain)
{
	const uint32_t rest = x->n / k;
	const char *why;
	int8_t *b = ARENA_ARRAY(a, int8_t, (size_t)k * k);
	double *s = ARENA_ARRAY(a, double, x->n);
	for (uint32_t j = 0; j < x->n; j++)
		s[j] = plain ? 1 : sign_at(x, 0, j);
	for (uint32_t c = 0; c < k; c++)
		for (uint32_t i = 0; i < k; i++)
			b[c * k + i] = (int8_t)(sign_at(x, c * rest, i * rest) *
						(s[i * rest] < 0 ? -1 : 1));
	if (!follows(x, k, b, s))
		return NULL;
	const Base *base = base_of(a, k, b);
	const Transform *h = base ? transform_hadamard(a, x->n, base, &why) : NULL;
	if (!h || plain)
		return h;
	const Transform *parts[] = {h, transform_vector(a, T_SIGNS, x->n, s, &why)};
	return transform_compose(a, T_PRODUCT, parts, 2, &why);
}

static const Transform *
as_hadamard(Arena *a, uint32_t n, const int8_t *e)
{
	uint32_t odd = n;
	while (odd % 2 == 0)
		odd /= 2;
	for (uint32_t k = odd; k <= BASE_ORDER_MAX && n % k == 0; k *= 2)
		for (int form = 0; form < 4; form++) {
			const Signs x = {e, n, form / 2 == 1};
			const Transform *t =
				k <= 2 || k % 4 == 0 ? with_base(a, &x, k, form % 2 == 0) : NULL;
			if (t)
				return x.turned ? transform_transpose(a, t) : t;
		}
	return NULL;
}

const Transform *
transform_recognise(Arena *a, uint32_t n, const double *m, const char **why)
{
	const double unit = 1 / sqrt((double)n);
	const size_t count = (size_t)n * n;
	int8_t *e = ARENA_ARRAY(a, int8_t, count);
	bool signs = true;
	for (size_t i = 0; i < count && signs; i++) {
		e[i] = m[i] < 0 ? -1 : 1;
		signs = fabs(fabs(m[i]) - unit) <= 1e-3 * unit;
	}
	const Transform *t = signs ? as_hadamard(a, n, e) : NULL;
	t = t ? t : transform_matrix(a, T_ORTHOGONAL, n, m, why);
	return t ? t : transform_matrix(a, T_MATRIX, n, m, why);
}
