/*
 * Sums of products by VPDPBUSD on 256 bits: four bytes of a code's row times four of a token.
 */

/* Tokens in a tile: what fits 16 registers. */
#define LATHE_TILE_A8 4
#define LATHE_TILE_A16 4
#define LATHE_TILE_F32 2

/* Whether products take numbers of 16 bits, so that planes can be joined before. */
#define LINEAR_WIDE(s) 0

/*
 * sum[v] += sums of products over n <= 8 slots from a set's first on, 8 rows; w: their quarter of
 * the set. Two chains where tokens are too few to hide the latency.
 */
LATHE_INLINE void
linear_slots_of(const Linear s, const int mt, const int n, const uint8_t *w, const int8_t *hi,
		const int8_t *lo, __m256i *sum)
{
	const int vectors = s.planes * mt, slots = LINEAR_SLOTS(s), chains = vectors < 4 ? 2 : 1;
	__m256i t[2][LINEAR_TOKENS];

	LATHE_UNROLL(8)
	for (int v = 0; v < vectors; v++) {
		t[0][v] = sum[v];
		t[1][v] = _mm256_setzero_si256();
	}
	LATHE_UNROLL(8)
	for (int j = 0; j < n; j++) {
		const uint8_t *set = w + j / slots * LINEAR_SET_BYTES(s);
		const __m256i x = linear_slot_codes(s, set, j % slots);

		LATHE_UNROLL(8)
		for (int v = 0; v < vectors; v++) {
			__m256i *to = &t[j % chains][v];

			*to = vi_half_dot(*to, x, linear_codes(s, mt, hi, lo, j, v));
		}
	}
	LATHE_UNROLL(8)
	for (int v = 0; v < vectors; v++)
		sum[v] = chains == 2 ? _mm256_add_epi32(t[0][v], t[1][v]) : t[0][v];
}

/* sum[v] += sums of products of quarter q of the sets at w over so many slots. */
LATHE_INLINE void
linear_dot(const Linear s, const int mt, const int slots, const uint8_t *w, const int q,
	   const int8_t *hi, const int8_t *lo, __m256i *sum)
{
	const int sets = LINEAR_SLOTS(s) < 8 ? 8 / LINEAR_SLOTS(s) : 1;
	const int n = sets * LINEAR_SLOTS(s);

	w += linear_at(s, q);
	LATHE_UNROLL(1)
	for (int i = 0; i < slots / n; i++) {
		linear_slots_of(s, mt, n, w, hi, lo, sum);
		w += sets * LINEAR_SET_BYTES(s);
		hi += 4 * n * mt;
		if (s.planes == 2)
			lo += 4 * n * mt;
	}
	if (slots % n)
		linear_slots_of(s, mt, slots % n, w, hi, lo, sum);
}

/* The same of all quarters: sum[quarter]. */
LATHE_INLINE void
linear_stretch(const Linear s, const int mt, const int joins, const int slots, const uint8_t *w,
	       const int8_t *hi, const int8_t *lo, __m256i (*sum)[LINEAR_TOKENS])
{
	(void)joins;
	LATHE_UNROLL(1)
	for (int q = 0; q < LINEAR_QUARTERS; q++)
		linear_dot(s, mt, slots, w, q, hi, lo, sum[q]);
}
