/*
 * Mutants of a model of several files, read from memory: folder_fuzz FOLDER COUNT SEED [JOBS]
 *
 * A folder is a Hugging Face one, or has one model.gguf, or shards of a GGUF file, which are read
 * from disk. What it says of a rotation is imported, and so are matrices called
 * spinquant.safetensors or quarot.safetensors, whose name is the dialect; a plan that comes out is
 * written and read back. A mutant has a few changes in one of its files, most in the header where
 * that is no JSON. The folder itself is read first and must be accepted; COUNT 0 reads it alone and
 * takes a refusal too.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <sys/stat.h>

#include "gen/model/model.h"
#include "gen/plan/import.h"
#include "targets/tokenizer.h"
#include "tests/fuzz/mutants.h"

enum { FILES_MAX = 16, MUTATIONS = 4, HEAD = 2000 };

typedef struct Folder {
	const char *name;
	FolderFile files[FILES_MAX];
	uint32_t n;
} Folder;

static int
compare_files(const void *x, const void *y)
{
	return strcmp(((const FolderFile *)x)->name, ((const FolderFile *)y)->name);
}

static bool
folder_open(Arena *a, Folder *f, const char *path)
{
	DIR *d = opendir(path);
	const char *error;
	f->name = path;
	if (!d)
		return false;
	for (struct dirent *e; (e = readdir(d)) && f->n < FILES_MAX;) {
		Mapped map;
		if (e->d_name[0] == '.' ||
		    !file_map(arena_printf(a, "%s/%s", path, e->d_name), &map, &error))
			continue;
		const char *name = arena_strndup(a, e->d_name, strlen(e->d_name));
		f->files[f->n++] = (FolderFile){name, map.data, map.size};
	}
	closedir(d);
	qsort(f->files, f->n, sizeof *f->files, compare_files);
	return f->n > 0;
}

static bool
ends_with(const char *name, const char *end)
{
	const size_t n = strlen(name), e = strlen(end);
	return n >= e && !strcmp(name + n - e, end);
}

/* Text that means something in these files. */
static const char *const words[] = {
	"null",
	"true",
	"false",
	"0",
	"-1",
	"16",
	"1e308",
	"4294967296",
	"9223372036854775807",
	"\"\"",
	"[]",
	"{}",
	"[[",
	"\"BPE\"",
	"\"I32\"",
	"\"F16\"",
	"\\u0000",
	"\\ud800",
	"\"",
	"(?:",
	"[^",
	"{1,3}",
	"(?i:",
	"|",
	"\\\\p{L}",
	"$",
	"\xE2\x96\x81",
	"\xFF",
	"\"Linear\"",
	"\"Embedding\"",
	"\"LlamaAttention\"",
	"\"re:.*\"",
	"\"re:.*v_proj$\"",
	"\"lm_head\"",
	"\"input\"",
	"\"weight_input\"",
	"\"weight_output\"",
	"\"output\"",
	"\"q_attn\"",
	"\"hadamard\"",
	"\"random-hadamard\"",
	"\"random-matrix\"",
};

/* What an accepted model promises: rows, RoPE, and a tokenizer that is emitted or refused. */
static void
touch(Arena *a, Diag *d, const Model *m, uint64_t *r)
{
	for (int role = 0; role < ROLE_COUNT; role++)
		for (uint32_t l = 0; l < model_count(m, role); l++) {
			const Tensor *t = m->tensors[role][l];
			uint32_t rows, columns;
			if (!t && (role_optional[role] || m->n_expert))
				continue;
			model_shape(m, (Role)role, &rows, &columns);
			if (!t || t->rows != rows || t->columns != columns)
				abort();
			float *row = ARENA_ARRAY(a, float, columns);
			tensor_row_f32(t, (uint32_t)random_below(r, rows), row);
			tensor_row_f32(t, rows - 1, row);
		}
	float *angles = ARENA_ARRAY(a, float, m->head_dim);
	rope_table(m, m->n_ctx - 1, angles, angles + m->head_dim / 2);
	if (m->tokenizer.kind != TOKENIZER_NONE) {
		const int before = diag_errors(d);
		if (!tokenizer_emit(text_new(a), &m->tokenizer, d, "t", "t") ==
		    (diag_errors(d) == before))
			abort();
	}
}

/* A plan that came out is one of the model: written it reads back. */
static void
use_plan(Arena *a, const Model *m, Plan *p)
{
	p->maker.program = "folder_fuzz";
	const PlanText text = plan_write(a, p, m, "x.safetensors");
	Diag *d = diag_new(a, NULL);
	diag_limit(d, 0);
	if (!plan_read_memory(a, d, "plan.json", text.json->text, text.json->size,
			      text.data ? (const uint8_t *)text.data->text : NULL,
			      text.data ? text.data->size : 0, m)) {
		fprintf(stderr, "what was imported is not read:\n%s", text.json->text);
		abort();
	}
}

