#include "format.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

bool
format_equal(Format a, Format b)
{
	return a.kind == b.kind && a.bits == b.bits && a.scale_bits == b.scale_bits &&
	       a.minimum == b.minimum && a.group == b.group && a.zero == b.zero &&
	       a.bf16 == b.bf16 && a.ternary == b.ternary && a.trits == b.trits &&
	       a.per_tensor == b.per_tensor && a.signed_scale == b.signed_scale && a.clip == b.clip;
}

int
format_offset(Format f)
{
	if (format_is_float(f) || f.minimum || f.zero)
		return 0;
	return f.ternary ? 1 : 1 << (f.bits - 1);
}

int
format_top(Format f)
{
	return f.ternary ? 2 : (1 << f.bits) - 1;
}

int
format_qmax(Format f)
{
	/* 127 * 256 + 127: both bytes of a 16-bit code stay within [-127, 127] at the ends. */
	if (f.bits == 16)
		return 32639;
	return (1 << (f.bits - 1)) - 1;
}

int
format_low(Format f)
{
	return f.zero && f.bits < 16 ? -(1 << (f.bits - 1)) : -format_qmax(f);
}

int
format_high(Format f)
{
	return format_qmax(f);
}

int
format_groups(Format f, int k)
{
	if (format_is_float(f) || f.group == 0 || k <= 0)
		return 1;
	return (int)(((uint32_t)k - 1) / f.group + 1);
}

int
format_group_width(Format f, int k, int g)
{
	int64_t left;

	if (format_is_float(f) || f.group == 0)
		return k;
	left = (int64_t)k - (int64_t)g * f.group;
	return left < (int64_t)f.group ? (int)left : (int)f.group;
}

/* What a format may say behind its scale, in print order. */
typedef struct Word {
	const char *text;
	size_t at; /* of the byte in Format that holds `value` */
	uint8_t value;
} Word;

static const Word words[] = {
	{",min", offsetof(Format, minimum), true},
	{",zero=integer", offsetof(Format, zero), ZERO_INTEGER},
	{",zero=real", offsetof(Format, zero), ZERO_REAL},
	{",ternary", offsetof(Format, ternary), true},
	{",trits", offsetof(Format, trits), true},
	{",signed", offsetof(Format, signed_scale), true},
};
enum { WORDS = sizeof(words) / sizeof(words[0]) };

void
format_print(Text *t, Format f)
{
	if (format_is_float(f)) {
		text_printf(t, "f%u", f.bits);
		return;
	}
	text_printf(t, "int%u(group=", f.bits);
	if (f.group == 0)
		text_printf(t, f.per_tensor ? "tensor" : "row");
	else
		text_printf(t, "%u", f.group);
	text_printf(t, ",scale=%sf%u", f.bf16 ? "b" : "", f.scale_bits);
	for (int i = 0; i < WORDS; i++)
		if (((const uint8_t *)&f)[words[i].at] == words[i].value)
			text_printf(t, "%s", words[i].text);
	if (f.clip != 0.0f) {
		text_printf(t, ",clip=");
		text_float(t, f.clip);
	}
	text_printf(t, ")");
}

const char *
format_text(Arena *a, Format f)
{
	Text *t = text_new(a);
	format_print(t, f);
	return t->text;
}

/* ---- parsing ------------------------------------------------------------------------------ */

static bool
parse_word(const char **s, const char *word)
{
	size_t n = strlen(word);

	if (strncmp(*s, word, n) != 0)
		return false;
	*s += n;
	return true;
}

/* A decimal number in [low, high]; false leaves *s at its first byte. */
static bool
parse_number(const char **s, uint32_t low, uint32_t high, uint32_t *value)
{
	const char *p = *s;
	uint64_t v = 0;

	if (*p < '0' || *p > '9')
		return false;
	for (; *p >= '0' && *p <= '9'; p++) {
		v = v * 10 + (uint64_t)(*p - '0');
		if (v > high)
			return false;
	}
	if (v < low)
		return false;
	*value = (uint32_t)v;
	*s = p;
	return true;
}

/* The 32 or 16 behind an `f`; false leaves *s at the number. */
static bool
parse_float_bits(const char **s, uint8_t *bits)
{
	const char *p = *s;
	uint32_t v;

	if (!parse_number(&p, 16, 32, &v) || (v != 16 && v != 32))
		return false;
	*bits = (uint8_t)v;
	*s = p;
	return true;
}

/* `,clip=0.9`, if it is there: a number inside (0, 1). */
static bool
parse_clip(const char **s, Format *f)
{
	const char *p = *s;
	char *after;

	if (!parse_word(&p, ",clip="))
		return true;
	*s = p;
	if (*p != '0')
		return false;
	f->clip = strtof(p, &after);
	if (!(f->clip > 0.0f && f->clip < 1.0f))
		return false;
	*s = after;
	return true;
}

