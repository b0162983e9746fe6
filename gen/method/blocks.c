/* Blocks of R3 by measured error. */
#include "blocks.h"

#include <math.h>

enum { BLOCK_TOKENS = 512, CANDIDATES = 24 };

typedef struct BlockWork {
	const BlockProblem *p;
	const float *gram;
	uint32_t blocks[CANDIDATES];
	double errors[CANDIDATES];
	int count;
} BlockWork;

/* Rounded under t, the rows' errors are brought back to where down's own columns are. */
static void
take_errors(Arena *scratch, const BlockProblem *p, const Transform *t, size_t stride, size_t rows,
	    float *errors)
{
	const size_t n = p->statistics->n;
	const Transform *back = transform_inverse(scratch, t);
	double *row = ARENA_ARRAY(scratch, double, n), *work = ARENA_ARRAY(scratch, double, n);
	float *x = ARENA_ARRAY(scratch, float, n), *y = ARENA_ARRAY(scratch, float, n);
	for (size_t r = 0; r < rows; r++) {
		for (size_t i = 0; i < n; i++)
			row[i] = (double)p->x[r * stride * n + i];
		transform_apply(t, row, work);
		for (size_t i = 0; i < n; i++)
			x[i] = (float)row[i];
		stream_round(p->recipe->activations, x, n, y);
		for (size_t i = 0; i < n; i++)
			row[i] = (double)y[i] - (double)x[i];
		transform_apply(back, row, work);
		for (size_t i = 0; i < n; i++)
			errors[r * n + i] = (float)row[i];
	}
}

static void
try_block(void *arg, int i)
{
	BlockWork *k = arg;
	const BlockProblem *p = k->p;
	const size_t n = p->statistics->n;
	const size_t stride = (p->tokens + BLOCK_TOKENS - 1) / BLOCK_TOKENS;
	const size_t rows = (p->tokens + stride - 1) / stride;
	const char *why = NULL;
	Arena *scratch = arena_new();
	const Transform *two[2];
	uint32_t count = 0;
	two[count++] = stage_down(scratch, p->recipe, p->statistics, k->blocks[i], &why);
	const Transform *middle =
		stage_middle_of(scratch, p->recipe, p->statistics, p->layer, k->blocks[i], &why);
	if (middle)
		two[count++] = middle;
	k->errors[i] = INFINITY;
	if (two[0] && !why) {
		const Transform *t = transform_compose(scratch, T_PRODUCT, two, count, &why);
		float *e = ARENA_ARRAY(scratch, float, rows *n);
		float *y = ARENA_ARRAY(scratch, float, rows *n);
		take_errors(scratch, p, t, stride, rows, e);
		linalg_panel(p->linalg, false, rows, n, n, 1.0f, e, n, k->gram, n, y, n);
		k->errors[i] = 0.0;
		for (size_t j = 0; j < rows * n; j++)
			k->errors[i] += (double)e[j] * (double)y[j];
	}
	arena_free(scratch);
}

uint32_t
block_search(Arena *scratch, const BlockProblem *p, const char **why)
{
	const uint32_t n = p->statistics->n;
	BlockWork k = {.p = p};
	double least = INFINITY;
	k.gram = arena_floats(scratch, p->gram, (size_t)n * n);
	for (uint32_t b = n % 16 ? 4 : 16; b < n && n % b == 0 && k.count < CANDIDATES - 1; b *= 2)
		k.blocks[k.count++] = b;
	k.blocks[k.count++] = n;
	parallel_for(p->jobs, k.count, try_block, &k);
	for (int i = 0; i < k.count; i++)
		least = k.errors[i] < least ? k.errors[i] : least;
	for (int i = 0; i < k.count; i++)
		if (isfinite(k.errors[i]) && k.errors[i] <= (1.0 + p->recipe->block_slack) * least)
			return k.blocks[i];
	*why = "no block of R3 has a base matrix";
	return 0;
}
