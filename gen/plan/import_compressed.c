/*
 * compressed-tensors: `transform_config`. A group has one matrix M of each order n, which its
 * entries apply to modules, as rows x M: the map M^T here. "inverse" takes M^-1. "hadamard" is
 * Sylvester's, "random-hadamard" any Hadamard matrix, both divided by sqrt(n); "randomize" takes
 * rows and columns of M in the order of a permutation. Matrices and permutations of transforms that
 * run are tensors of the first module that has them; those of the folded ones are stored nowhere.
 */
#define _POSIX_C_SOURCE 200809L
#include "import_impl.h"

#include <math.h>
#include <regex.h>
#include <stdlib.h>
#include <string.h>

enum { GROUPS_MAX = 64, ATOMS_MAX = 16, PATTERN_MAX = 256 };

typedef enum Kind { KIND_HADAMARD, KIND_RANDOM_HADAMARD, KIND_RANDOM_MATRIX, KINDS } Kind;
static const char *const kind_names[KINDS] = {"hadamard", "random-hadamard", "random-matrix"};

static const char *const location_names[SPOTS] = {
	[SPOT_INPUT] = "input",	  [SPOT_COLUMNS] = "weight_input", [SPOT_ROWS] = "weight_output",
	[SPOT_OUTPUT] = "output", [SPOT_QUERIES] = "q_attn",	   [SPOT_KEYS] = "k_cache",
};

/* The matrix of one order. */
typedef struct Matrix {
	Atom atom;
	const SafeTensor *weight, *inverse, *perm; /* null: not stored */
} Matrix;

typedef struct Group {
	Import *x;
	const char *name;
	const Json *json;
	Kind kind;
	bool randomize;
	uint32_t head_dim; /* 0: the whole row */
	Matrix *matrices[ATOMS_MAX];
	uint32_t n_matrices;
} Group;

typedef struct Compressed {
	Import *x;
	bool *used; /* of the rotation's tensors */
} Compressed;

#define KEY_ROWS "gen/plan/rotation_keys.def"
#define KEY_READER Import
#define KEY_ID E_METADATA_UNKNOWN
#include "gen/model/key_rows.h"

/* ---- which modules ------------------------------------------------------------------------ */

/* An expression of Python as one of POSIX, anchored as re.match does; null: beyond both. */
static const char *
posix_pattern(Arena *a, const char *s)
{
	Text *t = text_new(a);
	text_printf(t, "^(");
	for (const char *c = s; *c; c++) {
		if (*c == '\\' && c[1] == 'd')
			text_printf(t, "[0-9]");
		else if (*c == '\\' && c[1] && strchr(".[]()^$|*+?\\", c[1]))
			text_printf(t, "\\%c", c[1]);
		else if (*c == '\\' || *c == '{' || (*c == '[' && c[1] == '[') || *c < ' ' ||
			 *c > '~')
			return NULL;
		else if (*c == '(' && c[1] == '?' && c[2] != ':')
			return NULL;
		else if (strchr("*+?", *c) && (c == s || strchr("(|*+?^", c[-1])) &&
			 !(c > s + 1 && c[-2] == '\\'))
			return NULL;
		else
			text_printf(t, "%c", *c);
		if (*c == '\\')
			c++;
		else if (*c == '(' && c[1] == '?')
			c += 2;
	}
	text_printf(t, ")");
	return t->text;
}

/* Whether a module is meant by a target; *ok false: nobody can tell. */
static bool
target_matches(const Import *x, const Json *target, const char *name, const char *class, bool *ok)
{
	const char *s = target->string;
	regex_t re;
	if (strncmp(s, "re:", 3) != 0)
		return !strcmp(s, name) || !strcmp(s, class) ||
		       (!strcmp(class, "Attention") && strlen(s) > 9 &&
			!strcmp(s + strlen(s) - 9, "Attention"));
	const char *pattern = strlen(s) > PATTERN_MAX ? NULL : posix_pattern(x->arena, s + 3);
	*ok = *ok && pattern && !regcomp(&re, pattern, REG_EXTENDED | REG_NOSUB);
	if (!*ok)
		return false;
	const bool matches = !regexec(&re, name, 0, NULL, 0);
	regfree(&re);
	return matches;
}

