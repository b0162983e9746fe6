/* Vectors of reflections by the gradient of a layer's error. */
#include "tune.h"

#include <math.h>
#include <string.h>

#include "adam.h"
#include "ir/plan_apply.h"
#include "sites.h"
#include "stream_impl.h"

/* Rows of a thread; linears of a layer at most. */
enum { TUNE_ROWS = 64, TUNE_LINEARS = 8 };

/* A site whose rows x are reflected: H_v H_start on top of what the graph makes of them. */
typedef struct TunedSite {
	Site site;
	int row, codes; /* values: the rows, and their codes */
	uint32_t n;
	const double *start;
	double *v, *slope, *first, *second; /* [n] */
} TunedSite;

typedef struct TunedLinear {
	int value;
	TunedSite *site; /* null: its rows are not reflected */
	uint32_t rows, columns;
	Format format;
	float *plain, *reflected, *used; /* in front of the reflection, behind it, rounded */
	float *scales;			 /* [rows][groups] of `used` */
} TunedLinear;

typedef struct Tune {
	const RecipeRun *o;
	Pool *pool;
	const Graph *graph;
	Tokens tokens, one; /* one: a sequence */
	Stream *streams[STREAMS], *back;
	Rounding how;
	bool rounds; /* weights too */
	/* Of the layer at work: */
	Arena *arena;
	const Func *f;
	TunedSite sites[STAGE_SITES];
	TunedLinear linears[TUNE_LINEARS];
	int n_sites, n_linears;
	const float **weights; /* [values] */
	float *by;	       /* [length][hidden] */
} Tune;

/* ---- rounding ------------------------------------------------------------------------------- */

typedef struct Ends {
	size_t low, high, peak; /* n: the end is 0 and nobody's */
	double span;		/* between the ends */
} Ends;

static Ends
ends_of(bool zero, const float *x, size_t n)
{
	Ends e = {zero ? n : 0, zero ? n : 0, 0, 0.0};
	float low = zero ? 0.0f : x[0], high = low;
	for (size_t i = 0; i < n; i++) {
		if (x[i] < low) {
			low = x[i];
			e.low = i;
		}
		if (x[i] > high) {
			high = x[i];
			e.high = i;
		}
		if (fabsf(x[i]) > fabsf(x[e.peak]))
			e.peak = i;
	}
	e.span = (double)high - (double)low;
	return e;
}

TuneRange
tune_range_of_row(Format f, const float *x, size_t n)
{
	TuneRange r = {.both = f.zero != ZERO_NONE, .zero = f.zero == ZERO_REAL};
	const Ends e = ends_of(r.zero, x, n);
	const double range = r.both ? e.span / (format_high(f) - format_low(f))
				    : fabs((double)x[e.peak]) / format_qmax(f);
	r.step = (float)(range * (f.clip != 0.0f ? (double)f.clip : 1.0));
	return r;
}

void
tune_rounding_back(TuneRange r, const float *x, const float *rounded, size_t n, float *by)
{
	const Ends e = ends_of(r.zero, x, n);
	const double inside = 0.5001 * fabs((double)r.step);
	double sum = 0.0; /* by the scale, times the scale */
	if (!(inside > 0.0))
		return;
	for (size_t i = 0; i < n; i++) {
		const double off = (double)rounded[i] - (double)x[i];
		const bool beyond = !(fabs(off) <= inside);
		sum += (double)by[i] * (beyond ? (double)rounded[i] : off);
		by[i] = beyond ? 0.0f : by[i];
	}
	if (!r.both) {
		by[e.peak] += (float)(sum / (double)x[e.peak]);
		return;
	}
	if (e.high < n)
		by[e.high] += (float)(sum / e.span);
	if (e.low < n)
		by[e.low] -= (float)(sum / e.span);
}

/* ---- reflections ---------------------------------------------------------------------------- */

static double
dot(uint32_t n, const double *v, const float *x)
{
	double sum = 0.0;
	for (uint32_t i = 0; i < n; i++)
		sum += v[i] * (double)x[i];
	return sum;
}

static double
square_of(uint32_t n, const double *v)
{
	double sum = 0.0;
	for (uint32_t i = 0; i < n; i++)
		sum += v[i] * v[i];
	return sum;
}

static void
reflect(uint32_t n, const double *v, size_t rows, float *x)
{
	const double square = square_of(n, v);
	for (size_t r = 0; r < rows; r++, x += n) {
		const double f = 2.0 * dot(n, v, x) / square;
		for (uint32_t i = 0; i < n; i++)
			x[i] -= (float)(f * v[i]);
	}
}

