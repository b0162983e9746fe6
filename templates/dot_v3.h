/*
 * Products of codes: queries times sixteen positions of a cache's keys (attention.h). `planes` is 2
 * where the queries' codes have 16 bits, else 1; there are at most 8 queries.
 *
 * Queries here are words, [unit of 4 elements][query][4]: keys become words too, so that a product
 * of all bits is one instruction. Each position has two sums until the end.
 */

/* Puts elements [i, i + 16) of query j of nq in their place. D: d rounded up to 16. */
LATHE_INLINE void
dot_query(int planes, int D, int nq, int j, int i, vi codes, void *q)
{
	const __m256i w = _mm256_permute4x64_epi64(_mm256_packs_epi32(codes.a, codes.b), 0xd8);
	int64_t unit[4];
	memcpy(unit, &w, sizeof unit);
	(void)planes;
	(void)D;
	for (int u = 0; u < 4; u++)
		memcpy((int16_t *)q + ((i / 4 + u) * nq + j) * 4, &unit[u], sizeof *unit);
}

LATHE_INLINE __m256i
dot_unit(const void *q, int unit, int nq, int j)
{
	int64_t e;
	memcpy(&e, (const int16_t *)q + (unit * nq + j) * 4, sizeof e);
	return _mm256_set1_epi64x(e);
}

/* Eight positions: 32 bytes of each line. */
LATHE_INLINE void
dot_half(int bits, int d, int nq, const void *q, const uint8_t *k, __m256i *sum)
{
	const int per = 32 / bits;
	const __m256i mask = _mm256_set1_epi16(15);
	__m256i a[8], b[8];
	LATHE_UNROLL_ALL
	for (int j = 0; j < nq; j++)
		a[j] = b[j] = _mm256_setzero_si256();
	LATHE_UNROLL(4)
	for (int i = 0; i < d; i += per) {
		const __m128i *p = (const __m128i *)(const void *)(k + i / per * 64);
		const __m256i x = _mm256_cvtepu8_epi16(_mm_loadu_si128(p));
		const __m256i y = _mm256_cvtepu8_epi16(_mm_loadu_si128(p + 1));
		LATHE_UNROLL_ALL
		for (int u = 0; u < per / 4; u++) {
			const __m256i s = bits == 8 ? x
					  : u	    ? _mm256_srli_epi16(x, 4)
						    : _mm256_and_si256(x, mask);
			const __m256i t = bits == 8 ? y
					  : u	    ? _mm256_srli_epi16(y, 4)
						    : _mm256_and_si256(y, mask);
			LATHE_UNROLL_ALL
			for (int j = 0; j < nq; j++) {
				const __m256i w = dot_unit(q, i / 4 + u, nq, j);
				a[j] = _mm256_add_epi32(a[j], _mm256_madd_epi16(s, w));
				b[j] = _mm256_add_epi32(b[j], _mm256_madd_epi16(t, w));
			}
		}
	}
	LATHE_UNROLL_ALL
	for (int j = 0; j < nq; j++)
		sum[j] = _mm256_permute4x64_epi64(_mm256_hadd_epi32(a[j], b[j]), 0xd8);
}

/* sum[j] of query j: lane p is the sum of its codes times the stored codes of position p. */
LATHE_INLINE void
dot_codes(int bits, int planes, int d, int nq, const void *q, const uint8_t *k, vi *sum)
{
	__m256i a[8], b[8];
	(void)planes;
	dot_half(bits, d, nq, q, k, a);
	dot_half(bits, d, nq, q, k + 32, b);
	LATHE_UNROLL_ALL
	for (int j = 0; j < nq; j++) {
		sum[j].a = a[j];
		sum[j].b = b[j];
	}
}
