/*
 * SentencePiece's BPE, of a tokenizer.json or of llama2.c. Symbols are code points that are tokens,
 * else their bytes' tokens, perhaps with a space in front; of all adjacent pairs that have a merge,
 * the one with the best is merged, leftmost among equals. The whole text is one piece, or each word
 * with the space before it.
 */
static size_t
symbol_bound(size_t n)
{
	return n + 1;
}

static size_t
plain_bytes(size_t n)
{
	(void)n;
	return 0;
}

static uint32_t
merge_rank(MergeIndex m)
{
	return HAS_TIES ? merge_tie[m] : m;
}

/* The token of a code point's bytes, packed from the top of key. */
static Symbol
character_find(uint32_t key)
{
	int low = 0, high = N_CHARACTERS;

	while (low < high) {
		int middle = (low + high) / 2;
		if (characters[middle].key < key)
			low = middle + 1;
		else
			high = middle;
	}
	return low < N_CHARACTERS && characters[low].key == key ? characters[low].symbol
								: NO_SYMBOL;
}

/* The character at text[n], n > 0, as character_find wants it: any byte and up to three
 * continuation bytes; returns its bytes. */
static size_t
character_at(const unsigned char *text, size_t n, uint32_t *key)
{
	size_t size = 1;

	*key = (uint32_t)text[0] << 24;
	for (; size < 4 && size < n && (text[size] & 0xC0) == 0x80; size++)
		*key |= (uint32_t)text[size] << (24 - 8 * size);
	return size;
}

static int
begins_spaced(const unsigned char *text, size_t n)
{
	uint32_t key;

	character_at(text, n, &key);
	return character_find(key) == SPACE_SYMBOL;
}

static void
encode_plain(Encoder *e, const unsigned char *text, size_t n)
{
	if (wants_space(e, begins_spaced(text, n)))
		e->symbol[e->n++] = SPACE_SYMBOL;
	for (size_t at = 0; at < n;) {
		uint32_t key;
		size_t size = character_at(text + at, n - at, &key);
		Symbol symbol = character_find(key);
		if (SPLIT_WORDS && symbol == SPACE_SYMBOL)
			encode_piece(e);
		if (symbol != NO_SYMBOL) {
			e->symbol[e->n++] = symbol;
		} else {
			for (size_t i = 0; i < size; i++)
				e->symbol[e->n++] = byte_symbol[text[at + i]];
		}
		at += size;
	}
	encode_piece(e);
}
