/* NAME_arc.c: tables of modules, launches and constants in front of the launcher's template. */
#include "arc.h"

#include <string.h>

Text *
arc_launcher_header(Arena *a, const Artefact *x)
{
	Text *t = text_new(a);
	emit_template(t, x, "launcher.h");
	return t;
}

/* A file of the artefact between two symbols. */
static void
print_included(Text *t, const Artefact *x, const char *symbol, const char *file)
{
	text_line(t, "__asm__(\".section .rodata\\n.balign 64\\n\"");
	text_line(t, "\t\"%s_%s:\\n.incbin \\\"%s\\\"\\n\"", x->ident, symbol, file);
	text_line(t, "\t\"%s_%s_end:\\n.previous\\n\");", x->ident, symbol);
	text_line(t, "extern const unsigned char %s_%s[], %s_%s_end[];", x->ident, symbol, x->ident,
		  symbol);
}

static void
print_modules(Text *t, const Artefact *x, const char *const *devices, int n_devices)
{
	text_line(t, "typedef struct Bytes {");
	text_line(t, "const unsigned char *start, *end;");
	text_line(t, "} Bytes;");
	text_blank(t);
	text_line(t, "/* SPIR-V, and the native binaries that were made of it. */");
	text_line(t, "typedef struct Module {");
	text_line(t, "const char *name;");
	text_line(t, "Bytes spirv;");
	text_line(t, "const Bytes *binaries;");
	text_line(t, "int n_binaries;");
	text_line(t, "} Module;");
	text_blank(t);
	for (int i = 0; i < ARC_FAMILIES; i++) {
		const char *family = arc_families[i];
		print_included(t, x, arena_printf(t->arena, "arc_%s_spv", family),
			       arena_printf(t->arena, "arc/%s.spv", family));
		for (int k = 0; k < n_devices; k++)
			print_included(
				t, x, arena_printf(t->arena, "arc_%s_%d", family, k),
				arena_printf(t->arena, "arc/%s/%s.zebin", devices[k], family));
	}
	text_blank(t);
	for (int i = 0; i < ARC_FAMILIES && n_devices; i++) {
		text_line(t, "static const Bytes %s_binaries[] = {", arc_families[i]);
		for (int k = 0; k < n_devices; k++)
			text_line(t, "{%s_arc_%s_%d, %s_arc_%s_%d_end}, /* %s */", x->ident,
				  arc_families[i], k, x->ident, arc_families[i], k, devices[k]);
		text_line(t, "};");
	}
	text_line(t, "static const Module modules[] = {");
	for (int i = 0; i < ARC_FAMILIES; i++)
		text_line(t, "{\"%s\", {%s_arc_%s_spv, %s_arc_%s_spv_end}, %s, %d},",
			  arc_families[i], x->ident, arc_families[i], x->ident, arc_families[i],
			  n_devices ? arena_printf(t->arena, "%s_binaries", arc_families[i])
				    : "NULL",
			  n_devices);
	text_line(t, "};");
	text_blank(t);
}

static const char *
quoted(Arena *a, const ArcProgram *p, int entry)
{
	return entry < 0 ? "NULL" : arena_printf(a, "\"%s\"", p->entries[entry].name);
}

/* u: whose constants they have, null: none. */
static void
print_launches(Text *t, const ArcProgram *p, const Unit *u, const char *name,
	       const ArcLaunch *launches, int n)
{
	text_line(t, "static const Launch %s_launches[] = {", name);
	for (int i = 0; i < n; i++) {
		const ArcLaunch *l = &launches[i];
		const ArcEntry *many = &p->entries[l->many];
		const ArcEntry *one = &p->entries[l->one < 0 ? l->many : l->one];
		int first = 0;
		while (u && first < u->n_constants && u->constants[first].kernel < l->kernel)
			first++;
		text_line(t, "/* %s */", many->words);
		text_line(t, "{%s, %s, %d, %d, %d, {%u, %d, %d}, {%u, %d, %d}},",
			  quoted(t->arena, p, l->one), quoted(t->arena, p, l->many), many->family,
			  first, many->n_constants, l->groups, one->lanes * one->sub_groups,
			  l->tile_one, many->groups ? (unsigned)many->groups : l->groups,
			  many->lanes * many->sub_groups, l->tile_many);
	}
	text_line(t, "};");
	text_blank(t);
}

/* The constants of a function, launch after launch. */
static void
print_places(Text *t, const ArcProgram *p, int f)
{
	const Layout *l = p->x->layout;
	const Unit *u = layout_unit(l, f);
	text_line(t, "static const Place places%d[] = {", f);
	if (!u->n_constants)
		text_line(t, "{0, 0},");
	for (int i = 0; i < u->n_constants; i++)
		text_line(t, "{UINT64_C(%llu), UINT64_C(%llu)}, /* %s */",
			  (unsigned long long)l->offsets[f][i],
			  (unsigned long long)u->constants[i].bytes, u->constants[i].field);
	text_line(t, "};");
}

