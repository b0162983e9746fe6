/*
 * The contract of linears (ir/README.md), one row and one token at a time, with random matrices and
 * activations and their layouts. Weights and activations end at an unreadable page: a kernel that
 * reads a byte too many dies. Include with _GNU_SOURCE defined (mmap).
 */
#ifndef LATHE_TESTS_LINEAR_REFERENCE_H
#define LATHE_TESTS_LINEAR_REFERENCE_H

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "linear_isa.h"
#include "tests/random.h"

enum { MAX_TOKENS = 16, MAX_BLOCKS = 4, ROWS = 32, PAGE = 4096 };

static inline int
below(uint64_t *state, int n)
{
	return (int)random_below(state, (size_t)n);
}

/* ---- the matrix and the activations as numbers -------------------------------------------- */

typedef struct Case {
	Linear s;
	int blocks, tokens, groups, units;
	uint8_t *codes;		/* [rows][k] */
	uint8_t *zeros;		/* [rows][groups] */
	float *scales, *minima; /* [rows][groups] */
	float *weights;		/* [rows][k], of float weights */
	int32_t *c;		/* [tokens][k] activation codes */
	float *act_scale;	/* [tokens][units or 1] */
	float *act_shift;	/* likewise */
	float *row_sums;	/* [rows][units or 1] */
	float *x;		/* [tokens][k] */
} Case;

static inline void *
grab(size_t count, size_t size)
{
	void *p = calloc(count + 1, size);

	if (!p) {
		fprintf(stderr, "linear: out of memory\n");
		exit(2);
	}
	return p;
}

static inline float
from_bits(uint32_t u)
{
	float f;

	memcpy(&f, &u, sizeof(f));
	return f;
}

/* Exact value of a half, by its definition. */
static inline float
half_value(uint16_t h)
{
	int e = h >> 10 & 31, m = h & 1023;
	float v = e ? ldexpf((float)(1024 + m), e - 25) : ldexpf((float)m, -24);

	return h & 0x8000 ? -v : v;
}

/* A finite number that the stored type holds exactly: ordinary, tiny, signed, sometimes zero. */
static inline float
random_stored(uint64_t *r, int bits)
{
	int kind = below(r, 8);

	if (kind == 0)
		return bits == 16 ? half_value((uint16_t)(random_next(r) & 0x83ff))
				  : from_bits((uint32_t)random_next(r) & 0x807fffff);
	if (kind == 1)
		return 0.0f;
	if (kind == 2)
		return half_value((uint16_t)((random_next(r) & 0x83ff) | 0x7800));
	return half_value(
		(uint16_t)((random_next(r) & 0x83ff) | (uint64_t)(8 + below(r, 12)) << 10));
}

/* Likewise of bf16: the upper half of a float. */
static inline float
random_bf16(uint64_t *r)
{
	return below(r, 8) ? from_bits((uint32_t)((random_next(r) & 0x807f) |
						  (uint64_t)(110 + below(r, 20)) << 7)
				       << 16)
			   : from_bits((uint32_t)(random_next(r) & 0x807f) << 16);
}

static inline uint16_t
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

/* Asymmetric codes of 8 bits go down to -128, the upper bytes of 16 bits to -127. */
static inline int
random_code(uint64_t *r, int mode, int planes)
{
	const int least = planes == 2 ? -127 : -128;
	int hi, lo;

	switch (mode) {
	case 0:
		hi = 127, lo = 127;
		break;
	case 1:
		hi = least, lo = -128;
		break;
	case 2:
		hi = below(r, 2) ? 127 : least, lo = below(r, 2) ? 127 : -128;
		break;
	case 3:
		hi = 0, lo = below(r, 3) - 1;
		break;
	default:
		hi = below(r, 128 - least) + least, lo = below(r, 256) - 128;
		break;
	}
	return planes == 2 ? 256 * hi + lo : hi;
}

