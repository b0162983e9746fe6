/* Values of templates: equality, order, text, members. */
#include "jinja_impl.h"

#include <string.h>

bool
jinja_are(Bytes a, const char *s)
{
	return a.size == strlen(s) && !memcmp(a.data, s, a.size);
}

Bytes
jinja_bytes(const char *s)
{
	return (Bytes){s, (uint32_t)strlen(s)};
}

Value
jinja_fail(Evaluation *e, const char *format, ...)
{
	char text[256];
	va_list args;
	va_start(args, format);
	vsnprintf(text, sizeof text, format, args);
	va_end(args);
	if (!e->why)
		e->why = arena_printf(e->arena, "line %u: %s", e->line, text);
	return (Value){.kind = V_UNDEFINED};
}

bool
jinja_work(Evaluation *e, uint64_t n)
{
	e->steps += n;
	if (e->steps > JINJA_STEPS)
		jinja_fail(e, "it takes more than %d steps", JINJA_STEPS);
	return !e->why;
}

void *
jinja_memory(Evaluation *e, uint64_t n)
{
	e->bytes += n;
	if (e->bytes > JINJA_BYTES) {
		jinja_fail(e, "it makes more than %d bytes", JINJA_BYTES);
		return NULL;
	}
	return arena_alloc(e->arena, n ? n : 1);
}

Value
jinja_string(Bytes text)
{
	return (Value){.kind = V_STRING, .text = text};
}

Value
jinja_bool(bool b)
{
	return (Value){.kind = V_BOOL, .number = b};
}

Value
jinja_integer(int64_t n)
{
	return (Value){.kind = V_INTEGER, .number = n};
}

const char *
jinja_kind_name(const Value *v)
{
	static const char *const names[] = {"something undefined", "none",	"a boolean",
					    "an integer",	   "a text",	"a list",
					    "a dictionary",	   "a function"};
	return names[v->kind];
}

/* ---- dictionaries --------------------------------------------------------------------------- */

Dict *
jinja_dict_new(Evaluation *e)
{
	Dict *d = jinja_memory(e, sizeof *d);
	if (d)
		d->last = d;
	return d;
}

static Dict *
dict_find(const Dict *d, Bytes key)
{
	for (Dict *m = d ? d->next : NULL; m; m = m->next)
		if (m->key.size == key.size && !memcmp(m->key.data, key.data, key.size))
			return m;
	return NULL;
}

void
jinja_dict_set(Evaluation *e, Dict *d, Bytes key, Value v)
{
	Dict *m = dict_find(d, key);
	if (!d)
		return;
	if (!m) {
		m = jinja_memory(e, sizeof *m);
		if (!m)
			return;
		m->key = key;
		d->last->next = m;
		d->last = m;
	}
	m->value = v;
}

Value
jinja_dict_get(const Dict *d, Bytes key)
{
	const Dict *m = dict_find(d, key);
	return m ? m->value : (Value){.kind = V_UNDEFINED};
}

/* ---- what holds of values ------------------------------------------------------------------- */

bool
jinja_true(const Value *v)
{
	switch ((ValueKind)v->kind) {
	case V_UNDEFINED:
	case V_NONE:
		return false;
	case V_BOOL:
	case V_INTEGER:
		return v->number != 0;
	case V_STRING:
		return v->text.size != 0;
	case V_LIST:
		return v->n != 0;
	case V_DICT:
		return v->dict->next != NULL;
	case V_FUNCTION:
		break;
	}
	return true;
}

static bool
dict_equal(Evaluation *e, const Dict *a, const Dict *b)
{
	uint32_t n = 0;
	for (const Dict *m = b->next; m; m = m->next)
		n++;
	for (const Dict *m = a->next; m; m = m->next, n--) {
		const Dict *other = dict_find(b, m->key);
		if (!other || !jinja_equal(e, &m->value, &other->value))
			return false;
	}
	return n == 0;
}

bool
jinja_equal(Evaluation *e, const Value *a, const Value *b)
{
	const bool numbers = (a->kind == V_BOOL || a->kind == V_INTEGER) &&
			     (b->kind == V_BOOL || b->kind == V_INTEGER);
	if (numbers)
		return a->number == b->number;
	if (a->kind != b->kind || !jinja_work(e, 1 + a->text.size / 64))
		return false;
	switch ((ValueKind)a->kind) {
	case V_STRING:
	case V_FUNCTION:
		return a->text.size == b->text.size &&
		       !memcmp(a->text.data, b->text.data, a->text.size);
	case V_LIST:
		if (a->n != b->n)
			return false;
		for (uint32_t i = 0; i < a->n; i++)
			if (!jinja_equal(e, &a->list[i], &b->list[i]))
				return false;
		return true;
	case V_DICT:
		return a->dict == b->dict || dict_equal(e, a->dict, b->dict);
	case V_UNDEFINED:
	case V_NONE:
	case V_BOOL:
	case V_INTEGER:
		break;
	}
	return true;
}

bool
jinja_in(Evaluation *e, const Value *a, const Value *b)
{
	if (!jinja_work(e, 1 + (uint64_t)a->text.size * b->text.size / 64))
		return false;
	if (b->kind == V_STRING && a->kind == V_STRING) {
		for (uint32_t i = 0; i + a->text.size <= b->text.size; i++)
			if (!memcmp(b->text.data + i, a->text.data, a->text.size))
				return true;
		return false;
	}
	if (b->kind == V_LIST) {
		for (uint32_t i = 0; i < b->n; i++)
			if (jinja_equal(e, a, &b->list[i]))
				return true;
		return false;
	}
	if (b->kind == V_DICT && a->kind == V_STRING)
		return dict_find(b->dict, a->text) != NULL;
	if (b->kind != V_UNDEFINED)
		jinja_fail(e, "%s in %s", jinja_kind_name(a), jinja_kind_name(b));
	return false;
}

Bytes
jinja_text(Evaluation *e, const Value *v)
{
	switch ((ValueKind)v->kind) {
	case V_UNDEFINED:
		return (Bytes){"", 0};
	case V_NONE:
		return jinja_bytes("None");
	case V_BOOL:
		return jinja_bytes(v->number ? "True" : "False");
	case V_INTEGER:
		return jinja_bytes(arena_printf(e->arena, "%lld", (long long)v->number));
	case V_STRING:
		return v->text;
	case V_LIST:
	case V_DICT:
	case V_FUNCTION:
		break;
	}
	jinja_fail(e, "%s as text", jinja_kind_name(v));
	return (Bytes){"", 0};
}

Value
jinja_items(Evaluation *e, const Value *v)
{
	if (v->kind == V_LIST)
		return *v;
	if (v->kind == V_UNDEFINED)
		return (Value){.kind = V_LIST};
	if (v->kind != V_DICT)
		return jinja_fail(e, "a loop over %s", jinja_kind_name(v));
	uint32_t n = 0;
	for (const Dict *m = v->dict->next; m; m = m->next)
		n++;
	Value *keys = jinja_memory(e, n * sizeof *keys);
	if (!keys)
		return (Value){.kind = V_LIST};
	n = 0;
	for (const Dict *m = v->dict->next; m; m = m->next)
		keys[n++] = jinja_string(m->key);
	return (Value){.kind = V_LIST, .n = n, .list = keys};
}
