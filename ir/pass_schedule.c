/*
 * schedule: kernels get numbers in the order of their phases. A kernel's phase is one more than the
 * last phase that it reads from, so kernels of one phase are independent and need one barrier.
 */
#include "passes.h"

typedef struct Schedule {
	const Graph *g;
	Func *f;
	int *phases; /* by kernel, while numbers are those of number_kernels */
	int n;
} Schedule;

/* Kernel numbers in order of first appearance; values of no kernel get their own. */
static void
number_kernels(Schedule *s, Arena *scratch)
{
	int count = s->f->count, most = -1;
	for (int i = 0; i < count; i++)
		if (s->f->values[i].kernel > most)
			most = s->f->values[i].kernel;
	int *number = ARENA_ARRAY(scratch, int, (size_t)most + 2);
	for (int i = 0; i < count; i++) {
		Value *v = &s->f->values[i];
		if (op_table[v->op].kernel == KERNEL_NONE)
			v->kernel = -1;
		else if (v->kernel < 0)
			v->kernel = s->n++;
		else if (number[v->kernel])
			v->kernel = number[v->kernel] - 1;
		else
			v->kernel = (number[v->kernel] = ++s->n) - 1;
	}
}

static void
find_phases(Schedule *s)
{
	const Value *values = s->f->values;
	bool changed = true;
	for (int round = 0; changed; round++) {
		INVARIANT(round <= s->n + 1);
		changed = false;
		for (int i = 0; i < s->f->count; i++)
			for (int k = 0; k < op_operands(values[i].op); k++) {
				int to = values[i].kernel;
				int from = values[values[i].operands[k]].kernel;
				if (to < 0 || from < 0 || to == from ||
				    s->phases[to] > s->phases[from])
					continue;
				s->phases[to] = s->phases[from] + 1;
				changed = true;
			}
	}
}

/* The next kernel of the function: the values numbered k. */
static void
add_kernel(Schedule *s, int k)
{
	Func *f = s->f;
	Kernel *to = &f->kernels[f->n_kernels++];
	*to = (Kernel){.first = f->n_order, .phase = s->phases[k], .kind = KERNEL_ROWS};
	for (int i = 0; i < f->count; i++) {
		if (f->values[i].kernel != k)
			continue;
		f->order[f->n_order++] = i;
		KernelKind kind = op_table[f->values[i].op].kernel;
		if (kind > (KernelKind)to->kind)
			to->kind = (uint8_t)kind;
	}
	to->count = f->n_order - to->first;
}

/* Kernels by phase, then by first value; the numbers of values follow. */
static void
order_kernels(Schedule *s, Arena *scratch)
{
	Func *f = s->f;
	int *moved = ARENA_ARRAY(scratch, int, (size_t)s->n + 1);
	f->kernels = ARENA_ARRAY(s->g->arena, Kernel, (size_t)s->n + 1);
	f->order = ARENA_ARRAY(s->g->arena, int, (size_t)f->count + 1);
	f->n_kernels = f->n_order = 0;
	for (int phase = 0; f->n_kernels < s->n; phase++)
		for (int k = 0; k < s->n; k++)
			if (s->phases[k] == phase) {
				moved[k] = f->n_kernels;
				add_kernel(s, k);
			}
	for (int i = 0; i < f->count; i++)
		if (f->values[i].kernel >= 0)
			f->values[i].kernel = moved[f->values[i].kernel];
}

/* Whether kernel k reads value i, which another kernel makes. */
static bool
kernel_reads(const Func *f, int k, int i)
{
	if (f->values[i].kernel == k)
		return false;
	for (int j = 0; j < f->kernels[k].count; j++) {
		const Value *v = &f->values[f->order[f->kernels[k].first + j]];
		for (int o = 0; o < op_operands(v->op); o++)
			if (v->operands[o] == i)
				return true;
	}
	return false;
}

/* Whether what value w leaves in the residual stream may overwrite value i. */
static bool
may_overwrite(const Schedule *s, int w, int i)
{
	const Func *f = s->f;
	const Value *v = &f->values[w], *x = &f->values[i];
	const Value *output = &f->values[f->count - 1];
	if (v->op == OP_ADD && (v->operands[0] == i || v->operands[1] == i))
		return true;
	return output->operands[0] == w && !func_is_last(s->g, f) &&
	       (x->op == OP_INPUT || x->op == OP_ADD || x->op == OP_EMBED);
}

static bool
repeats_at_one(const Schedule *s, int k)
{
	const Func *f = s->f;
	if (f->kernels[k].kind != KERNEL_ROWS)
		return false;
	for (int i = 0; i < f->count; i++) {
		const Value *v = &f->values[i];
		for (int o = 0; o < op_operands(v->op); o++)
			if (v->kernel != k && v->op != OP_LINEAR &&
			    f->values[v->operands[o]].kernel == k)
				return false;
	}
	for (int w = 0; w < f->count; w++) {
		int kernel = f->values[w].kernel;
		if (kernel < 0 || f->kernels[kernel].phase != f->kernels[k].phase + 1)
			continue;
		for (int i = 0; i < f->count; i++)
			if (kernel_reads(f, k, i) && may_overwrite(s, w, i))
				return false;
	}
	return true;
}

void
pass_schedule(Graph *g)
{
	for (int n = 0; n < g->count; n++) {
		Arena *scratch = arena_new();
		Schedule s = {.g = g, .f = &g->funcs[n]};
		number_kernels(&s, scratch);
		s.phases = ARENA_ARRAY(scratch, int, (size_t)s.n + 1);
		find_phases(&s);
		order_kernels(&s, scratch);
		for (int k = 0; k < s.n; k++)
			s.f->kernels[k].repeat_at_one = repeats_at_one(&s, k);
		arena_free(scratch);
	}
}
