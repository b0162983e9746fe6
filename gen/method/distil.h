/*
 * Scales tuned end to end: codes stay as they are, and Adam moves the scales of all of a plan's
 * codes so that the planned model's predictions come near to the unrounded one's.
 */
#ifndef LATHE_GEN_METHOD_DISTIL_H
#define LATHE_GEN_METHOD_DISTIL_H

#include "ir/plan.h"
#include "stream.h"

/* Sequences of a step. */
enum { DISTIL_BATCH = 2 };

typedef struct DistilRun {
	const Graph *graph; /* of the plan, all passes run */
	Plan *plan;	    /* with codes, whose scales become others */
	const Linalg *linalg;
	Pool *pool;
	const TokenText *text; /* a step's sequences begin anywhere in it */
	const Tokens *held;    /* that judge: a multiple of DISTIL_BATCH, of none of the text */
	int jobs, steps, seed;
	double rate; /* of Adam; 0: by the bits of weights and rows */
	void (*progress)(void *arg, const char *what, double share);
	void *progress_arg;
} DistilRun;

/*
 * Mean KL divergence, in nats a position, of the planned model from the unrounded one over what is
 * held out, before and after. The plan gets the new scales only where they made it less. Bytes
 * depend on the machine's BLAS kernels, not on jobs.
 */
typedef struct DistilResult {
	double before, after;
	bool kept;
} DistilResult;
DistilResult distil(Arena *run, const DistilRun *o);

/* ---- for tests ------------------------------------------------------------------------------ */

typedef struct Distil Distil;
Distil *distil_new(Arena *run, const DistilRun *o);
/* The divergence over DISTIL_BATCH sequences of ids; with `slopes` also its gradient by the factors
 * that all scales have. */
double distil_loss(Distil *x, const int32_t *ids, bool slopes);
/* Of a linear that has codes: its gradient [rows][groups] by the factors; and the factors, by which
 * scales are set anew without rounding to the format. */
const float *distil_slopes(const Distil *x, int role, int layer);
void distil_factor(Distil *x, int role, int layer, size_t i, float factor);
void distil_free(Distil *x);

#endif
