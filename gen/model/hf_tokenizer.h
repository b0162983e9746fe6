/* Between the files that read tokenizer.json. */
#ifndef LATHE_GEN_MODEL_HF_TOKENIZER_H
#define LATHE_GEN_MODEL_HF_TOKENIZER_H

#include "hf.h"
#include "keys.h"

/* Whether all keys of an object are understood, by the rows of this name. */
bool hf_token_keys(const HfReader *r, const Json *object, const char *name);
/* The text of an object's "type"; "" where there is none. */
const char *hf_type(const Json *object);

/* hf_unigram.c. The value of a number's text as tokenizers has it; may be infinite. */
double hf_score(const char *s);
/* The parts that decide how text is cut and what is put around it; each fills t. false after
 * diagnostics. `root` is tokenizer.json. */
bool hf_normalizer(const HfReader *r, const Json *root, Tokenizer *t);
bool hf_pre_tokenizer(const HfReader *r, const Json *root, Tokenizer *t);
/* Needs t's tokens: sets bos and add_bos. */
bool hf_post_processor(const HfReader *r, const Json *root, Tokenizer *t);

#endif
