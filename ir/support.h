/*
 * What every folder needs: memory with two lifetimes, positions, diagnostics, text buffers,
 * digests. Nothing here knows what a model is.
 */
#ifndef LATHE_IR_SUPPORT_H
#define LATHE_IR_SUPPORT_H

#include <nettle/sha2.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#if defined(__GNUC__)
#define LATHE_PRINTF(f, a) __attribute__((format(printf, f, a)))
#define LATHE_NORETURN __attribute__((noreturn))
#else
#define LATHE_PRINTF(f, a)
#define LATHE_NORETURN
#endif

enum { EXIT_USER = 1, EXIT_ENVIRONMENT = 2, EXIT_BUG = 70 };

/* ---- memory ------------------------------------------------------------------------------- */

/*
 * A bump allocator; memory is zeroed and 64-byte aligned where asked for. Two lifetimes exist: the
 * run and the layer (`arena_reset` after each layer). Running out of memory ends the program with
 * EXIT_ENVIRONMENT, so no caller checks. An arena belongs to one thread.
 */
typedef struct Arena Arena;

Arena *arena_new(void);
void arena_free(Arena *a);
/* Gives everything back but keeps the largest chunk for the next layer. */
void arena_reset(Arena *a);
/* size bytes, 16-byte aligned, zeroed. */
void *arena_alloc(Arena *a, size_t size);
/* count elements of size bytes, 64-byte aligned, zeroed; an overflowing product is fatal. */
void *arena_array(Arena *a, size_t count, size_t size);
char *arena_strndup(Arena *a, const char *s, size_t n);
char *arena_printf(Arena *a, const char *format, ...) LATHE_PRINTF(2, 3);

/* n numbers rounded to f32. */
float *arena_floats(Arena *a, const double *x, size_t n);

/* size bytes that hold anything, for free(): what a thread needs for a moment. Ends as an arena
 * does. */
void *take_memory(size_t size);

#define ARENA_NEW(a, T) ((T *)arena_alloc((a), sizeof(T)))
#define ARENA_ARRAY(a, T, n) ((T *)arena_array((a), (n), sizeof(T)))

/* false where the result does not fit; *r is then unspecified. For anything read from a file. */
bool checked_add(uint64_t a, uint64_t b, uint64_t *r);
bool checked_mul(uint64_t a, uint64_t b, uint64_t *r);

static inline uint64_t
round_up(uint64_t n, uint64_t to)
{
	return (n + to - 1) / to * to;
}

/* Unsigned little-endian number of 1 to 8 bytes. */
static inline uint64_t
little_endian(const uint8_t *p, uint32_t bytes)
{
	uint64_t u = 0;
	for (uint32_t i = 0; i < bytes; i++)
		u |= (uint64_t)p[i] << (8 * i);
	return u;
}

/* ---- positions and diagnostics ------------------------------------------------------------ */

/*
 * Where something came from: a file known to the Diag and a byte offset in it. {0, 0} is nowhere.
 * Line and column are computed only when a message is printed; binary files print the offset.
 */
typedef struct Loc {
	uint32_t file;
	uint64_t offset;
} Loc;

typedef enum Severity { SEVERITY_ERROR, SEVERITY_WARNING, SEVERITY_NOTE, SEVERITY_HINT } Severity;

/* Every message has a stable id: a row of diagnostics.def (E_NAME, "E0101", one-line meaning). */
typedef enum DiagId {
#define DIAGNOSTIC(name, id, meaning) name,
#include "diagnostics.def"
	DIAG_COUNT
} DiagId;

typedef struct Diag Diag;

/* Messages go to `out` as text, `file:line:col: error: text [E0101]`. Owned by the arena. */
Diag *diag_new(Arena *run, FILE *out);
/*
 * Registers a file and returns its id (>= 1). `text` null means binary: positions print as
 * "at byte N". `name` and `text` must outlive the Diag.
 */
uint32_t diag_file(Diag *d, const char *name, const char *text, size_t size);
/*
 * Input is wrong: prints at once, counts, and returns. After 20 errors the program ends with
 * EXIT_USER. Follow with diag_note or diag_hint for the same message.
 */
void diag_error(Diag *d, Loc loc, DiagId id, const char *format, ...) LATHE_PRINTF(4, 5);
void diag_warning(Diag *d, Loc loc, DiagId id, const char *format, ...) LATHE_PRINTF(4, 5);
void diag_note(Diag *d, Loc loc, const char *format, ...) LATHE_PRINTF(3, 4);
void diag_hint(Diag *d, const char *format, ...) LATHE_PRINTF(2, 3);
int diag_errors(const Diag *d);
/* Errors after which the program ends (20 at first); 0: never. */
void diag_limit(Diag *d, int n);

/* The machine is wrong (memory, disk, no compiler): message to stderr, exit EXIT_ENVIRONMENT. */
void fatal_environment(const char *format, ...) LATHE_PRINTF(1, 2) LATHE_NORETURN;
/* We are wrong: message with the pass and kernel at work, exit EXIT_BUG. */
void fatal_bug(const char *file, int line, const char *format, ...)
	LATHE_PRINTF(3, 4) LATHE_NORETURN;
