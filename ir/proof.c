#include "proof.h"

#include "interp_impl.h"
#include "plan_apply.h"

#include <math.h>
#include <string.h>

enum { RANDOM_ROWS = 4 };

typedef struct Proof {
	Arena *run;
	Diag *diag;
	const Graph *original, *planned;
	Interp *a, *b; /* of the original, of the planned */
	const ProofOptions *options;
	ProofResult *result;
	int32_t *tokens;
	int n;	      /* rows */
	double *want; /* one row, and scratch of as much */
} Proof;

/* ---- rows --------------------------------------------------------------------------------- */

/* Largest |got - T x| / |T x| over the rows; NaN counts as infinite. */
static double
rows_difference(Proof *p, const double *x, const double *got, const Transform *t, size_t width)
{
	double worst = 0;
	for (int m = 0; m < p->n; m++) {
		double d = 0, norm = 0;
		memcpy(p->want, x + (size_t)m * width, width * sizeof *p->want);
		if (t)
			transform_apply(t, p->want, p->want + width);
		for (size_t i = 0; i < width; i++) {
			const double e = got[(size_t)m * width + i] - p->want[i];
			d += e * e;
			norm += p->want[i] * p->want[i];
		}
		const double relative = d == 0 ? 0 : sqrt(d / norm);
		worst = relative > worst ? relative : !(relative <= worst) ? INFINITY : worst;
	}
	return worst;
}

/* Random rows of the length of the real ones, in both models' bases. */
static void
add_random_rows(Proof *p, size_t width)
{
	uint64_t state = 1;
	double norm = 0, sum = 0;
	const size_t real = (size_t)p->options->n_tokens * width;
	for (size_t i = 0; i < real; i++)
		norm += p->a->carry.d[i] * p->a->carry.d[i];
	for (size_t i = real; i < (size_t)p->n * width; i++) {
		state = state * 6364136223846793005u + 1442695040888963407u;
		p->a->carry.d[i] = (double)(int32_t)(state >> 32) / 2147483648.0;
		sum += p->a->carry.d[i] * p->a->carry.d[i];
	}
	const double scale = sqrt(norm / (double)p->options->n_tokens / (sum / RANDOM_ROWS));
	for (size_t i = real; i < (size_t)p->n * width; i++)
		p->a->carry.d[i] *= scale;
	memcpy(p->b->carry.d + real, p->a->carry.d + real,
	       RANDOM_ROWS * width * sizeof *p->a->carry.d);
	for (int m = p->options->n_tokens; m < p->n && p->planned->residual; m++)
		transform_apply(p->planned->residual, p->b->carry.d + (size_t)m * width, p->want);
}

/* ---- who is to blame ---------------------------------------------------------------------- */

/* The sites around a value, nearest first. */
static const struct {
	Op op;
	int role;
	int sites[5]; /* up to -1 */
} around[] = {
	{OP_EMBED, ROLE_EMBED, {SITE_EMBED_OUT, SITE_RESIDUAL, -1}},
	{OP_LINEAR, ROLE_Q, {SITE_QK_RAW, SITE_ATTN_IN, SITE_RESIDUAL, -1}},
	{OP_LINEAR, ROLE_K, {SITE_QK_RAW, SITE_ATTN_IN, SITE_RESIDUAL, -1}},
	{OP_LINEAR, ROLE_V, {SITE_V, SITE_ATTN_IN, SITE_O_IN, SITE_RESIDUAL, -1}},
	{OP_BIAS, ROLE_Q_BIAS, {SITE_QK_RAW, -1}},
	{OP_BIAS, ROLE_K_BIAS, {SITE_QK_RAW, -1}},
	{OP_BIAS, ROLE_V_BIAS, {SITE_V, SITE_O_IN, -1}},
	{OP_BIAS, ROLE_GATE_BIAS, {SITE_MLP_MID, SITE_DOWN_IN, -1}},
	{OP_BIAS, ROLE_UP_BIAS, {SITE_MLP_MID, SITE_DOWN_IN, -1}},
	{OP_RMSNORM_HEADS, -1, {SITE_QK_RAW, SITE_ATTN_IN, SITE_RESIDUAL, -1}},
	{OP_ROPE, -1, {SITE_QK_RAW, SITE_QK_ROPE, -1}},
	{OP_ATTENTION, -1, {SITE_QK_ROPE, SITE_QK_RAW, SITE_V, -1}},
	{OP_LINEAR, ROLE_O, {SITE_O_IN, SITE_V, SITE_RESIDUAL, -1}},
	{OP_LINEAR, ROLE_GATE, {SITE_MLP_MID, SITE_MLP_IN, SITE_DOWN_IN, SITE_RESIDUAL, -1}},
	{OP_LINEAR, ROLE_UP, {SITE_MLP_MID, SITE_MLP_IN, SITE_DOWN_IN, SITE_RESIDUAL, -1}},
	{OP_SILU_MUL, -1, {SITE_MLP_MID, -1}},
	{OP_GELU_MUL, -1, {SITE_MLP_MID, -1}},
	{OP_LINEAR, ROLE_DOWN, {SITE_DOWN_IN, SITE_MLP_MID, SITE_RESIDUAL, -1}},
	{OP_LINEAR, ROLE_ROUTER, {SITE_MLP_IN, SITE_RESIDUAL, -1}},
	{OP_LINEAR, ROLE_SHARED_GATE, {SITE_MLP_IN, SITE_RESIDUAL, -1}},
	{OP_EXPERT, ROLE_EXPERT_GATE, {SITE_EXPERT_MID, SITE_MLP_IN, SITE_RESIDUAL, -1}},
	{OP_EXPERT, ROLE_EXPERT_UP, {SITE_EXPERT_MID, SITE_MLP_IN, SITE_RESIDUAL, -1}},
	{OP_EXPERT, ROLE_EXPERT_DOWN, {SITE_EXPERT_DOWN_IN, SITE_EXPERT_MID, SITE_RESIDUAL, -1}},
	{OP_LINEAR, ROLE_HEAD, {SITE_HEAD_IN, SITE_RESIDUAL, -1}},
};

