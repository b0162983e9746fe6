/* lathe explain: what becomes of a plan's transforms, what they cost, what each layer reads. */
#include "gen/commands.h"
#include "gen/diagnostics.h"
#include "gen/model/model.h"
#include "gen/plan/apply.h"
#include "gen/plan/plan.h"
#include "gen/settings.h"
#include "ir/pass.h"
#include "ir/plan_apply.h"
#include "ir/report.h"
#include "ir/rewrite.h"
#include "targets/facts.h"

#include <string.h>

typedef struct ExplainOptions {
	const char *tokenizer, *diagnostics;
	Settings settings;
	StringList disable_pass;
	bool json, dot;
} ExplainOptions;

#define FIELD(f) offsetof(ExplainOptions, f)
static const Option explain_options[] = {
	{"--json", NULL, OPTION_FLAG, FIELD(json), "print JSON"},
	{"--dot", NULL, OPTION_FLAG, FIELD(dot), "print the graph for Graphviz"},
	SETTINGS_OPTIONS(FIELD(settings)),
	{"--disable-pass", "PASS", OPTION_LIST, FIELD(disable_pass), "leave a pass out"},
	{"--tokenizer", "FILE", OPTION_STRING, FIELD(tokenizer),
	 "tokenizer of a llama2.c model, or `none`"},
	DIAGNOSTICS_OPTION(FIELD(diagnostics)),
};

static const Command explain_command = {
	"explain",
	"MODEL PLAN [options]",
	"Prints what becomes of a plan's transforms, what they cost, and the basis of every value.",
	explain_options,
	sizeof explain_options / sizeof *explain_options,
	explain_main,
};

/* ---- what is known ------------------------------------------------------------------------ */

typedef struct Explain {
	Arena *run;
	const Model *model;
	const Plan *plan;
	const Graph *graph;
	const Graph *alone[SITE_COUNT]; /* with the transforms of one site; null: it has none */
	const Layout *layout;
} Explain;

/* The graph under the transforms of one site alone, folded: what its transforms go into. */
static const Graph *
graph_alone(Arena *run, Diag *d, const Model *m, const Plan *plan, Site s)
{
	Plan one = *plan;
	bool any = false;
	for (int i = 0; i < SITE_COUNT; i++) {
		const uint32_t places = site_table[i].layered ? m->n_layer : 1;
		if (i == (int)s)
			continue;
		one.transforms[i] = ARENA_ARRAY(run, PlanTransform, places);
		for (uint32_t l = 0; l < places; l++)
			one.transforms[i][l].keep_gain = plan->transforms[i][l].keep_gain;
	}
	for (uint32_t l = 0; l < (site_table[s].layered ? m->n_layer : 1); l++)
		any |= plan->transforms[s][l].transform != NULL;
	if (!any)
		return NULL;
	Graph *g = graph_build(run, m);
	if (!graph_apply_plan(g, &one, d))
		BUG("%s is refused without the other sites", site_table[s].name);
	for (int n = 0; n < g->count; n++)
		rewrite_func(g, &g->funcs[n], REWRITE_ALL);
	return g;
}

/* ---- pieces of text ------------------------------------------------------------------------ */

/* "q.in", "o.out": the sides of matrices that transforms of site s went into. `quote` as JSON. */
static const char *
folds_text(const Explain *e, Site s, int n, bool quote)
{
	const char *mark = quote ? "\"" : "", *comma = quote ? ", " : " ";
	Text *t = text_new(e->run);
	const Func *f = e->alone[s] ? &e->alone[s]->funcs[n] : NULL;
	for (int i = 0; f && i < f->count; i++) {
		const Value *v = &f->values[i];
		const char *name = v->role < 0 ? "" : role_names[v->role];
		if (v->fold_in)
			text_printf(t, "%s%s%s.in%s", t->size ? comma : "", mark, name, mark);
		if (v->fold_out)
			text_printf(t, "%s%s%s.out%s", t->size ? comma : "", mark, name, mark);
	}
	return t->size ? t->text : "";
}

