#include "rewrite.h"

#include "heads.h"
#include "plan.h"

#include <string.h>

typedef struct Rewrite {
	Graph *g;
	Func *f;
	Arena *scratch;
	const int *uses; /* by values that the output needs; of values present at the last count */
} Rewrite;

/* ---- what rules are made of --------------------------------------------------------------- */

static Value *
at(const Rewrite *r, int i)
{
	return &r->f->values[i];
}

static int
operand(const Rewrite *r, int i, int k)
{
	return at(r, i)->operands[k];
}

/* The transform that i reads by operand k, free to go down; null if there is none. */
static const Transform *
from_above(const Rewrite *r, int i, int k)
{
	const Value *x = at(r, operand(r, i, k));
	return x->op == OP_TRANSFORM && !x->pinned ? x->transform : NULL;
}

static int
add(Rewrite *r, Value v)
{
	return func_add(r->g, r->f, v);
}

/* t times value x as a value of its own; the place in the plan is that of value `like`. */
static int
add_transform(Rewrite *r, const Transform *t, int x, int like)
{
	Value v = value_new(OP_TRANSFORM, t->n_out, at(r, like)->loc);
	v.transform = t;
	v.operands[0] = x;
	v.pinned = at(r, like)->pinned;
	return add(r, v);
}

static void
redirect(Rewrite *r, int from, int to)
{
	for (int i = 0; i < r->f->count; i++)
		for (int k = 0; k < op_operands(at(r, i)->op); k++)
			if (at(r, i)->operands[k] == from)
				at(r, i)->operands[k] = to;
}

/* Value i becomes t times a new value `v`. */
static void
become_transform(Rewrite *r, int i, const Transform *t, Value v, int like)
{
	const Loc loc = at(r, like)->loc;
	const int x = add(r, v);
	Value *to = at(r, i);
	*to = value_new(OP_TRANSFORM, t->n_out, loc);
	to->transform = t;
	to->operands[0] = x;
}

/* The attention that reads append i. */
static int
attention_of(const Rewrite *r, int i)
{
	for (int a = 0; a < r->f->count; a++)
		if (r->uses[a] && at(r, a)->op == OP_ATTENTION && operand(r, a, 1) == i)
			return a;
	return -1;
}

/* ---- cancel ------------------------------------------------------------------------------- */

static bool
cancel_product(Rewrite *r, int i)
{
	const Transform *before = from_above(r, i, 0);
	Value *v = at(r, i);
	const Transform *t = transform_after(r->g->arena, v->transform, before);
	if (!t)
		redirect(r, i, before ? operand(r, v->operands[0], 0) : v->operands[0]);
	else if (!before)
		return false;
	else
		v->operands[0] = operand(r, v->operands[0], 0);
	v->transform = t ? t : v->transform;
	return true;
}

/* ---- down --------------------------------------------------------------------------------- */

static bool
down_linear(Rewrite *r, int i)
{
	Value *v = at(r, i);
	if (v->shared)
		return false;
	v->fold_in = transform_after(r->g->arena, v->fold_in, from_above(r, i, 0));
	v->operands[0] = operand(r, v->operands[0], 0);
	return true;
}

static bool
down_rmsnorm(Rewrite *r, int i)
{
	const Transform *t = from_above(r, i, 0);
	Value v = *at(r, i);
	if (!transform_facts(t).orthogonal)
		return false;
	v.operands[0] = operand(r, v.operands[0], 0);
	become_transform(r, i, t, v, operand(r, i, 0));
	return true;
}

/* What each head does by itself and keeps its length goes through the norm of heads. */
static bool
down_rmsnorm_heads(Rewrite *r, int i)
{
	const Transform *t = from_above(r, i, 0);
	const Value v = *at(r, i);
	for (uint32_t h = 0; h < v.heads; h++)
		if (!heads_run(r->g->arena, t, v.heads, h))
			return false;
	return down_rmsnorm(r, i);
}

/* T^-1 x + b = T^-1 (x + T b) */
static bool
down_bias(Rewrite *r, int i)
{
	const Transform *t = from_above(r, i, 0);
	Value v = *at(r, i);
	v.fold_out = transform_after(r->g->arena, transform_inverse(r->g->arena, t), v.fold_out);
	v.operands[0] = operand(r, v.operands[0], 0);
	become_transform(r, i, t, v, operand(r, i, 0));
	return true;
}

/* w (T x) = T (w x), w one number a row. */
static bool
down_scaled(Rewrite *r, int i)
{
	const Transform *t = from_above(r, i, 0);
	Value v = *at(r, i);
	if (!t)
		return false;
	v.operands[0] = operand(r, v.operands[0], 0);
	become_transform(r, i, t, v, operand(r, i, 0));
	return true;
}

