/*
 * `prism.hadamard.*` of GGUF, version 1: weights W of the named matrices are stored as W T^-1, T =
 * block(H) S, H Sylvester's of `block_size`, S signs of the row's width, or none. The row that such
 * a matrix reads goes through T as it runs. An embedding named as inverse has rows T e, and T^-1
 * runs behind the look-up.
 */
#include "import_impl.h"

#include <string.h>

#define PREFIX "prism.hadamard."

enum { WIDTHS_MAX = 64 };

typedef struct Prism {
	Import *x;
	const Gguf *g;
	uint32_t block;
	const GgufEntry *widths, *values; /* null: no signs */
	Atom *atoms[WIDTHS_MAX];
	uint32_t n_atoms;
	bool used[WIDTHS_MAX]; /* of the widths with signs */
} Prism;

static const GgufEntry *
find(const Prism *p, const char *key)
{
	return gguf_find(p->g, arena_printf(p->x->arena, PREFIX "%s", key));
}

static Loc
loc_of(const Prism *p, const GgufEntry *e)
{
	return e ? cursor_loc(&p->g->cursor, e->at) : p->x->rotation->loc;
}

static bool
wrong(const Prism *p, const char *key, const GgufEntry *e, const char *wanted)
{
	return import_refuse(p->x, loc_of(p, e), "'" PREFIX "%s' must be %s, not %s", key, wanted,
			     e ? gguf_show(p->g, &e->value) : "absent");
}

/* A text that has one understood value. */
static bool
check_text(const Prism *p, const char *key, const char *wanted)
{
	const GgufEntry *e = find(p, key);
	if (e && e->value.type == GGUF_STRING && bytes_equal(gguf_string(p->g, &e->value), wanted))
		return true;
	return wrong(p, key, e, arena_printf(p->x->arena, "'%s'", wanted));
}

static bool
read_number(const Prism *p, const char *key, int64_t least, int64_t most, int64_t *n)
{
	const GgufEntry *e = find(p, key);
	if (e && gguf_integer(p->g, &e->value, n) && *n >= least && *n <= most)
		return true;
	return wrong(p, key, e,
		     arena_printf(p->x->arena, "an integer from %lld to %lld", (long long)least,
				  (long long)most));
}

/* Element i of an array of whole numbers; false: it is none. */
static bool
element(const Prism *p, const GgufEntry *e, uint64_t i, int64_t *n)
{
	static const uint8_t bytes[] = {
#define GGUF_TYPE(e, number, name, size) [number] = size,
#include "gen/model/gguf_types.def"
	};
	const GgufValue *v = &e->value;
	const uint64_t size = bytes[v->element];
	const GgufValue one = {.type = v->element,
			       .count = 1,
			       .at = v->at + i * size,
			       .end = v->at + (i + 1) * size};
	return size && i < v->count && gguf_integer(p->g, &one, n);
}

static bool
read_signs(Prism *p)
{
	const GgufEntry *mode = find(p, "sign_mode");
	const Bytes text = mode && mode->value.type == GGUF_STRING ? gguf_string(p->g, &mode->value)
								   : (Bytes){"", 0};
	p->widths = find(p, "sign_widths");
	p->values = find(p, "sign_values");
	if (bytes_equal(text, "identity") && !p->widths && !p->values)
		return true;
	if (!bytes_equal(text, "explicit"))
		return wrong(p, "sign_mode", mode,
			     p->widths || p->values ? "'explicit', for there are signs"
						    : "'identity' or 'explicit'");
	if (!p->widths || p->widths->value.type != GGUF_ARRAY ||
	    p->widths->value.count > WIDTHS_MAX)
		return wrong(p, "sign_widths", p->widths, "a list of at most 64 widths");
	uint64_t sum = 0;
	for (uint64_t i = 0; i < p->widths->value.count; i++) {
		int64_t n;
		if (!element(p, p->widths, i, &n) || n < 1 || n > TRANSFORM_ORDER_MAX)
			return wrong(p, "sign_widths", p->widths, "a list of widths");
		sum += (uint64_t)n;
	}
	if (!p->values || p->values->value.type != GGUF_ARRAY || p->values->value.count != sum)
		return wrong(
			p, "sign_values", p->values,
			arena_printf(p->x->arena, "a list of %llu signs", (unsigned long long)sum));
	return true;
}

/* Signs of rows of this width; null after a diagnostic. */
static const Transform *
signs_of(Prism *p, uint32_t width, Loc loc)
{
	uint64_t at = 0;
	const char *why;
	for (uint64_t i = 0; i < p->widths->value.count; i++) {
		int64_t n = 0;
		element(p, p->widths, i, &n);
		if ((uint64_t)n != width) {
			at += (uint64_t)n;
			continue;
		}
		double *s = ARENA_ARRAY(p->x->arena, double, width);
		for (uint32_t k = 0; k < width; k++) {
			int64_t sign = 0;
			if (!element(p, p->values, at + k, &sign) || (sign != 1 && sign != -1)) {
				wrong(p, "sign_values", p->values, "a list of 1 and -1");
				return NULL;
			}
			s[k] = (double)sign;
		}
		p->used[i] = true;
		return transform_vector(p->x->arena, T_SIGNS, width, s, &why);
	}
	import_refuse(p->x, loc, "no signs of the width %u in '" PREFIX "sign_widths'", width);
	return NULL;
}

