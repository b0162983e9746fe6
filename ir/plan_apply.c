#include "plan_apply.h"

#include "heads.h"
#include "rewrite.h"

#include <string.h>

static const struct {
	Role role;
	Site site;
} reads[] = {
	{ROLE_Q, SITE_ATTN_IN},
	{ROLE_K, SITE_ATTN_IN},
	{ROLE_V, SITE_ATTN_IN},
	{ROLE_O, SITE_O_IN},
	{ROLE_GATE, SITE_MLP_IN},
	{ROLE_UP, SITE_MLP_IN},
	{ROLE_DOWN, SITE_DOWN_IN},
	{ROLE_HEAD, SITE_HEAD_IN},
	{ROLE_ROUTER, SITE_MLP_IN},
	{ROLE_SHARED_GATE, SITE_MLP_IN},
	{ROLE_EXPERT_GATE, SITE_MLP_IN},
	{ROLE_EXPERT_UP, SITE_MLP_IN},
	{ROLE_EXPERT_DOWN, SITE_EXPERT_DOWN_IN},
};

int
role_site(int role)
{
	for (size_t i = 0; i < sizeof reads / sizeof *reads; i++)
		if ((int)reads[i].role == role)
			return (int)reads[i].site;
	return -1;
}

uint32_t
plan_columns(const Plan *p, const Model *m, int role, uint32_t layer)
{
	const int s = role_site(role);
	const Transform *t =
		s < 0 ? NULL : p->transforms[s][site_table[s].layered ? layer : 0].transform;
	uint32_t rows, columns;
	model_shape(m, (Role)role, &rows, &columns);
	return t && t->n_out != t->n ? t->n_out : columns;
}

const char *
site_place(Arena *a, Site s, int layer)
{
	return site_table[s].layered ? arena_printf(a, "layers.%d.%s", layer, site_table[s].name)
				     : site_table[s].name;
}

/* ---- one function ------------------------------------------------------------------------- */

/* A transform and its inverse, which is made once for each transform of a plan. */
typedef struct Pair {
	const Transform *t, *inverse; /* null: the identity */
} Pair;

typedef struct Pairs {
	Pair *pairs;
	size_t count, capacity;
} Pairs;

/* A plan at work on one function. `only`: the one site that is applied, -1: all. */
typedef struct Apply {
	Graph *g;
	Func *f;
	const Plan *plan;
	Pairs *known;
	int only;
} Apply;

static Arena *
arena(const Apply *x)
{
	return x->g->arena;
}

static const PlanTransform *
planned(const Apply *x, Site s)
{
	const int layer = site_table[s].layered ? x->f->layer : 0;
	return layer < 0 ? NULL : &x->plan->transforms[s][layer];
}

static Pair
known_pair(const Apply *x, const Transform *t)
{
	Pairs *k = x->known;
	for (size_t i = 0; i < k->count; i++)
		if (k->pairs[i].t == t)
			return k->pairs[i];
	if (k->count == k->capacity) {
		Pair *more = ARENA_ARRAY(arena(x), Pair, 2 * k->capacity + 16);
		if (k->count)
			memcpy(more, k->pairs, k->count * sizeof *more);
		k->pairs = more;
		k->capacity = 2 * k->capacity + 16;
	}
	return k->pairs[k->count++] = (Pair){t, transform_inverse(arena(x), t)};
}

/* The transform of a site's whole row. */
static Pair
site_pair(const Apply *x, Site s)
{
	const PlanTransform *p = planned(x, s);
	uint32_t width, heads;
	if (!p || !p->transform || (x->only >= 0 && x->only != (int)s))
		return (Pair){NULL, NULL};
	site_shape(x->g->model, s, &width, &heads);
	Pair pair = known_pair(x, p->transform);
	if (pair.t->n != width) {
		pair.t = heads_repeat(arena(x), pair.t, heads);
		pair.inverse = heads_repeat(arena(x), pair.inverse, heads);
	}
	return pair;
}

static bool
keeps_gain(const Apply *x, Site s)
{
	const PlanTransform *p = planned(x, s);
	return p && p->keep_gain;
}

static int
add_transform(Apply *x, const Transform *t, int of, bool pinned, Loc loc)
{
	if (!t)
		return of;
	Value v = value_new(OP_TRANSFORM, t->n_out, loc);
	v.transform = t;
	v.operands[0] = of;
	v.pinned = pinned;
	return func_add(x->g, x->f, v);
}

/*
 * Value i goes through `arrives`, `pair` (pinned), and both inverses; its readers read what comes
 * out, but output reads the residual in basis pair.t.
 */
