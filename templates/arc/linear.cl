/*
 * Linears on the weights file of the CPUs (targets/pack.h): a line of 64 bytes holds four columns
 * of 16 rows, which is what a sub-group of 16 reads as one block. A work-group does one block of 32
 * rows (of gate and of up: a pair) for a tile of tokens; its sub-groups share the runs of the
 * contract's K split, whose totals meet in local memory.
 */
#include "words.h"

#include "../math.h"

int __attribute__((overloadable, const)) dot_4x8packed_us_int(uint, uint);

/* As templates/act.h; offset: of the codes; mt: tokens a work-group. */
typedef struct Linear {
	int is_float, bits, offset, scale_bits, minimum, group, k, planes, act_group, sums, split;
	int mt;
} Linear;

/* The activations: plain rows. */
typedef struct Act {
	const global char *hi, *lo;
	const global int *sum_hi, *sum_lo;
	const global float *scale, *x, *xsum;
} Act;

enum { MT = 8, LINES = 5 };

#define LINEAR_LINES(bits) ((bits) == 5 ? 5 : (bits) % 3 == 0 ? 3 : 1)
#define LINEAR_SLOTS(bits) (8 * LINEAR_LINES(bits) / (bits))

/* Bytes of scales (and minima) in front of a group; of the line sets of `width` columns. */
LATHE_INLINE int
linear_header(const Linear s)
{
	return s.scale_bits * 4 * (s.minimum ? 2 : 1);
}

LATHE_INLINE int
linear_set_bytes(const Linear s, int width)
{
	const int columns = 4 * LINEAR_SLOTS(s.bits);
	return (width + columns - 1) / columns * 128 * LINEAR_LINES(s.bits);
}

/* Number `lane` of half 0 or 1 of 32 scales, minima or columns of float weights. */
LATHE_INLINE float
linear_number(const int bits, const global uchar *w, int half_of)
{
	const int i = 16 * half_of + lane();
	return bits == 16 ? s_from_f16(((const global ushort *)w)[i])
			  : as_float(((const global uint *)w)[i]);
}

/* The four codes of slot j, a byte each, of a lane's dwords of a half's lines. */
LATHE_INLINE uint
linear_codes(const Linear s, const uint *line, const int j)
{
	switch (s.bits) {
	case 2:
		return line[0] >> 2 * j & 0x03030303u;
	case 3:
		if (j < 6)
			return line[j / 2] >> (j == 5 ? 5 : j % 2 * 3) & 0x07070707u;
		return (line[j - 6] >> 5 & 0x06060606u) | (line[2] >> (10 - j) & 0x01010101u);
	case 4:
		return line[0] >> 4 * j & 0x0f0f0f0fu;
	case 5:
		return (line[j / 2] >> j % 2 * 4 & 0x0f0f0f0fu) |
		       (line[4] >> j & 0x01010101u) << 4;
	case 6:
		if (j < 3)
			return line[j] & 0x3f3f3f3fu;
		return (line[0] >> 2 & 0x30303030u) | (line[1] >> 4 & 0x0c0c0c0cu) |
		       (line[2] >> 6 & 0x03030303u);
	default:
		return line[0];
	}
}

/* Token m of the tile at `token`; behind the last row the last again, whose result goes nowhere. */
LATHE_INLINE int
row_of(int token, int m, int rows)
{
	return min(token + m, rows - 1);
}

/* ---- units: the columns that share a scale ---- */

/*
 * acc of the tile's tokens and of both halves += unit `unit`: `width` columns from k on, its scales
 * at `scales`, its line sets at w.
 */
