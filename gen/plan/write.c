/*
 * Plans as files. Layers that say the same share one line; transforms that differ only in their
 * data share one transform whose data names hold '*'.
 */
#include "gen/plan/reader.h"
#include "ir/plan_apply.h"

#include <string.h>

enum { LISTED = 64 /* layers in one pattern */ };

/* Numbers of one leaf of a transform. */
typedef struct Leaf {
	DataType type;
	uint32_t rank;
	uint64_t shape[2];
	const void *bytes;
	size_t size;
} Leaf;

/* What one place of one layer says; null body: nothing. Data names stand in it as \1. */
typedef struct Saying {
	const char *body;
	const char *name; /* of the transform, or null */
	bool keep_gain;
	Leaf *leaves;
	uint32_t n_leaves, capacity;
	bool written;
} Saying;

typedef struct Writer {
	Arena *arena;
	const Model *model;
	Text *transforms, *apply, *weights, *activations, *kv;
	SafetensorsWriter data;
	bool has_data;
	const char **used; /* names of transforms */
	uint32_t n_used, capacity;
} Writer;

/* ---- expressions -------------------------------------------------------------------------- */

static void
leaf_add(Writer *w, Saying *s, Text *t, DataType type, const void *bytes, uint32_t rank, uint64_t n)
{
	if (s->n_leaves == s->capacity) {
		Leaf *more = ARENA_ARRAY(w->arena, Leaf, 2 * (size_t)s->capacity + 4);
		if (s->n_leaves)
			memcpy(more, s->leaves, s->n_leaves * sizeof *more);
		s->leaves = more;
		s->capacity = 2 * s->capacity + 4;
	}
	const uint64_t count = rank == 2 ? n * n : n;
	s->leaves[s->n_leaves++] =
		(Leaf){type, rank, {n, n}, bytes, (size_t)count * data_types[type].bytes};
	text_printf(t, "\1");
}

static void
write_base(Writer *w, Saying *s, Text *t, const Base *b)
{
	char hex[65];
	if (b->construction == BASE_ONE)
		return;
	text_printf(t, ", \"base\": { \"%s\": ", construction_name(b->construction));
	if (b->construction == BASE_DATA)
		leaf_add(w, s, t, DTYPE_I8, b->entries, 2, b->order);
	else
		text_printf(t, "%u", b->parameter);
	sha256_hex(b->sha256, hex);
	text_printf(t, " }, \"sha256\": \"%s\"", hex);
}

static void
write_signs(Writer *w, Saying *s, Text *t, const Transform *x)
{
	int8_t *signs = ARENA_ARRAY(w->arena, int8_t, x->n);
	for (uint32_t i = 0; i < x->n; i++)
		signs[i] = x->vector[i] < 0 ? -1 : 1;
	leaf_add(w, s, t, DTYPE_I8, signs, 1, x->n);
}

static void
write_transform(Writer *w, Saying *s, Text *t, const Transform *x)
{
	const bool turned = x->kind == T_HADAMARD && x->transposed;
	if (turned)
		text_printf(t, "{ \"transpose\": ");
	text_printf(t, "{ \"%s\": ", transform_table[x->kind].key);
	switch ((TransformKind)x->kind) {
	case T_IDENTITY:
		text_printf(t, "%u", x->n);
		break;
	case T_HADAMARD:
		text_printf(t, "%u", x->n);
		write_base(w, s, t, x->base);
		break;
	case T_PERM:
		leaf_add(w, s, t, DTYPE_U32, x->perm, 1, x->n);
		break;
	case T_SIGNS:
		write_signs(w, s, t, x);
		break;
	case T_DIAGONAL:
	case T_HOUSEHOLDER:
		leaf_add(w, s, t, DTYPE_F64, x->vector, 1, x->n);
		break;
	case T_SO2:
		leaf_add(w, s, t, DTYPE_F64, x->vector, 1, x->n / 2);
		break;
	case T_ORTHOGONAL:
	case T_MATRIX:
		leaf_add(w, s, t, DTYPE_F64, x->matrix, 2, x->n);
		break;
	case T_GIVENS:
		text_printf(t, "%u, \"plane\": [%u, %u], \"angle\": ", x->n, x->i, x->j);
		text_double(t, x->scalar);
		break;
	case T_SCALAR:
		text_printf(t, "%u, \"factor\": ", x->n);
		text_double(t, x->scalar);
		break;
	case T_PRODUCT:
	case T_KRONECKER:
	case T_SUM:
		text_printf(t, "[");
		for (uint32_t i = 0; i < x->n_children; i++) {
			text_printf(t, "%s", i ? ", " : "");
			write_transform(w, s, t, x->children[i]);
		}
		text_printf(t, "]");
		break;
	case T_BLOCK:
		text_printf(t, "%u, \"of\": ", x->children[0]->n);
		write_transform(w, s, t, x->children[0]);
		text_printf(t, ", \"to\": %u", x->n);
		break;
	case T_INVERSE:
	case T_TRANSPOSE:
		write_transform(w, s, t, x->children[0]);
		break;
	case T_PAD:
		text_printf(t, "%u, \"to\": %u", x->n, x->n_out);
		break;
	case TRANSFORM_KINDS:
		BUG("no transform %d", x->kind);
	}
	text_printf(t, turned ? " } }" : " }");
}

