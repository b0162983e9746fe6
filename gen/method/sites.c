/* Statistics of calibration rows at sites, and what a plan gets by them. */
#include "sites.h"

#include <math.h>
#include <string.h>

#include "blocks.h"
#include "ir/plan_apply.h"
#include "site_kotms.h"
#include "site_pca.h"

typedef struct Sites {
	Arena *run;
	Diag *d;
	const RecipeRun *o;
	Plan *plan;
	const Graph *graph;
	RowStatistics mlp, experts; /* in front of down, of an expert's down */
	bool middle;		    /* mlp.mid is wanted */
	bool *looked;		    /* [SITE_COUNT], in this function */
	double *raw; /* [n_kv_head][head_dim][head_dim] of a layer's keys and queries, or null */
} Sites;

/* ---- widths --------------------------------------------------------------------------------- */

static bool
fits_all(Arena *scratch, const Recipe *r, uint32_t n)
{
	(void)scratch;
	(void)r;
	(void)n;
	return true;
}

static bool
fits_hadamard(Arena *scratch, const Recipe *r, uint32_t n)
{
	Construction c;
	uint32_t parameter, order;
	(void)scratch;
	(void)r;
	return base_choose(n, &c, &parameter, &order);
}

static bool
fits_blocks(Arena *scratch, const Recipe *r, uint32_t n)
{
	const char *why;
	return site_block(scratch, r, n, &why) != 0;
}

static bool
fits_walsh(Arena *scratch, const Recipe *r, uint32_t n)
{
	return r->walsh_pad || fits_blocks(scratch, r, n);
}

/* Of so many readers' rows at most; site_kotms knows how many there are. */
static bool
fits_kotms(Arena *scratch, const Recipe *r, uint32_t n)
{
	uint32_t left, right;
	(void)scratch;
	return kotms_factors((KotmsFactors)r->kotms_factors, n, n, &left, &right);
}

static bool
fits_ruquant(Arena *scratch, const Recipe *r, uint32_t n)
{
	(void)scratch;
	return site_divisor(r, n) > 1;
}

static const struct {
	const char *name;
	SiteRotationFn make;
	bool (*fits)(Arena *scratch, const Recipe *r, uint32_t n);
} rotations[ROTATION_KINDS] = {
#define ROTATION(e, name, make, fits, what) [e] = {name, make, fits},
#include "rotations.def"
};

const char *
sites_width_fault(Arena *run, const Recipe *r, const Model *m)
{
	for (int i = 0; i < STAGE_SITES; i++) {
		uint32_t n, heads;
		const Rotation kind = site_rotation(r, stage_sites[i]);
		site_shape(m, stage_sites[i], &n, &heads);
		if (!site_exists(m, stage_sites[i]) || !site_rotation_seen(kind) ||
		    rotations[kind].fits(run, r, n))
			continue;
		Text *t = text_new(run);
		text_printf(t, "%s: no %s of %u elements is known", site_table[stage_sites[i]].name,
			    rotations[kind].name, n);
		if (r->site_block && kind != ROTATION_KOTMS)
			text_printf(t, " in blocks of %d or fewer", r->site_block);
		text_printf(t, "; rotations that are:");
		for (int k = ROTATION_NONE + 1; k < ROTATION_KINDS; k++)
			if (rotations[k].fits(run, r, n))
				text_printf(t, " %s", rotations[k].name);
		return t->text;
	}
	return NULL;
}

bool
site_rotation_seen(Rotation k)
{
	return rotations[k].make != NULL;
}

Rotation
site_rotation(const Recipe *r, Site site)
{
	switch (site) {
	case SITE_ATTN_IN:
		return (Rotation)r->attn;
	case SITE_O_IN:
		return (Rotation)r->o;
	case SITE_MLP_IN:
		return (Rotation)r->mlp;
	case SITE_DOWN_IN:
	case SITE_EXPERT_DOWN_IN:
		return (Rotation)r->down;
	default:
		return ROTATION_NONE;
	}
}

