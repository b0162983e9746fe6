/*
 * The rules of the graph that hold before and after every pass. Deeper rules rely on the plainer
 * ones, so a function is looked at further only while nothing is wrong with it.
 */
#include "graph_check.h"

#include <math.h>
#include <string.h>

/* Sums of products of 16-bit codes stay in int32 up to here (ir/README.md). */

void
check_report(Check *c, int i, const char *format, ...)
{
	Text *t = text_new(c->g->arena);
	Loc loc = i < 0 ? c->f->loc : c->f->values[i].loc;
	va_list args;
	if (c->reports++ >= CHECK_REPORTS)
		return;
	text_printf(t, "%s: ", c->f->name);
	if (i >= 0)
		text_printf(t, "%%%d %s: ", i, op_name(c->f->values[i].op));
	va_start(args, format);
	text_vprintf(t, format, args);
	va_end(args);
	diag_error(c->d, loc, E_IR_CHECK, "%s", t->text);
}

/* ---- operands, tensors -------------------------------------------------------------------- */

static void
check_operands(Check *c, int i)
{
	const Value *v = &c->f->values[i];
	for (int k = 0; k < VALUE_OPERANDS; k++) {
		int o = v->operands[k];
		if (k >= op_operands(v->op)) {
			if (o != -1)
				check_report(c, i, "operand %d is one too many", k);
			continue;
		}
		if (o < 0 || o >= i) {
			check_report(c, i, "operand %d, %%%d, is not defined before it", k, o);
			continue;
		}
		char wants = op_table[v->op].operands[k];
		char gets = op_table[c->f->values[o].op].result;
		bool untiled = wants == 'a' && gets == 'r' && !(c->g->facts & FACT_TILED);
		if (wants != gets && !untiled)
			check_report(c, i, "operand %d may not be the result of %s", k,
				     op_name(c->f->values[o].op));
	}
}

static void
check_tensor(Check *c, int i)
{
	const Value *v = &c->f->values[i];
	uint32_t rows, columns;
	if (op_table[v->op].tensor == TENSOR_NONE) {
		if (v->role != -1)
			check_report(c, i, "names a tensor that it does not read");
		return;
	}
	if (v->role < 0 || v->role >= ROLE_COUNT) {
		check_report(c, i, "names no tensor");
		return;
	}
	if (role_layered[v->role] && c->f->layer < 0) {
		check_report(c, i, "@%s is a tensor of layers", role_names[v->role]);
		return;
	}
	graph_tensor_shape(c->g, v, &rows, &columns);
	uint32_t width = op_operands(v->op) ? c->f->values[v->operands[0]].width : v->width;
	if (v->op == OP_GAIN_HEADS && v->heads && width % v->heads == 0)
		width /= v->heads;
	if (op_table[v->op].tensor == TENSOR_VECTOR && rows != 1)
		check_report(c, i, "@%s has %u rows, a vector has one", role_names[v->role], rows);
	else if (columns != width)
		check_report(c, i, "@%s has %u columns, the row is %u wide", role_names[v->role],
			     columns, width);
}

/* ---- widths and formats ------------------------------------------------------------------- */

static void
check_width(Check *c, int i, uint32_t width, Format format)
{
	const Value *v = &c->f->values[i];
	if (v->width != width)
		check_report(c, i, "is %u wide, must be %u", v->width, width);
	if (!format_equal(v->format, format))
		check_report(c, i, "has format %s, must have %s",
			     format_text(c->g->arena, v->format), format_text(c->g->arena, format));
}

static bool
is_activation_format(Format f)
{
	const Format codes = {.kind = NUMBER_INT,
			      .bits = f.bits,
			      .scale_bits = 32,
			      .group = f.group,
			      .zero = f.zero,
			      .clip = f.clip};
	return format_equal(f, codes) &&
	       (f.bits == 2 || f.bits == 4 || f.bits == 6 || f.bits == 8 || f.bits == 16);
}

static void
check_same_width(Check *c, int i)
{
	const Value *v = &c->f->values[i];
	for (int k = 0; k < op_operands(v->op); k++) {
		const Value *x = &c->f->values[v->operands[k]];
		if (op_table[v->op].operands[k] == 'r' && x->width != v->width) {
			check_report(c, i, "is %u wide, operand %d is %u wide", v->width, k,
				     x->width);
			return;
		}
	}
	check_width(c, i, v->width, FORMAT_F32);
}

