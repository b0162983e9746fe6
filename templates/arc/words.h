/*
 * The vector words of the CPU templates (templates/README.md) for a sub-group of 16 work-items: a
 * vf is one float a lane. math.h is shared with the CPUs word for word, so both have one contract.
 *
 * Functions without `static` are what the generator calls from the entries that it makes
 * (targets/arc/README.md); every parameter that is not a pointer, a job or a count of the launch is
 * a literal there.
 */
#pragma OPENCL FP_CONTRACT OFF

#define LATHE_INLINE static inline __attribute__((always_inline, unused))
#define LATHE_WORD LATHE_INLINE
#define LATHE_OP __attribute__((always_inline)) void
#define LATHE_UNROLL_ALL _Pragma("unroll")
#define LATHE_ROLLED _Pragma("nounroll")
#define LATHE_PAD(n, to) (((n) + (to)-1) / (to) * (to))

/* A word of math.h that is a type here. */
#define half half_

float __attribute__((overloadable, convergent)) intel_sub_group_shuffle_xor(float, uint);
int __attribute__((overloadable, convergent)) intel_sub_group_shuffle_xor(int, uint);
float __attribute__((overloadable, convergent)) intel_sub_group_shuffle(float, uint);
int __attribute__((overloadable, convergent)) intel_sub_group_shuffle(int, uint);
uint __attribute__((overloadable, convergent)) intel_sub_group_block_read(const global uint *);
uint2 __attribute__((overloadable, convergent)) intel_sub_group_block_read2(const global uint *);
uint4 __attribute__((overloadable, convergent)) intel_sub_group_block_read4(const global uint *);
uint8 __attribute__((overloadable, convergent)) intel_sub_group_block_read8(const global uint *);

typedef float vf;
typedef int vi;
typedef bool vm;

LATHE_INLINE int
lane(void)
{
	return (int)get_sub_group_local_id();
}

LATHE_INLINE int
item(void)
{
	return (int)get_local_id(0);
}

LATHE_INLINE int
items(void)
{
	return (int)get_local_size(0);
}

/* Of the job's rows. */
LATHE_INLINE int
row_index(void)
{
	return (int)get_group_id(1);
}

/* ---- scalars ---- */

LATHE_INLINE uint
s_bits(float a)
{
	return as_uint(a);
}

LATHE_INLINE float
s_from_bits(uint u)
{
	return as_float(u);
}

LATHE_INLINE float
s_fma(float a, float b, float c)
{
	return __builtin_fmaf(a, b, c);
}

/* Exact, by integers, so that no kernel needs halves of the device: the product moves the exponent,
 * of subnormal halves too. */
LATHE_INLINE float
s_from_f16(ushort h)
{
	const uint m = (uint)(h & 0x7fffu) << 13;
	const uint normal = s_bits(s_from_bits(m) * 0x1p112f);
	const uint special = m | 0x7f800000u | (m > 0x0f800000u ? 0x00400000u : 0u);
	return s_from_bits((m >= 0x0f800000u ? special : normal) | (uint)(h & 0x8000u) << 16);
}

/* To nearest even; 65520 and more give infinity. */
LATHE_INLINE ushort
s_to_f16(float a)
{
	uint u = s_bits(a), sign = u >> 16 & 0x8000u;
	u &= 0x7fffffffu;
	uint tiny = s_bits(s_from_bits(u < 0x38800000u ? u : 0u) + 0.5f) - 0x3f000000u;
	uint normal = (u - 0x38000000u + 0xfffu + (u >> 13 & 1u)) >> 13;
	uint nan_ = 0x7e00u | (u >> 13 & 0x3ffu);
	uint h = u < 0x38800000u ? tiny : u < 0x477ff000u ? normal : 0x7c00u;
	h = u > 0x7f800000u ? nan_ : h;
	return (ushort)(h | sign);
}

/* ---- words ---- */

#define LATHE_LOCAL local
#define LATHE_GLOBAL global

LATHE_INLINE vf
vf_load(const local float *p)
{
	return p[lane()];
}

