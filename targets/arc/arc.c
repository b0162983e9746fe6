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
	for (int i = 0; i < ARC_FAMILIES; i++) {
		const ArcBinary m = arc_module(run, &p, (ArcFamily)i);
		arc_check(arc_families[i], m);
		write_binary(b, arena_printf(run, "arc/%s.spv", arc_families[i]), m);
		arc_print(listing, &p, (ArcFamily)i);
	}
	artefact_text(b, "arc/kernels.txt", listing);
	n = write_binaries(b, &p, devices, n);
	artefact_text(b, arena_printf(run, "%s_arc.h", x->name), arc_launcher_header(run, x));
	artefact_text(b, arena_printf(run, "%s_arc.c", x->name), arc_launcher(run, &p, devices, n));
}

const Device arc_device = {check, write_files};
