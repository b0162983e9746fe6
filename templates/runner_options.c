/* ---- the command line ----------------------------------------------------------------------- */

typedef struct Settings {
	const char *positional; /* PROMPT or FILE; null: not given */
	const char *prompt, *prompt_file, *ids, *ids_file;
	const char *system;
	const char *device, *isa, *weights, *check_weights, *huge_pages, *out, *logits;
	const char *stop[MAX_STOPS];
	int n_stop;
	int n, answer, top_k, window, threads, ctx, batch, chunks, chunk, positions;
	int prefill, decode, reps, depth;
	double temperature, top_p, min_p, penalty;
	uint64_t seed;
	int json, special, all, ignore_eos, echo, help;
} Settings;

enum {
	IN_GENERATE = 1,
	IN_PERPLEXITY = 2,
	IN_BENCH = 4,
	IN_SELFTEST = 8,
	IN_LOGITS = 16,
	IN_ENCODE = 32,
	IN_DECODE = 64,
	IN_INFO = 128,
	IN_CHAT = 256,
	IN_SAMPLING = IN_GENERATE | IN_CHAT,
	IN_EVALUATING = IN_SAMPLING | IN_PERPLEXITY | IN_BENCH | IN_SELFTEST | IN_LOGITS,
	IN_ALL = 511
};

typedef enum OptionKind {
	OPTION_FLAG,
	OPTION_INT,
	OPTION_REAL,
	OPTION_SEED,
	OPTION_TEXT,
	OPTION_STOP
} OptionKind;

typedef struct Option {
	const char *name;
	char letter; /* 0: none */
	OptionKind kind;
	size_t offset; /* in Settings */
	double low, high;
	int commands;
	const char *value; /* name of the value in help; null for flags */
	const char *help;
} Option;

#define AT(field) offsetof(Settings, field)

