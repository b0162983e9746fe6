/* What is known of a transform from its form: nothing here multiplies matrices. */
#include <math.h>
#include <string.h>

#include "transform_impl.h"

/* An identity; the functions below take away what does not hold. */
static const TransformFacts everything = {true, true, true, true, true, true, 1, 0, 0};

TransformFacts
transform_facts(const Transform *t)
{
	TransformFacts f = everything;
	transform_ops[t->kind].facts(t, &f);
	/* What implies what. */
	f.diagonal |= f.identity;
	f.permutation |= f.identity;
	f.signed_permutation |= f.permutation;
	f.symmetric |= f.diagonal;
	f.orthogonal |= f.signed_permutation;
	return f;
}

/* Nothing holds but what the caller sets. */
static void
nothing(const Transform *t, TransformFacts *f)
{
	*f = (TransformFacts){.block = t->n};
}

/* The smallest divisor b of n with elements low and high in one run of b. */
static uint32_t
block_of(uint32_t n, uint32_t low, uint32_t high)
{
	for (uint32_t b = 1; b < n; b++)
		if (n % b == 0 && low / b == high / b)
			return b;
	return n;
}

TRANSFORM_FACTS(identity)
{
	(void)t;
	(void)f;
}

TRANSFORM_FACTS(hadamard)
{
	uint32_t k = t->base->order, runs = t->n / k, stages = 0;
	while (runs >> stages > 1)
		stages++;
	nothing(t, f);
	f->orthogonal = true;
	f->symmetric = t->base->symmetric;
	f->identity = t->n == 1 && t->base->entries[0] == 1;
	f->diagonal = t->n == 1;
	f->signed_permutation = t->n == 1;
	f->adds = (uint64_t)t->n * stages + (t->program ? (uint64_t)runs * t->program->n_steps : 0);
	f->multiplies = t->n > 1 ? t->n : 0;
}

/* Every element's run of b is its source's. */
static bool
perm_keeps(const Transform *t, uint32_t b)
{
	for (uint32_t k = 0; k < t->n; k++)
		if (k / b != t->perm[k] / b)
			return false;
	return true;
}

TRANSFORM_FACTS(perm)
{
	nothing(t, f);
	f->permutation = true;
	f->identity = true;
	f->symmetric = true;
	for (uint32_t k = 0; k < t->n; k++) {
		f->identity &= t->perm[k] == k;
		f->symmetric &= t->perm[t->perm[k]] == k;
	}
	f->block = 1;
	while (f->block < t->n && !(t->n % f->block == 0 && perm_keeps(t, f->block)))
		f->block++;
}

TRANSFORM_FACTS(diagonal)
{
	f->identity = f->signed_permutation = true;
	for (uint32_t k = 0; k < t->n; k++) {
		f->identity &= t->vector[k] == 1.0;
		f->signed_permutation &= fabs(t->vector[k]) == 1.0;
		f->multiplies += fabs(t->vector[k]) != 1.0;
	}
	f->permutation = f->identity;
	f->orthogonal = f->signed_permutation;
}

TRANSFORM_FACTS(matrix)
{
	const size_t n = t->n;
	nothing(t, f);
	f->orthogonal = t->kind == T_ORTHOGONAL;
	f->symmetric = f->identity = f->diagonal = true;
	f->block = 1;
	for (size_t i = 0; i < n; i++)
		for (size_t j = 0; j < n; j++) {
			double x = t->matrix[i * n + j];
			f->symmetric &= x == t->matrix[j * n + i];
			f->identity &= x == (i == j ? 1.0 : 0.0);
			if (i == j || x == 0.0)
				continue;
			f->diagonal = false;
			while (f->block < n && !(n % f->block == 0 && i / f->block == j / f->block))
				f->block++;
		}
	/* Larger blocks may have cut what smaller ones were rejected for: check from here on. */
	for (size_t i = 0; i < n * n; i++)
		if (t->matrix[i] != 0.0 && i / n / f->block != i % n / f->block)
			f->block = t->n;
	f->adds = n * (n - 1);
	f->multiplies = n * n;
}

