/* Scales tuned by the gradient of the divergence of predictions. */
#include "distil.h"

#include <math.h>
#include <string.h>

#include "recipe.h"
#include "stream_impl.h"

/* Positions whose logits exist at a time; rows of weights that a thread does at a time. */
enum { PIECE = 128, DECODED_ROWS = 32, SLOPE_ROWS = 64 };
/* Adam, and steps until its rate is whole. */
#define MEAN_DECAY 0.9
#define SQUARE_DECAY 0.95
#define LEAST_ROOT 1e-8
#define WARM_STEPS 3

/* Of a linear with codes; what is not said otherwise [rows][groups]. */
typedef struct Scales {
	uint32_t rows, columns, groups;
	Format format;
	const uint8_t *codes; /* [rows][columns] */
	const float *zeros, *start;
	float *stored;			       /* the plan's: start times factor, rounded */
	float *factor, *slope, *mean, *square; /* slope: the gradient by the factor */
} Scales;

struct Distil {
	const DistilRun *o;
	int32_t *ids;
	Tokens batch, piece;
	/* Whole batches up to the last function; the planned one again with all values of a
	 * function; the last function by pieces. */
	Stream *streams[STREAMS], *back, *ends[STREAMS];
	float **inputs;		 /* [functions]: what each reads in the planned model */
	float *slopes;		 /* by the rows between functions [positions][hidden] */
	Scales **scales;	 /* [functions][values]: null codes: none */
	float ***fixed[STREAMS]; /* [functions][values]: weights that stay, or null */
	float **weights;	 /* [values], of the function at work */
	const Func *func;
	double *losses; /* [PIECE] */
};

/* ---- weights -------------------------------------------------------------------------------- */

/* What the scale of column c's group multiplies. */
static float
centre(const Scales *s, uint32_t row, uint32_t group, uint32_t c)
{
	const float zero = s->zeros ? s->zeros[(size_t)row * s->groups + group]
				    : (float)format_offset(s->format);
	return (float)s->codes[(size_t)row * s->columns + c] - zero;
}

typedef struct DecodeJob {
	const Scales *s;
	float *w;
} DecodeJob;

static void
decode_rows(void *arg, int task)
{
	const DecodeJob *j = arg;
	const Scales *s = j->s;
	const uint32_t first = (uint32_t)task * DECODED_ROWS;
	for (uint32_t r = first; r < first + DECODED_ROWS && r < s->rows; r++)
		for (uint32_t g = 0, c = 0; g < s->groups; g++) {
			const float scale = s->stored[(size_t)r * s->groups + g];
			uint32_t end = c + (uint32_t)format_group_width(s->format, (int)s->columns,
									(int)g);
			for (; c < end; c++)
				j->w[(size_t)r * s->columns + c] = centre(s, r, g, c) * scale;
		}
}

/* Those of linear i of function f of a stream; own: from the pool, to be given back. */
static float *
weights_of(const Distil *x, StreamKind kind, int f, int i, bool *own)
{
	const Scales *s = &x->scales[f][i];
	*own = kind == STREAM_ROUNDED && s->codes;
	if (!*own)
		return x->fixed[kind][f][i];
	DecodeJob j = {s, pool_take(x->o->pool, (size_t)s->rows * s->columns)};
	parallel_for(x->o->jobs, (int)((s->rows + DECODED_ROWS - 1) / DECODED_ROWS), decode_rows,
		     &j);
	return j.w;
}

/* ---- forward -------------------------------------------------------------------------------- */

static void
enter_piece(Stream *s, const Func *f, const float *rows, size_t n)
{
	stream_free(s);
	s->n = n;
	memcpy(stream_resume(s), rows, n * s->graph->model->hidden * sizeof *rows);
	stream_enter(s, f);
}

/* All values of function f; the weights it took are given back, or kept in x->weights. */
static void
step_values(Distil *x, Stream *s, int f, bool keep)
{
	const Func *func = &x->o->graph->funcs[f];
	for (int i = 0; i < func->count; i++) {
		bool own = false;
		float *w = func_value(func, i)->op == OP_LINEAR ? weights_of(x, s->kind, f, i, &own)
								: NULL;
		stream_step(s, i, w);
		if (keep)
			x->weights[i] = w;
		else if (own)
			pool_give(x->o->pool, w);
	}
}

