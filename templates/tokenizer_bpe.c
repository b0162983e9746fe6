/*
 * Byte-level BPE. Text is cut into pieces: by the first expression, what it matches and what it
 * leaves over by the next, and so on. An expression is branches of items, each a class of code
 * points with least and greatest counts. The bytes of a piece are the first symbols; no merge
 * crosses a piece. Bytes that are no UTF-8 count as U+FFFD each, and are encoded as its bytes; a
 * sequence of two to four bytes that is longer than need be counts as its code point.
 */
enum { OTHER, LETTER, NUMBER, SPACE };
enum { AHEAD_ANY, AHEAD_SPACE, AHEAD_END };

static size_t
symbol_bound(size_t n)
{
	return 3 * n;
}

static size_t
plain_bytes(size_t n)
{
	return n + 1;
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
		if (c == ' ' || (c >= '\t' && c <= '\r'))
			return SPACE;
	}
	/* The last range that begins at or before c; one begins at 0. */
	while (high - low > 1) {
		int middle = (low + high) / 2;
		if (unicode_range[middle] >> 3 <= c)
			low = middle;
		else
			high = middle;
	}
	return (int)(unicode_range[low] & 7);
}

/* ---- pieces ---- */

enum { SIZE_SHIFT = 3, BACK_SHIFT = 5 };

#define NO_MATCH SIZE_MAX

/* A text: at the first byte of each code point its category, its bytes less 1 and those of the code
 * point before it, less 1. */
typedef struct Points {
	const unsigned char *text, *points;
	size_t n;
} Points;

static void
points_fill(const unsigned char *text, size_t n, unsigned char *points)
{
	unsigned back = 0;

	for (size_t at = 0, size; at < n; at += size) {
		uint32_t c;
		size = code_point(text + at, n - at, &c);
		points[at] =
			(unsigned char)((unsigned)code_class(c) |
					(unsigned)(size - 1) << SIZE_SHIFT | back << BACK_SHIFT);
		back = (unsigned)size - 1;
	}
	points[n] = (unsigned char)(back << BACK_SHIFT);
}

static int
point_class(const Points *p, size_t at)
{
	return p->points[at] & 7;
}

static size_t
point_size(const Points *p, size_t at)
{
	return (size_t)(p->points[at] >> SIZE_SHIFT & 3) + 1;
}

static int
item_holds(const Item *item, const Points *p, size_t at)
{
	int found = item->categories >> point_class(p, at) & 1;
	uint32_t c;

	if (!found && item->count > 0) {
		code_point(p->text + at, p->n - at, &c);
		for (int i = item->first; !found && i < item->first + item->count; i++)
			found = c >= class_ranges[i].first && c <= class_ranges[i].last;
	}
	return found != item->negated;
}

static int
ahead_holds(int ahead, const Points *p, size_t at, size_t end)
{
	if (ahead == AHEAD_ANY || at == end)
		return 1;
	return ahead == AHEAD_SPACE ? point_class(p, at) == SPACE : p->text[at] == '\n';
}

/* Where items [item, last) of a branch end that begin at `at`, each as long as what follows lets
 * it be. */
static size_t
match_items(const Points *p, int item, int last, int ahead, size_t at, size_t end)
{
	size_t count = 0;

	if (item == last)
		return ahead_holds(ahead, p, at, end) ? at : NO_MATCH;
	while (at < end && (items[item].most == ANY_COUNT || count < items[item].most) &&
	       item_holds(&items[item], p, at)) {
		at += point_size(p, at);
		count++;
	}
	for (; count >= items[item].least; count--) {
		size_t stop = match_items(p, item + 1, last, ahead, at, end);
		if (stop != NO_MATCH || count == 0)
			return stop;
		at -= (size_t)(p->points[at] >> BACK_SHIFT & 3) + 1;
	}
	return NO_MATCH;
}

/* Where the first branch of a step that matches at `at` ends. */
static size_t
match_step(const Points *p, int step, size_t at, size_t end)
{
	for (int b = steps[step]; b < steps[step + 1]; b++) {
		const Branch *branch = &branches[b];
		size_t stop = match_items(p, branch->first, branch->first + branch->count,
					  branch->ahead, at, end);
		if (stop != NO_MATCH)
			return stop;
	}
	return NO_MATCH;
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

/* The token that is text[n], of those that merges do not make of it; -1: none is. */
static int32_t
whole_word(const unsigned char *text, size_t n)
{
	int low = 0, high = N_WORDS;

	while (low < high) {
		int middle = (low + high) / 2, order = 0;
		int32_t id = words[middle];
		size_t begin = token_begin(id), size = token_size[id];
		for (size_t i = 0; order == 0 && i < n && i < size; i++)
			order = (int)token_byte(begin + i) - text[i];
		if (order == 0 && size == n)
			return id;
		if (order < 0 || (order == 0 && size < n))
			low = middle + 1;
		else
			high = middle;
	}
	return -1;
}

static void
encode_bytes(Encoder *e, const unsigned char *text, size_t n)
{
	int32_t word = whole_word(text, n);

	if (word >= 0) {
		push_id(e, word);
		return;
	}
	for (size_t at = 0; at < n;) {
		uint32_t c;
		at += code_point(text + at, n - at, &c);
		push_code_point(e, c);
	}
	encode_piece(e);
}

/* Cuts the text in [at, end) by the steps from `step` on. */
static void
encode_steps(Encoder *e, const Points *p, int step, size_t at, size_t end)
{
	size_t gap = at;

	if (step == N_STEPS) {
		encode_bytes(e, p->text + at, end - at);
		return;
	}
	while (at < end) {
		size_t stop = match_step(p, step, at, end);
		if (stop == NO_MATCH) {
			at += point_size(p, at);
			continue;
		}
		if (gap < at)
			encode_steps(e, p, step + 1, gap, at);
		encode_steps(e, p, step + 1, at, stop);
		at = gap = stop;
	}
	if (gap < end)
		encode_steps(e, p, step + 1, gap, end);
}

static void
encode_plain(Encoder *e, const unsigned char *text, size_t n)
{
	Points p;

	points_fill(text, n, e->plain);
	p.text = text;
	p.points = e->plain;
	p.n = n;
	encode_steps(e, &p, 0, 0, n);
}
