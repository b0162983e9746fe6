/* Speculative decoding with two models in one program: the small one guesses, the large one
 * evaluates its guesses at once and keeps those that it would have made itself. The text is the
 * large one's, token by token. */
#include "large.h"
#include "large_tokenizer.h"
#include "small.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CONTEXT = 256, BATCH = 64, TOKENS = 100, GUESSES = 4 };
/* Both are of one vocabulary, or this does not compile. */
_Static_assert((int)large_N_VOCAB == (int)small_N_VOCAB, "the models have other vocabularies");

static int32_t
best_of(const float *logits)
{
	int32_t best = 0;
	for (int32_t t = 1; t < large_N_VOCAB; t++)
		best = logits[t] > logits[best] ? t : best;
	return best;
}

/* Guesses the tokens behind `ids[0]`, which neither model has seen; ids[0..n] get them. */
static int
guess(small *m, int32_t *ids, int n, float *logits)
{
	int e = 0;
	for (int i = 0; !e && i < n; i++) {
		e = small_eval(m, &ids[i], 1, logits, 0);
		ids[i + 1] = best_of(logits);
	}
	return e;
}

/* Evaluates a token and n guesses behind it. *kept: how many of them are right; ids[0] becomes what
 * follows these. */
static int
judge(large *m, small *guesser, int32_t *ids, int n, float *rows, int *kept)
{
	const int past = large_n_past(m);
	int e = large_eval(m, ids, n + 1, rows, 1);
	if (e)
		return e;
	for (*kept = 0;
	     *kept < n && best_of(rows + (size_t)*kept * large_N_VOCAB) == ids[*kept + 1]; ++*kept)
		;
	/* The small model has not seen its own last guess. */
	if (*kept == n)
		e = small_eval(guesser, &ids[n], 1, NULL, 0);
	else
		e = small_truncate(guesser, past + 1 + *kept);
	if (!e)
		e = large_truncate(m, past + 1 + *kept);
	ids[0] = best_of(rows + (size_t)*kept * large_N_VOCAB);
	return e;
}

static void *
arena_new(size_t bytes)
{
	void *arena = aligned_alloc(64, bytes);
	if (!arena)
		exit(2);
	return arena;
}

int
main(int argc, char **argv)
{
	static float rows[(GUESSES + 1) * large_N_VOCAB];
	const char *prompt = argc > 1 ? argv[1] : "Once upon a time";
	const size_t n = strlen(prompt), scratch = large_encode_scratch(n);
	void *memory = malloc(scratch);
	char *text = malloc((size_t)large_decode_max());
	int32_t ids[CONTEXT], next[GUESSES + 1];
	large_decoder decoder = {0};
	large *m;
	small *guesser;
	const size_t large_bytes = large_arena_size(CONTEXT, BATCH, 1);
	const size_t small_bytes = small_arena_size(CONTEXT, BATCH, 1);
	int e = large_init(&m, arena_new(large_bytes), large_bytes, NULL, 0, CONTEXT, BATCH, NULL);
	if (!e)
		e = small_init(&guesser, arena_new(small_bytes), small_bytes, NULL, 0, CONTEXT,
			       BATCH, NULL);
	int count = large_add_bos() ? 1 : 0, guessed = 0, right = 0, calls = 0, shown = 0;
	ids[0] = large_bos();
	if (memory && text)
		count += (int)large_encode(prompt, n, ids + count, CONTEXT - 1, 0, memory, scratch);
	if (e || !memory || !text || count < 1 || count > CONTEXT - TOKENS - GUESSES - 1)
		return fprintf(stderr, "%s\n",
			       e ? large_strerror(e) : "no memory, or no prompt of that length"),
		       1;

	e = large_eval(m, ids, count, rows, 0);
	if (!e)
		e = small_eval(guesser, ids, count, NULL, 0);
	for (int i = 0; i < count; i++)
		large_decode(&decoder, ids[i], text);
	next[0] = best_of(rows);
	int ended = 0;
	while (!e && !ended) {
		int kept = 0;
		const int32_t first = next[0];
		e = guess(guesser, next, GUESSES, rows);
		if (!e)
			e = judge(m, guesser, next, GUESSES, rows, &kept);
		calls++, guessed += GUESSES, right += kept;
		for (int i = 0; !e && i <= kept; i++) {
			const int32_t id = i ? next[i] : first;
			ended = id == large_eos() || shown == TOKENS;
			if (ended)
				break;
			const int bytes = large_decode(&decoder, id, text);
			fwrite(text, 1, (size_t)bytes, stdout);
			shown++;
		}
	}
	puts("");
	fprintf(stderr, "%d tokens by %d evaluations; %d of %d guesses were right\n", shown, calls,
		right, guessed);
	return e != 0;
}
