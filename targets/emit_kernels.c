/*
 * Kernels as C functions. A rows kernel is a loop over tokens with one line an op; a linear kernel
 * calls a specialised function per matrix; a phase is the kernels between two barriers. Buffers
 * are named constants (buffer_name), values are numbered as in the IR of report.txt.
 */
#include "emit_impl.h"

#include <ctype.h>
#include <string.h>

static const char *const tile_names[] = {"LATHE_TILE_F32", "LATHE_TILE_A8", "LATHE_TILE_A16"};

static const char *const zero_names[] = {
	[ZERO_NONE] = "ROW_SYMMETRIC",
	[ZERO_INTEGER] = "ROW_ZERO_INTEGER",
	[ZERO_REAL] = "ROW_ZERO_REAL",
};

/* ---- rows --------------------------------------------------------------------------------- */

/* The parts of a tile value, for its writer and its readers. */
static void
emit_tiles(const Emit *e, const Value *v)
{
	const RowLayout row = row_layout(v);
	const char *at = emit_buffer_name(e, v);
	text_line(e->t, "/* The arrays of %%%d, %u partial sum%s a token. */", emit_index(e, v),
		  row.n_sums, row.n_sums == 1 ? "" : "s");
	text_line(e->t, "static Parts");
	text_line(e->t, "%s_v%d(Rows r)", e->u->ident, emit_index(e, v));
	text_line(e->t, "{");
	text_line(e->t, "Parts a = {0};");
	const struct {
		const char *name;
		bool there;
		uint64_t offset;
	} parts[] = {
		{"hi", row.planes > 0, row.hi},
		{"lo", row.planes == 2, row.lo},
		{"sum_hi", row.planes > 0, row.sum_hi},
		{"sum_lo", row.planes == 2, row.sum_lo},
		{"scale", row.planes > 0, row.scale},
		{"shift", row.planes > 0 && v->format.zero, row.shift},
		{"x", row.planes == 0, row.x},
		{"xsum", row.planes == 0 && row.n_sums, row.xsum},
	};
	for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
		if (parts[i].there)
			text_line(e->t, "a.%s = part_at(r, %s + %llu);", parts[i].name, at,
				  (unsigned long long)parts[i].offset);
	text_line(e->t, "return a;");
	text_line(e->t, "}");
	text_blank(e->t);
}

/* The C expression of operand v's row t: from its buffer, or the local row of this kernel. */
const char *
emit_row_expression(const Emit *e, const Kernel *k, const Value *v)
{
	Arena *a = e->t->arena;
	const int i = emit_index(e, v);
	if (emit_kernel_of(e, v) == k)
		return arena_printf(a, "v%d", i);
	const RowLayout row = row_layout(v);
	const char *index = v->op == OP_INPUT ? "j->row0 + t" : "t";
	const Kernel *from = emit_kernel_of(e, v);
	const bool own = from && emit_phase_repeats(e, from->phase);
	INVARIANT(!own);
	return arena_printf(a, "row_at(shared_rows(m), %s, %u, %s)", emit_buffer_name(e, v),
			    row.padded, index);
}

static const char *
constant_expression(const Emit *e, const Constant *c)
{
	return arena_printf(e->t->arena, "m->weights + %s_constants[j->layer].%s", e->u->ident,
			    c->field);
}

const char *
emit_constant_expression(const Emit *e, const Kernel *k, int role)
{
	return constant_expression(e, unit_constant(e->u, (int)(k - e->f->kernels), role));
}

