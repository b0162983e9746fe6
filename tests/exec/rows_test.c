/*
 * The row kernels of every ISA level against a scalar reference written from the bit contract
 * (ir/README.md) with libm's fmaf. All comparisons are memcmp.
 */
#include "ir/interp.h"
#include "tests/exec/isa_suite.h"
#include "tests/exec/rows_isa.h"

typedef struct Suite {
	const RowsIsa *isa[ISA_LEVEL_COUNT];
	int n_isa;
} Suite;

#define EACH_ISA(s, p) (int p = 0; p < (s)->n_isa; p++)

typedef struct RowCase {
	int n;
} RowCase;
typedef struct QuantizeCase {
	int n, bits, act_group;
	enum { NONE, INTEGER, REAL } zero;
	float clip;
	int sum_group, mt;
} QuantizeCase;
typedef struct TileCase {
	int n, sum_group, mt;
} TileCase;
typedef Linear EmbedCase;
typedef struct RopeCase {
	int heads, d;
} RopeCase;
typedef struct AttentionCase {
	int bits, zero, query, d, group;
} AttentionCase;

static const RowCase row_cases[] = {
#define ROW(n) {n},
#include "rows_cases.def"
};
static const QuantizeCase quantize_cases[] = {
#define QUANTIZE(n, bits, act_group, zero, clip, sum_group, mt) \
	{n, bits, act_group, zero, (float)clip, sum_group, mt},
#include "rows_cases.def"
};
static const TileCase tile_cases[] = {
#define TILE(n, sum_group, mt) {n, sum_group, mt},
#include "rows_cases.def"
};
static const EmbedCase embed_cases[] = {
#define EMBED(...) {__VA_ARGS__},
#include "rows_cases.def"
};
static const RopeCase rope_cases[] = {
#define ROPE(heads, d) {heads, d},
#include "rows_cases.def"
};
static const AttentionCase attention_cases[] = {
#define ATTENTION(bits, zero, query, d, group) {bits, zero, query, d, group},
#include "rows_cases.def"
};

/* ---- the contract, from its text ---------------------------------------------------------------
 */

static float
ref_tree(float *p)
{
	for (int w = 8; w; w /= 2)
		for (int j = 0; j < w; j++)
			p[j] = p[j] + p[j + w];
	return p[0];
}

static float
ref_max(float a, float b)
{
	return a > b ? a : b;
}

/* max16 of n values from `start`. */
static float
ref_max16(int n, const float *x, bool magnitude, float start)
{
	float p[16];
	for (int j = 0; j < 16; j++)
		p[j] = start;
	for (int i = 0; i < pad(n, 16); i++)
		p[i % 16] = ref_max(p[i % 16], i >= n ? start : magnitude ? fabsf(x[i]) : x[i]);
	for (int w = 8; w; w /= 2)
		for (int j = 0; j < w; j++)
			p[j] = ref_max(p[j], p[j + w]);
	return p[0];
}

/* sum16 of products, b null: of a itself. */
static float
ref_sum16(int n, const float *a, const float *b)
{
	float p[16] = {0};
	for (int i = 0; i < pad(n, 16); i++) {
		float x = i < n ? a[i] : 0.0f;
		p[i % 16] = b ? fmaf(x, i < n ? b[i] : 0.0f, p[i % 16]) : p[i % 16] + x;
	}
	return ref_tree(p);
}

static void
ref_rmsnorm(int n, const float *x, float eps, float *y)
{
	float r = contract_rsqrt(fmaf(ref_sum16(n, x, x), (float)(1.0 / n), eps));
	for (int i = 0; i < n; i++)
		y[i] = x[i] * r;
}

static float
ref_clamp(float x, float low, float high)
{
	x = x > low ? x : low; /* low where x is no number */
	return x < high ? x : high;
}

/* Of one group: value = (code - zero) * scale, code = round(clamp(x * inv + zero)). */
typedef struct RefScale {
	float scale, inv, zero, low, high;
} RefScale;

static RefScale
ref_symmetric(QuantizeCase c, int n, const float *x)
{
	RefScale r = {.high = (float)(c.bits == 16 ? 32639 : (1 << (c.bits - 1)) - 1)};
	float a = ref_max16(n, x, true, 0.0f);
	r.low = -r.high;
	if (c.clip != 0)
		a = a * c.clip;
	r.scale = a * (1 / r.high);
	if (r.scale < 0x1p-126f)
		r.scale = 0;
	else
		r.inv = contract_rcp(r.scale);
	return r;
}

/* Zero points as codes count them, from the smallest. */
static RefScale
ref_asymmetric(QuantizeCase c, int n, const float *x)
{
	RefScale r = {.high = c.bits == 16 ? 65278.0f : (float)((1 << c.bits) - 1)};
	float negative[2048], start = c.zero == REAL ? 0.0f : -INFINITY;
	for (int i = 0; i < n; i++)
		negative[i] = -x[i];
	float hi = ref_max16(n, x, false, start), lo = -ref_max16(n, negative, false, start);
	if (c.clip != 0) {
		lo = lo * c.clip;
		hi = hi * c.clip;
	}
	if (c.zero == REAL)
		r.scale = ref_max(hi - lo, 1e-4f) * (1 / r.high);
	else
		r.scale = ref_max((hi - lo) * (1 / r.high), 1e-5f);
	r.inv = contract_rcp(r.scale);
	r.zero = -lo * r.inv;
	if (c.zero == INTEGER)
		r.zero = nearbyintf(c.bits == 16 ? ref_clamp(r.zero, -2560000, 2560000)
						 : ref_clamp(r.zero, -10000, 10000));
	return r;
}

