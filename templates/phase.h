/*
 * Between kernels and memory.
 *
 * A buffer is a place in an arena of activations, known by its byte offset per token: with room for
 * n tokens the buffer at offset B starts at byte n * B. Buffers that are never needed at the same
 * time share memory, so a row holds nothing but what its writer has written since.
 *
 * Two arenas have this layout: the one that all workers share, for a batch of tokens, and a small
 * one of each worker, for one token. Where the batch is one token, a kernel that only linears read
 * (the norm and quantization in front of q, k, v, say) is cheaper than a barrier: the phase of its
 * own is skipped, and in the next phase each worker computes it for itself into its own arena.
 */

/* ---- rows and shares ---------------------------------------------------------------------- */

/* An arena of activations with room for `capacity` tokens. */
typedef struct Rows {
	unsigned char *base;
	int capacity;
} Rows;

typedef struct Range {
	int first, end;
} Range;

/* The arrays of a value in tile order (codes: hi to scale; floats: x, xsum), null where the value
 * has none. */
typedef struct Parts {
	int8_t *hi, *lo;
	int32_t *sum_hi, *sum_lo;
	float *scale, *shift, *x, *xsum;
} Parts;

/* Where a row lies in its tile: the tile's first row, the row's column, the tile's columns. */
typedef struct Place {
	int first, column, width;
} Place;

/* Share of worker tid in [0, n): equal runs, in order of the workers. */
LATHE_INLINE Range
range_of(int n, int tid, int n_threads)
{
	Range r;
	r.first = (int)((int64_t)n * tid / n_threads);
	r.end = (int)((int64_t)n * (tid + 1) / n_threads);
	return r;
}

/* The part of r in [first, end), counted from first. */
LATHE_INLINE Range
range_cut(Range r, int first, int end)
{
	r.first = (r.first < first ? first : r.first > end ? end : r.first) - first;
	r.end = (r.end < first ? first : r.end > end ? end : r.end) - first;
	return r;
}

LATHE_INLINE Range
range_one(void)
{
	const Range r = {0, 1};
	return r;
}

LATHE_INLINE Place
place_of(int row, int rows, int tile)
{
	Place p;
	p.first = row / tile * tile;
	p.column = row - p.first;
	p.width = rows - p.first < tile ? rows - p.first : tile;
	return p;
}

/* Where a row's codes go in the arrays of its value; columns, sums and scales: elements of a row in
 * each. */
LATHE_INLINE RowCodes
codes_at(Parts a, Place p, int columns, int sums, int scales)
{
	const ptrdiff_t code = (ptrdiff_t)p.first * columns + 4 * p.column;
	const ptrdiff_t sum = (ptrdiff_t)p.first * sums + p.column;
	const ptrdiff_t scale = (ptrdiff_t)p.first * scales + p.column;
	RowCodes r;
	r.hi = a.hi + code;
	r.lo = a.lo ? a.lo + code : a.lo;
	r.sum_hi = a.sum_hi + sum;
	r.sum_lo = a.sum_lo ? a.sum_lo + sum : a.sum_lo;
	r.scale = a.scale + scale;
	r.shift = a.shift ? a.shift + scale : a.shift;
	return r;
}

/* The array at a byte offset per token. */
LATHE_INLINE void *
part_at(Rows r, size_t offset)
{
	return r.base + (size_t)r.capacity * offset;
}

LATHE_INLINE Tiles
tiles_of(Parts p)
{
	Tiles t;
	t.hi = p.hi;
	t.lo = p.lo;
	t.sum_hi = p.sum_hi;
	t.sum_lo = p.sum_lo;
	t.scale = p.scale;
	t.shift = p.shift;
	t.x = p.x;
	t.xsum = p.xsum;
	return t;
}

/* Row `row` of an array of f32 rows of `ld` floats. */
LATHE_INLINE float *
row_at(Rows r, size_t offset, int ld, int row)
{
	return (float *)part_at(r, offset) + (size_t)row * (size_t)ld;
}

/* The batch's buffers, which all workers share. */
LATHE_INLINE Rows
shared_rows(const @name@ *m)
{
	Rows r;
	r.base = m->activations;
	r.capacity = m->n_batch;
	return r;
}

/* A worker's own buffers for one row. */
LATHE_INLINE Rows
own_rows(const @name@ *m, int tid)
{
	Rows r;
	r.base = m->scratch + (size_t)tid * SCRATCH_BYTES;
	r.capacity = 1;
	return r;
}

/* Where a kernel that workers repeat at one row leaves its result, and linears look for it. */
LATHE_INLINE Rows
repeated_rows(const @name@ *m, const @name@_job *j, int tid)
{
	return j->rows == 1 ? own_rows(m, tid) : shared_rows(m);
}

/* A worker's memory inside a kernel: SCRATCH_BYTES - ACTIVATION_BYTES bytes. */
LATHE_INLINE float *
own_scratch(const @name@ *m, int tid)
{
	return (float *)(m->scratch + (size_t)tid * SCRATCH_BYTES + ACTIVATION_BYTES);
}

/* tile_row, then zeros up to a multiple of 16 columns: linears read whole sets of columns. */
LATHE_INLINE void
tile_whole_row(int n, int sum_group, int width, const float *x, float *out, float *xsum)
{
	tile_row(n, sum_group, width, x, out, xsum);
	for (int k = n; k < LATHE_PAD(n, 16); k++)
		out[k * width] = 0.0f;
}

/* Keys and values of one head of one layer. */
LATHE_INLINE KvHead
cache_head(const @name@ *m, Kv kv, int layer, int head)
{
	const @name@_cache *c = &caches[layer];
	const size_t n = (size_t)m->n_ctx_padded;
	return kv_head(kv, m->kv + (c->offset + (size_t)head * c->head_bytes) * n, n);
}

