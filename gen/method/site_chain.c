/* Blocks of a Hadamard transform, elements dealt to them by size, blocks again. */
#include <math.h>
#include <string.h>

#include "sites.h"

/* Largest |T x| of each element. */
static void
peaks_under(const SiteProblem *p, const Transform *t, float *peak)
{
	Arena *scratch = arena_new();
	double *row = ARENA_ARRAY(scratch, double, p->n),
	       *work = ARENA_ARRAY(scratch, double, p->n);
	memset(peak, 0, p->n * sizeof *peak);
	for (size_t i = 0; i < p->tokens; i++) {
		for (uint32_t j = 0; j < p->n; j++)
			row[j] = (double)p->x[i * p->n + j];
		transform_apply(t, row, work);
		for (uint32_t j = 0; j < p->n; j++)
			peak[j] = fmaxf(peak[j], (float)fabs(row[j]));
	}
	arena_free(scratch);
}

const Transform *
site_chain(Arena *run, const SiteProblem *p, const char **why)
{
	const uint32_t block = site_block(run, p->recipe, p->n, why);
	const Transform *b =
		block ? stage_blocks(run, ROTATION_HADAMARD, p->n, block, 0, why) : NULL;
	if (!b || block == p->n)
		return b;
	Arena *scratch = arena_new();
	float *peak = ARENA_ARRAY(scratch, float, p->n);
	uint32_t *perm = ARENA_ARRAY(scratch, uint32_t, p->n);
	peaks_under(p, b, peak);
	stage_zigzag(scratch, peak, p->n, block, perm);
	const Transform *three[] = {b, transform_perm(run, p->n, perm, why), b};
	arena_free(scratch);
	return three[1] ? transform_compose(run, T_PRODUCT, three, 3, why) : NULL;
}
