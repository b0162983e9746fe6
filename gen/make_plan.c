/* lathe plan: a model and a calibration text in, a plan with codes out. */
#define _POSIX_C_SOURCE 200809L
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "gen/commands.h"
#include "gen/diagnostics.h"
#include "gen/method/recipe.h"
#include "gen/model/model.h"
#include "gen/plan/plan.h"
#include "gen/progress.h"
#include "ir/report.h"

enum { MEGABYTE = 1 << 20 };

typedef struct PlanOptions {
	const char *recipe, *bits, *calibration, *out, *tokenizer, *cc, *diagnostics, *state;
	StringList set;
	int jobs, memory;
	bool quiet;
} PlanOptions;

#define FIELD(f) offsetof(PlanOptions, f)
static const Option plan_options[] = {
	{"-o", "PLAN.json", OPTION_STRING, FIELD(out), "the plan; its data lie beside it"},
	{"--recipe", "NAME", OPTION_STRING, FIELD(recipe), "a recipe of `lathe recipes`"},
	{"--bits", "BITS", OPTION_STRING, FIELD(bits),
	 "of weights, activations and weight groups: w4a4, w2a16g64, wt5a8"},
	{"--set", "KEY=VALUE", OPTION_LIST, FIELD(set), "a setting of `lathe recipes`"},
	{"--calibration", "TEXT", OPTION_STRING, FIELD(calibration), "UTF-8 text to calibrate on"},
	{"--tokenizer", "FILE", OPTION_STRING, FIELD(tokenizer), "tokenizer of a llama2.c model"},
	{"--memory", "MB", OPTION_INT, FIELD(memory),
	 "rows of calibration in memory, the rest in TMPDIR (default: half of the machine's)"},
	{"--state", "FOLDER", OPTION_STRING, FIELD(state),
	 "keeps what is done there, so that a run that was interrupted goes on; removed at the "
	 "end"},
	{"--cc", "COMMAND", OPTION_STRING, FIELD(cc),
	 "C compiler, for the tokenizer (default: cc)"},
	DIAGNOSTICS_OPTION(FIELD(diagnostics)),
	{"-j", "N", OPTION_INT, FIELD(jobs), "threads (default: all cores)"},
	{"--quiet", NULL, OPTION_FLAG, FIELD(quiet), "say nothing but errors"},
};

static const Command plan_command = {
	"plan",
	"MODEL --recipe NAME --calibration TEXT -o PLAN.json [options]",
	"Makes a plan by a recipe: rotations, permutations, formats, codes and scales.",
	plan_options,
	sizeof plan_options / sizeof *plan_options,
	plan_main,
};

/* ---- the command ---------------------------------------------------------------------------- */

static bool
check_options(Diag *d, const PlanOptions *o, const StringList *operands)
{
	const char *missing = operands->count != 1 ? "one model" : NULL;
	missing = missing ? missing : !o->recipe ? "--recipe NAME" : NULL;
	missing = missing ? missing : !o->calibration ? "--calibration TEXT" : NULL;
	missing = missing ? missing : !o->out ? "-o PLAN.json" : NULL;
	if (!missing)
		return true;
	diag_error(d, (Loc){0}, E_USAGE, "%s is wanted", missing);
	diag_hint(d, "usage: lathe plan %s", plan_command.usage);
	return false;
}

static bool
take_recipe(Diag *d, const PlanOptions *o, Recipe *r)
{
	if (!recipe_named(d, r, o->recipe) || (o->bits && !recipe_bits(d, r, o->bits)))
		return false;
	for (int i = 0; i < o->set.count; i++)
		if (!recipe_set(d, r, o->set.items[i]))
			return false;
	return true;
}

