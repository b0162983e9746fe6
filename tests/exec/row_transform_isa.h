/* The emitted transforms of one ISA level: `i` is a row of row_transform_cases.def. */
#ifndef LATHE_TESTS_ROW_TRANSFORM_ISA_H
#define LATHE_TESTS_ROW_TRANSFORM_ISA_H

typedef struct TransformIsa {
	const char *name;
	void (*const *rows)(float *x, float *work);
	/* Sylvester's transform, not divided, by three loops as a textbook has them. */
	void (*plain)(int n, float *x);
} TransformIsa;

extern const TransformIsa transform_isa_c, transform_isa_v3, transform_isa_v4;

#endif
