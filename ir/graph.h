/*
 * The graph: one function per layer, values in SSA form, one row per token. Values are an array,
 * references are indexes into it. What a pass decides lives in side fields that start at -1.
 */
#ifndef LATHE_IR_GRAPH_H
#define LATHE_IR_GRAPH_H

#include "model.h"
#include "transform.h"

typedef enum Op {
#define OP(e, text, operands, result, tensor, attributes, width, kernel, meaning) e,
#include "ops.def"
	OP_COUNT
} Op;

typedef enum OpTensor { TENSOR_NONE, TENSOR_VECTOR, TENSOR_MATRIX } OpTensor;

typedef enum OpWidth {
	WIDTH_HIDDEN,
	WIDTH_SAME,
	WIDTH_COLUMNS,
	WIDTH_ROWS,
	WIDTH_CODES,
	WIDTH_CACHE,
	WIDTH_ROUTES,
	WIDTH_FIRST,
	WIDTH_TRANSFORM,
} OpWidth;

/* What a kernel does; an op's own kind is a column of ops.def. */
typedef enum KernelKind {
	KERNEL_NONE = -1, /* input, output: names, no work */
	KERNEL_ROWS,   /* each token's row alone: embed, rmsnorm, gain, quantize, rope, add ... */
	KERNEL_LINEAR, /* linears of one activation value and one weight format, stacked; behind one
			  linear an add, behind two of equal shape a gated product */
	KERNEL_KV,     /* kv_append, with the ropes of k and q in front of it when fused */
	KERNEL_ATTENTION, /* one query head of one token at a time */
	KERNEL_KINDS,
} KernelKind;
extern const char *const kernel_names[KERNEL_KINDS];

/* A row of ops.def. */
typedef struct OpInfo {
	const char *name;
	const char *operands; /* letters; as many as it has operands */
	char result;
	OpTensor tensor;
	const char *attributes;
	OpWidth width;
	KernelKind kernel;
	const char *meaning;
} OpInfo;
extern const OpInfo op_table[OP_COUNT];

/* An attribute: a uint32_t or float field of Value, by the letter that ops.def uses. */
typedef struct Attribute {
	char letter;
	const char *name;
	bool is_float;
	bool optional; /* 0 means none, and is not printed */
	size_t offset; /* in Value */
} Attribute;
enum { ATTRIBUTE_COUNT = 10 };
extern const Attribute attribute_table[ATTRIBUTE_COUNT];
/* The row of a letter of ops.def. */
const Attribute *attribute_find(char letter);

enum { VALUE_OPERANDS = 2 };

/*
 * The basis of a stored row: the product of the transforms it has been through, so that the row is
 * `transform` times what the unplanned graph computes there (gains that moved into readers apart).
 */
typedef struct Basis {
	const char *expression;	    /* of a parsed text, else "I" */
	const Transform *transform; /* as graph_derive_bases found it; null: I, or only the text */
} Basis;
#define BASIS_IDENTITY ((Basis){"I", NULL})

