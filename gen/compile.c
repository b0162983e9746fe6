/* lathe compile: a model in, an artefact out. This function reads like the pipeline. */
#define _POSIX_C_SOURCE 200809L
#include "gen/commands.h"
#include "gen/diagnostics.h"
#include "gen/model/model.h"
#include "gen/plan/apply.h"
#include "gen/plan/plan.h"
#include "gen/progress.h"
#include "gen/settings.h"
#include "ir/report.h"
#include "targets/artefact.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define DEFAULT_TARGETS "x86-64-v4,x86-64-v3-vnni,x86-64-v3,c"

enum { TARGETS_MAX = 16, OCLOC_SECONDS = 300 };

typedef struct CompileOptions {
	const char *target, *out, *plan, *tokenizer, *cc, *cflags, *ar, *emit, *stop_after;
	const char *diagnostics, *verify, *devices, *math, *arc_gemm, *depfile_target;
	ProofSettings proof;
	Settings settings;
	StringList dump_after, disable_pass;
	NpuOptions npu;
	int jobs, ctx, golden, ocloc_seconds;
	bool quiet;
} CompileOptions;

#define FIELD(f) offsetof(CompileOptions, f)
static const Option compile_options[] = {
	{"-o", "OUT", OPTION_STRING, FIELD(out),
	 "folder of the artefact; its last part is the name"},
	{"--target", "LIST", OPTION_STRING, FIELD(target),
	 "targets, comma-separated (default: " DEFAULT_TARGETS ")"},
	{"--plan", "FILE", OPTION_STRING, FIELD(plan),
	 "transforms and formats; what it does not say is the options'"},
	{"--verify", "WHEN", OPTION_STRING, FIELD(verify),
	 "on (default) or off: prove that the plan leaves the model's function unchanged"},
	PROOF_OPTIONS(FIELD(proof)),
	SETTINGS_OPTIONS(FIELD(settings)),
	{"--tokenizer", "FILE", OPTION_STRING, FIELD(tokenizer),
	 "tokenizer of a llama2.c model, or `none`"},
	{"--ctx", "N", OPTION_INT, FIELD(ctx), "longest context (default: the model's)"},
	{"--device", "LIST", OPTION_STRING, FIELD(devices),
	 "arc: devices of ocloc to make binaries for, all, or none (default: "
	 "dg2-g10,dg2-g11,dg2-g12)"},
	{"--ocloc-timeout", "N", OPTION_INT, FIELD(ocloc_seconds),
	 "arc: seconds that ocloc may take for a file (default: 300)"},
	{"--arc-gemm", "KIND", OPTION_STRING, FIELD(arc_gemm),
	 "arc: products of batches by dp4a (default), or by dpas, which no Arc has proved yet"},
	{"--math", "NAME", OPTION_STRING, FIELD(math),
	 "arc: exp, 1/x and 1/sqrt(x) of contract (default), or libclc, outside the contract"},
	{"--npu-platform", "LIST", OPTION_STRING, FIELD(npu.platforms),
	 "npu: generations that the models must suit: 3720, 4000, 5010 (default: all)"},
	{"--npu-w2", "TYPE", OPTION_STRING, FIELD(npu.w2),
	 "npu: weights of 2 bits as i4 (default), or as u2, which 3720 does not take"},
	{"--npu-context", "N", OPTION_INT, FIELD(npu.context),
	 "npu: positions of the static models (default: 1024, or the model's)"},
	{"--npu-chunk", "N", OPTION_INT, FIELD(npu.chunk),
	 "npu: tokens of a prefill of the static models (default: 128, or fewer)"},
	{"--npu-blob", "WHEN", OPTION_STRING, FIELD(npu.blob),
	 "npu: auto: compiled models too, where an OpenVINO with an NPU compiler is found; none "
	 "(default)"},
	{"--npu-openvino", "PATH", OPTION_STRING, FIELD(npu.openvino),
	 "npu: the OpenVINO that makes blobs: a folder, or its libopenvino_c"},
	{"--emit", "LIST", OPTION_STRING, FIELD(emit),
	 "c: stop before the C compiler; spvasm: the kernels of arc as text too"},
	{"--cc", "COMMAND", OPTION_STRING, FIELD(cc), "C compiler (default: cc)"},
	{"--cflags", "FLAGS", OPTION_STRING, FIELD(cflags), "more flags for it"},
	{"--ar", "COMMAND", OPTION_STRING, FIELD(ar), "archiver (default: ar)"},
	{"--depfile-target", "PATH", OPTION_STRING, FIELD(depfile_target),
	 "what depends on the inputs in the depfile OUT/NAME.d (default: the files of OUT)"},
	{"--dump-after", "PASS", OPTION_LIST, FIELD(dump_after),
	 "print the IR after a pass, or after all"},
	{"--disable-pass", "PASS", OPTION_LIST, FIELD(disable_pass), "leave a pass out"},
	{"--stop-after", "PASS", OPTION_STRING, FIELD(stop_after),
	 "print the IR after a pass and write nothing"},
	{"--golden", "N", OPTION_INT, FIELD(golden), "tokens of the selftest's vector"},
	DIAGNOSTICS_OPTION(FIELD(diagnostics)),
	{"-j", "N", OPTION_INT, FIELD(jobs), "threads (default: all cores)"},
	{"--quiet", NULL, OPTION_FLAG, FIELD(quiet), "say nothing but errors"},
};

