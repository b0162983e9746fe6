/*
 * The interface of an artefact as a program meets it, bad arguments first. Built by api.sh against
 * a tiny model called `pocket`, also with sanitizers, and once without linked weights (NO_WEIGHTS).
 * Usage: api_program WEIGHTS
 */
#define _POSIX_C_SOURCE 200809L
#include "pocket.h"

#include <limits.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#if defined(__SSE2__)
#include <xmmintrin.h>
#endif

enum {
	VOCAB = pocket_N_VOCAB,
	CTX = pocket_N_CTX,
	BATCH = 7,
	THREADS = 3,
	N = 75,
	GUARD = 64,
	FILL = 0xFF
};

#ifdef NO_WEIGHTS
static const int linked = 0;
#else
static const int linked = 1;
#endif

static int checks, failures;

#define CHECK(c)                                                               \
	do {                                                                   \
		checks++;                                                      \
		if (!(c)) {                                                    \
			failures++;                                            \
			printf("%s:%d: not so: %s\n", __FILE__, __LINE__, #c); \
		}                                                              \
	} while (0)
#define GIVES(error, call) CHECK((call) == pocket_##error)

static int32_t ids[N];
static float expected[(size_t)N * VOCAB];

static void
fail(const char *what)
{
	fprintf(stderr, "api_program: %s\n", what);
	exit(1);
}

static void *
memory(size_t bytes)
{
	void *p = NULL;
	if (posix_memalign(&p, 64, bytes))
		fail("out of memory");
	return p;
}

/* ---- workers: each way to run them that the header allows --------------------------------- */

typedef struct Job {
	void (*fn)(void *arg, int i, int n);
	void *arg;
	int i, n;
} Job;

static void *
thread_main(void *p)
{
	const Job *j = p;
	j->fn(j->arg, j->i, j->n);
	return NULL;
}

static void
run_threads(void *user, void (*fn)(void *arg, int i, int n), void *arg, int n)
{
	pthread_t threads[THREADS];
	Job jobs[THREADS];
	++*(int *)user;
	for (int i = 1; i < n; i++) {
		jobs[i] = (Job){fn, arg, i, n};
		if (pthread_create(&threads[i], NULL, thread_main, &jobs[i]))
			fail("no thread");
	}
	fn(arg, 0, n);
	for (int i = 1; i < n; i++)
		pthread_join(threads[i], NULL);
}

/* One after the other, the last first: right only where no worker waits for another. */
static void
run_in_turn(void *user, void (*fn)(void *arg, int i, int n), void *arg, int n)
{
	++*(int *)user;
	for (int i = n - 1; i >= 0; i--)
		fn(arg, i, n);
}

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t woken = PTHREAD_COND_INITIALIZER;

static void
park(void *user, uint32_t *word, uint32_t value)
{
	(void)user;
	pthread_mutex_lock(&lock);
	while (__atomic_load_n(word, __ATOMIC_SEQ_CST) == value)
		pthread_cond_wait(&woken, &lock);
	pthread_mutex_unlock(&lock);
}

static void
wake(void *user, uint32_t *word)
{
	(void)user;
	(void)word;
	pthread_mutex_lock(&lock);
	pthread_cond_broadcast(&woken);
	pthread_mutex_unlock(&lock);
}

/* ---- contexts ----------------------------------------------------------------------------- */

/* A context in memory of no known contents, with guards behind the arena and the logits. */
typedef struct Context {
	pocket *m;
	unsigned char *arena;
	float *logits;
	size_t bytes;
} Context;

static Context
context_new(const pocket_options *o, int n_ctx)
{
	Context c = {NULL, NULL, NULL,
		     pocket_arena_size(n_ctx, BATCH, o && o->n_threads ? o->n_threads : 1)};
	c.arena = memory(c.bytes + GUARD);
	c.logits = memory(sizeof expected + GUARD);
	memset(c.arena, FILL, c.bytes + GUARD);
	memset(c.logits, FILL, sizeof expected + GUARD);
	GIVES(OK, pocket_init(&c.m, c.arena, c.bytes, NULL, 0, n_ctx, BATCH, o));
	if (!c.m)
		fail("no context");
	return c;
}

static void
context_free(Context c)
{
	const unsigned char *behind = (const unsigned char *)c.logits + sizeof expected;
	for (int i = 0; i < GUARD; i++)
		CHECK(c.arena[c.bytes + (size_t)i] == FILL && behind[i] == FILL);
	free(c.arena);
	free(c.logits);
}

/* Whether the logits of all ids, appended in chunks, are those expected. */
static int
same_bits(const Context *c, int chunk)
{
	for (int i = pocket_n_past(c->m); i < N; i += chunk) {
		const int n = N - i < chunk ? N - i : chunk;
		if (pocket_eval(c->m, ids + i, n, c->logits + (size_t)i * VOCAB, 1))
			return 0;
	}
	return !memcmp(c->logits, expected, sizeof expected);
}

/* ---- what is refused ---------------------------------------------------------------------- */

static void
test_sizes(void)
{
	CHECK(pocket_arena_size(1, 1, 1) > 0);
	CHECK(pocket_arena_size(CTX, BATCH, 1) < pocket_arena_size(CTX, BATCH, 2));
	const int bad[][3] = {{0, 1, 1},
			      {-1, 1, 1},
			      {CTX + 1, 1, 1},
			      {INT_MAX, 1, 1},
			      {1, 0, 1},
			      {1, -1, 1},
			      {1, INT_MAX, 1},
			      {1, 1, 0},
			      {1, 1, -1},
			      {1, 1, INT_MAX},
			      {INT_MIN, INT_MIN, INT_MIN}};
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
		CHECK(pocket_arena_size(bad[i][0], bad[i][1], bad[i][2]) == 0);
}

static void
test_init(void)
{
	const size_t bytes = pocket_arena_size(CTX, BATCH, 1);
	unsigned char *arena = memory(bytes + 64);
	pocket *m = NULL;
	pocket_options o = {0};
	GIVES(ERROR_ARGUMENT, pocket_init(NULL, arena, bytes, NULL, 0, CTX, BATCH, NULL));
	GIVES(ERROR_ARGUMENT, pocket_init(&m, NULL, bytes, NULL, 0, CTX, BATCH, NULL));
	GIVES(ERROR_ARENA, pocket_init(&m, arena, bytes - 1, NULL, 0, CTX, BATCH, NULL));
	GIVES(ERROR_ARENA, pocket_init(&m, arena, 0, NULL, 0, CTX, BATCH, NULL));
	GIVES(ERROR_ARENA, pocket_init(&m, arena + 1, bytes, NULL, 0, CTX, BATCH, NULL));
	GIVES(ERROR_ARENA, pocket_init(&m, arena + 32, bytes, NULL, 0, CTX, BATCH, NULL));
	GIVES(ERROR_CONTEXT, pocket_init(&m, arena, bytes, NULL, 0, CTX + 1, BATCH, NULL));
	GIVES(ERROR_ARGUMENT, pocket_init(&m, arena, bytes, NULL, 0, 0, BATCH, NULL));
	GIVES(ERROR_ARGUMENT, pocket_init(&m, arena, bytes, NULL, 0, CTX, 0, NULL));
	GIVES(ERROR_ARGUMENT, pocket_init(&m, arena, bytes, NULL, 0, CTX, INT_MAX, NULL));
	o.n_threads = -1;
	GIVES(ERROR_ARGUMENT, pocket_init(&m, arena, bytes, NULL, 0, CTX, BATCH, &o));
	o.n_threads = INT_MAX;
	GIVES(ERROR_ARGUMENT, pocket_init(&m, arena, bytes, NULL, 0, CTX, BATCH, &o));
	o.n_threads = 2;
	GIVES(ERROR_ARENA, pocket_init(&m, arena, bytes, NULL, 0, CTX, BATCH, &o));
	o.n_threads = 0;
	for (const char *const *isa = (const char *const[]){"", "C", "cc", "x86-64-v9", NULL}; *isa;
	     isa++) {
		o.isa = *isa;
		GIVES(ERROR_ISA, pocket_init(&m, arena, bytes, NULL, 0, CTX, BATCH, &o));
	}
	CHECK(m == NULL);
	free(arena);
	CHECK(!pocket_isa_name(-1) && !pocket_isa_name(99) && !pocket_isa_usable(-1) &&
	      !pocket_isa_usable(99));
	for (int e = -1; e < 12; e++)
		CHECK(pocket_strerror(e) && *pocket_strerror(e));
	CHECK(!strcmp(pocket_strerror(99), pocket_strerror(-1)) && *pocket_build_info());
}

static void
test_tokens(void)
{
	const Context c = context_new(NULL, N);
	const int32_t bad[] = {-1, VOCAB, INT_MAX, INT_MIN};
	int32_t some[N + 1];
	memcpy(some, ids, sizeof ids);
	some[N] = 0;
	GIVES(OK, pocket_eval(c.m, ids, 5, c.logits, 1));
	for (int i = 0; i < 4; i++) {
		some[12] = bad[i];
		GIVES(ERROR_TOKEN, pocket_eval(c.m, some + 5, 9, c.logits + (size_t)5 * VOCAB, 1));
	}
	GIVES(ERROR_ARGUMENT, pocket_eval(NULL, ids, 1, c.logits, 0));
	GIVES(ERROR_ARGUMENT, pocket_eval(c.m, NULL, 1, c.logits, 0));
	GIVES(ERROR_ARGUMENT, pocket_eval(c.m, ids, 0, c.logits, 0));
	GIVES(ERROR_ARGUMENT, pocket_eval(c.m, ids, INT_MIN, c.logits, 0));
	some[12] = 0;
	GIVES(ERROR_CONTEXT, pocket_eval(c.m, some + 5, N - 4, c.logits, 0));
	GIVES(ERROR_CONTEXT, pocket_eval(c.m, ids, INT_MAX, c.logits, 0));
	GIVES(ERROR_ARGUMENT, pocket_truncate(NULL, 0));
	GIVES(ERROR_ARGUMENT, pocket_truncate(c.m, -1));
	GIVES(ERROR_ARGUMENT, pocket_truncate(c.m, 6));
	CHECK(pocket_n_past(c.m) == 5);
	CHECK(same_bits(&c, N));
	GIVES(ERROR_CONTEXT, pocket_eval(c.m, ids, 1, c.logits, 0));
	context_free(c);
}

/* ---- what must give the same bits --------------------------------------------------------- */

static void
test_callers(void)
{
	typedef void (*Run)(void *, void (*)(void *, int, int), void *, int);
	const Run runs[] = {NULL, run_in_turn, run_threads, run_threads};
	for (int level = 0; pocket_isa_name(level); level++)
		for (int way = 0; way < 4 && pocket_isa_usable(level); way++) {
			int calls = 0;
			pocket_options o = {0};
			o.run = runs[way];
			o.park = way == 3 ? park : NULL;
			o.wake = way == 3 ? wake : NULL;
			o.user = &calls;
			o.n_threads = THREADS;
			o.isa = pocket_isa_name(level);
			const Context c = context_new(&o, CTX);
			CHECK(!strcmp(pocket_isa(c.m), o.isa));
			CHECK(same_bits(&c, way == 1 ? 1 : 20));
			CHECK(way == 0 ? calls == 0 : calls > 0);
			/* A parked pool has one call of run a batch: 3 full chunks of 20 and one
			 * of 15. */
			CHECK(way != 3 || calls == 3 * 3 + 3);
			context_free(c);
		}
}

static void
test_two_contexts(void)
{
	const Context a = context_new(NULL, CTX), b = context_new(NULL, N);
	for (int i = 0; i < N; i++) {
		const int32_t other = (ids[i] + 1) % VOCAB;
		GIVES(OK, pocket_eval(a.m, &ids[i], 1, a.logits + (size_t)i * VOCAB, 0));
		GIVES(OK, pocket_eval(b.m, &other, 1, b.logits + (size_t)i * VOCAB, 0));
	}
	CHECK(!memcmp(a.logits, expected, sizeof expected));
	CHECK(memcmp(b.logits, expected, sizeof expected) != 0);
	GIVES(OK, pocket_truncate(b.m, 0));
	CHECK(same_bits(&b, BATCH));
	GIVES(OK, pocket_truncate(a.m, 40));
	GIVES(OK, pocket_eval(a.m, ids + 40, N - 40, a.logits, 0));
	CHECK(!memcmp(a.logits, expected + (size_t)(N - 1) * VOCAB, VOCAB * sizeof(float)));
	context_free(a);
	context_free(b);
}

/* The caller's rounding and flushing neither reach the model nor are lost. */
static void
test_float_state(void)
{
#if defined(__SSE2__)
	const unsigned before = _mm_getcsr();
	const Context c = context_new(NULL, CTX);
	_mm_setcsr((before & ~0x6000u) | 0x4000u | 0x8040u);
	const unsigned set = _mm_getcsr();
	CHECK(same_bits(&c, 20));
	CHECK((_mm_getcsr() & 0xffc0u) == (set & 0xffc0u));
	_mm_setcsr(before);
	context_free(c);
#endif
}

static void
test_states(void)
{
	const Context a = context_new(NULL, CTX);
	GIVES(OK, pocket_eval(a.m, ids, 40, a.logits, 1));
	const size_t bytes = pocket_state_size(a.m);
	unsigned char *state = memory(bytes + 1);
	GIVES(ERROR_ARGUMENT, pocket_state_save(NULL, state, bytes));
	GIVES(ERROR_ARGUMENT, pocket_state_save(a.m, NULL, bytes));
	GIVES(ERROR_ARGUMENT, pocket_state_save(a.m, state, bytes - 1));
	GIVES(OK, pocket_state_save(a.m, state, bytes));
	for (int level = 0; pocket_isa_name(level); level++) {
		pocket_options o = {0};
		o.isa = pocket_isa_name(level);
		if (!pocket_isa_usable(level))
			continue;
		const Context b = context_new(&o, N);
		memcpy(b.logits, a.logits, (size_t)40 * VOCAB * sizeof(float));
		GIVES(OK, pocket_state_load(b.m, state, bytes));
		CHECK(pocket_n_past(b.m) == 40);
		CHECK(same_bits(&b, 20));
		context_free(b);
	}
	const Context small = context_new(NULL, 39), c = context_new(NULL, CTX);
	GIVES(OK, pocket_eval(c.m, ids, 3, c.logits, 1));
	GIVES(ERROR_STATE, pocket_state_load(small.m, state, bytes));
	GIVES(ERROR_ARGUMENT, pocket_state_load(c.m, NULL, bytes));
	GIVES(ERROR_ARGUMENT, pocket_state_load(c.m, state, 3));
	GIVES(ERROR_STATE, pocket_state_load(c.m, state, bytes - 1));
	GIVES(ERROR_STATE, pocket_state_load(c.m, state, bytes + 1));
	/* magic, number of tokens, build */
	const int places[] = {0, 7, 8, 11, 16, 47};
	for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
		state[places[i]] ^= 128;
		GIVES(ERROR_STATE, pocket_state_load(c.m, state, bytes));
		state[places[i]] ^= 128;
	}
	CHECK(same_bits(&c, N));
	context_free(small);
	context_free(c);
	context_free(a);
	free(state);
}

