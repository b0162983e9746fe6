/* The walk over a graph that both interpreters share; see interp_impl.h. */
#include <math.h>
#include <string.h>

#include "interp_impl.h"

/* ---- sizes ---------------------------------------------------------------------------------- */

/* Largest widths over the graph, which size all scratch. */
typedef struct Extent {
	size_t func_bytes; /* rows of the largest function */
	uint32_t carry, columns, values, head_dim, heads;
} Extent;

static uint32_t
max_u32(uint32_t a, uint32_t b)
{
	return a > b ? a : b;
}

/* Bytes of the rows of one value: any of double, float, or two planes of codes and scales. */
static size_t
value_bytes(const Value *v, size_t chunk)
{
	return chunk * ((size_t)v->width * sizeof(double) + 4 * sizeof(double));
}

static Extent
graph_extent(const Graph *g, size_t chunk)
{
	const Model *m = g->model;
	Extent e = {.head_dim = m->head_dim, .heads = m->n_head};
	e.columns = max_u32(m->hidden, max_u32(m->inter, m->q_width));
	e.columns = max_u32(e.columns, max_u32(m->expert_inter, m->n_expert));
	for (int i = 0; i < g->count; i++) {
		const Func *f = &g->funcs[i];
		size_t bytes = 0;
		for (int k = 0; k < f->count; k++) {
			const Value *v = func_value(f, k);
			uint32_t rows = 0, columns = 0;
			if (v->role >= 0)
				graph_tensor_shape(g, v, &rows, &columns);
			else if (v->op == OP_TRANSFORM)
				columns = transform_span(v->transform);
			e.columns = max_u32(e.columns, columns);
			bytes += value_bytes(v, chunk);
			if (v->op == OP_OUTPUT && i < g->count - 1)
				e.carry = max_u32(e.carry, v->width);
		}
		e.func_bytes = bytes > e.func_bytes ? bytes : e.func_bytes;
		e.values = max_u32(e.values, (uint32_t)f->count);
	}
	return e;
}

/* A weight row of `columns` columns in any format. */
static void
task_alloc(Arena *a, TaskScratch *t, uint32_t columns)
{
	t->row.codes = ARENA_ARRAY(a, uint8_t, columns);
	t->row.zeros = ARENA_ARRAY(a, uint8_t, columns);
	t->row.scales = ARENA_ARRAY(a, float, columns);
	t->row.minima = ARENA_ARRAY(a, float, columns);
	t->row.row_f32 = ARENA_ARRAY(a, float, columns);
	t->row.exact = ARENA_ARRAY(a, double, 2 * (size_t)columns);
	t->codes = ARENA_ARRAY(a, int16_t, columns);
	t->row_sums = ARENA_ARRAY(a, float, columns);
	t->weights = ARENA_ARRAY(a, double, columns);
	t->partial = ARENA_ARRAY(a, float, 3 * INTERP_CHUNK);
}

static void
cache_scales(Interp *x, Rows *r)
{
	const size_t n = (size_t)x->n_ctx * x->graph->model->n_kv_head;
	r->scales = ARENA_ARRAY(x->run, float, n);
	r->zeros = ARENA_ARRAY(x->run, float, n);
	r->n_scales = (int)x->graph->model->n_kv_head;
}

static void
cache_alloc(Interp *x)
{
	const Model *m = x->graph->model;
	size_t n = (size_t)x->n_ctx * m->kv_width;
	x->keys = ARENA_ARRAY(x->run, Rows, m->n_layer);
	x->vals = ARENA_ARRAY(x->run, Rows, m->n_layer);
	for (uint32_t l = 0; l < m->n_layer; l++) {
		if (x->arithmetic == ARITHMETIC_DOUBLE) {
			x->keys[l].d = ARENA_ARRAY(x->run, double, n);
			x->vals[l].d = ARENA_ARRAY(x->run, double, n);
		} else {
			x->keys[l].f = ARENA_ARRAY(x->run, float, n);
			x->vals[l].f = ARENA_ARRAY(x->run, float, n);
			cache_scales(x, &x->keys[l]);
			cache_scales(x, &x->vals[l]);
		}
	}
}

