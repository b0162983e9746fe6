#include "artefact.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { NOT_STARTED = 127 };

/* The child: never returns. Its errno goes through the pipe when exec fails. */
static void
child(const char *dir, const char *const *argv, const char *log, int report)
{
	int failed = 0;
	const int out = open(log, O_WRONLY | O_CREAT | O_TRUNC, 0666);
	if (out < 0 || dup2(out, 1) < 0 || dup2(out, 2) < 0 || chdir(dir))
		failed = errno;
	if (!failed) {
		execvp(argv[0], (char *const *)(uintptr_t)argv);
		failed = errno;
	}
	if (write(report, &failed, sizeof failed) < 0)
		_exit(NOT_STARTED);
	_exit(NOT_STARTED);
}

int
process_run(const char *dir, const char *const *argv, const char *log, const char **error)
{
	int pipe_ends[2], failed = 0, status = 0;
	if (pipe(pipe_ends) || fcntl(pipe_ends[1], F_SETFD, FD_CLOEXEC))
		fatal_environment("cannot make a pipe: %s", strerror(errno));
	const pid_t pid = fork();
	if (pid < 0)
		fatal_environment("cannot start %s: %s", argv[0], strerror(errno));
	if (pid == 0)
		child(dir, argv, log, pipe_ends[1]);
	close(pipe_ends[1]);
	if (read(pipe_ends[0], &failed, sizeof failed) != sizeof failed)
		failed = 0;
	close(pipe_ends[0]);
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	if (failed) {
		*error = strerror(failed);
		return NOT_STARTED;
	}
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}
