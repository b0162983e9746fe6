/*
 * Tokenizers under test: emitted, compiled with tokenizer_driver.c and run in a process of their
 * own; and plain references, written from the published rules over the tokens' text, quadratic.
 */
#ifndef LATHE_TESTS_TOKENIZER_HARNESS_H
#define LATHE_TESTS_TOKENIZER_HARNESS_H

#define _POSIX_C_SOURCE 200809L
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "gen/model/model.h"
#include "targets/target.h"
#include "targets/tokenizer.h"

enum { PARSE_SPECIAL = 1, DECODE = 2, TIME = 4 };

static const char sanitized[] = "-O1 -g -fsanitize=address,undefined -fno-sanitize-recover=all";

typedef struct Result {
	int32_t n;
	int32_t *ids;
	Bytes *text; /* of the first k ids, k = 0 .. n, with DECODE; else one, of all */
} Result;

typedef struct Harness {
	Arena *arena;
	Diag *diag;
	char folder[64];
	Text *cases;
	uint32_t *flags;
	uint32_t n_cases, room;
} Harness;

static inline Harness *
harness_new(void)
{
	Arena *a = arena_new();
	Harness *h = ARENA_NEW(a, Harness);

	h->arena = a;
	h->diag = diag_new(a, stderr);
	h->cases = text_new(a);
	strcpy(h->folder, "/tmp/lathe-tokenizer-XXXXXX");
	assert_non_null(mkdtemp(h->folder));
	return h;
}

static inline void
harness_shell(Harness *h, const char *command)
{
	const char *line = arena_printf(h->arena, "cd %s && %s", h->folder, command);

	if (system(line) != 0)
		fail_msg("failed: %s", line);
}

static inline void
harness_free(Harness *h)
{
	harness_shell(h, "rm -rf \"$PWD\"");
	arena_free(h->arena);
}

static inline void
harness_write(Harness *h, const char *name, const char *data, size_t size)
{
	FILE *f = fopen(arena_printf(h->arena, "%s/%s", h->folder, name), "wb");

	assert_non_null(f);
	assert_int_equal(fwrite(data, 1, size, f), size);
	assert_int_equal(fclose(f), 0);
}

/* Writes t_tokenizer.c and t_tokenizer.h. */
static inline void
harness_emit(Harness *h, const Tokenizer *t)
{
	size_t size;
	const char *header = template_text("tokenizer.h", &size), *hole;
	Text *text = text_new(h->arena);

	for (; (hole = strchr(header, '@')); header = hole + strlen("@name@")) {
		text_add(text, header, (size_t)(hole - header));
		text_add(text, "t", 1);
	}
	text_add(text, header, strlen(header));
	harness_write(h, "t_tokenizer.h", text->text, text->size);
	text = text_new(h->arena);
	assert_true(tokenizer_emit(text, t, h->diag, "t", "t"));
	harness_write(h, "t_tokenizer.c", text->text, text->size);
}

/* Emits t and compiles it with the driver. */
static inline void
harness_build(Harness *h, const Tokenizer *t, const char *flags)
{
	char root[1024];

	harness_emit(h, t);
	assert_non_null(getcwd(root, sizeof root));
	harness_shell(h, arena_printf(h->arena,
				      "${CC:-cc} -std=c99 %s -Wall -Wextra -Wpedantic -Wshadow "
				      "-Werror -I. t_tokenizer.c %s/tests/exec/tokenizer_driver.c "
				      "-o driver",
				      flags, root));
}

static inline void
harness_case(Harness *h, uint32_t flags, const void *text, size_t n)
{
	uint32_t head[2] = {flags, (uint32_t)n};

	if (h->n_cases == h->room) {
		uint32_t *more = ARENA_ARRAY(h->arena, uint32_t, 2 * (size_t)h->room + 64);
		if (h->room)
			memcpy(more, h->flags, h->room * sizeof *more);
		h->flags = more;
		h->room = 2 * h->room + 64;
	}
	h->flags[h->n_cases++] = flags;
	text_add(h->cases, (const char *)head, sizeof head);
	text_add(h->cases, text, n);
}

static inline const char *
harness_file(Harness *h, const char *path, size_t *size)
{
	FILE *f = fopen(path, "rb");
	char *data;

	assert_non_null(f);
	assert_int_equal(fseek(f, 0, SEEK_END), 0);
	*size = (size_t)ftell(f);
	rewind(f);
	data = arena_alloc(h->arena, *size + 1);
	assert_int_equal(fread(data, 1, *size, f), *size);
	fclose(f);
	return data;
}

static inline const char *
harness_read(Harness *h, const char *name, size_t *size)
{
	return harness_file(h, arena_printf(h->arena, "%s/%s", h->folder, name), size);
}

