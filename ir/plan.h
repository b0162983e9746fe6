/*
 * A plan as the graph takes it: transforms at sites, formats of weights, activations and cache, and
 * ready codes. Patterns are resolved: every entry is about one tensor or site of one layer.
 */
#ifndef LATHE_IR_PLAN_H
#define LATHE_IR_PLAN_H

#include "model.h"
#include "transform.h"

typedef enum Site {
#define SITE(e, name, layered, width, heads, online, what) e,
#include "sites.def"
	SITE_COUNT
} Site;

typedef struct SiteInfo {
	const char *name, *what;
	bool layered, online;
} SiteInfo;
extern const SiteInfo site_table[SITE_COUNT];

/* Elements of the row at a site, and its runs that are transformed apart. */
void site_shape(const Model *m, Site s, uint32_t *width, uint32_t *heads);
/* Whether a model has rows there: experts, or an MLP of all tokens. */
bool site_exists(const Model *m, Site s);

/* What a plan says of one place; loc {0, 0}: nothing. */
typedef struct PlanTransform {
	const Transform *transform; /* relative: acts on what arrives at the site */
	bool keep_gain;		    /* the gain in front of the site stays a diagonal of its own */
	Loc loc;
} PlanTransform;

/* What a plan says of one tensor, row or layer's cache. Weights may have ZERO_REAL here. */
typedef struct PlanFormat {
	Format format;
	uint8_t query_bits; /* cache: of the query row that meets integer keys */
	Loc loc;
} PlanFormat;

/* Ready codes of one tensor, in the basis that the plan's transforms give its weights. */
typedef struct PlanCodes {
	const uint8_t *codes; /* [rows][columns], unsigned, the offset included; null: none */
	const float *scales;  /* [rows][groups] */
	const float *zeros;   /* [rows][groups], or null: zero points in codes, or minima */
	Loc loc;
} PlanCodes;

/* How a plan came to be and what it costs; nothing depends on it. Null: not known. */
typedef struct PlanMaker {
	const char *program, *recipe, *calibration, *machine; /* calibration: a digest's digits */
	double bits; /* a weight of layers, all that stands for it counted; 0: not known */
	uint64_t adds, multiplies; /* of transforms that run, a token */
} PlanMaker;

typedef struct Plan {
	const char *file, *data_file; /* paths of the plan and of its sidecar, or null */
	uint8_t sha256[32];	      /* of the plan's text */
	bool stored;		      /* the checkpoint already holds folded weights */
	/* [SITE_COUNT], layered sites have n_layer entries, others one; by role: [model_place]. */
	PlanTransform *transforms[SITE_COUNT];
	PlanFormat *activations[SITE_COUNT];
	PlanFormat *weights[ROLE_COUNT];
	PlanCodes *codes[ROLE_COUNT];
	PlanFormat *kv; /* [n_layer] */
	PlanMaker maker;
} Plan;

static inline bool
plan_says(Loc loc)
{
	return loc.file != 0;
}

/* What plans call a matrix: "head", "layers.0.q", "layers.0.expert_up.3". */
const char *plan_matrix_name(Arena *a, const Model *m, int role, uint32_t place);
/* A plan for m that says nothing. */
Plan *plan_new(Arena *run, const Model *m);

#endif
