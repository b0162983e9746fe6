/*
 * Transforms as operations of OpenVINO: the net that npu_transform makes for each expression of
 * row_transform_cases.def and some small ones, computed here operation by operation from its
 * constants in the .bin, against transform_apply. Batch and tokens are known only when it runs.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "targets/npu/net_impl.h"
#include "targets/npu/npu.h"
#include "tests/exec/row_transform_cases.h"

enum { BATCH = 2, TOKENS = 3 };

/* What a wire carries. */
typedef struct Tensor64 {
	Shape shape;
	double *data;
} Tensor64;

typedef struct Machine {
	Arena *a;
	const Net *n;
	const uint8_t *bin;
	Tensor64 *wires;
} Machine;

static Tensor64
tensor_new(Machine *m, Shape s)
{
	return (Tensor64){s, ARENA_ARRAY(m->a, double, shape_elements(s))};
}

static Tensor64
in(const Machine *m, const Node *node, int i)
{
	return m->wires[node->inputs[i]];
}

/* The offset of a dimension's step, 0 where it is broadcast. */
static size_t
step_of(Shape s, int from_end)
{
	size_t step = 1;
	if (from_end >= s.rank || s.dims[s.rank - 1 - from_end] == 1)
		return 0;
	for (int i = 0; i < from_end; i++)
		step *= (size_t)s.dims[s.rank - 1 - i];
	return step;
}

static Tensor64
run_const(Machine *m, const Node *node)
{
	const WireInfo *w = &m->n->wires[node->first];
	const uint8_t *at = m->bin + strtoull(node->values[2], NULL, 10);
	Tensor64 t = tensor_new(m, w->shape);
	for (size_t i = 0; i < shape_elements(t.shape); i++) {
		float f = 0.0f;
		int64_t n = 0;
		if (w->element == ELEMENT_F32)
			memcpy(&f, at + sizeof f * i, sizeof f);
		else
			memcpy(&n, at + sizeof n * i, sizeof n);
		t.data[i] = w->element == ELEMENT_F32 ? (double)f : (double)n;
	}
	assert_true(w->element == ELEMENT_F32 || w->element == ELEMENT_I64);
	return t;
}

/* By OpenVINO's special_zero: 0 keeps, -1 takes what is left. */
static Tensor64
run_reshape(Machine *m, const Node *node)
{
	const Tensor64 x = in(m, node, 0), to = in(m, node, 1);
	Tensor64 y = {{.rank = (int)to.shape.dims[0]}, x.data};
	int64_t given = 1;
	int open = -1;
	for (int i = 0; i < y.shape.rank; i++) {
		y.shape.dims[i] = (int64_t)to.data[i] == 0 ? x.shape.dims[i] : (int64_t)to.data[i];
		if (y.shape.dims[i] < 0)
			open = i;
		else
			given *= y.shape.dims[i];
	}
	if (open >= 0)
		y.shape.dims[open] = (int64_t)shape_elements(x.shape) / given;
	assert_int_equal(shape_elements(y.shape), shape_elements(x.shape));
	return y;
}

/* Every element of a tensor of rank up to 4, its indexes in `at`. */
static bool
next(Shape s, int64_t at[SHAPE_RANK])
{
	for (int i = s.rank; i-- > 0;) {
		if (++at[i] < s.dims[i])
			return true;
		at[i] = 0;
	}
	return false;
}

static Tensor64
run_transpose(Machine *m, const Node *node)
{
	const Tensor64 x = in(m, node, 0), order = in(m, node, 1);
	Shape s = x.shape;
	int64_t at[SHAPE_RANK] = {0};
	size_t i = 0;
	for (int k = 0; k < s.rank; k++)
		s.dims[k] = x.shape.dims[(int)order.data[k]];
	Tensor64 y = tensor_new(m, s);
	do {
		size_t from = 0;
		for (int k = 0; k < s.rank; k++) {
			size_t step = 1;
			for (int l = (int)order.data[k] + 1; l < s.rank; l++)
				step *= (size_t)x.shape.dims[l];
			from += step * (size_t)at[k];
		}
		y.data[i++] = x.data[from];
	} while (next(s, at));
	return y;
}

static Tensor64
run_binary(Machine *m, const Node *node)
{
	const Tensor64 a = in(m, node, 0), b = in(m, node, 1);
	Shape s = a.shape.rank >= b.shape.rank ? a.shape : b.shape;
	int64_t at[SHAPE_RANK] = {0};
	size_t i = 0;
	for (int k = 0; k < s.rank; k++) {
		const Shape other = a.shape.rank >= b.shape.rank ? b.shape : a.shape;
		const int64_t d = k < other.rank ? other.dims[other.rank - 1 - k] : 1;
		int64_t *own = &s.dims[s.rank - 1 - k];
		assert_true(*own == d || *own == 1 || d == 1);
		*own = *own == 1 ? d : *own;
	}
	Tensor64 y = tensor_new(m, s);
	do {
		size_t p = 0, q = 0;
		for (int k = 0; k < s.rank; k++) {
			p += step_of(a.shape, k) * (size_t)at[s.rank - 1 - k];
			q += step_of(b.shape, k) * (size_t)at[s.rank - 1 - k];
		}
		y.data[i++] = node->op == NET_ADD	 ? a.data[p] + b.data[q]
			      : node->op == NET_SUBTRACT ? a.data[p] - b.data[q]
							 : a.data[p] * b.data[q];
	} while (next(s, at));
	return y;
}

