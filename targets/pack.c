#include "pack.h"

#include <string.h>

enum { LINE_ROWS = 16, LINE_BYTES = 64, SET_BYTES = 2 * LINE_BYTES, ROW_SUM_BYTES = 128 };

/* Bits [code_bit, code_bit + bits) of a slot's codes lie at bit byte_bit of the bytes of a line. */
typedef struct Piece {
	uint8_t slot, line, code_bit, bits, byte_bit;
} Piece;

/* A line set of codes of so many bits: lines of a half, slots of four columns, pieces by slot. */
typedef struct Packing {
	uint8_t bits, lines, slots, n_pieces; /* pieces none: slot j counts 3^j */
	Piece pieces[16];
} Packing;

static const Packing packings[] = {
	{8, 1, 1, 1, {{0, 0, 0, 8, 0}}},
	{6,
	 3,
	 4,
	 6,
	 {{0, 0, 0, 6, 0},
	  {1, 1, 0, 6, 0},
	  {2, 2, 0, 6, 0},
	  {3, 0, 4, 2, 6},
	  {3, 1, 2, 2, 6},
	  {3, 2, 0, 2, 6}}},
	{5,
	 5,
	 8,
	 16,
	 {{0, 0, 0, 4, 0},
	  {0, 4, 4, 1, 0},
	  {1, 0, 0, 4, 4},
	  {1, 4, 4, 1, 1},
	  {2, 1, 0, 4, 0},
	  {2, 4, 4, 1, 2},
	  {3, 1, 0, 4, 4},
	  {3, 4, 4, 1, 3},
	  {4, 2, 0, 4, 0},
	  {4, 4, 4, 1, 4},
	  {5, 2, 0, 4, 4},
	  {5, 4, 4, 1, 5},
	  {6, 3, 0, 4, 0},
	  {6, 4, 4, 1, 6},
	  {7, 3, 0, 4, 4},
	  {7, 4, 4, 1, 7}}},
	{4, 1, 2, 2, {{0, 0, 0, 4, 0}, {1, 0, 0, 4, 4}}},
	{3,
	 3,
	 8,
	 10,
	 {{0, 0, 0, 3, 0},
	  {1, 0, 0, 3, 3},
	  {2, 1, 0, 3, 0},
	  {3, 1, 0, 3, 3},
	  {4, 2, 0, 3, 0},
	  {5, 2, 0, 3, 5},
	  {6, 0, 1, 2, 6},
	  {6, 2, 0, 1, 4},
	  {7, 1, 1, 2, 6},
	  {7, 2, 0, 1, 3}}},
	{2, 1, 4, 4, {{0, 0, 0, 2, 0}, {1, 0, 0, 2, 2}, {2, 0, 0, 2, 4}, {3, 0, 0, 2, 6}}},
};

static const Packing trit_packing = {2, 1, 5, 0, {{0, 0, 0, 0, 0}}};

static const Packing *
packing_of(Format f)
{
	if (f.trits)
		return &trit_packing;
	for (size_t i = 0; i < sizeof(packings) / sizeof(packings[0]); i++)
		if (packings[i].bits == f.bits)
			return &packings[i];
	INVARIANT(!"a weight format without a packing");
	return NULL;
}

int
pack_set_columns(Format f)
{
	return format_is_float(f) ? 0 : 4 * packing_of(f)->slots;
}

/* Bytes of one scale or minimum of a whole block. */
static uint64_t
scale_line_bytes(Format f)
{
	return PACK_ROWS * (uint64_t)f.scale_bits / 8;
}

/* Bytes in front of a group's line sets: scales, minima or zero points. */
static uint64_t
header_bytes(Format f)
{
	return scale_line_bytes(f) * (f.minimum ? 2 : 1) + (f.zero ? LINE_BYTES : 0);
}