/* Runs all cases; the driver's standard error is left in the file "times". */
static inline Result *
harness_run(Harness *h)
{
	Result *results = ARENA_ARRAY(h->arena, Result, h->n_cases);
	size_t size;
	const char *at, *end;

	harness_write(h, "cases", h->cases->text, h->cases->size);
	harness_shell(h, "./driver <cases >results 2>times || { cat times; false; }");
	at = harness_read(h, "results", &size);
	end = at + size;
	for (uint32_t i = 0; i < h->n_cases; i++) {
		Result *r = &results[i];
		int32_t texts;
		assert_true(end - at >= 4);
		memcpy(&r->n, at, 4);
		r->ids = arena_alloc(h->arena, 4 * (size_t)r->n);
		memcpy(r->ids, at + 4, 4 * (size_t)r->n);
		at += 4 + 4 * (size_t)r->n;
		texts = h->flags[i] & DECODE ? r->n + 1 : 1;
		r->text = ARENA_ARRAY(h->arena, Bytes, (size_t)texts);
		for (int32_t k = 0; k < texts; k++) {
			memcpy(&r->text[k].size, at, 4);
			r->text[k].data = at + 4;
			at += 4 + r->text[k].size;
		}
	}
	assert_ptr_equal(at, end);
	return results;
}

/* ---- references ---------------------------------------------------------------------------- */

static inline bool
same(Bytes a, const char *data, size_t size)
{
	return a.size == size && memcmp(a.data, data, size) == 0;
}

static inline int32_t
reference_find(const Tokenizer *t, const char *data, size_t size)
{
	for (uint32_t i = 0; i < t->n_tokens; i++)
		if (same(t->tokens[i], data, size))
			return (int32_t)i;
	return -1;
}

/* Well-formed UTF-8 as it is, U+FFFD for each maximal part of an ill-formed sequence: the Unicode
 * Standard, table 3-7 and "substitution of maximal subparts". */
static inline Bytes
reference_utf8(Arena *a, Bytes in)
{
	static const struct {
		unsigned char first_low, first_high, low, high, size;
	} rows[] = {
		{0x00, 0x7F, 0, 0, 1},	     {0xC2, 0xDF, 0x80, 0xBF, 2},
		{0xE0, 0xE0, 0xA0, 0xBF, 3}, {0xE1, 0xEC, 0x80, 0xBF, 3},
		{0xED, 0xED, 0x80, 0x9F, 3}, {0xEE, 0xEF, 0x80, 0xBF, 3},
		{0xF0, 0xF0, 0x90, 0xBF, 4}, {0xF1, 0xF3, 0x80, 0xBF, 4},
		{0xF4, 0xF4, 0x80, 0x8F, 4},
	};
	Text *out = text_new(a);

	for (uint32_t at = 0; at < in.size;) {
		const unsigned char *s = (const unsigned char *)in.data + at;
		uint32_t left = in.size - at, good = 0, want = 1;
		for (size_t r = 0; r < sizeof rows / sizeof rows[0]; r++) {
			if (s[0] < rows[r].first_low || s[0] > rows[r].first_high)
				continue;
			want = rows[r].size;
			good = 1;
			if (want > 1 && left > 1 && s[1] >= rows[r].low && s[1] <= rows[r].high)
				good = 2;
			while (good >= 2 && good < want && good < left && s[good] >> 6 == 2)
				good++;
		}
		if (good == want)
			text_add(out, in.data + at, want);
		else
			text_add(out, "\xEF\xBF\xBD", 3);
		at += good ? good : 1;
	}
	return (Bytes){out->text, (uint32_t)out->size};
}

/* llama2.c: characters or their bytes, then the best pair again and again. */
static inline int32_t
reference_scored(const Tokenizer *t, Bytes text, int32_t *ids)
{
	int32_t n = 0;

	if (text.size > 0 && t->add_space_prefix)
		ids[n++] = reference_find(t, " ", 1);
	for (uint32_t at = 0, end; at < text.size; at = end) {
		end = at + 1;
		while (end < text.size && end - at < 4 && (text.data[end] & 0xC0) == 0x80)
			end++;
		int32_t id = reference_find(t, text.data + at, end - at);
		if (id >= 0)
			ids[n++] = id;
		for (uint32_t i = at; id < 0 && i < end; i++)
			ids[n++] = (unsigned char)text.data[i] + 3;
	}
	for (;;) {
		float best_score = -1e10f;
		int32_t best = -1, best_id = -1;
		for (int32_t i = 0; i + 1 < n; i++) {
			Bytes x = t->tokens[ids[i]], y = t->tokens[ids[i + 1]];
			char pair[256];
			memcpy(pair, x.data, x.size);
			memcpy(pair + x.size, y.data, y.size);
			int32_t id = reference_find(t, pair, x.size + y.size);
			if (id >= 0 && t->scores[id] > best_score) {
				best_score = t->scores[id];
				best = i;
				best_id = id;
			}
		}
		if (best < 0)
			return n;
		ids[best] = best_id;
		n--;
		memmove(ids + best + 1, ids + best + 2, (size_t)(n - best - 1) * sizeof *ids);
	}
}

