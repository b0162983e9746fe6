/* Continues a text with the library of an artefact: no runner, one thread, greedy. */
#include "smollm2.h"
#include "smollm2_tokenizer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CONTEXT = 512, BATCH = 64, TOKENS = 48 };

int
main(int argc, char **argv)
{
	const char *prompt = argc > 1 ? argv[1] : "Once upon a time";
	size_t n = strlen(prompt), scratch = smollm2_encode_scratch(n);
	size_t bytes = smollm2_arena_size(CONTEXT, BATCH, 1);
	void *arena = aligned_alloc(64, (bytes + 63) / 64 * 64), *memory = malloc(scratch);
	float *logits = malloc(sizeof(float) * smollm2_N_VOCAB);
	char *text = malloc((size_t)smollm2_decode_max());
	if (!arena || !memory || !logits || !text)
		return 2;

	int32_t ids[CONTEXT];
	long count = smollm2_encode(prompt, n, ids, CONTEXT - TOKENS, 0, memory, scratch);
	smollm2 *m;
	int e = smollm2_init(&m, arena, bytes, NULL, 0, CONTEXT, BATCH, NULL);
	if (!e && (count < 1 || count > CONTEXT - TOKENS))
		e = smollm2_ERROR_ARGUMENT;
	if (!e)
		e = smollm2_eval(m, ids, (int)count, logits, 0);

	smollm2_decoder decoder = {0};
	for (int i = 0; !e && i < TOKENS; i++) {
		int32_t best = 0;
		for (int32_t t = 1; t < smollm2_N_VOCAB; t++)
			best = logits[t] > logits[best] ? t : best;
		if (best == smollm2_eos())
			break;
		fwrite(text, 1, (size_t)smollm2_decode(&decoder, best, text), stdout);
		e = smollm2_eval(m, &best, 1, logits, 0);
	}
	puts("");
	if (e)
		fprintf(stderr, "%s\n", smollm2_strerror(e));
	free(text), free(logits), free(memory), free(arena);
	return e != 0;
}
