/*
 * Linear kernels of AVX2, FMA and F16C: one block of 32 rows, a tile of tokens. A line set is four
 * quarters of 8 rows. Products of 4-bit codes are summed in 16 bits as long as they cannot
 * saturate, then widened; 8-bit codes and their activations are widened first.
 */

/* Tokens in a tile: what fits 16 registers. */
#define LATHE_TILE_A8 4
#define LATHE_TILE_A16 2
#define LATHE_TILE_F32 2

enum { LINEAR_TOKENS = 16, LINEAR_QUARTERS = 4, LINEAR_STRETCH = 16 };

LATHE_INLINE __m256i
linear_quarter(const uint8_t *w)
{
	return _mm256_loadu_si256((const __m256i *)(const void *)w);
}

/* Quarter q of the first line of a line set; the others of its half follow 64 bytes apart. */
LATHE_INLINE ptrdiff_t
linear_at(const Linear s, const int q)
{
	return q / 2 * 64 * LINEAR_LINES(s) + q % 2 * 32;
}

/* Bits [from, from + 8) of each byte of the line at w, as far as the mask lets them. */
LATHE_INLINE __m256i
linear_bits(const uint8_t *w, const int from, const int mask)
{
	const __m256i x = _mm256_srlv_epi32(linear_quarter(w), _mm256_set1_epi32(from));

	return _mm256_and_si256(x, _mm256_set1_epi8((char)mask));
}

/* The same, `by` bits higher. */
LATHE_INLINE __m256i
linear_bits_up(const uint8_t *w, const int from, const int mask, const int by)
{
	return _mm256_sllv_epi32(linear_bits(w, from, mask), _mm256_set1_epi32(by));
}

/* v mod `by` of bytes v < 3 by. */
LATHE_INLINE __m256i
linear_mod(__m256i v, const int by)
{
	const __m256i step = _mm256_set1_epi8((char)by);

	v = _mm256_min_epu8(v, _mm256_sub_epi8(v, step));
	return _mm256_min_epu8(v, _mm256_sub_epi8(v, step));
}

/* Digit j to the base 3 of the bytes at w. */
LATHE_INLINE __m256i
linear_trit(const uint8_t *w, const int j)
{
	/* 0, 1 and 2 times 3, 9 and 27 by their low nibbles */
	const __m256i digits = _mm256_broadcastsi128_si256(
		_mm_setr_epi8(0, 0, 2, 1, 0, 0, 2, 0, 0, 1, 0, 1, 0, 0, 0, 0));
	const __m256i v = linear_quarter(w), r4 = linear_mod(v, 81), r3 = linear_mod(r4, 27);
	const __m256i r2 = linear_mod(r3, 9), r1 = linear_mod(r2, 3);

	switch (j) {
	case 4: /* 81 and 162 have it at bit 6 */
		return _mm256_and_si256(_mm256_srli_epi16(_mm256_sub_epi8(v, r4), 6),
					_mm256_set1_epi8(3));
	case 3:
		return _mm256_shuffle_epi8(digits, _mm256_sub_epi8(r4, r3));
	case 2:
		return _mm256_shuffle_epi8(digits, _mm256_sub_epi8(r3, r2));
	case 1:
		return _mm256_shuffle_epi8(digits, _mm256_sub_epi8(r2, r1));
	default:
		return r1;
	}
}

/* The codes of slot j, 8 rows; w: their quarter of the first line of the set. */
LATHE_INLINE __m256i
linear_slot_codes(const Linear s, const uint8_t *w, const int j)
{
	if (s.trits)
		return linear_trit(w, j);
	switch (s.bits) {
	case 2:
		return linear_bits(w, 2 * j, 3);
	case 3:
		if (j < 6)
			return linear_bits(w + j / 2 * 64, j == 5 ? 5 : j % 2 * 3, 7);
		return _mm256_or_si256(linear_bits(w + (j - 6) * 64, 5, 6),
				       linear_bits(w + 128, 10 - j, 1));
	case 4:
		return linear_bits(w, 4 * j, 15);
	case 5:
		return _mm256_or_si256(linear_bits(w + j / 2 * 64, j % 2 * 4, 15),
				       linear_bits_up(w + 256, j, 1, 4));
	case 6:
		if (j < 3)
			return linear_bits(w + j * 64, 0, 63);
		return _mm256_or_si256(
			_mm256_or_si256(linear_bits(w, 2, 48), linear_bits(w + 64, 4, 12)),
			linear_bits(w + 128, 6, 3));
	default:
		return linear_quarter(w);
	}
}