static const Option options[] = {
	{"prompt", 'p', OPTION_TEXT, AT(prompt), 0, 0, IN_GENERATE, "TEXT",
	 "the prompt; - reads standard input (one final newline is dropped)"},
	{"prompt-file", 'f', OPTION_TEXT, AT(prompt_file), 0, 0, IN_GENERATE, "FILE",
	 "the prompt is a file (one final newline is dropped)"},
	{"ids", 0, OPTION_TEXT, AT(ids), 0, 0, IN_GENERATE | IN_LOGITS | IN_DECODE, "LIST",
	 "token ids instead of text: 1,2,3; nothing is put in front"},
	{"ids-file", 0, OPTION_TEXT, AT(ids_file), 0, 0, IN_GENERATE | IN_LOGITS | IN_DECODE,
	 "FILE", "token ids as text, or as little-endian int32 where the name ends in .i32"},
	{"special", 0, OPTION_FLAG, AT(special), 0, 0, IN_GENERATE | IN_ENCODE, NULL,
	 "recognise special tokens such as <|im_start|> in the text"},
	{"n", 'n', OPTION_INT, AT(n), 0, INT_MAX, IN_GENERATE, "N",
	 "tokens to generate; 0: until the context is full (256)"},
	{"system", 0, OPTION_TEXT, AT(system), 0, 0, IN_CHAT, "TEXT",
	 "what the conversation begins with, in place of the model's own (none)"},
	{"n", 'n', OPTION_INT, AT(answer), 0, INT_MAX, IN_CHAT, "N",
	 "tokens of an answer; 0: until it ends (0)"},
	{"temperature", 0, OPTION_REAL, AT(temperature), 0, 1000, IN_SAMPLING, "T",
	 "0 takes the likeliest token (0)"},
	{"top-k", 0, OPTION_INT, AT(top_k), 0, INT_MAX, IN_SAMPLING, "K",
	 "draw from the K likeliest tokens; 0: all (0)"},
	{"top-p", 0, OPTION_REAL, AT(top_p), 0, 1, IN_SAMPLING, "P",
	 "draw from the likeliest tokens that reach probability P (1)"},
	{"min-p", 0, OPTION_REAL, AT(min_p), 0, 1, IN_SAMPLING, "P",
	 "drop tokens below P times the likeliest one's probability (0)"},
	{"repetition-penalty", 0, OPTION_REAL, AT(penalty), 0.01, 100, IN_SAMPLING, "X",
	 "divide logits of tokens already there (multiply negative ones) (1)"},
	{"repetition-window", 0, OPTION_INT, AT(window), 0, INT_MAX, IN_SAMPLING, "N",
	 "latest tokens that the penalty looks at; 0: all (64)"},
	{"seed", 's', OPTION_SEED, AT(seed), 0, 0, IN_SAMPLING, "N",
	 "the same seed gives the same text on every machine (0)"},
	{"stop", 0, OPTION_STOP, AT(stop), 0, 0, IN_SAMPLING, "TEXT",
	 "end before this text; may be given up to 16 times"},
	{"ignore-eos", 0, OPTION_FLAG, AT(ignore_eos), 0, 0, IN_GENERATE, NULL,
	 "go on after the end-of-text token"},
	{"echo", 0, OPTION_FLAG, AT(echo), 0, 0, IN_GENERATE, NULL, "print the prompt in front"},
	{"chunks", 0, OPTION_INT, AT(chunks), 0, INT_MAX, IN_PERPLEXITY, "N",
	 "first N chunks only; 0: all (0)"},
	{"logits", 0, OPTION_TEXT, AT(logits), 0, 0, IN_PERPLEXITY, "FILE",
	 "also write logits of the first chunk's first positions as f32"},
	{"positions", 0, OPTION_INT, AT(positions), 1, INT_MAX, IN_PERPLEXITY, "N",
	 "how many positions --logits writes (64)"},
	{"prefill", 0, OPTION_INT, AT(prefill), 0, INT_MAX, IN_BENCH, "N",
	 "tokens of the prefill measurement; 0: none (512)"},
	{"decode", 0, OPTION_INT, AT(decode), 0, INT_MAX, IN_BENCH, "N",
	 "tokens of the decode measurement; 0: none (128)"},
	{"reps", 'r', OPTION_INT, AT(reps), 1, 1000, IN_BENCH, "N",
	 "rounds of prefill, decode and read bandwidth (5)"},
	{"depth", 'd', OPTION_INT, AT(depth), 0, INT_MAX, IN_BENCH, "N",
	 "tokens in the context before decoding (0)"},
	{"all", 0, OPTION_FLAG, AT(all), 0, 0, IN_LOGITS, NULL,
	 "logits of every token, not only of the last"},
	{"chunk", 0, OPTION_INT, AT(chunk), 0, INT_MAX, IN_LOGITS, "N",
	 "tokens a call of eval; 0: all (0)"},
	{"out", 'o', OPTION_TEXT, AT(out), 0, 0, IN_LOGITS | IN_ENCODE, "FILE",
	 "logits: f32 [positions][vocabulary]; encode: ids as int32"},
	{"ctx", 'c', OPTION_INT, AT(ctx), 1, INT_MAX, IN_SAMPLING | IN_PERPLEXITY | IN_INFO, "N",
	 "positions (what is needed; chat: 4096); perplexity: tokens a chunk (512)"},
	{"batch", 'b', OPTION_INT, AT(batch), 1, INT_MAX, IN_EVALUATING & ~IN_SELFTEST, "N",
	 "tokens evaluated at once (512, perplexity 128)"},
	{"threads", 't', OPTION_INT, AT(threads), 1, MAX_THREADS, IN_EVALUATING, "T",
	 "workers (one a usable core; selftest: 1, 2 and 5)"},
	{"device", 0, OPTION_TEXT, AT(device), 0, 0, IN_EVALUATING, "NAME[:PART]",
	 "run on a device (arc), PART of its name, not on the CPU"},
	{"isa", 0, OPTION_TEXT, AT(isa), 0, 0, IN_EVALUATING, "NAME",
	 "instruction set level (the best of this CPU; selftest: all)"},
	{"weights", 'w', OPTION_TEXT, AT(weights), 0, 0, IN_EVALUATING, "FILE",
	 "weights file instead of the linked weights"},
	{"check-weights", 0, OPTION_TEXT, AT(check_weights), 0, 0, IN_EVALUATING, "yes|no",
	 "verify the digest of a weights file (yes for --weights)"},
	{"huge-pages", 0, OPTION_TEXT, AT(huge_pages), 0, 0, IN_EVALUATING, "auto|yes|no",
	 "copy the weights into memory of huge pages (auto: from 16 MB on)"},
	{"json", 0, OPTION_FLAG, AT(json), 0, 0, IN_ALL, NULL, "print one JSON object"},
	{"help", 'h', OPTION_FLAG, AT(help), 0, 0, IN_ALL, NULL, "this text"},
};

