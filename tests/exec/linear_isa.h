/* The linear kernels of one ISA level as tests and benchmarks call them. */
#ifndef LATHE_TESTS_LINEAR_ISA_H
#define LATHE_TESTS_LINEAR_ISA_H

#include <stddef.h>
#include <stdint.h>

#include "../../templates/act.h"
#include "isa_levels.h"

/* As linear.h declares it: this file is also read where no vector words are. */
typedef struct TestTiles {
	const int8_t *hi, *lo;
	const int32_t *sum_hi, *sum_lo;
	const float *scale, *shift, *x, *xsum;
} TestTiles;

/* linear_store specialised on a literal spec, as an artefact has it. */
typedef struct LinearKernel {
	Linear spec;
	void (*store)(const uint8_t *w, int b0, int b1, const TestTiles *t, int n, float *y,
		      ptrdiff_t ld);
} LinearKernel;

typedef struct LinearIsa {
	const char *name;
	int (*usable)(void); /* this CPU has it */
	int (*tile)(Linear s);
	ptrdiff_t (*block_bytes)(Linear s);
	const LinearKernel *kernels;
	int n_kernels;
	/* The other loops, with the spec `epilogue`; biases may be null. */
	Linear epilogue;
	void (*add)(const uint8_t *w, int b0, int b1, const TestTiles *t, int n, float *x,
		    ptrdiff_t ld, const float *bias);
	void (*silu_mul)(const uint8_t *w, int b0, int b1, const TestTiles *t, int n, float *y,
			 ptrdiff_t ld, const float *gate_bias, const float *up_bias);
	void (*logits)(const uint8_t *w, int b0, int b1, const TestTiles *t, int n, float *y,
		       ptrdiff_t ld, int n_rows, const float *bias);
} LinearIsa;

#define LEVEL(suffix, name, has) extern const LinearIsa linear_isa_##suffix;
ISA_LEVELS
#undef LEVEL

/* linear_block with a spec known at run time only; mt: 1, 2, 3, 4, 6 or 8. */
typedef struct LinearAny {
	const char *name;
	int (*usable)(void);
	ptrdiff_t (*block_bytes)(Linear s);
	void (*block)(Linear s, int mt, const uint8_t *w, const Act *a, float *y);
} LinearAny;

#define LEVEL(suffix, name, has) extern const LinearAny linear_any_##suffix;
ISA_LEVELS
#undef LEVEL

#endif
