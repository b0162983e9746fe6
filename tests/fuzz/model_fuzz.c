/*
 * Mutants of a model file, read from memory: model_fuzz FILE COUNT SEED [JOBS] [TOKENIZER]
 *
 * With TOKENIZER (llama2.c) both files are mutated. A file may be large: it is changed in place,
 * cut by poisoned memory, and restored. `model_fuzz FILE i+1 SEED 0 ...` runs mutant i alone.
 */
#define _GNU_SOURCE
#include "gen/model/gguf.h"
#include "gen/model/model.h"
#include "tests/fuzz/mutants.h"

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#include <sanitizer/asan_interface.h>
#endif
#endif
#ifndef ASAN_POISON_MEMORY_REGION
#define ASAN_POISON_MEMORY_REGION(p, n) ((void)(p), (void)(n))
#define ASAN_UNPOISON_MEMORY_REGION(p, n) ((void)(p), (void)(n))
#endif

enum {
	GUARD = 1 << 16,    /* unreadable bytes behind the end */
	SCAN_MAX = 4 << 20, /* files up to here have their values checked too */
	MUTATIONS = 4,
	SPAN_MAX = 64,
};

/* A private copy of a file that is changed and restored. */
typedef struct Subject {
	const char *name;
	uint8_t *data;
	size_t size;
	/* Bytes [0, head) and [table, table_end) are what most mutations aim at: the header and the
	 * tensor entries of a GGUF file. */
	size_t head, table, table_end;
	size_t shown; /* bytes that the reader gets */
	struct {
		size_t at, n;
		uint8_t before[SPAN_MAX];
	} undo[MUTATIONS];
	int n_undo;
} Subject;

/* The tensor entries end where a GGUF's data begins. */
static void
aim(Subject *s)
{
	enum { HEAD = 8192, TABLE = 1 << 14 };
	Arena *a = arena_new();
	Gguf g;
	s->head = s->size < HEAD ? s->size : HEAD;
	s->table_end = s->size;
	if (gguf_is_magic(s->data, s->size) &&
	    gguf_parse(a, diag_new(a, NULL), 0, s->data, s->size, &g))
		s->table_end = (size_t)g.cursor.at;
	s->table = s->table_end > TABLE ? s->table_end - TABLE : 0;
	arena_free(a);
}

static bool
subject_open(Subject *s, const char *path)
{
	Mapped map;
	const char *error;
	if (!file_map(path, &map, &error)) {
		fprintf(stderr, "cannot read %s: %s\n", path, error);
		return false;
	}
	s->name = path;
	s->size = s->shown = map.size;
	s->data = mmap(NULL, map.size + GUARD, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
		       -1, 0);
	if (s->data == MAP_FAILED)
		fatal_environment("no memory for %s", path);
	memcpy(s->data, map.data, map.size);
	file_unmap(&map);
	aim(s);
	ASAN_POISON_MEMORY_REGION(s->data + s->size, GUARD);
	return true;
}

static size_t
choose_place(const Subject *s, uint64_t *r)
{
	size_t window = s->size < 65536 ? s->size : 65536;
	switch (random_below(r, 8)) {
	case 0:
	case 1:
	case 2:
		return random_below(r, s->head);
	case 3:
	case 4:
		return s->table + random_below(r, s->table_end - s->table);
	case 5:
	case 6:
		return random_below(r, window);
	default:
		return random_below(r, s->size);
	}
}

static uint64_t
choose_number(const Subject *s, uint64_t *r)
{
	static const uint64_t numbers[] = {
		0,	    1,		2,	    3,	       4,	   8,
		9,	    12,		13,	    32,	       127,	   255,
		256,	    65535,	65536,	    1 << 20,   INT32_MAX,  1ull << 31,
		UINT32_MAX, 1ull << 32, 1ull << 61, INT64_MAX, 1ull << 63, UINT64_MAX};
	uint64_t n = random_below(r, 8)
			     ? numbers[random_below(r, sizeof numbers / sizeof numbers[0])]
			     : s->size;
	return n + random_below(r, 3) - 1;
}

