/*
 * auto-round: `spinquant_config`, R1 to R4 where they are on. In its words rows are x R; here a map
 * is T = R^T. R is Sylvester's over sqrt(n), of R4 QuaRot's of any order; where it is random, or
 * was trained, and is folded in, it may be stored nowhere. R1  online: the rows of q, k, v, gate
 * and up, behind their gains. Else folded: the residual's. R2  of each head, folded into v and o.
 *   R3  on heads of q and k behind rope: in no weights, so any orthogonal map is right.
 *   R4  the row of down.
 * What runs in front of a quantized module is told beside its codes too: MODULE.spinquant_r1_type
 * (0 deterministic, 1 random), _size and, if random, _matrix of 1 and -1.
 */
#include "import_impl.h"

#include <math.h>
#include <string.h>

#define KEY_ROWS "gen/plan/rotation_keys.def"
#define KEY_READER Import
#define KEY_ID E_METADATA_UNKNOWN
#include "gen/model/key_rows.h"

enum { R1, R2, R3, R4, COUNT };
enum { TYPE_DETERMINISTIC, TYPE_RANDOM };

static const char *const keys[COUNT] = {"r1", "r2", "r3", "r4"};
static const char *const random_keys[COUNT] = {"random_r1", "random_r2", "random_r3", "random_r4"};
/* What the tool keeps of a rotation beside the model; of R4 its base. */
static const char *const kept[COUNT] = {"spinquant_R1", "spinquant_R2_head", "spinquant_R3_head",
					"spinquant_R4_matrix"};
static const char base_name[] = "spinquant_R4_had_K", order_name[] = "spinquant_R4_K";

typedef struct AutoRound {
	Import *x;
	const Json *config;
	bool on[COUNT], random[COUNT];
	bool online, trained;
	uint32_t n[COUNT]; /* orders */
	bool *used;	   /* of the rotation's tensors */
} AutoRound;

static Loc
loc_of(const AutoRound *s, int k)
{
	const Json *v = json_get(s->config, keys[k]);
	return v ? v->loc : s->x->rotation->loc;
}

static const SafeTensor *
find_tensor(const AutoRound *s, const char *name)
{
	const ModelRotation *r = s->x->rotation;
	for (uint32_t i = 0; i < r->n_tensors; i++)
		if (!strcmp(r->tensors[i]->name, name)) {
			s->used[i] = true;
			return r->tensors[i];
		}
	return NULL;
}

/* ---- config.json -------------------------------------------------------------------------- */

/* A width that the tool wrote down, of this model. */
static bool
check_width(const AutoRound *s, const char *key, uint32_t width)
{
	int64_t n = width;
	if (!key_integer(s->x->d, s->config, key, 0, INT64_MAX, &n, E_METADATA))
		return false;
	return n == width ||
	       import_refuse(s->x, json_get(s->config, key)->loc, "'%s' is %lld, the model's is %u",
			     key, (long long)n, width);
}

static bool
read_config(AutoRound *s)
{
	const Model *m = s->x->m;
	Diag *d = s->x->d;
	int64_t size = 0;
	if (!check_keys(s->x, s->config, "spinquant_config"))
		return false;
	s->on[R1] = s->on[R2] = s->online = true;
	for (int k = 0; k < COUNT; k++)
		if (!key_bool(d, s->config, keys[k], &s->on[k], E_METADATA) ||
		    !key_bool(d, s->config, random_keys[k], &s->random[k], E_METADATA))
			return false;
	if (!key_bool(d, s->config, "online_r1_rotation", &s->online, E_METADATA) ||
	    !key_bool(d, s->config, "trainable_rotation", &s->trained, E_METADATA) ||
	    !key_integer(d, s->config, "rotation_size", 1, TRANSFORM_ORDER_MAX, &size,
			 E_METADATA) ||
	    !check_width(s, "hidden_size", m->hidden) || !check_width(s, "head_dim", m->head_dim) ||
	    !check_width(s, "intermediate_size", m->inter))
		return false;
	s->n[R1] = size ? (uint32_t)size : m->hidden;
	s->n[R2] = s->n[R3] = m->head_dim;
	s->n[R4] = size ? (uint32_t)size : m->inter;
	for (int k = 0; k < COUNT; k++)
		if (s->on[k] && (k != R4 || size) && (s->n[k] & (s->n[k] - 1)))
			return import_refuse(s->x, loc_of(s, k),
					     "'%s' of order %u, where auto-round takes a power of "
					     "two",
					     keys[k], s->n[k]);
	return true;
}

