/* Blocks of a Hadamard transform, elements dealt to them by size, blocks again. */
#include <math.h>
#include <string.h>

#include "sites.h"

enum { PEAK_ROWS = 512 };

typedef struct PeakWork {
	const SiteProblem *p;
	const Transform *t;
	float *peaks; /* [pieces][n] */
} PeakWork;

static void
peaks_of_piece(void *arg, int piece)
{
	const PeakWork *k = arg;
	const uint32_t n = k->p->n;
	const size_t first = (size_t)piece * PEAK_ROWS;
	float *peak = k->peaks + (size_t)piece * n;
	Arena *scratch = arena_new();
	double *row = ARENA_ARRAY(scratch, double, n), *work = ARENA_ARRAY(scratch, double, n);
	for (size_t i = first; i < first + PEAK_ROWS && i < k->p->tokens; i++) {
		for (uint32_t j = 0; j < n; j++)
			row[j] = (double)k->p->x[i * n + j];
		transform_apply(k->t, row, work);
		for (uint32_t j = 0; j < n; j++)
			peak[j] = fmaxf(peak[j], (float)fabs(row[j]));
	}
	arena_free(scratch);
}

/* Largest |T x| of each element. */
static void
peaks_under(const SiteProblem *p, const Transform *t, float *peak)
{
	const size_t pieces = (p->tokens + PEAK_ROWS - 1) / PEAK_ROWS;
	Arena *scratch = arena_new();
	PeakWork k = {.p = p, .t = t, .peaks = ARENA_ARRAY(scratch, float, pieces * p->n)};
	parallel_for(p->jobs, (int)pieces, peaks_of_piece, &k);
	memset(peak, 0, p->n * sizeof *peak);
	for (size_t i = 0; i < pieces * p->n; i++)
		peak[i % p->n] = fmaxf(peak[i % p->n], k.peaks[i]);
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
