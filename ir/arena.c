/* Bump allocation in doubling chunks, and the overflow checks that every reader uses. */
#include "support.h"

#include <stdlib.h>
#include <string.h>

typedef struct Chunk {
	struct Chunk *next;
	size_t size, used; /* of the bytes behind the header */
} Chunk;

struct Arena {
	Chunk *chunk; /* the newest, the only one with room */
};

enum { CHUNK_ALIGN = 64, CHUNK_FIRST = 1 << 16 };
/* The payload starts at the first 64-byte boundary behind the header. */
#define CHUNK_HEADER round_up(sizeof(Chunk), CHUNK_ALIGN)

static Chunk *
chunk_new(size_t size, Chunk *next)
{
	Chunk *c = size < SIZE_MAX - 2 * CHUNK_ALIGN
			   ? aligned_alloc(CHUNK_ALIGN, CHUNK_HEADER + round_up(size, CHUNK_ALIGN))
			   : NULL;
	if (!c)
		fatal_environment("out of memory: %zu more bytes are needed", size);
	c->next = next;
	c->size = round_up(size, CHUNK_ALIGN);
	c->used = 0;
	return c;
}

static void *
arena_take(Arena *a, size_t size, size_t align)
{
	Chunk *c = a->chunk;
	size_t at = round_up(c->used, align);
	if (at > c->size || c->size - at < size) {
		size_t want = c->size < ((size_t)1 << 26) ? 2 * c->size : c->size;
		c = a->chunk = chunk_new(size > want ? size : want, c);
		at = 0;
	}
	c->used = at + size;
	return memset((char *)c + CHUNK_HEADER + at, 0, size);
}

void *
take_memory(size_t size)
{
	void *p = malloc(size);
	if (!p)
		fatal_environment("out of memory: %zu more bytes are needed", size);
	return p;
}

Arena *
arena_new(void)
{
	Arena *a = take_memory(sizeof *a);
	a->chunk = chunk_new(CHUNK_FIRST, NULL);
	return a;
}

void
arena_free(Arena *a)
{
	for (Chunk *c = a->chunk, *next; c; c = next) {
		next = c->next;
		free(c);
	}
	free(a);
}

void
arena_reset(Arena *a)
{
	for (Chunk *c = a->chunk->next, *next; c; c = next) {
		next = c->next;
		free(c);
	}
	a->chunk->next = NULL;
	a->chunk->used = 0;
}

void *
arena_alloc(Arena *a, size_t size)
{
	return arena_take(a, size, 16);
}

void *
arena_array(Arena *a, size_t count, size_t size)
{
	uint64_t bytes;
	if (!checked_mul(count, size, &bytes) || bytes > SIZE_MAX / 2)
		fatal_environment("out of memory: %zu elements of %zu bytes", count, size);
	return arena_take(a, (size_t)bytes, CHUNK_ALIGN);
}

char *
arena_strndup(Arena *a, const char *s, size_t n)
{
	char *copy = arena_alloc(a, n + 1);
	if (n)
		memcpy(copy, s, n);
	return copy;
}

char *
arena_printf(Arena *a, const char *format, ...)
{
	va_list args, again;
	va_start(args, format);
	va_copy(again, args);
	int n = vsnprintf(NULL, 0, format, args);
	va_end(args);
	INVARIANT(n >= 0);
	char *s = arena_alloc(a, (size_t)n + 1);
	vsnprintf(s, (size_t)n + 1, format, again);
	va_end(again);
	return s;
}

bool
checked_add(uint64_t a, uint64_t b, uint64_t *r)
{
	*r = a + b;
	return *r >= a;
}

bool
checked_mul(uint64_t a, uint64_t b, uint64_t *r)
{
	*r = a * b;
	return a == 0 || *r / a == b;
}

float *
arena_floats(Arena *a, const double *x, size_t n)
{
	float *y = ARENA_ARRAY(a, float, n);
	for (size_t i = 0; i < n; i++)
		y[i] = (float)x[i];
	return y;
}