/* Whether one of a list of targets (or one alone, or none) means a module. */
static bool
list_matches(const Import *x, const Json *list, const char *name, const char *class, bool *ok)
{
	const Json *v = list && list->kind == JSON_ARRAY ? list->first : list;
	for (; v; v = v == list ? NULL : v->next)
		if (target_matches(x, v, name, class, ok))
			return true;
	return false;
}

/* Texts, or one. */
static bool
check_list(const Import *x, const Json *list, const char *key)
{
	const Json *v = list && list->kind == JSON_ARRAY ? list->first : list;
	for (; v; v = v == list ? NULL : v->next) {
		bool ok = v->kind == JSON_STRING;
		if (ok)
			target_matches(x, v, "", "", &ok);
		if (!ok)
			return import_refuse(x, v->loc,
					     "%s in '%s' is no name, class or expression that "
					     "Lathe understands",
					     json_show(x->arena, v), key);
	}
	return true;
}

/* ---- matrices ----------------------------------------------------------------------------- */

static Matrix *
matrix_of(Group *g, uint32_t n)
{
	for (uint32_t i = 0; i < g->n_matrices; i++)
		if (g->matrices[i]->atom.n == n)
			return g->matrices[i];
	if (g->n_matrices == ATOMS_MAX)
		return NULL;
	Matrix *m = ARENA_NEW(g->x->arena, Matrix);
	m->atom = (Atom){.name = g->name,
			 .n = n,
			 .involution = g->kind == KIND_HADAMARD,
			 .orthogonal = g->kind != KIND_RANDOM_MATRIX};
	return g->matrices[g->n_matrices++] = m;
}

static const SafeTensor *
find_tensor(Compressed *c, const char *name)
{
	const ModelRotation *r = c->x->rotation;
	for (uint32_t i = 0; i < r->n_tensors; i++)
		if (!strcmp(r->tensors[i]->name, name)) {
			c->used[i] = true;
			return r->tensors[i];
		}
	return NULL;
}

/* The same tensor, stored by another module. */
static bool
take_tensor(const Import *x, const SafeTensor *t, const SafeTensor **have)
{
	if (!t || !*have) {
		*have = t ? t : *have;
		return true;
	}
	if (t->type == (*have)->type && t->bytes == (*have)->bytes &&
	    !memcmp(t->data, (*have)->data, t->bytes))
		return true;
	import_refuse(x, t->loc, "tensor '%s' should be the same as '%s' and is not", t->name,
		      (*have)->name);
	return false;
}

static bool
take_stored(Compressed *c, Group *g, Matrix *m, const char *module, Spot s, bool inverse)
{
	const char *stem =
		arena_printf(c->x->arena, "%s.%s_%s.", module, g->name, location_names[s]);
	const SafeTensor *w = find_tensor(c, arena_printf(c->x->arena, "%sweight", stem));
	const SafeTensor *perm = find_tensor(c, arena_printf(c->x->arena, "%sperm", stem));
	/* A random matrix is stored inverted where its inverse runs. */
	return take_tensor(c->x, w,
			   inverse && g->kind == KIND_RANDOM_MATRIX ? &m->inverse : &m->weight) &&
	       take_tensor(c->x, perm, &m->perm);
}

/* ---- entries ------------------------------------------------------------------------------ */

typedef struct Entry {
	const Json *targets, *ignore;
	Spot spot;
	bool inverse;
	Loc loc;
} Entry;

static bool
read_entry(const Import *x, const Json *v, Entry *e)
{
	const char *location = NULL;
	*e = (Entry){.targets = key_get(v, "targets"), .ignore = key_get(v, "ignore")};
	if (v->kind != JSON_OBJECT)
		return import_refuse(x, v->loc, "an entry of 'apply' must be an object, not %s",
				     json_kind_names[v->kind]);
	if (!check_keys(x, v, "an entry of 'apply'") ||
	    !key_text(x->d, v, "location", &location, E_METADATA) ||
	    !key_bool(x->d, v, "inverse", &e->inverse, E_METADATA) ||
	    !check_list(x, e->targets, "targets") || !check_list(x, e->ignore, "ignore"))
		return false;
	e->loc = v->loc;
	if (!e->targets || !location)
		return import_refuse(x, v->loc, "an entry of 'apply' without %s",
				     location ? "targets" : "a location");
	for (int s = 0; s < SPOTS; s++)
		if (!strcmp(location, location_names[s])) {
			e->spot = (Spot)s;
			e->loc = json_get(v, "location")->loc;
			return true;
		}
	import_refuse(x, json_get(v, "location")->loc, "unknown location '%s'", location);
	diag_hint(x->d, "Lathe knows input, weight_input, weight_output, output, q_attn, k_cache");
	return false;
}

