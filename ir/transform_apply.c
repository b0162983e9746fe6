/*
 * Applying transforms to panels of rows. A kind gets `count` rows of its order, one behind the
 * other, and as much scratch: a Kronecker product or a block hands its children more, shorter rows.
 */
#include <string.h>

#include "dense.h"
#include "real.h"
#include "transform_impl.h"

TRANSFORM_APPLY(identity)
{
	(void)t;
	(void)rows;
	(void)count;
	(void)work;
	(void)by;
}

TRANSFORM_APPLY(hadamard)
{
	(void)work;
	(void)by;
	hadamard_run_double(t->program, t->n, rows, count);
}

TRANSFORM_APPLY(perm)
{
	(void)by;
	for (size_t r = 0; r < count; r++, rows += t->n) {
		memcpy(work, rows, t->n * sizeof *rows);
		for (uint32_t k = 0; k < t->n; k++)
			rows[k] = work[t->perm[k]];
	}
}

TRANSFORM_APPLY(diagonal)
{
	(void)work;
	(void)by;
	for (size_t r = 0; r < count; r++, rows += t->n)
		for (uint32_t k = 0; k < t->n; k++)
			rows[k] *= t->vector[k];
}

TRANSFORM_APPLY(matrix)
{
	const size_t n = t->n;
	if (by) {
		by->multiply(by->arg, count, n, rows, t->matrix, work);
		memcpy(rows, work, count * n * sizeof *rows);
		return;
	}
	/* A few rows do not repay the packing of the matrix. */
	if (count < 4) {
		for (size_t r = 0; r < count; r++, rows += n) {
			for (size_t i = 0; i < n; i++) {
				double sum = 0.0;
				for (size_t k = 0; k < n; k++)
					sum += t->matrix[i * n + k] * rows[k];
				work[i] = sum;
			}
			memcpy(rows, work, n * sizeof *rows);
		}
		return;
	}
	enum { PANEL = 1 << 16 };
	for (size_t r = 0; r < count; r += PANEL) {
		size_t some = count - r < PANEL ? count - r : PANEL;
		dense_multiply((uint32_t)some, t->n, t->n, (Dense){rows + r * n, n, 1},
			       (Dense){t->matrix, 1, n}, 1.0, 0.0, work, n);
		memcpy(rows + r * n, work, some * n * sizeof *rows);
	}
}

TRANSFORM_APPLY(householder)
{
	const double *v = t->vector;
	double square = 0.0;
	(void)work;
	(void)by;
	for (uint32_t k = 0; k < t->n; k++)
		square += v[k] * v[k];
	for (size_t r = 0; r < count; r++, rows += t->n) {
		double dot = 0.0;
		for (uint32_t k = 0; k < t->n; k++)
			dot += v[k] * rows[k];
		double f = 2.0 * dot / square;
		for (uint32_t k = 0; k < t->n; k++)
			rows[k] -= f * v[k];
	}
}

/* Elements i and j of every row turned by an angle. */
static void
rotate(double *rows, size_t count, size_t n, uint32_t i, uint32_t j, double angle)
{
	double sine, cosine;
	real_sincos(angle, &sine, &cosine);
	for (size_t r = 0; r < count; r++, rows += n) {
		double x = rows[i], y = rows[j];
		rows[i] = x * cosine - y * sine;
		rows[j] = x * sine + y * cosine;
	}
}

TRANSFORM_APPLY(givens)
{
	(void)work;
	(void)by;
	rotate(rows, count, t->n, t->i, t->j, t->scalar);
}

TRANSFORM_APPLY(so2)
{
	(void)work;
	(void)by;
	for (uint32_t k = 0; k < t->n / 2; k++)
		rotate(rows, count, t->n, k, k + t->n / 2, t->vector[k]);
}

TRANSFORM_APPLY(scalar)
{
	(void)work;
	(void)by;
	for (size_t i = 0; i < count * t->n; i++)
		rows[i] *= t->scalar;
}

TRANSFORM_APPLY(product)
{
	for (uint32_t i = t->n_children; i-- > 0;)
		transform_apply_rows(t->children[i], rows, count, work, by);
}

/* to [width][height], rows to_pitch apart, becomes the transpose of from [height][width]. */
static void
tiles_transpose(const double *from, size_t from_pitch, double *to, size_t to_pitch, size_t height,
		size_t width)
{
	enum { TILE = 16 };
	for (size_t u = 0; u < height; u += TILE)
		for (size_t v = 0; v < width; v += TILE) {
			size_t h = height - u < TILE ? height : u + TILE;
			size_t w = width - v < TILE ? width : v + TILE;
			for (size_t j = v; j < w; j++)
				for (size_t i = u; i < h; i++)
					to[j * to_pitch + i] = from[i * from_pitch + j];
		}
}

