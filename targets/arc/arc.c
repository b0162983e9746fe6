/* The target arc: modules, their binaries and the launcher into the folder of the artefact. */
#define _POSIX_C_SOURCE 200809L
#include "arc.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static bool
check(Arena *run, Diag *d, const Artefact *x)
{
	ArcProgram p;
	if (arc_missing()) {
		diag_error(d, (Loc){0}, E_ARC, "this lathe was built without the arc target: %s",
			   arc_missing());
		return false;
	}
	arc_load();
	return arc_program(run, d, x, &p);
}

static const char *
module_name(Arena *run, int family)
{
	return arena_printf(run, "arc/%s.spv", arc_families[family]);
}

/*
 * A family's module, made and checked by a child: the backend keeps numbers of blocks from one
 * module to the next of a process, by addresses, and an address that comes again spoils the second.
 * Nobody else runs in this process now.
 */
static pid_t
start_module(const Build *b, const ArcProgram *p, ArcFamily family)
{
	const char *path = artefact_staged(b, module_name(b->run, family));
	fflush(NULL);
	const pid_t child = fork();
	if (child < 0)
		fatal_environment("cannot start a process: %s", strerror(errno));
	/* A group of its own, set by whichever comes first: an early end ends it too. */
	setpgid(child, child);
	if (child) {
		cleanup_add_child(child);
		return child;
	}
	const ArcBinary m = arc_module(b->run, p, family);
	arc_check(arc_families[family], m);
	OutFile *f = outfile_open(b->run, path);
	uint8_t digest[32];
	outfile_write(f, m.bytes, m.size);
	outfile_commit(f, digest);
	_exit(0);
}

static void
write_modules(Build *b, const ArcProgram *p)
{
	pid_t children[ARC_FAMILIES];
	int status = 0, ended = 0, signalled = 0;
	for (int i = 0; i < ARC_FAMILIES; i++)
		children[i] = start_module(b, p, (ArcFamily)i);
	for (int i = 0; i < ARC_FAMILIES; i++) {
		while (waitpid(children[i], &status, 0) < 0 && errno == EINTR)
			;
		cleanup_remove_child(children[i]);
		ended = WIFEXITED(status) && WEXITSTATUS(status) ? WEXITSTATUS(status) : ended;
		signalled = WIFSIGNALED(status) ? WTERMSIG(status) : signalled;
		artefact_add(b, module_name(b->run, i));
	}
	/* One that ends by itself has said why, cleaned up and ended the others. */
	if (ended)
		exit(ended);
	if (signalled)
		BUG("a generator of kernels ended by signal %d", signalled);
}

/* The names in a list separated by commas; "none" is the empty list. */
static const char **
split(Arena *run, const char *list, int *n)
{
	const char **names = ARENA_ARRAY(run, const char *, strlen(list) + 1);
	*n = 0;
	for (const char *s = list; strcmp(list, "none") && *s;) {
		const size_t length = strcspn(s, ",");
		if (length)
			names[(*n)++] = arena_strndup(run, s, length);
		s += length + (s[length] != 0);
	}
	return names;
}

/* Binaries for the devices that the options name; how many of them there are in the end. */
static int
write_binaries(Build *b, const ArcProgram *p, const char **devices, int n)
{
	Text *listing = text_new(b->run);
	for (int i = 0; i < n; i++) {
		if (!artefact_name_ok(devices[i]))
			fatal_environment("'%s' is no device of ocloc", devices[i]);
		artefact_folder(b, arena_printf(b->run, "arc/%s", devices[i]));
		text_printf(listing, "%s\n", devices[i]);
		for (int k = 0; k < ARC_FAMILIES; k++)
			if (!arc_native(b, p, devices[i], (ArcFamily)k, listing)) {
				artefact_step(b, "no ocloc here: SPIR-V only");
				return 0;
			}
	}
	if (n)
		artefact_text(b, "arc/binaries.txt", listing);
	return n;
}

static void
write_files(Build *b)
{
	Arena *run = b->run;
	const Artefact *x = b->x;
	ArcProgram p;
	Text *listing = text_new(run);
	int n;
	const char **devices = split(run, b->o->devices, &n);
	if (!arc_program(run, diag_new(run, stderr), x, &p))
		BUG("arc: what was checked cannot be made");
	artefact_step(b, "arc kernels");
	artefact_folder(b, "arc");
	write_modules(b, &p);
	for (int i = 0; i < ARC_FAMILIES; i++)
		arc_print(listing, &p, (ArcFamily)i);
	artefact_text(b, "arc/kernels.txt", listing);
	n = write_binaries(b, &p, devices, n);
	artefact_text(b, arena_printf(run, "%s_arc.h", x->name), arc_launcher_header(run, x));
	artefact_text(b, arena_printf(run, "%s_arc.c", x->name), arc_launcher(run, &p, devices, n));
}

const Device arc_device = {check, write_files};
