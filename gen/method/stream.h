/*
 * Calibration tokens on their way through a planned graph, function by function, value by value.
 * Two streams go side by side: FLOAT has the weights before rounding and rounds nothing; ROUNDED
 * has weights as they will be stored, rows of activations and of the cache in their formats.
 */
#ifndef LATHE_GEN_METHOD_STREAM_H
#define LATHE_GEN_METHOD_STREAM_H

#include "ir/weight_source.h"
#include "linalg.h"

/* Memory of rows: up to `limit` bytes of RAM, what is beyond lies in an unlinked temporary file. */
typedef struct Pool Pool;
Pool *pool_new(Arena *run, uint64_t limit);
float *pool_take(Pool *p, size_t floats);
void pool_give(Pool *p, float *rows);
void pool_free(Pool *p);

typedef struct Tokens {
	const int32_t *ids; /* [sequences][length] */
	uint32_t sequences, length;
} Tokens;

typedef enum StreamKind { STREAM_FLOAT, STREAM_ROUNDED, STREAMS } StreamKind;

typedef struct Stream Stream;
/* A stream at the first function's beginning. The graph has the passes up to `quantize` behind it.
 */
Stream *stream_new(Arena *run, Pool *pool, const Linalg *l, const Graph *g, const Tokens *t,
		   StreamKind kind, int jobs);
/* Computes value i of function f for all tokens; values come in their order. w [rows][columns]:
 * what a linear multiplies with; null: FLOAT its weights unrounded, ROUNDED as the graph compiles
 * them. */
void stream_step(Stream *s, const Func *f, int i, const float *w);
/* The rows of a value that has been computed and has readers left: [tokens][width]. For what a
 * linear reads these are the rows before their rounding (FLOAT) or behind it (ROUNDED). */
const float *stream_rows(const Stream *s, int value);
/* Ends a function: its output is the next one's input, everything else is given back. */
void stream_leave(Stream *s, const Func *f);
/* The rows between functions, to be kept or restored for a resumed run: [tokens][hidden]. */
float *stream_carry(Stream *s);

#endif
