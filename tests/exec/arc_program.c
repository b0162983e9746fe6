/*
 * Logits of the OpenCL launcher against those of the CPU library, bit by bit: NAME.h and NAME_arc.h
 * are the artefact's. Usage: arc_program N SEED [BUILD]: N tokens, one by one, in batches, all
 * logits and the last ones, after a truncation, the likeliest tokens, and saved states; prints the
 * device and the launches of one decoded token.
 */
#include "stories_arc.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { N_VOCAB = stories_N_VOCAB, BATCH = 13 };

static int failures;

static void
check(const char *what, int position, const float *expected, const float *got, size_t n)
{
	size_t i = 0, wrong = 0, first = 0;
	for (; i < n; i++)
		if (memcmp(&expected[i], &got[i], sizeof *got) && !wrong++)
			first = i;
	if (!wrong)
		return;
	failures++;
	printf("%s at %d: %zu of %zu differ, first %zu: %a and not %a\n", what, position, wrong, n,
	       first, (double)got[first], (double)expected[first]);
}

static void
must(const char *what, int error, const stories_arc *m)
{
	if (!error)
		return;
	printf("%s: %s (%s)\n", what, stories_arc_strerror(error), m ? stories_arc_log(m) : "");
	exit(1);
}

/* The likeliest tokens behind n of them, against a selection of the CPU's logits. */
static void
check_top(stories_arc *m, const int32_t *tokens, int n, const float *expected)
{
	enum { K = stories_ARC_TOP_MAX };
	const float *x = expected + (size_t)(n - 1) * N_VOCAB;
	int32_t ids[K];
	float logits[K];
	char taken[N_VOCAB] = {0};
	must("truncate", stories_arc_truncate(m, 0), m);
	must("top", stories_arc_eval_top(m, tokens, n, K, ids, logits), m);
	for (int i = 0; i < K; i++) {
		int best = -1;
		for (int t = 0; t < N_VOCAB; t++)
			if (!taken[t] && (best < 0 || x[t] > x[best]))
				best = t;
		taken[best] = 1;
		if (ids[i] == best && !memcmp(&logits[i], &x[best], sizeof *x))
			continue;
		failures++;
		printf("likeliest %d is %d, %a and not %d, %a\n", i, (int)ids[i], (double)logits[i],
		       best, (double)x[best]);
	}
}

/* The same bytes as of the CPU's context of the same tokens, and back. */
static void
check_state(stories *cpu, stories_arc *m, const int32_t *tokens, int n, const float *expected,
	    float *got)
{
	const size_t bytes = stories_state_size(cpu);
	unsigned char *of_cpu = malloc(bytes), *of_device = malloc(bytes);
	if (!of_cpu || !of_device || stories_state_save(cpu, of_cpu, bytes))
		exit(2);
	if (stories_arc_state_size(m) != bytes) {
		failures++;
		printf("a state of %zu bytes and not %zu\n", stories_arc_state_size(m), bytes);
		return;
	}
	must("save", stories_arc_state_save(m, of_device, bytes), m);
	if (memcmp(of_cpu, of_device, bytes)) {
		failures++;
		printf("the states differ\n");
	}
	must("truncate", stories_arc_truncate(m, 0), m);
	must("load", stories_arc_state_load(m, of_cpu, bytes), m);
	must("truncate", stories_arc_truncate(m, n / 3), m);
	must("after a load", stories_arc_eval(m, tokens + n / 3, n - n / 3, got, 0), m);
	check("after a load", n - 1, expected + (size_t)(n - 1) * N_VOCAB, got, N_VOCAB);
	of_cpu[0] ^= 1;
	if (stories_arc_state_load(m, of_cpu, bytes) != stories_ERROR_STATE) {
		failures++;
		printf("a state of another build is taken\n");
	}
	free(of_cpu);
	free(of_device);
}

/* Weights that are cut short, of another build, or no weights at all are refused in front of all
 * else. */
