/*
 * Weights as the target npu stores them: read back bit by bit, (code - zero) * scale is what the
 * packer of the CPU targets is given, in every format; shared tables, memory, faults.
 */
#include "plan_bench.h"

#include <unistd.h>

#include "ir/weight_source.h"
#include "targets/npu/npu.h"

static const NpuFacts widened = {{true, true, true}, false, 4, 8},
		      kept = {{false, true}, true, 4, 8};

/* A .bin as a file. */
typedef struct Stored {
	NpuConstants c;
	Mapped file;
	uint8_t sha256[32];
	char path[64];
} Stored;

static void
make_path(char *path, size_t n)
{
	snprintf(path, n, "/tmp/npu_constants_XXXXXX");
	const int fd = mkstemp(path);
	assert_true(fd >= 0);
	close(fd);
}

static bool
store(Bench *b, Diag *d, const Graph *g, const NpuFacts *facts, int jobs, Stored *s)
{
	const char *error;
	*s = (Stored){0};
	make_path(s->path, sizeof s->path);
	Bin *bin = bin_open(b->a, s->path);
	const bool ok = npu_constants(b->a, d, g, facts, CTX, bin, jobs, &s->c);
	if (!ok) {
		cleanup_run();
		return false;
	}
	bin_close(bin, s->sha256);
	assert_true(file_map(s->path, &s->file, &error));
	return true;
}

static void
forget(Stored *s)
{
	file_unmap(&s->file);
	unlink(s->path);
}

/* Number i of a part. */
static double
number(const Stored *s, const BinPart *p, uint64_t i)
{
	const int bits = element_table[p->element].bits;
	const uint8_t *at = s->file.data + p->offset;
	uint32_t u = 0;
	float f;
	assert_true(p->offset % 64 == 0 && p->offset + p->bytes <= s->file.size);
	assert_true((i + 1) * (uint64_t)bits <= 8 * p->bytes);
	for (int k = 0; k < bits; k++) {
		const uint64_t bit = i * (uint64_t)bits + (uint64_t)k;
		u |= (uint32_t)(at[bit / 8] >> bit % 8 & 1) << k;
	}
	switch (p->element) {
	case ELEMENT_F32:
		memcpy(&f, &u, sizeof f);
		return (double)f;
	case ELEMENT_F16:
		return (double)f16_to_f32((uint16_t)u);
	case ELEMENT_I4:
	case ELEMENT_I8:
		return u >> (bits - 1) ? (double)u - (1 << bits) : (double)u;
	default:
		return u;
	}
}

/* Weight [row, column] of a matrix. */
static double
weight(const Stored *s, const NpuMatrix *m, uint32_t row, uint32_t column)
{
	const uint64_t group = (uint64_t)row * m->groups + column / m->group;
	const double code = number(s, &m->codes, (uint64_t)row * m->padded + column);
	if (!m->scales.bytes)
		return code;
	const double zero = m->form.zeros ? number(s, &m->zeros, group) : m->form.zero;
	return (code - zero) * number(s, &m->scales, group);
}

/* The row that a WeightRow means, in double. */
static double
meant(const WeightRow *w, Format f, uint32_t column)
{
	if (format_is_float(f))
		return (double)w->row_f32[column];
	const uint32_t group = f.group ? column / f.group : 0;
	const int offset = f.zero ? w->zeros[group] : format_offset(f);
	return (w->codes[column] - offset) * (double)w->scales[group] +
	       (f.minimum ? (double)w->minima[group] : 0);
}

static void
compare_matrix(const Bench *b, const Stored *s, const Graph *g, const Func *func, const Value *v,
	       const NpuMatrix *m)
{
	const Format f = graph_weight_format(g, v->role, func->layer);
	WeightSource source;
	WeightRow w;
	weight_source_open(&source, g, func, v, 1, NULL);
	weight_row_alloc(b->a, &w, (int)source.columns, f);
	assert_int_equal(m->rows, source.rows);
	assert_int_equal(m->columns, source.columns);
	assert_int_equal(shape_elements(m->codes.shape), (uint64_t)m->rows * m->padded);
	assert_int_equal(m->codes.shape.rank, m->groups > 1 ? 3 : 2);
	assert_true(m->groups == 1 || (m->group > 1 && !(m->group & (m->group - 1))));
	if (m->groups == 1 && element_table[m->form.element].bits < 8)
		assert_true(m->padded % 64 == 0 && m->padded - m->columns < 64);
	else
		assert_true(m->groups * m->group == m->padded && m->padded - m->columns < m->group);
	for (uint32_t i = 0; i < source.rows; i++) {
		double most = 0, worst = 0;
		weight_source_row(&source, i, f, &w);
		for (uint32_t k = 0; k < source.columns; k++) {
			const double want = meant(&w, f, k), got = weight(s, m, i, k);
			worst = fmax(worst, fabs(got - want));
			most = fmax(most, fabs(want));
		}
		/* Minima are rounded to zero points; all else is exact. */
		assert_true(worst <= (f.minimum ? 2e-7 * most : 0));
	}
	weight_source_close(&source);
}