/* By a matrix whose rows are results: transpose_b. */
static Tensor64
run_matmul(Machine *m, const Node *node)
{
	const Tensor64 x = in(m, node, 0), w = in(m, node, 1);
	const size_t k = (size_t)w.shape.dims[1], rows = (size_t)w.shape.dims[0];
	Shape s = x.shape;
	assert_int_equal(w.shape.rank, 2);
	assert_int_equal(s.dims[s.rank - 1], k);
	assert_string_equal(node->values[0], "false");
	assert_string_equal(node->values[1], "true");
	s.dims[s.rank - 1] = (int64_t)rows;
	Tensor64 y = tensor_new(m, s);
	for (size_t i = 0; i < shape_elements(s); i++)
		for (size_t j = 0; j < k; j++)
			y.data[i] += x.data[i / rows * k + j] * w.data[i % rows * k + j];
	return y;
}

/* Gather and Slice along the last axis. */
static Tensor64
run_pick(Machine *m, const Node *node)
{
	const bool gathers = node->op == NET_GATHER;
	const Tensor64 x = in(m, node, 0), from = in(m, node, 1);
	Shape s = x.shape;
	const size_t width = (size_t)s.dims[s.rank - 1];
	const size_t first = gathers ? 0 : (size_t)from.data[0];
	const size_t count =
		gathers ? (size_t)from.shape.dims[0] : (size_t)in(m, node, 2).data[0] - first;
	assert_int_equal((int)in(m, node, gathers ? 2 : 4).data[0], s.rank - 1);
	s.dims[s.rank - 1] = (int64_t)count;
	Tensor64 y = tensor_new(m, s);
	for (size_t i = 0; i < shape_elements(s); i++) {
		const size_t k = gathers ? (size_t)from.data[i % count] : first + i % count;
		assert_true(k < width);
		y.data[i] = x.data[i / count * width + k];
	}
	return y;
}

static Tensor64
run_concat(Machine *m, const Node *node)
{
	Shape s = in(m, node, 0).shape;
	const size_t runs = shape_elements(s) / (size_t)s.dims[s.rank - 1];
	size_t width = 0, at = 0;
	for (int i = 0; i < node->n_inputs; i++)
		width += (size_t)in(m, node, i).shape.dims[s.rank - 1];
	s.dims[s.rank - 1] = (int64_t)width;
	Tensor64 y = tensor_new(m, s);
	for (int i = 0; i < node->n_inputs; i++) {
		const Tensor64 x = in(m, node, i);
		const size_t own = (size_t)x.shape.dims[s.rank - 1];
		for (size_t r = 0; r < runs; r++)
			memcpy(y.data + r * width + at, x.data + r * own, own * sizeof *x.data);
		at += own;
	}
	return y;
}

static Tensor64 (*const run_ops[OPERATIONS])(Machine *m, const Node *node) = {
	[NET_CONST] = run_const,   [NET_RESHAPE] = run_reshape, [NET_TRANSPOSE] = run_transpose,
	[NET_ADD] = run_binary,	   [NET_SUBTRACT] = run_binary, [NET_MULTIPLY] = run_binary,
	[NET_MATMUL] = run_matmul, [NET_GATHER] = run_pick,	[NET_SLICE] = run_pick,
	[NET_CONCAT] = run_concat,
};

/* What the net makes of x [BATCH][TOKENS][width]. */
static Tensor64
run(Arena *a, const Net *n, const uint8_t *bin, uint32_t width, double *x, Wire result)
{
	Machine m = {a, n, bin, ARENA_ARRAY(a, Tensor64, (size_t)n->n_wires)};
	for (int i = 0; i < n->n_nodes; i++) {
		const Node *node = &n->nodes[i];
		if (node->op == NET_PARAMETER)
			m.wires[node->first] = (Tensor64){SHAPE(BATCH, TOKENS, width), x};
		else if (run_ops[node->op])
			m.wires[node->first] = run_ops[node->op](&m, node);
		else
			fail_msg("operation %s is not computed here",
				 operation_table[node->op].type);
	}
	return m.wires[result];
}

