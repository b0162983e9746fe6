/*
 * The cache of keys and values, and attention over it. Behind a row of d floats there is room up to
 * a multiple of 16, which may hold anything.
 *
 * The cache of one kv head is, n_ctx rounded up to 64:
 *   K [n_ctx/16][unit][16]: sixteen positions side by side. A unit is one element (f16, f32), four
 *     codes (8 bits: a byte each) or eight (4 bits: element 8 u + t low, 8 u + t + 4 high in byte
 * t) V [n_ctx][D]: D = d rounded up to 16; of 4 bits to 32, byte 16 u + t of a row has element 32 u
 * + t low, 32 u + t + 16 high of codes, f32 [n_ctx] each: the scales of K, of V; then the zero
 * points of K, of V Codes of K and of 4 bits are stored unsigned, 2^(bits-1) more than they are.
 * What a row is padded with follows from the row; positions that no query sees may hold anything.
 */

/* How a layer's cache is kept; every field is a literal at the call. */
typedef struct Kv {
	int d;	   /* elements of a head */
	int bits;  /* 32, 16: floats; 8, 4: codes */
	int zero;  /* of codes: 0 symmetric, 1 integer zero points, 2 real ones */
	int query; /* of codes: bits of the query's */
} Kv;

/* The cache of one kv head from a position on, a multiple of 64. Floats have no scales. */
typedef struct KvHead {
	unsigned char *k, *v;
	float *k_scale, *v_scale, *k_zero, *v_zero;
} KvHead;

/* Bytes of a position. */
#define LATHE_K_BYTES(bits, d) (LATHE_PAD(d, 32 / (bits)) * (bits) / 8)
#define LATHE_V_BYTES(bits, d) (LATHE_PAD(d, (bits) == 4 ? 32 : 16) * (bits) / 8)
#define LATHE_KV_CODES(kv) ((kv).bits < 16)

/* The parts of a head that starts at p, with room for n positions. */
LATHE_INLINE KvHead
kv_head(Kv kv, unsigned char *p, size_t n)
{
	KvHead h = {p,	 p + n * LATHE_K_BYTES((size_t)kv.bits, (size_t)kv.d), NULL, NULL, NULL,
		    NULL};
	if (LATHE_KV_CODES(kv)) {
		unsigned char *end = h.v + n * LATHE_V_BYTES((size_t)kv.bits, (size_t)kv.d);
		h.k_scale = (float *)(void *)end;
		h.v_scale = h.k_scale + n;
	}
	if (LATHE_KV_CODES(kv) && kv.zero) {
		h.k_zero = h.v_scale + n;
		h.v_zero = h.k_zero + n;
	}
	return h;
}

LATHE_INLINE KvHead
kv_from(Kv kv, KvHead h, int position)
{
	const size_t n = (size_t)position;
	h.k += n * LATHE_K_BYTES((size_t)kv.bits, (size_t)kv.d);
	h.v += n * LATHE_V_BYTES((size_t)kv.bits, (size_t)kv.d);
	if (LATHE_KV_CODES(kv)) {
		h.k_scale += n;
		h.v_scale += n;
	}
	if (LATHE_KV_CODES(kv) && kv.zero) {
		h.k_zero += n;
		h.v_zero += n;
	}
	return h;
}

/* How rows of codes are made. */
#define LATHE_KV_ROW(kv) ((RowFormat){(kv).bits, 0, (enum RowZero)(kv).zero, 0.0f})
#define LATHE_QUERY_ROW(kv) ((RowFormat){(kv).query, 0, ROW_SYMMETRIC, 0.0f})

/* ---- writing --------------------------------------------------------------------------------- */

