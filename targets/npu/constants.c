/*
 * Weights into the .bin. Rows are made from their sources on all cores, a piece of a matrix at a
 * time, and written in order, so that memory stays small and the bytes do not depend on how many
 * threads there are. Scales and zero points of a matrix are gathered and follow its codes.
 */
#include "npu.h"

#include "../layout.h"

#include <math.h>
#include <string.h>

/* Rows of a task: whole bytes of codes of any width. */
enum { TASK_ROWS = 32, PIECE_BYTES = 1 << 22, ROW_MULTIPLE = 64 };

/* ---- forms ---------------------------------------------------------------------------------- */

NpuForm
npu_form(Format f, const NpuFacts *facts)
{
	static const struct {
		int bits; /* at least */
		Element symmetric, other;
	} rows[] = {{5, ELEMENT_I8, ELEMENT_U8}, {0, ELEMENT_I4, ELEMENT_U4}};
	const bool zeros = f.zero == ZERO_INTEGER || f.minimum;
	int i = 0;
	if (format_is_float(f))
		return (NpuForm){.element = f.bits == 16 ? ELEMENT_F16 : ELEMENT_F32};
	if (f.bits == 2 && facts->u2)
		return (NpuForm){.element = ELEMENT_U2, .zero = format_offset(f), .zeros = zeros};
	while (f.bits < rows[i].bits)
		i++;
	if (zeros)
		return (NpuForm){.element = rows[i].other, .zeros = true};
	return (NpuForm){.element = rows[i].symmetric, .shift = format_offset(f)};
}

uint32_t
npu_group(Format f, uint32_t columns)
{
	const uint32_t even = f.group & (~f.group + 1);
	if (f.group == 0 || f.group >= columns)
		return columns;
	return even > 1 ? even : 0;
}

/* What is at work. */
typedef struct Adding {
	Arena *run, *layer;
	Diag *diag;
	const Graph *g;
	const NpuFacts *facts;
	int jobs;
	NpuConstants *c;
} Adding;

/* ---- one matrix ----------------------------------------------------------------------------- */

typedef struct Packing {
	const WeightSource *source;
	Format format;
	NpuForm form;
	uint32_t columns, padded, group, groups; /* as they are stored */
	uint32_t first;				 /* row of the piece */
	uint8_t *codes;				 /* of the piece */
	uint64_t task_bytes;
	float *scales, *zeros; /* [rows][groups] */
	int64_t *bad_rows;     /* of each task of the piece: the first that is not finite, or -1 */
} Packing;

/* n codes, each below 2^bits, from the low bits of each byte; n is a multiple of 8. */
static void
pack_codes(const uint8_t *codes, size_t n, int bits, uint8_t *dst)
{
	if (bits == 8)
		memcpy(dst, codes, n);
	else if (bits == 4)
		for (size_t i = 0; i < n / 2; i++)
			dst[i] = (uint8_t)(codes[2 * i] | codes[2 * i + 1] << 4);
	else
		for (size_t i = 0; i < n / 4; i++)
			dst[i] = (uint8_t)(codes[4 * i] | codes[4 * i + 1] << 2 |
					   codes[4 * i + 2] << 4 | codes[4 * i + 3] << 6);
}

static void
store_floats(const float *row, size_t n, int bits, uint8_t *dst)
{
	for (size_t i = 0; i < n; i++) {
		uint32_t u = 0;
		if (bits == 16)
			u = f32_to_f16(row[i]);
		else
			memcpy(&u, &row[i], sizeof u);
		for (int k = 0; k < bits / 8; k++)
			*dst++ = (uint8_t)(u >> 8 * k);
	}
}

/*
 * A group's code * s + minimum as (code - zero) * s. Where s is 0, or too small for a zero point,
 * the group is its minimum everywhere.
 */
static float
zero_of_minimum(const Packing *p, WeightRow *w, uint32_t group)
{
	const float zero = -w->minima[group] / w->scales[group];
	if (isfinite(zero))
		return zero;
	w->scales[group] = w->minima[group];
	memset(w->codes + (size_t)group * p->format.group, 1,
	       (size_t)format_group_width(p->format, (int)p->columns, (int)group));
	return 0;
}

/* Codes as they are stored, a byte each, and what goes with their groups. */
static void
store_row(const Packing *p, WeightRow *w, uint32_t row, uint8_t *codes)
{
	const uint8_t mask = (uint8_t)((1u << element_table[p->form.element].bits) - 1);
	const uint32_t groups = (uint32_t)format_groups(p->format, (int)p->columns),
		       copies = p->groups > 1 ? p->format.group / p->group : 1;
	const size_t first = (size_t)row * p->groups;
	for (uint32_t i = 0, at = 0; i < groups; i++) {
		const float zero = p->format.minimum ? zero_of_minimum(p, w, i) : w->zeros[i];
		for (uint32_t k = 0; k < copies && at < p->groups; k++, at++) {
			p->scales[first + at] = w->scales[i];
			if (p->form.zeros)
				p->zeros[first + at] = zero;
		}
	}
	for (uint32_t k = 0; k < p->columns; k++)
		codes[k] = (uint8_t)(w->codes[k] - p->form.shift) & mask;
}

