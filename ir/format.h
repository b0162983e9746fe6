/* How numbers are stored. A format is data; code asks for its fields, never "is it this pair?". */
#ifndef LATHE_IR_FORMAT_H
#define LATHE_IR_FORMAT_H

#include "support.h"

typedef enum NumberKind { NUMBER_FLOAT, NUMBER_INT } NumberKind;

/*
 * value = (code - offset) * scale + minimum, per group of `group` columns of one row.
 * FLOAT: bits 32 or 16 and nothing else. INT weights: codes are unsigned in [0, 2^bits).
 * INT activations: codes are signed in [-qmax, qmax] (qmax: format_qmax), symmetric.
 */
typedef struct Format {
	uint8_t kind;	    /* NumberKind */
	uint8_t bits;	    /* of a code, or of the float */
	uint8_t scale_bits; /* 16: f16, 32: f32; 0 for FLOAT */
	bool minimum;	    /* a minimum per group, stored like the scale; then offset is 0 */
	uint32_t group;	    /* columns that share a scale, the last group of a row may be short;
			       0: one scale a row (activations: per token) */
} Format;

#define FORMAT_F32 ((Format){.kind = NUMBER_FLOAT, .bits = 32})
#define FORMAT_F16 ((Format){.kind = NUMBER_FLOAT, .bits = 16})

static inline bool
format_is_float(Format f)
{
	return f.kind == NUMBER_FLOAT;
}

bool format_equal(Format a, Format b);
/* Weight code offset: 2^(bits-1), or 0 with a minimum or for floats. */
int format_offset(Format f);
/* Largest magnitude of an activation code: 7, 31, 127, 32639 for 4, 6, 8, 16 bits. */
int format_qmax(Format f);
/* Groups in a row of k columns (1 for row scales and floats). */
int format_groups(Format f, int k);
/* Columns of group g of a row of k. */
int format_group_width(Format f, int k, int g);
/*
 * Text form, printed and parsed: `f32`, `f16`, `int4(group=32,scale=f16,min)`,
 * `int8(group=row,scale=f16)`; activations `int16(group=row,scale=f32)`.
 */
void format_print(Text *t, Format f);
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

#endif