static void
check_weights(void)
{
	enum { BUILD = 32 };
	FILE *f = fopen("stories.weights", "rb");
	if (!f || fseek(f, 0, SEEK_END))
		exit(2);
	const size_t n = (size_t)ftell(f);
	unsigned char *w = malloc(n);
	rewind(f);
	if (!w || fread(w, 1, n, f) != n)
		exit(2);
	fclose(f);
	const struct {
		const char *what;
		size_t at, bytes;
	} faults[] = {
		{"of another build", BUILD, n}, {"without magic", 0, n}, {"cut short", 0, n - 1}};
	for (size_t i = 0; i < sizeof faults / sizeof *faults; i++) {
		stories_arc *m = NULL;
		w[faults[i].at] ^= faults[i].bytes == n;
		const int e = stories_arc_init(&m, w, faults[i].bytes, 1, 1, NULL);
		if (e != stories_ERROR_WEIGHTS) {
			failures++;
			printf("weights %s: %s\n", faults[i].what, stories_arc_strerror(e));
		}
		w[faults[i].at] ^= faults[i].bytes == n;
		stories_arc_free(m);
	}
	free(w);
}

int
main(int argc, char **argv)
{
	const int n = argc > 1 ? atoi(argv[1]) : 64;
	uint32_t seed = argc > 2 ? (uint32_t)atoi(argv[2]) : 1;
	int32_t *tokens = malloc(sizeof *tokens * (size_t)n);
	float *expected = malloc(sizeof *expected * (size_t)n * N_VOCAB);
	float *got = malloc(sizeof *got * (size_t)n * N_VOCAB);
	const size_t bytes = stories_arena_size(n, BATCH, 1);
	void *arena = aligned_alloc(64, bytes);
	stories *cpu;
	stories_arc *m = NULL;
	stories_arc_options options;
	if (!tokens || !expected || !got || !arena)
		return 2;
	for (int i = 0; i < n; i++) {
		seed = seed * 1664525u + 1013904223u;
		tokens[i] = (int32_t)((seed >> 8) % N_VOCAB);
	}
	if (stories_init(&cpu, arena, bytes, NULL, 0, n, BATCH, NULL) ||
	    stories_eval(cpu, tokens, n, expected, 1))
		return 2;
	memset(&options, 0, sizeof options);
	options.build = argc > 3 ? argv[3] : NULL;
	check_weights();
	const int error = stories_arc_init(&m, NULL, 0, n, BATCH, &options);
	must("init", error, m);
	printf("%s\n", stories_arc_device(m));
	for (int i = 0; i < n; i++) {
		must("one token", stories_arc_eval(m, tokens + i, 1, got, 0), m);
		check("one token", i, expected + (size_t)i * N_VOCAB, got, N_VOCAB);
		if (failures > 3)
			return 1;
	}
	const uint64_t before = stories_arc_launches(m);
	must("truncate", stories_arc_truncate(m, n - 1), m);
	must("last token", stories_arc_eval(m, tokens + n - 1, 1, got, 0), m);
	printf("%llu launches a token\n", (unsigned long long)(stories_arc_launches(m) - before));
	must("truncate", stories_arc_truncate(m, 0), m);
	must("batches", stories_arc_eval(m, tokens, n, got, 1), m);
	check("batches", 0, expected, got, (size_t)n * N_VOCAB);
	must("truncate", stories_arc_truncate(m, n / 2), m);
	must("last of a batch", stories_arc_eval(m, tokens + n / 2, n - n / 2, got, 0), m);
	check("last of a batch", n - 1, expected + (size_t)(n - 1) * N_VOCAB, got, N_VOCAB);
	check_top(m, tokens, n, expected);
	check_state(cpu, m, tokens, n, expected, got);
	stories_arc_free(m);
	printf("%d failures in %d positions\n", failures, n);
	return failures != 0;
}
