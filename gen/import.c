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
	const char *out, *tokenizer, *diagnostics, *dialect;
	ProofSettings proof;
	int jobs;
	bool quiet;
} ImportCommand;

#define FIELD(f) offsetof(ImportCommand, f)
static const Option import_options[] = {
	{"-o", "PLAN.json", OPTION_STRING, FIELD(out), "the plan; its data lie beside it"},
	{"--dialect", "TOOL", OPTION_STRING, FIELD(dialect),
	 "spinquant or quarot: what rotated a model that does not say so itself"},
	PROOF_OPTIONS(FIELD(proof)),
	{"--tokenizer", "FILE", OPTION_STRING, FIELD(tokenizer),
	 "tokenizer of a llama2.c model, or `none`"},
	DIAGNOSTICS_OPTION(FIELD(diagnostics)),
	{"-j", "N", OPTION_INT, FIELD(jobs), "threads (default: all cores)"},
	{"--quiet", NULL, OPTION_FLAG, FIELD(quiet), "say nothing but errors"},
};

static const Command import_command = {
	"import",
	"MODEL [MATRICES.safetensors...] -o PLAN.json [options]",
	"Writes the plan of a model whose weights another tool has stored in a rotated basis.",
	import_options,
	sizeof import_options / sizeof *import_options,
	import_main,
};

/* Whether the file is a pickle, as torch.save writes it: by itself, or in a zip archive. */
static bool
is_pickle(const char *path)
{
	Mapped map;
	const char *error;
	if (!file_map(path, &map, &error))
		return false;
	const bool is = map.size > 4 && (!memcmp(map.data, "PK\3\4", 4) || map.data[0] == 0x80);
	file_unmap(&map);
	return is;
}

/* The files of matrices; false after diagnostics. */
static bool
read_matrices(Arena *run, Diag *d, const StringList *operands, const char *dialect, ImportFiles *f)
{
	const Safetensors **files = ARENA_ARRAY(run, const Safetensors *, operands->count);
	*f = (ImportFiles){dialect, files, 0};
	if (dialect && strcmp(dialect, "spinquant") != 0 && strcmp(dialect, "quarot") != 0) {
		diag_error(d, (Loc){0}, E_USAGE, "--dialect does not know '%s'", dialect);
		diag_hint(d,
			  "it knows spinquant and quarot; other dialects are in the model's files");
		return false;
	}
	if (!dialect && operands->count > 1) {
		diag_error(d, (Loc){0}, E_USAGE, "%s: matrices are for a --dialect",
			   operands->items[1]);
		return false;
	}
	for (int i = 1; i < operands->count; i++) {
		const char *path = operands->items[i];
		if (is_pickle(path)) {
			diag_error(d, (Loc){0}, E_DIALECT,
				   "%s is a pickle, a program of its own, which Lathe does not run",
				   path);
			diag_hint(d,
				  "in Python, where you trust it: safetensors.torch.save_file({k: "
				  "v.contiguous() for k, v in torch.load(\"%s\", "
				  "map_location=\"cpu\").items()}, \"R.safetensors\")",
				  path);
			return false;
		}
		if (!(files[f->n++] = safetensors_read(run, d, path)))
			return false;
	}
	return true;
}

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
	ImportFiles files;
	if (operands->count < 1 || !o->out) {
		diag_error(d, (Loc){0}, E_USAGE, "import wants a model and -o PLAN.json");
		diag_hint(d, "usage: lathe import %s", import_command.usage);
		return false;
	}
	if (!read_matrices(run, d, operands, o->dialect, &files))
		return false;
	Model *m = model_read(run, d, operands->items[0], &options);
	if (!m)
		return false;
	Plan *p = plan_import(run, d, m, &files);
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
