/* A GGUF file's keys and tensors become a Model; what is not understood is refused. */
#include "gguf_model.h"
#include "gguf.h"
#include "reader.h"
#include "stored.h"

#include <string.h>

typedef struct TensorRow {
	const char *name;
	uint8_t role, row_order;
	bool required;
} TensorRow;

/* The .def files end both macros, as all do. */
#define REQUIRED(name, role, order) {name, role, order, true},
#define OPTIONAL(name, role, order) {name, role, order, false},
static const TensorRow llama_tensors[] = {
#define GGUF_TENSOR REQUIRED
#define GGUF_OPTIONAL OPTIONAL
#include "gguf_decoder.def"
#define GGUF_TENSOR REQUIRED
#define GGUF_OPTIONAL OPTIONAL
#include "gguf_llama.def"
};

static const TensorRow qwen2_tensors[] = {
#define GGUF_TENSOR REQUIRED
#define GGUF_OPTIONAL OPTIONAL
#include "gguf_decoder.def"
#define GGUF_TENSOR REQUIRED
#include "gguf_qwen2.def"
};

static const TensorRow qwen3_tensors[] = {
#define GGUF_TENSOR REQUIRED
#define GGUF_OPTIONAL OPTIONAL
#include "gguf_decoder.def"
#define GGUF_TENSOR REQUIRED
#include "gguf_qwen3.def"
};
#undef REQUIRED
#undef OPTIONAL

typedef struct Arch {
	const char *name;
	const TensorRow *tensors;
	size_t n_tensors;
} Arch;

static const Arch archs[] = {
	{"llama", llama_tensors, sizeof llama_tensors / sizeof llama_tensors[0]},
	{"qwen2", qwen2_tensors, sizeof qwen2_tensors / sizeof qwen2_tensors[0]},
	{"qwen3", qwen3_tensors, sizeof qwen3_tensors / sizeof qwen3_tensors[0]},
};

enum { ARCH_COUNT = sizeof archs / sizeof archs[0] };

typedef struct GgufReader {
	Gguf g;
	Model *m;
	const Arch *arch;
	const Tensor **slots[ROLE_COUNT];
	/* Names that fill no slot, to suggest them where one is missing. */
	const char **unknown;
	size_t n_unknown;
} GgufReader;

/* ---- metadata ----------------------------------------------------------------------------- */

typedef enum KeyRule { RULE_USED, RULE_HARMLESS, RULE_NUMBER, RULE_TEXT, RULE_REFUSED } KeyRule;

static const struct KeyRow {
	const char *key;
	KeyRule rule;
	double number;
	const char *text;
	DiagId id;
} key_rows[] = {
#define KEY_USED(key) {key, RULE_USED, 0, NULL, DIAG_COUNT},
#define KEY_HARMLESS(key) {key, RULE_HARMLESS, 0, NULL, DIAG_COUNT},
#define KEY_NUMBER(key, value, id) {key, RULE_NUMBER, value, NULL, id},
#define KEY_TEXT(key, value, id) {key, RULE_TEXT, 0, value, id},
#define KEY_REFUSED(key, id) {key, RULE_REFUSED, 0, NULL, id},
#include "gguf_keys.def"
};

/* "@" in a pattern stands for the architecture, a final "*" for any rest. */
static bool
key_matches(const char *pattern, const char *arch, Bytes key)
{
	const char *k = key.data, *end = key.data + key.size;
	if (*pattern == '@') {
		size_t n = strlen(arch);
		if (key.size < n || memcmp(k, arch, n) != 0)
			return false;
		k += n;
		pattern++;
	}
	for (; *pattern; pattern++, k++) {
		if (*pattern == '*' && !pattern[1])
			return true;
		if (k == end || *k != *pattern)
			return false;
	}
	return k == end;
}

static bool
key_holds(const GgufReader *r, const struct KeyRow *row, const GgufValue *v)
{
	int64_t n;
	double x;
	switch (row->rule) {
	case RULE_USED:
	case RULE_HARMLESS:
		return true;
	case RULE_NUMBER:
		return gguf_integer(&r->g, v, &n) ? (double)n == row->number
						  : gguf_real(&r->g, v, &x) && x == row->number;
	case RULE_TEXT:
		return v->type == GGUF_STRING && bytes_equal(gguf_string(&r->g, v), row->text);
	case RULE_REFUSED:
		break;
	}
	return false;
}

