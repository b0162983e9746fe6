/* From kernels of the graph to entries: calls of template functions, launches, their sizes. */
#include "maker.h"

#include "../../ir/plan_apply.h"

#include <stdarg.h>
#include <string.h>

const char *const arc_families[ARC_FAMILIES] = {"rows", "linear", "attention"};

enum { ENTRIES_MAX = 4096 };

/* ---- arguments ---------------------------------------------------------------------------- */

ArcCall *
arc_call(Arena *a, ArcEntry *n, const char *function)
{
	if (n->n_calls == n->calls_room) {
		ArcCall *more = ARENA_ARRAY(a, ArcCall, 2 * n->calls_room);
		memcpy(more, n->calls, sizeof *more * (size_t)n->n_calls);
		n->calls = more;
		n->calls_room *= 2;
	}
	ArcCall *c = &n->calls[n->n_calls++];
	*c = (ArcCall){.function = function};
	return c;
}

void
arc_add(ArcCall *c, ArcArgument v)
{
	INVARIANT(c->n < ARC_ARGUMENTS_MAX);
	c->arguments[c->n++] = v;
}

/* What a linear or an embedding is specialised on: LINEAR_SPEC of templates/arc/packed.h. act: the
 * activations that are read, null: none. */
static void
add_spec(ArcCall *c, Format w, int columns, const Value *act)
{
	const bool is_float = format_is_float(w);
	const int planes = act ? (int)row_layout(act).planes : 0;
	const Format a = planes ? act->format : FORMAT_F32;
	const int group = w.group ? (int)w.group : columns;
	add_ints(c,
		 (int[]){is_float, w.bits, is_float ? 32 : w.scale_bits, w.minimum, group, columns,
			 planes, (int)a.group, act && act->sums ? (int)act->sums : group,
			 act ? contract_split(columns, w, a) : 1, a.zero != ZERO_NONE,
			 format_offset(w), w.zero != ZERO_NONE, w.bf16, w.trits},
		 15);
}

/* ---- rows --------------------------------------------------------------------------------- */

enum { NO_SLOT = -1 };

/* The local rows of a kernel: where each value is, in floats. */
typedef struct Slots {
	int *at; /* [f->count] */
	int used;
} Slots;

static int
readers_in(const Maker *k, const Kernel *kernel, int value)
{
	int n = 0;
	for (int i = 0; i < kernel->count; i++) {
		const Value *v = emit_kernel_value(&k->e, kernel, i);
		for (int o = 0; o < op_operands(v->op); o++)
			n += v->operands[o] == value;
	}
	return n;
}

/* Transforms may make a row longer on their way. */
static int
slot_room(const Value *v)
{
	return v->op == OP_TRANSFORM ? (int)round_up(transform_span(v->transform), PACK_ROWS)
				     : (int)row_layout(v).padded;
}

static int
slot_new(Slots *s, const Value *v)
{
	const int at = s->used;
	s->used += slot_room(v);
	return at;
}

/* The local row of an operand: its own kernel's, or one that is loaded now. */
static int
slot_of(const Maker *k, ArcEntry *n, Slots *s, int value)
{
	const Value *v = emit_value(&k->e, value);
	if (s->at[value] != NO_SLOT)
		return s->at[value];
	s->at[value] = slot_new(s, v);
	ArcCall *c = arc_call(k->a, n, "row_load");
	arc_add(c, arc_int(v->width));
	add_arena(c);
	add_job(k, c);
	arc_add(c, arc_long(place(k, v)));
	arc_add(c, arc_int(v->op == OP_INPUT));
	arc_add(c, arc_local(s->at[value]));
	return s->at[value];
}

/* A local row that starts as operand 0 and may be changed. */
static int
slot_changed(const Maker *k, ArcEntry *n, Slots *s, const Kernel *kernel, const Value *v)
{
	const int from = v->operands[0], x = slot_of(k, n, s, from);
	const Value *operand = emit_value(&k->e, from);
	if (readers_in(k, kernel, from) == 1 && slot_room(v) <= slot_room(operand))
		return x;
	const int y = slot_new(s, v);
	ArcCall *c = arc_call(k->a, n, "row_copy");
	arc_add(c, arc_int(operand->width));
	arc_add(c, arc_local(x));
	arc_add(c, arc_local(y));
	return y;
}

