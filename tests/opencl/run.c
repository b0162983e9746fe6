/* SPIR-V run: work-groups one after the other, the sub-groups of one in turn from barrier to
 * barrier. */
#include "spirv.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PHIS_MAX = 512, ALL = (1 << LANES) - 1 };
typedef enum State { RUNNING, AT_BARRIER, DONE } State;
typedef enum Next {
	NEXT,
	MOVED,
	STOPPED
} Next; /* of an instruction: lanes went elsewhere, or wait */

typedef struct Group {
	const Module *m;
	const Function *f;
	const Region *buffers;
	int n_buffers;
	uint64_t global[3], local[3], id[3]; /* sizes in work-items, place of the group */
} Group;

typedef struct SubGroup {
	const Group *group;
	uint32_t number;
	State state;
	unsigned live, waiting;		 /* lanes */
	uint32_t at[LANES], from[LANES]; /* instruction; label of the block before */
	uint64_t *r;
	uint8_t *priv;
} SubGroup;

#define LANE(l, mask)                   \
	for (int l = 0; l < LANES; l++) \
		if ((mask) >> l & 1)

static _Noreturn void
fail_at(const SubGroup *s, const Instruction *i, const char *what)
{
	const Module *m = s->group->m;
	spirv_fail("%s, operation %u at word %u, group %llu %llu, sub-group %u: %s",
		   m->names[s->group->f->id], i->op, (unsigned)(i->words - m->words),
		   (unsigned long long)s->group->id[0], (unsigned long long)s->group->id[1],
		   s->number, what);
}

/* ---- memory -------------------------------------------------------------------------------- */

static bool
inside(const Region *r, uint64_t at, size_t bytes, bool write)
{
	const uint64_t start = (uint64_t)(uintptr_t)r->start;
	return at >= start && bytes <= r->bytes && at - start <= r->bytes - bytes &&
	       !(write && r->constant);
}

static uint8_t *
memory(const SubGroup *s, const Instruction *i, uint64_t at, size_t bytes, uint32_t align,
       bool write)
{
	const Group *g = s->group;
	const Region own = {s->priv, g->m->priv.bytes * LANES, false};
	bool found = inside(&g->m->local, at, bytes, write) ||
		     inside(&g->m->constants, at, bytes, write) || inside(&own, at, bytes, write);
	for (int k = 0; k < g->n_buffers && !found; k++)
		found = inside(&g->buffers[k], at, bytes, write);
	if (!found)
		fail_at(s, i,
			write ? "a write outside of the buffers" : "a read outside of the buffers");
	if (align > 1 && at % align)
		fail_at(s, i, "an address that is not aligned");
	return (uint8_t *)(uintptr_t)at;
}

/* Alignment that an access says behind word n. */
static uint32_t
aligned(const Instruction *i, uint32_t n)
{
	return i->n_words > n + 1 && i->words[n] & 2 ? i->words[n + 1] : 1;
}

static uint64_t
builtin(const SubGroup *s, uint32_t which, uint32_t c, int lane)
{
	const Group *g = s->group;
	const uint64_t item = s->number * LANES + (uint64_t)lane;
	const uint64_t x = item % g->local[0], y = item / g->local[0] % g->local[1];
	const uint64_t local[3] = {x, y, item / g->local[0] / g->local[1]};
	switch (which) {
	case BUILTIN_GROUPS:
		return g->global[c] / g->local[c];
	case BUILTIN_GROUP_SIZE:
		return g->local[c];
	case BUILTIN_GROUP_ID:
		return g->id[c];
	case BUILTIN_LOCAL_ID:
		return local[c];
	case BUILTIN_GLOBAL_ID:
		return g->id[c] * g->local[c] + local[c];
	case BUILTIN_SUB_GROUP_SIZE:
		return LANES;
	case BUILTIN_SUB_GROUPS:
		return g->local[0] * g->local[1] * g->local[2] / LANES;
	case BUILTIN_SUB_GROUP_ID:
		return s->number;
	case BUILTIN_LANE:
		return (uint64_t)lane;
	default:
		spirv_fail("built-in value %u", which);
	}
}

