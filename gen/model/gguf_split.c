/*
 * Files split into shards PREFIX-00001-of-00005.gguf and so on. The first shard has the metadata,
 * every shard its number, their count and some of the tensors; a shard is a whole GGUF file.
 */
#include "gguf_model.h"
#include "reader.h"

#include <string.h>

enum { SHARDS_MAX = 1024, NAME_TAIL = 20 /* "-00001-of-00005.gguf" */ };

static const char key_no[] = "split.no", key_count[] = "split.count",
		  key_tensors[] = "split.tensors.count";

/* A number of the split, -1 after a diagnostic; `absent` where the file has no such key. */
static int64_t
split_number(const Gguf *g, const char *key, int64_t absent, int64_t most)
{
	const GgufEntry *e = gguf_find(g, key);
	int64_t n = absent;
	if (!e || (gguf_integer(g, &e->value, &n) && n >= 0 && n <= most))
		return n;
	diag_error(g->d, cursor_loc(&g->cursor, e->at), E_SPLIT,
		   "'%s' is %s, no integer from 0 to %lld", key, gguf_show(g, &e->value),
		   (long long)most);
	return -1;
}

/* Number and count of one file; false after diagnostics. A file that is not split is 0 of 1. */
static bool
split_place(const Gguf *g, uint32_t *no, uint32_t *count)
{
	const int64_t c = split_number(g, key_count, 1, SHARDS_MAX);
	const int64_t n = split_number(g, key_no, 0, SHARDS_MAX);
	if (c < 0 || n < 0)
		return false;
	*no = (uint32_t)n;
	*count = c ? (uint32_t)c : 1;
	if (*no < *count)
		return true;
	diag_error(g->d, cursor_loc(&g->cursor, gguf_find(g, key_no)->at), E_SPLIT,
		   "'%s' is %u, but '%s' is %u: shards count from 0", key_no, *no, key_count,
		   *count);
	return false;
}

static const char *
name_tail(Arena *a, uint32_t no, uint32_t count)
{
	return arena_printf(a, "-%05u-of-%05u.gguf", no + 1, count);
}

/* The path up to the numbers; null after a diagnostic. */
static const char *
path_prefix(const Gguf *g, const ModelFile *f, uint32_t no, uint32_t count)
{
	const char *tail = name_tail(g->arena, no, count);
	const size_t n = strlen(f->path);
	if (n > NAME_TAIL && !strcmp(f->path + n - NAME_TAIL, tail))
		return arena_strndup(g->arena, f->path, n - NAME_TAIL);
	diag_error(g->d, f->loc, E_SPLIT,
		   "the file is shard %u of %u, but its name does not end in '%s'", no + 1, count,
		   tail);
	diag_hint(g->d, "the other shards are looked for by their names");
	return NULL;
}

/* ---- one shard beside the first ------------------------------------------------------------- */

static bool
same_value(const Gguf *a, const GgufEntry *x, const Gguf *b, const GgufEntry *y)
{
	const uint64_t bytes = x->value.end - x->value.at;
	return x->value.type == y->value.type && x->value.element == y->value.element &&
	       y->value.end - y->value.at == bytes &&
	       !memcmp(gguf_bytes(a, &x->value), gguf_bytes(b, &y->value), (size_t)bytes);
}

/* Whether shard `no` says that it is, and says nothing that the first shard does not. */
static bool
check_shard(const Gguf *first, const Gguf *g, Loc loc, uint32_t no, uint32_t count)
{
	uint32_t its_no, its_count;
	bool ok = true;
	if (!split_place(g, &its_no, &its_count))
		return false;
	if (its_no != no || its_count != count) {
		diag_error(g->d, loc, E_SPLIT,
			   "the file is shard %u of %u by its metadata, not %u of %u", its_no + 1,
			   its_count, no + 1, count);
		return false;
	}
	for (uint32_t i = 0; i < g->n_entries; i++) {
		const GgufEntry *e = &g->entries[i];
		const char *key = arena_strndup(g->arena, e->key.data, e->key.size);
		const GgufEntry *other = gguf_find(first, key);
		if (!strcmp(key, key_no) || !strcmp(key, "general.alignment") ||
		    (other && same_value(first, other, g, e)))
			continue;
		diag_error(g->d, cursor_loc(&g->cursor, e->at), E_SPLIT,
			   other ? "the metadata key %s = %s is another than in the first shard"
				 : "the metadata key %s = %s is not in the first shard",
			   bytes_quote(g->arena, e->key), gguf_show(g, &e->value));
		if (other)
			diag_note(g->d, cursor_loc(&first->cursor, other->at), "there it is %s",
				  gguf_show(first, &other->value));
		ok = false;
	}
	return ok;
}

