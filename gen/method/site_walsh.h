/*
 * Walsh rotations scaled by influence (walsh.md): what the rotation of a site is made of, as
 * functions of rows.
 */
#ifndef LATHE_GEN_METHOD_SITE_WALSH_H
#define LATHE_GEN_METHOD_SITE_WALSH_H

#include "ir/transform.h"

/*
 * Influence of the coordinates of T x (t null: of x) over rows x [tokens][n]: the mean of each
 * one's square, over the sum of all (walsh.md section 2.1). influence [t's n_out, or n]. false: no
 * row has energy, or some have no finite one, and nothing is defined.
 */
bool walsh_influence(Arena *scratch, const Transform *t, const float *x, size_t tokens, uint32_t n,
		     double *influence);
/* The next power of two, at least n. */
uint32_t walsh_padded(uint32_t n);
/*
 * As the paper's code has it: only the first n of m coordinates keep their influence, in
 * proportion, so that it sums to 1 again; the others get 0, and so a scale of 1. false: the first n
 * have none.
 */
bool walsh_truncate(double *influence, uint32_t n, uint32_t m);
/* Coordinates at the same place of the `heads` runs of each group of `heads / groups` neighbours
 * get their mean: a scale that goes through the heads of a group must be the same in all. */
void walsh_tie(double *influence, uint32_t n, uint32_t heads, uint32_t groups);
/* What a row is divided by, and columns multiplied: (1 + n influence)^exponent, never below 1. */
void walsh_scale(const double *influence, uint32_t n, double exponent, double *scale);
/*
 * perm [n] lists the rows of the Hadamard transform of order n on `base` by falling smoothness:
 * how often a row changes its sign from column to column, the earlier row first among equals. Of
 * powers of two it is Walsh's order: row r changes as often as the inverse Gray code of r's
 * reversed bits says.
 */
void walsh_sequency(Arena *scratch, const Base *base, uint32_t n, uint32_t *perm);

#endif