static bool
apply_module(Compressed *c, Group *g, const Entry *e, Module m, uint32_t layer, const char *name)
{
	const Import *x = c->x;
	const uint32_t width = import_width(x, m, e->spot);
	const bool attention = m == MODULE_ATTN;
	if (!width || (attention && !g->head_dim))
		return import_refuse(x, e->loc, "'%s' of %s%s is not understood",
				     location_names[e->spot], name,
				     width ? " without head_dim" : "");
	if (g->head_dim && width % g->head_dim)
		return import_refuse(x, e->loc,
				     "head_dim %u of '%s' does not divide %u, the width of %s",
				     g->head_dim, g->name, width, name);
	Matrix *matrix = matrix_of(g, g->head_dim ? g->head_dim : width);
	if (!matrix)
		return import_refuse(x, e->loc, "'%s' has more than %d matrices", g->name,
				     ATOMS_MAX);
	return take_stored(c, g, matrix, name, e->spot, e->inverse) &&
	       import_apply(c->x, m, e->spot, layer, &matrix->atom, e->inverse, e->loc);
}

/* What stands between the modules that have sites; a transform of it is none that a tool makes. */
static bool
check_others(const Import *x, const Entry *e)
{
	static const char *const others[] = {
		"",
		"model",
		"model.layers",
		"model.layers.0",
		"model.layers.0.mlp",
		"model.layers.0.mlp.act_fn",
		"model.layers.0.input_layernorm",
		"model.layers.0.post_attention_layernorm",
		"model.layers.0.self_attn.q_norm",
		"model.layers.0.self_attn.k_norm",
		"model.norm",
		"model.rotary_emb",
	};
	bool ok = true;
	for (size_t i = 0; i < sizeof others / sizeof *others; i++)
		if (list_matches(x, e->targets, others[i], "Module", &ok) &&
		    !list_matches(x, e->ignore, others[i], "Module", &ok))
			return import_refuse(x, e->loc,
					     "'%s' has no weights to transform, and the targets "
					     "mean it",
					     others[i]);
	return true;
}

static bool
apply_entry(Compressed *c, Group *g, const Json *v)
{
	const Import *x = c->x;
	Entry e;
	bool any = false, ok = true;
	if (!read_entry(x, v, &e) || !check_others(x, &e))
		return false;
	for (int m = 0; m < MODULES; m++)
		for (uint32_t l = 0; l < import_layers(x, (Module)m); l++) {
			const char *name = import_name(x, (Module)m, l);
			const char *class = m == MODULE_EMBED  ? "Embedding"
					    : m == MODULE_ATTN ? "Attention"
							       : "Linear";
			if (!list_matches(x, e.targets, name, class, &ok) ||
			    list_matches(x, e.ignore, name, class, &ok))
				continue;
			any = true;
			if (!apply_module(c, g, &e, (Module)m, l, name))
				return false;
		}
	if (any)
		return true;
	return import_refuse(x, e.targets->loc, "'%s' applies to no module of the model", g->name);
}

/* ---- groups ------------------------------------------------------------------------------- */

