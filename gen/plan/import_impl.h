/* What the dialects of rotation share: which module of a model is transformed where, by what. */
#ifndef LATHE_GEN_PLAN_IMPORT_IMPL_H
#define LATHE_GEN_PLAN_IMPORT_IMPL_H

#include "gen/plan/import.h"

typedef enum Module {
#define MODULE(e, name, layered, role) e,
#include "modules.def"
	MODULES
} Module;

typedef struct ModuleInfo {
	const char *name; /* the Hugging Face one; '#' is the layer */
	bool layered;
	int role; /* of its matrix, -1: none */
} ModuleInfo;
extern const ModuleInfo module_table[MODULES];

/* Where a tool transforms a module with weights W [out, in]. */
typedef enum Spot {
	SPOT_INPUT,   /* runs: the module reads T x */
	SPOT_COLUMNS, /* stored: W T */
	SPOT_ROWS,    /* stored: T W and T b; rows of an embedding T e */
	SPOT_OUTPUT,  /* runs: T y */
	SPOT_QUERIES, /* runs, of attention: on each head of q behind rope */
	SPOT_KEYS,    /* likewise of k */
	SPOTS
} Spot;

/* A map x' = T x of rows of order n, or of each run of n. */
typedef struct Atom {
	const char *name;
	uint32_t n;
	const Transform *t, *inverse; /* null: nobody has stored it */
	bool involution;	      /* T T = I */
	bool orthogonal;
} Atom;

typedef struct Factor {
	const Atom *atom;
	bool inverse;
} Factor;

/* A product of maps, the last factor first; reduced: no two neighbours cancel. */
enum { WORD_MAX = 16 };
typedef struct Word {
	Factor factors[WORD_MAX];
	uint32_t n;
	Loc loc; /* of what said so last */
} Word;

typedef struct Import {
	Arena *arena;
	Diag *d;
	const Model *m;
	const ModelRotation *rotation;
	Plan *plan;
	Word *words[MODULES][SPOTS]; /* [n_layer] or [1] */
	bool said_unknown;
} Import;

Import *import_new(Arena *a, Diag *d, const Model *m, Loc loc);
uint32_t import_layers(const Import *x, Module m);
/* Name of a module of a layer. */
const char *import_name(const Import *x, Module m, uint32_t layer);
/* Elements that the module reads (INPUT, COLUMNS) or makes; 0: none. */
uint32_t import_width(const Import *x, Module m, Spot s);
/*
 * One more transform at a spot: behind those that are there already, but INPUT, where the last one
 * that is said runs first, and COLUMNS, which are multiplied from the right. false after a
 * diagnostic: a spot that the module has not, or an order that does not divide its width.
 */
bool import_apply(Import *x, Module m, Spot s, uint32_t layer, const Atom *atom, bool inverse,
		  Loc loc);
/* The sites of what was applied; each must undo what it should. false after diagnostics. */
bool import_finish(Import *x);

/* Who has a base matrix that no construction gives: the tensor, null: nobody, of a name. */
typedef struct ImportBases {
	const SafeTensor *(*find)(const void *from, const char *name);
	const void *from;
	const char *name; /* null: its order in digits */
} ImportBases;

/* The Hadamard transform of order n as QuaRot, SpinQuant and auto-round have it; null after a
 * diagnostic. */
const Transform *import_hadamard(const Import *x, uint32_t n, ImportBases bases);
/* The map R^T, R the stored t [n][n] times factor; null after a diagnostic: it is not orthogonal.
 */
const Transform *import_orthogonal(const Import *x, const SafeTensor *t, double factor);
/* r1 is folded into all that makes the residual and all that reads it. */
bool import_residual(Import *x, const Atom *r1, Loc loc);

/* The dialects: each applies what x->rotation or the files say. false after diagnostics. */
bool import_compressed(Import *x);
bool import_prism(Import *x);
bool import_auto_round(Import *x);
bool import_matrices(Import *x, const ImportFiles *files);

/* A name in the list of those that are understood; a diagnostic otherwise. */
bool import_refuse(const Import *x, Loc loc, const char *format, ...) LATHE_PRINTF(3, 4);

#endif
