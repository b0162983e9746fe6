/*
 * Linear kernels of AVX-512 (F, BW, DQ, VL, VNNI): one block of 32 rows, a tile of tokens.
 *
 * Decoding (one token) is bound by memory, so codes are masked in place and never shifted: a line
 * of 4-bit codes gives the operands x & 15 and x & 0xf0, the second with weight 16, and each has an
 * accumulator of its own that is shifted once a group, exactly. A tile of tokens is bound by dot
 * products: there the unpacked line serves all tokens.
 */

/* Tokens in a tile: what fits the 32 registers without a spill. */
#define LATHE_TILE_A8 4
#define LATHE_TILE_A16 4
#define LATHE_TILE_F32 6

enum { LINEAR_TOKENS = 8 };

LATHE_INLINE int32_t
linear_i32(const void *p)
{
	int32_t v;

	memcpy(&v, p, sizeof(v));
	return v;
}

/* Four activation codes in every dword. */
LATHE_INLINE __m512i
linear_slot(const int8_t *p)
{
	return _mm512_set1_epi32(linear_i32(p));
}

LATHE_INLINE __m512i
linear_line(const uint8_t *w)
{
	return _mm512_loadu_si512((const void *)w);
}

LATHE_INLINE __m512i
linear_mask(__m512i x, const int mask)
{
	return _mm512_and_si512(x, _mm512_set1_epi8((char)mask));
}

/* Bits [from, from + 8) of each byte of the line at w, as far as the mask lets them. */
LATHE_INLINE __m512i
linear_bits(const uint8_t *w, const int from, const int mask)
{
	return linear_mask(_mm512_srlv_epi32(linear_line(w), _mm512_set1_epi32(from)), mask);
}

/* v mod 81 of bytes v < 243. */
LATHE_INLINE __m512i
linear_mod81(__m512i v)
{
	const __m512i by = _mm512_set1_epi8(81);

	v = _mm512_min_epu8(v, _mm512_sub_epi8(v, by));
	return _mm512_min_epu8(v, _mm512_sub_epi8(v, by));
}

/* Digits 0 to 3 to the base 3 of n < 81 at bits 0, 2, 4 and 6; filled up to 128. */
static const uint8_t linear_crumbs[128] = {
	0,   1,	  2,   4,   5,	 6,   8,   9,	10,  16,  17,  18,  20,	 21,  22,  24,
	25,  26,  32,  33,  34,	 36,  37,  38,	40,  41,  42,  64,  65,	 66,  68,  69,
	70,  72,  73,  74,  80,	 81,  82,  84,	85,  86,  88,  89,  90,	 96,  97,  98,
	100, 101, 102, 104, 105, 106, 128, 129, 130, 132, 133, 134, 136, 137, 138, 144,
	145, 146, 148, 149, 150, 152, 153, 154, 160, 161, 162, 164, 165, 166, 168, 169,
	170, 0,	  0,   0,   0,	 0,   0,   0,	0,   0,	  0,   0,   0,	 0,   0,   0,
	0,   0,	  0,   0,   0,	 0,   0,   0,	0,   0,	  0,   0,   0,	 0,   0,   0,
	0,   0,	  0,   0,   0,	 0,   0,   0,	0,   0,	  0,   0,   0,	 0,   0,   0,
};

/* The same of bytes r < 81. */
LATHE_INLINE __m512i
linear_trits(__m512i r)
{
	return _mm512_permutex2var_epi8(linear_line(linear_crumbs), r,
					linear_line(linear_crumbs + 64));
}

