/* The text form of a graph, printed; graph_parse.c reads it back exactly. */
#include "graph_text.h"

#include <string.h>

const ModelField model_fields[MODEL_FIELD_COUNT] = {
	{"layers", offsetof(Model, n_layer), 1 << 12},
	{"hidden", offsetof(Model, hidden), 1 << 20},
	{"heads", offsetof(Model, n_head), 1 << 12},
	{"kv_heads", offsetof(Model, n_kv_head), 1 << 12},
	{"head_dim", offsetof(Model, head_dim), 1 << 12},
	{"inter", offsetof(Model, inter), 1 << 20},
	{"vocab", offsetof(Model, n_vocab), 1 << 28},
	{"ctx", offsetof(Model, n_ctx), 1 << 28},
};

static void
print_model(Text *t, const Model *m)
{
	text_printf(t, "model %s", m->arch);
	for (int i = 0; i < MODEL_FIELD_COUNT; i++) {
		uint32_t v;
		memcpy(&v, (const char *)m + model_fields[i].offset, sizeof v);
		text_printf(t, " %s=%u", model_fields[i].name, v);
	}
	text_printf(t, " norm_eps=");
	text_float(t, m->norm_eps);
	text_printf(t, " rope_base=");
	text_double(t, m->rope_base);
	for (uint32_t i = 0; m->rope_divisors && i < m->head_dim / 2; i++) {
		text_printf(t, i ? "," : " rope_divisors=");
		text_float(t, m->rope_divisors[i]);
	}
	if (m->window) {
		text_printf(t, " window=%u window_period=%u rope_base_window=", m->window,
			    m->window_period);
		text_double(t, m->rope_base_window);
	}
	if (m->n_expert)
		text_printf(t, " experts=%u used=%u expert_inter=%u norm_experts=%d", m->n_expert,
			    m->n_used, m->expert_inter, m->norm_experts);
	text_printf(t, " tied=%d\n", m->tied);
}

static void
print_activations_of(Text *t, const Graph *g, int role, uint32_t layer)
{
	text_printf(t, "\nactivations ");
	if (role_layered[role])
		text_printf(t, "layer.%u.", layer);
	text_printf(t, "%s ", role_names[role]);
	format_print(t, g->activations_of[role][layer]);
}

/* Whether a role's formats are all f32, as those of vectors are. */
static bool
only_f32(const Graph *g, int role)
{
	for (uint32_t i = 0; i < model_places(g->model, role); i++)
		if (!format_equal(g->formats[role][i], FORMAT_F32))
			return false;
	return true;
}

/* Those of layer 0 stand for layers, and a layer's first expert's for experts, that do not differ.
 */
static void
print_weights(Text *t, const Graph *g, int role)
{
	const uint32_t experts = model_experts(g->model, role);
	text_printf(t, "\nweights %s ", role_names[role]);
	format_print(t, g->formats[role][0]);
	for (uint32_t i = 1; i < model_places(g->model, role); i++) {
		const uint32_t layer = i / experts, expert = i % experts;
		const Format f = g->formats[role][i];
		if (format_equal(f, g->formats[role][expert ? layer * experts : 0]))
			continue;
		text_printf(t, "\nweights layer.%u.%s", layer, role_names[role]);
		if (expert)
			text_printf(t, ".%u", expert);
		text_printf(t, " ");
		format_print(t, f);
	}
}

static bool
cache_formats_equal(CacheFormat a, CacheFormat b)
{
	return format_equal(a.format, b.format) && a.query_bits == b.query_bits;
}

/* Layer 0's stands for all that do not differ. */
static void
print_kv(Text *t, const Graph *g, uint32_t layer)
{
	text_printf(t, "\nkv ");
	if (layer)
		text_printf(t, "layer.%u ", layer);
	format_print(t, g->kv[layer].format);
	if (g->kv[layer].query_bits)
		text_printf(t, " query=%u", g->kv[layer].query_bits);
}

static void
print_formats(Text *t, const Graph *g)
{
	text_printf(t, "activations ");
	format_print(t, g->activations);
	for (int role = 0; role < ROLE_COUNT; role++)
		for (uint32_t i = 0; i < (role_layered[role] ? g->model->n_layer : 1); i++)
			if (g->activations_of[role] && g->activations_of[role][i].bits)
				print_activations_of(t, g, role, i);
	for (uint32_t i = 0; i < g->model->n_layer; i++)
		if (!i || !cache_formats_equal(g->kv[i], g->kv[0]))
			print_kv(t, g, i);
	for (int role = 0; role < ROLE_COUNT; role++) {
		if (!role_optional[role] || !only_f32(g, role))
			print_weights(t, g, role);
	}
	text_printf(t, "\n");
}

