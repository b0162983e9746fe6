/* Command lines as tables: one row an option, read by the parser and by --help alike. */
#ifndef LATHE_GEN_OPTIONS_H
#define LATHE_GEN_OPTIONS_H

#include "ir/support.h"

enum { OPTION_LIST_MAX = 64 };

typedef struct StringList {
	const char *items[OPTION_LIST_MAX];
	int count;
} StringList;

typedef enum OptionKind {
	OPTION_FLAG,   /* bool */
	OPTION_STRING, /* const char * */
	OPTION_INT,    /* int, at least 1: 0 in the field means not given */
	OPTION_LIST,   /* StringList: may be given many times */
} OptionKind;

typedef struct Option {
	const char *name;     /* "--target" */
	const char *argument; /* "LIST"; null for flags */
	OptionKind kind;
	size_t offset; /* of the field in the command's options */
	const char *help;
} Option;

typedef struct Command {
	const char *name;  /* "compile" */
	const char *usage; /* "MODEL -o OUT [options]" */
	const char *what;  /* one sentence */
	const Option *options;
	int n_options;
	int (*run)(int argc, char **argv); /* argv[0] is the command's name */
} Command;

/*
 * Parses argv[1..] into `fields` and `operands`. `--name value`, `--name=value` and `-o value` are
 * understood, `--` ends options. `--help` prints the command's help and exits 0. Anything else is
 * a diagnostic with the nearest option and false.
 */
bool options_parse(const Command *c, Diag *d, int argc, char **argv, void *fields,
		   StringList *operands);
void options_help(const Command *c, FILE *out);

#endif
