/*
 * quantize: where the graph wants integer activations, each linear with integer weights that reads
 * a float row reads its codes instead. One quantize a linear; hoist merges the equal ones.
 */
#include "passes.h"

static bool
make_quantize(const Graph *g, const Func *f, int i, Value *v)
{
	const Value *linear = &f->values[i];
	if (!op_is_linear(linear->op))
		return false;
	const Value *x = &f->values[linear->operands[0]];
	const Format row = graph_row_format(g, linear->role, f->layer);
	if (format_is_float(row) || op_table[x->op].result != 'r')
		return false;
	*v = value_new(OP_QUANTIZE, x->width, linear->loc);
	v->format = row;
	v->format.scale_bits = 32;
	v->basis = x->basis;
	v->alone = linear->op == OP_EXPERT;
	v->sums = graph_linear_sums(g, linear->role, f->layer, v->format, x->width);
	return true;
}

void
pass_quantize(Graph *g)
{
	for (int n = 0; n < g->count; n++)
		func_insert(g, &g->funcs[n], make_quantize);
}