/* ---- log-probabilities -------------------------------------------------------------------- */

/* By libm, of a row. */
static double
logprob_expected(const float *row, int32_t token)
{
	double largest = row[0], sum = 0;
	for (int t = 1; t < VOCAB; t++)
		largest = fmax(largest, row[t]);
	for (int t = 0; t < VOCAB; t++)
		sum += exp(row[t] - largest);
	return row[token] - largest - log(sum);
}

static void
test_logprobs(void)
{
	static float rows[6 * VOCAB];
	int32_t tokens[6];
	float got[6];
	/* Even rows, sharp ones, wide ones, those beyond any exponent, equal numbers, infinities.
	 */
	const float scale[6] = {0.01f, 3.0f, 40.0f, 3e38f, 0.0f, 1.0f};
	uint32_t seed = 7;
	for (int i = 0; i < 6 * VOCAB; i++) {
		seed = seed * 1664525u + 1013904223u;
		rows[i] = scale[i / VOCAB] * ((float)(seed >> 8) / 8388608.0f - 1.0f);
	}
	rows[5 * VOCAB + 3] = -INFINITY;
	for (int round = 0; round < 50; round++) {
		for (int i = 0; i < 6; i++)
			tokens[i] = (round * 11 + i) % VOCAB;
		GIVES(OK, pocket_logprobs(rows, tokens, 6, got));
		for (int i = 0; i < 6; i++) {
			const double want = logprob_expected(rows + (size_t)i * VOCAB, tokens[i]);
			CHECK((float)want == got[i] ||
			      fabs(want - got[i]) <= 1e-7 * fabs(want) + 1e-13);
		}
	}
	tokens[0] = 3;
	GIVES(OK, pocket_logprobs(rows + (size_t)5 * VOCAB, tokens, 1, got));
	CHECK(got[0] == -INFINITY);
	rows[5 * VOCAB + 9] = NAN;
	GIVES(OK, pocket_logprobs(rows + (size_t)5 * VOCAB, tokens, 1, got));
	CHECK(got[0] != got[0]);
	got[0] = 5;
	tokens[1] = VOCAB;
	GIVES(ERROR_TOKEN, pocket_logprobs(rows, tokens, 2, got));
	tokens[1] = -1;
	GIVES(ERROR_TOKEN, pocket_logprobs(rows, tokens, 2, got));
	GIVES(ERROR_ARGUMENT, pocket_logprobs(NULL, tokens, 1, got));
	GIVES(ERROR_ARGUMENT, pocket_logprobs(rows, NULL, 1, got));
	GIVES(ERROR_ARGUMENT, pocket_logprobs(rows, tokens, 0, got));
	GIVES(ERROR_ARGUMENT, pocket_logprobs(rows, tokens, 1, NULL));
	CHECK(got[0] == 5);
}

