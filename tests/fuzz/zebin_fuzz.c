/*
 * Mutants of a zebin: zebin_fuzz FILE COUNT SEED. Each lies at an odd address at the end of memory
 * of its exact size, so a sanitizer sees every byte read beyond it. Mutant i is a function of
 * (file, seed, i). Some are cut, some have numbers of the headers replaced, some have bits flipped.
 */
#include <stdlib.h>
#include <string.h>

#include "targets/arc/zebin.h"
#include "tests/random.h"

enum { FIELDS_MAX = 8, TAIL = 1 << 10 };

/* Numbers that readers of tables trip over. */
static uint64_t
odd_number(uint64_t *r, size_t size)
{
	static const uint64_t numbers[] = {
		0, 1, 63, 64, 65535, INT32_MAX, UINT32_MAX, INT64_MAX, UINT64_MAX - 63, UINT64_MAX};
	const uint64_t n = random_below(r, 3)
				   ? numbers[random_below(r, sizeof numbers / sizeof *numbers)]
				   : size;
	return n + random_below(r, 3) - 1;
}

/* The header, or the tables at the end. */
static size_t
place(uint64_t *r, size_t size)
{
	const size_t tail = size < TAIL ? size : TAIL;
	return random_below(r, 2) ? random_below(r, size < 64 ? size : 64)
				  : size - 1 - random_below(r, tail);
}

static size_t
mutate(uint8_t *data, size_t size, uint64_t *r)
{
	if (random_below(r, 4) == 0)
		size = random_below(r, size) + 1;
	for (uint64_t n = random_below(r, FIELDS_MAX); n > 0; n--) {
		const size_t at = place(r, size), width = (size_t)1 << random_below(r, 4);
		const uint64_t v = odd_number(r, size);
		if (random_below(r, 2))
			data[at] ^= (uint8_t)(1u << random_below(r, 8));
		else
			memcpy(data + at, &v, width < size - at ? width : size - at);
	}
	return size;
}

int
main(int argc, char **argv)
{
	Mapped m;
	const char *error;
	if (argc != 4 || !file_map(argv[1], &m, &error) || !m.size) {
		fprintf(stderr, "usage: zebin_fuzz FILE COUNT SEED\n");
		return 2;
	}
	const long count = atol(argv[2]);
	long read = 0, kernels = 0;
	uint8_t *whole = malloc(m.size);
	if (!whole)
		return 2;
	for (long i = 0; i < count; i++) {
		uint64_t r =
			strtoull(argv[3], NULL, 10) + (uint64_t)i * UINT64_C(0x9e3779b97f4a7c15);
		memcpy(whole, m.data, m.size);
		const size_t size = i ? mutate(whole, m.size, &r) : m.size;
		uint8_t *at = malloc(size + 1);
		if (!at)
			return 2;
		memcpy(at + 1, whole, size);
		Arena *a = arena_new();
		Zebin z;
		if (!zebin_read(a, at + 1, size, &z)) {
			read++;
			for (int k = 0; k < z.n; k++)
				kernels += zebin_kernel(&z, z.kernels[k].name) != NULL;
		} else if (!i) {
			fprintf(stderr, "the file itself is refused\n");
			return 1;
		}
		arena_free(a);
		free(at);
	}
	free(whole);
	file_unmap(&m);
	printf("%ld of %ld mutants were read, %ld kernels\n", read, count, kernels);
	return 0;
}
