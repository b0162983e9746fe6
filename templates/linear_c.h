/*
 * Linear kernels in portable C99: one block of 32 rows, a tile of tokens. Sums of products of codes
 * are the level's own (products_ISA.h).
 */

/* Tokens in a tile: they share what the caches hold of the weights. */
#define LATHE_TILE_A8 4
#define LATHE_TILE_A16 4
#define LATHE_TILE_F32 4

/* ---- integer activations ------------------------------------------------------------------ */

LATHE_INLINE void
linear_unit_int(const Linear s, const int mt, const int width, const uint8_t *w, const Act *a,
		int k, int unit, const float *e, const float *f, const uint8_t *z, float *acc)
{
	for (int m = 0; m < mt; m++, acc += LINEAR_ROWS) {
		const ptrdiff_t at = (ptrdiff_t)unit * mt + m, code = (ptrdiff_t)k * mt + 4 * m;
		int32_t codes = a->sum_hi[at];
		float t[LINEAR_ROWS];

		linear_dot(s, mt, width, z, w, a->hi + code, codes, t);
		if (s.planes == 2) {
			float low[LINEAR_ROWS];

			linear_dot(s, mt, width, z, w, a->lo + code, a->sum_lo[at], low);
			for (int r = 0; r < LINEAR_ROWS; r++)
				t[r] = s_fma(t[r], 256, low[r]);
			codes = 256 * codes + a->sum_lo[at];
		}
		if (s.act_group)
			for (int r = 0; r < LINEAR_ROWS; r++)
				t[r] = t[r] * a->scale[at];
		for (int r = 0; r < LINEAR_ROWS; r++)
			acc[r] = s_fma(t[r], e[r], acc[r]);
		if (s.minimum) {
			float all = (float)codes;

			if (s.act_group)
				all = all * a->scale[at];
			for (int r = 0; r < LINEAR_ROWS; r++)
				acc[r] = s_fma(all, f[r], acc[r]);
		}
	}
}

/* ---- float activations -------------------------------------------------------------------- */

LATHE_INLINE void
linear_unit_float(const Linear s, const int mt, const int width, const uint8_t *w, const Act *a,
		  int k, int unit, const float *e, const float *f, const uint8_t *z, float *acc)
{
	const int slots = LINEAR_SLOTS(s), n = (width + 3) / 4;
	float p[LINEAR_TOKENS][LINEAR_ROWS] = {{0}};
	const float *x = a->x + (ptrdiff_t)k * mt;

	for (int slot = 0; slot < n; slot++)
		for (int column = 0; column < 4; column++, x += mt) {
			const uint8_t *set = w + slot / slots * LINEAR_SET_BYTES(s) + column;
			float c[LINEAR_ROWS];

			for (int r = 0; r < LINEAR_ROWS; r++) {
				const ptrdiff_t at = r / 16 * 64 * LINEAR_LINES(s);
				const int u = linear_code(s, set + at + r % 16 * 4, slot % slots);

				c[r] = (float)(u - linear_zero(s, z, r));
			}
			for (int m = 0; m < mt; m++)
				for (int r = 0; r < LINEAR_ROWS; r++)
					p[m][r] = s_fma(c[r], x[m], p[m][r]);
		}
	for (int m = 0; m < mt; m++, acc += LINEAR_ROWS) {
		for (int r = 0; r < LINEAR_ROWS; r++)
			acc[r] = s_fma(p[m][r], e[r], acc[r]);
		if (s.minimum) {
			const float all = a->xsum[(ptrdiff_t)unit * mt + m];

			for (int r = 0; r < LINEAR_ROWS; r++)
				acc[r] = s_fma(all, f[r], acc[r]);
		}
	}
}

/* ---- a block ------------------------------------------------------------------------------ */

/* One unit of any kind: `width` columns from k on; its group's scales, its own line sets at w. */
LATHE_INLINE void
linear_unit(const Linear s, const int mt, const int width, const uint8_t *scales, const uint8_t *w,
	    const Act *a, int k, int unit, float *acc)
{
	const uint8_t *z = scales + s.scale_bits * 4;
	float e[LINEAR_ROWS], f[LINEAR_ROWS] = {0};

	linear_numbers(s.scale_bits, s.bf16, scales, e);
	if (s.minimum)
		linear_numbers(s.scale_bits, s.bf16, z, f);
	if (s.planes == 0)
		linear_unit_float(s, mt, width, w, a, k, unit, e, f, z, acc);
	else
		linear_unit_int(s, mt, width, w, a, k, unit, e, f, z, acc);
}

