/* lathe opt: passes over textual IR, for tests and for looking. */
#include "gen/commands.h"
#include "ir/pass.h"

#include <string.h>

typedef struct OptOptions {
	const char *passes, *stop_after;
	StringList disable, dump_after;
	bool check, dot;
} OptOptions;

#define FIELD(f) offsetof(OptOptions, f)
static const Option opt_options[] = {
	{"--passes", "LIST", OPTION_STRING, FIELD(passes),
	 "passes in their order, comma-separated, or all (default: none)"},
	{"--disable-pass", "PASS", OPTION_LIST, FIELD(disable), "leave a pass out"},
	{"--stop-after", "PASS", OPTION_STRING, FIELD(stop_after), "run no pass behind this one"},
	{"--dump-after", "PASS", OPTION_LIST, FIELD(dump_after),
	 "print the IR after a pass, or after all"},
	{"--check", NULL, OPTION_FLAG, FIELD(check), "only check; print nothing"},
	{"--dot", NULL, OPTION_FLAG, FIELD(dot), "print for Graphviz"},
};

static const Command opt_command = {
	"opt",
	"FILE.ir [options]",
	"Reads textual IR, checks it, runs passes over it and prints the result.",
	opt_options,
	sizeof opt_options / sizeof *opt_options,
	opt_main,
};

/* The words between commas. */
static StringList
split_list(Arena *run, Diag *d, const char *s)
{
	StringList list = {.count = 0};
	while (*s) {
		size_t n = strcspn(s, ",");
		if (list.count == OPTION_LIST_MAX) {
			diag_error(d, (Loc){0}, E_USAGE, "--passes names more than %d passes",
				   OPTION_LIST_MAX);
			break;
		}
		list.items[list.count++] = arena_strndup(run, s, n);
		s += n + (s[n] == ',');
	}
	return list;
}

static bool
run_passes(Arena *run, Diag *d, Graph *g, const OptOptions *o)
{
	StringList only = split_list(run, d, o->passes ? o->passes : "");
	bool all = only.count == 1 && !strcmp(only.items[0], "all");
	PassOptions p = {.only = all ? NULL : only.items,
			 .n_only = all ? 0 : only.count,
			 .disable = o->disable.items,
			 .n_disable = o->disable.count,
			 .dump_after = o->dump_after.items,
			 .n_dump = o->dump_after.count,
			 .stop_after = o->stop_after,
			 .dump = stdout};
	return diag_errors(d) == 0 && passes_run(g, &p, d);
}

static int
opt_file(Arena *run, Diag *d, const char *path, const OptOptions *o)
{
	Mapped m;
	const char *error;
	if (!file_map(path, &m, &error)) {
		diag_error(d, (Loc){0}, E_FILE, "%s: %s", path, error);
		return EXIT_USER;
	}
	const char *text = m.size ? (const char *)m.data : "";
	uint32_t file = diag_file(d, path, text, m.size);
	Graph *g = graph_parse(run, d, file, text, m.size);
	int result = g && run_passes(run, d, g, o) ? 0 : EXIT_USER;
	if (result == 0 && !o->check) {
		Text *t = text_new(run);
		if (o->dot)
			graph_print_dot(t, g);
		else
			graph_print(t, g);
		fwrite(t->text, 1, t->size, stdout);
	}
	file_unmap(&m);
	return result;
}

int
opt_main(int argc, char **argv)
{
	Arena *run = arena_new();
	Diag *d = diag_new(run, stderr);
	OptOptions o = {.passes = NULL};
	StringList operands = {.count = 0};
	int result = EXIT_USER;
	if (options_parse(&opt_command, d, argc, argv, &o, &operands)) {
		if (operands.count == 1)
			result = opt_file(run, d, operands.items[0], &o);
		else
			diag_error(d, (Loc){0}, E_USAGE, "opt wants one file");
	}
	arena_free(run);
	return result;
}
