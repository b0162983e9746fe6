/* The text of an artefact's tokenizer: tables as C, then the templates that read them. */
#include "targets/tokenizer.h"
#include "targets/target.h"
#include "targets/tokenizer_nfc.h"

#include <math.h>
#include <string.h>

enum {
	LINE = 96,	 /* columns of a line of a table */
	TEXT_ROW = 4095, /* bytes of a row of token_text: the longest literal of C99 */
	STRIDE = 16,	 /* tokens between two entries of token_start */
};

static const struct {
	uint32_t first, last;
	CodeCategory category;
} unicode_ranges[] = {
#define UNICODE_RANGE(first, last, category) {first, last, CODE_##category},
#include "templates/unicode.def"
};

typedef struct Printer {
	Text *out;
	size_t line; /* where the line began */
} Printer;

/* A numeric type that holds `largest` and one value more for "none". */
static const char *
integer_type(uint32_t largest)
{
	return largest < UINT8_MAX ? "uint8_t" : largest < UINT16_MAX ? "uint16_t" : "uint32_t";
}

static void
print_break(Printer *p)
{
	text_add(p->out, "\n\t", 2);
	p->line = p->out->size;
}

static void
print_begin(Printer *p, const char *type, const char *name)
{
	text_printf(p->out, "\nstatic const %s %s[] = {", type, name);
	print_break(p);
}

static void
print_end(Printer *p)
{
	text_printf(p->out, "\n};\n");
}

static void
print_fits(Printer *p)
{
	if (p->out->size - p->line > LINE)
		print_break(p);
}

/* A table of numbers; `none` is the word for TOKENIZER_NONE_ID. */
static void
print_numbers(Text *out, const char *type, const char *name, const uint32_t *values, size_t n,
	      const char *none)
{
	Printer p = {.out = out};

	print_begin(&p, type, name);
	for (size_t i = 0; i < n; i++) {
		if (values[i] == TOKENIZER_NONE_ID)
			text_printf(out, "%s,", none);
		else
			text_printf(out, "%u,", values[i]);
		print_fits(&p);
	}
	if (n == 0)
		text_printf(out, "0");
	print_end(&p);
}

/* A byte inside a string literal. Three octal digits, as a digit may follow. */
static void
print_char(Text *out, unsigned char c)
{
	if (c == '"' || c == '\\' || c == '?')
		text_printf(out, "\\%c", c);
	else if (c >= 0x20 && c < 0x7F)
		text_printf(out, "%c", c);
	else
		text_printf(out, "\\%03o", c);
}

/* The bytes of all tokens one after another, in rows; their sizes; where each STRIDE-th begins. */
static void
print_tokens(Text *out, const TokenizerTables *tables)
{
	uint32_t n = tables->tokenizer->n_tokens;
	uint32_t *sizes = ARENA_ARRAY(out->arena, uint32_t, n);
	uint32_t *starts = ARENA_ARRAY(out->arena, uint32_t, n / STRIDE + 1);
	Printer p = {.out = out};
	uint32_t total = 0;

	text_printf(out, "\n/* The bytes of the tokens, one after another. */\n"
			 "static const char token_text[][TEXT_ROW + 1] = {\n\t\"");
	p.line = out->size;
	for (uint32_t id = 0; id < n; id++) {
		Bytes text = tables->decoded[id];
		sizes[id] = text.size;
		if (id % STRIDE == 0)
			starts[id / STRIDE] = total;
		for (uint32_t i = 0; i < text.size; i++, total++) {
			if (total > 0 && total % TEXT_ROW == 0) {
				text_printf(out, "\",\n\t\"");
				p.line = out->size;
			} else if (out->size - p.line > LINE - 4) {
				text_printf(out, "\"\n\t\"");
				p.line = out->size;
			}
			print_char(out, (unsigned char)text.data[i]);
		}
	}
	text_printf(out, "\"\n};\n");
	print_numbers(out, integer_type(tables->longest), "token_size", sizes, n, NULL);
	text_printf(out, "\n/* Offset in token_text of every %dth token. */", STRIDE);
	print_numbers(out, "uint32_t", "token_start", starts, (size_t)(n - 1) / STRIDE + 1, NULL);
}