typedef struct ReflectJob {
	uint32_t n;
	const double *first, *second; /* second may be null */
	size_t rows;
	float *x;
} ReflectJob;

static void
reflect_piece(void *arg, int task)
{
	const ReflectJob *j = arg;
	const size_t first = (size_t)task * TUNE_ROWS, left = j->rows - first;
	const size_t rows = left < TUNE_ROWS ? left : TUNE_ROWS;
	reflect(j->n, j->first, rows, j->x + first * j->n);
	if (j->second)
		reflect(j->n, j->second, rows, j->x + first * j->n);
}

static int
pieces(size_t rows)
{
	return (int)((rows + TUNE_ROWS - 1) / TUNE_ROWS);
}

static void
reflect_all(const Tune *k, uint32_t n, const double *first, const double *second, size_t rows,
	    float *x)
{
	ReflectJob j = {n, first, second, rows, x};
	parallel_for(k->o->jobs, pieces(rows), reflect_piece, &j);
}

/* For x = H_v y: of a row 2 / v.v ((x.v) by - (by.v) x), since y.v = -x.v. */
void
tune_slope(uint32_t n, const double *v, size_t rows, const float *x, const float *by, double *slope)
{
	const double factor = 2.0 / square_of(n, v);
	for (size_t r = 0; r < rows; r++, x += n, by += n) {
		const double a = factor * dot(n, v, x), b = factor * dot(n, v, by);
		for (uint32_t i = 0; i < n; i++)
			slope[i] += a * (double)by[i] - b * (double)x[i];
	}
}

/* ---- forward -------------------------------------------------------------------------------- */

static void
step_all(const Tune *k, Stream *s)
{
	for (int i = 0; i < k->f->count; i++) {
		stream_step(s, i, k->weights[i]);
		for (int t = 0; t < k->n_sites; t++)
			if (k->sites[t].row == i)
				reflect_all(k, k->sites[t].n, k->sites[t].start, k->sites[t].v,
					    s->n, s->rows[s->root[i]]);
	}
}

/* The weights behind the reflections as they are now. */
static void
take_weights(Tune *k, Arena *scratch)
{
	for (int i = 0; i < k->n_linears; i++) {
		TunedLinear *l = &k->linears[i];
		const size_t count = (size_t)l->rows * l->columns;
		if (l->site) {
			memcpy(l->reflected, l->plain, count * sizeof *l->plain);
			reflect_all(k, l->columns, l->site->v, NULL, l->rows, l->reflected);
		}
		if (k->rounds) {
			const RoundProblem p = {.rows = l->rows,
						.columns = l->columns,
						.w = l->reflected,
						.format = l->format,
						.how = &k->how,
						.linalg = k->o->linalg,
						.jobs = k->o->jobs};
			const char *why;
			RoundResult r;
			if (!round_weights(scratch, &p, &r, &why))
				BUG("finite weights: %s", why);
			memcpy(l->used, r.w, count * sizeof *r.w);
			memcpy(l->scales, r.scales,
			       (size_t)l->rows * (size_t)format_groups(l->format, (int)l->columns) *
				       sizeof *r.scales);
			arena_reset(scratch);
		}
		k->weights[l->value] = k->rounds ? l->used : l->reflected;
	}
}

/* The layer on a sequence, all values kept; the mean square of its error, whose gradient `by`
 * becomes. */
static double
run_sequence(Tune *k, uint32_t sequence)
{
	const size_t count = (size_t)k->one.length * k->graph->model->hidden;
	const size_t at = sequence * count;
	double sum = 0.0;
	stream_free(k->back);
	memcpy(stream_resume(k->back), stream_carry(k->streams[STREAM_ROUNDED]) + at,
	       count * sizeof(float));
	stream_enter(k->back, k->f);
	step_all(k, k->back);
	const float *got = stream_output(k->back);
	const float *wanted = stream_carry(k->streams[STREAM_FLOAT]) + at;
	for (size_t i = 0; i < count; i++) {
		const double off = (double)got[i] - (double)wanted[i];
		k->by[i] = (float)(2.0 * off / (double)count);
		sum += off * off;
	}
	return sum / (double)count;
}

