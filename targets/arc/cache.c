/* Kernels of the cache: keys and values written, attention over them. */
#include "maker.h"

#include "../../ir/heads.h"

enum { ARC_HEAD_MAX = 256, ARC_GROUPS_MAX = 16 };

/* ---- heads -------------------------------------------------------------------------------- */

/*
 * Heads of a row in local memory, on their way through what the cache's kernel does in front of the
 * cache. A work-group has `count` of them; `per` work-groups in a row have the same.
 */
typedef struct Heads {
	int count, per;
	int all; /* of the row */
	int x;
	ArcWork work;
} Heads;

static int
head_dim(const Maker *k)
{
	return (int)k->e.g->model->head_dim;
}

/* Local memory for n floats, as rows of codes want them. */
static int
room(ArcEntry *n, int floats)
{
	const int at = n->local_floats;
	n->local_floats += (int)round_up((uint64_t)floats, ARC_LANES);
	return at;
}

/* What enters the kernel on the way to v. */
static const Value *
source(const Maker *k, const Kernel *kernel, const Value *v)
{
	while (emit_kernel_of(&k->e, v) == kernel)
		v = emit_value(&k->e, v->operands[0]);
	return v;
}

/* Whether heads_run() of t has the arithmetic that t has on the head's elements. */
static bool
by_heads(const Transform *t, uint32_t d)
{
	bool ok = true;
	uint32_t at = 0;
	switch ((TransformKind)t->kind) {
	case T_IDENTITY:
	case T_SIGNS:
	case T_DIAGONAL:
	case T_SCALAR:
		return true;
	case T_PERM:
		for (uint32_t i = 0; i < t->n; i++)
			ok &= t->perm[i] / d == i / d;
		return ok;
	case T_BLOCK:
		return d % t->children[0]->n == 0;
	case T_PRODUCT:
		for (uint32_t i = 0; i < t->n_children; i++)
			ok &= by_heads(t->children[i], d);
		return ok;
	case T_SUM:
		for (uint32_t i = 0; i < t->n_children; at += t->children[i++]->n) {
			const Transform *c = t->children[i];
			ok &= at % d + c->n <= d ||
			      (at % d == 0 && c->n % d == 0 && by_heads(c, d));
		}
		return ok;
	default:
		return t->n == d;
	}
}

/* Whether the parts of v's transform that heads have find their tables. */
static bool
finds_tables(const Maker *k, const Value *v)
{
	const ArcTables of = tables(k, v);
	const uint32_t heads = v->width / (uint32_t)head_dim(k);
	bool all = true;
	for (uint32_t h = 0; h < heads && all && of.constant; h++)
		all = arc_tables_cover(k->a, of, heads_run(k->a, v->transform, heads, h));
	return all;
}

/* Whether each head has all that happens on the way to v to itself. */
static bool
heads_apart(const Maker *k, const Kernel *kernel, const Value *v)
{
	for (; emit_kernel_of(&k->e, v) == kernel; v = emit_value(&k->e, v->operands[0]))
		if (v->op == OP_TRANSFORM &&
		    !(by_heads(v->transform, (uint32_t)head_dim(k)) && finds_tables(k, v)))
			return false;
	return true;
}

/* t, a part of v's transform, of heads [first, first + count) of those that a work-group has, for
 * work-groups [from, end) only. */
static void
add_transform(Maker *k, ArcEntry *n, const Heads *h, const Value *v, const Transform *t, int first,
	      int count, int from, int end)
{
	const int calls = n->n_calls, d = head_dim(k);
	arc_transform(k->a, k->p, n, t, tables(k, v), count, h->x + first * d, h->work);
	for (int i = calls; i < n->n_calls && (from > 0 || end < h->all / h->count * h->per); i++) {
		n->calls[i].from = from;
		n->calls[i].end = end;
	}
}

/* Whether parts a and b of v's transform are one in every function of the unit. */
static bool
parts_equal(const Maker *k, const Value *v, const Transform *a, const Transform *b)
{
	const Transform *const *la, *const *lb;
	if (!tables(k, v).constant)
		return transform_equal(a, b);
	const uint32_t n = transform_leaves(k->a, a, &la), m = transform_leaves(k->a, b, &lb);
	bool same = n == m && transform_alike(a, b);
	for (uint32_t i = 0; i < n && same; i++)
		same = la[i] == lb[i];
	return same;
}

