/* A recipe at work: this file reads like gen/method/README.md's "How a run goes". */
#include "recipe.h"

#include <math.h>
#include <string.h>

#include "blocks.h"
#include "clip.h"
#include "distil.h"
#include "gen/plan/apply.h"
#include "gen/settings.h"
#include "ir/pass.h"
#include "ir/plan_apply.h"
#include "state.h"

/* Tokens that statistics for permutations are taken of (perq.md section 3). */
enum { STATISTICS_TOKENS = 2048 };

typedef struct Run {
	Arena *arena;
	Diag *d;
	const RecipeRun *o;
	Pool *pool;
	const Linalg *linalg;
	Plan *plan;
	Graph *graph;
	Stream *streams[STREAMS];
	StreamKind first; /* ROUNDED where nothing asks for the rows of the unrounded model */
	/* Moments of the row that the last linears read: [columns][columns]. */
	int row;
	double *h, *g;
	int done, linears; /* for progress */
} Run;

/* ---- statistics for permutations ------------------------------------------------------------ */

static void
take_statistics(RowStatistics *s, uint32_t layer, const float *x, size_t tokens, uint32_t width)
{
	float *mean = s->mean + (size_t)layer * width, *square = s->square + (size_t)layer * width;
	float *peak = s->peak + (size_t)layer * width;
	for (uint32_t i = 0; i < width; i++) {
		double sum = 0.0, squares = 0.0;
		for (size_t t = 0; t < tokens; t++) {
			const float a = fabsf(x[t * width + i]);
			sum += (double)a;
			squares += (double)a * (double)a;
			peak[i] = a > peak[i] ? a : peak[i];
		}
		mean[i] = (float)(sum / (double)tokens);
		square[i] = (float)(squares / (double)tokens);
	}
}

static Graph *
graph_of(Run *r, Plan *p)
{
	const Settings settings = {0};
	const PassOptions passes = {0};
	Graph *g = graph_build(r->arena, r->o->model);
	if (!settings_apply(&settings, r->d, g) || (p && !plan_apply(r->d, g, p)) ||
	    !passes_run(g, &passes, r->d) || diag_errors(r->d))
		return NULL;
	return g;
}

/* Of a layer in front of its down, linear v: what is known of the rows and of the columns that they
 * meet, and what follows for mlp.mid and R3. */
static bool
layer_statistics(const Run *r, const Graph *g, const Func *f, const Value *v, const float *x,
		 size_t tokens, RowStatistics *s)
{
	const Recipe *recipe = r->o->recipe;
	const char *why = NULL;
	const uint32_t layer = (uint32_t)f->layer;
	uint32_t rows, n;
	Arena *scratch = arena_new();
	graph_tensor_shape(g, v, &rows, &n);
	float *w = ARENA_ARRAY(scratch, float, (size_t)rows *n);
	float *sums = s->weight + (size_t)layer * n;
	stream_weights(g, f, v, STREAM_FLOAT, r->o->jobs, w);
	for (size_t i = 0; i < (size_t)rows * n; i++)
		sums[i % n] += w[i] * w[i];
	take_statistics(s, layer, x, tokens, n);
	if (recipe->smooth > 0.0)
		stage_smooth(recipe, s, layer, n);
	s->block[layer] = recipe->block ? (uint32_t)recipe->block : n;
	if (recipe->block_slack > 0.0) {
		double *gram = ARENA_ARRAY(scratch, double, (size_t)n *n);
		linalg_moments(r->linalg, rows, n, w, NULL, gram);
		const BlockProblem p = {.recipe = recipe,
					.model = r->o->model,
					.statistics = s,
					.layer = layer,
					.x = x,
					.tokens = tokens,
					.gram = gram,
					.linalg = r->linalg,
					.jobs = r->o->jobs};
		s->block[layer] = block_search(scratch, &p, &why);
		if (why)
			diag_error(r->d, v->loc, E_RECIPE, "layer %u: %s", layer, why);
		else
			r->o->progress(r->o->progress_arg,
				       arena_printf(r->arena, "layer %u: R3 in blocks of %u", layer,
						    s->block[layer]),
				       0.0);
	}
	arena_free(scratch);
	return !why;
}

