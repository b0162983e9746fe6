/*
 * The vector words, functions and row kernels of every ISA level against a scalar reference written
 * from the bit contract (ir/README.md) with libm's fmaf, and against double libm. All comparisons
 * of kernels are memcmp. `rows_test STRIDE` sweeps every STRIDE-th float (1: all).
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "ir/interp.h"
#include "tests/exec/rows_isa.h"

typedef struct Suite {
	const RowsIsa *isa[3];
	int n_isa;
	uint32_t stride; /* of the sweeps over floats */
} Suite;

typedef struct RowCase {
	int n;
} RowCase;
typedef struct QuantizeCase {
	int n, planes, act_group, sum_group, mt;
} QuantizeCase;
typedef struct TileCase {
	int n, sum_group, mt;
} TileCase;
typedef struct EmbedCase {
	int is_float, bits, scale_bits, minimum, group, k;
} EmbedCase;
typedef struct RopeCase {
	int heads, d;
} RopeCase;
typedef struct AttentionCase {
	int kv_bits, d, group;
} AttentionCase;

static const RowCase row_cases[] = {
#define ROW(n) {n},
#include "rows_cases.def"
};
static const QuantizeCase quantize_cases[] = {
#define QUANTIZE(n, planes, act_group, sum_group, mt) {n, planes, act_group, sum_group, mt},
#include "rows_cases.def"
};
static const TileCase tile_cases[] = {
#define TILE(n, sum_group, mt) {n, sum_group, mt},
#include "rows_cases.def"
};
static const EmbedCase embed_cases[] = {
#define EMBED(f, bits, scale_bits, minimum, group, k) {f, bits, scale_bits, minimum, group, k},
#include "rows_cases.def"
};
static const RopeCase rope_cases[] = {
#define ROPE(heads, d) {heads, d},
#include "rows_cases.def"
};
static const AttentionCase attention_cases[] = {
#define ATTENTION(kv_bits, d, group) {kv_bits, d, group},
#include "rows_cases.def"
};

#define COUNT(a) (int)(sizeof(a) / sizeof(a)[0])
#define EACH_ISA(s, p) (int p = 0; p < (s)->n_isa; p++)

/* ---- help ------------------------------------------------------------------------------------ */

static float
as_float(uint32_t u)
{
	float f;
	memcpy(&f, &u, sizeof f);
	return f;
}

static uint32_t
as_bits(float f)
{
	uint32_t u;
	memcpy(&u, &f, sizeof u);
	return u;
}

static uint32_t
draw(uint64_t *seed)
{
	*seed = *seed * 6364136223846793005u + 1442695040888963407u;
	uint32_t x = (uint32_t)(*seed >> 33) ^ (uint32_t)(*seed >> 40);
	return x * 2654435761u ^ (uint32_t)(*seed >> 32);
}

/* Mostly of size 1, some much larger or smaller, some zeros. */
static float
draw_value(uint64_t *seed)
{
	uint32_t kind = draw(seed) % 64;
	float x = ((float)(draw(seed) >> 8) * 0x1p-23f - 1.0f) *
		  ((float)(draw(seed) >> 8) * 0x1p-22f);
	if (kind == 0)
		return x < 0 ? -0.0f : 0.0f;
	if (kind == 1)
		return x * 1e3f;
	if (kind == 2)
		return x * 1e-20f;
	return x;
}

static void
draw_row(uint64_t *seed, int n, int room, float *x)
{
	for (int i = 0; i < room; i++)
		x[i] = i < n ? draw_value(seed) : 0.0f;
}

static int
pad(int n, int to)
{
	return (n + to - 1) / to * to;
}

static void *
make(size_t bytes)
{
	void *p = aligned_alloc(64, (bytes + 127) / 64 * 64);
	assert_non_null(p);
	memset(p, 0xff, (bytes + 127) / 64 * 64);
	return p;
}

static float *
make_floats(int n)
{
	return make((size_t)n * sizeof(float));
}

