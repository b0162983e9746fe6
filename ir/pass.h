/* The table of passes and its driver. */
#ifndef LATHE_IR_PASS_H
#define LATHE_IR_PASS_H

#include "graph.h"

enum {
	FACT_NONE = 0,
	FACT_QUANTIZED = 1,
	FACT_FUSED = 2,
	FACT_DEDUPED = 4,
	FACT_SCHEDULED = 8,
	FACT_PLACED = 16,
	FACT_ALL = 31,
};

typedef struct PassOptions {
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
	unsigned establishes, needs, keeps, breaks;
	bool mandatory;
} Pass;

extern const Pass pass_table[];
extern const int pass_count;

/* Names in the options are checked (diagnostics, false). Runs the table in order; the checker runs
 * after each pass and a violation is our bug. */
bool passes_run(Graph *g, const PassOptions *o, Diag *d);

/* Rows of a buffer: bytes per token of a value as the artefact stores it (graph arena pass and the
 * emitters agree through this). Widths are rounded up to 32 elements for floats; quantized rows
 * hold `planes` code planes, partial sums and scales, each 64-byte aligned. */
typedef struct RowLayout {
	uint32_t padded;	   /* columns of a code plane, a multiple of 16 */
	uint32_t planes;	   /* 1: int8, 2: int16; 0: float */
	uint32_t n_sums, n_scales; /* per token */
	uint64_t bytes;		   /* per token, all parts, each part's per-token bytes a
				      multiple of 4 */
} RowLayout;
RowLayout row_layout(const Value *v);

#endif
