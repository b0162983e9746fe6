/* What becomes of a tied embedding and head whose folds would differ. */
#include "plan_apply.h"

enum { SHARE_PERCENT = 1, ROUNDED_BITS = 8 };

/* Why one table cannot serve both; null: it can. */
static const char *
must_be_two(const Graph *g, const Plan *p)
{
	if (p->transforms[SITE_HEAD_IN][0].transform)
		return "head.in has a transform of its own, which the head alone takes";
	if (p->transforms[SITE_EMBED_OUT][0].transform)
		return "embed.out has a transform of its own, which the embedding alone takes";
	if (p->codes[ROLE_EMBED][0].codes || p->codes[ROLE_HEAD][0].codes)
		return "the plan brings codes, which are in the basis of their folds";
	if (!format_equal(graph_weight_format(g, ROLE_EMBED, -1),
			  graph_weight_format(g, ROLE_HEAD, -1)))
		return "their formats differ";
	return NULL;
}

/* Why two are better where either can be; null: one is. */
static const char *
two_are_cheaper(const Graph *g)
{
	const Format activations = graph_activations(g, ROLE_HEAD, -1);
	const uint64_t head = (uint64_t)g->model->n_vocab * g->model->hidden;
	if (!format_is_float(activations) && activations.bits < ROUNDED_BITS &&
	    !format_is_float(graph_weight_format(g, ROLE_HEAD, -1)))
		return "the head's row is rounded to few bits, which the plan's basis is better "
		       "for";
	if ((g->tied.adds + g->tied.multiplies) * 100 > head * SHARE_PERCENT)
		return "one table would take transforms of more than 1 % of the head's work";
	return NULL;
}

static bool
refuse(Graph *g, const Plan *p, const char *why, Diag *d)
{
	const Loc residual = p->transforms[SITE_RESIDUAL][0].loc;
	diag_error(d, plan_says(residual) ? residual : p->transforms[SITE_HEAD_IN][0].loc,
		   E_SITE_LAW, "embedding and head cannot share one table: %s", why);
	diag_hint(d, "--tied=twice stores it twice");
	g->tied.why = why;
	return false;
}

static void
share(Graph *g)
{
	for (int n = 0; n < g->count; n++)
		for (int i = 0; i < g->funcs[n].count; i++) {
			Value *v = &g->funcs[n].values[i];
			v->shared |= v->role == ROLE_EMBED || v->role == ROLE_HEAD;
		}
}

bool
graph_choose_tied(Graph *g, const Plan *p, Diag *d)
{
	const Transform *residual = p->transforms[SITE_RESIDUAL][0].transform;
	Tied *tied = &g->tied;
	tied->chosen = TIED_CHEAPER;
	if (!g->model->tied || p->stored ||
	    (!residual && !p->transforms[SITE_HEAD_IN][0].transform &&
	     !p->transforms[SITE_EMBED_OUT][0].transform))
		return true;
	const char *two = must_be_two(g, p);
	if (two && tied->wanted == TIED_ONLINE)
		return refuse(g, p, two, d);
	if (residual) {
		const TransformFacts to = transform_facts(residual),
				     from = transform_facts(transform_inverse(g->arena, residual));
		tied->adds = to.adds + from.adds;
		tied->multiplies = to.multiplies + from.multiplies;
	}
	if (!two && tied->wanted == TIED_CHEAPER)
		two = two_are_cheaper(g);
	else if (!two && tied->wanted == TIED_TWICE)
		two = "--tied=twice says so";
	tied->why = two				  ? two
		    : tied->wanted == TIED_ONLINE ? "--tied=online says so"
						  : "that costs less than another table";
	tied->chosen = two ? TIED_TWICE : TIED_ONLINE;
	if (!two)
		share(g);
	return true;
}