/* Up to the last function. */
static void
forward(Distil *x, StreamKind kind)
{
	Stream *s = x->streams[kind];
	stream_free(s);
	for (int f = 0; f + 1 < x->o->graph->count; f++) {
		stream_enter(s, &x->o->graph->funcs[f]);
		step_values(x, s, f, false);
		stream_leave(s);
		if (kind == STREAM_ROUNDED)
			memcpy(x->inputs[f + 1], stream_carry(s),
			       s->n * x->o->graph->model->hidden * sizeof(float));
	}
}

/* ---- the loss ------------------------------------------------------------------------------- */

typedef struct LossJob {
	const float *wanted, *got; /* logits [PIECE][vocabulary] */
	float *slopes;		   /* by `got` */
	size_t n;
	double share; /* of a position in the loss */
	double *losses;
} LossJob;

/* Log of the sum of e^x. */
static double
log_sum(const float *x, size_t n)
{
	float most = x[0];
	double sum = 0.0;
	for (size_t i = 1; i < n; i++)
		most = x[i] > most ? x[i] : most;
	for (size_t i = 0; i < n; i++)
		sum += (double)expf(x[i] - most);
	return (double)most + log(sum);
}

/* sum p (log p - log q), whose slope by q's logits is q - p. */
static void
loss_row(void *arg, int row)
{
	const LossJob *j = arg;
	const float *a = j->wanted + (size_t)row * j->n, *b = j->got + (size_t)row * j->n;
	float *slopes = j->slopes + (size_t)row * j->n;
	const double all_a = log_sum(a, j->n), all_b = log_sum(b, j->n);
	double loss = 0.0;
	for (size_t i = 0; i < j->n; i++) {
		const double log_p = (double)a[i] - all_a, log_q = (double)b[i] - all_b;
		const float p = expf((float)log_p), q = expf((float)log_q);
		loss += (double)p * (log_p - log_q);
		slopes[i] = (q - p) * (float)j->share;
	}
	j->losses[row] = loss;
}

/* The mean over all positions, piece by piece; its gradient by the last function's input. */
static double
loss_of(Distil *x, bool slopes)
{
	const Graph *g = x->o->graph;
	const int last = g->count - 1;
	const Func *f = &g->funcs[last];
	const size_t all = x->streams[0]->n, hidden = g->model->hidden;
	const size_t vocabulary = f->values[f->count - 1].width;
	const StreamLinears linears = {
		.weights = (const float *const *)x->fixed[STREAM_ROUNDED][last]};
	float *by = pool_take(x->o->pool, PIECE * vocabulary);
	double sum = 0.0;
	for (size_t at = 0; at < all; at += PIECE) {
		const size_t n = all - at < PIECE ? all - at : PIECE;
		for (int k = 0; k < STREAMS; k++) {
			enter_piece(x->ends[k], f, stream_carry(x->streams[k]) + at * hidden, n);
			step_values(x, x->ends[k], last, false);
		}
		LossJob j = {stream_output(x->ends[STREAM_FLOAT]),
			     stream_output(x->ends[STREAM_ROUNDED]),
			     by,
			     vocabulary,
			     1.0 / (double)all,
			     x->losses};
		parallel_for(x->o->jobs, (int)n, loss_row, &j);
		for (size_t i = 0; i < n; i++)
			sum += x->losses[i];
		if (slopes)
			stream_back(x->ends[STREAM_ROUNDED], by, x->slopes + at * hidden, &linears);
		for (int k = 0; k < STREAMS; k++)
			stream_leave(x->ends[k]);
	}
	pool_give(x->o->pool, by);
	return sum / (double)all;
}

/* ---- backward ------------------------------------------------------------------------------- */

typedef struct SlopeJob {
	const Distil *x;
	const Scales *s;
	const float *in, *by_out;
	size_t tokens;
} SlopeJob;