static void
emit_codes(const Emit *e, const Value *v, const char *x)
{
	const RowLayout row = row_layout(v);
	const int sums = (int)(v->sums ? v->sums : v->width);
	Text *t = e->t;
	text_line(t, "{");
	text_line(t, "const Parts a = %s_v%d(to);", e->u->ident, emit_index(e, v));
	text_line(t, "const Place p = place_of(t, j->rows, %s);",
		  v->alone ? "1" : tile_names[row.planes]);
	if (row.planes) {
		const Format f = v->format;
		text_line(t, "const RowFormat f = {%u, %u, %s, %s};", f.bits, f.group,
			  zero_names[f.zero], emit_float(t->arena, f.clip));
		text_line(t, "quantize_row(%u, f, %d, p.width, %s, codes_at(a, p, %u, %u, %u));",
			  v->width, sums, x, row.padded, row.n_sums, row.n_scales);
	} else {
		const char *xsum =
			row.n_sums ? arena_printf(t->arena, "a.xsum + p.first * %u + p.column",
						  row.n_sums)
				   : "NULL";
		text_line(t,
			  "tile_whole_row(%u, %d, p.width, %s, a.x + p.first * %u + p.column, "
			  "%s);",
			  v->width, row.n_sums ? sums : 0, x, row.padded, xsum);
	}
	text_line(t, "}");
}

const char *
emit_rope_tables(const Value *v)
{
	return v->window ? "rope_window_cos(m, j, t), rope_window_sin(m, j, t)"
			 : "rope_cos(m, j, t), rope_sin(m, j, t)";
}

void
emit_rope(const Emit *e, const Value *v, const char *from, const char *to)
{
	const Model *m = e->g->model;
	text_line(e->t, "rope_row(%u, %u, %s, %s, %s);", v->heads, m->head_dim, from,
		  emit_rope_tables(v), to);
}

/* Floats that a row takes in scratch: transforms may make it longer on their way. */
static uint32_t
row_room(const Value *v)
{
	return v->op == OP_TRANSFORM ? (uint32_t)round_up(transform_span(v->transform), 32)
				     : row_layout(v).padded;
}

/* A transform whose operand is this kernel's own and nobody else's takes over its row. */
static bool
runs_in_place(const Emit *e, const Kernel *k, const Value *v)
{
	const Value *x = emit_value(e, v->operands[0]);
	int readers = 0;
	for (int i = 0; i < e->f->count; i++)
		for (int o = 0; o < op_operands(e->f->values[i].op); o++)
			readers += e->f->values[i].operands[o] == v->operands[0];
	return v->op == OP_TRANSFORM && v->buffer < 0 && emit_kernel_of(e, x) == k &&
	       x->buffer < 0 && readers == 1 && row_room(v) <= row_room(x);
}

/* v is the transform of row a. */
static void
emit_row_transform(const Emit *e, const Kernel *k, const Value *v, const char *a)
{
	Text *t = e->t;
	const int i = emit_index(e, v);
	const uint32_t room = row_room(v), padded = row_layout(v).padded;
	const unsigned n = (unsigned)round_up(v->transform->n, 32);
	const Constant *c = unit_tables(e->u, i);
	const char *tables = c ? arena_printf(t->arena, ", %s", constant_expression(e, c)) : "";
	if (v->buffer >= 0 && room > padded) {
		text_line(t, "memcpy(work, %s, sizeof(float) * %u);", a, n);
		text_line(t, "%s_t%d(work, work + %u%s);", e->u->ident, i, room, tables);
		text_line(t, "memcpy(v%d, work, sizeof(float) * %u);", i, padded);
		return;
	}
	if (!runs_in_place(e, k, v))
		text_line(t, "memcpy(v%d, %s, sizeof(float) * %u);", i, a, n);
	text_line(t, "%s_t%d(v%d, work%s);", e->u->ident, i, i, tables);
}

