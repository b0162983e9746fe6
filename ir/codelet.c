/*
 * Greedy pair sharing over rows of signed terms. The pairs wait in a heap ordered by how many rows
 * hold them; a pair that lost rows since it was put there goes back with its true number.
 */
#include "codelet.h"
#include "wide.h"

#include <string.h>

typedef struct Pair {
	uint64_t key;  /* first value, second value, differing signs; 0 is free */
	uint64_t rank; /* decides between equal counts: seed 0 takes the first met */
	uint32_t count;
	bool waits; /* in the heap, once: counts only fall after a pair is first met */
} Pair;

typedef struct HeapEntry {
	uint32_t count, pair;
} HeapEntry;

typedef struct Sharing {
	Arena *arena;
	uint32_t order, n_values, seed;
	int8_t *signs;	 /* [row][VALUES]: sign of a value in a row, 0 where it is not a term */
	uint16_t *terms; /* [row][order]: the values of a row, increasing */
	uint32_t *n_terms;
	Pair *pairs;
	uint32_t n_pairs, n_slots; /* slots: a power of two */
	HeapEntry *heap;
	uint32_t n_heap, heap_capacity;
	CodeletStep *steps;
	uint32_t n_steps;
} Sharing;

enum { VALUES = CODELET_VALUES_MAX };

static uint64_t
mix(uint64_t x)
{
	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
	x = (x ^ x >> 27) * 0x94d049bb133111ebu;
	return x ^ x >> 31;
}

static uint64_t
pair_key(uint32_t i, uint32_t j, bool minus)
{
	uint32_t low = i < j ? i : j, high = i < j ? j : i;
	return (uint64_t)low << 17 | (uint64_t)high << 1 | minus;
}

static void pairs_grow(Sharing *s);

/* The pair of a key (never 0: the second value is at least 1), made if there is none. */
static uint32_t
pair_find(Sharing *s, uint64_t key)
{
	uint32_t at = (uint32_t)mix(key) & (s->n_slots - 1);
	while (s->pairs[at].key && s->pairs[at].key != key)
		at = (at + 1) & (s->n_slots - 1);
	if (s->pairs[at].key)
		return at;
	/* At half the slots in use the table has stopped being fast; entries then move. */
	if (2 * (s->n_pairs + 1) > s->n_slots) {
		pairs_grow(s);
		return pair_find(s, key);
	}
	s->n_pairs++;
	uint64_t rank = s->seed ? mix(key + s->seed * 0x9e3779b97f4a7c15u) : s->n_pairs;
	s->pairs[at] = (Pair){key, rank, 0, false};
	return at;
}

static bool
heap_before(const Sharing *s, HeapEntry x, HeapEntry y)
{
	if (x.count != y.count)
		return x.count > y.count;
	const Pair *p = &s->pairs[x.pair], *q = &s->pairs[y.pair];
	return p->rank != q->rank ? p->rank < q->rank : p->key < q->key;
}

static void
heap_push(Sharing *s, uint32_t pair)
{
	if (s->pairs[pair].count < 2 || s->pairs[pair].waits)
		return;
	s->pairs[pair].waits = true;
	if (s->n_heap == s->heap_capacity) {
		HeapEntry *larger = ARENA_ARRAY(s->arena, HeapEntry, 2 * s->heap_capacity);
		memcpy(larger, s->heap, s->n_heap * sizeof *larger);
		s->heap = larger;
		s->heap_capacity *= 2;
	}
	HeapEntry e = {s->pairs[pair].count, pair};
	uint32_t at = s->n_heap++;
	for (; at && heap_before(s, e, s->heap[(at - 1) / 2]); at = (at - 1) / 2)
		s->heap[at] = s->heap[(at - 1) / 2];
	s->heap[at] = e;
}

static HeapEntry
heap_pop(Sharing *s)
{
	HeapEntry top = s->heap[0], e = s->heap[--s->n_heap];
	uint32_t at = 0;
	for (uint32_t child; (child = 2 * at + 1) < s->n_heap; at = child) {
		if (child + 1 < s->n_heap && heap_before(s, s->heap[child + 1], s->heap[child]))
			child++;
		if (!heap_before(s, s->heap[child], e))
			break;
		s->heap[at] = s->heap[child];
	}
	s->heap[at] = e;
	s->pairs[top.pair].waits = false;
	return top;
}