static void
load(SubGroup *s, const Instruction *i, unsigned mask)
{
	const Module *m = s->group->m;
	const Type *t = &m->types[i->type], *e = t->kind == TYPE_VECTOR ? &m->types[t->element] : t;
	const uint32_t which = m->builtins[i->words[3]], align = aligned(i, 4);
	uint64_t *to = s->r + i->to;
	LANE(l, mask)
	{
		const uint8_t *p =
			which ? NULL
			      : memory(s, i, s->r[i->x + l], e->bytes * t->count, align, false);
		for (uint32_t c = 0; c < t->count; c++) {
			uint64_t v = 0;
			if (which)
				v = builtin(s, which - 1, c, l);
			else
				memcpy(&v, p + c * e->bytes, e->bytes);
			to[c * LANES + (uint32_t)l] = v;
		}
	}
}

static void
store(SubGroup *s, const Instruction *i, unsigned mask)
{
	const Module *m = s->group->m;
	const Type *t = &m->types[m->type_of[i->words[2]]];
	const Type *e = t->kind == TYPE_VECTOR ? &m->types[t->element] : t;
	const uint32_t align = aligned(i, 3);
	LANE(l, mask)
	{
		uint8_t *p = memory(s, i, s->r[i->x + l], e->bytes * t->count, align, true);
		for (uint32_t c = 0; c < t->count; c++)
			memcpy(p + c * e->bytes, &s->r[i->y + c * LANES + l], e->bytes);
	}
}

static int64_t
sign(uint64_t v, uint32_t width)
{
	return width >= 64 ? (int64_t)v : (int64_t)(v << (64 - width)) >> (64 - width);
}

/* Indices step over what the pointer points at, then into arrays and vectors. */
static void
chain(SubGroup *s, const Instruction *i, unsigned mask)
{
	const Module *m = s->group->m;
	const bool steps = i->op >= OP_PTR_ACCESS_CHAIN;
	const Type *t = &m->types[m->types[m->type_of[i->words[3]]].element];
	uint64_t at[LANES];
	memcpy(at, s->r + i->x, sizeof at);
	for (uint32_t k = 4; k < i->n_words; k++) {
		const uint64_t *index = s->r + m->registers[i->words[k]];
		const uint32_t width = m->types[m->type_of[i->words[k]]].width;
		if (k > 4 || !steps)
			t = &m->types[t->element];
		for (int l = 0; l < LANES; l++)
			at[l] += (uint64_t)sign(index[l], width) * t->bytes;
	}
	LANE(l, mask)
	s->r[i->to + l] = at[l];
}

/* ---- values -------------------------------------------------------------------------------- */

static float
as_float(uint64_t v)
{
	const uint32_t u = (uint32_t)v;
	float f;
	memcpy(&f, &u, sizeof f);
	return f;
}

static uint64_t
as_bits(float f)
{
	uint32_t u;
	memcpy(&u, &f, sizeof u);
	return u;
}

#define EACH(value)                       \
	for (int l = 0; l < LANES; l++)   \
		t[l] = (uint64_t)(value); \
	return true
#define A(l) sign(a[l], width)
#define B(l) sign(b[l], width)
#define FA(l) as_float(a[l])
#define FB(l) as_float(b[l])

