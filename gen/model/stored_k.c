/*
 * Types of 256 values a block, the layouts of ggml's k-quants and ternary types. A group's scale is
 * the block's f16 times a few bits of its own, its minimum likewise and negative: products of at
 * most 11 and 7 bits, exact in f32.
 */
#include "stored_codes.h"

enum { BLOCK = 256, GROUPS_16 = BLOCK / 16, GROUPS_32 = BLOCK / 32 };

/* `bits` bits of each of `width` bytes, the lowest first: all bytes' lowest bits, then all bytes'
 * next, 8 / bits times. They are added to the codes, shifted to bit `to`. */
static void
add_bits(const uint8_t *packed, int width, int bits, int to, uint8_t *codes)
{
	const int mask = (1 << bits) - 1;
	for (int shift = 0; shift < 8; shift += bits)
		for (int i = 0; i < width; i++)
			*codes++ += (uint8_t)((packed[i] >> shift & mask) << to);
}

static void
clear(uint8_t *codes, uint8_t value)
{
	for (int i = 0; i < BLOCK; i++)
		codes[i] = value;
}

/* Scales, two bits of every value, d, dmin. */
void
codes_Q2_K(const uint8_t *src, int n, uint8_t *codes, float *scales, float *minima)
{
	for (; n > 0; n -= BLOCK, src += 84, codes += BLOCK) {
		const float d = scale_at(src + 80), dmin = scale_at(src + 82);
		for (int g = 0; g < GROUPS_16; g++) {
			*scales++ = d * (float)(src[g] & 15);
			*minima++ = -(dmin * (float)(src[g] >> 4));
		}
		clear(codes, 0);
		add_bits(src + 16, 32, 2, 0, codes);
		add_bits(src + 48, 32, 2, 0, codes + BLOCK / 2);
	}
}

/* Bit 2, which is set where nothing is to be subtracted, the lower two bits, scales of 6 bits, d.
 */
void
codes_Q3_K(const uint8_t *src, int n, uint8_t *codes, float *scales, float *minima)
{
	(void)minima;
	for (; n > 0; n -= BLOCK, src += 110, codes += BLOCK) {
		const float d = scale_at(src + 108);
		const uint8_t *s = src + 96;
		for (int g = 0; g < GROUPS_16; g++) {
			const int low = s[g % 8] >> (g < 8 ? 0 : 4) & 15;
			const int high = s[8 + g % 4] >> 2 * (g / 4) & 3;
			*scales++ = d * (float)((low | high << 4) - 32);
		}
		clear(codes, 4); /* from the offset of 3 bits to that of 4 */
		add_bits(src, 32, 1, 2, codes);
		add_bits(src + 32, 32, 2, 0, codes);
		add_bits(src + 64, 32, 2, 0, codes + BLOCK / 2);
	}
}

/* d, dmin, and 12 bytes of 8 scales and 8 minima of 6 bits: of each the first four in the low bits
 * of a byte of their own, whose upper two bits are those of the last four. */
static void
scales_of_32(const uint8_t *src, float *scales, float *minima)
{
	const float d = scale_at(src), dmin = scale_at(src + 2);
	const uint8_t *s = src + 4, *m = src + 8, *low = src + 12;
	for (int g = 0; g < GROUPS_32 / 2; g++) {
		scales[g] = d * (float)(s[g] & 63);
		minima[g] = -(dmin * (float)(m[g] & 63));
		scales[g + 4] = d * (float)((low[g] & 15) | (s[g] >> 2 & 48));
		minima[g + 4] = -(dmin * (float)(low[g] >> 4 | (m[g] >> 2 & 48)));
	}
}

void
codes_Q4_K(const uint8_t *src, int n, uint8_t *codes, float *scales, float *minima)
{
	for (; n > 0; n -= BLOCK, src += 144, codes += BLOCK) {
		scales_of_32(src, scales, minima);
		scales += GROUPS_32;
		minima += GROUPS_32;
		clear(codes, 0);
		for (int i = 0; i < BLOCK; i += 64)
			add_bits(src + 16 + i / 2, 32, 4, 0, codes + i);
	}
}

/* As Q4_K with bit 4 in front of the nibbles. */
void
codes_Q5_K(const uint8_t *src, int n, uint8_t *codes, float *scales, float *minima)
{
	for (; n > 0; n -= BLOCK, src += 176, codes += BLOCK) {
		scales_of_32(src, scales, minima);
		scales += GROUPS_32;
		minima += GROUPS_32;
		clear(codes, 0);
		add_bits(src + 16, 32, 1, 4, codes);
		for (int i = 0; i < BLOCK; i += 64)
			add_bits(src + 48 + i / 2, 32, 4, 0, codes + i);
	}
}

/* Nibbles, the upper two bits, signed scales, d. */
void
codes_Q6_K(const uint8_t *src, int n, uint8_t *codes, float *scales, float *minima)
{
	(void)minima;
	for (; n > 0; n -= BLOCK, src += 210, codes += BLOCK) {
		const float d = scale_at(src + 208);
		for (int g = 0; g < GROUPS_16; g++)
			*scales++ = d * (float)((src[192 + g] ^ 0x80) - 0x80);
		clear(codes, 0);
		for (int h = 0; h < 2; h++) {
			add_bits(src + 64 * h, 64, 4, 0, codes + BLOCK / 2 * h);
			add_bits(src + 128 + 32 * h, 32, 2, 4, codes + BLOCK / 2 * h);
		}
	}
}

/*
 * Digits of `width` bytes, the highest first: all bytes' first, then all bytes' next. A byte is a
 * fraction of 256 in base 3, rounded up, so three times it carries the digit out at the top.
 */
static uint8_t *
fraction_digits(const uint8_t *packed, int width, int digits, uint8_t *codes)
{
	for (int digit = 0, power = 1; digit < digits; digit++, power *= 3)
		for (int i = 0; i < width; i++)
			*codes++ = (uint8_t)((packed[i] * power & 255) * 3 >> 8);
	return codes;
}

/* Five digits a byte, of 32 and of 16 bytes; four of 4 bytes; d. */
void
codes_TQ1_0(const uint8_t *src, int n, uint8_t *codes, float *scales, float *minima)
{
	(void)minima;
	for (; n > 0; n -= BLOCK, src += 54) {
		*scales++ = scale_at(src + 52);
		codes = fraction_digits(src, 32, 5, codes);
		codes = fraction_digits(src + 32, 16, 5, codes);
		codes = fraction_digits(src + 48, 4, 4, codes);
	}
}

/* Two bits of every value, d. */
void
codes_TQ2_0(const uint8_t *src, int n, uint8_t *codes, float *scales, float *minima)
{
	(void)minima;
	for (; n > 0; n -= BLOCK, src += 66, codes += BLOCK) {
		*scales++ = scale_at(src + 64);
		clear(codes, 0);
		add_bits(src, 32, 2, 0, codes);
		add_bits(src + 32, 32, 2, 0, codes + BLOCK / 2);
	}
}
