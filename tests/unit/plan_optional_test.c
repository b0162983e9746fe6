/*
 * Plans on models with biases, with norms of query and key heads, and with both: the same function
 * whatever the plan, what must run behind a norm, and faults that forget a bias.
 */
#include "plan_bench.h"

static const char *const extras_names[] = {"", "biases", "norms", "biases and norms"};

/* What a transform leaves to run where heads are normed: in front of rope it stops at the gain. */
static int
online_with(size_t i, unsigned extras)
{
	const bool at_rope = legal[i].site == SITE_QK_RAW || legal[i].site == SITE_QK_ROPE;
	const int layer = at_rope && extras & NORMS ? 2 : legal[i].online;
	return layer * (site_table[legal[i].site].layered ? LAYERS : 1);
}

static void
test_sites(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof legal / sizeof *legal; i++)
		for (unsigned extras = BIASES; extras <= (BIASES | NORMS); extras++) {
			Bench b = open_bench_with(i % 2, extras);
			Plan *p = plan_new(b.a, b.model);
			print_message("%s, %s\n", legal[i].name, extras_names[extras]);
			put_all(&b, p, legal[i].site, legal[i].make, legal[i].whole);
			check_same(&b, p, online_with(i, extras));
			close_bench(&b);
		}
}

/* Behind the norm of heads every orthogonal transform of a head is undone by a matrix gain. */
static const Make matrix_gains[] = {hadamard, learned,	   householder,	   signs,
				    so2,      permutation, signed_hadamard};

/* Transforms, norms, gains, ropes and the append are one kernel. */
static void
assert_in_append(const Graph *g, int func)
{
	const Func *f = &g->funcs[func];
	int append = -1, inside = 0;
	for (int i = 0; i < f->count; i++)
		if (f->values[i].op == OP_KV_APPEND)
			append = f->values[i].kernel;
	for (int i = 0; i < f->count; i++) {
		inside += f->values[i].kernel == append;
		if (op_joins_append(f->values[i].op))
			assert_int_equal(f->values[i].kernel, append);
	}
	assert_int_equal(inside, 9);
}

static void
test_matrix_gain(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof matrix_gains / sizeof *matrix_gains; i++)
		for (int whole = 0; whole < 2; whole++) {
			Bench b = open_bench_with(i % 2, i % 3 ? NORMS : BIASES | NORMS);
			Plan *p = plan_new(b.a, b.model);
			put_all(&b, p, SITE_QK_RAW, matrix_gains[i], whole);
			check_same(&b, p, 2 * LAYERS);
			assert_in_append(planned(&b, p, NULL, 0), 1);
			put_all(&b, p, SITE_QK_ROPE, hadamard, false);
			put_all(&b, p, SITE_RESIDUAL, hadamard, false);
			put_all(&b, p, SITE_V, dense, true);
			check_same(&b, p, 4 * LAYERS);
			close_bench(&b);
		}
}

/* Layers that differ in gains and biases alone share one code, with their matrix gains. */
static void
test_shared_code(void **state)
{
	(void)state;
	Bench b = open_bench_with(false, BIASES | NORMS);
	Plan *p = plan_new(b.a, b.model);
	put_all(&b, p, SITE_QK_RAW, hadamard, false);
	const Graph *g = planned(&b, p, NULL, 0);
	assert_int_equal(g->funcs[2].same_as, 1);
	close_bench(&b);
}

static void
test_refusals(void **state)
{
	(void)state;
	FILE *f;
	Bench b = open_bench_with(false, NORMS);
	Plan *p = plan_new(b.a, b.model);
	put_all(&b, p, SITE_QK_RAW, diagonal, false);
	Diag *d = listen(&b, &f);
	assert_false(graph_apply_plan(graph_build(b.a, b.model), p, d));
	fclose(f);
	print_message("%s", b.said);
	assert_non_null(strstr(b.said, "plan.json:2:1"));
	assert_non_null(strstr(
		b.said, "rmsnorm of heads commutes with orthogonal transforms of each head"));
	free(b.said);
	close_bench(&b);
}

/* One random transform, or none, at every site of every layer. */
static void
test_random(void **state)
{
	(void)state;
	for (uint64_t seed = 0; seed < 24; seed++) {
		Bench b = open_bench_with(seed % 2, BIASES + (unsigned)(seed % 3));
		b.r.state = seed * 77 + 5;
		Plan *p = plan_new(b.a, b.model);
		for (size_t i = 0; i < sizeof legal / sizeof *legal; i++)
			if (random_below(&b.r, 4) == 0)
				put_all(&b, p, legal[i].site, legal[i].make, legal[i].whole);
		check_same(&b, p, -1);
		close_bench(&b);
	}
}

