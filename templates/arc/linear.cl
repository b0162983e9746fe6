/*
 * Linears on the weights file of the CPUs (targets/pack.h): a line of 64 bytes holds four columns
 * of 16 rows, which is what a sub-group of 16 reads as one block. A work-group does one block of 32
 * rows (of gate and of up: a pair) for a tile of tokens; its sub-groups share the runs of the
 * contract's K split, whose totals meet in local memory. There the results stay, [tokens][32], for
 * what the kernel does with them: each work-item has the same ones all along.
 */
#include "words.h"

#include "../math.h"
#include "packed.h"

int __attribute__((overloadable, const)) dot_4x8packed_us_int(uint, uint);
int __attribute__((overloadable, const)) dot_acc_sat_4x8packed_us_int(uint, uint, int);

/* The activations: plain rows. */
typedef struct Tokens {
	const global char *hi, *lo;
	const global int *sum_hi, *sum_lo;
	const global float *scale, *shift, *x, *xsum;
	int token, rows; /* the tile's first; of the batch */
} Tokens;

enum { MT = 8, SLOTS = 8, HALVES = 2, STRETCH = 4, LINES = 16, PARTS = 4 };

/* Token m of the tile; behind the last row the last again, whose result goes nowhere. */
LATHE_INLINE int
row_of(const Tokens *a, int m)
{
	return min(a->token + m, a->rows - 1);
}

/* ---- codes -------------------------------------------------------------------------------- */

/* n dwords a lane, n even, of sub-groups of `lanes`: as few messages as there can be. */
LATHE_INLINE void
load_dwords(const int lanes, const int n, const global uchar *w, uint *line)
{
	const global uint *p = (const global uint *)w;
	int i = 0;
	LATHE_UNROLL_ALL
	for (; i + 8 <= n; i += 8) {
		const uint8 v = intel_sub_group_block_read8(p + lanes * i);
		line[i] = v.s0, line[i + 1] = v.s1, line[i + 2] = v.s2, line[i + 3] = v.s3;
		line[i + 4] = v.s4, line[i + 5] = v.s5, line[i + 6] = v.s6, line[i + 7] = v.s7;
	}
	if (i + 4 <= n) {
		const uint4 v = intel_sub_group_block_read4(p + lanes * i);
		line[i] = v.s0, line[i + 1] = v.s1, line[i + 2] = v.s2, line[i + 3] = v.s3;
		i += 4;
	}
	if (i < n) {
		const uint2 v = intel_sub_group_block_read2(p + lanes * i);
		line[i] = v.s0, line[i + 1] = v.s1;
	}
}

/* Line sets from w on: set i's are line[2 i LINEAR_LINES] and on, half after half. */
LATHE_INLINE void
load_sets(const Linear s, const int sets, const global uchar *w, uint *line)
{
	const int n = 2 * LINEAR_LINES(s);
	LATHE_UNROLL_ALL
	for (int i = 0; i < sets; i++)
		load_dwords(16, n, w + i * LINEAR_SET_BYTES(s), line + n * i);
}

/*
 * Digits to the base 3 of the four bytes of v, each below 243. The quotient by 27 wants 16 bits a
 * byte; it and the remainder are small enough for all four bytes at a time.
 */
LATHE_INLINE void
linear_trits(uint v, uint *u)
{
	const uint even = (v & 0x00ff00ffu) * 19 >> 9 & 0x000f000fu;
	const uint odd = (v >> 8 & 0x00ff00ffu) * 19 >> 1 & 0x0f000f00u;
	const uint high = even | odd, low = v - high * 27;
	u[4] = high * 11 >> 5 & 0x03030303u;
	u[3] = high - u[4] * 3;
	u[2] = (low * 7 + 0x04040404u) >> 6 & 0x03030303u;
	const uint rest = low - u[2] * 9;
	u[1] = rest * 11 >> 5 & 0x03030303u;
	u[0] = rest - u[1] * 3;
}

/* The four codes of slot j, a byte each, of a lane's dwords of a half's lines. */
LATHE_INLINE uint
linear_slot(const int bits, const uint *line, const int j)
{
	switch (bits) {
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
		       ((j < 4 ? line[4] << (4 - j) : line[4] >> (j - 4)) & 0x10101010u);
	case 6:
		if (j < 3)
			return line[j] & 0x3f3f3f3fu;
		return (line[0] >> 2 & 0x30303030u) | (line[1] >> 4 & 0x0c0c0c0cu) |
		       (line[2] >> 6 & 0x03030303u);
	default:
		return line[0];
	}
}

