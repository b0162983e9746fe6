/* Emitted transforms of every kind, on all ISA levels, against the contract interpreter. */
#include "isa_suite.h"

#include "ir/interp_impl.h"

#include "row_transform_cases.h"
#include "row_transform_isa.h"

static const TransformIsa *const levels[] = {
#define LEVEL(suffix, name, has) &transform_isa_##suffix,
	ISA_LEVELS
#undef LEVEL
};

static void
contract_row(const Transform *t, const float *x, float *y)
{
	Value v = {.width = t->n_out, .transform = t};
	Rows in = {.f = (float *)(uintptr_t)x}, out = {.f = y};
	Step s = {.value = &v, .n = 1, .in = {&in}, .out = &out};
	interp_contract_transform(&s);
}

static void
test_cases(void **state)
{
	enum { ROOM = 48, ROWS = 3 };
	const int usable = isa_usable();
	Arena *a = arena_new();
	uint64_t seed = 5;
	(void)state;
	for (int i = 0; i < TRANSFORM_CASES; i++) {
		const int n = transform_cases[i].columns;
		const Transform *t = transform_case(a, i);
		float *x = make_floats(n), *want = make_floats(n + ROOM);
		float *got = make_floats(n + ROOM), *work = make_floats(4 * pad(n, 32));
		for (int row = 0; row < ROWS; row++) {
			draw_row(&seed, (int)t->n, n, x);
			memset(want, 0, (size_t)(n + ROOM) * sizeof *want);
			contract_row(t, x, want);
			for (int l = 0; l < COUNT(levels); l++) {
				if (!(usable >> l & 1))
					continue;
				memset(got + n, 0, ROOM * sizeof *got);
				memcpy(got, x, (size_t)n * sizeof *x);
				levels[l]->rows[i](got, work);
				same(transform_cases[i].text, levels[l]->name, i, got, want,
				     (size_t)(n + ROOM) * sizeof *got);
			}
		}
		free(x), free(want), free(got), free(work);
		arena_reset(a);
	}
	arena_free(a);
}

/* What the interpreter and the emitter share, the programs aside: the textbook's loops. */
static void
test_plain(void **state)
{
	uint64_t seed = 6;
	(void)state;
	for (int n = 2, i = CASE_h2; i <= CASE_h8192; i++) {
		n = transform_cases[i].columns;
		float *x = make_floats(n), *y = make_floats(n), *work = make_floats(4 * pad(n, 32));
		double root = sqrt((double)n);
		draw_row(&seed, n, n, x);
		memcpy(y, x, (size_t)n * sizeof *x);
		transform_isa_c.plain(n, y);
		for (int k = 0; k < n; k++)
			y[k] *= (float)(1.0 / root);
		transform_isa_c.rows[i](x, work);
		same("plain loops", "c", i, x, y, (size_t)n * sizeof *x);
		free(x), free(y), free(work);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_cases),
					   cmocka_unit_test(test_plain)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
