/*
 * Tensors of a file, found by name, become the roles of an architecture: what is unknown, missing
 * or of another shape than the constants want is refused, the nearest name beside it.
 */
#ifndef LATHE_GEN_MODEL_MATCH_H
#define LATHE_GEN_MODEL_MATCH_H

#include "ir/model.h"

/* A row of a table of an architecture's tensors. */
typedef struct TensorRow {
	/* '#' is the layer, a second the expert, written without leading zeros. One of a role of
	 * experts that has no second holds all of a layer, one behind the other. */
	const char *name;
	uint8_t role; /* Role; ROLE_COUNT: a tensor that is of no use and does no harm */
	uint8_t row_order;
	bool required;
} TensorRow;

/* A tensor of the file. The reader fills all but `row`. */
typedef struct FoundTensor {
	Tensor tensor;		/* rows, columns, head_dim and row_order are set by the match */
	uint64_t rows, columns; /* rows 1: a vector; 0: of more dimensions than three */
	uint64_t stack;		/* of so many matrices; 1: none */
	const char *shape;	/* as the file writes it */
	const TensorRow *row;	/* null: unknown */
} FoundTensor;

typedef struct Matcher {
	Arena *arena;
	Diag *d;
	Model *m; /* its constants are known, but for n_vocab */
	const TensorRow *rows;
	size_t n_rows;
	FoundTensor *found;
	uint32_t n_found;
	/* The file's names for the numbers of layers and experts. */
	const char *layers_key, *experts_key;
	/* How this kind of file writes the shape of `stack` matrices, 1: of one; a vector has one
	 * row. */
	const char *(*shape)(Arena *a, uint32_t stack, uint32_t rows, uint32_t columns);
	const Tensor **slots[ROLE_COUNT];
	const char **unknown; /* names that fill no slot, to suggest them where one is missing */
	size_t n_unknown;
} Matcher;

/* Each: false after diagnostics. In this order: names; n_vocab, from the embedding; shapes. */
bool match_names(Matcher *x);
bool match_vocabulary(Matcher *x);
bool match_shapes(Matcher *x);

#endif