LATHE_INLINE __m256i
linear_mask(__m256i x)
{
	return _mm256_and_si256(x, _mm256_set1_epi8(15));
}

/* Four activation codes in every dword. */
LATHE_INLINE __m256i
linear_slot(const int8_t *p)
{
	int32_t v;

	memcpy(&v, p, sizeof(v));
	return _mm256_set1_epi32(v);
}

/* Scales or minima of rows 8 q .. 8 q + 7 from the line at w. */
LATHE_INLINE __m256
linear_scales(const Linear s, const uint8_t *w, const int q)
{
	__m128i h;

	if (s.scale_bits != 16)
		return _mm256_loadu_ps((const float *)(const void *)(w + 32 * q));
	h = _mm_loadu_si128((const __m128i *)(const void *)(w + 16 * q));
	if (s.bf16)
		return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(h), 16));
	return _mm256_cvtph_ps(h);
}

/* What to subtract from the codes of rows 8 q .. 8 q + 7; scales: their group's. */
LATHE_INLINE __m256i
linear_zero(const Linear s, const uint8_t *scales, const int q)
{
	if (!s.zeros)
		return _mm256_set1_epi32(s.offset);
	return _mm256_cvtepu8_epi32(_mm_loadl_epi64(
		(const __m128i *)(const void *)(scales + s.scale_bits * 4 + 8 * q)));
}

/* ---- 4-bit codes: 8-bit products
 * ------------------------------------------------------------------ */

/*
 * What a pass over a quarter's sets multiplies with: mt codes planes, a token's two planes of
 * 16-bit activations counting as two.
 */
LATHE_INLINE __m256i
linear_codes(const Linear s, const int mt, const int8_t *hi, const int8_t *lo, int slot,
	     const int v)
{
	const ptrdiff_t at = 4 * (ptrdiff_t)(slot * mt);

	if (s.planes == 2 && v >= mt)
		return linear_slot(lo + at + 4 * (v - mt));
	return linear_slot(hi + at + 4 * v);
}

/*
 * sum[v] += sums of products over n <= 4 sets of 4-bit codes, 8 rows; w: their quarter of the first
 * set. A 16-bit lane takes 2 * 15 * 128 a product, and 8 of them.
 */
LATHE_INLINE void
linear_sets4(const Linear s, const int mt, const int n, const uint8_t *w, const int8_t *hi,
	     const int8_t *lo, __m256i *sum)
{
	const int vectors = s.planes * mt;
	__m256i t[LINEAR_TOKENS];

	LATHE_UNROLL(8)
	for (int v = 0; v < vectors; v++)
		t[v] = _mm256_setzero_si256();
	LATHE_UNROLL(4)
	for (int j = 0; j < n; j++) {
		const __m256i x = linear_quarter(w + LINEAR_SET * j);
		const __m256i low = linear_mask(x);
		const __m256i high = linear_mask(_mm256_srli_epi16(x, 4));

		LATHE_UNROLL(8)
		for (int v = 0; v < vectors; v++) {
			const __m256i a = linear_codes(s, mt, hi, lo, 2 * j, v);
			const __m256i b = linear_codes(s, mt, hi, lo, 2 * j + 1, v);

			t[v] = _mm256_add_epi16(t[v], _mm256_maddubs_epi16(low, a));
			t[v] = _mm256_add_epi16(t[v], _mm256_maddubs_epi16(high, b));
		}
	}
	LATHE_UNROLL(8)
	for (int v = 0; v < vectors; v++) {
		t[v] = _mm256_madd_epi16(t[v], _mm256_set1_epi16(1));
		sum[v] = _mm256_add_epi32(sum[v], t[v]);
	}
}

