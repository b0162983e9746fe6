/* OpenBLAS by its dynamic loader, one thread a call, work in pieces of fixed size. */
#include "linalg.h"

#include <dlfcn.h>
#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "ir/wide.h"

enum { ROW_MAJOR = 101, PLAIN = 111, TRANSPOSED = 112 };
enum { ROWS_AT_ONCE = 256, PANEL = 64 };

struct Linalg {
#define BLAS_FUNCTION(field, symbol, result, arguments) result(*field) arguments;
#include "blas.def"
	int jobs;
};

static const struct {
	const char *symbol;
	size_t at;
} functions[] = {
#define BLAS_FUNCTION(field, symbol, result, arguments) {symbol, offsetof(Linalg, field)},
#include "blas.def"
};

Linalg *
linalg_open(Arena *run, int jobs)
{
	Linalg *l = ARENA_NEW(run, Linalg);
	void *library = dlopen("libopenblas.so.0", RTLD_NOW | RTLD_LOCAL);
	if (!library)
		fatal_environment("recipes need OpenBLAS (Debian: libopenblas0-pthread): %s",
				  dlerror());
	for (size_t i = 0; i < sizeof functions / sizeof *functions; i++) {
		void *f = dlsym(library, functions[i].symbol);
		if (!f)
			fatal_environment("this OpenBLAS has no %s (Debian: libopenblas0-pthread)",
					  functions[i].symbol);
		/* POSIX makes a function of an object's pointer; ISO C has no conversion. */
		memcpy((char *)l + functions[i].at, &f, sizeof f);
	}
	l->jobs = jobs;
	l->threads(1);
	return l;
}

const char *
linalg_machine(const Linalg *l)
{
	return l->machine();
}

/* Sizes as BLAS counts them. */
static int
blas_int(size_t n)
{
	INVARIANT(n <= INT_MAX);
	return (int)n;
}

static size_t
pieces(size_t n, size_t size)
{
	return (n + size - 1) / size;
}

static size_t
piece_rows(size_t n, size_t size, size_t i)
{
	return n - i * size < size ? n - i * size : size;
}

/* ---- vectors -------------------------------------------------------------------------------- */

WIDE_BODY void
linalg_add_body(double *y, const double *x, double a, size_t n)
{
	for (size_t i = 0; i < n; i++)
		y[i] += a * x[i];
}
WIDE(, linalg_add, (double *y, const double *x, double a, size_t n), (y, x, a, n))

/* ---- products ------------------------------------------------------------------------------- */

typedef struct LinearJob {
	const Linalg *l;
	size_t m, n, k;
	const float *x, *w;
	float *y;
} LinearJob;

static void
linear_piece(void *arg, int i)
{
	const LinearJob *j = arg;
	const size_t at = (size_t)i * ROWS_AT_ONCE;
	const int k = blas_int(j->k), n = blas_int(j->n);
	j->l->sgemm(ROW_MAJOR, PLAIN, TRANSPOSED,
		    blas_int(piece_rows(j->m, ROWS_AT_ONCE, (size_t)i)), n, k, 1.0f,
		    j->x + at * j->k, k, j->w, k, 0.0f, j->y + at * j->n, n);
}

void
linalg_linear(const Linalg *l, size_t m, size_t n, size_t k, const float *x, const float *w,
	      float *y)
{
	LinearJob j = {l, m, n, k, x, w, y};
	parallel_for(l->jobs, blas_int(pieces(m, ROWS_AT_ONCE)), linear_piece, &j);
}

void
linalg_panel(const Linalg *l, bool transposed, size_t m, size_t n, size_t k, float factor,
	     const float *a, size_t lda, const float *b, size_t ldb, float *c, size_t ldc)
{
	l->sgemm(ROW_MAJOR, PLAIN, transposed ? TRANSPOSED : PLAIN, blas_int(m), blas_int(n),
		 blas_int(k), factor, a, blas_int(lda), b, blas_int(ldb), 0.0f, c, blas_int(ldc));
}