/* ---- formats ------------------------------------------------------------------------------ */

static void
write_zero(Text *t, const PlanFormat *f)
{
	if (f->format.zero != ZERO_NONE)
		text_printf(t, ", \"scheme\": \"asymmetric\", \"zero\": \"%s\"",
			    f->format.zero == ZERO_REAL ? "real" : "integer");
}

static const char *
weight_text(Arena *a, const PlanFormat *f)
{
	Text *t = text_new(a);
	if (format_is_float(f->format)) {
		text_printf(t, "{ \"bits\": %u }", f->format.bits);
		return t->text;
	}
	if (f->format.ternary)
		text_printf(t, "{ \"bits\": 1.58, \"group\": ");
	else
		text_printf(t, "{ \"bits\": %u, \"group\": ", f->format.bits);
	if (f->format.group)
		text_printf(t, "%u", f->format.group);
	else
		text_printf(t, f->format.per_tensor ? "\"tensor\"" : "\"row\"");
	write_zero(t, f);
	if (f->format.minimum)
		text_printf(t, ", \"scheme\": \"minimum\"");
	text_printf(t, ", \"scale\": \"%s\"",
		    f->format.scale_bits == 32 ? "f32"
		    : f->format.bf16	       ? "bf16"
					       : "f16");
	if (f->format.signed_scale)
		text_printf(t, ", \"signed\": true");
	if (f->format.ternary)
		text_printf(t, ", \"packing\": \"%s\"", f->format.trits ? "trits" : "2bit");
	text_printf(t, " }");
	return t->text;
}

static const char *
activation_text(Arena *a, const PlanFormat *f)
{
	Text *t = text_new(a);
	text_printf(t, "{ \"bits\": %u", f->format.bits);
	if (f->format.group)
		text_printf(t, ", \"granularity\": \"group\", \"group\": %u", f->format.group);
	write_zero(t, f);
	if (f->format.clip != 0) {
		text_printf(t, ", \"clip\": ");
		text_double(t, (double)f->format.clip);
	}
	text_printf(t, " }");
	return t->text;
}

static const char *
kv_text(Arena *a, const PlanFormat *f)
{
	Text *t = text_new(a);
	text_printf(t, "{ \"bits\": %u", f->format.bits);
	write_zero(t, f);
	if (f->query_bits && f->query_bits != 16)
		text_printf(t, ", \"query\": %u", f->query_bits);
	text_printf(t, " }");
	return t->text;
}

/* ---- places ------------------------------------------------------------------------------- */

/* A line `"key": value` of a section; the first one opens it. */
static void
write_line(Text *t, const char *key, const char *value)
{
	text_printf(t, "%s\n\t\t", t->size ? "," : "");
	text_json_string(t, key, strlen(key));
	text_printf(t, ": %s", value);
}

static bool
says_same(const Saying *a, const Saying *b)
{
	return a->body && b->body && a->keep_gain == b->keep_gain && !strcmp(a->body, b->body);
}

/* Lines for all layers that say what `first` does, with patterns of at most LISTED layers. */
static void
write_layers(Writer *w, Text *t, Saying *says, uint32_t n, uint32_t first, const char *suffix,
	     const char *value)
{
	uint32_t same = 0, listed = 0;
	Text *list = text_new(w->arena);
	for (uint32_t l = 0; l < n; l++)
		same += says_same(&says[l], &says[first]);
	for (uint32_t l = first; l < n; l++) {
		if (!says_same(&says[l], &says[first]))
			continue;
		says[l].written = true;
		if (same == n)
			continue;
		text_printf(list, listed ? ",%u" : "%u", l);
		same--;
		if (++listed < LISTED && same)
			continue;
		write_line(t,
			   arena_printf(w->arena, listed == 1 ? "layers.%s%s" : "layers.{%s}%s",
					list->text, suffix),
			   value);
		list = text_new(w->arena);
		listed = 0;
	}
	if (same == n)
		write_line(t, arena_printf(w->arena, "layers.*%s", suffix), value);
}

