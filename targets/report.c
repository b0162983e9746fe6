/* report.html: the template's holes filled with the facts of a compile. */
#include "report_impl.h"

#include "emit_impl.h"

#include <string.h>

/* Source that the report holds at most, in all and of one kernel; the rest is in the C files. */
enum { SOURCE_ALL = 320 << 10, SOURCE_ONE = 16 << 10 };

/* ---- head --------------------------------------------------------------------------------- */

static void
hole_name(Text *t, const Report *r)
{
	html(t, r->x->name);
}

static void
hole_model(Text *t, const Report *r)
{
	const Model *m = r->g->model;
	text_printf(t, "<bdi>");
	html(t, m->file);
	text_printf(t, "</bdi>, ");
	html(t, m->arch);
	text_printf(t,
		    ": %u layers, hidden %u, %u query and %u key heads of %u, mlp %u, vocabulary ",
		    m->n_layer, m->hidden, m->n_head, m->n_kv_head, m->head_dim, m->inter);
	html_count(t, "n_vocab", m->n_vocab);
	text_printf(t, ", context ");
	html_count(t, "n_ctx", m->n_ctx);
}

static const char *
base_name(const char *path)
{
	const char *slash = strrchr(path, '/');
	return slash ? slash + 1 : path;
}

static void
hole_plan(Text *t, const Report *r)
{
	const Plan *p = r->g->plan;
	if (!p) {
		text_printf(t, "none: formats are the model's or the command line's");
		return;
	}
	text_printf(t, "<bdi>");
	html(t, base_name(p->file));
	text_printf(t, "</bdi>");
	if (p->maker.recipe) {
		text_printf(t, ", recipe <bdi>");
		html(t, p->maker.recipe);
		text_printf(t, "</bdi>");
	}
	if (p->stored)
		text_printf(t, ", of weights that are stored folded");
}

static void
hole_build(Text *t, const Report *r)
{
	char hex[65];
	sha256_hex(r->x->build, hex);
	text_printf(t, "<code data-fact=\"build\">%s</code>", hex);
}

static void
hole_levels(Text *t, const Report *r)
{
	for (int i = 0; i < r->x->n_targets; i++)
		text_printf(t, "%s%s", i ? ", " : "", r->x->targets[i]->name);
	for (int i = 0; i < r->b->n_devices; i++)
		text_printf(t, ", %s", r->b->devices[i]->name);
}

static void
tile_open(Text *t, const char *name)
{
	text_printf(t, "<div><dt>%s</dt><dd>", name);
}

static void
tile_close(Text *t, const char *note)
{
	text_printf(t, "<small>%s</small></dd></div>\n", note);
}

static void
hole_tiles(Text *t, const Report *r)
{
	tile_open(t, "weights file");
	html_bytes(t, "weights_file_bytes", r->b->weights.file_bytes);
	tile_close(t, "on disk, mapped or linked");
	tile_open(t, "bits a weight");
	text_printf(t, "%.2f", facts_bits(&r->stored, facts_stored_bytes(&r->stored)));
	tile_close(t, "scales, factors and permutations counted");
	tile_open(t, "read a token");
	html_bytes(t, "bytes_per_token", r->l->bytes_per_token);
	tile_close(t, "weights of a decoded token");
	tile_open(t, "memory");
	html_bytes(t, "memory_bytes", report_memory(r, r->positions, REPORT_BATCH, REPORT_THREADS));
	tile_close(t, arena_printf(r->run, "at %u positions, %d rows, %d threads", r->positions,
				   REPORT_BATCH, REPORT_THREADS));
	tile_open(t, "machine code");
	if (r->b->n_objects)
		html_bytes(t, "text_bytes", r->text);
	else
		text_printf(t, "none");
	tile_close(t, r->b->n_objects
			      ? arena_printf(r->run, "of the library, %d level%s", r->x->n_targets,
					     r->x->n_targets == 1 ? "" : "s")
			      : "sources only, or objects that are no ELF");
	tile_open(t, "proof");
	text_printf(t, "%s",
		    r->b->o->proof && r->b->o->proof->rows
			    ? arena_printf(r->run, "%.0e", r->b->o->proof->worst)
		    : r->g->plan ? "not run"
				 : "no plan");
	tile_close(t, "largest relative difference from the model");
}

