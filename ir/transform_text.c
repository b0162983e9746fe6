/*
 * The text form. Operators bind, tightest first: (x), *, (+); the printer puts parentheses around
 * every operator inside another, so what is read back is the same expression.
 */
#include <stdlib.h>
#include <string.h>

#include "transform_impl.h"

/* ---- printing ----------------------------------------------------------------------------- */

enum { BRIEF_MOST = 8, BRIEF_SHOWN = 4 }; /* numbers of a list */

static void
print_doubles(Text *t, const double *v, size_t n, bool brief)
{
	const size_t shown = brief && n > BRIEF_MOST ? BRIEF_SHOWN : n;
	text_add(t, "[", 1);
	for (size_t i = 0; i < shown; i++) {
		if (i)
			text_add(t, " ", 1);
		text_double(t, v[i]);
	}
	if (shown < n)
		text_printf(t, " ... %zu in all", n);
	text_add(t, "]", 1);
}

static void
print_none(Text *t, const Transform *x, bool brief)
{
	(void)brief;
	if (x->kind == T_PAD)
		text_printf(t, "(%u, %u)", x->transposed ? x->n_out : x->n,
			    x->transposed ? x->n : x->n_out);
	else
		text_printf(t, "(%u)", x->n);
}

static void
print_base(Text *t, const Transform *x, bool brief)
{
	const Base *b = x->base;
	text_printf(t, "(%u", x->n);
	if (b->construction == BASE_DATA) {
		text_printf(t, ", data(");
		for (size_t i = 0; !brief && i < (size_t)b->order * b->order; i++)
			text_add(t, b->entries[i] > 0 ? "+" : "-", 1);
		text_printf(t, brief ? "order %u)" : ")", b->order);
	} else if (b->construction != BASE_ONE) {
		text_printf(t, ", %s(%u)", construction_name(b->construction), b->parameter);
	}
	text_printf(t, ")");
}

static void
print_perm(Text *t, const Transform *x, bool brief)
{
	const uint32_t shown = brief && x->n > BRIEF_MOST ? BRIEF_SHOWN : x->n;
	for (uint32_t i = 0; i < shown; i++)
		text_printf(t, "%c%u", i ? ' ' : '[', x->perm[i]);
	if (shown < x->n)
		text_printf(t, " ... %u in all", x->n);
	text_add(t, "]", 1);
}

static void
print_vector(Text *t, const Transform *x, bool brief)
{
	print_doubles(t, x->vector, x->n, brief);
}

static void
print_angles(Text *t, const Transform *x, bool brief)
{
	print_doubles(t, x->vector, x->n / 2, brief);
}

static void
print_matrix(Text *t, const Transform *x, bool brief)
{
	print_doubles(t, x->matrix, (size_t)x->n * x->n, brief);
}

static void
print_plane(Text *t, const Transform *x, bool brief)
{
	(void)brief;
	text_printf(t, "(%u, %u, %u, ", x->n, x->i, x->j);
	text_double(t, x->scalar);
	text_add(t, ")", 1);
}

static void
print_scalar(Text *t, const Transform *x, bool brief)
{
	(void)brief;
	text_printf(t, "(%u, ", x->n);
	text_double(t, x->scalar);
	text_add(t, ")", 1);
}

static void (*const print_data[])(Text *t, const Transform *x, bool brief) = {
	[DATA_NONE] = print_none,     [DATA_BASE] = print_base,	    [DATA_PERM] = print_perm,
	[DATA_VECTOR] = print_vector, [DATA_ANGLES] = print_angles, [DATA_MATRIX] = print_matrix,
	[DATA_PLANE] = print_plane,   [DATA_SCALAR] = print_scalar,
};

static void
print_at(Text *t, const Transform *x, TransformForm form, bool inside)
{
	const TransformInfo *info = &transform_table[x->kind];
	if (form == TRANSFORM_NAMED && x->name) {
		text_printf(t, "%s", x->name);
	} else if (info->children == 0) {
		text_printf(t, x->transposed ? "T(%s" : "%s", info->text);
		print_data[info->data](t, x, form != TRANSFORM_WHOLE);
		text_printf(t, x->transposed ? ")" : "");
	} else if (info->children == 1) {
		text_printf(t, "%s(", info->text);
		print_at(t, x->children[0], form, false);
		text_printf(t, ", %u)", x->n);
	} else {
		text_printf(t, inside ? "(" : "");
		for (uint32_t i = 0; i < x->n_children; i++) {
			if (i)
				text_printf(t, " %s ", info->text);
			print_at(t, x->children[i], form, true);
		}
		text_printf(t, inside ? ")" : "");
	}
}

