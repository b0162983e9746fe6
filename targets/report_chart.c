/* Bytes and times of a decoded token as tables with bars, columns by layer, and a roofline. */
#include "report_impl.h"

/* The parts of a function's bytes, in the order in which they are stacked. */
static const struct {
	const char *name, *style; /* of templates/report.html */
	size_t field;		  /* of a uint64_t in ReportFunc */
} parts[] = {
	{"weight codes", "p-codes", offsetof(ReportFunc, codes)},
	{"scales and zero points", "p-scales", offsetof(ReportFunc, scales)},
	{"gains, biases, transforms", "p-vectors", offsetof(ReportFunc, vectors)},
	{"keys and values", "p-cache", offsetof(ReportFunc, cache)},
	{"activations", "p-rows", offsetof(ReportFunc, rows)},
};
enum { PARTS = sizeof parts / sizeof *parts };

static uint64_t
part_of(const ReportFunc *f, int i)
{
	return *(const uint64_t *)((const char *)f + parts[i].field);
}

static double
percent(double part, double whole)
{
	return whole > 0 ? 100 * part / whole : 0;
}

/* ---- a token ------------------------------------------------------------------------------ */

static void
token_row(Text *t, const Report *r, const char *name, const char *style, uint64_t bytes,
	  const char *fact)
{
	const double share = percent((double)bytes, (double)report_bytes(&r->all));
	text_printf(t, "<tr><th scope=\"row\">%s</th><td class=\"num\">", name);
	html_bytes(t, fact, bytes);
	text_printf(t,
		    "</td><td class=\"num\">%.1f %%</td><td class=\"num\">%s</td><td class=\"bar\">"
		    "<span class=\"%s\" style=\"width:%.2f%%\"></span></td></tr>\n",
		    share, seconds_words(r->run, (double)bytes / (REPORT_GBYTES * 1e9)), style,
		    share);
}

/* Where a decoded token's bytes go: layers by parts, embedding and head apart. */
void
report_token_table(Text *t, const Report *r)
{
	ReportFunc layers = {0};
	uint64_t inner = 0;
	for (int n = 0; n < r->g->count; n++) {
		if (r->g->funcs[n].layer < 0)
			continue;
		for (int i = 0; i < PARTS; i++)
			*(uint64_t *)((char *)&layers + parts[i].field) += part_of(&r->funcs[n], i);
	}
	for (int i = 0; i < PARTS; i++) {
		inner += part_of(&layers, i);
		if (part_of(&layers, i))
			token_row(t, r, arena_printf(r->run, "layers: %s", parts[i].name),
				  parts[i].style, part_of(&layers, i), NULL);
	}
	for (int n = 0; n < r->g->count; n++)
		if (r->g->funcs[n].layer < 0)
			token_row(t, r, r->g->funcs[n].name, "p-other", report_bytes(&r->funcs[n]),
				  NULL);
	INVARIANT(inner <= report_bytes(&r->all));
	text_printf(t, "<tr class=\"sum\"><th scope=\"row\">all</th><td class=\"num\">");
	html_bytes(t, "token_bytes", report_bytes(&r->all));
	text_printf(t,
		    "</td><td class=\"num\">100 %%</td><td class=\"num\">%s</td><td></td></tr>\n",
		    seconds_words(r->run, (double)report_bytes(&r->all) / (REPORT_GBYTES * 1e9)));
}

/* ---- by layer ----------------------------------------------------------------------------- */

enum { PLOT_TOP = 22, PLOT_HEIGHT = 160 };

/* A round number of bytes without digits behind the point. */
static const char *
tick_words(Arena *a, double bytes)
{
	static const char *const units[] = {"B", "kB", "MB", "GB"};
	int i = 0;
	for (; i < 3 && bytes >= 1000; i++)
		bytes /= 1000;
	return arena_printf(a, "%.0f %s", bytes, units[i]);
}

/* 1, 2 or 5 times a power of ten, so that at most four steps reach `most`. */
static double
tick_step(double most)
{
	static const double digits[] = {1, 2, 5};
	double power = 1;
	for (;; power *= 10)
		for (int i = 0; i < 3; i++)
			if (4 * power * digits[i] >= most)
				return power * digits[i];
}

static uint64_t
most_bytes(const Report *r)
{
	uint64_t most = 1;
	for (int n = 0; n < r->g->count; n++)
		if (r->g->funcs[n].layer >= 0 && report_bytes(&r->funcs[n]) > most)
			most = report_bytes(&r->funcs[n]);
	return most;
}