static void
check_key(const GgufReader *r, const GgufEntry *e)
{
	const struct KeyRow *failed = NULL;
	for (size_t i = 0; i < sizeof key_rows / sizeof key_rows[0]; i++) {
		const struct KeyRow *row = &key_rows[i];
		if (failed && strcmp(failed->key, row->key) != 0)
			break;
		if (!key_matches(row->key, r->arch->name, e->key))
			continue;
		if (key_holds(r, row, &e->value))
			return;
		failed = row;
	}
	Loc loc = cursor_loc(&r->g.cursor, e->at);
	diag_error(r->g.d, loc, failed ? failed->id : E_METADATA_UNKNOWN,
		   "the metadata key %s = %s could change the model's function and is not "
		   "understood",
		   bytes_quote(r->g.arena, e->key), gguf_show(&r->g, &e->value));
}

/* The entry of a key pattern that begins with '@'; the full key goes to *key. */
static const GgufEntry *
arch_find(const GgufReader *r, const char *pattern, const char **key)
{
	*key = pattern[0] == '@' ? arena_printf(r->g.arena, "%s%s", r->arch->name, pattern + 1)
				 : pattern;
	return gguf_find(&r->g, *key);
}

static void
wrong_value(const GgufReader *r, const GgufEntry *e, const char *wanted)
{
	diag_error(r->g.d, cursor_loc(&r->g.cursor, e->at), E_METADATA, "%s must be %s, not %s",
		   bytes_quote(r->g.arena, e->key), wanted, gguf_show(&r->g, &e->value));
}

static void
missing_key(const GgufReader *r, const char *key)
{
	diag_error(r->g.d, r->m->loc, E_METADATA, "the metadata key '%s' is missing", key);
}

static void
read_constant(const GgufReader *r, const char *pattern, int64_t least, int64_t most, bool required,
	      uint32_t *field)
{
	const char *key;
	const GgufEntry *e = arch_find(r, pattern, &key);
	int64_t n;
	if (!e && required)
		missing_key(r, key);
	if (!e)
		return;
	if (gguf_integer(&r->g, &e->value, &n) && n >= least && n <= most)
		*field = (uint32_t)n;
	else
		wrong_value(r, e,
			    arena_printf(r->g.arena, "an integer from %lld to %lld",
					 (long long)least, (long long)most));
}

static void
read_real(const GgufReader *r, const char *pattern, double least, double most, bool required,
	  double *field)
{
	const char *key;
	const GgufEntry *e = arch_find(r, pattern, &key);
	double x;
	if (!e && required)
		missing_key(r, key);
	if (!e)
		return;
	if (gguf_real(&r->g, &e->value, &x) && x >= least && x <= most)
		*field = x;
	else
		wrong_value(r, e, arena_printf(r->g.arena, "a float from %g to %g", least, most));
}

/* Keys that may only repeat what other keys say. */
static void
check_same(const GgufReader *r, const char *pattern, uint32_t value, const char *of)
{
	const char *key;
	const GgufEntry *e = arch_find(r, pattern, &key);
	int64_t n;
	if (e && (!gguf_integer(&r->g, &e->value, &n) || n != value))
		wrong_value(r, e, arena_printf(r->g.arena, "%s, %u", of, value));
}

static bool
read_arch(GgufReader *r)
{
	static const char key[] = "general.architecture";
	const GgufEntry *e = gguf_find(&r->g, key);
	if (!e) {
		missing_key(r, key);
		return false;
	}
	if (e->value.type != GGUF_STRING) {
		wrong_value(r, e, "a string");
		return false;
	}
	for (int i = 0; i < ARCH_COUNT; i++)
		if (bytes_equal(gguf_string(&r->g, &e->value), archs[i].name))
			r->arch = &archs[i];
	if (!r->arch) {
		diag_error(r->g.d, cursor_loc(&r->g.cursor, e->at), E_ARCH,
			   "unknown architecture %s", gguf_show(&r->g, &e->value));
		Text *t = text_new(r->g.arena);
		for (int i = 0; i < ARCH_COUNT; i++)
			text_printf(t, "%s%s", i ? ", " : "", archs[i].name);
		diag_hint(r->g.d, "Lathe reads %s", t->text);
		return false;
	}
	r->m->arch = r->arch->name;
	return true;
}

static bool
read_constants(GgufReader *r)
{
	Model *m = r->m;
	int before = diag_errors(r->g.d);
	for (uint32_t i = 0; i < r->g.n_entries; i++)
		check_key(r, &r->g.entries[i]);
	double eps = 0;
	m->rope_base = 10000;
#define GGUF_CONSTANT(field, key, least, most, required) \
	read_constant(r, key, least, most, required, &m->field);
#include "gguf_constants.def"
	read_real(r, "@.attention.layer_norm_rms_epsilon", 1e-30, 1, true, &eps);
	read_real(r, "@.rope.freq_base", 1, 1e30, false, &m->rope_base);
	m->norm_eps = (float)eps;
	if (diag_errors(r->g.d) != before)
		return false;
	if (!m->n_kv_head)
		m->n_kv_head = m->n_head;
	if (!m->head_dim) {
		if (m->hidden % m->n_head) {
			diag_error(r->g.d, m->loc, E_METADATA,
				   "the embedding length %u is no multiple of %u heads", m->hidden,
				   m->n_head);
			return false;
		}
		m->head_dim = m->hidden / m->n_head;
	}
	check_same(r, "@.attention.value_length", m->head_dim, "the key length");
	check_same(r, "@.rope.dimension_count", m->head_dim, "the key length");
	return model_derive(r->g.d, m) && diag_errors(r->g.d) == before;
}