/* Formats of one place. */
static void
write_formats(Writer *w, Text *t, const PlanFormat *formats, uint32_t n, const char *name,
	      bool layered, const char *(*print)(Arena *a, const PlanFormat *f))
{
	Saying *says = ARENA_ARRAY(w->arena, Saying, n);
	for (uint32_t l = 0; l < n; l++)
		if (plan_says(formats[l].loc))
			says[l].body = print(w->arena, &formats[l]);
	for (uint32_t l = 0; l < n; l++) {
		if (!says[l].body || says[l].written)
			continue;
		if (layered)
			write_layers(w, t, says, n, l,
				     *name ? arena_printf(w->arena, ".%s", name) : "",
				     says[l].body);
		else
			write_line(t, name, says[l].body);
	}
}

/* ---- transforms --------------------------------------------------------------------------- */

/* The name that a transform has, if no other one has taken it, else one of its place's. */
static const char *
choose_name(Writer *w, const Saying *s, const char *place)
{
	/* '*' in a data name would stand for a layer. */
	const char *name = s->name && !strchr(s->name, '*') ? s->name : place;
	for (uint32_t i = 0, tries = 1; i < w->n_used; i++)
		if (!strcmp(w->used[i], name)) {
			name = arena_printf(w->arena, "%s %u", place, tries++);
			i = UINT32_MAX; /* look again from the start */
		}
	if (w->n_used == w->capacity) {
		const char **more =
			ARENA_ARRAY(w->arena, const char *, 2 * (size_t)w->capacity + 16);
		if (w->n_used)
			memcpy(more, w->used, w->n_used * sizeof *more);
		w->used = more;
		w->capacity = 2 * w->capacity + 16;
	}
	w->used[w->n_used++] = name;
	return name;
}

static bool
leaf_equal(const Leaf *a, const Leaf *b)
{
	return a->size == b->size && !memcmp(a->bytes, b->bytes, a->size);
}

static void
add_leaf(Writer *w, const char *name, const Leaf *x)
{
	safetensors_add(&w->data, name, x->type, x->shape, x->rank, x->bytes, x->size);
	w->has_data = true;
}

/* The data of leaf k of all layers that say the same; the name that the transform gives it. */
static const char *
write_leaf(Writer *w, const Saying *says, uint32_t n, uint32_t first, uint32_t k, const char *name)
{
	bool shared = true;
	for (uint32_t l = first; l < n; l++)
		if (says_same(&says[l], &says[first]))
			shared = shared && leaf_equal(&says[l].leaves[k], &says[first].leaves[k]);
	const char *plain = arena_printf(w->arena, "%s.%u", name, k);
	if (shared) {
		add_leaf(w, plain, &says[first].leaves[k]);
		return plain;
	}
	for (uint32_t l = first; l < n; l++)
		if (says_same(&says[l], &says[first]))
			add_leaf(w, arena_printf(w->arena, "layers.%u.%s", l, plain),
				 &says[l].leaves[k]);
	return arena_printf(w->arena, "layers.*.%s", plain);
}

/* The transform of `first` under a name, and what a site says of it. */
static const char *
write_named(Writer *w, const Saying *says, uint32_t n, uint32_t first, const char *place)
{
	const Saying *s = &says[first];
	Text *value = text_new(w->arena), *body = text_new(w->arena);
	uint32_t k = 0;
	if (*s->body) {
		const char *name = choose_name(w, s, place);
		for (const char *c = s->body; *c; c++) {
			if (*c != '\1') {
				text_add(body, c, 1);
				continue;
			}
			const char *data = write_leaf(w, says, n, first, k++, name);
			text_json_string(body, data, strlen(data));
		}
		write_line(w->transforms, name, body->text);
		text_json_string(value, name, strlen(name));
	}
	if (!s->keep_gain)
		return *s->body ? value->text : "{ \"gain\": \"fold\" }";
	return arena_printf(w->arena,
			    *s->body ? "{ \"transform\": %s, \"gain\": \"keep\" }"
				     : "{ %s\"gain\": \"keep\" }",
			    value->text);
}