static void
print_merges(Text *out, const TokenizerTables *tables)
{
	Printer p = {.out = out};

	text_printf(out,
		    "\n/* The index of a merge. */\ntypedef %s MergeIndex;\n"
		    "#define NO_MERGE ((MergeIndex)-1)\n\nenum { HASH_BITS = %d };\n\n"
		    "/* Ids of two tokens and of the one that they make, preferred first. */\n"
		    "static const struct {\n\tSymbol left, right, result;\n} merges[] = {",
		    integer_type(tables->n_merges), tables->hash_bits);
	print_break(&p);
	for (uint32_t m = 0; m < tables->n_merges; m++) {
		Merge merge = tables->merges[m];
		text_printf(out, "{%u,%u,%u},", merge.left, merge.right, merge.result);
		print_fits(&p);
	}
	if (tables->n_merges == 0)
		text_printf(out, "{0,0,0}");
	print_end(&p);
	text_printf(out, "\n/* Merges by the hash of their pair, open addressing. */");
	print_numbers(out, "MergeIndex", "merge_slot", tables->slots,
		      (size_t)1 << tables->hash_bits, "NO_MERGE");
}

static void
print_ties(Text *out, const TokenizerTables *tables)
{
	text_printf(out, "\nenum { HAS_TIES = %d };\n\n/* The first merge with the same score. */",
		    tables->tie != NULL);
	print_numbers(out, "MergeIndex", "merge_tie", tables->tie,
		      tables->tie ? tables->n_merges : 0, NULL);
}

static void
print_specials(Text *out, const TokenizerTables *tables)
{
	text_printf(out, "\n/* Tokens that are matched whole, by level. always: even where special "
			 "tokens are "
			 "not parsed. */\n"
			 "typedef struct Special {\n\tconst char *text;\n\tuint32_t size;\n"
			 "\tint32_t id;\n\tint always;\n} Special;\n\n"
			 "static const Special specials[] = {\n");
	for (uint32_t i = 0; i < tables->n_specials; i++) {
		const SpecialToken *s = &tables->specials[i];
		text_printf(out, "\t{\"");
		for (uint32_t k = 0; k < s->text.size; k++)
			print_char(out, (unsigned char)s->text.data[k]);
		text_printf(out, "\", %u, %u, %d},\n", s->text.size, s->id, s->always);
	}
	if (tables->n_specials == 0)
		text_printf(out, "\t{\"\", 0, -1, 0},\n");
	text_printf(out, "};\n");
	uint32_t *levels = ARENA_ARRAY(out->arena, uint32_t, (size_t)tables->n_levels + 1);
	uint32_t first[256] = {0};
	for (uint32_t i = 0; i < tables->n_specials; i++) {
		levels[tables->specials[i].level + 1] = i + 1;
		first[(unsigned char)tables->specials[i].text.data[0]] = 1;
	}
	text_printf(out,
		    "\n/* Where each level begins, and the end; bytes that begin one of them. */");
	print_numbers(out, integer_type(tables->n_specials), "special_level", levels,
		      (size_t)tables->n_levels + 1, NULL);
	print_numbers(out, "uint8_t", "special_first", first, 256, NULL);
}

/* Whether an expression tells a category from what no category names. */
static bool
is_told_apart(const TokenizerTables *tables, CodeCategory category)
{
	for (uint32_t i = 0; i < tables->tokenizer->pre->n_steps; i++)
		for (uint32_t k = 0; k < tables->steps[i]->n_items; k++) {
			const unsigned bits = tables->steps[i]->items[k].class.categories;
			if ((bits >> category & 1) != (bits >> CODE_OTHER & 1))
				return true;
		}
	return false;
}

