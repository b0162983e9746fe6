/* A Hugging Face folder: its files, and the shards of an index. What they say is read elsewhere. */
#include "hf.h"
#include "keys.h"

#include <stdlib.h>
#include <string.h>

static const char index_name[] = "model.safetensors.index.json";
static const char single_name[] = "model.safetensors";

/* ---- files -------------------------------------------------------------------------------- */

/* Whether a file is there; its bytes, and its path for messages. */
static bool
find_file(const HfReader *r, const char *name, Mapped *map, const char **path, const char **error)
{
	const ModelFolder *f = r->folder;
	const size_t n = strlen(f->path);
	*path = arena_printf(r->arena, "%s%s%s", f->path, n && f->path[n - 1] == '/' ? "" : "/",
			     name);
	if (!f->files)
		return file_map(*path, map, error);
	for (uint32_t i = 0; i < f->n_files; i++)
		if (!strcmp(f->files[i].name, name)) {
			*map = (Mapped){f->files[i].data, f->files[i].size};
			return true;
		}
	*error = "No such file or directory";
	return false;
}

bool
hf_has(const HfReader *r, const char *name)
{
	Mapped map;
	const char *path, *error;
	if (!find_file(r, name, &map, &path, &error))
		return false;
	if (!r->folder->files)
		file_unmap(&map);
	return true;
}

const ModelFile *
hf_open(HfReader *r, const char *name, bool text, const char **error)
{
	Mapped map;
	const char *path;
	if (!find_file(r, name, &map, &path, error))
		return NULL;
	INVARIANT(r->n_files < FILES_MAX);
	ModelFile *f = &r->files[r->n_files++];
	*f = (ModelFile){.path = path, .data = map.data, .bytes = map.size};
	f->loc.file = diag_file(r->d, path, text ? (const char *)map.data : NULL, map.size);
	return f;
}

const Json *
hf_open_json(HfReader *r, const char *name)
{
	const char *error;
	const ModelFile *f = hf_open(r, name, true, &error);
	if (!f) {
		diag_error(r->d, (Loc){0}, E_FILE, "cannot read %s in %s: %s", name,
			   r->folder->path, error);
		return NULL;
	}
	const Json *json =
		json_parse(r->arena, r->d, f->loc.file, 0, (const char *)f->data, (size_t)f->bytes);
	if (json && json->kind != JSON_OBJECT) {
		diag_error(r->d, json->loc, E_METADATA, "%s must hold an object, not %s", name,
			   json_kind_names[json->kind]);
		return NULL;
	}
	return json;
}

/* ---- shards ------------------------------------------------------------------------------- */

static const KeyRow metadata_rows[] = {
#define HF_HARMLESS(key) {key, KEY_HARMLESS, NULL},
#define HF_ONLY(key, value) {key, KEY_ONLY, value},
#include "hf_metadata.def"
};

/* The shard of a name, `said` where it was found; null after diagnostics. */
static const Safetensors *
open_shard(HfReader *r, const char *name, Loc said)
{
	const char *error;
	const ModelFile *f = hf_open(r, name, false, &error);
	if (!f) {
		diag_error(r->d, said, E_SPLIT, "cannot read %s: %s", name, error);
		return NULL;
	}
	/* The file is known to messages already, and is not to be known twice. */
	const Safetensors *s =
		safetensors_parse(r->arena, r->d, f->loc.file, f->path, f->data, (size_t)f->bytes);
	if (!s || !keys_check(r->arena, r->d, s->metadata, "the file's __metadata__", metadata_rows,
			      sizeof metadata_rows / sizeof *metadata_rows, E_METADATA_UNKNOWN))
		return NULL;
	r->shards[r->n_shards++] = s;
	return s;
}

/* By file, then by tensor. */
static int
compare_entries(const void *x, const void *y)
{
	const Json *a = *(const Json *const *)x, *b = *(const Json *const *)y;
	const int order = strcmp(a->string, b->string);
	return order ? order : strcmp(a->key, b->key);
}

/* A file beside the index, of safetensors by its name. */
static bool
check_shard_name(HfReader *r, const Json *v)
{
	static const char ending[] = ".safetensors";
	const size_t n = v->kind == JSON_STRING ? strlen(v->string) : 0, e = sizeof ending - 1;
	if (n > e && !strcmp(v->string + n - e, ending) && !strchr(v->string, '/') &&
	    v->string[0] != '.')
		return true;
	diag_error(
		r->d, v->loc, E_SPLIT,
		"tensor '%s' lies in %s, which is no name of a safetensors file beside the index",
		v->key, json_show(r->arena, v));
	return false;
}

