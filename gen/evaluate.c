/* lathe eval: an artefact against the model that it was compiled from, on a text. */
#define _GNU_SOURCE
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "gen/commands.h"
#include "gen/diagnostics.h"
#include "gen/method/compare.h"
#include "gen/method/stream.h"
#include "gen/model/model.h"
#include "gen/settings.h"
#include "ir/pass.h"
#include "ir/report.h"
#include "targets/artefact.h"
#include "targets/tokenizer.h"

/* Chunks that go through the model together; what that many take in memory is spilled beyond. */
enum { CHUNKS_AT_ONCE = 4 };
#define ROWS_MEMORY (UINT64_C(4) << 30)

typedef struct EvalOptions {
	const char *text, *tokenizer, *cc, *diagnostics;
	int ctx, chunks, jobs;
	bool json;
} EvalOptions;

#define FIELD(f) offsetof(EvalOptions, f)
static const Option eval_options[] = {
	{"--text", "FILE", OPTION_STRING, FIELD(text), "the text"},
	{"--ctx", "N", OPTION_INT, FIELD(ctx), "tokens of a chunk (default: 512, or fewer)"},
	{"--chunks", "N", OPTION_INT, FIELD(chunks), "the first N chunks (default: all)"},
	{"--json", NULL, OPTION_FLAG, FIELD(json), "one JSON object"},
	{"--tokenizer", "FILE", OPTION_STRING, FIELD(tokenizer), "tokenizer of a llama2.c model"},
	{"--cc", "COMMAND", OPTION_STRING, FIELD(cc),
	 "C compiler, for the tokenizer (default: cc)"},
	DIAGNOSTICS_OPTION(FIELD(diagnostics)),
	{"-j", "N", OPTION_INT, FIELD(jobs), "threads (default: all cores)"},
};

static const Command eval_command = {
	"eval",
	"MODEL ARTEFACT --text FILE [options]",
	"Compares an artefact with its model on a text: perplexity of both (chunks and positions "
	"as\n"
	"llama-perplexity has them), KL divergence of their predictions, and how often both find\n"
	"the same token the likeliest. The model runs in f32, its weights as its files have them.",
	eval_options,
	sizeof eval_options / sizeof *eval_options,
	eval_main,
};

/* ---- the artefact --------------------------------------------------------------------------- */

typedef struct Eval {
	Arena *run;
	Diag *d;
	const EvalOptions *o;
	Model *model;
	const char *program, *folder; /* of the artefact; a temporary one */
	int32_t *ids;		      /* [chunks][ctx] as scored, the text's own */
	int ctx, chunks;
} Eval;

/* The first token of a chunk gives way to BOS where the model wants one. */
static int32_t
fed(const Eval *e, int chunk, int i)
{
	const Tokenizer *t = &e->model->tokenizer;
	return i == 0 && t->add_bos && t->bos >= 0 ? t->bos : e->ids[chunk * e->ctx + i];
}

/* Logits [ctx][n_vocab] of a chunk by the artefact's program. */
static void
artefact_logits(const Eval *e, int chunk, Mapped *logits)
{
	Text *list = text_new(e->run);
	const char *error = NULL, *log = arena_printf(e->run, "%s/log", e->folder);
	const char *const argv[] = {e->program, "logits", "--ids-file", "ids",
				    "--all",	"--out",  "logits",	NULL};
	const uint64_t wanted = (uint64_t)e->ctx * e->model->n_vocab * sizeof(float);
	for (int i = 0; i < e->ctx; i++)
		text_printf(list, "%d\n", fed(e, chunk, i));
	outfile_text(e->run, arena_printf(e->run, "%s/ids", e->folder), list);
	const int status = process_run(e->folder, argv, log, &error);
	if (error)
		fatal_environment("'%s' cannot be started: %s", e->program, error);
	if (status)
		fatal_environment("'%s logits' failed with status %d", e->program, status);
	if (!file_map(arena_printf(e->run, "%s/logits", e->folder), logits, &error))
		fatal_environment("cannot read the logits of %s: %s", e->program, error);
	if (logits->size != wanted)
		fatal_environment("%s is of another model: %zu bytes of logits, not %llu",
				  e->program, logits->size, (unsigned long long)wanted);
}

/* ---- the model ------------------------------------------------------------------------------ */

/* Some chunks through the whole model: the caller frees the stream whose carry are the logits. */
static Stream *
model_logits(const Eval *e, Arena *own, Pool *pool, const Linalg *l, const Graph *g, int first,
	     int n)
{
	int32_t *ids = ARENA_ARRAY(own, int32_t, (size_t)n * (size_t)e->ctx);
	Tokens *t = ARENA_NEW(own, Tokens);
	for (int c = 0; c < n; c++)
		for (int i = 0; i < e->ctx; i++)
			ids[c * e->ctx + i] = fed(e, first + c, i);
	*t = (Tokens){ids, (uint32_t)n, (uint32_t)e->ctx};
	Stream *s = stream_new(own, pool, l, g, t, STREAM_FLOAT, e->o->jobs);
	for (int f = 0; f < g->count; f++)
		stream_function(s, &g->funcs[f]);
	return s;
}

