/* dedup-layers: a function that equals an earlier one up to constants shares that one's code. */
#include "passes.h"

void
pass_dedup(Graph *g)
{
	for (int n = 0; n < g->count; n++) {
		g->funcs[n].same_as = n;
		for (int m = 0; m < n; m++)
			if (g->funcs[m].same_as == m && func_equal(g, &g->funcs[m], &g->funcs[n])) {
				g->funcs[n].same_as = m;
				break;
			}
	}
}
