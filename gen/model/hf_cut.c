/* How a tokenizer.json cuts text: its normalizer, pre-tokenizer and post-processor. */
#include "hf_tokenizer.h"

#include <string.h>

enum { PARTS_MAX = 16 };

#define KEY_ROWS "hf_tokenizer_keys.def"
#define KEY_READER HfReader
#define KEY_ID E_TOKENIZER
#include "key_rows.h"

bool
hf_token_keys(const HfReader *r, const Json *object, const char *name)
{
	return check_keys(r, object, name);
}

const char *
hf_type(const Json *object)
{
	const Json *type = json_get(object, "type");
	return type && type->kind == JSON_STRING ? type->string : "";
}

static bool
not_understood(const HfReader *r, const Json *v, const char *what)
{
	diag_error(r->d, v->loc, E_PRE_TOKENIZER, "a %s %s is not understood", what,
		   v->kind == JSON_OBJECT && *hf_type(v) ? hf_type(v) : json_show(r->arena, v));
	return false;
}

/* The parts of a Sequence, or the one part that there is. */
static bool
list_parts(const HfReader *r, const Json *v, const char *key, const char *what, const Json **parts,
	   uint32_t *n)
{
	*n = 0;
	if (!v)
		return true;
	if (strcmp(hf_type(v), "Sequence") != 0) {
		parts[(*n)++] = v;
		return true;
	}
	const Json *list = json_get(v, key);
	if (!hf_token_keys(r, v, "Sequence"))
		return false;
	if (!list || list->kind != JSON_ARRAY || list->count > PARTS_MAX)
		return not_understood(r, v, what);
	for (const Json *e = list->first; e; e = e->next)
		parts[(*n)++] = e;
	return true;
}

/* ---- normalizer ---------------------------------------------------------------------------- */

/* The pattern of a Replace or Split, as an expression or as plain text. */
static const char *
pattern_of(const Json *v, const char *kind)
{
	const Json *text = json_get(json_get(v, "pattern"), kind);
	return text && text->kind == JSON_STRING ? text->string : NULL;
}

/* U+2581 in front of a text, also as the beginning that no newline is before. */
static bool
is_prefix(const Json *v)
{
	const char *regex = pattern_of(v, "Regex");
	return !strcmp(hf_type(v), "Prepend") ||
	       (!strcmp(hf_type(v), "Replace") && regex && !strcmp(regex, "(?<!\\n)^"));
}

/* U+2581 for spaces. */
static bool
replaces_spaces(const Json *v)
{
	const char *regex = pattern_of(v, "Regex");
	const char *from = regex ? regex : pattern_of(v, "String");
	return !strcmp(hf_type(v), "Replace") && from && !strcmp(from, " ");
}

bool
hf_normalizer(const HfReader *r, const Json *root, Tokenizer *t)
{
	const Json *parts[PARTS_MAX];
	const bool bpe = t->kind == TOKENIZER_BPE;
	uint32_t n;
	bool replaced = false, prefixed = false;
	if (!list_parts(r, key_get(root, "normalizer"), "normalizers", "normalizer", parts, &n))
		return false;
	for (uint32_t i = 0; i < n; i++) {
		const char *type = hf_type(parts[i]);
		const bool prefix = !bpe && is_prefix(parts[i]);
		if (!(bpe ? !strcmp(type, "NFC") : prefix || replaces_spaces(parts[i])) ||
		    (prefix && prefixed))
			return not_understood(r, parts[i], "normalizer");
		if (!hf_token_keys(r, parts[i], type))
			return false;
		t->nfc |= bpe;
		prefixed |= prefix;
		replaced |= !prefix;
		t->spaces_first |= !bpe;
		if (prefix)
			t->add_space_prefix = PREFIX_ALWAYS;
	}
	if (!bpe && n && !replaced)
		return not_understood(r, parts[0], "normalizer without a Replace of spaces, only");
	return true;
}

/* ---- pre-tokenizer -------------------------------------------------------------------------- */

/* Plain text as an expression. */
static const char *
quoted_pattern(Arena *a, const char *text)
{
	Text *t = text_new(a);
	for (; *text; text++) {
		const bool word = (*text | 0x20) >= 'a' && (*text | 0x20) <= 'z';
		const bool plain = word || (*text >= '0' && *text <= '9') ||
				   (unsigned char)*text >= 0x80 || strchr(" \t\r\n", *text);
		text_printf(t, plain ? "%c" : "\\%c", *text);
	}
	return t->text;
}

static bool
add_step(const HfReader *r, PreTokenizer *pre, const Json *at, const char *pattern)
{
	const char *why;
	if (!pattern || pre->n_steps == SPLIT_STEPS)
		return not_understood(r, at, "pre-tokenizer");
	if (!split_parse(r->arena, pattern, &why)) {
		diag_error(r->d, at->loc, E_PRE_TOKENIZER,
			   "the pre-tokenizer's expression is not understood: %s", why);
		return false;
	}
	pre->steps[pre->n_steps++] = pattern;
	return true;
}

