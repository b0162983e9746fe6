/*
 * Linear kernels of AVX2, FMA and F16C: one block of 32 rows, a tile of tokens. Sums of products of
 * codes are the level's own (products_ISA.h).
 */

/* ---- a unit ------------------------------------------------------------------------------- */

/* -z * codes, z as linear_zero gives it. */
LATHE_INLINE __m256i
linear_less(const Linear s, __m256i z, int32_t codes)
{
	if (s.zeros)
		return _mm256_mullo_epi32(z, _mm256_set1_epi32(-codes));
	return _mm256_set1_epi32(-s.offset * codes);
}

/* Start of the sums of (u - z) c of a quarter over a unit: -z * (sum of c). */
LATHE_INLINE void
linear_start(const Linear s, const int mt, const int joins, const Act *a, ptrdiff_t at, __m256i z,
	     __m256i *sum)
{
	const int any = s.zeros || s.offset;

	LATHE_UNROLL(8)
	for (int m = 0; m < mt; m++) {
		int32_t codes = any ? a->sum_hi[at + m] : 0;

		if (any && joins)
			codes = 256 * codes + a->sum_lo[at + m];
		sum[m] = linear_less(s, z, codes);
		if (s.planes == 2 && !joins)
			sum[mt + m] = linear_less(s, z, any ? a->sum_lo[at + m] : 0);
	}
}

/* Adds one unit's sums of token m (t: as floats, both planes joined) to acc. */
LATHE_INLINE __m256
linear_merge(const Linear s, const Act *a, ptrdiff_t at, __m256 t, __m256 e, __m256 f, __m256 acc)
{
	if (s.act_group)
		t = _mm256_mul_ps(t, _mm256_set1_ps(a->scale[at]));
	acc = _mm256_fmadd_ps(t, e, acc);
	if (s.minimum) {
		int32_t codes = a->sum_hi[at];
		__m256 all;

		if (s.planes == 2)
			codes = codes * 256 + a->sum_lo[at];
		all = _mm256_cvtepi32_ps(_mm256_set1_epi32(codes));
		if (s.act_group)
			all = _mm256_mul_ps(all, _mm256_set1_ps(a->scale[at]));
		acc = _mm256_fmadd_ps(all, f, acc);
	}
	return acc;
}

/* Adds the sums of quarter q to acc. */
LATHE_INLINE void
linear_merge_quarter(const Linear s, const int mt, const int joins, const Act *a, ptrdiff_t at,
		     const uint8_t *scales, const int q, const __m256i *sum, float *acc)
{
	const __m256 e = linear_scales(s, scales, q);
	const __m256 f = s.minimum ? linear_scales(s, scales + s.scale_bits * 4, q) : e;

	LATHE_UNROLL(8)
	for (int m = 0; m < mt; m++) {
		float *to = acc + 32 * m + 8 * q;
		__m256 t = _mm256_cvtepi32_ps(sum[m]);

		if (s.planes == 2 && !joins)
			t = _mm256_fmadd_ps(t, _mm256_set1_ps(256),
					    _mm256_cvtepi32_ps(sum[mt + m]));
		_mm256_storeu_ps(to, linear_merge(s, a, at + m, t, e, f, _mm256_loadu_ps(to)));
	}
}

/* Units of `slots` slots that the first cache level holds for four passes: a quarter at a time. */
LATHE_INLINE void
linear_unit_short(const Linear s, const int mt, const int slots, const uint8_t *w, const Act *a,
		  ptrdiff_t at, const int8_t *hi, const int8_t *lo, const uint8_t *scales,
		  float *acc)
{
	__m256i sum[LINEAR_TOKENS];

	LATHE_UNROLL(1)
	for (int q = 0; q < LINEAR_QUARTERS; q++) {
		linear_start(s, mt, 0, a, at, linear_zero(s, scales, q), sum);
		linear_dot(s, mt, slots, w, q, hi, lo, sum);
		linear_merge_quarter(s, mt, 0, a, at, scales, q, sum, acc);
	}
}

