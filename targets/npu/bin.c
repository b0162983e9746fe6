#include "bin.h"

#include <string.h>

enum { BIN_ALIGN = 64, STORED_FIRST = 256 };

const ElementInfo element_table[ELEMENTS] = {
#define ELEMENT(e, type, port, bits) {type, port, bits},
#include "elements.def"
};

/* A constant that bin_add wrote; bytes 0: an empty place. */
typedef struct Stored {
	uint8_t digest[32];
	uint64_t offset, bytes;
} Stored;

struct Bin {
	Arena *run;
	OutFile *file;
	Stored *stored; /* by digest: the place of its first bytes, or one of those behind */
	size_t n_stored, capacity;
	BinPart part; /* begun and not ended */
	bool begun;
};

bool
shape_equal(Shape a, Shape b)
{
	bool same = a.rank == b.rank;
	for (int i = 0; i < a.rank && same; i++)
		same = a.dims[i] == b.dims[i];
	return same;
}

uint64_t
shape_elements(Shape s)
{
	uint64_t n = 1;
	for (int i = 0; i < s.rank; i++) {
		INVARIANT(s.dims[i] >= 0);
		INVARIANT(checked_mul(n, (uint64_t)s.dims[i], &n));
	}
	return n;
}

static uint64_t
part_bytes(Element element, Shape shape)
{
	uint64_t bits;
	INVARIANT(checked_mul(shape_elements(shape), (uint64_t)element_table[element].bits, &bits));
	return bits / 8 + (bits % 8 != 0);
}

Bin *
bin_open(Arena *run, const char *path)
{
	Bin *b = ARENA_NEW(run, Bin);
	b->run = run;
	b->file = outfile_open(run, path);
	b->capacity = STORED_FIRST;
	b->stored = ARENA_ARRAY(run, Stored, b->capacity);
	return b;
}

void
bin_begin(Bin *b, Element element, Shape shape)
{
	static const uint8_t zeros[BIN_ALIGN];
	const uint64_t at = outfile_size(b->file);
	INVARIANT(!b->begun);
	outfile_write(b->file, zeros, (size_t)(round_up(at, BIN_ALIGN) - at));
	b->begun = true;
	b->part = (BinPart){element, shape, outfile_size(b->file), part_bytes(element, shape)};
}

void
bin_piece(Bin *b, const void *data, size_t bytes)
{
	INVARIANT(b->begun);
	outfile_write(b->file, data, bytes);
}

BinPart
bin_end(Bin *b)
{
	INVARIANT(b->begun && outfile_size(b->file) - b->part.offset == b->part.bytes);
	b->begun = false;
	return b->part;
}

/* ---- what is stored already ----------------------------------------------------------------- */

/* The place of a constant, or the empty one where it belongs. */
static Stored *
stored_find(Stored *stored, size_t capacity, const uint8_t digest[32], uint64_t bytes)
{
	size_t i;
	memcpy(&i, digest, sizeof i);
	for (i &= capacity - 1; stored[i].bytes; i = (i + 1) & (capacity - 1))
		if (stored[i].bytes == bytes && !memcmp(stored[i].digest, digest, 32))
			break;
	return &stored[i];
}

static void
stored_grow(Bin *b)
{
	const size_t capacity = 2 * b->capacity;
	Stored *all = ARENA_ARRAY(b->run, Stored, capacity);
	for (size_t i = 0; i < b->capacity; i++)
		if (b->stored[i].bytes)
			*stored_find(all, capacity, b->stored[i].digest, b->stored[i].bytes) =
				b->stored[i];
	b->stored = all;
	b->capacity = capacity;
}

BinPart
bin_add(Bin *b, Element element, Shape shape, const void *data)
{
	const uint64_t bytes = part_bytes(element, shape);
	uint8_t digest[32];
	INVARIANT(bytes > 0);
	sha256_of(data, (size_t)bytes, digest);
	Stored *s = stored_find(b->stored, b->capacity, digest, bytes);
	if (s->bytes)
		return (BinPart){element, shape, s->offset, bytes};
	bin_begin(b, element, shape);
	bin_piece(b, data, (size_t)bytes);
	const BinPart part = bin_end(b);
	memcpy(s->digest, digest, sizeof digest);
	s->offset = part.offset;
	s->bytes = bytes;
	if (2 * ++b->n_stored > b->capacity)
		stored_grow(b);
	return part;
}

uint64_t
bin_bytes(const Bin *b)
{
	return outfile_size(b->file);
}

void
bin_close(Bin *b, uint8_t sha256[32])
{
	INVARIANT(!b->begun);
	outfile_commit(b->file, sha256);
}
