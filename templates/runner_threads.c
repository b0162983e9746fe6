/* ---- workers -------------------------------------------------------------------------------- */

/*
 * Persistent workers behind @name@_options.run: the caller is worker 0, the others wait for the
 * next generation. Waiting spins for about the time between two tokens, then sleeps.
 */
typedef struct Pool {
	int n;	  /* workers, the caller among them */
	int spin; /* turns before sleeping; 0 where there are more workers than cores */
	int stop;
	int active; /* workers with work in this generation */
	void (*fn)(void *arg, int i, int n);
	void *arg;
	struct Worker *workers;
	char apart[64];
	uint32_t generation;
	char apart_too[64];
	uint32_t pending; /* workers that have not finished this generation */
} Pool;

typedef struct Worker {
	Pool *pool;
	pthread_t thread;
	int index;
} Worker;

static void
pause_briefly(void)
{
#if defined(__x86_64__) || defined(__i386__)
	__builtin_ia32_pause();
#endif
}

/* Sleeps while *word == value. */
static void
word_park(void *user, uint32_t *word, uint32_t value)
{
	(void)user;
	while (__atomic_load_n(word, __ATOMIC_ACQUIRE) == value) {
#ifdef __linux__
		syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, value, NULL, NULL, 0);
#else
		sched_yield();
#endif
	}
}

static void
word_wake(void *user, uint32_t *word)
{
	(void)user;
#ifdef __linux__
	syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0);
#else
	(void)word;
#endif
}

/* Returns the value of *word once it is no longer `value`. */
static uint32_t
word_wait(uint32_t *word, uint32_t value, int spin)
{
	int i;

	for (i = 0; i < spin; i++) {
		if (__atomic_load_n(word, __ATOMIC_ACQUIRE) != value)
			break;
		pause_briefly();
	}
	word_park(NULL, word, value);
	return __atomic_load_n(word, __ATOMIC_ACQUIRE);
}

static void *
worker_main(void *arg)
{
	Worker *w = arg;
	Pool *p = w->pool;
	uint32_t seen = 0;

	for (;;) {
		seen = word_wait(&p->generation, seen, p->spin);
		if (p->stop)
			return NULL;
		if (w->index < p->active)
			p->fn(p->arg, w->index, p->active);
		if (__atomic_sub_fetch(&p->pending, 1, __ATOMIC_ACQ_REL) == 0)
			word_wake(NULL, &p->pending);
	}
}

/* @name@_options.run: n <= the pool's workers. */
static void
pool_run(void *user, void (*fn)(void *arg, int i, int n), void *arg, int n)
{
	Pool *p = user;
	uint32_t left;

	if (n > p->n)
		fail(STATUS_BUG, NULL, "%d workers asked for, %d made", n, p->n);
	if (n == 1) {
		fn(arg, 0, 1);
		return;
	}
	p->fn = fn;
	p->arg = arg;
	p->active = n;
	__atomic_store_n(&p->pending, (uint32_t)(p->n - 1), __ATOMIC_RELAXED);
	__atomic_add_fetch(&p->generation, 1, __ATOMIC_RELEASE);
	word_wake(NULL, &p->generation);
	fn(arg, 0, n);
	while ((left = __atomic_load_n(&p->pending, __ATOMIC_ACQUIRE)) != 0)
		word_wait(&p->pending, left, p->spin);
}

/* Cores that this process may use: those of its affinity mask, else those that are online. */
static int
cores_usable(void)
{
	long n = 0;
#ifdef __linux__
	unsigned char mask[1024] = {0};
	long bytes = syscall(SYS_sched_getaffinity, 0, sizeof mask, mask), i;

	for (i = 0; i < bytes * 8; i++)
		n += mask[i / 8] >> i % 8 & 1;
#endif
	if (n < 1)
		n = sysconf(_SC_NPROCESSORS_ONLN);
	return n < 1 ? 1 : n > MAX_THREADS ? MAX_THREADS : (int)n;
}

static Pool *
pool_new(int n)
{
	Pool *p = memory(1, sizeof *p);
	sigset_t all, old;
	int i, e;

	p->n = n;
	p->spin = n <= cores_usable() ? 5000 : 0;
	p->workers = memory((size_t)n, sizeof *p->workers);
	/* Signals belong to the main thread: they must interrupt its reads and writes. */
	sigfillset(&all);
	pthread_sigmask(SIG_BLOCK, &all, &old);
	for (i = 1; i < n; i++) {
		p->workers[i].pool = p;
		p->workers[i].index = i;
		e = pthread_create(&p->workers[i].thread, NULL, worker_main, &p->workers[i]);
		if (e)
			fail(STATUS_ENVIRONMENT, NULL, "cannot start thread %d of %d: %s", i + 1, n,
			     strerror(e));
	}
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	return p;
}

static void
pool_free(Pool *p)
{
	int i;

	p->stop = 1;
	__atomic_add_fetch(&p->generation, 1, __ATOMIC_RELEASE);
	word_wake(NULL, &p->generation);
	for (i = 1; i < p->n; i++)
		pthread_join(p->workers[i].thread, NULL);
	free(p->workers);
	free(p);
}
