/* lathe verify: a plan against its model. lathe schema: the form of plans. */
#include "gen/commands.h"
#include "gen/diagnostics.h"
#include "gen/model/model.h"
#include "gen/plan/apply.h"
#include "gen/plan/plan.h"
#include "gen/plan/schema.h"
#include "ir/pass.h"
#include "ir/report.h"

#include <unistd.h>

typedef struct VerifyOptions {
	const char *tokenizer, *diagnostics;
	ProofSettings proof;
	bool print, no_proof, quiet;
	int jobs;
} VerifyOptions;

#define FIELD(f) offsetof(VerifyOptions, f)
static const Option verify_options[] = {
	{"--tokenizer", "FILE", OPTION_STRING, FIELD(tokenizer),
	 "tokenizer of a llama2.c model, or `none`"},
	{"--print", NULL, OPTION_FLAG, FIELD(print),
	 "print the plan as Lathe writes it: canonical order, patterns resolved"},
	PROOF_OPTIONS(FIELD(proof)),
	{"--no-proof", NULL, OPTION_FLAG, FIELD(no_proof),
	 "check the form, names, orders, digests and data only"},
	DIAGNOSTICS_OPTION(FIELD(diagnostics)),
	{"-j", "N", OPTION_INT, FIELD(jobs), "threads (default: all cores)"},
	{"--quiet", NULL, OPTION_FLAG, FIELD(quiet), "say nothing but errors"},
};

static const Command verify_command = {
	"verify",
	"MODEL PLAN [options]",
	"Checks a plan against its model and proves that the planned model computes what it does.",
	verify_options,
	sizeof verify_options / sizeof *verify_options,
	verify_main,
};

/* What a plan says, in numbers. */
static void
print_summary(const Model *m, const Plan *p)
{
	uint32_t transforms = 0, weights = 0, codes = 0, activations = 0, kv = 0;
	for (int s = 0; s < SITE_COUNT; s++)
		for (uint32_t l = 0; l < (site_table[s].layered ? m->n_layer : 1); l++) {
			transforms += p->transforms[s][l].transform != NULL;
			activations += plan_says(p->activations[s][l].loc);
		}
	for (int role = 0; role < ROLE_COUNT; role++)
		for (uint32_t i = 0; i < model_places(m, role); i++) {
			weights += plan_says(p->weights[role][i].loc);
			codes += p->codes[role][i].codes != NULL;
		}
	for (uint32_t l = 0; l < m->n_layer; l++)
		kv += plan_says(p->kv[l].loc);
	printf("%s fits %s: transforms at %u places, formats of %u matrices (%u with codes), %u "
	       "activations and %u caches\n",
	       p->file, m->file, transforms, weights, codes, activations, kv);
}

/* false after diagnostics. */
static bool
prove(Arena *run, Diag *d, const Model *m, const Plan *p, const VerifyOptions *o)
{
	const PassOptions passes = {.dump = stdout};
	ProveOptions options = {.jobs = o->jobs};
	ProofResult result;
	Graph *g = graph_build(run, m);
	if (!proof_settings(run, d, p, m, &o->proof, &options) || !plan_apply(d, g, p) ||
	    !passes_run(g, &passes, d) || !plan_prove(run, d, g, &options, &result))
		return false;
	if (!o->quiet && !o->print)
		printf("%s\n", plan_proof_text(run, g, &result));
	return true;
}

static int
verify(Arena *run, Diag *d, const VerifyOptions *o, const StringList *operands)
{
	const ModelOptions options = {.tokenizer = o->tokenizer, .rotated = true, .jobs = o->jobs};
	if (operands->count != 2) {
		diag_error(d, (Loc){0}, E_USAGE, "verify wants a model and a plan");
		diag_hint(d, "usage: lathe verify %s", verify_command.usage);
		return EXIT_USER;
	}
	Model *m = model_read(run, d, operands->items[0], &options);
	if (!m)
		return EXIT_USER;
	Plan *p = plan_read_digest(run, d, operands->items[1], m);
	if (!p || (!o->no_proof && !prove(run, d, m, p, o)))
		return EXIT_USER;
	if (o->print) {
		const PlanText text = plan_write(run, p, m, "plan.safetensors");
		fwrite(text.json->text, 1, text.json->size, stdout);
	} else if (!o->quiet) {
		print_summary(m, p);
	}
	return 0;
}

int
verify_main(int argc, char **argv)
{
	VerifyOptions o = {0};
	StringList operands = {.count = 0};
	Arena *run = arena_new();
	Diag *d = diag_new(run, stderr);
	int status = EXIT_USER;
	if (diagnostics_option(d, argc, argv) &&
	    options_parse(&verify_command, d, argc, argv, &o, &operands)) {
		if (!o.jobs)
			o.jobs = (int)sysconf(_SC_NPROCESSORS_ONLN);
		status = verify(run, d, &o, &operands);
	}
	diag_finish(d);
	arena_free(run);
	return status;
}

int
schema_main(int argc, char **argv)
{
	static const Command command = {"schema", "", "Prints the JSON Schema of plans.",
					NULL,	  0,  NULL};
	StringList operands = {.count = 0};
	Arena *run = arena_new();
	if (!options_parse(&command, diag_new(run, stderr), argc, argv, NULL, &operands))
		return EXIT_USER;
	Text *t = text_new(run);
	schema_print(t);
	fwrite(t->text, 1, t->size, stdout);
	arena_free(run);
	return 0;
}
