/* Formats of weights, activations and cache. */
#include "gen/plan/reader.h"
#include "ir/plan_apply.h"

#include <string.h>

/* ---- what the three kinds share ----------------------------------------------------------- */

static bool
says(const Json *v, const char *key, const char *word)
{
	const Json *m = json_get(v, key);
	return m && m->kind == JSON_STRING && !strcmp(m->string, word);
}

static uint32_t
number(const Json *v, const char *key)
{
	const Json *m = json_get(v, key);
	return m && m->kind == JSON_NUMBER ? (uint32_t)m->number : 0;
}

/* Refuses a key that means nothing beside the others. */
static bool
refuse(PlanReader *r, const Json *v, const char *key, const char *why)
{
	const Json *m = json_get(v, key);
	if (!m)
		return false;
	diag_error(r->d, m->key_loc, E_PLAN_FORMAT, "\"%s\" says nothing here: %s", key, why);
	return true;
}

/* A float format: every key but "bits" is refused. */
static bool
float_format(PlanReader *r, const Json *v, uint32_t bits, PlanFormat *f)
{
	bool ok = true;
	f->format = (Format){.kind = NUMBER_FLOAT, .bits = (uint8_t)bits};
	for (const Json *m = v->first; m; m = m->next)
		if (strcmp(m->key, "bits"))
			ok = !refuse(r, v, m->key,
				     arena_printf(r->arena, "%u bits are floats", bits)) &&
			     ok;
	return ok;
}

static bool
zero_point(PlanReader *r, const Json *v, PlanFormat *f)
{
	f->format.zero = ZERO_NONE;
	if (says(v, "scheme", "asymmetric"))
		f->format.zero = says(v, "zero", "real") ? ZERO_REAL : ZERO_INTEGER;
	return f->format.zero != ZERO_NONE ||
	       !refuse(r, v, "zero", "only asymmetric formats have a zero point");
}

/* ---- weights ------------------------------------------------------------------------------ */

static bool
weight_format(PlanReader *r, const Json *v, PlanFormat *f)
{
	const double bits = json_get(v, "bits")->number;
	bool ok = true;
	if (bits >= 16)
		return float_format(r, v, (uint32_t)bits, f);
	f->format =
		(Format){.kind = NUMBER_INT,
			 .bits = bits < 2 ? 2 : (uint8_t)bits,
			 .scale_bits = says(v, "scale", "f32") ? 32 : 16,
			 .minimum = says(v, "scheme", "minimum"),
			 .group = number(v, "group"),
			 .bf16 = says(v, "scale", "bf16"),
			 .ternary = bits < 2,
			 .trits = says(v, "packing", "trits"),
			 .per_tensor = says(v, "group", "tensor"),
			 .signed_scale = json_get(v, "signed") && json_get(v, "signed")->boolean};
	ok = zero_point(r, v, f);
	if (f->format.ternary && (f->format.zero || f->format.minimum))
		ok = !refuse(r, v, "scheme", "1.58 bits are -1, 0 and 1") && ok;
	if (!f->format.ternary)
		ok = !refuse(r, v, "packing", "only 1.58 bits have two packings") && ok;
	if (f->format.zero || f->format.minimum)
		ok = !refuse(r, v, "signed", "only symmetric formats take signed scales") && ok;
	if (f->format.trits && f->format.group % 5) {
		diag_error(r->d, json_get(v, "group")->loc, E_PLAN_FORMAT,
			   "groups of %u do not divide into bytes of five trits", f->format.group);
		diag_hint(r->d, "a multiple of 5, \"row\", or \"packing\": \"2bit\"");
		ok = false;
	}
	return ok;
}

static const char *
matrix_name(const PlanReader *r, int role)
{
	const Tensor *t = model_tensor(r->model, (Role)role, 0);
	return t && t->rows > 1 && !role_stays_float(role) ? role_names[role] : NULL;
}

static uint32_t
matrix_experts(const Model *m, int role)
{
	return role_experts[role] ? model_experts(m, role) : 0;
}

static bool
role_is_layered(int role)
{
	return role_layered[role];
}

static bool
check_weights(Arena *a, Diag *d, const Json *v)
{
	return schema_check(a, d, v, O_WEIGHTS);
}

static bool
set_weights(PlanReader *r, const Json *v, int role, uint32_t place)
{
	PlanFormat f = {.loc = v->loc};
	if (!model_tensor(r->model, (Role)role, place / model_experts(r->model, role)))
		return true;
	if (!weight_format(r, v, &f))
		return false;
	r->plan->weights[role][place] = f;
	return true;
}

