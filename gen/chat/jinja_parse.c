/* Tokens into a tree. The grammar is Jinja's, statements but for those that load other files. */
#include "jinja_impl.h"

#include <stdlib.h>
#include <string.h>

enum { DEPTH = 200 };

typedef struct Parser {
	Arena *arena;
	const JinjaToken *at; /* the T_END after a failure */
	const JinjaToken *end;
	const char *why;
	int depth;
} Parser;

static JinjaNode *parse_expression(Parser *p);
static JinjaNode *parse_unary(Parser *p, bool with_filter);
static JinjaNode *parse_body(Parser *p, const char *const *stops);

static JinjaNode *
parse_fail(Parser *p, const char *what)
{
	if (!p->why)
		p->why = arena_printf(p->arena, "line %u: %s", p->at->line, what);
	p->at = p->end;
	return ARENA_NEW(p->arena, JinjaNode);
}

static JinjaNode *
node_new(Parser *p, JinjaKind kind)
{
	JinjaNode *n = ARENA_NEW(p->arena, JinjaNode);
	n->kind = (uint8_t)kind;
	n->line = p->at->line;
	n->text = p->at->text;
	return n;
}

static bool
is_operator(const Parser *p, const char *s)
{
	return p->at->kind == T_OPERATOR && jinja_are(p->at->text, s);
}

static bool
is_name(const Parser *p, const char *s)
{
	return p->at->kind == T_NAME && jinja_are(p->at->text, s);
}

static void
step(Parser *p)
{
	if (p->at->kind != T_END)
		p->at++;
}

static bool
take_operator(Parser *p, const char *s)
{
	if (!is_operator(p, s))
		return false;
	step(p);
	return true;
}

static bool
take_name(Parser *p, const char *s)
{
	if (!is_name(p, s))
		return false;
	step(p);
	return true;
}

static void
need_operator(Parser *p, const char *s)
{
	if (!take_operator(p, s))
		parse_fail(p, arena_printf(p->arena, "'%s' is missing", s));
}

static Bytes
need_name(Parser *p)
{
	const Bytes name = p->at->text;
	if (p->at->kind != T_NAME)
		parse_fail(p, "a name is missing");
	step(p);
	return name;
}

static void
append(JinjaNode **list, JinjaNode **last, JinjaNode *n)
{
	if (*last)
		(*last)->next = n;
	else
		*list = n;
	*last = n;
}

/* ---- expressions ---------------------------------------------------------------------------- */

/* Elements up to the closing bracket, which is taken. pairs: with a colon; names: NAME = too. */
static JinjaNode *
parse_elements(Parser *p, const char *close, bool pairs, bool names)
{
	JinjaNode *list = NULL, *last = NULL;
	while (!p->why && !take_operator(p, close)) {
		JinjaNode *n;
		if (names && p->at->kind == T_NAME && p->at[1].kind == T_OPERATOR &&
		    jinja_are(p->at[1].text, "=")) {
			n = node_new(p, J_KEYWORD);
			step(p);
			step(p);
			n->a = parse_expression(p);
		} else if (pairs) {
			n = node_new(p, J_PAIR);
			n->a = parse_expression(p);
			need_operator(p, ":");
			n->b = parse_expression(p);
		} else {
			n = parse_expression(p);
		}
		append(&list, &last, n);
		if (!is_operator(p, close) && !p->why)
			need_operator(p, ",");
	}
	return list;
}

static JinjaNode *
parse_number(Parser *p)
{
	JinjaNode *n = node_new(p, J_INTEGER);
	for (uint32_t i = 0; i < n->text.size; i++) {
		const char c = n->text.data[i];
		if (c == '_')
			continue;
		if (c < '0' || c > '9' || n->number > INT64_MAX / 16)
			return parse_fail(p, "a number");
		n->number = n->number * 10 + (c - '0');
	}
	step(p);
	return n;
}