bool
site_smooths(const Recipe *r, Site site)
{
	return r->site_smooth > 0.0 && site_rotation_seen(site_rotation(r, site)) &&
	       (site != SITE_O_IN || r->smooth_o);
}

uint32_t
site_block(Arena *scratch, const Recipe *r, uint32_t n, const char **why)
{
	const uint32_t most =
		r->site_block && (uint32_t)r->site_block < n ? (uint32_t)r->site_block : n;
	for (uint32_t b = most; b > 1; b--) {
		Construction c;
		uint32_t parameter, order;
		if (n % b == 0 && base_choose(b, &c, &parameter, &order))
			return b;
	}
	*why = arena_printf(
		scratch, "%u has no block of %u elements or fewer with a Hadamard matrix", n, most);
	return 0;
}

uint32_t
site_divisor(const Recipe *r, uint32_t n)
{
	uint32_t b = r->site_block && (uint32_t)r->site_block < n ? (uint32_t)r->site_block : n;
	while (n % b)
		b--;
	return b;
}

/* ---- mlp.mid -------------------------------------------------------------------------------- */

static void
take_statistics(const RowStatistics *s, uint32_t layer, const float *x, size_t tokens,
		uint32_t width)
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

/* What is known of the columns of a layer's down, value v, or of all experts' downs; their W^T W is
 * added to gram, where that is asked for. */
static void
look_at_columns(const Sites *k, const Func *f, const Value *v, float *sums, double *gram)
{
	uint32_t rows, n;
	graph_tensor_shape(k->graph, v, &rows, &n);
	for (uint32_t e = 0; e < model_experts(k->o->model, v->role); e++) {
		Arena *scratch = arena_new();
		float *w = ARENA_ARRAY(scratch, float, (size_t)rows *n);
		stream_expert_weights(k->graph, f, v, e, STREAM_FLOAT, k->o->jobs, w);
		for (size_t i = 0; i < (size_t)rows * n; i++)
			sums[i % n] += w[i] * w[i];
		if (gram)
			linalg_moments(k->o->linalg, rows, n, w, NULL, gram);
		arena_free(scratch);
	}
}

/* Of a layer in front of its down, value v: what is known of the rows and of the columns that they
 * meet, and what follows for the middle of the MLP and R3. */
static bool
look_at_middle(const Sites *k, const Func *f, const Value *v, const float *x, size_t tokens)
{
	const Recipe *recipe = k->o->recipe;
	const RowStatistics *s = v->op == OP_EXPERT ? &k->experts : &k->mlp;
	const char *why = NULL;
	const uint32_t layer = (uint32_t)f->layer, n = s->n;
	Arena *scratch = arena_new();
	double *gram =
		recipe->block_slack > 0.0 ? ARENA_ARRAY(scratch, double, (size_t)n *n) : NULL;
	look_at_columns(k, f, v, s->weight + (size_t)layer * n, gram);
	take_statistics(s, layer, x, tokens, n);
	if (recipe->smooth > 0.0)
		stage_smooth(recipe, s, layer);
	s->block[layer] = recipe->block ? (uint32_t)recipe->block : n;
	if (gram) {
		const BlockProblem p = {.recipe = recipe,
					.statistics = s,
					.layer = layer,
					.x = x,
					.tokens = tokens,
					.gram = gram,
					.linalg = k->o->linalg,
					.jobs = k->o->jobs};
		s->block[layer] = block_search(scratch, &p, &why);
		if (why)
			diag_error(k->d, v->loc, E_RECIPE, "layer %u: %s", layer, why);
		else
			k->o->progress(k->o->progress_arg,
				       arena_printf(k->run, "%s: R3 in blocks of %u",
						    site_place(k->run, s->down, (int)layer),
						    s->block[layer]),
				       0.0);
	}
	arena_free(scratch);
	return !why;
}

