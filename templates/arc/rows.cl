/*
 * Rows: one work-group a row. A row of n floats lies in local memory with room for n rounded up to
 * 32 and zeros behind n; each operation works in place there, all work-items strided over the row,
 * and leaves with a barrier.
 */
#include "words.h"

#include "../math.h"
#include "quantize.h"

/* x = row of the arena; of the residual stream (stream) the row of the token that the job means. */
LATHE_OP
row_load(int n, const global uchar *arena, int capacity, const global int *job, ulong offset,
	 int stream, local float *x)
{
	const int ld = LATHE_PAD(n, 32), row = row_index() + (stream ? job_of(job).row0 : 0);
	const global float *from =
		(const global float *)(arena + (ulong)capacity * offset) + (ulong)row * ld;
	for (int k = item(); k < ld; k += items())
		x[k] = from[k];
	barrier(CLK_LOCAL_MEM_FENCE);
}

LATHE_OP
row_store(int n, const local float *x, global uchar *arena, int capacity, ulong offset)
{
	const int ld = LATHE_PAD(n, 32);
	global float *to =
		(global float *)part_at(arena, capacity, offset) + (ulong)row_index() * ld;
	for (int k = item(); k < ld; k += items())
		to[k] = x[k];
}

LATHE_OP
row_copy(int n, const local float *x, local float *y)
{
	for (int k = item(); k < LATHE_PAD(n, 32); k += items())
		y[k] = x[k];
	barrier(CLK_LOCAL_MEM_FENCE);
}

/* Every sub-group sums the row for itself: 16 chains are all that the contract has. */
LATHE_OP
row_rmsnorm(int n, float eps, float inv_n, local float *x)
{
	vf p = vf_zero();
	for (int k = 0; k < LATHE_PAD(n, 16); k += 16) {
		const vf a = x[k + lane()];
		p = vf_fma(a, a, p);
	}
	const float r = s_rsqrt(s_fma(vf_tree(p), inv_n, eps));
	barrier(CLK_LOCAL_MEM_FENCE);
	for (int k = item(); k < LATHE_PAD(n, 32); k += items())
		x[k] = x[k] * r;
	barrier(CLK_LOCAL_MEM_FENCE);
}

LATHE_OP
row_gain(int n, const global uchar *gain, local float *x)
{
	const global float *g = (const global float *)gain;
	for (int k = item(); k < LATHE_PAD(n, 32); k += items())
		x[k] = x[k] * g[k];
	barrier(CLK_LOCAL_MEM_FENCE);
}

LATHE_OP
row_bias(int n, const global uchar *bias, local float *x)
{
	const global float *b = (const global float *)bias;
	for (int k = item(); k < LATHE_PAD(n, 32); k += items())
		x[k] = x[k] + b[k];
	barrier(CLK_LOCAL_MEM_FENCE);
}

LATHE_OP
row_add(int n, const local float *b, local float *x)
{
	for (int k = item(); k < LATHE_PAD(n, 32); k += items())
		x[k] = x[k] + b[k];
	barrier(CLK_LOCAL_MEM_FENCE);
}

LATHE_OP
row_silu_mul(int n, const local float *b, local float *x)
{
	for (int k = item(); k < LATHE_PAD(n, 32); k += items())
		x[k] = vf_silu(x[k]) * b[k];
	barrier(CLK_LOCAL_MEM_FENCE);
}

#include "top.h"
#include "transform.h"

#include "heads.h"

/* ---- embedding ---- */

/* The row of the job's token; tokens stand behind the batch's two jobs. Of the spec counts what
 * says the weights. */
LATHE_OP
row_embed(LINEAR_SPEC, const global uchar *packed, const global int *tokens, const global int *job,
	  local float *x)
{
	const Linear s = LINEAR_OF_SPEC;
	const int row = tokens[job_of(job).row0 + row_index()], r = row % 32;
	const int lines = LINEAR_LINES(s), set = 4 * LINEAR_SLOTS(s), scales = s.scale_bits * 4;
	const int whole = LINEAR_HEADER(s) + LINEAR_SETS(s, s.group) * LINEAR_SET_BYTES(s);
	const global uchar *p = packed + (ulong)(row / 32) * packed_block_bytes(s);
	for (int i = item(); i < LATHE_PAD(s.k, 32); i += items()) {
		float y = 0.0f;
		if (i < s.k && s.is_float) {
			y = packed_float(s.bits, p, i * 32 + r);
		} else if (i < s.k) {
			const global uchar *q = p + (ulong)(i / s.group) * (ulong)whole;
			const global uchar *line =
				q + LINEAR_HEADER(s) + (r >> 4) * 64 * lines + (r & 15) * 4;
			const int in = i % s.group, zero = s.zeros ? q[scales + r] : s.offset;
			const int code = packed_code(s, line + in / set * LINEAR_SET_BYTES(s), in % set);
			const float e = packed_scale(s.scale_bits, s.bf16, q, r);
			y = s.minimum ? s_fma((float)code, e,
					      packed_scale(s.scale_bits, s.bf16, q + scales, r))
				      : (float)(code - zero) * e;
		}
		x[i] = y;
	}
	barrier(CLK_LOCAL_MEM_FENCE);
}