/* ---- the set -------------------------------------------------------------------------------- */

static bool
open_shard(Diag *d, ModelFile *f, const ModelFile *given, uint32_t no, uint32_t count)
{
	Mapped map;
	const char *error;
	if (!file_map(f->path, &map, &error)) {
		diag_error(d, given->loc, E_FILE, "shard %u of %u: cannot read %s: %s", no + 1,
			   count, f->path, error);
		return false;
	}
	f->data = map.data;
	f->bytes = map.size;
	f->loc.file = diag_file(d, f->path, NULL, map.size);
	if (gguf_is_magic(map.data, map.size))
		return true;
	diag_error(d, f->loc, E_MAGIC, "shard %u of %u is no GGUF file", no + 1, count);
	return false;
}

/* Tensors of all shards in one table of g, which starts as the first shard. */
static bool
join_tensors(Gguf *g, const Gguf *shards, uint32_t count)
{
	uint64_t n = 0;
	for (uint32_t i = 0; i < count; i++)
		n += shards[i].n_tensors;
	const GgufEntry *e = gguf_find(g, key_tensors);
	const int64_t wanted = split_number(g, key_tensors, -1, UINT32_MAX / 2);
	if (!e) {
		diag_error(g->d, cursor_loc(&g->cursor, 0), E_SPLIT,
			   "the metadata key '%s' is missing", key_tensors);
		return false;
	}
	if (wanted >= 0 && (uint64_t)wanted != n)
		diag_error(g->d, cursor_loc(&g->cursor, e->at), E_SPLIT,
			   "'%s' is %lld, the %u shards have %llu", key_tensors, (long long)wanted,
			   count, (unsigned long long)n);
	if (wanted < 0 || (uint64_t)wanted != n)
		return false;
	GgufTensor *table = ARENA_ARRAY(g->arena, GgufTensor, n);
	g->tensors = table;
	g->n_tensors = (uint32_t)n;
	for (uint32_t i = 0; i < count; table += shards[i++].n_tensors)
		if (shards[i].n_tensors)
			memcpy(table, shards[i].tensors, shards[i].n_tensors * sizeof *table);
	return gguf_check_names(g);
}

bool
gguf_read_files(Arena *a, Diag *d, Model *m, Gguf *g)
{
	const ModelFile given = m->files[0];
	uint32_t no, count;
	if (!gguf_parse(a, d, given.loc.file, given.data, (size_t)given.bytes, g) ||
	    !split_place(g, &no, &count))
		return false;
	if (count == 1)
		return true;
	if (!m->mapped) {
		diag_error(d, given.loc, E_SPLIT,
			   "shard %u of %u in memory has no others beside it", no + 1, count);
		return false;
	}
	const char *prefix = path_prefix(g, &given, no, count);
	if (!prefix)
		return false;
	ModelFile *files = ARENA_ARRAY(a, ModelFile, count);
	Gguf *shards = ARENA_ARRAY(a, Gguf, count);
	for (uint32_t i = 0; i < count; i++) {
		files[i] = given;
		shards[i] = *g;
		if (i == no)
			continue;
		files[i].path = arena_printf(a, "%s%s", prefix, name_tail(a, i, count));
		if (!open_shard(d, &files[i], &given, i, count) ||
		    !gguf_parse(a, d, files[i].loc.file, files[i].data, (size_t)files[i].bytes,
				&shards[i]))
			return false;
	}
	bool ok = true;
	for (uint32_t i = 0; i < count; i++)
		ok = check_shard(&shards[0], &shards[i], files[i].loc, i, count) && ok;
	*g = shards[0];
	model_set_files(m, files, count);
	return ok && join_tensors(g, shards, count);
}
