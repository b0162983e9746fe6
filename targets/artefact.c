/* One compile: texts and weights into a staging folder, the C compiler over them, then the move. */
#define _GNU_SOURCE
#include "artefact.h"

#include "tokenizer.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { FILES_MAX = 256, ARGUMENTS_MAX = 96, SOURCES_MAX = OBJECTS_MAX, LOG_MAX = 4000 };

bool
artefact_name_ok(const char *name)
{
	if (!*name || name[0] == '.' || name[0] == '-' || strlen(name) > 64)
		return false;
	for (const char *c = name; *c; c++)
		if (!isalnum((unsigned char)*c) && !strchr("._-", *c))
			return false;
	return true;
}

const char *const artefact_flags[] = {
	"-std=c99", "-O3",     "-ffp-contract=off", "-fno-math-errno", "-fno-strict-aliasing",
	"-Wall",    "-Wextra", "-Wpedantic",	    "-Wshadow",	       NULL};
const char *const math_names[MATHS] = {"contract", "libclc"};

void
artefact_step(const Build *b, const char *what)
{
	if (b->o->progress)
		b->o->progress(b->o->progress_arg, what);
}

const char *
artefact_staged(const Build *b, const char *name)
{
	return arena_printf(b->run, "%s/%s", b->dir, name);
}

/* Enters a file of the staging folder into the list; its digest comes when all are made. */
void
artefact_add(Build *b, const char *name)
{
	INVARIANT(b->n_files < FILES_MAX);
	b->files[b->n_files++] = (MadeFile){.name = name};
}

void
artefact_text(Build *b, const char *name, const Text *t)
{
	outfile_text(b->run, artefact_staged(b, name), t);
	artefact_add(b, name);
}

void
artefact_folder(Build *b, const char *name)
{
	int n = 0;
	while (b->folders[n])
		n++;
	INVARIANT(n + 1 < (int)(sizeof b->folders / sizeof *b->folders));
	b->folders[n] = name;
	if (mkdir(artefact_staged(b, name), 0777))
		fatal_environment("cannot make the folder %s: %s", artefact_staged(b, name),
				  strerror(errno));
}

static const char *
named(const Build *b, const char *tail)
{
	return arena_printf(b->run, "%s%s", b->x->name, tail);
}

/* ---- sources ------------------------------------------------------------------------------ */

static void
print_goldens(Text *t, Arena *own, const Build *b)
{
	golden_emit(t, own, b->x->graph, b->o->n_golden, b->o->jobs);
}

/* The runner's part of each device, and the table of them. */
static void
print_devices(Text *t, Arena *own, const Build *b)
{
	(void)own;
	for (int i = 0; i < b->n_devices; i++) {
		emit_template(t, b->x, b->devices[i]->runner);
		text_blank(t);
	}
	text_line(t, "static const Device *const devices[] = {");
	for (int i = 0; i < b->n_devices; i++)
		text_line(t, "&device_%s,", b->devices[i]->name);
	text_line(t, "NULL,");
	text_line(t, "};");
}

/* The runner is one file of templates in this order; behind some something is printed. */
static const struct {
	const char *template;
	void (*print)(Text *t, Arena *own, const Build *b);
} runner_parts[] = {
	{"runner.h", NULL},	     {"runner_golden.h", print_goldens},
	{"runner_io.c", NULL},	     {"runner_json.c", NULL},
	{"runner_threads.c", NULL},  {"runner_sample.c", NULL},
	{"runner_options.c", NULL},  {"runner_device.c", print_devices},
	{"runner_model.c", NULL},    {"runner_generate.c", NULL},
	{"runner_chat.c", NULL},     {"runner_perplexity.c", NULL},
	{"runner_read.c", NULL},     {"runner_bench.c", NULL},
	{"runner_selftest.c", NULL}, {"runner_commands.c", NULL},
	{"runner_main.c", NULL},
};
enum { N_RUNNER_PARTS = sizeof runner_parts / sizeof *runner_parts };

