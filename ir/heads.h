/* Transforms of rows that are runs of equal length: the heads of q, k and v. */
#ifndef LATHE_IR_HEADS_H
#define LATHE_IR_HEADS_H

#include "transform.h"

/* The part of t that acts on run h of `heads` equal runs; null where t mixes runs. */
const Transform *heads_run(Arena *a, const Transform *t, uint32_t heads, uint32_t h);
/* The same t on each of `heads` runs. */
const Transform *heads_repeat(Arena *a, const Transform *t, uint32_t heads);
/* From the rows of KV heads to those of query heads: each query head gets what t does to its KV
 * head. null where t mixes heads. */
const Transform *heads_spread(Arena *a, const Transform *t, uint32_t kv_heads, uint32_t heads);
/* The way back: null where t mixes heads or differs inside a group. */
const Transform *heads_gather(Arena *a, const Transform *t, uint32_t heads, uint32_t kv_heads);
/* Whether t is, in every head, a rotation and scaling of each of rope's pairs (i, i + d/2): exactly
 * what commutes with rope at every position. */
bool heads_commute_with_rope(Arena *a, const Transform *t, uint32_t heads);

/* A after B in normal form; null stands for the identity, also as the result. */
const Transform *transform_after(Arena *a, const Transform *after, const Transform *before);

#endif
