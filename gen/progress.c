/* Steps of a command on standard error. */
#define _POSIX_C_SOURCE 200809L
#include "gen/progress.h"

#include <stdio.h>
#include <unistd.h>

Progress
progress_begin(bool quiet)
{
	Progress p = {.quiet = quiet, .terminal = isatty(2)};
	clock_gettime(CLOCK_MONOTONIC, &p.start);
	return p;
}

double
progress_seconds(const Progress *p)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)(now.tv_sec - p->start.tv_sec) +
	       1e-9 * (double)(now.tv_nsec - p->start.tv_nsec);
}

void
progress_share(void *progress, const char *step, double share)
{
	const Progress *p = progress;
	const double seconds = progress_seconds(p);
	if (p->quiet)
		return;
	fprintf(stderr, p->terminal ? "\r\033[K[%5.1f s] %s" : "[%5.1f s] %s", seconds, step);
	if (share > 0.0)
		fprintf(stderr, ", %.0f s left", seconds / share * (1.0 - share));
	fputs(p->terminal ? "" : "\n", stderr);
}

void
progress_show(void *progress, const char *step)
{
	progress_share(progress, step, 0.0);
}

void
progress_end(const Progress *p, const char *made)
{
	if (!p->quiet)
		fprintf(stderr, "%s%s in %.1f s\n", p->terminal ? "\r\033[K" : "", made,
			progress_seconds(p));
}
