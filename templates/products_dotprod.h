/*
 * Sums of products by SDOT: four bytes of a code's row times four of a token. A line set is eight
 * quarter lines of four rows.
 */

enum { LINEAR_QUARTERS = 8 };

/* Bits [from, from + 8) of each byte of the quarter line at w, as far as the mask lets them. */
LATHE_INLINE uint8x16_t
linear_bits(const uint8_t *w, const int from, const int mask)
{
	return vandq_u8(vshlq_u8(vld1q_u8(w), vdupq_n_s8((int8_t)-from)),
			vdupq_n_u8((uint8_t)mask));
}

/* v mod `by` of bytes v < 3 by. */
LATHE_INLINE uint8x16_t
linear_mod(uint8x16_t v, const int by)
{
	const uint8x16_t step = vdupq_n_u8((uint8_t)by);

	v = vminq_u8(v, vsubq_u8(v, step));
	return vminq_u8(v, vsubq_u8(v, step));
}

/* Digit j to the base 3 of the bytes at w. */
LATHE_INLINE uint8x16_t
linear_trit(const uint8_t *w, const int j)
{
	uint8x16_t v = vld1q_u8(w), rest = linear_mod(v, 81);
	int by = 81;

	LATHE_UNROLL_DOT
	for (int i = 4; i > j; i--) {
		by /= 3;
		v = rest;
		rest = linear_mod(v, by);
	}
	/* the digit times `by`; comparisons give -1 */
	v = vsubq_u8(v, rest);
	rest = vaddq_u8(vcgeq_u8(v, vdupq_n_u8((uint8_t)by)), vcgtq_u8(v, vdupq_n_u8((uint8_t)by)));
	return vsubq_u8(vdupq_n_u8(0), rest);
}

/* The codes of slot j of four rows, 8-bit ones less 128; w: their quarter of the first line of the
 * set. */
LATHE_INLINE uint8x16_t
linear_codes(const Linear s, const uint8_t *w, const int j)
{
	if (s.trits)
		return linear_trit(w, j);
	switch (s.bits) {
	case 2:
		return linear_bits(w, 2 * j, 3);
	case 3:
		if (j < 6)
			return linear_bits(w + j / 2 * 64, j == 5 ? 5 : j % 2 * 3, 7);
		return vorrq_u8(linear_bits(w + (j - 6) * 64, 5, 6),
				linear_bits(w + 128, 10 - j, 1));
	case 4:
		return linear_bits(w, 4 * j, 15);
	case 5:
		return vorrq_u8(linear_bits(w + j / 2 * 64, j % 2 * 4, 15),
				vshlq_n_u8(linear_bits(w + 256, j, 1), 4));
	case 6:
		if (j < 3)
			return linear_bits(w + j * 64, 0, 63);
		return vorrq_u8(vorrq_u8(linear_bits(w, 2, 48), linear_bits(w + 64, 4, 12)),
				linear_bits(w + 128, 6, 3));
	default:
		return veorq_u8(vld1q_u8(w), vdupq_n_u8(128));
	}
}

/* The first n slots of the set at w: sum[quarter]. */
LATHE_INLINE void
linear_set(const Linear s, const int mt, const int n, const uint8_t *w, const int8_t *c,
	   int32x4_t *sum)
{
	LATHE_UNROLL_DOT
	for (int j = 0; j < n; j++, c += 4 * mt) {
		int32_t four;

		memcpy(&four, c, sizeof(four));
		LATHE_UNROLL_DOT
		for (int q = 0; q < LINEAR_QUARTERS; q++) {
			const uint8_t *line = w + q / 4 * 64 * LINEAR_LINES(s) + q % 4 * 16;
			const uint8x16_t x = linear_codes(s, line, j);

			sum[q] = vdotq_s32(sum[q], vreinterpretq_s8_u8(x),
					   vreinterpretq_s8_s32(vdupq_n_s32(four)));
		}
	}
}

/* t[r] = (float)(sum of (u - z) c) of one plane over a unit of `width` columns. */
LATHE_INLINE void
linear_dot(const Linear s, const int mt, const int width, const uint8_t *z, const uint8_t *w,
	   const int8_t *c, int32_t codes, float *t)
{
	const int slots = LINEAR_SLOTS(s), n = (width + 3) / 4;
	int32x4_t sum[LINEAR_QUARTERS];
	int32_t e[LINEAR_ROWS];

	LATHE_UNROLL_DOT
	for (int q = 0; q < LINEAR_QUARTERS; q++)
		sum[q] = vdupq_n_s32(0);
	for (int i = 0; i < n / slots; i++) {
		linear_set(s, mt, slots, w, c, sum);
		w += LINEAR_SET_BYTES(s);
		c += 4 * slots * mt;
	}
	linear_set(s, mt, n % slots, w, c, sum);
	LATHE_UNROLL_DOT
	for (int q = 0; q < LINEAR_QUARTERS; q++)
		vst1q_s32(e + 4 * q, sum[q]);
	for (int r = 0; r < LINEAR_ROWS; r++) {
		const int less = linear_zero(s, z, r) - (s.bits == 8 ? 128 : 0);

		t[r] = (float)(e[r] - less * codes);
	}
}
