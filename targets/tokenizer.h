/*
 * The tokenizer of an artefact: the vocabulary checked and turned into tables, printed as C in
 * front of the texts of templates/tokenizer*.c.
 */
#ifndef LATHE_TARGETS_TOKENIZER_H
#define LATHE_TARGETS_TOKENIZER_H

#include "../ir/model.h"

enum {
	TOKENIZER_LONGEST = 4095, /* bytes of a token: what a C99 string literal must hold */
	TOKENIZER_FIRST_BYTE = 3, /* SCORED: id of the byte 0, by llama2.c's convention */
};

#define TOKENIZER_NONE_ID UINT32_MAX

typedef struct Merge {
	uint32_t left, right, result; /* ids */
} Merge;

/* A token that is matched in the text before anything else. */
typedef struct SpecialToken {
	Bytes text;
	uint32_t id;
	uint32_t level; /* 0, 1, ..: found after those of the levels before */
	bool always;	/* else only where special tokens are parsed */
} SpecialToken;

/* A token that is one character: any byte and up to three UTF-8 continuation bytes. */
typedef struct Character {
	uint32_t key; /* its bytes from the top of the word */
	uint32_t id;
} Character;

typedef struct TokenizerTables {
	const Tokenizer *tokenizer;
	const Bytes *decoded; /* [n_tokens] bytes of each token, none where it gives no text */
	uint32_t longest;     /* of decoded */
	uint32_t n_merges;
	const Merge *merges; /* in the order in which they are preferred */
	const uint32_t *tie; /* SCORED: [n_merges] first merge that is as good as this one */
	int hash_bits;
	const uint32_t *slots; /* [1 << hash_bits] merge by pair, TOKENIZER_NONE_ID: empty */
	uint32_t n_specials;
	const SpecialToken *specials; /* by level, longest first, then by id */
	uint32_t n_levels;
	uint32_t raw_levels;	   /* those that are found in text before it is normalized */
	uint32_t byte_symbol[256]; /* id or TOKENIZER_NONE_ID */
	/* BPE: */
	const SplitRule *steps[SPLIT_STEPS];
	uint32_t n_words;
	const uint32_t *words; /* tokens that pieces are but merges do not make, by their bytes */
	/* UNIGRAM: tokens by the bytes of their text, a space for U+2581. Nodes are level by level,
	 * those of a level by the bytes that lead there; children of node i are [child[i],
	 * child[i + 1]), ascending by the byte that leads to them. */
	uint32_t n_nodes;
	const uint32_t *trie_byte, *trie_child; /* [n_nodes], [n_nodes + 1] */
	const uint32_t *trie_token;		/* [n_nodes] id or TOKENIZER_NONE_ID */
	double unknown_score;
	/* SCORED, SENTENCEPIECE: */
	uint32_t n_characters;
	const Character *characters; /* by key */
	uint32_t space;		     /* id of a space or TOKENIZER_NONE_ID */
} TokenizerTables;

/*
 * Builds the tables of a tokenizer that is not NONE. Everything is owned by `a` or by t. Refuses
 * (E_TOKENIZER at t->loc, false): no or more than 2^31 tokens, tokens that are empty, longer than
 * TOKENIZER_LONGEST or equal, unknown types, ids out of range, symbols that stand for no byte,
 * merges that are malformed, equal or name something that is no token, scores that are NaN,
 * vocabularies of characters without byte tokens or a needed space, of UNIGRAM without an unknown
 * token or of 2^32 bytes, tokens to be found in NFC that are not. The pre-tokenizer's expressions
 * must be of the subset.
 */
bool tokenizer_tables(Arena *a, const Tokenizer *t, Diag *d, TokenizerTables *out);

/* Of TOKENIZER_UNIGRAM, for tokenizer_tables: the trie and the score of unknown text. */
void tokenizer_unigram(Arena *a, const Tokenizer *t, Diag *d, TokenizerTables *out);
/* A token's text with a space for U+2581. */
Bytes tokenizer_spaced(Arena *a, Bytes text);

/*
 * Appends the whole text of NAME_tokenizer.c, which implements templates/tokenizer.h: includes,
 * constants, tables, templates/tokenizer.c, the files of its kind, tokenizer_nfc.c,
 * tokenizer_spaced.c or tokenizer_raw.c, tokenizer_chat.c; for TOKENIZER_NONE constants and
 * tokenizer_none.c. `name` names the artefact's files, `symbol` is the prefix of its C symbols. The
 * text depends on nothing else. Appends nothing and returns false where the tables are refused.
 */
bool tokenizer_emit(Text *out, const Tokenizer *t, Diag *d, const char *name, const char *symbol);
/* NAME_tokenizer.h. */
void tokenizer_emit_header(Text *out, const char *name, const char *symbol);

/*
 * The ids of n bytes of text, without a BOS: control tokens are plain text. The tokenizer's C is
 * compiled by `cc` and run; where that fails the program ends (fatal_environment). null after
 * diagnostics about the vocabulary. *count: how many.
 */
int32_t *tokenizer_run(Arena *run, Diag *d, const Tokenizer *t, const char *cc, const uint8_t *text,
		       size_t n, size_t *count);

#endif
