/*
 * Nets of the target npu: the .bin and the XML. `npu_net_test write FOLDER` writes a net a case,
 * which tests/exec/npu_net.sh compares with OpenVINO: results, shapes, attributes.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "ir/format.h"
#include "targets/npu/net.h"

/* ---- cases: every operation and element type ------------------------------------------------ */

static void
result(Net *n, Wire x)
{
	char name[32];
	snprintf(name, sizeof name, "y%d", x);
	net_result(n, name, x);
}

static void
arithmetic(Net *n, Bin *bin)
{
	(void)bin;
	const Wire a = net_parameter(n, "a", ELEMENT_F32, SHAPE(2, 1, 4)),
		   b = net_parameter(n, "b", ELEMENT_F32, SHAPE(3, 1));
	const Wire mean = net_mean(n, net_binary(n, NET_MULTIPLY, a, a));
	result(n, net_binary(n, NET_ADD, a, b));
	result(n, net_binary(n, NET_SUBTRACT, b, a));
	result(n, net_binary(n, NET_DIVIDE, a,
			     net_unary(n, NET_SQRT,
				       net_binary(n, NET_ADD, mean, net_scalar(n, 1e-5f, 3)))));
	result(n, net_unary(n, NET_SWISH, a));
}

static void
products(Net *n, Bin *bin)
{
	(void)bin;
	float w[48];
	for (int i = 0; i < 48; i++)
		w[i] = (float)(i * 7 % 11) - 5.0f;
	const Wire x = net_parameter(n, "x", ELEMENT_F32, SHAPE(1, 5, 8)),
		   h = net_parameter(n, "h", ELEMENT_F32, SHAPE(1, 3, 5, 8)),
		   k = net_parameter(n, "k", ELEMENT_F32, SHAPE(2, 1, 4, 8)),
		   any = net_parameter(n, "any", ELEMENT_F32, SHAPE(SHAPE_ANY, SHAPE_ANY, 8));
	result(n, net_matmul(n, x, net_f32(n, SHAPE(6, 8), w), true));
	result(n, net_matmul(n, x, net_parameter(n, "w", ELEMENT_F32, SHAPE(8, 6)), false));
	result(n, net_matmul(n, h, k, true));
	result(n, net_matmul(n, any, net_f32(n, SHAPE(6, 8), w), true));
}

/* Codes of `element` less `zero`, times scales of groups, as one matrix. */
static Wire
matrix(Net *n, Bin *bin, Element element, Element scale, float zero)
{
	enum { ROWS = 5, GROUPS = 3, WIDTH = 8, BYTES = ROWS * GROUPS * WIDTH * 4 };
	uint8_t codes[BYTES];
	float scales[ROWS * GROUPS];
	uint16_t halves[ROWS * GROUPS];
	for (int i = 0; i < BYTES; i++)
		codes[i] = (uint8_t)(i * 37 + i / 8);
	for (int i = 0; i < ROWS * GROUPS; i++) {
		scales[i] = (float)(i % 7 - 3) / 8.0f;
		halves[i] = f32_to_f16(scales[i]);
	}
	const BinPart p = bin_add(bin, element, SHAPE(ROWS, GROUPS, WIDTH), codes);
	const BinPart s = scale == ELEMENT_F16
				  ? bin_add(bin, scale, SHAPE(ROWS, GROUPS, 1), halves)
				  : bin_add(bin, scale, SHAPE(ROWS, GROUPS, 1), scales);
	Wire w = net_convert(n, net_part(n, &p), ELEMENT_F32), by = net_part(n, &s);
	if (zero != 0.0f)
		w = net_binary(n, NET_SUBTRACT, w, net_scalar(n, zero, 1));
	if (scale == ELEMENT_F16)
		by = net_decompress(n, by, ELEMENT_F32);
	return net_reshape(n, net_binary(n, NET_MULTIPLY, w, by), SHAPE(ROWS, SHAPE_ANY));
}

static void
weights(Net *n, Bin *bin)
{
	const Wire x = net_parameter(n, "x", ELEMENT_F32, SHAPE(1, 4, 24));
	static const struct {
		Element codes, scale;
		float zero;
	} forms[] = {{ELEMENT_I4, ELEMENT_F32, 0},  {ELEMENT_I4, ELEMENT_F16, 0},
		     {ELEMENT_I8, ELEMENT_F16, 0},  {ELEMENT_U4, ELEMENT_F32, 7.25f},
		     {ELEMENT_U8, ELEMENT_F32, 99}, {ELEMENT_U2, ELEMENT_F32, 2}};
	for (size_t i = 0; i < sizeof forms / sizeof *forms; i++)
		result(n, net_matmul(n, x,
				     matrix(n, bin, forms[i].codes, forms[i].scale, forms[i].zero),
				     true));
	uint16_t halves[2 * 24];
	for (int i = 0; i < 2 * 24; i++)
		halves[i] = f32_to_f16((float)(i % 5) - 1.5f);
	const BinPart p = bin_add(bin, ELEMENT_F16, SHAPE(2, 24), halves);
	result(n, net_matmul(n, x, net_decompress(n, net_part(n, &p), ELEMENT_F32), true));
}