static void
same(const char *what, const char *isa, int i, const void *a, const void *b, size_t bytes)
{
	if (!memcmp(a, b, bytes))
		return;
	for (size_t k = 0; k + 4 <= bytes; k += 4) {
		uint32_t u, v;
		memcpy(&u, (const char *)a + k, 4);
		memcpy(&v, (const char *)b + k, 4);
		if (u != v)
			fail_msg("%s, %s, case %d: word %zu is %08x (%g), expected %08x (%g)", what,
				 isa, i, k / 4, u, (double)as_float(u), v, (double)as_float(v));
	}
	fail_msg("%s, %s, case %d: bytes differ", what, isa, i);
}

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
	for (int i = 0; i < n; i++)
		p[i % 16] = ref_max(p[i % 16], magnitude ? fabsf(x[i]) : x[i]);
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

static int
ref_code(float x, float inv, int qmax)
{
	float c = x * inv;
	c = c < (float)-qmax ? (float)-qmax : c > (float)qmax ? (float)qmax : c;
	return (int)nearbyintf(c);
}

static void
ref_quantize(QuantizeCase c, const float *x, int8_t *hi, int8_t *lo, int32_t *sum_hi,
	     int32_t *sum_lo, float *scale)
{
	int qmax = c.planes == 2 ? 32639 : 127, group = c.act_group ? c.act_group : c.n;
	for (int k = 0; k < pad(c.n, 16); k++)
		hi[k / 4 * 4 * c.mt + k % 4] = lo[k / 4 * 4 * c.mt + k % 4] = 0;
	for (int g = 0; g * c.sum_group < c.n; g++)
		sum_hi[g * c.mt] = sum_lo[g * c.mt] = 0;
	for (int from = 0; from < c.n; from += group) {
		int end = from + group < c.n ? from + group : c.n;
		float s = ref_max16(end - from, x + from, true, 0.0f) * (float)(1.0 / qmax);
		bool zero = s < 0x1p-126f;
		scale[from / group * c.mt] = zero ? 0.0f : s;
		for (int k = from; k < end; k++) {
			int code = zero ? 0 : ref_code(x[k], contract_rcp(s), qmax);
			int low = c.planes == 2 ? ((code + 128) & 255) - 128 : 0;
			int high = c.planes == 2 ? (code - low) / 256 : code;
			hi[k / 4 * 4 * c.mt + k % 4] = (int8_t)high;
			lo[k / 4 * 4 * c.mt + k % 4] = (int8_t)low;
			sum_hi[k / c.sum_group * c.mt] += high;
			sum_lo[k / c.sum_group * c.mt] += low;
		}
	}
}

/* Positions [0, seen): keys and values as stored, [position][d]. */
static void
ref_attention(int d, int seen, const float *q, const float *keys, const float *values, float *out)
{
	float scale = (float)(1.0 / sqrt(d)), big_m = 0, big_l = 0, o[256], e[64];
	for (int block = 0; block < seen; block += 64) {
		int n = seen - block < 64 ? seen - block : 64;
		for (int i = 0; i < n; i++)
			e[i] = ref_sum16(d, q, keys + (block + i) * d) * scale;
		float m = ref_max16(n, e, false, -INFINITY);
		memset(o, 0, sizeof o);
		for (int i = 0; i < n; i++) {
			e[i] = contract_exp(e[i] - m);
			for (int j = 0; j < d; j++)
				o[j] = fmaf(e[i], values[(block + i) * d + j], o[j]);
		}
		float l = ref_sum16(n, e, NULL);
		if (!block) {
			big_m = m;
			big_l = l;
			memcpy(out, o, (size_t)d * sizeof *o);
			continue;
		}
		float top = ref_max(big_m, m), a = contract_exp(big_m - top),
		      b = contract_exp(m - top);
		big_l = fmaf(big_l, a, l * b);
		for (int j = 0; j < d; j++)
			out[j] = fmaf(out[j], a, o[j] * b);
		big_m = top;
	}
	for (int j = 0; j < d; j++)
		out[j] = out[j] * contract_rcp(big_l);
}

/* ---- words ----------------------------------------------------------------------------------- */

