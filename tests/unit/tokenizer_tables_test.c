/* Vocabularies that tokenizer_tables refuses, each with its exact message; and what it builds. */
#define _POSIX_C_SOURCE 200809L
#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "targets/tokenizer.h"

enum { MAX_TOKENS = 300, BYTES = TOKENIZER_FIRST_BYTE };

/* A small vocabulary that is right, to be spoilt by each case. */
typedef struct Vocabulary {
	Arena *arena;
	Tokenizer t;
	Bytes tokens[MAX_TOKENS], merges[MAX_TOKENS];
	uint8_t types[MAX_TOKENS];
	float scores[MAX_TOKENS];
	double log_probs[MAX_TOKENS];
} Vocabulary;

static Bytes
bytes(const char *text)
{
	return (Bytes){text, (uint32_t)strlen(text)};
}

static void
add(Vocabulary *v, const char *text, TokenType type)
{
	uint32_t id = v->t.n_tokens++;

	v->tokens[id] = bytes(text);
	v->types[id] = (uint8_t)type;
}

static Vocabulary *
small(Arena *a, TokenizerKind kind)
{
	static const char *const words[] = {"a", "b", "c", "\xC4\xA0", "ab", "abc", "bc"};
	static const char *const merges[] = {"b c", "a b", "ab c", "a bc"};
	Vocabulary *v = ARENA_NEW(a, Vocabulary);

	v->arena = a;
	v->t = (Tokenizer){.kind = (uint8_t)kind,
			   .pre = &pre_tokenizers[PRE_SMOLLM],
			   .add_space_prefix = kind == TOKENIZER_SCORED,
			   .bos = 1,
			   .eos = 2,
			   .unk = 0,
			   .pad = -1,
			   .tokens = v->tokens,
			   .types = v->types,
			   .scores = v->scores,
			   .log_probs = v->log_probs,
			   .merges = v->merges};
	add(v, "<unk>", TOKEN_UNKNOWN);
	add(v, "<s>", TOKEN_CONTROL);
	add(v, "</s>", TOKEN_CONTROL);
	if (kind == TOKENIZER_SCORED) {
		for (unsigned b = 0; b < 256; b++)
			add(v, arena_printf(a, "<0x%02X>", b), TOKEN_BYTE);
		add(v, " ", TOKEN_NORMAL);
	}
	for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
		add(v, words[i], TOKEN_NORMAL);
	for (; kind == TOKENIZER_BPE && v->t.n_merges < 4; v->t.n_merges++)
		v->merges[v->t.n_merges] = bytes(merges[v->t.n_merges]);
	return v;
}

/* ---- refusals ------------------------------------------------------------------------------- */

static void
no_tokens(Vocabulary *v)
{
	v->t.n_tokens = 0;
}

static void
empty_token(Vocabulary *v)
{
	v->tokens[4].size = 0;
}

static void
hole(Vocabulary *v)
{
	v->tokens[5] = (Bytes){NULL, 0};
}

static void
huge_token(Vocabulary *v)
{
	char *text = arena_alloc(v->arena, 5000);

	memset(text, 'x', 4096);
	v->tokens[4] = (Bytes){text, 4096};
}

static void
equal_tokens(Vocabulary *v)
{
	v->tokens[9] = bytes("a");
}

static void
equal_unprintable(Vocabulary *v)
{
	v->tokens[9] = v->tokens[6];
}

static void
no_byte_text(Vocabulary *v)
{
	v->tokens[9] = bytes("a\xE2\x82\xAC");
}

static void
no_such_symbol(Vocabulary *v)
{
	v->tokens[9] = bytes("ab\xC5\x84");
}

static void
cut_symbol(Vocabulary *v)
{
	v->tokens[9] = bytes("ab\xC4");
}

static void
raw_space(Vocabulary *v)
{
	v->tokens[9] = bytes("a b");
}

static void
id_too_large(Vocabulary *v)
{
	v->t.bos = 10;
	v->t.pad = -2;
}

static void
no_bos_to_add(Vocabulary *v)
{
	v->t.bos = -1;
	v->t.add_bos = true;
}

static void
unknown_types(Vocabulary *v)
{
	v->types[3] = 0;
	v->types[4] = 7;
}

static void
byte_token_in_bpe(Vocabulary *v)
{
	v->types[3] = TOKEN_BYTE;
}

static void
one_word_merge(Vocabulary *v)
{
	v->merges[1] = bytes("ab");
}

static void
leading_space_merge(Vocabulary *v)
{
	v->merges[1] = bytes(" b");
}

static void
trailing_space_merge(Vocabulary *v)
{
	v->merges[1] = bytes("a ");
}