static double
judge(Tune *k)
{
	double sum = 0.0;
	for (uint32_t i = 0; i < k->tokens.sequences; i++) {
		sum += run_sequence(k, i) / k->tokens.sequences;
		stream_leave(k->back);
	}
	return sum;
}

/* ---- backward ------------------------------------------------------------------------------- */

/* Shares of a slope: of pieces of rows or of weights. */
typedef struct SlopeJob {
	const Tune *k;
	const TunedSite *site;
	const TunedLinear *linear; /* null: rows */
	const float *x, *by_out;   /* of the linear */
	float *by;		   /* of the rows */
	double *slopes;		   /* [pieces][n] */
} SlopeJob;

static void
slope_of_rows(void *arg, int task)
{
	const SlopeJob *j = arg;
	const Stream *s = j->k->back;
	const uint32_t n = j->site->n;
	const Format f = func_value(j->k->f, j->site->codes)->format;
	const size_t first = (size_t)task * TUNE_ROWS, group = f.group ? f.group : n;
	const float *x = stream_rows(s, j->site->row), *rounded = stream_rows(s, j->site->codes);
	const size_t rows = s->n - first < TUNE_ROWS ? s->n - first : TUNE_ROWS;
	float *by = j->by + first * n;
	for (size_t r = first; r < first + rows; r++)
		for (size_t g = 0; g < n; g += group) {
			const size_t at = r * n + g, width = n - g < group ? n - g : group;
			tune_rounding_back(tune_range_of_row(f, x + at, width), x + at,
					   rounded + at, width, j->by + at);
		}
	tune_slope(n, j->site->v, rows, x + first * n, by, j->slopes + (size_t)task * n);
	reflect(n, j->site->v, rows, by);
	reflect(n, j->site->start, rows, by);
}

static void
slope_of_weights(void *arg, int task)
{
	const SlopeJob *j = arg;
	const TunedLinear *l = j->linear;
	const uint32_t n = l->columns;
	const size_t first = (size_t)task * TUNE_ROWS, left = l->rows - first;
	const size_t rows = left < TUNE_ROWS ? left : TUNE_ROWS;
	const size_t groups = (size_t)format_groups(l->format, (int)n);
	const float *w = l->reflected + first * n;
	Arena *scratch = arena_new();
	float *by = ARENA_ARRAY(scratch, float, rows *n);
	linalg_cross(j->k->o->linalg, rows, n, j->k->back->n, 1.0f, j->by_out + first, l->rows,
		     j->x, n, by, n);
	for (size_t r = 0; r < rows && j->k->rounds; r++)
		for (size_t g = 0, c = 0; g < groups; g++) {
			const size_t at = r * n + c;
			const size_t width = (size_t)format_group_width(l->format, (int)n, (int)g);
			const TuneRange range = {l->format.zero != ZERO_NONE,
						 l->format.zero != ZERO_NONE,
						 l->scales[(first + r) * groups + g]};
			tune_rounding_back(range, w + at, l->used + first * n + at, width, by + at);
			c += width;
		}
	tune_slope(n, j->site->v, rows, w, by, j->slopes + (size_t)task * n);
	arena_free(scratch);
}

static void
add_slopes(SlopeJob *j, size_t rows, void (*piece)(void *arg, int task))
{
	const uint32_t n = j->site->n;
	Arena *scratch = arena_new();
	j->slopes = ARENA_ARRAY(scratch, double, (size_t)pieces(rows) * n);
	parallel_for(j->k->o->jobs, pieces(rows), piece, j);
	for (size_t i = 0; i < (size_t)pieces(rows) * n; i++)
		j->site->slope[i % n] += j->slopes[i];
	arena_free(scratch);
}

static void
visit_linear(void *arg, int i, const float *x, const float *by_out)
{
	const Tune *k = arg;
	for (int l = 0; l < k->n_linears; l++)
		if (k->linears[l].value == i && k->linears[l].site) {
			SlopeJob j = {.k = k,
				      .site = k->linears[l].site,
				      .linear = &k->linears[l],
				      .x = x,
				      .by_out = by_out};
			add_slopes(&j, k->linears[l].rows, slope_of_weights);
		}
}

static void
visit_codes(void *arg, int i, float *by_out)
{
	const Tune *k = arg;
	for (int t = 0; t < k->n_sites; t++)
		if (k->sites[t].codes == i) {
			SlopeJob j = {.k = k, .site = &k->sites[t], .by = by_out};
			add_slopes(&j, k->back->n, slope_of_rows);
		}
}

