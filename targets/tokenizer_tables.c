/* A vocabulary as the file has it, checked, into the tables that the emitted tokenizer reads. */
#include "targets/tokenizer.h"
#include "targets/tokenizer_nfc.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* U+2581, which stands for a space in vocabularies of SentencePiece. */
static const char SPACE_TEXT[] = "\xE2\x96\x81";

/* Tokens by their text. */
typedef struct Vocabulary {
	Arena *arena;
	const Tokenizer *t;
	Diag *d;
	int errors; /* of d when we began */
	uint32_t mask;
	uint32_t *slots; /* [mask + 1] id or TOKENIZER_NONE_ID */
} Vocabulary;

static bool
bytes_equal(Bytes a, Bytes b)
{
	return a.size == b.size && memcmp(a.data, b.data, a.size) == 0;
}

/* A token's text for a message: at most 40 bytes, what is not printable ASCII as \xNN. */
static const char *
quoted(const Vocabulary *v, Bytes b)
{
	Text *text = text_new(v->arena);

	text_add(text, "\"", 1);
	for (uint32_t i = 0; i < b.size && i < 40; i++) {
		unsigned char c = (unsigned char)b.data[i];
		if (c >= 0x20 && c < 0x7F && c != '"' && c != '\\')
			text_add(text, b.data + i, 1);
		else
			text_printf(text, "\\x%02x", c);
	}
	text_printf(text, b.size > 40 ? "...\"" : "\"");
	return text->text;
}

static bool
refused(const Vocabulary *v)
{
	return diag_errors(v->d) > v->errors;
}

static uint32_t *
vocabulary_slot(const Vocabulary *v, Bytes text)
{
	uint32_t hash = 2166136261u;

	for (uint32_t i = 0; i < text.size; i++)
		hash = (hash ^ (unsigned char)text.data[i]) * 16777619u;
	for (uint32_t at = (hash ^ hash >> 15) & v->mask;; at = (at + 1) & v->mask) {
		uint32_t id = v->slots[at];
		if (id == TOKENIZER_NONE_ID || bytes_equal(v->t->tokens[id], text))
			return &v->slots[at];
	}
}

static uint32_t
vocabulary_find(const Vocabulary *v, Bytes text)
{
	return *vocabulary_slot(v, text);
}

static void
vocabulary_fill(Vocabulary *v)
{
	const Tokenizer *t = v->t;
	uint64_t n = 16;

	while (n < 2 * (uint64_t)t->n_tokens)
		n *= 2;
	v->mask = (uint32_t)(n - 1);
	v->slots = ARENA_ARRAY(v->arena, uint32_t, n);
	memset(v->slots, 0xFF, n * sizeof *v->slots);
	for (uint32_t id = 0; id < t->n_tokens; id++) {
		Bytes text = t->tokens[id];
		uint32_t *slot;
		if (text.size == 0 || !text.data) {
			diag_error(v->d, t->loc, E_TOKENIZER, "token %u is empty", id);
			continue;
		}
		if (text.size > TOKENIZER_LONGEST) {
			diag_error(v->d, t->loc, E_TOKENIZER, "token %u has %u bytes, more than %d",
				   id, text.size, TOKENIZER_LONGEST);
			continue;
		}
		slot = vocabulary_slot(v, text);
		if (*slot != TOKENIZER_NONE_ID)
			diag_error(v->d, t->loc, E_TOKENIZER, "tokens %u and %u are both %s", *slot,
				   id, quoted(v, text));
		else
			*slot = id;
	}
}

static TokenType
token_type(const Tokenizer *t, uint32_t id)
{
	if (t->types)
		return (TokenType)t->types[id];
	/* llama2.c files have no types, but the first ids mean what SentencePiece gives them. */
	if (t->kind == TOKENIZER_SCORED) {
		if ((int64_t)id == t->unk)
			return TOKEN_UNKNOWN;
		if ((int64_t)id == t->bos || (int64_t)id == t->eos)
			return TOKEN_CONTROL;
	}
	return TOKEN_NORMAL;
}

