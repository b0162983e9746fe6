/*
 * Codes of small matrices: error correction against its definition with explicit inverses, rules
 * against each other by the loss that each makes small, any number of threads.
 */
#include "gen/method/round.h"
#include "tests/random.h"

#include <math.h>
#include <setjmp.h>
#include <string.h>

#include <cmocka.h>

enum { N = 48, ROWS = 40, TOKENS = 300 };

typedef struct Data {
	Arena *a;
	const Linalg *linalg;
	float w[ROWS * N];
	double h[N * N], g[N * N]; /* x~^T x~, x~^T x */
} Data;

/* Correlated inputs with a few large channels; what the rounded prefix gives is smaller, and noisy.
 */
static Data *
data_new(uint64_t seed)
{
	Arena *a = arena_new();
	Data *d = ARENA_NEW(a, Data);
	d->a = a;
	d->linalg = linalg_open(a, 1);
	for (int i = 0; i < ROWS * N; i++)
		d->w[i] = (float)(random_real(&seed) + random_real(&seed) * random_real(&seed));
	for (int t = 0; t < TOKENS; t++) {
		double x[N], y[N];
		for (int i = 0; i < N; i++) {
			x[i] = random_real(&seed) + (i ? 0.7 * x[i - 1] : 0.0);
			y[i] = (0.8 * x[i] + 0.1 * random_real(&seed)) * (i % 13 == 5 ? 6.0 : 1.0);
			x[i] *= i % 13 == 5 ? 6.0 : 1.0;
			x[i] = i == 7 ? 0.0 : x[i];
			y[i] = i == 7 ? 0.0 : y[i];
		}
		for (int i = 0; i < N; i++)
			for (int j = 0; j < N; j++) {
				d->h[i * N + j] += y[i] * y[j] / TOKENS;
				d->g[i * N + j] += y[i] * x[j] / TOKENS;
			}
	}
	return d;
}

static Format
format_of(int bits, uint32_t group, bool signs, ZeroPoint zero)
{
	return (Format){.kind = NUMBER_INT,
			.bits = (uint8_t)bits,
			.scale_bits = 16,
			.group = group,
			.zero = (uint8_t)zero,
			.signed_scale = signs};
}

static RoundResult
rounded(const Data *d, Rounding how, Format f, bool cross, int jobs)
{
	RoundResult r;
	const char *why = rounding_fault(d->a, &how, f);
	const RoundProblem p = {.rows = ROWS,
				.columns = N,
				.w = d->w,
				.h = d->h,
				.g = cross ? d->g : NULL,
				.format = f,
				.how = &how,
				.linalg = d->linalg,
				.jobs = jobs};
	if (why)
		fail_msg("%s", why);
	if (!round_weights(d->a, &p, &r, &why))
		fail_msg("%s", why);
	return r;
}

/* |X w - X~ w'|^2 of all rows, without its constant. */
static double
loss_cross(const Data *d, const float *w)
{
	double sum = 0.0;
	for (int r = 0; r < ROWS; r++)
		for (int i = 0; i < N; i++)
			for (int j = 0; j < N; j++)
				sum += (double)w[r * N + i] *
				       (d->h[i * N + j] * (double)w[r * N + j] -
					2.0 * d->g[i * N + j] * (double)d->w[r * N + j]);
	return sum;
}

/* ---- definitions ---------------------------------------------------------------------------- */

/* x = a^-1 b of n unknowns by elimination. */
static void
solve(int n, const double *a, const double *b, double *x)
{
	double m[N * (N + 1)];
	for (int i = 0; i < n; i++) {
		memcpy(m + i * (n + 1), a + i * n, (size_t)n * sizeof *m);
		m[i * (n + 1) + n] = b[i];
	}
	for (int c = 0; c < n; c++)
		for (int i = c + 1; i < n; i++) {
			const double f = m[i * (n + 1) + c] / m[c * (n + 1) + c];
			for (int j = c; j <= n; j++)
				m[i * (n + 1) + j] -= f * m[c * (n + 1) + j];
		}
	for (int i = n; i-- > 0;) {
		x[i] = m[i * (n + 1) + n];
		for (int j = i + 1; j < n; j++)
			x[i] -= m[i * (n + 1) + j] * x[j];
		x[i] /= m[i * (n + 1) + i];
	}
}

/* After each code all later columns become what makes the loss least: what GPTQ and Qronos are
 * (autoround_gptq.md section 2). target [N]: what (H + damp I) times the weights should be. */