LATHE_INLINE void
kv_write_floats(Kv kv, int pos, const float *k, const float *v, KvHead h)
{
	const int d = kv.d;
	const size_t k_at = (size_t)(pos / 16) * 16 * (size_t)d + (size_t)(pos % 16);
	const size_t v_at = (size_t)pos * LATHE_PAD((size_t)d, 16);
	for (int i = 0; i < d; i += 16) {
		const int n = d - i < 16 ? d - i : 16;
		const vf a = row_part(d, k, i, vf_zero()), b = row_part(d, v, i, vf_zero());
		if (kv.bits == 16) {
			uint16_t e[16], *to = (uint16_t *)(void *)h.k + k_at;
			vf_store_f16(e, a);
			for (int j = 0; j < n; j++)
				to[(i + j) * 16] = e[j];
			vf_store_f16((uint16_t *)(void *)h.v + v_at + i, b);
		} else {
			float *to = (float *)(void *)h.k + k_at;
			for (int j = 0; j < n; j++)
				to[(i + j) * 16] = k[i + j];
			vf_store((float *)(void *)h.v + v_at + i, b);
		}
	}
}

/* Codes of elements [i, i + 16) as bytes, 2^(bits-1) more than they are. */
LATHE_INLINE void
unsigned_codes(Kv kv, RowScale s, const float *x, int i, uint8_t *to)
{
	const vi c = row_codes(LATHE_KV_ROW(kv), s, kv.d, x, i);
	vi_store_bytes((int8_t *)to, vi_add(c, vi_set1(1 << (kv.bits - 1))));
}

LATHE_CALL void
kv_write_codes(Kv kv, int pos, const float *k, const float *v, KvHead h)
{
	const int d = kv.d, half = 1 << (kv.bits - 1), per = 32 / kv.bits;
	const RowScale k_row = code_scale(LATHE_KV_ROW(kv), d, k);
	const RowScale v_row = code_scale(LATHE_KV_ROW(kv), d, v);
	unsigned char *k_to =
		h.k + (size_t)(pos / 16) * 16 * LATHE_K_BYTES(kv.bits, (size_t)d) + pos % 16 * 4;
	unsigned char *v_to = h.v + (size_t)pos * LATHE_V_BYTES(kv.bits, (size_t)d);
	for (int i = 0; i < d; i += 32) {
		uint8_t a[32] = {0}, b[32];
		unsigned_codes(kv, k_row, k, i, a);
		unsigned_codes(kv, v_row, v, i, b);
		memset(b + 16, half, 16);
		if (i + 16 < d) {
			unsigned_codes(kv, k_row, k, i + 16, a + 16);
			unsigned_codes(kv, v_row, v, i + 16, b + 16);
		}
		for (int u = i; u < d && u < i + 32; u += per) {
			uint8_t *from = a + (u - i);
			for (int t = 0; kv.bits == 4 && t < 4; t++)
				from[t] = (uint8_t)(from[t] | from[t + 4] << 4);
			memcpy(k_to + u / per * 64, from, 4);
		}
		for (int t = 0; t < 32; t++)
			b[t] = kv.bits == 4 ? b[t] : (uint8_t)(b[t] ^ 0x80);
		for (int t = 0; kv.bits == 4 && t < 16; t++)
			b[t] = (uint8_t)(b[t] | b[t + 16] << 4);
		memcpy(v_to + i * kv.bits / 8, b, kv.bits == 4 || i + 16 >= d ? 16 : 32);
	}
	h.k_scale[pos] = k_row.scale;
	h.v_scale[pos] = v_row.scale;
	if (kv.zero) {
		h.k_zero[pos] = k_row.zero - (float)half;
		h.v_zero[pos] = v_row.zero - (float)half;
	}
}

/* Stores a position's key (after rope) and value, rounded to the cache's format. */
LATHE_INLINE void
kv_write(Kv kv, int pos, const float *k, const float *v, KvHead h)
{
	if (LATHE_KV_CODES(kv))
		kv_write_codes(kv, pos, k, v, h);
	else
		kv_write_floats(kv, pos, k, v, h);
}

/* ---- attention ------------------------------------------------------------------------------- */

/* Queries that share one load of K and V. */
#if LATHE_VF_REGISTERS >= 32
#define LATHE_ATTENTION_QUERIES 8
#elif LATHE_VF_REGISTERS >= 8
#define LATHE_ATTENTION_QUERIES 4
#else
#define LATHE_ATTENTION_QUERIES 2
#endif

