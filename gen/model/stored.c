/*
 * Types of 32 values a block, and the table of all. value = (code - offset) * scale, or code *
 * scale
 * + minimum. A code of at most 8 bits times an f16 scale has at most 19 significant bits, times a
 * product of scales at most 23 (a code of 6 bits, 11 and 7 bits): the product is exact in f32,
 * multiply then add and fma are the same number, and both are ggml's.
 */
#include "stored_codes.h"

#include <string.h>

enum { GROUP = 32, NIBBLES = GROUP / 2, BLOCK_MOST = 256, GROUPS_MOST = BLOCK_MOST / 16 };

static void
dequantize_F32(const uint8_t *src, int n, float *dst)
{
	memcpy(dst, src, (size_t)n * sizeof *dst);
}

static void
dequantize_F16(const uint8_t *src, int n, float *dst)
{
	for (int i = 0; i < n; i++)
		dst[i] = scale_at(src + 2 * (size_t)i);
}

static void
dequantize_BF16(const uint8_t *src, int n, float *dst)
{
	for (int i = 0; i < n; i++)
		dst[i] = bf16_to_f32(half_at(src + 2 * (size_t)i));
}

/* Values 0..15 of a block are the low nibbles of its 16 bytes, 16..31 the high ones. */
static void
unpack_nibbles(const uint8_t *packed, uint8_t *codes)
{
	for (int i = 0; i < NIBBLES; i++) {
		codes[i] = packed[i] & 15;
		codes[i + NIBBLES] = packed[i] >> 4;
	}
}

/* Four bytes with bit 4 of each value, then the nibbles. */
static void
unpack_fives(const uint8_t *packed, uint8_t *codes)
{
	unpack_nibbles(packed + GROUP / 8, codes);
	for (int i = 0; i < GROUP; i++)
		codes[i] = (uint8_t)(codes[i] | (packed[i / 8] >> i % 8 & 1) << 4);
}

void
codes_Q4_0(const uint8_t *src, int n, uint8_t *codes, float *scales, float *minima)
{
	(void)minima;
	for (int b = 0; b < n / GROUP; b++, src += 18) {
		scales[b] = scale_at(src);
		unpack_nibbles(src + 2, codes + (size_t)b * GROUP);
	}
}

void
codes_Q4_1(const uint8_t *src, int n, uint8_t *codes, float *scales, float *minima)
{
	for (int b = 0; b < n / GROUP; b++, src += 20) {
		scales[b] = scale_at(src);
		minima[b] = scale_at(src + 2);
		unpack_nibbles(src + 4, codes + (size_t)b * GROUP);
	}
}

void
codes_Q5_0(const uint8_t *src, int n, uint8_t *codes, float *scales, float *minima)
{
	(void)minima;
	for (int b = 0; b < n / GROUP; b++, src += 22) {
		scales[b] = scale_at(src);
		unpack_fives(src + 2, codes + (size_t)b * GROUP);
	}
}

void
codes_Q5_1(const uint8_t *src, int n, uint8_t *codes, float *scales, float *minima)
{
	for (int b = 0; b < n / GROUP; b++, src += 24) {
		scales[b] = scale_at(src);
		minima[b] = scale_at(src + 2);
		unpack_fives(src + 4, codes + (size_t)b * GROUP);
	}
}

/* Stored signed; adding the offset 128 is flipping the sign bit. */
void
codes_Q8_0(const uint8_t *src, int n, uint8_t *codes, float *scales, float *minima)
{
	(void)minima;
	for (int b = 0; b < n / GROUP; b++, src += 34) {
		scales[b] = scale_at(src);
		for (int i = 0; i < GROUP; i++)
			codes[(size_t)b * GROUP + i] = src[2 + i] ^ 0x80;
	}
}

/* ---- the table ---------------------------------------------------------------------------- */

enum {
#define STORED_FLOAT(name, number, bytes, format, exponent) STORED_##name,
#define STORED_INT(name, number, block, bytes, format, fields, at) STORED_##name,
#include "stored_types.def"
	STORED_COUNT
};

static const StoredType stored_types[STORED_COUNT];

