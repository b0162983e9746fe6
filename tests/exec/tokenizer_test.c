/* Emitted tokenizers of invented vocabularies against the plain references, under sanitizers. */
#include "tests/exec/tokenizer_harness.h"

enum { LETTERS = 4, MAX_TOKENS = 2048, MAX_IDS = 4096 };

/* A vocabulary that grows. */
typedef struct Invented {
	Arena *arena;
	Tokenizer t;
	Bytes tokens[MAX_TOKENS], merges[MAX_TOKENS];
	uint8_t types[MAX_TOKENS];
	float scores[MAX_TOKENS];
} Invented;

static Bytes
bytes_copy(Arena *a, const char *data, size_t size)
{
	return (Bytes){arena_strndup(a, data, size), (uint32_t)size};
}

static void
invent_token(Invented *v, const char *data, size_t size, TokenType type, float score)
{
	uint32_t id = v->t.n_tokens++;

	assert_true(id < MAX_TOKENS);
	v->tokens[id] = bytes_copy(v->arena, data, size);
	v->types[id] = (uint8_t)type;
	v->scores[id] = score;
}

static Invented *
invent(Arena *a, TokenizerKind kind)
{
	Invented *v = ARENA_NEW(a, Invented);

	v->arena = a;
	v->t = (Tokenizer){.kind = (uint8_t)kind,
			   .pre = &pre_tokenizers[PRE_GPT2],
			   .add_space_prefix = kind == TOKENIZER_SCORED,
			   .bos = 1,
			   .eos = 2,
			   .unk = 0,
			   .pad = -1,
			   .tokens = v->tokens,
			   .types = v->types,
			   .scores = v->scores,
			   .merges = v->merges};
	return v;
}

/* ---- byte-level BPE ------------------------------------------------------------------------ */

/* Letters, a letter without a token (z), tokens grown from pairs, and special tokens that overlap
 * in every way. Some tokens are made by two merges. */
static Invented *
invent_bpe(Arena *a, uint64_t *random)
{
	static const struct {
		const char *text;
		TokenType type;
	} specials[] = {
		{"<a>", TOKEN_CONTROL},	  {"<a><b>", TOKEN_CONTROL},  {"b>c<", TOKEN_CONTROL},
		{"<unk>", TOKEN_UNKNOWN}, {"cc<", TOKEN_USER},	      {"><", TOKEN_CONTROL},
		{"<a", TOKEN_USER},	  {"<unused>", TOKEN_UNUSED},
	};
	Invented *v = invent(a, TOKENIZER_BPE);

	for (char c = '!'; c < 'z'; c++)
		invent_token(v, &c, 1, TOKEN_NORMAL, 0);
	invent_token(v, "\xC4\xA0", 2, TOKEN_NORMAL, 0); /* the space */
	for (int i = 0; i < 400; i++) {
		Bytes part[2];
		char joined[64];
		const char *merge;
		for (int k = 0; k < 2; k++) {
			uint32_t grown = v->t.n_tokens - ('z' - '!') - 1;
			uint32_t pick = random_next(random, LETTERS + grown / 4 + 1);
			part[k] =
				pick < LETTERS
					? (Bytes){&"abcd"[pick], 1}
					: v->tokens['z' - '!' + 1 + (pick - LETTERS) % (grown + 1)];
			if (!part[k].data)
				part[k] = (Bytes){"a", 1};
		}
		if (part[0].size + part[1].size > 12)
			continue;
		memcpy(joined, part[0].data, part[0].size);
		memcpy(joined + part[0].size, part[1].data, part[1].size);
		merge = arena_printf(a, "%.*s %.*s", (int)part[0].size, part[0].data,
				     (int)part[1].size, part[1].data);
		bool known = false;
		for (uint32_t m = 0; m < v->t.n_merges; m++)
			known |= same(v->merges[m], merge, strlen(merge));
		if (known)
			continue;
		v->merges[v->t.n_merges++] = (Bytes){merge, (uint32_t)strlen(merge)};
		if (reference_find(&v->t, joined, part[0].size + part[1].size) < 0)
			invent_token(v, joined, part[0].size + part[1].size, TOKEN_NORMAL, 0);
	}
	for (size_t i = 0; i < sizeof specials / sizeof specials[0]; i++)
		invent_token(v, specials[i].text, strlen(specials[i].text), specials[i].type, 0);
	return v;
}

