/* What of a plan the models of OpenVINO do, and what not: words of the report, members of the
 * manifest. */
#include "lower.h"

#include <string.h>

#include "../../ir/plan_apply.h"

/* Lines that say the same, of several layers. */
typedef struct Tally {
	const char *what, *says;
	int count;
	unsigned roles;	     /* of matrices, a bit each */
	uint64_t bytes, own; /* stored, and as the format counts them */
} Tally;
_Static_assert(ROLE_COUNT <= 32, "roles are bits");

typedef struct Tallies {
	Arena *run;
	Tally *items;
	int count, capacity;
} Tallies;

static Tally *
tally(Tallies *t, const char *what, const char *says)
{
	int i = 0;
	while (i < t->count && (strcmp(t->items[i].what, what) || strcmp(t->items[i].says, says)))
		i++;
	if (i == t->capacity) {
		Tally *more = ARENA_ARRAY(t->run, Tally, 2 * (size_t)t->capacity + 16);
		if (t->count)
			memcpy(more, t->items, (size_t)t->count * sizeof *more);
		t->items = more;
		t->capacity = 2 * t->capacity + 16;
	}
	if (i == t->count)
		t->items[t->count++] = (Tally){.what = what, .says = says};
	t->items[i].count++;
	return &t->items[i];
}

/* ---- weights ------------------------------------------------------------------------------ */

/* Bytes that a matrix takes by its format alone. */
static uint64_t
own_bytes(const NpuMatrix *m, Format f)
{
	const uint64_t n = (uint64_t)m->rows * m->columns;
	const uint64_t groups = (uint64_t)m->rows * (uint64_t)format_groups(f, (int)m->columns);
	if (format_is_float(f))
		return n * f.bits / 8;
	const unsigned beside =
		f.scale_bits + (f.minimum ? f.scale_bits : 0u) + (f.zero != ZERO_NONE ? 8u : 0u);
	return (n * f.bits + 7) / 8 + groups * beside / 8;
}

/* How the NPU's compilers keep such weights where it is not as they are stored: by the size of
 * blobs of one linear. */
static const char *
kept_as(const NpuMatrix *m, const NpuFacts *f)
{
	const int bits = element_table[m->form.element].bits;
	if (!m->form.zeros || bits < 4)
		return "";
	if (m->groups == 1)
		return "; the compilers of the NPU keep them as f16, for their zero points of rows";
	return bits == 4 && f->platform[NPU_3720]
		       ? "; the compiler of NPU 3720 keeps them as f16, for their zero points"
		       : "";
}

static void
tally_matrix(Tallies *t, const Graph *g, const NpuFacts *facts, const Func *f, const Value *v,
	     const NpuMatrix *m)
{
	const Format format = graph_weight_format(g, v->role, f->layer);
	const int bits = element_table[m->form.element].bits;
	const char *how = !m->scales.bytes		     ? ""
			  : m->form.zeros		     ? ", f32 scales and zero points"
			  : m->scales.element == ELEMENT_F16 ? ", f16 scales"
							     : ", f32 scales";
	const bool cut = m->groups > (uint32_t)format_groups(format, (int)m->columns);
	const char *says = arena_printf(
		t->run, "%s as %s%s%s%s%s", format_text(t->run, format),
		element_table[m->form.element].type, how,
		cut ? arena_printf(t->run, " every %u columns", m->group) : "",
		bits > format.bits ? arena_printf(t->run, ", widened from %d bits", format.bits)
				   : "",
		kept_as(m, facts));
	Tally *line = tally(t, "", says);
	line->roles |= 1u << v->role;
	line->bytes += m->codes.bytes + m->scales.bytes + m->zeros.bytes;
	line->own += own_bytes(m, format);
}

/* ---- rows --------------------------------------------------------------------------------- */

/* Rows that linears of integer weights read, each site once. */
static void
tally_activations(Tallies *t, const Graph *g, const Func *f)
{
	bool seen[SITE_COUNT] = {false};
	for (int i = 0; i < f->count; i++) {
		const Value *v = &f->values[i];
		const int site = v->op == OP_LINEAR ? role_site(v->role) : -1;
		if (site < 0 || seen[site] ||
		    format_is_float(graph_weight_format(g, v->role, f->layer)))
			continue;
		const Format format = graph_activations(g, v->role, f->layer);
		seen[site] = true;
		if (!format_is_float(format))
			tally(t, site_table[site].name, format_text(t->run, format));
	}
}

static void
tally_cache(Tallies *t, const Graph *g, const Func *f)
{
	const CacheFormat *kv = &g->kv[f->layer];
	if (!format_is_float(kv->format))
		tally(t, "keys and values",
		      arena_printf(t->run, "%s, queries of %d bits",
				   format_text(t->run, kv->format), kv->query_bits));
	else if (kv->format.bits == 16)
		tally(t, "keys and values", "f16");
}

static void
tally_transform(Tallies *t, const Func *f, const Value *v)
{
	Text *expression = text_new(t->run), *words = text_new(t->run);
	transform_print(expression, v->transform, TRANSFORM_NAMED);
	npu_transform_words(words, v->transform);
	tally(t, arena_printf(t->run, "%s %s", f->layer < 0 ? f->name : "layers", expression->text),
	      words->text);
}

