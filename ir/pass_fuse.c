/*
 * fuse: values with one number in Value.kernel become one kernel (the kinds: KernelKind). A value
 * joins a kernel only where no way leads out of that kernel and back in, so that kernels have an
 * order:
 *
 *   linear + bias          the linear has no other reader; the others here take its bias along
 *   linear + add           the linear has no other reader
 *   linear + linear + silu_mul or gelu_mul   two of one activation and equal shape and format, no
 *                          other readers
 *   linears                of one activation and one format: they do not depend on each other
 *   norm of heads, its gain, rope, transform of k and of q + kv_append   they have no other reader
 *                          but the attention
 *   rmsnorm, gain, transform, quantize, tile   with the rows kernel that makes their operand
 *   add                    with the rows kernel that makes its second operand, where the first is
 *                          made before all of that kernel
 *   weigh, add of them     all that one sum adds, none of which another needs
 */
#include "passes.h"

typedef struct Fuse {
	const Graph *g;
	Func *f;
	const int *uses;
	int kernels; /* numbers given so far */
} Fuse;

static Value *
operand(const Fuse *s, const Value *v, int k)
{
	return &s->f->values[v->operands[k]];
}

/* A linear in no kernel yet that v alone reads, by operand k, itself or what its bias makes of it.
 */
static Value *
only_linear(const Fuse *s, const Value *v, int k)
{
	Value *x = operand(s, v, k);
	if (x->op == OP_BIAS && s->uses[v->operands[k]] == 1)
		return only_linear(s, x, 0);
	bool only = op_is_linear(x->op) && x->kernel < 0 && s->uses[v->operands[k]] == 1;
	return only ? x : NULL;
}

/* Puts linear x and its bias, where nobody else reads the linear, in a kernel. */
static void
join_linear(const Fuse *s, Value *x, int kernel)
{
	const int i = (int)(x - s->f->values);
	x->kernel = kernel;
	for (int b = i + 1; b < s->f->count && s->uses[i] == 1; b++)
		if (s->f->values[b].op == OP_BIAS && s->f->values[b].operands[0] == i)
			s->f->values[b].kernel = kernel;
}

static bool
linears_stack(const Fuse *s, const Value *a, const Value *b)
{
	return a->op == b->op && a->operands[0] == b->operands[0] &&
	       a->operands[1] == b->operands[1] && a->slot == b->slot &&
	       graph_formats_equal(s->g, a->role, s->f->layer, b->role, s->f->layer);
}

static void
fuse_gated(Fuse *s, Value *v)
{
	Value *gate = only_linear(s, v, 0), *up = only_linear(s, v, 1);
	if (gate && up && gate != up && gate->width == up->width && linears_stack(s, gate, up)) {
		v->kernel = s->kernels++;
		join_linear(s, gate, v->kernel);
		join_linear(s, up, v->kernel);
	}
}

static void
fuse_add(Fuse *s, Value *v)
{
	for (int k = 1; k >= 0 && v->kernel < 0; k--) {
		Value *x = only_linear(s, v, k);
		if (x && x->op == OP_LINEAR)
			join_linear(s, x, v->kernel = s->kernels++);
	}
}

static void
fuse_linear(Fuse *s, int i)
{
	Value *v = &s->f->values[i];
	if (v->kernel >= 0)
		return;
	join_linear(s, v, s->kernels++);
	for (int j = i + 1; j < s->f->count; j++) {
		Value *w = &s->f->values[j];
		if (w->kernel < 0 && linears_stack(s, v, w))
			join_linear(s, w, v->kernel);
	}
}

/* What stands in front of an append and of the attention that reads it. */
static void
fuse_attention(Fuse *s, const Value *attention)
{
	Value *append = operand(s, attention, 1);
	const int rows[2] = {append->operands[0], attention->operands[0]};
	if (append->kernel >= 0)
		return;
	append->kernel = s->kernels++;
	for (int k = 0; k < 2; k++)
		for (int i = rows[k]; s->uses[i] == 1; i = s->f->values[i].operands[0]) {
			Value *v = &s->f->values[i];
			if (!op_joins_append(v->op))
				break;
			v->kernel = append->kernel;
		}
}

