/*
 * One function as a picture: kernels from top to bottom, their values in rows, what flows between
 * them, and which values hold a folded transform or run one. And the same as tables.
 */
#include "report_impl.h"

#include <string.h>

enum { PAGE_WIDTH = 424, LANE_LEFT = 6, LANE_STEP = 8, LANES = 3 };
enum { BOX_LEFT = 34, BOX_RIGHT = 390, BOX_HEAD = 22, BOX_PAD = 8 };
enum { NODE_HEIGHT = 26, NODE_FOLDED = 40, NODE_GAP = 10, ROW_GAP = 16, KERNEL_GAP = 18 };
enum { ROW_NODES = 3, NODE_MAX = 200 };

/* A value's place. Rows count from the top through all kernels. */
typedef struct Node {
	bool drawn;
	int depth, row;
	double x, y, width, height; /* the middle of its upper edge, in y downwards */
} Node;

typedef struct Picture {
	const Report *r;
	const Func *f;
	const char *ident;
	Node *nodes;  /* [f->count] */
	int *row_of;  /* values by rows: values of row k are row_of[first[k]] ... */
	int *first;   /* [n_rows + 1] */
	double *tops; /* [n_rows] */
	int n_rows;
	double *kernel_top, *kernel_bottom; /* [f->n_kernels] */
	double lane_end[2][LANES]; /* on the left and right: how far down a lane is taken */
	double height;
} Picture;

/* A transform without its numbers: "D * R1". */
static const char *
short_words(Arena *a, const Transform *x)
{
	Text *t = text_new(a);
	for (const char *s = facts_transform(a, x); *s; s++)
		if (*s == '[') {
			s += strcspn(s, "]");
			if (!*s)
				break;
		} else {
			text_add(t, s, 1);
		}
	return t->text;
}

/* ---- places ------------------------------------------------------------------------------- */

static bool
has_folds(const Value *v)
{
	return v->fold_in || v->fold_out;
}

/* Of each value, the longest way to it from those of its kernel that wait for none of it. */
static void
find_depths(Picture *p)
{
	const Func *f = p->f;
	for (int n = 0; n < f->n_order; n++) {
		const Value *v = &f->values[f->order[n]];
		for (int o = 0; o < op_operands(v->op); o++) {
			const int from = v->operands[o], depth = p->nodes[from].depth + 1;
			if (f->values[from].kernel == v->kernel &&
			    depth > p->nodes[f->order[n]].depth)
				p->nodes[f->order[n]].depth = depth;
		}
	}
}

static void
new_row(Picture *p, double y)
{
	p->tops[p->n_rows++] = y;
	p->first[p->n_rows] = p->first[p->n_rows - 1];
}

static void
place(Picture *p, int value)
{
	p->row_of[p->first[p->n_rows]++] = value;
	p->nodes[value].drawn = true;
	p->nodes[value].row = p->n_rows - 1;
}

/* Where the rows that a value reads are, on the average: the middle for those that read none. */
static double
pull(const Picture *p, int value)
{
	const Value *v = &p->f->values[value];
	double sum = 0;
	int n = 0;
	for (int o = 0; o < op_operands(v->op); o++)
		if (p->nodes[v->operands[o]].drawn) {
			sum += p->nodes[v->operands[o]].x;
			n++;
		}
	return n ? sum / n : (BOX_LEFT + BOX_RIGHT) / 2.0;
}

/* The last row's values from left to right as what they read, so that fewer lines cross. */
static void
sort_row(Picture *p)
{
	const int first = p->first[p->n_rows - 1], end = p->first[p->n_rows];
	for (int i = first + 1; i < end; i++)
		for (int k = i; k > first && pull(p, p->row_of[k]) < pull(p, p->row_of[k - 1]) - 1;
		     k--) {
			const int swap = p->row_of[k];
			p->row_of[k] = p->row_of[k - 1];
			p->row_of[k - 1] = swap;
		}
}

