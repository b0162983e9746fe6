/* A plan on a graph, and the proof of it. */
#ifndef LATHE_GEN_PLAN_APPLY_H
#define LATHE_GEN_PLAN_APPLY_H

#include "ir/graph.h"
#include "ir/plan.h"
#include "ir/proof.h"

/*
 * Puts the plan's transforms and formats on a graph whose other formats are the command line's; no
 * pass has run. What the graph cannot carry is refused where the plan says it; false after
 * diagnostics.
 */
bool plan_apply(Diag *d, Graph *g, const Plan *p);
/*
 * Proves a planned graph, whose passes have run, against its model (ir/proof.h) on tokens spread
 * over the vocabulary. false after diagnostics.
 */
bool plan_prove(Arena *run, Diag *d, const Graph *g, int jobs, ProofResult *r);
/* "12 rows agree to 1.0e-13; codes of 3 tensors, 20.1 dB above their error at least" */
const char *plan_proof_text(Arena *a, const ProofResult *r);

#endif
