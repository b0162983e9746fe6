/*
 * Transforms at run time as C: one function a value, made of calls on runs of its row. Base
 * matrices become straight lines of additions over vectors, in the order of their program
 * (ir/codelet.h).
 */
#include "emit.h"

#include <stdlib.h>
#include <string.h>

enum { SEEN_MAX = 512 };

/* Functions that the file has already. */
typedef struct Seen {
	const char *names[SEEN_MAX];
	int n;
} Seen;

static bool
seen_before(Seen *s, const char *name)
{
	for (int i = 0; i < s->n; i++)
		if (!strcmp(s->names[i], name))
			return true;
	if (s->n == SEEN_MAX)
		BUG("more than %d transforms", SEEN_MAX);
	s->names[s->n++] = name;
	return false;
}

static void
hex_float(Text *t, double v)
{
	const float f = (float)v;
	text_printf(t, "%af", (double)f);
}

/* ---- Hadamard ----------------------------------------------------------------------------- */

/* "paley1_11", "paley2_13_t" of the transpose, "data_1f3a90cc". */
static const char *
base_name(Arena *a, const Transform *h)
{
	const char *tail = h->transposed ? "_t" : "";
	char hex[65];
	if (h->base->construction != BASE_DATA)
		return arena_printf(a, "%s_%u%s", construction_name(h->base->construction),
				    h->base->parameter, tail);
	sha256_hex(h->base->sha256, hex);
	return arena_printf(a, "data_%.8s%s", hex, tail);
}

/*
 * The steps of a program in an order that keeps few values alive, so that few leave the registers:
 * of the steps whose operands are there, one that ends most values, of these the one whose operands
 * are newest. Each step is what it was: the order between steps rounds nothing.
 */
static const uint32_t *
schedule(Arena *a, const Codelet *c)
{
	const uint32_t n = c->n_steps, order = c->order;
	uint32_t *uses = ARENA_ARRAY(a, uint32_t, order + n);
	uint32_t *made =
		ARENA_ARRAY(a, uint32_t, order + n); /* when, or was last used; 0: not yet */
	uint32_t *scheduled = ARENA_ARRAY(a, uint32_t, n);
	uint32_t *waiting = ARENA_ARRAY(a, uint32_t, n);
	for (uint32_t i = 0; i < order; i++)
		made[i] = 1;
	for (uint32_t k = 0; k < n; k++) {
		waiting[k] = k;
		uses[c->steps[k].a]++;
		uses[c->steps[k].b]++;
	}
	for (uint32_t time = 0; time < n; time++) {
		uint32_t best = n, best_ends = 0, best_age = 0;
		for (uint32_t w = 0; w < n - time; w++) {
			const CodeletStep *s = &c->steps[waiting[w]];
			if (!made[s->a] || !made[s->b])
				continue;
			const uint32_t ends = (s->a >= order && uses[s->a] == 1) +
					      (s->b >= order && uses[s->b] == 1) +
					      !uses[order + waiting[w]];
			const uint32_t age = made[s->a] > made[s->b] ? made[s->a] : made[s->b];
			if (best < n &&
			    (ends < best_ends || (ends == best_ends && age <= best_age)))
				continue;
			best = w;
			best_ends = ends;
			best_age = age;
		}
		INVARIANT(best < n);
		const uint32_t step = waiting[best];
		const CodeletStep *s = &c->steps[step];
		scheduled[time] = step;
		memmove(waiting + best, waiting + best + 1,
			(n - time - best - 1) * sizeof *waiting);
		uses[s->a]--;
		uses[s->b]--;
		made[s->a] = made[s->b] = made[order + step] = time + 2;
	}
	return scheduled;
}

/*
 * How a program's function goes over its columns: in slices, to another row; in slices, in place,
 * where two rows are more than a cache of 32 KiB holds; one by one, where they fill no slice.
 */
typedef enum BaseForm { BASE_SLICES, BASE_IN_PLACE, BASE_ALONE } BaseForm;

static BaseForm
base_form(const Transform *h, uint32_t right)
{
	if (h->n / h->base->order * right < 4)
		return BASE_ALONE;
	return h->n * right > 3072 ? BASE_IN_PLACE : BASE_SLICES;
}

static const char *
base_function(Arena *a, const Transform *h, BaseForm form)
{
	static const char *const tails[] = {"", "_in_place", "_alone"};
	return arena_printf(a, "base_%s%s", base_name(a, h), tails[form]);
}

