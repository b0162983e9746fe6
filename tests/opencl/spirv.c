/* SPIR-V read: types, constants, variables, and instructions with the registers of their values. */
#include "spirv.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAGIC = 0x07230203, HEADER_WORDS = 5, BUILTIN_COMPONENTS = 3 };

void
spirv_fail(const char *format, ...)
{
	va_list a;
	va_start(a, format);
	fputs("the interpreter of SPIR-V: ", stderr);
	vfprintf(stderr, format, a);
	va_end(a);
	fputc('\n', stderr);
	exit(3);
}

static void *
zeroed(size_t n, size_t bytes)
{
	void *p = calloc(n ? n : 1, bytes);
	if (!p)
		spirv_fail("out of memory");
	return p;
}

/* Memory as devices align it. */
static uint8_t *
aligned(size_t bytes)
{
	const size_t room = (bytes / 128 + 1) * 128;
	uint8_t *p = aligned_alloc(128, room);
	if (!p)
		spirv_fail("out of memory");
	return memset(p, 0, room);
}

static uint32_t
id_of(const Module *m, uint32_t id)
{
	if (id >= m->bound)
		spirv_fail("id %u of %u", id, m->bound);
	return id;
}

/* ---- types and constants ------------------------------------------------------------------- */

static void
read_type(Module *m, uint32_t op, const uint32_t *w, uint32_t n)
{
	Type *t = &m->types[id_of(m, w[1])];
	t->count = 1;
	switch (op) {
	case OP_TYPE_BOOL:
		*t = (Type){TYPE_BOOL, 1, 1, 0, 0, 0};
		break;
	case OP_TYPE_INT:
	case OP_TYPE_FLOAT:
		*t = (Type){op == OP_TYPE_INT ? TYPE_INT : TYPE_FLOAT, w[2], 1, 0, 0, w[2] / 8};
		if (op == OP_TYPE_FLOAT && w[2] != 32)
			spirv_fail("a float of %u bits", w[2]);
		break;
	case OP_TYPE_VECTOR:
		*t = (Type){TYPE_VECTOR, m->types[w[2]].width, w[3], w[2], 0, 0};
		t->bytes = m->types[w[2]].bytes * (w[3] == 3 ? 4 : w[3]);
		if (w[3] > COMPONENTS_MAX)
			spirv_fail("a vector of %u", w[3]);
		break;
	case OP_TYPE_ARRAY:
		*t = (Type){TYPE_ARRAY, 0, m->definitions[id_of(m, w[3])][3], w[2], 0, 0};
		t->bytes = m->types[w[2]].bytes * t->count;
		break;
	case OP_TYPE_POINTER:
		*t = (Type){TYPE_POINTER, 64, 1, w[3], w[2], 8};
		break;
	case OP_TYPE_FUNCTION:
		*t = (Type){TYPE_FUNCTION, 0, n - 3, w[2], 0, 0};
		break;
	default:
		t->kind = TYPE_VOID;
	}
}

/* Registers of a value: a component each. Arrays lie in memory only. */
static uint32_t
components(const Type *t)
{
	return t->kind == TYPE_VECTOR ? t->count : t->kind == TYPE_ARRAY ? 0 : 1;
}

static void
new_value(Module *m, uint32_t type, uint32_t id)
{
	const Type *t = &m->types[id_of(m, type)];
	m->type_of[id_of(m, id)] = type;
	m->registers[id] = (int64_t)m->n_registers * LANES;
	m->n_registers += components(t);
}

/* The bytes of a constant. */
static void
constant_bytes(const Module *m, uint32_t id, uint8_t *to)
{
	const uint32_t *w = m->definitions[id_of(m, id)];
	const uint32_t op = w[0] & 0xffff;
	const Type *t = &m->types[w[1]];
	memset(to, 0, t->bytes);
	if (op == OP_CONSTANT) {
		memcpy(to, w + 3, t->bytes);
	} else if (op == OP_CONSTANT_COMPOSITE) {
		for (uint32_t i = 0; i < t->count; i++)
			constant_bytes(m, w[3 + i], to + i * m->types[t->element].bytes);
	} else if (op != OP_CONSTANT_NULL && op != OP_UNDEF) {
		spirv_fail("operation %u in front of the functions", op);
	}
}

