/* The target arc: modules, their binaries and the launcher into the folder of the artefact. */
#include "arc.h"

#include <string.h>
#include <sys/stat.h>

static bool
check(Arena *run, Diag *d, const Artefact *x)
{
	ArcProgram p;
	if (arc_missing()) {
		diag_error(d, (Loc){0}, E_ARC, "this lathe was built without the arc target: %s",
			   arc_missing());
		return false;
	}
	return arc_program(run, d, x, &p);
}

static void
write_binary(Build *b, const char *name, ArcBinary m)
{
	OutFile *f = outfile_open(b->run, artefact_staged(b, name));
	uint8_t digest[32];
	outfile_write(f, m.bytes, m.size);
	outfile_commit(f, digest);
	artefact_add(b, name);
}

static void
write_files(Build *b)
{
	Arena *run = b->run;
	const Artefact *x = b->x;
	ArcProgram p;
	Text *listing = text_new(run);
	if (!arc_program(run, diag_new(run, stderr), x, &p))
		BUG("arc: what was checked cannot be made");
	artefact_folder(b, "arc");
	for (int i = 0; i < ARC_FAMILIES; i++) {
		const ArcBinary m = arc_module(run, &p, (ArcFamily)i);
		arc_check(arc_families[i], m);
		write_binary(b, arena_printf(run, "arc/%s.spv", arc_families[i]), m);
		arc_print(listing, &p, (ArcFamily)i);
	}
	artefact_text(b, "arc/kernels.txt", listing);
	artefact_text(b, arena_printf(run, "%s_arc.h", x->name), arc_launcher_header(run, x));
	artefact_text(b, arena_printf(run, "%s_arc.c", x->name), arc_launcher(run, &p));
}

const Device arc_device = {check, write_files};
