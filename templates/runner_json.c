/* ---- JSON ----------------------------------------------------------------------------------- */

/* A comma unless this is the first member or element of what is open. */
static void
json_comma(Text *t)
{
	char last = t->size ? t->text[t->size - 1] : '{';

	if (last != '{' && last != '[' && last != ' ')
		text_add(t, ", ", 2);
}

/* Any bytes that are UTF-8 (the decoder gives nothing else). */
static void
json_string(Text *t, const char *s, size_t n)
{
	size_t i;

	text_add(t, "\"", 1);
	for (i = 0; i < n; i++) {
		unsigned char c = (unsigned char)s[i];
		if (c == '"' || c == '\\')
			text_printf(t, "\\%c", c);
		else if (c == '\n')
			text_add(t, "\\n", 2);
		else if (c < 0x20 || c == 0x7f)
			text_printf(t, "\\u%04x", c);
		else
			text_add(t, s + i, 1);
	}
	text_add(t, "\"", 1);
}

/* A number; null where JSON has none. */
static void
json_number(Text *t, double x)
{
	if (isfinite(x))
		text_printf(t, "%.10g", x);
	else
		text_add(t, "null", 4);
}

static void
json_key(Text *t, const char *key)
{
	json_comma(t);
	text_printf(t, "\"%s\": ", key);
}

static void
json_put_number(Text *t, const char *key, double x)
{
	json_key(t, key);
	json_number(t, x);
}

static void
json_put_string(Text *t, const char *key, const char *s)
{
	json_key(t, key);
	json_string(t, s, strlen(s));
}

static void
json_put_numbers(Text *t, const char *key, const double *x, int n)
{
	int i;

	json_key(t, key);
	text_add(t, "[", 1);
	for (i = 0; i < n; i++) {
		json_comma(t);
		json_number(t, x[i]);
	}
	text_add(t, "]", 1);
}

static void
json_put_ids(Text *t, const char *key, const int32_t *ids, int n)
{
	int i;

	json_key(t, key);
	text_add(t, "[", 1);
	for (i = 0; i < n; i++)
		text_printf(t, i ? ", %d" : "%d", (int)ids[i]);
	text_add(t, "]", 1);
}
