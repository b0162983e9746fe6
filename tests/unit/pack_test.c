/*
 * targets/pack.c against the layout of pack.h, read back number by number: a whole matrix is
 * unpacked by the layout's formula and compared with what weight_row_load gives.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "targets/pack.h"

static void
dequantize_f32(const uint8_t *src, int n, float *dst)
{
	memcpy(dst, src, (size_t)n * 4);
}

static const StoredType stored_f32 = {
	.name = "F32",
	.block = 1,
	.block_bytes = 4,
	.format = {.kind = NUMBER_FLOAT, .bits = 32},
	.dequantize = dequantize_f32,
};

static Tensor
tensor_of(const float *values, uint32_t rows, uint32_t columns)
{
	return (Tensor){.name = "t",
			.type = &stored_f32,
			.data = (const uint8_t *)values,
			.row_bytes = (uint64_t)columns * 4,
			.rows = rows,
			.columns = columns,
			.row_order = ROWS_PLAIN};
}

static float
number_at(const uint8_t *p, int bits)
{
	uint16_t h;
	float f;

	if (bits == 16) {
		memcpy(&h, p, 2);
		return f16_to_f32(h);
	}
	memcpy(&f, p, 4);
	return f;
}

/* Row r's of a line of scales or minima. */
static float
scale_at(const uint8_t *line, uint32_t r, Format f)
{
	uint8_t widened[4] = {0, 0, line[2 * r], line[2 * r + 1]};

	return f.bf16 ? number_at(widened, 32)
		      : number_at(line + r * f.scale_bits / 8, f.scale_bits);
}

static uint32_t
set_lines(int bits)
{
	return bits == 5 ? 5 : bits == 3 || bits == 6 ? 3 : 1;
}

/* Byte i of the dword of row r in the set, slot j: as pack.h says. */
static int
code_at(const uint8_t *set, uint32_t r, uint32_t column, Format f)
{
	static const int thirds[] = {1, 3, 9, 27, 81};
	const int bits = f.bits;
	uint32_t j = column / 4, lines = set_lines(bits);
	const uint8_t *a = set + (r / 16) * 64 * lines + (r % 16) * 4 + column % 4;
	const uint8_t *b = a + 64, *c = a + 128, *e = a + 256;
	const uint8_t *own = a + (uint64_t)64 * (j / 2);

	if (f.trits)
		return *a / thirds[j] % 3;
	switch (bits) {
	case 8:
		return *a;
	case 6:
		if (j < 3)
			return a[(uint64_t)64 * j] % 64;
		return (*a >> 6) * 16 + (*b >> 6) * 4 + (*c >> 6);
	case 5:
		return (j % 2 ? *own >> 4 : *own & 15) + (*e & 1 << j ? 16 : 0);
	case 4:
		return j ? *a >> 4 : *a & 15;
	case 3:
		if (j == 5)
			return *c >> 5;
		if (j < 5)
			return (j % 2 ? *own >> 3 : *own) & 7;
		return j == 6 ? (*a >> 6) * 2 + (*c >> 4 & 1) : (*b >> 6) * 2 + (*c >> 3 & 1);
	default:
		return *a >> 2 * j & 3;
	}
}

/* The sum of columns [first, end) of dequantised weights, in long double and one by one. */
static long double
weights_sum(const WeightRow *w, Format f, uint32_t columns, uint32_t first, uint32_t end)
{
	const uint32_t group = f.group ? f.group : columns;
	long double sum = 0;

	for (uint32_t k = first; k < end; k++) {
		const uint32_t g = k / group;
		const int zero = f.zero ? w->zeros[g] : format_offset(f);
		const long double code = (long double)w->codes[k] - zero;

		sum += code * (long double)w->scales[g];
		sum += f.minimum ? (long double)w->minima[g] : 0;
	}
	return sum;
}

/* A line of row sums, of columns [first, end); returns what lies behind it. */
static const uint8_t *
check_row_sum(const uint8_t *line, PackForm form, uint32_t r, uint32_t first, uint32_t end,
	      const WeightRow *w)
{
	const float got = number_at(line + (uint64_t)4 * r, 32);
	const long double want = w ? weights_sum(w, form.format, form.columns, first, end) : 0;

	assert_true(fabsl((long double)got - want) <= 0x1p-24l * fabsl(want) + 1e-12l);
	return line + 128;
}

