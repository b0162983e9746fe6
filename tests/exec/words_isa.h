/* The vector words and functions of one ISA level as tests call them. */
#ifndef LATHE_TESTS_WORDS_ISA_H
#define LATHE_TESTS_WORDS_ISA_H

#include <stdint.h>

#include "isa_levels.h"

typedef struct WordsIsa {
	const char *name;
	/* y = f(x) over n values, a multiple of 16 */
	void (*exp)(int n, const float *x, float *y);
	void (*rcp)(int n, const float *x, float *y);
	void (*rsqrt)(int n, const float *x, float *y);
	void (*silu)(int n, const float *x, float *y);
	void (*gelu)(int n, const float *x, float *y);
	void (*rcp_scalar)(int n, const float *x, float *y);
	void (*rsqrt_scalar)(int n, const float *x, float *y);
	void (*from_f16)(int n, const uint16_t *x, float *y, float *y_scalar);
	void (*to_f16)(int n, const float *x, uint16_t *y, uint16_t *y_scalar);
	void (*fma)(int n, const float *a, const float *b, const float *c, float *y);
	/* without the instruction; null where the level has no such code */
	void (*fma_soft)(int n, const float *a, const float *b, const float *c, float *y);
} WordsIsa;

#define LEVEL(suffix, name, has) extern const WordsIsa words_isa_##suffix;
ISA_LEVELS
#undef LEVEL

#endif
