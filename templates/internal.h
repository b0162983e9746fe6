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

/* One pass of a phase over the rows of a batch. Rows 0.. of every buffer but the residual stream
 * belong to tokens row0.. of the batch: the head looks at the last token alone. */
typedef struct @name@_job {
	int layer, row0, rows;
} @name@_job;

typedef struct @name@_phase {
	void (*fn)(@name@ *m, const @name@_job *j, int tid, int n_threads);
	int skip_at_one; /* with one row every reader computes this phase for itself */
} @name@_phase;

typedef struct @name@_stage {
	const @name@_phase *phases;
	int n_phases, layer, head;
} @name@_stage;

/* One ISA level of the library. */
typedef struct @name@_level {
	const char *name;
	const @name@_stage *stages;
	int n_stages;
} @name@_level;

struct @name@ {
	const unsigned char *weights;
	const @name@_level *level;
	@name@_options options;
	int n_ctx, n_ctx_padded, n_batch, n_threads;
	int n_past;             /* positions in the cache */
	int n_tokens;           /* of the batch at work, at positions n_past.. */
	const int32_t *tokens;  /* of the batch */
	float *logits;          /* of the batch's rows that the head computes; null: no head */
	int head_row0;          /* first row that the head computes */
	unsigned char *activations, *scratch, *kv;
	uint32_t barrier_arrived, barrier_generation, barrier_sleepers;
};

#endif
