/* ---- the machine's read bandwidth ----------------------------------------------------------- */

/*
 * Plain reads of a buffer that no cache holds, each worker its part of it. The figure is that of
 * the fastest of several loops, because no one loop is the fastest reader on every machine.
 */
enum { READ_BYTES = 256 << 20, READ_LOOPS = 5 };

typedef uint64_t ReadVector __attribute__((vector_size(64)));

typedef struct Reading {
	unsigned char *data;	    /* READ_BYTES */
	int loop;		    /* -1: fill the buffer */
	uint64_t sums[MAX_THREADS]; /* results, so that no loop is removed */
} Reading;

/* Sums 64-bit words in 8 chains. */
static uint64_t
read_words(const unsigned char *data, size_t bytes)
{
	const uint64_t *p = (const uint64_t *)(const void *)data;
	uint64_t a[8] = {0};
	size_t i, j;

	for (i = 0; i < bytes / 8; i += 8)
		for (j = 0; j < 8; j++)
			a[j] += p[i + j];
	return a[0] + a[1] + a[2] + a[3] + a[4] + a[5] + a[6] + a[7];
}

/*
 * Xor of vectors, four a turn, as one stream or as two halves side by side; bytes a multiple of
 * 512. A macro, as vectors are lowered to the instructions of the function that they are written
 * in.
 */
#define READ_LOOP(name, attributes)                                                          \
	attributes static uint64_t name(const unsigned char *data, size_t bytes, int halves) \
	{                                                                                    \
		const ReadVector *p = (const ReadVector *)(const void *)data;                \
		const ReadVector *q = halves ? p + bytes / 128 : p + 2;                      \
		ReadVector a = {0}, b = {0}, c = {0}, d = {0};                               \
		size_t i, step = halves ? 2 : 4;                                             \
		for (i = 0; i < bytes / 256; i++, p += step, q += step) {                    \
			a ^= p[0];                                                           \
			b ^= p[1];                                                           \
			c ^= q[0];                                                           \
			d ^= q[1];                                                           \
		}                                                                            \
		a ^= b ^ c ^ d;                                                              \
		return a[0] ^ a[1] ^ a[2] ^ a[3] ^ a[4] ^ a[5] ^ a[6] ^ a[7];                \
	}

READ_LOOP(read_plain, )

#if defined(__x86_64__) && defined(__GNUC__)
READ_LOOP(read_avx2, __attribute__((target("avx2"))))
READ_LOOP(read_avx512, __attribute__((target("avx512f"))))

static uint64_t
read_wide(const unsigned char *data, size_t bytes, int halves)
{
	if (__builtin_cpu_supports("avx512f"))
		return read_avx512(data, bytes, halves);
	if (__builtin_cpu_supports("avx2"))
		return read_avx2(data, bytes, halves);
	return read_plain(data, bytes, halves);
}
#else
#define read_wide read_plain
#endif

static void
read_part(void *arg, int worker, int workers)
{
	Reading *r = arg;
	size_t each = READ_BYTES / (size_t)workers / 512 * 512;
	unsigned char *data = r->data + (size_t)worker * each;

	switch (r->loop) {
	case -1:
		memset(data, worker + 1, each);
		break;
	case 0:
		r->sums[worker] += read_words(data, each);
		break;
	case 1:
	case 2:
		r->sums[worker] += read_plain(data, each, r->loop == 2);
		break;
	default:
		r->sums[worker] += read_wide(data, each, r->loop == 4);
		break;
	}
}

static void
reading_new(Reading *r, Pool *pool)
{
	memset(r, 0, sizeof *r);
	r->data =
		mmap(NULL, READ_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (r->data == MAP_FAILED)
		fail(STATUS_ENVIRONMENT, NULL, "no memory for the bandwidth measurement (%d bytes)",
		     READ_BYTES);
#ifdef MADV_HUGEPAGE
	madvise(r->data, READ_BYTES, MADV_HUGEPAGE);
#endif
	r->loop = -1;
	pool_run(pool, read_part, r, pool->n);
}

/* GB/s of the fastest loop, each run once. */
static double
reading_measure(Reading *r, Pool *pool)
{
	double start, best = 0, bytes = (double)(READ_BYTES / pool->n / 512 * 512) * pool->n,
		      rate_now;

	for (r->loop = 0; r->loop < READ_LOOPS; r->loop++) {
		start = now();
		pool_run(pool, read_part, r, pool->n);
		rate_now = bytes * 1e-9 / (now() - start);
		best = rate_now > best ? rate_now : best;
	}
	return best;
}

static void
reading_free(Reading *r)
{
	munmap(r->data, READ_BYTES);
}