static void
make_codes(Maker *k, ArcEntry *n, Slots *s, const Value *v)
{
	const RowLayout row = row_layout(v);
	const uint64_t at = place(k, v);
	const int x = slot_of(k, n, s, v->operands[0]);
	const int sums = (int)(v->sums ? v->sums : v->width);
	if (!row.planes) {
		ArcCall *c = arc_call(k->a, n, "row_tile");
		add_ints(c, (int[]){(int)v->width, row.n_sums ? sums : 0}, 2);
		add_arena(c);
		arc_add(c, arc_long(at + row.x));
		arc_add(c, arc_long(at + row.xsum));
		arc_add(c, arc_local(x));
		return;
	}
	ArcCall *c = arc_call(k->a, n, "row_quantize");
	add_ints(c, (int[]){(int)v->width, v->format.bits, (int)v->format.group, v->format.zero},
		 4);
	arc_add(c, arc_float(v->format.clip));
	arc_add(c, arc_int(sums));
	add_arena(c);
	const uint64_t parts[] = {row.hi, row.lo, row.sum_hi, row.sum_lo, row.scale, row.shift};
	for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
		arc_add(c, arc_long(at + parts[i]));
	arc_add(c, arc_local(x));
}

static void
make_embed(Maker *k, ArcEntry *n, const Value *v, int x)
{
	const Format f = graph_weight_format(k->e.g, v->role, k->e.f->layer);
	ArcCall *c = arc_call(k->a, n, "row_embed");
	add_spec(c, f, (int)v->width, NULL);
	arc_add(c, constant(k, v->role));
	arc_add(c, arc_parameter(ARC_BATCH, 4 * ARC_BATCH_TOKENS));
	add_job(k, c);
	arc_add(c, arc_local(x));
}

/* One op that makes a row; its result is the local row x. */
static void
make_row(Maker *k, ArcEntry *n, Slots *s, const Kernel *kernel, const Value *v)
{
	const int i = emit_index(&k->e, v);
	if (v->op == OP_EMBED) {
		s->at[i] = slot_new(s, v);
		make_embed(k, n, v, s->at[i]);
		return;
	}
	/* Before the row of operand 0 changes: the other operand may be the same. */
	const int b = op_operands(v->op) > 1 ? slot_of(k, n, s, v->operands[1]) : NO_SLOT;
	const int x = s->at[i] = slot_changed(k, n, s, kernel, v);
	if (v->op == OP_RMSNORM) {
		ArcCall *c = arc_call(k->a, n, "row_rmsnorm");
		arc_add(c, arc_int(v->width));
		arc_add(c, arc_float(v->eps));
		arc_add(c, arc_float((float)(1.0 / v->width)));
		arc_add(c, arc_local(x));
	} else if (v->op == OP_GAIN || v->op == OP_BIAS) {
		ArcCall *c = arc_call(k->a, n, v->op == OP_GAIN ? "row_gain" : "row_bias");
		arc_add(c, arc_int(v->width));
		arc_add(c, constant(k, v->role));
		arc_add(c, arc_local(x));
	} else if (v->op == OP_RMSNORM_HEADS) {
		const int d = (int)(v->width / v->heads);
		ArcCall *c = arc_call(k->a, n, "row_rmsnorm_heads");
		add_ints(c, (int[]){(int)v->heads, d}, 2);
		arc_add(c, arc_float(v->eps));
		arc_add(c, arc_float((float)(1.0 / d)));
		arc_add(c, arc_local(x));
	} else if (v->op == OP_GAIN_HEADS) {
		ArcCall *c = arc_call(k->a, n, "row_gain_heads");
		add_ints(c, (int[]){(int)v->heads, (int)(v->width / v->heads)}, 2);
		arc_add(c, constant(k, v->role));
		arc_add(c, arc_local(x));
	} else if (v->op == OP_ADD || v->op == OP_SILU_MUL) {
		ArcCall *c = arc_call(k->a, n, v->op == OP_ADD ? "row_add" : "row_silu_mul");
		arc_add(c, arc_int(v->width));
		arc_add(c, arc_local(b));
		arc_add(c, arc_local(x));
	} else if (v->op == OP_ROPE) {
		const Model *m = k->e.g->model;
		const Layout *l = k->e.x->layout;
		ArcCall *c = arc_call(k->a, n, "row_rope");
		add_ints(c, (int[]){(int)v->heads, (int)m->head_dim}, 2);
		add_job(k, c);
		arc_add(c, arc_parameter(ARC_ROPE, 0));
		arc_add(c, arc_parameter(ARC_ROPE, (int64_t)(l->rope_sin - l->rope_cos)));
		arc_add(c, arc_local(x));
	} else if (v->op == OP_TRANSFORM) {
		const ArcWork w = {s->used, arc_transform_work(v->transform,
							       (int)transform_span(v->transform))};
		s->used += (int)round_up((uint64_t)w.floats, PACK_ROWS);
		arc_transform(k->a, k->p, n, v->transform, tables(k, v), 1, x, w);
	} else {
		refuse(k, v, v->loc, "no template of rows does it");
	}
}

