/* Vector words of x86-64-v4 with VNNI: one 512-bit register a word. */
#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if defined(__clang__)
#pragma STDC FP_CONTRACT OFF
#endif

#define LATHE_INLINE static inline __attribute__((always_inline, unused))
#define LATHE_RESTRICT __restrict__
#define LATHE_ALIGN(n) __attribute__((aligned(n)))
#define LATHE_PRAGMA(x) _Pragma(#x)
#if defined(__clang__)
#define LATHE_UNROLL(n) LATHE_PRAGMA(clang loop unroll_count(n))
#define LATHE_UNROLL_ALL LATHE_PRAGMA(clang loop unroll(full))
#else
#define LATHE_UNROLL(n) LATHE_PRAGMA(GCC unroll n)
#define LATHE_UNROLL_ALL LATHE_PRAGMA(GCC unroll 64)
#endif

/* Words that portable C has as calls; here inline like all. */
#define LATHE_WORD LATHE_INLINE

/* A call on every machine: what runs once a row. */
#define LATHE_CALL static __attribute__((noinline, unused))

/* How many vf fit the registers of the machine: kernels size their tiles by it. */
#define LATHE_VF_REGISTERS 32

typedef __m512 vf;
typedef __m512i vi;
typedef __mmask16 vm;

/* ---- scalars --------------------------------------------------------------------------------- */

LATHE_INLINE uint32_t
s_bits(float a)
{
	uint32_t u;
	memcpy(&u, &a, sizeof u);
	return u;
}

LATHE_INLINE float
s_from_bits(uint32_t u)
{
	float a;
	memcpy(&a, &u, sizeof a);
	return a;
}

LATHE_INLINE float
s_fma(float a, float b, float c)
{
	return __builtin_fmaf(a, b, c);
}

LATHE_INLINE float
s_from_f16(uint16_t h)
{
	return _cvtsh_ss(h);
}

LATHE_INLINE uint16_t
s_to_f16(float a)
{
	return (uint16_t)_cvtss_sh(a, _MM_FROUND_TO_NEAREST_INT);
}

/* ---- loads, stores, constants ---------------------------------------------------------------- */

LATHE_INLINE vf
vf_load(const float *p)
{
	return _mm512_loadu_ps(p);
}

LATHE_INLINE void
vf_store(float *p, vf x)
{
	_mm512_storeu_ps(p, x);
}

LATHE_INLINE vi
vi_load(const int32_t *p)
{
	return _mm512_loadu_si512((const void *)p);
}

LATHE_INLINE void
vi_store(int32_t *p, vi x)
{
	_mm512_storeu_si512((void *)p, x);
}

LATHE_INLINE vf
vf_set1(float a)
{
	return _mm512_set1_ps(a);
}

LATHE_INLINE vi
vi_set1(int32_t a)
{
	return _mm512_set1_epi32(a);
}

LATHE_INLINE vf
vf_zero(void)
{
	return _mm512_setzero_ps();
}

LATHE_INLINE vi
vi_zero(void)
{
	return _mm512_setzero_si512();
}

LATHE_INLINE vi
vi_iota(void)
{
	return _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
}

/* Lanes below n. */
LATHE_INLINE vm
vm_first(int n)
{
	return (vm)(n >= 16 ? 0xffffu : n <= 0 ? 0u : (1u << n) - 1u);
}

LATHE_INLINE vf
vf_load_part(const float *p, int n)
{
	return _mm512_maskz_loadu_ps(vm_first(n), p);
}

LATHE_INLINE void
vf_store_part(float *p, vf x, int n)
{
	_mm512_mask_storeu_ps(p, vm_first(n), x);
}

LATHE_INLINE vf
vf_load_f16(const uint16_t *p)
{
	return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(const void *)p));
}

LATHE_INLINE void
vf_store_f16(uint16_t *p, vf x)
{
	_mm256_storeu_si256((__m256i *)(void *)p, _mm512_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT));
}

LATHE_INLINE void
vi_store_bytes(int8_t *p, vi x)
{
	_mm_storeu_si128((__m128i *)(void *)p, _mm512_cvtepi32_epi8(x));
}

