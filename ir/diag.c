/*
 * Messages: `file:line:col: error: text [E0101]`, the line and a caret for text files, a byte
 * offset for binary ones. User errors are counted; the environment's and our own end the program.
 */
#include "support.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { FILES_MAX = 64, ERRORS_MAX = 20, EXCERPT_MAX = 160 };

typedef struct DiagFile {
	const char *name, *text;
	size_t size;
} DiagFile;

struct Diag {
	FILE *out;
	DiagFile files[FILES_MAX];
	uint32_t n_files;
	int errors, limit;
};

static const char *const severity_names[] = {"error", "warning", "note", "hint"};

static const char *const diag_ids[] = {
#define DIAGNOSTIC(name, id, meaning) id,
#include "diagnostics.def"
};

Diag *
diag_new(Arena *run, FILE *out)
{
	Diag *d = ARENA_NEW(run, Diag);
	d->out = out;
	d->limit = ERRORS_MAX;
	return d;
}

uint32_t
diag_file(Diag *d, const char *name, const char *text, size_t size)
{
	if (d->n_files == FILES_MAX)
		fatal_environment("more than %d input files", FILES_MAX);
	d->files[d->n_files] = (DiagFile){name, text, size};
	return ++d->n_files;
}

int
diag_errors(const Diag *d)
{
	return d->errors;
}

void
diag_limit(Diag *d, int n)
{
	d->limit = n;
}

/* Where a text position lies: the start of its line, line and column from 1. */
static size_t
line_start(const DiagFile *f, size_t at, int *line, int *column)
{
	size_t start = 0;
	*line = 1;
	for (size_t i = 0; i < at; i++)
		if (f->text[i] == '\n') {
			start = i + 1;
			++*line;
		}
	*column = (int)(at - start) + 1;
	return start;
}

static void
print_excerpt(FILE *out, const DiagFile *f, size_t start, int column)
{
	size_t end = start;
	while (end < f->size && f->text[end] != '\n' && end - start < EXCERPT_MAX)
		end++;
	fputs("  ", out);
	for (size_t i = start; i < end; i++)
		fputc((unsigned char)f->text[i] < 32 ? ' ' : f->text[i], out);
	fputs("\n  ", out);
	for (int i = 1; i < column && i <= EXCERPT_MAX; i++)
		fputc(' ', out);
	fputs("^\n", out);
}

static void
diag_print(Diag *d, Loc loc, Severity severity, const char *id, const char *format, va_list args)
{
	const DiagFile *f = loc.file && loc.file <= d->n_files ? &d->files[loc.file - 1] : NULL;
	if (!d->out)
		return;
	if (!f) {
		fputs("lathe: ", d->out);
	} else if (!f->text) {
		if (loc.offset)
			fprintf(d->out, "%s: at byte %llu: ", f->name,
				(unsigned long long)loc.offset);
		else
			fprintf(d->out, "%s: ", f->name);
	}
	int line = 0, column = 0;
	size_t start = 0;
	if (f && f->text) {
		size_t at = loc.offset < f->size ? (size_t)loc.offset : f->size;
		start = line_start(f, at, &line, &column);
		fprintf(d->out, "%s:%d:%d: ", f->name, line, column);
	}
	fprintf(d->out, "%s: ", severity_names[severity]);
	vfprintf(d->out, format, args);
	if (id)
		fprintf(d->out, " [%s]", id);
	fputc('\n', d->out);
	if (f && f->text)
		print_excerpt(d->out, f, start, column);
}

void
diag_error(Diag *d, Loc loc, DiagId id, const char *format, ...)
{
	va_list args;
	va_start(args, format);
	diag_print(d, loc, SEVERITY_ERROR, diag_ids[id], format, args);
	va_end(args);
	if (++d->errors == d->limit) {
		ending_begin();
		if (d->out)
			fprintf(d->out, "lathe: error: %d errors, the rest is not shown\n",
				d->limit);
		cleanup_run();
		exit(EXIT_USER);
	}
}

void
diag_warning(Diag *d, Loc loc, DiagId id, const char *format, ...)
{
	va_list args;
	va_start(args, format);
	diag_print(d, loc, SEVERITY_WARNING, diag_ids[id], format, args);
	va_end(args);
}

void
diag_note(Diag *d, Loc loc, const char *format, ...)
{
	va_list args;
	va_start(args, format);
	diag_print(d, loc, SEVERITY_NOTE, NULL, format, args);
	va_end(args);
}

void
diag_hint(Diag *d, const char *format, ...)
{
	va_list args;
	if (!d->out)
		return;
	va_start(args, format);
	fputs("  hint: ", d->out);
	vfprintf(d->out, format, args);
	fputc('\n', d->out);
	va_end(args);
}

void
fatal_environment(const char *format, ...)
{
	va_list args;
	ending_begin();
	va_start(args, format);
	fputs("lathe: error: ", stderr);
	vfprintf(stderr, format, args);
	fputc('\n', stderr);
	va_end(args);
	cleanup_run();
	exit(EXIT_ENVIRONMENT);
}

void
fatal_bug(const char *file, int line, const char *format, ...)
{
	va_list args;
	ending_begin();
	va_start(args, format);
	fprintf(stderr, "lathe: this is a bug in Lathe (%s:%d): ", file, line);
	vfprintf(stderr, format, args);
	fputs("\n  hint: please report it with the command line and the model's name\n", stderr);
	va_end(args);
	cleanup_run();
	exit(EXIT_BUG);
}

void
stdout_finish(void)
{
	if (fflush(stdout))
		fatal_environment("cannot write standard output: %s", strerror(errno));
	if (ferror(stdout))
		fatal_environment("cannot write standard output");
}
