/* A template's tree over its input. */
#include "jinja_impl.h"

#include <string.h>

enum { LEAVE_BREAK = 1, LEAVE_CONTINUE };
enum { DEPTH = 300 };

/* Names of a loop's turn, or of the whole template. */
typedef struct Scope {
	struct Scope *above;
	Dict *names;
} Scope;

static Value eval(Evaluation *e, const JinjaNode *n);
static void run(Evaluation *e, const JinjaNode *n);

static const Value undefined = {.kind = V_UNDEFINED};

static void
scope_enter(Evaluation *e, Scope *s)
{
	s->above = e->scope;
	s->names = jinja_dict_new(e);
	e->scope = s;
}

static Value
name_value(Evaluation *e, Bytes name)
{
	for (const Scope *s = e->scope; s; s = s->above) {
		const Value v = jinja_dict_get(s->names, name);
		if (v.kind != V_UNDEFINED)
			return v;
	}
	if (jinja_has_function(name))
		return (Value){.kind = V_FUNCTION, .text = name};
	return undefined;
}

/* ---- expressions ---------------------------------------------------------------------------- */

/* Positional arguments, then named ones. */
static Arguments
eval_arguments(Evaluation *e, const JinjaNode *list)
{
	Arguments args = {0};
	uint32_t n = 0;
	for (const JinjaNode *a = list; a; a = a->next)
		n += a->kind != J_KEYWORD;
	Value *v = jinja_memory(e, n * sizeof *v);
	Dict *named = NULL;
	if (!v)
		return args;
	for (const JinjaNode *a = list; a && !e->why; a = a->next) {
		if (a->kind != J_KEYWORD) {
			v[args.n++] = eval(e, a);
			continue;
		}
		if (!named)
			named = jinja_dict_new(e);
		jinja_dict_set(e, named, a->text, eval(e, a->a));
	}
	args.v = v;
	args.named = named;
	return args;
}

static Value
join(Evaluation *e, Bytes a, Bytes b)
{
	char *s = jinja_memory(e, (uint64_t)a.size + b.size);
	if (!s)
		return undefined;
	memcpy(s, a.data, a.size);
	memcpy(s + a.size, b.data, b.size);
	return jinja_string((Bytes){s, a.size + b.size});
}

static Value
join_lists(Evaluation *e, const Value *a, const Value *b)
{
	Value *v = jinja_memory(e, ((uint64_t)a->n + b->n) * sizeof *v);
	if (!v)
		return undefined;
	if (a->n)
		memcpy(v, a->list, a->n * sizeof *v);
	if (b->n)
		memcpy(v + a->n, b->list, b->n * sizeof *v);
	return (Value){.kind = V_LIST, .n = a->n + b->n, .list = v};
}

static Value
arithmetic(Evaluation *e, Bytes op, const Value *a, const Value *b)
{
	const int64_t x = a->number, y = b->number, most = INT64_C(1) << 31;
	if (x > most || x < -most || y > most || y < -most)
		return jinja_fail(e, "a number is too large");
	if (jinja_are(op, "+"))
		return jinja_integer(x + y);
	if (jinja_are(op, "-"))
		return jinja_integer(x - y);
	if (jinja_are(op, "*"))
		return jinja_integer(x * y);
	const bool rest = jinja_are(op, "%");
	if ((!rest && !jinja_are(op, "//")) || y == 0)
		return jinja_fail(e, "a division");
	const int64_t q = x / y - ((x % y != 0) & ((x < 0) != (y < 0)));
	return jinja_integer(rest ? x - q * y : q);
}

static int
bytes_order(Bytes a, Bytes b)
{
	const uint32_t n = a.size < b.size ? a.size : b.size;
	const int order = memcmp(a.data, b.data, n);
	return order ? order : (a.size > b.size) - (a.size < b.size);
}

static Value
compare(Evaluation *e, Bytes op, const Value *a, const Value *b)
{
	int order;
	if (a->kind == V_INTEGER && b->kind == V_INTEGER)
		order = (a->number > b->number) - (a->number < b->number);
	else if (a->kind == V_STRING && b->kind == V_STRING)
		order = bytes_order(a->text, b->text);
	else
		return jinja_fail(e, "%s %.*s %s", jinja_kind_name(a), (int)op.size, op.data,
				  jinja_kind_name(b));
	const bool equal = op.size == 2 && order == 0;
	return jinja_bool(equal || (op.data[0] == '<' ? order < 0 : order > 0));
}

