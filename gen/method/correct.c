/* Codes column by column, each error made good by the columns that follow: GPTQ's loop. */
#include <string.h>

#include "round_impl.h"

/* Where a row's code lies in the result. */
static void
store(const RoundWork *k, uint32_t row, uint32_t i, Fit fit, uint8_t code)
{
	const size_t at = (size_t)row * k->n + k->column[i];
	k->r->codes[at] = code;
	k->r->w[at] = (float)fit_value(fit, code);
}

static void
store_fit(const RoundWork *k, uint32_t row, uint32_t g, Fit fit)
{
	const size_t at = (size_t)row * k->groups + g;
	k->r->scales[at] = fit.scale;
	if (k->r->zeros)
		k->r->zeros[at] = (float)fit.zero;
}

typedef struct Rows {
	const RoundWork *k;
	const uint32_t *at;
	uint32_t first, n;
	double *w;	/* [n][columns]: corrected as errors come */
	Fit *fits;	/* [n][groups] */
	double *errors; /* [n][ROUND_COLUMNS] */
	Arena *scratch;
} Rows;

static double *
row_of(const Rows *r, uint32_t m)
{
	return r->w + (size_t)m * r->k->n;
}

/* A group's scale from the weights as they are when its first column's turn comes. */
static void
fit_now(Rows *r, uint32_t g)
{
	const RoundWork *k = r->k;
	for (uint32_t m = 0; m < r->n; m++) {
		const Fit fit = fit_group(r->scratch, k, r->at + (size_t)g * k->group,
					  group_columns(k, g), row_of(r, m), NULL);
		r->fits[(size_t)m * k->groups + g] = fit;
		store_fit(k, r->first + m, g, fit);
		arena_reset(r->scratch);
	}
}

static void
fit_before(Rows *r)
{
	const RoundWork *k = r->k;
	for (uint32_t m = 0; m < r->n; m++) {
		Fit *fits = r->fits + (size_t)m * k->groups;
		fit_row(r->scratch, k, r->at, r->first + m, fits);
		for (uint32_t g = 0; g < k->groups; g++)
			store_fit(k, r->first + m, g, fits[g]);
		arena_reset(r->scratch);
	}
}

/* Column i of all rows; errors are made good up to `end`. */
static void
round_column(Rows *r, uint32_t i, uint32_t begin, uint32_t end)
{
	const RoundWork *k = r->k;
	const double *u = k->u ? k->u + (size_t)i * k->n : NULL;
	for (uint32_t m = 0; m < r->n; m++) {
		double *w = row_of(r, m);
		const Fit fit = r->fits[(size_t)m * k->groups + group_of(k, i)];
		const uint8_t code = fit_code(k->p->format, fit, w[i]);
		store(k, r->first + m, i, fit, code);
		if (!u || k->p->how->round == ROUND_RTN)
			continue;
		const double error = (w[i] - fit_value(fit, code)) / u[i];
		r->errors[(size_t)m * ROUND_COLUMNS + (i - begin)] = error;
		linalg_add(w + i, u + i, -error, end - i);
	}
}

/* What the columns [begin, end) owe to those behind them. */
static void
settle(Rows *r, uint32_t begin, uint32_t end)
{
	const RoundWork *k = r->k;
	if (end < k->n)
		linalg_update(k->p->linalg, r->n, k->n - end, end - begin, -1.0, r->errors,
			      ROUND_COLUMNS, k->u + (size_t)begin * k->n + end, k->n, r->w + end,
			      k->n);
}

static bool
fits_as_rounded(const RoundWork *k)
{
	return k->p->how->groups == GROUPS_AS_ROUNDED && k->p->how->round != ROUND_RTN;
}

/* Where columns stop waiting: at most ROUND_COLUMNS on, and at a group's end if its scale waits. */
static uint32_t
block_end(const RoundWork *k, uint32_t begin)
{
	uint32_t end = begin;
	while (end < k->n && end - begin < ROUND_COLUMNS &&
	       (!fits_as_rounded(k) || group_of(k, end) == group_of(k, begin)))
		end++;
	return end;
}

void
round_rows(Arena *scratch, const RoundWork *k, const uint32_t *at, uint32_t first, uint32_t n)
{
	Rows r = {.k = k, .at = at, .first = first, .n = n, .scratch = arena_new()};
	r.w = ARENA_ARRAY(scratch, double, (size_t)n * k->n);
	r.fits = ARENA_ARRAY(scratch, Fit, (size_t)n * k->groups);
	r.errors = ARENA_ARRAY(scratch, double, (size_t)n *ROUND_COLUMNS);
	memcpy(r.w, k->w + (size_t)first * k->n, (size_t)n * k->n * sizeof *r.w);
	if (!fits_as_rounded(k))
		fit_before(&r);
	for (uint32_t begin = 0, end; begin < k->n; begin = end) {
		end = block_end(k, begin);
		if (fits_as_rounded(k) && (!begin || group_of(k, begin) != group_of(k, begin - 1)))
			fit_now(&r, group_of(k, begin));
		for (uint32_t i = begin; i < end; i++)
			round_column(&r, i, begin, end);
		if (k->u && k->p->how->round != ROUND_RTN)
			settle(&r, begin, end);
	}
	arena_free(r.scratch);
}