/* ---- tensors ------------------------------------------------------------------------------ */

/* Matches a name against a pattern with '#' for the layer, written without leading zeros. */
static bool
name_matches(const char *pattern, const char *name, uint32_t *layer)
{
	*layer = 0;
	for (; *pattern; pattern++) {
		if (*pattern != '#') {
			if (*name++ != *pattern)
				return false;
			continue;
		}
		const char *first = name;
		while (*name >= '0' && *name <= '9' && name - first < 6)
			*layer = *layer * 10 + (uint32_t)(*name++ - '0');
		if (name == first || (*first == '0' && name - first > 1))
			return false;
	}
	return !*name;
}

static const char *
expected_name(Arena *a, const TensorRow *row, uint32_t layer)
{
	const char *hash = strchr(row->name, '#');
	if (!hash)
		return row->name;
	return arena_printf(a, "%.*s%u%s", (int)(hash - row->name), row->name, layer, hash + 1);
}

/* Names that the architecture has and the file lacks. */
static size_t
empty_slots(const GgufReader *r, const char **names)
{
	size_t n = 0;
	for (size_t i = 0; i < r->arch->n_tensors; i++) {
		const TensorRow *row = &r->arch->tensors[i];
		for (uint32_t l = 0; l < (role_layered[row->role] ? r->m->n_layer : 1); l++)
			if (!r->slots[row->role][l])
				names[n++] = expected_name(r->g.arena, row, l);
	}
	return n;
}

static void
unknown_tensor(GgufReader *r, const GgufTensor *gt)
{
	r->unknown[r->n_unknown++] = gt->name;
	if (strcmp(gt->name, "rope_freqs.weight") == 0) {
		diag_error(r->g.d, gt->loc, E_ROPE,
			   "tensor 'rope_freqs.weight' scales the RoPE frequencies, which Lathe "
			   "does not support");
		return;
	}
	for (size_t i = 0; i < r->arch->n_tensors; i++) {
		uint32_t layer;
		if (!name_matches(r->arch->tensors[i].name, gt->name, &layer))
			continue;
		diag_error(r->g.d, gt->loc, E_TENSOR_UNKNOWN,
			   "tensor '%s' belongs to layer %u, but '%s.block_count' is %u", gt->name,
			   layer, r->arch->name, r->m->n_layer);
		return;
	}
	diag_error(r->g.d, gt->loc, E_TENSOR_UNKNOWN,
		   "tensor '%s' could change the model's function and is not understood", gt->name);
	const char **names =
		ARENA_ARRAY(r->g.arena, const char *, r->arch->n_tensors *(size_t)r->m->n_layer);
	const char *near = nearest_name(gt->name, names, empty_slots(r, names));
	if (near)
		diag_hint(r->g.d, "did you mean '%s', which is missing?", near);
}

static void
fill_slot(GgufReader *r, const TensorRow *row, uint32_t layer, const GgufTensor *gt)
{
	Tensor *t = ARENA_NEW(r->g.arena, Tensor);
	*t = (Tensor){.name = gt->name,
		      .type = gt->type,
		      .data = gt->data,
		      .row_bytes = gt->dims[0] / gt->type->block * gt->type->block_bytes,
		      .rows = (uint32_t)gt->dims[1],
		      .columns = (uint32_t)gt->dims[0],
		      .head_dim = r->m->head_dim,
		      .row_order = row->row_order,
		      .loc = gt->loc};
	r->slots[row->role][layer] = t;
}

static bool
match_tensors(GgufReader *r)
{
	Gguf *g = &r->g;
	int before = diag_errors(g->d);
	model_slots(g->arena, r->m, r->slots);
	r->unknown = ARENA_ARRAY(g->arena, const char *, g->n_tensors);
	bool *taken = ARENA_ARRAY(g->arena, bool, g->n_tensors);
	for (uint32_t i = 0; i < g->n_tensors; i++)
		for (size_t k = 0; k < r->arch->n_tensors && !taken[i]; k++) {
			const TensorRow *row = &r->arch->tensors[k];
			uint32_t layer;
			if (!name_matches(row->name, g->tensors[i].name, &layer) ||
			    layer >= (role_layered[row->role] ? r->m->n_layer : 1))
				continue;
			fill_slot(r, row, layer, &g->tensors[i]);
			taken[i] = true;
		}
	for (uint32_t i = 0; i < g->n_tensors; i++)
		if (!taken[i])
			unknown_tensor(r, &g->tensors[i]);
	return diag_errors(g->d) == before;
}

