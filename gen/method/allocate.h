/*
 * Bits of rows layer by layer: what the loss of the unrounded weights' predictions gains by fewer
 * bits in one layer and in two neighbours, and the bits whose sum of gains is least under a budget
 * (twla.md section 6).
 */
#ifndef LATHE_GEN_METHOD_ALLOCATE_H
#define LATHE_GEN_METHOD_ALLOCATE_H

#include "recipe.h"

/* Bits that a layer's rows may have, rising; gains are over the last of them. */
enum { ALLOCATE_BITS = 4 };
extern const uint8_t allocate_bits[ALLOCATE_BITS];

/* alone [layers][ALLOCATE_BITS]: of a layer with the bits of that index. pair
 * [layers][ALLOCATE_BITS][ALLOCATE_BITS]: of a layer and the one in front of it, bits [front][own],
 * beyond both alone; of layer 0 nothing. */
typedef struct AllocateGains {
	uint32_t layers;
	const double *alone, *pair;
} AllocateGains;

/* Indexes of bits [layers] whose sum of gains is least, bits together at most `budget`; of equal
 * ones any. false: the fewest are more. */
bool allocate_least(Arena *scratch, const AllocateGains *g, uint32_t budget, uint8_t *choice);

/* The bits of the plan's rows by layer, whose mean is at most the recipe's; formats and transforms
 * are the plan's already. false after diagnostics. */
bool allocate_rows(Arena *run, Diag *d, const RecipeRun *o, Pool *pool, Plan *p);

#endif
