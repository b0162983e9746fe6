/*
 * The launcher over the mock of OpenCL (opencl_mock.c): each buffer in turn is not to be had, then
 * a launch, a binary, the compiler. Every context is freed; the mock says what is left of it, the
 * sanitizers what is left here.
 */
#define _POSIX_C_SOURCE 200809L
#include "stories_arc.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { N_CTX = 100, N_BATCH = 5, MOST = 1000 };

static int failures;

static void
expect(const char *what, int got, int expected, const char *log, const char *words)
{
	if (got == expected && (!words || strstr(log, words)))
		return;
	failures++;
	printf("%s: %d and not %d: %s\n", what, got, expected, log);
}

/* An init with the mock as asked, then an evaluation where it succeeds. */
static int
run(const char *mock, int expected_init, int expected_eval, const char *words)
{
	const int32_t tokens[] = {1, 2, 3, 4, 5, 6, 7};
	float *logits = calloc(7 * stories_N_VOCAB, sizeof *logits);
	int32_t ids[3];
	stories_arc *m = NULL;
	setenv("OPENCL_MOCK", mock, 1);
	const int e = stories_arc_init(&m, NULL, 0, N_CTX, N_BATCH, NULL);
	expect(mock, e, expected_init, stories_arc_log(m), e ? words : NULL);
	if (!e) {
		expect(mock, stories_arc_eval(m, tokens, 7, logits, 1), expected_eval,
		       stories_arc_log(m), expected_eval ? words : NULL);
		expect("n_past", stories_arc_n_past(m), expected_eval ? 0 : 7, "", NULL);
	}
	if (!e && !expected_eval) {
		expect("top", stories_arc_eval_top(m, tokens, 7, 3, ids, NULL), 0, "", NULL);
		expect("top 0", stories_arc_eval_top(m, tokens, 1, 0, ids, NULL),
		       stories_ERROR_ARGUMENT, "", NULL);
		expect("top 65",
		       stories_arc_eval_top(m, tokens, 1, stories_ARC_TOP_MAX + 1, ids, NULL),
		       stories_ERROR_ARGUMENT, "", NULL);
		const size_t bytes = stories_arc_state_size(m);
		void *state = malloc(bytes);
		expect("save", stories_arc_state_save(m, state, bytes), 0, "", NULL);
		expect("save in less", stories_arc_state_save(m, state, bytes - 1),
		       stories_ERROR_ARGUMENT, "", NULL);
		expect("load", stories_arc_state_load(m, state, bytes), 0, "", NULL);
		expect("load less", stories_arc_state_load(m, state, bytes - 1),
		       stories_ERROR_STATE, "", NULL);
		expect("load nothing", stories_arc_state_load(m, state, 3), stories_ERROR_ARGUMENT,
		       "", NULL);
		expect("truncate", stories_arc_truncate(m, 15), stories_ERROR_ARGUMENT, "", NULL);
		expect("too many", stories_arc_eval(m, tokens, 7, NULL, 0), 0, "", NULL);
		free(state);
	}
	stories_arc_free(m);
	free(logits);
	return e;
}

int
main(void)
{
	const int memory = stories_ARC_ERROR_MEMORY;
	int n = 1;
	run("", 0, 0, NULL);
	/* Behind the last buffer nothing fails. */
	for (int e = 1; n < MOST && e; n += e != 0) {
		char mock[32];
		stories_arc *m = NULL;
		snprintf(mock, sizeof mock, "create=%d", n);
		setenv("OPENCL_MOCK", mock, 1);
		e = stories_arc_init(&m, NULL, 0, N_CTX, N_BATCH, NULL);
		if (e)
			expect(mock, e, memory, stories_arc_log(m),
			       "CL_MEM_OBJECT_ALLOCATION_FAILURE");
		stories_arc_free(m);
	}
	printf("%d buffers\n", n - 1);
	run("enqueue", 0, memory, "CL_OUT_OF_RESOURCES");
	run("binary", 0, 0, NULL);
	run("binary,build", stories_ARC_ERROR_BUILD, 0, "the mock knows no kernels");
	run("memory=1000", memory, 0, "needs");
	run("buffer=1000", memory, 0, "takes 1000 at most");
	run("no_platform", stories_ARC_ERROR_PLATFORM, 0, "install");
	run("no_lanes", stories_ARC_ERROR_DEVICE, 0, "sub-groups of 16 (8, 32)");
	stories_arc_free(NULL);
	return failures || n < 20;
}
