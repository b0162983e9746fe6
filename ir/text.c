/* Growing text, numbers that read back exactly, JSON strings, nearest names. */
#include "support.h"

#include <stdlib.h>
#include <string.h>

Text *
text_new(Arena *a)
{
	Text *t = ARENA_NEW(a, Text);
	t->arena = a;
	t->capacity = 256;
	t->text = arena_alloc(a, t->capacity);
	return t;
}

/* Room for n more bytes and the NUL. */
static void
text_reserve(Text *t, size_t n)
{
	if (t->capacity - t->size > n)
		return;
	size_t capacity = t->capacity;
	while (capacity - t->size <= n)
		capacity *= 2;
	char *bytes = arena_alloc(t->arena, capacity);
	memcpy(bytes, t->text, t->size);
	t->text = bytes;
	t->capacity = capacity;
}

void
text_add(Text *t, const char *bytes, size_t n)
{
	text_reserve(t, n);
	if (n)
		memcpy(t->text + t->size, bytes, n);
	t->size += n;
	t->text[t->size] = 0;
}

void
text_vprintf(Text *t, const char *format, va_list args)
{
	va_list again;
	va_copy(again, args);
	int n = vsnprintf(NULL, 0, format, args);
	INVARIANT(n >= 0);
	text_reserve(t, (size_t)n);
	vsnprintf(t->text + t->size, (size_t)n + 1, format, again);
	va_end(again);
	t->size += (size_t)n;
}

void
text_printf(Text *t, const char *format, ...)
{
	va_list args;
	va_start(args, format);
	text_vprintf(t, format, args);
	va_end(args);
}

void
text_line(Text *t, const char *format, ...)
{
	va_list args;
	if (format[0] == '}' && t->indent > 0)
		t->indent--;
	for (int i = 0; i < t->indent && format[0]; i++)
		text_add(t, "\t", 1);
	va_start(args, format);
	text_vprintf(t, format, args);
	va_end(args);
	if (t->size && t->text[t->size - 1] == '{')
		t->indent++;
	text_add(t, "\n", 1);
}

void
text_blank(Text *t)
{
	text_add(t, "\n", 1);
}

void
text_double(Text *t, double v)
{
	char s[40];
	for (int digits = 1; digits <= 17; digits++) {
		snprintf(s, sizeof s, "%.*g", digits, v);
		if (strtod(s, NULL) == v)
			break;
	}
	text_add(t, s, strlen(s));
}

void
text_float(Text *t, float v)
{
	char s[40];
	for (int digits = 1; digits <= 9; digits++) {
		snprintf(s, sizeof s, "%.*g", digits, (double)v);
		if (strtof(s, NULL) == v)
			break;
	}
	text_add(t, s, strlen(s));
}

/* Length of the well-formed UTF-8 sequence at s (RFC 3629), 0 if there is none. */
static size_t
utf8_length(const unsigned char *s, size_t n)
{
	static const struct {
		unsigned char first_low, first_high, second_low, second_high;
		size_t length;
	} forms[] = {
		{0x00, 0x7f, 0, 0, 1},	     {0xc2, 0xdf, 0x80, 0xbf, 2},
		{0xe0, 0xe0, 0xa0, 0xbf, 3}, {0xe1, 0xec, 0x80, 0xbf, 3},
		{0xed, 0xed, 0x80, 0x9f, 3}, {0xee, 0xef, 0x80, 0xbf, 3},
		{0xf0, 0xf0, 0x90, 0xbf, 4}, {0xf1, 0xf3, 0x80, 0xbf, 4},
		{0xf4, 0xf4, 0x80, 0x8f, 4},
	};
	for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
		if (s[0] < forms[i].first_low || s[0] > forms[i].first_high)
			continue;
		if (forms[i].length > n)
			return 0;
		if (forms[i].length > 1 &&
		    (s[1] < forms[i].second_low || s[1] > forms[i].second_high))
			return 0;
		for (size_t k = 2; k < forms[i].length; k++)
			if (s[k] < 0x80 || s[k] > 0xbf)
				return 0;
		return forms[i].length;
	}
	return 0;
}

