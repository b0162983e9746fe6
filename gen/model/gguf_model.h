/* Between the files that give a GGUF container its meaning. */
#ifndef LATHE_GEN_MODEL_GGUF_MODEL_H
#define LATHE_GEN_MODEL_GGUF_MODEL_H

#include "gguf.h"

/* Fills m->tokenizer; n_vocab must be known. false after diagnostics. */
bool gguf_tokenizer(Gguf *g, Model *m);

#endif
