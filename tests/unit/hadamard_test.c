/*
 * Base matrices: which orders exist, H H^T = K I, symmetry, and digests that a second program
 * computed from the definitions (fields found by absence of zero divisors, not by division).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "ir/hadamard.h"

static void
check_hadamard(const Base *b)
{
	const uint32_t n = b->order;
	bool symmetric = true;
	for (uint32_t i = 0; i < n; i++)
		for (uint32_t j = 0; j < n; j++) {
			int dot = 0;
			for (uint32_t k = 0; k < n; k++)
				dot += b->entries[i * n + k] * b->entries[j * n + k];
			assert_int_equal(dot, i == j ? (int)n : 0);
			symmetric &= b->entries[i * n + j] == b->entries[j * n + i];
		}
	assert_int_equal(b->symmetric, symmetric);
}

/* All multiples of 4 to 256 but 188 and 236, which no construction here gives. */
static void
test_orders(void **state)
{
	(void)state;
	Arena *a = arena_new();
	for (uint32_t n = 1; n <= BASE_ORDER_MAX; n++) {
		const char *why = "";
		Construction c;
		uint32_t parameter, order;
		bool none = n == 188 || n == 236 || (n % 4 && (n & (n - 1)));
		assert_int_equal(base_choose(n, &c, &parameter, &order), !none);
		if (none)
			continue;
		assert_int_equal(n % order, 0);
		assert_int_equal(n / order & (n / order - 1), 0);
		const Base *b = base_make(a, c, parameter, &why);
		assert_non_null(b);
		assert_int_equal(b->order, order);
		assert_int_equal(b->construction, c);
		assert_int_equal(b->parameter, parameter);
		assert_true(c != BASE_PALEY2 || b->symmetric);
		if (order == n)
			check_hadamard(b);
		arena_reset(a);
	}
	arena_free(a);
}

/* The widths of known models and the bases that they need. */
static void
test_choice(void **state)
{
	static const struct {
		uint32_t n, order;
		Construction construction;
		uint32_t parameter;
	} cases[] = {
		{64, 1, BASE_ONE, 1},
		{576, 36, BASE_PALEY2, 17},
		{896, 28, BASE_PALEY1, 27},
		{960, 60, BASE_PALEY1, 59},
		{1536, 12, BASE_PALEY1, 11},
		{2560, 20, BASE_PALEY1, 19},
		{4864, 76, BASE_PALEY2, 37},
		{8960, 140, BASE_PALEY1, 139},
		{11008, 172, BASE_WILLIAMSON, 172},
		{14336, 28, BASE_PALEY1, 27},
		{29568, 0, BASE_ONE, 0} /* 231 * 128 */,
		{18944, 148, BASE_PALEY2, 73},
		{6656, 52, BASE_PALEY2, 25},
		{3200, 100, BASE_PALEY2, 49},
	};
	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		Construction c;
		uint32_t parameter, order;
		bool found = base_choose(cases[i].n, &c, &parameter, &order);
		assert_int_equal(found, cases[i].order != 0);
		if (!found)
			continue;
		assert_int_equal(order, cases[i].order);
		assert_int_equal(c, cases[i].construction);
		assert_int_equal(parameter, cases[i].parameter);
	}
}

