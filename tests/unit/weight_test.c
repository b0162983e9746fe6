/* weight_row_load: the stored codes untouched, and rounding to nearest with every kind of group. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "ir/interp.h"

/* A stored type of this test's own: blocks of 4 values, `scale minimum c c c c` as floats and
 * bytes. */
enum { BLOCK = 4, BLOCK_BYTES = 12, COLUMNS = 12 };

static void
test_codes(const uint8_t *src, int n, uint8_t *codes, float *scales, float *minima)
{
	for (int b = 0; b < n / BLOCK; b++, src += BLOCK_BYTES) {
		memcpy(&scales[b], src, 4);
		memcpy(&minima[b], src + 4, 4);
		memcpy(codes + (size_t)b * BLOCK, src + 8, BLOCK);
	}
}

static void
test_dequantize(const uint8_t *src, int n, float *dst)
{
	for (int i = 0; i < n; i++) {
		float scale, minimum;
		memcpy(&scale, src + (size_t)(i / BLOCK) * BLOCK_BYTES, 4);
		memcpy(&minimum, src + (size_t)(i / BLOCK) * BLOCK_BYTES + 4, 4);
		dst[i] = (float)src[i / BLOCK * BLOCK_BYTES + 8 + i % BLOCK] * scale + minimum;
	}
}

static void
f32_dequantize(const uint8_t *src, int n, float *dst)
{
	memcpy(dst, src, (size_t)n * sizeof *dst);
}

static const Format block_format = {
	.kind = NUMBER_INT, .bits = 8, .scale_bits = 32, .minimum = true, .group = BLOCK};
static const StoredType block_type = {
	"TEST",
	BLOCK,
	BLOCK_BYTES,
	{.kind = NUMBER_INT, .bits = 8, .scale_bits = 32, .minimum = true, .group = BLOCK},
	test_dequantize,
	test_codes};
static const StoredType f32_type = {
	"F32", 1, 4, {.kind = NUMBER_FLOAT, .bits = 32, .scale_bits = 0}, f32_dequantize, NULL};

static Tensor
f32_tensor(const float *x, uint32_t columns)
{
	return (Tensor){.name = "t",
			.type = &f32_type,
			.data = (const uint8_t *)x,
			.row_bytes = columns * 4u,
			.rows = 1,
			.columns = columns};
}

static void
load(Arena *a, const float *x, int columns, Format f, WeightRow *w)
{
	Tensor t = f32_tensor(x, (uint32_t)columns);
	weight_row_alloc(a, w, columns, f);
	weight_row_load(&t, 0, f, w);
}

/* The wanted format is the stored one: even a code that rounding would never choose survives. */
static void
test_stored(void **state)
{
	(void)state;
	uint8_t data[COLUMNS / BLOCK * BLOCK_BYTES];
	for (size_t b = 0; b < COLUMNS / BLOCK; b++) {
		float scale = -0.5f * (float)(b + 1);
		float minimum = 3.0f;
		memcpy(data + b * BLOCK_BYTES, &scale, 4);
		memcpy(data + b * BLOCK_BYTES + 4, &minimum, 4);
		for (size_t i = 0; i < BLOCK; i++)
			data[b * BLOCK_BYTES + 8 + i] = (uint8_t)(7 * b + i);
	}
	Tensor t = {.name = "t",
		    .type = &block_type,
		    .data = data,
		    .row_bytes = sizeof data,
		    .rows = 1,
		    .columns = COLUMNS};
	Arena *a = arena_new();
	WeightRow w;
	weight_row_alloc(a, &w, COLUMNS, block_format);
	weight_row_load(&t, 0, block_format, &w);
	for (int b = 0; b < COLUMNS / BLOCK; b++) {
		assert_true(w.scales[b] == -0.5f * (float)(b + 1));
		assert_true(w.minima[b] == 3.0f);
		for (int i = 0; i < BLOCK; i++)
			assert_int_equal(w.codes[b * BLOCK + i], 7 * b + i);
	}
	weight_row_alloc(a, &w, COLUMNS, FORMAT_F32);
	weight_row_load(&t, 0, FORMAT_F32, &w);
	assert_true(w.row_f32[5] == 8.0f * -1.0f + 3.0f);
	arena_free(a);
}

