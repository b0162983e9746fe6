/* ---- generate ------------------------------------------------------------------------------- */

typedef struct Generation {
	const Settings *s;
	Ids ids; /* the prompt, then what was generated */
	size_t n_prompt;
	@name@_decoder decoder;
	char *piece;		 /* [@name@_decode_max()] */
	Text held;		 /* decoded, not yet shown: may be the start of a stop text */
	Text shown;		 /* all that was shown, for --json */
	int stopped;		 /* a stop text was found */
	int (*ends)(int32_t id); /* of a token, beside EOS; null: none does */
	int best_only;		 /* the device looks for the likeliest token itself */
	int32_t best;
	const char *reason;
	double prefill_s, decode_s, first_s;
} Generation;

/* Shows the first n bytes that are held. */
static void
generation_show(Generation *g, size_t n)
{
	if (!n)
		return;
	if (g->s->json)
		text_add(&g->shown, g->held.text, n);
	else
		output_write(g->held.text, n);
	text_drop(&g->held, n);
}

/* Bytes from `at` on in text that may still become a stop text; all of it found: *found. */
static size_t
stop_match(const Text *t, size_t at, const Settings *s, int *found)
{
	size_t left = t->size - at, n;
	int i;

	*found = 0;
	for (i = 0; i < s->n_stop; i++) {
		n = strlen(s->stop[i]);
		if (n <= left && !memcmp(t->text + at, s->stop[i], n))
			*found = 1;
		else if (n <= left || memcmp(t->text + at, s->stop[i], left))
			continue;
		return left;
	}
	return 0;
}

/*
 * Takes decoded bytes. Shows all that cannot belong to a stop text; a stop text ends the
 * generation at its first byte, the earliest one where several are there.
 */
static void
generation_push(Generation *g, const char *bytes, int n)
{
	size_t at, wait = 0;
	int found;

	if (n <= 0 || g->stopped)
		return;
	text_add(&g->held, bytes, (size_t)n);
	for (at = 0; at < g->held.size; at++) {
		size_t left = stop_match(&g->held, at, g->s, &found);
		if (found) {
			generation_show(g, at);
			g->held.size = 0;
			g->stopped = 1;
			return;
		}
		if (left > wait)
			wait = left;
	}
	generation_show(g, g->held.size - wait);
}

static void
prompt_ids(const Settings *s, Ids *ids)
{
	const char *prompt = s->prompt ? s->prompt : s->positional;
	int given = !!s->positional + !!s->prompt + !!s->prompt_file + !!s->ids + !!s->ids_file;
	Text text = {0};

	if (!given)
		fail(STATUS_USER,
		     "generate 'Once upon a time', --prompt-file FILE, -p - or --ids 1,2,3",
		     "no prompt");
	if (given > 1)
		fail(STATUS_USER, NULL,
		     "more than one prompt (of PROMPT, --prompt, --prompt-file, --ids, "
		     "--ids-file)");
	if (s->ids || s->ids_file) {
		if (s->ids)
			ids_parse(ids, s->ids, "--ids");
		else
			ids_read(ids, s->ids_file);
	} else {
		tokenizer_need();
		if (s->prompt_file || !strcmp(prompt, "-")) {
			text = file_read(s->prompt_file ? s->prompt_file : "-");
			if (text.size && text.text[text.size - 1] == '\n')
				text.size--;
		} else {
			text_add(&text, prompt, strlen(prompt));
		}
		if (@name@_add_bos() && @name@_bos() >= 0)
			ids_add(ids, @name@_bos());
		ids_encode(ids, text.text, text.size, s->special);
		free(text.text);
	}
	if (!ids->n)
		fail(STATUS_USER, NULL,
		     "the prompt is empty and the model puts no token in front of a text");
}

/* Shows one generated id: its text, or the id itself where there is no tokenizer. */
static void
generation_token(Generation *g, int32_t id)
{
	char number[16];

	ids_add(&g->ids, id);
	if (@name@_has_tokenizer()) {
		generation_push(g, g->piece, @name@_decode(&g->decoder, id, g->piece));
	} else if (!g->s->json) {
		snprintf(number, sizeof number, g->ids.n == g->n_prompt + 1 ? "%d" : " %d",
			 (int)id);
		output_write(number, strlen(number));
	}
}