/* ---- rotations ------------------------------------------------------------------------------ */

/* The weights of all linears from v on that read its row, one below the other. */
static float *
stack_readers(Arena *scratch, const Sites *k, const Func *f, int first, uint32_t *rows_out,
	      uint32_t *columns)
{
	const int row = func_value(f, first)->operands[0];
	uint32_t rows, all = 0, at = 0;
	for (int i = first; i < f->count; i++)
		if (func_value(f, i)->op == OP_LINEAR && func_value(f, i)->operands[0] == row) {
			graph_tensor_shape(k->graph, func_value(f, i), &rows, columns);
			all += rows;
		}
	float *w = ARENA_ARRAY(scratch, float, (size_t)all **columns);
	for (int i = first; i < f->count; i++)
		if (func_value(f, i)->op == OP_LINEAR && func_value(f, i)->operands[0] == row) {
			graph_tensor_shape(k->graph, func_value(f, i), &rows, columns);
			stream_weights(k->graph, f, func_value(f, i), STREAM_FLOAT, k->o->jobs,
				       w + (size_t)at * *columns);
			at += rows;
		}
	*rows_out = all;
	return w;
}

/* Largest |x| of each column of x [rows][n], or what is in peak. */
static void
column_peaks(const float *x, size_t rows, uint32_t n, double *peak)
{
	for (size_t r = 0; r < rows; r++)
		for (uint32_t i = 0; i < n; i++)
			peak[i] = fmax(peak[i], fabs((double)x[r * n + i]));
}

/* Elements of query heads that come from one of v: all get the largest. */
static void
share_peaks(const Model *m, double *peak)
{
	const uint32_t group = m->n_head / m->n_kv_head, d = m->head_dim;
	for (uint32_t head = 0; head < m->n_head; head++)
		for (uint32_t i = 0; i < d; i++) {
			double *first = peak + (size_t)(head - head % group) * d + i;
			*first = fmax(*first, peak[(size_t)head * d + i]);
		}
	for (uint32_t head = 0; head < m->n_head; head++)
		for (uint32_t i = 0; i < d; i++)
			peak[(size_t)head * d + i] = peak[(size_t)(head - head % group) * d + i];
}

/* log of each, an element of next to nothing taken for a little. */
static void
log_peaks(uint32_t n, double *peak)
{
	double most = 0.0;
	for (uint32_t i = 0; i < n; i++)
		most = fmax(most, peak[i]);
	for (uint32_t i = 0; i < n; i++)
		peak[i] = most > 0.0 ? log(fmax(peak[i], 1e-5 * most)) : 0.0;
}

void
site_smoothing(const SiteProblem *p, double *d)
{
	Arena *scratch = arena_new();
	const double power = p->recipe->site_smooth;
	double *x = ARENA_ARRAY(scratch, double, p->n), *w = ARENA_ARRAY(scratch, double, p->n);
	double mean = 0.0;
	column_peaks(p->x, p->tokens, p->n, x);
	if (p->w)
		column_peaks(p->w, p->rows, p->n, w);
	else
		memcpy(w, p->peaks, p->n * sizeof *w);
	if (p->site == SITE_O_IN) {
		share_peaks(p->model, x);
		share_peaks(p->model, w);
	}
	log_peaks(p->n, x);
	log_peaks(p->n, w);
	for (uint32_t i = 0; i < p->n; i++)
		mean += (d[i] = (1.0 - power) * w[i] - power * x[i]) / p->n;
	for (uint32_t i = 0; i < p->n; i++)
		d[i] = exp(d[i] - mean);
	arena_free(scratch);
}