/* dW = dy^T x; by a factor, scale times the sum of dW centre over its group. */
static void
slope_rows(void *arg, int task)
{
	const SlopeJob *j = arg;
	const Scales *s = j->s;
	const uint32_t first = (uint32_t)task * SLOPE_ROWS, left = s->rows - first;
	const uint32_t n = left < SLOPE_ROWS ? left : SLOPE_ROWS;
	Arena *scratch = arena_new();
	float *dw = ARENA_ARRAY(scratch, float, (size_t)n * s->columns);
	linalg_cross(j->x->o->linalg, n, s->columns, j->tokens, 1.0f, j->by_out + first, s->rows,
		     j->in, s->columns, dw, s->columns);
	for (uint32_t r = 0; r < n; r++)
		for (uint32_t g = 0, c = 0; g < s->groups; g++) {
			const size_t at = (size_t)(first + r) * s->groups + g;
			uint32_t end = c + (uint32_t)format_group_width(s->format, (int)s->columns,
									(int)g);
			double sum = 0.0;
			for (; c < end; c++)
				sum += (double)dw[(size_t)r * s->columns + c] *
				       (double)centre(s, first + r, g, c);
			s->slope[at] = (float)(sum * (double)s->start[at]);
		}
	arena_free(scratch);
}

static void
take_slopes(void *arg, int i, const float *in, const float *by_out)
{
	Distil *x = arg;
	SlopeJob j = {x, &x->scales[x->func - x->o->graph->funcs][i], in, by_out, x->back->n};
	if (j.s->codes)
		parallel_for(x->o->jobs, (int)((j.s->rows + SLOPE_ROWS - 1) / SLOPE_ROWS),
			     slope_rows, &j);
}

/* The functions in reverse, each computed anew from its input. */
static void
backward(Distil *x)
{
	const Graph *g = x->o->graph;
	const StreamLinears linears = {
		.weights = (const float *const *)x->weights, .visit = take_slopes, .arg = x};
	for (int f = g->count - 2; f >= 0 && g->funcs[f].layer >= 0; f--) {
		x->func = &g->funcs[f];
		stream_free(x->back);
		memcpy(stream_resume(x->back), x->inputs[f],
		       x->back->n * g->model->hidden * sizeof(float));
		stream_enter(x->back, x->func);
		step_values(x, x->back, f, true);
		stream_back(x->back, x->slopes, x->slopes, &linears);
		stream_leave(x->back);
		for (int i = 0; i < x->func->count; i++)
			if (x->scales[f][i].codes)
				pool_give(x->o->pool, x->weights[i]);
	}
}

double
distil_loss(Distil *x, const int32_t *ids, bool slopes)
{
	memcpy(x->ids, ids, (size_t)DISTIL_BATCH * x->batch.length * sizeof *ids);
	forward(x, STREAM_FLOAT);
	forward(x, STREAM_ROUNDED);
	const double loss = loss_of(x, slopes);
	if (slopes)
		backward(x);
	return loss;
}

/* ---- begin and end -------------------------------------------------------------------------- */

static void
open_scales(Arena *run, const DistilRun *o, const Func *f, const Value *v, Scales *s)
{
	PlanCodes *codes = &o->plan->codes[v->role][f->layer];
	const Format format = graph_weight_format(o->graph, v->role, f->layer);
	uint32_t rows, columns;
	graph_tensor_shape(o->graph, v, &rows, &columns);
	const size_t groups = (size_t)format_groups(format, (int)columns), n = rows * groups;
	*s = (Scales){.rows = rows,
		      .columns = columns,
		      .groups = (uint32_t)groups,
		      .format = format,
		      .codes = codes->codes,
		      .zeros = codes->zeros,
		      .start = codes->scales,
		      .stored = ARENA_ARRAY(run, float, n),
		      .factor = ARENA_ARRAY(run, float, n),
		      .slope = ARENA_ARRAY(run, float, n),
		      .mean = ARENA_ARRAY(run, float, n),
		      .square = ARENA_ARRAY(run, float, n)};
	memcpy(s->stored, s->start, n * sizeof *s->stored);
	for (size_t i = 0; i < n; i++)
		s->factor[i] = 1.0f;
	codes->scales = s->stored;
}