LATHE_INLINE void
unit_int(const Linear s, const int width, const global uchar *scales, const global uchar *w,
	 const Act *a, int token, int rows, int k, int unit, float (*acc)[2])
{
	const int lines = LINEAR_LINES(s.bits), slots = LINEAR_SLOTS(s.bits);
	const int n = (width + 3) / 4, padded = LATHE_PAD(s.k, 16);
	const int units = (s.k + s.sums - 1) / s.sums;
	int hi[MT][2], lo[MT][2];
	LATHE_UNROLL_ALL
	for (int m = 0; m < s.mt; m++)
		LATHE_UNROLL_ALL
	for (int h = 0; h < 2; h++)
		hi[m][h] = lo[m][h] = 0;
	for (int first = 0; first < n; first += slots, w += 128 * lines) {
		uint line[2][LINES];
		LATHE_UNROLL_ALL
		for (int h = 0; h < 2; h++)
			LATHE_UNROLL_ALL
		for (int i = 0; i < lines; i++)
			line[h][i] = intel_sub_group_block_read((const global uint *)w +
								(h * lines + i) * 16);
		LATHE_UNROLL_ALL
		for (int j = 0; j < slots; j++) {
			if (n % slots && first + j >= n)
				break;
			const uint u0 = linear_codes(s, line[0], j);
			const uint u1 = linear_codes(s, line[1], j);
			LATHE_UNROLL_ALL
			for (int m = 0; m < s.mt; m++) {
				const ulong at =
					(ulong)row_of(token, m, rows) * padded + k + (first + j) * 4;
				const uint c = *(const global uint *)(a->hi + at);
				hi[m][0] = hi[m][0] + dot_4x8packed_us_int(u0, c);
				hi[m][1] = hi[m][1] + dot_4x8packed_us_int(u1, c);
				if (s.planes != 2)
					continue;
				const uint d = *(const global uint *)(a->lo + at);
				lo[m][0] = lo[m][0] + dot_4x8packed_us_int(u0, d);
				lo[m][1] = lo[m][1] + dot_4x8packed_us_int(u1, d);
			}
		}
	}
	LATHE_UNROLL_ALL
	for (int m = 0; m < s.mt; m++) {
		const int row = row_of(token, m, rows), at = row * units + unit;
		const int sum_hi = a->sum_hi[at], sum_lo = s.planes == 2 ? a->sum_lo[at] : 0;
		const float scale = s.act_group ? a->scale[at] : 1.0f;
		LATHE_UNROLL_ALL
		for (int h = 0; h < 2; h++) {
			float t = (float)(hi[m][h] - s.offset * sum_hi);
			if (s.planes == 2)
				t = s_fma(t, 256.0f,
					  (float)(lo[m][h] - s.offset * sum_lo));
			if (s.act_group)
				t = t * scale;
			acc[m][h] = s_fma(t, linear_number(s.scale_bits, scales, h), acc[m][h]);
			if (!s.minimum)
				continue;
			float all = (float)(s.planes == 2 ? 256 * sum_hi + sum_lo : sum_hi);
			if (s.act_group)
				all = all * scale;
			acc[m][h] = s_fma(
				all, linear_number(s.scale_bits, scales + s.scale_bits * 4, h),
				acc[m][h]);
		}
	}
}

/* The same for float activations: products in the order of k. */
LATHE_INLINE void
unit_float(const Linear s, const int width, const global uchar *scales, const global uchar *w,
	   const Act *a, int token, int rows, int k, int unit, float (*acc)[2])
{
	const int lines = LINEAR_LINES(s.bits), slots = LINEAR_SLOTS(s.bits);
	const int n = (width + 3) / 4, padded = LATHE_PAD(s.k, 16);
	const int units = (s.k + s.sums - 1) / s.sums;
	float p[MT][2];
	LATHE_UNROLL_ALL
	for (int m = 0; m < s.mt; m++)
		p[m][0] = p[m][1] = 0.0f;
	for (int first = 0; first < n; first += slots, w += 128 * lines) {
		uint line[2][LINES];
		LATHE_UNROLL_ALL
		for (int h = 0; h < 2; h++)
			LATHE_UNROLL_ALL
		for (int i = 0; i < lines; i++)
			line[h][i] = intel_sub_group_block_read((const global uint *)w +
								(h * lines + i) * 16);
		LATHE_UNROLL_ALL
		for (int j = 0; j < slots; j++) {
			if (n % slots && first + j >= n)
				break;
			const uint u0 = linear_codes(s, line[0], j);
			const uint u1 = linear_codes(s, line[1], j);
			LATHE_UNROLL_ALL
			for (int i = 0; i < 4; i++) {
				const float c0 = (float)((int)(u0 >> 8 * i & 255u) - s.offset);
				const float c1 = (float)((int)(u1 >> 8 * i & 255u) - s.offset);
				LATHE_UNROLL_ALL
				for (int m = 0; m < s.mt; m++) {
					const float x = a->x[(ulong)row_of(token, m, rows) * padded +
							     k + (first + j) * 4 + i];
					p[m][0] = s_fma(c0, x, p[m][0]);
					p[m][1] = s_fma(c1, x, p[m][1]);
				}
			}
		}
	}
	LATHE_UNROLL_ALL
	for (int m = 0; m < s.mt; m++) {
		const float all =
			s.minimum ? a->xsum[row_of(token, m, rows) * units + unit] : 0.0f;
		LATHE_UNROLL_ALL
		for (int h = 0; h < 2; h++) {
			acc[m][h] =
				s_fma(p[m][h], linear_number(s.scale_bits, scales, h), acc[m][h]);
			if (s.minimum)
				acc[m][h] = s_fma(
					all,
					linear_number(s.scale_bits, scales + s.scale_bits * 4, h),
					acc[m][h]);
		}
	}
}