static void
shapes(Net *n, Bin *bin)
{
	(void)bin;
	const Wire x = net_parameter(n, "x", ELEMENT_F32, SHAPE(2, 3, 8));
	static const int turned[] = {0, 2, 1, 3}, last[] = {2, 0, 1};
	Wire half[2];
	const Wire heads = net_reshape(n, x, SHAPE(0, 0, 2, 4));
	const Wire t = net_transpose(n, heads, turned);
	net_halves(n, t, half);
	const Wire joined = net_concat(n, (const Wire[]){half[1], half[0], t}, 3, -1);
	result(n, joined);
	result(n, net_reshape(n, t, SHAPE(SHAPE_ANY, 12)));
	result(n, net_transpose(n, x, last));
	result(n, net_unsqueeze(n, x, 1));
	result(n, net_unsqueeze(n, x, 3));
	result(n, net_slice(n, x, 2, 1, 6));
	result(n, net_slice(n, x, -2, 0, 2));
	const int64_t order[] = {2, 0, 0};
	result(n, net_gather(n, x, net_i64(n, SHAPE(3), order), 1));
	result(n, net_gather(n, x, net_index(n, 1), 0));
	const int64_t to[] = {1, 1, 4, 1, 1}, up[] = {5, 2, 3, 8};
	result(n, net_broadcast(n, net_unsqueeze(n, heads, 2), net_i64(n, SHAPE(5), to), true,
				SHAPE(2, 3, 4, 2, 4)));
	result(n, net_broadcast(n, x, net_i64(n, SHAPE(4), up), false, SHAPE(5, 2, 3, 8)));
	net_name(n, joined, "a \"second\" <name> & 'more'");
}

/* The mask of a stateful model, by slot, and rows looked up, in sizes known when it runs. */
static void
sizes(Net *n, Bin *bin)
{
	(void)bin;
	enum { ANY = SHAPE_ANY };
	const Wire ids = net_parameter(n, "ids", ELEMENT_I64, SHAPE(ANY, ANY)),
		   seen = net_parameter(n, "seen", ELEMENT_I64, SHAPE(ANY, ANY));
	float table[6];
	for (int i = 0; i < 6; i++)
		table[i] = (float)i;
	const Wire rows =
		net_gather(n, net_f32(n, SHAPE(2, 3), table), net_convert(n, ids, ELEMENT_I32), 0);
	const Wire keys = net_gather(n, net_shape_of(n, seen), net_index(n, 1), 0),
		   tokens = net_gather(n, net_shape_of(n, rows), net_index(n, 1), 0);
	const Wire slots = net_range(n, net_index(n, 0), keys),
		   of_query = net_unsqueeze(
			   n, net_range(n, net_binary(n, NET_SUBTRACT, keys, tokens), keys), 1);
	const Wire allowed = net_binary(n, NET_AND, net_binary(n, NET_LESS_EQUAL, slots, of_query),
					net_convert(n, net_unsqueeze(n, seen, 1), ELEMENT_BOOLEAN));
	result(n, rows);
	result(n, net_reshape(n, rows, SHAPE(0, 0, 1, 3)));
	result(n, net_reshape(n, net_reshape(n, rows, SHAPE(0, 0, 1, 3)), SHAPE(0, 0, ANY)));
	result(n, net_convert(n, allowed, ELEMENT_F32));
	result(n, net_binary(n, NET_ADD, rows, net_f32(n, SHAPE(3, 1), table)));
}

/* Keys and values kept between calls: the CPU plugin takes rows that grow from none only like this.
 */
static void
state(Net *n, Bin *bin)
{
	enum { ANY = SHAPE_ANY };
	(void)bin;
	const Wire q = net_parameter(n, "q", ELEMENT_F32, SHAPE(ANY, 2, ANY, 4)),
		   beam = net_parameter(n, "beam", ELEMENT_I32, SHAPE(ANY)),
		   mask = net_parameter(n, "mask", ELEMENT_F32, SHAPE(ANY, 1, ANY, ANY));
	const int64_t zero[] = {0}, rest[] = {2, 0, 4};
	const Wire batch = net_gather(n, net_shape_of(n, q), net_i64(n, SHAPE(1), zero), 0);
	const Wire shape = net_concat(n, (const Wire[]){batch, net_i64(n, SHAPE(3), rest)}, 2, 0);
	const Wire first = net_broadcast(n, net_scalar(n, 0, 0), shape, false, SHAPE(ANY, 2, 0, 4));
	static const char *const names[] = {"key", "value"};
	Wire all[2];
	for (int i = 0; i < 2; i++) {
		const Wire x = net_parameter(n, names[i], ELEMENT_F32, SHAPE(ANY, 2, ANY, 4)),
			   kept = net_read(n, names[i], first, SHAPE(ANY, 2, ANY, 4));
		all[i] = net_concat(n, (const Wire[]){net_gather(n, kept, beam, 0), x}, 2, -2);
		net_assign(n, names[i], all[i]);
	}
	result(n, net_attention(n, q, all[0], all[1], mask));
}

