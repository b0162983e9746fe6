/*
 * The normal form. Children first; then a kind's own rules until none applies. Every rule keeps the
 * map and raises neither adds nor multiplies, and makes an expression of fewer or smaller parts, so
 * the rewriting ends.
 *
 * Factors of a product, in this order where they meet: one scalar in front of all; signs or a
 * diagonal; a permutation. Kronecker products and blocks are products over positions: their factors
 * meet between common cuts of the row.
 */
#include <math.h>
#include <string.h>

#include "transform_impl.h"

typedef struct List {
	Arena *arena;
	const Transform **items;
	uint32_t n, capacity;
	double scalar; /* collected */
} List;

static void
list_add(List *l, const Transform *t)
{
	if (l->n == l->capacity) {
		uint32_t capacity = l->capacity ? 2 * l->capacity : 8;
		const Transform **items = ARENA_ARRAY(l->arena, const Transform *, capacity);
		if (l->n)
			memcpy(items, l->items, l->n * sizeof *items);
		l->items = items;
		l->capacity = capacity;
	}
	l->items[l->n++] = t;
}

/* Items [at, at + count) become those of `with`. */
static void
list_replace(List *l, uint32_t at, uint32_t count, const List *with)
{
	List rest = {.arena = l->arena};
	for (uint32_t i = at + count; i < l->n; i++)
		list_add(&rest, l->items[i]);
	l->n = at;
	l->scalar *= with->scalar;
	for (uint32_t i = 0; i < with->n; i++)
		list_add(l, with->items[i]);
	for (uint32_t i = 0; i < rest.n; i++)
		list_add(l, rest.items[i]);
}

/* The factors of a normal form; its scalar joins the list's. */
static void
list_factors(List *l, const Transform *t)
{
	if (t->kind == T_SCALAR)
		l->scalar *= t->scalar;
	else if (t->kind == T_PRODUCT)
		for (uint32_t i = 0; i < t->n_children; i++)
			list_factors(l, t->children[i]);
	else if (t->kind != T_IDENTITY)
		list_add(l, t);
}

/* 1 or -1 where rounding has left almost that. */
static double
snap(double x)
{
	return fabs(fabs(x) - 1.0) <= 0x1p-51 ? copysign(1.0, x) : x;
}

/* The product of a list of normal factors, first the scalar; n: of what it reads and writes. */
static const Transform *
list_product(List *l, uint32_t n, uint32_t n_out)
{
	List all = {.arena = l->arena};
	double c = snap(l->scalar);
	if (c != 1.0)
		list_add(&all,
			 transform_new(l->arena,
				       (Transform){.kind = T_SCALAR, .n = n_out, .scalar = c}));
	for (uint32_t i = 0; i < l->n; i++)
		list_add(&all, l->items[i]);
	if (!all.n)
		return transform_identity(l->arena, n);
	return all.n == 1 ? all.items[0] : transform_join(l->arena, T_PRODUCT, all.items, all.n);
}

/* The scalar of a normal form; *rest what follows it, null for nothing. */
static double
scalar_split(Arena *a, const Transform *t, const Transform **rest)
{
	*rest = t;
	if (t->kind == T_SCALAR) {
		*rest = transform_identity(a, t->n);
		return t->scalar;
	}
	if (t->kind != T_PRODUCT || t->children[0]->kind != T_SCALAR)
		return 1.0;
	*rest = t->n_children == 2
			? t->children[1]
			: transform_join(a, T_PRODUCT, t->children + 1, t->n_children - 1);
	return t->children[0]->scalar;
}

static const Transform *
scalar_times(Arena *a, double c, const Transform *t)
{
	List l = {.arena = a, .scalar = c};
	list_factors(&l, t);
	return list_product(&l, t->n, t->n_out);
}

/* ---- monomial expressions: one nonzero element in each row and column --------------------- */