void
transform_print(Text *t, const Transform *x, TransformForm form)
{
	print_at(t, x, form, false);
}

/* ---- parsing ------------------------------------------------------------------------------ */

typedef struct Reader {
	Arena *arena;
	const char *at;
	const Transform *(*named)(void *arg, const char *name, size_t n);
	void *arg;
	const char *why, *fault; /* the first thing that is wrong, and where */
	int depth;
} Reader;

static void *
reader_fail(Reader *r, const char *why)
{
	if (!r->why) {
		r->why = why;
		r->fault = r->at;
	}
	return NULL;
}

static void
skip_space(Reader *r)
{
	while (*r->at == ' ' || *r->at == '\t' || *r->at == '\n' || *r->at == '\r')
		r->at++;
}

/* Takes the word if it is next. */
static bool
take(Reader *r, const char *word)
{
	skip_space(r);
	size_t n = strlen(word);
	if (strncmp(r->at, word, n))
		return false;
	r->at += n;
	return true;
}

static bool
need(Reader *r, const char *word)
{
	if (r->why || take(r, word))
		return !r->why;
	reader_fail(r, arena_printf(r->arena, "'%s' is expected here", word));
	return false;
}

static uint32_t
read_number(Reader *r)
{
	uint64_t v = 0;
	skip_space(r);
	if (r->why || *r->at < '0' || *r->at > '9') {
		reader_fail(r, "a whole number is expected here");
		return 0;
	}
	const char *start = r->at;
	for (; *r->at >= '0' && *r->at <= '9'; r->at++)
		v = v > UINT32_MAX ? v : v * 10 + (uint64_t)(*r->at - '0');
	if (v <= UINT32_MAX)
		return (uint32_t)v;
	r->at = start;
	reader_fail(r, "the number is too large");
	return 0;
}

static double
read_double(Reader *r)
{
	char *end;
	skip_space(r);
	double v = r->why ? 0.0 : strtod(r->at, &end);
	if (r->why)
		return 0.0;
	if (end == r->at)
		reader_fail(r, "a number is expected here");
	r->at = end;
	return v;
}

/* `[1 0.5 2]`. */
static double *
read_doubles(Reader *r, size_t *n)
{
	size_t capacity = 16;
	double *v = ARENA_ARRAY(r->arena, double, capacity);
	*n = 0;
	if (!need(r, "["))
		return v;
	while (!r->why && !take(r, "]")) {
		if (*n == capacity) {
			double *larger = ARENA_ARRAY(r->arena, double, 2 * capacity);
			memcpy(larger, v, *n * sizeof *v);
			v = larger;
			capacity *= 2;
		}
		v[(*n)++] = read_double(r);
	}
	if (!r->why && *n > (size_t)TRANSFORM_MATRIX_MAX * TRANSFORM_MATRIX_MAX)
		reader_fail(r, "too many numbers");
	return v;
}

static const Transform *
read_none(Reader *r, TransformKind kind)
{
	need(r, "(");
	uint32_t n = read_number(r), n_out = n;
	if (kind == T_PAD) {
		need(r, ",");
		n_out = read_number(r);
	}
	need(r, ")");
	if (r->why)
		return NULL;
	if (kind == T_PAD)
		return transform_pad(r->arena, n, n_out, &r->why);
	if (!n || n > TRANSFORM_ORDER_MAX)
		return reader_fail(r, "the order is 0 or too large");
	return transform_identity(r->arena, n);
}

