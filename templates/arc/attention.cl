/*
 * The cache and attention over it. A layer's cache has, a KV head after another, all keys, then all
 * values, in the layout of the CPUs (templates/rows.h): keys of sixteen positions side by side, so
 * that a lane is a position; values row by row, so that a lane is a column.
 */
#include "words.h"

#include "../math.h"
#include "cache.h"

/* The rotation of x[i] and x[i + d/2] by angle i; its element `e` of d. */
LATHE_INLINE float
rope_element(int d, const global float *x, const global float *cosine, const global float *sine,
	     int e)
{
	const int half_of = d / 2, i = e % half_of;
	const float a = x[i], b = x[i + half_of], c = cosine[i], s = sine[i];
	return e < half_of ? s_fma(a, c, -(b * s)) : s_fma(a, s, b * c);
}

/*
 * Work-group (KV head, row): rotates the head's queries (q_heads of them, 0: none) and its key
 * (rope_key), and appends key and value.
 */
LATHE_OP
kv_append(int bits, int d, int q_heads, int rope_key, global uchar *arena, int capacity,
	  const global int *job, ulong q_at, int q_ld, ulong rotated_at, int rotated_ld, ulong k_at,
	  int k_ld, ulong v_at, int v_ld, const global float *cosines, const global float *sines,
	  global uchar *cache, int ctx)
{
	const Job j = job_of(job);
	const int h = (int)get_group_id(0), row = (int)get_group_id(1);
	const int position = j.n_past + j.row0 + row, item = (int)get_local_id(0);
	const global float *cosine = cosines + (ulong)position * (ulong)(d / 2);
	const global float *sine = sines + (ulong)position * (ulong)(d / 2);
	const global float *q = (const global float *)part_at(arena, capacity, q_at) +
				(ulong)row * q_ld + h * q_heads * d;
	global float *rotated = (global float *)part_at(arena, capacity, rotated_at) +
				(ulong)row * rotated_ld + h * q_heads * d;
	const global float *k =
		(const global float *)part_at(arena, capacity, k_at) + (ulong)row * k_ld + h * d;
	const global float *v =
		(const global float *)part_at(arena, capacity, v_at) + (ulong)row * v_ld + h * d;
	global uchar *keys = cache + (ulong)h * head_bytes(bits, d, ctx);
	for (int e = item; e < q_heads * d; e += (int)get_local_size(0))
		rotated[e] = rope_element(d, q + e / d * d, cosine, sine, e % d);
	for (int i = item; i < LATHE_PAD(d, 16); i += (int)get_local_size(0)) {
		const float key =
			i >= d ? 0.0f : rope_key ? rope_element(d, k, cosine, sine, i) : k[i];
		kv_write(bits, d, position, i, key, i < d ? v[i] : 0.0f, keys,
			 keys + keys_bytes(bits, d, ctx));
	}
}

/* ---- attention ---- */

/* Score of the lane's position of 16 from `first` on; `own` is the key of position `last`, which
 * a fresh launch has not stored yet. Rows of q and own have zeros up to a multiple of 16. */
LATHE_INLINE float
attention_score(int bits, int d, float scale, const local float *q, const global uchar *keys,
		int first, int last, int fresh, const local float *own)
{
	const bool mine = fresh && first + lane() == last;
	float p[16];
	LATHE_UNROLL_ALL
	for (int i = 0; i < 16; i++)
		p[i] = 0.0f;
	LATHE_ROLLED
	for (int from = 0; from < d / 16 * 16; from += 16)
		LATHE_UNROLL_ALL
	for (int i = 0; i < 16; i++) {
		const float k = kv_get(bits, keys, key_at(d, first + lane(), from + i));
		p[i] = s_fma(q[from + i], mine ? own[from + i] : k, p[i]);
	}
	LATHE_UNROLL_ALL
	for (int i = 0; i < d % 16; i++) {
		const int at = d / 16 * 16 + i;
		const float k = kv_get(bits, keys, key_at(d, first + lane(), at));
		p[i] = s_fma(q[at], mine ? own[at] : k, p[i]);
	}
	LATHE_UNROLL_ALL
	for (int w = 8; w; w >>= 1)
		LATHE_UNROLL_ALL
	for (int i = 0; i < w; i++)
		p[i] = p[i] + p[i + w];
	return p[0] * scale;
}

/*
 * One query on the block of 64 positions from `block` on, of which it sees `count`: m and l by one
 * lane, o[D] by the lanes. weights: 64 floats of this sub-group's.
 */
