/* Golden vectors: what the runner's selftest compares the library with. */
#include "artefact.h"

#include <math.h>
#include <string.h>

enum { GOLDEN_FIRST = 8, GOLDEN_LEAST = 4, GOLDEN_MOST = 96, GOLDEN_POSITIONS = 8 };

/* Tokens that the interpreter can afford: about a second or two for any model. */
static int
golden_tokens(const Model *m)
{
	const double inter = m->n_expert ? (double)m->inter + (double)m->n_used * m->expert_inter
					 : (double)m->inter;
	const double matrix =
		(double)m->hidden * (2.0 * m->q_width + 2.0 * m->kv_width + 3.0 * inter);
	const double weights = matrix * m->n_layer + (double)m->n_vocab * m->hidden;
	double n = 1e9 / weights;
	return n < GOLDEN_LEAST ? GOLDEN_LEAST : n > GOLDEN_MOST ? GOLDEN_MOST : (int)n;
}

/* FNV-1a over the bytes of n floats, low byte first. */
static uint64_t
digest(const float *logits, uint32_t n)
{
	uint64_t h = UINT64_C(0xcbf29ce484222325);
	for (uint32_t i = 0; i < n; i++) {
		uint32_t u;
		memcpy(&u, &logits[i], 4);
		for (int k = 0; k < 4; k++)
			h = (h ^ (u >> 8 * k & 255)) * UINT64_C(0x100000001b3);
	}
	return h;
}

static void
print_float(Text *t, float v)
{
	if (isnan(v))
		text_printf(t, "NAN");
	else if (isinf(v))
		text_printf(t, "%sINFINITY", v < 0 ? "-" : "");
	else
		text_printf(t, "%af", (double)v);
}

static void
print_position(Text *t, int position, const float *logits, uint32_t n_vocab)
{
	Text *first = text_new(t->arena);
	for (uint32_t i = 0; i < GOLDEN_FIRST; i++) {
		text_printf(first, i ? ", " : "");
		print_float(first, i < n_vocab ? logits[i] : 0);
	}
	text_line(t, "{%d, UINT64_C(0x%016llx), {%s}},", position,
		  (unsigned long long)digest(logits, n_vocab), first->text);
}

void
golden_emit(Text *t, Arena *run, const Graph *g, int n_tokens, int jobs)
{
	const Model *m = g->model;
	const int wanted = n_tokens > 0 ? n_tokens : golden_tokens(m);
	const int n = (uint32_t)wanted < m->n_ctx ? wanted : (int)m->n_ctx;
	int32_t *tokens = ARENA_ARRAY(run, int32_t, n);
	float *logits = ARENA_ARRAY(run, float, (size_t)n * m->n_vocab);
	uint32_t state = 1;
	Text *ids = text_new(run);
	for (int i = 0; i < n; i++) {
		state = state * 1664525u + 1013904223u;
		tokens[i] = (int32_t)((state >> 8) % m->n_vocab);
		text_printf(ids, "%s%d", i ? ", " : "", tokens[i]);
	}
	Interp *interp = interp_new(run, g, ARITHMETIC_CONTRACT, n, jobs);
	interp_eval(interp, tokens, n, logits, NULL, true);
	text_line(t, "static const int32_t golden_0_tokens[] = {%s};", ids->text);
	text_line(t, "static const GoldenPosition golden_0_positions[] = {");
	for (int i = 0; i < GOLDEN_POSITIONS; i++) {
		const int position = (i + 1) * n / GOLDEN_POSITIONS - 1;
		if (position < 0 || (i && position == i * n / GOLDEN_POSITIONS - 1))
			continue;
		print_position(t, position, logits + (size_t)position * m->n_vocab, m->n_vocab);
	}
	text_line(t, "};");
	text_line(t, "static const Golden goldens[] = {");
	text_line(t, "{golden_0_tokens, %d, golden_0_positions,", n);
	text_line(t, " (int)(sizeof golden_0_positions / sizeof *golden_0_positions)},");
	text_line(t, "};");
	text_line(t, "static const int golden_count = 1;");
}
