#include "match.h"
#include "reader.h"

#include <string.h>

enum { NUMBERS = 2 };

/* Matches a name against a pattern with '#' for the layer, and a second for the expert. */
static bool
name_matches(const char *pattern, const char *name, uint32_t numbers[NUMBERS])
{
	numbers[0] = numbers[1] = 0;
	for (uint32_t n = 0; *pattern; pattern++) {
		if (*pattern != '#') {
			if (*name++ != *pattern)
				return false;
			continue;
		}
		const char *first = name;
		INVARIANT(n < NUMBERS);
		while (*name >= '0' && *name <= '9' && name - first < 6)
			numbers[n] = numbers[n] * 10 + (uint32_t)(*name++ - '0');
		if (name == first || (*first == '0' && name - first > 1))
			return false;
		n++;
	}
	return !*name;
}

static int
numbers_of(const TensorRow *row)
{
	const char *first = strchr(row->name, '#');
	return !first ? 0 : !strchr(first + 1, '#') ? 1 : 2;
}

/* Whether a tensor of the row holds those of all experts of a layer. */
static bool
is_stacked(const TensorRow *row)
{
	return row->role != ROLE_COUNT && role_experts[row->role] && numbers_of(row) == 1;
}

/* Tensors of the row's name: one, one a layer, or one an expert of a layer. */
static uint32_t
names_of(const Matcher *x, const TensorRow *row)
{
	const uint32_t counts[] = {1, x->m->n_layer, x->m->n_layer * x->m->n_expert};
	return counts[numbers_of(row)];
}

static const char *
expected_name(const Matcher *x, const TensorRow *row, uint32_t i)
{
	const uint32_t experts = numbers_of(row) == 2 ? x->m->n_expert : 1;
	const uint32_t numbers[NUMBERS] = {i / experts, i % experts};
	Text *t = text_new(x->arena);
	int n = 0;
	for (const char *c = row->name; *c; c++) {
		if (*c == '#')
			text_printf(t, "%u", numbers[n++]);
		else
			text_add(t, c, 1);
	}
	return t->text;
}

/* The slot of the row's tensor i, of a stack the first. */
static const Tensor **
slot_of(const Matcher *x, const TensorRow *row, uint32_t i)
{
	return &x->slots[row->role][is_stacked(row) ? i * x->m->n_expert : i];
}

static bool
is_empty(const Matcher *x, const TensorRow *row, uint32_t i)
{
	return row->role != ROLE_COUNT && !*slot_of(x, row, i);
}

/* Names that the architecture has and the file lacks: with null only their number. */
static size_t
empty_slots(const Matcher *x, const char **names)
{
	size_t n = 0;
	for (size_t i = 0; i < x->n_rows; i++)
		for (uint32_t l = 0; l < names_of(x, &x->rows[i]); l++)
			if (is_empty(x, &x->rows[i], l)) {
				if (names)
					names[n] = expected_name(x, &x->rows[i], l);
				n++;
			}
	return n;
}

/* Why a name that is the row's has no slot; false: it has one. */
static bool
report_beyond(const Matcher *x, const TensorRow *row, const Tensor *t)
{
	uint32_t numbers[NUMBERS];
	if (!name_matches(row->name, t->name, numbers))
		return false;
	const bool layer = numbers[0] >= x->m->n_layer;
	diag_error(x->d, t->loc, E_TENSOR_UNKNOWN, "tensor '%s' belongs to %s %u, but '%s' is %u",
		   t->name, layer ? "layer" : "expert", numbers[!layer],
		   layer ? x->layers_key : x->experts_key, layer ? x->m->n_layer : x->m->n_expert);
	return true;
}

static void
report_unknown(const Matcher *x, const Tensor *t)
{
	for (size_t i = 0; i < x->n_rows; i++)
		if (report_beyond(x, &x->rows[i], t))
			return;
	diag_error(x->d, t->loc, E_TENSOR_UNKNOWN,
		   "tensor '%s' could change the model's function and is not understood", t->name);
	const char **names = ARENA_ARRAY(x->arena, const char *, empty_slots(x, NULL));
	const char *near = nearest_name(t->name, names, empty_slots(x, names));
	if (near)
		diag_hint(x->d, "did you mean '%s', which is missing?", near);
}

/* Fills the slots of all experts with their parts of one tensor; of another number of experts,
 * which match_shapes refuses, with the first. */
static void
match_stack(Matcher *x, FoundTensor *f, uint32_t layer)
{
	const uint32_t n = x->m->n_expert;
	Tensor *parts = ARENA_ARRAY(x->arena, Tensor, n);
	for (uint32_t e = 0; e < n; e++) {
		parts[e] = f->tensor;
		if (f->stack == n)
			parts[e].data += (uint64_t)e * f->rows * f->tensor.row_bytes;
		x->slots[f->row->role][layer * n + e] = &parts[e];
	}
}

static void
match_one(Matcher *x, FoundTensor *f)
{
	for (size_t k = 0; k < x->n_rows; k++) {
		const TensorRow *row = &x->rows[k];
		uint32_t numbers[NUMBERS];
		if (!name_matches(row->name, f->tensor.name, numbers) ||
		    (numbers_of(row) > 0 && numbers[0] >= x->m->n_layer) ||
		    (numbers_of(row) > 1 && numbers[1] >= x->m->n_expert))
			continue;
		f->row = row;
		if (row->role == ROLE_COUNT)
			return;
		f->tensor.rows = (uint32_t)f->rows;
		f->tensor.columns = (uint32_t)f->columns;
		f->tensor.head_dim = x->m->head_dim;
		f->tensor.row_order = row->row_order;
		if (is_stacked(row))
			match_stack(x, f, numbers[0]);
		else if (numbers_of(row) > 1)
			*slot_of(x, row, numbers[0] * x->m->n_expert + numbers[1]) = &f->tensor;
		else
			*slot_of(x, row, numbers[0]) = &f->tensor;
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
		for (uint32_t l = 0; l < names_of(x, row); l++) {
			if (!row->required || !is_empty(x, row, l) || ++missing > SHOWN)
				continue;
			const char *name = expected_name(x, row, l);
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

/* The experts of a layer have one format. */
static bool
experts_alike(const Matcher *x, const FoundTensor *f)
{
	uint32_t numbers[NUMBERS];
	if (!name_matches(f->row->name, f->tensor.name, numbers))
		return false;
	const Tensor *first = x->slots[f->row->role][numbers[0] * x->m->n_expert];
	return format_equal(first->type->format, f->tensor.type->format);
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
		const uint32_t stack = is_stacked(f->row) ? x->m->n_expert : 1;
		if (f->columns != columns || f->rows != rows || f->stack != stack)
			diag_error(x->d, t->loc, E_TENSOR_SHAPE,
				   "tensor '%s' has the shape %s, the metadata wants %s", t->name,
				   f->shape, x->shape(x->arena, stack, rows, columns));
		else if (role_experts[f->row->role] && !experts_alike(x, f))
			diag_error(x->d, t->loc, E_TENSOR_TYPE,
				   "tensor '%s' has type %s, the layer's first expert another",
				   t->name, t->type->name);
		else if (rows == 1 && !format_is_float(t->type->format))
			diag_error(x->d, t->loc, E_TENSOR_TYPE,
				   "tensor '%s' has type %s; Lathe reads vectors of floats",
				   t->name, t->type->name);
	}
	return diag_errors(x->d) == before;
}
