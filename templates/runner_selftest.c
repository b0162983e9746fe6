/* ---- selftest ------------------------------------------------------------------------------- */

/* One way of computing the golden logits: they may not depend on it. */
typedef struct Way {
	Place place;
	int chunk; /* tokens a call of eval; 0: all */
	int batch; /* n_batch of the context; less than a chunk is split by the library */
} Way;

typedef struct Selftest {
	Way way;
	const Golden *golden;
	int index; /* of the golden vector */
	const char *step;
	long checks, failures;
	int next; /* golden positions below it were looked at in this pass */
} Selftest;

/* FNV-1a over the bytes of n floats, low byte first. */
static uint64_t
logits_digest(const float *x, int n)
{
	uint64_t h = 0xcbf29ce484222325u;
	uint32_t u;
	int i, j;

	for (i = 0; i < n; i++) {
		memcpy(&u, &x[i], sizeof u);
		for (j = 0; j < 4; j++) {
			h = (h ^ ((u >> 8 * j) & 0xff)) * 0x100000001b3u;
		}
	}
	return h;
}

static const char *
place_name(const Place *p)
{
	return p->device ? p->device : p->isa;
}

static void
selftest_mismatch(Selftest *t, const GoldenPosition *g, uint64_t digest, const float *logits)
{
	const Way *w = &t->way;
	int i, n = N_VOCAB < 8 ? N_VOCAB : 8, shown = 0;

	if (++t->failures > 10)
		return;
	fprintf(stderr, "%s: mismatch: isa %s, %d thread%s%s, ", PROGRAM, place_name(&w->place),
		w->place.threads, w->place.threads == 1 ? "" : "s",
		w->place.park ? "" : " without park");
	if (w->chunk)
		fprintf(stderr, "chunk %d, ", w->chunk);
	else
		fprintf(stderr, "chunk all, ");
	fprintf(stderr, "batch %d, %s, vector %d, position %d: digest %016llx, not %016llx\n",
		w->batch, t->step, t->index, g->position, (unsigned long long)digest,
		(unsigned long long)g->digest);
	for (i = 0; i < n; i++) {
		if (!memcmp(&logits[i], &g->first[i], sizeof *logits))
			continue;
		fprintf(stderr, "  logit %d: %a (%.9g), not %a (%.9g)\n", i, (double)logits[i],
			(double)logits[i], (double)g->first[i], (double)g->first[i]);
		shown = 1;
	}
	if (!shown)
		fprintf(stderr, "  the first %d logits are right, a later one differs\n", n);
}

/* Compares the logits of one position, if that position is in the table. */
static void
selftest_position(Selftest *t, int position, const float *logits)
{
	const Golden *g = t->golden;
	uint64_t digest;

	while (t->next < g->n_positions && g->positions[t->next].position < position)
		t->next++;
	if (t->next == g->n_positions || g->positions[t->next].position != position)
		return;
	digest = logits_digest(logits, N_VOCAB);
	t->checks++;
	if (digest != g->positions[t->next].digest)
		selftest_mismatch(t, &g->positions[t->next], digest, logits);
}

/* Evaluates tokens [from, n) in chunks; all 0 looks only at the last logits of each call. */
static void
selftest_pass(Selftest *t, Model *m, int from, int chunk, int all, float *logits)
{
	int at, i, n;

	t->next = 0;
	for (at = from; at < t->golden->n; at += n) {
		n = chunk && chunk < t->golden->n - at ? chunk : t->golden->n - at;
		model_eval(m, t->golden->tokens + at, n, logits, all);
		if (!all) {
			selftest_position(t, at + n - 1, logits);
			continue;
		}
		for (i = 0; i < n; i++)
			selftest_position(t, at + i, logits + (size_t)i * N_VOCAB);
	}
}

/* A way: from an empty context, then truncated and replayed, then from a saved state. */
static void
selftest_steps(Selftest *t, Model *m, float *logits)
{
	size_t bytes;
	void *state;
	int cut = t->golden->n * 3 / 5, e;

	model_truncate(m, 0);
	t->step = "first pass";
	selftest_pass(t, m, 0, t->way.chunk, 1, logits);
	model_truncate(m, cut);
	bytes = m->device->state_size(m->m);
	state = memory(bytes, 1);
	e = m->device->state_save(m->m, state, bytes);
	if (e)
		model_fail(m, "state_save", e);
	t->step = "truncated and replayed";
	selftest_pass(t, m, cut, t->way.chunk, 0, logits);
	model_truncate(m, 0);
	e = m->device->state_load(m->m, state, bytes);
	if (e)
		model_fail(m, "state_load", e);
	t->step = "from a saved state";
	selftest_pass(t, m, cut, 0, 0, logits);
	free(state);
}