enum { BATCH = 4096 };

/* Triples near the edges of fma: special values in all combinations. */
static const uint32_t edge_bits[] = {
	0x00000000, 0x00000001, 0x00000002, 0x00000003, 0x007fffff, 0x00800000, 0x00800001,
	0x00ffffff, 0x01000000, 0x0c000000, 0x0c000001, 0x1a000000, 0x1fffffff, 0x20000000,
	0x33800000, 0x337fffff, 0x33800001, 0x34000000, 0x3effffff, 0x3f000000, 0x3f7fffff,
	0x3f800000, 0x3f800001, 0x3f800003, 0x3fc00000, 0x40000000, 0x4b7fffff, 0x4b800000,
	0x4b800001, 0x5f800000, 0x5f7fffff, 0x7e800000, 0x7effffff, 0x7f000000, 0x7f7ffffe,
	0x7f7fffff, 0x7f800000, 0x7fc00000,
};

static void
check_fma(const Suite *s, int n, const float *a, const float *b, const float *c)
{
	static const char *const names[] = {"vf_fma", "s_fma_soft"};
	float y[BATCH];
	for
		EACH_ISA(s, p)
	for (int soft = 0; soft < 2; soft++) {
		const RowsIsa *isa = s->isa[p];
		if (soft && !isa->fma_soft)
			continue;
		(soft ? isa->fma_soft : isa->fma)(n, a, b, c, y);
		for (int i = 0; i < n; i++) {
			float r = fmaf(a[i], b[i], c[i]);
			if (isnan(r) ? isnan(y[i]) : as_bits(r) == as_bits(y[i]))
				continue;
			fail_msg("%s, %s: fma(%a, %a, %a) is %a, expected %a", names[soft],
				 isa->name, (double)a[i], (double)b[i], (double)c[i], (double)y[i],
				 (double)r);
		}
	}
}

static void
fma_of_special_values(void **state)
{
	const Suite *s = *state;
	const uint32_t edges = COUNT(edge_bits), all = 8 * edges * edges * edges;
	float a[BATCH], b[BATCH], c[BATCH];
	for (uint32_t from = 0; from < all; from += BATCH) {
		for (uint32_t j = 0; j < BATCH; j++) {
			uint32_t i = (from + j) % all, sign = i % 8, t = i / 8;
			a[j] = as_float(edge_bits[t % edges] | (sign & 1) << 31);
			b[j] = as_float(edge_bits[t / edges % edges] | (sign & 2) << 30);
			c[j] = as_float(edge_bits[t / edges / edges] | (sign & 4) << 29);
		}
		check_fma(s, BATCH, a, b, c);
	}
}

/* c chosen so that a * b + c lies at, or a hair beside, the middle of two floats. */
static void
fma_at_halfway(void **state)
{
	const Suite *s = *state;
	float a[BATCH], b[BATCH], c[BATCH];
	uint64_t seed = 1;
	for (int round = 0; round < 256; round++) {
		for (int i = 0; i < BATCH; i++) {
			uint32_t k = draw(&seed);
			/* a * b = 2^e (1 + few bits) exactly; c = its half-ulp neighbourhood */
			int e = (int)(draw(&seed) % 300) - 170, shift = 23 + (int)(k % 5);
			float x = 1.0f + (float)(k >> 8 & 63) / 64.0f,
			      y = 1.0f + (float)(k >> 14 & 3) / 4.0f;
			a[i] = ldexpf(x, e / 2);
			b[i] = ldexpf(k & 1 << 30 ? -y : y, e - e / 2);
			c[i] = ldexpf(1.0f + (float)(k >> 16 & 3) * 0x1p-23f,
				      e + (k & 1 << 29 ? shift : -shift) + (k & 1 << 28 ? 1 : 0));
			if (k & 1 << 27)
				c[i] = ldexpf((float)(draw(&seed) >> 8),
					      e + (int)(k >> 20 & 63) - 32);
		}
		check_fma(s, BATCH, a, b, c);
	}
}

