/*
 * One ISA level's kernels behind pointers, specs literal.
 */
#include "linear_isa.h"

#include "linear_templates.h"

static Tiles
tiles_of(const TestTiles *t)
{
	Tiles r = {t->hi, t->lo, t->sum_hi, t->sum_lo, t->scale, t->shift, t->x, t->xsum};

	return r;
}

#define SPEC(...)                                                                                 \
	static void PASTE(store_, __LINE__)(const uint8_t *w, int b0, int b1, const TestTiles *t, \
					    int n, float *y, ptrdiff_t ld)                        \
	{                                                                                         \
		const Linear s = {__VA_ARGS__};                                                   \
		const Tiles tiles = tiles_of(t);                                                  \
                                                                                                  \
		linear_store(s, w, b0, b1, &tiles, n, y, ld, 0);                                  \
	}
#include "linear_specs.def"

static const LinearKernel kernels[] = {
#define SPEC(...) {{__VA_ARGS__}, PASTE(store_, __LINE__)},
#include "linear_specs.def"
};

static int
isa_tile(Linear s)
{
	return linear_tile(s);
}

static ptrdiff_t
isa_block_bytes(Linear s)
{
	return linear_block_bytes(s);
}

#define EPILOGUE                                                                               \
	{                                                                                      \
		.bits = 4, .scale_bits = 16, .minimum = 1, .group = 32, .k = 576, .planes = 2, \
		.sums = 32, .split = 3, .shift = 1                                             \
	}

static void
epilogue_add(const uint8_t *w, int b0, int b1, const TestTiles *t, int n, float *x, ptrdiff_t ld,
	     const float *bias)
{
	const Linear s = EPILOGUE;
	const Tiles tiles = tiles_of(t);

	linear_add(s, w, b0, b1, &tiles, n, x, ld, bias);
}

static void
epilogue_silu_mul(const uint8_t *w, int b0, int b1, const TestTiles *t, int n, float *y,
		  ptrdiff_t ld, const float *gate_bias, const float *up_bias)
{
	const Linear s = EPILOGUE;
	const Tiles tiles = tiles_of(t);

	linear_silu_mul(s, w, b0, b1, &tiles, n, y, ld, gate_bias, up_bias);
}

static void
epilogue_logits(const uint8_t *w, int b0, int b1, const TestTiles *t, int n, float *y, ptrdiff_t ld,
		int n_rows, const float *bias)
{
	const Linear s = EPILOGUE;
	const Tiles tiles = tiles_of(t);

	linear_logits(s, w, b0, b1, &tiles, n, y, ld, n_rows, bias);
}

const LinearIsa ISA_SYMBOL(linear_isa_) = {
	ISA_NAME,	 isa_usable,   isa_tile,
	isa_block_bytes, kernels,      sizeof(kernels) / sizeof(kernels[0]),
	EPILOGUE,	 epilogue_add, epilogue_silu_mul,
	epilogue_logits,
};
