/* The table of passes and its driver: facts, options, dumps, the checker behind every pass. */
#include "passes.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

const char *const fact_names[FACT_COUNT] = {"tiled", "fused", "deduped", "scheduled", "placed"};

const Pass pass_table[] = {
#define PASS(function, name, establishes, needs, breaks, mandatory, what) \
	{name, what, function, establishes, needs, breaks, mandatory},
#include "passes.def"
};

const char *const count_names[GRAPH_COUNTS] = {
#define COUNT(e, words, what) words,
#include "counts.def"
};

const int pass_count = sizeof pass_table / sizeof *pass_table;

static const Pass *
pass_find(const char *name)
{
	for (int i = 0; i < pass_count; i++)
		if (!strcmp(pass_table[i].name, name))
			return &pass_table[i];
	return NULL;
}

static bool
listed(const char *name, const char *const *names, int n)
{
	for (int i = 0; i < n; i++)
		if (!strcmp(names[i], name))
			return true;
	return false;
}

/* ---- options ------------------------------------------------------------------------------ */

static void
check_name(Diag *d, const char *name)
{
	const char *names[sizeof pass_table / sizeof *pass_table];
	if (pass_find(name))
		return;
	for (int i = 0; i < pass_count; i++)
		names[i] = pass_table[i].name;
	const char *near = nearest_name(name, names, (size_t)pass_count);
	diag_error(d, (Loc){0}, E_PASS, "no pass is called '%s'", name);
	if (near)
		diag_hint(d, "did you mean '%s'?", near);
	else
		diag_hint(d, "`lathe passes` lists them");
}

static void
check_names(Diag *d, const PassOptions *o)
{
	for (int i = 0; i < o->n_only; i++)
		check_name(d, o->only[i]);
	for (int i = 0; i < o->n_dump; i++)
		if (strcmp(o->dump_after[i], "all") != 0)
			check_name(d, o->dump_after[i]);
	if (o->stop_after)
		check_name(d, o->stop_after);
	for (int i = 0; i < o->n_disable; i++) {
		const Pass *p = pass_find(o->disable[i]);
		check_name(d, o->disable[i]);
		if (p && p->mandatory)
			diag_error(d, (Loc){0}, E_PASS, "pass '%s' cannot be disabled", p->name);
	}
}

/* The pass that establishes a fact. */
static const char *
fact_pass(unsigned fact)
{
	for (int i = 0; i < pass_count; i++)
		if (pass_table[i].establishes & fact)
			return pass_table[i].name;
	BUG("no pass establishes fact %u", fact);
}

/* The passes to run, in order; n: how many. Reports those whose needs are not met. */
static const Pass **
choose_passes(Graph *g, const PassOptions *o, Diag *d, int *n)
{
	int candidates = o->only ? o->n_only : pass_count;
	const Pass **chosen = ARENA_ARRAY(g->arena, const Pass *, (size_t)candidates + 1);
	unsigned facts = g->facts;
	bool stopped = false;
	*n = 0;
	for (int i = 0; i < candidates && !stopped; i++) {
		const Pass *p = o->only ? pass_find(o->only[i]) : &pass_table[i];
		stopped = o->stop_after && !strcmp(o->stop_after, p->name);
		if (listed(p->name, o->disable, o->n_disable))
			continue;
		for (int bit = 0; bit < FACT_COUNT; bit++)
			if (p->needs & ~facts & 1u << bit)
				diag_error(d, (Loc){0}, E_PASS, "pass '%s' must run after '%s'",
					   p->name, fact_pass(1u << bit));
		facts = (facts & ~p->breaks) | p->establishes;
		chosen[(*n)++] = p;
	}
	if (o->stop_after && !stopped)
		diag_error(d, (Loc){0}, E_PASS, "pass '%s' is not among those that run",
			   o->stop_after);
	return chosen;
}

/* ---- running ------------------------------------------------------------------------------ */

static void
forget_func(Func *f, int index, unsigned facts)
{
	if (facts & FACT_DEDUPED)
		f->same_as = index;
	if (facts & FACT_SCHEDULED) {
		f->order = NULL;
		f->kernels = NULL;
		f->n_order = f->n_kernels = 0;
	}
	if (facts & FACT_PLACED) {
		f->buffers = NULL;
		f->n_buffers = 0;
	}
	for (int i = 0; i < f->count; i++) {
		if (facts & FACT_FUSED)
			f->values[i].kernel = -1;
		if (facts & FACT_PLACED)
			f->values[i].buffer = -1;
	}
}

