/*
 * Kernels as C functions. A rows kernel is a loop over tokens with one line an op; a linear kernel
 * calls a specialised function per matrix; a phase is the kernels between two barriers. Buffers
 * are named constants (buffer_name), values are numbered as in the IR of report.txt.
 */
#include "emit.h"

#include <ctype.h>
#include <string.h>

typedef struct Emit {
	Text *t;
	const Artefact *x;
	const Graph *g;
	const Unit *u;
	const Func *f;
} Emit;

static const char *const tile_names[] = {"LATHE_TILE_F32", "LATHE_TILE_A8", "LATHE_TILE_A16"};

static const Value *
value(const Emit *e, int i)
{
	return &e->f->values[i];
}

static const Value *
kernel_value(const Emit *e, const Kernel *k, int i)
{
	return value(e, e->f->order[k->first + i]);
}

static int
value_index(const Emit *e, const Value *v)
{
	return (int)(v - e->f->values);
}

/* Bytes per token of arena in front of a value's buffer. */
static unsigned long long
buffer_offset(const Emit *e, const Value *v)
{
	INVARIANT(v->buffer >= 0);
	return e->f->buffers[v->buffer].offset;
}

/* Whether a value has a place in the arena (the logits are the caller's memory). */
static bool
has_place(const Emit *e, const Value *v)
{
	return v->op != OP_OUTPUT && v->buffer >= 0 && !e->f->buffers[v->buffer].caller;
}

/* What a value is called: its tensor, else its op. */
static const char *
value_word(const Value *v)
{
	return v->op == OP_LINEAR ? role_names[v->role] : op_name(v->op);
}

/* "LAYER0_V4_Q": the constant that is the offset of a value's buffer. */
static const char *
buffer_name(const Emit *e, const Value *v)
{
	INVARIANT(has_place(e, v));
	char *s = arena_printf(e->t->arena, "%s_v%d_%s", e->u->ident, value_index(e, v),
			       value_word(v));
	for (char *c = s; *c; c++)
		*c = (char)toupper((unsigned char)*c);
	return s;
}

static bool
is_activation(const Value *v)
{
	return op_table[v->op].result == 'a';
}

static const Kernel *
kernel_of(const Emit *e, const Value *v)
{
	for (int k = 0; k < e->f->n_kernels; k++)
		for (int i = 0; i < e->f->kernels[k].count; i++)
			if (kernel_value(e, &e->f->kernels[k], i) == v)
				return &e->f->kernels[k];
	return NULL;
}

/* A phase that each worker repeats for itself when there is one row. */
static bool
phase_repeats(const Emit *e, int phase)
{
	bool any = false;
	for (int k = 0; k < e->f->n_kernels; k++) {
		const Kernel *n = &e->f->kernels[k];
		if (n->phase == phase && !n->repeat_at_one)
			return false;
		any |= n->phase == phase;
	}
	return any;
}

/* ---- names -------------------------------------------------------------------------------- */

/* "layer0_1_q_k_v": the unit, the kernel's number, its tensors and ops. */
static const char *
kernel_name(const Emit *e, const Kernel *k)
{
	Text *t = text_new(e->t->arena);
	text_printf(t, "%s_%d", e->u->ident, (int)(k - e->f->kernels));
	for (int i = 0; i < k->count; i++) {
		const Value *v = kernel_value(e, k, i);
		text_printf(t, "_%s", value_word(v));
	}
	return t->text;
}

/* "i4g32m_a16_k576": weights, activations, columns. */
static const char *
linear_name(Arena *a, Format w, const Value *act)
{
	const RowLayout row = row_layout(act);
	Text *t = text_new(a);
	text_printf(t, "%s%u", format_is_float(w) ? "f" : "i", w.bits);
	if (!format_is_float(w))
		text_printf(t, w.group ? "g%u" : "row", w.group);
	if (!format_is_float(w) && w.scale_bits != 16)
		text_printf(t, "s%u", w.scale_bits);
	if (w.minimum)
		text_add(t, "m", 1);
	if (!row.planes)
		text_printf(t, "_f32");
	else if (act->format.group)
		text_printf(t, "_a%ug%u", act->format.bits, act->format.group);
	else
		text_printf(t, "_a%u", act->format.bits);
	text_printf(t, "_k%u", act->width);
	return t->text;
}