/* ---- facts in sentences ------------------------------------------------------------------- */

static void
hole_proof(Text *t, const Report *r)
{
	html(t, r->b->o->proof_words);
}

static void
hole_gbytes(Text *t, const Report *r)
{
	(void)r;
	text_printf(t, "%d", REPORT_GBYTES);
}

static void
hole_gops(Text *t, const Report *r)
{
	(void)r;
	text_printf(t, "%d", REPORT_GOPS);
}

static void
hole_ridge(Text *t, const Report *r)
{
	(void)r;
	text_printf(t, "%d", REPORT_GOPS / REPORT_GBYTES);
}

static void
hole_positions(Text *t, const Report *r)
{
	text_printf(t, "%u", r->positions);
}

static void
hole_token_bytes(Text *t, const Report *r)
{
	text_printf(t, "%llu", (unsigned long long)report_bytes(&r->all));
}

static void
hole_token_seconds(Text *t, const Report *r)
{
	text_printf(t, "%s", seconds_words(r->run, report_seconds(&r->all)));
}

static void
hole_tied(Text *t, const Report *r)
{
	const Tied *tied = &r->g->tied;
	if (tied->chosen == TIED_CHEAPER)
		return;
	text_printf(t, "<p>Embedding and head are %s: ",
		    tied->chosen == TIED_TWICE ? "one table in the model and stored twice here"
					       : "one table, transformed as it is read");
	html(t, tied->why);
	text_printf(t, ".</p>\n");
}

/* ---- bits --------------------------------------------------------------------------------- */

static void
hole_bits_rows(Text *t, const Report *r)
{
	const Stored *all = &r->stored, *layers = &r->layers;
	const struct {
		const char *name, *fact;
		uint64_t bytes, layers;
	} rows[] = {
		{"codes, with the padding of blocks", "code_bytes", all->codes, layers->codes},
		{"scales, minima, zero points, sums", "scale_bytes", all->scales, layers->scales},
		{"gains and biases", "vector_bytes", all->vectors, layers->vectors},
		{"transforms that run: permutations, factors, matrices", "table_bytes", all->tables,
		 layers->tables},
		{"all", "stored_bytes", facts_stored_bytes(all), facts_stored_bytes(layers)},
	};
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		text_printf(t, "<tr%s><th scope=\"row\">%s</th><td class=\"num\">",
			    i + 1 == sizeof rows / sizeof *rows ? " class=\"sum\"" : "",
			    rows[i].name);
		html_bytes(t, rows[i].fact, rows[i].bytes);
		text_printf(t, "</td><td class=\"num\">%.3f</td><td class=\"num\">%.3f</td></tr>\n",
			    facts_bits(all, rows[i].bytes), facts_bits(layers, rows[i].layers));
	}
}

static void
hole_added(Text *t, const Report *r)
{
	const Sums s = facts_all_sums(r->g, r->l);
	html_count(t, "transform_adds", s.adds);
	text_printf(t, " adds and ");
	html_count(t, "transform_multiplies", s.multiplies);
	text_printf(t, " multiplies a token, %.2f %% of what the weights take", facts_share(&s));
}

static void
hole_elements(Text *t, const Report *r)
{
	html_count(t, "elements", r->stored.elements);
}

/* ---- passes ------------------------------------------------------------------------------- */

static void
hole_pass_rows(Text *t, const Report *r)
{
	for (int i = 0; i < r->g->n_record; i++) {
		const PassRecord *p = &r->g->record[i];
		bool any = false;
		text_printf(
			t,
			"<tr><th scope=\"row\"><code>%s</code></th><td>%s</td><td class=\"delta\">",
			p->pass->name, p->pass->what);
		for (int c = 0; c < GRAPH_COUNTS; c++) {
			if (p->before[c] == p->after[c])
				continue;
			text_printf(t, "%s%s ", any ? "<br>" : "", count_names[c]);
			html_count(t, NULL, p->before[c]);
			text_printf(t, " \xe2\x86\x92 ");
			html_count(t, NULL, p->after[c]);
			any = true;
		}
		text_printf(t, "%s</td></tr>\n", any ? "" : "nothing");
	}
}

/* ---- sizes -------------------------------------------------------------------------------- */