static bool
monomial(const Transform *t)
{
	switch ((TransformKind)t->kind) {
	case T_IDENTITY:
	case T_PERM:
	case T_SIGNS:
	case T_DIAGONAL:
	case T_SCALAR:
		return true;
	case T_PRODUCT:
	case T_KRONECKER:
	case T_BLOCK:
	case T_SUM:
		for (uint32_t i = 0; i < t->n_children; i++)
			if (!monomial(t->children[i]))
				return false;
		return true;
	default:
		return false;
	}
}

/* Adds D * P of the elements d[k] x[perm[k]] to the list, without what does nothing. */
static void
monomial_add(List *l, uint32_t n, double *d, const uint32_t *perm)
{
	bool equal = true, even = true, moved = false;
	for (uint32_t k = 0; k < n; k++) {
		d[k] = snap(d[k]);
		equal &= d[k] == d[0];
		even &= fabs(d[k]) == fabs(d[0]);
		moved |= perm[k] != k;
	}
	if (even)
		l->scalar *= equal ? d[0] : fabs(d[0]);
	for (uint32_t k = 0; k < n && even; k++)
		d[k] = copysign(1.0, d[k]);
	if (!equal)
		list_add(l, transform_new(l->arena, (Transform){.kind = even ? T_SIGNS : T_DIAGONAL,
								.n = n,
								.vector = d}));
	if (moved)
		list_add(l, transform_new(l->arena,
					  (Transform){.kind = T_PERM, .n = n, .perm = perm}));
}

/*
 * D * P of a monomial expression, read off two rows that it is applied to; false where an element
 * leaves the range of doubles.
 */
static bool
monomial_read(List *l, const Transform *t)
{
	const uint32_t n = t->n;
	double *d = ARENA_ARRAY(l->arena, double, n), *row = ARENA_ARRAY(l->arena, double, n);
	double *work = ARENA_ARRAY(l->arena, double, n);
	uint32_t *perm = ARENA_ARRAY(l->arena, uint32_t, n);
	for (uint32_t k = 0; k < n; k++) {
		d[k] = 1.0;
		row[k] = k + 1.0;
	}
	transform_apply(t, d, work);
	transform_apply(t, row, work);
	for (uint32_t k = 0; k < n; k++) {
		double from = row[k] / d[k];
		if (!isfinite(d[k]) || !isfinite(1.0 / d[k]) || !(from >= 0.5 && from < n + 0.5))
			return false;
		perm[k] = (uint32_t)(from - 0.5);
	}
	monomial_add(l, n, d, perm);
	return true;
}

/* The expanded form of a composite expression of monomial parts, or null. */
static const Transform *
monomial_expand(Arena *a, const Transform *t)
{
	List l = {.arena = a, .scalar = 1.0};
	return monomial(t) && monomial_read(&l, t) ? list_product(&l, t->n, t->n) : NULL;
}

TRANSFORM_REWRITE(normalise, leaf)
{
	if (t->n != t->n_out || t->kind == T_IDENTITY)
		return t;
	if (monomial(t)) {
		List l = {.arena = a, .scalar = 1.0};
		const Transform *r = monomial_read(&l, t) ? list_product(&l, t->n, t->n) : t;
		/* A leaf that was normal keeps its name. */
		return transform_same(r, t) ? t : r;
	}
	TransformFacts f = transform_facts(t);
	return f.identity ? transform_identity(a, t->n) : t;
}

/* ---- Kronecker products and blocks over common cuts --------------------------------------- */

/* A part of a Kronecker product: it acts on positions [low, high), counted in elements from the
 * right; null: an identity. */
typedef struct Segment {
	uint64_t low, high;
	const Transform *t;
} Segment;

enum { SEGMENTS_MAX = 64 };

typedef struct Segments {
	Segment s[SEGMENTS_MAX];
	uint32_t n;
} Segments;

static bool
segments_read(Segments *x, const Transform *t)
{
	uint64_t low = x->n ? x->s[x->n - 1].high : 1;
	if (t->kind == T_KRONECKER) {
		for (uint32_t i = t->n_children; i-- > 0;)
			if (!segments_read(x, t->children[i]))
				return false;
		return true;
	}
	if (t->kind == T_BLOCK) {
		if (!segments_read(x, t->children[0]) || x->n == SEGMENTS_MAX)
			return false;
		uint64_t high = x->s[x->n - 1].high;
		x->s[x->n++] = (Segment){high, low * t->n, NULL};
		return true;
	}
	if (x->n == SEGMENTS_MAX)
		return false;
	x->s[x->n++] = (Segment){low, low * t->n, t->kind == T_IDENTITY ? NULL : t};
	return true;
}