/* The gain's elements; null: a kept gain, one of a text, or one with an element of 0. */
static const Transform *
gain_diagonal(Rewrite *r, const Value *v)
{
	const Tensor *t = model_tensor(r->g->model, (Role)v->role,
				       r->f->layer < 0 ? 0 : (uint32_t)r->f->layer);
	const char *why;
	if (v->pinned || !t || !t->data)
		return NULL;
	float *row = ARENA_ARRAY(r->scratch, float, v->width);
	double *gain = ARENA_ARRAY(r->scratch, double, v->width);
	tensor_row_f32(t, 0, row);
	for (uint32_t k = 0; k < v->width; k++)
		gain[k] = (double)row[k];
	return transform_vector(r->g->arena, T_DIAGONAL, v->width, gain, &why);
}

/* A gain behind a transform is one more factor, which its readers take. Weights that are stored
 * folded have taken it before, and left 1 in its place. */
static bool
down_gain(Rewrite *r, int i)
{
	Value *v = at(r, i);
	const bool stored = r->g->plan && r->g->plan->stored;
	const Transform *d = gain_diagonal(r, v);
	if (!d || (stored && !transform_facts(d).identity))
		return false;
	const int x = v->operands[0];
	*v = value_new(OP_TRANSFORM, v->width, v->loc);
	v->transform = d;
	v->operands[0] = x;
	return true;
}

static bool
down_rope(Rewrite *r, int i)
{
	const Transform *t = from_above(r, i, 0);
	Value v = *at(r, i);
	if (!heads_commute_with_rope(r->g->arena, t, v.heads))
		return false;
	v.operands[0] = operand(r, v.operands[0], 0);
	become_transform(r, i, t, v, operand(r, i, 0));
	return true;
}

/* Rows of v keep their transform until the attention has summed them. */
static bool
down_values(Rewrite *r, int i)
{
	const Transform *t = from_above(r, i, 1);
	const int a = attention_of(r, i);
	if (!t || a < 0)
		return false;
	Value attention = *at(r, a);
	const Transform *spread = heads_spread(r->g->arena, t, attention.kv_heads, attention.heads);
	if (!spread)
		return false;
	const int x = operand(r, i, 1);
	at(r, i)->operands[1] = operand(r, x, 0);
	become_transform(r, a, spread, attention, x);
	return true;
}

/* Scores are products of a row of q and one of k: (A q)(B k) = q k where A^T B = I in every head.
 */
static bool
down_scores(Rewrite *r, int i)
{
	const int a = attention_of(r, i);
	const Transform *k = from_above(r, i, 0), *q = a < 0 ? NULL : from_above(r, a, 0);
	if (!k || !q)
		return false;
	Arena *arena = r->g->arena;
	const Transform *keys = heads_spread(arena, k, at(r, a)->kv_heads, at(r, a)->heads);
	if (!keys || transform_after(arena, transform_transpose(arena, q), keys))
		return false;
	at(r, i)->operands[0] = operand(r, operand(r, i, 0), 0);
	at(r, a)->operands[0] = operand(r, operand(r, a, 0), 0);
	return true;
}

static bool
down_append(Rewrite *r, int i)
{
	return down_values(r, i) || down_scores(r, i);
}

/* ---- up: i is a pinned transform, x what it reads, which nobody else does ------------------- */

static bool
up_weights(Rewrite *r, int i, int x)
{
	Value *v = at(r, x);
	if (v->shared)
		return false;
	v->fold_out = transform_after(r->g->arena, at(r, i)->transform, v->fold_out);
	redirect(r, i, x);
	return true;
}

/* T (x + b) = T x + T b */
static bool
up_bias(Rewrite *r, int i, int x)
{
	const Transform *t = at(r, i)->transform;
	Value v = *at(r, x);
	v.fold_out = transform_after(r->g->arena, t, v.fold_out);
	v.operands[0] = add_transform(r, t, v.operands[0], i);
	*at(r, i) = v;
	return true;
}

static bool
up_add(Rewrite *r, int i, int x)
{
	const Transform *t = at(r, i)->transform;
	Value v = *at(r, x);
	for (int k = 0; k < 2; k++)
		v.operands[k] = add_transform(r, t, v.operands[k], i);
	*at(r, i) = v;
	return true;
}

/* T (w x) = w (T x), w one number a row. */
static bool
up_scaled(Rewrite *r, int i, int x)
{
	const Transform *t = at(r, i)->transform;
	Value v = *at(r, x);
	v.operands[0] = add_transform(r, t, v.operands[0], i);
	*at(r, i) = v;
	return true;
}

static bool
up_rope(Rewrite *r, int i, int x)
{
	const Transform *t = at(r, i)->transform;
	Value v = *at(r, x);
	if (!heads_commute_with_rope(r->g->arena, t, v.heads))
		return false;
	v.operands[0] = add_transform(r, t, v.operands[0], i);
	*at(r, i) = v;
	return true;
}