static inline void
case_fill_weights(Case *c, uint64_t *r)
{
	const Linear s = c->s;
	size_t rows = (size_t)c->blocks * ROWS, n = rows * (size_t)s.k;
	int mode = below(r, 5), top = 0;

	if (!s.is_float)
		top = s.offset == 1 ? 2 : (1 << s.bits) - 1;

	if (s.is_float) {
		c->weights = grab(n, sizeof(float));
		for (size_t i = 0; i < n; i++)
			c->weights[i] = random_stored(r, s.bits);
		return;
	}
	c->codes = grab(n, 1);
	c->scales = grab(rows * (size_t)c->groups, sizeof(float));
	c->minima = grab(rows * (size_t)c->groups, sizeof(float));
	c->zeros = grab(rows * (size_t)c->groups, 1);
	for (size_t i = 0; i < n; i++)
		c->codes[i] = (uint8_t)(mode == 0   ? top
					: mode == 1 ? 0
					: mode == 2 ? below(r, 2) * top
						    : below(r, top + 1));
	for (size_t i = 0; i < rows * (size_t)c->groups; i++) {
		c->scales[i] = s.bf16 ? random_bf16(r) : random_stored(r, s.scale_bits);
		c->minima[i] = s.bf16 ? random_bf16(r) : random_stored(r, s.scale_bits);
		c->zeros[i] = (uint8_t)below(r, top + 1);
	}
}

static inline void
case_fill(Case *c, uint64_t *r)
{
	const Linear s = c->s;
	size_t n = (size_t)c->tokens * (size_t)s.k;
	int scales = s.act_group ? c->units : 1, mode = below(r, 8);

	case_fill_weights(c, r);
	c->c = grab(n, sizeof(int32_t));
	c->x = grab(n, sizeof(float));
	c->act_scale = grab((size_t)(c->tokens * scales), sizeof(float));
	c->act_shift = grab((size_t)(c->tokens * scales), sizeof(float));
	c->row_sums = grab((size_t)(c->blocks * ROWS * scales), sizeof(float));
	for (size_t i = 0; i < n; i++) {
		c->c[i] = s.planes ? random_code(r, mode, s.planes) : 0;
		c->x[i] = random_stored(r, below(r, 2) ? 16 : 32);
	}
	for (int i = 0; i < c->tokens * scales; i++)
		c->act_scale[i] = below(r, 8) ? ldexpf((float)(1 + below(r, 1 << 20)), -30)
					      : ldexpf(1.0f, -126);
	for (int i = 0; i < c->tokens * scales; i++)
		c->act_shift[i] = random_stored(r, 16);
	for (int i = 0; i < c->blocks * ROWS * scales; i++)
		c->row_sums[i] = random_stored(r, 16);
}

static inline void
case_free(Case *c)
{
	free(c->codes);
	free(c->scales);
	free(c->minima);
	free(c->zeros);
	free(c->weights);
	free(c->c);
	free(c->act_scale);
	free(c->act_shift);
	free(c->row_sums);
	free(c->x);
}

/* ---- the contract, one row and one token -------------------------------------------------- */

/* What to subtract from the codes of a group; at: its place in the scales. */
static inline int
zero_point(const Case *c, size_t at)
{
	return c->s.zeros ? c->zeros[at] : c->s.offset;
}

static inline float
reference_int(const Case *c, size_t row, size_t token)
{
	const Linear s = c->s;
	const int run = s.k / s.split;
	const uint8_t *u = c->codes + row * (size_t)s.k;
	const int32_t *code = c->c + token * (size_t)s.k;
	float total = 0, acc = 0;

	for (int k = 0; k < s.k;) {
		int group = k / s.group, end = (k / s.sums + 1) * s.sums;
		const size_t at = row * (size_t)c->groups + (size_t)group;
		const int zero = zero_point(c, at);
		float e = c->scales[at], m = c->minima[at], t, all, scale = 1;
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
			hi += (u[k] - zero) * high;
			lo += (u[k] - zero) * low;
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
		if (s.shift && s.act_group) {
			const size_t u0 = (size_t)((k - 1) / s.sums), n = (size_t)c->units;

			acc = fmaf(c->act_shift[token * n + u0], c->row_sums[row * n + u0], acc);
		}
		if (k % run == 0 || k == s.k)
			total = k <= run ? acc : total + acc;
	}
	if (s.act_group)
		return total;
	if (s.shift)
		total = fmaf(c->act_shift[token], c->row_sums[row], total);
	return c->act_scale[token] * total;
}

