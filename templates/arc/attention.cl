/*
 * The write of keys and values, and attention. Of a query the score is made with a position a lane,
 * the sum of values with a column a lane; what all lanes need of another one is a shuffle from a
 * literal lane, which costs nothing.
 */
#include "words.h"

#include "../math.h"
#include "quantize.h"

#include "cache.h"

#include "heads.h"

#include "transform.h"

int __attribute__((overloadable, const)) dot_4x8packed_us_int(uint, uint);

/*
 * Work-group (KV head, row): stores the head's key and value.
 * memory: 2 LATHE_PAD(d, 32) / 4 words.
 */
LATHE_OP
kv_append(KV, const global int *job, global uchar *cache, int ctx, local float *key,
	  local float *value, local float *memory)
{
	const Kv kv = KV_OF;
	const Job j = job_of(job);
	const KvHead h = kv_head(kv, cache, heads_group(), ctx);
	const NewPosition p = kv_round(kv, key, value, memory);
	kv_store(kv, &p, j.n_past + j.row0 + row_index(), &h);
}

/* ---- queries ---- */

/* COLUMNS: sixteens of columns whose sums of values are made at a time. */
enum { QUERIES = 4, COLUMNS = 8 };

/* Up to QUERIES rows in local memory: floats x[nq][D], D = d rounded up to 16, or codes, whose
 * scale and sum lane q has of query q. */
typedef struct Query {
	const local float *x;
	const local uint *hi, *lo; /* QUERY_WORDS apart */
	float scale;
	int sum;
} Query;

/* Query q sees the first + q positions from a block's start on, as far as there are `end` and the
 * block has them. */
typedef struct Seen {
	int first, end;
} Seen;

/* Drivers unroll loops of few rounds, also where registers do not suffice for it; behind a shuffle
 * they do not know that the rounds are few. */
LATHE_INLINE int
seen_by(Seen s, int q)
{
	return intel_sub_group_shuffle(min(min(s.first + q, s.end), 64), 0);
}

/* 0, which drivers do not know: addresses that it is added to, as many as columns, are not made in
 * front of the loop over blocks, where they would take registers all along. */
LATHE_INLINE int
seen_nothing(Seen s)
{
	return intel_sub_group_shuffle(min(s.end, 64), 0) >> 16;
}

/* Words of a query's codes. */
#define QUERY_WORDS(kv) (2 * LATHE_PAD((kv).d, 32) / 4)

/* The rows x as codes in memory of QUERY_WORDS a row; by sub-groups as codes_store. */
LATHE_INLINE void
query_codes(Kv kv, int nq, int self, int sub_groups, local float *memory, Query *to)
{
	const RowFormat f = {kv.query, 0, ROW_SYMMETRIC, 0.0f};
	to->scale = 0.0f;
	to->sum = 0;
	LATHE_ROLLED
	for (int q = 0; q < nq; q++) {
		local uchar *hi = (local uchar *)(memory + q * QUERY_WORDS(kv));
		const Codes c = codes_store(f, kv.d, 0, self, sub_groups,
					    to->x + q * LATHE_PAD(kv.d, 16), hi,
					    hi + LATHE_PAD(kv.d, 32));
		to->scale = lane() == q ? c.scale : to->scale;
		to->sum = lane() == q ? c.sum : to->sum;
	}
	to->hi = (local uint *)memory;
	to->lo = to->hi + LATHE_PAD(kv.d, 32) / 4;
}

/* ---- scores ---- */

/* Chain j of the sixteen of the contract's dot product, of all queries. */
LATHE_INLINE void
score_chain(Kv kv, int nq, int j, vf (*x)[COLUMNS], const global uchar *keys, float *p)
{
	LATHE_UNROLL_ALL
	for (int q = 0; q < nq; q++)
		p[q] = 0.0f;
	LATHE_UNROLL_ALL
	for (int i = j; i < kv.d; i += 16) {
		const float k = kv_float(kv, keys, i);
		LATHE_UNROLL_ALL
		for (int q = 0; q < nq; q++)
			p[q] = s_fma(intel_sub_group_shuffle(x[q][i / 16], (uint)j), k, p[q]);
	}
}

