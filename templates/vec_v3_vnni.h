/* What AVX-VNNI adds to the vector words of x86-64-v3, and AVX-512 VNNI on 256 bits likewise. */

/* x plus products of four unsigned bytes of a and four signed ones of b, lane by lane. */
LATHE_INLINE __m256i
vi_half_dot(__m256i x, __m256i a, __m256i b)
{
#if defined(__AVXVNNI__)
	return _mm256_dpbusd_avx_epi32(x, a, b);
#else
	return _mm256_dpbusd_epi32(x, a, b);
#endif
}

LATHE_INLINE vi
vi_dot(vi x, vi a, vi b)
{
	return (vi){vi_half_dot(x.a, a.a, b.a), vi_half_dot(x.b, a.b, b.b)};
}