#undef AT

enum { N_OPTIONS = sizeof options / sizeof *options };

typedef struct Command {
	const char *name;
	int bit;
	const char *positional; /* its name in help; null: none */
	const char *help;
	const char *more; /* paragraphs for the command's own help */
	int (*run)(Settings *s);
} Command;

/* Number of edits between two short words. */
static int
word_distance(const char *a, const char *b)
{
	enum { LONGEST = 32 };
	int row[LONGEST + 1], m = (int)strlen(b), i, j, diagonal, up;

	if (m > LONGEST || strlen(a) > LONGEST)
		return LONGEST;
	for (j = 0; j <= m; j++)
		row[j] = j;
	for (i = 0; a[i]; i++) {
		diagonal = row[0]++;
		for (j = 0; j < m; j++) {
			int least = diagonal + (a[i] != b[j]);
			up = row[j + 1] + 1;
			diagonal = row[j + 1];
			if (up < least)
				least = up;
			if (row[j] + 1 < least)
				least = row[j] + 1;
			row[j + 1] = least;
		}
	}
	return row[m];
}

/* Whether a word may be meant for another: few edits for its length. */
static int
word_near(const char *given, int distance)
{
	return strlen(given) > 2 && distance <= 1 + (int)strlen(given) / 4;
}

/* Reports an option that the command does not have, with the nearest that it has. */
static void
option_unknown(const Command *c, const char *given)
{
	char message[300], word[32];
	int i, best = -1, least = INT_MAX, d;

	snprintf(word, sizeof word, "%.*s", (int)(strcspn(given, "=") & 0xff), given);
	for (i = 0; i < N_OPTIONS; i++) {
		d = word_distance(word, options[i].name);
		/* One of another command serves only if it is the very word. */
		if (d < least && (options[i].commands & c->bit || d == 0)) {
			least = d;
			best = i;
		}
	}
	snprintf(message, sizeof message, "%s has no option '%s%.200s'", c->name,
		 strlen(given) > 1 ? "--" : "-", given);
	if (least == 0)
		fail(STATUS_USER, "it belongs to another command", "%s", message);
	if (word_near(word, least))
		fail_hint(STATUS_USER, message, "did you mean --%s?", options[best].name);
	fail_hint(STATUS_USER, message, "%s %s --help lists them", PROGRAM, c->name);
}

static void
option_number_fail(const Option *o, const char *text, const char *what)
{
	char message[300];

	snprintf(message, sizeof message, "--%s: '%.200s' is not %s", o->name, text, what);
	if (o->kind == OPTION_SEED)
		fail(STATUS_USER, NULL, "%s", message);
	if (o->high >= INT_MAX)
		fail_hint(STATUS_USER, message, "%.10g or more", o->low);
	fail_hint(STATUS_USER, message, "%.10g to %.10g", o->low, o->high);
}

