/*
 * The machinery: special tokens, the streaming decoder. What turns plain text into ids follows in
 * tokenizer_merge.c with tokenizer_bpe.c or tokenizer_scored.c, or in tokenizer_unigram.c:
 *   symbol_bound(n)      most symbols that n bytes of text become
 *   rank_count(n)        ranks that n symbols need
 *   encode_plain(e, ...) text without special tokens
 *   plain_bytes(n)       scratch of its own that n bytes of text take
 *   starts_word(id)      a token whose leading space goes when it begins a text
 * What becomes of text between the special tokens of the first RAW_LEVELS levels follows in one of
 * tokenizer_nfc.c, tokenizer_spaced.c and tokenizer_raw.c:
 *   encode_raw(e, ...)   normalizes it and cuts it at those of the other levels, if so
 *   normal_bytes(n)      most bytes that n bytes of text become, 0: it is not normalized
 * Behind it comes tokenizer_chat.c.
 */
enum { MAX_LEVELS = 8, REPLACEMENT_BYTES = 3 };

/* More text than this is refused: positions and counts stay within 32 bits. */
static const size_t max_text = (size_t)1 << 29;
static const char replacement[REPLACEMENT_BYTES + 1] = "\xEF\xBF\xBD";

/* Where ids go, and the piece at work, as the file that encodes plain text says. */
typedef struct Encoder {
	int32_t *ids;
	size_t capacity, count, n;
	Symbol *symbol;
	uint32_t *span, *rank;
	uint32_t *level[MAX_LEVELS];
	int levels;
	unsigned char *plain;  /* plain_bytes of the text */
	unsigned char *normal; /* normal_bytes of the text */
	size_t *end;	       /* [N_LEVELS + 2] of encode_fragments */
	int begun;	       /* something of the text is behind */
	int inside;	       /* the text goes on behind another one */
	/* The text's parts, which end at ends[]: in the first, third, ... special tokens are
	 * parsed, in the others only those that always are. */
	const unsigned char *text;
	const size_t *ends;
} Encoder;

static size_t symbol_bound(size_t n);
static size_t rank_count(size_t n);
static size_t plain_bytes(size_t n);
static void encode_plain(Encoder *e, const unsigned char *text, size_t n);
static int starts_word(int32_t id);
static void encode_raw(Encoder *e, const unsigned char *text, size_t n);
static size_t normal_bytes(size_t n);

static void
push_id(Encoder *e, int32_t id)
{
	if (e->count < e->capacity)
		e->ids[e->count] = id;
	e->count++;
}

/* Where the bytes of a token begin, and one of them. */
static size_t
token_begin(int32_t id)
{
	size_t at = token_start[id / TOKEN_STRIDE];

	for (int32_t before = id / TOKEN_STRIDE * TOKEN_STRIDE; before < id; before++)
		at += token_size[before];
	return at;
}

static unsigned char
token_byte(size_t at)
{
	return (unsigned char)token_text[at / TEXT_ROW][at % TEXT_ROW];
}

/* memcmp would be the only thing besides memcpy and memset that a machine must bring. */
static int
begins_with(const unsigned char *text, const char *word, size_t n)
{
	size_t i = 0;

	while (i < n && text[i] == (unsigned char)word[i])
		i++;
	return i == n;
}

/* Whether special tokens are parsed in all of [at, at + n) of the text. */
static int
parses_special(const Encoder *e, const unsigned char *at, size_t n)
{
	const size_t from = (size_t)(at - e->text);
	size_t part = 0;

	while (e->ends[part] <= from)
		part++;
	return part % 2 == 0 && from + n <= e->ends[part];
}

/* The special token of a level that begins text[n], the longest; -1: none does. */
static int
special_at(const Encoder *e, int level, const unsigned char *text, size_t n)
{
	for (int k = special_level[level]; k < special_level[level + 1]; k++)
		if (specials[k].size <= n &&
		    begins_with(text, specials[k].text, specials[k].size) &&
		    (specials[k].always || parses_special(e, text, specials[k].size)))
			return k;
	return -1;
}

/* Offset of the first special token of a level in text[n], n if there is none. */
static size_t
special_find(const Encoder *e, int level, const unsigned char *text, size_t n)
{
	for (size_t at = 0; at < n; at++)
		if (special_first[text[at]] && special_at(e, level, text + at, n - at) >= 0)
			return at;
	return n;
}

/*
 * Cuts the text at special tokens of levels [first, last): all of the first level, in what remains
 * those of the next, and so on; `encode` gets what remains at last. end[k] is the end of the
 * fragment in which those of level first + k are looked for; a fragment that is shorter than the
 * one above ends at one.
 */
static void
encode_fragments(Encoder *e, int first, int last, const unsigned char *text, size_t n, size_t *end,
		 void (*encode)(Encoder *, const unsigned char *, size_t))
{
	const int depth = last - first;
	size_t at = 0;
	int k = 0;

	end[0] = n;
	for (;;) {
		for (; k < depth; k++)
			end[k + 1] = at + special_find(e, first + k, text + at, end[k] - at);
		if (at < end[k])
			encode(e, text + at, end[k] - at);
		e->begun = 1;
		at = end[k];
		while (k > 0 && end[k] == end[k - 1])
			k--;
		if (k == 0)
			return;
		k--;
		int found = special_at(e, first + k, text + at, end[k] - at);
		push_id(e, specials[found].id);
		at += specials[found].size;
	}
}

