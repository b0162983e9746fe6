#include "gguf.h"
#include "stored.h"

#include <stdlib.h>
#include <string.h>

enum {
	NESTING_MAX = 4,       /* arrays in arrays */
	KEY_MAX = 65535,       /* bytes, from the format's definition */
	ENTRY_BYTES_MIN = 14,  /* key length, a letter, type, one byte of value */
	TENSOR_BYTES_MIN = 33, /* name length, a letter, dimensions, one of them, type, offset */
	ALIGNMENT_DEFAULT = 32,
	VERSION = 3,
};

static const struct TypeRow {
	const char *name;
	uint32_t bytes;
} type_rows[GGUF_TYPE_COUNT] = {
#define GGUF_TYPE(e, number, name, bytes) [number] = {name, bytes},
#include "gguf_types.def"
};

const char *
gguf_type_name(uint32_t type)
{
	return type < GGUF_TYPE_COUNT ? type_rows[type].name : "unknown";
}

bool
gguf_is_magic(const uint8_t *data, size_t size)
{
	return size >= 4 && memcmp(data, "GGUF", 4) == 0;
}

/* ---- values ------------------------------------------------------------------------------- */

static bool
fail(Cursor *c, uint64_t at, DiagId id, const char *text)
{
	diag_error(c->d, cursor_loc(c, at), id, "%s", text);
	c->failed = true;
	return false;
}

static Bytes
read_string(Cursor *c, const char *what)
{
	uint64_t at = c->at, n = cursor_u64(c, what);
	if (c->failed)
		return (Bytes){0};
	if (n > cursor_remaining(c)) {
		diag_error(c->d, cursor_loc(c, at), n > c->size ? E_OVERFLOW : E_TRUNCATED,
			   "%s has a length of %llu bytes, the file has %llu left", what,
			   (unsigned long long)n, (unsigned long long)cursor_remaining(c));
		c->failed = true;
		return (Bytes){0};
	}
	if (n > UINT32_MAX) {
		fail(c, at, E_OVERFLOW, "a string is longer than 4 GiB");
		return (Bytes){0};
	}
	return (Bytes){(const char *)cursor_bytes(c, n, what), (uint32_t)n};
}

static bool
check_type(Cursor *c, uint64_t at, uint32_t type)
{
	if (c->failed)
		return false;
	if (type < GGUF_TYPE_COUNT)
		return true;
	diag_error(c->d, cursor_loc(c, at), E_METADATA, "a metadata value has the unknown type %u",
		   type);
	c->failed = true;
	return false;
}

/* Skips count values of one type; checks all lengths on the way. */
static bool
skip_values(Cursor *c, uint32_t type, uint64_t count, int depth)
{
	static const char what[] = "a metadata value";
	uint64_t bytes = type_rows[type].bytes;
	if (bytes) {
		if (!checked_mul(count, bytes, &bytes))
			return fail(c, c->at, E_OVERFLOW, "an array's size overflows");
		return cursor_bytes(c, bytes, what);
	}
	/* a string is at least its length, an array its type and count */
	if (count > cursor_remaining(c) / (type == GGUF_STRING ? 8 : 12) && count > 1) {
		diag_error(c->d, cursor_loc(c, c->at), E_OVERFLOW,
			   "an array claims %llu %ss, more than %llu bytes can hold",
			   (unsigned long long)count, type_rows[type].name,
			   (unsigned long long)cursor_remaining(c));
		return !(c->failed = true);
	}
	for (uint64_t i = 0; i < count; i++) {
		if (type == GGUF_STRING) {
			read_string(c, what);
		} else {
			uint64_t at = c->at;
			uint32_t element = cursor_u32(c, what);
			uint64_t n = cursor_u64(c, what);
			if (!check_type(c, at, element))
				return false;
			if (depth == NESTING_MAX)
				return fail(c, at, E_OVERFLOW, "arrays are nested too deeply");
			skip_values(c, element, n, depth + 1);
		}
		if (c->failed)
			return false;
	}
	return true;
}