/* Floats of scratch that attention over `queries` = tokens * heads takes at most, in any ISA. */
#define LATHE_ATTENTION_SCRATCH(d, queries) \
	(512 + 64 * (d) + 64 * LATHE_PAD(d, 16) + (queries) * (2 * LATHE_PAD(d, 16) + 4))

/* Sixteen floats of a cache from element `at`. */
LATHE_INLINE vf
kv_load(int bits, const void *p, size_t at)
{
	return bits == 16 ? vf_load_f16((const uint16_t *)p + at) : vf_load((const float *)p + at);
}

/* Columns [c, c + 16) of a position's values; of codes, the codes. */
LATHE_INLINE vf
kv_values(int bits, int d, const void *v, int position, int c)
{
	const unsigned char *row = (const unsigned char *)v + position * LATHE_V_BYTES(bits, d);
	if (bits == 8)
		return vf_load_bytes((const int8_t *)row + c);
	if (bits == 4)
		return vf_load_halves(row + c / 32 * 16, c / 16 % 2);
	return kv_load(bits, row, (size_t)c);
}

/*
 * A tile of queries on one block of 64 positions. count: positions that a query sees here, rising,
 * may be <= 0. qt [d][nq]: the queries, or their codes (dot_ISA.h), whose scales and sums are
 * q_scale, q_sum [nq]; score [nq][64]; m, l [nq], o [nq][D]: largest score, sum and row over the
 * blocks so far; old, new: the factors that merge them with this block's; z: what the zero points
 * of values add to its row.
 */
typedef struct Attention {
	int count[LATHE_ATTENTION_QUERIES];
	float old[16], new[16], z[LATHE_ATTENTION_QUERIES];
	float *qt, *q_scale;
	int32_t *q_sum;
	float *score, *m, *l, *o;
} Attention;

/*
 * score[q][16] of nq queries at sixteen positions, a position a lane: the sixteen strided partial
 * sums of a dot product are then vectors, and the tree is made of vertical adds. qt: [d][nq].
 */
LATHE_INLINE void
attention_scores_floats(int bits, int d, int nq, const float *qt, const void *k, float scale,
			float *score)
{
	vf half[8][LATHE_ATTENTION_QUERIES];
	for (int j = 0; j < 8; j++) {
		vf p[LATHE_ATTENTION_QUERIES];
		for (int side = 0; side < 2; side++) {
			const int first = j + side * 8;
			vf acc[LATHE_ATTENTION_QUERIES];
			LATHE_UNROLL_ALL
			for (int q = 0; q < nq; q++)
				acc[q] = vf_zero();
			LATHE_UNROLL_ALL
			for (int i = 0; i < LATHE_PAD(d, 16); i += 16) {
				if (d % 16 && i + first >= d)
					break;
				vf a = kv_load(bits, k, (size_t)(i + first) * 16);
				LATHE_UNROLL_ALL
				for (int q = 0; q < nq; q++)
					acc[q] = vf_fma(vf_set1(qt[(i + first) * nq + q]), a,
							acc[q]);
			}
			LATHE_UNROLL_ALL
			for (int q = 0; q < nq; q++)
				p[q] = side ? vf_add(p[q], acc[q]) : acc[q];
		}
		LATHE_UNROLL_ALL
		for (int q = 0; q < nq; q++)
			half[j][q] = p[q];
	}
	LATHE_UNROLL_ALL
	for (int q = 0; q < nq; q++) {
		vf a = vf_add(vf_add(half[0][q], half[4][q]), vf_add(half[2][q], half[6][q]));
		vf b = vf_add(vf_add(half[1][q], half[5][q]), vf_add(half[3][q], half[7][q]));
		vf_store(score + q * 64, vf_mul(vf_add(a, b), vf_set1(scale)));
	}
}