/* p[q] of chain j and of every step-th behind it, below 16: a branch of the tree, of two of twice the
 * step. OpenCL has no recursion. */
#define SCORE_BRANCH(name, branch, step)                                                          \
	LATHE_INLINE void name(Kv kv, int nq, int j, vf (*x)[COLUMNS], const global uchar *keys,  \
			       float *p)                                                          \
	{                                                                                         \
		float other[QUERIES];                                                             \
		branch(kv, nq, j, x, keys, p);                                                    \
		branch(kv, nq, j + (step), x, keys, other);                                       \
		LATHE_UNROLL_ALL                                                                  \
		for (int q = 0; q < nq; q++)                                                      \
			p[q] = p[q] + other[q];                                                   \
	}
SCORE_BRANCH(score_pair, score_chain, 8)
SCORE_BRANCH(score_four, score_pair, 4)
SCORE_BRANCH(score_eight, score_four, 2)
SCORE_BRANCH(score_all, score_eight, 1)

/* Products of the queries, whose heads are of 64 columns at most, with the lane's key of sixteen from
 * position `first` on. */
LATHE_INLINE void
scores_rows(Kv kv, int nq, const Query *query, const KvHead *h, int first, float *p)
{
	vf x[QUERIES][COLUMNS];
	const global uchar *keys = kv_unit(kv, h, first, 0) + lane() * (kv.bits / 8);
	LATHE_UNROLL_ALL
	for (int q = 0; q < nq; q++)
		LATHE_UNROLL_ALL
	for (int c = 0; c < LATHE_PAD(kv.d, 16) / 16; c++)
		x[q][c] = query->x[q * LATHE_PAD(kv.d, 16) + 16 * c + lane()];
	score_all(kv, nq, 0, x, keys, p);
}

/* Elements [0, n) of a chunk, on all sixteen chains at once. */
LATHE_INLINE void
score_chunk(Kv kv, int n, float x, const global uchar *keys, float *p)
{
	LATHE_UNROLL_ALL
	for (int i = 0; i < n; i++)
		p[i] = s_fma(intel_sub_group_shuffle(x, (uint)i), kv_float(kv, keys, i), p[i]);
}

/* The same for one query of any width. */
LATHE_INLINE float
score_row(Kv kv, const Query *query, const KvHead *h, int first)
{
	const int chunks = intel_sub_group_shuffle(kv.d / 16, 0);
	const global uchar *keys = kv_unit(kv, h, first, 0) + lane() * (kv.bits / 8);
	float p[16];
	LATHE_UNROLL_ALL
	for (int i = 0; i < 16; i++)
		p[i] = 0.0f;
	LATHE_ROLLED
	for (int c = 0; c < chunks; c++, keys += 32 * kv.bits)
		score_chunk(kv, 16, query->x[16 * c + lane()], keys, p);
	score_chunk(kv, kv.d % 16, query->x[kv.d / 16 * 16 + (kv.d % 16 ? lane() : 0)], keys, p);
	LATHE_UNROLL_ALL
	for (int w = 8; w; w >>= 1)
		LATHE_UNROLL_ALL
	for (int i = 0; i < w; i++)
		p[i] = p[i] + p[i + w];
	return p[0];
}

LATHE_INLINE void
scores_floats(Kv kv, int nq, const Query *query, const KvHead *h, int first, float *p)
{
	if (nq == 1)
		p[0] = score_row(kv, query, h, first);
	else
		scores_rows(kv, nq, query, h, first, p);
}