static void
by_definition(const double *h, double damp, const double *target, float scale, int offset, int top,
	      double *v, uint8_t *codes)
{
	double done[N];
	for (int i = 0; i < N; i++) {
		const int rest = N - i - 1;
		double a[N * N], b[N];
		const double x = ceil(fabs(v[i] / (double)scale) - 0.5);
		double code = (v[i] < 0.0 ? -x : x) + offset;
		code = fmin(fmax(code, 0.0), top);
		codes[i] = (uint8_t)code;
		done[i] = (double)scale * (code - offset);
		for (int r = 0; r < rest; r++) {
			b[r] = target[i + 1 + r];
			for (int c = 0; c <= i; c++)
				b[r] -= h[(i + 1 + r) * N + c] * done[c];
			for (int c = 0; c < rest; c++)
				a[r * rest + c] = h[(i + 1 + r) * N + i + 1 + c] + (r == c) * damp;
		}
		if (rest)
			solve(rest, a, b, v + i + 1);
	}
}

static double
damping(const Data *d, double share)
{
	double mean = 0.0;
	for (int i = 0; i < N; i++)
		mean += d->h[i * N + i];
	/* Column 7 is dead. */
	return share * (mean + mean / N) / N;
}

static void
compare_rows(const Data *d, RoundRule rule, double held)
{
	const Rounding how = {.scale = SCALE_ABSMAX, .round = rule, .damp = 0.01, .hold = held};
	const Format f = format_of(3, 0, false, ZERO_NONE);
	const RoundResult r = rounded(d, how, f, rule != ROUND_GPTQ, 1);
	double h[N * N], mean = 0.0;
	const double damp = damping(d, 0.01), hold = damping(d, held);
	memcpy(h, d->h, sizeof h);
	for (int i = 0; i < N; i++)
		mean += d->h[i * N + i] / N;
	h[7 * N + 7] = mean;
	for (int k = 0; k < ROWS; k++) {
		double v[N], target[N], w[N];
		uint8_t codes[N];
		for (int i = 0; i < N; i++)
			w[i] = i == 7 ? 0.0 : (double)d->w[k * N + i];
		for (int i = 0; i < N; i++) {
			target[i] = (rule == ROUND_GPTQ ? damp : hold) * w[i];
			for (int j = 0; j < N; j++)
				target[i] += (rule == ROUND_GPTQ ? h : d->g)[i * N + j] * w[j];
		}
		memcpy(v, w, sizeof v);
		if (rule == ROUND_QRONOS) {
			v[0] = target[0] - hold * w[0];
			for (int j = 1; j < N; j++)
				v[0] -= w[j] * h[j];
			v[0] /= h[0];
		}
		if (rule == ROUND_TWIN) {
			double a[N * N];
			for (int i = 0; i < N * N; i++)
				a[i] = h[i] + (i % (N + 1) ? 0.0 : hold);
			solve(N, a, target, v);
			for (int i = 0; i < N; i++) {
				target[i] = damp * v[i];
				for (int j = 0; j < N; j++)
					target[i] += h[i * N + j] * v[j];
			}
		}
		by_definition(h, damp, target, r.scales[k], 4, 7, v, codes);
		assert_memory_equal(codes, r.codes + k * N, N);
	}
	assert_int_equal(r.dead, 1);
}

static void
test_definitions(void **state)
{
	Data *d = data_new(1);
	(void)state;
	compare_rows(d, ROUND_GPTQ, 0.01);
	compare_rows(d, ROUND_QRONOS, 0.01);
	compare_rows(d, ROUND_TWIN, 0.01);
	compare_rows(d, ROUND_TWIN, 0.3);
	arena_free(d->a);
}

/* ---- rules against each other --------------------------------------------------------------- */

