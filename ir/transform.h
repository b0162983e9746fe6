/*
 * The algebra of transforms (linear maps of a row), as immutable expressions in an arena.
 *
 * Convention: x' = T x, columns. A linear y = W x + b that reads x' uses W T^-1; one that produces
 * y' = U y uses U W and U b. `A * B` applies B first. Orders must agree exactly: no implicit blocks
 * or padding.
 */
#ifndef LATHE_IR_TRANSFORM_H
#define LATHE_IR_TRANSFORM_H

#include "hadamard.h"

typedef enum TransformKind {
#define TRANSFORM(e, text, key, children, data, what) e,
#include "transforms.def"
	TRANSFORM_KINDS
} TransformKind;

typedef enum TransformData {
	DATA_NONE,
	DATA_BASE,
	DATA_PERM,
	DATA_VECTOR,
	DATA_ANGLES,
	DATA_MATRIX,
	DATA_PLANE,
	DATA_SCALAR,
} TransformData;

typedef struct TransformInfo {
	const char *text, *key, *what;
	int children;
	TransformData data;
} TransformInfo;
extern const TransformInfo transform_table[TRANSFORM_KINDS];

enum {
	TRANSFORM_ORDER_MAX = 1 << 24,
	TRANSFORM_MATRIX_MAX = 8192, /* order of stored matrices */
	TRANSFORM_DEPTH_MAX = 64,    /* of nested text */
};

typedef struct Transform Transform;
struct Transform {
	uint8_t kind;	   /* TransformKind */
	uint32_t n, n_out; /* elements of the row it reads and of the one it writes: equal but for
			      PAD */
	const Transform *const *children;
	uint32_t n_children;
	const Base *base; /* HADAMARD */
	bool transposed;  /* HADAMARD: H^T, where H is not symmetric; PAD: drops what pad appends */
	const Codelet *program; /* HADAMARD: of the base, or of its transpose; null for order 1 */
	const Codelet *other_program; /* of the other of the two; null: not made yet */
	const uint32_t *perm;	      /* PERM [n] */
	const double *vector;	      /* SIGNS, DIAGONAL, HOUSEHOLDER [n]; SO2 [n/2]: angles */
	const double *matrix;	      /* ORTHOGONAL, MATRIX [n][n] */
	const double *inverse;	      /* MATRIX [n][n] */
	uint32_t i, j;		      /* GIVENS */
	double scalar;		      /* GIVENS: angle; SCALAR: c */
	const char *name; /* the plan's name for it, or null: how it is printed by reference */
	double drift;	  /* ORTHOGONAL: largest |Q^T Q - I| of the data before projection */
};

/* ---- making ------------------------------------------------------------------------------- */

/*
 * Each constructor checks its arguments; null with *why a sentence for the user. Data is copied.
 * Children are shared.
 */
const Transform *transform_identity(Arena *a, uint32_t n);
const Transform *transform_hadamard(Arena *a, uint32_t n, const Base *base, const char **why);
const Transform *transform_perm(Arena *a, uint32_t n, const uint32_t *perm, const char **why);
const Transform *transform_vector(Arena *a, TransformKind kind, uint32_t n, const double *v,
				  const char **why);
/*
 * ORTHOGONAL: refused where |Q^T Q - I| exceeds 1e-3, else projected (polar) in double. MATRIX:
 * refused where the condition number exceeds 1e10.
 */
const Transform *transform_matrix(Arena *a, TransformKind kind, uint32_t n, const double *m,
				  const char **why);
const Transform *transform_givens(Arena *a, uint32_t n, uint32_t i, uint32_t j, double angle,
				  const char **why);
const Transform *transform_scalar(Arena *a, uint32_t n, double c, const char **why);
/* PRODUCT, KRONECKER, SUM of count children; one child is itself. */
const Transform *transform_compose(Arena *a, TransformKind kind, const Transform *const *children,
				   uint32_t count, const char **why);