static const char *
readers_text(const Explain *e, const Func *f, const Online *o, bool quote)
{
	const char *mark = quote ? "\"" : "";
	Text *t = text_new(e->run);
	for (int i = 0; i < o->n_readers; i++)
		text_printf(t, "%s%s%s%s", i ? ", " : "", mark, facts_value_name(f, o->readers[i]),
			    mark);
	if (!o->n_readers)
		text_printf(t, "%s%s%s", mark, "the next layer", mark);
	return t->text;
}

/* The other ops of a value's kernel. */
static const char *
company_text(const Explain *e, const Func *f, int value, bool quote)
{
	const char *mark = quote ? "\"" : "";
	const Kernel *k = &f->kernels[f->values[value].kernel];
	Text *t = text_new(e->run);
	for (int i = 0; i < k->count; i++)
		if (f->order[k->first + i] != value)
			text_printf(t, "%s%s%s%s", t->size ? ", " : "", mark,
				    op_name(f->values[f->order[k->first + i]].op), mark);
	return t->size ? t->text : "";
}

/* ---- text ----------------------------------------------------------------------------------- */

static void
print_online(const Explain *e, Text *t, const Func *f, const Online *o)
{
	const Value *v = &f->values[o->value];
	const TransformFacts facts = transform_facts(v->transform);
	const char *company = company_text(e, f, o->value, false);
	text_printf(t, "    runs        %s\n", facts_transform(e->run, v->transform));
	text_printf(
		t,
		"                %%%d, for %s%s: %llu adds, %llu multiplies; %s kernel %d%s%s%s\n",
		o->value, readers_text(e, f, o, false),
		o->n_readers > 1 ? " (hoisted: once for all)" : "", (unsigned long long)facts.adds,
		(unsigned long long)facts.multiplies, company[0] ? "fused in" : "alone in",
		v->kernel, company[0] ? " with " : "", company,
		v->pinned ? "; kept in this basis" : "");
}

/* false: nothing is to be said of the site. */
static bool
print_site(const Explain *e, Text *t, int n, Site s)
{
	const Func *f = &e->graph->funcs[n];
	const PlanTransform *p = facts_planned(e->graph, e->plan, s, f);
	const char *folds = folds_text(e, s, n, false);
	Online o = {.value = -1};
	if (!(p && (p->transform || p->keep_gain)) && !folds[0] && !facts_online(f, (int)s, 0, &o))
		return false;
	text_printf(t, "  %s\n", site_table[s].name);
	if (p && p->transform)
		text_printf(t, "    plan        %s\n", facts_transform(e->run, p->transform));
	if (p && p->keep_gain)
		text_printf(t, "    gain        stays a vector of its own\n");
	if (folds[0])
		text_printf(t, "    folded      %s: costs nothing\n", folds);
	for (int i = 0; facts_online(f, (int)s, i, &o); i = o.value + 1)
		print_online(e, t, f, &o);
	return true;
}

static void
print_sites(const Explain *e, Text *t, int n)
{
	Text *left = text_new(e->run);
	for (int s = 0; s < SITE_COUNT; s++)
		if (!print_site(e, t, n, (Site)s) &&
		    facts_site_is_of(e->graph, &e->graph->funcs[n], (Site)s))
			text_printf(left, "%s%s", left->size ? ", " : "", site_table[s].name);
	if (left->size)
		text_printf(t, "  left alone    %s\n", left->text);
}

static void
print_sums(Text *t, const char *head, const Sums *s)
{
	text_printf(t, "%s%llu adds, %llu multiplies a token", head, (unsigned long long)s->adds,
		    (unsigned long long)s->multiplies);
	if (s->multiply_adds)
		text_printf(t, ": %.2f %% of what %llu multiply-adds of weights take",
			    facts_share(s), (unsigned long long)s->multiply_adds);
	text_printf(t, "\n");
}

static void
print_weights(const Explain *e, Text *t, int n)
{
	const Unit *u = layout_unit(e->layout, n);
	const Sums s = facts_sums(e->graph, e->layout, n);
	text_printf(t, "  weights       bytes a token\n");
	for (int c = 0; c < u->n_constants; c++)
		text_printf(t, "    %-12s %12llu  %s\n", u->constants[c].field,
			    (unsigned long long)constant_bytes_read(&e->graph->funcs[u->func],
								    &u->constants[c]),
			    constant_formats(e->run, &u->constants[c]));
	text_printf(t, "    %-12s %12llu\n", "all", (unsigned long long)s.bytes);
	print_sums(t, "  transforms    ", &s);
}