/* The factor that acts first, and the others (null: none); of blocks each factor is blocks. */
static const Transform *
first_factor(Arena *a, const Transform *t, const Transform **others)
{
	const Transform *product = t->kind == T_BLOCK ? t->children[0] : t;
	const char *why;
	*others = NULL;
	if (product->kind != T_PRODUCT)
		return t;
	const uint32_t n = product->n_children - 1;
	const Transform *first = product->children[n];
	*others = n == 1 ? product->children[0]
			 : transform_compose(a, T_PRODUCT, product->children, n, &why);
	if (product != t) {
		first = transform_block(a, first, t->n, &why);
		*others = transform_block(a, *others, t->n, &why);
	}
	return first;
}

/* A diagonal behind a gain that the plan keeps, alone or the first factor of more, is one diagonal
 * with it. */
static bool
up_gain(Rewrite *r, int i, int x)
{
	const Transform *others, *first = first_factor(r->g->arena, at(r, i)->transform, &others);
	if (!transform_facts(first).diagonal || !at(r, x)->pinned)
		return false;
	at(r, x)->pinned = false;
	const bool done = down_gain(r, x);
	at(r, x)->pinned = !done;
	return done;
}

/* act(P a) * (P b) = P (act(a) * b); act(a) * (D b) = D (act(a) * b). */
static bool
up_gated(Rewrite *r, int i, int x)
{
	const Transform *others, *first = first_factor(r->g->arena, at(r, i)->transform, &others);
	TransformFacts facts = transform_facts(first);
	Value v = *at(r, x);
	if (!facts.permutation && !facts.diagonal)
		return false;
	if (!facts.diagonal)
		v.operands[0] = add_transform(r, first, v.operands[0], i);
	v.operands[1] = add_transform(r, first, v.operands[1], i);
	if (!others) {
		*at(r, i) = v;
		return true;
	}
	at(r, i)->transform = others;
	const int y = add(r, v);
	at(r, i)->operands[0] = y;
	return true;
}

/* A transform of the attention's result, or its first factor, is one of v, where it keeps to heads
 * and is the same in a group. With a rounded cache the plan's basis of v is meant, and it stays. */
static bool
up_attention(Rewrite *r, int i, int x)
{
	Arena *a = r->g->arena;
	const Value attention = *at(r, x);
	const int append = attention.operands[1];
	const Transform *others = NULL, *t = at(r, i)->transform;
	if (!format_is_float(graph_kv(r->g, r->f->layer)))
		return false;
	const Transform *values = heads_gather(a, t, attention.heads, attention.kv_heads);
	if (!values) {
		t = first_factor(a, t, &others);
		values = others ? heads_gather(a, t, attention.heads, attention.kv_heads) : NULL;
	}
	if (!values)
		return false;
	const int v = add_transform(r, values, operand(r, append, 1), i);
	at(r, append)->operands[1] = v;
	if (others)
		at(r, i)->transform = others;
	else
		redirect(r, i, x);
	return true;
}

/* ---- the table ---------------------------------------------------------------------------- */

typedef struct Rule {
	Op op;
	unsigned group;
	bool (*down)(Rewrite *r, int i); /* i reads a free transform */
	bool (*up)(Rewrite *r, int i, int x);
	const char *law;
} Rule;

static const Rule rules[] = {
	{OP_TRANSFORM, REWRITE_CANCEL, cancel_product, NULL, NULL},
	{OP_LINEAR, REWRITE_FOLD, down_linear, up_weights, NULL},
	{OP_EXPERT, REWRITE_FOLD, down_linear, up_weights, NULL},
	{OP_EMBED, REWRITE_FOLD, NULL, up_weights, NULL},
	{OP_RMSNORM, REWRITE_COMMUTE, down_rmsnorm, NULL,
	 "rmsnorm commutes with orthogonal transforms only"},
	{OP_GAIN, REWRITE_COMMUTE, down_gain, up_gain, NULL},
	{OP_BIAS, REWRITE_FOLD, down_bias, up_bias, NULL},
	{OP_RMSNORM_HEADS, REWRITE_COMMUTE, down_rmsnorm_heads, NULL,
	 "rmsnorm of heads commutes with orthogonal transforms of each head only"},
	{OP_GAIN_HEADS, REWRITE_COMMUTE, NULL, NULL,
	 "a gain of heads takes a transform in front of it as its matrix"},
	{OP_ADD, REWRITE_COMMUTE, NULL, up_add, NULL},
	{OP_WEIGH, REWRITE_COMMUTE, down_scaled, up_scaled, NULL},
	{OP_SIGMOID_MUL, REWRITE_COMMUTE, down_scaled, up_scaled, NULL},
	{OP_ROUTE, REWRITE_COMMUTE, NULL, NULL, "a route compares what the router gives"},
	{OP_ROPE, REWRITE_COMMUTE, down_rope, up_rope,
	 "rope commutes only with rotations of its own pairs, elements i and i + d/2 of a head"},
	{OP_SILU_MUL, REWRITE_COMMUTE, NULL, up_gated,
	 "silu(gate) * up lets permutations through, and diagonals on up; nothing else"},
	{OP_GELU_MUL, REWRITE_COMMUTE, NULL, up_gated,
	 "gelu(gate) * up lets permutations through, and diagonals on up; nothing else"},
	{OP_KV_APPEND, REWRITE_COMMUTE, down_append, NULL,
	 "attention lets through what acts on each head by itself: on v anything, on q and k what "
	 "leaves their product as it is"},
	{OP_ATTENTION, REWRITE_COMMUTE, NULL, up_attention,
	 "attention lets through what acts on each head by itself, the same for all query heads of "
	 "a KV head"},
};
enum { RULES = sizeof rules / sizeof *rules };