/* Whether the row may be cut at p, the cut before being at `last`. */
static bool
segments_cut(const Segments *x, uint64_t p, uint64_t last)
{
	for (uint32_t i = 0; i < x->n; i++) {
		const Segment *s = &x->s[i];
		if (s->low == p || s->high == p)
			return p % last == 0;
		if (s->low < p && p < s->high)
			return !s->t && p % s->low == 0 && s->high % p == 0 && p % last == 0;
	}
	return false;
}

/* The normal form of the parts between two cuts; null for an identity. */
static const Transform *
segments_between(Arena *a, const Segments *x, uint64_t low, uint64_t high)
{
	List l = {.arena = a, .scalar = 1.0};
	bool any = false;
	for (uint32_t i = x->n; i-- > 0;) {
		const Segment *s = &x->s[i];
		uint64_t from = s->low > low ? s->low : low, to = s->high < high ? s->high : high;
		if (from >= to)
			continue;
		any |= s->t != NULL;
		list_add(&l, s->t ? s->t : transform_identity(a, (uint32_t)(to / from)));
	}
	if (!any)
		return NULL;
	return l.n == 1 ? l.items[0] : transform_join(a, T_KRONECKER, l.items, l.n);
}

/* Cuts that both have, from 1 to n. */
static uint32_t
segments_common(const Segments *x, const Segments *y, uint64_t n, uint64_t *cuts)
{
	uint32_t count = 1;
	cuts[0] = 1;
	while (cuts[count - 1] < n) {
		uint64_t next = n, last = cuts[count - 1];
		for (uint32_t i = 0; i < x->n + y->n; i++) {
			uint64_t p = i < x->n ? x->s[i].high : y->s[i - x->n].high;
			if (p > last && p < next && segments_cut(x, p, last) &&
			    segments_cut(y, p, last))
				next = p;
		}
		cuts[count++] = next;
	}
	return count;
}

/* (A (x) B)(C (x) D) = AC (x) BD, over the cuts that both products have; null: none inside. */
static const Transform *
kronecker_merge(Arena *a, const Transform *x, const Transform *y)
{
	uint64_t cuts[2 * SEGMENTS_MAX + 1];
	Segments s = {.n = 0}, u = {.n = 0};
	if (!segments_read(&s, x) || !segments_read(&u, y))
		return NULL;
	uint32_t count = segments_common(&s, &u, x->n, cuts);
	if (count < 3)
		return NULL;
	List parts = {.arena = a};
	for (uint32_t i = count - 1; i-- > 0;) {
		const Transform *left = segments_between(a, &s, cuts[i], cuts[i + 1]);
		const Transform *right = segments_between(a, &u, cuts[i], cuts[i + 1]);
		const Transform *pair[] = {left, right};
		if (left && right)
			left = transform_join(a, T_PRODUCT, pair, 2);
		else if (!left)
			left = right ? right
				     : transform_identity(a, (uint32_t)(cuts[i + 1] / cuts[i]));
		list_add(&parts, left);
	}
	return transform_normalise(a, transform_join(a, T_KRONECKER, parts.items, parts.n));
}

/* ---- products ----------------------------------------------------------------------------- */

static bool
is_diagonal_leaf(const Transform *t)
{
	return t->kind == T_SIGNS || t->kind == T_DIAGONAL;
}

static bool
merge_monomials(List *r, const Transform *x, const Transform *y)
{
	bool x_leaf = is_diagonal_leaf(x) || x->kind == T_PERM;
	bool y_leaf = is_diagonal_leaf(y) || y->kind == T_PERM;
	const Transform *pair[] = {x, y};
	if (!x_leaf || !y_leaf || (is_diagonal_leaf(x) && y->kind == T_PERM))
		return false;
	return monomial_read(r, transform_join(r->arena, T_PRODUCT, pair, 2));
}