static const Command compile_command = {
	"compile",
	"MODEL -o OUT [options]",
	"Compiles a model (GGUF, or llama2.c's .bin) into a library, a header, weights and a "
	"program.",
	compile_options,
	sizeof compile_options / sizeof *compile_options,
	compile_main,
};

/* ---- checks of the command line ----------------------------------------------------------- */

static int
parse_targets(Arena *run, Diag *d, const char *list, const Target **targets)
{
	const char *names[TARGETS_MAX];
	bool wanted[TARGETS_MAX] = {false};
	int n = 0;
	for (int i = 0; i < target_count; i++)
		names[i] = target_table[i].name;
	for (const char *s = list; s; s = strchr(s, ',') ? strchr(s, ',') + 1 : NULL) {
		const char *name = arena_strndup(run, s, strcspn(s, ","));
		const Target *t = target_find(name);
		if (!t) {
			const char *near = nearest_name(name, names, (size_t)target_count);
			diag_error(d, (Loc){0}, E_TARGET, "unknown target '%s'", name);
			diag_hint(d,
				  near ? "did you mean '%s'? `lathe targets` lists them"
				       : "`lathe targets` lists them%s",
				  near ? near : "");
			return 0;
		}
		wanted[t - target_table] = true;
	}
	bool level = false;
	for (int i = 0; i < target_count; i++)
		level |= wanted[i] && !target_table[i].device;
	if (!level) {
		diag_error(d, (Loc){0}, E_TARGET, "no CPU level is among the targets '%s'", list);
		diag_hint(d, "the program and its tokenizer run there: add c, or x86-64-v4");
		return 0;
	}
	/* The table's order is best first, whatever the user's. */
	for (int i = 0; i < target_count; i++)
		if (wanted[i])
			targets[n++] = &target_table[i];
	return n;
}

/* Options that only one target has; a string, or a number. */
static const struct {
	const char *option, *target;
	size_t field;
	bool number;
} options_of_targets[] = {
	{"--device", "arc", FIELD(devices), false},
	{"--ocloc-timeout", "arc", FIELD(ocloc_seconds), true},
	{"--arc-gemm", "arc", FIELD(arc_gemm), false},
	{"--math", "arc", FIELD(math), false},
	{"--npu-platform", "npu", FIELD(npu.platforms), false},
	{"--npu-w2", "npu", FIELD(npu.w2), false},
	{"--npu-context", "npu", FIELD(npu.context), true},
	{"--npu-chunk", "npu", FIELD(npu.chunk), true},
	{"--npu-blob", "npu", FIELD(npu.blob), false},
	{"--npu-openvino", "npu", FIELD(npu.openvino), false},
};

static bool
target_among(const char *name, const Target *const *targets, int n)
{
	for (int i = 0; i < n; i++)
		if (!strcmp(targets[i]->name, name))
			return true;
	return false;
}

