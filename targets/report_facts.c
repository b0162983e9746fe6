/* What the report knows: bytes and operations by function, memory. */
#include "report_impl.h"

#include "emit_impl.h"

/* ---- one function ------------------------------------------------------------------------- */

static void
add_constants(const Report *r, int n, ReportFunc *to)
{
	const Unit *u = layout_unit(r->l, n);
	for (int i = 0; i < u->n_constants; i++) {
		const Constant *c = &u->constants[i];
		const uint64_t read = constant_bytes_read(&r->g->funcs[u->func], c);
		if (c->vector || c->value >= 0) {
			to->vectors += read;
			continue;
		}
		const uint64_t codes = read ? facts_code_bytes(c) / (c->bytes / read) : 0;
		to->codes += codes;
		to->scales += read - codes;
	}
}

/* Kernels other than its own that read value i. */
static uint64_t
reading_kernels(const Func *f, int i)
{
	uint64_t n = 0;
	for (int k = 0; k < f->n_kernels; k++) {
		bool reads = false;
		for (int j = 0; j < f->kernels[k].count; j++) {
			const Value *v = &f->values[f->order[f->kernels[k].first + j]];
			for (int o = 0; o < op_operands(v->op); o++)
				reads |= v->operands[o] == i;
		}
		n += reads && f->values[i].kernel != k;
	}
	return n;
}

static uint32_t
positions_seen(const Report *r, uint32_t window)
{
	return window && window < r->positions ? window : r->positions;
}

static void
add_values(const Report *r, int n, ReportFunc *to)
{
	const Graph *g = r->g;
	const Func *f = &g->funcs[n];
	const Func *coded = &g->funcs[layout_unit(r->l, n)->func];
	for (int i = 0; i < coded->count; i++) {
		const Value *v = &coded->values[i];
		if (v->buffer >= 0 && v->op != OP_OUTPUT)
			to->rows += row_layout(v).bytes *
				    (reading_kernels(coded, i) + (v->op != OP_INPUT));
		if (v->op != OP_ATTENTION || f->layer < 0)
			continue;
		const uint32_t layer = (uint32_t)f->layer, seen = positions_seen(r, v->window);
		to->cache += seen * (emit_cache_offset(g, layer + 1) - emit_cache_offset(g, layer));
		to->operations += 4 * (uint64_t)seen * v->width;
	}
	to->operations += 2 * facts_sums(g, r->l, n).multiply_adds;
}

static void
add_func(ReportFunc *to, const ReportFunc *f)
{
	to->codes += f->codes;
	to->scales += f->scales;
	to->vectors += f->vectors;
	to->cache += f->cache;
	to->rows += f->rows;
	to->operations += f->operations;
}

uint64_t
report_bytes(const ReportFunc *f)
{
	return f->codes + f->scales + f->vectors + f->cache + f->rows;
}

double
report_seconds(const ReportFunc *f)
{
	const double memory = (double)report_bytes(f) / (REPORT_GBYTES * 1e9);
	const double issue = (double)f->operations / (REPORT_GOPS * 1e9);
	return memory > issue ? memory : issue;
}

/* ---- all ---------------------------------------------------------------------------------- */

uint64_t
report_memory(const Report *r, uint64_t n_ctx, uint64_t n_batch, uint64_t n_threads)
{
	enum { POSITIONS = 64 }; /* templates/api.c keeps whole blocks of them */
	return n_batch * r->g->arena_bytes_per_token + n_threads * emit_scratch_bytes(r->x) +
	       round_up(n_ctx, POSITIONS) * emit_cache_offset(r->g, r->g->model->n_layer);
}

Report
report_facts(Arena *run, const Build *b)
{
	Report r = {.run = run, .b = b, .x = b->x, .g = b->x->graph, .l = b->x->layout};
	const uint32_t n_ctx = r.g->model->n_ctx;
	r.positions = n_ctx < REPORT_POSITIONS ? n_ctx : REPORT_POSITIONS;
	r.funcs = ARENA_ARRAY(run, ReportFunc, (size_t)r.g->count);
	for (int n = 0; n < r.g->count; n++) {
		add_constants(&r, n, &r.funcs[n]);
		add_values(&r, n, &r.funcs[n]);
		add_func(&r.all, &r.funcs[n]);
	}
	r.stored = facts_stored(r.g, r.l, false);
	r.layers = facts_stored(r.g, r.l, true);
	for (int i = 0; i < b->n_objects; i++)
		if (b->objects[i].in_library)
			r.text += b->objects[i].text;
	return r;
}
