/*
 * Transforms at run time as C: one function a value, made of calls on runs of its row. Base
 * matrices become straight lines of additions over vectors, in the order of their program
 * (ir/codelet.h).
 */
#include "emit.h"

#include "../ir/real.h"

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

static const char *
hadamard_name(Arena *a, const Transform *h)
{
	return h->base->order == 1 ? arena_printf(a, "hadamard_%u", h->n)
				   : arena_printf(a, "hadamard_%u_%s", h->n, base_name(a, h));
}

/* Whether its columns fill vectors. */
static bool
in_vectors(const Transform *h)
{
	return h->n / h->base->order % 16 == 0;
}

static const char *
base_function(Arena *a, const Transform *h)
{
	return arena_printf(a, "base_%s%s", base_name(a, h), in_vectors(h) ? "" : "_one");
}

/* The program of a base, on vectors of columns or column by column. */
static void
emit_base(Text *t, const Transform *h)
{
	const Codelet *c = h->program;
	const bool v = in_vectors(h);
	const char *type = v ? "vf" : "float";
	text_line(t, "/* x = base x on %u rows of `runs` columns: %s, %u additions */", c->order,
		  base_name(t->arena, h), c->n_steps);
	text_line(t, "static void");
	text_line(t, "%s(const int runs, const float scale, float *x)", base_function(t->arena, h));
	text_line(t, "{");
	text_line(t, "for (int c = 0; c < runs; c += %d) {", v ? 16 : 1);
	for (uint32_t i = 0; i < c->order; i++)
		text_line(t,
			  v ? "const %s a%u = vf_load(x + %u * runs + c);"
			    : "const %s a%u = x[%u * runs + c];",
			  type, i, i);
	for (uint32_t k = 0; k < c->n_steps; k++) {
		const CodeletStep *s = &c->steps[k];
		if (v)
			text_line(t, "const vf a%u = vf_%s(a%u, a%u);", c->order + k,
				  s->minus ? "sub" : "add", s->a, s->b);
		else
			text_line(t, "const float a%u = a%u %c a%u;", c->order + k, s->a,
				  s->minus ? '-' : '+', s->b);
	}
	if (v)
		text_line(t, "const vf plus = vf_set1(scale), minus = vf_set1(-scale);");
	for (uint32_t i = 0; i < c->order; i++) {
		const CodeletOutput *o = &c->outputs[i];
		if (v)
			text_line(t, "vf_store(x + %u * runs + c, vf_mul(a%u, %s));", i, o->value,
				  o->negative ? "minus" : "plus");
		else
			text_line(t, "x[%u * runs + c] = a%u * %sscale;", i, o->value,
				  o->negative ? "-" : "");
	}
	/* A program of many rows with equal signs leaves one of the two unused. */
	if (v)
		text_line(t, "(void)plus, (void)minus;");
	text_line(t, "}");
	text_line(t, "}");
	text_blank(t);
}

static void
emit_hadamard(Text *t, Seen *seen, const Transform *h)
{
	const char *name = hadamard_name(t->arena, h);
	const uint32_t runs = h->n / h->base->order;
	double root = h->n; /* Newton's: the same double on every host */
	for (int i = 0; i < 64; i++)
		root = 0.5 * (root + h->n / root);
	Text *scale = text_new(t->arena);
	hex_float(scale, 1.0 / root);
	if (h->program && !seen_before(seen, base_function(t->arena, h)))
		emit_base(t, h);
	if (seen_before(seen, name))
		return;
	text_line(t, "static void");
	text_line(t, "%s(float *x)", name);
	text_line(t, "{");
	if (h->program) {
		text_line(t, "for (int i = 0; i < %u; i += %u)", h->n, runs);
		text_line(t, "\tsylvester_row(%u, x + i);", runs);
		text_line(t, "%s(%u, %s, x);", base_function(t->arena, h), runs, scale->text);
	} else {
		text_line(t, "sylvester_row(%u, x);", h->n);
		text_line(t, "scale_row(%u, %s, x);", h->n, scale->text);
	}
	text_line(t, "}");
	text_blank(t);
}

static void
emit_hadamards(Text *t, Seen *seen, const Transform *x)
{
	if (x->kind == T_HADAMARD)
		emit_hadamard(t, seen, x);
	for (uint32_t i = 0; i < x->n_children; i++)
		emit_hadamards(t, seen, x->children[i]);
}

