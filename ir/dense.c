/* Products of packed tiles; the polar form and the inverse are made of products. */
#include "dense.h"

#include <math.h>
#include <string.h>

#include "wide.h"

enum {
	TILE = 4,
	DEPTH = 256,
	ROWS = 64,
	COLUMNS = 256,
	PIVOTS = 32,
	PARALLEL_ABOVE = 256,
	JOBS = 8
};

static uint32_t
at_most(uint32_t n, uint32_t most)
{
	return n < most ? n : most;
}

typedef double TileRow __attribute__((vector_size(WIDE_BYTES), aligned(8), may_alias));
_Static_assert(TILE * sizeof(double) == WIDE_BYTES, "a row of a tile is a vector");

/* c = a b for one tile; panels hold TILE values for each step of the sum. */
WIDE_BODY void
tile_multiply(uint32_t k, const double *restrict a, const double *restrict b, TileRow *c)
{
	TileRow c0 = {0}, c1 = {0}, c2 = {0}, c3 = {0};
	for (uint32_t p = 0; p < k; p++, a += TILE, b += TILE) {
		const TileRow row = *(const TileRow *)(const void *)b;
		c0 += a[0] * row;
		c1 += a[1] * row;
		c2 += a[2] * row;
		c3 += a[3] * row;
	}
	c[0] = c0;
	c[1] = c1;
	c[2] = c2;
	c[3] = c3;
}

/* `lines` lines of k values become panels of TILE lines, the last filled with zeros. */
static void
panel_pack(uint32_t lines, uint32_t k, const double *from, size_t line, size_t step, double *to)
{
	for (uint32_t i = 0; i < lines; i += TILE)
		for (uint32_t p = 0; p < k; p++)
			for (uint32_t t = 0; t < TILE; t++)
				*to++ = i + t < lines ? from[(i + t) * line + p * step] : 0.0;
}

typedef struct Product {
	uint32_t m, n, k;
	Dense a, b;
	double sign, keep;
	double *c;
	size_t ldc;
	bool upper; /* only blocks that reach the diagonal or lie right of it */
} Product;

/* One block of c by one block of the depth, both packed. */
WIDE_BODY void
block_add_body(const Product *x, uint32_t i0, uint32_t rows, uint32_t j0, uint32_t columns,
	       uint32_t k, const double *a, const double *b)
{
	for (uint32_t j = 0; j < columns; j += TILE)
		for (uint32_t i = 0; i < rows; i += TILE) {
			TileRow t[TILE];
			tile_multiply(k, a + (size_t)i * k, b + (size_t)j * k, t);
			uint32_t h = at_most(rows - i, TILE);
			uint32_t w = at_most(columns - j, TILE);
			for (uint32_t u = 0; u < h; u++)
				for (uint32_t v = 0; v < w; v++)
					x->c[(i0 + i + u) * x->ldc + j0 + j + v] +=
						x->sign * t[u][v];
		}
}

WIDE(static, block_add,
     (const Product *x, uint32_t i0, uint32_t rows, uint32_t j0, uint32_t columns, uint32_t k,
      const double *a, const double *b),
     (x, i0, rows, j0, columns, k, a, b))

/* The columns of c from index * COLUMNS. */
static void
product_columns(void *arg, int index)
{
	const Product *x = arg;
	uint32_t j0 = (uint32_t)index * COLUMNS;
	uint32_t columns = at_most(x->n - j0, COLUMNS);
	Arena *scratch = arena_new();
	const size_t depth = at_most(x->k, DEPTH);
	double *a = ARENA_ARRAY(scratch, double, (at_most(x->m, ROWS) + TILE) * depth);
	double *b = ARENA_ARRAY(scratch, double, (columns + TILE) * depth);
	for (uint32_t i = 0; i < x->m && x->keep != 1.0; i++)
		for (uint32_t j = j0; j < j0 + columns; j++)
			x->c[i * x->ldc + j] =
				x->keep == 0.0 ? 0.0 : x->c[i * x->ldc + j] * x->keep;
	for (uint32_t p = 0; p < x->k; p += DEPTH) {
		uint32_t k = at_most(x->k - p, DEPTH);
		panel_pack(columns, k, x->b.data + j0 * x->b.column + p * x->b.row, x->b.column,
			   x->b.row, b);
		for (uint32_t i = 0; i < x->m && !(x->upper && i >= j0 + columns); i += ROWS) {
			uint32_t rows = at_most(x->m - i, ROWS);
			panel_pack(rows, k, x->a.data + i * x->a.row + p * x->a.column, x->a.row,
				   x->a.column, a);
			block_add(x, i, rows, j0, columns, k, a, b);
		}
	}
	arena_free(scratch);
}

