/* Operations with the types and shapes of their results. */
#include "net_impl.h"

#include <string.h>

enum { NET_FIRST = 256 };

const OperationInfo operation_table[OPERATIONS] = {
#define OPERATION(e, type, opset, inputs, outputs, attributes) \
	{type, opset, inputs, outputs, attributes},
#include "operations.def"
};

/* ---- nodes ---------------------------------------------------------------------------------- */

Net *
net_new(Arena *run, const char *name, Bin *bin)
{
	Net *n = ARENA_NEW(run, Net);
	n->run = run;
	n->name = arena_printf(run, "%s", name);
	n->bin = bin;
	return n;
}

/* An array with room for one more element. */
static void *
grown(Arena *run, void *array, int count, int *capacity, size_t size)
{
	if (count < *capacity)
		return array;
	*capacity = *capacity ? 2 * *capacity : NET_FIRST;
	void *larger = arena_array(run, (size_t)*capacity, size);
	if (count)
		memcpy(larger, array, (size_t)count * size);
	return larger;
}

static int
words(const char *s)
{
	int n = *s != 0;
	for (; *s; s++)
		n += *s == ' ';
	return n;
}

/*
 * One node; every output has the same type and shape. values: of all attributes in the table's
 * order and a null, kept as they are.
 */
static Wire
node_add(Net *n, Operation op, int n_inputs, const Wire *inputs, Element element, Shape shape,
	 const char *const *values)
{
	const OperationInfo *info = &operation_table[op];
	const int n_values = words(info->attributes);
	Node node = {.op = op, .n_inputs = n_inputs, .first = n->n_wires};
	INVARIANT(n_inputs >= info->inputs);
	node.inputs = ARENA_ARRAY(n->run, Wire, n_inputs);
	for (int i = 0; i < n_inputs; i++) {
		INVARIANT(inputs[i] >= 0 && inputs[i] < n->n_wires);
		node.inputs[i] = inputs[i];
	}
	node.values = ARENA_ARRAY(n->run, const char *, n_values);
	for (int i = 0; i < n_values; i++) {
		INVARIANT(values[i] != NULL);
		node.values[i] = values[i];
	}
	INVARIANT(values[n_values] == NULL);
	n->nodes = grown(n->run, n->nodes, n->n_nodes, &n->node_capacity, sizeof *n->nodes);
	n->nodes[n->n_nodes++] = node;
	for (int i = 0; i < info->outputs; i++) {
		n->wires = grown(n->run, n->wires, n->n_wires, &n->wire_capacity, sizeof *n->wires);
		n->wires[n->n_wires++] =
			(WireInfo){.node = n->n_nodes - 1, .element = element, .shape = shape};
	}
	return node.first;
}

#define VALUES(...) ((const char *const[]){__VA_ARGS__, NULL})
static const char *const no_values[] = {NULL};
static const char *const numpy_values[] = {"numpy", NULL};

static const WireInfo *
wire_at(const Net *n, Wire w)
{
	INVARIANT(w >= 0 && w < n->n_wires);
	return &n->wires[w];
}

Element
wire_element(const Net *n, Wire w)
{
	return wire_at(n, w)->element;
}

Shape
wire_shape(const Net *n, Wire w)
{
	return wire_at(n, w)->shape;
}

void
net_name(Net *n, Wire w, const char *name)
{
	INVARIANT(w >= 0 && w < n->n_wires && *name && !strchr(name, ','));
	WireInfo *wire = &n->wires[w];
	wire->names = wire->names ? arena_printf(n->run, "%s,%s", wire->names, name)
				  : arena_printf(n->run, "%s", name);
}

static void
node_name(Net *n, const char *name)
{
	n->nodes[n->n_nodes - 1].name = name;
}

/* "1,?,64". */
static const char *
shape_text(Arena *run, Shape s)
{
	Text *t = text_new(run);
	for (int i = 0; i < s.rank; i++)
		if (s.dims[i] == SHAPE_ANY)
			text_printf(t, "%s?", i ? "," : "");
		else
			text_printf(t, "%s%lld", i ? "," : "", (long long)s.dims[i]);
	return t->text;
}

/* ---- what comes in and goes out ------------------------------------------------------------- */

Wire
net_parameter(Net *n, const char *name, Element element, Shape shape)
{
	const Wire w = node_add(n, NET_PARAMETER, 0, NULL, element, shape,
				VALUES(shape_text(n->run, shape), element_table[element].type));
	node_name(n, arena_printf(n->run, "%s", name));
	net_name(n, w, name);
	return w;
}

void
net_result(Net *n, const char *name, Wire x)
{
	net_name(n, x, name);
	node_add(n, NET_RESULT, 1, &x, wire_element(n, x), wire_shape(n, x), no_values);
	node_name(n, arena_printf(n->run, "%s/sink", name));
}

