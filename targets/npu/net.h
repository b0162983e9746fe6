/*
 * A model of OpenVINO as a graph of typed operations, and its XML (IR 11). Every function here adds
 * the nodes of one operation and returns the wire of its result, whose element type and shape are
 * derived; operands that do not fit are our bug. Nodes stand in the order in which they were made,
 * so equal calls give equal bytes.
 */
#ifndef LATHE_TARGETS_NPU_NET_H
#define LATHE_TARGETS_NPU_NET_H

#include "bin.h"

typedef enum Operation {
#define OPERATION(e, type, opset, inputs, outputs, attributes) e,
#include "operations.def"
	OPERATIONS
} Operation;

typedef int Wire; /* one output of one node */
typedef struct Net Net;

/* Constants go to bin, which may be shared. */
Net *net_new(Arena *run, const char *name, Bin *bin);
Element wire_element(const Net *n, Wire w);
Shape wire_shape(const Net *n, Wire w);
/* The name of a wire, by which a host finds it and a test adds an output; "" has none. */
void net_name(Net *n, Wire w, const char *name);

/* ---- what comes in and goes out ------------------------------------------------------------- */
Wire net_parameter(Net *n, const char *name, Element element, Shape shape);
void net_result(Net *n, const char *name, Wire x);
/* Rows that outlive a call: ReadValue with its first value, Assign at the end. */
Wire net_read(Net *n, const char *variable, Wire first, Shape shape);
void net_assign(Net *n, const char *variable, Wire x);

/* ---- constants ------------------------------------------------------------------------------ */
Wire net_part(Net *n, const BinPart *p);
Wire net_f32(Net *n, Shape shape, const float *values);
Wire net_scalar(Net *n, float value, int rank); /* shape [1, 1 ...] of rank */
Wire net_i64(Net *n, Shape shape, const int64_t *values);
Wire net_index(Net *n, int64_t value); /* an i64 scalar */

/* ---- operations ----------------------------------------------------------------------------- */
Wire net_convert(Net *n, Wire x, Element to);
/* The same where `x` is a constant that readers may keep as it is stored. */
Wire net_decompress(Net *n, Wire x, Element to);
/* Element by element with numpy's broadcasting: NET_ADD, SUBTRACT, MULTIPLY, DIVIDE, LESS_EQUAL,
 * AND. */
Wire net_binary(Net *n, Operation op, Wire a, Wire b);
Wire net_unary(Net *n, Operation op, Wire x); /* NET_SQRT, NET_SWISH */
Wire net_mean(Net *n, Wire x);		      /* over the last dimension, which becomes 1 */
/* x [..., k] by w: [m, k] when transposed, else [k, m]. Both sides' leading dimensions broadcast. A
 * constant w is transposed: OpenVINO 2026.4's CPU plugin keeps one packed copy of the same bytes
 * and takes it for both, silently. */
Wire net_matmul(Net *n, Wire x, Wire w, bool transposed);
/* dims: 0 keeps the dimension of that place, SHAPE_ANY takes what is left. */
Wire net_reshape(Net *n, Wire x, Shape dims);
Wire net_transpose(Net *n, Wire x, const int *order);
Wire net_unsqueeze(Net *n, Wire x, int axis);
/* to: an i64 wire of the shape; bidirectional, or numpy. `shape` is what it comes to. */
Wire net_broadcast(Net *n, Wire x, Wire to, bool bidirectional, Shape shape);
void net_halves(Net *n, Wire x, Wire half[2]); /* of the last dimension */
/* [from, to) of an axis. */
Wire net_slice(Net *n, Wire x, int axis, int64_t from, int64_t to);
Wire net_concat(Net *n, const Wire *x, int count, int axis);
/* x[indices] along axis. */
Wire net_gather(Net *n, Wire x, Wire indices, int axis);
Wire net_shape_of(Net *n, Wire x);
Wire net_range(Net *n, Wire from, Wire to); /* i64, step 1 */
Wire net_attention(Net *n, Wire q, Wire k, Wire v, Wire mask);

/* ---- text ----------------------------------------------------------------------------------- */
/* The XML: layers, edges, every attribute, every port with its dimensions. */
void net_print(Text *t, const Net *n);

#endif