static int
layer_func(const Report *r, uint32_t layer)
{
	for (int n = 0; n < r->g->count; n++)
		if (r->g->funcs[n].layer == (int)layer)
			return n;
	BUG("no function of layer %u", layer);
}

static bool
layers_same(const Report *r, uint32_t a, uint32_t b)
{
	for (int i = 0; i < PARTS; i++)
		if (part_of(&r->funcs[layer_func(r, a)], i) !=
		    part_of(&r->funcs[layer_func(r, b)], i))
			return false;
	return r->funcs[layer_func(r, a)].operations == r->funcs[layer_func(r, b)].operations;
}

/* The layer behind those that are as `first`. */
static uint32_t
run_end(const Report *r, uint32_t first)
{
	uint32_t end = first + 1;
	while (end < r->g->model->n_layer && layers_same(r, first, end))
		end++;
	return end;
}

static void
layer_column(Text *t, const Report *r, uint32_t layer, double per_byte)
{
	const ReportFunc *f = &r->funcs[layer_func(r, layer)];
	const double wide = 100.0 / r->g->model->n_layer;
	double y = PLOT_TOP + PLOT_HEIGHT;
	text_printf(t, "<g><title>layer %u: %s, %s", layer,
		    bytes_words(r->run, (double)report_bytes(f)),
		    seconds_words(r->run, report_seconds(f)));
	for (int i = 0; i < PARTS; i++)
		if (part_of(f, i))
			text_printf(t, "; %s %s", parts[i].name,
				    bytes_words(r->run, (double)part_of(f, i)));
	text_printf(t, "</title>");
	for (int i = 0; i < PARTS; i++) {
		const double height = per_byte * (double)part_of(f, i);
		if (height <= 0)
			continue;
		y -= height;
		text_printf(t,
			    "<rect class=\"%s\" x=\"%.3f%%\" width=\"%.3f%%\" y=\"%.2f\" "
			    "height=\"%.2f\"/>",
			    parts[i].style, wide * (layer + 0.1), wide * 0.8, y, height);
	}
	text_printf(t, "</g>\n");
}

/* What a run of equal layers takes, above it, where the words have room. */
static void
column_label(Text *t, const Report *r, uint32_t first, uint32_t end, double per_byte)
{
	const uint32_t n = r->g->model->n_layer;
	const uint64_t bytes = report_bytes(&r->funcs[layer_func(r, first)]);
	if ((end - first) * 100 < 16 * n)
		return;
	text_printf(t,
		    "<text class=\"strong\" x=\"%.3f%%\" y=\"%.2f\" "
		    "text-anchor=\"middle\">%s</text>\n",
		    50.0 * (first + end) / n, PLOT_TOP + PLOT_HEIGHT - per_byte * (double)bytes - 6,
		    bytes_words(r->run, (double)bytes));
}

/* Numbers of layers below columns: 8 at most. */
static void
layer_axis(Text *t, uint32_t n, double y)
{
	const uint32_t step = n > 8 ? (n + 39) / 40 * 5 : 1;
	for (uint32_t l = 0; l < n; l += step)
		text_printf(t, "<text x=\"%.3f%%\" y=\"%.0f\" text-anchor=\"middle\">%u</text>\n",
			    100.0 * (l + 0.5) / n, y, l);
}

void
report_layer_chart(Text *t, const Report *r)
{
	const uint32_t n = r->g->model->n_layer;
	const double most = (double)most_bytes(r), step = tick_step(most);
	const double per_byte = PLOT_HEIGHT / most;
	text_printf(t, "<svg class=\"axis\" height=\"%d\" aria-hidden=\"true\">\n",
		    PLOT_TOP + PLOT_HEIGHT + 24);
	for (double v = 0; v <= most; v += step)
		text_printf(t,
			    "<text x=\"100%%\" dx=\"-6\" y=\"%.2f\" dy=\"4\" "
			    "text-anchor=\"end\">%s</text>\n",
			    PLOT_TOP + PLOT_HEIGHT - v * per_byte,
			    v > 0 ? tick_words(r->run, v) : "0");
	text_printf(t,
		    "</svg>\n<svg class=\"plot\" height=\"%d\" role=\"img\" "
		    "aria-labelledby=\"layers-title\">\n<title id=\"layers-title\">Bytes a decoded "
		    "token moves in each layer; the table below has the numbers</title>\n",
		    PLOT_TOP + PLOT_HEIGHT + 24);
	for (double v = 0; v <= most; v += step)
		text_printf(
			t, "<line class=\"grid\" x1=\"0\" x2=\"100%%\" y1=\"%.2f\" y2=\"%.2f\"/>\n",
			PLOT_TOP + PLOT_HEIGHT - v * per_byte,
			PLOT_TOP + PLOT_HEIGHT - v * per_byte);
	for (uint32_t l = 0; l < n; l++)
		layer_column(t, r, l, per_byte);
	for (uint32_t l = 0, end; l < n; l = end) {
		end = run_end(r, l);
		column_label(t, r, l, end, per_byte);
	}
	layer_axis(t, n, PLOT_TOP + PLOT_HEIGHT + 18);
	text_printf(t, "</svg>\n");
}