static bool
check_missing(const GgufReader *r)
{
	enum { SHOWN = 8 };
	uint32_t missing = 0;
	for (size_t i = 0; i < r->arch->n_tensors; i++) {
		const TensorRow *row = &r->arch->tensors[i];
		for (uint32_t l = 0; l < (role_layered[row->role] ? r->m->n_layer : 1); l++) {
			if (r->slots[row->role][l] || !row->required)
				continue;
			if (++missing > SHOWN)
				continue;
			const char *name = expected_name(r->g.arena, row, l);
			diag_error(r->g.d, r->m->loc, E_TENSOR_MISSING, "tensor '%s' is missing",
				   name);
			const char *near = nearest_name(name, r->unknown, r->n_unknown);
			if (near)
				diag_hint(r->g.d, "the file has '%s'", near);
		}
	}
	if (missing > SHOWN)
		diag_note(r->g.d, r->m->loc, "%u more are missing", missing - SHOWN);
	return !missing;
}

/* The vocabulary is as large as the embedding has rows, whatever else says so must agree. */
static bool
read_vocabulary(GgufReader *r)
{
	const Tensor *embed = r->slots[ROLE_EMBED][0];
	const char *key;
	const GgufEntry *e = arch_find(r, "@.vocab_size", &key);
	int64_t n;
	if (embed->rows > VOCAB_MAX) {
		diag_error(r->g.d, embed->loc, E_OVERFLOW,
			   "an embedding of %u rows; Lathe reads up to %d", embed->rows, VOCAB_MAX);
		return false;
	}
	r->m->n_vocab = embed->rows;
	if (e && (!gguf_integer(&r->g, &e->value, &n) || n != embed->rows)) {
		diag_error(r->g.d, cursor_loc(&r->g.cursor, e->at), E_VOCAB,
			   "'%s' is %s, the embedding has %u rows", key,
			   gguf_show(&r->g, &e->value), embed->rows);
		return false;
	}
	return true;
}

static void
check_shape(const GgufReader *r, const TensorRow *row, const GgufTensor *gt)
{
	uint32_t rows, columns;
	model_shape(r->m, (Role)row->role, &rows, &columns);
	uint64_t given = gt->dims[1] * gt->dims[2] * gt->dims[3];
	GgufTensor wanted = {.n_dims = rows > 1 ? 2 : 1, .dims = {columns, rows}};
	if (gt->dims[0] != columns || given != rows || gt->dims[1] != rows)
		diag_error(r->g.d, gt->loc, E_TENSOR_SHAPE,
			   "tensor '%s' has the shape %s, the metadata wants %s", gt->name,
			   gguf_shape(r->g.arena, gt), gguf_shape(r->g.arena, &wanted));
	else if (rows == 1 && !format_is_float(gt->type->format))
		diag_error(r->g.d, gt->loc, E_TENSOR_TYPE,
			   "tensor '%s' has type %s; Lathe reads vectors of F32 and F16", gt->name,
			   gt->type->name);
}

static bool
check_shapes(const GgufReader *r)
{
	int before = diag_errors(r->g.d);
	for (uint32_t i = 0; i < r->g.n_tensors; i++)
		for (size_t k = 0; k < r->arch->n_tensors; k++) {
			uint32_t layer;
			if (name_matches(r->arch->tensors[k].name, r->g.tensors[i].name, &layer))
				check_shape(r, &r->arch->tensors[k], &r->g.tensors[i]);
		}
	return diag_errors(r->g.d) == before;
}

bool
gguf_model(Arena *a, Diag *d, Model *m, const ModelOptions *o)
{
	GgufReader *r = ARENA_NEW(a, GgufReader);
	r->m = m;
	if (o->tokenizer || o->tokenizer_data) {
		diag_error(d, m->loc, E_USAGE,
			   "a GGUF file brings its own tokenizer, another one was given");
		return false;
	}
	if (!gguf_read_files(a, d, m, &r->g))
		return false;
	if (!read_arch(r) || !read_constants(r))
		return false;
	bool ok = match_tensors(r);
	ok = check_missing(r) && ok;
	if (!ok || !read_vocabulary(r) || !check_shapes(r))
		return false;
	model_set_tensors(m, r->slots);
	return gguf_tokenizer(&r->g, m);
}