static bool
not_asked_for(Diag *d, const char *option, const char *target)
{
	diag_error(d, (Loc){0}, E_USAGE, "%s is about the target %s, which is not asked for",
		   option, target);
	diag_hint(d, "--target %s,x86-64-v4", target);
	return false;
}

/* Whether the list of --emit has the kind. */
static bool
emits(const char *list, const char *kind)
{
	const size_t length = strlen(kind);
	for (const char *s = list; s; s = strchr(s, ',') ? strchr(s, ',') + 1 : NULL)
		if (strcspn(s, ",") == length && !strncmp(s, kind, length))
			return true;
	return false;
}

static bool
emit_known(const char *list)
{
	size_t known = 0, n = 1;
	for (const char *s = list; *s; s++)
		n += *s == ',';
	known = (size_t)emits(list, "c") + emits(list, "spvasm");
	return known == n;
}

/* MATHS: no such name. */
static Math
math_of(const char *name)
{
	int m = 0;
	while (m < MATHS && strcmp(math_names[m], name))
		m++;
	return (Math)m;
}

static bool
check_options(Arena *run, Diag *d, CompileOptions *o, const StringList *operands)
{
	if (operands->count != 1) {
		diag_error(d, (Loc){0}, E_USAGE,
			   operands->count ? "more than one model is given" : "no model is given");
		diag_hint(d, "usage: lathe compile %s", compile_command.usage);
		return false;
	}
	if (!o->out && !o->stop_after) {
		diag_error(d, (Loc){0}, E_USAGE, "no output is given");
		diag_hint(d, "-o out/NAME");
		return false;
	}
	if (o->out) {
		size_t n = strlen(o->out);
		while (n > 1 && o->out[n - 1] == '/')
			n--;
		o->out = arena_strndup(run, o->out, n);
		const char *slash = strrchr(o->out, '/');
		const char *name = slash ? slash + 1 : o->out;
		if (!artefact_name_ok(name)) {
			diag_error(d, (Loc){0}, E_OUTPUT, "'%s' cannot name an artefact", name);
			diag_hint(d, "64 letters, digits, '.', '_' and '-' at most, not '.' or '-' "
				     "first");
			return false;
		}
	}
	const char *const tools[][2] = {{"--cc", o->cc}, {"--ar", o->ar}};
	for (int i = 0; i < 2; i++)
		if (tools[i][1] && !tools[i][1][strspn(tools[i][1], " ")]) {
			diag_error(d, (Loc){0}, E_USAGE, "%s names no command", tools[i][0]);
			return false;
		}
	if (o->verify && strcmp(o->verify, "on") && strcmp(o->verify, "off")) {
		diag_error(d, (Loc){0}, E_USAGE, "--verify '%s' is not known", o->verify);
		diag_hint(d, "on or off");
		return false;
	}
	if (o->arc_gemm && strcmp(o->arc_gemm, "dp4a") && strcmp(o->arc_gemm, "dpas")) {
		diag_error(d, (Loc){0}, E_USAGE, "--arc-gemm '%s' is not known", o->arc_gemm);
		diag_hint(d, "dp4a or dpas");
		return false;
	}
	if (o->emit && !emit_known(o->emit)) {
		diag_error(d, (Loc){0}, E_USAGE, "--emit '%s' is not known", o->emit);
		diag_hint(d, "c, spvasm or both");
		return false;
	}
	if (o->math && math_of(o->math) == MATHS) {
		diag_error(d, (Loc){0}, E_USAGE, "--math '%s' is not known", o->math);
		diag_hint(d, "contract or libclc");
		return false;
	}
	return true;
}

/* Options of targets that are not asked for; false after a diagnostic. */
static bool
check_target_options(Diag *d, const CompileOptions *o, const Target *const *targets, int n)
{
	for (size_t i = 0; i < sizeof options_of_targets / sizeof *options_of_targets; i++) {
		const void *field = (const char *)o + options_of_targets[i].field;
		const bool given = options_of_targets[i].number
					   ? *(const int *)field != 0
					   : *(const char *const *)field != NULL;
		if (given && !target_among(options_of_targets[i].target, targets, n))
			return not_asked_for(d, options_of_targets[i].option,
					     options_of_targets[i].target);
	}
	if (o->emit && emits(o->emit, "spvasm") && !target_among("arc", targets, n))
		return not_asked_for(d, "--emit spvasm", "arc");
	return true;
}

