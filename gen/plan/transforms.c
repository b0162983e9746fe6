/* Transforms of a plan: named ones, what they are built from, and what is applied at sites. */
#include "gen/plan/reader.h"
#include "ir/plan_apply.h"

#include <string.h>

enum {
	NESTING_MAX = 256, /* through names too */
	NODES_MAX = 1 << 16,
	NAMED_MAX = 1 << 14,
	ORDER_MAX = 1 << 20,
};

/* One expression at work: where it is applied, how deep the work is, and what has been made of it:
 * nodes in all, and the height of the tallest child of the node at work. */
typedef struct Building {
	PlanReader *r;
	int layer;
	uint32_t depth, nodes, height;
} Building;

static const Transform *build(Building *b, const Json *v);

/* ---- names -------------------------------------------------------------------------------- */

static NamedTransform *
named_find(PlanReader *r, const char *name)
{
	for (uint32_t i = 0; i < r->n_named; i++)
		if (!strcmp(r->named[i].name, name))
			return &r->named[i];
	return NULL;
}

static bool
holds_star(const Json *v)
{
	return v && v->kind == JSON_STRING && strchr(v->string, '*');
}

/* Whether a data name below v holds '*', through the names of transforms as well. */
static bool
is_bound(PlanReader *r, const Json *v, int depth)
{
	bool bound = false;
	if (depth > NESTING_MAX)
		return false; /* building it says why */
	if (v->kind == JSON_STRING) {
		NamedTransform *t = named_find(r, v->string);
		if (t && !t->analysed) {
			t->analysed = true;
			t->bound = !t->broken && is_bound(r, t->json, depth + 1);
		}
		return t && t->bound;
	}
	const SchemaObject form = v->kind == JSON_OBJECT ? schema_form(v) : O_PLAN;
	const TransformKind kind = form == O_PLAN ? T_PRODUCT : schema_kind(form);
	if (kind == T_HADAMARD)
		return holds_star(json_get(json_get(v, "base"), "data"));
	if (transform_table[kind].data != DATA_NONE)
		return holds_star(v->first);
	for (const Json *e = v->first; e && !bound; e = e->next)
		bound = is_bound(r, e, depth + 1);
	return bound;
}

static const Transform *
build_named(Building *b, const Json *v)
{
	PlanReader *r = b->r;
	NamedTransform *t = named_find(r, v->string);
	if (!t) {
		const char **names = ARENA_ARRAY(r->arena, const char *, r->n_named + 1);
		for (uint32_t i = 0; i < r->n_named; i++)
			names[i] = r->named[i].name;
		const char *near = nearest_name(v->string, names, r->n_named);
		diag_error(r->d, v->loc, E_PLAN_NAME, "there is no transform '%s'", v->string);
		if (near)
			diag_hint(r->d, "did you mean \"%s\"?", near);
		else
			diag_hint(r->d, "\"transforms\" names them");
		return NULL;
	}
	t->used = true;
	if (t->visiting) {
		diag_error(r->d, v->loc, E_PLAN_NAME, "transform '%s' is made of itself", t->name);
		t->broken = true;
	}
	if (t->broken)
		return NULL;
	const uint32_t n_layer = r->model->n_layer;
	const bool bound = is_bound(r, v, 0);
	const uint32_t slot = !bound ? 0 : b->layer == NO_LAYER ? n_layer : (uint32_t)b->layer;
	if (!t->built) {
		const size_t slots = bound ? (size_t)n_layer + 1 : 1;
		t->built = ARENA_ARRAY(r->arena, const Transform *, slots);
		t->nodes = ARENA_ARRAY(r->arena, uint32_t, slots);
		t->heights = ARENA_ARRAY(r->arena, uint32_t, slots);
	}
	if (!t->built[slot]) {
		Building own = {r, b->layer, b->depth, 0, 0};
		t->visiting = true;
		const Transform *made = build(&own, t->json);
		t->visiting = false;
		t->broken = !made;
		if (!made)
			return NULL;
		Transform *named = ARENA_NEW(r->arena, Transform);
		*named = *made;
		named->name = t->name;
		t->built[slot] = named;
		t->nodes[slot] = own.nodes;
		t->heights[slot] = own.height;
	}
	b->nodes += t->nodes[slot];
	b->height = t->heights[slot];
	return t->built[slot];
}

/* ---- forms -------------------------------------------------------------------------------- */