/* Of the first n lanes. */
LATHE_INLINE vm
vm_first(int n)
{
	return lane() < n;
}

LATHE_INLINE vf
vf_set1(float a)
{
	return a;
}

LATHE_INLINE vf
vf_zero(void)
{
	return 0.0f;
}

LATHE_INLINE vi
vi_set1(int a)
{
	return a;
}

LATHE_INLINE vf
vf_add(vf a, vf b)
{
	return a + b;
}

LATHE_INLINE vf
vf_sub(vf a, vf b)
{
	return a - b;
}

LATHE_INLINE vf
vf_mul(vf a, vf b)
{
	return a * b;
}

LATHE_INLINE vf
vf_fma(vf a, vf b, vf c)
{
	return s_fma(a, b, c);
}

LATHE_INLINE vf
vf_fnma(vf a, vf b, vf c)
{
	return s_fma(-a, b, c);
}

LATHE_INLINE vf
vf_max(vf a, vf b)
{
	return a > b ? a : b;
}

LATHE_INLINE vf
vf_min(vf a, vf b)
{
	return a < b ? a : b;
}

LATHE_INLINE vf
vf_abs(vf a)
{
	return s_from_bits(s_bits(a) & 0x7fffffffu);
}

LATHE_INLINE vf
vf_neg(vf a)
{
	return -a;
}

LATHE_INLINE vm
vf_gt(vf a, vf b)
{
	return a > b;
}

LATHE_INLINE vm
vf_lt(vf a, vf b)
{
	return a < b;
}

LATHE_INLINE vm
vm_negative(vf a)
{
	return as_int(a) < 0;
}

LATHE_INLINE vf
vf_select(vm m, vf a, vf b)
{
	return m ? a : b;
}

LATHE_INLINE vi
vi_add(vi a, vi b)
{
	return (int)((uint)a + (uint)b);
}

LATHE_INLINE vi
vi_sub(vi a, vi b)
{
	return (int)((uint)a - (uint)b);
}

LATHE_INLINE vi
vi_sll(vi a, int n)
{
	return (int)((uint)a << n);
}

LATHE_INLINE vi
vi_srl(vi a, int n)
{
	return (int)((uint)a >> n);
}

LATHE_INLINE vi
vi_sra(vi a, int n)
{
	return a >> n;
}

LATHE_INLINE vf
vf_from_bits(vi a)
{
	return as_float(a);
}

LATHE_INLINE vi
vi_from_bits(vf a)
{
	return as_int(a);
}

LATHE_INLINE vf
vf_from_int(vi a)
{
	return (float)a;
}

/* The contract's trees, in every lane: partners add the same two numbers, in either order. */
LATHE_INLINE float
vf_tree(vf x)
{
	LATHE_UNROLL_ALL
	for (uint w = 8; w; w >>= 1)
		x = x + intel_sub_group_shuffle_xor(x, w);
	return x;
}

LATHE_INLINE float
vf_maxtree(vf x)
{
	LATHE_UNROLL_ALL
	for (uint w = 8; w; w >>= 1) {
		float y = intel_sub_group_shuffle_xor(x, w);
		bool upper = (uint)lane() & w;
		x = vf_max(upper ? y : x, upper ? x : y);
	}
	return x;
}

LATHE_INLINE int
vi_sum(vi x)
{
	LATHE_UNROLL_ALL
	for (uint w = 8; w; w >>= 1)
		x = vi_add(x, intel_sub_group_shuffle_xor(x, w));
	return x;
}

/* Where a launch stands: what the host writes in front of a batch's tokens. */
typedef struct Job {
	int n_past, row0, rows;
} Job;

LATHE_INLINE Job
job_of(const global int *job)
{
	Job j = {job[0], job[1], job[2]};
	return j;
}

/* The part of the arena at a byte offset per token. */
LATHE_INLINE global uchar *
part_at(global uchar *arena, int capacity, ulong offset)
{
	return arena + (ulong)capacity * offset;
}
