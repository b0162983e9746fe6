/* Vector words of x86-64-v3 (AVX2, FMA, F16C): two 256-bit registers a word. */
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
#define LATHE_VF_REGISTERS 8

typedef struct vf {
	__m256 a, b; /* lanes 0-7, 8-15 */
} vf;
typedef struct vi {
	__m256i a, b;
} vi;
/* all ones or 0 in each lane */
typedef struct vm {
	__m256 a, b;
} vm;

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
	return (vf){_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)};
}

LATHE_INLINE void
vf_store(float *p, vf x)
{
	_mm256_storeu_ps(p, x.a);
	_mm256_storeu_ps(p + 8, x.b);
}

LATHE_INLINE vi
vi_load(const int32_t *p)
{
	return (vi){_mm256_loadu_si256((const __m256i *)(const void *)p),
		    _mm256_loadu_si256((const __m256i *)(const void *)(p + 8))};
}

LATHE_INLINE void
vi_store(int32_t *p, vi x)
{
	_mm256_storeu_si256((__m256i *)(void *)p, x.a);
	_mm256_storeu_si256((__m256i *)(void *)(p + 8), x.b);
}

LATHE_INLINE vf
vf_set1(float a)
{
	return (vf){_mm256_set1_ps(a), _mm256_set1_ps(a)};
}

LATHE_INLINE vi
vi_set1(int32_t a)
{
	return (vi){_mm256_set1_epi32(a), _mm256_set1_epi32(a)};
}

LATHE_INLINE vf
vf_zero(void)
{
	return (vf){_mm256_setzero_ps(), _mm256_setzero_ps()};
}

LATHE_INLINE vi
vi_zero(void)
{
	return (vi){_mm256_setzero_si256(), _mm256_setzero_si256()};
}

LATHE_INLINE vi
vi_iota(void)
{
	return (vi){_mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7),
		    _mm256_setr_epi32(8, 9, 10, 11, 12, 13, 14, 15)};
}

/* Lanes below n. */
LATHE_INLINE vm
vm_first(int n)
{
	vi i = vi_iota();
	__m256i v = _mm256_set1_epi32(n);
	return (vm){_mm256_castsi256_ps(_mm256_cmpgt_epi32(v, i.a)),
		    _mm256_castsi256_ps(_mm256_cmpgt_epi32(v, i.b))};
}

LATHE_INLINE vf
vf_load_part(const float *p, int n)
{
	vm m = vm_first(n);
	return (vf){_mm256_maskload_ps(p, _mm256_castps_si256(m.a)),
		    _mm256_maskload_ps(p + 8, _mm256_castps_si256(m.b))};
}

LATHE_INLINE void
vf_store_part(float *p, vf x, int n)
{
	vm m = vm_first(n);
	_mm256_maskstore_ps(p, _mm256_castps_si256(m.a), x.a);
	_mm256_maskstore_ps(p + 8, _mm256_castps_si256(m.b), x.b);
}

LATHE_INLINE vf
vf_load_f16(const uint16_t *p)
{
	return (vf){_mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(const void *)p)),
		    _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(const void *)(p + 8)))};
}

LATHE_INLINE void
vf_store_f16(uint16_t *p, vf x)
{
	_mm_storeu_si128((__m128i *)(void *)p, _mm256_cvtps_ph(x.a, _MM_FROUND_TO_NEAREST_INT));
	_mm_storeu_si128((__m128i *)(void *)(p + 8),
			 _mm256_cvtps_ph(x.b, _MM_FROUND_TO_NEAREST_INT));
}

LATHE_INLINE void
vi_store_bytes(int8_t *p, vi x)
{
	__m256i byte = _mm256_set1_epi32(255);
	__m256i w = _mm256_packus_epi32(_mm256_and_si256(x.a, byte), _mm256_and_si256(x.b, byte));
	w = _mm256_permute4x64_epi64(w, 0xd8);
	_mm_storeu_si128((__m128i *)(void *)p, _mm_packus_epi16(_mm256_castsi256_si128(w),
								_mm256_extracti128_si256(w, 1)));
}

/* Sixteen signed bytes. */
LATHE_INLINE vf
vf_load_bytes(const int8_t *p)
{
	const __m128i b = _mm_loadu_si128((const __m128i *)(const void *)p);
	return (vf){_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(b)),
		    _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_srli_si128(b, 8)))};
}

/* The low (or high) halves of sixteen bytes, less 8. */
LATHE_INLINE vf
vf_load_halves(const uint8_t *p, int high)
{
	const __m128i b = _mm_loadu_si128((const __m128i *)(const void *)p);
	const __m128i h = _mm_and_si128(high ? _mm_srli_epi16(b, 4) : b, _mm_set1_epi8(15));
	const __m128i c = _mm_sub_epi8(h, _mm_set1_epi8(8));
	return (vf){_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(c)),
		    _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_srli_si128(c, 8)))};
}

