/* The passes, one file each; pass.c drives them. A pass cannot fail: it runs on checked IR. */
#ifndef LATHE_IR_PASSES_H
#define LATHE_IR_PASSES_H

#include "pass.h"

#define PASS(function, name, establishes, needs, breaks, mandatory, what) void function(Graph *g);
#include "passes.def"

#endif
