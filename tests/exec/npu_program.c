/*
 * The host of stories over a mock of OpenVINO (openvino_mock.c), whose logits tell what the host
 * gave it: the same bits however tokens are split, after truncation, after a saved state, after an
 * error. Use: npu_program MODELS MOCK; every context is freed, and the mock says what is left. Both
 * files are compiled with posix_memalign as another name, so that memory can be missing here.
 */
#define _POSIX_C_SOURCE 200809L
#include "stories_npu.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { V = stories_N_VOCAB, N = 60 };

static int failures, pages_left = -1; /* calls that posix_memalign succeeds, -1: all */
static stories_npu_options options;

int
posix_memalign(void **p, size_t alignment, size_t bytes)
{
	*p = pages_left ? aligned_alloc(alignment, (bytes + alignment - 1) / alignment * alignment)
			: NULL;
	pages_left -= pages_left > 0;
	return !*p;
}

static void
expect(const char *what, int got, int expected, const char *log, const char *words)
{
	if (got == expected && (!words || strstr(log, words)))
		return;
	failures++;
	printf("%s: %d and not %d: %s\n", what, got, expected, log);
}

static void
expect_bits(const char *what, const float *a, const float *b)
{
	if (!memcmp(a, b, sizeof *a * V))
		return;
	failures++;
	printf("%s: other logits\n", what);
}

static stories_npu *
open_context(int n_ctx)
{
	stories_npu *m = NULL;
	const int e = stories_npu_init(&m, n_ctx, &options);
	expect("init", e, 0, m ? stories_npu_log(m) : "", NULL);
	return m;
}

/* tokens in calls of `step`, logits [N][V] of the calls' last, or of all. */
static void
evaluate(stories_npu *m, const int32_t *tokens, int first, int step, int all, float *logits)
{
	for (int i = first; i < N; i += step) {
		const int n = N - i < step ? N - i : step;
		const int e = stories_npu_eval(m, tokens + i, n,
					       logits + (size_t)(all ? i : i + n - 1) * V, all);
		expect("eval", e, 0, stories_npu_log(m), NULL);
	}
}

static void
check_splits(const int32_t *tokens)
{
	const int chunk = stories_npu_chunk(), steps[] = {1, 7, chunk, chunk + 1, 3 * chunk};
	float *wanted = calloc((size_t)N * V, sizeof *wanted);
	float *got = calloc((size_t)N * V, sizeof *got);
	stories_npu *m = open_context(N);
	evaluate(m, tokens, 0, N, 1, wanted);
	if (!memcmp(wanted + (N - 1) * (size_t)V, wanted + (N - 2) * (size_t)V, sizeof *got * V))
		expect("two rows are the same", 1, 0, "", NULL);
	for (size_t s = 0; s < sizeof steps / sizeof *steps; s++)
		for (int all = 0; all < 2; all++) {
			stories_npu_truncate(m, 0);
			evaluate(m, tokens, 0, steps[s], all, got);
			for (int i = 0; i < N; i++)
				if (all || (i + 1) % steps[s] == 0 || i == N - 1)
					expect_bits("a split", got + (size_t)i * V,
						    wanted + (size_t)i * V);
		}
	for (int keep = 0; keep < N; keep += 13) {
		stories_npu_truncate(m, keep);
		evaluate(m, tokens, keep, 9, 1, got);
		expect_bits("truncated", got + (N - 1) * (size_t)V, wanted + (N - 1) * (size_t)V);
	}
	expect("null logits", stories_npu_truncate(m, 30), 0, "", NULL);
	expect("null logits", stories_npu_eval(m, tokens + 30, 29, NULL, 0), 0, "", NULL);
	expect("null logits", stories_npu_eval(m, tokens + 59, 1, got, 0), 0, "", NULL);
	expect_bits("null logits", got, wanted + (N - 1) * (size_t)V);
	stories_npu_free(m);
	free(wanted);
	free(got);
}

static void
check_states(const int32_t *tokens)
{
	float *wanted = calloc((size_t)N * V, sizeof *wanted);
	float *got = calloc((size_t)N * V, sizeof *got);
	stories_npu *m = open_context(N);
	evaluate(m, tokens, 0, N, 1, wanted);
	stories_npu_truncate(m, 33);
	const size_t bytes = stories_npu_state_size(m);
	unsigned char *state = calloc(bytes, 1);
	expect("save in less", stories_npu_state_save(m, state, bytes - 1), stories_ERROR_ARGUMENT,
	       "", NULL);
	expect("save", stories_npu_state_save(m, state, bytes), 0, "", NULL);
	stories_npu_free(m);
	m = open_context(N);
	expect("load", stories_npu_state_load(m, state, bytes), 0, "", NULL);
	expect("n_past", stories_npu_n_past(m), 33, "", NULL);
	evaluate(m, tokens, 33, 5, 1, got);
	expect_bits("a loaded state", got + (N - 1) * (size_t)V, wanted + (N - 1) * (size_t)V);
	expect("load less", stories_npu_state_load(m, state, bytes - 1), stories_ERROR_STATE, "",
	       NULL);
	expect("load nothing", stories_npu_state_load(m, state, 3), stories_ERROR_ARGUMENT, "",
	       NULL);
	state[0] ^= 1;
	expect("another magic", stories_npu_state_load(m, state, bytes), stories_ERROR_STATE, "",
	       NULL);
	state[0] ^= 1;
	state[20] ^= 1;
	expect("another build", stories_npu_state_load(m, state, bytes), stories_ERROR_STATE, "",
	       NULL);
	state[20] ^= 1;
	state[11] = 0xff;
	expect("a huge n_past", stories_npu_state_load(m, state, bytes), stories_ERROR_STATE, "",
	       NULL);
	expect("n_past", stories_npu_n_past(m), N, "", NULL);
	stories_npu_free(m);
	m = open_context(20);
	state[11] = 0;
	expect("a longer state", stories_npu_state_load(m, state, bytes), stories_ERROR_STATE, "",
	       NULL);
	stories_npu_free(m);
	free(state);
	free(wanted);
	free(got);
}