static void
print_bases(const Explain *e, Text *t, const Func *f)
{
	text_printf(t, "  value         basis\n");
	for (int i = 0; i < f->count; i++) {
		const Value *v = &f->values[i];
		const char *what = v->role < 0 ? op_name(v->op)
					       : arena_printf(e->run, "%s %s", op_name(v->op),
							      role_names[v->role]);
		if (v->op != OP_OUTPUT)
			text_printf(t, "    %%%-3d %-18s %s\n", i, what,
				    facts_transform(e->run, v->basis.transform));
	}
}

/* A tied embedding and head that are transformed apart. */
static void
print_tied(const Explain *e, Text *t)
{
	const Tied *tied = &e->graph->tied;
	const unsigned long long bytes = (unsigned long long)facts_head_bytes(e->graph, e->layout),
				 adds = (unsigned long long)tied->adds,
				 multiplies = (unsigned long long)tied->multiplies;
	if (tied->chosen == TIED_ONLINE)
		text_printf(
			t,
			"\nembedding and head are one table of %llu bytes; the row looked up and "
			"the head's row are transformed: %llu adds,\n%llu multiplies a token: %s. "
			"--tied=twice stores it twice instead.\n",
			bytes, adds, multiplies, tied->why);
	else if (tied->chosen == TIED_TWICE)
		text_printf(
			t,
			"\nembedding and head are one table in the model and stored twice here, "
			"%llu bytes more: %s.\n",
			bytes, tied->why);
}

static void
print_all(const Explain *e, Text *t)
{
	const Sums all = facts_all_sums(e->graph, e->layout);
	const Stored s = facts_stored(e->graph, e->layout, true);
	print_sums(t, "\nall transforms  ", &all);
	text_printf(t, "all weights     %llu bytes a token\n", (unsigned long long)all.bytes);
	text_printf(t,
		    "in layers       %.4f bits a weight: codes %.4f, scales %.4f, gains and biases "
		    "%.4f, transforms %.4f\n",
		    facts_bits(&s, facts_stored_bytes(&s)), facts_bits(&s, s.codes),
		    facts_bits(&s, s.scales), facts_bits(&s, s.vectors), facts_bits(&s, s.tables));
}

/* Neighbours of equal text are printed once. */
static void
print_text(const Explain *e, Text *t)
{
	const Graph *g = e->graph;
	const char **bodies = ARENA_ARRAY(e->run, const char *, (size_t)g->count);
	for (int n = 0; n < g->count; n++) {
		Text *body = text_new(e->run);
		print_sites(e, body, n);
		print_weights(e, body, n);
		print_bases(e, body, &g->funcs[n]);
		bodies[n] = body->text;
	}
	text_printf(
		t,
		"%s under %s\n\n"
		"Of each site's transform (plan): the sides of matrices that it went into before "
		"anything runs (folded), and what\nremains to be done at every token (runs), in "
		"value %%N, inside the kernel that makes the row or reads it (fused).\n"
		"Basis: the product of the transforms that a stored row has been through, I for "
		"none. H(n): Hadamard; P: order;\nD, S: diagonal, signs; block(A, n): A on each of "
		"its runs in a row of n elements.\n",
		e->model->file, e->plan->file);
	print_tied(e, t);
	for (int n = 0, last; n < g->count; n = last + 1) {
		for (last = n; last + 1 < g->count && !strcmp(bodies[n], bodies[last + 1]);)
			last++;
		text_printf(t, "\n%s%s%s\n%s", g->funcs[n].name, last > n ? " to " : "",
			    last > n ? g->funcs[last].name : "", bodies[n]);
	}
	print_all(e, t);
}

/* ---- JSON ----------------------------------------------------------------------------------- */

