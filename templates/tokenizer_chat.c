/*
 * Conversations: a turn's text is put together from the texts of the form, which the generator
 * printed, and those of people, and encoded as one; special tokens are parsed in the former only.
 */
enum { WHITE_LEFT = 1, WHITE_RIGHT = 2, TURN_PARTS = 5 };

/* A turn's text at work: parts of the form and of people alternate. */
typedef struct Turn {
	char *text;
	size_t n;
	size_t ends[TURN_PARTS];
	int parts;
} Turn;

/* Bytes of the white space that s[0..n) begins with, one character as Unicode has them; 0: none. */
static size_t
white_size(const unsigned char *s, size_t n)
{
	if (n > 0 && ((s[0] >= 9 && s[0] <= 13) || (s[0] >= 0x1C && s[0] <= ' ')))
		return 1;
	if (n > 1 && s[0] == 0xC2 && (s[1] == 0x85 || s[1] == 0xA0))
		return 2;
	if (n < 3)
		return 0;
	if (s[0] == 0xE2 && s[1] == 0x80)
		return (s[2] >= 0x80 && s[2] <= 0x8A) || s[2] == 0xA8 || s[2] == 0xA9 ||
				       s[2] == 0xAF
			       ? 3
			       : 0;
	return (s[0] == 0xE1 && s[1] == 0x9A && s[2] == 0x80) ||
			       (s[0] == 0xE2 && s[1] == 0x81 && s[2] == 0x9F) ||
			       (s[0] == 0xE3 && s[1] == 0x80 && s[2] == 0x80)
		       ? 3
		       : 0;
}

static void
turn_add(Turn *t, const char *text, size_t n)
{
	if (n > 0)
		memcpy(t->text + t->n, text, n);
	t->n += n;
	t->ends[t->parts++] = t->n;
}

/* A text of people, without the white space that the form takes. */
static void
turn_add_trimmed(Turn *t, const char *text, size_t n, int white)
{
	const unsigned char *s = (const unsigned char *)text;
	size_t size = 1;

	while (white & WHITE_LEFT && (size = white_size(s, n)) > 0) {
		s += size;
		n -= size;
	}
	for (size = 1; white & WHITE_RIGHT && size <= 3 && size <= n;) {
		if (white_size(s + n - size, size) == size) {
			n -= size;
			size = 1;
		} else {
			size++;
		}
	}
	turn_add(t, (const char *)s, n);
}

const char *
@name@_chat(void)
{
	return chat_name;
}

const char *
@name@_chat_why(void)
{
	return chat_why;
}

const char *
@name@_chat_system_why(void)
{
	return chat_system_why;
}

int
@name@_chat_ends(int32_t id)
{
	return id >= 0 && (id == EOS || id == CHAT_END || id == CHAT_EOT);
}

size_t
@name@_chat_scratch(size_t n)
{
	size_t all = n + CHAT_LONGEST, encoding;

	if (n > max_text / 2)
		return SIZE_MAX;
	encoding = @name@_encode_scratch(all);
	return encoding > SIZE_MAX - all ? SIZE_MAX : encoding + all;
}

long
@name@_chat_turn(int first, const char *system, size_t n_system, const char *user, size_t n_user,
		 int32_t *ids, size_t capacity, void *scratch, size_t scratch_bytes)
{
	Encoder e = {0};
	Turn t = {0};

	if (!chat_name || n_system > max_text || n_user > max_text ||
	    scratch_bytes < @name@_chat_scratch(n_system + n_user) ||
	    (system && (!first || chat_system_why)))
		return -1;
	t.text = scratch;
	if (system) {
		turn_add(&t, chat_system.text, chat_system.size);
		turn_add_trimmed(&t, system, n_system, CHAT_TRIM_SYSTEM);
		turn_add(&t, chat_behind_system.text, chat_behind_system.size);
	} else if (first) {
		turn_add(&t, chat_open.text, chat_open.size);
	} else {
		turn_add(&t, chat_next.text, chat_next.size);
	}
	turn_add_trimmed(&t, user, n_user, system ? CHAT_TRIM_FIRST : CHAT_TRIM_USER);
	turn_add(&t, chat_reply.text, chat_reply.size);
	e.ids = ids;
	e.capacity = capacity;
	e.ends = t.ends;
	e.inside = !first;
	if (first && CHAT_BOS)
		push_id(&e, BOS);
	encode_parts(&e, t.text, t.n, t.text + t.n);
	return (long)e.count;
}
