/* Text that is not normalized. */
static size_t
normal_bytes(size_t n)
{
	(void)n;
	return 0;
}

static void
encode_raw(Encoder *e, const unsigned char *text, size_t n)
{
	encode_plain(e, text, n);
}
