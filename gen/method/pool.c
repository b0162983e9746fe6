/* Rows of calibration tokens: memory up to a limit, then a file that has no name. */
#define _GNU_SOURCE
#include "stream.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { PIECES = 256 };

typedef struct Piece {
	void *at; /* null: free */
	size_t bytes;
	bool spilled;
} Piece;

struct Pool {
	uint64_t limit, used;
	Piece pieces[PIECES];
};

Pool *
pool_new(Arena *run, uint64_t limit)
{
	Pool *p = ARENA_NEW(run, Pool);
	p->limit = limit;
	return p;
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
	Piece *free_piece = NULL;
	for (int i = 0; i < PIECES && !free_piece; i++)
		free_piece = p->pieces[i].at ? NULL : &p->pieces[i];
	INVARIANT(free_piece);
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
	*free_piece = (Piece){at, bytes, spilled};
	return at;
}

void
pool_give(Pool *p, float *rows)
{
	for (int i = 0; i < PIECES; i++) {
		Piece *one = &p->pieces[i];
		if (!rows || one->at != rows)
			continue;
		munmap(one->at, one->bytes);
		p->used -= one->spilled ? 0 : one->bytes;
		one->at = NULL;
		return;
	}
	INVARIANT(!rows);
}

void
pool_free(Pool *p)
{
	for (int i = 0; i < PIECES; i++)
		pool_give(p, p->pieces[i].at);
}