static const char *
float_literal(Arena *a, float v)
{
	Text *t = text_new(a);
	text_float(t, v);
	if (!strpbrk(t->text, ".e"))
		text_add(t, ".0", 2);
	text_add(t, "f", 1);
	return t->text;
}

/* ---- the specialised linears -------------------------------------------------------------- */

typedef enum Epilogue { EPILOGUE_STORE, EPILOGUE_ADD, EPILOGUE_SILU_MUL, EPILOGUE_LOGITS } Epilogue;

static const struct {
	const char *name, *parameters, *arguments;
} epilogues[] = {
	[EPILOGUE_STORE] = {"store", "", ""},
	[EPILOGUE_ADD] = {"add", "", ""},
	[EPILOGUE_SILU_MUL] = {"silu_mul", "", ""},
	[EPILOGUE_LOGITS] = {"logits", ", int n_rows", ", n_rows"},
};

/* The epilogue that a kernel's linears share; LOGITS where the result is the caller's memory. */
static Epilogue
kernel_epilogue(const Emit *e, const Kernel *k)
{
	Epilogue r = EPILOGUE_STORE;
	for (int i = 0; i < k->count; i++) {
		const Value *v = kernel_value(e, k, i);
		if (v->op == OP_ADD)
			r = EPILOGUE_ADD;
		else if (v->op == OP_SILU_MUL)
			r = EPILOGUE_SILU_MUL;
		else if (v->buffer >= 0 && e->f->buffers[v->buffer].caller)
			r = EPILOGUE_LOGITS;
	}
	return r;
}

static void
emit_linear(Text *t, Format w, const Value *act, Epilogue epilogue)
{
	const RowLayout row = row_layout(act);
	const char *fn = linear_name(t->arena, w, act);
	const int k = (int)act->width;
	const Format a = is_activation(act) && row.planes ? act->format : FORMAT_F32;
	Text *words = text_new(t->arena);
	format_print(words, w);
	text_printf(words, " weights, ");
	format_print(words, a);
	text_printf(words, " activations, %d columns", k);
	const int group = w.group ? (int)w.group : k;
	const int sums = act->sums ? (int)act->sums : group;
	/* The name says all that the specification depends on. */
	INVARIANT(act->sums == linear_sums(w, a, act->width));
	const char *const fields[] = {"is_float", "bits",   "scale_bits", "minimum", "group",
				      "k",	  "planes", "act_group",  "sums",    "split"};
	const int values[] = {format_is_float(w),
			      w.bits,
			      format_is_float(w) ? 32 : w.scale_bits,
			      w.minimum,
			      group,
			      k,
			      (int)row.planes,
			      row.planes ? (int)a.group : 0,
			      sums,
			      contract_split(k, w, a)};
	text_line(t, "/* %s */", words->text);
	text_line(t, "static void");
	text_line(t,
		  "%s_%s(const unsigned char *w, Range blocks, const Tiles *a, int rows, float *y, "
		  "int ld%s)",
		  fn, epilogues[epilogue].name, epilogues[epilogue].parameters);
	text_line(t, "{");
	text_line(t, "static const Linear spec = {");
	for (size_t i = 0; i < sizeof values / sizeof *values; i++)
		text_line(t, "%d, /* %s */", values[i], fields[i]);
	text_line(t, "};");
	text_line(t, "linear_%s(spec, w, blocks.first, blocks.end, a, rows, y, ld%s);",
		  epilogues[epilogue].name, epilogues[epilogue].arguments);
	text_line(t, "}");
	text_blank(t);
}

void
emit_linears(Text *t, const Artefact *x)
{
	const Graph *g = x->graph;
	const char **done = ARENA_ARRAY(t->arena, const char *, 4096);
	int n_done = 0;
	text_line(t, "/* ---- linears, specialised on formats and shapes ---- */");
	text_blank(t);
	for (int n = 0; n < x->layout->n_units; n++) {
		Emit e = {t, x, g, &x->layout->units[n], &g->funcs[x->layout->units[n].func]};
		for (int k = 0; k < e.f->n_kernels; k++) {
			const Kernel *kernel = &e.f->kernels[k];
			if (kernel->kind != KERNEL_LINEAR)
				continue;
			const Value *v = kernel_value(&e, kernel, 0);
			const Value *act = value(&e, v->operands[0]);
			const Epilogue epilogue = kernel_epilogue(&e, kernel);
			const Format w = graph_weight_format(g, v->role, e.f->layer);
			const char *name =
				arena_printf(t->arena, "%s_%s", linear_name(t->arena, w, act),
					     epilogues[epilogue].name);
			bool seen = false;
			for (int i = 0; i < n_done; i++)
				seen |= !strcmp(done[i], name);
			if (seen)
				continue;
			INVARIANT(n_done < 4096);
			done[n_done++] = name;
			emit_linear(t, w, act, epilogue);
		}
	}
}

