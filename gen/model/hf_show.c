/* What the files of a Hugging Face folder hold, for `lathe inspect`. */
#include "hf.h"
#include "keys.h"

#include <string.h>

static bool
ends_with(const char *s, const char *end)
{
	const size_t n = strlen(s), e = strlen(end);
	return n >= e && !strcmp(s + n - e, end);
}

/* Members in short: of arrays and objects how many they have. */
static void
print_members(Arena *a, const Json *object)
{
	for (const Json *v = object->first; v; v = v->next) {
		const char *key = bytes_quote(a, (Bytes){v->key, (uint32_t)strlen(v->key)});
		if (v->kind == JSON_ARRAY || v->kind == JSON_OBJECT)
			printf("  %s = %s of %u\n", key, json_kind_names[v->kind], v->count);
		else
			printf("  %s = %s\n", key, json_show(a, v));
	}
}

void
hf_print_files(Arena *a, const Model *m)
{
	Diag *d = diag_new(a, NULL);
	for (uint32_t i = 0; i < m->n_files; i++) {
		const ModelFile *f = &m->files[i];
		const bool json = ends_with(f->path, ".json");
		if (!json && !ends_with(f->path, ".safetensors"))
			continue;
		printf("%s, %llu bytes", f->path, (unsigned long long)f->bytes);
		const Json *object = NULL;
		if (json) {
			object = json_parse(a, d, 0, 0, (const char *)f->data, (size_t)f->bytes);
			printf("\n");
		} else {
			const Safetensors *s =
				safetensors_parse(a, d, 0, f->path, f->data, (size_t)f->bytes);
			object = s ? s->metadata : NULL;
			printf(": %u tensors\n", s ? s->count : 0);
		}
		if (object)
			print_members(a, object);
	}
}