static void
check_int_row(const uint8_t *block, PackForm form, uint32_t r, const WeightRow *w)
{
	const Format f = form.format;
	const uint32_t columns = form.columns;
	uint32_t set_columns = (uint32_t)pack_set_columns(f), line = 32u * f.scale_bits / 8;
	uint32_t group = f.group ? f.group : columns;

	if (form.sums >= columns)
		block = check_row_sum(block, form, r, 0, columns, w);
	for (uint32_t first = 0, g = 0; first < columns; first += group, g++) {
		uint32_t width = columns - first < group ? columns - first : group;

		assert_true(scale_at(block, r, f) == (w ? w->scales[g] : 0));
		block += line;
		if (f.minimum) {
			assert_true(scale_at(block, r, f) == (w ? w->minima[g] : 0));
			block += line;
		}
		if (f.zero) {
			assert_int_equal(block[r], w ? w->zeros[g] : 0);
			for (int i = 32; i < 64; i++)
				assert_int_equal(block[i], 0);
			block += 64;
		}
		for (uint32_t k = 0; k < width || k % set_columns; k++) {
			const int want = w && k < width ? w->codes[first + k] : 0;
			const uint32_t end = first + k + form.sums;

			if (form.sums && form.sums < columns && k < width && k % form.sums == 0)
				block = check_row_sum(block, form, r, first + k,
						      end < columns ? end : columns, w);
			assert_int_equal(code_at(block, r, k % set_columns, f), want);
			if ((k + 1) % set_columns == 0)
				block += (uint64_t)128 * set_lines(f.bits);
		}
	}
}

static void
check_format(Format f, uint32_t rows, uint32_t columns, uint32_t sums)
{
	Arena *a = arena_new();
	float *values = ARENA_ARRAY(a, float, (size_t)rows *columns);
	const PackForm form = {f, columns, sums};
	uint64_t bytes = pack_block_bytes(form);
	uint8_t *block = ARENA_ARRAY(a, uint8_t, bytes + 64);
	uint32_t blocks = (rows + 31) / 32, seed = 1;
	int64_t bad;

	for (size_t i = 0; i < (size_t)rows * columns; i++) {
		seed = seed * 1664525 + 1013904223;
		values[i] = (float)(int32_t)seed * 1e-9f;
	}
	Tensor t = tensor_of(values, rows, columns);
	WeightSource source = weight_source_of(&t);
	assert_int_equal(pack_bytes(form, rows), bytes * blocks);
	for (uint32_t b = 0; b < blocks; b++) {
		memset(block, 0xa5, bytes + 64);
		pack_block(a, &source, form, b, block, &bad);
		assert_int_equal(bad, -1);
		for (uint64_t i = 0; i < 64; i++)
			assert_int_equal(block[bytes + i], 0xa5);
		for (uint32_t r = 0; r < 32; r++) {
			uint32_t row = 32 * b + r;
			WeightRow w;

			weight_row_alloc(a, &w, (int)columns, f);
			if (row < rows)
				weight_row_load(&t, row, f, &w);
			if (!format_is_float(f)) {
				check_int_row(block, form, r, row < rows ? &w : NULL);
				continue;
			}
			for (uint32_t k = 0; k < columns; k++)
				assert_true(number_at(block + (32 * (uint64_t)k + r) * f.bits / 8,
						      f.bits) == (row < rows ? w.row_f32[k] : 0));
		}
	}
	arena_free(a);
}

static void
test_formats(void **state)
{
	static const Format formats[] = {
		{.kind = NUMBER_INT, .bits = 4, .scale_bits = 16, .minimum = true, .group = 32},
		{.kind = NUMBER_INT, .bits = 4, .scale_bits = 32, .group = 64},
		{.kind = NUMBER_INT, .bits = 8, .scale_bits = 16, .group = 32},
		{.kind = NUMBER_INT, .bits = 8, .scale_bits = 32, .minimum = true, .group = 64},
		{.kind = NUMBER_INT, .bits = 4, .scale_bits = 16},
		{.kind = NUMBER_INT, .bits = 8, .scale_bits = 16},
		{.kind = NUMBER_INT, .bits = 2, .scale_bits = 16, .group = 64},
		{.kind = NUMBER_INT, .bits = 2, .scale_bits = 32, .minimum = true},
		{.kind = NUMBER_INT, .bits = 3, .scale_bits = 16, .group = 64},
		{.kind = NUMBER_INT, .bits = 3, .scale_bits = 32, .minimum = true},
		{.kind = NUMBER_INT, .bits = 5, .scale_bits = 16, .minimum = true, .group = 32},
		{.kind = NUMBER_INT, .bits = 5, .scale_bits = 32},
		{.kind = NUMBER_INT, .bits = 6, .scale_bits = 16, .minimum = true, .group = 64},
		{.kind = NUMBER_INT, .bits = 6, .scale_bits = 32},
		{.kind = NUMBER_INT, .bits = 2, .scale_bits = 16, .ternary = true, .group = 64},
		{.kind = NUMBER_INT, .bits = 2, .scale_bits = 16, .ternary = true, .trits = true},
		{.kind = NUMBER_INT,
		 .bits = 2,
		 .scale_bits = 32,
		 .ternary = true,
		 .trits = true,
		 .group = 20},
		{.kind = NUMBER_INT,
		 .bits = 4,
		 .scale_bits = 16,
		 .zero = ZERO_INTEGER,
		 .group = 32},
		{.kind = NUMBER_INT, .bits = 8, .scale_bits = 32, .zero = ZERO_INTEGER},
		{.kind = NUMBER_INT, .bits = 4, .scale_bits = 16, .bf16 = true, .group = 32},
		{.kind = NUMBER_INT, .bits = 3, .scale_bits = 16, .bf16 = true, .minimum = true},
		{.kind = NUMBER_FLOAT, .bits = 32},
		{.kind = NUMBER_FLOAT, .bits = 16},
	};
	static const uint32_t columns[] = {64, 172, 44, 5};

	(void)state;
	for (size_t i = 0; i < sizeof(formats) / sizeof(formats[0]); i++)
		for (size_t j = 0; j < sizeof(columns) / sizeof(columns[0]); j++)
			for (int sums = 0; sums < (format_is_float(formats[i]) ? 1
						   : formats[i].trits	       ? 2
									       : 3);
			     sums++)
				check_format(formats[i], 50, columns[j],
					     sums == 0	 ? 0
					     : sums == 1 ? columns[j]
							 : 32);
}

