/*
 * Logits of kernels with libclc's functions against the CPU library's: near, and not equal, since
 * equal bits would mean that the contract's functions ran. NAME.h and NAME_arc.h are the
 * artefact's. Usage: arc_libclc_program N
 */
#include "stories_arc.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { N_VOCAB = stories_N_VOCAB };
#define NEAR 2e-4 /* of logits of some units */

int
main(int argc, char **argv)
{
	const int n = argc > 1 ? atoi(argv[1]) : 64;
	uint32_t seed = 7;
	int32_t *tokens = malloc(sizeof *tokens * (size_t)n);
	float *expected = malloc(sizeof *expected * (size_t)n * N_VOCAB);
	float *got = malloc(sizeof *got * (size_t)n * N_VOCAB);
	const size_t bytes = stories_arena_size(n, n, 1);
	void *arena = aligned_alloc(64, bytes);
	stories *cpu;
	stories_arc *m;
	stories_arc_options options = {0};
	if (!tokens || !expected || !got || !arena)
		return 2;
	for (int i = 0; i < n; i++) {
		seed = seed * 1664525u + 1013904223u;
		tokens[i] = (int32_t)((seed >> 8) % N_VOCAB);
	}
	if (stories_init(&cpu, arena, bytes, NULL, 0, n, n, NULL) ||
	    stories_eval(cpu, tokens, n, expected, 1) ||
	    stories_arc_init(&m, NULL, 0, n, n, &options) || stories_arc_eval(m, tokens, n, got, 1))
		return 2;
	double most = 0;
	size_t differ = 0;
	for (size_t i = 0; i < (size_t)n * N_VOCAB; i++) {
		const double d = fabs((double)expected[i] - (double)got[i]);
		most = d > most || !(d == d) ? d : most;
		differ += expected[i] != got[i];
	}
	stories_arc_free(m);
	printf("largest difference %g, %zu of %zu differ\n", most, differ, (size_t)n * N_VOCAB);
	return !(most < NEAR) || !differ;
}