static Comparison
compare(const Eval *e, const Graph *g)
{
	const size_t vocab = e->model->n_vocab;
	Comparison sum = {0};
	Pool *pool = pool_new(e->run, ROWS_MEMORY);
	const Linalg *l = linalg_open(e->run, e->o->jobs);
	for (int first = 0; first < e->chunks; first += CHUNKS_AT_ONCE) {
		const int left = e->chunks - first,
			  n = left < CHUNKS_AT_ONCE ? left : CHUNKS_AT_ONCE;
		Arena *own = arena_new();
		Stream *s = model_logits(e, own, pool, l, g, first, n);
		for (int c = 0; c < n; c++) {
			const float *model = stream_carry(s) + (size_t)(c * e->ctx) * vocab;
			Mapped logits;
			artefact_logits(e, first + c, &logits);
			const float *artefact = (const float *)(const void *)logits.data;
			for (int i = e->ctx / 2; i < e->ctx - 1; i++)
				comparison_add(&sum, artefact + (size_t)i * vocab,
					       model + (size_t)i * vocab, vocab,
					       e->ids[(first + c) * e->ctx + i + 1]);
			file_unmap(&logits);
		}
		stream_free(s);
		arena_free(own);
		if (isatty(2))
			fprintf(stderr, "\r\033[K%d of %d chunks", first + n, e->chunks);
	}
	if (isatty(2))
		fprintf(stderr, "\r\033[K");
	pool_free(pool);
	return sum;
}

/* ---- the command ---------------------------------------------------------------------------- */

/* The text's ids in chunks: without its last newline, behind a BOS where the model wants one. */
static bool
read_text(Eval *e)
{
	Mapped text;
	const char *error;
	const Tokenizer *t = &e->model->tokenizer;
	size_t n = 0;
	e->ctx = e->o->ctx ? e->o->ctx : e->model->n_ctx < 512 ? (int)e->model->n_ctx : 512;
	if (t->kind == TOKENIZER_NONE || e->ctx < 4 || (uint32_t)e->ctx > e->model->n_ctx) {
		diag_error(e->d, e->model->loc, E_USAGE,
			   t->kind == TOKENIZER_NONE
				   ? "the model has no tokenizer: --tokenizer FILE"
				   : "--ctx is from 4 to the model's context of %u",
			   e->model->n_ctx);
		return false;
	}
	if (!file_map(e->o->text, &text, &error)) {
		diag_error(e->d, (Loc){0}, E_USAGE, "cannot read %s: %s", e->o->text, error);
		return false;
	}
	const size_t size = text.size - (text.size && text.data[text.size - 1] == '\n');
	const int32_t *ids =
		tokenizer_run(e->run, e->d, t, e->o->cc ? e->o->cc : "cc", text.data, size, &n);
	file_unmap(&text);
	if (!ids)
		return false;
	const size_t bos = t->add_bos && t->bos >= 0;
	e->ids = ARENA_ARRAY(e->run, int32_t, n + 1);
	e->ids[0] = t->bos;
	memcpy(e->ids + bos, ids, n * sizeof *ids);
	const size_t chunks = (n + bos) / (size_t)e->ctx;
	e->chunks = e->o->chunks && (size_t)e->o->chunks < chunks ? e->o->chunks
		    : chunks < INT_MAX				  ? (int)chunks
								  : INT_MAX;
	if (!e->chunks)
		diag_error(e->d, (Loc){0}, E_USAGE, "%s: %zu tokens do not fill one chunk of %d",
			   e->o->text, n, e->ctx);
	return e->chunks > 0;
}

/* out/NAME/NAME of the folder out/NAME, as a path that any folder may start. */
static bool
find_program(Eval *e, const char *artefact)
{
	char *path = realpath(artefact, NULL);
	struct stat st;
	const char *name = path ? strrchr(path, '/') : NULL;
	if (name)
		e->program = arena_printf(e->run, "%s/%s", path, name + 1);
	free(path);
	if (name && !stat(e->program, &st) && S_ISREG(st.st_mode) && !access(e->program, X_OK))
		return true;
	diag_error(e->d, (Loc){0}, E_USAGE, "%s is no artefact: it holds no program of its name",
		   artefact);
	return false;
}

static bool
evaluate(Eval *e, const StringList *operands)
{
	const Settings settings = {.activations = "f32", .kv = "f32"};
	const PassOptions passes = {0};
	const ModelOptions options = {.tokenizer = e->o->tokenizer, .jobs = e->o->jobs};
	e->model = model_read(e->run, e->d, operands->items[0], &options);
	if (!e->model || !find_program(e, operands->items[1]) || !read_text(e))
		return false;
	Graph *g = graph_build(e->run, e->model);
	if (!settings_apply(&settings, e->d, g) || !passes_run(g, &passes, e->d))
		return false;
	e->folder = temporary_folder(e->run);
	const Comparison c = compare(e, g);
	temporary_remove(e->folder);
	Text *t = text_new(e->run);
	if (e->o->json)
		comparison_json(t, &c, e->chunks, e->ctx);
	else
		comparison_print(t, &c);
	fputs(t->text, stdout);
	return true;
}

int
eval_main(int argc, char **argv)
{
	EvalOptions o = {0};
	StringList operands = {.count = 0};
	Arena *run = arena_new();
	Diag *d = diag_new(run, stderr);
	bool ok = diagnostics_option(d, argc, argv) &&
		  options_parse(&eval_command, d, argc, argv, &o, &operands);
	if (ok && (operands.count != 2 || !o.text)) {
		diag_error(d, (Loc){0}, E_USAGE, "%s is wanted",
			   o.text ? "a model and an artefact" : "--text FILE");
		diag_hint(d, "usage: lathe eval %s", eval_command.usage);
		ok = false;
	}
	if (ok) {
		Eval e = {.run = run, .d = d, .o = &o};
		o.jobs = o.jobs ? o.jobs : (int)sysconf(_SC_NPROCESSORS_ONLN);
		ok = evaluate(&e, &operands);
	}
	diag_finish(d);
	if (!ok)
		cleanup_run();
	arena_free(run);
	return ok ? 0 : EXIT_USER;
}