/* Twice the slots; the heap follows the pairs to their new places. */
static void
pairs_grow(Sharing *s)
{
	Pair *old = s->pairs;
	uint32_t n_old = s->n_slots;
	uint32_t *moved = ARENA_ARRAY(s->arena, uint32_t, n_old);
	s->n_slots *= 2;
	s->pairs = ARENA_ARRAY(s->arena, Pair, s->n_slots);
	for (uint32_t i = 0; i < n_old; i++) {
		if (!old[i].key)
			continue;
		uint32_t at = (uint32_t)mix(old[i].key) & (s->n_slots - 1);
		while (s->pairs[at].key)
			at = (at + 1) & (s->n_slots - 1);
		s->pairs[at] = old[i];
		moved[i] = at;
	}
	for (uint32_t i = 0; i < s->n_heap; i++)
		s->heap[i].pair = moved[s->heap[i].pair];
}

static void
pair_count(Sharing *s, uint64_t key, uint32_t by)
{
	uint32_t pair = pair_find(s, key); /* may move the pairs */
	s->pairs[pair].count += by;
}

/* Adds `by` to the counts of all pairs of a value with the other terms of a row. */
static void
row_count(Sharing *s, uint32_t row, uint32_t value, uint32_t by)
{
	const int8_t *sign = s->signs + (size_t)row * VALUES;
	const uint16_t *terms = s->terms + (size_t)row * s->order;
	for (uint32_t k = 0; k < s->n_terms[row]; k++)
		if (terms[k] != value) {
			bool minus = sign[terms[k]] != sign[value];
			pair_count(s, pair_key(terms[k], value, minus), by);
		}
}

static void
row_remove(Sharing *s, uint32_t row, uint32_t value)
{
	uint16_t *terms = s->terms + (size_t)row * s->order;
	uint32_t n = 0;
	row_count(s, row, value, (uint32_t)-1);
	s->signs[(size_t)row * VALUES + value] = 0;
	for (uint32_t k = 0; k < s->n_terms[row]; k++)
		if (terms[k] != value)
			terms[n++] = terms[k];
	s->n_terms[row] = n;
}

static uint32_t
step_add(Sharing *s, uint32_t a, uint32_t b, bool minus)
{
	INVARIANT(s->n_values < VALUES);
	s->steps[s->n_steps++] = (CodeletStep){(uint16_t)a, (uint16_t)b, minus};
	return s->n_values++;
}

/* Names the pair, puts the name for it in every row that holds it, and counts the new pairs. */
static void
share(Sharing *s, uint64_t key)
{
	uint32_t i = (uint32_t)(key >> 17), j = (uint32_t)(key >> 1) & 0xffff;
	bool minus = key & 1;
	uint32_t value = step_add(s, i, j, minus);
	for (uint32_t row = 0; row < s->order; row++) {
		int8_t *sign = s->signs + (size_t)row * VALUES;
		if (!sign[i] || !sign[j] || (sign[i] != sign[j]) != minus)
			continue;
		int8_t sum = sign[i];
		row_remove(s, row, i);
		row_remove(s, row, j);
		sign[value] = sum;
		s->terms[(size_t)row * s->order + s->n_terms[row]++] = (uint16_t)value;
		row_count(s, row, value, 1);
	}
	for (uint32_t row = 0; row < s->order; row++) {
		const int8_t *sign = s->signs + (size_t)row * VALUES;
		const uint16_t *terms = s->terms + (size_t)row * s->order;
		if (!sign[value])
			continue;
		for (uint32_t k = 0; k + 1 < s->n_terms[row]; k++)
			heap_push(s, pair_find(s, pair_key(terms[k], value,
							   sign[terms[k]] != sign[value])));
	}
}

static void
share_all(Sharing *s)
{
	while (s->n_heap) {
		HeapEntry e = heap_pop(s);
		const Pair *p = &s->pairs[e.pair];
		if (p->count == e.count)
			share(s, p->key);
		else
			heap_push(s, e.pair);
	}
}

