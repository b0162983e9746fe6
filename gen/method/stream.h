/*
 * Calibration tokens on their way through a planned graph, function by function, value by value.
 * Two streams go side by side: FLOAT has the weights before rounding and rounds nothing; ROUNDED
 * has weights as they will be stored, rows of activations and of the cache in their formats. In f32
 * by BLAS: statistics, no contract.
 */
#ifndef LATHE_GEN_METHOD_STREAM_H
#define LATHE_GEN_METHOD_STREAM_H

#include "ir/weight_source.h"
#include "linalg.h"

/* Memory of rows: what is beyond `limit` bytes lies in unlinked files of TMPDIR. What is taken
 * holds anything. */
typedef struct Pool Pool;
Pool *pool_new(Arena *run, uint64_t limit);
float *pool_take(Pool *p, size_t floats);
void pool_give(Pool *p, float *rows); /* null: nothing */
void pool_free(Pool *p);

typedef struct Tokens {
	const int32_t *ids; /* [sequences][length] */
	uint32_t sequences, length;
} Tokens;

/* The first sequences that hold at least so many tokens, or all. */
Tokens tokens_first(const Tokens *t, uint32_t count);

typedef enum StreamKind { STREAM_FLOAT, STREAM_ROUNDED, STREAMS } StreamKind;

typedef struct Stream Stream;
/* A stream in front of the first function. All passes of the graph have run. */
Stream *stream_new(Arena *run, Pool *pool, const Linalg *l, const Graph *g, const Tokens *t,
		   StreamKind kind, int jobs);
/* Begins function f: its input is what the function before it left. */
void stream_enter(Stream *s, const Func *f);
/* Computes value i for all tokens; values come in their order. w [rows][columns]: what a linear
 * multiplies with; null: FLOAT its weights unrounded, ROUNDED as the graph compiles them. */
void stream_step(Stream *s, int i, const float *w);
/* All values stay from here on until their function is left: stream_back reads them. */
void stream_keep(Stream *s);
/* The rows [tokens][width] of a value that has been computed and has readers left. What linears
 * read are in ROUNDED the numbers that the codes stand for. */
const float *stream_rows(const Stream *s, int i);
/* n values become what their codes in format f stand for, group by group; a float format rounds. */
void stream_round(Format f, const float *x, size_t n, float *y);
/* What the function leaves, before it is left. */
const float *stream_output(const Stream *s);
/* The weights of linears by value, and who is told of each: the rows x [tokens][columns] that it
 * read and the gradient by its outputs [tokens][rows]. */
typedef struct StreamLinears {
	const float *const *weights;
	void (*visit)(void *arg, int i, const float *x, const float *by_out);
	void *arg;
} StreamLinears;
/* The gradient of a loss by the function's output goes back through its values, all of which have
 * been computed and kept: by its input [tokens][hidden], which a function that begins with tokens
 * has not (null). Roundings pass a gradient on as it is. */
void stream_back(Stream *s, const float *by_output, float *by_input, const StreamLinears *l);
/* Ends the function: its output stays, everything else is given back. */
void stream_leave(Stream *s);
/* The rows between functions [tokens][hidden]: null in front of the first. A resumed run writes
 * them: stream_resume gives the place, after which the next function may be entered. */
const float *stream_carry(const Stream *s);
float *stream_resume(Stream *s);
void stream_free(Stream *s);

/* The weights of linear v of f before rounding, folds included, and as the graph compiles them. */
void stream_weights(const Graph *g, const Func *f, const Value *v, StreamKind kind, int jobs,
		    float *w);

#endif