static void
check_ids(const Vocabulary *v)
{
	const Tokenizer *t = v->t;
	const struct {
		const char *name;
		int id;
	} ids[] = {{"BOS", t->bos}, {"EOS", t->eos}, {"unknown", t->unk}, {"padding", t->pad}};

	for (size_t i = 0; i < sizeof ids / sizeof ids[0]; i++)
		if (ids[i].id < -1 || (int64_t)ids[i].id >= t->n_tokens)
			diag_error(v->d, t->loc, E_TOKENIZER,
				   "the %s token has id %d, but there are %u tokens", ids[i].name,
				   ids[i].id, t->n_tokens);
	if (t->add_bos && t->bos < 0)
		diag_error(v->d, t->loc, E_TOKENIZER,
			   "the model wants BOS in front of a text, but has no BOS token");
	for (uint32_t id = 0; t->types && id < t->n_tokens; id++) {
		unsigned type = t->types[id];
		if (type < TOKEN_NORMAL || type > TOKEN_BYTE)
			diag_error(v->d, t->loc, E_TOKENIZER, "token %u has the unknown type %u",
				   id, type);
		else if (type == TOKEN_BYTE && t->kind == TOKENIZER_BPE)
			diag_error(v->d, t->loc, E_TOKENIZER,
				   "token %u is a byte token, in a byte-level vocabulary", id);
	}
}

/* ---- bytes and their symbols in byte-level vocabularies ------------------------------------ */

/* GPT-2's symbol of a byte: the bytes that are printable in Latin-1 stand for themselves, the
 * others have the code points from U+0100, in order. */
static void
byte_symbols(uint32_t symbol[256])
{
	uint32_t next = 0x100;

	for (uint32_t b = 0; b < 256; b++) {
		bool itself = (b >= 0x21 && b <= 0x7E) || (b >= 0xA1 && b <= 0xAC) || b >= 0xAE;
		symbol[b] = itself ? b : next++;
	}
}

/* Code points below U+0800, the only ones that symbols have; returns the bytes read, 0: none. */
static uint32_t
read_symbol(Bytes text, uint32_t at, uint32_t *code)
{
	unsigned char first = (unsigned char)text.data[at], second;

	if (first < 0x80) {
		*code = first;
		return 1;
	}
	if (first < 0xC2 || first > 0xDF || at + 1 == text.size)
		return 0;
	second = (unsigned char)text.data[at + 1];
	if ((second & 0xC0) != 0x80)
		return 0;
	*code = (uint32_t)(first & 0x1F) << 6 | (second & 0x3F);
	return 2;
}

/* The bytes that a normal token of a byte-level vocabulary stands for. */
static Bytes
bytes_of_symbols(const Vocabulary *v, uint32_t id, const int16_t byte_of[0x800])
{
	Bytes text = v->t->tokens[id];
	char *out = arena_alloc(v->arena, text.size);
	uint32_t n = 0;

	for (uint32_t at = 0, size; at < text.size; at += size) {
		uint32_t code = 0;
		size = read_symbol(text, at, &code);
		if (size == 0 || byte_of[code] < 0) {
			diag_error(v->d, v->t->loc, E_TOKENIZER,
				   "token %u, %s, is no byte-level text at byte %u", id,
				   quoted(v, text), at);
			break;
		}
		out[n++] = (char)byte_of[code];
	}
	return (Bytes){out, n};
}

static void
decode_bpe(const Vocabulary *v, TokenizerTables *out)
{
	const Tokenizer *t = v->t;
	Bytes *decoded = ARENA_ARRAY(v->arena, Bytes, t->n_tokens);
	int16_t byte_of[0x800];
	uint32_t symbol[256];

	memset(byte_of, 0xFF, sizeof byte_of);
	byte_symbols(symbol);
	for (uint32_t b = 0; b < 256; b++) {
		uint32_t c = symbol[b];
		char text[2] = {(char)c, 0};
		uint32_t size = 1;
		if (c >= 0x80) {
			text[0] = (char)(0xC0 | c >> 6);
			text[1] = (char)(0x80 | (c & 0x3F));
			size = 2;
		}
		byte_of[c] = (int16_t)b;
		out->byte_symbol[b] = vocabulary_find(v, (Bytes){text, size});
	}
	for (uint32_t id = 0; id < t->n_tokens; id++) {
		TokenType type = token_type(t, id);
		if (type == TOKEN_NORMAL)
			decoded[id] = bytes_of_symbols(v, id, byte_of);
		else if (type == TOKEN_USER)
			decoded[id] = t->tokens[id];
	}
	out->decoded = decoded;
}

/* ---- merges ------------------------------------------------------------------------------- */