/* The rows of a kernel lie in local memory all at a time. */
static void
check_local(Maker *k, const Kernel *kernel, int floats)
{
	if (4 * (int64_t)floats <= ARC_LOCAL_MAX)
		return;
	refuse(k, emit_kernel_value(&k->e, kernel, kernel->count - 1), arc_place(k, kernel),
	       arena_printf(
		       k->a,
		       "its rows take %lld bytes of local memory, of which a work-group has %d",
		       4 * (long long)floats, ARC_LOCAL_MAX));
}

static ArcLaunch
make_rows(Maker *k, const Kernel *kernel)
{
	uint32_t widest = 0;
	for (int i = 0; i < kernel->count; i++)
		if (emit_kernel_value(&k->e, kernel, i)->width > widest)
			widest = emit_kernel_value(&k->e, kernel, i)->width;
	const int sub_groups = widest >= 512 ? 8 : widest >= 128 ? (int)widest / 64 : 1;
	ArcEntry *n = entry(k, kernel, ARC_ROWS, "", sub_groups);
	Slots s = {.at = ARENA_ARRAY(k->a, int, k->e.f->count)};
	for (int i = 0; i < k->e.f->count; i++)
		s.at[i] = NO_SLOT;
	for (int i = 0; i < kernel->count; i++) {
		const Value *v = emit_kernel_value(&k->e, kernel, i);
		if (emit_is_activation(v)) {
			make_codes(k, n, &s, v);
			continue;
		}
		make_row(k, n, &s, kernel, v);
		if (!emit_has_place(&k->e, v))
			continue;
		ArcCall *c = arc_call(k->a, n, "row_store");
		arc_add(c, arc_int(v->width));
		arc_add(c, arc_local(s.at[emit_index(&k->e, v)]));
		add_arena(c);
		arc_add(c, arc_long(place(k, v)));
	}
	n->local_floats = s.used;
	check_local(k, kernel, s.used);
	const int index = k->p->n_entries - 1;
	return (ArcLaunch){index, index, 1, 1, 1, k->kernel};
}

/* ---- linears ------------------------------------------------------------------------------ */

static uint32_t
blocks_of(const Value *v)
{
	return (v->width + PACK_ROWS - 1) / PACK_ROWS;
}

/* y = the results of one block a work-group, `step` blocks apart from `first` on, for a tile of
 * tokens; y: floats of local memory, with room for the totals of all runs. */
static void
add_block(const Maker *k, ArcEntry *n, const Value *v, int tile, int step, int first, int y)
{
	const Value *act = emit_value(&k->e, v->operands[0]);
	const Format w = graph_weight_format(k->e.g, v->role, k->e.f->layer);
	const RowLayout row = row_layout(act);
	const Format a = row.planes ? act->format : FORMAT_F32;
	ArcCall *c = arc_call(k->a, n, "linear_rows");
	n->sub_groups = contract_split((int)act->width, w, a);
	n->dot = row.planes > 0 && !n->dpas;
	if (n->dpas)
		arc_dpas_groups(n);
	add_spec(c, w, (int)act->width, act);
	add_ints(c, (int[]){tile, n->dpas}, 2);
	add_arena(c);
	add_job(k, c);
	arc_add(c, arc_long(place(k, act)));
	const uint64_t parts[] = {row.hi,    row.lo,	row.sum_hi, row.sum_lo,
				  row.scale, row.shift, row.x,	    row.xsum};
	for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
		arc_add(c, arc_long(parts[i]));
	arc_add(c, constant(k, v->role));
	add_ints(c, (int[]){step, first}, 2);
	arc_add(c, arc_local(y));
}