static JinjaNode *
parse_name(Parser *p)
{
	static const struct {
		const char *name;
		JinjaKind kind;
		int number;
	} words[] = {{"true", J_BOOL, 1},  {"True", J_BOOL, 1}, {"false", J_BOOL, 0},
		     {"False", J_BOOL, 0}, {"none", J_NONE, 0}, {"None", J_NONE, 0}};
	JinjaNode *n = node_new(p, J_NAME);
	for (size_t i = 0; i < sizeof words / sizeof *words; i++)
		if (jinja_are(n->text, words[i].name)) {
			n->kind = (uint8_t)words[i].kind;
			n->number = words[i].number;
		}
	step(p);
	return n;
}

/* (a), (a, b), () */
static JinjaNode *
parse_parenthesis(Parser *p)
{
	JinjaNode *n = node_new(p, J_LIST);
	step(p);
	if (take_operator(p, ")"))
		return n;
	JinjaNode *first = parse_expression(p);
	if (take_operator(p, ")"))
		return first;
	need_operator(p, ",");
	first->next = parse_elements(p, ")", false, false);
	n->args = first;
	return n;
}

static JinjaNode *
parse_primary(Parser *p)
{
	JinjaNode *n;
	switch (p->at->kind) {
	case T_STRING:
		n = node_new(p, J_STRING);
		for (step(p); p->at->kind == T_STRING; step(p)) {
			const char *joined =
				arena_printf(p->arena, "%.*s%.*s", (int)n->text.size, n->text.data,
					     (int)p->at->text.size, p->at->text.data);
			n->text = jinja_bytes(joined);
		}
		return n;
	case T_INTEGER:
		return parse_number(p);
	case T_FLOAT:
		n = node_new(p, J_FLOAT);
		step(p);
		return n;
	case T_NAME:
		return parse_name(p);
	default:
		break;
	}
	if (is_operator(p, "("))
		return parse_parenthesis(p);
	if (is_operator(p, "[") || is_operator(p, "{")) {
		const bool dict = is_operator(p, "{");
		n = node_new(p, dict ? J_DICT : J_LIST);
		step(p);
		n->args = parse_elements(p, dict ? "}" : "]", dict, false);
		return n;
	}
	return parse_fail(p, "an expression is missing");
}

/* What stands between brackets: an index or begin:end:step. */
static JinjaNode *
parse_subscript(Parser *p, JinjaNode *of)
{
	JinjaNode *n = node_new(p, J_INDEX), *parts[3] = {NULL, NULL, NULL};
	int k = 0;
	step(p);
	n->a = of;
	while (!p->why && !is_operator(p, "]")) {
		if (is_operator(p, ":")) {
			n->kind = J_SLICE;
			if (++k == 3)
				return parse_fail(p, "a slice");
			step(p);
			continue;
		}
		if (parts[k])
			return parse_fail(p, "a subscript");
		parts[k] = parse_expression(p);
	}
	need_operator(p, "]");
	if (n->kind == J_INDEX) {
		n->b = parts[0];
		return parts[0] ? n : parse_fail(p, "a subscript");
	}
	for (int i = 2; i >= 0; i--) {
		if (!parts[i])
			parts[i] = node_new(p, J_NONE);
		parts[i]->next = i < 2 ? parts[i + 1] : NULL;
	}
	n->args = parts[0];
	return n;
}

static JinjaNode *
parse_call(Parser *p, JinjaNode *of)
{
	JinjaNode *n = node_new(p, J_CALL);
	step(p);
	n->a = of;
	n->args = parse_elements(p, ")", false, true);
	return n;
}

static JinjaNode *
parse_postfix(Parser *p, JinjaNode *n)
{
	for (;;) {
		if (is_operator(p, ".")) {
			JinjaNode *of = n;
			step(p);
			n = node_new(p, J_ATTRIBUTE);
			n->a = of;
			if (p->at->kind == T_INTEGER) {
				n->kind = J_INDEX;
				n->b = parse_number(p);
			} else {
				n->text = need_name(p);
			}
		} else if (is_operator(p, "[")) {
			n = parse_subscript(p, n);
		} else if (is_operator(p, "(")) {
			n = parse_call(p, n);
		} else {
			return n;
		}
	}
}