const Transform *transform_block(Arena *a, const Transform *child, uint32_t n, const char **why);
const Transform *transform_pad(Arena *a, uint32_t n, uint32_t n_out, const char **why);
/*
 * Pushed inwards at once, so INVERSE and TRANSPOSE never stay in a finished expression. Where T
 * pads (n_out > n), its inverse is one from the left: T^-1 T = I, and W T^-1 reads T x as W reads
 * x. pad^-1 is its transpose, which drops what was appended.
 */
const Transform *transform_inverse(Arena *a, const Transform *t);
const Transform *transform_transpose(Arena *a, const Transform *t);

/* ---- knowing ------------------------------------------------------------------------------ */

typedef struct TransformFacts {
	bool identity, orthogonal, symmetric, permutation, signed_permutation, diagonal;
	uint32_t block;		   /* smallest b with T = direct sum of blocks of b */
	uint64_t adds, multiplies; /* of one application to a row, by its fast form */
} TransformFacts;
TransformFacts transform_facts(const Transform *t);
/* The same map, as far as the normal form shows it. */
bool transform_equal(const Transform *a, const Transform *b);
/* The same expression: kinds, children and data. */
bool transform_same(const Transform *a, const Transform *b);

/*
 * Leaves: the parts of an expression that hold numbers or a permutation, by what they are stored
 * as, each once, in the order of the text. Returns how many.
 */
uint32_t transform_leaves(Arena *a, const Transform *t, const Transform *const **leaves);
/* Whether two expressions differ in what their leaves hold alone: then one code does both. */
bool transform_alike(const Transform *a, const Transform *b);

/*
 * Normal form: products flattened; T T^-1 = I; permutations, signs, diagonals and scalars merged;
 * (A (x) B)(C (x) D) = AC (x) BD; identities and blocks of identities dropped; one scalar, in
 * front. The map never changes.
 */
const Transform *transform_normalise(Arena *a, const Transform *t);

/* ---- doing -------------------------------------------------------------------------------- */

/* Elements of the longest row on the way through T: n, but where it pads. */
uint32_t transform_span(const Transform *t);
/* row[n_out] = T row, in place, by the fast form; row and the scratch `work` have room for
 * transform_span(t) doubles. */
void transform_apply(const Transform *t, double *row, double *work);
/*
 * Many rows at a time, rows [count][n] in place; work: as many doubles. A T that pads takes one, as
 * transform_apply does.
 * Stored matrices are multiplied by `by`, or where it is null by dense.h: y [rows][n] = x m^T.
 */
typedef struct TransformProducts {
	void (*multiply)(const void *arg, size_t rows, size_t n, const double *x, const double *m,
			 double *y);
	const void *arg;
} TransformProducts;
void transform_apply_rows(const Transform *t, double *rows, size_t count, double *work,
			  const TransformProducts *by);
/* The dense matrix m [n_out][n]: tests, and small cases. */
void transform_dense(const Transform *t, double *m);
/*
 * Folding: each row of w [rows][n] becomes row * T^-1 (a reader's weights), or each column of
 * w [n][columns] becomes T * column (a producer's weights). T must be square (n == n_out).
 */
void transform_fold_reader(Arena *scratch, const Transform *t, double *w, uint32_t rows);
void transform_fold_producer(Arena *scratch, const Transform *t, double *w, uint32_t columns);

/* ---- text --------------------------------------------------------------------------------- */

/*
 * `H(576, paley2(17))`, `block(H(32), 1536)`, `P[2 0 1]`, `D[1 0.5]`, `A * B`, `A (x) B`, `A (+)
 * B`, `inv(A)`, `T(A)`, `pad(576, 1024)`. Only the whole form reads back: in the others a long list
 * is its first numbers, and a named transform its name in the last.
 */
typedef enum TransformForm { TRANSFORM_WHOLE, TRANSFORM_BRIEF, TRANSFORM_NAMED } TransformForm;
void transform_print(Text *t, const Transform *x, TransformForm form);
/* Reads the text form at *s and advances it; null with *why and *s at the offence. `named` resolves
 * names. */
const Transform *transform_parse(Arena *a, const char **s,
				 const Transform *(*named)(void *arg, const char *name, size_t n),
				 void *arg, const char **why);

#endif
