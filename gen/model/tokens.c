#include "tokens.h"
#include "cursor.h"

/* A table of open addressing, twice as large as the vocabulary; FNV-1a by whole bytes is plenty for
 * tokens. */
TokenTable
token_table_new(Arena *a, const Bytes *tokens, uint32_t n)
{
	uint64_t size = 16;
	while (size < 2 * (uint64_t)n)
		size *= 2;
	return (TokenTable){.tokens = tokens,
			    .slots = ARENA_ARRAY(a, uint32_t, size),
			    .mask = (uint32_t)(size - 1)};
}

static uint32_t *
slot_of(const TokenTable *t, Bytes text)
{
	uint32_t h = 2166136261u;
	for (uint32_t k = 0; k < text.size; k++)
		h = (h ^ (uint8_t)text.data[k]) * 16777619u;
	h = (h ^ h >> 15) & t->mask;
	while (t->slots[h] && bytes_compare(t->tokens[t->slots[h] - 1], text) != 0)
		h = (h + 1) & t->mask;
	return &t->slots[h];
}

uint32_t
token_table_add(TokenTable *t, uint32_t id)
{
	uint32_t *slot = slot_of(t, t->tokens[id]);
	if (!*slot)
		*slot = id + 1;
	return *slot - 1;
}

uint32_t
token_table_find(const TokenTable *t, Bytes text)
{
	const uint32_t *slot = slot_of(t, text);
	return *slot ? *slot - 1 : TOKEN_NONE;
}