/* The devices that --device means, in o; false after diagnostics. */
static bool
choose_devices(Arena *run, Diag *d, CompileOptions *o, const Target *const *targets, int n)
{
	if (!o->ocloc_seconds)
		o->ocloc_seconds = OCLOC_SECONDS;
	for (int i = 0; i < n; i++) {
		const Device *device = targets[i]->device;
		if (!device || !device->devices)
			continue;
		o->devices = device->devices(run, d, o->devices, o->ocloc_seconds);
		if (!o->devices)
			return false;
	}
	return true;
}

/* The model's digest, made beside other work. */
typedef struct Digest {
	Model *model;
	pthread_t thread;
	bool running, done;
} Digest;

static void *
digest_thread(void *model)
{
	model_digest(model);
	return NULL;
}

static void
digest_start(Digest *g)
{
	g->running = !g->done && !pthread_create(&g->thread, NULL, digest_thread, g->model);
}

/* From here on the model has its digest. */
static void
digest_finish(Digest *g)
{
	if (g->running)
		pthread_join(g->thread, NULL);
	else if (!g->done)
		model_digest(g->model);
	g->running = false;
	g->done = true;
}

/* ---- the command -------------------------------------------------------------------------- */

/* Model to finished graph; null after diagnostics. */
static Graph *
build_graph(Arena *run, Diag *d, Model *m, const Plan *plan, const CompileOptions *o)
{
	const PassOptions passes = {.disable = o->disable_pass.items,
				    .n_disable = o->disable_pass.count,
				    .dump_after = o->dump_after.items,
				    .n_dump = o->dump_after.count,
				    .stop_after = o->stop_after,
				    .dump = stdout};
	if (o->ctx) {
		if ((uint32_t)o->ctx > m->n_ctx) {
			diag_error(d, m->loc, E_USAGE,
				   "--ctx %d is beyond the model's context of %u", o->ctx,
				   m->n_ctx);
			return NULL;
		}
		m->n_ctx = (uint32_t)o->ctx;
	}
	if ((uint32_t)o->golden > m->n_ctx) {
		diag_error(d, m->loc, E_USAGE, "--golden %d is beyond the context of %u", o->golden,
			   m->n_ctx);
		return NULL;
	}
	Graph *g = graph_build(run, m);
	if (!settings_apply(&o->settings, d, g) || (plan && !plan_apply(d, g, plan)) ||
	    !passes_run(g, &passes, d) || diag_errors(d))
		return NULL;
	return g;
}

/* What the artefact says of its proof. */
typedef struct Proved {
	ProofResult result;
	bool ran;
	const char *words;
} Proved;

/* false after diagnostics. */
static bool
prove(Arena *run, Diag *d, const Graph *g, const CompileOptions *o, const ProveOptions *how,
      Progress *progress, Proved *p)
{
	p->words = "no plan: weights, rows and cache are in the model's own basis";
	if (!g->plan)
		return true;
	p->words = "not proved: --verify=off";
	if (o->verify && !strcmp(o->verify, "off"))
		return true;
	progress_show(progress, "prove the plan");
	if (!plan_prove(run, d, g, how, &p->result))
		return false;
	p->ran = true;
	p->words = plan_proof_text(run, g, &p->result);
	progress_show(progress, p->words);
	return true;
}

