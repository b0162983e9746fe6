/* JSON: values, positions, strictness, and documents printed and read back. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "gen/model/json.h"

static const Json *
parse(Arena *a, const char *text, int *errors)
{
	Diag *d = diag_new(a, NULL);
	diag_limit(d, 0);
	const uint32_t file = diag_file(d, "test.json", text, strlen(text));
	const Json *v = json_parse(a, d, file, 0, text, strlen(text));
	*errors = diag_errors(d);
	assert_true(!v == (*errors > 0));
	return v;
}

static const Json *
good(Arena *a, const char *text)
{
	int errors;
	const Json *v = parse(a, text, &errors);
	assert_non_null(v);
	return v;
}

static void
values_and_places(void **state)
{
	(void)state;
	Arena *a = arena_new();
	const Json *v = good(a, " {\"a\": [1, -2.5e3, true],\n \"b\": {\"\\u00e9\\ud83d\\ude00\": "
				"\"x\\n\\\"\"}, \"c\": null}");
	assert_int_equal(v->kind, JSON_OBJECT);
	assert_int_equal(v->count, 3);
	assert_int_equal(v->loc.offset, 1);
	const Json *list = json_get(v, "a");
	assert_int_equal(list->count, 3);
	assert_int_equal(list->key_loc.offset, 2);
	assert_int_equal(list->loc.offset, 7);
	assert_true(list->first->integral && list->first->integer == 1);
	assert_true(!list->first->next->integral && list->first->next->number == -2500);
	assert_int_equal(list->first->next->loc.offset, 11);
	assert_true(list->first->next->next->boolean);
	const Json *inner = json_get(json_get(v, "b"), "\xc3\xa9\xf0\x9f\x98\x80");
	assert_string_equal(inner->string, "x\n\"");
	assert_int_equal(json_get(v, "c")->kind, JSON_NULL);
	assert_null(json_get(v, "d"));
	assert_null(json_get(list, "a"));
	arena_free(a);
}

static void
numbers_are_exact(void **state)
{
	(void)state;
	static const struct {
		const char *text;
		bool integral;
		int64_t integer;
	} cases[] = {
		{"0", true, 0},
		{"-0", true, 0},
		{"9007199254740993", true, 9007199254740993},
		{"9223372036854775807", true, INT64_MAX},
		{"9223372036854775808", false, 0},
		{"-9223372036854775807", true, -INT64_MAX},
		{"1.0", false, 0},
		{"1e2", false, 0},
		{"0.1", false, 0},
		{"2.2250738585072014e-308", false, 0},
		{"5e-324", false, 0},
		{"123456789012345678901234567890", false, 0},
	};
	Arena *a = arena_new();
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		const Json *v = good(a, cases[i].text);
		assert_int_equal(v->kind, JSON_NUMBER);
		assert_true(v->integral == cases[i].integral);
		if (v->integral)
			assert_true(v->integer == cases[i].integer);
		assert_true(v->number == strtod(cases[i].text, NULL));
	}
	arena_free(a);
}

static void
malformed_texts_are_refused(void **state)
{
	(void)state;
	static const char *const texts[] = {
		"",
		"{",
		"[",
		"[1",
		"[1,",
		"[1,]",
		"{\"a\"",
		"{\"a\":",
		"{a:1}",
		"01",
		"1.",
		".5",
		"-",
		"+1",
		"1e",
		"1e+",
		"tru",
		"nul",
		"\"",
		"\"\\\"",
		"\"\\q\"",
		"\"\t\"",
		"\"\\u12",
		"\"\\uD800\"",
		"1 2",
		"[1] x",
		"NaN",
		"1e400",
		"\"\xff\"",
		"\xef\xbb\xbf[]",
		"{\"a\":1,}",
		"{\"a\":1,\"a\":2}",
		"{\"a\":{\"b\":1,\"b\":1}}",
		"\"\\u0000\"",
		"'a'",
		"\"\\ud83d\\u0041\"",
		"\"\\udc00\"",
		"[1 2]",
		"{\"a\" 1}",
		"\xc0\x80",
		"\"\xed\xa0\x80\"",
	};
	Arena *a = arena_new();
	int errors;
	for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
		assert_null(parse(a, texts[i], &errors));
		assert_int_equal(errors, 1);
	}
	arena_free(a);
}

static void
depth_is_bounded(void **state)
{
	(void)state;
	Arena *a = arena_new();
	char text[4 * JSON_DEPTH];
	int errors;
	for (int depth = JSON_DEPTH - 1; depth <= JSON_DEPTH + 1; depth++) {
		memset(text, '[', (size_t)depth);
		memset(text + depth, ']', (size_t)depth);
		text[2 * depth] = 0;
		assert_true(!parse(a, text, &errors) == (depth > JSON_DEPTH));
	}
	arena_free(a);
}

/* ---- random documents --------------------------------------------------------------------- */