/* ---- weights ------------------------------------------------------------------------------ */

static int
init_with(const void *weights, size_t bytes, int check)
{
	const size_t need = pocket_arena_size(CTX, 1, 1);
	void *arena = memory(need);
	pocket *m;
	pocket_options o = {0};
	o.check_weights = check;
	const int error = pocket_init(&m, arena, need, weights, bytes, CTX, 1, &o);
	free(arena);
	return error;
}

static void
test_weights(const char *path)
{
	FILE *f = fopen(path, "rb");
	if (!f || fseek(f, 0, SEEK_END))
		fail("no weights file");
	const size_t bytes = (size_t)ftell(f);
	unsigned char *w = memory(bytes + 64);
	rewind(f);
	if (fread(w, 1, bytes, f) != bytes)
		fail("the weights file cannot be read");
	fclose(f);
	CHECK(init_with(NULL, 0, 1) == (linked ? pocket_OK : pocket_ERROR_NO_WEIGHTS));
	GIVES(OK, init_with(w, bytes, 0));
	GIVES(OK, init_with(w, bytes, 1));
	const size_t sizes[] = {0,	    1,	       63,	  64,	      bytes / 2,
				bytes - 64, bytes - 1, bytes + 1, bytes + 64, (size_t)-1};
	for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
		GIVES(ERROR_WEIGHTS, init_with(w, sizes[i], 0));
	GIVES(ERROR_WEIGHTS, init_with(w + 32, bytes, 0));
	/* Any bit of the magic, version, sizes and build is seen at once; one of the payload when
	 * checked. */
	for (size_t at = 0; at < 56; at++) {
		w[at] ^= (unsigned char)(1 << at % 8);
		GIVES(ERROR_WEIGHTS, init_with(w, bytes, 0));
		w[at] ^= (unsigned char)(1 << at % 8);
	}
	for (int i = 0; i < 200; i++) {
		const size_t at =
			i == 0 ? bytes - 1 : 64 + (size_t)i * 7919 * 64 / 5 % (bytes - 64);
		w[at] ^= (unsigned char)(1 << i % 8);
		GIVES(ERROR_WEIGHTS, init_with(w, bytes, 1));
		w[at] ^= (unsigned char)(1 << i % 8);
	}
	GIVES(OK, init_with(w, bytes, 1));
	free(w);
}

int
main(int argc, char **argv)
{
	if (argc != 2)
		fail("usage: api_program WEIGHTS");
	uint32_t x = 7;
	for (int i = 0; i < N; i++) {
		x = x * 1664525u + 1013904223u;
		ids[i] = (int32_t)((x >> 8) % VOCAB);
	}
	test_sizes();
	test_weights(argv[1]);
	if (linked) {
		const Context c = context_new(NULL, CTX);
		GIVES(OK, pocket_eval(c.m, ids, N, c.logits, 1));
		memcpy(expected, c.logits, sizeof expected);
		context_free(c);
		test_init();
		test_tokens();
		test_callers();
		test_two_contexts();
		test_float_state();
		test_states();
		test_logprobs();
	}
	printf("%d checks, %d failures\n", checks, failures);
	return failures != 0;
}
