/*
 * The specialised linear kernels of every ISA level against the scalar reference, by memcmp.
 * Results are fenced: what a kernel writes beyond its rows is reported.
 */
#define _GNU_SOURCE
#include "linear_reference.h"

/* A specialised kernel over several blocks and tokens. */
static void
check_store(const LinearIsa *isa, const LinearKernel *k, uint64_t *r, Count *count)
{
	int blocks = 1 + below(r, MAX_BLOCKS), first = below(r, blocks);
	int tokens = 1 + below(r, MAX_TOKENS);
	size_t ld = (size_t)blocks * ROWS + 16 * (size_t)below(r, 3);
	Case c = case_new(k->spec, blocks, tokens, r);
	Batch b = batch_new(&c, isa->tile(k->spec));
	Fenced w = pack(&c, (size_t)isa->block_bytes(k->spec));
	Fenced out = fenced(ld * (size_t)tokens * sizeof(float));
	float *y = (float *)(void *)out.data;
	TestTiles t = batch_tiles(&c, &b);
	const float fence = -12345.0f;

	for (size_t i = 0; i < ld * (size_t)tokens; i++)
		y[i] = fence;
	k->store(w.data, first, blocks, &t, tokens, y, (ptrdiff_t)ld);
	for (size_t m = 0; m < (size_t)tokens; m++)
		for (size_t row = 0; row < ld; row++) {
			int mine = row >= (size_t)first * ROWS && row < (size_t)blocks * ROWS;

			compare(&c, "store", y[m * ld + row], mine ? reference(&c, row, m) : fence,
				row, m, count);
		}
	count->cases++;
	fenced_free(&out);
	fenced_free(&w);
	batch_free(&b);
	case_free(&c);
}

/* Every other time null, else biases of n rows. */
static const float *
biases(Fenced *memory, size_t n, uint64_t *r)
{
	float *b = (float *)(void *)memory->data;

	for (size_t i = 0; i < n; i++)
		b[i] = (float)below(r, 1000) * 0.01f - 5.0f;
	return below(r, 2) ? b : NULL;
}

/* add and logits: what linear_store gives and a bias, added to what was there, or cut off at the
 * last row. */
static void
check_epilogues(const LinearIsa *isa, uint64_t *r, Count *count)
{
	const Linear s = isa->epilogue;
	int tokens = 1 + below(r, MAX_TOKENS), rows = 1 + below(r, MAX_BLOCKS * ROWS);
	int blocks = (rows + ROWS - 1) / ROWS;
	size_t ld = (size_t)blocks * ROWS, n = ld * (size_t)tokens;
	Case c = case_new(s, blocks, tokens, r);
	Batch b = batch_new(&c, isa->tile(s));
	Fenced w = pack(&c, (size_t)isa->block_bytes(s)), out = fenced(n * sizeof(float));
	size_t odd = (size_t)rows * (size_t)tokens;
	Fenced cut = fenced(odd * sizeof(float));
	float *x = (float *)(void *)out.data, *y = (float *)(void *)cut.data;
	TestTiles t = batch_tiles(&c, &b);
	Fenced memory = fenced(ld * sizeof(float));
	const float *bias = biases(&memory, ld, r);

	for (size_t i = 0; i < n; i++)
		x[i] = (float)(i % 7) * 0.37f;
	isa->add(w.data, 0, blocks, &t, tokens, x, (ptrdiff_t)ld, bias);
	isa->logits(w.data, 0, blocks, &t, tokens, y, rows, rows, bias);
	for (size_t m = 0; m < (size_t)tokens; m++)
		for (size_t row = 0; row < ld; row++) {
			float v = reference(&c, row, m) + (bias ? bias[row] : 0.0f);
			float before = (float)((m * ld + row) % 7) * 0.37f;

			compare(&c, "add", x[m * ld + row], before + v, row, m, count);
			if (row < (size_t)rows)
				compare(&c, "logits", y[m * (size_t)rows + row], v, row, m, count);
		}
	count->cases++;
	fenced_free(&memory);
	fenced_free(&cut);
	fenced_free(&out);
	fenced_free(&w);
	batch_free(&b);
	case_free(&c);
}

/* The bits of silu are checked elsewhere; here it must be near, and the product exact for up = 0.
 */
static void
check_silu_mul(const LinearIsa *isa, uint64_t *r, Count *count)
{
	const Linear s = isa->epilogue;
	int tokens = 1 + below(r, MAX_TOKENS), pairs = 1 + below(r, MAX_BLOCKS / 2);
	size_t ld = (size_t)pairs * ROWS, n = ld * (size_t)tokens;
	Case c = case_new(s, 2 * pairs, tokens, r);
	Batch b = batch_new(&c, isa->tile(s));
	Fenced w = pack(&c, (size_t)isa->block_bytes(s)), out = fenced(n * sizeof(float));
	float *y = (float *)(void *)out.data;
	TestTiles t = batch_tiles(&c, &b);
	Fenced memory[2] = {fenced(ld * sizeof(float)), fenced(ld * sizeof(float))};
	const float *gate_bias = biases(&memory[0], ld, r), *up_bias = biases(&memory[1], ld, r);

	isa->silu_mul(w.data, 0, pairs, &t, tokens, y, (ptrdiff_t)ld, gate_bias, up_bias);
	for (size_t m = 0; m < (size_t)tokens; m++)
		for (size_t row = 0; row < ld; row++) {
			size_t at = row / ROWS * 2 * ROWS + row % ROWS;
			float g = reference(&c, at, m), u = reference(&c, at + ROWS, m);
			double gate = (double)(gate_bias ? g + gate_bias[row] : g);
			double up = (double)(up_bias ? u + up_bias[row] : u);
			double want = gate / (1 + exp(-gate)) * up, got = (double)y[m * ld + row];

			count->values++;
			if (fabs(got - want) > 4e-7 * fabs(want) + 1e-36 && count->differ++ < 10)
				fprintf(stderr, "linear_check: silu_mul: %a, near %a\n", got, want);
		}
	count->cases++;
	fenced_free(&memory[0]);
	fenced_free(&memory[1]);
	fenced_free(&out);
	fenced_free(&w);
	batch_free(&b);
	case_free(&c);
}

static const LinearIsa *const isas[] = {
#define LEVEL(suffix, name, has) &linear_isa_##suffix,
	ISA_LEVELS
#undef LEVEL
};

int
main(void)
{
	int status = 0;

	for (size_t i = 0; i < sizeof(isas) / sizeof(isas[0]); i++) {
		const LinearIsa *isa = isas[i];
		uint64_t r = 1;
		Count count = {0};

		if (!isa->usable()) {
			printf("linear %s: SKIPPED, this CPU lacks it\n", isa->name);
			continue;
		}
		for (int k = 0; k < isa->n_kernels; k++)
			for (int n = 0; n < 10; n++)
				check_store(isa, &isa->kernels[k], &r, &count);
		for (int n = 0; n < 10; n++) {
			check_epilogues(isa, &r, &count);
			check_silu_mul(isa, &r, &count);
		}
		status |= report("linear", isa->name, &count);
	}
	return status;
}
