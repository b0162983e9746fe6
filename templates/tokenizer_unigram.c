/*
 * SentencePiece's unigram model as the package tokenizers searches it. Of the ways to cut a text
 * into tokens the one is taken whose scores have the greatest sum; sums are of doubles from the
 * front on, and of equal ones the first stays that is found, going by where its last token begins.
 * A code point that is no token may be unknown, at UNKNOWN_SCORE. Neighbouring unknown ones are one
 * text: the token that it is, else the tokens of its bytes if all of them have one, else UNK.
 *
 * In work a space stands for U+2581, which stands for a space, and U+FFFD for each byte that is no
 * UTF-8. symbol and span are, at a position of it, the token that ends there and its length; once
 * the way is known, those that begin there.
 */
static const unsigned char space_text[] = {0xE2, 0x96, 0x81};

static size_t
symbol_bound(size_t n)
{
	return REPLACEMENT_BYTES * n + 2;
}

static size_t
rank_count(size_t n)
{
	(void)n;
	return 0;
}

/* The text at work, and a score for each position of it. */
static size_t
plain_bytes(size_t n)
{
	return symbol_bound(n) * (sizeof(double) + 1) + sizeof(double);
}

/* The bytes of the code point that begins text[n], 0: it is no UTF-8. */
static size_t
utf8_bytes(const unsigned char *text, size_t n)
{
	unsigned char low, high;
	const size_t size = (size_t)utf8_start(text[0], &low, &high);

	if (size > n || (size > 1 && (text[1] < low || text[1] > high)))
		return 0;
	for (size_t i = 2; i < size; i++)
		if ((text[i] & 0xC0) != 0x80)
			return 0;
	return size;
}

/* Writes text[n] as it is searched; returns its bytes. */
static size_t
put_work(const unsigned char *text, size_t n, unsigned char *out)
{
	size_t written = 0;

	for (size_t at = 0, size; at < n; at += size) {
		size = utf8_bytes(text + at, n - at);
		if (size == 0) {
			written += (size_t)put_replacement((char *)out + written);
			size = 1;
		} else if (size == sizeof space_text &&
			   begins_with(text + at, (const char *)space_text, size)) {
			out[written++] = ' ';
		} else {
			memcpy(out + written, text + at, size);
			written += size;
		}
	}
	return written;
}

/* The child of a node by its byte; 0: none. */
static uint32_t
trie_step(uint32_t node, unsigned char byte)
{
	uint32_t low = trie_child[node], high = trie_child[node + 1];

	while (low < high) {
		uint32_t middle = low + (high - low) / 2;
		if (trie_byte[middle] == byte)
			return middle;
		if (trie_byte[middle] < byte)
			low = middle + 1;
		else
			high = middle;
	}
	return 0;
}

/* A token, or unknown text, that would end the best way to `end`. */
static void
offer(Encoder *e, double *score, size_t at, size_t end, Symbol symbol, double more)
{
	const double sum = score[at] + more;

	if (e->span[end] > 0 && !(sum > score[end]))
		return;
	score[end] = sum;
	e->symbol[end] = symbol;
	e->span[end] = (uint32_t)(end - at);
}

/* The best way to each position of text[n]; those within a code point have none. */
static void
search(Encoder *e, const unsigned char *text, size_t n, double *score)
{
	unsigned char low, high;

	memset(e->span, 0, (n + 1) * sizeof *e->span);
	score[0] = 0;
	for (size_t at = 0, size; at < n; at += size) {
		uint32_t node = 0;
		int whole = 0;
		size = (size_t)utf8_start(text[at], &low, &high);
		for (size_t end = at; end < n && (node = trie_step(node, text[end])) > 0;) {
			end++;
			if (trie_token[node] == NO_SYMBOL)
				continue;
			offer(e, score, at, end, trie_token[node], token_score[trie_token[node]]);
			whole |= end == at + size;
		}
		if (!whole)
			offer(e, score, at, at + size, UNK, unknown_score);
	}
}

/* Turns the way that ends at n around, to be followed from the front. */
static void
turn_around(Encoder *e, size_t n)
{
	Symbol symbol = e->symbol[n];
	uint32_t span = e->span[n];

	while (n > 0) {
		const size_t begin = n - span;
		const Symbol before = e->symbol[begin];
		const uint32_t length = e->span[begin];
		e->symbol[begin] = symbol;
		e->span[begin] = span;
		symbol = before;
		span = length;
		n = begin;
	}
}

/* The token that is text[n]. */
static Symbol
token_of(const unsigned char *text, size_t n)
{
	uint32_t node = 0;

	for (size_t i = 0; i < n; i++) {
		node = trie_step(node, text[i]);
		if (node == 0)
			return NO_SYMBOL;
	}
	return trie_token[node];
}

/* Gives out the tokens of bytes; 0: one of them has none. */
static int
push_bytes(Encoder *e, const unsigned char *bytes, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (byte_symbol[bytes[i]] == NO_SYMBOL)
			return 0;
		push_id(e, byte_symbol[bytes[i]]);
	}
	return 1;
}

static void
push_unknown(Encoder *e, const unsigned char *text, size_t n)
{
	const size_t before = e->count;
	const Symbol symbol = token_of(text, n);
	int spelled = symbol == NO_SYMBOL;

	for (size_t i = 0; spelled && i < n; i++)
		spelled = text[i] == ' ' ? push_bytes(e, space_text, sizeof space_text)
					 : push_bytes(e, text + i, 1);
	if (spelled)
		return;
	e->count = before;
	push_id(e, symbol == NO_SYMBOL ? UNK : (int32_t)symbol);
}

static void
encode_word(Encoder *e, const unsigned char *text, size_t n, double *score)
{
	search(e, text, n, score);
	turn_around(e, n);
	for (size_t at = 0, end; at < n; at = end) {
		end = at + e->span[at];
		if (e->symbol[at] != UNK) {
			push_id(e, e->symbol[at]);
			continue;
		}
		while (end < n && e->symbol[end] == UNK)
			end += e->span[end];
		push_unknown(e, text + at, end - at);
	}
}

static void
encode_plain(Encoder *e, const unsigned char *text, size_t n)
{
	unsigned char *work = e->plain;
	size_t size = put_work(text, n, work + 1), unaligned;

	if (wants_space(e, work[1] == ' ')) {
		work[0] = ' ';
		size++;
	} else {
		work++;
	}
	unaligned = (uintptr_t)(work + size) % sizeof(double);
	for (size_t at = 0, end; at < size; at = end) {
		for (end = at + 1; end < size && !(SPLIT_WORDS && work[end] == ' ');)
			end++;
		encode_word(e, work + at, end - at,
			    (double *)(work + size + (unaligned ? sizeof(double) - unaligned : 0)));
	}
}