/* The nodes of the last row side by side; returns its height. */
static double
spread(Picture *p)
{
	const int row = p->n_rows - 1, n = p->first[row + 1] - p->first[row];
	const double inner = BOX_RIGHT - BOX_LEFT - 2 * BOX_PAD;
	double width = (inner - (n - 1) * NODE_GAP) / n, height = NODE_HEIGHT;
	width = width > NODE_MAX ? NODE_MAX : width;
	sort_row(p);
	double x = BOX_LEFT + BOX_PAD + (inner - n * width - (n - 1) * NODE_GAP) / 2;
	for (int i = p->first[row]; i < p->first[row + 1]; i++, x += width + NODE_GAP) {
		Node *node = &p->nodes[p->row_of[i]];
		node->x = x + width / 2;
		node->y = p->tops[row];
		node->width = width;
		node->height = has_folds(&p->f->values[p->row_of[i]]) ? NODE_FOLDED : NODE_HEIGHT;
		height = node->height > height ? node->height : height;
	}
	return height;
}

/* The values of a kernel by their depth, a few to a row. */
static double
place_kernel(Picture *p, int kernel, double y)
{
	const Func *f = p->f;
	const Kernel *k = &f->kernels[kernel];
	p->kernel_top[kernel] = y;
	y += BOX_HEAD;
	for (int depth = 0, left = k->count; left > 0; depth++) {
		int in_row = 0;
		for (int i = 0; i < k->count; i++) {
			const int value = f->order[k->first + i];
			if (p->nodes[value].depth != depth)
				continue;
			if (in_row % ROW_NODES == 0) {
				if (in_row)
					y += spread(p) + ROW_GAP;
				new_row(p, y);
			}
			place(p, value);
			in_row++;
			left--;
		}
		if (in_row)
			y += spread(p) + (left ? ROW_GAP : 0);
	}
	return p->kernel_bottom[kernel] = y + BOX_PAD;
}

static double
place_alone(Picture *p, Op op, double y)
{
	for (int i = 0; i < p->f->count; i++) {
		if (p->f->values[i].op != op)
			continue;
		new_row(p, y);
		place(p, i);
		y += spread(p) + KERNEL_GAP;
	}
	return y;
}

static Picture
picture_of(const Report *r, const Func *f, const char *ident)
{
	Picture p = {.r = r, .f = f, .ident = ident};
	const size_t n = (size_t)f->count + 1;
	p.nodes = ARENA_ARRAY(r->run, Node, n);
	p.row_of = ARENA_ARRAY(r->run, int, n);
	p.first = ARENA_ARRAY(r->run, int, n + 1);
	p.tops = ARENA_ARRAY(r->run, double, n);
	p.kernel_top = ARENA_ARRAY(r->run, double, n);
	p.kernel_bottom = ARENA_ARRAY(r->run, double, n);
	find_depths(&p);
	double y = place_alone(&p, OP_INPUT, 4);
	for (int k = 0; k < f->n_kernels; k++)
		y = place_kernel(&p, k, y) + KERNEL_GAP;
	p.height = place_alone(&p, OP_OUTPUT, y) - KERNEL_GAP + 4;
	return p;
}

/* ---- edges -------------------------------------------------------------------------------- */

static double
bottom_of(const Node *n)
{
	return n->y + n->height;
}

/* Whether a vertical line at x meets no node of the rows between. */
static bool
is_free(const Picture *p, double x, int above, int below)
{
	for (int row = above + 1; row < below; row++)
		for (int i = p->first[row]; i < p->first[row + 1]; i++) {
			const Node *n = &p->nodes[p->row_of[i]];
			if (x > n->x - n->width / 2 - 4 && x < n->x + n->width / 2 + 4)
				return false;
		}
	return true;
}

/* Beside everything, on the side where it begins: in the innermost lane that is free from there on.
 */
static void
edge_lane(Text *t, Picture *p, const Node *a, const Node *b)
{
	const bool right = a->x > (BOX_LEFT + BOX_RIGHT) / 2.0 + 1;
	const double side = right ? 1 : -1;
	double *ends = p->lane_end[right];
	int lane = LANES - 1;
	const double from = a->y + a->height / 2, to = b->y + b->height / 2;
	while (lane > 0 && ends[lane] > from)
		lane--;
	ends[lane] = to;
	const double left = LANE_LEFT + lane * LANE_STEP, x = right ? PAGE_WIDTH - left : left;
	text_printf(t,
		    "<path class=\"edge\" marker-end=\"url(#%s-arrow)\" d=\"M%.1f %.1fH%.1fQ%.1f "
		    "%.1f %.1f %.1fV%.1fQ%.1f %.1f %.1f %.1fH%.1f\"/>\n",
		    p->ident, a->x + side * a->width / 2, from, x - side * 6, x, from, x, from + 6,
		    to - 6, x, to, x - side * 6, to, b->x + side * (b->width / 2 + 3));
}

