#include "gen/plan/schema.h"

#include <stdlib.h>
#include <string.h>

typedef enum ValueType {
	INT,
	NUMBER,
	CHOICE,
	GROUP,
	TEXT,
	DIGEST,
	BOOL,
	VALUES,
	PAIR,
	EXPR,
	EXPRS,
	MEMBER,
	MAP,
	KV,
	VALUE_TYPES
} ValueType;

typedef struct SchemaKey {
	uint8_t object, type;
	const char *key, *argument;
	double low, high;
	bool required;
	const char *what;
} SchemaKey;

static const SchemaKey keys[] = {
#define OBJECT(e, name, what)
#define KEY(object, key, type, argument, low, high, required, what) \
	{object, type, key, argument, low, high, required, what},
#include "gen/plan/schema.def"
};
enum { N_KEYS = sizeof keys / sizeof *keys, NAMES_MAX = 64 };

static const struct {
	const char *name, *what;
} objects[SCHEMA_OBJECTS] = {
#define OBJECT(e, name, what) [e] = {name, what},
#define KEY(object, key, type, argument, low, high, required, what)
#include "gen/plan/schema.def"
};

static const SchemaKey *
key_find(SchemaObject object, const char *name)
{
	for (int i = 0; i < N_KEYS; i++)
		if (keys[i].object == object && !strcmp(keys[i].key, name))
			return &keys[i];
	return NULL;
}

static SchemaObject
object_find(const char *name)
{
	for (int i = 0; i < SCHEMA_OBJECTS; i++)
		if (!strcmp(objects[i].name, name))
			return (SchemaObject)i;
	BUG("no object %s in schema.def", name);
}

/* ---- words between bars ------------------------------------------------------------------- */

/* The word at *s, which moves behind it; false at the end. */
static bool
next_word(const char **s, const char **word, size_t *n)
{
	if (!**s)
		return false;
	*word = *s;
	*n = strcspn(*s, "|");
	*s += *n + ((*s)[*n] == '|');
	return true;
}

static bool
word_is_number(const char *word)
{
	/* "2bit" is a word */
	return *word >= '0' && *word <= '9' && strspn(word, "0123456789.|") == strlen(word);
}

static bool
choice_holds(const char *words, const Json *v)
{
	const char *word;
	size_t n;
	while (next_word(&words, &word, &n)) {
		if (v->kind == JSON_STRING && strlen(v->string) == n &&
		    !memcmp(v->string, word, n) && !word_is_number(word))
			return true;
		if (v->kind == JSON_NUMBER && word_is_number(word) &&
		    v->number == strtod(word, NULL))
			return true;
	}
	return false;
}

/* The word nearest to a wrong string, or null. */
static const char *
choice_near(Arena *a, const char *words, const char *wrong)
{
	const char *names[NAMES_MAX] = {0}, *word;
	size_t n, count = 0;
	while (count < NAMES_MAX && next_word(&words, &word, &n))
		names[count++] = arena_strndup(a, word, n);
	return nearest_name(wrong, names, count);
}

/* "fold, keep" */
static const char *
choice_list(Arena *a, const char *words)
{
	Text *t = text_new(a);
	const char *word;
	size_t n;
	while (next_word(&words, &word, &n))
		text_printf(t, "%s%.*s", t->size ? ", " : "", (int)n, word);
	return t->text;
}

/* ---- values ------------------------------------------------------------------------------- */

/* How a value is named in messages: a short one as it is, else its kind. */
static const char *
shown(Arena *a, const Json *v)
{
	if (v->kind == JSON_STRING && strlen(v->string) <= 40)
		return arena_printf(a, "\"%s\"", v->string);
	if (v->kind == JSON_BOOL)
		return v->boolean ? "true" : "false";
	if (v->kind == JSON_ARRAY && !v->count)
		return "an empty one";
	if (v->kind != JSON_NUMBER)
		return json_kind_names[v->kind];
	Text *t = text_new(a);
	if (v->integral)
		text_printf(t, "%lld", (long long)v->integer);
	else
		text_double(t, v->number);
	return t->text;
}

