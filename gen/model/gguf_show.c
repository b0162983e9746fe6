/* Values of a GGUF file as text. */
#include "gguf.h"

static void
show_scalar(const Gguf *g, const GgufValue *v, Text *t)
{
	int64_t n;
	double x;
	if (v->type == GGUF_BOOL)
		text_printf(t, "%s", *gguf_bytes(g, v) ? "true" : "false");
	else if (v->type == GGUF_F32 && gguf_real(g, v, &x))
		text_float(t, (float)x);
	else if (gguf_real(g, v, &x))
		text_double(t, x);
	else if (gguf_integer(g, v, &n))
		text_printf(t, "%lld", (long long)n);
	else
		text_printf(t, "%llu", (unsigned long long)little_endian(gguf_bytes(g, v), 8));
}

const char *
gguf_show(const Gguf *g, const GgufValue *v)
{
	Text *t = text_new(g->arena);
	if (v->type == GGUF_STRING)
		return bytes_quote(g->arena, gguf_string(g, v));
	if (v->type == GGUF_ARRAY)
		text_printf(t, "[%llu %s%s]", (unsigned long long)v->count,
			    gguf_type_name(v->element), v->count == 1 ? "" : "s");
	else
		show_scalar(g, v, t);
	return t->text;
}

const char *
gguf_shape(Arena *a, const GgufTensor *gt)
{
	Text *t = text_new(a);
	for (uint32_t i = 0; i < gt->n_dims; i++)
		text_printf(t, "%s%llu", i ? ", " : "[", (unsigned long long)gt->dims[i]);
	text_printf(t, "]");
	return t->text;
}