static void
test_bytes(void **state)
{
	const Format q4_1 = {.kind = NUMBER_INT,
			     .bits = 4,
			     .scale_bits = 16,
			     .minimum = true,
			     .group = 32},
		     q8_0 = {.kind = NUMBER_INT, .bits = 8, .scale_bits = 16, .group = 32};
	const Format g64 = {.kind = NUMBER_INT, .bits = 4, .scale_bits = 16, .group = 64};

	(void)state;
	/* 18 groups of two lines of scales and four sets */
	assert_int_equal(pack_block_bytes((PackForm){q4_1, 576, 0}), 18 * (64 + 64 + 4 * 128));
	assert_int_equal(pack_block_bytes((PackForm){q8_0, 576, 0}), 18 * (64 + 8 * 128));
	/* 64 + 64 + 44: the last group has six sets */
	assert_int_equal(pack_block_bytes((PackForm){g64, 172, 0}),
			 2 * (64 + 8 * 128) + 64 + 6 * 128);
	/* six line sets, the last not full, of three lines a half; sets of 16 columns */
	assert_int_equal(pack_block_bytes((PackForm){
				 {.kind = NUMBER_INT, .bits = 3, .scale_bits = 16}, 172, 0}),
			 64 + 6 * 3 * 128);
	assert_int_equal(
		pack_block_bytes((PackForm){
			{.kind = NUMBER_INT, .bits = 2, .scale_bits = 16, .group = 64}, 576, 0}),
		9 * (64 + 4 * 128));
	assert_int_equal(pack_block_bytes((PackForm){FORMAT_F16, 172, 0}), 172 * 64);
	/* and a line of row sums for the row, or for each 64 columns */
	assert_int_equal(pack_block_bytes((PackForm){q4_1, 576, 576}),
			 128 + 18 * (64 + 64 + 4 * 128));
	assert_int_equal(pack_block_bytes((PackForm){g64, 172, 64}),
			 3 * 128 + 2 * (64 + 8 * 128) + 64 + 6 * 128);
	assert_int_equal(pack_bytes((PackForm){q8_0, 576, 0}, 49152),
			 1536ull * 18 * (64 + 8 * 128));
}

static void
test_not_finite(void **state)
{
	float values[40 * 64] = {0};
	Tensor t = tensor_of(values, 40, 64);
	const Format formats[] = {FORMAT_F32,
				  {.kind = NUMBER_INT, .bits = 8, .scale_bits = 32, .group = 32}};
	Arena *a = arena_new();
	uint8_t *block = ARENA_ARRAY(a, uint8_t, 64 * 128);
	WeightSource source = weight_source_of(&t);
	int64_t bad;

	(void)state;
	values[37 * 64 + 5] = INFINITY;
	values[39 * 64 + 5] = INFINITY;
	for (size_t i = 0; i < 2; i++) {
		pack_block(a, &source, (PackForm){formats[i], 64, 0}, 0, block, &bad);
		assert_int_equal(bad, -1);
		pack_block(a, &source, (PackForm){formats[i], 64, 0}, 1, block, &bad);
		assert_int_equal(bad, 37);
	}
	/* beyond the largest half */
	memset(values, 0, sizeof(values));
	values[64] = 1e6f;
	pack_block(a, &source, (PackForm){FORMAT_F16, 64, 0}, 0, block, &bad);
	assert_int_equal(bad, 1);
	/* scales that are finite, and a sum of weights that is not */
	for (int k = 0; k < 64; k++)
		values[3 * 64 + k] = 3e38f;
	values[64] = 0;
	pack_block(a, &source, (PackForm){formats[1], 64, 0}, 0, block, &bad);
	assert_int_equal(bad, -1);
	pack_block(a, &source, (PackForm){formats[1], 64, 64}, 0, block, &bad);
	assert_int_equal(bad, 3);
	arena_free(a);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_bytes),
		cmocka_unit_test(test_formats),
		cmocka_unit_test(test_not_finite),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