/* The codes of slot j, 16 rows; w: their half of the set. */
LATHE_INLINE __m512i
linear_codes(const Linear s, const uint8_t *w, const int j)
{
	__m512i x;

	if (s.trits) {
		x = linear_mod81(linear_line(w));
		/* 81 and 162 have digit 4 at bit 6. */
		x = j == 4 ? _mm512_sub_epi8(linear_line(w), x) : linear_trits(x);
		x = _mm512_srlv_epi32(x, _mm512_set1_epi32(j == 4 ? 6 : 2 * j));
		return linear_mask(x, 3);
	}
	switch (s.bits) {
	case 2:
		return linear_bits(w, 2 * j, 3);
	case 3:
		if (j < 6)
			return linear_bits(w + j / 2 * 64, j == 5 ? 5 : j % 2 * 3, 7);
		return _mm512_or_si512(linear_bits(w + (j - 6) * 64, 5, 6),
				       linear_bits(w + 128, 10 - j, 1));
	case 4:
		return linear_bits(w, 4 * j, 15);
	case 5:
		x = _mm512_sllv_epi32(linear_bits(w + 256, j, 1), _mm512_set1_epi32(4));
		return _mm512_or_si512(linear_bits(w + j / 2 * 64, j % 2 * 4, 15), x);
	case 6:
		if (j < 3)
			return linear_bits(w + j * 64, 0, 63);
		x = _mm512_or_si512(linear_bits(w, 2, 48), linear_bits(w + 64, 4, 12));
		return _mm512_or_si512(x, linear_bits(w + 128, 6, 3));
	default:
		return linear_line(w);
	}
}

/* Scales or minima of rows 16 h .. 16 h + 15 from the line at w. */
LATHE_INLINE __m512
linear_scales(const Linear s, const uint8_t *w, const int h)
{
	__m256i x;

	if (s.scale_bits != 16)
		return _mm512_loadu_ps((const void *)(w + 64 * h));
	x = _mm256_loadu_si256((const __m256i *)(const void *)(w + 32 * h));
	if (s.bf16)
		return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(x), 16));
	return _mm512_cvtph_ps(x);
}

/* What to subtract from the codes of rows 16 h .. 16 h + 15; scales: their group's. */
LATHE_INLINE __m512i
linear_zero(const Linear s, const uint8_t *scales, const int h)
{
	if (!s.zeros)
		return _mm512_set1_epi32(s.offset);
	return _mm512_cvtepu8_epi32(_mm_loadu_si128(
		(const __m128i *)(const void *)(scales + s.scale_bits * 4 + 16 * h)));
}

/* Start of a sum of (u - z) c over a unit: -z * (sum of c); z as linear_zero gives it. */
LATHE_INLINE __m512i
linear_start(const Linear s, __m512i z, int32_t codes)
{
	if (s.zeros)
		return _mm512_mullo_epi32(z, _mm512_set1_epi32(-codes));
	if (s.offset)
		return _mm512_set1_epi32(-s.offset * codes);
	return _mm512_setzero_si512();
}

/* The sum of a unit's activation codes. */
LATHE_INLINE int32_t
linear_code_sum(const Linear s, const Act *a, ptrdiff_t at)
{
	return s.planes == 2 ? 256 * a->sum_hi[at] + a->sum_lo[at] : a->sum_hi[at];
}

/* hi and lo as one float; lo counts where there are two planes that were not joined. */
LATHE_INLINE __m512
linear_float(const int separate, __m512i hi, __m512i lo)
{
	const __m512 t = _mm512_cvtepi32_ps(hi);

	if (separate)
		return _mm512_fmadd_ps(t, _mm512_set1_ps(256), _mm512_cvtepi32_ps(lo));
	return t;
}

/* Adds one unit's sum of products t of the token whose entries lie at `at`; e, f: scales, minima.
 */
LATHE_INLINE __m512
linear_merge(const Linear s, const Act *a, ptrdiff_t at, __m512 t, __m512 e, __m512 f, __m512 acc)
{
	if (s.act_group)
		t = _mm512_mul_ps(t, _mm512_set1_ps(a->scale[at]));
	acc = _mm512_fmadd_ps(t, e, acc);
	if (s.minimum) {
		__m512 all = _mm512_cvtepi32_ps(_mm512_set1_epi32(linear_code_sum(s, a, at)));

		if (s.act_group)
			all = _mm512_mul_ps(all, _mm512_set1_ps(a->scale[at]));
		acc = _mm512_fmadd_ps(all, f, acc);
	}
	return acc;
}

/* ---- one token ---------------------------------------------------------------------------- */