#define BUG(...) fatal_bug(__FILE__, __LINE__, __VA_ARGS__)
#define INVARIANT(c)                                     \
	do {                                             \
		if (!(c))                                \
			BUG("invariant broken: %s", #c); \
	} while (0)

/*
 * The right to end the program early. One thread has it, any other that asks waits for ever, so one
 * message is printed and nothing ends while another cleans up. The owner may ask again.
 */
void ending_begin(void);
/* Gives the right back: what lay between is not torn by a signal. */
void ending_cancel(void);
/* Temporary files and folders to remove should the program end early, the latest first. */
void cleanup_add(const char *path);
/* A folder made on the way: removed only if it is empty by then. */
void cleanup_add_empty(const char *path);
void cleanup_remove(const char *path);
/* Children to end first, each the leader of a process group; one that comes too late is killed. */
void cleanup_add_child(int pid);
void cleanup_remove_child(int pid);
void cleanup_run(void);
/* Where temporary files go: TMPDIR, or /tmp. */
const char *temporary_place(void);
/* A new folder there, removed should the program end early; no place for it is fatal_environment.
 * And its end, with all that it holds. */
char *temporary_folder(Arena *a);
void temporary_remove(const char *folder);
/* Ends standard output; what could not be written of it is fatal_environment. */
void stdout_finish(void);
/* Removes a file or a folder with all it holds; nothing happens if there is none. */
void remove_tree(const char *path);

/* ---- text --------------------------------------------------------------------------------- */

/* A growing byte buffer in an arena. `text` is always NUL-terminated. */
typedef struct Text {
	Arena *arena;
	char *text;
	size_t size, capacity;
	int indent; /* tabs put in front of every line by text_line */
} Text;

Text *text_new(Arena *a);
void text_add(Text *t, const char *bytes, size_t n);
void text_printf(Text *t, const char *format, ...) LATHE_PRINTF(2, 3);
void text_vprintf(Text *t, const char *format, va_list args);
/* One line at the current indent. A line that ends in '{' indents what follows, one that begins
 * with '}' undents itself: nobody counts braces. */
void text_line(Text *t, const char *format, ...) LATHE_PRINTF(2, 3);
void text_blank(Text *t); /* an empty line */
/* The shortest decimal text that reads back as the same number, e.g. "0.1", "1e-05". */
void text_float(Text *t, float v);
void text_double(Text *t, double v);
/* A JSON string with its quotes; bytes that are no UTF-8 become U+FFFD. */
void text_json_string(Text *t, const char *s, size_t n);
/* Text of an HTML element or of a quoted attribute; control characters, marks that turn the order
 * of letters and bytes that are no UTF-8 become U+FFFD. */
void text_html(Text *t, const char *s, size_t n);

/* The name nearest to `wrong` among n names by edit distance, or null when none is near. */
const char *nearest_name(const char *wrong, const char *const *names, size_t n);

/* ---- digests ------------------------------------------------------------------------------ */

/* SHA-256 of n bytes; for more pieces than one there is nettle's own interface. */
void sha256_of(const void *data, size_t n, uint8_t digest[32]);
/* In lower-case digits. */
void sha256_hex(const uint8_t digest[32], char hex[65]);

/* ---- files -------------------------------------------------------------------------------- */

/* A whole file mapped read-only. false: *error says why ("No such file or directory"). */
typedef struct Mapped {
	const uint8_t *data;
	size_t size;
} Mapped;
bool file_map(const char *path, Mapped *m, const char **error);
void file_unmap(Mapped *m);
/* Whether both files can be read and hold the same bytes. Read in pieces, not mapped. */
bool file_same(const char *a, const char *b);
/*
 * Bytes of a mapped file that are not needed for now: their pages leave this process and are mapped
 * anew when read again. Any thread, at any time; never for memory that is not such a file's.
 */
void file_forget(const void *data, size_t n);

/*
 * A file that appears whole or not at all: written under a temporary name in the same folder,
 * renamed by outfile_commit. Any failure is fatal_environment with the path and the reason, and
 * leaves nothing behind. An existing file with the same bytes is left untouched (its time too).
 */
typedef struct OutFile OutFile;
OutFile *outfile_open(Arena *a, const char *path);
void outfile_write(OutFile *f, const void *data, size_t n);
uint64_t outfile_size(const OutFile *f);
/* Digest of all that was written. */
void outfile_commit(OutFile *f, uint8_t sha256[32]);
void outfile_text(Arena *a, const char *path, const Text *t);

/* ---- work on all cores -------------------------------------------------------------------- */

/* Calls fn(arg, i) for i in [0, n) on up to `jobs` threads; returns when all are done. Results
 * must not depend on the order. */
void parallel_for(int jobs, int n, void (*fn)(void *arg, int i), void *arg);

#endif
