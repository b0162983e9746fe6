/* Mixtures in a stream: the order of a function's values, and experts on the rows that go to them.
 */
#include "stream_impl.h"

#include <string.h>

#include "ir/plan_apply.h"

/* ---- order ---------------------------------------------------------------------------------- */

bool
stream_experts_read(const Func *f, int site)
{
	for (int i = 0; i < f->count; i++)
		if (func_value(f, i)->op == OP_EXPERT && role_site(func_value(f, i)->role) == site)
			return true;
	return false;
}

/* Whether rows that value i rounds are at a site that experts read: they have their say in how. */
static bool
rounds_for_experts(const Func *f, int i)
{
	for (int k = i + 1; k < f->count && func_value(f, i)->op == OP_QUANTIZE; k++) {
		const Value *reader = func_value(f, k);
		if (op_is_linear(reader->op) && reader->operands[0] == i &&
		    stream_experts_read(f, role_site(reader->role)))
			return true;
	}
	return false;
}

/* A number that never falls from a value to what reads it. */
static int
stage_of(const Func *f, const int *stages, int i)
{
	const Value *v = func_value(f, i);
	int stage = 0;
	for (int k = 0; k < op_operands(v->op); k++) {
		const int of = stages[v->operands[k]];
		stage = of > stage ? of : stage;
	}
	return stage + (v->op == OP_EXPERT || rounds_for_experts(f, i));
}

const int *
stream_order(Arena *a, const Func *f)
{
	int *order = ARENA_ARRAY(a, int, (size_t)f->count), n = 0;
	int *stages = ARENA_ARRAY(a, int, (size_t)f->count);
	for (int i = 0; i < f->count; i++)
		stages[i] = stage_of(f, stages, i);
	for (int stage = 0; n < f->count; stage++)
		for (int i = 0; i < f->count; i++)
			if (stages[i] == stage)
				order[n++] = i;
	return order;
}

/* ---- rows of an expert ---------------------------------------------------------------------- */

bool
stream_leads(const Func *f, int i)
{
	for (int k = 0; k < i; k++)
		if (func_value(f, k)->role == func_value(f, i)->role &&
		    func_value(f, k)->op == func_value(f, i)->op)
			return false;
	return true;
}

/* The value of i's role in a slot. */
static int
value_of(const Stream *s, int i, uint32_t slot)
{
	const int role = func_value(s->func, i)->role;
	for (int k = 0; k < s->func->count; k++) {
		const Value *v = func_value(s->func, k);
		if (v->op == OP_EXPERT && v->role == role && v->slot == slot)
			return k;
	}
	BUG("a mixture without slot %u", slot);
}

/* The route of i's role: rows of `used` weights, then the experts' numbers. */
static const float *
route_of(const Stream *s, int i, uint32_t *used)
{
	const int route = func_value(s->func, i)->operands[1];
	*used = func_value(s->func, route)->used;
	return stream_rows(s, route);
}

/* The slot that sends a token to expert e, of its row of a route; `used`: none does. */
static uint32_t
slot_of(const float *route, uint32_t used, uint32_t e)
{
	uint32_t slot = 0;
	while (slot < used && (uint32_t)route[used + slot] != e)
		slot++;
	return slot;
}

size_t
stream_expert_rows(const Stream *s, int i, uint32_t e, ExpertRow *rows)
{
	uint32_t used;
	const float *route = route_of(s, i, &used);
	size_t count = 0;
	for (size_t t = 0; t < s->n; t++) {
		const float *of = route + t * 2 * used;
		const uint32_t slot = slot_of(of, used, e);
		if (slot < used)
			rows[count++] = (ExpertRow){(uint32_t)t, of[slot]};
	}
	return count;
}

/* The values of i's role by slot. */
static int *
values_of(const Stream *s, Arena *a, int i, uint32_t used)
{
	int *values = ARENA_ARRAY(a, int, used);
	for (uint32_t slot = 0; slot < used; slot++)
		values[slot] = value_of(s, i, slot);
	return values;
}