/* Scales of the function's linears, weights of those that have none. */
static void
open_function(Arena *run, Distil *x, int index)
{
	const DistilRun *o = x->o;
	const Func *f = &o->graph->funcs[index];
	x->scales[index] = ARENA_ARRAY(run, Scales, (size_t)f->count);
	for (int k = 0; k < STREAMS; k++)
		x->fixed[k][index] = ARENA_ARRAY(run, float *, (size_t)f->count);
	for (int i = 0; i < f->count; i++) {
		const Value *v = func_value(f, i);
		uint32_t rows, columns;
		if (v->op != OP_LINEAR)
			continue;
		if (recipe_rounds(o->graph, f, v))
			open_scales(run, o, f, v, &x->scales[index][i]);
		graph_tensor_shape(o->graph, v, &rows, &columns);
		for (int k = 0; k < STREAMS; k++) {
			if (k == STREAM_ROUNDED && x->scales[index][i].codes)
				continue;
			float *w = pool_take(o->pool, (size_t)rows * columns);
			stream_weights(o->graph, f, v, (StreamKind)k, o->jobs, w);
			x->fixed[k][index][i] = w;
		}
	}
}

Distil *
distil_new(Arena *run, const DistilRun *o)
{
	Distil *x = ARENA_NEW(run, Distil);
	const Graph *g = o->graph;
	const size_t functions = (size_t)g->count;
	const size_t n = (size_t)DISTIL_BATCH * o->held->length;
	int most = 0;
	*x = (Distil){.o = o,
		      .ids = ARENA_ARRAY(run, int32_t, n),
		      .inputs = ARENA_ARRAY(run, float *, functions),
		      .slopes = pool_take(o->pool, n * g->model->hidden),
		      .scales = ARENA_ARRAY(run, Scales *, functions),
		      .losses = ARENA_ARRAY(run, double, PIECE)};
	x->batch = (Tokens){x->ids, DISTIL_BATCH, o->held->length};
	x->piece = (Tokens){x->ids, 1, PIECE};
	for (int k = 0; k < STREAMS; k++) {
		const StreamKind kind = (StreamKind)k;
		x->fixed[k] = ARENA_ARRAY(run, float **, functions);
		x->streams[k] = stream_new(run, o->pool, o->linalg, g, &x->batch, kind, o->jobs);
		x->ends[k] = stream_new(run, o->pool, o->linalg, g, &x->piece, kind, o->jobs);
	}
	x->back = stream_new(run, o->pool, o->linalg, g, &x->batch, STREAM_ROUNDED, o->jobs);
	stream_keep(x->back);
	stream_keep(x->ends[STREAM_ROUNDED]);
	for (int f = 0; f < g->count; f++) {
		open_function(run, x, f);
		x->inputs[f] = f ? pool_take(o->pool, n * g->model->hidden) : NULL;
		most = g->funcs[f].count > most ? g->funcs[f].count : most;
	}
	x->weights = ARENA_ARRAY(run, float *, (size_t)most);
	return x;
}

void
distil_free(Distil *x)
{
	const Graph *g = x->o->graph;
	for (int k = 0; k < STREAMS; k++) {
		stream_free(x->streams[k]);
		stream_free(x->ends[k]);
		for (int f = 0; f < g->count; f++)
			for (int i = 0; i < g->funcs[f].count; i++)
				pool_give(x->o->pool, x->fixed[k][f][i]);
	}
	stream_free(x->back);
	for (int f = 0; f < g->count; f++)
		pool_give(x->o->pool, x->inputs[f]);
	pool_give(x->o->pool, x->slopes);
}

/* ---- for tests ------------------------------------------------------------------------------ */

static Scales *
scales_of(const Distil *x, int role, int layer)
{
	const Graph *g = x->o->graph;
	for (int f = 0; f < g->count; f++)
		for (int i = 0; i < g->funcs[f].count; i++)
			if (g->funcs[f].layer == layer &&
			    func_value(&g->funcs[f], i)->role == role && x->scales[f][i].codes)
				return &x->scales[f][i];
	return NULL;
}

