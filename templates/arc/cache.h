/*
 * A layer's cache: a KV head after another, as templates/attention.h lays it out: all keys, all
 * values, of codes the scales of both and, with zero points, those of both.
 */

/* How a layer's cache is kept: as templates/attention.h; every field is a literal. */
typedef struct Kv {
	int d, bits, zero, query;
} Kv;

#define KV int d, int bits, int zero, int query
#define KV_OF                        \
	{                            \
		d, bits, zero, query \
	}
#define KV_CODES(kv) ((kv).bits < 16)
/* Bytes of a position; how many elements a dword of codes has. */
#define KV_PER(kv) (32 / (kv).bits)
#define K_BYTES(kv) (LATHE_PAD((kv).d, KV_CODES(kv) ? KV_PER(kv) : 1) * (kv).bits / 8)
#define V_BYTES(kv) (LATHE_PAD((kv).d, (kv).bits == 4 ? 32 : 16) * (kv).bits / 8)
#define KV_NUMBERS(kv) (!KV_CODES(kv) ? 0 : (kv).zero ? 4 : 2)

/* The parts of a KV head. */
typedef struct KvHead {
	global uchar *k, *v;
	global float *k_scale, *v_scale, *k_zero, *v_zero;
} KvHead;

LATHE_INLINE KvHead
kv_head(Kv kv, global uchar *cache, int h, int ctx)
{
	const ulong n = (ulong)ctx;
	KvHead r;
	r.k = cache + (ulong)h * n * (ulong)(K_BYTES(kv) + V_BYTES(kv) + 4 * KV_NUMBERS(kv));
	r.v = r.k + n * (ulong)K_BYTES(kv);
	r.k_scale = (global float *)(r.v + n * (ulong)V_BYTES(kv));
	r.v_scale = r.k_scale + n;
	r.k_zero = r.v_scale + n;
	r.v_zero = r.k_zero + n;
	return r;
}

/* The unit u of the keys of sixteen positions from `first` on, a multiple of 16: an element, or a
 * dword of codes. */
LATHE_INLINE const global uchar *
kv_unit(Kv kv, const KvHead *h, int first, int u)
{
	const int bytes = KV_CODES(kv) ? 4 : kv.bits / 8;
	return h->k + ((uint)first * (uint)K_BYTES(kv) + (uint)(16 * bytes * u));
}

/* The lane's number of sixteen floats of a cache, `unit` times sixteen behind p, where the lane's
 * first is. */
LATHE_INLINE float
kv_float(Kv kv, const global uchar *p, int unit)
{
	return kv.bits == 16 ? s_from_f16(((const global ushort *)p)[16 * unit])
			     : ((const global float *)p)[16 * unit];
}

/* Where a lane's part of position's values starts: everything else is a literal away. */
LATHE_INLINE const global uchar *
kv_values(Kv kv, const KvHead *h, int position)
{
	return h->v + ((uint)position * (uint)V_BYTES(kv) +
		       (uint)lane() * (KV_CODES(kv) ? 1u : (uint)kv.bits / 8u));
}

/* The value, or its code, of column 16 c + lane of the position t behind that of p. */
LATHE_INLINE float
kv_value(Kv kv, const global uchar *p, int t, int c)
{
	p += t * V_BYTES(kv);
	if (kv.bits == 8)
		return (float)((const global char *)p)[16 * c];
	if (kv.bits == 4)
		return (float)((p[c / 2 * 16] >> c % 2 * 4 & 15) - 8);
	return kv_float(kv, p, c);
}

/* ---- a new position ---- */

/* A row as codes, a byte each, and what goes with them. */
typedef struct Codes {
	float scale, zero;
	int sum; /* of the codes of this row */
} Codes;

/*
 * Codes of the row x by all sub-groups, sixteen by sixteen: byte i of hi has `more` added; of 16
 * bits lo has the low bytes. Behind n, zeros follow up to a multiple of 32; x has them up to one of
 * 16. Every sub-group returns the same. No barrier.
 */
