#include "pack.h"

#include <math.h>
#include <string.h>

enum { LINE_ROWS = 16, LINE_BYTES = 64, SET_BYTES = 2 * LINE_BYTES };

int
pack_set_columns(Format f)
{
	return format_is_float(f) ? 0 : 32 / f.bits;
}

/* Bytes of one scale or minimum of a whole block. */
static uint64_t
scale_line_bytes(Format f)
{
	return PACK_ROWS * (uint64_t)f.scale_bits / 8;
}

/* Bytes of one group of `width` columns: scales, minima, line sets. */
static uint64_t
group_bytes(Format f, uint64_t width)
{
	uint64_t set = (uint64_t)pack_set_columns(f);

	return scale_line_bytes(f) * (f.minimum ? 2 : 1) + (width + set - 1) / set * SET_BYTES;
}

uint64_t
pack_block_bytes(Format f, uint32_t columns)
{
	uint64_t whole, rest;

	if (format_is_float(f))
		return (uint64_t)columns * PACK_ROWS * f.bits / 8;
	INVARIANT(f.bits == 8 || f.bits == 4);
	if (f.group == 0)
		return group_bytes(f, columns);
	whole = columns / f.group;
	rest = columns % f.group;
	return whole * group_bytes(f, f.group) + (rest ? group_bytes(f, rest) : 0);
}

uint64_t
pack_bytes(Format f, uint32_t rows, uint32_t columns)
{
	uint64_t blocks = ((uint64_t)rows + PACK_ROWS - 1) / PACK_ROWS;

	return blocks * pack_block_bytes(f, columns);
}

/* ---- one row into its place in a block ---------------------------------------------------- */

/* Files are little-endian on every host. */
static void
store_u32(uint8_t *dst, uint32_t v)
{
	dst[0] = (uint8_t)v;
	dst[1] = (uint8_t)(v >> 8);
	dst[2] = (uint8_t)(v >> 16);
	dst[3] = (uint8_t)(v >> 24);
}

static void
store_float(uint8_t *dst, float v, int bits)
{
	uint32_t u;

	if (bits == 16) {
		u = f32_to_f16(v);
		dst[0] = (uint8_t)u;
		dst[1] = (uint8_t)(u >> 8);
		return;
	}
	memcpy(&u, &v, sizeof(u));
	store_u32(dst, u);
}

static uint32_t
load_u32(const uint8_t *src)
{
	return (uint32_t)src[0] | (uint32_t)src[1] << 8 | (uint32_t)src[2] << 16 |
	       (uint32_t)src[3] << 24;
}

/* The codes of a row's group; `line` is the row's dword in the first line set. A short last set
 * is filled up with zeros. */
static void
store_codes(uint8_t *line, const uint8_t *codes, int width, int bits)
{
	int set = 32 / bits, k = 0;
	uint8_t last[8] = {0};

	for (; k < width; k += set, line += SET_BYTES) {
		const uint8_t *c = codes + k;

		if (width - k < set) {
			memcpy(last, c, (size_t)(width - k));
			c = last;
		}
		if (bits == 8)
			store_u32(line, load_u32(c));
		else
			store_u32(line, load_u32(c) | load_u32(c + 4) << 4);
	}
}

static bool
all_finite(const float *v, int n)
{
	for (int i = 0; i < n; i++)
		if (!isfinite(v[i]))
			return false;
	return true;
}

static void
store_int_row(const WeightRow *w, Format f, int columns, int r, uint8_t *dst)
{
	int groups = format_groups(f, columns), column = 0;
	uint64_t scale_line = scale_line_bytes(f);
	int scale_at = r * f.scale_bits / 8, code_at = r / LINE_ROWS * LINE_BYTES;

	code_at += r % LINE_ROWS * 4;
	for (int g = 0; g < groups; g++) {
		int width = format_group_width(f, columns, g);
		uint8_t *at = dst;

		store_float(at + scale_at, w->scales[g], f.scale_bits);
		at += scale_line;
		if (f.minimum) {
			store_float(at + scale_at, w->minima[g], f.scale_bits);
			at += scale_line;
		}
		store_codes(at + code_at, w->codes + column, width, f.bits);
		column += width;
		dst += group_bytes(f, (uint64_t)width);
	}
}

static void
store_float_row(const float *row, Format f, int columns, int r, uint8_t *dst)
{
	int bytes = f.bits / 8;

	dst += (ptrdiff_t)r * bytes;
	for (int k = 0; k < columns; k++, dst += (ptrdiff_t)PACK_ROWS * bytes)
		store_float(dst, row[k], f.bits);
}

static bool
row_is_finite(const WeightRow *w, Format f, int columns)
{
	int groups = format_groups(f, columns);

	if (format_is_float(f))
		return all_finite(w->row_f32, columns);
	return all_finite(w->scales, groups) && (!f.minimum || all_finite(w->minima, groups));
}

void
pack_block(Arena *scratch, const WeightSource *s, Format f, uint32_t b, uint8_t *dst,
	   int64_t *bad_row)
{
	int columns = (int)s->columns;
	uint64_t first = (uint64_t)b * PACK_ROWS;
	WeightRow w;

	*bad_row = -1;
	memset(dst, 0, (size_t)pack_block_bytes(f, s->columns));
	weight_row_alloc(scratch, &w, columns, f);
	for (int r = 0; r < PACK_ROWS && first + (uint64_t)r < s->rows; r++) {
		weight_source_row(s, (uint32_t)first + (uint32_t)r, f, &w);
		if (*bad_row < 0 && !row_is_finite(&w, f, columns))
			*bad_row = (int64_t)first + r;
		if (format_is_float(f))
			store_float_row(w.row_f32, f, columns, r, dst);
		else
			store_int_row(&w, f, columns, r, dst);
	}
}