/* The same of codes: sums of products are exact, so their order is free. */
LATHE_INLINE void
attention_scores_codes(Kv kv, int nq, int i, const KvHead *h, float scale, const Attention *t)
{
	vi sum[8];
	dot_codes(kv.bits, kv.query > 8 ? 2 : 1, kv.d, nq, t->qt,
		  h->k + i / 16 * 16 * LATHE_K_BYTES(kv.bits, kv.d), sum);
	LATHE_UNROLL_ALL
	for (int q = 0; q < nq; q++) {
		const vi less = vi_set1(t->q_sum[q] * (1 << (kv.bits - 1)));
		vf x = vf_from_int(vi_sub(sum[q], less));
		if (kv.zero)
			x = vf_fma(vf_neg(vf_load(h->k_zero + i)), vf_set1((float)t->q_sum[q]), x);
		x = vf_mul(vf_mul(x, vf_load(h->k_scale + i)), vf_set1(t->q_scale[q]));
		vf_store(t->score + q * 64 + i, vf_mul(x, vf_set1(scale)));
	}
}

/*
 * score[16 groups] becomes e = exp(score - m) for the first `count` positions, and 0; returns m and
 * the sum of e. masked 0: all positions count.
 */
LATHE_INLINE float
attention_softmax_of(int groups, int masked, int count, float *score, float *sum)
{
	const vf lowest = vf_from_bits(vi_set1((int32_t)0xff800000u));
	vf s[4], best = lowest, p = vf_zero();
	LATHE_UNROLL_ALL
	for (int i = 0; i < groups; i++) {
		s[i] = vf_load(score + i * 16);
		vf x = masked ? vf_select(vm_first(count - i * 16), s[i], lowest) : s[i];
		best = vf_max(best, x);
	}
	const float m = vf_maxtree(best);
	LATHE_UNROLL_ALL
	for (int i = 0; i < groups; i++) {
		vf e = vf_exp(vf_sub(s[i], vf_set1(m)));
		if (masked)
			e = vf_select(vm_first(count - i * 16), e, vf_zero());
		p = vf_add(p, e);
		vf_store(score + i * 16, e);
	}
	*sum = vf_tree(p);
	return m;
}

LATHE_WORD float
attention_softmax(int count, float *score, float *sum)
{
	if (count == 64)
		return attention_softmax_of(4, 0, 64, score, sum);
	if (count > 32)
		return attention_softmax_of(4, 1, count, score, sum);
	return attention_softmax_of(2, 1, count, score, sum);
}

/* Columns [c, c + 16 width) of the block's sums e v, in order of positions, merged into t->o. */
LATHE_INLINE void
attention_columns(Kv kv, int v_bits, int nq, int width, int c, int first, const void *v,
		  Attention *t)
{
	const int d = kv.d, D = LATHE_PAD(d, 16);
	const int common = t->count[0] > 0 ? t->count[0] : 0, last = t->count[nq - 1];
	vf o[LATHE_ATTENTION_QUERIES][8];
	LATHE_UNROLL_ALL
	for (int q = 0; q < nq; q++)
		LATHE_UNROLL_ALL
	for (int j = 0; j < width; j++)
		o[q][j] = vf_zero();
	for (int i = 0; i < common; i++)
		LATHE_UNROLL_ALL
	for (int j = 0; j < width; j++) {
		vf a = kv_values(v_bits, d, v, i, c + j * 16);
		LATHE_UNROLL_ALL
		for (int q = 0; q < nq; q++)
			o[q][j] = vf_fma(vf_set1(t->score[q * 64 + i]), a, o[q][j]);
	}
	for (int i = common; i < last; i++)
		LATHE_UNROLL_ALL
	for (int q = 0; q < nq; q++) {
		if (i >= t->count[q])
			continue;
		LATHE_UNROLL_ALL
		for (int j = 0; j < width; j++) {
			vf a = kv_values(v_bits, d, v, i, c + j * 16);
			o[q][j] = vf_fma(vf_set1(t->score[q * 64 + i]), a, o[q][j]);
		}
	}
	LATHE_UNROLL_ALL
	for (int q = 0; q < nq; q++) {
		if (t->count[q] <= 0)
			continue;
		LATHE_UNROLL_ALL
		for (int j = 0; j < width; j++) {
			float *to = t->o + q * D + c + j * 16;
			vf x = o[q][j];
			if (kv.zero)
				x = vf_add(x, vf_set1(t->z[q]));
			if (!first)
				x = vf_fma(vf_load(to), vf_set1(t->old[q]),
					   vf_mul(x, vf_set1(t->new[q])));
			vf_store(to, x);
		}
	}
}

