/* The tokenizer of a Hugging Face folder: tokenizer.json, and tokenizer_config.json beside it. */
#include "hf_tokenizer.h"
#include "cursor.h"
#include "gen/chat/chat.h"
#include "tokens.h"

#include <math.h>
#include <string.h>

static const char tokenizer_name[] = "tokenizer.json", config_name[] = "tokenizer_config.json";
static const char chat_text_name[] = "chat_template.jinja", chat_json_name[] = "chat_template.json";

/* A vocabulary that is being filled. */
typedef struct Vocabulary {
	Bytes *tokens;
	uint8_t *types, *levels;
	double *log_probs; /* NaN: not set */
	const Json **said; /* where each token is; null: no token has this id */
	uint32_t n;	   /* highest id + 1 */
} Vocabulary;

static Bytes
bytes_of(const char *s)
{
	return (Bytes){s, (uint32_t)strlen(s)};
}

/* ---- tokens --------------------------------------------------------------------------------- */

/* A token at `at`, whose id is at `loc`, -1: none; false after diagnostics. */
static bool
set_token(const HfReader *r, Vocabulary *v, const char *text, int64_t id, Loc loc, const Json *at)
{
	if (id < 0 || id >= r->m->n_vocab) {
		diag_error(r->d, loc, E_VOCAB,
			   "token %s has no id below %u, the rows of the embedding",
			   bytes_quote(r->arena, bytes_of(text)), r->m->n_vocab);
		return false;
	}
	const uint32_t i = (uint32_t)id;
	if (!*text) {
		diag_error(r->d, at->loc, E_TOKENIZER, "token %u is empty", i);
		return false;
	}
	if (v->said[i] && !bytes_equal(v->tokens[i], text)) {
		diag_error(r->d, loc, E_TOKENIZER, "the tokens %s and %s both have the id %u",
			   bytes_quote(r->arena, v->tokens[i]),
			   bytes_quote(r->arena, bytes_of(text)), i);
		return false;
	}
	if (!v->said[i])
		v->types[i] = TOKEN_NORMAL;
	v->tokens[i] = bytes_of(text);
	v->said[i] = at;
	v->n = i + 1 > v->n ? i + 1 : v->n;
	return true;
}

static int64_t
id_of(const Json *v)
{
	return v && v->kind == JSON_NUMBER && v->integral ? v->integer : -1;
}

/* Token i of a unigram model, [text, score]. */
static bool
set_piece(const HfReader *r, Vocabulary *v, const Json *e, uint32_t i)
{
	const Json *score = e->kind == JSON_ARRAY && e->count == 2 ? e->first->next : NULL;
	if (!score || e->first->kind != JSON_STRING || score->kind != JSON_NUMBER) {
		diag_error(r->d, e->loc, E_TOKENIZER, "token %u is not a text and a score", i);
		return false;
	}
	if (!set_token(r, v, e->first->string, i, e->loc, e))
		return false;
	v->log_probs[i] = hf_score(score->string);
	if (isfinite(v->log_probs[i]))
		return true;
	diag_error(r->d, score->loc, E_TOKENIZER, "the score of token %u is infinite", i);
	return false;
}

static bool
read_pieces(const HfReader *r, Vocabulary *v, const Json *vocab)
{
	uint32_t i = 0;
	for (const Json *e = vocab->first; e; e = e->next)
		if (!set_piece(r, v, e, i++))
			return false;
	return true;
}

static bool
read_ids(const HfReader *r, Vocabulary *v, const Json *vocab)
{
	for (const Json *e = vocab->first; e; e = e->next)
		if (!set_token(r, v, e->key, id_of(e), e->loc, e))
			return false;
	return true;
}

static bool
read_added(const HfReader *r, Vocabulary *v, const Json *list)
{
	if (list && list->kind != JSON_ARRAY) {
		diag_error(r->d, list->loc, E_TOKENIZER, "'added_tokens' must be an array");
		return false;
	}
	for (const Json *e = list ? list->first : NULL; e; e = e->next) {
		const Json *content = json_get(e, "content"), *id = json_get(e, "id");
		bool special = false, normalized = false;
		if (e->kind != JSON_OBJECT || !content || content->kind != JSON_STRING) {
			diag_error(r->d, e->loc, E_TOKENIZER, "an added token has no content");
			return false;
		}
		if (!hf_token_keys(r, e, "added token") ||
		    !key_bool(r->d, e, "special", &special, E_TOKENIZER) ||
		    !key_bool(r->d, e, "normalized", &normalized, E_TOKENIZER) ||
		    !set_token(r, v, content->string, id_of(id), id ? id->loc : e->loc, e))
			return false;
		v->types[id->integer] = special ? TOKEN_CONTROL : TOKEN_USER;
		v->levels[id->integer] = normalized && !special;
	}
	return true;
}