static bool
read_value(Cursor *c, GgufValue *v)
{
	static const char what[] = "a metadata value";
	uint64_t at = c->at;
	v->type = cursor_u32(c, what);
	if (!check_type(c, at, v->type))
		return false;
	v->count = 1;
	v->at = c->at;
	if (v->type == GGUF_STRING) {
		v->count = read_string(c, what).size;
		v->at += 8;
	} else if (v->type == GGUF_ARRAY) {
		v->element = cursor_u32(c, what);
		v->count = cursor_u64(c, what);
		at = v->at;
		v->at = c->at;
		if (!check_type(c, at, v->element) || !skip_values(c, v->element, v->count, 1))
			return false;
	} else if (!skip_values(c, v->type, 1, 0)) {
		return false;
	}
	v->end = c->at;
	if (v->type == GGUF_BOOL && !c->failed && c->data[v->at] > 1)
		return fail(c, v->at, E_METADATA, "a bool is neither 0 nor 1");
	return !c->failed;
}

const uint8_t *
gguf_bytes(const Gguf *g, const GgufValue *v)
{
	return g->cursor.data + v->at;
}

Bytes
gguf_string(const Gguf *g, const GgufValue *v)
{
	return (Bytes){(const char *)gguf_bytes(g, v), (uint32_t)v->count};
}

const Bytes *
gguf_strings(const Gguf *g, const GgufValue *v)
{
	Bytes *s = ARENA_ARRAY(g->arena, Bytes, v->count);
	const uint8_t *p = gguf_bytes(g, v);
	for (uint64_t i = 0; i < v->count; i++) {
		s[i] = (Bytes){(const char *)p + 8, (uint32_t)little_endian(p, 8)};
		p += 8 + s[i].size;
	}
	return s;
}

bool
gguf_integer(const Gguf *g, const GgufValue *v, int64_t *n)
{
	uint32_t bytes = type_rows[v->type].bytes;
	if (bytes == 0 || v->type == GGUF_F32 || v->type == GGUF_F64)
		return false;
	uint64_t u = little_endian(gguf_bytes(g, v), bytes);
	bool is_signed = v->type == GGUF_I8 || v->type == GGUF_I16 || v->type == GGUF_I32;
	if (is_signed && u >> (8 * bytes - 1))
		u |= ~(uint64_t)0 << (8 * bytes);
	if (v->type == GGUF_U64 && u > INT64_MAX)
		return false;
	memcpy(n, &u, sizeof *n);
	return true;
}

bool
gguf_real(const Gguf *g, const GgufValue *v, double *x)
{
	float f;
	if (v->type == GGUF_F64) {
		memcpy(x, gguf_bytes(g, v), sizeof *x);
		return true;
	}
	if (v->type != GGUF_F32)
		return false;
	memcpy(&f, gguf_bytes(g, v), sizeof f);
	*x = f;
	return true;
}

const GgufEntry *
gguf_find(const Gguf *g, const char *key)
{
	for (uint32_t i = 0; i < g->n_entries; i++)
		if (bytes_equal(g->entries[i].key, key))
			return &g->entries[i];
	return NULL;
}

/* ---- tables ------------------------------------------------------------------------------- */

/* Makes room for entry n of a table that grows by doubling: a count in a hostile file costs
 * nothing. */
static void *
grow(Arena *a, void *table, uint32_t n, uint32_t *capacity, size_t size)
{
	if (n < *capacity)
		return table;
	*capacity = *capacity ? *capacity * 2 : 64;
	void *larger = arena_array(a, *capacity, size);
	if (n)
		memcpy(larger, table, n * size);
	return larger;
}

/* A count in the header, refused where the rest of the file cannot hold that many. */
static uint32_t
read_count(Cursor *c, const char *what, uint32_t bytes_min)
{
	uint64_t at = c->at, n = cursor_u64(c, what);
	if (!c->failed && (n > cursor_remaining(c) / bytes_min || n > UINT32_MAX / 2)) {
		diag_error(c->d, cursor_loc(c, at), E_OVERFLOW,
			   "%s is %llu, more than a file of %llu bytes can hold", what,
			   (unsigned long long)n, (unsigned long long)c->size);
		c->failed = true;
	}
	return c->failed ? 0 : (uint32_t)n;
}