/* It is made beside the compiler of the other files, so it has memory of its own. */
static void
write_runner(const Build *b, const char *path)
{
	Arena *own = arena_new();
	Text *t = text_new(own);
	for (int i = 0; i < N_RUNNER_PARTS; i++) {
		emit_template(t, b->x, runner_parts[i].template);
		text_blank(t);
		if (!runner_parts[i].print)
			continue;
		runner_parts[i].print(t, own, b);
		text_blank(t);
	}
	outfile_text(own, path, t);
	arena_free(own);
}

/* The form of conversations is no part of what a model computes: its loss is only told. */
static void
tell_chat(const Build *b, const Chat *c)
{
	if (c && c->why)
		artefact_step(b, arena_printf(b->run, "without chat: %s", c->why));
}

static bool
write_sources(Build *b, Diag *d)
{
	const Artefact *x = b->x;
	Text *tokenizer = text_new(b->run), *tokenizer_header = text_new(b->run);
	if (!tokenizer_emit(tokenizer, &x->graph->model->tokenizer, d, x->name, x->ident))
		return false;
	tell_chat(b, x->graph->model->tokenizer.chat);
	emit_template(tokenizer_header, x, "tokenizer.h");
	artefact_text(b, named(b, ".h"), emit_header(b->run, x));
	artefact_text(b, named(b, "_tokenizer.h"), tokenizer_header);
	artefact_text(b, named(b, "_internal.h"), emit_internal(b->run, x));
	artefact_text(b, named(b, ".c"), emit_api(b->run, x));
	artefact_text(b, named(b, "_tokenizer.c"), tokenizer);
	for (int i = 0; i < x->n_targets; i++)
		artefact_text(b, named(b, arena_printf(b->run, "_%s.c", x->targets[i]->suffix)),
			      emit_level(b->run, x, x->targets[i]));
	artefact_text(b, named(b, "_weights.c"), emit_weights(b->run, x));
	artefact_add(b, named(b, "_main.c"));
	return true;
}

/* ---- names -------------------------------------------------------------------------------- */

/* The end of the comment or string that starts at i, or i where none does. */
static size_t
skip_words(const char *s, size_t size, size_t i)
{
	if (s[i] == '"') {
		for (i++; i < size && s[i] != '"' && s[i] != '\n'; i++)
			i += s[i] == '\\';
		return i + 1;
	}
	if (i + 1 < size && s[i] == '/' && s[i + 1] == '*') {
		for (i += 2; i + 1 < size && (s[i] != '*' || s[i + 1] != '/'); i++)
			;
		return i + 2;
	}
	return i;
}

static size_t
word_length(const char *s, size_t size)
{
	size_t n = 0;
	while (n < size && (isalnum((unsigned char)s[n]) || s[n] == '_'))
		n++;
	return n;
}

/* Whether C text has the identifier outside comments and strings. */
static bool
text_has_word(const char *s, size_t size, const char *word)
{
	for (size_t i = 0; i < size;) {
		const size_t skipped = skip_words(s, size, i), n = word_length(s + i, size - i);
		if (n == strlen(word) && !memcmp(s + i, word, n))
			return true;
		i = skipped > i ? skipped : i + (n ? n : 1);
	}
	return false;
}

static bool
template_has_word(const char *name, const char *word)
{
	size_t size;
	const char *s = template_text(name, &size);
	return s && text_has_word(s, size, word);
}

static int
by_name(const void *key, const void *name)
{
	return strcmp(key, *(const char *const *)name);
}

/* Whether a type of that name would hide no word of the emitted C. */
static bool
ident_free(const char *ident)
{
	static const char *const others[] = {"api.c",
					     "api.h",
					     "internal.h",
					     "tokenizer.c",
					     "tokenizer_bpe.c",
					     "tokenizer_scored.c",
					     "tokenizer_chat.c",
					     "logprobs.c"};
	/* Words that the emitters print. */
	static const char words[] = "embed head stages levels usable cpu fortran";
	static const char *const of_c[] = {
#include "c_names.def"
	};
	bool used = text_has_word(words, sizeof words - 1, ident) ||
		    bsearch(ident, of_c, sizeof of_c / sizeof *of_c, sizeof *of_c, by_name);
	for (size_t i = 0; i < sizeof others / sizeof *others; i++)
		used |= template_has_word(others[i], ident);
	for (int i = 0; i < N_RUNNER_PARTS; i++)
		used |= template_has_word(runner_parts[i].template, ident);
	for (int i = 0; i < target_count; i++)
		for (const char *const *s = target_table[i].templates; *s; s++)
			used |= template_has_word(*s, ident);
	return !used && strncmp(ident, "layer", 5) != 0;
}

