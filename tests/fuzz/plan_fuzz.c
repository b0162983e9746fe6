/*
 * Mutants of a plan and its sidecar, read from memory: plan_fuzz MODEL PLAN DATA COUNT SEED [JOBS]
 *
 * An accepted plan is applied to rows, written, and what was written is read back. `plan_fuzz MODEL
 * PLAN DATA i+1 SEED 0` runs mutant i alone.
 */
#define _GNU_SOURCE
#include <math.h>

#include "gen/model/model.h"
#include "gen/plan/plan.h"
#include "tests/fuzz/mutants.h"

enum { MUTATIONS = 3, HEAD = 600 };

typedef struct Subject {
	const Model *model;
	Mapped plan, data;
} Subject;

/* Words that mean something in plans, numbers at the edges of what is accepted. */
static const char *const words[] = {
	"0",
	"1",
	"-1",
	"2",
	"8",
	"16",
	"32",
	"64",
	"1.58",
	"1e308",
	"4294967296",
	"1048576",
	"18446744073709551616",
	"0.001",
	"null",
	"true",
	"{}",
	"[]",
	"\"\"",
	"\"*\"",
	"[1, 0]",
	"\"R1\"",
	"\"R2\"",
	"\"R3\"",
	"\"P3\"",
	"\"row\"",
	"\"tensor\"",
	"\"asymmetric\"",
	"\"layers.*.p3\"",
	"\"hadamard\"",
	"\"inverse\"",
	"\"product\"",
	"\"permutation\"",
	"\"sum\"",
	"\"block\"",
	"{ \"hadamard\": 32 }",
	"{ \"identity\": 1048576 }",
	"{ \"inverse\": \"R3\" }",
	"{ \"kronecker\": [\"R2\", \"R2\"] }",
	"{ \"pad\": 8, \"to\": 64 }",
	"{ \"scalar\": 64, \"factor\": 1e-300 }",
	"{ \"householder\": [1, 2, 3, 4] }",
	"{ \"givens\": 32, \"plane\": [1, 2], \"angle\": 1e9 }",
	"{ \"so2\": [1, 1e300] }",
	"\"layers.{0,1}.*\"",
	"\"layers.*.{attn.in,mlp.in}\"",
	"\"residual\"",
	"\"head.in\"",
};

/* What an accepted plan promises: its transforms run, and written it reads back. */
static void
use_plan(Arena *a, const Plan *p, const Model *m)
{
	for (int s = 0; s < SITE_COUNT; s++)
		for (uint32_t l = 0; l < (site_table[s].layered ? m->n_layer : 1); l++) {
			const Transform *t = p->transforms[s][l].transform;
			if (!t)
				continue;
			const size_t n = t->n_out > t->n ? t->n_out : t->n;
			double *row = ARENA_ARRAY(a, double, n), *work = ARENA_ARRAY(a, double, n);
			for (size_t i = 0; i < t->n; i++)
				row[i] = 1.0 / (double)(i + 1);
			transform_apply(t, row, work);
			transform_facts(transform_normalise(a, t));
		}
	const PlanText text = plan_write(a, p, m, "x.safetensors");
	Diag *d = diag_new(a, NULL);
	diag_limit(d, 0);
	const Plan *again = plan_read_memory(a, d, "plan.json", text.json->text, text.json->size,
					     text.data ? (const uint8_t *)text.data->text : NULL,
					     text.data ? text.data->size : 0, m);
	if (!again) {
		fprintf(stderr, "what was written is not read:\n%s", text.json->text);
		abort();
	}
}

static bool
run_mutant(Arena *a, void *subject, uint64_t *r)
{
	const Subject *s = subject;
	Mutant text = mutant_new(s->plan.data, s->plan.size);
	Mutant side = mutant_new(s->data.data, s->data.size);
	for (size_t k = 0, n = 1 + random_below(r, MUTATIONS); k < n; k++)
		if (random_below(r, 4))
			mutate_text(&text, r, words, sizeof words / sizeof *words);
		else
			mutate_binary(&side, r, HEAD);
	Diag *d = diag_new(a, NULL);
	diag_limit(d, 0);
	const Plan *p = plan_read_memory(a, d, "plan.json", (const char *)text.data, text.size,
					 side.data, side.size, s->model);
	if (!p == !diag_errors(d))
		abort(); /* a refusal without a message, or the other way round */
	if (p)
		use_plan(a, p, s->model);
	free(text.data);
	free(side.data);
	return p != NULL;
}

static bool
map(const char *path, Mapped *m)
{
	const char *error;
	if (file_map(path, m, &error))
		return true;
	fprintf(stderr, "cannot read %s: %s\n", path, error);
	return false;
}

int
main(int argc, char **argv)
{
	if (argc < 6 || argc > 7) {
		fprintf(stderr, "usage: plan_fuzz MODEL PLAN DATA COUNT SEED [JOBS]\n");
		return 2;
	}
	Arena *run = arena_new();
	Subject s = {.model = model_read(run, diag_new(run, stderr), argv[1], NULL)};
	if (!s.model || !map(argv[2], &s.plan) || !map(argv[3], &s.data))
		return 2;
	const int status = mutants_run(argv[2], run_mutant, &s, argc - 4, argv + 4);
	arena_free(run);
	return status;
}
