/* A plan on a graph, and the proof of it. */
#ifndef LATHE_GEN_PLAN_APPLY_H
#define LATHE_GEN_PLAN_APPLY_H

#include "gen/options.h"
#include "ir/graph.h"
#include "ir/plan.h"
#include "ir/proof.h"

/*
 * Puts the plan's transforms and formats on a graph whose other formats are the command line's; no
 * pass has run. What the graph cannot carry is refused where the plan says it; false after
 * diagnostics.
 */
bool plan_apply(Diag *d, Graph *g, const Plan *p);
/* What the command line says of the proof; null: the default. */
typedef struct ProofSettings {
	const char *reference; /* file of the model that weights stored folded were made from */
	const char *tolerance; /* number: relative difference from it */
} ProofSettings;

/* Rows for a command's option table; S is the offset of its ProofSettings. */
#define PROOF_OPTIONS(S)                                                                     \
	{"--reference", "MODEL", OPTION_STRING, (S) + offsetof(ProofSettings, reference),    \
	 "of a plan with \"stored\": the model that its weights were made from"},            \
	{                                                                                    \
		"--tolerance", "X", OPTION_STRING, (S) + offsetof(ProofSettings, tolerance), \
			"relative difference that the proof against it allows"               \
	}

/*
 * A plan of weights that are stored folded has no original of its own: `reference` is it, or null,
 * and then only codes are proved. Other plans take none.
 */
typedef struct ProveOptions {
	const Model *reference;
	double tolerance; /* 0: PROOF_TOLERANCE, or what the stored weights' rounding allows */
	int jobs;
} ProveOptions;

/* Reads the reference of a plan for m; false after diagnostics. */
bool proof_settings(Arena *run, Diag *d, const Plan *p, const Model *m, const ProofSettings *s,
		    ProveOptions *o);
/*
 * Proves a planned graph, whose passes have run, against its model (ir/proof.h) on tokens spread
 * over the vocabulary. false after diagnostics.
 */
bool plan_prove(Arena *run, Diag *d, const Graph *g, const ProveOptions *o, ProofResult *r);
/* "proved: 12 rows agree to 1.0e-13; codes of 3 tensors, 20.1 dB above their error at least", or
 * what could not be shown. */
const char *plan_proof_text(Arena *a, const Graph *g, const ProofResult *r);

#endif
