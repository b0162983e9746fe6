/*
 * Byte-level BPE. Text is cut into pieces; the bytes of a piece are the first symbols; no merge
 * crosses a piece. Bytes that are no UTF-8 count as U+FFFD each, and are encoded as its bytes; a
 * sequence of two to four bytes that is longer than need be counts as its code point.
 */
enum { OTHER, LETTER, NUMBER, SPACE, END };

static size_t
symbol_bound(size_t n)
{
	return 3 * n;
}

static uint32_t
merge_rank(MergeIndex m)
{
	return m;
}

static int
starts_word(int32_t id)
{
	(void)id;
	return 0;
}

/* The code point at s[n], n > 0; returns its bytes. */
static size_t
code_point(const unsigned char *s, size_t n, uint32_t *c)
{
	size_t size = s[0] < 0x80 ? 1 : s[0] < 0xC0 ? 0 : s[0] < 0xE0 ? 2 : s[0] < 0xF0 ? 3 : 4;

	*c = 0xFFFD;
	if (size == 0 || size > n || s[0] >= 0xF8)
		return 1;
	if (size == 1) {
		*c = s[0];
		return 1;
	}
	uint32_t value = s[0] & (0xFFu >> (size + 1));
	for (size_t i = 1; i < size; i++) {
		if ((s[i] & 0xC0) != 0x80)
			return 1;
		value = value << 6 | (s[i] & 0x3F);
	}
	if (value > 0x10FFFF)
		return 1;
	*c = value;
	return size;
}

static int
code_class(uint32_t c)
{
	int low = 0, high = N_RANGES;

	if (c < 0x80) {
		if ((c | 0x20) >= 'a' && (c | 0x20) <= 'z')
			return LETTER;
		if (c >= '0' && c <= '9')
			return NUMBER;
		return c == ' ' || (c >= '\t' && c <= '\r') ? SPACE : OTHER;
	}
	/* The last range that begins at or before c; one begins at 0. */
	while (high - low > 1) {
		int middle = (low + high) / 2;
		if (unicode_range[middle] >> 2 <= c)
			low = middle;
		else
			high = middle;
	}
	return (int)(unicode_range[low] & 3);
}

/* Class and size of the code point at text[at]; where numbers stand alone, they end what is before
 * them as the end of the text does. */
static int
class_at(const unsigned char *text, size_t at, size_t n, size_t *size)
{
	uint32_t c;
	int class;

	*size = 0;
	if (at == n)
		return END;
	*size = code_point(text + at, n - at, &c);
	class = code_class(c);
	return NUMBERS_ALONE && class == NUMBER ? END : class;
}

/* Bytes of 's 't 'm 'd 're 've 'll at text[n], n > 0; 0 if none is there. */
static size_t
contraction(const unsigned char *text, size_t n)
{
	static const char endings[][3] = {"s", "t", "m", "d", "re", "ve", "ll"};
	uint32_t c[3] = {0};
	size_t size[4] = {0};

	for (int i = 0; i < 3 && size[i] < n; i++)
		size[i + 1] = size[i] + code_point(text + size[i], n - size[i], &c[i]);
	for (size_t i = 0; i < sizeof endings / sizeof endings[0]; i++) {
		const char *e = endings[i];
		if (c[1] == (uint32_t)e[0] && (!e[1] || c[2] == (uint32_t)e[1]))
			return size[e[1] ? 3 : 2];
	}
	return 0;
}

/*
 * Size of the piece that begins text[n], n > 0: a contraction; or a run of letters, of numbers or
 * of others, with one space before it; or white space, of which the last stays for what follows.
 */
static size_t
piece_size(const unsigned char *text, size_t n)
{
	size_t size, last, at = 0;
	uint32_t c;
	int class = class_at(text, 0, n, &size);

	if (class == END)
		return size;
	code_point(text, n, &c);
	if (c == '\'' && (at = contraction(text, n)) > 0)
		return at;
	if (c == ' ') {
		at = size;
		class = class_at(text, at, n, &size);
	}
	if (class != SPACE && class != END) {
		int run = class;
		do {
			at += size;
		} while (class_at(text, at, n, &size) == run);
		return at;
	}
	at = last = 0;
	while ((class = class_at(text, at, n, &size)) == SPACE) {
		last = at;
		at += size;
	}
	return last > 0 && class != END ? last : at;
}

static void
push_byte(Encoder *e, uint32_t byte)
{
	e->symbol[e->n++] = byte_symbol[byte];
}

static void
push_code_point(Encoder *e, uint32_t c)
{
	int more = c < 0x80 ? 0 : c < 0x800 ? 1 : c < 0x10000 ? 2 : 3;

	push_byte(e, more ? (0xFF00u >> (more + 1) & 0xFF) | c >> 6 * more : c);
	while (more-- > 0)
		push_byte(e, 0x80 | (c >> 6 * more & 0x3F));
}

static void
encode_plain(Encoder *e, const unsigned char *text, size_t n)
{
	while (n > 0) {
		size_t size = piece_size(text, n);
		for (size_t at = 0; at < size;) {
			uint32_t c;
			at += code_point(text + at, n - at, &c);
			push_code_point(e, c);
		}
		encode_piece(e);
		text += size;
		n -= size;
	}
}
