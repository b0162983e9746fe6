/*
 * The linear kernels against a scalar reference written from ir/README.md's contract, by memcmp.
 *
 *   linear_check ISA [cases] [seed]      ISA: c, v3 or v4; exit 77 where this CPU lacks it
 *
 * Weights and activations end at an unreadable page, results are fenced: a kernel that reads or
 * writes a byte too many dies or is reported.
 */
#define _GNU_SOURCE
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "linear_isa.h"

enum { MAX_TOKENS = 16, MAX_BLOCKS = 4, ROWS = 32, PAGE = 4096 };

/* ---- random numbers ----------------------------------------------------------------------- */

static uint64_t
next(uint64_t *state)
{
	uint64_t z = *state += 0x9e3779b97f4a7c15u;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
	z = (z ^ z >> 27) * 0x94d049bb133111ebu;
	return z ^ z >> 31;
}

static int
below(uint64_t *state, int n)
{
	return (int)(next(state) % (uint64_t)n);
}

/* ---- the matrix and the activations as numbers -------------------------------------------- */

typedef struct Case {
	Linear s;
	int blocks, tokens, groups, units;
	uint8_t *codes;		/* [rows][k] */
	float *scales, *minima; /* [rows][groups] */
	float *weights;		/* [rows][k], of float weights */
	int32_t *c;		/* [tokens][k] activation codes */
	float *act_scale;	/* [tokens][units or 1] */
	float *x;		/* [tokens][k] */
} Case;

static void *
grab(size_t count, size_t size)
{
	void *p = calloc(count + 1, size);

	if (!p) {
		fprintf(stderr, "linear_check: out of memory\n");
		exit(2);
	}
	return p;
}

static float
from_bits(uint32_t u)
{
	float f;

	memcpy(&f, &u, sizeof(f));
	return f;
}

/* Exact value of a half, by its definition. */
static float
half_value(uint16_t h)
{
	int e = h >> 10 & 31, m = h & 1023;
	float v = e ? ldexpf((float)(1024 + m), e - 25) : ldexpf((float)m, -24);

	return h & 0x8000 ? -v : v;
}

/* A finite number that the stored type holds exactly: ordinary, tiny, signed, sometimes zero. */
static float
random_stored(uint64_t *r, int bits)
{
	int kind = below(r, 8);

	if (kind == 0)
		return bits == 16 ? half_value((uint16_t)(next(r) & 0x83ff))
				  : from_bits((uint32_t)next(r) & 0x807fffff);
	if (kind == 1)
		return 0.0f;
	if (kind == 2)
		return half_value((uint16_t)((next(r) & 0x83ff) | 0x7800));
	return half_value((uint16_t)((next(r) & 0x83ff) | (uint64_t)(8 + below(r, 12)) << 10));
}

static uint16_t
half_bits(float v)
{
	int e;
	uint16_t sign = signbit(v) ? 0x8000 : 0;
	float m = frexpf(fabsf(v), &e); /* v = m 2^e, m in [0.5, 1) */

	if (m == 0)
		return sign;
	if (e < -13)
		return (uint16_t)(sign | (uint16_t)ldexpf(m, e + 24));
	return (uint16_t)(sign | (uint16_t)((e + 14) << 10) | ((uint16_t)ldexpf(m, 11) & 1023));
}

static int
random_code(uint64_t *r, int mode, int planes)
{
	int hi, lo;

	switch (mode) {
	case 0:
		hi = 127, lo = 127;
		break;
	case 1:
		hi = -127, lo = -128;
		break;
	case 2:
		hi = below(r, 2) ? 127 : -127, lo = below(r, 2) ? 127 : -128;
		break;
	case 3:
		hi = 0, lo = below(r, 3) - 1;
		break;
	default:
		hi = below(r, 255) - 127, lo = below(r, 256) - 128;
		break;
	}
	return planes == 2 ? 256 * hi + lo : hi;
}

