/* What entries.c and cache.c share: a unit's program under way, and the arguments that calls have.
 */
#ifndef LATHE_TARGETS_ARC_MAKER_H
#define LATHE_TARGETS_ARC_MAKER_H

#include "../emit_impl.h"
#include "call.h"

enum { ARC_CALLS_ROOM = 16 };

/* A unit's program under way. */
typedef struct Maker {
	Emit e;
	ArcProgram *p;
	Diag *d;
	Arena *a;
	int kernel;
	int job; /* word of the batch where this unit's job lies */
	bool failed;
} Maker;

static inline void
add_ints(ArcCall *c, const int *v, int n)
{
	for (int i = 0; i < n; i++)
		arc_add(c, arc_int(v[i]));
}

static inline void
add_arena(ArcCall *c)
{
	arc_add(c, arc_parameter(ARC_ARENA, 0));
	arc_add(c, arc_parameter(ARC_CAPACITY, 0));
}

static inline void
add_job(const Maker *k, ArcCall *c)
{
	arc_add(c, arc_parameter(ARC_BATCH, 4 * (int64_t)k->job));
}

/* Where a value's row lies per token. The result of attention has a place of its own: at one row
 * it is written while q, k and v, which the graph thinks are done with, are still read. */
static inline uint64_t
place(const Maker *k, const Value *v)
{
	return v->op == OP_ATTENTION ? k->e.g->arena_bytes_per_token : emit_buffer_offset(&k->e, v);
}

/* Constant c of the kernel at work. */
static inline ArcArgument
constant_argument(const Maker *k, const Constant *c)
{
	const Constant *first = k->e.u->constants;
	while (first->kernel != k->kernel)
		first++;
	return (ArcArgument){.kind = ARC_CONSTANT, .value = c - first};
}

/* The constant of the kernel at work that role's tensor lies in. */
static inline ArcArgument
constant(const Maker *k, int role)
{
	return constant_argument(k, unit_constant(k->e.u, k->kernel, role));
}

/* The tables of value v's transform. */
static inline ArcTables
tables(const Maker *k, const Value *v)
{
	ArcTables t = {.whole = v->transform,
		       .constant = unit_tables(k->e.u, emit_index(&k->e, v))};
	if (t.constant)
		t.argument = constant_argument(k, t.constant);
	return t;
}

static inline int
constant_count(const Maker *k)
{
	int n = 0;
	for (int i = 0; i < k->e.u->n_constants; i++)
		n += k->e.u->constants[i].kernel == k->kernel;
	return n;
}

/* place.c: where what a kernel computes was asked for: the plan's line, else the model. */
Loc arc_place(const Maker *k, const Kernel *kernel);

static inline ArcEntry *
entry(Maker *k, const Kernel *kernel, ArcFamily family, const char *tail, int sub_groups)
{
	ArcProgram *p = k->p;
	if (p->n_entries == p->room)
		BUG("more than %d kernels for Arc", p->room);
	ArcEntry *n = &p->entries[p->n_entries++];
	*n = (ArcEntry){.name = arena_printf(k->a, "%s%s", emit_kernel_name(&k->e, kernel), tail),
			.words = emit_words(&k->e, kernel),
			.loc = arc_place(k, kernel),
			.family = family,
			.calls = ARENA_ARRAY(k->a, ArcCall, ARC_CALLS_ROOM),
			.calls_room = ARC_CALLS_ROOM,
			.n_constants = constant_count(k),
			.lanes = ARC_LANES,
			.sub_groups = sub_groups};
	return n;
}

static inline void
refuse(Maker *k, const Value *v, Loc loc, const char *what)
{
	if (!k->failed)
		diag_error(k->d, loc, E_ARC, "%s cannot run on arc: %s",
			   v->role >= 0 ? role_names[v->role] : op_name(v->op), what);
	k->failed = true;
}

static inline const Value *
value_of(const Maker *k, const Kernel *kernel, Op op)
{
	for (int i = 0; i < kernel->count; i++)
		if (emit_kernel_value(&k->e, kernel, i)->op == op)
			return emit_kernel_value(&k->e, kernel, i);
	return NULL;
}

/* cache.c: the write of keys and values, and attention. */
ArcLaunch arc_make_kv(Maker *k, const Kernel *kernel);
ArcLaunch arc_make_attention(Maker *k, const Kernel *kernel);
/* dpas.c: columns of the DPAS by which a linear kernel's batches of many rows go, 0: by none; an
 * entry's sub-groups then. */
int arc_dpas_depth(const Maker *k, const Kernel *kernel);
void arc_dpas_groups(ArcEntry *n);

#endif
