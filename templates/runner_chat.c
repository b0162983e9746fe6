/* ---- chat ----------------------------------------------------------------------------------- */

enum { CHAT_CTX = 4096 };

/* A line of standard input, without its end: 1; 0: there are no more; -1: interrupted. */
static int
line_read(Text *line)
{
	char byte;
	int c;

	line->size = 0;
	text_add(line, "", 0);
	for (;;) {
		errno = 0;
		c = getc(stdin);
		if (c == '\n')
			return 1;
		if (c == EOF && !ferror(stdin))
			return line->size > 0;
		if (c == EOF && errno != EINTR)
			fail(STATUS_ENVIRONMENT, NULL, "cannot read standard input: %s",
			     strerror(errno));
		if (c == EOF) {
			clearerr(stdin);
			return -1;
		}
		byte = (char)c;
		text_add(line, &byte, 1);
	}
}

/* The next text of the user that is not empty; 0: there are no more, or the program is to end.
 * Ctrl-C empties the line. */
static int
chat_line(Text *line, int terminal)
{
	int got;

	for (;;) {
		process.interrupted = 0;
		if (terminal)
			fputs("> ", stderr);
		got = line_read(line);
		if (got == 1 && !line->size)
			continue;
		if (got == 1)
			return 1;
		if (terminal)
			fputc('\n', stderr);
		if (got == 0 || process.interrupted == SIGTERM)
			return 0;
	}
}

/* Appends the ids of a turn. */
static void
chat_ids(Ids *t, const char *system, const Text *line)
{
	const size_t n_system = system ? strlen(system) : 0;
	const size_t bytes = @name@_chat_scratch(n_system + line->size);
	const int first = !t->n;
	void *scratch;
	int32_t *ids;
	long count, i;

	if (bytes == SIZE_MAX)
		fail(STATUS_USER, NULL, "a text of %zu bytes is more than the tokenizer takes",
		     n_system + line->size);
	scratch = memory(bytes, 1);
	count = @name@_chat_turn(first, system, n_system, line->text, line->size, NULL, 0, scratch,
				 bytes);
	if (count < 0)
		fail(STATUS_BUG, NULL, "the tokenizer failed on %zu bytes", line->size);
	ids = memory((size_t)count, sizeof *ids);
	@name@_chat_turn(first, system, n_system, line->text, line->size, ids, (size_t)count,
			 scratch, bytes);
	for (i = 0; i < count; i++)
		ids_add(t, ids[i]);
	free(ids);
	free(scratch);
}

static void
chat_report(Generation *g, const Model *m, size_t begin)
{
	Text t = {0};

	if (!g->s->json) {
		output_write("\n", 1);
		return;
	}
	json_model(&t, m);
	json_key(&t, "text");
	json_string(&t, g->shown.text ? g->shown.text : "", g->shown.size);
	json_put_ids(&t, "prompt_ids", g->ids.ids + begin, (int)(g->n_prompt - begin));
	json_put_ids(&t, "ids", g->ids.ids + g->n_prompt, (int)(g->ids.n - g->n_prompt));
	json_put_string(&t, "end", g->reason);
	json_put_number(&t, "context", model_n_past(m));
	text_printf(&t, "}\n");
	output_text(&t);
	free(t.text);
}

static void
chat_full(const Model *m, size_t tokens)
{
	char message[200];

	snprintf(message, sizeof message,
		 "the context is full: the conversation's %zu tokens do not fit in %d positions",
		 tokens, m->n_ctx);
	if (m->n_ctx < N_CTX)
		fail_hint(STATUS_USER, message, "the model knows up to %d (--ctx)", N_CTX);
	fail(STATUS_USER, "begin a new conversation", "%s", message);
}

/*
 * One turn: of what the context holds nothing is evaluated again. A turn that is interrupted before
 * its answer begins leaves no trace.
 */
static void
chat_turn(Generation *g, Model *m, Sampler *sampler, const Text *line, float *logits)
{
	const size_t begin = g->ids.n;
	const int past = model_n_past(m);

	chat_ids(&g->ids, begin ? NULL : g->s->system, line);
	g->n_prompt = g->ids.n;
	if (g->n_prompt > (size_t)m->n_ctx)
		chat_full(m, g->n_prompt);
	memset(&g->decoder, 0, sizeof g->decoder);
	g->held.size = g->shown.size = 0;
	g->stopped = 0;
	generation_prefill(g, m, logits);
	if ((size_t)model_n_past(m) < g->n_prompt) {
		model_truncate(m, past);
		g->ids.n = begin;
		output_write("\n", g->s->json ? 0 : 1);
		return;
	}
	generation_run(g, m, sampler, logits);
	chat_report(g, m, begin);
	if (!strcmp(g->reason, "context"))
		chat_full(m, g->ids.n);
}

static void
chat_check(const Settings *s)
{
	if (!@name@_chat())
		fail(STATUS_USER, "generate continues a text", "no chat: %s", @name@_chat_why());
	if (s->system && @name@_chat_system_why())
		fail(STATUS_USER, NULL, "--system: the model's chat template takes none: %s",
		     @name@_chat_system_why());
	if (s->ctx)
		ctx_check(s->ctx, "--ctx");
}

static int
run_chat(Settings *s)
{
	const int terminal = isatty(STDIN_FILENO);
	const int most = (int)N_CTX < (int)CHAT_CTX ? N_CTX : CHAT_CTX;
	Place place = place_of(s);
	Generation g;
	Sampler sampler;
	Weights w;
	Model m;
	Text line = {0};
	float *logits;

	chat_check(s);
	s->n = s->answer;
	memset(&g, 0, sizeof g);
	g.s = s;
	g.ends = @name@_chat_ends;
	weights_open(&w, s);
	model_open(&m, &w, s->ctx ? s->ctx : most, s->batch ? s->batch : 512, &place);
	logits = memory(N_VOCAB, sizeof *logits);
	g.piece = memory((size_t)@name@_decode_max() + 1, 1);
	sampler_open(&sampler, s);
	g.best_only = m.device->eval_best && sampler_greedy(&sampler);
	process.polled = POLLED_ALWAYS;
	while (process.interrupted != SIGTERM && chat_line(&line, terminal))
		chat_turn(&g, &m, &sampler, &line, logits);
	model_close(&m);
	sampler_free(&sampler);
	free(logits);
	free(line.text);
	free(g.piece);
	free(g.held.text);
	free(g.shown.text);
	free(g.ids.ids);
	return process.interrupted == SIGTERM ? STATUS_INTERRUPTED : STATUS_OK;
}
