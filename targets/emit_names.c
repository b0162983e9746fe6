/* Names: of values, buffers, kernels and constants in the emitted C. */
#include "emit_impl.h"

#include <ctype.h>
#include <string.h>

const Value *
emit_value(const Emit *e, int i)
{
	return &e->f->values[i];
}

const Value *
emit_kernel_value(const Emit *e, const Kernel *k, int i)
{
	return emit_value(e, e->f->order[k->first + i]);
}

int
emit_index(const Emit *e, const Value *v)
{
	return (int)(v - e->f->values);
}

/* Bytes per token of arena in front of a value's buffer. */
unsigned long long
emit_buffer_offset(const Emit *e, const Value *v)
{
	INVARIANT(v->buffer >= 0);
	return e->f->buffers[v->buffer].offset;
}

/* Whether a value has a place in the arena (the logits are the caller's memory). */
bool
emit_has_place(const Emit *e, const Value *v)
{
	return v->op != OP_OUTPUT && v->buffer >= 0 && !e->f->buffers[v->buffer].caller;
}

/* What a value is called: its tensor, else its op. */
const char *
emit_value_word(const Value *v)
{
	return op_is_linear(v->op) ? role_names[v->role] : op_name(v->op);
}

/* "LAYER0_V4_Q": the constant that is the offset of a value's buffer. */
const char *
emit_buffer_name(const Emit *e, const Value *v)
{
	INVARIANT(emit_has_place(e, v));
	char *s = arena_printf(e->t->arena, "%s_v%d_%s", e->u->ident, emit_index(e, v),
			       emit_value_word(v));
	for (char *c = s; *c; c++)
		*c = (char)toupper((unsigned char)*c);
	return s;
}

bool
emit_is_activation(const Value *v)
{
	return op_table[v->op].result == 'a';
}

/* A float row, as opposed to codes, a tile or the cache. */
bool
emit_is_row(const Value *v)
{
	return op_table[v->op].result == 'r';
}

const Kernel *
emit_kernel_of(const Emit *e, const Value *v)
{
	for (int k = 0; k < e->f->n_kernels; k++)
		for (int i = 0; i < e->f->kernels[k].count; i++)
			if (emit_kernel_value(e, &e->f->kernels[k], i) == v)
				return &e->f->kernels[k];
	return NULL;
}

/* A phase that each worker repeats for itself when there is one row. */
bool
emit_phase_repeats(const Emit *e, int phase)
{
	bool any = false;
	for (int k = 0; k < e->f->n_kernels; k++) {
		const Kernel *n = &e->f->kernels[k];
		if (n->phase == phase && !n->repeat_at_one)
			return false;
		any |= n->phase == phase;
	}
	return any;
}

/* ---- names -------------------------------------------------------------------------------- */

/* "layer0_1_q_k_v": the unit, the kernel's number, its tensors and ops. */
const char *
emit_kernel_name(const Emit *e, const Kernel *k)
{
	Text *t = text_new(e->t->arena);
	text_printf(t, "%s_%d", e->u->ident, (int)(k - e->f->kernels));
	for (int i = 0; i < k->count; i++) {
		const Value *v = emit_kernel_value(e, k, i);
		text_printf(t, "_%s", emit_value_word(v));
	}
	return t->text;
}

/* "i4g32m_a16_k576": weights, activations, columns. */
const char *
emit_linear_name(Arena *a, Format w, const Value *act)
{
	const RowLayout row = row_layout(act);
	Text *t = text_new(a);
	text_printf(t, "%s%u", format_is_float(w) ? "f" : "i", w.bits);
	if (!format_is_float(w))
		text_printf(t, w.group ? "g%u" : "row", w.group);
	if (!format_is_float(w) && w.scale_bits != 16)
		text_printf(t, "s%u", w.scale_bits);
	text_printf(t, "%s%s%s%s", w.bf16 ? "b" : "", w.minimum ? "m" : "", w.zero ? "z" : "",
		    w.trits	? "t5"
		    : w.ternary ? "t"
				: "");
	if (!row.planes)
		text_printf(t, "_f32");
	else if (act->format.group)
		text_printf(t, "_a%ug%u", act->format.bits, act->format.group);
	else
		text_printf(t, "_a%u", act->format.bits);
	if (row.planes && act->format.zero)
		text_add(t, "z", 1);
	text_printf(t, "_k%u", act->width);
	return t->text;
}

const char *
emit_float(Arena *a, float v)
{
	Text *t = text_new(a);
	text_float(t, v);
	if (!strpbrk(t->text, ".e"))
		text_add(t, ".0", 2);
	text_add(t, "f", 1);
	return t->text;
}
