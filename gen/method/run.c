/* A recipe at work: this file reads like gen/method/README.md's "How a run goes". */
#include "recipe.h"

#include <math.h>
#include <string.h>

#include "allocate.h"
#include "clip.h"
#include "distil.h"
#include "experts.h"
#include "gen/plan/apply.h"
#include "gen/settings.h"
#include "ir/pass.h"
#include "ir/plan_apply.h"
#include "sites.h"
#include "state.h"
#include "targets/facts.h"
#include "tune.h"

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
	ExpertMoments experts;
	bool unreached;		  /* said of this function */
	bool clipped[SITE_COUNT]; /* in this function */
	int done, linears;	  /* for progress */
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
	const size_t tokens = tokens_count(r->o->tokens);
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

/* "q", "expert_up.3" */
static const char *
matrix_name(Run *r, const Value *v, uint32_t e)
{
	const char *role = role_names[v->role];
	return role_experts[v->role] ? arena_printf(r->arena, "%s.%u", role, e) : role;
}

static void
say(Run *r, const Func *f, const Value *v, uint32_t e, const char *note, const RoundResult *result)
{
	if (result->dead)
		note = arena_printf(r->arena, "%s, %u dead columns", note, result->dead);
	if (result->damped > r->o->recipe->damp && r->o->recipe->alpha == 0.0)
		note = arena_printf(r->arena, "%s, damped by %.2g", note, result->damped);
	r->o->progress(r->o->progress_arg,
		       arena_printf(r->arena, "layer %d %s: error %.3g%s", f->layer,
				    matrix_name(r, v, e), result->error, note),
		       (double)++r->done / r->linears);
}

/* Value i by w, or of experts e's share of it. */
static void
step(Run *r, StreamKind kind, const Func *f, int i, uint32_t e, const float *w)
{
	if (func_value(f, i)->op == OP_EXPERT)
		stream_expert(r->streams[kind], i, e, w);
	else
		stream_step(r->streams[kind], i, w);
}

/* One matrix of value i: codes from the moments of what it reads; both streams go through it. */
static bool
do_matrix(Run *r, const Func *f, int i, uint32_t e, const char *note)
{
	const Value *v = func_value(f, i);
	const Rounding how = recipe_rounding(r->o->recipe);
	uint32_t rows, columns;
	graph_tensor_shape(r->graph, v, &rows, &columns);
	Arena *scratch = arena_new();
	float *w = ARENA_ARRAY(scratch, float, (size_t)rows *columns);
	const char *why = NULL;
	RoundResult result;
	stream_expert_weights(r->graph, f, v, e, STREAM_FLOAT, r->o->jobs, w);
	const RoundProblem p = {.rows = rows,
				.columns = columns,
				.w = w,
				.h = r->first == STREAMS ? NULL : r->h,
				.g = wants_cross(r->o->recipe) ? r->g : NULL,
				.format = graph_expert_format(r->graph, v->role, f->layer, e),
				.how = &how,
				.linalg = r->linalg,
				.jobs = r->o->jobs};
	const bool ok = round_weights(scratch, &p, &result, &why);
	if (!ok) {
		diag_error(r->d, v->loc, E_RECIPE, "layer %d, %s: %s", f->layer,
			   matrix_name(r, v, e), why);
	} else {
		r->plan->codes[v->role][model_place(r->o->model, v->role, f->layer, e)] = keep(
			r, &result, rows, columns, (uint32_t)format_groups(p.format, (int)columns));
		if (r->first == STREAM_FLOAT)
			step(r, STREAM_FLOAT, f, i, e, w);
		if (r->first != STREAMS)
			step(r, STREAM_ROUNDED, f, i, e, result.w);
		say(r, f, v, e, note, &result);
	}
	arena_free(scratch);
	return ok;
}

static bool
do_linear(Run *r, const Func *f, int i)
{
	uint32_t rows, columns;
	graph_tensor_shape(r->graph, func_value(f, i), &rows, &columns);
	take_moments(r, func_value(f, i)->operands[0], columns);
	return do_matrix(r, f, i, 0, "");
}

/* ---- experts -------------------------------------------------------------------------------- */

/* Whether value i stands for the experts of its role, which get codes. */
static bool
leads_experts(const Run *r, const Func *f, int i)
{
	return func_value(f, i)->op == OP_EXPERT && recipe_matrices(r->graph, f, i);
}

/* Whether no expert's value in front of i reads the same row: gate and up share its moments. */
static bool
reads_first(const Func *f, int i)
{
	for (int k = 0; k < i; k++)
		if (func_value(f, k)->op == OP_EXPERT &&
		    func_value(f, k)->operands[0] == func_value(f, i)->operands[0])
			return false;
	return stream_leads(f, i);
}

