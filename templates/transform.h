/*
 * Transforms of rows at run time. Sylvester butterflies go in ascending strides: every element is a
 * fixed tree of additions, so blocks of registers change no bit. A row that a transform writes has
 * the room of rows.h; what stands behind its n elements is not touched.
 */

/* Vectors of a run that are transformed in registers. */
#if LATHE_VF_REGISTERS >= 32
#define LATHE_BUTTERFLY_VECTORS 16
#else
#define LATHE_BUTTERFLY_VECTORS 4
#endif

#define BUTTERFLY_STAGE(h)                                         \
	if (vectors > (h)) {                                       \
		LATHE_UNROLL(16)                                   \
		for (int i = 0; i < vectors; i++)                  \
			if (!(i & (h))) {                          \
				const vf a = v[i], b = v[i | (h)]; \
				v[i] = vf_add(a, b);               \
				v[i | (h)] = vf_sub(a, b);         \
			}                                          \
	}

/* Strides 1 .. 8 * vectors of 16 * vectors elements; vectors is a literal power of two <= 16. */
LATHE_INLINE void
butterfly_block(const int vectors, float *x)
{
	vf v[16];
	LATHE_UNROLL(16)
	for (int i = 0; i < vectors; i++)
		v[i] = vf_butterfly(
			vf_butterfly(vf_butterfly(vf_butterfly(vf_load(x + 16 * i), 1), 2), 4), 8);
	BUTTERFLY_STAGE(1)
	BUTTERFLY_STAGE(2)
	BUTTERFLY_STAGE(4)
	BUTTERFLY_STAGE(8)
	LATHE_UNROLL(16)
	for (int i = 0; i < vectors; i++)
		vf_store(x + 16 * i, v[i]);
}

/* Strides h and 2h (both where `two`) of n elements, h a multiple of 16. */
LATHE_INLINE void
butterfly_pass(const int n, const int h, const int two, float *x)
{
	for (int i = 0; i < n; i += (two ? 4 : 2) * h)
		for (int k = i; k < i + h; k += 16) {
			const vf a = vf_load(x + k), b = vf_load(x + k + h);
			const vf s = vf_add(a, b), d = vf_sub(a, b);
			if (!two) {
				vf_store(x + k, s);
				vf_store(x + k + h, d);
				continue;
			}
			const vf e = vf_load(x + k + 2 * h), f = vf_load(x + k + 3 * h);
			const vf t = vf_add(e, f), u = vf_sub(e, f);
			vf_store(x + k, vf_add(s, t));
			vf_store(x + k + h, vf_add(d, u));
			vf_store(x + k + 2 * h, vf_sub(s, t));
			vf_store(x + k + 3 * h, vf_sub(d, u));
		}
}

/* x = Sylvester x, not divided, in place: n a power of two, a literal. */
LATHE_INLINE void
sylvester_row(const int n, float *x)
{
	enum { BLOCK = 16 * LATHE_BUTTERFLY_VECTORS };
	if (n < 16) {
		for (int h = 1; h < n; h *= 2)
			for (int i = 0; i < n; i++)
				if (!(i & h)) {
					const float a = x[i], b = x[i + h];
					x[i] = a + b;
					x[i + h] = a - b;
				}
		return;
	}
	const int block = n < BLOCK ? n : BLOCK;
	for (int i = 0; i < n; i += block)
		butterfly_block(n < BLOCK ? n / 16 : LATHE_BUTTERFLY_VECTORS, x + i);
	for (int h = block; h < n; h *= 4)
		butterfly_pass(n, h, 2 * h < n, x);
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

/* x = M x by columns: columns[k][n rounded up to 16] is column k of M; sums in k order from 0. work
 * holds n rounded up to 16 floats. */
LATHE_INLINE void
matrix_row(const int n, const float *columns, float *x, float *work)
{
	const int padded = LATHE_PAD(n, 16);
	for (int i = 0; i < padded; i += 16) {
		vf y = vf_zero();
		for (int k = 0; k < n; k++)
			y = vf_fma(vf_load(columns + (size_t)k * (size_t)padded + i), vf_set1(x[k]),
				   y);
		vf_store(work + i, y);
	}
	memcpy(x, work, sizeof(float) * (size_t)n);
}

/* x -= v f, f = factor (v . x), factor = 2 / (v . v); v is padded with zeros to a vector. */
LATHE_INLINE void
householder_row(const int n, const float *v, const float factor, float *x)
{
	vf p = vf_zero();
	for (int i = 0; i < n; i += 16)
		p = vf_fma(vf_load(v + i), n - i < 16 ? vf_load_part(x + i, n - i) : vf_load(x + i),
			   p);
	const float f = vf_tree(p) * factor;
	for (int i = 0; i < n; i++)
		x[i] = s_fma(-f, v[i], x[i]);
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
