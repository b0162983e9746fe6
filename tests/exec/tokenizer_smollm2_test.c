/*
 * SmolLM2's tokenizer: ids of texts that are hard, and of a whole corpus, are llama.cpp's; decoding
 * gives the text back; nothing is quadratic. Needs LATHE_MODELS, and LATHE_SHARED for the corpus.
 */
#include "tests/exec/tokenizer_harness.h"

enum { LONG_TEXT = 1 << 20, CORPUS_IDS = 304829, CORPUS_PART = 300000 };

/* The ids of wiki.test.raw as little-endian int32; shared/peers_bench/results.md. */
static const char corpus_sha256[] =
	"c2d804ee7a7a5f7a53e4e4fe2468f96438533fe6c1d58b9afdb8a65993c736c5";

/* What a byte-level token stands for: code points that GPT-2 maps to bytes. */
static Bytes
bytes_of_token(const Tokenizer *t, int32_t id, bool first)
{
	static char out[4096];
	uint32_t n = 0;

	(void)first;
	if (t->types[id] != TOKEN_NORMAL)
		return (Bytes){"", 0};
	for (uint32_t i = 0; i < t->tokens[id].size;) {
		const unsigned char *s = (const unsigned char *)t->tokens[id].data + i;
		unsigned c = s[0] < 0x80 ? s[0] : (s[0] & 31u) << 6 | (s[1] & 63u);
		i += s[0] < 0x80 ? 1 : 2;
		/* U+0100 .. U+0143 are the bytes 00-20, 7F-A0 and AD in this order. */
		if (c >= 0x100)
			c = c <= 0x120 ? c - 0x100 : c <= 0x142 ? c - 0x121 + 0x7F : 0xAD;
		out[n++] = (char)c;
	}
	return (Bytes){out, n};
}

static Model *
read_model(Harness *h)
{
	const char *path = arena_printf(h->arena, "%s/SmolLM2-135M-Instruct.Q4_1.gguf",
					getenv("LATHE_MODELS"));
	Model *m = model_read(h->arena, h->diag, path, &(ModelOptions){.trust_values = true});

	assert_non_null(m);
	return m;
}

static void
nasty_texts(PreTokenizerId pre)
{
	static Golden golden[2000];
	Harness *h = harness_new();
	Model *m = read_model(h);
	uint32_t n = golden_read(h->arena, "tests/exec/tokenizer_nasty.txt", golden, 2000);
	uint32_t differ = 0;
	int list = pre == PRE_GPT2;

	assert_ptr_equal(m->tokenizer.pre, &pre_tokenizers[PRE_SMOLLM]);
	m->tokenizer.pre = &pre_tokenizers[pre];
	harness_build(h, &m->tokenizer, sanitized);
	for (uint32_t i = 0; i < n; i++)
		harness_case(h, golden[i].special | DECODE, golden[i].text.data,
			     golden[i].text.size);
	Result *r = harness_run(h);
	for (uint32_t i = 0; i < n; i++) {
		const Golden *g = &golden[i];
		check_ids(&r[i], g->ids[list], g->n[list], g->text.data, g->text.size);
		check_decoded(h->arena, &r[i], bytes_of_token, &m->tokenizer);
		differ += g->n[0] != g->n[1];
	}
	assert_true(n > 900 && differ > 10);
	harness_free(h);
}

static void
nasty_texts_smollm(void **state)
{
	(void)state;
	nasty_texts(PRE_SMOLLM);
}

static void
nasty_texts_gpt2(void **state)
{
	(void)state;
	nasty_texts(PRE_GPT2);
}

/* SmolLM2's vocabulary cut by the rules of other models; digests of tokenizer_cases.py, of the
 * ids of the hard texts and of the first CORPUS_PART bytes of wiki.test.raw, by llama.cpp (commit
 * 0c1e570). The first two differ in digits alone, of which no two are a token here. */
static const struct {
	PreTokenizerId pre;
	const char *nasty, *part;
} other_rules[] = {
	{PRE_LLAMA3, "482a75f80f1085f45b494a0dde24d5d17e3b97eda408cceb86707e0325452bce",
	 "c92abfc34fee4545fd4679d5e32d48e9584cb0b5a17835fb6e1483d56446a81f"},
	{PRE_QWEN2, "482a75f80f1085f45b494a0dde24d5d17e3b97eda408cceb86707e0325452bce",
	 "c92abfc34fee4545fd4679d5e32d48e9584cb0b5a17835fb6e1483d56446a81f"},
	{PRE_DEEPSEEK_LLM, "927b56eaf7d13ec223d358e2bb5b9d13097054e56f191657778d50c07a7ac6d7",
	 "bba04412ed4ce06429f568b1cdfe7dbf292d692c87d4f211a8d9b2b182156d2a"},
	{PRE_DEEPSEEK_CODER, "003b188b762a8525fe75caed36808d639c0fabb5b9b2657bff654b2af6029c39",
	 "14c67f7122f37a41bfbf777ad39eaabc52cabb68665ac648e70e3c790be159eb"},
	{PRE_DEEPSEEK3, "4cc5ea63766607cdb8ed2f47998831c8102364de5d3f85004902307fb49ee7c2",
	 "a0b749ba753b547b3b810e965c9f39cc08b7c4516305c39054ce668dda7888ff"},
};