/* Entries [0, n), by tensor, name the shard s: exactly its tensors. */
static bool
check_shard(HfReader *r, const Safetensors *s, const Json **entries, uint32_t n)
{
	uint32_t i = 0;
	while (i < n && i < s->count && !strcmp(entries[i]->key, s->tensors[i].name))
		i++;
	if (i == n && i == s->count)
		return true;
	if (i < n && (i == s->count || strcmp(entries[i]->key, s->tensors[i].name) < 0))
		diag_error(r->d, entries[i]->key_loc, E_SPLIT,
			   "tensor '%s' is not in %s, where the index has it", entries[i]->key,
			   entries[i]->string);
	else
		diag_error(r->d, s->tensors[i].loc, E_SPLIT,
			   "the index does not have tensor '%s' in this file", s->tensors[i].name);
	return false;
}

static bool
open_index(HfReader *r)
{
	const Json *index = hf_open_json(r, index_name);
	const Json *map = index ? json_get(index, "weight_map") : NULL;
	if (!index)
		return false;
	if (!map || map->kind != JSON_OBJECT || !map->count) {
		diag_error(r->d, map ? map->loc : index->loc, E_SPLIT,
			   "the index has no object 'weight_map' of tensors and their files");
		return false;
	}
	const Json **entries = ARENA_ARRAY(r->arena, const Json *, map->count);
	uint32_t n = 0;
	for (const Json *v = map->first; v; v = v->next) {
		if (!check_shard_name(r, v))
			return false;
		entries[n++] = v;
	}
	qsort(entries, n, sizeof *entries, compare_entries);
	for (uint32_t i = 0, end; i < n; i = end) {
		for (end = i + 1; end < n && !strcmp(entries[i]->string, entries[end]->string);)
			end++;
		if (r->n_shards == SHARDS_MAX) {
			diag_error(r->d, map->loc, E_SPLIT, "more than %d shards", SHARDS_MAX);
			return false;
		}
		const Safetensors *s = open_shard(r, entries[i]->string, entries[i]->loc);
		if (!s || !check_shard(r, s, entries + i, end - i))
			return false;
	}
	return true;
}

bool
hf_shards(HfReader *r)
{
	const bool single = hf_has(r, single_name), index = hf_has(r, index_name);
	r->shards = ARENA_ARRAY(r->arena, const Safetensors *, SHARDS_MAX);
	if (single != index)
		return index ? open_index(r) : open_shard(r, single_name, r->m->loc) != NULL;
	diag_error(r->d, r->m->loc, single ? E_SPLIT : E_FILE,
		   single ? "%s has both %s and %s" : "%s has neither %s nor %s", r->folder->path,
		   single_name, index_name);
	return false;
}

/* ---- the folder --------------------------------------------------------------------------- */

/* The last part of a path, without slashes behind it. */
static const char *
folder_name(Arena *a, const char *path)
{
	size_t end = strlen(path);
	while (end > 1 && path[end - 1] == '/')
		end--;
	size_t start = end;
	while (start > 0 && path[start - 1] != '/')
		start--;
	return arena_strndup(a, path + start, end - start);
}

bool
hf_model(Arena *a, Diag *d, Model *m, const ModelFolder *folder, const ModelOptions *o)
{
	HfReader *r = ARENA_NEW(a, HfReader);
	*r = (HfReader){.arena = a, .d = d, .m = m, .folder = folder};
	r->files = ARENA_ARRAY(a, ModelFile, FILES_MAX);
	const bool no_tokenizer = o->tokenizer && !strcmp(o->tokenizer, "none");
	if ((o->tokenizer && !no_tokenizer) || o->tokenizer_data) {
		diag_error(d, (Loc){0}, E_USAGE,
			   "a Hugging Face folder brings its own tokenizer, another one was given");
		return false;
	}
	r->config = hf_open_json(r, "config.json");
	if (!r->config)
		return false;
	m->loc = r->files[0].loc;
	const bool ok =
		hf_config(r) && hf_shards(r) && hf_tensors(r) && (no_tokenizer || hf_tokenizer(r));
	model_set_files(m, r->files, r->n_files);
	m->rotation = r->rotation;
	m->file = folder_name(a, folder->path);
	return ok;
}