/* ---- floats ---------------------------------------------------------------------------------- */

LATHE_INLINE vf
vf_add(vf x, vf y)
{
	return (vf){_mm256_add_ps(x.a, y.a), _mm256_add_ps(x.b, y.b)};
}

LATHE_INLINE vf
vf_sub(vf x, vf y)
{
	return (vf){_mm256_sub_ps(x.a, y.a), _mm256_sub_ps(x.b, y.b)};
}

LATHE_INLINE vf
vf_mul(vf x, vf y)
{
	return (vf){_mm256_mul_ps(x.a, y.a), _mm256_mul_ps(x.b, y.b)};
}

LATHE_INLINE vf
vf_fma(vf x, vf y, vf z)
{
	return (vf){_mm256_fmadd_ps(x.a, y.a, z.a), _mm256_fmadd_ps(x.b, y.b, z.b)};
}

LATHE_INLINE vf
vf_fnma(vf x, vf y, vf z)
{
	return (vf){_mm256_fnmadd_ps(x.a, y.a, z.a), _mm256_fnmadd_ps(x.b, y.b, z.b)};
}

LATHE_INLINE vf
vf_max(vf x, vf y)
{
	return (vf){_mm256_max_ps(x.a, y.a), _mm256_max_ps(x.b, y.b)};
}

LATHE_INLINE vf
vf_min(vf x, vf y)
{
	return (vf){_mm256_min_ps(x.a, y.a), _mm256_min_ps(x.b, y.b)};
}

LATHE_INLINE vf
vf_abs(vf x)
{
	__m256 sign = _mm256_set1_ps(-0.0f);
	return (vf){_mm256_andnot_ps(sign, x.a), _mm256_andnot_ps(sign, x.b)};
}

LATHE_INLINE vf
vf_neg(vf x)
{
	__m256 sign = _mm256_set1_ps(-0.0f);
	return (vf){_mm256_xor_ps(sign, x.a), _mm256_xor_ps(sign, x.b)};
}

LATHE_INLINE vm
vf_gt(vf x, vf y)
{
	return (vm){_mm256_cmp_ps(x.a, y.a, _CMP_GT_OQ), _mm256_cmp_ps(x.b, y.b, _CMP_GT_OQ)};
}

LATHE_INLINE vm
vf_lt(vf x, vf y)
{
	return (vm){_mm256_cmp_ps(x.a, y.a, _CMP_LT_OQ), _mm256_cmp_ps(x.b, y.b, _CMP_LT_OQ)};
}

/* Only the sign bits are set here: vf_select reads no others. */
LATHE_INLINE vm
vm_negative(vf x)
{
	return (vm){x.a, x.b};
}

LATHE_INLINE vf
vf_select(vm m, vf x, vf y)
{
	return (vf){_mm256_blendv_ps(y.a, x.a, m.a), _mm256_blendv_ps(y.b, x.b, m.b)};
}

LATHE_INLINE float
vf_tree(vf x)
{
	__m256 a = _mm256_add_ps(x.a, x.b);
	__m128 b = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
	b = _mm_add_ps(b, _mm_movehl_ps(b, b));
	return _mm_cvtss_f32(_mm_add_ss(b, _mm_movehdup_ps(b)));
}

LATHE_INLINE float
vf_maxtree(vf x)
{
	__m256 a = _mm256_max_ps(x.a, x.b);
	__m128 b = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
	b = _mm_max_ps(b, _mm_movehl_ps(b, b));
	return _mm_cvtss_f32(_mm_max_ss(b, _mm_movehdup_ps(b)));
}

/* ---- integers: sums and shifts wrap ------------------------------------------------------------
 */

LATHE_INLINE vi
vi_add(vi x, vi y)
{
	return (vi){_mm256_add_epi32(x.a, y.a), _mm256_add_epi32(x.b, y.b)};
}

LATHE_INLINE vi
vi_sub(vi x, vi y)
{
	return (vi){_mm256_sub_epi32(x.a, y.a), _mm256_sub_epi32(x.b, y.b)};
}

LATHE_INLINE vi
vi_and(vi x, vi y)
{
	return (vi){_mm256_and_si256(x.a, y.a), _mm256_and_si256(x.b, y.b)};
}

LATHE_INLINE vi
vi_or(vi x, vi y)
{
	return (vi){_mm256_or_si256(x.a, y.a), _mm256_or_si256(x.b, y.b)};
}

