/*
 * What the fuzzers share: inputs with mutations, and mutants by number over several processes.
 * Mutant i is a function of the input, seed and i, whatever COUNT and JOBS are. Built with
 * sanitizers; a crash, a hang or an early exit ends the run with status 1 and the mutant's number.
 */
#ifndef LATHE_TESTS_FUZZ_MUTANTS_H
#define LATHE_TESTS_FUZZ_MUTANTS_H

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ir/support.h"
#include "tests/random.h"

enum {
	MUTANT_JOBS_MAX = 64,
	MUTANT_SPAN_MAX = 48,
	MUTANT_HANG_SECONDS = 60 /* of CPU time: a busy machine is no hang */
};

/* ---- inputs ------------------------------------------------------------------------------- */

/* Bytes exactly as large as what they hold: a sanitizer sees what is read behind them. */
typedef struct Mutant {
	uint8_t *data;
	size_t size;
} Mutant;

static inline Mutant
mutant_new(const uint8_t *data, size_t size)
{
	Mutant m = {malloc(size ? size : 1), size};
	if (!m.data)
		fatal_environment("no memory for an input");
	memcpy(m.data, data, size);
	return m;
}

/* n bytes at `at` give way to size others. */
static inline void
mutant_replace(Mutant *m, size_t at, size_t n, const void *with, size_t size)
{
	const size_t total = m->size - n + size;
	uint8_t *bytes = malloc(total ? total : 1);
	if (!bytes)
		fatal_environment("no memory for an input");
	memcpy(bytes, m->data, at);
	memcpy(bytes + at, with, size);
	memcpy(bytes + at + size, m->data + at + n, m->size - at - n);
	free(m->data);
	*m = (Mutant){bytes, total};
}

/* A JSON value, more or less: from `at` to the next delimiter. */
static inline size_t
mutant_token(const Mutant *m, size_t at)
{
	size_t n = 0;
	while (at + n < m->size && n < MUTANT_SPAN_MAX && !memchr(",]}:", m->data[at + n], 4))
		n++;
	return n;
}

/* A span from `at` on goes. */
static inline void
mutant_cut(Mutant *m, uint64_t *r, size_t at)
{
	const size_t rest = m->size - at;
	const size_t n = random_below(r, rest < MUTANT_SPAN_MAX ? rest + 1 : MUTANT_SPAN_MAX);
	mutant_replace(m, at, n, "", 0);
}

/* One change of JSON, or any text: words are values that mean something in it. */
static inline void
mutate_text(Mutant *m, uint64_t *r, const char *const *words, size_t n_words)
{
	const size_t at = random_below(r, m->size + 1), rest = m->size - at;
	const char *word = words[random_below(r, n_words)];
	uint8_t bytes[MUTANT_SPAN_MAX];
	size_t n;
	switch (random_below(r, 8)) {
	case 0:
		if (!rest)
			return;
		bytes[0] = m->data[at] ^ (uint8_t)(1u << random_below(r, 8));
		mutant_replace(m, at, 1, bytes, 1);
		return;
	case 1: /* a span copied from elsewhere, in place of a token or in front of it */
		n = random_below(r, MUTANT_SPAN_MAX < m->size ? MUTANT_SPAN_MAX : m->size);
		memcpy(bytes, m->data + random_below(r, m->size - n + 1), n);
		mutant_replace(m, at, random_below(r, 2) ? mutant_token(m, at) : 0, bytes, n);
		return;
	case 2:
		mutant_cut(m, r, at);
		return;
	case 3:
		if (random_below(r, 8) == 0)
			mutant_replace(m, at, rest, "", 0);
		return;
	case 4: /* a word inside of a text */
		n = strlen(word);
		mutant_replace(m, at, n < rest ? n : rest, word, n);
		return;
	default: /* the value behind a colon, bracket or comma */
		n = at;
		while (n < m->size && !memchr(":[,{", m->data[n], 4))
			n++;
		if (n++ < m->size)
			mutant_replace(m, n, random_below(r, 4) ? mutant_token(m, n) : 0, word,
				       strlen(word));
	}
}