static void
take_slopes(Tune *k)
{
	const StreamLinears l = {k->weights, visit_linear, visit_codes, k};
	for (int t = 0; t < k->n_sites; t++)
		memset(k->sites[t].slope, 0, k->sites[t].n * sizeof(double));
	stream_back(k->back, k->by, k->by, &l);
}

/* ---- a layer -------------------------------------------------------------------------------- */

/* The layer's sites with reflections, in the order of their values. */
static void
open_sites(Tune *k, const Plan *p)
{
	k->n_sites = 0;
	for (int i = 0; i < k->f->count; i++) {
		const int site = recipe_clip_site(k->f, i);
		TunedSite *s = &k->sites[k->n_sites];
		if (site < 0)
			continue;
		const uint32_t n = func_value(k->f, i)->width;
		double *start = ARENA_ARRAY(k->arena, double, n);
		if (!ruquant_reflection(k->arena, p->transforms[site][k->f->layer].transform,
					start))
			continue;
		*s = (TunedSite){.site = (Site)site,
				 .row = func_value(k->f, i)->operands[0],
				 .codes = i,
				 .n = n,
				 .start = start,
				 .v = ARENA_ARRAY(k->arena, double, n),
				 .slope = ARENA_ARRAY(k->arena, double, n),
				 .first = ARENA_ARRAY(k->arena, double, n),
				 .second = ARENA_ARRAY(k->arena, double, n)};
		memcpy(s->v, start, n * sizeof *start);
		k->n_sites++;
	}
}

/* Its linears, unrounded as the plan has them so far. */
static void
open_linears(Tune *k)
{
	k->n_linears = 0;
	k->weights = ARENA_ARRAY(k->arena, const float *, (size_t)k->f->count);
	for (int i = 0; i < k->f->count; i++) {
		const Value *v = func_value(k->f, i);
		TunedLinear *l = &k->linears[k->n_linears];
		if (v->op != OP_LINEAR)
			continue;
		INVARIANT(k->n_linears < TUNE_LINEARS);
		k->n_linears++;
		*l = (TunedLinear){.value = i,
				   .format = graph_weight_format(k->graph, v->role, k->f->layer)};
		graph_tensor_shape(k->graph, v, &l->rows, &l->columns);
		for (int t = 0; t < k->n_sites; t++)
			if (k->sites[t].codes == v->operands[0])
				l->site = &k->sites[t];
		const size_t count = (size_t)l->rows * l->columns;
		l->plain = pool_take(k->pool, count);
		l->reflected = l->site ? pool_take(k->pool, count) : l->plain;
		l->used = k->rounds ? pool_take(k->pool, count) : NULL;
		l->scales = ARENA_ARRAY(
			k->arena, float,
			(size_t)l->rows *(size_t)format_groups(l->format, (int)l->columns));
		stream_weights(k->graph, k->f, v, STREAM_FLOAT, k->o->jobs, l->plain);
		k->weights[i] = l->plain;
	}
}

static void
close_linears(const Tune *k)
{
	for (int i = 0; i < k->n_linears; i++) {
		const TunedLinear *l = &k->linears[i];
		pool_give(k->pool, l->used);
		if (l->reflected != l->plain)
			pool_give(k->pool, l->reflected);
		pool_give(k->pool, l->plain);
	}
}

/* Vectors of one size, so that a rate means the same at each site; `order` as the sequences come.
 */
static void
descend(Tune *k, uint32_t *order, uint64_t *seed)
{
	const int steps = k->o->recipe->ruquant_tune;
	const uint32_t all = k->tokens.sequences;
	Arena *scratch = arena_new();
	for (int t = 0; t < k->n_sites; t++) {
		TunedSite *s = &k->sites[t];
		const double size = sqrt(s->n / square_of(s->n, s->v));
		for (uint32_t i = 0; i < s->n; i++)
			s->v[i] *= size;
	}
	for (int step = 0; step < steps; step++) {
		const uint32_t at = (uint32_t)step % all;
		if (!at)
			stage_shuffle(seed, all, order);
		take_weights(k, scratch);
		run_sequence(k, order[at]);
		take_slopes(k);
		stream_leave(k->back);
		for (int t = 0; t < k->n_sites; t++) {
			const TunedSite *s = &k->sites[t];
			adam_move(s->v, s->slope, s->first, s->second, s->n, step + 1,
				  k->o->recipe->ruquant_rate * (steps - step) / steps);
		}
	}
	arena_free(scratch);
}

