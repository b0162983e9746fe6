/*
 * The functions that IGC has for DPAS, for devices that have none: by the published layout of their
 * operands. Lane l of an activation row holds dword l of its columns, signed codes of `bits`, lowest
 * first; a lane's weights are all columns of one row, unsigned codes, lowest first.
 */
#define DPAS_FUNCTION __attribute__((overloadable, convergent))
int DPAS_FUNCTION intel_sub_group_shuffle(int, uint);

/* The lane that has dword n of an activation row; another one to see that it matters. */
#ifndef LANE_ORDER
#define LANE_ORDER n
#endif

static int
signed_code(uint dword, uint i, uint bits)
{
	return (int)(dword << (32 - bits * (i + 1))) >> (32 - bits);
}

static int
unsigned_code(uint dword, uint i, uint bits)
{
	return (int)(dword << (32 - bits * (i + 1)) >> (32 - bits));
}

/* Of `columns` columns of activations of `left` bits and weights of `right`, dwords of `type`. */
#define PRODUCT(left, right, columns, type)                                                          \
	static int row_##left##_##right(int a, type b, int c)                                        \
	{                                                                                            \
		uint dwords[columns * right / 32];                                                   \
		for (uint i = 0; i < columns * right / 32; i++)                                      \
			dwords[i] = ((uint *)&b)[i];                                                 \
		for (uint n = 0; n < columns * left / 32; n++) {                                     \
			const uint codes = (uint)intel_sub_group_shuffle(a, LANE_ORDER);             \
			for (uint i = 0; i < 32 / left; i++) {                                       \
				const uint k = 32 / left * n + i;                                    \
				c += signed_code(codes, i, left) *                                   \
				     unsigned_code(dwords[k * right / 32], k % (32 / right), right); \
			}                                                                            \
		}                                                                                    \
		return c;                                                                            \
	}                                                                                            \
	int8 DPAS_FUNCTION intel_sub_group_i##left##_u##right##_matrix_mad_k##columns(int8 a, type b, \
										      int8 c)        \
	{                                                                                            \
		return (int8)(row_##left##_##right(a.s0, b, c.s0), row_##left##_##right(a.s1, b, c.s1), \
			      row_##left##_##right(a.s2, b, c.s2), row_##left##_##right(a.s3, b, c.s3), \
			      row_##left##_##right(a.s4, b, c.s4), row_##left##_##right(a.s5, b, c.s5), \
			      row_##left##_##right(a.s6, b, c.s6), row_##left##_##right(a.s7, b, c.s7)); \
	}

PRODUCT(8, 8, 32, uint8)
PRODUCT(8, 4, 32, uint4)
PRODUCT(8, 2, 32, uint2)
PRODUCT(4, 4, 64, uint8)
PRODUCT(4, 2, 64, uint4)