static Value
eval_binary(Evaluation *e, const JinjaNode *n)
{
	const Bytes op = n->text;
	const Value a = eval(e, n->a);
	if (jinja_are(op, "and") || jinja_are(op, "or"))
		return jinja_true(&a) == jinja_are(op, "or") ? a : eval(e, n->b);
	const Value b = eval(e, n->b);
	if (e->why)
		return undefined;
	if (jinja_are(op, "=="))
		return jinja_bool(jinja_equal(e, &a, &b));
	if (jinja_are(op, "!="))
		return jinja_bool(!jinja_equal(e, &a, &b));
	if (jinja_are(op, "in"))
		return jinja_bool(jinja_in(e, &a, &b));
	if (jinja_are(op, "not in"))
		return jinja_bool(!jinja_in(e, &a, &b));
	if (jinja_are(op, "~"))
		return join(e, jinja_text(e, &a), jinja_text(e, &b));
	if (op.data[0] == '<' || op.data[0] == '>')
		return compare(e, op, &a, &b);
	if (jinja_are(op, "+") && a.kind == V_STRING && b.kind == V_STRING)
		return join(e, a.text, b.text);
	if (jinja_are(op, "+") && a.kind == V_LIST && b.kind == V_LIST)
		return join_lists(e, &a, &b);
	if (a.kind == V_INTEGER && b.kind == V_INTEGER)
		return arithmetic(e, op, &a, &b);
	return jinja_fail(e, "%s %.*s %s", jinja_kind_name(&a), (int)op.size, op.data,
			  jinja_kind_name(&b));
}

static bool
is_ascii(Bytes s)
{
	for (uint32_t i = 0; i < s.size; i++)
		if ((unsigned char)s.data[i] >= 0x80)
			return false;
	return true;
}

/* Length of what an index may go into; -1: nothing. */
static int64_t
sequence_length(Evaluation *e, const Value *v)
{
	if (v->kind == V_LIST)
		return v->n;
	if (v->kind == V_STRING && is_ascii(v->text))
		return v->text.size;
	jinja_fail(e, "an index into %s", jinja_kind_name(v));
	return -1;
}

static Value
eval_index(Evaluation *e, const JinjaNode *n)
{
	const Value v = eval(e, n->a), at = eval(e, n->b);
	if (e->why)
		return undefined;
	if (v.kind == V_DICT && at.kind == V_STRING)
		return jinja_dict_get(v.dict, at.text);
	if (v.kind == V_DICT)
		return undefined;
	const int64_t length = sequence_length(e, &v);
	if (length < 0 || at.kind != V_INTEGER)
		return e->why || at.kind == V_STRING
			       ? undefined
			       : jinja_fail(e, "%s as an index", jinja_kind_name(&at));
	const int64_t i = at.number < 0 ? at.number + length : at.number;
	if (i < 0 || i >= length)
		return undefined;
	return v.kind == V_LIST ? v.list[i] : jinja_string((Bytes){v.text.data + i, 1});
}

/* A bound of a slice, as Python clamps it. */
static int64_t
bound(Evaluation *e, const Value *v, int64_t length, int64_t otherwise, bool backwards)
{
	if (v->kind == V_NONE)
		return otherwise;
	if (v->kind != V_INTEGER) {
		jinja_fail(e, "%s in a slice", jinja_kind_name(v));
		return 0;
	}
	const int64_t i = v->number < 0 ? v->number + length : v->number;
	const int64_t least = backwards ? -1 : 0, most = backwards ? length - 1 : length;
	return i < least ? least : i > most ? most : i;
}

static Value
eval_slice(Evaluation *e, const JinjaNode *n)
{
	const Value v = eval(e, n->a);
	const Arguments part = eval_arguments(e, n->args);
	const int64_t length = e->why ? -1 : sequence_length(e, &v);
	if (length < 0)
		return undefined;
	const int64_t by = part.v[2].kind == V_NONE ? 1 : part.v[2].number;
	if (by == 0 || by > INT32_MAX || by < -INT32_MAX ||
	    (part.v[2].kind != V_NONE && part.v[2].kind != V_INTEGER))
		return jinja_fail(e, "the step of a slice");
	const int64_t begin = bound(e, &part.v[0], length, by > 0 ? 0 : length - 1, by < 0);
	const int64_t end = bound(e, &part.v[1], length, by > 0 ? length : -1, by < 0);
	const bool list = v.kind == V_LIST;
	const size_t each = list ? sizeof(Value) : 1;
	char *out = jinja_memory(e, (uint64_t)length * each);
	uint32_t count = 0;
	if (!out)
		return undefined;
	for (int64_t i = begin; by > 0 ? i < end : i > end; i += by) {
		if (list)
			((Value *)(void *)out)[count++] = v.list[i];
		else
			out[count++] = v.text.data[i];
	}
	if (!list)
		return jinja_string((Bytes){out, count});
	return (Value){.kind = V_LIST, .n = count, .list = (const Value *)(const void *)out};
}