static void
print_types(Text *t, const ArcProgram *p)
{
	int most = 1;
	for (int i = 0; i < p->n_entries; i++)
		most = p->entries[i].n_constants > most ? p->entries[i].n_constants : most;
	text_line(t, "enum { CONSTANTS_MAX = %d };", most);
	text_blank(t);
	text_line(t, "/* Work-groups of a tile of rows, their work-items, the rows. */");
	text_line(t, "typedef struct Shape {");
	text_line(t, "unsigned groups;");
	text_line(t, "int items, tile;");
	text_line(t, "} Shape;");
	text_blank(t);
	text_line(
		t,
		"/* A kernel for one row and for many; null: nothing to do. Constants are places");
	text_line(t, " * of the stage. */");
	text_line(t, "typedef struct Launch {");
	text_line(t, "const char *one, *many;");
	text_line(t, "int module, first_constant, n_constants;");
	text_line(t, "Shape shape_one, shape_many;");
	text_line(t, "} Launch;");
	text_blank(t);
	text_line(t, "/* A constant in the payload of the weights. */");
	text_line(t, "typedef struct Place {");
	text_line(t, "uint64_t offset, bytes;");
	text_line(t, "} Place;");
	text_blank(t);
	text_line(t, "typedef struct Stage {");
	text_line(t, "const Launch *launches;");
	text_line(t, "const Place *places;");
	text_line(t, "int n, layer, head;");
	text_line(t, "} Stage;");
	text_blank(t);
}

/* What the kernels want of a device: the largest work-group, each size of sub-groups. */
static void
print_needs(Text *t, const ArcProgram *p)
{
	int items = ARC_LANES, floats = 0;
	bool dpas = false;
	for (int i = 0; i < p->n_entries; i++) {
		const ArcEntry *n = &p->entries[i];
		items = n->sub_groups * n->lanes > items ? n->sub_groups * n->lanes : items;
		floats = n->local_floats > floats ? n->local_floats : floats;
		dpas |= n->lanes == ARC_DPAS_LANES;
	}
	text_line(t, "static const size_t sub_groups[] = {OPENCL_LANES%s, 0};",
		  dpas ? ", OPENCL_LANES_DPAS" : "");
	text_line(t, "static const OpenClNeeds needs = {%d, %d, sub_groups};", items, floats * 4);
}

Text *
arc_launcher(Arena *a, const ArcProgram *p, const char *const *devices, int n_devices)
{
	const Artefact *x = p->x;
	const Graph *g = x->graph;
	const Layout *l = x->layout;
	Text *t = text_new(a);
	text_line(t, "/* The OpenCL launcher of %s, made by lathe compile from %s. Do not edit. */",
		  x->name, g->model->file);
	text_line(t, "#include \"%s_arc.h\"", x->name);
	text_line(t, "#include \"%s_internal.h\"", x->name);
	text_blank(t);
	text_line(t, "#include <stdlib.h>");
	text_blank(t);
	emit_template(t, x, "opencl.h");
	text_blank(t);
	text_line(t, "#define ROPE_BYTES UINT64_C(%llu)",
		  (unsigned long long)(2 * (l->rope_sin - l->rope_cos)));
	print_needs(t, p);
	text_line(t, "enum { TOP_LAUNCHES = %d, TOP_SHARES = %u };", ARC_TOP_LAUNCHES,
		  p->top[0].groups);
	text_line(t, "#define ARC_ARENA_BYTES UINT64_C(%llu)", (unsigned long long)p->arena_bytes);
	text_blank(t);
	print_modules(t, x, devices, n_devices);
	print_types(t, p);
	for (int i = 0; i < l->n_units; i++)
		print_launches(t, p, p->stages[i].unit, p->stages[i].unit->ident,
			       p->stages[i].launches, p->stages[i].n);
	print_launches(t, p, NULL, "top", p->top, ARC_TOP_LAUNCHES);
	for (int f = 0; f < g->count; f++)
		print_places(t, p, f);
	text_blank(t);
	text_line(t, "/* Of a layer's cache, a position. */");
	text_line(t, "static const uint64_t cache_bytes[] = {");
	for (uint32_t i = 0; i < g->model->n_layer; i++)
		text_line(t, "UINT64_C(%llu),",
			  (unsigned long long)(emit_cache_offset(g, i + 1) -
					       emit_cache_offset(g, i)));
	text_line(t, "};");
	text_blank(t);
	text_line(t, "static const Stage stages[] = {");
	for (int f = 0; f < g->count; f++)
		text_line(t, "{%s_launches, places%d, %d, %d, %d}, /* %s */",
			  layout_unit(l, f)->ident, f, p->stages[l->unit_of[f]].n,
			  g->funcs[f].layer, f == g->count - 1, g->funcs[f].name);
	text_line(t, "};");
	text_blank(t);
	emit_template(t, x, "launcher.c");
	return t;
}