/* Of C symbols: the name, or behind `lm_` where it is a word of the emitted C. */
static const char *
symbol_prefix(const ArtefactOptions *o, Arena *a, const char *name)
{
	const char *ident = emit_ident(a, name);
	if (ident_free(ident))
		return ident;
	const char *prefix = arena_printf(a, "lm_%s", ident);
	INVARIANT(ident_free(prefix));
	if (o->progress)
		o->progress(
			o->progress_arg,
			arena_printf(a, "C symbols begin with %s_: '%s' is a word of the emitted C",
				     prefix, ident));
	return prefix;
}

/* ---- the C compiler ----------------------------------------------------------------------- */

typedef struct Source {
	const char *file, *object, *log;
	bool in_library, is_runner;
} Source;

typedef struct Arguments {
	const char *v[ARGUMENTS_MAX];
	int n;
} Arguments;

static void
argument(Arguments *a, const char *s)
{
	if (a->n + 1 >= ARGUMENTS_MAX)
		fatal_environment("too many compiler flags");
	a->v[a->n++] = s;
}

/* Words of a string, split at spaces. */
static void
argument_words(Arena *run, Arguments *a, const char *s)
{
	while (s && *s) {
		const size_t skip = strspn(s, " "), n = strcspn(s + skip, " ");
		if (n)
			argument(a, arena_strndup(run, s + skip, n));
		s += skip + n;
	}
}

/* The compiler's words on standard error, then our own. */
static void
show_log(const char *log)
{
	Mapped m;
	const char *error;
	if (!file_map(log, &m, &error))
		return;
	size_t n = m.size < LOG_MAX ? m.size : LOG_MAX;
	while (n < m.size && n && m.data[n - 1] != '\n')
		n--;
	fwrite(m.data, 1, n, stderr);
	fputs(n < m.size ? "...\n" : n && m.data[n - 1] != '\n' ? "\n" : "", stderr);
	file_unmap(&m);
}

static const char no_compiler[] = "install gcc or clang, or name a compiler with --cc";
static const char no_archiver[] = "install binutils, or name an archiver with --ar";

static void LATHE_NORETURN
no_tool(const char *tool, const char *error, const char *hint)
{
	fatal_environment("'%s' cannot be started: %s\n  hint: %s, or stop before it with --emit=c",
			  tool, error, hint);
}

/* what: the file that it is to make or to read. */
static void
run_tool(const Build *b, const Arguments *a, const char *what, const char *log, const char *hint)
{
	const char *error = NULL;
	const int status = process_run(b->dir, a->v, log, &error);
	if (error)
		no_tool(a->v[0], error, hint);
	if (status) {
		ending_begin();
		show_log(log);
		fatal_environment("'%s' failed with status %d on %s (its words are above)", a->v[0],
				  status, what);
	}
	unlink(log);
}

/* What runs in parallel: the longest first. The runner's source is made by its own job. */
typedef struct CompileJob {
	const Build *b;
	Source sources[SOURCES_MAX];
	Arguments arguments[SOURCES_MAX];
	const char *runner;
	int n;
} CompileJob;

static void
compile_one(void *arg, int i)
{
	CompileJob *j = arg;
	if (j->sources[i].is_runner)
		write_runner(j->b, j->runner);
	if (!j->b->o->sources_only)
		run_tool(j->b, &j->arguments[i], j->sources[i].file, j->sources[i].log,
			 no_compiler);
}