static void
case_fill_weights(Case *c, uint64_t *r)
{
	const Linear s = c->s;
	size_t rows = (size_t)c->blocks * ROWS, n = rows * (size_t)s.k;
	int mode = below(r, 5), top = (1 << s.bits) - 1;

	if (s.is_float) {
		c->weights = grab(n, sizeof(float));
		for (size_t i = 0; i < n; i++)
			c->weights[i] = random_stored(r, s.bits);
		return;
	}
	c->codes = grab(n, 1);
	c->scales = grab(rows * (size_t)c->groups, sizeof(float));
	c->minima = grab(rows * (size_t)c->groups, sizeof(float));
	for (size_t i = 0; i < n; i++)
		c->codes[i] = (uint8_t)(mode == 0   ? top
					: mode == 1 ? 0
					: mode == 2 ? below(r, 2) * top
						    : below(r, top + 1));
	for (size_t i = 0; i < rows * (size_t)c->groups; i++) {
		c->scales[i] = random_stored(r, s.scale_bits);
		c->minima[i] = random_stored(r, s.scale_bits);
	}
}

static void
case_fill(Case *c, uint64_t *r)
{
	const Linear s = c->s;
	size_t n = (size_t)c->tokens * (size_t)s.k;
	int scales = s.act_group ? c->units : 1, mode = below(r, 8);

	case_fill_weights(c, r);
	c->c = grab(n, sizeof(int32_t));
	c->x = grab(n, sizeof(float));
	c->act_scale = grab((size_t)(c->tokens * scales), sizeof(float));
	for (size_t i = 0; i < n; i++) {
		c->c[i] = s.planes ? random_code(r, mode, s.planes) : 0;
		c->x[i] = random_stored(r, below(r, 2) ? 16 : 32);
	}
	for (int i = 0; i < c->tokens * scales; i++)
		c->act_scale[i] = below(r, 8) ? ldexpf((float)(1 + below(r, 1 << 20)), -30)
					      : ldexpf(1.0f, -126);
}

static void
case_free(Case *c)
{
	free(c->codes);
	free(c->scales);
	free(c->minima);
	free(c->weights);
	free(c->c);
	free(c->act_scale);
	free(c->x);
}

/* ---- the contract, one row and one token -------------------------------------------------- */

static float
reference_int(const Case *c, size_t row, size_t token)
{
	const Linear s = c->s;
	const int run = s.k / s.split, offset = s.minimum ? 0 : 1 << (s.bits - 1);
	const uint8_t *u = c->codes + row * (size_t)s.k;
	const int32_t *code = c->c + token * (size_t)s.k;
	float total = 0, acc = 0;

	for (int k = 0; k < s.k;) {
		int group = k / s.group, end = (k / s.sums + 1) * s.sums;
		float e = c->scales[row * (size_t)c->groups + (size_t)group];
		float m = c->minima[row * (size_t)c->groups + (size_t)group], t, all, scale = 1;
		int64_t hi = 0, lo = 0, sum = 0;

		if (s.act_group)
			scale = c->act_scale[token * (size_t)c->units + (size_t)(k / s.sums)];
		if (k % run == 0)
			acc = 0;
		if (end > (group + 1) * s.group)
			end = (group + 1) * s.group;
		if (end > s.k)
			end = s.k;
		for (; k < end; k++) {
			int high = code[k], low = 0;

			if (s.planes == 2) {
				low = ((code[k] % 256) + 256 + 128) % 256 - 128;
				high = (code[k] - low) / 256;
			}
			hi += (u[k] - offset) * high;
			lo += (u[k] - offset) * low;
			sum += code[k];
		}
		t = (float)(int32_t)hi;
		if (s.planes == 2)
			t = fmaf(t, 256, (float)(int32_t)lo);
		all = (float)(int32_t)sum;
		if (s.act_group) {
			t = t * scale;
			all = all * scale;
		}
		acc = fmaf(t, e, acc);
		if (s.minimum)
			acc = fmaf(all, m, acc);
		if (k % run == 0 || k == s.k)
			total = k <= run ? acc : total + acc;
	}
	return s.act_group ? total : c->act_scale[token] * total;
}