LATHE_INLINE vi
vi_sll(vi x, int n)
{
	return (vi){_mm256_slli_epi32(x.a, n), _mm256_slli_epi32(x.b, n)};
}

LATHE_INLINE vi
vi_srl(vi x, int n)
{
	return (vi){_mm256_srli_epi32(x.a, n), _mm256_srli_epi32(x.b, n)};
}

LATHE_INLINE vi
vi_sra(vi x, int n)
{
	return (vi){_mm256_srai_epi32(x.a, n), _mm256_srai_epi32(x.b, n)};
}

LATHE_INLINE int32_t
vi_sum(vi x)
{
	__m256i a = _mm256_add_epi32(x.a, x.b);
	__m128i b = _mm_add_epi32(_mm256_castsi256_si128(a), _mm256_extracti128_si256(a, 1));
	b = _mm_add_epi32(b, _mm_shuffle_epi32(b, 0x4e));
	b = _mm_add_epi32(b, _mm_shuffle_epi32(b, 0xb1));
	return _mm_cvtsi128_si32(b);
}

LATHE_INLINE vf
vf_from_bits(vi x)
{
	return (vf){_mm256_castsi256_ps(x.a), _mm256_castsi256_ps(x.b)};
}

LATHE_INLINE vi
vi_from_bits(vf x)
{
	return (vi){_mm256_castps_si256(x.a), _mm256_castps_si256(x.b)};
}

LATHE_INLINE vf
vf_from_int(vi x)
{
	return (vf){_mm256_cvtepi32_ps(x.a), _mm256_cvtepi32_ps(x.b)};
}

/* x[i] + x[i ^ s] where i & s is 0, else x[i ^ s] - x[i]: s is 1, 2, 4 or 8, a literal. The product
 * with 1 or -1 is exact, so the fma rounds once, as an addition does. */
LATHE_INLINE __m256
vf_butterfly_half(__m256 x, const int s)
{
	const __m256 other = s == 1   ? _mm256_permute_ps(x, 0xb1)
			     : s == 2 ? _mm256_permute_ps(x, 0x4e)
				      : _mm256_permute2f128_ps(x, x, 1);
	const __m256 one = s == 1   ? _mm256_setr_ps(1, -1, 1, -1, 1, -1, 1, -1)
			   : s == 2 ? _mm256_setr_ps(1, 1, -1, -1, 1, 1, -1, -1)
				    : _mm256_setr_ps(1, 1, 1, 1, -1, -1, -1, -1);
	return _mm256_fmadd_ps(x, one, other);
}

LATHE_INLINE vf
vf_butterfly(vf x, const int s)
{
	if (s == 8)
		return (vf){_mm256_add_ps(x.a, x.b), _mm256_sub_ps(x.a, x.b)};
	return (vf){vf_butterfly_half(x.a, s), vf_butterfly_half(x.b, s)};
}

/* ---- slices: one register of floats ------------------------------------------------------------
 */

#define LATHE_SLICE 8
typedef __m256 vs;

/* Stores under a mask are slow on some machines. */
LATHE_INLINE vs
vs_load_first(const float *p, const int n)
{
	const __m256i lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
	return n >= 8	? _mm256_loadu_ps(p)
	       : n == 4 ? _mm256_zextps128_ps256(_mm_loadu_ps(p))
			: _mm256_maskload_ps(p, _mm256_cmpgt_epi32(_mm256_set1_epi32(n), lanes));
}

LATHE_INLINE void
vs_store_first(float *p, vs x, const int n)
{
	float e[8];
	if (n >= 8) {
		_mm256_storeu_ps(p, x);
	} else if (n == 4) {
		_mm_storeu_ps(p, _mm256_castps256_ps128(x));
	} else {
		_mm256_storeu_ps(e, x);
		memcpy(p, e, sizeof(float) * (size_t)n);
	}
}

LATHE_INLINE vs
vs_set1(float a)
{
	return _mm256_set1_ps(a);
}

LATHE_INLINE vs
vs_add(vs a, vs b)
{
	return _mm256_add_ps(a, b);
}

LATHE_INLINE vs
vs_sub(vs a, vs b)
{
	return _mm256_sub_ps(a, b);
}

LATHE_INLINE vs
vs_mul(vs a, vs b)
{
	return _mm256_mul_ps(a, b);
}

LATHE_INLINE vs
vs_fma(vs a, vs b, vs c)
{
	return _mm256_fmadd_ps(a, b, c);
}

/* Additions alone fill this level's ports. */
LATHE_INLINE vs
vs_add_by_fma(vs a, vs b)
{
	return _mm256_add_ps(a, b);
}

LATHE_INLINE vs
vs_sub_by_fma(vs a, vs b)
{
	return _mm256_sub_ps(a, b);
}
