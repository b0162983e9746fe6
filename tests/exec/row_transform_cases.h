/* The transforms of row_transform_cases.def, with data drawn from their names. */
#ifndef LATHE_TESTS_ROW_TRANSFORM_CASES_H
#define LATHE_TESTS_ROW_TRANSFORM_CASES_H

#include <stdlib.h>
#include <string.h>

#include "ir/transform.h"

enum {
#define CASE(name, columns, text) CASE_##name,
#include "row_transform_cases.def"
	TRANSFORM_CASES
};

static const struct {
	const char *name, *text;
	int columns;
} transform_cases[] = {
#define CASE(name, columns, text) {#name, text, columns},
#include "row_transform_cases.def"
};

static inline double
case_draw(uint64_t *seed)
{
	*seed = *seed * 6364136223846793005u + 1442695040888963407u;
	return (double)(int64_t)*seed * 0x1p-63;
}

/* v[n]: numbers in [-1, 1) that are far enough from 0. */
static inline double *
case_vector(Arena *a, uint64_t *seed, uint32_t n)
{
	double *v = ARENA_ARRAY(a, double, n);
	for (uint32_t i = 0; i < n; i++)
		v[i] = 0.75 * case_draw(seed) + (i % 2 ? 0.8 : -0.8);
	return v;
}

static inline const Transform *
case_perm(Arena *a, uint64_t *seed, uint32_t n, const char **why)
{
	uint32_t *p = ARENA_ARRAY(a, uint32_t, n);
	for (uint32_t i = 0; i < n; i++)
		p[i] = i;
	for (uint32_t i = n - 1; i > 0; i--) {
		const uint32_t k = (uint32_t)((case_draw(seed) + 1) * 0.5 * (i + 1)) % (i + 1);
		const uint32_t x = p[i];
		p[i] = p[k];
		p[k] = x;
	}
	return transform_perm(a, n, p, why);
}

/* m: near to the identity. q: a product of reflections. */
static inline const Transform *
case_matrix(Arena *a, uint64_t *seed, uint32_t n, bool orthogonal, const char **why)
{
	double *m = ARENA_ARRAY(a, double, (size_t)n *n);
	for (uint32_t i = 0; i < n; i++)
		for (uint32_t k = 0; k < n; k++)
			m[(size_t)i * n + k] =
				(i == k) + (orthogonal ? 0 : 0.5 * case_draw(seed) / n);
	for (int reflection = 0; orthogonal && reflection < 3; reflection++) {
		const double *v = case_vector(a, seed, n);
		double square = 0;
		for (uint32_t k = 0; k < n; k++)
			square += v[k] * v[k];
		for (uint32_t i = 0; i < n; i++) {
			double dot = 0;
			for (uint32_t k = 0; k < n; k++)
				dot += m[(size_t)i * n + k] * v[k];
			for (uint32_t k = 0; k < n; k++)
				m[(size_t)i * n + k] -= 2 * dot / square * v[k];
		}
	}
	return transform_matrix(a, orthogonal ? T_ORTHOGONAL : T_MATRIX, n, m, why);
}

static inline const Transform *
case_named(void *arena, const char *name, size_t length)
{
	static const char *const kinds[] = {"q", "m", "d", "house", "perm", "so"};
	Arena *a = arena;
	const char *why = "";
	size_t letters = 0;
	uint64_t seed = 11;
	int kind = 0;
	while (letters < length && (name[letters] < '0' || name[letters] > '9'))
		letters++;
	while (kind < 5 &&
	       (strlen(kinds[kind]) != letters || memcmp(kinds[kind], name, letters) != 0))
		kind++;
	const uint32_t n = (uint32_t)strtoul(name + letters, NULL, 10);
	const Transform *x =
		kind < 2    ? case_matrix(a, &seed, n, kind == 0, &why)
		: kind == 2 ? transform_vector(a, T_DIAGONAL, n, case_vector(a, &seed, n), &why)
		: kind == 3 ? transform_vector(a, T_HOUSEHOLDER, n, case_vector(a, &seed, n), &why)
		: kind == 4 ? case_perm(a, &seed, n, &why)
			    : transform_vector(a, T_SO2, n, case_vector(a, &seed, n / 2), &why);
	if (!x)
		BUG("%s", why);
	Transform *named = ARENA_NEW(a, Transform);
	*named = *x;
	named->name = arena_printf(a, "%.*s", (int)length, name);
	return named;
}

static inline const Transform *
transform_case(Arena *a, int i)
{
	const char *s = transform_cases[i].text, *why = "";
	const Transform *x = transform_parse(a, &s, case_named, a, &why);
	if (!x || *s || (int)transform_span(x) != transform_cases[i].columns)
		BUG("%s: %s", transform_cases[i].text, why);
	return x;
}

#endif
