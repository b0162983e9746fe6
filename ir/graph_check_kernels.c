/*
 * The rules of kernels, phases and buffers: what the emitters and the threads of an artefact rely
 * on. Computed from values alone, not from what the passes noted down.
 */
#include "graph_check.h"

/* ---- fuse --------------------------------------------------------------------------------- */

/* Whether i is the first value of its kernel. */
static bool
leads_kernel(const Func *f, int i)
{
	for (int j = 0; j < i; j++)
		if (f->values[j].kernel == f->values[i].kernel)
			return false;
	return true;
}

static KernelKind
group_kind(const Func *f, int kernel)
{
	KernelKind kind = KERNEL_NONE;
	for (int i = 0; i < f->count; i++)
		if (f->values[i].kernel == kernel && op_table[f->values[i].op].kernel > kind)
			kind = op_table[f->values[i].op].kernel;
	return kind;
}

/* Whether i is the bias of a linear of its kernel. */
static bool
is_bias_inside(const Func *f, int i)
{
	const Value *v = &f->values[i];
	return v->op == OP_BIAS && op_is_linear(f->values[v->operands[0]].op) &&
	       f->values[v->operands[0]].kernel == v->kernel;
}

/* Nobody but its bias reads a linear that has one inside the kernel. */
static void
check_bias(Check *c, int i)
{
	const Func *f = c->f;
	for (int r = 0; r < f->count; r++)
		for (int k = 0; k < op_operands(f->values[r].op); k++)
			if (r != i && f->values[r].operands[k] == f->values[i].operands[0])
				check_report(c, r, "reads a linear whose bias is in kernel %d",
					     f->values[i].kernel);
}

/* The epilogue reads each linear of its kernel, or its bias, once, and nobody else does. */
static void
check_epilogue(Check *c, int i, int linears)
{
	const Func *f = c->f;
	const Value *v = &f->values[i];
	int reads = 0;
	if (!(v->op == OP_ADD && linears == 1) && !(op_is_gated(v->op) && linears == 2))
		check_report(c, i, "cannot follow %d linears in kernel %d", linears, v->kernel);
	for (int r = 0; r < f->count; r++)
		for (int k = 0; k < op_operands(f->values[r].op); k++) {
			const Value *x = &f->values[f->values[r].operands[k]];
			if (x->kernel != v->kernel || (!op_is_linear(x->op) && x->op != OP_BIAS) ||
			    is_bias_inside(f, r))
				continue;
			reads++;
			if (r != i)
				check_report(c, r, "reads a linear inside kernel %d", v->kernel);
			else if (x->width != v->width)
				check_report(c, i, "is wider than a linear of its kernel");
		}
	if (reads != linears)
		check_report(c, i, "does not read each linear of kernel %d once", v->kernel);
}

static void
check_linear_kernel(Check *c, int first)
{
	const Func *f = c->f;
	const Value *a = NULL;
	int linears = 0, epilogue = -1;
	for (int i = first; i < f->count; i++) {
		const Value *v = &f->values[i];
		if (v->kernel != f->values[first].kernel)
			continue;
		if (is_bias_inside(f, i)) {
			check_bias(c, i);
			continue;
		}
		if (!op_is_linear(v->op)) {
			if (epilogue >= 0)
				check_report(c, i, "is a second value behind linears");
			epilogue = i;
			continue;
		}
		linears++;
		if (!a)
			a = v;
		if (v->operands[0] != a->operands[0])
			check_report(c, i, "reads another activation than its kernel");
		else if (v->op != a->op || v->operands[1] != a->operands[1] || v->slot != a->slot)
			check_report(c, i, "is of another expert than its kernel");
		else if (!graph_formats_equal(c->g, v->role, f->layer, a->role, f->layer))
			check_report(c, i, "has weights of another format than its kernel");
	}
	if (epilogue >= 0)
		check_epilogue(c, epilogue, linears);
}

static void
check_kernel(Check *c, int first)
{
	const Func *f = c->f;
	KernelKind kind = group_kind(f, f->values[first].kernel);
	int members = 0, own = 0;
	for (int i = first; i < f->count; i++) {
		const Value *v = &f->values[i];
		if (v->kernel != f->values[first].kernel)
			continue;
		members++;
		own += op_table[v->op].kernel == kind;
		if (op_table[v->op].kernel == KERNEL_NONE)
			check_report(c, i, "belongs in no kernel");
		else if (kind == KERNEL_KV && op_table[v->op].kernel != kind &&
			 !op_joins_append(v->op))
			check_report(c, i, "cannot join a kv_append");
	}
	if (kind == KERNEL_LINEAR)
		check_linear_kernel(c, first);
	else if (kind == KERNEL_KV && own != 1)
		check_report(c, first, "has %d appends in its kernel", own);
	else if (kind == KERNEL_ATTENTION && members != 1)
		check_report(c, first, "shares a kernel with an attention");
}

