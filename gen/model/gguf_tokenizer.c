/* The tokenizer of a GGUF file: its tables are checked for shape here, their meaning elsewhere. */
#include "gen/chat/chat.h"
#include "gguf_model.h"
#include "reader.h"
#include "stored.h"
#include "tokens.h"

#include <math.h>
#include <string.h>

static const struct PreRow {
	const char *name;
	PreTokenizerId pre;
	bool whole_words, add_bos;
} pre_rows[] = {
#define PRE_TOKENIZER(name, pre, whole_words, add_bos) {name, pre, whole_words, add_bos},
#include "pre_tokenizers.def"
};

enum { PRE_ROWS = sizeof pre_rows / sizeof pre_rows[0] };

static Loc
entry_loc(const Gguf *g, const GgufEntry *e)
{
	return cursor_loc(&g->cursor, e->at);
}

/* tokenizer.ggml.KEY; null where absent or not an array of `element`, the latter after a report. */
static const GgufEntry *
find_array(const Gguf *g, const char *key, uint32_t element)
{
	const GgufEntry *e = gguf_find(g, key);
	if (!e || (e->value.type == GGUF_ARRAY && e->value.element == element))
		return e;
	diag_error(g->d, entry_loc(g, e), E_TOKENIZER, "'%s' must be an array of %ss, not %s", key,
		   gguf_type_name(element), gguf_show(g, &e->value));
	return NULL;
}

static int
read_id(const Gguf *g, const char *key, uint32_t n_tokens)
{
	const GgufEntry *e = gguf_find(g, key);
	int64_t n;
	if (!e)
		return -1;
	if (gguf_integer(g, &e->value, &n) && n >= 0 && n < n_tokens)
		return (int)n;
	diag_error(g->d, entry_loc(g, e), E_TOKENIZER, "'%s' must be a token below %u, not %s", key,
		   n_tokens, gguf_show(g, &e->value));
	return -1;
}

static bool
read_flag(const Gguf *g, const char *key, bool otherwise)
{
	const GgufEntry *e = gguf_find(g, key);
	if (!e)
		return otherwise;
	if (e->value.type == GGUF_BOOL)
		return *gguf_bytes(g, &e->value) == 1;
	diag_error(g->d, entry_loc(g, e), E_TOKENIZER, "'%s' must be a bool, not %s", key,
		   gguf_show(g, &e->value));
	return false;
}

static bool
read_pre(const Gguf *g, Tokenizer *t)
{
	const GgufEntry *e = gguf_find(g, "tokenizer.ggml.pre");
	if (!e) {
		diag_error(g->d, t->loc, E_PRE_TOKENIZER,
			   "the metadata key 'tokenizer.ggml.pre' is missing");
		return false;
	}
	for (int i = 0; e->value.type == GGUF_STRING && i < PRE_ROWS; i++)
		if (bytes_equal(gguf_string(g, &e->value), pre_rows[i].name)) {
			t->pre = &pre_tokenizers[pre_rows[i].pre];
			t->whole_words = pre_rows[i].whole_words;
			t->add_bos = pre_rows[i].add_bos;
			return true;
		}
	diag_error(g->d, entry_loc(g, e), E_PRE_TOKENIZER, "unknown pre-tokenizer %s",
		   gguf_show(g, &e->value));
	Text *names = text_new(g->arena);
	for (int i = 0; i < PRE_ROWS; i++)
		text_printf(names, "%s%s", i ? ", " : "", pre_rows[i].name);
	diag_hint(g->d, "Lathe reads %s", names->text);
	return false;
}

/* Where string i of a table begins in the file. */
static Loc
string_loc(const Gguf *g, Bytes s)
{
	return cursor_loc(&g->cursor, (uint64_t)((const uint8_t *)s.data - g->cursor.data));
}

/* No two tokens are the same text. */
static void
check_duplicates(const Gguf *g, const Tokenizer *t)
{
	TokenTable table = token_table_new(g->arena, t->tokens, t->n_tokens);
	for (uint32_t i = 0; i < t->n_tokens; i++) {
		const uint32_t other = token_table_add(&table, i);
		if (other == i)
			continue;
		diag_error(g->d, string_loc(g, t->tokens[i]), E_TOKENIZER,
			   "the tokens %u and %u are both %s", other, i,
			   bytes_quote(g->arena, t->tokens[i]));
		return;
	}
}

