/* Between the files that parse and evaluate Jinja. */
#ifndef LATHE_GEN_CHAT_JINJA_IMPL_H
#define LATHE_GEN_CHAT_JINJA_IMPL_H

#include "jinja.h"

typedef enum TokenKind {
	T_END,
	T_DATA,	     /* text between tags */
	T_PRINT,     /* {{ */
	T_PRINT_END, /* }} */
	T_BLOCK,     /* {% */
	T_BLOCK_END, /* %} */
	T_NAME,
	T_STRING, /* decoded */
	T_INTEGER,
	T_FLOAT,
	T_OPERATOR
} TokenKind;

typedef struct JinjaToken {
	uint8_t kind; /* TokenKind */
	Bytes text;
	uint32_t line;
} JinjaToken;

/* The tokens of a template, the last T_END; null: *why. */
const JinjaToken *jinja_tokens(Arena *a, Bytes text, const char **why);

typedef enum JinjaKind {
	/* statements; body, other: lists by next */
	J_TEXT,	 /* text */
	J_PRINT, /* a */
	J_IF,	 /* a, body, other */
	J_FOR,	 /* names: args, in a, if b, body, else other */
	J_SET,	 /* name text, attribute of a namespace b's text or null, value a or body */
	J_MACRO, /* text, parameters args (J_NAME, J_KEYWORD), body */
	J_SCOPE, /* body */
	J_BREAK,
	J_CONTINUE,
	/* expressions */
	J_STRING,  /* text */
	J_INTEGER, /* number */
	J_FLOAT,
	J_NONE,
	J_BOOL, /* number */
	J_NAME, /* text */
	J_LIST, /* args */
	J_DICT, /* args: J_PAIR a, b */
	J_PAIR,
	J_KEYWORD,   /* text = a, an argument */
	J_BINARY,    /* a op b; op is text */
	J_NOT,	     /* a */
	J_NEGATIVE,  /* a */
	J_CHOICE,    /* a if b else other */
	J_ATTRIBUTE, /* a.text */
	J_INDEX,     /* a[b] */
	J_SLICE,     /* a[args: three, null ones J_NONE] */
	J_CALL,	     /* a(args) */
	J_FILTER,    /* a | text(args) */
	J_TEST,	     /* a is text(args) */
} JinjaKind;

typedef struct JinjaNode JinjaNode;
struct JinjaNode {
	uint8_t kind; /* JinjaKind */
	uint32_t line;
	Bytes text;
	int64_t number;
	const JinjaNode *a, *b, *args, *body, *other;
	JinjaNode *next;
};

struct Jinja {
	const JinjaNode *body;
};

/* ---- values --------------------------------------------------------------------------------- */

typedef enum ValueKind {
	V_UNDEFINED,
	V_NONE,
	V_BOOL,
	V_INTEGER,
	V_STRING,
	V_LIST,
	V_DICT,	    /* also namespaces and `loop` */
	V_FUNCTION, /* one of ours, by its name, or a macro */
} ValueKind;

typedef struct Value Value;
typedef struct Dict Dict;
struct Value {
	uint8_t kind; /* ValueKind */
	uint32_t n;   /* LIST */
	int64_t number;
	Bytes text;
	const Value *list;
	Dict *dict;
	const JinjaNode *macro; /* FUNCTION: null where it is ours */
};

struct Dict {
	Dict *next; /* in the order of insertion */
	Bytes key;
	Value value;
	Dict *last; /* of the first: where the next is appended; its own key is none */
};

typedef struct Arguments {
	const Value *v; /* positional */
	uint32_t n;
	const Dict *named; /* null: none */
} Arguments;

/* An evaluation. why: set by the first failure, after which nothing is done. */
typedef struct Evaluation {
	Arena *arena;
	Text *out;
	const char *why;
	uint64_t steps, bytes;
	uint32_t line;		   /* of what is evaluated */
	struct Scope *scope, *top; /* the innermost, the template's */
	int leaving;		   /* a loop: LEAVE_BREAK, LEAVE_CONTINUE */
	int depth;
} Evaluation;

Value jinja_fail(Evaluation *e, const char *format, ...) LATHE_PRINTF(2, 3);
/* Counts n more steps; false after a failure: it was too much. */
bool jinja_work(Evaluation *e, uint64_t n);
/* Memory for n bytes of values, counted; null after a failure. */
void *jinja_memory(Evaluation *e, uint64_t n);
Dict *jinja_dict_new(Evaluation *e);
void jinja_dict_set(Evaluation *e, Dict *d, Bytes key, Value v);
/* V_UNDEFINED where there is none. */
Value jinja_dict_get(const Dict *d, Bytes key);
bool jinja_are(Bytes a, const char *s);
Bytes jinja_bytes(const char *s);
bool jinja_true(const Value *v);
bool jinja_equal(Evaluation *e, const Value *a, const Value *b);
/* Whether `a` is in `b`. */
bool jinja_in(Evaluation *e, const Value *a, const Value *b);
/* As print writes it. */
Bytes jinja_text(Evaluation *e, const Value *v);
/* What `for` goes over. */
Value jinja_items(Evaluation *e, const Value *v);
Value jinja_string(Bytes text);
Value jinja_bool(bool b);
Value jinja_integer(int64_t n);
const char *jinja_kind_name(const Value *v);

Value jinja_filter(Evaluation *e, Bytes name, const Value *v, const Arguments *args);
Value jinja_test(Evaluation *e, Bytes name, const Value *v, const Arguments *args);
Value jinja_method(Evaluation *e, Bytes name, const Value *v, const Arguments *args);
/* Of a V_FUNCTION. */
Value jinja_function(Evaluation *e, Bytes name, const Arguments *args);
bool jinja_has_function(Bytes name);

#endif
