/* The model: role tables, row orders, stored types, RoPE, and both readers on small and real files.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "gen/model/cursor.h"
#include "gen/model/model.h"
#include "gen/model/stored.h"
#include "ir/real.h"

static uint32_t
next_random(uint32_t *state)
{
	*state = *state * 1664525u + 1013904223u;
	return *state >> 8;
}

/* Uniform in [0, 1). */
static double
next_unit(uint32_t *state)
{
	return next_random(state) * 0x1p-24;
}

/* ---- elementary functions ----------------------------------------------------------------- */

static void
real_functions_match_libm(void **state)
{
	(void)state;
	uint32_t seed = 1;
	for (int i = 0; i < 200000; i++) {
		double x = -700 + 1400 * next_unit(&seed), s, c;
		assert_true(fabs(real_exp(x) / (double)expl(x) - 1) < 0x1p-50);
		x = exp(x);
		long double l = logl(x);
		assert_true(fabsl(real_log(x) - l) <= 0x1p-50L * (1 + fabsl(l)));
		/* small, large, and next to multiples of pi/2 */
		x = (next_unit(&seed) - 0.5) * (i % 3 ? 0x1p25 : 20);
		if (i % 5 == 0)
			x = rint(x * 0.6) * 1.5707963267948966;
		real_sincos(x, &s, &c);
		assert_true(fabs(s - (double)sinl(x)) < 0x1p-50);
		assert_true(fabs(c - (double)cosl(x)) < 0x1p-50);
	}
	assert_true(real_exp(0) == 1 && real_log(1) == 0);
	assert_true(real_exp(-1000) == 0 && isinf(real_exp(1000)));
	assert_true(real_exp(-745) > 0);
}

static void
rope_table_is_rounded_once(void **state)
{
	(void)state;
	static const uint32_t positions[] = {0, 1, 2, 63, 64, 511, 8191, 131071, 16777215};
	static const double bases[] = {10000, 100000, 500000};
	for (int b = 0; b < 3; b++)
		for (int d = 8; d <= 128; d *= 2)
			for (int p = 0; p < 9; p++) {
				Model m = {.head_dim = (uint32_t)d, .rope_base = bases[b]};
				float c[64], s[64];
				rope_table(&m, positions[p], c, s);
				for (int i = 0; i < d / 2; i++) {
					long double angle =
						positions[p] * powl(bases[b], -2.0L * i / d);
					/* half a unit in the last place of 1, and what the
					 * angle's own rounding costs at this position */
					double bound = 0x1p-25 + 0x1p-51 * positions[p];
					assert_true(fabs(c[i] - (double)cosl(angle)) <= bound);
					assert_true(fabs(s[i] - (double)sinl(angle)) <= bound);
				}
			}
}

/* ---- roles and rows ----------------------------------------------------------------------- */

static void
roles_have_shapes(void **state)
{
	(void)state;
	Model m = {
		.hidden = 10, .inter = 20, .n_vocab = 30, .q_width = 40, .kv_width = 50, .one = 1};
	uint32_t rows, columns;
	model_shape(&m, ROLE_DOWN, &rows, &columns);
	assert_true(rows == 10 && columns == 20);
	model_shape(&m, ROLE_O, &rows, &columns);
	assert_true(rows == 10 && columns == 40);
	model_shape(&m, ROLE_K, &rows, &columns);
	assert_true(rows == 50 && columns == 10);
	model_shape(&m, ROLE_FINAL_NORM, &rows, &columns);
	assert_true(rows == 1 && columns == 10);
	assert_string_equal(role_names[ROLE_MLP_NORM], "mlp_norm");
	assert_true(role_layered[ROLE_Q] && !role_layered[ROLE_HEAD]);
	assert_null(model_tensor(&m, ROLE_Q, 3));
}

/*
 * The converter of Hugging Face checkpoints views the rows as [heads][2][d/2] and swaps the last
 * two axes; written out here as that, the other way round than tensor_row computes it.
 */