/* Bytes of the line sets of `width` columns. */
static uint64_t
set_bytes(Format f, uint64_t width)
{
	const Packing *p = packing_of(f);
	uint64_t set = 4 * (uint64_t)p->slots;

	return (width + set - 1) / set * SET_BYTES * p->lines;
}

/* Bytes of one group of `width` columns. */
static uint64_t
group_bytes(Format f, uint64_t width)
{
	return header_bytes(f) + set_bytes(f, width);
}

static uint64_t
row_sums(PackForm form)
{
	return form.sums ? ((uint64_t)form.columns + form.sums - 1) / form.sums : 0;
}

static uint64_t
row_sum_bytes(PackForm form)
{
	return row_sums(form) * ROW_SUM_BYTES;
}

uint64_t
pack_block_bytes(PackForm form)
{
	const Format f = form.format;
	uint64_t whole, rest;

	if (format_is_float(f))
		return (uint64_t)form.columns * PACK_ROWS * f.bits / 8;
	if (f.group == 0)
		return row_sum_bytes(form) + group_bytes(f, form.columns);
	whole = form.columns / f.group;
	rest = form.columns % f.group;
	return row_sum_bytes(form) + whole * group_bytes(f, f.group) +
	       (rest ? group_bytes(f, rest) : 0);
}

uint64_t
pack_code_bytes(PackForm form, uint32_t rows)
{
	const Format f = form.format;
	const uint64_t blocks = ((uint64_t)rows + PACK_ROWS - 1) / PACK_ROWS;
	uint64_t bytes = 0;

	if (format_is_float(f))
		return pack_bytes(form, rows);
	for (int g = 0; g < format_groups(f, (int)form.columns); g++)
		bytes += set_bytes(f, (uint64_t)format_group_width(f, (int)form.columns, g));
	return blocks * bytes;
}