/* Adds a run's partial sums to the totals in y; the first run begins them. */
LATHE_INLINE void
linear_total(const int mt, int run, const float *acc, float *y)
{
	for (int i = 0; i < LINEAR_ROWS * mt; i++)
		y[i] = run ? y[i] + acc[i] : acc[i];
}

/* y[m] += shift of token m * row sums: what zero points of activations leave of a unit, or of the
 * row. */
LATHE_INLINE void
linear_shift(const int mt, const uint8_t *sums, const float *shift, float *y)
{
	float e[LINEAR_ROWS];

	linear_numbers(32, 0, sums, e);
	for (int m = 0; m < mt; m++)
		for (int r = 0; r < LINEAR_ROWS; r++)
			y[LINEAR_ROWS * m + r] = s_fma(shift[m], e[r], y[LINEAR_ROWS * m + r]);
}

LATHE_INLINE void
linear_block_int(const Linear s, const int mt, const uint8_t *w, const Act *a, float *y)
{
	const int columns = s.k / s.split, sums = s.sums < columns ? s.sums : columns;
	const uint8_t *row_sums = w, *scales = w;
	int k = 0, unit = 0;

	w += LINEAR_UNIT_SUMS(s) ? 0 : LINEAR_ROW_SUMS(s);
	for (int run = 0; run < s.split; run++) {
		float acc[LINEAR_TOKENS * LINEAR_ROWS] = {0};

		LATHE_UNROLL(1)
		for (int i = 0; i < columns / sums; i++) {
			if (s.sums >= s.group || k % s.group == 0) {
				scales = w;
				w += LINEAR_HEADER(s);
			}
			if (LINEAR_UNIT_SUMS(s)) {
				row_sums = w;
				w += 128;
			}
			linear_unit(s, mt, sums, scales, w, a, k, unit, acc);
			if (s.shift && s.act_group)
				linear_shift(mt, row_sums, a->shift + unit * mt, acc);
			w += (ptrdiff_t)LINEAR_SETS(s, sums) * LINEAR_SET_BYTES(s);
			k += sums;
			unit++;
		}
		if (columns % sums) {
			if (s.sums >= s.group || k % s.group == 0) {
				scales = w;
				w += LINEAR_HEADER(s);
			}
			if (LINEAR_UNIT_SUMS(s)) {
				row_sums = w;
				w += 128;
			}
			linear_unit(s, mt, columns % sums, scales, w, a, k, unit, acc);
			if (s.shift && s.act_group)
				linear_shift(mt, row_sums, a->shift + unit * mt, acc);
		}
		linear_total(mt, run, acc, y);
	}
	if (s.shift && !s.act_group)
		linear_shift(mt, row_sums, a->shift, y);
	if (s.planes && !s.act_group)
		for (int m = 0; m < mt; m++)
			for (int r = 0; r < LINEAR_ROWS; r++)
				y[LINEAR_ROWS * m + r] = a->scale[m] * y[LINEAR_ROWS * m + r];
}

LATHE_INLINE void
linear_block_float(const Linear s, const int mt, const uint8_t *w, const Act *a, float *y)
{
	const int columns = s.k / s.split;
	const float *x = a->x;

	for (int run = 0; run < s.split; run++) {
		float acc[LINEAR_TOKENS * LINEAR_ROWS] = {0};

		for (int k = 0; k < columns; k++, w += 4 * s.bits, x += mt) {
			float c[LINEAR_ROWS];

			linear_numbers(s.bits, 0, w, c);
			for (int m = 0; m < mt; m++)
				for (int r = 0; r < LINEAR_ROWS; r++)
					acc[LINEAR_ROWS * m + r] =
						s_fma(c[r], x[m], acc[LINEAR_ROWS * m + r]);
		}
		linear_total(mt, run, acc, y);
	}
}

/*
 * One block of 32 rows, one tile of mt tokens: y[m*32 + r]. s and mt are literals. Reads exactly
 * the block's bytes at w.
 */
LATHE_INLINE void
linear_block(const Linear s, const int mt, const uint8_t *w, const Act *a, float *y)
{
	if (s.is_float)
		linear_block_float(s, mt, w, a, y);
	else
		linear_block_int(s, mt, w, a, y);
}