static void
rope_rows_are_found(void **state)
{
	(void)state;
	enum { HEADS = 3, D = 8 };
	float data[HEADS * D];
	Tensor t = {.type = stored_type(0),
		    .data = (const uint8_t *)data,
		    .row_bytes = sizeof(float),
		    .rows = HEADS * D,
		    .columns = 1,
		    .head_dim = D,
		    .row_order = ROWS_ROPE_PAIRS};
	int stored = 0;
	for (int h = 0; h < HEADS; h++)
		for (int pair = 0; pair < D / 2; pair++)
			for (int half = 0; half < 2; half++)
				data[stored++] = (float)(h * D + half * (D / 2) + pair);
	for (uint32_t i = 0; i < HEADS * D; i++) {
		float x;
		tensor_row_f32(&t, i, &x);
		assert_true(x == (float)i);
	}
	t.row_order = ROWS_PLAIN;
	assert_ptr_equal(tensor_row(&t, 5), data + 5);
}

/* ---- stored types ------------------------------------------------------------------------- */

static uint16_t
half_bits(const uint8_t *p)
{
	return (uint16_t)(p[0] | p[1] << 8);
}

/* Value i of a block by the formats' definitions, in double, where nothing is rounded. */
static double
block_value(const char *type, const uint8_t *p, int i)
{
	double d = f16_to_f32(half_bits(p));
	if (strcmp(type, "Q8_0") == 0)
		return d * (p[2 + i] < 128 ? p[2 + i] : p[2 + i] - 256);
	const uint8_t *q = strcmp(type, "Q4_0") == 0 ? p + 2 : p + 4;
	int nibble = i < 16 ? q[i] % 16 : q[i - 16] / 16;
	if (q == p + 2)
		return d * (nibble - 8);
	return d * nibble + f16_to_f32(half_bits(p + 2));
}

static void
integers_are_dequantized(void **state)
{
	(void)state;
	static const uint32_t numbers[] = {2, 3, 8};
	uint32_t seed = 7;
	for (int k = 0; k < 3; k++) {
		const StoredType *t = stored_type(numbers[k]);
		assert_int_equal(t->block, 32);
		for (int round = 0; round < 20000; round++) {
			uint8_t block[34], codes[32];
			float x[32], scale, minimum = 0;
			for (size_t i = 0; i < sizeof block; i++)
				block[i] = (uint8_t)next_random(&seed);
			const char *what;
			uint32_t offset;
			if (stored_not_finite(t, block, 1, &what, &offset) >= 0)
				continue;
			t->dequantize(block, 32, x);
			t->codes(block, 32, codes, &scale, &minimum);
			for (int i = 0; i < 32; i++) {
				int c = codes[i] - format_offset(t->format);
				assert_true(x[i] == (float)block_value(t->name, block, i));
				/* the two forms that the contract may use */
				assert_true(x[i] == fmaf((float)c, scale, minimum));
				assert_true(codes[i] < 1 << t->format.bits);
			}
		}
	}
}

static void
floats_are_dequantized(void **state)
{
	(void)state;
	const StoredType *f16 = stored_type(1);
	for (uint32_t h = 0; h < 0x7c00; h++) {
		uint8_t bytes[2] = {(uint8_t)h, (uint8_t)(h >> 8)};
		float x;
		f16->dequantize(bytes, 1, &x);
		double want =
			h < 0x400 ? h * 0x1p-24 : ldexp((h & 0x3ff) + 1024, (int)(h >> 10) - 25);
		assert_true(x == (float)want);
	}
	assert_null(f16->codes);
	assert_null(stored_type(20));
	assert_string_equal(stored_type_name(20), "IQ4_NL");
	assert_null(stored_type_name(4));
}

/* Blocks of random bytes of every type of integers: the codes stay below the format's top, and with
 * their group's scale and minimum give the values, in the two forms that the contract may use. What
 * the values are is the gguf package's to say: tests/exec/gguf_types.py. */
