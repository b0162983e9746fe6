/*
 * The weights that a value of a graph names, as packer and interpreters read them: the file's
 * tensor, or fold_out * W * fold_in where a plan folded transforms into it, or the plan's ready
 * codes.
 */
#ifndef LATHE_IR_WEIGHT_SOURCE_H
#define LATHE_IR_WEIGHT_SOURCE_H

#include "interp.h"
#include "plan.h"

/* For tests of the proof: may change folded weights w [rows][columns]. */
typedef struct WeightFault {
	void (*fn)(void *arg, int role, int layer, double *w, uint32_t rows, uint32_t columns);
	void *arg;
} WeightFault;

typedef struct WeightSource {
	const Tensor *tensor;
	uint32_t rows,
		columns; /* of what is stored: folds may make rows longer than the tensor's */
	const PlanCodes *codes; /* null: none */
	Format codes_format;
	bool real_zeros;	   /* the codes' zero points become minima, -zero * scale */
	const uint32_t *row_of;	   /* row i is the tensor's row row_of[i]; null: row i */
	const Transform *each_row; /* row' = each_row * row, as it is read; null: none */
	double *folded;		   /* [rows][columns], all done; null: rows are made as read */
	WeightRange range;	   /* of all rows, where the format has one scale for them */
	bool mapped; /* the tensor lies in a mapped file, whose pages closing gives back */
	Arena *arena;
} WeightSource;

/*
 * Opens the weights of value v of function f, of a role of experts those of `expert`. Folding
 * across rows needs the whole tensor in double, which lives until weight_source_close; `jobs`
 * threads fold, results do not depend on it. Folds of single rows are made as they are read. fault
 * may be null.
 */
void weight_source_open(WeightSource *s, const Graph *g, const Func *f, const Value *v, int jobs,
			const WeightFault *fault);
void weight_source_open_expert(WeightSource *s, const Graph *g, const Func *f, const Value *v,
			       uint32_t expert, int jobs, const WeightFault *fault);
void weight_source_close(WeightSource *s);
/* A tensor as it is. */
WeightSource weight_source_of(const Tensor *t);
/* Looks at all rows where format f wants to know their range; weight_source_open has done so. */
void weight_source_measure(WeightSource *s, Format f, int jobs);

/* Row i in the codes of format f: bit-exact to the file, or to the plan's codes, where they are of
 * that format, else rounded to nearest. Thread-safe with a WeightRow of its own. */
void weight_source_row(const WeightSource *s, uint32_t i, Format f, WeightRow *w);
/* Reports row i, of a format that cannot hold it: E_NOT_FINITE at the tensor. */
void weight_source_not_finite(const WeightSource *s, int64_t i, Diag *d);
/* Row i before any rounding, in w->exact; ready codes are not looked at. */
void weight_source_row_exact(const WeightSource *s, uint32_t i, WeightRow *w);

#endif