/* A tied head is the embedding: what is said of one alone is said of both. */
static void
share_tied(const Model *m, Plan *p)
{
	PlanFormat *embed = p->weights[ROLE_EMBED], *head = p->weights[ROLE_HEAD];
	if (m->tied && plan_says(embed->loc) && !plan_says(head->loc))
		*head = *embed;
	if (m->tied && plan_says(head->loc) && !plan_says(embed->loc))
		*embed = *head;
}

/* ---- activations -------------------------------------------------------------------------- */

/* A site whose row no linear reads has no activation format. */
static const char *
read_site_name(const PlanReader *r, int site)
{
	for (int role = 0; role < ROLE_COUNT; role++)
		if (role_site(role) == site && site_exists(r->model, (Site)site))
			return site_table[site].name;
	return NULL;
}

static bool
site_is_layered(int site)
{
	return site_table[site].layered;
}

static bool
check_activations(Arena *a, Diag *d, const Json *v)
{
	return schema_check(a, d, v, O_ACTIVATIONS);
}

static bool
set_activations(PlanReader *r, const Json *v, int site, uint32_t layer)
{
	const uint32_t bits = number(v, "bits"), group = number(v, "group");
	const Json *clip = json_get(v, "clip");
	const bool grouped = says(v, "granularity", "group");
	PlanFormat f = {.loc = v->loc};
	bool ok = true;
	if (bits == 32) {
		ok = float_format(r, v, bits, &f);
	} else {
		f.format = (Format){.kind = NUMBER_INT,
				    .bits = (uint8_t)bits,
				    .scale_bits = 32,
				    .group = group,
				    .clip = clip && clip->number < 1 ? (float)clip->number : 0};
		ok = zero_point(r, v, &f);
		if (!grouped)
			ok = !refuse(r, v, "group", "a scale is for a whole token") && ok;
		if (grouped && !group) {
			diag_error(
				r->d, v->loc, E_PLAN_FORMAT,
				"\"granularity\": \"group\" wants \"group\", the columns of one");
			ok = false;
		}
	}
	if (ok)
		r->plan->activations[site][layer] = f;
	return ok;
}

/* ---- cache -------------------------------------------------------------------------------- */

static const char *
layer_name(const PlanReader *r, int i)
{
	(void)r;
	(void)i;
	return "";
}

static bool
always_layered(int i)
{
	(void)i;
	return true;
}

static bool
check_kv(Arena *a, Diag *d, const Json *v)
{
	return schema_check(a, d, v, O_KV);
}

static bool
set_kv(PlanReader *r, const Json *v, int i, uint32_t layer)
{
	const uint32_t bits = number(v, "bits"), query = number(v, "query");
	PlanFormat f = {.loc = v->loc};
	(void)i;
	if (bits >= 16) {
		if (!float_format(r, v, bits, &f))
			return false;
	} else {
		f.format = (Format){.kind = NUMBER_INT, .bits = (uint8_t)bits, .scale_bits = 32};
		f.query_bits = query ? (uint8_t)query : 16;
		if (!zero_point(r, v, &f))
			return false;
	}
	r->plan->kv[layer] = f;
	return true;
}

static void
read_kv(PlanReader *r, const Json *kv)
{
	static const Places places = {"layer", 1, layer_name, always_layered, NULL};
	if (!schema_is_single(kv)) {
		rules_apply(r, kv, &places, check_kv, set_kv);
		return;
	}
	bool ok = check_kv(r->arena, r->d, kv);
	for (uint32_t l = 0; ok && l < r->model->n_layer; l++)
		ok = set_kv(r, kv, 0, l);
}

/* ---- the sections ------------------------------------------------------------------------- */

void
read_formats(PlanReader *r)
{
	static const Places tensors = {"matrix", ROLE_COUNT, matrix_name, role_is_layered,
				       matrix_experts};
	static const Places sites = {"site that a linear reads", SITE_COUNT, read_site_name,
				     site_is_layered, NULL};
	const Json *weights = json_get(r->json, "weights");
	const Json *activations = json_get(r->json, "activations");
	const Json *kv = json_get(r->json, "kv");
	if (weights)
		rules_apply(r, weights, &tensors, check_weights, set_weights);
	share_tied(r->model, r->plan);
	if (activations)
		rules_apply(r, activations, &sites, check_activations, set_activations);
	if (kv)
		read_kv(r, kv);
}