static void
check_result(Check *c, int i)
{
	const Value *v = &c->f->values[i];
	const Value *x = op_operands(v->op) ? &c->f->values[v->operands[0]] : NULL;
	uint32_t rows = 0, columns = 0;
	if (v->role >= 0)
		graph_tensor_shape(c->g, v, &rows, &columns);
	switch (op_table[v->op].width) {
	case WIDTH_HIDDEN:
		check_width(c, i, c->g->model->hidden, FORMAT_F32);
		break;
	case WIDTH_SAME:
		check_same_width(c, i);
		break;
	case WIDTH_COLUMNS:
		check_width(c, i, columns, FORMAT_F32);
		break;
	case WIDTH_ROWS:
		check_width(c, i, rows, FORMAT_F32);
		break;
	case WIDTH_CODES:
		check_width(c, i, x->width, v->format);
		if (!is_activation_format(v->format))
			check_report(c, i, "%s is no format of activations",
				     format_text(c->g->arena, v->format));
		break;
	case WIDTH_ROUTES:
		check_width(c, i, 2 * v->used, FORMAT_F32);
		break;
	case WIDTH_FIRST:
		check_width(c, i, x->width, FORMAT_F32);
		break;
	case WIDTH_TRANSFORM:
		check_width(c, i, v->transform ? v->transform->n_out : x->width, FORMAT_F32);
		break;
	case WIDTH_CACHE:
		check_width(c, i, x->width + c->f->values[v->operands[1]].width,
			    c->f->layer < 0 ? v->format : graph_kv(c->g, c->f->layer));
		break;
	}
}

/* Heads are those of the model, or tables of rope and attention loops would not fit them. */
static void
check_heads(Check *c, int i)
{
	const Value *v = &c->f->values[i];
	uint64_t d = c->g->model->head_dim;
	if ((v->op == OP_RMSNORM_HEADS || v->op == OP_GAIN_HEADS) &&
	    (v->heads == 0 || v->heads * d != v->width))
		check_report(c, i, "%u heads of %u are no row of %u", v->heads, (uint32_t)d,
			     v->width);
	if (v->op == OP_ROPE && (v->heads == 0 || v->heads * d != v->width || d % 2))
		check_report(c, i, "%u heads of %u are no row of %u", v->heads, (uint32_t)d,
			     v->width);
	const uint32_t window =
		c->f->layer < 0 ? 0 : model_window(c->g->model, (uint32_t)c->f->layer);
	if ((v->op == OP_ROPE || v->op == OP_ATTENTION) && v->window != window)
		check_report(c, i, "has window=%u, the layer's is %u", v->window, window);
	if (v->op != OP_ATTENTION)
		return;
	if (v->heads == 0 || v->heads * d != v->width)
		check_report(c, i, "%u heads of %u are no row of %u", v->heads, (uint32_t)d,
			     v->width);
	else if (v->kv_heads == 0 || v->heads % v->kv_heads ||
		 2 * v->kv_heads * d != c->f->values[v->operands[1]].width)
		check_report(c, i, "%u KV heads of %u do not fit %u heads or the cache",
			     v->kv_heads, (uint32_t)d, v->heads);
	else if (v->kv_heads != c->g->model->n_kv_head)
		check_report(c, i, "the model has %u KV heads", c->g->model->n_kv_head);
}

/* Routes choose of the model's experts, and who reads one by a slot has one. */
static void
check_experts(Check *c, int i)
{
	const Value *v = &c->f->values[i];
	if (v->op == OP_ROUTE) {
		const uint32_t n = c->f->values[v->operands[0]].width;
		if (n != c->g->model->n_expert || n > EXPERTS_MAX)
			check_report(c, i, "chooses of %u experts, the model has %u", n,
				     c->g->model->n_expert);
		else if (v->used == 0 || v->used > n || v->norm > 1)
			check_report(c, i, "cannot choose %u of %u experts", v->used, n);
	}
	if (v->op == OP_EXPERT || v->op == OP_WEIGH) {
		const Value *route = &c->f->values[v->operands[1]];
		if (route->op != OP_ROUTE || v->slot >= route->used)
			check_report(c, i, "has no route with a slot %u", v->slot);
	}
	if (v->op == OP_SIGMOID_MUL && c->f->values[v->operands[1]].width != 1)
		check_report(c, i, "its gate is a row of %u", c->f->values[v->operands[1]].width);
	if (v->role >= 0 && role_experts[v->role] != (v->op == OP_EXPERT))
		check_report(c, i, "@%s is not what it reads", role_names[v->role]);
	if (v->alone > 1)
		check_report(c, i, "alone is 0 or 1");
}

