/* A template's text into tokens, white space of tags applied. */
#include "jinja_impl.h"

#include <string.h>

typedef struct Lexer {
	Arena *arena;
	const char *s;
	uint32_t n, at, line;
	JinjaToken *tokens;
	uint32_t count, room;
	bool line_begins; /* what was read last ended a line */
	const char *why;
} Lexer;

static const char *const openings[] = {"{{", "{%", "{#"};
static const char *const endings[] = {"}}", "%}", "#}"};

/* The code point at s[n], n > 0, and its bytes; of broken UTF-8 one byte. */
static uint32_t
code_point(const char *s, uint32_t n, uint32_t *size)
{
	const unsigned char *u = (const unsigned char *)s;
	*size = u[0] < 0xC0 ? 1 : u[0] < 0xE0 ? 2 : u[0] < 0xF0 ? 3 : 4;
	if (*size > n)
		*size = 1;
	uint32_t c = *size == 1 ? u[0] : u[0] & (0xFFu >> (*size + 1));
	for (uint32_t i = 1; i < *size; i++)
		c = c << 6 | (u[i] & 0x3F);
	return c;
}

static bool
is_space(uint32_t c)
{
	return (c >= 9 && c <= 13) || (c >= 0x1C && c <= 0x20) || c == 0x85 || c == 0xA0 ||
	       c == 0x1680 || (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 ||
	       c == 0x202F || c == 0x205F || c == 0x3000;
}

uint32_t
space_before(const char *s, uint32_t n)
{
	uint32_t at = 0, size;
	while (at < n && is_space(code_point(s + at, n - at, &size)))
		at += size;
	return at;
}

uint32_t
space_behind(const char *s, uint32_t n)
{
	uint32_t end = n, size;
	while (end > 0) {
		uint32_t at = end - 1;
		while (at > 0 && end - at < 4 && ((unsigned char)s[at] & 0xC0) == 0x80)
			at--;
		if (!is_space(code_point(s + at, end - at, &size)) || size != end - at)
			break;
		end = at;
	}
	return n - end;
}

static void
push(Lexer *l, TokenKind kind, const char *s, uint32_t n)
{
	if (l->count == l->room) {
		JinjaToken *larger = ARENA_ARRAY(l->arena, JinjaToken, (size_t)l->room * 2 + 64);
		if (l->count)
			memcpy(larger, l->tokens, l->count * sizeof *larger);
		l->tokens = larger;
		l->room = l->room * 2 + 64;
	}
	l->tokens[l->count++] = (JinjaToken){(uint8_t)kind, {s, n}, l->line};
}

static bool
at_text(const Lexer *l, uint32_t at, const char *s)
{
	const uint32_t n = (uint32_t)strlen(s);
	return l->n - at >= n && !memcmp(l->s + at, s, n);
}

/* Goes forward to `to`, counting lines. */
static void
advance(Lexer *l, uint32_t to)
{
	for (; l->at < to; l->at++)
		l->line += l->s[l->at] == '\n';
}

/* Of text[begin, end) in front of a tag: less what its white space control takes. */
static uint32_t
text_end(const Lexer *l, uint32_t begin, uint32_t end, int tag, char sign)
{
	if (sign == '-')
		return end - space_behind(l->s + begin, end - begin);
	if (tag == 0 || sign == '+')
		return end;
	uint32_t line = end;
	while (line > begin && l->s[line - 1] != '\n')
		line--;
	if ((line > begin || l->line_begins) && space_before(l->s + line, end - line) == end - line)
		return line;
	return end;
}

/* The end of a tag at l->at: behind it, and behind the white space that it takes. */
static void
close_tag(Lexer *l, int tag)
{
	const bool strip = l->s[l->at] == '-';
	const uint32_t begin = l->at;
	uint32_t to = l->at + (strip || l->s[l->at] == '+') + 2;
	if (strip)
		to += space_before(l->s + to, l->n - to);
	else if (tag && l->s[begin] != '+' && to < l->n && l->s[to] == '\n')
		to++;
	advance(l, to);
	l->line_begins = l->s[to - 1] == '\n';
}

static uint32_t
hexadecimal(const char *s, uint32_t n)
{
	uint32_t c = 0;
	for (uint32_t i = 0; i < n; i++) {
		const char *const digits = "0123456789abcdef";
		const char *d = s[i] ? strchr(digits, s[i] | 0x20) : NULL;
		if (!d)
			return UINT32_MAX;
		c = c << 4 | (uint32_t)(d - digits);
	}
	return c;
}

static void
add_code_point(Text *t, uint32_t c)
{
	const int more = c < 0x80 ? 0 : c < 0x800 ? 1 : c < 0x10000 ? 2 : 3;
	char bytes[4] = {(char)(more ? (0xFF00u >> (more + 1) & 0xFF) | c >> 6 * more : c), 0, 0,
			 0};
	for (int i = 1; i <= more; i++)
		bytes[i] = (char)(0x80 | (c >> 6 * (more - i) & 0x3F));
	text_add(t, bytes, (size_t)more + 1);
}

/* An escape of a string at s[0..n), behind its backslash; its bytes, 0: not understood. */
static uint32_t
escape(Text *t, const char *s, uint32_t n)
{
	static const char names[] = "n\nt\tr\rb\bf\fv\va\a\\\\''\"\"";
	if (n == 0)
		return 0;
	const uint32_t digits = *s == 'x' ? 2 : *s == 'u' ? 4 : *s == 'U' ? 8 : 0;
	if (digits) {
		const uint32_t c = n > digits ? hexadecimal(s + 1, digits) : UINT32_MAX;
		if (c == 0 || c > 0x10FFFF || (c >= 0xD800 && c < 0xE000))
			return 0;
		add_code_point(t, c);
		return digits + 1;
	}
	for (const char *p = names; *p; p += 2)
		if (*p == *s) {
			text_add(t, p + 1, 1);
			return 1;
		}
	if (*s == '\n')
		return 1;
	if (*s >= '0' && *s <= '9')
		return 0;
	text_add(t, "\\", 1);
	text_add(t, s, 1);
	return 1;
}

static void
lex_string(Lexer *l)
{
	Text *t = text_new(l->arena);
	const char quote = l->s[l->at];
	uint32_t at = l->at + 1;
	while (at < l->n && l->s[at] != quote) {
		if (l->s[at] != '\\') {
			text_add(t, l->s + at++, 1);
			continue;
		}
		const uint32_t size = escape(t, l->s + at + 1, l->n - at - 1);
		if (!size)
			l->why = "an escape in a string";
		at += size + 1;
	}
	if (at >= l->n)
		l->why = "a string without an end";
	push(l, T_STRING, t->text, (uint32_t)t->size);
	advance(l, at < l->n ? at + 1 : l->n);
}

static bool
is_word(char c)
{
	return (c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z') || c == '_';
}

static bool
is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static void
lex_word(Lexer *l)
{
	uint32_t end = l->at;
	TokenKind kind = is_digit(l->s[l->at]) ? T_INTEGER : T_NAME;
	while (end < l->n && is_word(l->s[end]))
		end++;
	if (kind == T_INTEGER && end + 1 < l->n && l->s[end] == '.' && is_digit(l->s[end + 1])) {
		kind = T_FLOAT;
		for (end++; end < l->n && is_word(l->s[end]); end++)
			;
	}
	push(l, kind, l->s + l->at, end - l->at);
	advance(l, end);
}

/* One token inside a tag; the tag's end is not one while a bracket is open. */
static void
lex_token(Lexer *l, int *open)
{
	static const char *const doubles[] = {"==", "!=", "<=", ">=", "//", "**"};
	const char c = l->s[l->at];
	if (c == '"' || c == '\'') {
		lex_string(l);
		return;
	}
	if (is_word(c)) {
		lex_word(l);
		return;
	}
	if (!c || !strchr("+-*/%~|.,:()[]{}<>=", c)) {
		if (!(c == '!' && at_text(l, l->at, "!="))) {
			l->why = "a character outside of strings";
			return;
		}
	}
	*open += c == '(' || c == '[' || c == '{';
	*open -= c == ')' || c == ']' || c == '}';
	uint32_t size = 1;
	for (size_t i = 0; i < sizeof doubles / sizeof *doubles; i++)
		if (at_text(l, l->at, doubles[i]))
			size = 2;
	push(l, T_OPERATOR, l->s + l->at, size);
	advance(l, l->at + size);
}

static bool
at_end_of_tag(const Lexer *l, int tag)
{
	const char c = l->s[l->at];
	return at_text(l, l->at, endings[tag]) ||
	       ((c == '-' || (c == '+' && tag)) && at_text(l, l->at + 1, endings[tag]));
}

static void
lex_comment(Lexer *l)
{
	uint32_t at = l->at;
	while (at < l->n && !at_text(l, at, "#}"))
		at++;
	if (at >= l->n) {
		l->why = "a comment without an end";
		return;
	}
	if (at > l->at && (l->s[at - 1] == '-' || l->s[at - 1] == '+'))
		at--;
	advance(l, at);
	close_tag(l, 2);
}

static void
lex_tag(Lexer *l, int tag)
{
	int open = 0;
	advance(l, l->at + 2);
	if (l->at < l->n && (l->s[l->at] == '-' || l->s[l->at] == '+'))
		advance(l, l->at + 1);
	if (tag == 2) {
		lex_comment(l);
		return;
	}
	push(l, tag ? T_BLOCK : T_PRINT, "", 0);
	for (;;) {
		advance(l, l->at + space_before(l->s + l->at, l->n - l->at));
		if (l->at >= l->n) {
			l->why = "a tag without an end";
			return;
		}
		if (open <= 0 && at_end_of_tag(l, tag))
			break;
		lex_token(l, &open);
		if (l->why)
			return;
	}
	push(l, tag ? T_BLOCK_END : T_PRINT_END, "", 0);
	close_tag(l, tag);
}

/* Lines end in \n, the last one's end is not text. */
static Bytes
plain_lines(Arena *a, Bytes text)
{
	char *s = arena_alloc(a, (size_t)text.size + 1);
	uint32_t n = 0;
	for (uint32_t i = 0; i < text.size; i++) {
		if (text.data[i] != '\r') {
			s[n++] = text.data[i];
			continue;
		}
		s[n++] = '\n';
		i += i + 1 < text.size && text.data[i + 1] == '\n';
	}
	n -= n > 0 && s[n - 1] == '\n';
	return (Bytes){s, n};
}

const JinjaToken *
jinja_tokens(Arena *a, Bytes text, const char **why)
{
	const Bytes lines = plain_lines(a, text);
	Lexer l = {.arena = a, .s = lines.data, .n = lines.size, .line = 1, .line_begins = true};
	while (l.at < l.n && !l.why) {
		const uint32_t begin = l.at;
		uint32_t end = begin;
		int tag = 3;
		for (; end < l.n && tag == 3; end += tag == 3)
			for (int i = 0; i < 3; i++)
				if (at_text(&l, end, openings[i]))
					tag = i;
		const char sign = tag < 3 && end + 2 < l.n ? l.s[end + 2] : 0;
		const uint32_t stop = tag < 3 ? text_end(&l, begin, end, tag, sign) : end;
		if (stop > begin)
			push(&l, T_DATA, l.s + begin, stop - begin);
		advance(&l, end);
		if (tag < 3)
			lex_tag(&l, tag);
	}
	push(&l, T_END, "", 0);
	if (!l.why)
		return l.tokens;
	*why = arena_printf(a, "line %u: %s", l.line, l.why);
	return NULL;
}
