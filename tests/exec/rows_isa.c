/* One ISA level's row kernels behind pointers, shapes literal. */
#include "rows_isa.h"

#include "isa_templates.h"

#include "../../templates/math.h"

#include "../../templates/codes.h"

#include "../../templates/rows.h"
#include ISA_DOT
#include "../../templates/attention.h"

enum { NONE = ROW_SYMMETRIC, INTEGER = ROW_ZERO_INTEGER, REAL = ROW_ZERO_REAL };

static void
isa_rmsnorm(int i, const float *x, float eps, float inv_n, float *y)
{
	int at = 0;
#define ROW(n)         \
	if (i == at++) \
		rmsnorm_row(n, x, eps, inv_n, y);
#include "rows_cases.def"
}

static void
isa_gain(int i, const float *x, const float *g, float *y)
{
	int at = 0;
#define ROW(n)         \
	if (i == at++) \
		gain_row(n, x, g, y);
#include "rows_cases.def"
}

static void
isa_add(int i, const float *a, const float *b, float *y)
{
	int at = 0;
#define ROW(n)         \
	if (i == at++) \
		add_row(n, a, b, y);
#include "rows_cases.def"
}

static void
isa_silu_mul(int i, const float *a, const float *b, float *y)
{
	int at = 0;
#define ROW(n)         \
	if (i == at++) \
		silu_mul_row(n, a, b, y);
#include "rows_cases.def"
}

static void
isa_quantize(int i, const float *x, int8_t *hi, int8_t *lo, int32_t *sum_hi, int32_t *sum_lo,
	     float *scale, float *shift)
{
	const RowCodes to = {hi, lo, sum_hi, sum_lo, scale, shift};
	int at = 0;
#define QUANTIZE(n, bits, act_group, zero, clip, sum_group, mt)                         \
	if (i == at++) {                                                                \
		const RowFormat f = {bits, act_group, (enum RowZero)zero, (float)clip}; \
		quantize_row(n, f, sum_group, mt, x, to);                               \
	}
#include "rows_cases.def"
}

static void
isa_tile(int i, const float *x, float *out, float *xsum)
{
	int at = 0;
#define TILE(n, sum_group, mt) \
	if (i == at++)         \
		tile_row(n, sum_group, mt, x, out, xsum);
#include "rows_cases.def"
}

static void
isa_embed(int i, const uint8_t *packed, int32_t row, float *y)
{
	int at = 0;
#define EMBED(...)     \
	if (i == at++) \
		embed_row((Linear){__VA_ARGS__}, packed, row, y);
#include "rows_cases.def"
}

static void
isa_rope(int i, const float *x, const float *cos, const float *sin, float *y)
{
	int at = 0;
#define ROPE(heads, d) \
	if (i == at++) \
		rope_row(heads, d, x, cos, sin, y);
#include "rows_cases.def"
}

static size_t
isa_kv_bytes(int i)
{
	int at = 0;
#define ATTENTION(bits, zero, query, d, group)                                    \
	if (i == at++)                                                            \
		return (size_t)(LATHE_K_BYTES(bits, d) + LATHE_V_BYTES(bits, d) + \
				((bits) > 8 ? 0                                   \
				 : (zero)   ? 16                                  \
					    : 8));
#include "rows_cases.def"
	return 0;
}

static void
isa_kv_write(int i, int pos, const float *k, const float *v, unsigned char *cache, size_t room)
{
	int at = 0;
#define ATTENTION(bits, zero, query, d, group)                     \
	if (i == at++) {                                           \
		const Kv kv = {d, bits, zero, query};              \
		kv_write(kv, pos, k, v, kv_head(kv, cache, room)); \
	}
#include "rows_cases.def"
}

static size_t
isa_attention_scratch(int i, int tokens)
{
	int at = 0;
#define ATTENTION(bits, zero, query, d, group) \
	if (i == at++)                         \
		return (size_t)LATHE_ATTENTION_SCRATCH(d, tokens * group);
#include "rows_cases.def"
	return 0;
}

static void
isa_attention_token(int i, int begin, int seen, const float *q, float scale, unsigned char *cache,
		    size_t room, float *out, float *scratch)
{
	int at = 0;
#define ATTENTION(bits, zero, query, d, group)                                                    \
	if (i == at++) {                                                                          \
		const Kv kv = {d, bits, zero, query};                                             \
		attention_window(kv, group, begin, seen, q, scale, kv_head(kv, cache, room), out, \
				 scratch);                                                        \
	}
#include "rows_cases.def"
}

static void
isa_attention_head(int i, int seen, const float *q, float scale, unsigned char *cache, size_t room,
		   float *out, float *scratch)
{
	int at = 0;
#define ATTENTION(bits, zero, query, d, group)                                              \
	if (i == at++) {                                                                    \
		const Kv kv = {d, bits, zero, query};                                       \
		attention_head(kv, seen, q, scale, kv_head(kv, cache, room), out, scratch); \
	}
#include "rows_cases.def"
}

static void
isa_attention_heads(int i, int n, int past, const float *q, size_t q_stride, float scale,
		    unsigned char *cache, size_t room, float *out, size_t out_stride,
		    float *scratch)
{
	int at = 0;
#define ATTENTION(bits, zero, query, d, group)                                                    \
	if (i == at++) {                                                                          \
		const Kv kv = {d, bits, zero, query};                                             \
		attention_heads(kv, group, n, past, q, q_stride, scale, kv_head(kv, cache, room), \
				out, out_stride, scratch);                                        \
	}
#include "rows_cases.def"
}

const RowsIsa ISA_SYMBOL(rows_isa_) = {
	.name = ISA_NAME,
	.rmsnorm = isa_rmsnorm,
	.gain = isa_gain,
	.add = isa_add,
	.silu_mul = isa_silu_mul,
	.quantize = isa_quantize,
	.tile = isa_tile,
	.embed = isa_embed,
	.rope = isa_rope,
	.kv_bytes = isa_kv_bytes,
	.kv_write = isa_kv_write,
	.attention_scratch = isa_attention_scratch,
	.attention_token = isa_attention_token,
	.attention_head = isa_attention_head,
	.attention_heads = isa_attention_heads,
};
