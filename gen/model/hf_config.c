/* config.json: constants of the model, and which tensors it has. */
#include "hf.h"
#include "ir/real.h"
#include "keys.h"

#include <string.h>

static const struct ConfigRow {
	KeyRow key;
	unsigned facts; /* of a model that has the key; 0: any */
} config_rows[] = {
#define HF_USED(key) {{key, KEY_USED, NULL}, 0},
#define HF_HARMLESS(key) {{key, KEY_HARMLESS, NULL}, 0},
#define HF_ONLY(key, value) {{key, KEY_ONLY, value}, 0},
#define HF_EXPERTS_KEY(key, value, facts) {{key, (value) ? KEY_ONLY : KEY_USED, value}, facts},
#include "hf_keys.def"
};

enum { CONFIG_ROWS = sizeof config_rows / sizeof *config_rows };

static bool
check_keys(const HfReader *r, unsigned facts)
{
	KeyRow *rows = ARENA_ARRAY(r->arena, KeyRow, CONFIG_ROWS);
	size_t n = 0;
	for (int i = 0; i < CONFIG_ROWS; i++)
		if (!config_rows[i].facts || config_rows[i].facts & facts)
			rows[n++] = config_rows[i].key;
	return keys_check(r->arena, r->d, r->config, "config.json", rows, n, E_METADATA_UNKNOWN);
}

static const struct HfArch {
	const char *model_type, *class, *name;
	unsigned always, attention_bias, mlp_bias; /* HfFact */
} archs[] = {
#define HF_ARCH(type, class, name, always, attention_bias, mlp_bias) \
	{type, class, name, always, attention_bias, mlp_bias},
#include "hf_archs.def"
};

enum { ARCH_COUNT = sizeof archs / sizeof archs[0] };

/* ---- the architecture ---------------------------------------------------------------------- */

static bool
unknown_arch(HfReader *r, const Json *v)
{
	Text *names = text_new(r->arena);
	diag_error(r->d, v ? v->loc : r->m->loc, E_ARCH, "unknown architecture%s%s", v ? " " : "",
		   v ? json_show(r->arena, v) : ": config.json does not say which");
	for (int i = 0; i < ARCH_COUNT; i++)
		text_printf(names, "%s%s", i ? ", " : "", archs[i].class);
	diag_hint(r->d, "Lathe reads %s", names->text);
	return false;
}

/* By model_type; `architectures` must name its class, or be absent. */
static const struct HfArch *
find_arch(HfReader *r)
{
	const Json *type = key_get(r->config, "model_type");
	const Json *classes = key_get(r->config, "architectures");
	const Json *class = classes && classes->kind == JSON_ARRAY ? classes->first : classes;
	for (int i = 0; type && type->kind == JSON_STRING && i < ARCH_COUNT; i++) {
		if (strcmp(type->string, archs[i].model_type) != 0)
			continue;
		if (!classes ||
		    (classes->kind == JSON_ARRAY && classes->count == 1 &&
		     class->kind == JSON_STRING && !strcmp(class->string, archs[i].class)))
			return &archs[i];
		unknown_arch(r, class ? class : classes);
		return NULL;
	}
	unknown_arch(r, type ? type : class);
	return NULL;
}

/* ---- constants ----------------------------------------------------------------------------- */

static bool
required(HfReader *r, const char *key)
{
	if (key_get(r->config, key))
		return true;
	diag_error(r->d, r->m->loc, E_METADATA, "config.json does not have the key '%s'", key);
	return false;
}

static void
read_constant(HfReader *r, const char *key, int64_t least, int64_t most, bool is_required,
	      uint32_t *field)
{
	int64_t n = 0;
	if (is_required && !required(r, key))
		return;
	if (key_integer(r->d, r->config, key, least, most, &n, E_METADATA))
		*field = (uint32_t)n;
}

/* How many experts, how many of them a token has, their widths and weights. Layers without experts
 * in a model of them are refused. */
static bool
read_experts(HfReader *r)
{
	Model *m = r->m;
	const int before = diag_errors(r->d);
	const Json *dense = key_get(r->config, "mlp_only_layers");
	const bool qwen = r->facts & HF_QWEN_EXPERTS;
	if (!(r->facts & HF_EXPERTS))
		return true;
	read_constant(r, qwen ? "num_experts" : "num_local_experts", 1, EXPERTS_MAX, true,
		      &m->n_expert);
	read_constant(r, "num_experts_per_tok", 1, EXPERTS_MAX, true, &m->n_used);
	m->expert_inter = m->inter;
	if (qwen)
		read_constant(r, "moe_intermediate_size", 1, WIDTH_MAX, true, &m->expert_inter);
	m->inter = m->expert_inter;
	if (r->facts & HF_SHARED)
		read_constant(r, "shared_expert_intermediate_size", 1, WIDTH_MAX, true, &m->inter);
	m->norm_experts = !qwen;
	key_bool(r->d, r->config, "norm_topk_prob", &m->norm_experts, E_METADATA);
	if (dense && (dense->kind != JSON_ARRAY || dense->count))
		diag_error(r->d, dense->loc, E_METADATA_UNKNOWN,
			   "layers without experts in a model of them are not understood");
	if (diag_errors(r->d) == before && m->n_used > m->n_expert)
		diag_error(r->d, m->loc, E_METADATA,
			   "a token goes through %u experts, the model has %u", m->n_used,
			   m->n_expert);
	return diag_errors(r->d) == before;
}

