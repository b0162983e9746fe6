#include "split.h"

#include <string.h>

const PreTokenizer pre_tokenizers[PRE_COUNT] = {
#define PRE_STEPS(...)                                                \
	sizeof((const char *[]){__VA_ARGS__}) / sizeof(const char *), \
	{                                                             \
		__VA_ARGS__                                           \
	}
#define PRE(id, name, ...) [id] = {name, PRE_STEPS(__VA_ARGS__)},
#include "pre.def"
};

enum { BRANCHES_MAX = 64, ITEMS_MAX = 16, RANGES_MAX = 4096, DEPTH_MAX = 8, PATTERN_MAX = 16384 };

/* A branch at work. */
typedef struct Branch {
	SplitItem items[ITEMS_MAX];
	uint32_t n;
	uint8_t ahead;
} Branch;

typedef struct Branches {
	Branch list[BRANCHES_MAX];
	uint32_t n;
} Branches;

typedef struct Parser {
	Arena *arena;
	const char *p;
	const char *why; /* null so far */
	CodeRange *ranges;
	uint32_t n_ranges;
	bool ignore_case;
	int depth;
} Parser;

static bool
fail(Parser *s, const char *why)
{
	s->why = s->why ? s->why : why;
	return false;
}

/* ---- characters and classes ----------------------------------------------------------------- */

static uint32_t
take_code_point(Parser *s)
{
	const unsigned char *p = (const unsigned char *)s->p;
	const int more = p[0] < 0xC0 ? 0 : p[0] < 0xE0 ? 1 : p[0] < 0xF0 ? 2 : 3;
	uint32_t c = more ? p[0] & (0x3Fu >> more) : p[0];
	for (int i = 1; i <= more; i++) {
		if ((p[i] & 0xC0) != 0x80) {
			fail(s, "it is not UTF-8");
			return 0;
		}
		c = c << 6 | (p[i] & 0x3F);
	}
	s->p += more + 1;
	return c;
}

static bool
add_range(Parser *s, CodeClass *k, uint32_t first, uint32_t last)
{
	if (first > last)
		return fail(s, "a range goes backwards");
	if (s->n_ranges == RANGES_MAX)
		return fail(s, "it has too many ranges");
	s->ranges[s->n_ranges++] = (CodeRange){first, last};
	k->count++;
	return true;
}

/* A character, where case counts or not: what folds to it in Unicode. */
static bool
add_character(Parser *s, CodeClass *k, uint32_t c)
{
	const uint32_t lower = c | 0x20;
	const bool letter = lower >= 'a' && lower <= 'z' && c < 0x80;
	if (!s->ignore_case || !letter)
		return (!s->ignore_case || c < 0x80 ||
			fail(s, "it ignores the case of a letter beyond ASCII")) &&
		       add_range(s, k, c, c);
	if (!add_range(s, k, lower, lower) || !add_range(s, k, lower - 0x20, lower - 0x20))
		return false;
	if (lower == 's')
		return add_range(s, k, 0x17F, 0x17F);
	return lower != 'k' || add_range(s, k, 0x212A, 0x212A);
}

static const struct {
	char name[4];
	CodeCategory category;
} categories[] = {{"L", CODE_LETTER},
		  {"N", CODE_NUMBER},
		  {"P", CODE_PUNCTUATION},
		  {"S", CODE_SYMBOL},
		  {"M", CODE_MARK}};

static const struct {
	char name, value;
} escapes[] = {{'r', '\r'}, {'n', '\n'}, {'t', '\t'}, {'f', '\f'}, {'v', '\v'}};

/* Bits of \s \S \p{L} \P{L} at s->p, behind the backslash; 0: no such. */
static uint8_t
take_category(Parser *s)
{
	const uint8_t all = (1 << CODE_CATEGORIES) - 1;
	if (*s->p == 's' || *s->p == 'S')
		return *s->p++ == 's' ? 1 << CODE_SPACE : (uint8_t)(all ^ 1 << CODE_SPACE);
	if ((*s->p != 'p' && *s->p != 'P') || s->p[1] != '{')
		return 0;
	for (size_t i = 0; i < sizeof categories / sizeof *categories; i++) {
		const size_t n = strlen(categories[i].name);
		if (strncmp(s->p + 2, categories[i].name, n) != 0 || s->p[2 + n] != '}')
			continue;
		const uint8_t bit = (uint8_t)(1 << categories[i].category);
		const bool negated = *s->p == 'P';
		s->p += n + 3;
		return negated ? (uint8_t)(all ^ bit) : bit;
	}
	return 0;
}

