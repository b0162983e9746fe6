/* What the two files of a stream share. */
#ifndef LATHE_GEN_METHOD_STREAM_IMPL_H
#define LATHE_GEN_METHOD_STREAM_IMPL_H

#include "stream.h"

/* Rows that a thread does at a time. */
enum { STREAM_ROWS = 256 };

struct Stream {
	Pool *pool;
	const Linalg *linalg;
	const Graph *graph;
	const Tokens *tokens;
	StreamKind kind;
	int jobs;
	size_t n; /* tokens in all */
	float *carry;
	float *cos_rows, *sin_rows; /* [length][head_dim / 2] */
	/* Of the function at work: */
	Arena *arena;
	const Func *func;
	float **rows; /* [values]: null: not computed, or given back */
	int *root;    /* whose rows a value has: its own, or an operand's */
	int *readers; /* by root: how many are still to come */
};

/* One value, one share of its rows or sequences. */
typedef struct StreamStep {
	const Stream *s;
	const Value *v;
	const float *in[VALUE_OPERANDS];
	float *out;
	const float *vector; /* of a gain or bias */
} StreamStep;

/* Rows [first, first + n) of an op that works row by row; null: it does not. */
typedef void (*StreamRowsFn)(const StreamStep *t, size_t first, size_t n);
extern const StreamRowsFn stream_row_ops[OP_COUNT];
/* Sequence and query head `task` of attention; q row by row, the cache as k rows then v rows. */
void stream_attention(const StreamStep *t, int task);

#endif