static void
test_rules(void **state)
{
	Data *d = data_new(2);
	const Format formats[] = {
		format_of(2, 0, false, ZERO_NONE), format_of(2, 16, true, ZERO_NONE),
		format_of(3, 20, false, ZERO_INTEGER), format_of(4, 16, false, ZERO_NONE)};
	(void)state;
	for (size_t k = 0; k < sizeof formats / sizeof *formats; k++) {
		const Format f = formats[k];
		Rounding how = {.scale = SCALE_PISO, .damp = 0.01, .mse_steps = 20, .sweeps = 20};
		how.curvature = CURVATURE_DIAGONAL;
		const double nearest = rounded(d, how, f, false, 1).error;
		how.curvature = CURVATURE_DENSE;
		const double dense = rounded(d, how, f, false, 1).error;
		assert_true(f.group || dense < nearest);
		how.groups = GROUPS_IN_TURN;
		assert_true(rounded(d, how, f, false, 1).error <= dense * (1.0 + 1e-9));
		how.groups = GROUPS_ALONE;
		how.curvature = CURVATURE_PIVOT;
		how.round = ROUND_GPTQ;
		how.order = ORDER_GROUPS;
		const RoundResult alone = rounded(d, how, f, false, 1);
		assert_true(alone.error < 0.8 * nearest);
		how.refit = true;
		assert_true(rounded(d, how, f, false, 1).error <= alone.error);
		how.polish = POLISH_DESCENT;
		assert_true(rounded(d, how, f, false, 1).error < alone.error);
		how.refit = false;
		how.polish = POLISH_AUTOROUND;
		assert_true(rounded(d, how, f, false, 1).error <= alone.error);
		how.polish = POLISH_NONE;
		how.groups = GROUPS_AS_ROUNDED;
		assert_true(rounded(d, how, f, false, 1).error < 0.8 * nearest);
	}
	arena_free(d->a);
}

/* With inputs of a rounded prefix the corrected rules are nearer to the wanted outputs. */
static void
test_cross(void **state)
{
	Data *d = data_new(3);
	const Format f = format_of(3, 0, true, ZERO_NONE);
	Rounding how = {.scale = SCALE_PISO,
			.curvature = CURVATURE_DIAGONAL,
			.round = ROUND_GPTQ,
			.order = ORDER_STATIC,
			.damp = 0.01};
	(void)state;
	const double gptq = loss_cross(d, rounded(d, how, f, true, 1).w);
	how.round = ROUND_TWIN;
	assert_true(loss_cross(d, rounded(d, how, f, true, 1).w) < gptq);
	how.round = ROUND_QRONOS;
	assert_true(loss_cross(d, rounded(d, how, f, true, 1).w) < gptq);
	/* Scales of the weights as they are, or of those that make good what the inputs lost. */
	how.mse_steps = 20;
	for (int i = 0; i < 4; i++) {
		const RoundRule rule = i % 2 ? ROUND_QRONOS : ROUND_TWIN;
		how.scale = i / 2 ? SCALE_PISO : SCALE_MSE;
		how.round = ROUND_GPTQ;
		const RoundResult own = rounded(d, how, f, true, 1);
		how.round = rule;
		how.fit = FIT_OWN;
		const RoundResult same = rounded(d, how, f, true, 1);
		assert_memory_equal(same.scales, own.scales, ROWS * sizeof(float));
		how.fit = FIT_CORRECTED;
		const RoundResult corrected = rounded(d, how, f, true, 1);
		assert_memory_not_equal(corrected.scales, own.scales, ROWS * sizeof(float));
		assert_true(i / 2 || loss_cross(d, corrected.w) < loss_cross(d, same.w));
	}
	/* Without a cross term both are GPTQ. */
	how.round = ROUND_GPTQ;
	const RoundResult one = rounded(d, how, f, false, 1);
	for (int rule = ROUND_QRONOS; rule <= ROUND_TWIN; rule++) {
		how.round = (RoundRule)rule;
		assert_memory_equal(rounded(d, how, f, false, 1).codes, one.codes, ROWS * N);
	}
	arena_free(d->a);
}

/* What codes stand for, in every rule's result, and the same for any number of threads. */
static void
test_results(void **state)
{
	Data *d = data_new(4);
	(void)state;
	for (int rule = 0; rule < ROUND_RULES; rule++)
		for (int zero = 0; zero < 2; zero++) {
			const Format f = format_of(4, 20, !zero, zero ? ZERO_INTEGER : ZERO_NONE);
			Rounding how = {.scale = SCALE_MSE,
					.round = (RoundRule)rule,
					.order = ORDER_GROUPS,
					.damp = 0.01,
					.mse_steps = 20};
			const RoundResult r = rounded(d, how, f, true, 1);
			const RoundResult same = rounded(d, how, f, true, 3);
			assert_memory_equal(r.codes, same.codes, ROWS * N);
			assert_memory_equal(r.scales, same.scales, ROWS * 3 * sizeof(float));
			for (int i = 0; i < ROWS * N; i++) {
				const int at = i / N * 3 + i % N / 20;
				const float z = r.zeros ? r.zeros[at] : 8.0f;
				assert_true(r.w[i] == r.scales[at] * ((float)r.codes[i] - z));
				assert_true(r.codes[i] < 16);
			}
		}
	arena_free(d->a);
}