/* One change of a file of lengths, offsets and numbers, most of them in its first `head` bytes. */
static inline void
mutate_binary(Mutant *m, uint64_t *r, size_t head)
{
	static const uint64_t numbers[] = {0,	  1,	     2,		 4,	    63,	       255,
					   65535, INT32_MAX, UINT32_MAX, INT64_MAX, UINT64_MAX};
	if (!m->size)
		return;
	head = m->size < head ? m->size : head;
	const size_t at = random_below(r, random_below(r, 4) ? head : m->size);
	const size_t rest = m->size - at;
	const uint64_t number =
		numbers[random_below(r, sizeof numbers / sizeof *numbers)] + random_below(r, 3) - 1;
	size_t n = (size_t)1 << random_below(r, 4);
	uint8_t span[MUTANT_SPAN_MAX];
	switch (random_below(r, 8)) {
	case 0:
		n = n < rest ? n : rest;
		memcpy(m->data + at, &number, n);
		return;
	case 1: /* a span again, in place of what stands here or in front of it */
		n = random_below(r, rest < MUTANT_SPAN_MAX ? rest + 1 : MUTANT_SPAN_MAX);
		memcpy(span, m->data + random_below(r, m->size - n + 1), n);
		mutant_replace(m, at, random_below(r, 2) ? n : 0, span, n);
		return;
	case 2:
		mutant_cut(m, r, at);
		return;
	case 3:
		if (random_below(r, 4) == 0)
			mutant_replace(m, at, rest, "", 0);
		return;
	case 4:
		m->data[at] = (uint8_t)random_next(r);
		return;
	case 5:
		m->data[at] = (uint8_t)("0123456789-,[]{}\"."[random_below(r, 18)]);
		return;
	default:
		m->data[at] ^= (uint8_t)(1u << random_below(r, 8));
	}
}

/* ---- running ------------------------------------------------------------------------------ */

/* Reads one mutant of the subject by the numbers of *r; whether it was accepted. */
typedef bool RunMutant(Arena *a, void *subject, uint64_t *r);

typedef struct MutantTally {
	uint64_t index; /* the mutant at work */
	uint64_t read, accepted;
} MutantTally;

typedef struct MutantRun {
	const char *name;
	RunMutant *run;
	void *subject;
	uint64_t count, seed;
	int jobs;
} MutantRun;

/* Mutants first, first + step, ... below the count. */
static inline void
mutants_work(const MutantRun *m, uint64_t first, uint64_t step, MutantTally *tally)
{
	const struct itimerval hang = {.it_value.tv_sec = MUTANT_HANG_SECONDS};
	Arena *a = arena_new();
	for (uint64_t i = first; i < m->count; i += step) {
		uint64_t r = m->seed * 0x2545f4914f6cdd1du + i * 0xd1342543de82ef95u;
		tally->index = i;
		random_next(&r);
		setitimer(ITIMER_PROF, &hang, NULL);
		tally->accepted += m->run(a, m->subject, &r);
		tally->read++;
		arena_reset(a);
	}
	arena_free(a);
}

/*
 * COUNT SEED [JOBS] of a command line: all mutants, or with 0 JOBS the last alone, in this process.
 * The status to exit with.
 */
static inline int
mutants_run(const char *name, RunMutant *run, void *subject, int argc, char **argv)
{
	MutantRun m = {.name = name,
		       .run = run,
		       .subject = subject,
		       .count = strtoull(argv[0], NULL, 10),
		       .seed = strtoull(argv[1], NULL, 10),
		       .jobs = argc > 2 ? atoi(argv[2]) : 1};
	MutantTally *tallies = mmap(NULL, MUTANT_JOBS_MAX * sizeof *tallies, PROT_READ | PROT_WRITE,
				    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (tallies == MAP_FAILED)
		fatal_environment("no shared memory");
	if (m.jobs <= 0) {
		mutants_work(&m, m.count - 1, m.count, tallies);
		printf("mutant %llu of seed %llu was %s\n", (unsigned long long)m.count - 1,
		       (unsigned long long)m.seed, tallies->accepted ? "accepted" : "refused");
		return 0;
	}
	pid_t pids[MUTANT_JOBS_MAX];
	m.jobs = m.jobs > MUTANT_JOBS_MAX ? MUTANT_JOBS_MAX : m.jobs;
	for (int j = 0; j < m.jobs; j++) {
		pids[j] = fork();
		if (pids[j] < 0)
			fatal_environment("cannot fork");
		if (pids[j] == 0) {
			mutants_work(&m, (uint64_t)j, (uint64_t)m.jobs, &tallies[j]);
			_exit(0);
		}
	}
	uint64_t read = 0, accepted = 0;
	int bad = 0;
	for (int j = 0, status; j < m.jobs; j++) {
		if (waitpid(pids[j], &status, 0) < 0 || status != 0) {
			fprintf(stderr, "%s: mutant %llu of seed %llu ended the reader\n", name,
				(unsigned long long)tallies[j].index, (unsigned long long)m.seed);
			bad++;
		}
		read += tallies[j].read;
		accepted += tallies[j].accepted;
	}
	printf("%s: %llu mutants read, %llu accepted\n", name, (unsigned long long)read,
	       (unsigned long long)accepted);
	return bad || read != m.count;
}

#endif