/* The first bad string is enough: a table of a wrong kind has thousands. */
static void
check_tokens(const Gguf *g, const Tokenizer *t)
{
	for (uint32_t i = 0; i < t->n_tokens; i++) {
		Bytes s = t->tokens[i];
		if (s.size && utf8_valid(s))
			continue;
		diag_error(g->d, string_loc(g, s), E_TOKENIZER, "token %u is %s", i,
			   s.size ? "not UTF-8 text" : "empty");
		return;
	}
	check_duplicates(g, t);
}

static void
check_merges(const Gguf *g, const Tokenizer *t)
{
	for (uint32_t i = 0; i < t->n_merges; i++) {
		Bytes s = t->merges[i];
		const char *space = s.size ? memchr(s.data, ' ', s.size) : NULL;
		size_t left = space ? (size_t)(space - s.data) : 0;
		if (left > 0 && left + 1 < s.size && !memchr(space + 1, ' ', s.size - left - 1) &&
		    utf8_valid(s))
			continue;
		diag_error(g->d, string_loc(g, s), E_TOKENIZER,
			   "merge %u is not two symbols and a space between them: %s", i,
			   bytes_quote(g->arena, s));
		return;
	}
}

static void
read_types(const Gguf *g, Tokenizer *t)
{
	const GgufEntry *e = find_array(g, "tokenizer.ggml.token_type", GGUF_I32);
	if (!e)
		return;
	if (e->value.count != t->n_tokens) {
		diag_error(g->d, entry_loc(g, e), E_TOKENIZER,
			   "'tokenizer.ggml.token_type' has %llu entries for %u tokens",
			   (unsigned long long)e->value.count, t->n_tokens);
		return;
	}
	uint8_t *types = ARENA_ARRAY(g->arena, uint8_t, t->n_tokens);
	const uint8_t *p = gguf_bytes(g, &e->value);
	for (uint32_t i = 0; i < t->n_tokens; i++) {
		uint64_t type = little_endian(p + 4 * (size_t)i, 4);
		if (type < TOKEN_NORMAL || type > TOKEN_BYTE) {
			diag_error(g->d, cursor_loc(&g->cursor, e->value.at + 4 * (uint64_t)i),
				   E_TOKENIZER, "token %u has the unknown type %d", i,
				   (int)(uint32_t)type);
			return;
		}
		types[i] = (uint8_t)type;
	}
	t->types = types;
}

/* The array of a key, which must be there; null after diagnostics. */
static const GgufEntry *
need_array(const Gguf *g, const Tokenizer *t, const char *key, uint32_t element)
{
	const GgufEntry *e = find_array(g, key, element);
	if (!e && !gguf_find(g, key))
		diag_error(g->d, t->loc, E_TOKENIZER, "the metadata key '%s' is missing", key);
	return e;
}

/* What every kind has: tokens, their types, ids of special ones. */
static bool
read_common(const Gguf *g, const Model *m, Tokenizer *t)
{
	const int before = diag_errors(g->d);
	const GgufEntry *tokens = need_array(g, t, "tokenizer.ggml.tokens", GGUF_STRING);
	if (!tokens || !model_check_vocabulary(g->d, m, entry_loc(g, tokens), tokens->value.count))
		return false;
	t->n_tokens = (uint32_t)tokens->value.count;
	t->tokens = gguf_strings(g, &tokens->value);
	t->bos = read_id(g, "tokenizer.ggml.bos_token_id", t->n_tokens);
	t->eos = read_id(g, "tokenizer.ggml.eos_token_id", t->n_tokens);
	t->unk = read_id(g, "tokenizer.ggml.unknown_token_id", t->n_tokens);
	t->pad = read_id(g, "tokenizer.ggml.padding_token_id", t->n_tokens);
	t->add_bos = read_flag(g, "tokenizer.ggml.add_bos_token", t->add_bos);
	t->add_space_prefix = read_flag(g, "tokenizer.ggml.add_space_prefix", t->add_space_prefix);
	if (t->add_bos && t->bos < 0)
		diag_error(g->d, t->loc, E_TOKENIZER,
			   "'tokenizer.ggml.add_bos_token' is true, but "
			   "'tokenizer.ggml.bos_token_id' is missing");
	check_tokens(g, t);
	read_types(g, t);
	return diag_errors(g->d) == before;
}

