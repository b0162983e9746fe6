/*
 * What is known of a finished graph, for people: which transforms of a plan run and for whom, what
 * they cost, what a token reads. `lathe explain` prints it, and the report draws it.
 */
#ifndef LATHE_TARGETS_FACTS_H
#define LATHE_TARGETS_FACTS_H

#include "layout.h"

#include "../ir/plan.h"

/* Whether a site has rows in a function of g. */
bool facts_site_is_of(const Graph *g, const Func *f, Site s);
/* What the plan says of the site in a function; null: the site is not of this function. */
const PlanTransform *facts_planned(const Graph *g, const Plan *p, Site s, const Func *f);

enum { READERS_MAX = 8 };

/* A transform that runs: where, and for whom. */
typedef struct Online {
	int value;
	int readers[READERS_MAX]; /* linears, kv_append, attention */
	int n_readers;		  /* 0: the next function reads it */
} Online;

/* The next transform that runs at site s (-1: any) at or behind value i; false: none. */
bool facts_online(const Func *f, int s, int i, Online *o);
/* The site where it runs: that of the first row behind it that something reads. */
int facts_online_site(const Func *f, const Online *o);

/* Of one function and one token. */
typedef struct Sums {
	uint64_t adds, multiplies; /* of transforms */
	uint64_t multiply_adds;	   /* of linears */
	uint64_t bytes;		   /* of constants that are read: of an embedding one row */
} Sums;
Sums facts_sums(const Graph *g, const Layout *l, int func);
/* Transforms' adds and multiplies in percent of the linears', two to a multiply-add. */
double facts_share(const Sums *s);

/* The sums of all functions. */
Sums facts_all_sums(const Graph *g, const Layout *l);

/* What a graph stores of its weights: the elements of its matrices, and the bytes that stand for
 * them. A table that two functions read counts once. */
typedef struct Stored {
	uint64_t elements;
	uint64_t codes, scales, vectors; /* codes with their padding; vectors: gains, biases */
	uint64_t tables; /* of transforms that run: permutations, factors, matrices */
} Stored;
/* layers: only what functions of layers read. */
Stored facts_stored(const Graph *g, const Layout *l, bool layers);
uint64_t facts_stored_bytes(const Stored *s);
/* Bits of an element that so many bytes are. */
double facts_bits(const Stored *s, uint64_t bytes);
/* Bytes of a constant that are codes: of an embedding, of all its rows. */
uint64_t facts_code_bytes(const Constant *c);

/* A transform by the plan's names, cut where it is long; "I" for null. */
const char *facts_transform(Arena *a, const Transform *t);
/* What value i is called: its tensor where it is a linear, else its op. */
const char *facts_value_name(const Func *f, int i);
/* Bytes that the head's table takes in the weights. */
uint64_t facts_head_bytes(const Graph *g, const Layout *l);

#endif