/* Sixteen signed bytes. */
LATHE_INLINE vf
vf_load_bytes(const int8_t *p)
{
	return _mm512_cvtepi32_ps(
		_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)(const void *)p)));
}

/* The low (or high) halves of sixteen bytes, less 8: a look-up that takes 4 bits of its index. */
LATHE_INLINE vf
vf_load_halves(const uint8_t *p, int high)
{
	const __m512 values =
		_mm512_setr_ps(-8, -7, -6, -5, -4, -3, -2, -1, 0, 1, 2, 3, 4, 5, 6, 7);
	const __m512i b = _mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)(const void *)p));
	return _mm512_permutexvar_ps(high ? _mm512_srli_epi32(b, 4) : b, values);
}

/* ---- floats ---------------------------------------------------------------------------------- */

LATHE_INLINE vf
vf_add(vf a, vf b)
{
	return _mm512_add_ps(a, b);
}

LATHE_INLINE vf
vf_sub(vf a, vf b)
{
	return _mm512_sub_ps(a, b);
}

LATHE_INLINE vf
vf_mul(vf a, vf b)
{
	return _mm512_mul_ps(a, b);
}

LATHE_INLINE vf
vf_fma(vf a, vf b, vf c)
{
	return _mm512_fmadd_ps(a, b, c);
}

LATHE_INLINE vf
vf_fnma(vf a, vf b, vf c)
{
	return _mm512_fnmadd_ps(a, b, c);
}

LATHE_INLINE vf
vf_max(vf a, vf b)
{
	return _mm512_max_ps(a, b);
}

LATHE_INLINE vf
vf_min(vf a, vf b)
{
	return _mm512_min_ps(a, b);
}

LATHE_INLINE vf
vf_abs(vf a)
{
	return _mm512_abs_ps(a);
}

LATHE_INLINE vf
vf_neg(vf a)
{
	return _mm512_castsi512_ps(
		_mm512_xor_si512(_mm512_castps_si512(a), _mm512_set1_epi32(INT32_MIN)));
}

LATHE_INLINE vm
vf_gt(vf a, vf b)
{
	return _mm512_cmp_ps_mask(a, b, _CMP_GT_OQ);
}

LATHE_INLINE vm
vf_lt(vf a, vf b)
{
	return _mm512_cmp_ps_mask(a, b, _CMP_LT_OQ);
}

LATHE_INLINE vm
vm_negative(vf a)
{
	return _mm512_movepi32_mask(_mm512_castps_si512(a));
}

LATHE_INLINE vf
vf_select(vm m, vf a, vf b)
{
	return _mm512_mask_blend_ps(m, b, a);
}

LATHE_INLINE float
vf_tree(vf x)
{
	__m256 a = _mm256_add_ps(_mm512_castps512_ps256(x), _mm512_extractf32x8_ps(x, 1));
	__m128 b = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
	b = _mm_add_ps(b, _mm_movehl_ps(b, b));
	return _mm_cvtss_f32(_mm_add_ss(b, _mm_movehdup_ps(b)));
}

LATHE_INLINE float
vf_maxtree(vf x)
{
	__m256 a = _mm256_max_ps(_mm512_castps512_ps256(x), _mm512_extractf32x8_ps(x, 1));
	__m128 b = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
	b = _mm_max_ps(b, _mm_movehl_ps(b, b));
	return _mm_cvtss_f32(_mm_max_ss(b, _mm_movehdup_ps(b)));
}

/* ---- integers: sums and shifts wrap ------------------------------------------------------------
 */

LATHE_INLINE vi
vi_add(vi a, vi b)
{
	return _mm512_add_epi32(a, b);
}

LATHE_INLINE vi
vi_sub(vi a, vi b)
{
	return _mm512_sub_epi32(a, b);
}

LATHE_INLINE vi
vi_and(vi a, vi b)
{
	return _mm512_and_si512(a, b);
}

LATHE_INLINE vi
vi_or(vi a, vi b)
{
	return _mm512_or_si512(a, b);
}

