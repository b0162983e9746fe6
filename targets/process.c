#define _GNU_SOURCE
#include "artefact.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { NOT_STARTED = 127 };

/* What a child does: a program, or a call. */
typedef struct Work {
	const char *program;
	const char *const *argv;
	int (*call)(void *arg);
	void *arg;
} Work;

/* The child: never returns. Its errno goes through the pipe when exec fails. */
static void LATHE_NORETURN
child(const char *dir, const Work *work, const char *log, int report)
{
	int failed = 0;
	sigset_t none;
	setpgid(0, 0);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	signal(SIGPIPE, SIG_DFL);
	const int in = open("/dev/null", O_RDONLY);
	const int out = open(log, O_WRONLY | O_CREAT | O_TRUNC, 0666);
	if (in < 0 || out < 0 || dup2(in, 0) < 0 || dup2(out, 1) < 0 || dup2(out, 2) < 0 ||
	    chdir(dir))
		failed = errno;
	if (!failed && work->call) {
		close(report);
		const int status = work->call(work->arg);
		fflush(NULL);
		_exit(status);
	}
	if (!failed) {
		execvp(work->program, (char *const *)(uintptr_t)work->argv);
		failed = errno;
	}
	if (write(report, &failed, sizeof failed) < 0)
		_exit(NOT_STARTED);
	_exit(NOT_STARTED);
}

/* Waits for the child; after `seconds` its group is ended. Looks again after pauses that grow. */
static void
wait_within(pid_t pid, int seconds, int *status, bool *late)
{
	enum { PAUSE_FIRST = 500 * 1000, PAUSE_MAX = 20 * 1000 * 1000 };
	struct timespec start, now, pause = {.tv_nsec = PAUSE_FIRST};
	pid_t ended;
	clock_gettime(CLOCK_MONOTONIC, &start);
	while ((ended = waitpid(pid, status, WNOHANG)) == 0 || (ended < 0 && errno == EINTR)) {
		clock_gettime(CLOCK_MONOTONIC, &now);
		const double passed = (double)(now.tv_sec - start.tv_sec) +
				      1e-9 * (double)(now.tv_nsec - start.tv_nsec);
		if (passed >= seconds) {
			*late = true;
			kill(-pid, SIGKILL);
			while (waitpid(pid, status, 0) < 0 && errno == EINTR)
				;
			return;
		}
		nanosleep(&pause, NULL);
		if (pause.tv_nsec < PAUSE_MAX)
			pause.tv_nsec *= 2;
	}
}

static ProcessEnd
run(const char *dir, const Work *work, const char *name, const char *log, int seconds)
{
	ProcessEnd end = {.status = NOT_STARTED};
	int pipe_ends[2], status = 0;
	if (pipe2(pipe_ends, O_CLOEXEC))
		fatal_environment("cannot make a pipe: %s", strerror(errno));
	if (work->call)
		fflush(NULL);
	const pid_t pid = fork();
	if (pid < 0)
		fatal_environment("cannot start %s: %s", name, strerror(errno));
	if (pid == 0)
		child(dir, work, log, pipe_ends[1]);
	/* The child does it too: whichever comes first. */
	setpgid(pid, pid);
	cleanup_add_child(pid);
	close(pipe_ends[1]);
	if (read(pipe_ends[0], &end.error, sizeof end.error) != sizeof end.error)
		end.error = 0;
	close(pipe_ends[0]);
	if (seconds)
		wait_within(pid, seconds, &status, &end.late);
	else
		while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
			;
	cleanup_remove_child(pid);
	if (end.error)
		return end;
	end.status = WIFEXITED(status) ? WEXITSTATUS(status) : 0;
	end.signal = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
	return end;
}

ProcessEnd
process_run_within(const char *dir, const char *const *argv, const char *log, int seconds)
{
	/* A path is the user's, not relative to dir. */
	char *path = strchr(argv[0], '/') ? realpath(argv[0], NULL) : NULL;
	const Work work = {.program = path ? path : argv[0], .argv = argv};
	const ProcessEnd end = run(dir, &work, argv[0], log, seconds);
	free(path);
	return end;
}

ProcessEnd
process_call_within(const char *dir, int (*call)(void *arg), void *arg, const char *log,
		    int seconds)
{
	const Work work = {.call = call, .arg = arg};
	return run(dir, &work, "a process", log, seconds);
}

int
process_run(const char *dir, const char *const *argv, const char *log, const char **error)
{
	const ProcessEnd end = process_run_within(dir, argv, log, 0);
	if (end.error)
		*error = strerror(end.error);
	return end.signal ? 128 + end.signal : end.status;
}
