/*
 * Straight-line programs for small matrices of 1 and -1: additions and subtractions with shared
 * sub-sums. A program is the specification of the order of rounding: whoever prints or interprets
 * it executes its steps as they stand.
 */
#ifndef LATHE_IR_CODELET_H
#define LATHE_IR_CODELET_H

#include "support.h"

enum { CODELET_ORDER_MAX = 256, CODELET_VALUES_MAX = 16384 };

/* The next value: value a plus or minus value b. */
typedef struct CodeletStep {
	uint16_t a, b;
	bool minus;
} CodeletStep;

typedef struct CodeletOutput {
	uint16_t value;
	bool negative; /* the output is minus the value */
} CodeletOutput;

/*
 * Values 0 .. order - 1 are the inputs, value order + k the result of step k. Every step is one
 * addition or subtraction, so n_steps counts them.
 */
typedef struct Codelet {
	uint32_t order, n_steps;
	const CodeletStep *steps;
	const CodeletOutput *outputs; /* [order] */
} Codelet;

/*
 * The program of y = m x, m [order][order] row-major of 1 and -1, order <= CODELET_ORDER_MAX, found
 * by greedy pair sharing: the signed pair common to most rows becomes a value, until no pair is
 * common to two. The same matrix gives the same program on every machine.
 */
const Codelet *codelet_make(Arena *a, uint32_t order, const int8_t *m);

/*
 * Each of count views x [order][width], `pitch` elements apart, becomes the program's result,
 * column by column; a view's rows are `stride` elements apart. No two columns meet, so neither
 * width nor count changes a bit.
 */
void codelet_run_float(const Codelet *c, float *x, size_t stride, size_t width, size_t pitch,
		       size_t count);
void codelet_run_double(const Codelet *c, double *x, size_t stride, size_t width, size_t pitch,
			size_t count);

#endif
