/* What the files of the checker share. */
#ifndef LATHE_IR_GRAPH_CHECK_H
#define LATHE_IR_GRAPH_CHECK_H

#include "pass.h"

typedef struct Check {
	const Graph *g;
	Diag *d;
	const Func *f; /* the function at hand */
	int reports;
} Check;

/* Reports a broken rule at value i of the function, or at the function if i is -1. */
void check_report(Check *c, int i, const char *format, ...) LATHE_PRINTF(3, 4);

/* Kernels as fuse may make them: what a kernel may hold, and that kernels have an order. */
void check_fused(Check *c);
/* Kernels, phases and order as schedule leaves them. */
void check_scheduled(Check *c);
/* Buffers as arena leaves them: all that is read is kept until it is read. */
void check_placed(Check *c);

#endif
