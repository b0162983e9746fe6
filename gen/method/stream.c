/* The walk of a stream over the values of a function, and the rows' memory. */
#include "stream_impl.h"

#include <string.h>

void
tokens_cut(const TokenText *t, size_t from, uint32_t length, int32_t *ids)
{
	INVARIANT(from + length <= t->count);
	memcpy(ids, t->ids + from, length * sizeof *ids);
	if (t->bos >= 0)
		ids[0] = t->bos;
}

size_t
tokens_count(const Tokens *t)
{
	return (size_t)t->sequences * t->length;
}

Tokens
tokens_first(const Tokens *t, uint32_t count)
{
	Tokens some = *t;
	const uint32_t wanted = (count + t->length - 1) / t->length;
	some.sequences = some.sequences < wanted ? some.sequences : wanted;
	return some;
}

Stream *
stream_new(Arena *run, Pool *pool, const Linalg *l, const Graph *g, const Tokens *t,
	   StreamKind kind, int jobs)
{
	Stream *s = ARENA_NEW(run, Stream);
	const size_t half = g->model->head_dim / 2;
	*s = (Stream){.pool = pool,
		      .linalg = l,
		      .graph = g,
		      .tokens = t,
		      .kind = kind,
		      .jobs = jobs,
		      .n = tokens_count(t)};
	s->cos_rows = ARENA_ARRAY(run, float, 2 * t->length * half);
	s->sin_rows = ARENA_ARRAY(run, float, 2 * t->length * half);
	for (uint32_t i = 0; i < t->length; i++) {
		const size_t at = i * half, windowed = (t->length + i) * half;
		rope_table(g->model, i, s->cos_rows + at, s->sin_rows + at);
		if (g->model->window)
			rope_table_window(g->model, i, s->cos_rows + windowed,
					  s->sin_rows + windowed);
	}
	return s;
}

void
stream_enter(Stream *s, const Func *f)
{
	s->arena = arena_new();
	s->func = f;
	s->rows = ARENA_ARRAY(s->arena, float *, (size_t)f->count);
	s->root = ARENA_ARRAY(s->arena, int, (size_t)f->count);
	s->readers = func_uses(s->arena, f);
}

const float *
stream_rows(const Stream *s, int i)
{
	const float *rows = s->rows[s->root[i]];
	INVARIANT(rows);
	return rows;
}

static bool
takes_operand(const Stream *s, const Value *v)
{
	return v->op == OP_OUTPUT || v->op == OP_TILE ||
	       (v->op == OP_QUANTIZE && s->kind == STREAM_FLOAT);
}

/* A row of the value: k and v of a cache are one behind the other. */
static size_t
floats_of(const Stream *s, const Value *v)
{
	return s->n * v->width;
}

/* ---- weights -------------------------------------------------------------------------------- */

typedef struct WeightsJob {
	const WeightSource *source;
	Format format;
	bool exact;
	float *w;
} WeightsJob;

enum { WEIGHT_ROWS = 32 };

static void
weight_rows(void *arg, int task)
{
	const WeightsJob *j = arg;
	const uint32_t columns = j->source->columns, first = (uint32_t)task * WEIGHT_ROWS;
	Arena *scratch = arena_new();
	double *values = ARENA_ARRAY(scratch, double, columns);
	WeightRow row;
	weight_row_alloc(scratch, &row, (int)columns, j->format);
	for (uint32_t i = first; i < first + WEIGHT_ROWS && i < j->source->rows; i++) {
		float *w = j->w + (size_t)i * columns;
		if (j->exact)
			weight_source_row_exact(j->source, i, &row);
		else
			weight_source_row(j->source, i, j->format, &row);
		if (!j->exact)
			weight_row_values(&row, j->format, (int)columns, values);
		for (uint32_t k = 0; k < columns; k++)
			w[k] = (float)(j->exact ? row.exact[k] : values[k]);
	}
	arena_free(scratch);
}

void
stream_weights(const Graph *g, const Func *f, const Value *v, StreamKind kind, int jobs, float *w)
{
	stream_expert_weights(g, f, v, 0, kind, jobs, w);
}

void
stream_expert_weights(const Graph *g, const Func *f, const Value *v, uint32_t e, StreamKind kind,
		      int jobs, float *w)
{
	WeightSource source;
	weight_source_open_expert(&source, g, f, v, e, jobs, NULL);
	WeightsJob j = {&source, graph_expert_format(g, v->role, f->layer, e), kind == STREAM_FLOAT,
			w};
	parallel_for(jobs, (int)((source.rows + WEIGHT_ROWS - 1) / WEIGHT_ROWS), weight_rows, &j);
	weight_source_close(&source);
}

static void
step_linear(Stream *s, const Value *v, const float *x, const float *w, float *y)
{
	uint32_t rows, columns;
	graph_tensor_shape(s->graph, v, &rows, &columns);
	float *own = w ? NULL : pool_take(s->pool, (size_t)rows * columns);
	if (!w)
		stream_weights(s->graph, s->func, v, s->kind, s->jobs, own);
	linalg_linear(s->linalg, s->n, rows, columns, x, w ? w : own, y);
	pool_give(s->pool, own);
}

typedef struct EmbedJob {
	const Stream *s;
	const WeightSource *source;
	Format format;
	double factor;
	float *out;
} EmbedJob;

