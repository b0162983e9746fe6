/*
 * Native binaries: ocloc in child processes (it may crash, hang, or end with 0 after an error in
 * its words), then its zebins read back and compared with what the entries want.
 */
#include "arc.h"
#include "ocloc.h"
#include "zebin.h"

#include <string.h>

/* Instructions that a kernel's binary has at least: as many as there are products of codes in its
 * SPIR-V and calls of IGC's functions for DPAS; more where loops are unrolled. */
typedef struct Products {
	int dp4a, dpas;
} Products;

/* A module for a device, made by a thread. */
typedef struct Job {
	Arena *a; /* its own */
	const Build *b;
	const ArcProgram *p;
	const char *device, *name; /* "arc/dg2-g10/rows.zebin" */
	ArcFamily family;
	const Products *products; /* of each entry */
	Zebin zebin;
	const char *complaint; /* of ocloc, null: none */
} Job;

/* ---- SPIR-V ------------------------------------------------------------------------------- */

static int
entry_named(const ArcProgram *p, ArcFamily family, const char *name, size_t size)
{
	for (int i = 0; i < p->n_entries; i++)
		if (p->entries[i].family == family && !strncmp(p->entries[i].name, name, size))
			return i;
	return -1;
}

/* OpSDot to OpSUDotAccSat, and calls of IGC's functions, in each kernel of a family's module. */
static void
count_products(Arena *a, const uint32_t *words, size_t n, const ArcProgram *p, ArcFamily family,
	       Products *products)
{
	enum { BOUND = 3, HEADER = 5, ENTRY_POINT = 15, FUNCTION = 54, CALL = 57, DECORATE = 71 };
	enum { DOT_FIRST = 4450, DOT_LAST = 4455, LINKAGE = 41, IMPORT = 1 };
	const uint32_t bound = n > HEADER ? words[BOUND] : 0;
	bool *matrix = ARENA_ARRAY(a, bool, (size_t)bound + 1);
	uint32_t *function = ARENA_ARRAY(a, uint32_t, (size_t)p->n_entries + 1);
	int now = -1;
	for (size_t at = HEADER, length; at < n; at += length) {
		const uint32_t op = words[at] & 0xffff;
		length = words[at] >> 16;
		INVARIANT(length && length <= n - at);
		if (op == DECORATE && length > 4 && words[at + 1] < bound) {
			matrix[words[at + 1]] |=
				words[at + 2] == LINKAGE && words[at + length - 1] == IMPORT &&
				strstr((const char *)&words[at + 3], "_matrix_mad_");
		} else if (op == ENTRY_POINT && length > 3) {
			now = entry_named(p, family, (const char *)&words[at + 3],
					  4 * (length - 3));
			INVARIANT(now >= 0);
			function[now] = words[at + 2];
			now = -1;
		} else if (op == FUNCTION && length > 2) {
			now = -1;
			for (int i = 0; i < p->n_entries; i++)
				now = function[i] == words[at + 2] ? i : now;
		} else if (now >= 0) {
			products[now].dp4a += op >= DOT_FIRST && op <= DOT_LAST;
			products[now].dpas += op == CALL && length > 3 && words[at + 3] < bound &&
					      matrix[words[at + 3]];
		}
	}
}

static const Products *
products_of(const Build *b, const ArcProgram *p)
{
	Products *products = ARENA_ARRAY(b->run, Products, (size_t)p->n_entries + 1);
	for (int i = 0; i < ARC_FAMILIES; i++) {
		const char *name = arena_printf(b->run, "arc/%s.spv", arc_families[i]);
		const char *error;
		Mapped m;
		if (!file_map(artefact_staged(b, name), &m, &error))
			fatal_environment("cannot read %s: %s", name, error);
		count_products(b->run, (const uint32_t *)(const void *)m.data, m.size / 4, p,
			       (ArcFamily)i, products);
		file_unmap(&m);
	}
	return products;
}

/* ---- one binary --------------------------------------------------------------------------- */

/* As asked for, or the compile ends. */
static void
check_kernel(const Job *j, int entry)
{
	const ArcEntry *n = &j->p->entries[entry];
	const ZebinKernel *k = zebin_kernel(&j->zebin, n->name);
	const Products *want = &j->products[entry];
	const char *wrong = NULL;
	if (!k)
		wrong = "is missing";
	else if (k->scratch)
		wrong = arena_printf(j->a, "spills: %ld bytes of scratch", k->scratch);
	else if (k->private_bytes)
		wrong = arena_printf(j->a, "keeps %ld bytes in memory", k->private_bytes);
	else if (k->simd != n->lanes)
		wrong = arena_printf(j->a, "is SIMD%ld, not SIMD%d", k->simd, n->lanes);
	else if (k->dp4a < want->dp4a || (n->dot && !k->dp4a))
		wrong = arena_printf(j->a, "has %d dp4a, not %d", k->dp4a,
				     want->dp4a > n->dot ? want->dp4a : n->dot);
	else if (k->dpas < want->dpas || (n->dpas && !k->dpas))
		wrong = arena_printf(j->a, "has %d dpas, not %d", k->dpas,
				     want->dpas > 1 ? want->dpas : 1);
	else if (k->dpas_narrow != (n->dpas == ARC_DPAS_NARROW ? k->dpas : 0))
		wrong = arena_printf(j->a, "has %d dpas of 64 columns among %d, not of %d",
				     k->dpas_narrow, k->dpas, n->dpas);
	if (!wrong)
		return;
	arc_note(j->b, n);
	fatal_environment("the binary of %s for %s %s", n->name, j->device, wrong);
}

