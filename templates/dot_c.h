/*
 * Products of codes: queries times sixteen positions of a cache's keys (attention.h). `planes` is 2
 * where the queries' codes have 16 bits, else 1; there are at most 8 queries.
 *
 * Queries here are words, [unit of 4 elements][query][4].
 */

/* Puts elements [i, i + 16) of query j of nq in their place. D: d rounded up to 16. */
LATHE_INLINE void
dot_query(int planes, int D, int nq, int j, int i, vi codes, void *q)
{
	int32_t e[16];
	vi_store(e, codes);
	(void)planes;
	(void)D;
	for (int u = 0; u < 16; u++) {
		const int16_t word = (int16_t)e[u];
		memcpy((int16_t *)q + ((i + u) / 4 * nq + j) * 4 + u % 4, &word, sizeof word);
	}
}

/* sum[j] of query j: lane p is the sum of its codes times the stored codes of position p. */
LATHE_CALL void
dot_codes(int bits, int planes, int d, int nq, const void *q, const uint8_t *k, vi *sum)
{
	const int16_t *words = q;
	const int per = 32 / bits;
	(void)planes;
	for (int j = 0; j < nq; j++) {
		sum[j] = vi_zero();
		for (int i = 0; i < LATHE_PAD(d, per); i++) {
			const uint8_t *byte = k + i / per * 64 + i % 4;
			const int shift = i % per / 4 * 4, mask = bits == 8 ? 255 : 15;
			const int32_t w = words[(i / 4 * nq + j) * 4 + i % 4];
			LATHE_LANES sum[j].e[l_] =
				(int32_t)((uint32_t)sum[j].e[l_] +
					  (uint32_t)(w * (byte[4 * l_] >> shift & mask)));
		}
	}
}