/* The same of any packing: u[j]. Trits come all at once, with slot 0. */
LATHE_INLINE void
linear_codes(const Linear s, const uint *line, const int j, uint *u)
{
	if (!s.trits)
		u[j] = linear_slot(s.bits, line, j);
	else if (j == 0)
		linear_trits(line[0], u);
}

/* ---- sums of products of codes ------------------------------------------------------------ */

/*
 * Where one token has the codes of a dword to itself, they are multiplied where they stand: part i
 * of the sums is of codes times 2^(bits i), and shifts are left to the end.
 */
#define LINEAR_PARTS(s, mt, width)                                                   \
	((mt) == 1 && !(s).trits && ((s).bits == 4 || (s).bits == 2) && (width) > 8 * 4 && \
			 LINEAR_FITS(width)                                              \
		 ? 8 / (s).bits                                                      \
		 : 1)

typedef struct Sums {
	int of[MT][HALVES][2][PARTS]; /* token, half, plane, part */
} Sums;

/* Whether no sum of products over so many columns leaves 32 bits: then the form with an accumulator,
 * which saturates, is the sum, and an instruction less. */
#define LINEAR_FITS(width) ((width) <= 65536)

/* sum += n slots of the line sets at w times the codes from column k on. */
LATHE_INLINE void
sets_int(const Linear s, const int mt, const int parts, const int fits, const int n,
	 const global uchar *w, const Tokens *a, const ulong *row, int k, Sums *sum)
{
	const int lines = LINEAR_LINES(s), slots = LINEAR_SLOTS(s), sets = (n + slots - 1) / slots;
	uint line[STRETCH * LINES], u[HALVES][SLOTS];
	load_sets(s, sets, w, line);
	LATHE_UNROLL_ALL
	for (int j = 0; j < n; j++) {
		const int slot = j % slots;
		const uint *of = line + 2 * lines * (j / slots);
		LATHE_UNROLL_ALL
		for (int h = 0; h < HALVES; h++) {
			if (parts > 1)
				u[h][slot] = of[h] & (((1u << s.bits) - 1) * 0x01010101u << s.bits * slot);
			else
				linear_codes(s, of + h * lines, slot, u[h]);
		}
		LATHE_UNROLL_ALL
		for (int m = 0; m < mt; m++)
			LATHE_UNROLL_ALL
		for (int plane = 0; plane < s.planes; plane++) {
			const global char *codes = plane ? a->lo : a->hi;
			const uint c = *(const global uint *)(codes + row[m] + k + 4 * j);
			LATHE_UNROLL_ALL
			for (int h = 0; h < HALVES; h++) {
				int *p = &sum->of[m][h][plane][parts > 1 ? slot : 0];
				*p = fits ? dot_acc_sat_4x8packed_us_int(u[h][slot], c, *p)
					  : *p + dot_4x8packed_us_int(u[h][slot], c);
			}
		}
	}
}

/* A sum of one plane from its parts: each but the first is a multiple of its power of two. */
LATHE_INLINE int
parts_joined(const int bits, const int parts, const int *part)
{
	int sum = part[parts - 1];
	LATHE_UNROLL_ALL
	for (int i = parts - 1; i-- > 0;)
		sum = (sum >> bits) + part[i];
	return sum;
}

/* ---- units: the columns that share a scale ------------------------------------------------ */

/*
 * A unit's place: its columns, its scales, its line sets; and the rows of the block that the lanes
 * have, from `first` on one each and again `apart` rows behind.
 */
typedef struct Unit {
	const global uchar *scales, *w;
	int k, index, first, apart;
} Unit;

LATHE_INLINE int
unit_row(const Unit u, const int h)
{
	return u.first + u.apart * h + lane();
}

/* What to subtract from the codes of a row. */
LATHE_INLINE int
linear_zero(const Linear s, const Unit u, const int h)
{
	return s.zeros ? u.scales[s.scale_bits * 4 + unit_row(u, h)] : s.offset;
}

LATHE_INLINE float
linear_scale(const Linear s, const Unit u, const int h)
{
	return packed_scale(s.scale_bits, s.bf16, u.scales, unit_row(u, h));
}

LATHE_INLINE float
linear_minimum(const Linear s, const Unit u, const int h)
{
	return packed_scale(s.scale_bits, s.bf16, u.scales + s.scale_bits * 4, unit_row(u, h));
}