/* Ids without gaps, texts that differ; ids behind the last are of no token, as embeddings are
 * padded. */
static bool
check_vocabulary(const HfReader *r, Vocabulary *v, TokenTable *table)
{
	for (uint32_t i = 0; i < v->n; i++)
		if (!v->said[i]) {
			diag_error(r->d, r->m->tokenizer.loc, E_VOCAB,
				   "no token has the id %u, but one has %u", i, v->n - 1);
			return false;
		}
	for (uint32_t i = v->n; i < r->m->n_vocab; i++) {
		v->tokens[i] = bytes_of(arena_printf(r->arena, "[PAD%u]", i));
		v->types[i] = TOKEN_UNUSED;
	}
	for (uint32_t i = 0; i < r->m->n_vocab; i++) {
		const uint32_t other = token_table_add(table, i);
		if (other == i)
			continue;
		diag_error(r->d, v->said[i] ? v->said[i]->loc : r->m->tokenizer.loc, E_TOKENIZER,
			   "the tokens %u and %u are both %s", other, i,
			   bytes_quote(r->arena, v->tokens[i]));
		return false;
	}
	return true;
}

static bool
read_tokens(const HfReader *r, const Json *root, const Json *model, TokenTable *table)
{
	const uint32_t n = r->m->n_vocab;
	const Json *vocab = json_get(model, "vocab");
	Tokenizer *t = &r->m->tokenizer;
	const bool unigram = t->kind == TOKENIZER_UNIGRAM;
	Vocabulary v = {.tokens = ARENA_ARRAY(r->arena, Bytes, n),
			.types = ARENA_ARRAY(r->arena, uint8_t, n),
			.levels = ARENA_ARRAY(r->arena, uint8_t, n),
			.log_probs = ARENA_ARRAY(r->arena, double, unigram ? n : 0),
			.said = ARENA_ARRAY(r->arena, const Json *, n)};
	if (!vocab || vocab->kind != (unigram ? JSON_ARRAY : JSON_OBJECT)) {
		diag_error(r->d, model->loc, E_TOKENIZER, "the model has no %s 'vocab'",
			   unigram ? "array" : "object");
		return false;
	}
	for (uint32_t i = 0; unigram && i < n; i++)
		v.log_probs[i] = NAN;
	if (!(unigram ? read_pieces(r, &v, vocab) : read_ids(r, &v, vocab)))
		return false;
	t->log_probs = unigram ? v.log_probs : NULL;
	t->tokens = v.tokens;
	t->types = v.types;
	t->special_levels = v.levels;
	t->n_tokens = n;
	*table = token_table_new(r->arena, v.tokens, n);
	return read_added(r, &v, key_get(root, "added_tokens")) && check_vocabulary(r, &v, table);
}

/* ---- merges --------------------------------------------------------------------------------- */

/* Both sides of a merge, "left right" or [left, right]; false: it is neither. */
static bool
merge_sides(const Json *e, Bytes sides[2])
{
	if (e->kind == JSON_ARRAY && e->count == 2 && e->first->kind == JSON_STRING &&
	    e->first->next->kind == JSON_STRING) {
		sides[0] = bytes_of(e->first->string);
		sides[1] = bytes_of(e->first->next->string);
	} else if (e->kind == JSON_STRING && strchr(e->string, ' ')) {
		const char *space = strchr(e->string, ' ');
		sides[0] = (Bytes){e->string, (uint32_t)(space - e->string)};
		sides[1] = bytes_of(space + 1);
	} else {
		return false;
	}
	for (int i = 0; i < 2; i++)
		if (!sides[i].size || memchr(sides[i].data, ' ', sides[i].size))
			return false;
	return true;
}

