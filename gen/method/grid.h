/* The numbers that codes stand for before the scale, and the best scale of a run of weights. */
#ifndef LATHE_GEN_METHOD_GRID_H
#define LATHE_GEN_METHOD_GRID_H

#include "ir/format.h"

/* levels[0] < levels[1] ..., 0 among them. Code c stands for levels[c]. */
enum { GRID_LEVELS = 256 };
typedef struct Grid {
	int count;
	float levels[GRID_LEVELS];
} Grid;
/* Of a weight format without zero points: -2^(b-1) .. 2^(b-1) - 1, or -1 0 1. */
Grid grid_of(Format f);
/* Of an integer grid with the zero point z: -z .. top - z. */
Grid grid_with_zero(Format f, int zero);
extern const Grid grid_e2m1;
/* Nearest level of x, the even code where two are as near; its index. */
int grid_nearest(const Grid *g, float x);

/*
 * What a scale s is chosen for: n weights w that become levels q_i nearest to w_i / s. The error is
 * J(s) = s^2 q^T H q - 2 s q^T v. v null: H w. h null: diagonal `weight` [n], null: all 1.
 */
typedef struct ScaleProblem {
	int n;
	const float *w;	      /* [n] */
	const double *weight; /* [n] */
	const double *h;      /* [n] rows of `ld` */
	size_t ld;
	const double *v; /* [n] */
	const Grid *grid;
	bool either_sign; /* s < 0 too, which mirrors the grid */
	bool bf16, f32;	  /* what s is stored as; neither: f16. The result is such a number */
} ScaleProblem;
typedef struct ScaleResult {
	float scale;  /* 0: all weights become 0 */
	double error; /* J(scale) */
} ScaleResult;

/* Scratch is taken from `scratch`, which the caller resets. Sources: methods/piso.md. */
ScaleResult scale_absmax(const ScaleProblem *p);
/* The best of `steps` multiples of absmax / steps, by plain squared error (perq.md section 5). */
ScaleResult scale_mse(const ScaleProblem *p, int steps);
/* The exact optimum over all s: a sweep over breakpoints (piso.md sections 2 and 3); a diagonal H
 * in O(n log n), a dense one in O(events n), beyond `window` columns only near the diagonal's
 * optimum (section 3.1). */
ScaleResult scale_piso(Arena *scratch, const ScaleProblem *p);
/* The same with an integer zero point, every one of the format's tried (section 3.3). */
ScaleResult scale_piso_zero(Arena *scratch, const ScaleProblem *p, Format f, int *zero);
/* J(s), from the definition. */
double scale_error(Arena *scratch, const ScaleProblem *p, float s);

#endif
