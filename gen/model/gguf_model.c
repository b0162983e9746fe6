/* A GGUF file's keys and tensors become a Model; what is not understood is refused. */
#include "gguf_model.h"
#include "gguf.h"
#include "match.h"
#include "reader.h"
#include "rotation.h"
#include "stored.h"

#include <math.h>
#include <string.h>

/* Tensors that architectures have together, as bits. */
enum {
	DECODER = 1,
	PAIRED = 2,
	BIASED = 4,
	NORMED = 8,
	POST_NORMED = 16,
	MLP = 32,
	MLP_BIASES = 64,
	EXPERTS = 128,
	SHARED = 256
};

static const struct {
	unsigned part;
	TensorRow row;
} tensor_rows[] = {
#define GGUF_TENSOR(part, name, role, order, required) {part, {name, role, order, required}},
#include "gguf_tensors.def"
};

enum { TENSOR_ROWS = sizeof tensor_rows / sizeof *tensor_rows };

typedef struct Arch {
	const char *name;
	unsigned parts; /* of its tensors */
	bool mixture;	/* of experts: the row holds where the file has some, or must have them */
	bool norm_experts, shared;
	/* Where a file has a window, every so-many-th layer is without. */
	uint32_t window_period;
	bool scales_embedding; /* by the square root of the width */
	bool gelu;
} Arch;

static const Arch archs[] = {
	{"llama", DECODER | PAIRED | MLP | MLP_BIASES, false, false, false, 0, false, false},
	{"llama", DECODER | PAIRED | EXPERTS, true, true, false, 0, false, false},
	{"qwen2", DECODER | BIASED | MLP, false, false, false, 0, false, false},
	{"qwen2moe", DECODER | BIASED | EXPERTS | SHARED, true, false, true, 0, false, false},
	{"qwen3", DECODER | NORMED | MLP, false, false, false, 0, false, false},
	{"qwen3moe", DECODER | NORMED | EXPERTS, true, true, false, 0, false, false},
	{"gemma3", DECODER | NORMED | POST_NORMED | MLP, false, false, false, 6, true, true},
};

enum { ARCH_COUNT = sizeof archs / sizeof archs[0] };