/* Sites with a transform around value v, as text; *loc: of the nearest. */
static const char *
blame(const Proof *p, const Func *f, const Value *v, Loc *loc)
{
	Text *t = text_new(p->run);
	const int *sites = NULL;
	static const int residual[] = {SITE_RESIDUAL, -1};
	*loc = v->loc;
	for (size_t k = 0; k < sizeof around / sizeof *around && !sites; k++)
		if (around[k].op == v->op && (around[k].role < 0 || around[k].role == v->role))
			sites = around[k].sites;
	for (sites = sites ? sites : residual; *sites >= 0; sites++) {
		const Site s = (Site)*sites;
		const int layer = site_table[s].layered ? f->layer : 0;
		if (!p->planned->plan || layer < 0)
			continue;
		const PlanTransform *at = &p->planned->plan->transforms[s][layer];
		if (!at->transform)
			continue;
		if (t->size == 0)
			*loc = at->loc;
		text_printf(t, "%s%s", t->size ? ", " : "", site_place(p->run, s, f->layer));
	}
	return t->size ? t->text : "no site with a transform";
}

static bool
refuse(Proof *p, const Func *f, const Value *v, double difference)
{
	Loc loc;
	const char *sites = blame(p, f, v, &loc);
	Text *what = text_new(p->run);
	text_printf(what, "%s: %s", f->name, op_name(v->op));
	if (v->role >= 0)
		text_printf(what, " of tensor '%s'",
			    model_tensor(p->original->model, (Role)v->role,
					 f->layer < 0 ? 0 : (uint32_t)f->layer)
				    ->name);
	diag_error(p->diag, loc, E_PROOF,
		   "%s gives rows that differ by %.1e of their length from the model's", what->text,
		   difference);
	diag_note(p->diag, v->loc, "transforms around it: %s", sites);
	return false;
}

/* ---- values of one function --------------------------------------------------------------- */

/* The value that i is another form of: what transforms, gains, quantize and tile read. */
static int
core(const Func *f, int i)
{
	for (;; i = f->values[i].operands[0]) {
		const Op op = f->values[i].op;
		if (op != OP_TRANSFORM && op != OP_GAIN && op != OP_GAIN_HEADS &&
		    op != OP_QUANTIZE && op != OP_TILE)
			return i;
	}
}

/* Whether value k of the original computes what planned value i does: the same op of operands that
 * stand for each other. */
static bool
stands_for(const Func *planned, int i, const Func *original, int k, const int *counterparts)
{
	const Value *v = &planned->values[i], *w = &original->values[k];
	if (v->op != w->op || v->role != w->role || v->slot != w->slot)
		return false;
	for (int o = 0; o < op_operands(v->op); o++)
		if (counterparts[core(planned, v->operands[o])] != core(original, w->operands[o]))
			return false;
	return true;
}

/* For every value of the planned function the one of the original, -1: none. */
static int *
find_counterparts(Arena *a, const Func *planned, const Func *original)
{
	int *counterparts = ARENA_ARRAY(a, int, (size_t)planned->count);
	for (int i = 0; i < planned->count; i++) {
		counterparts[i] = -1;
		for (int k = 0; k < original->count && counterparts[i] < 0 && core(planned, i) == i;
		     k++)
			if (stands_for(planned, i, original, k, counterparts))
				counterparts[i] = k;
		if (counterparts[i] < 0 && core(planned, i) == i)
			BUG("%s: value %d of the plan is none of the model's", planned->name, i);
	}
	return counterparts;
}