/* Of codes: sums of products are exact, so their order is free, and they may wrap on the way. */
LATHE_INLINE float
score_of_sum(Kv kv, int sum_hi, int sum_lo, float scale, int sum, float k_scale, float k_zero)
{
	const uint all = kv.query > 8 ? (uint)sum_hi * 256u + (uint)sum_lo : (uint)sum_hi;
	float x = (float)(int)(all - ((uint)sum << (kv.bits - 1)));
	if (kv.zero)
		x = s_fma(-k_zero, (float)sum, x);
	return x * k_scale * scale;
}

/* Words [0, n) of a chunk of sixteen, from word `at` of the queries' on. */
LATHE_INLINE void
code_chunk(Kv kv, int nq, int n, int at, const Query *query, const global uchar *keys, int *hi,
	   int *lo)
{
	const int per = KV_PER(kv) / 4, own = at + (lane() < n ? lane() : 0);
	int x[QUERIES], y[QUERIES];
	LATHE_UNROLL_ALL
	for (int q = 0; q < nq; q++) {
		x[q] = (int)query->hi[q * QUERY_WORDS(kv) + own];
		y[q] = kv.query > 8 ? (int)query->lo[q * QUERY_WORDS(kv) + own] : 0;
	}
	LATHE_UNROLL_ALL
	for (int w = 0; w < n; w++) {
		const uint line = intel_sub_group_block_read((const global uint *)keys +
							     w / per * 16);
		const uint k = kv.bits == 8 ? line : line >> w % per * 4 & 0x0f0f0f0fu;
		LATHE_UNROLL_ALL
		for (int q = 0; q < nq; q++) {
			hi[q] += dot_4x8packed_us_int(k, (uint)intel_sub_group_shuffle(x[q], (uint)w));
			if (kv.query > 8)
				lo[q] += dot_4x8packed_us_int(
					k, (uint)intel_sub_group_shuffle(y[q], (uint)w));
		}
	}
}

LATHE_INLINE void
scores_codes(Kv kv, int nq, const Query *query, const KvHead *h, int first, float *p)
{
	const int words = LATHE_PAD(kv.d, KV_PER(kv)) / 4;
	const int chunks = intel_sub_group_shuffle(words / 16, 0);
	const global uchar *keys = kv_unit(kv, h, first, 0);
	int hi[QUERIES], lo[QUERIES];
	LATHE_UNROLL_ALL
	for (int q = 0; q < nq; q++)
		hi[q] = lo[q] = 0;
	LATHE_ROLLED
	for (int c = 0; c < chunks; c++, keys += 4096 / KV_PER(kv))
		code_chunk(kv, nq, 16, 16 * c, query, keys, hi, lo);
	if (words % 16)
		code_chunk(kv, nq, words % 16, words / 16 * 16, query, keys, hi, lo);
	const float scale = h->k_scale[first + lane()];
	const float zero = kv.zero ? h->k_zero[first + lane()] : 0.0f;
	LATHE_UNROLL_ALL
	for (int q = 0; q < nq; q++)
		p[q] = score_of_sum(kv, hi[q], lo[q],
				    intel_sub_group_shuffle(query->scale, (uint)q),
				    intel_sub_group_shuffle(query->sum, (uint)q), scale, zero);
}

/* The product of one query with the key of a position that is not stored yet, in every lane. */
LATHE_INLINE float
score_new(Kv kv, const Query *query, const NewPosition *own)
{
	if (!KV_CODES(kv)) {
		vf p = vf_zero();
		for (int i = 0; i < kv.d; i += 16) {
			const bool in = i + lane() < kv.d;
			p = vf_fma(in ? query->x[i + lane()] : 0.0f,
				   in ? own->key[i + lane()] : 0.0f, p);
		}
		return vf_tree(p);
	}
	int hi = 0, lo = 0;
	for (int w = lane(); w < LATHE_PAD(kv.d, 16) / 4; w += 16) {
		hi += dot_4x8packed_us_int(own->k_codes[w], query->hi[w]);
		if (kv.query > 8)
			lo += dot_4x8packed_us_int(own->k_codes[w], query->lo[w]);
	}
	return score_of_sum(kv, vi_sum(hi), vi_sum(lo), intel_sub_group_shuffle(query->scale, 0),
			    intel_sub_group_shuffle(query->sum, 0), own->k.scale, own->k.zero);
}

