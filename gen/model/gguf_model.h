/* Between the files that give a GGUF container its meaning. */
#ifndef LATHE_GEN_MODEL_GGUF_MODEL_H
#define LATHE_GEN_MODEL_GGUF_MODEL_H

#include "gguf.h"

/*
 * Parses m's file, and where that is one shard of a split file all the others, which lie beside it.
 * m's main file becomes the first shard; g has that one's metadata and the tensors of all. false
 * after diagnostics.
 */
bool gguf_read_files(Arena *a, Diag *d, Model *m, Gguf *g);
/* Fills m->tokenizer; n_vocab must be known. false after diagnostics. */
bool gguf_tokenizer(Gguf *g, Model *m);

#endif