/* Of codes: e becomes e times the value's scale, t->z the sum of what zero points take off. */
LATHE_INLINE void
attention_weights(Kv kv, int nq, const KvHead *h, Attention *t)
{
	for (int q = 0; q < nq; q++) {
		vf p = vf_zero();
		for (int i = 0; i < t->count[q]; i += 16) {
			float *e = t->score + q * 64 + i;
			const vf w = vf_mul(vf_load(e), vf_load(h->v_scale + i));
			vf_store(e, w);
			if (kv.zero) {
				const vf z = vf_neg(vf_load(h->v_zero + i));
				p = vf_select(vm_first(t->count[q] - i), vf_fma(w, z, p), p);
			}
		}
		t->z[q] = vf_tree(p);
	}
}

/* One block, the first of h; v_bits differ from kv's where its values were converted. first: the
 * state of the tile is empty. The queries do not see its first `skip` positions: there e is 0. */
LATHE_INLINE void
attention_block(Kv kv, int v_bits, int nq, int first, int skip, float scale, const KvHead *h,
		Attention *t)
{
	const int d = kv.d, D = LATHE_PAD(d, 16);
	/* as many sums in registers as hide the latency of an fma */
	const int width = LATHE_VF_REGISTERS >= 32 ? (nq > 4   ? 2
						      : nq > 2 ? 4
							       : 8)
						   : (nq > 2   ? 1
						      : nq > 1 ? 2
							       : 4);
	for (int i = 0; i < t->count[nq - 1]; i += 16) {
		if (LATHE_KV_CODES(kv))
			attention_scores_codes(kv, nq, i, h, scale, t);
		else
			attention_scores_floats(kv.bits, d, nq, t->qt, h->k + i * d * (kv.bits / 8),
						scale, t->score + i);
	}
	float l[LATHE_ATTENTION_QUERIES] = {0.0f};
	memset(t->old, 0, sizeof t->old);
	memset(t->new, 0, sizeof t->new);
	for (int q = 0; q < nq; q++) {
		if (t->count[q] <= 0)
			continue;
		for (int i = 0; i < skip; i++)
			t->score[q * 64 + i] = s_from_bits(0xff800000u); /* -inf */
		const float m = attention_softmax(t->count[q], t->score + q * 64, &l[q]);
		const float n = !first && t->m[q] > m ? t->m[q] : m;
		t->old[q] = first ? 0.0f : t->m[q] - n;
		t->new[q] = m - n;
		t->m[q] = n;
	}
	if (LATHE_KV_CODES(kv))
		attention_weights(kv, nq, h, t);
	vf_store(t->old, vf_exp(vf_load(t->old)));
	vf_store(t->new, vf_exp(vf_load(t->new)));
	for (int q = 0; q < nq; q++)
		if (t->count[q] > 0)
			t->l[q] = first ? l[q] : s_fma(t->l[q], t->old[q], l[q] * t->new[q]);
	int c = 0;
	for (; width >= 8 && c + 128 <= D; c += 128)
		attention_columns(kv, v_bits, nq, 8, c, first, h->v, t);
	for (; width >= 4 && c + 64 <= D; c += 64)
		attention_columns(kv, v_bits, nq, 4, c, first, h->v, t);
	for (; width >= 2 && c + 32 <= D; c += 32)
		attention_columns(kv, v_bits, nq, 2, c, first, h->v, t);
	for (; c < D; c += 16)
		attention_columns(kv, v_bits, nq, 1, c, first, h->v, t);
}