/* ---- a block of 64 positions ---- */

/* What a block gives, lane q of query q & 7: the largest score, the sum of weights, what the zero
 * points of values add to its row. */
typedef struct Softmax {
	float m, l, z;
} Softmax;

/*
 * weights[nq][64] of the sub-group: the factors of the values of the block from position `block`
 * on. own: null, or what position own_at of the block (64: none) has, the last that the one query
 * sees.
 */
LATHE_INLINE Softmax
attention_weights(Kv kv, int nq, float scale, const Query *query, const KvHead *h, int block,
		  Seen seen, const NewPosition *own, int own_at, local float *weights)
{
	Softmax s = {0.0f, 0.0f, 0.0f};
	const float own_score = own ? score_new(kv, query, own) : 0.0f;
	const int most = seen_by(seen, nq - 1);
	LATHE_ROLLED
	for (int i = 0; i < most; i += 16) {
		float p[QUERIES];
		const bool mine = own && i + lane() == own_at;
		if (KV_CODES(kv))
			scores_codes(kv, nq, query, h, block + i, p);
		else
			scores_floats(kv, nq, query, h, block + i, p);
		LATHE_UNROLL_ALL
		for (int q = 0; q < nq; q++)
			weights[q * 64 + i + lane()] = (mine ? own_score : p[q]) * scale;
	}
	const int queries = nq == 1 ? 1 : intel_sub_group_shuffle(nq, 0);
	LATHE_ROLLED
	for (int q = 0; q < queries; q++) {
		local float *w = weights + q * 64 + lane();
		const int count = seen_by(seen, q);
		vf m = -INFINITY, p = vf_zero(), z = vf_zero();
		LATHE_ROLLED
		for (int i = 0; i < count; i += 16)
			m = vf_max(m, i + lane() < count ? w[i] : -INFINITY);
		m = vf_maxtree(m);
		LATHE_ROLLED
		for (int i = 0; i < count; i += 16) {
			const bool in = i + lane() < count, mine = own && i + lane() == own_at;
			const int at = block + i + lane();
			float e = vf_exp(w[i] - m);
			p = p + (in ? e : 0.0f);
			if (KV_CODES(kv))
				e = e * (mine ? own->v.scale : h->v_scale[at]);
			if (kv.zero) {
				const float zero = mine ? own->v.zero : h->v_zero[at];
				z = in ? s_fma(e, -zero, z) : z;
			}
			w[i] = e;
		}
		const bool to = (lane() & 7) == q || nq == 1;
		p = vf_tree(p);
		z = kv.zero ? vf_tree(z) : 0.0f;
		s.m = to ? m : s.m;
		s.l = to ? p : s.l;
		s.z = to ? z : s.z;
	}
	sub_group_barrier(CLK_LOCAL_MEM_FENCE);
	return s;
}

/* o[q][c] = the sums of weights times values, in order of positions, column 16 (first + c) + lane of
 * `columns` times sixteen. */
