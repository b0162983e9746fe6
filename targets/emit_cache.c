/* Kernels of the cache: keys and values written, attention over them. */
#include "emit_impl.h"

#include <ctype.h>
#include <string.h>

/* ---- words -------------------------------------------------------------------------------- */

static const char *
layer_words(Arena *a, const Graph *g, uint32_t layer)
{
	Text *t = text_new(a);
	format_print(t, g->kv[layer].format);
	if (g->kv[layer].query_bits)
		text_printf(t, " query=%u", g->kv[layer].query_bits);
	return t->text;
}

const char *
emit_cache_words(Arena *a, const Graph *g)
{
	Text *t = text_new(a);
	const char *before = "";
	for (uint32_t i = 0, end; i < g->model->n_layer; i = end) {
		const char *words = layer_words(a, g, i);
		for (end = i + 1; end < g->model->n_layer && !strcmp(layer_words(a, g, end), words);
		     end++)
			continue;
		text_printf(t, "%s%s", before, words);
		before = ", ";
		if (end - i == g->model->n_layer)
			break;
		if (end - i > 1)
			text_printf(t, " in layers %u to %u", i, end - 1);
		else
			text_printf(t, " in layer %u", i);
	}
	return t->text;
}

/* ---- layout ------------------------------------------------------------------------------- */

/* Bytes of a position of one head; templates/attention.h computes the same. */
typedef struct CacheLayout {
	uint32_t k_bytes, v_bytes, k_unit, scales;
} CacheLayout;

static CacheLayout
cache_layout(const Graph *g, uint32_t layer)
{
	const Format f = graph_kv(g, (int)layer);
	const bool codes = !format_is_float(f);
	const uint32_t d = g->model->head_dim;
	return (CacheLayout){
		.k_bytes = (uint32_t)round_up(d, codes ? 32 / f.bits : 1) * f.bits / 8,
		.v_bytes = (uint32_t)round_up(d, f.bits == 4 ? 32 : 16) * f.bits / 8,
		.k_unit = codes ? 4 : f.bits / 8,
		.scales = !codes   ? 0
			  : f.zero ? 4
				   : 2,
	};
}

static uint32_t
head_bytes(CacheLayout c)
{
	return c.k_bytes + c.v_bytes + c.scales * (uint32_t)sizeof(float);
}

uint64_t
emit_cache_offset(const Graph *g, uint32_t layer)
{
	uint64_t bytes = 0;
	for (uint32_t i = 0; i < layer; i++)
		bytes += (uint64_t)g->model->n_kv_head * head_bytes(cache_layout(g, i));
	return bytes;
}

void
emit_caches(Text *t, const Artefact *x)
{
	const Graph *g = x->graph;
	text_line(t, "static const %s_cache caches[%s_N_LAYER] = {", x->ident, x->ident);
	for (uint32_t i = 0; i < g->model->n_layer; i++) {
		const CacheLayout c = cache_layout(g, i);
		text_line(t, "{%llu, %u, %u, %u, %u, %u}, /* layer %u: %s */",
			  (unsigned long long)emit_cache_offset(g, i), head_bytes(c), c.k_bytes,
			  c.v_bytes, c.k_unit, c.scales, i, layer_words(t->arena, g, i));
	}
	text_line(t, "};");
}

/* ---- cache and attention ------------------------------------------------------------------ */

/* The C value of the type Kv for the function's layer. */
static const char *
emit_kv(const Emit *e)
{
	const Format f = graph_kv(e->g, e->f->layer);
	return arena_printf(e->t->arena, "(Kv){%u, %u, %u, %u}", e->g->model->head_dim, f.bits,
			    f.zero, e->g->kv[e->f->layer].query_bits);
}

/* A KV kernel with transforms works on whole rows: ropes and transforms in their order, then all
 * heads are appended. */
static void
emit_kv_rows_kernel(const Emit *e, const Kernel *k)
{
	Text *t = e->t;
	const Model *m = e->g->model;
	emit_kernel_parts(e, k);
	text_line(t, "/* %s */", emit_words(e, k));
	text_line(t, "static void");
	text_line(t, "%s(const %s *m, const %s_job *j, int tid, int n_threads, float *scratch)",
		  emit_kernel_name(e, k), e->x->ident, e->x->ident);
	text_line(t, "{");
	text_line(t, "const Rows to = shared_rows(m);");
	text_line(t, "const Range rows = range_of(j->rows, tid, n_threads);");
	text_line(t, "for (int t = rows.first; t < rows.end; t++) {");
	emit_row_names(e, k);
	for (int i = 0; i < k->count; i++) {
		const Value *v = emit_kernel_value(e, k, i);
		if (v->op != OP_KV_APPEND) {
			emit_row_op(e, k, v);
			continue;
		}
		text_line(t, "const float *const key = %s;",
			  emit_row_expression(e, k, emit_value(e, v->operands[0])));
		text_line(t, "const float *const value = %s;",
			  emit_row_expression(e, k, emit_value(e, v->operands[1])));
		text_line(t, "for (int h = 0; h < %u; h++)", m->n_kv_head);
		text_line(t,
			  "\tkv_write(%s, m->n_past + j->row0 + t, key + h * %u, value + h * %u, "
			  "cache_head(m, %s, j->layer, h));",
			  emit_kv(e), m->head_dim, m->head_dim, emit_kv(e));
	}
	text_line(t, "}");
	text_line(t, "}");
	text_blank(t);
}

