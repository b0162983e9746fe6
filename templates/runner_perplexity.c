/* ---- perplexity ----------------------------------------------------------------------------- */

/*
 * The figure of llama.cpp's llama-perplexity: the text (without one final newline) is tokenized
 * whole, special tokens not parsed; chunks of ctx tokens do not overlap, each starts an empty
 * context, its first token replaced by BOS where the model adds one; logits at positions
 * ctx/2 .. ctx-2 score the tokens after them. nll = -(l[t] - max - log(sum expf(l - max))), the
 * sum in double; perplexity = exp(mean nll), +/- perplexity * sqrt(variance / (count - 1)).
 */
typedef struct Perplexity {
	const Settings *s;
	Ids ids;
	int ctx, first, chunks;
	float *logits;	  /* [n_batch][N_VOCAB] */
	double *nll;	  /* [ctx] of the chunk's positions */
	double sum, sum2; /* of nll and its square */
	double *running;  /* [chunks] */
	long count;
} Perplexity;

/* Rows of one batch, scored by the workers. */
typedef struct Scoring {
	const float *logits;
	const int32_t *next; /* the token after each row */
	double *nll;
	int n;
} Scoring;

static void
score_rows(void *arg, int worker, int workers)
{
	const Scoring *c = arg;
	int r, i;

	for (r = worker; r < c->n; r += workers) {
		const float *l = c->logits + (size_t)r * N_VOCAB;
		float max = largest(l, N_VOCAB);
		double sum = 0;
		for (i = 1; i < N_VOCAB; i++)
			max = l[i] > max ? l[i] : max;
		for (i = 0; i < N_VOCAB; i++)
			sum += expf(l[i] - max);
		c->nll[r] = -((double)(l[c->next[r]] - max) - log(sum));
	}
}

static double
perplexity_error(const Perplexity *p)
{
	double mean = p->sum / (double)p->count;
	double variance = p->sum2 / (double)p->count - mean * mean;

	if (p->count < 2 || !(variance > 0))
		return NAN;
	return exp(mean) * sqrt(variance / (double)(p->count - 1));
}

static void
perplexity_chunk(Perplexity *p, Model *m, int chunk)
{
	int32_t *ids = p->ids.ids + (size_t)chunk * (size_t)p->ctx;
	int32_t own = ids[0];
	Scoring c;
	int at, i;

	model_truncate(m, 0);
	if (@name@_add_bos() && @name@_bos() >= 0)
		ids[0] = @name@_bos();
	model_eval(m, ids, p->first, NULL, 0);
	ids[0] = own;
	for (at = p->first; at < p->ctx - 1; at += c.n) {
		c.n = p->ctx - 1 - at < m->n_batch ? p->ctx - 1 - at : m->n_batch;
		c.logits = p->logits;
		c.next = ids + at + 1;
		c.nll = p->nll + at;
		model_eval(m, ids + at, c.n, p->logits, 1);
		pool_run(m->pool, score_rows, &c, m->threads);
	}
	for (i = p->first; i < p->ctx - 1; i++) {
		p->sum += p->nll[i];
		p->sum2 += p->nll[i] * p->nll[i];
		p->count++;
	}
	p->running[chunk] = exp(p->sum / (double)p->count);
}

/* Logits of the first positions of the first chunk, to compare with another implementation. */
static void
perplexity_logits(Perplexity *p, Model *m)
{
	int positions = p->s->positions ? p->s->positions : 64, at, n;
	int32_t own = p->ids.ids[0];
	Out out;

	out_open(&out, p->s->logits);
	if (@name@_add_bos() && @name@_bos() >= 0)
		p->ids.ids[0] = @name@_bos();
	for (at = 0; at < positions; at += n) {
		n = positions - at < m->n_batch ? positions - at : m->n_batch;
		model_eval(m, p->ids.ids + at, n, p->logits, 1);
		out_write(&out, p->logits, (size_t)n * N_VOCAB * sizeof *p->logits);
	}
	p->ids.ids[0] = own;
	out_close(&out);
}

