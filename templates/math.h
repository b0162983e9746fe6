/*
 * exp, 1/x, 1/sqrt(x) and silu from add, mul, fma and integer operations on the vector words: the
 * same bits in every lane of every machine. Largest errors over all floats of the stated ranges:
 * exp 1.01 ulp, rcp 0.51, rsqrt 1.00, silu 1.12; subnormal results within 1 unit of 2^-149.
 */

/* For a normal d in [2^-126, 2^125]. A magic estimate and three Newton steps. */
LATHE_INLINE float
s_rcp(float d)
{
	float y = s_from_bits(0x7ef311c3u - s_bits(d));
	for (int i = 0; i < 3; i++)
		y = s_fma(y, s_fma(-d, y, 1.0f), y);
	return y;
}

/* For x in [2^-126, 3e38]. */
LATHE_INLINE float
s_rsqrt(float x)
{
	float y = s_from_bits(0x5f375a86u - (s_bits(x) >> 1));
	for (int i = 0; i < 3; i++) {
		float h = x * y;
		y = s_fma(0.5f * y, s_fma(-h, y, 1.0f), y);
	}
	return y;
}

/* The estimate of 1/d and `steps` Newton steps. */
LATHE_INLINE vf
vf_rcp_steps(vf d, int steps)
{
	vf y = vf_from_bits(vi_sub(vi_set1(0x7ef311c3), vi_from_bits(d)));
	LATHE_UNROLL_ALL
	for (int i = 0; i < steps; i++)
		y = vf_fma(y, vf_fnma(d, y, vf_set1(1.0f)), y);
	return y;
}

LATHE_INLINE vf
vf_rcp(vf d)
{
	return vf_rcp_steps(d, 3);
}

LATHE_INLINE vf
vf_rsqrt(vf x)
{
	vf y = vf_from_bits(vi_sub(vi_set1(0x5f375a86), vi_srl(vi_from_bits(x), 1)));
	LATHE_UNROLL_ALL
	for (int i = 0; i < 3; i++) {
		vf h = vf_mul(x, y);
		y = vf_fma(vf_mul(vf_set1(0.5f), y), vf_fnma(h, y, vf_set1(1.0f)), y);
	}
	return y;
}

/*
 * exp(x) = (p + low) * half * rest for x in [-110, 89]; the two factors are powers of two whose
 * product may be subnormal or infinite, so each is exact and the last product rounds once.
 */
typedef struct Exp {
	vf p, low, half, rest;
} Exp;

LATHE_INLINE Exp
exp_parts(vf x)
{
	vf magic = vf_set1(12582912.0f), one = vf_set1(1.0f);
	vf t = vf_fma(x, vf_set1(1.44269504f), magic);
	vi n = vi_sub(vi_from_bits(t), vi_set1(0x4b400000));
	vf k = vf_sub(t, magic);
	/* k ln 2 in two parts; the minus is in the constants */
	vf r = vf_fma(k, vf_set1(-0.693145752f), x);
	r = vf_fma(k, vf_set1(-1.42860677e-6f), r);
	vf q = vf_fma(vf_set1(0.00138145394f), r, vf_set1(0.00836874545f));
	q = vf_fma(q, r, vf_set1(0.041668389f));
	q = vf_fma(q, r, vf_set1(0.166665211f));
	q = vf_fma(q, r, vf_set1(0.49999994f));
	vf s = vf_fma(q, vf_mul(r, r), r);
	vi a = vi_sra(n, 1), b = vi_sub(n, a);
	Exp e;
	e.p = vf_add(one, s);
	e.low = vf_sub(s, vf_sub(e.p, one));
	e.half = vf_from_bits(vi_sll(vi_add(a, vi_set1(127)), 23));
	e.rest = vf_from_bits(vi_sll(vi_add(b, vi_set1(127)), 23));
	return e;
}

/* Any x; NaN passes. */
LATHE_WORD vf
vf_exp(vf x)
{
	vf high = vf_set1(89.0f), low = vf_set1(-110.0f);
	x = vf_select(vf_gt(x, high), high, x);
	x = vf_select(vf_lt(x, low), low, x);
	Exp e = exp_parts(x);
	return vf_mul(vf_mul(e.p, e.half), e.rest);
}

/*
 * x / (1 + exp(-u)), u = 2 sqrt(2/pi) (x + 0.044715 x^3), the tanh form of gelu. Below -9.5, where
 * it is less than 1e-32, x counts as -9.5.
 */
LATHE_WORD vf
vf_gelu(vf x)
{
	const vf floor = vf_set1(-9.5f), one = vf_set1(1.0f);
	x = vf_select(vf_lt(x, floor), floor, x);
	const vf u = vf_mul(x, vf_fma(vf_mul(x, x), vf_set1(0.0713548163f), vf_set1(1.59576912f)));
	return vf_mul(x, vf_rcp(vf_add(one, vf_exp(vf_neg(u)))));
}

/*
 * x / (1 + exp(-x)) for finite x. With e = exp(-|x|) it is x / (1 + e), or for negative x
 * x e / (1 + e), where e enters as p + low and its power of two is applied last: subnormal results
 * are rounded once. d + l is 1 + e exactly; the quotient is corrected by one residual.
 */
LATHE_WORD vf
vf_silu(vf x)
{
	vf floor = vf_set1(-112.0f), low = vf_set1(-110.0f), one = vf_set1(1.0f);
	x = vf_select(vf_lt(x, floor), floor, x);
	vf a = vf_neg(vf_abs(x));
	a = vf_select(vf_lt(a, low), low, a);
	Exp e = exp_parts(a);
	vf tail = vf_mul(vf_mul(e.p, e.half), e.rest);
	vf xp = vf_mul(x, e.p);
	vf xp_low = vf_fma(x, e.low, vf_fma(x, e.p, vf_neg(xp)));
	vm negative = vm_negative(x);
	vf num = vf_select(negative, xp, x), num_low = vf_select(negative, xp_low, vf_zero());

	vf d = vf_add(one, tail), l = vf_sub(tail, vf_sub(d, one));
	vf y = vf_rcp_steps(d, 2);
	vf q = vf_mul(num, y);
	vf m = vf_add(vf_fnma(l, q, vf_fnma(d, q, num)), num_low);
	q = vf_fma(y, m, q);
	return vf_select(negative, vf_mul(vf_mul(q, e.half), e.rest), q);
}