/* ---- tensors ------------------------------------------------------------------------------ */

static bool
is_square(const AutoRound *s, const SafeTensor *t, uint32_t n, bool whole)
{
	if (t->rank == 2 && t->shape[0] == n && t->shape[1] == n &&
	    data_types[t->type].whole == whole)
		return true;
	return import_refuse(s->x, t->loc, "tensor '%s' is %s, not [%u, %u] of %s", t->name,
			     safetensor_describe(s->x->arena, t), n, n,
			     whole ? "whole numbers" : "floats");
}

/* Whether MODULE.spinquant_rK_PART is the number that config.json says. */
static bool
check_number(const AutoRound *s, int k, const char *module, const char *part, int64_t wanted)
{
	const char *name = arena_printf(s->x->arena, "%s.spinquant_%s_%s", module, keys[k], part);
	const SafeTensor *t = find_tensor(s, name);
	int64_t n = -1;
	if (!t)
		return import_refuse(s->x, loc_of(s, k),
				     "there is no '%s', so nothing would run in front of %s", name,
				     module);
	if (t->count == 1 && data_types[t->type].whole && safetensor_integer(t, 0, &n) &&
	    n == wanted)
		return true;
	return import_refuse(s->x, t->loc, "tensor '%s' does not say %lld, as config.json does",
			     name, (long long)wanted);
}

/* What a module says of rotation k, which runs in front of it: *matrix, where it is random. */
static bool
check_module(const AutoRound *s, int k, const char *module, const SafeTensor **matrix)
{
	if (!check_number(s, k, module, "type", s->random[k] ? TYPE_RANDOM : TYPE_DETERMINISTIC) ||
	    !check_number(s, k, module, "size", s->n[k]))
		return false;
	if (!s->random[k])
		return true;
	const char *name = arena_printf(s->x->arena, "%s.spinquant_%s_matrix", module, keys[k]);
	const SafeTensor *t = find_tensor(s, name);
	if (!t)
		return import_refuse(s->x, loc_of(s, k), "there is no '%s', a random matrix", name);
	if (!is_square(s, t, s->n[k], true))
		return false;
	if (*matrix && (t->type != (*matrix)->type || memcmp(t->data, (*matrix)->data, t->bytes)))
		return import_refuse(s->x, t->loc,
				     "tensor '%s' should be the same as '%s' and is not", name,
				     (*matrix)->name);
	*matrix = *matrix ? *matrix : t;
	return true;
}

/* ---- maps --------------------------------------------------------------------------------- */

static const SafeTensor *
find_base(const void *from, const char *name)
{
	return find_tensor(from, name);
}

/* A map; t null: nobody has stored it. */
static const Atom *
atom_new(const AutoRound *s, int k, const Transform *t)
{
	Atom *a = ARENA_NEW(s->x->arena, Atom);
	*a = (Atom){.name = arena_printf(s->x->arena, "R%d", k + 1),
		    .n = s->n[k],
		    .t = t,
		    .inverse = t ? transform_inverse(s->x->arena, t) : NULL,
		    .orthogonal = true};
	return a;
}

static const Atom *
deterministic(const AutoRound *s, int k)
{
	const Transform *t = import_hadamard(s->x, s->n[k], (ImportBases){find_base, s, base_name});
	return t ? atom_new(s, k, t) : NULL;
}

