/* Positions, keys and values, attention. */
#include "lower.h"

static const int swap_heads[] = {0, 2, 1, 3}; /* tokens and heads, either way */

/* The rope table's rows at the positions, for all heads alike. */
static Wire
rope_rows(const Lower *l, const BinPart *table, Wire positions)
{
	const Wire rows = net_gather(l->n, net_part(l->n, table), positions, 0);
	return net_unsqueeze(l->n, rows, 2);
}

void
lower_positions(Lower *l, Wire position_ids)
{
	l->cos = rope_rows(l, &l->constants->rope_cos, position_ids);
	l->sin = rope_rows(l, &l->constants->rope_sin, position_ids);
}

/* One dimension of the shape of x, an i64 scalar. */
static Wire
dimension(const Lower *l, Wire x, int64_t axis)
{
	const Wire shape = net_shape_of(l->n, x);
	return net_gather(l->n, shape, net_index(l->n, axis), 0);
}

/*
 * 0 where a token may read a position, -65504 elsewhere. By slots and not by position_ids: a
 * reader that pads on the left keeps the slots in order. No Select, which the 3720 does not take.
 */
void
lower_dynamic_mask(Lower *l, Wire attention_mask)
{
	static const int64_t first[] = {0};
	Net *n = l->n;
	const Wire all = dimension(l, attention_mask, 1);
	const Wire tokens = dimension(l, l->ids, 1);
	const Wire slots = net_range(n, net_index(n, 0), all);
	const Wire own = net_range(n, net_binary(n, NET_SUBTRACT, all, tokens), all);
	const Wire past = net_binary(n, NET_LESS_EQUAL, slots, net_unsqueeze(n, own, 1));
	const Wire there = net_convert(n, net_unsqueeze(n, attention_mask, 1), ELEMENT_BOOLEAN);
	Wire mask = net_convert(n, net_binary(n, NET_AND, past, there), ELEMENT_F32);
	mask = net_binary(n, NET_SUBTRACT, mask, net_scalar(n, 1.0f, 3));
	mask = net_binary(n, NET_MULTIPLY, mask, net_scalar(n, 65504.0f, 3));
	l->mask = net_unsqueeze(n, mask, 1);
	const Wire ids = net_shape_of(n, l->ids);
	l->batches = net_gather(n, ids, net_i64(n, SHAPE(1), first), 0);
}

/* In front of the exchange of heads and tokens: compilers know the other order as an operation of
 * their own, some of them wrongly. */
void
lower_rope(Lower *l, const Value *v, Lowered *y)
{
	Net *n = l->n;
	static const Operation joins[] = {NET_SUBTRACT, NET_ADD};
	const Wire factors[][2] = {{l->cos, l->sin}, {l->sin, l->cos}};
	Wire half[2], turned[2];
	net_halves(n, lower_heads(l, v, 0, v->heads), half);
	for (int i = 0; i < 2; i++) {
		const Wire a = net_binary(n, NET_MULTIPLY, half[0], factors[i][0]);
		const Wire b = net_binary(n, NET_MULTIPLY, half[1], factors[i][1]);
		turned[i] = net_binary(n, joins[i], a, b);
	}
	y->x = net_concat(n, turned, 2, 3);
}

/* Past and new rows of one side of the cache, [batch, kv heads, positions, head]. */
static Wire
append_static(Lower *l, const char *side, Wire rows)
{
	const Model *m = l->g->model;
	const int layer = l->g->funcs[l->func].layer;
	const Wire past =
		net_parameter(l->n, arena_printf(l->run, "past_%s.%d", side, layer), ELEMENT_F32,
			      SHAPE(1, m->n_kv_head, l->facts->context, m->head_dim));
	net_result(l->n, arena_printf(l->run, "new_%s.%d", side, layer), rows);
	return net_concat(l->n, (const Wire[]){past, rows}, 2, 2);
}

/* The names are those that GenAI's and OpenVINO's readers of stateful models look for. */
static Wire
append_dynamic(Lower *l, const char *side, Wire rows)
{
	const Model *m = l->g->model;
	const int layer = l->g->funcs[l->func].layer;
	const char *variable = arena_printf(l->run, "past_key_values.%d.%spresent.%d.%s", layer,
					    side, layer, side);
	const int64_t tail[] = {m->n_kv_head, 0, m->head_dim};
	const Wire sizes[] = {l->batches, net_i64(l->n, SHAPE(3), tail)};
	const Wire to = net_concat(l->n, sizes, 2, 0);
	const Wire none = net_broadcast(l->n, net_scalar(l->n, 0.0f, 0), to, false,
					SHAPE(SHAPE_ANY, m->n_kv_head, 0, m->head_dim));
	const Shape shape = SHAPE(SHAPE_ANY, m->n_kv_head, SHAPE_ANY, m->head_dim);
	const Wire past = net_gather(l->n, net_read(l->n, variable, none, shape), l->beams, 0);
	const Wire both = net_concat(l->n, (const Wire[]){past, rows}, 2, 2);
	net_assign(l->n, variable, both);
	return both;
}

void
lower_kv_append(Lower *l, const Value *v, Lowered *y)
{
	static const char *const sides[] = {"key", "value"};
	Wire both[2];
	for (int i = 0; i < 2; i++) {
		const Wire rows = net_transpose(l->n, lower_heads(l, v, i, l->g->model->n_kv_head),
						swap_heads);
		both[i] = l->model->dynamic ? append_dynamic(l, sides[i], rows)
					    : append_static(l, sides[i], rows);
	}
	*y = (Lowered){both[0], both[1]};
}

/* Each KV head for every query head of its group. */
static Wire
spread(const Lower *l, Wire x, uint32_t kv_heads, uint32_t heads)
{
	const Shape from = wire_shape(l->n, x);
	const int64_t group = heads / kv_heads, positions = from.dims[2], d = from.dims[3];
	const int64_t times[] = {1, 1, group, 1, 1};
	if (group == 1)
		return x;
	const Wire one = net_unsqueeze(l->n, x, 2);
	const Wire wide = net_broadcast(l->n, one, net_i64(l->n, SHAPE(5), times), true,
					SHAPE(from.dims[0], kv_heads, group, positions, d));
	return net_reshape(l->n, wide, SHAPE(0, heads, SHAPE_ANY, d));
}

void
lower_attention(Lower *l, const Value *v, Lowered *y)
{
	const Lowered *cache = &l->values[v->operands[1]];
	const Wire q = net_transpose(l->n, lower_heads(l, v, 0, v->heads), swap_heads);
	const Wire keys = spread(l, cache->x, v->kv_heads, v->heads);
	const Wire vals = spread(l, cache->vals, v->kv_heads, v->heads);
	y->x = net_transpose(l->n, net_attention(l->n, q, keys, vals, l->mask), swap_heads);
}