/* One op of a rows kernel on row t. */
void
emit_row_op(const Emit *e, const Kernel *k, const Value *v)
{
	Text *t = e->t;
	const int i = emit_index(e, v);
	const char *a = op_operands(v->op) > 0
				? emit_row_expression(e, k, emit_value(e, v->operands[0]))
				: "";
	const char *b = op_operands(v->op) > 1
				? emit_row_expression(e, k, emit_value(e, v->operands[1]))
				: "";
	if (emit_is_activation(v)) {
		emit_codes(e, v, a);
		return;
	}
	if (v->op == OP_EMBED) {
		const Format f = graph_weight_format(e->g, v->role, e->f->layer);
		text_line(t, "embed_row((Linear){%s}, %s, m->tokens[j->row0 + t], v%d);",
			  emit_weight_fields(t->arena, f, v->width),
			  emit_constant_expression(e, k, v->role), i);
		if (v->factor != 0)
			text_line(t, "scale_row(%u, %s, v%d);", v->width,
				  emit_float(t->arena, v->factor), i);
	} else if (v->op == OP_RMSNORM) {
		text_line(t, "rmsnorm_row(%u, %s, %s, %s, v%d);", v->width, a,
			  emit_float(t->arena, v->eps),
			  emit_float(t->arena, (float)(1.0 / v->width)), i);
	} else if (v->op == OP_GAIN) {
		text_line(t, "gain_row(%u, %s, (const float *)(%s), v%d);", v->width, a,
			  emit_constant_expression(e, k, v->role), i);
	} else if (v->op == OP_BIAS) {
		text_line(t, "add_row(%u, %s, (const float *)(%s), v%d);", v->width, a,
			  emit_constant_expression(e, k, v->role), i);
	} else if (v->op == OP_RMSNORM_HEADS) {
		const uint32_t d = v->width / v->heads;
		text_line(t, "rmsnorm_heads_row(%u, %u, %s, %s, %s, v%d);", v->heads, d, a,
			  emit_float(t->arena, v->eps), emit_float(t->arena, (float)(1.0 / d)), i);
	} else if (v->op == OP_GAIN_HEADS) {
		text_line(t, "gain_heads_row(%u, %u, %s, (const float *)(%s), v%d);", v->heads,
			  v->width / v->heads, a, emit_constant_expression(e, k, v->role), i);
	} else if (v->op == OP_ROPE) {
		emit_rope(e, v, a, arena_printf(t->arena, "v%d", i));
	} else if (v->op == OP_TRANSFORM) {
		emit_row_transform(e, k, v, a);
	} else if (v->op == OP_ROUTE) {
		text_line(t, "route_row(%u, %u, %u, %s, v%d);",
			  emit_value(e, v->operands[0])->width, v->used, v->norm, a, i);
	} else if (v->op == OP_WEIGH) {
		text_line(t, "weigh_row(%u, %s, %s[%u], v%d);", v->width, a, b, v->slot, i);
	} else if (op_is_gated(v->op) || v->op == OP_ADD || v->op == OP_SIGMOID_MUL) {
		text_line(t, "%s_row(%u, %s, %s, v%d);", op_name(v->op), v->width, a, b, i);
	} else {
		BUG("op %s cannot be in a rows kernel", op_name(v->op));
	}
}

const char *
emit_words(const Emit *e, const Kernel *k)
{
	Text *t = text_new(e->t->arena);
	for (int i = 0; i < k->count; i++) {
		const Value *v = emit_kernel_value(e, k, i);
		text_printf(t, "%s%%%d = %s", i ? "; " : "", emit_index(e, v), op_name(v->op));
		for (int o = 0; o < op_operands(v->op); o++)
			text_printf(t, " %%%d", v->operands[o]);
		if (v->role >= 0)
			text_printf(t, " @%s", role_names[v->role]);
	}
	return t->text;
}

/* Floats of scratch: rows that no other kernel reads, and what transforms work in. */
uint64_t
emit_rows_scratch(const Emit *e, const Kernel *k)
{
	uint64_t floats = 0, work = 0;
	for (int i = 0; i < k->count; i++) {
		const Value *v = emit_kernel_value(e, k, i);
		const uint64_t room = row_room(v), rows = v->buffer < 0 ? 4 : 5;
		if (emit_is_row(v) && v->buffer < 0)
			floats += room;
		if (v->op == OP_TRANSFORM && rows * room > work)
			work = rows * room;
	}
	return floats + work;
}