typedef struct Value {
	Op op;
	int operands[VALUE_OPERANDS]; /* indexes into the function, -1: none */
	int role;		      /* Role of the tensor it names, -1: none */
	uint32_t width;		      /* elements of the row; OP_KV_APPEND: of k and v together */
	Format format;
	Basis basis;
	Loc loc;		    /* of what asked for it: the tensor, or a line of a plan */
	const Transform *transform; /* OP_TRANSFORM */
	/* OP_LINEAR, OP_EXPERT: its weights are fold_out * W * fold_in, of every expert; OP_EMBED:
	 * its rows are fold_out * row. OP_BIAS: it adds fold_out * tensor. null: none. */
	const Transform *fold_in, *fold_out;
	/* OP_TRANSFORM: the row is wanted in this basis, so its inverse behind it does not cancel
	 * it. OP_GAIN: the plan keeps it, it does not become part of its readers. */
	bool pinned;
	bool runs;	/* OP_TRANSFORM: stored weights do not have it: it goes up into none */
	bool shared;	/* its weights are another value's as well: nothing is folded into them */
	float eps;	/* OP_RMSNORM, OP_RMSNORM_HEADS */
	uint32_t heads; /* OP_ROPE, OP_*_HEADS: heads in the row; OP_ATTENTION: query heads */
	uint32_t kv_heads; /* OP_ATTENTION */
	uint32_t window;   /* OP_ATTENTION, OP_ROPE: of the layer, model_window; 0: none */
	float factor;	   /* OP_EMBED; 0: none */
	uint32_t used;	   /* OP_ROUTE: experts of a token */
	uint32_t norm;	   /* OP_ROUTE: softmax over these alone, else over all */
	uint32_t slot;	   /* OP_EXPERT, OP_WEIGH: which of them, below `used` */
	uint32_t alone;	   /* OP_QUANTIZE, OP_TILE: each row is a tile, as experts read it */
	uint32_t sums;	   /* OP_QUANTIZE: columns per partial sum of codes, 0: the row;
			      OP_TILE: columns per partial sum of x, 0: no sums. What the readers'
			      offsets and minima need: linear_sums. */
	int kernel;	   /* fuse: values with one number are one emitted kernel; -1: alone.
			      schedule: index into Func.kernels, -1: input and output */
	int buffer;	   /* arena: index into Func.buffers, -1: never leaves its kernel, or lies
			      in the cache. OP_OUTPUT: its operand's */
} Value;

/* Side tables of schedule and arena. */
typedef struct Kernel {
	uint8_t kind;	  /* KernelKind */
	int first, count; /* its values: Func.order[first .. first+count), operands first */
	/* Kernels of one phase are independent of each other; a barrier stands between phases.
	 * Kernels are in the order of their phases, which count from 0 without gaps. */
	int phase;
	/* Rows kernel whose results only linears read: at one token each thread may compute it for
	 * itself, and the barrier behind a phase of nothing else disappears. Nothing that it reads
	 * is overwritten in the next phase. */
	bool repeat_at_one;
} Kernel;

/*
 * Buffer BUFFER_X, the residual stream, is the same memory in all functions: the input of a
 * function lies there, its output (but the last function's) is left there, and a residual add is in
 * place there when it is the last reader of the old row. With n tokens a buffer starts at byte
 * offset * n of the arena: offsets and bytes are multiples of 64.
 */
enum { BUFFER_X = 0 };
typedef struct Buffer {
	uint64_t bytes;		 /* per token */
	uint64_t offset;	 /* in units of bytes per token, within the activation arena */
	int first_use, last_use; /* phases */
	bool caller; /* the last function's output, the logits: memory of the caller, no offset */
} Buffer;

typedef struct Func {
	const char *name; /* "embed", "layer.0" ..., "head" */
	Loc loc;	  /* of the line of a text, else of the model */
	int layer;	  /* -1: none */
	int same_as;	  /* dedup: index of the function whose code it shares; itself if none */
	Value *values;
	int count, capacity;
	int *order; /* schedule: values kernel by kernel, all but input and output */
	int n_order;
	Kernel *kernels;
	int n_kernels;
	Buffer *buffers;
	int n_buffers;
} Func;

/*
 * A tied embedding and head whose folds would differ: stored twice, or one table, its looked-up row
 * and the head's row transformed as they run. As wanted, then as graph_apply_plan chose (CHEAPER:
 * the folds do not differ).
 */
typedef enum TiedTable { TIED_CHEAPER, TIED_TWICE, TIED_ONLINE } TiedTable;
typedef struct Tied {
	TiedTable wanted, chosen;
	uint64_t adds, multiplies; /* a token, of one table */
	const char *why;	   /* of the choice */
} Tied;

/* How a layer keeps keys and values. */
typedef struct CacheFormat {
	Format format;	    /* f32, f16, or int8 and int4: a scale per token and KV head */
	uint8_t query_bits; /* integers: of the codes of a query row that meets the keys; else 0 */
} CacheFormat;
/* Elements of a head of integers at most: a product of two rows of codes is exact in int32, and
 * each of its halves in f32. */
