/*
 * Models whose weights another tool has stored in a rotated basis: what their files say of it
 * becomes a plan ("stored"). What is not understood, contradicts itself or does not cancel is
 * refused where it stands.
 */
#ifndef LATHE_GEN_PLAN_IMPORT_H
#define LATHE_GEN_PLAN_IMPORT_H

#include "gen/model/rotation.h"
#include "gen/plan/plan.h"

/* Rotations of a model whose own files say nothing. */
typedef struct ImportFiles {
	const char *dialect; /* of the tool that folded them in: spinquant, quarot; null: none */
	const Safetensors *const *files; /* its matrices by name, base matrices by their order */
	uint32_t n;
} ImportFiles;

/* The plan of m, which was read as `rotated`; null after diagnostics. */
Plan *plan_import(Arena *run, Diag *d, const Model *m, const ImportFiles *files);
/*
 * Whether plan p is one of m: where m's files say that its weights are rotated, "stored" and with
 * the transforms that they say. false after diagnostics.
 */
bool plan_check_rotation(Arena *run, Diag *d, const Model *m, const Plan *p);
/*
 * m [n][n], row-major, as a transform x' = m x: a Hadamard matrix (where each element is 1/sqrt(n)
 * or its negative within 1e-3) times signs where it is one, else an orthogonal matrix, else an
 * invertible one; null with *why.
 */
const Transform *transform_recognise(Arena *a, uint32_t n, const double *m, const char **why);

#endif
