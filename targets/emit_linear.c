/* Linears: functions specialised on formats and shapes, and the kernels that call them. */
#include "emit_impl.h"

#include <ctype.h>
#include <string.h>

/* ---- the specialised linears -------------------------------------------------------------- */

typedef enum Epilogue {
	EPILOGUE_STORE,
	EPILOGUE_ADD,
	EPILOGUE_SILU_MUL,
	EPILOGUE_GELU_MUL,
	EPILOGUE_LOGITS,
} Epilogue;

static const struct {
	const char *name, *parameters, *arguments;
} epilogues[] = {
	[EPILOGUE_STORE] = {"store", "", ""},
	[EPILOGUE_ADD] = {"add", "", ""},
	[EPILOGUE_SILU_MUL] = {"silu_mul", "", ""},
	[EPILOGUE_GELU_MUL] = {"gelu_mul", "", ""},
	[EPILOGUE_LOGITS] = {"logits", ", int n_rows", ", n_rows"},
};

/* Whether two linears, gate and up, give one row. */
static bool
is_gated(Epilogue e)
{
	return e == EPILOGUE_SILU_MUL || e == EPILOGUE_GELU_MUL;
}

/* The value of the kernel that adds a bias to its linear v; null: none. */
static const Value *
bias_of(const Emit *e, const Kernel *k, const Value *v)
{
	for (int i = 0; i < k->count; i++) {
		const Value *b = emit_kernel_value(e, k, i);
		if (b->op == OP_BIAS && emit_value(e, b->operands[0]) == v)
			return b;
	}
	return NULL;
}

/* Whether linear v, or with gate and up one of the two, has a bias: its function takes biases. */
static bool
takes_bias(const Emit *e, const Kernel *k, const Value *v, Epilogue epilogue)
{
	for (int i = 0; i < k->count && is_gated(epilogue); i++)
		if (emit_kernel_value(e, k, i)->op == OP_BIAS)
			return true;
	return bias_of(e, k, v) != NULL;
}

/* What of a function's text says that it adds biases. */
typedef struct BiasWords {
	const char *name, *parameters, *arguments;
} BiasWords;

static BiasWords
bias_words(bool biased, Epilogue epilogue)
{
	static const BiasWords none = {"", "", ", NULL"},
			       one = {"_bias", ", const float *bias", ", bias"},
			       no_pair = {"", "", ", NULL, NULL"},
			       pair = {"_bias", ", const float *gate_bias, const float *up_bias",
				       ", gate_bias, up_bias"};
	if (is_gated(epilogue))
		return biased ? pair : no_pair;
	return biased ? one : none;
}

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
		else if (v->op == OP_GELU_MUL)
			r = EPILOGUE_GELU_MUL;
		else if (v->buffer >= 0 && e->f->buffers[v->buffer].caller)
			r = EPILOGUE_LOGITS;
	}
	return r;
}

/* What of a Linear (templates/act.h) is about weights of k columns: designated initialisers. */
const char *
emit_weight_fields(Arena *a, Format f, uint32_t k)
{
	Text *t = text_new(a);
	if (format_is_float(f)) {
		text_printf(t, ".is_float = 1, .bits = %u, .k = %u", f.bits, k);
		return t->text;
	}
	text_printf(t, ".bits = %u, .scale_bits = %u, .group = %u, .k = %u", f.bits, f.scale_bits,
		    f.group ? f.group : k, k);
	const struct {
		const char *name;
		int value;
	} more[] = {{"minimum", f.minimum},
		    {"offset", format_offset(f)},
		    {"zeros", f.zero != ZERO_NONE},
		    {"bf16", f.bf16},
		    {"trits", f.trits}};
	for (size_t i = 0; i < sizeof more / sizeof *more; i++)
		if (more[i].value)
			text_printf(t, ", .%s = %d", more[i].name, more[i].value);
	return t->text;
}

