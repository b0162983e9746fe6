/* The k likeliest tokens on the device: two kernels behind the head. */
#include "call.h"

enum { SHARE = 256 }; /* of the vocabulary, a sub-group's */

static ArcEntry *
top_entry(Arena *a, ArcProgram *p, const char *name, const char *words, const char *function,
	  int share)
{
	enum { CALLS = 1 };
	if (p->n_entries == p->room)
		BUG("more than %d kernels for Arc", p->room);
	ArcEntry *n = &p->entries[p->n_entries++];
	*n = (ArcEntry){.name = name,
			.words = words,
			.family = ARC_ROWS,
			.calls = ARENA_ARRAY(a, ArcCall, CALLS),
			.calls_room = CALLS,
			.sub_groups = 1,
			.lanes = ARC_LANES};
	ArcCall *c = arc_call(a, n, function);
	arc_add(c, arc_int(p->x->graph->model->n_vocab));
	arc_add(c, arc_int(share));
	arc_add(c, arc_parameter(ARC_LOGITS, 0));
	arc_add(c, arc_parameter(ARC_CAPACITY, 0));
	arc_add(c, arc_parameter(ARC_BATCH, 4 * ARC_BATCH_TOP));
	return n;
}

void
arc_make_top(Arena *a, ArcProgram *p)
{
	const uint32_t n_vocab = p->x->graph->model->n_vocab;
	const uint32_t shares = (n_vocab + SHARE - 1) / SHARE;
	const int first = p->n_entries;
	top_entry(a, p, "top_of_share", "the likeliest tokens of a share of the vocabulary",
		  "top_share", SHARE);
	top_entry(a, p, "top_of_all", "the likeliest tokens of all shares", "top_all", (int)shares);
	p->top[0] = (ArcLaunch){first, first, shares, 1, 1, 0};
	p->top[1] = (ArcLaunch){first + 1, first + 1, 1, 1, 1, 0};
}