static bool
has_line_separator(Bytes text)
{
	for (uint32_t i = 0; i + 3 <= text.size; i++)
		if (!memcmp(text.data + i, "\xE2\x80\xA8", 3))
			return true;
	return false;
}

static void
check_digest(Harness *h, const Result *r, const Golden *golden, uint32_t n, const char *wanted)
{
	Text *ids = text_new(h->arena);
	uint8_t digest[32];
	char hex[65];

	for (uint32_t i = 0; i < n; i++) {
		if (golden && has_line_separator(golden[i].text))
			continue;
		text_add(ids, (const char *)&r[i].n, sizeof r[i].n);
		text_add(ids, (const char *)r[i].ids, (size_t)r[i].n * sizeof *r[i].ids);
	}
	sha256_of(ids->text, ids->size, digest);
	sha256_hex(digest, hex);
	assert_string_equal(hex, wanted);
}

static void
rules_of_others(void **state)
{
	static Golden golden[2000];
	const char *shared = getenv("LATHE_SHARED");

	(void)state;
	for (size_t k = 0; k < sizeof other_rules / sizeof *other_rules; k++) {
		Harness *h = harness_new();
		Model *m = read_model(h);
		uint32_t n = golden_read(h->arena, "tests/exec/tokenizer_nasty.txt", golden, 2000);
		size_t size;
		m->tokenizer.pre = &pre_tokenizers[other_rules[k].pre];
		m->tokenizer.whole_words = other_rules[k].pre == PRE_LLAMA3;
		harness_build(h, &m->tokenizer, "-O1");
		for (uint32_t i = 0; i < n; i++)
			harness_case(h, golden[i].special, golden[i].text.data,
				     golden[i].text.size);
		if (shared) {
			const char *path = arena_printf(h->arena, "%s/data/wiki.test.raw", shared);
			harness_case(h, 0, harness_file(h, path, &size), CORPUS_PART);
		}
		Result *r = harness_run(h);
		check_digest(h, r, golden, n, other_rules[k].nasty);
		if (shared)
			check_digest(h, r + n, NULL, 1, other_rules[k].part);
		harness_free(h);
	}
}

static void
corpus(void **state)
{
	const char *shared = getenv("LATHE_SHARED");
	Harness *h = harness_new();
	Model *m = read_model(h);
	char hex[65];
	uint8_t digest[32];
	size_t size;

	(void)state;
	if (!shared) {
		print_message("skipped: no LATHE_SHARED, so no wiki.test.raw\n");
		harness_free(h);
		skip();
	}
	harness_build(h, &m->tokenizer, "-O2");
	const char *path = arena_printf(h->arena, "%s/data/wiki.test.raw", shared);
	const char *text = harness_file(h, path, &size);
	size -= text[size - 1] == '\n';
	harness_case(h, TIME, text, size);
	Result *r = harness_run(h);
	sha256_of(r->ids, (size_t)r->n * sizeof *r->ids, digest);
	sha256_hex(digest, hex);
	assert_int_equal(r->n, CORPUS_IDS);
	assert_string_equal(hex, corpus_sha256);
	assert_true(same(r->text[0], text, size));
	const char *seconds = harness_read(h, "times", &size);
	print_message("%d ids in %.5s s\n", r->n, seconds);
	assert_true(strtod(seconds, NULL) < 0.5);
	harness_free(h);
}

static void
long_runs(void **state)
{
	static const char *const units[] = {"a", " ", "\n", "ab", "\xC3\xA9",	     "=",
					    "7", "'", " a", "'s", "\xF0\x9F\x98\x80"};
	enum { UNITS = sizeof units / sizeof units[0] };
	Harness *h = harness_new();
	Model *m = read_model(h);
	Text *text[UNITS];
	size_t size;

	(void)state;
	harness_build(h, &m->tokenizer, "-O2");
	for (int i = 0; i < UNITS; i++) {
		text[i] = text_new(h->arena);
		while (text[i]->size < LONG_TEXT)
			text_add(text[i], units[i], strlen(units[i]));
		harness_case(h, TIME, text[i]->text, text[i]->size);
	}
	Result *r = harness_run(h);
	for (int i = 0; i < UNITS; i++)
		assert_true(same(r[i].text[0], text[i]->text, text[i]->size));
	char *times = arena_printf(h->arena, "%s", harness_read(h, "times", &size));
	for (int i = 0; i < UNITS; i++)
		assert_true(strtod(times, &times) < 2);
	harness_free(h);
}

static void
size_of_the_artefact(void **state)
{
	Harness *h = harness_new();
	Model *m = read_model(h);
	size_t size;

	(void)state;
	harness_build(h, &m->tokenizer, "-O2");
	harness_read(h, "t_tokenizer.c", &size);
	print_message("%zu bytes of C\n", size);
	assert_true(size < 3000000);
	harness_shell(h, "${CC:-cc} -std=c99 -O2 -c t_tokenizer.c");
	harness_read(h, "t_tokenizer.o", &size);
	print_message("%zu bytes of object\n", size);
	assert_true(size < 900000);
	harness_free(h);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nasty_texts_smollm), cmocka_unit_test(nasty_texts_gpt2),
		cmocka_unit_test(rules_of_others),    cmocka_unit_test(corpus),
		cmocka_unit_test(long_runs),	      cmocka_unit_test(size_of_the_artefact),
	};

	if (!getenv("LATHE_MODELS")) {
		print_message("skipped: no LATHE_MODELS, so no SmolLM2\n");
		return 77;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