/* Heads that lie side by side and have equal transforms are done together. */
static void
add_transforms(Maker *k, ArcEntry *n, const Heads *h, const Value *v)
{
	const Transform **t = ARENA_ARRAY(k->a, const Transform *, h->all);
	for (int i = 0; i < h->all; i++) {
		t[i] = heads_run(k->a, v->transform, (uint32_t)h->all, (uint32_t)i);
		if (i && (t[i] == t[i - 1] || parts_equal(k, v, t[i], t[i - 1])))
			t[i] = t[i - 1];
	}
	for (int i = 0, end; i < h->all; i = end) {
		for (end = i + 1; end < h->all && t[end] == t[i]; end++)
			continue;
		if (i % h->count == 0 && end - i >= h->count) {
			end -= end % h->count;
			add_transform(k, n, h, v, t[i], 0, h->count, i / h->count * h->per,
				      end / h->count * h->per);
			continue;
		}
		const int unit = i / h->count;
		if (end > (unit + 1) * h->count)
			end = (unit + 1) * h->count;
		add_transform(k, n, h, v, t[i], i % h->count, end - i, unit * h->per,
			      (unit + 1) * h->per);
	}
}

/* One op on heads. */
static void
add_op(Maker *k, ArcEntry *n, const Heads *h, const Value *v)
{
	const Layout *l = k->e.x->layout;
	const int d = head_dim(k), shape[] = {h->count, d};
	ArcCall *c;
	if (v->op == OP_TRANSFORM && h->count == h->all) {
		arc_transform(k->a, k->p, n, v->transform, tables(k, v), 1, h->x, h->work);
	} else if (v->op == OP_TRANSFORM) {
		add_transforms(k, n, h, v);
	} else if (v->op == OP_RMSNORM_HEADS) {
		c = arc_call(k->a, n, "row_rmsnorm_heads");
		add_ints(c, shape, 2);
		arc_add(c, arc_float(v->eps));
		arc_add(c, arc_float((float)(1.0 / d)));
		arc_add(c, arc_local(h->x));
	} else if (v->op == OP_GAIN_HEADS) {
		c = arc_call(k->a, n, "row_gain_heads");
		add_ints(c, shape, 2);
		arc_add(c, constant(k, v->role));
		arc_add(c, arc_local(h->x));
	} else if (v->op == OP_ROPE) {
		c = arc_call(k->a, n, "row_rope");
		add_ints(c, shape, 2);
		add_job(k, c);
		arc_add(c, arc_parameter(ARC_ROPE, 0));
		arc_add(c, arc_parameter(ARC_ROPE, (int64_t)(l->rope_sin - l->rope_cos)));
		arc_add(c, arc_local(h->x));
	} else {
		BUG("%s cannot be in front of the cache", op_name(v->op));
	}
}

static void
add_ops(Maker *k, ArcEntry *n, const Kernel *kernel, const Heads *h, const Value *v)
{
	if (emit_kernel_of(&k->e, v) != kernel)
		return;
	add_ops(k, n, kernel, h, emit_value(&k->e, v->operands[0]));
	add_op(k, n, h, v);
}

static void
add_row(const Maker *k, ArcCall *c, const Value *v)
{
	arc_add(c, arc_long(place(k, v)));
	arc_add(c, arc_int(row_layout(v).padded));
}

/*
 * Value v's heads, `count` a work-group, in local memory: read where they enter kernel, and done
 * there what it does. Where it mixes heads, every work-group does the whole row for itself. Returns
 * the float where they are.
 */