static void
three_word_merge(Vocabulary *v)
{
	v->merges[1] = bytes("a b c");
}

static void
empty_merge(Vocabulary *v)
{
	v->merges[0] = (Bytes){NULL, 0};
}

static void
absent_left(Vocabulary *v)
{
	v->merges[1] = bytes("x b");
}

static void
absent_right(Vocabulary *v)
{
	v->merges[1] = bytes("a x");
}

static void
absent_result(Vocabulary *v)
{
	v->merges[1] = bytes("c a");
}

static void
equal_merges(Vocabulary *v)
{
	v->merges[3] = bytes("a b");
}

static void
score_nan(Vocabulary *v)
{
	v->scores[260] = NAN;
}

static void
no_byte_tokens(Vocabulary *v)
{
	v->tokens[BYTES + 0x41] = bytes("<0x4G>");
}

static void
too_few_tokens(Vocabulary *v)
{
	v->t.n_tokens = 200;
}

static void
no_space_token(Vocabulary *v)
{
	v->tokens[259] = bytes("q");
}

static void
no_unknown(Vocabulary *v)
{
	v->t.unk = -1;
}

static void
added_unknown(Vocabulary *v)
{
	v->log_probs[v->t.unk] = NAN;
}

/* A token of the second level, which is looked for in normalized text. */
static void
add_normalized(Vocabulary *v, const char *text)
{
	static const uint8_t levels[MAX_TOKENS] = {[10] = 1};

	assert_int_equal(v->t.n_tokens, 10);
	v->t.nfc = true;
	v->t.special_levels = levels;
	add(v, text, TOKEN_USER);
}

static void
mark_in_nfc(Vocabulary *v)
{
	add_normalized(v, "xe\xCC\x81");
}

static void
singleton_in_nfc(Vocabulary *v)
{
	add_normalized(v, "\xE2\x84\xAB");
}

static void
cut_in_nfc(Vocabulary *v)
{
	add_normalized(v, "x\xE2\x84");
}

static const struct {
	TokenizerKind kind;
	void (*spoil)(Vocabulary *v);
	const char *message;
} cases[] = {
	{TOKENIZER_BPE, mark_in_nfc,
	 "token 10, \"xe\\xcc\\x81\", is looked for in NFC but may not be in it"},
	{TOKENIZER_BPE, singleton_in_nfc,
	 "token 10, \"\\xe2\\x84\\xab\", is looked for in NFC but may not be in it"},
	{TOKENIZER_BPE, cut_in_nfc,
	 "token 10, \"x\\xe2\\x84\", is looked for in NFC but may not be in it"},
	{TOKENIZER_BPE, no_tokens, "a vocabulary of 0 tokens"},
	{TOKENIZER_BPE, empty_token, "token 4 is empty"},
	{TOKENIZER_BPE, hole, "token 5 is empty"},
	{TOKENIZER_BPE, huge_token, "token 4 has 4096 bytes, more than 4095"},
	{TOKENIZER_BPE, equal_tokens, "tokens 3 and 9 are both \"a\""},
	{TOKENIZER_BPE, equal_unprintable, "tokens 6 and 9 are both \"\\xc4\\xa0\""},
	{TOKENIZER_BPE, no_byte_text,
	 "token 9, \"a\\xe2\\x82\\xac\", is no byte-level text at byte 1"},
	{TOKENIZER_BPE, no_such_symbol,
	 "token 9, \"ab\\xc5\\x84\", is no byte-level text at byte 2"},
	{TOKENIZER_BPE, cut_symbol, "token 9, \"ab\\xc4\", is no byte-level text at byte 2"},
	{TOKENIZER_BPE, raw_space, "token 9, \"a b\", is no byte-level text at byte 1"},
	{TOKENIZER_BPE, id_too_large, "the BOS token has id 10, but there are 10 tokens"},
	{TOKENIZER_BPE, id_too_large, "the padding token has id -2, but there are 10 tokens"},
	{TOKENIZER_BPE, no_bos_to_add,
	 "the model wants BOS in front of a text, but has no BOS token"},
	{TOKENIZER_BPE, unknown_types, "token 3 has the unknown type 0"},
	{TOKENIZER_BPE, unknown_types, "token 4 has the unknown type 7"},
	{TOKENIZER_BPE, byte_token_in_bpe, "token 3 is a byte token, in a byte-level vocabulary"},
	{TOKENIZER_BPE, one_word_merge, "merge 1, \"ab\", is not two tokens with a space between"},
	{TOKENIZER_BPE, leading_space_merge,
	 "merge 1, \" b\", is not two tokens with a space between"},
	{TOKENIZER_BPE, trailing_space_merge,
	 "merge 1, \"a \", is not two tokens with a space between"},
	{TOKENIZER_BPE, three_word_merge,
	 "merge 1, \"a b c\", is not two tokens with a space between"},
	{TOKENIZER_BPE, empty_merge, "merge 0, \"\", is not two tokens with a space between"},
	{TOKENIZER_BPE, absent_left, "merge 1, \"x b\", begins with \"x\", which is no token"},
	{TOKENIZER_BPE, absent_right, "merge 1, \"a x\", ends with \"x\", which is no token"},
	{TOKENIZER_BPE, absent_result, "merge 1, \"c a\", makes \"ca\", which is no token"},
	{TOKENIZER_BPE, equal_merges, "merges 1 and 3 are both \"a b\""},
	{TOKENIZER_SCORED, score_nan, "token 260 has no number for a score"},
	{TOKENIZER_SCORED, no_byte_tokens,
	 "token 68 of a scored vocabulary must be the byte token \"<0x41>\""},
	{TOKENIZER_SCORED, too_few_tokens,
	 "token 200 of a scored vocabulary must be the byte token \"<0xC5>\""},
	{TOKENIZER_SCORED, no_space_token, "texts begin with a space, but no token is \" \""},
	{TOKENIZER_UNIGRAM, no_unknown, "no token of the model is for text that is unknown"},
	{TOKENIZER_UNIGRAM, added_unknown, "no token of the model is for text that is unknown"},
	{TOKENIZER_UNIGRAM, equal_tokens, "tokens 3 and 9 are both \"a\""},
};

