/* The folder of a run that can be taken up again. */
#define _GNU_SOURCE
#include "state.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *
file_of(const RunState *s, const char *what, int f)
{
	return f < 0 ? arena_printf(s->run, "%s/%s", s->folder, what)
		     : arena_printf(s->run, "%s/%s.%d", s->folder, what, f);
}

static bool
damaged(Diag *d, const char *path)
{
	diag_error(d, (Loc){0}, E_RECIPE, "%s is damaged", path);
	diag_hint(d, "remove its folder to begin anew");
	return false;
}

/* ---- codes ---------------------------------------------------------------------------------- */

typedef struct CodesSize {
	size_t codes, scales;
	bool zeros;
} CodesSize;

/* Of matrix e of value v of f, should it have codes. */
static CodesSize
codes_size(const RunState *s, const Func *f, const Value *v, uint32_t e)
{
	const Format format = graph_expert_format(s->graph, v->role, f->layer, e);
	uint32_t rows, columns;
	graph_tensor_shape(s->graph, v, &rows, &columns);
	return (CodesSize){(size_t)rows * columns,
			   (size_t)rows * (size_t)format_groups(format, (int)columns),
			   format.zero != ZERO_NONE};
}

static PlanCodes *
codes_of(const RunState *s, const Func *f, const Value *v, uint32_t e)
{
	return &s->plan->codes[v->role][model_place(s->model, v->role, f->layer, e)];
}

static void
keep_codes(const RunState *s, int f)
{
	const Func *func = &s->graph->funcs[f];
	OutFile *out = outfile_open(s->run, file_of(s, "codes", f));
	uint8_t sha256[32];
	for (int i = 0; i < func->count; i++)
		for (uint32_t e = 0; e < recipe_matrices(s->graph, func, i); e++) {
			const Value *v = func_value(func, i);
			const PlanCodes *c = codes_of(s, func, v, e);
			const CodesSize n = codes_size(s, func, v, e);
			outfile_write(out, c->scales, n.scales * sizeof(float));
			if (n.zeros)
				outfile_write(out, c->zeros, n.scales * sizeof(float));
			outfile_write(out, c->codes, n.codes);
		}
	for (int i = 0; i < func->count; i++)
		if (recipe_clip_site(func, i) >= 0)
			outfile_write(out, &func_value(func, i)->format.clip, sizeof(float));
	outfile_commit(out, sha256);
}

/* The next n bytes of a file, copied; false: it ends before. */
static bool
take(const Mapped *m, size_t *at, void *to, size_t n)
{
	if (n > m->size - *at)
		return false;
	memcpy(to, m->data + *at, n);
	*at += n;
	return true;
}

/* The codes of a matrix from where they lie; false: the file ends before. */
static bool
take_codes(const RunState *s, const Mapped *m, size_t *at, const CodesSize *n, PlanCodes *c)
{
	float *scales = ARENA_ARRAY(s->run, float, n->scales);
	float *zeros = n->zeros ? ARENA_ARRAY(s->run, float, n->scales) : NULL;
	uint8_t *codes = (uint8_t *)pool_take(s->pool, (n->codes + 3) / 4);
	*c = (PlanCodes){codes, scales, zeros, s->model->loc};
	return take(m, at, scales, n->scales * sizeof *scales) &&
	       (!zeros || take(m, at, zeros, n->scales * sizeof *zeros)) &&
	       take(m, at, codes, n->codes);
}

