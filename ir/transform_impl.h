/* What the files of the algebra share. */
#ifndef LATHE_IR_TRANSFORM_IMPL_H
#define LATHE_IR_TRANSFORM_IMPL_H

#include "transform.h"

/*
 * What a kind does. Only square expressions reach apply with a count above 1.
 */
typedef struct TransformOps {
	void (*facts)(const Transform *t, TransformFacts *f);
	/* rows [count][n] in place; work: as many doubles; by: null, or who multiplies matrices. */
	void (*apply)(const Transform *t, double *rows, size_t count, double *work,
		      const TransformProducts *by);
	const Transform *(*inverse)(Arena *a, const Transform *t);
	const Transform *(*transpose)(Arena *a, const Transform *t);
	/* The normal form, children not yet normal. */
	const Transform *(*normalise)(Arena *a, const Transform *t);
} TransformOps;
extern const TransformOps transform_ops[TRANSFORM_KINDS];

/* A copy of the fields with nothing checked. */
const Transform *transform_new(Arena *a, Transform t);
/* Composition of children that are known to fit. */
const Transform *transform_join(Arena *a, TransformKind kind, const Transform *const *children,
				uint32_t count);
const Transform *transform_repeat(Arena *a, const Transform *child, uint32_t n);

#define TRANSFORM_FACTS(name) void transform_facts_##name(const Transform *t, TransformFacts *f)
#define TRANSFORM_APPLY(name)                                                                     \
	void transform_apply_##name(const Transform *t, double *rows, size_t count, double *work, \
				    const TransformProducts *by)
#define TRANSFORM_REWRITE(what, name) \
	const Transform *transform_##what##_##name(Arena *a, const Transform *t)
#define TRANSFORM_FUNCTIONS(name) \
	TRANSFORM_FACTS(name);    \
	TRANSFORM_APPLY(name)
TRANSFORM_FUNCTIONS(identity);
TRANSFORM_FUNCTIONS(hadamard);
TRANSFORM_FUNCTIONS(perm);
TRANSFORM_FUNCTIONS(diagonal);
TRANSFORM_FUNCTIONS(matrix);
TRANSFORM_FUNCTIONS(householder);
TRANSFORM_FUNCTIONS(givens);
TRANSFORM_FUNCTIONS(so2);
TRANSFORM_FUNCTIONS(scalar);
TRANSFORM_FUNCTIONS(product);
TRANSFORM_FUNCTIONS(kronecker);
TRANSFORM_FUNCTIONS(block);
TRANSFORM_FUNCTIONS(sum);
TRANSFORM_FUNCTIONS(pad);
TRANSFORM_REWRITE(normalise, leaf);
TRANSFORM_REWRITE(normalise, product);
TRANSFORM_REWRITE(normalise, kronecker);
TRANSFORM_REWRITE(normalise, block);
TRANSFORM_REWRITE(normalise, sum);

#endif