static void
insert_pair(Apply *x, int i, Pair arrives, Pair pair, Site s)
{
	const Loc loc = planned(x, s)->loc;
	const int count = x->f->count;
	const int in = add_transform(x, arrives.t, i, false, loc);
	const int pinned = add_transform(x, pair.t, in, true, loc);
	/* Of the embedding the inverse is what runs. */
	x->f->values[pinned].runs = x->plan->stored && site_table[s].online && s != SITE_EMBED_OUT;
	int out = add_transform(x, pair.inverse, pinned, false, loc);
	out = add_transform(x, arrives.inverse, out, false, loc);
	for (int r = 0; r < count; r++)
		for (int k = 0; k < op_operands(x->f->values[r].op); k++)
			if (x->f->values[r].operands[k] == i)
				x->f->values[r].operands[k] =
					x->f->values[r].op == OP_OUTPUT && s == SITE_RESIDUAL
						? pinned
						: out;
}

static const Pair none = {NULL, NULL};

/* The first value with op and role (-1: any); -1: the function has none. */
static int
find(const Apply *x, Op op, int role)
{
	for (int i = 0; i < x->f->count; i++)
		if (x->f->values[i].op == op && (role < 0 || x->f->values[i].role == role))
			return i;
	return -1;
}

/* The row that linear i makes, its bias added; i -1: -1. */
static int
biased(const Apply *x, int i)
{
	for (int k = 0; k < x->f->count && i >= 0; k++)
		if (x->f->values[k].op == OP_BIAS && x->f->values[k].operands[0] == i)
			return k;
	return i;
}

/* ---- sites -------------------------------------------------------------------------------- */

static void
apply_residual(Apply *x, Site s)
{
	const Pair pair = site_pair(x, s);
	const int count = x->f->count;
	for (int i = 0; i < count && pair.t; i++) {
		const Value *v = &x->f->values[i];
		if (v->op == OP_EMBED || v->op == OP_ADD) {
			insert_pair(x, i, none, pair, s);
		} else if (v->op == OP_INPUT) {
			const int out =
				add_transform(x, pair.inverse, i, false, planned(x, s)->loc);
			for (int r = 0; r < count; r++)
				for (int k = 0; k < op_operands(x->f->values[r].op); k++)
					if (x->f->values[r].operands[k] == i)
						x->f->values[r].operands[k] = out;
		}
	}
}

static void
apply_embed_out(Apply *x, Site s)
{
	const Pair pair = site_pair(x, s);
	const int i = find(x, OP_EMBED, -1);
	if (pair.t && i >= 0)
		insert_pair(x, i, none, pair, s);
}

/* A normed row: in front of the gain, or behind one that stays. */
static void
apply_norm(Apply *x, Site s)
{
	const Pair pair = site_pair(x, s);
	int n = -1;
	for (size_t k = 0; k < sizeof reads / sizeof *reads && n < 0; k++)
		if (reads[k].site == s)
			n = find(x, OP_LINEAR, (int)reads[k].role);
	if (n < 0)
		return;
	n = x->f->values[n].operands[0];
	Value *gain = &x->f->values[n];
	if (gain->op == OP_GAIN && keeps_gain(x, s))
		gain->pinned = true;
	else if (gain->op == OP_GAIN)
		n = gain->operands[0];
	const bool kept = x->f->values[n].op == OP_GAIN;
	if (pair.t)
		insert_pair(x, n, kept ? none : site_pair(x, SITE_RESIDUAL), pair, s);
}

static Pair
spread(const Apply *x, Pair p)
{
	const Model *m = x->g->model;
	if (!p.t)
		return none;
	return (Pair){heads_spread(arena(x), p.t, m->n_kv_head, m->n_head),
		      heads_spread(arena(x), p.inverse, m->n_kv_head, m->n_head)};
}

/* What query heads get where KV heads get p.t, so that q k stays q k: p.t^-T. */
static Pair
for_queries(const Apply *x, Pair p)
{
	const Pair heads = spread(x, p);
	if (!p.t || transform_facts(p.t).orthogonal)
		return heads;
	return (Pair){transform_transpose(arena(x), heads.inverse),
		      transform_transpose(arena(x), heads.t)};
}

static void
apply_qk_raw(Apply *x, Site s)
{
	const Pair pair = site_pair(x, s);
	const int k = biased(x, find(x, OP_LINEAR, ROLE_K));
	const int q = biased(x, find(x, OP_LINEAR, ROLE_Q));
	if (!pair.t || k < 0 || q < 0)
		return;
	insert_pair(x, k, none, pair, s);
	insert_pair(x, q, none, for_queries(x, pair), s);
}