/* The unplanned model on the first sequences. */
static bool
statistics(Run *r, RowStatistics *s)
{
	const Model *m = r->o->model;
	const size_t count = (size_t)m->n_layer * m->inter;
	const Graph *g = graph_of(r, NULL);
	Tokens some = *r->o->tokens;
	const uint32_t wanted = (STATISTICS_TOKENS + some.length - 1) / some.length;
	if (!g)
		return false;
	*s = (RowStatistics){.mean = ARENA_ARRAY(r->arena, float, count),
			     .square = ARENA_ARRAY(r->arena, float, count),
			     .peak = ARENA_ARRAY(r->arena, float, count),
			     .weight = ARENA_ARRAY(r->arena, float, count),
			     .diagonal = ARENA_ARRAY(r->arena, double, count),
			     .block = ARENA_ARRAY(r->arena, uint32_t, m->n_layer)};
	some.sequences = some.sequences < wanted ? some.sequences : wanted;
	Stream *x = stream_new(r->arena, r->pool, r->linalg, g, &some, STREAM_FLOAT, r->o->jobs);
	bool ok = true;
	for (int i = 0; i + 1 < g->count && ok; i++) {
		const Func *f = &g->funcs[i];
		stream_enter(x, f);
		for (int v = 0; v < f->count && ok; v++) {
			const Value *down = func_value(f, v);
			if (down->op == OP_LINEAR && down->role == ROLE_DOWN)
				ok = layer_statistics(r, g, f, down,
						      stream_rows(x, down->operands[0]),
						      (size_t)some.sequences * some.length, s);
			stream_step(x, v, NULL);
		}
		if (ok)
			stream_leave(x);
	}
	if (ok)
		stream_free(x);
	return ok;
}

/* ---- linears -------------------------------------------------------------------------------- */

static bool
wants_cross(const Recipe *r)
{
	return r->target == TARGET_CROSS || r->round == ROUND_QRONOS || r->round == ROUND_TWIN;
}

static void
take_moments(Run *r, int row, uint32_t columns)
{
	const size_t n = (size_t)columns * columns;
	const size_t tokens = (size_t)r->o->tokens->sequences * r->o->tokens->length;
	const float *rounded = stream_rows(r->streams[STREAM_ROUNDED], row);
	if (r->row == row)
		return;
	r->row = row;
	memset(r->h, 0, n * sizeof *r->h);
	linalg_moments(r->linalg, tokens, columns, rounded, NULL, r->h);
	for (size_t i = 0; i < n; i++)
		r->h[i] /= (double)tokens;
	if (!wants_cross(r->o->recipe))
		return;
	memset(r->g, 0, n * sizeof *r->g);
	linalg_moments(r->linalg, tokens, columns, rounded,
		       stream_rows(r->streams[STREAM_FLOAT], row), r->g);
	for (size_t i = 0; i < n; i++)
		r->g[i] /= (double)tokens;
}

/* Codes in memory that may be spilled; `result` is about to go. */
static PlanCodes
keep(Run *r, const RoundResult *result, uint32_t rows, uint32_t columns, uint32_t groups)
{
	const size_t codes = (size_t)rows * columns, scales = (size_t)rows * groups;
	uint8_t *bytes = (uint8_t *)pool_take(r->pool, (codes + 3) / 4);
	float *scale = ARENA_ARRAY(r->arena, float, scales);
	float *zeros = result->zeros ? ARENA_ARRAY(r->arena, float, scales) : NULL;
	memcpy(bytes, result->codes, codes);
	memcpy(scale, result->scales, scales * sizeof *scale);
	if (zeros)
		memcpy(zeros, result->zeros, scales * sizeof *zeros);
	return (PlanCodes){bytes, scale, zeros, r->o->model->loc};
}

static void
say(Run *r, const Func *f, const Value *v, const RoundResult *result)
{
	const char *note = "";
	if (result->dead)
		note = arena_printf(r->arena, ", %u dead columns", result->dead);
	if (result->damped > r->o->recipe->damp && r->o->recipe->alpha == 0.0)
		note = arena_printf(r->arena, "%s, damped by %.2g", note, result->damped);
	r->o->progress(r->o->progress_arg,
		       arena_printf(r->arena, "layer %d %s: error %.3g%s", f->layer,
				    role_names[v->role], result->error, note),
		       (double)++r->done / r->linears);
}