/* width: of the first operand. Division by zero, of lanes that are not there, gives 0. */
static bool
integers(uint32_t op, uint32_t width, const uint64_t *a, const uint64_t *b, uint64_t *t)
{
	switch (op) {
	case OP_S_NEGATE:
		EACH(0 - a[l]);
	case OP_NOT:
		EACH(~a[l]);
	case OP_I_ADD:
		EACH(a[l] + b[l]);
	case OP_I_SUB:
		EACH(a[l] - b[l]);
	case OP_I_MUL:
		EACH(a[l] * b[l]);
	case OP_U_DIV:
		EACH(b[l] ? a[l] / b[l] : 0);
	case OP_U_MOD:
		EACH(b[l] ? a[l] % b[l] : 0);
	case OP_S_DIV:
		EACH(b[l] ? A(l) / B(l) : 0);
	case OP_S_REM:
		EACH(b[l] ? A(l) % B(l) : 0);
	case OP_SHIFT_RIGHT_LOGICAL:
		EACH(a[l] >> (b[l] & (width - 1)));
	case OP_SHIFT_RIGHT_ARITHMETIC:
		EACH(A(l) >> (b[l] & (width - 1)));
	case OP_SHIFT_LEFT_LOGICAL:
		EACH(a[l] << (b[l] & (width - 1)));
	case OP_BITWISE_OR:
	case OP_LOGICAL_OR:
		EACH(a[l] | b[l]);
	case OP_LOGICAL_NOT_EQUAL:
	case OP_BITWISE_XOR:
		EACH(a[l] ^ b[l]);
	case OP_LOGICAL_AND:
	case OP_BITWISE_AND:
		EACH(a[l] & b[l]);
	case OP_LOGICAL_NOT:
		EACH(!a[l]);
	case OP_LOGICAL_EQUAL:
	case OP_I_EQUAL:
		EACH(a[l] == b[l]);
	case OP_I_NOT_EQUAL:
		EACH(a[l] != b[l]);
	case OP_U_GREATER:
		EACH(a[l] > b[l]);
	case OP_S_GREATER:
		EACH(A(l) > B(l));
	case OP_U_GREATER_EQUAL:
		EACH(a[l] >= b[l]);
	case OP_S_GREATER_EQUAL:
		EACH(A(l) >= B(l));
	case OP_U_LESS:
		EACH(a[l] < b[l]);
	case OP_S_LESS:
		EACH(A(l) < B(l));
	case OP_U_LESS_EQUAL:
		EACH(a[l] <= b[l]);
	case OP_S_LESS_EQUAL:
		EACH(A(l) <= B(l));
	case OP_U_CONVERT:
	case OP_CONVERT_PTR_TO_U:
	case OP_CONVERT_U_TO_PTR:
	case OP_PTR_CAST_TO_GENERIC:
	case OP_GENERIC_CAST_TO_PTR:
		EACH(a[l]);
	case OP_S_CONVERT:
		EACH(A(l));
	default:
		return false;
	}
}

static bool
floats(uint32_t op, uint32_t width, const uint64_t *a, const uint64_t *b, uint64_t *t)
{
	switch (op) {
	case OP_F_NEGATE:
		EACH(a[l] ^ 0x80000000u);
	case OP_F_ADD:
		EACH(as_bits(FA(l) + FB(l)));
	case OP_F_SUB:
		EACH(as_bits(FA(l) - FB(l)));
	case OP_F_MUL:
		EACH(as_bits(FA(l) * FB(l)));
	case OP_CONVERT_S_TO_F:
		EACH(as_bits((float)A(l)));
	case OP_CONVERT_U_TO_F:
		EACH(as_bits((float)a[l]));
	case OP_CONVERT_F_TO_S:
		EACH(fabsf(FA(l)) < 0x1p63f ? (int64_t)FA(l) : INT64_MIN);
	case OP_F_ORD_EQUAL:
		EACH(FA(l) == FB(l));
	case OP_F_UNORD_EQUAL:
		EACH(!(FA(l) < FB(l) || FA(l) > FB(l)));
	case OP_F_ORD_NOT_EQUAL:
		EACH(FA(l) < FB(l) || FA(l) > FB(l));
	case OP_F_UNORD_NOT_EQUAL:
		EACH(FA(l) != FB(l));
	case OP_F_ORD_LESS:
		EACH(FA(l) < FB(l));
	case OP_F_UNORD_LESS:
		EACH(!(FA(l) >= FB(l)));
	case OP_F_ORD_GREATER:
		EACH(FA(l) > FB(l));
	case OP_F_UNORD_GREATER:
		EACH(!(FA(l) <= FB(l)));
	case OP_F_ORD_LESS_EQUAL:
		EACH(FA(l) <= FB(l));
	case OP_F_UNORD_LESS_EQUAL:
		EACH(!(FA(l) > FB(l)));
	case OP_F_ORD_GREATER_EQUAL:
		EACH(FA(l) >= FB(l));
	case OP_F_UNORD_GREATER_EQUAL:
		EACH(!(FA(l) < FB(l)));
	default:
		return false;
	}
}

/* Dot products of four bytes; signed or not, first and second. */
static uint64_t
dot(uint64_t a, uint64_t b, bool sa, bool sb)
{
	int64_t sum = 0;
	for (int k = 0; k < 4; k++) {
		const uint64_t x = a >> 8 * k & 255, y = b >> 8 * k & 255;
		sum += (sa ? sign(x, 8) : (int64_t)x) * (sb ? sign(y, 8) : (int64_t)y);
	}
	return (uint64_t)sum;
}

/* v as an integer of 32 bits, or the nearest of them. */
static int64_t
saturated(int64_t v)
{
	return v < INT32_MIN ? INT32_MIN : v > INT32_MAX ? INT32_MAX : v;
}

