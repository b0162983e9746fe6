#include "layout.h"

#include <string.h>

enum { CONSTANT_ALIGN = 64, FIELD_MAX = 96 };

static const Value *
kernel_value(const Func *f, const Kernel *k, int i)
{
	return &f->values[f->order[k->first + i]];
}

/* "q_k_v" of the roles that a constant holds, or "attn_norm". */
static const char *
constant_field(Arena *a, const Constant *c)
{
	Text *t = text_new(a);
	for (int i = 0; i < c->n_roles; i++)
		text_printf(t, "%s%s", i ? "_" : "", role_names[c->roles[i]]);
	return t->text;
}

PackForm
constant_form(const Constant *c, uint32_t expert)
{
	PackForm form = c->form;
	form.format = c->formats[expert];
	return form;
}

uint64_t
constant_expert_at(const Constant *c, uint32_t expert)
{
	uint64_t bytes = 0;
	for (uint32_t e = 0; e < expert; e++)
		for (int i = 0; i < c->n_roles; i++)
			bytes += pack_bytes(constant_form(c, e), c->rows[i]);
	return bytes;
}

uint32_t
constant_first_alike(const Constant *c, uint32_t expert)
{
	uint32_t e = 0;
	while (!format_equal(c->formats[e], c->formats[expert]))
		e++;
	return e;
}

bool
constant_mixed(const Constant *c)
{
	bool mixed = false;
	for (uint32_t e = 1; e < c->experts; e++)
		mixed |= constant_first_alike(c, e) > 0;
	return mixed;
}

const char *
constant_formats(Arena *a, const Constant *c)
{
	Text *t = text_new(a);
	if (c->value >= 0)
		return "tables";
	for (uint32_t e = 0; e < c->experts; e++) {
		if (constant_first_alike(c, e) < e)
			continue;
		text_printf(t, "%s", e ? ", " : "");
		format_print(t, c->formats[e]);
	}
	return t->text;
}

/* A vector, or matrices of f in the forms of their formats. */
static void
constant_finish(Arena *a, const Graph *g, const Func *f, Constant *c)
{
	c->field = constant_field(a, c);
	c->experts = c->experts ? c->experts : 1;
	c->formats = ARENA_ARRAY(a, Format, c->experts);
	for (uint32_t e = 0; e < c->experts; e++)
		c->formats[e] =
			c->vector ? FORMAT_F32 : graph_expert_format(g, c->roles[0], f->layer, e);
	c->form.format = c->formats[0];
	for (int i = 0; i < c->n_roles; i++)
		graph_tensor_shape(g, constant_value(f, c->roles[i]), &c->rows[i],
				   &c->form.columns);
	c->bytes = c->vector ? round_up(c->form.columns, PACK_ROWS) * sizeof(float)
			     : constant_expert_at(c, c->experts);
}

/* Columns a row sum of the matrix of v: where zero points of its activations need them. */
static uint32_t
row_sums(const Func *f, const Value *v)
{
	if (!op_is_linear(v->op))
		return 0;
	const Value *x = &f->values[v->operands[0]];
	if (format_is_float(x->format) || !x->format.zero)
		return 0;
	return x->format.group && x->format.group < x->width ? x->format.group : x->width;
}

/* The tables of value i's transform, where any lie in the weights. */
static void
unit_add_tables(Arena *a, const Graph *g, Unit *u, int i, int kernel)
{
	const Tables t = tables_of(a, g, u->func, i);
	if (!t.bytes)
		return;
	u->constants[u->n_constants++] = (Constant){.field = arena_printf(a, "tables_%d", i),
						    .value = i,
						    .tables = t,
						    .experts = 1,
						    .bytes = t.bytes,
						    .kernel = kernel};
}

/* The constants of one kernel: each vector and each transform's tables alone, all matrices of its
 * linears together. */