LATHE_INLINE void
attention_values(Kv kv, int nq, const KvHead *h, int block, Seen seen, const Softmax *s,
		 const NewPosition *own, int own_at, const local float *weights, int first,
		 int columns, vf (*o)[COLUMNS])
{
	const int count = seen_by(seen, 0);
	const int stored = own ? min(count, own_at) : count;
	/* as many positions at once as registers hold the values of */
	const int wide = kv.bits == 4 ? 4 : 8;
	const int round = columns > wide ? 1 : columns > 4 ? 2 : columns > 2 ? 4 : columns > 1 ? 8 : 16;
	LATHE_UNROLL_ALL
	for (int q = 0; q < nq; q++)
		LATHE_UNROLL_ALL
	for (int c = 0; c < columns; c++)
		o[q][c] = 0.0f;
	const int most = nq == 1 ? stored : seen_by(seen, nq - 1);
	int i = 0;
	LATHE_ROLLED
	for (; i + round <= stored; i += round) {
		vf e[QUERIES];
		const global uchar *p = kv_values(kv, h, block + i);
		LATHE_UNROLL_ALL
		for (int q = 0; q < nq; q++)
			e[q] = weights[q * 64 + i + (lane() & (round - 1))];
		LATHE_UNROLL_ALL
		for (int t = 0; t < round; t++)
			LATHE_UNROLL_ALL
		for (int c = 0; c < columns; c++) {
			const float v = kv_value(kv, p, t, first + c);
			LATHE_UNROLL_ALL
			for (int q = 0; q < nq; q++)
				o[q][c] = s_fma(intel_sub_group_shuffle(e[q], (uint)t), v, o[q][c]);
		}
	}
	LATHE_ROLLED
	for (; i < most; i++)
		LATHE_UNROLL_ALL
	for (int c = 0; c < columns; c++) {
		const float v = kv_value(kv, kv_values(kv, h, block + i), 0, first + c);
		LATHE_UNROLL_ALL
		for (int q = 0; q < nq; q++)
			if (nq == 1 || i < seen_by(seen, q))
				o[q][c] = s_fma(weights[q * 64 + i], v, o[q][c]);
	}
	if (own && stored < count)
		LATHE_UNROLL_ALL
	for (int c = 0; c < columns; c++) {
		const int at = 16 * (first + c) + lane() + seen_nothing(seen);
		const int half_of = 1 << (kv.bits - 1);
		const float v = KV_CODES(kv)
					? (float)(((const local uchar *)own->v_codes)[at] - half_of)
					: own->value[at];
		o[0][c] = s_fma(weights[stored], v, o[0][c]);
	}
	LATHE_UNROLL_ALL
	for (int q = 0; q < nq; q++)
		LATHE_UNROLL_ALL
	for (int c = 0; c < columns; c++)
		if (kv.zero)
			o[q][c] = o[q][c] + intel_sub_group_shuffle(s->z, (uint)q);
}

/* What makes sums of values does up to COLUMNS sixteens of columns, then the others: calls with
 * literals, since of arrays whose bounds are found out late LLVM makes memory. */
#define COLUMNS_FIRST(kv) \
	(LATHE_PAD((kv).d, 16) / 16 > COLUMNS ? LATHE_PAD((kv).d, 64) / 32 : LATHE_PAD((kv).d, 16) / 16)
#define COLUMNS_REST(kv) (LATHE_PAD((kv).d, 16) / 16 - COLUMNS_FIRST(kv))

/* ---- attention ---- */

/* The factors of a row O and of a block's row o in their merge. */
typedef struct Merge {
	float a, b;
} Merge;

/* Merges m and l of a block into M and L; lanes eight apart have the same. */
LATHE_INLINE Merge
attention_merge(float *M, float *L, float m, float l)
{
	const bool low = lane() < 8;
	const float N = vf_max(*M, m), e = vf_exp((low ? *M : m) - N);
	const float other = intel_sub_group_shuffle_xor(e, 8u);
	const Merge r = {low ? e : other, low ? other : e};
	*L = s_fma(*L, r.a, l * r.b);
	*M = N;
	return r;
}

/* Of a block of one row: to[16 c] of columns 16 c + lane. */
LATHE_INLINE void
values_of_one(Kv kv, const KvHead *h, int block, Seen seen, const Softmax *s,
	      const NewPosition *own, int own_at, const local float *weights, int first,
	      int columns, local float *to)
{
	vf row[QUERIES][COLUMNS];
	attention_values(kv, 1, h, block, seen, s, own, own_at, weights, first, columns, row);
	LATHE_UNROLL_ALL
	for (int c = 0; c < columns; c++)
		to[16 * (first + c)] = row[0][c];
}

