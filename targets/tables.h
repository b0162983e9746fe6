/*
 * Tables: what code reads of the leaves of a transform that runs, the same bytes as C text and in
 * the weights file. One code runs the transforms of all functions that share it, so a table is data
 * of the function; what all of them have alike and is small stays in the code.
 */
#ifndef LATHE_TARGETS_TABLES_H
#define LATHE_TARGETS_TABLES_H

#include "../ir/pass.h"

/*
 * The rule: a leaf is code where all functions of the code have the same one and its table takes
 * at most so many bytes; else it lies in the weights, at a multiple of so many.
 */
enum { TABLE_CODE_MAX = 1024, TABLE_ALIGN = 64 };

/* One of the two is there. `padded` is rounded up to 16. */
typedef struct Table {
	uint32_t n;
	float *floats;	   /* S, D: [n]; C: the number; G: cosine, sine; R: v [padded], 2 / (v . v);
			      SO2: cosines [n / 2 padded], sines likewise; Q, M: columns [n][padded] */
	uint16_t *indexes; /* P: [n] */
} Table;
Table table_of(Arena *a, const Transform *leaf);
uint64_t table_bytes(const Transform *leaf);

/* Which leaves (transform_leaves) of value i's transform, of a function and all that share its
 * code, lie in the weights, and at which offset from the first; the others have TABLE_IS_CODE. */
#define TABLE_IS_CODE UINT64_MAX
typedef struct Tables {
	uint32_t n_leaves;
	uint64_t *at;
	uint64_t bytes; /* 0: all are code */
} Tables;
Tables tables_of(Arena *a, const Graph *g, int func, int value);
/* Whether the tables of a, at their offsets, are those of b. */
bool tables_same(const Tables *of_a, const Transform *a, const Tables *of_b, const Transform *b);
/* Writes them to t->bytes of zeros. */
void tables_write(const Tables *t, const Transform *x, uint8_t *to);

#endif