void
text_json_string(Text *t, const char *s, size_t n)
{
	text_add(t, "\"", 1);
	for (size_t i = 0; i < n;) {
		unsigned char c = (unsigned char)s[i];
		size_t length = utf8_length((const unsigned char *)s + i, n - i);
		if (!length) {
			text_printf(t, "\\ufffd");
			length = 1;
		} else if (c == '"' || c == '\\') {
			text_printf(t, "\\%c", c);
		} else if (c < 32 || c == 127) {
			text_printf(t, "\\u%04x", c);
		} else {
			text_add(t, s + i, length);
		}
		i += length;
	}
	text_add(t, "\"", 1);
}

/* Marks that turn the order of what follows: they would show one name as another. */
static bool
turns_order(const char *s, size_t length)
{
	const unsigned char *u = (const unsigned char *)s;
	return length == 3 && u[0] == 0xe2 &&
	       ((u[1] == 0x80 &&
		 ((u[2] >= 0xaa && u[2] <= 0xae) || u[2] == 0x8e || u[2] == 0x8f)) ||
		(u[1] == 0x81 && u[2] >= 0xa6 && u[2] <= 0xa9));
}

void
text_html(Text *t, const char *s, size_t n)
{
	static const struct {
		char c;
		const char *entity;
	} entities[] = {
		{'&', "&amp;"}, {'<', "&lt;"}, {'>', "&gt;"}, {'"', "&quot;"}, {'\'', "&#39;"},
	};
	for (size_t i = 0; i < n;) {
		const unsigned char c = (unsigned char)s[i];
		const size_t length = utf8_length((const unsigned char *)s + i, n - i);
		const char *instead = NULL;
		if (!length || turns_order(s + i, length) || c == 127 ||
		    (c < 32 && c != '\n' && c != '\t'))
			instead = "\xef\xbf\xbd";
		for (size_t e = 0; e < sizeof entities / sizeof *entities; e++)
			if (s[i] == entities[e].c)
				instead = entities[e].entity;
		if (instead)
			text_printf(t, "%s", instead);
		else
			text_add(t, s + i, length);
		i += length ? length : 1;
	}
}

/* Edit distance, capped: names longer than the row are never near. */
static size_t
edit_distance(const char *a, const char *b)
{
	enum { MAX = 96 };
	size_t n = strlen(a), m = strlen(b), row[MAX + 1];
	if (n > MAX || m > MAX)
		return MAX;
	for (size_t j = 0; j <= m; j++)
		row[j] = j;
	for (size_t i = 1; i <= n; i++) {
		size_t diagonal = row[0];
		row[0] = i;
		for (size_t j = 1; j <= m; j++) {
			size_t change = diagonal + (a[i - 1] != b[j - 1]);
			diagonal = row[j];
			size_t least = (row[j] < row[j - 1] ? row[j] : row[j - 1]) + 1;
			row[j] = change < least ? change : least;
		}
	}
	return row[m];
}

const char *
nearest_name(const char *wrong, const char *const *names, size_t n)
{
	const char *best = NULL;
	size_t least = strlen(wrong) / 3 + 2;
	for (size_t i = 0; i < n; i++) {
		size_t distance = edit_distance(wrong, names[i]);
		if (distance < least) {
			least = distance;
			best = names[i];
		}
	}
	return best;
}

void
sha256_of(const void *data, size_t n, uint8_t digest[32])
{
	struct sha256_ctx s;
	sha256_init(&s);
	sha256_update(&s, n, data);
	sha256_digest(&s, SHA256_DIGEST_SIZE, digest);
}

void
sha256_hex(const uint8_t digest[32], char hex[65])
{
	for (int i = 0; i < 32; i++)
		snprintf(hex + (ptrdiff_t)2 * i, 3, "%02x", digest[i]);
}