static void
option_set(const Option *o, Settings *s, const char *text)
{
	char *field = (char *)s + o->offset, *end;
	long long whole;
	double real;

	switch (o->kind) {
	case OPTION_FLAG:
		*(int *)(void *)field = 1;
		break;
	case OPTION_TEXT:
		*(const char **)(void *)field = text;
		break;
	case OPTION_STOP:
		if (!*text)
			fail(STATUS_USER, NULL, "--stop: the text is empty");
		if (s->n_stop == MAX_STOPS)
			fail(STATUS_USER, NULL, "--stop: at most %d texts", MAX_STOPS);
		s->stop[s->n_stop++] = text;
		break;
	case OPTION_INT:
		errno = 0;
		whole = strtoll(text, &end, 10);
		if (end == text || *end || *text == ' ')
			option_number_fail(o, text, "a whole number");
		if (errno || whole < (long long)o->low || whole > (long long)o->high)
			option_number_fail(o, text, "in range");
		*(int *)(void *)field = (int)whole;
		break;
	case OPTION_SEED:
		errno = 0;
		if (*text < '0' || *text > '9')
			option_number_fail(o, text, "a whole number");
		*(uint64_t *)(void *)field = strtoull(text, &end, 10);
		if (*end)
			option_number_fail(o, text, "a whole number");
		if (errno)
			option_number_fail(o, text, "in range");
		break;
	case OPTION_REAL:
		real = strtod(text, &end);
		if (end == text || *end || *text == ' ' || real != real)
			option_number_fail(o, text, "a number");
		if (real < o->low || real > o->high)
			option_number_fail(o, text, "in range");
		*(double *)(void *)field = real;
		break;
	}
}

static const Option *
option_find(const Command *c, const char *name, size_t n, int is_letter)
{
	int i;

	for (i = 0; i < N_OPTIONS; i++) {
		if (!(options[i].commands & c->bit))
			continue;
		if (is_letter ? options[i].letter == *name
			      : strlen(options[i].name) == n && !memcmp(options[i].name, name, n))
			return &options[i];
	}
	return NULL;
}

/* Reads argv[from..argc) into s; every mistake ends the program. */
static void
options_read(const Command *c, Settings *s, int argc, char **argv, int from)
{
	const Option *o;
	const char *a, *value;
	int i, plain = 0;

	for (i = from; i < argc; i++) {
		a = argv[i];
		if (plain || a[0] != '-' || !a[1]) {
			if (!c->positional || s->positional)
				fail(STATUS_USER,
				     s->positional && c->bit == IN_GENERATE
					     ? "quote a text of several words"
					     : NULL,
				     "%s: unexpected argument '%.200s'", c->name, a);
			s->positional = a;
			continue;
		}
		if (!strcmp(a, "--")) {
			plain = 1;
			continue;
		}
		if (a[1] == '-') {
			size_t n = strcspn(a + 2, "=");
			o = option_find(c, a + 2, n, 0);
			value = a[2 + n] ? a + 3 + n : NULL;
		} else {
			o = option_find(c, a + 1, 1, 1);
			value = a[2] ? a + 2 : NULL;
		}
		if (!o)
			option_unknown(c, a[1] == '-' ? a + 2 : a + 1);
		if (o->kind == OPTION_FLAG && value)
			fail(STATUS_USER, NULL, "--%s takes no value", o->name);
		if (o->kind != OPTION_FLAG && !value) {
			if (i + 1 == argc)
				fail(STATUS_USER, NULL, "--%s needs a value (%s)", o->name,
				     o->value);
			value = argv[++i];
		}
		option_set(o, s, value);
	}
}

static void
help_print(const Command *c)
{
	Text t = {0};
	char left[64];
	int i;

	text_printf(&t, "use: %s %s%s%s [options]\n\n%s.\n", PROGRAM, c->name,
		    c->positional ? " " : "", c->positional ? c->positional : "", c->help);
	if (c->more)
		text_add(&t, c->more, strlen(c->more));
	text_printf(&t, "\noptions:\n");
	for (i = 0; i < N_OPTIONS; i++) {
		const Option *o = &options[i];
		if (!(o->commands & c->bit))
			continue;
		snprintf(left, sizeof left, "--%s%s%s", o->name, o->value ? " " : "",
			 o->value ? o->value : "");
		if (o->letter)
			text_printf(&t, "  -%c, %-26s %s\n", o->letter, left, o->help);
		else
			text_printf(&t, "      %-26s %s\n", left, o->help);
	}
	output_text(&t);
	free(t.text);
}