static void
fma_of_random_bits(void **state)
{
	const Suite *s = *state;
	float a[BATCH], b[BATCH], c[BATCH];
	uint64_t seed = 2;
	for (int round = 0; round < 256; round++) {
		for (int i = 0; i < BATCH; i++) {
			a[i] = as_float(draw(&seed));
			b[i] = as_float(draw(&seed));
			c[i] = as_float(draw(&seed));
			if (round % 2) /* near the product, so that digits cancel */
				c[i] = as_float(as_bits(-(a[i] * b[i])) + draw(&seed) % 8 - 4);
		}
		check_fma(s, BATCH, a, b, c);
	}
}

static void
f16_to_float(void **state)
{
	const Suite *s = *state;
	uint16_t *h = make(65536 * sizeof *h);
	float *y = make_floats(65536), *scalar = make_floats(65536), *expected = make_floats(65536);
	for (int i = 0; i < 65536; i++) {
		h[i] = (uint16_t)i;
		expected[i] = f16_to_f32(h[i]);
	}
	for
		EACH_ISA(s, p)
		{
			s->isa[p]->from_f16(65536, h, y, scalar);
			same("vector and scalar f16", s->isa[p]->name, 0, y, scalar,
			     65536 * sizeof *y);
			for (int i = 0; i < 65536; i++)
				if (isnan(expected[i]) ? !isnan(y[i])
						       : as_bits(y[i]) != as_bits(expected[i]))
					fail_msg("%s: half %04x is %a, expected %a",
						 s->isa[p]->name, i, (double)y[i],
						 (double)expected[i]);
		}
	free(h);
	free(y);
	free(scalar);
	free(expected);
}

/* All floats near halves and their midpoints, and a stride over the rest. */
static void
float_to_f16(void **state)
{
	const Suite *s = *state;
	float x[BATCH];
	uint16_t y[BATCH], scalar[BATCH];
	for (uint32_t from = 0; from < 0x40000; from += BATCH / 16) {
		for (uint32_t j = 0; j < BATCH; j++) {
			uint32_t step = from + j / 16, at = j % 16;
			/* every 2^12-th float above, from 2^-26 on, is a half or a midpoint */
			uint32_t u = step < 0x20000 ? (step << 12) + 0x32000000u + at - 8
						    : (step - 0x20000) * 0x3fedu + at;
			x[j] = as_float((u & 0x7fffffffu) | (j & 1) << 31);
		}
		for
			EACH_ISA(s, p)
			{
				s->isa[p]->to_f16(BATCH, x, y, scalar);
				same("vector and scalar f16", s->isa[p]->name, 1, y, scalar,
				     sizeof y);
				for (int j = 0; j < BATCH; j++) {
					uint16_t r = f32_to_f16(x[j]);
					bool ok =
						isnan(x[j]) ? (y[j] & 0x7fff) > 0x7c00 : y[j] == r;
					if (!ok)
						fail_msg("%s: %a becomes half %04x, expected %04x",
							 s->isa[p]->name, (double)x[j], y[j], r);
				}
			}
	}
}

/* ---- functions ------------------------------------------------------------------------------- */

static double
exact_rcp(double x)
{
	return 1.0 / x;
}

static double
exact_rsqrt(double x)
{
	return 1.0 / sqrt(x);
}

static double
exact_silu(double x)
{
	return x / (1.0 + exp(-x));
}

/* Of the correctly rounded result's binade, never below the smallest subnormal. */
static double
error_ulp(float y, double exact)
{
	int e;
	if (isinf((float)exact))
		return isinf(y) && (y > 0) == (exact > 0) ? 0.0 : 99.0;
	frexp(exact, &e);
	return fabs((double)y - exact) / (e < -125 ? 0x1p-149 : ldexp(1.0, e - 24));
}

typedef struct Function {
	const char *name;
	double (*exact)(double);
	float (*contract)(float);
	float low, high;
	double ulp, subnormal; /* limits of the error, ulp and 2^-149 */
} Function;