static void
codes_are_the_values(void **state)
{
	(void)state;
	enum { BLOCKS = 2, VALUES = 256 * BLOCKS, ROUNDS = 4000 };
	uint32_t seed = 11;
	int types = 0;
	for (uint32_t number = 0; number < 64; number++) {
		const StoredType *t = stored_type(number);
		if (!t || !t->codes)
			continue;
		types++;
		const int n = BLOCKS * (int)t->block, group = (int)t->format.group;
		assert_true(n <= VALUES && t->block % t->format.group == 0);
		assert_string_equal(stored_type_name(number), t->name);
		int looked = 0;
		for (int round = 0; round < ROUNDS; round++) {
			uint8_t data[BLOCKS * 256], codes[VALUES];
			float x[VALUES], scales[VALUES], minima[VALUES];
			for (size_t i = 0; i < sizeof data; i++)
				data[i] = (uint8_t)next_random(&seed);
			const char *what;
			uint32_t offset;
			for (size_t i = 0; i < sizeof data && number == 35; i++)
				data[i] ^= data[i] & data[i] >> 1 & 0x55;
			assert_int_equal(stored_bad_code(t, data, BLOCKS, &offset), -1);
			if (stored_not_finite(t, data, BLOCKS, &what, &offset) >= 0)
				memset(data, 0, sizeof data);
			else
				looked++;
			t->dequantize(data, n, x);
			t->codes(data, n, codes, scales, minima);
			for (int i = 0; i < n; i++) {
				const float c = (float)(codes[i] - format_offset(t->format));
				const float s = scales[i / group];
				const float m = t->format.minimum ? minima[i / group] : -0.0f;
				assert_true(codes[i] <= format_top(t->format));
				assert_true(x[i] == fmaf(c, s, m) && x[i] == c * s + m);
			}
		}
		assert_true(looked > ROUNDS / 2);
	}
	assert_int_equal(types, 12);
}

/* A pair of bits of TQ2_0 may be 0, 1 or 2. */
static void
codes_without_a_value_are_found(void **state)
{
	(void)state;
	const StoredType *t = stored_type(35);
	uint8_t data[3 * 66];
	uint32_t offset;
	for (int i = 0; i < 64; i++)
		for (int shift = 0; shift < 8; shift += 2) {
			memset(data, 0xaa, sizeof data);
			memset(data + 66 + 64, 0x33, 2); /* the scale may have any bits */
			assert_int_equal(stored_bad_code(t, data, 3, &offset), -1);
			data[66 + i] = (uint8_t)(data[66 + i] | 3 << shift);
			assert_int_equal(stored_bad_code(t, data, 3, &offset), 1);
			assert_int_equal(offset, i);
		}
}

/* NaN in every place of a long row of blocks, one at a time. */
static void
not_finite_is_found(void **state)
{
	(void)state;
	enum { BLOCKS = 4096 + 3 };
	static const struct {
		uint32_t number, at; /* of the first field */
	} types[] = {{0, 0},	{1, 0},	 {2, 0},  {3, 0},    {6, 0},  {7, 0},	{8, 0},	 {10, 80},
		     {11, 108}, {12, 0}, {13, 0}, {14, 208}, {30, 0}, {34, 52}, {35, 64}};
	uint8_t *data = calloc(BLOCKS, 256);
	assert_non_null(data);
	for (size_t k = 0; k < sizeof types / sizeof *types; k++) {
		const StoredType *t = stored_type(types[k].number);
		const uint32_t at = types[k].at;
		const char *what;
		uint32_t offset;
		assert_int_equal(stored_not_finite(t, data, BLOCKS, &what, &offset), -1);
		for (int64_t b = 0; b < BLOCKS; b += b < 4090 ? 409 : 1) {
			uint8_t *p = data + b * t->block_bytes + at;
			size_t high = types[k].number == 0 ? 3 : 1;
			p[high] = 0xff;
			p[high - 1] = 0x80; /* infinity in f32 and bf16, NaN in f16 */
			assert_int_equal(stored_not_finite(t, data, BLOCKS, &what, &offset), b);
			assert_int_equal(offset, at);
			assert_string_equal(what, t->codes ? "scale" : "value");
			memset(p, 0, types[k].number == 0 || t->format.minimum ? 4 : 2);
			if (!t->format.minimum)
				continue;
			p[3] = 0x7c;
			assert_int_equal(stored_not_finite(t, data, BLOCKS, &what, &offset), b);
			assert_string_equal(what, "minimum");
			assert_int_equal(offset, at + 2);
			p[3] = 0;
		}
		memset(data, 0, (size_t)BLOCKS * 256);
	}
	free(data);
}