/* Merges the symbols of one piece, each of the text's own characters. */
static int32_t
reference_merge(const Tokenizer *t, Bytes piece, int32_t *ids)
{
	Bytes symbol[MAX_IDS];
	int n = 0;
	int32_t count = 0;

	for (uint32_t i = 0; i < piece.size; i++)
		symbol[n++] = (Bytes){piece.data + i, 1};
	for (;;) {
		int best = -1;
		for (uint32_t m = 0; m < t->n_merges && best < 0; m++) {
			for (int i = 0; i + 1 < n && best < 0; i++) {
				char pair[128];
				int size = snprintf(pair, sizeof pair, "%.*s %.*s",
						    (int)symbol[i].size, symbol[i].data,
						    (int)symbol[i + 1].size, symbol[i + 1].data);
				if (same(t->merges[m], pair, (size_t)size))
					best = i;
			}
		}
		if (best < 0)
			break;
		symbol[best].size += symbol[best + 1].size;
		n--;
		memmove(&symbol[best + 1], &symbol[best + 2],
			(size_t)(n - best - 1) * sizeof *symbol);
	}
	for (int i = 0; i < n; i++) {
		int32_t id = reference_find(t, symbol[i].data, symbol[i].size);
		if (id >= 0)
			ids[count++] = id;
	}
	return count;
}

/* Only letters and <> are in these texts: a piece is a run of either. */
static int32_t
reference_plain(const Tokenizer *t, Bytes text, int32_t *ids)
{
	int32_t count = 0;

	for (uint32_t at = 0, end; at < text.size; at = end) {
		bool letter = text.data[at] >= 'a';
		for (end = at; end < text.size && (text.data[end] >= 'a') == letter;)
			end++;
		count += reference_merge(t, (Bytes){text.data + at, end - at}, ids + count);
	}
	return count;
}

/* All occurrences of the longest special token first, then of the next in what is left. */
static int32_t
reference_special(const Tokenizer *t, Bytes text, bool parse, uint32_t longest, int32_t *ids)
{
	for (uint32_t size = longest; size > 0; size--) {
		for (uint32_t id = 0; id < t->n_tokens; id++) {
			bool control =
				t->types[id] == TOKEN_CONTROL || t->types[id] == TOKEN_UNKNOWN;
			if (t->tokens[id].size != size ||
			    !(t->types[id] == TOKEN_USER || (control && parse)))
				continue;
			for (uint32_t at = 0; at + size <= text.size; at++) {
				if (memcmp(text.data + at, t->tokens[id].data, size) != 0)
					continue;
				int32_t n = reference_special(t, (Bytes){text.data, at}, parse,
							      size, ids);
				ids[n++] = (int32_t)id;
				at += size;
				return n +
				       reference_special(t, (Bytes){text.data + at, text.size - at},
							 parse, size, ids + n);
			}
		}
	}
	return reference_plain(t, text, ids);
}

static Bytes
bytes_of_bpe(const Tokenizer *t, int32_t id, bool first)
{
	(void)first;
	return t->types[id] == TOKEN_NORMAL || t->types[id] == TOKEN_USER ? t->tokens[id]
									  : (Bytes){"", 0};
}

static void
bpe_is_the_reference(void **state)
{
	static const char alphabet[] = "abcdabcdabcdz<>";
	uint64_t random = 1;

	(void)state;
	for (int round = 0; round < 3; round++) {
		Harness *h = harness_new();
		Invented *v = invent_bpe(h->arena, &random);
		const char *texts[600];
		harness_build(h, &v->t, sanitized);
		for (int i = 0; i < 600; i++) {
			uint32_t n = random_next(&random, i < 500 ? 40 : 300);
			char text[300];
			uint32_t letters = i % 2 ? 8 : sizeof alphabet - 1;
			for (uint32_t k = 0; k < n; k++)
				text[k] = alphabet[random_next(&random, letters)];
			for (uint32_t k = 0; k + 3 < n; k++)
				if (i % 2 == 0 && random_next(&random, 4) == 0)
					memcpy(text + k, "<a>", 3);
			texts[i] = arena_strndup(h->arena, text, n);
			harness_case(h, (i % 4 == 0 ? PARSE_SPECIAL : 0) | (n < 40 ? DECODE : 0),
				     text, n);
		}
		Result *r = harness_run(h);
		for (uint32_t i = 0; i < 600; i++) {
			int32_t ids[MAX_IDS];
			Bytes text = {texts[i], (uint32_t)strlen(texts[i])};
			int32_t n = reference_special(&v->t, text, i % 4 == 0, 8, ids);
			check_ids(&r[i], ids, n, text.data, text.size);
			if (h->flags[i] & DECODE)
				check_decoded(h->arena, &r[i], bytes_of_bpe, &v->t);
		}
		harness_free(h);
	}
}