static bool
parse_int(const char **s, Format *f)
{
	const char *p = *s;
	uint32_t v;

	f->kind = NUMBER_INT;
	if (!parse_number(&p, 2, 16, &v) || (v > 8 && v != 16))
		return false;
	f->bits = (uint8_t)v;
	*s = p;
	if (!parse_word(s, "(group="))
		return false;
	if (parse_word(s, "row"))
		f->group = 0;
	else if (parse_word(s, "tensor"))
		f->per_tensor = true;
	else if (parse_number(s, 1, INT32_MAX, &v))
		f->group = v;
	else
		return false;
	if (!parse_word(s, ",scale="))
		return false;
	f->bf16 = parse_word(s, "b");
	if (!parse_word(s, "f") || !parse_float_bits(s, &f->scale_bits) ||
	    (f->bf16 && f->scale_bits != 16))
		return false;
	for (int i = 0; i < WORDS; i++)
		if (parse_word(s, words[i].text))
			((uint8_t *)f)[words[i].at] = words[i].value;
	return parse_clip(s, f) && parse_word(s, ")");
}

bool
format_parse(const char **s, Format *f)
{
	*f = (Format){.kind = NUMBER_FLOAT};
	if (parse_word(s, "int"))
		return parse_int(s, f);
	return parse_word(s, "f") && parse_float_bits(s, &f->bits);
}

/* ---- contract ----------------------------------------------------------------------------- */

int
contract_split(int k, Format weight, Format activation)
{
	enum { MOST_RUNS = 8, LEAST_COLUMNS = 128, FLOAT_UNIT = 32 };
	uint32_t columns = (uint32_t)k, unit = 0, units;

	if (k <= 0)
		return 1;
	if (!format_is_float(weight))
		unit = weight.group;
	if (unit == 0 && !format_is_float(activation))
		unit = activation.group;
	if (unit == 0 && format_is_float(weight))
		unit = FLOAT_UNIT;
	if (unit == 0 || columns % unit != 0)
		return 1;
	units = columns / unit;
	for (uint32_t s = MOST_RUNS; s > 1; s--)
		if (units % s == 0 && columns / s >= LEAST_COLUMNS)
			return (int)s;
	return 1;
}

/* ---- f16 ---------------------------------------------------------------------------------- */

float
f16_to_f32(uint16_t h)
{
	uint32_t sign = (uint32_t)(h & 0x8000) << 16, exponent = (h >> 10) & 31;
	uint32_t fraction = h & 0x3ff, bits;
	float f;

	if (exponent == 31) {
		bits = sign | 0x7f800000 | fraction << 13;
	} else if (exponent != 0) {
		bits = sign | (exponent + 112) << 23 | fraction << 13;
	} else if (fraction == 0) {
		bits = sign;
	} else {
		/* a subnormal: fraction * 2^-24, normal as f32 */
		exponent = 113;
		for (; !(fraction & 0x400); fraction <<= 1)
			exponent--;
		bits = sign | exponent << 23 | (fraction & 0x3ff) << 13;
	}
	memcpy(&f, &bits, sizeof(f));
	return f;
}

uint16_t
f32_to_f16(float f)
{
	uint32_t bits, sign, magnitude, kept, dropped, half;
	int shift = 13;

	memcpy(&bits, &f, sizeof(bits));
	sign = bits >> 16 & 0x8000;
	magnitude = bits & 0x7fffffff;
	if (magnitude > 0x7f800000) /* NaN: quiet, the payload's upper bits kept */
		return (uint16_t)(sign | 0x7e00 | (magnitude >> 13 & 0x3ff));
	if (magnitude >= 0x47800000) /* 65536 and more */
		return (uint16_t)(sign | 0x7c00);
	if (magnitude < 0x33000000) /* below 2^-25, half the smallest subnormal */
		return (uint16_t)sign;
	if (magnitude < 0x38800000) { /* below 2^-14: a subnormal, or the smallest normal */
		shift = 126 - (int)(magnitude >> 23);
		magnitude = (magnitude & 0x7fffff) | 0x800000;
	} else {
		magnitude -= 112u << 23;
	}
	/* A carry out of the fraction raises the exponent, up to infinity. */
	kept = magnitude >> shift;
	dropped = magnitude & ((1u << shift) - 1);
	half = 1u << (shift - 1);
	if (dropped > half || (dropped == half && (kept & 1)))
		kept++;
	return (uint16_t)(sign | kept);
}

/* ---- bf16, scales ------------------------------------------------------------------------- */

float
bf16_to_f32(uint16_t h)
{
	uint32_t bits = (uint32_t)h << 16;
	float f;

	memcpy(&f, &bits, sizeof(f));
	return f;
}

uint16_t
f32_to_bf16(float f)
{
	uint32_t bits;

	memcpy(&bits, &f, sizeof(bits));
	if ((bits & 0x7fffffff) > 0x7f800000) /* NaN: quiet, the payload's upper bits kept */
		return (uint16_t)(bits >> 16 | 0x40);
	return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

uint16_t
format_scale_half(Format f, float s)
{
	return f.bf16 ? f32_to_bf16(s) : f32_to_f16(s);
}

float
format_scale_round(Format f, float s)
{
	if (f.scale_bits != 16)
		return s;
	return f.bf16 ? bf16_to_f32(f32_to_bf16(s)) : f16_to_f32(f32_to_f16(s));
}