static void
json_string(Text *t, const char *key, const char *s)
{
	text_printf(t, "\"%s\": ", key);
	text_json_string(t, s, strlen(s));
}

static void
json_online(const Explain *e, Text *t, const Func *f, const Online *o)
{
	const Value *v = &f->values[o->value];
	const TransformFacts facts = transform_facts(v->transform);
	text_printf(t, "{ \"value\": %d, ", o->value);
	json_string(t, "transform", facts_transform(e->run, v->transform));
	text_printf(t,
		    ", \"adds\": %llu, \"multiplies\": %llu, \"readers\": [%s], \"kernel\": %d, "
		    "\"kind\": \"%s\", \"with\": [%s] }",
		    (unsigned long long)facts.adds, (unsigned long long)facts.multiplies,
		    readers_text(e, f, o, true), v->kernel,
		    kernel_names[f->kernels[v->kernel].kind], company_text(e, f, o->value, true));
}

static void
json_site(const Explain *e, Text *t, int n, Site s)
{
	const Func *f = &e->graph->funcs[n];
	const PlanTransform *p = facts_planned(e->graph, e->plan, s, f);
	Online o = {.value = -1};
	bool first = true;
	text_printf(t, "{ \"site\": \"%s\", ", site_table[s].name);
	if (p && p->transform) {
		json_string(t, "plan", facts_transform(e->run, p->transform));
		text_printf(t, ", ");
	}
	text_printf(t, "\"gain_kept\": %s, \"folded\": [%s], \"online\": [",
		    p && p->keep_gain ? "true" : "false", folds_text(e, s, n, true));
	for (int i = 0; facts_online(f, (int)s, i, &o); i = o.value + 1, first = false) {
		text_printf(t, first ? "" : ", ");
		json_online(e, t, f, &o);
	}
	text_printf(t, "] }");
}

static void
json_func(const Explain *e, Text *t, int n)
{
	const Func *f = &e->graph->funcs[n];
	const Unit *u = layout_unit(e->layout, n);
	const Sums sums = facts_sums(e->graph, e->layout, n);
	bool first = true;
	text_printf(t, "\t\t{ \"name\": \"%s\", \"layer\": %d,\n\t\t\t\"sites\": [", f->name,
		    f->layer);
	for (int s = 0; s < SITE_COUNT; s++)
		if (facts_site_is_of(e->graph, f, (Site)s)) {
			text_printf(t, first ? "\n\t\t\t\t" : ",\n\t\t\t\t");
			json_site(e, t, n, (Site)s);
			first = false;
		}
	text_printf(t, "],\n\t\t\t\"weights\": [");
	for (int c = 0; c < u->n_constants; c++) {
		text_printf(t, "%s\n\t\t\t\t{ ", c ? "," : "");
		json_string(t, "name", u->constants[c].field);
		text_printf(t, ", \"bytes\": %llu, ",
			    (unsigned long long)constant_bytes_read(&e->graph->funcs[u->func],
								    &u->constants[c]));
		json_string(t, "format", constant_formats(e->run, &u->constants[c]));
		text_printf(t, " }");
	}
	text_printf(t,
		    "],\n\t\t\t\"adds\": %llu, \"multiplies\": %llu, \"multiply_adds\": %llu, "
		    "\"share_percent\": %.4f, \"bytes\": %llu,\n\t\t\t\"values\": [",
		    (unsigned long long)sums.adds, (unsigned long long)sums.multiplies,
		    (unsigned long long)sums.multiply_adds, facts_share(&sums),
		    (unsigned long long)sums.bytes);
	for (int i = 0; i < f->count; i++) {
		const Value *v = &f->values[i];
		text_printf(t, "%s\n\t\t\t\t{ \"value\": %d, \"op\": \"%s\", ", i ? "," : "", i,
			    op_name(v->op));
		if (v->role >= 0)
			text_printf(t, "\"tensor\": \"%s\", ", role_names[v->role]);
		json_string(t, "basis", facts_transform(e->run, v->basis.transform));
		text_printf(t, " }");
	}
	text_printf(t, "] }");
}