static inline float
reference_float(const Case *c, size_t row, size_t token)
{
	const Linear s = c->s;
	const int run = s.k / s.split;
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
			p = fmaf((float)(u - zero_point(c, at)), x[k], p);
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

static inline float
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

static inline Fenced
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

static inline void
fenced_free(Fenced *f)
{
	munmap(f->map, f->mapped);
}

static inline uint8_t *
put_bf16(uint8_t *at, float v)
{
	uint32_t u;

	memcpy(&u, &v, sizeof(u));
	at[0] = (uint8_t)(u >> 16);
	at[1] = (uint8_t)(u >> 24);
	return at + 2;
}

static inline uint8_t *
put_number(uint8_t *at, float v, int bits)
{
	uint16_t h = bits == 16 ? half_bits(v) : 0;

	if (bits == 16)
		memcpy(at, &h, 2);
	else
		memcpy(at, &v, 4);
	return at + bits / 8;
}

/* Bytes of a line set, and where code `in` of it has its bits: byte and bit of the row's dwords. */
static inline int
set_lines(int bits)
{
	return bits == 5 ? 5 : bits == 3 || bits == 6 ? 3 : 1;
}

static inline void
place_bit(int bits, int slot, int bit, int *line, int *at)
{
	static const int three[8][3][2] = {
		{{0, 0}, {0, 1}, {0, 2}}, {{0, 3}, {0, 4}, {0, 5}}, {{1, 0}, {1, 1}, {1, 2}},
		{{1, 3}, {1, 4}, {1, 5}}, {{2, 0}, {2, 1}, {2, 2}}, {{2, 5}, {2, 6}, {2, 7}},
		{{2, 4}, {0, 6}, {0, 7}}, {{2, 3}, {1, 6}, {1, 7}},
	};

	*line = 0;
	*at = slot * bits + bit;
	if (bits == 3) {
		*line = three[slot][bit][0];
		*at = three[slot][bit][1];
	} else if (bits == 5) {
		*line = bit == 4 ? 4 : slot / 2;
		*at = bit == 4 ? slot : slot % 2 * 4 + bit;
	} else if (bits == 6) {
		*line = slot < 3 ? slot : 2 - bit / 2;
		*at = slot < 3 ? bit : 6 + bit % 2;
	}
}

static inline void
put_code(uint8_t *set, const Linear s, size_t row, int in, int code)
{
	const int bits = s.bits;
	size_t lines = (size_t)set_lines(bits);

	if (s.trits) {
		static const int thirds[] = {1, 3, 9, 27, 81};
		uint8_t *to = set + row / 16 * 64 + row % 16 * 4 + (size_t)(in % 4);

		*to = (uint8_t)(*to + code * thirds[in / 4]);
		return;
	}
	for (int bit = 0; bit < bits; bit++) {
		int line, at;

		place_bit(bits, in / 4, bit, &line, &at);
		set[row / 16 * 64 * lines + (size_t)line * 64 + row % 16 * 4 + (size_t)(in % 4)] |=
			(uint8_t)((code >> bit & 1) << at);
	}
}

static inline uint8_t *
put_row_sums(const Case *c, size_t row0, size_t unit, uint8_t *at)
{
	const size_t n = c->s.act_group ? (size_t)c->units : 1;

	for (size_t r = 0; r < ROWS; r++)
		at = put_number(at, c->row_sums[(row0 + r) * n + unit], 32);
	return at;
}

static inline uint8_t *
pack_group(const Case *c, size_t row0, int g, uint8_t *at)
{
	const Linear s = c->s;
	int first = g * s.group, end = first + s.group < s.k ? first + s.group : s.k;
	int set = s.trits ? 20 : 32 * set_lines(s.bits) / s.bits;

	for (int minima = 0; minima <= s.minimum; minima++)
		for (size_t r = 0; r < ROWS; r++) {
			const float *from = minima ? c->minima : c->scales;
			float v = from[(row0 + r) * (size_t)c->groups + (size_t)g];

			at = s.bf16 ? put_bf16(at, v) : put_number(at, v, s.scale_bits);
		}
	for (size_t r = 0; r < ROWS && s.zeros; r++)
		at[r] = c->zeros[(row0 + r) * (size_t)c->groups + (size_t)g];
	at += s.zeros ? 64 : 0;
	for (int k = first; k < end; k += set, at += 128 * set_lines(s.bits)) {
		if (s.shift && s.act_group && s.act_group < s.k && k % s.act_group == 0)
			at = put_row_sums(c, row0, (size_t)(k / s.act_group), at);
		for (size_t r = 0; r < ROWS; r++)
			for (int i = 0; i < set && k + i < end; i++)
				put_code(at, s, r, i,
					 c->codes[(row0 + r) * (size_t)s.k + (size_t)(k + i)]);
	}
	return at;
}

static inline Fenced
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
		if (s.shift && (!s.act_group || s.act_group >= s.k))
			at = put_row_sums(c, b * ROWS, 0, at);
		for (int g = 0; g < c->groups && !s.is_float; g++)
			at = pack_group(c, b * ROWS, g, at);
		if (at != f.data + block_bytes * (b + 1)) {
			fprintf(stderr, "linear: a block of k=%d has %td bytes, not %zu\n", s.k,
				at - f.data - (ptrdiff_t)(block_bytes * b), block_bytes);
			exit(1);
		}
	}
	return f;
}

