#include "gen/options.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

enum { NAMES_MAX = 64, HELP_COLUMN = 30 };

static const Option *
option_find(const Command *c, const char *name, size_t n)
{
	for (int i = 0; i < c->n_options; i++)
		if (strlen(c->options[i].name) == n && !memcmp(c->options[i].name, name, n))
			return &c->options[i];
	return NULL;
}

static bool
option_unknown(const Command *c, Diag *d, const char *name)
{
	const char *names[NAMES_MAX];
	int n = 0;
	while (n < c->n_options && n < NAMES_MAX) {
		names[n] = c->options[n].name;
		n++;
	}
	const char *near = nearest_name(name, names, (size_t)n);
	diag_error(d, (Loc){0}, E_USAGE, "unknown option '%s'", name);
	if (near)
		diag_hint(d, "did you mean '%s'? `lathe %s --help` lists them", near, c->name);
	else
		diag_hint(d, "`lathe %s --help` lists the options", c->name);
	return false;
}

static bool
option_set(const Option *o, Diag *d, void *fields, const char *value)
{
	void *field = (char *)fields + o->offset;
	StringList *list = field;
	char *end;
	long number;
	switch (o->kind) {
	case OPTION_FLAG:
		*(bool *)field = true;
		return true;
	case OPTION_STRING:
		*(const char **)field = value;
		return true;
	case OPTION_INT:
		errno = 0;
		number = strtol(value, &end, 10);
		if (value[0] < '0' || value[0] > '9' || *end || errno || number < 1 ||
		    number > INT_MAX) {
			diag_error(d, (Loc){0}, E_USAGE, "%s wants a number from 1 to %d, not '%s'",
				   o->name, INT_MAX, value);
			return false;
		}
		*(int *)field = (int)number;
		return true;
	case OPTION_LIST:
		if (list->count == OPTION_LIST_MAX) {
			diag_error(d, (Loc){0}, E_USAGE, "%s is given more than %d times", o->name,
				   OPTION_LIST_MAX);
			return false;
		}
		list->items[list->count++] = value;
		return true;
	}
	return false;
}

static bool
operand_add(Diag *d, StringList *operands, const char *s)
{
	if (operands->count == OPTION_LIST_MAX) {
		diag_error(d, (Loc){0}, E_USAGE, "too many operands, '%s' is one too many", s);
		return false;
	}
	operands->items[operands->count++] = s;
	return true;
}

bool
options_parse(const Command *c, Diag *d, int argc, char **argv, void *fields, StringList *operands)
{
	for (int i = 1; i < argc; i++) {
		const char *s = argv[i], *equals = strchr(s, '=');
		if (s[0] != '-' || !s[1]) {
			if (!operand_add(d, operands, s))
				return false;
			continue;
		}
		if (!strcmp(s, "--")) {
			while (++i < argc)
				if (!operand_add(d, operands, argv[i]))
					return false;
			break;
		}
		if (!strcmp(s, "--help") || !strcmp(s, "-h")) {
			options_help(c, stdout);
			stdout_finish();
			exit(0);
		}
		const Option *o = option_find(c, s, equals ? (size_t)(equals - s) : strlen(s));
		if (!o)
			return option_unknown(c, d, s);
		const char *value = equals ? equals + 1 : NULL;
		if (o->kind == OPTION_FLAG && value) {
			diag_error(d, (Loc){0}, E_USAGE, "%s takes no value", o->name);
			return false;
		}
		if (o->kind != OPTION_FLAG && !value && ++i == argc) {
			diag_error(d, (Loc){0}, E_USAGE, "%s wants a value: %s", o->name,
				   o->argument);
			return false;
		}
		if (o->kind != OPTION_FLAG && !value)
			value = argv[i];
		if (!option_set(o, d, fields, value))
			return false;
	}
	return true;
}

void
options_help(const Command *c, FILE *out)
{
	fprintf(out, "usage: lathe %s %s\n\n%s\n", c->name, c->usage, c->what);
	if (c->n_options)
		fputs("\noptions:\n", out);
	for (int i = 0; i < c->n_options; i++) {
		const Option *o = &c->options[i];
		int n = fprintf(out, "  %s%s%s", o->name, o->argument ? " " : "",
				o->argument ? o->argument : "");
		for (; n < HELP_COLUMN - 1; n++)
			fputc(' ', out);
		fprintf(out, " %s\n", o->help);
	}
}