/* What of the transform in front of rope arrives behind it: all, or nothing where the gain of a
 * norm of heads undoes it. */
static Pair
raw_behind_norm(const Apply *x, Role norm)
{
	return find(x, OP_GAIN_HEADS, (int)norm) < 0 ? site_pair(x, SITE_QK_RAW) : none;
}

static void
apply_qk_rope(Apply *x, Site s)
{
	const Pair pair = site_pair(x, s);
	const Pair raw_k = raw_behind_norm(x, ROLE_K_NORM), raw_q = raw_behind_norm(x, ROLE_Q_NORM);
	const int append = find(x, OP_KV_APPEND, -1), attention = find(x, OP_ATTENTION, -1);
	if (!pair.t || append < 0 || attention < 0)
		return;
	const int k = x->f->values[append].operands[0], q = x->f->values[attention].operands[0];
	insert_pair(x, k, raw_k, pair, s);
	insert_pair(x, q, for_queries(x, raw_q), for_queries(x, pair), s);
}

static void
apply_v(Apply *x, Site s)
{
	const Pair pair = site_pair(x, s);
	const int i = biased(x, find(x, OP_LINEAR, ROLE_V));
	if (pair.t && i >= 0)
		insert_pair(x, i, none, pair, s);
}

/* The row that a linear reads. */
static void
apply_read(Apply *x, Site s, Role role, Pair arrives)
{
	const Pair pair = site_pair(x, s);
	const int i = find(x, OP_LINEAR, (int)role);
	if (pair.t && i >= 0)
		insert_pair(x, x->f->values[i].operands[0], arrives, pair, s);
}

static void
apply_o_in(Apply *x, Site s)
{
	apply_read(x, s, ROLE_O, spread(x, site_pair(x, SITE_V)));
}

static void
apply_mid(Apply *x, Site s)
{
	apply_read(x, s, ROLE_DOWN, none);
}

/* The row that down of each slot reads. */
static void
apply_experts(Apply *x, Site s, Pair arrives)
{
	const Pair pair = site_pair(x, s);
	const int count = x->f->count;
	for (int i = 0; i < count && pair.t; i++) {
		const Value *v = &x->f->values[i];
		if (v->op == OP_EXPERT && v->role == ROLE_EXPERT_DOWN)
			insert_pair(x, v->operands[0], arrives, pair, s);
	}
}

static void
apply_expert_mid(Apply *x, Site s)
{
	apply_experts(x, s, none);
}

static void
apply_expert_down_in(Apply *x, Site s)
{
	apply_experts(x, s, site_pair(x, SITE_EXPERT_MID));
}

static void
apply_down_in(Apply *x, Site s)
{
	apply_read(x, s, ROLE_DOWN, site_pair(x, SITE_MLP_MID));
}

static void (*const apply_site[SITE_COUNT])(Apply *x, Site s) = {
	[SITE_RESIDUAL] = apply_residual,
	[SITE_EMBED_OUT] = apply_embed_out,
	[SITE_ATTN_IN] = apply_norm,
	[SITE_QK_RAW] = apply_qk_raw,
	[SITE_QK_ROPE] = apply_qk_rope,
	[SITE_V] = apply_v,
	[SITE_O_IN] = apply_o_in,
	[SITE_MLP_IN] = apply_norm,
	[SITE_MLP_MID] = apply_mid,
	[SITE_DOWN_IN] = apply_down_in,
	[SITE_EXPERT_MID] = apply_expert_mid,
	[SITE_EXPERT_DOWN_IN] = apply_expert_down_in,
	[SITE_HEAD_IN] = apply_norm,
};

/* ---- refusals ----------------------------------------------------------------------------- */

enum { ROW_MOST = 65000 };

const char *
site_padding_law(const Plan *p, Site s, const Transform *t)
{
	if (t->n_out == t->n)
		return NULL;
	if (t->n_out < t->n)
		return "no law brings back what is dropped";
	if (!site_table[s].online)
		return "nothing may run there, so it would have to vanish into the weights around, "
		       "which a longer row does not";
	if (t->n_out > ROW_MOST)
		return "rows have up to 65000 elements";
	for (size_t i = 0; i < sizeof reads / sizeof *reads; i++)
		if (reads[i].site == s)
			return p->stored ? "the weights are stored folded, and read rows of the "
					   "model's width"
					 : NULL;
	return "only what matrices read may be longer: they take the inverse";
}

static const char *
transform_text(Arena *a, const Transform *t)
{
	enum { SHOWN = 60 };
	Text *text = text_new(a);
	transform_print(text, t, TRANSFORM_NAMED);
	return text->size <= SHOWN ? text->text : arena_printf(a, "%.*s...", SHOWN, text->text);
}