static void
unit_add_kernel(Arena *a, const Graph *g, Unit *u, const Func *f, int kernel)
{
	const Kernel *k = &f->kernels[kernel];
	Constant stack = {.value = -1, .kernel = kernel};
	bool silu = false;
	uint32_t slot = 0;
	for (int i = 0; i < k->count; i++) {
		const Value *v = kernel_value(f, k, i);
		silu |= k->kind == KERNEL_LINEAR && op_is_gated(v->op);
		if (v->op == OP_TRANSFORM)
			unit_add_tables(a, g, u, (int)(v - f->values), kernel);
		if (v->role < 0)
			continue;
		if (op_table[v->op].tensor == TENSOR_VECTOR) {
			Constant *c = &u->constants[u->n_constants++];
			*c = (Constant){.value = -1,
					.roles = {v->role},
					.n_roles = 1,
					.vector = true,
					.kernel = kernel};
			constant_finish(a, g, f, c);
			continue;
		}
		INVARIANT(stack.n_roles < STACK_MAX);
		stack.roles[stack.n_roles++] = v->role;
		stack.form.sums = row_sums(f, v);
		stack.experts = v->op == OP_EXPERT ? g->model->n_expert : 1;
		slot = v->slot;
	}
	if (stack.n_roles) {
		stack.interleaved = silu;
		constant_finish(a, g, f, &stack);
		/* Kernels of several slots read one constant, each by a name of its own. */
		if (stack.experts > 1 && slot)
			stack.field = arena_printf(a, "%s_%u", stack.field, slot);
		u->constants[u->n_constants++] = stack;
	}
}

static void
unit_init(Arena *a, const Graph *g, Unit *u, int func)
{
	const Func *f = &g->funcs[func];
	char *ident = arena_printf(a, "%s", f->name);
	char *to = ident;
	for (const char *s = ident; *s; s++)
		if (*s != '.')
			*to++ = *s;
	*to = 0;
	u->func = func;
	u->ident = ident;
	u->constants = ARENA_ARRAY(a, Constant, f->count);
	for (int k = 0; k < f->n_kernels; k++)
		unit_add_kernel(a, g, u, f, k);
}

const Value *
constant_value(const Func *f, int role)
{
	for (int i = 0; i < f->count; i++)
		if (f->values[i].role == role)
			return &f->values[i];
	BUG("%s names no tensor of role %d", f->name, role);
}

static bool
folds_same(const Transform *a, const Transform *b)
{
	return a == b || (a && b && transform_equal(a, b));
}

/* A looked-up row takes fold_out where a linear's row takes fold_in transposed, so folded ones are
 * shared by equal ops only. */
bool
weights_same(const Graph *g, const Func *f, int role, const Func *other, int other_role)
{
	const Value *a = constant_value(f, role), *b = constant_value(other, other_role);
	const bool folded = (a->fold_in || a->fold_out || b->fold_in || b->fold_out) &&
			    !(g->plan && g->plan->stored);
	const Plan *p = g->plan;
	const int layer = f->layer < 0 ? 0 : f->layer,
		  other_layer = other->layer < 0 ? 0 : other->layer;
	/* The slots of a route read one matrix. */
	if (f == other && role == other_role)
		return true;
	if (p && (p->codes[role][layer].codes || p->codes[other_role][other_layer].codes))
		return false;
	return model_tensor(g->model, (Role)role, (uint32_t)layer) ==
		       model_tensor(g->model, (Role)other_role, (uint32_t)other_layer) &&
	       (!folded || (a->op == b->op && folds_same(a->fold_in, b->fold_in) &&
			    folds_same(a->fold_out, b->fold_out)));
}

/* Two constants with the same matrices in the same form lie in one place. */
static bool
constant_same(const Graph *g, const Constant *a, const Func *f, const Constant *b,
	      const Func *other)
{
	if (a->value >= 0 || b->value >= 0 || a->n_roles != b->n_roles || a->vector != b->vector ||
	    a->interleaved != b->interleaved || a->experts != b->experts ||
	    a->form.sums != b->form.sums)
		return false;
	for (uint32_t e = 0; e < a->experts; e++)
		if (!format_equal(a->formats[e], b->formats[e]))
			return false;
	for (int i = 0; i < a->n_roles; i++)
		if (!weights_same(g, f, a->roles[i], other, b->roles[i]))
			return false;
	return true;
}

/* Offset of equal tables of an earlier transform, of whichever function. */
static uint64_t
earlier_tables(const Layout *l, int f, const Constant *c)
{
	const Graph *g = l->graph;
	const Transform *t = g->funcs[f].values[c->value].transform;
	for (int e = 0; e <= f; e++) {
		const Unit *v = layout_unit(l, e);
		for (int k = 0; k < v->n_constants; k++) {
			const Constant *o = &v->constants[k];
			if (e == f && o == c)
				return UINT64_MAX;
			if (o->value >= 0 && tables_same(&c->tables, t, &o->tables,
							 g->funcs[e].values[o->value].transform))
				return l->offsets[e][k];
		}
	}
	return UINT64_MAX;
}

