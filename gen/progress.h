/* What a command is at, on standard error: one line that changes on a terminal, else a line a step.
 */
#ifndef LATHE_GEN_PROGRESS_H
#define LATHE_GEN_PROGRESS_H

#include <stdbool.h>
#include <time.h>

typedef struct Progress {
	struct timespec start;
	bool quiet, terminal;
} Progress;

Progress progress_begin(bool quiet);
double progress_seconds(const Progress *p);
/* progress: a Progress, for callbacks. */
void progress_show(void *progress, const char *step);
/* With the time that is left; share: of all work that is done, 0: not known. */
void progress_share(void *progress, const char *step, double share);
/* What was made, and in what time. */
void progress_end(const Progress *p, const char *made);

#endif