static bool
compare_value(Proof *p, const Func *f, const Value *v, const double *x, const double *got,
	      const Transform *basis)
{
	const double d = rows_difference(p, x, got, basis, v->width);
	p->result->worst = d > p->result->worst ? d : p->result->worst;
	return d <= (p->options->tolerance > 0 ? p->options->tolerance : PROOF_TOLERANCE) ||
	       refuse(p, f, v, d);
}

/* One function in both models: every value in its derived basis, the output in the plan's. */
static bool
prove_func(Proof *p, int index)
{
	const Func *f = &p->original->funcs[index], *g = &p->planned->funcs[index];
	const bool last = func_is_last(p->planned, g);
	const int out_a = interp_run_func(p->a, f, p->tokens, p->n, 0);
	const int out_b = interp_run_func(p->b, g, p->tokens, p->n, 0);
	const int *counterparts = find_counterparts(p->run, g, f);
	for (int i = 0; i < g->count; i++) {
		const int k = counterparts[i];
		if (k >= 0 && op_table[g->values[i].op].result == 'r' &&
		    !compare_value(p, g, &g->values[i], p->a->values[k].d, p->b->values[i].d,
				   g->values[i].basis.transform))
			return false;
	}
	const Value *v = &g->values[out_b];
	if (!compare_value(p, g, v, p->a->values[out_a].d, p->b->values[out_b].d,
			   last ? NULL : p->planned->residual))
		return false;
	if (last)
		return true;
	const size_t count = (size_t)p->n * v->width;
	memmove(p->a->carry.d, p->a->values[out_a].d, count * sizeof(double));
	memmove(p->b->carry.d, p->b->values[out_b].d, count * sizeof(double));
	if (index == 0)
		add_random_rows(p, v->width);
	return true;
}

static Interp *
exact_interp(const Proof *p, const Graph *g)
{
	Interp *x = interp_new(p->run, g, ARITHMETIC_DOUBLE, p->n, p->options->jobs);
	interp_use_exact_weights(x);
	interp_run_rope(x, p->n);
	return x;
}

static bool
prove_function(Proof *p)
{
	const Model *m = p->original->model;
	uint32_t widest = m->n_vocab;
	widest = m->inter > widest ? m->inter : widest;
	widest = m->expert_inter > widest ? m->expert_inter : widest;
	widest = 2 * m->n_expert > widest ? 2 * m->n_expert : widest;
	widest = m->q_width > widest ? m->q_width : widest;
	widest = m->hidden > widest ? m->hidden : widest;
	INVARIANT(p->options->n_tokens > 0 && p->original->count == p->planned->count);
	p->n = p->options->n_tokens + RANDOM_ROWS;
	INVARIANT(p->n <= INTERP_CHUNK);
	p->result->rows = p->n;
	p->tokens = ARENA_ARRAY(p->run, int32_t, (size_t)p->n);
	memcpy(p->tokens, p->options->tokens, (size_t)p->options->n_tokens * sizeof *p->tokens);
	p->want = ARENA_ARRAY(p->run, double, 2 * (size_t)widest);
	p->a = exact_interp(p, p->original);
	p->b = exact_interp(p, p->planned);
	p->b->fault = p->options->fault;
	for (int i = 0; i < p->planned->count; i++)
		if (!prove_func(p, i))
			return false;
	return true;
}

/* ---- ready codes -------------------------------------------------------------------------- */

/* Sums over codes c and weights w. */
typedef struct Likeness {
	double ww, cc, wc, ee;
} Likeness;

/* Signal to noise in dB; with `fitted` after the best common factor for the codes. */
static double
likeness_db(const Likeness *l, bool fitted)
{
	if (l->ee == 0)
		return INFINITY;
	if (!fitted)
		return 10 * log10(l->ww / l->ee);
	const double cosine2 = l->ww > 0 && l->cc > 0 ? l->wc * l->wc / (l->ww * l->cc) : 0;
	return l->wc <= 0 ? 0 : -10 * log10(1 - cosine2 < 1e-15 ? 1e-15 : 1 - cosine2);
}

static void
likeness_row(Likeness *l, const double *w, const WeightRow *row, Format f, int columns)
{
	for (int g = 0, k = 0; g < format_groups(f, columns); g++) {
		const int offset = f.zero ? row->zeros[g] : format_offset(f);
		for (int end = k + format_group_width(f, columns, g); k < end; k++) {
			const double minimum = f.minimum ? (double)row->minima[g] : 0;
			const double c =
				(row->codes[k] - offset) * (double)row->scales[g] + minimum;
			l->ww += w[k] * w[k];
			l->cc += c * c;
			l->wc += w[k] * c;
			l->ee += (w[k] - c) * (w[k] - c);
		}
	}
}