/* Where a category begins: code point << 3 | category; from 0 on, without gaps. */
static void
print_ranges(Text *out, const TokenizerTables *tables)
{
	size_t n = sizeof unicode_ranges / sizeof unicode_ranges[0], count = 0;
	uint32_t *starts = ARENA_ARRAY(out->arena, uint32_t, 2 * n + 1);
	bool apart[CODE_CATEGORIES];
	uint32_t next = 0;

	for (int c = 0; c < CODE_CATEGORIES; c++)
		apart[c] = is_told_apart(tables, (CodeCategory)c);
	for (size_t i = 0; i < n; i++) {
		if (!apart[unicode_ranges[i].category])
			continue;
		if (unicode_ranges[i].first > next)
			starts[count++] = next << 3 | CODE_OTHER;
		starts[count++] = unicode_ranges[i].first << 3 | unicode_ranges[i].category;
		next = unicode_ranges[i].last + 1;
	}
	starts[count++] = next << 3 | CODE_OTHER;
	text_printf(
		out,
		"\nenum { N_RANGES = %zu };\n\n/* First code points of ranges << 3 | category. */",
		count);
	print_numbers(out, "uint32_t", "unicode_range", starts, count, NULL);
}

static void
print_class_ranges(Text *out, const TokenizerTables *tables)
{
	const PreTokenizer *pre = tables->tokenizer->pre;
	Printer p = {.out = out};
	uint32_t n = 0;

	text_printf(out,
		    "\n/* How text is cut into pieces: steps of branches of items; an item is that "
		    "many "
		    "code points\n * of a class, which is categories, by bits, and ranges. */\n"
		    "static const struct {\n\tuint32_t first, last;\n} class_ranges[] = {");
	print_break(&p);
	for (uint32_t i = 0; i < pre->n_steps; i++)
		for (uint32_t k = 0; k < tables->steps[i]->n_ranges; k++, n++) {
			const CodeRange r = tables->steps[i]->ranges[k];
			text_printf(out, "{0x%X,0x%X},", r.first, r.last);
			print_fits(&p);
		}
	text_printf(out, "%s", n ? "" : "{1,0}");
	print_end(&p);
}

static void
print_items(Text *out, const TokenizerTables *tables)
{
	const PreTokenizer *pre = tables->tokenizer->pre;
	uint32_t range = 0;

	text_printf(out,
		    "\nenum { ANY_COUNT = %d };\n\ntypedef struct Item {\n"
		    "\tuint8_t categories, negated, least, most;\n\tuint16_t first, count;\n"
		    "} Item;\n\nstatic const Item items[] = {\n",
		    SPLIT_ANY);
	for (uint32_t i = 0; i < pre->n_steps; i++) {
		const SplitRule *rule = tables->steps[i];
		for (uint32_t k = 0; k < rule->n_items; k++) {
			const SplitItem *item = &rule->items[k];
			text_printf(out, "\t{0x%02X, %d, %u, %u, %u, %u},\n",
				    item->class.categories, item->class.negated, item->least,
				    item->most, range + item->class.first, item->class.count);
		}
		range += rule->n_ranges;
	}
	text_printf(out, "%s};\n", pre->n_steps ? "" : "\t{0, 0, 1, 1, 0, 0},\n");
}