static void
pack_rows(void *arg, int task)
{
	const Packing *p = arg;
	const int bits = element_table[p->form.element].bits;
	const bool floats = format_is_float(p->format);
	const uint32_t first = p->first + (uint32_t)task * TASK_ROWS;
	uint8_t *dst = p->codes + (size_t)task * p->task_bytes;
	Arena *scratch = arena_new();
	uint8_t *codes = ARENA_ARRAY(scratch, uint8_t, floats ? 0 : TASK_ROWS * (size_t)p->padded);
	WeightRow w;
	weight_row_alloc(scratch, &w, (int)p->columns, p->format);
	p->bad_rows[task] = -1;
	for (uint32_t r = 0; r < TASK_ROWS && first + r < p->source->rows; r++) {
		weight_source_row(p->source, first + r, p->format, &w);
		if (p->bad_rows[task] < 0 && !weight_row_finite(&w, p->format, (int)p->columns))
			p->bad_rows[task] = first + r;
		if (floats)
			store_floats(w.row_f32, p->columns, bits,
				     dst + (size_t)r * p->columns * (size_t)(bits / 8));
		else
			store_row(p, &w, first + r, codes + (size_t)r * p->padded);
	}
	if (!floats)
		pack_codes(codes, TASK_ROWS * (size_t)p->padded, bits, dst);
	arena_free(scratch);
}

/* Rows of a piece: whole tasks, some at least. */
static uint32_t
piece_rows(const Packing *p)
{
	const uint64_t tasks = PIECE_BYTES / p->task_bytes;
	const uint64_t rows = (tasks ? tasks : 1) * TASK_ROWS;
	const uint64_t all = round_up(p->source->rows, TASK_ROWS);
	return (uint32_t)(rows < all ? rows : all);
}

static bool
add_codes(const Adding *a, Packing *p, Shape shape, BinPart *part)
{
	Bin *bin = a->c->bin;
	const uint32_t rows = p->source->rows, step = piece_rows(p);
	p->codes = ARENA_ARRAY(a->layer, uint8_t, step / TASK_ROWS * p->task_bytes);
	p->bad_rows = ARENA_ARRAY(a->layer, int64_t, step / TASK_ROWS);
	bin_begin(bin, p->form.element, shape);
	for (p->first = 0; p->first < rows; p->first += step) {
		const uint32_t n = rows - p->first < step ? rows - p->first : step;
		const int tasks = (int)((n + TASK_ROWS - 1) / TASK_ROWS);
		const uint64_t bits =
			(uint64_t)n * p->padded * (uint64_t)element_table[p->form.element].bits;
		parallel_for(a->jobs, tasks, pack_rows, p);
		for (int i = 0; i < tasks; i++)
			if (p->bad_rows[i] >= 0) {
				weight_source_not_finite(p->source, p->bad_rows[i], a->diag);
				return false;
			}
		bin_piece(bin, p->codes, (size_t)((bits + 7) / 8));
	}
	*part = bin_end(bin);
	return true;
}

/* f16 where the format's scales are f16, but f32 beside zero points, where compilers keep the codes
 * for f32 only, and in the table whose rows the host looks up. */
static BinPart
add_scales(const Adding *a, const Packing *p, const Value *v, Shape shape)
{
	const Format f = p->format;
	if (p->form.zeros || f.scale_bits != 16 || f.bf16 || v->op == OP_EMBED)
		return bin_add(a->c->bin, ELEMENT_F32, shape, p->scales);
	const size_t n = (size_t)shape_elements(shape);
	uint8_t *halves = ARENA_ARRAY(a->layer, uint8_t, 2 * n);
	store_floats(p->scales, n, 16, halves);
	return bin_add(a->c->bin, ELEMENT_F16, shape, halves);
}

/* Codes of a row: whole groups. OpenVINO's split of a stateful model for the NPU takes rows without
 * groups, of codes below a byte, by 64 only. */
static uint32_t
padded_columns(const NpuMatrix *m)
{
	return m->groups == 1 && element_table[m->form.element].bits < 8
		       ? (uint32_t)round_up(m->columns, ROW_MULTIPLE)
		       : m->groups * m->group;
}

