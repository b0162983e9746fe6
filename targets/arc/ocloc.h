/* ocloc, Intel's offline compiler, as a child process: what devices it knows, and how it ended. */
#ifndef LATHE_TARGETS_ARC_OCLOC_H
#define LATHE_TARGETS_ARC_OCLOC_H

#include "../artefact.h"

enum { OCLOC_DEVICES_MAX = 56 };

/* Of Device (targets/target.h). */
const char *ocloc_devices(Arena *run, Diag *d, const char *list, int seconds);
void ocloc_list(Text *t, int seconds);
/* The names of all devices, or none and why, which goes on "ocloc: ". */
const char *const *ocloc_known(Arena *a, int seconds, int *n, const char **failure);

/* What was wrong with a call ("was ended by signal 9"), or null. */
const char *ocloc_failure(Arena *a, ProcessEnd end, int seconds);
/* Its output, cut to what a message can hold and to what a terminal can show. */
const char *ocloc_words(Arena *a, const char *log);

/* The names in a list separated by commas, each once. */
const char **ocloc_split(Arena *run, const char *list, int *n);

#endif
