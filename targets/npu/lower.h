/* What the files of the lowering share: a net that is being made from a graph. */
#ifndef LATHE_TARGETS_NPU_LOWER_H
#define LATHE_TARGETS_NPU_LOWER_H

#include "npu.h"

/* What a model of models.def is made of. */
typedef struct NpuModelFacts {
	bool dynamic;	    /* any number of tokens and positions, keys and values are variables */
	bool layers;	    /* else the function behind them alone */
	bool head;	    /* logits, else the rows that the head reads */
	bool one;	    /* static: a token, else a chunk */
	const char *result; /* name of what comes out */
} NpuModelFacts;

enum { NO_WIRE = -1 };

/*
 * What a value became. A row is [batch, tokens, width], or [batch, tokens, heads, width of a head]
 * where an op on heads made it; the cache is keys and values, [batch, kv heads, positions, head].
 */
typedef struct Lowered {
	Wire x, vals; /* vals: of the cache alone, whose keys are x */
} Lowered;

typedef struct Lower {
	Arena *run;
	const Graph *g;
	const NpuFacts *facts;
	const NpuConstants *constants;
	const NpuModelFacts *model;
	Net *n;
	int64_t batch, tokens; /* SHAPE_ANY where the model is dynamic */
	Wire ids, rows;	       /* that come in; NO_WIRE where they do not */
	Wire cos, sin;	       /* [batch, tokens, 1, half of a head] */
	Wire mask;	       /* [batch, 1, tokens, positions], added to scores */
	Wire beams, batches;   /* dynamic: beam_idx; how many, as a shape of one dimension */
	/* Of the function at work: */
	int func;
	Wire carry; /* the row that enters, later the one that leaves */
	Lowered *values;
} Lower;

/* Operand i of v as a row [batch, tokens, width], or by heads. */
Wire lower_row(const Lower *l, const Value *v, int i);
Wire lower_heads(const Lower *l, const Value *v, int i, uint32_t heads);

/* attention.c: positions, mask, cache. */
void lower_positions(Lower *l, Wire position_ids);
void lower_dynamic_mask(Lower *l, Wire attention_mask);
void lower_rope(Lower *l, const Value *v, Lowered *y);
void lower_kv_append(Lower *l, const Value *v, Lowered *y);
void lower_attention(Lower *l, const Value *v, Lowered *y);

#endif