static void
perplexity_read(Perplexity *p)
{
	const Settings *s = p->s;
	char message[PATH_MAX + 200];
	Text text;
	int chunks;

	if (!s->positional)
		fail(STATUS_USER, NULL, "perplexity needs a text FILE");
	tokenizer_need();
	p->ctx = s->ctx ? s->ctx : N_CTX < 512 ? N_CTX : 512;
	ctx_check(p->ctx, "--ctx");
	if (p->ctx < 4)
		fail(STATUS_USER, NULL, "--ctx: a chunk needs 4 tokens or more");
	if (s->positions > p->ctx)
		fail(STATUS_USER, NULL, "--positions: a chunk has %d tokens", p->ctx);
	if (s->positions && !s->logits)
		fail(STATUS_USER, NULL, "--positions goes with --logits");
	text = file_read(s->positional);
	if (text.size && text.text[text.size - 1] == '\n')
		text.size--;
	if (@name@_add_bos() && @name@_bos() >= 0)
		ids_add(&p->ids, @name@_bos());
	ids_encode(&p->ids, text.text, text.size, 0);
	free(text.text);
	chunks = (int)(p->ids.n / (size_t)p->ctx);
	if (!chunks) {
		snprintf(message, sizeof message, "%s: %zu tokens do not fill one chunk of %d",
			 s->positional, p->ids.n, p->ctx);
		fail(STATUS_USER, "a longer text, or a smaller --ctx", "%s", message);
	}
	p->chunks = s->chunks && s->chunks < chunks ? s->chunks : chunks;
	p->first = p->ctx / 2;
}

static void
perplexity_report(const Perplexity *p, const Model *m, double seconds)
{
	double value = exp(p->sum / (double)p->count), error = perplexity_error(p);
	Text t = {0};
	int i;

	if (p->s->json) {
		json_model(&t, m);
		json_put_number(&t, "perplexity", value);
		json_put_number(&t, "stderr", error);
		json_put_number(&t, "tokens", (double)p->count);
		json_put_number(&t, "chunks", p->chunks);
		json_put_number(&t, "ctx", p->ctx);
		json_put_number(&t, "text_tokens", (double)p->ids.n);
		json_put_numbers(&t, "running", p->running, p->chunks);
		json_put_number(&t, "seconds", seconds);
		json_put_number(&t, "tok_s", rate((double)p->chunks * p->ctx, seconds));
		text_printf(&t, "}\n");
	} else {
		text_printf(&t, "running:");
		for (i = 0; i < p->chunks; i++)
			text_printf(&t, " %.4f", p->running[i]);
		text_printf(&t,
			    "\nperplexity %.4f +/- %.5f (%d chunk%s of %d, %ld tokens scored, %.1f "
			    "tok/s)\n",
			    value, error, p->chunks, p->chunks == 1 ? "" : "s", p->ctx, p->count,
			    rate((double)p->chunks * p->ctx, seconds));
	}
	output_text(&t);
	free(t.text);
}

static int
run_perplexity(Settings *s)
{
	Place place = place_of(s);
	Perplexity p;
	Weights w;
	Model m;
	double start;
	int i, tty = isatty(STDERR_FILENO);

	memset(&p, 0, sizeof p);
	p.s = s;
	perplexity_read(&p);
	weights_open(&w, s);
	model_open(&m, &w, p.ctx, s->batch ? s->batch : 128, &place);
	p.logits = memory((size_t)m.n_batch * N_VOCAB, sizeof *p.logits);
	p.nll = memory((size_t)p.ctx, sizeof *p.nll);
	p.running = memory((size_t)p.chunks, sizeof *p.running);
	if (s->logits)
		perplexity_logits(&p, &m);
	start = now();
	for (i = 0; i < p.chunks; i++) {
		perplexity_chunk(&p, &m, i);
		if (tty)
			fprintf(stderr, "\rchunk %d of %d: perplexity %.4f, %.0f s left  ", i + 1,
				p.chunks, p.running[i],
				(now() - start) / (i + 1) * (p.chunks - i - 1));
	}
	if (tty)
		fprintf(stderr, "\r%60s\r", "");
	perplexity_report(&p, &m, now() - start);
	model_close(&m);
	free(p.logits);
	free(p.nll);
	free(p.running);
	free(p.ids.ids);
	return STATUS_OK;
}