/* `data(+--+)`: rows one behind the other. */
static const Base *
read_base_data(Reader *r)
{
	uint32_t order = 0;
	need(r, "(");
	skip_space(r);
	size_t n = strspn(r->at, "+-");
	while ((size_t)order * order < n && order <= BASE_ORDER_MAX)
		order++;
	if (r->why || (size_t)order * order != n)
		return reader_fail(r, "a base matrix needs a square number of signs");
	int8_t *entries = ARENA_ARRAY(r->arena, int8_t, n);
	for (size_t i = 0; i < n; i++)
		entries[i] = *r->at++ == '+' ? 1 : -1;
	return need(r, ")") ? base_data(r->arena, order, entries, &r->why) : NULL;
}

static const Base *
read_base(Reader *r)
{
	if (take(r, "data"))
		return read_base_data(r);
	for (int c = BASE_PALEY1; c < BASE_DATA; c++)
		if (take(r, construction_name((Construction)c))) {
			need(r, "(");
			uint32_t parameter = read_number(r);
			return need(r, ")")
				       ? base_make(r->arena, (Construction)c, parameter, &r->why)
				       : NULL;
		}
	return reader_fail(r, "paley1, paley2, williamson, doubled or data is expected here");
}

static const Transform *
read_hadamard(Reader *r, TransformKind kind)
{
	(void)kind;
	need(r, "(");
	uint32_t n = read_number(r);
	const Base *b = NULL;
	if (!r->why)
		b = take(r, ",") ? read_base(r) : base_make(r->arena, BASE_ONE, 1, &r->why);
	return b && need(r, ")") ? transform_hadamard(r->arena, n, b, &r->why) : NULL;
}

static const Transform *
read_perm(Reader *r, TransformKind kind)
{
	size_t n;
	(void)kind;
	double *v = read_doubles(r, &n);
	if (r->why)
		return NULL;
	uint32_t *perm = ARENA_ARRAY(r->arena, uint32_t, n);
	for (size_t i = 0; i < n; i++) {
		if (!(v[i] >= 0.0 && v[i] < TRANSFORM_ORDER_MAX) || v[i] != (uint32_t)v[i])
			return reader_fail(
				r, "an index of the permutation is no whole number in range");
		perm[i] = (uint32_t)v[i];
	}
	return transform_perm(r->arena, (uint32_t)n, perm, &r->why);
}

static const Transform *
read_vector(Reader *r, TransformKind kind)
{
	size_t n;
	double *v = read_doubles(r, &n);
	return r->why ? NULL : transform_vector(r->arena, kind, (uint32_t)n, v, &r->why);
}

static const Transform *
read_angles(Reader *r, TransformKind kind)
{
	size_t n;
	double *v = read_doubles(r, &n);
	return r->why ? NULL : transform_vector(r->arena, kind, (uint32_t)(2 * n), v, &r->why);
}

static const Transform *
read_matrix(Reader *r, TransformKind kind)
{
	size_t n, order = 0;
	double *v = read_doubles(r, &n);
	while (order * order < n)
		order++;
	if (!r->why && order * order != n)
		reader_fail(r, "a matrix needs a square number of elements");
	return r->why ? NULL : transform_matrix(r->arena, kind, (uint32_t)order, v, &r->why);
}

static const Transform *
read_plane(Reader *r, TransformKind kind)
{
	(void)kind;
	need(r, "(");
	uint32_t n = read_number(r);
	need(r, ",");
	uint32_t i = read_number(r);
	need(r, ",");
	uint32_t j = read_number(r);
	need(r, ",");
	double angle = read_double(r);
	need(r, ")");
	return r->why ? NULL : transform_givens(r->arena, n, i, j, angle, &r->why);
}

static const Transform *
read_scalar(Reader *r, TransformKind kind)
{
	(void)kind;
	need(r, "(");
	uint32_t n = read_number(r);
	need(r, ",");
	double c = read_double(r);
	need(r, ")");
	return r->why ? NULL : transform_scalar(r->arena, n, c, &r->why);
}

static const Transform *(*const read_data[])(Reader *r, TransformKind kind) = {
	[DATA_NONE] = read_none,     [DATA_BASE] = read_hadamard, [DATA_PERM] = read_perm,
	[DATA_VECTOR] = read_vector, [DATA_ANGLES] = read_angles, [DATA_MATRIX] = read_matrix,
	[DATA_PLANE] = read_plane,   [DATA_SCALAR] = read_scalar,
};

static const Transform *read_expression(Reader *r, uint32_t level);