static void
layer_row(Text *t, const Report *r, const char *name, const ReportFunc *f)
{
	text_printf(t, "<tr><th scope=\"row\">%s</th>", name);
	for (int i = 0; i < PARTS; i++) {
		text_printf(t, "<td class=\"num\">");
		html_bytes(t, NULL, part_of(f, i));
		text_printf(t, "</td>");
	}
	text_printf(t, "<td class=\"num\">");
	html_bytes(t, NULL, report_bytes(f));
	text_printf(t,
		    "</td><td class=\"num\">%s</td><td class=\"num\">%s</td><td "
		    "class=\"num\">%s</td></tr>\n",
		    number_words(r->run, (double)f->operations / 1e6),
		    number_words(r->run, report_bytes(f)
						 ? (double)f->operations / (double)report_bytes(f)
						 : 0),
		    seconds_words(r->run, report_seconds(f)));
}

void
report_layer_table(Text *t, const Report *r)
{
	const uint32_t n_layer = r->g->model->n_layer;
	for (int n = 0; n < r->g->count; n++) {
		const int layer = r->g->funcs[n].layer;
		if (layer < 0) {
			layer_row(t, r, r->g->funcs[n].name, &r->funcs[n]);
			continue;
		}
		if (layer && (uint32_t)layer < n_layer &&
		    layers_same(r, (uint32_t)layer - 1, (uint32_t)layer))
			continue;
		const uint32_t end = run_end(r, (uint32_t)layer);
		layer_row(t, r,
			  end - (uint32_t)layer > 1
				  ? arena_printf(r->run, "each of layers %d to %u", layer, end - 1)
				  : arena_printf(r->run, "layer %d", layer),
			  &r->funcs[n]);
	}
	layer_row(t, r, "all", &r->all);
}

/* ---- roofline ----------------------------------------------------------------------------- */

enum { ROOF_LEFT = 46, ROOF_RIGHT = 412, ROOF_TOP = 20, ROOF_BOTTOM = 216 };
enum { ROOF_DOUBLINGS = 12 }; /* of both axes: from 2^-1 operations a byte */

static double
log2_of(double v)
{
	double n = 0;
	for (; v >= 2; v /= 2)
		n++;
	for (; v < 1; v *= 2)
		n--;
	/* log2(v) for v in [1, 2) by its series around 1, to less than a pixel. */
	const double z = (v - 1) / (v + 1), q = z * z;
	return n + 2.885390081777927 * z * (1 + q * (1.0 / 3 + q * (1.0 / 5 + q / 7)));
}

static double
roof_x(double intensity)
{
	const double at = (log2_of(intensity) + 1) / ROOF_DOUBLINGS;
	return ROOF_LEFT + (at < 0 ? 0 : at > 1 ? 1 : at) * (ROOF_RIGHT - ROOF_LEFT);
}

static double
roof_y(double gops)
{
	/* The peak is a little below the top. */
	const double at = 1 - log2_of(1.5 * REPORT_GOPS / gops) / (ROOF_DOUBLINGS - 4);
	return ROOF_BOTTOM - (at < 0 ? 0 : at > 1 ? 1 : at) * (ROOF_BOTTOM - ROOF_TOP);
}

static double
attainable(double intensity)
{
	const double gops = REPORT_GBYTES * intensity;
	return gops < REPORT_GOPS ? gops : REPORT_GOPS;
}

/* A batch reads weights once and everything else for each row. */
static double
intensity_of(const ReportFunc *f, int rows)
{
	const double weights = (double)(f->codes + f->scales + f->vectors);
	return (double)f->operations * rows /
	       (weights + (double)rows * (double)(f->cache + f->rows));
}

