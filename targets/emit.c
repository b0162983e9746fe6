/* The files of an artefact as text: templates with their holes filled, tables, one unit after
 * another. */
#include "emit.h"

#include <ctype.h>
#include <string.h>

char *
emit_ident(Arena *a, const char *name)
{
	char *s = arena_printf(a, "%s%s", isdigit((unsigned char)name[0]) ? "m" : "", name);
	for (char *c = s; *c; c++)
		if (!isalnum((unsigned char)*c) && *c != '_')
			*c = '_';
	return s;
}

/* ---- holes -------------------------------------------------------------------------------- */

static Text *
hole_levels(Arena *a, const Artefact *x)
{
	Text *t = text_new(a);
	for (int i = 0; i < x->n_targets; i++)
		text_line(t, "extern const %s_level %s_level_%s;", x->ident, x->ident,
			  x->targets[i]->suffix);
	text_blank(t);
	text_line(t, "enum { N_LEVELS = %d };", x->n_targets);
	text_blank(t);
	text_line(t, "/* Best first. */");
	text_line(t, "static const %s_level *const levels[N_LEVELS] = {", x->ident);
	for (int i = 0; i < x->n_targets; i++)
		text_line(t, "&%s_level_%s,", x->ident, x->targets[i]->suffix);
	text_line(t, "};");
	text_blank(t);
	text_line(t, "static int");
	text_line(t, "level_usable(int i)");
	text_line(t, "{");
	text_line(t, "const Cpu cpu = cpu_detect();");
	text_line(t, "const int usable[N_LEVELS] = {");
	for (int i = 0; i < x->n_targets; i++)
		text_line(t, "%s, /* %s */", x->targets[i]->detect, x->targets[i]->name);
	text_line(t, "};");
	text_line(t, "(void)cpu;");
	text_line(t, "return usable[i];");
	text_line(t, "}");
	return t;
}

/* The value of a hole, or null. */
static const char *
hole_value(Arena *a, const Artefact *x, const char *key)
{
	const Model *m = x->graph->model;
	const struct {
		const char *key;
		uint64_t value;
	} numbers[] = {
		{"N_VOCAB", m->n_vocab},
		{"N_CTX", m->n_ctx},
		{"N_LAYER", m->n_layer},
		{"HIDDEN", m->hidden},
		{"N_LEVELS", (uint64_t)x->n_targets},
		{"CONTRACT", x->math == MATH_CONTRACT},
	};
	if (!strcmp(key, "NAME"))
		return x->name;
	if (!strcmp(key, "name"))
		return x->ident;
	if (!strcmp(key, "LEVELS"))
		return hole_levels(a, x)->text;
	for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
		if (!strcmp(key, numbers[i].key))
			return arena_printf(a, "%llu", (unsigned long long)numbers[i].value);
	return NULL;
}

void
emit_template(Text *t, const Artefact *x, const char *template_name)
{
	enum { KEY_MAX = 32 };
	size_t size, i = 0;
	const char *s = template_text(template_name, &size);
	if (!s)
		BUG("template %s is not embedded", template_name);
	while (i < size) {
		const char *at = memchr(s + i, '@', size - i);
		const char *end = at ? memchr(at + 1, '@', size - (size_t)(at + 1 - s)) : NULL;
		if (!at) {
			text_add(t, s + i, size - i);
			return;
		}
		if (!end || end - at > KEY_MAX)
			BUG("template %s: an @ that begins no hole", template_name);
		char key[KEY_MAX + 1] = {0};
		memcpy(key, at + 1, (size_t)(end - at - 1));
		const char *value = hole_value(t->arena, x, key);
		if (!value)
			BUG("template %s: nothing fills @%s@", template_name, key);
		text_add(t, s + i, (size_t)(at - s) - i);
		text_add(t, value, strlen(value));
		i = (size_t)(end + 1 - s);
	}
}

/* ---- files -------------------------------------------------------------------------------- */

static void
emit_head(Text *t, const Artefact *x, const char *what)
{
	text_line(t, "/* %s of %s, made by lathe compile from %s. Do not edit. */", what, x->name,
		  x->graph->model->file);
}

Text *
emit_header(Arena *a, const Artefact *x)
{
	Text *t = text_new(a);
	emit_template(t, x, "api.h");
	return t;
}

uint64_t
emit_scratch_bytes(const Artefact *x)
{
	return x->graph->arena_bytes_per_token + round_up(emit_scratch_floats(x) * 4, 64);
}

