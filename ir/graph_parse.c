/*
 * The text form of a graph, read. A line is a statement; the first mistake is reported where it
 * stands and ends the parse. Meaning is the checker's.
 */
#include "graph_text.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { NUMBER_MOST = 1 << 20, VALUES_MOST = 1 << 10, FUNCS_BESIDE = 2 };

typedef struct Parser {
	Arena *arena;
	Diag *diag;
	uint32_t file;
	const char *text, *p, *end; /* NUL at end */
	Graph *g;
	Model *m;
	Func *f; /* the function at hand, null outside */
	bool failed;
} Parser;

/* ---- words -------------------------------------------------------------------------------- */

static Loc
here(const Parser *s, const char *at)
{
	return (Loc){s->file, (uint64_t)(at - s->text)};
}

static bool
fail(Parser *s, const char *at, const char *what)
{
	if (!s->failed)
		diag_error(s->diag, here(s, at), E_IR_SYNTAX, "%s", what);
	s->failed = true;
	return false;
}

/* An unknown name, with the nearest that is known. */
static bool
fail_name(Parser *s, const char *at, const char *kind, const char *name, const char *const *names,
	  size_t n)
{
	const char *near = nearest_name(name, names, n);
	if (s->failed)
		return false;
	fail(s, at, arena_printf(s->arena, "unknown %s '%s'", kind, name));
	if (near)
		diag_hint(s->diag, "did you mean '%s'?", near);
	return false;
}

static void
skip_blank(Parser *s)
{
	while (*s->p == ' ' || *s->p == '\t' || *s->p == '\r')
		s->p++;
	if (*s->p == '#')
		while (s->p < s->end && *s->p != '\n')
			s->p++;
}

static bool
line_ends(Parser *s)
{
	skip_blank(s);
	return s->p == s->end || *s->p == '\n';
}

static bool
expect_line_end(Parser *s)
{
	return line_ends(s) || fail(s, s->p, "the line should end here");
}

/* The next byte if it is c. */
static bool
take(Parser *s, char c)
{
	skip_blank(s);
	if (s->p == s->end || *s->p != c)
		return false;
	s->p++;
	return true;
}

static bool
expect(Parser *s, char c)
{
	return take(s, c) || fail(s, s->p, arena_printf(s->arena, "'%c' expected here", c));
}

/* A bare word, "" if there is none. */
static const char *
word(Parser *s)
{
	skip_blank(s);
	const char *start = s->p;
	while (text_is_word_byte(*s->p))
		s->p++;
	return arena_strndup(s->arena, start, (size_t)(s->p - start));
}

static bool
number(Parser *s, uint64_t most, uint64_t *v)
{
	skip_blank(s);
	const char *start = s->p;
	*v = 0;
	if (*s->p < '0' || *s->p > '9')
		return fail(s, start, "a number expected here");
	for (; *s->p >= '0' && *s->p <= '9'; s->p++) {
		uint64_t digit = (uint64_t)(*s->p - '0');
		if (digit > most || *v > (most - digit) / 10)
			return fail(s, start,
				    arena_printf(s->arena, "the number is beyond %llu",
						 (unsigned long long)most));
		*v = *v * 10 + digit;
	}
	return true;
}

static bool
small_number(Parser *s, int *v)
{
	uint64_t n;
	bool ok = number(s, NUMBER_MOST, &n);
	*v = (int)n;
	return ok;
}

static bool
real(Parser *s, double *v)
{
	skip_blank(s);
	char *after;
	bool digit = *s->p == '-' || *s->p == '.' || (*s->p >= '0' && *s->p <= '9');
	*v = strtod(s->p, &after);
	if (!digit || after == s->p || !isfinite(*v))
		return fail(s, s->p, "a finite number expected here");
	s->p = after;
	return true;
}

static bool
format(Parser *s, Format *f)
{
	skip_blank(s);
	return format_parse(&s->p, f) ||
	       fail(s, s->p, "a format such as f32 or int8(group=32,scale=f16) is wrong here");
}

