#include "gen/model/json.h"
#include "gen/model/cursor.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

const char *const json_kind_names[JSON_KINDS] = {
	[JSON_NULL] = "null",	    [JSON_BOOL] = "true or false", [JSON_NUMBER] = "a number",
	[JSON_STRING] = "a string", [JSON_ARRAY] = "an array",	   [JSON_OBJECT] = "an object",
};

typedef struct Parser {
	Arena *arena;
	Diag *d;
	uint32_t file;
	uint64_t base;
	const char *text;
	size_t size, at;
	int depth;
} Parser;

static Loc
loc_at(const Parser *p, size_t at)
{
	return (Loc){p->file, p->base + at};
}

static void
skip_space(Parser *p)
{
	while (p->at < p->size && strchr(" \t\r\n", p->text[p->at]) && p->text[p->at])
		p->at++;
}

/* What stands at the parser's place, for messages. */
static const char *
found(const Parser *p)
{
	if (p->at >= p->size)
		return "the end of the text";
	const unsigned char c = (unsigned char)p->text[p->at];
	if (c >= 0x80)
		return arena_printf(p->arena, "a character outside a string");
	if (c < 32 || c == 127)
		return arena_printf(p->arena, "the control character \\x%02x", c);
	return arena_printf(p->arena, "'%c'", c);
}

static bool
expected(Parser *p, const char *what)
{
	diag_error(p->d, loc_at(p, p->at), E_JSON, "%s is expected, here is %s", what, found(p));
	return false;
}

static bool
fault(Parser *p, size_t at, const char *what)
{
	diag_error(p->d, loc_at(p, at), E_JSON, "%s", what);
	return false;
}

/* ---- strings ------------------------------------------------------------------------------ */

/* Four hexadecimal digits at p->at; -1: there are none. */
static int32_t
hex4(Parser *p)
{
	int32_t v = 0;
	if (p->size - p->at < 4)
		return -1;
	for (int i = 0; i < 4; i++) {
		static const char digits[] = "0123456789abcdef0123456789ABCDEF";
		const char c = p->text[p->at + (size_t)i];
		const char *digit = c ? strchr(digits, c) : NULL;
		if (!digit)
			return -1;
		v = v << 4 | (int32_t)((digit - digits) & 15);
	}
	p->at += 4;
	return v;
}

static size_t
utf8_encode(uint32_t c, char out[4])
{
	static const unsigned char leads[] = {0, 0, 0xc0, 0xe0, 0xf0};
	const size_t n = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
	for (size_t i = n - 1; i > 0; i--, c >>= 6)
		out[i] = (char)(0x80 | (c & 0x3f));
	out[0] = (char)(leads[n == 1 ? 0 : n] | c);
	return n;
}

/* The escape whose backslash is at p->at; writes its bytes, 0: a diagnostic was given. */
static size_t
escape(Parser *p, char out[4])
{
	static const char names[] = "\"\\/bfnrt", values[] = "\"\\/\b\f\n\r\t";
	const size_t start = p->at++;
	const char c = p->at < p->size ? p->text[p->at] : 0;
	const char *name = c ? strchr(names, c) : NULL;
	if (name) {
		p->at++;
		out[0] = values[name - names];
		return 1;
	}
	if (c != 'u') {
		fault(p, start, "an escape that JSON does not have");
		return 0;
	}
	p->at++;
	int32_t v = hex4(p);
	if (v >= 0xd800 && v < 0xdc00 && p->size - p->at >= 2 && p->text[p->at] == '\\' &&
	    p->text[p->at + 1] == 'u') {
		p->at += 2;
		const int32_t low = hex4(p);
		v = low >= 0xdc00 && low < 0xe000 ? 0x10000 + ((v - 0xd800) << 10) + (low - 0xdc00)
						  : -1;
	}
	if (v <= 0 || (v >= 0xd800 && v < 0xe000)) {
		fault(p, start, v == 0 ? "\\u0000 is not accepted" : "a malformed \\u escape");
		return 0;
	}
	return utf8_encode((uint32_t)v, out);
}

