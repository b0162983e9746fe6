/*
 * Vector words in portable C99: sixteen elements in a struct, loops that a compiler may vectorise.
 * Needs IEEE f32 and f64 without excess precision and two's complement with arithmetic shifts.
 */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if defined(__clang__)
#pragma STDC FP_CONTRACT OFF
#endif
#if defined(__FLT_EVAL_METHOD__) && __FLT_EVAL_METHOD__ != 0
#error "needs float arithmetic without excess precision (on x86: -msse2 -mfpmath=sse)"
#endif

#if defined(__GNUC__)
#define LATHE_INLINE static inline __attribute__((always_inline, unused))
#define LATHE_RESTRICT __restrict__
#define LATHE_ALIGN(n) __attribute__((aligned(n)))
#else
#define LATHE_INLINE static inline
#define LATHE_RESTRICT
#define LATHE_ALIGN(n)
#endif
/* Register arrays live in memory here: unrolling them would only make code. */
#define LATHE_UNROLL(n)
#define LATHE_UNROLL_ALL

/* Words that are long here: calls, not copies, keep code and compile time small. */
#if defined(__GNUC__)
#define LATHE_WORD static __attribute__((noinline, unused))
#else
#define LATHE_WORD static
#endif

/* A call on every machine: what runs once a row. */
#if defined(__GNUC__)
#define LATHE_CALL static __attribute__((noinline, unused))
#else
#define LATHE_CALL static
#endif

/* How many vf fit the registers of the machine: kernels size their tiles by it. */
#define LATHE_VF_REGISTERS 4

typedef char lathe_needs_arithmetic_shift[(-3 >> 1) == -2 ? 1 : -1];

typedef struct vf {
	float e[16];
} vf;
typedef struct vi {
	int32_t e[16];
} vi;
/* 0 or all ones in each lane */
typedef struct vm {
	uint32_t e[16];
} vm;

#define LATHE_LANES for (int l_ = 0; l_ < 16; l_++)

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

/*
 * a * b + c with one rounding. The product is exact in f64; the sum is rounded to odd there (the
 * exact error of the addition says to which side an even result must move), so that the rounding to
 * f32 sees a sticky last bit. Infinities and NaN make the error NaN, which moves nothing.
 */
LATHE_INLINE float
s_fma_soft(float a, float b, float c)
{
	double p = (double)a * (double)b, z = (double)c;
	double s = p + z, t = s - p;
	double error = (p - (s - t)) + (z - t);
	uint64_t u;
	memcpy(&u, &s, sizeof u);
	uint64_t below = (uint64_t)((error < 0) != (u >> 63 != 0));
	uint64_t move = (uint64_t)((error < 0) | (error > 0)) & ~u & 1;
	u += move - 2 * (move & below);
	memcpy(&s, &u, sizeof s);
	return (float)s;
}

LATHE_INLINE float
s_fma(float a, float b, float c)
{
#if defined(FP_FAST_FMAF) || defined(__FP_FAST_FMAF) || defined(__FMA__) || \
	defined(__ARM_FEATURE_FMA)
	return __builtin_fmaf(a, b, c);
#else
	return s_fma_soft(a, b, c);
#endif
}

/* Exact; signalling NaN becomes quiet, as the hardware does. */
LATHE_INLINE float
s_from_f16(uint16_t h)
{
	uint32_t sign = (uint32_t)(h & 0x8000u) << 16, m = (uint32_t)(h & 0x7fffu) << 13;
	uint32_t tiny = s_bits(s_from_bits(0x38800000u | m) - s_from_bits(0x38800000u));
	uint32_t normal = m + 0x38000000u;
	uint32_t special = m | 0x7f800000u | (m > 0x0f800000u ? 0x00400000u : 0u);
	uint32_t u = m >= 0x0f800000u ? special : m < 0x00800000u ? tiny : normal;
	return s_from_bits(u | sign);
}

/* To nearest even; 65520 and more give infinity. */
LATHE_INLINE uint16_t
s_to_f16(float a)
{
	uint32_t u = s_bits(a), sign = u >> 16 & 0x8000u;
	u &= 0x7fffffffu;
	uint32_t tiny = s_bits(s_from_bits(u < 0x38800000u ? u : 0u) + 0.5f) - 0x3f000000u;
	uint32_t normal = (u - 0x38000000u + 0xfffu + (u >> 13 & 1u)) >> 13;
	uint32_t nan = 0x7e00u | (u >> 13 & 0x3ffu);
	uint32_t h = u < 0x38800000u ? tiny : u < 0x477ff000u ? normal : 0x7c00u;
	h = u > 0x7f800000u ? nan : h;
	return (uint16_t)(h | sign);
}

/* ---- loads, stores, constants ---------------------------------------------------------------- */

LATHE_INLINE vf
vf_load(const float *p)
{
	vf x;
	memcpy(x.e, p, sizeof x.e);
	return x;
}

LATHE_INLINE void
vf_store(float *p, vf x)
{
	memcpy(p, x.e, sizeof x.e);
}

LATHE_INLINE vi
vi_load(const int32_t *p)
{
	vi x;
	memcpy(x.e, p, sizeof x.e);
	return x;
}