static void
test_refusals(void **state)
{
	Data *d = data_new(5);
	const Format f = format_of(4, 16, false, ZERO_NONE);
	Rounding how = {.scale = SCALE_ABSMAX, .round = ROUND_GPTQ, .damp = 0.01};
	RoundResult r;
	const char *why = NULL;
	RoundProblem p = {.rows = ROWS,
			  .columns = N,
			  .w = d->w,
			  .h = d->h,
			  .format = f,
			  .how = &how,
			  .linalg = d->linalg,
			  .jobs = 1};
	(void)state;
	d->h[5 * N + 5] = NAN;
	assert_false(round_weights(d->a, &p, &r, &why));
	assert_non_null(strstr(why, "not finite"));
	how.round = ROUND_RTN;
	assert_false(round_weights(d->a, &p, &r, &why));
	/* Nothing reaches the matrix at all. */
	memset(d->h, 0, sizeof d->h);
	how.round = ROUND_GPTQ;
	assert_true(round_weights(d->a, &p, &r, &why));
	assert_int_equal(r.dead, N);
	for (int i = 0; i < ROWS * N; i++)
		assert_int_equal(r.codes[i], 8);
	/* Not positive definite, but made so. */
	for (int i = 0; i < N; i++)
		for (int j = 0; j < N; j++)
			d->h[i * N + j] = 1.0;
	assert_true(round_weights(d->a, &p, &r, &why));
	how.round = ROUND_RTN;
	how.groups = GROUPS_AS_ROUNDED;
	assert_non_null(rounding_fault(d->a, &how, f));
	arena_free(d->a);
}

/* Scales of a share of the range, as their definition says: ruquant.md 2.8. */
static void
test_clip(void **state)
{
	const Format formats[] = {format_of(4, 0, false, ZERO_INTEGER),
				  format_of(4, 0, false, ZERO_NONE),
				  format_of(4, 16, true, ZERO_NONE)};
	const Rounding how = {.scale = SCALE_ABSMAX, .round = ROUND_RTN, .clip = 0.8};
	Data *d = data_new(6);
	(void)state;
	for (int k = 0; k < ROWS; k++)
		d->w[k * N + 7] = 0.0f; /* nothing reads it */
	for (size_t f = 0; f < sizeof formats / sizeof *formats; f++) {
		const RoundResult r = rounded(d, how, formats[f], false, 1);
		const int width = formats[f].group ? (int)formats[f].group : N, groups = N / width;
		for (int g = 0; g < ROWS * groups; g++) {
			const float *w = d->w + g * width;
			double low = 0.0, high = 0.0, zero = 8.0, scale;
			for (int i = 0; i < width; i++) {
				low = (double)w[i] < low ? (double)w[i] : low;
				high = (double)w[i] > high ? (double)w[i] : high;
			}
			const double peak = high > -low ? high : low;
			scale = 0.8 * (f == 0 ? (high - low) / 15.0 : fabs(peak) / 7.0);
			if (formats[f].signed_scale)
				scale = 0.8 * peak / -8.0;
			if (!(fabs(scale / (double)r.scales[g] - 1.0) < 1e-3))
				fail_msg("a scale of %g, not %g", (double)r.scales[g], scale);
			if (formats[f].zero)
				zero = rint(-0.8 * low / (double)r.scales[g]);
			for (int i = 0; i < width; i++) {
				double code = rint((double)(w[i] / r.scales[g])) + zero;
				code = code < 0.0 ? 0.0 : code > 15.0 ? 15.0 : code;
				assert_int_equal(r.codes[g * width + i], (int)code);
			}
		}
	}
	Rounding other = how;
	other.scale = SCALE_PISO;
	assert_non_null(strstr(rounding_fault(d->a, &other, formats[1]), "largest weight"));
	arena_free(d->a);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_definitions), cmocka_unit_test(test_rules),
		cmocka_unit_test(test_cross),	    cmocka_unit_test(test_results),
		cmocka_unit_test(test_refusals),    cmocka_unit_test(test_clip),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
