/*
 * Model files: GGUF, llama2.c's .bin and Hugging Face folders enter, an ir Model leaves. Files are
 * mapped, their tensors are pointed at, nothing is copied but tables of names. Whatever could
 * change the function and is not understood is refused.
 */
#ifndef LATHE_GEN_MODEL_H
#define LATHE_GEN_MODEL_H

#include "ir/model.h"

typedef struct ModelOptions {
	/* llama2.c only: its tokenizer file, by path or (data, size) in memory; all null: none. */
	const char *tokenizer;
	const uint8_t *tokenizer_data;
	size_t tokenizer_size;
	/* A model whose files say that its weights are stored in a rotated basis is refused, but
	 * where a plan follows: plan_read wants one that fits. */
	bool rotated;
	bool trust_values; /* do not scan weights and scales for NaN and infinity */
	int jobs;	   /* threads for that scan; 0 means 1 */
} ModelOptions;

/* A file of a folder that lies in memory. */
typedef struct FolderFile {
	const char *name;
	const uint8_t *data;
	size_t size;
} FolderFile;

/*
 * Maps and reads `path`, a file or a Hugging Face folder; options may be null. null after
 * diagnostics. Any shard of a split file stands for all. The mapping lives until the program ends.
 * Model.sha256 stays zero until model_digest.
 */
Model *model_read(Arena *run, Diag *d, const char *path, const ModelOptions *o);
/* The same from memory, which must outlive the Model. `name` is what messages call it. */
Model *model_read_memory(Arena *run, Diag *d, const char *name, const uint8_t *data, size_t size,
			 const ModelOptions *o);
/* A Hugging Face folder from memory, likewise. */
Model *model_read_folder(Arena *run, Diag *d, const char *name, const FolderFile *files, uint32_t n,
			 const ModelOptions *o);
/* Prints the files of a Hugging Face folder to standard output: keys of JSON in short, counts. Of
 * other models nothing. */
void hf_print_files(Arena *a, const Model *m);
/*
 * Fills m->sha256 from all files one behind the other (about 0.4 s for 100 MB). It
 * touches nothing else of the Model, so it may run on a thread of its own beside work that reads
 * the Model.
 */
void model_digest(Model *m);

#endif