/* The decoder must have seen the prompt: it may end inside a character. */
static void
generation_prompt(Generation *g)
{
	size_t i;
	int n;

	if (!@name@_has_tokenizer())
		return;
	for (i = 0; i < g->n_prompt; i++) {
		n = @name@_decode(&g->decoder, g->ids.ids[i], g->piece);
		if (n > 0 && g->s->echo) {
			text_add(&g->held, g->piece, (size_t)n);
			generation_show(g, g->held.size);
		}
	}
}

/* Positions that the context gets: what was asked for, or what prompt and text need. */
static int
generation_ctx(const Settings *s, size_t n_prompt)
{
	char message[200];
	size_t need = n_prompt + (size_t)s->n;

	if (s->ctx)
		ctx_check(s->ctx, "--ctx");
	if (n_prompt > (size_t)(s->ctx ? s->ctx : N_CTX)) {
		snprintf(message, sizeof message,
			 "the prompt's %zu tokens do not fit in %d positions", n_prompt,
			 s->ctx ? s->ctx : N_CTX);
		if (s->ctx)
			fail_hint(STATUS_USER, message, "the model knows up to %d (--ctx)", N_CTX);
		fail(STATUS_USER, NULL, "%s", message);
	}
	if (s->ctx)
		return s->ctx;
	return !s->n || need > N_CTX ? N_CTX : (int)need;
}

/* Evaluates tokens for the next one: logits, or the likeliest token alone. */
static void
generation_eval(Generation *g, Model *m, const int32_t *ids, int n, float *logits)
{
	float logit;
	int e;

	if (!g->best_only) {
		model_eval(m, ids, n, logits, 0);
		return;
	}
	e = m->device->eval_best(m->m, ids, n, &g->best, &logit);
	if (e)
		model_fail(m, "eval", e);
	if (!(fabsf(logit) < INFINITY))
		fail(STATUS_BUG, NULL, "the model gave no finite largest logit after %d tokens",
		     model_n_past(m));
}

static int
generation_ends(const Generation *g, int32_t id)
{
	return (id == @name@_eos() && !g->s->ignore_eos) || (g->ends && g->ends(id));
}

/* Evaluates of the prompt what the context lacks, a batch at a time so that Ctrl-C ends it soon. */
static void
generation_prefill(Generation *g, Model *m, float *logits)
{
	double start = now();
	size_t at, n;

	for (at = (size_t)model_n_past(m); at < g->n_prompt && !process.interrupted; at += n) {
		n = g->n_prompt - at < (size_t)m->n_batch ? g->n_prompt - at : (size_t)m->n_batch;
		if (at + n == g->n_prompt)
			generation_eval(g, m, g->ids.ids + at, (int)n, logits);
		else
			model_eval(m, g->ids.ids + at, (int)n, NULL, 0);
	}
	g->prefill_s = now() - start;
}

static void
generation_run(Generation *g, Model *m, Sampler *sampler, float *logits)
{
	double start = now();
	int i, limit = g->s->n ? g->s->n : INT_MAX;
	int32_t id;

	g->reason = "length";
	for (i = 0; i < limit; i++) {
		if (process.interrupted) {
			g->reason = "interrupt";
			break;
		}
		id = g->best_only ? g->best
				  : sampler_next(sampler, logits, g->ids.ids, (int)g->ids.n);
		if (generation_ends(g, id)) {
			g->reason = "eos";
			break;
		}
		generation_token(g, id);
		if (g->stopped) {
			g->reason = "stop";
			break;
		}
		if (g->ids.n > (size_t)m->n_ctx) {
			g->reason = "context";
			break;
		}
		if (i + 1 < limit)
			generation_eval(g, m, &id, 1, logits);
	}
	g->decode_s = now() - start;
	if (@name@_has_tokenizer() && !g->stopped) {
		generation_push(g, g->piece, @name@_decode(&g->decoder, -1, g->piece));
		if (!g->stopped)
			generation_show(g, g->held.size);
	}
}

static double
rate(double n, double seconds)
{
	return n > 0 && seconds > 0 ? n / seconds : NAN;
}

