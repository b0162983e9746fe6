/* The numbers that codes stand for before the scale, and the best scale of a run of weights. */
#ifndef LATHE_GEN_METHOD_GRID_H
#define LATHE_GEN_METHOD_GRID_H

#include "ir/format.h"

/* levels[0] < levels[1] ..., 0 among them. Code c stands for levels[c]. */
enum { GRID_LEVELS = 256 };
typedef struct Grid {
	int count;
	bool whole; /* neighbours are 1 apart */
	float levels[GRID_LEVELS];
} Grid;
/* Of a weight format without zero points: -2^(b-1) .. 2^(b-1) - 1, or -1 0 1. */
Grid grid_of(Format f);
/* Of an integer grid with the zero point z: -z .. top - z. */
Grid grid_with_zero(Format f, int zero);
/* +-{0, 0.5, 1, 1.5, 2, 3, 4, 6}. */
Grid grid_e2m1(void);
/* Index of the level nearest to x, the one nearer to 0 where two are as near. */
int grid_nearest(const Grid *g, double x);

/*
 * What a scale s is chosen for: n weights w that become the levels q_i nearest to w_i / s. What is
 * made small is J(s) = s^2 q^T H q - 2 s q^T v, the error |X w - s X~ q|^2 without its constant
 * (methods/piso.md section 2).
 */
typedef struct ScaleProblem {
	int n;
	const float *w;	      /* [n], finite */
	const double *weight; /* [n], H is diagonal; null: 1 */
	const double *h;      /* [n] rows of `ld`: H; null: it is diagonal */
	size_t ld;
	const double *v; /* [n]; null: H w */
	const Grid *grid;
	Format format;	  /* says what scales are stored as; the result is such a number */
	bool either_sign; /* s < 0 too, which mirrors the grid */
} ScaleProblem;
typedef struct ScaleResult {
	float scale;  /* 0: all weights become 0 */
	double error; /* J(scale); 0 where the scale is */
} ScaleResult;

/* J(s), from its definition. All of these take scratch memory, which the caller resets. */
double scale_error(Arena *scratch, const ScaleProblem *p, float s);
/* The largest weight, times `share` in (0, 1], meets the end of the grid: the shorter one, or with
 * either sign the longer. */
ScaleResult scale_absmax(Arena *scratch, const ScaleProblem *p, float share);
/* The best of `steps` multiples of the scale above divided by steps, by plain squared error, the
 * first of equals (perq.md section 5). */
ScaleResult scale_mse(Arena *scratch, const ScaleProblem *p, int steps);
/*
 * The best of all scales, by a sweep over the values of s at which a weight changes its level
 * (piso.md section 3). A dense H of more than `window` weights is swept from 1.3 to 0.6 times the
 * best scale for its diagonal only (section 3.1); 0: never.
 */
ScaleResult scale_piso(Arena *scratch, const ScaleProblem *p, int window);
/*
 * Of ternary levels (twla.md section 4.1, without a mean): weights beyond 0.75 of the mean |w| are
 * 1 or -1, and for these codes the scale is the best under H, of whose mean diagonal 1e-4 is added;
 * where that is not above 0, the mean |w| of those weights.
 */
ScaleResult scale_e2m(Arena *scratch, const ScaleProblem *p);
/* As PiSO for levels shifted by a zero point, the best of all of them (section 3.3); p->grid is
 * not looked at. */
ScaleResult scale_piso_zero(Arena *scratch, const ScaleProblem *p, int window, int *zero);

#endif
