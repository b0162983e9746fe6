/*
 * Libraries of one model in turn, call by call, on one thread: a machine whose speed drifts slows
 * all of them alike. models.h, which tests/bench/transforms writes, includes their headers and
 * gives MODELS(X) for their names. Prints one line a call: "prefill|decode POSITION NS NS ..." with
 * a time for each library in the order of MODELS.
 *
 * usage: turns ROUNDS PREFILL STEP DECODE [ISA]
 *   a round fills a context with PREFILL tokens, STEP at a time, then decodes DECODE.
 */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "clock.h"
#include "models.h"

enum { CONTEXT = 2048, HUGE_PAGE = 2 << 20 };

typedef struct Library {
	const char *name;
	void *model;
	int (*eval)(void *model, const int32_t *tokens, int n, float *logits, int all);
	int (*truncate)(void *model, int n_past);
} Library;

static void
fail(const char *what)
{
	fprintf(stderr, "turns: %s\n", what);
	exit(1);
}

static void *
huge_memory(size_t bytes)
{
	size_t room = (bytes / HUGE_PAGE + 1) * HUGE_PAGE;
	char *p = mmap(NULL, room + HUGE_PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
		       -1, 0);
	if (p == MAP_FAILED)
		fail("no memory");
	p += (HUGE_PAGE - (uintptr_t)p % HUGE_PAGE) % HUGE_PAGE;
	madvise(p, room, MADV_HUGEPAGE);
	return p;
}

#define OPEN(NAME)                                                                             \
	static int NAME##_turn(void *m, const int32_t *t, int n, float *logits, int all)       \
	{                                                                                      \
		return NAME##_eval((NAME *)m, t, n, logits, all);                              \
	}                                                                                      \
	static int NAME##_back(void *m, int n_past)                                            \
	{                                                                                      \
		return NAME##_truncate((NAME *)m, n_past);                                     \
	}                                                                                      \
	static Library NAME##_open(const char *isa, int batch)                                 \
	{                                                                                      \
		size_t bytes, arena = NAME##_arena_size(CONTEXT, batch, 1);                    \
		const void *linked = NAME##_linked_weights(&bytes);                            \
		NAME##_options o = {.n_threads = 1, .isa = isa};                               \
		NAME *m;                                                                       \
		if (!linked)                                                                   \
			fail(#NAME ": no weights");                                            \
		void *weights = memcpy(huge_memory(bytes), linked, bytes);                     \
		if (NAME##_init(&m, huge_memory(arena), arena, weights, bytes, CONTEXT, batch, \
				&o))                                                           \
			fail(#NAME ": init");                                                  \
		return (Library){#NAME, m, NAME##_turn, NAME##_back};                          \
	}
MODELS(OPEN)

#define ONE(NAME) +1
enum { COUNT = 0 MODELS(ONE) };

/* One call of each, beginning with another one each time. */
static void
turn(const char *what, Library *all, const int32_t *tokens, int at, int n, float *logits,
     unsigned number)
{
	double took[COUNT];
	for (unsigned i = 0; i < COUNT; i++) {
		unsigned which = (i + number) % COUNT;
		double start = seconds(CLOCK_THREAD_CPUTIME_ID);
		if (all[which].eval(all[which].model, tokens + at, n, logits, 0))
			fail("eval");
		took[which] = 1e9 * (seconds(CLOCK_THREAD_CPUTIME_ID) - start);
	}
	printf("%s %d", what, at);
	for (int i = 0; i < COUNT; i++)
		printf(" %.0f", took[i]);
	putchar('\n');
}

int
main(int argc, char **argv)
{
	if (argc < 5)
		fail("usage: turns ROUNDS PREFILL STEP DECODE [ISA]");
	int rounds = atoi(argv[1]), prefill = atoi(argv[2]), step = atoi(argv[3]);
	int decode = atoi(argv[4]);
	if (rounds < 1 || step < 1 || prefill < step || decode < 1 || prefill + decode > CONTEXT)
		fail("a number is out of range");
	const char *isa = argc > 5 ? argv[5] : NULL;
#define MAKE(NAME) NAME##_open(isa, step),
	Library all[] = {MODELS(MAKE)};
	int32_t tokens[CONTEXT];
	for (int i = 0; i < CONTEXT; i++)
		tokens[i] = 1 + i * 7919 % 255;
	float *logits = malloc((1 << 20) * sizeof *logits);
	if (!logits)
		fail("no memory");
	unsigned number = 0;
	for (int r = 0; r < rounds; r++) {
		for (int i = 0; i < COUNT; i++)
			if (all[i].truncate(all[i].model, 0))
				fail("truncate");
		for (int at = 0; at + step <= prefill; at += step)
			turn("prefill", all, tokens, at, step, logits, number++);
		for (int at = prefill - prefill % step, end = at + decode; at < end; at++)
			turn("decode", all, tokens, at, 1, logits, number++);
	}
	free(logits);
	return 0;
}