/*
 * One row. Work-group (query head) of n sub-groups: n blocks at a time side by side, merged in
 * increasing order. q, key and value are not stored yet: every head keeps the new position to
 * itself, and the first of a group stores it.
 * memory: n * (64 + 2 + D) floats, then 2 LATHE_PAD(d, 32) / 4 + QUERY_WORDS words.
 */
LATHE_OP
attention_one(KV, int group, int n, float scale, global uchar *arena, int capacity,
	      const global int *job, ulong to_at, int to_ld, global uchar *cache, int ctx,
	      const local float *q, local float *key, local float *value, local float *memory)
{
	const Kv kv = KV_OF;
	const Job j = job_of(job);
	const int head = (int)get_group_id(0), self = (int)get_sub_group_id();
	const int D = LATHE_PAD(d, 16), position = j.n_past + j.row0, seen = position + 1;
	const KvHead h = kv_head(kv, cache, head / group, ctx);
	global float *to = (global float *)part_at(arena, capacity, to_at);
	local float *weights = memory + self * 64, *m = memory + n * 64, *l = m + n, *o = l + n;
	local float *codes = o + n * D;
	Query asked;
	asked.x = q;
	if (KV_CODES(kv))
		query_codes(kv, 1, self, n, codes + 2 * LATHE_PAD(d, 32) / 4, &asked);
	const NewPosition own = kv_round(kv, key, value, codes);
	if (head % group == 0)
		kv_store(kv, &own, position, &h);
	float M = 0.0f, L = 0.0f, O = 0.0f; /* O: of column `item`, while item < D */
	for (int first = 0; first < seen; first += 64 * n) {
		const int block = first + 64 * self, count = min(seen - block, 64);
		if (count > 0) {
			const int own_at = min(position - block, 64);
			const Seen all = {count, count};
			const Softmax s = attention_weights(kv, 1, scale, &asked, &h, block, all,
							    &own, own_at, weights);
			local float *part = o + self * D + lane() + seen_nothing(all);
			values_of_one(kv, &h, block, all, &s, &own, own_at, weights, 0,
				      COLUMNS_FIRST(kv), part);
			if (COLUMNS_REST(kv))
				values_of_one(kv, &h, block, all, &s, &own, own_at, weights,
					      COLUMNS_FIRST(kv), COLUMNS_REST(kv), part);
			if (lane() == 0) {
				m[self] = s.m;
				l[self] = s.l;
			}
		}
		barrier(CLK_LOCAL_MEM_FENCE);
		LATHE_ROLLED
		for (int i = 0; i < n && first + 64 * i < seen; i++) {
			const float x = item() < D ? o[i * D + item()] : 0.0f;
			if (first + i == 0) {
				M = m[0];
				L = l[0];
				O = x;
				continue;
			}
			const Merge r = attention_merge(&M, &L, m[i], l[i]);
			O = s_fma(O, r.a, x * r.b);
		}
		barrier(CLK_LOCAL_MEM_FENCE);
	}
	if (item() < d)
		to[head * d + item()] = O * s_rcp(L);
	const int heads = (int)get_num_groups(0);
	if (head == 0)
		for (int i = heads * d + item(); i < to_ld; i += 16 * n)
			to[i] = 0.0f;
}

/* Merges a block of nq rows into O[nq][D], M and L. */
LATHE_INLINE void
values_of_many(Kv kv, int nq, const KvHead *h, int block, Seen seen, const Softmax *s,
	       const local float *weights, float *M, float *L, int first, int columns, local float *O)
{
	const int D = LATHE_PAD(kv.d, 16);
	vf o[QUERIES][COLUMNS];
	attention_values(kv, nq, h, block, seen, s, 0, 64, weights, first, columns, o);
	const Merge r = attention_merge(M, L, s->m, s->l);
	LATHE_UNROLL_ALL
	for (int q = 0; q < nq; q++) {
		local float *to_row = O + q * D + lane() + seen_nothing(seen);
		const float a = intel_sub_group_shuffle(r.a, (uint)q);
		const float b = intel_sub_group_shuffle(r.b, (uint)q);
		if (seen_by(seen, q) <= 0)
			continue;
		LATHE_UNROLL_ALL
		for (int c = 0; c < columns; c++) {
			local float *to = to_row + 16 * (first + c);
			*to = block ? s_fma(*to, a, o[q][c] * b) : o[q][c];
		}
	}
}

