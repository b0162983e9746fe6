/*
 * Speed of the row kernels of every ISA level that this CPU has: nanoseconds an element for rows,
 * microseconds for attention. Each figure is the best of several rounds on one thread.
 */
#define _POSIX_C_SOURCE 200809L
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/bench/clock.h"
#include "tests/exec/rows_isa.h"

enum { N = 1536, D = 64, GROUP = 3, KV_HEADS = 3, CONTEXT = 2048, TILE = 16 };

/* Rows of rows_cases.def. */
enum { ROW_1536 = 3, QUANTIZE_A8 = 10, QUANTIZE_A16 = 11 };
/* Caches of 64 elements a head, three heads a key: f16, 8 bits, 4 bits with real zero points. */
enum { CACHES = 3 };
static const int attention_rows[CACHES] = {0, 6, 8};

typedef struct Bench {
	const RowsIsa *isa;
	float *x, *y, *q, *out, *scratch, *scale;
	int8_t *hi, *lo;
	int32_t *sum_hi, *sum_lo;
	unsigned char *cache[CACHES][KV_HEADS];
	int seen, kind;
} Bench;

static void
run_rmsnorm(Bench *b)
{
	b->isa->rmsnorm(ROW_1536, b->x, 1e-5f, 1.0f / N, b->y);
}

static void
run_silu_mul(Bench *b)
{
	b->isa->silu_mul(ROW_1536, b->x, b->x, b->y);
}

static void
run_quantize_a8(Bench *b)
{
	b->isa->quantize(QUANTIZE_A8, b->x, b->hi, b->lo, b->sum_hi, b->sum_lo, b->scale, NULL);
}

static void
run_quantize_a16(Bench *b)
{
	b->isa->quantize(QUANTIZE_A16, b->x, b->hi, b->lo, b->sum_hi, b->sum_lo, b->scale, NULL);
}

/* One token, one layer. */
static void
run_decode(Bench *b)
{
	for (int h = 0; h < KV_HEADS; h++)
		b->isa->attention_token(attention_rows[b->kind], 0, b->seen, b->q + h * GROUP * D,
					0.125f, b->cache[b->kind][h], CONTEXT,
					b->out + h * GROUP * D, b->scratch);
}

/* `seen` tokens from an empty context, one layer. */
static void
run_prefill(Bench *b)
{
	const size_t stride = (size_t)KV_HEADS * GROUP * D;
	for (int past = 0; past < b->seen; past += TILE)
		for (int h = 0; h < KV_HEADS; h++)
			b->isa->attention_heads(attention_rows[b->kind], TILE, past,
						b->q + h * GROUP * D, stride, 0.125f,
						b->cache[b->kind][h], CONTEXT,
						b->out + h * GROUP * D, stride, b->scratch);
}

/* Seconds of one call, at best. */
static double
best(Bench *b, void (*run)(Bench *))
{
	double least = 1e9;
	int calls = 1;
	for (int round = 0; round < 12; round++) {
		double t = seconds(CLOCK_THREAD_CPUTIME_ID);
		for (int i = 0; i < calls; i++)
			run(b);
		t = seconds(CLOCK_THREAD_CPUTIME_ID) - t;
		if (t < 5e-3) {
			calls *= 2;
			round--;
			continue;
		}
		least = t / calls < least ? t / calls : least;
	}
	return least;
}

static void
bench_isa(Bench *b)
{
	static const struct {
		const char *name, *unit;
		void (*run)(Bench *);
		int seen;
		double scale;
		int kind;
	} table[] = {
		{"rmsnorm 1536", "ns/element", run_rmsnorm, 0, 1e9 / N, 0},
		{"quantize A8 1536", "ns/element", run_quantize_a8, 0, 1e9 / N, 0},
		{"quantize A16 1536", "ns/element", run_quantize_a16, 0, 1e9 / N, 0},
		{"silu_mul 1536", "ns/element", run_silu_mul, 0, 1e9 / N, 0},
		{"decode f16 at 512", "us/layer", run_decode, 512, 1e6, 0},
		{"decode f16 at 2048", "us/layer", run_decode, 2048, 1e6, 0},
		{"prefill f16 of 512", "us/layer and token", run_prefill, 512, 1e6 / 512, 0},
		{"decode kv 8 at 512", "us/layer", run_decode, 512, 1e6, 1},
		{"decode kv 8 at 2048", "us/layer", run_decode, 2048, 1e6, 1},
		{"prefill kv 8 of 512", "us/layer and token", run_prefill, 512, 1e6 / 512, 1},
		{"decode kv 4 at 512", "us/layer", run_decode, 512, 1e6, 2},
		{"decode kv 4 at 2048", "us/layer", run_decode, 2048, 1e6, 2},
		{"prefill kv 4 of 512", "us/layer and token", run_prefill, 512, 1e6 / 512, 2},
	};
	for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
		b->seen = table[i].seen;
		b->kind = table[i].kind;
		printf("%-10s %-26s %9.4f %s\n", b->isa->name, table[i].name,
		       best(b, table[i].run) * table[i].scale, table[i].unit);
	}
}

static void *
make(size_t bytes)
{
	void *p = aligned_alloc(64, (bytes + 63) / 64 * 64);
	if (!p)
		abort();
	return p;
}

int
main(int argc, char **argv)
{
	static const RowsIsa *const all[] = {&rows_isa_v4, &rows_isa_v3, &rows_isa_c};
	const size_t queries = (size_t)CONTEXT * KV_HEADS * GROUP * D;
	Bench b = {0};
	__builtin_cpu_init();
	b.x = make(N * sizeof *b.x);
	b.y = make(N * sizeof *b.y);
	b.q = make(queries * sizeof *b.q);
	b.out = make(queries * sizeof *b.out);
	b.scale = make(N * sizeof *b.scale);
	b.hi = make(N);
	b.lo = make(N);
	b.sum_hi = make(N * sizeof *b.sum_hi);
	b.sum_lo = make(N * sizeof *b.sum_lo);
	b.scratch = make(rows_isa_c.attention_scratch(attention_rows[0], TILE) * sizeof *b.scratch);
	for (int i = 0; i < N; i++)
		b.x[i] = (float)(i * 37 % 1001 - 500) * 0.01f;
	for (size_t i = 0; i < queries; i++)
		b.q[i] = (float)(i * 31 % 511) / 256.0f - 1.0f;
	for (int i = 0; i < CACHES * KV_HEADS; i++) {
		const int row = attention_rows[i / KV_HEADS];
		unsigned char *cache = make(CONTEXT * rows_isa_c.kv_bytes(row));
		for (int pos = 0; pos < CONTEXT; pos++)
			rows_isa_c.kv_write(row, pos, b.q + pos * D, b.q + pos * D + 7, cache,
					    CONTEXT);
		b.cache[i / KV_HEADS][i % KV_HEADS] = cache;
	}
	for (int i = 0; i < 3; i++) {
		b.isa = all[i];
		if (i == 0 &&
		    !(__builtin_cpu_supports("avx512vnni") && __builtin_cpu_supports("avx512vbmi")))
			printf("%s: this CPU lacks it\n", b.isa->name);
		else if (i == 1 &&
			 !(__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")))
			printf("%s: this CPU lacks it\n", b.isa->name);
		else if (argc < 2 || !strcmp(argv[1], b.isa->name))
			bench_isa(&b);
	}
	return 0;
}
