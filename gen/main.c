/* The command line of lathe: a table of commands. */
#define _GNU_SOURCE
#include "gen/commands.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

static const struct {
	const char *name, *what;
	int (*run)(int argc, char **argv);
} commands[] = {
	{"compile", "compile a model into a library, a header and a program", compile_main},
	{"plan", "make a plan by a recipe", plan_main},
	{"import", "make the plan of a model that another tool has rotated", import_main},
	{"recipes", "list the recipes of plans and their settings", recipes_main},
	{"eval", "compare an artefact with its model on a text", eval_main},
	{"verify", "check a plan against its model", verify_main},
	{"explain", "say what becomes of a plan's transforms", explain_main},
	{"inspect", "print what a model file holds", inspect_main},
	{"schema", "print the JSON Schema of plans", schema_main},
	{"targets", "list the targets and the C flags of each", targets_main},
	{"devices", "list the devices that artefacts may run on", devices_main},
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

/* ---- signals ------------------------------------------------------------------------------ */

/* Leaves nothing half-written behind when the user interrupts. */
static void *
interrupted(void *signals)
{
	int number;
	if (sigwait(signals, &number))
		return NULL;
	ending_begin();
	cleanup_run();
	_exit(128 + number);
}

/* A mapped file that becomes shorter while it is read. */
static void
file_shrank(int number)
{
	static const char text[] = "lathe: error: a file became shorter while it was read\n";
	(void)number;
	ending_begin();
	const ssize_t written = write(2, text, sizeof text - 1);
	(void)written;
	cleanup_run();
	_exit(EXIT_ENVIRONMENT);
}

/* Signals as a shell expects them, whatever the parent left; `signals` lives as long as main. */
static void
catch_signals(sigset_t *signals)
{
	static const int interrupts[] = {SIGINT, SIGTERM, SIGHUP};
	struct sigaction old;
	pthread_t thread;
	signal(SIGPIPE, SIG_IGN);
	signal(SIGXFSZ, SIG_IGN);
	signal(SIGCHLD, SIG_DFL);
	signal(SIGBUS, file_shrank);
	sigemptyset(signals);
	for (size_t i = 0; i < sizeof interrupts / sizeof *interrupts; i++)
		/* nohup and shells that start something in the background ignore some. */
		if (!sigaction(interrupts[i], NULL, &old) && old.sa_handler != SIG_IGN)
			sigaddset(signals, interrupts[i]);
	pthread_sigmask(SIG_BLOCK, signals, NULL);
	const int error = pthread_create(&thread, NULL, interrupted, signals);
	if (error)
		fatal_environment("cannot start a thread: %s", strerror(error));
	pthread_detach(thread);
}

/* No file that is opened later may take the number of a standard stream. */
static void
open_standard_streams(void)
{
	for (int fd = 0; fd <= 2; fd++)
		if (fcntl(fd, F_GETFD) < 0 && errno == EBADF && open("/dev/null", O_RDWR) != fd)
			_exit(EXIT_ENVIRONMENT);
}

/* ---- commands ----------------------------------------------------------------------------- */

static int
run_command(int argc, char **argv)
{
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

int
main(int argc, char **argv)
{
	sigset_t signals;
	open_standard_streams();
	catch_signals(&signals);
	const int status = run_command(argc, argv);
	stdout_finish();
	return status;
}