/* ---- text from files ---------------------------------------------------------------------- */

static void
quotes_are_printable(void **state)
{
	(void)state;
	static const struct {
		const char *bytes;
		uint32_t size;
		const char *want;
	} cases[] = {
		{"llama", 5, "'llama'"},
		{"a\0b", 3, "'a\\x00b'"},
		{"\x1b[0m", 4, "'\\x1b[0m'"},
		{"\xc3\xa9", 2, "'\xc3\xa9'"},
		{"\xc3", 1, "'\\xc3'"},
		{"\xed\xa0\x80", 3, "'\\xed\\xa0\\x80'"},
		{"\xc2\x9b", 2, "'\\xc2\\x9b'"},
		{"\xf4\x90\x80\x80", 4, "'\\xf4\\x90\\x80\\x80'"},
		{"\xf0\x9f\x98\x80", 4, "'\xf0\x9f\x98\x80'"},
	};
	Arena *a = arena_new();
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
		assert_string_equal(bytes_quote(a, (Bytes){cases[i].bytes, cases[i].size}),
				    cases[i].want);
	char long_text[200];
	memset(long_text, 'x', sizeof long_text);
	assert_int_equal(strlen(bytes_quote(a, (Bytes){long_text, 200})), 80 + 2 + 3);
	arena_free(a);
}

/* ---- readers ------------------------------------------------------------------------------ */

static void
put(Text *t, uint64_t n, int bytes)
{
	for (int i = 0; i < bytes; i++)
		text_add(t, &(char){(char)(n >> (8 * i))}, 1);
}

static void
put_string(Text *t, const char *s)
{
	put(t, strlen(s), 8);
	text_add(t, s, strlen(s));
}

static void
put_u32(Text *t, const char *key, uint32_t n)
{
	put_string(t, key);
	put(t, 4, 4);
	put(t, n, 4);
}

/* One layer, hidden 32, one head pair; every tensor f32 and full of its own number. */
static Text *
small_gguf(Arena *a)
{
	static const struct {
		const char *name;
		uint32_t columns, rows;
	} tensors[] = {
		{"token_embd.weight", 32, 5},	  {"blk.0.attn_norm.weight", 32, 0},
		{"blk.0.attn_q.weight", 32, 32},  {"blk.0.attn_k.weight", 32, 16},
		{"blk.0.attn_v.weight", 32, 16},  {"blk.0.attn_output.weight", 32, 32},
		{"blk.0.ffn_norm.weight", 32, 0}, {"blk.0.ffn_gate.weight", 32, 64},
		{"blk.0.ffn_up.weight", 32, 64},  {"blk.0.ffn_down.weight", 64, 32},
		{"output_norm.weight", 32, 0},
	};
	enum { TENSORS = sizeof tensors / sizeof tensors[0] };
	Text *t = text_new(a);
	text_add(t, "GGUF", 4);
	put(t, 3, 4);
	put(t, TENSORS, 8);
	put(t, 8, 8);
	put_string(t, "general.architecture");
	put(t, 8, 4);
	put_string(t, "llama");
	put_u32(t, "llama.block_count", 1);
	put_u32(t, "llama.context_length", 77);
	put_u32(t, "llama.embedding_length", 32);
	put_u32(t, "llama.feed_forward_length", 64);
	put_u32(t, "llama.attention.head_count", 2);
	put_u32(t, "llama.attention.head_count_kv", 1);
	put_string(t, "llama.attention.layer_norm_rms_epsilon");
	put(t, 6, 4);
	put(t, 0x3a83126f, 4); /* 0.001 */
	uint64_t at = 0;
	for (int i = 0; i < TENSORS; i++) {
		put_string(t, tensors[i].name);
		put(t, tensors[i].rows ? 2 : 1, 4);
		put(t, tensors[i].columns, 8);
		if (tensors[i].rows)
			put(t, tensors[i].rows, 8);
		put(t, 0, 4);
		put(t, at, 8);
		at += 4 * (uint64_t)tensors[i].columns * (tensors[i].rows ? tensors[i].rows : 1);
	}
	while (t->size % 32)
		put(t, 0, 1);
	for (int i = 0; i < TENSORS; i++) {
		uint32_t n = tensors[i].columns * (tensors[i].rows ? tensors[i].rows : 1);
		float x = (float)i + 0.5f;
		for (uint32_t k = 0; k < n; k++)
			text_add(t, (const char *)&x, sizeof x);
	}
	return t;
}