/* ---- scored BPE ---------------------------------------------------------------------------- */

/* Tokens of letters, of two-byte characters and of the text of byte tokens, with few different
 * scores, so that ties are common. */
static Invented *
invent_scored(Arena *a, uint64_t *random)
{
	static const char *const alphabet[] = {"a", "b", " ", "\xC3\xA9", "<", "\xE2\x82\xAC"};
	static const float scores[] = {0.0f, -0.0f, 1.0f, -3.5f, -2.0e10f, 7.0f, -1.0f};
	Invented *v = invent(a, TOKENIZER_SCORED);

	invent_token(v, "<unk>", 5, TOKEN_UNKNOWN, 0);
	invent_token(v, "\n<s>\n", 5, TOKEN_CONTROL, 0);
	invent_token(v, "\n</s>\n", 6, TOKEN_CONTROL, 0);
	for (unsigned b = 0; b < 256; b++)
		invent_token(v, arena_printf(a, "<0x%02X>", b), 6, TOKEN_BYTE, 0);
	for (size_t i = 0; i < 5; i++)
		invent_token(v, alphabet[i], strlen(alphabet[i]), TOKEN_NORMAL, -9);
	invent_token(v, "<0x0A><", 7, TOKEN_NORMAL, 2);
	for (int i = 0; i < 300; i++) {
		char text[64] = "";
		uint32_t parts = 2 + random_next(random, 4);
		for (uint32_t k = 0; k < parts; k++)
			strcat(text, alphabet[random_next(random, 6)]);
		if (reference_find(&v->t, text, strlen(text)) < 0)
			invent_token(v, text, strlen(text), TOKEN_NORMAL,
				     scores[random_next(random, 7)]);
	}
	v->t.types = NULL; /* as in the file */
	return v;
}

static void
scored_is_the_reference(void **state)
{
	/* All that starts, continues or breaks UTF-8 becomes byte tokens. */
	static const char *const alphabet[] = {"a",    "b",    "\xE2\x82\xAC", "\xC3\xA9", "<",
					       " ",    "\xC3", "\x80",	       "\n",	   "\xFF",
					       "\xED", "\xA0", "\xF4",	       "\x90",	   "\xE0",
					       "\x9F", "\xF0", "\x8F",	       "\xC1",	   "\xF1"};
	uint64_t random = 2;

	(void)state;
	for (int round = 0; round < 3; round++) {
		Harness *h = harness_new();
		Invented *v = invent_scored(h->arena, &random);
		Text *texts[500];
		v->t.add_space_prefix = round != 1;
		harness_build(h, &v->t, sanitized);
		for (int i = 0; i < 500; i++) {
			uint32_t n = random_next(&random, i < 450 ? 30 : 200);
			texts[i] = text_new(h->arena);
			for (uint32_t k = 0; k < n; k++) {
				uint32_t pick = random_next(&random, i % 2 ? 6 : 20);
				text_printf(texts[i], "%s", alphabet[pick]);
			}
			harness_case(h, n < 30 ? DECODE : 0, texts[i]->text, texts[i]->size);
		}
		Result *r = harness_run(h);
		for (int i = 0; i < 500; i++) {
			int32_t ids[MAX_IDS];
			Bytes text = {texts[i]->text, (uint32_t)texts[i]->size};
			int32_t n = reference_scored(&v->t, text, ids);
			check_ids(&r[i], ids, n, text.data, text.size);
			if (h->flags[i] & DECODE)
				check_decoded(h->arena, &r[i], bytes_of_scored, &v->t);
		}
		harness_free(h);
	}
}

/* ---- edges --------------------------------------------------------------------------------- */