/* Largest |w| of each column of all that reads at a mixture's site, one matrix at a time. */
static const double *
reader_peaks(Arena *scratch, const Sites *k, const Func *f, Site site, uint32_t n)
{
	double *peak = ARENA_ARRAY(scratch, double, n);
	for (int i = 0; i < f->count; i++) {
		const Value *v = func_value(f, i);
		uint32_t rows, columns;
		if (!op_is_linear(v->op) || role_site(v->role) != (int)site ||
		    role_stays_float(v->role) || !stream_leads(f, i))
			continue;
		graph_tensor_shape(k->graph, v, &rows, &columns);
		for (uint32_t e = 0; e < model_experts(k->o->model, v->role); e++) {
			Arena *own = arena_new();
			float *w = ARENA_ARRAY(own, float, (size_t)rows *columns);
			stream_expert_weights(k->graph, f, v, e, STREAM_FLOAT, k->o->jobs, w);
			column_peaks(w, rows, columns, peak);
			arena_free(own);
		}
	}
	return peak;
}

/* The rotation of p's rows under its smoothing, behind that. */
static const Transform *
smoothed(Arena *run, Arena *scratch, const SiteProblem *p, SiteRotationFn make, const char **why)
{
	SiteProblem q = *p;
	double *d = ARENA_ARRAY(scratch, double, p->n);
	float *x = ARENA_ARRAY(scratch, float, p->tokens * p->n);
	float *w = p->w ? ARENA_ARRAY(scratch, float, (size_t)p->rows * p->n) : NULL;
	site_smoothing(p, d);
	for (size_t i = 0; i < p->tokens * p->n; i++)
		x[i] = (float)((double)p->x[i] * d[i % p->n]);
	for (size_t i = 0; i < (size_t)p->rows * p->n; i++)
		w[i] = (float)((double)p->w[i] / d[i % p->n]);
	q.x = x;
	q.w = w;
	const Transform *two[] = {make(run, &q, why), NULL};
	two[1] = two[0] ? transform_vector(run, T_DIAGONAL, p->n, d, why) : NULL;
	return two[1] ? transform_compose(run, T_PRODUCT, two, 2, why) : NULL;
}

/* Whether the rows that linear v reads come out of a gain, not of the norm in front of one. */
static bool
behind_gain(const Func *f, const Value *v)
{
	do
		v = func_value(f, v->operands[0]);
	while (op_table[v->op].result == 'a');
	return v->op == OP_GAIN;
}

static bool
look_at_site(const Sites *k, const Func *f, int first, Site site, const float *x, size_t tokens)
{
	const char *why = NULL;
	const Rotation kind = site_rotation(k->o->recipe, site);
	Arena *scratch = arena_new();
	SiteProblem p = {.recipe = k->o->recipe,
			 .model = k->o->model,
			 .linalg = k->o->linalg,
			 .site = site,
			 .layer = (uint32_t)f->layer,
			 .x = x,
			 .tokens = tokens,
			 .jobs = k->o->jobs,
			 .seed = (uint64_t)k->o->recipe->seed + 10000u * ((uint64_t)site + 1) +
				 (uint64_t)f->layer};
	if (stream_experts_read(f, (int)site)) {
		p.n = func_value(f, func_value(f, first)->operands[0])->width;
		p.peaks = reader_peaks(scratch, k, f, site, p.n);
	} else {
		p.w = stack_readers(scratch, k, f, first, &p.rows, &p.n);
	}
	const SiteRotationFn make = rotations[kind].make;
	const Transform *t = site_smooths(p.recipe, site)
				     ? smoothed(k->run, scratch, &p, make, &why)
				     : make(k->run, &p, &why);
	if (t)
		k->plan->transforms[site][f->layer] =
			(PlanTransform){.transform = t,
					.keep_gain = behind_gain(f, func_value(f, first)),
					.loc = k->o->model->loc};
	else
		diag_error(k->d, k->o->model->loc, E_RECIPE, "%s: %s",
			   site_place(k->run, site, f->layer), why);
	k->o->progress(k->o->progress_arg,
		       arena_printf(k->run, "%s: %s", site_place(k->run, site, f->layer),
				    rotations[kind].name),
		       0.0);
	arena_free(scratch);
	return t != NULL;
}