static void
print_steps(Text *out, const TokenizerTables *tables)
{
	const PreTokenizer *pre = tables->tokenizer->pre;
	uint32_t starts[SPLIT_STEPS + 1] = {0}, item = 0;

	print_class_ranges(out, tables);
	print_items(out, tables);
	text_printf(out, "\ntypedef struct Branch {\n\tuint16_t first, count;\n\tuint8_t ahead;\n"
			 "} Branch;\n\nstatic const Branch branches[] = {\n");
	for (uint32_t i = 0; i < pre->n_steps; i++) {
		const SplitRule *rule = tables->steps[i];
		for (uint32_t k = 0; k < rule->n_branches; k++)
			text_printf(out, "\t{%u, %u, %u},\n", item + rule->branches[k].first,
				    rule->branches[k].count, rule->branches[k].ahead);
		item += rule->n_items;
		starts[i + 1] = starts[i] + rule->n_branches;
	}
	text_printf(out,
		    "%s};\n\nenum { N_STEPS = %u };\n\n/* Where the branches of each begin. */",
		    pre->n_steps ? "" : "\t{0, 0, 0},\n", pre->n_steps);
	print_numbers(out, "uint16_t", "steps", starts, (size_t)pre->n_steps + 1, NULL);
	text_printf(out,
		    "\nenum { N_WORDS = %u };\n\n/* Pieces that are tokens although merges make "
		    "others of them, by their bytes. */",
		    tables->n_words);
	print_numbers(out, "int32_t", "words", tables->words, tables->n_words, NULL);
}

/* The first token whose leading space goes where it begins a text. */
static uint32_t
first_word(const Tokenizer *t)
{
	if (t->kind == TOKENIZER_SCORED)
		return TOKENIZER_FIRST_BYTE + 256;
	return t->add_space_prefix ? 0 : t->n_tokens;
}

/* Whether tokenizer_spaced.c is what text goes through first. */
static bool
puts_spaces(const TokenizerTables *tables)
{
	return tables->tokenizer->spaces_first && tables->raw_levels < tables->n_levels;
}

/* For tokenizer_space.c and tokenizer_spaced.c, which leaves no space to be put in front. */
static void
print_spaces(Text *out, const TokenizerTables *tables)
{
	const Tokenizer *t = tables->tokenizer;
	const bool done = puts_spaces(tables);

	text_printf(out,
		    "\nenum { FIRST_WORD = %u, SPLIT_WORDS = %d };\n\nstatic const int add_space = "
		    "%d;\n",
		    first_word(t), t->split_words, done ? PREFIX_NONE : t->add_space_prefix);
	if (done)
		text_printf(out, "\nenum { SPACE_IN_FRONT = %d };\n",
			    t->add_space_prefix != PREFIX_NONE);
}

static void
print_characters(Text *out, const TokenizerTables *tables)
{
	Printer p = {.out = out};

	text_printf(out, "\nenum { N_CHARACTERS = %u, SPACE_SYMBOL = %u };\n", tables->n_characters,
		    tables->space == TOKENIZER_NONE_ID ? 0 : tables->space);
	text_printf(out,
		    "\n/* Tokens of one character, by its bytes from the top of key. */\n"
		    "static const struct {\n\tuint32_t key;\n\tSymbol symbol;\n} characters[] = {");
	print_break(&p);
	for (uint32_t i = 0; i < tables->n_characters; i++) {
		text_printf(out, "{0x%08X,%u},", tables->characters[i].key,
			    tables->characters[i].id);
		print_fits(&p);
	}
	if (tables->n_characters == 0)
		text_printf(out, "{0,0}");
	print_end(&p);
}

static void
print_trie(Text *out, const TokenizerTables *tables)
{
	const Tokenizer *t = tables->tokenizer;
	Printer p = {.out = out};

	text_printf(out,
		    "\nenum { UNK = %d };\n\nstatic const double unknown_score = %a;\n\n"
		    "/* Scores of the tokens that text may become. */\n"
		    "static const double token_score[] = {",
		    t->unk, tables->unknown_score);
	print_break(&p);
	for (uint32_t id = 0; id < t->n_tokens; id++) {
		text_printf(out, "%a,", isnan(t->log_probs[id]) ? 0.0 : t->log_probs[id]);
		print_fits(&p);
	}
	print_end(&p);
	text_printf(out,
		    "\n/* Tokens by their bytes, a space for U+2581. Node 0 is the root; children "
		    "of node i are\n * [trie_child[i], trie_child[i + 1]), ascending by the byte "
		    "that leads to them. */");
	print_numbers(out, "uint8_t", "trie_byte", tables->trie_byte, tables->n_nodes, NULL);
	print_numbers(out, integer_type(tables->n_nodes), "trie_child", tables->trie_child,
		      (size_t)tables->n_nodes + 1, NULL);
	print_numbers(out, "Symbol", "trie_token", tables->trie_token, tables->n_nodes,
		      "NO_SYMBOL");
}

