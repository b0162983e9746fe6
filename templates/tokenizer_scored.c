/*
 * llama2.c's scored BPE. Symbols are code points that are tokens, else their bytes' tokens, with a
 * space in front of a text that is not empty; of all adjacent pairs whose text is a token, the one
 * with the best score is merged, leftmost among equals. The whole text is one piece.
 */
static size_t
symbol_bound(size_t n)
{
	return n + 1;
}

static uint32_t
merge_rank(MergeIndex m)
{
	return merge_tie[m];
}

static int
starts_word(int32_t id)
{
	return id >= FIRST_BYTE + 256;
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

static void
encode_plain(Encoder *e, const unsigned char *text, size_t n)
{
	if (ADD_SPACE)
		e->symbol[e->n++] = SPACE_SYMBOL;
	for (size_t at = 0; at < n;) {
		uint32_t key = (uint32_t)text[at] << 24;
		size_t size = 1;
		/* Any byte and up to three continuation bytes. */
		for (; size < 4 && at + size < n && (text[at + size] & 0xC0) == 0x80; size++)
			key |= (uint32_t)text[at + size] << (24 - 8 * size);
		Symbol symbol = character_find(key);
		if (symbol != NO_SYMBOL) {
			e->symbol[e->n++] = symbol;
		} else {
			for (size_t i = 0; i < size; i++)
				e->symbol[e->n++] = (Symbol)(text[at + i] + FIRST_BYTE);
		}
		at += size;
	}
	encode_piece(e);
}
