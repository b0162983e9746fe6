/*
 * Transforms as calls on views of a local row. A view is `outer` runs, `pitch` floats apart, of
 * elements `right` apart, with `right` columns side by side: element i of column r of run l lies at
 * offset + l pitch + i right + r. Blocks and products of Kronecker only make views.
 */
#include "call.h"

#include <string.h>

typedef struct View {
	int offset, outer, pitch, right;
} View;

typedef struct Transformer {
	Arena *a;
	ArcProgram *p;
	ArcEntry *entry;
	ArcTables tables;
	int x, work, room; /* floats of work */
} Transformer;

static void apply(const Transformer *k, const Transform *t, View v);

/* A call whose first parameters are the order and the view. */
static ArcCall *
view_call(const Transformer *k, const char *function, uint32_t n, View v)
{
	ArcCall *c = arc_call(k->a, k->entry, function);
	arc_add(c, arc_int(n));
	arc_add(c, arc_int(v.outer));
	arc_add(c, arc_int(v.pitch));
	arc_add(c, arc_int(v.right));
	return c;
}

static void
add_row(const Transformer *k, ArcCall *c, View v)
{
	arc_add(c, arc_local(k->x + v.offset));
}

static void
add_work(const Transformer *k, ArcCall *c, View v)
{
	arc_add(c, arc_local(k->work + v.offset));
}

/* The table of leaf t in the weights (true), or of the module. */
static bool
leaf_table(const Transformer *k, const Transform *t, ArcArgument *table)
{
	const Transform *const *leaves;
	const uint32_t n =
		k->tables.constant ? transform_leaves(k->a, k->tables.whole, &leaves) : 0;
	for (uint32_t i = 0; i < n; i++) {
		const uint64_t at = k->tables.constant->tables.at[i];
		if (leaves[i] != t || at == TABLE_IS_CODE)
			continue;
		*table = k->tables.argument;
		table->offset = (int64_t)at;
		return true;
	}
	const Table code = table_of(k->a, t);
	*table = (ArcArgument){.kind = code.indexes ? ARC_WORDS : ARC_FLOATS,
			       .table = code.indexes ? (const void *)code.indexes : code.floats,
			       .value = code.n};
	return false;
}

/* A call of `function`, of its form for tables in the weights where the leaf's is there. */
static ArcCall *
leaf_call(const Transformer *k, const char *function, const Transform *t, View v,
	  ArcArgument *table)
{
	const bool weights = leaf_table(k, t, table);
	return view_call(k, weights ? arena_printf(k->a, "%s_global", function) : function, t->n,
			 v);
}

/* Such a call whose table is the last argument in front of the rows. */
static void
apply_leaf(const Transformer *k, const char *function, const Transform *t, View v, bool works)
{
	ArcArgument table;
	ArcCall *c = leaf_call(k, function, t, v, &table);
	arc_add(c, table);
	add_row(k, c, v);
	if (works)
		add_work(k, c, v);
}

/* Numbers that are literals where the table is code. */
static void
add_numbers(ArcCall *c, ArcArgument table)
{
	if (table.kind != ARC_FLOATS) {
		arc_add(c, table);
		return;
	}
	for (int64_t i = 0; i < table.value; i++)
		arc_add(c, arc_float(((const float *)table.table)[i]));
}

/* Runs of m elements of the view's runs of n, as a view of its own; where they do not lie evenly,
 * one run of the old view after another. */
static void
apply_runs(const Transformer *k, const Transform *t, View v, int n)
{
	const int m = (int)t->n;
	if (v.outer == 1 || v.pitch == n * v.right) {
		const View runs = {v.offset, v.outer * (n / m), m * v.right, v.right};
		apply(k, t, runs);
		return;
	}
	for (int l = 0; l < v.outer; l++) {
		const View runs = {v.offset + l * v.pitch, n / m, m * v.right, v.right};
		apply(k, t, runs);
	}
}

/* The last factor first, each on the middle of [left][order][right]. */
static void
apply_kronecker(const Transformer *k, const Transform *t, View v)
{
	int right = 1;
	for (uint32_t i = t->n_children; i-- > 0;) {
		const Transform *c = t->children[i];
		const int run = right * (int)c->n, n = (int)t->n;
		const int rows = v.outer == 1 || v.pitch == n * v.right ? 1 : v.outer;
		for (int l = 0; l < rows; l++) {
			const View w = {v.offset + l * v.pitch, v.outer / rows * (n / run),
					run * v.right, right * v.right};
			apply(k, c, w);
		}
		right = run;
	}
}

