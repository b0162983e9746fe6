/* Which linears can go by DPAS (templates/arc/dpas.h): integers, whole steps of columns a unit. */
#include "maker.h"

enum { COLUMNS = 32, NARROW = 4 /* bits */ };
enum { SUB_GROUPS = PACK_ROWS / (2 * ARC_DPAS_LANES) };

/* Whether every unit of the linear is whole steps of `depth` columns. */
static bool
whole_steps(const Value *act, Format w, int depth)
{
	const int columns = (int)act->width / contract_split((int)act->width, w, act->format);
	const int group = w.group ? (int)w.group : (int)act->width;
	const int sums = act->sums ? (int)act->sums : group;
	return columns % depth == 0 && (sums >= columns || sums % depth == 0);
}

static int
linear_depth(const Maker *k, const Value *v)
{
	const Value *act = emit_value(&k->e, v->operands[0]);
	const Format w = graph_weight_format(k->e.g, v->role, k->e.f->layer);
	if (!row_layout(act).planes || format_is_float(w) || w.trits)
		return 0;
	if (act->format.bits == NARROW && (w.bits == 4 || w.bits == 2) &&
	    whole_steps(act, w, ARC_DPAS_NARROW))
		return ARC_DPAS_NARROW;
	return whole_steps(act, w, COLUMNS) ? COLUMNS : 0;
}

int
arc_dpas_depth(const Maker *k, const Kernel *kernel)
{
	int depth = k->e.x->dpas ? ARC_DPAS_NARROW : 0;
	for (int i = 0; i < kernel->count && depth; i++) {
		const Value *v = emit_kernel_value(&k->e, kernel, i);
		const int most = v->op == OP_LINEAR ? linear_depth(k, v) : depth;
		depth = most < depth ? most : depth;
	}
	return depth;
}

/* A sub-group half of a block's rows, for each run. */
void
arc_dpas_groups(ArcEntry *n)
{
	n->lanes = ARC_DPAS_LANES;
	n->sub_groups *= SUB_GROUPS;
}
