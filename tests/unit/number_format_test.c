/* ir/format.c: text, widths, the K split, halves. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "ir/format.h"

static void
parses(const char *text, Format want)
{
	Arena *a = arena_new();
	const char *s = text;
	Text *t = text_new(a);
	Format f;

	assert_true(format_parse(&s, &f));
	assert_int_equal(*s, 0);
	assert_true(format_equal(f, want));
	format_print(t, f);
	assert_string_equal(t->text, text);
	arena_free(a);
}

static void
refuses(const char *text, size_t at)
{
	const char *s = text;
	Format f;

	assert_false(format_parse(&s, &f));
	assert_int_equal((size_t)(s - text), at);
}

static void
test_text(void **state)
{
	(void)state;
	parses("f32", FORMAT_F32);
	parses("f16", FORMAT_F16);
	parses("int4(group=32,scale=f16,min)", (Format){.kind = NUMBER_INT,
							.bits = 4,
							.scale_bits = 16,
							.minimum = true,
							.group = 32});
	parses("int8(group=row,scale=f32)",
	       (Format){.kind = NUMBER_INT, .bits = 8, .scale_bits = 32});
	parses("int16(group=row,scale=f32)",
	       (Format){.kind = NUMBER_INT, .bits = 16, .scale_bits = 32});
	parses("int4(group=row,scale=bf16,zero=integer)", (Format){.kind = NUMBER_INT,
								   .bits = 4,
								   .scale_bits = 16,
								   .zero = ZERO_INTEGER,
								   .bf16 = true});
	parses("int2(group=tensor,scale=f32,ternary,trits)", (Format){.kind = NUMBER_INT,
								      .bits = 2,
								      .scale_bits = 32,
								      .ternary = true,
								      .trits = true,
								      .per_tensor = true});
	parses("int2(group=64,scale=f16,signed)", (Format){.kind = NUMBER_INT,
							   .bits = 2,
							   .scale_bits = 16,
							   .group = 64,
							   .signed_scale = true});
	parses("int4(group=row,scale=f32,zero=real,clip=0.9)", (Format){.kind = NUMBER_INT,
									.bits = 4,
									.scale_bits = 32,
									.zero = ZERO_REAL,
									.clip = 0.9f});
	refuses("int4(group=row,scale=bf32)", 25);
	refuses("int4(group=row,scale=f32,clip=1.5)", 30);
	refuses("int4(group=row,scale=f32,clip=0)", 30);
	refuses("int4(group=row,scale=f32,signed,min)", 31);
	refuses("", 0);
	refuses("g32", 0);
	refuses("f64", 1);
	refuses("f3", 1);
	refuses("int9(group=row,scale=f32)", 3);
	refuses("int99999999999999999999", 3);
	refuses("int4(group=0,scale=f16)", 11);
	refuses("int4(group=4294967296,scale=f16)", 11);
	refuses("int4(group=32,scale=f24)", 21);
	refuses("int4(group=32,scale=f16,max)", 23);
	refuses("int4(group=32,scale=f16", 23);
}

static void
test_groups(void **state)
{
	const Format g64 = {.kind = NUMBER_INT, .bits = 4, .scale_bits = 16, .group = 64},
		     row = {.kind = NUMBER_INT, .bits = 4, .scale_bits = 16};

	(void)state;
	assert_int_equal(format_groups(g64, 172), 3);
	assert_int_equal(format_group_width(g64, 172, 1), 64);
	assert_int_equal(format_group_width(g64, 172, 2), 44);
	assert_int_equal(format_groups(g64, 64), 1);
	assert_int_equal(format_group_width(g64, 44, 0), 44);
	assert_int_equal(format_groups(row, 172), 1);
	assert_int_equal(format_group_width(row, 172, 0), 172);
	assert_int_equal(format_groups(FORMAT_F32, 172), 1);
	assert_int_equal(format_offset(g64), 8);
	assert_int_equal(format_offset((Format){.kind = NUMBER_INT,
						.bits = 4,
						.scale_bits = 16,
						.minimum = true,
						.group = 64}),
			 0);
	assert_int_equal(format_offset(FORMAT_F16), 0);
	assert_int_equal(format_qmax((Format){.kind = NUMBER_INT, .bits = 4, .scale_bits = 32}), 7);
	assert_int_equal(format_qmax((Format){.kind = NUMBER_INT, .bits = 8, .scale_bits = 32}),
			 127);
	assert_int_equal(format_qmax((Format){.kind = NUMBER_INT, .bits = 16, .scale_bits = 32}),
			 32639);
}

static void
test_split(void **state)
{
	const Format g32 = {.kind = NUMBER_INT,
			    .bits = 4,
			    .scale_bits = 16,
			    .minimum = true,
			    .group = 32},
		     g64 = {.kind = NUMBER_INT, .bits = 8, .scale_bits = 16, .group = 64};
	const Format row = {.kind = NUMBER_INT, .bits = 4, .scale_bits = 16};
	const Format token = {.kind = NUMBER_INT, .bits = 16, .scale_bits = 32},
		     act32 = {.kind = NUMBER_INT, .bits = 8, .scale_bits = 32, .group = 32};

	(void)state;
	assert_int_equal(contract_split(576, g32, token), 3);  /* runs of 192 */
	assert_int_equal(contract_split(1536, g32, token), 8); /* of 192 */
	assert_int_equal(contract_split(960, g64, token), 5);  /* of 192 */
	assert_int_equal(contract_split(4864, g64, token), 4); /* of 1216: 76 = 4 * 19 groups */
	assert_int_equal(contract_split(172, g64, token), 1);  /* a short group */
	assert_int_equal(contract_split(128, g32, token), 1);  /* runs of 64 are too short */
	assert_int_equal(contract_split(256, g32, token), 2);
	assert_int_equal(contract_split(576, row, token), 1);
	assert_int_equal(contract_split(576, row, act32), 3);
	assert_int_equal(contract_split(64, FORMAT_F32, FORMAT_F32), 1);
	assert_int_equal(contract_split(576, FORMAT_F32, FORMAT_F32), 3);
	assert_int_equal(contract_split(172, FORMAT_F16, FORMAT_F32), 1);
	assert_int_equal(contract_split(44, g64, token), 1);
}