static void
product_run(Product *x)
{
	int blocks = (int)((x->n + COLUMNS - 1) / COLUMNS);
	bool large = x->m >= PARALLEL_ABOVE && x->k >= PARALLEL_ABOVE;
	parallel_for(large ? JOBS : 1, blocks, product_columns, x);
}

void
dense_multiply(uint32_t m, uint32_t n, uint32_t k, Dense a, Dense b, double sign, double keep,
	       double *c, size_t ldc)
{
	Product x = {m, n, k, a, b, sign, keep, c, ldc, false};
	product_run(&x);
}

/* g [n][n] = q^T q, which is symmetric. */
static void
gram(uint32_t n, const double *q, double *g)
{
	Product x = {n, n, n, {q, 1, n}, {q, n, 1}, 1.0, 0.0, g, n, true};
	product_run(&x);
	for (uint32_t i = 0; i < n; i++)
		for (uint32_t j = 0; j < i; j++)
			g[(size_t)i * n + j] = g[(size_t)j * n + i];
}

/* Largest |g - I|; infinite where g holds what is no number. */
static double
identity_distance(uint32_t n, const double *g)
{
	double worst = 0.0;
	for (uint32_t i = 0; i < n; i++)
		for (uint32_t j = 0; j < n; j++) {
			double d = fabs(g[(size_t)i * n + j] - (i == j ? 1.0 : 0.0));
			if (!(d <= worst))
				worst = d == d ? d : INFINITY;
		}
	return worst;
}

double
dense_polar(uint32_t n, double *q, double limit, bool *ok)
{
	/* Below GOOD nothing is changed; a step squares the distance, so none follows below LAST.
	 */
	static const double GOOD = 1e-13, LAST = 1e-8;
	enum { STEPS = 20 };
	Arena *scratch = arena_new();
	double *g = ARENA_ARRAY(scratch, double, (size_t)n *n);
	double *next = ARENA_ARRAY(scratch, double, (size_t)n *n);
	Dense plain = {q, n, 1}, square = {g, n, 1};
	double drift = 0.0, distance = INFINITY;
	*ok = false;
	for (int step = 0; step < STEPS; step++) {
		gram(n, q, g);
		distance = identity_distance(n, g);
		if (step == 0)
			drift = distance;
		*ok = distance <= GOOD;
		if (*ok || !(distance <= (step ? INFINITY : limit)) || distance != distance)
			break;
		/* q (3 I - q^T q) / 2 */
		memcpy(next, q, (size_t)n * n * sizeof *q);
		dense_multiply(n, n, n, plain, square, -0.5, 1.5, next, n);
		memcpy(q, next, (size_t)n * n * sizeof *q);
		*ok = distance <= LAST;
		if (*ok)
			break;
	}
	arena_free(scratch);
	return drift;
}

static void
rows_swap(double *m, uint32_t n, uint32_t i, uint32_t j)
{
	for (uint32_t k = 0; k < n && i != j; k++) {
		double t = m[(size_t)i * n + k];
		m[(size_t)i * n + k] = m[(size_t)j * n + k];
		m[(size_t)j * n + k] = t;
	}
}

