/* Where SentencePiece puts a space in front of a text. */
enum { PREFIX_NONE, PREFIX_ALWAYS, PREFIX_MISSING, PREFIX_FIRST };

static int
starts_word(int32_t id)
{
	return id >= FIRST_WORD;
}

/* spaced: the text begins with one. */
static int
wants_space(const Encoder *e, int spaced)
{
	if (e->inside && !e->begun)
		return 0;
	if (add_space == PREFIX_NONE || add_space == PREFIX_ALWAYS)
		return add_space == PREFIX_ALWAYS;
	return !spaced && (add_space == PREFIX_MISSING || !e->begun);
}