static bool
add_matrix(const Adding *a, const WeightSource *s, const Value *v, Format f, NpuMatrix *m)
{
	const uint32_t group = npu_group(f, s->columns);
	INVARIANT(group > 0);
	const uint32_t groups = (uint32_t)(((uint64_t)s->columns + group - 1) / group);
	const size_t scales = (size_t)s->rows * groups;
	const bool in_groups = groups > 1;
	*m = (NpuMatrix){.form = npu_form(f, a->facts),
			 .rows = s->rows,
			 .columns = s->columns,
			 .group = group,
			 .groups = groups};
	m->padded = padded_columns(m);
	Packing p = {.source = s,
		     .format = f,
		     .form = m->form,
		     .columns = s->columns,
		     .padded = m->padded,
		     .group = group,
		     .groups = groups};
	p.task_bytes =
		TASK_ROWS * (uint64_t)p.padded * (uint64_t)element_table[m->form.element].bits / 8;
	p.scales = ARENA_ARRAY(a->layer, float, scales);
	p.zeros = ARENA_ARRAY(a->layer, float, m->form.zeros ? scales : 0);
	const Shape of_codes =
		in_groups ? SHAPE(s->rows, groups, m->group) : SHAPE(s->rows, m->padded);
	const Shape of_scales = in_groups ? SHAPE(s->rows, groups, 1) : SHAPE(s->rows, 1);
	if (!add_codes(a, &p, of_codes, &m->codes))
		return false;
	if (format_is_float(f))
		return true;
	m->scales = add_scales(a, &p, v, of_scales);
	if (m->form.zeros)
		m->zeros = bin_add(a->c->bin, ELEMENT_F32, of_scales, p.zeros);
	return true;
}

/* ---- all constants -------------------------------------------------------------------------- */

/* The matrix of an earlier value that is the same; null: none. Layers have tensors of their own. */
static const NpuMatrix *
earlier_matrix(const Adding *a, const Func *f, const Value *v)
{
	const Graph *g = a->g;
	for (const Func *e = g->funcs; e < f && f->layer < 0; e++)
		for (int i = 0; i < e->count && e->layer < 0; i++)
			if (op_table[e->values[i].op].tensor == TENSOR_MATRIX &&
			    format_equal(graph_weight_format(g, e->values[i].role, e->layer),
					 graph_weight_format(g, v->role, f->layer)) &&
			    weights_same(g, f, v->role, e, e->values[i].role))
				return &a->c->matrices[e - g->funcs][i];
	return NULL;
}

static bool
add_value(const Adding *a, const Func *f, const Value *v)
{
	const size_t func = (size_t)(f - a->g->funcs), value = (size_t)(v - f->values);
	const OpTensor tensor = op_table[v->op].tensor;
	WeightSource s;
	bool ok = true;
	if (tensor == TENSOR_NONE)
		return true;
	if (tensor == TENSOR_MATRIX) {
		const NpuMatrix *same = earlier_matrix(a, f, v);
		if (same) {
			a->c->matrices[func][value] = *same;
			return true;
		}
	}
	weight_source_open(&s, a->g, f, v, a->jobs, NULL);
	if (tensor == TENSOR_MATRIX) {
		ok = add_matrix(a, &s, v, graph_weight_format(a->g, v->role, f->layer),
				&a->c->matrices[func][value]);
	} else {
		WeightRow w;
		weight_row_alloc(a->layer, &w, (int)s.columns, FORMAT_F32);
		weight_source_row(&s, 0, FORMAT_F32, &w);
		a->c->vectors[func][value] =
			bin_add(a->c->bin, ELEMENT_F32, SHAPE(s.columns), w.row_f32);
	}
	weight_source_close(&s);
	arena_reset(a->layer);
	return ok;
}

static void
add_rope(const Adding *a, uint32_t positions)
{
	const Model *m = a->g->model;
	const uint32_t half = m->head_dim / 2;
	const Shape shape = SHAPE(positions, half);
	float *cosines = ARENA_ARRAY(a->layer, float, (size_t)positions *half);
	float *sines = ARENA_ARRAY(a->layer, float, (size_t)positions *half);
	for (size_t p = 0; p < positions; p++)
		rope_table(m, (uint32_t)p, cosines + p * half, sines + p * half);
	a->c->rope_cos = bin_add(a->c->bin, ELEMENT_F32, shape, cosines);
	a->c->rope_sin = bin_add(a->c->bin, ELEMENT_F32, shape, sines);
	arena_reset(a->layer);
}

bool
npu_constants(Arena *run, Diag *d, const Graph *g, const NpuFacts *f, uint32_t positions, Bin *bin,
	      int jobs, NpuConstants *c)
{
	const Adding a = {.run = run,
			  .layer = arena_new(),
			  .diag = d,
			  .g = g,
			  .facts = f,
			  .jobs = jobs,
			  .c = c};
	bool ok = true;
	c->bin = bin;
	c->matrices = ARENA_ARRAY(run, NpuMatrix *, g->count);
	c->vectors = ARENA_ARRAY(run, BinPart *, g->count);
	add_rope(&a, positions);
	for (int i = 0; i < g->count && ok; i++) {
		const Func *func = &g->funcs[i];
		c->matrices[i] = ARENA_ARRAY(run, NpuMatrix, func->count);
		c->vectors[i] = ARENA_ARRAY(run, BinPart, func->count);
		for (int v = 0; v < func->count && ok; v++)
			ok = add_value(&a, func, &func->values[v]);
	}
	arena_free(a.layer);
	return ok;
}