static bool
read_constants(HfReader *r)
{
	Model *m = r->m;
	const int before = diag_errors(r->d);
	double eps = 0;
#define HF_CONSTANT(field, key, least, most, required) \
	read_constant(r, key, least, most, required, &m->field);
#include "hf_constants.def"
	required(r, "rms_norm_eps");
	key_real(r->d, r->config, "rms_norm_eps", 1e-30, 1, &eps, E_METADATA);
	m->norm_eps = (float)eps;
	if (diag_errors(r->d) != before)
		return false;
	if (!m->n_kv_head)
		m->n_kv_head = m->n_head;
	if (!m->head_dim && m->hidden % m->n_head) {
		diag_error(r->d, m->loc, E_METADATA, "hidden_size %u is no multiple of %u heads",
			   m->hidden, m->n_head);
		return false;
	}
	if (!m->head_dim)
		m->head_dim = m->hidden / m->n_head;
	return model_derive(r->d, m);
}

/* Windows that are used and shorter than the context, by either way of saying so. */
static bool
check_windows(HfReader *r)
{
	const Json *window = key_get(r->config, "sliding_window");
	const Json *layers = key_get(r->config, "layer_types");
	bool used = true;
	int64_t n = r->m->n_ctx;
	if (!key_bool(r->d, r->config, "use_sliding_window", &used, E_METADATA) ||
	    !key_integer(r->d, r->config, "sliding_window", 1, INT64_MAX, &n, E_METADATA))
		return false;
	if (used && n < r->m->n_ctx) {
		diag_error(r->d, window->loc, E_METADATA_UNKNOWN,
			   "a sliding window of %lld positions in a context of %u could change the "
			   "model's function and is not understood",
			   (long long)n, r->m->n_ctx);
		return false;
	}
	const Json *first = layers && layers->kind == JSON_ARRAY ? layers->first : layers;
	for (const Json *v = first; v; v = layers->kind == JSON_ARRAY ? v->next : NULL)
		if (v->kind != JSON_STRING || strcmp(v->string, "full_attention") != 0) {
			diag_error(r->d, v->loc, E_METADATA_UNKNOWN,
				   "a layer of the type %s is not understood",
				   json_show(r->arena, v));
			return false;
		}
	return true;
}

/* ---- RoPE ---------------------------------------------------------------------------------- */

static const struct RopeRow {
	const char *type, *key;
	double least, most;
} rope_rows[] = {
#define HF_ROPE(type, key, least, most) {type, key, least, most},
#include "hf_rope_keys.def"
};

enum { ROPE_ROWS = sizeof rope_rows / sizeof rope_rows[0] };

/* A number that a type of scaling needs; 0 after a diagnostic. */
static double
rope_number(HfReader *r, const Json *scaling, const char *type, const char *key)
{
	double x = 0;
	for (int i = 0; i < ROPE_ROWS; i++) {
		const struct RopeRow *row = &rope_rows[i];
		if (strcmp(row->type, type) != 0 || strcmp(row->key, key) != 0)
			continue;
		if (!key_get(scaling, key))
			diag_error(r->d, scaling->loc, E_ROPE,
				   "a RoPE scaling of type '%s' lacks the key '%s'", type, key);
		else
			key_real(r->d, scaling, key, row->least, row->most, &x, E_ROPE);
		return x;
	}
	BUG("no key '%s' of RoPE scaling '%s'", key, type);
}

/*
 * What divides the frequencies of Llama 3 (as its reference code scales them): waves shorter than
 * the original context / high run as they did, those longer than context / low `factor` times
 * slower, in between frequencies are mixed linearly in context / wavelength.
 */
static bool
llama3_divisors(HfReader *r, const Json *scaling, float *divisors)
{
	static const char type[] = "llama3";
	const double pi = 3.14159265358979323846, log_base = real_log(r->m->rope_base);
	const double factor = rope_number(r, scaling, type, "factor");
	const double low = rope_number(r, scaling, type, "low_freq_factor");
	const double high = rope_number(r, scaling, type, "high_freq_factor");
	const double context = rope_number(r, scaling, type, "original_max_position_embeddings");
	if (!factor || !low || !high || !context)
		return false;
	if (high <= low) {
		diag_error(r->d, scaling->loc, E_ROPE,
			   "high_freq_factor %g is not above low_freq_factor %g", high, low);
		return false;
	}
	for (uint32_t i = 0; i < r->m->head_dim / 2; i++) {
		const double frequency = real_exp(-2.0 * i / r->m->head_dim * log_base);
		const double waves = context * frequency / (2 * pi);
		double mix = (waves - low) / (high - low);
		mix = mix < 0 ? 0 : mix > 1 ? 1 : mix;
		divisors[i] = (float)(1 / ((1 - mix) / factor + mix));
	}
	return true;
}