/* L U of the columns k .. k + w of lu, rows swapped whole, in x too. */
static bool
panel_factor(uint32_t n, double *lu, double *x, uint32_t k, uint32_t w)
{
	for (uint32_t c = k; c < k + w; c++) {
		uint32_t pivot = c;
		for (uint32_t i = c + 1; i < n; i++)
			if (fabs(lu[(size_t)i * n + c]) > fabs(lu[(size_t)pivot * n + c]))
				pivot = i;
		rows_swap(lu, n, c, pivot);
		rows_swap(x, n, c, pivot);
		double top = lu[(size_t)c * n + c];
		if (!(fabs(top) > 0.0))
			return false;
		for (uint32_t i = c + 1; i < n; i++) {
			double f = lu[(size_t)i * n + c] /= top;
			for (uint32_t j = c + 1; j < k + w; j++)
				lu[(size_t)i * n + j] -= f * lu[(size_t)c * n + j];
		}
	}
	return true;
}

/* Rows k .. k + w of `to`, columns from `from`: divided by the panel's unit lower triangle. */
static void
lower_solve(uint32_t n, const double *lu, uint32_t k, uint32_t w, double *to, uint32_t from)
{
	for (uint32_t i = k; i < k + w; i++)
		for (uint32_t p = k; p < i; p++)
			for (uint32_t j = from; j < n; j++)
				to[(size_t)i * n + j] -=
					lu[(size_t)i * n + p] * to[(size_t)p * n + j];
}

static void
upper_solve(uint32_t n, const double *lu, uint32_t k, uint32_t w, double *to)
{
	for (uint32_t i = k + w; i-- > k;) {
		for (uint32_t p = i + 1; p < k + w; p++)
			for (uint32_t j = 0; j < n; j++)
				to[(size_t)i * n + j] -=
					lu[(size_t)i * n + p] * to[(size_t)p * n + j];
		for (uint32_t j = 0; j < n; j++)
			to[(size_t)i * n + j] /= lu[(size_t)i * n + i];
	}
}

static double
row_sum_norm(uint32_t n, const double *m)
{
	double worst = 0.0;
	for (uint32_t i = 0; i < n; i++) {
		double sum = 0.0;
		for (uint32_t j = 0; j < n; j++)
			sum += fabs(m[(size_t)i * n + j]);
		worst = sum > worst ? sum : worst;
	}
	return worst;
}

/* rows [first, last) of `to`, columns from `from`, lose the panel's columns of lu times its rows.
 */
static void
rows_update(uint32_t n, const double *lu, uint32_t k, uint32_t w, uint32_t first, uint32_t last,
	    double *to, uint32_t from)
{
	if (first >= last || from >= n)
		return;
	dense_multiply(last - first, n - from, w, (Dense){lu + (size_t)first * n + k, n, 1},
		       (Dense){to + (size_t)k * n + from, n, 1}, -1.0, 1.0,
		       to + (size_t)first * n + from, n);
}

double
dense_invert(uint32_t n, const double *m, double *inverse)
{
	Arena *scratch = arena_new();
	double *lu = ARENA_ARRAY(scratch, double, (size_t)n *n);
	bool regular = true;
	memcpy(lu, m, (size_t)n * n * sizeof *m);
	memset(inverse, 0, (size_t)n * n * sizeof *m);
	for (uint32_t i = 0; i < n; i++)
		inverse[(size_t)i * n + i] = 1.0;
	for (uint32_t k = 0; k < n && regular; k += PIVOTS) {
		uint32_t w = n - k < PIVOTS ? n - k : PIVOTS;
		regular = panel_factor(n, lu, inverse, k, w);
		lower_solve(n, lu, k, w, lu, k + w);
		rows_update(n, lu, k, w, k + w, n, lu, k + w);
	}
	for (uint32_t k = 0; k < n && regular; k += PIVOTS) {
		uint32_t w = n - k < PIVOTS ? n - k : PIVOTS;
		lower_solve(n, lu, k, w, inverse, 0);
		rows_update(n, lu, k, w, k + w, n, inverse, 0);
	}
	for (uint32_t k = (n - 1) / PIVOTS * PIVOTS; regular; k -= PIVOTS) {
		uint32_t w = n - k < PIVOTS ? n - k : PIVOTS;
		upper_solve(n, lu, k, w, inverse);
		rows_update(n, lu, k, w, 0, k, inverse, 0);
		if (k == 0)
			break;
	}
	arena_free(scratch);
	double condition = row_sum_norm(n, m) * row_sum_norm(n, inverse);
	return regular && condition == condition ? condition : INFINITY;
}