static const Rule *
rule_of(Op op)
{
	for (int k = 0; k < RULES; k++)
		if (rules[k].op == op)
			return &rules[k];
	return NULL;
}

static bool
reads_free_transform(const Rewrite *r, int i)
{
	for (int k = 0; k < op_operands(at(r, i)->op); k++)
		if (from_above(r, i, k))
			return true;
	return false;
}

static bool
rewrite_value(Rewrite *r, int i, unsigned groups)
{
	const Rule *rule = rule_of(at(r, i)->op);
	const bool transform = at(r, i)->op == OP_TRANSFORM;
	if (rule && rule->group & groups && rule->down &&
	    (transform || reads_free_transform(r, i)) && rule->down(r, i))
		return true;
	if (!transform || !at(r, i)->pinned || at(r, i)->runs)
		return false;
	const int x = operand(r, i, 0);
	rule = rule_of(at(r, x)->op);
	return rule && rule->group & groups && rule->up && r->uses[x] == 1 && rule->up(r, i, x);
}

/* ---- running ------------------------------------------------------------------------------ */

static void
count_uses(const Func *f, int *uses, int i)
{
	if (uses[i]++)
		return;
	for (int k = 0; k < op_operands(f->values[i].op); k++)
		count_uses(f, uses, f->values[i].operands[k]);
}

static bool
rewrite_once(Rewrite *r, unsigned groups)
{
	arena_reset(r->scratch);
	int *uses = ARENA_ARRAY(r->scratch, int, (size_t)r->f->count + 1);
	const int count = r->f->count;
	for (int i = 0; i < count; i++)
		if (at(r, i)->op == OP_OUTPUT)
			count_uses(r->f, uses, i);
	r->uses = uses;
	for (int i = 0; i < count; i++)
		if (uses[i] && rewrite_value(r, i, groups))
			return true;
	return false;
}

void
rewrite_func(Graph *g, Func *f, unsigned groups)
{
	const char *law;
	if (rewrite_left(g, f, 0, &law) < 0)
		return;
	Rewrite r = {.g = g, .f = f, .scratch = arena_new()};
	while (rewrite_once(&r, groups))
		continue;
	arena_free(r.scratch);
	func_sort(g, f);
}

/* The law of op, told of value v; up: the transform stands behind it. */
static const char *
law_of(const Graph *g, const Value *v, const Rule *rule, bool up)
{
	if (v->op != OP_GAIN)
		return rule->law;
	if (up && !v->pinned)
		return "the gain of a norm that no linear reads (sandwich norms) lets nothing "
		       "through to what is normed";
	if (v->pinned)
		return "a gain that the plan keeps lets nothing through";
	if (g->plan && g->plan->stored)
		return "the weights are stored folded, so this gain should be 1 and is not";
	return "a gain with an element of 0, or unknown, lets nothing through";
}

int
rewrite_left(const Graph *g, const Func *f, int from, const char **law)
{
	*law = "it runs";
	for (int i = from; i < f->count; i++) {
		const Value *v = &f->values[i], *holds = NULL;
		if (v->op != OP_TRANSFORM)
			continue;
		if (v->pinned)
			holds = &f->values[v->operands[0]];
		for (int k = i + 1; k < f->count && !holds; k++)
			for (int o = 0; o < op_operands(f->values[k].op); o++)
				if (f->values[k].operands[o] == i && rule_of(f->values[k].op))
					holds = &f->values[k];
		const Rule *rule = holds ? rule_of(holds->op) : NULL;
		const char *its = rule ? law_of(g, holds, rule, v->pinned) : NULL;
		if (its)
			*law = its;
		return i;
	}
	return -1;
}
