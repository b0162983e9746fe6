/*
 * The packed weights that all CPU levels share (one file, any ISA).
 *
 * A matrix [rows, columns] is cut into blocks of 32 rows (the last padded with zeros). A block is
 *
 * - INT: [row sums, where the activations that read the matrix have one zero point a token], then
 *   for each group of columns [scales][minima or zero points, if any][line sets]; where activations
 *   have zero points in groups, [row sums] before the line sets of each
 * - FLOAT: for each column 32 values (f32: 128 bytes, f16: 64 bytes), row order
 *
 * scales: 32 values in row order, f16 or bf16 (64 bytes) or f32 (128 bytes); minima likewise. Zero
 * points: 32 bytes in row order and 32 of zeros, so that everything starts at whole lines.
 * Row sums: 32 f32, the sums of the rows' weights (weight_row_sums) over the row or a group.
 * A line set is [rows 0-15: lines of 64 bytes][rows 16-31: as many]; dword r of a line is row r;
 * byte i of the dword belongs to column k + i of a 4-wide slot. Bits of the bytes of lines A, B ...
 *
 * - 8: 1 line, 1 slot, 4 columns: A = slot 0
 * - 6: 3 lines, 4 slots, 16 columns: low 6 bits of A, B, C = slots 0, 1, 2;
 *   slot 3 = A[7:6] << 4 | B[7:6] << 2 | C[7:6]
 * - 5: 5 lines, 8 slots, 32 columns: A to D = slots 0 to 7 as of 4 bits; bit j of E = bit 4 of
 *   slot j
 * - 4: 1 line, 2 slots, 8 columns: A[3:0], A[7:4]
 * - 3: 3 lines, 8 slots, 32 columns: A[2:0] A[5:3] B[2:0] B[5:3] C[2:0] C[7:5] = slots 0 to 5;
 *   slot 6 = A[7:6] << 1 | C[4], slot 7 = B[7:6] << 1 | C[3]
 * - 2: 1 line, 4 slots, 16 columns: A[1:0], A[3:2], A[5:4], A[7:6]
 * - trits: 1 line, 5 slots, 20 columns: A = slot 0 + 3 slot 1 + 9 slot 2 + 27 slot 3 + 81 slot 4
 *
 * Each group is padded to whole sets with codes 0; kernels read no slot without a column. Blocks
 * follow one another; a stack of matrices is its matrices' blocks in order (STACK) or block 0 of
 * each, block 1 of each, ... (INTERLEAVED: gate and up).
 */
#ifndef LATHE_TARGETS_PACK_H
#define LATHE_TARGETS_PACK_H

#include "../ir/weight_source.h"

enum { PACK_ROWS = 32 };

/* A matrix as its blocks hold it. */
typedef struct PackForm {
	Format format;
	uint32_t columns;
	uint32_t
		sums; /* columns a row sum: all, or some that divide the weights' groups; 0: none */
} PackForm;

/* Columns in a line set, 0 for floats. */
int pack_set_columns(Format f);
/* Bytes of one block, and of a whole matrix. */
uint64_t pack_block_bytes(PackForm form);
uint64_t pack_bytes(PackForm form, uint32_t rows);
/* Those of a matrix that are codes, with their padding; floats are all codes. */
uint64_t pack_code_bytes(PackForm form, uint32_t rows);

/* Packs rows [32 b, 32 b + 32) of s into dst[pack_block_bytes]. `bad_row` receives the first row
 * with a scale or weight that is not finite, or -1: the caller reports it as E_NOT_FINITE at the
 * tensor. Thread-safe with a scratch arena of its own. */
void pack_block(Arena *scratch, const WeightSource *s, PackForm form, uint32_t b, uint8_t *dst,
		int64_t *bad_row);

#endif