static void
check_attributes(Check *c, int i)
{
	const Value *v = &c->f->values[i];
	for (int k = 0; k < ATTRIBUTE_COUNT; k++) {
		const Attribute *a = &attribute_table[k];
		uint32_t bits;
		memcpy(&bits, (const char *)v + a->offset, sizeof bits);
		if (bits && !strchr(op_table[v->op].attributes, a->letter))
			check_report(c, i, "has no attribute %s", a->name);
	}
	if (!isfinite(v->eps) || v->eps < 0)
		check_report(c, i, "eps must be finite and at least 0");
	if (!v->basis.expression)
		check_report(c, i, "has no basis");
	check_heads(c, i);
	check_experts(c, i);
}

/* Integer activations are made and summed 16 columns at a time; a group with a scale of its own
 * holds whole sets of any weights' lines (targets/pack.h), at most 32 columns. */
/* Whether a linear of these formats exists; the contract says what it computes. */
static void
check_formats(Check *c, int i, Format row)
{
	const Value *v = &c->f->values[i];
	uint32_t expert;
	const char *fault = graph_linear_fault(c->g->arena, c->g, v->role, c->f->layer, row,
					       c->f->values[v->operands[0]].width, &expert);
	if (fault && v->op == OP_EXPERT)
		check_report(c, i, "expert %u: %s", expert, fault);
	else if (fault)
		check_report(c, i, "%s", fault);
}

static void
check_orders(Check *c, int i, const char *name, const Transform *x, uint32_t n, uint32_t n_out)
{
	if (x->n == x->n_out && n == n_out)
		check_report(c, i, "%s is of order %u, must be %u", name, x->n, n);
	else
		check_report(c, i, "%s makes %u elements of %u, must make %u of %u", name, x->n_out,
			     x->n, n_out, n);
}

/* What a plan brings has the orders of the row, or of the tensor's sides. */
static void
check_transforms(Check *c, int i)
{
	const Value *v = &c->f->values[i];
	uint32_t rows = 0, columns = 0;
	bool out = op_is_linear(v->op) || v->op == OP_EMBED || v->op == OP_BIAS;
	if (out)
		model_shape(c->g->model, (Role)v->role, &rows, &columns);
	const uint32_t read = op_operands(v->op) ? c->f->values[v->operands[0]].width : 0;
	const struct {
		const char *name;
		const Transform *x;
		bool may, must;
		uint32_t n, n_out;
	} fields[] = {
		{"transform", v->transform, v->op == OP_TRANSFORM, v->op == OP_TRANSFORM, read,
		 v->width},
		{"fold_in", v->fold_in, op_is_linear(v->op), false, read, columns},
		{"fold_out", v->fold_out, out, false, v->width, v->width},
	};
	for (size_t k = 0; k < sizeof fields / sizeof *fields; k++) {
		const Transform *x = fields[k].x;
		if (x && !fields[k].may)
			check_report(c, i, "has no %s", fields[k].name);
		else if (!x && fields[k].must)
			check_report(c, i, "has no %s, which it needs", fields[k].name);
		else if (x && (x->n != fields[k].n || x->n_out != fields[k].n_out))
			check_orders(c, i, fields[k].name, x, fields[k].n, fields[k].n_out);
	}
	if (v->pinned && v->op != OP_TRANSFORM && v->op != OP_GAIN)
		check_report(c, i, "cannot be pinned");
	if (v->shared && (v->role < 0 || v->fold_in || v->fold_out))
		check_report(c, i, "cannot be shared: it has no weights, or folded ones");
}