/* ---- rows --------------------------------------------------------------------------------- */

/* The parts of a tile value, for its writer and its readers. */
static void
emit_tiles(const Emit *e, const Value *v)
{
	const RowLayout row = row_layout(v);
	const char *at = buffer_name(e, v);
	text_line(e->t, "/* The arrays of %%%d, %u partial sum%s a token. */", value_index(e, v),
		  row.n_sums, row.n_sums == 1 ? "" : "s");
	text_line(e->t, "static Parts");
	text_line(e->t, "%s_v%d(Rows r)", e->u->ident, value_index(e, v));
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
static const char *
row_expression(const Emit *e, const Kernel *k, const Value *v)
{
	Arena *a = e->t->arena;
	const int i = value_index(e, v);
	if (kernel_of(e, v) == k)
		return arena_printf(a, "v%d", i);
	const RowLayout row = row_layout(v);
	const char *index = v->op == OP_INPUT ? "j->row0 + t" : "t";
	const Kernel *from = kernel_of(e, v);
	const bool own = from && phase_repeats(e, from->phase);
	INVARIANT(!own);
	return arena_printf(a, "row_at(shared_rows(m), %s, %u, %s)", buffer_name(e, v), row.padded,
			    index);
}

static const char *
constant_expression(const Emit *e, const Kernel *k, int role)
{
	const Constant *c = unit_constant(e->u, (int)(k - e->f->kernels), role);
	return arena_printf(e->t->arena, "m->weights + %s_constants[j->layer].%s", e->u->ident,
			    c->field);
}

static void
emit_codes(const Emit *e, const Value *v, const char *x)
{
	const RowLayout row = row_layout(v);
	const int sums = (int)(v->sums ? v->sums : v->width);
	Text *t = e->t;
	text_line(t, "{");
	text_line(t, "const Parts a = %s_v%d(to);", e->u->ident, value_index(e, v));
	text_line(t, "const Place p = place_of(t, j->rows, %s);", tile_names[row.planes]);
	if (row.planes) {
		const char *lo =
			row.planes == 2
				? arena_printf(t->arena, "a.lo + p.first * %u + p.column * 4",
					       row.padded)
				: "NULL";
		const char *sum_lo =
			row.planes == 2
				? arena_printf(t->arena, "a.sum_lo + p.first * %u + p.column",
					       row.n_sums)
				: "NULL";
		text_line(t, "quantize_row(%u, %u, %u, %d, p.width, %s,", v->width, row.planes,
			  v->format.group, sums, x);
		text_line(t, "\ta.hi + p.first * %u + p.column * 4, %s,", row.padded, lo);
		text_line(t, "\ta.sum_hi + p.first * %u + p.column, %s,", row.n_sums, sum_lo);
		text_line(t, "\ta.scale + p.first * %u + p.column);", row.n_scales);
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

static void
emit_rope(const Emit *e, const Value *v, const char *from, const char *to)
{
	const Model *m = e->g->model;
	text_line(e->t, "rope_row(%u, %u, %s, rope_cos(m, j, t), rope_sin(m, j, t), %s);", v->heads,
		  m->head_dim, from, to);
}

/* One op of a rows kernel on row t. */
static void
emit_row_op(const Emit *e, const Kernel *k, const Value *v)
{
	Text *t = e->t;
	const int i = value_index(e, v);
	const char *a =
		op_operands(v->op) > 0 ? row_expression(e, k, value(e, v->operands[0])) : "";
	const char *b =
		op_operands(v->op) > 1 ? row_expression(e, k, value(e, v->operands[1])) : "";
	if (is_activation(v)) {
		emit_codes(e, v, a);
		return;
	}
	if (v->op == OP_EMBED) {
		const Format f = graph_weight_format(e->g, v->role, e->f->layer);
		text_line(t, "embed_row(%d, %u, %u, %d, %u, %u, %s, m->tokens[j->row0 + t], v%d);",
			  format_is_float(f), f.bits, format_is_float(f) ? 32u : f.scale_bits,
			  f.minimum, f.group ? f.group : v->width, v->width,
			  constant_expression(e, k, v->role), i);
	} else if (v->op == OP_RMSNORM) {
		text_line(t, "rmsnorm_row(%u, %s, %s, %s, v%d);", v->width, a,
			  float_literal(t->arena, v->eps),
			  float_literal(t->arena, (float)(1.0 / v->width)), i);
	} else if (v->op == OP_GAIN) {
		text_line(t, "gain_row(%u, %s, (const float *)(%s), v%d);", v->width, a,
			  constant_expression(e, k, v->role), i);
	} else if (v->op == OP_ROPE) {
		emit_rope(e, v, a, arena_printf(t->arena, "v%d", i));
	} else if (v->op == OP_SILU_MUL || v->op == OP_ADD) {
		text_line(t, "%s_row(%u, %s, %s, v%d);", op_name(v->op), v->width, a, b, i);
	} else {
		BUG("op %s cannot be in a rows kernel", op_name(v->op));
	}
}

static const char *
kernel_words(const Emit *e, const Kernel *k)
{
	Text *t = text_new(e->t->arena);
	for (int i = 0; i < k->count; i++) {
		const Value *v = kernel_value(e, k, i);
		text_printf(t, "%s%%%d = %s", i ? "; " : "", value_index(e, v), op_name(v->op));
		for (int o = 0; o < op_operands(v->op); o++)
			text_printf(t, " %%%d", v->operands[o]);
		if (v->role >= 0)
			text_printf(t, " @%s", role_names[v->role]);
	}
	return t->text;
}

/* Floats of scratch: rows that no other kernel reads. */
static uint64_t
rows_kernel_scratch(const Emit *e, const Kernel *k)
{
	uint64_t floats = 0;
	for (int i = 0; i < k->count; i++) {
		const Value *v = kernel_value(e, k, i);
		if (!is_activation(v) && v->buffer < 0)
			floats += row_layout(v).padded;
	}
	return floats;
}

/* Whether a rows kernel looks at the job: for the batch's first row, its rows or the layer. */
static bool
kernel_uses_job(const Emit *e, const Kernel *k)
{
	for (int i = 0; i < k->count; i++) {
		const Value *v = kernel_value(e, k, i);
		if (is_activation(v) || v->role >= 0 || v->op == OP_ROPE)
			return true;
		for (int o = 0; o < op_operands(v->op); o++)
			if (value(e, v->operands[o])->op == OP_INPUT)
				return true;
	}
	return false;
}

static void
emit_rows_kernel(const Emit *e, const Kernel *k)
{
	Text *t = e->t;
	uint64_t scratch = 0;
	for (int i = 0; i < k->count; i++)
		if (is_activation(kernel_value(e, k, i)))
			emit_tiles(e, kernel_value(e, k, i));
	text_line(t, "/* %s */", kernel_words(e, k));
	text_line(t, "static void");
	text_line(t, "%s(const %s *m, const %s_job *j, Rows to, Range rows, float *scratch)",
		  kernel_name(e, k), e->x->ident, e->x->ident);
	text_line(t, "{");
	if (!kernel_uses_job(e, k))
		text_line(t, "(void)j;");
	if (!rows_kernel_scratch(e, k))
		text_line(t, "(void)scratch;");
	text_line(t, "for (int t = rows.first; t < rows.end; t++) {");
	for (int i = 0; i < k->count; i++) {
		const Value *v = kernel_value(e, k, i);
		const RowLayout row = row_layout(v);
		if (is_activation(v))
			continue;
		if (v->buffer >= 0) {
			text_line(t, "float *const v%d = row_at(to, %s, %u, t);", value_index(e, v),
				  buffer_name(e, v), row.padded);
		} else {
			text_line(t, "float *const v%d = scratch + %llu;", value_index(e, v),
				  (unsigned long long)scratch);
			scratch += row.padded;
		}
	}
	for (int i = 0; i < k->count; i++)
		emit_row_op(e, k, kernel_value(e, k, i));
	text_line(t, "}");
	text_line(t, "}");
	text_blank(t);
}

/* ---- linears ------------------------------------------------------------------------------ */

/* The value whose buffer receives the result of the kernel's linear v. */
static const Value *
linear_result(const Emit *e, const Kernel *k, const Value *v, Epilogue epilogue)
{
	for (int i = 0; i < k->count; i++) {
		const Value *r = kernel_value(e, k, i);
		if ((epilogue == EPILOGUE_ADD && r->op == OP_ADD) ||
		    (epilogue == EPILOGUE_SILU_MUL && r->op == OP_SILU_MUL))
			return r;
	}
	return v;
}

/* One call of a specialised linear on the blocks of one matrix (or of gate and up). */
static void
emit_linear_call(const Emit *e, const Kernel *k, const Value *v, Epilogue epilogue, bool stacked)
{
	Text *t = e->t;
	const Constant *c = unit_constant(e->u, (int)(k - e->f->kernels), v->role);
	const Value *act = value(e, v->operands[0]);
	const char *fn = linear_name(t->arena, c->format, act);
	uint32_t first, step;
	constant_blocks(c, v->role, &first, &step);
	const uint32_t blocks = (v->width + PACK_ROWS - 1) / PACK_ROWS;
	const char *range =
		stacked ? arena_printf(t->arena, "range_cut(blocks, %u, %u)", first, first + blocks)
			: "blocks";
	const char *w = first ? arena_printf(t->arena, "w + %llu",
					     (unsigned long long)first *
						     pack_block_bytes(c->format, c->columns))
			      : "w";
	if (epilogue == EPILOGUE_LOGITS) {
		text_line(t, "%s_logits(w, blocks, &a, j->rows, m->logits, %u, %u);", fn, v->width,
			  v->width);
		return;
	}
	const Value *r = linear_result(e, k, v, epilogue);
	const RowLayout row = row_layout(r);
	text_line(t, "%s_%s(%s, %s, &a, j->rows, row_at(shared_rows(m), %s, %u, 0), %u);", fn,
		  epilogues[epilogue].name, w, range, buffer_name(e, r), row.padded, row.padded);
}

/* The residual of an add is summed in place: copy it first where the result lies elsewhere. */
static void
emit_residual(const Emit *e, const Kernel *k)
{
	for (int i = 0; i < k->count; i++) {
		const Value *v = kernel_value(e, k, i);
		if (v->op != OP_ADD)
			continue;
		const Value *a = value(e, v->operands[0]), *b = value(e, v->operands[1]);
		const Value *residual = kernel_of(e, b) == k ? a : b;
		INVARIANT(kernel_of(e, a) == k || kernel_of(e, b) == k);
		if (buffer_offset(e, residual) == buffer_offset(e, v))
			continue;
		const RowLayout row = row_layout(v);
		text_line(e->t,
			  "copy_columns(row_at(shared_rows(m), %s, %u, %s), "
			  "row_at(shared_rows(m), %s, %u, 0), %u, j->rows, blocks);",
			  buffer_name(e, residual), row.padded,
			  residual->op == OP_INPUT ? "j->row0" : "0", buffer_name(e, v), row.padded,
			  row.padded);
	}
}

static void
emit_linear_kernel(const Emit *e, const Kernel *k)
{
	Text *t = e->t;
	const Epilogue epilogue = kernel_epilogue(e, k);
	const Value *first = kernel_value(e, k, 0);
	uint32_t blocks = 0;
	int linears = 0;
	for (int i = 0; i < k->count; i++) {
		const Value *v = kernel_value(e, k, i);
		linears += v->op == OP_LINEAR;
		if (v->op == OP_LINEAR && (epilogue != EPILOGUE_SILU_MUL || linears == 1))
			blocks += (v->width + PACK_ROWS - 1) / PACK_ROWS;
	}
	text_line(t, "/* %s */", kernel_words(e, k));
	text_line(t, "static void");
	text_line(t, "%s(const %s *m, const %s_job *j, Rows from, int tid, int n_threads)",
		  kernel_name(e, k), e->x->ident, e->x->ident);
	text_line(t, "{");
	text_line(t, "const unsigned char *w = %s;", constant_expression(e, k, first->role));
	text_line(t, "const Tiles a = tiles_of(%s_v%d(from));", e->u->ident, first->operands[0]);
	text_line(t, "const Range blocks = range_of(%u, tid, n_threads);", blocks);
	emit_residual(e, k);
	for (int i = 0; i < k->count; i++) {
		const Value *v = kernel_value(e, k, i);
		if (v->op != OP_LINEAR)
			continue;
		emit_linear_call(e, k, v, epilogue, epilogue == EPILOGUE_STORE && linears > 1);
		if (epilogue == EPILOGUE_SILU_MUL)
			break;
	}
	text_line(t, "}");
	text_blank(t);
}

/* ---- cache and attention ------------------------------------------------------------------ */

/* The parts of a KV kernel: the append and the ropes in front of it, null where not fused. */
static void
emit_kv_kernel(const Emit *e, const Kernel *k)
{
	Text *t = e->t;
	const Model *m = e->g->model;
	const Value *append = NULL, *q = NULL;
	for (int i = 0; i < k->count; i++)
		if (kernel_value(e, k, i)->op == OP_KV_APPEND)
			append = kernel_value(e, k, i);
	INVARIANT(append);
	const Value *key = value(e, append->operands[0]), *v = value(e, append->operands[1]);
	for (int i = 0; i < k->count; i++)
		if (kernel_value(e, k, i)->op == OP_ROPE && kernel_value(e, k, i) != key)
			q = kernel_value(e, k, i);
	const unsigned d = m->head_dim, group = m->n_head / m->n_kv_head;
	text_line(t, "/* %s: one key and value head with its query heads at a time */",
		  kernel_words(e, k));
	text_line(t, "static void");
	text_line(t, "%s(const %s *m, const %s_job *j, int tid, int n_threads, float *scratch)",
		  kernel_name(e, k), e->x->ident, e->x->ident);
	text_line(t, "{");
	text_line(t, "const Range work = range_of(j->rows * %u, tid, n_threads);", m->n_kv_head);
	if (kernel_of(e, key) != k)
		text_line(t, "(void)scratch;");
	text_line(t, "for (int i = work.first; i < work.end; i++) {");
	text_line(t, "const int t = i / %u, h = i %% %u;", m->n_kv_head, m->n_kv_head);
	const bool key_fused = kernel_of(e, key) == k;
	const Value *key_row = key_fused ? value(e, key->operands[0]) : key;
	text_line(t, "const float *key = %s + h * %u;", row_expression(e, k, key_row), d);
	text_line(t, "const float *value = %s + h * %u;", row_expression(e, k, v), d);
	if (q) {
		const RowLayout row = row_layout(q);
		text_line(t, "const float *query = %s + h * %u;",
			  row_expression(e, k, value(e, q->operands[0])), group * d);
		text_line(t, "float *rotated = row_at(shared_rows(m), %s, %u, t) + h * %u;",
			  buffer_name(e, q), row.padded, group * d);
		text_line(t,
			  "rope_row(%u, %u, query, rope_cos(m, j, t), rope_sin(m, j, t), rotated);",
			  group, d);
	}
	if (key_fused) {
		text_line(t, "rope_row(1, %u, key, rope_cos(m, j, t), rope_sin(m, j, t), scratch);",
			  d);
		text_line(t, "key = scratch;");
	}
	text_line(t,
		  "kv_write(%u, %u, m->n_past + j->row0 + t, key, value, cache_k(m, j->layer, h), "
		  "cache_v(m, j->layer, h));",
		  e->g->kv.bits, d);
	text_line(t, "}");
	text_line(t, "}");
	text_blank(t);
}

static void
emit_attention_kernel(const Emit *e, const Kernel *k)
{
	Text *t = e->t;
	const Model *m = e->g->model;
	const Value *v = kernel_value(e, k, 0);
	const Value *q = value(e, v->operands[0]);
	const RowLayout in = row_layout(q), out = row_layout(v);
	double root = 1; /* 1/sqrt(d) by Newton: the same double on every host */
	for (int i = 0; i < 64; i++)
		root = 0.5 * (root + m->head_dim / root);
	text_line(t, "/* %s */", kernel_words(e, k));
	text_line(t, "static void");
	text_line(t, "%s(const %s *m, const %s_job *j, int tid, int n_threads, float *scratch)",
		  kernel_name(e, k), e->x->ident, e->x->ident);
	text_line(t, "{");
	text_line(t, "attention_rows(%u, %u, %u, %u, %s,", e->g->kv.bits, m->head_dim, v->heads,
		  v->kv_heads, float_literal(t->arena, (float)(1.0 / root)));
	text_line(t, "\tm, j, row_at(shared_rows(m), %s, %u, %s), %u,", buffer_name(e, q),
		  in.padded, q->op == OP_INPUT ? "j->row0" : "0", in.padded);
	text_line(t, "\trow_at(shared_rows(m), %s, %u, 0), %u, tid, n_threads, scratch);",
		  buffer_name(e, v), out.padded, out.padded);
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
	*name = kernel_name(&e, k);
	*words = kernel_words(&e, k);
	if (k->kind == KERNEL_LINEAR) {
		const Value *v = kernel_value(&e, k, 0);
		*words = arena_printf(a, "%s; %s", *words,
				      linear_name(a,
						  graph_weight_format(x->graph, v->role, f->layer),
						  value(&e, v->operands[0])));
	}
}

/* ---- phases ------------------------------------------------------------------------------- */

static void
emit_kernel_call(const Emit *e, const Kernel *k)
{
	Text *t = e->t;
	const char *name = kernel_name(e, k);
	const Value *v = kernel_value(e, k, 0);
	switch ((KernelKind)k->kind) {
	case KERNEL_ROWS:
		text_line(t,
			  "%s(m, j, shared_rows(m), range_of(j->rows, tid, n_threads), "
			  "own_scratch(m, tid));",
			  name);
		break;
	case KERNEL_LINEAR: {
		const Kernel *from = kernel_of(e, value(e, v->operands[0]));
		const bool own = from && phase_repeats(e, from->phase);
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
	const bool repeats = phase > 0 && phase_repeats(e, phase - 1);
	if (phase_repeats(e, phase))
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
				  kernel_name(e, &e->f->kernels[k]));
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
		const Value *v = value(e, i);
		Text *words = text_new(t->arena);
		if (!has_place(e, v))
			continue;
		format_print(words, v->format);
		text_line(t, "%s = %llu, /* %%%d: %s[%u] */", buffer_name(e, v),
			  buffer_offset(e, v), i, words->text, v->width);
	}
	text_line(t, "};");
	text_blank(t);
}

void
emit_unit(Text *t, const Artefact *x, const Unit *u)
{
	const Emit e = {t, x, x->graph, u, &x->graph->funcs[u->func]};
	static void (*const emit_kernel[])(const Emit *, const Kernel *) = {
		[KERNEL_ROWS] = emit_rows_kernel,
		[KERNEL_LINEAR] = emit_linear_kernel,
		[KERNEL_KV] = emit_kv_kernel,
		[KERNEL_ATTENTION] = emit_attention_kernel,
	};
	text_line(t, "/* ---- %s: %s ---- */", u->ident, functions_words(x, u));
	text_blank(t);
	emit_buffers(&e);
	for (int k = 0; k < e.f->n_kernels; k++)
		emit_kernel[e.f->kernels[k].kind](&e, &e.f->kernels[k]);
	for (int p = 0; p < phase_count(e.f); p++)
		emit_phase(&e, p);
	text_line(t, "static const %s_phase %s_phases[] = {", x->ident, u->ident);
	for (int p = 0; p < phase_count(e.f); p++)
		text_line(t, "{%s_phase%d, %d},", u->ident, p,
			  phase_repeats(&e, p) && p + 1 < phase_count(e.f));
	text_line(t, "};");
	text_blank(t);
}

/* templates/rows.h, LATHE_ATTENTION_SCRATCH, for the tokens of templates/phase.h; the emitted file
 * checks that they agree. */
static uint64_t
attention_floats(const Model *m)
{
	enum { ATTENTION_TOKENS = 16 };
	const uint64_t d = m->head_dim, padded = round_up(d, 16);
	const uint64_t queries = ATTENTION_TOKENS * m->n_head / m->n_kv_head;
	return 512 + 64 * (d + padded) + queries * (d + padded + 2);
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
				floats += row_layout(kernel_value(&e, &f->kernels[k], i)).padded;
			most = floats > most ? floats : most;
		}
	}
	return most;
}