/* The string whose quote is at p->at; null after a diagnostic. */
static const char *
parse_string(Parser *p)
{
	const size_t start = p->at++;
	size_t end = p->at;
	while (end < p->size && p->text[end] != '"')
		end += p->text[end] == '\\' && end + 1 < p->size ? 2 : 1;
	if (end >= p->size) {
		fault(p, start, "the text ends inside this string");
		return NULL;
	}
	/* Decoding never lengthens. */
	char *out = arena_alloc(p->arena, end - p->at + 1);
	size_t n = 0;
	while (p->at < end) {
		if (p->text[p->at] == '\\') {
			char bytes[4];
			const size_t length = escape(p, bytes);
			if (!length)
				return NULL;
			memcpy(out + n, bytes, length);
			n += length;
		} else if ((unsigned char)p->text[p->at] < 32) {
			fault(p, p->at, "a control character inside a string");
			return NULL;
		} else {
			out[n++] = p->text[p->at++];
		}
	}
	p->at = end + 1;
	return out;
}

/* ---- numbers ------------------------------------------------------------------------------ */

static size_t
digits(Parser *p)
{
	const size_t start = p->at;
	while (p->at < p->size && p->text[p->at] >= '0' && p->text[p->at] <= '9')
		p->at++;
	return p->at - start;
}

static bool
at_char(const Parser *p, const char *set)
{
	return p->at < p->size && p->text[p->at] && strchr(set, p->text[p->at]);
}

/* A whole number without exponent, if it fits; s ends where the number does. */
static bool
whole_number(const char *s, int64_t *out)
{
	const bool negative = *s == '-';
	uint64_t v = 0;
	for (s += negative; *s; s++) {
		if (*s < '0' || *s > '9' || !checked_mul(v, 10, &v) ||
		    !checked_add(v, (uint64_t)(*s - '0'), &v) || v > INT64_MAX)
			return false;
	}
	*out = negative ? -(int64_t)v : (int64_t)v;
	return true;
}

static bool
parse_number(Parser *p, Json *v)
{
	const size_t start = p->at;
	p->at += at_char(p, "-");
	const size_t first = p->at, count = digits(p);
	if (!count)
		return expected(p, "a digit");
	if (count > 1 && p->text[first] == '0')
		return fault(p, first, "a number with a leading zero");
	if (at_char(p, ".")) {
		p->at++;
		if (!digits(p))
			return expected(p, "a digit behind the point");
	}
	if (at_char(p, "eE")) {
		p->at++;
		p->at += at_char(p, "+-");
		if (!digits(p))
			return expected(p, "a digit of the exponent");
	}
	const char *text = arena_strndup(p->arena, p->text + start, p->at - start);
	v->kind = JSON_NUMBER;
	v->string = text;
	v->number = strtod(text, NULL);
	v->integral = whole_number(text, &v->integer);
	if (!isfinite(v->number))
		return fault(p, start, "a number beyond what a double holds");
	return true;
}

/* ---- arrays and objects ------------------------------------------------------------------- */

static bool parse_value(Parser *p, Json *v);

static int
compare_keys(const void *x, const void *y)
{
	const Json *a = *(const Json *const *)x, *b = *(const Json *const *)y;
	const int order = strcmp(a->key, b->key);
	return order ? order
		     : (a->key_loc.offset > b->key_loc.offset) -
			       (a->key_loc.offset < b->key_loc.offset);
}

static bool
check_duplicates(Parser *p, const Json *object)
{
	const Json **members = ARENA_ARRAY(p->arena, const Json *, object->count + 1);
	uint32_t n = 0;
	bool ok = true;
	for (const Json *m = object->first; m; m = m->next)
		members[n++] = m;
	qsort(members, n, sizeof *members, compare_keys);
	for (uint32_t i = 1; i < n; i++) {
		if (strcmp(members[i - 1]->key, members[i]->key))
			continue;
		const Bytes key = {members[i]->key, (uint32_t)strlen(members[i]->key)};
		diag_error(p->d, members[i]->key_loc, E_JSON_DUPLICATE, "the key %s occurs twice",
			   bytes_quote(p->arena, key));
		diag_note(p->d, members[i - 1]->key_loc, "it is first here");
		ok = false;
	}
	return ok;
}