static void
compare_all(const Bench *b, const Stored *s, const Graph *g)
{
	for (int i = 0; i < g->count; i++)
		for (int k = 0; k < g->funcs[i].count; k++) {
			const Func *f = &g->funcs[i];
			const Value *v = &f->values[k];
			if (op_table[v->op].tensor == TENSOR_MATRIX) {
				compare_matrix(b, s, g, f, v, &s->c.matrices[i][k]);
			} else if (op_table[v->op].tensor == TENSOR_VECTOR) {
				const BinPart *p = &s->c.vectors[i][k];
				const Tensor *t =
					model_tensor(g->model, (Role)v->role,
						     f->layer < 0 ? 0 : (uint32_t)f->layer);
				assert_int_equal(p->shape.rank, 1);
				assert_int_equal(p->shape.dims[0], t->columns);
				assert_memory_equal(s->file.data + p->offset, t->data, p->bytes);
			}
		}
}

static Graph *
graph_of(Bench *b, Format f)
{
	Graph *g = graph_build(b->a, b->model);
	for (int role = 0; role < ROLE_COUNT; role++)
		for (uint32_t i = 0; i < (role_layered[role] ? LAYERS : 1); i++) {
			const Tensor *t = model_tensor(b->model, (Role)role, i);
			if (t && t->rows > 1)
				g->formats[role][i] = f;
		}
	return g;
}

/* 24 and 40 columns: groups of 16 leave a short one, of 32 one in 24. */
static const char *const formats[] = {
	"f32",
	"f16",
	"int8(group=row,scale=f32)",
	"int8(group=16,scale=f16)",
	"int6(group=8,scale=bf16)",
	"int5(group=row,scale=f16)",
	"int4(group=row,scale=f32)",
	"int4(group=8,scale=f16)",
	"int4(group=16,scale=f16)",
	"int4(group=32,scale=f16,signed)",
	"int4(group=tensor,scale=f32)",
	"int4(group=8,scale=f16,min)",
	"int4(group=row,scale=f32,min)",
	"int4(group=16,scale=f16,zero=integer)",
	"int3(group=8,scale=f16,signed)",
	"int3(group=row,scale=f16,min)",
	"int8(group=16,scale=f16,min)",
	"int8(group=row,scale=f32,zero=integer)",
	"int6(group=16,scale=f16,zero=integer)",
	"int2(group=16,scale=f16)",
	"int2(group=row,scale=f32,signed)",
	"int2(group=8,scale=f16,min)",
	"int2(group=16,scale=f16,zero=integer)",
	"int2(group=row,scale=f16,ternary)",
	"int2(group=tensor,scale=f32,ternary,trits)",
	"int4(group=12,scale=f16)",
	"int8(group=20,scale=f32)",
	"int4(group=18,scale=f16,min)",
	"int4(group=36,scale=f16,zero=integer)",
};

static void
test_formats(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof formats / sizeof *formats; i++) {
		Bench b = open_bench(false);
		const char *text = formats[i];
		Format f;
		assert_true(format_parse(&text, &f) && !*text);
		print_message("%s\n", formats[i]);
		/* A row of one value: its scale is 0, where the format has minima. One of small
		 * values: f16 has no such scales. */
		float *row = (float *)(uintptr_t)model_tensor(b.model, ROLE_Q, 0)->data;
		for (int k = 0; k < HIDDEN; k++)
			row[k] = 0.25f, row[HIDDEN + k] *= 1e-7f;
		Graph *g = graph_of(&b, f);
		for (int u2 = 0; u2 < 2; u2++) {
			Stored one, many;
			const NpuFacts *facts = u2 ? &kept : &widened;
			assert_true(store(&b, diag_new(b.a, stderr), g, facts, 1, &one));
			assert_true(store(&b, diag_new(b.a, stderr), g, facts, 5, &many));
			assert_memory_equal(one.sha256, many.sha256, 32);
			compare_all(&b, &one, g);
			forget(&one);
			forget(&many);
		}
		close_bench(&b);
	}
}