static bool
read_merge(const HfReader *r, const TokenTable *table, const Json *e, Bytes *merge)
{
	Bytes sides[2], joined;
	if (!merge_sides(e, sides)) {
		diag_error(r->d, e->loc, E_TOKENIZER, "a merge is not two tokens without spaces");
		return false;
	}
	const int left = (int)sides[0].size, right = (int)sides[1].size;
	*merge = bytes_of(
		arena_printf(r->arena, "%.*s %.*s", left, sides[0].data, right, sides[1].data));
	joined = bytes_of(
		arena_printf(r->arena, "%.*s%.*s", left, sides[0].data, right, sides[1].data));
	const Bytes named[3] = {sides[0], sides[1], joined};
	static const char *const what[3] = {"begins with", "ends with", "makes"};
	for (int i = 0; i < 3; i++)
		if (token_table_find(table, named[i]) == TOKEN_NONE) {
			diag_error(r->d, e->loc, E_TOKENIZER,
				   "the merge %s %s %s, which is no token",
				   bytes_quote(r->arena, *merge), what[i],
				   bytes_quote(r->arena, named[i]));
			return false;
		}
	return true;
}

static bool
read_merges(const HfReader *r, const Json *model, const TokenTable *table)
{
	const Json *list = json_get(model, "merges");
	Tokenizer *t = &r->m->tokenizer;
	if (!list || list->kind != JSON_ARRAY) {
		diag_error(r->d, model->loc, E_TOKENIZER, "the model has no array 'merges'");
		return false;
	}
	Bytes *merges = ARENA_ARRAY(r->arena, Bytes, list->count);
	for (const Json *e = list->first; e; e = e->next)
		if (!read_merge(r, table, e, &merges[t->n_merges++]))
			return false;
	t->merges = merges;
	return true;
}

/* Every byte has a symbol: of a text nothing is left out, nothing unknown. */
static bool
check_bytes(const HfReader *r, const TokenTable *table)
{
	uint32_t next = 0x100;
	for (uint32_t b = 0; b < 256; b++) {
		/* GPT-2's symbols: what Latin-1 prints for itself, the others from U+0100 on */
		const bool itself =
			(b >= 0x21 && b <= 0x7E) || (b >= 0xA1 && b <= 0xAC) || b >= 0xAE;
		const uint32_t c = itself ? b : next++;
		const char two[2] = {(char)(0xC0 | c >> 6), (char)(0x80 | (c & 0x3F))};
		const char one = (char)c;
		const Bytes text = c < 0x80 ? (Bytes){&one, 1} : (Bytes){two, 2};
		if (token_table_find(table, text) != TOKEN_NONE)
			continue;
		diag_error(r->d, r->m->tokenizer.loc, E_TOKENIZER,
			   "no token is %s, the symbol of byte %u", bytes_quote(r->arena, text), b);
		return false;
	}
	return true;
}

static void
mark_bytes(const HfReader *r, const TokenTable *table)
{
	uint8_t *types = (uint8_t *)r->m->tokenizer.types;
	for (uint32_t b = 0; b < 256; b++) {
		const uint32_t id =
			token_table_find(table, bytes_of(arena_printf(r->arena, "<0x%02X>", b)));
		if (id != TOKEN_NONE)
			types[id] = TOKEN_BYTE;
	}
}

/* ---- tokenizer_config.json ------------------------------------------------------------------- */

/* The id of a token that the configuration names, as a text or as an object with its content. */
static bool
named_token(const HfReader *r, const Json *config, const char *key, const TokenTable *table,
	    int *id)
{
	const Json *v = key_get(config, key);
	const Json *text = v && v->kind == JSON_OBJECT ? json_get(v, "content") : v;
	if (!v)
		return true;
	const uint32_t found = text && text->kind == JSON_STRING
				       ? token_table_find(table, bytes_of(text->string))
				       : TOKEN_NONE;
	if (found == TOKEN_NONE) {
		diag_error(r->d, v->loc, E_TOKENIZER, "'%s' is %s, which is no token", key,
			   json_show(r->arena, text ? text : v));
		return false;
	}
	*id = (int)found;
	return true;
}

/* Tokens that only the configuration would add. */
static bool
check_decoder(const HfReader *r, const Json *config, const TokenTable *table)
{
	const Json *list = key_get(config, "added_tokens_decoder");
	for (const Json *e = list ? list->first : NULL; e; e = e->next) {
		const Json *content = json_get(e, "content");
		const uint32_t id = content && content->kind == JSON_STRING
					    ? token_table_find(table, bytes_of(content->string))
					    : TOKEN_NONE;
		if (e->key && id != TOKEN_NONE &&
		    !strcmp(e->key, arena_printf(r->arena, "%u", id)) &&
		    r->m->tokenizer.types[id] != TOKEN_NORMAL)
			continue;
		diag_error(r->d, e->loc, E_TOKENIZER,
			   "tokenizer.json does not have this added token");
		return false;
	}
	return true;
}

