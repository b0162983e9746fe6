/*
 * What the files of @NAME@ share among themselves; no user includes this.
 *
 * One evaluation is a list of stages (embed, the layers, the head), a stage a list of phases. All
 * workers go through a phase together; a barrier separates phases.
 */
#ifndef LATHE_@name@_INTERNAL_H
#define LATHE_@name@_INTERNAL_H

#include "@NAME@.h"

#include <string.h>

/* Each sum has an order and each product is rounded: that is the interface's promise of equal bits.
 */
#if defined(__FAST_MATH__)
#error "compile without -ffast-math"
#endif

/*
 * One pass of a phase over `rows` rows of a batch, tokens row0.. of it: row t of a buffer belongs
 * to token row0 + t. The residual stream alone has a row for each token of the batch. row0 is 0 but
 * in the head, which may look at the last token alone.
 */
typedef struct @name@_job {
	int layer, row0, rows;
} @name@_job;

typedef struct @name@_phase {
	void (*fn)(@name@ *m, const @name@_job *j, int tid, int n_threads);
	int skip_at_one; /* with one row the next phase computes this one, each worker for itself */
} @name@_phase;

typedef struct @name@_stage {
	const @name@_phase *phases;
	int n_phases;
	int layer; /* row of the stage's table of constants */
	int head;  /* the stage that makes logits: it works on the rows that were asked for */
} @name@_stage;

/* One ISA level of the library. */
typedef struct @name@_level {
	const char *name;
	const @name@_stage *stages;
	int n_stages;
} @name@_level;

/* How a layer's keys and values lie, in bytes a position; parts of a head: attention.h. */
typedef struct @name@_cache {
	size_t offset; /* of the layer's heads */
	unsigned head_bytes, k_bytes, v_bytes;
	unsigned k_unit; /* bytes that one position has beside each other in the keys */
	unsigned scales; /* f32 of codes */
} @name@_cache;

/* A context: the start of the caller's arena; its other parts follow in the order of the fields. */
struct @name@ {
	const unsigned char *weights; /* the payload: constants lie at offsets from here */
	const @name@_level *level;
	@name@_options options;
	int n_ctx, n_ctx_padded; /* positions; rounded up to 64, as the cache has them */
	int n_batch, n_threads;
	int n_past;		    /* positions in the cache */
	int n_tokens;		    /* of the batch at work, at positions n_past.. */
	const int32_t *tokens;	    /* of the batch */
	float *logits;		    /* of the batch's rows that the head computes; null: no head */
	int head_row0;		    /* first row that the head computes */
	unsigned char *activations; /* n_batch * ACTIVATION_BYTES: the workers' shared buffers */
	unsigned char *scratch; /* n_threads * SCRATCH_BYTES: a worker's buffers, then its rows */
	unsigned char *kv;	/* n_ctx_padded * KV_BYTES: caches[layer], [kv head] */
	uint32_t barrier_arrived, barrier_generation, barrier_sleepers;
};

/*
 * What a device has in common with the CPU levels: the checks of weights and of saved states, the
 * start of a state, and the copy between the caches of a layer's heads, of n positions each, and
 * their places in a state.
 */
int @name@_weights_payload(const void *weights, size_t bytes, int check,
			   const unsigned char **payload);
size_t @name@_state_bytes(int n_past);
void @name@_state_begin(void *state, int n_past);
int @name@_state_check(const void *state, size_t bytes, int n_ctx, int *n_past);
void @name@_state_layer(int layer, unsigned char *cache, int n, unsigned char *state, int n_past,
			int save);

#endif