/* Of the products of a unit's codes: [token][row][plane]. */
typedef struct UnitSums {
	int of[MT][HALVES][2];
} UnitSums;

/* acc of the tile's tokens and of both rows += a unit whose codes have these sums. */
LATHE_INLINE void
unit_add(const Linear s, const int mt, const Unit u, const Tokens *a, const UnitSums *sum,
	 float (*acc)[HALVES])
{
	const int units = (s.k + s.sums - 1) / s.sums;
	LATHE_UNROLL_ALL
	for (int m = 0; m < mt; m++) {
		const int at = row_of(a, m) * units + u.index;
		const int sum_hi = a->sum_hi[at], sum_lo = s.planes == 2 ? a->sum_lo[at] : 0;
		const float scale = s.act_group ? a->scale[at] : 1.0f;
		LATHE_UNROLL_ALL
		for (int h = 0; h < HALVES; h++) {
			const int zero = linear_zero(s, u, h);
			float t = (float)(sum->of[m][h][0] - zero * sum_hi);
			if (s.planes == 2)
				t = s_fma(t, 256.0f, (float)(sum->of[m][h][1] - zero * sum_lo));
			if (s.act_group)
				t = t * scale;
			acc[m][h] = s_fma(t, linear_scale(s, u, h), acc[m][h]);
			if (!s.minimum)
				continue;
			float all = (float)(s.planes == 2 ? 256 * sum_hi + sum_lo : sum_hi);
			if (s.act_group)
				all = all * scale;
			acc[m][h] = s_fma(all, linear_minimum(s, u, h), acc[m][h]);
		}
	}
}

/* acc of the tile's tokens and of both rows += a unit of `width` columns. */
LATHE_INLINE void
unit_int(const Linear s, const int mt, const int width, const Unit u, const Tokens *a,
	 float (*acc)[HALVES])
{
	const int slots = LINEAR_SLOTS(s), n = (width + 3) / 4, parts = LINEAR_PARTS(s, mt, width);
	const int stretch = mt == 1 && LINEAR_LINES(s) == 1 ? STRETCH * slots : slots;
	const global uchar *w = u.w;
	int k = u.k;
	ulong row[MT];
	Sums sum;
	UnitSums joined;
	LATHE_UNROLL_ALL
	for (int m = 0; m < mt; m++) {
		row[m] = (ulong)row_of(a, m) * LATHE_PAD(s.k, 16);
		LATHE_UNROLL_ALL
		for (int i = 0; i < HALVES * 2 * PARTS; i++)
			sum.of[m][i / (2 * PARTS)][i / PARTS % 2][i % PARTS] = 0;
	}
	LATHE_ROLLED
	for (int i = 0; i < n / stretch; i++, k += 4 * stretch) {
		sets_int(s, mt, parts, LINEAR_FITS(width), stretch, w, a, row, k, &sum);
		w += stretch / slots * LINEAR_SET_BYTES(s);
	}
	if (n % stretch)
		sets_int(s, mt, parts, LINEAR_FITS(width), n % stretch, w, a, row, k, &sum);
	LATHE_UNROLL_ALL
	for (int i = 0; i < mt * HALVES * 2; i++)
		joined.of[i / 4][i / 2 % 2][i % 2] =
			parts_joined(s.bits, parts, sum.of[i / 4][i / 2 % 2][i % 2]);
	unit_add(s, mt, u, a, &joined, acc);
}

/* p += n slots of the line sets at w times floats, in the order of k. */
LATHE_INLINE void
sets_float(const Linear s, const int mt, const int n, const global uchar *w, const float *zero,
	   const Tokens *a, const ulong *row, int k, float (*p)[HALVES])
{
	const int lines = LINEAR_LINES(s), slots = LINEAR_SLOTS(s), sets = (n + slots - 1) / slots;
	uint line[STRETCH * LINES], u[HALVES][SLOTS];
	load_sets(s, sets, w, line);
	LATHE_UNROLL_ALL
	for (int j = 0; j < n; j++) {
		LATHE_UNROLL_ALL
		for (int h = 0; h < HALVES; h++)
			linear_codes(s, line + 2 * lines * (j / slots) + h * lines, j % slots,
				     u[h]);
		LATHE_UNROLL_ALL
		for (int i = 0; i < 4; i++) {
			const float c0 = (float)(u[0][j % slots] >> 8 * i & 255u) - zero[0];
			const float c1 = (float)(u[1][j % slots] >> 8 * i & 255u) - zero[1];
			LATHE_UNROLL_ALL
			for (int m = 0; m < mt; m++) {
				const float x = a->x[row[m] + (ulong)(k + 4 * j + i)];
				p[m][0] = s_fma(c0, x, p[m][0]);
				p[m][1] = s_fma(c1, x, p[m][1]);
			}
		}
	}
}

