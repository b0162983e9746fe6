/*
 * Transforms of rows at run time. Sylvester butterflies go in ascending strides: every element is a
 * fixed tree of additions, so blocks of registers change no bit. A row that a transform writes has
 * the room of rows.h; what stands behind its n elements is not touched.
 *
 * Views: [n][right] is a row whose elements `right` apart go through a map of order n, `right` = 1
 * being a plain row. Where vectors run along the second axis nothing is transposed.
 */

/* Vectors of a run that are transformed in registers, and strides that one pass takes: 2^these. */
#if LATHE_VF_REGISTERS >= 32
#define LATHE_BUTTERFLY_VECTORS 16
#define LATHE_BUTTERFLY_RADIX 16
#else
#define LATHE_BUTTERFLY_VECTORS 4
#define LATHE_BUTTERFLY_RADIX 8
#endif

/* Stride h between the registers v[0, count). */
#define BUTTERFLY_STAGE(type, count, h)                             \
	LATHE_UNROLL(16)                                            \
	for (int i = 0; i < (count); i++)                           \
		if (!(i & (h)) && (i | (h)) < (count)) {            \
			const type a = v[i], b = v[(i | (h)) % 16]; \
			v[i] = type##_add(a, b);                    \
			v[(i | (h)) % 16] = type##_sub(a, b);       \
		}

/* Strides 1, 2, 4 and 8 below `to` of sixteen elements. */
LATHE_INLINE vf
butterfly_vector(const int to, vf x)
{
	if (to > 1)
		x = vf_butterfly(x, 1);
	if (to > 2)
		x = vf_butterfly(x, 2);
	if (to > 4)
		x = vf_butterfly(x, 4);
	return to > 8 ? vf_butterfly(x, 8) : x;
}

/* Strides below `to` of 16 * vectors elements; vectors, to / 16 are powers of two <= 16. */
LATHE_INLINE void
butterfly_block(const int vectors, const int to, const int last, const float scale, const float *x,
		float *y)
{
	vf v[16];
	LATHE_UNROLL(16)
	for (int i = 0; i < vectors; i++)
		v[i] = butterfly_vector(to, vf_load(x + 16 * i));
	if (to > 16)
		BUTTERFLY_STAGE(vf, vectors, 1)
	if (to > 32)
		BUTTERFLY_STAGE(vf, vectors, 2)
	if (to > 64)
		BUTTERFLY_STAGE(vf, vectors, 4)
	if (to > 128)
		BUTTERFLY_STAGE(vf, vectors, 8)
	LATHE_UNROLL(16)
	for (int i = 0; i < vectors; i++)
		vf_store(y + 16 * i, last ? vf_mul(v[i], vf_set1(scale)) : v[i]);
}

/* Strides h, 2 h, ... below radix * h, on `part` columns (a slice or fewer) of [radix][h]. */
LATHE_INLINE void
butterfly_columns(const int radix, const int h, const int part, const int last, const float scale,
		  float *x)
{
	vs v[16];
	LATHE_UNROLL(16)
	for (int i = 0; i < radix; i++)
		v[i] = vs_load_first(x + i * h, part);
	if (radix > 1)
		BUTTERFLY_STAGE(vs, radix, 1)
	if (radix > 2)
		BUTTERFLY_STAGE(vs, radix, 2)
	if (radix > 4)
		BUTTERFLY_STAGE(vs, radix, 4)
	if (radix > 8)
		BUTTERFLY_STAGE(vs, radix, 8)
	LATHE_UNROLL(16)
	for (int i = 0; i < radix; i++)
		vs_store_first(x + i * h, last ? vs_mul(v[i], vs_set1(scale)) : v[i], part);
}

LATHE_INLINE void
butterfly_pass(const int n, const int radix, const int h, const int last, const float scale,
	       float *x)
{
	const int whole = h / LATHE_SLICE * LATHE_SLICE;
	for (int i = 0; i < n; i += radix * h) {
		for (int k = 0; k < whole; k += LATHE_SLICE)
			butterfly_columns(radix, h, LATHE_SLICE, last, scale, x + i + k);
		if (whole < h)
			butterfly_columns(radix, h, h - whole, last, scale, x + i + whole);
	}
}

