/*
 * KOTMS: a Kronecker product of two orthogonal factors that gives weights the shape of three modes,
 * which ternary codes want (twla.md section 3). Data has no part in it.
 */
#ifndef LATHE_GEN_METHOD_SITE_KOTMS_H
#define LATHE_GEN_METHOD_SITE_KOTMS_H

#include "sites.h"

/* Orders of the factors: nearly equal, or as released, where the right one grows with the rows. */
typedef enum KotmsFactors { KOTMS_BALANCED, KOTMS_RELEASED, KOTMS_FACTORS } KotmsFactors;
/* As released: centred rows, three equal modes a quarter of their distance wide, balanced over the
 * matrix. As published: modes as wide as the row's deviation, half of each row drawn to 0. */
typedef enum KotmsLoss { KOTMS_LOSS_RELEASED, KOTMS_LOSS_PAPER, KOTMS_LOSSES } KotmsLoss;

typedef struct KotmsProblem {
	const Linalg *linalg;
	const float *w; /* [rows][left][right] */
	uint32_t rows, left, right;
	KotmsLoss loss;
	int jobs;
} KotmsProblem;

/* left and right of n = left right; false where n has no factors for it. */
bool kotms_factors(KotmsFactors kind, uint32_t rows, uint32_t n, uint32_t *left, uint32_t *right);
/* o [n][n], orthogonal: (I + A)^-1 (I - A) for A = s - s^T. */
void kotms_cayley(Arena *scratch, const Linalg *l, uint32_t n, const double *s, double *o);
/*
 * The loss of C w B for C and B by Cayley of s_left [left][left] and s_right [right][right], and
 * its gradients by these; modes and widths of the rows count as constants.
 */
double kotms_slopes(Arena *scratch, const KotmsProblem *p, const double *s_left,
		    const double *s_right, double *by_left, double *by_right);

#endif
