/* Filters, tests, methods and functions of templates. */
#include "jinja_impl.h"

#include <string.h>

static Value
bad(Evaluation *e, const char *what, Bytes name, const Value *v)
{
	return jinja_fail(e, "the %s '%.*s' of %s", what, (int)(name.size < 60 ? name.size : 60),
			  name.data, jinja_kind_name(v));
}

/* ---- texts ---------------------------------------------------------------------------------- */

static Value
strip(const Value *v, bool left, bool right)
{
	Bytes s = v->text;
	if (left) {
		const uint32_t n = space_before(s.data, s.size);
		s = (Bytes){s.data + n, s.size - n};
	}
	if (right)
		s.size -= space_behind(s.data, s.size);
	return jinja_string(s);
}

/* Of characters that the argument lists. */
static Value
strip_of(const Value *v, Bytes set, bool left, bool right)
{
	Bytes s = v->text;
	while (left && s.size && set.size && memchr(set.data, s.data[0], set.size))
		s = (Bytes){s.data + 1, s.size - 1};
	while (right && s.size && set.size && memchr(set.data, s.data[s.size - 1], set.size))
		s.size--;
	return jinja_string(s);
}

static Value
strip_method(Evaluation *e, const Value *v, const Arguments *a, bool left, bool right)
{
	if (a->n == 0)
		return strip(v, left, right);
	for (uint32_t i = 0; a->v[0].kind == V_STRING && i < a->v[0].text.size; i++)
		if ((unsigned char)a->v[0].text.data[i] >= 0x80)
			return jinja_fail(e, "strip of characters that are not ASCII");
	if (a->v[0].kind != V_STRING)
		return jinja_fail(e, "strip of %s", jinja_kind_name(&a->v[0]));
	return strip_of(v, a->v[0].text, left, right);
}

static Value
method_strip(Evaluation *e, const Value *v, const Arguments *a)
{
	return strip_method(e, v, a, true, true);
}

static Value
method_lstrip(Evaluation *e, const Value *v, const Arguments *a)
{
	return strip_method(e, v, a, true, false);
}

static Value
method_rstrip(Evaluation *e, const Value *v, const Arguments *a)
{
	return strip_method(e, v, a, false, true);
}

static Value
method_startswith(Evaluation *e, const Value *v, const Arguments *a)
{
	if (a->n != 1 || a->v[0].kind != V_STRING)
		return jinja_fail(e, "arguments of startswith");
	const Bytes s = a->v[0].text;
	return jinja_bool(s.size <= v->text.size && !memcmp(v->text.data, s.data, s.size));
}

static Value
method_endswith(Evaluation *e, const Value *v, const Arguments *a)
{
	if (a->n != 1 || a->v[0].kind != V_STRING)
		return jinja_fail(e, "arguments of endswith");
	const Bytes s = a->v[0].text;
	return jinja_bool(s.size <= v->text.size &&
			  !memcmp(v->text.data + v->text.size - s.size, s.data, s.size));
}

/* Where `s` begins in `in` from `at` on; in.size: nowhere. */
static uint32_t
find(Bytes in, Bytes s, uint32_t at)
{
	for (; at + s.size <= in.size; at++)
		if (!memcmp(in.data + at, s.data, s.size))
			return at;
	return in.size;
}

static Value
method_split(Evaluation *e, const Value *v, const Arguments *a)
{
	const Bytes s = v->text;
	if (a->n < 1 || a->n > 2 || a->v[0].kind != V_STRING || !a->v[0].text.size ||
	    (a->n == 2 && a->v[1].kind != V_INTEGER))
		return jinja_fail(e, "arguments of split");
	const Bytes by = a->v[0].text;
	int64_t most = a->n == 2 && a->v[1].number >= 0 ? a->v[1].number : INT64_MAX;
	uint32_t n = 1, at = 0;
	for (uint32_t i = find(s, by, 0); i < s.size; i = find(s, by, i + by.size))
		n++;
	Value *parts = jinja_memory(e, n * sizeof *parts);
	if (!parts)
		return *v;
	n = 0;
	for (uint32_t i; most > 0 && (i = find(s, by, at)) < s.size; at = i + by.size, most--)
		parts[n++] = jinja_string((Bytes){s.data + at, i - at});
	parts[n++] = jinja_string((Bytes){s.data + at, s.size - at});
	return (Value){.kind = V_LIST, .n = n, .list = parts};
}