typedef struct Batch {
	Fenced hi, lo, sum_hi, sum_lo, scale, shift, x, xsum;
} Batch;

static inline void
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

static inline void
batch_token(const Case *c, int token, int mt, int m, Batch *b)
{
	const Linear s = c->s;
	int padded = (s.k + 15) / 16 * 16;
	int8_t *hi = (int8_t *)b->hi.data, *lo = (int8_t *)b->lo.data;
	float *x = (float *)(void *)b->x.data, *scale = (float *)(void *)b->scale.data;
	float *shift = (float *)(void *)b->shift.data;

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
	for (int u = 0, n = s.act_group ? c->units : 1; u < n; u++) {
		scale[token * n + u * mt + m] = c->act_scale[(token + m) * n + u];
		shift[token * n + u * mt + m] = c->act_shift[(token + m) * n + u];
	}
	if (!s.is_float)
		batch_sums(c, token, mt, m, b);
}

static inline Batch
batch_new(const Case *c, int tile)
{
	size_t n = (size_t)c->tokens, padded = ((size_t)c->s.k + 15) / 16 * 16;
	size_t units = (size_t)c->units;
	Batch b = {fenced(n * padded),
		   fenced(n * padded),
		   fenced(n * units * 4),
		   fenced(n * units * 4),
		   fenced(n * 4 * (c->s.act_group ? units : 1)),
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

static inline void
batch_free(Batch *b)
{
	fenced_free(&b->hi);
	fenced_free(&b->lo);
	fenced_free(&b->sum_hi);
	fenced_free(&b->sum_lo);
	fenced_free(&b->scale);
	fenced_free(&b->shift);
	fenced_free(&b->x);
	fenced_free(&b->xsum);
}

/* Parts that a kernel has no business with are null. */
static inline TestTiles
batch_tiles(const Case *c, const Batch *b)
{
	const Linear s = c->s;
	TestTiles t = {0};

	if (s.planes) {
		t.hi = (const int8_t *)b->hi.data;
		t.sum_hi = (const int32_t *)(const void *)b->sum_hi.data;
		t.scale = (const float *)(const void *)b->scale.data;
		if (s.shift)
			t.shift = (const float *)(const void *)b->shift.data;
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

static inline void
print_spec(FILE *f, Linear s)
{
	fprintf(f, "%s%d scale %sf%d%s%s%s offset %d group %d k %d planes %d act_group %d ",
		s.is_float ? "f" : "int", s.bits, s.bf16 ? "b" : "", s.scale_bits,
		s.minimum ? " min" : "", s.zeros ? " zeros" : "", s.trits ? " trits" : "", s.offset,
		s.group, s.k, s.planes, s.act_group);
	fprintf(f, "sums %d split %d%s", s.sums, s.split, s.shift ? " shift" : "");
}

static inline void
compare(const Case *c, const char *what, float got, float want, size_t row, size_t token,
	Count *count)
{
	count->values++;
	if (memcmp(&got, &want, sizeof(got)) == 0)
		return;
	if (count->differ++ < 10) {
		fprintf(stderr, "linear: %s row %zu token %zu of %d: %a, contract %a\n  ", what,
			row, token, c->tokens, (double)got, (double)want);
		print_spec(stderr, c->s);
		fprintf(stderr, "\n");
	}
}

static inline Case
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

/* Exit status after saying what a level did. */
static inline int
report(const char *program, const char *isa, const Count *count)
{
	printf("%s %s: %ld cases, %ld values, %ld differ\n", program, isa, count->cases,
	       count->values, count->differ);
	return count->differ != 0;
}

#endif
