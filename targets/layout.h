/*
 * Where every constant of a graph lies in the weights file, and the names its C code goes by.
 * All CPU levels of an artefact share one layout.
 *
 * A weights file is a header of 64 bytes (templates/api.c) and a payload: the rope tables, those of
 * windowed layers, then the constants of each function in the order of its kernels. Every constant
 * starts at a multiple of 64 bytes. Equal constants (a tied embedding) are stored once.
 */
#ifndef LATHE_TARGETS_LAYOUT_H
#define LATHE_TARGETS_LAYOUT_H

#include "pack.h"
#include "tables.h"

#include "../ir/pass.h"

enum { STACK_MAX = 8 };

/* What one kernel reads from the weights: a vector (f32, padded with zeros to a multiple of 32),
 * matrices of one format in blocks of 32 rows, or the tables of a transform. */
typedef struct Constant {
	const char *field; /* "q_k_v", "tables_7" */
	int value;	   /* whose transform's tables these are; -1: of none, but tensors */
	Tables tables;
	int roles[STACK_MAX];
	int n_roles;
	bool vector;
	bool interleaved; /* block 0 of each matrix, block 1 of each ... */
	uint32_t experts; /* the stack of each expert, one behind the other; else 1 */
	PackForm form;	  /* of the first expert; the others' formats differ where there are some */
	Format *formats;  /* [experts] */
	uint32_t rows[STACK_MAX];
	uint64_t bytes; /* of all experts */
	int kernel;
} Constant;

/* The code of one function and of all that share it. */
typedef struct Unit {
	int func;	   /* the first function with this code */
	const char *ident; /* "layer0": prefix of its functions, name of its table */
	Constant *constants;
	int n_constants;
} Unit;

typedef struct Layout {
	const Graph *graph;
	Unit *units;
	int n_units;
	int *unit_of;	    /* [graph->count] */
	uint64_t **offsets; /* [graph->count][n_constants of its unit], in the payload */
	uint64_t rope_cos, rope_sin;
	uint64_t rope_window_cos, rope_window_sin; /* of windowed layers; 0: there are none */
	uint64_t bytes;				   /* of the payload */
	uint64_t bytes_per_token;		   /* of constants that decoding one token reads */
} Layout;

Layout *layout_new(Arena *a, const Graph *g);
const Unit *layout_unit(const Layout *l, int func);
/* The constant of a unit that kernel k reads for value v's role; never null. */
const Constant *unit_constant(const Unit *u, int kernel, int role);
/* The constant that has the tables of value v's transform; null: it has none, all is code. */
const Constant *unit_tables(const Unit *u, int value);
/* The form of an expert's matrices; where its stack begins, experts of them being their bytes. */
PackForm constant_form(const Constant *c, uint32_t expert);
uint64_t constant_expert_at(const Constant *c, uint32_t expert);
/* Whether experts have other forms than the first; the first expert that has the format of one;
 * the text of all formats. */
bool constant_mixed(const Constant *c);
uint32_t constant_first_alike(const Constant *c, uint32_t expert);
const char *constant_formats(Arena *a, const Constant *c);
/* Bytes of a constant of f that one row reads, on an average of experts. */
uint64_t constant_bytes_read(const Func *f, const Constant *c);
/* The value of f that names role; never null. */
const Value *constant_value(const Func *f, int role);
/* Whether two functions' tensors hold the same weights: one tensor, with nothing or the same folded
 * into it. Formats are the caller's to compare. */
bool weights_same(const Graph *g, const Func *f, int role, const Func *other, int other_role);
/* Index of role's blocks: block b of matrix i starts at (first + b * step) * pack_block_bytes. */
void constant_blocks(const Constant *c, int role, uint32_t *first, uint32_t *step);

/*
 * Writes the payload's weights file to path: header, rope tables, packed constants; `jobs` threads
 * pack, the file does not depend on how many. Values that are not finite are reported (false).
 */
typedef struct WeightsResult {
	uint64_t checksum;  /* of the payload, templates/api.c's */
	uint8_t sha256[32]; /* of the file */
	uint64_t file_bytes;
} WeightsResult;
bool weights_write(Arena *run, Diag *d, const Layout *l, const uint8_t build[32], const char *path,
		   int jobs, WeightsResult *r);

#endif
