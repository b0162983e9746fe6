/*
 * What can be expressed: options, and each value against the generations' rules. Facts of OpenVINO
 * 2026.4.1 and its NPU compiler.
 */
#include "npu.h"

#include <math.h>
#include <string.h>

#include "../../ir/plan.h"

enum { CHUNK = 128, CONTEXT = 1024 };

const char *const npu_platform_names[NPU_PLATFORMS] = {
#define NPU_PLATFORM(e, name, what) name,
#include "platforms.def"
};

/* ---- options ------------------------------------------------------------------------------ */

/* The generations of a list; null: all. */
static bool
choose_platforms(Diag *d, const char *list, NpuFacts *f)
{
	for (int p = 0; p < NPU_PLATFORMS && !list; p++)
		f->platform[p] = true;
	for (const char *s = list; s; s = strchr(s, ',') ? strchr(s, ',') + 1 : NULL) {
		const size_t length = strcspn(s, ",");
		int p = 0;
		while (p < NPU_PLATFORMS && (strlen(npu_platform_names[p]) != length ||
					     strncmp(npu_platform_names[p], s, length)))
			p++;
		if (p == NPU_PLATFORMS) {
			diag_error(d, (Loc){0}, E_NPU, "--npu-platform does not know '%.*s'",
				   (int)length, s);
			diag_hint(d, "3720, 4000 or 5010, separated by commas");
			return false;
		}
		f->platform[p] = true;
	}
	return true;
}

/* One of two words; null is the first. *second: it is the second. */
static bool
choose_word(Diag *d, const char *option, const char *word, const char *const words[2], bool *second)
{
	*second = word && !strcmp(word, words[1]);
	if (!word || *second || !strcmp(word, words[0]))
		return true;
	diag_error(d, (Loc){0}, E_NPU, "%s '%s' is not known", option, word);
	diag_hint(d, "%s or %s", words[0], words[1]);
	return false;
}

/* Why a prefill of so many tokens is none; null: it is. */
static const char *
chunk_fault(const Model *m, uint32_t chunk)
{
	return chunk != m->n_head && chunk != m->n_kv_head
		       ? NULL
		       : "the model has as many heads, and OpenVINO's CPU plugin takes one for the "
			 "other and computes wrong numbers";
}

/* The largest of the usual sizes that works. */
static uint32_t
usual_chunk(const Model *m, uint32_t context)
{
	uint32_t chunk = CHUNK;
	while (chunk > 1 && (chunk > context || chunk_fault(m, chunk)))
		chunk /= 2;
	return chunk;
}

static bool
choose_sizes(Diag *d, const Model *m, const NpuOptions *o, NpuFacts *f)
{
	const char *fault;
	f->context = o->context ? (uint32_t)o->context : m->n_ctx < CONTEXT ? m->n_ctx : CONTEXT;
	f->chunk = o->chunk ? (uint32_t)o->chunk : usual_chunk(m, f->context);
	if (f->context > m->n_ctx) {
		diag_error(d, m->loc, E_NPU, "--npu-context %d is beyond the model's context of %u",
			   o->context, m->n_ctx);
		return false;
	}
	if (f->chunk > f->context) {
		diag_error(d, m->loc, E_NPU,
			   "--npu-chunk %u is beyond the static models' %u positions", f->chunk,
			   f->context);
		diag_hint(d, "--npu-context N");
		return false;
	}
	fault = o->chunk ? chunk_fault(m, f->chunk) : NULL;
	if (fault) {
		diag_error(d, m->loc, E_NPU, "--npu-chunk %u cannot be: %s", f->chunk, fault);
		diag_hint(d, "%u, or any number but %u and %u", usual_chunk(m, f->context),
			  m->n_head, m->n_kv_head);
		return false;
	}
	return true;
}

bool
npu_facts(Diag *d, const Graph *g, const NpuOptions *o, NpuFacts *f)
{
	static const char *const types[] = {"i4", "u2"}, *const blobs[] = {"none", "auto"};
	bool blob;
	*f = (NpuFacts){0};
	return choose_platforms(d, o->platforms, f) &&
	       choose_word(d, "--npu-w2", o->w2, types, &f->u2) &&
	       choose_word(d, "--npu-blob", o->blob, blobs, &blob) &&
	       choose_sizes(d, g->model, o, f);
}

/* ---- rules -------------------------------------------------------------------------------- */

typedef enum Rule {
#define NPU_RULE(e, r3720, r4000, r5010, what, hint) e,
#include "rules.def"
	RULES
} Rule;

enum { TAKEN, REFUSED };

