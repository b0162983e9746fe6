/*
 * Sums of products by AVX2. Those of codes below 8 bits are summed in 16 bits as long as they
 * cannot saturate, then widened; 8-bit codes and their activations are widened first.
 */

/* Tokens in a tile: what fits 16 registers. */
#define LATHE_TILE_A8 4
#define LATHE_TILE_A16 2
#define LATHE_TILE_F32 2

/* Whether products take numbers of 16 bits, so that planes can be joined before. */
#define LINEAR_WIDE(s) ((s).bits == 8)

/* ---- 4-bit codes: 8-bit products
 * ------------------------------------------------------------------ */

LATHE_INLINE __m256i
linear_mask(__m256i x)
{
	return _mm256_and_si256(x, _mm256_set1_epi8(15));
}

/*
 * sum[v] += sums of products over n <= 4 sets of 4-bit codes, 8 rows; w: their quarter of the first
 * set. A 16-bit lane takes 2 * 15 * 128 a product, and 8 of them.
 */
LATHE_INLINE void
linear_sets4(const Linear s, const int mt, const int n, const uint8_t *w, const int8_t *hi,
	     const int8_t *lo, __m256i *sum)
{
	const int vectors = s.planes * mt;
	__m256i t[LINEAR_TOKENS];

	LATHE_UNROLL(8)
	for (int v = 0; v < vectors; v++)
		t[v] = _mm256_setzero_si256();
	LATHE_UNROLL(4)
	for (int j = 0; j < n; j++) {
		const __m256i x = linear_quarter(w + LINEAR_SET * j);
		const __m256i low = linear_mask(x);
		const __m256i high = linear_mask(_mm256_srli_epi16(x, 4));

		LATHE_UNROLL(8)
		for (int v = 0; v < vectors; v++) {
			const __m256i a = linear_codes(s, mt, hi, lo, 2 * j, v);
			const __m256i b = linear_codes(s, mt, hi, lo, 2 * j + 1, v);

			t[v] = _mm256_add_epi16(t[v], _mm256_maddubs_epi16(low, a));
			t[v] = _mm256_add_epi16(t[v], _mm256_maddubs_epi16(high, b));
		}
	}
	LATHE_UNROLL(8)
	for (int v = 0; v < vectors; v++) {
		t[v] = _mm256_madd_epi16(t[v], _mm256_set1_epi16(1));
		sum[v] = _mm256_add_epi32(sum[v], t[v]);
	}
}

/* Any number of sets of one quarter, 4-bit codes. */
LATHE_INLINE void
linear_dot4(const Linear s, const int mt, const int sets, const uint8_t *w, const int8_t *hi,
	    const int8_t *lo, __m256i *sum)
{
	LATHE_UNROLL(1)
	for (int i = 0; i < sets / 4; i++) {
		linear_sets4(s, mt, 4, w, hi, lo, sum);
		w += LINEAR_SET * 4;
		hi += 32 * mt;
		if (s.planes == 2)
			lo += 32 * mt;
	}
	if (sets % 4)
		linear_sets4(s, mt, sets % 4, w, hi, lo, sum);
}

/* ---- 2, 3, 5, 6 bits: 8-bit products, a slot at a time --------------------------------------- */

/* sum[v] += sums of products over slots [first, end) of one line set; they fit 16 bits. */
LATHE_INLINE void
linear_slots_of(const Linear s, const int mt, const int first, const int end, const uint8_t *w,
		const int8_t *hi, const int8_t *lo, __m256i *sum)
{
	const int vectors = s.planes * mt;
	__m256i t[LINEAR_TOKENS];

	LATHE_UNROLL(8)
	for (int v = 0; v < vectors; v++)
		t[v] = _mm256_setzero_si256();
	LATHE_UNROLL(8)
	for (int j = first; j < end; j++) {
		const __m256i x = linear_slot_codes(s, w, j);

		LATHE_UNROLL(8)
		for (int v = 0; v < vectors; v++) {
			const __m256i a = linear_codes(s, mt, hi, lo, j, v);

			t[v] = _mm256_add_epi16(t[v], _mm256_maddubs_epi16(x, a));
		}
	}
	LATHE_UNROLL(8)
	for (int v = 0; v < vectors; v++) {
		t[v] = _mm256_madd_epi16(t[v], _mm256_set1_epi16(1));
		sum[v] = _mm256_add_epi32(sum[v], t[v]);
	}
}

/* One line set, of which n slots count. */
LATHE_INLINE void
linear_set_slots(const Linear s, const int mt, const int n, const uint8_t *w, const int8_t *hi,
		 const int8_t *lo, __m256i *sum)
{
	/* A 16-bit lane takes 2 * 63 * 128 a product and 2 of them, 2 * 31 * 128 and 4, or 8. */
	const int most = s.bits == 6 ? 2 : s.bits == 5 ? 4 : 8;

	LATHE_UNROLL(4)
	for (int j = 0; j < n; j += most)
		linear_slots_of(s, mt, j, n - j < most ? n : j + most, w, hi, lo, sum);
}