static void
attention(Net *n, Bin *bin)
{
	(void)bin;
	const Wire q = net_parameter(n, "q", ELEMENT_F32, SHAPE(1, 4, 3, 8)),
		   k = net_parameter(n, "k", ELEMENT_F32, SHAPE(1, 4, 5, 8)),
		   v = net_parameter(n, "v", ELEMENT_F32, SHAPE(1, 4, 5, 8)),
		   mask = net_parameter(n, "mask", ELEMENT_F32, SHAPE(1, 1, 3, 5));
	result(n, net_attention(n, q, k, v, mask));
}

static const struct {
	const char *name;
	void (*make)(Net *n, Bin *bin);
} cases[] = {
	{"arithmetic", arithmetic}, {"products", products}, {"weights", weights},
	{"shapes", shapes},	    {"sizes", sizes},	    {"state", state},
	{"attention", attention},
};
enum { CASES = sizeof cases / sizeof *cases };

/* All cases share one .bin. */
static void
write_cases(Arena *run, const char *folder)
{
	Bin *bin = bin_open(run, arena_printf(run, "%s/nets.bin", folder));
	for (int i = 0; i < CASES; i++) {
		Text *t = text_new(run);
		Net *n = net_new(run, cases[i].name, bin);
		cases[i].make(n, bin);
		net_print(t, n);
		outfile_text(run, arena_printf(run, "%s/%s.xml", folder, cases[i].name), t);
	}
	bin_close(bin, NULL);
}

/* ---- tests of the text and of the .bin ------------------------------------------------------ */

static int
make_folder(void **state_of_test)
{
	static char folder[32];
	snprintf(folder, sizeof folder, "/tmp/npu_net_XXXXXX");
	*state_of_test = mkdtemp(folder);
	return *state_of_test ? 0 : -1;
}

static int
remove_folder(void **state_of_test)
{
	remove_tree(*state_of_test);
	return 0;
}

/* The whole text of a small net, every port and attribute written by hand. */
static void
test_text(void **state_of_test)
{
	static const char expected[] =
		"<?xml version=\"1.0\"?>\n"
		"<net name=\"small &amp; plain\" version=\"11\">\n"
		"<layers>\n"
		"<layer id=\"0\" name=\"x\" type=\"Parameter\" version=\"opset1\">"
		"<data shape=\"1,?,4\" element_type=\"f32\"/><output>"
		"<port id=\"0\" precision=\"FP32\" names=\"x\">"
		"<dim>1</dim><dim>-1</dim><dim>4</dim></port></output></layer>\n"
		"<layer id=\"1\" name=\"Const_1\" type=\"Const\" version=\"opset1\">"
		"<data element_type=\"i64\" shape=\"\" offset=\"0\" size=\"8\"/><output>"
		"<port id=\"0\" precision=\"I64\"></port></output></layer>\n"
		"<layer id=\"2\" name=\"Split_2\" type=\"Split\" version=\"opset1\">"
		"<data num_splits=\"2\"/><input>"
		"<port id=\"0\" precision=\"FP32\"><dim>1</dim><dim>-1</dim><dim>4</dim></port>"
		"<port id=\"1\" precision=\"I64\"></port></input><output>"
		"<port id=\"2\" precision=\"FP32\"><dim>1</dim><dim>-1</dim><dim>2</dim></port>"
		"<port id=\"3\" precision=\"FP32\" names=\"y\">"
		"<dim>1</dim><dim>-1</dim><dim>2</dim></port></output></layer>\n"
		"<layer id=\"3\" name=\"y/sink\" type=\"Result\" version=\"opset1\"><input>"
		"<port id=\"0\" precision=\"FP32\"><dim>1</dim><dim>-1</dim><dim>2</dim></port>"
		"</input></layer>\n"
		"</layers>\n"
		"<edges>\n"
		"<edge from-layer=\"0\" from-port=\"0\" to-layer=\"2\" to-port=\"0\"/>\n"
		"<edge from-layer=\"1\" from-port=\"0\" to-layer=\"2\" to-port=\"1\"/>\n"
		"<edge from-layer=\"2\" from-port=\"3\" to-layer=\"3\" to-port=\"0\"/>\n"
		"</edges>\n"
		"<rt_info/>\n"
		"</net>\n";
	Arena *run = arena_new();
	Bin *bin = bin_open(run, arena_printf(run, "%s/small.bin", (char *)*state_of_test));
	Net *n = net_new(run, "small & plain", bin);
	Text *t = text_new(run);
	Wire half[2];
	net_halves(n, net_parameter(n, "x", ELEMENT_F32, SHAPE(1, SHAPE_ANY, 4)), half);
	net_result(n, "y", half[1]);
	net_print(t, n);
	assert_string_equal(t->text, expected);
	bin_close(bin, NULL);
	arena_free(run);
}

