/*
 * The .bin that several nets share: constants at multiples of 64 bytes, each stored once. It is
 * written as it is made, so that no more than one constant is in memory.
 */
#ifndef LATHE_TARGETS_NPU_BIN_H
#define LATHE_TARGETS_NPU_BIN_H

#include "../../ir/support.h"

typedef enum Element {
#define ELEMENT(e, type, port, bits) e,
#include "elements.def"
	ELEMENTS
} Element;

typedef struct ElementInfo {
	const char *type, *port; /* in element_type and in ports: "f32", "FP32" */
	int bits;
} ElementInfo;
extern const ElementInfo element_table[ELEMENTS];

enum { SHAPE_RANK = 6, SHAPE_ANY = -1 };
typedef struct Shape {
	int rank;		  /* 0: a scalar */
	int64_t dims[SHAPE_RANK]; /* SHAPE_ANY: known when it runs */
} Shape;
#define SHAPE(...)                                                                  \
	((Shape){.rank = (int)(sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t)), \
		 .dims = {__VA_ARGS__}})
#define SHAPE_SCALAR ((Shape){0})
bool shape_equal(Shape a, Shape b);
/* Of a shape without SHAPE_ANY; an overflow is our bug, the model's sizes are checked. */
uint64_t shape_elements(Shape s);

/* A constant as it lies in the file. Elements of fewer than 8 bits fill a byte from its low bits.
 */
typedef struct BinPart {
	Element element;
	Shape shape;
	uint64_t offset, bytes;
} BinPart;

typedef struct Bin Bin;
Bin *bin_open(Arena *run, const char *path);
/* One whole constant; equal bytes of any earlier one are not stored again. */
BinPart bin_add(Bin *b, Element element, Shape shape, const void *data);
/* One in pieces that follow each other, whole bytes each, for what is large; not compared with
 * others. */
void bin_begin(Bin *b, Element element, Shape shape);
void bin_piece(Bin *b, const void *data, size_t bytes);
BinPart bin_end(Bin *b);
uint64_t bin_bytes(const Bin *b);
/* Ends the file; nothing is added behind. */
void bin_close(Bin *b, uint8_t sha256[32]);

#endif