static uint32_t
next_random(uint32_t *state, uint32_t n)
{
	*state = *state * 1664525u + 1013904223u;
	return (*state >> 8) % n;
}

/* A document as text and as a list of what is in it, in order. */
typedef struct Document {
	Text *text, *list;
	uint32_t seed;
} Document;

static void
space(Document *d)
{
	static const char *const spaces[] = {"", "", " ", "\n", "\t ", "\r\n"};
	text_printf(d->text, "%s", spaces[next_random(&d->seed, 6)]);
}

static void
print_value(Document *d, int depth)
{
	static const char *const strings[] = {"",      "a",    "\xc3\xa9",	  "a\"b\\",
					      "tab\t", "\x7f", "\xf0\x9f\x98\x80"};
	const uint32_t kind = next_random(&d->seed, depth > 5 ? 4 : 6);
	space(d);
	if (kind == 0) {
		const char *s = strings[next_random(&d->seed, 7)];
		text_json_string(d->text, s, strlen(s));
		text_printf(d->list, "s%s;", s);
	} else if (kind == 1) {
		const int64_t n = (int64_t)next_random(&d->seed, 1 << 24) - (1 << 23);
		text_printf(d->text, "%lld", (long long)n);
		text_printf(d->list, "i%lld;", (long long)n);
	} else if (kind == 2) {
		const double x = ldexp((double)next_random(&d->seed, 1 << 24) + 0.5,
				       (int)next_random(&d->seed, 200) - 100);
		text_printf(d->text, "%.17e", x);
		text_printf(d->list, "d%a;", x);
	} else if (kind == 3) {
		const bool b = next_random(&d->seed, 2);
		text_printf(d->text, "%s", b ? "true" : "false");
		text_printf(d->list, "b%d;", b);
	} else {
		const uint32_t n = next_random(&d->seed, 5);
		text_printf(d->text, kind == 4 ? "[" : "{");
		text_printf(d->list, kind == 4 ? "[" : "{");
		for (uint32_t i = 0; i < n; i++) {
			space(d);
			if (kind == 5)
				text_printf(d->text, "\"key %u\" :", i);
			print_value(d, depth + 1);
			text_printf(d->text, i + 1 < n ? "," : "");
		}
		space(d);
		text_printf(d->text, kind == 4 ? "]" : "}");
		text_printf(d->list, "];");
	}
	space(d);
}

static void
list_value(Text *t, const Json *v, uint32_t position)
{
	uint32_t i = 0;
	if (v->key) {
		char key[16];
		snprintf(key, sizeof key, "key %u", position);
		assert_string_equal(v->key, key);
	}
	switch ((JsonKind)v->kind) {
	case JSON_STRING:
		text_printf(t, "s%s;", v->string);
		return;
	case JSON_NUMBER:
		if (v->integral)
			text_printf(t, "i%lld;", (long long)v->integer);
		else
			text_printf(t, "d%a;", v->number);
		return;
	case JSON_BOOL:
		text_printf(t, "b%d;", v->boolean);
		return;
	default:
		text_printf(t, v->kind == JSON_ARRAY ? "[" : "{");
		for (const Json *e = v->first; e; e = e->next)
			list_value(t, e, i++);
		assert_int_equal(i, v->count);
		text_printf(t, "];");
	}
}

static void
random_documents_read_back(void **state)
{
	(void)state;
	Arena *a = arena_new();
	for (uint32_t seed = 0; seed < 3000; seed++) {
		Document d = {text_new(a), text_new(a), seed};
		Text *list = text_new(a);
		print_value(&d, 0);
		list_value(list, good(a, d.text->text), 0);
		assert_string_equal(list->text, d.list->text);
		/* A text cut inside a container or string is never a document. */
		int errors;
		const char first = d.text->text[strspn(d.text->text, " \t\r\n")];
		size_t end = d.text->size;
		while (end && strchr(" \t\r\n", d.text->text[end - 1]))
			end--;
		if (first == '[' || first == '{' || first == '"') {
			d.text->text[next_random(&d.seed, (uint32_t)end)] = 0;
			assert_null(parse(a, d.text->text, &errors));
		}
		arena_reset(a);
	}
	arena_free(a);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(values_and_places),	       cmocka_unit_test(numbers_are_exact),
		cmocka_unit_test(malformed_texts_are_refused), cmocka_unit_test(depth_is_bounded),
		cmocka_unit_test(random_documents_read_back),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
