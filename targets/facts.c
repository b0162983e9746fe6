/* What is known of a finished graph: facts.h. */
#include "facts.h"

#include "../ir/plan_apply.h"

bool
facts_site_is_of(const Graph *g, const Func *f, Site s)
{
	if (s == SITE_HEAD_IN)
		return func_is_last(g, f);
	if (s == SITE_EMBED_OUT)
		return f == &g->funcs[0];
	return s == SITE_RESIDUAL ||
	       (site_table[s].layered && f->layer >= 0 && site_exists(g->model, s));
}

const PlanTransform *
facts_planned(const Graph *g, const Plan *p, Site s, const Func *f)
{
	if (!facts_site_is_of(g, f, s))
		return NULL;
	return &p->transforms[s][site_table[s].layered ? f->layer : 0];
}

/* ---- transforms that run ------------------------------------------------------------------ */

static bool
is_reader(Op op)
{
	return op_is_linear(op) || op == OP_KV_APPEND || op == OP_ATTENTION;
}

static void
find_readers(const Func *f, int i, Online *o)
{
	for (int r = i + 1; r < f->count; r++)
		for (int k = 0; k < op_operands(f->values[r].op); k++) {
			if (f->values[r].operands[k] != i)
				continue;
			if (!is_reader(f->values[r].op))
				find_readers(f, r, o);
			else if (o->n_readers < READERS_MAX)
				o->readers[o->n_readers++] = r;
		}
}

int
facts_online_site(const Func *f, const Online *o)
{
	if (!o->n_readers) /* the row that the next function reads */
		return SITE_RESIDUAL;
	const Value *v = &f->values[o->readers[0]];
	return op_is_linear(v->op) ? role_site(v->role) : (int)SITE_QK_ROPE;
}

bool
facts_online(const Func *f, int s, int i, Online *o)
{
	for (; i < f->count; i++) {
		if (f->values[i].op != OP_TRANSFORM)
			continue;
		*o = (Online){.value = i};
		find_readers(f, i, o);
		if (s < 0 || facts_online_site(f, o) == s)
			return true;
	}
	return false;
}

/* ---- sums --------------------------------------------------------------------------------- */

Sums
facts_sums(const Graph *g, const Layout *l, int func)
{
	const Func *f = &g->funcs[func];
	const Unit *u = layout_unit(l, func);
	Sums s = {0, 0, 0, 0};
	for (int i = 0; i < f->count; i++) {
		const Value *v = &f->values[i];
		uint32_t rows, columns;
		if (v->op == OP_TRANSFORM) {
			const TransformFacts facts = transform_facts(v->transform);
			s.adds += facts.adds;
			s.multiplies += facts.multiplies;
		} else if (op_is_linear(v->op)) {
			graph_tensor_shape(g, v, &rows, &columns);
			s.multiply_adds += (uint64_t)rows * columns;
		}
	}
	for (int c = 0; c < u->n_constants; c++)
		s.bytes += constant_bytes_read(&g->funcs[u->func], &u->constants[c]);
	return s;
}

double
facts_share(const Sums *s)
{
	return s->multiply_adds ? 100.0 * (double)(s->adds + s->multiplies) /
					  (2.0 * (double)s->multiply_adds)
				: 0;
}

Sums
facts_all_sums(const Graph *g, const Layout *l)
{
	Sums all = {0, 0, 0, 0};
	for (int n = 0; n < g->count; n++) {
		const Sums s = facts_sums(g, l, n);
		all = (Sums){all.adds + s.adds, all.multiplies + s.multiplies,
			     all.multiply_adds + s.multiply_adds, all.bytes + s.bytes};
	}
	return all;
}

/* ---- bits a weight ------------------------------------------------------------------------ */

uint64_t
facts_code_bytes(const Constant *c)
{
	uint64_t bytes = 0;
	for (uint32_t e = 0; e < c->experts; e++)
		for (int i = 0; i < c->n_roles; i++)
			bytes += pack_code_bytes(constant_form(c, e), c->rows[i]);
	return bytes;
}

/* Bytes of the tables that stand in the code of unit u. */
static uint64_t
coded_table_bytes(const Graph *g, const Unit *u)
{
	const Func *f = &g->funcs[u->func];
	Arena *scratch = arena_new();
	uint64_t bytes = 0;
	for (int i = 0; i < f->count; i++) {
		const Transform *const *leaves;
		const Constant *c = unit_tables(u, i);
		if (f->values[i].op != OP_TRANSFORM)
			continue;
		const uint32_t n = transform_leaves(scratch, f->values[i].transform, &leaves);
		for (uint32_t k = 0; k < n; k++)
			if (!c || c->tables.at[k] == TABLE_IS_CODE)
				bytes += table_bytes(leaves[k]);
	}
	arena_free(scratch);
	return bytes;
}

/* Whether an earlier constant lies at the place of constant i of function n. */
static bool
stored_before(const Layout *l, int n, int i)
{
	for (int f = 0; f <= n; f++)
		for (int k = 0; k < (f < n ? layout_unit(l, f)->n_constants : i); k++)
			if (l->offsets[f][k] == l->offsets[n][i])
				return true;
	return false;
}

static void
add_constants(Stored *s, const Layout *l, int n)
{
	const Unit *u = layout_unit(l, n);
	for (int i = 0; i < u->n_constants; i++) {
		const Constant *c = &u->constants[i];
		if (stored_before(l, n, i))
			continue;
		if (c->vector || c->value >= 0) {
			*(c->vector ? &s->vectors : &s->tables) += c->bytes;
			continue;
		}
		s->codes += facts_code_bytes(c);
		s->scales += c->bytes - facts_code_bytes(c);
		/* The model's: what padding adds to them is paid by them. */
		for (int k = 0; k < c->n_roles; k++) {
			uint32_t rows, columns;
			model_shape(l->graph->model, (Role)c->roles[k], &rows, &columns);
			s->elements += (uint64_t)c->experts * rows * columns;
		}
	}
}

Stored
facts_stored(const Graph *g, const Layout *l, bool layers)
{
	Stored s = {0, 0, 0, 0, 0};
	for (int n = 0; n < g->count; n++)
		if (!layers || g->funcs[n].layer >= 0)
			add_constants(&s, l, n);
	for (int n = 0; n < l->n_units; n++)
		if (!layers || g->funcs[l->units[n].func].layer >= 0)
			s.tables += coded_table_bytes(g, &l->units[n]);
	return s;
}

uint64_t
facts_stored_bytes(const Stored *s)
{
	return s->codes + s->scales + s->vectors + s->tables;
}

double
facts_bits(const Stored *s, uint64_t bytes)
{
	return s->elements ? 8.0 * (double)bytes / (double)s->elements : 0;
}

/* ---- words -------------------------------------------------------------------------------- */

const char *
facts_transform(Arena *a, const Transform *t)
{
	enum { SHOWN = 160 };
	Text *text = text_new(a);
	if (!t)
		return "I";
	transform_print(text, t, TRANSFORM_NAMED);
	return text->size <= SHOWN ? text->text : arena_printf(a, "%.*s...", SHOWN, text->text);
}

const char *
facts_value_name(const Func *f, int i)
{
	const Value *v = &f->values[i];
	return op_is_linear(v->op) ? role_names[v->role] : op_name(v->op);
}

uint64_t
facts_head_bytes(const Graph *g, const Layout *l)
{
	const Unit *u = layout_unit(l, g->count - 1);
	for (int c = 0; c < u->n_constants; c++)
		if (u->constants[c].n_roles == 1 && u->constants[c].roles[0] == ROLE_HEAD)
			return u->constants[c].bytes;
	return 0;
}