static void
ref_quantize(QuantizeCase c, const float *x, int8_t *hi, int8_t *lo, int32_t *sum_hi,
	     int32_t *sum_lo, float *scale, float *shift)
{
	const int group = c.act_group ? c.act_group : c.n;
	const int first = c.zero == NONE ? 0 : c.bits == 16 ? -32639 : -(1 << (c.bits - 1));
	for (int k = 0; k < pad(c.n, 16); k++)
		hi[k / 4 * 4 * c.mt + k % 4] = lo[k / 4 * 4 * c.mt + k % 4] = 0;
	for (int g = 0; g * c.sum_group < c.n; g++)
		sum_hi[g * c.mt] = sum_lo[g * c.mt] = 0;
	for (int from = 0; from < c.n; from += group) {
		const int end = from + group < c.n ? from + group : c.n, at = from / group * c.mt;
		const RefScale r = c.zero == NONE ? ref_symmetric(c, end - from, x + from)
						  : ref_asymmetric(c, end - from, x + from);
		const float zero = r.zero + (float)first;
		scale[at] = r.scale;
		if (c.zero != NONE)
			shift[at] = c.act_group ? -(zero * r.scale) : -zero;
		for (int k = from; k < end; k++) {
			float t = c.zero == NONE ? x[k] * r.inv : fmaf(x[k], r.inv, r.zero);
			int code = (int)nearbyintf(ref_clamp(t, r.low, r.high)) + first;
			int low = c.bits == 16 ? ((code + 128) & 255) - 128 : 0;
			int high = c.bits == 16 ? (code - low) / 256 : code;
			hi[k / 4 * 4 * c.mt + k % 4] = (int8_t)high;
			lo[k / 4 * 4 * c.mt + k % 4] = (int8_t)low;
			sum_hi[k / c.sum_group * c.mt] += high;
			sum_lo[k / c.sum_group * c.mt] += low;
		}
	}
}

/* How a row of a head is kept: of codes, (code - zero) * scale. */
typedef struct KeptRow {
	float x[256]; /* floats, or codes */
	float scale, zero;
} KeptRow;

static void
ref_keep(int bits, int zero, int d, const float *x, KeptRow *r)
{
	const int half = 1 << (bits - 1);
	*r = (KeptRow){.scale = 1.0f};
	if (!zero) {
		const int qmax = bits == 16 ? 32639 : half - 1;
		float s = ref_max16(d, x, true, 0.0f) * (float)(1.0 / qmax);
		r->scale = s < 0x1p-126f ? 0.0f : s;
		for (int i = 0; i < d && r->scale > 0.0f; i++)
			r->x[i] = nearbyintf(
				fminf(fmaxf(x[i] * contract_rcp(s), (float)-qmax), (float)qmax));
		return;
	}
	const float top = (float)(2 * half - 1), start = zero == 2 ? 0.0f : -INFINITY;
	float minus[256] = {0};
	for (int i = 0; i < d; i++)
		minus[i] = -x[i];
	const float hi = ref_max16(d, x, false, start), lo = -ref_max16(d, minus, false, start);
	const float s = zero == 2 ? ref_max(hi - lo, 1e-4f) * (1.0f / top)
				  : ref_max((hi - lo) * (1.0f / top), 1e-5f);
	float z = -lo * contract_rcp(s);
	if (zero == 1)
		z = nearbyintf(fminf(fmaxf(z, -10000.0f), 10000.0f));
	for (int i = 0; i < d; i++)
		r->x[i] = nearbyintf(fminf(fmaxf(fmaf(x[i], contract_rcp(s), z), 0.0f), top)) -
			  (float)half;
	r->scale = s;
	r->zero = z - (float)half;
}

static float
ref_score(AttentionCase c, const float *q, const KeptRow *code, const KeptRow *k)
{
	if (c.bits >= 16)
		return ref_sum16(c.d, q, k->x);
	int64_t product = 0, sum = 0;
	for (int i = 0; i < c.d; i++) {
		product += (int64_t)code->x[i] * (int64_t)k->x[i];
		sum += (int64_t)code->x[i];
	}
	float t = (float)product;
	if (c.zero)
		t = fmaf(-k->zero, (float)sum, t);
	return t * k->scale * code->scale;
}

/* A block's row of e * v, and the sum of e in *l. */
static void
ref_values(AttentionCase c, int n, const float *e, const KeptRow *values, float *o, float *l)
{
	float w[64], zero[64];
	for (int j = 0; j < c.d; j++)
		o[j] = 0.0f;
	for (int i = 0; i < n; i++) {
		w[i] = c.bits < 16 ? e[i] * values[i].scale : e[i];
		zero[i] = -values[i].zero;
		for (int j = 0; j < c.d; j++)
			o[j] = fmaf(w[i], values[i].x[j], o[j]);
	}
	for (int j = 0; j < c.d && c.zero; j++)
		o[j] = o[j] + ref_sum16(n, w, zero);
	*l = ref_sum16(n, e, NULL);
}

