/*
 * Rotations that are made of what calibration sees at a site. A kind is a row of rotations.def and
 * a function; what it returns the compiler executes as any transform of a plan.
 */
#ifndef LATHE_GEN_METHOD_SITES_H
#define LATHE_GEN_METHOD_SITES_H

#include "recipe.h"

/* One site of one layer, as the model has it under R1 and R2, smoothed by site.smooth. */
typedef struct SiteProblem {
	const Recipe *recipe;
	const Model *model;
	const Linalg *linalg;
	Site site; /* of stage_sites */
	uint32_t layer, n;
	const float *x; /* [tokens][n], unrounded; the norm's gain is in x, or under R1 in w */
	size_t tokens;
	/* [rows][n]: the weights of all readers, one below the other. Null where experts read:
	 * theirs are never in memory together, and kotms, which asks for them, is refused there. */
	const float *w;
	uint32_t rows;
	const double *peaks; /* [n], without w: the largest |w| of each column */
	int jobs;
	uint64_t seed; /* of this site */
} SiteProblem;

/* T of order n for x' = T x; null with *why. What it holds lies in run. */
typedef const Transform *(*SiteRotationFn)(Arena *run, const SiteProblem *p, const char **why);
const Transform *site_chain(Arena *run, const SiteProblem *p, const char **why);
const Transform *site_kotms(Arena *run, const SiteProblem *p, const char **why);
const Transform *site_ruquant(Arena *run, const SiteProblem *p, const char **why);
const Transform *site_walsh(Arena *run, const SiteProblem *p, const char **why);
const Transform *site_influence(Arena *run, const SiteProblem *p, const char **why);
/* What of the recipe's Walsh rotations the model's widths do not allow; null: nothing. */
const char *walsh_fault(Arena *run, const Recipe *r, const Model *m);

/* The recipe's rotation at a site of the four; ROTATION_NONE at any other. */
Rotation site_rotation(const Recipe *r, Site site);
/* Whether its rows are smoothed in front of that rotation. */
bool site_smooths(const Recipe *r, Site site);
/* Whether it is made of what calibration sees. */
bool site_rotation_seen(Rotation k);
/* The longest block for rows of n that is at most site.block, divides n and has a Hadamard matrix:
 * n for site.block 0; null with *why where there is none but 1. */
uint32_t site_block(Arena *scratch, const Recipe *r, uint32_t n, const char **why);
/* v [n] of the reflection in t, an orthogonal product but for what stands behind it, as if it were
 * the last of all; false: t, or null, has none. And t with another v; null with *why. */
bool ruquant_reflection(Arena *scratch, const Transform *t, double *v);
const Transform *ruquant_moved(Arena *run, const Transform *t, const double *v, const char **why);
/* The longest run of elements that divides rows of n, at most site.block: of matrices of any order.
 */
uint32_t site_divisor(const Recipe *r, uint32_t n);
/* At which of the four sites no such rotation is known for the model's width, and which ones are;
 * null: nowhere. */
const char *sites_width_fault(Arena *run, const Recipe *r, const Model *m);

/* d [n], by which element i is multiplied: w^(1 - a) / x^a over the geometric mean of all, x and w
 * the largest sizes of the element and of its column, a = site.smooth (ruquant.md 2.2). It does not
 * matter whether the norm's gain is in x or in w. At o's input elements that come from one of v
 * share theirs, so that it goes into v. */
void site_smoothing(const SiteProblem *p, double *d);

/* Rotations, permutation and diagonal of the plan that what calibration sees decides: the model
 * under R1 and R2, which the plan has, goes through the first sequences. false after diagnostics.
 */
bool sites_choose(Arena *run, Diag *d, const RecipeRun *o, Pool *pool, Plan *p);

#endif
