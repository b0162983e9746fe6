/*
 * Products of codes: queries times sixteen positions of a cache's keys (attention.h). `planes` is 2
 * where the queries' codes have 16 bits, else 1; there are at most 8 queries.
 *
 * Queries here are bytes, a plane [unit of 4 elements][query][4] of the high ones (all of them, up
 * to 8 bits), D bytes a query, then one of the low ones.
 */

/* Puts elements [i, i + 16) of query j of nq in their place. D: d rounded up to 16. */
LATHE_INLINE void
dot_query(int planes, int D, int nq, int j, int i, vi codes, void *q)
{
	vi hi = codes;
	int8_t b[16];
	if (planes == 2)
		hi = vi_sra(vi_add(codes, vi_set1(128)), 8);
	for (int plane = 0; plane < planes; plane++) {
		vi_store_bytes(b, plane ? vi_sub(codes, vi_sll(hi, 8)) : hi);
		for (int u = 0; u < 4; u++)
			memcpy((int8_t *)q + plane * nq * D + ((i / 4 + u) * nq + j) * 4, b + 4 * u,
			       4);
	}
}

LATHE_INLINE vi
dot_unit(const void *q, int at)
{
	int32_t e;
	memcpy(&e, (const int8_t *)q + at, sizeof e);
	return vi_set1(e);
}

/* sum[j] of query j: lane p is the sum of its codes times the stored codes of position p. */
LATHE_INLINE void
dot_codes(int bits, int planes, int d, int nq, const void *q, const uint8_t *k, vi *sum)
{
	const int per = 32 / bits, low = nq * LATHE_PAD(d, 16);
	vi lo[8];
	LATHE_UNROLL_ALL
	for (int j = 0; j < nq; j++)
		sum[j] = lo[j] = vi_zero();
	LATHE_UNROLL(8)
	for (int i = 0; i < d; i += per) {
		const vi x = vi_load((const int32_t *)(const void *)(k + i / per * 64));
		LATHE_UNROLL_ALL
		for (int u = 0; u < per / 4; u++) {
			const vi mask = vi_set1(0x0f0f0f0f);
			const vi s = bits == 8 ? x : vi_and(u ? vi_srl(x, 4) : x, mask);
			LATHE_UNROLL_ALL
			for (int j = 0; j < nq; j++) {
				const int at = ((i / 4 + u) * nq + j) * 4;
				sum[j] = vi_dot(sum[j], s, dot_unit(q, at));
				if (planes == 2)
					lo[j] = vi_dot(lo[j], s, dot_unit(q, low + at));
			}
		}
	}
	LATHE_UNROLL_ALL
	for (int j = 0; j < nq && planes == 2; j++)
		sum[j] = vi_add(vi_sll(sum[j], 8), lo[j]);
}
