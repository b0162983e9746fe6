/*
 * linear_rows() by DPAS, DG2's matrix instruction: eight tokens times 8 rows times 32 columns, in
 * sub-groups of 8. Four of them share a block of 32 rows, as many fours are the runs of the K
 * split. The sums are whole numbers, so the results are those of linear.cl to the last bit.
 *
 * IGC, not this file, has the instruction's functions: a lane holds dword `lane` (4 codes of a
 * byte) of each token's 32 columns, 32 columns of one row, and that row's sum for each token. The
 * weights lie as for the CPUs. Of 4 and 2 bits they go in as they are, and the tokens' codes take
 * their order; of other widths they are unpacked to bytes. Codes become signed by a flipped bit.
 */
#define DPAS_FUNCTION __attribute__((overloadable, convergent))
int8 DPAS_FUNCTION intel_sub_group_i8_i8_matrix_mad_k32(int8, int8, int8);
int8 DPAS_FUNCTION intel_sub_group_i8_i4_matrix_mad_k32(int8, int4, int8);
int8 DPAS_FUNCTION intel_sub_group_i8_i2_matrix_mad_k32(int8, int2, int8);

enum { DPAS_TOKENS = 8, DPAS_ROWS = 8, DPAS_COLUMNS = 32, DPAS_QUARTERS = 4 };

/* What a code is less in the instruction than in the file. */
#define DPAS_LESS(bits) ((bits) == 8 ? 128 : (bits) == 4 ? 8 : (bits) == 2 ? 2 : 0)

/* Of 32 columns the four codes of this lane, in the order in which weights of `bits` have them. */
LATHE_INLINE int
dpas_codes(const int bits, const global char *codes)
{
	const global uint *p = (const global uint *)codes;
	const uint l = (uint)lane();
	if (bits == 4) {
		const uint a = p[l & ~1u] >> 16 * (l & 1), b = p[l | 1] >> 16 * (l & 1);
		return (int)((a & 0xffu) | (b & 0xffu) << 8 | (a & 0xff00u) << 8 |
			     (b & 0xff00u) << 16);
	}
	if (bits == 2) {
		const global uint *q = p + (l & ~3u);
		const uint shift = 8 * (l & 3);
		return (int)((q[0] >> shift & 0xffu) | (q[1] >> shift & 0xffu) << 8 |
			     (q[2] >> shift & 0xffu) << 16 | (q[3] >> shift & 0xffu) << 24);
	}
	return (int)p[l];
}

/* Those of all eight tokens. */
LATHE_INLINE int8
dpas_tokens(const int bits, const global char *codes, const ulong *row, int k)
{
	int v[DPAS_TOKENS];
	LATHE_UNROLL_ALL
	for (int m = 0; m < DPAS_TOKENS; m++)
		v[m] = dpas_codes(bits, codes + row[m] + k);
	return (int8)(v[0], v[1], v[2], v[3], v[4], v[5], v[6], v[7]);
}

/* The dwords of this lane's row in 32 columns of line sets at w, signed. */
LATHE_INLINE void
dpas_weights(const Linear s, const global uchar *w, const int quarter, uint *v)
{
	const int lines = LINEAR_LINES(s), slots = LINEAR_SLOTS(s);
	const global uchar *mine = w + quarter / 2 * 64 * lines + quarter % 2 * 32;
	const int sets = DPAS_COLUMNS / 4 / slots;
	LATHE_UNROLL_ALL
	for (int i = 0; i < sets; i++) {
		uint line[LINES];
		LATHE_UNROLL_ALL
		for (int n = 0; n < lines; n++)
			line[n] = intel_sub_group_block_read(
				(const global uint *)(mine + i * LINEAR_SET_BYTES(s) + 64 * n));
		if (s.bits == 8 || s.bits == 4 || s.bits == 2) {
			v[i] = line[0] ^ (s.bits == 8	? 0x80808080u
					  : s.bits == 4 ? 0x88888888u
							: 0xaaaaaaaau);
			continue;
		}
		LATHE_UNROLL_ALL
		for (int j = 0; j < slots; j++)
			v[i * slots + j] = linear_slot(s.bits, line, j);
	}
}

LATHE_INLINE int8
dpas_product(const int bits, int8 a, const uint *v, int8 c)
{
	if (bits == 4)
		return intel_sub_group_i8_i4_matrix_mad_k32(
			a, as_int4((uint4)(v[0], v[1], v[2], v[3])), c);
	if (bits == 2)
		return intel_sub_group_i8_i2_matrix_mad_k32(a, as_int2((uint2)(v[0], v[1])), c);
	return intel_sub_group_i8_i8_matrix_mad_k32(
		a, as_int8((uint8)(v[0], v[1], v[2], v[3], v[4], v[5], v[6], v[7])), c);
}

LATHE_INLINE void
dpas_sums(const int8 v, int *sum)
{
	sum[0] = v.s0, sum[1] = v.s1, sum[2] = v.s2, sum[3] = v.s3;
	sum[4] = v.s4, sum[5] = v.s5, sum[6] = v.s6, sum[7] = v.s7;
}

