/*
 * Compiled models of the static nets, by an OpenVINO with an NPU compiler, where one is found. It
 * is loaded by children alone, one a model and generation: a compiler that breaks off or hangs ends
 * its child, and lathe has a sentence about it.
 */
#define _XOPEN_SOURCE 700
#include "npu.h"
#include "templates/npu/openvino.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

enum { BLOB_SECONDS = 3600, FOOTER_MAX = 256, WORDS_MAX = 2048, KEY_MAX = 3072, PATH_ROOM = 4096 };
/* Of our lines in a child's log: a compiler has words of its own. */
static const char mark[] = "lathe: ";

typedef struct BlobJob {
	const char *openvino; /* null: where openvino.h looks */
	const char *platform,
		*model; /* "4000", "npu_decode"; model null: only look for a compiler */
} BlobJob;

/* ---- the child, in the staging folder; its calls return 0, or 1 behind a line of words
 * --------------------------------------- */

static int
complain(const char *words)
{
	printf("%s%s\n", mark, words);
	return 1;
}

static int
complain_of(const OpenVino *ov, ov_status_e code)
{
	char words[WORDS_MAX];
	openvino_why(ov, code, words, sizeof words);
	return complain(words);
}

/* A whole file in memory of malloc; null with errno. */
static unsigned char *
read_file(const char *path, size_t *size)
{
	FILE *f = fopen(path, "rb");
	unsigned char *bytes = NULL;
	long n = -1;
	if (f && !fseek(f, 0, SEEK_END) && (n = ftell(f)) >= 0 && !fseek(f, 0, SEEK_SET) &&
	    (bytes = malloc((size_t)n + 1)) != NULL && fread(bytes, 1, (size_t)n, f) != (size_t)n) {
		free(bytes);
		bytes = NULL;
	}
	if (f)
		fclose(f);
	*size = n < 0 ? 0 : (size_t)n;
	return bytes;
}

/*
 * "compiler=8.4;npu=4000;..." of a blob's metadata, which are its end: the length of the words as
 * u64, the words, a byte, where the metadata begin as u64, "OVNPU". Returns whether it is there.
 */
static bool
footer(const unsigned char *blob, size_t size, char words[FOOTER_MAX])
{
	static const char begin[] = "compiler=", end[] = "OVNPU";
	const size_t length_bytes = sizeof(uint64_t), tail = 1 + sizeof(uint64_t) + sizeof end - 1;
	if (size < tail || memcmp(blob + size - (sizeof end - 1), end, sizeof end - 1) != 0)
		return false;
	for (size_t n = sizeof begin - 1; n < FOOTER_MAX && size >= tail + n + length_bytes; n++) {
		const unsigned char *at = blob + size - tail - n;
		uint64_t length = 0;
		for (size_t i = 0; i < length_bytes; i++)
			length |= (uint64_t)at[i - length_bytes] << 8 * i;
		if (length != n || memcmp(at, begin, sizeof begin - 1) != 0)
			continue;
		memcpy(words, at, n);
		words[n] = 0;
		return true;
	}
	return false;
}

uint64_t
npu_digest(const char *path)
{
	enum { PIECE = 1 << 16 };
	unsigned char piece[PIECE];
	uint64_t h = OPENVINO_DIGEST;
	FILE *f = fopen(path, "rb");
	if (!f)
		fatal_environment("cannot read %s: %s", path, strerror(errno));
	for (size_t n; (n = fread(piece, 1, sizeof piece, f)) > 0;)
		h = openvino_digest(h, piece, n);
	if (ferror(f))
		fatal_environment("cannot read %s: %s", path, strerror(errno));
	fclose(f);
	return h;
}

/* The value of a key of a footer, "" where it is not there. */
static const char *
footer_value(Arena *a, const char *words, const char *key)
{
	const size_t n = strlen(key);
	for (const char *at = words; *at; at += strcspn(at, ";"), at += *at == ';')
		if (!strncmp(at, key, n) && at[n] == '=')
			return arena_strndup(a, at + n + 1, strcspn(at + n + 1, ";"));
	return "";
}