/* What every JSON object of an evaluating command starts with. */
static void
json_model(Text *t, const Model *m)
{
	text_add(t, "{", 1);
	json_put_string(t, "model", PROGRAM);
	json_put_string(t, "isa", m->isa);
	if (m->what != m->isa)
		json_put_string(t, "device", m->what);
	json_put_number(t, "threads", m->threads);
}

static void
generation_report(Generation *g, const Model *m)
{
	size_t n = g->ids.n - g->n_prompt;
	/* The last token shown is never evaluated. */
	int evaluated = model_n_past(m) - (int)g->n_prompt;
	double prefill = rate(process.interrupted ? 0 : (double)g->n_prompt, g->prefill_s);
	double decode = rate(evaluated, g->decode_s), bytes = (double)@name@_bytes_per_token();
	Text t = {0};

	if (g->s->json) {
		json_model(&t, m);
		json_key(&t, "text");
		json_string(&t, g->shown.text ? g->shown.text : "", g->shown.size);
		json_put_ids(&t, "prompt_ids", g->ids.ids, (int)g->n_prompt);
		json_put_ids(&t, "ids", g->ids.ids + g->n_prompt, (int)n);
		json_put_string(&t, "end", g->reason);
		json_put_number(&t, "prefill_tok_s", prefill);
		json_put_number(&t, "decode_tok_s", decode);
		json_put_number(&t, "bytes_per_token", bytes);
		json_put_number(&t, "decode_gb_s", decode * bytes * 1e-9);
		json_put_number(&t, "first_logits_s", g->first_s);
		text_printf(&t, "}\n");
		output_text(&t);
	} else {
		output_write("\n", 1);
		text_printf(&t, "%s: prompt %zu tokens", PROGRAM, g->n_prompt);
		if (prefill > 0)
			text_printf(&t, " at %.1f tok/s", prefill);
		text_printf(&t, "; generated %zu", n);
		if (decode > 0)
			text_printf(&t, " at %.1f tok/s, %.2f MB a token, %.2f GB/s", decode,
				    bytes * 1e-6, decode * bytes * 1e-9);
		text_printf(&t, " (%s, %d thread%s, end: %s)\n", m->what, m->threads,
			    m->threads == 1 ? "" : "s", g->reason);
		fputs(t.text, stderr);
	}
	free(t.text);
}

static void
sampler_open(Sampler *sampler, const Settings *s)
{
	memset(sampler, 0, sizeof *sampler);
	sampler->temperature = s->temperature;
	sampler->top_k = s->top_k;
	sampler->top_p = s->top_p;
	sampler->min_p = s->min_p;
	sampler->penalty = s->penalty;
	sampler->window = s->window;
	sampler->state = s->seed;
	sampler_new(sampler);
}

static int
run_generate(Settings *s)
{
	Place place = place_of(s);
	double start = now();
	Generation g;
	Sampler sampler;
	Weights w;
	Model m;
	float *logits;
	int n_ctx, batch;

	memset(&g, 0, sizeof g);
	g.s = s;
	prompt_ids(s, &g.ids);
	g.n_prompt = g.ids.n;
	n_ctx = generation_ctx(s, g.n_prompt);
	batch = s->batch ? s->batch : 512;
	batch = (size_t)batch < g.n_prompt ? batch : (int)g.n_prompt;
	weights_open(&w, s);
	model_open(&m, &w, n_ctx, batch, &place);
	logits = memory(N_VOCAB, sizeof *logits);
	g.piece = memory((size_t)@name@_decode_max() + 1, 1);
	sampler_open(&sampler, s);
	g.best_only = m.device->eval_best && sampler_greedy(&sampler);
	process.polled = POLLED_ONCE;
	generation_prompt(&g);
	generation_prefill(&g, &m, logits);
	g.first_s = now() - start;
	generation_run(&g, &m, &sampler, logits);
	generation_report(&g, &m);
	model_close(&m);
	sampler_free(&sampler);
	free(logits);
	free(g.piece);
	free(g.held.text);
	free(g.shown.text);
	free(g.ids.ids);
	return process.interrupted ? STATUS_INTERRUPTED : STATUS_OK;
}