/* The bytes that llama2.c prints for a token; the space in front of the first goes. */
static inline Bytes
bytes_of_scored(const Tokenizer *t, int32_t id, bool first)
{
	static char byte;
	Bytes text = t->tokens[id];
	unsigned value;

	if (id < 3)
		return (Bytes){"", 0};
	if (id < 259 && text.size == 6 && sscanf(text.data, "<0x%02X>", &value) == 1) {
		byte = (char)value;
		return (Bytes){&byte, 1};
	}
	if (first && text.data[0] == ' ')
		return (Bytes){text.data + 1, text.size - 1};
	return text;
}

/* ---- expected ids -------------------------------------------------------------------------- */

enum { MAX_LINE = 1 << 16 };

/* A line of tokenizer_nasty.txt or tokenizer_llama2c.txt; a missing second list is the first. */
typedef struct Golden {
	uint32_t special;
	Bytes text;
	int32_t *ids[2], n[2];
} Golden;

static inline int
hex_digit(char c)
{
	return c <= '9' ? c - '0' : c - 'a' + 10;
}

static inline void
golden_ids(Arena *a, const char *word, int32_t **ids, int32_t *n)
{
	*ids = ARENA_ARRAY(a, int32_t, strlen(word));
	*n = 0;
	while (*word >= '0' && *word <= '9') {
		char *end;
		(*ids)[(*n)++] = (int32_t)strtol(word, &end, 10);
		word = *end == ',' ? end + 1 : end;
	}
}

static inline uint32_t
golden_read(Arena *a, const char *path, Golden *list, uint32_t room)
{
	FILE *f = fopen(path, "r");
	char *line = arena_alloc(a, MAX_LINE);
	uint32_t count = 0;

	assert_non_null(f);
	while (fgets(line, MAX_LINE, f)) {
		char *rest, *word[4];
		word[0] = strtok_r(line, " \n", &rest);
		for (int i = 1; i < 4; i++)
			word[i] = strtok_r(NULL, " \n", &rest);
		if (word[0][0] == '#')
			continue;
		assert_non_null(word[2]);
		assert_true(count < room);
		Golden *g = &list[count++];
		size_t size = word[1][0] == '-' ? 0 : strlen(word[1]) / 2;
		char *text = arena_alloc(a, size + 1);
		for (size_t i = 0; i < size; i++)
			text[i] = (char)(hex_digit(word[1][2 * i]) << 4 |
					 hex_digit(word[1][2 * i + 1]));
		g->special = (uint32_t)(word[0][0] - '0');
		g->text = (Bytes){text, (uint32_t)size};
		golden_ids(a, word[2], &g->ids[0], &g->n[0]);
		golden_ids(a, word[3] ? word[3] : word[2], &g->ids[1], &g->n[1]);
	}
	fclose(f);
	return count;
}

/* Compares the decoded text of each prefix of r's ids with the tokens' bytes joined. */
static inline void
check_decoded(Arena *a, const Result *r, Bytes (*bytes_of)(const Tokenizer *, int32_t, bool first),
	      const Tokenizer *t)
{
	Text *joined = text_new(a);

	for (int32_t k = 0; k <= r->n; k++) {
		Bytes want = reference_utf8(a, (Bytes){joined->text, (uint32_t)joined->size});
		if (!same(r->text[k], want.data, want.size))
			fail_msg("the first %d ids give '%.*s', not '%s'", k, (int)r->text[k].size,
				 r->text[k].data, want.data);
		if (k < r->n) {
			Bytes next = bytes_of(t, r->ids[k], k == 0);
			text_add(joined, next.data, next.size);
		}
	}
}

static inline void
check_ids(const Result *r, const int32_t *ids, int32_t n, const char *text, size_t size)
{
	bool good = r->n == n && memcmp(r->ids, ids, (size_t)n * sizeof *ids) == 0;

	if (good)
		return;
	fprintf(stderr, "text:");
	for (size_t i = 0; i < size; i++)
		fprintf(stderr, " %02x", (unsigned char)text[i]);
	fprintf(stderr, "\nwanted:");
	for (int32_t i = 0; i < n; i++)
		fprintf(stderr, " %d", ids[i]);
	fprintf(stderr, "\ngot:");
	for (int32_t i = 0; i < r->n; i++)
		fprintf(stderr, " %d", r->ids[i]);
	fprintf(stderr, "\n");
	fail_msg("the ids differ");
}

/* A small generator, the same on every host. */
static inline uint32_t
random_next(uint64_t *state, uint32_t below)
{
	*state = *state * 6364136223846793005u + 1442695040888963407u;
	return (uint32_t)(*state >> 33) % below;
}

#endif