/* Whether more than ropes stands in front of the append. */
static bool
has_more(const Emit *e, const Kernel *k)
{
	for (int i = 0; i < k->count; i++)
		if (emit_kernel_value(e, k, i)->op != OP_ROPE &&
		    emit_kernel_value(e, k, i)->op != OP_KV_APPEND)
			return true;
	return false;
}

void
emit_kv_kernel(const Emit *e, const Kernel *k)
{
	if (has_more(e, k)) {
		emit_kv_rows_kernel(e, k);
		return;
	}
	Text *t = e->t;
	const Model *m = e->g->model;
	const Value *append = NULL, *q = NULL;
	for (int i = 0; i < k->count; i++)
		if (emit_kernel_value(e, k, i)->op == OP_KV_APPEND)
			append = emit_kernel_value(e, k, i);
	INVARIANT(append);
	const Value *key = emit_value(e, append->operands[0]),
		    *v = emit_value(e, append->operands[1]);
	for (int i = 0; i < k->count; i++)
		if (emit_kernel_value(e, k, i)->op == OP_ROPE && emit_kernel_value(e, k, i) != key)
			q = emit_kernel_value(e, k, i);
	const unsigned d = m->head_dim, group = m->n_head / m->n_kv_head;
	text_line(t, "/* %s: one key and value head with its query heads at a time */",
		  emit_words(e, k));
	text_line(t, "static void");
	text_line(t, "%s(const %s *m, const %s_job *j, int tid, int n_threads, float *scratch)",
		  emit_kernel_name(e, k), e->x->ident, e->x->ident);
	text_line(t, "{");
	text_line(t, "const Range work = range_of(j->rows * %u, tid, n_threads);", m->n_kv_head);
	if (emit_kernel_of(e, key) != k)
		text_line(t, "(void)scratch;");
	text_line(t, "for (int i = work.first; i < work.end; i++) {");
	text_line(t, "const int t = i / %u, h = i %% %u;", m->n_kv_head, m->n_kv_head);
	const bool key_fused = emit_kernel_of(e, key) == k;
	const Value *key_row = key_fused ? emit_value(e, key->operands[0]) : key;
	text_line(t, "const float *key = %s + h * %u;", emit_row_expression(e, k, key_row), d);
	text_line(t, "const float *value = %s + h * %u;", emit_row_expression(e, k, v), d);
	if (q) {
		const RowLayout row = row_layout(q);
		text_line(t, "const float *query = %s + h * %u;",
			  emit_row_expression(e, k, emit_value(e, q->operands[0])), group * d);
		text_line(t, "float *rotated = row_at(shared_rows(m), %s, %u, t) + h * %u;",
			  emit_buffer_name(e, q), row.padded, group * d);
		text_line(t, "rope_row(%u, %u, query, %s, rotated);", group, d,
			  emit_rope_tables(q));
	}
	if (key_fused) {
		text_line(t, "rope_row(1, %u, key, %s, scratch);", d, emit_rope_tables(key));
		text_line(t, "key = scratch;");
	}
	text_line(t,
		  "kv_write(%s, m->n_past + j->row0 + t, key, value, cache_head(m, %s, j->layer, "
		  "h));",
		  emit_kv(e), emit_kv(e));
	text_line(t, "}");
	text_line(t, "}");
	text_blank(t);
}

void
emit_attention_kernel(const Emit *e, const Kernel *k)
{
	Text *t = e->t;
	const Model *m = e->g->model;
	const Value *v = emit_kernel_value(e, k, 0);
	const Value *q = emit_value(e, v->operands[0]);
	const RowLayout in = row_layout(q), out = row_layout(v);
	double root = 1; /* 1/sqrt(d) by Newton: the same double on every host */
	for (int i = 0; i < 64; i++)
		root = 0.5 * (root + m->head_dim / root);
	text_line(t, "/* %s */", emit_words(e, k));
	text_line(t, "static void");
	text_line(t, "%s(const %s *m, const %s_job *j, int tid, int n_threads, float *scratch)",
		  emit_kernel_name(e, k), e->x->ident, e->x->ident);
	text_line(t, "{");
	text_line(t, "attention_rows(%s, %u, %u, %u, %s,", emit_kv(e), v->heads, v->kv_heads,
		  v->window, emit_float(t->arena, (float)(1.0 / root)));
	text_line(t, "\tm, j, row_at(shared_rows(m), %s, %u, %s), %u,", emit_buffer_name(e, q),
		  in.padded, q->op == OP_INPUT ? "j->row0" : "0", in.padded);
	text_line(t, "\trow_at(shared_rows(m), %s, %u, 0), %u, tid, n_threads, scratch);",
		  emit_buffer_name(e, v), out.padded, out.padded);
	text_line(t, "}");
	text_blank(t);
}
