/* Sites as a table, and the plan that says nothing. */
#include "plan.h"

const SiteInfo site_table[SITE_COUNT] = {
#define SITE(e, name, layered, width, heads, online, what) [e] = {name, what, layered, online},
#include "sites.def"
};

void
site_shape(const Model *m, Site s, uint32_t *width, uint32_t *heads)
{
	switch (s) {
#define SITE(e, name, layered, w, h, online, what) \
	case e:                                    \
		*width = m->w;                     \
		*heads = m->h;                     \
		return;
#include "sites.def"
	case SITE_COUNT:
		break;
	}
	BUG("no site %d", (int)s);
}

bool
site_exists(const Model *m, Site s)
{
	if (s == SITE_EXPERT_MID || s == SITE_EXPERT_DOWN_IN)
		return m->n_expert > 0;
	if (s == SITE_MLP_MID || s == SITE_DOWN_IN)
		return !m->n_expert || model_tensor(m, ROLE_DOWN, 0);
	return true;
}

const char *
plan_matrix_name(Arena *a, const Model *m, int role, uint32_t place)
{
	const uint32_t experts = model_experts(m, role);
	if (!role_layered[role])
		return role_names[role];
	const char *name = arena_printf(a, "layers.%u.%s", place / experts, role_names[role]);
	return role_experts[role] ? arena_printf(a, "%s.%u", name, place % experts) : name;
}

Plan *
plan_new(Arena *run, const Model *m)
{
	Plan *p = ARENA_NEW(run, Plan);
	for (int s = 0; s < SITE_COUNT; s++) {
		const size_t n = site_table[s].layered ? m->n_layer : 1;
		p->transforms[s] = ARENA_ARRAY(run, PlanTransform, n);
		p->activations[s] = ARENA_ARRAY(run, PlanFormat, n);
	}
	for (int role = 0; role < ROLE_COUNT; role++) {
		const size_t n = model_places(m, role);
		p->weights[role] = ARENA_ARRAY(run, PlanFormat, n);
		p->codes[role] = ARENA_ARRAY(run, PlanCodes, n);
	}
	p->kv = ARENA_ARRAY(run, PlanFormat, m->n_layer);
	return p;
}
