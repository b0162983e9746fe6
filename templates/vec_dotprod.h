/* What the dot products of AArch64 (FEAT_DotProd) add to the vector words of portable C. */
#include <arm_neon.h>

/* Loops over registers, which that level has and the portable words have not. */
#if defined(__clang__)
#define LATHE_UNROLL_DOT LATHE_PRAGMA_DOT(clang loop unroll(full))
#else
#define LATHE_UNROLL_DOT LATHE_PRAGMA_DOT(GCC unroll 8)
#endif
#define LATHE_PRAGMA_DOT(x) _Pragma(#x)

/* Lanes [4 i, 4 i + 4) of x as signed bytes. */
LATHE_INLINE int8x16_t
vi_bytes(const vi *x, int i)
{
	return vreinterpretq_s8_s32(vld1q_s32(x->e + 4 * i));
}

/*
 * x plus products of four unsigned bytes of a and four signed ones of b, lane by lane. The
 * instruction takes signed bytes: a less 128, whose products with b are added again.
 */
LATHE_INLINE vi
vi_dot(vi x, vi a, vi b)
{
	for (int i = 0; i < 4; i++) {
		const int8x16_t u = veorq_s8(vi_bytes(&a, i), vdupq_n_s8(-128));
		const int8x16_t v = vi_bytes(&b, i);
		const int32x4_t all = vdotq_s32(vdupq_n_s32(0), v, vdupq_n_s8(1));
		const int32x4_t sum = vdotq_s32(vld1q_s32(x.e + 4 * i), u, v);

		vst1q_s32(x.e + 4 * i, vaddq_s32(sum, vshlq_n_s32(all, 7)));
	}
	return x;
}