/* Over positions [begin, seen). */
static void
ref_attention(AttentionCase c, int begin, int seen, const float *q, const KeptRow *keys,
	      const KeptRow *values, float *out)
{
	const int start = begin / 64 * 64;
	float scale = (float)(1.0 / sqrt(c.d)), big_m = 0, big_l = 0, o[256], e[64] = {0}, l;
	KeptRow code;
	if (c.bits < 16)
		ref_keep(c.query, 0, c.d, q, &code);
	for (int block = start; block < seen; block += 64) {
		int n = seen - block < 64 ? seen - block : 64,
		    skip = block == start ? begin - start : 0;
		for (int i = skip; i < n; i++)
			e[i] = ref_score(c, q, &code, &keys[block + i]) * scale;
		float m = ref_max16(n - skip, e + skip, false, -INFINITY);
		for (int i = skip; i < n; i++)
			e[i] = contract_exp(e[i] - m);
		ref_values(c, n, e, values + block, o, &l);
		if (block == start) {
			big_m = m;
			big_l = l;
			memcpy(out, o, (size_t)c.d * sizeof *o);
			continue;
		}
		float top = ref_max(big_m, m), a = contract_exp(big_m - top),
		      b = contract_exp(m - top);
		big_l = fmaf(big_l, a, l * b);
		for (int j = 0; j < c.d; j++)
			out[j] = fmaf(out[j], a, o[j] * b);
		big_m = top;
	}
	for (int j = 0; j < c.d; j++)
		out[j] = out[j] * contract_rcp(big_l);
}

/* ---- rows ------------------------------------------------------------------------------------ */

static void
elementwise(void **state)
{
	const Suite *s = *state;
	uint64_t seed = 4;
	for (int i = 0; i < COUNT(row_cases); i++) {
		int n = row_cases[i].n, room = pad(n, 32);
		size_t bytes = (size_t)(room + 1) * sizeof(float);
		float *a = make(bytes), *b = make(bytes), *y = make(bytes), *r = make(bytes);
		for (int round = 0; round < 20; round++) {
			draw_row(&seed, n, room, a);
			draw_row(&seed, n, room, b);
			for
				EACH_ISA(s, p)
				{
					const RowsIsa *isa = s->isa[p];
					for (int k = n; k < room; k++)
						r[k] = 0.0f;
					ref_rmsnorm(n, a, 1e-5f, r);
					memset(y, 0xff, bytes);
					isa->rmsnorm(i, a, 1e-5f, (float)(1.0 / n), y);
					same("rmsnorm", isa->name, i, y, r, bytes);
					for (int k = 0; k < n; k++)
						r[k] = a[k] * b[k];
					memset(y, 0xff, bytes);
					isa->gain(i, a, b, y);
					same("gain", isa->name, i, y, r, bytes);
					for (int k = 0; k < n; k++)
						r[k] = a[k] + b[k];
					memset(y, 0xff, bytes);
					isa->add(i, a, b, y);
					same("add", isa->name, i, y, r, bytes);
					for (int k = 0; k < n; k++)
						r[k] = contract_silu(a[k]) * b[k];
					memcpy(y, a, bytes);
					isa->silu_mul(i, y, b, y);
					same("silu_mul in place", isa->name, i, y, r, bytes);
				}
		}
		free(a);
		free(b);
		free(y);
		free(r);
	}
}

/* Rows that a random draw would not give: zero, subnormal, ties, extremes, one sign, constants, no
 * numbers. */
static void
shape_row(int kind, int n, float *x)
{
	for (int k = 0; k < n; k++) {
		if (kind == 0)
			x[k] = 0.0f;
		else if (kind == 1)
			x[k] *= 0x1p-126f; /* scale below 2^-126: counts as zero */
		else if (kind == 2)	   /* scale of 1 as nearly as can be, codes halfway */
			x[k] = k % 32 == 7 ? 127.0f : (float)(k % 13) + 0.5f;
		else if (kind == 3)
			x[k] = k % 32 == 3 ? -32639.0f : (float)(k * 37 % 500 - 250) - 0.5f;
		else if (kind == 4)
			x[k] *= 1e34f;
		else if (kind == 5)
			x[k] = k & 1 ? 5.0f : -5.0f;
		else if (kind == 6)
			x[k] *= 0x1p-110f;
		else if (kind == 7)
			x[k] = -0.75f;
		else if (kind == 8)
			x[k] = fabsf(x[k]) + 3.0f;
		else if (kind == 9)
			x[k] = -fabsf(x[k]) - 0.01f;
		else if (kind == 10)
			x[k] = 7.0f + 1e-5f * (float)(k % 5);
		else if (kind == 11) /* both ends: the range is infinite */
			x[k] = k % 2 ? 3e38f : -3e38f;
		else if (kind == 12 && k % 11 == 5)
			x[k] = k % 2 ? INFINITY : -INFINITY;
		else if (kind == 13 && k % 17 == 3)
			x[k] = NAN;
	}
}