static int
codelet_number(ArcProgram *p, const Codelet *c)
{
	for (int i = 0; i < p->n_codelets; i++)
		if (p->codelets[i] == c)
			return i;
	if (p->n_codelets == ARC_CODELETS_MAX)
		BUG("more than %d base matrices", ARC_CODELETS_MAX);
	p->codelets[p->n_codelets] = c;
	return p->n_codelets++;
}

/*
 * Places for the values of a program's steps: slot[k] of step k, null: only counted; a place is
 * free behind the last use. Returns how many places there are. Results of the program are used
 * last.
 */
static int
assign_slots(const Codelet *c, uint16_t *slot)
{
	uint16_t last[CODELET_VALUES_MAX] = {0}, at[CODELET_VALUES_MAX], unused[CODELET_VALUES_MAX];
	int n = 0, n_unused = 0;
	for (uint32_t k = 0; k < c->n_steps; k++)
		last[c->steps[k].a] = last[c->steps[k].b] = (uint16_t)k;
	for (uint32_t i = 0; i < c->order; i++)
		last[c->outputs[i].value] = (uint16_t)c->n_steps;
	for (uint32_t k = 0; k < c->n_steps; k++) {
		const uint32_t uses[] = {c->steps[k].a, c->steps[k].b};
		at[c->order + k] = n_unused ? unused[--n_unused] : (uint16_t)n++;
		for (int u = 0; u < 2; u++)
			if (uses[u] >= c->order && last[uses[u]] == k && (!u || uses[1] != uses[0]))
				unused[n_unused++] = at[uses[u]];
		if (slot)
			slot[k] = at[c->order + k];
	}
	return n;
}

/* Whether the values of a base matrix's program have no room in 128 registers, two a value, beside
 * its inputs. */
static bool
is_wide(const Transform *t)
{
	enum { VALUES = 36 };
	if (t->kind != T_HADAMARD || !t->program || t->program->order < VALUES / 2)
		return false;
	return assign_slots(t->program, NULL) + (int)t->program->order > VALUES;
}

/* A program as words: of each step its operands, inputs first and then places, the second doubled
 * and 1 more for minus, and its place; of each output its place, doubled, and 1 more for minus. */
static void
add_program(const Transformer *k, ArcCall *c, const Codelet *p)
{
	const uint32_t n = p->order, words = 3 * p->n_steps + n;
	uint16_t *w = ARENA_ARRAY(k->a, uint16_t, words);
	uint16_t *slot = ARENA_ARRAY(k->a, uint16_t, p->n_steps);
	const int slots = assign_slots(p, slot);
	for (uint32_t i = 0; i < p->n_steps; i++) {
		const CodeletStep s = p->steps[i];
		const uint32_t a = s.a < n ? s.a : n + slot[s.a - n];
		const uint32_t b = s.b < n ? s.b : n + slot[s.b - n];
		w[3 * i] = (uint16_t)a;
		w[3 * i + 1] = (uint16_t)(2 * b + s.minus);
		w[3 * i + 2] = slot[i];
	}
	for (uint32_t i = 0; i < n; i++) {
		if (p->outputs[i].value < n)
			BUG("an output of a base matrix is an input");
		w[3 * p->n_steps + i] =
			(uint16_t)(2u * slot[p->outputs[i].value - n] + p->outputs[i].negative);
	}
	arc_add(c, (ArcArgument){.kind = ARC_WORDS, .table = w, .value = (int64_t)words});
	arc_add(c, arc_int(p->n_steps));
	INVARIANT(k->room >= slots);
	arc_add(c, arc_int(k->room / slots));
}

static void
apply_hadamard(const Transformer *k, const Transform *t, View v)
{
	const int order = (int)t->base->order, run = (int)t->n / order;
	double root = t->n; /* Newton's: the same double on every host */
	for (int i = 0; i < 64; i++)
		root = 0.5 * (root + t->n / root);
	if (run > 1) {
		const int rows = v.outer == 1 || v.pitch == (int)t->n * v.right ? 1 : v.outer;
		for (int l = 0; l < rows; l++) {
			const View w = {v.offset + l * v.pitch, v.outer / rows * order,
					run * v.right, v.right};
			add_row(k, view_call(k, "row_sylvester", (uint32_t)run, w), w);
		}
	}
	ArcCall *c;
	if (is_wide(t)) {
		const View w = {v.offset, v.outer, v.pitch, v.right * run};
		c = view_call(k, "row_base_wide", (uint32_t)order, w);
		add_program(k, c, t->program);
		arc_add(c, arc_float((float)(1.0 / root)));
		add_row(k, c, v);
		arc_add(c, arc_local(k->work));
		return;
	}
	if (t->program) {
		const View w = {v.offset, v.outer, v.pitch, v.right * run};
		c = view_call(k, "row_base", (uint32_t)order, w);
		arc_add(c, arc_int(codelet_number(k->p, t->program)));
	} else {
		c = view_call(k, "row_scale", t->n, v);
	}
	arc_add(c, arc_float((float)(1.0 / root)));
	add_row(k, c, v);
}