static void
emit_base_load(Text *t, const Codelet *c, bool *loaded, BaseForm form, uint32_t value)
{
	if (value >= c->order || loaded[value])
		return;
	loaded[value] = true;
	text_line(t,
		  form == BASE_ALONE ? "const float a%u = x[%u * runs];"
				     : "const vs a%u = vs_load_first(x + %u * runs, part);",
		  value, value);
}

static void
emit_base_store(Text *t, const Codelet *c, BaseForm form, uint32_t row)
{
	const char *to = form == BASE_SLICES ? "y" : "x";
	const uint32_t value = c->outputs[row].value;
	const char *scale = c->outputs[row].negative ? "minus" : "plus";
	if (form == BASE_ALONE)
		text_line(t, "x[%u * runs] = a%u * %s;", row, value, scale);
	else
		text_line(t, "vs_store_first(%s + %u * runs, vs_mul(a%u, %s), part);", to, row,
			  value, scale);
}

static void
emit_base_step(Text *t, const Codelet *c, BaseForm form, uint32_t k, bool by_fma)
{
	const CodeletStep *s = &c->steps[k];
	if (form == BASE_ALONE)
		text_line(t, "const float a%u = a%u %c a%u;", c->order + k, s->a,
			  s->minus ? '-' : '+', s->b);
	else
		text_line(t, "const vs a%u = vs_%s%s(a%u, a%u);", c->order + k,
			  s->minus ? "sub" : "add", by_fma ? "_by_fma" : "", s->a, s->b);
	for (uint32_t i = 0; i < c->order && form == BASE_SLICES; i++)
		if (c->outputs[i].value == c->order + k)
			emit_base_store(t, c, form, i);
}

/* The program on a slice of columns or on one column. Every other sum is a multiply-add by 1,
 * which has ports of its own. */
static void
emit_base_columns(Text *t, const char *name, const Transform *h, BaseForm form)
{
	const Codelet *c = h->program;
	const uint32_t *order = schedule(t->arena, c);
	const char *set = form == BASE_ALONE ? "" : "vs_set1";
	bool *loaded = ARENA_ARRAY(t->arena, bool, c->order), negative = false;
	for (uint32_t i = 0; i < c->order; i++)
		negative |= c->outputs[i].negative;
	text_line(t, "/* base x, times scale, on columns of [%u][runs], %s: %u additions */",
		  c->order, base_name(t->arena, h), c->n_steps);
	text_line(t, "LATHE_INLINE void");
	text_line(t, "%s_columns(const int runs, %sconst float scale,", name,
		  form == BASE_ALONE ? "" : "const int part, ");
	text_line(t, form == BASE_SLICES
			     ? "\tconst float *LATHE_RESTRICT x, float *LATHE_RESTRICT y)"
			     : "\tfloat *x)");
	text_line(t, "{");
	text_printf(t, "\tconst %s plus = %s(scale)", form == BASE_ALONE ? "float" : "vs", set);
	text_printf(t, negative ? ", minus = %s(-scale);\n" : ";\n", set);
	for (uint32_t k = 0; k < c->n_steps; k++) {
		emit_base_load(t, c, loaded, form, c->steps[order[k]].a);
		emit_base_load(t, c, loaded, form, c->steps[order[k]].b);
		emit_base_step(t, c, form, order[k], k % 2);
	}
	for (uint32_t i = 0; i < c->order && form != BASE_SLICES; i++)
		emit_base_store(t, c, form, i);
	text_line(t, "}");
	text_blank(t);
}

static void
emit_base(Text *t, const char *name, const Transform *h, BaseForm form)
{
	const char *y = form == BASE_SLICES ? ", y + c" : "";
	emit_base_columns(t, name, h, form);
	text_line(t, "/* The same on all columns. */");
	text_line(t, "LATHE_INLINE void");
	text_line(t,
		  form == BASE_SLICES ? "%s(const int runs, const float scale, const float "
					"*LATHE_RESTRICT x, float *LATHE_RESTRICT y)"
				      : "%s(const int runs, const float scale, float *x)",
		  name);
	text_line(t, "{");
	if (form == BASE_ALONE) {
		text_line(t, "for (int c = 0; c < runs; c++)");
		text_line(t, "\t%s_columns(runs, scale, x + c);", name);
	} else {
		text_line(t, "int c = 0;");
		text_line(t, "for (; c + LATHE_SLICE <= runs; c += LATHE_SLICE)");
		text_line(t, "\t%s_columns(runs, LATHE_SLICE, scale, x + c%s);", name, y);
		text_line(t, "if (runs %% LATHE_SLICE)");
		text_line(t, "\t%s_columns(runs, runs %% LATHE_SLICE, scale, x + c%s);", name, y);
	}
	text_line(t, "}");
	text_blank(t);
}

