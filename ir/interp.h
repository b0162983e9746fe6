/*
 * Two interpreters of the graph: `double` is the meaning, `contract` the exact bits that every
 * target must give (bit contract: ir/README.md). Both are oracles: they share no arithmetic with
 * the templates.
 */
#ifndef LATHE_IR_INTERP_H
#define LATHE_IR_INTERP_H

#include "graph.h"

typedef struct Interp Interp;
typedef enum Arithmetic { ARITHMETIC_DOUBLE, ARITHMETIC_CONTRACT } Arithmetic;

/*
 * A context over n_ctx positions. Works on the graph after any pass. `jobs` threads split rows of
 * linears and heads (results do not depend on it). All memory from `run`.
 */
Interp *interp_new(Arena *run, const Graph *g, Arithmetic a, int n_ctx, int jobs);
/* DOUBLE: weights as they are before rounding to the compiled formats. */
void interp_use_exact_weights(Interp *i);
/*
 * Appends n tokens. logits: [n][n_vocab] when all, else [n_vocab] of the last. DOUBLE fills
 * logits_double (same shape) instead when it is not null; CONTRACT fills logits.
 * INVARIANT: positions stay below n_ctx and ids below n_vocab (the caller checks).
 */
void interp_eval(Interp *i, const int32_t *tokens, int n, float *logits, double *logits_double,
		 bool all);
void interp_truncate(Interp *i, int n_past);

/* ---- scalar functions of the contract (contract.c), the sequences of design section 7.7 ------ */
float contract_exp(float x);
float contract_rcp(float x);
float contract_rsqrt(float x);
float contract_silu(float x);
float contract_gelu(float x);
/* Of the logits x [n] of a router: the weights [used], then the numbers [used] of the experts that
 * a token goes through (README: route). */
void contract_route(const float *x, size_t n, size_t used, bool norm, float *route);
/* The nearest whole number, halves to even: |x| < 2^22. */
static inline float
contract_round(float x)
{
	const float magic = 12582912.0f;
	return (x + magic) - magic;
}
/* 16 strided partial sums p[i % 16] folded 8, 4, 2, 1. */
float contract_tree(const float p[16]);

/*
 * One weight row in the codes the packer stores: codes[columns], scales[groups], minima[groups],
 * zeros[groups] (zero points, codes themselves). For float formats row_f32 holds the values (f16
 * exactly as f32). Conversion from the stored type: same bits where `f` is the stored type's own
 * format, else rounded to nearest as weight.c says. Shared by packer and interpreter.
 */
typedef struct WeightRow {
	uint8_t *codes, *zeros;
	float *scales, *minima;
	float *row_f32;
	double *exact; /* [2 * columns]: a row before rounding, and scratch (weight_source.h) */
} WeightRow;

/* What rounding to nearest wants to know of the weights that share a scale. */
typedef struct WeightRange {
	float low, high;
	float peak; /* the first of the largest magnitude, signed */
	bool finite;
	/* Ternary only: sums of magnitudes, of those above `above` and how many they are. */
	double sum, sum_above, above;
	uint64_t count, count_above;
} WeightRange;

void weight_row_alloc(Arena *a, WeightRow *w, int columns, Format f);
/* Of any format but one with a scale for the tensor, whose range one row does not tell. */
void weight_row_load(const Tensor *t, uint32_t row, Format f, WeightRow *w);
/* The same from w->row_f32, which floats of 16 bits are rounded in; `tensor` is the range of a
 * format with one scale for the tensor, else null. */
void weight_row_round(int columns, Format f, const WeightRange *tensor, WeightRow *w);
/* Whether n numbers are finite, and all of a row that are stored as floats: weights, or scales and
 * minima. */
bool weights_finite(const float *v, int n);
bool weight_row_finite(const WeightRow *w, Format f, int columns);
/* values[columns]: what a row of format f stands for, exactly; f may be a float format. */
void weight_row_values(const WeightRow *w, Format f, int columns, double *values);
/* v[columns] = code - offset, or code - zero point: what the scale multiplies. */
void weight_row_centre(const WeightRow *w, Format f, int columns, int16_t *v);
/* The range of n weights, `above` as given; and what two ranges are together, in this order. */
WeightRange weight_range(const float *x, int n, double above);
WeightRange weight_range_join(WeightRange a, WeightRange b);
/* Ternary: the magnitude above which weights count for the scale. */
double weight_range_above(const WeightRange *r);
/*
 * What zero points of activations multiply: sums[i] is the sum of the dequantised integer weights
 * of columns [i * unit, (i + 1) * unit), the last may be fewer. In double, a group's codes times
 * its scale, then its minimum times its columns, group after group; rounded once.
 */
void weight_row_sums(const WeightRow *w, Format f, int columns, int unit, float *sums);

#endif
