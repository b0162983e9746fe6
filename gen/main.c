/* The command line of lathe: a table of commands. */
#include "gen/commands.h"

#include <signal.h>
#include <string.h>
#include <unistd.h>

static const struct {
	const char *name, *what;
	int (*run)(int argc, char **argv);
} commands[] = {
	{"compile", "compile a model into a library, a header and a program", compile_main},
	{"inspect", "print what a model file holds", inspect_main},
	{"targets", "list the targets and the C flags of each", targets_main},
	{"passes", "list the passes in their order", passes_main},
	{"opt", "run passes over textual IR", opt_main},
	{"reference", "logits by the interpreters, for tests", reference_main},
};
enum { N_COMMANDS = sizeof commands / sizeof *commands };

static void
help(FILE *out)
{
	fputs("usage: lathe COMMAND [arguments]\n\n"
	      "Compiles a language model of fixed weights into kernels of its own.\n\ncommands:\n",
	      out);
	for (int i = 0; i < N_COMMANDS; i++)
		fprintf(out, "  %-10s %s\n", commands[i].name, commands[i].what);
	fputs("\n`lathe COMMAND --help` explains one. Exit codes: 0 done, 1 the input is wrong, "
	      "2 the machine\nlacks something, 70 a bug in Lathe.\n",
	      out);
}

/* Leaves nothing half-written behind when the user interrupts. */
static void
interrupted(int signal_number)
{
	cleanup_run();
	_exit(128 + signal_number);
}

int
main(int argc, char **argv)
{
	signal(SIGINT, interrupted);
	signal(SIGTERM, interrupted);
	signal(SIGPIPE, SIG_IGN);
	if (argc < 2 || !strcmp(argv[1], "--help") || !strcmp(argv[1], "-h") ||
	    !strcmp(argv[1], "help")) {
		help(argc < 2 ? stderr : stdout);
		return argc < 2 ? EXIT_USER : 0;
	}
	if (!strcmp(argv[1], "--version")) {
		printf("lathe %s\n", LATHE_VERSION);
		return 0;
	}
	const char *names[N_COMMANDS];
	for (int i = 0; i < N_COMMANDS; i++) {
		names[i] = commands[i].name;
		if (!strcmp(argv[1], names[i]))
			return commands[i].run(argc - 1, argv + 1);
	}
	const char *near = nearest_name(argv[1], names, N_COMMANDS);
	fprintf(stderr, "lathe: error: unknown command '%s' [E0001]\n", argv[1]);
	if (near)
		fprintf(stderr, "  hint: did you mean '%s'?\n", near);
	else
		fputs("  hint: `lathe --help` lists the commands\n", stderr);
	return EXIT_USER;
}