typedef struct GgufReader {
	Gguf g;
	Model *m;
	const Arch *arch;
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

/* Whether a file of the architecture says that it has experts. */
static bool
has_experts(const GgufReader *r, const char *arch)
{
	const GgufEntry *e = gguf_find(&r->g, arena_printf(r->g.arena, "%s.expert_count", arch));
	int64_t n;
	return e && gguf_integer(&r->g, &e->value, &n) && n != 0;
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
		if (bytes_equal(gguf_string(&r->g, &e->value), archs[i].name) &&
		    (!r->arch || archs[i].mixture == has_experts(r, archs[i].name)))
			r->arch = &archs[i];
	if (!r->arch) {
		diag_error(r->g.d, cursor_loc(&r->g.cursor, e->at), E_ARCH,
			   "unknown architecture %s", gguf_show(&r->g, &e->value));
		Text *t = text_new(r->g.arena);
		for (int i = 0; i < ARCH_COUNT; i++)
			if (!i || strcmp(archs[i].name, archs[i - 1].name) != 0)
				text_printf(t, "%s%s", i ? ", " : "", archs[i].name);
		diag_hint(r->g.d, "Lathe reads %s", t->text);
		return false;
	}
	r->m->arch = r->arch->name;
	return true;
}

/* How many experts, how many of them a token has, and their widths. */
static void
read_experts(const GgufReader *r)
{
	Model *m = r->m;
	const bool qwen = strcmp(r->arch->name, "llama") != 0;
	const int before = diag_errors(r->g.d);
	if (!r->arch->mixture) {
		read_constant(r, "@.expert_used_count", 0, 0, false, &m->n_used);
		return;
	}
	read_constant(r, "@.expert_count", 1, EXPERTS_MAX, true, &m->n_expert);
	read_constant(r, "@.expert_used_count", 1, EXPERTS_MAX, true, &m->n_used);
	m->expert_inter = m->inter;
	if (qwen)
		read_constant(r, "@.expert_feed_forward_length", 1, WIDTH_MAX, true,
			      &m->expert_inter);
	m->inter = m->expert_inter;
	if (r->arch->shared)
		read_constant(r, "@.expert_shared_feed_forward_length", 1, WIDTH_MAX, true,
			      &m->inter);
	m->norm_experts = r->arch->norm_experts;
	if (diag_errors(r->g.d) == before && m->n_used > m->n_expert)
		diag_error(r->g.d, m->loc, E_METADATA,
			   "a token goes through %u experts, the model has %u", m->n_used,
			   m->n_expert);
}

/* What only some architectures have. */
static void
read_peculiarities(const GgufReader *r)
{
	enum { GEMMA3_27B_LAYERS = 62 };
	Model *m = r->m;
	m->gelu = r->arch->gelu;
	if (r->arch->scales_embedding)
		m->embed_scale = (float)sqrt((double)m->hidden);
	if (!r->arch->window_period)
		return;
	m->window_period = r->arch->window_period;
	m->rope_base_window = 10000;
	read_constant(r, "@.attention.sliding_window", 0, POSITIONS_MAX, false, &m->window);
	read_real(r, "@.rope.freq_base_swa", 1, 1e30, false, &m->rope_base_window);
	/* No key says it: llama.cpp knows the largest model by its layers. */
	if (m->n_layer == GEMMA3_27B_LAYERS)
		diag_error(r->g.d, m->loc, E_METADATA,
			   "a gemma3 of %u layers scales its scores by its width, which Lathe does "
			   "not",
			   m->n_layer);
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
	read_peculiarities(r);
	read_experts(r);
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

static const char *
wanted_shape(Arena *a, uint32_t stack, uint32_t rows, uint32_t columns)
{
	const GgufTensor wanted = {.n_dims = stack > 1	? 3
					     : rows > 1 ? 2
							: 1,
				   .dims = {columns, rows, stack}};
	return gguf_shape(a, &wanted);
}

static void
find_tensors(const GgufReader *r, Matcher *x)
{
	const Gguf *g = &r->g;
	x->found = ARENA_ARRAY(g->arena, FoundTensor, g->n_tensors);
	x->n_found = g->n_tensors;
	for (uint32_t i = 0; i < g->n_tensors; i++) {
		const GgufTensor *t = &g->tensors[i];
		x->found[i] = (FoundTensor){
			.tensor = {.name = t->name,
				   .type = t->type,
				   .data = t->data,
				   .row_bytes = t->dims[0] / t->type->block * t->type->block_bytes,
				   .loc = t->loc},
			.rows = t->dims[3] == 1 ? t->dims[1] : 0,
			.stack = t->dims[2],
			.columns = t->dims[0],
			.shape = gguf_shape(g->arena, t)};
	}
}

/* The vocabulary is as large as the embedding has rows, whatever else says so must agree. */
static bool
check_vocabulary(const GgufReader *r)
{
	const char *key;
	const GgufEntry *e = arch_find(r, "@.vocab_size", &key);
	int64_t n;
	if (e && (!gguf_integer(&r->g, &e->value, &n) || n != r->m->n_vocab)) {
		diag_error(r->g.d, cursor_loc(&r->g.cursor, e->at), E_VOCAB,
			   "'%s' is %s, the embedding has %u rows", key,
			   gguf_show(&r->g, &e->value), r->m->n_vocab);
		return false;
	}
	return true;
}

/* What divides the frequencies of RoPE, where the file says so. */
static bool
read_rope_divisors(const GgufReader *r)
{
	const uint32_t half = r->m->head_dim / 2;
	for (uint32_t i = 0; i < r->g.n_tensors; i++) {
		const GgufTensor *t = &r->g.tensors[i];
		if (strcmp(t->name, "rope_freqs.weight") != 0)
			continue;
		if (t->type != stored_type(0) || t->dims[0] != half || t->bytes != half * 4) {
			diag_error(r->g.d, t->loc, E_ROPE,
				   "tensor '%s' has %s values of shape %s, not %u of F32", t->name,
				   t->type->name, gguf_shape(r->g.arena, t), half);
			return false;
		}
		float *divisors = ARENA_ARRAY(r->g.arena, float, half);
		t->type->dequantize(t->data, (int)half, divisors);
		return model_set_rope_divisors(r->g.d, r->m, t->loc, divisors);
	}
	return true;
}

/* Keys that say of rotated weights, understood elsewhere. */
static void
find_rotation(const GgufReader *r)
{
	static const char prefix[] = "prism.hadamard.";
	for (uint32_t i = 0; i < r->g.n_entries && !r->m->rotation; i++) {
		const GgufEntry *e = &r->g.entries[i];
		if (e->key.size < sizeof prefix - 1 ||
		    memcmp(e->key.data, prefix, sizeof prefix - 1) != 0)
			continue;
		ModelRotation *x = ARENA_NEW(r->g.arena, ModelRotation);
		*x = (ModelRotation){.dialect = ROTATION_PRISM,
				     .loc = cursor_loc(&r->g.cursor, e->at),
				     .gguf = &r->g};
		r->m->rotation = x;
	}
}

bool
gguf_model(Arena *a, Diag *d, Model *m, const ModelOptions *o)
{
	GgufReader *r = ARENA_NEW(a, GgufReader);
	r->m = m;
	const bool no_tokenizer = o->tokenizer && !strcmp(o->tokenizer, "none");
	if ((o->tokenizer && !no_tokenizer) || o->tokenizer_data) {
		diag_error(d, m->loc, E_USAGE,
			   "a GGUF file brings its own tokenizer, another one was given");
		return false;
	}
	if (!gguf_read_files(a, d, m, &r->g))
		return false;
	if (!read_arch(r) || !read_constants(r))
		return false;
	find_rotation(r);
	TensorRow *rows = ARENA_ARRAY(a, TensorRow, TENSOR_ROWS);
	Matcher x = {.arena = a,
		     .d = d,
		     .m = m,
		     .rows = rows,
		     .layers_key = arena_printf(a, "%s.block_count", m->arch),
		     .experts_key = arena_printf(a, "%s.expert_count", m->arch),
		     .shape = wanted_shape};
	for (int i = 0; i < TENSOR_ROWS; i++)
		if (tensor_rows[i].part & r->arch->parts)
			rows[x.n_rows++] = tensor_rows[i].row;
	find_tensors(r, &x);
	if (!match_names(&x) || !match_vocabulary(&x) || !check_vocabulary(r) ||
	    !match_shapes(&x) || !read_rope_divisors(r))
		return false;
	model_set_tensors(m, x.slots);
	return no_tokenizer || gguf_tokenizer(&r->g, m);
}