/* Sums of products of one unit of 4-bit codes: hi[2] and lo[2] are rows 0-15 and 16-31. */
LATHE_INLINE void
linear_dot4(const Linear s, const int sets, const uint8_t *w, const int8_t *c, const int8_t *d,
	    __m512i *hi, __m512i *lo)
{
	const __m512i zero = _mm512_setzero_si512();
	__m512i h0 = hi[0], h1 = hi[1], h2 = zero, h3 = zero;
	__m512i l0 = lo[0], l1 = lo[1], l2 = zero, l3 = zero;

	LATHE_UNROLL(8)
	for (int i = 0; i < sets; i++) {
		const __m512i x = linear_line(w + LINEAR_SET * i);
		const __m512i y = linear_line(w + LINEAR_SET * i + 64);
		const __m512i x0 = linear_mask(x, 15), y0 = linear_mask(y, 15);
		const __m512i x1 = linear_mask(x, 0xf0), y1 = linear_mask(y, 0xf0);

		h0 = _mm512_dpbusd_epi32(h0, x0, linear_slot(c + 8 * i));
		h1 = _mm512_dpbusd_epi32(h1, y0, linear_slot(c + 8 * i));
		h2 = _mm512_dpbusd_epi32(h2, x1, linear_slot(c + 8 * i + 4));
		h3 = _mm512_dpbusd_epi32(h3, y1, linear_slot(c + 8 * i + 4));
		if (s.planes == 2) {
			l0 = _mm512_dpbusd_epi32(l0, x0, linear_slot(d + 8 * i));
			l1 = _mm512_dpbusd_epi32(l1, y0, linear_slot(d + 8 * i));
			l2 = _mm512_dpbusd_epi32(l2, x1, linear_slot(d + 8 * i + 4));
			l3 = _mm512_dpbusd_epi32(l3, y1, linear_slot(d + 8 * i + 4));
		}
	}
	hi[0] = _mm512_add_epi32(h0, _mm512_srai_epi32(h2, 4));
	hi[1] = _mm512_add_epi32(h1, _mm512_srai_epi32(h3, 4));
	lo[0] = _mm512_add_epi32(l0, _mm512_srai_epi32(l2, 4));
	lo[1] = _mm512_add_epi32(l1, _mm512_srai_epi32(l3, 4));
}

/*
 * The same of 8-bit codes, lines in the order of memory, two chains a plane and half. Not unrolled:
 * a loop that runs far ahead of the memory reads more slowly.
 */
LATHE_INLINE void
linear_dot8(const Linear s, const int sets, const uint8_t *w, const int8_t *c, const int8_t *d,
	    __m512i *hi, __m512i *lo)
{
	const __m512i zero = _mm512_setzero_si512();
	__m512i h0 = hi[0], h1 = hi[1], h2 = zero, h3 = zero;
	__m512i l0 = lo[0], l1 = lo[1], l2 = zero, l3 = zero;

	LATHE_UNROLL(1)
	for (int i = 0; i < sets / 2; i++) {
		const __m512i x0 = linear_line(w), y0 = linear_line(w + 64);
		const __m512i x1 = linear_line(w + 128), y1 = linear_line(w + 192);

		h0 = _mm512_dpbusd_epi32(h0, x0, linear_slot(c));
		h1 = _mm512_dpbusd_epi32(h1, y0, linear_slot(c));
		h2 = _mm512_dpbusd_epi32(h2, x1, linear_slot(c + 4));
		h3 = _mm512_dpbusd_epi32(h3, y1, linear_slot(c + 4));
		c += 8;
		if (s.planes == 2) {
			l0 = _mm512_dpbusd_epi32(l0, x0, linear_slot(d));
			l1 = _mm512_dpbusd_epi32(l1, y0, linear_slot(d));
			l2 = _mm512_dpbusd_epi32(l2, x1, linear_slot(d + 4));
			l3 = _mm512_dpbusd_epi32(l3, y1, linear_slot(d + 4));
			d += 8;
		}
		w += 2 * LINEAR_SET;
	}
	if (sets % 2) {
		const __m512i x = linear_line(w), y = linear_line(w + 64);

		h0 = _mm512_dpbusd_epi32(h0, x, linear_slot(c));
		h1 = _mm512_dpbusd_epi32(h1, y, linear_slot(c));
		if (s.planes == 2) {
			l0 = _mm512_dpbusd_epi32(l0, x, linear_slot(d));
			l1 = _mm512_dpbusd_epi32(l1, y, linear_slot(d));
		}
	}
	hi[0] = _mm512_add_epi32(h0, h2);
	hi[1] = _mm512_add_epi32(h1, h3);
	lo[0] = _mm512_add_epi32(l0, l2);
	lo[1] = _mm512_add_epi32(l1, l3);
}

