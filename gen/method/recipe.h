/*
 * `lathe plan`: a recipe's stages make a plan that the compiler executes as it is. Settings are the
 * rows of settings.def, named recipes the rows of recipes.def: strings of settings.
 */
#ifndef LATHE_GEN_METHOD_RECIPE_H
#define LATHE_GEN_METHOD_RECIPE_H

#include "gen/options.h"
#include "ir/graph.h"
#include "ir/plan.h"
#include "round.h"
#include "stream.h"

/* What happens at the sites; 0 where a block has no fixed width: the whole row. */
typedef enum Rotation { ROTATION_NONE, ROTATION_HADAMARD, ROTATION_SIGNS, ROTATIONS } Rotation;
typedef enum Permutation {
	PERMUTE_NONE,
	PERMUTE_ABSMAX,
	PERMUTE_ZIGZAG,
	PERMUTE_RANDOM,
	PERMUTE_MASSDIFF,    /* perq.md section 3: by the mean of |x| */
	PERMUTE_MASSDIFF_L2, /* by the root of the mean of x^2 */
	PERMUTATIONS
} Permutation;

typedef struct Recipe {
	const char *name;
	Rotation residual, head, down, qk; /* R1, R2, R3, on q and k behind rope */
	uint32_t down_block;		   /* of R3; 0: the whole row */
	Permutation permute;		   /* P3, in front of R3 */
	Format weights, activations, kv;   /* activations f32: none */
	Format head_weights;		   /* of embedding and head */
	uint8_t query_bits;
	Rounding rounding;
	bool site_by_site; /* moments of a site behind the rounding of the sites before it */
	bool clip;	   /* a factor of each site's range by search */
	uint32_t sequences, length;
	uint64_t seed;
} Recipe;

/* What a key may be set to, for --help, errors and tests: rows of settings.def. */
bool recipe_set(Diag *d, Recipe *r, const char *key, const char *value);
/* A row of recipes.def; false after a diagnostic with the nearest name. */
bool recipe_named(Diag *d, Recipe *r, const char *name);
/* The whole recipe as text, one setting a line: part of the plan, and what a resumed run compares.
 */
void recipe_print(Text *t, const Recipe *r);
/* Whether its settings go together and with the model; false after diagnostics. */
bool recipe_check(Arena *run, Diag *d, const Recipe *r, const Model *m);

typedef struct RecipeRun {
	const Model *model;
	const Recipe *recipe;
	const Tokens *tokens;
	uint64_t memory; /* bytes for rows; 0: half of the machine's */
	int jobs;
	const char *state; /* folder for a resumed run; null: none */
	void (*progress)(void *arg, const char *what, double share);
	void *progress_arg;
} RecipeRun;
/* The plan, its codes included; null after diagnostics. */
Plan *recipe_run(Arena *run, Diag *d, const RecipeRun *r);

/* ---- stages (a file each) ------------------------------------------------------------------- */

/* rotate.c: writes the recipe's rotations to the plan. */
bool stage_rotate(Arena *run, Diag *d, const Recipe *r, const Model *m, Plan *p);
/* permute.c: from the rows that down reads in every layer, before rotations; P3 in front of what
 * the plan has there. mean, peak, square: [n_layer][inter] of |x|: mean, largest, mean of squares.
 */
typedef struct RowStatistics {
	float *mean, *peak, *square;
} RowStatistics;
void stage_permute(Arena *run, const Recipe *r, const Model *m, const RowStatistics *s, Plan *p);

/* calibration.c: a text's ids by the model's tokenizer, cut into sequences; refuses (null) text
 * that is too short, is not UTF-8, or is the evaluation text by its digest. */
const Tokens *calibration_tokens(Arena *run, Diag *d, const Model *m, const char *path,
				 const Recipe *r, const char *cc, uint8_t sha256[32]);

#endif
