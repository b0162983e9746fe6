#include "gen/model/safetensors.h"
#include "gen/model/cursor.h"
#include "gen/model/json.h"
#include "ir/format.h"

#include <stdlib.h>
#include <string.h>

const DataTypeInfo data_types[DTYPE_COUNT] = {
#define DTYPE(name, bytes, whole, is_signed) {#name, bytes, whole, is_signed},
#include "gen/model/dtypes.def"
};

enum { LENGTH_BYTES = 8, HEADER_MAX = 32 << 20, ALIGNMENT = 8 };

/* ---- reading ------------------------------------------------------------------------------ */

static bool
parse_type(Diag *d, const Json *entry, SafeTensor *t)
{
	const Json *dtype = json_get(entry, "dtype");
	if (!dtype || dtype->kind != JSON_STRING) {
		diag_error(d, t->loc, E_SIDECAR, "tensor '%s' has no dtype", t->name);
		return false;
	}
	for (int i = 0; i < DTYPE_COUNT; i++)
		if (!strcmp(dtype->string, data_types[i].name)) {
			t->type = (uint8_t)i;
			return true;
		}
	diag_error(d, dtype->loc, E_SIDECAR,
		   "tensor '%s' has dtype '%s', which Lathe does not read", t->name, dtype->string);
	return false;
}

static bool
parse_shape(Diag *d, const Json *entry, SafeTensor *t)
{
	const Json *shape = json_get(entry, "shape");
	if (!shape || shape->kind != JSON_ARRAY || shape->count > SAFETENSORS_RANK) {
		diag_error(d, t->loc, E_SIDECAR, "tensor '%s' has no shape of at most %d numbers",
			   t->name, SAFETENSORS_RANK);
		return false;
	}
	t->count = 1;
	for (const Json *n = shape->first; n; n = n->next) {
		if (n->kind != JSON_NUMBER || !n->integral || n->integer < 0 ||
		    !checked_mul(t->count, (uint64_t)n->integer, &t->count)) {
			diag_error(d, n->loc, E_SIDECAR, "tensor '%s' has an absurd shape",
				   t->name);
			return false;
		}
		t->shape[t->rank++] = (uint64_t)n->integer;
	}
	if (!checked_mul(t->count, data_types[t->type].bytes, &t->bytes)) {
		diag_error(d, shape->loc, E_SIDECAR, "tensor '%s' has an absurd shape", t->name);
		return false;
	}
	return true;
}

static bool
parse_offsets(Diag *d, const Json *entry, SafeTensor *t, const uint8_t *data, uint64_t size)
{
	const Json *offsets = json_get(entry, "data_offsets");
	const Json *begin = offsets ? offsets->first : NULL, *end = begin ? begin->next : NULL;
	if (!offsets || offsets->kind != JSON_ARRAY || offsets->count != 2 ||
	    begin->kind != JSON_NUMBER || !begin->integral || end->kind != JSON_NUMBER ||
	    !end->integral || begin->integer < 0 || begin->integer > end->integer) {
		diag_error(d, t->loc, E_SIDECAR, "tensor '%s' has no two rising data_offsets",
			   t->name);
		return false;
	}
	if ((uint64_t)end->integer > size) {
		diag_error(d, end->loc, E_SIDECAR,
			   "the file is truncated: tensor '%s' ends at byte %lld of %llu of data",
			   t->name, (long long)end->integer, (unsigned long long)size);
		return false;
	}
	if ((uint64_t)(end->integer - begin->integer) != t->bytes) {
		diag_error(d, offsets->loc, E_SIDECAR,
			   "tensor '%s' has %lld bytes, its shape and dtype want %llu", t->name,
			   (long long)(end->integer - begin->integer),
			   (unsigned long long)t->bytes);
		return false;
	}
	t->data = data + begin->integer;
	return true;
}

static int
compare_places(const void *x, const void *y)
{
	const SafeTensor *a = x, *b = y;
	if (a->data != b->data)
		return a->data < b->data ? -1 : 1;
	return (a->bytes > b->bytes) - (a->bytes < b->bytes);
}

static int
compare_names(const void *x, const void *y)
{
	const SafeTensor *a = x, *b = y;
	return strcmp(a->name, b->name);
}