/* The tokens' rows of one sequence. */
static void
embed_sequence(void *arg, int i)
{
	const EmbedJob *j = arg;
	const uint32_t columns = j->source->columns, length = j->s->tokens->length;
	Arena *scratch = arena_new();
	double *values = ARENA_ARRAY(scratch, double, columns);
	WeightRow row;
	weight_row_alloc(scratch, &row, (int)columns, j->format);
	for (size_t t = (size_t)i * length; t < ((size_t)i + 1) * length; t++) {
		const uint32_t id = (uint32_t)j->s->tokens->ids[t];
		const bool exact = j->s->kind == STREAM_FLOAT;
		if (exact)
			weight_source_row_exact(j->source, id, &row);
		else
			weight_source_row(j->source, id, j->format, &row);
		if (!exact)
			weight_row_values(&row, j->format, (int)columns, values);
		for (uint32_t k = 0; k < columns; k++)
			j->out[t * columns + k] =
				(float)((exact ? row.exact[k] : values[k]) * j->factor);
	}
	arena_free(scratch);
}

static void
step_embed(const Stream *s, const Value *v, float *out)
{
	WeightSource source;
	weight_source_open(&source, s->graph, s->func, v, s->jobs, NULL);
	EmbedJob j = {.s = s,
		      .source = &source,
		      .format = graph_weight_format(s->graph, v->role, s->func->layer),
		      .factor = v->factor != 0.0f ? (double)v->factor : 1.0,
		      .out = out};
	parallel_for(s->jobs, (int)s->tokens->sequences, embed_sequence, &j);
	weight_source_close(&source);
}

/* ---- values --------------------------------------------------------------------------------- */

static void
share_rows(void *arg, int task)
{
	const StreamStep *t = arg;
	const size_t first = (size_t)task * STREAM_ROWS, left = t->s->n - first;
	stream_row_ops[t->v->op](t, first, left < STREAM_ROWS ? left : STREAM_ROWS);
}

static void
share_attention(void *arg, int task)
{
	stream_attention(arg, task);
}

/* An operand has one reader less. */
static void
forget(Stream *s, int operand)
{
	const int root = operand < 0 ? -1 : s->root[operand];
	if (root < 0 || --s->readers[root] > 0 || s->keep)
		return;
	if (s->rows[root] != s->carry)
		pool_give(s->pool, s->rows[root]);
	s->rows[root] = NULL;
}

static void
compute(Stream *s, const Value *v, const float *w, float *out)
{
	StreamStep t = {.s = s, .v = v, .out = out};
	for (int k = 0; k < op_operands(v->op); k++)
		t.in[k] = stream_rows(s, v->operands[k]);
	if (v->op == OP_LINEAR) {
		step_linear(s, v, t.in[0], w, out);
	} else if (v->op == OP_EMBED) {
		step_embed(s, v, out);
	} else if (v->op == OP_ATTENTION) {
		parallel_for(s->jobs, (int)(s->tokens->sequences * v->heads), share_attention, &t);
	} else {
		INVARIANT(stream_row_ops[v->op]);
		float *vector = op_table[v->op].tensor == TENSOR_VECTOR
					? ARENA_ARRAY(s->arena, float, v->width)
					: NULL;
		if (vector)
			stream_weights(s->graph, s->func, v, s->kind, 1, vector);
		t.vector = vector;
		parallel_for(s->jobs, (int)((s->n + STREAM_ROWS - 1) / STREAM_ROWS), share_rows,
			     &t);
	}
}

void
stream_step(Stream *s, int i, const float *w)
{
	const Value *v = func_value(s->func, i);
	s->root[i] = i;
	if (v->op == OP_INPUT) {
		INVARIANT(s->carry);
		s->rows[i] = s->carry;
	} else if (v->op == OP_EXPERT) {
		INVARIANT(!w);
		const bool done = s->rows[i] != NULL;
		for (uint32_t e = 0; e < s->graph->model->n_expert && !done; e++)
			stream_expert(s, i, e, NULL);
	} else if (takes_operand(s, v)) {
		/* The reader that the alias is makes room for its own readers. */
		s->root[i] = s->root[v->operands[0]];
		s->readers[s->root[i]] += s->readers[i] - 1 + (v->op == OP_OUTPUT);
		return;
	} else {
		s->rows[i] = pool_take(s->pool, floats_of(s, v));
		compute(s, v, w, s->rows[i]);
	}
	for (int k = 0; k < op_operands(v->op); k++)
		forget(s, v->operands[k]);
}

void
stream_function(Stream *s, const Func *f)
{
	stream_enter(s, f);
	const int *order = stream_order(s->arena, f);
	for (int k = 0; k < f->count; k++)
		stream_step(s, order[k], NULL);
	stream_leave(s);
}

void
stream_keep(Stream *s)
{
	s->keep = true;
}

static float *
output_rows(const Stream *s)
{
	float *output = NULL;
	for (int i = 0; i < s->func->count; i++)
		if (func_value(s->func, i)->op == OP_OUTPUT)
			output = s->rows[s->root[i]];
	INVARIANT(output);
	return output;
}

const float *
stream_output(const Stream *s)
{
	return output_rows(s);
}

void
stream_leave(Stream *s)
{
	const Func *f = s->func;
	float *output = output_rows(s);
	for (int i = 0; i < f->count; i++)
		if (s->rows[i] && s->rows[i] != output && s->rows[i] != s->carry)
			pool_give(s->pool, s->rows[i]);
	if (s->carry != output)
		pool_give(s->pool, s->carry);
	s->carry = output;
	arena_free(s->arena);
	s->arena = NULL;
	s->func = NULL;
}

const float *
stream_carry(const Stream *s)
{
	return s->carry;
}

float *
stream_resume(Stream *s)
{
	if (!s->carry)
		s->carry = pool_take(s->pool, s->n * s->graph->model->hidden);
	return s->carry;
}

void
stream_free(Stream *s)
{
	pool_give(s->pool, s->carry);
	s->carry = NULL;
}