static void
refusals(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		Arena *a = arena_new();
		char *log = NULL;
		size_t size;
		FILE *f = open_memstream(&log, &size);
		Diag *d = diag_new(a, f);
		Vocabulary *v = small(a, cases[i].kind);
		TokenizerTables tables;
		Text *out = text_new(a);
		cases[i].spoil(v);
		assert_false(tokenizer_tables(a, &v->t, d, &tables));
		fflush(f);
		const char *message = arena_printf(a, "error: %s [E0150]\n", cases[i].message);
		if (!strstr(log, message))
			fail_msg("not '%s' but '%s'", message, log);
		assert_false(tokenizer_emit(out, &v->t, d, "x", "x"));
		assert_int_equal(out->size, 0);
		fclose(f);
		free(log);
		arena_free(a);
	}
}

/* ---- what is built -------------------------------------------------------------------------- */

static void
tables_of_bpe(void **state)
{
	static const Merge merges[] = {{4, 5, 9}, {3, 4, 7}, {7, 5, 8}, {3, 9, 8}};
	Arena *a = arena_new();
	Vocabulary *v = small(a, TOKENIZER_BPE);
	TokenizerTables tables;

	(void)state;
	assert_true(tokenizer_tables(a, &v->t, diag_new(a, stderr), &tables));
	assert_int_equal(tables.n_merges, 4);
	assert_memory_equal(tables.merges, merges, sizeof merges);
	assert_int_equal(tables.byte_symbol['a'], 3);
	assert_int_equal(tables.byte_symbol[' '], 6);
	assert_true(tables.byte_symbol['d'] == TOKENIZER_NONE_ID);
	assert_int_equal(tables.decoded[6].size, 1);
	assert_int_equal(tables.decoded[6].data[0], ' ');
	assert_int_equal(tables.decoded[1].size, 0);
	assert_int_equal(tables.longest, 3);
	/* Longest first, then by id. */
	assert_int_equal(tables.n_specials, 3);
	assert_int_equal(tables.specials[0].id, 0);
	assert_int_equal(tables.specials[1].id, 2);
	assert_int_equal(tables.specials[2].id, 1);
	arena_free(a);
}

static void
tables_of_scored(void **state)
{
	Arena *a = arena_new();
	Vocabulary *v = small(a, TOKENIZER_SCORED);
	TokenizerTables tables;

	(void)state;
	/* 260 a, 261 b, 262 c, 263 U+0120, 264 ab, 265 abc, 266 bc; scores 0 but: */
	v->scores[264] = 1;
	v->scores[265] = -0.0f;
	v->scores[266] = -FLT_MAX;
	assert_true(tokenizer_tables(a, &v->t, diag_new(a, stderr), &tables));
	assert_int_equal(tables.n_merges, 3);
	assert_int_equal(tables.merges[0].result, 264);
	assert_int_equal(tables.merges[1].left, 260);
	assert_int_equal(tables.merges[1].right, 266);
	assert_int_equal(tables.merges[2].left, 264);
	assert_int_equal(tables.tie[0], 0);
	assert_int_equal(tables.tie[1], 1);
	assert_int_equal(tables.tie[2], 1);
	assert_int_equal(tables.space, 259);
	assert_int_equal(tables.n_characters, 5);
	assert_int_equal(tables.characters[4].key, 0xC4A00000);
	assert_int_equal(tables.characters[4].id, 263);
	arena_free(a);
}

