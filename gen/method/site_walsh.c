/* Walsh rotations of sites, scaled by the energy that their coordinates have: walsh.md. */
#include "site_walsh.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "sites.h"

/* ---- influence ------------------------------------------------------------------------------ */

uint32_t
walsh_padded(uint32_t n)
{
	uint32_t to = 1;
	while (to < n)
		to *= 2;
	return to;
}

/* Each of n by their sum; false: that is nothing, or not finite. */
static bool
shares(double *influence, uint32_t n)
{
	double sum = 0.0;
	for (uint32_t i = 0; i < n; i++)
		sum += influence[i];
	if (!(sum > 0.0) || !isfinite(sum))
		return false;
	for (uint32_t i = 0; i < n; i++)
		influence[i] /= sum;
	return true;
}

bool
walsh_influence(Arena *scratch, const Transform *t, const float *x, size_t tokens, uint32_t n,
		double *influence)
{
	const uint32_t span = t ? transform_span(t) : n, m = t ? t->n_out : n;
	double *row = ARENA_ARRAY(scratch, double, span),
	       *work = ARENA_ARRAY(scratch, double, span);
	memset(influence, 0, m * sizeof *influence);
	for (size_t k = 0; k < tokens; k++) {
		for (uint32_t i = 0; i < n; i++)
			row[i] = (double)x[k * n + i];
		if (t)
			transform_apply(t, row, work);
		for (uint32_t i = 0; i < m; i++)
			influence[i] += row[i] * row[i];
	}
	return shares(influence, m);
}

bool
walsh_truncate(double *influence, uint32_t n, uint32_t m)
{
	for (uint32_t i = n; i < m; i++)
		influence[i] = 0.0;
	return shares(influence, n);
}

void
walsh_tie(double *influence, uint32_t n, uint32_t heads, uint32_t groups)
{
	const uint32_t width = n / heads, of_group = heads / groups;
	for (uint32_t g = 0; g < groups; g++)
		for (uint32_t i = 0; i < width; i++) {
			double *first = influence + (size_t)g * of_group * width + i, mean = 0.0;
			for (uint32_t h = 0; h < of_group; h++)
				mean += first[(size_t)h * width] / of_group;
			for (uint32_t h = 0; h < of_group; h++)
				first[(size_t)h * width] = mean;
		}
}

void
walsh_scale(const double *influence, uint32_t n, double exponent, double *scale)
{
	for (uint32_t i = 0; i < n; i++)
		scale[i] = pow(1.0 + n * influence[i], exponent);
}

/* ---- sequency ------------------------------------------------------------------------------- */

typedef struct Changes {
	uint32_t count, row;
} Changes;

static int
smoother_first(const void *a, const void *b)
{
	const Changes *x = a, *y = b;
	if (x->count != y->count)
		return x->count < y->count ? -1 : 1;
	return (x->row > y->row) - (x->row < y->row);
}

/* Of row j of Sylvester's matrix of order 2^k: the inverse Gray code of its k reversed bits. */
static uint32_t
sylvester_changes(uint32_t j, uint32_t order)
{
	uint32_t reversed = 0;
	for (uint32_t low = 1; low < order; low *= 2)
		reversed = reversed * 2 + (j & low ? 1 : 0);
	for (uint32_t shift = 1; shift < 32; shift *= 2)
		reversed ^= reversed >> shift;
	return reversed;
}

/* Row (i, j) of base (x) Sylvester is base's row i, each element times row j, which begins with 1:
 * between two elements the sign changes unless j's last one undoes what base does there. */
void
walsh_sequency(Arena *scratch, const Base *base, uint32_t n, uint32_t *perm)
{
	const uint32_t runs = base->order, order = n / runs;
	Changes *rows = ARENA_ARRAY(scratch, Changes, n);
	for (uint32_t r = 0; r < n; r++) {
		const int8_t *signs = base->entries + (size_t)(r / order) * runs;
		const uint32_t inside = sylvester_changes(r % order, order);
		const int last = inside % 2 ? -1 : 1;
		rows[r] = (Changes){runs * inside, r};
		for (uint32_t k = 0; k + 1 < runs; k++)
			rows[r].count += signs[k] * last != signs[k + 1];
	}
	qsort(rows, n, sizeof *rows, smoother_first);
	for (uint32_t r = 0; r < n; r++)
		perm[r] = rows[r].row;
}

/* ---- rotations of sites --------------------------------------------------------------------- */

/* Blocks of a Hadamard transform, their coordinates by sequency if that is asked for. */
static const Transform *
walsh_blocks(Arena *run, const Recipe *r, uint32_t n, const char **why)
{
	const uint32_t block = r->walsh_pad ? n : site_block(run, r, n, why);
	const Transform *h =
		block ? stage_blocks(run, ROTATION_HADAMARD, block, block, 0, why) : NULL;
	const Transform *b = h && block < n ? transform_block(run, h, n, why) : h;
	if (!b || r->walsh_order == WALSH_NATURAL)
		return b;
	Arena *scratch = arena_new();
	uint32_t *of_block = ARENA_ARRAY(scratch, uint32_t, block);
	uint32_t *perm = ARENA_ARRAY(scratch, uint32_t, n);
	walsh_sequency(scratch, h->base, block, of_block);
	for (uint32_t i = 0; i < n; i++)
		perm[i] = i / block * block + of_block[i % block];
	const Transform *two[] = {transform_perm(run, n, perm, why), b};
	arena_free(scratch);
	return two[0] ? transform_compose(run, T_PRODUCT, two, 2, why) : NULL;
}

