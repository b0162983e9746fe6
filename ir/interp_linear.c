/*
 * Linears of the bit contract (ir/README.md): integer and float weights, integer and float
 * activations, in the groups and the K split that the formats say.
 */
#include <math.h>
#include <string.h>

#include "interp_impl.h"

/* The shape of one row's sum, the same for every row. */
typedef struct Sum {
	Format weight, activation;
	int columns;
	int weight_group, act_group; /* columns a scale; the whole row where the format says row */
	int unit;		     /* columns a sum of codes */
	int units;
	int runs, run; /* the K split: runs of `run` columns */
	int tokens;
	bool grouped; /* a scale a group of activations */
	const Rows *in;
} Sum;

static int
min_int(int a, int b)
{
	return a < b ? a : b;
}

/* Columns that share a scale in a row of k. */
static int
group_columns(Format f, int k)
{
	return f.group > 0 && f.group < (uint32_t)k ? (int)f.group : k;
}

static Sum
sum_of(const Step *s)
{
	int k = (int)s->source.columns;
	Sum u = {.weight = step_weight_format(s), .columns = k, .tokens = s->n, .in = s->in[0]};
	u.activation = func_value(s->func, s->value->operands[0])->format;
	u.weight_group = group_columns(u.weight, k);
	u.act_group = group_columns(u.activation, k);
	u.grouped = u.activation.group != 0;
	/* Float weights have no sums of their own, so a run may end anywhere. */
	u.unit = format_is_float(u.weight) ? 1 : min_int(u.weight_group, u.act_group);
	u.units = (k + u.unit - 1) / u.unit;
	u.runs = contract_split(k, u.weight, u.activation);
	u.run = k / u.runs;
	/* A unit has one weight scale and one activation scale, a run whole units. */
	INVARIANT(u.weight_group == k || u.weight_group % u.unit == 0);
	INVARIANT(u.act_group == k || u.act_group % u.unit == 0);
	INVARIANT(u.run * u.runs == k && (u.runs == 1 || u.run % u.unit == 0));
	return u;
}

/* ---- integer weights, integer activations -----------------------------------------------------
 */

/* A of each token and unit: the sum of its codes. */
static void
code_sums(const Sum *u, int32_t *sums)
{
	for (int m = 0; m < u->tokens; m++) {
		for (int g = 0; g < u->units; g++) {
			int from = g * u->unit;
			int end = min_int(from + u->unit, u->columns);
			size_t at = (size_t)m * (size_t)u->columns;
			int32_t a = 0;
			for (int k = from; k < end; k++) {
				int32_t c = u->in->hi[at + (size_t)k];
				if (u->activation.bits > 8)
					c = 256 * c + u->in->lo[at + (size_t)k];
				a += c;
			}
			sums[m * u->units + g] = a;
		}
	}
}

static int32_t
dot_codes(const int16_t *a, const int16_t *b, int n)
{
	int32_t sum = 0;
	int i = 0;
	/* Exact in any order; whole words of 16 are what compilers make vectors of. */
	for (; i + 16 <= n; i += 16)
		for (int j = 0; j < 16; j++)
			sum += (int32_t)a[i + j] * b[i + j];
	for (; i < n; i++)
		sum += (int32_t)a[i] * b[i];
	return sum;
}

/* The row times token m. */
static float
row_codes(const Sum *u, const TaskScratch *w, const int32_t *sums, int m)
{
	const int16_t *hi = u->in->hi + (size_t)m * (size_t)u->columns;
	const int16_t *lo = u->in->lo + (size_t)m * (size_t)u->columns;
	const float *scales = u->in->scales + m * u->in->n_scales;
	const float *zeros = u->in->zeros + m * u->in->n_scales;
	bool wide = u->activation.bits > 8;
	float total = 0.0f;
	for (int r = 0; r < u->runs; r++) {
		float acc = 0.0f;
		for (int k = r * u->run; k < (r + 1) * u->run; k += u->unit) {
			int n = min_int(u->unit, u->columns - k);
			int g = k / u->weight_group;
			float t = (float)dot_codes(w->codes + k, hi + k, n);
			if (wide)
				t = fmaf(t, 256.0f, (float)dot_codes(w->codes + k, lo + k, n));
			float a = (float)sums[m * u->units + k / u->unit];
			if (u->grouped) {
				t = t * scales[k / u->act_group];
				a = a * scales[k / u->act_group];
			}
			acc = fmaf(t, w->row.scales[g], acc);
			if (u->weight.minimum)
				acc = fmaf(a, w->row.minima[g], acc);
			if (u->grouped && u->activation.zero) {
				const int i = k / u->act_group;
				acc = fmaf(-(zeros[i] * scales[i]), w->row_sums[i], acc);
			}
		}
		total = r ? total + acc : acc;
	}
	if (u->grouped)
		return total;
	if (u->activation.zero)
		total = fmaf(-zeros[0], w->row_sums[0], total);
	return scales[0] * total;
}