static bool
index_of(const char *name, const char *const *names, int n, int *i)
{
	for (*i = 0; *i < n; ++*i)
		if (!strcmp(name, names[*i]))
			return true;
	return false;
}

/* ---- header ------------------------------------------------------------------------------- */

static void
make_tensor(Parser *s, int role, uint32_t layer, Tensor **made)
{
	Tensor *t = ARENA_NEW(s->arena, Tensor);
	t->name = role_layered[role]
			  ? arena_printf(s->arena, "layer.%u.%s", layer, role_names[role])
			  : role_names[role];
	model_shape(s->m, (Role)role, &t->rows, &t->columns);
	t->loc = s->m->loc;
	*made = t;
}

/* Tensors of the right shapes, all formats f32. */
static void
make_tensors(Parser *s)
{
	for (int role = 0; role < ROLE_COUNT; role++) {
		const uint32_t n = model_places(s->m, role);
		const uint32_t count = model_count(s->m, role);
		Tensor **tensors = ARENA_ARRAY(s->arena, Tensor *, count);
		s->g->formats[role] = ARENA_ARRAY(s->arena, Format, n);
		for (uint32_t i = 0; i < n; i++)
			s->g->formats[role][i] = FORMAT_F32;
		for (uint32_t i = 0; i < count; i++)
			make_tensor(s, role, role_experts[role] ? i / s->m->n_expert : i,
				    &tensors[i]);
		if (role == ROLE_HEAD && s->m->tied)
			tensors[0] = (Tensor *)s->m->tensors[ROLE_EMBED][0];
		s->m->tensors[role] = (const Tensor *const *)tensors;
	}
}

static bool
expect_key(Parser *s, const char *key)
{
	skip_blank(s);
	const char *at = s->p;
	if (strcmp(word(s), key) != 0)
		return fail(s, at, arena_printf(s->arena, "'%s=' expected here", key));
	return expect(s, '=');
}

/* Whether this word comes next, which is not read. */
static bool
next_is(Parser *s, const char *key)
{
	skip_blank(s);
	const char *at = s->p;
	const bool is = !strcmp(word(s), key);
	s->p = at;
	return is;
}

/* ` rope_divisors=1,1.5,8`, which most models do not have. */
static bool
parse_rope_divisors(Parser *s)
{
	const char *at;
	if (!next_is(s, "rope_divisors"))
		return true;
	(void)word(s);
	float *divisors = ARENA_ARRAY(s->arena, float, s->m->head_dim / 2 + 1);
	for (uint32_t i = 0; i < s->m->head_dim / 2; i++) {
		double x;
		at = s->p;
		if (!expect(s, i ? ',' : '=') || !real(s, &x))
			return false;
		if (!(x > 0 && x <= 1e30))
			return fail(s, at, "a divisor is a number above 0 and at most 1e30");
		divisors[i] = (float)x;
	}
	s->m->rope_divisors = divisors;
	return true;
}

/* ` window=512 window_period=6 rope_base_window=10000`, which most models do not have. */
static bool
parse_window(Parser *s)
{
	uint64_t window, period;
	if (!next_is(s, "window"))
		return true;
	if (!expect_key(s, "window") || !number(s, 1 << 28, &window) ||
	    !expect_key(s, "window_period") || !number(s, 1 << 12, &period) ||
	    !expect_key(s, "rope_base_window") || !real(s, &s->m->rope_base_window))
		return false;
	if (!window || !period)
		return fail(s, s->p - 1, "the numbers must be at least 1");
	s->m->window = (uint32_t)window;
	s->m->window_period = (uint32_t)period;
	return true;
}