/* One part of a byte-level pre-tokenizer; *done behind the ByteLevel, which is the last. */
static bool
read_step(const HfReader *r, const Json *v, PreTokenizer *pre, bool *done)
{
	const char *type = hf_type(v);
	bool flag = true;
	if (*done)
		return not_understood(r, v, "pre-tokenizer behind ByteLevel,");
	if (!strcmp(type, "ByteLevel")) {
		*done = true;
		return hf_token_keys(r, v, type) &&
		       key_bool(r->d, v, "use_regex", &flag, E_TOKENIZER) &&
		       (!flag || add_step(r, pre, v, pre_tokenizers[PRE_GPT2].steps[0]));
	}
	if (!strcmp(type, "Digits")) {
		flag = false;
		return hf_token_keys(r, v, type) &&
		       key_bool(r->d, v, "individual_digits", &flag, E_TOKENIZER) &&
		       add_step(r, pre, v, flag ? "\\p{N}" : "\\p{N}+");
	}
	if (!strcmp(type, "Split")) {
		const char *regex = pattern_of(v, "Regex"), *text = pattern_of(v, "String");
		return hf_token_keys(r, v, type) && add_step(r, pre, v,
							     regex  ? regex
							     : text ? quoted_pattern(r->arena, text)
								    : NULL);
	}
	return not_understood(r, v, "pre-tokenizer");
}

/* The name of one of ours with the same steps. */
static const char *
name_of(const PreTokenizer *pre)
{
	for (int i = 0; i < PRE_COUNT; i++) {
		const PreTokenizer *p = &pre_tokenizers[i];
		uint32_t k = 0;
		while (p->n_steps == pre->n_steps && k < p->n_steps &&
		       !strcmp(p->steps[k], pre->steps[k]))
			k++;
		if (p->n_steps == pre->n_steps && k == p->n_steps)
			return p->name;
	}
	return "of the file";
}

static bool
read_metaspace(const HfReader *r, const Json *v, Tokenizer *t)
{
	static const struct {
		const char *name;
		SpacePrefix prefix;
	} schemes[] = {{"always", PREFIX_MISSING}, {"never", PREFIX_NONE}, {"first", PREFIX_FIRST}};
	const char *scheme = NULL;
	bool prefix = true;
	t->split_words = true;
	if (!hf_token_keys(r, v, "Metaspace") ||
	    !key_bool(r->d, v, "split", &t->split_words, E_TOKENIZER) ||
	    !key_bool(r->d, v, "add_prefix_space", &prefix, E_TOKENIZER) ||
	    !key_text(r->d, v, "prepend_scheme", &scheme, E_TOKENIZER))
		return false;
	if (!scheme)
		scheme = prefix ? "always" : "never";
	for (size_t i = 0; i < sizeof schemes / sizeof *schemes; i++)
		if (!strcmp(scheme, schemes[i].name)) {
			t->add_space_prefix = (uint8_t)schemes[i].prefix;
			return true;
		}
	return not_understood(r, v, "prepend_scheme of a");
}

bool
hf_pre_tokenizer(const HfReader *r, const Json *root, Tokenizer *t)
{
	const Json *v = key_get(root, "pre_tokenizer"), *parts[PARTS_MAX];
	PreTokenizer *pre = ARENA_NEW(r->arena, PreTokenizer);
	uint32_t n;
	bool done = false;
	if (!list_parts(r, v, "pretokenizers", "pre-tokenizer", parts, &n))
		return false;
	if (t->kind != TOKENIZER_BPE) {
		if (n == 0 && key_get(root, "normalizer"))
			return true;
		if (n == 1 && !strcmp(hf_type(parts[0]), "Metaspace") &&
		    !key_get(root, "normalizer"))
			return read_metaspace(r, parts[0], t);
		return not_understood(r, v ? v : root, "pre-tokenizer of SentencePiece's,");
	}
	for (uint32_t i = 0; i < n; i++)
		if (!read_step(r, parts[i], pre, &done))
			return false;
	if (!done)
		return not_understood(r, v ? v : root, "pre-tokenizer without ByteLevel,");
	pre->name = name_of(pre);
	t->pre = pre;
	return true;
}

/* ---- post-processor -------------------------------------------------------------------------- */

static int
token_of(const Tokenizer *t, const Json *text)
{
	for (uint32_t i = 0; text && text->kind == JSON_STRING && i < t->n_tokens; i++)
		if (t->tokens[i].size == strlen(text->string) &&
		    !memcmp(t->tokens[i].data, text->string, t->tokens[i].size))
			return (int)i;
	return -1;
}

/* `$A`, or a token and `$A`. */
static bool
read_template(const HfReader *r, const Json *v, Tokenizer *t)
{
	const Json *single = json_get(v, "single");
	const Json *first = single && single->kind == JSON_ARRAY ? single->first : NULL;
	const Json *bos = first ? json_get(json_get(first, "SpecialToken"), "id") : NULL;
	const Json *text = bos ? first->next : first;
	if (!hf_token_keys(r, v, "TemplateProcessing"))
		return false;
	if (!text || !json_get(text, "Sequence") || text->next)
		return not_understood(r, v, "template other than a text with or without BOS, of");
	if (!bos)
		return true;
	t->bos = token_of(t, bos);
	t->add_bos = true;
	if (t->bos >= 0)
		return true;
	diag_error(r->d, bos->loc, E_TOKENIZER, "%s in front of texts is no token",
		   json_show(r->arena, bos));
	return false;
}

bool
hf_post_processor(const HfReader *r, const Json *root, Tokenizer *t)
{
	const Json *parts[PARTS_MAX];
	uint32_t n;
	if (!list_parts(r, key_get(root, "post_processor"), "processors", "post-processor", parts,
			&n))
		return false;
	for (uint32_t i = 0; i < n; i++) {
		const char *type = hf_type(parts[i]);
		if (!strcmp(type, "ByteLevel")) {
			if (!hf_token_keys(r, parts[i], "ByteLevel post-processor"))
				return false;
		} else if (strcmp(type, "TemplateProcessing") != 0) {
			return not_understood(r, parts[i], "post-processor");
		} else if (!read_template(r, parts[i], t)) {
			return false;
		}
	}
	return true;
}