/* Every code is a nearest one, in every group, the short last included; computed in double. */
static void
check_nearest(Arena *a, const float *x, int columns, Format f)
{
	WeightRow w;
	load(a, x, columns, f, &w);
	int top = (1 << f.bits) - 1;
	int offset = f.minimum ? 0 : 1 << (f.bits - 1);
	for (int i = 0; i < columns; i++) {
		int g = f.group ? i / (int)f.group : 0;
		double s = (double)w.scales[g];
		double m = f.minimum ? (double)w.minima[g] : 0.0;
		double best = INFINITY;
		assert_true(s >= 0.0 && w.codes[i] <= top);
		if (f.scale_bits == 16) {
			assert_true(f16_to_f32(f32_to_f16(w.scales[g])) == w.scales[g]);
			assert_true(!f.minimum ||
				    f16_to_f32(f32_to_f16(w.minima[g])) == w.minima[g]);
		}
		for (int c = 0; c <= top; c++) {
			double e = fabs((c - offset) * s + m - (double)x[i]);
			best = e < best ? e : best;
		}
		double got = fabs((w.codes[i] - offset) * s + m - (double)x[i]);
		/* a tie in f32 may be broken either way */
		assert_true(got <= best + 1e-6 * s);
		/* the range covers the group: half a step, and what rounding the scale adds */
		assert_true(got <= 0.5 * s + 0x1p-10 * (fabs((double)x[i]) + s * top));
	}
}

static void
test_nearest(void **state)
{
	(void)state;
	enum { N = 172 };
	float x[N];
	uint32_t seed = 1;
	for (int i = 0; i < N; i++) {
		seed = seed * 1664525u + 1013904223u;
		x[i] = ((float)(seed >> 8) * 0x1p-24f - 0.4f) * (i % 64 == 3 ? 3.0f : 0.25f);
	}
	Arena *a = arena_new();
	static const uint8_t bits[] = {4, 8}, scale_bits[] = {16, 32};
	static const uint32_t groups[] = {32, 64, 0};
	for (size_t b = 0; b < 2; b++)
		for (size_t s = 0; s < 2; s++)
			for (size_t g = 0; g < 3; g++)
				for (int m = 0; m < 2; m++)
					check_nearest(a, x, N,
						      (Format){.kind = NUMBER_INT,
							       .bits = bits[b],
							       .scale_bits = scale_bits[s],
							       .minimum = m == 1,
							       .group = groups[g]});
	arena_free(a);
}

static void
test_symmetric_scale(void **state)
{
	(void)state;
	static const float x[8] = {7.0f, -7.0f, 3.5f, 2.5f, -0.4f, 0.6f, 1.0f, -6.6f};
	static const int want[8] = {15, 1, 12, 10, 8, 9, 9, 1};
	Format f = {.kind = NUMBER_INT, .bits = 4, .scale_bits = 16, .group = 8};
	Arena *a = arena_new();
	WeightRow w;
	load(a, x, 8, f, &w);
	assert_true(w.scales[0] == 1.0f);
	for (int i = 0; i < 8; i++)
		assert_int_equal(w.codes[i], want[i]);
	arena_free(a);
}

/* Groups without a usable scale: zeros, below the smallest half, above the largest, not finite. */
static void
test_edges(void **state)
{
	(void)state;
	enum { N = 20 };
	float x[N] = {0};
	x[4] = 1e-9f;
	x[8] = 1e6f;
	x[12] = NAN;
	x[16] = -INFINITY;
	Format f = {.kind = NUMBER_INT, .bits = 4, .scale_bits = 16, .group = 4};
	Arena *a = arena_new();
	WeightRow w;
	load(a, x, N, f, &w);
	assert_true(w.scales[0] == 0.0f && w.scales[1] == 0.0f);
	assert_true(isinf(w.scales[2]));
	assert_false(isfinite(w.scales[3]));
	assert_false(isfinite(w.scales[4]));
	for (int i = 0; i < N; i++)
		assert_int_equal(w.codes[i], 8);
	f.minimum = true;
	load(a, x, N, f, &w);
	assert_true(w.scales[0] == 0.0f && w.minima[0] == 0.0f && w.codes[0] == 0);
	assert_false(isfinite(w.scales[2]));
	assert_false(isfinite(w.scales[3]));
	assert_false(isfinite(w.scales[4]));
	/* a constant group is its minimum */
	static const float constant[4] = {0.75f, 0.75f, 0.75f, 0.75f};
	load(a, constant, 4, f, &w);
	assert_true(w.scales[0] == 0.0f && w.minima[0] == 0.75f && w.codes[3] == 0);
	arena_free(a);
}

static void
test_floats(void **state)
{
	(void)state;
	static const float x[4] = {1.0f, 1.0f + 0x1p-11f, 70000.0f, -0x1.555556p-3f};
	Arena *a = arena_new();
	WeightRow w;
	load(a, x, 4, FORMAT_F32, &w);
	assert_memory_equal(w.row_f32, x, sizeof x);
	load(a, x, 4, FORMAT_F16, &w);
	assert_true(w.row_f32[0] == 1.0f && w.row_f32[1] == 1.0f); /* tie to even */
	assert_true(isinf(w.row_f32[2]));
	assert_true(w.row_f32[3] == -0x1.554p-3f);
	arena_free(a);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_stored),		cmocka_unit_test(test_nearest),
		cmocka_unit_test(test_symmetric_scale), cmocka_unit_test(test_edges),
		cmocka_unit_test(test_floats),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