/* The bias of linear v, null: none. */
static const Value *
bias_of(const Maker *k, const Kernel *kernel, const Value *v)
{
	for (int i = 0; i < kernel->count; i++) {
		const Value *b = emit_kernel_value(&k->e, kernel, i);
		if (b->op == OP_BIAS && emit_value(&k->e, b->operands[0]) == v)
			return b;
	}
	return NULL;
}

/* Adds the bias that linear v has, if it has one, to the results y of blocks [from, end). */
static void
add_bias(const Maker *k, ArcEntry *n, const Kernel *kernel, const Value *v, int tile, uint32_t from,
	 uint32_t end, int y)
{
	const Value *bias = bias_of(k, kernel, v);
	if (!bias)
		return;
	ArcCall *c = arc_call(k->a, n, "linear_bias");
	add_ints(c, (int[]){tile, (int)from, (int)end}, 3);
	arc_add(c, constant(k, bias->role));
	arc_add(c, arc_local(y));
}

/* Where the matrices of a stack put their rows, biases added: by the work-group's block. */
static void
add_stack(const Maker *k, ArcEntry *n, const Kernel *kernel, int tile)
{
	ArcByBlock *first = ARENA_NEW(k->a, ArcByBlock), *to = ARENA_NEW(k->a, ArcByBlock);
	ArcByBlock *ld = ARENA_NEW(k->a, ArcByBlock);
	ArcByBlock *const all[] = {first, to, ld};
	uint32_t end = 0;
	to->wide = true;
	for (int i = 0; i < kernel->count; i++) {
		const Value *v = emit_kernel_value(&k->e, kernel, i);
		if (v->op != OP_LINEAR)
			continue;
		const Value *bias = bias_of(k, kernel, v), *result = bias ? bias : v;
		const int m = first->n;
		add_bias(k, n, kernel, v, tile, end, end + blocks_of(v), 0);
		first->values[m] = end;
		to->values[m] = (int64_t)place(k, result);
		ld->values[m] = row_layout(result).padded;
		end += blocks_of(v);
		for (int j = 0; j < 3; j++) {
			all[j]->ends[m] = end;
			all[j]->n = m + 1;
		}
	}
	ArcCall *c = arc_call(k->a, n, "linear_store");
	arc_add(c, arc_int(tile));
	add_arena(c);
	add_job(k, c);
	arc_add(c, arc_local(0));
	for (int j = 0; j < 3; j++)
		arc_add(c, (ArcArgument){.kind = ARC_BY_BLOCK, .by_block = all[j]});
}

/* Whether the kernel's result is the caller's memory. */
static bool
makes_logits(const Maker *k, const Kernel *kernel)
{
	for (int i = 0; i < kernel->count; i++) {
		const Value *v = emit_kernel_value(&k->e, kernel, i);
		if (v->buffer >= 0 && k->e.f->buffers[v->buffer].caller)
			return true;
	}
	return false;
}

/* The sum of the results of linear v with the row of the residual stream. */
static void
add_residual(const Maker *k, ArcEntry *n, const Kernel *kernel, const Value *sum, int tile)
{
	const Value *a = emit_value(&k->e, sum->operands[0]);
	const Value *b = emit_value(&k->e, sum->operands[1]);
	const Value *residual = emit_kernel_of(&k->e, b) == kernel ? a : b;
	ArcCall *c = arc_call(k->a, n, "linear_add");
	arc_add(c, arc_int(tile));
	add_arena(c);
	add_job(k, c);
	arc_add(c, arc_local(0));
	arc_add(c, arc_long(place(k, residual)));
	arc_add(c, arc_int(residual->op == OP_INPUT));
	arc_add(c, arc_long(place(k, sum)));
	arc_add(c, arc_int(row_layout(sum).padded));
}