/* ---- queries and keys in front of rope --------------------------------------------------------
 */

/* Moments of the heads that value i reads first: it is rope, or the norm of heads in front. */
static void
take_raw(const Sites *k, const Stream *x, const Func *f, int i, size_t tokens)
{
	const Value *v = func_value(f, i);
	const Op from = v->op == OP_ROPE || v->op == OP_RMSNORM_HEADS
				? func_value(f, v->operands[0])->op
				: OP_INPUT;
	const size_t d = k->o->model->head_dim;
	if (from != OP_LINEAR && from != OP_BIAS)
		return;
	Arena *scratch = arena_new();
	const float *rows = stream_rows(x, v->operands[0]);
	float *head = ARENA_ARRAY(scratch, float, tokens *d);
	const uint32_t heads = (uint32_t)(v->width / d), group = heads / k->o->model->n_kv_head;
	for (uint32_t h = 0; h < heads; h++) {
		for (size_t t = 0; t < tokens; t++)
			memcpy(head + t * d, rows + t * v->width + h * d, d * sizeof *head);
		linalg_moments(k->o->linalg, tokens, d, head, NULL, k->raw + h / group * d * d);
	}
	arena_free(scratch);
}

/* What the moments of a layer say, which begin anew. */
static bool
put_raw(const Sites *k, const Func *f)
{
	const Model *m = k->o->model;
	const char *why = NULL;
	bool normed = false;
	for (int i = 0; i < f->count; i++)
		normed |= func_value(f, i)->op == OP_RMSNORM_HEADS;
	const Transform *t = normed ? pca_heads(k->run, m->n_kv_head, m->head_dim, k->raw, &why)
				    : pca_pairs(k->run, m->n_kv_head, m->head_dim, k->raw, &why);
	memset(k->raw, 0, (size_t)m->kv_width * m->head_dim * sizeof *k->raw);
	k->plan->transforms[SITE_QK_RAW][f->layer] = (PlanTransform){.transform = t, .loc = m->loc};
	if (!t)
		diag_error(k->d, m->loc, E_RECIPE, "%s: %s",
			   site_place(k->run, SITE_QK_RAW, f->layer), why);
	return t != NULL;
}

/* ---- the pass ------------------------------------------------------------------------------- */

/* The rows [*tokens][width] that i reads, where experts have rows of their own those of all slots,
 * one slot behind the other. */
static const float *
rows_at(Arena *scratch, const Stream *x, const Func *f, int i, size_t *tokens)
{
	const Value *v = func_value(f, i);
	const float *first = stream_rows(x, v->operands[0]);
	const size_t all = *tokens * func_value(f, v->operands[0])->width;
	size_t slots = 0;
	bool apart = false;
	for (int k = i; k < f->count && v->op == OP_EXPERT; k++)
		if (func_value(f, k)->op == OP_EXPERT && func_value(f, k)->role == v->role) {
			apart |= stream_rows(x, func_value(f, k)->operands[0]) != first;
			slots++;
		}
	if (!apart)
		return first;
	float *rows = ARENA_ARRAY(scratch, float, slots *all), *to = rows;
	for (int k = i; k < f->count; k++)
		if (func_value(f, k)->op == OP_EXPERT && func_value(f, k)->role == v->role) {
			memcpy(to, stream_rows(x, func_value(f, k)->operands[0]), all * sizeof *to);
			to += all;
		}
	*tokens *= slots;
	return rows;
}