LATHE_INLINE void
vi_store(int32_t *p, vi x)
{
	memcpy(p, x.e, sizeof x.e);
}

LATHE_INLINE vf
vf_set1(float a)
{
	vf x;
	LATHE_LANES x.e[l_] = a;
	return x;
}

LATHE_INLINE vi
vi_set1(int32_t a)
{
	vi x;
	LATHE_LANES x.e[l_] = a;
	return x;
}

LATHE_INLINE vf
vf_zero(void)
{
	return vf_set1(0.0f);
}

LATHE_INLINE vi
vi_zero(void)
{
	return vi_set1(0);
}

LATHE_INLINE vi
vi_iota(void)
{
	vi x;
	LATHE_LANES x.e[l_] = l_;
	return x;
}

LATHE_INLINE vf
vf_load_part(const float *p, int n)
{
	vf x;
	LATHE_LANES x.e[l_] = l_ < n ? p[l_] : 0.0f;
	return x;
}

LATHE_INLINE void
vf_store_part(float *p, vf x, int n)
{
	for (int i = 0; i < n; i++)
		p[i] = x.e[i];
}

LATHE_INLINE vf
vf_load_f16(const uint16_t *p)
{
	vf x;
	LATHE_LANES x.e[l_] = s_from_f16(p[l_]);
	return x;
}

LATHE_INLINE void
vf_store_f16(uint16_t *p, vf x)
{
	LATHE_LANES p[l_] = s_to_f16(x.e[l_]);
}

LATHE_INLINE void
vi_store_bytes(int8_t *p, vi x)
{
	uint8_t b[16];
	LATHE_LANES b[l_] = (uint8_t)((uint32_t)x.e[l_] & 255u);
	memcpy(p, b, sizeof b);
}

/* Sixteen signed bytes. */
LATHE_INLINE vf
vf_load_bytes(const int8_t *p)
{
	vf x;
	LATHE_LANES x.e[l_] = (float)p[l_];
	return x;
}

/* The low (or high) halves of sixteen bytes, less 8. */
LATHE_INLINE vf
vf_load_halves(const uint8_t *p, int high)
{
	vf x;
	LATHE_LANES x.e[l_] = (float)((p[l_] >> (high ? 4 : 0) & 15) - 8);
	return x;
}

/* ---- floats ---------------------------------------------------------------------------------- */

LATHE_INLINE vf
vf_add(vf a, vf b)
{
	LATHE_LANES a.e[l_] = a.e[l_] + b.e[l_];
	return a;
}

LATHE_INLINE vf
vf_sub(vf a, vf b)
{
	LATHE_LANES a.e[l_] = a.e[l_] - b.e[l_];
	return a;
}

LATHE_INLINE vf
vf_mul(vf a, vf b)
{
	LATHE_LANES a.e[l_] = a.e[l_] * b.e[l_];
	return a;
}

LATHE_WORD vf
vf_fma(vf a, vf b, vf c)
{
	LATHE_LANES c.e[l_] = s_fma(a.e[l_], b.e[l_], c.e[l_]);
	return c;
}

LATHE_WORD vf
vf_fnma(vf a, vf b, vf c)
{
	LATHE_LANES c.e[l_] = s_fma(-a.e[l_], b.e[l_], c.e[l_]);
	return c;
}

LATHE_INLINE vf
vf_max(vf a, vf b)
{
	LATHE_LANES a.e[l_] = a.e[l_] > b.e[l_] ? a.e[l_] : b.e[l_];
	return a;
}

LATHE_INLINE vf
vf_min(vf a, vf b)
{
	LATHE_LANES a.e[l_] = a.e[l_] < b.e[l_] ? a.e[l_] : b.e[l_];
	return a;
}

LATHE_INLINE vf
vf_abs(vf a)
{
	LATHE_LANES a.e[l_] = s_from_bits(s_bits(a.e[l_]) & 0x7fffffffu);
	return a;
}

LATHE_INLINE vf
vf_neg(vf a)
{
	LATHE_LANES a.e[l_] = -a.e[l_];
	return a;
}

LATHE_INLINE vm
vf_gt(vf a, vf b)
{
	vm m;
	LATHE_LANES m.e[l_] = a.e[l_] > b.e[l_] ? 0xffffffffu : 0u;
	return m;
}

LATHE_INLINE vm
vf_lt(vf a, vf b)
{
	return vf_gt(b, a);
}

LATHE_INLINE vm
vm_negative(vf a)
{
	vm m;
	LATHE_LANES m.e[l_] = 0u - (s_bits(a.e[l_]) >> 31);
	return m;
}

/* Lanes below n. */
LATHE_INLINE vm
vm_first(int n)
{
	vm m;
	LATHE_LANES m.e[l_] = l_ < n ? 0xffffffffu : 0u;
	return m;
}

LATHE_INLINE vf
vf_select(vm m, vf a, vf b)
{
	LATHE_LANES b.e[l_] =
		s_from_bits((s_bits(a.e[l_]) & m.e[l_]) | (s_bits(b.e[l_]) & ~m.e[l_]));
	return b;
}

