/* Rows of calibration tokens: memory up to a limit, then a file that has no name. */
#define _GNU_SOURCE
#include "stream.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { FIRST_PIECES = 64 };

typedef struct Piece {
	void *at; /* null: nothing */
	size_t bytes;
	bool spilled;
	bool idle; /* given back; in memory, to be taken again without the kernel's clearing it */
} Piece;

struct Pool {
	Arena *run;
	uint64_t limit, used; /* used: of pieces in memory, idle ones too */
	Piece *pieces;
	size_t count; /* of places for pieces */
};

Pool *
pool_new(Arena *run, uint64_t limit)
{
	Pool *p = ARENA_NEW(run, Pool);
	*p = (Pool){.run = run,
		    .limit = limit,
		    .pieces = ARENA_ARRAY(run, Piece, FIRST_PIECES),
		    .count = FIRST_PIECES};
	return p;
}

static void
unmap(Pool *p, Piece *one)
{
	munmap(one->at, one->bytes);
	p->used -= one->spilled ? 0 : one->bytes;
	*one = (Piece){0};
}

static Piece *
free_piece(Pool *p)
{
	for (size_t i = 0; i < p->count; i++)
		if (!p->pieces[i].at)
			return &p->pieces[i];
	Piece *more = ARENA_ARRAY(p->run, Piece, 2 * p->count);
	memcpy(more, p->pieces, p->count * sizeof *more);
	p->pieces = more;
	p->count *= 2;
	return &more[p->count / 2];
}

/* An idle piece of the size; null: there is none, and where memory is short the others go. */
static Piece *
idle_piece(Pool *p, size_t bytes)
{
	for (size_t i = 0; i < p->count; i++)
		if (p->pieces[i].idle && p->pieces[i].bytes == bytes)
			return &p->pieces[i];
	for (size_t i = 0; i < p->count && p->used + bytes > p->limit; i++)
		if (p->pieces[i].idle)
			unmap(p, &p->pieces[i]);
	return NULL;
}

/* An unlinked file of the size, in TMPDIR. */
static int
spill_file(size_t bytes)
{
	const char *folder = temporary_place();
	char path[4096];
	const int n = snprintf(path, sizeof path, "%s/lathe-rows.XXXXXX", folder);
	const int f = n < (int)sizeof path ? mkstemp(path) : -1;
	if (f < 0)
		fatal_environment("cannot make a temporary file in %s: %s", folder,
				  strerror(errno));
	unlink(path);
	const int error = posix_fallocate(f, 0, (off_t)bytes);
	if (error)
		fatal_environment("cannot keep %zu bytes of rows in %s: %s", bytes, folder,
				  strerror(error));
	return f;
}

float *
pool_take(Pool *p, size_t floats)
{
	const size_t bytes = (floats ? floats : 1) * sizeof(float);
	Piece *idle = idle_piece(p, bytes);
	if (idle) {
		idle->idle = false;
		return idle->at;
	}
	const bool spilled = p->used + bytes > p->limit;
	const int f = spilled ? spill_file(bytes) : -1;
	void *at = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
			spilled ? MAP_SHARED : MAP_PRIVATE | MAP_ANONYMOUS, f, 0);
	if (at == MAP_FAILED)
		fatal_environment("out of memory: %zu bytes of rows: %s", bytes, strerror(errno));
	if (spilled)
		close(f);
	else
		p->used += bytes;
	*free_piece(p) = (Piece){at, bytes, spilled, false};
	return at;
}

void
pool_give(Pool *p, float *rows)
{
	for (size_t i = 0; i < p->count; i++) {
		Piece *one = &p->pieces[i];
		if (!rows || one->at != rows)
			continue;
		if (one->spilled)
			unmap(p, one);
		else
			one->idle = true;
		return;
	}
	INVARIANT(!rows);
}

void
pool_free(Pool *p)
{
	for (size_t i = 0; i < p->count; i++)
		if (p->pieces[i].at)
			unmap(p, &p->pieces[i]);
}
