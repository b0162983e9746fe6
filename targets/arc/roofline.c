/*
 * What bounds each kernel of an A770, an estimate: bytes that must cross to memory, and the cycles
 * that its products alone take to issue. README.md, "Roofline", has the formula.
 */
#include "arc.h"

#include "../emit_impl.h"

/* The A770 as published, and a product of 16 lanes as an engine of 8 lanes issues it (inferred). */
static const double bytes_per_second = 560e9, engines = 512, hertz = 2.1e9, cycles_each = 2;
/* 8 by 8 by 32 products at 128 a cycle; by 64 at twice as many where they are of 4 bits. */
static const double cycles_dpas = 16;
static const double second_level = 16 << 20; /* bytes of the L2 */
enum { PREFILL = 512 };

/* Of one launch. dp4a, fma: of 16 lanes; dpas: of 8 tokens, 8 rows, 32 or 64 columns. */
typedef struct Work {
	double bytes, dp4a, dpas, fma;
} Work;

/* A batch of rows behind `past` positions. */
typedef struct Batch {
	int rows, past;
} Batch;

typedef struct Roof {
	Emit e;
	const ArcProgram *p;
	Batch batch;
} Roof;

/* What is read again and again comes from memory each time where the L2 does not hold it. */
static double
streamed(double bytes, double passes)
{
	return bytes > second_level ? bytes * passes : bytes;
}

static double
constant_bytes(const Roof *r, const ArcLaunch *l, double passes)
{
	const Unit *u = r->e.u;
	double read = 0;
	for (int i = 0; i < u->n_constants; i++)
		if (u->constants[i].kernel == l->kernel)
			read += (double)constant_bytes_read(r->e.f, &u->constants[i]);
	if (emit_kernel_value(&r->e, &r->e.f->kernels[l->kernel], 0)->op == OP_EMBED)
		return read * r->batch.rows;
	return streamed(read, passes);
}

static double
value_bytes(const Value *v)
{
	return v->op == OP_KV_APPEND ? 0 : (double)row_layout(v).bytes;
}

/* Rows that other kernels made, each once, and those that stay. */
static double
row_bytes(const Roof *r, const Kernel *k)
{
	double bytes = 0;
	for (int i = 0; i < r->e.f->count; i++) {
		const Value *v = &r->e.f->values[i];
		bool read = false;
		for (int n = 0; n < k->count; n++) {
			const Value *reader = emit_kernel_value(&r->e, k, n);
			for (int o = 0; o < op_operands(reader->op); o++)
				read |= reader->operands[o] == i;
		}
		const bool mine = emit_kernel_of(&r->e, v) == k;
		const bool logits = mine && v->op == OP_LINEAR && func_is_last(r->e.g, r->e.f);
		if (mine ? emit_has_place(&r->e, v) || logits : read)
			bytes += value_bytes(v);
	}
	return bytes * r->batch.rows;
}

static void
add_linear(Work *w, const Roof *r, const Value *v, double rows, int dpas)
{
	const Value *act = emit_value(&r->e, v->operands[0]);
	const double halves = 2 * (double)((v->width + PACK_ROWS - 1) / PACK_ROWS);
	const RowLayout row = row_layout(act);
	if (dpas)
		w->dpas += 2 * halves * (act->width / (uint32_t)dpas) * row.planes * rows /
			   ARC_DPAS_TOKENS;
	else if (row.planes)
		w->dp4a += halves * ((act->width + 3) / 4) * row.planes * rows;
	else
		w->fma += halves * act->width * rows;
}

/* Of the layer's cache, a position. */
static double
position_bytes(const Roof *r)
{
	const uint32_t layer = (uint32_t)r->e.f->layer;
	return (double)(emit_cache_offset(r->e.g, layer + 1) - emit_cache_offset(r->e.g, layer));
}

/* Scores and values of the positions that each row sees; the cache is read once, or row by row. */
static void
add_attention(Work *w, const Roof *r, const Value *v)
{
	const int rows = r->batch.rows;
	const double seen = rows * (r->batch.past + 0.5 * (rows + 1));
	w->bytes += streamed(position_bytes(r) * (r->batch.past + rows), rows);
	w->fma += 2 * seen * v->heads * r->e.g->model->head_dim / ARC_LANES;
}

/* Of kernel k of the function; l->kernel is the one whose constants are read. */
static Work
work_of(const Roof *r, const ArcLaunch *l, const Kernel *k)
{
	const int tile = r->batch.rows == 1 ? l->tile_one : l->tile_many;
	const double passes = (r->batch.rows + tile - 1) / tile;
	Work w = {.bytes = constant_bytes(r, l, passes) + row_bytes(r, k)};
	for (int i = 0; i < k->count; i++) {
		const Value *v = emit_kernel_value(&r->e, k, i);
		if (v->op == OP_LINEAR)
			add_linear(&w, r, v, passes * tile,
				   r->batch.rows > 1 ? r->p->entries[l->many].dpas : 0);
		else if (v->op == OP_ATTENTION)
			add_attention(&w, r, v);
		else if (v->op == OP_KV_APPEND)
			w.bytes += position_bytes(r) * r->batch.rows;
	}
	return w;
}