static void
tables_of_unigram(void **state)
{
	/* The root, its children a, b, c and U+0120's first byte, then ab, bc, U+0120, then abc. 9
	 * is only added, 10 has a space, 11 is U+2581, a text's space. */
	static const uint32_t byte[] = {0, ' ', 'a', 'b', 'c', 0xC4, 'b', 0xA0, 'c'};
	static const uint32_t child[] = {1, 6, 6, 7, 7, 7, 8, 9, 9, 9};
	static const uint32_t none = TOKENIZER_NONE_ID;
	const uint32_t token[] = {none, 11, 3, 4, 5, none, 7, 6, 8};
	Arena *a = arena_new();
	Vocabulary *v = small(a, TOKENIZER_UNIGRAM);
	TokenizerTables tables;

	(void)state;
	add(v, "a b", TOKEN_NORMAL);
	add(v, "\xE2\x96\x81", TOKEN_NORMAL);
	v->types[0] = TOKEN_CONTROL;
	v->log_probs[0] = -4;
	v->log_probs[7] = -3;
	v->log_probs[9] = NAN;
	assert_true(tokenizer_tables(a, &v->t, diag_new(a, stderr), &tables));
	assert_int_equal(tables.n_nodes, sizeof byte / sizeof *byte);
	assert_memory_equal(tables.trie_byte, byte, sizeof byte);
	assert_memory_equal(tables.trie_child, child, sizeof child);
	assert_memory_equal(tables.trie_token, token, sizeof token);
	assert_true(tables.unknown_score == -14);
	assert_true(tables.byte_symbol['a'] == none);
	assert_int_equal(tables.decoded[11].data[0], ' ');
	arena_free(a);
}

/* Special tokens of NFC: those of the first level in any form, of the second in NFC. */
static void
tables_of_nfc(void **state)
{
	Arena *a = arena_new();
	Diag *d = diag_new(a, stderr);
	Vocabulary *v = small(a, TOKENIZER_BPE);
	TokenizerTables tables;

	(void)state;
	add_normalized(v, "\xEF\xBD\x9C\xC3\xA9\xE2\x96\x81");
	add(v, "e\xCC\x81", TOKEN_CONTROL);
	assert_true(tokenizer_tables(a, &v->t, d, &tables));
	assert_int_equal(tables.n_levels, 2);
	assert_int_equal(tables.raw_levels, 1);
	v->t.nfc = false;
	assert_true(tokenizer_tables(a, &v->t, d, &tables));
	assert_int_equal(tables.raw_levels, 2);
	arena_free(a);
}

/* Any bytes and ids: refused with a message, or built without one. */
static void
mutants(void **state)
{
	uint64_t random = 1;
	int refused = 0;

	(void)state;
	for (int i = 0; i < 4000; i++) {
		Arena *a = arena_new();
		char *log = NULL;
		size_t size;
		FILE *f = open_memstream(&log, &size);
		Diag *d = diag_new(a, f);
		static const TokenizerKind kinds[] = {TOKENIZER_SCORED, TOKENIZER_BPE,
						      TOKENIZER_UNIGRAM};
		Vocabulary *v = small(a, kinds[i % 3]);
		TokenizerTables tables;
		for (int k = 0; k < i % 4; k++) {
			random = random * 6364136223846793005u + 1442695040888963407u;
			uint32_t r = (uint32_t)(random >> 32);
			Bytes *b =
				r % 4 ? &v->tokens[r / 4 % v->t.n_tokens] : &v->merges[r / 4 % 4];
			char *text = arena_strndup(a, b->data, b->size);
			if (b->size > 0)
				text[r / 64 % b->size] = (char)(r >> 24);
			b->data = text;
			if (r % 32 == 0)
				b->size = r / 32 % (b->size + 1);
			if (r % 16 == 1)
				v->types[r / 16 % v->t.n_tokens] = (uint8_t)(r >> 28);
		}
		bool good = tokenizer_tables(a, &v->t, d, &tables);
		assert_int_equal(good, diag_errors(d) == 0);
		refused += !good;
		fclose(f);
		free(log);
		arena_free(a);
	}
	print_message("%d of 4000 refused\n", refused);
	assert_true(refused > 1000 && refused < 3000);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(refusals),	    cmocka_unit_test(tables_of_bpe),
		cmocka_unit_test(tables_of_scored), cmocka_unit_test(tables_of_unigram),
		cmocka_unit_test(tables_of_nfc),    cmocka_unit_test(mutants),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