static const Base *
build_base(Building *b, const Json *v, uint32_t n, const char **why)
{
	static const Construction constructions[] = {BASE_PALEY1, BASE_PALEY2, BASE_WILLIAMSON,
						     BASE_DOUBLED, BASE_DATA};
	const Json *base = json_get(v, "base");
	Construction c;
	uint32_t parameter, order;
	if (!base) {
		if (n && !(n & (n - 1)))
			return base_make(b->r->arena, BASE_ONE, 1, why);
		diag_error(b->r->d, v->loc, E_PLAN_BASE,
			   "%u is no power of two: this Hadamard transform needs a base matrix", n);
		if (base_choose(n, &c, &parameter, &order))
			diag_hint(b->r->d, "\"base\": { \"%s\": %u }, of order %u, would do",
				  construction_name(c), parameter, order);
		else
			diag_hint(b->r->d, "no construction known here gives one: "
					   "\"base\": { \"data\": \"NAME\" }, or a product of "
					   "smaller orders");
		*why = NULL;
		return NULL;
	}
	if (base->count != 1) {
		*why = "\"base\" wants exactly one key";
		return NULL;
	}
	const Json *value = base->first;
	for (size_t i = 0; i < sizeof constructions / sizeof *constructions; i++) {
		c = constructions[i];
		if (strcmp(value->key, construction_name(c)))
			continue;
		if (c != BASE_DATA)
			return base_make(b->r->arena, c, (uint32_t)value->integer, why);
		const int8_t *entries = data_signs(b->r, value, b->layer, &order);
		if (entries)
			return base_data(b->r->arena, order, entries, why);
		*why = NULL;
		return NULL;
	}
	BUG("no construction is called %s", value->key);
}

static const Transform *
build_hadamard(Building *b, const Json *v, const char **why)
{
	const uint32_t n = (uint32_t)json_get(v, "hadamard")->integer;
	const Json *digest = json_get(v, "sha256"), *at = json_get(v, "base");
	const Base *base = build_base(b, v, n, why);
	if (!base) {
		if (*why)
			diag_error(b->r->d, at ? at->loc : v->loc, E_PLAN_BASE, "%s", *why);
		*why = NULL;
		return NULL;
	}
	uint32_t rest = n / base->order;
	if (n % base->order || (rest & (rest - 1))) {
		diag_error(b->r->d, json_get(v, "hadamard")->loc, E_PLAN_BASE,
			   "%u is not %u, the order of the base matrix, times a power of two", n,
			   base->order);
		*why = NULL;
		return NULL;
	}
	if (digest && !digest_matches(b->r, digest, base->sha256, "the base matrix")) {
		diag_hint(b->r->d, "this is another Hadamard matrix: give it as "
				   "\"base\": { \"data\": \"NAME\" }");
		*why = NULL;
		return NULL;
	}
	return transform_hadamard(b->r->arena, n, base, why);
}

static const Transform *
build_data(Building *b, TransformKind kind, const Json *v, const char **why)
{
	const bool matrix = transform_table[kind].data == DATA_MATRIX;
	uint32_t n;
	*why = NULL; /* a diagnostic is given where the data is at fault */
	if (kind == T_PERM) {
		const uint32_t *perm = data_indexes(b->r, v->first, b->layer, &n);
		return perm ? transform_perm(b->r->arena, n, perm, why) : NULL;
	}
	const double *numbers = data_numbers(b->r, v->first, b->layer, matrix, &n);
	if (!numbers)
		return NULL;
	if (matrix)
		return transform_matrix(b->r->arena, kind, n, numbers, why);
	if (kind == T_SO2)
		n *= 2;
	return transform_vector(b->r->arena, kind, n, numbers, why);
}

static const Transform *
build_composed(Building *b, TransformKind kind, const Json *list, const char **why)
{
	const Transform **children = ARENA_ARRAY(b->r->arena, const Transform *, list->count);
	uint32_t n = 0;
	uint64_t order = 1;
	*why = NULL;
	for (const Json *e = list->first; e; e = e->next) {
		children[n] = build(b, e);
		if (!children[n])
			return NULL;
		order = kind == T_KRONECKER ? order * children[n]->n : order + children[n]->n;
		if (order > ORDER_MAX && kind != T_PRODUCT) {
			*why = arena_printf(b->r->arena, "its order is beyond %d", ORDER_MAX);
			return NULL;
		}
		n++;
	}
	return transform_compose(b->r->arena, kind, children, n, why);
}