static void
add_source(CompileJob *j, const char *stem, const char *flags, bool in_library)
{
	Arena *run = j->b->run;
	INVARIANT(j->n < SOURCES_MAX);
	Arguments *a = &j->arguments[j->n];
	j->sources[j->n++] = (Source){.file = arena_printf(run, "%s.c", stem),
				      .object = arena_printf(run, "%s.o", stem),
				      .log = arena_printf(run, "%s/%s.log", j->b->dir, stem),
				      .in_library = in_library};
	argument_words(run, a, j->b->o->cc);
	for (const char *const *f = j->b->flags; *f; f++)
		argument(a, *f);
	argument_words(run, a, flags);
	argument_words(run, a, j->b->o->cflags);
	argument(a, "-c");
	argument(a, "-o");
	argument(a, j->sources[j->n - 1].object);
	argument(a, j->sources[j->n - 1].file);
}

static void
archive(Build *b, const CompileJob *j)
{
	Arguments a = {.n = 0};
	const char *library = arena_printf(b->run, "lib%s.a", b->x->name);
	argument_words(b->run, &a, b->o->ar);
	argument(&a, "rcsD");
	argument(&a, library);
	for (int i = 0; i < j->n; i++)
		if (j->sources[i].in_library)
			argument(&a, j->sources[i].object);
	run_tool(b, &a, library, artefact_staged(b, "ar.log"), no_archiver);
	artefact_add(b, library);
}

static void
link_runner(Build *b)
{
	Arguments a = {.n = 0};
	argument_words(b->run, &a, b->o->cc);
	argument_words(b->run, &a, b->o->cflags);
	argument(&a, "-o");
	argument(&a, b->x->name);
	argument(&a, named(b, "_main.o"));
	argument(&a, arena_printf(b->run, "lib%s.a", b->x->name));
	argument(&a, named(b, "_weights.o"));
	argument(&a, "-pthread");
	argument(&a, "-lm");
	if (b->n_devices)
		argument(&a, "-ldl");
	run_tool(b, &a, b->x->name, artefact_staged(b, "link.log"), no_compiler);
	artefact_add(b, b->x->name);
}

/* Sizes of the objects, which do not stay; the weights' are those of their file. */
static void
measure_objects(Build *b, const CompileJob *j)
{
	for (int i = 0; i + 1 < j->n; i++) {
		ObjectSize *s = &b->objects[b->n_objects];
		if (!object_size(artefact_staged(b, j->sources[i].object), s))
			continue;
		s->file = j->sources[i].file;
		s->in_library = j->sources[i].in_library;
		b->n_objects++;
	}
}

static void
compile_all(Build *b)
{
	CompileJob j = {.b = b, .runner = artefact_staged(b, named(b, "_main.c"))};
	const Artefact *x = b->x;
	for (int i = x->n_targets - 1; i >= 0; i--)
		add_source(&j, named(b, arena_printf(b->run, "_%s", x->targets[i]->suffix)),
			   x->targets[i]->flags, true);
	add_source(&j, named(b, "_main"), "-pthread", false);
	j.sources[j.n - 1].is_runner = true;
	add_source(&j, named(b, "_tokenizer"), "", true);
	add_source(&j, x->name, "", true);
	for (int i = 0; i < b->n_devices; i++)
		add_source(&j, named(b, b->devices[i]->source), "", true);
	add_source(&j, named(b, "_weights"), "", false);
	artefact_step(b, b->o->sources_only ? "golden vectors" : "golden vectors, C compiler");
	parallel_for(b->o->jobs, j.n, compile_one, &j);
	if (b->o->sources_only)
		return;
	archive(b, &j);
	link_runner(b);
	measure_objects(b, &j);
	for (int i = 0; i + 1 < j.n; i++)
		unlink(artefact_staged(b, j.sources[i].object));
	artefact_add(b, j.sources[j.n - 1].object);
}

/* First line of `cc --version`, for the manifest. */
static const char *
compiler_version(const Build *b)
{
	Arguments a = {.n = 0};
	Mapped m;
	const char *error = NULL, *log = artefact_staged(b, "version.log"), *line = "";
	argument_words(b->run, &a, b->o->cc);
	argument(&a, "--version");
	process_run(b->dir, a.v, log, &error);
	if (error)
		no_tool(a.v[0], error, no_compiler);
	if (file_map(log, &m, &error)) {
		const uint8_t *end = m.size ? memchr(m.data, '\n', m.size) : NULL;
		line = arena_strndup(b->run, (const char *)m.data,
				     end ? (size_t)(end - m.data) : m.size);
		file_unmap(&m);
	}
	unlink(log);
	return line;
}

