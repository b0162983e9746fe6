/* Which linears can go by DPAS (templates/arc/dpas.h): integers, whole 32s of columns a unit. */
#include "maker.h"

enum { COLUMNS = 32, SUB_GROUPS = PACK_ROWS / ARC_DPAS_LANES };

static bool
linear_works(const Maker *k, const Value *v)
{
	const Value *act = emit_value(&k->e, v->operands[0]);
	const Format w = graph_weight_format(k->e.g, v->role, k->e.f->layer);
	if (!row_layout(act).planes || format_is_float(w) || w.trits)
		return false;
	const int columns = (int)act->width / contract_split((int)act->width, w, act->format);
	const int group = w.group ? (int)w.group : (int)act->width;
	const int sums = act->sums ? (int)act->sums : group;
	return columns % COLUMNS == 0 && (sums >= columns || sums % COLUMNS == 0);
}

bool
arc_dpas_works(const Maker *k, const Kernel *kernel)
{
	bool works = k->e.x->dpas;
	for (int i = 0; i < kernel->count && works; i++) {
		const Value *v = emit_kernel_value(&k->e, kernel, i);
		works = v->op != OP_LINEAR || linear_works(k, v);
	}
	return works;
}

/* A sub-group a quarter of a block's rows, for each run. */
void
arc_dpas_groups(ArcEntry *n)
{
	n->lanes = ARC_DPAS_LANES;
	n->sub_groups *= SUB_GROUPS;
}