static void
edge(Text *t, Picture *p, int from, int to)
{
	const Node *a = &p->nodes[from], *b = &p->nodes[to];
	const bool at_a = is_free(p, a->x, a->row, b->row), at_b = is_free(p, b->x, a->row, b->row);
	if (!at_a && !at_b) {
		edge_lane(t, p, a, b);
		return;
	}
	/* Straight where it has to pass rows, bent in the gap in front of or behind them. */
	const double y1 = bottom_of(a), y2 = b->y - 3;
	const double gap = ROW_GAP < y2 - y1 ? ROW_GAP : y2 - y1;
	const double bend_end = at_a ? y2 : y1 + gap, bend = bend_end - gap;
	text_printf(t,
		    "<path class=\"edge\" marker-end=\"url(#%s-arrow)\" d=\"M%.1f %.1fV%.1fC%.1f "
		    "%.1f %.1f %.1f %.1f %.1fV%.1f\"/>\n",
		    p->ident, a->x, y1, bend, a->x, bend + gap / 2, b->x, bend_end - gap / 2, b->x,
		    bend_end, y2);
}

static void
draw_edges(Text *t, Picture *p)
{
	for (int i = 0; i < p->f->count; i++)
		for (int o = 0; o < op_operands(p->f->values[i].op); o++) {
			const int from = p->f->values[i].operands[o];
			if (p->nodes[i].drawn && p->nodes[from].drawn)
				edge(t, p, from, i);
		}
}

/* ---- nodes -------------------------------------------------------------------------------- */

/* Bits of a value's own format or of its weights, in few letters; "" for rows of floats. */
static const char *
bits_words(const Picture *p, const Value *v)
{
	const bool matrix = op_table[v->op].tensor == TENSOR_MATRIX;
	const Format f = matrix ? graph_weight_format(p->r->g, v->role, p->f->layer) : v->format;
	if (!matrix && format_is_float(f))
		return "";
	if (matrix && graph_formats_mixed(p->r->g, v->role, p->f->layer))
		return " mixed";
	return arena_printf(p->r->run, " %s%u", format_is_float(f) ? "f" : "int", f.bits);
}

/*
 * A line of words in a node, in `size` pixels. What may not fit is cut, and set as wide as there is
 * room: fonts differ.
 */
static void
node_words(Text *t, const Node *node, double y, double size, const char *s)
{
	const double room = node->width - 12;
	const int most = (int)(room / (0.5 * size));
	Text *cut = text_new(t->arena);
	int n = 0;
	for (; *s; s++) {
		n += ((unsigned char)*s & 0xc0) != 0x80;
		if (n >= most)
			break;
		text_add(cut, s, 1);
	}
	text_printf(t, "<text x=\"%.1f\" y=\"%.1f\" font-size=\"%.0f\" text-anchor=\"middle\"",
		    node->x, y, size);
	if (n * 0.65 * size > room)
		text_printf(t, " textLength=\"%.0f\" lengthAdjust=\"spacingAndGlyphs\"", room);
	text_printf(t, ">");
	html(t, cut->text);
	text_printf(t, "%s</text>", *s ? "\xe2\x80\xa6" : "");
}

static const char *
fold_words(const Picture *p, const Value *v)
{
	Arena *a = p->r->run;
	const char *out = v->fold_out ? short_words(a, v->fold_out) : "";
	const char *in = v->fold_in ? short_words(a, v->fold_in) : "";
	return arena_printf(a, "%s%sW%s%s", out, *out ? " \xc2\xb7 " : "", *in ? " \xc2\xb7 " : "",
			    in);
}

static const char *
node_class(const Value *v)
{
	if (v->op == OP_TRANSFORM)
		return "n-transform";
	if (has_folds(v))
		return "n-folded";
	return op_table[v->op].tensor == TENSOR_MATRIX	 ? "n-matrix"
	       : v->op == OP_INPUT || v->op == OP_OUTPUT ? "n-end"
							 : "n-op";
}

static const char *
node_name(const Picture *p, int i)
{
	const Value *v = &p->f->values[i];
	if (v->op == OP_TRANSFORM)
		return short_words(p->r->run, v->transform);
	if (v->op == OP_INPUT)
		return "from the layer before";
	if (v->op == OP_OUTPUT)
		return func_is_last(p->r->g, p->f) ? "logits" : "to the next layer";
	return arena_printf(p->r->run, "%s%s", facts_value_name(p->f, i), bits_words(p, v));
}

