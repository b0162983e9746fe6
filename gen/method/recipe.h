/*
 * `lathe plan`: a recipe's stages make a plan that the compiler executes as it is. A recipe is its
 * settings, rows of settings.def; a named one is a row of recipes.def, a string of settings.
 */
#ifndef LATHE_GEN_METHOD_RECIPE_H
#define LATHE_GEN_METHOD_RECIPE_H

#include "gen/options.h"
#include "ir/graph.h"
#include "ir/plan.h"
#include "round.h"
#include "stream.h"

/* What a rotation is. */
typedef enum Rotation {
#define ROTATION(e, name, make, fits, what) e,
#include "rotations.def"
	ROTATION_KINDS
} Rotation;
/* In what order the elements of mlp.mid lie (perq.md section 3). */
typedef enum Permutation {
	PERMUTE_NONE,
	PERMUTE_ABSMAX, /* by falling largest |x| */
	PERMUTE_ZIGZAG, /* so dealt to the blocks, there and back */
	PERMUTE_RANDOM,
	PERMUTE_MASSDIFF,    /* blocks of equal mean |x| */
	PERMUTE_MASSDIFF_L2, /* of equal root of the mean of x^2 */
	PERMUTATIONS
} Permutation;
/* What queries and keys are turned to in front of rope: nothing, or their principal axes. */
typedef enum RawRotation { RAW_NONE, RAW_PCA, RAW_ROTATIONS } RawRotation;
/* In what order the coordinates of a Walsh transform lie. */
typedef enum WalshOrder { WALSH_NATURAL, WALSH_SEQUENCY, WALSH_ORDERS } WalshOrder;
/* Where ruquant's reflection of the whole row stands: behind its blocks, or as the same map in
 * front of them, its dot product that of the untransformed row. */
typedef enum Reflect { REFLECT_NONE, REFLECT_BEHIND, REFLECT_FRONT, REFLECTS } Reflect;
/* Whether whole rows are padded to a power of two under Walsh, and whose influence the coordinates
 * then have: all their own, or as released, where those behind the row's width count as even. */
typedef enum WalshPad { WALSH_PAD_NO, WALSH_PAD_YES, WALSH_PAD_RELEASED, WALSH_PADS } WalshPad;
/* How a clip ratio of rows is chosen: not at all, or by the squared error of the outputs. */
typedef enum Clip { CLIP_NONE, CLIP_OUTPUT, CLIP_RULES } Clip;
/* What a linear's outputs should be near to: those of its own weights on the rows that it reads, or
 * of its weights on the rows that the unrounded model has there. */
typedef enum Target { TARGET_SELF, TARGET_CROSS, TARGETS } Target;

typedef struct Recipe {
	int residual, head, down, qk; /* Rotation: R1, R2, R3, on q and k behind rope */
	int attn, o, mlp;	      /* Rotation: at those sites, at run time */
	int block;		      /* of R3; 0: the whole row */
	int site_block;	    /* of rotations that sites.h makes, at most; 0: the whole row */
	double site_smooth; /* power, in front of those; 0: none */
	bool smooth_o;	    /* at o's input too */
	int ruquant_steps, ruquant_givens; /* of a matrix; 1: turned as released */
	int ruquant_reflect;		   /* Reflect */
	int ruquant_tune;		   /* steps, 0: none */
	double ruquant_rate;
	int statistics;		     /* tokens that those and permutations are made of */
	int permute;		     /* Permutation: P3, in front of R3 */
	int clip;		     /* Clip */
	double budget, budget_pairs; /* allocate.h */
	int budget_tokens;
	int kotms_factors, kotms_loss, kotms_steps; /* site_kotms.h */
	double kotms_rate;
	int raw;	 /* RawRotation */
	int walsh_order; /* WalshOrder */
	int walsh_pad;	 /* WalshPad */
	double walsh_exponent;
	Format weights, activations, kv, table; /* table: embedding and head */
	bool signs;				/* scales of weights may be negative */
	int query;				/* bits of a query that meets an integer cache */
	int scale, curvature, groups, round, order, polish, fit,
		target; /* round.h's enums, Target */
	bool refit;
	double damp, alpha, hold;
	double weights_clip; /* absmax: factor of the range that codes span; 0: none */
	double smooth;	     /* at mlp.mid; 0: none */
	double distil_rate;  /* 0: by the bits */
	double block_slack;  /* blocks of R3 layer by layer; 0: block */
	int mse_steps, sweeps;
	int distil; /* steps, 0: none */
	int sequences, length, seed;
} Recipe;

/* One setting: `key=value`. An unknown key or value is refused with what there is (false). */
bool recipe_set(Diag *d, Recipe *r, const char *setting);
/* The settings of a named recipe over the defaults. */
bool recipe_named(Diag *d, Recipe *r, const char *name);
/* "w4a8", "w2a16g64", "wta8" (ternary), "wt5a16" (five a byte): formats by their bits, keeping
 * kinds that the recipe has. */