static void
mutate_once(Subject *s, uint64_t *r)
{
	if (s->size == 0)
		return;
	size_t at = choose_place(s, r), n = 1;
	size_t room = s->size - at < SPAN_MAX ? s->size - at : SPAN_MAX;
	uint64_t kind = random_below(r, 8), number = choose_number(s, r);
	uint8_t bytes[SPAN_MAX];
	memcpy(bytes, s->data + at, room);
	switch (kind) {
	case 0:
	case 1:
	case 2:
		bytes[0] ^= (uint8_t)(1u << random_below(r, 8));
		break;
	case 3:
		bytes[0] = (uint8_t)random_next(r);
		break;
	case 4:
		n = room < 4 ? room : 4;
		memcpy(bytes, &number, n);
		break;
	case 5:
		n = room < 8 ? room : 8;
		memcpy(bytes, &number, n);
		break;
	case 6:
		n = 1 + random_below(r, room);
		memcpy(bytes, s->data + random_below(r, s->size - n + 1), n);
		break;
	default:
		s->shown = at;
		return;
	}
	s->undo[s->n_undo].at = at;
	s->undo[s->n_undo].n = n;
	memcpy(s->undo[s->n_undo++].before, s->data + at, n);
	memcpy(s->data + at, bytes, n);
}

static void
mutate(Subject *s, uint64_t *r)
{
	size_t n = 1 + random_below(r, MUTATIONS);
	for (size_t i = 0; i < n; i++)
		mutate_once(s, r);
	ASAN_POISON_MEMORY_REGION(s->data + s->shown,
				  s->size - s->shown < GUARD ? s->size - s->shown : GUARD);
}

static void
restore(Subject *s)
{
	ASAN_UNPOISON_MEMORY_REGION(s->data + s->shown,
				    s->size - s->shown < GUARD ? s->size - s->shown : GUARD);
	s->shown = s->size;
	while (s->n_undo > 0) {
		s->n_undo--;
		memcpy(s->data + s->undo[s->n_undo].at, s->undo[s->n_undo].before,
		       s->undo[s->n_undo].n);
	}
}

/* What an accepted model promises: every tensor's ends, one row, one table row, every token. */
static uint64_t
touch(Arena *a, const Model *m, uint64_t *r)
{
	enum { ROW_MAX = 65536 };
	float *row = ARENA_ARRAY(a, float, ROW_MAX);
	uint64_t sum = 0;
	for (int role = 0; role < ROLE_COUNT; role++)
		for (uint32_t l = 0; l < model_count(m, role); l++) {
			const Tensor *t = m->tensors[role][l];
			uint32_t rows, columns;
			if (!t && (role_optional[role] || m->n_expert))
				continue;
			model_shape(m, (Role)role, &rows, &columns);
			if (t->rows != rows || t->columns != columns)
				abort();
			sum += t->data[0] + t->data[t->rows * t->row_bytes - 1];
		}
	const Tensor *t = model_tensor(m, (Role)random_below(r, ROLE_COUNT), 0);
	t = t ? t : model_tensor(m, ROLE_EMBED, 0);
	tensor_row_f32(t, (uint32_t)random_below(r, t->rows), row);
	if (m->head_dim <= ROW_MAX)
		rope_table(m, m->n_ctx - 1, row, row + m->head_dim / 2);
	const Tokenizer *k = &m->tokenizer;
	for (uint32_t i = 0; i < k->n_tokens; i++)
		sum += (uint8_t)k->tokens[i].data[k->tokens[i].size - 1];
	for (uint32_t i = 0; i < k->n_merges; i++)
		sum += (uint8_t)k->merges[i].data[k->merges[i].size - 1];
	return sum;
}

typedef struct Subjects {
	Subject model, tokenizer;
	bool two;
} Subjects;

static bool
run_mutant(Arena *a, void *subjects, uint64_t *r)
{
	Subjects *s = subjects;
	mutate(s->two && random_below(r, 2) ? &s->tokenizer : &s->model, r);
	ModelOptions o = {.trust_values = s->model.size > SCAN_MAX};
	if (s->two) {
		o.tokenizer_data = s->tokenizer.data;
		o.tokenizer_size = s->tokenizer.shown;
	}
	Diag *d = diag_new(a, NULL);
	diag_limit(d, 0);
	const Model *m = model_read_memory(a, d, s->model.name, s->model.data, s->model.shown, &o);
	if (!m == !diag_errors(d))
		abort(); /* a refusal without a message, or the other way round */
	if (m && touch(a, m, r) == UINT64_MAX)
		abort();
	restore(&s->model);
	if (s->two)
		restore(&s->tokenizer);
	return m != NULL;
}

int
main(int argc, char **argv)
{
	if (argc < 4 || argc > 6) {
		fprintf(stderr, "usage: model_fuzz FILE COUNT SEED [JOBS] [TOKENIZER]\n");
		return 2;
	}
	Subjects s = {.two = argc > 5};
	if (!subject_open(&s.model, argv[1]) || (s.two && !subject_open(&s.tokenizer, argv[5])))
		return 2;
	return mutants_run(argv[1], run_mutant, &s, argc > 4 ? 3 : 2, argv + 2);
}
