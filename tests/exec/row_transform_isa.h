/* The emitted transforms of one ISA level: `i` is a row of row_transform_cases.def. */
#ifndef LATHE_TESTS_ROW_TRANSFORM_ISA_H
#define LATHE_TESTS_ROW_TRANSFORM_ISA_H

#include "isa_levels.h"

typedef struct TransformIsa {
	const char *name;
	void (*const *rows)(float *x, float *work);
	/* Sylvester's transform, not divided, by three loops as a textbook has them. */
	void (*plain)(int n, float *x);
} TransformIsa;

#define LEVEL(suffix, name, has) extern const TransformIsa transform_isa_##suffix;
ISA_LEVELS
#undef LEVEL

#endif