/* ` experts=8 used=2 expert_inter=96 norm_experts=1`, which most models do not have. */
static bool
parse_experts(Parser *s)
{
	uint64_t n, used, inter, norm;
	if (!next_is(s, "experts"))
		return true;
	const char *at = s->p;
	if (!expect_key(s, "experts") || !number(s, EXPERTS_MAX, &n) || !expect_key(s, "used") ||
	    !number(s, EXPERTS_MAX, &used) || !expect_key(s, "expert_inter") ||
	    !number(s, NUMBER_MOST, &inter) || !expect_key(s, "norm_experts") ||
	    !number(s, 1, &norm))
		return false;
	if (!n || !used || used > n || !inter)
		return fail(s, at, "the numbers must be at least 1, and experts as many as used");
	s->m->n_expert = (uint32_t)n;
	s->m->n_used = (uint32_t)used;
	s->m->expert_inter = (uint32_t)inter;
	s->m->norm_experts = norm == 1;
	return true;
}

static bool
parse_model(Parser *s)
{
	Model *m = s->m;
	double eps;
	uint64_t v;
	m->loc = here(s, s->p);
	if (m->one)
		return fail(s, s->p, "a second model line");
	m->arch = word(s);
	for (int i = 0; i < MODEL_FIELD_COUNT; i++) {
		const ModelField *field = &model_fields[i];
		if (!expect_key(s, field->name) || !number(s, field->most, &v))
			return false;
		if (v == 0)
			return fail(s, s->p - 1, "the number must be at least 1");
		uint32_t v32 = (uint32_t)v;
		memcpy((char *)m + field->offset, &v32, sizeof v32);
	}
	if (!expect_key(s, "norm_eps") || !real(s, &eps) || !expect_key(s, "rope_base") ||
	    !real(s, &m->rope_base) || !parse_rope_divisors(s) || !parse_window(s) ||
	    !parse_experts(s) || !expect_key(s, "tied") || !number(s, 1, &v))
		return false;
	m->norm_eps = (float)eps;
	m->tied = v == 1;
	m->one = 1;
	m->q_width = m->n_head * m->head_dim;
	m->kv_width = m->n_kv_head * m->head_dim;
	make_tensors(s);
	s->g->funcs = ARENA_ARRAY(s->arena, Func, (size_t)m->n_layer + FUNCS_BESIDE);
	s->g->kv = ARENA_ARRAY(s->arena, CacheFormat, m->n_layer);
	graph_set_kv(s->g, -1, (CacheFormat){.format = FORMAT_F32});
	return true;
}

static bool
parse_layer_number(const char **name, uint32_t n_layer, uint32_t *layer)
{
	const char *p = *name;
	uint64_t v = 0;
	if (strncmp(p, "layer.", 6) != 0 || p[6] < '0' || p[6] > '9' ||
	    (p[6] == '0' && p[7] >= '0' && p[7] <= '9'))
		return false;
	for (p += 6; *p >= '0' && *p <= '9'; p++) {
		v = v * 10 + (uint64_t)(*p - '0');
		if (v >= n_layer)
			return false;
	}
	*name = p;
	*layer = (uint32_t)v;
	return true;
}

/* Cuts a number below n, behind a dot, from the end of a name: `expert_up.5`. */
static bool
cut_number(char *name, uint32_t n, int *number)
{
	char *dot = strrchr(name, '.');
	const size_t digits = dot ? strspn(dot + 1, "0123456789") : 0;
	if (!digits || digits > 4 || dot[1 + digits] || (dot[1] == '0' && digits > 1))
		return false;
	*number = atoi(dot + 1);
	*dot = 0;
	return *number < (int)n;
}

/* `q`, `layer.3.q` or, with `expert`, `layer.3.expert_up.5`; what is not named is -1. */
static bool
parse_tensor_name(Parser *s, int *role, int *layer, int *expert)
{
	skip_blank(s);
	const char *at = s->p, *name = word(s), *rest = name;
	uint32_t n;
	bool one = parse_layer_number(&rest, s->m->n_layer, &n) && *rest == '.';
	char *base = arena_printf(s->arena, "%s", one ? rest + 1 : name);
	*layer = one ? (int)n : -1;
	int number = -1;
	const bool cut = one && expert && cut_number(base, s->m->n_expert, &number);
	if (!index_of(base, role_names, ROLE_COUNT, role))
		return fail_name(s, at, "tensor role", base, role_names, ROLE_COUNT);
	if (one && !role_layered[*role])
		return fail(s, at, "this role has one tensor, not one a layer");
	if (number >= 0 && (!cut || !role_experts[*role]))
		return fail(s, at, cut ? "this role has no experts" : "there is no such expert");
	if (expert)
		*expert = number;
	return true;
}