/* Every half there and back; the value by the definition of the format. */
static void
test_halves(void **state)
{
	(void)state;
	for (uint32_t h = 0; h < 0x10000; h++) {
		int e = (int)(h >> 10 & 31), m = (int)(h & 1023);
		float want = (float)m, got = f16_to_f32((uint16_t)h);

		if (e == 31) {
			assert_true(m ? got != got : got - got != 0);
			continue;
		}
		if (e)
			want = want + 1024;
		for (int i = e ? e : 1; i < 25; i++)
			want *= 0.5f;
		for (int i = 25; i < e; i++)
			want *= 2;
		if (h & 0x8000)
			want = -want;
		assert_memory_equal(&got, &want, sizeof(got));
		assert_int_equal(f32_to_f16(got), h);
	}
}

/* Between two neighbouring halves the nearer wins, half way the even one. */
static void
test_rounding(void **state)
{
	(void)state;
	for (uint32_t h = 0; h < 0x7bff; h++) {
		double a = (double)f16_to_f32((uint16_t)h),
		       b = (double)f16_to_f32((uint16_t)(h + 1));
		uint16_t even = (uint16_t)(h + (h & 1));

		assert_int_equal(f32_to_f16((float)((a + b) / 2)), even);
		assert_int_equal(f32_to_f16((float)(a + (b - a) * 0.4375)), h);
		assert_int_equal(f32_to_f16((float)(a + (b - a) * 0.5625)), h + 1);
	}
	assert_int_equal(f32_to_f16(65519.0f), 0x7bff);
	assert_int_equal(f32_to_f16(65520.0f), 0x7c00);
	assert_int_equal(f32_to_f16(-1e30f), 0xfc00);
	assert_int_equal(f32_to_f16(2.9802322e-8f), 0); /* 2^-25: half the smallest, to even */
	assert_int_equal(f32_to_f16(2.9802326e-8f), 1);
	assert_int_equal(f32_to_f16(-0.0f), 0x8000);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_text),	 cmocka_unit_test(test_groups),
		cmocka_unit_test(test_split),	 cmocka_unit_test(test_halves),
		cmocka_unit_test(test_rounding),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
