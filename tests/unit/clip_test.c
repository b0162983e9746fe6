/*
 * The clip ratio of rows: against the error of the outputs written out in double, on rows that the
 * contract's interpreter makes codes of.
 */
#include "gen/method/clip.h"
#include "ir/interp_impl.h"
#include "tests/random.h"

#include <math.h>
#include <setjmp.h>
#include <string.h>

#include <cmocka.h>

enum { N = 24, ROWS = 10, ROWS_OF_TEXT = 300 };

typedef struct Data {
	float x[ROWS_OF_TEXT * N], w[ROWS * N];
	double gram[N * N];
} Data;

/* Rows of which one element in `rare` is ten times as large; 0: none is. */
static void
fill(Data *d, uint64_t seed, size_t rare)
{
	memset(d, 0, sizeof *d);
	for (int i = 0; i < ROWS_OF_TEXT * N; i++)
		d->x[i] = (float)(random_real(&seed) *
				  (rare && random_below(&seed, rare) == 0 ? 10.0 : 1.0));
	for (int i = 0; i < ROWS * N; i++)
		d->w[i] = (float)random_real(&seed);
	for (int r = 0; r < ROWS; r++)
		for (int i = 0; i < N; i++)
			for (int j = 0; j < N; j++)
				d->gram[i * N + j] +=
					(double)d->w[r * N + i] * (double)d->w[r * N + j];
}

static double
error_of(const Data *d, Format f, float ratio)
{
	const size_t group = f.group ? f.group : N;
	double sum = 0.0;
	f.clip = ratio;
	for (int t = 0; t < ROWS_OF_TEXT; t++) {
		double e[N];
		for (size_t at = 0; at < N; at += group) {
			int16_t hi[N], lo[N] = {0};
			float scale, zero = 0.0f;
			interp_quantize(f, d->x + t * N + at, group, hi, lo, &scale, &zero);
			for (size_t i = 0; i < group; i++)
				e[at + i] = ((double)hi[i] - (double)zero) * (double)scale -
					    (double)d->x[t * N + at + i];
		}
		for (int r = 0; r < ROWS; r++) {
			double y = 0.0;
			for (int i = 0; i < N; i++)
				y += (double)d->w[r * N + i] * e[i];
			sum += y * y;
		}
	}
	return sum;
}

static float
searched(Arena *a, const Data *d, Format f, int jobs)
{
	const ClipProblem p = {.x = d->x,
			       .tokens = ROWS_OF_TEXT,
			       .width = N,
			       .gram = d->gram,
			       .format = f,
			       .linalg = linalg_open(a, jobs),
			       .jobs = jobs};
	return clip_search(a, &p);
}

static void
test_least(void **state)
{
	(void)state;
	const uint32_t groups[] = {0, 8};
	const ZeroPoint zeros[] = {ZERO_NONE, ZERO_INTEGER, ZERO_REAL};
	Arena *a = arena_new();
	Data *d = ARENA_NEW(a, Data);
	int clipped = 0;
	for (uint64_t seed = 1; seed <= 4; seed++)
		for (int g = 0; g < 2; g++)
			for (int z = 0; z < 3; z++) {
				const Format f = {.kind = NUMBER_INT,
						  .bits = 4,
						  .scale_bits = 32,
						  .group = groups[g],
						  .zero = (uint8_t)zeros[z]};
				int best = 0;
				fill(d, seed, seed % 2 ? 20 : 0);
				for (int c = 1; c < CLIPS; c++)
					if (error_of(d, f, clip_ratio(c)) <
					    error_of(d, f, clip_ratio(best)))
						best = c;
				assert_true(searched(a, d, f, 1) == clip_ratio(best));
				assert_true(searched(a, d, f, 3) == clip_ratio(best));
				clipped += best != 0;
			}
	/* Some of these rows ask for it, and some do not. */
	assert_in_range(clipped, 1, 23);
	arena_free(a);
}

/* Rows of many bits lose only by clipping. */
static void
test_fine_steps(void **state)
{
	(void)state;
	const Format f = {.kind = NUMBER_INT, .bits = 16, .scale_bits = 32};
	Arena *a = arena_new();
	Data *d = ARENA_NEW(a, Data);
	fill(d, 7, 20);
	assert_true(searched(a, d, f, 1) == 0.0f);
	arena_free(a);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_least),
		cmocka_unit_test(test_fine_steps),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
