/*
 * Mutants of a plan and its sidecar, read from memory: plan_fuzz MODEL PLAN DATA COUNT SEED [JOBS]
 *
 * Mutant i is a function of the files, seed and i, whatever COUNT and JOBS are. An accepted plan is
 * applied to rows, written, and what was written is read back. Built with sanitizers; a crash, a
 * hang or an early exit ends the run with status 1 and the number of the mutant: `plan_fuzz MODEL
 * PLAN DATA i+1 SEED 0` runs that one alone.
 */
#define _GNU_SOURCE
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "gen/model/model.h"
#include "gen/plan/plan.h"
#include "tests/random.h"

enum { HANG_SECONDS = 60, MUTATIONS = 3, JOBS_MAX = 64, SPAN_MAX = 48 };

typedef struct Tally {
	uint64_t index; /* the mutant at work */
	uint64_t read, accepted;
} Tally;

/* A copy at the end of its own memory, so that reading past it is caught. */
typedef struct Subject {
	const uint8_t *original;
	uint8_t *data;
	size_t size, room;
} Subject;

/* Words that mean something in plans, numbers at the edges of what is accepted. */
static const char *const words[] = {
	"0",
	"1",
	"-1",
	"2",
	"8",
	"16",
	"32",
	"64",
	"1.58",
	"1e308",
	"4294967296",
	"1048576",
	"18446744073709551616",
	"0.001",
	"null",
	"true",
	"{}",
	"[]",
	"\"\"",
	"\"*\"",
	"[1, 0]",
	"\"R1\"",
	"\"R2\"",
	"\"R3\"",
	"\"P3\"",
	"\"row\"",
	"\"tensor\"",
	"\"asymmetric\"",
	"\"layers.*.p3\"",
	"\"hadamard\"",
	"\"inverse\"",
	"\"product\"",
	"\"permutation\"",
	"\"sum\"",
	"\"block\"",
	"{ \"hadamard\": 32 }",
	"{ \"identity\": 1048576 }",
	"{ \"inverse\": \"R3\" }",
	"{ \"kronecker\": [\"R2\", \"R2\"] }",
	"{ \"pad\": 8, \"to\": 64 }",
	"{ \"scalar\": 64, \"factor\": 1e-300 }",
	"{ \"householder\": [1, 2, 3, 4] }",
	"{ \"givens\": 32, \"plane\": [1, 2], \"angle\": 1e9 }",
	"{ \"so2\": [1, 1e300] }",
	"\"layers.{0,1}.*\"",
	"\"layers.*.{attn.in,mlp.in}\"",
	"\"residual\"",
	"\"head.in\"",
};

static void
replace(Subject *s, size_t at, size_t n, const void *with, size_t m)
{
	uint8_t *bytes = malloc(s->size - n + m + 1);
	memcpy(bytes, s->data, at);
	memcpy(bytes + at, with, m);
	memcpy(bytes + at + m, s->data + at + n, s->size - at - n);
	free(s->data);
	s->size = s->size - n + m;
	/* exactly as large as the text: the sanitizer sees what reads behind it */
	s->data = realloc(bytes, s->size ? s->size : 1);
}

/* A JSON value, more or less: from `at` to the next delimiter. */
static size_t
token_length(const Subject *s, size_t at)
{
	size_t n = 0;
	while (at + n < s->size && n < SPAN_MAX && !memchr(",]}:", s->data[at + n], 4))
		n++;
	return n;
}

static void
mutate_once(Subject *s, uint64_t *r)
{
	const size_t at = random_below(r, s->size + 1);
	const size_t rest = s->size - at, token = token_length(s, at);
	const char *word = words[random_below(r, sizeof words / sizeof *words)];
	uint8_t bytes[SPAN_MAX];
	size_t n;
	switch (random_below(r, 8)) {
	case 0:
		if (!rest)
			return;
		bytes[0] = s->data[at] ^ (uint8_t)(1u << random_below(r, 8));
		replace(s, at, 1, bytes, 1);
		return;
	case 1: /* a span copied from elsewhere, in place of a token or in front of it */
		n = random_below(r, SPAN_MAX < s->size ? SPAN_MAX : s->size);
		memcpy(bytes, s->data + random_below(r, s->size - n + 1), n);
		replace(s, at, random_below(r, 2) ? token : 0, bytes, n);
		return;
	case 2:
		replace(s, at, random_below(r, rest < SPAN_MAX ? rest + 1 : SPAN_MAX), "", 0);
		return;
	case 3:
		if (random_below(r, 8) == 0)
			replace(s, at, rest, "", 0);
		return;
	default: /* the value behind a colon, bracket or comma */
		n = at;
		while (n < s->size && !memchr(":[,{", s->data[n], 4))
			n++;
		if (n++ < s->size)
			replace(s, n, random_below(r, 4) ? token_length(s, n) : 0, word,
				strlen(word));
	}
}

/* Bytes of the sidecar: lengths, offsets and numbers. */
static void
mutate_data(Subject *s, uint64_t *r)
{
	if (!s->size)
		return;
	const size_t head = s->size < 600 ? s->size : 600;
	const size_t at = random_below(r, random_below(r, 4) ? head : s->size);
	uint8_t byte = random_below(r, 2) ? (uint8_t)random_next(r)
					  : (uint8_t)(s->data[at] ^ (1u << random_below(r, 8)));
	if (random_below(r, 3) == 0 && at < head)
		byte = (uint8_t)("0123456789-,[]{}\"."[random_below(r, 18)]);
	if (random_below(r, 24) == 0)
		replace(s, at, s->size - at, "", 0);
	else
		replace(s, at, 1, &byte, 1);
}

