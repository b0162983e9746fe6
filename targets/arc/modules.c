/*
 * The modules of a program, each made and checked by a child: LLVM's backend keeps numbers of
 * blocks from one module to the next of a process, by addresses, and an address that comes again
 * spoils the second; and LLVM may end its process. Nobody else runs in this process now.
 */
#define _POSIX_C_SOURCE 200809L
#include "arc.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static const char *
module_name(Arena *run, int family)
{
	return arena_printf(run, "arc/%s.spv", arc_families[family]);
}

static const char *
text_name(Arena *run, int family)
{
	return arena_printf(run, "arc/%s.spvasm", arc_families[family]);
}

/* A module, checked; a failure ends the process with ARC_FAILED and a line on stderr. */
static ArcBinary
make(const Build *b, const ArcProgram *p, ArcFamily family)
{
	const ArcBinary m = arc_module(b->run, p, family);
	if (!arc_check(b->run, arc_families[family], m, b->x->math))
		_exit(ARC_FAILED);
	return m;
}

/* 0 in the child. */
static pid_t
start(void)
{
	fflush(NULL);
	const pid_t child = fork();
	if (child < 0)
		fatal_environment("cannot start a process: %s", strerror(errno));
	/* A group of its own, set by whichever comes first: an early end ends it too. */
	setpgid(child, child);
	if (child)
		cleanup_add_child(child);
	return child;
}

/* Its status of waitpid. */
static int
wait_for(pid_t child)
{
	int status = 0;
	while (waitpid(child, &status, 0) < 0 && errno == EINTR)
		;
	cleanup_remove_child(child);
	return status;
}

static pid_t
start_module(const Build *b, const ArcProgram *p, ArcFamily family)
{
	const pid_t child = start();
	if (child)
		return child;
	const ArcBinary m = make(b, p, family);
	OutFile *f = outfile_open(b->run, artefact_staged(b, module_name(b->run, family)));
	uint8_t digest[32];
	outfile_write(f, m.bytes, m.size);
	outfile_commit(f, digest);
	if (b->o->disassembly)
		outfile_text(b->run, artefact_staged(b, text_name(b->run, family)),
			     arc_disassembly(b->run, m));
	_exit(0);
}

/* Whether a module of this entry alone cannot be made either; says nothing. */
static bool
fails_alone(const Build *b, const ArcProgram *p, const ArcEntry *n)
{
	ArcProgram one = *p;
	ArcEntry copy = *n;
	one.entries = &copy;
	one.n_entries = 1;
	const pid_t child = start();
	if (child)
		return wait_for(child) != 0;
	const int nothing = open("/dev/null", O_WRONLY);
	if (nothing >= 0)
		dup2(nothing, STDERR_FILENO);
	make(b, &one, n->family);
	_exit(0);
}

void
arc_note(const Build *b, const ArcEntry *n)
{
	diag_note(b->d, n->loc, "the kernel %s computes: %s", n->name, n->words);
}

/* The kernel that a family's module fails for, and the place of what it computes: our bug. */
static void
blame(const Build *b, const ArcProgram *p, ArcFamily family)
{
	for (int i = 0; i < p->n_entries; i++) {
		const ArcEntry *n = &p->entries[i];
		if (n->family != family || !fails_alone(b, p, n))
			continue;
		arc_note(b, n);
		BUG("arc: the kernel %s cannot be made", n->name);
	}
	BUG("arc: the %s kernels cannot be made together", arc_families[family]);
}

void
arc_modules(Build *b, const ArcProgram *p)
{
	pid_t children[ARC_FAMILIES];
	int failed = -1, ended = 0;
	for (int i = 0; i < ARC_FAMILIES; i++)
		children[i] = start_module(b, p, (ArcFamily)i);
	for (int i = 0; i < ARC_FAMILIES; i++) {
		const int status = wait_for(children[i]);
		const int exited = WIFEXITED(status) ? WEXITSTATUS(status) : 0;
		if (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL)
			fatal_environment(
				"the generator of the %s kernels was killed: out of memory?",
				arc_families[i]);
		if (WIFSIGNALED(status))
			fprintf(stderr,
				"lathe: the generator of the %s kernels ended by signal %d\n",
				arc_families[i], WTERMSIG(status));
		if (WIFSIGNALED(status) || exited == ARC_FAILED)
			failed = i;
		else if (exited)
			ended = exited;
	}
	/* One that ends by itself has said why, cleaned up and ended the others. */
	if (ended)
		exit(ended);
	if (failed >= 0)
		blame(b, p, (ArcFamily)failed);
	for (int i = 0; i < ARC_FAMILIES; i++) {
		artefact_add(b, module_name(b->run, i));
		if (b->o->disassembly)
			artefact_add(b, text_name(b->run, i));
	}
}