/* `q FORMAT`, `layer.3.q FORMAT` or `layer.3.expert_up.5 FORMAT`. */
static bool
parse_weights(Parser *s)
{
	int role, layer, expert;
	Format f;
	if (!parse_tensor_name(s, &role, &layer, &expert) || !format(s, &f))
		return false;
	const int experts = (int)model_experts(s->m, role);
	for (int i = 0; i < (int)model_places(s->m, role); i++)
		if ((layer < 0 || i / experts == layer) && (expert < 0 || i % experts == expert))
			s->g->formats[role][i] = f;
	return true;
}

static bool
parse_facts(Parser *s)
{
	while (!line_ends(s)) {
		const char *at = s->p, *name = word(s);
		int bit;
		if (!index_of(name, fact_names, FACT_COUNT, &bit))
			return fail_name(s, at, "fact", name, fact_names, FACT_COUNT);
		s->g->facts |= 1u << bit;
	}
	return true;
}

/* `FORMAT`, or `layer.3.q FORMAT` for the row that one linear reads. */
static bool
parse_activations(Parser *s)
{
	int role, layer;
	Format f;
	skip_blank(s);
	const char *start = s->p, *name = word(s);
	s->p = start;
	if (strncmp(name, "layer.", 6) != 0 && !index_of(name, role_names, ROLE_COUNT, &role))
		return format(s, &s->g->activations);
	if (!parse_tensor_name(s, &role, &layer, NULL) || !format(s, &f))
		return false;
	for (int i = 0; i < (role_layered[role] ? (int)s->m->n_layer : 1); i++)
		if (layer < 0 || i == layer)
			graph_set_activations(s->g, role, i, f);
	return true;
}

/* `FORMAT [query=BITS]` of all layers, or `layer.3 FORMAT [query=BITS]`. */
static bool
parse_kv(Parser *s)
{
	CacheFormat kv = {0};
	uint32_t layer;
	uint64_t bits = 0;
	skip_blank(s);
	const char *at = s->p, *name = word(s), *rest = name;
	const bool one = !strncmp(name, "layer.", 6);
	if (one && (!parse_layer_number(&rest, s->m->n_layer, &layer) || *rest))
		return fail(s, at, "the model has no such layer");
	if (!one)
		s->p = at;
	if (!format(s, &kv.format) ||
	    (!line_ends(s) && (!expect_key(s, "query") || !number(s, UINT8_MAX, &bits))))
		return false;
	kv.query_bits = (uint8_t)bits;
	graph_set_kv(s->g, one ? (int)layer : -1, kv);
	return true;
}

static bool
parse_arena(Parser *s)
{
	return number(s, UINT64_MAX, &s->g->arena_bytes_per_token);
}

/* ---- values ------------------------------------------------------------------------------- */

/* `%N` of a value that the function has. */
static bool
parse_reference(Parser *s, int *i)
{
	skip_blank(s);
	const char *at = s->p;
	uint64_t v;
	if (!expect(s, '%') || !number(s, UINT32_MAX, &v))
		return false;
	if (v >= (uint64_t)s->f->count)
		return fail(s, at,
			    arena_printf(s->arena, "%%%llu is not defined before this",
					 (unsigned long long)v));
	*i = (int)v;
	return true;
}