static Value
replace(Evaluation *e, const Value *v, const Arguments *a)
{
	if (a->n != 2 || a->v[0].kind != V_STRING || a->v[1].kind != V_STRING || !a->v[0].text.size)
		return jinja_fail(e, "arguments of replace");
	const Bytes s = v->text, from = a->v[0].text, to = a->v[1].text;
	uint64_t n = 0;
	for (uint32_t i = find(s, from, 0); i < s.size; i = find(s, from, i + from.size))
		n++;
	char *out = jinja_memory(e, s.size + n * to.size);
	uint32_t size = 0, at = 0;
	if (!out)
		return *v;
	for (uint32_t i; (i = find(s, from, at)) < s.size; at = i + from.size) {
		memcpy(out + size, s.data + at, i - at);
		size += i - at;
		memcpy(out + size, to.data, to.size);
		size += to.size;
	}
	memcpy(out + size, s.data + at, s.size - at);
	return jinja_string((Bytes){out, size + s.size - at});
}

/* Letters of ASCII; others would need Unicode's tables. */
static Value
change_case(Evaluation *e, const Value *v, char first, char last)
{
	char *out = jinja_memory(e, v->text.size);
	for (uint32_t i = 0; out && i < v->text.size; i++) {
		const char c = v->text.data[i];
		if ((unsigned char)c >= 0x80)
			return jinja_fail(e, "the case of letters that are not ASCII");
		out[i] = c >= first && c <= last ? (char)(c ^ 0x20) : c;
	}
	return jinja_string((Bytes){out, v->text.size});
}

static Value
upper(Evaluation *e, const Value *v, const Arguments *a)
{
	(void)a;
	return change_case(e, v, 'a', 'z');
}

static Value
lower(Evaluation *e, const Value *v, const Arguments *a)
{
	(void)a;
	return change_case(e, v, 'A', 'Z');
}

/* ---- dictionaries --------------------------------------------------------------------------- */

static Value
method_get(Evaluation *e, const Value *v, const Arguments *a)
{
	if (a->n < 1 || a->n > 2 || a->v[0].kind != V_STRING)
		return jinja_fail(e, "arguments of get");
	const Value found = jinja_dict_get(v->dict, a->v[0].text);
	if (found.kind != V_UNDEFINED)
		return found;
	return a->n == 2 ? a->v[1] : (Value){.kind = V_NONE};
}

static Value
items(Evaluation *e, const Value *v, const Arguments *a)
{
	(void)a;
	const Value keys = jinja_items(e, v);
	Value *pairs = jinja_memory(e, (uint64_t)keys.n * 3 * sizeof *pairs);
	if (!pairs)
		return *v;
	for (uint32_t i = 0; i < keys.n; i++) {
		Value *pair = pairs + keys.n + 2 * (size_t)i;
		pair[0] = keys.list[i];
		pair[1] = jinja_dict_get(v->dict, keys.list[i].text);
		pairs[i] = (Value){.kind = V_LIST, .n = 2, .list = pair};
	}
	return (Value){.kind = V_LIST, .n = keys.n, .list = pairs};
}

static Value
keys(Evaluation *e, const Value *v, const Arguments *a)
{
	(void)a;
	return jinja_items(e, v);
}

typedef struct Named {
	const char *name;
	ValueKind of; /* what it applies to */
	Value (*apply)(Evaluation *e, const Value *v, const Arguments *a);
} Named;

/* null: there is none for the value. */
static const Named *
named_find(const Named *list, size_t n, Bytes name, const Value *v)
{
	for (size_t i = 0; i < n; i++)
		if (jinja_are(name, list[i].name) && list[i].of == (ValueKind)v->kind)
			return &list[i];
	return NULL;
}

/* Counts what going through a value takes, for each character that is looked for. */
static bool
affordable(Evaluation *e, const Value *v, const Arguments *a)
{
	const uint64_t wanted = a->n && a->v[0].kind == V_STRING ? a->v[0].text.size : 0;
	return jinja_work(e, v->n + (wanted + 1) * v->text.size / 64);
}

Value
jinja_method(Evaluation *e, Bytes name, const Value *v, const Arguments *args)
{
	static const Named methods[] = {
		{"strip", V_STRING, method_strip},
		{"lstrip", V_STRING, method_lstrip},
		{"rstrip", V_STRING, method_rstrip},
		{"startswith", V_STRING, method_startswith},
		{"endswith", V_STRING, method_endswith},
		{"split", V_STRING, method_split},
		{"replace", V_STRING, replace},
		{"upper", V_STRING, upper},
		{"lower", V_STRING, lower},
		{"get", V_DICT, method_get},
		{"items", V_DICT, items},
		{"keys", V_DICT, keys},
	};
	const Named *m = named_find(methods, sizeof methods / sizeof *methods, name, v);
	if (!m || args->named)
		return bad(e, "method", name, v);
	if (!affordable(e, v, args))
		return *v;
	return m->apply(e, v, args);
}

/* ---- filters -------------------------------------------------------------------------------- */