static void
write_site(Writer *w, const Plan *p, Site site)
{
	const bool layered = site_table[site].layered;
	const uint32_t n = layered ? w->model->n_layer : 1;
	Saying *says = ARENA_ARRAY(w->arena, Saying, n);
	for (uint32_t l = 0; l < n; l++) {
		const PlanTransform *at = &p->transforms[site][l];
		Text *body = text_new(w->arena);
		if (!plan_says(at->loc) && !at->transform)
			continue;
		if (at->transform)
			write_transform(w, &says[l], body, at->transform);
		says[l].name = at->transform ? at->transform->name : NULL;
		says[l].keep_gain = at->keep_gain;
		says[l].body = body->text;
	}
	for (uint32_t l = 0; l < n; l++) {
		if (!says[l].body || says[l].written)
			continue;
		const char *name = site_table[site].name;
		const char *value = write_named(w, says, n, l, name);
		if (layered)
			write_layers(w, w->apply, says, n, l, arena_printf(w->arena, ".%s", name),
				     value);
		else
			write_line(w->apply, name, value);
	}
}

/* ---- codes -------------------------------------------------------------------------------- */

static void
write_codes(Writer *w, const PlanCodes *c, const PlanFormat *f, const Tensor *t, uint32_t columns,
	    const char *name)
{
	const uint64_t groups = (uint64_t)format_groups(f->format, (int)columns);
	const uint64_t rows = f->format.per_tensor ? 1 : t->rows;
	const size_t codes = (size_t)t->rows * columns;
	const Leaf parts[] = {
		{DTYPE_U8, 2, {t->rows, columns}, c->codes, codes},
		{DTYPE_F32, 2, {rows, groups}, c->scales, (size_t)(rows * groups) * sizeof(float)},
		{DTYPE_F32, 2, {rows, groups}, c->zeros, (size_t)(rows * groups) * sizeof(float)},
	};
	const char *const suffixes[] = {"codes", "scales", f->format.minimum ? "minima" : "zeros"};
	for (int i = 0; i < 3; i++)
		if (parts[i].bytes)
			add_leaf(w, arena_printf(w->arena, "%s.%s", name, suffixes[i]), &parts[i]);
}

/* Whether a plan says the same of all experts of each layer. */
static bool
experts_same(Writer *w, const PlanFormat *formats, uint32_t layers, uint32_t experts)
{
	for (uint32_t i = 0; i < layers * experts; i++) {
		const PlanFormat *first = &formats[i / experts * experts], *f = &formats[i];
		const bool says = plan_says(f->loc);
		if (says != plan_says(first->loc) ||
		    (says && strcmp(weight_text(w->arena, f), weight_text(w->arena, first)) != 0))
			return false;
	}
	return true;
}

/* Formats of [layers][experts] matrices: a line of all experts where they do not differ, else each
 * expert's own. */
static void
write_experts(Writer *w, const PlanFormat *formats, Role role, uint32_t layers, uint32_t experts)
{
	const bool same = experts_same(w, formats, layers, experts);
	PlanFormat *of = ARENA_ARRAY(w->arena, PlanFormat, layers);
	for (uint32_t e = 0; e < (same ? 1 : experts); e++) {
		for (uint32_t l = 0; l < layers; l++)
			of[l] = formats[l * experts + e];
		write_formats(w, w->weights, of, layers,
			      same ? role_names[role]
				   : arena_printf(w->arena, "%s.%u", role_names[role], e),
			      role_layered[role], weight_text);
	}
}

static void
write_weights(Writer *w, const Plan *p, Role role)
{
	const uint32_t n = model_places(w->model, role), experts = model_experts(w->model, role);
	write_experts(w, p->weights[role], role, n / experts, experts);
	/* A tied head's codes are the embedding's. */
	if (role == ROLE_HEAD && p->codes[role]->codes == p->codes[ROLE_EMBED]->codes)
		return;
	for (uint32_t i = 0; i < n; i++)
		if (p->codes[role][i].codes)
			write_codes(w, &p->codes[role][i], &p->weights[role][i],
				    model_expert(w->model, role, i / experts, i % experts),
				    plan_columns(p, w->model, (int)role, i / experts),
				    plan_matrix_name(w->arena, w->model, role, i));
}

/* ---- the file ----------------------------------------------------------------------------- */

static void
write_section(Text *t, const char *name, const Text *lines)
{
	if (lines->size)
		text_printf(t, ",\n\t\"%s\": {%s\n\t}", name, lines->text);
}

