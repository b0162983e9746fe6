/*
 * Objects of JSON whose every key must be understood: rows of a table say which are read, which do
 * no harm, and which are understood with one value only.
 */
#ifndef LATHE_GEN_MODEL_KEYS_H
#define LATHE_GEN_MODEL_KEYS_H

#include "json.h"

typedef enum KeyRule { KEY_USED, KEY_HARMLESS, KEY_ONLY } KeyRule;

typedef struct KeyRow {
	const char *key;   /* a final '*' stands for any rest */
	uint8_t rule;	   /* KeyRule */
	const char *value; /* ONLY: null, true, false, {}, a number, or a text behind a '=' */
} KeyRow;

/*
 * Whether each key of the object matches a row that holds; several rows may be of one key. `what`
 * names the object in messages. null stands for an absent object. false after diagnostics `id`.
 */
bool keys_check(Arena *a, Diag *d, const Json *object, const char *what, const KeyRow *rows,
		size_t n, DiagId id);
/* Rows of several objects, each behind a row with the object's name. */
typedef struct KeyObjectRow {
	const char *object; /* null: a row of the object above */
	KeyRow row;
} KeyObjectRow;

/* keys_check with the rows of the object `name`, which must be in the table. */
bool keys_check_object(Arena *a, Diag *d, const Json *object, const char *name,
		       const KeyObjectRow *rows, size_t n, DiagId id);
/* A value in short, for messages. */
const char *json_show(Arena *a, const Json *v);

/*
 * Members of an object by key, where absent or null the default. false after a diagnostic `id` at
 * the member: of another kind or out of range.
 */
bool key_integer(Diag *d, const Json *object, const char *key, int64_t least, int64_t most,
		 int64_t *value, DiagId id);
bool key_real(Diag *d, const Json *object, const char *key, double least, double most,
	      double *value, DiagId id);
bool key_bool(Diag *d, const Json *object, const char *key, bool *value, DiagId id);
bool key_text(Diag *d, const Json *object, const char *key, const char **value, DiagId id);
/* The member, null where absent or null. */
const Json *key_get(const Json *object, const char *key);

#endif