static int
leading_zeros(uint64_t v, uint32_t width)
{
	int n = 0;
	while (n < (int)width && !(v >> (width - 1 - (uint32_t)n) & 1))
		n++;
	return n;
}

static bool
functions(const Instruction *i, uint32_t width, const uint64_t *a, const uint64_t *b,
	  const uint64_t *c, uint64_t *t)
{
	switch (i->words[4]) {
	case STD_FABS:
		EACH(a[l] & 0x7fffffffu);
	case STD_FMA:
		EACH(as_bits(fmaf(FA(l), FB(l), as_float(c[l]))));
	case STD_FMAX:
		EACH(as_bits(fmaxf(FA(l), FB(l))));
	case STD_FMIN:
		EACH(as_bits(fminf(FA(l), FB(l))));
	case STD_RINT:
		EACH(as_bits(rintf(FA(l))));
	case STD_S_ABS:
		EACH(A(l) < 0 ? -A(l) : A(l));
	case STD_CLZ:
		EACH(leading_zeros(a[l], width));
	case STD_S_MAX:
		EACH(A(l) > B(l) ? A(l) : B(l));
	case STD_U_MAX:
		EACH(a[l] > b[l] ? a[l] : b[l]);
	case STD_S_MIN:
		EACH(A(l) < B(l) ? A(l) : B(l));
	case STD_U_MIN:
		EACH(a[l] < b[l] ? a[l] : b[l]);
	default:
		return false;
	}
}

static bool
dots(uint32_t op, const uint64_t *a, const uint64_t *b, const uint64_t *c, uint64_t *t)
{
	switch (op) {
	case OP_S_DOT:
		EACH(dot(a[l], b[l], true, true));
	case OP_U_DOT:
		EACH(dot(a[l], b[l], false, false));
	case OP_SU_DOT:
		EACH(dot(a[l], b[l], true, false));
	case OP_SU_DOT_SATURATED:
		EACH(saturated((int64_t)dot(a[l], b[l], true, false) + sign(c[l], 32)));
	default:
		return false;
	}
}

/* An operation on each component; what it has more than the result's width is cut off. */
static void
compute(SubGroup *s, const Instruction *i, unsigned mask)
{
	static const uint64_t none[LANES];
	const Module *m = s->group->m;
	const Type *to = &m->types[i->type];
	const uint64_t cut = to->width >= 64 ? UINT64_MAX : ((uint64_t)1 << to->width) - 1;
	const uint32_t from = i->words[i->op == OP_EXT_INST ? 5 : 3];
	const uint32_t width = m->types[m->type_of[from]].width;
	for (uint32_t c = 0; c < to->count; c++) {
		const uint64_t *a = s->r + i->x + c * LANES;
		const uint64_t *b = i->y < 0 ? none : s->r + i->y + c * LANES;
		const uint64_t *z = i->z < 0 ? none : s->r + i->z + c * LANES;
		uint64_t t[LANES], *r = s->r + i->to + c * LANES;
		const bool known = i->op == OP_EXT_INST ? functions(i, width, a, b, z, t)
							: integers(i->op, width, a, b, t) ||
								  floats(i->op, width, a, b, t) ||
								  dots(i->op, a, b, z, t);
		if (!known)
			fail_at(s, i, "an operation that is not known");
		for (int l = 0; l < LANES; l++)
			r[l] = mask >> l & 1 ? t[l] & cut : r[l];
	}
}

/* Bits of one shape as another; lanes at a time. */
static void
bitcast(SubGroup *s, const Instruction *i, unsigned mask)
{
	const Module *m = s->group->m;
	const Type *to = &m->types[i->type], *from = &m->types[m->type_of[i->words[3]]];
	LANE(l, mask)
	{
		uint8_t bytes[8 * COMPONENTS_MAX] = {0};
		for (uint32_t c = 0; c < from->count; c++)
			memcpy(bytes + c * from->width / 8, &s->r[i->x + c * LANES + l],
			       from->width / 8);
		for (uint32_t c = 0; c < to->count; c++) {
			uint64_t v = 0;
			memcpy(&v, bytes + c * to->width / 8, to->width / 8);
			s->r[i->to + c * LANES + l] = v;
		}
	}
}