/* ---- one transform ------------------------------------------------------------------------ */

/* The function under way: tables go in front of it. */
typedef struct Printer {
	Text *tables, *body;
	const char *prefix;
	int n_tables, depth;
} Printer;

static void print_apply(Printer *p, const Transform *x, const char *at);

/* A table of n floats, or of n indexes; returns its name. */
static const char *
print_floats(Printer *p, const double *v, size_t n, size_t row, size_t padded)
{
	Text *t = p->tables;
	const char *name = arena_printf(t->arena, "%s_%d", p->prefix, p->n_tables++);
	text_printf(t, "static const float %s[%zu] = {\n", name, n / row * padded);
	for (size_t i = 0; i < n; i += row)
		for (size_t k = 0; k < padded; k++) {
			text_printf(t, k % 8 ? " " : "\t");
			hex_float(t, k < row ? v[i + k] : 0);
			text_printf(t, k % 8 == 7 || k + 1 == padded ? ",\n" : ",");
		}
	text_printf(t, "};\n");
	return name;
}

static const char *
print_indexes(Printer *p, const uint32_t *v, uint32_t n)
{
	Text *t = p->tables;
	const char *name = arena_printf(t->arena, "%s_%d", p->prefix, p->n_tables++);
	text_printf(t, "static const uint16_t %s[%u] = {\n", name, n);
	for (uint32_t i = 0; i < n; i++)
		text_printf(t, "%s%u,%s", i % 16 ? " " : "\t", v[i],
			    i % 16 == 15 || i + 1 == n ? "\n" : "");
	text_printf(t, "};\n");
	return name;
}

/* Columns in vectors: the table is the transpose, each column padded to a vector. */
static void
print_matrix(Printer *p, const Transform *x, const char *at)
{
	const size_t n = x->n;
	double *columns = ARENA_ARRAY(p->body->arena, double, n *n);
	for (size_t i = 0; i < n; i++)
		for (size_t k = 0; k < n; k++)
			columns[k * n + i] = x->matrix[i * n + k];
	text_line(p->body, "matrix_row(%u, %s, %s, work);", x->n,
		  print_floats(p, columns, n * n, n, round_up(n, 16)), at);
}

static void
print_householder(Printer *p, const Transform *x, const char *at)
{
	double square = 0;
	Text *factor = text_new(p->body->arena);
	for (uint32_t i = 0; i < x->n; i++)
		square += x->vector[i] * x->vector[i];
	hex_float(factor, 2.0 / square);
	text_line(p->body, "householder_row(%u, %s, %s, %s);", x->n,
		  print_floats(p, x->vector, x->n, x->n, round_up(x->n, 16)), factor->text, at);
}

static void
print_givens(Printer *p, const Transform *x, const char *at)
{
	double sine, cosine;
	Text *angle = text_new(p->body->arena);
	real_sincos(x->scalar, &sine, &cosine);
	hex_float(angle, cosine);
	text_printf(angle, ", ");
	hex_float(angle, sine);
	text_line(p->body, "givens_row(%u, %u, %s, %s);", x->i, x->j, angle->text, at);
}

static void
print_so2(Printer *p, const Transform *x, const char *at)
{
	const size_t half = x->n / 2;
	double *both = ARENA_ARRAY(p->body->arena, double, 2 * half);
	for (size_t i = 0; i < half; i++)
		real_sincos(x->vector[i], &both[half + i], &both[i]);
	const char *cosines = print_floats(p, both, half, half, round_up(half, 16));
	const char *sines = print_floats(p, both + half, half, half, round_up(half, 16));
	text_line(p->body, "rope_row(1, %u, %s, %s, %s, %s);", x->n, at, cosines, sines, at);
}

/* A loop over runs of `step` elements; returns the expression of a run. */
static const char *
open_runs(Printer *p, uint32_t n, uint32_t step, const char *at)
{
	const int i = p->depth++;
	text_line(p->body, "for (int i%d = 0; i%d < %u; i%d += %u) {", i, i, n, i, step);
	return arena_printf(p->body->arena, "%s + i%d", at, i);
}

static void
close_runs(Printer *p)
{
	p->depth--;
	text_line(p->body, "}");
}