static bool
read_group(Compressed *c, const Json *v, Group *g)
{
	const Import *x = c->x;
	const char *type = NULL;
	int64_t head_dim = 0;
	bool grad = false;
	if (v->kind != JSON_OBJECT)
		return import_refuse(x, v->loc, "'%s' must be an object, not %s", v->key,
				     json_kind_names[v->kind]);
	*g = (Group){.x = c->x, .name = v->key, .json = v};
	if (!check_keys(x, v, "a config group of transform_config") ||
	    !key_text(x->d, v, "type", &type, E_METADATA) ||
	    !key_bool(x->d, v, "randomize", &g->randomize, E_METADATA) ||
	    !key_bool(x->d, v, "requires_grad", &grad, E_METADATA) ||
	    !key_integer(x->d, v, "head_dim", 1, TRANSFORM_MATRIX_MAX, &head_dim, E_METADATA))
		return false;
	g->head_dim = (uint32_t)head_dim;
	for (int k = 0; type && k < KINDS; k++)
		if (!strcmp(type, kind_names[k])) {
			g->kind = (Kind)k;
			return true;
		}
	import_refuse(x, type ? json_get(v, "type")->loc : v->loc,
		      type ? "unknown type '%s' of transforms" : "a group without a type%s",
		      type ? type : "");
	diag_hint(x->d, "Lathe knows hadamard, random-hadamard and random-matrix");
	return false;
}

static bool
is_square(const Import *x, const SafeTensor *t, uint32_t n)
{
	if (t->rank == 2 && t->shape[0] == n && t->shape[1] == n && !data_types[t->type].whole)
		return true;
	return import_refuse(x, t->loc, "tensor '%s' is %s, not [%u, %u] of floats", t->name,
			     safetensor_describe(x->arena, t), n, n);
}

/* The map of stored matrix t: its transpose, times factor. */
static const Transform *
stored_map(const Import *x, const SafeTensor *t, double factor)
{
	const uint32_t n = (uint32_t)t->shape[0];
	double *m = ARENA_ARRAY(x->arena, double, (size_t)n *n);
	const char *why = NULL;
	bool finite = true;
	for (uint32_t i = 0; i < n; i++)
		for (uint32_t j = 0; j < n; j++) {
			const double e = safetensor_number(t, (uint64_t)i * n + j) * factor;
			m[(size_t)j * n + i] = e;
			finite &= isfinite(e);
		}
	const Transform *made = finite ? transform_recognise(x->arena, n, m, &why) : NULL;
	if (!made)
		import_refuse(x, t->loc, "tensor '%s': %s", t->name,
			      finite ? why : "an element is NaN or infinite");
	return made;
}

static const Transform *
permuted(const Import *x, const SafeTensor *t, const Transform *map)
{
	uint32_t *perm = ARENA_ARRAY(x->arena, uint32_t, map->n);
	const char *why = "it is no vector of whole numbers of this order";
	bool ok = t->rank == 1 && t->count == map->n && data_types[t->type].whole;
	for (uint32_t i = 0; i < map->n && ok; i++) {
		int64_t k = -1;
		ok = safetensor_integer(t, i, &k) && k >= 0 && k < map->n;
		perm[i] = (uint32_t)k;
		why = "an element is no index";
	}
	const Transform *p = ok ? transform_perm(x->arena, map->n, perm, &why) : NULL;
	if (!p) {
		import_refuse(x, t->loc, "tensor '%s' is no permutation: %s", t->name, why);
		return NULL;
	}
	const Transform *parts[] = {p, map, transform_inverse(x->arena, p)};
	return transform_compose(x->arena, T_PRODUCT, parts, 3, &why);
}

/* Sylvester's, which a stored one must be. */
static const Transform *
deterministic(const Group *g, const Matrix *m)
{
	const Import *x = g->x;
	const char *why;
	const uint32_t n = m->atom.n;
	if (n & (n - 1)) {
		import_refuse(x, g->json->loc,
			      "'%s' needs a Hadamard matrix of order %u, which the type hadamard "
			      "has for powers of two only",
			      g->name, n);
		return NULL;
	}
	const Transform *h =
		transform_hadamard(x->arena, n, base_make(x->arena, BASE_ONE, 1, &why), &why);
	if (!m->weight)
		return h;
	if (!is_square(x, m->weight, n))
		return NULL;
	const Transform *stored = stored_map(x, m->weight, 1 / sqrt((double)n));
	if (stored && !transform_equal(stored, h)) {
		import_refuse(x, m->weight->loc, "tensor '%s' is not Sylvester's Hadamard matrix",
			      m->weight->name);
		return NULL;
	}
	return stored ? h : NULL;
}