TRANSFORM_FACTS(householder)
{
	uint32_t first = t->n, last = 0, count = 0;
	for (uint32_t k = 0; k < t->n; k++)
		if (t->vector[k] != 0.0) {
			first = count++ ? first : k;
			last = k;
		}
	nothing(t, f);
	f->orthogonal = f->symmetric = true;
	f->diagonal = f->signed_permutation = count == 1;
	f->block = block_of(t->n, first, last);
	f->adds = 2 * (uint64_t)count - 1;
	f->multiplies = 2 * (uint64_t)count + 1;
}

TRANSFORM_FACTS(givens)
{
	if (t->scalar == 0.0)
		return;
	nothing(t, f);
	f->orthogonal = true;
	f->block = block_of(t->n, t->i < t->j ? t->i : t->j, t->i < t->j ? t->j : t->i);
	f->adds = 2;
	f->multiplies = 4;
}

TRANSFORM_FACTS(so2)
{
	uint64_t turned = 0;
	for (uint32_t k = 0; k < t->n / 2; k++)
		turned += t->vector[k] != 0.0;
	if (!turned)
		return;
	nothing(t, f);
	f->orthogonal = true;
	f->adds = 2 * turned;
	f->multiplies = 4 * turned;
}

TRANSFORM_FACTS(scalar)
{
	f->identity = f->permutation = t->scalar == 1.0;
	f->orthogonal = f->signed_permutation = fabs(t->scalar) == 1.0;
	f->multiplies = fabs(t->scalar) == 1.0 ? 0 : t->n;
}

/* What holds of both; `times` applications of a child cost so much. */
static void
both(TransformFacts *f, const TransformFacts *c, uint64_t times)
{
	f->identity &= c->identity;
	f->orthogonal &= c->orthogonal;
	f->symmetric &= c->symmetric;
	f->permutation &= c->permutation;
	f->signed_permutation &= c->signed_permutation;
	f->diagonal &= c->diagonal;
	f->adds += times * c->adds;
	f->multiplies += times * c->multiplies;
}

static uint64_t
least_common_multiple(uint64_t a, uint64_t b)
{
	uint64_t x = a, y = b;
	while (y) {
		uint64_t r = x % y;
		x = y;
		y = r;
	}
	return a / x * b;
}

TRANSFORM_FACTS(product)
{
	for (uint32_t i = 0; i < t->n_children; i++) {
		TransformFacts c = transform_facts(t->children[i]);
		both(f, &c, 1);
		f->block = (uint32_t)least_common_multiple(f->block, c.block);
	}
	/* Symmetric factors make a symmetric product only where they commute. */
	f->symmetric = f->diagonal || (t->n_children == 1 && f->symmetric);
	if (t->n != transform_span(t)) {
		f->identity = f->orthogonal = f->permutation = f->signed_permutation = f->diagonal =
			f->symmetric = false;
		f->block = t->n;
	}
}

TRANSFORM_FACTS(kronecker)
{
	for (uint32_t i = t->n_children; i-- > 0;) {
		const Transform *child = t->children[i];
		TransformFacts c = transform_facts(child);
		uint64_t right = 1;
		for (uint32_t k = i + 1; k < t->n_children; k++)
			right *= t->children[k]->n;
		both(f, &c, t->n / child->n);
		if (c.block > 1)
			f->block = (uint32_t)(c.block * right);
	}
}

TRANSFORM_FACTS(block)
{
	*f = transform_facts(t->children[0]);
	f->adds *= t->n / t->children[0]->n;
	f->multiplies *= t->n / t->children[0]->n;
}

/* Whether all runs of all children lie in runs of b. */
static bool
sum_keeps(const Transform *t, const uint32_t *blocks, uint32_t b)
{
	uint32_t at = 0;
	for (uint32_t i = 0; i < t->n_children; i++)
		for (uint32_t end = at + t->children[i]->n; at < end; at += blocks[i])
			if (at / b != (at + blocks[i] - 1) / b)
				return false;
	return true;
}