/* What the plan's bytes depend on besides the model. */
static void
sign_plan(Arena *run, Plan *p, const RecipeRun *r, const uint8_t calibration[32])
{
	Text *settings = text_new(run);
	char *digest = arena_alloc(run, 65);
	recipe_print(settings, r->recipe);
	for (size_t i = 0; i < settings->size; i++)
		if (settings->text[i] == '\n')
			settings->text[i] = i + 1 < settings->size ? ' ' : 0;
	sha256_hex(calibration, digest);
	p->maker.program = "lathe " LATHE_VERSION;
	p->maker.recipe = settings->text;
	p->maker.calibration = digest;
	p->maker.machine = linalg_machine(r->linalg);
}

static bool
make_plan(Arena *run, Diag *d, const PlanOptions *o, const char *path, Progress *progress)
{
	Recipe recipe;
	uint8_t sha256[32];
	const ModelOptions model_options = {.tokenizer = o->tokenizer, .jobs = o->jobs};
	if (!take_recipe(d, o, &recipe))
		return false;
	progress_show(progress, "read the model");
	Model *m = model_read(run, d, path, &model_options);
	if (!m || !recipe_check(run, d, &recipe, m))
		return false;
	model_digest(m);
	const Calibration *calibration =
		calibration_read(run, d, m, o->calibration, &recipe, o->cc ? o->cc : "cc", sha256);
	if (!calibration)
		return false;
	const uint64_t half =
		(uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE) / 2;
	Pool *pool = pool_new(run, o->memory ? (uint64_t)o->memory * MEGABYTE : half);
	char model[65], text[65];
	sha256_hex(m->sha256, model);
	sha256_hex(sha256, text);
	const Linalg *linalg = linalg_open(run, o->jobs);
	const RecipeRun r = {.model = m,
			     .linalg = linalg,
			     .state = o->state,
			     .identity = arena_printf(run, "model %s\ntext %s\nmachine %s", model,
						      text, linalg_machine(linalg)),
			     .recipe = &recipe,
			     .tokens = &calibration->tokens,
			     .text = &calibration->text,
			     .held = &calibration->held,
			     .jobs = o->jobs,
			     .progress = progress_share,
			     .progress_arg = progress};
	Plan *p = recipe_run(run, d, &r, pool);
	if (p) {
		sign_plan(run, p, &r, sha256);
		progress_show(progress, "write the plan");
		plan_write_files(run, p, m, o->out);
	}
	pool_free(pool);
	return p != NULL;
}

int
plan_main(int argc, char **argv)
{
	PlanOptions o = {0};
	StringList operands = {.count = 0};
	Arena *run = arena_new();
	Diag *d = diag_new(run, stderr);
	Progress progress = {.quiet = true};
	bool ok = diagnostics_option(d, argc, argv) &&
		  options_parse(&plan_command, d, argc, argv, &o, &operands) &&
		  check_options(d, &o, &operands);
	if (ok) {
		o.jobs = o.jobs ? o.jobs : (int)sysconf(_SC_NPROCESSORS_ONLN);
		progress = progress_begin(o.quiet);
		ok = make_plan(run, d, &o, operands.items[0], &progress);
	}
	if (ok)
		progress_end(&progress, o.out);
	diag_finish(d);
	if (!ok)
		cleanup_run();
	arena_free(run);
	return ok ? 0 : EXIT_USER;
}

int
recipes_main(int argc, char **argv)
{
	static const Command command = {
		"recipes", "", "Lists the recipes of `lathe plan` and their settings.",
		NULL,	   0,  NULL};
	Arena *run = arena_new();
	Diag *d = diag_new(run, stderr);
	StringList operands = {.count = 0};
	Text *t = text_new(run);
	if (!options_parse(&command, d, argc, argv, NULL, &operands))
		return EXIT_USER;
	if (operands.count) {
		diag_error(d, (Loc){0}, E_USAGE, "unexpected operand '%s'", operands.items[0]);
		return EXIT_USER;
	}
	recipe_help(t);
	fputs(t->text, stdout);
	arena_free(run);
	return 0;
}