enum { CACHE_HEAD_MOST = 512 };

typedef struct Graph {
	Arena *arena;
	const Model *model;
	Func *funcs;
	int count;
	/* Format each tensor is compiled to: formats[role][model_place]. */
	Format *formats[ROLE_COUNT];
	Format activations; /* that `quantize` gives linears with integer weights; f32: none */
	/* The same for linears of one role and layer where it differs: graph_set_activations. */
	Format *activations_of[ROLE_COUNT];
	CacheFormat *kv; /* [n_layer] */
	Tied tied;
	const struct Plan *plan;	/* that graph_apply_plan took; null: none */
	const Transform *residual;	/* basis of the rows between functions; null: I */
	uint64_t arena_bytes_per_token; /* arena pass */
	unsigned facts;			/* pass.h */
	/* What passes_run ran, in order: pass.h. */
	struct PassRecord *record;
	int n_record;
} Graph;

/* A value of op with every reference absent: operands, role, kernel and buffer -1, f32. */
Value value_new(Op op, uint32_t width, Loc loc);
/* Appends a value to f and returns its index. */
int func_add(Graph *g, Func *f, Value v);
static inline const Value *
func_value(const Func *f, int i)
{
	return &f->values[i];
}
static inline int
op_operands(Op op)
{
	return op_table[op].operands[0] == 0 ? 0 : op_table[op].operands[1] == 0 ? 1 : 2;
}
/* Ops on q and k that the kernel of an append may do first. */
static inline bool
op_joins_append(Op op)
{
	return op == OP_RMSNORM_HEADS || op == OP_GAIN_HEADS || op == OP_ROPE || op == OP_TRANSFORM;
}
/* A matrix times what operand 0 stores: one of the layer's, or an expert's. */
static inline bool
op_is_linear(Op op)
{
	return op == OP_LINEAR || op == OP_EXPERT;
}
/* act(a) * b: what stands behind gate and up. */
static inline bool
op_is_gated(Op op)
{
	return op == OP_SILU_MUL || op == OP_GELU_MUL;
}
static inline const char *
op_name(Op op)
{
	return op_table[op].name;
}
/* The last function gives the logits: its output is the caller's memory. */
static inline bool
func_is_last(const Graph *g, const Func *f)
{
	return f == &g->funcs[g->count - 1];
}
/* Format of the row that linears of a role and layer read, and one that is not the graph's. */
Format graph_activations(const Graph *g, int role, int layer);
void graph_set_activations(Graph *g, int role, int layer, Format f);
/* How layer's keys and values are kept, and the row of a query that meets the keys: f32 where they
 * are floats. */
Format graph_kv(const Graph *g, int layer);
Format graph_query(const Graph *g, int layer);
/* Format that a tensor is compiled to, of experts the first. layer is ignored for roles that are
 * not layered. */
Format graph_weight_format(const Graph *g, int role, int layer);
Format graph_expert_format(const Graph *g, int role, int layer, uint32_t expert);
/* Whether the matrices of two places have the same formats, expert by expert. */
bool graph_formats_equal(const Graph *g, int role, int layer, int other_role, int other_layer);
/* Whether a role's matrices in a layer differ in their formats. */
bool graph_formats_mixed(const Graph *g, int role, int layer);
/* Rows and columns of the matrix that a value names, what the plan folds into it done. */
void graph_tensor_shape(const Graph *g, const Value *v, uint32_t *rows, uint32_t *columns);
/*
 * Columns per partial sum (Value.sums) that a linear of `columns` columns wants of its activation:
 * integer activations: their group, else the weight group (0: the row); float activations: the
 * weight group where the weights have minima, else 0.
 */
uint32_t linear_sums(Format weight, Format activation, uint32_t columns);
/*
 * What all matrices of a role and layer read. One row serves all experts: floats where the weights
 * of any are, and the sums that any wants (graph_linear_fault: two may not want different ones).
 */
Format graph_row_format(const Graph *g, int role, int layer);
uint32_t graph_linear_sums(const Graph *g, int role, int layer, Format row, uint32_t columns);
/* Why no kernel has the linears of a role and layer on rows of that format, in words of a, `expert`
 * being the one to name; null: there is one. */