/* One linear: codes from the moments of what it reads; both streams go through it. */
static bool
do_linear(Run *r, const Func *f, int i)
{
	const Value *v = func_value(f, i);
	const Rounding how = recipe_rounding(r->o->recipe);
	uint32_t rows, columns;
	graph_tensor_shape(r->graph, v, &rows, &columns);
	Arena *scratch = arena_new();
	float *w = ARENA_ARRAY(scratch, float, (size_t)rows *columns);
	const char *why = NULL;
	RoundResult result;
	take_moments(r, v->operands[0], columns);
	stream_weights(r->graph, f, v, STREAM_FLOAT, r->o->jobs, w);
	const RoundProblem p = {.rows = rows,
				.columns = columns,
				.w = w,
				.h = r->h,
				.g = wants_cross(r->o->recipe) ? r->g : NULL,
				.format = graph_weight_format(r->graph, v->role, f->layer),
				.how = &how,
				.linalg = r->linalg,
				.jobs = r->o->jobs};
	const bool ok = round_weights(scratch, &p, &result, &why);
	if (!ok) {
		diag_error(r->d, v->loc, E_RECIPE, "layer %d, %s: %s", f->layer,
			   role_names[v->role], why);
	} else {
		r->plan->codes[v->role][f->layer] = keep(
			r, &result, rows, columns, (uint32_t)format_groups(p.format, (int)columns));
		if (r->first == STREAM_FLOAT)
			stream_step(r->streams[STREAM_FLOAT], i, w);
		stream_step(r->streams[STREAM_ROUNDED], i, result.w);
		say(r, f, v, &result);
	}
	arena_free(scratch);
	return ok;
}

/* ---- clips ---------------------------------------------------------------------------------- */

int
recipe_clip_site(const Func *f, int i)
{
	for (int k = i + 1; k < f->count && func_value(f, i)->op == OP_QUANTIZE; k++) {
		const Value *v = func_value(f, k);
		if (v->op == OP_LINEAR && v->operands[0] == i && f->layer >= 0)
			return role_site(v->role);
	}
	return -1;
}

void
recipe_put_clip(Graph *g, Plan *p, const Func *f, int i, float ratio)
{
	const int site = recipe_clip_site(f, i);
	g->funcs[f - g->funcs].values[i].format.clip = ratio;
	p->activations[site][f->layer].format.clip = ratio;
}

/* Of the codes that value i makes: before the rows become codes. */
static void
choose_clip(Run *r, const Func *f, int i)
{
	const Value *v = func_value(f, i);
	const size_t n = v->width;
	Arena *scratch = arena_new();
	double *gram = ARENA_ARRAY(scratch, double, n *n);
	for (int k = i + 1; k < f->count; k++) {
		const Value *reader = func_value(f, k);
		uint32_t rows, columns;
		if (reader->op != OP_LINEAR || reader->operands[0] != i)
			continue;
		graph_tensor_shape(r->graph, reader, &rows, &columns);
		float *w = ARENA_ARRAY(scratch, float, (size_t)rows *columns);
		stream_weights(r->graph, f, reader, STREAM_FLOAT, r->o->jobs, w);
		linalg_moments(r->linalg, rows, columns, w, NULL, gram);
	}
	const ClipProblem p = {.x = stream_rows(r->streams[STREAM_ROUNDED], v->operands[0]),
			       .tokens = (size_t)r->o->tokens->sequences * r->o->tokens->length,
			       .width = v->width,
			       .gram = gram,
			       .format = v->format,
			       .linalg = r->linalg,
			       .jobs = r->o->jobs};
	const float ratio = clip_search(scratch, &p);
	recipe_put_clip(r->graph, r->plan, f, i, ratio);
	r->o->progress(r->o->progress_arg,
		       arena_printf(r->arena, "%s: clip %.2f",
				    site_place(r->arena, (Site)recipe_clip_site(f, i), f->layer),
				    ratio != 0.0f ? (double)ratio : 1.0),
		       (double)r->done / r->linears);
	arena_free(scratch);
}

bool
recipe_rounds(const Graph *g, const Func *f, const Value *v)
{
	return v->op == OP_LINEAR && f->layer >= 0 &&
	       !format_is_float(graph_weight_format(g, v->role, f->layer));
}

/* One function, both streams side by side. */
static bool
do_function(Run *r, const Func *f)
{
	bool ok = true;
	r->row = -1;
	for (int k = r->first; k < STREAMS; k++)
		stream_enter(r->streams[k], f);
	for (int i = 0; i < f->count && ok; i++) {
		if (recipe_rounds(r->graph, f, func_value(f, i))) {
			ok = do_linear(r, f, i);
			continue;
		}
		if (r->o->recipe->clip != CLIP_NONE && recipe_clip_site(f, i) >= 0)
			choose_clip(r, f, i);
		for (int k = r->first; k < STREAMS; k++)
			stream_step(r->streams[k], i, NULL);
	}
	for (int k = r->first; k < STREAMS && ok; k++)
		stream_leave(r->streams[k]);
	return ok;
}

/* ---- the run -------------------------------------------------------------------------------- */

