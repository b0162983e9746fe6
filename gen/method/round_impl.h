/* What the files of round_weights share. */
#ifndef LATHE_GEN_METHOD_ROUND_IMPL_H
#define LATHE_GEN_METHOD_ROUND_IMPL_H

#include "round.h"

/* Rows that a thread does at a time, and columns between two products of their errors. */
enum { ROUND_ROWS = 32, ROUND_COLUMNS = 64, DENSE_WINDOW = 2048 };

/* A problem with its columns in the order of rounding: everything here counts so. */
typedef struct RoundWork {
	const RoundProblem *p;
	uint32_t n, groups, group; /* columns, groups and columns of a whole one */
	uint32_t *column;	   /* [n] which one of the problem's this is */
	double *h;		   /* [n][n], dead columns 1 on the diagonal */
	double *u;		   /* linalg_factor of h, damped; null: RTN with no pivots */
	double damp;		   /* what is added to h's diagonal, for u */
	double hold;		   /* and for targets */
	double *target;		   /* [rows][n]: w G^T, null: w H */
	double *w;     /* [rows][n] to be rounded: corrected weights of QRONOS and TWIN */
	double *plain; /* [rows][n] that scales are chosen for */
	bool *dead;    /* [n] */
	double *goal;  /* [rows][n]: w, or the weights whose product with H is wanted */
	RoundResult *r;
} RoundWork;

/* A group's levels in one row. */
typedef struct Fit {
	float scale;
	int zero;
} Fit;

static inline uint32_t
group_of(const RoundWork *k, uint32_t i)
{
	return k->column[i] / k->group;
}
static inline uint32_t
group_columns(const RoundWork *k, uint32_t g)
{
	const uint32_t at = g * k->group;
	return k->n - at < k->group ? k->n - at : k->group;
}

/* Code nearest to w, and what it stands for. */
uint8_t fit_code(Format f, Fit fit, double w);
double fit_value(Fit fit, uint8_t code);

/* scales.c: group g of a row, columns `at` [count] in the order of rounding, values w [n]. `v` [n]
 * the targets of the whole row or null: H w. */
Fit fit_group(Arena *scratch, const RoundWork *k, const uint32_t *at, uint32_t count,
	      const double *w, const double *v);
/* All groups of row i, each alone or in turn. at [groups]: columns of each, group's many apart. */
void fit_row(Arena *scratch, const RoundWork *k, const uint32_t *at, uint32_t i, Fit *fits);

/* correct.c: codes of rows [first, first + n) and their scales. */
void round_rows(Arena *scratch, const RoundWork *k, const uint32_t *at, uint32_t first, uint32_t n);
/* polish.c: better codes of rows [first, first + n) for the scales they have; better scales for
 * their codes. */
void polish_rows(Arena *scratch, const RoundWork *k, uint32_t first, uint32_t n);
void refit_rows(Arena *scratch, const RoundWork *k, const uint32_t *at, uint32_t first, uint32_t n);

#endif
