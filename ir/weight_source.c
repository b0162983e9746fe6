#include "weight_source.h"

#include <string.h>

enum { FOLD_COLUMNS = 32, FOLD_ROWS = 64, FOLD_PAD = 8 /* against equal cache sets */ };

/* ---- folding a whole tensor --------------------------------------------------------------- */

typedef struct Fold {
	const WeightSource *source;
	const Transform *out;
	double *w;
} Fold;

static uint32_t
tensor_index(const WeightSource *s, uint32_t i)
{
	return s->row_of ? s->row_of[i] : i;
}

static void
row_double(const WeightSource *s, uint32_t i, double *row, float *as_float)
{
	tensor_row_f32(s->tensor, tensor_index(s, i), as_float);
	for (uint32_t k = 0; k < s->tensor->columns; k++)
		row[k] = (double)as_float[k];
}

static void
fold_rows(void *arg, int task)
{
	const Fold *f = arg;
	const WeightSource *s = f->source;
	Arena *scratch = arena_new();
	float *as_float = ARENA_ARRAY(scratch, float, s->columns);
	double *work = ARENA_ARRAY(scratch, double, s->columns);
	const uint32_t first = (uint32_t)task * FOLD_ROWS;
	for (uint32_t i = first; i < first + FOLD_ROWS && i < s->rows; i++) {
		double *row = f->w + (size_t)i * s->columns;
		row_double(s, i, row, as_float);
		if (s->each_row)
			transform_apply(s->each_row, row, work);
	}
	arena_free(scratch);
}

/* Columns as rows of their own, a few at a time, so that memory is read by lines. */
static void
fold_columns(void *arg, int task)
{
	const Fold *f = arg;
	const WeightSource *s = f->source;
	Arena *scratch = arena_new();
	const size_t pitch = (size_t)s->rows + FOLD_PAD;
	double *turned = ARENA_ARRAY(scratch, double, FOLD_COLUMNS *pitch);
	double *work = ARENA_ARRAY(scratch, double, s->rows);
	const uint32_t first = (uint32_t)task * FOLD_COLUMNS;
	const uint32_t n = s->columns - first < FOLD_COLUMNS ? s->columns - first : FOLD_COLUMNS;
	for (size_t i = 0; i < s->rows; i++)
		for (size_t k = 0; k < n; k++)
			turned[k * pitch + i] = f->w[i * s->columns + first + k];
	for (size_t k = 0; k < n; k++)
		transform_apply(f->out, turned + k * pitch, work);
	for (size_t i = 0; i < s->rows; i++)
		for (size_t k = 0; k < n; k++)
			f->w[i * s->columns + first + k] = turned[k * pitch + i];
	arena_free(scratch);
}

static void
fold_tensor(WeightSource *s, const Transform *out, int jobs)
{
	Fold f = {.source = s, .out = out};
	f.w = ARENA_ARRAY(s->arena, double, (size_t)s->rows * s->columns);
	parallel_for(jobs, (int)((s->rows + FOLD_ROWS - 1) / FOLD_ROWS), fold_rows, &f);
	if (out)
		parallel_for(jobs, (int)((s->columns + FOLD_COLUMNS - 1) / FOLD_COLUMNS),
			     fold_columns, &f);
	s->folded = f.w;
}

/* ---- opening ------------------------------------------------------------------------------ */

static const PlanCodes *
ready_codes(const Graph *g, int role, uint32_t place)
{
	const PlanCodes *codes = g->plan ? &g->plan->codes[role][place] : NULL;
	return codes && codes->codes ? codes : NULL;
}

void
weight_source_open(WeightSource *s, const Graph *g, const Func *f, const Value *v, int jobs,
		   const WeightFault *fault)
{
	weight_source_open_expert(s, g, f, v, 0, jobs, fault);
}

void
weight_source_open_expert(WeightSource *s, const Graph *g, const Func *f, const Value *v,
			  uint32_t expert, int jobs, const WeightFault *fault)
{
	const uint32_t layer = role_layered[v->role] && f->layer >= 0 ? (uint32_t)f->layer : 0;
	const uint32_t place = model_place(g->model, v->role, f->layer, expert);
	const bool one_row = v->op == OP_EMBED || v->op == OP_BIAS,
		   stored = g->plan && g->plan->stored;
	const Transform *fold_in = stored ? NULL : v->fold_in;
	const Transform *fold_out = stored ? NULL : v->fold_out;
	const Transform *out = one_row ? NULL : fold_out;
	const Tensor *t = model_expert(g->model, (Role)v->role, layer, expert);
	INVARIANT(t != NULL);
	*s = weight_source_of(t);
	s->mapped = g->model->mapped;
	s->codes = ready_codes(g, v->role, place);
	s->codes_format = g->formats[v->role][place];
	s->real_zeros = s->codes && g->plan->weights[v->role][place].format.zero == ZERO_REAL;
	if (fold_in || fold_out || fault)
		s->arena = arena_new();
	if (one_row)
		s->each_row = fold_out;
	else if (fold_in)
		s->each_row = transform_normalise(s->arena, transform_transpose(s->arena, fold_in));
	if (s->each_row)
		s->columns = s->each_row->n_out;
	/* An order of the rows needs no arithmetic, and keeps stored codes. */
	if (out && out->kind == T_PERM) {
		s->row_of = out->perm;
		out = NULL;
	}
	if (out || fault) {
		fold_tensor(s, out, jobs);
		if (s->mapped)
			file_forget(t->data, (size_t)(t->rows * t->row_bytes));
	}
	if (fault)
		fault->fn(fault->arg, v->role, f->layer, s->folded, s->rows, s->columns);
	if (!s->codes)
		weight_source_measure(s, s->codes_format, jobs);
}