static bool
check_name(Cursor *c, Bytes name, uint64_t at, uint32_t max, const char *what)
{
	if (c->failed)
		return false;
	if (name.size == 0 || name.size > max) {
		diag_error(c->d, cursor_loc(c, at), E_OVERFLOW,
			   "%s has a length of %u bytes, not 1 to %u", what, name.size, max);
		return !(c->failed = true);
	}
	if (memchr(name.data, 0, name.size) || !utf8_valid(name)) {
		diag_error(c->d, cursor_loc(c, at), E_METADATA, "%s is not UTF-8 text", what);
		return !(c->failed = true);
	}
	return true;
}

static bool
read_entries(Gguf *g, uint32_t n)
{
	Cursor *c = &g->cursor;
	GgufEntry *table = NULL;
	uint32_t capacity = 0;
	for (uint32_t i = 0; i < n; i++) {
		table = grow(g->arena, table, i, &capacity, sizeof *table);
		GgufEntry *e = &table[i];
		e->at = c->at;
		e->key = read_string(c, "a metadata key");
		if (!check_name(c, e->key, e->at, KEY_MAX, "a metadata key"))
			return false;
		if (!read_value(c, &e->value)) {
			diag_note(g->d, cursor_loc(c, e->at), "in the metadata key %s",
				  bytes_quote(g->arena, e->key));
			return false;
		}
	}
	g->entries = table;
	g->n_entries = n;
	return true;
}

/* Bytes of a tensor's data; false after a diagnostic. */
static bool
tensor_bytes(Gguf *g, GgufTensor *t, uint32_t type)
{
	t->type = stored_type(type);
	if (!t->type) {
		const char *name = stored_type_name(type);
		diag_error(g->d, t->loc, E_TENSOR_TYPE,
			   name ? "tensor '%s' has type %s, which Lathe does not read"
				: "tensor '%s' has the unknown type %s",
			   t->name, name ? name : arena_printf(g->arena, "%u", type));
		diag_hint(g->d, "Lathe reads %s", stored_type_list(g->arena));
		return false;
	}
	if (t->dims[0] % t->type->block) {
		diag_error(g->d, t->loc, E_TENSOR_SHAPE,
			   "tensor '%s' has rows of %llu values, no multiple of the %u of a %s "
			   "block",
			   t->name, (unsigned long long)t->dims[0], t->type->block, t->type->name);
		return false;
	}
	t->bytes = t->dims[0] / t->type->block;
	bool ok = checked_mul(t->bytes, t->type->block_bytes, &t->bytes);
	for (uint32_t i = 1; i < GGUF_DIMS; i++)
		ok = ok && checked_mul(t->bytes, t->dims[i], &t->bytes);
	if (!ok)
		diag_error(g->d, t->loc, E_OVERFLOW, "the size of tensor '%s' overflows", t->name);
	return ok;
}

/* One tensor entry; *ok turns false where its meaning is wrong but reading can go on. */
static bool
read_tensor(Gguf *g, GgufTensor *t, bool *ok)
{
	Cursor *c = &g->cursor;
	static const char what[] = "a tensor entry";
	t->loc = cursor_loc(c, c->at);
	Bytes name = read_string(c, "a tensor name");
	if (!check_name(c, name, t->loc.offset, GGUF_NAME_MAX, "a tensor name"))
		return false;
	t->name = bytes_quote(g->arena, name);
	if (strlen(t->name) != name.size + 2)
		return fail(c, t->loc.offset, E_METADATA, "a tensor name holds control characters");
	t->name = arena_strndup(g->arena, name.data, name.size);
	t->n_dims = cursor_u32(c, what);
	if (!c->failed && (t->n_dims == 0 || t->n_dims > GGUF_DIMS)) {
		diag_error(g->d, t->loc, E_OVERFLOW, "tensor '%s' has %u dimensions, not 1 to %d",
			   t->name, t->n_dims, GGUF_DIMS);
		return !(c->failed = true);
	}
	for (uint32_t i = 0; i < GGUF_DIMS; i++)
		t->dims[i] = i < t->n_dims ? cursor_u64(c, what) : 1;
	uint32_t type = cursor_u32(c, what);
	t->data_at = cursor_u64(c, what);
	if (c->failed)
		return false;
	for (uint32_t i = 0; i < t->n_dims; i++)
		if (t->dims[i] == 0) {
			diag_error(g->d, t->loc, E_TENSOR_SHAPE, "tensor '%s' has a dimension of 0",
				   t->name);
			*ok = false;
			return true;
		}
	if (!tensor_bytes(g, t, type))
		*ok = false;
	return true;
}

