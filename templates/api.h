/*
 * @NAME@: a language model compiled by Lathe. Plain C99, no malloc, no globals, no I/O.
 *
 *   size_t bytes = @name@_arena_size(@name@_N_CTX, 32, 1);
 *   void *arena = aligned_alloc(64, bytes);
 *   @name@ *m;
 *   int e = @name@_init(&m, arena, bytes, NULL, 0, @name@_N_CTX, 32, NULL);
 *   if (!e)
 *           e = @name@_eval(m, tokens, n, logits, 0);
 *
 * Several contexts may live at once, each in its own arena; one context belongs to one thread.
 */
#ifndef LATHE_@name@_H
#define LATHE_@name@_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum {
	@name@_N_VOCAB = @N_VOCAB@,
	@name@_N_CTX = @N_CTX@, /* the most positions that the model knows */
	@name@_N_LAYER = @N_LAYER@,
	@name@_HIDDEN = @HIDDEN@
};

/* Results. 0 is success. */
enum {
	@name@_OK = 0,
	@name@_ERROR_ARGUMENT = 1,   /* a null pointer or a size out of range */
	@name@_ERROR_CONTEXT = 2,    /* n_ctx beyond the model's, or tokens beyond n_ctx */
	@name@_ERROR_ARENA = 3,	     /* the arena is too small or not 64-byte aligned */
	@name@_ERROR_TOKEN = 4,	     /* a token id out of range */
	@name@_ERROR_WEIGHTS = 5,    /* weights of another build, of the wrong size or damaged */
	@name@_ERROR_NO_WEIGHTS = 6, /* null given and none linked */
	@name@_ERROR_ISA = 7,	     /* the ISA level is unknown or this CPU lacks it */
	@name@_ERROR_STATE = 8	     /* a saved state of another build or context */
};

typedef struct @name@ @name@;

typedef struct @name@_options {
	/*
	 * Calls fn(arg, i, n) for i in [0, n) on n concurrent workers and returns when all have
	 * returned. Null: one thread. With `park` null each parallel phase is one call of run and
	 * no worker waits for another; with park and wake one call of run does a whole evaluation
	 * and workers meet at barriers: they spin briefly, then park(user, word, value) sleeps
	 * while *word == value (it may return early) and wake(user, word) wakes all sleepers of
	 * word. n is always n_threads. Results do not depend on any of this.
	 */
	void (*run)(void *user, void (*fn)(void *arg, int i, int n), void *arg, int n);
	void (*park)(void *user, uint32_t *word, uint32_t value);
	void (*wake)(void *user, uint32_t *word);
	void *user;
	int n_threads;	   /* 0 means 1 */
	const char *isa;   /* null: the best that this CPU has; else a name of @name@_isa_name */
	int check_weights; /* 1: verify the checksum of the weights (reads them all once) */
} @name@_options;

/* Bytes that init needs for n_ctx positions (at most N_CTX), n_batch tokens at once (at most 4096)
 * and n_threads workers (at most 256), a multiple of 64; 0 when an argument is out of range. */
size_t @name@_arena_size(int n_ctx, int n_batch, int n_threads);

/*
 * Makes a context of no tokens in arena (64-byte aligned, bytes long, whatever it holds). The
 * caller keeps the arena, and what options points to, while the context lives, and frees it: there
 * is nothing else to end. weights: the contents of @NAME@.weights, 64-byte aligned, kept likewise
 * and only read; null means the linked ones. n_ctx, n_batch and the options' n_threads are those of
 * @name@_arena_size. *m is set on success alone.
 */
int @name@_init(@name@ **m, void *arena, size_t bytes, const void *weights, size_t weights_bytes,
		int n_ctx, int n_batch, const @name@_options *options);

/*
 * Appends n tokens to the context. logits: [@name@_N_VOCAB] of the last token, or
 * [n][@name@_N_VOCAB] of all when all != 0; null computes none. n may exceed n_batch. The same
 * tokens give the same bits however they are split into calls. On an error nothing is appended.
 */
int @name@_eval(@name@ *m, const int32_t *tokens, int n, float *logits, int all);

/*
 * Forgets all but the first n_past tokens; what follows has the bits that it has without them. So a
 * guess of n tokens costs one call: eval with all != 0, then truncate to what was right.
 */
int @name@_truncate(@name@ *m, int n_past);
/* Tokens in the context. */
int @name@_n_past(const @name@ *m);

/*
 * Natural logarithms of probabilities: logprobs[i] of tokens[i] by row i of logits [n]
 * [@name@_N_VOCAB], as eval or a device's leaves them. Of two tokens in one row they differ as the
 * logits do. Computed in double and rounded once; a row with a NaN gives NaN. With ids and the
 * logits of all of them, (logits, ids + 1, n - 1) gives what the model thought of each next id.
 */
int @name@_logprobs(const float *logits, const int32_t *tokens, int n, float *logprobs);

/*
 * The keys and values of a context's tokens, to continue later: with any ISA level, n_ctx that
 * holds them, n_batch and threads, on a machine of the same byte order. The same tokens give the
 * same bytes; the ids are not in it. save wants state_size bytes or more, load exactly those that
 * were saved, and replaces what the context held (not on an error).
 */
size_t @name@_state_size(const @name@ *m);
int @name@_state_save(const @name@ *m, void *state, size_t bytes);
int @name@_state_load(@name@ *m, const void *state, size_t bytes);

/* ISA levels in this library, best first; null past the end. usable: this CPU has it. */
const char *@name@_isa_name(int i);
int @name@_isa_usable(int i);
/* The level that a context uses. */
const char *@name@_isa(const @name@ *m);

/* The linked weights, as init takes them, and their size (that of @NAME@.weights); null where none
 * are linked. */
const void *@name@_linked_weights(size_t *bytes);
/* Bytes of weights and constants that one decoded token reads. */
uint64_t @name@_bytes_per_token(void);
const char *@name@_strerror(int error);
/* Model, formats and digests in one line. */
const char *@name@_build_info(void);

#ifdef __cplusplus
}
#endif

#endif