/* Queries [from, from + nq) of a call, of which query i belongs to token i / group. */
LATHE_INLINE Attention
attention_tile(int d, int nq, int group, int from, int seen, float *scratch, int queries)
{
	const int D = LATHE_PAD(d, 16);
	float *numbers = scratch + 512 + queries * 2 * D + from;
	Attention t;
	for (int q = 0; q < nq; q++) {
		const int n = seen + (from + q) / group;
		t.count[q] = n < 64 ? n : 64;
	}
	t.score = scratch;
	t.o = scratch + 512 + from * D;
	t.qt = scratch + 512 + (queries + from) * D;
	t.m = numbers;
	t.l = numbers + queries;
	t.q_scale = numbers + 2 * queries;
	t.q_sum = (int32_t *)(void *)(numbers + 3 * queries);
	return t;
}

/* Query j of a tile as codes. */
LATHE_CALL void
attention_load_codes(Kv kv, int nq, int j, const float *x, Attention *t)
{
	const int D = LATHE_PAD(kv.d, 16), planes = kv.query > 8 ? 2 : 1;
	const RowScale s = code_scale(LATHE_QUERY_ROW(kv), kv.d, x);
	vi sum = vi_zero();
	for (int i = 0; i < kv.d; i += 16) {
		const vi c = row_codes(LATHE_QUERY_ROW(kv), s, kv.d, x, i);
		dot_query(planes, D, nq, j, i, c, t->qt);
		sum = vi_add(sum, c);
	}
	t->q_scale[j] = s.scale;
	t->q_sum[j] = vi_sum(sum);
}

/* Fills the tile's part of the transposed queries. */
LATHE_INLINE void
attention_load(Kv kv, int nq, int group, int from, const float *q, size_t q_stride, float *scratch,
	       int queries)
{
	Attention t = attention_tile(kv.d, nq, group, from, 0, scratch, queries);
	for (int j = 0; j < nq; j++) {
		const int i = from + j;
		const float *p = q + (size_t)(i / group) * q_stride + i % group * kv.d;
		if (LATHE_KV_CODES(kv))
			attention_load_codes(kv, nq, j, p, &t);
		else
			for (int k = 0; k < kv.d; k++)
				t.qt[k * nq + j] = p[k];
	}
}

/* Divides the rows by their sums and stores them. */
LATHE_INLINE void
attention_finish(int d, int group, int queries, const float *scratch, float *out, size_t out_stride)
{
	const int D = LATHE_PAD(d, 16);
	const float *o = scratch + 512, *l = o + queries * (2 * D + 1);
	for (int i = 0; i < queries; i++) {
		float *to = out + (size_t)(i / group) * out_stride + i % group * d;
		const vf r = vf_set1(s_rcp(l[i]));
		for (int c = 0; c < d; c += 16) {
			const vf x = vf_mul(vf_load(o + i * D + c), r);
			if (d - c < 16)
				vf_store_part(to + c, x, d - c);
			else
				vf_store(to + c, x);
		}
	}
}

/* The sizes of tile that a call of attention_heads is cut into. */
LATHE_INLINE int
attention_tile_size(int left)
{
	return left >= LATHE_ATTENTION_QUERIES		  ? LATHE_ATTENTION_QUERIES
	       : LATHE_ATTENTION_QUERIES > 4 && left >= 4 ? 4
							  : 1;
}

/*
 * One token: `group` heads that share a kv head (rows of d, one after the other) over positions
 * [begin, seen), its own the last. scratch: LATHE_ATTENTION_SCRATCH(d, group) floats.
 */