void
linalg_cross(const Linalg *l, size_t m, size_t n, size_t k, float factor, const float *a,
	     size_t lda, const float *b, size_t ldb, float *c, size_t ldc)
{
	l->sgemm(ROW_MAJOR, TRANSPOSED, PLAIN, blas_int(m), blas_int(n), blas_int(k), factor, a,
		 blas_int(lda), b, blas_int(ldb), 0.0f, c, blas_int(ldc));
}

void
linalg_update(const Linalg *l, size_t m, size_t n, size_t k, double factor, const double *a,
	      size_t lda, const double *b, size_t ldb, double *c, size_t ldc)
{
	l->dgemm(ROW_MAJOR, PLAIN, PLAIN, blas_int(m), blas_int(n), blas_int(k), factor, a,
		 blas_int(lda), b, blas_int(ldb), 1.0, c, blas_int(ldc));
}

void
linalg_product(const Linalg *l, size_t m, size_t n, size_t k, const double *a, const double *b,
	       double *c)
{
	l->dgemm(ROW_MAJOR, PLAIN, TRANSPOSED, blas_int(m), blas_int(n), blas_int(k), 1.0, a,
		 blas_int(k), b, blas_int(k), 0.0, c, blas_int(n));
}

typedef struct MultiplyJob {
	const Linalg *l;
	bool transposed;
	size_t m, n, k;
	const double *a, *b;
	double *c;
} MultiplyJob;

static void
multiply_piece(void *arg, int i)
{
	const MultiplyJob *j = arg;
	const size_t at = (size_t)i * ROWS_AT_ONCE;
	const int k = blas_int(j->k), n = blas_int(j->n);
	j->l->dgemm(ROW_MAJOR, PLAIN, j->transposed ? TRANSPOSED : PLAIN,
		    blas_int(piece_rows(j->m, ROWS_AT_ONCE, (size_t)i)), n, k, 1.0,
		    j->a + at * j->k, k, j->b, j->transposed ? k : n, 0.0, j->c + at * j->n, n);
}

void
linalg_multiply(const Linalg *l, bool transposed, size_t m, size_t n, size_t k, const double *a,
		const double *b, double *c)
{
	MultiplyJob j = {l, transposed, m, n, k, a, b, c};
	parallel_for(l->jobs, blas_int(pieces(m, ROWS_AT_ONCE)), multiply_piece, &j);
}

/* ---- moments -------------------------------------------------------------------------------- */

typedef struct MomentsJob {
	const Linalg *l;
	size_t t, n;
	const float *x, *y;
	double *h;
	bool symmetric;
} MomentsJob;

/* Rows [at, at + PANEL) of h, where h is symmetric from its diagonal on. */
static void
moments_panel(void *arg, int i)
{
	const MomentsJob *j = arg;
	const size_t at = (size_t)i * PANEL, rows = piece_rows(j->n, PANEL, (size_t)i);
	const size_t from = j->symmetric ? at : 0, columns = j->n - from;
	float *sum = take_memory(rows * columns * sizeof *sum);
	for (size_t t = 0; t < j->t; t += LINALG_PIECE) {
		const size_t some = piece_rows(j->t, LINALG_PIECE, t / LINALG_PIECE);
		j->l->sgemm(ROW_MAJOR, TRANSPOSED, PLAIN, blas_int(rows), blas_int(columns),
			    blas_int(some), 1.0f, j->x + t * j->n + at, blas_int(j->n),
			    j->y + t * j->n + from, blas_int(j->n), 0.0f, sum, blas_int(columns));
		for (size_t r = 0; r < rows; r++)
			for (size_t c = 0; c < columns; c++)
				j->h[(at + r) * j->n + from + c] += (double)sum[r * columns + c];
	}
	free(sum);
}

/* What lies below the diagonal of row i. */
static void
mirror_row(void *arg, int i)
{
	const MomentsJob *j = arg;
	for (size_t c = 0; c < (size_t)i; c++)
		j->h[(size_t)i * j->n + c] = j->h[c * j->n + (size_t)i];
}