static const Transform *
build_block(Building *b, const Json *v, const char **why)
{
	const Json *size = json_get(v, "block");
	const Transform *child = build(b, json_get(v, "of"));
	*why = NULL;
	if (!child)
		return NULL;
	if (child->n != (uint64_t)size->integer) {
		diag_error(b->r->d, size->loc, E_PLAN_ORDER,
			   "blocks of %lld, but the transform has order %u",
			   (long long)size->integer, child->n);
		return NULL;
	}
	return transform_block(b->r->arena, child, (uint32_t)json_get(v, "to")->integer, why);
}

static const Transform *
build_plane(Building *b, const Json *v, const char **why)
{
	const Json *plane = json_get(v, "plane");
	return transform_givens(b->r->arena, (uint32_t)json_get(v, "givens")->integer,
				(uint32_t)plane->first->integer,
				(uint32_t)plane->first->next->integer, json_get(v, "angle")->number,
				why);
}

/* The form's own constructor; *why stays null where a diagnostic was given already. */
static const Transform *
build_form(Building *b, TransformKind kind, const Json *v, const char **why)
{
	Arena *a = b->r->arena;
	const Json *main = json_get(v, transform_table[kind].key);
	const Transform *child;
	switch (kind) {
	case T_IDENTITY:
		return transform_identity(a, (uint32_t)main->integer);
	case T_HADAMARD:
		return build_hadamard(b, v, why);
	case T_PERM:
	case T_SIGNS:
	case T_DIAGONAL:
	case T_ORTHOGONAL:
	case T_MATRIX:
	case T_HOUSEHOLDER:
	case T_SO2:
		return build_data(b, kind, v, why);
	case T_GIVENS:
		return build_plane(b, v, why);
	case T_SCALAR:
		return transform_scalar(a, (uint32_t)main->integer, json_get(v, "factor")->number,
					why);
	case T_PRODUCT:
	case T_KRONECKER:
	case T_SUM:
		return build_composed(b, kind, main, why);
	case T_BLOCK:
		return build_block(b, v, why);
	case T_INVERSE:
	case T_TRANSPOSE:
		*why = NULL;
		child = build(b, main);
		if (!child)
			return NULL;
		if (child->n_out != child->n) {
			*why = "padding has neither an inverse nor a transpose here";
			return NULL;
		}
		return kind == T_INVERSE ? transform_inverse(a, child)
					 : transform_transpose(a, child);
	case T_PAD:
		return transform_pad(a, (uint32_t)main->integer,
				     (uint32_t)json_get(v, "to")->integer, why);
	case TRANSFORM_KINDS:
		break;
	}
	BUG("no form %d", (int)kind);
}

/* A checked expression; null after a diagnostic (or for a name that already had one). */
static const Transform *
build(Building *b, const Json *v)
{
	PlanReader *r = b->r;
	const Transform *t = NULL;
	const char *why = NULL;
	const uint32_t tallest = b->height;
	b->height = 0;
	b->nodes++;
	if (++b->depth > NESTING_MAX)
		why = "the transform is nested too deep";
	else if (v->kind == JSON_STRING)
		t = build_named(b, v);
	else
		t = build_form(b, schema_kind(schema_form(v)), v, &why);
	if (t && (b->height >= NESTING_MAX || b->nodes > NODES_MAX)) {
		t = NULL;
		why = "the transform is nested too deep or made of too many others";
	}
	if (!t && why && v->kind == JSON_OBJECT && holds_star(v->first))
		diag_error(r->d, v->loc, E_PLAN_TRANSFORM, "layer %d: %s", b->layer, why);
	else if (!t && why)
		diag_error(r->d, v->loc, E_PLAN_TRANSFORM, "%s", why);
	b->depth--;
	b->height = b->height + 1 > tallest ? b->height + 1 : tallest;
	return t;
}

/* ---- sites -------------------------------------------------------------------------------- */

static const char *
site_name(const PlanReader *r, int i)
{
	return site_exists(r->model, (Site)i) ? site_table[i].name : NULL;
}

static bool
site_layered(int i)
{
	return site_table[i].layered;
}

