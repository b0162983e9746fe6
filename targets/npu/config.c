/*
 * The two files that GenAI's LLMPipeline reads beside a model: config.json, in whose terms Hugging
 * Face describes the architecture, and generation_config.json, what ends a text.
 */
#include "npu.h"

#include <string.h>

/* Members of a JSON object, one a line. */
typedef struct Members {
	Text *t;
	bool some;
} Members;

static void
add_key(Members *m, const char *key)
{
	text_printf(m->t, "%s\n  \"%s\": ", m->some ? "," : "{", key);
	m->some = true;
}

static void
add_string(Members *m, const char *key, const char *s)
{
	add_key(m, key);
	text_json_string(m->t, s, strlen(s));
}

static void
add_number(Members *m, const char *key, uint32_t v)
{
	add_key(m, key);
	text_printf(m->t, "%lu", (unsigned long)v);
}

static void
add_bool(Members *m, const char *key, bool v)
{
	add_key(m, key);
	text_printf(m->t, "%s", v ? "true" : "false");
}

/* Tokens that there are: GenAI takes a missing one for none. */
static void
add_tokens(Members *m, const Tokenizer *z)
{
	const struct {
		const char *key;
		int id;
	} tokens[] = {{"bos_token_id", z->bos}, {"eos_token_id", z->eos}, {"pad_token_id", z->pad}};
	for (size_t i = 0; i < sizeof tokens / sizeof *tokens; i++)
		if (tokens[i].id >= 0)
			add_number(m, tokens[i].key, (uint32_t)tokens[i].id);
}

/* Hugging Face's class of an architecture; null: unknown. */
static const char *
class_of(const char *arch)
{
	static const struct {
		const char *arch, *class;
	} classes[] = {
		{"llama", "LlamaForCausalLM"},
		{"qwen2", "Qwen2ForCausalLM"},
		{"qwen3", "Qwen3ForCausalLM"},
	};
	for (size_t i = 0; i < sizeof classes / sizeof *classes; i++)
		if (!strcmp(classes[i].arch, arch))
			return classes[i].class;
	return NULL;
}

void
npu_config(Text *config, Text *generation, const Model *m)
{
	const struct {
		const char *key;
		uint32_t value;
	} sizes[] = {
		{"hidden_size", m->hidden},
		{"intermediate_size", m->inter},
		{"num_hidden_layers", m->n_layer},
		{"num_attention_heads", m->n_head},
		{"num_key_value_heads", m->n_kv_head},
		{"head_dim", m->head_dim},
		{"vocab_size", m->n_vocab},
		{"max_position_embeddings", m->n_ctx},
	};
	const char *class = class_of(m->arch);
	Members c = {.t = config}, g = {.t = generation};
	if (class) {
		add_key(&c, "architectures");
		text_printf(config, "[\"%s\"]", class);
	}
	add_string(&c, "model_type", m->arch);
	for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
		add_number(&c, sizes[i].key, sizes[i].value);
	add_string(&c, "hidden_act", "silu");
	add_key(&c, "rms_norm_eps");
	text_float(config, m->norm_eps);
	add_key(&c, "rope_theta");
	text_double(config, m->rope_base);
	add_bool(&c, "tie_word_embeddings", m->tied);
	add_tokens(&c, &m->tokenizer);
	text_printf(config, "\n}\n");
	add_tokens(&g, &m->tokenizer);
	add_number(&g, "max_length", m->n_ctx);
	add_bool(&g, "do_sample", false);
	text_printf(generation, "\n}\n");
}
