/*
 * Decoders of stored types. value = (code - offset) * scale, or code * scale + minimum. A code of
 * at most 8 bits times an f16 scale has at most 19 significant bits, so the product is exact in
 * f32: multiply then add and fma are the same number, and both are ggml's.
 */
#include "stored.h"

#include <string.h>

enum { GROUP = 32, NIBBLES = GROUP / 2 };

static uint16_t
half_at(const uint8_t *p)
{
	return (uint16_t)(p[0] | p[1] << 8);
}

static float
scale_at(const uint8_t *p)
{
	return f16_to_f32(half_at(p));
}

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

/* Values 0..15 of a block are the low nibbles of its 16 bytes, 16..31 the high ones. */
static void
unpack_nibbles(const uint8_t *packed, uint8_t *codes)
{
	for (int i = 0; i < NIBBLES; i++) {
		codes[i] = packed[i] & 15;
		codes[i + NIBBLES] = packed[i] >> 4;
	}
}

static void
codes_Q4_0(const uint8_t *src, int n, uint8_t *codes, float *scales, float *minima)
{
	(void)minima;
	for (int b = 0; b < n / GROUP; b++, src += 18) {
		scales[b] = scale_at(src);
		unpack_nibbles(src + 2, codes + (size_t)b * GROUP);
	}
}

static void
codes_Q4_1(const uint8_t *src, int n, uint8_t *codes, float *scales, float *minima)
{
	for (int b = 0; b < n / GROUP; b++, src += 20) {
		scales[b] = scale_at(src);
		minima[b] = scale_at(src + 2);
		unpack_nibbles(src + 4, codes + (size_t)b * GROUP);
	}
}

/* Stored signed; adding the offset 128 is flipping the sign bit. */
static void
codes_Q8_0(const uint8_t *src, int n, uint8_t *codes, float *scales, float *minima)
{
	(void)minima;
	for (int b = 0; b < n / GROUP; b++, src += 34) {
		scales[b] = scale_at(src);
		for (int i = 0; i < GROUP; i++)
			codes[(size_t)b * GROUP + i] = src[2 + i] ^ 0x80;
	}
}

/* One block at a time through its codes. */
static void
dequantize_codes(void (*decode)(const uint8_t *, int, uint8_t *, float *, float *),
		 const uint8_t *src, int n, int block_bytes, int offset, float *dst)
{
	uint8_t codes[GROUP];
	for (int b = 0; b < n / GROUP; b++, src += block_bytes, dst += GROUP) {
		float scale, minimum = 0;
		decode(src, GROUP, codes, &scale, &minimum);
		for (int i = 0; i < GROUP; i++)
			dst[i] = (float)(codes[i] - offset) * scale;
		/* only where there is one: -0 + 0 is not -0 */
		for (int i = 0; i < GROUP && offset == 0; i++)
			dst[i] += minimum;
	}
}

static void
dequantize_Q4_0(const uint8_t *src, int n, float *dst)
{
	dequantize_codes(codes_Q4_0, src, n, 18, 8, dst);
}

static void
dequantize_Q4_1(const uint8_t *src, int n, float *dst)
{
	dequantize_codes(codes_Q4_1, src, n, 20, 0, dst);
}

static void
dequantize_Q8_0(const uint8_t *src, int n, float *dst)
{
	dequantize_codes(codes_Q8_0, src, n, 34, 128, dst);
}

static const StoredType stored_types[] = {
#define STORED(name, number, block, bytes, kind_, bits_, scale_, minimum_, group_, halves, codes) \
	{#name,                                                                                   \
	 block,                                                                                   \
	 bytes,                                                                                   \
	 {.kind = kind_,                                                                          \
	  .bits = bits_,                                                                          \
	  .scale_bits = scale_,                                                                   \
	  .minimum = minimum_,                                                                    \
	  .group = group_},                                                                       \
	 dequantize_##name,                                                                       \
	 codes},
#include "stored_types.def"
};

/* In the order of stored_types. */
static const struct StoredRow {
	uint32_t number;
	int halves;
} stored_rows[] = {
#define STORED(name, number, block, bytes, kind, bits, scale_bits, minimum, group, halves, codes) \
	{number, halves},
#include "stored_types.def"
};

enum { STORED_COUNT = sizeof stored_types / sizeof stored_types[0] };

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
half_not_finite(const uint8_t *p)
{
	return (half_at(p) & 0x7c00) == 0x7c00;
}

/* Whether any of n f32 is NaN or infinite: no branch in the loop, so that it runs at the speed of
 * memory. */
static bool
any_f32_not_finite(const uint8_t *src, uint64_t n)
{
	uint32_t bad = 0;
	for (uint64_t i = 0; i < n; i++) {
		uint32_t u;
		memcpy(&u, src + 4 * i, sizeof u);
		bad |= (u & 0x7f800000u) == 0x7f800000u;
	}
	return bad;
}

static bool
any_half_not_finite(const uint8_t *src, uint64_t n, uint32_t bytes, int halves)
{
	uint32_t bad = 0;
	for (uint64_t i = 0; i < n; i++, src += bytes)
		for (int h = 0; h < halves; h++)
			bad |= half_not_finite(src + 2 * h);
	return bad;
}

int64_t
stored_not_finite(const StoredType *t, const uint8_t *src, uint64_t n, const char **what,
		  uint32_t *offset)
{
	enum { RUN = 4096 }; /* blocks looked at without asking */
	int halves = stored_rows[t - stored_types].halves;
	for (uint64_t first = 0; first < n; first += RUN) {
		const uint8_t *p = src + first * t->block_bytes;
		uint64_t count = n - first < RUN ? n - first : RUN;
		bool bad = halves ? any_half_not_finite(p, count, t->block_bytes, halves)
				  : any_f32_not_finite(p, count);
		for (uint64_t i = 0; bad && i < count; i++, p += t->block_bytes) {
			*what = format_is_float(t->format) ? "value" : "scale";
			*offset = 0;
			if (halves ? half_not_finite(p) : any_f32_not_finite(p, 1))
				return (int64_t)(first + i);
			*what = "minimum";
			*offset = 2;
			if (halves == 2 && half_not_finite(p + 2))
				return (int64_t)(first + i);
		}
	}
	return -1;
}
