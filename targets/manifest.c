/* What describes an artefact: manifest, bill of materials, report, and the files that build systems
 * read. */
#include "artefact.h"

#include <stdio.h>
#include <string.h>

static const char *
hex_of(Arena *a, const uint8_t digest[32])
{
	char *hex = arena_alloc(a, 65);
	sha256_hex(digest, hex);
	return hex;
}

static void
json_string(Text *t, const char *s)
{
	text_json_string(t, s, strlen(s));
}

static void
put(Build *b, const char *name, const Text *t)
{
	outfile_text(b->run, arena_printf(b->run, "%s/%s", b->dir, name), t);
	MadeFile *f = &b->files[b->n_files++];
	*f = (MadeFile){.name = name, .bytes = t->size};
	sha256_of(t->text, t->size, f->sha256);
}

static const char *
role_words(Arena *a, const Constant *c)
{
	Text *t = text_new(a);
	if (c->value >= 0)
		text_printf(t, "transform %%%d", c->value);
	for (int i = 0; i < c->n_roles; i++)
		text_printf(t, "%s%s", i ? ", " : "", role_names[c->roles[i]]);
	return t->text;
}

/* ---- manifest.json ------------------------------------------------------------------------ */

static void
manifest_model(Text *t, const Model *m, Arena *a)
{
	text_line(t, "\"model\": {");
	text_printf(t, "\t\t\"file\": ");
	json_string(t, m->file);
	text_printf(t, ",\n");
	text_line(t, "\"sha256\": \"%s\",", hex_of(a, m->sha256));
	text_line(t, "\"arch\": \"%s\",", m->arch);
	const struct {
		const char *key;
		uint32_t value;
	} facts[] = {
		{"n_layer", m->n_layer},     {"hidden", m->hidden},	{"n_head", m->n_head},
		{"n_kv_head", m->n_kv_head}, {"head_dim", m->head_dim}, {"inter", m->inter},
		{"n_vocab", m->n_vocab},     {"n_ctx", m->n_ctx},
	};
	const size_t n = sizeof facts / sizeof *facts;
	for (size_t i = 0; i < n; i++)
		text_line(t, "\"%s\": %u%s", facts[i].key, facts[i].value, i + 1 < n ? "," : "");
	text_line(t, "},");
}

static void
manifest_constants(Text *t, const Build *b)
{
	const Layout *l = b->x->layout;
	const Graph *g = b->x->graph;
	text_line(t, "\"constants\": [");
	t->indent++;
	bool first = true;
	for (int f = 0; f < g->count; f++) {
		const Unit *u = layout_unit(l, f);
		for (int i = 0; i < u->n_constants; i++) {
			const Constant *c = &u->constants[i];
			if (!first)
				text_printf(t, ",\n");
			first = false;
			text_printf(t,
				    "\t\t{\"function\": \"%s\", \"tensors\": \"%s\", \"format\": "
				    "\"%s\", "
				    "\"offset\": %llu, \"bytes\": %llu}",
				    g->funcs[f].name, role_words(b->run, c),
				    constant_formats(b->run, c),
				    (unsigned long long)l->offsets[f][i],
				    (unsigned long long)c->bytes);
		}
	}
	text_printf(t, "\n");
	t->indent--;
	text_line(t, "],");
}

static void
manifest_kernels(Text *t, const Build *b)
{
	const Layout *l = b->x->layout;
	const Graph *g = b->x->graph;
	bool first = true;
	text_line(t, "\"kernels\": [");
	for (int n = 0; n < l->n_units; n++) {
		const Func *f = &g->funcs[l->units[n].func];
		for (int k = 0; k < f->n_kernels; k++) {
			const char *name, *words;
			emit_kernel_words(b->run, b->x, &l->units[n], k, &name, &words);
			text_printf(t, "%s\t\t{\"name\": \"%s\", \"phase\": %d, \"computes\": ",
				    first ? "" : ",\n", name, f->kernels[k].phase);
			json_string(t, words);
			text_printf(t, "}");
			first = false;
		}
	}
	text_printf(t, "\n");
	text_line(t, "],");
}

static void
manifest_compiler(Text *t, const Build *b)
{
	Text *flags = text_new(b->run);
	for (const char *const *f = b->flags; *f; f++)
		text_printf(flags, "%s%s", f == b->flags ? "" : " ", *f);
	text_line(t, "\"compiler\": {");
	text_printf(t, "\t\t\"version\": ");
	json_string(t, b->cc_version ? b->cc_version : "none: sources only");
	text_printf(t, ",\n\t\t\"flags\": ");
	json_string(t, flags->text);
	text_printf(t, ",\n\t\t\"cflags\": ");
	json_string(t, b->o->cflags ? b->o->cflags : "");
	text_printf(t, "\n");
	text_line(t, "},");
	text_line(t, "\"levels\": {");
	for (int i = 0; i < b->x->n_targets; i++)
		text_line(t, "\"%s\": \"%s\"%s", b->x->targets[i]->name, b->x->targets[i]->flags,
			  i + 1 < b->x->n_targets ? "," : "");
	text_line(t, "},");
}