static bool
linear_divisors(HfReader *r, const Json *scaling, float *divisors)
{
	const double factor = rope_number(r, scaling, "linear", "factor");
	for (uint32_t i = 0; i < r->m->head_dim / 2; i++)
		divisors[i] = (float)factor;
	return factor != 0;
}

static const struct RopeType {
	const char *name;
	bool (*divisors)(HfReader *r, const Json *scaling, float *divisors);
} rope_types[] = {{"default", NULL}, {"linear", linear_divisors}, {"llama3", llama3_divisors}};

enum { ROPE_TYPES = sizeof rope_types / sizeof rope_types[0] };

/* No key but those of the type, and those that every one has. */
static bool
check_rope_keys(HfReader *r, const Json *scaling, const char *type)
{
	KeyRow rows[ROPE_ROWS + 5] = {{"rope_type", KEY_USED, NULL},
				      {"type", KEY_USED, NULL},
				      {"rope_theta", KEY_USED, NULL},
				      {"partial_rotary_factor", KEY_ONLY, "1"}};
	size_t n = 4;
	for (int i = 0; i < ROPE_ROWS; i++)
		if (!strcmp(rope_rows[i].type, type))
			rows[n++] = (KeyRow){rope_rows[i].key, KEY_USED, NULL};
	return keys_check(r->arena, r->d, scaling, "the RoPE scaling", rows, n, E_ROPE);
}

static bool
read_scaling(HfReader *r, const Json *scaling)
{
	const char *type = NULL, *old = NULL;
	if (scaling->kind != JSON_OBJECT) {
		diag_error(r->d, scaling->loc, E_ROPE, "a RoPE scaling is an object, not %s",
			   json_kind_names[scaling->kind]);
		return false;
	}
	if (!key_text(r->d, scaling, "rope_type", &type, E_ROPE) ||
	    !key_text(r->d, scaling, "type", &old, E_ROPE) ||
	    !key_real(r->d, scaling, "rope_theta", 1, 1e30, &r->m->rope_base, E_METADATA))
		return false;
	type = type ? type : old ? old : "default";
	for (int i = 0; i < ROPE_TYPES; i++) {
		if (strcmp(type, rope_types[i].name) != 0)
			continue;
		if (!check_rope_keys(r, scaling, type))
			return false;
		if (!rope_types[i].divisors)
			return true;
		float *divisors = ARENA_ARRAY(r->arena, float, r->m->head_dim / 2);
		return rope_types[i].divisors(r, scaling, divisors) &&
		       model_set_rope_divisors(r->d, r->m, scaling->loc, divisors);
	}
	Text *names = text_new(r->arena);
	diag_error(r->d, scaling->loc, E_ROPE, "unknown RoPE scaling '%s'", type);
	for (int i = 0; i < ROPE_TYPES; i++)
		text_printf(names, "%s%s", i ? ", " : "", rope_types[i].name);
	diag_hint(r->d, "Lathe knows %s", names->text);
	return false;
}

static bool
read_rope(HfReader *r)
{
	const Json *scaling = key_get(r->config, "rope_scaling");
	const Json *parameters = key_get(r->config, "rope_parameters");
	r->m->rope_base = 10000;
	if (!key_real(r->d, r->config, "rope_theta", 1, 1e30, &r->m->rope_base, E_METADATA))
		return false;
	if (scaling && parameters) {
		diag_error(r->d, scaling->loc, E_ROPE,
			   "config.json has both rope_scaling and rope_parameters");
		return false;
	}
	scaling = scaling ? scaling : parameters;
	return !scaling || read_scaling(r, scaling);
}

/* ---- all of it ----------------------------------------------------------------------------- */

bool
hf_config(HfReader *r)
{
	const struct HfArch *arch = find_arch(r);
	bool tied = false, attention_bias = false, mlp_bias = false;
	if (!arch || !check_keys(r, arch->always))
		return false;
	r->m->arch = arch->name;
	if (!key_bool(r->d, r->config, "tie_word_embeddings", &tied, E_METADATA) ||
	    !key_bool(r->d, r->config, "attention_bias", &attention_bias, E_METADATA) ||
	    !key_bool(r->d, r->config, "mlp_bias", &mlp_bias, E_METADATA))
		return false;
	r->facts = HF_ALWAYS | arch->always | (attention_bias ? arch->attention_bias : 0) |
		   (mlp_bias ? arch->mlp_bias : 0) | (tied ? HF_TIED_HEAD : HF_OWN_HEAD) |
		   (arch->always & HF_EXPERTS ? 0 : HF_MLP);
	return read_constants(r) && read_experts(r) && check_windows(r) && read_rope(r) &&
	       hf_quant_config(r);
}