/* One format for all layers stands alone. */
static void
write_kv(Writer *w, Text *t, const Plan *p)
{
	static const char all[] = "\n\t\t\"layers.*\": ";
	write_formats(w, w->kv, p->kv, w->model->n_layer, "", true, kv_text);
	if (!strncmp(w->kv->text, all, sizeof all - 1))
		text_printf(t, ",\n\t\"kv\": %s", w->kv->text + sizeof all - 1);
	else
		write_section(t, "kv", w->kv);
}

static bool
digest_known(const uint8_t digest[32])
{
	static const uint8_t none[32];
	return memcmp(digest, none, sizeof none) != 0;
}

static void
write_maker(Text *t, const PlanMaker *m)
{
	const struct {
		const char *key, *value;
	} members[] = {{"program", m->program},
		       {"recipe", m->recipe},
		       {"calibration", m->calibration},
		       {"machine", m->machine}};
	const char *between = ",\n\t\"made_by\": { ";
	for (size_t i = 0; i < sizeof members / sizeof *members; i++) {
		if (!members[i].value)
			continue;
		text_printf(t, "%s\"%s\": ", between, members[i].key);
		text_json_string(t, members[i].value, strlen(members[i].value));
		between = ", ";
	}
	if (m->bits > 0.0) {
		text_printf(t, "%s\"bits_per_weight\": ", between);
		text_double(t, m->bits);
		text_printf(t, ", \"adds\": %llu, \"multiplies\": %llu",
			    (unsigned long long)m->adds, (unsigned long long)m->multiplies);
		between = ", ";
	}
	if (between[1] == ' ')
		text_printf(t, " }");
}

PlanText
plan_write(Arena *a, const Plan *p, const Model *m, const char *data_file)
{
	Writer w = {a,		 m,   text_new(a), text_new(a), text_new(a), text_new(a),
		    text_new(a), {0}, false,	   NULL,	0,	     0};
	char hex[65];
	const bool known = digest_known(m->sha256);
	sha256_hex(m->sha256, hex);
	const char *const metadata[] = {known ? "model_sha256" : NULL, hex, NULL};
	safetensors_begin(&w.data, a, metadata);
	for (int s = 0; s < SITE_COUNT; s++)
		write_site(&w, p, (Site)s);
	for (int role = 0; role < ROLE_COUNT; role++)
		write_weights(&w, p, (Role)role);
	for (int s = 0; s < SITE_COUNT; s++)
		write_formats(&w, w.activations, p->activations[s],
			      site_table[s].layered ? m->n_layer : 1, site_table[s].name,
			      site_table[s].layered, activation_text);
	Text *t = text_new(a);
	text_printf(t, "{\n\t\"lathe_plan\": 1,\n\t\"model\": { \"arch\": \"%s\"", m->arch);
	if (known)
		text_printf(t, ", \"sha256\": \"%s\"", hex);
	text_printf(t, " }");
	if (p->stored)
		text_printf(t, ",\n\t\"stored\": true");
	write_section(t, "transforms", w.transforms);
	write_section(t, "apply", w.apply);
	write_section(t, "weights", w.weights);
	write_section(t, "activations", w.activations);
	write_kv(&w, t, p);
	PlanText out = {t, NULL};
	if (w.has_data) {
		uint8_t digest[32];
		out.data = safetensors_end(&w.data);
		sha256_of(out.data->text, out.data->size, digest);
		sha256_hex(digest, hex);
		text_printf(t, ",\n\t\"data\": { \"file\": ");
		text_json_string(t, data_file, strlen(data_file));
		text_printf(t, ", \"sha256\": \"%s\" }", hex);
	}
	write_maker(t, &p->maker);
	text_printf(t, "\n}\n");
	return out;
}

/* The sidecar first: a plan is there only with its data. */
void
plan_write_files(Arena *a, const Plan *p, const Model *m, const char *path)
{
	const char *slash = strrchr(path, '/'), *dot = strrchr(slash ? slash : path, '.');
	const size_t stem = dot ? (size_t)(dot - path) : strlen(path);
	const char *data = arena_printf(a, "%.*s.safetensors", (int)stem, path);
	const char *name = strrchr(data, '/');
	const PlanText text = plan_write(a, p, m, name ? name + 1 : data);
	if (text.data)
		outfile_text(a, data, text.data);
	outfile_text(a, path, text.json);
}