/* silu of the first linear's results times the second's: their blocks alternate. */
static void
make_gated(const Maker *k, ArcEntry *n, const Kernel *kernel, const Value *silu, int tile)
{
	const int room = n->local_floats;
	int linears = 0;
	for (int i = 0; i < kernel->count; i++) {
		const Value *v = emit_kernel_value(&k->e, kernel, i);
		if (v->op != OP_LINEAR)
			continue;
		add_block(k, n, v, tile, 2, linears, linears * room);
		add_bias(k, n, kernel, v, tile, 0, blocks_of(v), linears * room);
		linears++;
	}
	n->local_floats = linears * room;
	ArcCall *c = arc_call(k->a, n, "linear_silu_mul");
	arc_add(c, arc_int(tile));
	add_arena(c);
	add_job(k, c);
	arc_add(c, arc_local(0));
	arc_add(c, arc_local(room));
	arc_add(c, arc_long(place(k, silu)));
	arc_add(c, arc_int(row_layout(silu).padded));
}

static void
make_linear_entry(Maker *k, const Kernel *kernel, const char *tail, int tile, int dpas)
{
	const Value *v = emit_kernel_value(&k->e, kernel, 0);
	const Value *act = emit_value(&k->e, v->operands[0]);
	const Value *sum = value_of(k, kernel, OP_ADD), *silu = value_of(k, kernel, OP_SILU_MUL);
	const Format w = graph_weight_format(k->e.g, v->role, k->e.f->layer);
	const Format a = row_layout(act).planes ? act->format : FORMAT_F32;
	ArcEntry *n = entry(k, kernel, ARC_LINEAR, tail, 1);
	n->dpas = dpas;
	n->local_floats = PACK_ROWS * tile * contract_split((int)act->width, w, a);
	if (silu) {
		make_gated(k, n, kernel, silu, tile);
		return;
	}
	add_block(k, n, v, tile, 1, 0, 0);
	if (sum) {
		add_bias(k, n, kernel, v, tile, 0, blocks_of(v), 0);
		add_residual(k, n, kernel, sum, tile);
	} else if (makes_logits(k, kernel)) {
		add_bias(k, n, kernel, v, tile, 0, blocks_of(v), 0);
		ArcCall *c = arc_call(k->a, n, "linear_logits");
		arc_add(c, arc_int(tile));
		add_job(k, c);
		arc_add(c, arc_local(0));
		arc_add(c, arc_parameter(ARC_LOGITS, 0));
		arc_add(c, arc_int(v->width));
	} else {
		add_stack(k, n, kernel, tile);
	}
}

/* Tokens that share a pass over the weights, so few that their sums fit 128 registers in every
 * format. */
static int
linear_tile(const Value *act)
{
	return row_layout(act).planes == 2 ? 2 : 4;
}

static ArcLaunch
make_linear(Maker *k, const Kernel *kernel)
{
	const Value *v = emit_kernel_value(&k->e, kernel, 0);
	const Value *act = emit_value(&k->e, v->operands[0]);
	const bool pair = value_of(k, kernel, OP_SILU_MUL);
	uint32_t groups = 0;
	for (int i = 0; i < kernel->count; i++) {
		const Value *one = emit_kernel_value(&k->e, kernel, i);
		if (one->op == OP_LINEAR && !(pair && groups))
			groups += blocks_of(one);
	}
	const int dpas = arc_dpas_depth(k, kernel);
	const int tile = dpas ? ARC_DPAS_TOKENS : linear_tile(act), one = k->p->n_entries;
	make_linear_entry(k, kernel, "_one", 1, 0);
	make_linear_entry(k, kernel, "_many", tile, dpas);
	return (ArcLaunch){one, one + 1, groups, 1, tile, k->kernel};
}

/* ---- units -------------------------------------------------------------------------------- */

