#include "gen/pattern.h"

#include <string.h>

typedef struct Expansion {
	Arena *arena;
	const char **out;
	uint32_t count;
} Expansion;

/* How many names a well-formed pattern stands for, at most PATTERN_ALTERNATIVES + 1. */
static uint32_t
alternatives(const char *text)
{
	uint32_t product = 1;
	for (const char *p = strchr(text, '{'); p; p = strchr(p, '{')) {
		uint32_t words = 1;
		for (; *p != '}'; p++)
			words += *p == ',';
		product *= words;
		if (product > PATTERN_ALTERNATIVES)
			return PATTERN_ALTERNATIVES + 1;
	}
	return product;
}

/* null, or why text is no pattern; counts its stars and braces. */
static const char *
pattern_fault(const char *text, uint32_t *stars, uint32_t *braces)
{
	bool open = false;
	*stars = *braces = 0;
	for (const char *p = text; *p; p++) {
		if (*p == '{' && open)
			return "braces inside braces";
		if (*p == '}' && !open)
			return "a '}' without its '{'";
		if (*p == '*' && (open || (p > text && p[-1] != '.') || (p[1] && p[1] != '.')))
			return "'*' stands for a whole part of a name";
		if (*p == '{')
			++*braces;
		*stars += *p == '*';
		open = *p == '{' ? true : *p == '}' ? false : open;
	}
	return open ? "a '{' without its '}'" : *text ? NULL : "it is empty";
}

/* Alternatives of head followed by the pattern tail. */
static void
expand(Expansion *e, const char *head, const char *tail)
{
	const char *brace = strchr(tail, '{');
	if (!brace) {
		e->out[e->count++] = arena_printf(e->arena, "%s%s", head, tail);
		return;
	}
	const char *close = strchr(brace, '}');
	for (const char *p = brace + 1; p <= close;) {
		const size_t n = strcspn(p, ",}");
		expand(e,
		       arena_printf(e->arena, "%s%.*s%.*s", head, (int)(brace - tail), tail, (int)n,
				    p),
		       close + 1);
		p += n + 1;
	}
}

const Pattern *
pattern_parse(Arena *a, const char *text, const char **why)
{
	enum { TEXT_MAX = 1024 };
	uint32_t stars, braces;
	if (strlen(text) > TEXT_MAX) {
		*why = "it is too long";
		return NULL;
	}
	*why = pattern_fault(text, &stars, &braces);
	if (*why)
		return NULL;
	const uint32_t count = alternatives(text);
	if (count > PATTERN_ALTERNATIVES) {
		*why = "it stands for too many names";
		return NULL;
	}
	Expansion e = {a, ARENA_ARRAY(a, const char *, count), 0};
	expand(&e, "", text);
	Pattern *p = ARENA_NEW(a, Pattern);
	p->text = text;
	p->alternatives = e.out;
	p->count = e.count;
	p->rank = UINT32_MAX - (stars << 8 | braces);
	return p;
}

static bool
alternative_matches(const char *p, const char *name)
{
	for (; *p; p++) {
		if (*p == '*') {
			const size_t part = strcspn(name, ".");
			if (!part)
				return false;
			name += part;
		} else if (*p != *name++) {
			return false;
		}
	}
	return !*name;
}

int
pattern_find(const Pattern *p, const char *name, uint32_t from)
{
	for (uint32_t i = from; i < p->count; i++)
		if (alternative_matches(p->alternatives[i], name))
			return (int)i;
	return -1;
}