/* What a row was quantized to: every array with room for the whole tile. */
typedef struct Quantized {
	size_t codes, sums; /* elements */
	int8_t *hi, *lo;
	int32_t *sum_hi, *sum_lo;
	float *scale, *shift;
} Quantized;

static Quantized
make_quantized(QuantizeCase c)
{
	Quantized q = {.codes = (size_t)(pad(c.n, 16) * c.mt),
		       .sums = (size_t)((c.n / 16 + 2) * c.mt)};
	q.hi = make(q.codes);
	q.lo = make(q.codes);
	q.sum_hi = make(q.sums * 4);
	q.sum_lo = make(q.sums * 4);
	q.scale = make(q.sums * 4);
	q.shift = make(q.sums * 4);
	return q;
}

static void
free_quantized(Quantized *q)
{
	free(q->hi);
	free(q->lo);
	free(q->sum_hi);
	free(q->sum_lo);
	free(q->scale);
	free(q->shift);
}

/* As same(), but any NaN equals any other: its sign and payload are the machine's. */
static void
same_floats(const char *what, const char *isa, int i, float *a, float *b, size_t n)
{
	for (size_t k = 0; k < n; k++)
		if (isnan(a[k]) && isnan(b[k]))
			a[k] = b[k];
	same(what, isa, i, a, b, n * 4);
}

static void
check_quantize(const RowsIsa *isa, int i, const float *x)
{
	QuantizeCase c = quantize_cases[i];
	Quantized got = make_quantized(c), want = make_quantized(c);
	const bool wide = c.bits == 16;
	/* token mt-1 of the tile: the other columns must stay as they are */
	const int m = c.mt - 1;
	isa->quantize(i, x, got.hi + 4 * m, wide ? got.lo + 4 * m : NULL, got.sum_hi + m,
		      wide ? got.sum_lo + m : NULL, got.scale + m,
		      c.zero == NONE ? NULL : got.shift + m);
	ref_quantize(c, x, want.hi + 4 * m, want.lo + 4 * m, want.sum_hi + m, want.sum_lo + m,
		     want.scale + m, want.shift + m);
	same("quantize: hi", isa->name, i, got.hi, want.hi, got.codes);
	same("quantize: sum_hi", isa->name, i, got.sum_hi, want.sum_hi, got.sums * 4);
	same_floats("quantize: scale", isa->name, i, got.scale, want.scale, got.sums);
	same_floats("quantize: shift", isa->name, i, got.shift, want.shift, got.sums);
	if (wide) {
		same("quantize: lo", isa->name, i, got.lo, want.lo, got.codes);
		same("quantize: sum_lo", isa->name, i, got.sum_lo, want.sum_lo, got.sums * 4);
	}
	free_quantized(&got);
	free_quantized(&want);
}

static void
quantize(void **state)
{
	const Suite *s = *state;
	uint64_t seed = 5;
	for (int i = 0; i < COUNT(quantize_cases); i++) {
		const int n = quantize_cases[i].n;
		float *x = make_floats(pad(n, 32));
		for (int round = 0; round < 32; round++) {
			draw_row(&seed, n, pad(n, 32), x);
			shape_row(round, n, x);
			for
				EACH_ISA(s, p)
			check_quantize(s->isa[p], i, x);
		}
		free(x);
	}
}

/*
 * What asymmetric codes mean, in double and from the published formulas alone: every value of the
 * range that the codes span comes back within half a step (real zero points) or one (rounded ones),
 * real zero points make zero exact to half a step and lie among the codes, integer ones are whole.
 */
static void
check_meaning(QuantizeCase c, const float *x, int from, int end, const Quantized *q)
{
	const int at = c.act_group ? from / c.act_group : 0;
	const double s = (double)q->scale[at];
	const double zero = -(double)q->shift[at] / (c.act_group ? s : 1.0);
	const double first = c.bits == 16 ? -32639 : -(1 << (c.bits - 1)), last = -first - 1;
	double lo = (double)x[from], hi = lo, most = c.clip != 0 ? (double)c.clip : 1.0;
	for (int k = from; k < end; k++) {
		lo = fmin(lo, (double)x[k]);
		hi = fmax(hi, (double)x[k]);
	}
	lo = (c.zero == REAL ? fmin(lo, 0) : lo) * most;
	hi = (c.zero == REAL ? fmax(hi, 0) : hi) * most;
	if (c.zero == REAL)
		assert_true(zero > first - 1e-3 && zero < last + 1 + 1e-3);
	else if (!c.act_group)
		assert_true(zero == rint(zero));
	if (c.zero == INTEGER && fabs(lo / s) > (c.bits == 16 ? 2559999 : 9999))
		return; /* the zero point is cut off */
	for (int k = from; k < end; k++) {
		const int code = c.bits == 16 ? 256 * q->hi[k] + q->lo[k] : q->hi[k];
		const double value = fmin(fmax((double)x[k], lo), hi);
		const double step = (c.zero == REAL ? 0.5 : 1.0) * s;
		const double slack = 1e-6 * (fabs(lo) + fabs(hi)) + 1e-2 * s;
		assert_true(code >= first && (c.bits == 16 ? code <= 32639 : code <= last));
		assert_true(fabs((code - zero) * s - value) <= step + slack);
	}
}

