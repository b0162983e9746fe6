/*
 * Speed of the linear kernels of one ISA level.
 *
 *   linear_bench [rounds] [megabytes] [best]
 *
 * Decoding: share of the read bandwidth for the bytes of the weights, one and two threads. The
 * reference is the best of several read loops; rounds interleave with the kernels, medians are
 * compared, or the best rounds where the third argument says so (a machine with other work).
 * Prefill: 512 tokens, share of the measured rate of vpdpbusd (16-bit activations count two).
 */
#define _GNU_SOURCE
#include <immintrin.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "../exec/linear_isa.h"
#include "clock.h"

enum { MAX_ROUNDS = 64, MAX_JOBS = 64, READERS = 3, TOKENS = 512, GEMM_ROWS = 1536 };

static int
compare_double(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

/* The median, or the largest of n rates. */
static double
choose(double *v, int n, bool best)
{
	qsort(v, (size_t)n, sizeof(*v), compare_double);
	return v[best ? n - 1 : n / 2];
}

/* ---- read loops --------------------------------------------------------------------------- */

__attribute__((target("avx512f"), noinline)) static long
read_zmm(const uint8_t *p, size_t n)
{
	__m512i a = _mm512_setzero_si512(), b = a, c = a, d = a;

	for (size_t i = 0; i + 256 <= n; i += 256) {
		a = _mm512_xor_si512(a, _mm512_loadu_si512((const void *)(p + i)));
		b = _mm512_xor_si512(b, _mm512_loadu_si512((const void *)(p + i + 64)));
		c = _mm512_xor_si512(c, _mm512_loadu_si512((const void *)(p + i + 128)));
		d = _mm512_xor_si512(d, _mm512_loadu_si512((const void *)(p + i + 192)));
	}
	a = _mm512_xor_si512(_mm512_xor_si512(a, b), _mm512_xor_si512(c, d));
	return _mm512_reduce_add_epi32(a);
}

__attribute__((target("avx2"), noinline)) static long
read_ymm(const uint8_t *p, size_t n)
{
	__m256i a = _mm256_setzero_si256(), b = a, c = a, d = a;

	for (size_t i = 0; i + 128 <= n; i += 128) {
		a = _mm256_xor_si256(a, _mm256_loadu_si256((const void *)(p + i)));
		b = _mm256_xor_si256(b, _mm256_loadu_si256((const void *)(p + i + 32)));
		c = _mm256_xor_si256(c, _mm256_loadu_si256((const void *)(p + i + 64)));
		d = _mm256_xor_si256(d, _mm256_loadu_si256((const void *)(p + i + 96)));
	}
	a = _mm256_xor_si256(_mm256_xor_si256(a, b), _mm256_xor_si256(c, d));
	return _mm256_extract_epi64(a, 0) + _mm256_extract_epi64(a, 1) +
	       _mm256_extract_epi64(a, 2) + _mm256_extract_epi64(a, 3);
}

/* With some arithmetic between the loads, as a kernel has: often the faster reader. */
__attribute__((target("avx2"), noinline)) static long
read_busy(const uint8_t *p, size_t n)
{
	__m256i a = _mm256_setzero_si256(), b = a;

	for (size_t i = 0; i + 64 <= n; i += 64) {
		__m256i x = _mm256_loadu_si256((const void *)(p + i));
		__m256i y = _mm256_loadu_si256((const void *)(p + i + 32));

		a = _mm256_add_epi32(a, _mm256_madd_epi16(x, x));
		b = _mm256_add_epi32(b, _mm256_madd_epi16(y, y));
	}
	a = _mm256_xor_si256(a, b);
	return _mm256_extract_epi64(a, 0) + _mm256_extract_epi64(a, 3);
}

/* Dot product instructions a second, in units of 512 bits. */
__attribute__((target("avx512f,avx512vnni"), noinline)) static double
peak_vnni(void)
{
	const long n = 400000;
	__m512i a[16], x = _mm512_set1_epi32(3);
	double t = seconds(CLOCK_MONOTONIC);

	for (int j = 0; j < 16; j++)
		a[j] = _mm512_set1_epi32(j);
	for (long i = 0; i < n; i++) {
#pragma GCC unroll 16
		for (int j = 0; j < 16; j++)
			a[j] = _mm512_dpbusd_epi32(a[j], x, x);
		__asm__ volatile("" ::"v"(a[0]), "v"(a[5]), "v"(a[11]));
	}
	t = seconds(CLOCK_MONOTONIC) - t;
	for (int j = 1; j < 16; j++)
		a[0] = _mm512_xor_si512(a[0], a[j]);
	__asm__ volatile("" ::"v"(a[0]));
	return (double)n * 16 / t;
}

/* ---- the work of one thread --------------------------------------------------------------- */

typedef struct Bench {
	const LinearIsa *isa;
	uint8_t *weights;
	size_t bytes;
	TestTiles tiles;
	float *y[2];
	int threads, job; /* job: a reader, or READERS + kernel */
	double done[2];	  /* bytes */
	int start, finished;
	bool best; /* compare the best rounds, not the medians */
} Bench;

static volatile long sink;

static void
bench_part(Bench *b, int thread)
{
	size_t part = b->bytes / (size_t)b->threads;
	const uint8_t *w = b->weights + part * (size_t)thread;
	const LinearKernel *k;
	size_t blocks;

	switch (b->job) {
	case 0:
		if (__builtin_cpu_supports("avx512f"))
			sink += read_zmm(w, part);
		else
			sink += read_ymm(w, part);
		b->done[thread] = (double)part;
		return;
	case 1:
		sink += read_ymm(w, part);
		b->done[thread] = (double)part;
		return;
	case 2:
		sink += read_busy(w, part);
		b->done[thread] = (double)part;
		return;
	default:
		k = &b->isa->kernels[b->job - READERS];
		blocks = part / (size_t)b->isa->block_bytes(k->spec);
		k->store(w, 0, (int)blocks, &b->tiles, 1, b->y[thread], 0);
		b->done[thread] = (double)blocks * (double)b->isa->block_bytes(k->spec);
		return;
	}
}

static void *
bench_thread(void *arg)
{
	Bench *b = arg;

	for (int turn = 0;; turn++) {
		while (__atomic_load_n(&b->start, __ATOMIC_ACQUIRE) == turn)
			_mm_pause();
		if (b->job < 0)
			return NULL;
		if (b->threads == 2)
			bench_part(b, 1);
		__atomic_store_n(&b->finished, turn + 1, __ATOMIC_RELEASE);
	}
}

/* Bytes a second. */
static double
bench_run(Bench *b, int job, int threads)
{
	double t;

	b->job = job;
	b->threads = threads;
	b->done[1] = 0;
	t = seconds(CLOCK_MONOTONIC);
	__atomic_store_n(&b->start, b->start + 1, __ATOMIC_RELEASE);
	bench_part(b, 0);
	while (__atomic_load_n(&b->finished, __ATOMIC_ACQUIRE) != b->start)
		_mm_pause();
	return (b->done[0] + b->done[1]) / (seconds(CLOCK_MONOTONIC) - t);
}

/* ---- tables ------------------------------------------------------------------------------- */

static void
print_spec(Linear s)
{
	char name[64], group[16] = "row", act[24] = "f32";

	if (s.group != s.k)
		snprintf(group, sizeof(group), "g%d", s.group);
	if (s.planes)
		snprintf(act, sizeof(act), "A%d%s%s", 8 * s.planes, s.act_group ? " grouped" : "",
			 s.shift ? " zero" : "");
	if (s.is_float)
		snprintf(name, sizeof(name), "f%d", s.bits);
	else
		snprintf(name, sizeof(name), "W%d %s f%d%s %s", s.bits, group, s.scale_bits,
			 s.minimum ? " min" : "", act);
	printf("  %-28s k %4d ", name, s.k);
}

static void
bench_decode(Bench *b, int rounds)
{
	static double r[2][READERS + MAX_JOBS][MAX_ROUNDS];
	double m[2][READERS + MAX_JOBS], best[2] = {0, 0};
	int jobs = READERS + b->isa->n_kernels;

	for (int q = 0; q < rounds; q++)
		for (int t = 0; t < 2; t++)
			for (int j = 0; j < jobs; j++)
				r[t][j][q] = bench_run(b, j, t + 1);
	for (int t = 0; t < 2; t++)
		for (int j = 0; j < jobs; j++) {
			m[t][j] = choose(r[t][j], rounds, b->best);
			if (j < READERS && m[t][j] > best[t])
				best[t] = m[t][j];
		}
	printf("decode %s: read GB/s, 1 thread %.1f %.1f %.1f, 2 threads %.1f %.1f %.1f\n",
	       b->isa->name, m[0][0] * 1e-9, m[0][1] * 1e-9, m[0][2] * 1e-9, m[1][0] * 1e-9,
	       m[1][1] * 1e-9, m[1][2] * 1e-9);
	for (int j = READERS; j < jobs; j++) {
		print_spec(b->isa->kernels[j - READERS].spec);
		printf("1T %5.1f GB/s %4.0f %%   2T %5.1f GB/s %4.0f %%\n", m[0][j] * 1e-9,
		       100 * m[0][j] / best[0], m[1][j] * 1e-9, 100 * m[1][j] / best[1]);
	}
}

static void
bench_prefill(Bench *b, int rounds)
{
	double peak[MAX_ROUNDS] = {0}, rate[MAX_JOBS][MAX_ROUNDS];
	int vnni = __builtin_cpu_supports("avx512vnni");

	for (int q = 0; q < rounds; q++) {
		if (vnni)
			peak[q] = peak_vnni();
		for (int j = 0; j < b->isa->n_kernels; j++) {
			const LinearKernel *k = &b->isa->kernels[j];
			double t = seconds(CLOCK_MONOTONIC), planes = k->spec.planes == 2 ? 2 : 1;

			k->store(b->weights, 0, GEMM_ROWS / 32, &b->tiles, TOKENS, b->y[0],
				 GEMM_ROWS);
			t = seconds(CLOCK_MONOTONIC) - t;
			rate[j][q] = planes * k->spec.k * (double)TOKENS * GEMM_ROWS / 64 / t;
		}
	}
	peak[0] = choose(peak, rounds, b->best);
	printf("prefill %s, %d tokens, %d rows: vpdpbusd %.2f G/s\n", b->isa->name, TOKENS,
	       GEMM_ROWS, peak[0] * 1e-9);
	for (int j = 0; j < b->isa->n_kernels; j++) {
		double v = choose(rate[j], rounds, b->best);

		print_spec(b->isa->kernels[j].spec);
		printf("%6.1f GMAC/s", v * 64e-9);
		if (vnni)
			printf(" %4.0f %%", 100 * v / peak[0]);
		printf("\n");
	}
}

/* Zeroed, in huge pages where the system gives them. */
static void *
pages(size_t n)
{
	void *p = mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED) {
		perror("linear_bench");
		exit(2);
	}
	madvise(p, n, MADV_HUGEPAGE);
	return p;
}