/* `is NAME`, `is not NAME`, with arguments in parentheses or one without. */
static JinjaNode *
parse_test(Parser *p, JinjaNode *of)
{
	step(p);
	const bool negated = take_name(p, "not");
	JinjaNode *n = node_new(p, J_TEST);
	n->a = of;
	n->text = need_name(p);
	if (is_operator(p, "(")) {
		step(p);
		n->args = parse_elements(p, ")", false, true);
	} else if (p->at->kind == T_STRING || p->at->kind == T_INTEGER || p->at->kind == T_FLOAT ||
		   is_operator(p, "[") || is_operator(p, "{") ||
		   (p->at->kind == T_NAME && !is_name(p, "else") && !is_name(p, "or") &&
		    !is_name(p, "and") && !is_name(p, "if") && !is_name(p, "is") &&
		    !is_name(p, "not") && !is_name(p, "in"))) {
		n->args = parse_postfix(p, parse_primary(p));
	}
	if (!negated)
		return n;
	JinjaNode *not_it = node_new(p, J_NOT);
	not_it->a = n;
	return not_it;
}

static JinjaNode *
parse_filters(Parser *p, JinjaNode *n)
{
	for (;;) {
		if (is_operator(p, "|")) {
			JinjaNode *of = n;
			step(p);
			n = node_new(p, J_FILTER);
			n->a = of;
			n->text = need_name(p);
			if (take_operator(p, "("))
				n->args = parse_elements(p, ")", false, true);
		} else if (is_name(p, "is")) {
			n = parse_test(p, n);
		} else if (is_operator(p, "(")) {
			n = parse_call(p, n);
		} else {
			return n;
		}
	}
}

static JinjaNode *
parse_unary(Parser *p, bool with_filter)
{
	JinjaNode *n;
	if (++p->depth > DEPTH)
		return parse_fail(p, "an expression is nested too deeply");
	if (is_operator(p, "-") || is_operator(p, "+")) {
		const bool negative = is_operator(p, "-");
		n = node_new(p, J_NEGATIVE);
		step(p);
		JinjaNode *of = parse_unary(p, false);
		n->a = of;
		n = negative ? n : of;
	} else {
		n = parse_primary(p);
	}
	n = parse_postfix(p, n);
	p->depth--;
	return with_filter ? parse_filters(p, n) : n;
}

/* Binary operators, loosest first; `not` and comparisons lie between. */
static const char *const levels[][7] = {
	{"+", "-"},
	{"~"},
	{"*", "/", "//", "%"},
};
enum { LEVELS = sizeof levels / sizeof *levels };

static JinjaNode *
binary(Parser *p, const char *op, const JinjaNode *a)
{
	JinjaNode *n = node_new(p, J_BINARY);
	n->text = jinja_bytes(op);
	n->a = a;
	return n;
}

static JinjaNode *
parse_level(Parser *p, int level)
{
	if (level == LEVELS)
		return parse_unary(p, true);
	JinjaNode *n = parse_level(p, level + 1);
	for (;;) {
		int i = 0;
		while (i < 7 && levels[level][i] && !is_operator(p, levels[level][i]))
			i++;
		if (i == 7 || !levels[level][i])
			return n;
		n = binary(p, levels[level][i], n);
		step(p);
		n->b = parse_level(p, level + 1);
	}
}

/* a < b < c is (a < b) and (b < c). */
static JinjaNode *
parse_comparison(Parser *p)
{
	static const char *const operators[] = {"==", "!=", "<", "<=", ">", ">=", NULL};
	JinjaNode *left = parse_level(p, 0), *all = NULL;
	for (;;) {
		const char *op = NULL;
		for (int i = 0; operators[i]; i++)
			if (is_operator(p, operators[i]))
				op = operators[i];
		if (is_name(p, "in"))
			op = "in";
		if (is_name(p, "not") && p->at[1].kind == T_NAME &&
		    jinja_are(p->at[1].text, "in")) {
			op = "not in";
			step(p);
		}
		if (!op)
			return all ? all : left;
		JinjaNode *n = binary(p, op, left);
		step(p);
		left = parse_level(p, 0);
		n->b = left;
		if (all) {
			JinjaNode *both = binary(p, "and", all);
			both->b = n;
			n = both;
		}
		all = n;
	}
}