static bool
parse_attributes(Parser *s, Value *v)
{
	const char *letters = op_table[v->op].attributes;
	for (; *letters; letters++) {
		const Attribute *a = attribute_find(*letters);
		char *field = (char *)v + a->offset;
		uint64_t n;
		double x;
		if (a->optional && !next_is(s, a->name))
			continue;
		if (!expect_key(s, a->name))
			return false;
		if (a->is_float) {
			if (!real(s, &x))
				return false;
			float f = (float)x;
			memcpy(field, &f, sizeof f);
		} else {
			if (!number(s, UINT32_MAX, &n))
				return false;
			uint32_t u = (uint32_t)n;
			memcpy(field, &u, sizeof u);
		}
	}
	return true;
}

static bool
parse_basis(Parser *s, Value *v)
{
	const char *start;
	if (!expect(s, '"'))
		return false;
	for (start = s->p; s->p < s->end && *s->p != '"' && (unsigned char)*s->p >= ' '; s->p++)
		continue;
	if (*s->p != '"')
		return fail(s, s->p, "'\"' expected here");
	v->basis.expression = arena_strndup(s->arena, start, (size_t)(s->p++ - start));
	return true;
}

static bool
parse_transform(Parser *s, const Transform **x)
{
	const char *why = NULL;
	if (!expect(s, '"'))
		return false;
	*x = transform_parse(s->arena, &s->p, NULL, NULL, &why);
	return *x ? expect(s, '"') : fail(s, s->p, why);
}

static bool
parse_flag(Parser *s, bool *flag)
{
	uint64_t n;
	bool ok = number(s, 1, &n);
	*flag = n == 1;
	return ok;
}

static bool
parse_pinned(Parser *s, Value *v)
{
	return parse_flag(s, &v->pinned);
}

static bool
parse_shared(Parser *s, Value *v)
{
	return parse_flag(s, &v->shared);
}

static bool
parse_kernel_of(Parser *s, Value *v)
{
	return small_number(s, &v->kernel);
}

static bool
parse_buffer_of(Parser *s, Value *v)
{
	return small_number(s, &v->buffer);
}

static bool
parse_transform_of(Parser *s, Value *v)
{
	return parse_transform(s, &v->transform);
}

static bool
parse_fold_in(Parser *s, Value *v)
{
	return parse_transform(s, &v->fold_in);
}

static bool
parse_fold_out(Parser *s, Value *v)
{
	return parse_transform(s, &v->fold_out);
}

/* What stands behind the width. */
static const struct {
	const char *name;
	bool (*parse)(Parser *s, Value *v);
} places[] = {
	{"basis", parse_basis},	    {"kernel", parse_kernel_of},  {"buffer", parse_buffer_of},
	{"pinned", parse_pinned},   {"shared", parse_shared},	  {"transform", parse_transform_of},
	{"fold_in", parse_fold_in}, {"fold_out", parse_fold_out},
};
enum { PLACES = sizeof places / sizeof *places };

static bool
parse_places(Parser *s, Value *v)
{
	const char *names[PLACES];
	for (int i = 0; i < PLACES; i++)
		names[i] = places[i].name;
	while (!line_ends(s)) {
		const char *at = s->p, *name = word(s);
		int i;
		if (!index_of(name, names, PLACES, &i))
			return fail_name(s, at, "field", name, names, PLACES);
		if (!expect(s, '=') || !places[i].parse(s, v))
			return false;
	}
	return true;
}

static bool
parse_op(Parser *s, Op *op)
{
	const char *names[OP_COUNT];
	skip_blank(s);
	const char *at = s->p, *name = word(s);
	int i;
	for (i = 0; i < OP_COUNT; i++)
		names[i] = op_table[i].name;
	if (!index_of(name, names, OP_COUNT, &i))
		return fail_name(s, at, "op", name, names, OP_COUNT);
	*op = (Op)i;
	return true;
}

static bool
parse_role(Parser *s, Value *v)
{
	if (!expect(s, '@'))
		return false;
	const char *at = s->p, *name = word(s);
	return index_of(name, role_names, ROLE_COUNT, &v->role) ||
	       fail_name(s, at, "tensor role", name, role_names, ROLE_COUNT);
}