Interp *
interp_new(Arena *run, const Graph *g, Arithmetic a, int n_ctx, int jobs)
{
	INVARIANT(n_ctx > 0);
	Interp *x = ARENA_NEW(run, Interp);
	x->chunk = n_ctx < INTERP_CHUNK ? n_ctx : INTERP_CHUNK;
	const size_t chunk = (size_t)x->chunk;
	Extent e = graph_extent(g, chunk);
	size_t pairs = 2 * chunk * (e.head_dim / 2 + 1);
	x->run = run;
	x->graph = g;
	x->arithmetic = a;
	x->ops = a == ARITHMETIC_DOUBLE ? interp_double_ops : interp_contract_ops;
	x->n_ctx = n_ctx;
	x->jobs = jobs < 1 ? 1 : jobs;
	x->values = ARENA_ARRAY(run, Rows, e.values);
	x->scratch = ARENA_ARRAY(run, uint8_t, e.func_bytes);
	x->carry.d = ARENA_ARRAY(run, double, chunk *e.carry);
	x->carry.f = ARENA_ARRAY(run, float, chunk *e.carry);
	x->cos_f = ARENA_ARRAY(run, float, pairs);
	x->sin_f = ARENA_ARRAY(run, float, pairs);
	x->cos_d = ARENA_ARRAY(run, double, pairs);
	x->sin_d = ARENA_ARRAY(run, double, pairs);
	x->n_tasks = 4 * x->jobs;
	x->tasks = ARENA_ARRAY(run, TaskScratch, (size_t)x->n_tasks);
	for (int i = 0; i < x->n_tasks; i++)
		task_alloc(run, &x->tasks[i], e.columns);
	x->transposed = ARENA_ARRAY(run, float, chunk *e.columns);
	x->code_sums = ARENA_ARRAY(run, int32_t, chunk * e.columns);
	x->x_sums = ARENA_ARRAY(run, float, chunk *e.columns);
	/* DOUBLE keeps a query's scores, CONTRACT a row of a block's partial results and a query's
	 * codes. */
	x->head_bytes = round_up(((size_t)n_ctx + 2 * e.head_dim) * sizeof(double), 64);
	x->heads = ARENA_ARRAY(run, uint8_t, e.heads * x->head_bytes);
	cache_alloc(x);
	return x;
}

void
interp_use_exact_weights(Interp *x)
{
	INVARIANT(x->arithmetic == ARITHMETIC_DOUBLE);
	x->exact = true;
}

/* ---- what a step asks for ------------------------------------------------------------------- */

static uint32_t
step_layer(const Step *s)
{
	return s->func->layer < 0 ? 0 : (uint32_t)s->func->layer;
}

Format
step_weight_format(const Step *s)
{
	return graph_expert_format(s->interp->graph, s->value->role, (int)step_layer(s), s->expert);
}

Rows *
step_keys(const Step *s)
{
	return &s->interp->keys[step_layer(s)];
}

Rows *
step_vals(const Step *s)
{
	return &s->interp->vals[step_layer(s)];
}

size_t
step_run(const Step *s)
{
	return s->value->heads ? s->value->width / s->value->heads : s->value->width;
}

size_t
step_rope(const Step *s, int m)
{
	const int row = s->value->window ? s->interp->chunk + m : m;
	return (size_t)row * (s->value->width / s->value->heads / 2);
}

size_t
step_first(const Step *s, int m)
{
	const size_t seen = (size_t)(s->past + m) + 1, window = s->value->window;
	return window && window < seen ? seen - window : 0;
}

void
step_same(Step *s)
{
	*s->out = *s->in[0];
}

typedef struct RowsWork {
	Step *step;
	RowsFn fn;
	uint32_t rows;
	int tasks;
} RowsWork;

static void
rows_task(void *arg, int i)
{
	RowsWork *w = arg;
	uint32_t first = (uint32_t)((uint64_t)w->rows * (uint64_t)i / (uint64_t)w->tasks);
	uint32_t end = (uint32_t)((uint64_t)w->rows * (uint64_t)(i + 1) / (uint64_t)w->tasks);
	w->fn(w->step, &w->step->interp->tasks[i], first, end);
}

void
step_parallel_rows(Step *s, RowsFn fn)
{
	RowsWork w = {s, fn, s->source.rows, s->interp->n_tasks};
	parallel_for(s->interp->jobs, w.tasks, rows_task, &w);
}