static bool
read_bpe(const Gguf *g, const Model *m, Tokenizer *t)
{
	const int before = diag_errors(g->d);
	t->kind = TOKENIZER_BPE;
	if (!read_pre(g, t) || !read_common(g, m, t))
		return false;
	const GgufEntry *merges = need_array(g, t, "tokenizer.ggml.merges", GGUF_STRING);
	if (!merges)
		return false;
	if (merges->value.count > UINT32_MAX / 2) {
		diag_error(g->d, entry_loc(g, merges), E_OVERFLOW, "too many merges");
		return false;
	}
	t->n_merges = (uint32_t)merges->value.count;
	t->merges = gguf_strings(g, &merges->value);
	check_merges(g, t);
	return diag_errors(g->d) == before;
}

/* SentencePiece's BPE as llama.cpp keeps it: a score a token, merges of the best first. */
static bool
read_sentencepiece(const Gguf *g, const Model *m, Tokenizer *t)
{
	t->kind = TOKENIZER_SENTENCEPIECE;
	t->add_bos = true;
	t->add_space_prefix = PREFIX_ALWAYS;
	if (!read_common(g, m, t))
		return false;
	const GgufEntry *e = need_array(g, t, "tokenizer.ggml.scores", GGUF_F32);
	if (!e)
		return false;
	if (e->value.count != t->n_tokens) {
		diag_error(g->d, entry_loc(g, e), E_TOKENIZER,
			   "'tokenizer.ggml.scores' has %llu entries for %u tokens",
			   (unsigned long long)e->value.count, t->n_tokens);
		return false;
	}
	float *scores = ARENA_ARRAY(g->arena, float, t->n_tokens);
	stored_type(0)->dequantize(gguf_bytes(g, &e->value), (int)t->n_tokens, scores);
	for (uint32_t i = 0; i < t->n_tokens; i++)
		if (!isfinite(scores[i])) {
			diag_error(g->d, cursor_loc(&g->cursor, e->value.at + 4 * (uint64_t)i),
				   E_TOKENIZER, "the score of token %u is NaN or infinite", i);
			return false;
		}
	t->scores = scores;
	return true;
}

/* The form of conversations; a template that has none only loses the program's chat. */
static bool
read_chat(const Gguf *g, Tokenizer *t)
{
	const int before = diag_errors(g->d);
	const int eot = read_id(g, "tokenizer.ggml.eot_token_id", t->n_tokens);
	const GgufEntry *e = gguf_find(g, "tokenizer.chat_template");
	if (e && e->value.type == GGUF_STRING)
		t->chat = chat_read(g->arena, gguf_string(g, &e->value), t, eot);
	else if (e)
		diag_error(g->d, entry_loc(g, e), E_TOKENIZER,
			   "'tokenizer.chat_template' must be a string, not %s",
			   gguf_show(g, &e->value));
	return diag_errors(g->d) == before;
}

static const struct {
	const char *name;
	bool (*read)(const Gguf *g, const Model *m, Tokenizer *t);
} models[] = {{"gpt2", read_bpe}, {"llama", read_sentencepiece}};

bool
gguf_tokenizer(Gguf *g, Model *m)
{
	Tokenizer *t = &m->tokenizer;
	t->bos = t->eos = t->unk = t->pad = -1;
	t->loc = m->loc;
	const GgufEntry *e = gguf_find(g, "tokenizer.ggml.model");
	const GgufEntry *tokens = gguf_find(g, "tokenizer.ggml.tokens");
	if (!e && !tokens)
		return true;
	t->loc = entry_loc(g, e ? e : tokens);
	if (!e) {
		diag_error(g->d, t->loc, E_TOKENIZER,
			   "there are tokens, but no 'tokenizer.ggml.model'");
		return false;
	}
	for (size_t i = 0; e->value.type == GGUF_STRING && i < sizeof models / sizeof *models; i++)
		if (bytes_equal(gguf_string(g, &e->value), models[i].name))
			return models[i].read(g, m, t) && read_chat(g, t);
	diag_error(g->d, t->loc, E_PRE_TOKENIZER, "unknown tokenizer model %s",
		   gguf_show(g, &e->value));
	diag_hint(g->d, "Lathe reads gpt2 and llama");
	return false;
}