/* `%N = op %a %b @role name=value : format[width]`, the `%` at hand. */
static bool
parse_value(Parser *s)
{
	const char *at = s->p;
	Value v = value_new(OP_INPUT, 0, here(s, at));
	uint64_t n;
	if (!expect(s, '%') || !number(s, UINT32_MAX, &n))
		return false;
	if (n != (uint64_t)s->f->count)
		return fail(s, at,
			    arena_printf(s->arena, "%%%d is the next value of this function",
					 s->f->count));
	if (s->f->n_kernels || s->f->n_buffers)
		return fail(s, at, "values stand before kernels and buffers");
	if (n == VALUES_MOST)
		return fail(s, at, "too many values");
	if (!expect(s, '=') || !parse_op(s, &v.op))
		return false;
	for (int k = 0; k < op_operands(v.op); k++)
		if (!parse_reference(s, &v.operands[k]))
			return false;
	if (op_table[v.op].tensor != TENSOR_NONE && !parse_role(s, &v))
		return false;
	if (!parse_attributes(s, &v) || !expect(s, ':') || !format(s, &v.format) ||
	    !expect(s, '[') || !number(s, UINT32_MAX, &n) || !expect(s, ']'))
		return false;
	v.width = (uint32_t)n;
	if (!parse_places(s, &v))
		return false;
	func_add(s->g, s->f, v);
	return true;
}

/* ---- kernels, buffers, functions ---------------------------------------------------------- */

/* `N KIND phase=P [repeat] : %a ...` */
static bool
parse_kernel(Parser *s)
{
	Func *f = s->f;
	const char *at = s->p, *name;
	int n, kind;
	if (!f->kernels) {
		f->kernels = ARENA_ARRAY(s->arena, Kernel, (size_t)f->count + 1);
		f->order = ARENA_ARRAY(s->arena, int, (size_t)f->count + 1);
	}
	if (f->n_kernels == f->count)
		return fail(s, at, "more kernels than values");
	if (!small_number(s, &n))
		return false;
	if (n != f->n_kernels)
		return fail(s, at, arena_printf(s->arena, "kernel %d is the next", f->n_kernels));
	Kernel *k = &f->kernels[f->n_kernels];
	k->first = f->n_order;
	skip_blank(s);
	at = s->p;
	if (!index_of(name = word(s), kernel_names, KERNEL_KINDS, &kind))
		return fail_name(s, at, "kind of kernel", name, kernel_names, KERNEL_KINDS);
	k->kind = (uint8_t)kind;
	if (!expect_key(s, "phase") || !small_number(s, &k->phase))
		return false;
	skip_blank(s);
	at = s->p;
	k->repeat_at_one = *s->p == 'r' && !strcmp(word(s), "repeat");
	if (*at == 'r' && !k->repeat_at_one)
		return fail(s, at, "'repeat' expected here");
	if (!expect(s, ':'))
		return false;
	for (; !line_ends(s); k->count++) {
		if (f->n_order == f->count)
			return fail(s, s->p, "more values than the function has");
		if (!parse_reference(s, &f->order[f->n_order++]))
			return false;
	}
	f->n_kernels++;
	return true;
}

/* `N bytes=B offset=O uses=A..B [caller]` */
static bool
parse_buffer(Parser *s)
{
	Func *f = s->f;
	const char *at = s->p;
	int n;
	if (!f->buffers)
		f->buffers = ARENA_ARRAY(s->arena, Buffer, (size_t)f->count + 1);
	if (f->n_buffers > f->count)
		return fail(s, at, "more buffers than values");
	if (!small_number(s, &n))
		return false;
	if (n != f->n_buffers)
		return fail(s, at, arena_printf(s->arena, "buffer %d is the next", f->n_buffers));
	Buffer *b = &f->buffers[f->n_buffers++];
	if (!expect_key(s, "bytes") || !number(s, UINT64_MAX / 2, &b->bytes) ||
	    !expect_key(s, "offset") || !number(s, UINT64_MAX / 2, &b->offset) ||
	    !expect_key(s, "uses") || !small_number(s, &b->first_use) || !expect(s, '.') ||
	    !expect(s, '.') || !small_number(s, &b->last_use))
		return false;
	if (line_ends(s))
		return true;
	at = s->p;
	b->caller = !strcmp(word(s), "caller");
	return b->caller || fail(s, at, "'caller' expected here");
}