/* ---- a run of the K split ---- */

LATHE_INLINE void
unit_any(const Linear s, const int width, const global uchar *scales, const global uchar *w,
	 const Act *a, int token, int rows, int k, int unit, float (*acc)[2])
{
	if (s.planes)
		unit_int(s, width, scales, w, a, token, rows, k, unit, acc);
	else
		unit_float(s, width, scales, w, a, token, rows, k, unit, acc);
}

/* Columns [run * k / split, ...) of the block at w, codes. Runs are whole weight groups. */
LATHE_INLINE void
run_codes(const Linear s, int run, const global uchar *w, const Act *a, int token, int rows,
	  float (*acc)[2])
{
	const int columns = s.k / s.split, sums = s.sums < columns ? s.sums : columns;
	const int rest = columns % sums;
	int k = run * columns, unit = run * (columns / sums);
	if (s.split > 1)
		w += (ulong)(columns / s.group * run) *
		     (ulong)(linear_header(s) + linear_set_bytes(s, s.group));
	const global uchar *scales = w;
	LATHE_ROLLED
	for (int i = 0; i < columns / sums; i++, unit++, k += sums) {
		if (s.sums >= s.group || k % s.group == 0) {
			scales = w;
			w += linear_header(s);
		}
		unit_any(s, sums, scales, w, a, token, rows, k, unit, acc);
		w += linear_set_bytes(s, sums);
	}
	if (!rest)
		return;
	if (s.sums >= s.group || k % s.group == 0) {
		scales = w;
		w += linear_header(s);
	}
	unit_any(s, rest, scales, w, a, token, rows, k, unit, acc);
}

LATHE_INLINE void
run_floats(const Linear s, int run, const global uchar *w, const Act *a, int token, int rows,
	   float (*acc)[2])
{
	const int columns = s.k / s.split, padded = LATHE_PAD(s.k, 16);
	w += (ulong)(run * columns) * (ulong)(4 * s.bits);
	for (int k = run * columns; k < (run + 1) * columns; k++, w += 4 * s.bits) {
		const float c0 = linear_number(s.bits, w, 0), c1 = linear_number(s.bits, w, 1);
		LATHE_UNROLL_ALL
		for (int m = 0; m < s.mt; m++) {
			const float x = a->x[(ulong)row_of(token, m, rows) * padded + k];
			acc[m][0] = s_fma(c0, x, acc[m][0]);
			acc[m][1] = s_fma(c1, x, acc[m][1]);
		}
	}
}

/* Bytes of a block of 32 rows. */
LATHE_INLINE ulong
linear_block_bytes(const Linear s)
{
	const int rest = s.is_float ? 0 : s.k % s.group;
	if (s.is_float)
		return (ulong)s.k * (ulong)(4 * s.bits);
	return (ulong)(s.k / s.group) * (ulong)(linear_header(s) + linear_set_bytes(s, s.group)) +
	       (ulong)(rest ? linear_header(s) + linear_set_bytes(s, rest) : 0);
}

/* This sub-group's run of block b for the tile at `token`, to totals[run][mt][32]. */
LATHE_INLINE void
linear_run(const Linear s, const global uchar *w, int b, const Act *a, int token, int rows,
	   local float *totals)
{
	const int run = s.split > 1 ? (int)get_sub_group_id() : 0;
	float acc[MT][2];
	LATHE_UNROLL_ALL
	for (int m = 0; m < s.mt; m++)
		acc[m][0] = acc[m][1] = 0.0f;
	w += (ulong)b * linear_block_bytes(s);
	if (s.is_float)
		run_floats(s, run, w, a, token, rows, acc);
	else
		run_codes(s, run, w, a, token, rows, acc);
	LATHE_UNROLL_ALL
	for (int m = 0; m < s.mt; m++)
		LATHE_UNROLL_ALL
	for (int h = 0; h < 2; h++)
		totals[(run * s.mt + m) * 32 + 16 * h + lane()] = acc[m][h];
}

/* Row r of token m: the runs' totals in order, and the scale of a token. */
LATHE_INLINE float
linear_total(const Linear s, const Act *a, const local float *totals, int token, int rows, int m,
	     int r)
{
	float y = totals[m * 32 + r];
	LATHE_UNROLL_ALL
	for (int run = 1; run < s.split; run++)
		y = y + totals[(run * s.mt + m) * 32 + r];
	if (s.planes && !s.act_group)
		y = a->scale[row_of(token, m, rows)] * y;
	return y;
}

