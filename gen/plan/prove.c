/* The proof of a plan, against its model or, where the weights are stored folded, a reference. */
#include "gen/model/model.h"
#include "gen/plan/apply.h"

#include <stdlib.h>
#include <string.h>

/* ---- the reference ------------------------------------------------------------------------ */

/* Constants that the function depends on; the context does not count. */
static const struct {
	const char *name;
	size_t offset; /* of a uint32_t in Model */
} shape[] = {
	{"number of layers", offsetof(Model, n_layer)},
	{"width", offsetof(Model, hidden)},
	{"number of heads", offsetof(Model, n_head)},
	{"number of kv heads", offsetof(Model, n_kv_head)},
	{"head width", offsetof(Model, head_dim)},
	{"mlp width", offsetof(Model, inter)},
	{"vocabulary", offsetof(Model, n_vocab)},
};

static uint32_t
shape_of(const Model *m, size_t k)
{
	return *(const uint32_t *)((const char *)m + shape[k].offset);
}

static bool
same_rope(const Model *a, const Model *b)
{
	const size_t bytes = a->head_dim / 2 * sizeof *a->rope_divisors;
	return a->rope_base == b->rope_base && !a->rope_divisors == !b->rope_divisors &&
	       (!a->rope_divisors || memcmp(a->rope_divisors, b->rope_divisors, bytes) == 0);
}

static bool
check_reference(Diag *d, const Model *m, const Model *reference)
{
	for (size_t k = 0; k < sizeof shape / sizeof *shape; k++) {
		if (shape_of(m, k) == shape_of(reference, k))
			continue;
		diag_error(d, reference->loc, E_REFERENCE,
			   "the reference %s has another %s: %u, %s has %u", reference->file,
			   shape[k].name, shape_of(reference, k), m->file, shape_of(m, k));
		return false;
	}
	if (m->norm_eps != reference->norm_eps || !same_rope(m, reference)) {
		diag_error(d, reference->loc, E_REFERENCE,
			   "the reference %s norms or ropes by other constants than %s",
			   reference->file, m->file);
		return false;
	}
	for (int role = 0; role < ROLE_COUNT; role++)
		for (uint32_t l = 0; l < (role_layered[role] ? m->n_layer : 1); l++)
			if (!model_tensor(m, (Role)role, l) !=
			    !model_tensor(reference, (Role)role, l)) {
				diag_error(d, reference->loc, E_REFERENCE,
					   "only one of the reference %s and %s has a tensor for "
					   "'%s'",
					   reference->file, m->file, role_names[role]);
				return false;
			}
	return true;
}

/*
 * What the rounding of stored weights may make of a row at the end of a model: about the rounding
 * of one weight for floats. Codes of few bits are not near anything; then only gross faults show.
 */
static double
stored_tolerance(const Model *m)
{
	double worst = 0;
	for (int role = 0; role < ROLE_COUNT; role++)
		for (uint32_t i = 0; i < model_places(m, role); i++) {
			const uint32_t experts = model_experts(m, role);
			const Tensor *t = model_expert(m, (Role)role, i / experts, i % experts);
			if (!t || t->rows == 1)
				continue;
			const Format f = t->type->format;
			const double e = f.kind != NUMBER_FLOAT ? (f.bits < 8 ? 0.5 : 0.1)
					 : f.bits == 32		? 1e-5
								: 3e-2;
			worst = e > worst ? e : worst;
		}
	return worst;
}

bool
proof_settings(Arena *run, Diag *d, const Plan *p, const Model *m, const ProofSettings *s,
	       ProveOptions *o)
{
	char *end;
	if (!s->reference && !s->tolerance)
		return true;
	if (!p || !p->stored || !s->reference) {
		diag_error(d, (Loc){0}, E_USAGE,
			   s->reference
				   ? "--reference is for plans of weights that are stored folded"
				   : "--tolerance is for a proof against a --reference");
		diag_hint(d, "\"stored\": true in the plan says so; other plans are proved against "
			     "the model itself");
		return false;
	}
	o->tolerance = s->tolerance ? strtod(s->tolerance, &end) : 0;
	if (s->tolerance && (!*s->tolerance || *end || !(o->tolerance > 0 && o->tolerance < 1))) {
		diag_error(d, (Loc){0}, E_USAGE, "--tolerance '%s' is no number between 0 and 1",
			   s->tolerance);
		return false;
	}
	const ModelOptions options = {.jobs = o->jobs};
	o->reference = model_read(run, d, s->reference, &options);
	return o->reference && check_reference(d, m, o->reference);
}

/* ---- the proof ---------------------------------------------------------------------------- */

bool
plan_prove(Arena *run, Diag *d, const Graph *g, const ProveOptions *o, ProofResult *r)
{
	enum { TOKENS = 8 };
	const Model *m = g->model;
	const bool stored = g->plan && g->plan->stored;
	const Model *original = stored ? o->reference : m;
	int32_t tokens[TOKENS];
	ProofOptions options = {.jobs = o->jobs, .tokens = tokens, .tolerance = o->tolerance};
	if (stored && o->tolerance <= 0)
		options.tolerance = stored_tolerance(m);
	for (int n = 0; n < TOKENS && (uint32_t)n < m->n_ctx; n++)
		tokens[options.n_tokens++] =
			(int32_t)((uint64_t)m->n_vocab * (unsigned)(2 * n + 1) / (2 * TOKENS));
	return proof_run(d, original ? graph_build(run, original) : NULL, g, &options, r);
}

const char *
plan_proof_text(Arena *a, const Graph *g, const ProofResult *r)
{
	Text *t = text_new(a);
	if (r->rows)
		text_printf(t, "proved: %d rows agree to %.1e", r->rows, r->worst);
	else
		text_printf(t,
			    "not proved: the weights of %s are stored folded, and no "
			    "--reference gives the model they were made from",
			    g->model->file);
	if (r->tensors)
		text_printf(t, "; codes of %d tensors, %.1f dB above their error at least",
			    r->tensors, r->worst_snr);
	return t->text;
}