static void
quantize_meaning(void **state)
{
	const Suite *s = *state;
	uint64_t seed = 11;
	for (int i = 0; i < COUNT(quantize_cases); i++) {
		QuantizeCase c = quantize_cases[i];
		const int group = c.act_group ? c.act_group : c.n;
		float *x = make_floats(pad(c.n, 32));
		if (c.zero == NONE || c.mt != 1) {
			free(x);
			continue;
		}
		for (int round = 0; round < 32; round++) {
			Quantized q = make_quantized(c);
			draw_row(&seed, c.n, pad(c.n, 32), x);
			shape_row(round == 11 || round == 12 || round == 13 ? 5 : round, c.n, x);
			s->isa[s->n_isa - 1]->quantize(i, x, q.hi, q.lo, q.sum_hi, q.sum_lo,
						       q.scale, q.shift);
			for (int from = 0; from < c.n; from += group)
				check_meaning(c, x, from, from + group < c.n ? from + group : c.n,
					      &q);
			free_quantized(&q);
		}
		free(x);
	}
}

static void
tile(void **state)
{
	const Suite *s = *state;
	uint64_t seed = 6;
	for (int i = 0; i < COUNT(tile_cases); i++) {
		TileCase c = tile_cases[i];
		int room = c.n * c.mt + 16;
		float *x = make_floats(c.n), *out = make_floats(room), *sum = make_floats(room);
		float *r_out = make_floats(room), *r_sum = make_floats(room);
		draw_row(&seed, c.n, c.n, x);
		for (int k = 0; k < c.n; k++) {
			r_out[k * c.mt + c.mt - 1] = x[k];
			if (c.sum_group) {
				float *to = &r_sum[k / c.sum_group * c.mt + c.mt - 1];
				*to = (k % c.sum_group ? *to : 0.0f) + x[k];
			}
		}
		for
			EACH_ISA(s, p)
			{
				s->isa[p]->tile(i, x, out + c.mt - 1, sum + c.mt - 1);
				same("tile", s->isa[p]->name, i, out, r_out, (size_t)room * 4);
				same("tile: sums", s->isa[p]->name, i, sum, r_sum,
				     (size_t)room * 4);
			}
		free(x);
		free(out);
		free(sum);
		free(r_out);
		free(r_sum);
	}
}

/* A number that f16 and bf16 hold alike. */
static float
draw_short(uint64_t *seed, float factor)
{
	float f = f16_to_f32(f32_to_f16(draw_value(seed) * factor));
	uint32_t bits;
	memcpy(&bits, &f, 4);
	bits &= 0xffff0000;
	memcpy(&f, &bits, 4);
	return f;
}

static void
put_bf16(uint8_t *p, size_t i, float f)
{
	uint32_t bits;
	memcpy(&bits, &f, 4);
	p[2 * i] = (uint8_t)(bits >> 16);
	p[2 * i + 1] = (uint8_t)(bits >> 24);
}

static void
put_float(int bits, uint8_t *p, size_t i, float f)
{
	uint16_t h = f32_to_f16(f);
	if (bits == 16)
		memcpy(p + 2 * i, &h, 2);
	else
		memcpy(p + 4 * i, &f, 4);
}

/* Row r's number of the 32 at p. */
static void
put_scale(EmbedCase c, uint8_t *p, int r, float f)
{
	if (c.bf16)
		put_bf16(p, (size_t)(r % 32), f);
	else
		put_float(c.scale_bits, p, (size_t)(r % 32), f);
}

static size_t
code_lines(int bits)
{
	return bits == 5 ? 5 : bits == 3 || bits == 6 ? 3 : 1;
}

/*
 * Where the dword of row r is that has code (r, k) of an int matrix, from the text of
 * targets/pack.h; returns the slot.
 */
static int
code_place(EmbedCase c, int r, int k, size_t *byte, size_t *head)
{
	const size_t lines = code_lines(c.bits);
	int group = c.group, set = c.trits ? 20 : (int)(32 * lines) / c.bits, slot = 0;
	size_t numbers = (size_t)(32 * c.scale_bits / 8 * (1 + c.minimum) + 64 * c.zeros);
	size_t block = 0, at = 0;
	for (int from = 0; from < c.k; from += group) {
		int width = c.k - from < group ? c.k - from : group;
		if (k >= from && k < from + width) {
			int in = k - from;
			*head = block;
			slot = in % set / 4;
			at = block + numbers + (size_t)(in / set) * 128 * lines +
			     (size_t)(r % 32 / 16) * 64 * lines + (size_t)(r % 16) * 4 +
			     (size_t)(in % 4);
		}
		block += numbers + (size_t)((width + set - 1) / set) * 128 * lines;
	}
	*byte = at + (size_t)(r / 32) * block;
	*head += (size_t)(r / 32) * block;
	return slot;
}

