/* Formats over layers: a row a tensor, an activation or the cache, runs of equal layers as one
 * field. */
#include "report_impl.h"

#include "../ir/plan_apply.h"

typedef enum HeatKind { HEAT_WEIGHTS, HEAT_ROWS, HEAT_CACHE, HEAT_KINDS } HeatKind;
static const char *const kind_words[HEAT_KINDS] = {"weights", "activations", "cache"};

/* One row of the map; of a thing that is no layer's, one field over all. */
typedef struct HeatRow {
	HeatKind kind;
	const char *name;
	int role; /* of the tensor; activations: of a linear that reads them; cache: 1 for queries
		   */
	bool layered;
	uint32_t expert; /* of a tensor; the first one's row stands for all that do not differ */
} HeatRow;

/* Three roles have experts. */
enum { HEAT_ROWS_MAX = ROLE_COUNT + SITE_COUNT + 2 + 3 * EXPERTS_MAX };

typedef struct Heat {
	HeatRow rows[HEAT_ROWS_MAX];
	int count;
} Heat;

/* The function of a layer, or the one without a layer that names the role. */
static const Func *
func_of(const Report *r, const HeatRow *row, uint32_t layer)
{
	for (int n = 0; n < r->g->count; n++) {
		const Func *f = &r->g->funcs[n];
		if (row->layered && f->layer == (int)layer)
			return f;
		for (int i = 0; i < f->count && !row->layered && f->layer < 0; i++)
			if (f->values[i].role == row->role)
				return f;
	}
	return NULL;
}

/* Whether the row has a format in a layer, and which. */
static bool
format_of(const Report *r, const HeatRow *row, uint32_t layer, Format *format)
{
	const Func *f = func_of(r, row, layer);
	bool found = row->kind == HEAT_CACHE;
	if (!f)
		return false;
	if (row->kind == HEAT_CACHE) {
		*format = row->role ? graph_query(r->g, f->layer) : graph_kv(r->g, f->layer);
		return true;
	}
	for (int i = 0; i < f->count && !found; i++) {
		const Value *v = &f->values[i];
		if (v->role != row->role || op_table[v->op].tensor != TENSOR_MATRIX)
			continue;
		found = true;
		*format = row->kind == HEAT_WEIGHTS
				  ? graph_expert_format(r->g, v->role, f->layer, row->expert)
				  : f->values[v->operands[0]].format;
	}
	return found;
}

static void
add_row(Heat *h, HeatRow row)
{
	INVARIANT(h->count < HEAT_ROWS_MAX);
	h->rows[h->count++] = row;
}

/* Whether a matrix of that role is in the graph, and in a linear. */
static bool
has_role(const Report *r, int role, bool linear)
{
	for (int n = 0; n < r->g->count; n++)
		for (int i = 0; i < r->g->funcs[n].count; i++) {
			const Value *v = &r->g->funcs[n].values[i];
			if (v->role == role && (linear ? op_is_linear(v->op)
						       : op_table[v->op].tensor == TENSOR_MATRIX))
				return true;
		}
	return false;
}

/* A tensor, then those of its experts whose formats are not the first one's in some layer. */
static void
add_weights(Heat *h, const Report *r, int role)
{
	const Model *m = r->g->model;
	add_row(h, (HeatRow){HEAT_WEIGHTS, role_names[role], role, role_layered[role], 0});
	for (uint32_t e = 1; e < model_experts(m, role); e++) {
		bool differs = false;
		for (int l = 0; l < (int)m->n_layer; l++)
			differs |= !format_equal(graph_expert_format(r->g, role, l, e),
						 graph_weight_format(r->g, role, l));
		if (differs)
			add_row(h, (HeatRow){HEAT_WEIGHTS,
					     arena_printf(r->run, "%s.%u", role_names[role], e),
					     role, true, e});
	}
}

static Heat *
heat_of(const Report *r)
{
	Heat *h = ARENA_NEW(r->run, Heat);
	bool seen[SITE_COUNT] = {false};
	for (int role = 0; role < ROLE_COUNT; role++)
		if (has_role(r, role, false))
			add_weights(h, r, role);
	for (int role = 0; role < ROLE_COUNT; role++) {
		const int site = role_site(role);
		if (site < 0 || seen[site] || !has_role(r, role, true))
			continue;
		seen[site] = true;
		add_row(h,
			(HeatRow){HEAT_ROWS, site_table[site].name, role, role_layered[role], 0});
	}
	add_row(h, (HeatRow){HEAT_CACHE, "keys, values", 0, true, 0});
	add_row(h, (HeatRow){HEAT_CACHE, "queries", 1, true, 0});
	return h;
}

/* Bits of a code: of ternary ones what they carry. */
static const char *
bits_words(Arena *a, Format f)
{
	return f.trits ? "1.6" : arena_printf(a, "%u", f.bits);
}

/* The step of the scale of colours. */
static const char *
heat_class(Format f)
{
	static const struct {
		int bits;
		const char *name;
	} steps[] = {{2, "h2"}, {3, "h3"}, {4, "h4"}, {5, "h5"}, {6, "h6"}, {8, "h8"}, {16, "h16"}};
	for (size_t i = 0; i < sizeof steps / sizeof *steps; i++)
		if (f.bits <= steps[i].bits)
			return steps[i].name;
	return "h32";
}

static const char *
group_words(Arena *a, const HeatRow *row, Format f)
{
	if (format_is_float(f))
		return "none";
	if (f.group)
		return arena_printf(a, "%u", f.group);
	return f.per_tensor		 ? "tensor"
	       : row->kind == HEAT_CACHE ? "head"
	       : row->kind == HEAT_ROWS	 ? "token"
					 : "row";
}