static void
rows_codes(Step *s, TaskScratch *w, uint32_t first, uint32_t end)
{
	Sum u = sum_of(s);
	for (uint32_t row = first; row < end; row++) {
		weight_source_row(&s->source, row, u.weight, &w->row);
		weight_row_centre(&w->row, u.weight, u.columns, w->codes);
		if (u.activation.zero)
			weight_row_sums(&w->row, u.weight, u.columns, u.act_group, w->row_sums);
		for (int m = 0; m < u.tokens; m++)
			s->out->f[(size_t)m * s->source.rows + row] =
				row_codes(&u, w, s->interp->code_sums, m);
	}
}

/* ---- float activations: tokens side by side, each in its own k order ---------------------------
 */

/* x as [columns][tokens]. */
static void
transpose(const Sum *u, float *x)
{
	for (int m = 0; m < u->tokens; m++)
		for (int k = 0; k < u->columns; k++)
			x[k * u->tokens + m] = u->in->f[(size_t)m * (size_t)u->columns + (size_t)k];
}

/* A of each weight group and token: x_0 + x_1 + ... */
static void
x_sums(const Sum *u, const float *x, float *sums)
{
	for (int g = 0; g < u->units; g++) {
		float *a = sums + g * u->tokens;
		int end = min_int((g + 1) * u->unit, u->columns);
		memset(a, 0, (size_t)u->tokens * sizeof *a);
		for (int k = g * u->unit; k < end; k++)
			for (int m = 0; m < u->tokens; m++)
				a[m] = a[m] + x[k * u->tokens + m];
	}
}

static void
fma_row(float w, const float *x, float *p, int n)
{
	for (int m = 0; m < n; m++)
		p[m] = fmaf(w, x[m], p[m]);
}

/* One run of columns [from, end) of a row of integer weights, into acc. */
static void
run_int(const Sum *u, TaskScratch *w, const Interp *x, int from, int end, float *acc)
{
	float *p = w->partial + 2 * INTERP_CHUNK;
	int n = u->tokens;
	for (int k = from; k < end; k += u->unit) {
		int g = k / u->unit;
		int stop = min_int(k + u->unit, u->columns);
		memset(p, 0, (size_t)n * sizeof *p);
		for (int i = k; i < stop; i++)
			fma_row((float)w->codes[i], x->transposed + i * n, p, n);
		fma_row(w->row.scales[g], p, acc, n);
		if (u->weight.minimum)
			fma_row(w->row.minima[g], x->x_sums + g * n, acc, n);
	}
}

static void
run_float(const Sum *u, const TaskScratch *w, const Interp *x, int from, int end, float *acc)
{
	for (int k = from; k < end; k++)
		fma_row(w->row.row_f32[k], x->transposed + k * u->tokens, acc, u->tokens);
}

static void
rows_float(Step *s, TaskScratch *w, uint32_t first, uint32_t end)
{
	Sum u = sum_of(s);
	size_t bytes = (size_t)u.tokens * sizeof(float);
	bool is_float = format_is_float(u.weight);
	float *total = w->partial;
	float *acc = w->partial + INTERP_CHUNK;
	for (uint32_t row = first; row < end; row++) {
		weight_source_row(&s->source, row, u.weight, &w->row);
		if (!is_float)
			weight_row_centre(&w->row, u.weight, u.columns, w->codes);
		for (int r = 0; r < u.runs; r++) {
			memset(acc, 0, bytes);
			if (is_float)
				run_float(&u, w, s->interp, r * u.run, (r + 1) * u.run, acc);
			else
				run_int(&u, w, s->interp, r * u.run, (r + 1) * u.run, acc);
			for (int m = 0; m < u.tokens; m++)
				total[m] = r ? total[m] + acc[m] : acc[m];
		}
		for (int m = 0; m < u.tokens; m++)
			s->out->f[(size_t)m * s->source.rows + row] = total[m];
	}
}

void
interp_contract_linear(Step *s)
{
	Sum u = sum_of(s);
	if (!format_is_float(u.activation)) {
		code_sums(&u, s->interp->code_sums);
		step_parallel_rows(s, rows_codes);
		return;
	}
	transpose(&u, s->interp->transposed);
	if (u.weight.minimum)
		x_sums(&u, s->interp->transposed, s->interp->x_sums);
	step_parallel_rows(s, rows_float);
}
