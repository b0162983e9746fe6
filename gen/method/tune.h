/*
 * RUQuant's reflections tuned by the outputs of their layer (ruquant.md section 2.10): layer by
 * layer Adam moves the vectors of all its sites so that what the layer leaves, its rows rounded,
 * comes near to what it leaves in the unrounded model.
 */
#ifndef LATHE_GEN_METHOD_TUNE_H
#define LATHE_GEN_METHOD_TUNE_H

#include "recipe.h"

/*
 * The plan's reflections under its formats; ruquant.tune 0: nothing. Weights are rounded in every
 * step where the recipe rounds them so, by the largest to nearest; error correction begins behind.
 * A layer keeps vectors that make its error less, over the tokens that it was tuned on.
 * Deterministic for a machine's BLAS kernels. false after diagnostics.
 */
bool tune_reflections(Arena *run, Diag *d, const RecipeRun *o, Pool *pool, Plan *p);

/* ---- for tests ------------------------------------------------------------------------------ */

/* What sets a scale: both ends of the range, or the largest size; ends that hold 0. */
typedef struct TuneRange {
	bool both, zero;
	float step; /* between two codes */
} TuneRange;
TuneRange tune_range_of_row(Format f, const float *x, size_t n);
/*
 * by [n], the gradient by what n numbers x that share a scale were rounded to, becomes that by x: a
 * code stays as it is as its number moves (straight through), the scale moves with the ends of the
 * range, and a number beyond them does nothing but by the scale.
 */
void tune_rounding_back(TuneRange r, const float *x, const float *rounded, size_t n, float *by);
/* slope [n] += the gradient by v of a loss of rows x [rows][n] that are reflections by v; `by` is
 * the gradient by x. */
void tune_slope(uint32_t n, const double *v, size_t rows, const float *x, const float *by,
		double *slope);

#endif
