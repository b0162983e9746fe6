/* What the tests of the words and of the row kernels share: draws, aligned memory, comparisons. */
#ifndef LATHE_TESTS_ISA_SUITE_H
#define LATHE_TESTS_ISA_SUITE_H

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "isa_levels.h"

#define COUNT(a) (int)(sizeof(a) / sizeof(a)[0])

/* Bit ISA_LEVEL_SUFFIX of each level that this CPU has; says which it lacks. */
static inline int
isa_usable(void)
{
	int usable = 0;
#define LEVEL(suffix, name, has)                   \
	if (has)                                   \
		usable |= 1 << ISA_LEVEL_##suffix; \
	else                                       \
		print_message("SKIPPED " name ": this CPU lacks it\n");
	ISA_LEVELS
#undef LEVEL
	return usable;
}

static inline float
as_float(uint32_t u)
{
	float f;
	memcpy(&f, &u, sizeof f);
	return f;
}

static inline uint32_t
as_bits(float f)
{
	uint32_t u;
	memcpy(&u, &f, sizeof u);
	return u;
}

static inline uint32_t
draw(uint64_t *seed)
{
	*seed = *seed * 6364136223846793005u + 1442695040888963407u;
	uint32_t x = (uint32_t)(*seed >> 33) ^ (uint32_t)(*seed >> 40);
	return x * 2654435761u ^ (uint32_t)(*seed >> 32);
}

/* Mostly of size 1, some much larger or smaller, some zeros. */
static inline float
draw_value(uint64_t *seed)
{
	uint32_t kind = draw(seed) % 64;
	float x = ((float)(draw(seed) >> 8) * 0x1p-23f - 1.0f) *
		  ((float)(draw(seed) >> 8) * 0x1p-22f);
	if (kind == 0)
		return x < 0 ? -0.0f : 0.0f;
	if (kind == 1)
		return x * 1e3f;
	if (kind == 2)
		return x * 1e-20f;
	return x;
}

static inline void
draw_row(uint64_t *seed, int n, int room, float *x)
{
	for (int i = 0; i < room; i++)
		x[i] = i < n ? draw_value(seed) : 0.0f;
}

static inline int
pad(int n, int to)
{
	return (n + to - 1) / to * to;
}

static inline void *
make(size_t bytes)
{
	void *p = aligned_alloc(64, (bytes + 127) / 64 * 64);
	assert_non_null(p);
	memset(p, 0xff, (bytes + 127) / 64 * 64);
	return p;
}

static inline float *
make_floats(int n)
{
	return make((size_t)n * sizeof(float));
}

static inline void
same(const char *what, const char *isa, int i, const void *a, const void *b, size_t bytes)
{
	if (!memcmp(a, b, bytes))
		return;
	for (size_t k = 0; k + 4 <= bytes; k += 4) {
		uint32_t u, v;
		memcpy(&u, (const char *)a + k, 4);
		memcpy(&v, (const char *)b + k, 4);
		if (u != v)
			fail_msg("%s, %s, case %d: word %zu is %08x (%g), expected %08x (%g)", what,
				 isa, i, k / 4, u, (double)as_float(u), v, (double)as_float(v));
	}
	fail_msg("%s, %s, case %d: bytes differ", what, isa, i);
}

#endif
