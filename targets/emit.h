/*
 * From a scheduled graph to the C files of an artefact. Everything printed depends on the graph,
 * the layout, the name and the target alone.
 */
#ifndef LATHE_TARGETS_EMIT_H
#define LATHE_TARGETS_EMIT_H

#include "layout.h"
#include "target.h"

/* What the emitters know of the artefact. */
/* Where the kernels of devices have exp, 1/x and 1/sqrt(x) from: the contract of ir/README.md,
 * whose bits are every machine's, or libclc, outside it. CPUs have the contract's. */
typedef enum Math { MATH_CONTRACT, MATH_LIBCLC, MATHS } Math;
extern const char *const math_names[MATHS];

typedef struct Artefact {
	const Graph *graph;
	const Layout *layout;
	const char *name;  /* of files, as the user gave it */
	const char *ident; /* of C symbols: each byte that no identifier may hold is `_` */
	const Target *const *targets; /* best first */
	int n_targets;
	uint8_t build[32]; /* identity of model, formats and layout */
	uint64_t weights_checksum;
	Math math;
	bool dpas; /* arc: batches by the matrix instruction */
	const struct NpuOptions *npu;
} Artefact;

/* name with every byte that a C identifier may not hold replaced; a leading digit gets `m` in
 * front. */
char *emit_ident(Arena *a, const char *name);

/*
 * A template with its holes filled: @name@, @NAME@, and the model's constants. A hole without a
 * value is our bug.
 */
void emit_template(Text *t, const Artefact *x, const char *template_name);

Text *emit_header(Arena *a, const Artefact *x);	  /* NAME.h */
Text *emit_internal(Arena *a, const Artefact *x); /* NAME_internal.h */
Text *emit_api(Arena *a, const Artefact *x);	  /* NAME.c */
/* NAME_SUFFIX.c: the vector words, the kernels and the phases of one ISA level. */
Text *emit_level(Arena *a, const Artefact *x, const Target *target);
/* NAME_weights.c: the weights by .incbin. */
Text *emit_weights(Arena *a, const Artefact *x);

/* emit_kernels.c: the kernels of one unit, then its phases and its table `IDENT_phases`. */
void emit_unit(Text *t, const Artefact *x, const Unit *u);
/* The specialised linear functions that all units call. */
void emit_linears(Text *t, const Artefact *x);
/* emit_transform.c: the Hadamard functions that all transforms of the file call; the function
 * `NAME(float *x, float *work)` of a transform, in place, with 4 rows of work, `what` in the
 * comment above it; where some of its tables lie in the weights, they are its third argument. */
void emit_hadamard_functions(Text *t, const Artefact *x);
void emit_transform(Text *t, const char *name, const char *what, const Transform *x,
		    const Constant *tables);
/* n transforms with the functions that they call, all tables being code. */
void emit_transforms(Text *t, const char *const *names, const Transform *const *x, int n);
/* emit_cache.c: bytes of a position in front of a layer, the table of layers, and the formats in
 * words: the layers' own where they differ. */
uint64_t emit_cache_offset(const Graph *g, uint32_t layer);
void emit_caches(Text *t, const Artefact *x);
const char *emit_cache_words(Arena *a, const Graph *g);
/* f32 elements of a worker's memory inside kernels; all bytes of that memory. */
uint64_t emit_scratch_floats(const Artefact *x);
uint64_t emit_scratch_bytes(const Artefact *x);

/* One kernel with what stands in front of it, as all levels have it. */
void emit_kernel_source(Text *t, const Artefact *x, const Unit *u, int kernel);
/* A kernel's C name and what it computes: values, ops, tensors, a linear's specification. */
void emit_kernel_words(Arena *a, const Artefact *x, const Unit *u, int kernel, const char **name,
		       const char **words);

#endif