/* 1 / sqrt(n): Newton's, the same double on every host. */
static const char *
hadamard_scale(Arena *a, uint32_t n)
{
	double root = n;
	Text *scale = text_new(a);
	for (int i = 0; i < 64; i++)
		root = 0.5 * (root + n / root);
	hex_float(scale, 1.0 / root);
	return scale->text;
}

/* "hadamard_576_paley2_17", "hadamard_32_by_48" on a view of 48 columns, "hadamard_32_in_1536". */
static const char *
hadamard_name(Arena *a, const Transform *h, uint32_t count, uint32_t right)
{
	Text *t = text_new(a);
	text_printf(t, "hadamard_%u", h->n);
	if (h->program)
		text_printf(t, "_%s", base_name(a, h));
	if (right > 1)
		text_printf(t, "_by_%u", right);
	if (count > 1 && !h->program)
		text_printf(t, "_in_%u", h->n * right * count);
	return t->text;
}

/* On `count` views [n][right], one behind the other; one with a base. */
static void
emit_hadamard(Text *t, Seen *seen, const Transform *h, uint32_t count, uint32_t right)
{
	const char *name = hadamard_name(t->arena, h, count, right);
	const char *scale = hadamard_scale(t->arena, h->n);
	const uint32_t all = h->n * right;
	if (h->program) {
		const BaseForm form = base_form(h, right);
		const char *base = base_function(t->arena, h, form);
		const char *y = form == BASE_SLICES ? "work" : "x";
		const uint32_t runs = h->n / h->base->order;
		if (!seen_before(seen, base))
			emit_base(t, base, h, form);
		if (seen_before(seen, name))
			return;
		text_line(t, "static void");
		text_line(t, "%s(float *x, float *work)", name);
		text_line(t, "{");
		if (form != BASE_SLICES)
			text_line(t, "(void)work;");
		if (right == 1) {
			text_line(t, "sylvester_row(%u, %u, 0, 1.0f, x, %s);", h->n, runs, y);
		} else {
			if (form == BASE_SLICES)
				text_line(t, "memcpy(work, x, sizeof(float) * %u);", all);
			text_line(t, "butterfly_passes(%u, %u, %u, 0, 1.0f, %s);", all, right,
				  right * runs, y);
		}
		if (form == BASE_SLICES)
			text_line(t, "%s(%u, %s, work, x);", base, runs * right, scale);
		else
			text_line(t, "%s(%u, %s, x);", base, runs * right, scale);
	} else {
		if (seen_before(seen, name))
			return;
		text_line(t, "static void");
		text_line(t, "%s(float *x, float *work)", name);
		text_line(t, "{");
		text_line(t, "(void)work;");
		if (right == 1)
			text_line(t, "sylvester_row(%u, %u, 1, %s, x, x);", all * count, h->n,
				  scale);
		else
			text_line(t, "butterfly_passes(%u, %u, %u, 1, %s, x);", all * count, right,
				  all, scale);
	}
	text_line(t, "}");
	text_blank(t);
}

/* ---- one transform ------------------------------------------------------------------------ */

/* The function under way: tables of its code go in front of it, those of the weights are parts of
 * `constant`. Or, where `seen` is there, only the Hadamard functions that it calls, which go to
 * `tables`. */
typedef struct Printer {
	Text *tables, *body;
	Seen *seen;
	const char *prefix;
	const Constant *constant; /* null: all is code */
	const Transform *const *leaves;
	uint32_t n_leaves;
	bool *printed; /* [n_leaves] */
	int depth;
} Printer;

/* Maps `count` views [x->n][right], one behind the other from `at`, in place. */
static void print_apply(Printer *p, const Transform *x, const char *at, uint32_t count,
			uint32_t right);

static void
print_table(Text *t, const char *name, const Table *table)
{
	const uint32_t row = table->indexes ? 16 : 8;
	text_printf(t, "static const %s %s[%u] = {\n", table->indexes ? "uint16_t" : "float", name,
		    table->n);
	for (uint32_t i = 0; i < table->n; i++) {
		text_printf(t, i % row ? " " : "\t");
		if (table->indexes)
			text_printf(t, "%u", table->indexes[i]);
		else
			hex_float(t, (double)table->floats[i]);
		text_printf(t, i % row == row - 1 || i + 1 == table->n ? ",\n" : ",");
	}
	text_printf(t, "};\n");
}

/* The number of leaf x, and whether its table is code. */
static uint32_t
leaf_of(const Printer *p, const Transform *x, bool *code)
{
	uint32_t i = 0;
	while (p->leaves[i] != x)
		i++;
	*code = !p->constant || p->constant->tables.at[i] == TABLE_IS_CODE;
	return i;
}