static bool
merge_rotations(List *r, const Transform *x, const Transform *y)
{
	if (x->kind == T_GIVENS && y->kind == T_GIVENS) {
		bool same = x->i == y->i && x->j == y->j, turned = x->i == y->j && x->j == y->i;
		Transform t = *x;
		t.name = NULL;
		t.scalar += same ? y->scalar : -y->scalar;
		if ((!same && !turned) || !(fabs(t.scalar) <= 0x1p24))
			return false;
		if (t.scalar != 0.0)
			list_add(r, transform_new(r->arena, t));
		return true;
	}
	if (x->kind != T_SO2 || y->kind != T_SO2)
		return false;
	double *v = ARENA_ARRAY(r->arena, double, x->n / 2);
	bool turns = false;
	for (uint32_t k = 0; k < x->n / 2; k++) {
		v[k] = x->vector[k] + y->vector[k];
		turns |= v[k] != 0.0;
		if (!(fabs(v[k]) <= 0x1p24))
			return false;
	}
	if (turns)
		list_add(r, transform_new(r->arena,
					  (Transform){.kind = T_SO2, .n = x->n, .vector = v}));
	return true;
}

static bool
merge_inverses(List *r, const Transform *x, const Transform *y)
{
	/* Behind what drops elements, padding does not bring them back. */
	if (x->kind != y->kind || x->n < x->n_out)
		return false;
	return transform_same(transform_normalise(r->arena, transform_inverse(r->arena, x)), y);
}

static bool
merge_kroneckers(List *r, const Transform *x, const Transform *y)
{
	if ((x->kind != T_KRONECKER && x->kind != T_BLOCK) ||
	    (y->kind != T_KRONECKER && y->kind != T_BLOCK))
		return false;
	const Transform *t = kronecker_merge(r->arena, x, y);
	if (t)
		list_factors(r, t);
	return t != NULL;
}

static bool
merge_sums(List *r, const Transform *x, const Transform *y)
{
	if (x->kind != T_SUM || y->kind != T_SUM || x->n_children != y->n_children)
		return false;
	List parts = {.arena = r->arena};
	for (uint32_t i = 0; i < x->n_children; i++) {
		const Transform *pair[] = {x->children[i], y->children[i]};
		if (pair[0]->n != pair[1]->n)
			return false;
		list_add(&parts, transform_join(r->arena, T_PRODUCT, pair, 2));
	}
	list_factors(r, transform_normalise(r->arena,
					    transform_join(r->arena, T_SUM, parts.items, parts.n)));
	return true;
}

/* What two neighbours become; false: they stay. */
static bool (*const merges[])(List *r, const Transform *x, const Transform *y) = {
	merge_monomials, merge_rotations, merge_inverses, merge_kroneckers, merge_sums,
};

static bool
merge_once(List *l)
{
	for (uint32_t i = 0; i + 1 < l->n; i++)
		for (size_t k = 0; k < sizeof merges / sizeof *merges; k++) {
			List r = {.arena = l->arena, .scalar = 1.0};
			if (merges[k](&r, l->items[i], l->items[i + 1])) {
				list_replace(l, i, 2, &r);
				return true;
			}
		}
	return false;
}

TRANSFORM_REWRITE(normalise, product)
{
	List l = {.arena = a, .scalar = 1.0};
	for (uint32_t i = 0; i < t->n_children; i++)
		list_factors(&l, transform_normalise(a, t->children[i]));
	while (merge_once(&l)) {
	}
	return list_product(&l, t->n, t->n_out);
}

/* ---- the other compositions --------------------------------------------------------------- */