/* See merge_hash of templates/tokenizer.c. */
static uint32_t
merge_hash(Merge m, int bits)
{
	return (m.left * 0x9E3779B1u + m.right) * 0x85EBCA77u >> (32 - bits);
}

/* Fills the hash of pairs; equal pairs are reported. */
static void
hash_merges(const Vocabulary *v, TokenizerTables *out)
{
	uint32_t *slots, mask;

	out->hash_bits = 4;
	while (out->n_merges > (UINT64_C(3) << out->hash_bits) / 4)
		out->hash_bits++;
	mask = (UINT32_C(1) << out->hash_bits) - 1;
	slots = ARENA_ARRAY(v->arena, uint32_t, (size_t)mask + 1);
	memset(slots, 0xFF, ((size_t)mask + 1) * sizeof *slots);
	for (uint32_t m = 0; m < out->n_merges; m++) {
		Merge pair = out->merges[m];
		uint32_t at = merge_hash(pair, out->hash_bits);
		for (; slots[at] != TOKENIZER_NONE_ID; at = (at + 1) & mask) {
			Merge other = out->merges[slots[at]];
			if (other.left == pair.left && other.right == pair.right)
				break;
		}
		if (slots[at] != TOKENIZER_NONE_ID)
			diag_error(v->d, v->t->loc, E_TOKENIZER, "merges %u and %u are both %s",
				   slots[at], m, quoted(v, v->t->merges[m]));
		else
			slots[at] = m;
	}
	out->slots = slots;
}

static bool
read_merge(const Vocabulary *v, uint32_t index, Merge *merge)
{
	Bytes text = v->t->merges[index], part[3];
	const char *space = text.size > 2 ? memchr(text.data + 1, ' ', text.size - 2) : NULL;
	uint32_t *const ids[3] = {&merge->left, &merge->right, &merge->result};
	static const char *const what[3] = {"begins with", "ends with", "makes"};
	char *joined;

	if (!space || memchr(space + 1, ' ', (size_t)(text.data + text.size - space - 1))) {
		diag_error(v->d, v->t->loc, E_TOKENIZER,
			   "merge %u, %s, is not two tokens with a space between", index,
			   quoted(v, text));
		return false;
	}
	part[0] = (Bytes){text.data, (uint32_t)(space - text.data)};
	part[1] = (Bytes){space + 1, text.size - part[0].size - 1};
	joined = arena_alloc(v->arena, text.size);
	memcpy(joined, part[0].data, part[0].size);
	memcpy(joined + part[0].size, part[1].data, part[1].size);
	part[2] = (Bytes){joined, text.size - 1};
	for (int i = 0; i < 3; i++) {
		*ids[i] = vocabulary_find(v, part[i]);
		if (*ids[i] == TOKENIZER_NONE_ID) {
			diag_error(v->d, v->t->loc, E_TOKENIZER,
				   "merge %u, %s, %s %s, which is no token", index, quoted(v, text),
				   what[i], quoted(v, part[i]));
			return false;
		}
	}
	return true;
}

static void
merges_bpe(const Vocabulary *v, TokenizerTables *out)
{
	Merge *merges = ARENA_ARRAY(v->arena, Merge, v->t->n_merges);
	bool good = true;

	for (uint32_t m = 0; m < v->t->n_merges; m++)
		good &= read_merge(v, m, &merges[m]);
	out->merges = merges;
	out->n_merges = v->t->n_merges;
	if (good)
		hash_merges(v, out);
}

typedef struct ScoredMerge {
	Merge merge;
	float score;
} ScoredMerge;

/* Best first; the rest of the order only makes it one order. */
static int
scored_compare(const void *a, const void *b)
{
	const ScoredMerge *x = a, *y = b;

	if (x->score != y->score)
		return x->score > y->score ? -1 : 1;
	if (x->merge.result != y->merge.result)
		return x->merge.result < y->merge.result ? -1 : 1;
	return x->merge.left < y->merge.left ? -1 : x->merge.left > y->merge.left;
}