LATHE_INLINE void
attention_window(Kv kv, int group, int begin, int seen, const float *q, float scale, KvHead cache,
		 float *out, float *scratch)
{
	enum { Q = LATHE_ATTENTION_QUERIES };
	const int start = begin / 64 * 64;
	const int d = kv.d, rest = group % Q, full = group - rest;
	for (int from = 0; from < full; from += Q)
		attention_load(kv, Q, group, from, q, 0, scratch, group);
	if (rest)
		attention_load(kv, rest, group, full, q, 0, scratch, group);
	for (int block = start; block < seen; block += 64) {
		const KvHead h = kv_from(kv, cache, block);
		const int skip = block == start ? begin - start : 0;
		for (int from = 0; from < full; from += Q) {
			Attention t =
				attention_tile(d, Q, group, from, seen - block, scratch, group);
			attention_block(kv, kv.bits, Q, block == start, skip, scale, &h, &t);
		}
		if (rest) {
			Attention t =
				attention_tile(d, rest, group, full, seen - block, scratch, group);
			attention_block(kv, kv.bits, rest, block == start, skip, scale, &h, &t);
		}
	}
	attention_finish(d, group, group, scratch, out, 0);
}

/* attention_window over the first `seen` positions. */
LATHE_INLINE void
attention_token(Kv kv, int group, int seen, const float *q, float scale, KvHead cache, float *out,
		float *scratch)
{
	attention_window(kv, group, 0, seen, q, scale, cache, out, scratch);
}

/* attention_token for one head. */
LATHE_INLINE void
attention_head(Kv kv, int seen, const float *q, float scale, KvHead cache, float *out,
	       float *scratch)
{
	attention_token(kv, 1, seen, q, scale, cache, out, scratch);
}

/* The first n positions of a block as floats: f16 keys and values, the codes of values. */
LATHE_INLINE KvHead
attention_convert(Kv kv, KvHead h, int n, float *k, float *v)
{
	const int d = kv.d, D = LATHE_PAD(d, 16);
	if (kv.bits == 32)
		return h;
	for (int i = 0; i < LATHE_PAD(n, 16) * d && kv.bits == 16; i += 16)
		vf_store(k + i, kv_load(16, h.k, (size_t)i));
	for (int i = 0; i < n; i++)
		for (int c = 0; c < D; c += 16)
			vf_store(v + i * D + c, kv_values(kv.bits, d, h.v, i, c));
	if (kv.bits == 16)
		h.k = (unsigned char *)k;
	h.v = (unsigned char *)v;
	return h;
}

/*
 * n tokens (need not be literal): token i, at position past + i, sees the positions up to its own;
 * its `group` heads are at q + i*q_stride, results go to out + i*out_stride. The same bits as
 * attention_token. scratch: LATHE_ATTENTION_SCRATCH(d, n * group) floats. The cache is converted
 * once a call and block: worth it from some 16 queries on.
 */
LATHE_INLINE void
attention_heads(Kv kv, int group, int n, int past, const float *q, size_t q_stride, float scale,
		KvHead cache, float *out, size_t out_stride, float *scratch)
{
	enum { Q = LATHE_ATTENTION_QUERIES };
	const int d = kv.d, queries = n * group, D = LATHE_PAD(d, 16), end = past + n;
	const Kv converted = {d, LATHE_KV_CODES(kv) ? kv.bits : 32, kv.zero, kv.query};
	float *k = scratch, *v = scratch + 64 * d;
	if (kv.bits < 32)
		scratch += 64 * (d + D);
	for (int from = 0, nq; from < queries; from += nq) {
		nq = attention_tile_size(queries - from);
		attention_load(kv, nq, group, from, q, q_stride, scratch, queries);
	}
	for (int block = 0; block < end; block += 64) {
		const int seen = past + 1 - block, all = end - block < 64 ? end - block : 64;
		const KvHead h = attention_convert(kv, kv_from(kv, cache, block), all, k, v);
		for (int from = 0, nq; from < queries; from += nq) {
			nq = attention_tile_size(queries - from);
			if (seen + (from + nq - 1) / group <= 0)
				continue;
			Attention t = attention_tile(d, nq, group, from, seen, scratch, queries);
			if (nq == Q)
				attention_block(converted, 32, Q, block == 0, 0, scale, &h, &t);
			else if (Q > 4 && nq == 4)
				attention_block(converted, 32, 4, block == 0, 0, scale, &h, &t);
			else
				attention_block(converted, 32, 1, block == 0, 0, scale, &h, &t);
		}
	}
	attention_finish(d, group, queries, scratch, out, out_stride);
}
