/* Tokens by their text. */
#ifndef LATHE_GEN_MODEL_TOKENS_H
#define LATHE_GEN_MODEL_TOKENS_H

#include "ir/model.h"

#define TOKEN_NONE UINT32_MAX

typedef struct TokenTable {
	const Bytes *tokens;
	uint32_t *slots; /* [mask + 1] id + 1, 0: empty */
	uint32_t mask;
} TokenTable;

/* An empty table of tokens[n]. */
TokenTable token_table_new(Arena *a, const Bytes *tokens, uint32_t n);
/* Adds tokens[id]; the id of an equal one that is there already, else id. */
uint32_t token_table_add(TokenTable *t, uint32_t id);
/* TOKEN_NONE: no token has this text. */
uint32_t token_table_find(const TokenTable *t, Bytes text);

#endif