static bool
read_inverse(const Group *g, Matrix *m)
{
	const Import *x = g->x;
	if (!is_square(x, m->inverse, m->atom.n))
		return false;
	m->atom.inverse = stored_map(x, m->inverse, 1);
	if (m->atom.inverse && !m->atom.t)
		m->atom.t = transform_inverse(x->arena, m->atom.inverse);
	return m->atom.inverse != NULL;
}

/* What is stored of a matrix becomes its map. */
static bool
finish_matrix(const Group *g, Matrix *m)
{
	const Import *x = g->x;
	const uint32_t n = m->atom.n;
	const bool hadamard = g->kind != KIND_RANDOM_MATRIX;
	const Transform *t = NULL;
	if (n > TRANSFORM_MATRIX_MAX && g->kind != KIND_HADAMARD && m->weight)
		return import_refuse(x, m->weight->loc, "tensor '%s' is of an order above %d",
				     m->weight->name, TRANSFORM_MATRIX_MAX);
	if (g->kind == KIND_HADAMARD && !(t = deterministic(g, m)))
		return false;
	if (!t && m->weight) {
		if (!is_square(x, m->weight, n) ||
		    !(t = stored_map(x, m->weight, hadamard ? 1 / sqrt((double)n) : 1)))
			return false;
		if (hadamard && !transform_facts(t).orthogonal)
			return import_refuse(x, m->weight->loc, "tensor '%s' is no Hadamard matrix",
					     m->weight->name);
	}
	if (hadamard && g->randomize && t) {
		if (m->weight && !m->perm)
			return import_refuse(x, m->weight->loc,
					     "tensor '%s' has no 'perm' beside it, and '%s' is "
					     "randomized",
					     m->weight->name, g->name);
		t = m->perm ? permuted(x, m->perm, t) : NULL;
		if (m->perm && !t)
			return false;
	} else if (m->perm) {
		return import_refuse(x, m->perm->loc,
				     "tensor '%s' of '%s', which is not randomized", m->perm->name,
				     g->name);
	}
	m->atom.t = t;
	m->atom.inverse = t ? transform_inverse(x->arena, t) : NULL;
	return !m->inverse || read_inverse(g, m);
}

static bool
apply_group(Compressed *c, const Json *v)
{
	Group *g = ARENA_NEW(c->x->arena, Group);
	if (!read_group(c, v, g))
		return false;
	const Json *apply = key_get(v, "apply");
	if (!apply || apply->kind != JSON_ARRAY)
		return import_refuse(c->x, apply ? apply->loc : v->loc, "'%s' has no list 'apply'",
				     g->name);
	for (const Json *e = apply->first; e; e = e->next)
		if (!apply_entry(c, g, e))
			return false;
	for (uint32_t i = 0; i < g->n_matrices; i++)
		if (!finish_matrix(g, g->matrices[i]))
			return false;
	return true;
}

bool
import_compressed(Import *x)
{
	const ModelRotation *r = x->rotation;
	const Json *groups = key_get(r->config, "config_groups");
	Compressed c = {x, ARENA_ARRAY(x->arena, bool, r->n_tensors + 1)};
	if (!check_keys(x, r->config, "transform_config"))
		return false;
	if (!groups || groups->kind != JSON_OBJECT || groups->count > GROUPS_MAX)
		return import_refuse(x, groups ? groups->loc : r->config->loc,
				     "transform_config has no object 'config_groups' of at most %d "
				     "groups",
				     GROUPS_MAX);
	for (const Json *v = groups->first; v; v = v->next)
		if (!apply_group(&c, v))
			return false;
	for (uint32_t i = 0; i < r->n_tensors; i++)
		if (!c.used[i])
			return import_refuse(
				x, r->tensors[i]->loc,
				"tensor '%s' belongs to no transform of transform_config",
				r->tensors[i]->name);
	if (x->m->tied &&
	    (x->words[MODULE_EMBED][SPOT_ROWS]->n || x->words[MODULE_HEAD][SPOT_COLUMNS]->n))
		return import_refuse(
			x, r->loc,
			"embedding and head are one matrix, which would be transformed "
			"twice");
	return true;
}