LATHE_INLINE float
vf_tree(vf x)
{
	for (int w = 8; w; w >>= 1)
		for (int j = 0; j < w; j++)
			x.e[j] = x.e[j] + x.e[j + w];
	return x.e[0];
}

LATHE_INLINE float
vf_maxtree(vf x)
{
	for (int w = 8; w; w >>= 1)
		for (int j = 0; j < w; j++)
			x.e[j] = x.e[j] > x.e[j + w] ? x.e[j] : x.e[j + w];
	return x.e[0];
}

/* ---- integers: sums and shifts wrap ------------------------------------------------------------
 */

LATHE_INLINE vi
vi_add(vi a, vi b)
{
	LATHE_LANES a.e[l_] = (int32_t)((uint32_t)a.e[l_] + (uint32_t)b.e[l_]);
	return a;
}

LATHE_INLINE vi
vi_sub(vi a, vi b)
{
	LATHE_LANES a.e[l_] = (int32_t)((uint32_t)a.e[l_] - (uint32_t)b.e[l_]);
	return a;
}

LATHE_INLINE vi
vi_and(vi a, vi b)
{
	LATHE_LANES a.e[l_] &= b.e[l_];
	return a;
}

LATHE_INLINE vi
vi_or(vi a, vi b)
{
	LATHE_LANES a.e[l_] |= b.e[l_];
	return a;
}

LATHE_INLINE vi
vi_sll(vi a, int n)
{
	LATHE_LANES a.e[l_] = (int32_t)((uint32_t)a.e[l_] << n);
	return a;
}

LATHE_INLINE vi
vi_srl(vi a, int n)
{
	LATHE_LANES a.e[l_] = (int32_t)((uint32_t)a.e[l_] >> n);
	return a;
}

LATHE_INLINE vi
vi_sra(vi a, int n)
{
	LATHE_LANES a.e[l_] >>= n;
	return a;
}

LATHE_INLINE int32_t
vi_sum(vi a)
{
	uint32_t s = 0;
	LATHE_LANES s += (uint32_t)a.e[l_];
	return (int32_t)s;
}

LATHE_INLINE vf
vf_from_bits(vi a)
{
	vf x;
	memcpy(x.e, a.e, sizeof x.e);
	return x;
}

LATHE_INLINE vi
vi_from_bits(vf a)
{
	vi x;
	memcpy(x.e, a.e, sizeof x.e);
	return x;
}

LATHE_INLINE vf
vf_from_int(vi a)
{
	vf x;
	LATHE_LANES x.e[l_] = (float)a.e[l_];
	return x;
}

/* x[i] + x[i ^ s] where i & s is 0, else x[i ^ s] - x[i]: s is 1, 2, 4 or 8, a literal. */
LATHE_INLINE vf
vf_butterfly(vf x, const int s)
{
	vf y;
	LATHE_LANES y.e[l_] = l_ & s ? x.e[l_ ^ s] - x.e[l_] : x.e[l_] + x.e[l_ ^ s];
	return y;
}

/* ---- slices: one register of floats ------------------------------------------------------------
 */

#if defined(__GNUC__)
#define LATHE_SLICE 4
typedef float vs __attribute__((vector_size(16)));
#else
#define LATHE_SLICE 1
typedef float vs;
#endif

LATHE_INLINE vs
vs_load_first(const float *p, const int n)
{
	vs x;
	float e[LATHE_SLICE] = {0.0f};
	memcpy(e, p, sizeof(float) * (size_t)(n < LATHE_SLICE ? n : LATHE_SLICE));
	memcpy(&x, e, sizeof x);
	return x;
}

LATHE_INLINE void
vs_store_first(float *p, vs x, const int n)
{
	memcpy(p, &x, sizeof(float) * (size_t)(n < LATHE_SLICE ? n : LATHE_SLICE));
}

LATHE_INLINE vs
vs_set1(float a)
{
	vs x;
	float e[LATHE_SLICE];
	for (int i = 0; i < LATHE_SLICE; i++)
		e[i] = a;
	memcpy(&x, e, sizeof x);
	return x;
}

LATHE_INLINE vs
vs_add(vs a, vs b)
{
	return a + b;
}

LATHE_INLINE vs
vs_sub(vs a, vs b)
{
	return a - b;
}

LATHE_INLINE vs
vs_mul(vs a, vs b)
{
	return a * b;
}

LATHE_INLINE vs
vs_fma(vs a, vs b, vs c)
{
	float e[LATHE_SLICE], f[LATHE_SLICE], g[LATHE_SLICE];
	memcpy(e, &a, sizeof a);
	memcpy(f, &b, sizeof b);
	memcpy(g, &c, sizeof c);
	for (int i = 0; i < LATHE_SLICE; i++)
		g[i] = s_fma(e[i], f[i], g[i]);
	memcpy(&c, g, sizeof c);
	return c;
}

LATHE_INLINE vs
vs_add_by_fma(vs a, vs b)
{
	return a + b;
}

LATHE_INLINE vs
vs_sub_by_fma(vs a, vs b)
{
	return a - b;
}