static bool
wrong(Arena *a, Diag *d, const SchemaKey *k, const Json *v, const char *wanted)
{
	diag_error(d, v->loc, E_PLAN_VALUE, "\"%s\" wants %s, not %s", k->key, wanted, shown(a, v));
	return false;
}

static bool
in_range(const SchemaKey *k, const Json *v)
{
	return v->kind == JSON_NUMBER && v->number >= k->low && v->number <= k->high;
}

static bool
check_int(Arena *a, Diag *d, const SchemaKey *k, const Json *v)
{
	if (in_range(k, v) && v->integral)
		return true;
	if (!strcmp(k->key, "lathe_plan") && v->kind == JSON_NUMBER) {
		diag_error(d, v->loc, E_PLAN_VERSION, "version %s of the plan is not known",
			   shown(a, v));
		diag_hint(d, "this Lathe reads version %.0f", k->high);
		return false;
	}
	return wrong(a, d, k, v,
		     arena_printf(a, "a whole number from %.0f to %.0f", k->low, k->high));
}

static bool
check_number(Arena *a, Diag *d, const SchemaKey *k, const Json *v)
{
	return in_range(k, v) ||
	       wrong(a, d, k, v, arena_printf(a, "a number from %g to %g", k->low, k->high));
}

static bool
check_choice(Arena *a, Diag *d, const SchemaKey *k, const Json *v)
{
	const bool group = k->type == GROUP;
	if (choice_holds(k->argument, v) || (group && v->integral && in_range(k, v)))
		return true;
	const char *list = choice_list(a, k->argument);
	wrong(a, d, k, v,
	      group ? arena_printf(a, "a whole number from %.0f to %.0f, or one of %s", k->low,
				   k->high, list)
		    : arena_printf(a, "one of %s", list));
	const char *near = v->kind == JSON_STRING ? choice_near(a, k->argument, v->string) : NULL;
	if (near)
		diag_hint(d,
			  word_is_number(near) ? "did you mean the number %s?"
					       : "did you mean \"%s\"?",
			  near);
	return false;
}

static bool
check_text(Arena *a, Diag *d, const SchemaKey *k, const Json *v)
{
	return (v->kind == JSON_STRING && *v->string) || wrong(a, d, k, v, "a string");
}

static bool
check_digest(Arena *a, Diag *d, const SchemaKey *k, const Json *v)
{
	return (v->kind == JSON_STRING && strlen(v->string) == 64 &&
		strspn(v->string, "0123456789abcdefABCDEF") == 64) ||
	       wrong(a, d, k, v, "64 hexadecimal digits");
}

static bool
check_bool(Arena *a, Diag *d, const SchemaKey *k, const Json *v)
{
	return v->kind == JSON_BOOL || wrong(a, d, k, v, "true or false");
}

static bool
check_values(Arena *a, Diag *d, const SchemaKey *k, const Json *v)
{
	const bool matrix = !strcmp(k->argument, "matrix");
	if (v->kind == JSON_STRING && *v->string)
		return true;
	if (v->kind != JSON_ARRAY || !v->count)
		return wrong(a, d, k, v,
			     matrix ? "a data name or an array of rows"
				    : "a data name or an array of numbers");
	for (const Json *row = v->first; row; row = row->next) {
		if (matrix ? row->kind != JSON_ARRAY || row->count != v->count
			   : row->kind != JSON_NUMBER)
			return wrong(a, d, k, row,
				     matrix ? arena_printf(a, "%u rows of %u numbers", v->count,
							   v->count)
					    : "an array of numbers");
		for (const Json *n = row->first; n; n = n->next)
			if (n->kind != JSON_NUMBER)
				return wrong(a, d, k, n, "numbers");
	}
	return true;
}

