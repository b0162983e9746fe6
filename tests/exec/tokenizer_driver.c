/*
 * Runs an emitted tokenizer of the prefix `t`: cases come on standard input, results leave on
 * standard output. A case is uint32 flags, uint32 size, bytes. A result is int32 n, n ids; where
 * DECODE is set then n + 1 texts, each uint32 size and bytes: the first k ids decoded one by one
 * and flushed, k = 0 .. n; else one text, of all ids. TIME prints the seconds of encoding to
 * stderr. With CHAT the bytes are a turn's, FIRST the first one's; with SYSTEM a system text comes
 * before a 0 byte.
 */
#include "t_tokenizer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { PARSE_SPECIAL = 1, DECODE = 2, TIME = 4, CHAT = 8, FIRST = 16, SYSTEM = 32 };

static void
check(int good, const char *what)
{
	if (!good) {
		fprintf(stderr, "tokenizer_driver: %s\n", what);
		exit(1);
	}
}

/* At least one byte, so that a null pointer is a failure. */
static void *
take(size_t n)
{
	void *p = malloc(n ? n : 1);

	check(p != NULL, "no memory");
	return p;
}

static long
encode(const char *text, size_t size, unsigned flags, int32_t **ids)
{
	size_t bytes = t_encode_scratch(size);
	/* Exactly as much as was asked for, and not aligned. */
	char *scratch = take(bytes + 1);
	long n = t_encode(text, size, NULL, 0, flags & PARSE_SPECIAL, scratch + 1, bytes);
	clock_t begin = clock();

	check(n >= 0, "encode failed");
	check(t_encode(text, size, NULL, 0, 0, scratch + 1, bytes - 1) == -1,
	      "short scratch taken");
	*ids = take((size_t)n * sizeof **ids);
	begin = clock();
	check(t_encode(text, size, *ids, (size_t)n, flags & PARSE_SPECIAL, scratch + 1, bytes) == n,
	      "the count depends on the capacity");
	if (flags & TIME)
		fprintf(stderr, "%.3f\n", (double)(clock() - begin) / CLOCKS_PER_SEC);
	free(scratch);
	return n;
}

static long
turn(const char *text, size_t size, unsigned flags, int32_t **ids)
{
	const char *system = flags & SYSTEM ? text : NULL;
	size_t n_system = system ? strlen(system) : 0, n = size - n_system - (system != NULL);
	const char *user = text + size - n;
	size_t bytes = t_chat_scratch(n_system + n);
	char *scratch = take(bytes + 1);
	long count;

	count = t_chat_turn(!!(flags & FIRST), system, n_system, user, n, NULL, 0, scratch + 1,
			    bytes);
	check(count >= 0, "there is no chat");
	check(t_chat_turn(0, NULL, 0, user, n, NULL, 0, scratch, t_chat_scratch(n) - 1) == -1,
	      "short scratch taken");
	*ids = take((size_t)count * sizeof **ids);
	check(t_chat_turn(!!(flags & FIRST), system, n_system, user, n, *ids, (size_t)count,
			  scratch + 1, bytes) == count,
	      "the count depends on the capacity");
	free(scratch);
	return count;
}

static void
decode(const int32_t *ids, long n)
{
	size_t max = (size_t)t_decode_max();
	char *out = take(((size_t)n + 1) * max), *one = take(max);
	t_decoder d;
	uint32_t size = 0;

	memset(&d, 0, sizeof d);
	for (long i = 0; i <= n; i++) {
		int got = t_decode(&d, i < n ? ids[i] : -1, one);
		check(got >= 0 && (size_t)got <= max, "decode is out of bounds");
		memcpy(out + size, one, (size_t)got);
		size += (uint32_t)got;
	}
	fwrite(&size, sizeof size, 1, stdout);
	fwrite(out, 1, size, stdout);
	free(one);
	free(out);
}

int
main(void)
{
	uint32_t head[2];
	t_decoder d;
	char *one = take((size_t)t_decode_max());

	memset(&d, 0, sizeof d);
	check(t_has_tokenizer() == 1, "there is no tokenizer");
	check(t_decode(&d, -2, one) == -1 && t_decode(&d, INT32_MAX, one) == -1,
	      "a bad id is taken");
	check(t_encode_scratch((size_t)-1) == (size_t)-1, "an absurd size is taken");
	while (fread(head, sizeof head, 1, stdin) == 1) {
		char *text = take((size_t)head[1] + 1);
		int32_t *ids, count;
		long n;
		check(fread(text, 1, head[1], stdin) == head[1], "a case is cut short");
		text[head[1]] = 0;
		n = head[0] & CHAT ? turn(text, head[1], head[0], &ids)
				   : encode(text, head[1], head[0], &ids);
		count = (int32_t)n;
		fwrite(&count, sizeof count, 1, stdout);
		fwrite(ids, sizeof *ids, (size_t)n, stdout);
		for (long k = head[0] & DECODE ? 0 : n; k <= n; k++)
			decode(ids, k);
		free(ids);
		free(text);
	}
	free(one);
	return 0;
}