uint64_t
pack_bytes(PackForm form, uint32_t rows)
{
	uint64_t blocks = ((uint64_t)rows + PACK_ROWS - 1) / PACK_ROWS;

	return blocks * pack_block_bytes(form);
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
store_u16(uint8_t *dst, uint16_t v)
{
	dst[0] = (uint8_t)v;
	dst[1] = (uint8_t)(v >> 8);
}

static void
store_f32(uint8_t *dst, float v)
{
	uint32_t u;

	memcpy(&u, &v, sizeof(u));
	store_u32(dst, u);
}

/* A scale or minimum of the format. */
static void
store_scale(uint8_t *dst, float v, Format f)
{
	if (f.scale_bits == 16)
		store_u16(dst, format_scale_half(f, v));
	else
		store_f32(dst, v);
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
store_codes(uint8_t *line, const uint8_t *codes, int width, const Packing *p)
{
	int set = 4 * p->slots, k = 0;
	uint8_t last[32] = {0};

	for (; k < width; k += set, line += (ptrdiff_t)SET_BYTES * p->lines) {
		const uint8_t *c = codes + k;
		uint32_t lines[5] = {0};

		if (width - k < set) {
			memcpy(last, c, (size_t)(width - k));
			c = last;
		}
		for (int i = 0; i < p->n_pieces; i++) {
			const Piece *piece = &p->pieces[i];
			uint32_t four = load_u32(c + (ptrdiff_t)4 * piece->slot);
			uint32_t mask = ((1u << piece->bits) - 1) * 0x01010101u;

			lines[piece->line] |= (four >> piece->code_bit & mask) << piece->byte_bit;
		}
		/* No byte exceeds 2 (1 + 3 + 9 + 27 + 81) = 242. */
		for (int j = p->n_pieces ? 0 : p->slots; j-- > 0;)
			lines[0] = 3 * lines[0] + load_u32(c + (ptrdiff_t)4 * j);
		for (int i = 0; i < p->lines; i++)
			store_u32(line + (ptrdiff_t)LINE_BYTES * i, lines[i]);
	}
}

/* One number of row r in the line of 32 f32 at dst. */
static void
store_row_sum(float sum, int r, uint8_t *dst)
{
	store_f32(dst + (ptrdiff_t)4 * r, sum);
}

/* A row's group: scale, minimum or zero point, and its codes, in units behind a row sum each where
 * there are sums. Returns the sums left. */
static const float *
store_group(const WeightRow *w, PackForm form, int g, int r, const float *sums, uint8_t *dst)
{
	const Format f = form.format;
	const Packing *p = packing_of(f);
	const int width = format_group_width(f, (int)form.columns, g);
	const int unit = sums ? (int)form.sums : width;
	const uint8_t *codes = w->codes + (size_t)g * f.group;
	const int code_at = r / LINE_ROWS * LINE_BYTES * p->lines + r % LINE_ROWS * 4;

	store_scale(dst + r * f.scale_bits / 8, w->scales[g], f);
	if (f.minimum)
		store_scale(dst + scale_line_bytes(f) + r * f.scale_bits / 8, w->minima[g], f);
	if (f.zero)
		dst[scale_line_bytes(f) + (uint64_t)r] = w->zeros[g];
	dst += header_bytes(f);
	for (int k = 0; k < width; k += unit) {
		const int n = width - k < unit ? width - k : unit;

		if (sums) {
			store_row_sum(*sums++, r, dst);
			dst += ROW_SUM_BYTES;
		}
		store_codes(dst + code_at, codes + k, n, p);
		dst += set_bytes(f, (uint64_t)n);
	}
	return sums;
}

static void
store_int_row(const WeightRow *w, PackForm form, int r, const float *sums, uint8_t *dst)
{
	const bool in_units = form.sums && form.sums < form.columns;
	const int groups = format_groups(form.format, (int)form.columns);

	if (form.sums && !in_units) {
		store_row_sum(sums[0], r, dst);
		dst += ROW_SUM_BYTES;
	}
	if (!in_units)
		sums = NULL;
	for (int g = 0; g < groups; g++) {
		const int width = format_group_width(form.format, (int)form.columns, g);
		const float *left = store_group(w, form, g, r, sums, dst);

		dst += group_bytes(form.format, (uint64_t)width) +
		       (sums ? (uint64_t)(left - sums) * ROW_SUM_BYTES : 0);
		sums = left;
	}
}

static void
store_float_row(const float *row, Format f, int columns, int r, uint8_t *dst)
{
	int bytes = f.bits / 8;

	dst += (ptrdiff_t)r * bytes;
	for (int k = 0; k < columns; k++, dst += (ptrdiff_t)PACK_ROWS * bytes) {
		if (f.bits == 16)
			store_u16(dst, f32_to_f16(row[k]));
		else
			store_f32(dst, row[k]);
	}
}

void
pack_block(Arena *scratch, const WeightSource *s, PackForm form, uint32_t b, uint8_t *dst,
	   int64_t *bad_row)
{
	const Format f = form.format;
	const int columns = (int)form.columns;
	const uint64_t n_sums = row_sums(form);
	float *sums = ARENA_ARRAY(scratch, float, n_sums + 1);
	uint64_t first = (uint64_t)b * PACK_ROWS;
	WeightRow w;

	*bad_row = -1;
	memset(dst, 0, (size_t)pack_block_bytes(form));
	weight_row_alloc(scratch, &w, columns, f);
	for (int r = 0; r < PACK_ROWS && first + (uint64_t)r < s->rows; r++) {
		weight_source_row(s, (uint32_t)first + (uint32_t)r, f, &w);
		if (*bad_row < 0 && !weight_row_finite(&w, f, columns))
			*bad_row = (int64_t)first + r;
		if (format_is_float(f)) {
			store_float_row(w.row_f32, f, columns, r, dst);
			continue;
		}
		if (form.sums)
			weight_row_sums(&w, f, columns, (int)form.sums, sums);
		if (*bad_row < 0 && !weights_finite(sums, (int)n_sums))
			*bad_row = (int64_t)first + r;
		store_int_row(&w, form, r, sums, dst);
	}
}
