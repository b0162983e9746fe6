/*
 * Sums of a unit by DPAS, DG2's matrix instruction: eight tokens times 8 rows times 32 columns, or
 * 64 where neither side has more than 4 bits, in sub-groups of 8. Two of them share a block of 32
 * rows, a half each, as many pairs are the runs of the K split. The sums are whole numbers, so the
 * results are those of dp4a to the last bit.
 *
 * IGC, not this file, has the instruction's functions: a lane holds dword `lane` of each token's
 * columns (4 codes of a byte, or 8 of 4 bits), all columns of one row, and that row's sum for each
 * token. The weights lie as for the CPUs. Of 4 and 2 bits they go in as they are, and the tokens'
 * codes take their order; of other widths they are unpacked to bytes.
 */
#define DPAS_FUNCTION __attribute__((overloadable, convergent))
int8 DPAS_FUNCTION intel_sub_group_i8_u8_matrix_mad_k32(int8, uint8, int8);
int8 DPAS_FUNCTION intel_sub_group_i8_u4_matrix_mad_k32(int8, uint4, int8);
int8 DPAS_FUNCTION intel_sub_group_i8_u2_matrix_mad_k32(int8, uint2, int8);
int8 DPAS_FUNCTION intel_sub_group_i4_u4_matrix_mad_k64(int8, uint8, int8);
int8 DPAS_FUNCTION intel_sub_group_i4_u2_matrix_mad_k64(int8, uint4, int8);

enum { DPAS_LANES = 8, DPAS_TOKENS = 8, DPAS_ROWS = 8, DPAS_DWORDS = 8 };

/* The bytes 0 and 1 of a and of b in turn. */
LATHE_INLINE uint
dpas_turns(uint a, uint b)
{
	const uchar4 x = as_uchar4(a), y = as_uchar4(b);
	return as_uint((uchar4)(x.s0, y.s0, x.s1, y.s1));
}

/* The low four bits of each byte of a, and of b above them. */
LATHE_INLINE uint
dpas_nibbles(uint a, uint b)
{
	return (a & 0x0f0f0f0fu) | (b << 4 & 0xf0f0f0f0u);
}

/* This lane's codes of `depth` columns, in the order in which weights of `bits` have them. */
LATHE_INLINE int
dpas_codes(const int bits, const int depth, const global char *codes)
{
	const int l = lane();
	if (depth == 64 && bits == 4) {
		const uint2 v = ((const global uint2 *)codes)[l];
		return (int)dpas_nibbles(v.s0, v.s1);
	}
	if (depth == 64) {
		const uint4 v = ((const global uint4 *)codes)[l / 2];
		const int shift = 16 * (l & 1);
		return (int)dpas_turns(dpas_nibbles(v.s0, v.s1) >> shift,
				       dpas_nibbles(v.s2, v.s3) >> shift);
	}
	if (bits == 4) {
		const uint2 v = ((const global uint2 *)codes)[l / 2];
		const int shift = 16 * (l & 1);
		return (int)dpas_turns(v.s0 >> shift, v.s1 >> shift);
	}
	if (bits == 2) {
		const uint4 v = ((const global uint4 *)codes)[l / 4] >> (uint)(8 * (l & 3));
		return as_int((uchar4)((uchar)v.s0, (uchar)v.s1, (uchar)v.s2, (uchar)v.s3));
	}
	return (int)intel_sub_group_block_read((const global uint *)codes);
}

/* Those of all eight tokens. */
LATHE_INLINE int8
dpas_tokens(const int bits, const int depth, const global char *codes, const ulong *row, int k)
{
	int v[DPAS_TOKENS];
	LATHE_UNROLL_ALL
	for (int m = 0; m < DPAS_TOKENS; m++)
		v[m] = dpas_codes(bits, depth, codes + row[m] + k);
	return (int8)(v[0], v[1], v[2], v[3], v[4], v[5], v[6], v[7]);
}

