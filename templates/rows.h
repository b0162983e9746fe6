/*
 * Kernels on rows of floats: norms, quantizers, embedding, rope. All int parameters of shapes are
 * literals at the call. A row of n floats has room for n rounded up to 32, the rest is zero, and
 * stays zero: elementwise kernels run over the rest too. Pointers need no alignment. Rows that are
 * read and written may be the same, but not overlap otherwise.
 */

#define LATHE_PAD(n, to) (((n) + (to)-1) / (to) * (to))

/* y = x / rms(x): inv_n = 1/n. */
LATHE_INLINE void
rmsnorm_row(int n, const float *x, float eps, float inv_n, float *y)
{
	vf p = vf_zero();
	for (int k = 0; k < LATHE_PAD(n, 16); k += 16) {
		vf a = vf_load(x + k);
		p = vf_fma(a, a, p);
	}
	vf r = vf_set1(s_rsqrt(s_fma(vf_tree(p), inv_n, eps)));
	for (int k = 0; k < LATHE_PAD(n, 32); k += 16)
		vf_store(y + k, vf_mul(vf_load(x + k), r));
}

/* y = x * g */
LATHE_INLINE void
gain_row(int n, const float *x, const float *g, float *y)
{
	for (int k = 0; k < LATHE_PAD(n, 32); k += 16)
		vf_store(y + k, vf_mul(vf_load(x + k), vf_load(g + k)));
}

/* Elements [n, n rounded up to 32) of a row are zero. */
LATHE_INLINE void
zero_rest(int n, float *y)
{
	for (int k = n; k < LATHE_PAD(n, 32); k++)
		y[k] = 0.0f;
}

/* Each head of d elements: y = x / rms(x); inv_d = 1/d. */
LATHE_INLINE void
rmsnorm_heads_row(int heads, int d, const float *x, float eps, float inv_d, float *y)
{
	const int whole = d / 16 * 16, rest = d - whole;
	for (int h = 0; h < heads; h++, x += d, y += d) {
		vf p = vf_zero();
		for (int k = 0; k < whole; k += 16) {
			vf a = vf_load(x + k);
			p = vf_fma(a, a, p);
		}
		if (rest) {
			vf a = vf_load_part(x + whole, rest);
			p = vf_fma(a, a, p);
		}
		vf r = vf_set1(s_rsqrt(s_fma(vf_tree(p), inv_d, eps)));
		for (int k = 0; k < whole; k += 16)
			vf_store(y + k, vf_mul(vf_load(x + k), r));
		if (rest)
			vf_store_part(y + whole, vf_mul(vf_load_part(x + whole, rest), r), rest);
	}
}

/* Each head of d elements: y = x * g */
LATHE_INLINE void
gain_heads_row(int heads, int d, const float *x, const float *g, float *y)
{
	const int whole = d / 16 * 16, rest = d - whole;
	for (int h = 0; h < heads; h++, x += d, y += d) {
		for (int k = 0; k < whole; k += 16)
			vf_store(y + k, vf_mul(vf_load(x + k), vf_load(g + k)));
		if (rest)
			vf_store_part(y + whole,
				      vf_mul(vf_load_part(x + whole, rest),
					     vf_load_part(g + whole, rest)),
				      rest);
	}
}

/* y = a + b */
LATHE_INLINE void
add_row(int n, const float *a, const float *b, float *y)
{
	for (int k = 0; k < LATHE_PAD(n, 32); k += 16)
		vf_store(y + k, vf_add(vf_load(a + k), vf_load(b + k)));
}

/* y = gelu(a) * b */
LATHE_INLINE void
gelu_mul_row(int n, const float *a, const float *b, float *y)
{
	for (int k = 0; k < LATHE_PAD(n, 16); k += 16)
		vf_store(y + k, vf_mul(vf_gelu(vf_load(a + k)), vf_load(b + k)));
}

/* y = silu(a) * b */
LATHE_INLINE void
silu_mul_row(int n, const float *a, const float *b, float *y)
{
	for (int k = 0; k < LATHE_PAD(n, 32); k += 16)
		vf_store(y + k, vf_mul(vf_silu(vf_load(a + k)), vf_load(b + k)));
}

/* y = x * w */
LATHE_INLINE void
weigh_row(int n, const float *x, float w, float *y)
{
	for (int k = 0; k < LATHE_PAD(n, 32); k += 16)
		vf_store(y + k, vf_mul(vf_load(x + k), vf_set1(w)));
}

/* y = x * sigmoid(g) */
LATHE_INLINE void
sigmoid_mul_row(int n, const float *x, const float *g, float *y)
{
	const vf e = vf_exp(vf_neg(vf_set1(*g)));
	const vf w = vf_rcp(vf_add(vf_set1(1.0f), e));
	for (int k = 0; k < LATHE_PAD(n, 32); k += 16)
		vf_store(y + k, vf_mul(vf_load(x + k), w));
}

