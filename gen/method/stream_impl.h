/* What the files of a stream share. */
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
	bool keep; /* values stay till their function is left */
	size_t n;  /* tokens in all */
	float *carry;
	float *cos_rows,
		*sin_rows; /* [2][length][head_dim / 2]: of layers without a window, with */
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

/* Elements of v's row that a norm sees as one. */
static inline size_t
stream_run(const Value *v)
{
	return v->op == OP_RMSNORM_HEADS || v->op == OP_GAIN_HEADS ? v->width / v->heads : v->width;
}

/* Where the angles of v's row at a position are in cos_rows and sin_rows. */
static inline size_t
stream_rope(const Stream *s, const Value *v, size_t position)
{
	return ((v->window ? s->tokens->length : 0) + position) * (v->width / v->heads / 2);
}

/* gelu(a) = a / (1 + e^-u) by its tanh form, u = GELU_SLOPE (a + GELU_CUBE a^3); silu has u = a. */
#define GELU_SLOPE 1.5957691216f /* 2 sqrt(2 / pi) */
#define GELU_CUBE 0.044715f

/* Rows [first, first + n) of an op that works row by row; null: it does not. */
typedef void (*StreamRowsFn)(const StreamStep *t, size_t first, size_t n);
extern const StreamRowsFn stream_row_ops[OP_COUNT];
/* Sequence and query head `task` of attention; q row by row, the cache as k rows then v rows. */
void stream_attention(const StreamStep *t, int task);
/* y [n][n_out] = T x, x [n][T's n], or added to y: one thread's share. */
void stream_transform(const Linalg *l, const Transform *t, const float *x, size_t n, bool add,
		      float *y);
/* Queries that meet their keys at a time: what comes behind the last of them is left out. */
enum { STREAM_QUERIES = 128 };
/* Floats of a row of their weights: whole vectors. */
size_t stream_pitch(const Stream *s);
/* The queries of a head from position `at` on, at most STREAM_QUERIES; how many: q [n][head_dim] in
 * their format, and their weights over positions [0, at + n), rows stream_pitch apart. */
size_t stream_attention_weights(const StreamStep *t, size_t sequence, size_t head, size_t at,
				float *q, float *weights);

/* Gradients: what a loss gains by each element. Of a value, all rows; of its operands, added to. */
typedef struct StreamBack {
	StreamStep step;
	const float *by_out;
	float *by_in[VALUE_OPERANDS];
	const Transform *transposed; /* of a transform */
} StreamBack;
/* Rows [first, first + n) of the gradients of an op that works row by row. Roundings pass them on
 * as they are. */
typedef void (*StreamBackFn)(const StreamBack *b, size_t first, size_t n);
extern const StreamBackFn stream_row_backs[OP_COUNT];
/* Sequence and head of the cache `task` of attention. */
void stream_attention_back(const StreamBack *b, int task);

#endif