static void
json_tied(const Explain *e, Text *t)
{
	const Tied *tied = &e->graph->tied;
	text_printf(t, "\"tied\": ");
	if (tied->chosen == TIED_CHEAPER) {
		text_printf(t, "null");
		return;
	}
	text_printf(t, "{ \"tables\": %d, \"bytes\": %llu, \"adds\": %llu, \"multiplies\": %llu, ",
		    tied->chosen == TIED_TWICE ? 2 : 1,
		    (unsigned long long)facts_head_bytes(e->graph, e->layout),
		    (unsigned long long)tied->adds, (unsigned long long)tied->multiplies);
	json_string(t, "why", tied->why);
	text_printf(t, " }");
}

static void
json_stored(const Explain *e, Text *t)
{
	const Stored s = facts_stored(e->graph, e->layout, true);
	text_printf(t,
		    "\"layers\": { \"elements\": %llu, \"codes\": %llu, \"scales\": %llu, "
		    "\"vectors\": %llu, \"tables\": %llu, \"bits_per_weight\": %.4f }",
		    (unsigned long long)s.elements, (unsigned long long)s.codes,
		    (unsigned long long)s.scales, (unsigned long long)s.vectors,
		    (unsigned long long)s.tables, facts_bits(&s, facts_stored_bytes(&s)));
}

static void
print_json(const Explain *e, Text *t)
{
	text_printf(t, "{ \"lathe_explain\": 1, ");
	json_string(t, "model", e->model->file);
	text_printf(t, ", ");
	json_string(t, "plan", e->plan->file);
	text_printf(t, ",\n\t\"bytes_per_token\": %llu,\n\t",
		    (unsigned long long)e->layout->bytes_per_token);
	json_stored(e, t);
	text_printf(t, ",\n\t");
	json_tied(e, t);
	text_printf(t, ",\n\t\"functions\": [\n");
	for (int n = 0; n < e->graph->count; n++) {
		json_func(e, t, n);
		text_printf(t, n + 1 < e->graph->count ? ",\n" : "\n");
	}
	text_printf(t, "\t] }\n");
}

/* ---- the command ----------------------------------------------------------------------------- */

static int
explain(Arena *run, Diag *d, const ExplainOptions *o, const StringList *operands)
{
	const ModelOptions options = {.tokenizer = o->tokenizer, .rotated = true, .jobs = 1};
	const PassOptions passes = {.disable = o->disable_pass.items,
				    .n_disable = o->disable_pass.count,
				    .dump = stdout};
	if (operands->count != 2) {
		diag_error(d, (Loc){0}, E_USAGE, "explain wants a model and a plan");
		diag_hint(d, "usage: lathe explain %s", explain_command.usage);
		return EXIT_USER;
	}
	Model *m = model_read(run, d, operands->items[0], &options);
	if (!m)
		return EXIT_USER;
	const Plan *plan = plan_read_digest(run, d, operands->items[1], m);
	if (!plan)
		return EXIT_USER;
	Graph *g = graph_build(run, m);
	if (!settings_apply(&o->settings, d, g) || !plan_apply(d, g, plan) ||
	    !passes_run(g, &passes, d) || diag_errors(d))
		return EXIT_USER;
	Explain e = {.run = run, .model = m, .plan = plan, .graph = g};
	Text *t = text_new(run);
	e.layout = layout_new(run, g);
	for (int s = 0; s < SITE_COUNT; s++)
		e.alone[s] = graph_alone(run, d, m, plan, (Site)s);
	if (o->dot)
		graph_print_dot(t, g);
	else if (o->json)
		print_json(&e, t);
	else
		print_text(&e, t);
	fwrite(t->text, 1, t->size, stdout);
	return 0;
}

int
explain_main(int argc, char **argv)
{
	ExplainOptions o = {.tokenizer = NULL};
	StringList operands = {.count = 0};
	Arena *run = arena_new();
	Diag *d = diag_new(run, stderr);
	int status = EXIT_USER;
	if (diagnostics_option(d, argc, argv) &&
	    options_parse(&explain_command, d, argc, argv, &o, &operands))
		status = explain(run, d, &o, &operands);
	diag_finish(d);
	arena_free(run);
	return status;
}
