/* How far a row's codes reach: what outputs lose to clipping against what they lose to steps. */
#include "clip.h"

#include <math.h>
#include <string.h>

/* Tokens that are looked at, spread over all, and rows of one product. */
enum { CLIP_TOKENS = 4096, CLIP_ROWS = 256 };

typedef struct ClipWork {
	const ClipProblem *p;
	const float *gram;
	size_t stride, tokens;
	double *errors; /* [pieces][CLIPS] */
} ClipWork;

float
clip_ratio(int i)
{
	return i ? 1.0f - 0.05f * (float)i : 0.0f;
}

/* tr(e gram e^T) of a piece's rounding errors e under each ratio. */
static void
clip_piece(void *arg, int piece)
{
	const ClipWork *k = arg;
	const size_t first = (size_t)piece * CLIP_ROWS, left = k->tokens - first;
	const size_t rows = left < CLIP_ROWS ? left : CLIP_ROWS, n = k->p->width;
	Arena *scratch = arena_new();
	float *e = ARENA_ARRAY(scratch, float, rows *n), *y = ARENA_ARRAY(scratch, float, rows *n);
	for (int c = 0; c < CLIPS; c++) {
		Format f = k->p->format;
		double sum = 0.0;
		f.clip = clip_ratio(c);
		for (size_t r = 0; r < rows; r++) {
			const float *x = k->p->x + (first + r) * k->stride * n;
			stream_round(f, x, n, e + r * n);
			for (size_t i = 0; i < n; i++)
				e[r * n + i] -= x[i];
		}
		linalg_panel(k->p->linalg, false, rows, n, n, 1.0f, e, n, k->gram, n, y, n);
		for (size_t i = 0; i < rows * n; i++)
			sum += (double)e[i] * (double)y[i];
		k->errors[(size_t)piece * CLIPS + (size_t)c] = sum;
	}
	arena_free(scratch);
}

void
clip_errors(Arena *scratch, const ClipProblem *p, double *errors)
{
	const size_t n = p->width;
	ClipWork k = {.p = p, .stride = (p->tokens + CLIP_TOKENS - 1) / CLIP_TOKENS};
	if (!p->tokens)
		return;
	k.tokens = (p->tokens + k.stride - 1) / k.stride;
	const size_t pieces = (k.tokens + CLIP_ROWS - 1) / CLIP_ROWS;
	float *gram = ARENA_ARRAY(scratch, float, n *n);
	for (size_t i = 0; i < n * n; i++)
		gram[i] = (float)p->gram[i];
	k.gram = gram;
	k.errors = ARENA_ARRAY(scratch, double, pieces *CLIPS);
	parallel_for(p->jobs, (int)pieces, clip_piece, &k);
	for (int c = 0; c < CLIPS; c++)
		for (size_t i = 0; i < pieces; i++)
			errors[c] += (double)k.stride * k.errors[i * CLIPS + (size_t)c];
}

float
clip_least(const double *errors)
{
	int best = 0;
	for (int c = 0; c < CLIPS; c++)
		best = errors[c] < errors[best] ? c : best;
	return clip_ratio(best);
}

float
clip_search(Arena *scratch, const ClipProblem *p)
{
	double errors[CLIPS] = {0};
	clip_errors(scratch, p, errors);
	return clip_least(errors);
}