bool recipe_bits(Diag *d, Recipe *r, const char *bits);
/* All settings, one a line: what a plan records. */
void recipe_print(Text *t, const Recipe *r);
/* Names and keys with what they mean. */
void recipe_help(Text *t);
Rounding recipe_rounding(const Recipe *r);
/* Whether the run gives linear v of f codes, or what experts multiply with: those of layers with
 * integer weights. */
bool recipe_rounds(const Graph *g, const Func *f, const Value *v);
/* How many matrices of value i get codes there: of experts all, at the first slot. */
uint32_t recipe_matrices(const Graph *g, const Func *f, int i);
/* The site whose rows value i of f makes codes of for linears of a layer; -1: it does not. */
int recipe_clip_site(const Func *f, int i);
/* The clip ratio of that site's rows from here on, in graph and plan; 0: none. */
void recipe_put_clip(Graph *g, Plan *p, const Func *f, int i, float ratio);
/* Whether the settings go together and with the model; false after diagnostics. */
bool recipe_check(Arena *run, Diag *d, const Recipe *r, const Model *m);

typedef struct RecipeRun {
	Model *model;
	const Recipe *recipe; /* recipe_check has passed it */
	const Linalg *linalg;
	const Tokens *tokens;
	const TokenText *text; /* what `tokens` were cut from, and `held` were not: with distil */
	const Tokens *held;
	int jobs;
	const char *state;    /* folder of a run that can be taken up again, or null */
	const char *identity; /* all that the run depends on besides its settings */
	void (*progress)(void *arg, const char *what, double share);
	void *progress_arg;
} RecipeRun;
/* The graph of m under p, all passes run; null after diagnostics. */
Graph *recipe_graph(Arena *run, Diag *d, Model *m, Plan *p);
/* The plan with its codes, whose memory is the pool's; null after diagnostics. */
Plan *recipe_run(Arena *run, Diag *d, const RecipeRun *r, Pool *pool);

/* ---- stages --------------------------------------------------------------------------------- */

/* Where a layer's linears read rows. */
enum { STAGE_SITES = 5 };
extern const Site stage_sites[STAGE_SITES];

/* The next number by chance: splitmix64. */
uint64_t stage_random(uint64_t *state);
/* n numbers in an order by chance. */
void stage_shuffle(uint64_t *state, uint32_t n, uint32_t *order);

/* Of the rows that down reads, or the downs of all experts, each [n_layer][n]: means of |x| and
 * x^2, largest |x|; sums of the squares of down's columns; what smoothing multiplies by. By layer
 * the block of R3. */
typedef struct RowStatistics {
	Site middle, down; /* where that is; no layer of the model may have it: n 0 */
	uint32_t n;
	float *mean, *square, *peak, *weight;
	double *diagonal;
	uint32_t *block;
} RowStatistics;
/* Writes formats, rotations, and what happens at mlp.mid, a diagonal and a permutation, to the
 * plan. false after diagnostics: a width without a base matrix, a block that does not divide. */
void stage_formats(const Recipe *r, const Model *m, Plan *p);
bool stage_rotate(Arena *run, Diag *d, const Recipe *r, const Model *m, Plan *p); /* R1, R2 */
/* What runs and needs no statistics: on q and k, and Hadamard transforms at sites. */
bool stage_online(Arena *run, Diag *d, const Recipe *r, const Model *m, Plan *p);
/* A Hadamard transform of order block, or one behind signs of the seed, on each block of n. */
const Transform *stage_blocks(Arena *run, Rotation kind, uint32_t n, uint32_t block, uint64_t seed,
			      const char **why);
/* Elements by falling size, the first of equals, dealt to blocks in turn, every other round
 * backwards: perm[i] is the element that stands at i (ruquant.md 2.5). */
void stage_zigzag(Arena *scratch, const float *size, uint32_t n, uint32_t block, uint32_t *perm);
bool stage_middle(Arena *run, Diag *d, const Recipe *r, const Model *m, const RowStatistics *s,
		  Plan *p);
/* The layer's diagonal; its statistics become those of the smoothed rows. */
void stage_smooth(const Recipe *r, const RowStatistics *s, uint32_t layer);
/* What a layer has at mlp.mid for blocks of R3 of a length, null: nothing, or with *why a fault;
 * and R3 in such blocks, null with *why. */
const Transform *stage_middle_of(Arena *run, const Recipe *r, const RowStatistics *s,
				 uint32_t layer, uint32_t block, const char **why);
const Transform *stage_down(Arena *run, const Recipe *r, const RowStatistics *s, uint32_t block,
			    const char **why);

/* A text's ids by the model's tokenizer. */
typedef struct Calibration {
	Tokens tokens; /* spread over the text evenly, each with the BOS in front that the model
			  wants */
	TokenText text;
	Tokens held; /* with distil: an eighth as many, of the text's end, which `text` goes without
		      */
} Calibration;

/* Refused (null): what is no UTF-8, too short, or the evaluation text by its digest, which `sha256`
 * receives. cc compiles the tokenizer. */
const Calibration *calibration_read(Arena *run, Diag *d, const Model *m, const char *path,
				    const Recipe *r, const char *cc, uint8_t sha256[32]);

#endif
