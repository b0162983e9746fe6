/* The early end: what must go with the program, and who may end it. */
#define _GNU_SOURCE
#include "support.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { PATHS_MAX = 64, CHILDREN_MAX = 64, PAUSE_MS = 10, CHILDREN_MS = 1000, REMOVE_TRIES = 50 };

/* The one piece of state of the program: temporary files and children that it must not leave. */
static struct {
	char *path;
	bool if_empty;
} paths[PATHS_MAX];
static int children[CHILDREN_MAX];
static bool ending;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_mutex_t right = PTHREAD_RECURSIVE_MUTEX_INITIALIZER_NP;

void
ending_begin(void)
{
	pthread_mutex_lock(&right);
}

void
ending_cancel(void)
{
	pthread_mutex_unlock(&right);
}

/* ---- temporary folders ---------------------------------------------------------------------- */

const char *
temporary_place(void)
{
	const char *tmp = getenv("TMPDIR");
	return tmp && *tmp ? tmp : "/tmp";
}

char *
temporary_folder(Arena *a)
{
	char *folder = arena_printf(a, "%s/lathe.XXXXXX", temporary_place());
	if (!mkdtemp(folder))
		fatal_environment("cannot make a folder in %s: %s", temporary_place(),
				  strerror(errno));
	cleanup_add(folder);
	return folder;
}

void
temporary_remove(const char *folder)
{
	remove_tree(folder);
	cleanup_remove(folder);
}

/* ---- what must go ------------------------------------------------------------------------- */

static void
add_path(const char *path, bool if_empty)
{
	pthread_mutex_lock(&lock);
	for (int i = 0; i < PATHS_MAX; i++)
		if (!paths[i].path) {
			paths[i].path = strdup(path);
			paths[i].if_empty = if_empty;
			break;
		}
	pthread_mutex_unlock(&lock);
}

void
cleanup_add(const char *path)
{
	add_path(path, false);
}

void
cleanup_add_empty(const char *path)
{
	add_path(path, true);
}

void
cleanup_remove(const char *path)
{
	pthread_mutex_lock(&lock);
	for (int i = 0; i < PATHS_MAX; i++)
		if (paths[i].path && !strcmp(paths[i].path, path)) {
			free(paths[i].path);
			paths[i].path = NULL;
			break;
		}
	pthread_mutex_unlock(&lock);
}

void
cleanup_add_child(int pid)
{
	pthread_mutex_lock(&lock);
	for (int i = 0; i < CHILDREN_MAX; i++)
		if (!children[i]) {
			children[i] = pid;
			break;
		}
	if (ending)
		kill(-pid, SIGKILL);
	pthread_mutex_unlock(&lock);
}

void
cleanup_remove_child(int pid)
{
	pthread_mutex_lock(&lock);
	for (int i = 0; i < CHILDREN_MAX; i++)
		if (children[i] == pid)
			children[i] = 0;
	pthread_mutex_unlock(&lock);
}

/* ---- the end ------------------------------------------------------------------------------ */

static void
wait_briefly(void)
{
	nanosleep(&(struct timespec){.tv_nsec = PAUSE_MS * 1000000L}, NULL);
}

/* Sends a signal to all groups; how many children were not yet waited for. */
static int
signal_children(int number)
{
	int n = 0;
	pthread_mutex_lock(&lock);
	ending = true;
	for (int i = 0; i < CHILDREN_MAX; i++)
		if (children[i]) {
			n++;
			if (number)
				kill(-children[i], number);
		}
	pthread_mutex_unlock(&lock);
	return n;
}

/* Compilers get time to remove their own temporary files. */
static void
end_children(void)
{
	int left = signal_children(SIGTERM);
	for (int ms = 0; left && ms < CHILDREN_MS; ms += PAUSE_MS) {
		wait_briefly();
		left = signal_children(0);
	}
	if (left)
		signal_children(SIGKILL);
	for (int ms = 0; left && ms < CHILDREN_MS; ms += PAUSE_MS) {
		wait_briefly();
		left = signal_children(0);
	}
}

/* Again and again while another thread or a dying child still makes files in it. */
static void
remove_for_sure(const char *path)
{
	struct stat st;
	for (int tries = 0; tries < REMOVE_TRIES; tries++) {
		remove_tree(path);
		if (lstat(path, &st) && errno == ENOENT)
			break;
		wait_briefly();
	}
}

void
cleanup_run(void)
{
	end_children();
	for (int i = PATHS_MAX - 1; i >= 0; i--) {
		if (paths[i].path && paths[i].if_empty)
			rmdir(paths[i].path);
		else if (paths[i].path)
			remove_for_sure(paths[i].path);
	}
}
