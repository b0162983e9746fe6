/* Bits by layer: the choice against all there are. */
#include "gen/method/allocate.h"
#include "tests/random.h"

#include <math.h>
#include <setjmp.h>
#include <string.h>

#include <cmocka.h>

enum { LAYERS = 5, CASES = 200 };

static double
sum_of(const AllocateGains *g, const uint8_t *choice, uint32_t *bits)
{
	double sum = 0.0;
	*bits = 0;
	for (uint32_t l = 0; l < g->layers; l++) {
		*bits += allocate_bits[choice[l]];
		sum += g->alone[l * ALLOCATE_BITS + choice[l]];
		if (l)
			sum += g->pair[(l * ALLOCATE_BITS + choice[l - 1]) * ALLOCATE_BITS +
				       choice[l]];
	}
	return sum;
}

/* Gains of either sign, as noise makes them. */
static void
test_exhaustive(void **state)
{
	Arena *a = arena_new();
	uint64_t seed = 11;
	(void)state;
	for (int k = 0; k < CASES; k++) {
		double alone[LAYERS * ALLOCATE_BITS], pair[LAYERS * ALLOCATE_BITS * ALLOCATE_BITS];
		AllocateGains g = {1 + (uint32_t)random_below(&seed, LAYERS), alone, pair};
		const uint32_t budget = (uint32_t)random_below(&seed, 8 * g.layers + 10);
		uint8_t choice[LAYERS] = {0}, one[LAYERS];
		uint32_t bits;
		double best = INFINITY;
		for (int i = 0; i < LAYERS * ALLOCATE_BITS; i++)
			alone[i] = 1.0 + random_real(&seed);
		for (int i = 0; i < LAYERS * ALLOCATE_BITS * ALLOCATE_BITS; i++)
			pair[i] = random_real(&seed);
		for (int i = 0; i < 1 << 2 * g.layers; i++) {
			for (uint32_t l = 0; l < g.layers; l++)
				one[l] = (uint8_t)(i >> 2 * l & 3);
			const double sum = sum_of(&g, one, &bits);
			best = bits <= budget && sum < best ? sum : best;
		}
		if (budget < 2 * g.layers) {
			assert_false(allocate_least(a, &g, budget, choice));
			continue;
		}
		assert_true(allocate_least(a, &g, budget, choice));
		const double found = sum_of(&g, choice, &bits);
		assert_true(bits <= budget);
		if (!(fabs(found - best) <= 1e-12))
			fail_msg("%.17g is chosen where %.17g can be had", found, best);
		arena_reset(a);
	}
	arena_free(a);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_exhaustive)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