static void
hole_file_rows(Text *t, const Report *r)
{
	for (int i = 0; i < r->b->n_files; i++) {
		const MadeFile *f = &r->b->files[i];
		text_printf(t,
			    "<tr data-file=\"%s\"><th scope=\"row\"><code>%s</code></th><td "
			    "class=\"num\">",
			    f->name, f->name);
		html_bytes(t, NULL, f->bytes);
		text_printf(t, "</td></tr>\n");
	}
}

static void
hole_object_rows(Text *t, const Report *r)
{
	if (!r->b->n_objects)
		text_printf(t, "<tr><td colspan=\"4\">nothing was compiled, or the objects are no "
			       "ELF files</td></tr>\n");
	for (int i = 0; i < r->b->n_objects; i++) {
		const ObjectSize *s = &r->b->objects[i];
		text_printf(t, "<tr><th scope=\"row\"><code>%s</code></th><td class=\"num\">",
			    s->file);
		html_bytes(t, NULL, s->text);
		text_printf(t, "</td><td class=\"num\">");
		html_bytes(t, NULL, s->constants);
		text_printf(t, "</td><td class=\"num\">");
		html_bytes(t, NULL, s->data);
		text_printf(t, "</td></tr>\n");
	}
}

static void
hole_memory_rows(Text *t, const Report *r)
{
	const struct {
		const char *name, *fact;
		uint64_t bytes, times;
	} rows[] = {
		{"keys and values, a position", "kv_bytes",
		 emit_cache_offset(r->g, r->g->model->n_layer), round_up(r->positions, 64)},
		{"activation buffers, a row of the batch", "activation_bytes_per_token",
		 r->g->arena_bytes_per_token, REPORT_BATCH},
		{"a worker's own", "scratch_bytes", emit_scratch_bytes(r->x), REPORT_THREADS},
	};
	uint64_t sum = 0;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		sum += rows[i].bytes * rows[i].times;
		text_printf(t, "<tr><th scope=\"row\">%s</th><td class=\"num\">", rows[i].name);
		html_bytes(t, rows[i].fact, rows[i].bytes);
		text_printf(t, "</td><td class=\"num\">%llu</td><td class=\"num\">",
			    (unsigned long long)rows[i].times);
		html_bytes(t, NULL, rows[i].bytes * rows[i].times);
		text_printf(t, "</td></tr>\n");
	}
	text_printf(t, "<tr class=\"sum\"><th scope=\"row\">all</th><td></td><td></td><td "
		       "class=\"num\">");
	html_bytes(t, NULL, sum);
	text_printf(t, "</td></tr>\n");
}

/* ---- kernels ------------------------------------------------------------------------------ */

/* C for people: its comments stand back. */
static void
source(Text *t, const char *s, size_t n)
{
	for (size_t i = 0; i < n;) {
		const char *open = n - i > 1 ? strstr(s + i, "/*") : NULL;
		const char *close = open ? strstr(open, "*/") : NULL;
		if (!close || (size_t)(close + 2 - s) > n) {
			text_html(t, s + i, n - i);
			return;
		}
		text_html(t, s + i, (size_t)(open - s) - i);
		text_printf(t, "<i>");
		text_html(t, open, (size_t)(close + 2 - open));
		text_printf(t, "</i>");
		i = (size_t)(close + 2 - s);
	}
}

/* The first whole lines of a long text. */
static size_t
shown_bytes(const Text *s, size_t most)
{
	size_t n = s->size < most ? s->size : most;
	while (n < s->size && n && s->text[n - 1] != '\n')
		n--;
	return n;
}

