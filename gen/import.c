/* lathe import: a model that another tool has rotated in, the plan that goes with it out. */
#include "gen/plan/import.h"

#include "gen/commands.h"
#include "gen/diagnostics.h"
#include "gen/model/model.h"
#include "gen/plan/apply.h"
#include "ir/pass.h"
#include "ir/report.h"

#include <string.h>
#include <unistd.h>

typedef struct ImportCommand {
	const char *out, *tokenizer, *diagnostics;
	ProofSettings proof;
	int jobs;
	bool quiet;
} ImportCommand;

#define FIELD(f) offsetof(ImportCommand, f)
static const Option import_options[] = {
	{"-o", "PLAN.json", OPTION_STRING, FIELD(out), "the plan; its data lie beside it"},
	PROOF_OPTIONS(FIELD(proof)),
	{"--tokenizer", "FILE", OPTION_STRING, FIELD(tokenizer),
	 "tokenizer of a llama2.c model, or `none`"},
	DIAGNOSTICS_OPTION(FIELD(diagnostics)),
	{"-j", "N", OPTION_INT, FIELD(jobs), "threads (default: all cores)"},
	{"--quiet", NULL, OPTION_FLAG, FIELD(quiet), "say nothing but errors"},
};

static const Command import_command = {
	"import",
	"MODEL -o PLAN.json [options]",
	"Writes the plan of a model whose weights another tool has stored in a rotated basis.",
	import_options,
	sizeof import_options / sizeof *import_options,
	import_main,
};

/* The laws hold, and what can be proved is: false after diagnostics. */
static bool
check_plan(Arena *run, Diag *d, const Model *m, const Plan *p, const ImportCommand *o)
{
	const PassOptions passes = {.dump = stdout};
	ProveOptions how = {.jobs = o->jobs};
	ProofResult result;
	Graph *g = graph_build(run, m);
	if (!proof_settings(run, d, p, m, &o->proof, &how) || !plan_apply(d, g, p) ||
	    !passes_run(g, &passes, d) || !plan_prove(run, d, g, &how, &result))
		return false;
	if (!o->quiet)
		printf("%s\n", plan_proof_text(run, g, &result));
	return true;
}

static bool
import(Arena *run, Diag *d, const ImportCommand *o, const StringList *operands)
{
	const ModelOptions options = {.tokenizer = o->tokenizer, .rotated = true, .jobs = o->jobs};
	if (operands->count != 1 || !o->out) {
		diag_error(d, (Loc){0}, E_USAGE, "import wants one model and -o PLAN.json");
		diag_hint(d, "usage: lathe import %s", import_command.usage);
		return false;
	}
	Model *m = model_read(run, d, operands->items[0], &options);
	if (!m)
		return false;
	Plan *p = plan_import(run, d, m, &(ImportFiles){0});
	if (!p || !check_plan(run, d, m, p, o))
		return false;
	model_digest(m);
	p->maker.program = "lathe " LATHE_VERSION;
	plan_write_files(run, p, m, o->out);
	return true;
}

int
import_main(int argc, char **argv)
{
	ImportCommand o = {0};
	StringList operands = {.count = 0};
	Arena *run = arena_new();
	Diag *d = diag_new(run, stderr);
	bool ok = diagnostics_option(d, argc, argv) &&
		  options_parse(&import_command, d, argc, argv, &o, &operands);
	if (ok) {
		o.jobs = o.jobs ? o.jobs : (int)sysconf(_SC_NPROCESSORS_ONLN);
		o.quiet = o.quiet || diag_is_document(d);
		ok = import(run, d, &o, &operands);
	}
	diag_finish(d);
	if (!ok)
		cleanup_run();
	arena_free(run);
	return ok ? 0 : EXIT_USER;
}