static void
prepare(Run *r)
{
	uint32_t widest = 0;
	for (int i = 0; i < r->graph->count; i++)
		for (int v = 0; v < r->graph->funcs[i].count; v++) {
			const Func *f = &r->graph->funcs[i];
			uint32_t rows, columns;
			if (!recipe_rounds(r->graph, f, func_value(f, v)))
				continue;
			graph_tensor_shape(r->graph, func_value(f, v), &rows, &columns);
			widest = columns > widest ? columns : widest;
			r->linears++;
		}
	r->h = ARENA_ARRAY(r->arena, double, (size_t)widest *widest);
	r->g = ARENA_ARRAY(r->arena, double, (size_t)widest *widest);
	for (int k = r->first; k < STREAMS; k++)
		r->streams[k] = stream_new(r->arena, r->pool, r->linalg, r->graph, r->o->tokens,
					   (StreamKind)k, r->o->jobs);
}

/* All but the last one, which has no codes; from where an earlier run ended. */
static bool
do_functions(Run *r, RunState *state)
{
	const Tokens *t = r->o->tokens;
	*state = (RunState){.run = r->arena,
			    .folder = r->o->state,
			    .model = r->o->model,
			    .graph = r->graph,
			    .plan = r->plan,
			    .streams = r->streams,
			    .first = r->first,
			    .pool = r->pool,
			    .row_floats = (size_t)t->sequences * t->length * r->o->model->hidden};
	Text *identity = text_new(r->arena);
	int done;
	recipe_print(identity, r->o->recipe);
	text_printf(identity, "%s\n", r->o->identity ? r->o->identity : "");
	if (!state_open(r->d, state, identity->text, &done))
		return false;
	if (done)
		r->o->progress(r->o->progress_arg,
			       arena_printf(r->arena, "%d functions are done", done), 0.0);
	for (int i = done; i + 1 < r->graph->count; i++) {
		if (!do_function(r, &r->graph->funcs[i]))
			return false;
		state_keep(state, i);
	}
	return true;
}

/* Rates of Adam that a float simulation found for scales: coarse ones move more. */
static double
distil_rate(const Recipe *r)
{
	const bool coarse_rows = !format_is_float(r->activations) && r->activations.bits <= 4;
	if (r->distil_rate > 0.0)
		return r->distil_rate;
	if (r->weights.bits <= 3)
		return r->weights.bits <= 2 ? 6e-3 : 3e-3;
	return coarse_rows ? 2e-3 : 1.5e-3;
}

/* Scales anew, end to end; what it gained is said. */
static void
do_distil(Run *r)
{
	const DistilRun o = {.graph = r->graph,
			     .plan = r->plan,
			     .linalg = r->linalg,
			     .pool = r->pool,
			     .tokens = r->o->tokens,
			     .jobs = r->o->jobs,
			     .steps = r->o->recipe->distil,
			     .seed = r->o->recipe->seed,
			     .rate = distil_rate(r->o->recipe),
			     .progress = r->o->progress,
			     .progress_arg = r->o->progress_arg};
	const DistilResult result = distil(r->arena, &o);
	r->o->progress(r->o->progress_arg,
		       arena_printf(r->arena, "divergence of what was held out: %.4f, was %.4f%s",
				    result.after, result.before,
				    result.kept ? "" : "; the scales are left as they were"),
		       0.0);
}

Plan *
recipe_run(Arena *run, Diag *d, const RecipeRun *o, Pool *pool)
{
	Run r = {.arena = run,
		 .d = d,
		 .o = o,
		 .pool = pool,
		 .linalg = o->linalg,
		 .first = wants_cross(o->recipe) ? STREAM_FLOAT : STREAM_ROUNDED,
		 .plan = plan_new(run, o->model)};
	RowStatistics s;
	RunState state;
	stage_formats(o->recipe, o->model, r.plan);
	if (!stage_rotate(run, d, o->recipe, o->model, r.plan))
		return NULL;
	if ((o->recipe->permute != PERMUTE_NONE || o->recipe->smooth > 0.0 ||
	     o->recipe->block_slack > 0.0) &&
	    (!statistics(&r, &s) || !stage_middle(run, d, o->recipe, o->model, &s, r.plan)))
		return NULL;
	r.graph = graph_of(&r, r.plan);
	if (!r.graph)
		return NULL;
	prepare(&r);
	if (!do_functions(&r, &state))
		return NULL;
	for (int k = r.first; k < STREAMS; k++)
		stream_free(r.streams[k]);
	if (o->recipe->distil)
		do_distil(&r);
	state_close(&state);
	return r.plan;
}
