/*
 * The row kernels of every ISA level against a scalar reference written from the bit contract
 * (ir/README.md) with libm's fmaf. All comparisons are memcmp.
 */
#include "ir/interp.h"
#include "tests/exec/isa_suite.h"
#include "tests/exec/rows_isa.h"

typedef struct Suite {
	const RowsIsa *isa[3];
	int n_isa;
} Suite;

#define EACH_ISA(s, p) (int p = 0; p < (s)->n_isa; p++)

typedef struct RowCase {
	int n;
} RowCase;
typedef struct QuantizeCase {
	int n, bits, act_group, sum_group, mt;
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
#define QUANTIZE(n, bits, act_group, sum_group, mt) {n, bits, act_group, sum_group, mt},
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
	int qmax = c.bits == 16 ? 32639 : (1 << (c.bits - 1)) - 1;
	int group = c.act_group ? c.act_group : c.n;
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
			int low = c.bits == 16 ? ((code + 128) & 255) - 128 : 0;
			int high = c.bits == 16 ? (code - low) / 256 : code;
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
						c.bits == 16 ? lo[0] + 4 * m : NULL, sum_hi[0] + m,
						c.bits == 16 ? sum_lo[0] + m : NULL, scale[0] + m);
					ref_quantize(c, x, hi[1] + 4 * m, lo[1] + 4 * m,
						     sum_hi[1] + m, sum_lo[1] + m, scale[1] + m);
					same("quantize: hi", isa->name, i, hi[0], hi[1], codes);
					same("quantize: sum_hi", isa->name, i, sum_hi[0], sum_hi[1],
					     sums * 4);
					same("quantize: scale", isa->name, i, scale[0], scale[1],
					     sums * 4);
					if (c.bits == 16) {
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
	int group = c.group ? c.group : c.k, set = (int)(32 * lines) / c.bits, slot = 0;
	size_t numbers = (size_t)(32 * c.scale_bits / 8 * (1 + c.minimum)), block = 0, at = 0;
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
put_code(uint8_t *p, int bits, int j, uint32_t code)
{
	uint32_t line[5] = {0};
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
				int slot = code_place(c, r, k, &byte, &head);
				uint32_t code = draw(&seed) >> (32 - c.bits);
				put_code(packed + byte, c.bits, slot, code);
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
main(void)
{
	const int usable = isa_usable();
	Suite s = {.isa = {&rows_isa_c}, .n_isa = 1};
#if defined(__x86_64__)
	if (usable & ISA_V3)
		s.isa[s.n_isa++] = &rows_isa_v3;
	if (usable & ISA_V4)
		s.isa[s.n_isa++] = &rows_isa_v4;
#else
	(void)usable;
#endif
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_prestate(elementwise, &s),
		cmocka_unit_test_prestate(quantize, &s),
		cmocka_unit_test_prestate(tile, &s),
		cmocka_unit_test_prestate(embed, &s),
		cmocka_unit_test_prestate(rope, &s),
		cmocka_unit_test_prestate(attention, &s),
	};
	return cmocka_run_group_tests_name("rows", tests, NULL, NULL);
}
