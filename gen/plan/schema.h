/* The plan's form as a table (schema.def), the check of a JSON value against it, and the table as
 * JSON Schema. */
#ifndef LATHE_GEN_PLAN_SCHEMA_H
#define LATHE_GEN_PLAN_SCHEMA_H

#include "gen/model/json.h"
#include "ir/transform.h"

typedef enum SchemaObject {
#define OBJECT(e, name, what) e,
#define KEY(object, key, type, argument, low, high, required, what)
#include "gen/plan/schema.def"
	SCHEMA_OBJECTS
} SchemaObject;

/* The form of a transform as the object that it is; O_PLAN: no key of v is a form's. */
SchemaObject schema_form(const Json *v);
/* The kind of a form. */
TransformKind schema_kind(SchemaObject form);

/*
 * Whether v is such an object: its keys known and present, each value of its type. What a MAP holds
 * is left to the caller, entry by entry. false after diagnostics, as many as there are faults.
 */
bool schema_check(Arena *a, Diag *d, const Json *v, SchemaObject object);
/* Whether v is a transform: a name or an object of a form, all the way down. */
bool schema_check_transform(Arena *a, Diag *d, const Json *v);
/* Whether v is what a site may be given: a transform, or an entry that holds one or says what
 * happens to the gain. */
bool schema_is_entry(const Json *v);
bool schema_check_applied(Arena *a, Diag *d, const Json *v);
/* Whether v is one format and not a map of formats. */
bool schema_is_single(const Json *v);

/* The JSON Schema (draft 2020-12) of a plan. */
void schema_print(Text *t);

#endif
