/* What net.c builds and xml.c prints. */
#ifndef LATHE_TARGETS_NPU_NET_IMPL_H
#define LATHE_TARGETS_NPU_NET_IMPL_H

#include "net.h"

/* A row of operations.def. */
typedef struct OperationInfo {
	const char *type, *opset;
	int inputs, outputs;
	const char *attributes; /* names with a space between two */
} OperationInfo;
extern const OperationInfo operation_table[OPERATIONS];

typedef struct Node {
	Operation op;
	const char *name;    /* null: its type and number */
	const char **values; /* of the attributes, in the table's order */
	bool decompression;
	Wire *inputs;
	int n_inputs;
	Wire first; /* output i is wire first + i */
} Node;

typedef struct WireInfo {
	int node;
	Element element;
	Shape shape;
	const char *names; /* with a comma between two; null: none */
} WireInfo;

struct Net {
	Arena *run;
	const char *name;
	Bin *bin;
	Node *nodes;
	WireInfo *wires;
	int n_nodes, node_capacity, n_wires, wire_capacity;
};

#endif