/* Kernels can be put in an order: phases counted along operands come to an end. */
static void
check_acyclic(Check *c)
{
	const Func *f = c->f;
	int *node = ARENA_ARRAY(c->g->arena, int, (size_t)f->count);
	int *phase = ARENA_ARRAY(c->g->arena, int, (size_t)f->count);
	for (int i = 0; i < f->count; i++) {
		node[i] = i;
		for (int j = i - 1; j >= 0 && f->values[i].kernel >= 0; j--)
			if (f->values[j].kernel == f->values[i].kernel)
				node[i] = j;
	}
	bool changed = true;
	for (int round = 0; changed; round++) {
		changed = false;
		for (int i = 0; i < f->count; i++)
			for (int k = 0; k < op_operands(f->values[i].op); k++) {
				int to = node[i], from = node[f->values[i].operands[k]];
				if (to == from || phase[to] > phase[from])
					continue;
				phase[to] = phase[from] + 1;
				changed = true;
				if (round <= f->count)
					continue;
				check_report(c, i, "its kernel waits for itself");
				return;
			}
	}
}

void
check_fused(Check *c)
{
	for (int i = 0; i < c->f->count; i++)
		if (c->f->values[i].kernel >= 0 && leads_kernel(c->f, i))
			check_kernel(c, i);
	check_acyclic(c);
}

/* ---- schedule ----------------------------------------------------------------------------- */

static int
phase_of(const Func *f, int i)
{
	int k = f->values[i].kernel;
	return k < 0 ? -1 : f->kernels[k].phase;
}

/* The order lists each value of each kernel once, kernels one behind the other. */
static bool
check_order(Check *c)
{
	const Func *f = c->f;
	int at = 0, listed = 0, before = c->reports;
	for (int k = 0; k < f->n_kernels; at += f->kernels[k++].count) {
		const Kernel *kernel = &f->kernels[k];
		if (kernel->first != at || kernel->count < 1 || kernel->count > f->n_order - at) {
			check_report(c, -1, "kernel %d does not follow the one before", k);
			return false;
		}
		if (kernel->kind != group_kind(f, k))
			check_report(c, -1, "kernel %d is of another kind", k);
		for (int i = at; i < at + kernel->count; i++)
			if (f->values[f->order[i]].kernel != k ||
			    (i > at && f->order[i] <= f->order[i - 1]))
				check_report(c, f->order[i], "is out of order in kernel %d", k);
	}
	for (int i = 0; i < f->count; i++) {
		bool works = op_table[f->values[i].op].kernel != KERNEL_NONE;
		listed += works;
		if (works != (f->values[i].kernel >= 0) || f->values[i].kernel >= f->n_kernels)
			check_report(c, i, "is in no kernel, or in one too many");
	}
	if (at != f->n_order || listed != at)
		check_report(c, -1, "the order lists %d of %d values", at, listed);
	return c->reports == before;
}

static void
check_repeat(Check *c, int k)
{
	const Func *f = c->f;
	if (f->kernels[k].kind != KERNEL_ROWS)
		check_report(c, -1, "kernel %d repeats, but is no rows kernel", k);
	for (int i = 0; i < f->count; i++)
		for (int o = 0; o < op_operands(f->values[i].op); o++)
			if (f->values[f->values[i].operands[o]].kernel == k &&
			    f->values[i].kernel != k && f->values[i].op != OP_LINEAR)
				check_report(c, i, "reads kernel %d, which repeats", k);
}

void
check_scheduled(Check *c)
{
	const Func *f = c->f;
	if (!check_order(c))
		return;
	for (int k = 0; k < f->n_kernels; k++) {
		int before = k ? f->kernels[k - 1].phase : 0;
		if (f->kernels[k].phase < before || f->kernels[k].phase > before + (k > 0))
			check_report(c, -1, "kernel %d has phase %d behind %d", k,
				     f->kernels[k].phase, before);
		if (f->kernels[k].repeat_at_one)
			check_repeat(c, k);
	}
	for (int i = 0; i < f->count; i++)
		for (int o = 0; o < op_operands(f->values[i].op); o++) {
			int x = f->values[i].operands[o];
			if (f->values[i].kernel >= 0 &&
			    f->values[x].kernel != f->values[i].kernel &&
			    phase_of(f, x) >= phase_of(f, i))
				check_report(c, i, "reads %%%d of the same or a later phase", x);
		}
}

/* ---- arena -------------------------------------------------------------------------------- */

