#include "cursor.h"

#include <string.h>

Loc
cursor_loc(const Cursor *c, uint64_t at)
{
	return (Loc){c->file, at};
}

uint64_t
cursor_remaining(const Cursor *c)
{
	return c->size - c->at;
}

const uint8_t *
cursor_bytes(Cursor *c, uint64_t n, const char *what)
{
	if (c->failed)
		return NULL;
	if (n > cursor_remaining(c)) {
		diag_error(c->d, cursor_loc(c, c->at), E_TRUNCATED,
			   "the file ends inside %s: %llu bytes wanted, %llu left", what,
			   (unsigned long long)n, (unsigned long long)cursor_remaining(c));
		c->failed = true;
		return NULL;
	}
	const uint8_t *p = c->data + c->at;
	c->at += n;
	return p;
}

uint32_t
cursor_u32(Cursor *c, const char *what)
{
	const uint8_t *p = cursor_bytes(c, 4, what);
	return p ? (uint32_t)little_endian(p, 4) : 0;
}

uint64_t
cursor_u64(Cursor *c, const char *what)
{
	const uint8_t *p = cursor_bytes(c, 8, what);
	return p ? little_endian(p, 8) : 0;
}

bool
bytes_equal(Bytes a, const char *s)
{
	size_t n = strlen(s);
	return a.size == n && memcmp(a.data, s, n) == 0;
}

int
bytes_compare(Bytes a, Bytes b)
{
	uint32_t n = a.size < b.size ? a.size : b.size;
	int order = n ? memcmp(a.data, b.data, n) : 0;
	return order ? order : (a.size > b.size) - (a.size < b.size);
}

/* Bytes of the well-formed UTF-8 sequence at s[0..n), 0 where there is none. */
static uint32_t
utf8_sequence(const uint8_t *s, uint32_t n)
{
	uint32_t length = s[0] < 0x80 ? 1 : s[0] < 0xc2 ? 0 : s[0] < 0xe0 ? 2 : s[0] < 0xf0 ? 3 : 4;
	if (length < 2)
		return length;
	if (s[0] > 0xf4 || n < length)
		return 0;
	for (uint32_t i = 1; i < length; i++)
		if ((s[i] & 0xc0) != 0x80)
			return 0;
	/* overlong, surrogates, beyond U+10FFFF */
	if ((s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] > 0x9f) ||
	    (s[0] == 0xf0 && s[1] < 0x90) || (s[0] == 0xf4 && s[1] > 0x8f))
		return 0;
	return length;
}

bool
utf8_valid(Bytes s)
{
	const uint8_t *p = (const uint8_t *)s.data;
	for (uint32_t i = 0, n; i < s.size; i += n) {
		n = utf8_sequence(p + i, s.size - i);
		if (n == 0)
			return false;
	}
	return true;
}

const char *
bytes_quote(Arena *a, Bytes s)
{
	enum { SHOWN = 80 };
	Text *t = text_new(a);
	const uint8_t *p = (const uint8_t *)s.data;
	uint32_t i = 0;
	text_add(t, "'", 1);
	while (i < s.size && i < SHOWN) {
		uint32_t n = utf8_sequence(p + i, s.size - i);
		bool control = n == 1 && (p[i] < 0x20 || p[i] == 0x7f);
		bool c1 = n == 2 && p[i] == 0xc2 && p[i + 1] < 0xa0;
		if (n == 0 || control || c1) {
			n = n ? n : 1;
			for (uint32_t k = 0; k < n; k++)
				text_printf(t, "\\x%02x", p[i + k]);
		} else {
			text_add(t, s.data + i, n);
		}
		i += n;
	}
	text_printf(t, "%s'", i < s.size ? "..." : "");
	return t->text;
}