static int
find_func(const Parser *s, const char *name)
{
	for (int i = 0; i < s->g->count; i++)
		if (!strcmp(s->g->funcs[i].name, name))
			return i;
	return -1;
}

/* `NAME [same=NAME] {` */
static bool
parse_func(Parser *s)
{
	skip_blank(s);
	const char *at = s->p, *name = word(s), *rest = name;
	uint32_t layer;
	if (!*name)
		return fail(s, at, "a name expected here");
	if (find_func(s, name) >= 0)
		return fail(s, at, "a second function of this name");
	if (s->g->count == (int)s->m->n_layer + FUNCS_BESIDE)
		return fail(s, at, "too many functions for a model of so many layers");
	Func *f = s->f = &s->g->funcs[s->g->count];
	f->name = name;
	f->loc = here(s, at);
	f->same_as = s->g->count;
	f->layer = parse_layer_number(&rest, s->m->n_layer, &layer) && !*rest ? (int)layer : -1;
	if (f->layer < 0 && !strncmp(name, "layer.", 6))
		return fail(s, at, "the model has no such layer");
	if (!take(s, '{')) {
		if (!expect_key(s, "same"))
			return false;
		at = s->p;
		f->same_as = find_func(s, word(s));
		if (f->same_as < 0)
			return fail(s, at, "no function of this name stands above");
		if (!expect(s, '{'))
			return false;
	}
	s->g->count++;
	return true;
}

/* ---- statements --------------------------------------------------------------------------- */

static const struct {
	const char *name;
	bool inside; /* of a function */
	bool (*parse)(Parser *s);
} statements[] = {
	{"model", false, parse_model},	{"activations", false, parse_activations},
	{"kv", false, parse_kv},	{"weights", false, parse_weights},
	{"facts", false, parse_facts},	{"arena", false, parse_arena},
	{"func", false, parse_func},	{"kernel", true, parse_kernel},
	{"buffer", true, parse_buffer},
};
enum { N_STATEMENTS = sizeof statements / sizeof *statements };

static bool
parse_statement(Parser *s)
{
	const char *names[N_STATEMENTS];
	const char *at = s->p;
	int n = 0;
	if (s->f && *at == '%')
		return parse_value(s);
	if (s->f && *at == '}') {
		s->p++;
		s->f = NULL;
		return true;
	}
	const char *name = word(s);
	for (int i = 0; i < N_STATEMENTS; i++) {
		if (statements[i].inside != (s->f != NULL))
			continue;
		names[n++] = statements[i].name;
		if (strcmp(statements[i].name, name) != 0)
			continue;
		if (!s->m->one && statements[i].parse != parse_model)
			return fail(s, at, "the model line must come first");
		return statements[i].parse(s);
	}
	return fail_name(s, at, "statement", name, names, (size_t)n);
}

Graph *
graph_parse(Arena *run, Diag *d, uint32_t file, const char *text, size_t size)
{
	const char *copy = arena_strndup(run, text, size);
	Parser s = {.arena = run,
		    .diag = d,
		    .file = file,
		    .text = copy,
		    .p = copy,
		    .end = copy + size,
		    .g = ARENA_NEW(run, Graph),
		    .m = ARENA_NEW(run, Model)};
	s.g->arena = run;
	s.g->model = s.m;
	s.g->activations = FORMAT_F32;
	for (;;) {
		while (line_ends(&s) && s.p < s.end)
			s.p++;
		if (s.p == s.end)
			break;
		if (!parse_statement(&s) || !expect_line_end(&s))
			return NULL;
	}
	if (s.f)
		fail(&s, s.end, "'}' expected: the function does not end");
	else if (!s.m->one)
		fail(&s, s.end, "the model line is missing");
	return s.failed ? NULL : s.g;
}