typedef struct HeadsWork {
	Step *step;
	HeadFn fn;
} HeadsWork;

static void
heads_task(void *arg, int i)
{
	HeadsWork *w = arg;
	Interp *x = w->step->interp;
	w->fn(w->step, (uint32_t)i, x->heads + (size_t)i * x->head_bytes);
}

void
step_parallel_heads(Step *s, HeadFn fn)
{
	HeadsWork w = {s, fn};
	parallel_for(s->interp->jobs, (int)s->value->heads, heads_task, &w);
}

/* ---- the walk ------------------------------------------------------------------------------- */

/* Points rows at `bytes` bytes of scratch in every view; a value uses the view of its format. */
static void
rows_place(const Interp *x, Rows *r, const Value *v, uint8_t *at)
{
	size_t n = (size_t)x->chunk * v->width;
	memset(r, 0, sizeof *r);
	r->d = (double *)(void *)at;
	r->f = (float *)(void *)at;
	if (format_is_float(v->format))
		return;
	r->hi = (int16_t *)(void *)at;
	r->lo = r->hi + n;
	r->scales = (float *)(void *)(r->lo + n);
	r->n_scales = format_groups(v->format, (int)v->width);
	r->zeros = r->scales + (size_t)x->chunk * (size_t)r->n_scales;
}

/* Row `from` of r as a value's only one. */
static Rows
rows_at(const Rows *r, const Value *v, int from)
{
	const size_t at = (size_t)from * v->width;
	const size_t scale = (size_t)from * (size_t)r->n_scales;
	Rows one = *r;
	one.d = r->d ? r->d + at : NULL;
	one.f = r->f ? r->f + at : NULL;
	if (format_is_float(v->format))
		return one;
	one.hi = r->hi + at;
	one.lo = r->lo + at;
	one.scales = r->scales + scale;
	one.zeros = r->zeros + scale;
	return one;
}

/* The expert in the value's slot of token m. */
static uint32_t
step_expert(const Step *s, int m)
{
	const Value *route = func_value(s->func, s->value->operands[1]);
	const size_t at = (size_t)m * route->width + route->used + s->value->slot;
	const bool exact = s->interp->arithmetic == ARITHMETIC_DOUBLE;
	return (uint32_t)(exact ? s->in[1]->d[at] : (double)s->in[1]->f[at]);
}

/* Each expert's linear on the tokens that chose it, one after the other. */
static void
run_experts(Step *s)
{
	const Interp *x = s->interp;
	const Value *row = func_value(s->func, s->value->operands[0]);
	for (uint32_t e = 0; e < x->graph->model->n_expert; e++) {
		for (int m = 0; m < s->n; m++) {
			if (step_expert(s, m) != e)
				continue;
			if (!s->source.tensor)
				weight_source_open_expert(&s->source, x->graph, s->func, s->value,
							  e, x->jobs, x->fault);
			const Rows in = rows_at(s->in[0], row, m);
			Rows out = rows_at(s->out, s->value, m);
			Step one = *s;
			one.in[0] = &in;
			one.out = &out;
			one.n = 1;
			one.expert = e;
			x->ops[OP_LINEAR](&one);
		}
		if (s->source.tensor)
			weight_source_close(&s->source);
	}
}

int
interp_run_func(Interp *x, const Func *f, const int32_t *tokens, int n, int past)
{
	uint8_t *at = x->scratch;
	int output = -1;
	for (int i = 0; i < f->count; i++) {
		const Value *v = func_value(f, i);
		Step s = {.interp = x,
			  .func = f,
			  .value = v,
			  .tokens = tokens,
			  .n = n,
			  .past = past,
			  .out = &x->values[i]};
		for (int k = 0; k < VALUE_OPERANDS; k++) {
			INVARIANT(v->operands[k] < i);
			if (v->operands[k] >= 0)
				s.in[k] = &x->values[v->operands[k]];
		}
		rows_place(x, s.out, v, at);
		at += value_bytes(v, (size_t)x->chunk);
		if (v->role >= 0 && !role_experts[v->role])
			weight_source_open(&s.source, x->graph, f, v, x->jobs, x->fault);
		if (v->op == OP_INPUT)
			*s.out = x->carry;
		else if (v->op == OP_OUTPUT)
			output = v->operands[0];
		else if (v->op == OP_EXPERT)
			run_experts(&s);
		else
			x->ops[v->op](&s);
		if (s.source.tensor)
			weight_source_close(&s.source);
	}
	INVARIANT(output >= 0);
	return output;
}