/* One slot of 32 rows, x and y, into the sums of one parity of slots. */
LATHE_INLINE void
linear_slot_one(const Linear s, const uint8_t *w, const int j, const int8_t *c, const int8_t *d,
		__m512i *hi, __m512i *lo)
{
	const __m512i x = linear_codes(s, w, j);
	const __m512i y = linear_codes(s, w + 64 * LINEAR_LINES(s), j);

	hi[0] = _mm512_dpbusd_epi32(hi[0], x, linear_slot(c));
	hi[1] = _mm512_dpbusd_epi32(hi[1], y, linear_slot(c));
	if (s.planes == 2) {
		lo[0] = _mm512_dpbusd_epi32(lo[0], x, linear_slot(d));
		lo[1] = _mm512_dpbusd_epi32(lo[1], y, linear_slot(d));
	}
}

/* The same of codes of any bits over n slots, two chains a plane and half. */
LATHE_INLINE void
linear_dot_slots(const Linear s, const int n, const uint8_t *w, const int8_t *c, const int8_t *d,
		 __m512i *hi, __m512i *lo)
{
	const int slots = LINEAR_SLOTS(s);
	__m512i h[2][2], l[2][2];

	h[0][0] = hi[0], h[0][1] = hi[1], l[0][0] = lo[0], l[0][1] = lo[1];
	h[1][0] = h[1][1] = l[1][0] = l[1][1] = _mm512_setzero_si512();
	LATHE_UNROLL(1)
	for (int i = 0; i < n / slots; i++, w += LINEAR_SET_BYTES(s)) {
		LATHE_UNROLL(8)
		for (int j = 0; j < slots; j++, c += 4, d += 4)
			linear_slot_one(s, w, j, c, d, h[j % 2], l[j % 2]);
	}
	LATHE_UNROLL(8)
	for (int j = 0; j < n % slots; j++, c += 4, d += 4)
		linear_slot_one(s, w, j, c, d, h[j % 2], l[j % 2]);
	LATHE_UNROLL(2)
	for (int i = 0; i < 2; i++) {
		hi[i] = _mm512_add_epi32(h[0][i], h[1][i]);
		lo[i] = _mm512_add_epi32(l[0][i], l[1][i]);
	}
}

/* One unit of `width` columns from k on, one token: adds it to acc[2]. */
LATHE_INLINE void
linear_unit_one(const Linear s, const int width, const uint8_t *w, const Act *a, int k, int unit,
		const __m512 *e, const __m512 *f, const __m512i *z, __m512 *acc)
{
	const int sets = LINEAR_SETS(s, width), joins = LINEAR_JOINS(s, width);
	const int8_t *c = a->hi + k, *d = s.planes == 2 ? a->lo + k : c;
	__m512i hi[2], lo[2];

	LATHE_UNROLL(2)
	for (int h = 0; h < 2; h++) {
		hi[h] = lo[h] = _mm512_setzero_si512();
		if (joins) {
			lo[h] = linear_start(s, z[h], linear_code_sum(s, a, unit));
			continue;
		}
		hi[h] = linear_start(s, z[h], a->sum_hi[unit]);
		if (s.planes == 2)
			lo[h] = linear_start(s, z[h], a->sum_lo[unit]);
	}
	if (s.bits == 4)
		linear_dot4(s, sets, w, c, d, hi, lo);
	else if (s.bits == 8)
		linear_dot8(s, sets, w, c, d, hi, lo);
	else
		linear_dot_slots(s, (width + 3) / 4, w, c, d, hi, lo);
	LATHE_UNROLL(2)
	for (int h = 0; h < 2; h++) {
		if (joins)
			hi[h] = _mm512_add_epi32(_mm512_slli_epi32(hi[h], 8), lo[h]);
		acc[h] = linear_merge(s, a, unit,
				      linear_float(s.planes == 2 && !joins, hi[h], lo[h]), e[h],
				      f[h], acc[h]);
	}
}

/* ---- a tile of tokens --------------------------------------------------------------------- */

/* One slot (4 columns) of 32 rows, x and y, times mt tokens whose codes lie at c. */
LATHE_INLINE void
linear_slot_tile(const int mt, __m512i x, __m512i y, const int8_t *c, __m512i (*sum)[2])
{
	LATHE_UNROLL(8)
	for (int m = 0; m < mt; m++) {
		const __m512i v = linear_slot(c + 4 * m);

		sum[m][0] = _mm512_dpbusd_epi32(sum[m][0], x, v);
		sum[m][1] = _mm512_dpbusd_epi32(sum[m][1], y, v);
	}
}