static void
print_text(Text *out, Bytes text)
{
	text_printf(out, "\"");
	for (uint32_t i = 0; i < text.size; i++)
		print_char(out, (unsigned char)text.data[i]);
	text_printf(out, "\"");
}

static void
print_reason(Text *out, const char *name, const char *reason)
{
	text_printf(out, "static const char *const %s = ", name);
	if (reason)
		print_text(out, (Bytes){reason, (uint32_t)strlen(reason)});
	else
		text_printf(out, "NULL");
	text_printf(out, ";\n");
}

/* The form of conversations, for tokenizer_chat.c; without one its texts are empty. */
static void
print_chat(Text *out, const Tokenizer *t)
{
	static const Chat none = {
		.why = "the model's file has no chat template", .end = -1, .eot = -1};
	const Chat *c = t->chat ? t->chat : &none;
	const struct {
		const char *name;
		Bytes text;
	} texts[] = {{"chat_open", c->open},
		     {"chat_system", c->system},
		     {"chat_behind_system", c->behind_system},
		     {"chat_reply", c->reply},
		     {"chat_next", c->next}};
	uint64_t longest = 0;

	text_printf(out,
		    "\n/* Texts between those of a conversation; null names, or reasons why there "
		    "are none. */\n");
	print_reason(out, "chat_name", c->name);
	print_reason(out, "chat_why", c->why);
	print_reason(out, "chat_system_why", c->why ? c->why : c->system_why);
	text_printf(out, "\nstatic const struct {\n\tconst char *text;\n\tsize_t size;\n} ");
	for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
		const Bytes text = c->why ? (Bytes){"", 0} : texts[i].text;
		text_printf(out, "%s%s = {", i ? ", " : "", texts[i].name);
		print_text(out, text);
		text_printf(out, ", %u}", text.size);
		longest += text.size;
	}
	text_printf(out,
		    ";\n\nenum {\n\tCHAT_LONGEST = %llu, /* all of them */\n\tCHAT_BOS = %d,\n"
		    "\tCHAT_END = %d,\n\tCHAT_EOT = %d,\n\tCHAT_TRIM_SYSTEM = %d,\n"
		    "\tCHAT_TRIM_FIRST = %d,\n\tCHAT_TRIM_USER = %d\n};\n",
		    (unsigned long long)longest, c->add_bos, c->end, c->eot, c->trim_system,
		    c->trim_first, c->trim_user);
}

/* A template with its holes @name@ (prefix of symbols) and @NAME@ (of files) filled. */
static void
print_template(Text *out, const char *file, const char *name, const char *symbol)
{
	size_t size;
	const char *text = template_text(file, &size);
	const char *end = text + size;

	INVARIANT(text);
	text_add(out, "\n", 1);
	while (text < end) {
		const char *hole = memchr(text, '@', (size_t)(end - text));
		if (!hole)
			hole = end;
		text_add(out, text, (size_t)(hole - text));
		text = hole;
		if (hole == end)
			break;
		INVARIANT(end - hole >= 6);
		if (memcmp(hole, "@name@", 6) == 0)
			text_printf(out, "%s", symbol);
		else if (memcmp(hole, "@NAME@", 6) == 0)
			text_printf(out, "%s", name);
		else
			BUG("unknown hole in %s", file);
		text += 6;
	}
}

static void
print_head(Text *out, const Tokenizer *t, const char *name)
{
	text_printf(out,
		    "/* The tokenizer of %s, written by Lathe: tables, then the code that reads "
		    "them. */\n"
		    "#include \"%s_tokenizer.h\"\n\n#include <string.h>\n\n"
		    "enum { BOS = %d, EOS = %d, ADD_BOS = %d };\n",
		    name, name, t->bos, t->eos, t->add_bos);
}