/* Any number of sets of one quarter, 4-bit codes. */
LATHE_INLINE void
linear_dot4(const Linear s, const int mt, const int sets, const uint8_t *w, const int8_t *hi,
	    const int8_t *lo, __m256i *sum)
{
	LATHE_UNROLL(1)
	for (int i = 0; i < sets / 4; i++) {
		linear_sets4(s, mt, 4, w, hi, lo, sum);
		w += LINEAR_SET * 4;
		hi += 32 * mt;
		if (s.planes == 2)
			lo += 32 * mt;
	}
	if (sets % 4)
		linear_sets4(s, mt, sets % 4, w, hi, lo, sum);
}

/* ---- 2, 3, 5, 6 bits: 8-bit products, a slot at a time --------------------------------------- */

/* sum[v] += sums of products over slots [first, end) of one line set; they fit 16 bits. */
LATHE_INLINE void
linear_slots_of(const Linear s, const int mt, const int first, const int end, const uint8_t *w,
		const int8_t *hi, const int8_t *lo, __m256i *sum)
{
	const int vectors = s.planes * mt;
	__m256i t[LINEAR_TOKENS];

	LATHE_UNROLL(8)
	for (int v = 0; v < vectors; v++)
		t[v] = _mm256_setzero_si256();
	LATHE_UNROLL(8)
	for (int j = first; j < end; j++) {
		const __m256i x = linear_slot_codes(s, w, j);

		LATHE_UNROLL(8)
		for (int v = 0; v < vectors; v++) {
			const __m256i a = linear_codes(s, mt, hi, lo, j, v);

			t[v] = _mm256_add_epi16(t[v], _mm256_maddubs_epi16(x, a));
		}
	}
	LATHE_UNROLL(8)
	for (int v = 0; v < vectors; v++) {
		t[v] = _mm256_madd_epi16(t[v], _mm256_set1_epi16(1));
		sum[v] = _mm256_add_epi32(sum[v], t[v]);
	}
}

/* One line set, of which n slots count. */
LATHE_INLINE void
linear_set_slots(const Linear s, const int mt, const int n, const uint8_t *w, const int8_t *hi,
		 const int8_t *lo, __m256i *sum)
{
	/* A 16-bit lane takes 2 * 63 * 128 a product and 2 of them, 2 * 31 * 128 and 4, or 8. */
	const int most = s.bits == 6 ? 2 : s.bits == 5 ? 4 : 8;

	LATHE_UNROLL(4)
	for (int j = 0; j < n; j += most)
		linear_slots_of(s, mt, j, n - j < most ? n : j + most, w, hi, lo, sum);
}

/* Any number of slots of one quarter. */
LATHE_INLINE void
linear_dot_slots(const Linear s, const int mt, const int n, const uint8_t *w, const int8_t *hi,
		 const int8_t *lo, __m256i *sum)
{
	const int slots = LINEAR_SLOTS(s);

	LATHE_UNROLL(1)
	for (int i = 0; i < n / slots; i++) {
		linear_set_slots(s, mt, slots, w, hi, lo, sum);
		w += LINEAR_SET_BYTES(s);
		hi += 4 * slots * mt;
		if (s.planes == 2)
			lo += 4 * slots * mt;
	}
	if (n % slots)
		linear_set_slots(s, mt, n % slots, w, hi, lo, sum);
}

/* ---- 8-bit codes: 16-bit products --------------------------------------------------------- */

/* Codes of a stretch of sets as 16-bit numbers: of each slot columns 0 and 2, and 1 and 3. */
typedef struct LinearPairs {
	int32_t even[LINEAR_STRETCH * LINEAR_TOKENS], odd[LINEAR_STRETCH * LINEAR_TOKENS];
} LinearPairs;

/* Fills p from the codes of n dwords, n rounded up to 4; lo: the low plane where it joins. */
LATHE_INLINE void
linear_pairs(const int n, const int8_t *hi, const int8_t *lo, const int joins, LinearPairs *p)
{
	for (int i = 0; i < n; i += 4) {
		const __m128i h = _mm_loadu_si128((const __m128i *)(const void *)(hi + 4 * i));
		__m128i even = _mm_slli_epi16(h, 8), odd;

		if (joins) {
			const __m128i l =
				_mm_loadu_si128((const __m128i *)(const void *)(lo + 4 * i));

			odd = _mm_and_si128(h, _mm_set1_epi16(-256));
			even = _mm_add_epi16(even, _mm_srai_epi16(_mm_slli_epi16(l, 8), 8));
			odd = _mm_add_epi16(odd, _mm_srai_epi16(l, 8));
		} else {
			odd = _mm_srai_epi16(h, 8);
			even = _mm_srai_epi16(even, 8);
		}
		_mm_storeu_si128((__m128i *)(void *)(p->even + i), even);
		_mm_storeu_si128((__m128i *)(void *)(p->odd + i), odd);
	}
}