/* transformers puts BOS where add_bos_token says, in tokenizers of Llama's class. */
static bool
override_bos(const HfReader *r, const Json *config, Tokenizer *t)
{
	const char *class = "";
	bool add_bos = t->add_bos, add_eos = false;
	if (!key_text(r->d, config, "tokenizer_class", &class, E_TOKENIZER) ||
	    !key_bool(r->d, config, "add_bos_token", &add_bos, E_TOKENIZER) ||
	    !key_bool(r->d, config, "add_eos_token", &add_eos, E_TOKENIZER))
		return false;
	const Json *eos = json_get(config, "add_eos_token");
	if (add_eos) {
		diag_error(r->d, eos->loc, E_TOKENIZER, "EOS behind every text is not understood");
		return false;
	}
	if (strstr(class, "LlamaTokenizer"))
		t->add_bos = add_bos;
	if (t->add_bos && t->bos < 0) {
		diag_error(r->d, config->loc, E_TOKENIZER,
			   "texts begin with BOS, but there is no BOS token");
		return false;
	}
	return true;
}

/* Keys that change how text is cut; of the others most are of transformers alone. */
static bool
check_config(const HfReader *r, const Json *config)
{
	static const char *const keys[] = {"split_special_tokens", "add_prefix_space"};
	for (int i = 0; i < 2; i++) {
		bool flag = false;
		if (!key_bool(r->d, config, keys[i], &flag, E_TOKENIZER))
			return false;
		/* SentencePiece's prefix is in tokenizer.json */
		if (!flag || (i == 1 && r->m->tokenizer.kind != TOKENIZER_BPE))
			continue;
		diag_error(r->d, json_get(config, keys[i])->loc, E_TOKENIZER,
			   "'%s' is not understood", keys[i]);
		return false;
	}
	return true;
}

static bool
read_config(HfReader *r, const TokenTable *table, const Json **root)
{
	Tokenizer *t = &r->m->tokenizer;
	int unk = t->unk; /* of a unigram model it is the model's */
	if (!hf_has(r, config_name))
		return true;
	const Json *config = *root = hf_open_json(r, config_name);
	return config && check_config(r, config) &&
	       named_token(r, config, "bos_token", table, &t->bos) &&
	       named_token(r, config, "eos_token", table, &t->eos) &&
	       named_token(r, config, "unk_token", table,
			   t->kind == TOKENIZER_UNIGRAM ? &unk : &t->unk) &&
	       named_token(r, config, "pad_token", table, &t->pad) &&
	       check_decoder(r, config, table) && override_bos(r, config, t);
}

/* ---- chat template --------------------------------------------------------------------------- */

/* Of several templates, which have names, the one called "default". */
static const Json *
default_template(const Json *v)
{
	if (!v || v->kind != JSON_ARRAY)
		return v;
	for (const Json *e = v->first; e; e = e->next) {
		const Json *name = json_get(e, "name");
		if (name && name->kind == JSON_STRING && !strcmp(name->string, "default"))
			return json_get(e, "template");
	}
	return v;
}

/* transformers takes a file's before tokenizer_config.json's. */
static bool
read_chat(HfReader *r, const Json *config)
{
	Tokenizer *t = &r->m->tokenizer;
	if (hf_has(r, chat_text_name)) {
		const char *error;
		const ModelFile *f = hf_open(r, chat_text_name, true, &error);
		if (!f || f->bytes > UINT32_MAX) {
			diag_error(r->d, t->loc, E_FILE, "cannot read %s: %s", chat_text_name,
				   f ? "it is too long" : error);
			return false;
		}
		const Bytes text = {(const char *)f->data, (uint32_t)f->bytes};
		t->chat = chat_read(r->arena, text, t, -1);
		return true;
	}
	if (hf_has(r, chat_json_name) && !(config = hf_open_json(r, chat_json_name)))
		return false;
	const Json *v = default_template(key_get(config, "chat_template"));
	if (v && v->kind == JSON_STRING)
		t->chat = chat_read(r->arena, bytes_of(v->string), t, -1);
	else if (v)
		t->chat = chat_refused(r->arena, "it is neither a text nor has one by default");
	return true;
}

