/*
 * Laws of the ops about transforms, as rewrite rules, one row of a table each. A plan puts identity
 * pairs T, T^-1 into a graph; the rules move them until nothing changes. No rule changes what a
 * function computes, so what remains is what must run, and why is the law of the op that holds it.
 *
 * T is pinned (Value.pinned): it goes up, into the producers of its row. T^-1 is not: it goes down,
 * into the readers. That gives the rules an order in which they end.
 */
#ifndef LATHE_IR_REWRITE_H
#define LATHE_IR_REWRITE_H

#include "graph.h"

enum {
	REWRITE_CANCEL = 1,  /* transforms of transforms become one, identities go */
	REWRITE_COMMUTE = 2, /* through the ops between linears */
	REWRITE_FOLD = 4,    /* into the weights of linears and embed */
	REWRITE_ALL = 7,
};

/* Applies the rules of the groups until none applies. Before quantize and tile. */
void rewrite_func(Graph *g, Func *f, unsigned groups);
/* The first transform that is left in f at or behind value `from`, -1: none; *law: the law that
 * holds it, a sentence. */
int rewrite_left(const Graph *g, const Func *f, int from, const char **law);

#endif
