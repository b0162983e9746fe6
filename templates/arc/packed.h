/*
 * Packed weights (targets/pack.h) and how rows become codes, with the CPUs' names of fields: what a
 * linear is specialised on, and where things lie in a block, is templates/act.h for both.
 */
typedef char int8_t;
typedef int int32_t;
typedef uchar uint8_t;
#define INT32_MAX 0x7fffffff

#include "../act.h"

/* The fields of a Linear as parameters of an operation, in the order of act.h. */
#define LINEAR_SPEC                                                                              \
	int is_float, int bits, int scale_bits, int minimum, int group, int columns, int planes, \
		int act_group, int sums, int split, int shifts, int offset, int zeros, int bf16, \
		int trits
#define LINEAR_OF_SPEC                                                                        \
	{                                                                                     \
		is_float, bits, scale_bits, minimum, group, columns, planes, act_group, sums, \
			split, shifts, offset, zeros, bf16, trits                             \
	}

/* A scale or minimum of 16 bits: always finite, the packer refuses others. */
LATHE_INLINE float
packed_f16(short h)
{
	return s_from_bits((uint)(int)h << 13 & 0x8fffe000u) * 0x1p112f;
}

/* Number i of a run of f16, bf16 or f32. */
LATHE_INLINE float
packed_scale(const int bits, const int bf16, const global uchar *p, int i)
{
	if (bits == 32)
		return ((const global float *)p)[i];
	if (bf16)
		return s_from_bits((uint)((const global ushort *)p)[i] << 16);
	return packed_f16(((const global short *)p)[i]);
}

/* Number i of a run of weights that are floats. */
LATHE_INLINE float
packed_float(const int bits, const global uchar *p, int i)
{
	return bits == 16 ? s_from_f16(((const global ushort *)p)[i])
			  : ((const global float *)p)[i];
}

/* Bytes of a block of 32 rows. */
LATHE_INLINE ulong
packed_block_bytes(const Linear s)
{
	const int rest = s.is_float ? 0 : s.k % s.group;
	ulong n;
	if (s.is_float)
		return (ulong)s.k * (ulong)(4 * s.bits);
	n = (ulong)(s.k / s.group) *
		    (ulong)(LINEAR_HEADER(s) + LINEAR_SETS(s, s.group) * LINEAR_SET_BYTES(s)) +
	    (ulong)LINEAR_ROW_SUMS(s);
	if (rest)
		n += (ulong)(LINEAR_HEADER(s) + LINEAR_SETS(s, rest) * LINEAR_SET_BYTES(s));
	return n;
}