/* All columns of a row, and its pairs in lexicographic order. */
static void
row_fill(Sharing *s, uint32_t row, const int8_t *signs)
{
	for (uint32_t i = 0; i < s->order; i++) {
		s->signs[(size_t)row * VALUES + i] = signs[i];
		s->terms[(size_t)row * s->order + i] = (uint16_t)i;
	}
	s->n_terms[row] = s->order;
	for (uint32_t i = 0; i < s->order; i++)
		for (uint32_t j = i + 1; j < s->order; j++)
			pair_count(s, pair_key(i, j, signs[i] != signs[j]), 1);
}

/* What is left of a row: the first positive term, then the others by increasing value. */
static CodeletOutput
row_sum(Sharing *s, uint32_t row)
{
	const int8_t *sign = s->signs + (size_t)row * VALUES;
	const uint16_t *terms = s->terms + (size_t)row * s->order;
	uint32_t first = 0;
	while (first < s->n_terms[row] && sign[terms[first]] < 0)
		first++;
	bool negative = first == s->n_terms[row];
	if (negative)
		first = 0;
	uint32_t sum = terms[first];
	for (uint32_t k = 0; k < s->n_terms[row]; k++)
		if (k != first)
			sum = step_add(s, sum, terms[k], (sign[terms[k]] < 0) != negative);
	return (CodeletOutput){(uint16_t)sum, negative};
}

static const Codelet *
codelet_try(Arena *a, Arena *scratch, uint32_t order, const int8_t *m, uint32_t seed)
{
	Sharing s = {.arena = scratch, .order = order, .n_values = order, .seed = seed};
	s.signs = ARENA_ARRAY(scratch, int8_t, (size_t)order * VALUES);
	s.terms = ARENA_ARRAY(scratch, uint16_t, (size_t)order * order);
	s.n_terms = ARENA_ARRAY(scratch, uint32_t, order);
	s.n_slots = 1024;
	s.pairs = ARENA_ARRAY(scratch, Pair, s.n_slots);
	s.heap_capacity = 1024;
	s.heap = ARENA_ARRAY(scratch, HeapEntry, s.heap_capacity);
	s.steps = ARENA_ARRAY(scratch, CodeletStep, VALUES);
	for (uint32_t row = 0; row < order; row++)
		row_fill(&s, row, m + (size_t)row * order);
	for (uint32_t i = 0; i < s.n_slots; i++)
		heap_push(&s, i);
	share_all(&s);
	CodeletOutput *outputs = ARENA_ARRAY(a, CodeletOutput, order);
	for (uint32_t row = 0; row < order; row++)
		outputs[row] = row_sum(&s, row);
	CodeletStep *steps = ARENA_ARRAY(a, CodeletStep, s.n_steps);
	if (s.n_steps)
		memcpy(steps, s.steps, s.n_steps * sizeof *steps);
	Codelet *c = ARENA_NEW(a, Codelet);
	*c = (Codelet){order, s.n_steps, steps, outputs};
	return c;
}

const Codelet *
codelet_make(Arena *a, uint32_t order, const int8_t *m)
{
	/* Seeds that gave the fewest steps among thousands for the common matrices of an order. */
	static const struct {
		uint32_t order, n, seeds[3];
	} found[] = {{12, 3, {0, 15, 60}}, {20, 3, {0, 885, 2660}}, {28, 2, {0, 43}}, {0, 1, {0}}};
	INVARIANT(order && order <= CODELET_ORDER_MAX);
	uint32_t row = 0;
	while (found[row].order && found[row].order != order)
		row++;
	Arena *scratch = arena_new();
	const Codelet *best = NULL;
	for (uint32_t i = 0; i < found[row].n; i++) {
		const Codelet *c = codelet_try(a, scratch, order, m, found[row].seeds[i]);
		if (!best || c->n_steps < best->n_steps)
			best = c;
		arena_reset(scratch);
	}
	arena_free(scratch);
	return best;
}

#define REAL float
#define VECTOR WideFloats
#define RUN codelet_run_float_body
#include "codelet_run.h"

WIDE(, codelet_run_float,
     (const Codelet *c, float *x, size_t stride, size_t width, size_t pitch, size_t count),
     (c, x, stride, width, pitch, count))

#define REAL double
#define VECTOR WideDoubles
#define RUN codelet_run_double_body
#include "codelet_run.h"

WIDE(, codelet_run_double,
     (const Codelet *c, double *x, size_t stride, size_t width, size_t pitch, size_t count),
     (c, x, stride, width, pitch, count))