/* ---- activations of linears: plain rows, tiles of one token ---- */

/*
 * Codes of a row with sums of every `sums` columns, and where rows have zero points their shifts
 * (templates/rows.h). One scale a row (group 0): each sub-group looks for the range itself. Else
 * group == sums, and a unit's sub-group knows all of it.
 */
LATHE_OP
row_quantize(int n, int bits, int group, int zero, float clip, int sums, global uchar *arena,
	     int capacity, ulong hi_at, ulong lo_at, ulong sum_hi_at, ulong sum_lo_at,
	     ulong scale_at, ulong shift_at, const local float *x)
{
	const RowFormat f = {bits, 0, zero, clip};
	const int row = row_index(), padded = LATHE_PAD(n, 16), units = (n + sums - 1) / sums;
	const int planes = bits > 8 ? 2 : 1, groups = items() / 16, self = (int)get_sub_group_id();
	const int scales = group ? units : 1;
	global char *hi = (global char *)part_at(arena, capacity, hi_at) + (ulong)row * padded;
	global char *lo = (global char *)part_at(arena, capacity, lo_at) + (ulong)row * padded;
	global int *sum_hi = (global int *)part_at(arena, capacity, sum_hi_at) + row * units;
	global int *sum_lo = (global int *)part_at(arena, capacity, sum_lo_at) + row * units;
	global float *scale = (global float *)part_at(arena, capacity, scale_at) + row * scales;
	global float *shift = (global float *)part_at(arena, capacity, shift_at) + row * scales;
	RowScale s = {0.0f, 0.0f, 0.0f};
	if (!group) {
		s = code_scale(f, n, x);
		if (item() == 0) {
			scale[0] = s.scale;
			if (zero)
				shift[0] = -code_zero(f, s);
		}
	}
	for (int unit = self; unit < units; unit += groups) {
		const int from = unit * sums, width = min(sums, n - from);
		if (group) {
			s = code_scale(f, width, x + from);
			if (lane() == 0) {
				scale[unit] = s.scale;
				if (zero)
					shift[unit] = -(code_zero(f, s) * s.scale);
			}
		}
		int h_sum = 0, l_sum = 0;
		for (int k = from; k < from + width; k += 16) {
			const int c = row_codes(f, s, n, x, k);
			const int h = planes == 2 ? (c + 128) >> 8 : c, l = c - 256 * h;
			hi[k + lane()] = (char)h;
			h_sum += h;
			if (planes == 2) {
				lo[k + lane()] = (char)l;
				l_sum += l;
			}
		}
		h_sum = vi_sum(h_sum);
		if (planes == 2)
			l_sum = vi_sum(l_sum);
		if (lane() == 0) {
			sum_hi[unit] = h_sum;
			if (planes == 2)
				sum_lo[unit] = l_sum;
		}
	}
}

/* The row itself, and its sums of every `sums` columns (0: none), each added in order from 0. */
LATHE_OP
row_tile(int n, int sums, global uchar *arena, int capacity, ulong x_at, ulong xsum_at,
	 const local float *x)
{
	const int row = row_index(), padded = LATHE_PAD(n, 16);
	global float *to = (global float *)part_at(arena, capacity, x_at) + (ulong)row * padded;
	for (int k = item(); k < padded; k += items())
		to[k] = x[k];
	if (!sums)
		return;
	const int units = (n + sums - 1) / sums;
	global float *xsum = (global float *)part_at(arena, capacity, xsum_at) + row * units;
	for (int unit = item(); unit < units; unit += items()) {
		float s = 0.0f;
		for (int k = unit * sums; k < min((unit + 1) * sums, n); k++)
			s += x[k];
		xsum[unit] = s;
	}
}