/* The parts of a normal Kronecker factor; identities that meet become one. */
static void
kronecker_add(List *l, const Transform *t)
{
	const Transform *last = l->n ? l->items[l->n - 1] : NULL;
	if (t->kind == T_KRONECKER) {
		for (uint32_t i = 0; i < t->n_children; i++)
			kronecker_add(l, t->children[i]);
	} else if (t->kind == T_BLOCK) {
		kronecker_add(l, transform_identity(l->arena, t->n / t->children[0]->n));
		kronecker_add(l, t->children[0]);
	} else if (t->kind == T_IDENTITY && last && last->kind == T_IDENTITY) {
		l->items[l->n - 1] = transform_identity(l->arena, last->n * t->n);
	} else if (t->kind == T_HADAMARD && t->base->order == 1 && last &&
		   last->kind == T_HADAMARD) {
		/* The Sylvester part of the one before grows. */
		Transform longer = *last;
		longer.n = longer.n_out = last->n * t->n;
		longer.name = NULL;
		l->items[l->n - 1] = transform_new(l->arena, longer);
	} else if (t->kind != T_IDENTITY || t->n > 1) {
		list_add(l, t);
	}
}

TRANSFORM_REWRITE(normalise, kronecker)
{
	List l = {.arena = a, .scalar = 1.0};
	for (uint32_t i = 0; i < t->n_children; i++) {
		const Transform *rest;
		l.scalar *= scalar_split(a, transform_normalise(a, t->children[i]), &rest);
		kronecker_add(&l, rest);
	}
	if (!isfinite(l.scalar) || !isfinite(1.0 / l.scalar))
		return t;
	const Transform *r = transform_identity(a, t->n), *expanded;
	if (l.n == 1)
		r = l.items[0];
	else if (l.n > 1)
		r = transform_join(a, T_KRONECKER, l.items, l.n);
	if (l.n > 1 && (expanded = monomial_expand(a, r)))
		r = expanded;
	else if (l.n > 1 && l.items[0]->kind == T_IDENTITY)
		r = transform_repeat(a,
				     l.n == 2
					     ? l.items[1]
					     : transform_join(a, T_KRONECKER, l.items + 1, l.n - 1),
				     t->n);
	return scalar_times(a, l.scalar, r);
}

TRANSFORM_REWRITE(normalise, block)
{
	const Transform *child = t->children[0];
	const Transform *parts[] = {NULL, child};
	if (t->n == child->n)
		return transform_normalise(a, child);
	parts[0] = transform_identity(a, t->n / child->n);
	return transform_normalise_kronecker(a, transform_join(a, T_KRONECKER, parts, 2));
}

static void
sum_add(List *l, const Transform *t)
{
	const Transform *last = l->n ? l->items[l->n - 1] : NULL;
	if (t->kind == T_SUM)
		for (uint32_t i = 0; i < t->n_children; i++)
			sum_add(l, t->children[i]);
	else if (t->kind == T_IDENTITY && last && last->kind == T_IDENTITY)
		l->items[l->n - 1] = transform_identity(l->arena, last->n + t->n);
	else
		list_add(l, t);
}

TRANSFORM_REWRITE(normalise, sum)
{
	List l = {.arena = a, .scalar = 1.0};
	for (uint32_t i = 0; i < t->n_children; i++)
		sum_add(&l, transform_normalise(a, t->children[i]));
	if (l.n == 1)
		return l.items[0];
	const Transform *r = transform_join(a, T_SUM, l.items, l.n), *rest;
	const Transform *expanded = monomial_expand(a, r);
	if (expanded)
		return expanded;
	bool equal = true, scaled = true;
	double c = scalar_split(a, l.items[0], &rest);
	for (uint32_t i = 1; i < l.n; i++) {
		equal &= transform_same(l.items[i], l.items[0]);
		scaled &= scalar_split(a, l.items[i], &rest) == c;
	}
	if (equal)
		return transform_normalise_block(a, transform_repeat(a, l.items[0], t->n));
	if (!scaled || c == 1.0)
		return r;
	/* A scalar common to all goes in front. */
	List parts = {.arena = a};
	for (uint32_t i = 0; i < l.n; i++) {
		scalar_split(a, l.items[i], &rest);
		list_add(&parts, rest);
	}
	r = transform_join(a, T_SUM, parts.items, parts.n);
	return scalar_times(a, c, transform_normalise_sum(a, r));
}

const Transform *
transform_normalise(Arena *a, const Transform *t)
{
	return transform_ops[t->kind].normalise(a, t);
}