/* Components taken out, put in, gathered, chosen. */
static bool
shape(SubGroup *s, const Instruction *i, unsigned mask)
{
	const Module *m = s->group->m;
	const Type *t = &m->types[i->type];
	uint64_t *to = s->r + i->to;
	for (uint32_t c = 0, at = 3; c < t->count; c++)
		LANE(l, mask)
		{
			const uint64_t *x = s->r + i->x + l, *y = s->r + i->y + l;
			uint64_t v = 0;
			if (i->op == OP_COMPOSITE_EXTRACT) {
				v = x[i->words[4] * LANES];
			} else if (i->op == OP_COMPOSITE_INSERT) {
				v = c == i->words[5] ? *x : y[c * LANES];
			} else if (i->op == OP_COMPOSITE_CONSTRUCT) {
				v = s->r[m->registers[i->words[at + c]] + l];
			} else if (i->op == OP_VECTOR_EXTRACT_DYNAMIC) {
				v = x[*y * LANES];
			} else if (i->op == OP_VECTOR_INSERT_DYNAMIC) {
				v = s->r[i->z + l] == c ? *y : x[c * LANES];
			} else if (i->op == OP_VECTOR_SHUFFLE) {
				const uint32_t k = i->words[5 + c];
				const uint32_t n = m->types[m->type_of[i->words[3]]].count;
				v = k < n ? x[k * LANES] : k - n < 16 ? y[(k - n) * LANES] : 0;
			} else if (i->op == OP_SELECT) {
				v = *x ? y[c * LANES] : s->r[i->z + c * LANES + l];
			} else {
				return false;
			}
			to[c * LANES + (uint32_t)l] = v;
		}
	return true;
}

/* ---- what lanes do together ------------------------------------------------------------------ */

static void
shuffle(SubGroup *s, const Instruction *i)
{
	uint64_t t[LANES];
	for (int l = 0; l < LANES; l++) {
		const uint64_t n = s->r[i->y + l];
		const uint64_t from = i->op == OP_SHUFFLE_XOR ? (uint64_t)l ^ n : n;
		if (from >= LANES)
			fail_at(s, i, "a lane that is not there");
		t[l] = s->r[i->x + (int64_t)from];
	}
	memcpy(s->r + i->to, t, sizeof t);
}

/* Component c of lane l is number c * LANES + l of the block at lane 0's address. */
static void
block(SubGroup *s, const Instruction *i)
{
	const Module *m = s->group->m;
	const bool write = i->op == OP_BLOCK_WRITE;
	const Type *t = &m->types[write ? m->type_of[i->words[2]] : i->type];
	const size_t bytes = t->width / 8;
	for (int l = 1; l < LANES; l++)
		if (s->r[i->x + l] != s->r[i->x])
			fail_at(s, i, "a block at an address for each lane");
	/* Reads want 4 bytes, writes 16. */
	uint8_t *p = memory(s, i, s->r[i->x], bytes * t->count * LANES, write ? 16 : 4, write);
	for (uint32_t k = 0; k < t->count * LANES; k++)
		if (write) {
			memcpy(p + k * bytes, &s->r[i->y + k], bytes);
		} else {
			uint64_t v = 0;
			memcpy(&v, p + k * bytes, bytes);
			s->r[i->to + k] = v;
		}
}

static bool
is_collective(const Instruction *i)
{
	return i->op == OP_SHUFFLE || i->op == OP_SHUFFLE_XOR || i->op == OP_BLOCK_READ ||
	       i->op == OP_BLOCK_WRITE || i->op == OP_CONTROL_BARRIER || i->op == OP_FUNCTION_CALL;
}

/* Of all lanes. Calls are of functions without a body: the sub-group's barrier. */
static Next
collective(SubGroup *s, const Instruction *i)
{
	const Module *m = s->group->m;
	if (s->live != ALL)
		fail_at(s, i, "lanes that have returned are wanted");
	if (i->op == OP_SHUFFLE || i->op == OP_SHUFFLE_XOR) {
		shuffle(s, i);
	} else if (i->op == OP_BLOCK_READ || i->op == OP_BLOCK_WRITE) {
		block(s, i);
	} else if (i->op == OP_CONTROL_BARRIER) {
		/* Scope 2 is the work-group, 3 the sub-group. */
		if (s->r[m->registers[i->words[1]]] != 2)
			return NEXT;
		s->state = AT_BARRIER;
		return STOPPED;
	} else if (!m->names[i->words[3]] ||
		   strcmp(m->names[i->words[3]], "_Z17sub_group_barrierj")) {
		fail_at(s, i, "a call");
	}
	return NEXT;
}