/* Every way to make a token of two; a score of -1e10 or less is never the best in llama2.c. */
static void
merges_scored(const Vocabulary *v, TokenizerTables *out)
{
	const Tokenizer *t = v->t;
	ScoredMerge *list = NULL;
	uint32_t n = 0;

	for (int pass = 0; pass < 2; pass++) {
		n = 0;
		for (uint32_t id = 0; id < t->n_tokens; id++) {
			Bytes text = t->tokens[id];
			for (uint32_t cut = 1; cut < text.size && t->scores[id] > -1e10f; cut++) {
				uint32_t left = vocabulary_find(v, (Bytes){text.data, cut});
				uint32_t right = vocabulary_find(
					v, (Bytes){text.data + cut, text.size - cut});
				if (left == TOKENIZER_NONE_ID || right == TOKENIZER_NONE_ID)
					continue;
				if (list)
					list[n] = (ScoredMerge){{left, right, id}, t->scores[id]};
				n++;
			}
		}
		if (!list)
			list = ARENA_ARRAY(v->arena, ScoredMerge, (size_t)n + 1);
	}
	qsort(list, n, sizeof *list, scored_compare);
	Merge *merges = ARENA_ARRAY(v->arena, Merge, n);
	uint32_t *tie = ARENA_ARRAY(v->arena, uint32_t, n);
	for (uint32_t m = 0; m < n; m++) {
		merges[m] = list[m].merge;
		tie[m] = m > 0 && list[m].score == list[m - 1].score ? tie[m - 1] : m;
	}
	out->merges = merges;
	out->n_merges = n;
	out->tie = tie;
	hash_merges(v, out);
}

/* ---- scored vocabularies ------------------------------------------------------------------- */

static void
check_scored(const Vocabulary *v, TokenizerTables *out)
{
	const Tokenizer *t = v->t;

	(void)out;
	INVARIANT(t->scores);
	for (uint32_t id = 0; id < t->n_tokens; id++)
		if (isnan(t->scores[id]))
			diag_error(v->d, t->loc, E_TOKENIZER, "token %u has no number for a score",
				   id);
	for (uint32_t b = 0; b < 256; b++) {
		uint32_t id = TOKENIZER_FIRST_BYTE + b;
		const char *name = arena_printf(v->arena, "<0x%02X>", b);
		if (id >= t->n_tokens || !bytes_equal(t->tokens[id], (Bytes){name, 6})) {
			diag_error(v->d, t->loc, E_TOKENIZER,
				   "token %u of a scored vocabulary must be the byte token \"%s\"",
				   id, name);
			return;
		}
	}
	if (t->add_space_prefix && vocabulary_find(v, (Bytes){" ", 1}) == TOKENIZER_NONE_ID)
		diag_error(v->d, t->loc, E_TOKENIZER,
			   "texts begin with a space, but no token is \" \"");
}

Bytes
tokenizer_spaced(Arena *a, Bytes text)
{
	char *out = arena_alloc(a, text.size);
	uint32_t n = 0;

	for (uint32_t i = 0; i < text.size; i++) {
		const bool space = text.size - i >= 3 && !memcmp(text.data + i, SPACE_TEXT, 3);
		out[n++] = space ? ' ' : text.data[i];
		i += space ? 2 : 0;
	}
	return (Bytes){out, n};
}

/* Every byte has a token <0xNN>, and the space one if a text may begin with it. */
static void
check_sentencepiece(const Vocabulary *v, TokenizerTables *out)
{
	const Tokenizer *t = v->t;

	for (uint32_t b = 0; b < 256; b++) {
		const char *name = arena_printf(v->arena, "<0x%02X>", b);
		out->byte_symbol[b] = vocabulary_find(v, (Bytes){name, 6});
		if (out->byte_symbol[b] != TOKENIZER_NONE_ID)
			continue;
		diag_error(v->d, t->loc, E_TOKENIZER, "no token is the byte token \"%s\"", name);
		return;
	}
	if (vocabulary_find(v, (Bytes){SPACE_TEXT, 3}) == TOKENIZER_NONE_ID)
		diag_error(v->d, t->loc, E_TOKENIZER, "no token is U+2581, the space");
}

/* What is unknown can be said; byte tokens are those of its bytes. */
static void
check_unigram(const Vocabulary *v, TokenizerTables *out)
{
	const Tokenizer *t = v->t;

	INVARIANT(t->log_probs);
	if (t->unk < 0 || isnan(t->log_probs[t->unk]))
		diag_error(v->d, t->loc, E_TOKENIZER,
			   "no token of the model is for text that is unknown");
	for (uint32_t b = 0; b < 256; b++) {
		const char *name = arena_printf(v->arena, "<0x%02X>", b);
		const uint32_t id = vocabulary_find(v, (Bytes){name, 6});
		const bool is_byte = id != TOKENIZER_NONE_ID && token_type(t, id) == TOKEN_BYTE;
		out->byte_symbol[b] = is_byte ? id : TOKENIZER_NONE_ID;
	}
}