/* Tensors fill the data in some order, without holes or overlap. */
static bool
check_places(Diag *d, Loc loc, SafeTensor *tensors, uint32_t n, const uint8_t *data, uint64_t size)
{
	const uint8_t *at = data;
	qsort(tensors, n, sizeof *tensors, compare_places);
	for (uint32_t i = 0; i < n; at += tensors[i++].bytes)
		if (tensors[i].data != at) {
			diag_error(d, tensors[i].loc, E_SIDECAR, "tensor '%s' %s", tensors[i].name,
				   tensors[i].data < at ? "overlaps another one"
							: "leaves bytes in front unused");
			return false;
		}
	if (at == data + size)
		return true;
	diag_error(d, loc, E_SIDECAR, "%llu bytes follow the last tensor",
		   (unsigned long long)(size - (uint64_t)(at - data)));
	return false;
}

static bool
parse_tensors(Arena *a, Diag *d, const Json *header, Safetensors *s, uint64_t data_at)
{
	SafeTensor *tensors = ARENA_ARRAY(a, SafeTensor, header->count + 1);
	const uint8_t *data = s->bytes + data_at;
	const uint64_t size = s->size - data_at;
	for (const Json *entry = header->first; entry; entry = entry->next) {
		if (!strcmp(entry->key, "__metadata__")) {
			s->metadata = entry;
			continue;
		}
		SafeTensor *t = &tensors[s->count];
		*t = (SafeTensor){.name = entry->key, .loc = entry->key_loc};
		if (entry->kind != JSON_OBJECT) {
			diag_error(d, entry->loc, E_SIDECAR, "tensor '%s' is no object", t->name);
			return false;
		}
		if (!parse_type(d, entry, t) || !parse_shape(d, entry, t) ||
		    !parse_offsets(d, entry, t, data, size))
			return false;
		s->count++;
	}
	if (!check_places(d, s->loc, tensors, s->count, data, size))
		return false;
	qsort(tensors, s->count, sizeof *tensors, compare_names);
	s->tensors = tensors;
	return true;
}

bool
safetensors_looks_like(const uint8_t *data, size_t size)
{
	return size > LENGTH_BYTES && data[LENGTH_BYTES] == '{' &&
	       little_endian(data, LENGTH_BYTES) <= size - LENGTH_BYTES;
}

const Safetensors *
safetensors_parse(Arena *a, Diag *d, uint32_t file, const char *path, const uint8_t *data,
		  size_t size)
{
	Safetensors *s = ARENA_NEW(a, Safetensors);
	*s = (Safetensors){.path = path, .bytes = data, .size = size, .loc.file = file};
	if (size < LENGTH_BYTES) {
		diag_error(d, s->loc, E_SIDECAR,
			   "the file is truncated: %zu bytes, the length of the header takes %d",
			   size, LENGTH_BYTES);
		return NULL;
	}
	const uint64_t length = little_endian(data, LENGTH_BYTES);
	if (length > size - LENGTH_BYTES || length > HEADER_MAX) {
		diag_error(
			d, s->loc, E_SIDECAR,
			length > HEADER_MAX
				? "a header of %llu bytes is absurd: no safetensors file?"
				: "the file is truncated: the header has %llu bytes, %llu follow",
			(unsigned long long)length, (unsigned long long)(size - LENGTH_BYTES));
		return NULL;
	}
	const Json *header = json_parse(a, d, s->loc.file, LENGTH_BYTES,
					(const char *)data + LENGTH_BYTES, (size_t)length);
	if (!header)
		return NULL;
	if (header->kind != JSON_OBJECT) {
		diag_error(d, header->loc, E_SIDECAR, "the header is %s, not an object",
			   json_kind_names[header->kind]);
		return NULL;
	}
	return parse_tensors(a, d, header, s, LENGTH_BYTES + length) ? s : NULL;
}

const Safetensors *
safetensors_read_memory(Arena *a, Diag *d, const char *path, const uint8_t *data, size_t size)
{
	return safetensors_parse(a, d, diag_file(d, path, NULL, size), path, data, size);
}

const Safetensors *
safetensors_read(Arena *a, Diag *d, const char *path)
{
	Mapped map;
	const char *error;
	if (!file_map(path, &map, &error)) {
		diag_error(d, (Loc){0}, E_FILE, "cannot read %s: %s", path, error);
		return NULL;
	}
	return safetensors_read_memory(a, d, path, map.data, map.size);
}

const SafeTensor *
safetensors_find(const Safetensors *s, const char *name)
{
	const SafeTensor key = {.name = name};
	return s->count ? bsearch(&key, s->tensors, s->count, sizeof key, compare_names) : NULL;
}