const char *graph_linear_fault(Arena *a, const Graph *g, int role, int layer, Format row,
			       uint32_t columns, uint32_t *expert);
/* Why no linear of `columns` columns has these formats, in words of a; null: there is one. */
const char *linear_fault(Arena *a, Format weight, Format activation, uint32_t columns);

/*
 * Rewrites for passes; both renumber values and need kernels, order and buffers unset.
 * func_insert: where make(g, f, i, &v) is true, v goes in front of value i, takes i's operand 0 as
 * its own and becomes i's operand 0. func_replace: value i with by[i] != i disappears and its
 * readers read by[i] < i instead.
 */
void func_insert(Graph *g, Func *f, bool (*make)(const Graph *g, const Func *f, int i, Value *v));
void func_replace(Graph *g, Func *f, const int *by);
/* How often each value is an operand: uses[f->count]. */
int *func_uses(Arena *a, const Func *f);
/* Puts values that a rewrite left in any order behind their operands and drops those that nothing
 * reads. A function in order keeps it. */
void func_sort(Graph *g, Func *f);
/* Writes every value's basis from the transforms and folds of the graph. */
void graph_derive_bases(Graph *g);

/* The graph of a model in its files' own formats, activations and KV f32; no pass has run. The
 * caller then sets formats and activations, and the KV formats by graph_set_kv. */
Graph *graph_build(Arena *run, const Model *m);
/* Of one layer, or of all: layer -1. */
void graph_set_kv(Graph *g, int layer, CacheFormat kv);

/*
 * Text form (graph_print.c, graph_parse.c). One function:
 *
 *   func layer.0 {
 *     %0 = input : f32[576]
 *     %1 = rmsnorm %0 eps=1e-05 : f32[576]
 *     %2 = gain %1 @attn_norm : f32[576]
 *     %3 = quantize %2 sums=32 : int16(group=row,scale=f32)[576] kernel=0 buffer=1
 *     %4 = linear %3 @q : f32[576] kernel=1 buffer=2
 *     ...
 *     kernel 0 rows phase=0 repeat : %1 %2 %3
 *     buffer 1 bytes=1408 offset=2304 uses=0..1
 *   }
 *
 * kernel and buffer lines are there after schedule and arena. A header names the model's constants,
 * the formats (`weights q int8(...)` for all layers, `weights layer.3.q f32` for one, `kv layer.3
 * int8(...) query=16` likewise) and the facts, so that a file parses without the model; `#` starts
 * a comment. Behind the width stand what a plan brings: `transform="..."`, `fold_in="..."`,
 * `fold_out="..."`, `pinned=1`, `shared=1`, and a basis other than I as `basis="..."`, abridged if
 * long. Positions (Loc) are not printed.
 */
void graph_print(Text *t, const Graph *g);
/* For people: long lists of a transform abridged, which does not read back. */
void graph_print_brief(Text *t, const Graph *g);
void graph_print_func(Text *t, const Graph *g, const Func *f);
/* null after a diagnostic at the offending place. Only syntax and names are checked: graph_check
 * follows. The parsed graph has a synthetic Model whose tensors have shapes but no type or data. */
Graph *graph_parse(Arena *run, Diag *d, uint32_t file, const char *text, size_t size);
void graph_print_dot(Text *t, const Graph *g);

/*
 * Every rule the passes rely on, those of the facts that hold included, and what the user's formats
 * must obey. Returns the number of violations reported; stops after CHECK_REPORTS.
 */
enum { CHECK_REPORTS = 10 };
int graph_check(const Graph *g, Diag *d);

/* The same computation: op, role, operands, width, format, attributes, transforms, folds. The basis
 * follows from these. */
bool value_equal(const Value *a, const Value *b);
/* Equal up to constants: op, operands, formats, attributes, transforms, and the formats of named
 * tensors. Folds and bases are constants. */
bool func_equal(const Graph *g, const Func *a, const Func *b);

#endif