static int
add_heads(Maker *k, ArcEntry *n, const Kernel *kernel, const Value *v, int count, int per)
{
	const Value *from = source(k, kernel, v);
	const int d = head_dim(k), all = (int)v->width / d;
	const bool whole = !heads_apart(k, kernel, v);
	Heads h = {.count = count, .per = per, .all = all};
	if (whole) {
		h.count = all;
		h.per = all / count * per;
	}
	h.x = room(n, h.count * d);
	for (const Value *w = v; emit_kernel_of(&k->e, w) == kernel;
	     w = emit_value(&k->e, w->operands[0])) {
		const int work =
			w->op == OP_TRANSFORM ? arc_transform_work(w->transform, h.count * d) : 0;
		h.work.floats = work > h.work.floats ? work : h.work.floats;
	}
	h.work.at = room(n, h.work.floats);
	ArcCall *c = arc_call(k->a, n, "heads_load");
	add_ints(c, (int[]){d, h.count, h.per}, 3);
	add_arena(c);
	add_job(k, c);
	add_row(k, c, from);
	arc_add(c, arc_int(from->op == OP_INPUT));
	arc_add(c, arc_local(h.x));
	add_ops(k, n, kernel, &h, v);
	if (!whole)
		return h.x;
	const int x = room(n, count * d);
	c = arc_call(k->a, n, "heads_take");
	add_ints(c, (int[]){d, count, per}, 3);
	arc_add(c, arc_local(h.x));
	arc_add(c, arc_local(x));
	return x;
}

/* ---- the cache ---------------------------------------------------------------------------- */

/* The parameters KV of templates/arc/cache.h. */
static void
add_kv(const Maker *k, ArcCall *c)
{
	const Format f = graph_kv(k->e.g, k->e.f->layer);
	const int query = k->e.g->kv[k->e.f->layer].query_bits;
	add_ints(c, (int[]){head_dim(k), f.bits, f.zero, query}, 4);
}

static void
add_cache(ArcCall *c)
{
	arc_add(c, arc_parameter(ARC_CACHE, 0));
	arc_add(c, arc_parameter(ARC_CTX, 0));
}

/* Words of a row's codes, 0 of floats. */
static int
code_words(const Maker *k)
{
	const bool codes = !format_is_float(graph_kv(k->e.g, k->e.f->layer));
	return codes ? (int)round_up((uint64_t)head_dim(k), 32) / 4 : 0;
}

static void
check_local(Maker *k, const ArcEntry *n, const Value *v)
{
	if (4 * (int64_t)n->local_floats > ARC_LOCAL_MAX)
		refuse(k, v, n->loc, "its rows do not fit 64 KB of local memory");
}

/* One row needs no launch of this: attention does it. */
ArcLaunch
arc_make_kv(Maker *k, const Kernel *kernel)
{
	const Model *m = k->e.g->model;
	const Value *append = value_of(k, kernel, OP_KV_APPEND), *q = NULL;
	const Value *key = emit_value(&k->e, append->operands[0]);
	const Value *value = emit_value(&k->e, append->operands[1]);
	const int group = (int)(m->n_head / m->n_kv_head), d = head_dim(k);
	for (int i = 0; i < kernel->count; i++)
		if (emit_has_place(&k->e, emit_kernel_value(&k->e, kernel, i)))
			q = emit_kernel_value(&k->e, kernel, i);
	ArcEntry *n = entry(k, kernel, ARC_ATTENTION, "", 4);
	if (q) {
		const int x = add_heads(k, n, kernel, q, group, 1);
		ArcCall *c = arc_call(k->a, n, "heads_store");
		add_ints(c, (int[]){d, group}, 2);
		add_arena(c);
		add_row(k, c, q);
		arc_add(c, arc_local(x));
	}
	const int key_at = add_heads(k, n, kernel, key, 1, 1);
	const int value_at = add_heads(k, n, kernel, value, 1, 1);
	const int memory = room(n, 2 * code_words(k));
	ArcCall *c = arc_call(k->a, n, "kv_append");
	add_kv(k, c);
	add_job(k, c);
	add_cache(c);
	arc_add(c, arc_local(key_at));
	arc_add(c, arc_local(value_at));
	arc_add(c, arc_local(memory));
	check_local(k, n, append);
	return (ArcLaunch){-1, k->p->n_entries - 1, m->n_kv_head, 1, 1, k->kernel};
}

/* ---- attention ---------------------------------------------------------------------------- */

static ArcArgument
score_scale(const Maker *k)
{
	const double d = head_dim(k);
	double root = 1; /* 1/sqrt(d) by Newton: the same double on every host */
	for (int i = 0; i < 64; i++)
		root = 0.5 * (root + d / root);
	return arc_float((float)(1.0 / root));
}

