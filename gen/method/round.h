/*
 * A linear's weights become codes and scales: what rounding, scales and error correction a recipe
 * asks for, on one matrix and the moments of what it reads.
 */
#ifndef LATHE_GEN_METHOD_ROUND_H
#define LATHE_GEN_METHOD_ROUND_H

#include "grid.h"
#include "linalg.h"

typedef enum ScaleRule { SCALE_ABSMAX, SCALE_MSE, SCALE_PISO, SCALE_E2M, SCALE_RULES } ScaleRule;
/* Whose curvature PiSO takes: 1; diag H; the pivots of GPTQ's factor; H (piso.md section 5.1). */
typedef enum Curvature {
	CURVATURE_IDENTITY,
	CURVATURE_DIAGONAL,
	CURVATURE_PIVOT,
	CURVATURE_DENSE,
	CURVATURES
} Curvature;
/* Groups of a row: each alone; one after another against what the others are by then; as GPTQ
 * reaches them (piso.md sections 4 and 5). */
typedef enum GroupOrder {
	GROUPS_ALONE,
	GROUPS_IN_TURN,
	GROUPS_AS_ROUNDED,
	GROUP_ORDERS
} GroupOrder;
typedef enum RoundRule {
	ROUND_RTN,
	ROUND_GPTQ,   /* autoround_gptq.md section 1 */
	ROUND_QRONOS, /* section 2 */
	ROUND_TWIN,   /* section 2: the corrected weights, then GPTQ */
	ROUND_RULES
} RoundRule;
/* Which column comes first: as they are; by falling diag H, scales chosen before; whole groups by
 * their sum, columns by diag H inside. */
typedef enum ColumnOrder { ORDER_NONE, ORDER_STATIC, ORDER_GROUPS, COLUMN_ORDERS } ColumnOrder;
/* Whose scales a row gets under Qronos and its twin: the weights' own, or those of the weights that
 * make good what the rounded inputs changed. */
typedef enum FitOf { FIT_CORRECTED, FIT_OWN, FITS } FitOf;
/* Of finished codes: coordinate descent; AutoRound's sign steps on the layer's own loss (3.3). */
typedef enum Polish { POLISH_NONE, POLISH_DESCENT, POLISH_AUTOROUND, POLISHES } Polish;

typedef struct Rounding {
	ScaleRule scale;
	Curvature curvature;
	GroupOrder groups;
	RoundRule round;
	ColumnOrder order;
	Polish polish;
	FitOf fit;
	bool refit;    /* all scales of a row anew for the finished codes (piso.md section 4) */
	double damp;   /* share of the mean of diag H that is added to it */
	double alpha;  /* QRONOS: share of H's largest eigenvalue, instead of damp; 0: damp */
	double hold;   /* QRONOS, TWIN: share of the mean of diag H that draws targets to the own
			* weights, at least damp; not with alpha */
	double clip;   /* SCALE_ABSMAX: factor of the range that codes span, in (0, 1); 0: none */
	int mse_steps; /* SCALE_MSE */
	int sweeps;    /* POLISH_* */
} Rounding;

/* Why no such combination is right for a format, in words of a; null: it is. */
const char *rounding_fault(Arena *a, const Rounding *r, Format f);

typedef struct RoundProblem {
	uint32_t rows, columns;
	const float *w; /* [rows][columns], the plan's transforms folded in */
	/* [columns][columns] of the rows it will read, divided by their count; null: 1, which no
	 * rule that asks for them should get. */
	const double *h;
	const double *g; /* cross moments x~^T x, or null: h */
	Format format;
	const Rounding *how;
	const Linalg *linalg;
	int jobs;
} RoundProblem;

/* As PlanCodes: codes [rows][columns], scales [rows][groups], zeros [rows][groups] or null. */
typedef struct RoundResult {
	uint8_t *codes;
	float *scales, *zeros;
	float *w;      /* [rows][columns] what they stand for */
	double error;  /* tr((w' - w) h (w' - w)^T) / tr(w h w^T) */
	double damped; /* what was added to diag h, as a share of its mean */
	uint32_t dead; /* columns that nothing reaches: code of 0 */
} RoundResult;

/*
 * All results from `a`. Rows are shared out over p->jobs threads and do not depend on how many.
 * false: h is not finite, or no damping makes it positive definite; *why says it in a sentence.
 */
bool round_weights(Arena *a, const RoundProblem *p, RoundResult *r, const char **why);

#endif