/* A constant's convert that readers may leave undone is marked, another is not. */
static void
test_decompression(void **state_of_test)
{
	static const char mark[] =
		"<data destination_type=\"f32\"/>"
		"<rt_info><attribute name=\"decompression\" version=\"0\"/></rt_info>";
	Arena *run = arena_new();
	Bin *bin = bin_open(run, arena_printf(run, "%s/mark.bin", (char *)*state_of_test));
	for (int marked = 0; marked < 2; marked++) {
		const uint16_t half = 0x3c00;
		Net *n = net_new(run, "mark", bin);
		Text *t = text_new(run);
		const BinPart p = bin_add(bin, ELEMENT_F16, SHAPE(1), &half);
		const Wire w = net_part(n, &p);
		net_result(n, "y",
			   marked ? net_decompress(n, w, ELEMENT_F32)
				  : net_convert(n, w, ELEMENT_F32));
		net_print(t, n);
		assert_int_equal(strstr(t->text, mark) != NULL, marked);
	}
	bin_close(bin, NULL);
	arena_free(run);
}

static void
test_bin(void **state_of_test)
{
	Arena *run = arena_new();
	const char *path = arena_printf(run, "%s/parts.bin", (char *)*state_of_test), *error;
	const uint8_t odd[2] = {0x21, 0x03}, other[2] = {0x21, 0x04};
	uint8_t digest[32], expected[32];
	Mapped m;
	Bin *bin = bin_open(run, path);
	const BinPart a = bin_add(bin, ELEMENT_I4, SHAPE(3), odd),
		      b = bin_add(bin, ELEMENT_I4, SHAPE(1, 3), other),
		      same = bin_add(bin, ELEMENT_U8, SHAPE(2), odd);
	assert_int_equal(a.bytes, 2);
	assert_int_equal(a.offset, 0);
	assert_int_equal(b.offset, 64);
	assert_int_equal(same.offset, a.offset);
	bin_begin(bin, ELEMENT_U2, SHAPE(9));
	bin_piece(bin, odd, 2);
	bin_piece(bin, other, 1);
	const BinPart c = bin_end(bin);
	assert_int_equal(c.offset, 128);
	assert_int_equal(c.bytes, 3);
	assert_int_equal(bin_bytes(bin), 131);
	/* More than the table of digests starts with; every one is found again. */
	BinPart parts[1000];
	for (int round = 0; round < 2; round++)
		for (int64_t i = 0; i < 1000; i++) {
			const BinPart p = bin_add(bin, ELEMENT_I64, SHAPE_SCALAR, &i);
			assert_true(round == 0 || p.offset == parts[i].offset);
			assert_int_equal(p.offset % 64, 0);
			parts[i] = p;
		}
	bin_close(bin, digest);
	assert_true(file_map(path, &m, &error));
	assert_int_equal(m.size, parts[999].offset + 8);
	sha256_of(m.data, m.size, expected);
	assert_memory_equal(digest, expected, 32);
	assert_memory_equal(m.data + 64, other, 2);
	for (int i = 2; i < 64; i++)
		assert_int_equal(m.data[i], 0);
	for (int64_t i = 0; i < 1000; i++)
		assert_memory_equal(m.data + parts[i].offset, &i, 8);
	file_unmap(&m);
	arena_free(run);
}

static void
test_cases(void **state_of_test)
{
	Arena *run = arena_new();
	write_cases(run, *state_of_test);
	arena_free(run);
}

int
main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_text, make_folder, remove_folder),
		cmocka_unit_test_setup_teardown(test_decompression, make_folder, remove_folder),
		cmocka_unit_test_setup_teardown(test_bin, make_folder, remove_folder),
		cmocka_unit_test_setup_teardown(test_cases, make_folder, remove_folder),
	};
	if (argc == 3 && !strcmp(argv[1], "write")) {
		Arena *run = arena_new();
		write_cases(run, argv[2]);
		arena_free(run);
		return 0;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