/* What a macro writes: it sees its parameters and the template's names. */
static Value
call_macro(Evaluation *e, const JinjaNode *macro, const Arguments *args)
{
	Scope own, *caller = e->scope;
	Text *out = e->out;
	uint32_t i = 0;
	scope_enter(e, &own);
	own.above = e->top;
	for (const JinjaNode *p = macro->args; p && !e->why; p = p->next, i++) {
		const Value named = jinja_dict_get(args->named, p->text);
		Value v = i < args->n ? args->v[i] : named;
		if (v.kind == V_UNDEFINED && p->kind == J_KEYWORD)
			v = eval(e, p->a);
		else if (p->kind != J_KEYWORD && p->kind != J_NAME)
			jinja_fail(e, "a parameter of a macro");
		jinja_dict_set(e, own.names, p->text, v);
	}
	if (args->n > i)
		jinja_fail(e, "a macro's arguments");
	e->out = text_new(e->arena);
	if (!e->why)
		run(e, macro->body);
	const Bytes text = {e->out->text, (uint32_t)e->out->size};
	e->out = out;
	e->scope = caller;
	e->leaving = 0;
	return jinja_string(text);
}

static Value
eval_call(Evaluation *e, const JinjaNode *n)
{
	if (n->a->kind == J_ATTRIBUTE) {
		const Value of = eval(e, n->a->a);
		const Arguments args = eval_arguments(e, n->args);
		return e->why ? undefined : jinja_method(e, n->a->text, &of, &args);
	}
	const Value of = eval(e, n->a);
	const Arguments args = eval_arguments(e, n->args);
	if (e->why)
		return undefined;
	if (of.kind == V_FUNCTION && of.macro)
		return call_macro(e, of.macro, &args);
	if (of.kind == V_FUNCTION)
		return jinja_function(e, of.text, &args);
	return jinja_fail(e, "a call of '%.*s', which is not understood",
			  n->a->kind == J_NAME && n->a->text.size < 60 ? (int)n->a->text.size : 0,
			  n->a->text.data);
}

static Value
eval_attribute(Evaluation *e, const JinjaNode *n)
{
	const Value of = eval(e, n->a);
	if (of.kind == V_UNDEFINED)
		return jinja_fail(e, "'%.*s' of something undefined",
				  (int)(n->text.size < 60 ? n->text.size : 60), n->text.data);
	return of.kind == V_DICT ? jinja_dict_get(of.dict, n->text) : undefined;
}

static Value
eval_list(Evaluation *e, const JinjaNode *n)
{
	const Arguments args = eval_arguments(e, n->args);
	return (Value){.kind = V_LIST, .n = args.n, .list = args.v};
}

static Value
eval_dict(Evaluation *e, const JinjaNode *n)
{
	Dict *d = jinja_dict_new(e);
	for (const JinjaNode *p = n->args; p && !e->why; p = p->next) {
		const Value key = eval(e, p->a);
		if (key.kind != V_STRING)
			return jinja_fail(e, "%s as a key", jinja_kind_name(&key));
		jinja_dict_set(e, d, key.text, eval(e, p->b));
	}
	return d ? (Value){.kind = V_DICT, .dict = d} : undefined;
}

static Value
eval_applied(Evaluation *e, const JinjaNode *n)
{
	const Value of = eval(e, n->a);
	const Arguments args = eval_arguments(e, n->args);
	if (e->why)
		return undefined;
	return n->kind == J_FILTER ? jinja_filter(e, n->text, &of, &args)
				   : jinja_test(e, n->text, &of, &args);
}

static Value
eval_negated(Evaluation *e, const JinjaNode *n)
{
	const Value of = eval(e, n->a);
	if (n->kind == J_NOT)
		return jinja_bool(!jinja_true(&of));
	if (of.kind != V_INTEGER || of.number == INT64_MIN)
		return jinja_fail(e, "minus %s", jinja_kind_name(&of));
	return jinja_integer(-of.number);
}