static void
print_transform(Text *t, const char *field, const Transform *x, TransformForm form)
{
	if (!x)
		return;
	text_printf(t, " %s=\"", field);
	transform_print(t, x, form);
	text_printf(t, "\"");
}

static void
print_basis(Text *t, Basis b)
{
	enum { SHOWN = 160 };
	const size_t before = t->size;
	if (!b.transform) {
		if (strcmp(b.expression, BASIS_IDENTITY.expression) != 0)
			text_printf(t, " basis=\"%s\"", b.expression);
		return;
	}
	text_printf(t, " basis=\"");
	transform_print(t, b.transform, TRANSFORM_NAMED);
	if (t->size - before > SHOWN) {
		t->size = before + SHOWN;
		text_printf(t, "...");
	}
	text_printf(t, "\"");
}

static void
print_value(Text *t, const Func *f, int i, TransformForm form)
{
	const Value *v = &f->values[i];
	text_printf(t, "\t%%%d = %s", i, op_name(v->op));
	for (int k = 0; k < op_operands(v->op); k++)
		text_printf(t, " %%%d", v->operands[k]);
	if (v->role >= 0)
		text_printf(t, " @%s", role_names[v->role]);
	for (const char *s = op_table[v->op].attributes; *s; s++) {
		const Attribute *a = attribute_find(*s);
		const char *field = (const char *)v + a->offset;
		if (a->optional && !memcmp(field, &(uint32_t){0}, sizeof(uint32_t)))
			continue;
		text_printf(t, " %s=", a->name);
		if (a->is_float) {
			float x;
			memcpy(&x, field, sizeof x);
			text_float(t, x);
		} else {
			uint32_t x;
			memcpy(&x, field, sizeof x);
			text_printf(t, "%u", x);
		}
	}
	text_printf(t, " : ");
	format_print(t, v->format);
	text_printf(t, "[%u]", v->width);
	print_transform(t, "transform", v->transform, form);
	print_transform(t, "fold_in", v->fold_in, form);
	print_transform(t, "fold_out", v->fold_out, form);
	if (v->pinned)
		text_printf(t, " pinned=1");
	if (v->shared)
		text_printf(t, " shared=1");
	print_basis(t, v->basis);
	if (v->kernel >= 0)
		text_printf(t, " kernel=%d", v->kernel);
	if (v->buffer >= 0)
		text_printf(t, " buffer=%d", v->buffer);
	text_printf(t, "\n");
}

static void
print_schedule(Text *t, const Func *f)
{
	for (int n = 0; n < f->n_kernels; n++) {
		const Kernel *k = &f->kernels[n];
		text_printf(t, "\tkernel %d %s phase=%d%s :", n, kernel_names[k->kind], k->phase,
			    k->repeat_at_one ? " repeat" : "");
		for (int i = 0; i < k->count; i++)
			text_printf(t, " %%%d", f->order[k->first + i]);
		text_printf(t, "\n");
	}
	for (int n = 0; n < f->n_buffers; n++) {
		const Buffer *b = &f->buffers[n];
		text_printf(t, "\tbuffer %d bytes=%llu offset=%llu uses=%d..%d%s\n", n,
			    (unsigned long long)b->bytes, (unsigned long long)b->offset,
			    b->first_use, b->last_use, b->caller ? " caller" : "");
	}
}

static void
print_func(Text *t, const Graph *g, const Func *f, TransformForm form)
{
	text_printf(t, "func %s", f->name);
	if (&g->funcs[f->same_as] != f)
		text_printf(t, " same=%s", g->funcs[f->same_as].name);
	text_printf(t, " {\n");
	for (int i = 0; i < f->count; i++)
		print_value(t, f, i, form);
	print_schedule(t, f);
	text_printf(t, "}\n");
}

static void
print_graph(Text *t, const Graph *g, TransformForm form)
{
	print_model(t, g->model);
	print_formats(t, g);
	if (g->facts) {
		text_printf(t, "facts");
		for (int bit = 0; bit < FACT_COUNT; bit++)
			if (g->facts & 1u << bit)
				text_printf(t, " %s", fact_names[bit]);
		text_printf(t, "\n");
	}
	if (g->facts & FACT_PLACED)
		text_printf(t, "arena %llu\n", (unsigned long long)g->arena_bytes_per_token);
	for (int n = 0; n < g->count; n++) {
		text_printf(t, "\n");
		print_func(t, g, &g->funcs[n], form);
	}
}

void
graph_print(Text *t, const Graph *g)
{
	print_graph(t, g, TRANSFORM_WHOLE);
}

void
graph_print_brief(Text *t, const Graph *g)
{
	print_graph(t, g, TRANSFORM_BRIEF);
}

void
graph_print_func(Text *t, const Graph *g, const Func *f)
{
	print_func(t, g, f, TRANSFORM_BRIEF);
}