/* Files that the artefact depends on. */
static const char **
inputs_of(Arena *run, const Model *m, const CompileOptions *o, const Plan *plan,
	  const ProveOptions *how, int *n)
{
	const char *const others[] = {o->tokenizer && strcmp(o->tokenizer, "none") ? o->tokenizer
										   : NULL,
				      o->plan, plan ? plan->data_file : NULL};
	const size_t n_others = sizeof others / sizeof *others;
	const Model *const models[] = {m, how->reference};
	const uint32_t n_reference = how->reference ? how->reference->n_files : 0;
	const char **inputs = ARENA_ARRAY(run, const char *, m->n_files + n_others + n_reference);
	*n = 0;
	for (int k = 0; k < 2; k++) {
		for (uint32_t i = 0; models[k] && i < models[k]->n_files; i++)
			inputs[(*n)++] = models[k]->files[i].path;
		for (size_t i = 0; i < n_others && k == 0; i++)
			if (others[i])
				inputs[(*n)++] = others[i];
	}
	return inputs;
}

/* From the model to the artefact; false after diagnostics. */
static bool
make_artefact(Arena *run, Diag *d, Digest *digest, const Plan *plan, const ProveOptions *how,
	      const CompileOptions *o, const Target *const *targets, int n_targets,
	      Progress *progress)
{
	Graph *g = build_graph(run, d, digest->model, plan, o);
	if (!g)
		return false;
	if (o->stop_after) {
		Text *t = text_new(run);
		graph_print(t, g);
		fwrite(t->text, 1, t->size, stdout);
		return true;
	}
	if (g->tied.chosen != TIED_CHEAPER)
		progress_show(progress,
			      arena_printf(run, "embedding and head are %s: %s",
					   g->tied.chosen == TIED_TWICE
						   ? "stored twice"
						   : "one table, transformed as it is read",
					   g->tied.why));
	Proved proved = {.ran = false};
	if (!prove(run, d, g, o, how, progress, &proved))
		return false;
	int n_inputs;
	const char *const *inputs = inputs_of(run, digest->model, o, plan, how, &n_inputs);
	const ArtefactOptions artefact = {.out = o->out,
					  .cc = o->cc ? o->cc : "cc",
					  .cflags = o->cflags,
					  .ar = o->ar ? o->ar : "ar",
					  .sources_only = o->emit && emits(o->emit, "c"),
					  .disassembly = o->emit && emits(o->emit, "spvasm"),
					  .math = o->math ? math_of(o->math) : MATH_CONTRACT,
					  .devices = o->devices,
					  .dpas = o->arc_gemm && !strcmp(o->arc_gemm, "dpas"),
					  .device_seconds = o->ocloc_seconds,
					  .npu = o->npu,
					  .jobs = o->jobs,
					  .n_golden = o->golden,
					  .inputs = inputs,
					  .n_inputs = n_inputs,
					  .depfile_target = o->depfile_target,
					  .proof = proved.ran ? &proved.result : NULL,
					  .proof_words = proved.words,
					  .progress = progress_show,
					  .progress_arg = progress};
	digest_finish(digest);
	if (!artefact_write(run, d, g, targets, n_targets, &artefact))
		return false;
	progress_end(progress, o->out);
	return true;
}

static int
compile(Arena *run, Diag *d, CompileOptions *o, const char *path)
{
	const Target *targets[TARGETS_MAX];
	Progress progress = progress_begin(o->quiet);
	const int n_targets =
		parse_targets(run, d, o->target ? o->target : DEFAULT_TARGETS, targets);
	if (!n_targets || !check_target_options(d, o, targets, n_targets) ||
	    !choose_devices(run, d, o, targets, n_targets))
		return EXIT_USER;
	progress_show(&progress, "read the model");
	const ModelOptions model_options = {
		.tokenizer = o->tokenizer, .rotated = o->plan != NULL, .jobs = o->jobs};
	Model *m = model_read(run, d, path, &model_options);
	if (!m)
		return EXIT_USER;
	Digest digest = {.model = m};
	if (o->plan && plan_wants_digest(o->plan))
		digest_finish(&digest);
	const Plan *plan = o->plan ? plan_read(run, d, o->plan, m) : NULL;
	ProveOptions how = {.jobs = o->jobs};
	if ((o->plan && !plan) || !proof_settings(run, d, plan, m, &o->proof, &how))
		return EXIT_USER;
	digest_start(&digest);
	const bool ok =
		make_artefact(run, d, &digest, plan, &how, o, targets, n_targets, &progress);
	digest_finish(&digest);
	return ok ? 0 : EXIT_USER;
}

