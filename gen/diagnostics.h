/* --diagnostics: the form of messages, for commands that read users' files. */
#ifndef LATHE_GEN_DIAGNOSTICS_H
#define LATHE_GEN_DIAGNOSTICS_H

#include "gen/options.h"

/* A row for a command's option table; the field is a const char *. */
#define DIAGNOSTICS_OPTION(offset)                                                               \
	{                                                                                        \
		"--diagnostics", "FORM", OPTION_STRING, (offset),                                \
			"text (default), json or sarif: the form of messages, on standard error" \
	}

/* Sets the mode from the command line before it is parsed, so that its own errors come in it too;
 * false after a diagnostic. diag_finish (ir/report.h) ends the command. */
bool diagnostics_option(Diag *d, int argc, char **argv);

#endif