/* The same for float activations. */
LATHE_INLINE void
unit_float(const Linear s, const int mt, const int width, const Unit u, const Tokens *a,
	   float (*acc)[HALVES])
{
	const int slots = LINEAR_SLOTS(s), n = (width + 3) / 4;
	const int units = (s.k + s.sums - 1) / s.sums;
	const float zero[HALVES] = {(float)linear_zero(s, u, 0), (float)linear_zero(s, u, 1)};
	const global uchar *w = u.w;
	int k = u.k;
	ulong row[MT];
	float p[MT][HALVES];
	LATHE_UNROLL_ALL
	for (int m = 0; m < mt; m++) {
		row[m] = (ulong)row_of(a, m) * LATHE_PAD(s.k, 16);
		p[m][0] = p[m][1] = 0.0f;
	}
	LATHE_ROLLED
	for (int i = 0; i < n / slots; i++, k += 4 * slots, w += LINEAR_SET_BYTES(s))
		sets_float(s, mt, slots, w, zero, a, row, k, p);
	if (n % slots)
		sets_float(s, mt, n % slots, w, zero, a, row, k, p);
	LATHE_UNROLL_ALL
	for (int m = 0; m < mt; m++) {
		const float all = s.minimum ? a->xsum[row_of(a, m) * units + u.index] : 0.0f;
		LATHE_UNROLL_ALL
		for (int h = 0; h < HALVES; h++) {
			acc[m][h] = s_fma(p[m][h], linear_scale(s, u, h), acc[m][h]);
			if (s.minimum)
				acc[m][h] = s_fma(all, linear_minimum(s, u, h), acc[m][h]);
		}
	}
}

#include "dpas.h"

/* ---- a run of the K split ----------------------------------------------------------------- */

/* acc += what zero points of a group's activations leave; sums: of the rows' weights over it. */
LATHE_INLINE void
unit_shift(const Linear s, const int mt, const global uchar *sums, const Tokens *a, const Unit u,
	   float (*acc)[HALVES])
{
	const global float *e = (const global float *)sums;
	const int units = (s.k + s.sums - 1) / s.sums;
	LATHE_UNROLL_ALL
	for (int m = 0; m < mt; m++) {
		const float shift = a->shift[row_of(a, m) * units + u.index];
		LATHE_UNROLL_ALL
		for (int h = 0; h < HALVES; h++)
			acc[m][h] = s_fma(shift, e[unit_row(u, h)], acc[m][h]);
	}
}

/* The unit of `width` columns whose group, row sums or line sets start at u->w; u->w moves on to
 * what follows. block: the start of the block, of row sums of a whole row. */
LATHE_INLINE void
unit_next(const Linear s, const int mt, const int depth, const int width, Unit *u,
	  const global uchar *block, const Tokens *a, float (*acc)[HALVES])
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
	if (depth)
		unit_dpas(s, depth, width, *u, a, acc);
	else if (s.planes)
		unit_int(s, mt, width, *u, a, acc);
	else
		unit_float(s, mt, width, *u, a, acc);
	if (s.shift && s.act_group)
		unit_shift(s, mt, sums, a, *u, acc);
	u->w += LINEAR_SETS(s, width) * LINEAR_SET_BYTES(s);
	u->k += width;
	u->index++;
}

/* Columns [run * k / split, ...) of the block at w, codes. Runs are whole weight groups, or, where
 * a row has one scale, whole units. */