/* Puts the code of slot j into the bytes of the lines, 64 bytes apart. */
static void
put_code(uint8_t *p, EmbedCase c, int j, uint32_t code)
{
	uint32_t line[5] = {0};
	const int bits = c.bits;
	for (; c.trits && j > 0; j--)
		code *= 3;
	if (c.trits) {
		p[0] = (uint8_t)(p[0] + code);
		return;
	}
	switch (bits) {
	case 3:
		if (j < 6)
			line[j / 2] = code << (j == 5 ? 5 : j % 2 * 3);
		else
			line[j - 6] = code >> 1 << 6, line[2] = (code & 1) << (10 - j);
		break;
	case 5:
		line[j / 2] = (code & 15) << j % 2 * 4;
		line[4] = code >> 4 << j;
		break;
	case 6:
		for (int i = 0; i < 3; i++)
			line[i] = j == 3 ? (code >> (4 - 2 * i) & 3) << 6 : i == j ? code : 0;
		break;
	default:
		line[0] = code << j * bits;
	}
	for (size_t i = 0; i < code_lines(bits); i++)
		p[64 * i] = (uint8_t)(p[64 * i] | line[i]);
}

static void
embed(void **state)
{
	const Suite *s = *state;
	enum { ROWS = 70 };
	uint64_t seed = 7;
	for (int i = 0; i < COUNT(embed_cases); i++) {
		EmbedCase c = embed_cases[i];
		int room = pad(c.k, 32), zero = c.offset;
		size_t bytes = (size_t)96 * (size_t)room * 8;
		uint8_t *packed = make(bytes);
		float *expected = make_floats(ROWS * room), *y = make_floats(room);
		memset(packed, 0, bytes);
		for (int r = 0; r < ROWS; r++) {
			float scale = 0, minimum = 0;
			for (int k = 0; k < room; k++) {
				float *to = &expected[r * room + k];
				*to = 0.0f;
				if (k >= c.k)
					continue;
				if (c.is_float) {
					*to = f16_to_f32(f32_to_f16(draw_value(&seed)));
					put_float(c.bits, packed,
						  (size_t)((r / 32 * c.k + k) * 32 + r % 32), *to);
					continue;
				}
				size_t byte = 0, head = 0;
				int slot = code_place(c, r, k, &byte, &head);
				uint32_t code = draw(&seed) >> (32 - c.bits);
				if (c.offset == 1)
					code = draw(&seed) % 3;
				put_code(packed + byte, c, slot, code);
				if (k % c.group == 0) {
					uint8_t *at = packed + head;
					scale = draw_short(&seed, 0.01f);
					minimum = draw_short(&seed, 1);
					put_scale(c, at, r, scale);
					if (c.minimum)
						put_scale(c, at + 4 * c.scale_bits, r, minimum);
					if (c.zeros) {
						zero = (int)(draw(&seed) >> (32 - c.bits));
						at[4 * c.scale_bits + r % 32] = (uint8_t)zero;
					}
				}
				*to = c.minimum ? fmaf((float)code, scale, minimum)
						: (float)((int)code - zero) * scale;
			}
		}
		for
			EACH_ISA(s, p)
		for (int r = 0; r < ROWS; r++) {
			s->isa[p]->embed(i, packed, r, y);
			same("embed", s->isa[p]->name, i, y, expected + r * room, (size_t)room * 4);
		}
		free(packed);
		free(expected);
		free(y);
	}
}

static void
rope(void **state)
{
	const Suite *s = *state;
	uint64_t seed = 8;
	for (int i = 0; i < COUNT(rope_cases); i++) {
		int d = rope_cases[i].d, half = d / 2, n = rope_cases[i].heads * d;
		float *x = make_floats(n), *y = make_floats(n + 1), *r = make_floats(n + 1);
		float *c = make_floats(half), *sn = make_floats(half);
		draw_row(&seed, n, n, x);
		for (int k = 0; k < half; k++) {
			c[k] = cosf((float)k);
			sn[k] = sinf((float)k);
		}
		for (int k = 0; k < n; k++) {
			int j = k % d, at = j % half;
			r[k] = j < half ? fmaf(x[k], c[at], -(x[k + half] * sn[at]))
					: fmaf(x[k - half], sn[at], x[k] * c[at]);
		}
		for
			EACH_ISA(s, p)
			{
				s->isa[p]->rope(i, x, c, sn, y);
				same("rope", s->isa[p]->name, i, y, r, (size_t)(n + 1) * 4);
				memcpy(y, x, (size_t)n * 4);
				s->isa[p]->rope(i, y, c, sn, y);
				same("rope in place", s->isa[p]->name, i, y, r,
				     (size_t)(n + 1) * 4);
			}
		free(x);
		free(y);
		free(r);
		free(c);
		free(sn);
	}
}

/* ---- attention ------------------------------------------------------------------------------- */

enum { CONTEXT = 320, TOKENS = 40 };

typedef struct AttentionData {
	AttentionCase c;
	int index;
	uint8_t *cache;	      /* as a kernel writes it */
	float *keys, *values; /* before they are rounded, [position][d] */
	KeptRow *k_kept, *v_kept;
	float *q;	 /* [CONTEXT][group][d] */
	float *expected; /* [CONTEXT][group][d] */
} AttentionData;

/* A cache of which positions beyond `end` and all padding hold NaN. */
static void
fill_cache(const RowsIsa *isa, AttentionData *a, int end)
{
	memset(a->cache, 0xff, CONTEXT * isa->kv_bytes(a->index));
	for (int pos = 0; pos < end; pos++)
		isa->kv_write(a->index, pos, a->keys + pos * a->c.d, a->values + pos * a->c.d,
			      a->cache, CONTEXT);
}