/* The C expression of leaf x's table, which is printed where it is met first. */
static const char *
print_leaf(Printer *p, const Transform *x)
{
	Arena *a = p->body->arena;
	bool code;
	if (p->seen)
		return "";
	const uint32_t i = leaf_of(p, x, &code);
	const char *name = arena_printf(a, "%s_%u", p->prefix, i);
	if (!code)
		return arena_printf(a, "(const %s *)(tables + %llu)",
				    x->kind == T_PERM ? "uint16_t" : "float",
				    (unsigned long long)p->constant->tables.at[i]);
	if (!p->printed[i]) {
		const Table table = table_of(a, x);
		print_table(p->tables, name, &table);
		p->printed[i] = true;
	}
	return name;
}

/* Number i of leaf x's table, which is text where it is code. */
static const char *
print_number(Printer *p, const Transform *x, uint32_t i)
{
	Text *number = text_new(p->body->arena);
	bool code;
	if (p->seen)
		return "";
	leaf_of(p, x, &code);
	if (code)
		hex_float(number, (double)table_of(number->arena, x).floats[i]);
	else
		text_printf(number, "(%s)[%u]", print_leaf(p, x), i);
	return number->text;
}

static void
print_matrix(Printer *p, const Transform *x, const char *at, uint32_t count, uint32_t right)
{
	const char *table = print_leaf(p, x);
	if (right == 1)
		text_line(p->body, "matrix_rows(%u, %u, %s, %s, work);", x->n, count, table, at);
	else
		text_line(p->body, "matrix_columns(%u, %u, %s, %s, work);", x->n, right, table, at);
}

/* A loop over runs of `step` elements; returns the expression of a run. */
static const char *
open_runs(Printer *p, uint32_t n, uint32_t step, const char *at)
{
	const int i = p->depth++;
	if (n == step)
		return at;
	text_line(p->body, "for (int i%d = 0; i%d < %u; i%d += %u) {", i, i, n, i, step);
	return arena_printf(p->body->arena, "%s + i%d", at, i);
}

static void
close_runs(Printer *p, uint32_t n, uint32_t step)
{
	p->depth--;
	if (n != step)
		text_line(p->body, "}");
}

static void
print_hadamard(Printer *p, const Transform *x, const char *at, uint32_t count, uint32_t right)
{
	const uint32_t one = x->n * right, step = x->program ? one : one * count;
	if (p->seen)
		emit_hadamard(p->tables, p->seen, x, count, right);
	const char *run = open_runs(p, one * count, step, at);
	text_line(p->body, "%s(%s, work);", hadamard_name(p->body->arena, x, count, right), run);
	close_runs(p, one * count, step);
}

/* Kinds that hold other transforms, and those that take every view. */
static bool
print_view(Printer *p, const Transform *x, const char *at, uint32_t count, uint32_t right)
{
	uint32_t from = 0, inner = right;
	switch ((TransformKind)x->kind) {
	case T_IDENTITY:
		return true;
	case T_HADAMARD:
		print_hadamard(p, x, at, count, right);
		return true;
	case T_SCALAR:
		text_line(p->body, "scale_row(%u, %s, %s);", x->n * count * right,
			  print_number(p, x, 0), at);
		return true;
	case T_PRODUCT:
		for (uint32_t i = x->n_children; i-- > 0;)
			print_apply(p, x->children[i], at, count, right);
		return true;
	case T_KRONECKER:
		for (uint32_t i = x->n_children; i-- > 0; inner *= x->children[i]->n)
			print_apply(p, x->children[i], at,
				    count * (x->n * right / (x->children[i]->n * inner)), inner);
		return true;
	case T_BLOCK:
		print_apply(p, x->children[0], at, count * (x->n / x->children[0]->n), right);
		return true;
	case T_SUM:
		at = open_runs(p, x->n * right * count, x->n * right, at);
		for (uint32_t i = 0; i < x->n_children; from += right * x->children[i++]->n)
			print_apply(p, x->children[i],
				    from ? arena_printf(p->body->arena, "%s + %u", at, from) : at,
				    1, right);
		close_runs(p, x->n * right * count, x->n * right);
		return true;
	default:
		return false;
	}
}