Wire
net_read(Net *n, const char *variable, Wire first, Shape shape)
{
	const Element e = wire_element(n, first);
	return node_add(n, NET_READ, 1, &first, e, shape,
			VALUES(arena_printf(n->run, "%s", variable), element_table[e].type,
			       shape_text(n->run, shape)));
}

void
net_assign(Net *n, const char *variable, Wire x)
{
	node_add(n, NET_ASSIGN, 1, &x, wire_element(n, x), wire_shape(n, x),
		 VALUES(arena_printf(n->run, "%s", variable)));
}

/* ---- constants ------------------------------------------------------------------------------ */

Wire
net_part(Net *n, const BinPart *p)
{
	return node_add(n, NET_CONST, 0, NULL, p->element, p->shape,
			VALUES(element_table[p->element].type, shape_text(n->run, p->shape),
			       arena_printf(n->run, "%llu", (unsigned long long)p->offset),
			       arena_printf(n->run, "%llu", (unsigned long long)p->bytes)));
}

static Wire
constant(Net *n, Element element, Shape shape, const void *data)
{
	const BinPart p = bin_add(n->bin, element, shape, data);
	return net_part(n, &p);
}

Wire
net_f32(Net *n, Shape shape, const float *values)
{
	return constant(n, ELEMENT_F32, shape, values);
}

Wire
net_scalar(Net *n, float value, int rank)
{
	Shape s = {.rank = rank};
	INVARIANT(rank >= 0 && rank <= SHAPE_RANK);
	for (int i = 0; i < rank; i++)
		s.dims[i] = 1;
	return net_f32(n, s, &value);
}

Wire
net_i64(Net *n, Shape shape, const int64_t *values)
{
	return constant(n, ELEMENT_I64, shape, values);
}

Wire
net_index(Net *n, int64_t value)
{
	return net_i64(n, SHAPE_SCALAR, &value);
}

/* A list of one. */
static Wire
one_i64(Net *n, int64_t value)
{
	return net_i64(n, SHAPE(1), &value);
}

/* ---- shapes --------------------------------------------------------------------------------- */

/* Two that must be equal: the one that is known. */
static int64_t
dim_same(int64_t a, int64_t b)
{
	if (a == SHAPE_ANY)
		return b;
	INVARIANT(b == SHAPE_ANY || a == b);
	return a;
}

static int64_t
dim_broadcast(int64_t a, int64_t b)
{
	return a == 1 ? b : b == 1 ? a : dim_same(a, b);
}

/* numpy's broadcasting: the last dimensions meet. */
static Shape
shape_broadcast(Shape a, Shape b)
{
	const Shape more = a.rank >= b.rank ? a : b, fewer = a.rank >= b.rank ? b : a;
	Shape s = more;
	for (int i = 0, from = more.rank - fewer.rank; i < fewer.rank; i++)
		s.dims[from + i] = dim_broadcast(more.dims[from + i], fewer.dims[i]);
	return s;
}

/* Counted from the end where negative. */
static int
axis_of(Shape s, int axis)
{
	axis = axis < 0 ? axis + s.rank : axis;
	INVARIANT(axis >= 0 && axis < s.rank);
	return axis;
}

static Shape
last_replaced(Shape s, int64_t dim)
{
	INVARIANT(s.rank > 0);
	s.dims[s.rank - 1] = dim;
	return s;
}

/* ---- operations ----------------------------------------------------------------------------- */

Wire
net_convert(Net *n, Wire x, Element to)
{
	return node_add(n, NET_CONVERT, 1, &x, to, wire_shape(n, x),
			VALUES(element_table[to].type));
}

Wire
net_decompress(Net *n, Wire x, Element to)
{
	const Wire w = net_convert(n, x, to);
	n->nodes[n->n_nodes - 1].decompression = true;
	return w;
}

Wire
net_binary(Net *n, Operation op, Wire a, Wire b)
{
	const Element e = wire_element(n, a);
	const Shape s = shape_broadcast(wire_shape(n, a), wire_shape(n, b));
	const bool compares = op == NET_LESS_EQUAL, logical = op == NET_AND;
	INVARIANT(wire_element(n, b) == e && (e == ELEMENT_BOOLEAN) == logical);
	INVARIANT(op == NET_ADD || op == NET_SUBTRACT || op == NET_MULTIPLY || op == NET_DIVIDE ||
		  compares || logical);
	return node_add(n, op, 2, (const Wire[]){a, b}, compares ? ELEMENT_BOOLEAN : e, s,
			op == NET_DIVIDE ? VALUES("numpy", "true") : numpy_values);
}

Wire
net_unary(Net *n, Operation op, Wire x)
{
	INVARIANT(op == NET_SQRT || op == NET_SWISH);
	return node_add(n, op, 1, &x, wire_element(n, x), wire_shape(n, x), no_values);
}

