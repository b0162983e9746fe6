/*
 * fold-gain: a gain whose every element is 1 multiplies exactly by nothing. A role is dropped in
 * all layers or in none, so that layers which were equal up to constants stay so. Weights that
 * absorb other gains are a matter of plans, which may round.
 */
#include "passes.h"

static bool
tensor_is_ones(Arena *a, const Tensor *t)
{
	if (!t || !t->data)
		return false;
	float *row = ARENA_ARRAY(a, float, t->columns);
	tensor_row_f32(t, 0, row);
	for (uint32_t i = 0; i < t->columns; i++)
		if (row[i] != 1.0f)
			return false;
	return true;
}

static bool
role_is_ones(const Graph *g, Role role)
{
	Arena *scratch = arena_new();
	uint32_t n = role_layered[role] ? g->model->n_layer : 1;
	bool ones = n > 0;
	for (uint32_t i = 0; i < n && ones; i++)
		ones = tensor_is_ones(scratch, model_tensor(g->model, role, i));
	arena_free(scratch);
	return ones;
}

static void
drop_gains(Graph *g, Func *f, const bool *ones)
{
	int *by = ARENA_ARRAY(g->arena, int, (size_t)f->count + 1);
	for (int i = 0; i < f->count; i++) {
		const Value *v = &f->values[i];
		by[i] = v->op == OP_GAIN && ones[v->role] ? v->operands[0] : i;
	}
	func_replace(g, f, by);
}

void
pass_fold_gain(Graph *g)
{
	bool ones[ROLE_COUNT] = {false}, seen[ROLE_COUNT] = {false};
	for (int n = 0; n < g->count; n++)
		for (int i = 0; i < g->funcs[n].count; i++) {
			const Value *v = &g->funcs[n].values[i];
			if (v->op != OP_GAIN || seen[v->role])
				continue;
			seen[v->role] = true;
			ones[v->role] = role_is_ones(g, (Role)v->role);
		}
	for (int n = 0; n < g->count; n++)
		drop_gains(g, &g->funcs[n], ones);
}