static Value
eval_choice(Evaluation *e, const JinjaNode *n)
{
	const Value condition = eval(e, n->b);
	if (e->why)
		return undefined;
	return jinja_true(&condition) ? eval(e, n->a) : n->other ? eval(e, n->other) : undefined;
}

static Value
eval_inner(Evaluation *e, const JinjaNode *n)
{
	switch ((JinjaKind)n->kind) {
	case J_STRING:
		return jinja_string(n->text);
	case J_INTEGER:
		return jinja_integer(n->number);
	case J_NONE:
		return (Value){.kind = V_NONE};
	case J_BOOL:
		return jinja_bool(n->number != 0);
	case J_NAME:
		return name_value(e, n->text);
	case J_LIST:
		return eval_list(e, n);
	case J_DICT:
		return eval_dict(e, n);
	case J_BINARY:
		return eval_binary(e, n);
	case J_NOT:
	case J_NEGATIVE:
		return eval_negated(e, n);
	case J_CHOICE:
		return eval_choice(e, n);
	case J_ATTRIBUTE:
		return eval_attribute(e, n);
	case J_INDEX:
		return eval_index(e, n);
	case J_SLICE:
		return eval_slice(e, n);
	case J_CALL:
		return eval_call(e, n);
	case J_FILTER:
	case J_TEST:
		return eval_applied(e, n);
	default:
		return jinja_fail(e, "a number with a point");
	}
}

static Value
eval(Evaluation *e, const JinjaNode *n)
{
	if (e->why)
		return undefined;
	e->line = n->line;
	if (e->depth >= DEPTH)
		return jinja_fail(e, "it is nested too deeply");
	if (!jinja_work(e, 1))
		return undefined;
	e->depth++;
	const Value v = eval_inner(e, n);
	e->depth--;
	return e->why ? undefined : v;
}

/* ---- statements ----------------------------------------------------------------------------- */

static void
set_loop(Evaluation *e, const Value *items, uint32_t i)
{
	Dict *d = jinja_dict_new(e);
	const int64_t n = items->n;
	const struct {
		const char *name;
		Value value;
	} members[] = {{"index", jinja_integer(i + INT64_C(1))},
		       {"index0", jinja_integer(i)},
		       {"revindex", jinja_integer(n - i)},
		       {"revindex0", jinja_integer(n - i - 1)},
		       {"first", jinja_bool(i == 0)},
		       {"last", jinja_bool(i + 1 == n)},
		       {"length", jinja_integer(n)},
		       {"previtem", i > 0 ? items->list[i - 1] : undefined},
		       {"nextitem", i + 1 < n ? items->list[i + 1] : undefined}};
	for (size_t k = 0; k < sizeof members / sizeof *members; k++)
		jinja_dict_set(e, d, jinja_bytes(members[k].name), members[k].value);
	if (d)
		jinja_dict_set(e, e->scope->names, jinja_bytes("loop"),
			       (Value){.kind = V_DICT, .dict = d});
}

/* A loop's names for one item. */
static void
set_targets(Evaluation *e, const JinjaNode *targets, const Value *item)
{
	if (!targets->next) {
		jinja_dict_set(e, e->scope->names, targets->text, *item);
		return;
	}
	uint32_t i = 0;
	for (const JinjaNode *t = targets; t; t = t->next, i++) {
		if (item->kind != V_LIST || i >= item->n || (!t->next && i + 1 != item->n)) {
			jinja_fail(e, "%s for several names", jinja_kind_name(item));
			return;
		}
		jinja_dict_set(e, e->scope->names, t->text, item->list[i]);
	}
}

/* Items for which a loop's condition holds. */
static Value
filtered(Evaluation *e, const JinjaNode *n, const Value *items)
{
	Value *v = jinja_memory(e, items->n * sizeof *v);
	uint32_t count = 0;
	if (!v)
		return undefined;
	for (uint32_t i = 0; i < items->n && !e->why; i++) {
		Scope own;
		scope_enter(e, &own);
		set_targets(e, n->args, &items->list[i]);
		const Value holds = eval(e, n->b);
		e->scope = own.above;
		if (jinja_true(&holds))
			v[count++] = items->list[i];
	}
	return (Value){.kind = V_LIST, .n = count, .list = v};
}

