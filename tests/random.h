/* Seeded random numbers of tests: splitmix64, the same on every machine. */
#ifndef LATHE_TESTS_RANDOM_H
#define LATHE_TESTS_RANDOM_H

#include <stddef.h>
#include <stdint.h>

static inline uint64_t
random_next(uint64_t *seed)
{
	uint64_t z = *seed += 0x9e3779b97f4a7c15u;
	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
	z = (z ^ z >> 27) * 0x94d049bb133111ebu;
	return z ^ z >> 31;
}

/* In [0, n); 0 where n is 0. */
static inline size_t
random_below(uint64_t *seed, size_t n)
{
	return n ? (size_t)((random_next(seed) >> 32) % n) : 0;
}

/* In [-1, 1). */
static inline double
random_real(uint64_t *seed)
{
	return (double)(int64_t)random_next(seed) * 0x1p-63;
}

#endif
