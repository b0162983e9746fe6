/* The target arc: modules, their binaries and the launcher into the folder of the artefact. */
#define _POSIX_C_SOURCE 200809L
#include "arc.h"
#include "ocloc.h"

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
	if (x->math == MATH_LIBCLC && !arc_libclc()) {
		diag_error(d, (Loc){0}, E_ARC, "this lathe was built without libclc: %s",
			   "libclc-15 and llvm-spirv-15 were not found");
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

static const char *
text_name(Arena *run, int family)
{
	return arena_printf(run, "arc/%s.spvasm", arc_families[family]);
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
	arc_check(b->run, arc_families[family], m, b->x->math);
	OutFile *f = outfile_open(b->run, path);
	uint8_t digest[32];
	outfile_write(f, m.bytes, m.size);
	outfile_commit(f, digest);
	if (b->o->disassembly)
		outfile_text(b->run, artefact_staged(b, text_name(b->run, family)),
			     arc_disassembly(b->run, m));
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
	}
	/* One that ends by itself has said why, cleaned up and ended the others. */
	if (ended)
		exit(ended);
	if (signalled)
		BUG("a generator of kernels ended by signal %d", signalled);
	for (int i = 0; i < ARC_FAMILIES; i++) {
		artefact_add(b, module_name(b->run, i));
		if (b->o->disassembly)
			artefact_add(b, text_name(b->run, i));
	}
}

static void
write_files(Build *b)
{
	Arena *run = b->run;
	const Artefact *x = b->x;
	ArcProgram p;
	Text *listing = text_new(run);
	int n;
	const char **devices = ocloc_split(run, b->o->devices, &n);
	Text *json = text_new(run), *roofline = text_new(run);
	if (!arc_program(run, diag_new(run, stderr), x, &p))
		BUG("arc: what was checked cannot be made");
	artefact_step(b, "arc kernels");
	artefact_folder(b, "arc");
	write_modules(b, &p);
	for (int i = 0; i < ARC_FAMILIES; i++)
		arc_print(listing, &p, (ArcFamily)i);
	artefact_text(b, "arc/kernels.txt", listing);
	json->indent = 1;
	text_line(json, "\"arc_math\": \"%s\",", math_names[x->math]);
	if (n)
		artefact_step(b, "arc binaries");
	arc_native(b, &p, devices, n, json);
	arc_roofline(roofline, json, &p);
	artefact_text(b, "arc/roofline.txt", roofline);
	b->device_manifest = json;
	if (x->math != MATH_CONTRACT) {
		Text *report = text_new(run);
		text_line(report,
			  "arc: exp, 1/x, 1/sqrt(x) and silu are libclc's, outside the contract:");
		text_line(report,
			  "its logits are near those of the CPUs' library, and not their bits");
		b->device_report = report;
	}
	artefact_text(b, arena_printf(run, "%s_arc.h", x->name), arc_launcher_header(run, x));
	artefact_text(b, arena_printf(run, "%s_arc.c", x->name), arc_launcher(run, &p, devices, n));
}

const Device arc_device = {
	.check = check,
	.devices = ocloc_devices,
	.list = ocloc_list,
	.machines = arc_machines,
	.write = write_files,
	.source = "_arc",
	.library = "dl",
	.runner = "runner_arc.c",
	.name = "arc",
};
