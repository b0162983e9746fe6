/* Independent pieces of work on all cores. */
#include "support.h"

#include <pthread.h>
#include <stdatomic.h>

enum { JOBS_MAX = 64 };

typedef struct Work {
	void (*fn)(void *arg, int i);
	void *arg;
	int n;
	atomic_int next;
} Work;

static void *
worker(void *arg)
{
	Work *w = arg;
	for (int i; (i = atomic_fetch_add(&w->next, 1)) < w->n;)
		w->fn(w->arg, i);
	return NULL;
}

void
parallel_for(int jobs, int n, void (*fn)(void *arg, int i), void *arg)
{
	Work w = {.fn = fn, .arg = arg, .n = n};
	pthread_t threads[JOBS_MAX];
	int started = 0;
	if (jobs > JOBS_MAX)
		jobs = JOBS_MAX;
	if (jobs > n)
		jobs = n;
	/* A thread that cannot be had is no error: the others take its share. */
	while (started + 1 < jobs && !pthread_create(&threads[started], NULL, worker, &w))
		started++;
	worker(&w);
	for (int i = 0; i < started; i++)
		pthread_join(threads[i], NULL);
}