static void
make_attention(AttentionData *a, uint64_t *seed, int i)
{
	AttentionCase c = attention_cases[i];
	int d = c.d, width = c.group * d;
	*a = (AttentionData){.c = c, .index = i};
	a->cache = make(CONTEXT * rows_isa_c.kv_bytes(i));
	a->keys = make_floats(CONTEXT * d);
	a->values = make_floats(CONTEXT * d);
	a->k_kept = make(CONTEXT * sizeof *a->k_kept);
	a->v_kept = make(CONTEXT * sizeof *a->v_kept);
	a->q = make_floats(CONTEXT * width);
	a->expected = make_floats(CONTEXT * width);
	draw_row(seed, CONTEXT * d, CONTEXT * d, a->keys);
	draw_row(seed, CONTEXT * d, CONTEXT * d, a->values);
	draw_row(seed, CONTEXT * width, CONTEXT * width, a->q);
	for (int j = 0; j < CONTEXT * width && c.bits < 16; j++)
		a->q[j] = fmaxf(fminf(a->q[j], 4.0f), -4.0f) * 0.1f;
	for (int j = 0; j < CONTEXT * d && c.bits < 16; j++)
		a->keys[j] = fmaxf(fminf(a->keys[j], 4.0f), -4.0f);
	memset(a->keys + 3 * d, 0, (size_t)d * sizeof *a->keys);
	for (int j = 0; j < d; j++) /* far from 0: integer zero points beyond the codes */
		a->values[5 * d + j] = 40.0f + 0.01f * (float)(j % 7);
	for (int pos = 0; pos < CONTEXT; pos++) {
		const float *k = a->keys + pos * d, *v = a->values + pos * d;
		if (c.bits < 16) {
			ref_keep(c.bits, c.zero, d, k, &a->k_kept[pos]);
			ref_keep(c.bits, c.zero, d, v, &a->v_kept[pos]);
			continue;
		}
		for (int j = 0; j < d; j++) {
			a->k_kept[pos].x[j] = c.bits == 16 ? f16_to_f32(f32_to_f16(k[j])) : k[j];
			a->v_kept[pos].x[j] = c.bits == 16 ? f16_to_f32(f32_to_f16(v[j])) : v[j];
		}
	}
	for (int t = 0; t < CONTEXT; t++)
		for (int h = 0; h < c.group; h++)
			ref_attention(c, 0, t + 1, a->q + (t * c.group + h) * d, a->k_kept,
				      a->v_kept, a->expected + (t * c.group + h) * d);
}

static void
free_attention(AttentionData *a)
{
	free(a->cache);
	free(a->keys);
	free(a->values);
	free(a->k_kept);
	free(a->v_kept);
	free(a->q);
	free(a->expected);
}

static void
check_token(const RowsIsa *isa, AttentionData *a, int seen)
{
	int d = a->c.d, width = a->c.group * d;
	float scale = (float)(1.0 / sqrt(d));
	size_t room = isa->attention_scratch(a->index, 1);
	float *out = make_floats(width + 1), *scratch = make((room + 1) * 4);
	fill_cache(isa, a, seen);
	isa->attention_token(a->index, 0, seen, a->q + (seen - 1) * width, scale, a->cache, CONTEXT,
			     out, scratch);
	same("attention_token", isa->name, a->index, out, a->expected + (seen - 1) * width,
	     (size_t)width * 4);
	assert_int_equal(as_bits(out[width]), 0xffffffffu);
	assert_int_equal(as_bits(scratch[room]), 0xffffffffu);
	isa->attention_head(a->index, seen, a->q + (seen - 1) * width, scale, a->cache, CONTEXT,
			    out, scratch);
	same("attention_head", isa->name, a->index, out, a->expected + (seen - 1) * width,
	     (size_t)d * 4);
	free(out);
	free(scratch);
}

static void
check_window(const RowsIsa *isa, AttentionData *a, int begin, int seen)
{
	const int d = a->c.d, width = a->c.group * d;
	const float *q = a->q + (seen - 1) * width;
	float *out = make_floats(width), *r = make_floats(width);
	float *scratch = make(isa->attention_scratch(a->index, 1) * 4);
	for (int h = 0; h < a->c.group; h++)
		ref_attention(a->c, begin, seen, q + h * d, a->k_kept, a->v_kept, r + h * d);
	isa->attention_token(a->index, begin, seen, q, (float)(1.0 / sqrt(d)), a->cache, CONTEXT,
			     out, scratch);
	same("attention_window", isa->name, a->index, out, r, (size_t)width * 4);
	free(out);
	free(r);
	free(scratch);
}