/* Order of t against the site's width, or the width of one of its heads. */
static bool
order_fits(PlanReader *r, const Transform *t, Site site, const Json *v)
{
	uint32_t width, heads;
	site_shape(r->model, site, &width, &heads);
	if (t->n == r->model->q_width && heads > 1 && t->n != width) {
		diag_error(
			r->d, v->loc, E_SITE_LAW,
			"'%s' takes a map of each kv head: the query heads that share one cannot "
			"have maps of their own",
			site_table[site].name);
		diag_hint(r->d,
			  "write it for a head, of order %u, or for the %u kv heads, of order %u",
			  width / heads, heads, width);
		return false;
	}
	if (t->n != width && (heads == 1 || t->n != width / heads)) {
		diag_error(r->d, v->loc, E_PLAN_ORDER,
			   "the transform has order %u, '%s' has width %u%s", t->n,
			   site_table[site].name, width,
			   heads == 1 ? ""
				      : arena_printf(r->arena, " (%u heads of %u)", heads,
						     width / heads));
		if (width % t->n == 0)
			diag_hint(r->d,
				  "{ \"block\": %u, \"of\": ..., \"to\": %u } applies it "
				  "to each run of %u",
				  t->n, width, t->n);
		return false;
	}
	const char *law = site_padding_law(r->plan, site, t);
	if (!law)
		return true;
	diag_error(r->d, v->loc, E_SITE_LAW, "the transform makes %u elements of %u at '%s': %s",
		   t->n_out, t->n, site_table[site].name, law);
	return false;
}

static bool
gain_fits(PlanReader *r, Site site, const Json *gain)
{
	/* Sites right behind a norm whose readers could take the gain. */
	if (site == SITE_ATTN_IN || site == SITE_MLP_IN || site == SITE_HEAD_IN)
		return true;
	diag_error(r->d, gain->loc, E_PLAN_SITE, "there is no gain in front of '%s'",
		   site_table[site].name);
	diag_hint(r->d, "\"gain\" is for attn.in, mlp.in and head.in");
	return false;
}

static bool
apply_site(PlanReader *r, const Json *value, int i, uint32_t layer)
{
	PlanTransform *place = &r->plan->transforms[i][layer];
	const Json *gain = json_get(value, "gain"), *v = json_get(value, "transform");
	Building b = {r, site_table[i].layered ? (int)layer : NO_LAYER, 0, 0, 0};
	if (!schema_is_entry(value))
		v = value;
	if (gain && !gain_fits(r, (Site)i, gain))
		return false;
	*place = (PlanTransform){.keep_gain = gain && !strcmp(gain->string, "keep"),
				 .loc = value->loc};
	if (!v)
		return true;
	const Transform *t = build(&b, v);
	if (!t || !order_fits(r, t, (Site)i, v))
		return false;
	place->transform = t;
	return true;
}

/* ---- the sections ------------------------------------------------------------------------- */

static void
read_named(PlanReader *r, const Json *map)
{
	if (map->count > NAMED_MAX) {
		diag_error(r->d, map->loc, E_PLAN_VALUE, "more than %d transforms", NAMED_MAX);
		return;
	}
	r->named = ARENA_ARRAY(r->arena, NamedTransform, map->count + 1);
	for (const Json *v = map->first; v; v = v->next)
		r->named[r->n_named++] = (NamedTransform){
			.name = v->key,
			.json = v,
			.broken = !schema_check_transform(r->arena, r->d, v),
		};
}

/* What nothing applies is checked all the same, where it needs no layer. Behind errors it is
 * not said that it is unused: a misspelt name may be why. */
static void
check_unused(PlanReader *r)
{
	for (uint32_t i = 0; i < r->n_named; i++) {
		NamedTransform *t = &r->named[i];
		const Json reference = {
			.kind = JSON_STRING, .string = t->name, .loc = t->json->loc};
		Building b = {r, NO_LAYER, 0, 0, 0};
		if (t->used)
			continue;
		if (diag_errors(r->d) == r->errors_before)
			diag_warning(r->d, t->json->key_loc, E_PLAN_NAME,
				     "transform '%s' is applied nowhere", t->name);
		if (!t->broken && !is_bound(r, &reference, 0))
			build(&b, &reference);
	}
}

void
read_transforms(PlanReader *r)
{
	static const Places places = {"site", SITE_COUNT, site_name, site_layered, NULL};
	const Json *transforms = json_get(r->json, "transforms");
	const Json *apply = json_get(r->json, "apply");
	if (transforms)
		read_named(r, transforms);
	if (apply)
		rules_apply(r, apply, &places, schema_check_applied, apply_site);
	check_unused(r);
}