/* Once a function: its experts that no token came to. */
static void
say_unreached(Run *r, const Func *f, const Text *unreached)
{
	if (unreached->size && !r->unreached)
		diag_warning(r->d, r->o->model->loc, E_RECIPE,
			     "layer %d: no token of the calibration text reached experts%s: they "
			     "are rounded for the rows of all",
			     f->layer, unreached->text);
	r->unreached = true;
}

/* All experts of value i's role, and of those that read the same rows, one after the other. */
static bool
do_experts(Run *r, const Func *f, int i)
{
	Text *unreached = text_new(r->arena);
	uint32_t rows, columns;
	bool ok = true;
	graph_tensor_shape(r->graph, func_value(f, i), &rows, &columns);
	r->row = -1;
	r->experts.mean_of = -1;
	for (uint32_t e = 0; e < r->experts.experts && ok; e++) {
		const char *note = "";
		size_t n = columns;
		if (r->first != STREAMS)
			n = expert_moments(&r->experts, i, e, columns);
		if (n < columns)
			note = arena_printf(r->arena, ", of %zu rows", n);
		if (!n)
			text_printf(unreached, " %u", e);
		for (int k = i; k < f->count && ok; k++)
			if (leads_experts(r, f, k) &&
			    func_value(f, k)->operands[0] == func_value(f, i)->operands[0])
				ok = do_matrix(r, f, k, e, note);
	}
	say_unreached(r, f, unreached);
	return ok;
}

/* ---- clips ---------------------------------------------------------------------------------- */

int
recipe_clip_site(const Func *f, int i)
{
	for (int k = i + 1; k < f->count && func_value(f, i)->op == OP_QUANTIZE; k++) {
		const Value *v = func_value(f, k);
		if (op_is_linear(v->op) && v->operands[0] == i && f->layer >= 0)
			return role_site(v->role);
	}
	return -1;
}

void
recipe_put_clip(Graph *g, Plan *p, const Func *f, int i, float ratio)
{
	const int site = recipe_clip_site(f, i);
	for (int k = 0; k < f->count; k++)
		if (recipe_clip_site(f, k) == site)
			g->funcs[f - g->funcs].values[k].format.clip = ratio;
	p->activations[site][f->layer].format.clip = ratio;
}

/* Adds W^T W of matrix e of value k. */
static void
add_gram(Run *r, Arena *scratch, const Func *f, int k, uint32_t e, double *gram)
{
	uint32_t rows, columns;
	graph_tensor_shape(r->graph, func_value(f, k), &rows, &columns);
	float *w = ARENA_ARRAY(scratch, float, (size_t)rows *columns);
	stream_expert_weights(r->graph, f, func_value(f, k), e, STREAM_FLOAT, r->o->jobs, w);
	linalg_moments(r->linalg, rows, columns, w, NULL, gram);
}

/* What the matrices of a site that all tokens go through lose, on the rows that value i rounds. */
static void
clip_linears(Run *r, const Func *f, int i, ClipProblem *p, double *errors)
{
	const size_t n = p->width;
	Arena *scratch = arena_new();
	double *gram = ARENA_ARRAY(scratch, double, n *n);
	bool any = false;
	for (int k = 0; k < f->count; k++) {
		const Value *v = func_value(f, k);
		if (v->op != OP_LINEAR || role_site(v->role) != recipe_clip_site(f, i) ||
		    !recipe_rounds(r->graph, f, v))
			continue;
		add_gram(r, scratch, f, k, 0, gram);
		any = true;
	}
	p->x = stream_rows(r->streams[STREAM_ROUNDED], func_value(f, i)->operands[0]);
	p->tokens = tokens_count(r->o->tokens);
	p->gram = gram;
	if (any)
		clip_errors(scratch, p, errors);
	arena_free(scratch);
}

/* What expert e loses, of all roles that read at the site; `lead`: a value of one. */
static void
clip_expert(Run *r, const Func *f, int lead, uint32_t e, ClipProblem *p, double *errors)
{
	const Stream *s = r->streams[STREAM_ROUNDED];
	const size_t tokens = tokens_count(r->o->tokens);
	const size_t n = p->width;
	Arena *scratch = arena_new();
	ExpertRow *rows = ARENA_ARRAY(scratch, ExpertRow, tokens);
	double *gram = ARENA_ARRAY(scratch, double, n *n);
	float *x = pool_take(r->pool, tokens * n);
	for (int k = 0; k < f->count; k++)
		if (leads_experts(r, f, k) &&
		    role_site(func_value(f, k)->role) == role_site(func_value(f, lead)->role))
			add_gram(r, scratch, f, k, e, gram);
	p->tokens = stream_expert_rows(s, lead, e, rows);
	stream_expert_read_unrounded(s, lead, e, rows, p->tokens, x);
	expert_weigh(rows, p->tokens, n, x);
	p->x = x;
	p->gram = gram;
	clip_errors(scratch, p, errors);
	pool_give(r->pool, x);
	arena_free(scratch);
}