LATHE_INLINE void
attention_block(int bits, int d, float scale, const local float *q, const global uchar *keys,
		const global uchar *values, int block, int count, int last, int fresh,
		const local float *own_k, const local float *own_v, local float *weights,
		local float *m_out, local float *l_out, local float *o_out)
{
	enum { COLUMNS = 16 };
	const int D = LATHE_PAD(d, 16), stored = fresh && block + count > last ? count - 1 : count;
	float m = -INFINITY, p = 0.0f, o[COLUMNS];
	LATHE_ROLLED
	for (int i = 0; i < count; i += 16) {
		const float score = attention_score(bits, d, scale, q, keys, block + i, last,
						    fresh, own_k);
		weights[i + lane()] = score;
		m = vf_max(m, i + lane() < count ? score : -INFINITY);
	}
	m = vf_maxtree(m);
	LATHE_ROLLED
	for (int i = 0; i < count; i += 16) {
		const float e = vf_exp(weights[i + lane()] - m);
		p = p + (i + lane() < count ? e : 0.0f);
		weights[i + lane()] = e;
	}
	const float l = vf_tree(p);
	sub_group_barrier(CLK_LOCAL_MEM_FENCE);
	LATHE_UNROLL_ALL
	for (int c = 0; c < D / 16; c++)
		o[c] = 0.0f;
	LATHE_ROLLED
	for (int i = 0; i < stored; i++) {
		const float e = weights[i];
		LATHE_UNROLL_ALL
		for (int c = 0; c < D / 16; c++)
			o[c] = s_fma(e,
				     kv_get(bits, values,
					    (ulong)(block + i) * D + 16 * c + lane()),
				     o[c]);
	}
	if (stored < count)
		LATHE_UNROLL_ALL
	for (int c = 0; c < D / 16; c++)
		o[c] = s_fma(weights[count - 1], own_v[16 * c + lane()], o[c]);
	LATHE_UNROLL_ALL
	for (int c = 0; c < D / 16; c++)
		o_out[16 * c + lane()] = o[c];
	if (lane() == 0) {
		*m_out = m;
		*l_out = l;
	}
}

/*
 * Work-group (query head, row) of n sub-groups: n blocks at a time side by side, merged in
 * increasing order. `fresh`: one row, whose q, k and v are not rotated and not stored yet; every
 * head keeps the new position to itself, and the first of a group stores it.
 * memory: n * (64 + 2 + D) + 3 D floats.
 */
LATHE_OP
attention(int bits, int d, int group, int n, int fresh, int rope_q, int rope_key, float scale,
	  global uchar *arena, int capacity, const global int *job, ulong q_at, int q_ld,
	  int q_stream, ulong k_at, ulong v_at, ulong to_at, int to_ld,
	  const global float *cosines, const global float *sines, global uchar *cache, int ctx,
	  local float *memory)
{
	const Job j = job_of(job);
	const int head = (int)get_group_id(0), row = (int)get_group_id(1), h = head / group;
	const int self = (int)get_sub_group_id(), item = (int)get_local_id(0), D = LATHE_PAD(d, 16);
	const int position = j.n_past + j.row0 + row, seen = position + 1;
	const global float *cosine = cosines + (ulong)position * (ulong)(d / 2);
	const global float *sine = sines + (ulong)position * (ulong)(d / 2);
	const global float *q_row = (const global float *)part_at(arena, capacity, q_at) +
				    (ulong)(row + (q_stream ? j.row0 : 0)) * q_ld + head * d;
	const global float *k_row = (const global float *)part_at(arena, capacity, k_at) + h * d;
	const global float *v_row = (const global float *)part_at(arena, capacity, v_at) + h * d;
	global float *to =
		(global float *)part_at(arena, capacity, to_at) + (ulong)row * to_ld;
	global uchar *keys = cache + (ulong)h * head_bytes(bits, d, ctx);
	global uchar *values = keys + keys_bytes(bits, d, ctx);
	local float *weights = memory + self * 64, *q = memory + n * 64, *own_k = q + D;
	local float *own_v = own_k + D, *m = own_v + D, *l = m + n, *o = l + n;
	for (int i = item; i < D; i += 16 * n) {
		q[i] = i >= d	       ? 0.0f
		       : fresh && rope_q ? rope_element(d, q_row, cosine, sine, i)
					 : q_row[i];
		if (!fresh)
			continue;
		const float key = i >= d     ? 0.0f
				  : rope_key ? rope_element(d, k_row, cosine, sine, i)
					     : k_row[i];
		const float value = i < d ? v_row[i] : 0.0f;
		own_k[i] = kv_rounded(bits, key);
		own_v[i] = kv_rounded(bits, value);
		if (head % group == 0)
			kv_write(bits, d, position, i, key, value, keys, values);
	}
	barrier(CLK_LOCAL_MEM_FENCE);
	float M = 0.0f, L = 0.0f, O = 0.0f; /* O: of column `item`, while item < D */
	for (int first = 0; first < seen; first += 64 * n) {
		const int block = first + 64 * self, count = min(seen - block, 64);
		if (count > 0)
			attention_block(bits, d, scale, q, keys, values, block, count, position,
					fresh, own_k, own_v, weights, m + self,
					l + self, o + self * D);
		barrier(CLK_LOCAL_MEM_FENCE);
		for (int i = 0; i < n && first + 64 * i < seen; i++) {
			const float x = item < D ? o[i * D + item] : 0.0f;
			if (first + i == 0) {
				M = m[0];
				L = l[0];
				O = x;
				continue;
			}
			const float N = vf_max(M, m[i]);
			const float a = vf_exp(M - N), b = vf_exp(m[i] - N);
			L = s_fma(L, a, l[i] * b);
			O = s_fma(O, a, x * b);
			M = N;
		}
		barrier(CLK_LOCAL_MEM_FENCE);
	}
	if (item < d)
		to[head * d + item] = O * s_rcp(L);
	const int heads = (int)get_num_groups(0);
	if (head == 0)
		for (int i = heads * d + item; i < to_ld; i += 16 * n)
			to[i] = 0.0f;
}
