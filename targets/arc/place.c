/* Where what a kernel computes was asked for, for messages: the plan's line, else the model. */
#include "maker.h"

#include "../../ir/plan_apply.h"

static int
layer_of(const Maker *k)
{
	return k->e.f->layer < 0 ? 0 : k->e.f->layer;
}

/* What the plan says of the row v, which linears read: its transform, else its codes. */
static Loc
row_place(const Maker *k, const Value *v)
{
	const Plan *p = k->e.g->plan;
	for (int i = 0; i < k->e.f->count; i++) {
		const Value *reader = emit_value(&k->e, i);
		if (reader->op != OP_LINEAR || emit_value(&k->e, reader->operands[0]) != v)
			continue;
		const int site = role_site((Role)reader->role);
		if (plan_says(p->transforms[site][layer_of(k)].loc))
			return p->transforms[site][layer_of(k)].loc;
		if (plan_says(p->activations[site][layer_of(k)].loc))
			return p->activations[site][layer_of(k)].loc;
	}
	return (Loc){0};
}

/* What the plan says of value v, {0}: nothing. */
static Loc
value_place(const Maker *k, const Value *v)
{
	const Plan *p = k->e.g->plan;
	if (v->op == OP_TRANSFORM)
		return v->loc.file == k->e.g->model->loc.file ? (Loc){0} : v->loc;
	if (v->op == OP_LINEAR || v->op == OP_EMBED)
		return p->weights[v->role][layer_of(k)].loc;
	if (v->op == OP_KV_APPEND || v->op == OP_ATTENTION)
		return p->kv[layer_of(k)].loc;
	return emit_is_activation(v) ? row_place(k, v) : (Loc){0};
}

Loc
arc_place(const Maker *k, const Kernel *kernel)
{
	/* what makes kernels large comes first */
	for (int transforms = 1; k->e.g->plan && transforms >= 0; transforms--)
		for (int i = 0; i < kernel->count; i++) {
			const Value *v = emit_kernel_value(&k->e, kernel, i);
			if ((v->op == OP_TRANSFORM) != transforms)
				continue;
			const Loc loc = value_place(k, v);
			if (plan_says(loc))
				return loc;
		}
	return emit_kernel_value(&k->e, kernel, 0)->loc;
}