/* What an accepted plan promises: its transforms run, and written it reads back. */
static void
use_plan(Arena *a, const Plan *p, const Model *m)
{
	for (int s = 0; s < SITE_COUNT; s++)
		for (uint32_t l = 0; l < (site_table[s].layered ? m->n_layer : 1); l++) {
			const Transform *t = p->transforms[s][l].transform;
			if (!t)
				continue;
			const size_t n = t->n_out > t->n ? t->n_out : t->n;
			double *row = ARENA_ARRAY(a, double, n), *work = ARENA_ARRAY(a, double, n);
			for (size_t i = 0; i < t->n; i++)
				row[i] = 1.0 / (double)(i + 1);
			transform_apply(t, row, work);
			transform_facts(transform_normalise(a, t));
		}
	const PlanText text = plan_write(a, p, m, "x.safetensors");
	Diag *d = diag_new(a, NULL);
	diag_limit(d, 0);
	const Plan *again = plan_read_memory(a, d, "plan.json", text.json->text, text.json->size,
					     text.data ? (const uint8_t *)text.data->text : NULL,
					     text.data ? text.data->size : 0, m);
	if (!again) {
		fprintf(stderr, "what was written is not read:\n%s", text.json->text);
		abort();
	}
}

static Subject
subject_copy(const Mapped *m)
{
	Subject s = {.data = malloc(m->size ? m->size : 1), .size = m->size};
	memcpy(s.data, m->data, m->size);
	return s;
}

static void
run_mutant(Arena *a, const Model *m, const Mapped *plan, const Mapped *data, uint64_t seed,
	   uint64_t i, Tally *tally)
{
	uint64_t r = seed * 0x2545f4914f6cdd1du + i * 0xd1342543de82ef95u;
	Subject text = subject_copy(plan), side = subject_copy(data);
	random_next(&r);
	const size_t n = 1 + random_below(&r, MUTATIONS);
	for (size_t k = 0; k < n; k++)
		if (random_below(&r, 4))
			mutate_once(&text, &r);
		else
			mutate_data(&side, &r);
	Diag *d = diag_new(a, NULL);
	diag_limit(d, 0);
	const Plan *p = plan_read_memory(a, d, "plan.json", (const char *)text.data, text.size,
					 side.data, side.size, m);
	if (!p == !diag_errors(d))
		abort(); /* a refusal without a message, or the other way round */
	if (p)
		use_plan(a, p, m);
	tally->read++;
	tally->accepted += p != NULL;
	free(text.data);
	free(side.data);
	arena_reset(a);
}

static bool
map(const char *path, Mapped *m)
{
	const char *error;
	if (file_map(path, m, &error))
		return true;
	fprintf(stderr, "cannot read %s: %s\n", path, error);
	return false;
}

int
main(int argc, char **argv)
{
	Mapped plan, data;
	if (argc < 6 || argc > 7) {
		fprintf(stderr, "usage: plan_fuzz MODEL PLAN DATA COUNT SEED [JOBS]\n");
		return 2;
	}
	Arena *run = arena_new();
	const Model *m = model_read(run, diag_new(run, stderr), argv[1], NULL);
	if (!m || !map(argv[2], &plan) || !map(argv[3], &data))
		return 2;
	const uint64_t count = strtoull(argv[4], NULL, 10), seed = strtoull(argv[5], NULL, 10);
	const bool one = argc > 6 && atoi(argv[6]) == 0;
	int jobs = argc > 6 && !one ? atoi(argv[6]) : 1, bad = 0;
	jobs = jobs > JOBS_MAX ? JOBS_MAX : jobs;
	Tally *tallies = mmap(NULL, JOBS_MAX * sizeof *tallies, PROT_READ | PROT_WRITE,
			      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (tallies == MAP_FAILED)
		fatal_environment("no shared memory");
	for (int j = 0; j < jobs; j++) {
		const pid_t pid = fork();
		if (pid < 0)
			fatal_environment("cannot fork");
		if (pid)
			continue;
		Arena *a = arena_new();
		for (uint64_t i = one ? count - 1 : (uint64_t)j; i < count; i += (uint64_t)jobs) {
			tallies[j].index = i;
			alarm(HANG_SECONDS);
			run_mutant(a, m, &plan, &data, seed, i, &tallies[j]);
		}
		arena_free(a);
		_exit(0);
	}
	uint64_t read = 0, accepted = 0;
	for (int j = 0, status; j < jobs; j++)
		bad += wait(&status) < 0 || status != 0;
	for (int j = 0; j < jobs; j++) {
		if (bad)
			fprintf(stderr, "worker %d was at mutant %llu of seed %llu\n", j,
				(unsigned long long)tallies[j].index, (unsigned long long)seed);
		read += tallies[j].read;
		accepted += tallies[j].accepted;
	}
	printf("%s: %llu mutants read, %llu accepted\n", argv[2], (unsigned long long)read,
	       (unsigned long long)accepted);
	arena_free(run);
	return bad || (!one && read != count);
}
