#include "keys.h"
#include "cursor.h"

#include <stdlib.h>
#include <string.h>

static bool
key_matches(const char *pattern, const char *key)
{
	for (; *pattern; pattern++, key++) {
		if (*pattern == '*' && !pattern[1])
			return true;
		if (*key != *pattern)
			return false;
	}
	return !*key;
}

static bool
value_is(const Json *v, const char *wanted)
{
	switch ((JsonKind)v->kind) {
	case JSON_NULL:
		return !strcmp(wanted, "null");
	case JSON_BOOL:
		return !strcmp(wanted, v->boolean ? "true" : "false");
	case JSON_NUMBER:
		return strchr("-0123456789", *wanted) && strtod(wanted, NULL) == v->number;
	case JSON_STRING:
		return *wanted == '=' && !strcmp(wanted + 1, v->string);
	case JSON_OBJECT:
		return !v->count && !strcmp(wanted, "{}");
	case JSON_ARRAY:
	case JSON_KINDS:
		break;
	}
	return false;
}

const char *
json_show(Arena *a, const Json *v)
{
	Text *t = text_new(a);
	switch ((JsonKind)v->kind) {
	case JSON_BOOL:
		return v->boolean ? "true" : "false";
	case JSON_NUMBER:
		text_double(t, v->number);
		return t->text;
	case JSON_STRING:
		return bytes_quote(a, (Bytes){v->string, (uint32_t)strlen(v->string)});
	case JSON_NULL:
	case JSON_ARRAY:
	case JSON_OBJECT:
	case JSON_KINDS:
		break;
	}
	return json_kind_names[v->kind];
}

static bool
row_holds(const KeyRow *row, const Json *v)
{
	return row->rule != KEY_ONLY || value_is(v, row->value);
}

bool
keys_check(Arena *a, Diag *d, const Json *object, const char *what, const KeyRow *rows, size_t n,
	   DiagId id)
{
	const int before = diag_errors(d);
	for (const Json *v = object ? object->first : NULL; v; v = v->next) {
		const char *wanted = NULL;
		bool holds = false;
		for (size_t i = 0; i < n && !holds; i++) {
			if (!key_matches(rows[i].key, v->key))
				continue;
			holds = row_holds(&rows[i], v);
			wanted = rows[i].value;
		}
		if (holds)
			continue;
		const Bytes key = {v->key, (uint32_t)strlen(v->key)};
		diag_error(d, v->key_loc, id,
			   "the key %s = %s of %s could change the model's function and is not "
			   "understood",
			   bytes_quote(a, key), json_show(a, v), what);
		if (wanted)
			diag_hint(d, "Lathe understands it with %s", wanted + (*wanted == '='));
	}
	return diag_errors(d) == before;
}

bool
keys_check_object(Arena *a, Diag *d, const Json *object, const char *name, const KeyObjectRow *rows,
		  size_t n, DiagId id)
{
	KeyRow *own = ARENA_ARRAY(a, KeyRow, n);
	size_t i = 0, count = 0;
	while (i < n && (!rows[i].object || strcmp(rows[i].object, name) != 0))
		i++;
	INVARIANT(i < n);
	for (i++; i < n && !rows[i].object; i++)
		own[count++] = rows[i].row;
	return keys_check(a, d, object, name, own, count, id);
}

const Json *
key_get(const Json *object, const char *key)
{
	const Json *v = json_get(object, key);
	return v && v->kind != JSON_NULL ? v : NULL;
}

bool
key_integer(Diag *d, const Json *object, const char *key, int64_t least, int64_t most,
	    int64_t *value, DiagId id)
{
	const Json *v = key_get(object, key);
	if (!v)
		return true;
	if (v->kind == JSON_NUMBER && v->integral && v->integer >= least && v->integer <= most) {
		*value = v->integer;
		return true;
	}
	diag_error(d, v->loc, id, "'%s' must be an integer from %lld to %lld", key,
		   (long long)least, (long long)most);
	return false;
}

bool
key_real(Diag *d, const Json *object, const char *key, double least, double most, double *value,
	 DiagId id)
{
	const Json *v = key_get(object, key);
	if (!v)
		return true;
	if (v->kind == JSON_NUMBER && v->number >= least && v->number <= most) {
		*value = v->number;
		return true;
	}
	diag_error(d, v->loc, id, "'%s' must be a number from %g to %g", key, least, most);
	return false;
}

bool
key_bool(Diag *d, const Json *object, const char *key, bool *value, DiagId id)
{
	const Json *v = key_get(object, key);
	if (v && v->kind != JSON_BOOL) {
		diag_error(d, v->loc, id, "'%s' must be true or false, not %s", key,
			   json_kind_names[v->kind]);
		return false;
	}
	*value = v ? v->boolean : *value;
	return true;
}

bool
key_text(Diag *d, const Json *object, const char *key, const char **value, DiagId id)
{
	const Json *v = key_get(object, key);
	if (v && v->kind != JSON_STRING) {
		diag_error(d, v->loc, id, "'%s' must be a string, not %s", key,
			   json_kind_names[v->kind]);
		return false;
	}
	*value = v ? v->string : *value;
	return true;
}