const char *
safetensors_nearest(const Safetensors *s, const char *name)
{
	enum { LOOKED_AT = 1024 };
	const char *names[LOOKED_AT] = {0};
	uint32_t n = 0;
	for (; n < s->count && n < LOOKED_AT; n++)
		names[n] = s->tensors[n].name;
	return nearest_name(name, names, n);
}

/* ---- numbers ------------------------------------------------------------------------------ */

static double
float_number(DataType type, uint64_t bits)
{
	const uint32_t word = (uint32_t)bits << (type == DTYPE_BF16 ? 16 : 0);
	double d;
	float f;
	if (type == DTYPE_F16)
		return (double)f16_to_f32((uint16_t)bits);
	if (type == DTYPE_F64) {
		memcpy(&d, &bits, sizeof d);
		return d;
	}
	memcpy(&f, &word, sizeof f);
	return (double)f;
}

double
safetensor_number(const SafeTensor *t, uint64_t i)
{
	const DataTypeInfo *info = &data_types[t->type];
	int64_t v;
	if (!info->whole)
		return float_number((DataType)t->type,
				    little_endian(t->data + i * info->bytes, info->bytes));
	if (safetensor_integer(t, i, &v))
		return (double)v;
	return (double)little_endian(t->data + i * info->bytes, info->bytes);
}

bool
safetensor_integer(const SafeTensor *t, uint64_t i, int64_t *out)
{
	const DataTypeInfo *info = &data_types[t->type];
	const uint64_t u = little_endian(t->data + i * info->bytes, info->bytes);
	const uint32_t bits = 8 * info->bytes;
	const uint64_t top = (uint64_t)1 << (bits - 1);
	if (!info->is_signed || !(u & top)) {
		*out = (int64_t)(u & INT64_MAX);
		return u <= INT64_MAX;
	}
	/* u - 2^bits, without leaving the range of int64 */
	*out = -(int64_t)(top - 1 - (u & (top - 1))) - 1;
	return true;
}

const char *
safetensor_describe(Arena *a, const SafeTensor *t)
{
	Text *s = text_new(a);
	text_printf(s, "%s [", data_types[t->type].name);
	for (uint32_t i = 0; i < t->rank; i++)
		text_printf(s, "%s%llu", i ? ", " : "", (unsigned long long)t->shape[i]);
	text_printf(s, "]");
	return s->text;
}

/* ---- writing ------------------------------------------------------------------------------ */

void
safetensors_begin(SafetensorsWriter *w, Arena *a, const char *const *metadata)
{
	w->header = text_new(a);
	w->data = text_new(a);
	/* room for the length */
	text_add(w->header, "\0\0\0\0\0\0\0", LENGTH_BYTES);
	text_printf(w->header, "{");
	if (!*metadata)
		return;
	text_printf(w->header, "\"__metadata__\":{");
	for (const char *const *s = metadata; *s; s += 2) {
		text_printf(w->header, "%s", s == metadata ? "" : ",");
		text_json_string(w->header, s[0], strlen(s[0]));
		text_printf(w->header, ":");
		text_json_string(w->header, s[1], strlen(s[1]));
	}
	text_printf(w->header, "}");
}

void
safetensors_add(SafetensorsWriter *w, const char *name, DataType type, const uint64_t *shape,
		uint32_t rank, const void *data, size_t bytes)
{
	Text *h = w->header;
	text_printf(h, "%s", h->size > LENGTH_BYTES + 1 ? "," : "");
	text_json_string(h, name, strlen(name));
	text_printf(h, ":{\"dtype\":\"%s\",\"shape\":[", data_types[type].name);
	for (uint32_t i = 0; i < rank; i++)
		text_printf(h, "%s%llu", i ? "," : "", (unsigned long long)shape[i]);
	text_printf(h, "],\"data_offsets\":[%zu,%zu]}", w->data->size, w->data->size + bytes);
	text_add(w->data, data, bytes);
}

const Text *
safetensors_end(SafetensorsWriter *w)
{
	Text *h = w->header;
	text_printf(h, "}");
	while (h->size % ALIGNMENT)
		text_printf(h, " ");
	const uint64_t length = h->size - LENGTH_BYTES;
	for (int i = 0; i < LENGTH_BYTES; i++)
		h->text[i] = (char)(length >> (8 * i) & 0xff);
	text_add(h, w->data->text, w->data->size);
	return h;
}
