/*
 * Principal axes of queries and keys in front of rope (walsh.md 2.7, 2.8), a KV head at a time: its
 * query heads take what the keys take, so that scores stay what they are.
 */
#ifndef LATHE_GEN_METHOD_SITE_PCA_H
#define LATHE_GEN_METHOD_SITE_PCA_H

#include "ir/transform.h"

/* moments [heads][d][d]: sums of y y^T over rows y of a KV head's keys and of its queries, pairs
 * (i, i + d/2). Both: a transform of order heads d that keeps heads apart; null with *why. */

/* Each of rope's pairs turned to its axes, the longer one first: commutes with rope. */
const Transform *pca_pairs(Arena *run, uint32_t heads, uint32_t d, const double *moments,
			   const char **why);
/* Each head turned to its axes, by falling energy: for heads that are normed, whose gain undoes it.
 */
const Transform *pca_heads(Arena *run, uint32_t heads, uint32_t d, const double *moments,
			   const char **why);

#endif