Wire
net_mean(Net *n, Wire x)
{
	const Wire axes = one_i64(n, -1);
	return node_add(n, NET_REDUCE_MEAN, 2, (const Wire[]){x, axes}, wire_element(n, x),
			last_replaced(wire_shape(n, x), 1), VALUES("true"));
}

Wire
net_matmul(Net *n, Wire x, Wire w, bool transposed)
{
	const Shape a = wire_shape(n, x), b = wire_shape(n, w);
	INVARIANT(wire_element(n, x) == wire_element(n, w) && a.rank >= 2 && b.rank >= 2);
	const int64_t inner = b.dims[b.rank - (transposed ? 1 : 2)],
		      columns = b.dims[b.rank - (transposed ? 2 : 1)];
	INVARIANT(transposed || n->nodes[n->wires[w].node].op != NET_CONST);
	dim_same(a.dims[a.rank - 1], inner);
	/* Only what leads is broadcast. */
	Shape lead_a = a, lead_b = b;
	lead_a.rank -= 2;
	lead_b.rank -= 2;
	Shape s = shape_broadcast(lead_a, lead_b);
	s.dims[s.rank++] = a.dims[a.rank - 2];
	s.dims[s.rank++] = columns;
	return node_add(n, NET_MATMUL, 2, (const Wire[]){x, w}, wire_element(n, x), s,
			VALUES("false", transposed ? "true" : "false"));
}

/* What is left for the one dimension that is not given; dimensions kept in their places cancel. */
static int64_t
dim_left(Shape x, Shape dims)
{
	uint64_t whole = 1, given = 1;
	for (int i = 0; i < x.rank; i++) {
		const bool kept = i < dims.rank && dims.dims[i] == 0;
		if (!kept && x.dims[i] == SHAPE_ANY)
			return SHAPE_ANY;
		if (!kept)
			INVARIANT(checked_mul(whole, (uint64_t)x.dims[i], &whole));
	}
	for (int i = 0; i < dims.rank; i++)
		if (dims.dims[i] > 0)
			INVARIANT(checked_mul(given, (uint64_t)dims.dims[i], &given));
	INVARIANT(whole % given == 0);
	return (int64_t)(whole / given);
}

Wire
net_reshape(Net *n, Wire x, Shape dims)
{
	const Shape from = wire_shape(n, x);
	Shape s = dims;
	int open = -1;
	for (int i = 0; i < dims.rank; i++) {
		INVARIANT(dims.dims[i] != SHAPE_ANY || open < 0);
		INVARIANT(dims.dims[i] != 0 || i < from.rank);
		if (dims.dims[i] == SHAPE_ANY)
			open = i;
		else if (dims.dims[i] == 0)
			s.dims[i] = from.dims[i];
	}
	const int64_t left = dim_left(from, dims);
	if (open >= 0)
		s.dims[open] = left;
	else
		INVARIANT(left == SHAPE_ANY || left == 1);
	const Wire to = net_i64(n, SHAPE(dims.rank), dims.dims);
	return node_add(n, NET_RESHAPE, 2, (const Wire[]){x, to}, wire_element(n, x), s,
			VALUES("true"));
}

Wire
net_transpose(Net *n, Wire x, const int *order)
{
	const Shape from = wire_shape(n, x);
	Shape s = from;
	int64_t places[SHAPE_RANK];
	unsigned seen = 0;
	for (int i = 0; i < from.rank; i++) {
		INVARIANT(order[i] >= 0 && order[i] < from.rank && !(seen >> order[i] & 1));
		seen |= 1u << order[i];
		places[i] = order[i];
		s.dims[i] = from.dims[order[i]];
	}
	const Wire by = net_i64(n, SHAPE(from.rank), places);
	return node_add(n, NET_TRANSPOSE, 2, (const Wire[]){x, by}, wire_element(n, x), s,
			no_values);
}

Wire
net_unsqueeze(Net *n, Wire x, int axis)
{
	Shape s = wire_shape(n, x);
	INVARIANT(s.rank < SHAPE_RANK && axis >= 0 && axis <= s.rank);
	for (int i = s.rank++; i > axis; i--)
		s.dims[i] = s.dims[i - 1];
	s.dims[axis] = 1;
	const Wire at = one_i64(n, axis);
	return node_add(n, NET_UNSQUEEZE, 2, (const Wire[]){x, at}, wire_element(n, x), s,
			no_values);
}

Wire
net_broadcast(Net *n, Wire x, Wire to, bool bidirectional, Shape shape)
{
	const Shape list = wire_shape(n, to);
	INVARIANT(wire_element(n, to) == ELEMENT_I64 && list.rank == 1);
	INVARIANT(list.dims[0] == SHAPE_ANY || list.dims[0] == shape.rank);
	shape_broadcast(wire_shape(n, x), shape);
	return node_add(n, NET_BROADCAST, 2, (const Wire[]){x, to}, wire_element(n, x), shape,
			VALUES(bidirectional ? "bidirectional" : "numpy"));
}

