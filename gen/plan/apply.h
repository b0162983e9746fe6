/* A plan on a graph: formats now, transforms by the passes. */
#ifndef LATHE_GEN_PLAN_APPLY_H
#define LATHE_GEN_PLAN_APPLY_H

#include "ir/graph.h"
#include "ir/plan.h"

/* Sets what the plan says on a graph whose other formats are the command line's. What the graph
 * cannot carry is refused where the plan says it; false after diagnostics. */
bool plan_apply(Diag *d, Graph *g, const Plan *p);

#endif