/* Whether a special token is looked for in text that has its spaces already. */
static bool
has_spaces(const Tokenizer *t, uint32_t id)
{
	return t->spaces_first && t->special_levels && t->special_levels[id] > 0;
}

/* What a special token is looked for as. */
static Bytes
special_text(Arena *a, const Tokenizer *t, uint32_t id)
{
	const Bytes token = t->tokens[id];
	Text *text = text_new(a);

	if (!has_spaces(t, id))
		return token;
	if (t->add_space_prefix)
		text_printf(text, "%s", SPACE_TEXT);
	for (uint32_t i = 0; i < token.size; i++) {
		if (token.data[i] == ' ')
			text_printf(text, "%s", SPACE_TEXT);
		else
			text_add(text, token.data + i, 1);
	}
	return (Bytes){text->text, (uint32_t)text->size};
}

static void
decode_sentencepiece(const Vocabulary *v, TokenizerTables *out)
{
	const Tokenizer *t = v->t;
	Bytes *decoded = ARENA_ARRAY(v->arena, Bytes, t->n_tokens);
	char *bytes = arena_alloc(v->arena, 256);

	for (uint32_t id = 0; id < t->n_tokens; id++) {
		const TokenType type = token_type(t, id);
		if (type == TOKEN_NORMAL)
			decoded[id] = tokenizer_spaced(v->arena, t->tokens[id]);
		else if (type == TOKEN_USER && has_spaces(t, id))
			decoded[id] = tokenizer_spaced(v->arena, special_text(v->arena, t, id));
		else if (type == TOKEN_USER)
			decoded[id] = t->tokens[id];
	}
	for (uint32_t b = 0; b < 256; b++) {
		bytes[b] = (char)b;
		if (out->byte_symbol[b] != TOKENIZER_NONE_ID)
			decoded[out->byte_symbol[b]] = (Bytes){bytes + b, 1};
	}
	out->decoded = decoded;
}

static void
decode_scored(const Vocabulary *v, TokenizerTables *out)
{
	const Tokenizer *t = v->t;
	Bytes *decoded = ARENA_ARRAY(v->arena, Bytes, t->n_tokens);
	char *bytes = arena_alloc(v->arena, 256);

	for (uint32_t id = 0; id < t->n_tokens; id++) {
		TokenType type = token_type(t, id);
		if (type == TOKEN_NORMAL || type == TOKEN_USER || type == TOKEN_BYTE)
			decoded[id] = t->tokens[id];
	}
	for (uint32_t b = 0; b < 256; b++) {
		bytes[b] = (char)b;
		out->byte_symbol[b] = TOKENIZER_FIRST_BYTE + b;
		decoded[TOKENIZER_FIRST_BYTE + b] = (Bytes){bytes + b, 1};
	}
	out->decoded = decoded;
}

static int
character_compare(const void *a, const void *b)
{
	const Character *x = a, *y = b;

	return x->key < y->key ? -1 : x->key > y->key;
}

/* Tokens of one character; of SENTENCEPIECE no special ones, and a space is what U+2581 is. */
static void
list_characters(const Vocabulary *v, TokenizerTables *out)
{
	const bool pieces = v->t->kind == TOKENIZER_SENTENCEPIECE;
	Character *list = ARENA_ARRAY(v->arena, Character, (size_t)v->t->n_tokens + 1);
	uint32_t n = 0;

	for (uint32_t id = 0; id < v->t->n_tokens; id++) {
		Bytes text = v->t->tokens[id];
		if (pieces &&
		    (bytes_equal(text, (Bytes){" ", 1}) || token_type(v->t, id) == TOKEN_UNUSED))
			continue;
		uint32_t key = (uint32_t)(unsigned char)text.data[0] << 24, i = 1;
		for (; i < 4 && i < text.size && (text.data[i] & 0xC0) == 0x80; i++)
			key |= (uint32_t)(unsigned char)text.data[i] << (24 - 8 * i);
		if (i == text.size)
			list[n++] = (Character){key, id};
	}
	out->space = vocabulary_find(v, pieces ? (Bytes){SPACE_TEXT, 3} : (Bytes){" ", 1});
	if (pieces)
		list[n++] = (Character){(uint32_t)' ' << 24, out->space};
	qsort(list, n, sizeof *list, character_compare);
	out->characters = list;
	out->n_characters = n;
}