/* Bits of every ISA level against contract.c, and the error against double. */
static void
check_function(const Suite *s, Function f, size_t at)
{
	float x[BATCH], y[BATCH], expected[BATCH];
	double worst = 0, worst_subnormal = 0;
	int n = 0;
	const uint64_t stop = 0xff800000u;
	for (uint64_t u = 0; u < stop; u += s->stride) {
		if (u >= 0x7f800000u && u < 0x80000000u)
			u = 0x80000000u + u % s->stride;
		float v = as_float((uint32_t)u);
		if (v >= f.low && v <= f.high)
			x[n++] = v;
		if (u + s->stride >= stop)
			while (n && n % 16)
				x[n++] = x[0];
		if (n == 0 || (n < BATCH && u + s->stride < stop))
			continue;
		for (int i = 0; i < n; i++)
			expected[i] = f.contract(x[i]);
		for
			EACH_ISA(s, p)
			{
				void (*fn)(int, const float *, float *);
				memcpy(&fn, (const char *)s->isa[p] + at, sizeof fn);
				fn(n, x, y);
				same(f.name, s->isa[p]->name, 0, y, expected,
				     (size_t)n * sizeof *y);
			}
		for (int i = 0; i < n; i++) {
			double exact = f.exact((double)x[i]), e = error_ulp(expected[i], exact);
			double *to = fabs(exact) < 0x1p-126 ? &worst_subnormal : &worst;
			*to = e > *to ? e : *to;
		}
		n = 0;
	}
	print_message("  %-5s at most %.4f ulp, subnormal results %.3f\n", f.name, worst,
		      worst_subnormal);
	assert_true(worst <= f.ulp);
	assert_true(worst_subnormal <= f.subnormal);
	assert_true(worst > 0.3); /* the sweep met real values */
}

static void
functions(void **state)
{
	static const Function table[] = {
		{"exp", exp, contract_exp, -110.0f, 90.0f, 1.01, 0.76},
		{"rcp", exact_rcp, contract_rcp, 0x1p-126f, 0x1p125f, 0.51, 0.51},
		{"rsqrt", exact_rsqrt, contract_rsqrt, 0x1p-126f, 3e38f, 1.0, 1.0},
		{"silu", exact_silu, contract_silu, -3e38f, 3e38f, 1.12, 0.95},
	};
	static const size_t at[] = {offsetof(RowsIsa, exp), offsetof(RowsIsa, rcp),
				    offsetof(RowsIsa, rsqrt), offsetof(RowsIsa, silu)};
	for (int i = 0; i < COUNT(table); i++)
		check_function(*state, table[i], at[i]);
}

static void
scalar_functions(void **state)
{
	const Suite *s = *state;
	float x[BATCH], y[BATCH], r[BATCH];
	uint64_t seed = 3;
	for (int i = 0; i < BATCH; i++)
		x[i] = as_float(0x00800000u + draw(&seed) % 0x7d000000u);
	for
		EACH_ISA(s, p)
		{
			s->isa[p]->rcp_scalar(BATCH, x, y);
			for (int i = 0; i < BATCH; i++)
				r[i] = contract_rcp(x[i]);
			same("s_rcp", s->isa[p]->name, 0, y, r, sizeof y);
			s->isa[p]->rsqrt_scalar(BATCH, x, y);
			for (int i = 0; i < BATCH; i++)
				r[i] = contract_rsqrt(x[i]);
			same("s_rsqrt", s->isa[p]->name, 0, y, r, sizeof y);
		}
}