static bool
check_pair(Arena *a, Diag *d, const SchemaKey *k, const Json *v)
{
	bool ok = v->kind == JSON_ARRAY && v->count == 2;
	for (const Json *n = ok ? v->first : NULL; n; n = n->next)
		ok = ok && in_range(k, n) && n->integral;
	return ok || wrong(a, d, k, v,
			   arena_printf(a, "two whole numbers from %.0f to %.0f", k->low, k->high));
}

static bool
check_expr(Arena *a, Diag *d, const SchemaKey *k, const Json *v)
{
	(void)k;
	return schema_check_transform(a, d, v);
}

static bool
check_exprs(Arena *a, Diag *d, const SchemaKey *k, const Json *v)
{
	bool ok = true;
	if (v->kind != JSON_ARRAY || !v->count)
		return wrong(a, d, k, v, "an array of transforms");
	for (const Json *e = v->first; e; e = e->next)
		ok = schema_check_transform(a, d, e) && ok;
	return ok;
}

static bool
check_member(Arena *a, Diag *d, const SchemaKey *k, const Json *v)
{
	return v->kind == JSON_OBJECT ? schema_check(a, d, v, object_find(k->argument))
				      : wrong(a, d, k, v, "an object");
}

static bool
check_map(Arena *a, Diag *d, const SchemaKey *k, const Json *v)
{
	return v->kind == JSON_OBJECT || wrong(a, d, k, v, "an object");
}

/* ---- types as a table --------------------------------------------------------------------- */

static const struct {
	bool (*check)(Arena *a, Diag *d, const SchemaKey *k, const Json *v);
} types[VALUE_TYPES] = {
	[INT] = {check_int},	  [NUMBER] = {check_number}, [CHOICE] = {check_choice},
	[GROUP] = {check_choice}, [TEXT] = {check_text},     [DIGEST] = {check_digest},
	[BOOL] = {check_bool},	  [VALUES] = {check_values}, [PAIR] = {check_pair},
	[EXPR] = {check_expr},	  [EXPRS] = {check_exprs},   [MEMBER] = {check_member},
	[MAP] = {check_map},	  [KV] = {check_map},
};

bool
schema_check(Arena *a, Diag *d, const Json *v, SchemaObject object)
{
	bool ok = true;
	if (v->kind != JSON_OBJECT) {
		diag_error(d, v->loc, E_PLAN_VALUE, "%s is an object, not %s", objects[object].what,
			   json_kind_names[v->kind]);
		return false;
	}
	for (const Json *m = v->first; m; m = m->next) {
		const SchemaKey *k = key_find(object, m->key);
		if (k) {
			ok = types[k->type].check(a, d, k, m) && ok;
			continue;
		}
		const char *names[NAMES_MAX] = {0};
		size_t n = 0;
		for (int i = 0; i < N_KEYS && n < NAMES_MAX; i++)
			if (keys[i].object == object)
				names[n++] = keys[i].key;
		const char *near = nearest_name(m->key, names, n);
		diag_error(d, m->key_loc, E_PLAN_KEY, "unknown key \"%s\" in \"%s\"", m->key,
			   objects[object].name);
		if (near)
			diag_hint(d, "did you mean \"%s\"?", near);
		ok = false;
	}
	for (int i = 0; i < N_KEYS; i++)
		if (keys[i].object == object && keys[i].required && !json_get(v, keys[i].key)) {
			diag_error(d, v->loc, E_PLAN_KEY, "\"%s\" is missing: %s", keys[i].key,
				   keys[i].what);
			ok = false;
		}
	return ok;
}

/* ---- transforms --------------------------------------------------------------------------- */

TransformKind
schema_kind(SchemaObject form)
{
	for (int i = 0; i < TRANSFORM_KINDS; i++)
		if (!strcmp(transform_table[i].key, objects[form].name))
			return (TransformKind)i;
	BUG("no transform is called %s", objects[form].name);
}

SchemaObject
schema_form(const Json *v)
{
	for (int form = O_IDENTITY; form < SCHEMA_OBJECTS; form++)
		if (json_get(v, objects[form].name))
			return (SchemaObject)form;
	return O_PLAN;
}