/* One token and no merges; more tokens than 16 bits count. */
static void
sizes_of_vocabularies(void **state)
{
	enum { MANY = 70000 };
	Harness *h = harness_new();
	Bytes *tokens = ARENA_ARRAY(h->arena, Bytes, MANY);
	Bytes *merges = ARENA_ARRAY(h->arena, Bytes, MANY);
	Tokenizer t = {.kind = TOKENIZER_BPE,
		       .pre = &pre_tokenizers[PRE_SMOLLM],
		       .bos = -1,
		       .eos = -1,
		       .unk = -1,
		       .pad = -1,
		       .n_tokens = 1,
		       .tokens = tokens,
		       .merges = merges};
	static const int32_t one[3] = {0, 0, 0}, many[1] = {MANY - 1};

	(void)state;
	tokens[0] = (Bytes){"a", 1};
	harness_build(h, &t, sanitized);
	harness_case(h, DECODE, "abaaq", 5);
	check_ids(&harness_run(h)[0], one, 3, "abaaq", 5);

	t.n_tokens = MANY;
	t.n_merges = MANY - 52;
	for (uint32_t i = 0; i < MANY; i++) {
		/* Small letters, great ones, then all that begins with a small one, in breadth. */
		uint32_t parent = i < 52	     ? 0
				  : i < 52 + 26 * 26 ? (i - 52) / 26
						     : (i - 52) / 26 + 26;
		char last = (char)(i < 26 ? 'a' + i : 'A' + i % 26);
		Bytes begin = i < 52 ? (Bytes){"", 0} : tokens[parent];
		const char *name =
			arena_printf(h->arena, "%.*s%c", (int)begin.size, begin.data, last);
		tokens[i] = (Bytes){name, begin.size + 1};
		if (i >= 52) {
			name = arena_printf(h->arena, "%.*s %c", (int)begin.size, begin.data, last);
			merges[i - 52] = (Bytes){name, begin.size + 2};
		}
	}
	harness_build(h, &t, "-O0");
	h->n_cases = 0;
	h->cases = text_new(h->arena);
	harness_case(h, DECODE, tokens[MANY - 1].data, tokens[MANY - 1].size);
	Result *r = harness_run(h);
	check_ids(&r[0], many, 1, tokens[MANY - 1].data, tokens[MANY - 1].size);
	assert_true(same(r[0].text[1], tokens[MANY - 1].data, tokens[MANY - 1].size));
	harness_free(h);
}

static void
no_tokenizer(void **state)
{
	static const char program[] =
		"#include \"t_tokenizer.h\"\n"
		"int main(void) { t_decoder d = {{0}, 0, 0}; char c; int32_t id;\n"
		"return t_has_tokenizer() || t_bos() != -1 || t_eos() != 2 || t_add_bos() ||\n"
		"t_encode_scratch(9) || t_decode_max() || t_decode(&d, 0, &c) != -1 ||\n"
		"t_encode(\"a\", 1, &id, 1, 0, &c, 1) != -1; }\n";
	Harness *h = harness_new();
	Tokenizer t = {.kind = TOKENIZER_NONE, .bos = -1, .eos = 2, .unk = -1, .pad = -1};

	(void)state;
	harness_emit(h, &t);
	harness_write(h, "main.c", program, sizeof program - 1);
	harness_shell(h, "${CC:-cc} -std=c99 t_tokenizer.c main.c -o main && ./main");
	harness_free(h);
}

static void
text_is_deterministic(void **state)
{
	uint64_t random[2] = {3, 3};
	Text *text[2];

	(void)state;
	for (int i = 0; i < 2; i++) {
		Arena *a = arena_new();
		Invented *v = invent_scored(a, &random[i]);
		text[i] = text_new(a);
		assert_true(tokenizer_emit(text[i], &v->t, diag_new(a, stderr), "my model",
					   "my_model"));
	}
	assert_int_equal(text[0]->size, text[1]->size);
	assert_memory_equal(text[0]->text, text[1]->text, text[0]->size);
	assert_non_null(strstr(text[0]->text, "#include \"my model_tokenizer.h\"\n"));
	assert_non_null(strstr(text[0]->text, "\nmy_model_encode(const char *text"));
	assert_null(strstr(text[0]->text, "@name@"));
	assert_null(strstr(text[0]->text, "@NAME@"));
	arena_free(text[0]->arena);
	arena_free(text[1]->arena);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(bpe_is_the_reference),	 cmocka_unit_test(scored_is_the_reference),
		cmocka_unit_test(sizes_of_vocabularies), cmocka_unit_test(no_tokenizer),
		cmocka_unit_test(text_is_deterministic),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