/* The rotation of row t's position: [HEAD_DIM / 2]. */
LATHE_INLINE const float *
rope_cos(const @name@ *m, const @name@_job *j, int t)
{
	return (const float *)(m->weights + ROPE_COS) +
	       (size_t)(m->n_past + j->row0 + t) * (HEAD_DIM / 2);
}

LATHE_INLINE const float *
rope_sin(const @name@ *m, const @name@_job *j, int t)
{
	return (const float *)(m->weights + ROPE_SIN) +
	       (size_t)(m->n_past + j->row0 + t) * (HEAD_DIM / 2);
}

/* The same by the base of windowed layers. */
LATHE_INLINE const float *
rope_window_cos(const @name@ *m, const @name@_job *j, int t)
{
	return (const float *)(m->weights + ROPE_WINDOW_COS) +
	       (size_t)(m->n_past + j->row0 + t) * (HEAD_DIM / 2);
}

LATHE_INLINE const float *
rope_window_sin(const @name@ *m, const @name@_job *j, int t)
{
	return (const float *)(m->weights + ROPE_WINDOW_SIN) +
	       (size_t)(m->n_past + j->row0 + t) * (HEAD_DIM / 2);
}

/* Columns [32 first, 32 end) of each of n rows. */
LATHE_INLINE void
copy_columns(const float *from, float *to, int ld, int n, Range blocks)
{
	for (int i = 0; i < n; i++)
		memcpy(to + (size_t)i * (size_t)ld + 32 * blocks.first,
		       from + (size_t)i * (size_t)ld + 32 * blocks.first,
		       sizeof(float) * 32 * (size_t)(blocks.end - blocks.first));
}

/* ---- attention over rows ------------------------------------------------------------------ */

enum { ATTENTION_TOKENS = 16 }; /* of one kv head that share a pass over the cache */

/* The generator's figure for scratch must hold what attention takes. */
typedef char lathe_attention_scratch_fits[LATHE_ATTENTION_SCRATCH(
						  HEAD_DIM, ATTENTION_TOKENS *N_HEAD / N_KV_HEAD) *
								  sizeof(float) <=
							  SCRATCH_BYTES - ACTIVATION_BYTES
						  ? 1
						  : -1];

/* The first of `seen` positions that lies in a window of so many; 0: no window. */
LATHE_INLINE int
window_begin(int window, int seen)
{
	return window && window < seen ? seen - window : 0;
}

/* One row: a kv head with its queries at a time, or, where that leaves workers idle, one query. */
LATHE_INLINE void
attention_one(Kv kv, int heads, int kv_heads, int window, float scale, const @name@ *m,
	      const @name@_job *j, const float *q, float *out, int tid, int n_threads,
	      float *scratch)
{
	const int d = kv.d, group = heads / kv_heads, seen = m->n_past + j->row0 + 1;
	const int begin = window_begin(window, seen);
	if (kv_heads % n_threads == 0) {
		for (int h = tid; h < kv_heads; h += n_threads)
			attention_window(kv, group, begin, seen, q + h * group * d, scale,
					 cache_head(m, kv, j->layer, h), out + h * group * d,
					 scratch);
		return;
	}
	for (int h = tid; h < heads; h += n_threads)
		attention_window(kv, 1, begin, seen, q + h * d, scale,
				 cache_head(m, kv, j->layer, h / group), out + h * d, scratch);
}

/* Zeros in columns [n, ld) of rows [first, end) of x, which a kernel that writes n columns leaves.
 */
LATHE_INLINE void
zero_tail(float *x, int n, int ld, int first, int end)
{
	for (int t = first; t < end && n < ld; t++)
		memset(x + (size_t)t * (size_t)ld + n, 0, sizeof(float) * (size_t)(ld - n));
}

/* Rows q and out of ld floats each. Later rows see more: work is dealt in turns. With a window each
 * row goes by itself, since each begins elsewhere. */
LATHE_INLINE void
attention_rows(Kv kv, int heads, int kv_heads, int window, float scale, const @name@ *m,
	       const @name@_job *j, const float *q, int q_ld, float *out, int out_ld, int tid,
	       int n_threads, float *scratch)
{
	const int d = kv.d, group = heads / kv_heads;
	const int tiles = (j->rows + ATTENTION_TOKENS - 1) / ATTENTION_TOKENS;
	const Range tails = range_of(j->rows, tid, n_threads);
	zero_tail(out, heads * d, out_ld, tails.first, tails.end);
	if (j->rows == 1) {
		attention_one(kv, heads, kv_heads, window, scale, m, j, q, out, tid, n_threads,
			      scratch);
		return;
	}
	for (int i = tid; window && i < j->rows * kv_heads; i += n_threads) {
		const int t = i / kv_heads, h = i % kv_heads, seen = m->n_past + j->row0 + t + 1;
		attention_window(kv, group, window_begin(window, seen), seen,
				 q + (size_t)t * (size_t)q_ld + h * group * d, scale,
				 cache_head(m, kv, j->layer, h),
				 out + (size_t)t * (size_t)out_ld + h * group * d, scratch);
	}
	if (window)
		return;
	for (int i = tid; i < tiles * kv_heads; i += n_threads) {
		const int first = i / kv_heads * ATTENTION_TOKENS, h = i % kv_heads;
		const int left = j->rows - first;
		attention_heads(kv, group, left < ATTENTION_TOKENS ? left : ATTENTION_TOKENS,
				m->n_past + j->row0 + first,
				q + (size_t)first * (size_t)q_ld + h * group * d, (size_t)q_ld,
				scale, cache_head(m, kv, j->layer, h),
				out + (size_t)first * (size_t)out_ld + h * group * d,
				(size_t)out_ld, scratch);
	}
}