/* Strides 1 and 2 of runs of 4, for machines whose vectors are no longer. */
LATHE_INLINE void
butterfly_fours(const int n, const int last, const float scale, const float *x, float *y)
{
	for (int i = 0; i < n; i += 4) {
		const float a = x[i] + x[i + 1], b = x[i] - x[i + 1];
		const float c = x[i + 2] + x[i + 3], d = x[i + 2] - x[i + 3];
		y[i] = last ? (a + c) * scale : a + c;
		y[i + 1] = last ? (b + d) * scale : b + d;
		y[i + 2] = last ? (a - c) * scale : a - c;
		y[i + 3] = last ? (b - d) * scale : b - d;
	}
}

/* The strides that one pass takes where [from, to) are left: a power of two, 1 for none. */
#define BUTTERFLY_RADIX(from, to) \
	((to) / (from) < LATHE_BUTTERFLY_RADIX ? (to) / (from) : LATHE_BUTTERFLY_RADIX)

/* In place, strides [h, to) of n elements; the last pass multiplies by scale where `last`. Six
 * passes are enough for every row. */
LATHE_INLINE void
butterfly_passes(const int n, const int h, const int to, const int last, const float scale,
		 float *x)
{
	const int a = h, b = a * BUTTERFLY_RADIX(a, to), c = b * BUTTERFLY_RADIX(b, to);
	const int d = c * BUTTERFLY_RADIX(c, to), e = d * BUTTERFLY_RADIX(d, to);
	const int f = e * BUTTERFLY_RADIX(e, to), g = f * BUTTERFLY_RADIX(f, to);
	if (a < b)
		butterfly_pass(n, b / a, a, last && b == to, scale, x);
	if (b < c)
		butterfly_pass(n, c / b, b, last && c == to, scale, x);
	if (c < d)
		butterfly_pass(n, d / c, c, last && d == to, scale, x);
	if (d < e)
		butterfly_pass(n, e / d, d, last && e == to, scale, x);
	if (e < f)
		butterfly_pass(n, f / e, e, last && f == to, scale, x);
	if (f < g)
		butterfly_pass(n, g / f, f, last && g == to, scale, x);
}

/*
 * y = Sylvester x on runs of `to` elements, n in all, to a power of two; multiplied by scale where
 * `last`. x may be y.
 */
LATHE_INLINE void
sylvester_row(const int n, const int to, const int last, const float scale, const float *x,
	      float *y)
{
	enum { BLOCK = 16 * LATHE_BUTTERFLY_VECTORS };
	if (LATHE_SLICE <= 4 && to >= 4) {
		butterfly_fours(n, last && to == 4, scale, x, y);
		butterfly_passes(n, 4, to, last, scale, y);
		return;
	}
	if (n % 16) { /* then `to` is at most 8: no stride leaves a vector */
		for (int i = 0; i < n; i += 16) {
			const vf a = n - i < 16 ? vf_load_part(x + i, n - i) : vf_load(x + i);
			const vf b = butterfly_vector(to, a);
			const vf z = last ? vf_mul(b, vf_set1(scale)) : b;
			if (n - i < 16)
				vf_store_part(y + i, z, n - i);
			else
				vf_store(y + i, z);
		}
		return;
	}
	const int block = n % BLOCK == 0	 ? BLOCK
			  : n % (BLOCK / 2) == 0 ? BLOCK / 2
			  : n % (BLOCK / 4) == 0 ? BLOCK / 4
						 : 16;
	const int inside = to < block ? to : block;
	for (int i = 0; i < n; i += block)
		butterfly_block(block / 16, inside, last && inside == to, scale, x + i, y + i);
	butterfly_passes(n, inside, to, last, scale, y);
}