static Value
filter_trim(Evaluation *e, const Value *v, const Arguments *a)
{
	if (a->n)
		return jinja_fail(e, "arguments of trim");
	return strip(v, true, true);
}

static Value
filter_list(Evaluation *e, const Value *v, const Arguments *a)
{
	(void)a;
	return jinja_items(e, v);
}

static Value
filter_length(Evaluation *e, const Value *v, const Arguments *a)
{
	(void)a;
	if (v->kind != V_STRING)
		return jinja_integer(v->kind == V_UNDEFINED ? 0 : jinja_items(e, v).n);
	int64_t n = 0;
	for (uint32_t i = 0; i < v->text.size; i++)
		n += ((unsigned char)v->text.data[i] & 0xC0) != 0x80;
	return jinja_integer(n);
}

static Value
filter_first(Evaluation *e, const Value *v, const Arguments *a)
{
	(void)e;
	(void)a;
	return v->n ? v->list[0] : (Value){.kind = V_UNDEFINED};
}

static Value
filter_last(Evaluation *e, const Value *v, const Arguments *a)
{
	(void)e;
	(void)a;
	return v->n ? v->list[v->n - 1] : (Value){.kind = V_UNDEFINED};
}

static Value
filter_join(Evaluation *e, const Value *v, const Arguments *a)
{
	Text *t = text_new(e->arena);
	for (uint32_t i = 0; i < v->n && !e->why; i++) {
		const Bytes s = jinja_text(e, &v->list[i]);
		const Bytes by = i && a->n ? jinja_text(e, &a->v[0]) : (Bytes){"", 0};
		e->bytes += (uint64_t)s.size + by.size;
		if (e->bytes > JINJA_BYTES)
			return jinja_fail(e, "it makes more than %d bytes", JINJA_BYTES);
		text_add(t, by.data, by.size);
		text_add(t, s.data, s.size);
	}
	return jinja_string((Bytes){t->text, (uint32_t)t->size});
}

/* selectattr(name), selectattr(name, test, value): the items of which it holds, or not. */
static Value
select_items(Evaluation *e, const Value *v, const Arguments *a, bool wanted)
{
	Value *out = jinja_memory(e, v->n * sizeof *out);
	uint32_t n = 0;
	if (a->n < 1 || a->v[0].kind != V_STRING || (a->n > 1 && a->v[1].kind != V_STRING))
		return jinja_fail(e, "arguments of selectattr");
	for (uint32_t i = 0; out && i < v->n && !e->why; i++) {
		if (v->list[i].kind != V_DICT)
			return jinja_fail(e, "selectattr of %s", jinja_kind_name(&v->list[i]));
		Value member = jinja_dict_get(v->list[i].dict, a->v[0].text);
		if (a->n > 1) {
			const Arguments rest = {.v = a->v + 2, .n = a->n - 2};
			member = jinja_test(e, a->v[1].text, &member, &rest);
		}
		if (jinja_true(&member) == wanted)
			out[n++] = v->list[i];
	}
	return (Value){.kind = V_LIST, .n = n, .list = out};
}

static Value
filter_selectattr(Evaluation *e, const Value *v, const Arguments *a)
{
	return select_items(e, v, a, true);
}

static Value
filter_rejectattr(Evaluation *e, const Value *v, const Arguments *a)
{
	return select_items(e, v, a, false);
}

Value
jinja_filter(Evaluation *e, Bytes name, const Value *v, const Arguments *args)
{
	static const Named filters[] = {
		{"trim", V_STRING, filter_trim},
		{"upper", V_STRING, upper},
		{"lower", V_STRING, lower},
		{"replace", V_STRING, replace},
		{"length", V_STRING, filter_length},
		{"length", V_LIST, filter_length},
		{"length", V_DICT, filter_length},
		{"length", V_UNDEFINED, filter_length},
		{"count", V_LIST, filter_length},
		{"list", V_LIST, filter_list},
		{"list", V_DICT, filter_list},
		{"first", V_LIST, filter_first},
		{"last", V_LIST, filter_last},
		{"join", V_LIST, filter_join},
		{"items", V_DICT, items},
		{"selectattr", V_LIST, filter_selectattr},
		{"rejectattr", V_LIST, filter_rejectattr},
	};
	if (jinja_are(name, "safe"))
		return *v;
	if (jinja_are(name, "string"))
		return jinja_string(jinja_text(e, v));
	if (jinja_are(name, "default") || jinja_are(name, "d")) {
		const bool replaced = v->kind == V_UNDEFINED ||
				      (args->n > 1 && jinja_true(&args->v[1]) && !jinja_true(v));
		return !replaced ? *v : args->n ? args->v[0] : jinja_string((Bytes){"", 0});
	}
	const Named *f = named_find(filters, sizeof filters / sizeof *filters, name, v);
	if (!f || args->named)
		return bad(e, "filter", name, v);
	if (!affordable(e, v, args))
		return *v;
	return f->apply(e, v, args);
}