LATHE_INLINE Codes
codes_store(const RowFormat f, int n, int more, int self, int sub_groups, const local float *x,
	    local uchar *hi, local uchar *lo)
{
	/* bounds that drivers do not know, so that they do not unroll */
	const RowScale r = code_scale(f, intel_sub_group_shuffle(n, 0), x);
	const int end = intel_sub_group_shuffle(LATHE_PAD(n, 32), 0);
	int sum = 0;
	LATHE_ROLLED
	for (int k = 0; k < end; k += 16) {
		const int c = k < n ? row_codes(f, r, n, x, k) : 0;
		sum += c;
		if (k / 16 % sub_groups != self)
			continue;
		hi[k + lane()] = (uchar)((f.bits == 16 ? (c + 128) >> 8 : c) + more);
		if (f.bits == 16)
			lo[k + lane()] = (uchar)c;
	}
	Codes s = {r.scale, code_zero(f, r), vi_sum(sum)};
	return s;
}

/* The key and value of a position on their way to the cache. */
typedef struct NewPosition {
	Codes k, v;
	local float *key, *value;
	local uint *k_codes, *v_codes; /* four unsigned codes each */
} NewPosition;

/* Rounds both rows as the cache has them: floats in place, codes to memory of
 * 2 LATHE_PAD(d, 32) / 4 words. For the whole work-group; leaves with a barrier. */
LATHE_INLINE NewPosition
kv_round(Kv kv, local float *key, local float *value, local float *memory)
{
	NewPosition p;
	const int self = (int)get_sub_group_id(), n = items() / 16, more = 1 << (kv.bits - 1);
	p.key = key;
	p.value = value;
	p.k_codes = (local uint *)memory;
	p.v_codes = p.k_codes + LATHE_PAD(kv.d, 32) / 4;
	if (KV_CODES(kv)) {
		const RowFormat f = {kv.bits, 0, kv.zero, 0.0f};
		p.k = codes_store(f, kv.d, more, self, n, key, (local uchar *)p.k_codes, 0);
		p.v = codes_store(f, kv.d, more, self, n, value, (local uchar *)p.v_codes, 0);
	} else if (kv.bits == 16) {
		for (int i = item(); i < kv.d; i += items()) {
			key[i] = s_from_f16(s_to_f16(key[i]));
			value[i] = s_from_f16(s_to_f16(value[i]));
		}
	}
	barrier(CLK_LOCAL_MEM_FENCE);
	return p;
}

/* A dword of the keys' codes, of the values'. */
LATHE_INLINE uint
kv_key_word(Kv kv, const local uint *codes, int u)
{
	return kv.bits == 8 ? codes[u] : codes[2 * u] | codes[2 * u + 1] << 4;
}

LATHE_INLINE uint
kv_value_word(Kv kv, const local uint *codes, int w)
{
	const int u = w / 4 * 8 + w % 4;
	return kv.bits == 8 ? codes[w] ^ 0x80808080u : codes[u] | codes[u + 4] << 4;
}

/* Of a float of the cache. */
LATHE_INLINE void
kv_put(Kv kv, global uchar *p, int at, float x)
{
	if (kv.bits == 16)
		((global ushort *)p)[at] = s_to_f16(x);
	else
		((global float *)p)[at] = x;
}

/* Stores a rounded position; the whole work-group. */
LATHE_INLINE void
kv_store(Kv kv, const NewPosition *p, int position, const KvHead *h)
{
	const int first = position / 16 * 16, at = position % 16;
	global uchar *row = h->v + (ulong)position * (ulong)V_BYTES(kv);
	for (int i = item(); !KV_CODES(kv) && i < LATHE_PAD(kv.d, 16); i += items()) {
		if (i < kv.d)
			kv_put(kv, (global uchar *)kv_unit(kv, h, first, i), at, p->key[i]);
		kv_put(kv, row, i, i < kv.d ? p->value[i] : 0.0f);
	}
	if (!KV_CODES(kv))
		return;
	for (int u = item(); u < K_BYTES(kv) / 4; u += items())
		((global uint *)kv_unit(kv, h, first, u))[at] = kv_key_word(kv, p->k_codes, u);
	for (int w = item(); w < V_BYTES(kv) / 4; w += items())
		((global uint *)row)[w] = kv_value_word(kv, p->v_codes, w);
	if (item() == 0) {
		h->k_scale[position] = p->k.scale;
		h->v_scale[position] = p->v.scale;
		if (kv.zero) {
			h->k_zero[position] = p->k.zero;
			h->v_zero[position] = p->v.zero;
		}
	}
}
