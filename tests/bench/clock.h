/* Time of benches. */
#ifndef LATHE_TESTS_CLOCK_H
#define LATHE_TESTS_CLOCK_H

#include <time.h>

/* Seconds of a clock: CLOCK_MONOTONIC, or CLOCK_THREAD_CPUTIME_ID, which leaves out other work. */
static inline double
seconds(clockid_t clock)
{
	struct timespec t;
	clock_gettime(clock, &t);
	return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

#endif