/* Clears the side fields of facts that no longer hold. */
static void
graph_forget(Graph *g, unsigned facts)
{
	g->facts &= ~facts;
	/* Kernel numbers of a schedule mean nothing where fuse did not make them. */
	if (facts & FACT_SCHEDULED && !(g->facts & FACT_FUSED))
		facts |= FACT_FUSED;
	if (facts & FACT_PLACED)
		g->arena_bytes_per_token = 0;
	for (int n = 0; n < g->count; n++)
		forget_func(&g->funcs[n], n, facts);
}

/* The graph in a file that stays; returns its path. */
static const char *
dump_to_file(const Graph *g, const char *pass)
{
	char *path = arena_printf(g->arena, "%s/lathe-%s-XXXXXX", temporary_place(), pass);
	int fd = mkstemp(path);
	FILE *f = fd < 0 ? NULL : fdopen(fd, "w");
	Text *t = text_new(g->arena);
	if (!f)
		return "(no file: TMPDIR is not writable)";
	graph_print(t, g);
	fwrite(t->text, 1, t->size, f);
	fclose(f);
	return path;
}

void
pass_apply(Graph *g, const Pass *p, Diag *d)
{
	INVARIANT((p->needs & ~g->facts) == 0);
	graph_forget(g, p->breaks | p->establishes);
	p->run(g);
	g->facts |= p->establishes;
	if (graph_check(g, diag_new(g->arena, NULL)) == 0)
		return;
	diag_limit(d, INT_MAX);
	graph_check(g, d);
	BUG("pass '%s' broke the IR (violations above); it is in %s", p->name,
	    dump_to_file(g, p->name));
}

/* ---- the record --------------------------------------------------------------------------- */

static bool
has_kernel(const Value *v)
{
	return op_table[v->op].kernel != KERNEL_NONE;
}

/* Values with the number of an earlier one are in that one's kernel. */
static bool
first_of_kernel(const Func *f, int i)
{
	for (int k = 0; k < i && f->values[i].kernel >= 0; k++)
		if (f->values[k].kernel == f->values[i].kernel)
			return false;
	return has_kernel(&f->values[i]);
}

static void
count_func(const Func *f, uint64_t counts[GRAPH_COUNTS])
{
	counts[COUNT_VALUES] += (uint64_t)f->count;
	counts[COUNT_PHASES] += f->n_kernels ? (uint64_t)f->kernels[f->n_kernels - 1].phase + 1 : 0;
	for (int i = 0; i < f->count; i++) {
		const Value *v = &f->values[i];
		counts[COUNT_GAINS] += v->op == OP_GAIN || v->op == OP_GAIN_HEADS;
		counts[COUNT_TRANSFORMS] += v->op == OP_TRANSFORM;
		counts[COUNT_FOLDS] += (uint64_t)(v->fold_in != NULL) + (v->fold_out != NULL);
		counts[COUNT_QUANTIZES] += v->op == OP_QUANTIZE;
		counts[COUNT_TILES] += v->op == OP_TILE;
		counts[COUNT_KERNELS] += first_of_kernel(f, i);
	}
}

static void
count_graph(const Graph *g, uint64_t counts[GRAPH_COUNTS])
{
	memset(counts, 0, GRAPH_COUNTS * sizeof *counts);
	for (int n = 0; n < g->count; n++) {
		count_func(&g->funcs[n], counts);
		counts[COUNT_CODES] += g->funcs[n].same_as < 0 || g->funcs[n].same_as == n;
	}
	counts[COUNT_ARENA] = g->arena_bytes_per_token;
}

static void
apply_recorded(Graph *g, const Pass *p, Diag *d)
{
	PassRecord *r = &g->record[g->n_record++];
	r->pass = p;
	count_graph(g, r->before);
	pass_apply(g, p, d);
	count_graph(g, r->after);
}

bool
passes_run(Graph *g, const PassOptions *o, Diag *d)
{
	int before = diag_errors(d), n;
	check_names(d, o);
	if (diag_errors(d) != before)
		return false;
	const Pass **chosen = choose_passes(g, o, d, &n);
	if (diag_errors(d) != before || graph_check(g, d) > 0)
		return false;
	g->record = ARENA_ARRAY(g->arena, PassRecord, (size_t)n);
	g->n_record = 0;
	for (int i = 0; i < n; i++) {
		apply_recorded(g, chosen[i], d);
		if (!listed(chosen[i]->name, o->dump_after, o->n_dump) &&
		    !listed("all", o->dump_after, o->n_dump))
			continue;
		Text *t = text_new(g->arena);
		text_line(t, "# after %s", chosen[i]->name);
		graph_print_brief(t, g);
		fwrite(t->text, 1, t->size, o->dump);
	}
	return true;
}
