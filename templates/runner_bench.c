/* ---- bench ---------------------------------------------------------------------------------- */

/*
 * Rounds of: prefill of an empty context in one call; read bandwidth; decode token by token after
 * `depth` tokens; read bandwidth again. A round's share is its decode GB/s over the mean of its
 * two bandwidths, so that a machine whose bandwidth changes does not falsify it.
 */
typedef struct Bench {
	int prefill, decode, depth, reps;
	int32_t *ids; /* as many as the context has positions */
	float *logits;
	double *prefill_tok_s, *decode_tok_s, *read_gb_s, *share; /* [reps] */
} Bench;

static int
double_order(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

typedef struct Summary {
	double median, min, max;
} Summary;

static Summary
summarise(const double *x, int n)
{
	double *sorted = memory((size_t)n, sizeof *sorted);
	Summary s;

	memcpy(sorted, x, (size_t)n * sizeof *x);
	qsort(sorted, (size_t)n, sizeof *sorted, double_order);
	s.median = n % 2 ? sorted[n / 2] : 0.5 * (sorted[n / 2 - 1] + sorted[n / 2]);
	s.min = sorted[0];
	s.max = sorted[n - 1];
	free(sorted);
	return s;
}

/* Of the memory that the weights are in; unknown beside the CPU. */
static double
bench_reading(const Model *m, Reading *reading)
{
	return m->device == &device_cpu ? reading_measure(reading, m->pool) : NAN;
}

static void
bench_round(Bench *b, Model *m, Reading *reading, int round)
{
	double start, before, after, bytes = (double)@name@_bytes_per_token();
	int i;

	if (b->prefill) {
		model_truncate(m, 0);
		start = now();
		model_eval(m, b->ids, b->prefill, b->logits, 0);
		b->prefill_tok_s[round] = b->prefill / (now() - start);
	}
	before = bench_reading(m, reading);
	if (b->decode) {
		model_truncate(m, 0);
		if (b->depth)
			model_eval(m, b->ids, b->depth, NULL, 0);
		start = now();
		for (i = 0; i < b->decode; i++)
			model_eval(m, b->ids + b->depth + i, 1, b->logits, 0);
		b->decode_tok_s[round] = b->decode / (now() - start);
	}
	after = bench_reading(m, reading);
	b->read_gb_s[round] = 0.5 * (before + after);
	b->share[round] = b->decode_tok_s[round] * bytes * 1e-9 / b->read_gb_s[round];
}

static void
bench_put(Text *t, const char *key, const double *x, int n)
{
	Summary s = summarise(x, n);
	char name[64];

	json_put_number(t, key, s.median);
	snprintf(name, sizeof name, "%s_min", key);
	json_put_number(t, name, s.min);
	snprintf(name, sizeof name, "%s_max", key);
	json_put_number(t, name, s.max);
	snprintf(name, sizeof name, "%s_rounds", key);
	json_put_numbers(t, name, x, n);
}

static void
bench_json(const Bench *b, const Model *m)
{
	double bytes = (double)@name@_bytes_per_token();
	Text t = {0};

	json_model(&t, m);
	json_put_number(&t, "prefill", b->prefill);
	json_put_number(&t, "decode", b->decode);
	json_put_number(&t, "depth", b->depth);
	json_put_number(&t, "batch", m->n_batch);
	json_put_number(&t, "reps", b->reps);
	json_put_number(&t, "bytes_per_token", bytes);
	if (b->prefill)
		bench_put(&t, "prefill_tok_s", b->prefill_tok_s, b->reps);
	bench_put(&t, "read_gb_s", b->read_gb_s, b->reps);
	if (b->decode) {
		bench_put(&t, "decode_tok_s", b->decode_tok_s, b->reps);
		json_put_number(&t, "decode_gb_s",
				summarise(b->decode_tok_s, b->reps).median * bytes * 1e-9);
		bench_put(&t, "share", b->share, b->reps);
	}
	text_printf(&t, "}\n");
	output_text(&t);
	free(t.text);
}

static void
bench_text(const Bench *b, const Model *m)
{
	double bytes = (double)@name@_bytes_per_token();
	Summary s;
	Text t = {0};

	text_printf(&t, "%s, %s, %d thread%s, %d round%s: median (min to max)\n", PROGRAM, m->what,
		    m->threads, m->threads == 1 ? "" : "s", b->reps, b->reps == 1 ? "" : "s");
	if (b->prefill) {
		s = summarise(b->prefill_tok_s, b->reps);
		text_printf(&t, "prefill %5d tokens  %9.1f tok/s (%.1f to %.1f)\n", b->prefill,
			    s.median, s.min, s.max);
	}
	if (b->decode) {
		s = summarise(b->decode_tok_s, b->reps);
		text_printf(&t, "decode  %5d tokens  %9.1f tok/s (%.1f to %.1f)", b->decode,
			    s.median, s.min, s.max);
		text_printf(&t, " after %d; %.2f MB a token, %.2f GB/s\n", b->depth, bytes * 1e-6,
			    s.median * bytes * 1e-9);
	}
	s = summarise(b->read_gb_s, b->reps);
	if (s.median > 0)
		text_printf(&t, "read bandwidth        %9.2f GB/s  (%.2f to %.2f)\n", s.median,
			    s.min, s.max);
	if (b->decode && s.median > 0) {
		s = summarise(b->share, b->reps);
		text_printf(&t, "decode / bandwidth    %9.1f %%     (%.1f to %.1f)\n",
			    100 * s.median, 100 * s.min, 100 * s.max);
	}
	output_text(&t);
	free(t.text);
}

static void
bench_warm(Bench *b, Model *m)
{
	int n = b->prefill < m->n_batch ? b->prefill : m->n_batch, i;

	if (n)
		model_eval(m, b->ids, n, b->logits, 0);
	model_truncate(m, 0);
	for (i = 0; i < 8 && i < b->decode; i++)
		model_eval(m, b->ids + i, 1, b->logits, 0);
}

static int
run_bench(Settings *s)
{
	Place place = place_of(s);
	size_t reps = (size_t)s->reps;
	Reading *reading = memory(1, sizeof *reading);
	uint64_t state = 1;
	long long positions = (long long)s->depth + s->decode;
	int i, n_ctx, tty = isatty(STDERR_FILENO);
	Weights w;
	Model m;
	Bench b;

	memset(&b, 0, sizeof b);
	b.prefill = s->prefill;
	b.decode = s->decode;
	b.depth = s->depth;
	b.reps = s->reps;
	if (!b.prefill && !b.decode)
		fail(STATUS_USER, NULL, "bench: --prefill and --decode are both 0");
	if (s->prefill > N_CTX)
		ctx_check(s->prefill, "--prefill");
	if (positions > N_CTX)
		ctx_check(positions, "--depth and --decode");
	n_ctx = b.prefill > positions ? b.prefill : (int)positions;
	weights_open(&w, s);
	model_open(&m, &w, n_ctx, s->batch ? s->batch : 512, &place);
	reading_new(reading, m.pool);
	b.ids = memory((size_t)n_ctx, sizeof *b.ids);
	for (i = 0; i < n_ctx; i++)
		b.ids[i] = (int32_t)(random_next(&state) % N_VOCAB);
	b.logits = memory(N_VOCAB, sizeof *b.logits);
	b.prefill_tok_s = memory(reps, sizeof(double));
	b.decode_tok_s = memory(reps, sizeof(double));
	b.read_gb_s = memory(reps, sizeof(double));
	b.share = memory(reps, sizeof(double));
	bench_warm(&b, &m);
	for (i = 0; i < b.reps; i++) {
		if (tty)
			fprintf(stderr, "\rround %d of %d", i + 1, b.reps);
		bench_round(&b, &m, reading, i);
	}
	if (tty)
		fprintf(stderr, "\r%40s\r", "");
	if (s->json)
		bench_json(&b, &m);
	else
		bench_text(&b, &m);
	reading_free(reading);
	model_close(&m);
	free(reading);
	free(b.ids);
	free(b.logits);
	free(b.prefill_tok_s);
	free(b.decode_tok_s);
	free(b.read_gb_s);
	free(b.share);
	return STATUS_OK;
}