static Text *
manifest_text(const Build *b)
{
	const Graph *g = b->x->graph;
	Text *t = text_new(b->run);
	text_line(t, "{");
	text_line(t, "\"lathe_manifest\": 1,");
	text_line(t, "\"name\": \"%s\",", b->x->name);
	text_line(t, "\"build\": \"%s\",", hex_of(b->run, b->x->build));
	manifest_model(t, g->model, b->run);
	text_line(t, "\"activations\": \"%s\",", format_text(b->run, g->activations));
	text_line(t, "\"kv\": \"%s\",", emit_cache_words(b->run, g));
	text_line(t, "\"bytes_per_token\": %llu,",
		  (unsigned long long)b->x->layout->bytes_per_token);
	text_line(t, "\"activation_bytes_per_token\": %llu,",
		  (unsigned long long)g->arena_bytes_per_token);
	manifest_compiler(t, b);
	manifest_kernels(t, b);
	manifest_constants(t, b);
	text_printf(t, "%s", b->device_manifest->text);
	text_line(t, "\"files\": [");
	t->indent++;
	for (int i = 0; i < b->n_files; i++)
		text_line(t, "{\"name\": \"%s\", \"bytes\": %llu, \"sha256\": \"%s\"}%s",
			  b->files[i].name, (unsigned long long)b->files[i].bytes,
			  hex_of(b->run, b->files[i].sha256), i + 1 < b->n_files ? "," : "");
	t->indent--;
	text_line(t, "]");
	text_line(t, "}");
	return t;
}

/* ---- NAME.spdx.json ----------------------------------------------------------------------- */

/* SPDX 2.3. Its time of creation is a constant: equal inputs give equal bytes. */
static Text *
spdx_text(const Build *b)
{
	Text *t = text_new(b->run);
	const Model *m = b->x->graph->model;
	text_line(t, "{");
	text_line(t, "\"spdxVersion\": \"SPDX-2.3\",");
	text_line(t, "\"dataLicense\": \"CC0-1.0\",");
	text_line(t, "\"SPDXID\": \"SPDXRef-DOCUMENT\",");
	text_line(t, "\"name\": \"%s\",", b->x->name);
	text_line(t, "\"documentNamespace\": \"https://spdx.org/spdxdocs/%s-%s\",", b->x->name,
		  hex_of(b->run, b->x->build));
	text_line(t, "\"creationInfo\": {\"created\": \"1970-01-01T00:00:00Z\", \"creators\": "
		     "[\"Tool: lathe\"]},");
	text_line(t, "\"packages\": [");
	t->indent++;
	text_printf(
		t,
		"\t\t{\"SPDXID\": \"SPDXRef-artefact\", \"name\": \"%s\", \"downloadLocation\": "
		"\"NOASSERTION\", \"filesAnalyzed\": false},\n",
		b->x->name);
	text_printf(t, "\t\t{\"SPDXID\": \"SPDXRef-model\", \"name\": ");
	json_string(t, m->file);
	text_printf(
		t,
		", \"downloadLocation\": \"NOASSERTION\", \"filesAnalyzed\": false, \"checksums\": "
		"[{\"algorithm\": \"SHA256\", \"checksumValue\": \"%s\"}]}\n",
		hex_of(b->run, m->sha256));
	t->indent--;
	text_line(t, "],");
	text_line(t, "\"relationships\": [");
	t->indent++;
	text_line(t,
		  "{\"spdxElementId\": \"SPDXRef-DOCUMENT\", \"relationshipType\": \"DESCRIBES\", "
		  "\"relatedSpdxElement\": \"SPDXRef-artefact\"},");
	text_line(t, "{\"spdxElementId\": \"SPDXRef-artefact\", \"relationshipType\": "
		     "\"GENERATED_FROM\", \"relatedSpdxElement\": \"SPDXRef-model\"}");
	t->indent--;
	text_line(t, "]");
	text_line(t, "}");
	return t;
}

/* ---- report.txt --------------------------------------------------------------------------- */