/* The key beside a blob, as the host compares it; a blob of another generation is refused. */
static int
write_key(const OpenVino *ov, const BlobJob *j, const char *path)
{
	char key[KEY_MAX], seal[64], words[FOOTER_MAX], wanted[64], file[PATH_ROOM + 8];
	size_t size, xml_size;
	snprintf(file, sizeof file, "npu/%s.xml", j->model);
	unsigned char *xml = read_file(file, &xml_size);
	snprintf(file, sizeof file, "%s.blob", path);
	unsigned char *blob = read_file(file, &size);
	if (!xml || !blob)
		return complain(strerror(errno));
	snprintf(wanted, sizeof wanted, ";npu=%s;", j->platform);
	if (!footer(blob, size, words) || !strstr(words, wanted))
		return complain("what it made says no generation, or another one");
	openvino_key(key, sizeof key, ov->version, "NPU", j->platform, "",
		     openvino_digest(OPENVINO_DIGEST, xml, xml_size));
	openvino_seal(seal, sizeof seal, blob, size);
	snprintf(file, sizeof file, "%s.key", path);
	FILE *f = fopen(file, "w");
	const bool bad = !f || fputs(key, f) < 0 || fputs(seal, f) < 0;
	if ((f && fclose(f)) || bad)
		return complain(strerror(errno));
	free(xml);
	free(blob);
	return 0;
}

static int
make_blob(void *arg)
{
	const BlobJob *j = arg;
	OpenVino ov;
	ov_core_t *core = NULL;
	ov_model_t *model = NULL;
	ov_compiled_model_t *compiled = NULL;
	char words[WORDS_MAX], path[PATH_ROOM], file[PATH_ROOM + 8];
	if (openvino_open(&ov, j->openvino, words, sizeof words))
		return complain(words);
	int code = ov.core_create(&core);
	if (!code)
		code = ov.core_set_property(core, "NPU", "NPU_COMPILER_TYPE", "PLUGIN");
	if (!code)
		code = ov.core_set_property(core, "NPU", "NPU_PLATFORM", j->platform);
	if (code)
		return complain_of(&ov, code);
	if (!j->model)
		return 0;
	snprintf(file, sizeof file, "npu/%s.xml", j->model);
	code = ov.core_read_model(core, file, "npu/openvino_model.bin", &model);
	if (!code)
		code = ov.core_compile_model(core, model, "NPU", 0, &compiled);
	openvino_blob_name(path, sizeof path, "npu", j->model, j->platform);
	snprintf(file, sizeof file, "%s.blob", path);
	if (!code)
		code = ov.compiled_model_export_model(compiled, file);
	return code ? complain_of(&ov, code) : write_key(&ov, j, path);
}

/* ---- lathe -------------------------------------------------------------------------------- */

/* Our last line of a child's log, or what is known without one. */
static const char *
words_of(Arena *a, const char *log, const ProcessEnd *end)
{
	const char *words = NULL, *error;
	Mapped m;
	if (end->late)
		return arena_printf(a, "it took more than %d seconds", BLOB_SECONDS);
	if (end->signal)
		return arena_printf(a, "it ended by signal %d", end->signal);
	if (end->error)
		return strerror(end->error);
	if (!file_map(log, &m, &error))
		return error;
	const char *text = arena_strndup(a, (const char *)m.data, m.size);
	file_unmap(&m);
	for (const char *line = text; line; line = strchr(line, '\n'), line += line != NULL)
		if (!strncmp(line, mark, sizeof mark - 1))
			words = line + sizeof mark - 1;
	return words ? arena_strndup(a, words, strcspn(words, "\n")) : "it says nothing";
}

/* Why it did not work, or null. */
static const char *
run_child(const Build *b, BlobJob *j)
{
	const char *log = artefact_staged(b, "blob.log"), *words = NULL;
	const ProcessEnd end = process_call_within(b->dir, make_blob, j, log, BLOB_SECONDS);
	if (end.late || end.signal || end.error || end.status)
		words = words_of(b->run, log, &end);
	unlink(log);
	return words;
}