/* ---- identity and place ------------------------------------------------------------------- */

/* Everything that the payload of the weights depends on. */
static void
build_identity(Arena *run, const Graph *g, const Layout *l, uint8_t build[32])
{
	Text *t = text_new(run);
	char model[65];
	sha256_hex(g->model->sha256, model);
	text_printf(t, "model %s\n", model);
	graph_print(t, g);
	text_printf(t, "layout 1 %llu\n", (unsigned long long)l->bytes);
	sha256_of(t->text, t->size, build);
}

/* Folders of path up to its last '/'. */
static void
make_parents(Arena *run, const char *path)
{
	char *p = arena_printf(run, "%s", path);
	for (char *c = p + 1; *c; c++) {
		if (*c != '/')
			continue;
		*c = 0;
		if (!mkdir(p, 0777))
			cleanup_add_empty(p);
		else if (errno != EEXIST)
			fatal_environment("cannot make the folder %s: %s", p, strerror(errno));
		*c = '/';
	}
}

enum { READ_BYTES = 1 << 16 };

/* A piece of a file; what is read is not mapped: the memory of a compile stays that of the model.
 */
static size_t
read_piece(FILE *f, uint8_t *piece, const char *path)
{
	const size_t n = fread(piece, 1, READ_BYTES, f);
	if (ferror(f))
		fatal_environment("cannot read %s: %s", path, strerror(errno));
	return n;
}

typedef struct DigestJob {
	MadeFile *file;
	const char *path;
} DigestJob;

static void
digest_one(void *arg, int i)
{
	const DigestJob *j = (const DigestJob *)arg + i;
	FILE *f = fopen(j->path, "rb");
	uint8_t piece[READ_BYTES];
	struct sha256_ctx s;
	if (!f)
		fatal_environment("cannot read %s: %s", j->path, strerror(errno));
	sha256_init(&s);
	for (size_t n; (n = read_piece(f, piece, j->path)) > 0;) {
		sha256_update(&s, n, piece);
		j->file->bytes += n;
	}
	sha256_digest(&s, SHA256_DIGEST_SIZE, j->file->sha256);
	fclose(f);
}

/* All but the weights, whose digest was made as they were written. */
static void
digest_files(Build *b)
{
	DigestJob *jobs = ARENA_ARRAY(b->run, DigestJob, (size_t)b->n_files);
	int n = 0;
	for (int i = 0; i < b->n_files; i++)
		if (!b->files[i].bytes)
			jobs[n++] = (DigestJob){&b->files[i], artefact_staged(b, b->files[i].name)};
	parallel_for(b->o->jobs, n, digest_one, jobs);
}

static const char *
placed(const Build *b, const char *name)
{
	return arena_printf(b->run, "%s/%s", b->o->out, name);
}

/* What can be known before the first file is moved. */
static void
check_place(const Build *b)
{
	struct stat st;
	if (stat(b->o->out, &st))
		return;
	if (!S_ISDIR(st.st_mode))
		fatal_environment("cannot write to %s: %s", b->o->out, strerror(ENOTDIR));
	if (access(b->o->out, W_OK | X_OK))
		fatal_environment("cannot write to %s: %s", b->o->out, strerror(errno));
	for (int i = 0; i < b->n_files; i++)
		if (!stat(placed(b, b->files[i].name), &st) && S_ISDIR(st.st_mode))
			fatal_environment("cannot write %s: %s", placed(b, b->files[i].name),
					  strerror(EISDIR));
}