static void
kernel_item(Text *t, const Report *r, const Unit *u, int kernel, size_t *left)
{
	Text *text = text_new(r->run);
	const char *name, *words;
	const Kernel *k = &r->g->funcs[u->func].kernels[kernel];
	emit_kernel_words(r->run, r->x, u, kernel, &name, &words);
	emit_kernel_source(text, r->x, u, kernel);
	while (text->size && text->text[text->size - 1] == '\n')
		text->size--;
	const size_t n = shown_bytes(text, *left < SOURCE_ONE ? *left : SOURCE_ONE);
	*left -= n;
	text_printf(t,
		    "<details class=\"kernel\" data-kernel=\"%s\"><summary><code>%s</code> <span "
		    "class=\"more\">%s, phase %d</span></summary>\n<p class=\"words\">",
		    name, name, kernel_names[k->kind], k->phase);
	html(t, words);
	text_printf(t, "</p>\n");
	if (n) {
		text_printf(
			t, "<pre tabindex=\"0\" role=\"region\" aria-label=\"Source of %s\"><code>",
			name);
		source(t, text->text, n);
		text_printf(t, "</code></pre>\n");
	}
	if (n < text->size)
		text_printf(t, "<p>%zu bytes more are in <code>%s_%s.c</code>.</p>\n",
			    text->size - n, r->x->name, r->x->targets[0]->suffix);
	text_printf(t, "</details>\n");
}

static void
hole_kernels(Text *t, const Report *r)
{
	size_t left = SOURCE_ALL;
	for (int i = 0; i < r->l->n_units; i++) {
		const Unit *u = &r->l->units[i];
		const Func *f = &r->g->funcs[u->func];
		text_printf(t, "<h3>%s</h3>\n", report_unit_words(r, u));
		for (int k = 0; k < f->n_kernels; k++)
			kernel_item(t, r, u, k, &left);
	}
}

/* ---- devices ------------------------------------------------------------------------------ */

static void
hole_devices(Text *t, const Report *r)
{
	const Text *report = r->b->device_report;
	if (!report->size)
		return;
	text_printf(t, "<section aria-labelledby=\"devices\"><h2 id=\"devices\">Devices</h2>\n<pre "
		       "tabindex=\"0\" role=\"region\" aria-label=\"What devices say\">");
	text_html(t, report->text, report->size);
	text_printf(t, "</pre></section>\n");
}

/* ---- the template ------------------------------------------------------------------------- */

static const struct {
	const char *name;
	void (*fill)(Text *t, const Report *r);
} holes[] = {
	{"name", hole_name},
	{"model", hole_model},
	{"plan", hole_plan},
	{"build", hole_build},
	{"levels", hole_levels},
	{"tiles", hole_tiles},
	{"proof", hole_proof},
	{"gbytes", hole_gbytes},
	{"gops", hole_gops},
	{"ridge", hole_ridge},
	{"positions", hole_positions},
	{"token_bytes", hole_token_bytes},
	{"token_seconds", hole_token_seconds},
	{"tied", hole_tied},
	{"graphs", report_graphs},
	{"token_rows", report_token_table},
	{"layer_chart", report_layer_chart},
	{"layer_rows", report_layer_table},
	{"roofline", report_roofline},
	{"roofline_rows", report_roofline_table},
	{"bandwidth_rows", report_bandwidths},
	{"heat", report_heat},
	{"heat_rows", report_heat_table},
	{"bits_rows", hole_bits_rows},
	{"added", hole_added},
	{"elements", hole_elements},
	{"pass_rows", hole_pass_rows},
	{"file_rows", hole_file_rows},
	{"object_rows", hole_object_rows},
	{"memory_rows", hole_memory_rows},
	{"kernels", hole_kernels},
	{"devices", hole_devices},
};
enum { HOLES = sizeof holes / sizeof *holes };

/* The hole that begins at s, an '@': its index and its bytes; -1: none. */
static int
hole_at(const char *s, size_t n, size_t *size)
{
	for (int i = 0; i < HOLES; i++) {
		const size_t length = strlen(holes[i].name);
		if (n < length + 2 || s[length + 1] != '@' || memcmp(s + 1, holes[i].name, length))
			continue;
		*size = length + 2;
		return i;
	}
	return -1;
}

Text *
report_html(const Build *b)
{
	Arena *run = b->run;
	const Report r = report_facts(run, b);
	Text *t = text_new(run);
	size_t size, from = 0, hole;
	const char *s = template_text("report.html", &size);
	INVARIANT(s);
	for (size_t i = 0; i < size; i++) {
		const int h = s[i] == '@' ? hole_at(s + i, size - i, &hole) : -1;
		if (h < 0)
			continue;
		text_add(t, s + from, i - from);
		holes[h].fill(t, &r);
		from = i + hole;
		i = from - 1;
	}
	text_add(t, s + from, size - from);
	return t;
}