static void
fix_constant(Module *m, uint32_t id)
{
	const uint32_t *w = m->definitions[id];
	const Type *t = &m->types[w[1]], *e = t->kind == TYPE_VECTOR ? &m->types[t->element] : t;
	uint8_t bytes[8 * COMPONENTS_MAX] = {0};
	if (t->kind == TYPE_ARRAY)
		return;
	if (t->kind == TYPE_BOOL)
		bytes[0] = (w[0] & 0xffff) == OP_CONSTANT_TRUE;
	else
		constant_bytes(m, id, bytes);
	for (uint32_t c = 0; c < components(t); c++) {
		uint64_t v = 0;
		memcpy(&v, bytes + c * e->bytes, e->kind == TYPE_BOOL ? 1 : e->bytes);
		for (int l = 0; l < LANES; l++)
			m->fixed[m->registers[id] + c * LANES + l] = v;
	}
}

/* Variables: tables of constants, local and private memory; of a private one the offset. */
static void
place_variable(Region *r, const Type *t, uint64_t *at)
{
	r->bytes = (r->bytes + 63) / 64 * 64;
	*at = r->bytes;
	r->bytes += t->bytes;
}

static void
fix_variables(Module *m)
{
	uint64_t *at = zeroed(m->bound, sizeof *at);
	for (int pass = 0; pass < 2; pass++) {
		if (pass) {
			m->constants.start = aligned(m->constants.bytes);
			m->constants.constant = true;
			m->local.start = aligned(m->local.bytes);
		}
		for (uint32_t id = 0; id < m->bound; id++) {
			const uint32_t *w = m->definitions[id];
			if (!w || (w[0] & 0xffff) != OP_VARIABLE || w[3] == STORAGE_INPUT)
				continue;
			const Type *t = &m->types[m->types[w[1]].element];
			Region *r = w[3] == STORAGE_CONSTANT  ? &m->constants
				    : w[3] == STORAGE_LOCAL   ? &m->local
				    : w[3] == STORAGE_PRIVATE ? &m->priv
							      : NULL;
			if (!r)
				spirv_fail("a variable in storage %u", w[3]);
			if (!pass) {
				place_variable(r, t, &at[id]);
				continue;
			}
			if (r == &m->constants && w[0] >> 16 == 5)
				constant_bytes(m, w[4], r->start + at[id]);
			for (int l = 0; l < LANES; l++)
				m->fixed[m->registers[id] + l] =
					(uint64_t)(uintptr_t)r->start + at[id];
		}
	}
	free(at);
}

/* ---- instructions -------------------------------------------------------------------------- */

/* Whether operations have a type and a result in front. */
static bool
has_result(uint32_t op)
{
	switch (op) {
	case OP_STORE:
	case OP_COPY_MEMORY_SIZED:
	case OP_CONTROL_BARRIER:
	case OP_MEMORY_BARRIER:
	case OP_LOOP_MERGE:
	case OP_SELECTION_MERGE:
	case OP_LABEL:
	case OP_BRANCH:
	case OP_BRANCH_CONDITIONAL:
	case OP_SWITCH:
	case OP_RETURN:
	case OP_UNREACHABLE:
	case OP_LIFETIME_START:
	case OP_LIFETIME_STOP:
	case OP_BLOCK_WRITE:
	case OP_FUNCTION_END:
		return false;
	default:
		return true;
	}
}

static int64_t
operand(const Module *m, const Instruction *i, uint32_t word)
{
	if (word >= i->n_words || i->words[word] >= m->bound)
		return -1;
	return m->registers[i->words[word]];
}

static void
read_header(Module *m, uint32_t op, const uint32_t *w)
{
	if (op == OP_ENTRY_POINT)
		m->names[id_of(m, w[2])] = (const char *)(w + 3);
	else if (op == OP_NAME && !m->names[id_of(m, w[1])])
		m->names[w[1]] = (const char *)(w + 2);
	else if (op == OP_EXT_INST_IMPORT)
		m->ext = w[1];
	else if (op == OP_DECORATE && w[2] == DECORATION_BUILTIN)
		m->builtins[id_of(m, w[1])] = w[3] + 1;
	else if (op == OP_EXECUTION_MODE && w[2] == MODE_SUB_GROUP_SIZE && w[3] != LANES)
		spirv_fail("sub-groups of %u", w[3]);
	else if (op == OP_EXECUTION_MODE && w[2] == MODE_LOCAL_SIZE)
		m->local_sizes[id_of(m, w[1])] = w[3] * w[4] * w[5];
}