/* Names the rows of a kernel's values: in their buffers of `to`, or in scratch. */
void
emit_row_names(const Emit *e, const Kernel *k)
{
	Text *t = e->t;
	uint64_t scratch = 0;
	bool work = false;
	for (int i = 0; i < k->count; i++) {
		const Value *v = emit_kernel_value(e, k, i);
		const RowLayout row = row_layout(v);
		const int n = emit_index(e, v);
		work |= v->op == OP_TRANSFORM;
		if (!emit_is_row(v))
			continue;
		if (v->buffer >= 0) {
			text_line(t, "float *const v%d = row_at(to, %s, %u, t);", n,
				  emit_buffer_name(e, v), row.padded);
		} else if (runs_in_place(e, k, v)) {
			text_line(t, "float *const v%d = v%d;", n, v->operands[0]);
		} else {
			text_line(t, "float *const v%d = scratch + %llu;", n,
				  (unsigned long long)scratch);
			scratch += row_room(v);
		}
	}
	if (work)
		text_line(t, "float *const work = scratch + %llu;", (unsigned long long)scratch);
}

/* Whether a rows kernel looks at the job: for the batch's first row, its rows or the layer. */
static bool
kernel_uses_job(const Emit *e, const Kernel *k)
{
	for (int i = 0; i < k->count; i++) {
		const Value *v = emit_kernel_value(e, k, i);
		if (emit_is_activation(v) || v->role >= 0 || v->op == OP_ROPE ||
		    (v->op == OP_TRANSFORM && unit_tables(e->u, emit_index(e, v))))
			return true;
		for (int o = 0; o < op_operands(v->op); o++)
			if (emit_value(e, v->operands[o])->op == OP_INPUT)
				return true;
	}
	return false;
}

/* What stands in front of a kernel: the parts of its tiles, the functions of its transforms. */
void
emit_kernel_parts(const Emit *e, const Kernel *k)
{
	for (int i = 0; i < k->count; i++) {
		const Value *v = emit_kernel_value(e, k, i);
		if (emit_is_activation(v))
			emit_tiles(e, v);
		else if (v->op == OP_TRANSFORM)
			emit_transform(
				e->t,
				arena_printf(e->t->arena, "%s_t%d", e->u->ident, emit_index(e, v)),
				arena_printf(e->t->arena, "%%%d", emit_index(e, v)), v->transform,
				unit_tables(e->u, emit_index(e, v)));
	}
}

void
emit_rows_kernel(const Emit *e, const Kernel *k)
{
	Text *t = e->t;
	emit_kernel_parts(e, k);
	text_line(t, "/* %s */", emit_words(e, k));
	text_line(t, "static void");
	text_line(t, "%s(const %s *m, const %s_job *j, Rows to, Range rows, float *scratch)",
		  emit_kernel_name(e, k), e->x->ident, e->x->ident);
	text_line(t, "{");
	if (!kernel_uses_job(e, k))
		text_line(t, "(void)j;");
	if (!emit_rows_scratch(e, k))
		text_line(t, "(void)scratch;");
	text_line(t, "for (int t = rows.first; t < rows.end; t++) {");
	emit_row_names(e, k);
	for (int i = 0; i < k->count; i++)
		emit_row_op(e, k, emit_kernel_value(e, k, i));
	text_line(t, "}");
	text_line(t, "}");
	text_blank(t);
}

/* ---- for the manifest --------------------------------------------------------------------- */