/* The first n slots of the set at w. */
LATHE_INLINE void
linear_set_tile(const Linear s, const int mt, const int n, const uint8_t *w, const int8_t *c,
		__m512i (*sum)[2])
{
	LATHE_UNROLL(8)
	for (int j = 0; j < n; j++, c += 4 * mt)
		linear_slot_tile(mt, linear_codes(s, w, j),
				 linear_codes(s, w + 64 * LINEAR_LINES(s), j), c, sum);
}

/* Sums of products of one plane, whose codes lie at c, over `width` columns. */
LATHE_INLINE void
linear_plane_tile(const Linear s, const int mt, const int width, const uint8_t *w, const int8_t *c,
		  __m512i (*sum)[2])
{
	const int sets = LINEAR_SETS(s, width), slots = LINEAR_SLOTS(s);

	if (s.bits != 4 && s.bits != 8) {
		const int n = (width + 3) / 4;

		LATHE_UNROLL(1)
		for (int i = 0; i < n / slots; i++, w += LINEAR_SET_BYTES(s), c += 4 * slots * mt)
			linear_set_tile(s, mt, slots, w, c, sum);
		linear_set_tile(s, mt, n % slots, w, c, sum);
		return;
	}
	LATHE_UNROLL(4)
	for (int i = 0; i < sets; i++) {
		__m512i x = linear_line(w), y = linear_line(w + 64);

		if (s.bits == 4) {
			linear_slot_tile(mt, linear_mask(x, 15), linear_mask(y, 15), c, sum);
			c += 4 * mt;
			x = linear_mask(_mm512_srli_epi16(x, 4), 15);
			y = linear_mask(_mm512_srli_epi16(y, 4), 15);
		}
		linear_slot_tile(mt, x, y, c, sum);
		c += 4 * mt;
		w += LINEAR_SET;
	}
}

LATHE_INLINE void
linear_start_tile(const Linear s, const int mt, const __m512i *z, const int32_t *codes,
		  __m512i (*sum)[2])
{
	LATHE_UNROLL(8)
	for (int m = 0; m < mt; m++) {
		sum[m][0] = linear_start(s, z[0], codes[m]);
		sum[m][1] = linear_start(s, z[1], codes[m]);
	}
}

/* Planes one after the other; joined, the second continues on the first's sums times 256. */
LATHE_INLINE void
linear_unit_tile(const Linear s, const int mt, const int width, const uint8_t *w, const Act *a,
		 int k, int unit, const __m512 *e, const __m512 *f, const __m512i *z,
		 __m512 (*acc)[2])
{
	const int joins = LINEAR_JOINS(s, width);
	const ptrdiff_t at = (ptrdiff_t)unit * mt, code = (ptrdiff_t)k * mt;
	__m512i hi[LINEAR_TOKENS][2], lo[LINEAR_TOKENS][2];

	LATHE_UNROLL(8)
	for (int m = 0; m < mt; m++)
		lo[m][0] = lo[m][1] = _mm512_setzero_si512();
	linear_start_tile(s, mt, z, a->sum_hi + at, hi);
	linear_plane_tile(s, mt, width, w, a->hi + code, hi);
	LATHE_UNROLL(8)
	for (int m = 0; m < mt && joins; m++) {
		LATHE_UNROLL(2)
		for (int h = 0; h < 2; h++)
			hi[m][h] = _mm512_add_epi32(_mm512_slli_epi32(hi[m][h], 8),
						    linear_start(s, z[h], a->sum_lo[at + m]));
	}
	if (joins) {
		linear_plane_tile(s, mt, width, w, a->lo + code, hi);
	} else if (s.planes == 2) {
		linear_start_tile(s, mt, z, a->sum_lo + at, lo);
		linear_plane_tile(s, mt, width, w, a->lo + code, lo);
	}
	LATHE_UNROLL(8)
	for (int m = 0; m < mt; m++) {
		LATHE_UNROLL(2)
		for (int h = 0; h < 2; h++) {
			const __m512 t = linear_float(s.planes == 2 && !joins, hi[m][h], lo[m][h]);

			acc[m][h] = linear_merge(s, a, at + m, t, e[h], f[h], acc[m][h]);
		}
	}
}

