/* Tables of compositions as C. */
#include "targets/tokenizer_nfc.h"

#include <stdlib.h>

enum {
	POINTS = 0x110000,
	MOVES = 256, /* beside a combining class */
	ROW = 8,     /* entries of a line */
};

static const struct {
	uint32_t first, last;
	uint16_t class;
} mark_classes[] = {
#define UNICODE_CLASS(first, last, class) {first, last, class},
#define UNICODE_DECOMPOSED(code, first, second, composes)
#include "templates/composition.def"
};

typedef struct Decomposed {
	uint32_t code, first, second;
	bool composes;
} Decomposed;

static const Decomposed decomposed[] = {
#define UNICODE_CLASS(first, last, class)
#define UNICODE_DECOMPOSED(code, first, second, composes) {code, first, second, composes},
#include "templates/composition.def"
};

enum {
	N_MARK_CLASSES = sizeof mark_classes / sizeof *mark_classes,
	N_DECOMPOSED = sizeof decomposed / sizeof *decomposed,
};

/* Hangul's vowels and trailing consonants, which join the syllable before them. */
static bool
is_jamo(uint32_t c)
{
	return (c >= 0x1161 && c <= 0x1175) || (c >= 0x11A8 && c <= 0x11C2);
}

/* [POINTS] the class of each and whether it moves (templates/tokenizer_nfc.c). */
static const uint16_t *
point_classes(Arena *a)
{
	uint16_t *class = ARENA_ARRAY(a, uint16_t, POINTS);

	for (uint32_t c = 0; c < POINTS; c++)
		class[c] = is_jamo(c) ? MOVES : 0;
	for (size_t i = 0; i < N_MARK_CLASSES; i++)
		for (uint32_t c = mark_classes[i].first; c <= mark_classes[i].last; c++)
			class[c] = mark_classes[i].class | MOVES;
	for (size_t i = 0; i < N_DECOMPOSED; i++) {
		const Decomposed *d = &decomposed[i];
		class[d->composes ? d->second : d->code] |= MOVES;
	}
	return class;
}

bool
tokenizer_is_nfc(Arena *a, Bytes text)
{
	const uint16_t *class = NULL;

	for (uint32_t i = 0, size; i < text.size; i += size) {
		uint32_t c = (unsigned char)text.data[i];
		size = c < 0x80 ? 1 : c < 0xE0 ? 2 : c < 0xF0 ? 3 : 4;
		if (size == 1)
			continue;
		if (c < 0xC2 || c > 0xF4 || size > text.size - i)
			return false;
		c &= 0xFFu >> (size + 1);
		for (uint32_t k = 1; k < size; k++)
			c = c << 6 | ((unsigned char)text.data[i + k] & 0x3F);
		if (!class)
			class = point_classes(a);
		if (c >= POINTS || class[c] >= MOVES)
			return false;
	}
	return true;
}

static int
pair_compare(const void *a, const void *b)
{
	const Decomposed *x = &decomposed[*(const uint16_t *)a];
	const Decomposed *y = &decomposed[*(const uint16_t *)b];

	if (x->first != y->first)
		return x->first < y->first ? -1 : 1;
	return x->second < y->second ? -1 : x->second > y->second;
}

/* Where a class begins: code point << 9 | class and MOVES; from 0 on, without gaps. */
static void
print_classes(Text *out)
{
	const uint16_t *class = point_classes(out->arena);
	size_t n = 0;

	text_printf(out,
		    "\n/* First code points of ranges << 9 | whether they move << 8 | combining "
		    "class. */\nstatic const uint32_t normal_range[] = {");
	for (uint32_t c = 0; c < POINTS; c++)
		if (c == 0 || class[c] != class[c - 1]) {
			if (n++ % ROW == 0)
				text_printf(out, "\n\t");
			text_printf(out, "%u,", c << 9 | class[c]);
		}
	text_printf(out, "\n};\n\nenum { N_NORMAL = %zu };\n", n);
}

void
tokenizer_print_nfc(Text *out)
{
	uint16_t pairs[N_DECOMPOSED];
	size_t n = 0;

	print_classes(out);
	text_printf(out, "\n/* Canonical decompositions; second: 0 where there is none. */\n"
			 "typedef struct Decomposition {\n\tuint32_t code, first, second;\n"
			 "} Decomposition;\n\nstatic const Decomposition decompositions[] = {");
	for (size_t i = 0; i < N_DECOMPOSED; i++) {
		const Decomposed *d = &decomposed[i];
		if (i % (ROW / 2) == 0)
			text_printf(out, "\n\t");
		text_printf(out, "{0x%X,0x%X,0x%X},", d->code, d->first, d->second);
		if (d->composes)
			pairs[n++] = (uint16_t)i;
	}
	qsort(pairs, n, sizeof *pairs, pair_compare);
	text_printf(out, "\n};\n\n/* Those that are made again, by both code points. */\n"
			 "static const uint16_t compositions[] = {");
	for (size_t i = 0; i < n; i++) {
		if (i % (2 * ROW) == 0)
			text_printf(out, "\n\t");
		text_printf(out, "%u,", pairs[i]);
	}
	text_printf(out, "\n};\n\nenum { N_DECOMPOSITIONS = %d, N_COMPOSITIONS = %zu };\n",
		    (int)N_DECOMPOSED, n);
}