/* The dwords of this lane's two rows in `depth` columns, whose line sets of the half are at w. */
LATHE_INLINE void
dpas_weights(const Linear s, const int depth, const global uchar *w, uint (*v)[DPAS_DWORDS])
{
	const int lines = LINEAR_LINES(s), slots = LINEAR_SLOTS(s);
	LATHE_UNROLL_ALL
	for (int i = 0; i < depth / 4 / slots; i++) {
		uint both[2 * LINES], line[LINES];
		load_dwords(DPAS_LANES, 2 * lines, w + i * LINEAR_SET_BYTES(s), both);
		LATHE_UNROLL_ALL
		for (int h = 0; h < HALVES; h++) {
			LATHE_UNROLL_ALL
			for (int n = 0; n < lines; n++)
				line[n] = both[2 * n + h];
			if (s.bits == 8 || s.bits == 4 || s.bits == 2) {
				v[h][i] = line[0];
				continue;
			}
			LATHE_UNROLL_ALL
			for (int j = 0; j < slots; j++)
				v[h][i * slots + j] = linear_slot(s.bits, line, j);
		}
	}
}

LATHE_INLINE int8
dpas_product(const int bits, const int depth, int8 a, const uint *v, int8 c)
{
	const uint8 all = (uint8)(v[0], v[1], v[2], v[3], v[4], v[5], v[6], v[7]);
	if (depth == 64)
		return bits == 4 ? intel_sub_group_i4_u4_matrix_mad_k64(a, all, c)
				 : intel_sub_group_i4_u2_matrix_mad_k64(a, all.lo, c);
	return bits == 4   ? intel_sub_group_i8_u4_matrix_mad_k32(a, all.lo, c)
	       : bits == 2 ? intel_sub_group_i8_u2_matrix_mad_k32(a, all.lo.lo, c)
			   : intel_sub_group_i8_u8_matrix_mad_k32(a, all, c);
}

LATHE_INLINE void
dpas_sums(const int8 v, const int h, const int plane, UnitSums *sum)
{
	const int of[DPAS_TOKENS] = {v.s0, v.s1, v.s2, v.s3, v.s4, v.s5, v.s6, v.s7};
	LATHE_UNROLL_ALL
	for (int m = 0; m < DPAS_TOKENS; m++)
		sum->of[m][h][plane] = of[m];
}

/* unit_int() for eight tokens; width: whole depths. */
LATHE_INLINE void
unit_dpas(const Linear s, const int depth, const int width, const Unit u, const Tokens *a,
	  float (*acc)[HALVES])
{
	const global uchar *w = u.w + 4 * LINEAR_LINES(s) * u.first;
	int8 hi[HALVES] = {(int8)(0), (int8)(0)}, lo[HALVES] = {(int8)(0), (int8)(0)};
	UnitSums sum;
	int k = u.k;
	ulong row[DPAS_TOKENS];
	LATHE_UNROLL_ALL
	for (int m = 0; m < DPAS_TOKENS; m++)
		row[m] = (ulong)row_of(a, m) * LATHE_PAD(s.k, 16);
	LATHE_ROLLED
	for (int i = 0; i < width / depth; i++, k += depth) {
		uint v[HALVES][DPAS_DWORDS];
		dpas_weights(s, depth, w, v);
		const int8 x = dpas_tokens(s.bits, depth, a->hi, row, k);
		hi[0] = dpas_product(s.bits, depth, x, v[0], hi[0]);
		hi[1] = dpas_product(s.bits, depth, x, v[1], hi[1]);
		if (s.planes == 2) {
			const int8 y = dpas_tokens(s.bits, depth, a->lo, row, k);
			lo[0] = dpas_product(s.bits, depth, y, v[0], lo[0]);
			lo[1] = dpas_product(s.bits, depth, y, v[1], lo[1]);
		}
		w += depth / 4 / LINEAR_SLOTS(s) * LINEAR_SET_BYTES(s);
	}
	LATHE_UNROLL_ALL
	for (int h = 0; h < HALVES; h++) {
		dpas_sums(hi[h], h, 0, &sum);
		dpas_sums(lo[h], h, 1, &sum);
	}
	unit_add(s, DPAS_TOKENS, u, a, &sum, acc);
}