static void
roof_axes(Text *t)
{
	for (int i = 0; i <= ROOF_DOUBLINGS; i += 2) {
		const double v = 0.5 * (double)(1 << i);
		text_printf(t,
			    "<line class=\"grid\" x1=\"%.1f\" x2=\"%.1f\" y1=\"%d\" y2=\"%d\"/>"
			    "<text x=\"%.1f\" y=\"%d\" text-anchor=\"middle\">%g</text>\n",
			    roof_x(v), roof_x(v), ROOF_TOP, ROOF_BOTTOM, roof_x(v),
			    ROOF_BOTTOM + 15, v);
	}
	for (double v = REPORT_GOPS; v >= 10; v /= 10)
		text_printf(t,
			    "<line class=\"grid\" x1=\"%d\" x2=\"%d\" y1=\"%.1f\" y2=\"%.1f\"/>"
			    "<text x=\"%d\" y=\"%.1f\" text-anchor=\"end\">%g</text>\n",
			    ROOF_LEFT, ROOF_RIGHT, roof_y(v), roof_y(v), ROOF_LEFT - 6,
			    roof_y(v) + 4, v);
}

/* Batches on the roof; a number stands only where it has room behind the last. */
static void
roof_series(Text *t, const ReportFunc *f)
{
	double last = 0;
	for (int rows = 1; rows <= 256; rows *= 4) {
		const double i = intensity_of(f, rows), g = attainable(i);
		const double x = roof_x(i), y = roof_y(g);
		text_printf(t,
			    "<circle class=\"s-all\" cx=\"%.1f\" cy=\"%.1f\" r=\"4.5\"><title>%d "
			    "token%s: %.1f operations a byte, bound by %s</title></circle>",
			    x, y, rows, rows == 1 ? "" : "s", i,
			    g < REPORT_GOPS ? "memory" : "operations");
		if (x - last > 24)
			text_printf(t, "<text class=\"s-all\" x=\"%.1f\" y=\"%.1f\">%d%s</text>\n",
				    x + 8, y + 16, rows, rows == 1 ? " token" : "");
		last = x - last > 24 ? x : last;
	}
}

void
report_roofline(Text *t, const Report *r)
{
	const double ridge = (double)REPORT_GOPS / REPORT_GBYTES;
	text_printf(
		t,
		"<svg class=\"fixed\" viewBox=\"0 0 420 256\" role=\"img\" "
		"aria-labelledby=\"roof-title\">\n<title id=\"roof-title\">Roofline: operations "
		"a byte of the whole model at batches of 1, 4, 16, 64 and 256 tokens, and the "
		"rate that %d GB/s and %d Gop/s allow; the table below has the numbers</title>\n",
		REPORT_GBYTES, REPORT_GOPS);
	roof_axes(t);
	text_printf(t,
		    "<path class=\"roof\" d=\"M%.1f %.1fL%.1f %.1fL%d %.1f\"/>\n"
		    "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"middle\">%d Gop/s</text>\n",
		    roof_x(0.5), roof_y(attainable(0.5)), roof_x(ridge), roof_y(REPORT_GOPS),
		    ROOF_RIGHT, roof_y(REPORT_GOPS), roof_x(256), roof_y(REPORT_GOPS) - 7,
		    REPORT_GOPS);
	roof_series(t, &r->all);
	text_printf(t,
		    "<text x=\"%d\" y=\"%d\" text-anchor=\"end\">operations a byte</text>\n"
		    "<text x=\"4\" y=\"12\">Gop/s</text>\n</svg>\n",
		    ROOF_RIGHT, ROOF_BOTTOM + 34);
}

void
report_roofline_table(Text *t, const Report *r)
{
	for (int rows = 1; rows <= 256; rows *= 4) {
		const double i = intensity_of(&r->all, rows), gops = attainable(i);
		text_printf(
			t,
			"<tr><th scope=\"row\" class=\"num\">%d</th><td class=\"num\">%s</td><td "
			"class=\"num\">%s</td><td>%s</td><td class=\"num\">%s</td></tr>\n",
			rows, number_words(r->run, i), number_words(r->run, gops),
			gops < REPORT_GOPS ? "memory" : "operations",
			seconds_words(r->run, (double)r->all.operations / (gops * 1e9)));
	}
}

/* ---- bandwidths --------------------------------------------------------------------------- */

void
report_bandwidths(Text *t, const Report *r)
{
	static const int gbytes[] = {10, 25, 50, 100, 250, 560};
	for (size_t i = 0; i < sizeof gbytes / sizeof *gbytes; i++) {
		const double s = (double)report_bytes(&r->all) / (gbytes[i] * 1e9);
		text_printf(
			t,
			"<tr><th scope=\"row\" class=\"num\">%d GB/s</th><td class=\"num\">%s</td>"
			"<td class=\"num\">%s</td></tr>\n",
			gbytes[i], seconds_words(r->run, s),
			number_words(r->run, s > 0 ? 1 / s : 0));
	}
}
