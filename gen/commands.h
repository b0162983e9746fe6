/* One function a command of lathe. argv[0] is the command's name; the result is the exit code. */
#ifndef LATHE_GEN_COMMANDS_H
#define LATHE_GEN_COMMANDS_H

#include "gen/options.h"

#define LATHE_VERSION "0.1.0"

int compile_main(int argc, char **argv);
int inspect_main(int argc, char **argv);
int targets_main(int argc, char **argv);
int passes_main(int argc, char **argv);
int opt_main(int argc, char **argv);
int reference_main(int argc, char **argv);
int verify_main(int argc, char **argv);
int devices_main(int argc, char **argv);
int explain_main(int argc, char **argv);
int schema_main(int argc, char **argv);
int plan_main(int argc, char **argv);
int eval_main(int argc, char **argv);
int import_main(int argc, char **argv);
int recipes_main(int argc, char **argv);

#endif
