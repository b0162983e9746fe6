/*
 * Linear kernels in portable C99: one block of 32 rows, a tile of tokens. The loops over a line set
 * run over consecutive bytes with products that fit 16 bits, which compilers vectorise for any
 * machine. Needs little-endian weights, as the file has them.
 */

/* Tokens in a tile: they share what the caches hold of the weights. */
#define LATHE_TILE_A8 4
#define LATHE_TILE_A16 4
#define LATHE_TILE_F32 4

enum { LINEAR_ROWS = 32, LINEAR_TOKENS = 8 };

/* Scales, minima, or one column of float weights: 32 numbers of `bits` bits. */
LATHE_INLINE void
linear_numbers(const int bits, const int bf16, const uint8_t *w, float *e)
{
	if (bits == 16) {
		uint16_t h[LINEAR_ROWS];

		memcpy(h, w, sizeof(h));
		for (int r = 0; r < LINEAR_ROWS; r++)
			e[r] = bf16 ? s_from_bits((uint32_t)h[r] << 16) : s_from_f16(h[r]);
	} else {
		memcpy(e, w, LINEAR_ROWS * sizeof(float));
	}
}

/* What to subtract from the codes of row r; z: the group's zero points. */
LATHE_INLINE int
linear_zero(const Linear s, const uint8_t *z, int r)
{
	return s.zeros ? z[r] : s.offset;
}

/* ---- codes of a slot ---------------------------------------------------------------------- */

/* The byte of slot j's code from the bytes that a lane has in each line, 64 bytes apart. */
LATHE_INLINE int
linear_code(const Linear s, const uint8_t *b, const int j)
{
	if (s.trits)
		return j == 0	? b[0] % 3
		       : j == 1 ? b[0] / 3 % 3
		       : j == 2 ? b[0] / 9 % 3
		       : j == 3 ? b[0] / 27 % 3
				: b[0] / 81;
	switch (s.bits) {
	case 2:
		return b[0] >> 2 * j & 3;
	case 3:
		if (j < 6)
			return b[j / 2 * 64] >> (j == 5 ? 5 : j % 2 * 3) & 7;
		return (b[(j - 6) * 64] >> 5 & 6) | (b[128] >> (10 - j) & 1);
	case 4:
		return b[0] >> 4 * j & 15;
	case 5:
		return (b[j / 2 * 64] >> j % 2 * 4 & 15) | (b[256] >> j & 1) << 4;
	case 6:
		if (j < 3)
			return b[j * 64] & 63;
		return (b[0] >> 2 & 48) | (b[64] >> 4 & 12) | b[128] >> 6;
	default:
		return b[0];
	}
}

/* u: codes of slot j of all rows, a row's four side by side; w: the line set. */
LATHE_INLINE void
linear_codes(const Linear s, const uint8_t *w, const int j, uint8_t *u)
{
	for (int half = 0; half < 2; half++, w += 64 * LINEAR_LINES(s), u += 64)
		for (int i = 0; i < 64; i++)
			u[i] = (uint8_t)linear_code(s, w + i, j);
}

/* ---- integer activations ------------------------------------------------------------------ */

/* Four codes, repeated to the width of a vector. */
LATHE_INLINE void
linear_repeat(const int8_t *c, int16_t *v)
{
	for (int j = 0; j < 16; j++)
		v[j] = c[j % 4];
}

/*
 * sum[r] += sums of products over n sets of 4-bit codes; slot q of the codes lies at c + step q.
 * A 16-bit lane takes two products of at most 15 * 128 a set: n <= 8.
 */
LATHE_INLINE void
linear_sets4(const uint8_t *w, int n, const int8_t *c, int step, int32_t *sum)
{
	int16_t t[LINEAR_SET] = {0}, a[16], b[16];

	for (int i = 0; i < n; i++, w += LINEAR_SET, c += 2 * step) {
		linear_repeat(c, a);
		linear_repeat(c + step, b);
		for (int line = 0; line < LINEAR_SET; line += 16)
			for (int j = 0; j < 16; j++) {
				const int u = w[line + j];

				t[line + j] = (int16_t)(t[line + j] + (int16_t)((u & 15) * a[j]) +
							(int16_t)((u >> 4) * b[j]));
			}
	}
	for (int r = 0; r < LINEAR_ROWS; r++)
		sum[r] += t[4 * r] + t[4 * r + 1] + t[4 * r + 2] + t[4 * r + 3];
}

/* The same of 8-bit codes, any n: a product is at most 255 * 128 and fits 16 bits. */
LATHE_INLINE void
linear_sets8(const uint8_t *w, int n, const int8_t *c, int step, int32_t *sum)
{
	int32_t t[LINEAR_SET] = {0};
	int16_t a[16];

	for (int i = 0; i < n; i++, w += LINEAR_SET, c += step) {
		linear_repeat(c, a);
		for (int line = 0; line < LINEAR_SET; line += 16)
			for (int j = 0; j < 16; j++)
				t[line + j] += (int16_t)(w[line + j] * a[j]);
	}
	for (int r = 0; r < LINEAR_ROWS; r++)
		sum[r] += t[4 * r] + t[4 * r + 1] + t[4 * r + 2] + t[4 * r + 3];
}

/* The same of codes of any bits over n slots; a last line set may hold more than are left. */
LATHE_INLINE void
linear_slots(const Linear s, const uint8_t *w, int n, const int8_t *c, int step, int32_t *sum)
{
	const int slots = LINEAR_SLOTS(s);
	int32_t t[LINEAR_SET] = {0};
	uint8_t u[LINEAR_SET];
	int16_t a[16];

	for (; n > 0; n -= slots, w += LINEAR_SET_BYTES(s)) {
		LATHE_UNROLL(8)
		for (int j = 0; j < slots; j++) {
			if (j >= n)
				break;
			linear_codes(s, w, j, u);
			linear_repeat(c, a);
			c += step;
			for (int i = 0; i < LINEAR_SET; i++)
				t[i] += (int16_t)(u[i] * a[i % 16]);
		}
	}
	for (int r = 0; r < LINEAR_ROWS; r++)
		sum[r] += t[4 * r] + t[4 * r + 1] + t[4 * r + 2] + t[4 * r + 3];
}

/* t[r] = (float)(sum of (u - z) c) of one plane over a unit of `width` columns. */
LATHE_INLINE void
linear_dot(const Linear s, const int mt, const int width, const uint8_t *z, const uint8_t *w,
	   const int8_t *c, int32_t codes, float *t)
{
	enum { MOST = 8 };
	const int sets = LINEAR_SETS(s, width);
	int32_t sum[LINEAR_ROWS] = {0};

	if (s.bits == 4) {
		for (int i = 0; i < sets; i += MOST)
			linear_sets4(w + i * LINEAR_SET, sets - i < MOST ? sets - i : MOST,
				     c + (ptrdiff_t)i * 8 * mt, 4 * mt, sum);
	} else if (s.bits == 8) {
		linear_sets8(w, sets, c, 4 * mt, sum);
	} else {
		linear_slots(s, w, (width + 3) / 4, c, 4 * mt, sum);
	}
	for (int r = 0; r < LINEAR_ROWS; r++)
		t[r] = (float)(sum[r] - linear_zero(s, z, r) * codes);
}

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