const float *
distil_slopes(const Distil *x, int role, int layer)
{
	const Scales *s = scales_of(x, role, layer);
	return s ? s->slope : NULL;
}

void
distil_factor(Distil *x, int role, int layer, size_t i, float factor)
{
	Scales *s = scales_of(x, role, layer);
	s->factor[i] = factor;
	s->stored[i] = s->start[i] * factor;
}

/* ---- Adam ----------------------------------------------------------------------------------- */

/* A scale that would overflow, vanish or change its sign stays. */
static void
move(Scales *s, double rate, double mean_share, double square_share)
{
	const size_t n = (size_t)s->rows * s->groups;
	for (size_t i = 0; i < n; i++) {
		const double by = (double)s->slope[i];
		const double mean = MEAN_DECAY * (double)s->mean[i] + (1.0 - MEAN_DECAY) * by;
		const double square =
			SQUARE_DECAY * (double)s->square[i] + (1.0 - SQUARE_DECAY) * by * by;
		s->mean[i] = (float)mean;
		s->square[i] = (float)square;
		s->factor[i] -= (float)(rate * (mean / mean_share) /
					(sqrt(square / square_share) + LEAST_ROOT));
		const float scale = format_scale_round(s->format, s->start[i] * s->factor[i]);
		if (isfinite(scale) && scale * s->start[i] > 0.0f)
			s->stored[i] = scale;
	}
}

static void
move_all(Distil *x, int step)
{
	const double pi = 3.14159265358979323846, t = step;
	const double warm = step < WARM_STEPS ? (t + 1.0) / WARM_STEPS : 1.0;
	const double rate = x->o->rate * warm * 0.5 * (1.0 + cos(pi * t / x->o->steps));
	for (int f = 0; f < x->o->graph->count; f++)
		for (int i = 0; i < x->o->graph->funcs[f].count; i++)
			if (x->scales[f][i].codes)
				move(&x->scales[f][i], rate, 1.0 - pow(MEAN_DECAY, t + 1.0),
				     1.0 - pow(SQUARE_DECAY, t + 1.0));
}

/* ---- the run -------------------------------------------------------------------------------- */

static double
judge(Distil *x)
{
	const Tokens *t = x->o->held;
	double sum = 0.0;
	for (uint32_t i = 0; i < t->sequences; i += DISTIL_BATCH)
		sum += distil_loss(x, t->ids + (size_t)i * t->length, false);
	return sum / (t->sequences / DISTIL_BATCH);
}

/*
 * Sequences that begin anywhere: those of the moments are what the codes were fitted to, where the
 * planned model errs less than elsewhere.
 */
static void
draw(const DistilRun *o, uint64_t *seed, int32_t *ids)
{
	const uint32_t length = o->held->length;
	const size_t places = o->text->count - length + 1;
	for (uint32_t k = 0; k < DISTIL_BATCH; k++)
		tokens_cut(o->text, (size_t)(stage_random(seed) % places), length,
			   ids + (size_t)k * length);
}

static void
restore(Distil *x)
{
	for (int f = 0; f < x->o->graph->count; f++)
		for (int i = 0; i < x->o->graph->funcs[f].count; i++) {
			const Scales *s = &x->scales[f][i];
			if (s->codes)
				memcpy(s->stored, s->start,
				       (size_t)s->rows * s->groups * sizeof *s->stored);
		}
}

DistilResult
distil(Arena *run, const DistilRun *o)
{
	Distil *x = distil_new(run, o);
	int32_t *ids = ARENA_ARRAY(run, int32_t, (size_t)DISTIL_BATCH * o->held->length);
	uint64_t seed = (uint64_t)o->seed;
	DistilResult r = {.before = judge(x)};
	for (int step = 0; step < o->steps; step++) {
		draw(o, &seed, ids);
		const double loss = distil_loss(x, ids, true);
		move_all(x, step);
		o->progress(o->progress_arg,
			    arena_printf(run, "step %d of %d: divergence %.4f", step + 1, o->steps,
					 loss),
			    0.0);
	}
	r.after = judge(x);
	r.kept = r.after < r.before;
	if (!r.kept)
		restore(x);
	distil_free(x);
	return r;
}