TRANSFORM_FACTS(sum)
{
	Arena *scratch = arena_new();
	uint32_t *blocks = ARENA_ARRAY(scratch, uint32_t, t->n_children);
	for (uint32_t i = 0; i < t->n_children; i++) {
		TransformFacts c = transform_facts(t->children[i]);
		both(f, &c, 1);
		blocks[i] = c.block;
	}
	while (!(t->n % f->block == 0 && sum_keeps(t, blocks, f->block)))
		f->block++;
	arena_free(scratch);
}

TRANSFORM_FACTS(pad)
{
	nothing(t, f);
}

/* ---- equality ----------------------------------------------------------------------------- */

static bool
same_bytes(const void *a, const void *b, size_t size)
{
	return a == b || (a && b && !memcmp(a, b, size));
}

bool
transform_same(const Transform *a, const Transform *b)
{
	if (a == b)
		return true;
	size_t n = a->n;
	if (a->kind != b->kind || a->n != b->n || a->n_out != b->n_out ||
	    a->n_children != b->n_children || a->transposed != b->transposed || a->i != b->i ||
	    a->j != b->j || a->scalar != b->scalar)
		return false;
	for (uint32_t i = 0; i < a->n_children; i++)
		if (!transform_same(a->children[i], b->children[i]))
			return false;
	if (a->base && !base_equal(a->base, b->base))
		return false;
	return same_bytes(a->perm, b->perm, n * sizeof *a->perm) &&
	       same_bytes(a->vector, b->vector,
			  (a->kind == T_SO2 ? n / 2 : n) * sizeof *a->vector) &&
	       same_bytes(a->matrix, b->matrix, n * n * sizeof *a->matrix);
}

bool
transform_equal(const Transform *a, const Transform *b)
{
	Arena *scratch = arena_new();
	bool equal =
		a->n == b->n && a->n_out == b->n_out &&
		transform_same(transform_normalise(scratch, a), transform_normalise(scratch, b));
	arena_free(scratch);
	return equal;
}

/* ---- leaves ------------------------------------------------------------------------------- */

/* The leaves met so far, of one expression. */
typedef struct Leaves {
	Arena *arena;
	const Transform **at;
	uint32_t n, room;
} Leaves;

static bool
is_leaf(const Transform *t)
{
	const TransformData data = transform_table[t->kind].data;
	return data != DATA_NONE && data != DATA_BASE;
}

/* The number of a leaf. */
static uint32_t
leaf_number(Leaves *l, const Transform *t)
{
	for (uint32_t i = 0; i < l->n; i++)
		if (l->at[i] == t)
			return i;
	if (l->n == l->room) {
		l->room = l->room ? 2 * l->room : 8;
		const Transform **more = ARENA_ARRAY(l->arena, const Transform *, l->room);
		for (uint32_t i = 0; i < l->n; i++)
			more[i] = l->at[i];
		l->at = more;
	}
	l->at[l->n] = t;
	return l->n++;
}

static void
add_leaves(Leaves *l, const Transform *t)
{
	if (is_leaf(t))
		leaf_number(l, t);
	for (uint32_t i = 0; i < t->n_children; i++)
		add_leaves(l, t->children[i]);
}

uint32_t
transform_leaves(Arena *a, const Transform *t, const Transform *const **leaves)
{
	Leaves l = {.arena = a};
	add_leaves(&l, t);
	*leaves = l.at;
	return l.n;
}

static bool
alike(Leaves *la, const Transform *a, Leaves *lb, const Transform *b)
{
	if (a->kind != b->kind || a->n != b->n || a->n_out != b->n_out ||
	    a->n_children != b->n_children || a->transposed != b->transposed || a->i != b->i ||
	    a->j != b->j || (a->base && !base_equal(a->base, b->base)))
		return false;
	if (is_leaf(a) && leaf_number(la, a) != leaf_number(lb, b))
		return false;
	for (uint32_t i = 0; i < a->n_children; i++)
		if (!alike(la, a->children[i], lb, b->children[i]))
			return false;
	return true;
}

bool
transform_alike(const Transform *a, const Transform *b)
{
	Arena *scratch = arena_new();
	Leaves la = {.arena = scratch}, lb = {.arena = scratch};
	const bool same = alike(&la, a, &lb, b);
	arena_free(scratch);
	return same;
}