static void
check_job(const Job *j)
{
	for (int i = 0; i < j->p->n_entries; i++)
		if (j->p->entries[i].family == j->family)
			check_kernel(j, i);
	if (j->complaint)
		fatal_environment("ocloc says of the %s kernels for %s: %s",
				  arc_families[j->family], j->device, j->complaint);
}

static void
read_back(Job *j)
{
	Mapped m;
	const char *error = NULL;
	if (!file_map(artefact_staged(j->b, j->name), &m, &error))
		fatal_environment("ocloc left no %s: %s", j->name, error);
	error = zebin_read(j->a, m.data, m.size, &j->zebin);
	file_unmap(&m);
	if (error)
		fatal_environment("ocloc made a file for %s that cannot be read: %s: %s", j->device,
				  j->name, error);
}

static void
run_job(void *arg, int i)
{
	Job *j = (Job *)arg + i;
	const char *family = arc_families[j->family];
	const char *log = arena_printf(j->a, "%s/%s.log", j->b->dir, j->name);
	const char *const argv[] = {"ocloc",
				    "compile",
				    "-file",
				    arena_printf(j->a, "arc/%s.spv", family),
				    "-spirv_input",
				    "-device",
				    j->device,
				    "--format",
				    "zebin",
				    "-exclude_ir",
				    "-output",
				    j->name,
				    "-output_no_suffix",
				    NULL};
	const int seconds = j->b->o->device_seconds;
	const ProcessEnd end = process_run_within(j->b->dir, argv, log, seconds);
	const char *failure = ocloc_failure(j->a, end, seconds);
	const char *words = ocloc_words(j->a, log);
	if (failure)
		fatal_environment("ocloc %s on the %s kernels for %s%s%s", failure, family,
				  j->device, *words ? ": " : "", words);
	if (strstr(words, "spilled") || strstr(words, "INVALID opcode"))
		j->complaint = words;
	read_back(j);
	remove_tree(log);
}

/* ---- what is told ------------------------------------------------------------------------- */

static void
print_kernel(Text *listing, Text *json, const Job *j, int entry, bool first)
{
	const char *name = j->p->entries[entry].name;
	const ZebinKernel *k = zebin_kernel(&j->zebin, name);
	const Products *want = &j->products[entry];
	text_printf(listing, "%-40s %4ld %9ld %12d %5d %5d %8d %5d %8d %7d\n", name, k->simd,
		    k->registers, k->instructions, k->sends, k->dp4a, want->dp4a, k->dpas,
		    want->dpas, j->p->entries[entry].dpas);
	text_printf(json,
		    "%s\t\t{\"device\": \"%s\", \"kernel\": \"%s\", \"simd\": %ld, "
		    "\"registers\": %ld, \"instructions\": %d, \"sends\": %d, \"dp4a\": %d, "
		    "\"dp4a_expected\": %d, \"dpas\": %d, \"dpas_expected\": %d, "
		    "\"dpas_columns\": %d}",
		    first ? "" : ",\n", j->device, name, k->simd, k->registers, k->instructions,
		    k->sends, k->dp4a, want->dp4a, k->dpas, want->dpas, j->p->entries[entry].dpas);
}

static void
print_jobs(Text *listing, Text *json, const Job *jobs, int n)
{
	bool first = true;
	text_line(json, "\"arc_binaries\": [");
	for (int i = 0; i < n; i++) {
		const Job *j = &jobs[i];
		if (j->family == 0) {
			text_printf(listing, "%s%s\n", i ? "\n" : "", j->device);
			text_printf(listing, "%-40s %4s %9s %12s %5s %5s %8s %5s %8s %7s\n",
				    "kernel", "SIMD", "registers", "instructions", "sends", "dp4a",
				    "expected", "dpas", "expected", "columns");
		}
		for (int e = 0; e < j->p->n_entries; e++) {
			if (j->p->entries[e].family != j->family)
				continue;
			print_kernel(listing, json, j, e, first);
			first = false;
		}
	}
	text_printf(json, "\n");
	text_line(json, "],");
}

void
arc_native(Build *b, const ArcProgram *p, const char *const *devices, int n_devices, Text *json)
{
	const int n = n_devices * ARC_FAMILIES;
	Job *jobs = ARENA_ARRAY(b->run, Job, (size_t)n + 1);
	Text *listing = text_new(b->run);
	if (!n)
		return;
	const Products *products = products_of(b, p);
	for (int i = 0; i < n; i++) {
		const char *device = devices[i / ARC_FAMILIES];
		const ArcFamily family = (ArcFamily)(i % ARC_FAMILIES);
		jobs[i] = (Job){.a = arena_new(),
				.b = b,
				.p = p,
				.device = device,
				.name = arena_printf(b->run, "arc/%s/%s.zebin", device,
						     arc_families[family]),
				.family = family,
				.products = products};
		if (!family)
			artefact_folder(b, arena_printf(b->run, "arc/%s", device));
	}
	parallel_for(b->o->jobs, n, run_job, jobs);
	for (int i = 0; i < n; i++)
		check_job(&jobs[i]);
	print_jobs(listing, json, jobs, n);
	for (int i = 0; i < n; i++) {
		artefact_add(b, jobs[i].name);
		arena_free(jobs[i].a);
	}
	artefact_text(b, "arc/binaries.txt", listing);
}