/* ---- kernels ---- */

#define LINEAR_ACT                                                                             \
	const Act a = {(const global char *)part_at(arena, capacity, act + hi_at),             \
		       (const global char *)part_at(arena, capacity, act + lo_at),             \
		       (const global int *)part_at(arena, capacity, act + sum_hi_at),          \
		       (const global int *)part_at(arena, capacity, act + sum_lo_at),          \
		       (const global float *)part_at(arena, capacity, act + scale_at),         \
		       (const global float *)part_at(arena, capacity, act + x_at),             \
		       (const global float *)part_at(arena, capacity, act + xsum_at)};         \
	const Linear s = {is_float, bits, offset, scale_bits, minimum, group, k,               \
			  planes,   act_group, sums,       split,   mt};                       \
	const Job j = job_of(job);                                                             \
	const int token = (int)get_group_id(1) * mt, rows = j.rows

#define LINEAR_PARAMETERS                                                                      \
	int is_float, int bits, int offset, int scale_bits, int minimum, int group, int k, int planes,     \
		int act_group, int sums, int split, int mt, global uchar *arena, int capacity, \
		const global int *job, ulong act, ulong hi_at, ulong lo_at, ulong sum_hi_at,   \
		ulong sum_lo_at, ulong scale_at, ulong x_at, ulong xsum_at,                    \
		const global uchar *w, local float *totals

/* What becomes of row r (of the block) of token m. */
#define LINEAR_FOR_RESULTS                                                            \
	barrier(CLK_LOCAL_MEM_FENCE);                                                 \
	for (int i = (int)get_local_id(0), m, r; m = i / 32, r = i % 32, i < 32 * mt; \
	     i += (int)get_local_size(0))                                             \
		if (token + m < rows)

/*
 * Rows of a stack of matrices, block after block. What stands behind the common parameters depends
 * on the work-group's matrix: its first block, where its rows go.
 */
LATHE_OP
linear_store(LINEAR_PARAMETERS, int first, ulong to_at, int ld)
{
	LINEAR_ACT;
	const int b = (int)get_group_id(0);
	linear_run(s, w, b, &a, token, rows, totals);
	global float *to = (global float *)part_at(arena, capacity, to_at);
	LINEAR_FOR_RESULTS
	to[(ulong)(token + m) * ld + 32 * (b - first) + r] =
		linear_total(s, &a, totals, token, rows, m, r);
}

__attribute__((always_inline)) int
linear_block(void)
{
	return (int)get_group_id(0);
}

/* The sum with a row of the residual stream. */
LATHE_OP
linear_add(LINEAR_PARAMETERS, ulong residual_at, int stream, ulong to_at, int ld)
{
	LINEAR_ACT;
	const int b = (int)get_group_id(0), row0 = stream ? j.row0 : 0;
	linear_run(s, w, b, &a, token, rows, totals);
	const global float *from =
		(const global float *)part_at(arena, capacity, residual_at) + (ulong)row0 * ld;
	global float *to = (global float *)part_at(arena, capacity, to_at);
	LINEAR_FOR_RESULTS
	to[(ulong)(token + m) * ld + 32 * b + r] =
		from[(ulong)(token + m) * ld + 32 * b + r] +
		linear_total(s, &a, totals, token, rows, m, r);
}

/* Pairs of blocks, gate and up: silu(gate) * up. totals has room for both. */
LATHE_OP
linear_silu_mul(LINEAR_PARAMETERS, ulong to_at, int ld)
{
	LINEAR_ACT;
	const int b = (int)get_group_id(0);
	local float *up = totals + 32 * mt * split;
	linear_run(s, w, 2 * b, &a, token, rows, totals);
	linear_run(s, w, 2 * b + 1, &a, token, rows, up);
	global float *to = (global float *)part_at(arena, capacity, to_at);
	LINEAR_FOR_RESULTS
	to[(ulong)(token + m) * ld + 32 * b + r] =
		vf_silu(linear_total(s, &a, totals, token, rows, m, r)) *
		linear_total(s, &a, up, token, rows, m, r);
}

/* The caller's logits: no row beyond n_rows. */
LATHE_OP
linear_logits(LINEAR_PARAMETERS, global float *logits, int n_rows)
{
	LINEAR_ACT;
	const int b = (int)get_group_id(0);
	linear_run(s, w, b, &a, token, rows, totals);
	LINEAR_FOR_RESULTS
	if (32 * b + r < n_rows)
		logits[(ulong)(token + m) * (ulong)n_rows + 32 * b + r] =
			linear_total(s, &a, totals, token, rows, m, r);
}