/* Offsets become file offsets; each must be aligned and its data inside the file. */
static bool
place_tensors(Gguf *g, GgufTensor *table, uint32_t n)
{
	const Cursor *c = &g->cursor;
	uint64_t start = round_up(c->at, g->alignment);
	bool ok = true;
	for (uint32_t i = 0; i < n; i++) {
		GgufTensor *t = &table[i];
		uint64_t offset = t->data_at, end;
		if (offset % g->alignment) {
			diag_error(g->d, t->loc, E_OVERFLOW,
				   "the offset %llu of tensor '%s' is no multiple of the "
				   "alignment %u",
				   (unsigned long long)offset, t->name, g->alignment);
			ok = false;
		} else if (!checked_add(start, offset, &t->data_at) ||
			   !checked_add(t->data_at, t->bytes, &end)) {
			diag_error(g->d, t->loc, E_OVERFLOW,
				   "the offset %llu of tensor '%s' overflows",
				   (unsigned long long)offset, t->name);
			ok = false;
		} else if (end > c->size) {
			diag_error(g->d, t->loc, E_TRUNCATED,
				   "tensor '%s' takes the bytes %llu to %llu, the file has %llu",
				   t->name, (unsigned long long)t->data_at, (unsigned long long)end,
				   (unsigned long long)c->size);
			ok = false;
		} else {
			t->data = c->data + t->data_at;
		}
	}
	return ok;
}

static bool
read_tensors(Gguf *g, uint32_t n)
{
	GgufTensor *table = NULL;
	uint32_t capacity = 0;
	bool ok = true;
	for (uint32_t i = 0; i < n; i++) {
		table = grow(g->arena, table, i, &capacity, sizeof *table);
		if (!read_tensor(g, &table[i], &ok))
			return false;
	}
	g->tensors = table;
	g->n_tensors = n;
	return ok && place_tensors(g, table, n);
}

/* ---- what must not occur twice ------------------------------------------------------------ */

static int
entry_order(const void *a, const void *b)
{
	const GgufEntry *const *x = a, *const *y = b;
	int order = bytes_compare((*x)->key, (*y)->key);
	return order ? order : ((*x)->at > (*y)->at) - ((*x)->at < (*y)->at);
}

static int
tensor_name_order(const void *a, const void *b)
{
	const GgufTensor *const *x = a, *const *y = b;
	int order = strcmp((*x)->name, (*y)->name);
	return order ? order : (*x > *y) - (*x < *y);
}

static int
tensor_data_order(const void *a, const void *b)
{
	const GgufTensor *const *x = a, *const *y = b;
	int order = ((*x)->data_at > (*y)->data_at) - ((*x)->data_at < (*y)->data_at);
	return order ? order : (*x > *y) - (*x < *y);
}

static bool
check_entries(Gguf *g)
{
	const GgufEntry **sorted = ARENA_ARRAY(g->arena, const GgufEntry *, g->n_entries);
	for (uint32_t i = 0; i < g->n_entries; i++)
		sorted[i] = &g->entries[i];
	qsort(sorted, g->n_entries, sizeof *sorted, entry_order);
	bool ok = true;
	for (uint32_t i = 1; i < g->n_entries; i++)
		if (bytes_compare(sorted[i - 1]->key, sorted[i]->key) == 0) {
			diag_error(g->d, cursor_loc(&g->cursor, sorted[i]->at), E_TENSOR_DUPLICATE,
				   "the metadata key %s occurs twice",
				   bytes_quote(g->arena, sorted[i]->key));
			diag_note(g->d, cursor_loc(&g->cursor, sorted[i - 1]->at), "first here");
			ok = false;
		}
	return ok;
}