/* Of a rotation that is folded in: kept beside the model, made again, or unknown. */
static const Atom *
folded(const AutoRound *s, int k)
{
	const SafeTensor *t = find_tensor(s, kept[k]);
	if (!t)
		return s->random[k] || s->trained ? atom_new(s, k, NULL) : deterministic(s, k);
	const Transform *made =
		is_square(s, t, s->n[k], false) ? import_orthogonal(s->x, t, 1) : NULL;
	return made ? atom_new(s, k, made) : NULL;
}

/* ---- applying ----------------------------------------------------------------------------- */

/* Rotation k runs in front of modules, whose weights undo it. */
static bool
apply_rows(const AutoRound *s, int k, const Module *modules, size_t n)
{
	const SafeTensor *matrix = NULL;
	for (size_t i = 0; i < n; i++)
		for (uint32_t l = 0; l < s->x->m->n_layer; l++)
			if (!check_module(s, k, import_name(s->x, modules[i], l), &matrix))
				return false;
	const Atom *a = NULL;
	if (matrix) {
		const Transform *t = import_orthogonal(s->x, matrix, 1 / sqrt((double)s->n[k]));
		a = t ? atom_new(s, k, t) : NULL;
	} else {
		a = deterministic(s, k);
	}
	for (size_t i = 0; a && i < n; i++)
		for (uint32_t l = 0; l < s->x->m->n_layer; l++)
			if (!import_apply(s->x, modules[i], SPOT_COLUMNS, l, a, true,
					  loc_of(s, k)) ||
			    !import_apply(s->x, modules[i], SPOT_INPUT, l, a, false, loc_of(s, k)))
				return false;
	return a != NULL;
}

static bool
apply_heads(const AutoRound *s)
{
	const Atom *r2 = s->on[R2] ? folded(s, R2) : NULL;
	const Atom *r3 = s->on[R3] ? deterministic(s, R3) : NULL;
	if (!r2 != !s->on[R2] || !r3 != !s->on[R3])
		return false;
	for (uint32_t l = 0; l < s->x->m->n_layer; l++)
		if ((r2 &&
		     (!import_apply(s->x, MODULE_V, SPOT_ROWS, l, r2, false, loc_of(s, R2)) ||
		      !import_apply(s->x, MODULE_O, SPOT_COLUMNS, l, r2, true, loc_of(s, R2)))) ||
		    (r3 &&
		     (!import_apply(s->x, MODULE_ATTN, SPOT_QUERIES, l, r3, false, loc_of(s, R3)) ||
		      !import_apply(s->x, MODULE_ATTN, SPOT_KEYS, l, r3, false, loc_of(s, R3)))))
			return false;
	return true;
}

/* Each tensor belongs to a rotation that is on. */
static bool
check_used(const AutoRound *s)
{
	const ModelRotation *r = s->x->rotation;
	for (int k = 0; k < COUNT; k++)
		if (s->on[k])
			find_tensor(s, kept[k]);
	if (s->on[R4]) {
		find_tensor(s, base_name);
		find_tensor(s, order_name);
	}
	for (uint32_t i = 0; i < r->n_tensors; i++)
		if (!s->used[i])
			return import_refuse(s->x, r->tensors[i]->loc,
					     "tensor '%s' belongs to no rotation that "
					     "spinquant_config has on",
					     r->tensors[i]->name);
	return true;
}

bool
import_auto_round(Import *x)
{
	static const Module normed[] = {MODULE_Q, MODULE_K, MODULE_V, MODULE_GATE, MODULE_UP};
	static const Module down[] = {MODULE_DOWN};
	AutoRound s = {.x = x, .config = x->rotation->config};
	s.used = ARENA_ARRAY(x->arena, bool, x->rotation->n_tensors + 1);
	if (!read_config(&s))
		return false;
	const bool runs = s.on[R1] && s.online;
	if (runs && !apply_rows(&s, R1, normed, sizeof normed / sizeof *normed))
		return false;
	const Atom *r1 = s.on[R1] && !runs ? folded(&s, R1) : NULL;
	if (s.on[R1] && !runs && (!r1 || !import_residual(x, r1, loc_of(&s, R1))))
		return false;
	return apply_heads(&s) && (!s.on[R4] || apply_rows(&s, R4, down, 1)) && check_used(&s);
}