LATHE_INLINE void
linear_unit_int(const Linear s, const int mt, const int width, const uint8_t *w, const Act *a,
		int k, int unit, const uint8_t *scales, float *acc)
{
	const int slots = (width + 3) / 4, joins = LINEAR_WIDE(s) && LINEAR_JOINS(s, width);
	const int stretch = LINEAR_STRETCH * LINEAR_SLOTS(s), step = 4 * stretch * mt;
	const ptrdiff_t at = (ptrdiff_t)unit * mt;
	const int8_t *hi = a->hi + (ptrdiff_t)k * mt;
	const int8_t *lo = s.planes == 2 ? a->lo + (ptrdiff_t)k * mt : hi;
	__m256i sum[LINEAR_QUARTERS][LINEAR_TOKENS];

	if (!LINEAR_WIDE(s) && slots <= stretch) {
		linear_unit_short(s, mt, slots, w, a, at, hi, lo, scales, acc);
		return;
	}
	for (int q = 0; q < LINEAR_QUARTERS; q++)
		linear_start(s, mt, joins, a, at, linear_zero(s, scales, q), sum[q]);
	LATHE_UNROLL(1)
	for (int i = 0; i < slots / stretch; i++) {
		linear_stretch(s, mt, joins, stretch, w, hi, lo, sum);
		w += LINEAR_SET_BYTES(s) * LINEAR_STRETCH;
		hi += step;
		if (s.planes == 2)
			lo += step;
	}
	if (slots % stretch)
		linear_stretch(s, mt, joins, slots % stretch, w, hi, lo, sum);
	LATHE_UNROLL(1)
	for (int q = 0; q < LINEAR_QUARTERS; q++)
		linear_merge_quarter(s, mt, joins, a, at, scales, q, sum[q], acc);
}

/* ---- float activations -------------------------------------------------------------------- */

/* (float)(u - z) of column i (below 4) of the codes of a slot. */
LATHE_INLINE __m256
linear_code_f32(const Linear s, __m256i x, __m256i z, const int i)
{
	__m256i u = _mm256_srlv_epi32(x, _mm256_set1_epi32(8 * i));

	u = _mm256_and_si256(u, _mm256_set1_epi32((1 << s.bits) - 1));
	if (s.zeros || s.offset)
		u = _mm256_sub_epi32(u, z);
	return _mm256_cvtepi32_ps(u);
}

/* Slot j of the set at w times mt tokens whose values lie at x. */
LATHE_INLINE void
linear_slot_float(const Linear s, const int mt, const uint8_t *scales, const uint8_t *w,
		  const int j, const float *x, __m256 (*p)[LINEAR_QUARTERS])
{
	LATHE_UNROLL(4)
	for (int q = 0; q < LINEAR_QUARTERS; q++) {
		const __m256i u = linear_slot_codes(s, w + linear_at(s, q), j);
		const __m256i z = linear_zero(s, scales, q);

		LATHE_UNROLL(4)
		for (int i = 0; i < 4; i++) {
			const __m256 c = linear_code_f32(s, u, z, i);

			LATHE_UNROLL(8)
			for (int m = 0; m < mt; m++)
				p[m][q] =
					_mm256_fmadd_ps(c, _mm256_set1_ps(x[i * mt + m]), p[m][q]);
		}
	}
}

LATHE_INLINE void
linear_unit_float(const Linear s, const int mt, const int width, const uint8_t *w, const Act *a,
		  int k, int unit, const uint8_t *scales, float *acc)
{
	const int slots = LINEAR_SLOTS(s), n = (width + 3) / 4;
	const uint8_t *minima = scales + s.scale_bits * 4;
	const float *x = a->x + (ptrdiff_t)k * mt;
	__m256 p[LINEAR_TOKENS][LINEAR_QUARTERS];

	LATHE_UNROLL(8)
	for (int m = 0; m < mt; m++) {
		LATHE_UNROLL(4)
		for (int q = 0; q < LINEAR_QUARTERS; q++)
			p[m][q] = _mm256_setzero_ps();
	}
	LATHE_UNROLL(1)
	for (int i = 0; i < n / slots; i++, w += LINEAR_SET_BYTES(s)) {
		LATHE_UNROLL(8)
		for (int j = 0; j < slots; j++, x += 4 * mt)
			linear_slot_float(s, mt, scales, w, j, x, p);
	}
	LATHE_UNROLL(8)
	for (int j = 0; j < n % slots; j++, x += 4 * mt)
		linear_slot_float(s, mt, scales, w, j, x, p);
	LATHE_UNROLL(4)
	for (int q = 0; q < LINEAR_QUARTERS; q++) {
		const __m256 e = linear_scales(s, scales, q);
		const __m256 f = s.minimum ? linear_scales(s, minima, q) : e;

		LATHE_UNROLL(8)
		for (int m = 0; m < mt; m++) {
			float *to = acc + 32 * m + 8 * q;
			__m256 t = _mm256_fmadd_ps(p[m][q], e, _mm256_loadu_ps(to));

			if (s.minimum)
				t = _mm256_fmadd_ps(
					_mm256_set1_ps(a->xsum[(ptrdiff_t)unit * mt + m]), f, t);
			_mm256_storeu_ps(to, t);
		}
	}
}