/* exp(x - top), one number. */
LATHE_INLINE float
route_exp(float x, float top)
{
	LATHE_ALIGN(64) float e[16];
	vf_store(e, vf_exp(vf_set1(x - top)));
	return e[0];
}

/* The sum of exp(x - top) over a row of n. */
LATHE_INLINE float
route_sum(int n, const float *x, float top)
{
	vf p = vf_zero();
	for (int k = 0; k < n; k += 16) {
		const vf e = vf_exp(vf_sub(vf_load(x + k), vf_set1(top)));
		p = vf_add(p, vf_select(vm_first(n - k < 16 ? n - k : 16), e, vf_zero()));
	}
	return vf_tree(p);
}

/*
 * The `used` largest of n logits, ties by the lower number: y[0, used) their weights, by softmax
 * over them alone (`norm`) or over all; y[used, 2 used) their numbers.
 */
LATHE_INLINE void
route_row(int n, int used, int norm, const float *x, float *y)
{
	float sum = 0.0f;

	for (int k = 0; k < used; k++) {
		int best = -1;
		for (int i = 0; i < n; i++) {
			int taken = best >= 0 && !(x[i] > x[best]);
			for (int s = 0; s < k && !taken; s++)
				taken = y[used + s] == (float)i;
			if (!taken)
				best = i;
		}
		y[used + k] = (float)best;
		y[k] = route_exp(x[best], x[(int)y[used]]);
		sum = sum + y[k];
	}
	if (!norm)
		sum = route_sum(n, x, x[(int)y[used]]);
	const vf inverse = vf_rcp(vf_set1(sum));
	for (int k = 0; k < used; k++) {
		LATHE_ALIGN(64) float w[16];
		vf_store(w, vf_mul(vf_set1(y[k]), inverse));
		y[k] = w[0];
	}
}

/* ---- activations of linears ------------------------------------------------------------------ */

/* Where the codes of a row go, at its column of a tile of mt tokens: code k at hi[k/4*4*mt + k%4],
 * a scale at scale[g*mt], a sum at sum_hi[g*mt]. Code = 256 hi + lo for 16 bits, which alone touch
 * lo and sum_lo. shift, of asymmetric rows alone: minus the zero point, times the scale where
 * groups have one; what linears multiply the sums of their weights by. */
typedef struct RowCodes {
	int8_t *hi, *lo;
	int32_t *sum_hi, *sum_lo;
	float *scale, *shift;
} RowCodes;

/* Stores 16 codes and leaves their planes in h and l for the sums. */
LATHE_INLINE void
store_codes(int planes, int mt, vi c, int8_t *hi, int8_t *lo, vi *h, vi *l)
{
	*h = c;
	*l = vi_zero();
	if (planes == 2) {
		*h = vi_sra(vi_add(c, vi_set1(128)), 8);
		*l = vi_sub(c, vi_sll(*h, 8));
	}
	for (int plane = 0; plane < planes; plane++) {
		int8_t b[16], *to = plane ? lo : hi;
		vi_store_bytes(mt == 1 ? to : b, plane ? *l : *h);
		if (mt != 1)
			for (int i = 0; i < 4; i++)
				memcpy(to + i * 4 * mt, b + 4 * i, 4);
	}
}

/*
 * Quantizes a row of n columns, with sums of codes per sum_group columns (n: one). Codes beyond n
 * are zero up to a multiple of 16.
 * INVARIANT: groups that are not the whole row are multiples of 16, and one of the two kinds of
 * group divides the other.
 */
LATHE_INLINE void
quantize_row(int n, const RowFormat f, int sum_group, int mt, const float *x, RowCodes to)
{
	const int group = f.group && f.group < n ? f.group : n, planes = f.bits > 8 ? 2 : 1;
	vi h_sum = vi_zero(), l_sum = vi_zero();
	for (int from = 0; from < n; from += group) {
		const int width = n % group && n - from < group ? n - from : group;
		const RowScale r = code_scale(f, width, x + from);
		to.scale[from / group * mt] = r.scale;
		if (f.zero) {
			const float zero = r.zero + (float)ROW_LOW(f);
			to.shift[from / group * mt] = -(f.group ? zero * r.scale : zero);
		}
		for (int k = from; k < from + width; k += 16) {
			vi h, l;
			store_codes(planes, mt, row_codes(f, r, n, x, k), to.hi + k * mt,
				    planes == 2 ? to.lo + k * mt : to.lo, &h, &l);
			h_sum = vi_add(h_sum, h);
			l_sum = vi_add(l_sum, l);
			if ((k + 16) % sum_group && k + 16 < n)
				continue;
			to.sum_hi[k / sum_group * mt] = vi_sum(h_sum);
			if (planes == 2)
				to.sum_lo[k / sum_group * mt] = vi_sum(l_sum);
			h_sum = l_sum = vi_zero();
		}
	}
}

