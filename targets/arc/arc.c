/* The target arc: modules, their binaries and the launcher into the folder of the artefact. */
#define _POSIX_C_SOURCE 200809L
#include "arc.h"
#include "ocloc.h"

#include <stdio.h>
#include <string.h>

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
	arc_modules(b, &p);
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
