/* How entries.c and transform.c write calls down. */
#ifndef LATHE_TARGETS_ARC_CALL_H
#define LATHE_TARGETS_ARC_CALL_H

#include "arc.h"

static inline ArcArgument
arc_int(int64_t v)
{
	return (ArcArgument){.kind = ARC_INT, .value = v};
}

static inline ArcArgument
arc_long(uint64_t v)
{
	return (ArcArgument){.kind = ARC_LONG, .value = (int64_t)v};
}

static inline ArcArgument
arc_float(float v)
{
	return (ArcArgument){.kind = ARC_FLOAT, .number = v};
}

static inline ArcArgument
arc_parameter(ArcParameter p, int64_t offset)
{
	return (ArcArgument){.kind = ARC_PARAMETER, .value = p, .offset = offset};
}

static inline ArcArgument
arc_local(int64_t floats)
{
	return (ArcArgument){.kind = ARC_LOCAL, .value = floats};
}

/* A call at the end of an entry; valid until the next. */
ArcCall *arc_call(Arena *a, ArcEntry *n, const char *function);
void arc_add(ArcCall *c, ArcArgument v);

/* Floats of local memory that nothing else uses. */
typedef struct ArcWork {
	int at, floats;
} ArcWork;

/* The tables of a value's transform in the weights. */
typedef struct ArcTables {
	const Transform *whole;	  /* the value's */
	const Constant *constant; /* null: all tables are code */
	ArcArgument argument;	  /* the constant */
} ArcTables;

/* transform.c: each of `runs` runs of the local row at float x, one behind the other, becomes
 * transformed, in place. */
void arc_transform(Arena *a, ArcProgram *p, ArcEntry *n, const Transform *t, ArcTables tables,
		   int runs, int x, ArcWork w);
/* Whether all leaves of t, a part of the value's transform, are leaves of that. */
bool arc_tables_cover(Arena *a, ArcTables tables, const Transform *t);
/* Floats of work that it wants for runs of `floats` together. */
int arc_transform_work(const Transform *t, int floats);

#endif