/* One element, with its key in an object. */
static Json *
parse_element(Parser *p, bool object)
{
	Json *v = ARENA_NEW(p->arena, Json);
	skip_space(p);
	if (object) {
		v->key_loc = loc_at(p, p->at);
		if (!at_char(p, "\"")) {
			expected(p, "a key in double quotes");
			return NULL;
		}
		v->key = parse_string(p);
		if (!v->key)
			return NULL;
		skip_space(p);
		if (!at_char(p, ":")) {
			expected(p, "':'");
			return NULL;
		}
		p->at++;
	}
	return parse_value(p, v) ? v : NULL;
}

static bool
parse_elements(Parser *p, Json *v, char close)
{
	const Json **link = &v->first;
	const bool object = close == '}';
	v->kind = object ? JSON_OBJECT : JSON_ARRAY;
	if (++p->depth > JSON_DEPTH)
		return fault(p, p->at, arena_printf(p->arena, "nested deeper than %d", JSON_DEPTH));
	p->at++;
	skip_space(p);
	while (v->count || !at_char(p, object ? "}" : "]")) {
		Json *e = parse_element(p, object);
		if (!e)
			return false;
		*link = e;
		link = &e->next;
		v->count++;
		skip_space(p);
		if (!at_char(p, ","))
			break;
		p->at++;
	}
	if (!at_char(p, object ? "}" : "]"))
		return expected(p, object ? "',' or '}'" : "',' or ']'");
	p->at++;
	p->depth--;
	return !object || check_duplicates(p, v);
}

static bool
parse_word(Parser *p, const char *word)
{
	const size_t n = strlen(word);
	if (p->size - p->at < n || memcmp(p->text + p->at, word, n))
		return false;
	p->at += n;
	return true;
}

static bool
parse_value(Parser *p, Json *v)
{
	skip_space(p);
	v->loc = loc_at(p, p->at);
	const char c = p->at < p->size ? p->text[p->at] : 0;
	if (c == '{' || c == '[')
		return parse_elements(p, v, c == '{' ? '}' : ']');
	if (c == '"') {
		v->kind = JSON_STRING;
		v->string = parse_string(p);
		return v->string;
	}
	if (c == '-' || (c >= '0' && c <= '9'))
		return parse_number(p, v);
	v->kind = JSON_BOOL;
	v->boolean = parse_word(p, "true");
	if (v->boolean || parse_word(p, "false"))
		return true;
	v->kind = JSON_NULL;
	return parse_word(p, "null") || expected(p, "a value");
}

/* ---- the text ----------------------------------------------------------------------------- */

/* The first byte that is no UTF-8; size where all is. */
static size_t
not_utf8(const char *text, size_t size)
{
	enum { PIECE = 1 << 20 };
	for (size_t at = 0; at < size;) {
		size_t n = size - at < PIECE ? size - at : PIECE;
		/* A piece ends in front of a character's first byte. */
		for (int i = 0; at + n < size && i < 3 && (text[at + n] & 0xc0) == 0x80; i++)
			n--;
		if (!utf8_valid((Bytes){text + at, (uint32_t)n})) {
			size_t low = 0, high = n; /* low: valid so far, in whole characters */
			while (low < high) {
				size_t end = low + 1;
				while (end < high && (text[at + end] & 0xc0) == 0x80)
					end++;
				if (!utf8_valid((Bytes){text + at + low, (uint32_t)(end - low)}))
					return at + low;
				low = end;
			}
		}
		at += n;
	}
	return size;
}

const Json *
json_parse(Arena *a, Diag *d, uint32_t file, uint64_t base, const char *text, size_t size)
{
	Parser p = {a, d, file, base, text, size, 0, 0};
	Json *v = ARENA_NEW(a, Json);
	const size_t bad = not_utf8(text, size);
	if (bad < size) {
		diag_error(d, loc_at(&p, bad), E_JSON, "byte \\x%02x is not UTF-8",
			   (unsigned char)text[bad]);
		return NULL;
	}
	if (!parse_value(&p, v))
		return NULL;
	skip_space(&p);
	if (p.at < size) {
		expected(&p, "the end of the text");
		return NULL;
	}
	return v;
}

const Json *
json_get(const Json *object, const char *key)
{
	if (!object || object->kind != JSON_OBJECT)
		return NULL;
	for (const Json *m = object->first; m; m = m->next)
		if (!strcmp(m->key, key))
			return m;
	return NULL;
}