/* What a row of n elements goes through: padded, if that is asked for and n is no power of two. */
static const Transform *
walsh_row(Arena *run, const Recipe *r, uint32_t n, const char **why)
{
	const uint32_t padded = r->walsh_pad ? walsh_padded(n) : n;
	const Transform *two[] = {walsh_blocks(run, r, padded, why), NULL};
	if (!two[0] || padded == n)
		return two[0];
	two[1] = transform_pad(run, n, padded, why);
	return two[1] ? transform_compose(run, T_PRODUCT, two, 2, why) : NULL;
}

/* Behind t (null: nothing) every coordinate over its scale. */
static const Transform *
scaled(Arena *run, const SiteProblem *p, const Transform *t, bool tied, const char **why)
{
	const Model *m = p->model;
	const uint32_t n = t ? t->n_out : p->n;
	Arena *scratch = arena_new();
	double *influence = ARENA_ARRAY(scratch, double, n);
	double *scale = ARENA_ARRAY(scratch, double, n);
	const Transform *two[] = {NULL, t};
	if (!walsh_influence(scratch, t, p->x, p->tokens, p->n, influence) ||
	    (p->recipe->walsh_pad == WALSH_PAD_RELEASED && !walsh_truncate(influence, p->n, n))) {
		*why = "calibration rows have no energy there, or none that is finite: influence "
		       "is not defined";
	} else {
		if (tied)
			walsh_tie(influence, n, m->n_head, m->n_kv_head);
		walsh_scale(influence, n, p->recipe->walsh_exponent, scale);
		for (uint32_t i = 0; i < n; i++)
			scale[i] = 1.0 / scale[i];
		two[0] = transform_vector(run, T_DIAGONAL, n, scale, why);
	}
	arena_free(scratch);
	return !two[0] || !t ? two[0] : transform_compose(run, T_PRODUCT, two, 2, why);
}

const Transform *
site_walsh(Arena *run, const SiteProblem *p, const char **why)
{
	const Transform *t = walsh_row(run, p->recipe, p->n, why);
	return !t || p->recipe->walsh_exponent == 0.0 ? t : scaled(run, p, t, false, why);
}

const Transform *
site_influence(Arena *run, const SiteProblem *p, const char **why)
{
	return scaled(run, p, NULL, p->site == SITE_O_IN, why);
}

/* ---- refusals ------------------------------------------------------------------------------- */

/* "0, 64, 32": what site.block may be for rows of n. */
static const char *
block_choices(Arena *run, uint32_t n)
{
	enum { SHOWN = 6 };
	Text *t = text_new(run);
	int count = 0;
	for (uint32_t b = n; b > 1 && count < SHOWN; b--) {
		Construction c;
		uint32_t parameter, order;
		if (n % b || !base_choose(b, &c, &parameter, &order))
			continue;
		text_printf(t, count++ ? ", %u" : "%u", b < n ? b : 0);
	}
	return t->text;
}

static const char *
width_fault(Arena *run, const Recipe *r, Site site, uint32_t n)
{
	const char *name = site_table[site].name, *choices = block_choices(run, n);
	Construction c;
	uint32_t parameter, order;
	if (r->walsh_pad || base_choose(n, &c, &parameter, &order))
		return NULL;
	if (!choices[0])
		return arena_printf(run,
				    "%s: no Hadamard matrix of order %u or of a divisor is known; "
				    "influence needs none",
				    name, n);
	return r->site_block ? NULL
			     : arena_printf(run,
					    "%s: no Hadamard matrix of order %u is known; "
					    "site.block may be %s",
					    name, n, choices);
}

const char *
walsh_fault(Arena *run, const Recipe *r, const Model *m)
{
	const char *why = NULL;
	bool walsh = false;
	for (int i = 0; i < STAGE_SITES && !why; i++) {
		uint32_t n, heads;
		site_shape(m, stage_sites[i], &n, &heads);
		const Rotation kind = site_rotation(r, stage_sites[i]);
		if (!site_exists(m, stage_sites[i]))
			continue;
		walsh |= kind == ROTATION_WALSH;
		if (kind == ROTATION_WALSH)
			why = width_fault(run, r, stage_sites[i], n);
		else if (kind == ROTATION_INFLUENCE && r->walsh_exponent == 0.0)
			why = "influence to the power 0 is 1: walsh.exponent says another";
	}
	if (!why && r->walsh_pad && !walsh)
		why = "walsh.pad is given, but no site is rotated by walsh";
	if (!why && r->walsh_pad == WALSH_PAD_RELEASED && r->walsh_exponent == 0.0)
		why = "walsh.pad=released is about influence, whose power 0 is 1: walsh.exponent "
		      "says another, walsh.pad=yes pads alone";
	return why;
}