static float
reference_float(const Case *c, size_t row, size_t token)
{
	const Linear s = c->s;
	const int run = s.k / s.split, offset = s.minimum ? 0 : 1 << (s.bits - 1);
	const float *x = c->x + token * (size_t)s.k;
	float total = 0, acc = 0, p = 0, all = 0;

	for (int k = 0; k < s.k; k++) {
		if (k % run == 0)
			acc = 0;
		if (s.is_float) {
			acc = fmaf(c->weights[row * (size_t)s.k + (size_t)k], x[k], acc);
		} else {
			size_t at = row * (size_t)c->groups + (size_t)(k / s.group);
			int u = c->codes[row * (size_t)s.k + (size_t)k];

			if (k % s.group == 0)
				p = all = 0;
			p = fmaf((float)(u - offset), x[k], p);
			all = k % s.group ? all + x[k] : x[k];
			if ((k + 1) % s.group == 0 || k + 1 == s.k) {
				acc = fmaf(p, c->scales[at], acc);
				if (s.minimum)
					acc = fmaf(all, c->minima[at], acc);
			}
		}
		if ((k + 1) % run == 0)
			total = k < run ? acc : total + acc;
	}
	return total;
}

static float
reference(const Case *c, size_t row, size_t token)
{
	return c->s.planes ? reference_int(c, row, token) : reference_float(c, row, token);
}

/* ---- the layouts, written from targets/pack.h and templates/README.md --------------------- */

/* n bytes that end where an unreadable page begins, 64-byte aligned if n is. */
typedef struct Fenced {
	uint8_t *map, *data;
	size_t mapped;
} Fenced;

