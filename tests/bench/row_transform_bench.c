/*
 * Speed of emitted transforms (tests/exec/row_transform_cases.def) on every ISA level that this CPU
 * has, beside the three loops of a textbook. Nanoseconds an element on one thread, the median of
 * rounds in which all take turns; rows that stay in the cache. Bits are compared with the contract
 * interpreter.
 *
 *   row_transform_bench [NAME-PREFIX]
 */
#define _POSIX_C_SOURCE 200809L
#include <math.h>
#include <stdio.h>

#include "ir/interp_impl.h"
#include "tests/bench/clock.h"
#include "tests/exec/row_transform_cases.h"
#include "tests/exec/row_transform_isa.h"

enum { ROUNDS = 15, LEVELS = 3, PLAIN = LEVELS, COLUMNS = LEVELS + 1 };
#define ROUND_SECONDS 4e-4

static const TransformIsa *const levels[] = {&transform_isa_v4, &transform_isa_v3,
					     &transform_isa_c};

typedef struct Bench {
	int case_number, n;
	const TransformIsa *best; /* compiled for this CPU: its plain loops are the other side */
	float *source, *x, *work, *want;
} Bench;

static bool
usable(const TransformIsa *isa)
{
	__builtin_cpu_init();
	if (isa == &transform_isa_v4)
		return __builtin_cpu_supports("avx512vnni") && __builtin_cpu_supports("avx512vbmi");
	return isa == &transform_isa_c ||
	       (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"));
}

/* Plain loops with the division that H has too. */
static void
run_plain(const Bench *b)
{
	const float scale = (float)(1.0 / sqrt((double)b->n));
	b->best->plain(b->n, b->x);
	for (int i = 0; i < b->n; i++)
		b->x[i] *= scale;
}

static void
run(const Bench *b, int column)
{
	if (column == PLAIN)
		run_plain(b);
	else
		levels[column]->rows[b->case_number](b->x, b->work);
}

/* Nanoseconds an element. The row is fresh now and then: some maps grow. */
static double
sample(const Bench *b, int column)
{
	int calls = 0;
	double used = 0;
	while (used < ROUND_SECONDS) {
		memcpy(b->x, b->source, sizeof *b->x * (size_t)b->n);
		const int some = 1 + 40000 / b->n;
		const double t = seconds(CLOCK_THREAD_CPUTIME_ID);
		for (int i = 0; i < some; i++)
			run(b, column);
		used += seconds(CLOCK_THREAD_CPUTIME_ID) - t;
		calls += some;
	}
	return used / calls / b->n * 1e9;
}

static int
compare(const void *a, const void *b)
{
	const double x = *(const double *)a, y = *(const double *)b;
	return (x > y) - (x < y);
}

static double
median(double *v, int n)
{
	qsort(v, (size_t)n, sizeof *v, compare);
	return v[n / 2];
}

/* Whether a column has the contract's bits. */
static bool
equal(const Bench *b, int column)
{
	memcpy(b->x, b->source, sizeof *b->x * (size_t)b->n);
	run(b, column);
	return !memcmp(b->x, b->want, sizeof *b->x * (size_t)b->n);
}

static bool
bench_case(Bench *b, const Transform *t)
{
	double samples[COLUMNS][ROUNDS];
	bool same = true, there[COLUMNS];
	for (int c = 0; c < COLUMNS; c++) {
		there[c] = c == PLAIN ? t->kind == T_HADAMARD && t->base->order == 1
				      : usable(levels[c]);
		same = same && (!there[c] || equal(b, c));
	}
	for (int round = 0; round < ROUNDS; round++)
		for (int c = 0; c < COLUMNS; c++)
			samples[c][round] = there[c] ? sample(b, c) : 0;
	printf("| `%s` ", transform_cases[b->case_number].text);
	for (int c = 0; c < COLUMNS; c++)
		if (there[c])
			printf("| %.3f ", median(samples[c], ROUNDS));
		else
			printf("| ");
	if (there[PLAIN])
		printf("| %.1f ", samples[PLAIN][ROUNDS / 2] /
					  samples[b->best == levels[0] ? 0 : 1][ROUNDS / 2]);
	else
		printf("| ");
	printf("| %s |\n", same ? "equal" : "DIFFERENT");
	return same;
}

int
main(int argc, char **argv)
{
	bool same = true;
	printf("| transform, ns an element | v4 | v3 | c | three loops | times | bits |\n");
	printf("|---|---|---|---|---|---|---|\n");
	for (int i = 0; i < TRANSFORM_CASES; i++) {
		if (argc > 1 && strncmp(transform_cases[i].name, argv[1], strlen(argv[1])) != 0)
			continue;
		Arena *a = arena_new();
		const Transform *t = transform_case(a, i);
		const uint32_t room = (t->n + 63) / 32 * 32;
		uint64_t seed = 1;
		Bench b = {.case_number = i, .n = (int)t->n};
		b.best = usable(levels[0]) ? levels[0] : usable(levels[1]) ? levels[1] : levels[2];
		float *memory = aligned_alloc(64, sizeof *memory * 7 * room);
		if (!memory)
			return 1;
		memset(memory, 0, sizeof *memory * 7 * room);
		b.source = memory, b.x = memory + room, b.want = memory + 2 * room;
		b.work = memory + 3 * room;
		for (uint32_t k = 0; k < t->n; k++)
			b.source[k] = (float)case_draw(&seed);
		Value v = {.width = t->n, .transform = t};
		Rows in = {.f = b.source}, out = {.f = b.want};
		Step s = {.value = &v, .n = 1, .in = {&in}, .out = &out};
		interp_contract_transform(&s);
		same &= bench_case(&b, t);
		free(memory);
		arena_free(a);
	}
	return !same;
}