int
main(int argc, char **argv)
{
	static const LinearIsa *const isas[] = {&linear_isa_v4, &linear_isa_v3_vnni, &linear_isa_v3,
						&linear_isa_c};
	const size_t act = (size_t)TOKENS * 8192;
	int rounds = argc > 1 ? atoi(argv[1]) : 7;
	Bench b = {.bytes = (size_t)(argc > 2 ? atoi(argv[2]) : 256) << 20,
		   .best = argc > 3 && strcmp(argv[3], "best") == 0};
	pthread_t thread;

	if (rounds < 1 || rounds > MAX_ROUNDS || b.bytes < ((size_t)64 << 20)) {
		fprintf(stderr, "usage: linear_bench [rounds 1..%d] [megabytes >= 64] [best]\n",
			MAX_ROUNDS);
		return 1;
	}
	b.weights = pages(b.bytes);
	memset(b.weights, 0x11, b.bytes);
	for (int i = 0; i < 2; i++)
		b.y[i] = pages((size_t)TOKENS * GEMM_ROWS * 4 + b.bytes / 8);
	b.tiles.hi = memset(pages(act), 1, act);
	b.tiles.lo = memset(pages(act), 2, act);
	b.tiles.sum_hi = memset(pages(act), 0, act);
	b.tiles.sum_lo = memset(pages(act), 0, act);
	b.tiles.scale = memset(pages(act), 0x3c, act);
	b.tiles.shift = memset(pages(act), 0x3c, act);
	b.tiles.x = memset(pages(4 * act), 0x3c, 4 * act);
	b.tiles.xsum = memset(pages(act), 0x3c, act);
	if (pthread_create(&thread, NULL, bench_thread, &b) != 0) {
		fprintf(stderr, "linear_bench: no thread\n");
		return 2;
	}
	for (size_t i = 0; i < sizeof(isas) / sizeof(isas[0]); i++) {
		b.isa = isas[i];
		if (!b.isa->usable()) {
			printf("%s: SKIPPED, this CPU lacks it\n", b.isa->name);
			continue;
		}
		bench_decode(&b, rounds);
		bench_prefill(&b, rounds);
	}
	b.job = -1;
	__atomic_store_n(&b.start, b.start + 1, __ATOMIC_RELEASE);
	pthread_join(thread, NULL);
	return 0;
}