/* A character that stands for itself behind a backslash, or one of `escapes`. */
static bool
take_escape(Parser *s, uint32_t *c)
{
	for (size_t i = 0; i < sizeof escapes / sizeof *escapes; i++)
		if (*s->p == escapes[i].name) {
			*c = (uint32_t)escapes[i].value;
			s->p++;
			return true;
		}
	if (!*s->p ||
	    strchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789", *s->p) ||
	    (unsigned char)*s->p >= 0x80)
		return fail(s, "it has an escape or property that is not understood");
	*c = (uint32_t)*s->p++;
	return true;
}

/* One member of a class in brackets, or the first of a range. */
static bool
class_member(Parser *s, CodeClass *k)
{
	uint32_t first, last;
	if (*s->p == '\\') {
		s->p++;
		const uint8_t bits = take_category(s);
		k->categories |= bits;
		if (bits)
			return true;
		if (!take_escape(s, &first))
			return false;
	} else {
		first = take_code_point(s);
	}
	if (s->p[0] != '-' || s->p[1] == ']')
		return add_character(s, k, first);
	s->p++;
	if (*s->p == '[')
		return fail(s, "it has a class within a class");
	if (*s->p == '\\') {
		s->p++;
		if (!take_escape(s, &last))
			return false;
	} else {
		last = take_code_point(s);
	}
	if (s->ignore_case)
		return fail(s, "it ignores the case of a range");
	return add_range(s, k, first, last);
}

static bool
take_class(Parser *s, CodeClass *k)
{
	k->negated = *s->p == '^';
	s->p += k->negated;
	if (*s->p == ']')
		return fail(s, "it has an empty class");
	while (*s->p && *s->p != ']') {
		if (*s->p == '[' || (s->p[0] == '&' && s->p[1] == '&'))
			return fail(s, "it has a class within a class");
		if (!class_member(s, k) || s->why)
			return false;
	}
	return *s->p++ == ']' || fail(s, "a class does not end");
}

/* One character or class. */
static bool
take_one(Parser *s, CodeClass *k)
{
	uint32_t c;
	*k = (CodeClass){.first = s->n_ranges};
	if (*s->p == '[') {
		s->p++;
		return take_class(s, k);
	}
	if (*s->p == '\\') {
		s->p++;
		k->categories = take_category(s);
		return k->categories || (take_escape(s, &c) && add_character(s, k, c));
	}
	if (strchr(".^*+?{}", *s->p))
		return fail(s, "it has a character of a meaning that is not understood");
	return add_character(s, k, take_code_point(s)) && !s->why;
}

/* ---- quantifiers and branches --------------------------------------------------------------- */

static bool
take_number(Parser *s, uint8_t *n)
{
	unsigned v = 0;
	const char *start = s->p;
	for (; *s->p >= '0' && *s->p <= '9' && v < SPLIT_ANY; s->p++)
		v = v * 10 + (unsigned)(*s->p - '0');
	*n = (uint8_t)v;
	return s->p > start && v < SPLIT_ANY;
}

static bool
take_quantifier(Parser *s, uint8_t *least, uint8_t *most)
{
	static const struct {
		char sign;
		uint8_t least, most;
	} signs[] = {{'?', 0, 1}, {'*', 0, SPLIT_ANY}, {'+', 1, SPLIT_ANY}};
	bool found = false;
	*least = *most = 1;
	for (int i = 0; i < 3; i++)
		if (*s->p && *s->p == signs[i].sign && !found) {
			*least = signs[i].least;
			*most = signs[i].most;
			s->p++;
			found = true;
		}
	if (!found && *s->p == '{') {
		s->p++;
		if (!take_number(s, least))
			return fail(s, "a count is not understood");
		*most = *least;
		if (*s->p == ',') {
			s->p++;
			*most = SPLIT_ANY;
			if (*s->p != '}' && !take_number(s, most))
				return fail(s, "a count is not understood");
		}
		if (*s->p++ != '}' || *most < *least || !*most)
			return fail(s, "a count is not understood");
		found = true;
	}
	/* lazy and possessive ones */
	return !found || !*s->p || !strchr("?*+{", *s->p) ||
	       fail(s, "it has two quantifiers in a row");
}

/* Every branch of `set`, followed by every one of `next`. */
static bool
join(Parser *s, Branches *set, const Branches *next)
{
	Branches *out = ARENA_NEW(s->arena, Branches);
	for (uint32_t i = 0; i < set->n; i++)
		for (uint32_t k = 0; k < next->n; k++) {
			const Branch *x = &set->list[i], *y = &next->list[k];
			if (x->ahead && (y->n || y->ahead))
				return fail(s, "something follows (?!\\S) or $");
			if (out->n == BRANCHES_MAX || x->n + y->n > ITEMS_MAX)
				return fail(s, "it has too many branches");
			Branch *b = &out->list[out->n++];
			*b = *x;
			memcpy(b->items + b->n, y->items, y->n * sizeof *y->items);
			b->n += y->n;
			b->ahead = y->ahead ? y->ahead : x->ahead;
		}
	*set = *out;
	return true;
}

