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

/* By what products of batches go: for the report, and as a member of the manifest. */
static void
gemm_report(Text *t, Text *json, const ArcProgram *p)
{
	static const char unproven[] = "unproven until an Arc ran it";
	int by_dpas = 0, by_dp4a = 0;
	for (int i = 0; i < p->n_entries; i++) {
		by_dpas += p->entries[i].dpas > 0;
		by_dp4a += p->entries[i].dot;
	}
	text_line(json,
		  "\"arc_products\": {\"dp4a_kernels\": %d, \"dpas_kernels\": %d, "
		  "\"dpas\": \"%s\"},",
		  by_dp4a, by_dpas, unproven);
	text_line(t, "arc: products of codes by dp4a in %d kernels, by dpas in %d%s%s", by_dp4a,
		  by_dpas, by_dpas ? ": " : "", by_dpas ? unproven : "");
}

static void
math_report(Text *t, Math math)
{
	if (math == MATH_CONTRACT)
		return;
	text_line(t, "arc: exp, 1/x, 1/sqrt(x) and silu are libclc's, outside the contract:");
	text_line(t, "its logits are near those of the CPUs' library, and not their bits");
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
	Text *json = b->device_manifest, *roofline = text_new(run), *report = b->device_report;
	if (!arc_program(run, diag_new(run, stderr), x, &p))
		BUG("arc: what was checked cannot be made");
	artefact_step(b, "arc kernels");
	artefact_folder(b, "arc");
	arc_modules(b, &p);
	for (int i = 0; i < ARC_FAMILIES; i++)
		arc_print(listing, &p, (ArcFamily)i);
	artefact_text(b, "arc/kernels.txt", listing);
	text_line(json, "\"arc_math\": \"%s\",", math_names[x->math]);
	if (n)
		artefact_step(b, "arc binaries");
	arc_native(b, &p, devices, n, json);
	arc_roofline(roofline, json, &p);
	artefact_text(b, "arc/roofline.txt", roofline);
	math_report(report, x->math);
	gemm_report(report, json, &p);
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
	.runner = "runner_arc.c",
	.name = "arc",
};