static Fenced
fenced(size_t n)
{
	Fenced f;

	f.mapped = (n + PAGE - 1) / PAGE * PAGE + PAGE;
	f.map = mmap(NULL, f.mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (f.map == MAP_FAILED || mprotect(f.map + f.mapped - PAGE, PAGE, PROT_NONE) != 0) {
		perror("linear_check");
		exit(2);
	}
	f.data = f.map + f.mapped - PAGE - n;
	return f;
}

static void
fenced_free(Fenced *f)
{
	munmap(f->map, f->mapped);
}

static uint8_t *
put_number(uint8_t *at, float v, int bits)
{
	uint16_t h = bits == 16 ? half_bits(v) : 0;

	if (bits == 16)
		memcpy(at, &h, 2);
	else
		memcpy(at, &v, 4);
	return at + bits / 8;
}

static uint8_t *
pack_group(const Case *c, size_t row0, int g, uint8_t *at)
{
	const Linear s = c->s;
	int first = g * s.group, end = first + s.group < s.k ? first + s.group : s.k;
	int set = 32 / s.bits;

	for (size_t r = 0; r < ROWS; r++)
		at = put_number(at, c->scales[(row0 + r) * (size_t)c->groups + (size_t)g],
				s.scale_bits);
	for (size_t r = 0; r < ROWS && s.minimum; r++)
		at = put_number(at, c->minima[(row0 + r) * (size_t)c->groups + (size_t)g],
				s.scale_bits);
	for (int k = first; k < end; k += set)
		for (size_t r = 0; r < ROWS; r++)
			for (int i = 0; i < 4; i++) {
				const uint8_t *u = c->codes + (row0 + r) * (size_t)s.k;
				int v = k + i < end ? u[k + i] : 0;

				if (s.bits == 4 && k + 4 + i < end)
					v |= u[k + 4 + i] << 4;
				*at++ = (uint8_t)v;
			}
	return at;
}

static Fenced
pack(const Case *c, size_t block_bytes)
{
	const Linear s = c->s;
	Fenced f = fenced(block_bytes * (size_t)c->blocks);
	uint8_t *at = f.data;

	for (size_t b = 0; b < (size_t)c->blocks; b++) {
		if (s.is_float)
			for (int k = 0; k < s.k; k++)
				for (size_t r = 0; r < ROWS; r++)
					at = put_number(at,
							c->weights[(b * ROWS + r) * (size_t)s.k +
								   (size_t)k],
							s.bits);
		else
			for (int g = 0; g < c->groups; g++)
				at = pack_group(c, b * ROWS, g, at);
		if (at != f.data + block_bytes * (b + 1)) {
			fprintf(stderr, "linear_check: a block of k=%d has %td bytes, not %zu\n",
				s.k, at - f.data - (ptrdiff_t)(block_bytes * b), block_bytes);
			exit(1);
		}
	}
	return f;
}

typedef struct Batch {
	Fenced hi, lo, sum_hi, sum_lo, scale, x, xsum;
} Batch;

static void
batch_sums(const Case *c, int token, int mt, int m, Batch *b)
{
	const Linear s = c->s;
	int32_t *hi = (int32_t *)(void *)b->sum_hi.data, *lo = (int32_t *)(void *)b->sum_lo.data;
	float *xsum = (float *)(void *)b->xsum.data;

	for (int u = 0; u < c->units; u++) {
		size_t at = (size_t)(token * c->units + u * mt + m);

		for (int k = u * s.sums; k < s.k && k < (u + 1) * s.sums; k++) {
			size_t from = (size_t)(token + m) * (size_t)s.k + (size_t)k;
			int v = c->c[from], low = 0;

			if (s.planes == 2)
				low = ((v % 256) + 256 + 128) % 256 - 128;
			hi[at] += s.planes == 2 ? (v - low) / 256 : v;
			lo[at] += low;
			xsum[at] = k % s.sums ? xsum[at] + c->x[from] : c->x[from];
		}
	}
}

static void
batch_token(const Case *c, int token, int mt, int m, Batch *b)
{
	const Linear s = c->s;
	int padded = (s.k + 15) / 16 * 16;
	int8_t *hi = (int8_t *)b->hi.data, *lo = (int8_t *)b->lo.data;
	float *x = (float *)(void *)b->x.data, *scale = (float *)(void *)b->scale.data;

	for (int k = 0; k < s.k; k++) {
		size_t from = (size_t)(token + m) * (size_t)s.k + (size_t)k;
		size_t at = (size_t)(token * padded + k / 4 * 4 * mt + 4 * m + k % 4);
		int v = c->c[from], low = 0;

		if (s.planes == 2)
			low = ((v % 256) + 256 + 128) % 256 - 128;
		hi[at] = (int8_t)(s.planes == 2 ? (v - low) / 256 : v);
		lo[at] = (int8_t)low;
		x[token * padded + k * mt + m] = c->x[from];
	}
	if (!s.act_group)
		scale[token + m] = c->act_scale[token + m];
	else
		for (int u = 0; u < c->units; u++)
			scale[token * c->units + u * mt + m] =
				c->act_scale[(token + m) * c->units + u];
	if (!s.is_float)
		batch_sums(c, token, mt, m, b);
}

static Batch
batch_new(const Case *c, int tile)
{
	size_t n = (size_t)c->tokens, padded = ((size_t)c->s.k + 15) / 16 * 16;
	size_t units = (size_t)c->units;
	Batch b = {fenced(n * padded),
		   fenced(n * padded),
		   fenced(n * units * 4),
		   fenced(n * units * 4),
		   fenced(n * 4 * (c->s.act_group ? units : 1)),
		   fenced(n * padded * 4),
		   fenced(n * units * 4)};

	for (int token = 0; token < c->tokens; token++) {
		int first = token / tile * tile;
		int mt = c->tokens - first < tile ? c->tokens - first : tile;

		batch_token(c, first, mt, token - first, &b);
	}
	return b;
}

static void
batch_free(Batch *b)
{
	fenced_free(&b->hi);
	fenced_free(&b->lo);
	fenced_free(&b->sum_hi);
	fenced_free(&b->sum_lo);
	fenced_free(&b->scale);
	fenced_free(&b->x);
	fenced_free(&b->xsum);
}

/* Parts that a kernel has no business with are null. */
static TestTiles
batch_tiles(const Case *c, const Batch *b)
{
	const Linear s = c->s;
	TestTiles t = {0};

	if (s.planes) {
		t.hi = (const int8_t *)b->hi.data;
		t.sum_hi = (const int32_t *)(const void *)b->sum_hi.data;
		t.scale = (const float *)(const void *)b->scale.data;
	} else {
		t.x = (const float *)(const void *)b->x.data;
		if (!s.is_float && s.minimum)
			t.xsum = (const float *)(const void *)b->xsum.data;
	}
	if (s.planes == 2) {
		t.lo = (const int8_t *)b->lo.data;
		t.sum_lo = (const int32_t *)(const void *)b->sum_lo.data;
	}
	return t;
}

/* ---- checks ------------------------------------------------------------------------------- */

typedef struct Count {
	long cases, values, differ;
} Count;

static void
print_spec(FILE *f, Linear s)
{
	fprintf(f, "%s%d scale f%d%s group %d k %d planes %d act_group %d sums %d split %d",
		s.is_float ? "f" : "int", s.bits, s.scale_bits, s.minimum ? " min" : "", s.group,
		s.k, s.planes, s.act_group, s.sums, s.split);
}

static void
compare(const Case *c, const char *what, float got, float want, size_t row, size_t token,
	Count *count)
{
	count->values++;
	if (memcmp(&got, &want, sizeof(got)) == 0)
		return;
	if (count->differ++ < 10) {
		fprintf(stderr, "linear_check: %s row %zu token %zu of %d: %a, contract %a\n  ",
			what, row, token, c->tokens, (double)got, (double)want);
		print_spec(stderr, c->s);
		fprintf(stderr, "\n");
	}
}

static Case
case_new(Linear s, int blocks, int tokens, uint64_t *r)
{
	Case c = {.s = s, .blocks = blocks, .tokens = tokens, .groups = 1, .units = 1};

	if (!s.is_float) {
		c.groups = (s.k + s.group - 1) / s.group;
		c.units = (s.k + s.sums - 1) / s.sums;
	}
	case_fill(&c, r);
	return c;
}

typedef void AnyBlock(Linear s, int mt, const uint8_t *w, const Act *a, float *y);

/* One tile of a spec that is known at run time only. */
static void
check_any(const LinearIsa *isa, AnyBlock *block, Linear s, int mt, uint64_t *r, Count *count)
{
	Case c = case_new(s, 1, mt, r);
	Batch b = batch_new(&c, mt);
	Fenced w = pack(&c, (size_t)isa->block_bytes(s)), y = fenced((size_t)mt * ROWS * 4);
	TestTiles t = batch_tiles(&c, &b);
	Act a = {t.hi, t.lo, t.sum_hi, t.sum_lo, t.scale, t.x, t.xsum};
	const float *got = (const float *)(const void *)y.data;

	block(s, mt, w.data, &a, (float *)(void *)y.data);
	for (size_t m = 0; m < (size_t)mt; m++)
		for (size_t row = 0; row < ROWS; row++)
			compare(&c, "block", got[m * ROWS + row], reference(&c, row, m), row, m,
				count);
	count->cases++;
	fenced_free(&y);
	fenced_free(&w);
	batch_free(&b);
	case_free(&c);
}

/* A specialised kernel over several blocks and tokens. */
static void
check_store(const LinearIsa *isa, const LinearKernel *k, uint64_t *r, Count *count)
{
	int blocks = 1 + below(r, MAX_BLOCKS), first = below(r, blocks);
	int tokens = 1 + below(r, MAX_TOKENS);
	size_t ld = (size_t)blocks * ROWS + 16 * (size_t)below(r, 3);
	Case c = case_new(k->spec, blocks, tokens, r);
	Batch b = batch_new(&c, isa->tile(k->spec));
	Fenced w = pack(&c, (size_t)isa->block_bytes(k->spec));
	Fenced out = fenced(ld * (size_t)tokens * sizeof(float));
	float *y = (float *)(void *)out.data;
	TestTiles t = batch_tiles(&c, &b);
	const float fence = -12345.0f;

	for (size_t i = 0; i < ld * (size_t)tokens; i++)
		y[i] = fence;
	k->store(w.data, first, blocks, &t, tokens, y, (ptrdiff_t)ld);
	for (size_t m = 0; m < (size_t)tokens; m++)
		for (size_t row = 0; row < ld; row++) {
			int mine = row >= (size_t)first * ROWS && row < (size_t)blocks * ROWS;

			compare(&c, "store", y[m * ld + row], mine ? reference(&c, row, m) : fence,
				row, m, count);
		}
	count->cases++;
	fenced_free(&out);
	fenced_free(&w);
	batch_free(&b);
	case_free(&c);
}

/* add and logits: what linear_store gives, added to what was there, or cut off at the last row. */
static void
check_epilogues(const LinearIsa *isa, uint64_t *r, Count *count)
{
	const Linear s = isa->epilogue;
	int tokens = 1 + below(r, MAX_TOKENS), rows = 1 + below(r, MAX_BLOCKS * ROWS);
	int blocks = (rows + ROWS - 1) / ROWS;
	size_t ld = (size_t)blocks * ROWS, n = ld * (size_t)tokens;
	Case c = case_new(s, blocks, tokens, r);
	Batch b = batch_new(&c, isa->tile(s));
	Fenced w = pack(&c, (size_t)isa->block_bytes(s)), out = fenced(n * sizeof(float));
	size_t odd = (size_t)rows * (size_t)tokens;
	Fenced cut = fenced(odd * sizeof(float));
	float *x = (float *)(void *)out.data, *y = (float *)(void *)cut.data;
	TestTiles t = batch_tiles(&c, &b);

	for (size_t i = 0; i < n; i++)
		x[i] = (float)(i % 7) * 0.37f;
	isa->add(w.data, 0, blocks, &t, tokens, x, (ptrdiff_t)ld);
	isa->logits(w.data, 0, blocks, &t, tokens, y, rows, rows);
	for (size_t m = 0; m < (size_t)tokens; m++)
		for (size_t row = 0; row < ld; row++) {
			float v = reference(&c, row, m);
			float before = (float)((m * ld + row) % 7) * 0.37f;

			compare(&c, "add", x[m * ld + row], before + v, row, m, count);
			if (row < (size_t)rows)
				compare(&c, "logits", y[m * (size_t)rows + row], v, row, m, count);
		}
	count->cases++;
	fenced_free(&cut);
	fenced_free(&out);
	fenced_free(&w);
	batch_free(&b);
	case_free(&c);
}

/* The bits of silu are checked elsewhere; here it must be near, and the product exact for up = 0.
 */
static void
check_silu_mul(const LinearIsa *isa, uint64_t *r, Count *count)
{
	const Linear s = isa->epilogue;
	int tokens = 1 + below(r, MAX_TOKENS), pairs = 1 + below(r, MAX_BLOCKS / 2);
	size_t ld = (size_t)pairs * ROWS, n = ld * (size_t)tokens;
	Case c = case_new(s, 2 * pairs, tokens, r);
	Batch b = batch_new(&c, isa->tile(s));
	Fenced w = pack(&c, (size_t)isa->block_bytes(s)), out = fenced(n * sizeof(float));
	float *y = (float *)(void *)out.data;
	TestTiles t = batch_tiles(&c, &b);

	isa->silu_mul(w.data, 0, pairs, &t, tokens, y, (ptrdiff_t)ld);
	for (size_t m = 0; m < (size_t)tokens; m++)
		for (size_t row = 0; row < ld; row++) {
			size_t at = row / ROWS * 2 * ROWS + row % ROWS;
			double gate = (double)reference(&c, at, m);
			double up = (double)reference(&c, at + ROWS, m);
			double want = gate / (1 + exp(-gate)) * up, got = (double)y[m * ld + row];

			count->values++;
			if (fabs(got - want) > 4e-7 * fabs(want) + 1e-36 && count->differ++ < 10)
				fprintf(stderr, "linear_check: silu_mul: %a, near %a\n", got, want);
		}
	count->cases++;
	fenced_free(&out);
	fenced_free(&w);
	batch_free(&b);
	case_free(&c);
}

/* ---- random specs ------------------------------------------------------------------------- */

static int
pick(uint64_t *r, const int *from, int n)
{
	return from[below(r, n)];
}

static Linear
random_spec(uint64_t *r)
{
	static const int ks[] = {16,  44,  64,	96,  128, 160,	172,
				 256, 320, 576, 768, 960, 1536, 4864};
	static const int groups[] = {32, 32, 64, 64, 96, 128, 256, 0};
	Linear s = {.k = pick(r, ks, below(r, 8) ? 11 : 14), .split = 1};
	int unit;

	if (below(r, 8) == 0) {
		s.is_float = 1;
		s.bits = below(r, 2) ? 16 : 32;
		unit = 32;
	} else {
		s.bits = below(r, 2) ? 8 : 4;
		s.scale_bits = below(r, 2) ? 16 : 32;
		s.minimum = below(r, 2);
		s.group = pick(r, groups, 8);
		unit = s.group;
		if (s.group == 0)
			s.group = s.k;
		s.planes = below(r, 3);
		s.sums = s.group;
		if (s.planes && below(r, 3) == 0 && s.group % 32 == 0) {
			int parts = s.group / 32;

			do
				s.act_group = 32 * (1 + below(r, parts));
			while (s.group % s.act_group);
			s.sums = s.act_group;
			unit = unit ? unit : s.act_group;
		}
	}
	if (unit && s.k % unit == 0)
		do
			s.split = 1 + below(r, 8);
		while (s.k / unit % s.split);
	return s;
}

int
main(int argc, char **argv)
{
	static const LinearIsa *const isas[] = {
#ifdef WITH_C
		&linear_isa_c,
#endif
#ifdef WITH_V3
		&linear_isa_v3,
#endif
#ifdef WITH_V4
		&linear_isa_v4,
#endif
	};
	static AnyBlock *const any[] = {
#ifdef WITH_C
		linear_any_c,
#endif
#ifdef WITH_V3
		linear_any_v3,
#endif
#ifdef WITH_V4
		linear_any_v4,
#endif
	};
	static const int tiles[] = {1, 2, 3, 4, 6, 8};
	long cases = argc > 1 ? atol(argv[1]) : 2000;
	uint64_t seed = argc > 2 ? (uint64_t)atol(argv[2]) : 1;
	int status = 0;

	for (size_t i = 0; i < sizeof(isas) / sizeof(isas[0]); i++) {
		const LinearIsa *isa = isas[i];
		uint64_t r = seed;
		Count count = {0};

		if (!isa->usable()) {
			printf("linear %s: SKIPPED, this CPU lacks it\n", isa->name);
			continue;
		}
		for (long n = 0; n < cases; n++) {
			Linear s = random_spec(&r);

			check_any(isa, any[i], s, pick(&r, tiles, 6), &r, &count);
		}
		for (int k = 0; k < isa->n_kernels; k++)
			for (int n = 0; n < 6; n++)
				check_store(isa, &isa->kernels[k], &r, &count);
		for (int n = 0; n < 10; n++) {
			check_epilogues(isa, &r, &count);
			check_silu_mul(isa, &r, &count);
		}
		printf("linear %s: %ld cases, %ld values, %ld differ\n", isa->name, count.cases,
		       count.values, count.differ);
		status |= count.differ != 0;
	}
	return status;
}