static double
memory_seconds(Work w)
{
	return w.bytes / bytes_per_second;
}

static double
issue_seconds(Work w)
{
	return ((w.dp4a + w.fma) * cycles_each + w.dpas * cycles_dpas) / (engines * hertz);
}

static double
seconds(Work w)
{
	return memory_seconds(w) > issue_seconds(w) ? memory_seconds(w) : issue_seconds(w);
}

/* ---- a batch ------------------------------------------------------------------------------ */

typedef struct Total {
	Work work;
	double seconds;
	int launches;
} Total;

static void
print_launch(Text *t, const Roof *r, int kernel, const ArcLaunch *l, int times, Total *total)
{
	const int entry = r->batch.rows == 1 ? l->one : l->many;
	if (entry < 0)
		return;
	const Work w = work_of(r, l, &r->e.f->kernels[kernel]);
	text_printf(t, "%-40s %5d %12.0f %12.0f %12.0f %12.0f %9.2f %9.2f  %s\n",
		    r->p->entries[entry].name, times, w.bytes, w.dp4a, w.dpas, w.fma,
		    1e6 * memory_seconds(w), 1e6 * issue_seconds(w),
		    memory_seconds(w) >= issue_seconds(w) ? "memory" : "issue");
	total->work.bytes += times * w.bytes;
	total->work.dp4a += times * w.dp4a;
	total->work.dpas += times * w.dpas;
	total->work.fma += times * w.fma;
	total->seconds += times * seconds(w);
	total->launches += times;
}

/* All launches of a batch; the head works on its last row. */
static Total
print_batch(Text *t, const ArcProgram *p, Batch batch)
{
	const Artefact *x = p->x;
	Total total = {.launches = 0};
	text_printf(t, "%-40s %5s %12s %12s %12s %12s %9s %9s  %s\n", "kernel", "times", "bytes",
		    "dp4a", "dpas", "fma", "memory us", "issue us", "bound");
	for (int i = 0; i < x->layout->n_units; i++) {
		const Unit *u = &x->layout->units[i];
		const Func *f = &x->graph->funcs[u->func];
		Roof r = {.e = {t, x, x->graph, u, f}, .p = p, .batch = batch};
		int times = 0;
		for (int k = 0; k < x->graph->count; k++)
			times += x->layout->unit_of[k] == i;
		if (func_is_last(x->graph, f))
			r.batch = (Batch){1, batch.past + batch.rows - 1};
		for (int k = 0; k < p->stages[i].n; k++)
			print_launch(t, &r, k, &p->stages[i].launches[k], times, &total);
	}
	text_printf(
		t,
		"%-40s %5d %12.0f %12.0f %12.0f %12.0f %9.2f us at least, %.0f tokens/s at most\n",
		"all", total.launches, total.work.bytes, total.work.dp4a, total.work.dpas,
		total.work.fma, 1e6 * total.seconds, batch.rows / total.seconds);
	return total;
}

static void
print_total(Text *json, const char *name, Batch b, Total t)
{
	text_printf(json,
		    "\t\t\"%s\": {\"rows\": %d, \"past\": %d, \"launches\": %d, \"bytes\": %.0f, "
		    "\"dp4a\": %.0f, \"dpas\": %.0f, \"fma\": %.0f, \"seconds_at_least\": %.9f}",
		    name, b.rows, b.past, t.launches, t.work.bytes, t.work.dp4a, t.work.dpas,
		    t.work.fma, t.seconds);
}

void
arc_roofline(Text *t, Text *json, const ArcProgram *p)
{
	const uint32_t n_ctx = p->x->graph->model->n_ctx;
	const int rows = n_ctx < PREFILL ? (int)n_ctx : PREFILL;
	const Batch decode = {1, rows - 1}, prefill = {rows, 0};
	text_line(t, "An estimate for an A770, not measured; launches and latency are not in it.");
	text_line(t, "%.0f GB/s, %.0f vector engines at %.1f GHz, %.0f MB of L2.",
		  bytes_per_second / 1e9, engines, hertz / 1e9, second_level / (1 << 20));
	text_blank(t);
	text_line(t, "A token behind %d positions", decode.past);
	const Total one = print_batch(t, p, decode);
	text_blank(t);
	text_line(t, "The first %d tokens in a batch", prefill.rows);
	const Total many = print_batch(t, p, prefill);
	text_line(json, "\"arc_roofline\": {");
	text_printf(json, "\t\t\"device\": \"A770\",\n\t\t\"measured\": false,\n");
	print_total(json, "decode", decode, one);
	text_printf(json, ",\n");
	print_total(json, "prefill", prefill, many);
	text_printf(json, "\n");
	text_line(json, "},");
}