/* ---- float activations -------------------------------------------------------------------- */

/* (float)(u - z) of column i (a literal below 4) of the codes of a slot. */
LATHE_INLINE __m512
linear_code_f32(const Linear s, __m512i x, __m512i z, const int i)
{
	__m512i u = _mm512_srlv_epi32(x, _mm512_set1_epi32(8 * i));

	u = _mm512_and_si512(u, _mm512_set1_epi32((1 << s.bits) - 1));
	if (s.zeros || s.offset)
		u = _mm512_sub_epi32(u, z);
	return _mm512_cvtepi32_ps(u);
}

/* Slot j of the set at w, 32 rows, times mt tokens whose values lie at v. */
LATHE_INLINE void
linear_slot_float(const Linear s, const int mt, const __m512i *z, const uint8_t *w, const int j,
		  const float *v, __m512 (*p)[2])
{
	const __m512i x = linear_codes(s, w, j);
	const __m512i y = linear_codes(s, w + 64 * LINEAR_LINES(s), j);

	LATHE_UNROLL(4)
	for (int i = 0; i < 4; i++) {
		const __m512 c = linear_code_f32(s, x, z[0], i);
		const __m512 d = linear_code_f32(s, y, z[1], i);

		LATHE_UNROLL(8)
		for (int m = 0; m < mt; m++) {
			const __m512 t = _mm512_set1_ps(v[i * mt + m]);

			p[m][0] = _mm512_fmadd_ps(c, t, p[m][0]);
			p[m][1] = _mm512_fmadd_ps(d, t, p[m][1]);
		}
	}
}

LATHE_INLINE void
linear_unit_float(const Linear s, const int mt, const int width, const uint8_t *w, const Act *a,
		  int k, int unit, const __m512 *e, const __m512 *f, const __m512i *z,
		  __m512 (*acc)[2])
{
	const int slots = LINEAR_SLOTS(s), n = (width + 3) / 4;
	const float *v = a->x + (ptrdiff_t)k * mt;
	__m512 p[LINEAR_TOKENS][2];

	LATHE_UNROLL(8)
	for (int m = 0; m < mt; m++)
		p[m][0] = p[m][1] = _mm512_setzero_ps();
	LATHE_UNROLL(1)
	for (int i = 0; i < n / slots; i++, w += LINEAR_SET_BYTES(s)) {
		LATHE_UNROLL(8)
		for (int j = 0; j < slots; j++, v += 4 * mt)
			linear_slot_float(s, mt, z, w, j, v, p);
	}
	LATHE_UNROLL(8)
	for (int j = 0; j < n % slots; j++, v += 4 * mt)
		linear_slot_float(s, mt, z, w, j, v, p);
	LATHE_UNROLL(8)
	for (int m = 0; m < mt; m++) {
		acc[m][0] = _mm512_fmadd_ps(p[m][0], e[0], acc[m][0]);
		acc[m][1] = _mm512_fmadd_ps(p[m][1], e[1], acc[m][1]);
		if (s.minimum) {
			const __m512 sum = _mm512_set1_ps(a->xsum[(ptrdiff_t)unit * mt + m]);

			acc[m][0] = _mm512_fmadd_ps(sum, f[0], acc[m][0]);
			acc[m][1] = _mm512_fmadd_ps(sum, f[1], acc[m][1]);
		}
	}
}

/* ---- a block ------------------------------------------------------------------------------ */

/* One unit of any kind: `width` columns from k on; its group's scales, its own line sets at w. */
LATHE_INLINE void
linear_unit(const Linear s, const int mt, const int width, const uint8_t *scales, const uint8_t *w,
	    const Act *a, int k, int unit, __m512 (*acc)[2])
{
	const uint8_t *minima = scales + s.scale_bits * 4;
	const __m512 e[2] = {linear_scales(s, scales, 0), linear_scales(s, scales, 1)};
	const __m512i z[2] = {linear_zero(s, scales, 0), linear_zero(s, scales, 1)};
	__m512 f[2] = {e[0], e[1]};

	if (s.minimum) {
		f[0] = linear_scales(s, minima, 0);
		f[1] = linear_scales(s, minima, 1);
	}
	if (s.planes == 0)
		linear_unit_float(s, mt, width, w, a, k, unit, e, f, z, acc);
	else if (mt == 1)
		linear_unit_one(s, width, w, a, k, unit, e, f, z, acc[0]);
	else
		linear_unit_tile(s, mt, width, w, a, k, unit, e, f, z, acc);
}

