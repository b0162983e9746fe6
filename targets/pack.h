/*
 * The packed weights that all CPU levels share (one file, any ISA).
 *
 * A matrix [rows, columns] is cut into blocks of 32 rows (the last padded with zeros). A block is
 *   INT:   for each group of columns: [scales][minima, if the format has them][line sets]
 *   FLOAT: for each column: 32 values (f32: 128 bytes, f16: 64 bytes), row order
 * scales: 32 values in row order, f16 (64 bytes) or f32 (128 bytes); minima likewise.
 * A line set is [rows 0-15: 64 bytes][rows 16-31: 64 bytes]; dword r of a line is row r; byte i of
 * the dword belongs to column k + i of a 4-wide slot: 8 bits: one slot,  4 columns a set, byte =
 * code 4 bits: two slots, 8 columns a set, bits 0-3 = columns k..k+3, bits 4-7 = columns k+4..k+7
 * Each group is padded to whole sets (codes 0; the activations there are 0).
 * Blocks follow one another; a stack of matrices is its matrices' blocks in order (STACK) or block
 * 0 of each, block 1 of each, ... (INTERLEAVED: gate and up).
 */
#ifndef LATHE_TARGETS_PACK_H
#define LATHE_TARGETS_PACK_H

#include "../ir/weight_source.h"

enum { PACK_ROWS = 32 };

/* Columns in a line set, 0 for floats. */
int pack_set_columns(Format f);
/* Bytes of one block of a matrix with `columns` columns. */
uint64_t pack_block_bytes(Format f, uint32_t columns);
/* Bytes of a whole matrix. */
uint64_t pack_bytes(Format f, uint32_t rows, uint32_t columns);

/* Packs rows [32 b, 32 b + 32) of s into dst[pack_block_bytes]. `bad_row` receives the first row
 * with a scale or weight that is not finite, or -1: the caller reports it as E_NOT_FINITE at the
 * tensor. Thread-safe with a scratch arena of its own. */
void pack_block(Arena *scratch, const WeightSource *s, Format f, uint32_t b, uint8_t *dst,
		int64_t *bad_row);

#endif
