/*
 * Text that gets its spaces before special tokens of the other levels are looked for: U+2581 in
 * front, if so, and for each space. What lies between them gets none in front.
 */
static const char space_sign[] = "\xE2\x96\x81";

static size_t
put_space(unsigned char *out)
{
	memcpy(out, space_sign, sizeof space_sign - 1);
	return sizeof space_sign - 1;
}

static size_t
normal_bytes(size_t n)
{
	return (sizeof space_sign - 1) * (n + 1);
}

static void
encode_raw(Encoder *e, const unsigned char *text, size_t n)
{
	unsigned char *out = e->normal;
	size_t size = SPACE_IN_FRONT && !(e->inside && !e->begun) ? put_space(out) : 0;

	for (size_t i = 0; i < n; i++) {
		if (text[i] == ' ')
			size += put_space(out + size);
		else
			out[size++] = text[i];
	}
	encode_fragments(e, RAW_LEVELS, N_LEVELS, out, size, e->end + RAW_LEVELS + 1, encode_plain);
}