/* Which element holds which format. */
static void
test_forms(void **state)
{
	static const struct {
		const char *format;
		Element widened, kept;
		int shift, zero;
	} forms[] = {
		{"f16", ELEMENT_F16, ELEMENT_F16, 0, 0},
		{"int8(group=row,scale=f32)", ELEMENT_I8, ELEMENT_I8, 128, 0},
		{"int5(group=32,scale=f16)", ELEMENT_I8, ELEMENT_I8, 16, 0},
		{"int4(group=64,scale=f16)", ELEMENT_I4, ELEMENT_I4, 8, 0},
		{"int3(group=row,scale=f16)", ELEMENT_I4, ELEMENT_I4, 4, 0},
		{"int6(group=row,scale=f16,min)", ELEMENT_U8, ELEMENT_U8, 0, 0},
		{"int4(group=32,scale=f16,min)", ELEMENT_U4, ELEMENT_U4, 0, 0},
		{"int3(group=32,scale=f16,zero=integer)", ELEMENT_U4, ELEMENT_U4, 0, 0},
		{"int2(group=row,scale=f16)", ELEMENT_I4, ELEMENT_U2, 2, 2},
		{"int2(group=row,scale=f16,ternary,trits)", ELEMENT_I4, ELEMENT_U2, 1, 1},
		{"int2(group=32,scale=f16,zero=integer)", ELEMENT_U4, ELEMENT_U2, 0, 0},
	};
	(void)state;
	for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
		const char *text = forms[i].format;
		Format f;
		assert_true(format_parse(&text, &f));
		const NpuForm a = npu_form(f, &widened), b = npu_form(f, &kept);
		assert_int_equal(a.element, forms[i].widened);
		assert_int_equal(b.element, forms[i].kept);
		assert_int_equal(a.shift, forms[i].shift);
		assert_int_equal(a.zero, 0);
		assert_int_equal(b.zero, b.element == ELEMENT_U2 ? forms[i].zero : 0);
		assert_int_equal(a.zeros, f.minimum || f.zero);
	}
}

/* A tied table is stored once; one whose fold differs is not. */
static void
test_tied_table(void **state)
{
	(void)state;
	for (int folded = 0; folded < 2; folded++) {
		Bench b = open_bench(true);
		Stored s;
		Plan *p = plan_new(b.a, b.model);
		if (folded)
			put_all(&b, p, SITE_HEAD_IN, hadamard, false);
		const Graph *g = planned(&b, p, NULL, 0);
		assert_true(store(&b, diag_new(b.a, stderr), g, &widened, 2, &s));
		const NpuMatrix *found[2] = {0};
		for (int i = 0; i < g->count; i++)
			for (int k = 0; k < g->funcs[i].count; k++) {
				const int role = g->funcs[i].values[k].role;
				if (role == ROLE_EMBED || role == ROLE_HEAD)
					found[role == ROLE_HEAD] = &s.c.matrices[i][k];
			}
		assert_true(found[0] && found[1]);
		assert_int_equal(found[0]->codes.offset == found[1]->codes.offset, !folded);
		compare_all(&b, &s, g);
		forget(&s);
		close_bench(&b);
	}
}

static void
test_not_finite(void **state)
{
	(void)state;
	Bench b = open_bench(false);
	FILE *f;
	Stored s;
	Diag *d = listen(&b, &f);
	((float *)(uintptr_t)model_tensor(b.model, ROLE_UP, 1)->data)[33 * HIDDEN + 5] = NAN;
	assert_false(store(&b, d, graph_of(&b, FORMAT_F16), &widened, 2, &s));
	fflush(f);
	assert_non_null(strstr(b.said, "tensor 't1.up': a value or scale of row 33 is not finite"));
	forget(&s);
	fclose(f);
	free(b.said);
	close_bench(&b);
}

static void
test_config(void **state)
{
	(void)state;
	Bench b = open_bench(true);
	Text *config = text_new(b.a), *generation = text_new(b.a);
	b.model->tokenizer = (Tokenizer){.bos = 1, .eos = 0, .unk = -1, .pad = -1};
	npu_config(config, generation, b.model);
	assert_string_equal(config->text, "{\n"
					  "  \"architectures\": [\"LlamaForCausalLM\"],\n"
					  "  \"model_type\": \"llama\",\n"
					  "  \"hidden_size\": 24,\n"
					  "  \"intermediate_size\": 40,\n"
					  "  \"num_hidden_layers\": 2,\n"
					  "  \"num_attention_heads\": 6,\n"
					  "  \"num_key_value_heads\": 2,\n"
					  "  \"head_dim\": 8,\n"
					  "  \"vocab_size\": 37,\n"
					  "  \"max_position_embeddings\": 16,\n"
					  "  \"hidden_act\": \"silu\",\n"
					  "  \"rms_norm_eps\": 1e-05,\n"
					  "  \"rope_theta\": 1e+04,\n"
					  "  \"tie_word_embeddings\": true,\n"
					  "  \"bos_token_id\": 1,\n"
					  "  \"eos_token_id\": 0\n"
					  "}\n");
	assert_string_equal(generation->text, "{\n"
					      "  \"bos_token_id\": 1,\n"
					      "  \"eos_token_id\": 0,\n"
					      "  \"max_length\": 16,\n"
					      "  \"do_sample\": false\n"
					      "}\n");
	close_bench(&b);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_formats),	   cmocka_unit_test(test_forms),
		cmocka_unit_test(test_tied_table), cmocka_unit_test(test_not_finite),
		cmocka_unit_test(test_config),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