void
linalg_moments(const Linalg *l, size_t t, size_t n, const float *x, const float *y, double *h)
{
	MomentsJob j = {l, t, n, x, y ? y : x, h, !y};
	parallel_for(l->jobs, blas_int(pieces(n, PANEL)), moments_panel, &j);
	if (!y)
		parallel_for(l->jobs, blas_int(n), mirror_row, &j);
}

/* ---- factors -------------------------------------------------------------------------------- */

static bool
all_finite(const double *x, size_t n)
{
	double sum = 0.0;
	for (size_t i = 0; i < n; i++)
		sum += x[i] - x[i];
	return sum == 0.0;
}

/* a = h + damp I, both orders of rows and columns turned round where `turned`. */
static void
damped(size_t n, const double *h, double damp, bool turned, double *a)
{
	const size_t count = n * n;
	for (size_t i = 0; i < count; i++)
		a[i] = h[turned ? count - 1 - i : i];
	for (size_t i = 0; i < n; i++)
		a[i * n + i] += damp;
}

/* LAPACK's columns are our rows: its upper triangle R, R^T R = a, is our lower one, R^T. */
static bool
cholesky(const Linalg *l, size_t n, double *a)
{
	const int order = blas_int(n);
	int info;
	if (!all_finite(a, n * n))
		return false;
	l->dpotrf("U", &order, a, &order, &info);
	return info == 0;
}

/*
 * With J the matrix that turns the order round, J a J = L L^T gives a^-1 = U^T U for U = J L^-1 J,
 * which is upper (autoround_gptq.md section 1): no inverse is formed.
 */
bool
linalg_factor(const Linalg *l, size_t n, const double *h, double damp, double *u)
{
	const int order = blas_int(n);
	int info;
	damped(n, h, damp, true, u);
	if (!cholesky(l, n, u))
		return false;
	l->dtrtri("U", "N", &order, u, &order, &info);
	if (info)
		return false;
	for (size_t i = 0; i < n; i++)
		for (size_t c = i + 1; c < n; c++)
			u[i * n + c] = 0.0;
	for (size_t i = 0, k = n * n - 1; i < k; i++, k--) {
		const double swapped = u[i];
		u[i] = u[k];
		u[k] = swapped;
	}
	return true;
}

typedef struct SolveJob {
	const Linalg *l;
	size_t n, rows;
	const double *factor;
	double *x;
} SolveJob;

static void
solve_piece(void *arg, int i)
{
	const SolveJob *j = arg;
	const int n = blas_int(j->n), rows = blas_int(piece_rows(j->rows, ROWS_AT_ONCE, (size_t)i));
	int info;
	j->l->dpotrs("U", &n, &rows, j->factor, &n, j->x + (size_t)i * ROWS_AT_ONCE * j->n, &n,
		     &info);
}

bool
linalg_solve(const Linalg *l, size_t n, const double *h, double damp, size_t rows, const double *b,
	     double *x)
{
	double *factor = take_memory(n * n * sizeof *factor);
	damped(n, h, damp, false, factor);
	const bool ok = cholesky(l, n, factor);
	if (ok) {
		SolveJob j = {l, n, rows, factor, x};
		if (x != b)
			memcpy(x, b, rows * n * sizeof *x);
		parallel_for(l->jobs, blas_int(pieces(rows, ROWS_AT_ONCE)), solve_piece, &j);
	}
	free(factor);
	return ok;
}

/* LAPACK's columns are our rows: the inverse of a^T by columns is that of a by rows. */
bool
linalg_inverse(Arena *scratch, const Linalg *l, size_t n, const double *a, double *x)
{
	const int order = blas_int(n);
	double *factor = ARENA_ARRAY(scratch, double, n *n);
	int *pivots = ARENA_ARRAY(scratch, int, n), info;
	if (!all_finite(a, n * n))
		return false;
	memcpy(factor, a, n * n * sizeof *factor);
	for (size_t i = 0; i < n * n; i++)
		x[i] = i % (n + 1) ? 0.0 : 1.0;
	l->dgesv(&order, &order, factor, &order, pivots, x, &order, &info);
	return info == 0;
}