/* Each factor, the last first, on the middle of [left][order][right]: strided elements are gathered
 * in `work` in front of what is left of it. */
static void
print_kronecker(Printer *p, const Transform *x, const char *at)
{
	uint32_t right = 1;
	for (uint32_t i = x->n_children; i-- > 0; right *= x->children[i]->n) {
		const Transform *c = x->children[i];
		const char *run = open_runs(p, x->n, right * c->n, at);
		if (right == 1) {
			print_apply(p, c, run);
		} else {
			const char *column = open_runs(p, right, 1, run);
			text_line(p->body, "gather_row(%u, %u, %s, work);", c->n, right, column);
			text_line(p->body, "{");
			text_line(p->body, "float *const y%d = work;", p->depth);
			text_line(p->body, "float *const rest%d = work + %u;", p->depth, c->n);
			text_line(p->body, "{");
			text_line(p->body, "float *const z = y%d, *const work = rest%d;", p->depth,
				  p->depth);
			text_line(p->body, "(void)work;");
			print_apply(p, c, "z");
			text_line(p->body, "}");
			text_line(p->body, "scatter_row(%u, %u, y%d, %s);", c->n, right, p->depth,
				  column);
			text_line(p->body, "}");
			close_runs(p);
		}
		close_runs(p);
	}
}

static void
print_sum(Printer *p, const Transform *x, const char *at)
{
	uint32_t from = 0;
	for (uint32_t i = 0; i < x->n_children; from += x->children[i++]->n)
		print_apply(p, x->children[i],
			    from ? arena_printf(p->body->arena, "%s + %u", at, from) : at);
}

/* The map in place on the elements that `at` points to. */
static void
print_apply(Printer *p, const Transform *x, const char *at)
{
	Text *t = p->body, *number = text_new(t->arena);
	switch ((TransformKind)x->kind) {
	case T_IDENTITY:
		return;
	case T_HADAMARD:
		text_line(t, "%s(%s);", hadamard_name(t->arena, x), at);
		return;
	case T_PERM:
		text_line(t, "permute_row(%u, %s, %s, work);", x->n,
			  print_indexes(p, x->perm, x->n), at);
		return;
	case T_SIGNS:
	case T_DIAGONAL:
		text_line(t, "diagonal_row(%u, %s, %s);", x->n,
			  print_floats(p, x->vector, x->n, x->n, x->n), at);
		return;
	case T_SCALAR:
		hex_float(number, x->scalar);
		text_line(t, "scale_row(%u, %s, %s);", x->n, number->text, at);
		return;
	case T_ORTHOGONAL:
	case T_MATRIX:
		print_matrix(p, x, at);
		return;
	case T_HOUSEHOLDER:
		print_householder(p, x, at);
		return;
	case T_GIVENS:
		print_givens(p, x, at);
		return;
	case T_SO2:
		print_so2(p, x, at);
		return;
	case T_PRODUCT:
		for (uint32_t i = x->n_children; i-- > 0;)
			print_apply(p, x->children[i], at);
		return;
	case T_KRONECKER:
		print_kronecker(p, x, at);
		return;
	case T_BLOCK:
		print_apply(p, x->children[0], open_runs(p, x->n, x->children[0]->n, at));
		close_runs(p);
		return;
	case T_SUM:
		print_sum(p, x, at);
		return;
	default:
		BUG("transform kind %d cannot run", x->kind);
	}
}

/* ---- the file's ---------------------------------------------------------------------------- */

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
emit_transform(Text *t, const Unit *u, const Func *f, int i)
{
	const Transform *x = f->values[i].transform;
	Text *words = text_new(t->arena);
	Printer p = {.tables = text_new(t->arena), .body = text_new(t->arena)};
	p.prefix = arena_printf(t->arena, "%s_t%d", u->ident, i);
	p.body->indent = 1;
	transform_print(words, x, TRANSFORM_NAMED);
	print_apply(&p, x, "x");
	text_add(t, p.tables->text, p.tables->size);
	text_line(t, "/* %%%d: %s */", i, words->text);
	text_line(t, "static void");
	text_line(t, "%s(float *x, float *work)", p.prefix);
	text_line(t, "{");
	text_line(t, "(void)work;");
	text_add(t, p.body->text, p.body->size);
	text_line(t, "}");
	text_blank(t);
}
