/*
 * Loops of the linear kernels over blocks of 32 rows and tiles of tokens, and what is done with the
 * results. A block of weights is read once and serves all tokens of the batch; the tiles of
 * activations come from the caches. `s` is a literal in every call.
 */

/*
 * The activations of a batch. The tile that starts at token t starts at base + t * (elements per
 * token): k rounded up to 16 for codes and x, the units of `sums` columns for the sums, 1 or those
 * units for the scales. Inside a tile the tokens interleave by the tile's own count: T, or what is
 * left in the last one.
 */
typedef struct Tiles {
	const int8_t *hi, *lo;
	const int32_t *sum_hi, *sum_lo;
	const float *scale, *shift, *x, *xsum;
} Tiles;

/* The longest of the tiles, at most LINEAR_TOKENS. */
#if LATHE_TILE_F32 > LATHE_TILE_A8 && LATHE_TILE_F32 > LATHE_TILE_A16
#define LINEAR_MOST LATHE_TILE_F32
#elif LATHE_TILE_A16 > LATHE_TILE_A8
#define LINEAR_MOST LATHE_TILE_A16
#else
#define LINEAR_MOST LATHE_TILE_A8
#endif

/* Tokens in a full tile. */
LATHE_INLINE int
linear_tile(const Linear s)
{
	return s.planes == 1 ? LATHE_TILE_A8 : s.planes == 2 ? LATHE_TILE_A16 : LATHE_TILE_F32;
}

/* The tile that starts at `token`. */
LATHE_INLINE Act
linear_act(const Linear s, const Tiles *t, int token)
{
	const ptrdiff_t codes = (ptrdiff_t)token * ((s.k + 15) / 16 * 16);
	const ptrdiff_t units = s.is_float ? 0 : (ptrdiff_t)token * ((s.k + s.sums - 1) / s.sums);
	Act a = {0, 0, 0, 0, 0, 0, 0, 0};

	if (s.planes == 0) {
		a.x = t->x + codes;
		if (!s.is_float && s.minimum)
			a.xsum = t->xsum + units;
		return a;
	}
	a.hi = t->hi + codes;
	a.sum_hi = t->sum_hi + units;
	if (s.planes == 2) {
		a.lo = t->lo + codes;
		a.sum_lo = t->sum_lo + units;
	}
	a.scale = t->scale + (s.act_group ? units : token);
	if (s.shift)
		a.shift = t->shift + (s.act_group ? units : token);
	return a;
}

/* The tile of one token, of rows that are tiles by themselves. */
LATHE_INLINE Tiles
linear_alone(const Linear s, const Tiles *t, int token)
{
	const Act a = linear_act(s, t, token);
	Tiles one;
	one.hi = a.hi;
	one.lo = a.lo;
	one.sum_hi = a.sum_hi;
	one.sum_lo = a.sum_lo;
	one.scale = a.scale;
	one.shift = a.shift;
	one.x = a.x;
	one.xsum = a.xsum;
	return one;
}

/* Bytes of a block of 32 rows (pack_block_bytes of the compiler). */
LATHE_INLINE ptrdiff_t
linear_block_bytes(const Linear s)
{
	const int rest = s.is_float ? 0 : s.k % s.group;
	ptrdiff_t n;

	if (s.is_float)
		return (ptrdiff_t)s.k * 4 * s.bits;
	n = (LINEAR_HEADER(s) + (ptrdiff_t)LINEAR_SETS(s, s.group) * LINEAR_SET_BYTES(s)) *
		    (s.k / s.group) +
	    LINEAR_ROW_SUMS(s);
	if (rest)
		n += LINEAR_HEADER(s) + (ptrdiff_t)LINEAR_SETS(s, rest) * LINEAR_SET_BYTES(s);
	return n;
}