/* sum[m] += sums of products over `sets` sets of 8-bit codes, 8 rows, one plane. */
LATHE_INLINE void
linear_dot8(const int mt, const int sets, const uint8_t *w, const LinearPairs *p, __m256i *sum)
{
	LATHE_UNROLL(4)
	for (int j = 0; j < sets; j++) {
		const __m256i x = linear_quarter(w + LINEAR_SET * j);
		const __m256i even = _mm256_and_si256(x, _mm256_set1_epi16(255));
		const __m256i odd = _mm256_srli_epi16(x, 8);

		LATHE_UNROLL(8)
		for (int m = 0; m < mt; m++) {
			const __m256i a = _mm256_set1_epi32(p->even[j * mt + m]);
			const __m256i b = _mm256_set1_epi32(p->odd[j * mt + m]);

			sum[m] = _mm256_add_epi32(sum[m],
						  _mm256_add_epi32(_mm256_madd_epi16(even, a),
								   _mm256_madd_epi16(odd, b)));
		}
	}
}

/* A stretch of sets, all quarters: sum[quarter]. */
LATHE_INLINE void
linear_stretch8(const Linear s, const int mt, const int joins, const int sets, const uint8_t *w,
		const int8_t *hi, const int8_t *lo, __m256i (*sum)[LINEAR_TOKENS])
{
	LinearPairs p, low;

	linear_pairs(sets * mt, hi, lo, joins, &p);
	if (s.planes == 2 && !joins)
		linear_pairs(sets * mt, lo, lo, 0, &low);
	LATHE_UNROLL(1)
	for (int q = 0; q < LINEAR_QUARTERS; q++) {
		linear_dot8(mt, sets, w + 32 * q, &p, sum[q]);
		if (s.planes == 2 && !joins)
			linear_dot8(mt, sets, w + 32 * q, &low, sum[q] + mt);
	}
}

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

/* Sums of products of quarter q over so many slots, all bits but 8. */
LATHE_INLINE void
linear_dot(const Linear s, const int mt, const int slots, const uint8_t *w, const int q,
	   const int8_t *hi, const int8_t *lo, __m256i *sum)
{
	if (s.bits == 4)
		linear_dot4(s, mt, (slots + 1) / 2, w + 32 * q, hi, lo, sum);
	else
		linear_dot_slots(s, mt, slots, w + linear_at(s, q), hi, lo, sum);
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
linear_stretch(const Linear s, const int mt, const int joins, const int slots, const uint8_t *w,
	       const int8_t *hi, const int8_t *lo, __m256i (*sum)[LINEAR_TOKENS])
{
	if (s.bits == 8) {
		linear_stretch8(s, mt, joins, slots, w, hi, lo, sum);
		return;
	}
	LATHE_UNROLL(1)
	for (int q = 0; q < LINEAR_QUARTERS; q++)
		linear_dot(s, mt, slots, w, q, hi, lo, sum[q]);
}

LATHE_INLINE void
linear_unit_int(const Linear s, const int mt, const int width, const uint8_t *w, const Act *a,
		int k, int unit, const uint8_t *scales, float *acc)
{
	const int slots = (width + 3) / 4, joins = s.bits == 8 && LINEAR_JOINS(s, width);
	const int stretch = LINEAR_STRETCH * LINEAR_SLOTS(s), step = 4 * stretch * mt;
	const ptrdiff_t at = (ptrdiff_t)unit * mt;
	const int8_t *hi = a->hi + (ptrdiff_t)k * mt;
	const int8_t *lo = s.planes == 2 ? a->lo + (ptrdiff_t)k * mt : hi;
	__m256i sum[LINEAR_QUARTERS][LINEAR_TOKENS];

	if (s.bits != 8 && slots <= stretch) {
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