/* Adds a run's partial sums to the totals in y; the first run begins them. */
LATHE_INLINE void
linear_total(const int mt, int run, __m512 (*acc)[2], float *y)
{
	LATHE_UNROLL(8)
	for (int m = 0; m < mt; m++) {
		float *t = y + 32 * m;

		if (run) {
			acc[m][0] = _mm512_add_ps(_mm512_loadu_ps(t), acc[m][0]);
			acc[m][1] = _mm512_add_ps(_mm512_loadu_ps(t + 16), acc[m][1]);
		}
		_mm512_storeu_ps(t, acc[m][0]);
		_mm512_storeu_ps(t + 16, acc[m][1]);
	}
}

/* acc[m] += shift of token m * row sums: what zero points of activations leave of a unit, or of the
 * row. */
LATHE_INLINE void
linear_shift(const int mt, const uint8_t *sums, const float *shift, __m512 (*acc)[2])
{
	const __m512 e = _mm512_loadu_ps((const void *)sums);
	const __m512 f = _mm512_loadu_ps((const void *)(sums + 64));

	LATHE_UNROLL(8)
	for (int m = 0; m < mt; m++) {
		const __m512 t = _mm512_set1_ps(shift[m]);

		acc[m][0] = _mm512_fmadd_ps(t, e, acc[m][0]);
		acc[m][1] = _mm512_fmadd_ps(t, f, acc[m][1]);
	}
}

/* The totals in y times the tokens' scales. */
LATHE_INLINE void
linear_finish(const Linear s, const int mt, const uint8_t *row_sums, const Act *a, float *y)
{
	__m512 acc[LINEAR_TOKENS][2];

	LATHE_UNROLL(8)
	for (int m = 0; m < mt; m++) {
		acc[m][0] = _mm512_loadu_ps(y + 32 * m);
		acc[m][1] = _mm512_loadu_ps(y + 32 * m + 16);
	}
	if (s.shift)
		linear_shift(mt, row_sums, a->shift, acc);
	LATHE_UNROLL(8)
	for (int m = 0; m < mt; m++) {
		const __m512 scale = _mm512_set1_ps(a->scale[m]);

		_mm512_storeu_ps(y + 32 * m, _mm512_mul_ps(scale, acc[m][0]));
		_mm512_storeu_ps(y + 32 * m + 16, _mm512_mul_ps(scale, acc[m][1]));
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
		__m512 acc[LINEAR_TOKENS][2];

		LATHE_UNROLL(8)
		for (int m = 0; m < mt; m++)
			acc[m][0] = acc[m][1] = _mm512_setzero_ps();
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
	if (s.planes && !s.act_group)
		linear_finish(s, mt, row_sums, a, y);
}

/* 16 float weights of one column. */
LATHE_INLINE __m512
linear_weights(const Linear s, const uint8_t *w, const int h)
{
	if (s.bits == 16)
		return _mm512_cvtph_ps(
			_mm256_loadu_si256((const __m256i *)(const void *)(w + 32 * h)));
	return _mm512_loadu_ps((const void *)(w + 64 * h));
}

LATHE_INLINE void
linear_block_float(const Linear s, const int mt, const uint8_t *w, const Act *a, float *y)
{
	const int columns = s.k / s.split;
	const float *x = a->x;

	for (int run = 0; run < s.split; run++) {
		__m512 acc[LINEAR_TOKENS][2];

		LATHE_UNROLL(8)
		for (int m = 0; m < mt; m++)
			acc[m][0] = acc[m][1] = _mm512_setzero_ps();
		LATHE_UNROLL(4)
		for (int k = 0; k < columns; k++) {
			const __m512 c = linear_weights(s, w, 0), d = linear_weights(s, w, 1);

			LATHE_UNROLL(8)
			for (int m = 0; m < mt; m++) {
				const __m512 t = _mm512_set1_ps(x[m]);

				acc[m][0] = _mm512_fmadd_ps(c, t, acc[m][0]);
				acc[m][1] = _mm512_fmadd_ps(d, t, acc[m][1]);
			}
			w += 4 * s.bits;
			x += mt;
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
