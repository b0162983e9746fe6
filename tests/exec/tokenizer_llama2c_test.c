/*
 * stories260K's tokenizer, tok512.bin: ids of hard texts are llama2.c's, those of stories are the
 * plain reference's; decoding gives the text back. Needs LATHE_SHARED.
 */
#include "tests/exec/tokenizer_harness.h"

enum { CASES = 2000, PIECE = 400, PIECES = 40 };

typedef struct Run {
	Harness *h;
	const Tokenizer *t;
} Run;

static Run
run_new(const char *flags)
{
	Run r = {.h = harness_new()};
	const char *data = arena_printf(r.h->arena, "%s/data", getenv("LATHE_SHARED"));
	ModelOptions o = {.tokenizer = arena_printf(r.h->arena, "%s/tok512.bin", data)};
	Model *m = model_read(r.h->arena, r.h->diag,
			      arena_printf(r.h->arena, "%s/stories260K.bin", data), &o);

	assert_non_null(m);
	assert_int_equal(m->tokenizer.kind, TOKENIZER_SCORED);
	r.t = &m->tokenizer;
	harness_build(r.h, r.t, flags);
	return r;
}

static void
hard_texts(void **state)
{
	static Golden golden[CASES];
	Run run = run_new(sanitized);
	uint32_t n = golden_read(run.h->arena, "tests/exec/tokenizer_llama2c.txt", golden, CASES);

	(void)state;
	for (uint32_t i = 0; i < n; i++)
		harness_case(run.h, DECODE, golden[i].text.data, golden[i].text.size);
	Result *r = harness_run(run.h);
	for (uint32_t i = 0; i < n; i++) {
		const Golden *g = &golden[i];
		check_ids(&r[i], g->ids[0], g->n[0], g->text.data, g->text.size);
		check_decoded(run.h->arena, &r[i], bytes_of_scored, run.t);
	}
	assert_true(n > 800);
	harness_free(run.h);
}

static void
stories(void **state)
{
	Run run = run_new("-O2");
	size_t size;

	(void)state;
	const char *path =
		arena_printf(run.h->arena, "%s/data/calibration.txt", getenv("LATHE_SHARED"));
	const char *text = harness_file(run.h, path, &size);
	assert_true(size > (size_t)PIECE * PIECES);
	harness_case(run.h, TIME, text, size);
	for (size_t i = 0; i < PIECES; i++)
		harness_case(run.h, 0, text + i * PIECE, PIECE);
	Result *r = harness_run(run.h);
	assert_true(same(r[0].text[0], text, size));
	for (size_t i = 0; i < PIECES; i++) {
		int32_t ids[PIECE + 1];
		Bytes piece = {text + i * PIECE, PIECE};
		int32_t n = reference_scored(run.t, piece, ids);
		check_ids(&r[i + 1], ids, n, piece.data, piece.size);
		assert_true(n < PIECE);
	}
	assert_true(strtod(harness_read(run.h, "times", &size), NULL) < 1);
	harness_free(run.h);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(hard_texts), cmocka_unit_test(stories)};

	if (!getenv("LATHE_SHARED")) {
		print_message("skipped: no LATHE_SHARED, so no tok512.bin\n");
		return 77;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