static bool
check_order(Apply *x, Site s, int layer, Diag *d)
{
	const PlanTransform *p = planned(x, s);
	const Transform *t = p ? p->transform : NULL;
	uint32_t width, heads;
	if (!t)
		return true;
	site_shape(x->g->model, s, &width, &heads);
	const char *place = site_place(arena(x), s, layer);
	const char *law = site_padding_law(x->plan, s, t);
	if (law) {
		diag_error(d, p->loc, E_SITE_LAW, "%s: %s makes %u elements of %u: %s", place,
			   transform_text(arena(x), t), t->n_out, t->n, law);
		return false;
	}
	if (t->n == width || (heads > 1 && t->n == width / heads)) {
		if (heads == 1 || t->n != width || heads_spread(arena(x), t, heads, heads))
			return true;
		diag_error(d, p->loc, E_SITE_LAW, "%s: %s mixes the %u heads of the row", place,
			   transform_text(arena(x), t), heads);
		diag_hint(d, "it must act on each run of %u elements by itself", width / heads);
		return false;
	}
	diag_error(d, p->loc, E_PLAN_ORDER, "%s: %s is of order %u, the row is %u wide", place,
		   transform_text(arena(x), t), t->n, width);
	if (heads > 1)
		diag_hint(d, "write it for a head, of order %u, or for all %u", width / heads,
			  width);
	else if (width % t->n == 0)
		diag_hint(d, "a block transform to %u repeats it", width);
	return false;
}

/* The first transform that is left and may not run; -1: none. Behind a norm of heads, in front of
 * its gain, one may: it and the gain are one matrix for each head. */
static int
left_over(const Graph *g, const Func *f, const char **law)
{
	int i = rewrite_left(g, f, 0, law);
	while (i >= 0 && f->values[f->values[i].operands[0]].op == OP_RMSNORM_HEADS)
		i = rewrite_left(g, f, i + 1, law);
	return i;
}

/* Whether the transform of a site where nothing may run vanishes: tried on a copy of the function
 * with nothing else in it. */
static bool
check_vanishes(Apply *x, Site s, Diag *d)
{
	Func copy = *x->f;
	Apply alone = *x;
	const char *law;
	alone.f = &copy;
	alone.only = (int)s;
	copy.values = ARENA_ARRAY(arena(x), Value, (size_t)copy.count);
	copy.capacity = copy.count;
	memcpy(copy.values, x->f->values, (size_t)copy.count * sizeof *copy.values);
	for (int i = 0; i < SITE_COUNT; i++)
		apply_site[i](&alone, (Site)i);
	rewrite_func(x->g, &copy, REWRITE_ALL);
	if (left_over(x->g, &copy, &law) < 0)
		return true;
	const PlanTransform *p = planned(x, s);
	diag_error(d, p->loc, E_SITE_LAW, "%s: %s cannot go into the weights around it: %s",
		   site_place(arena(x), s, x->f->layer), transform_text(arena(x), p->transform),
		   law);
	return false;
}

/* Every site of every function, a line of the plan once. */
static bool
check_plan(Graph *g, const Plan *p, Pairs *known, Diag *d)
{
	bool ok = true;
	for (int s = 0; s < SITE_COUNT; s++) {
		Loc said = {0};
		for (int n = 0; n < g->count; n++) {
			Apply x = {
				.g = g, .f = &g->funcs[n], .plan = p, .known = known, .only = -1};
			const PlanTransform *t = planned(&x, (Site)s);
			if (!t || !t->transform ||
			    (said.file == t->loc.file && said.offset == t->loc.offset && !ok))
				continue;
			if (check_order(&x, (Site)s, x.f->layer, d) &&
			    (site_table[s].online || check_vanishes(&x, (Site)s, d)))
				continue;
			said = t->loc;
			ok = false;
		}
	}
	return ok;
}

/* ---- all --------------------------------------------------------------------------------- */

bool
graph_apply_plan(Graph *g, const Plan *p, Diag *d)
{
	Pairs pairs = {NULL, 0, 0}, *known = &pairs;
	g->plan = p;
	if (!check_plan(g, p, known, d) || !graph_choose_tied(g, p, d))
		return false;
	g->residual = p->transforms[SITE_RESIDUAL][0].transform;
	for (int n = 0; n < g->count; n++) {
		Apply x = {.g = g, .f = &g->funcs[n], .plan = p, .known = known, .only = -1};
		for (int s = 0; s < SITE_COUNT; s++)
			apply_site[s](&x, (Site)s);
		func_sort(g, x.f);
	}
	graph_derive_bases(g);
	return true;
}
