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
/* 16 strided partial sums p[i % 16] folded 8, 4, 2, 1. */
float contract_tree(const float p[16]);

/*
 * One weight row in the codes the packer stores: codes[columns], scales[groups], minima[groups].
 * For float formats row_f32 holds the values (f16 exactly as f32). Conversion from the stored type:
 * same bits where `f` is the stored type's own format, else round to nearest (scale = absmax/7 or
 * /127 rounded to the scale type, code = rint(x / scale) clamped). Shared by packer and
 * interpreter.
 */
typedef struct WeightRow {
	uint8_t *codes;
	float *scales, *minima;
	float *row_f32;
	double *exact; /* [2 * columns]: a row before rounding, and scratch (weight_source.h) */
} WeightRow;
void weight_row_alloc(Arena *a, WeightRow *w, int columns, Format f);
void weight_row_load(const Tensor *t, uint32_t row, Format f, WeightRow *w);
/* The same from w->row_f32, which floats of 16 bits are rounded in. */
void weight_row_round(int columns, Format f, WeightRow *w);
/*
 * What zero points of activations multiply: sums[i] is the sum of the dequantised integer weights
 * of columns [i * unit, (i + 1) * unit), the last may be fewer. In double, a group's codes times
 * its scale, then its minimum times its columns, group after group; rounded once.
 */
void weight_row_sums(const WeightRow *w, Format f, int columns, int unit, float *sums);

#endif