/*
 * What codes of b bits must reach. Rounding to nearest of bell-shaped rows with one scale gives
 * about 6 b - 8 dB, error feedback some less, and scales that spare the columns of large
 * activations much less: 6.5 dB were seen at 4 bits. Codes of another basis give at most 0, and
 * those of which half of the columns are at most 3. Below 3 bits scales are often not the best for
 * the weights alone, so the codes are fitted first. A scale of the whole tensor serves rows of
 * different lengths, which costs about a bit.
 */
static double
least_db(Format f)
{
	const double least = 6.0 * f.bits - 20.0 - (f.per_tensor ? 6.0 : 0.0);
	return least < 1.0 ? 1.0 : least;
}

/*
 * A row alone says less: where the rows it reads were rounded too, codes are of what makes up for
 * that, and a ternary row of 1536 columns was seen at 0.35 dB with four times its weights' energy.
 * Codes of other rows have a squared cosine of about 1 / columns; nine times that is refused.
 */
enum { ROW_COLUMNS_LEAST = 32 };

static double
row_least_db(int columns)
{
	return fmin(0.5, -10 * log10(1 - 9.0 / columns));
}

static bool
prove_codes(Proof *p, const Func *f, const Value *v, uint32_t expert)
{
	Arena *scratch = arena_new();
	const Format format = graph_expert_format(p->planned, v->role, f->layer, expert);
	WeightSource s;
	WeightRow exact, codes;
	Likeness all = {0};
	int64_t bad = -1;
	weight_source_open_expert(&s, p->planned, f, v, expert, p->options->jobs,
				  p->options->fault);
	const Loc loc = s.codes ? s.codes->loc : v->loc;
	const int columns = (int)s.columns;
	weight_row_alloc(scratch, &exact, columns, format);
	weight_row_alloc(scratch, &codes, columns, format);
	for (uint32_t i = 0; i < s.rows; i++) {
		Likeness row = {0};
		weight_source_row_exact(&s, i, &exact);
		weight_source_row(&s, i, format, &codes);
		likeness_row(&row, exact.exact, &codes, format, columns);
		all = (Likeness){all.ww + row.ww, all.cc + row.cc, all.wc + row.wc,
				 all.ee + row.ee};
		/* The scale of a tensor may leave nothing of a short row. */
		if (bad < 0 && columns >= ROW_COLUMNS_LEAST && row.ww > 0 &&
		    !(format.per_tensor && row.cc == 0) &&
		    likeness_db(&row, true) < row_least_db(columns))
			bad = i;
	}
	const char *name = s.tensor->name;
	if (v->op == OP_EXPERT)
		name = arena_printf(p->run, "%s, expert %u", name, expert);
	weight_source_close(&s);
	arena_free(scratch);
	const double db = likeness_db(&all, format.bits < 3);
	p->result->tensors++;
	p->result->worst_snr = db < p->result->worst_snr ? db : p->result->worst_snr;
	if (db >= least_db(format) && bad < 0)
		return true;
	diag_error(
		p->diag, loc, E_CODES_BASIS,
		"codes of tensor '%s' stand %.1f dB above their error; %d bits give at least %.0f",
		name, db, format.bits, least_db(format));
	if (bad >= 0)
		diag_note(p->diag, loc, "row %lld has nothing in common with its weights",
			  (long long)bad);
	diag_hint(p->diag, "are they of other transforms than the plan's, or of another model?");
	return false;
}

static bool
prove_all_codes(Proof *p)
{
	const Model *m = p->planned->model;
	const Plan *plan = p->planned->plan;
	bool ok = true;
	for (int n = 0; n < p->planned->count; n++) {
		const Func *f = &p->planned->funcs[n];
		for (int i = 0; i < f->count; i++) {
			const Value *v = &f->values[i];
			/* All slots read the same matrices. */
			if (v->role < 0 || (v->op == OP_EXPERT && v->slot))
				continue;
			for (uint32_t e = 0; e < model_experts(m, v->role); e++)
				if (plan->codes[v->role][model_place(m, v->role, f->layer, e)]
					    .codes)
					ok = prove_codes(p, f, v, e) && ok;
		}
	}
	return ok;
}

bool
proof_run(Diag *d, const Graph *original, const Graph *planned, const ProofOptions *o,
	  ProofResult *r)
{
	Proof p = {.run = arena_new(),
		   .diag = d,
		   .original = original,
		   .planned = planned,
		   .options = o,
		   .result = r};
	*r = (ProofResult){.worst_snr = INFINITY};
	const bool ok =
		(!original || prove_function(&p)) && (!planned->plan || prove_all_codes(&p));
	arena_free(p.run);
	return ok;
}
