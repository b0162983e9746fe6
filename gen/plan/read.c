/* A plan's file, its model and its sidecar; the sections have files of their own. */
#include "gen/model/model.h"
#include "gen/plan/import.h"
#include "gen/plan/reader.h"

#include <string.h>

enum { PLAN_BYTES_MAX = 4 << 20 };

static void
read_model(PlanReader *r)
{
	const Json *model = json_get(r->json, "model");
	const Json *arch = json_get(model, "arch"), *digest = json_get(model, "sha256");
	if (arch && strcmp(arch->string, r->model->arch)) {
		diag_error(r->d, arch->loc, E_PLAN_MODEL, "the plan is for '%s', the model is '%s'",
			   arch->string, r->model->arch);
		return;
	}
	if (digest)
		digest_matches(r, digest, r->model->sha256,
			       arena_printf(r->arena, "the model %s", r->model->file));
}

static const char *
text_of(const Json *object, const char *key)
{
	const Json *value = json_get(object, key);
	return value ? value->string : NULL;
}

static uint64_t
count_of(const Json *object, const char *key)
{
	const Json *value = json_get(object, key);
	return value ? (uint64_t)value->integer : 0;
}

static void
read_maker(PlanReader *r)
{
	const Json *made = json_get(r->json, "made_by");
	const Json *bits = json_get(made, "bits_per_weight");
	r->plan->maker = (PlanMaker){.program = text_of(made, "program"),
				     .recipe = text_of(made, "recipe"),
				     .calibration = text_of(made, "calibration"),
				     .machine = text_of(made, "machine"),
				     .bits = bits ? bits->number : 0.0,
				     .adds = count_of(made, "adds"),
				     .multiplies = count_of(made, "multiplies")};
}

/* A path beside the plan's. */
static const char *
beside(Arena *a, const char *plan, const char *file)
{
	const char *slash = strrchr(plan, '/');
	if (*file == '/' || !slash)
		return file;
	return arena_printf(a, "%.*s/%s", (int)(slash - plan), plan, file);
}

/* The model that the sidecar says it was made for, where the model's digest is known. */
static void
check_sidecar_model(PlanReader *r)
{
	static const uint8_t unknown[32];
	const Json *digest = json_get(r->data->metadata, "model_sha256");
	char hex[65];
	if (!digest || !memcmp(r->model->sha256, unknown, sizeof unknown))
		return;
	sha256_hex(r->model->sha256, hex);
	if (digest->kind == JSON_STRING && !strcmp(digest->string, hex))
		return;
	diag_error(r->d, digest->loc, E_PLAN_MODEL, "the data was made for another model than %s",
		   r->model->file);
	diag_hint(r->d, "the model's digest is %s", hex);
}

static void
read_sidecar(PlanReader *r, const uint8_t *data, size_t size)
{
	const Json *section = json_get(r->json, "data");
	const Json *file = json_get(section, "file"), *pinned = json_get(section, "sha256");
	Mapped map = {data, size};
	const char *error;
	uint8_t digest[32];
	if (!file)
		return;
	const char *path = beside(r->arena, r->plan->file, file->string);
	r->data_broken = true;
	if (!data && !file_map(path, &map, &error)) {
		diag_error(r->d, file->loc, E_FILE, "cannot read %s: %s", path, error);
		return;
	}
	r->plan->data_file = path;
	if (pinned) {
		sha256_of(map.data, map.size, digest);
		if (!digest_matches(r, pinned, digest, path))
			return;
	}
	r->data = safetensors_read_memory(r->arena, r->d, path, map.data, map.size);
	if (!r->data)
		return;
	r->data_broken = false;
	r->data_used = ARENA_ARRAY(r->arena, bool, r->data->count + 1);
	check_sidecar_model(r);
}

Plan *
plan_read_memory(Arena *run, Diag *d, const char *path, const char *text, size_t size,
		 const uint8_t *data, size_t data_size, const Model *m)
{
	PlanReader r = {.arena = run,
			.d = d,
			.model = m,
			.plan = plan_new(run, m),
			.errors_before = diag_errors(d)};
	const Loc loc = {diag_file(d, path, text, size), 0};
	r.plan->file = path;
	if (size > PLAN_BYTES_MAX) {
		diag_error(d, loc, E_JSON, "a plan of more than %d bytes is refused",
			   PLAN_BYTES_MAX);
		diag_hint(d, "numbers in bulk go into the safetensors file");
		return NULL;
	}
	sha256_of(text, size, r.plan->sha256);
	r.json = json_parse(run, d, loc.file, 0, text, size);
	if (!r.json)
		return NULL;
	const bool whole = schema_check(run, d, r.json, O_PLAN);
	/* Of a plan of another version nothing is understood; wrong sections end here too. */
	if (!whole)
		return NULL;
	r.plan->stored = json_get(r.json, "stored") && json_get(r.json, "stored")->boolean;
	read_maker(&r);
	read_model(&r);
	read_sidecar(&r, data, data_size);
	read_transforms(&r);
	read_formats(&r);
	read_codes(&r);
	if (diag_errors(d) != r.errors_before || !plan_check_rotation(run, d, m, r.plan))
		return NULL;
	return r.plan;
}

Plan *
plan_read(Arena *run, Diag *d, const char *path, const Model *m)
{
	Mapped map;
	const char *error;
	if (!file_map(path, &map, &error)) {
		diag_error(d, (Loc){0}, E_FILE, "cannot read %s: %s", path, error);
		return NULL;
	}
	return plan_read_memory(run, d, path, map.size ? (const char *)map.data : "", map.size,
				NULL, 0, m);
}

bool
plan_wants_digest(const char *path)
{
	static const char *const words[] = {"\"sha256\"", "\"data\""};
	Mapped map;
	const char *error;
	bool found = false;
	if (!file_map(path, &map, &error))
		return false;
	for (size_t w = 0; w < sizeof words / sizeof *words; w++) {
		const size_t n = strlen(words[w]);
		for (size_t i = 0; !found && i + n <= map.size; i++)
			found = !memcmp(map.data + i, words[w], n);
	}
	file_unmap(&map);
	return found;
}

Plan *
plan_read_digest(Arena *run, Diag *d, const char *path, Model *m)
{
	if (plan_wants_digest(path))
		model_digest(m);
	return plan_read(run, d, path, m);
}
