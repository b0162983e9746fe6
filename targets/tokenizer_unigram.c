/* The trie in which templates/tokenizer_unigram.c looks for tokens. */
#include "targets/tokenizer.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const double unknown_penalty = 10; /* below the least score, as the package has it */

typedef struct Piece {
	Bytes text;
	uint32_t id;
} Piece;

/* Pieces [first, last), which have the same `depth` bytes in front. */
typedef struct Node {
	uint32_t first, last, depth;
} Node;

static int
piece_compare(const void *a, const void *b)
{
	const Piece *x = a, *y = b;
	const uint32_t n = x->text.size < y->text.size ? x->text.size : y->text.size;
	const int order = memcmp(x->text.data, y->text.data, n);

	if (order)
		return order;
	return (x->text.size > y->text.size) - (x->text.size < y->text.size);
}

/* Tokens that text may become, by their bytes. Control tokens are what no text becomes; nor one
 * with a space, for which U+2581 stands in a text. *bytes: of all of them. */
static Piece *
list_pieces(Arena *a, const Tokenizer *t, uint32_t *n, uint64_t *bytes)
{
	Piece *list = ARENA_ARRAY(a, Piece, (size_t)t->n_tokens + 1);

	*n = 0;
	*bytes = 0;
	for (uint32_t id = 0; id < t->n_tokens; id++) {
		if (isnan(t->log_probs[id]) || (t->types && t->types[id] == TOKEN_CONTROL) ||
		    memchr(t->tokens[id].data, ' ', t->tokens[id].size))
			continue;
		list[*n] = (Piece){tokenizer_spaced(a, t->tokens[id]), id};
		*bytes += list[(*n)++].text.size;
	}
	qsort(list, *n, sizeof *list, piece_compare);
	return list;
}

/* Nodes in the order in which they are printed: the children of each behind those of the one before
 * it. Tokens differ, so that a node is at most one. */
static void
fill_trie(Arena *a, const Piece *list, uint32_t n, uint32_t most, TokenizerTables *out)
{
	Node *nodes = ARENA_ARRAY(a, Node, most);
	uint32_t *byte = ARENA_ARRAY(a, uint32_t, most);
	uint32_t *child = ARENA_ARRAY(a, uint32_t, (size_t)most + 1);
	uint32_t *token = ARENA_ARRAY(a, uint32_t, most);
	uint32_t count = 1;

	nodes[0] = (Node){0, n, 0};
	for (uint32_t i = 0; i < count; i++) {
		const Node node = nodes[i];
		uint32_t k = node.first;
		const bool ends = k < node.last && list[k].text.size == node.depth;
		token[i] = ends ? list[k++].id : TOKENIZER_NONE_ID;
		child[i] = count;
		while (k < node.last) {
			const char next = list[k].text.data[node.depth];
			nodes[count].first = k;
			while (k < node.last && list[k].text.data[node.depth] == next)
				k++;
			nodes[count].last = k;
			nodes[count].depth = node.depth + 1;
			byte[count++] = (unsigned char)next;
		}
	}
	child[count] = count;
	out->n_nodes = count;
	out->trie_byte = byte;
	out->trie_child = child;
	out->trie_token = token;
}

void
tokenizer_unigram(Arena *a, const Tokenizer *t, Diag *d, TokenizerTables *out)
{
	uint32_t n;
	uint64_t bytes;
	double least = INFINITY;
	const Piece *list = list_pieces(a, t, &n, &bytes);

	for (uint32_t id = 0; id < t->n_tokens; id++)
		if (t->log_probs[id] < least)
			least = t->log_probs[id];
	out->unknown_score = least - unknown_penalty;
	if (bytes >= UINT32_MAX - 1)
		diag_error(d, t->loc, E_TOKENIZER, "the tokens have %llu bytes",
			   (unsigned long long)bytes);
	else
		fill_trie(a, list, n, (uint32_t)bytes + 1, out);
}
