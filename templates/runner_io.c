/* ---- errors, files and growing text --------------------------------------------------------- */

/* What a signal handler has to know; nothing else is global. */
static struct {
	volatile sig_atomic_t interrupted; /* the signal */
	volatile sig_atomic_t polled;  /* the command looks at `interrupted`; see on_interrupt */
	char temporary[PATH_MAX + 16]; /* a file to remove should the program end early */
} process;

/* POLLED_ONCE: the command ends by itself, and a second signal ends the program; POLLED_ALWAYS: it
 * goes on behind SIGINT, however many there are. */
enum { POLLED_ONCE = 1, POLLED_ALWAYS };

static void
on_interrupt(int number)
{
	if (process.polled &&
	    (!process.interrupted || (process.polled == POLLED_ALWAYS && number == SIGINT))) {
		process.interrupted = number;
		return;
	}
	if (process.temporary[0])
		unlink(process.temporary);
	_exit(STATUS_INTERRUPTED);
}

static void
process_start(void)
{
	struct sigaction a;

	memset(&a, 0, sizeof a);
	a.sa_handler = on_interrupt;
	sigemptyset(&a.sa_mask);
	sigaction(SIGINT, &a, NULL);
	sigaction(SIGTERM, &a, NULL);
	/* A closed pipe is then an error of write, reported like a full disk. */
	a.sa_handler = SIG_IGN;
	sigaction(SIGPIPE, &a, NULL);
}

/* Prints "NAME: error: ..." and, unless null, a hint; removes what is half-written; exits. */
static void fail(int status, const char *hint, const char *format, ...)
	RUNNER_PRINTF(3, 4) RUNNER_NORETURN;

static void
fail(int status, const char *hint, const char *format, ...)
{
	va_list args;

	fflush(stdout);
	fprintf(stderr, "%s: %s: ", PROGRAM, status == STATUS_BUG ? "internal error" : "error");
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
	if (hint)
		fprintf(stderr, "  hint: %s\n", hint);
	if (process.temporary[0])
		unlink(process.temporary);
	exit(status);
}

/* The same with a hint that is built from parts. */
static void fail_hint(int status, const char *message, const char *format, ...)
	RUNNER_PRINTF(3, 4) RUNNER_NORETURN;

static void
fail_hint(int status, const char *message, const char *format, ...)
{
	char hint[1024];
	va_list args;

	va_start(args, format);
	vsnprintf(hint, sizeof hint, format, args);
	va_end(args);
	fail(status, hint, "%s", message);
}

/* Zeroed memory for count elements; never null. */
static void *
memory(size_t count, size_t size)
{
	void *p = calloc(count ? count : 1, size);

	if (!p)
		fail(STATUS_ENVIRONMENT, NULL, "out of memory (%zu elements of %zu bytes)", count,
		     size);
	return p;
}

static double
now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* A growing byte buffer; text is NUL-terminated once anything was added. Zero-initialise. */
typedef struct Text {
	char *text;
	size_t size, capacity;
} Text;

static void
text_add(Text *t, const void *bytes, size_t n)
{
	if (t->capacity - t->size <= n || !t->text) {
		size_t capacity = (t->size + n + 64) * 2;
		char *p = realloc(t->text, capacity);
		if (!p)
			fail(STATUS_ENVIRONMENT, NULL, "out of memory (%zu bytes)", capacity);
		t->text = p;
		t->capacity = capacity;
	}
	if (n)
		memcpy(t->text + t->size, bytes, n);
	t->size += n;
	t->text[t->size] = 0;
}

static void text_printf(Text *t, const char *format, ...) RUNNER_PRINTF(2, 3);

/* At most 511 bytes at a time. */
static void
text_printf(Text *t, const char *format, ...)
{
	char line[512];
	va_list args;
	int n;

	va_start(args, format);
	n = vsnprintf(line, sizeof line, format, args);
	va_end(args);
	text_add(t, line, n < 0 ? 0 : n < (int)sizeof line ? (size_t)n : sizeof line - 1);
}

/* Removes the first n bytes. */
static void
text_drop(Text *t, size_t n)
{
	if (!n)
		return;
	memmove(t->text, t->text + n, t->size - n);
	t->size -= n;
	t->text[t->size] = 0;
}

/* Writes to standard output at once; a failing write ends the program. */
static void
output_write(const void *bytes, size_t n)
{
	if ((n && fwrite(bytes, 1, n, stdout) != n) || fflush(stdout) != 0)
		fail(STATUS_ENVIRONMENT, NULL, "cannot write the output: %s", strerror(errno));
}

static void
output_text(const Text *t)
{
	output_write(t->text, t->size);
}

/* A whole file, or standard input for "-". */
static Text
file_read(const char *path)
{
	int standard = strcmp(path, "-") == 0, error;
	FILE *f = standard ? stdin : fopen(path, "rb");
	char *part;
	Text t = {0};
	size_t n;

	if (!f)
		fail(STATUS_ENVIRONMENT, NULL, "cannot read %s: %s", path, strerror(errno));
	part = memory(1, 1 << 16);
	text_add(&t, "", 0);
	do {
		errno = 0;
		n = fread(part, 1, 1 << 16, f);
		error = errno;
		text_add(&t, part, n);
	} while (n == 1 << 16);
	if (ferror(f))
		fail(STATUS_ENVIRONMENT, NULL, "cannot read %s: %s",
		     standard ? "standard input" : path, strerror(error));
	free(part);
	if (!standard)
		fclose(f);
	return t;
}

/* A file under a temporary name that takes its own name only when it is complete. */
typedef struct Out {
	const char *path;
	FILE *f;
	int direct; /* the path is a device or a pipe: no renaming */
} Out;

static void
out_fail(const Out *o)
{
	fail(STATUS_ENVIRONMENT, NULL, "cannot write %s: %s", o->path, strerror(errno));
}

static void
out_open(Out *o, const char *path)
{
	struct stat st;
	mode_t mask;
	int fd;

	o->path = path;
	o->direct = stat(path, &st) == 0 && !S_ISREG(st.st_mode);
	if (o->direct) {
		o->f = fopen(path, "wb");
		if (!o->f)
			out_fail(o);
		return;
	}
	if (strlen(path) >= PATH_MAX) {
		errno = ENAMETOOLONG;
		out_fail(o);
	}
	snprintf(process.temporary, sizeof process.temporary, "%s.XXXXXX", path);
	fd = mkstemp(process.temporary);
	if (fd < 0) {
		process.temporary[0] = 0;
		out_fail(o);
	}
	mask = umask(0);
	umask(mask);
	if (fchmod(fd, 0666 & ~mask) != 0 || !(o->f = fdopen(fd, "wb")))
		out_fail(o);
}

static void
out_write(Out *o, const void *bytes, size_t n)
{
	if (n && fwrite(bytes, 1, n, o->f) != n)
		out_fail(o);
}

static void
out_close(Out *o)
{
	if (fflush(o->f) != 0 || fclose(o->f) != 0)
		out_fail(o);
	if (o->direct)
		return;
	if (rename(process.temporary, o->path) != 0)
		out_fail(o);
	process.temporary[0] = 0;
}
