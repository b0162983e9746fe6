/*
 * Codes, for CPUs and Arc alike: how rows become codes, in vector words (of 16 columns, or on Arc
 * of one column a lane), and one code of packed weights. Rows lie in memory of the space
 * LATHE_LOCAL, weights in LATHE_GLOBAL's.
 */
#ifndef LATHE_LOCAL
#define LATHE_LOCAL
#define LATHE_GLOBAL
#endif

/* Zero points of a row's codes: none, a whole number of codes, any number (the range holds 0). */
enum RowZero { ROW_SYMMETRIC, ROW_ZERO_INTEGER, ROW_ZERO_REAL };

/* How a row becomes codes; a literal in every call. */
typedef struct RowFormat {
	int bits;  /* 2, 4, 6, 8 or 16 */
	int group; /* columns a scale; 0: one a row */
	enum RowZero zero;
	float clip; /* factor of the range that the codes span; 0: none */
} RowFormat;

/* Of one group: its code is the nearest to x * inv + zero, plus the smallest code there is. */
typedef struct RowScale {
	float scale, inv, zero;
} RowScale;

/* The largest and smallest codes (format_high, format_low of the compiler). */
#define ROW_HIGH(f) ((f).bits == 16 ? 32639 : (1 << ((f).bits - 1)) - 1)
#define ROW_LOW(f) ((f).zero && (f).bits < 16 ? -ROW_HIGH(f) - 1 : -ROW_HIGH(f))

/* Columns k to k + 15 of n; what lies beyond is `rest`. */
LATHE_INLINE vf
row_part(int n, const LATHE_LOCAL float *x, int k, vf rest)
{
	const vf a = vf_load(x + k);
	return n % 16 && n - k < 16 ? vf_select(vm_first(n - k), a, rest) : a;
}

LATHE_INLINE RowScale
code_scale_symmetric(const RowFormat f, int n, const LATHE_LOCAL float *x)
{
	RowScale r = {0.0f, 0.0f, 0.0f};
	vf a = vf_zero();
	for (int k = 0; k < n; k += 16)
		a = vf_max(a, vf_abs(row_part(n, x, k, vf_zero())));
	float range = vf_maxtree(a);
	if (f.clip != 0.0f)
		range = range * f.clip;
	r.scale = range * (1.0f / (float)ROW_HIGH(f));
	if (r.scale < 1.17549435e-38f)
		r.scale = 0.0f;
	else
		r.inv = s_rcp(r.scale);
	return r;
}

/* max(a, b) and min(a, b) of the vector words. */
LATHE_INLINE float
row_larger(float a, float b)
{
	return a > b ? a : b;
}

LATHE_INLINE float
row_smaller(float a, float b)
{
	return a < b ? a : b;
}

LATHE_INLINE RowScale
code_scale_asymmetric(const RowFormat f, int n, const LATHE_LOCAL float *x)
{
	const int real = f.zero == ROW_ZERO_REAL;
	const float step = 1.0f / (float)(ROW_HIGH(f) - ROW_LOW(f));
	const float infinity = s_from_bits(0x7f800000u), magic = 12582912.0f;
	const float most_zero = f.bits == 16 ? 2560000.0f : 10000.0f;
	vf lo = vf_set1(real ? 0.0f : infinity), hi = vf_set1(real ? 0.0f : -infinity);
	const vf lo_rest = lo, hi_rest = hi;
	RowScale r;
	for (int k = 0; k < n; k += 16) {
		lo = vf_min(lo, row_part(n, x, k, lo_rest));
		hi = vf_max(hi, row_part(n, x, k, hi_rest));
	}
	float least = -vf_maxtree(vf_neg(lo)), most = vf_maxtree(hi);
	if (f.clip != 0.0f) {
		least = least * f.clip;
		most = most * f.clip;
	}
	const float range = most - least;
	r.scale = real ? row_larger(range, 1e-4f) * step : row_larger(range * step, 1e-5f);
	r.inv = s_rcp(r.scale);
	r.zero = -least * r.inv;
	if (!real)
		r.zero = (row_smaller(row_larger(r.zero, -most_zero), most_zero) + magic) - magic;
	return r;
}

/* Scale of a group of n columns. */
LATHE_INLINE RowScale
code_scale(const RowFormat f, int n, const LATHE_LOCAL float *x)
{
	return f.zero ? code_scale_asymmetric(f, n, x) : code_scale_symmetric(f, n, x);
}

/* The codes of columns k to k + 15 of n; 0 beyond. */
LATHE_INLINE vi
row_codes(const RowFormat f, RowScale r, int n, const LATHE_LOCAL float *x, int k)
{
	const int first = f.zero ? ROW_LOW(f) : 0;
	const vf top = vf_set1((float)(ROW_HIGH(f) - first)), magic = vf_set1(12582912.0f);
	const vf bottom = f.zero ? vf_zero() : vf_neg(top);
	vf c = vf_load(x + k);
	c = f.zero ? vf_fma(c, vf_set1(r.inv), vf_set1(r.zero)) : vf_mul(c, vf_set1(r.inv));
	c = vf_min(vf_max(c, bottom), top);
	if (n % 16 && n - k < 16)
		c = vf_select(vm_first(n - k), c, vf_set1((float)-first));
	const vi code = vi_sub(vi_from_bits(vf_add(c, magic)), vi_from_bits(magic));
	return f.zero ? vi_add(code, vi_set1(first)) : code;
}

/* ---- weights ---- */

/*
 * Code `in` of a line set whose first line has the row's dword at p; lines are 64 bytes apart
 * (layout: targets/pack.h).
 */
LATHE_INLINE int
packed_code(const Linear s, const LATHE_GLOBAL uint8_t *p, int in)
{
	const int slot = in / 4, top = s.bits == 3 ? slot - 6 : 0;
	p += in % 4;
	if (s.trits) {
		const int power = slot == 0   ? 1
				  : slot == 1 ? 3
				  : slot == 2 ? 9
				  : slot == 3 ? 27
					      : 81;
		return p[0] / power % 3;
	}
	if (s.bits == 8)
		return p[0];
	if (s.bits == 2 || s.bits == 4)
		return p[0] >> slot * s.bits & ((1 << s.bits) - 1);
	if (s.bits == 5)
		return (p[slot / 2 * 64] >> slot % 2 * 4 & 15) | (p[256] >> slot & 1) << 4;
	if (s.bits == 6)
		return slot < 3 ? p[slot * 64] & 63
				: (p[0] >> 6) << 4 | (p[64] >> 6) << 2 | p[128] >> 6;
	if (slot < 6)
		return p[slot / 2 * 64] >> (slot == 5 ? 5 : slot % 2 * 3) & 7;
	return (p[top * 64] >> 6) << 1 | (p[128] >> (4 - top) & 1);
}
