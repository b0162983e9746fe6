/* The absolute basis of every value, from the transforms and folds of a graph. */
#include "graph.h"

#include "heads.h"

/* Bases of a function's values, null: I. The rows of an append have two. */
typedef struct Bases {
	const Graph *g;
	Func *f;
	const Transform **of, **of_v;
} Bases;

static const Transform *
joined(Arena *a, const Transform *k, const Transform *v, uint32_t width)
{
	const char *why;
	const Transform *both[] = {k ? k : transform_identity(a, width),
				   v ? v : transform_identity(a, width)};
	return k || v ? transform_compose(a, T_SUM, both, 2, &why) : NULL;
}

static const Transform *
derive(const Bases *b, int i)
{
	const Value *v = &b->f->values[i];
	Arena *a = b->g->arena;
	const Transform *x = op_operands(v->op) ? b->of[v->operands[0]] : NULL;
	const Transform *second;
	switch (v->op) {
	case OP_INPUT:
		return b->g->residual;
	case OP_LINEAR:
	case OP_EXPERT:
	case OP_EMBED:
		return v->fold_out;
	case OP_TRANSFORM:
		return transform_after(a, v->transform, x);
	case OP_SILU_MUL:
	case OP_GELU_MUL:
		/* A permutation is that of both, a diagonal of the second alone. */
		return b->of[v->operands[1]];
	case OP_KV_APPEND:
		b->of_v[i] = b->of[v->operands[1]];
		return x;
	case OP_ATTENTION:
		second = b->of_v[v->operands[1]];
		return second ? heads_spread(a, second, v->kv_heads, v->heads) : NULL;
	case OP_ROUTE:
		return NULL;
	default:
		return x;
	}
}

void
graph_derive_bases(Graph *g)
{
	for (int n = 0; n < g->count; n++) {
		Arena *scratch = arena_new();
		Func *f = &g->funcs[n];
		Bases b = {.g = g, .f = f};
		b.of = ARENA_ARRAY(scratch, const Transform *, (size_t)f->count);
		b.of_v = ARENA_ARRAY(scratch, const Transform *, (size_t)f->count);
		for (int i = 0; i < f->count; i++) {
			Value *v = &f->values[i];
			b.of[i] = derive(&b, i);
			v->basis = BASIS_IDENTITY;
			v->basis.transform = v->op == OP_KV_APPEND ? joined(g->arena, b.of[i],
									    b.of_v[i], v->width / 2)
								   : b.of[i];
		}
		arena_free(scratch);
	}
}