static void
check_linear(Check *c, int i)
{
	const Value *v = &c->f->values[i];
	if (!op_is_linear(v->op))
		return;
	const Value *x = &c->f->values[v->operands[0]];
	Format weight = graph_weight_format(c->g, v->role, c->f->layer);
	if (role_stays_float(v->role) && !format_equal(weight, FORMAT_F32))
		check_report(c, i, "@%s stays f32", role_names[v->role]);
	if (op_table[x->op].result == 'a' && x->alone != (v->op == OP_EXPERT))
		check_report(c, i, "reads rows %s", x->alone ? "alone" : "in tiles");
	if (op_table[x->op].result == 'a') {
		const uint32_t sums =
			graph_linear_sums(c->g, v->role, c->f->layer, x->format, x->width);
		check_formats(c, i, x->format);
		if (x->sums != sums)
			check_report(c, i, "wants sums=%u of its activation, which has sums=%u",
				     sums, x->sums);
	} else {
		check_formats(c, i, graph_row_format(c->g, v->role, c->f->layer));
	}
}

/* ---- functions ---------------------------------------------------------------------------- */

/* One input in front or none, one output at the end, nothing unused between them. */
static void
check_ends(Check *c)
{
	const Func *f = c->f;
	const Value *output = &f->values[f->count - 1];
	int *uses = func_uses(c->g->arena, f);
	for (int i = 0; i < f->count; i++) {
		Op op = f->values[i].op;
		if (op == OP_INPUT && i != 0)
			check_report(c, i, "an input must be the first value");
		if ((op == OP_OUTPUT) != (i == f->count - 1))
			check_report(c, i, "a function ends with its one output");
		else if (op != OP_OUTPUT && uses[i] == 0)
			check_report(c, i, "nothing reads it");
	}
	if (output->op != OP_OUTPUT)
		return;
	if (f->values[output->operands[0]].op == OP_INPUT)
		check_report(c, f->count - 1, "must be computed in the function");
	/* It would be written where the row that it reads may lie, and reads whole heads. */
	if (f->values[output->operands[0]].op == OP_ATTENTION)
		check_report(c, f->count - 1, "cannot be the result of an attention");
	if (!func_is_last(c->g, f) && output->width != c->g->model->hidden)
		check_report(c, f->count - 1, "is %u wide, the next function's input is %u",
			     output->width, c->g->model->hidden);
}

/* A layer has one cache row a token: one append, read by one attention. */
static void
check_cache(Check *c)
{
	int appends = 0, attentions = 0;
	for (int i = 0; i < c->f->count; i++) {
		Op op = c->f->values[i].op;
		if ((op == OP_KV_APPEND && ++appends > 1) ||
		    (op == OP_ATTENTION && ++attentions > 1))
			check_report(c, i, "a function has one at most");
		else if (op == OP_KV_APPEND && c->f->layer < 0)
			check_report(c, i, "only a layer has a cache");
	}
}

static void
check_unset(Check *c)
{
	const unsigned facts = c->g->facts;
	for (int i = 0; i < c->f->count; i++) {
		if (!(facts & (FACT_FUSED | FACT_SCHEDULED)) && c->f->values[i].kernel != -1)
			check_report(c, i, "has a kernel, but the graph is not fused");
		if (!(facts & FACT_PLACED) && c->f->values[i].buffer != -1)
			check_report(c, i, "has a buffer, but the graph is not placed");
	}
	if (!(facts & FACT_SCHEDULED) && c->f->n_kernels)
		check_report(c, -1, "has kernels, but the graph is not scheduled");
	if (!(facts & FACT_PLACED) && c->f->n_buffers)
		check_report(c, -1, "has buffers, but the graph is not placed");
}

static void
check_same_as(Check *c, int n)
{
	const Graph *g = c->g;
	int same = c->f->same_as;
	if (same == n)
		return;
	if (!(g->facts & FACT_DEDUPED))
		check_report(c, -1, "shares code, but the graph is not deduped");
	else if (same < 0 || same > n || g->funcs[same].same_as != same)
		check_report(c, -1, "shares code of no earlier function");
	else if (!func_equal(g, &g->funcs[same], c->f))
		check_report(c, -1, "shares code of %s, which is another function",
			     g->funcs[same].name);
}

