/*
 * Transforms as calls on views of a local row. A view is `outer` runs, `pitch` floats apart, of
 * elements `right` apart, with `right` columns side by side: element i of column r of run l lies at
 * offset + l pitch + i right + r. Blocks and products of Kronecker only make views.
 */
#include "call.h"

#include "../../ir/real.h"

#include <string.h>

typedef struct View {
	int offset, outer, pitch, right;
} View;

typedef struct Transformer {
	Arena *a;
	ArcProgram *p;
	ArcEntry *entry;
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

static ArcArgument
floats(const Transformer *k, const double *v, size_t n)
{
	float *f = ARENA_ARRAY(k->a, float, n);
	for (size_t i = 0; i < n; i++)
		f[i] = (float)v[i];
	return (ArcArgument){.kind = ARC_FLOATS, .table = f, .value = (int64_t)n};
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
	uint32_t *w = ARENA_ARRAY(k->a, uint32_t, words);
	uint16_t *slot = ARENA_ARRAY(k->a, uint16_t, p->n_steps);
	const int slots = assign_slots(p, slot);
	for (uint32_t i = 0; i < p->n_steps; i++) {
		const CodeletStep s = p->steps[i];
		const uint32_t a = s.a < n ? s.a : n + slot[s.a - n];
		const uint32_t b = s.b < n ? s.b : n + slot[s.b - n];
		w[3 * i] = a;
		w[3 * i + 1] = 2 * b + s.minus;
		w[3 * i + 2] = slot[i];
	}
	for (uint32_t i = 0; i < n; i++) {
		if (p->outputs[i].value < n)
			BUG("an output of a base matrix is an input");
		w[3 * p->n_steps + i] = 2u * slot[p->outputs[i].value - n] + p->outputs[i].negative;
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
apply_matrix(const Transformer *k, const Transform *t, View v)
{
	const size_t n = t->n;
	double *columns = ARENA_ARRAY(k->a, double, n *n);
	for (size_t i = 0; i < n; i++)
		for (size_t j = 0; j < n; j++)
			columns[j * n + i] = t->matrix[i * n + j];
	ArcCall *c = view_call(k, "row_matrix", t->n, v);
	arc_add(c, floats(k, columns, n * n));
	add_row(k, c, v);
	add_work(k, c, v);
}

static void
apply_angles(const Transformer *k, const Transform *t, View v)
{
	double sine, cosine;
	ArcCall *c;
	if (t->kind == T_GIVENS) {
		real_sincos(t->scalar, &sine, &cosine);
		c = view_call(k, "row_givens", t->n, v);
		arc_add(c, arc_int(t->i));
		arc_add(c, arc_int(t->j));
		arc_add(c, arc_float((float)cosine));
		arc_add(c, arc_float((float)sine));
		add_row(k, c, v);
		return;
	}
	const size_t half = t->n / 2;
	double *both = ARENA_ARRAY(k->a, double, 2 * half);
	for (size_t i = 0; i < half; i++)
		real_sincos(t->vector[i], &both[half + i], &both[i]);
	c = view_call(k, "row_so2", t->n, v);
	arc_add(c, floats(k, both, 2 * half));
	add_row(k, c, v);
}

static void
apply_householder(const Transformer *k, const Transform *t, View v)
{
	double square = 0;
	for (uint32_t i = 0; i < t->n; i++)
		square += t->vector[i] * t->vector[i];
	ArcCall *c = view_call(k, "row_householder", t->n, v);
	arc_add(c, floats(k, t->vector, t->n));
	arc_add(c, arc_float((float)(2.0 / square)));
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
	ArcCall *c;
	switch ((TransformKind)t->kind) {
	case T_IDENTITY:
		return;
	case T_HADAMARD:
		apply_hadamard(k, t, v);
		return;
	case T_PERM:
		c = view_call(k, "row_permute", t->n, v);
		arc_add(c, (ArcArgument){.kind = ARC_WORDS, .table = t->perm, .value = t->n});
		add_row(k, c, v);
		add_work(k, c, v);
		return;
	case T_SIGNS:
	case T_DIAGONAL:
		c = view_call(k, "row_diagonal", t->n, v);
		arc_add(c, floats(k, t->vector, t->n));
		add_row(k, c, v);
		return;
	case T_SCALAR:
		c = view_call(k, "row_scale", t->n, v);
		arc_add(c, arc_float((float)t->scalar));
		add_row(k, c, v);
		return;
	case T_ORTHOGONAL:
	case T_MATRIX:
		apply_matrix(k, t, v);
		return;
	case T_HOUSEHOLDER:
		apply_householder(k, t, v);
		return;
	case T_GIVENS:
	case T_SO2:
		apply_angles(k, t, v);
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
arc_transform(Arena *a, ArcProgram *p, ArcEntry *n, const Transform *t, int runs, int x, ArcWork w)
{
	const Transformer k = {a, p, n, x, w.at, w.floats};
	const View all = {0, runs, (int)t->n, 1};
	apply(&k, t, all);
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

uint32_t
arc_transform_dense(const Transform *t)
{
	uint32_t order = t->kind == T_ORTHOGONAL || t->kind == T_MATRIX ? t->n : 0;
	for (uint32_t i = 0; i < t->n_children; i++) {
		const uint32_t child = arc_transform_dense(t->children[i]);
		order = child > order ? child : order;
	}
	return order;
}