/* ---- special tokens ------------------------------------------------------------------------ */

static int
special_compare(const void *a, const void *b)
{
	const SpecialToken *x = a, *y = b;

	if (x->level != y->level)
		return x->level < y->level ? -1 : 1;
	if (x->text.size != y->text.size)
		return x->text.size > y->text.size ? -1 : 1;
	return x->id < y->id ? -1 : x->id > y->id;
}

/* Control and unknown tokens are parsed on demand, user-defined ones always. llama2.c has none. */
static void
collect_specials(const Vocabulary *v, TokenizerTables *out)
{
	const Tokenizer *t = v->t;
	SpecialToken *list = NULL;
	uint32_t n = 0;

	if (t->kind == TOKENIZER_SCORED)
		return;
	for (int pass = 0; pass < 2; pass++) {
		n = 0;
		for (uint32_t id = 0; id < t->n_tokens; id++) {
			TokenType type = token_type(t, id);
			if (type != TOKEN_CONTROL && type != TOKEN_UNKNOWN && type != TOKEN_USER)
				continue;
			const uint8_t level = t->special_levels ? t->special_levels[id] : 0;
			if (list)
				list[n] = (SpecialToken){special_text(v->arena, t, id), id, level,
							 type == TOKEN_USER};
			n++;
		}
		if (!list)
			list = ARENA_ARRAY(v->arena, SpecialToken, (size_t)n + 1);
	}
	qsort(list, n, sizeof *list, special_compare);
	for (uint32_t i = 0; i < n; i++) {
		const bool same =
			i > 0 && t->special_levels &&
			t->special_levels[list[i].id] == t->special_levels[list[i - 1].id];
		out->n_levels += !same;
		list[i].level = out->n_levels - 1;
		if (!(t->nfc || t->spaces_first) || !t->special_levels ||
		    t->special_levels[list[i].id] == 0)
			out->raw_levels = out->n_levels;
	}
	out->specials = list;
	out->n_specials = n;
}

/* Of normalized text, others would never be found. */
static bool
check_normal(const Vocabulary *v, const TokenizerTables *x)
{
	for (uint32_t i = 0; i < x->n_specials; i++) {
		const SpecialToken *s = &x->specials[i];
		if (s->level < x->raw_levels || tokenizer_is_nfc(v->arena, s->text))
			continue;
		diag_error(v->d, v->t->loc, E_TOKENIZER,
			   "token %u, %s, is looked for in NFC but may not be in it", s->id,
			   quoted(v, s->text));
		return false;
	}
	return true;
}

/* ---- pieces of byte-level vocabularies ------------------------------------------------------ */

enum { WORD_MERGED = 256 /* bytes of words that merges are tried on */ };

static uint32_t
merge_of(const TokenizerTables *x, uint32_t left, uint32_t right)
{
	const uint32_t mask = (UINT32_C(1) << x->hash_bits) - 1;
	uint32_t at = merge_hash((Merge){left, right, 0}, x->hash_bits);

	for (; x->slots[at] != TOKENIZER_NONE_ID; at = (at + 1) & mask) {
		const Merge *m = &x->merges[x->slots[at]];
		if (m->left == left && m->right == right)
			return x->slots[at];
	}
	return TOKENIZER_NONE_ID;
}

/* Whether merges make the token of its own bytes. */
static bool
is_merged(const TokenizerTables *x, uint32_t id)
{
	uint32_t symbol[WORD_MERGED], n = x->decoded[id].size;

	for (uint32_t i = 0; i < n; i++)
		symbol[i] = x->byte_symbol[(unsigned char)x->decoded[id].data[i]];
	for (;;) {
		uint32_t best = TOKENIZER_NONE_ID, at = 0;
		for (uint32_t i = 0; i + 1 < n; i++) {
			const uint32_t m = merge_of(x, symbol[i], symbol[i + 1]);
			if (m < best) {
				best = m;
				at = i;
			}
		}
		if (best == TOKENIZER_NONE_ID)
			return n == 1 && symbol[0] == id;
		symbol[at] = x->merges[best].result;
		memmove(symbol + at + 1, symbol + at + 2, (n - at - 2) * sizeof *symbol);
		n--;
	}
}

typedef struct Word {
	Bytes text;
	uint32_t id;
} Word;