/* config.json's, where nothing else says so: a number, or the first of several. */
static void
fall_back_eos(const HfReader *r)
{
	const Json *v = key_get(r->config, "eos_token_id");
	v = v && v->kind == JSON_ARRAY ? v->first : v;
	if (r->m->tokenizer.eos < 0 && v && v->kind == JSON_NUMBER && v->integral &&
	    v->integer >= 0 && v->integer < r->m->n_vocab)
		r->m->tokenizer.eos = (int)v->integer;
}

/* ---- all of it ------------------------------------------------------------------------------- */

static bool
read_bpe(const HfReader *r, const Json *root, const Json *model, TokenTable *table)
{
	Tokenizer *t = &r->m->tokenizer;
	bool byte_fallback = false;
	if (!key_bool(r->d, model, "byte_fallback", &byte_fallback, E_TOKENIZER) ||
	    !key_bool(r->d, model, "ignore_merges", &t->whole_words, E_TOKENIZER))
		return false;
	t->kind = byte_fallback ? TOKENIZER_SENTENCEPIECE : TOKENIZER_BPE;
	if (byte_fallback && t->whole_words) {
		diag_error(r->d, model->loc, E_TOKENIZER,
			   "ignore_merges beside byte_fallback is not understood");
		return false;
	}
	if (!read_tokens(r, root, model, table) || !read_merges(r, model, table))
		return false;
	if (byte_fallback)
		mark_bytes(r, table);
	return byte_fallback || check_bytes(r, table);
}

static bool
read_unigram(const HfReader *r, const Json *root, const Json *model, TokenTable *table)
{
	Tokenizer *t = &r->m->tokenizer;
	const Json *unk = json_get(model, "unk_id");
	bool byte_fallback = false;
	t->kind = TOKENIZER_UNIGRAM;
	if (!key_bool(r->d, model, "byte_fallback", &byte_fallback, E_TOKENIZER) ||
	    !read_tokens(r, root, model, table))
		return false;
	if (id_of(unk) < 0 || id_of(unk) >= json_get(model, "vocab")->count) {
		diag_error(r->d, unk ? unk->loc : model->loc, E_TOKENIZER,
			   "'unk_id' is none of the model's tokens");
		return false;
	}
	t->unk = (int)id_of(unk);
	if (byte_fallback)
		mark_bytes(r, table);
	return true;
}

static bool
read_model(const HfReader *r, const Json *root, TokenTable *table)
{
	static const struct {
		const char *name;
		bool (*read)(const HfReader *, const Json *, const Json *, TokenTable *);
	} models[] = {{"BPE", read_bpe}, {"Unigram", read_unigram}};
	const Json *model = key_get(root, "model");
	const char *type = model && !*hf_type(model) ? models[0].name : hf_type(model);
	for (size_t i = 0; i < sizeof models / sizeof *models; i++)
		if (model && model->kind == JSON_OBJECT && !strcmp(type, models[i].name))
			return hf_token_keys(r, model, type) &&
			       models[i].read(r, root, model, table);
	diag_error(r->d, model ? model->loc : root->loc, E_PRE_TOKENIZER,
		   "unknown tokenizer model %s", model ? hf_type(model) : "");
	diag_hint(r->d, "Lathe reads BPE and Unigram");
	return false;
}

bool
hf_tokenizer(HfReader *r)
{
	static const char *const others[] = {"tokenizer.model", "vocab.json", "tokenizer.tiktoken"};
	Tokenizer *t = &r->m->tokenizer;
	TokenTable table;
	const Json *config = NULL;
	t->bos = t->eos = t->unk = t->pad = -1;
	t->loc = r->m->loc;
	for (int i = 0; !hf_has(r, tokenizer_name); i++) {
		if (i == sizeof others / sizeof *others)
			return true;
		if (!hf_has(r, others[i]))
			continue;
		diag_error(r->d, t->loc, E_TOKENIZER, "the folder has %s, but no %s", others[i],
			   tokenizer_name);
		return false;
	}
	const Json *root = hf_open_json(r, tokenizer_name);
	if (!root)
		return false;
	t->loc = root->loc;
	if (!hf_token_keys(r, root, tokenizer_name) || !read_model(r, root, &table) ||
	    !hf_normalizer(r, root, t) || !hf_pre_tokenizer(r, root, t) ||
	    !hf_post_processor(r, root, t) || !read_config(r, &table, &config))
		return false;
	fall_back_eos(r);
	return read_chat(r, config);
}