/* x = scale x */
LATHE_INLINE void
scale_row(const int n, const float scale, float *x)
{
	int i = 0;
	for (; i + 16 <= n; i += 16)
		vf_store(x + i, vf_mul(vf_load(x + i), vf_set1(scale)));
	for (; i < n; i++)
		x[i] *= scale;
}

/* x[k] = x[k] d[k] */
LATHE_INLINE void
diagonal_row(const int n, const float *d, float *x)
{
	int i = 0;
	for (; i + 16 <= n; i += 16)
		vf_store(x + i, vf_mul(vf_load(x + i), vf_load(d + i)));
	for (; i < n; i++)
		x[i] *= d[i];
}

/* y[k] = x[perm[k]]; work holds n floats, and the result goes back to x. */
LATHE_INLINE void
permute_row(const int n, const uint16_t *perm, float *x, float *work)
{
	for (int i = 0; i < n; i++)
		work[i] = x[perm[i]];
	memcpy(x, work, sizeof(float) * (size_t)n);
}

/* Rows and vectors of results that a product with a matrix keeps in registers. */
#if LATHE_VF_REGISTERS >= 32
#define LATHE_MATRIX_ROWS 4
#define LATHE_MATRIX_VECTORS 4
#else
#define LATHE_MATRIX_ROWS 2
#define LATHE_MATRIX_VECTORS 2
#endif

/* Results [16 vectors] of `rows` rows of n elements: y[r][i] = sum of columns[k][i] x[r][k]. */
LATHE_INLINE void
matrix_tile(const int n, const int padded, const int rows, const int vectors, const float *columns,
	    const float *x, float *y)
{
	vf sum[LATHE_MATRIX_ROWS][LATHE_MATRIX_VECTORS];
	LATHE_UNROLL_ALL
	for (int r = 0; r < rows; r++)
		LATHE_UNROLL_ALL
	for (int i = 0; i < vectors; i++)
		sum[r][i] = vf_zero();
	for (int k = 0; k < n; k++) {
		vf c[LATHE_MATRIX_VECTORS];
		LATHE_UNROLL_ALL
		for (int i = 0; i < vectors; i++)
			c[i] = vf_load(columns + (size_t)k * (size_t)padded + 16 * i);
		LATHE_UNROLL_ALL
		for (int r = 0; r < rows; r++)
			LATHE_UNROLL_ALL
		for (int i = 0; i < vectors; i++)
			sum[r][i] = vf_fma(c[i], vf_set1(x[r * n + k]), sum[r][i]);
	}
	LATHE_UNROLL_ALL
	for (int r = 0; r < rows; r++)
		LATHE_UNROLL_ALL
	for (int i = 0; i < vectors; i++)
		vf_store(y + r * padded + 16 * i, sum[r][i]);
}

LATHE_INLINE void
matrix_group(const int n, const int rows, const float *columns, float *x, float *work)
{
	enum { VECTORS = LATHE_MATRIX_VECTORS };
	const int padded = LATHE_PAD(n, 16), rest = padded / 16 % VECTORS;
	for (int i = 0; i + 16 * VECTORS <= padded; i += 16 * VECTORS)
		matrix_tile(n, padded, rows, VECTORS, columns + i, x, work + i);
	if (rest)
		matrix_tile(n, padded, rows, rest, columns + padded - 16 * rest, x,
			    work + padded - 16 * rest);
	for (int r = 0; r < rows; r++)
		memcpy(x + r * n, work + r * padded, sizeof(float) * (size_t)n);
}

/*
 * x = M x of `count` rows of n elements: columns[k][n rounded up to 16] is column k of M; sums in k
 * order from 0. work: min(count, 4) rows of n rounded up to 16.
 */
