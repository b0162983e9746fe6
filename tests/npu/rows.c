/*
 * The rows between the functions of a compiled graph, and the logits, as the double interpreter has
 * them: what each block of a model of OpenVINO is compared with.
 *
 *     npu_rows MODEL OUT --tokens LIST [--plan FILE] [--quantize RULE ...]
 *
 * OUT/NAME is f64 [tokens][width] of each function NAME: "embed", "layer.0", ... and "head".
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gen/model/model.h"
#include "gen/plan/apply.h"
#include "gen/plan/plan.h"
#include "gen/settings.h"
#include "ir/interp_impl.h"
#include "ir/pass.h"

typedef struct RowsOptions {
	const char *tokens, *plan;
	Settings settings;
	StringList disable_pass;
	int jobs;
} RowsOptions;

#define FIELD(f) offsetof(RowsOptions, f)
static const Option rows_options[] = {
	{"--tokens", "LIST", OPTION_STRING, FIELD(tokens), "token ids, separated by commas"},
	{"--plan", "FILE", OPTION_STRING, FIELD(plan), "transforms and formats, unproved"},
	SETTINGS_OPTIONS(FIELD(settings)),
	{"--disable-pass", "PASS", OPTION_LIST, FIELD(disable_pass), "leave a pass out"},
	{"-j", "N", OPTION_INT, FIELD(jobs), "threads (default: 1)"},
};

static int
no_main(int argc, char **argv)
{
	(void)argc;
	(void)argv;
	return EXIT_USER;
}

static const Command rows_command = {
	"npu_rows",
	"MODEL OUT --tokens LIST [options]",
	"Writes the rows between functions as the double interpreter has them.",
	rows_options,
	sizeof rows_options / sizeof *rows_options,
	no_main,
};

/* The ids of a list; how many, 0: it is none. */
static int
read_tokens(Arena *run, const char *list, uint32_t n_vocab, const int32_t **tokens)
{
	int32_t *ids = ARENA_ARRAY(run, int32_t, strlen(list) / 2 + 1);
	int n = 0;
	while (*list) {
		char *end;
		const unsigned long id = strtoul(list, &end, 10);
		if (end == list || id >= n_vocab || (*end && *end != ','))
			return 0;
		ids[n++] = (int32_t)id;
		list = end + (*end == ',');
	}
	*tokens = ids;
	return n;
}

static void
write_rows(FILE **files, Interp *x, const int32_t *tokens, int n)
{
	const Graph *g = x->graph;
	interp_run_rope(x, n);
	for (int i = 0; i < g->count; i++) {
		const Func *f = &g->funcs[i];
		const int output = interp_run_func(x, f, tokens, n, x->n_past);
		const size_t count = (size_t)n * func_value(f, output)->width;
		const double *rows = x->values[output].d;
		if (fwrite(rows, sizeof *rows, count, files[i]) != count)
			fatal_environment("the rows of %s cannot be written", f->name);
		if (i < g->count - 1)
			memmove(x->carry.d, rows, count * sizeof *rows);
	}
	x->n_past += n;
}

static Graph *
make_graph(Arena *run, Diag *d, Model *m, const RowsOptions *o)
{
	const PassOptions passes = {.disable = o->disable_pass.items,
				    .n_disable = o->disable_pass.count};
	const Plan *plan = o->plan ? plan_read_digest(run, d, o->plan, m) : NULL;
	Graph *g = graph_build(run, m);
	if ((o->plan && !plan) || !settings_apply(&o->settings, d, g) ||
	    (plan && !plan_apply(d, g, plan)) || !passes_run(g, &passes, d))
		return NULL;
	return g;
}

static bool
rows(Arena *run, Diag *d, int argc, char **argv)
{
	RowsOptions o = {.jobs = 1};
	StringList operands = {0};
	const int32_t *tokens;
	if (!options_parse(&rows_command, d, argc, argv, &o, &operands) || operands.count != 2 ||
	    !o.tokens)
		return false;
	Model *m = model_read(run, d, operands.items[0], NULL);
	const int n = m ? read_tokens(run, o.tokens, m->n_vocab, &tokens) : 0;
	Graph *g = n > 0 && (uint32_t)n <= m->n_ctx ? make_graph(run, d, m, &o) : NULL;
	if (!g)
		return false;
	Interp *x = interp_new(run, g, ARITHMETIC_DOUBLE, n, o.jobs);
	FILE **files = ARENA_ARRAY(run, FILE *, (size_t)g->count);
	for (int i = 0; i < g->count; i++) {
		const char *path = arena_printf(run, "%s/%s", operands.items[1], g->funcs[i].name);
		files[i] = fopen(path, "wb");
		if (!files[i])
			fatal_environment("%s cannot be written", path);
	}
	for (int at = 0; at < n; at += INTERP_CHUNK)
		write_rows(files, x, tokens + at, n - at < INTERP_CHUNK ? n - at : INTERP_CHUNK);
	for (int i = 0; i < g->count; i++)
		if (fclose(files[i]))
			fatal_environment("the rows of %s cannot be written", g->funcs[i].name);
	return true;
}

int
main(int argc, char **argv)
{
	Arena *run = arena_new();
	const bool ok = rows(run, diag_new(run, stderr), argc, argv);
	if (!ok)
		fprintf(stderr, "usage: %s %s\n", rows_command.name, rows_command.usage);
	arena_free(run);
	return ok ? 0 : EXIT_USER;
}