/* ---- control ------------------------------------------------------------------------------- */

static void
go(SubGroup *s, int lane, uint32_t label, uint32_t from)
{
	s->at[lane] = s->group->m->labels[label];
	s->from[lane] = from;
}

/* All phis of a block at once; returns how many. */
static uint32_t
phis(SubGroup *s, const Instruction *i, unsigned mask)
{
	uint64_t t[PHIS_MAX][LANES];
	uint32_t n = 0;
	for (; i[n].op == OP_PHI; n++) {
		if (n == PHIS_MAX)
			fail_at(s, i, "too many phis");
		LANE(l, mask)
		{
			uint32_t k = 3;
			while (k + 1 < i[n].n_words && i[n].words[k + 1] != s->from[l])
				k += 2;
			if (k + 1 >= i[n].n_words)
				fail_at(s, &i[n], "a block that does not lead here");
			t[n][l] = s->r[s->group->m->registers[i[n].words[k]] + l];
		}
	}
	for (uint32_t k = 0; k < n; k++) {
		if (s->group->m->types[i[k].type].count != 1)
			fail_at(s, &i[k], "a phi of vectors");
		LANE(l, mask)
		s->r[i[k].to + l] = t[k][l];
	}
	return n;
}

static Next
control(SubGroup *s, const Instruction *i, unsigned mask, uint32_t label)
{
	const Module *m = s->group->m;
	const uint32_t *w = i->words;
	switch (i->op) {
	case OP_BRANCH:
		LANE(l, mask)
		go(s, l, w[1], label);
		return MOVED;
	case OP_BRANCH_CONDITIONAL:
		LANE(l, mask)
		go(s, l, s->r[i->x + l] ? w[2] : w[3], label);
		return MOVED;
	case OP_SWITCH: {
		const uint32_t width = m->types[m->type_of[w[1]]].width > 32 ? 2 : 1;
		LANE(l, mask)
		{
			uint32_t to = w[2];
			for (uint32_t k = 3; k + width < i->n_words; k += width + 1) {
				uint64_t v = w[k];
				if (width == 2)
					v |= (uint64_t)w[k + 1] << 32;
				if (v == s->r[i->x + l])
					to = w[k + width];
			}
			go(s, l, to, label);
		}
		return MOVED;
	}
	case OP_RETURN:
		s->live &= ~mask;
		return MOVED;
	case OP_UNREACHABLE:
		fail_at(s, i, "what is never reached was reached");
	default:
		return NEXT;
	}
}

static Next
step(SubGroup *s, const Instruction *i, unsigned mask, uint32_t label)
{
	switch (i->op) {
	case OP_LOAD:
		load(s, i, mask);
		return NEXT;
	case OP_STORE:
		store(s, i, mask);
		return NEXT;
	case OP_ACCESS_CHAIN:
	case OP_IN_BOUNDS_ACCESS_CHAIN:
	case OP_PTR_ACCESS_CHAIN:
	case OP_IN_BOUNDS_PTR_ACCESS_CHAIN:
		chain(s, i, mask);
		return NEXT;
	case OP_BITCAST:
		bitcast(s, i, mask);
		return NEXT;
	case OP_VARIABLE:
		LANE(l, mask)
		s->r[i->to + l] =
			(uint64_t)(uintptr_t)(s->priv + s->group->m->priv.bytes * (size_t)l) +
			s->group->m->fixed[i->to];
		return NEXT;
	case OP_UNDEF:
	case OP_MEMORY_BARRIER:
	case OP_LOOP_MERGE:
	case OP_SELECTION_MERGE:
	case OP_LIFETIME_START:
	case OP_LIFETIME_STOP:
		return NEXT;
	case OP_BRANCH:
	case OP_BRANCH_CONDITIONAL:
	case OP_SWITCH:
	case OP_RETURN:
	case OP_UNREACHABLE:
		return control(s, i, mask, label);
	default:
		if (!shape(s, i, mask))
			compute(s, i, mask);
		return NEXT;
	}
}

/* The label of the block that an instruction belongs to: the word in front of its first. */
static uint32_t
label_of(const Module *m, uint32_t at)
{
	while (at > 0 && m->code[at - 1].words + m->code[at - 1].n_words == m->code[at].words)
		at--;
	return m->code[at].words[-1];
}