static void
apply_scalar(const Transformer *k, const Transform *t, View v)
{
	ArcArgument table;
	ArcCall *c = leaf_call(k, "row_scale", t, v, &table);
	add_numbers(c, table);
	add_row(k, c, v);
}

static void
apply_givens(const Transformer *k, const Transform *t, View v)
{
	ArcArgument table;
	ArcCall *c = leaf_call(k, "row_givens", t, v, &table);
	arc_add(c, arc_int(t->i));
	arc_add(c, arc_int(t->j));
	add_numbers(c, table);
	add_row(k, c, v);
}

/* Zeros behind what is left, too: rows end in them. */
static void
apply_pad(const Transformer *k, const Transform *t, View v)
{
	ArcCall *c = view_call(k, "row_pad", t->transposed ? t->n_out : t->n, v);
	arc_add(c, arc_int(t->transposed ? t->n : t->n_out));
	add_row(k, c, v);
}

static void
apply_sum(const Transformer *k, const Transform *t, View v)
{
	for (uint32_t i = 0; i < t->n_children; i++) {
		apply(k, t->children[i], v);
		v.offset += (int)t->children[i]->n * v.right;
	}
}

static void
apply(const Transformer *k, const Transform *t, View v)
{
	switch ((TransformKind)t->kind) {
	case T_IDENTITY:
		return;
	case T_HADAMARD:
		apply_hadamard(k, t, v);
		return;
	case T_PERM:
		apply_leaf(k, "row_permute", t, v, true);
		return;
	case T_SIGNS:
	case T_DIAGONAL:
		apply_leaf(k, "row_diagonal", t, v, false);
		return;
	case T_SCALAR:
		apply_scalar(k, t, v);
		return;
	case T_ORTHOGONAL:
	case T_MATRIX:
		apply_leaf(k, "row_matrix", t, v, true);
		return;
	case T_HOUSEHOLDER:
		apply_leaf(k, "row_householder", t, v, false);
		return;
	case T_GIVENS:
		apply_givens(k, t, v);
		return;
	case T_SO2:
		apply_leaf(k, "row_so2", t, v, false);
		return;
	case T_PAD:
		apply_pad(k, t, v);
		return;
	case T_PRODUCT:
		for (uint32_t i = t->n_children; i-- > 0;)
			apply(k, t->children[i], v);
		return;
	case T_KRONECKER:
		apply_kronecker(k, t, v);
		return;
	case T_BLOCK:
		apply_runs(k, t->children[0], v, (int)t->n);
		return;
	case T_SUM:
		apply_sum(k, t, v);
		return;
	default:
		BUG("transform kind %d cannot run", t->kind);
	}
}

void
arc_transform(Arena *a, ArcProgram *p, ArcEntry *n, const Transform *t, ArcTables tables, int runs,
	      int x, ArcWork w)
{
	const Transformer k = {a, p, n, tables, x, w.at, w.floats};
	const View all = {0, runs, (int)t->n, 1};
	apply(&k, t, all);
}

bool
arc_tables_cover(Arena *a, ArcTables tables, const Transform *t)
{
	const Transform *const *whole, *const *leaves;
	const uint32_t n = tables.constant ? transform_leaves(a, t, &leaves) : 0;
	const uint32_t all = transform_leaves(a, tables.whole, &whole);
	bool cover = true;
	for (uint32_t i = 0, k; i < n && cover; i++) {
		for (k = 0; k < all && whole[k] != leaves[i]; k++)
			continue;
		cover = k < all;
	}
	return cover;
}

int
arc_transform_work(const Transform *t, int floats)
{
	int work = t->kind == T_PERM || t->kind == T_ORTHOGONAL || t->kind == T_MATRIX ? floats : 0;
	if (is_wide(t)) {
		const int columns = floats / (int)t->program->order;
		work = assign_slots(t->program, NULL) * (columns < ARC_LANES ? columns : ARC_LANES);
	}
	for (uint32_t i = 0; i < t->n_children; i++) {
		const int more = arc_transform_work(t->children[i], floats);
		work = more > work ? more : work;
	}
	return work;
}
