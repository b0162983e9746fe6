/*
 * The functions that IGC has for DPAS, for devices that have none: by the published layout of their
 * operands. Of row m lane l holds columns 4l to 4l + 3, a byte each, lowest first; a lane's weights
 * are 32 columns of `bits`, lowest first; all signed.
 */
#define DPAS_FUNCTION __attribute__((overloadable, convergent))
int DPAS_FUNCTION intel_sub_group_shuffle(int, uint);

/* The lane that has column k of a row; another one to see that it matters. */
#ifndef LANE_ORDER
#define LANE_ORDER k / 4
#endif

static int
code(uint dword, uint i, uint bits)
{
	return (int)(dword << (32 - bits * (i + 1))) >> (32 - bits);
}

#define ROW(type, bits)                                                               \
	static int row##bits(int a, type b, int c)                                    \
	{                                                                             \
		uint dwords[8] = {0};                                                 \
		for (uint i = 0; i < bits; i++)                                       \
			dwords[i] = ((uint *)&b)[i];                                  \
		_Pragma("unroll") for (uint k = 0; k < 32; k++)                       \
		{                                                                     \
			const int four = intel_sub_group_shuffle(a, LANE_ORDER);           \
			c += code((uint)four, k % 4, 8) *                             \
			     code(dwords[k * bits / 32], k % (32 / bits), bits);      \
		}                                                                     \
		return c;                                                             \
	}                                                                             \
	int8 DPAS_FUNCTION intel_sub_group_i8_i##bits##_matrix_mad_k32(int8 a, type b, int8 c) \
	{                                                                             \
		return (int8)(row##bits(a.s0, b, c.s0), row##bits(a.s1, b, c.s1),     \
			      row##bits(a.s2, b, c.s2), row##bits(a.s3, b, c.s3),     \
			      row##bits(a.s4, b, c.s4), row##bits(a.s5, b, c.s5),     \
			      row##bits(a.s6, b, c.s6), row##bits(a.s7, b, c.s7));    \
	}

ROW(int8, 8)
ROW(int4, 4)
ROW(int2, 2)