void
emit_kernel_words(Arena *a, const Artefact *x, const Unit *u, int kernel, const char **name,
		  const char **words)
{
	const Func *f = &x->graph->funcs[u->func];
	const Emit e = {text_new(a), x, x->graph, u, f};
	const Kernel *k = &f->kernels[kernel];
	*name = emit_kernel_name(&e, k);
	*words = emit_words(&e, k);
	if (k->kind == KERNEL_LINEAR) {
		const Value *v = emit_kernel_value(&e, k, 0);
		const Constant *c = unit_constant(u, kernel, v->role);
		const char *between = "; ";
		for (uint32_t i = 0; i < c->experts; i++) {
			if (constant_first_alike(c, i) < i)
				continue;
			*words = arena_printf(
				a, "%s%s%s", *words, between,
				emit_linear_name(a, c->formats[i], emit_value(&e, v->operands[0])));
			between = ", ";
		}
	}
}

/* ---- phases ------------------------------------------------------------------------------- */

static void
emit_kernel_call(const Emit *e, const Kernel *k)
{
	Text *t = e->t;
	const char *name = emit_kernel_name(e, k);
	const Value *v = emit_kernel_value(e, k, 0);
	switch ((KernelKind)k->kind) {
	case KERNEL_ROWS:
		text_line(t,
			  "%s(m, j, shared_rows(m), range_of(j->rows, tid, n_threads), "
			  "own_scratch(m, tid));",
			  name);
		break;
	case KERNEL_LINEAR: {
		const Kernel *from = emit_kernel_of(e, emit_value(e, v->operands[0]));
		const bool own = from && emit_phase_repeats(e, from->phase);
		text_line(t, "%s(m, j, %s, tid, n_threads);", name,
			  own ? "repeated_rows(m, j, tid)" : "shared_rows(m)");
		break;
	}
	default:
		text_line(t, "%s(m, j, tid, n_threads, own_scratch(m, tid));", name);
	}
}

static int
phase_count(const Func *f)
{
	return f->n_kernels ? f->kernels[f->n_kernels - 1].phase + 1 : 0;
}

static void
emit_phase(const Emit *e, int phase)
{
	Text *t = e->t;
	const bool repeats = phase > 0 && emit_phase_repeats(e, phase - 1);
	if (emit_phase_repeats(e, phase))
		text_line(t,
			  "/* Skipped where the batch is one row: then the next phase does it. */");
	text_line(t, "static void");
	text_line(t, "%s_phase%d(%s *m, const %s_job *j, int tid, int n_threads)", e->u->ident,
		  phase, e->x->ident, e->x->ident);
	text_line(t, "{");
	for (int k = 0; k < e->f->n_kernels && repeats; k++)
		if (e->f->kernels[k].phase == phase - 1) {
			text_line(t, "if (j->rows == 1)");
			text_line(t,
				  "\t%s(m, j, own_rows(m, tid), range_one(), own_scratch(m, tid));",
				  emit_kernel_name(e, &e->f->kernels[k]));
		}
	for (int k = 0; k < e->f->n_kernels; k++)
		if (e->f->kernels[k].phase == phase)
			emit_kernel_call(e, &e->f->kernels[k]);
	text_line(t, "}");
	text_blank(t);
}

/* "layer.0 to layer.4", "head": the functions that run this code. */
static const char *
functions_words(const Artefact *x, const Unit *u)
{
	const Graph *g = x->graph;
	Text *t = text_new(g->arena);
	const char *last = NULL;
	int n = 0;
	for (int f = 0; f < g->count; f++) {
		if (layout_unit(x->layout, f) != u)
			continue;
		if (!n++)
			text_printf(t, "%s", g->funcs[f].name);
		last = g->funcs[f].name;
	}
	if (n > 1)
		text_printf(t, " to %s, %d functions", last, n);
	return t->text;
}