LATHE_INLINE vi
vi_sll(vi a, int n)
{
	return _mm512_slli_epi32(a, (unsigned)n);
}

LATHE_INLINE vi
vi_srl(vi a, int n)
{
	return _mm512_srli_epi32(a, (unsigned)n);
}

LATHE_INLINE vi
vi_sra(vi a, int n)
{
	return _mm512_srai_epi32(a, (unsigned)n);
}

LATHE_INLINE int32_t
vi_sum(vi a)
{
	return _mm512_reduce_add_epi32(a);
}

/* x plus products of four unsigned bytes of a and four signed ones of b, lane by lane. */
LATHE_INLINE vi
vi_dot(vi x, vi a, vi b)
{
	return _mm512_dpbusd_epi32(x, a, b);
}

LATHE_INLINE vf
vf_from_bits(vi a)
{
	return _mm512_castsi512_ps(a);
}

LATHE_INLINE vi
vi_from_bits(vf a)
{
	return _mm512_castps_si512(a);
}

LATHE_INLINE vf
vf_from_int(vi a)
{
	return _mm512_cvtepi32_ps(a);
}

/* x[i] + x[i ^ s] where i & s is 0, else x[i ^ s] - x[i]: s is 1, 2, 4 or 8, a literal. The product
 * with 1 or -1 is exact, so the fma rounds once, as an addition does. */
LATHE_INLINE vf
vf_butterfly(vf x, const int s)
{
	const __m512 other = s == 1   ? _mm512_permute_ps(x, 0xb1)
			     : s == 2 ? _mm512_permute_ps(x, 0x4e)
			     : s == 4 ? _mm512_shuffle_f32x4(x, x, 0xb1)
				      : _mm512_shuffle_f32x4(x, x, 0x4e);
	const __mmask16 odd = s == 1 ? 0xaaaa : s == 2 ? 0xcccc : s == 4 ? 0xf0f0 : 0xff00;
	const __m512 one = _mm512_mask_blend_ps(odd, _mm512_set1_ps(1.0f), _mm512_set1_ps(-1.0f));
	return _mm512_fmadd_ps(x, one, other);
}

/* ---- slices: one register of floats ------------------------------------------------------------
 */

#define LATHE_SLICE 16
typedef __m512 vs;

/* Halves and quarters without masks: what was stored under a mask is slow to load soon. */
LATHE_INLINE vs
vs_load_first(const float *p, const int n)
{
	return n >= 16	? _mm512_loadu_ps(p)
	       : n == 8 ? _mm512_zextps256_ps512(_mm256_loadu_ps(p))
	       : n == 4 ? _mm512_zextps128_ps512(_mm_loadu_ps(p))
			: vf_load_part(p, n);
}

LATHE_INLINE void
vs_store_first(float *p, vs x, const int n)
{
	if (n >= 16)
		_mm512_storeu_ps(p, x);
	else if (n == 8)
		_mm256_storeu_ps(p, _mm512_castps512_ps256(x));
	else if (n == 4)
		_mm_storeu_ps(p, _mm512_castps512_ps128(x));
	else
		vf_store_part(p, x, n);
}

LATHE_INLINE vs
vs_set1(float a)
{
	return _mm512_set1_ps(a);
}

LATHE_INLINE vs
vs_add(vs a, vs b)
{
	return _mm512_add_ps(a, b);
}

LATHE_INLINE vs
vs_sub(vs a, vs b)
{
	return _mm512_sub_ps(a, b);
}

LATHE_INLINE vs
vs_mul(vs a, vs b)
{
	return _mm512_mul_ps(a, b);
}

LATHE_INLINE vs
vs_fma(vs a, vs b, vs c)
{
	return _mm512_fmadd_ps(a, b, c);
}

/* Sums on the ports of multiplications: the product with 1 is exact. */
LATHE_INLINE vs
vs_add_by_fma(vs a, vs b)
{
	return _mm512_fmadd_ps(a, _mm512_set1_ps(1.0f), b);
}

LATHE_INLINE vs
vs_sub_by_fma(vs a, vs b)
{
	return _mm512_fnmadd_ps(b, _mm512_set1_ps(1.0f), a);
}