static float
first_value(const Model *m, Role role)
{
	float x[64];
	tensor_row_f32(model_tensor(m, role, 0), 0, x);
	return x[0];
}

static void
small_gguf_is_read(void **state)
{
	(void)state;
	Arena *a = arena_new();
	Diag *d = diag_new(a, stderr);
	Text *t = small_gguf(a);
	const Model *m =
		model_read_memory(a, d, "some/small.gguf", (const uint8_t *)t->text, t->size, NULL);
	assert_non_null(m);
	assert_string_equal(m->file, "small.gguf");
	assert_int_equal(m->n_layer, 1);
	assert_int_equal(m->n_ctx, 77);
	assert_int_equal(m->head_dim, 16);
	assert_int_equal(m->q_width, 32);
	assert_int_equal(m->kv_width, 16);
	assert_int_equal(m->n_vocab, 5);
	assert_true(m->norm_eps == 0.001f && m->rope_base == 10000);
	assert_true(m->tied);
	assert_ptr_equal(model_tensor(m, ROLE_HEAD, 0), model_tensor(m, ROLE_EMBED, 0));
	assert_int_equal(m->tokenizer.kind, TOKENIZER_NONE);
	assert_true(first_value(m, ROLE_EMBED) == 0.5f && first_value(m, ROLE_Q) == 2.5f);
	assert_true(first_value(m, ROLE_GATE) == 7.5f && first_value(m, ROLE_UP) == 8.5f);
	assert_true(first_value(m, ROLE_DOWN) == 9.5f && first_value(m, ROLE_FINAL_NORM) == 10.5f);
	assert_int_equal(model_tensor(m, ROLE_K, 0)->row_order, ROWS_ROPE_PAIRS);
	assert_int_equal(model_tensor(m, ROLE_V, 0)->row_order, ROWS_PLAIN);
	assert_int_equal(model_tensor(m, ROLE_DOWN, 0)->row_bytes, 256);
	arena_free(a);
}

/* Every prefix of the structure is refused; nothing but a message happens. */
static void
truncated_gguf_is_refused(void **state)
{
	(void)state;
	Arena *a = arena_new();
	Text *t = small_gguf(a);
	Arena *run = arena_new();
	for (size_t n = 0; n < t->size; n += n < 2000 ? 1 : 509) {
		/* a copy of its own, so that a checker sees any read behind the end */
		uint8_t *copy = malloc(n ? n : 1);
		assert_non_null(copy);
		memcpy(copy, t->text, n);
		Diag *d = diag_new(run, NULL);
		diag_limit(d, 0);
		assert_null(model_read_memory(run, d, "small.gguf", copy, n, NULL));
		assert_true(diag_errors(d) > 0);
		free(copy);
		arena_reset(run);
	}
	arena_free(run);
	arena_free(a);
}

static char *
path_in(Arena *a, const char *variable, const char *name)
{
	const char *folder = getenv(variable);
	return folder ? arena_printf(a, "%s/%s", folder, name) : NULL;
}

static void
assert_digest(Model *m, const char *want)
{
	char hex[65];
	model_digest(m);
	sha256_hex(m->sha256, hex);
	assert_string_equal(hex, want);
}

static void
assert_token(const Tokenizer *t, uint32_t i, const char *want)
{
	assert_int_equal(t->tokens[i].size, strlen(want));
	assert_memory_equal(t->tokens[i].data, want, strlen(want));
}

