/* lathe reference: raw logits by an interpreter, for tests that compare an artefact with them. */
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "gen/commands.h"
#include "gen/model/model.h"
#include "gen/plan/apply.h"
#include "gen/plan/plan.h"
#include "gen/settings.h"
#include "ir/interp.h"
#include "ir/pass.h"

typedef struct ReferenceOptions {
	const char *ids, *tokens, *arithmetic, *logits, *plan, *tokenizer;
	Settings settings;
	StringList disable_pass;
	int n, jobs;
	bool last;
} ReferenceOptions;

#define FIELD(f) offsetof(ReferenceOptions, f)
static const Option reference_options[] = {
	{"--tokens", "LIST", OPTION_STRING, FIELD(tokens), "token ids, separated by commas"},
	{"--ids", "FILE", OPTION_STRING, FIELD(ids), "token ids from a text file"},
	{"--n", "N", OPTION_INT, FIELD(n), "use the first N ids only"},
	{"--arithmetic", "NAME", OPTION_STRING, FIELD(arithmetic), "double, or contract (default)"},
	{"--plan", "FILE", OPTION_STRING, FIELD(plan), "transforms and formats, unproved"},
	{"--tokenizer", "none", OPTION_STRING, FIELD(tokenizer), "do not read the model's"},
	SETTINGS_OPTIONS(FIELD(settings)),
	{"--disable-pass", "PASS", OPTION_LIST, FIELD(disable_pass), "leave a pass out"},
	{"--logits", "OUT", OPTION_STRING, FIELD(logits),
	 "file for the logits, [n][vocabulary]: f64 of double, f32 of contract"},
	{"--last", NULL, OPTION_FLAG, FIELD(last), "logits of the last position only"},
	{"--jobs", "N", OPTION_INT, FIELD(jobs), "threads (default: all)"},
};

static const Command reference_command = {
	"reference",
	"MODEL --tokens LIST|--ids FILE --logits OUT [options]",
	"Writes a model's logits as an interpreter of the IR computes them.",
	reference_options,
	sizeof reference_options / sizeof *reference_options,
	reference_main,
};

/* ---- what the options say -------------------------------------------------------------------- */

static bool
is_separator(char c)
{
	return c == ',' || c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

typedef struct Ids {
	int32_t *items;
	int count;
} Ids;

static bool
ids_parse(Arena *a, Diag *d, const char *text, size_t size, const Model *m, int max, Ids *ids)
{
	ids->items = ARENA_ARRAY(a, int32_t, size / 2 + 1);
	for (size_t i = 0; i < size && ids->count < max;) {
		if (is_separator(text[i])) {
			i++;
			continue;
		}
		uint64_t id = 0;
		size_t first = i;
		for (; i < size && text[i] >= '0' && text[i] <= '9' && id < m->n_vocab; i++)
			id = id * 10 + (uint64_t)(text[i] - '0');
		if (i == first || id >= m->n_vocab || (i < size && !is_separator(text[i]))) {
			diag_error(d, (Loc){0}, E_USAGE,
				   "byte %zu of the ids begins no number below %u", first,
				   m->n_vocab);
			return false;
		}
		ids->items[ids->count++] = (int32_t)id;
	}
	if (ids->count == 0)
		diag_error(d, (Loc){0}, E_USAGE, "there are no token ids");
	else if ((uint32_t)ids->count > m->n_ctx)
		diag_error(d, (Loc){0}, E_USAGE, "%d ids, but the model's context is %u",
			   ids->count, m->n_ctx);
	return ids->count > 0 && (uint32_t)ids->count <= m->n_ctx;
}

static bool
ids_read(Arena *a, Diag *d, const ReferenceOptions *o, const Model *m, Ids *ids)
{
	int max = o->n > 0 ? o->n : INT_MAX;
	if (o->tokens)
		return ids_parse(a, d, o->tokens, strlen(o->tokens), m, max, ids);
	Mapped file;
	const char *error;
	if (!file_map(o->ids, &file, &error)) {
		diag_error(d, (Loc){0}, E_FILE, "%s: %s", o->ids, error);
		return false;
	}
	bool ok = ids_parse(a, d, (const char *)file.data, file.size, m, max, ids);
	file_unmap(&file);
	return ok;
}

/* ---- the command ----------------------------------------------------------------------------- */

/* The graph as a compile would have it, or null after diagnostics. */
static Graph *
reference_graph(Arena *run, Diag *d, const ReferenceOptions *o, Model *m)
{
	Graph *g = graph_build(run, m);
	const PassOptions passes = {.disable = o->disable_pass.items,
				    .n_disable = o->disable_pass.count};
	const Plan *plan = o->plan ? plan_read_digest(run, d, o->plan, m) : NULL;
	if ((o->plan && !plan) || !settings_apply(&o->settings, d, g) ||
	    (plan && !plan_apply(d, g, plan)) || !passes_run(g, &passes, d))
		return NULL;
	return g;
}

static void
reference_write(Arena *run, const ReferenceOptions *o, const Graph *g, Arithmetic a, const Ids *ids)
{
	int jobs = o->jobs > 0 ? o->jobs : (int)sysconf(_SC_NPROCESSORS_ONLN);
	Interp *x = interp_new(run, g, a, ids->count, jobs);
	size_t rows = o->last ? 1 : (size_t)ids->count;
	size_t size = a == ARITHMETIC_DOUBLE ? sizeof(double) : sizeof(float);
	void *logits = arena_array(run, rows * g->model->n_vocab, size);
	bool exact = a == ARITHMETIC_CONTRACT;
	interp_eval(x, ids->items, ids->count, exact ? logits : NULL, exact ? NULL : logits,
		    !o->last);
	OutFile *out = outfile_open(run, o->logits);
	uint8_t digest[32];
	outfile_write(out, logits, rows * g->model->n_vocab * size);
	outfile_commit(out, digest);
}

static bool
reference_run(Arena *run, Diag *d, int argc, char **argv)
{
	ReferenceOptions o = {0};
	StringList operands = {0};
	if (!options_parse(&reference_command, d, argc, argv, &o, &operands))
		return false;
	bool exact = !o.arithmetic || !strcmp(o.arithmetic, "contract");
	if (operands.count != 1 || !o.tokens == !o.ids || !o.logits) {
		diag_error(d, (Loc){0}, E_USAGE,
			   "reference wants one MODEL, one of --tokens and --ids, and --logits");
		return false;
	}
	if (!exact && strcmp(o.arithmetic, "double") != 0) {
		diag_error(d, (Loc){0}, E_USAGE, "--arithmetic does not know '%s'", o.arithmetic);
		return false;
	}
	Model *m = model_read(run, d, operands.items[0],
			      &(ModelOptions){.tokenizer = o.tokenizer,
					      .rotated = o.plan != NULL,
					      .jobs = o.jobs});
	Ids ids = {0};
	if (!m || !ids_read(run, d, &o, m, &ids))
		return false;
	const Graph *g = reference_graph(run, d, &o, m);
	if (g)
		reference_write(run, &o, g, exact ? ARITHMETIC_CONTRACT : ARITHMETIC_DOUBLE, &ids);
	return g != NULL;
}

int
reference_main(int argc, char **argv)
{
	Arena *run = arena_new();
	Diag *d = diag_new(run, stderr);
	bool ok = reference_run(run, d, argc, argv);
	arena_free(run);
	return ok ? 0 : EXIT_USER;
}