LATHE_INLINE void
run_codes(const Linear s, const int mt, const int depth, int run, int first, const int apart,
	  const global uchar *block, const Tokens *a, float (*acc)[HALVES])
{
	const int columns = s.k / s.split, width = s.sums < columns ? s.sums : columns;
	const int unit_bytes =
		LINEAR_SETS(s, width) * LINEAR_SET_BYTES(s) + (LINEAR_UNIT_SUMS(s) ? 128 : 0);
	const int headers = s.group < s.k ? columns / s.group : 0;
	Unit u = {0, block, run * columns, run * (columns / width), first, apart};
	u.w += LINEAR_UNIT_SUMS(s) ? 0 : LINEAR_ROW_SUMS(s);
	u.scales = u.w;
	if (s.split > 1) {
		u.w += run * (headers * LINEAR_HEADER(s) + columns / width * unit_bytes);
		if (s.group >= s.k && run)
			u.w += LINEAR_HEADER(s);
	}
	LATHE_ROLLED
	for (int i = 0; i < columns / width; i++)
		unit_next(s, mt, depth, width, &u, block, a, acc);
	if (columns % width)
		unit_next(s, mt, depth, columns % width, &u, block, a, acc);
}

LATHE_INLINE void
run_floats(const Linear s, const int mt, int run, const global uchar *w, const Tokens *a,
	   float (*acc)[HALVES])
{
	const int columns = s.k / s.split, padded = LATHE_PAD(s.k, 16);
	w += (ulong)(run * columns) * (ulong)(4 * s.bits);
	for (int k = run * columns; k < (run + 1) * columns; k++, w += 4 * s.bits) {
		const float c0 = packed_float(s.bits, w, lane());
		const float c1 = packed_float(s.bits, w, 16 + lane());
		LATHE_UNROLL_ALL
		for (int m = 0; m < mt; m++) {
			const float x = a->x[(ulong)row_of(a, m) * padded + k];
			acc[m][0] = s_fma(c0, x, acc[m][0]);
			acc[m][1] = s_fma(c1, x, acc[m][1]);
		}
	}
}

/*
 * This sub-group's part of the block at w, to totals[run][mt][32]: a run, of which its lanes have
 * two rows each; by DPAS half of the rows.
 */
LATHE_INLINE void
linear_run(const Linear s, const int mt, const int depth, const global uchar *w, const Tokens *a,
	   local float *totals)
{
	const int id = (int)get_sub_group_id(), apart = depth ? DPAS_ROWS : 16;
	const int first = depth ? 16 * (id % HALVES) : 0;
	const int run = s.split == 1 ? 0 : depth ? id / HALVES : id;
	float acc[MT][HALVES];
	LATHE_UNROLL_ALL
	for (int m = 0; m < mt; m++)
		acc[m][0] = acc[m][1] = 0.0f;
	if (s.is_float)
		run_floats(s, mt, run, w, a, acc);
	else
		run_codes(s, mt, depth, run, first, apart, w, a, acc);
	LATHE_UNROLL_ALL
	for (int m = 0; m < mt; m++)
		LATHE_UNROLL_ALL
	for (int h = 0; h < HALVES; h++)
		totals[(run * mt + m) * 32 + first + apart * h + lane()] = acc[m][h];
}

/* Row r of token m: the runs' totals in order, the row's zero point and the scale of a token. */
LATHE_INLINE float
linear_total(const Linear s, const int mt, const global uchar *w, const Tokens *a,
	     const local float *totals, int m, int r)
{
	float y = totals[m * 32 + r];
	LATHE_UNROLL_ALL
	for (int run = 1; run < s.split; run++)
		y = y + totals[(run * mt + m) * 32 + r];
	if (s.shift && !s.act_group)
		y = s_fma(a->shift[row_of(a, m)], ((const global float *)w)[r], y);
	if (s.planes && !s.act_group)
		y = a->scale[row_of(a, m)] * y;
	return y;
}

/* ---- operations --------------------------------------------------------------------------- */

__attribute__((always_inline)) int
linear_block(void)
{
	return (int)get_group_id(0);
}

/* The results of this work-item: row i % 32 of the block, token i / 32 of the tile. */
#define LINEAR_FOR_RESULTS(mt) \
	for (int i = (int)get_local_id(0); i < 32 * (mt); i += (int)get_local_size(0))
#define LINEAR_TOKEN(mt) ((int)get_group_id(1) * (mt))

/* Of what makes results of a block: the rows of activations and the weights; and the tile's tokens. */
#define LINEAR_ROWS                                                                               \
	global uchar *arena, int capacity, const global int *job, ulong act, ulong hi_at,         \
		ulong lo_at, ulong sum_hi_at, ulong sum_lo_at, ulong scale_at, ulong shift_at,    \
		ulong x_at, ulong xsum_at, const global uchar *weights, int step, int first
