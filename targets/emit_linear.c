/* Linears: functions specialised on formats and shapes, and the kernels that call them. */
#include "emit_impl.h"

#include <ctype.h>
#include <string.h>

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
		const Value *v = emit_kernel_value(e, k, i);
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
	const char *fn = emit_linear_name(t->arena, w, act);
	const int k = (int)act->width;
	const Format a = emit_is_activation(act) && row.planes ? act->format : FORMAT_F32;
	Text *words = text_new(t->arena);
	format_print(words, w);
	text_printf(words, " weights, ");
	format_print(words, a);
	text_printf(words, " activations, %d columns", k);
	const int group = w.group ? (int)w.group : k;
	const int sums = act->sums ? (int)act->sums : group;
	/* The name says all that the specification depends on. */
	INVARIANT(act->sums == linear_sums(w, a, act->width));
	const char *const fields[] = {"is_float", "bits",  "scale_bits", "minimum",
				      "group",	  "k",	   "planes",	 "act_group",
				      "sums",	  "split", "shift"};
	const int values[] = {format_is_float(w),
			      w.bits,
			      format_is_float(w) ? 32 : w.scale_bits,
			      w.minimum,
			      group,
			      k,
			      (int)row.planes,
			      row.planes ? (int)a.group : 0,
			      sums,
			      contract_split(k, w, a),
			      a.zero != ZERO_NONE};
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
			const Value *v = emit_kernel_value(&e, kernel, 0);
			const Value *act = emit_value(&e, v->operands[0]);
			const Epilogue epilogue = kernel_epilogue(&e, kernel);
			const Format w = graph_weight_format(g, v->role, e.f->layer);
			const char *name =
				arena_printf(t->arena, "%s_%s", emit_linear_name(t->arena, w, act),
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

/* ---- linears ------------------------------------------------------------------------------ */

/* The value whose buffer receives the result of the kernel's linear v. */
static const Value *
linear_result(const Emit *e, const Kernel *k, const Value *v, Epilogue epilogue)
{
	for (int i = 0; i < k->count; i++) {
		const Value *r = emit_kernel_value(e, k, i);
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
	const Value *act = emit_value(e, v->operands[0]);
	const char *fn = emit_linear_name(t->arena, c->form.format, act);
	uint32_t first, step;
	constant_blocks(c, v->role, &first, &step);
	const uint32_t blocks = (v->width + PACK_ROWS - 1) / PACK_ROWS;
	const char *range =
		stacked ? arena_printf(t->arena, "range_cut(blocks, %u, %u)", first, first + blocks)
			: "blocks";
	const char *w = first ? arena_printf(t->arena, "w + %llu",
					     (unsigned long long)first * pack_block_bytes(c->form))
			      : "w";
	if (epilogue == EPILOGUE_LOGITS) {
		text_line(t, "%s_logits(w, blocks, &a, j->rows, m->logits, %u, %u);", fn, v->width,
			  v->width);
		return;
	}
	const Value *r = linear_result(e, k, v, epilogue);
	const RowLayout row = row_layout(r);
	text_line(t, "%s_%s(%s, %s, &a, j->rows, row_at(shared_rows(m), %s, %u, 0), %u);", fn,
		  epilogues[epilogue].name, w, range, emit_buffer_name(e, r), row.padded,
		  row.padded);
}

/* The residual of an add is summed in place: copy it first where the result lies elsewhere. */
static void
emit_residual(const Emit *e, const Kernel *k)
{
	for (int i = 0; i < k->count; i++) {
		const Value *v = emit_kernel_value(e, k, i);
		if (v->op != OP_ADD)
			continue;
		const Value *a = emit_value(e, v->operands[0]), *b = emit_value(e, v->operands[1]);
		const Value *residual = emit_kernel_of(e, b) == k ? a : b;
		INVARIANT(emit_kernel_of(e, a) == k || emit_kernel_of(e, b) == k);
		if (emit_buffer_offset(e, residual) == emit_buffer_offset(e, v))
			continue;
		const RowLayout row = row_layout(v);
		text_line(e->t,
			  "copy_columns(row_at(shared_rows(m), %s, %u, %s), "
			  "row_at(shared_rows(m), %s, %u, 0), %u, j->rows, blocks);",
			  emit_buffer_name(e, residual), row.padded,
			  residual->op == OP_INPUT ? "j->row0" : "0", emit_buffer_name(e, v),
			  row.padded, row.padded);
	}
}

void
emit_linear_kernel(const Emit *e, const Kernel *k)
{
	Text *t = e->t;
	const Epilogue epilogue = kernel_epilogue(e, k);
	const Value *first = emit_kernel_value(e, k, 0);
	uint32_t blocks = 0;
	int linears = 0;
	for (int i = 0; i < k->count; i++) {
		const Value *v = emit_kernel_value(e, k, i);
		linears += v->op == OP_LINEAR;
		if (v->op == OP_LINEAR && (epilogue != EPILOGUE_SILU_MUL || linears == 1))
			blocks += (v->width + PACK_ROWS - 1) / PACK_ROWS;
	}
	text_line(t, "/* %s */", emit_words(e, k));
	text_line(t, "static void");
	text_line(t, "%s(const %s *m, const %s_job *j, Rows from, int tid, int n_threads)",
		  emit_kernel_name(e, k), e->x->ident, e->x->ident);
	text_line(t, "{");
	text_line(t, "const unsigned char *w = %s;", emit_constant_expression(e, k, first->role));
	text_line(t, "const Tiles a = tiles_of(%s_v%d(from));", e->u->ident, first->operands[0]);
	text_line(t, "const Range blocks = range_of(%u, tid, n_threads);", blocks);
	emit_residual(e, k);
	for (int i = 0; i < k->count; i++) {
		const Value *v = emit_kernel_value(e, k, i);
		if (v->op != OP_LINEAR)
			continue;
		emit_linear_call(e, k, v, epilogue, epilogue == EPILOGUE_STORE && linears > 1);
		if (epilogue == EPILOGUE_SILU_MUL)
			break;
	}
	text_line(t, "}");
	text_blank(t);
}