bool
schema_check_transform(Arena *a, Diag *d, const Json *v)
{
	const char *names[SCHEMA_OBJECTS] = {0};
	size_t n = 0;
	if (v->kind == JSON_STRING && *v->string)
		return true;
	if (v->kind != JSON_OBJECT) {
		diag_error(d, v->loc, E_PLAN_VALUE, "a transform is a name or an object, not %s",
			   shown(a, v));
		return false;
	}
	const SchemaObject form = schema_form(v);
	if (form != O_PLAN)
		return schema_check(a, d, v, form);
	for (int i = O_IDENTITY; i < SCHEMA_OBJECTS; i++)
		names[n++] = objects[i].name;
	diag_error(d, v->first ? v->first->key_loc : v->loc, E_PLAN_KEY,
		   "no key of this transform tells its kind");
	const char *near = v->first ? nearest_name(v->first->key, names, n) : NULL;
	if (near)
		diag_hint(d, "did you mean \"%s\"?", near);
	else
		diag_hint(d, "hadamard, permutation, orthogonal, block, product ...");
	return false;
}

bool
schema_is_entry(const Json *v)
{
	return json_get(v, "transform") || json_get(v, "gain");
}

bool
schema_check_applied(Arena *a, Diag *d, const Json *v)
{
	return schema_is_entry(v) ? schema_check(a, d, v, O_APPLIED)
				  : schema_check_transform(a, d, v);
}

bool
schema_is_single(const Json *v)
{
	for (const Json *m = v->first; m; m = m->next)
		if (m->kind != JSON_OBJECT)
			return true;
	return false;
}

/* ---- JSON Schema -------------------------------------------------------------------------- */

static void
print_words(Text *t, const char *words)
{
	const char *word;
	size_t n;
	for (bool first = true; next_word(&words, &word, &n); first = false)
		text_printf(t, word_is_number(word) ? "%s%.*s" : "%s\"%.*s\"", first ? "" : ", ",
			    (int)n, word);
}

static void
print_type(Text *t, const SchemaKey *k)
{
	const bool matrix = !strcmp(k->argument, "matrix");
	switch ((ValueType)k->type) {
	case INT:
		text_printf(t, "\"type\": \"integer\", \"minimum\": %.0f, \"maximum\": %.0f",
			    k->low, k->high);
		return;
	case NUMBER:
		text_printf(t, "\"type\": \"number\", \"minimum\": %g, \"maximum\": %g", k->low,
			    k->high);
		return;
	case CHOICE:
		text_printf(t, "\"enum\": [");
		print_words(t, k->argument);
		text_printf(t, "]");
		return;
	case GROUP:
		text_printf(t,
			    "\"anyOf\": [{ \"type\": \"integer\", \"minimum\": %.0f, "
			    "\"maximum\": %.0f }, { \"enum\": [",
			    k->low, k->high);
		print_words(t, k->argument);
		text_printf(t, "] }]");
		return;
	case TEXT:
		text_printf(t, "\"type\": \"string\", \"minLength\": 1");
		return;
	case DIGEST:
		text_printf(t, "\"type\": \"string\", \"pattern\": \"^[0-9a-fA-F]{64}$\"");
		return;
	case BOOL:
		text_printf(t, "\"type\": \"boolean\"");
		return;
	case VALUES:
		text_printf(t,
			    "\"anyOf\": [{ \"type\": \"string\", \"minLength\": 1 }, "
			    "{ \"type\": \"array\", \"minItems\": 1, \"items\": %s }]",
			    matrix ? "{ \"type\": \"array\", \"items\": { \"type\": \"number\" } }"
				   : "{ \"type\": \"number\" }");
		return;
	case PAIR:
		text_printf(t,
			    "\"type\": \"array\", \"minItems\": 2, \"maxItems\": 2, \"items\": "
			    "{ \"type\": \"integer\", \"minimum\": %.0f, \"maximum\": %.0f }",
			    k->low, k->high);
		return;
	case EXPR:
		text_printf(t, "\"$ref\": \"#/$defs/transform\"");
		return;
	case EXPRS:
		text_printf(t, "\"type\": \"array\", \"minItems\": 1, \"items\": "
			       "{ \"$ref\": \"#/$defs/transform\" }");
		return;
	case MEMBER:
		text_printf(t, "\"$ref\": \"#/$defs/%s\"", k->argument);
		return;
	case MAP:
		text_printf(t,
			    "\"type\": \"object\", \"additionalProperties\": "
			    "{ \"$ref\": \"#/$defs/%s\" }",
			    k->argument);
		return;
	case KV:
		text_printf(t,
			    "\"anyOf\": [{ \"$ref\": \"#/$defs/%s\" }, { \"type\": \"object\", "
			    "\"additionalProperties\": { \"$ref\": \"#/$defs/%s\" } }]",
			    k->argument, k->argument);
		return;
	case VALUE_TYPES:
		break;
	}
	BUG("no type %d", k->type);
}