/* One block of 32 rows for mt tokens, mt in [1, linear_tile(s)]. */
LATHE_INLINE void
linear_block_any(const Linear s, int mt, const uint8_t *w, const Act *a, float *y)
{
	const int tile = linear_tile(s);

#define LINEAR_REST(n)                                      \
	if (n < tile && mt == n) {                          \
		linear_block(s, n < tile ? n : 1, w, a, y); \
		return;                                     \
	}
	LINEAR_REST(1)
#if LINEAR_MOST > 2
	LINEAR_REST(2)
#endif
#if LINEAR_MOST > 3
	LINEAR_REST(3)
#endif
#if LINEAR_MOST > 4
	LINEAR_REST(4)
#endif
#if LINEAR_MOST > 5
	LINEAR_REST(5)
#endif
#if LINEAR_MOST > 6
	LINEAR_REST(6)
#endif
#if LINEAR_MOST > 7
	LINEAR_REST(7)
#endif
#undef LINEAR_REST
	linear_block(s, tile, w, a, y);
}

/* ---- what is done with a block's results -------------------------------------------------- */

/* Rows [0, rows) of token m of a tile, p[32 m + r], to y. */
LATHE_INLINE void
linear_put(const float *p, float *y, int rows)
{
	if (rows >= 32) {
		vf_store(y, vf_load(p));
		vf_store(y + 16, vf_load(p + 16));
		return;
	}
	if (rows >= 16) {
		vf_store(y, vf_load(p));
		vf_store_part(y + 16, vf_load(p + 16), rows - 16);
		return;
	}
	vf_store_part(y, vf_load(p), rows);
}

/* Results p of mt tokens, 32 rows each, have the bias of these rows added; null: none. */
LATHE_INLINE void
linear_bias(int mt, const float *bias, float *p)
{
	if (!bias)
		return;
	const vf low = vf_load(bias), high = vf_load(bias + 16);
	for (int m = 0; m < mt; m++, p += 32) {
		vf_store(p, vf_add(vf_load(p), low));
		vf_store(p + 16, vf_add(vf_load(p + 16), high));
	}
}

/* The bias of block b: biases have room for whole blocks. */
#define LINEAR_BIAS(bias, b) ((bias) ? (bias) + (ptrdiff_t)32 * (b) : (bias))

/* Where row i of a call's tokens goes: null means in order. */
#define LINEAR_ROW(rows, i) ((rows) ? (rows)[i] : (i))

/*
 * Rows [32 b0, 32 b1) of a matrix at w for n tokens: y[LINEAR_ROW(rows, token) * ld + 32 b + r] =
 * result + bias, null for none. y has room for whole blocks.
 */
LATHE_INLINE void
linear_store_rows(const Linear s, const uint8_t *w, int b0, int b1, const Tiles *tiles, int n,
		  float *y, ptrdiff_t ld, const float *bias, const int *rows)
{
	const int tile = linear_tile(s);

	for (int b = b0; b < b1; b++)
		for (int token = 0; token < n; token += tile) {
			const int mt = n - token < tile ? n - token : tile;
			const Act a = linear_act(s, tiles, token);
			float *to = y + (ptrdiff_t)32 * b;
			LATHE_ALIGN(64) float p[32 * LINEAR_TOKENS];

			linear_block_any(s, mt, w + b * linear_block_bytes(s), &a, p);
			linear_bias(mt, LINEAR_BIAS(bias, b), p);
			for (int m = 0; m < mt; m++)
				linear_put(p + 32 * m, to + LINEAR_ROW(rows, token + m) * ld, 32);
		}
}

LATHE_INLINE void
linear_store(const Linear s, const uint8_t *w, int b0, int b1, const Tiles *tiles, int n, float *y,
	     ptrdiff_t ld, const float *bias)
{
	linear_store_rows(s, w, b0, b1, tiles, n, y, ld, bias, NULL);
}