void
net_halves(Net *n, Wire x, Wire half[2])
{
	Shape s = wire_shape(n, x);
	const int64_t last = s.dims[axis_of(s, -1)];
	INVARIANT(last > 0 && last % 2 == 0);
	const Wire axis = net_index(n, -1);
	half[0] = node_add(n, NET_SPLIT, 2, (const Wire[]){x, axis}, wire_element(n, x),
			   last_replaced(s, last / 2), VALUES("2"));
	half[1] = half[0] + 1;
}

Wire
net_slice(Net *n, Wire x, int axis, int64_t from, int64_t to)
{
	Shape s = wire_shape(n, x);
	const int at = axis_of(s, axis);
	INVARIANT(from >= 0 && from < to && to <= s.dims[at]);
	s.dims[at] = to - from;
	const Wire in[] = {x, one_i64(n, from), one_i64(n, to), one_i64(n, 1), one_i64(n, at)};
	return node_add(n, NET_SLICE, 5, in, wire_element(n, x), s, no_values);
}

Wire
net_concat(Net *n, const Wire *x, int count, int axis)
{
	INVARIANT(count > 0);
	Shape s = wire_shape(n, x[0]);
	const int at = axis_of(s, axis);
	for (int i = 1; i < count; i++) {
		const Shape more = wire_shape(n, x[i]);
		INVARIANT(wire_element(n, x[i]) == wire_element(n, x[0]) && more.rank == s.rank);
		for (int k = 0; k < s.rank; k++)
			if (k != at)
				s.dims[k] = dim_same(s.dims[k], more.dims[k]);
			else if (s.dims[k] == SHAPE_ANY || more.dims[k] == SHAPE_ANY)
				s.dims[k] = SHAPE_ANY;
			else
				s.dims[k] += more.dims[k];
	}
	return node_add(n, NET_CONCAT, count, x, wire_element(n, x[0]), s,
			VALUES(arena_printf(n->run, "%d", axis)));
}

Wire
net_gather(Net *n, Wire x, Wire indices, int axis)
{
	const Shape from = wire_shape(n, x), in = wire_shape(n, indices);
	const Element e = wire_element(n, indices);
	Shape s = {0};
	const int at = axis_of(from, axis);
	INVARIANT((e == ELEMENT_I64 || e == ELEMENT_I32) && from.rank - 1 + in.rank <= SHAPE_RANK);
	for (int i = 0; i < at; i++)
		s.dims[s.rank++] = from.dims[i];
	for (int i = 0; i < in.rank; i++)
		s.dims[s.rank++] = in.dims[i];
	for (int i = at + 1; i < from.rank; i++)
		s.dims[s.rank++] = from.dims[i];
	const Wire along = net_index(n, at);
	return node_add(n, NET_GATHER, 3, (const Wire[]){x, indices, along}, wire_element(n, x), s,
			VALUES("0"));
}

Wire
net_shape_of(Net *n, Wire x)
{
	return node_add(n, NET_SHAPE_OF, 1, &x, ELEMENT_I64, SHAPE(wire_shape(n, x).rank),
			VALUES("i64"));
}

Wire
net_range(Net *n, Wire from, Wire to)
{
	INVARIANT(wire_element(n, from) == ELEMENT_I64 && wire_element(n, to) == ELEMENT_I64);
	INVARIANT(wire_shape(n, from).rank == 0 && wire_shape(n, to).rank == 0);
	const Wire step = net_index(n, 1);
	return node_add(n, NET_RANGE, 3, (const Wire[]){from, to, step}, ELEMENT_I64,
			SHAPE(SHAPE_ANY), VALUES("i64"));
}

Wire
net_attention(Net *n, Wire q, Wire k, Wire v, Wire mask)
{
	const Shape a = wire_shape(n, q), b = wire_shape(n, k), c = wire_shape(n, v);
	INVARIANT(a.rank == b.rank && a.rank == c.rank && a.rank >= 3);
	for (int i = 0; i < a.rank - 2; i++) {
		dim_same(a.dims[i], b.dims[i]);
		dim_same(a.dims[i], c.dims[i]);
	}
	dim_same(a.dims[a.rank - 1], b.dims[a.rank - 1]);
	dim_same(b.dims[a.rank - 2], c.dims[a.rank - 2]);
	shape_broadcast(wire_shape(n, mask), last_replaced(a, b.dims[a.rank - 2]));
	return node_add(n, NET_ATTENTION, 4, (const Wire[]){q, k, v, mask}, wire_element(n, q),
			last_replaced(a, c.dims[a.rank - 1]), VALUES("false"));
}
