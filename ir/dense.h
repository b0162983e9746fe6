/*
 * Dense matrices in double, row-major: what transforms of stored matrices need. The order of every
 * sum depends on the shapes alone.
 */
#ifndef LATHE_IR_DENSE_H
#define LATHE_IR_DENSE_H

#include "support.h"

/* A matrix by its strides: element (i, j) is at data[i * row + j * column]. */
typedef struct Dense {
	const double *data;
	size_t row, column;
} Dense;

/* c [m][n], rows ldc apart, becomes c * keep + sign * a b, a [m][k], b [k][n]. c overlaps neither.
 */
void dense_multiply(uint32_t m, uint32_t n, uint32_t k, Dense a, Dense b, double sign, double keep,
		    double *c, size_t ldc);

/*
 * The orthogonal matrix nearest to q [n][n] (the orthogonal factor of its polar form), in place, by
 * Newton and Schulz. Returns the largest |q^T q - I| of the data; where that exceeds `limit` or the
 * iteration fails, *ok is false and q is not changed or of no use. A matrix that is orthogonal
 * within rounding is left as it is.
 */
double dense_polar(uint32_t n, double *q, double limit, bool *ok);

/*
 * The inverse of m [n][n], and the condition number |m| |m^-1| by the norms of the largest row sum
 * (infinite where a pivot is 0: the inverse is then of no use).
 */
double dense_invert(uint32_t n, const double *m, double *inverse);

#endif