/* The same added to what x holds: x = x + (result + bias). */
LATHE_INLINE void
linear_add(const Linear s, const uint8_t *w, int b0, int b1, const Tiles *tiles, int n, float *x,
	   ptrdiff_t ld, const float *bias)
{
	const int tile = linear_tile(s);

	for (int b = b0; b < b1; b++)
		for (int token = 0; token < n; token += tile) {
			const int mt = n - token < tile ? n - token : tile;
			const Act a = linear_act(s, tiles, token);
			float *to = x + token * ld + (ptrdiff_t)32 * b;
			LATHE_ALIGN(64) float p[32 * LINEAR_TOKENS];

			linear_block_any(s, mt, w + b * linear_block_bytes(s), &a, p);
			linear_bias(mt, LINEAR_BIAS(bias, b), p);
			for (int m = 0; m < mt; m++, to += ld) {
				vf_store(to, vf_add(vf_load(to), vf_load(p + 32 * m)));
				vf_store(to + 16,
					 vf_add(vf_load(to + 16), vf_load(p + 32 * m + 16)));
			}
		}
}

/*
 * Two matrices whose blocks alternate at w (gate block b, up block b): y = silu(gate) * up, or with
 * `gelu` that of the gate, each with its bias. Rows, y and ld as of linear_store, b counts pairs.
 */
LATHE_INLINE void
linear_gated(const Linear s, int gelu, const uint8_t *w, int b0, int b1, const Tiles *tiles, int n,
	     float *y, ptrdiff_t ld, const float *gate_bias, const float *up_bias, const int *rows)
{
	const int tile = linear_tile(s);

	for (int b = b0; b < b1; b++)
		for (int token = 0; token < n; token += tile) {
			const int mt = n - token < tile ? n - token : tile;
			const Act a = linear_act(s, tiles, token);
			float *to = y + (ptrdiff_t)32 * b;
			LATHE_ALIGN(64) float p[2][32 * LINEAR_TOKENS];

			LATHE_UNROLL(1)
			for (int i = 0; i < 2; i++)
				linear_block_any(s, mt,
						 w + (2 * (ptrdiff_t)b + i) * linear_block_bytes(s),
						 &a, p[i]);
			linear_bias(mt, LINEAR_BIAS(gate_bias, b), p[0]);
			linear_bias(mt, LINEAR_BIAS(up_bias, b), p[1]);
			for (int m = 0; m < mt; m++)
				for (int r = 0; r < 32; r += 16) {
					float *row = to + LINEAR_ROW(rows, token + m) * ld;
					vf x = vf_load(p[0] + 32 * m + r);
					vf gate = gelu ? vf_gelu(x) : vf_silu(x);
					vf up = vf_load(p[1] + 32 * m + r);

					vf_store(row + r, vf_mul(gate, up));
				}
		}
}

LATHE_INLINE void
linear_silu_mul(const Linear s, const uint8_t *w, int b0, int b1, const Tiles *tiles, int n,
		float *y, ptrdiff_t ld, const float *gate_bias, const float *up_bias)
{
	linear_gated(s, 0, w, b0, b1, tiles, n, y, ld, gate_bias, up_bias, NULL);
}

LATHE_INLINE void
linear_gelu_mul(const Linear s, const uint8_t *w, int b0, int b1, const Tiles *tiles, int n,
		float *y, ptrdiff_t ld, const float *gate_bias, const float *up_bias)
{
	linear_gated(s, 1, w, b0, b1, tiles, n, y, ld, gate_bias, up_bias, NULL);
}

/* As linear_store for a matrix of n_rows rows, of which no row beyond is written. */
LATHE_INLINE void
linear_logits(const Linear s, const uint8_t *w, int b0, int b1, const Tiles *tiles, int n, float *y,
	      ptrdiff_t ld, int n_rows, const float *bias)
{
	const int tile = linear_tile(s);

	for (int b = b0; b < b1; b++)
		for (int token = 0; token < n; token += tile) {
			const int mt = n - token < tile ? n - token : tile;
			const Act a = linear_act(s, tiles, token);
			float *to = y + token * ld + (ptrdiff_t)32 * b;
			LATHE_ALIGN(64) float p[32 * LINEAR_TOKENS];

			linear_block_any(s, mt, w + b * linear_block_bytes(s), &a, p);
			linear_bias(mt, LINEAR_BIAS(bias, b), p);
			for (int m = 0; m < mt; m++)
				linear_put(p + 32 * m, to + m * ld, n_rows - 32 * b);
		}
}
