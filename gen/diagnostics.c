#include "gen/diagnostics.h"
#include "gen/commands.h"
#include "ir/report.h"

#include <string.h>

bool
diagnostics_option(Diag *d, int argc, char **argv)
{
	static const char name[] = "--diagnostics";
	for (int i = 1; i < argc && strcmp(argv[i], "--"); i++) {
		const char *mode = NULL;
		if (!strncmp(argv[i], name, sizeof name - 1) && argv[i][sizeof name - 1] == '=')
			mode = argv[i] + sizeof name;
		else if (!strcmp(argv[i], name) && i + 1 < argc)
			mode = argv[++i];
		if (!mode || diag_mode(d, mode, LATHE_VERSION))
			continue;
		diag_error(d, (Loc){0}, E_USAGE, "--diagnostics '%s' is not known", mode);
		diag_hint(d, "text, json or sarif");
		return false;
	}
	return true;
}
