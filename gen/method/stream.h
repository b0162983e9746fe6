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

size_t tokens_count(const Tokens *t);

/* Where sequences are cut from; bos: the first token of each, -1: none. */
typedef struct TokenText {
	const int32_t *ids;
	size_t count;
	int32_t bos;
} TokenText;

/* ids [length] become the sequence that begins at a token of the text. */
void tokens_cut(const TokenText *t, size_t from, uint32_t length, int32_t *ids);

/* The first sequences that hold at least so many tokens, or all. */
Tokens tokens_first(const Tokens *t, uint32_t count);

typedef enum StreamKind { STREAM_FLOAT, STREAM_ROUNDED, STREAMS } StreamKind;

typedef struct Stream Stream;
/* A stream in front of the first function. All passes of the graph have run. */
Stream *stream_new(Arena *run, Pool *pool, const Linalg *l, const Graph *g, const Tokens *t,
		   StreamKind kind, int jobs);
/*
 * The values of f in the order in which they go through a stream: as they are; but experts stand
 * behind the rows that go to the same matrices in other slots, and what rounds a row that experts
 * read behind all routes, each time with what depends on it.
 */
const int *stream_order(Arena *a, const Func *f);
/* Begins function f: its input is what the function before it left. */
void stream_enter(Stream *s, const Func *f);
/* Computes value i for all tokens; values come in the order of stream_order. w [rows][columns]:
 * what a linear multiplies with; null: FLOAT its weights unrounded, ROUNDED as the graph compiles
 * them. Experts (w null) that stream_expert has computed stay as they are. */
void stream_step(Stream *s, int i, const float *w);
/* Enters f, computes all its values and leaves it. */
void stream_function(Stream *s, const Func *f);
/* All values stay from here on until their function is left: stream_back reads them. */
void stream_keep(Stream *s);
/* The rows [tokens][width] of a value that has been computed and has readers left. What linears
 * read are in ROUNDED the numbers that the codes stand for. */
const float *stream_rows(const Stream *s, int i);
/* n values become what their codes in format f stand for, group by group; a float format rounds. */
void stream_round(Format f, const float *x, size_t n, float *y);
/* What the function leaves, before it is left. */
const float *stream_output(const Stream *s);

/* ---- experts: the values of OP_EXPERT of one role, a slot of the route each -------------------
 */

/* Whether i is the first value of its role. */
bool stream_leads(const Func *f, int i);
/* Whether an expert of f reads at a site (role_site of its role). */
bool stream_experts_read(const Func *f, int site);

/* The rows that go to one expert: a token and the weight of its slot, tokens rising. */
typedef struct ExpertRow {
	uint32_t token;
	float weight;
} ExpertRow;
/* Those of expert e among the values of i's role, whose rows can be computed: `rows` [tokens]
 * receives them; how many. */
size_t stream_expert_rows(const Stream *s, int i, uint32_t e, ExpertRow *rows);
/* What expert e reads of those tokens, or what becomes that by rounding: x [n][columns]. A token
 * that does not go to e in this stream has no row where slots read rows of their own: x keeps what
 * it holds. */
void stream_expert_read(const Stream *s, int i, uint32_t e, const ExpertRow *rows, size_t n,
			float *x);
void stream_expert_read_unrounded(const Stream *s, int i, uint32_t e, const ExpertRow *rows,
				  size_t n, float *x);
/* Expert e of all values of i's role, for the tokens that go to it; w as in stream_step. A role is
 * computed when all its experts are. */
void stream_expert(Stream *s, int i, uint32_t e, const float *w);

/* The weights of linears by value, and who is told of each: the rows x [tokens][columns] that it
 * read and the gradient by its outputs [tokens][rows]; and of rows that became codes the gradient
 * by what these stand for, which becomes that by the rows (null: it is taken for it). */
typedef struct StreamLinears {
	const float *const *weights;
	void (*visit)(void *arg, int i, const float *x, const float *by_out);
	void (*codes)(void *arg, int i, float *by_out);
	void *arg;
} StreamLinears;
/* The gradient of a loss by the function's output goes back through its values, all of which have
 * been computed and kept: by its input [tokens][hidden], which a function that begins with tokens
 * has not (null). Other roundings pass a gradient on as it is. */
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
/* Of an expert's value those of expert e. */
void stream_expert_weights(const Graph *g, const Func *f, const Value *v, uint32_t e,
			   StreamKind kind, int jobs, float *w);

#endif
