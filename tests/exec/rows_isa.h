/* The row kernels of one ISA level as tests and benchmarks call them: `i` is a row of
 * rows_cases.def. */
#ifndef LATHE_TESTS_ROWS_ISA_H
#define LATHE_TESTS_ROWS_ISA_H

#include <stddef.h>
#include <stdint.h>

#include "../../templates/act.h"
#include "isa_levels.h"

typedef struct RowsIsa {
	const char *name;
	void (*rmsnorm)(int i, const float *x, float eps, float inv_n, float *y);
	void (*gain)(int i, const float *x, const float *g, float *y);
	void (*add)(int i, const float *a, const float *b, float *y);
	void (*silu_mul)(int i, const float *a, const float *b, float *y);
	void (*quantize)(int i, const float *x, int8_t *hi, int8_t *lo, int32_t *sum_hi,
			 int32_t *sum_lo, float *scale, float *shift);
	void (*tile)(int i, const float *x, float *out, float *xsum);
	void (*embed)(int i, const uint8_t *packed, int32_t row, float *y);
	void (*rope)(int i, const float *x, const float *cos, const float *sin, float *y);
	/* The cache of one head with room for `room` positions: kv_bytes each. */
	size_t (*kv_bytes)(int i);
	void (*kv_write)(int i, int pos, const float *k, const float *v, unsigned char *cache,
			 size_t room);
	size_t (*attention_scratch)(int i, int tokens); /* floats */
	/* positions [begin, seen) */
	void (*attention_token)(int i, int begin, int seen, const float *q, float scale,
				unsigned char *cache, size_t room, float *out, float *scratch);
	void (*attention_head)(int i, int seen, const float *q, float scale, unsigned char *cache,
			       size_t room, float *out, float *scratch);
	void (*attention_heads)(int i, int n, int past, const float *q, size_t q_stride,
				float scale, unsigned char *cache, size_t room, float *out,
				size_t out_stride, float *scratch);
} RowsIsa;

#define LEVEL(suffix, name, has) extern const RowsIsa rows_isa_##suffix;
ISA_LEVELS
#undef LEVEL

#endif