/* Whether what the folder says of a rotation is understood. */
static bool
import(Arena *a, Diag *d, const Folder *f, const Model *m)
{
	ImportFiles files = {.dialect = NULL};
	const int before = diag_errors(d);
	for (uint32_t i = 0; i < f->n; i++) {
		const FolderFile *file = &f->files[i];
		const bool spinquant = !strcmp(file->name, "spinquant.safetensors");
		if (!spinquant && strcmp(file->name, "quarot.safetensors") != 0)
			continue;
		const Safetensors **one = ARENA_NEW(a, const Safetensors *);
		*one = safetensors_parse(a, d, diag_file(d, file->name, NULL, file->size),
					 file->name, file->data, file->size);
		if (!*one)
			return false;
		files = (ImportFiles){spinquant ? "spinquant" : "quarot", one, 1};
	}
	if (!m->rotation && !files.dialect)
		return true;
	Plan *p = plan_import(a, d, m, &files);
	if (!p == (diag_errors(d) == before))
		abort(); /* a refusal without a message, or the other way round */
	if (p)
		use_plan(a, m, p);
	return p != NULL;
}

/* Shards of a GGUF file, written to a folder of this process in TMPDIR, which the caller removes.
 */
static const Model *
read_shards(Arena *a, Diag *d, const Folder *f, const ModelOptions *o)
{
	const char *place =
		arena_printf(a, "%s/folder_fuzz.%ld", temporary_place(), (long)getpid());
	mkdir(place, 0700);
	for (uint32_t i = 0; i < f->n; i++) {
		const FolderFile *file = &f->files[i];
		const char *path = arena_printf(a, "%s/%s", place, file->name);
		unlink(path); /* the old one is still mapped */
		FILE *out = fopen(path, "wb");
		if (!out || fwrite(file->data, 1, file->size, out) != file->size || fclose(out))
			fatal_environment("cannot write %s", path);
	}
	return model_read(a, d, arena_printf(a, "%s/%s", place, f->files[0].name), o);
}

static bool
read_folder(Arena *a, const Folder *f, uint64_t *r)
{
	Diag *d = diag_new(a, NULL);
	diag_limit(d, 0);
	const ModelOptions o = {.rotated = true};
	const FolderFile *gguf = NULL;
	for (uint32_t i = 0; i < f->n && !gguf; i++)
		gguf = ends_with(f->files[i].name, ".gguf") ? &f->files[i] : NULL;
	const Model *m =
		!gguf ? model_read_folder(a, d, "model", f->files, f->n, &o)
		: strstr(gguf->name, "-of-")
			? read_shards(a, d, f, &o)
			: model_read_memory(a, d, "model.gguf", gguf->data, gguf->size, &o);
	if (!m == !diag_errors(d))
		abort(); /* a refusal without a message, or the other way round */
	if (m)
		touch(a, d, m, r);
	return m && import(a, d, f, m);
}

static bool
run_mutant(Arena *a, void *subject, uint64_t *r)
{
	Folder changed = *(const Folder *)subject;
	FolderFile *file = &changed.files[random_below(r, changed.n)];
	Mutant m = mutant_new(file->data, file->size);
	const bool text = strstr(file->name, ".json") != NULL;
	for (uint64_t k = 0, n = 1 + random_below(r, MUTATIONS); k < n; k++)
		if (text)
			mutate_text(&m, r, words, sizeof words / sizeof *words);
		else
			mutate_binary(&m, r, HEAD);
	file->data = m.data;
	file->size = m.size;
	const bool accepted = read_folder(a, &changed, r);
	free(m.data);
	return accepted;
}

int
main(int argc, char **argv)
{
	Arena *a = arena_new();
	Folder f = {.n = 0};
	uint64_t r = 0;
	if (argc < 4 || argc > 5 || !folder_open(a, &f, argv[1])) {
		fprintf(stderr, "usage: folder_fuzz FOLDER COUNT SEED [JOBS]\n");
		return 2;
	}
	const bool accepted = read_folder(a, &f, &r), mutants = strcmp(argv[2], "0") != 0;
	if (!mutants)
		printf("%s is %s\n", f.name, accepted ? "accepted" : "refused");
	else if (!accepted)
		fprintf(stderr, "%s itself is refused\n", f.name);
	const int status = !mutants    ? 0
			   : !accepted ? 1
				       : mutants_run(f.name, run_mutant, &f, argc - 2, argv + 2);
	arena_free(a);
	return status;
}