/* Each of count blocks [height][width] becomes its transpose. */
static void
blocks_transpose(const double *from, double *to, size_t count, size_t height, size_t width)
{
	for (size_t b = 0; b < count; b++, from += height * width, to += height * width)
		tiles_transpose(from, width, to, height, height, width);
}

/* With the row viewed as [left][order][right], each child acts on the middle. */
TRANSFORM_APPLY(kronecker)
{
	size_t right = 1;
	for (uint32_t i = t->n_children; i-- > 0;) {
		const Transform *c = t->children[i];
		size_t left = count * (t->n / right / c->n);
		if (c->kind == T_IDENTITY) {
			right *= c->n;
			continue;
		}
		if (right == 1) {
			transform_apply_rows(c, rows, left, work, by);
		} else {
			blocks_transpose(rows, work, left, c->n, right);
			transform_apply_rows(c, work, left * right, rows, by);
			blocks_transpose(work, rows, left, right, c->n);
		}
		right *= c->n;
	}
}

TRANSFORM_APPLY(block)
{
	transform_apply_rows(t->children[0], rows, count * (t->n / t->children[0]->n), work, by);
}

TRANSFORM_APPLY(sum)
{
	for (size_t r = 0; r < count; r++)
		for (uint32_t i = 0; i < t->n_children; i++) {
			transform_apply_rows(t->children[i], rows, 1, work, by);
			rows += t->children[i]->n;
		}
}

TRANSFORM_APPLY(pad)
{
	(void)work;
	(void)by;
	INVARIANT(count == 1);
	if (t->n_out > t->n)
		memset(rows + t->n, 0, (t->n_out - t->n) * sizeof *rows);
}

uint32_t
transform_span(const Transform *t)
{
	uint32_t span = t->n > t->n_out ? t->n : t->n_out;
	for (uint32_t i = 0; i < t->n_children; i++) {
		const uint32_t child = transform_span(t->children[i]);
		span = child > span ? child : span;
	}
	return span;
}

void
transform_apply_rows(const Transform *t, double *rows, size_t count, double *work,
		     const TransformProducts *by)
{
	transform_ops[t->kind].apply(t, rows, count, work, by);
}

void
transform_apply(const Transform *t, double *row, double *work)
{
	transform_apply_rows(t, row, 1, work, NULL);
}

void
transform_dense(const Transform *t, double *m)
{
	Arena *scratch = arena_new();
	const uint32_t span = transform_span(t);
	double *row = ARENA_ARRAY(scratch, double, span),
	       *work = ARENA_ARRAY(scratch, double, span);
	for (uint32_t j = 0; j < t->n; j++) {
		memset(row, 0, span * sizeof *row);
		row[j] = 1.0;
		transform_apply(t, row, work);
		for (uint32_t i = 0; i < t->n_out; i++)
			m[(size_t)i * t->n + j] = row[i];
	}
	arena_free(scratch);
}

/* Rows that go through a transform together: enough for stored matrices, few enough for L2. */
static uint32_t
panel_rows(uint32_t n)
{
	enum { ELEMENTS = 1 << 17, LEAST = 16 };
	return n >= ELEMENTS / LEAST ? LEAST : ELEMENTS / n;
}

void
transform_fold_reader(Arena *scratch, const Transform *t, double *w, uint32_t rows)
{
	INVARIANT(t->n == t->n_out);
	/* row T^-1 = T^-T row, which is T row for an orthogonal T. */
	const Transform *u = t;
	if (!transform_facts(t).orthogonal)
		u = transform_transpose(scratch, transform_inverse(scratch, t));
	uint32_t panel = panel_rows(t->n);
	double *work = ARENA_ARRAY(scratch, double, (size_t)panel * t->n);
	for (uint32_t r = 0; r < rows; r += panel)
		transform_apply_rows(u, w + (size_t)r * t->n, rows - r < panel ? rows - r : panel,
				     work, NULL);
}

void
transform_fold_producer(Arena *scratch, const Transform *t, double *w, uint32_t columns)
{
	INVARIANT(t->n == t->n_out);
	const size_t n = t->n;
	uint32_t panel = panel_rows(t->n);
	double *lines = ARENA_ARRAY(scratch, double, panel *n);
	double *work = ARENA_ARRAY(scratch, double, panel *n);
	for (uint32_t c = 0; c < columns; c += panel) {
		uint32_t some = columns - c < panel ? columns - c : panel;
		tiles_transpose(w + c, columns, lines, n, n, some);
		transform_apply_rows(t, lines, some, work, NULL);
		tiles_transpose(lines, n, w + c, columns, some, n);
	}
}