static void
test_digests(void **state)
{
	static const struct {
		Construction construction;
		uint32_t parameter;
		const char *digest;
	} pinned[] = {
		{BASE_PALEY1, 11,
		 "96c4e95b8f52c8ded50751d31b62e70c1d87a25db8917a1605dfa8e032d60b2d"},
		{BASE_PALEY1, 27,
		 "f156de3682c33f2f53ed96a3384ba895b5eec1a46064b9214c63dcebcc927901"},
		{BASE_PALEY2, 17,
		 "1a7aed2f42a8c71de2ae13e765a6df2c2023519ef899b00d5d0baa7ee26f341b"},
		{BASE_PALEY2, 25,
		 "f50db5d0f93762d36bf0327006bb3512c21dad67afe84c53c33e5c9649f27ca3"},
		{BASE_PALEY2, 49,
		 "89d400ecb6ea82c83b28372532f15618bf86caf0c2d68085fc84d97193cbcd23"},
		{BASE_WILLIAMSON, 92,
		 "7bf430bd675145171cd1491d27894628e0f7eba0fed2fd7e549d02d6e939cd7c"},
		{BASE_WILLIAMSON, 156,
		 "9158f5129ca787897a84a06da1518851cb532410a91ffb519e3e47b85c6bc6e6"},
		{BASE_DOUBLED, 24,
		 "3c0875c7f0f845f2429910879bfbb42449b4b7da624aaa7e50ed71099dd6fb43"},
	};
	(void)state;
	Arena *a = arena_new();
	for (size_t i = 0; i < sizeof pinned / sizeof *pinned; i++) {
		const char *why = "";
		char hex[65];
		const Base *b = base_make(a, pinned[i].construction, pinned[i].parameter, &why);
		assert_non_null(b);
		check_hadamard(b);
		sha256_hex(b->sha256, hex);
		assert_string_equal(hex, pinned[i].digest);
	}
	arena_free(a);
}

static void
test_doubled(void **state)
{
	(void)state;
	Arena *a = arena_new();
	for (uint32_t n = 2; n <= BASE_ORDER_MAX; n += 2) {
		const char *why = NULL;
		Construction c;
		uint32_t parameter, order;
		const Base *b = base_make(a, BASE_DOUBLED, n, &why);
		bool possible = base_choose(n / 2, &c, &parameter, &order);
		assert_int_equal(b != NULL, possible);
		assert_int_equal(why == NULL, possible);
		if (b)
			check_hadamard(b);
		arena_reset(a);
	}
	arena_free(a);
}

static void
test_refused(void **state)
{
	static const struct {
		Construction construction;
		uint32_t parameter;
		const char *why;
	} cases[] = {
		{BASE_PALEY1, 13, "paley1(13): 13 is no power of a prime with remainder 3 by 4"},
		{BASE_PALEY1, 15, "paley1(15): 15 is no power of a prime with remainder 3 by 4"},
		{BASE_PALEY2, 21, "paley2(21): 21 is no power of a prime with remainder 1 by 4"},
		{BASE_PALEY2, 1, "paley2(1): 1 is no power of a prime with remainder 1 by 4"},
		{BASE_PALEY1, 0, "paley1(0): 0 is no power of a prime with remainder 3 by 4"},
		{BASE_PALEY1, UINT32_MAX, "paley1(4294967295) has an order above 256"},
		{BASE_PALEY2, 137, "paley2(137) has an order above 256"},
		{BASE_WILLIAMSON, 188, "williamson(188): no quadruple of this order is stored"},
		{BASE_DOUBLED, 44 * 3, "doubled(132): no construction of order 66 is known here"},
		{BASE_DOUBLED, 7, "doubled(7): the order must be even and at most 256"},
		{BASE_DATA, 4, "a base matrix of this kind needs its entries"},
	};
	const int8_t bad[4] = {1, 1, 1, 2}, same[4] = {1, 1, 1, 1}, good[4] = {1, 1, 1, -1};
	(void)state;
	Arena *a = arena_new();
	const char *why = "";
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		assert_null(base_make(a, cases[i].construction, cases[i].parameter, &why));
		assert_string_equal(why, cases[i].why);
	}
	assert_null(base_data(a, 2, bad, &why));
	assert_string_equal(why, "entry 1, 1 of the base matrix is 2, not 1 or -1");
	assert_null(base_data(a, 2, same, &why));
	assert_string_equal(why, "rows 0 and 1 of the base matrix are not orthogonal");
	assert_null(base_data(a, 257, same, &why));
	assert_string_equal(why, "a base matrix has an order of 1 to 256, not 257");
	assert_non_null(base_data(a, 2, good, &why));
	arena_free(a);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_orders),	cmocka_unit_test(test_choice),
		cmocka_unit_test(test_digests), cmocka_unit_test(test_doubled),
		cmocka_unit_test(test_refused),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