/* Of the site whose rows value i makes codes of: before any of its rows become codes. */
static void
choose_clip(Run *r, const Func *f, int i)
{
	const int site = recipe_clip_site(f, i);
	double errors[CLIPS] = {0};
	ClipProblem p = {.width = func_value(f, i)->width,
			 .format = func_value(f, i)->format,
			 .linalg = r->linalg,
			 .jobs = r->o->jobs};
	int lead = -1;
	if (r->clipped[site])
		return;
	r->clipped[site] = true;
	for (int k = 0; k < f->count && lead < 0; k++)
		if (leads_experts(r, f, k) && role_site(func_value(f, k)->role) == site)
			lead = k;
	clip_linears(r, f, i, &p, errors);
	for (uint32_t e = 0; e < r->experts.experts && lead >= 0; e++)
		clip_expert(r, f, lead, e, &p, errors);
	const float ratio = clip_least(errors);
	recipe_put_clip(r->graph, r->plan, f, i, ratio);
	r->o->progress(r->o->progress_arg,
		       arena_printf(r->arena, "%s: clip %.2f",
				    site_place(r->arena, (Site)site, f->layer),
				    ratio != 0.0f ? (double)ratio : 1.0),
		       (double)r->done / r->linears);
}

bool
recipe_rounds(const Graph *g, const Func *f, const Value *v)
{
	return op_is_linear(v->op) && f->layer >= 0 &&
	       !format_is_float(graph_weight_format(g, v->role, f->layer));
}

uint32_t
recipe_matrices(const Graph *g, const Func *f, int i)
{
	const Value *v = func_value(f, i);
	if (!recipe_rounds(g, f, v))
		return 0;
	return v->op == OP_LINEAR ? 1 : stream_leads(f, i) ? g->model->n_expert : 0;
}

/* One function, both streams side by side. */
static bool
do_function(Run *r, const Func *f)
{
	bool ok = true;
	Arena *scratch = arena_new();
	const int *order = stream_order(scratch, f);
	r->row = -1;
	r->unreached = false;
	memset(r->clipped, 0, sizeof r->clipped);
	for (int k = r->first; k < STREAMS; k++)
		stream_enter(r->streams[k], f);
	for (int n = 0; n < f->count && ok; n++) {
		const int i = order[n];
		const Value *v = func_value(f, i);
		if (v->op == OP_LINEAR && recipe_rounds(r->graph, f, v)) {
			ok = do_linear(r, f, i);
			continue;
		}
		if (leads_experts(r, f, i) && reads_first(f, i))
			ok = do_experts(r, f, i);
		if (r->o->recipe->clip != CLIP_NONE && recipe_clip_site(f, i) >= 0)
			choose_clip(r, f, i);
		for (int k = r->first; k < STREAMS && ok; k++)
			stream_step(r->streams[k], i, NULL);
	}
	for (int k = r->first; k < STREAMS && ok; k++)
		stream_leave(r->streams[k]);
	arena_free(scratch);
	return ok;
}

/* ---- the run -------------------------------------------------------------------------------- */

static void
prepare(Run *r)
{
	const Model *m = r->o->model;
	uint32_t widest = 0;
	for (int i = 0; i < r->graph->count; i++)
		for (int v = 0; v < r->graph->funcs[i].count; v++) {
			const Func *f = &r->graph->funcs[i];
			uint32_t rows, columns;
			const uint32_t matrices = recipe_matrices(r->graph, f, v);
			if (!matrices)
				continue;
			graph_tensor_shape(r->graph, func_value(f, v), &rows, &columns);
			widest = columns > widest ? columns : widest;
			r->linears += (int)matrices;
		}
	const size_t square = (size_t)widest * widest;
	r->h = ARENA_ARRAY(r->arena, double, square);
	r->g = ARENA_ARRAY(r->arena, double, square);
	for (int k = r->first; k < STREAMS; k++)
		r->streams[k] = stream_new(r->arena, r->pool, r->linalg, r->graph, r->o->tokens,
					   (StreamKind)k, r->o->jobs);
	r->experts = (ExpertMoments){
		.linalg = r->linalg,
		.pool = r->pool,
		.rounded = r->streams[STREAM_ROUNDED],
		.plain = wants_cross(r->o->recipe) ? r->streams[STREAM_FLOAT] : NULL,
		.experts = m->n_expert,
		.tokens = tokens_count(r->o->tokens),
		.h = r->h,
		.g = r->g,
		.mean_h = m->n_expert ? ARENA_ARRAY(r->arena, double, square) : NULL,
		.mean_g = m->n_expert ? ARENA_ARRAY(r->arena, double, square) : NULL,
		.mean_of = -1};
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
			    .row_floats = tokens_count(t) * r->o->model->hidden};
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
			     .text = r->o->text,
			     .held = r->o->held,
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
	    !allocate_rows(run, d, o, pool, r.plan) || !tune_reflections(run, d, o, pool, r.plan))
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
