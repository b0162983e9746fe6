/* The table of passes and its driver. */
#ifndef LATHE_IR_PASS_H
#define LATHE_IR_PASS_H

#include "graph.h"

/* What holds of a graph. `tests/ir` and the text form name them in lower case. */
enum {
	FACT_NONE = 0,
	FACT_TILED = 1,	    /* every linear reads a quantize or a tile */
	FACT_FUSED = 2,	    /* Value.kernel groups values */
	FACT_DEDUPED = 4,   /* Func.same_as is set */
	FACT_SCHEDULED = 8, /* Func.order, Func.kernels */
	FACT_PLACED = 16,   /* Func.buffers, Value.buffer */
	FACT_ALL = 31,
	FACT_COUNT = 5,
};
extern const char *const fact_names[FACT_COUNT]; /* by bit */

typedef struct PassOptions {
	const char *const *only; /* null: the whole table; else these, in this order */
	int n_only;
	const char *const *disable; /* names; a mandatory pass refuses */
	int n_disable;
	const char *const *dump_after; /* names, or "all" */
	int n_dump;
	const char *stop_after; /* null: run all */
	FILE *dump;		/* where dumps go */
} PassOptions;

typedef struct Pass {
	const char *name, *what;
	void (*run)(Graph *g);
	unsigned establishes, needs, breaks;
	bool mandatory;
} Pass;

/* counts.def: numbers of a graph that people compare. */
typedef enum GraphCount {
#define COUNT(e, words, what) e,
#include "counts.def"
	GRAPH_COUNTS
} GraphCount;
extern const char *const count_names[GRAPH_COUNTS];

/* A pass that passes_run ran, in Graph.record. */
typedef struct PassRecord {
	const Pass *pass;
	uint64_t before[GRAPH_COUNTS], after[GRAPH_COUNTS];
} PassRecord;

extern const Pass pass_table[];
extern const int pass_count;

/*
 * Checks the graph and the options' names (diagnostics, false), then runs the passes; the checker
 * runs after each, and a violation there is our bug: the graph is written to a file in TMPDIR and
 * the program ends.
 */
bool passes_run(Graph *g, const PassOptions *o, Diag *d);
/* One pass, its needs met: forgets what it breaks, runs it, records and checks. */
void pass_apply(Graph *g, const Pass *p, Diag *d);

/*
 * A row as the artefact stores it (arena pass and emitters agree through this). A row has parts;
 * with n tokens a buffer at byte B of the arena keeps part P at B + n * P, token after token (f32
 * rows) or tile after tile (codes and tiles, orders of templates/README.md). Parts are padded to
 * 64 bytes per token.
 *
 *   f32 row        x
 *   tile           x, xsum (where n_sums > 0)
 *   codes          hi, lo (where planes == 2), sum_hi, sum_lo (where planes == 2), scale, shift
 *                  (n_scales, where rows are asymmetric)
 */
typedef struct RowLayout {
	uint32_t padded;	   /* columns of x or of a plane: f32 rows a multiple of 32, others
				      of 16 */
	uint32_t planes;	   /* 1: int8, 2: int16; 0: float */
	uint32_t n_sums, n_scales; /* per token */
	/* Offset of each part per token; 0 if absent. */
	uint64_t x, xsum, hi, lo, sum_hi, sum_lo, scale, shift;
	uint64_t bytes; /* per token, all parts: a multiple of 64; 0 for the cache */
} RowLayout;
RowLayout row_layout(const Value *v);

#endif