/* acc of this lane's row += a unit of `width` columns, whole 32s. */
LATHE_INLINE void
dpas_unit(const Linear s, const int width, const Unit u, const Tokens *a, const int quarter,
	  float *acc)
{
	const int r = DPAS_ROWS * quarter + lane(), units = (s.k + s.sums - 1) / s.sums;
	const int zero = s.zeros ? u.scales[s.scale_bits * 4 + r] : s.offset;
	const global uchar *w = u.w;
	int8 hi = (int8)(0), lo = (int8)(0);
	int sum[2][DPAS_TOKENS], k = u.k;
	ulong row[DPAS_TOKENS];
	LATHE_UNROLL_ALL
	for (int m = 0; m < DPAS_TOKENS; m++)
		row[m] = (ulong)row_of(a, m) * LATHE_PAD(s.k, 16);
	LATHE_ROLLED
	for (int i = 0; i < width / DPAS_COLUMNS; i++, k += DPAS_COLUMNS) {
		uint v[8];
		dpas_weights(s, w, quarter, v);
		hi = dpas_product(s.bits, dpas_tokens(s.bits, a->hi, row, k), v, hi);
		if (s.planes == 2)
			lo = dpas_product(s.bits, dpas_tokens(s.bits, a->lo, row, k), v, lo);
		w += DPAS_COLUMNS / 4 / LINEAR_SLOTS(s) * LINEAR_SET_BYTES(s);
	}
	dpas_sums(hi, sum[0]);
	dpas_sums(lo, sum[1]);
	LATHE_UNROLL_ALL
	for (int m = 0; m < DPAS_TOKENS; m++) {
		const int at = row_of(a, m) * units + u.index;
		const int sum_hi = a->sum_hi[at], sum_lo = s.planes == 2 ? a->sum_lo[at] : 0;
		const int less = DPAS_LESS(s.bits) - zero;
		const float scale = s.act_group ? a->scale[at] : 1.0f;
		float t = (float)(sum[0][m] + less * sum_hi);
		if (s.planes == 2)
			t = s_fma(t, 256.0f, (float)(sum[1][m] + less * sum_lo));
		if (s.act_group)
			t = t * scale;
		acc[m] = s_fma(t, packed_scale(s.scale_bits, s.bf16, u.scales, r), acc[m]);
		if (!s.minimum)
			continue;
		float all = (float)(s.planes == 2 ? 256 * sum_hi + sum_lo : sum_hi);
		if (s.act_group)
			all = all * scale;
		acc[m] = s_fma(all,
			       packed_scale(s.scale_bits, s.bf16, u.scales + s.scale_bits * 4, r),
			       acc[m]);
	}
}

/* unit_next() of linear.cl. */
LATHE_INLINE void
dpas_next(const Linear s, const int width, Unit *u, const global uchar *block, const Tokens *a,
	  const int quarter, float *acc)
{
	const global uchar *sums = block;
	if (s.sums >= s.group || u->k % s.group == 0) {
		u->scales = u->w;
		u->w += LINEAR_HEADER(s);
	}
	if (LINEAR_UNIT_SUMS(s)) {
		sums = u->w;
		u->w += 128;
	}
	dpas_unit(s, width, *u, a, quarter, acc);
	if (s.shift && s.act_group) {
		const float e = ((const global float *)sums)[DPAS_ROWS * quarter + lane()];
		const int units = (s.k + s.sums - 1) / s.sums;
		LATHE_UNROLL_ALL
		for (int m = 0; m < DPAS_TOKENS; m++)
			acc[m] = s_fma(a->shift[row_of(a, m) * units + u->index], e, acc[m]);
	}
	u->w += LINEAR_SETS(s, width) * LINEAR_SET_BYTES(s);
	u->k += width;
	u->index++;
}

/* linear_rows() for mt 8: the same parameters, and the same results. */
LATHE_OP
dpas_rows(LINEAR_SPEC, int mt, LINEAR_ROWS, local float *y)
{
	const Linear s = LINEAR_OF_SPEC;
	const Tokens a = LINEAR_TOKENS_OF_ROWS(mt);
	const global uchar *block =
		weights + (ulong)(step * linear_block() + first) * packed_block_bytes(s);
	const int id = (int)get_sub_group_id(), quarter = id % DPAS_QUARTERS;
	const int run = s.split > 1 ? id / DPAS_QUARTERS : 0;
	const int n = s.k / s.split, width = s.sums < n ? s.sums : n;
	const int unit_bytes =
		LINEAR_SETS(s, width) * LINEAR_SET_BYTES(s) + (LINEAR_UNIT_SUMS(s) ? 128 : 0);
	const int headers = s.group < s.k ? n / s.group : 0;
	Unit u = {0, block, run * n, run * (n / width)};
	float acc[DPAS_TOKENS];
	LATHE_UNROLL_ALL
	for (int m = 0; m < DPAS_TOKENS; m++)
		acc[m] = 0.0f;
	u.w += LINEAR_UNIT_SUMS(s) ? 0 : LINEAR_ROW_SUMS(s);
	u.scales = u.w;
	if (s.split > 1) {
		u.w += run * (headers * LINEAR_HEADER(s) + n / width * unit_bytes);
		if (s.group >= s.k && run)
			u.w += LINEAR_HEADER(s);
	}
	LATHE_ROLLED
	for (int i = 0; i < n / width; i++)
		dpas_next(s, width, &u, block, &a, quarter, acc);
	if (n % width)
		dpas_next(s, n % width, &u, block, &a, quarter, acc);
	LATHE_UNROLL_ALL
	for (int m = 0; m < DPAS_TOKENS; m++)
		y[(run * DPAS_TOKENS + m) * 32 + DPAS_ROWS * quarter + lane()] = acc[m];
	barrier(CLK_LOCAL_MEM_FENCE);
	LINEAR_FOR_RESULTS(mt)
	y[i] = linear_total(s, mt, block, &a, y, i / 32, i % 32);
}
