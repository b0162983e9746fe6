/*
 * Dense matrices by OpenBLAS and its LAPACK, row-major. Every sum has an order that the shapes
 * alone decide: one BLAS thread a call, work shared out in pieces of fixed size. Bits depend on the
 * kernels of the machine type, which linalg_open names and plans record.
 */
#ifndef LATHE_GEN_METHOD_LINALG_H
#define LATHE_GEN_METHOD_LINALG_H

#include "ir/support.h"

/* OpenBLAS, loaded when a recipe asks for it: a compile does without. */
typedef struct Linalg Linalg;
/* Its absence is fatal_environment. jobs: threads that share a call's work. */
Linalg *linalg_open(Arena *run, int jobs);
const char *linalg_machine(const Linalg *l); /* "SkylakeX" */

/* y [m][n] = x [m][k] w^T, w [n][k]. */
void linalg_linear(const Linalg *l, size_t m, size_t n, size_t k, const float *x, const float *w,
		   float *y);
/* One thread's share in double: c [m][n] += factor a [m][k] b [k][n], rows `ld` apart. */
void linalg_update(const Linalg *l, size_t m, size_t n, size_t k, double factor, const double *a,
		   size_t lda, const double *b, size_t ldb, double *c, size_t ldc);
/* One thread's share in double: c [m][n] = a [m][k] b^T, b [n][k]. */
void linalg_product(const Linalg *l, size_t m, size_t n, size_t k, const double *a, const double *b,
		    double *c);
/* y += a x, n elements. */
void linalg_add(double *y, const double *x, double a, size_t n);
/* One thread's share: c [m][n] = factor a [m][k] b, b [k][n] or transposed [n][k], rows `ld` apart.
 */
void linalg_panel(const Linalg *l, bool transposed, size_t m, size_t n, size_t k, float factor,
		  const float *a, size_t lda, const float *b, size_t ldb, float *c, size_t ldc);
/* One thread's share: c [m][n] = factor a^T b, a [k][m], b [k][n], rows `ld` apart. */
void linalg_cross(const Linalg *l, size_t m, size_t n, size_t k, float factor, const float *a,
		  size_t lda, const float *b, size_t ldb, float *c, size_t ldc);
/*
 * h [n][n] += x^T y, x and y [t][n]: pieces of LINALG_PIECE rows are multiplied in f32 and added in
 * order in double. y null: x, and h stays symmetric to the bit.
 */
enum { LINALG_PIECE = 256 };
void linalg_moments(const Linalg *l, size_t t, size_t n, const float *x, const float *y, double *h);
/* c [m][n] = a [m][k] b [k][n]; transposed: b is [n][k]. */
void linalg_multiply(const Linalg *l, bool transposed, size_t m, size_t n, size_t k,
		     const double *a, const double *b, double *c);
/* u [n][n], upper, zeros below: (h + damp I)^-1 = u^T u, h symmetric. false: not positive definite
 * or not finite. */
bool linalg_factor(const Linalg *l, size_t n, const double *h, double damp, double *u);
/* x [rows][n] with x (h + damp I) = b; x may be b. false likewise. */
bool linalg_solve(const Linalg *l, size_t n, const double *h, double damp, size_t rows,
		  const double *b, double *x);
/* x [n][n] = a^-1, a general. false: singular or not finite. */
bool linalg_inverse(Arena *scratch, const Linalg *l, size_t n, const double *a, double *x);

#endif
