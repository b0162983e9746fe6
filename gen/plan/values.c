/* Numbers that a plan holds itself or names in its sidecar, and digests. */
#include "gen/plan/reader.h"

#include <math.h>
#include <string.h>

static const char *
bind_layer(PlanReader *r, const Json *v, int layer)
{
	Text *t = text_new(r->arena);
	for (const char *s = v->string; *s; s++) {
		if (*s != '*') {
			text_add(t, s, 1);
			continue;
		}
		if (layer == NO_LAYER) {
			diag_error(r->d, v->loc, E_PLAN_DATA,
				   "'*' in the data name '%s' has no layer to stand for here",
				   v->string);
			return NULL;
		}
		text_printf(t, "%d", layer);
	}
	return t->text;
}

const SafeTensor *
data_find(PlanReader *r, const Json *v, int layer)
{
	const char *name = bind_layer(r, v, layer);
	if (!name || r->data_broken)
		return NULL;
	if (!r->data) {
		diag_error(r->d, v->loc, E_PLAN_DATA,
			   "'%s' is data, and the plan names no file of it", name);
		diag_hint(r->d, "\"data\": { \"file\": \"plan.safetensors\" }");
		return NULL;
	}
	const SafeTensor *t = safetensors_find(r->data, name);
	if (!t) {
		const char *near = safetensors_nearest(r->data, name);
		diag_error(r->d, v->loc, E_PLAN_DATA, "%s holds no tensor '%s'", r->data->path,
			   name);
		if (near)
			diag_hint(r->d, "did you mean \"%s\"?", near);
		return NULL;
	}
	r->data_used[t - r->data->tensors] = true;
	return t;
}

/* Whether t is a vector or a square matrix that can be a transform. */
static bool
shape_fits(PlanReader *r, const Json *v, const SafeTensor *t, bool matrix, uint32_t *n)
{
	const bool ok = matrix ? t->rank == 2 && t->shape[0] == t->shape[1] : t->rank == 1;
	if (ok && t->count && t->shape[0] <= INT32_MAX) {
		*n = (uint32_t)t->shape[0];
		return true;
	}
	diag_error(r->d, v->loc, E_PLAN_DATA, "tensor '%s' is %s, %s is wanted", t->name,
		   safetensor_describe(r->arena, t), matrix ? "a square matrix" : "a vector");
	return false;
}

static bool
all_finite(PlanReader *r, const Json *v, const double *numbers, uint64_t count)
{
	for (uint64_t i = 0; i < count; i++)
		if (!isfinite(numbers[i])) {
			diag_error(r->d, v->loc, E_PLAN_DATA,
				   "element %llu of '%s' is NaN or infinite", (unsigned long long)i,
				   v->string);
			return false;
		}
	return true;
}

const double *
data_numbers(PlanReader *r, const Json *v, int layer, bool matrix, uint32_t *n)
{
	double *numbers;
	uint64_t at = 0;
	if (v->kind == JSON_STRING) {
		const SafeTensor *t = data_find(r, v, layer);
		if (!t || !shape_fits(r, v, t, matrix, n))
			return NULL;
		numbers = ARENA_ARRAY(r->arena, double, t->count);
		for (uint64_t i = 0; i < t->count; i++)
			numbers[i] = safetensor_number(t, i);
		return all_finite(r, v, numbers, t->count) ? numbers : NULL;
	}
	*n = v->count;
	numbers = ARENA_ARRAY(r->arena, double, (size_t)v->count *(matrix ? v->count : 1));
	for (const Json *row = v->first; row; row = row->next) {
		if (!matrix)
			numbers[at++] = row->number;
		for (const Json *e = row->first; e; e = e->next)
			numbers[at++] = e->number;
	}
	return numbers;
}

const uint32_t *
data_indexes(PlanReader *r, const Json *v, int layer, uint32_t *n)
{
	const SafeTensor *t = NULL;
	const Json *e = v->first;
	*n = v->count;
	if (v->kind == JSON_STRING) {
		t = data_find(r, v, layer);
		if (!t || !shape_fits(r, v, t, false, n))
			return NULL;
		if (!data_types[t->type].whole) {
			diag_error(r->d, v->loc, E_PLAN_DATA,
				   "tensor '%s' is %s, whole numbers are wanted", t->name,
				   safetensor_describe(r->arena, t));
			return NULL;
		}
	}
	uint32_t *indexes = ARENA_ARRAY(r->arena, uint32_t, *n);
	for (uint32_t i = 0; i < *n; i++) {
		int64_t x = e ? e->integer : 0;
		const bool whole = t ? safetensor_integer(t, i, &x) : e->integral;
		if (!whole || x < 0 || x >= *n) {
			diag_error(r->d, e ? e->loc : v->loc, E_PLAN_TRANSFORM,
				   "no permutation: element %u is no index from 0 to %u", i,
				   *n - 1);
			return NULL;
		}
		indexes[i] = (uint32_t)x;
		e = e ? e->next : NULL;
	}
	return indexes;
}

const int8_t *
data_signs(PlanReader *r, const Json *v, int layer, uint32_t *order)
{
	const SafeTensor *t = data_find(r, v, layer);
	if (!t || !shape_fits(r, v, t, true, order))
		return NULL;
	if (t->type == DTYPE_I8)
		return (const int8_t *)t->data;
	diag_error(r->d, v->loc, E_PLAN_DATA, "tensor '%s' is %s, I8 is wanted", t->name,
		   safetensor_describe(r->arena, t));
	return NULL;
}

bool
digest_matches(PlanReader *r, const Json *v, const uint8_t digest[32], const char *what)
{
	char hex[65];
	sha256_hex(digest, hex);
	for (int i = 0; i < 64; i++) {
		const char c = v->string[i];
		if ((c >= 'A' && c <= 'F' ? c - 'A' + 'a' : c) == hex[i])
			continue;
		diag_error(r->d, v->loc, E_PLAN_DIGEST, "the digest of %s is another one", what);
		diag_hint(r->d, "it is %s", hex);
		return false;
	}
	return true;
}