/* The body of an object: its properties, which of them are required, and that no other may be. */
static void
print_object(Text *t, SchemaObject object, const char *indent)
{
	bool first = true;
	text_printf(t, "%s\"description\": ", indent);
	text_json_string(t, objects[object].what, strlen(objects[object].what));
	text_printf(t, ",\n%s\"type\": \"object\",\n%s\"additionalProperties\": false,\n", indent,
		    indent);
	if (object == O_BASE)
		text_printf(t, "%s\"minProperties\": 1,\n%s\"maxProperties\": 1,\n", indent,
			    indent);
	text_printf(t, "%s\"required\": [", indent);
	for (int i = 0; i < N_KEYS; i++)
		if (keys[i].object == object && keys[i].required) {
			text_printf(t, "%s\"%s\"", first ? "" : ", ", keys[i].key);
			first = false;
		}
	text_printf(t, "],\n%s\"properties\": {", indent);
	first = true;
	for (int i = 0; i < N_KEYS; i++) {
		if (keys[i].object != object)
			continue;
		text_printf(t, "%s\n%s\t\"%s\": { \"description\": ", first ? "" : ",", indent,
			    keys[i].key);
		text_json_string(t, keys[i].what, strlen(keys[i].what));
		text_printf(t, ", ");
		print_type(t, &keys[i]);
		text_printf(t, " }");
		first = false;
	}
	text_printf(t, "\n%s}", indent);
}

void
schema_print(Text *t)
{
	text_printf(t, "{\n\t\"$schema\": \"https://json-schema.org/draft/2020-12/schema\",\n"
		       "\t\"title\": \"Lathe quantization plan\",\n");
	print_object(t, O_PLAN, "\t");
	text_printf(t, ",\n\t\"$defs\": {\n\t\t\"transform\": { \"anyOf\": [\n"
		       "\t\t\t{ \"type\": \"string\", \"minLength\": 1 }");
	for (int i = O_IDENTITY; i < SCHEMA_OBJECTS; i++)
		text_printf(t, ",\n\t\t\t{ \"$ref\": \"#/$defs/%s\" }", objects[i].name);
	text_printf(t, "\n\t\t] }");
	for (int i = O_PLAN + 1; i < SCHEMA_OBJECTS; i++) {
		/* What a site is given may be a bare transform too. */
		const bool applied = i == O_APPLIED;
		text_printf(t, ",\n\t\t\"%s\": {\n", objects[i].name);
		if (applied)
			text_printf(t,
				    "\t\t\t\"anyOf\": [{ \"$ref\": \"#/$defs/transform\" }, {\n");
		print_object(t, (SchemaObject)i, applied ? "\t\t\t\t" : "\t\t\t");
		text_printf(t, applied ? "\n\t\t\t}]\n\t\t}" : "\n\t\t}");
	}
	text_printf(t, "\n\t}\n}\n");
}
