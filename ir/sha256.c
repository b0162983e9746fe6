/*
 * SHA-256. A compile of a large model digests its bytes several times over, so whole blocks go
 * through the SHA instructions of x86 where the CPU has them; the rest is libmd's.
 */
#include "support.h"

enum { BLOCK = 64 };

#if defined(__x86_64__) && defined(__GNUC__)

#include <cpuid.h>
#include <immintrin.h>

static const uint32_t round_constants[64] = {
	0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4,
	0xab1c5ed5, 0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe,
	0x9bdc06a7, 0xc19bf174, 0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f,
	0x4a7484aa, 0x5cb0a9dc, 0x76f988da, 0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7,
	0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967, 0x27b70a85, 0x2e1b2138, 0x4d2c6dfc,
	0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85, 0xa2bfe8a1, 0xa81a664b,
	0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070, 0x19a4c116,
	0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
	0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7,
	0xc67178f2,
};

static bool
cpu_has_sha(void)
{
	unsigned a, b, c, d;
	if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & bit_SSSE3) || !(c & bit_SSE4_1))
		return false;
	return __get_cpuid_count(7, 0, &a, &b, &c, &d) && (b & bit_SHA);
}

/* The instructions keep the state as (a, b, e, f) and (c, d, g, h). */
__attribute__((target("sha,ssse3,sse4.1"))) static void
blocks_fast(uint32_t state[8], const uint8_t *p, size_t blocks)
{
	const __m128i swap = _mm_set_epi64x(0x0c0d0e0f08090a0b, 0x0405060700010203);
	__m128i low = _mm_loadu_si128((const __m128i *)(const void *)state);
	__m128i high = _mm_loadu_si128((const __m128i *)(const void *)(state + 4));
	low = _mm_shuffle_epi32(low, 0xb1);
	high = _mm_shuffle_epi32(high, 0x1b);
	__m128i abef = _mm_alignr_epi8(low, high, 8);
	__m128i cdgh = _mm_blend_epi16(high, low, 0xf0);
	for (; blocks--; p += BLOCK) {
		const __m128i abef_before = abef, cdgh_before = cdgh;
		__m128i w[4];
		for (int i = 0; i < 16; i++) {
			if (i < 4) {
				w[i] = _mm_loadu_si128((const __m128i *)(const void *)(p + 16 * i));
				w[i] = _mm_shuffle_epi8(w[i], swap);
			} else {
				const __m128i last = w[(i + 3) & 3];
				__m128i next = _mm_sha256msg1_epu32(w[i & 3], w[(i + 1) & 3]);
				next = _mm_add_epi32(next,
						     _mm_alignr_epi8(last, w[(i + 2) & 3], 4));
				w[i & 3] = _mm_sha256msg2_epu32(next, last);
			}
			const void *k = round_constants + (ptrdiff_t)4 * i;
			__m128i m = _mm_add_epi32(w[i & 3], _mm_loadu_si128((const __m128i *)k));
			cdgh = _mm_sha256rnds2_epu32(cdgh, abef, m);
			m = _mm_shuffle_epi32(m, 0x0e);
			abef = _mm_sha256rnds2_epu32(abef, cdgh, m);
		}
		abef = _mm_add_epi32(abef, abef_before);
		cdgh = _mm_add_epi32(cdgh, cdgh_before);
	}
	low = _mm_shuffle_epi32(abef, 0x1b);
	high = _mm_shuffle_epi32(cdgh, 0xb1);
	_mm_storeu_si128((__m128i *)(void *)state, _mm_blend_epi16(low, high, 0xf0));
	_mm_storeu_si128((__m128i *)(void *)(state + 4), _mm_alignr_epi8(high, low, 8));
}

#else

static bool
cpu_has_sha(void)
{
	return false;
}

static void
blocks_fast(uint32_t state[8], const uint8_t *p, size_t blocks)
{
	(void)state;
	(void)p;
	(void)blocks;
}

#endif

void
sha256_init(Sha256 *s)
{
	SHA256Init(&s->context);
	s->fast = cpu_has_sha();
}

void
sha256_update(Sha256 *s, const void *data, size_t n)
{
	const uint8_t *p = data;
	const size_t held = (size_t)(s->context.bitcount[0] / 8 % BLOCK);
	const size_t missing = held ? BLOCK - held : 0;
	if (s->fast && n >= missing + BLOCK) {
		const size_t blocks = (n - missing) / BLOCK;
		SHA256Update(&s->context, p, missing);
		p += missing;
		blocks_fast(s->context.state.st32, p, blocks);
		s->context.bitcount[0] += (uint64_t)blocks * BLOCK * 8;
		p += blocks * BLOCK;
		n -= missing + blocks * BLOCK;
	}
	SHA256Update(&s->context, p, n);
}

void
sha256_final(Sha256 *s, uint8_t digest[32])
{
	SHA256Final(digest, &s->context);
}

void
sha256_hex(const uint8_t digest[32], char hex[65])
{
	for (int i = 0; i < 32; i++)
		snprintf(hex + (ptrdiff_t)2 * i, 3, "%02x", digest[i]);
}
