/* How the report prints names and figures. */
#include "report_impl.h"

#include <string.h>

void
html(Text *t, const char *s)
{
	text_html(t, s, strlen(s));
}

const char *
number_words(Arena *a, double v)
{
	return arena_printf(a,
			    v >= 99.95	 ? "%.0f"
			    : v >= 9.995 ? "%.1f"
			    : v > 0	 ? "%.2f"
					 : "%.0f",
			    v);
}

/* v in the largest of units of 1000 that leaves it at 1 or more. */
static const char *
scaled(Arena *a, double v, const char *const *units, int n)
{
	int i = 0;
	for (; i + 1 < n && v >= 999.5; i++)
		v /= 1000;
	return arena_printf(a, "%s %s", number_words(a, v), units[i]);
}

const char *
bytes_words(Arena *a, double bytes)
{
	static const char *const units[] = {"B", "kB", "MB", "GB", "TB"};
	if (bytes < 1000)
		return arena_printf(a, "%.0f B", bytes);
	return scaled(a, bytes, units, 5);
}

const char *
seconds_words(Arena *a, double seconds)
{
	static const char *const units[] = {"ns", "\xc2\xb5s", "ms", "s"};
	return scaled(a, seconds * 1e9, units, 4);
}

static void
data(Text *t, const char *fact, uint64_t n, const char *words)
{
	text_printf(t, "<data value=\"%llu\"", (unsigned long long)n);
	if (fact)
		text_printf(t, " data-fact=\"%s\"", fact);
	text_printf(t, ">%s</data>", words);
}

void
html_bytes(Text *t, const char *fact, uint64_t bytes)
{
	data(t, fact, bytes, bytes_words(t->arena, (double)bytes));
}

/* Digits in threes, kept together by narrow spaces. */
void
html_count(Text *t, const char *fact, uint64_t n)
{
	const char *digits = arena_printf(t->arena, "%llu", (unsigned long long)n);
	const size_t length = strlen(digits);
	Text *words = text_new(t->arena);
	for (size_t i = 0; i < length; i++)
		text_printf(words, "%s%c", i && (length - i) % 3 == 0 ? "\xe2\x80\xaf" : "",
			    digits[i]);
	data(t, fact, n, words->text);
}
