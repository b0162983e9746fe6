/* A recipe at work: this file reads like gen/method/README.md's "How a run goes". */
#include "recipe.h"

#include <math.h>
#include <string.h>

#include "allocate.h"
#include "clip.h"
#include "distil.h"
#include "gen/plan/apply.h"
#include "gen/settings.h"
#include "ir/pass.h"
#include "ir/plan_apply.h"
#include "sites.h"
#include "state.h"
#include "targets/facts.h"

typedef struct Run {
	Arena *arena;
	Diag *d;
	const RecipeRun *o;
	Pool *pool;
	const Linalg *linalg;
	Plan *plan;
	Graph *graph;
	Stream *streams[STREAMS];
	/* ROUNDED where nothing asks for the rows of the unrounded model, STREAMS where nothing
	 * does for any rows. */
	StreamKind first;
	/* Moments of the row that the last linears read: [columns][columns]. */
	int row;
	double *h, *g;
	int done, linears; /* for progress */
} Run;

Graph *
recipe_graph(Arena *run, Diag *d, Model *m, Plan *p)
{
	const Settings settings = {0};
	const PassOptions passes = {0};
	Graph *g = graph_build(run, m);
	if (!settings_apply(&settings, d, g) || !plan_apply(d, g, p) ||
	    !passes_run(g, &passes, d) || diag_errors(d))
		return NULL;
	return g;
}

/* ---- linears -------------------------------------------------------------------------------- */

static bool
wants_cross(const Recipe *r)
{
	return r->target == TARGET_CROSS || r->round == ROUND_QRONOS || r->round == ROUND_TWIN;
}

/* Whether codes and scales depend on what linears read. */
static bool
wants_rows(const Recipe *r)
{
	return r->round != ROUND_RTN || r->scale >= SCALE_PISO || r->polish != POLISH_NONE ||
	       r->refit || r->clip != CLIP_NONE;
}

static StreamKind
first_stream(const Recipe *r)
{
	if (wants_cross(r))
		return STREAM_FLOAT;
	return wants_rows(r) ? STREAM_ROUNDED : STREAMS;
}

static void
take_moments(Run *r, int row, uint32_t columns)
{
	const size_t n = (size_t)columns * columns;
	const size_t tokens = (size_t)r->o->tokens->sequences * r->o->tokens->length;
	if (r->first == STREAMS || r->row == row)
		return;
	const float *rounded = stream_rows(r->streams[STREAM_ROUNDED], row);
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
				.h = r->first == STREAMS ? NULL : r->h,
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
		if (r->first != STREAMS)
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

/* What the plan costs, of the graph that it makes. */
static void
record_cost(Run *r)
{
	const Layout *l = layout_new(r->arena, r->graph);
	const Stored s = facts_stored(r->graph, l, true);
	const Sums sums = facts_all_sums(r->graph, l);
	r->plan->maker.bits = round(1e4 * facts_bits(&s, facts_stored_bytes(&s))) / 1e4;
	r->plan->maker.adds = sums.adds;
	r->plan->maker.multiplies = sums.multiplies;
}

Plan *
recipe_run(Arena *run, Diag *d, const RecipeRun *o, Pool *pool)
{
	Run r = {.arena = run,
		 .d = d,
		 .o = o,
		 .pool = pool,
		 .linalg = o->linalg,
		 .first = first_stream(o->recipe),
		 .plan = plan_new(run, o->model)};
	RunState state;
	stage_formats(o->recipe, o->model, r.plan);
	if (!stage_rotate(run, d, o->recipe, o->model, r.plan) ||
	    !sites_choose(run, d, o, pool, r.plan) ||
	    !stage_online(run, d, o->recipe, o->model, r.plan) ||
	    !allocate_rows(run, d, o, pool, r.plan))
		return NULL;
	r.graph = recipe_graph(run, d, o->model, r.plan);
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
	record_cost(&r);
	return r.plan;
}