/* What was found goes into the plan where it is better, else out of the way. */
static bool
settle(Arena *run, Diag *d, Tune *k, Plan *p, double before)
{
	Arena *scratch = arena_new();
	take_weights(k, scratch);
	const double after = judge(k);
	const bool kept = after < before;
	bool ok = true;
	for (int t = 0; t < k->n_sites && ok; t++) {
		const TunedSite *s = &k->sites[t];
		PlanTransform *at = &p->transforms[s->site][k->f->layer];
		const char *why = NULL;
		if (!kept) {
			memcpy(s->v, s->start, s->n * sizeof *s->v);
			continue;
		}
		at->transform = ruquant_moved(run, at->transform, s->v, &why);
		ok = at->transform != NULL;
		if (!ok)
			diag_error(d, at->loc, E_RECIPE, "%s: %s",
				   site_place(run, s->site, k->f->layer), why);
	}
	if (!kept)
		take_weights(k, scratch);
	k->o->progress(k->o->progress_arg,
		       arena_printf(run, "layer %d: reflections, error %.3g, was %.3g%s",
				    k->f->layer, after, before,
				    kept ? "" : "; they are left as they were"),
		       0.0);
	arena_free(scratch);
	return ok;
}

/* The layer tuned, and both streams through it. */
static bool
tune_layer(Arena *run, Diag *d, Tune *k, Plan *p, uint64_t *seed)
{
	k->arena = arena_new();
	uint32_t *order = ARENA_ARRAY(k->arena, uint32_t, k->tokens.sequences);
	for (uint32_t i = 0; i < k->tokens.sequences; i++)
		order[i] = i;
	open_sites(k, p);
	open_linears(k);
	Stream *s = k->streams[STREAM_FLOAT];
	stream_enter(s, k->f);
	for (int i = 0; i < k->f->count; i++)
		stream_step(s, i, k->weights[i]);
	stream_leave(s);
	for (int i = 0; i < k->n_linears; i++)
		if (k->linears[i].site)
			reflect_all(k, k->linears[i].columns, k->linears[i].site->start, NULL,
				    k->linears[i].rows, k->linears[i].plain);
	Arena *scratch = arena_new();
	take_weights(k, scratch);
	arena_free(scratch);
	bool ok = true;
	if (k->n_sites) {
		const double before = judge(k);
		descend(k, order, seed);
		ok = settle(run, d, k, p, before);
	}
	s = k->streams[STREAM_ROUNDED];
	stream_enter(s, k->f);
	step_all(k, s);
	stream_leave(s);
	close_linears(k);
	arena_free(k->arena);
	return ok;
}

bool
tune_reflections(Arena *run, Diag *d, const RecipeRun *o, Pool *pool, Plan *p)
{
	const Recipe *r = o->recipe;
	Tune k = {.o = o,
		  .pool = pool,
		  .tokens = tokens_first(o->tokens, (uint32_t)r->statistics),
		  .how = {.scale = SCALE_ABSMAX, .round = ROUND_RTN, .clip = r->weights_clip},
		  .rounds = r->round == ROUND_RTN && r->scale == SCALE_ABSMAX};
	uint64_t seed = (uint64_t)r->seed;
	bool ok = true;
	if (!r->ruquant_tune)
		return true;
	k.one = (Tokens){k.tokens.ids, 1, k.tokens.length};
	k.graph = recipe_graph(run, d, o->model, p);
	if (!k.graph)
		return false;
	for (int i = 0; i < STREAMS; i++)
		k.streams[i] = stream_new(run, pool, o->linalg, k.graph, &k.tokens, (StreamKind)i,
					  o->jobs);
	k.back = stream_new(run, pool, o->linalg, k.graph, &k.one, STREAM_ROUNDED, o->jobs);
	stream_keep(k.back);
	k.by = pool_take(pool, (size_t)k.one.length * o->model->hidden);
	for (int i = 0; i + 1 < k.graph->count && ok; i++) {
		k.f = &k.graph->funcs[i];
		if (k.f->layer >= 0)
			ok = tune_layer(run, d, &k, p, &seed);
		else
			for (int s = 0; s < STREAMS; s++)
				stream_function(k.streams[s], k.f);
	}
	for (int i = 0; i < STREAMS; i++)
		stream_free(k.streams[i]);
	stream_free(k.back);
	pool_give(pool, k.by);
	return ok;
}