static void
emit_linear(Text *t, Format w, const Value *act, Epilogue epilogue, bool biased)
{
	const BiasWords bias = bias_words(biased, epilogue);
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
	/* The name says all that the specification depends on: the sums that these weights want,
	 * which the row has, and more where other experts want some. */
	const uint32_t wanted = linear_sums(w, a, act->width);
	const int sums = wanted ? (int)wanted : group;
	INVARIANT(act->sums == wanted || (act->alone && !wanted));
	text_line(t, "/* %s */", words->text);
	text_line(t, "static void");
	text_line(t, "%s%s%s_%s(const unsigned char *w, Range blocks, %s, float *y, int ld%s%s)",
		  fn, bias.name, act->alone ? "_expert" : "", epilogues[epilogue].name,
		  act->alone ? "const Experts *x" : "const Tiles *a, int rows",
		  epilogues[epilogue].parameters, bias.parameters);
	text_line(t, "{");
	text_line(t, "static const Linear spec = {%s,",
		  emit_weight_fields(t->arena, w, act->width));
	text_line(t, ".planes = %u, .act_group = %u, .sums = %d, .split = %d, .shift = %d};",
		  row.planes, row.planes ? a.group : 0, sums, contract_split(k, w, a),
		  a.zero != ZERO_NONE);
	if (act->alone)
		text_line(t, "expert_%s(spec, w, blocks.first, blocks.end, x, y, ld);",
			  epilogues[epilogue].name);
	else
		text_line(t, "linear_%s(spec, w, blocks.first, blocks.end, a, rows, y, ld%s%s);",
			  epilogues[epilogue].name, epilogues[epilogue].arguments, bias.arguments);
	text_line(t, "}");
	text_blank(t);
}

enum { LINEARS_MAX = 4096 };

/* Functions that the file has already. */
typedef struct Done {
	const char *names[LINEARS_MAX];
	int n;
} Done;

/* The name of a linear's function. */
static const char *
function_name(Arena *a, Format w, const Value *act, Epilogue epilogue, bool biased)
{
	return arena_printf(a, "%s%s%s_%s", emit_linear_name(a, w, act),
			    bias_words(biased, epilogue).name, act->alone ? "_expert" : "",
			    epilogues[epilogue].name);
}

static void
emit_linears_of(const Emit *e, const Kernel *kernel, Done *done)
{
	const Epilogue epilogue = kernel_epilogue(e, kernel);
	for (int i = 0; i < kernel->count; i++) {
		const Value *v = emit_kernel_value(e, kernel, i);
		if (!op_is_linear(v->op))
			continue;
		const Value *act = emit_value(e, v->operands[0]);
		const bool biased = takes_bias(e, kernel, v, epilogue);
		for (uint32_t x = 0; x < model_experts(e->g->model, v->role); x++) {
			const Format w = graph_expert_format(e->g, v->role, e->f->layer, x);
			const char *name = function_name(e->t->arena, w, act, epilogue, biased);
			bool seen = false;
			for (int n = 0; n < done->n; n++)
				seen |= !strcmp(done->names[n], name);
			if (seen)
				continue;
			INVARIANT(done->n < LINEARS_MAX);
			done->names[done->n++] = name;
			emit_linear(e->t, w, act, epilogue, biased);
		}
	}
}

void
emit_linears(Text *t, const Artefact *x)
{
	const Graph *g = x->graph;
	Done *done = ARENA_NEW(t->arena, Done);
	text_line(t, "/* ---- linears, specialised on formats and shapes ---- */");
	text_blank(t);
	for (int n = 0; n < x->layout->n_units; n++) {
		Emit e = {t, x, g, &x->layout->units[n], &g->funcs[x->layout->units[n].func]};
		for (int k = 0; k < e.f->n_kernels; k++) {
			const Kernel *kernel = &e.f->kernels[k];
			if (kernel->kind == KERNEL_LINEAR)
				emit_linears_of(&e, kernel, done);
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
		    (is_gated(epilogue) && op_is_gated(r->op)))
			return r;
	}
	const Value *bias = bias_of(e, k, v);
	return bias ? bias : v;
}

