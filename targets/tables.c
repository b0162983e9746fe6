#include "tables.h"

#include "../ir/real.h"

#include <string.h>

/* Numbers of a leaf's table. */
static uint64_t
table_count(const Transform *x)
{
	const uint64_t n = x->n;
	switch ((TransformKind)x->kind) {
	case T_PERM:
	case T_SIGNS:
	case T_DIAGONAL:
		return n;
	case T_SCALAR:
		return 1;
	case T_GIVENS:
		return 2;
	case T_HOUSEHOLDER:
		return round_up(n, 16) + 1;
	case T_SO2:
		return 2 * round_up(n / 2, 16);
	case T_ORTHOGONAL:
	case T_MATRIX:
		return n * round_up(n, 16);
	default:
		BUG("transform kind %d is no leaf", x->kind);
	}
}

uint64_t
table_bytes(const Transform *x)
{
	return table_count(x) * (x->kind == T_PERM ? sizeof(uint16_t) : sizeof(float));
}

static void
fill_householder(const Transform *x, float *to)
{
	double square = 0;
	for (uint32_t i = 0; i < x->n; i++) {
		square += x->vector[i] * x->vector[i];
		to[i] = (float)x->vector[i];
	}
	to[round_up(x->n, 16)] = (float)(2.0 / square);
}

static void
fill_angles(const Transform *x, float *to)
{
	const bool one = x->kind == T_GIVENS;
	const size_t half = one ? 1 : x->n / 2, sines = one ? 1 : round_up(half, 16);
	for (size_t i = 0; i < half; i++) {
		double sine, cosine;
		real_sincos(one ? x->scalar : x->vector[i], &sine, &cosine);
		to[i] = (float)cosine;
		to[sines + i] = (float)sine;
	}
}

Table
table_of(Arena *a, const Transform *x)
{
	Table t = {.n = (uint32_t)table_count(x)};
	const size_t n = x->n, padded = round_up(n, 16);
	if (x->kind == T_PERM) {
		INVARIANT(n <= UINT16_MAX + 1);
		t.indexes = ARENA_ARRAY(a, uint16_t, t.n);
		for (size_t i = 0; i < n; i++)
			t.indexes[i] = (uint16_t)x->perm[i];
		return t;
	}
	t.floats = ARENA_ARRAY(a, float, t.n);
	switch ((TransformKind)x->kind) {
	case T_SCALAR:
		t.floats[0] = (float)x->scalar;
		return t;
	case T_GIVENS:
	case T_SO2:
		fill_angles(x, t.floats);
		return t;
	case T_HOUSEHOLDER:
		fill_householder(x, t.floats);
		return t;
	case T_ORTHOGONAL:
	case T_MATRIX:
		for (size_t i = 0; i < n; i++)
			for (size_t k = 0; k < n; k++)
				t.floats[k * padded + i] = (float)x->matrix[i * n + k];
		return t;
	default:
		for (size_t i = 0; i < n; i++)
			t.floats[i] = (float)x->vector[i];
		return t;
	}
}

/* ---- the tables of a transform ------------------------------------------------------------- */

/* Whether all functions that share code with func have leaf i of its value alike. */
static bool
leaf_is_common(const Graph *g, int func, int value, uint32_t i)
{
	Arena *scratch = arena_new();
	const Transform *const *mine, *const *other;
	bool same = true;
	transform_leaves(scratch, g->funcs[func].values[value].transform, &mine);
	for (int n = 0; n < g->count && same; n++)
		if (n != func && g->funcs[n].same_as == func) {
			transform_leaves(scratch, g->funcs[n].values[value].transform, &other);
			same = transform_same(mine[i], other[i]);
		}
	arena_free(scratch);
	return same;
}

Tables
tables_of(Arena *a, const Graph *g, int func, int value)
{
	const Transform *const *leaves;
	Tables t = {.bytes = 0};
	t.n_leaves = transform_leaves(a, g->funcs[func].values[value].transform, &leaves);
	t.at = ARENA_ARRAY(a, uint64_t, t.n_leaves);
	for (uint32_t i = 0; i < t.n_leaves; i++) {
		const uint64_t bytes = table_bytes(leaves[i]);
		t.at[i] = TABLE_IS_CODE;
		if (bytes <= TABLE_CODE_MAX && leaf_is_common(g, func, value, i))
			continue;
		t.at[i] = t.bytes;
		t.bytes += round_up(bytes, TABLE_ALIGN);
	}
	return t;
}

bool
tables_same(const Tables *of_a, const Transform *a, const Tables *of_b, const Transform *b)
{
	Arena *scratch = arena_new();
	const Transform *const *la, *const *lb;
	bool same = of_a->bytes == of_b->bytes && of_a->n_leaves == of_b->n_leaves;
	transform_leaves(scratch, a, &la);
	transform_leaves(scratch, b, &lb);
	for (uint32_t i = 0; i < of_a->n_leaves && same; i++)
		same = of_a->at[i] == of_b->at[i] &&
		       (of_a->at[i] == TABLE_IS_CODE || transform_same(la[i], lb[i]));
	arena_free(scratch);
	return same;
}

void
tables_write(const Tables *t, const Transform *x, uint8_t *to)
{
	Arena *scratch = arena_new();
	const Transform *const *leaves;
	transform_leaves(scratch, x, &leaves);
	for (uint32_t i = 0; i < t->n_leaves; i++) {
		if (t->at[i] == TABLE_IS_CODE)
			continue;
		const Table table = table_of(scratch, leaves[i]);
		memcpy(to + t->at[i],
		       table.indexes ? (const void *)table.indexes : (const void *)table.floats,
		       table_bytes(leaves[i]));
	}
	arena_free(scratch);
}