static void
selftest_way(Selftest *t, Weights *w, float *logits)
{
	Model m;

	model_open(&m, w, t->golden->n, t->way.batch, &t->way.place);
	selftest_steps(t, &m, logits);
	model_close(&m);
}

static void
selftest_isa(Selftest *t, Weights *w, const Settings *s, float *logits)
{
	static const int threads[] = {1, 2, 5}, chunks[] = {1, 7, 64, 0};
	int n = t->golden->n, i, j;

	for (i = 0; i < 3; i++) {
		if (s->threads && i)
			break;
		t->way.place.threads = s->threads ? s->threads : threads[i];
		t->way.place.park = 1;
		for (j = 0; j < 4; j++) {
			t->way.chunk = chunks[j];
			t->way.batch = chunks[j] == 64 ? 24 : chunks[j] ? chunks[j] : n;
			selftest_way(t, w, logits);
		}
		if (t->way.place.threads == 1)
			continue;
		t->way.place.park = 0;
		t->way.chunk = 7;
		t->way.batch = 7;
		selftest_way(t, w, logits);
	}
}

/* The chunks one after another in one context: a driver may take seconds to make kernels. */
static void
selftest_device(Selftest *t, Weights *w, const Settings *s, float *logits)
{
	static const int chunks[] = {1, 7, 64, 0};
	Model m;
	int i;

	(void)s;
	t->way.batch = 24;
	model_open(&m, w, t->golden->n, t->way.batch, &t->way.place);
	if (!m.device->contract)
		fail(STATUS_USER, NULL,
		     "selftest: this library's logits on %s are near the contract's and have no "
		     "bits to agree with",
		     m.device->name);
	for (i = 0; i < 4; i++) {
		t->way.chunk = chunks[i];
		selftest_steps(t, &m, logits);
	}
	model_close(&m);
}

/* All vectors in the way's place. */
static void
selftest_place(Selftest *t, Weights *w, const Settings *s,
	       void (*run)(Selftest *t, Weights *w, const Settings *s, float *logits))
{
	float *logits;
	int g;

	for (g = 0; g < golden_count; g++) {
		if (isatty(STDERR_FILENO))
			fprintf(stderr, "\r%s, vector %d of %d ", place_name(&t->way.place), g + 1,
				golden_count);
		t->golden = &goldens[g];
		t->index = g;
		logits = memory((size_t)goldens[g].n * N_VOCAB, sizeof *logits);
		run(t, w, s, logits);
		free(logits);
	}
}

/* All levels that are asked for and that this CPU has; their names. */
static void
selftest_levels(Selftest *t, Weights *w, const Settings *s, Text *names)
{
	int only = s->isa && strcmp(s->isa, "all") != 0 ? isa_find(s->isa) : -1;
	int i, levels = 0;

	for (i = 0; @name@_isa_name(i); i++) {
		if (only >= 0 ? i != only : !@name@_isa_usable(i))
			continue;
		t->way.place.isa = @name@_isa_name(i);
		text_printf(names, "%s%s", levels++ ? ", " : "", t->way.place.isa);
		selftest_place(t, w, s, selftest_isa);
	}
}

static int
run_selftest(Settings *s)
{
	Text names = {0}, json = {0};
	Selftest t;
	Weights w;

	memset(&t, 0, sizeof t);
	weights_open(&w, s);
	if (s->device) {
		t.way.place = place_of(s);
		text_printf(&names, "%s", s->device);
		selftest_place(&t, &w, s, selftest_device);
	} else {
		selftest_levels(&t, &w, s, &names);
	}
	if (isatty(STDERR_FILENO))
		fprintf(stderr, "\r%60s\r", "");
	if (!t.checks)
		fail(STATUS_BUG, NULL, "selftest: no golden vectors are compiled in");
	if (s->json) {
		text_add(&json, "{", 1);
		json_put_string(&json, "model", PROGRAM);
		json_put_string(&json, "isa", names.text);
		json_put_number(&json, "checks", (double)t.checks);
		json_put_number(&json, "failures", (double)t.failures);
		text_printf(&json, "}\n");
		output_text(&json);
		free(json.text);
	} else if (!t.failures) {
		text_printf(&json, "selftest: %ld checks passed (%s)\n", t.checks, names.text);
		output_text(&json);
		free(json.text);
	}
	free(names.text);
	if (t.failures)
		fail(STATUS_BUG, NULL, "selftest: %ld of %ld checks failed", t.failures, t.checks);
	return STATUS_OK;
}