/* Offset of an earlier constant equal to constant i of function f; UINT64_MAX: none. Only functions
 * without a layer can share with one another: a layer's tensors are its own. */
static uint64_t
earlier_offset(const Layout *l, int f, int i)
{
	const Graph *g = l->graph;
	const Unit *u = layout_unit(l, f);
	if (u->constants[i].value >= 0)
		return earlier_tables(l, f, &u->constants[i]);
	for (int k = 0; k < i && u->constants[i].experts > 1; k++)
		if (constant_same(g, &u->constants[i], &g->funcs[f], &u->constants[k],
				  &g->funcs[f]))
			return l->offsets[f][k];
	if (g->funcs[f].layer >= 0)
		return UINT64_MAX;
	for (int e = 0; e < f; e++) {
		const Unit *v = layout_unit(l, e);
		for (int k = 0; k < v->n_constants && g->funcs[e].layer < 0; k++)
			if (constant_same(g, &u->constants[i], &g->funcs[f], &v->constants[k],
					  &g->funcs[e]))
				return l->offsets[e][k];
	}
	return UINT64_MAX;
}

uint64_t
constant_bytes_read(const Func *f, const Constant *c)
{
	const Value *v = kernel_value(f, &f->kernels[c->kernel], 0);
	if (v->op != OP_EMBED || c->value >= 0)
		return c->bytes / c->experts;
	return c->bytes / round_up(c->rows[0], PACK_ROWS);
}

static void
layout_place(Arena *a, Layout *l)
{
	const Graph *g = l->graph;
	const Model *m = g->model;
	const uint64_t table =
		round_up((uint64_t)m->n_ctx * (m->head_dim / 2) * sizeof(float), CONSTANT_ALIGN);
	l->rope_cos = 0;
	l->rope_sin = table;
	l->bytes = 2 * table;
	if (m->window) {
		l->rope_window_cos = l->bytes;
		l->rope_window_sin = l->bytes + table;
		l->bytes += 2 * table;
	}
	for (int f = 0; f < g->count; f++) {
		const Unit *u = layout_unit(l, f);
		l->offsets[f] = ARENA_ARRAY(a, uint64_t, u->n_constants);
		for (int i = 0; i < u->n_constants; i++) {
			const uint64_t same = earlier_offset(l, f, i);
			l->bytes_per_token +=
				constant_bytes_read(&g->funcs[u->func], &u->constants[i]);
			l->offsets[f][i] = same != UINT64_MAX ? same : l->bytes;
			if (same == UINT64_MAX)
				l->bytes += round_up(u->constants[i].bytes, CONSTANT_ALIGN);
		}
	}
}

Layout *
layout_new(Arena *a, const Graph *g)
{
	Layout *l = ARENA_NEW(a, Layout);
	l->graph = g;
	l->units = ARENA_ARRAY(a, Unit, g->count);
	l->unit_of = ARENA_ARRAY(a, int, g->count);
	l->offsets = ARENA_ARRAY(a, uint64_t *, g->count);
	for (int f = 0; f < g->count; f++) {
		const int same = g->funcs[f].same_as < 0 ? f : g->funcs[f].same_as;
		l->unit_of[f] = same == f ? l->n_units : l->unit_of[same];
		if (same == f)
			unit_init(a, g, &l->units[l->n_units++], f);
	}
	layout_place(a, l);
	return l;
}

const Unit *
layout_unit(const Layout *l, int func)
{
	return &l->units[l->unit_of[func]];
}

const Constant *
unit_constant(const Unit *u, int kernel, int role)
{
	for (int i = 0; i < u->n_constants; i++)
		for (int r = 0; r < u->constants[i].n_roles && u->constants[i].kernel == kernel;
		     r++)
			if (u->constants[i].roles[r] == role)
				return &u->constants[i];
	BUG("kernel %d of %s has no constant for role %d", kernel, u->ident, role);
}

const Constant *
unit_tables(const Unit *u, int value)
{
	for (int i = 0; i < u->n_constants; i++)
		if (u->constants[i].value == value)
			return &u->constants[i];
	return NULL;
}

void
constant_blocks(const Constant *c, int role, uint32_t *first, uint32_t *step)
{
	*first = 0;
	*step = c->interleaved ? (uint32_t)c->n_roles : 1;
	for (int i = 0; i < c->n_roles && c->roles[i] != role; i++)
		*first += c->interleaved ? 1 : (c->rows[i] + PACK_ROWS - 1) / PACK_ROWS;
}