WeightSource
weight_source_of(const Tensor *t)
{
	return (WeightSource){.tensor = t, .rows = t->rows, .columns = t->columns};
}

void
weight_source_close(WeightSource *s)
{
	if (s->arena)
		arena_free(s->arena);
	if (s->mapped)
		file_forget(s->tensor->data, (size_t)(s->tensor->rows * s->tensor->row_bytes));
	*s = (WeightSource){0};
}

/* ---- rows --------------------------------------------------------------------------------- */

void
weight_source_row_exact(const WeightSource *s, uint32_t i, WeightRow *w)
{
	if (s->folded) {
		memcpy(w->exact, s->folded + (size_t)i * s->columns, s->columns * sizeof *w->exact);
		return;
	}
	row_double(s, i, w->exact, w->row_f32);
	if (s->each_row)
		transform_apply(s->each_row, w->exact, w->exact + s->columns);
}

/* The plan's codes. */
static void
row_of_codes(const WeightSource *s, uint32_t i, Format f, WeightRow *w)
{
	const size_t groups = (size_t)format_groups(f, (int)s->columns);
	memcpy(w->codes, s->codes->codes + (size_t)i * s->columns, s->columns);
	memcpy(w->scales, s->codes->scales + i * groups, groups * sizeof *w->scales);
	const float *zeros = s->codes->zeros ? s->codes->zeros + i * groups : NULL;
	for (size_t k = 0; k < groups && zeros; k++) {
		if (f.zero)
			w->zeros[k] = (uint8_t)zeros[k];
		else if (s->real_zeros)
			w->minima[k] = format_scale_round(f, -zeros[k] * w->scales[k]);
		else if (f.minimum)
			w->minima[k] = zeros[k];
	}
}

/* Row i as floats in w->row_f32. */
static void
row_float(const WeightSource *s, uint32_t i, WeightRow *w)
{
	if (!s->folded && !s->each_row) {
		tensor_row_f32(s->tensor, tensor_index(s, i), w->row_f32);
		return;
	}
	weight_source_row_exact(s, i, w);
	for (uint32_t k = 0; k < s->columns; k++)
		w->row_f32[k] = (float)w->exact[k];
}

void
weight_source_row(const WeightSource *s, uint32_t i, Format f, WeightRow *w)
{
	if (s->codes && format_equal(f, s->codes_format)) {
		row_of_codes(s, i, f, w);
		return;
	}
	if (!s->folded && !s->each_row && !f.per_tensor) {
		weight_row_load(s->tensor, tensor_index(s, i), f, w);
		return;
	}
	row_float(s, i, w);
	weight_row_round((int)s->columns, f, f.per_tensor ? &s->range : NULL, w);
}

void
weight_source_not_finite(const WeightSource *s, int64_t i, Diag *d)
{
	diag_error(d, s->tensor->loc, E_NOT_FINITE,
		   "tensor '%s': a value or scale of row %lld is not finite in the format asked "
		   "for",
		   s->tensor->name, (long long)i);
}

/* ---- the range of a whole tensor ---------------------------------------------------------- */

typedef struct Measure {
	const WeightSource *source;
	double above;
	WeightRange *rows; /* [rows] */
} Measure;

enum { MEASURE_ROWS = 64 };

static void
measure_rows(void *arg, int task)
{
	const Measure *m = arg;
	const WeightSource *s = m->source;
	Arena *scratch = arena_new();
	WeightRow w;
	weight_row_alloc(scratch, &w, (int)s->columns, FORMAT_F32);
	const uint32_t first = (uint32_t)task * MEASURE_ROWS;
	for (uint32_t i = first; i < first + MEASURE_ROWS && i < s->rows; i++) {
		row_float(s, i, &w);
		m->rows[i] = weight_range(w.row_f32, (int)s->columns, m->above);
	}
	arena_free(scratch);
}

/* Rows are joined in their order: the result does not depend on `jobs`. */
static WeightRange
measure(const WeightSource *s, double above, WeightRange *rows, int jobs)
{
	Measure m = {.source = s, .above = above, .rows = rows};
	parallel_for(jobs, (int)((s->rows + MEASURE_ROWS - 1) / MEASURE_ROWS), measure_rows, &m);
	WeightRange all = rows[0];
	for (uint32_t i = 1; i < s->rows; i++)
		all = weight_range_join(all, rows[i]);
	return all;
}

void
weight_source_measure(WeightSource *s, Format f, int jobs)
{
	if (!f.per_tensor)
		return;
	Arena *scratch = arena_new();
	WeightRange *rows = ARENA_ARRAY(scratch, WeightRange, s->rows);
	s->range = measure(s, 0, rows, jobs);
	if (f.ternary)
		s->range = measure(s, weight_range_above(&s->range), rows, jobs);
	arena_free(scratch);
}