/*
 * Many rows. Work-group (`per` query heads of a KV head, `rows` rows): a sub-group does nq rows of
 * one head, a block of positions after the other.
 * memory: a sub-group's nq * (64 + 2 D) floats and, of codes, nq * QUERY_WORDS words.
 */
LATHE_OP
attention_many(KV, int group, int per, int nq, float scale, global uchar *arena, int capacity,
	       const global int *job, ulong q_at, int q_ld, int q_stream, ulong to_at, int to_ld,
	       global uchar *cache, int ctx, local float *memory)
{
	const Kv kv = KV_OF;
	const Job j = job_of(job);
	const int self = (int)get_sub_group_id(), D = LATHE_PAD(d, 16);
	const int head = (int)get_group_id(0) * per + self % per;
	const int row = (row_index() * (items() / 16 / per) + self / per) * nq;
	const KvHead h = kv_head(kv, cache, head / group, ctx);
	const global float *from = (const global float *)part_at(arena, capacity, q_at);
	global float *to = (global float *)part_at(arena, capacity, to_at);
	local float *mine =
		memory + self * nq * (64 + 2 * D + (KV_CODES(kv) ? QUERY_WORDS(kv) : 0));
	local float *weights = mine, *x = mine + nq * 64, *O = x + nq * D;
	float M = 0.0f, L = 0.0f;
	Query asked;
	if (row >= j.rows)
		return;
	asked.x = x;
	LATHE_UNROLL_ALL
	for (int q = 0; q < nq; q++) {
		const int at = min(row + q, j.rows - 1) + (q_stream ? j.row0 : 0);
		for (int i = lane(); i < D; i += 16)
			x[q * D + i] = i < d ? from[(ulong)at * q_ld + head * d + i] : 0.0f;
	}
	sub_group_barrier(CLK_LOCAL_MEM_FENCE);
	if (KV_CODES(kv))
		query_codes(kv, nq, 0, 1, O + nq * D, &asked);
	sub_group_barrier(CLK_LOCAL_MEM_FENCE);
	const int past = j.n_past + j.row0, end = past + min(row + nq, j.rows);
	LATHE_ROLLED
	for (int block = 0; block < end; block += 64) {
		const Seen seen = {past + row + 1 - block, end - block};
		const Softmax s =
			attention_weights(kv, nq, scale, &asked, &h, block, seen, 0, 64, weights);
		float N = M, S = L;
		values_of_many(kv, nq, &h, block, seen, &s, weights, &N, &S, 0, COLUMNS_FIRST(kv), O);
		if (COLUMNS_REST(kv)) {
			N = M, S = L;
			values_of_many(kv, nq, &h, block, seen, &s, weights, &N, &S,
				       COLUMNS_FIRST(kv), COLUMNS_REST(kv), O);
		}
		const bool in = min(seen.first + (lane() & 7), seen.end) > 0;
		M = block == 0 ? s.m : in ? N : M;
		L = block == 0 ? s.l : in ? S : L;
		sub_group_barrier(CLK_LOCAL_MEM_FENCE);
	}
	const int heads = (int)get_num_groups(0) * per;
	const float inverse = s_rcp(L);
	LATHE_UNROLL_ALL
	for (int q = 0; q < nq; q++) {
		const float r = intel_sub_group_shuffle(inverse, (uint)q);
		global float *out = to + (ulong)(row + q) * to_ld;
		if (row + q >= j.rows)
			continue;
		for (int i = lane(); i < d; i += 16)
			out[head * d + i] = O[q * D + i] * r;
		for (int i = heads * d + lane(); head == 0 && i < to_ld; i += 16)
			out[i] = 0.0f;
	}
}
