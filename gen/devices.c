/* lathe devices: what this machine has to run artefacts on besides its CPU. */
#include "gen/commands.h"
#include "targets/target.h"

#include <stdio.h>

enum { SECONDS = 60 }; /* that a tool which is asked may take */

typedef struct DevicesOptions {
	bool json;
} DevicesOptions;

static const Option devices_options[] = {
	{"--json", NULL, OPTION_FLAG, offsetof(DevicesOptions, json), "one JSON object a target"},
};

static const Command devices_command = {
	"devices",
	"[options]",
	"Lists the devices of this machine that artefacts may run on, with what each lacks, and "
	"those\n"
	"that native binaries can be made for here.",
	devices_options,
	sizeof devices_options / sizeof *devices_options,
	devices_main,
};

int
devices_main(int argc, char **argv)
{
	Arena *run = arena_new();
	Diag *d = diag_new(run, stderr);
	DevicesOptions o = {false};
	StringList operands = {.count = 0};
	if (!options_parse(&devices_command, d, argc, argv, &o, &operands))
		return EXIT_USER;
	if (operands.count) {
		diag_error(d, (Loc){0}, E_USAGE, "unexpected operand '%s'", operands.items[0]);
		return EXIT_USER;
	}
	for (int i = 0; i < target_count; i++) {
		Text *t = text_new(run);
		if (!target_table[i].device || !target_table[i].device->machines)
			continue;
		target_table[i].device->machines(t, o.json, SECONDS);
		fputs(t->text, stdout);
	}
	arena_free(run);
	return 0;
}