/* What is decided by the rows that linear i reads, if it is the first reader of their site. */
static bool
look(const Sites *k, const Stream *x, const Func *f, int i, size_t tokens)
{
	const Value *v = func_value(f, i);
	const int site =
		op_is_linear(v->op) && !role_stays_float(v->role) ? role_site(v->role) : -1;
	if (f->layer < 0 || site < 0 || k->looked[site])
		return true;
	k->looked[site] = true;
	Arena *scratch = arena_new();
	const float *rows = rows_at(scratch, x, f, i, &tokens);
	const bool down = v->role == ROLE_DOWN || v->role == ROLE_EXPERT_DOWN;
	bool ok = !k->middle || !down || look_at_middle(k, f, v, rows, tokens);
	if (ok && site_rotation_seen(site_rotation(k->o->recipe, (Site)site)))
		ok = look_at_site(k, f, i, (Site)site, rows, tokens);
	arena_free(scratch);
	return ok;
}

static bool
look_at_all(const Sites *k, Pool *pool)
{
	const RecipeRun *o = k->o;
	const Tokens some = tokens_first(o->tokens, (uint32_t)o->recipe->statistics);
	Stream *x = stream_new(k->run, pool, o->linalg, k->graph, &some, STREAM_FLOAT, o->jobs);
	bool ok = true;
	for (int i = 0; i + 1 < k->graph->count && ok; i++) {
		const Func *f = &k->graph->funcs[i];
		const int *order = stream_order(k->run, f);
		stream_enter(x, f);
		memset(k->looked, 0, SITE_COUNT * sizeof *k->looked);
		for (int n = 0; n < f->count && ok; n++) {
			const int v = order[n];
			const size_t tokens = tokens_count(&some);
			ok = look(k, x, f, v, tokens);
			if (k->raw && f->layer >= 0)
				take_raw(k, x, f, v, tokens);
			stream_step(x, v, NULL);
		}
		ok = ok && (!k->raw || f->layer < 0 || put_raw(k, f));
		if (ok)
			stream_leave(x);
	}
	if (ok)
		stream_free(x);
	return ok;
}

static RowStatistics
statistics_new(Arena *run, const Model *m, Site middle, Site down)
{
	uint32_t n, heads;
	site_shape(m, down, &n, &heads);
	if (!site_exists(m, down))
		return (RowStatistics){.middle = middle, .down = down};
	const size_t count = (size_t)m->n_layer * n;
	return (RowStatistics){.middle = middle,
			       .down = down,
			       .n = n,
			       .mean = ARENA_ARRAY(run, float, count),
			       .square = ARENA_ARRAY(run, float, count),
			       .peak = ARENA_ARRAY(run, float, count),
			       .weight = ARENA_ARRAY(run, float, count),
			       .diagonal = ARENA_ARRAY(run, double, count),
			       .block = ARENA_ARRAY(run, uint32_t, m->n_layer)};
}

bool
sites_choose(Arena *run, Diag *d, const RecipeRun *o, Pool *pool, Plan *p)
{
	const Recipe *r = o->recipe;
	const Model *m = o->model;
	Sites k = {.run = run,
		   .d = d,
		   .o = o,
		   .plan = p,
		   .looked = ARENA_ARRAY(run, bool, SITE_COUNT),
		   .middle = r->permute != PERMUTE_NONE || r->smooth > 0.0 || r->block_slack > 0.0};
	bool wanted = k.middle || r->raw != RAW_NONE;
	for (int s = 0; s < SITE_COUNT; s++)
		wanted |= site_rotation_seen(site_rotation(r, (Site)s));
	if (!wanted)
		return true;
	if (k.middle) {
		k.mlp = statistics_new(run, m, SITE_MLP_MID, SITE_DOWN_IN);
		k.experts = statistics_new(run, m, SITE_EXPERT_MID, SITE_EXPERT_DOWN_IN);
	}
	if (r->raw != RAW_NONE)
		k.raw = ARENA_ARRAY(run, double, (size_t)m->kv_width * m->head_dim);
	k.graph = recipe_graph(run, d, o->model, p);
	return k.graph && look_at_all(&k, pool) &&
	       (!k.middle || (stage_middle(run, d, r, m, &k.mlp, p) &&
			      stage_middle(run, d, r, m, &k.experts, p)));
}