/* No block is longer, no group narrower. */
#define STORED_FLOAT(name, number, bytes, format, exponent)
#define STORED_INT(name, number, block, bytes, format, fields, at) \
	_Static_assert((block) <= BLOCK_MOST, #name);
#include "stored_types.def"

/* One block at a time through its codes. */
static void
dequantize_codes(const StoredType *t, const uint8_t *src, int n, float *dst)
{
	const int offset = format_offset(t->format), group = (int)t->format.group;
	uint8_t codes[BLOCK_MOST];
	float scales[GROUPS_MOST], minima[GROUPS_MOST];
	for (; n > 0; n -= (int)t->block, src += t->block_bytes, dst += t->block) {
		t->codes(src, (int)t->block, codes, scales, minima);
		for (int i = 0; i < (int)t->block; i++)
			dst[i] = (float)(codes[i] - offset) * scales[i / group];
		/* only where there is one: -0 + 0 is not -0 */
		for (int i = 0; i < (int)t->block && t->format.minimum; i++)
			dst[i] += minima[i / group];
	}
}

#define STORED_FLOAT(name, number, bytes, format, exponent)
#define STORED_INT(name, number, block, bytes, format, fields, at)           \
	static void dequantize_##name(const uint8_t *src, int n, float *dst) \
	{                                                                    \
		dequantize_codes(&stored_types[STORED_##name], src, n, dst); \
	}
#include "stored_types.def"

static const StoredType stored_types[STORED_COUNT] = {
#define STORED_FLOAT(name, number, bytes, format, exponent) \
	{#name, 1, bytes, format, dequantize_##name, NULL},
#define STORED_INT(name, number, block, bytes, format, fields, at) \
	{#name, block, bytes, format, dequantize_##name, codes_##name},
#include "stored_types.def"
};

/* What must be finite: `fields` numbers of two bytes from `at` on, whose exponents have the bits of
 * the mask. Of an f32 the upper half. */
static const struct StoredRow {
	uint32_t number;
	uint8_t fields, at;
	uint16_t exponent;
} stored_rows[STORED_COUNT] = {
#define STORED_FLOAT(name, number, bytes, format, exponent) {number, 1, (bytes)-2, exponent},
#define STORED_INT(name, number, block, bytes, format, fields, at) {number, fields, at, 0x7c00},
#include "stored_types.def"
};

static const struct GgmlType {
	uint32_t number;
	const char *name;
} ggml_types[] = {
#define GGML_TYPE(number, name) {number, name},
#include "ggml_types.def"
};

const StoredType *
stored_type(uint32_t ggml_number)
{
	for (int i = 0; i < STORED_COUNT; i++)
		if (stored_rows[i].number == ggml_number)
			return &stored_types[i];
	return NULL;
}

const StoredType *
stored_type_named(const char *name)
{
	for (int i = 0; i < STORED_COUNT; i++)
		if (strcmp(stored_types[i].name, name) == 0)
			return &stored_types[i];
	return NULL;
}

const char *
stored_type_name(uint32_t ggml_number)
{
	const StoredType *t = stored_type(ggml_number);
	if (t)
		return t->name;
	for (size_t i = 0; i < sizeof ggml_types / sizeof ggml_types[0]; i++)
		if (ggml_types[i].number == ggml_number)
			return ggml_types[i].name;
	return NULL;
}

const char *
stored_type_list(Arena *a)
{
	Text *t = text_new(a);
	for (int i = 0; i < STORED_COUNT; i++)
		text_printf(t, "%s%s", i ? ", " : "", stored_types[i].name);
	return t->text;
}

static bool
half_not_finite(const uint8_t *p, uint32_t exponent)
{
	return (half_at(p) & exponent) == exponent;
}

/* Whether a field of n blocks is NaN or infinite: no branch in the loop, so that it runs at the
 * speed of memory. */
static bool
any_not_finite(const uint8_t *src, uint64_t n, uint32_t bytes, uint32_t fields, uint32_t exponent)
{
	uint32_t bad = 0;
	for (uint64_t i = 0; i < n; i++, src += bytes)
		for (uint32_t k = 0; k < fields; k++)
			bad |= half_not_finite(src + 2 * k, exponent);
	return bad;
}

int64_t
stored_not_finite(const StoredType *t, const uint8_t *src, uint64_t n, const char **what,
		  uint32_t *offset)
{
	enum { RUN = 4096 }; /* blocks looked at without asking */
	const struct StoredRow *row = &stored_rows[t - stored_types];
	const char *const names[] = {t->codes ? "scale" : "value", "minimum"};
	for (uint64_t first = 0; first < n; first += RUN) {
		const uint8_t *p = src + first * t->block_bytes + row->at;
		const uint64_t count = n - first < RUN ? n - first : RUN;
		const bool bad = t->block_bytes == 4 ? any_not_finite(p, count, 4, 1, row->exponent)
						     : any_not_finite(p, count, t->block_bytes,
								      row->fields, row->exponent);
		for (uint64_t i = 0; bad && i < count; i++, p += t->block_bytes)
			for (uint32_t k = 0; k < row->fields; k++) {
				if (!half_not_finite(p + 2 * k, row->exponent))
					continue;
				*what = names[k];
				*offset = t->codes ? row->at + 2 * k : 0;
				return (int64_t)(first + i);
			}
	}
	return -1;
}

int64_t
stored_bad_code(const StoredType *t, const uint8_t *src, uint64_t n, uint32_t *offset)
{
	enum { BYTES = 64 };
	if (t != &stored_types[STORED_TQ2_0])
		return -1;
	for (uint64_t b = 0; b < n; b++, src += t->block_bytes)
		for (uint32_t i = 0; i < BYTES; i++)
			if (src[i] & src[i] >> 1 & 0x55) {
				*offset = i;
				return (int64_t)b;
			}
	return -1;
}