/* Beyond the ranges of the sweep. */
static void
functions_at_the_ends(void **state)
{
	const Suite *s = *state;
	float x[16] = {INFINITY, -INFINITY, 90.0f, 3e38f,  -120.0f,
		       -3e38f,	 0.0f,	    -0.0f, 1e-45f, -1e-45f};
	float y[16];
	for
		EACH_ISA(s, p)
		{
			s->isa[p]->exp(16, x, y);
			const float e[10] = {INFINITY, 0, INFINITY, INFINITY, 0, 0, 1, 1, 1, 1};
			same("exp", s->isa[p]->name, 0, y, e, sizeof e);
			x[10] = NAN;
			s->isa[p]->exp(16, x, y);
			assert_true(isnan(y[10]));
			x[10] = 0;
			s->isa[p]->silu(16, x, y);
			assert_true(y[2] == 90.0f && y[3] == 3e38f);
			for (int i = 2; i < 10; i++) {
				float r = contract_silu(x[i]);
				same("silu", s->isa[p]->name, i, &y[i], &r, sizeof r);
			}
			assert_true(y[6] == 0 && y[7] == 0);
			assert_true(fabsf(y[4]) <= 1e-45f && fabsf(y[5]) <= 1e-45f);
		}
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
					isa->rmsnorm(i, a, 1e-5f, (float)(1.0 / n), y);
					same("rmsnorm", isa->name, i, y, r, bytes);
					for (int k = 0; k < n; k++)
						r[k] = a[k] * b[k];
					isa->gain(i, a, b, y);
					same("gain", isa->name, i, y, r, bytes);
					for (int k = 0; k < n; k++)
						r[k] = a[k] + b[k];
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

/* Rows that a random draw would not give: zero, subnormal, ties, extremes. */
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
	}
}