/* Whether v is an add whose first operand is made before all of the kernel of x, its second: then
 * no way leads out of that kernel and back in. */
static bool
add_joins(const Fuse *s, const Value *v, const Value *x)
{
	int first = v->operands[1];
	for (int i = first; i >= 0; i--)
		if (s->f->values[i].kernel == x->kernel)
			first = i;
	return v->op == OP_ADD && v->operands[0] < first;
}

/* Of one operand the kernel of its producer is the only way in. */
static void
fuse_rows(Fuse *s, Value *v)
{
	const Value *x = operand(s, v, v->op == OP_ADD ? 1 : 0);
	bool joins = add_joins(s, v, x) || v->op == OP_RMSNORM || v->op == OP_GAIN ||
		     v->op == OP_TRANSFORM || op_table[v->op].result == 'a';
	bool rows = x->kernel >= 0 && op_table[x->op].kernel == KERNEL_ROWS;
	if (joins && rows)
		for (int i = 0; i < s->f->count && rows; i++)
			rows = s->f->values[i].kernel != x->kernel ||
			       op_table[s->f->values[i].op].kernel == KERNEL_ROWS;
	v->kernel = joins && rows ? x->kernel : s->kernels++;
}

/* Whether value i needs a value of a kernel, itself or by way of others. */
static bool
needs_kernel(const Fuse *s, int i, int kernel)
{
	bool *needs = ARENA_ARRAY(s->g->arena, bool, (size_t)i + 1);
	for (int n = 0; n <= i; n++) {
		const Value *v = &s->f->values[n];
		needs[n] = v->kernel == kernel;
		for (int k = 0; k < op_operands(v->op); k++)
			needs[n] |= needs[v->operands[k]];
	}
	return needs[i];
}

/* Add v joins weigh `last`, its second operand, and the weigh or the sum in front of it, which
 * `last` does not need: so no way leads out of their kernel and back in. */
static void
fuse_weighed(Fuse *s, Value *v)
{
	Value *last = operand(s, v, 1), *sum = operand(s, v, 0);
	const bool begins = sum->op == OP_WEIGH && sum->kernel < 0;
	const bool goes_on = sum->op == OP_ADD && sum->kernel >= 0 &&
			     operand(s, sum, 1)->op == OP_WEIGH &&
			     operand(s, sum, 1)->kernel == sum->kernel;
	if (v->kernel >= 0 || last->op != OP_WEIGH || last->kernel >= 0 || last == sum)
		return;
	if (begins)
		sum->kernel = s->kernels++;
	if ((begins || goes_on) && !needs_kernel(s, v->operands[1], sum->kernel))
		v->kernel = last->kernel = sum->kernel;
}

static void
fuse_sum(Fuse *s, Value *v)
{
	fuse_add(s, v);
	fuse_weighed(s, v);
}

static void
fuse_func(const Graph *g, Func *f)
{
	Arena *scratch = arena_new();
	Fuse s = {.g = g, .f = f, .uses = func_uses(scratch, f)};
	for (int i = 0; i < f->count; i++) {
		Value *v = &f->values[i];
		if (op_is_gated(v->op))
			fuse_gated(&s, v);
		else if (v->op == OP_ADD)
			fuse_sum(&s, v);
		else if (v->op == OP_ATTENTION)
			fuse_attention(&s, v);
	}
	for (int i = 0; i < f->count; i++)
		if (op_is_linear(f->values[i].op))
			fuse_linear(&s, i);
	for (int i = 0; i < f->count; i++) {
		Value *v = &f->values[i];
		if (v->kernel >= 0 || op_table[v->op].kernel == KERNEL_NONE)
			continue;
		if (op_table[v->op].kernel == KERNEL_ROWS && op_operands(v->op) > 0)
			fuse_rows(&s, v);
		else
			v->kernel = s.kernels++;
	}
	arena_free(scratch);
}

void
pass_fuse(Graph *g)
{
	for (int n = 0; n < g->count; n++)
		fuse_func(g, &g->funcs[n]);
}