/* What the values of a role read by slot, or what the quantize in front of them reads. */
static const float **
sources_of(const Stream *s, Arena *a, const int *values, uint32_t used, bool unrounded)
{
	const float **rows = ARENA_ARRAY(a, const float *, used);
	for (uint32_t slot = 0; slot < used; slot++) {
		int x = func_value(s->func, values[slot])->operands[0];
		if (unrounded && func_value(s->func, x)->op == OP_QUANTIZE)
			x = func_value(s->func, x)->operands[0];
		rows[slot] = stream_rows(s, x);
	}
	return rows;
}

static void
read_rows(const Stream *s, int i, uint32_t e, const ExpertRow *rows, size_t n, bool unrounded,
	  float *x)
{
	Arena *scratch = arena_new();
	uint32_t used;
	const float *route = route_of(s, i, &used);
	const int *values = values_of(s, scratch, i, used);
	const float **from = sources_of(s, scratch, values, used, unrounded);
	const size_t width = func_value(s->func, func_value(s->func, i)->operands[0])->width;
	bool apart = false; /* each slot reads a row of its own */
	for (uint32_t slot = 1; slot < used; slot++)
		apart |= from[slot] != from[0];
	for (size_t r = 0; r < n; r++) {
		const size_t token = rows[r].token;
		const uint32_t slot = apart ? slot_of(route + token * 2 * used, used, e) : 0;
		if (slot < used)
			memcpy(x + r * width, from[slot] + token * width, width * sizeof *x);
	}
	arena_free(scratch);
}

void
stream_expert_read(const Stream *s, int i, uint32_t e, const ExpertRow *rows, size_t n, float *x)
{
	read_rows(s, i, e, rows, n, false, x);
}

void
stream_expert_read_unrounded(const Stream *s, int i, uint32_t e, const ExpertRow *rows, size_t n,
			     float *x)
{
	read_rows(s, i, e, rows, n, true, x);
}

/* ---- experts -------------------------------------------------------------------------------- */

/* y [n] to the slots of its rows. */
static void
scatter(Stream *s, int i, uint32_t e, const ExpertRow *rows, size_t n, const float *y)
{
	Arena *scratch = arena_new();
	uint32_t used;
	const float *route = route_of(s, i, &used);
	const int *values = values_of(s, scratch, i, used);
	const size_t width = func_value(s->func, i)->width;
	for (uint32_t slot = 0; slot < used; slot++) {
		const int k = values[slot];
		s->root[k] = k;
		if (!s->rows[k])
			s->rows[k] = pool_take(s->pool, s->n * width);
	}
	for (size_t r = 0; r < n; r++) {
		const size_t token = rows[r].token;
		const uint32_t slot = slot_of(route + token * 2 * used, used, e);
		memcpy(s->rows[values[slot]] + token * width, y + r * width, width * sizeof *y);
	}
	arena_free(scratch);
}

void
stream_expert(Stream *s, int i, uint32_t e, const float *w)
{
	const Value *v = func_value(s->func, i);
	Arena *scratch = arena_new();
	uint32_t rows, columns;
	graph_tensor_shape(s->graph, v, &rows, &columns);
	ExpertRow *of = ARENA_ARRAY(scratch, ExpertRow, s->n);
	const size_t n = stream_expert_rows(s, i, e, of);
	float *x = pool_take(s->pool, s->n * columns), *y = pool_take(s->pool, s->n * rows);
	float *own = w ? NULL : pool_take(s->pool, (size_t)rows * columns);
	if (n) {
		if (!w)
			stream_expert_weights(s->graph, s->func, v, e, s->kind, s->jobs, own);
		stream_expert_read(s, i, e, of, n, x);
		linalg_linear(s->linalg, n, rows, columns, x, w ? w : own, y);
	}
	scatter(s, i, e, of, n, y);
	pool_give(s->pool, own);
	pool_give(s->pool, y);
	pool_give(s->pool, x);
	arena_free(scratch);
}