LATHE_INLINE void
matrix_rows(const int n, const int count, const float *columns, float *x, float *work)
{
	enum { ROWS = LATHE_MATRIX_ROWS };
	const int whole = count / ROWS * ROWS;
	for (int i = 0; i < whole; i += ROWS)
		matrix_group(n, ROWS, columns, x + i * n, work);
	if (count % ROWS)
		matrix_group(n, count % ROWS, columns, x + whole * n, work);
}

/* Rows [0, rows) of M x on `part` columns (a slice or fewer) of x [n][right]. */
LATHE_INLINE void
matrix_columns_tile(const int n, const int right, const int rows, const int part,
		    const float *columns, const float *x, float *y)
{
	vs sum[8];
	LATHE_UNROLL(8)
	for (int r = 0; r < rows; r++)
		sum[r] = vs_set1(0.0f);
	for (int k = 0; k < n; k++) {
		const vs a = vs_load_first(x + k * right, part);
		const float *c = columns + k * LATHE_PAD(n, 16);
		LATHE_UNROLL(8)
		for (int r = 0; r < rows; r++)
			sum[r] = vs_fma(vs_set1(c[r]), a, sum[r]);
	}
	LATHE_UNROLL(8)
	for (int r = 0; r < rows; r++)
		vs_store_first(y + r * right, sum[r], part);
}

/* M x on the view [n][right], right > 1; columns as above. work: n * right floats. */
LATHE_INLINE void
matrix_columns(const int n, const int right, const float *columns, float *x, float *work)
{
	const int whole = right / LATHE_SLICE * LATHE_SLICE, rest = n % 8;
	for (int i = 0; i + 8 <= n; i += 8) {
		for (int c = 0; c < whole; c += LATHE_SLICE)
			matrix_columns_tile(n, right, 8, LATHE_SLICE, columns + i, x + c,
					    work + i * right + c);
		if (whole < right)
			matrix_columns_tile(n, right, 8, right - whole, columns + i, x + whole,
					    work + i * right + whole);
	}
	for (int c = 0; rest && c < whole; c += LATHE_SLICE)
		matrix_columns_tile(n, right, rest, LATHE_SLICE, columns + n - rest, x + c,
				    work + (n - rest) * right + c);
	if (rest && whole < right)
		matrix_columns_tile(n, right, rest, right - whole, columns + n - rest, x + whole,
				    work + (n - rest) * right + whole);
	memcpy(x, work, sizeof(float) * (size_t)(n * right));
}

/* x -= v f, f = factor (v . x), factor = 2 / (v . v), which stands behind v; v is padded with zeros
 * to a vector. */
LATHE_INLINE void
householder_row(const int n, const float *v, float *x)
{
	vf p = vf_zero();
	for (int i = 0; i < n; i += 16)
		p = vf_fma(vf_load(v + i), n - i < 16 ? vf_load_part(x + i, n - i) : vf_load(x + i),
			   p);
	const float f = vf_tree(p) * v[LATHE_PAD(n, 16)];
	for (int i = 0; i < n; i++)
		x[i] = s_fma(-f, v[i], x[i]);
}

/* Pairs (i, i + n / 2) as rope rotates them, by cosines and, behind them, sines, each padded to a
 * vector. */
LATHE_INLINE void
angles_row(const int n, const float *angles, float *x)
{
	rope_row(1, n, x, angles, angles + LATHE_PAD(n / 2, 16), x);
}

/* Elements i and j by the angle of cosine c and sine s, as rope rotates a pair. */
LATHE_INLINE void
givens_row(const int i, const int j, const float c, const float s, float *x)
{
	const float a = x[i], b = x[j];
	x[i] = s_fma(a, c, -(b * s));
	x[j] = s_fma(a, s, b * c);
}

/* n elements `stride` apart, to a row and back. */
LATHE_INLINE void
gather_row(const int n, const int stride, const float *x, float *y)
{
	for (int i = 0; i < n; i++)
		y[i] = x[i * stride];
}

LATHE_INLINE void
scatter_row(const int n, const int stride, const float *y, float *x)
{
	for (int i = 0; i < n; i++)
		x[i * stride] = y[i];
}