static JinjaNode *
parse_not(Parser *p)
{
	if (!is_name(p, "not"))
		return parse_comparison(p);
	JinjaNode *n = node_new(p, J_NOT);
	step(p);
	if (++p->depth > DEPTH)
		return parse_fail(p, "an expression is nested too deeply");
	n->a = parse_not(p);
	p->depth--;
	return n;
}

/* Operands with a word between them, from the left. */
static JinjaNode *
parse_chain(Parser *p, const char *word, JinjaNode *(*operand)(Parser *))
{
	JinjaNode *n = operand(p);
	while (is_name(p, word)) {
		n = binary(p, word, n);
		step(p);
		n->b = operand(p);
	}
	return n;
}

static JinjaNode *
parse_and(Parser *p)
{
	return parse_chain(p, "and", parse_not);
}

static JinjaNode *
parse_or(Parser *p)
{
	return parse_chain(p, "or", parse_and);
}

static JinjaNode *
parse_expression(Parser *p)
{
	if (++p->depth > DEPTH)
		return parse_fail(p, "an expression is nested too deeply");
	JinjaNode *n = parse_or(p);
	while (is_name(p, "if")) {
		JinjaNode *choice = node_new(p, J_CHOICE);
		step(p);
		choice->a = n;
		choice->b = parse_or(p);
		if (take_name(p, "else"))
			choice->other = parse_expression(p);
		n = choice;
	}
	p->depth--;
	return n;
}

/* a, b without parentheses: a list. */
static JinjaNode *
parse_tuple(Parser *p)
{
	JinjaNode *n = parse_expression(p);
	if (!is_operator(p, ","))
		return n;
	JinjaNode *list = node_new(p, J_LIST), *last = n;
	list->args = n;
	while (take_operator(p, ",") && p->at->kind != T_BLOCK_END) {
		last->next = parse_expression(p);
		last = last->next;
	}
	return list;
}

/* ---- statements ----------------------------------------------------------------------------- */

static void
end_tag(Parser *p)
{
	if (p->at->kind != T_BLOCK_END)
		parse_fail(p, "a tag does not end where it should");
	step(p);
}

/* {% NAME %}, which parse_body has left standing. */
static void
end_statement(Parser *p, const char *name)
{
	if (p->at->kind == T_BLOCK)
		step(p);
	if (!take_name(p, name))
		parse_fail(p, arena_printf(p->arena, "'%s' is missing", name));
	end_tag(p);
}

static JinjaNode *
parse_if(Parser *p)
{
	static const char *const stops[] = {"elif", "else", "endif", NULL};
	static const char *const last[] = {"endif", NULL};
	JinjaNode *n = node_new(p, J_IF);
	if (++p->depth > DEPTH)
		return parse_fail(p, "statements are nested too deeply");
	n->a = parse_expression(p);
	end_tag(p);
	n->body = parse_body(p, stops);
	step(p);
	if (take_name(p, "elif")) {
		n->other = parse_if(p);
	} else if (take_name(p, "else")) {
		end_tag(p);
		n->other = parse_body(p, last);
		end_statement(p, "endif");
	} else {
		end_statement(p, "endif");
	}
	p->depth--;
	return n;
}

static JinjaNode *
parse_targets(Parser *p)
{
	JinjaNode *list = NULL, *last = NULL;
	const bool open = take_operator(p, "(");
	do {
		JinjaNode *n = node_new(p, J_NAME);
		n->text = need_name(p);
		append(&list, &last, n);
	} while (!p->why && take_operator(p, ","));
	if (open)
		need_operator(p, ")");
	return list;
}

static JinjaNode *
parse_for(Parser *p)
{
	static const char *const stops[] = {"else", "endfor", NULL};
	static const char *const last[] = {"endfor", NULL};
	JinjaNode *n = node_new(p, J_FOR);
	n->args = parse_targets(p);
	if (!take_name(p, "in"))
		return parse_fail(p, "'in' is missing");
	n->a = parse_or(p);
	if (take_name(p, "if"))
		n->b = parse_expression(p);
	if (is_name(p, "recursive"))
		return parse_fail(p, "a recursive loop");
	end_tag(p);
	n->body = parse_body(p, stops);
	step(p);
	if (take_name(p, "else")) {
		end_tag(p);
		n->other = parse_body(p, last);
		step(p);
	}
	end_statement(p, "endfor");
	return n;
}