/* Any number of slots of one quarter. */
LATHE_INLINE void
linear_dot_slots(const Linear s, const int mt, const int n, const uint8_t *w, const int8_t *hi,
		 const int8_t *lo, __m256i *sum)
{
	const int slots = LINEAR_SLOTS(s);

	LATHE_UNROLL(1)
	for (int i = 0; i < n / slots; i++) {
		linear_set_slots(s, mt, slots, w, hi, lo, sum);
		w += LINEAR_SET_BYTES(s);
		hi += 4 * slots * mt;
		if (s.planes == 2)
			lo += 4 * slots * mt;
	}
	if (n % slots)
		linear_set_slots(s, mt, n % slots, w, hi, lo, sum);
}

/* ---- 8-bit codes: 16-bit products --------------------------------------------------------- */

/* Codes of a stretch of sets as 16-bit numbers: of each slot columns 0 and 2, and 1 and 3. */
typedef struct LinearPairs {
	int32_t even[LINEAR_STRETCH * LINEAR_TOKENS], odd[LINEAR_STRETCH * LINEAR_TOKENS];
} LinearPairs;

/* Fills p from the codes of n dwords, n rounded up to 4; lo: the low plane where it joins. */
LATHE_INLINE void
linear_pairs(const int n, const int8_t *hi, const int8_t *lo, const int joins, LinearPairs *p)
{
	for (int i = 0; i < n; i += 4) {
		const __m128i h = _mm_loadu_si128((const __m128i *)(const void *)(hi + 4 * i));
		__m128i even = _mm_slli_epi16(h, 8), odd;

		if (joins) {
			const __m128i l =
				_mm_loadu_si128((const __m128i *)(const void *)(lo + 4 * i));

			odd = _mm_and_si128(h, _mm_set1_epi16(-256));
			even = _mm_add_epi16(even, _mm_srai_epi16(_mm_slli_epi16(l, 8), 8));
			odd = _mm_add_epi16(odd, _mm_srai_epi16(l, 8));
		} else {
			odd = _mm_srai_epi16(h, 8);
			even = _mm_srai_epi16(even, 8);
		}
		_mm_storeu_si128((__m128i *)(void *)(p->even + i), even);
		_mm_storeu_si128((__m128i *)(void *)(p->odd + i), odd);
	}
}

/* sum[m] += sums of products over `sets` sets of 8-bit codes, 8 rows, one plane. */
LATHE_INLINE void
linear_dot8(const int mt, const int sets, const uint8_t *w, const LinearPairs *p, __m256i *sum)
{
	LATHE_UNROLL(4)
	for (int j = 0; j < sets; j++) {
		const __m256i x = linear_quarter(w + LINEAR_SET * j);
		const __m256i even = _mm256_and_si256(x, _mm256_set1_epi16(255));
		const __m256i odd = _mm256_srli_epi16(x, 8);

		LATHE_UNROLL(8)
		for (int m = 0; m < mt; m++) {
			const __m256i a = _mm256_set1_epi32(p->even[j * mt + m]);
			const __m256i b = _mm256_set1_epi32(p->odd[j * mt + m]);

			sum[m] = _mm256_add_epi32(sum[m],
						  _mm256_add_epi32(_mm256_madd_epi16(even, a),
								   _mm256_madd_epi16(odd, b)));
		}
	}
}

/* A stretch of sets, all quarters: sum[quarter]. */
LATHE_INLINE void
linear_stretch8(const Linear s, const int mt, const int joins, const int sets, const uint8_t *w,
		const int8_t *hi, const int8_t *lo, __m256i (*sum)[LINEAR_TOKENS])
{
	LinearPairs p, low;

	linear_pairs(sets * mt, hi, lo, joins, &p);
	if (s.planes == 2 && !joins)
		linear_pairs(sets * mt, lo, lo, 0, &low);
	LATHE_UNROLL(1)
	for (int q = 0; q < LINEAR_QUARTERS; q++) {
		linear_dot8(mt, sets, w + 32 * q, &p, sum[q]);
		if (s.planes == 2 && !joins)
			linear_dot8(mt, sets, w + 32 * q, &low, sum[q] + mt);
	}
}

/* ---- any bits ------------------------------------------------------------------------------ */

/*
 * sum[v] += sums of products of quarter q of the sets at w over so many slots, all bits but 8.
 */
LATHE_INLINE void
linear_dot(const Linear s, const int mt, const int slots, const uint8_t *w, const int q,
	   const int8_t *hi, const int8_t *lo, __m256i *sum)
{
	if (s.bits == 4)
		linear_dot4(s, mt, (slots + 1) / 2, w + 32 * q, hi, lo, sum);
	else
		linear_dot_slots(s, mt, slots, w + linear_at(s, q), hi, lo, sum);
}

/* The same of all quarters: sum[quarter]; at most LINEAR_STRETCH sets, any bits. */
LATHE_INLINE void
linear_stretch(const Linear s, const int mt, const int joins, const int slots, const uint8_t *w,
	       const int8_t *hi, const int8_t *lo, __m256i (*sum)[LINEAR_TOKENS])
{
	if (s.bits == 8) {
		linear_stretch8(s, mt, joins, slots, w, hi, lo, sum);
		return;
	}
	LATHE_UNROLL(1)
	for (int q = 0; q < LINEAR_QUARTERS; q++)
		linear_dot(s, mt, slots, w, q, hi, lo, sum[q]);
}
