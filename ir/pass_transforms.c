/*
 * commute, cancel, fold-transform: the rules of rewrite.h by groups, over the pairs that a plan put
 * into the graph. Without a plan nothing is there to move.
 */
#include "passes.h"
#include "rewrite.h"

static void
rewrite(Graph *g, unsigned groups)
{
	bool any = g->residual != NULL;
	const char *law;
	for (int n = 0; n < g->count; n++) {
		any |= rewrite_left(g, &g->funcs[n], 0, &law) >= 0;
		rewrite_func(g, &g->funcs[n], groups);
	}
	if (any)
		graph_derive_bases(g);
}

void
pass_commute(Graph *g)
{
	rewrite(g, REWRITE_COMMUTE | REWRITE_CANCEL);
}

void
pass_cancel(Graph *g)
{
	rewrite(g, REWRITE_CANCEL);
}

void
pass_fold_transform(Graph *g)
{
	rewrite(g, REWRITE_FOLD);
}