int
compile_main(int argc, char **argv)
{
	CompileOptions o = {0};
	StringList operands = {.count = 0};
	Arena *run = arena_new();
	Diag *d = diag_new(run, stderr);
	int status = EXIT_USER;
	if (diagnostics_option(d, argc, argv) &&
	    options_parse(&compile_command, d, argc, argv, &o, &operands) &&
	    check_options(run, d, &o, &operands)) {
		if (!o.jobs)
			o.jobs = (int)sysconf(_SC_NPROCESSORS_ONLN);
		o.quiet = o.quiet || diag_is_document(d);
		status = compile(run, d, &o, operands.items[0]);
	}
	diag_finish(d);
	if (status)
		cleanup_run();
	arena_free(run);
	return status;
}

/* false after a diagnostic. */
static bool
takes_nothing(const Command *c, Diag *d, const StringList *operands)
{
	if (operands->count)
		diag_error(d, (Loc){0}, E_USAGE, "%s takes no arguments, not '%s'", c->name,
			   operands->items[0]);
	return !operands->count;
}

typedef struct TargetsOptions {
	bool json;
} TargetsOptions;

static const Option targets_options[] = {
	{"--json", NULL, OPTION_FLAG, offsetof(TargetsOptions, json),
	 "one JSON object, for build systems that compile the sources of --emit=c"},
};

static const Command targets_command = {
	"targets",
	"[options]",
	"Lists the targets, best first.",
	targets_options,
	sizeof targets_options / sizeof *targets_options,
	targets_main,
};

/* What a build system has to know: flags, and what stands behind NAME in each source's name. */
static void
targets_json(Text *t)
{
	text_printf(t, "{\"cflags\": \"");
	for (const char *const *f = artefact_flags; *f; f++)
		text_printf(t, "%s%s", f == artefact_flags ? "" : " ", *f);
	text_printf(t, "\",\n \"default\": \"%s\",\n \"targets\": [", DEFAULT_TARGETS);
	for (int i = 0; i < target_count; i++) {
		const Target *one = &target_table[i];
		text_printf(t, "%s\n  {\"name\": \"%s\", \"what\": \"%s\", \"device\": %s, ",
			    i ? "," : "", one->name, one->what, one->device ? "true" : "false");
		text_printf(t, "\"source\": \"%s%s.c\", \"flags\": \"%s\"}", one->device ? "" : "_",
			    one->device ? one->device->source : one->suffix, one->flags);
	}
	text_printf(t, "\n ]}\n");
}

int
targets_main(int argc, char **argv)
{
	TargetsOptions o = {false};
	StringList operands = {.count = 0};
	Arena *run = arena_new();
	Diag *d = diag_new(run, stderr);
	if (!options_parse(&targets_command, d, argc, argv, &o, &operands) ||
	    !takes_nothing(&targets_command, d, &operands))
		return EXIT_USER;
	if (o.json) {
		Text *t = text_new(run);
		targets_json(t);
		fputs(t->text, stdout);
	}
	for (int i = 0; i < target_count && !o.json; i++) {
		const Target *one = &target_table[i];
		Text *devices = text_new(run);
		if (one->device && one->device->list)
			one->device->list(devices, OCLOC_SECONDS);
		printf("%-14s %s\n               %s\n%s", one->name, one->what,
		       one->flags[0] ? one->flags : "(no flags)", devices->text);
	}
	arena_free(run);
	return 0;
}

int
passes_main(int argc, char **argv)
{
	static const Command command = {"passes", "", "Lists the passes in their order.",
					NULL,	  0,  NULL};
	Arena *run = arena_new();
	StringList operands = {.count = 0};
	Diag *d = diag_new(run, stderr);
	if (!options_parse(&command, d, argc, argv, NULL, &operands) ||
	    !takes_nothing(&command, d, &operands))
		return EXIT_USER;
	for (int i = 0; i < pass_count; i++)
		printf("%-12s %s%s\n", pass_table[i].name, pass_table[i].what,
		       pass_table[i].mandatory ? " (always runs)" : "");
	arena_free(run);
	return 0;
}
