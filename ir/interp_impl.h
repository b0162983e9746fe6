/*
 * What the two interpreters share: the walk over functions and values, storage of rows, rope
 * positions, the split of work. How a number is computed is each interpreter's own table of ops.
 */
#ifndef LATHE_IR_INTERP_IMPL_H
#define LATHE_IR_INTERP_IMPL_H

#include "weight_source.h"

/* Tokens that go through the graph together; longer calls are cut. Results do not depend on it. */
enum { INTERP_CHUNK = 64 };

/*
 * The rows of one value, one per token of the chunk: `d` in the double interpreter; in the contract
 * interpreter `f`, or the planes of integer codes (c = 256 hi + lo; up to 8 bits: c = hi) with
 * n_scales scales a row, and beside each the zero point if rows are asymmetric.
 */
typedef struct Rows {
	double *d;
	float *f;
	int16_t *hi, *lo;
	float *scales, *zeros;
	int n_scales;
} Rows;

/* Scratch of one task of a linear: one task runs on one thread. */
typedef struct TaskScratch {
	WeightRow row;
	int16_t *codes;	 /* code - offset */
	float *row_sums; /* of the row's weights, that zero points of activations multiply */
	double *weights; /* dequantised */
	float *partial;	 /* [3][INTERP_CHUNK] */
} TaskScratch;

typedef struct Step Step;
typedef void (*StepFn)(Step *s);

struct Interp {
	Arena *run;
	const Graph *graph;
	Arithmetic arithmetic;
	const StepFn *ops; /* [OP_COUNT] */
	int n_ctx, jobs, n_past;
	/* DOUBLE: weights as they are before rounding to the compiled formats. */
	bool exact;
	const WeightFault *fault; /* null: none */
	Rows carry;		  /* rows that leave one function and enter the next */
	Rows *values;		  /* of the function at work */
	uint8_t *scratch;	  /* backs `values` */
	/* Per layer: [n_ctx][kv_width] of double or float; of integers in CONTRACT: f holds the
	 * codes, scales and zeros are [n_ctx][n_kv_head]. */
	Rows *keys, *vals;
	int chunk; /* tokens at once: at most INTERP_CHUNK */
	/* Of the chunk's positions: [chunk][head_dim / 2]. */
	float *cos_f, *sin_f;
	double *cos_d, *sin_d;
	int n_tasks; /* of a linear */
	TaskScratch *tasks;
	float *transposed;  /* float activations of a linear, [columns][tokens] */
	int32_t *code_sums; /* [tokens][units] */
	float *x_sums;	    /* [groups][tokens] */
	uint8_t *heads;	    /* attention scratch, head_bytes a query head */
	size_t head_bytes;
};

/* One value being computed for n tokens at positions [past, past + n). */
struct Step {
	Interp *interp;
	const Func *func;
	const Value *value;
	const int32_t *tokens;
	int n, past;
	uint32_t expert;		/* whose tensor, of a role of experts */
	const Rows *in[VALUE_OPERANDS]; /* null: no operand */
	Rows *out;
	WeightSource source; /* of the tensor that the value names */
};

extern const StepFn interp_double_ops[OP_COUNT];
extern const StepFn interp_contract_ops[OP_COUNT];
/* OP_LINEAR of the contract (interp_linear.c), OP_TRANSFORM (interp_transform.c). */
void interp_contract_linear(Step *s);
void interp_contract_transform(Step *s);

/*
 * Codes of n values that share a scale, of a row format f; rows of up to 8 bits leave lo as it is,
 * symmetric rows zero. zero is shifted as the codes are: value = (code - zero) * scale.
 */
void interp_quantize(Format f, const float *x, size_t n, int16_t *hi, int16_t *lo, float *scale,
		     float *zero);

/*
 * Runs one function for n <= INTERP_CHUNK tokens behind `past` others; its input is x->carry, the
 * rows of value i are left in x->values[i]. Returns the value that is the output.
 */
int interp_run_func(Interp *x, const Func *f, const int32_t *tokens, int n, int past);
/* Rope of the n tokens at x->n_past and behind. */
void interp_run_rope(Interp *x, int n);

/* The compiled format of the tensor that the value names, and the cache of the function's layer. */
Format step_weight_format(const Step *s);
Rows *step_keys(const Step *s);
Rows *step_vals(const Step *s);
/* Calls fn(s, scratch, first, end) on shares of the tensor's rows, in parallel. */
typedef void (*RowsFn)(Step *s, TaskScratch *t, uint32_t first, uint32_t end);
void step_parallel_rows(Step *s, RowsFn fn);
/* Calls fn(s, head, scratch) for each query head, in parallel. */
typedef void (*HeadFn)(Step *s, uint32_t head, uint8_t *scratch);
void step_parallel_heads(Step *s, HeadFn fn);

/* Elements that are normed, or share a gain, at a time: a head where the op works on heads, else
 * the row. */
size_t step_run(const Step *s);
/* Of token m of the call: where its angles lie in cos and sin, by the layer's base; the first
 * position that its attention sees. */
size_t step_rope(const Step *s, int m);
size_t step_first(const Step *s, int m);
/* An op that changes how a row is stored but not what it is: the result shares the operand. */
void step_same(Step *s);

#endif