#define LINEAR_PART(type, at) ((const global type *)part_at(arena, capacity, act + (at)))
#define LINEAR_TOKENS_OF_ROWS(mt)                                                                 \
	{                                                                                         \
		LINEAR_PART(char, hi_at), LINEAR_PART(char, lo_at), LINEAR_PART(int, sum_hi_at),  \
			LINEAR_PART(int, sum_lo_at), LINEAR_PART(float, scale_at),                \
			LINEAR_PART(float, shift_at), LINEAR_PART(float, x_at),                   \
			LINEAR_PART(float, xsum_at), LINEAR_TOKEN(mt), job_of(job).rows           \
	}

/* y[tokens][32] of block step * work-group + first; y has room for the totals of all runs. depth:
 * columns of a DPAS, 0: by dp4a. */
LATHE_OP
linear_rows(LINEAR_SPEC, int mt, int depth, LINEAR_ROWS, local float *y)
{
	const Linear s = LINEAR_OF_SPEC;
	const Tokens a = LINEAR_TOKENS_OF_ROWS(mt);
	const global uchar *w =
		weights + (ulong)(step * linear_block() + first) * packed_block_bytes(s);
	linear_run(s, mt, depth, w, &a, y);
	barrier(CLK_LOCAL_MEM_FENCE);
	LINEAR_FOR_RESULTS(mt)
	y[i] = linear_total(s, mt, w, &a, y, i / 32, i % 32);
}

/* Adds the biases of the rows of blocks [from, end) of a stack. */
LATHE_OP
linear_bias(int mt, int from, int end, const global uchar *bias, local float *y)
{
	const int b = linear_block();
	if (b < from || b >= end)
		return;
	LINEAR_FOR_RESULTS(mt)
	y[i] = y[i] + ((const global float *)bias)[32 * (b - from) + i % 32];
}

/*
 * Rows of a stack of matrices, block after block. Of the work-group's matrix: its first block,
 * where its rows go.
 */
LATHE_OP
linear_store(int mt, global uchar *arena, int capacity, const global int *job,
	     const local float *y, int first, ulong to_at, int ld)
{
	const int b = linear_block(), token = LINEAR_TOKEN(mt), rows = job_of(job).rows;
	global float *to = (global float *)part_at(arena, capacity, to_at);
	LINEAR_FOR_RESULTS(mt)
	if (token + i / 32 < rows)
		to[(ulong)(token + i / 32) * ld + 32 * (b - first) + i % 32] = y[i];
}

/* The sum with a row, of the residual stream (stream) or of this kernel's job. */
LATHE_OP
linear_add(int mt, global uchar *arena, int capacity, const global int *job, const local float *y,
	   ulong residual_at, int stream, ulong to_at, int ld)
{
	const Job j = job_of(job);
	const int b = linear_block(), token = LINEAR_TOKEN(mt), row0 = stream ? j.row0 : 0;
	const global float *from =
		(const global float *)part_at(arena, capacity, residual_at) + (ulong)row0 * ld;
	global float *to = (global float *)part_at(arena, capacity, to_at);
	LINEAR_FOR_RESULTS(mt)
	if (token + i / 32 < j.rows)
		to[(ulong)(token + i / 32) * ld + 32 * b + i % 32] =
			from[(ulong)(token + i / 32) * ld + 32 * b + i % 32] + y[i];
}

/* silu(gate) * up. */
LATHE_OP
linear_silu_mul(int mt, global uchar *arena, int capacity, const global int *job,
		const local float *gate, const local float *up, ulong to_at, int ld)
{
	const int b = linear_block(), token = LINEAR_TOKEN(mt), rows = job_of(job).rows;
	global float *to = (global float *)part_at(arena, capacity, to_at);
	LINEAR_FOR_RESULTS(mt)
	if (token + i / 32 < rows)
		to[(ulong)(token + i / 32) * ld + 32 * b + i % 32] = vf_silu(gate[i]) * up[i];
}

/* The caller's logits: no row beyond n_rows. */
LATHE_OP
linear_logits(int mt, const global int *job, const local float *y, global float *logits,
	      int n_rows)
{
	const int b = linear_block(), token = LINEAR_TOKEN(mt), rows = job_of(job).rows;
	LINEAR_FOR_RESULTS(mt)
	if (token + i / 32 < rows && 32 * b + i % 32 < n_rows)
		logits[(ulong)(token + i / 32) * (ulong)n_rows + 32 * b + i % 32] = y[i];
}