/* `block(A, n)`, `inv(A)`, `T(A)`. */
static const Transform *
read_function(Reader *r, TransformKind kind)
{
	need(r, "(");
	const Transform *x = r->why ? NULL : read_expression(r, 0);
	uint32_t n = 0;
	if (kind == T_BLOCK && need(r, ","))
		n = read_number(r);
	if (!x || !need(r, ")"))
		return NULL;
	if (kind == T_BLOCK)
		return transform_block(r->arena, x, n, &r->why);
	return kind == T_INVERSE ? transform_inverse(r->arena, x)
				 : transform_transpose(r->arena, x);
}

static size_t
word_length(const char *s)
{
	size_t n = 0;
	while ((s[n] >= 'a' && s[n] <= 'z') || (s[n] >= 'A' && s[n] <= 'Z') ||
	       (s[n] >= '0' && s[n] <= '9') || s[n] == '_' || s[n] == '.' || s[n] == '-')
		n++;
	return n;
}

/* A word before a bracket is a kind, any other a name. */
static const Transform *
read_word(Reader *r)
{
	size_t n = word_length(r->at);
	const char *word = r->at;
	if (!n)
		return reader_fail(r, "a transform is expected here");
	if (word[n] != '(' && word[n] != '[') {
		const Transform *x = r->named ? r->named(r->arg, word, n) : NULL;
		if (!x)
			return reader_fail(r,
					   arena_printf(r->arena, "no transform is called '%.*s'",
							(int)n, word));
		r->at += n;
		return x;
	}
	for (int kind = 0; kind < TRANSFORM_KINDS; kind++) {
		const TransformInfo *info = &transform_table[kind];
		if (info->children < 0 || strlen(info->text) != n || memcmp(info->text, word, n))
			continue;
		r->at += n;
		const Transform *x = info->children ? read_function(r, (TransformKind)kind)
						    : read_data[info->data](r, (TransformKind)kind);
		/* What a constructor refuses is shown at its word. */
		if (!x && !r->fault)
			r->fault = word;
		return x;
	}
	return reader_fail(r, arena_printf(r->arena, "there is no transform '%.*s'", (int)n, word));
}

/* Operators from the loosest. */
static const TransformKind levels[] = {T_SUM, T_PRODUCT, T_KRONECKER};

static const Transform *
read_primary(Reader *r)
{
	skip_space(r);
	if (*r->at != '(')
		return read_word(r);
	r->at++;
	const Transform *x = read_expression(r, 0);
	return x && need(r, ")") ? x : NULL;
}

static const Transform *
read_expression(Reader *r, uint32_t level)
{
	if (level == sizeof levels / sizeof *levels)
		return read_primary(r);
	if (level == 0 && ++r->depth > TRANSFORM_DEPTH_MAX)
		return reader_fail(r, "the expression is nested too deeply");
	skip_space(r);
	const char *start = r->at;
	const Transform *first = read_expression(r, level + 1);
	uint32_t n = 0, capacity = 4;
	const Transform **all = ARENA_ARRAY(r->arena, const Transform *, capacity);
	for (const Transform *x = first; x; x = read_expression(r, level + 1)) {
		if (n == capacity) {
			const Transform **larger =
				ARENA_ARRAY(r->arena, const Transform *, 2 * capacity);
			memcpy(larger, all, n * sizeof *all);
			all = larger;
			capacity *= 2;
		}
		all[n++] = x;
		if (!take(r, transform_table[levels[level]].text))
			break;
	}
	if (level == 0)
		r->depth--;
	if (r->why || n == 1)
		return r->why ? NULL : first;
	const Transform *x = transform_compose(r->arena, levels[level], all, n, &r->why);
	if (!x && !r->fault)
		r->fault = start;
	return x;
}

const Transform *
transform_parse(Arena *a, const char **s,
		const Transform *(*named)(void *arg, const char *name, size_t n), void *arg,
		const char **why)
{
	Reader r = {.arena = a, .at = *s, .named = named, .arg = arg};
	const Transform *x = read_expression(&r, 0);
	if (x)
		skip_space(&r);
	else
		*why = r.why;
	*s = x ? r.at : r.fault;
	return x;
}
