/*
 * Messages: `file:line:col: error: text [E0101]`, the line and a caret for text files, a byte
 * offset for binary ones. User errors are counted; the environment's and our own end the program.
 */
#include "diag_impl.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { ERRORS_MAX = 20, EXCERPT_MAX = 160, EXCERPT_BEFORE = 80 };

const char *const severity_names[] = {"error", "warning", "note", "hint"};

const char *const diag_ids[DIAG_COUNT] = {
#define DIAGNOSTIC(name, id, meaning) id,
#include "diagnostics.def"
};

const char *const diag_meanings[DIAG_COUNT] = {
#define DIAGNOSTIC(name, id, meaning) meaning,
#include "diagnostics.def"
};

Diag *
diag_new(Arena *run, FILE *out)
{
	Diag *d = ARENA_NEW(run, Diag);
	d->arena = run;
	d->out = out;
	d->limit = ERRORS_MAX;
	return d;
}

uint32_t
diag_file(Diag *d, const char *name, const char *text, size_t size)
{
	if (d->n_files == d->files_room) {
		d->files_room = d->files_room ? 2 * d->files_room : 16;
		DiagFile *more = ARENA_ARRAY(d->arena, DiagFile, d->files_room);
		if (d->n_files)
			memcpy(more, d->files, d->n_files * sizeof *more);
		d->files = more;
	}
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

DiagPlace
diag_place(const Diag *d, Loc loc)
{
	DiagPlace p = {0};
	if (!loc.file || loc.file > d->n_files)
		return p;
	p.file = &d->files[loc.file - 1];
	if (p.file->text) {
		size_t at = loc.offset < p.file->size ? (size_t)loc.offset : p.file->size;
		p.start = line_start(p.file, at, &p.line, &p.column);
	}
	return p;
}

/* The line with a caret below the place; of a long line what is around it. */
static void
print_excerpt(FILE *out, DiagPlace p)
{
	const DiagFile *f = p.file;
	size_t start = p.start, column = (size_t)p.column;
	if (column > EXCERPT_MAX) {
		start += column - EXCERPT_BEFORE;
		column = EXCERPT_BEFORE;
		/* whole characters, from the first byte of one */
		while (column > 1 && ((unsigned char)f->text[start] & 0xc0) == 0x80) {
			start++;
			column--;
		}
	}
	size_t end = start;
	while (end < f->size && f->text[end] != '\n' && end - start < EXCERPT_MAX)
		end++;
	fputs("  ", out);
	for (size_t i = start; i < end; i++)
		fputc((unsigned char)f->text[i] < 32 ? ' ' : f->text[i], out);
	fputs("\n  ", out);
	for (size_t i = 1; i < column; i++)
		fputc(' ', out);
	fputs("^\n", out);
}

static void
diag_print(Diag *d, Loc loc, Severity severity, int id, const char *format, va_list args)
{
	if (!d->out)
		return;
	if (d->mode != DIAG_TEXT) {
		diag_keep(d, loc, severity, id, format, args);
		return;
	}
	const DiagPlace p = diag_place(d, loc);
	if (!p.file)
		fputs("lathe: ", d->out);
	else if (p.file->text)
		fprintf(d->out, "%s:%d:%d: ", p.file->name, p.line, p.column);
	else if (loc.offset)
		fprintf(d->out, "%s: at byte %llu: ", p.file->name, (unsigned long long)loc.offset);
	else
		fprintf(d->out, "%s: ", p.file->name);
	fprintf(d->out, "%s: ", severity_names[severity]);
	vfprintf(d->out, format, args);
	if (id >= 0)
		fprintf(d->out, " [%s]", diag_ids[id]);
	fputc('\n', d->out);
	if (p.file && p.file->text)
		print_excerpt(d->out, p);
}

void
diag_error(Diag *d, Loc loc, DiagId id, const char *format, ...)
{
	va_list args;
	va_start(args, format);
	diag_print(d, loc, SEVERITY_ERROR, (int)id, format, args);
	va_end(args);
	if (++d->errors == d->limit) {
		ending_begin();
		d->truncated = true;
		diag_finish(d);
		if (d->out && d->mode == DIAG_TEXT)
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
	diag_print(d, loc, SEVERITY_WARNING, (int)id, format, args);
	va_end(args);
}

void
diag_note(Diag *d, Loc loc, const char *format, ...)
{
	va_list args;
	va_start(args, format);
	diag_print(d, loc, SEVERITY_NOTE, -1, format, args);
	va_end(args);
}

void
diag_hint(Diag *d, const char *format, ...)
{
	va_list args;
	if (!d->out)
		return;
	va_start(args, format);
	if (d->mode != DIAG_TEXT) {
		diag_keep(d, (Loc){0}, SEVERITY_HINT, -1, format, args);
	} else {
		fputs("  hint: ", d->out);
		vfprintf(d->out, format, args);
		fputc('\n', d->out);
	}
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
