/* Principal axes of queries and keys: site_pca.h. */
#include "site_pca.h"

#include <math.h>
#include <string.h>

#include "order.h"

const Transform *
pca_pairs(Arena *run, uint32_t heads, uint32_t d, const double *moments, const char **why)
{
	const Transform **parts = ARENA_ARRAY(run, const Transform *, heads);
	double *angles = ARENA_ARRAY(run, double, d / 2);
	for (uint32_t h = 0; h < heads; h++) {
		const double *c = moments + (size_t)h * d * d;
		for (uint32_t i = 0; i < d / 2; i++) {
			const uint32_t j = i + d / 2;
			const double across = c[(size_t)i * d + j];
			angles[i] = -0.5 * atan2(2.0 * across,
						 c[(size_t)i * d + i] - c[(size_t)j * d + j]);
		}
		parts[h] = transform_vector(run, T_SO2, d, angles, why);
		if (!parts[h])
			return NULL;
	}
	return transform_compose(run, T_SUM, parts, heads, why);
}

/* ---- eigenvectors --------------------------------------------------------------------------- */

enum { SWEEPS = 60 };

/* The pairs of two vectors of n elements `step` apart turned by an angle's cosine and sine. */
static void
turn(uint32_t n, size_t step, double *a, double *b, double c, double s)
{
	for (size_t k = 0; k < n * step; k += step) {
		const double x = a[k], y = b[k];
		a[k] = c * x - s * y;
		b[k] = s * x + c * y;
	}
}

/* Jacobi's method: a [n][n], symmetric, becomes diagonal, rows of u its eigenvectors. */
static void
diagonalise(uint32_t n, double *a, double *u)
{
	for (uint32_t i = 0; i < n; i++)
		u[(size_t)i * n + i] = 1.0;
	for (int sweep = 0; sweep < SWEEPS; sweep++) {
		bool done = true;
		for (uint32_t p = 0; p < n; p++)
			for (uint32_t q = p + 1; q < n; q++) {
				const double pp = a[(size_t)p * n + p], qq = a[(size_t)q * n + q];
				const double pq = a[(size_t)p * n + q];
				if (fabs(pq) <= 1e-15 * sqrt(fabs(pp) * fabs(qq)))
					continue;
				const double angle =
					0.5 * atan2(qq < pp ? -2.0 * pq : 2.0 * pq, fabs(qq - pp));
				done = false;
				const double c = cos(angle), s = sin(angle);
				const size_t row_p = (size_t)p * n, row_q = (size_t)q * n;
				turn(n, 1, a + row_p, a + row_q, c, s);
				turn(n, n, a + p, a + q, c, s);
				turn(n, 1, u + row_p, u + row_q, c, s);
			}
		if (done)
			return;
	}
}

const Transform *
pca_heads(Arena *run, uint32_t heads, uint32_t d, const double *moments, const char **why)
{
	const Transform **parts = ARENA_ARRAY(run, const Transform *, heads);
	const size_t size = (size_t)d * d;
	for (uint32_t h = 0; h < heads; h++) {
		Arena *scratch = arena_new();
		double *a = ARENA_ARRAY(scratch, double, size);
		double *u = ARENA_ARRAY(scratch, double, size);
		double *sorted = ARENA_ARRAY(scratch, double, size);
		Ranked *axes = ARENA_ARRAY(scratch, Ranked, d);
		memcpy(a, moments + h * size, size * sizeof *a);
		diagonalise(d, a, u);
		for (uint32_t i = 0; i < d; i++)
			axes[i] = (Ranked){a[(size_t)i * d + i], i};
		order_falling(axes, d);
		for (uint32_t i = 0; i < d; i++)
			memcpy(sorted + (size_t)i * d, u + (size_t)axes[i].i * d, d * sizeof *u);
		parts[h] = transform_matrix(run, T_ORTHOGONAL, d, sorted, why);
		arena_free(scratch);
		if (!parts[h])
			return NULL;
	}
	return transform_compose(run, T_SUM, parts, heads, why);
}