static const char *
zero_words(Format f)
{
	return f.minimum		? "minimum"
	       : f.zero == ZERO_INTEGER ? "integer"
	       : f.zero == ZERO_REAL	? "real"
					: "none";
}

static const char *
scale_words(Arena *a, Format f)
{
	return f.scale_bits ? arena_printf(a, "%sf%u%s", f.bf16 ? "b" : "", f.scale_bits,
					   f.signed_scale ? ", signed" : "")
			    : "none";
}

/* Short words of a format for a wide field: "4 bits, group 32". */
static const char *
field_words(Arena *a, const HeatRow *row, Format f)
{
	if (format_is_float(f))
		return arena_printf(a, "f%u", f.bits);
	return arena_printf(a, "%s bits, %s %s%s", bits_words(a, f), f.group ? "groups of" : "a",
			    group_words(a, row, f),
			    f.minimum ? ", minimum"
			    : f.zero  ? ", zero point"
				      : "");
}

/* One run of layers with one format, or without the row. */
typedef struct HeatRun {
	uint32_t first, end;
	bool there;
	Format format;
} HeatRun;

static HeatRun
run_at(const Report *r, const HeatRow *row, uint32_t first)
{
	const uint32_t n = r->g->model->n_layer;
	HeatRun run = {.first = first, .end = row->layered ? first + 1 : n};
	Format next;
	run.there = format_of(r, row, first, &run.format);
	while (run.end < n) {
		const bool there = format_of(r, row, run.end, &next);
		if (there != run.there || (there && !format_equal(next, run.format)))
			break;
		run.end++;
	}
	return run;
}

static const char *
layers_words(Arena *a, const HeatRow *row, HeatRun run)
{
	if (!row->layered)
		return "the whole model";
	if (run.end - run.first == 1)
		return arena_printf(a, "layer %u", run.first);
	return arena_printf(a, "layers %u to %u", run.first, run.end - 1);
}

/* ---- the map ------------------------------------------------------------------------------ */

enum { FIELD_HEIGHT = 22 };

static void
heat_field(Text *t, const Report *r, const HeatRow *row, HeatRun run)
{
	const double n = r->g->model->n_layer, x = 100.0 * run.first / n;
	const double wide = 100.0 * (run.end - run.first) / n;
	if (!run.there)
		return;
	text_printf(t, "<g><title>%s, %s: %s</title>", row->name, layers_words(r->run, row, run),
		    format_text(r->run, run.format));
	text_printf(t, "<rect class=\"%s\" x=\"%.3f%%\" width=\"%.3f%%\" y=\"0\" height=\"%d\"/>",
		    heat_class(run.format), x, wide, FIELD_HEIGHT);
	const double narrow_pixels = 2.7 * wide; /* of a map of 270 pixels */
	if (narrow_pixels >= 150)
		text_printf(t,
			    "<text class=\"t%s\" x=\"%.3f%%\" y=\"15\" text-anchor=\"middle\">"
			    "%s</text>",
			    heat_class(run.format), x + wide / 2,
			    field_words(r->run, row, run.format));
	else if (narrow_pixels >= 13)
		text_printf(t,
			    "<text class=\"t%s\" x=\"%.3f%%\" y=\"15\" text-anchor=\"middle\">"
			    "%s</text>",
			    heat_class(run.format), x + wide / 2, bits_words(r->run, run.format));
	else
		text_printf(t,
			    "<text class=\"t%s wide\" x=\"%.3f%%\" y=\"15\" text-anchor=\"middle\">"
			    "%s</text>",
			    heat_class(run.format), x + wide / 2, bits_words(r->run, run.format));
	text_printf(t, "</g>\n");
}

void
report_heat(Text *t, const Report *r)
{
	const Heat *h = heat_of(r);
	const uint32_t n = r->g->model->n_layer, step = n > 8 ? (n + 39) / 40 * 5 : 1;
	for (int i = 0; i < h->count; i++) {
		const HeatRow *row = &h->rows[i];
		if (!i || row->kind != h->rows[i - 1].kind)
			text_printf(t, "<span class=\"kind\">%s</span>\n", kind_words[row->kind]);
		text_printf(t,
			    "<span class=\"name\">%s</span><svg class=\"field\" height=\"%d\">\n",
			    row->name, FIELD_HEIGHT);
		for (uint32_t l = 0; l < n;) {
			const HeatRun run = run_at(r, row, l);
			heat_field(t, r, row, run);
			l = run.end;
		}
		text_printf(t, "</svg>\n");
	}
	text_printf(t, "<span class=\"name\">layer</span><svg class=\"field\" height=\"18\">\n");
	for (uint32_t l = 0; l < n; l += step)
		text_printf(t, "<text x=\"%.3f%%\" y=\"13\" text-anchor=\"middle\">%u</text>\n",
			    100.0 * (l + 0.5) / n, l);
	text_printf(t, "</svg>\n");
}

void
report_heat_table(Text *t, const Report *r)
{
	const Heat *h = heat_of(r);
	for (int i = 0; i < h->count; i++)
		for (uint32_t l = 0; l < r->g->model->n_layer;) {
			const HeatRun run = run_at(r, &h->rows[i], l);
			l = run.end;
			if (!run.there)
				continue;
			text_printf(
				t,
				"<tr><th scope=\"row\">%s</th><td>%s</td><td>%s</td><td "
				"class=\"num\">%s</td><td>%s</td><td>%s</td><td>%s</td><td><code>",
				h->rows[i].name, kind_words[h->rows[i].kind],
				layers_words(r->run, &h->rows[i], run),
				bits_words(r->run, run.format),
				group_words(r->run, &h->rows[i], run.format),
				scale_words(r->run, run.format), zero_words(run.format));
			html(t, format_text(r->run, run.format));
			text_printf(t, "</code></td></tr>\n");
		}
}
