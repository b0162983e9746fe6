/*
 * How rows become codes, as templates/rows.h: a sub-group does a group of columns, or sixteen codes
 * of one, a lane each.
 */

/* Zero points: none, a whole number of codes, any number (the range holds 0). */
enum RowZero { ROW_SYMMETRIC, ROW_ZERO_INTEGER, ROW_ZERO_REAL };

typedef struct RowFormat {
	int bits;   /* 4, 6, 8 or 16 */
	int zero;   /* RowZero */
	float clip; /* factor of the range that the codes span; 0: none */
} RowFormat;

/* Of one group: its code is the nearest to x * inv + zero, plus the smallest code there is. */
typedef struct RowScale {
	float scale, inv, zero;
} RowScale;

/* The largest and smallest codes (format_high, format_low of the compiler). */
#define ROW_HIGH(f) ((f).bits == 16 ? 32639 : (1 << ((f).bits - 1)) - 1)
#define ROW_LOW(f) ((f).zero && (f).bits < 16 ? -ROW_HIGH(f) - 1 : -ROW_HIGH(f))

/* Column k + lane of n; beyond it `rest`, where zeros, which rows have there, will not do. */
LATHE_INLINE float
column(int n, const local float *x, int k, float rest)
{
	return k + lane() < n ? x[k + lane()] : rest;
}

LATHE_INLINE RowScale
code_scale_symmetric(const RowFormat f, int n, const local float *x)
{
	RowScale r = {0.0f, 0.0f, 0.0f};
	vf a = vf_zero();
	for (int k = 0; k < n; k += 16)
		a = vf_max(a, vf_abs(x[k + lane()]));
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

LATHE_INLINE RowScale
code_scale_asymmetric(const RowFormat f, int n, const local float *x)
{
	const bool real = f.zero == ROW_ZERO_REAL;
	const float step = 1.0f / (float)(ROW_HIGH(f) - ROW_LOW(f));
	const float infinity = s_from_bits(0x7f800000u), magic = 12582912.0f;
	const float most_zero = f.bits == 16 ? 2560000.0f : 10000.0f;
	const float lo_rest = real ? 0.0f : infinity, hi_rest = real ? 0.0f : -infinity;
	vf lo = lo_rest, hi = hi_rest;
	RowScale r;
	for (int k = 0; k < n; k += 16) {
		lo = vf_min(lo, column(n, x, k, lo_rest));
		hi = vf_max(hi, column(n, x, k, hi_rest));
	}
	float least = -vf_maxtree(vf_neg(lo)), most = vf_maxtree(hi);
	if (f.clip != 0.0f) {
		least = least * f.clip;
		most = most * f.clip;
	}
	const float range = most - least;
	r.scale = real ? vf_max(range, 1e-4f) * step : vf_max(range * step, 1e-5f);
	r.inv = s_rcp(r.scale);
	r.zero = -least * r.inv;
	if (!real)
		r.zero = (vf_min(vf_max(r.zero, -most_zero), most_zero) + magic) - magic;
	return r;
}

/* Scale of a group of n columns. */
LATHE_INLINE RowScale
code_scale(const RowFormat f, int n, const local float *x)
{
	return f.zero ? code_scale_asymmetric(f, n, x) : code_scale_symmetric(f, n, x);
}

/* The zero point as codes are kept: shifted like them. */
LATHE_INLINE float
code_zero(const RowFormat f, RowScale r)
{
	return r.zero + (float)ROW_LOW(f);
}

/* The code of column k + lane of n; 0 beyond. */
LATHE_INLINE int
code_of(const RowFormat f, RowScale r, int n, const local float *x, int k)
{
	const int first = f.zero ? ROW_LOW(f) : 0;
	const float top = (float)(ROW_HIGH(f) - first), bottom = f.zero ? 0.0f : -top;
	float c = x[k + lane()];
	c = f.zero ? vf_fma(c, r.inv, r.zero) : vf_mul(c, r.inv);
	c = vf_min(vf_max(c, bottom), top);
	if (n % 16)
		c = k + lane() < n ? c : (float)-first;
	return vi_sub(vi_from_bits(vf_add(c, 12582912.0f)), vi_from_bits(12582912.0f)) + first;
}
