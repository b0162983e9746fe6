/* hoist: of equal values the first stays. Input, output and append are the only ones of a function.
 */
#include "passes.h"

static void
merge_equal(Graph *g, Func *f)
{
	int *by = ARENA_ARRAY(g->arena, int, (size_t)f->count + 1);
	for (int i = 0; i < f->count; i++) {
		Value *v = &f->values[i];
		by[i] = i;
		for (int k = 0; k < op_operands(v->op); k++)
			v->operands[k] = by[v->operands[k]];
		for (int j = 0; j < i && by[i] == i; j++)
			if (by[j] == j && value_equal(&f->values[j], v))
				by[i] = j;
	}
	func_replace(g, f, by);
}

void
pass_hoist(Graph *g)
{
	for (int n = 0; n < g->count; n++)
		merge_equal(g, &g->funcs[n]);
}