static void
test_contract(void **state)
{
	(void)state;
	check_contract(BIASES | NORMS);
}

/* ---- faults -------------------------------------------------------------------------------- */

static const struct {
	int role;
	const char *site;
} biases[] = {
	{ROLE_Q_BIAS, "layers.1.attn.qk.raw"}, {ROLE_K_BIAS, "layers.1.attn.qk.raw"},
	{ROLE_V_BIAS, "layers.1.attn.v"},      {ROLE_O_BIAS, "residual"},
	{ROLE_GATE_BIAS, "layers.1.mlp.mid"},  {ROLE_UP_BIAS, "layers.1.mlp.mid"},
	{ROLE_DOWN_BIAS, "residual"},
};

/* A bias of layer 1 that is not there, or has one sign flipped. */
typedef struct BiasFault {
	int role;
	bool forgotten;
} BiasFault;

static void
spoil(void *arg, int role, int layer, double *w, uint32_t rows, uint32_t columns)
{
	const BiasFault *f = arg;
	if (role != f->role || layer != 1)
		return;
	if (f->forgotten)
		memset(w, 0, (size_t)rows * columns * sizeof *w);
	else
		w[columns / 2] = -w[columns / 2];
}

static void
must_refuse_bias(Bench *b, const Graph *g, const WeightFault *fault, int role, const char *site)
{
	must_refuse(b, g, fault,
		    arena_printf(b->a, "layer.1: bias of tensor '%s'",
				 model_tensor(b->model, (Role)role, 1)->name),
		    site);
}

static Plan *
rich_plan(Bench *b)
{
	Plan *p = plan_new(b->a, b->model);
	put_all(b, p, SITE_RESIDUAL, hadamard, false);
	put_all(b, p, SITE_QK_RAW, so2, true);
	put_all(b, p, SITE_V, dense, true);
	put_all(b, p, SITE_MLP_MID, scaled_permutation, false);
	return p;
}

/* The bias left out, one element wrong, or not taken into the basis of its row. */
static void
test_forgotten_bias(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof biases / sizeof *biases; i++) {
		Bench b = open_bench_with(true, i % 2 ? BIASES : BIASES | NORMS);
		const int role = biases[i].role;
		for (int forgotten = 0; forgotten < 2; forgotten++) {
			BiasFault f = {role, forgotten};
			const WeightFault fault = {spoil, &f};
			must_refuse_bias(&b, planned(&b, rich_plan(&b), NULL, 0), &fault, role,
					 biases[i].site);
		}
		Graph *g = planned(&b, rich_plan(&b), NULL, 0);
		for (int k = 0; k < g->funcs[2].count; k++)
			if (g->funcs[2].values[k].role == role) {
				assert_non_null(g->funcs[2].values[k].fold_out);
				g->funcs[2].values[k].fold_out = NULL;
			}
		must_refuse_bias(&b, g, NULL, role, biases[i].site);
		close_bench(&b);
	}
}

/* A norm's gain taken for one, and a matrix gain turned round, are seen where the row is read. */
static void
test_norm_faults(void **state)
{
	(void)state;
	Bench b = open_bench_with(false, NORMS);
	Plan *p = plan_new(b.a, b.model);
	put_all(&b, p, SITE_QK_RAW, learned, false);
	for (int fault = 0; fault < 2; fault++) {
		Graph *g = planned(&b, p, NULL, 0);
		Func *f = &g->funcs[2];
		for (int k = 0; k < f->count; k++)
			if (fault == 0 && f->values[k].role == ROLE_K_NORM)
				f->values[k].role = ROLE_Q_NORM;
			else if (fault == 1 && f->values[k].op == OP_TRANSFORM)
				f->values[k].transform =
					transform_inverse(b.a, f->values[k].transform);
		must_refuse(&b, g, NULL, "layer.1: rope", "layers.1.attn.qk.raw");
	}
	close_bench(&b);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sites),	       cmocka_unit_test(test_matrix_gain),
		cmocka_unit_test(test_shared_code),    cmocka_unit_test(test_refusals),
		cmocka_unit_test(test_random),	       cmocka_unit_test(test_contract),
		cmocka_unit_test(test_forgotten_bias), cmocka_unit_test(test_norm_faults),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
