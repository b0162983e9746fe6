#include "match.h"
#include "reader.h"

#include <string.h>

/* Matches a name against a pattern with '#' for the layer. */
static bool
name_matches(const char *pattern, const char *name, uint32_t *layer)
{
	*layer = 0;
	for (; *pattern; pattern++) {
		if (*pattern != '#') {
			if (*name++ != *pattern)
				return false;
			continue;
		}
		const char *first = name;
		while (*name >= '0' && *name <= '9' && name - first < 6)
			*layer = *layer * 10 + (uint32_t)(*name++ - '0');
		if (name == first || (*first == '0' && name - first > 1))
			return false;
	}
	return !*name;
}

static const char *
expected_name(Arena *a, const TensorRow *row, uint32_t layer)
{
	const char *hash = strchr(row->name, '#');
	if (!hash)
		return row->name;
	return arena_printf(a, "%.*s%u%s", (int)(hash - row->name), row->name, layer, hash + 1);
}

static uint32_t
layers_of(const Matcher *x, const TensorRow *row)
{
	return strchr(row->name, '#') ? x->m->n_layer : 1;
}

static bool
is_empty(const Matcher *x, const TensorRow *row, uint32_t layer)
{
	return row->role != ROLE_COUNT && !x->slots[row->role][layer];
}

/* Names that the architecture has and the file lacks. */
static size_t
empty_slots(const Matcher *x, const char **names)
{
	size_t n = 0;
	for (size_t i = 0; i < x->n_rows; i++)
		for (uint32_t l = 0; l < layers_of(x, &x->rows[i]); l++)
			if (is_empty(x, &x->rows[i], l))
				names[n++] = expected_name(x->arena, &x->rows[i], l);
	return n;
}

static void
report_unknown(const Matcher *x, const Tensor *t)
{
	for (size_t i = 0; i < x->n_rows; i++) {
		uint32_t layer;
		if (!name_matches(x->rows[i].name, t->name, &layer))
			continue;
		diag_error(x->d, t->loc, E_TENSOR_UNKNOWN,
			   "tensor '%s' belongs to layer %u, but '%s' is %u", t->name, layer,
			   x->layers_key, x->m->n_layer);
		return;
	}
	diag_error(x->d, t->loc, E_TENSOR_UNKNOWN,
		   "tensor '%s' could change the model's function and is not understood", t->name);
	const char **names = ARENA_ARRAY(x->arena, const char *, x->n_rows *(size_t)x->m->n_layer);
	const char *near = nearest_name(t->name, names, empty_slots(x, names));
	if (near)
		diag_hint(x->d, "did you mean '%s', which is missing?", near);
}

static void
match_one(Matcher *x, FoundTensor *f)
{
	for (size_t k = 0; k < x->n_rows; k++) {
		const TensorRow *row = &x->rows[k];
		uint32_t layer;
		if (!name_matches(row->name, f->tensor.name, &layer) || layer >= layers_of(x, row))
			continue;
		f->row = row;
		if (row->role == ROLE_COUNT)
			return;
		f->tensor.rows = (uint32_t)f->rows;
		f->tensor.columns = (uint32_t)f->columns;
		f->tensor.head_dim = x->m->head_dim;
		f->tensor.row_order = row->row_order;
		x->slots[row->role][layer] = &f->tensor;
		return;
	}
}

static bool
check_missing(const Matcher *x)
{
	enum { SHOWN = 8 };
	uint32_t missing = 0;
	for (size_t i = 0; i < x->n_rows; i++) {
		const TensorRow *row = &x->rows[i];
		for (uint32_t l = 0; l < layers_of(x, row); l++) {
			if (!row->required || !is_empty(x, row, l) || ++missing > SHOWN)
				continue;
			const char *name = expected_name(x->arena, row, l);
			diag_error(x->d, x->m->loc, E_TENSOR_MISSING, "tensor '%s' is missing",
				   name);
			const char *near = nearest_name(name, x->unknown, x->n_unknown);
			if (near)
				diag_hint(x->d, "the file has '%s'", near);
		}
	}
	if (missing > SHOWN)
		diag_note(x->d, x->m->loc, "%u more are missing", missing - SHOWN);
	return !missing;
}

bool
match_names(Matcher *x)
{
	const int before = diag_errors(x->d);
	model_slots(x->arena, x->m, x->slots);
	x->unknown = ARENA_ARRAY(x->arena, const char *, x->n_found);
	for (uint32_t i = 0; i < x->n_found; i++)
		match_one(x, &x->found[i]);
	for (uint32_t i = 0; i < x->n_found; i++)
		if (!x->found[i].row) {
			x->unknown[x->n_unknown++] = x->found[i].tensor.name;
			report_unknown(x, &x->found[i].tensor);
		}
	return check_missing(x) && diag_errors(x->d) == before;
}

bool
match_vocabulary(Matcher *x)
{
	const Tensor *embed = x->slots[ROLE_EMBED][0];
	if (embed->rows > VOCAB_MAX) {
		diag_error(x->d, embed->loc, E_OVERFLOW,
			   "an embedding of %u rows; Lathe reads up to %d", embed->rows, VOCAB_MAX);
		return false;
	}
	x->m->n_vocab = embed->rows;
	return true;
}

bool
match_shapes(Matcher *x)
{
	const int before = diag_errors(x->d);
	for (uint32_t i = 0; i < x->n_found; i++) {
		const FoundTensor *f = &x->found[i];
		const Tensor *t = &f->tensor;
		uint32_t rows, columns;
		if (f->row->role == ROLE_COUNT)
			continue;
		model_shape(x->m, (Role)f->row->role, &rows, &columns);
		if (f->columns != columns || f->rows != rows)
			diag_error(x->d, t->loc, E_TENSOR_SHAPE,
				   "tensor '%s' has the shape %s, the metadata wants %s", t->name,
				   f->shape, x->shape(x->arena, rows, columns));
		else if (rows == 1 && !format_is_float(t->type->format))
			diag_error(x->d, t->loc, E_TENSOR_TYPE,
				   "tensor '%s' has type %s; Lathe reads vectors of floats",
				   t->name, t->type->name);
	}
	return diag_errors(x->d) == before;
}
