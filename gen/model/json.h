/*
 * JSON (RFC 8259) as a tree of values that know where they stand. Strict: UTF-8 is checked, a key
 * may occur once, depth is bounded, numbers must fit a double, nothing follows the value.
 */
#ifndef LATHE_GEN_MODEL_JSON_H
#define LATHE_GEN_MODEL_JSON_H

#include "ir/support.h"

enum { JSON_DEPTH = 64 };

typedef enum JsonKind {
	JSON_NULL,
	JSON_BOOL,
	JSON_NUMBER,
	JSON_STRING,
	JSON_ARRAY,
	JSON_OBJECT,
	JSON_KINDS
} JsonKind;
extern const char *const json_kind_names[JSON_KINDS]; /* "a string" */

typedef struct Json Json;
struct Json {
	uint8_t kind;	/* JsonKind */
	bool boolean;	/* BOOL */
	bool integral;	/* NUMBER: a whole number that fits `integer` */
	uint32_t count; /* ARRAY, OBJECT: elements */
	Loc loc;	/* of its first byte */
	int64_t integer;
	double number;	    /* NUMBER: the nearest double */
	const char *string; /* STRING: decoded, without NUL bytes inside; NUMBER: as written */
	const Json *first;  /* ARRAY, OBJECT: elements in their order */
	const Json *next;   /* the next element of the same array or object */
	const char *key;    /* in an object */
	Loc key_loc;
};

/*
 * The value of text[0..size), whose byte 0 is byte `base` of a file known to d; null after
 * diagnostics. Strings and keys are copied into the arena.
 */
const Json *json_parse(Arena *a, Diag *d, uint32_t file, uint64_t base, const char *text,
		       size_t size);
/* The member of an object, null: none (or no object). */
const Json *json_get(const Json *object, const char *key);

#endif
