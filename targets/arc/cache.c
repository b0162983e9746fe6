/* Kernels of the cache: keys and values written, attention over them. */
#include "maker.h"

/* The rotation in front of a value that kernel does itself, or null. */
static const Value *
rope_in(const Maker *k, const Kernel *kernel, const Value *v)
{
	return v->op == OP_ROPE && emit_kernel_of(&k->e, v) == kernel ? v : NULL;
}

static const Value *
unrotated(const Maker *k, const Kernel *kernel, const Value *v)
{
	return rope_in(k, kernel, v) ? emit_value(&k->e, v->operands[0]) : v;
}

static void
add_rope_and_cache(const Maker *k, ArcCall *c)
{
	const Layout *l = k->e.x->layout;
	arc_add(c, arc_parameter(ARC_ROPE, 0));
	arc_add(c, arc_parameter(ARC_ROPE, (int64_t)(l->rope_sin - l->rope_cos)));
	arc_add(c, arc_parameter(ARC_CACHE, 0));
	arc_add(c, arc_parameter(ARC_CTX, 0));
}

static void
add_row(const Maker *k, ArcCall *c, const Value *v)
{
	arc_add(c, arc_long(place(k, v)));
	arc_add(c, arc_int(row_layout(v).padded));
}

/* Whether the cache's kernel works on whole rows: behind ropes of rows go transforms. */
static bool
kv_by_rows(const Maker *k, const Kernel *kernel)
{
	return value_of(k, kernel, OP_TRANSFORM) != NULL;
}

/* One row needs no launch of this: attention does it. */
ArcLaunch
arc_make_kv(Maker *k, const Kernel *kernel)
{
	if (kv_by_rows(k, kernel))
		return arc_make_rows(k, kernel);
	const Model *m = k->e.g->model;
	const Value *append = value_of(k, kernel, OP_KV_APPEND), *q = NULL;
	const Value *key = emit_value(&k->e, append->operands[0]);
	const Value *value = emit_value(&k->e, append->operands[1]);
	for (int i = 0; i < kernel->count; i++) {
		const Value *v = emit_kernel_value(&k->e, kernel, i);
		if (v->op == OP_ROPE && v != key)
			q = v;
		else if (v != append && v != key)
			refuse(k, v, "no template of the cache does it");
	}
	if (!format_is_float(cache_format(k)))
		refuse(k, append, "an integer cache has no kernel");
	if (k->failed)
		return (ArcLaunch){-1, -1, 0, 1, 1, k->kernel};
	ArcEntry *n = entry(k, kernel, ARC_ATTENTION, "", 4);
	ArcCall *c = arc_call(k->a, n, "kv_append");
	add_ints(c,
		 (int[]){cache_format(k).bits, (int)m->head_dim,
			 q ? (int)(m->n_head / m->n_kv_head) : 0, rope_in(k, kernel, key) != NULL},
		 4);
	add_arena(c);
	add_job(k, c);
	add_row(k, c, q ? unrotated(k, kernel, q) : value);
	add_row(k, c, q ? q : value);
	add_row(k, c, unrotated(k, kernel, key));
	add_row(k, c, value);
	add_rope_and_cache(k, c);
	return (ArcLaunch){-1, k->p->n_entries - 1, m->n_kv_head, 1, 1, k->kernel};
}

static void
make_attention_entry(Maker *k, const Kernel *kernel, const char *tail, bool fresh)
{
	const Model *m = k->e.g->model;
	const Value *v = emit_kernel_value(&k->e, kernel, 0);
	const Value *append = emit_value(&k->e, v->operands[1]);
	const Value *key = emit_value(&k->e, append->operands[0]);
	const Value *value = emit_value(&k->e, append->operands[1]);
	const Kernel *kv = emit_kernel_of(&k->e, append);
	const Value *q = emit_value(&k->e, v->operands[0]);
	const Value *from = fresh ? unrotated(k, kv, q) : q;
	const int d = (int)m->head_dim, D = (int)round_up(m->head_dim, ARC_LANES);
	const int sub_groups = D / ARC_LANES > 4 ? D / ARC_LANES : 4;
	ArcEntry *n = entry(k, kernel, ARC_ATTENTION, tail, sub_groups);
	ArcCall *c = arc_call(k->a, n, "attention");
	double root = 1; /* 1/sqrt(d) by Newton: the same double on every host */
	for (int i = 0; i < 64; i++)
		root = 0.5 * (root + d / root);
	add_ints(c,
		 (int[]){cache_format(k).bits, d, (int)(v->heads / v->kv_heads), sub_groups, fresh,
			 rope_in(k, kv, q) != NULL, rope_in(k, kv, key) != NULL},
		 7);
	arc_add(c, arc_float((float)(1.0 / root)));
	add_arena(c);
	add_job(k, c);
	add_row(k, c, from);
	arc_add(c, arc_int(from->op == OP_INPUT));
	arc_add(c, arc_long(fresh ? place(k, unrotated(k, kv, key)) : 0));
	arc_add(c, arc_long(fresh ? place(k, value) : 0));
	add_row(k, c, v);
	add_rope_and_cache(k, c);
	arc_add(c, arc_local(0));
	n->local_floats = sub_groups * (64 + 2 + D) + 3 * D;
}

ArcLaunch
arc_make_attention(Maker *k, const Kernel *kernel)
{
	enum { HEAD_MAX = 256 };
	const Value *v = emit_kernel_value(&k->e, kernel, 0);
	const int one = k->p->n_entries;
	if (k->e.g->model->head_dim > HEAD_MAX)
		refuse(k, v, "heads of more than 256 columns have no kernel");
	const Value *append = emit_value(&k->e, v->operands[1]);
	make_attention_entry(k, kernel, "_one", !kv_by_rows(k, emit_kernel_of(&k->e, append)));
	make_attention_entry(k, kernel, "_many", false);
	return (ArcLaunch){one, one + 1, v->heads, 1, 1, k->kernel};
}