static const struct {
	uint8_t verdict[NPU_PLATFORMS];
	const char *what, *hint;
} rule_table[RULES] = {
#define NPU_RULE(e, r3720, r4000, r5010, what, hint) {{r3720, r4000, r5010}, what, hint},
#include "rules.def"
};

typedef struct Legal {
	const Graph *g;
	const NpuFacts *facts;
	Diag *d;
	const Func *f;
	/* Where the last refusal was: a line's fault is said once. */
	Loc said;
	Rule rule;
} Legal;

static bool
has_u2(const Legal *l, const Value *v)
{
	return op_table[v->op].tensor == TENSOR_MATRIX &&
	       npu_form(graph_weight_format(l->g, v->role, l->f->layer), l->facts).element ==
		       ELEMENT_U2;
}

static bool
has_odd_groups(const Legal *l, const Value *v)
{
	if (op_table[v->op].tensor != TENSOR_MATRIX)
		return false;
	const Format f = graph_weight_format(l->g, v->role, l->f->layer);
	uint32_t rows, columns;
	graph_tensor_shape(l->g, v, &rows, &columns);
	return npu_group(f, columns) == 0;
}

/* Of a layer: the head has one row at a time. */
static bool
has_odd_width(const Legal *l, const Value *v)
{
	return v->op == OP_LINEAR && l->f->layer >= 0 && v->width % 2 != 0;
}

static bool
beyond_f16(double x)
{
	return fabs(x) > 65504.0 || (x != 0.0 && fabs(x) < 0x1p-24);
}

static bool
has_factor_beyond(const Transform *t)
{
	bool beyond = t->kind == T_SCALAR && beyond_f16(t->scalar);
	for (uint32_t i = 0; i < t->n && t->kind == T_DIAGONAL; i++)
		beyond |= beyond_f16(t->vector[i]);
	for (uint32_t i = 0; i < t->n_children; i++)
		beyond |= has_factor_beyond(t->children[i]);
	return beyond;
}

static bool
has_factor_beyond_f16(const Legal *l, const Value *v)
{
	(void)l;
	return v->op == OP_TRANSFORM && has_factor_beyond(v->transform);
}

static bool (*const rule_meets[RULES])(const Legal *l, const Value *v) = {
	[RULE_U2] = has_u2,
	[RULE_GROUP] = has_odd_groups,
	[RULE_WIDTH] = has_odd_width,
	[RULE_FACTOR_F16] = has_factor_beyond_f16,
};

/* The plan's line about the weights of v, else what asked for v. */
static Loc
place_of(const Legal *l, const Value *v)
{
	const Plan *p = l->g->plan;
	if (!p || op_table[v->op].tensor != TENSOR_MATRIX)
		return v->loc;
	const Loc says = p->weights[v->role][role_layered[v->role] ? l->f->layer : 0].loc;
	return plan_says(says) ? says : v->loc;
}

static bool
taken_by_any(Rule rule)
{
	bool taken = false;
	for (int p = 0; p < NPU_PLATFORMS; p++)
		taken |= rule_table[rule].verdict[p] == TAKEN;
	return taken;
}

static void
refuse(Legal *l, const Value *v, Rule rule, NpuPlatform platform)
{
	const Loc loc = place_of(l, v);
	if (l->said.file == loc.file && l->said.offset == loc.offset && l->rule == rule)
		return;
	l->said = loc;
	l->rule = rule;
	const char *who = v->role >= 0 ? role_names[v->role] : op_table[v->op].name;
	if (taken_by_any(rule))
		diag_error(l->d, loc, E_NPU_RULE, "%s: NPU %s does not take %s", who,
			   npu_platform_names[platform], rule_table[rule].what);
	else
		diag_error(l->d, loc, E_NPU_RULE, "%s: models for the NPU cannot have %s", who,
			   rule_table[rule].what);
	diag_hint(l->d, "%s", rule_table[rule].hint);
}

bool
npu_legal(Arena *run, Diag *d, const Graph *g, const NpuFacts *facts)
{
	const int before = diag_errors(d);
	Legal l = {.g = g, .facts = facts, .d = d, .rule = RULES};
	(void)run;
	for (int n = 0; n < g->count; n++) {
		l.f = &g->funcs[n];
		for (int i = 0; i < l.f->count; i++)
			for (int r = 0; r < RULES; r++)
				for (int p = 0; p < NPU_PLATFORMS; p++)
					if (facts->platform[p] && rule_table[r].verdict[p] &&
					    rule_meets[r](&l, &l.f->values[i]))
						refuse(&l, &l.f->values[i], (Rule)r,
						       (NpuPlatform)p);
	}
	return diag_errors(d) == before;
}