static JinjaNode *
parse_set(Parser *p)
{
	static const char *const stops[] = {"endset", NULL};
	JinjaNode *n = node_new(p, J_SET);
	n->text = need_name(p);
	if (take_operator(p, ".")) {
		JinjaNode *attribute = node_new(p, J_NAME);
		attribute->text = need_name(p);
		n->b = attribute;
	}
	if (take_operator(p, "=")) {
		n->a = parse_tuple(p);
		end_tag(p);
		return n;
	}
	end_tag(p);
	n->body = parse_body(p, stops);
	end_statement(p, "endset");
	return n;
}

static JinjaNode *
parse_macro(Parser *p)
{
	static const char *const stops[] = {"endmacro", NULL};
	JinjaNode *n = node_new(p, J_MACRO);
	n->text = need_name(p);
	need_operator(p, "(");
	n->args = parse_elements(p, ")", false, true);
	end_tag(p);
	n->body = parse_body(p, stops);
	end_statement(p, "endmacro");
	return n;
}

static JinjaNode *
parse_generation(Parser *p)
{
	static const char *const stops[] = {"endgeneration", NULL};
	JinjaNode *n = node_new(p, J_SCOPE);
	end_tag(p);
	n->body = parse_body(p, stops);
	end_statement(p, "endgeneration");
	return n;
}

static JinjaNode *
parse_jump(Parser *p, JinjaKind kind)
{
	JinjaNode *n = node_new(p, kind);
	end_tag(p);
	return n;
}

static JinjaNode *
parse_break(Parser *p)
{
	return parse_jump(p, J_BREAK);
}

static JinjaNode *
parse_continue(Parser *p)
{
	return parse_jump(p, J_CONTINUE);
}

static const struct {
	const char *name;
	JinjaNode *(*parse)(Parser *p);
} statements[] = {
	{"if", parse_if},
	{"for", parse_for},
	{"set", parse_set},
	{"macro", parse_macro},
	{"generation", parse_generation},
	{"break", parse_break},
	{"continue", parse_continue},
};

static JinjaNode *
parse_statement(Parser *p)
{
	for (size_t i = 0; i < sizeof statements / sizeof *statements; i++)
		if (take_name(p, statements[i].name))
			return statements[i].parse(p);
	return parse_fail(p, arena_printf(p->arena, "the statement '%.*s'",
					  (int)(p->at->text.size < 40 ? p->at->text.size : 40),
					  p->at->text.data));
}

static bool
stops_here(const Parser *p, const char *const *stops)
{
	for (; *stops; stops++)
		if (p->at[1].kind == T_NAME && jinja_are(p->at[1].text, *stops))
			return true;
	return false;
}

/* Up to a statement of `stops`, or the end; its {% is left standing. */
static JinjaNode *
parse_body(Parser *p, const char *const *stops)
{
	JinjaNode *list = NULL, *last = NULL;
	if (++p->depth > DEPTH)
		return parse_fail(p, "statements are nested too deeply");
	while (p->at->kind != T_END && !(p->at->kind == T_BLOCK && stops_here(p, stops))) {
		JinjaNode *n;
		if (p->at->kind == T_DATA) {
			n = node_new(p, J_TEXT);
			step(p);
		} else if (p->at->kind == T_PRINT) {
			n = node_new(p, J_PRINT);
			step(p);
			n->a = parse_tuple(p);
			if (p->at->kind != T_PRINT_END)
				parse_fail(p, "an expression does not end where it should");
			step(p);
		} else {
			step(p);
			n = parse_statement(p);
		}
		append(&list, &last, n);
	}
	p->depth--;
	return list;
}

const Jinja *
jinja_parse(Arena *a, Bytes text, const char **why)
{
	static const char *const none[] = {NULL};
	const JinjaToken *tokens = jinja_tokens(a, text, why);
	if (!tokens)
		return NULL;
	Parser p = {.arena = a, .at = tokens, .end = tokens};
	while (p.end->kind != T_END)
		p.end++;
	Jinja *j = ARENA_NEW(a, Jinja);
	j->body = parse_body(&p, none);
	*why = p.why;
	return p.why ? NULL : j;
}
