/* What the files emit_*.c share: one unit's code under way, and the names of things in it. */
#ifndef LATHE_TARGETS_EMIT_IMPL_H
#define LATHE_TARGETS_EMIT_IMPL_H

#include "emit.h"

typedef struct Emit {
	Text *t;
	const Artefact *x;
	const Graph *g;
	const Unit *u;
	const Func *f;
} Emit;

const Value *emit_value(const Emit *e, int i);
const Value *emit_kernel_value(const Emit *e, const Kernel *k, int i);
int emit_index(const Emit *e, const Value *v);
/* Bytes per token of arena in front of a value's buffer. */
unsigned long long emit_buffer_offset(const Emit *e, const Value *v);
/* Whether a value has a place in the arena (the logits are the caller's memory). */
bool emit_has_place(const Emit *e, const Value *v);
/* What a value is called: its tensor, else its op. */
const char *emit_value_word(const Value *v);
/* "LAYER0_V4_Q": the constant that is the offset of a value's buffer. */
const char *emit_buffer_name(const Emit *e, const Value *v);
bool emit_is_activation(const Value *v);
/* A float row, as opposed to codes, a tile or the cache. */
bool emit_is_row(const Value *v);
const Kernel *emit_kernel_of(const Emit *e, const Value *v);
/* A phase that each worker repeats for itself when there is one row. */
bool emit_phase_repeats(const Emit *e, int phase);
/* "layer0_1_q_k_v": the unit, the kernel's number, its tensors and ops. */
const char *emit_kernel_name(const Emit *e, const Kernel *k);
/* "i4g32m_a16_k576": weights, activations, columns. */
const char *emit_linear_name(Arena *a, Format w, const Value *act);
const char *emit_weight_fields(Arena *a, Format f, uint32_t k);
const char *emit_float(Arena *a, float v);
/* The C expression of operand v's row t: from its buffer, or the local row of this kernel. */
const char *emit_row_expression(const Emit *e, const Kernel *k, const Value *v);
const char *emit_constant_expression(const Emit *e, const Kernel *k, int role);
/* The two arguments of rope_row: the angles of row t, by the base of v's layer. */
const char *emit_rope_tables(const Value *v);
void emit_rope(const Emit *e, const Value *v, const char *from, const char *to);
/* One op of a rows kernel on row t. */
void emit_row_op(const Emit *e, const Kernel *k, const Value *v);
const char *emit_words(const Emit *e, const Kernel *k);
/* Floats of scratch: rows that no other kernel reads, and what transforms work in. */
uint64_t emit_rows_scratch(const Emit *e, const Kernel *k);
/* Names the rows of a kernel's values: in their buffers of `to`, or in scratch. */
void emit_row_names(const Emit *e, const Kernel *k);
/* What stands in front of a kernel: the parts of its tiles, the functions of its transforms. */
void emit_kernel_parts(const Emit *e, const Kernel *k);
void emit_rows_kernel(const Emit *e, const Kernel *k);
void emit_linear_kernel(const Emit *e, const Kernel *k);
void emit_kv_kernel(const Emit *e, const Kernel *k);
void emit_attention_kernel(const Emit *e, const Kernel *k);

#endif