static void
node_title(Text *t, const Picture *p, int i)
{
	const Value *v = &p->f->values[i];
	text_printf(t, "<title>%%%d %s", i, op_name(v->op));
	if (v->role >= 0)
		text_printf(
			t, " %s: %s%s", role_names[v->role],
			format_text(p->r->run, graph_weight_format(p->r->g, v->role, p->f->layer)),
			graph_formats_mixed(p->r->g, v->role, p->f->layer)
				? ", other experts differ"
				: "");
	text_printf(t, "; %s, %u wide", format_text(p->r->run, v->format), v->width);
	if (v->transform) {
		text_printf(t, "; runs ");
		html(t, facts_transform(p->r->run, v->transform));
	}
	if (has_folds(v)) {
		text_printf(t, "; folded: ");
		html(t, fold_words(p, v));
	}
	text_printf(t, "; basis ");
	html(t, facts_transform(p->r->run, v->basis.transform));
	text_printf(t, "</title>");
}

static void
draw_node(Text *t, const Picture *p, int i)
{
	const Node *n = &p->nodes[i];
	const Value *v = &p->f->values[i];
	text_printf(t, "<g class=\"%s\">", node_class(v));
	node_title(t, p, i);
	text_printf(t, "<rect x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\" rx=\"4\"/>",
		    n->x - n->width / 2, n->y, n->width, n->height);
	node_words(t, n, n->y + 17, 12, node_name(p, i));
	if (has_folds(v))
		node_words(t, n, n->y + 32, 11, fold_words(p, v));
	text_printf(t, "</g>\n");
}

static void
draw_boxes(Text *t, const Picture *p)
{
	for (int k = 0; k < p->f->n_kernels; k++)
		text_printf(
			t,
			"<rect class=\"kernel\" x=\"%d\" y=\"%.1f\" width=\"%d\" height=\"%.1f\" "
			"rx=\"8\"/>\n",
			BOX_LEFT, p->kernel_top[k], BOX_RIGHT - BOX_LEFT,
			p->kernel_bottom[k] - p->kernel_top[k]);
}

static void
draw_box_names(Text *t, const Picture *p)
{
	for (int k = 0; k < p->f->n_kernels; k++)
		text_printf(t,
			    "<text class=\"kernel\" x=\"%d\" y=\"%.1f\">kernel %d, %s</text><text "
			    "class=\"kernel\" x=\"%d\" y=\"%.1f\" text-anchor=\"end\">phase "
			    "%d</text>\n",
			    BOX_LEFT + 8, p->kernel_top[k] + 15, k,
			    kernel_names[p->f->kernels[k].kind], BOX_RIGHT - 8,
			    p->kernel_top[k] + 15, p->f->kernels[k].phase);
}

static void
draw(Text *t, const Report *r, const Unit *u, const char *what)
{
	Picture p = picture_of(r, &r->g->funcs[u->func], u->ident);
	text_printf(
		t,
		"<svg class=\"fixed graph\" viewBox=\"0 0 %d %.0f\" role=\"img\" "
		"aria-labelledby=\"%s-title\">\n<title id=\"%s-title\">%s: kernels from top to "
		"bottom; the table has every value</title>\n<defs><marker id=\"%s-arrow\" "
		"viewBox=\"0 0 6 6\" refX=\"3\" refY=\"3\" markerWidth=\"6\" markerHeight=\"6\" "
		"orient=\"auto\"><path class=\"head\" d=\"M0 0L6 3L0 6z\"/></marker></defs>\n",
		PAGE_WIDTH, p.height, u->ident, u->ident, what, u->ident);
	draw_boxes(t, &p);
	draw_edges(t, &p);
	draw_box_names(t, &p);
	for (int i = 0; i < p.f->count; i++)
		if (p.nodes[i].drawn)
			draw_node(t, &p, i);
	text_printf(t, "</svg>\n");
}

/* ---- where each went ---------------------------------------------------------------------- */

static void
fate_row(Text *t, const char *kind, const char *style, const char *what, const char *where,
	 const char *cost)
{
	text_printf(t, "<tr><td><span class=\"tag %s\">%s</span></td><td><code>", style, kind);
	html(t, what);
	text_printf(t, "</code></td><td>%s</td><td>%s</td></tr>\n", where, cost);
}

