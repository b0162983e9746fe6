/*
 * Sums of products in portable C99: loops over consecutive bytes with products that fit 16 bits,
 * which compilers vectorise for any machine.
 */

/* u: codes of slot j of all rows, a row's four side by side; w: the line set. */
LATHE_INLINE void
linear_codes(const Linear s, const uint8_t *w, const int j, uint8_t *u)
{
	for (int half = 0; half < 2; half++, w += 64 * LINEAR_LINES(s), u += 64)
		for (int i = 0; i < 64; i++)
			u[i] = (uint8_t)linear_code(s, w + i, j);
}

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
