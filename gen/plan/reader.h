/* What the parts of the plan's reader share. */
#ifndef LATHE_GEN_PLAN_READER_H
#define LATHE_GEN_PLAN_READER_H

#include "gen/model/safetensors.h"
#include "gen/plan/plan.h"
#include "gen/plan/schema.h"

enum { NO_LAYER = -1 };

typedef struct NamedTransform {
	const char *name;
	const Json *json;
	bool broken, visiting, used;
	bool analysed, bound; /* bound: a data name below it holds '*' */
	/* Built once, or for each layer where bound; slot n_layer: outside the layers. */
	const Transform **built;
	uint32_t *nodes, *heights; /* of the built expressions */
} NamedTransform;

typedef struct PlanReader {
	Arena *arena;
	Diag *d;
	const Model *model;
	Plan *plan;
	const Json *json;
	const Safetensors *data; /* null: the plan has none, or it is broken */
	bool data_broken;
	bool *data_used; /* [data->count] */
	NamedTransform *named;
	uint32_t n_named;
	int errors_before; /* of the Diag, when reading began */
} PlanReader;

/* ---- rules: patterns and the places that they name (rules.c) ---------------------------- */

/* Names that patterns of one map may match: `suffix(i)` of one or of all layers. */
typedef struct Places {
	const char *what; /* "site" */
	int count;
	/* The name behind "layers.N." (layered) or the whole one; null: i is no place. An empty one
	 * stands for "layers.N" itself. */
	const char *(*name)(const PlanReader *r, int i);
	bool (*layered)(int i);
	/* How many matrices of that name a layer has: experts, each named by its number behind
	 * the name, which alone means all; null, or 0: none. */
	uint32_t (*experts)(const Model *m, int i);
} Places;

/* Full name of a place. */
const char *place_name(PlanReader *r, const Places *places, int i, uint32_t layer);
/*
 * Calls set(r, value, i, layer) for each place that a key of `map` matches, with the value of the
 * most specific one; where layers have experts, layer * experts + expert stands for the layer, and
 * a key that names single experts wins over one of all. Malformed patterns, equal ranks and
 * alternatives that match nothing are reported. A value that `check` refuses, or that `set` has
 * refused once, is set nowhere more.
 */
void rules_apply(PlanReader *r, const Json *map, const Places *places,
		 bool (*check)(Arena *a, Diag *d, const Json *value),
		 bool (*set)(PlanReader *r, const Json *value, int i, uint32_t layer));

/* ---- data (values.c) -------------------------------------------------------------------- */

/* The tensor of a data name with '*' bound to the layer; null after a diagnostic at v. */
const SafeTensor *data_find(PlanReader *r, const Json *v, int layer);
/* Numbers of a VALUES value: a vector, or with `matrix` a square; null after a diagnostic. */
const double *data_numbers(PlanReader *r, const Json *v, int layer, bool matrix, uint32_t *n);
const uint32_t *data_indexes(PlanReader *r, const Json *v, int layer, uint32_t *n);
/* Bytes of an I8 square: the entries of a base matrix. */
const int8_t *data_signs(PlanReader *r, const Json *v, int layer, uint32_t *order);
/* Whether v, 64 hexadecimal digits, is this digest; false after a diagnostic that says of what. */
bool digest_matches(PlanReader *r, const Json *v, const uint8_t digest[32], const char *what);

/* ---- sections --------------------------------------------------------------------------- */

void read_transforms(PlanReader *r); /* transforms.c: `transforms` and `apply` */
void read_formats(PlanReader *r);    /* formats.c: `weights`, `activations`, `kv` */
void read_codes(PlanReader *r);	     /* codes.c: what the sidecar holds of weights */

#endif