/* One row: with what kernel kv does. */
static void
make_attention_one(Maker *k, const Kernel *kernel, const Kernel *kv)
{
	const Value *v = emit_kernel_value(&k->e, kernel, 0);
	const Value *append = emit_value(&k->e, v->operands[1]);
	const int group = (int)(v->heads / v->kv_heads), d = head_dim(k);
	const int D = (int)round_up((uint64_t)d, ARC_LANES), words = code_words(k);
	const int sub_groups = D / ARC_LANES > 4 ? D / ARC_LANES : 4;
	ArcEntry *n = entry(k, kernel, ARC_ATTENTION, "_one", sub_groups);
	n->loc = arc_place(k, kv);
	const int q = add_heads(k, n, kv, emit_value(&k->e, v->operands[0]), 1, 1);
	const int key = add_heads(k, n, kv, emit_value(&k->e, append->operands[0]), 1, group);
	const int value = add_heads(k, n, kv, emit_value(&k->e, append->operands[1]), 1, group);
	const int memory = room(n, sub_groups * (64 + 2 + D) + 4 * words);
	ArcCall *c = arc_call(k->a, n, "attention_one");
	add_kv(k, c);
	add_ints(c, (int[]){group, sub_groups}, 2);
	arc_add(c, score_scale(k));
	add_arena(c);
	add_job(k, c);
	add_row(k, c, v);
	add_cache(c);
	arc_add(c, arc_local(q));
	arc_add(c, arc_local(key));
	arc_add(c, arc_local(value));
	arc_add(c, arc_local(memory));
	check_local(k, n, v);
}

/* Rows that a sub-group does at once, as many as ocloc has registers for: their sums of values stay
 * there, and of floats the queries. */
static int
rows_at_once(const Maker *k, int D)
{
	const int bits = graph_kv(k->e.g, k->e.f->layer).bits;
	const bool wide = (bits == 32 && D > 32) || (bits == 16 && D == 48);
	return D > 64 ? 1 : wide ? 2 : 4;
}

/* Query heads of a KV head that a work-group does. */
static int
heads_at_once(int group)
{
	int n = group < ARC_GROUPS_MAX ? group : ARC_GROUPS_MAX;
	while (group % n)
		n--;
	return n;
}

/* Returns the rows of a work-group. */
static int
make_attention_many(Maker *k, const Kernel *kernel)
{
	const Value *v = emit_kernel_value(&k->e, kernel, 0);
	const Value *q = emit_value(&k->e, v->operands[0]);
	const int group = (int)(v->heads / v->kv_heads);
	const int D = (int)round_up(k->e.g->model->head_dim, ARC_LANES);
	const int nq = rows_at_once(k, D), heads = heads_at_once(group);
	const int runs = heads < 4 ? (4 + heads - 1) / heads : 1;
	ArcEntry *n = entry(k, kernel, ARC_ATTENTION, "_many", heads * runs);
	const int memory = room(n, n->sub_groups * nq * (64 + 2 * D + 2 * code_words(k)));
	n->groups = (int)v->heads / heads;
	ArcCall *c = arc_call(k->a, n, "attention_many");
	add_kv(k, c);
	add_ints(c, (int[]){group, heads, nq}, 3);
	arc_add(c, score_scale(k));
	add_arena(c);
	add_job(k, c);
	add_row(k, c, q);
	arc_add(c, arc_int(q->op == OP_INPUT));
	add_row(k, c, v);
	add_cache(c);
	arc_add(c, arc_local(memory));
	check_local(k, n, v);
	return runs * nq;
}

ArcLaunch
arc_make_attention(Maker *k, const Kernel *kernel)
{
	const Value *v = emit_kernel_value(&k->e, kernel, 0);
	const Kernel *kv = emit_kernel_of(&k->e, emit_value(&k->e, v->operands[1]));
	const int one = k->p->n_entries;
	if (k->e.g->model->head_dim > ARC_HEAD_MAX) {
		refuse(k, v, v->loc, "heads of more than 256 columns have no kernel");
		return (ArcLaunch){-1, -1, 0, 1, 1, k->kernel};
	}
	/* The constants are those of the cache's kernel. */
	k->kernel = (int)(kv - k->e.f->kernels);
	make_attention_one(k, kernel, kv);
	const int rows = make_attention_many(k, kernel);
	const ArcLaunch l = {one, one + 1, v->heads, 1, rows, k->kernel};
	k->kernel = (int)(kernel - k->e.f->kernels);
	return l;
}