/* ---- a block ------------------------------------------------------------------------------ */

/* One unit of any kind: `width` columns from k on; its group's scales, its own line sets at w. */
LATHE_INLINE void
linear_unit(const Linear s, const int mt, const int width, const uint8_t *scales, const uint8_t *w,
	    const Act *a, int k, int unit, float *acc)
{
	if (s.planes == 0)
		linear_unit_float(s, mt, width, w, a, k, unit, scales, acc);
	else
		linear_unit_int(s, mt, width, w, a, k, unit, scales, acc);
}

/* Adds a run's partial sums to the totals in y; the first run begins them. */
LATHE_INLINE void
linear_total(const int mt, int run, const float *acc, float *y)
{
	for (int i = 0; i < 32 * mt; i += 8) {
		__m256 t = _mm256_loadu_ps(acc + i);

		if (run)
			t = _mm256_add_ps(_mm256_loadu_ps(y + i), t);
		_mm256_storeu_ps(y + i, t);
	}
}

/* y[m] += shift of token m * row sums: what zero points of activations leave of a unit, or of the
 * row. */
LATHE_INLINE void
linear_shift(const int mt, const uint8_t *sums, const float *shift, float *y)
{
	LATHE_UNROLL(4)
	for (int q = 0; q < LINEAR_QUARTERS; q++) {
		const __m256 e = _mm256_loadu_ps((const float *)(const void *)(sums + 32 * q));

		LATHE_UNROLL(8)
		for (int m = 0; m < mt; m++) {
			float *to = y + 32 * m + 8 * q;

			_mm256_storeu_ps(to, _mm256_fmadd_ps(_mm256_set1_ps(shift[m]), e,
							     _mm256_loadu_ps(to)));
		}
	}
}

LATHE_INLINE void
linear_block_int(const Linear s, const int mt, const uint8_t *w, const Act *a, float *y)
{
	const int columns = s.k / s.split, sums = s.sums < columns ? s.sums : columns;
	const uint8_t *row_sums = w, *scales = w;
	int k = 0, unit = 0;

	w += LINEAR_UNIT_SUMS(s) ? 0 : LINEAR_ROW_SUMS(s);
	for (int run = 0; run < s.split; run++) {
		LATHE_ALIGN(32) float acc[32 * LINEAR_TOKENS];

		for (int i = 0; i < 32 * mt; i += 8)
			_mm256_store_ps(acc + i, _mm256_setzero_ps());
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
			for (int r = 32 * m; r < 32 * (m + 1); r += 8)
				_mm256_storeu_ps(y + r, _mm256_mul_ps(_mm256_set1_ps(a->scale[m]),
								      _mm256_loadu_ps(y + r)));
}

/* 8 float weights of one column. */
LATHE_INLINE __m256
linear_weights(const Linear s, const uint8_t *w, const int q)
{
	if (s.bits == 16)
		return _mm256_cvtph_ps(
			_mm_loadu_si128((const __m128i *)(const void *)(w + 16 * q)));
	return _mm256_loadu_ps((const float *)(const void *)(w + 32 * q));
}

LATHE_INLINE void
linear_block_float(const Linear s, const int mt, const uint8_t *w, const Act *a, float *y)
{
	const int columns = s.k / s.split;
	const float *x = a->x;

	for (int run = 0; run < s.split; run++) {
		__m256 acc[LINEAR_TOKENS][LINEAR_QUARTERS];

		LATHE_UNROLL(8)
		for (int m = 0; m < mt; m++) {
			LATHE_UNROLL(4)
			for (int q = 0; q < LINEAR_QUARTERS; q++)
				acc[m][q] = _mm256_setzero_ps();
		}
		for (int k = 0; k < columns; k++, w += 4 * s.bits, x += mt) {
			LATHE_UNROLL(4)
			for (int q = 0; q < LINEAR_QUARTERS; q++) {
				const __m256 c = linear_weights(s, w, q);

				LATHE_UNROLL(8)
				for (int m = 0; m < mt; m++)
					acc[m][q] =
						_mm256_fmadd_ps(c, _mm256_set1_ps(x[m]), acc[m][q]);
			}
		}
		LATHE_UNROLL(8)
		for (int m = 0; m < mt; m++) {
			LATHE_UNROLL(4)
			for (int q = 0; q < LINEAR_QUARTERS; q++) {
				float *t = y + 32 * m + 8 * q;

				if (run)
					acc[m][q] = _mm256_add_ps(_mm256_loadu_ps(t), acc[m][q]);
				_mm256_storeu_ps(t, acc[m][q]);
			}
		}
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