/* One row. */
static void
print_row(Printer *p, const Transform *x, const char *at)
{
	Text *t = p->body;
	switch ((TransformKind)x->kind) {
	case T_PERM:
		text_line(t, "permute_row(%u, %s, %s, work);", x->n, print_leaf(p, x), at);
		return;
	case T_SIGNS:
	case T_DIAGONAL:
		text_line(t, "diagonal_row(%u, %s, %s);", x->n, print_leaf(p, x), at);
		return;
	case T_HOUSEHOLDER:
		text_line(t, "householder_row(%u, %s, %s);", x->n, print_leaf(p, x), at);
		return;
	case T_GIVENS:
		text_line(t, "givens_row(%u, %u, %s, %s, %s);", x->i, x->j, print_number(p, x, 0),
			  print_number(p, x, 1), at);
		return;
	case T_SO2:
		text_line(t, "angles_row(%u, %s, %s);", x->n, print_leaf(p, x), at);
		return;
	case T_PAD:
		/* Behind a row's elements zeros stand, up to a multiple of 32. */
		if (x->transposed)
			text_line(t, "memset(%s + %u, 0, sizeof(float) * %u);", at, x->n_out,
				  x->n - x->n_out);
		else if (round_up(x->n, 32) < x->n_out)
			text_line(t, "memset(%s + %u, 0, sizeof(float) * %u);", at, x->n,
				  x->n_out - x->n);
		return;
	default:
		BUG("transform kind %d cannot run", x->kind);
	}
}

/* Strided rows of the kinds that know plain rows only are gathered behind what these work in. */
static void
print_strided(Printer *p, const Transform *x, const char *at, uint32_t right)
{
	const char *column = open_runs(p, right, 1, at);
	const char *row = arena_printf(p->body->arena, "work + %u", x->n);
	text_line(p->body, "gather_row(%u, %u, %s, %s);", x->n, right, column, row);
	print_row(p, x, row);
	text_line(p->body, "scatter_row(%u, %u, %s, %s);", x->n, right, row, column);
	close_runs(p, right, 1);
}

static void
print_apply(Printer *p, const Transform *x, const char *at, uint32_t count, uint32_t right)
{
	const bool dense = x->kind == T_ORTHOGONAL || x->kind == T_MATRIX;
	if (print_view(p, x, at, count, right))
		return;
	if (dense && right == 1) {
		print_matrix(p, x, at, count, right);
		return;
	}
	const char *run = open_runs(p, x->n * right * count, x->n * right, at);
	if (dense)
		print_matrix(p, x, run, 1, right);
	else if (right == 1)
		print_row(p, x, run);
	else
		print_strided(p, x, run, right);
	close_runs(p, x->n * right * count, x->n * right);
}

/* ---- the file's ---------------------------------------------------------------------------- */

static void
emit_hadamards(Text *t, Seen *seen, const Transform *x)
{
	Printer p = {.tables = t, .body = text_new(t->arena), .seen = seen, .prefix = ""};
	print_apply(&p, x, "x", 1, 1);
}

void
emit_hadamard_functions(Text *t, const Artefact *x)
{
	Seen *seen = ARENA_NEW(t->arena, Seen);
	for (int n = 0; n < x->layout->n_units; n++) {
		const Func *f = &x->graph->funcs[x->layout->units[n].func];
		for (int i = 0; i < f->count; i++)
			if (f->values[i].op == OP_TRANSFORM)
				emit_hadamards(t, seen, f->values[i].transform);
	}
}

void
emit_transform(Text *t, const char *name, const char *what, const Transform *x,
	       const Constant *tables)
{
	Text *words = text_new(t->arena);
	Printer p = {.tables = text_new(t->arena),
		     .body = text_new(t->arena),
		     .prefix = name,
		     .constant = tables};
	p.n_leaves = transform_leaves(t->arena, x, &p.leaves);
	p.printed = ARENA_ARRAY(t->arena, bool, p.n_leaves);
	p.body->indent = 1;
	transform_print(words, x, TRANSFORM_NAMED);
	print_apply(&p, x, "x", 1, 1);
	text_add(t, p.tables->text, p.tables->size);
	text_line(t, "/* %s: %s */", what, words->text);
	text_line(t, "static void");
	text_line(t, "%s(float *x, float *work%s)", name, tables ? ", const uint8_t *tables" : "");
	text_line(t, "{");
	text_line(t, "(void)work;");
	text_add(t, p.body->text, p.body->size);
	text_line(t, "}");
	text_blank(t);
}

void
emit_transforms(Text *t, const char *const *names, const Transform *const *x, int n)
{
	Seen *seen = ARENA_NEW(t->arena, Seen);
	for (int i = 0; i < n; i++)
		emit_hadamards(t, seen, x[i]);
	for (int i = 0; i < n; i++)
		emit_transform(t, names[i], names[i], x[i], NULL);
}
