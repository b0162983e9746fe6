/* Patterns over dotted names: `layers.3.q`, `layers.*.{gate,up}`, `{embed,head}`. */
#ifndef LATHE_GEN_PATTERN_H
#define LATHE_GEN_PATTERN_H

#include "ir/support.h"

enum { PATTERN_ALTERNATIVES = 1024 };

/*
 * `*` stands for one whole part of a name (between dots), `{a,b}` for one of its texts, which may
 * hold dots. A pattern is kept as what it stands for: all its alternatives, without braces.
 */
typedef struct Pattern {
	const char *text;
	const char *const *alternatives;
	uint32_t count;
	/* Greater is more specific: fewer stars first, then fewer braces. */
	uint32_t rank;
} Pattern;

/* null, with *why a sentence for the user, where text is no pattern. */
const Pattern *pattern_parse(Arena *a, const char *text, const char **why);
/* The index of the first alternative at or behind `from` that matches name, -1: none. */
int pattern_find(const Pattern *p, const char *name, uint32_t from);

#endif