static void
quantize(void **state)
{
	const Suite *s = *state;
	uint64_t seed = 5;
	for (int i = 0; i < COUNT(quantize_cases); i++) {
		QuantizeCase c = quantize_cases[i];
		size_t codes = (size_t)(pad(c.n, 16) * c.mt),
		       sums = (size_t)((c.n / 16 + 2) * c.mt);
		int8_t *hi[2], *lo[2];
		int32_t *sum_hi[2], *sum_lo[2];
		float *scale[2], *x = make_floats(pad(c.n, 32));
		for (int round = 0; round < 24; round++) {
			draw_row(&seed, c.n, pad(c.n, 32), x);
			shape_row(round, c.n, x);
			for
				EACH_ISA(s, p)
				{
					for (int j = 0; j < 2; j++) {
						hi[j] = make(codes);
						lo[j] = make(codes);
						sum_hi[j] = make(sums * 4);
						sum_lo[j] = make(sums * 4);
						scale[j] = make(sums * 4);
					}
					const RowsIsa *isa = s->isa[p];
					/* token mt-1 of the tile: the other columns must stay as
					 * they are */
					int m = c.mt - 1;
					isa->quantize(
						i, x, hi[0] + 4 * m,
						c.planes == 2 ? lo[0] + 4 * m : NULL, sum_hi[0] + m,
						c.planes == 2 ? sum_lo[0] + m : NULL, scale[0] + m);
					ref_quantize(c, x, hi[1] + 4 * m, lo[1] + 4 * m,
						     sum_hi[1] + m, sum_lo[1] + m, scale[1] + m);
					same("quantize: hi", isa->name, i, hi[0], hi[1], codes);
					same("quantize: sum_hi", isa->name, i, sum_hi[0], sum_hi[1],
					     sums * 4);
					same("quantize: scale", isa->name, i, scale[0], scale[1],
					     sums * 4);
					if (c.planes == 2) {
						same("quantize: lo", isa->name, i, lo[0], lo[1],
						     codes);
						same("quantize: sum_lo", isa->name, i, sum_lo[0],
						     sum_lo[1], sums * 4);
					}
					for (int j = 0; j < 2; j++) {
						free(hi[j]);
						free(lo[j]);
						free(sum_hi[j]);
						free(sum_lo[j]);
						free(scale[j]);
					}
				}
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

static void
put_float(int bits, uint8_t *p, size_t i, float f)
{
	uint16_t h = f32_to_f16(f);
	if (bits == 16)
		memcpy(p + 2 * i, &h, 2);
	else
		memcpy(p + 4 * i, &f, 4);
}

/* Where code (r, k) of an int matrix is, from the text of targets/pack.h; returns the shift. */
static int
code_place(EmbedCase c, int r, int k, size_t *byte, size_t *head)
{
	int group = c.group ? c.group : c.k, set = c.bits == 4 ? 8 : 4;
	size_t numbers = (size_t)(32 * c.scale_bits / 8 * (1 + c.minimum)), block = 0, at = 0;
	for (int from = 0; from < c.k; from += group) {
		int width = c.k - from < group ? c.k - from : group;
		if (k >= from && k < from + width) {
			int in = k - from;
			*head = block;
			at = block + numbers + (size_t)(in / set) * 128 +
			     (size_t)(r % 32 / 16) * 64 + (size_t)(r % 16) * 4 + (size_t)(in % 4);
		}
		block += numbers + (size_t)((width + set - 1) / set) * 128;
	}
	*byte = at + (size_t)(r / 32) * block;
	*head += (size_t)(r / 32) * block;
	return c.bits == 4 && (k % group) % 8 >= 4 ? 4 : 0;
}

static void
embed(void **state)
{
	const Suite *s = *state;
	enum { ROWS = 70 };
	uint64_t seed = 7;
	for (int i = 0; i < COUNT(embed_cases); i++) {
		EmbedCase c = embed_cases[i];
		int group = c.group ? c.group : c.k, room = pad(c.k, 32);
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
				int shift = code_place(c, r, k, &byte, &head);
				uint32_t code = draw(&seed) >> (32 - c.bits);
				packed[byte] = (uint8_t)(packed[byte] | code << shift);
				if (k % group == 0) {
					scale = f16_to_f32(f32_to_f16(draw_value(&seed) * 0.01f));
					minimum = f16_to_f32(f32_to_f16(draw_value(&seed)));
					put_float(c.scale_bits, packed + head, (size_t)(r % 32),
						  scale);
					if (c.minimum)
						put_float(c.scale_bits,
							  packed + head + 32 * c.scale_bits / 8,
							  (size_t)(r % 32), minimum);
				}
				*to = c.minimum ? fmaf((float)code, scale, minimum)
						: (float)((int)code - (1 << (c.bits - 1))) * scale;
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
	uint8_t *k, *v;	      /* the cache as a kernel writes it */
	float *keys, *values; /* what it stores, [position][d] */
	float *q;	      /* [CONTEXT][group][d] */
	float *expected;      /* [CONTEXT][group][d] */
} AttentionData;

/* A cache of which positions beyond `end` and all padding hold NaN. */
static void
fill_cache(const RowsIsa *isa, AttentionData *a, int end)
{
	size_t bytes = (size_t)CONTEXT * (size_t)pad(a->c.d, 16) * 4;
	memset(a->k, 0xff, bytes);
	memset(a->v, 0xff, bytes);
	for (int pos = 0; pos < end; pos++)
		isa->kv_write(a->index, pos, a->keys + pos * a->c.d, a->values + pos * a->c.d, a->k,
			      a->v);
}

static void
make_attention(AttentionData *a, uint64_t *seed, int i)
{
	AttentionCase c = attention_cases[i];
	int d = c.d, width = c.group * d;
	*a = (AttentionData){.c = c, .index = i};
	a->k = make((size_t)CONTEXT * (size_t)pad(d, 16) * 4);
	a->v = make((size_t)CONTEXT * (size_t)pad(d, 16) * 4);
	a->keys = make_floats(CONTEXT * d);
	a->values = make_floats(CONTEXT * d);
	a->q = make_floats(CONTEXT * width);
	a->expected = make_floats(CONTEXT * width);
	draw_row(seed, CONTEXT * d, CONTEXT * d, a->keys);
	draw_row(seed, CONTEXT * d, CONTEXT * d, a->values);
	draw_row(seed, CONTEXT * width, CONTEXT * width, a->q);
	if (c.kv_bits == 16)
		for (int j = 0; j < CONTEXT * d; j++) {
			a->keys[j] = f16_to_f32(f32_to_f16(a->keys[j]));
			a->values[j] = f16_to_f32(f32_to_f16(a->values[j]));
		}
	for (int t = 0; t < CONTEXT; t++)
		for (int h = 0; h < c.group; h++)
			ref_attention(d, t + 1, a->q + (t * c.group + h) * d, a->keys, a->values,
				      a->expected + (t * c.group + h) * d);
}

static void
free_attention(AttentionData *a)
{
	free(a->k);
	free(a->v);
	free(a->keys);
	free(a->values);
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
	isa->attention_token(a->index, seen, a->q + (seen - 1) * width, scale, a->k, a->v, out,
			     scratch);
	same("attention_token", isa->name, a->index, out, a->expected + (seen - 1) * width,
	     (size_t)width * 4);
	assert_int_equal(as_bits(out[width]), 0xffffffffu);
	assert_int_equal(as_bits(scratch[room]), 0xffffffffu);
	isa->attention_head(a->index, seen, a->q + (seen - 1) * width, scale, a->k, a->v, out,
			    scratch);
	same("attention_head", isa->name, a->index, out, a->expected + (seen - 1) * width,
	     (size_t)d * 4);
	free(out);
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
	isa->attention_heads(a->index, n, past, q, (size_t)stride, (float)(1.0 / sqrt(d)), a->k,
			     a->v, out, (size_t)stride, scratch);
	same("attention_heads", isa->name, a->index, out, r, (size_t)(n * stride) * 4);
	assert_int_equal(as_bits(scratch[room]), 0xffffffffu);
	free(q);
	free(out);
	free(r);
	free(scratch);
}

static void
attention(void **state)
{
	static const int seen[] = {1, 2, 15, 16, 17, 63, 64, 65, 130, 192, 299};
	static const int chunks[][2] = {{0, 1},	  {0, 5},  {0, TOKENS}, {50, 33},
					{64, 16}, {60, 8}, {127, 3},	{190, TOKENS}};
	const Suite *s = *state;
	uint64_t seed = 9;
	for (int i = 0; i < COUNT(attention_cases); i++) {
		AttentionData a;
		make_attention(&a, &seed, i);
		for
			EACH_ISA(s, p)
			{
				for (int j = 0; j < COUNT(seen); j++)
					check_token(s->isa[p], &a, seen[j]);
				for (int j = 0; j < COUNT(chunks); j++)
					check_heads(s->isa[p], &a, chunks[j][0], chunks[j][1]);
			}
		free_attention(&a);
	}
}

int
main(int argc, char **argv)
{
	Suite s = {.isa = {&rows_isa_c}, .n_isa = 1, .stride = 60013};
	if (argc > 1)
		s.stride = (uint32_t)strtoul(argv[1], NULL, 10);
	if (s.stride == 0 || s.stride > 1u << 24) {
		fprintf(stderr, "use: %s [STRIDE], 1 to 16777216\n", argv[0]);
		return 2;
	}
#if defined(__x86_64__)
	__builtin_cpu_init();
	if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
		s.isa[s.n_isa++] = &rows_isa_v3;
	else
		print_message("SKIPPED x86-64-v3: this CPU lacks it\n");
	if (__builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
	    __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512vnni") &&
	    __builtin_cpu_supports("avx512vbmi"))
		s.isa[s.n_isa++] = &rows_isa_v4;
	else
		print_message("SKIPPED x86-64-v4: this CPU lacks it\n");
#endif
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_prestate(fma_of_special_values, &s),
		cmocka_unit_test_prestate(fma_at_halfway, &s),
		cmocka_unit_test_prestate(fma_of_random_bits, &s),
		cmocka_unit_test_prestate(f16_to_float, &s),
		cmocka_unit_test_prestate(float_to_f16, &s),
		cmocka_unit_test_prestate(functions, &s),
		cmocka_unit_test_prestate(scalar_functions, &s),
		cmocka_unit_test_prestate(functions_at_the_ends, &s),
		cmocka_unit_test_prestate(elementwise, &s),
		cmocka_unit_test_prestate(quantize, &s),
		cmocka_unit_test_prestate(tile, &s),
		cmocka_unit_test_prestate(embed, &s),
		cmocka_unit_test_prestate(rope, &s),
		cmocka_unit_test_prestate(attention, &s),
	};
	return cmocka_run_group_tests_name("rows", tests, NULL, NULL);
}
