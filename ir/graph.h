/*
 * The graph: one function per layer, values in SSA form, one row per token. Values are an array,
 * references are indexes into it. What a pass decides lives in side fields that start at -1.
 */
#ifndef LATHE_IR_GRAPH_H
#define LATHE_IR_GRAPH_H

#include "model.h"

typedef enum Op {
#define OP(e, text, operands, role, attributes, width, meaning) e,
#include "ops.def"
	OP_COUNT
} Op;

enum { VALUE_OPERANDS = 3 };

/*
 * The basis of a stored row: the product of the transforms it has been through, as an expression
 * of the algebra of design section 3. Until plans exist every value is in basis `I`.
 */
typedef struct Basis {
	const char *expression; /* "I" */
} Basis;
#define BASIS_IDENTITY ((Basis){"I"})

/* How a kernel writes its result; see fuse. */
typedef struct Value {
	Op op;
	int operands[VALUE_OPERANDS]; /* indexes into the function, -1: none */
	int role;		      /* Role of the tensor it names, -1: none */
	uint32_t width;		      /* elements of the row */
	Format format;
	Basis basis;
	Loc loc;	   /* of what asked for it: the tensor, or a line of a plan */
	float eps;	   /* OP_RMSNORM */
	uint32_t heads;	   /* OP_ROPE: heads in the row; OP_ATTENTION: query heads */
	uint32_t kv_heads; /* OP_ATTENTION */
	uint32_t sums;	   /* OP_QUANTIZE: columns per partial sum of codes, 0: the row. What the
			      readers' offsets and minima need. */
	int kernel;	   /* fuse: values with one number are one emitted kernel; -1: alone */
	int buffer;	   /* arena: index into Func.buffers, -1: never leaves its kernel */
} Value;

/* Side tables of schedule and arena. */
typedef enum KernelKind {
	KERNEL_ROWS,   /* each token's row alone: embed, rmsnorm, gain, quantize, rope, add ... */
	KERNEL_LINEAR, /* stacked linears of one activation, with add or silu_mul behind */
	KERNEL_KV,     /* rope of q and k, k and v written to the cache */
	KERNEL_ATTENTION, /* one query head of one token at a time */
} KernelKind;

typedef struct Kernel {
	uint8_t kind;	  /* KernelKind */
	int first, count; /* its values: Func.order[first .. first+count) */
	/* Rows kernel whose only readers are linears: at one token each thread computes it for
	 * itself and the barrier behind it disappears. */
	bool repeat_at_one;
} Kernel;

typedef struct Buffer {
	uint64_t bytes;		 /* per token */
	uint64_t offset;	 /* in units of bytes per token, within the activation arena */
	int first_use, last_use; /* kernels */
} Buffer;

typedef struct Func {
	const char *name; /* "embed", "layer.0" ..., "head" */
	int layer;	  /* -1: none */
	int same_as;	  /* dedup: index of the function whose code it shares; itself if none */
	Value *values;
	int count, capacity;
	int *order; /* schedule: values kernel by kernel */
	Kernel *kernels;
	int n_kernels;
	Buffer *buffers;
	int n_buffers;
} Func;

typedef struct Graph {
	Arena *arena;
	const Model *model;
	Func *funcs;
	int count;
	/* Format each tensor is compiled to: formats[role][layer], as Model.tensors. */
	Format *formats[ROLE_COUNT];
	Format activations;		/* of linears with integer weights */
	Format kv;			/* f32 or f16 */
	uint64_t arena_bytes_per_token; /* arena pass */
	unsigned facts;			/* pass.h */
} Graph;

/* Appends a value to f and returns its index; operands not given are -1. */
int func_add(Graph *g, Func *f, Value v);
static inline const Value *func_value(const Func *f, int i)
{
	return &f->values[i];
}
Format graph_weight_format(const Graph *g, int role, int layer);
const char *op_name(Op op);

/* The graph of a model in its files' own formats; nothing quantized, nothing fused. */
Graph *graph_build(Arena *run, const Model *m);

/*
 * Text form, printed and parsed (graph_text.c). One function:
 *
 *   func layer.0 {
 *     %0 = input : f32[576]
 *     %1 = rmsnorm %0 eps=1e-05 : f32[576]
 *     %2 = gain %1 @attn_norm : f32[576]
 *     %3 = quantize %2 sums=32 : int16(group=row,scale=f32)[576] kernel=0
 *     %4 = linear %3 @q : f32[576] kernel=1
 *     ...
 *   }
 *
 * A header names the model's constants and the weight formats, so that a file parses without the
 * model. A basis other than I is printed as `basis=...`.
 */
void graph_print(Text *t, const Graph *g);
void graph_print_func(Text *t, const Graph *g, const Func *f);
/* null after diagnostics at the offending line. The parsed graph has a synthetic Model without
 * tensor data. */
Graph *graph_parse(Arena *run, Diag *d, uint32_t file, const char *text, size_t size);
void graph_print_dot(Text *t, const Graph *g);

/* Every rule the passes rely on; returns the number of violations reported. */
int graph_check(const Graph *g, Diag *d);

/* Equal up to constants: op, operands, formats, attributes, and the formats of named tensors. */
bool func_equal(const Graph *g, const Func *a, const Func *b);

#endif
