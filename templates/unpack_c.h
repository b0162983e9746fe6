/*
 * What the linear kernels of portable C load of a block of 32 rows. Needs little-endian weights, as
 * the file has them.
 */

enum { LINEAR_ROWS = 32, LINEAR_TOKENS = 8 };

/* Scales, minima, or one column of float weights: 32 numbers of `bits` bits. */
LATHE_INLINE void
linear_numbers(const int bits, const int bf16, const uint8_t *w, float *e)
{
	if (bits == 16) {
		uint16_t h[LINEAR_ROWS];

		memcpy(h, w, sizeof(h));
		for (int r = 0; r < LINEAR_ROWS; r++)
			e[r] = bf16 ? s_from_bits((uint32_t)h[r] << 16) : s_from_f16(h[r]);
	} else {
		memcpy(e, w, LINEAR_ROWS * sizeof(float));
	}
}

/* What to subtract from the codes of row r; z: the group's zero points. */
LATHE_INLINE int
linear_zero(const Linear s, const uint8_t *z, int r)
{
	return s.zeros ? z[r] : s.offset;
}

/* ---- codes of a slot ---------------------------------------------------------------------- */

/* The byte of slot j's code from the bytes that a lane has in each line, 64 bytes apart. */
LATHE_INLINE int
linear_code(const Linear s, const uint8_t *b, const int j)
{
	if (s.trits)
		return j == 0	? b[0] % 3
		       : j == 1 ? b[0] / 3 % 3
		       : j == 2 ? b[0] / 9 % 3
		       : j == 3 ? b[0] / 27 % 3
				: b[0] / 81;
	switch (s.bits) {
	case 2:
		return b[0] >> 2 * j & 3;
	case 3:
		if (j < 6)
			return b[j / 2 * 64] >> (j == 5 ? 5 : j % 2 * 3) & 7;
		return (b[(j - 6) * 64] >> 5 & 6) | (b[128] >> (10 - j) & 1);
	case 4:
		return b[0] >> 4 * j & 15;
	case 5:
		return (b[j / 2 * 64] >> j % 2 * 4 & 15) | (b[256] >> j & 1) << 4;
	case 6:
		if (j < 3)
			return b[j * 64] & 63;
		return (b[0] >> 2 & 48) | (b[64] >> 4 & 12) | b[128] >> 6;
	default:
		return b[0];
	}
}