static void
run_for(Evaluation *e, const JinjaNode *n)
{
	const Value over = eval(e, n->a);
	Value items = e->why ? undefined : jinja_items(e, &over);
	if (!e->why && n->b)
		items = filtered(e, n, &items);
	if (e->why)
		return;
	if (items.n == 0)
		run(e, n->other);
	for (uint32_t i = 0; i < items.n && !e->why; i++) {
		Scope own;
		scope_enter(e, &own);
		set_loop(e, &items, i);
		set_targets(e, n->args, &items.list[i]);
		if (!e->why)
			run(e, n->body);
		e->scope = own.above;
		const int leaving = e->leaving;
		e->leaving = 0;
		if (leaving == LEAVE_BREAK)
			break;
	}
}

static void
run_set(Evaluation *e, const JinjaNode *n)
{
	Value v;
	if (n->a) {
		v = eval(e, n->a);
	} else {
		Text *out = e->out;
		e->out = text_new(e->arena);
		run(e, n->body);
		v = jinja_string((Bytes){e->out->text, (uint32_t)e->out->size});
		e->out = out;
	}
	if (e->why)
		return;
	if (!n->b) {
		jinja_dict_set(e, e->scope->names, n->text, v);
		return;
	}
	const Value of = name_value(e, n->text);
	if (of.kind == V_DICT)
		jinja_dict_set(e, of.dict, n->b->text, v);
	else
		jinja_fail(e, "an attribute of %s is set", jinja_kind_name(&of));
}

static void
put(Evaluation *e, Bytes text)
{
	e->bytes += text.size;
	if (e->bytes > JINJA_BYTES)
		jinja_fail(e, "it makes more than %d bytes", JINJA_BYTES);
	else
		text_add(e->out, text.data, text.size);
}

static void
run_one(Evaluation *e, const JinjaNode *n)
{
	Value v;
	switch ((JinjaKind)n->kind) {
	case J_TEXT:
		put(e, n->text);
		break;
	case J_PRINT:
		v = eval(e, n->a);
		put(e, jinja_text(e, &v));
		break;
	case J_IF:
		v = eval(e, n->a);
		run(e, jinja_true(&v) ? n->body : n->other);
		break;
	case J_FOR:
		run_for(e, n);
		break;
	case J_SET:
		run_set(e, n);
		break;
	case J_SCOPE:
		run(e, n->body);
		break;
	case J_BREAK:
		e->leaving = LEAVE_BREAK;
		break;
	case J_CONTINUE:
		e->leaving = LEAVE_CONTINUE;
		break;
	case J_MACRO:
		v = (Value){.kind = V_FUNCTION, .text = n->text, .macro = n};
		jinja_dict_set(e, e->scope->names, n->text, v);
		break;
	default:
		BUG("node %d is no statement", n->kind);
	}
}

static void
run(Evaluation *e, const JinjaNode *n)
{
	if (e->depth >= DEPTH)
		jinja_fail(e, "it is nested too deeply");
	e->depth++;
	for (; n && !e->why && !e->leaving; n = n->next) {
		e->line = n->line;
		if (jinja_work(e, 1))
			run_one(e, n);
	}
	e->depth--;
}

static Value
message_list(Evaluation *e, const JinjaInput *input)
{
	Value *v = jinja_memory(e, input->n_messages * sizeof *v);
	for (uint32_t i = 0; v && i < input->n_messages; i++) {
		const ChatMessage *m = &input->messages[i];
		Dict *d = jinja_dict_new(e);
		jinja_dict_set(e, d, jinja_bytes("role"), jinja_string(jinja_bytes(m->role)));
		jinja_dict_set(e, d, jinja_bytes("content"), jinja_string(m->content));
		v[i] = d ? (Value){.kind = V_DICT, .dict = d} : undefined;
	}
	return (Value){.kind = V_LIST, .n = v ? input->n_messages : 0, .list = v};
}

bool
jinja_render(const Jinja *template, const JinjaInput *input, Text *out, const char **why)
{
	Arena *own = arena_new();
	Evaluation e = {.arena = own, .out = out};
	Scope top;
	scope_enter(&e, &top);
	e.top = &top;
	jinja_dict_set(&e, top.names, jinja_bytes("messages"), message_list(&e, input));
	jinja_dict_set(&e, top.names, jinja_bytes("add_generation_prompt"),
		       jinja_bool(input->add_generation_prompt));
	if (input->bos.size)
		jinja_dict_set(&e, top.names, jinja_bytes("bos_token"), jinja_string(input->bos));
	if (input->eos.size)
		jinja_dict_set(&e, top.names, jinja_bytes("eos_token"), jinja_string(input->eos));
	run(&e, template->body);
	*why = e.why ? arena_printf(out->arena, "%s", e.why) : NULL;
	arena_free(own);
	return !*why;
}