/* ---- the report --------------------------------------------------------------------------- */

typedef struct Sections {
	Tallies weights, rows, transforms;
	uint64_t bytes, own;
} Sections;

/* The role names of a line of matrices. */
static const char *
names_of(Arena *run, unsigned roles)
{
	Text *t = text_new(run);
	for (int r = 0; r < ROLE_COUNT; r++)
		if (roles >> r & 1)
			text_printf(t, "%s%s", t->size ? ", " : "", role_names[r]);
	return t->text;
}

/* One that an earlier value has too, as a tied table, is counted with that. */
static bool
is_again(const Graph *g, const NpuConstants *c, int func, const NpuMatrix *m)
{
	for (int n = 0; n < func && g->funcs[func].layer < 0; n++)
		for (int i = 0; i < g->funcs[n].count && g->funcs[n].layer < 0; i++)
			if (op_table[g->funcs[n].values[i].op].tensor == TENSOR_MATRIX &&
			    c->matrices[n][i].codes.offset == m->codes.offset)
				return true;
	return false;
}

static void
collect(Sections *s, const Graph *g, const NpuFacts *facts, const NpuConstants *c)
{
	for (int n = 0; n < g->count; n++) {
		const Func *f = &g->funcs[n];
		tally_activations(&s->rows, g, f);
		for (int i = 0; i < f->count; i++) {
			const Value *v = &f->values[i];
			const NpuMatrix *m = &c->matrices[n][i];
			if (op_table[v->op].tensor == TENSOR_MATRIX && !is_again(g, c, n, m))
				tally_matrix(&s->weights, g, facts, f, v, m);
			if (v->op == OP_KV_APPEND)
				tally_cache(&s->rows, g, f);
			if (v->op == OP_TRANSFORM)
				tally_transform(&s->transforms, f, v);
		}
	}
	for (int i = 0; i < s->weights.count; i++) {
		Tally *w = &s->weights.items[i];
		w->what = names_of(s->weights.run, w->roles);
		s->bytes += w->bytes;
		s->own += w->own;
	}
}

static void
report_tallies(Text *t, const char *head, const Tallies *items)
{
	if (items->count)
		text_line(t, "%s", head);
	for (int i = 0; i < items->count; i++)
		text_line(t, "  %s (%d): %s", items->items[i].what, items->items[i].count,
			  items->items[i].says);
}

static void
report_weights(Text *t, const Sections *s, const NpuConstants *c)
{
	text_line(t,
		  "npu: %.1f MB of constants, of which %.1f MB are matrices; by their formats "
		  "these are %.1f MB",
		  (double)bin_bytes(c->bin) / 1e6, (double)s->bytes / 1e6, (double)s->own / 1e6);
	for (int i = 0; i < s->weights.count; i++) {
		const Tally *w = &s->weights.items[i];
		text_line(t, "  %s (%d): %s; %+.0f %%", w->what, w->count, w->says,
			  100.0 * ((double)w->bytes / (double)w->own - 1.0));
	}
}

static void
json_tallies(Text *t, const char *name, const Tallies *items)
{
	text_line(t, "\"%s\": [", name);
	t->indent++;
	for (int i = 0; i < items->count; i++) {
		Text *line = text_new(t->arena);
		text_printf(line, "{\"what\": ");
		text_json_string(line, items->items[i].what, strlen(items->items[i].what));
		text_printf(line, ", \"count\": %d, \"says\": ", items->items[i].count);
		text_json_string(line, items->items[i].says, strlen(items->items[i].says));
		text_line(t, "%s}%s", line->text, i + 1 < items->count ? "," : "");
	}
	t->indent--;
	text_line(t, "],");
}

void
npu_report(Text *report, Text *json, const Graph *g, const NpuFacts *f, const NpuConstants *c)
{
	Sections s = {.weights.run = report->arena,
		      .rows.run = report->arena,
		      .transforms.run = report->arena};
	Text *platforms = text_new(report->arena);
	collect(&s, g, f, c);
	for (int p = 0; p < NPU_PLATFORMS; p++)
		if (f->platform[p])
			text_printf(platforms, "%s%s", platforms->size ? ", " : "",
				    npu_platform_names[p]);
	text_line(report, "npu: for NPU %s; static models of %u positions, prefill of %u tokens",
		  platforms->text, f->context, f->chunk);
	report_weights(report, &s, c);
	report_tallies(report,
		       "npu: asked for and not done there, where rows, keys and values are floats:",
		       &s.rows);
	report_tallies(report, "npu: transforms that run:", &s.transforms);
	text_line(json, "\"npu_platforms\": \"%s\",", platforms->text);
	text_line(json, "\"npu_context\": %u, \"npu_chunk\": %u,", f->context, f->chunk);
	text_line(json, "\"npu_matrix_bytes\": %llu, \"npu_matrix_bytes_by_format\": %llu,",
		  (unsigned long long)s.bytes, (unsigned long long)s.own);
	json_tallies(json, "npu_weights", &s.weights);
	json_tallies(json, "npu_floats_instead_of", &s.rows);
	json_tallies(json, "npu_transforms", &s.transforms);
}
