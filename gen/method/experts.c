/* Moments by expert. */
#include "experts.h"

#include <string.h>

void
expert_weigh(const ExpertRow *rows, size_t n, size_t columns, float *x)
{
	for (size_t r = 0; r < n; r++)
		for (size_t k = 0; k < columns; k++)
			x[r * columns + k] *= rows[r].weight;
}

/* Sums over the rows of expert e are added to h and g, the squares of their weights to *mass. */
static size_t
add_rows(const ExpertMoments *m, int i, uint32_t e, uint32_t columns, double *h, double *g,
	 double *mass)
{
	Arena *scratch = arena_new();
	ExpertRow *rows = ARENA_ARRAY(scratch, ExpertRow, m->tokens);
	const size_t n = stream_expert_rows(m->rounded, i, e, rows);
	float *x = pool_take(m->pool, m->tokens * columns);
	float *y = m->plain ? pool_take(m->pool, m->tokens * columns) : NULL;
	stream_expert_read(m->rounded, i, e, rows, n, x);
	if (y) {
		memcpy(y, x, n * columns * sizeof *y);
		stream_expert_read(m->plain, i, e, rows, n, y);
		expert_weigh(rows, n, columns, y);
	}
	expert_weigh(rows, n, columns, x);
	for (size_t r = 0; r < n; r++)
		*mass += (double)rows[r].weight * (double)rows[r].weight;
	if (n)
		linalg_moments(m->linalg, n, columns, x, NULL, h);
	if (n && y)
		linalg_moments(m->linalg, n, columns, x, y, g);
	pool_give(m->pool, y);
	pool_give(m->pool, x);
	arena_free(scratch);
	return n;
}

/* Sums over the rows of all experts. */
static void
take_mean(ExpertMoments *m, int i, uint32_t columns)
{
	const size_t bytes = (size_t)columns * columns * sizeof *m->h;
	if (m->mean_of == i)
		return;
	m->mean_of = i;
	m->mass = 0.0;
	memset(m->mean_h, 0, bytes);
	if (m->plain)
		memset(m->mean_g, 0, bytes);
	for (uint32_t e = 0; e < m->experts; e++)
		add_rows(m, i, e, columns, m->mean_h, m->mean_g, &m->mass);
}

/* a x + b y, in x. */
static void
mix(double *x, double a, const double *y, double b, size_t n)
{
	for (size_t k = 0; k < n; k++)
		x[k] = a * x[k] + (b != 0.0 ? b * y[k] : 0.0);
}

size_t
expert_moments(ExpertMoments *m, int i, uint32_t e, uint32_t columns)
{
	const size_t square = (size_t)columns * columns;
	double mass = 0.0;
	memset(m->h, 0, square * sizeof *m->h);
	if (m->plain)
		memset(m->g, 0, square * sizeof *m->g);
	const size_t n = add_rows(m, i, e, columns, m->h, m->g, &mass);
	const double own = n < columns ? (double)n / columns : 1.0;
	if (own < 1.0)
		take_mean(m, i, columns);
	const double a = mass > 0.0 ? own / mass : 0.0;
	const double b = own < 1.0 && m->mass > 0.0 ? (1.0 - own) / m->mass : 0.0;
	mix(m->h, a, m->mean_h, b, square);
	if (m->plain)
		mix(m->g, a, m->mean_g, b, square);
	return n;
}