/* ", bias" for a call: the bias of linear v, with gate and up of both; nothing where none has one.
 */
static const char *
bias_arguments(const Emit *e, const Kernel *k, const Value *v, Epilogue epilogue)
{
	Text *t = text_new(e->t->arena);
	for (int i = 0; i < k->count && takes_bias(e, k, v, epilogue); i++) {
		const Value *x = emit_kernel_value(e, k, i);
		if (!op_is_linear(x->op) || (x != v && !is_gated(epilogue)))
			continue;
		const Value *bias = bias_of(e, k, x);
		if (bias)
			text_printf(t, ", (const float *)(%s)",
				    emit_constant_expression(e, k, bias->role));
		else
			text_printf(t, ", NULL");
	}
	return t->text ? t->text : "";
}

/* One call of a specialised linear on the blocks of one matrix (or of gate and up). */
static void
emit_linear_call(const Emit *e, const Kernel *k, const Value *v, Epilogue epilogue, bool stacked)
{
	Text *t = e->t;
	const Constant *c = unit_constant(e->u, (int)(k - e->f->kernels), v->role);
	const Value *act = emit_value(e, v->operands[0]);
	const char *fn = function_name(t->arena, c->form.format, act, epilogue,
				       takes_bias(e, k, v, epilogue));
	uint32_t first, step;
	constant_blocks(c, v->role, &first, &step);
	const uint32_t blocks = (v->width + PACK_ROWS - 1) / PACK_ROWS;
	const char *range =
		stacked ? arena_printf(t->arena, "range_cut(blocks, %u, %u)", first, first + blocks)
			: "blocks";
	const char *w = first ? arena_printf(t->arena, "w + %llu",
					     (unsigned long long)first * pack_block_bytes(c->form))
			      : "w";
	const char *bias = bias_arguments(e, k, v, epilogue);
	if (epilogue == EPILOGUE_LOGITS) {
		text_line(t, "%s(w, blocks, &a, j->rows, m->logits, %u, %u%s);", fn, v->width,
			  v->width, bias);
		return;
	}
	const Value *r = linear_result(e, k, v, epilogue);
	const RowLayout row = row_layout(r);
	text_line(t, "%s(%s, %s, &a, j->rows, row_at(shared_rows(m), %s, %u, 0), %u%s);", fn, w,
		  range, emit_buffer_name(e, r), row.padded, row.padded, bias);
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

/* ---- linears of experts ------------------------------------------------------------------- */

/* Where each expert's matrices begin and which case of the kernel's switch is their format's. */
static void
emit_expert_places(Text *t, const Constant *c)
{
	text_line(t, "/* By expert: where its weights begin, the case of their format. */");
	text_line(t, "static const struct {");
	text_line(t, "uint64_t at;");
	text_line(t, "int form;");
	t->indent--;
	for (int i = 0; i < t->indent; i++)
		text_add(t, "\t", 1);
	text_printf(t, "} experts[%u] = {\n", c->experts);
	t->indent++;
	for (uint32_t e = 0; e < c->experts; e++)
		text_line(t, "{%llu, %u},", (unsigned long long)constant_expert_at(c, e),
			  constant_first_alike(c, e));
	t->indent--;
	text_line(t, "};");
}

/* The call of expert's format on the blocks of v's matrix in the expert's stack `of`. */
static void
emit_expert_call(const Emit *e, const Kernel *k, const Value *v, const Constant *c, uint32_t expert)
{
	Text *t = e->t;
	const Epilogue epilogue = kernel_epilogue(e, k);
	const PackForm form = constant_form(c, expert);
	const Value *r = linear_result(e, k, v, epilogue);
	const uint32_t padded = row_layout(r).padded;
	uint32_t first, step;
	constant_blocks(c, v->role, &first, &step);
	const unsigned long long at = first * pack_block_bytes(form);
	const bool stacked = c->n_roles > 1 && !is_gated(epilogue);
	const uint32_t end = first + (v->width + PACK_ROWS - 1) / PACK_ROWS;
	text_line(t, "%s(of%s, %s, &x, row_at(shared_rows(m), %s, %u, 0), %u);",
		  function_name(t->arena, form.format, emit_value(e, v->operands[0]), epilogue,
				false),
		  at ? arena_printf(t->arena, " + %llu", at) : "",
		  stacked ? arena_printf(t->arena, "range_cut(blocks, %u, %u)", first, end)
			  : "blocks",
		  emit_buffer_name(e, r), padded, padded);
}

/* The calls for the linears of a kernel, on one expert; a switch where formats differ. */
static void
emit_expert_calls(const Emit *e, const Kernel *k, const Constant *c)
{
	Text *t = e->t;
	const Epilogue epilogue = kernel_epilogue(e, k);
	const bool mixed = constant_mixed(c);
	if (mixed)
		text_line(t, "switch (experts[x.expert].form) {");
	for (uint32_t x = 0; x < c->experts; x++) {
		if (constant_first_alike(c, x) < x)
			continue;
		if (mixed)
			text_line(t, "case %u:", x);
		for (int i = 0; i < k->count; i++) {
			const Value *v = emit_kernel_value(e, k, i);
			if (op_is_linear(v->op))
				emit_expert_call(e, k, v, c, x);
			if (op_is_linear(v->op) && is_gated(epilogue))
				break;
		}
		if (mixed)
			text_line(t, "break;");
	}
	if (mixed)
		text_line(t, "}");
}

static void
emit_expert_kernel(const Emit *e, const Kernel *k)
{
	Text *t = e->t;
	const Value *v = emit_kernel_value(e, k, 0), *route = emit_value(e, v->operands[1]);
	const Constant *c = unit_constant(e->u, (int)(k - e->f->kernels), v->role);
	const uint32_t ld = row_layout(route).padded;
	if (constant_mixed(c))
		emit_expert_places(t, c);
	text_line(t, "const float *number = row_at(shared_rows(m), %s, %u, 0) + %u;",
		  emit_buffer_name(e, route), ld, route->used + v->slot);
	text_line(t, "Experts x = experts_of(a, number, %u, j->rows, own_scratch(m, tid));", ld);
	text_line(t, "while (experts_next(&x)) {");
	if (constant_mixed(c))
		text_line(t, "const unsigned char *of = w + experts[x.expert].at;");
	else
		text_line(t, "const unsigned char *of = w + UINT64_C(%llu) * (uint64_t)x.expert;",
			  (unsigned long long)constant_expert_at(c, 1));
	emit_expert_calls(e, k, c);
	text_line(t, "}");
}

void
emit_linear_kernel(const Emit *e, const Kernel *k)
{
	Text *t = e->t;
	const Epilogue epilogue = kernel_epilogue(e, k);
	const Value *first = emit_kernel_value(e, k, 0);
	const bool expert = first->op == OP_EXPERT;
	uint32_t blocks = 0;
	int linears = 0;
	for (int i = 0; i < k->count; i++) {
		const Value *v = emit_kernel_value(e, k, i);
		linears += op_is_linear(v->op);
		if (op_is_linear(v->op) && (!is_gated(epilogue) || linears == 1))
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
	if (expert)
		emit_expert_kernel(e, k);
	emit_residual(e, k);
	for (int i = 0; i < k->count && !expert; i++) {
		const Value *v = emit_kernel_value(e, k, i);
		if (!op_is_linear(v->op))
			continue;
		emit_linear_call(e, k, v, epilogue, epilogue == EPILOGUE_STORE && linears > 1);
		if (is_gated(epilogue))
			break;
	}
	text_line(t, "}");
	text_blank(t);
}