static void
check_arguments(const int32_t *tokens)
{
	const int32_t bad[] = {1, V}, negative[] = {-1};
	stories_npu *m = open_context(N);
	expect("tokens", stories_npu_eval(m, bad, 2, NULL, 0), stories_ERROR_TOKEN, "", NULL);
	expect("tokens", stories_npu_eval(m, negative, 1, NULL, 0), stories_ERROR_TOKEN, "", NULL);
	expect("none", stories_npu_eval(m, tokens, 0, NULL, 0), stories_ERROR_ARGUMENT, "", NULL);
	expect("too many", stories_npu_eval(m, tokens, N + 1, NULL, 0), stories_ERROR_CONTEXT, "",
	       NULL);
	expect("fits", stories_npu_eval(m, tokens, N, NULL, 0), 0, "", NULL);
	expect("full", stories_npu_eval(m, tokens, 1, NULL, 0), stories_ERROR_CONTEXT, "", NULL);
	expect("truncate", stories_npu_truncate(m, N + 1), stories_ERROR_ARGUMENT, "", NULL);
	expect("n_past", stories_npu_n_past(m), N, "", NULL);
	stories_npu_free(m);
	expect("no place", stories_npu_init(NULL, 1, NULL), stories_ERROR_ARGUMENT, "", NULL);
	expect("no positions", stories_npu_init(&m, 0, NULL), stories_ERROR_ARGUMENT, "", NULL);
	stories_npu_free(NULL);
}

/* An init, or its evaluation, with the mock as asked. */
static void
check_error(const int32_t *tokens, const char *mock, int n_ctx, int expected_init,
	    int expected_eval, const char *words)
{
	float *logits = calloc((size_t)N * V, sizeof *logits);
	stories_npu *m = NULL;
	setenv("OPENVINO_MOCK", mock, 1);
	const int e = stories_npu_init(&m, n_ctx, &options);
	expect(mock, e, expected_init, stories_npu_log(m), e ? words : NULL);
	if (!e) {
		expect(mock, stories_npu_eval(m, tokens, N - 5, logits, 1), expected_eval,
		       stories_npu_log(m), words);
		expect("n_past of an error", stories_npu_n_past(m), 0, "", NULL);
		expect("again", stories_npu_eval(m, tokens, N - 5, logits, 1), 0, "", NULL);
	} else if (m) {
		expect("eval after", stories_npu_eval(m, tokens, 1, NULL, 0),
		       stories_ERROR_ARGUMENT, "", NULL);
	}
	stories_npu_free(m);
	setenv("OPENVINO_MOCK", "", 1);
	free(logits);
}

int
main(int argc, char **argv)
{
	int32_t tokens[N + 1];
	if (argc != 3)
		return 2;
	for (int i = 0; i <= N; i++)
		tokens[i] = (i * 37 + 11) % V;
	options.models = argv[1];
	options.openvino = argv[2];
	check_splits(tokens);
	check_states(tokens);
	check_arguments(tokens);
	check_error(tokens, "version=2025.4.1", N, stories_NPU_ERROR_OPENVINO, 0,
		    "is OpenVINO 2025.4.1-1-mock, and this program knows 2026 alone");
	check_error(tokens, "core", N, stories_NPU_ERROR_OPENVINO, 0, "cannot read plugins.xml");
	check_error(tokens, "no_device", N, stories_NPU_ERROR_DEVICE, 0,
		    "npu_prefill: Device with \"NPU\" name is not registered in the OpenVINO "
		    "Runtime; devices of this machine: CPU");
	check_error(tokens, "read", N, stories_NPU_ERROR_FILES, 0, "Unable to read the model");
	check_error(tokens, "refuse", N, stories_NPU_ERROR_COMPILE, 0,
		    "npu_prefill: Got negative output shape in Reshape");
	check_error(tokens, "memory", N, stories_NPU_ERROR_MEMORY, 0,
		    "npu_prefill: std::bad_alloc");
	check_error(tokens, "shape", N, stories_NPU_ERROR_FILES, 0,
		    "the port embeds is not of this compile");
	check_error(tokens, "type", N, stories_NPU_ERROR_FILES, 0,
		    "the port embeds is not of this compile");
	check_error(tokens, "infer=2", N, 0, stories_NPU_ERROR_RUN, "ZE_RESULT_ERROR_DEVICE_LOST");
	check_error(tokens, "infer_memory=30", N, 0, stories_NPU_ERROR_MEMORY,
		    "OUT_OF_DEVICE_MEMORY");
	for (pages_left = 0; pages_left < 9; pages_left++) {
		const int left = pages_left;
		check_error(tokens, "", N, stories_NPU_ERROR_MEMORY, 0, "this context needs 118");
		pages_left = left;
	}
	pages_left = -1;
	check_error(tokens, "", stories_npu_positions() + 1, stories_ERROR_CONTEXT, 0,
		    "65 positions are beyond the 64 of the static models");
	return failures != 0;
}