/* ---- tests ---------------------------------------------------------------------------------- */

enum { BIT_DEFINED = ~(1 << V_UNDEFINED) };

Value
jinja_test(Evaluation *e, Bytes name, const Value *v, const Arguments *args)
{
	/* Tests that only ask for the kind, as a set of kinds. */
	static const struct {
		const char *name;
		int kinds;
	} by_kind[] = {
		{"defined", BIT_DEFINED},
		{"undefined", 1 << V_UNDEFINED},
		{"none", 1 << V_NONE},
		{"boolean", 1 << V_BOOL},
		{"integer", 1 << V_INTEGER},
		{"number", 1 << V_INTEGER | 1 << V_BOOL},
		{"string", 1 << V_STRING},
		{"mapping", 1 << V_DICT},
		{"iterable", 1 << V_STRING | 1 << V_LIST | 1 << V_DICT | 1 << V_UNDEFINED},
		{"sequence", 1 << V_STRING | 1 << V_LIST | 1 << V_DICT | 1 << V_UNDEFINED},
		{"callable", 1 << V_FUNCTION},
	};
	for (size_t i = 0; i < sizeof by_kind / sizeof *by_kind; i++)
		if (jinja_are(name, by_kind[i].name))
			return jinja_bool(by_kind[i].kinds >> v->kind & 1);
	if (jinja_are(name, "true") || jinja_are(name, "false"))
		return jinja_bool(v->kind == V_BOOL && v->number == jinja_are(name, "true"));
	const bool one = args->n == 1 && !args->named;
	if (one && (jinja_are(name, "equalto") || jinja_are(name, "eq") || jinja_are(name, "==")))
		return jinja_bool(jinja_equal(e, v, &args->v[0]));
	if (one && (jinja_are(name, "ne") || jinja_are(name, "!=")))
		return jinja_bool(!jinja_equal(e, v, &args->v[0]));
	if (one && jinja_are(name, "in"))
		return jinja_bool(jinja_in(e, v, &args->v[0]));
	if (v->kind == V_INTEGER && (jinja_are(name, "odd") || jinja_are(name, "even")))
		return jinja_bool((v->number % 2 != 0) == jinja_are(name, "odd"));
	return bad(e, "test", name, v);
}

/* ---- functions ------------------------------------------------------------------------------ */

static Value
call_namespace(Evaluation *e, const Arguments *args)
{
	Dict *d = jinja_dict_new(e);
	for (const Dict *m = args->named ? args->named->next : NULL; m; m = m->next)
		jinja_dict_set(e, d, m->key, m->value);
	if (!d || args->n)
		return jinja_fail(e, "arguments of namespace");
	return (Value){.kind = V_DICT, .dict = d};
}

static Value
call_raise(Evaluation *e, const Arguments *args)
{
	const Bytes text = args->n && args->v[0].kind == V_STRING ? args->v[0].text
								  : jinja_bytes("an exception");
	return jinja_fail(e, "it says: %.*s", (int)(text.size < 160 ? text.size : 160), text.data);
}

static Value
call_range(Evaluation *e, const Arguments *args)
{
	for (uint32_t i = 0; i < args->n; i++)
		if (args->v[i].kind != V_INTEGER || args->v[i].number > JINJA_STEPS ||
		    args->v[i].number < -JINJA_STEPS)
			return jinja_fail(e, "arguments of range");
	if (args->n < 1 || args->n > 2 || args->named)
		return jinja_fail(e, "arguments of range");
	const int64_t begin = args->n == 2 ? args->v[0].number : 0,
		      end = args->v[args->n - 1].number;
	Value *v = jinja_memory(e, end > begin ? (uint64_t)(end - begin) * sizeof *v : 0);
	uint32_t n = 0;
	for (int64_t i = begin; v && i < end; i++)
		v[n++] = jinja_integer(i);
	return (Value){.kind = V_LIST, .n = n, .list = v};
}

static const struct {
	const char *name;
	Value (*call)(Evaluation *e, const Arguments *args);
} functions[] = {
	{"namespace", call_namespace},
	{"raise_exception", call_raise},
	{"range", call_range},
};
enum { FUNCTIONS = sizeof functions / sizeof *functions };

bool
jinja_has_function(Bytes name)
{
	for (int i = 0; i < FUNCTIONS; i++)
		if (jinja_are(name, functions[i].name))
			return true;
	return false;
}

Value
jinja_function(Evaluation *e, Bytes name, const Arguments *args)
{
	for (int i = 0; i < FUNCTIONS; i++)
		if (jinja_are(name, functions[i].name))
			return functions[i].call(e, args);
	return jinja_fail(e, "a function");
}