static const GgufTensor **
sorted_tensors(const Gguf *g, int (*order)(const void *, const void *))
{
	const GgufTensor **sorted = ARENA_ARRAY(g->arena, const GgufTensor *, g->n_tensors);
	for (uint32_t i = 0; i < g->n_tensors; i++)
		sorted[i] = &g->tensors[i];
	qsort(sorted, g->n_tensors, sizeof *sorted, order);
	return sorted;
}

bool
gguf_check_names(const Gguf *g)
{
	const GgufTensor **sorted = sorted_tensors(g, tensor_name_order);
	bool ok = true;
	for (uint32_t i = 1; i < g->n_tensors; i++)
		if (strcmp(sorted[i - 1]->name, sorted[i]->name) == 0) {
			diag_error(g->d, sorted[i]->loc, E_TENSOR_DUPLICATE,
				   "tensor '%s' occurs twice", sorted[i]->name);
			diag_note(g->d, sorted[i - 1]->loc, "first here");
			ok = false;
		}
	return ok;
}

static bool
check_overlap(const Gguf *g)
{
	const GgufTensor **sorted = sorted_tensors(g, tensor_data_order);
	bool ok = true;
	for (uint32_t i = 1; i < g->n_tensors; i++)
		if (sorted[i - 1]->data_at + sorted[i - 1]->bytes > sorted[i]->data_at) {
			diag_error(g->d, sorted[i]->loc, E_OVERFLOW,
				   "the data of tensor '%s' overlaps that of '%s'", sorted[i]->name,
				   sorted[i - 1]->name);
			ok = false;
		}
	return ok;
}

/* ---- the file ----------------------------------------------------------------------------- */

static bool
read_version(Gguf *g)
{
	Cursor *c = &g->cursor;
	uint64_t at = c->at;
	g->version = cursor_u32(c, "the header");
	if (c->failed || g->version == VERSION)
		return !c->failed;
	if (g->version && (g->version & 0xffff) == 0)
		return fail(c, at, E_VERSION, "the GGUF file is big-endian");
	diag_error(g->d, cursor_loc(c, at), E_VERSION, "GGUF version %u; Lathe reads version %d",
		   g->version, VERSION);
	return false;
}

static bool
read_alignment(Gguf *g)
{
	const GgufEntry *e = gguf_find(g, "general.alignment");
	int64_t n = ALIGNMENT_DEFAULT;
	if (e && (!gguf_integer(g, &e->value, &n) || n <= 0 || n > 1 << 20 || (n & (n - 1)))) {
		diag_error(g->d, cursor_loc(&g->cursor, e->at), E_METADATA,
			   "general.alignment must be a power of two up to 1048576");
		return false;
	}
	g->alignment = (uint32_t)n;
	return true;
}

bool
gguf_parse(Arena *a, Diag *d, uint32_t file, const uint8_t *data, size_t size, Gguf *g)
{
	*g = (Gguf){.arena = a, .d = d};
	g->cursor = (Cursor){.data = data, .size = size, .d = d, .file = file};
	Cursor *c = &g->cursor;
	cursor_bytes(c, 4, "the header");
	if (!read_version(g))
		return false;
	uint32_t n_tensors = read_count(c, "the tensor count", TENSOR_BYTES_MIN);
	uint32_t n_entries = read_count(c, "the metadata count", ENTRY_BYTES_MIN);
	if (c->failed || !read_entries(g, n_entries) || !check_entries(g) || !read_alignment(g) ||
	    !read_tensors(g, n_tensors))
		return false;
	const bool named = gguf_check_names(g);
	return check_overlap(g) && named;
}
