/*
 * The proof of a plan: the planned model computes what the model does, and ready codes are those of
 * the weights that the planned model has. Part of every compile with a plan.
 */
#ifndef LATHE_IR_PROOF_H
#define LATHE_IR_PROOF_H

#include "weight_source.h"

typedef struct ProofOptions {
	int jobs;
	const int32_t *tokens; /* real ones; random rows follow them through the layers */
	int n_tokens;
	double tolerance;	  /* 0: PROOF_TOLERANCE; more for weights that are stored folded */
	const WeightFault *fault; /* null; tests spoil the folded weights */
} ProofOptions;

typedef struct ProofResult {
	double worst;	   /* relative difference of the rows of one value, all values */
	double worst_snr;  /* of ready codes, in dB; infinite without codes */
	int rows, tensors; /* rows that went through every layer; tensors with codes */
} ProofResult;

/*
 * Runs both graphs in double, the planned one on folded but unrounded weights, and compares every
 * value that both compute, in the basis that the planned one has there. Refuses at the plan's line
 * a relative difference above the tolerance, naming the first value that has it (everything in
 * front of it agrees), and codes too far from the weights they stand for. No pass has run on the
 * original; it is of the same model, or, where the plan's weights are stored folded, of the model
 * that they were made from; null where nobody has that: then only codes are compared.
 */
#define PROOF_TOLERANCE 1e-9
bool proof_run(Diag *d, const Graph *original, const Graph *planned, const ProofOptions *o,
	       ProofResult *r);

#endif
