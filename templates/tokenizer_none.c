/* This model was compiled without a tokenizer: texts are ids. */

int
@name@_has_tokenizer(void)
{
	return 0;
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
	(void)n;
	return 0;
}

long
@name@_encode(const char *text, size_t n, int32_t *ids, size_t capacity, int parse_special,
	      void *scratch, size_t scratch_bytes)
{
	(void)text;
	(void)n;
	(void)ids;
	(void)capacity;
	(void)parse_special;
	(void)scratch;
	(void)scratch_bytes;
	return -1;
}

int
@name@_decode(@name@_decoder *d, int32_t id, char *out)
{
	(void)d;
	(void)id;
	(void)out;
	return -1;
}

int
@name@_decode_max(void)
{
	return 0;
}

const char *
@name@_chat(void)
{
	return NULL;
}

const char *
@name@_chat_why(void)
{
	return "the model was compiled without a tokenizer";
}

const char *
@name@_chat_system_why(void)
{
	return @name@_chat_why();
}

int
@name@_chat_ends(int32_t id)
{
	(void)id;
	return 0;
}

size_t
@name@_chat_scratch(size_t n)
{
	(void)n;
	return 0;
}

long
@name@_chat_turn(int first, const char *system, size_t n_system, const char *user, size_t n_user,
		 int32_t *ids, size_t capacity, void *scratch, size_t scratch_bytes)
{
	(void)first;
	(void)system;
	(void)n_system;
	(void)user;
	(void)n_user;
	(void)ids;
	(void)capacity;
	(void)scratch;
	(void)scratch_bytes;
	return -1;
}