/*
 * A row as float activations: out[k*mt] = x[k]; with sum_group != 0 the sums of each group of
 * columns to xsum[g*mt], added in order from 0.
 */
LATHE_INLINE void
tile_row(int n, int sum_group, int mt, const float *x, float *out, float *xsum)
{
	for (int k = 0; k < n; k++)
		out[k * mt] = x[k];
	for (int g = 0; sum_group && g * sum_group < n; g++) {
		float s = 0.0f;
		for (int k = g * sum_group; k < (g + 1) * sum_group && k < n; k++)
			s += x[k];
		xsum[g * mt] = s;
	}
}

/* ---- embedding ------------------------------------------------------------------------------- */

/* Number i of a run of f16, bf16 or f32. */
LATHE_INLINE float
packed_float(int bits, int bf16, const uint8_t *p, int i)
{
	if (bits == 16) {
		uint16_t h;
		memcpy(&h, p + 2 * i, sizeof h);
		return bf16 ? s_from_bits((uint32_t)h << 16) : s_from_f16(h);
	}
	float f;
	memcpy(&f, p + 4 * i, sizeof f);
	return f;
}

/*
 * Row `row` of a packed matrix (layout: targets/pack.h) as floats; y is zero beyond s.k up to a
 * multiple of 32. Of s what says the weights counts.
 */
LATHE_INLINE void
embed_row(const Linear s, const uint8_t *packed, int32_t row, float *y)
{
	const int r = (int)((uint32_t)row % 32u), k = s.k;
	const size_t block = (size_t)((uint32_t)row / 32u);
	for (int i = k; i < LATHE_PAD(k, 32); i++)
		y[i] = 0.0f;
	if (s.is_float) {
		const uint8_t *p = packed + block * (size_t)k * (size_t)(s.bits * 4);
		for (int i = 0; i < k; i++)
			y[i] = packed_float(s.bits, 0, p, i * 32 + r);
		return;
	}
	const int lines = LINEAR_LINES(s), set = 4 * LINEAR_SLOTS(s), set_bytes = 128 * lines;
	const int width = s.group, scales = s.scale_bits * 4;
	const size_t head = (size_t)(scales * (s.minimum ? 2 : 1) + (s.zeros ? 64 : 0));
	const size_t groups = (size_t)LATHE_PAD(k, width) / (size_t)width;
	const size_t sets = (groups - 1) * (size_t)(LATHE_PAD(width, set) / set) +
			    (size_t)(LATHE_PAD(k - (int)(groups - 1) * width, set) / set);
	const uint8_t *p = packed + block * (groups * head + sets * (size_t)set_bytes);
	for (int from = 0; from < k; from += width) {
		const float e = packed_float(s.scale_bits, s.bf16, p, r);
		const float m = s.minimum ? packed_float(s.scale_bits, s.bf16, p + scales, r) : 0;
		const int zero = s.zeros ? p[scales + r] : s.offset;
		const int end = from + width < k ? from + width : k;
		const uint8_t *line = p + head + (r >> 4) * 64 * lines + (r & 15) * 4;
		for (int i = from; i < end; i++) {
			const uint8_t *in_set = line + (ptrdiff_t)((i - from) / set) * set_bytes;
			const int code = packed_code(s, in_set, (i - from) % set);
			y[i] = s.minimum ? s_fma((float)code, e, m) : (float)(code - zero) * e;
		}
		p += head + (size_t)(LATHE_PAD(end - from, set) / set) * (size_t)set_bytes;
	}
}

/* ---- rope ------------------------------------------------------------------------------------ */

/* Rotates elements i and i + d/2 of each head by the angle of cos[i], sin[i], i < d/2. */
LATHE_INLINE void
rope_row(int heads, int d, const float *x, const float *cos, const float *sin, float *y)
{
	const int half = d / 2;
	for (int h = 0; h < heads; h++) {
		for (int i = 0; i < half; i += 16) {
			const float *p = x + h * d + i;
			float *to = y + h * d + i;
			if (half - i >= 16) {
				vf a = vf_load(p), b = vf_load(p + half);
				vf c = vf_load(cos + i), s = vf_load(sin + i);
				vf_store(to, vf_fma(a, c, vf_neg(vf_mul(b, s))));
				vf_store(to + half, vf_fma(a, s, vf_mul(b, c)));
			} else {
				const int n = half - i;
				vf a = vf_load_part(p, n), b = vf_load_part(p + half, n);
				vf c = vf_load_part(cos + i, n), s = vf_load_part(sin + i, n);
				vf_store_part(to, vf_fma(a, c, vf_neg(vf_mul(b, s))), n);
				vf_store_part(to + half, vf_fma(a, s, vf_mul(b, c)), n);
			}
		}
	}
}