static const Atom *
atom_of(Prism *p, uint32_t width, Loc loc)
{
	Arena *a = p->x->arena;
	const char *why = NULL;
	for (uint32_t i = 0; i < p->n_atoms; i++)
		if (p->atoms[i]->n == width)
			return p->atoms[i];
	if (width % p->block || p->n_atoms == WIDTHS_MAX) {
		import_refuse(p->x, loc, "blocks of %u do not divide a row of %u", p->block, width);
		return NULL;
	}
	const Transform *t = transform_hadamard(a, p->block, base_make(a, BASE_ONE, 1, &why), &why);
	t = p->block == width ? t : transform_block(a, t, width, &why);
	const Transform *signs = p->widths ? signs_of(p, width, loc) : NULL;
	if (p->widths && !signs)
		return NULL;
	const Transform *parts[] = {t, signs};
	Atom *atom = ARENA_NEW(a, Atom);
	t = signs ? transform_compose(a, T_PRODUCT, parts, 2, &why) : t;
	*atom = (Atom){.name = "prism.hadamard",
		       .n = width,
		       .t = t,
		       .inverse = transform_inverse(a, t),
		       .involution = !signs,
		       .orthogonal = true};
	return p->atoms[p->n_atoms++] = atom;
}

/* The module whose matrix is called so: of an inverse name the embedding, of others the rest. */
static bool
find_module(const Prism *p, Bytes name, bool inverse, Module *m, uint32_t *layer)
{
	for (int k = 0; k < MODULES; k++)
		for (uint32_t l = 0; l < import_layers(p->x, (Module)k); l++) {
			const int role = module_table[k].role;
			const Tensor *t = role < 0 ? NULL : model_tensor(p->x->m, (Role)role, l);
			if (!t || inverse != (k == MODULE_EMBED) || !bytes_equal(name, t->name))
				continue;
			*m = (Module)k;
			*layer = l;
			return true;
		}
	return false;
}

static bool
apply_names(Prism *p, const char *key, bool inverse)
{
	const GgufEntry *e = find(p, key);
	if (!e && inverse)
		return true;
	if (!e || e->value.type != GGUF_ARRAY ||
	    (e->value.count && e->value.element != GGUF_STRING))
		return wrong(p, key, e, "a list of names of tensors");
	const Bytes *names = e->value.count ? gguf_strings(p->g, &e->value) : NULL;
	for (uint64_t i = 0; i < e->value.count; i++) {
		Module m = MODULES;
		uint32_t layer = 0;
		const Loc loc = loc_of(p, e);
		const char *name = bytes_quote(p->x->arena, names[i]);
		if (!find_module(p, names[i], inverse, &m, &layer))
			return import_refuse(p->x, loc, "'" PREFIX "%s' names %s, which is no %s",
					     key, name,
					     inverse ? "embedding" : "matrix that reads a row");
		const Spot stored = inverse ? SPOT_ROWS : SPOT_COLUMNS;
		const Spot runs = inverse ? SPOT_OUTPUT : SPOT_INPUT;
		if (p->x->words[m][stored][layer].n)
			return import_refuse(p->x, loc, "'" PREFIX "%s' names %s twice", key, name);
		const Atom *atom = atom_of(p, import_width(p->x, m, stored), loc);
		if (!atom || !import_apply(p->x, m, stored, layer, atom, !inverse, loc) ||
		    !import_apply(p->x, m, runs, layer, atom, inverse, loc))
			return false;
	}
	return true;
}

bool
import_prism(Import *x)
{
	Prism p = {.x = x, .g = x->rotation->gguf};
	int64_t version = 0, block = 0, grouped = 0;
	const GgufEntry *gdn = find(&p, "gdn_v_grouped");
	if (!read_number(&p, "version", 1, 1, &version) ||
	    !check_text(&p, "transform", "normalized-sylvester-walsh-hadamard") ||
	    !check_text(&p, "axis", "input-last-dimension") ||
	    !read_number(&p, "block_size", 2, TRANSFORM_ORDER_MAX, &block) || !read_signs(&p))
		return false;
	if (gdn && (!gguf_integer(p.g, &gdn->value, &grouped) || grouped))
		return wrong(&p, "gdn_v_grouped", gdn,
			     "absent or false: Lathe reads no linear attention");
	if (block & (block - 1))
		return wrong(&p, "block_size", find(&p, "block_size"), "a power of two");
	p.block = (uint32_t)block;
	if (!apply_names(&p, "weight_names", false) ||
	    !apply_names(&p, "inverse_weight_names", true))
		return false;
	for (uint64_t i = 0; p.widths && i < p.widths->value.count; i++)
		if (!p.used[i])
			return wrong(&p, "sign_widths", p.widths,
				     "widths of rows that the named matrices read");
	if (x->m->tied &&
	    !x->words[MODULE_EMBED][SPOT_ROWS]->n != !x->words[MODULE_HEAD][SPOT_COLUMNS]->n)
		return import_refuse(x, x->rotation->loc,
				     "embedding and head are one matrix, and only one of them is "
				     "named as stored rotated");
	return true;
}
