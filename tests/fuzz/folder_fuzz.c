/*
 * Mutants of a Hugging Face folder, read from memory: folder_fuzz FOLDER COUNT SEED [JOBS]
 *
 * Mutant i is a function of (folder, seed, i): a few changes in one of its files, cut short behind
 * the header where that is safetensors. Built with sanitizers; a crash, a hang or an early exit
 * ends the run with status 1 and the number of the mutant. JOBS 0 runs the mutant COUNT - 1 alone.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include "gen/model/model.h"
#include "targets/tokenizer.h"
#include "tests/random.h"

enum { FILES_MAX = 16, MUTATIONS = 4, SPAN_MAX = 40, HANG_SECONDS = 20, JOBS_MAX = 64 };

typedef struct Folder {
	FolderFile files[FILES_MAX];
	uint32_t n;
} Folder;

typedef struct Tally {
	uint64_t index, read, accepted;
} Tally;

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

/* Text that means something in these files. */
static const char *const words[] = {
	"null",	   "true",	   "false",	 "0",
	"-1",	   "1e308",	   "4294967296", "9223372036854775807",
	"\"\"",	   "[]",	   "{}",	 "[[",
	"\"BPE\"", "\"I32\"",	   "\"F16\"",	 "\\u0000",
	"\\ud800", "\"",	   "(?:",	 "[^",
	"{1,3}",   "(?i:",	   "|",		 "\\\\p{L}",
	"$",	   "\xE2\x96\x81", "\xFF",	 ",",
	":",
};

/* One change of data[size]; returns the new size, which is at most size + SPAN_MAX. */
static size_t
mutate(uint8_t *data, size_t size, size_t aim, uint64_t *r)
{
	const size_t at = random_below(r, aim ? aim : 1);
	size_t n = 1 + random_below(r, SPAN_MAX);
	if (!size || at >= size)
		return size;
	n = n < size - at ? n : size - at;
	switch (random_below(r, 6)) {
	case 0:
		data[at] ^= (uint8_t)(1u << random_below(r, 8));
		return size;
	case 1:
		data[at] = (uint8_t)random_next(r);
		return size;
	case 2: /* a span goes */
		memmove(data + at, data + at + n, size - at - n);
		return size - n;
	case 3: { /* a span comes again */
		const size_t from = random_below(r, size - n + 1);
		uint8_t span[SPAN_MAX];
		memcpy(span, data + from, n);
		memmove(data + at + n, data + at, size - at);
		memcpy(data + at, span, n);
		return size + n;
	}
	case 4: { /* a word stands here instead */
		const char *w = words[random_below(r, sizeof words / sizeof *words)];
		const size_t length = strlen(w), over = length < size - at ? length : size - at;
		memcpy(data + at, w, over);
		return size;
	}
	default:
		return random_below(r, 8) ? size : at;
	}
}

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

static void
run_mutant(Arena *a, const Folder *f, uint64_t seed, uint64_t i, Tally *tally)
{
	uint64_t r = seed * 0x2545f4914f6cdd1du + i * 0xd1342543de82ef95u;
	Folder changed = *f;
	random_next(&r);
	FolderFile *file = &changed.files[random_below(&r, f->n)];
	uint8_t *data = malloc(file->size + MUTATIONS * SPAN_MAX + 1);
	if (!data)
		fatal_environment("no memory for %s", file->name);
	memcpy(data, file->data, file->size);
	size_t size = file->size;
	const bool text = strstr(file->name, ".json") != NULL;
	for (uint64_t k = 0, n = 1 + random_below(&r, MUTATIONS); k < n; k++)
		size = mutate(data, size, text || size < 2000 ? size : 2000, &r);
	/* exactly as large, so that a byte behind it is seen */
	uint8_t *exact = malloc(size ? size : 1);
	if (!exact)
		fatal_environment("no memory for %s", file->name);
	memcpy(exact, data, size);
	free(data);
	file->data = exact;
	file->size = size;
	Diag *d = diag_new(a, NULL);
	diag_limit(d, 0);
	const ModelOptions o = {.trust_values = false};
	const Model *m = model_read_folder(a, d, "model", changed.files, changed.n, &o);
	if (!m == !diag_errors(d))
		abort(); /* a refusal without a message, or the other way round */
	if (m)
		touch(a, d, m, &r);
	tally->read++;
	tally->accepted += m != NULL;
	free(exact);
	arena_reset(a);
}

static void
run_worker(const Folder *f, uint64_t seed, uint64_t first, uint64_t count, uint64_t step,
	   Tally *tally)
{
	const struct itimerval hang = {.it_value.tv_sec = HANG_SECONDS};
	Arena *a = arena_new();
	for (uint64_t i = first; i < count; i += step) {
		tally->index = i;
		setitimer(ITIMER_PROF, &hang, NULL);
		run_mutant(a, f, seed, i, tally);
	}
	arena_free(a);
}

int
main(int argc, char **argv)
{
	Arena *a = arena_new();
	Folder f = {0};
	if (argc < 4 || argc > 5 || !folder_open(a, &f, argv[1])) {
		fprintf(stderr, "usage: folder_fuzz FOLDER COUNT SEED [JOBS]\n");
		return 2;
	}
	const uint64_t count = strtoull(argv[2], NULL, 10), seed = strtoull(argv[3], NULL, 10);
	int jobs = argc > 4 ? atoi(argv[4]) : 1, bad = 0;
	Tally *tallies = mmap(NULL, JOBS_MAX * sizeof *tallies, PROT_READ | PROT_WRITE,
			      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (tallies == MAP_FAILED)
		fatal_environment("no shared memory");
	if (jobs <= 0) {
		run_worker(&f, seed, count - 1, count, 1, tallies);
		printf("mutant %llu was %s\n", (unsigned long long)count - 1,
		       tallies->accepted ? "accepted" : "refused");
		return 0;
	}
	jobs = jobs > JOBS_MAX ? JOBS_MAX : jobs;
	pid_t pids[JOBS_MAX];
	for (int j = 0; j < jobs; j++) {
		pids[j] = fork();
		if (pids[j] < 0)
			fatal_environment("cannot fork");
		if (pids[j] == 0) {
			run_worker(&f, seed, (uint64_t)j, count, (uint64_t)jobs, &tallies[j]);
			_exit(0);
		}
	}
	uint64_t read = 0, accepted = 0;
	for (int j = 0; j < jobs; j++) {
		int status;
		if (waitpid(pids[j], &status, 0) < 0 || status != 0) {
			fprintf(stderr, "%s: mutant %llu of seed %llu ended the reader\n", argv[1],
				(unsigned long long)tallies[j].index, (unsigned long long)seed);
			bad++;
		}
		read += tallies[j].read;
		accepted += tallies[j].accepted;
	}
	printf("%s: %llu mutants read, %llu accepted\n", argv[1], (unsigned long long)read,
	       (unsigned long long)accepted);
	arena_free(a);
	return bad || read != count;
}