static void
check_func(Check *c, int n)
{
	static void (*const value_rules[])(Check *, int) = {
		check_operands,	  check_tensor,	    check_result,
		check_attributes, check_transforms, check_linear,
	};
	enum { N_VALUE_RULES = sizeof value_rules / sizeof *value_rules };
	static const struct {
		unsigned fact;
		void (*rule)(Check *);
	} func_rules[] = {
		{FACT_NONE, check_ends},       {FACT_NONE, check_cache},
		{FACT_NONE, check_unset},      {FACT_FUSED, check_fused},
		{FACT_SCHEDULED, check_fused}, {FACT_SCHEDULED, check_scheduled},
		{FACT_PLACED, check_placed},
	};
	const int before = c->reports;
	if (c->f->count == 0) {
		check_report(c, -1, "is empty");
		return;
	}
	for (size_t r = 0; r < N_VALUE_RULES && c->reports == before; r++)
		for (int i = 0; i < c->f->count; i++)
			value_rules[r](c, i);
	for (size_t r = 0; r < sizeof func_rules / sizeof *func_rules; r++)
		if (c->reports == before &&
		    (c->g->facts & func_rules[r].fact) == func_rules[r].fact)
			func_rules[r].rule(c);
	if (c->reports == before)
		check_same_as(c, n);
}

static void
check_activations_of(Check *c)
{
	const Graph *g = c->g;
	for (int role = 0; role < ROLE_COUNT; role++)
		for (uint32_t i = 0; i < (role_layered[role] ? g->model->n_layer : 1); i++) {
			const Format f = graph_activations(g, role, (int)i);
			if (!g->activations_of[role] || format_equal(f, FORMAT_F32) ||
			    is_activation_format(f))
				continue;
			c->reports++;
			diag_error(c->d, g->model->loc, E_IR_CHECK,
				   "%s is no format of what '%s' reads",
				   format_text(c->g->arena, f), role_names[role]);
			return;
		}
}

static bool
is_cache_format(Format f)
{
	const Format codes = {.kind = NUMBER_INT, .bits = f.bits, .scale_bits = 32, .zero = f.zero};
	return format_equal(f, FORMAT_F32) || format_equal(f, FORMAT_F16) ||
	       ((f.bits == 4 || f.bits == 8) && format_equal(f, codes));
}

static const char *
cache_fault(const Check *c, CacheFormat kv)
{
	const bool integers = !format_is_float(kv.format);
	Format query = {.kind = NUMBER_INT, .bits = kv.query_bits, .scale_bits = 32};
	if (!is_cache_format(kv.format))
		return "is no format of the KV cache";
	if (integers && (query.bits < 4 || !is_activation_format(query)))
		return "meets queries of 4, 6, 8 or 16 bits";
	if (!integers && kv.query_bits)
		return "meets queries of floats";
	if (integers && c->g->model->head_dim > CACHE_HEAD_MOST)
		return "keeps heads of at most 512";
	return NULL;
}

static void
check_kv(Check *c)
{
	const Graph *g = c->g;
	for (uint32_t i = 0; i < g->model->n_layer; i++) {
		const char *fault = cache_fault(c, g->kv[i]);
		if (!fault)
			continue;
		c->reports++;
		diag_error(c->d, g->model->loc, E_IR_CHECK, "%s %s",
			   format_text(c->g->arena, g->kv[i].format), fault);
		return;
	}
}

int
graph_check(const Graph *g, Diag *d)
{
	Check c = {.g = g, .d = d};
	check_kv(&c);
	if (!format_equal(g->activations, FORMAT_F32) && !is_activation_format(g->activations)) {
		c.reports++;
		diag_error(d, g->model->loc, E_IR_CHECK, "%s is no format of activations",
			   format_text(g->arena, g->activations));
	}
	check_activations_of(&c);
	if (g->count == 0) {
		c.reports++;
		diag_error(d, g->model->loc, E_IR_CHECK, "the graph has no function");
	}
	for (int n = 0; n < g->count; n++) {
		c.f = &g->funcs[n];
		check_func(&c, n);
	}
	return c.reports < CHECK_REPORTS ? c.reports : CHECK_REPORTS;
}