static bool
make_stage(Arena *a, Diag *d, ArcProgram *p, int unit)
{
	static ArcLaunch (*const make[])(Maker *, const Kernel *) = {
		[KERNEL_ROWS] = make_rows,
		[KERNEL_LINEAR] = make_linear,
		[KERNEL_KV] = arc_make_kv,
		[KERNEL_ATTENTION] = arc_make_attention,
	};
	const Artefact *x = p->x;
	const Unit *u = &x->layout->units[unit];
	const Func *f = &x->graph->funcs[u->func];
	Maker k = {.e = {text_new(a), x, x->graph, u, f}, .p = p, .d = d, .a = a};
	ArcStage *s = &p->stages[unit];
	k.job = func_is_last(x->graph, f) ? ARC_BATCH_HEAD : 0;
	*s = (ArcStage){.unit = u, .launches = ARENA_ARRAY(a, ArcLaunch, f->n_kernels)};
	for (k.kernel = 0; k.kernel < f->n_kernels && !k.failed; k.kernel++)
		s->launches[s->n++] = make[f->kernels[k.kernel].kind](&k, &f->kernels[k.kernel]);
	return !k.failed;
}

bool
arc_program(Arena *a, Diag *d, const Artefact *x, ArcProgram *p)
{
	uint64_t attention = 0;
	*p = (ArcProgram){.x = x, .room = ENTRIES_MAX};
	p->entries = ARENA_ARRAY(a, ArcEntry, ENTRIES_MAX);
	p->stages = ARENA_ARRAY(a, ArcStage, x->layout->n_units);
	for (int f = 0; f < x->graph->count; f++)
		for (int i = 0; i < x->graph->funcs[f].count; i++) {
			const Value *v = &x->graph->funcs[f].values[i];
			if (v->op == OP_ATTENTION && row_layout(v).bytes > attention)
				attention = row_layout(v).bytes;
		}
	p->arena_bytes = x->graph->arena_bytes_per_token + attention;
	bool ok = true;
	for (int i = 0; i < x->layout->n_units; i++)
		ok &= make_stage(a, d, p, i);
	arc_make_top(a, p);
	return ok;
}

/* ---- text --------------------------------------------------------------------------------- */

static void
print_argument(Text *t, const ArcArgument *v)
{
	static const char *const parameters[] = {"arena",  "batch",    "rope", "cache",
						 "logits", "capacity", "ctx"};
	switch (v->kind) {
	case ARC_INT:
	case ARC_LONG:
		text_printf(t, "%lld", (long long)v->value);
		break;
	case ARC_FLOAT:
		text_printf(t, "%a", (double)v->number);
		break;
	case ARC_PARAMETER:
		text_printf(t, "%s", parameters[v->value]);
		break;
	case ARC_CONSTANT:
		text_printf(t, "w%lld", (long long)v->value);
		break;
	case ARC_LOCAL:
		text_printf(t, "local");
		break;
	case ARC_FLOATS:
	case ARC_WORDS:
		text_printf(t, "table of %lld", (long long)v->value);
		break;
	case ARC_BY_BLOCK:
		for (int i = 0; i < v->by_block->n; i++)
			text_printf(t, "%s%lld below %u", i ? "; " : "{",
				    (long long)v->by_block->values[i], v->by_block->ends[i]);
		text_printf(t, "}");
	}
	if (v->kind == ARC_LOCAL && v->value)
		text_printf(t, " + %lld", (long long)v->value);
	if (v->offset)
		text_printf(t, " + %lld", (long long)v->offset);
}

void
arc_print(Text *t, const ArcProgram *p, ArcFamily family)
{
	for (int i = 0; i < p->n_entries; i++) {
		const ArcEntry *n = &p->entries[i];
		if (n->family != family)
			continue;
		text_printf(t, "# %s\n%s: %d sub-groups, %d local floats, %d constants\n", n->words,
			    n->name, n->sub_groups, n->local_floats, n->n_constants);
		for (int c = 0; c < n->n_calls; c++) {
			text_printf(t, "\t%s(", n->calls[c].function);
			for (int k = 0; k < n->calls[c].n; k++) {
				text_printf(t, k ? ", " : "");
				print_argument(t, &n->calls[c].arguments[k]);
			}
			text_printf(t, ")\n");
		}
	}
}