/* Sizes that the interface and the kernels agree on. */
static void
emit_sizes(Text *t, const Artefact *x)
{
	const Graph *g = x->graph;
	const Model *m = g->model;
	const struct {
		const char *name;
		uint64_t value;
		const char *what;
	} sizes[] = {
		{"HEAD_DIM", m->head_dim, ""},
		{"N_HEAD", m->n_head, ""},
		{"N_KV_HEAD", m->n_kv_head, "of one layer"},
		{"KV_BYTES", emit_cache_offset(g, m->n_layer), "a position, all heads and layers"},
		{"ACTIVATION_BYTES", g->arena_bytes_per_token, "of buffers a token"},
		{"SCRATCH_BYTES", emit_scratch_bytes(x),
		 "a worker's own: buffers of one token, then rows inside kernels"},
	};
	text_line(t, "enum {");
	for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
		INVARIANT(sizes[i].value <= INT32_MAX);
		text_line(t, "%s = %llu,%s%s%s", sizes[i].name, (unsigned long long)sizes[i].value,
			  sizes[i].what[0] ? " /* " : "", sizes[i].what,
			  sizes[i].what[0] ? " */" : "");
	}
	text_line(t, "};");
	text_line(t, "/* Rotations, in the weights: [N_CTX][HEAD_DIM / 2] f32 each. */");
	text_line(t, "#define ROPE_COS UINT64_C(%llu)", (unsigned long long)x->layout->rope_cos);
	text_line(t, "#define ROPE_SIN UINT64_C(%llu)", (unsigned long long)x->layout->rope_sin);
	text_line(t, "#define ROPE_WINDOW_COS UINT64_C(%llu)",
		  (unsigned long long)x->layout->rope_window_cos);
	text_line(t, "#define ROPE_WINDOW_SIN UINT64_C(%llu)",
		  (unsigned long long)x->layout->rope_window_sin);
	text_line(t, "#define WEIGHTS_BYTES UINT64_C(%llu)", (unsigned long long)x->layout->bytes);
}

Text *
emit_internal(Arena *a, const Artefact *x)
{
	Text *t = text_new(a);
	emit_template(t, x, "internal.h");
	/* The sizes go in front of the closing #endif. */
	const char *close = "#endif\n";
	t->size -= strlen(close);
	t->text[t->size] = 0;
	emit_sizes(t, x);
	emit_caches(t, x);
	text_blank(t);
	text_add(t, close, strlen(close));
	return t;
}

static void
emit_build_info(Text *t, const Artefact *x)
{
	const Graph *g = x->graph;
	char hex[65];
	Text *words = text_new(t->arena);
	sha256_hex(x->build, hex);
	text_printf(words, "%s (%s, %u layers, %u wide), activations ", x->name, g->model->arch,
		    g->model->n_layer, g->model->hidden);
	format_print(words, g->activations);
	text_printf(words, ", kv %s", emit_cache_words(t->arena, g));
	text_printf(words, ", build %.16s", hex);
	text_blank(t);
	text_line(t, "const char *");
	text_line(t, "%s_build_info(void)", x->ident);
	text_line(t, "{");
	Text *quoted = text_new(t->arena);
	text_json_string(quoted, words->text, words->size);
	text_line(t, "return %s;", quoted->text);
	text_line(t, "}");
	text_blank(t);
	text_line(t, "uint64_t");
	text_line(t, "%s_bytes_per_token(void)", x->ident);
	text_line(t, "{");
	text_line(t, "return %lluu;", (unsigned long long)x->layout->bytes_per_token);
	text_line(t, "}");
}

Text *
emit_api(Arena *a, const Artefact *x)
{
	Text *t = text_new(a), *build = text_new(a);
	emit_head(t, x, "The interface");
	text_line(t, "#define WEIGHTS_CHECKSUM UINT64_C(%llu)",
		  (unsigned long long)x->weights_checksum);
	text_line(t, "#define BUILD \\");
	for (int i = 0; i < 32; i++)
		text_printf(build, "%u%s", x->build[i], i < 31 ? ", " : "");
	text_line(t, "\t%s", build->text);
	text_blank(t);
	emit_template(t, x, "api.c");
	text_blank(t);
	emit_template(t, x, "logprobs.c");
	emit_build_info(t, x);
	return t;
}

/* Where each function of a unit finds its constants: a struct of offsets and a table over layers.
 */