static const char *
readers_words(const Report *r, const Func *f, const Online *o)
{
	Text *t = text_new(r->run);
	for (int i = 0; i < o->n_readers; i++)
		text_printf(t, "%s%s", i ? ", " : "", facts_value_name(f, o->readers[i]));
	return o->n_readers ? t->text : "the next layer";
}

static const Transform *
fold_of(const Value *v, bool out)
{
	return out ? v->fold_out : v->fold_in;
}

static bool
same_fold(const Value *a, const Value *b, bool out)
{
	return fold_of(a, out) && fold_of(b, out) &&
	       transform_equal(fold_of(a, out), fold_of(b, out));
}

/* One row for all values that hold the same transform on the same side. */
static void
fates_of_folds(Text *t, const Report *r, const Func *f, bool out)
{
	for (int i = 0; i < f->count; i++) {
		Text *names = text_new(r->run);
		bool told = !fold_of(&f->values[i], out);
		for (int k = 0; k < i && !told; k++)
			told = same_fold(&f->values[k], &f->values[i], out);
		for (int k = i; k < f->count && !told; k++)
			if (same_fold(&f->values[k], &f->values[i], out))
				text_printf(names, "%s%s", names->size ? ", " : "",
					    role_names[f->values[k].role]);
		if (!told)
			fate_row(t, "folded", "k-folded",
				 short_words(r->run, fold_of(&f->values[i], out)),
				 arena_printf(r->run, "%s of <b>%s</b>", out ? "rows" : "columns",
					      names->text),
				 "free");
	}
}

static void
fates_of_transforms(Text *t, const Report *r, const Func *f)
{
	Online o = {.value = -1};
	for (int i = 0; facts_online(f, -1, i, &o); i = o.value + 1) {
		const Value *v = &f->values[o.value];
		const TransformFacts facts = transform_facts(v->transform);
		const bool fused = f->kernels[v->kernel].count > 1;
		fate_row(t, o.n_readers > 1 ? "runs, hoisted" : "runs", "k-runs",
			 short_words(r->run, v->transform),
			 arena_printf(r->run, "for <b>%s</b>, %s kernel %d",
				      readers_words(r, f, &o), fused ? "fused in" : "alone in",
				      v->kernel),
			 arena_printf(r->run, "%llu adds, %llu multiplies",
				      (unsigned long long)facts.adds,
				      (unsigned long long)facts.multiplies));
	}
}

/* Rows that several linears read were made once for all: what `hoist` merged. */
static void
fates_of_rows(Text *t, const Report *r, const Func *f)
{
	for (int i = 0; i < f->count; i++) {
		const Value *v = &f->values[i];
		Text *readers = text_new(r->run);
		int n = 0;
		if (v->op != OP_QUANTIZE && v->op != OP_TILE)
			continue;
		for (int k = 0; k < f->count; k++)
			if (op_is_linear(f->values[k].op) && f->values[k].operands[0] == i)
				text_printf(readers, "%s%s", n++ ? ", " : "",
					    role_names[f->values[k].role]);
		if (n > 1)
			fate_row(t, "hoisted", "k-hoisted",
				 v->op == OP_QUANTIZE ? format_text(r->run, v->format)
						      : "tile of floats",
				 arena_printf(r->run, "one row for <b>%s</b>", readers->text),
				 arena_printf(r->run, "once, not %d times", n));
	}
}

static void
fates_of_kernels(Text *t, const Report *r, const Func *f)
{
	for (int k = 0; k < f->n_kernels; k++) {
		const Kernel *kernel = &f->kernels[k];
		Text *ops = text_new(r->run);
		for (int i = 0; i < kernel->count; i++)
			text_printf(ops, "%s%s", i ? " + " : "",
				    facts_value_name(f, f->order[kernel->first + i]));
		if (kernel->count > 1)
			fate_row(t, "fused", "k-fused", ops->text,
				 arena_printf(r->run, "kernel %d", k),
				 arena_printf(r->run, "%d ops", kernel->count));
	}
}

