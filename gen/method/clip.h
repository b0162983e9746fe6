/* Clip ratios of rows of activations: the share of a row's range that its codes span. */
#ifndef LATHE_GEN_METHOD_CLIP_H
#define LATHE_GEN_METHOD_CLIP_H

#include "stream.h"

enum { CLIPS = 12 };
/* What is tried: 0, no clipping, then 0.95, 0.9 and so on as Format.clip. */
float clip_ratio(int i);

typedef struct ClipProblem {
	const float *x; /* [tokens][width] in front of rounding */
	size_t tokens;
	uint32_t width;
	const double *gram; /* [width][width]: sum of W^T W of the matrices that read the rows */
	Format format;	    /* of the rows, its clip not looked at */
	const Linalg *linalg;
	int jobs;
} ClipProblem;

/*
 * The ratio whose rows x~ make tr((x~ - x) gram (x~ - x)^T), the squared error of all outputs,
 * least; of equals the widest. Looks at some thousand tokens, spread over all. The result does not
 * depend on p->jobs.
 */
float clip_search(Arena *scratch, const ClipProblem *p);
/* Of rows that several problems share a ratio of: what each ratio costs p is added to errors
 * [CLIPS]; the ratio of the least sum. */
void clip_errors(Arena *scratch, const ClipProblem *p, double *errors);
float clip_least(const double *errors);

#endif