static void
read_body(Module *m, uint32_t op, const uint32_t *w)
{
	Function *f = &m->functions[m->n_functions - (m->n_functions > 0)];
	if (op == OP_FUNCTION) {
		f = &m->functions[m->n_functions++];
		*f = (Function){.id = w[2], .first = m->n_code, .local_size = m->local_sizes[w[2]]};
		return;
	}
	if (op == OP_FUNCTION_PARAMETER) {
		if (f->n_parameters == PARAMETERS_MAX)
			spirv_fail("more than %d parameters", PARAMETERS_MAX);
		f->parameters[f->n_parameters++] = w[2];
		return;
	}
	if (op == OP_FUNCTION_END)
		f->end = m->n_code;
	else if (op == OP_LABEL)
		m->labels[id_of(m, w[1])] = m->n_code;
	else
		m->code[m->n_code++] = (Instruction){.words = w, .op = op, .n_words = w[0] >> 16};
}

static void
read_words(Module *m)
{
	bool body = false;
	for (uint32_t at = HEADER_WORDS; at < m->n_words;) {
		const uint32_t *w = m->words + at, op = w[0] & 0xffff, n = w[0] >> 16;
		if (!n || n > m->n_words - at)
			spirv_fail("an instruction of %u words at word %u", n, at);
		at += n;
		if (op == OP_FUNCTION && !body)
			m->n_fixed = m->n_registers;
		body |= op == OP_FUNCTION;
		if (op >= OP_TYPE_VOID && op <= OP_TYPE_FUNCTION)
			read_type(m, op, w, n);
		else if (!body && (op < OP_CONSTANT_TRUE || op == OP_DECORATE))
			read_header(m, op, w);
		else if (!body || has_result(op)) {
			m->definitions[id_of(m, w[2])] = w;
			new_value(m, w[1], w[2]);
		}
		if (body)
			read_body(m, op, w);
	}
}

/* Registers of operands; where branches go. */
static void
link_code(Module *m)
{
	for (uint32_t k = 0; k < m->n_code; k++) {
		Instruction *i = &m->code[k];
		const bool result = has_result(i->op);
		const uint32_t first = result ? 3 : 1;
		i->to = -1;
		if (result) {
			i->type = i->words[1];
			i->result = i->words[2];
			i->to = m->registers[i->result];
		}
		/* In front of its operands an instruction of OpenCL.std has a set and a number. */
		const uint32_t from = i->op == OP_EXT_INST ? 5 : first;
		i->x = operand(m, i, from);
		i->y = operand(m, i, from + 1);
		i->z = operand(m, i, from + 2);
	}
}

Module *
spirv_read(const void *words, size_t bytes)
{
	Module *m = zeroed(1, sizeof *m);
	m->n_words = (uint32_t)(bytes / 4);
	m->words = zeroed(m->n_words, 4);
	memcpy(m->words, words, bytes / 4 * 4);
	if (m->n_words < HEADER_WORDS || m->words[0] != MAGIC || m->words[3] > m->n_words)
		spirv_fail("no SPIR-V");
	m->bound = m->words[3];
	m->types = zeroed(m->bound, sizeof *m->types);
	m->definitions = zeroed(m->bound, sizeof *m->definitions);
	m->names = zeroed(m->bound, sizeof *m->names);
	m->builtins = zeroed(m->bound, sizeof *m->builtins);
	m->type_of = zeroed(m->bound, sizeof *m->type_of);
	m->registers = zeroed(m->bound, sizeof *m->registers);
	m->local_sizes = zeroed(m->bound, sizeof *m->local_sizes);
	m->labels = zeroed(m->bound, sizeof *m->labels);
	m->code = zeroed(m->n_words, sizeof *m->code);
	m->functions = zeroed(m->n_words, sizeof *m->functions);
	for (uint32_t id = 0; id < m->bound; id++)
		m->registers[id] = -1;
	read_words(m);
	link_code(m);
	m->fixed = zeroed((size_t)m->n_registers * LANES, sizeof *m->fixed);
	for (uint32_t id = 0; id < m->bound; id++) {
		const uint32_t *w = m->definitions[id], op = w ? w[0] & 0xffff : 0;
		if (op >= OP_CONSTANT_TRUE && op <= OP_CONSTANT_NULL)
			fix_constant(m, id);
	}
	fix_variables(m);
	return m;
}

void
spirv_free(Module *m)
{
	if (!m)
		return;
	void *const parts[] = {m->words,       m->types,      m->definitions, m->names,
			       m->builtins,    m->type_of,    m->registers,   m->labels,
			       m->code,	       m->functions,  m->fixed,	      m->constants.start,
			       m->local.start, m->local_sizes};
	for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
		free(parts[i]);
	free(m);
}

const Function *
spirv_entry(const Module *m, const char *name)
{
	for (uint32_t i = 0; i < m->n_functions; i++) {
		const Function *f = &m->functions[i];
		if (f->end > f->first && m->names[f->id] && !strcmp(m->names[f->id], name))
			return f;
	}
	return NULL;
}
