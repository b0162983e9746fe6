/*
 * What the linear kernels of AVX2 load of a block of 32 rows and a tile of tokens. A line set is
 * four quarters of 8 rows.
 */

enum { LINEAR_TOKENS = 16, LINEAR_QUARTERS = 4, LINEAR_STRETCH = 16 };

LATHE_INLINE __m256i
linear_quarter(const uint8_t *w)
{
	return _mm256_loadu_si256((const __m256i *)(const void *)w);
}

/* Quarter q of the first line of a line set; the others of its half follow 64 bytes apart. */
LATHE_INLINE ptrdiff_t
linear_at(const Linear s, const int q)
{
	return q / 2 * 64 * LINEAR_LINES(s) + q % 2 * 32;
}

/* Bits [from, from + 8) of each byte of the line at w, as far as the mask lets them. */
LATHE_INLINE __m256i
linear_bits(const uint8_t *w, const int from, const int mask)
{
	__m256i x = linear_quarter(w);

	if (from)
		x = _mm256_srlv_epi32(x, _mm256_set1_epi32(from));
	return _mm256_and_si256(x, _mm256_set1_epi8((char)mask));
}

/* The same, `by` bits higher. */
LATHE_INLINE __m256i
linear_bits_up(const uint8_t *w, const int from, const int mask, const int by)
{
	return _mm256_sllv_epi32(linear_bits(w, from, mask), _mm256_set1_epi32(by));
}

/* v mod `by` of bytes v < 3 by. */
LATHE_INLINE __m256i
linear_mod(__m256i v, const int by)
{
	const __m256i step = _mm256_set1_epi8((char)by);

	v = _mm256_min_epu8(v, _mm256_sub_epi8(v, step));
	return _mm256_min_epu8(v, _mm256_sub_epi8(v, step));
}

/* Digit j to the base 3 of the bytes at w. */
LATHE_INLINE __m256i
linear_trit(const uint8_t *w, const int j)
{
	/* 0, 1 and 2 times 3, 9 and 27 by their low nibbles */
	const __m256i digits = _mm256_broadcastsi128_si256(
		_mm_setr_epi8(0, 0, 2, 1, 0, 0, 2, 0, 0, 1, 0, 1, 0, 0, 0, 0));
	const __m256i v = linear_quarter(w), r4 = linear_mod(v, 81), r3 = linear_mod(r4, 27);
	const __m256i r2 = linear_mod(r3, 9), r1 = linear_mod(r2, 3);

	switch (j) {
	case 4: /* 81 and 162 have it at bit 6 */
		return _mm256_and_si256(_mm256_srli_epi16(_mm256_sub_epi8(v, r4), 6),
					_mm256_set1_epi8(3));
	case 3:
		return _mm256_shuffle_epi8(digits, _mm256_sub_epi8(r4, r3));
	case 2:
		return _mm256_shuffle_epi8(digits, _mm256_sub_epi8(r3, r2));
	case 1:
		return _mm256_shuffle_epi8(digits, _mm256_sub_epi8(r2, r1));
	default:
		return r1;
	}
}

/* The codes of slot j, 8 rows; w: their quarter of the first line of the set. */
LATHE_INLINE __m256i
linear_slot_codes(const Linear s, const uint8_t *w, const int j)
{
	if (s.trits)
		return linear_trit(w, j);
	switch (s.bits) {
	case 2:
		return linear_bits(w, 2 * j, 3);
	case 3:
		if (j < 6)
			return linear_bits(w + j / 2 * 64, j == 5 ? 5 : j % 2 * 3, 7);
		return _mm256_or_si256(linear_bits(w + (j - 6) * 64, 5, 6),
				       linear_bits(w + 128, 10 - j, 1));
	case 4:
		return linear_bits(w, 4 * j, 15);
	case 5:
		return _mm256_or_si256(linear_bits(w + j / 2 * 64, j % 2 * 4, 15),
				       linear_bits_up(w + 256, j, 1, 4));
	case 6:
		if (j < 3)
			return linear_bits(w + j * 64, 0, 63);
		return _mm256_or_si256(
			_mm256_or_si256(linear_bits(w, 2, 48), linear_bits(w + 64, 4, 12)),
			linear_bits(w + 128, 6, 3));
	default:
		return linear_quarter(w);
	}
}

/* Four activation codes in every dword. */
LATHE_INLINE __m256i
linear_slot(const int8_t *p)
{
	int32_t v;

	memcpy(&v, p, sizeof(v));
	return _mm256_set1_epi32(v);
}

/* Scales or minima of rows 8 q .. 8 q + 7 from the line at w. */
LATHE_INLINE __m256
linear_scales(const Linear s, const uint8_t *w, const int q)
{
	__m128i h;

	if (s.scale_bits != 16)
		return _mm256_loadu_ps((const float *)(const void *)(w + 32 * q));
	h = _mm_loadu_si128((const __m128i *)(const void *)(w + 16 * q));
	if (s.bf16)
		return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(h), 16));
	return _mm256_cvtph_ps(h);
}

/* What to subtract from the codes of rows 8 q .. 8 q + 7; scales: their group's. */
LATHE_INLINE __m256i
linear_zero(const Linear s, const uint8_t *scales, const int q)
{
	if (!s.zeros)
		return _mm256_set1_epi32(s.offset);
	return _mm256_cvtepu8_epi32(_mm_loadl_epi64(
		(const __m128i *)(const void *)(scales + s.scale_bits * 4 + 8 * q)));
}

/*
 * What a pass over a quarter's sets multiplies with: mt codes planes, a token's two planes of
 * 16-bit activations counting as two.
 */
LATHE_INLINE __m256i
linear_codes(const Linear s, const int mt, const int8_t *hi, const int8_t *lo, int slot,
	     const int v)
{
	const ptrdiff_t at = 4 * (ptrdiff_t)(slot * mt);

	if (s.planes == 2 && v >= mt)
		return linear_slot(lo + at + 4 * (v - mt));
	return linear_slot(hi + at + 4 * v);
}