/* What a blob's end says: a member of the manifest's list, a line of the report. */
static void
print_blob(const Build *b, Text *report, Text *list, const char *name)
{
	static const struct {
		const char *member, *key;
	} members[] = {{"platform", "npu"},
		       {"compiler", "compiler"},
		       {"elf", "elf"},
		       {"mapped_inference", "mi"}};
	char words[FOOTER_MAX] = "";
	Mapped m;
	const char *error;
	if (!file_map(artefact_staged(b, name), &m, &error))
		fatal_environment("cannot read %s: %s", name, error);
	if (!footer(m.data, m.size, words))
		BUG("npu: %s was read before", name);
	text_printf(list, "%s{\"file\": \"%s\", \"bytes\": %zu", list->size ? ", " : "", name,
		    m.size);
	for (size_t i = 0; i < sizeof members / sizeof *members; i++) {
		const char *value = footer_value(b->run, words, members[i].key);
		text_printf(list, ", \"%s\": ", members[i].member);
		text_json_string(list, value, strlen(value));
	}
	text_printf(list, "}");
	text_line(report, "npu: %s: %zu bytes, %s", name, m.size, words);
	file_unmap(&m);
}

/* Whether --npu-blob asks for them and a compiler is there; else one sentence says so. */
static bool
have_compiler(const Build *b, BlobJob *j, const NpuFacts *f, Text *report)
{
	const char *asked = b->o->npu.blob, *why = "not asked for";
	for (int p = NPU_PLATFORMS - 1; p >= 0; p--)
		if (f->platform[p])
			j->platform = npu_platform_names[p];
	if (asked && !strcmp(asked, "auto")) {
		artefact_step(b, "npu compiler");
		why = run_child(b, j);
		if (!why)
			return true;
		diag_warning(b->d, (Loc){0}, E_NPU, "no compiled models for the NPU: %s", why);
	}
	text_line(report,
		  "npu: no compiled models (blobs): %s. An OpenVINO with the NPU's compiler makes",
		  why);
	text_line(report, "them: --npu-blob auto --npu-openvino FOLDER (wheels for Linux have no");
	text_line(report,
		  "compiler); or the NPU's own driver: %s generate --device npu:NPU,cache=FOLDER",
		  b->x->name);
	return false;
}

static void
add_blob(Build *b, BlobJob *j, Text *report, Text *list)
{
	Arena *a = b->run;
	char path[PATH_ROOM];
	openvino_blob_name(path, sizeof path, "npu", j->model, j->platform);
	const char *name = arena_printf(a, "%s.blob", path), *key = arena_printf(a, "%s.key", path);
	artefact_step(b, arena_printf(a, "npu blob of %s for %s", j->model, j->platform));
	const char *why = run_child(b, j);
	if (!why) {
		artefact_add(b, name);
		artefact_add(b, key);
		print_blob(b, report, list, name);
		return;
	}
	diag_warning(b->d, (Loc){0}, E_NPU, "no compiled %s for the NPU %s: %s", j->model,
		     j->platform, why);
	text_line(report, "npu: no compiled %s for the NPU %s: %s", j->model, j->platform, why);
	unlink(artefact_staged(b, name));
	unlink(artefact_staged(b, key));
}

void
npu_blobs(Build *b, const NpuFacts *f, Text *report, Text *json)
{
	static const char *const models[] = {"npu_prefill", "npu_decode", "npu_head"};
	Text *list = text_new(b->run);
	BlobJob j = {.openvino = b->o->npu.openvino};
	/* A child works in another folder. */
	char *path = j.openvino ? realpath(j.openvino, NULL) : NULL;
	if (path)
		j.openvino = arena_printf(b->run, "%s", path);
	free(path);
	const bool have = have_compiler(b, &j, f, report);
	for (int p = 0; p < NPU_PLATFORMS && have; p++)
		for (size_t i = 0; i < sizeof models / sizeof *models && f->platform[p]; i++) {
			j.platform = npu_platform_names[p];
			j.model = models[i];
			add_blob(b, &j, report, list);
		}
	text_line(json, "\"npu_blobs\": [%s],", list->text ? list->text : "");
}