static void
emit_offsets(Text *t, const Artefact *x, const Unit *u)
{
	const Graph *g = x->graph;
	const char *ident = u->ident;
	if (!u->n_constants)
		return;
	text_line(t, "/* Where the constants lie in the weights, by layer. */");
	text_line(t, "static const struct {");
	for (int i = 0; i < u->n_constants; i++)
		text_line(t, "uint64_t %s; /* %s%llu bytes */", u->constants[i].field,
			  u->constants[i].interleaved ? "interleaved, " : "",
			  (unsigned long long)u->constants[i].bytes);
	t->indent--;
	int rows = 1;
	for (int f = 0; f < g->count; f++)
		if (&x->layout->units[x->layout->unit_of[f]] == u && g->funcs[f].layer >= rows)
			rows = g->funcs[f].layer + 1;
	for (int i = 0; i < t->indent; i++)
		text_add(t, "\t", 1);
	text_printf(t, "} %s_constants[%d] = {\n", ident, rows);
	for (int f = 0; f < g->count; f++) {
		if (&x->layout->units[x->layout->unit_of[f]] != u)
			continue;
		Text *row = text_new(t->arena);
		for (int i = 0; i < u->n_constants; i++)
			text_printf(row, "%s%llu", i ? ", " : "",
				    (unsigned long long)x->layout->offsets[f][i]);
		const int at = g->funcs[f].layer < 0 ? 0 : g->funcs[f].layer;
		text_printf(t, "\t[%d] = {%s},\n", at, row->text);
	}
	text_printf(t, "};\n\n");
}

/* The order of stages and the one symbol that the file exports. */
static void
emit_stages(Text *t, const Artefact *x, const Target *target)
{
	const Graph *g = x->graph;
	text_line(t, "static const %s_stage stages[] = {", x->ident);
	for (int f = 0; f < g->count; f++) {
		const Unit *u = layout_unit(x->layout, f);
		const int layer = g->funcs[f].layer < 0 ? 0 : g->funcs[f].layer;
		text_line(t,
			  "{%s_phases, (int)(sizeof %s_phases / sizeof *%s_phases), %d, %d}, /* %s "
			  "*/",
			  u->ident, u->ident, u->ident, layer, f == g->count - 1, g->funcs[f].name);
	}
	text_line(t, "};");
	text_blank(t);
	text_line(t, "extern const %s_level %s_level_%s;", x->ident, x->ident, target->suffix);
	text_line(t, "const %s_level %s_level_%s = {", x->ident, x->ident, target->suffix);
	text_line(t, "\"%s\", stages, %d,", target->name, g->count);
	text_line(t, "};");
}

Text *
emit_level(Arena *a, const Artefact *x, const Target *target)
{
	Text *t = text_new(a);
	emit_head(t, x, arena_printf(a, "The kernels for %s (%s)", target->name, target->what));
	text_line(t, "#include \"%s_internal.h\"", x->name);
	text_blank(t);
	for (const char *const *s = target->templates; *s; s++) {
		emit_template(t, x, *s);
		text_blank(t);
	}
	if (x->graph->model->n_expert) {
		emit_template(t, x, "experts.h");
		text_blank(t);
	}
	emit_linears(t, x);
	emit_hadamard_functions(t, x);
	for (int i = 0; i < x->layout->n_units; i++) {
		emit_offsets(t, x, &x->layout->units[i]);
		emit_unit(t, x, &x->layout->units[i]);
	}
	emit_stages(t, x, target);
	return t;
}

Text *
emit_weights(Arena *a, const Artefact *x)
{
	Text *t = text_new(a);
	const bool large = x->layout->bytes >= (uint64_t)1 << 30;
	emit_head(t, x, "The weights");
	text_line(t, "__asm__(");
	/* Code reaches 2 GB on x86-64: what is larger lies behind everything else. */
	if (large) {
		text_line(t, "#if defined(__x86_64__)");
		text_line(t, "\t\".section .lrodata,\\\"a\\\",%%progbits\\n\"");
		text_line(t, "#else");
	}
	text_line(t, "\t\".section .rodata\\n\"");
	if (large)
		text_line(t, "#endif");
	const char *const lines[] = {
		arena_printf(a, ".globl %s_weights_data", x->ident),
		arena_printf(a, ".type %s_weights_data, %%object", x->ident),
		".balign 64",
		arena_printf(a, "%s_weights_data:", x->ident),
		arena_printf(a, ".incbin \\\"%s.weights\\\"", x->name),
		arena_printf(a, ".size %s_weights_data, . - %s_weights_data", x->ident, x->ident),
		".section .note.GNU-stack,\\\"\\\",%progbits",
		".text",
	};
	for (size_t i = 0; i < sizeof lines / sizeof *lines; i++)
		text_line(t, "\t\"%s\\n\"", lines[i]);
	text_line(t, ");");
	text_line(t, "typedef int %s_weights_unit; /* a unit may not be empty */", x->ident);
	return t;
}