static bool
read_codes(Diag *d, const RunState *s, int f)
{
	const Func *func = &s->graph->funcs[f];
	const char *path = file_of(s, "codes", f), *error;
	Mapped m;
	size_t at = 0;
	if (!file_map(path, &m, &error))
		return damaged(d, path);
	bool ok = true;
	for (int i = 0; i < func->count; i++)
		for (uint32_t e = 0; e < recipe_matrices(s->graph, func, i) && ok; e++) {
			const Value *v = func_value(func, i);
			const CodesSize n = codes_size(s, func, v, e);
			ok = take_codes(s, &m, &at, &n, codes_of(s, func, v, e));
		}
	for (int i = 0; i < func->count && ok; i++) {
		float ratio;
		if (recipe_clip_site(func, i) < 0)
			continue;
		ok = take(&m, &at, &ratio, sizeof ratio) && ratio >= 0.0f && ratio < 1.0f;
		if (ok)
			recipe_put_clip(s->graph, s->plan, func, i, ratio);
	}
	ok = ok && at == m.size;
	file_unmap(&m);
	return ok || damaged(d, path);
}

/* ---- rows ----------------------------------------------------------------------------------- */

static const char *const rows_names[STREAMS] = {"float", "rounded"};

static void
keep_rows(const RunState *s, int f)
{
	for (int k = s->first; k < STREAMS; k++) {
		OutFile *out = outfile_open(s->run, file_of(s, rows_names[k], f));
		uint8_t sha256[32];
		outfile_write(out, stream_carry(s->streams[k]), s->row_floats * sizeof(float));
		outfile_commit(out, sha256);
	}
}

static bool
read_rows(Diag *d, const RunState *s, int f)
{
	for (int k = s->first; k < STREAMS; k++) {
		const char *path = file_of(s, rows_names[k], f), *error;
		Mapped m;
		if (!file_map(path, &m, &error))
			return damaged(d, path);
		const bool ok = m.size == s->row_floats * sizeof(float);
		if (ok)
			memcpy(stream_resume(s->streams[k]), m.data, m.size);
		file_unmap(&m);
		if (!ok)
			return damaged(d, path);
	}
	return true;
}

/* ---- the folder ----------------------------------------------------------------------------- */

static void
put_text(const RunState *s, const char *what, const char *text)
{
	Text *t = text_new(s->run);
	text_printf(t, "%s", text);
	outfile_text(s->run, file_of(s, what, -1), t);
}

/* A small file's text; null: it cannot be read. */
static const char *
get_text(const RunState *s, const char *what)
{
	Mapped m;
	const char *error;
	if (!file_map(file_of(s, what, -1), &m, &error))
		return NULL;
	const char *text = arena_strndup(s->run, (const char *)m.data, m.size);
	file_unmap(&m);
	return text;
}

bool
state_open(Diag *d, RunState *s, const char *identity, int *done)
{
	*done = 0;
	if (!s->folder)
		return true;
	if (mkdir(s->folder, 0777) && errno != EEXIST)
		fatal_environment("cannot make the folder %s: %s", s->folder, strerror(errno));
	const char *of = get_text(s, "run"), *count = get_text(s, "done");
	if (!of) {
		put_text(s, "run", identity);
		return true;
	}
	if (strcmp(of, identity)) {
		diag_error(d, (Loc){0}, E_RECIPE,
			   "%s is of another run: its settings, model or "
			   "text differ",
			   s->folder);
		diag_hint(d, "%s/run says what it is of; remove the folder to begin anew",
			  s->folder);
		return false;
	}
	if (!count)
		return true;
	char *end;
	const long n = strtol(count, &end, 10);
	if (end == count || strcmp(end, "\n") || n < 1 || n >= s->graph->count)
		return damaged(d, file_of(s, "done", -1));
	for (int f = 0; f < n; f++)
		if (!read_codes(d, s, f))
			return false;
	*done = (int)n;
	return read_rows(d, s, (int)n - 1);
}

void
state_keep(RunState *s, int f)
{
	if (!s->folder)
		return;
	keep_codes(s, f);
	keep_rows(s, f);
	put_text(s, "done", arena_printf(s->run, "%d\n", f + 1));
	for (int k = s->first; k < STREAMS && f > 0; k++)
		unlink(file_of(s, rows_names[k], f - 1));
}

void
state_close(RunState *s)
{
	if (s->folder)
		remove_tree(s->folder);
}