/* Keeps the last row only: what is left of a chunk when no other row's logits are wanted. */
static void
carry_last(Interp *x, uint32_t width, int n)
{
	size_t from = (size_t)(n - 1) * width;
	memmove(x->carry.d, x->carry.d + from, width * sizeof(double));
	memmove(x->carry.f, x->carry.f + from, width * sizeof(float));
}

void
interp_run_rope(Interp *x, int n)
{
	const Model *m = x->graph->model;
	uint32_t half = m->head_dim / 2;
	for (int t = 0; t < n; t++) {
		const size_t at = (size_t)t * half, windowed = (size_t)(x->chunk + t) * half;
		uint32_t position = (uint32_t)(x->n_past + t);
		if (x->arithmetic == ARITHMETIC_CONTRACT) {
			rope_table(m, position, x->cos_f + at, x->sin_f + at);
			if (m->window)
				rope_table_window(m, position, x->cos_f + windowed,
						  x->sin_f + windowed);
			continue;
		}
		for (uint32_t i = 0; i < half; i++) {
			double angle = position * pow(m->rope_base, -2.0 * i / m->head_dim);
			if (m->rope_divisors)
				angle /= (double)m->rope_divisors[i];
			x->cos_d[at + i] = cos(angle);
			x->sin_d[at + i] = sin(angle);
			if (!m->window)
				continue;
			angle = position * pow(m->rope_base_window, -2.0 * i / m->head_dim);
			x->cos_d[windowed + i] = cos(angle);
			x->sin_d[windowed + i] = sin(angle);
		}
	}
}

/* Runs every function for n <= INTERP_CHUNK tokens; the head for `wanted` last rows only (0, 1 or
 * n). */
static const Rows *
chunk_run(Interp *x, const int32_t *tokens, int n, int wanted)
{
	const Graph *g = x->graph;
	const Rows *result = NULL;
	interp_run_rope(x, n);
	for (int i = 0; i < g->count; i++) {
		const Func *f = &g->funcs[i];
		bool head = i == g->count - 1;
		if (head && wanted == 0)
			break;
		if (head && wanted < n) {
			carry_last(x, g->model->hidden, n);
			n = wanted;
		}
		int output = interp_run_func(x, f, tokens, n, x->n_past);
		result = &x->values[output];
		if (head)
			break;
		size_t count = (size_t)n * func_value(f, output)->width;
		if (x->arithmetic == ARITHMETIC_DOUBLE)
			memmove(x->carry.d, result->d, count * sizeof(double));
		else
			memmove(x->carry.f, result->f, count * sizeof(float));
	}
	return result;
}

static void
logits_store(const Interp *x, const Rows *r, size_t count, float *logits, double *logits_double)
{
	if (x->arithmetic == ARITHMETIC_CONTRACT) {
		memcpy(logits, r->f, count * sizeof(float));
		return;
	}
	if (logits_double) {
		memcpy(logits_double, r->d, count * sizeof(double));
		return;
	}
	for (size_t i = 0; i < count; i++)
		logits[i] = (float)r->d[i];
}

void
interp_eval(Interp *x, const int32_t *tokens, int n, float *logits, double *logits_double, bool all)
{
	INVARIANT(n > 0 && n <= x->n_ctx - x->n_past);
	size_t n_vocab = x->graph->model->n_vocab;
	size_t stored = 0;
	while (n > 0) {
		int c = n < x->chunk ? n : x->chunk;
		int wanted = all ? c : n == c;
		const Rows *r = chunk_run(x, tokens, c, wanted);
		size_t count = (size_t)wanted * n_vocab;
		if (wanted)
			logits_store(x, r, count, logits ? logits + stored : NULL,
				     logits_double ? logits_double + stored : NULL);
		stored += count;
		tokens += c;
		n -= c;
		x->n_past += c;
	}
}

void
interp_truncate(Interp *x, int n_past)
{
	INVARIANT(n_past >= 0 && n_past <= x->n_past);
	x->n_past = n_past;
}
