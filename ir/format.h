/* How numbers are stored. A format is data; code asks for its fields, never "is it this pair?". */
#ifndef LATHE_IR_FORMAT_H
#define LATHE_IR_FORMAT_H

#include "support.h"

typedef enum NumberKind { NUMBER_FLOAT, NUMBER_INT } NumberKind;

/* Zero points: value = (code - zero) * scale. */
typedef enum ZeroPoint {
	ZERO_NONE,    /* symmetric: weights have an offset, activations and caches signed codes */
	ZERO_INTEGER, /* a whole number of codes. Weights: a code, a byte a group; rows: the range
			 need not hold 0, so the zero point may lie outside the codes */
	ZERO_REAL,    /* rows only: any number of codes; the range holds 0. A plan's weights with
			 real zero points are stored as minima, -zero * scale */
} ZeroPoint;

/*
 * value = (code - offset) * scale + minimum, per group of `group` columns of one row; with a zero
 * point (code - zero) * scale.
 * FLOAT: bits 32 or 16 and nothing else. INT weights: codes are unsigned in [0, format_top].
 * INT rows (activations, cache, queries): codes are signed in [format_low, format_high];
 * asymmetric ones are unsigned codes and zero points shifted by -2^(bits-1).
 */
typedef struct Format {
	uint8_t kind;	    /* NumberKind */
	uint8_t bits;	    /* of a code, or of the float */
	uint8_t scale_bits; /* 16: f16, 32: f32; 0 for FLOAT */
	bool minimum;	    /* a minimum per group, stored like the scale; then offset is 0 */
	uint32_t group;	    /* columns that share a scale, the last group of a row may be short;
			       0: one scale a row (rows: per token; cache: per head of a token) */
	uint8_t zero;	    /* ZeroPoint; no minimum beside it */
	bool bf16;	    /* the 16 bits of scales and minima are bf16 */
	/* Weights only: */
	bool ternary;	   /* codes 0, 1, 2 with offset 1; bits is 2 */
	bool trits;	   /* ternary: packed five to a byte, else two bits each */
	bool per_tensor;   /* the scale is the same in all rows; group is 0 */
	bool signed_scale; /* rounding gives the scale the sign that uses code 0, the extra one */
	/* Rows only: */
	float clip; /* factor of the range that a row's codes span, in (0, 1); 0: none */
} Format;

#define FORMAT_F32 ((Format){.kind = NUMBER_FLOAT, .bits = 32})
#define FORMAT_F16 ((Format){.kind = NUMBER_FLOAT, .bits = 16})

static inline bool
format_is_float(Format f)
{
	return f.kind == NUMBER_FLOAT;
}

bool format_equal(Format a, Format b);
/* Weight code offset: 1 if ternary, 0 with a minimum or zero points or for floats, else
 * 2^(bits-1). */
int format_offset(Format f);
/* Largest weight code: 2, or 2^bits - 1. */
int format_top(Format f);
/* Largest magnitude of a symmetric row's code: 1, 7, 31, 127, 32639 for 2, 4, 6, 8, 16 bits. */
int format_qmax(Format f);
/* Smallest and largest code of a row: -qmax and qmax; asymmetric -2^(bits-1) and 2^(bits-1) - 1,
 * of 16 bits again -qmax and qmax. */
int format_low(Format f);
int format_high(Format f);
/* Groups in a row of k columns (1 for row scales and floats). */
int format_groups(Format f, int k);
/* Columns of group g of a row of k. */
int format_group_width(Format f, int k, int g);
/*
 * Text form, printed and parsed: `f32`, `f16`, `int4(group=32,scale=f16,min)`,
 * `int8(group=row,scale=f16)`; activations `int16(group=row,scale=f32)`. In this order behind the
 * scale where they hold: `min`, `zero=integer`, `zero=real`, `ternary`, `trits`, `signed`,
 * `clip=0.9`; the scale is `f32`, `f16` or `bf16`, the group `tensor` for one scale in all rows.
 */
void format_print(Text *t, Format f);
/* The same as a string of `a`. */
const char *format_text(Arena *a, Format f);
/* Reads a format at *s and advances it; false leaves *s at the offending byte. */
bool format_parse(const char **s, Format *f);

/*
 * Bit contract 5: a row of k columns is summed in S equal runs of whole groups whose float partials
 * are added in increasing order. S depends on (k, weight format, activation format) only: with unit
 * u = the weight group, else the activation group, else 32 for float weights, S is the largest
 * divisor <= 8 of k/u that leaves runs of at least 128 columns; 1 where u does not divide k or
 * neither side has groups. Every target uses this function.
 */
int contract_split(int k, Format weight, Format activation);

/* f16 conversions, exact; to f16 rounds to nearest even, overflow gives infinity. */
float f16_to_f32(uint16_t h);
uint16_t f32_to_f16(float f);
/* bf16 is the upper half of an f32; likewise. */
float bf16_to_f32(uint16_t h);
uint16_t f32_to_bf16(float f);
/* The 16 bits that a format with such scales stores for s, and the value nearest to s that the
 * format can store; infinite where the type overflows. */
uint16_t format_scale_half(Format f, float s);
float format_scale_round(Format f, float s);

#endif