static void
check(const char *name, const Transform *t)
{
	Arena *a = arena_new();
	const char *path = arena_printf(a, "%s/npu_transform.%ld.bin",
					getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp", (long)rand());
	uint8_t digest[32];
	uint64_t seed = 7;
	const uint32_t n = t->n, n_out = t->n_out, span = transform_span(t);
	const char *error;
	Mapped file = {0};
	Bin *bin = bin_open(a, path);
	Net *net = net_new(a, "test", bin);
	const Wire x = net_parameter(net, "x", ELEMENT_F32, SHAPE(SHAPE_ANY, SHAPE_ANY, n));
	const Wire y = npu_transform(net, x, t);
	net_scalar(net, 0.0f, 1); /* a file that is never empty */
	const Shape shape = wire_shape(net, y);
	bin_close(bin, digest);
	if (!file_map(path, &file, &error))
		fail_msg("%s: %s", path, error);
	double *rows = ARENA_ARRAY(a, double, (size_t)BATCH *TOKENS *n);
	double *wanted = ARENA_ARRAY(a, double, (size_t)BATCH *TOKENS *span);
	double *work = ARENA_ARRAY(a, double, span);
	for (size_t i = 0; i < (size_t)BATCH * TOKENS * n; i++)
		wanted[i / n * span + i % n] = rows[i] = case_draw(&seed);
	const Tensor64 got = run(a, net, file.data, n, rows, y);
	double most = 0.0, off = 0.0;
	for (size_t r = 0; r < (size_t)BATCH * TOKENS; r++)
		transform_apply(t, wanted + r * span, work);
	assert_true(shape_equal(shape, SHAPE(SHAPE_ANY, SHAPE_ANY, n_out)));
	assert_true(shape_equal(got.shape, SHAPE(BATCH, TOKENS, n_out)));
	for (size_t i = 0; i < (size_t)BATCH * TOKENS * n_out; i++) {
		const double want = wanted[i / n_out * span + i % n_out];
		most = fmax(most, fabs(want));
		off = fmax(off, fabs(want - got.data[i]));
	}
	if (!(off <= 1e-6 * most))
		fail_msg("%s: off by %g of %g", name, off, most);
	file_unmap(&file);
	remove(path);
	arena_free(a);
}

static void
cases_of_rows(void **state)
{
	(void)state;
	for (int i = 0; i < TRANSFORM_CASES; i++) {
		Arena *a = arena_new();
		check(transform_cases[i].name, transform_case(a, i));
		arena_free(a);
	}
}

/* Kinds at orders that stay structured, and ones that no case of rows has. */
static void
other_cases(void **state)
{
	static const char *const texts[] = {
		"I(5)",
		"T(H(144, paley1(71)))",
		"T(H(56, paley1(27)))",
		"H(32768)",
		"pad(20, 100) * H(20, paley1(19))",
		"T(pad(20, 24)) * H(24, paley1(11)) * pad(20, 24)",
		"pad(5, 260)",
		"H(512, paley1(127))",
		"G(300, 299, 0, -1.25)",
		"so192",
		"C(130, -3)",
		"perm7",
		"d3 (x) perm4 (x) house50",
		"block(I(3) (x) perm5 (x) H(16), 480)",
		"house200 (+) I(4) (+) d6",
		"block(house10 (+) H(2), 36)",
		"(so130 (+) perm6) (x) H(4)",
	};
	(void)state;
	for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
		Arena *a = arena_new();
		const char *s = texts[i], *why = "";
		const Transform *t = transform_parse(a, &s, case_named, a, &why);
		if (!t || *s)
			fail_msg("%s: %s", texts[i], why);
		check(texts[i], t);
		arena_free(a);
	}
}

/* No structured transform has a matrix beyond 128, unless its base is larger. */
static void
small_matrices(void **state)
{
	static const struct {
		const char *text, *words;
	} rows[] = {
		{"H(576, paley2(17))", "products by 16 and 36"},
		{"H(1536, paley1(11))", "products by 32 and 48"},
		{"H(4096)", "products by 64 and 64"},
		{"H(512, paley1(127))", "products by 4 and 128"},
		{"block(H(64), 576)", "product by 64"},
		{"block(H(512), 1536)", "products by 32 and 16"},
		{"q12 (x) q128", "product by 128, product by 12"},
		{"H(1536, paley1(11)) * d1536", "factors, products by 32 and 48"},
		{"house1536", "reflection of rank 1"},
		{"perm1536", "gather"},
	};
	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		Arena *a = arena_new();
		const char *s = rows[i].text, *why = "";
		Text *words = text_new(a);
		const Transform *t = transform_parse(a, &s, case_named, a, &why);
		assert_non_null(t);
		npu_transform_words(words, t);
		assert_string_equal(words->text, rows[i].words);
		arena_free(a);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(cases_of_rows),
		cmocka_unit_test(other_cases),
		cmocka_unit_test(small_matrices),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