static void
stories_is_read(void **state)
{
	(void)state;
	Arena *a = arena_new();
	const char *path = path_in(a, "LATHE_SHARED", "data/stories260K.bin");
	if (!path) {
		arena_free(a);
		skip();
	}
	ModelOptions o = {.tokenizer = path_in(a, "LATHE_SHARED", "data/tok512.bin")};
	Model *m = model_read(a, diag_new(a, stderr), path, &o);
	assert_non_null(m);
	assert_int_equal(m->hidden, 64);
	assert_int_equal(m->inter, 172);
	assert_int_equal(m->n_layer, 5);
	assert_int_equal(m->n_kv_head, 4);
	assert_int_equal(m->head_dim, 8);
	assert_int_equal(m->n_vocab, 512);
	assert_true(m->tied);
	/* the last tensor ends where the two tables of positions begin */
	const Tensor *last = model_tensor(m, ROLE_FINAL_NORM, 0);
	assert_ptr_equal(last->data + last->row_bytes, m->data + m->file_bytes - 512 * 8 * 4);
	const Tokenizer *t = &m->tokenizer;
	assert_int_equal(t->kind, TOKENIZER_SCORED);
	assert_token(t, 259, " t");
	assert_true(t->scores[260] == -1 && t->types[3] == TOKEN_BYTE);
	assert_int_equal(t->types[259], TOKEN_NORMAL);
	o = (ModelOptions){0};
	assert_int_equal(model_read(a, diag_new(a, stderr), path, &o)->tokenizer.kind,
			 TOKENIZER_NONE);
	arena_free(a);
}

static void
smollm2_is_read(void **state)
{
	(void)state;
	Arena *a = arena_new();
	const char *path = path_in(a, "LATHE_MODELS", "SmolLM2-135M-Instruct.Q4_1.gguf");
	if (!path) {
		arena_free(a);
		skip();
	}
	Model *m = model_read(a, diag_new(a, stderr), path, NULL);
	assert_non_null(m);
	assert_digest(m, "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53");
	assert_int_equal(m->n_layer, 30);
	assert_int_equal(m->hidden, 576);
	assert_int_equal(m->kv_width, 192);
	assert_true(m->rope_base == 100000 && m->norm_eps == 1e-5f && m->tied);
	assert_string_equal(model_tensor(m, ROLE_EMBED, 0)->type->name, "Q8_0");
	assert_string_equal(model_tensor(m, ROLE_DOWN, 29)->type->name, "Q4_1");
	const Tokenizer *t = &m->tokenizer;
	assert_int_equal(t->kind, TOKENIZER_BPE);
	assert_ptr_equal(t->pre, &pre_tokenizers[PRE_SMOLLM]);
	assert_int_equal(t->n_tokens, 49152);
	assert_int_equal(t->n_merges, 48900);
	assert_true(t->bos == 1 && t->eos == 2 && t->unk == 0 && t->pad == 2 && !t->add_bos);
	assert_token(t, 0, "<|endoftext|>");
	assert_token(t, 49151, "ectable");
	assert_int_equal(t->types[0], TOKEN_CONTROL);
	assert_int_equal(t->merges[0].size, 4);
	assert_memory_equal(t->merges[0].data, "\xc4\xa0 t", 4);
	arena_free(a);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(real_functions_match_libm),
		cmocka_unit_test(rope_table_is_rounded_once),
		cmocka_unit_test(roles_have_shapes),
		cmocka_unit_test(rope_rows_are_found),
		cmocka_unit_test(integers_are_dequantized),
		cmocka_unit_test(floats_are_dequantized),
		cmocka_unit_test(codes_are_the_values),
		cmocka_unit_test(codes_without_a_value_are_found),
		cmocka_unit_test(not_finite_is_found),
		cmocka_unit_test(quotes_are_printable),
		cmocka_unit_test(small_gguf_is_read),
		cmocka_unit_test(truncated_gguf_is_refused),
		cmocka_unit_test(stories_is_read),
		cmocka_unit_test(smollm2_is_read),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
