/*
 * tile: linears read activations in tile order. A linear that still reads a float row reads a tile
 * of it instead, with the sums that its minima need.
 */
#include "passes.h"

static bool
make_tile(const Graph *g, const Func *f, int i, Value *v)
{
	const Value *linear = &f->values[i];
	if (!op_is_linear(linear->op))
		return false;
	const Value *x = &f->values[linear->operands[0]];
	if (op_table[x->op].result != 'r')
		return false;
	*v = value_new(OP_TILE, x->width, linear->loc);
	v->basis = x->basis;
	v->alone = linear->op == OP_EXPERT;
	v->sums = graph_linear_sums(g, linear->role, f->layer, v->format, x->width);
	return true;
}

void
pass_tile(Graph *g)
{
	for (int n = 0; n < g->count; n++)
		func_insert(g, &g->funcs[n], make_tile);
}