static bool
is_read_outside(const Func *f, int i)
{
	for (int r = i + 1; r < f->count; r++)
		for (int k = 0; k < op_operands(f->values[r].op); k++)
			if (f->values[r].operands[k] == i &&
			    f->values[r].kernel != f->values[i].kernel)
				return true;
	return false;
}

static bool
check_buffers(Check *c)
{
	const Func *f = c->f;
	const int before = c->reports;
	if (f->n_buffers < 1 || f->buffers[BUFFER_X].offset != 0 || f->buffers[BUFFER_X].caller) {
		check_report(c, -1, "buffer %d is not the residual stream", BUFFER_X);
		return false;
	}
	for (int n = 0; n < f->n_buffers; n++) {
		const Buffer *b = &f->buffers[n];
		if (b->offset % 64 || b->bytes % 64)
			check_report(c, -1, "buffer %d is not aligned to 64 bytes", n);
		if (!b->caller && (b->offset > c->g->arena_bytes_per_token ||
				   b->bytes > c->g->arena_bytes_per_token - b->offset))
			check_report(c, -1, "buffer %d lies outside the arena", n);
	}
	return c->reports == before;
}

/* A value has a buffer that holds it if another kernel reads it. */
static void
check_buffer_of(Check *c, int i)
{
	const Func *f = c->f;
	const Value *v = &f->values[i];
	bool wants = op_table[v->op].result != 'c' && is_read_outside(f, i);
	int result = f->values[f->count - 1].operands[0];
	if (v->op == OP_OUTPUT) {
		if (v->buffer != f->values[v->operands[0]].buffer)
			check_report(c, i, "is not in its operand's buffer");
		return;
	}
	if (wants != (v->buffer >= 0) || v->buffer >= f->n_buffers) {
		check_report(c, i, wants ? "has no buffer" : "has a buffer that nobody reads");
		return;
	}
	if (!wants)
		return;
	const Buffer *b = &f->buffers[v->buffer];
	if (b->bytes < row_layout(v).bytes)
		check_report(c, i, "does not fit in buffer %d", v->buffer);
	if (b->caller != (i == result && func_is_last(c->g, f)))
		check_report(c, i, "is in the caller's memory or should be");
	if ((v->op == OP_INPUT || (i == result && !b->caller)) && v->buffer != BUFFER_X)
		check_report(c, i, "is not in the residual stream");
}

/* Whether v may take the place of x as far as reader r of x goes. */
static bool
reader_is_before(const Func *f, int r, int x, int v)
{
	int k = f->values[r].kernel;
	if (k < 0)
		return false;
	if (f->kernels[k].phase + f->kernels[k].repeat_at_one < phase_of(f, v))
		return true;
	/* In place: element by element, in the same row of the same kernel. */
	return k == f->values[v].kernel && r <= v && x < v &&
	       f->buffers[f->values[x].buffer].offset == f->buffers[f->values[v].buffer].offset &&
	       op_table[f->values[r].op].kernel == KERNEL_ROWS;
}

static bool
is_dead_before(const Func *f, int x, int v)
{
	for (int r = x + 1; r < f->count; r++)
		for (int k = 0; k < op_operands(f->values[r].op); k++)
			if (f->values[r].operands[k] == x && !reader_is_before(f, r, x, v))
				return false;
	return true;
}

static bool
memory_overlaps(const Func *f, int i, int j)
{
	if (f->values[i].buffer < 0 || f->values[j].buffer < 0)
		return false;
	const Buffer *a = &f->buffers[f->values[i].buffer], *b = &f->buffers[f->values[j].buffer];
	return !a->caller && !b->caller && a->offset < b->offset + b->bytes &&
	       b->offset < a->offset + a->bytes;
}

void
check_placed(Check *c)
{
	const Func *f = c->f;
	const int before = c->reports;
	if (!check_buffers(c))
		return;
	for (int i = 0; i < f->count; i++)
		check_buffer_of(c, i);
	for (int i = 0; i < f->count - 1 && c->reports == before; i++)
		for (int j = i + 1; j < f->count - 1; j++)
			if (memory_overlaps(f, i, j) && !is_dead_before(f, i, j) &&
			    !is_dead_before(f, j, i))
				check_report(c, j, "overwrites %%%d, which is still read", i);
	for (int i = 0; i < f->count && c->reports == before; i++)
		for (int k = 0; k < op_operands(f->values[i].op); k++) {
			const Value *x = &f->values[f->values[i].operands[k]];
			const Buffer *b = x->buffer < 0 ? NULL : &f->buffers[x->buffer];
			if (b && f->values[i].kernel != x->kernel && f->values[i].op != OP_OUTPUT &&
			    (phase_of(f, i) < b->first_use || phase_of(f, i) > b->last_use))
				check_report(c, i, "reads buffer %d outside its uses", x->buffer);
		}
}
