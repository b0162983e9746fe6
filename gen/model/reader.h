/* What the readers of single formats share: limits, and the parts of a Model under construction. */
#ifndef LATHE_GEN_MODEL_READER_H
#define LATHE_GEN_MODEL_READER_H

#include "cursor.h"
#include "model.h"

enum {
	LAYERS_MAX = 4096,
	POSITIONS_MAX = 1 << 24, /* where RoPE angles stay exact enough, see real_sincos */
	WIDTH_MAX = 65000,	 /* of a row; sums of codes fit an int32 up to here */
	VOCAB_MAX = 1 << 24,
};

/* A folder, or files in memory that stand for one. */
typedef struct ModelFolder {
	const char *path;
	const FolderFile *files; /* null: a real folder */
	uint32_t n_files;
} ModelFolder;

/*
 * Fills m, of which nothing is set; false after diagnostics. Values of weights are checked by the
 * caller.
 */
bool hf_model(Arena *a, Diag *d, Model *m, const ModelFolder *folder, const ModelOptions *o);

/*
 * Each fills m, whose data, file, file_bytes and loc are set; false after diagnostics. Values of
 * weights are checked by the caller.
 */
bool gguf_model(Arena *a, Diag *d, Model *m, const ModelOptions *o);
bool llama2c_model(Arena *a, Diag *d, Model *m, const ModelOptions *o);
/* Whether the bytes could be llama2.c's: its header has no magic number, only small integers. */
bool llama2c_looks_like(const uint8_t *data, size_t size);

/* Hands over the files; the first is the main one. */
void model_set_files(Model *m, const ModelFile *files, uint32_t n);
/* Fills q_width, kv_width and one, and checks the numbers of heads; all else must be set. */
bool model_derive(Diag *d, Model *m);
/* Takes divisors[head_dim / 2] if each is a sensible number. */
bool model_set_rope_divisors(Diag *d, Model *m, Loc loc, const float *divisors);
/* Empty slots for every role of a model whose n_layer is known; roles by [role][layer]. */
void model_slots(Arena *a, const Model *m, const Tensor **slots[ROLE_COUNT]);
/* Hands the slots over; an empty ROLE_HEAD becomes the embedding. */
void model_set_tensors(Model *m, const Tensor **slots[ROLE_COUNT]);
/* A table of n tokens is as long as the embedding. */
bool model_check_vocabulary(Diag *d, const Model *m, Loc loc, uint64_t n);

#endif
