/* What the experts of a mixture are rounded for: moments of the rows that their routes send them.
 */
#ifndef LATHE_GEN_METHOD_EXPERTS_H
#define LATHE_GEN_METHOD_EXPERTS_H

#include "stream.h"

/* Matrices [columns][columns] that the caller gives room for, as of the widest expert. */
typedef struct ExpertMoments {
	const Linalg *linalg;
	Pool *pool;
	const Stream *rounded, *plain; /* plain: the FLOAT stream; null: no cross moments */
	uint32_t experts;
	size_t tokens;
	double *h, *g;		       /* of one expert */
	double *mean_h, *mean_g, mass; /* sums over all, and over the squares of their weights */
	int mean_of;		       /* the value that those are of; -1: none */
} ExpertMoments;

/* x [n][columns]: each row times its token's weight. */
void expert_weigh(const ExpertRow *rows, size_t n, size_t columns, float *x);

/*
 * h, and g where there is a FLOAT stream, become the moments of what expert e of value i's role
 * reads in the ROUNDED stream: each row times the weight that its token gives to what e makes of
 * it, over the sum of the squares of these. Cross moments are of the same tokens and weights; a
 * token that FLOAT sends elsewhere has its rounded row there too. Of fewer rows than columns those
 * that are missing are the mean over the rows of all experts. Returns the rows there are.
 */
size_t expert_moments(ExpertMoments *m, int i, uint32_t e, uint32_t columns);

#endif