static void
value_rows(Text *t, const Report *r, const Func *f)
{
	for (int i = 0; i < f->count; i++) {
		const Value *v = &f->values[i];
		text_printf(t, "<tr><th scope=\"row\" class=\"num\">%%%d</th><td>%s%s%s</td><td>",
			    i, op_name(v->op), v->role >= 0 ? " " : "",
			    v->role >= 0 ? role_names[v->role] : "");
		for (int o = 0; o < op_operands(v->op); o++)
			text_printf(t, "%s%%%d", o ? " " : "", v->operands[o]);
		text_printf(t, "</td><td class=\"num\">%u</td><td><code>%s</code></td>", v->width,
			    format_text(r->run, v->format));
		text_printf(t, "<td class=\"num\">%s</td><td><code>",
			    v->kernel < 0 ? "" : arena_printf(r->run, "%d", v->kernel));
		html(t, facts_transform(r->run, v->basis.transform));
		text_printf(t, "</code></td></tr>\n");
	}
}

/* ---- all functions ------------------------------------------------------------------------ */

static int
unit_functions(const Report *r, const Unit *u)
{
	int n = 0;
	for (int f = 0; f < r->g->count; f++)
		n += layout_unit(r->l, f) == u;
	return n;
}

const char *
report_unit_words(const Report *r, const Unit *u)
{
	Text *t = text_new(r->run);
	if (unit_functions(r, u) == 1)
		return r->g->funcs[u->func].name;
	for (int f = 0, end; f < r->g->count; f = end) {
		for (end = f; end < r->g->count && layout_unit(r->l, end) == u;)
			end++;
		if (end - f > 1)
			text_printf(t, end - f > 2 ? "%s%d to %d" : "%s%d, %d",
				    t->size ? ", " : "layers ", r->g->funcs[f].layer,
				    r->g->funcs[end - 1].layer);
		else if (end > f)
			text_printf(t, "%s%d", t->size ? ", " : "layers ", r->g->funcs[f].layer);
		end = end > f ? end : f + 1;
	}
	return t->text;
}

static void
unit_section(Text *t, const Report *r, const Unit *u, bool open)
{
	const Func *f = &r->g->funcs[u->func];
	const char *words = report_unit_words(r, u);
	text_printf(t,
		    "<details class=\"unit\"%s><summary>%s <span class=\"more\">%d values, %d "
		    "kernel%s</span></summary>\n<div class=\"pair\"><figure>",
		    open ? " open" : "", words, f->count, f->n_kernels,
		    f->n_kernels == 1 ? "" : "s");
	draw(t, r, u, words);
	text_printf(t, "</figure><div class=\"side\">"
		       "<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"Where "
		       "each went, ");
	text_printf(t,
		    "%s\"><table class=\"fates\"><caption>Where each went</caption><thead><tr><th "
		    "scope=\"col\">how</th><th scope=\"col\">what</th><th "
		    "scope=\"col\">where</th><th scope=\"col\">cost</th></tr></thead><tbody>\n",
		    words);
	fates_of_folds(t, r, f, false);
	fates_of_folds(t, r, f, true);
	fates_of_transforms(t, r, f);
	fates_of_rows(t, r, f);
	fates_of_kernels(t, r, f);
	text_printf(t,
		    "</tbody></table></div>\n<details class=\"table\"><summary>Every value as a "
		    "table</summary><div class=\"scroll\" tabindex=\"0\" role=\"region\" "
		    "aria-label=\"Values, %s\"><table><thead><tr><th scope=\"col\">value</th><th "
		    "scope=\"col\">op</th><th scope=\"col\">reads</th><th "
		    "scope=\"col\">width</th><th scope=\"col\">format</th><th "
		    "scope=\"col\">kernel</th><th scope=\"col\">basis</th></tr></thead><tbody>\n",
		    words);
	value_rows(t, r, f);
	text_printf(t, "</tbody></table></div></details></div></div></details>\n");
}

/* The unit of most layers. */
static int
main_unit(const Report *r)
{
	int best = 0;
	for (int i = 1; i < r->l->n_units; i++) {
		const Unit *u = &r->l->units[i], *b = &r->l->units[best];
		if (r->g->funcs[u->func].layer >= 0 &&
		    (r->g->funcs[b->func].layer < 0 || unit_functions(r, u) > unit_functions(r, b)))
			best = i;
	}
	return best;
}

void
report_graphs(Text *t, const Report *r)
{
	enum { DRAWN = 12 };
	const int n = r->l->n_units, open = main_unit(r);
	int left = 0;
	for (int i = 0; i < n; i++)
		if (i < DRAWN || i == open || i + 1 == n)
			unit_section(t, r, &r->l->units[i], i == open);
		else
			left++;
	if (left)
		text_printf(t, "<p>%d more functions are in <code>report.txt</code>.</p>\n", left);
}
