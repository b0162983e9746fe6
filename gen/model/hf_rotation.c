/* Folders whose config.json says that their weights are stored in a rotated basis. */
#include "hf.h"
#include "keys.h"

#include <string.h>

const RotationInfo rotation_table[ROTATIONS] = {
#define ROTATION(e, name, where) [e] = {name, where},
#include "rotations.def"
};

bool
hf_rotation_config(HfReader *r, RotationDialect dialect, const Json *v)
{
	if (!v || (v->kind == JSON_OBJECT && !v->count))
		return true;
	if (v->kind != JSON_OBJECT) {
		diag_error(r->d, v->loc, E_METADATA, "'%s' must be an object, not %s", v->key,
			   json_kind_names[v->kind]);
		return false;
	}
	if (r->rotation) {
		diag_error(r->d, v->loc, E_DIALECT, "config.json speaks of rotations twice");
		diag_note(r->d, r->rotation->loc, "the other place is here");
		return false;
	}
	r->rotation = ARENA_NEW(r->arena, ModelRotation);
	*r->rotation = (ModelRotation){.dialect = (uint8_t)dialect, .loc = v->key_loc, .config = v};
	return true;
}

static bool
ends_with(const char *name, const char *end)
{
	const size_t n = strlen(name), e = strlen(end);
	return n >= e && !strcmp(name + n - e, end);
}

/* Matrices and permutations of transforms that run are called MODULE.GROUP_LOCATION.weight and
 * .perm. */
static bool
of_compressed(const HfReader *r, const char *name)
{
	static const char *const ends[] = {
		"_input.weight",  "_input.perm",  "_weight_input.weight",  "_weight_input.perm",
		"_output.weight", "_output.perm", "_weight_output.weight", "_weight_output.perm",
		"_q_attn.weight", "_q_attn.perm", "_k_cache.weight",	   "_k_cache.perm",
	};
	const Json *groups = key_get(r->rotation->config, "config_groups");
	for (const Json *g = groups && groups->kind == JSON_OBJECT ? groups->first : NULL; g;
	     g = g->next)
		for (size_t i = 0; i < sizeof ends / sizeof *ends; i++)
			if (ends_with(name, arena_printf(r->arena, ".%s%s", g->key, ends[i])))
				return true;
	return false;
}

/* Of auto-round: what runs in front of a module, and what was kept beside the model. */
static bool
of_auto_round(const HfReader *r, const char *name)
{
	static const char *const ends[] = {
		".spinquant_r1_type", ".spinquant_r1_size", ".spinquant_r1_matrix",
		".spinquant_r4_type", ".spinquant_r4_size", ".spinquant_r4_matrix",
	};
	static const char *const whole[] = {
		"spinquant_R1",	       "spinquant_R2_head",  "spinquant_R3_head",
		"spinquant_R4_matrix", "spinquant_R4_had_K", "spinquant_R4_K",
	};
	(void)r;
	for (size_t i = 0; i < sizeof ends / sizeof *ends; i++)
		if (ends_with(name, ends[i]))
			return true;
	for (size_t i = 0; i < sizeof whole / sizeof *whole; i++)
		if (!strcmp(name, whole[i]))
			return true;
	return false;
}

bool
hf_rotation_part(HfReader *r, const SafeTensor *s)
{
	static bool (*const of[ROTATIONS])(const HfReader *r, const char *name) = {
		[ROTATION_COMPRESSED] = of_compressed,
		[ROTATION_AUTO_ROUND] = of_auto_round,
	};
	ModelRotation *x = r->rotation;
	if (!x || !of[x->dialect](r, s->name))
		return false;
	if (!x->tensors) {
		uint32_t n = 0;
		for (uint32_t i = 0; i < r->n_shards; i++)
			n += r->shards[i]->count;
		x->tensors = ARENA_ARRAY(r->arena, const SafeTensor *, n);
	}
	((const SafeTensor **)x->tensors)[x->n_tensors++] = s;
	return true;
}