/* The lanes that are furthest behind, to the end of their block or to where all are wanted. */
static void
run_block(SubGroup *s)
{
	const Module *m = s->group->m;
	unsigned mask = 0;
	uint32_t at = UINT32_MAX;
	LANE(l, s->live & ~s->waiting)
	{
		if (s->at[l] < at)
			mask = 0;
		at = s->at[l] < at ? s->at[l] : at;
		mask |= s->at[l] == at ? 1u << l : 0;
	}
	if (!mask) {
		LANE(l, s->live)
		at = s->at[l] < at ? s->at[l] : at;
		LANE(l, s->live)
		if (s->at[l] != at)
			fail_at(s, &m->code[at], "not all lanes come here");
		mask = s->live;
		s->waiting = 0;
	}
	const uint32_t label = label_of(m, at);
	if (m->code[at].op == OP_PHI)
		at += phis(s, &m->code[at], mask);
	for (;; at++) {
		const Instruction *i = &m->code[at];
		Next next;
		if (is_collective(i) && mask != s->live) {
			s->waiting |= mask;
			LANE(l, mask)
			s->at[l] = at;
			return;
		}
		next = is_collective(i) ? collective(s, i) : step(s, i, mask, label);
		if (next == STOPPED)
			LANE(l, mask)
		s->at[l] = at + 1;
		if (next != NEXT)
			return;
	}
}

static void
start(SubGroup *s, uint32_t number)
{
	const Function *f = s->group->f;
	s->number = number;
	s->state = RUNNING;
	s->live = ALL;
	s->waiting = 0;
	for (int l = 0; l < LANES; l++)
		s->at[l] = f->first;
}

/* A work-group: each sub-group up to the barrier that it waits at, until all are done. */
static void
run_group(SubGroup *s, uint32_t n)
{
	const Group *g = s->group;
	memset(g->m->local.start, 0xff, g->m->local.bytes);
	for (uint32_t i = 0; i < n; i++)
		start(&s[i], i);
	for (uint32_t done = 0; done < n;) {
		uint32_t waiting = 0;
		done = 0;
		for (uint32_t i = 0; i < n; i++) {
			while (s[i].state == RUNNING) {
				run_block(&s[i]);
				if (!s[i].live)
					s[i].state = DONE;
			}
			done += s[i].state == DONE;
			waiting += s[i].state == AT_BARRIER;
		}
		if (done && waiting)
			spirv_fail("%s: a barrier that not all sub-groups reach",
				   g->m->names[g->f->id]);
		for (uint32_t i = 0; i < n; i++)
			if (s[i].state == AT_BARRIER)
				s[i].state = RUNNING;
	}
}

void
spirv_launch(const Module *m, const Function *f, const uint64_t *values, const Region *buffers,
	     int n_buffers, const size_t global[3], const size_t local[3])
{
	Group g = {.m = m, .f = f, .buffers = buffers, .n_buffers = n_buffers};
	const uint32_t n = (uint32_t)(local[0] * local[1] * local[2] / LANES);
	SubGroup *s = calloc(n ? n : 1, sizeof *s);
	for (int d = 0; d < 3; d++) {
		g.global[d] = global[d];
		g.local[d] = local[d];
	}
	for (uint32_t i = 0; s && i < n; i++) {
		/* Pages that the kernel does not touch cost nothing. */
		s[i].r = calloc(m->n_registers, sizeof *s[i].r * LANES);
		s[i].priv = calloc(m->priv.bytes + 1, LANES);
		s[i].group = &g;
		if (!s[i].r || !s[i].priv)
			spirv_fail("out of memory");
		memcpy(s[i].r, m->fixed, sizeof *m->fixed * LANES * m->n_fixed);
		for (uint32_t k = 0; k < f->n_parameters; k++)
			for (int l = 0; l < LANES; l++)
				s[i].r[m->registers[f->parameters[k]] + l] = values[k];
	}
	for (g.id[2] = 0; s && g.id[2] < global[2] / local[2]; g.id[2]++)
		for (g.id[1] = 0; g.id[1] < global[1] / local[1]; g.id[1]++)
			for (g.id[0] = 0; g.id[0] < global[0] / local[0]; g.id[0]++)
				run_group(s, n);
	for (uint32_t i = 0; s && i < n; i++) {
		free(s[i].r);
		free(s[i].priv);
	}
	free(s);
}