/* Moves every file to its place; one with the same bytes is left alone with its time. */
static void
publish(const Build *b)
{
	check_place(b);
	ending_begin();
	if (!mkdir(b->o->out, 0777))
		cleanup_add_empty(b->o->out);
	else if (errno != EEXIST)
		fatal_environment("cannot make the folder %s: %s", b->o->out, strerror(errno));
	for (int i = 0; b->folders[i]; i++)
		if (!mkdir(placed(b, b->folders[i]), 0777))
			cleanup_add_empty(placed(b, b->folders[i]));
		else if (errno != EEXIST)
			fatal_environment("cannot make the folder %s: %s", placed(b, b->folders[i]),
					  strerror(errno));
	for (int i = 0; i < b->n_files; i++) {
		const char *from = artefact_staged(b, b->files[i].name);
		const char *to = placed(b, b->files[i].name);
		if (file_same(from, to))
			continue;
		if (rename(from, to))
			fatal_environment("cannot write %s: %s", to, strerror(errno));
	}
	ending_cancel();
	remove_tree(b->dir);
	cleanup_remove(b->dir);
}

/* The levels of CPUs have kernels for all ops, the devices none for these. */
static const char *
cpu_only(const Value *v)
{
	if (v->op == OP_GELU_MUL)
		return "gelu";
	if (v->op == OP_ROUTE)
		return "a mixture of experts";
	if (v->op == OP_EMBED && v->factor != 0)
		return "a factor of the embedding";
	return v->window ? "attention over a window" : NULL;
}

static bool
has_device_ops(Diag *d, const Graph *g, const Device *device)
{
	for (int n = 0; n < g->count; n++)
		for (int i = 0; i < g->funcs[n].count; i++) {
			const Value *v = &g->funcs[n].values[i];
			const char *what = cpu_only(v);
			if (!what)
				continue;
			diag_error(d, v->loc, E_LEGAL, "%s has no kernel for %s", device->name,
				   what);
			return false;
		}
	return true;
}

bool
artefact_write(Arena *run, Diag *d, const Graph *g, const Target *const *targets, int n_targets,
	       const ArtefactOptions *o)
{
	const char *slash = strrchr(o->out, '/');
	const char *name = slash ? slash + 1 : o->out;
	const Layout *layout = layout_new(run, g);
	const Target **levels = ARENA_ARRAY(run, const Target *, n_targets);
	const Device **devices = ARENA_ARRAY(run, const Device *, n_targets);
	Artefact x = {.graph = g,
		      .layout = layout,
		      .name = name,
		      .dpas = o->dpas,
		      .npu = &o->npu,
		      .ident = symbol_prefix(o, run, name),
		      .targets = levels,
		      .math = o->math};
	int n_devices = 0;
	for (int i = 0; i < n_targets; i++)
		if (targets[i]->device)
			devices[n_devices++] = targets[i]->device;
		else
			levels[x.n_targets++] = targets[i];
	for (int i = 0; i < n_devices; i++)
		if (!has_device_ops(d, g, devices[i]) || !devices[i]->check(run, d, &x))
			return false;
	Build b = {.run = run,
		   .d = d,
		   .x = &x,
		   .o = o,
		   .flags = artefact_flags,
		   .devices = devices,
		   .n_devices = n_devices,
		   .device_manifest = text_new(run),
		   .device_report = text_new(run)};
	b.device_manifest->indent = 1;
	b.files = ARENA_ARRAY(run, MadeFile, FILES_MAX);
	make_parents(run, o->out);
	check_place(&b);
	char *dir = arena_printf(run, "%s.XXXXXX", o->out);
	if (!mkdtemp(dir))
		fatal_environment("cannot make a folder beside %s: %s", o->out, strerror(errno));
	b.dir = dir;
	cleanup_add(dir);
	build_identity(run, g, layout, x.build);
	if (!o->sources_only)
		b.cc_version = compiler_version(&b);
	artefact_step(&b, "weights");
	if (!weights_write(run, d, layout, x.build, artefact_staged(&b, named(&b, ".weights")),
			   o->jobs, &b.weights))
		return false;
	artefact_add(&b, named(&b, ".weights"));
	b.files[0].bytes = b.weights.file_bytes;
	memcpy(b.files[0].sha256, b.weights.sha256, sizeof b.weights.sha256);
	x.weights_checksum = b.weights.checksum;
	artefact_step(&b, "sources");
	if (!write_sources(&b, d))
		return false;
	for (int i = 0; i < n_devices; i++)
		devices[i]->write(&b);
	compile_all(&b);
	digest_files(&b);
	manifest_write(&b);
	publish(&b);
	return true;
}
