/* How long R3's blocks have to be in a layer, by what rounding the rotated rows costs its outputs.
 */
#ifndef LATHE_GEN_METHOD_BLOCKS_H
#define LATHE_GEN_METHOD_BLOCKS_H

#include "recipe.h"

typedef struct BlockProblem {
	const Recipe *recipe;
	const RowStatistics *statistics; /* the layer's, smoothed if the recipe smooths */
	uint32_t layer;
	const float *x; /* [tokens][n] that down reads, untransformed */
	size_t tokens;
	const double *gram; /* [n][n]: W^T W of down, or the sum over all experts' */
	const Linalg *linalg;
	int jobs;
} BlockProblem;

/*
 * The shortest block, powers of two from 16 (from 4 where 16 does not divide) and the whole row,
 * whose squared error of down's outputs is within 1 + block_slack of the least one's: each with the
 * permutation that is dealt for it (perq.md section 7). 0 with *why: no length has a base matrix.
 */
uint32_t block_search(Arena *scratch, const BlockProblem *p, const char **why);

#endif