/* The buffers of a unit, by the values that they hold in turn. */
static void
emit_buffers(const Emit *e)
{
	Text *t = e->t;
	text_line(t,
		  "/* Where rows lie: bytes per token of the arena (phase.h). What is never needed "
		  "together shares memory. */");
	text_line(t, "enum {");
	for (int i = 0; i < e->f->count; i++) {
		const Value *v = emit_value(e, i);
		Text *words = text_new(t->arena);
		if (!emit_has_place(e, v))
			continue;
		format_print(words, v->format);
		text_line(t, "%s = %llu, /* %%%d: %s[%u] */", emit_buffer_name(e, v),
			  emit_buffer_offset(e, v), i, words->text, v->width);
	}
	text_line(t, "};");
	text_blank(t);
}

static void
emit_kernel(const Emit *e, const Kernel *k)
{
	static void (*const emit[])(const Emit *, const Kernel *) = {
		[KERNEL_ROWS] = emit_rows_kernel,
		[KERNEL_LINEAR] = emit_linear_kernel,
		[KERNEL_KV] = emit_kv_kernel,
		[KERNEL_ATTENTION] = emit_attention_kernel,
	};
	emit[k->kind](e, k);
}

void
emit_kernel_source(Text *t, const Artefact *x, const Unit *u, int kernel)
{
	const Emit e = {t, x, x->graph, u, &x->graph->funcs[u->func]};
	emit_kernel(&e, &e.f->kernels[kernel]);
}

void
emit_unit(Text *t, const Artefact *x, const Unit *u)
{
	const Emit e = {t, x, x->graph, u, &x->graph->funcs[u->func]};
	text_line(t, "/* ---- %s: %s ---- */", u->ident, functions_words(x, u));
	text_blank(t);
	emit_buffers(&e);
	for (int k = 0; k < e.f->n_kernels; k++)
		emit_kernel(&e, &e.f->kernels[k]);
	for (int p = 0; p < phase_count(e.f); p++)
		emit_phase(&e, p);
	text_line(t, "static const %s_phase %s_phases[] = {", x->ident, u->ident);
	for (int p = 0; p < phase_count(e.f); p++)
		text_line(t, "{%s_phase%d, %d},", u->ident, p,
			  emit_phase_repeats(&e, p) && p + 1 < phase_count(e.f));
	text_line(t, "};");
	text_blank(t);
}

/* templates/attention.h, LATHE_ATTENTION_SCRATCH, for the tokens of templates/phase.h; the emitted
 * file checks that they agree. */
static uint64_t
attention_floats(const Model *m)
{
	enum { ATTENTION_TOKENS = 16 };
	const uint64_t d = m->head_dim, padded = round_up(d, 16);
	const uint64_t queries = ATTENTION_TOKENS * m->n_head / m->n_kv_head;
	return 512 + 64 * (d + padded) + queries * (2 * padded + 4);
}

/* templates/experts.h: the rows that a kernel of experts gathers; 0: it is none. */
static uint64_t
expert_floats(const Emit *e, const Kernel *k)
{
	enum { EXPERT_ROWS = 24 };
	const Value *v = emit_kernel_value(e, k, 0);
	if (v->op != OP_EXPERT)
		return 0;
	return EXPERT_ROWS * row_layout(emit_value(e, v->operands[0])).bytes / sizeof(float);
}

uint64_t
emit_scratch_floats(const Artefact *x)
{
	uint64_t most = attention_floats(x->graph->model);
	for (int n = 0; n < x->layout->n_units; n++) {
		const Func *f = &x->graph->funcs[x->layout->units[n].func];
		const Emit e = {NULL, x, x->graph, &x->layout->units[n], f};
		for (int k = 0; k < f->n_kernels; k++) {
			uint64_t floats = 0;
			for (int i = 0; i < f->kernels[k].count; i++)
				floats +=
					row_layout(emit_kernel_value(&e, &f->kernels[k], i)).padded;
			if (emit_rows_scratch(&e, &f->kernels[k]) > floats)
				floats = emit_rows_scratch(&e, &f->kernels[k]);
			if (expert_floats(&e, &f->kernels[k]) > floats)
				floats = expert_floats(&e, &f->kernels[k]);
			most = floats > most ? floats : most;
		}
	}
	return most;
}