static int
word_compare(const void *a, const void *b)
{
	const Word *x = a, *y = b;
	const uint32_t n = x->text.size < y->text.size ? x->text.size : y->text.size;
	const int order = memcmp(x->text.data, y->text.data, n);

	if (order)
		return order;
	return (x->text.size > y->text.size) - (x->text.size < y->text.size);
}

/* Words that would be cut by merges; of others a search finds nothing that merges do not. Long ones
 * are listed unseen. */
static void
list_words(const Vocabulary *v, TokenizerTables *out)
{
	const Tokenizer *t = v->t;
	Word *list = ARENA_ARRAY(v->arena, Word, t->n_tokens);
	uint32_t *ids = ARENA_ARRAY(v->arena, uint32_t, t->n_tokens);

	for (uint32_t id = 0; t->whole_words && id < t->n_tokens; id++)
		if (token_type(t, id) == TOKEN_NORMAL &&
		    (out->decoded[id].size > WORD_MERGED || !is_merged(out, id)))
			list[out->n_words++] = (Word){out->decoded[id], id};
	qsort(list, out->n_words, sizeof *list, word_compare);
	for (uint32_t i = 0; i < out->n_words; i++)
		ids[i] = list[i].id;
	out->words = ids;
}

static void
read_steps(const Vocabulary *v, TokenizerTables *out)
{
	const PreTokenizer *pre = v->t->pre;

	for (uint32_t i = 0; i < pre->n_steps; i++) {
		const char *why;
		out->steps[i] = split_parse(v->arena, pre->steps[i], &why);
		if (!out->steps[i])
			diag_error(v->d, v->t->loc, E_PRE_TOKENIZER,
				   "expression %u of the pre-tokenizer '%s' is not understood: %s",
				   i, pre->name, why);
	}
}

static void
pieces_bpe(const Vocabulary *v, TokenizerTables *out)
{
	list_words(v, out);
	read_steps(v, out);
}

static void
merges_sentencepiece(const Vocabulary *v, TokenizerTables *out)
{
	if (v->t->scores)
		merges_scored(v, out);
	else
		merges_bpe(v, out);
}

static void
trie_unigram(const Vocabulary *v, TokenizerTables *out)
{
	tokenizer_unigram(v->arena, v->t, v->d, out);
}

/* What makes the tables of each kind, in this order. */
static const struct {
	void (*check)(const Vocabulary *v, TokenizerTables *out);
	void (*decode)(const Vocabulary *v, TokenizerTables *out);
	void (*merges)(const Vocabulary *v, TokenizerTables *out);
	void (*symbols)(const Vocabulary *v, TokenizerTables *out);
} kinds[TOKENIZER_KINDS] = {
	[TOKENIZER_BPE] = {NULL, decode_bpe, merges_bpe, pieces_bpe},
	[TOKENIZER_SCORED] = {check_scored, decode_scored, merges_scored, list_characters},
	[TOKENIZER_SENTENCEPIECE] = {check_sentencepiece, decode_sentencepiece,
				     merges_sentencepiece, list_characters},
	[TOKENIZER_UNIGRAM] = {check_unigram, decode_sentencepiece, NULL, trie_unigram},
};

bool
tokenizer_tables(Arena *a, const Tokenizer *t, Diag *d, TokenizerTables *out)
{
	Vocabulary v = {.arena = a, .t = t, .d = d, .errors = diag_errors(d)};

	INVARIANT(t->kind != TOKENIZER_NONE && t->kind < TOKENIZER_KINDS);
	*out = (TokenizerTables){.tokenizer = t};
	if (t->n_tokens == 0 || t->n_tokens > INT32_MAX) {
		diag_error(d, t->loc, E_TOKENIZER, "a vocabulary of %u tokens", t->n_tokens);
		return false;
	}
	vocabulary_fill(&v);
	check_ids(&v);
	if (!refused(&v) && kinds[t->kind].check)
		kinds[t->kind].check(&v, out);
	if (refused(&v))
		return false;
	kinds[t->kind].decode(&v, out);
	if (kinds[t->kind].merges)
		kinds[t->kind].merges(&v, out);
	if (!refused(&v))
		kinds[t->kind].symbols(&v, out);
	collect_specials(&v, out);
	if (t->nfc && !check_normal(&v, out))
		return false;
	for (uint32_t id = 0; id < t->n_tokens; id++)
		if (out->decoded[id].size > out->longest)
			out->longest = out->decoded[id].size;
	return !refused(&v);
}