static bool take_alternation(Parser *s, Branches *out);

static bool
starts(Parser *s, const char *text)
{
	const size_t n = strlen(text);
	if (strncmp(s->p, text, n) != 0)
		return false;
	s->p += n;
	return true;
}

/* `(?:`, `(?i:` or `(` is behind. */
static bool
take_group(Parser *s, bool ignore_case, Branches *out)
{
	const bool before = s->ignore_case;
	uint8_t least, most;
	s->ignore_case = before || ignore_case;
	if (++s->depth > DEPTH_MAX)
		return fail(s, "its groups are too deep");
	if (!take_alternation(s, out))
		return false;
	s->depth--;
	s->ignore_case = before;
	if (*s->p++ != ')')
		return fail(s, "a group does not end");
	if (!take_quantifier(s, &least, &most))
		return false;
	if (most != 1)
		return fail(s, "it repeats a group");
	if (least == 0 && out->n == BRANCHES_MAX)
		return fail(s, "it has too many branches");
	if (least == 0)
		out->list[out->n++] = (Branch){0};
	return true;
}

/* What one branch may continue with. */
static bool
take_part(Parser *s, Branches *out)
{
	out->n = 1;
	Branch *b = &out->list[0];
	*b = (Branch){0};
	if (starts(s, "(?!\\S)")) {
		b->ahead = AHEAD_SPACE;
		return true;
	}
	if (starts(s, "$")) {
		b->ahead = AHEAD_END;
		return true;
	}
	if (starts(s, "(?:"))
		return take_group(s, false, out);
	if (starts(s, "(?i:"))
		return take_group(s, true, out);
	if (s->p[0] == '(' && s->p[1] == '?')
		return fail(s, "it has a group of a kind that is not understood");
	if (starts(s, "("))
		return take_group(s, false, out);
	SplitItem *item = &b->items[b->n++];
	return take_one(s, &item->class) && take_quantifier(s, &item->least, &item->most);
}

static bool
take_alternation(Parser *s, Branches *out)
{
	Branches *set = ARENA_NEW(s->arena, Branches), *part = ARENA_NEW(s->arena, Branches);
	out->n = 0;
	for (;;) {
		set->n = 1;
		set->list[0] = (Branch){0};
		while (*s->p && *s->p != '|' && *s->p != ')')
			if (!take_part(s, part) || !join(s, set, part))
				return false;
		for (uint32_t i = 0; i < set->n; i++) {
			if (out->n == BRANCHES_MAX)
				return fail(s, "it has too many branches");
			out->list[out->n++] = set->list[i];
		}
		if (*s->p != '|')
			return true;
		s->p++;
	}
}

const SplitRule *
split_parse(Arena *a, const char *pattern, const char **why)
{
	Parser s = {.arena = a, .p = pattern};
	Branches *all = ARENA_NEW(a, Branches);
	s.ranges = ARENA_ARRAY(a, CodeRange, RANGES_MAX);
	if (strlen(pattern) > PATTERN_MAX)
		fail(&s, "it is too long");
	else if (take_alternation(&s, all) && *s.p)
		fail(&s, "a parenthesis is unmatched");
	SplitRule *rule = ARENA_NEW(a, SplitRule);
	SplitBranch *branches = ARENA_ARRAY(a, SplitBranch, BRANCHES_MAX);
	SplitItem *items = ARENA_ARRAY(a, SplitItem, BRANCHES_MAX * ITEMS_MAX);
	for (uint32_t i = 0; !s.why && i < all->n; i++) {
		const Branch *b = &all->list[i];
		uint32_t least = 0;
		for (uint32_t k = 0; k < b->n; k++)
			least += b->items[k].least;
		if (!least)
			fail(&s, "it matches the empty text");
		branches[i] = (SplitBranch){rule->n_items, b->n, b->ahead};
		memcpy(items + rule->n_items, b->items, b->n * sizeof *items);
		rule->n_items += b->n;
	}
	*why = s.why;
	rule->branches = branches;
	rule->n_branches = all->n;
	rule->items = items;
	rule->ranges = s.ranges;
	rule->n_ranges = s.n_ranges;
	return s.why ? NULL : rule;
}