/* Bytes and formats of each function, equal layers together. */
static Text *
report_text(const Build *b)
{
	const Layout *l = b->x->layout;
	const Graph *g = b->x->graph;
	Text *t = text_new(b->run);
	text_line(t, "%s: %s, %u layers, hidden %u, vocabulary %u, context %u", b->x->name,
		  g->model->arch, g->model->n_layer, g->model->hidden, g->model->n_vocab,
		  g->model->n_ctx);
	text_line(t, "activations %s, kv %s", format_text(b->run, g->activations),
		  emit_cache_words(b->run, g));
	text_line(t, "weights %llu bytes, %llu bytes a decoded token", (unsigned long long)l->bytes,
		  (unsigned long long)l->bytes_per_token);
	text_line(t, "activation buffers %llu bytes a token of the batch",
		  (unsigned long long)g->arena_bytes_per_token);
	for (int n = 0; n < l->n_units; n++) {
		const Unit *u = &l->units[n];
		const Func *f = &g->funcs[u->func];
		int functions = 0;
		for (int i = 0; i < g->count; i++)
			functions += &l->units[l->unit_of[i]] == u;
		text_blank(t);
		text_line(t, "%s: %d function%s, %d kernels, %d phases", u->ident, functions,
			  functions == 1 ? "" : "s", f->n_kernels,
			  f->n_kernels ? f->kernels[f->n_kernels - 1].phase + 1 : 0);
		for (int i = 0; i < u->n_constants; i++)
			text_line(t, "  %-12s %10llu bytes  %s%s", u->constants[i].field,
				  (unsigned long long)u->constants[i].bytes,
				  constant_formats(b->run, &u->constants[i]),
				  u->constants[i].interleaved ? ", interleaved" : "");
		text_blank(t);
		graph_print_func(t, g, f);
	}
	if (b->device_report->size)
		text_printf(t, "\n%s", b->device_report->text);
	return t;
}

/* ---- files for build systems -------------------------------------------------------------- */

/* Make's syntax: spaces, '#' and '$' of a path are escaped. */
static void
depfile_path(Text *t, const char *path)
{
	for (const char *c = path; *c; c++) {
		if (*c == ' ' || *c == '#')
			text_add(t, "\\", 1);
		if (*c == '$')
			text_add(t, "$", 1);
		text_add(t, c, 1);
	}
}

static Text *
depfile_text(const Build *b)
{
	Text *t = text_new(b->run);
	if (b->o->depfile_target)
		depfile_path(t, b->o->depfile_target);
	for (int i = 0; i < b->n_files && !b->o->depfile_target; i++) {
		if (i)
			text_add(t, " ", 1);
		depfile_path(t, arena_printf(b->run, "%s/%s", b->o->out, b->files[i].name));
	}
	text_add(t, ":", 1);
	for (int i = 0; i < b->o->n_inputs; i++) {
		text_add(t, " ", 1);
		depfile_path(t, b->o->inputs[i]);
	}
	text_add(t, "\n", 1);
	return t;
}

/* Relocatable: paths count from the file itself. */
static Text *
pkgconfig_text(const Build *b)
{
	Text *t = text_new(b->run);
	text_line(t, "prefix=${pcfiledir}");
	text_blank(t);
	text_line(t, "Name: %s", b->x->name);
	text_line(t, "Description: a language model compiled by Lathe");
	text_line(t, "Version: 1");
	text_line(t, "Cflags: -I${prefix}");
	text_printf(t, "Libs: ${prefix}/%s_weights.o -L${prefix} -l%s", b->x->name, b->x->name);
	text_printf(t, "%s\n", b->n_devices ? " -ldl" : "");
	return t;
}

static Text *
cmake_text(const Build *b)
{
	const char *n = b->x->name;
	Text *t = text_new(b->run);
	text_line(t, "# %s::%s is the library, %s::weights the weights to link with it.", n, n, n);
	text_line(t, "if(NOT TARGET %s::%s)", n, n);
	text_line(t, "\tadd_library(%s::%s STATIC IMPORTED)", n, n);
	text_line(t, "\tset_target_properties(%s::%s PROPERTIES", n, n);
	text_line(t, "\t\tIMPORTED_LOCATION \"${CMAKE_CURRENT_LIST_DIR}/lib%s.a\"", n);
	if (b->n_devices)
		text_line(t, "\t\tINTERFACE_LINK_LIBRARIES dl");
	text_line(t, "\t\tINTERFACE_INCLUDE_DIRECTORIES \"${CMAKE_CURRENT_LIST_DIR}\")");
	text_line(t, "\tadd_library(%s::weights OBJECT IMPORTED)", n);
	text_line(t, "\tset_target_properties(%s::weights PROPERTIES", n);
	text_line(t, "\t\tIMPORTED_OBJECTS \"${CMAKE_CURRENT_LIST_DIR}/%s_weights.o\")", n);
	text_line(t, "endif()");
	return t;
}

void
manifest_write(Build *b)
{
	const char *n = b->x->name;
	Arena *a = b->run;
	if (!b->o->sources_only) {
		put(b, arena_printf(a, "%s.pc", n), pkgconfig_text(b));
		put(b, arena_printf(a, "%sConfig.cmake", n), cmake_text(b));
	}
	put(b, arena_printf(a, "%s.spdx.json", n), spdx_text(b));
	put(b, "report.txt", report_text(b));
	put(b, "report.html", report_html(b));
	put(b, "manifest.json", manifest_text(b));
	const Text *depfile = depfile_text(b);
	put(b, arena_printf(a, "%s.d", n), depfile);
}
