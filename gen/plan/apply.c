#include "gen/plan/apply.h"
#include "ir/plan_apply.h"

static bool
refused(Diag *d, Loc loc, const char *what)
{
	diag_error(d, loc, E_LEGAL, "%s cannot be compiled by this version", what);
	return false;
}

/* Real zero points are compiled as minima. */
static void
apply_weights(Graph *g, const Plan *p, Role role, uint32_t place)
{
	const PlanFormat *f = &p->weights[role][place];
	if (!plan_says(f->loc))
		return;
	Format *to = &g->formats[role][place];
	*to = f->format;
	if (to->zero == ZERO_REAL) {
		to->zero = ZERO_NONE;
		to->minimum = true;
	}
}

/* The sites of rows that linears read, each by itself. */
static bool
apply_activations(Diag *d, Graph *g, const Plan *p)
{
	for (int s = 0; s < SITE_COUNT; s++)
		for (uint32_t l = 0; l < (site_table[s].layered ? g->model->n_layer : 1); l++) {
			const PlanFormat *f = &p->activations[s][l];
			bool read = false;
			if (!plan_says(f->loc))
				continue;
			for (int role = 0; role < ROLE_COUNT; role++)
				if (role_site(role) == s) {
					graph_set_activations(g, role, (int)l, f->format);
					read = true;
				}
			if (!read)
				return refused(d, f->loc, "a format where no matrix reads");
		}
	return true;
}

static void
apply_kv(Graph *g, const Plan *p)
{
	for (uint32_t l = 0; l < g->model->n_layer; l++)
		if (plan_says(p->kv[l].loc))
			graph_set_kv(g, (int)l,
				     (CacheFormat){p->kv[l].format, p->kv[l].query_bits});
}

/*
 * Linears that no kernel has, at the plan's line: the row's, else the matrix's. Where the plan says
 * neither, the graph's checker names the tensor. A line's fault is said once.
 */
static void
check_linears(Diag *d, Graph *g, const Plan *p)
{
	Loc said = {0};
	for (int role = 0; role < ROLE_COUNT; role++)
		for (uint32_t l = 0; l < (role_layered[role] ? g->model->n_layer : 1); l++) {
			const int site = role_site(role);
			const Tensor *t = model_tensor(g->model, (Role)role, l);
			if (site < 0 || !t)
				continue;
			uint32_t expert = 0;
			const char *fault = graph_linear_fault(
				g->arena, g, role, (int)l, graph_row_format(g, role, (int)l),
				plan_columns(p, g->model, role, l), &expert);
			const Loc row = p->activations[site][l].loc,
				  weights = p->weights[role]
						      [model_place(g->model, role, (int)l, expert)]
							      .loc;
			const Loc loc = plan_says(row) ? row : weights;
			if (!fault || !plan_says(loc) ||
			    (loc.file == said.file && loc.offset == said.offset))
				continue;
			said = loc;
			diag_error(d, loc, E_PLAN_FORMAT, "%s, in '%s'", fault, role_names[role]);
			if (plan_says(row) && plan_says(weights))
				diag_note(d, weights, "the weights' format is here");
		}
}

bool
plan_apply(Diag *d, Graph *g, const Plan *p)
{
	const int before = diag_errors(d);
	for (int role = 0; role < ROLE_COUNT; role++)
		for (uint32_t i = 0; i < model_places(g->model, role); i++)
			apply_weights(g, p, (Role)role, i);
	apply_activations(d, g, p);
	apply_kv(g, p);
	check_linears(d, g, p);
	return diag_errors(d) == before && graph_apply_plan(g, p, d);
}