static void
check_heads(const RowsIsa *isa, AttentionData *a, int past, int n)
{
	int d = a->c.d, width = a->c.group * d, stride = width + 5;
	size_t room = isa->attention_scratch(a->index, n);
	float *q = make_floats(n * stride), *out = make_floats(n * stride),
	      *r = make_floats(n * stride);
	float *scratch = make((room + 1) * 4);
	for (int t = 0; t < n; t++) {
		memcpy(q + t * stride, a->q + (past + t) * width, (size_t)width * 4);
		memcpy(r + t * stride, a->expected + (past + t) * width, (size_t)width * 4);
	}
	fill_cache(isa, a, past + n);
	isa->attention_heads(a->index, n, past, q, (size_t)stride, (float)(1.0 / sqrt(d)), a->cache,
			     CONTEXT, out, (size_t)stride, scratch);
	same("attention_heads", isa->name, a->index, out, r, (size_t)(n * stride) * 4);
	assert_int_equal(as_bits(scratch[room]), 0xffffffffu);
	free(q);
	free(out);
	free(r);
	free(scratch);
}

/* Every level writes the same bytes, so a saved state fits all. */
static void
check_cache(const Suite *s, AttentionData *a)
{
	const size_t bytes = CONTEXT * rows_isa_c.kv_bytes(a->index);
	uint8_t *first = make(bytes);
	for
		EACH_ISA(s, p)
		{
			fill_cache(s->isa[p], a, CONTEXT);
			if (p == 0)
				memcpy(first, a->cache, bytes);
			same("kv_write", s->isa[p]->name, a->index, a->cache, first, bytes);
		}
	free(first);
}

/*
 * Against attention in double over the rows before rounding. With scores off by at most D, a weight
 * is off by a factor within exp(2 D), and a value by at most half a step.
 */
static void
check_accuracy(const AttentionData *a, int t)
{
	const int d = a->c.d;
	const float *q = a->q + t * a->c.group * d, *got = a->expected + t * a->c.group * d;
	double p[CONTEXT], sum = 0, off = 0, step = 0, largest = 0, code = 0;
	for (int j = 0; j < d; j++)
		code = fmax(code, fabs((double)q[j]));
	code /= (1 << (a->c.query - 1)) - 1;
	for (int i = 0; i <= t; i++) {
		double score = 0, error = 0;
		const double k_step = (double)a->k_kept[i].scale / 2;
		for (int j = 0; j < d; j++) {
			const double k = (double)a->keys[i * d + j];
			score += (double)q[j] * k;
			error += fabs((double)q[j]) * k_step + (fabs(k) + k_step) * code / 2;
			largest = fmax(largest, fabs((double)a->values[i * d + j]));
		}
		p[i] = exp(score / sqrt(d));
		off = fmax(off, error / sqrt(d));
		step = fmax(step, (double)a->v_kept[i].scale / 2);
		sum += p[i];
	}
	for (int j = 0; j < d; j++) {
		double o = 0;
		for (int i = 0; i <= t; i++)
			o += p[i] / sum * (double)a->values[i * d + j];
		const double bound = 1.01 * step + (exp(2.02 * off) - 1) * largest + 1e-4 * largest;
		if (!(fabs(o - (double)got[j]) <= bound))
			fail_msg("case %d, token %d: %g is not within %g of %g", a->index, t,
				 (double)got[j], bound, o);
	}
}

static void
attention(void **state)
{
	static const int seen[] = {1, 2, 15, 16, 17, 63, 64, 65, 130, 192, 299};
	static const int chunks[][2] = {{0, 1},	  {0, 5},  {0, TOKENS}, {50, 33},
					{64, 16}, {60, 8}, {127, 3},	{190, TOKENS}};
	static const int windows[][2] = {{1, 2},   {5, 17},    {63, 64},  {3, 65},
					 {64, 65}, {100, 130}, {60, 192}, {255, 299}};
	const Suite *s = *state;
	uint64_t seed = 9;
	for (int i = 0; i < COUNT(attention_cases); i++) {
		AttentionData a;
		make_attention(&a, &seed, i);
		check_cache(s, &a);
		for (int t = 0; t < CONTEXT && a.c.bits < 16; t += 13)
			check_accuracy(&a, t);
		for
			EACH_ISA(s, p)
			{
				for (int j = 0; j < COUNT(seen); j++)
					check_token(s->isa[p], &a, seen[j]);
				fill_cache(s->isa[p], &a, CONTEXT);
				for (int j = 0; j < COUNT(windows); j++)
					check_window(s->isa[p], &a, windows[j][0], windows[j][1]);
				for (int j = 0; j < COUNT(chunks); j++)
					check_heads(s->isa[p], &a, chunks[j][0], chunks[j][1]);
			}
		free_attention(&a);
	}
}

int
main(void)
{
	const int usable = isa_usable();
	Suite s = {.n_isa = 0};
#define LEVEL(suffix, name, has)              \
	if (usable >> ISA_LEVEL_##suffix & 1) \
		s.isa[s.n_isa++] = &rows_isa_##suffix;
	ISA_LEVELS
#undef LEVEL
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_prestate(elementwise, &s),
		cmocka_unit_test_prestate(quantize, &s),
		cmocka_unit_test_prestate(quantize_meaning, &s),
		cmocka_unit_test_prestate(tile, &s),
		cmocka_unit_test_prestate(embed, &s),
		cmocka_unit_test_prestate(rope, &s),
		cmocka_unit_test_prestate(attention, &s),
	};
	return cmocka_run_group_tests_name("rows", tests, NULL, NULL);
}