static void
print_constants(Text *out, const TokenizerTables *tables)
{
	const Tokenizer *t = tables->tokenizer;

	text_printf(out,
		    "\n/* An id inside a text at work. */\n"
		    "typedef %s Symbol;\n#define NO_SYMBOL ((Symbol)-1)\n\n"
		    "enum {\n\tN_TOKENS = %u,\n\tLONGEST_TOKEN = %u,\n\tTEXT_ROW = %d,\n"
		    "\tTOKEN_STRIDE = %d,\n\tN_LEVELS = %u,\n\tRAW_LEVELS = %u,\n"
		    "\tBOS_RESTARTS = %d\n};\n",
		    integer_type(t->n_tokens), t->n_tokens, tables->longest, TEXT_ROW, STRIDE,
		    tables->n_levels, tables->raw_levels, t->kind == TOKENIZER_SCORED);
}

static void
print_bpe(Text *out, const TokenizerTables *tables)
{
	print_merges(out, tables);
	print_steps(out, tables);
	print_ranges(out, tables);
}

static void
print_scored(Text *out, const TokenizerTables *tables)
{
	print_merges(out, tables);
	print_ties(out, tables);
	print_spaces(out, tables);
	print_characters(out, tables);
}

static void
print_unigram(Text *out, const TokenizerTables *tables)
{
	print_spaces(out, tables);
	print_trie(out, tables);
}

enum { KIND_FILES = 3 };

/* The tables of each kind, and the files that read them, behind tokenizer.c. */
static const struct {
	void (*print)(Text *out, const TokenizerTables *tables);
	const char *files[KIND_FILES];
} kinds[TOKENIZER_KINDS] = {
	[TOKENIZER_BPE] = {print_bpe, {"tokenizer_merge.c", "tokenizer_bpe.c"}},
	[TOKENIZER_SCORED] = {print_scored,
			      {"tokenizer_merge.c", "tokenizer_space.c", "tokenizer_scored.c"}},
	[TOKENIZER_SENTENCEPIECE] = {print_scored,
				     {"tokenizer_merge.c", "tokenizer_space.c",
				      "tokenizer_scored.c"}},
	[TOKENIZER_UNIGRAM] = {print_unigram, {"tokenizer_space.c", "tokenizer_unigram.c"}},
};

void
tokenizer_emit_header(Text *out, const char *name, const char *symbol)
{
	print_template(out, "tokenizer.h", name, symbol);
}

bool
tokenizer_emit(Text *out, const Tokenizer *t, Diag *d, const char *name, const char *symbol)
{
	TokenizerTables tables;

	if (t->kind == TOKENIZER_NONE) {
		print_head(out, t, name);
		print_template(out, "tokenizer_none.c", name, symbol);
		return true;
	}
	if (!tokenizer_tables(out->arena, t, d, &tables))
		return false;
	print_head(out, t, name);
	print_constants(out, &tables);
	print_tokens(out, &tables);
	print_specials(out, &tables);
	text_printf(out, "\n/* The symbol of each byte. */");
	print_numbers(out, "Symbol", "byte_symbol", tables.byte_symbol, 256, "NO_SYMBOL");
	kinds[t->kind].print(out, &tables);
	if (t->nfc)
		tokenizer_print_nfc(out);
	print_chat(out, t);
	print_template(out, "tokenizer.c", name, symbol);
	for (int i = 0; i < KIND_FILES && kinds[t->kind].files[i]; i++)
		print_template(out, kinds[t->kind].files[i], name, symbol);
	print_template(out,
		       t->nfc		      ? "tokenizer_nfc.c"
		       : puts_spaces(&tables) ? "tokenizer_spaced.c"
					      : "tokenizer_raw.c",
		       name, symbol);
	print_template(out, "tokenizer_chat.c", name, symbol);
	return true;
}