int
@name@_has_tokenizer(void)
{
	return 1;
}

int
@name@_bos(void)
{
	return BOS;
}

int
@name@_eos(void)
{
	return EOS;
}

int
@name@_add_bos(void)
{
	return ADD_BOS;
}

size_t
@name@_encode_scratch(size_t n)
{
	const size_t normal = normal_bytes(n);
	size_t symbols, bytes;

	if (n > max_text)
		return SIZE_MAX;
	symbols = symbol_bound(n);
	/* Where size_t has 32 bits. */
	if (symbols > SIZE_MAX / 32)
		return SIZE_MAX;
	bytes = symbols * (sizeof(Symbol) + sizeof(uint32_t)) +
		rank_count(symbols) * sizeof(uint32_t);
	return bytes + (N_LEVELS + 3) * sizeof(size_t) + plain_bytes(normal ? normal : n) + normal;
}

/* Encodes a text of parts, which end at e->ends; e has its ids, and what it goes on behind. The
 * scratch is of encode_scratch(n). */
static void
encode_parts(Encoder *e, const char *text, size_t n, void *scratch)
{
	const size_t unaligned = (uintptr_t)scratch % sizeof(size_t);
	const size_t symbols = symbol_bound(n), normal = normal_bytes(n);

	e->end = (size_t *)((char *)scratch + (unaligned ? sizeof(size_t) - unaligned : 0));
	e->text = (const unsigned char *)text;
	e->rank = (uint32_t *)(e->end + N_LEVELS + 2);
	e->span = e->rank + rank_count(symbols);
	e->symbol = (Symbol *)(e->span + symbols);
	e->plain = (unsigned char *)(e->symbol + symbols);
	e->normal = e->plain + plain_bytes(normal ? normal : n);
	encode_fragments(e, 0, RAW_LEVELS, e->text, n, e->end, encode_raw);
}

long
@name@_encode(const char *text, size_t n, int32_t *ids, size_t capacity, int parse_special,
	      void *scratch, size_t scratch_bytes)
{
	const size_t ends[2] = {parse_special ? n : 0, n};
	Encoder e = {0};

	if (n > max_text || scratch_bytes < @name@_encode_scratch(n))
		return -1;
	e.ids = ids;
	e.capacity = capacity;
	e.ends = ends;
	encode_parts(&e, text, n, scratch);
	return (long)e.count;
}

/* The least and greatest second byte after `first`, and the bytes of the whole; 0: no such start.
 */
static int
utf8_start(unsigned char first, unsigned char *low, unsigned char *high)
{
	*low = first == 0xE0 ? 0xA0 : first == 0xF0 ? 0x90 : 0x80;
	*high = first == 0xED ? 0x9F : first == 0xF4 ? 0x8F : 0xBF;
	if (first < 0x80)
		return 1;
	if (first < 0xC2 || first > 0xF4)
		return 0;
	return first < 0xE0 ? 2 : first < 0xF0 ? 3 : 4;
}

static int
put_replacement(char *out)
{
	memcpy(out, replacement, REPLACEMENT_BYTES);
	return REPLACEMENT_BYTES;
}

/* One more byte; returns the bytes of text that it completes. */
static int
decode_byte(@name@_decoder *d, unsigned char byte, char *out)
{
	unsigned char low, high;
	int size, written = 0;

	if (d->n_held > 0) {
		size = utf8_start(d->held[0], &low, &high);
		if (d->n_held > 1) {
			low = 0x80;
			high = 0xBF;
		}
		if (byte >= low && byte <= high) {
			d->held[d->n_held++] = byte;
			if (d->n_held < size)
				return 0;
			memcpy(out, d->held, (size_t)size);
			d->n_held = 0;
			return size;
		}
		d->n_held = 0;
		written = put_replacement(out);
	}
	size = utf8_start(byte, &low, &high);
	if (size == 0)
		return written + put_replacement(out + written);
	if (size == 1)
		out[written++] = (char)byte;
	else
		d->held[d->n_held++] = byte;
	return written;
}

int
@name@_decode(@name@_decoder *d, int32_t id, char *out)
{
	size_t at;
	int i = 0, written = 0;

	if (id == -1) {
		written = d->n_held > 0 ? put_replacement(out) : 0;
		d->n_held = 0;
		return written;
	}
	if (id < 0 || id >= N_TOKENS)
		return -1;
	at = token_begin(id);
	if (!d->started && starts_word(id) && token_size[id] > 0)
		i = token_byte(at) == ' ';
	d->started = (d->started || token_size[id] > 0) && !(BOS_RESTARTS && id == BOS);
	for (; i < token_size[id]; i++)
		written += decode_byte(d, token_byte(at + (size_t)i), out + written);
	return written;
}

int
@name@_decode_max(void)
{
	return REPLACEMENT_BYTES * (LONGEST_TOKEN + 1);
}
