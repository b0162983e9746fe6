/*
 * Base matrices of Hadamard transforms: matrices of 1 and -1 with H H^T = K I, from constructions
 * that are named and pinned by a digest.
 */
#ifndef LATHE_IR_HADAMARD_H
#define LATHE_IR_HADAMARD_H

#include "codelet.h"

typedef enum Construction {
	BASE_ONE,	 /* order 1: a pure Sylvester transform */
	BASE_PALEY1,	 /* parameter q, a prime power = 3 mod 4: order q + 1 */
	BASE_PALEY2,	 /* parameter q, a prime power = 1 mod 4: order 2 (q + 1) */
	BASE_WILLIAMSON, /* parameter: the order, one of the stored quadruples of circulants */
	BASE_DOUBLED, /* parameter: the order; a smaller base doubled (x) [1 1; 1 -1] on the left */
	BASE_DATA,    /* entries given by the plan */
} Construction;

typedef struct Base {
	uint32_t order;
	Construction construction;
	uint32_t parameter;
	const int8_t *entries; /* [order][order], row-major, 1 or -1 */
	bool symmetric;
	uint8_t sha256[32]; /* of entries */
} Base;
enum { BASE_ORDER_MAX = CODELET_ORDER_MAX };

/*
 * The base of a construction; null (with *why a sentence) where there is none. H H^T = K I is
 * checked here, for data too. Prime powers use GF(p^k) with the least monic irreducible polynomial
 * in lexicographic order of its coefficients, constant term last.
 */
const Base *base_make(Arena *a, Construction c, uint32_t parameter, const char **why);
const Base *base_data(Arena *a, uint32_t order, const int8_t *entries, const char **why);
/*
 * The construction that a plan made here takes for transforms of n = K 2^k: the smallest K >= 1
 * (odd part times 1, 2 or 4 as needed) that has one, Paley I before Paley II before Williamson.
 * false: none up to order 256 (or the stored Williamson orders).
 */
bool base_choose(uint32_t n, Construction *c, uint32_t *parameter, uint32_t *order);
const char *construction_name(Construction c);
/* The same matrix, whatever it was made from. */
bool base_equal(const Base *a, const Base *b);

/* The program of the base or of its transpose; null for order 1, which needs none. */
const Codelet *base_program(Arena *a, const Base *b, bool transposed);

/*
 * rows [count][n] become H row each, n = K 2^k, by the base's program (null: K = 1): butterflies in
 * ascending strides, then the program on the view [K][2^k], then one multiplication by 1/sqrt(n).
 */
void hadamard_run_float(const Codelet *program, uint32_t n, float *rows, size_t count);
void hadamard_run_double(const Codelet *program, uint32_t n, double *rows, size_t count);

#endif
