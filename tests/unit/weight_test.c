/* weight_row_load: the stored codes untouched, and rounding to nearest with every kind of group. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "ir/weight_source.h"

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
	int top = f.ternary ? 2 : (1 << f.bits) - 1;
	for (int i = 0; i < columns; i++) {
		int g = f.group ? i / (int)f.group : 0;
		int offset = f.minimum	 ? 0
			     : f.zero	 ? w.zeros[g]
			     : f.ternary ? 1
					 : 1 << (f.bits - 1);
		double s = (double)w.scales[g];
		double m = f.minimum ? (double)w.minima[g] : 0.0;
		double best = INFINITY;
		assert_true((f.signed_scale || s >= 0.0) && w.codes[i] <= top && offset <= top);
		if (f.bf16) {
			uint32_t bits;
			memcpy(&bits, &w.scales[g], 4);
			assert_int_equal(bits & 0xffff, 0);
		} else if (f.scale_bits == 16) {
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
		assert_true(got <= best + 1e-6 * fabs(s));
		/* the range covers the group: half a step, and what rounding the scale adds;
		   ternary scales leave long weights out, signed ones half a step of the other end
		 */
		double steps = f.signed_scale ? 1.0 : f.zero ? 1.0 : 0.5;
		double rounding = f.bf16 ? 0x1p-7 : 0x1p-10;
		if (!f.ternary)
			assert_true(got <= steps * fabs(s) +
						   rounding * (fabs((double)x[i]) + fabs(s) * top));
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
	static const Format more[] = {
		{.bits = 4, .scale_bits = 16, .zero = ZERO_INTEGER, .group = 32},
		{.bits = 2, .scale_bits = 32, .zero = ZERO_INTEGER},
		{.bits = 8, .scale_bits = 16, .zero = ZERO_INTEGER, .bf16 = true, .group = 64},
		{.bits = 4, .scale_bits = 16, .bf16 = true, .group = 32},
		{.bits = 4, .scale_bits = 16, .bf16 = true, .minimum = true, .group = 32},
		{.bits = 4, .scale_bits = 16, .signed_scale = true, .group = 32},
		{.bits = 3, .scale_bits = 32, .signed_scale = true},
		{.bits = 2, .scale_bits = 16, .ternary = true, .group = 64},
		{.bits = 2, .scale_bits = 32, .ternary = true, .trits = true},
	};
	for (size_t i = 0; i < sizeof more / sizeof *more; i++) {
		Format f = more[i];
		f.kind = NUMBER_INT;
		check_nearest(a, x, N, f);
	}
	arena_free(a);
}

/* The extra code of a signed scale meets the largest weight, whatever its sign. */
static void
test_signed_scale(void **state)
{
	(void)state;
	static const float x[4] = {1.0f, 8.0f, -7.0f, -0.4f}, y[4] = {-8.0f, 7.0f, 1.0f, 0.0f};
	static const int want_x[4] = {7, 0, 15, 8}, want_y[4] = {0, 15, 9, 8};
	const Format f = {
		.kind = NUMBER_INT, .bits = 4, .scale_bits = 16, .group = 4, .signed_scale = true};
	Arena *a = arena_new();
	WeightRow w;
	load(a, x, 4, f, &w);
	assert_true(w.scales[0] == -1.0f);
	for (int i = 0; i < 4; i++)
		assert_int_equal(w.codes[i], want_x[i]);
	load(a, y, 4, f, &w);
	assert_true(w.scales[0] == 1.0f);
	for (int i = 0; i < 4; i++)
		assert_int_equal(w.codes[i], want_y[i]);
	arena_free(a);
}

/* The zero point is a code, also of groups whose weights are all above or all below 0. */
static void
test_integer_zero(void **state)
{
	(void)state;
	static const float x[12] = {-1.0f, 0.0f,  2.0f,	  14.0f, 3.75f, 7.5f,
				    15.0f, 0.25f, -15.0f, -3.0f, -1.0f, -7.0f};
	static const int zeros[3] = {1, 0, 15};
	static const int want[12] = {0, 1, 3, 15, 4, 8, 15, 0, 0, 12, 14, 8};
	const Format f = {
		.kind = NUMBER_INT, .bits = 4, .scale_bits = 16, .group = 4, .zero = ZERO_INTEGER};
	Arena *a = arena_new();
	WeightRow w;
	int16_t v[12];
	load(a, x, 12, f, &w);
	weight_row_centre(&w, f, 12, v);
	for (int i = 0; i < 12; i++) {
		assert_true(w.scales[i / 4] == 1.0f);
		assert_int_equal(w.zeros[i / 4], zeros[i / 4]);
		assert_int_equal(w.codes[i], want[i]);
		assert_int_equal(v[i], want[i] - zeros[i / 4]);
	}
	arena_free(a);
}

/* Ternary weights come back as they are. */
static void
test_ternary(void **state)
{
	(void)state;
	static const float x[8] = {0.3f, 0, -0.3f, 0, 0, 0, 0, 0.3f};
	static const int want[8] = {2, 1, 0, 1, 1, 1, 1, 2};
	const Format f = {
		.kind = NUMBER_INT, .bits = 2, .scale_bits = 32, .group = 8, .ternary = true};
	Arena *a = arena_new();
	WeightRow w;
	load(a, x, 8, f, &w);
	assert_true(w.scales[0] == 0.3f);
	for (int i = 0; i < 8; i++)
		assert_int_equal(w.codes[i], want[i]);
	arena_free(a);
}

/* One scale of a tensor is that of its largest weight, in all rows, for any number of threads. */
static void
test_tensor_scale(void **state)
{
	(void)state;
	enum { ROWS = 150, N = 16 };
	static float x[ROWS * N];
	for (int i = 0; i < ROWS * N; i++)
		x[i] = (float)(i * 37 % 101 - 50) * 0.01f;
	x[140 * N + 3] = -3.5f;
	Tensor t = f32_tensor(x, N);
	t.rows = ROWS;
	const Format f = {.kind = NUMBER_INT, .bits = 4, .scale_bits = 16, .per_tensor = true},
		     ternary = {.kind = NUMBER_INT,
				.bits = 2,
				.scale_bits = 32,
				.per_tensor = true,
				.ternary = true};
	Arena *a = arena_new();
	float scale = 0;
	for (int jobs = 1; jobs < 4; jobs++) {
		WeightSource s = weight_source_of(&t);
		WeightRow w;
		weight_row_alloc(a, &w, N, f);
		weight_source_measure(&s, f, jobs);
		for (uint32_t i = 0; i < ROWS; i++) {
			weight_source_row(&s, i, f, &w);
			assert_true(w.scales[0] == 0.5f);
			for (int k = 0; k < N; k++)
				assert_true(fabs((w.codes[k] - 8) * 0.5 - (double)x[i * N + k]) <=
					    0.25);
		}
		weight_source_measure(&s, ternary, jobs);
		weight_source_row(&s, 5, ternary, &w);
		assert_true(w.scales[0] > 0.3f && w.scales[0] < 0.5f);
		assert_true(jobs == 1 || w.scales[0] == scale);
		scale = w.scales[0];
	}
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
		cmocka_unit_test(test_floats),		cmocka_unit_test(test_signed_scale),
		cmocka_unit_test(test_integer_zero),	cmocka_unit_test(test_ternary),
		cmocka_unit_test(test_tensor_scale),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
