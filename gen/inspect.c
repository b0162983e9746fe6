/* lathe inspect: what a model file holds and what Lathe makes of it. */
#include "gen/commands.h"
#include "gen/model/gguf.h"
#include "gen/model/model.h"

typedef struct InspectOptions {
	const char *tokenizer;
	bool digest;
} InspectOptions;

#define FIELD(f) offsetof(InspectOptions, f)
static const Option inspect_options[] = {
	{"--tokenizer", "FILE", OPTION_STRING, FIELD(tokenizer), "tokenizer of a llama2.c model"},
	{"--digest", NULL, OPTION_FLAG, FIELD(digest),
	 "print the SHA-256 of the file too (of shards one behind the other)"},
};

static const Command inspect_command = {
	"inspect",
	"MODEL [options]",
	"Prints what a model file holds and what Lathe makes of it.",
	inspect_options,
	sizeof inspect_options / sizeof *inspect_options,
	inspect_main,
};

/* The container as it is, for a GGUF file: parsed a second time, which costs little. */
static void
print_container(Arena *a, const Model *m)
{
	for (uint32_t f = 0; f < m->n_files; f++) {
		const ModelFile *file = &m->files[f];
		Gguf g;
		if (!gguf_is_magic(file->data, (size_t)file->bytes) ||
		    !gguf_parse(a, diag_new(a, NULL), 0, file->data, (size_t)file->bytes, &g))
			continue;
		if (m->n_files > 1)
			printf("shard %u, %s, %llu bytes: ", f + 1, file->path,
			       (unsigned long long)file->bytes);
		printf("GGUF version %u, alignment %u, %u metadata keys, %u tensors\n", g.version,
		       g.alignment, g.n_entries, g.n_tensors);
		for (uint32_t i = 0; i < g.n_entries; i++)
			printf("  %.*s = %s\n", (int)g.entries[i].key.size, g.entries[i].key.data,
			       gguf_show(&g, &g.entries[i].value));
	}
}

static void
print_model(const Model *m)
{
	printf("architecture %s\n", m->arch);
	printf("  layers %u, hidden %u, inner %u, vocabulary %u, context %u\n", m->n_layer,
	       m->hidden, m->inter, m->n_vocab, m->n_ctx);
	printf("  heads %u of %u values, %u for keys and values\n", m->n_head, m->head_dim,
	       m->n_kv_head);
	printf("  norm epsilon %g, RoPE base %g, head %s\n", (double)m->norm_eps, m->rope_base,
	       m->tied ? "tied to the embedding" : "of its own");
}

static void
print_tokenizer(const Tokenizer *t)
{
	static const char *const kinds[] = {"none", "byte-level BPE", "scored BPE"};
	static const char *const pres[PRE_COUNT] = {"gpt2", "smollm"};
	printf("tokenizer %s\n", kinds[t->kind]);
	if (t->kind == TOKENIZER_NONE)
		return;
	printf("  %u tokens", t->n_tokens);
	if (t->kind == TOKENIZER_BPE)
		printf(", %u merges, pre-tokenizer %s", t->n_merges, pres[t->pre]);
	printf(", bos %d, eos %d, unknown %d, padding %d%s%s\n", t->bos, t->eos, t->unk, t->pad,
	       t->add_bos ? ", adds bos" : "", t->add_space_prefix ? ", adds a space" : "");
}

static void
print_tensor(Arena *a, const Model *m, Role role, uint32_t layer)
{
	const Tensor *t = model_tensor(m, role, layer);
	if (!t)
		return;
	Text *format = text_new(a);
	format_print(format, t->type->format);
	printf("  %-26s %-10s %6u x %-6u %-4s %s%s\n", t->name, role_names[role], t->rows,
	       t->columns, t->type->name, format->text,
	       t->row_order == ROWS_ROPE_PAIRS ? ", rows in pairs" : "");
}

/* The tensors outside the layers, then layer by layer. */
static void
print_tensors(Arena *a, const Model *m)
{
	printf("tensors: rows x columns\n");
	for (int role = 0; role < ROLE_COUNT; role++)
		if (!role_layered[role] && !(role == ROLE_HEAD && m->tied))
			print_tensor(a, m, (Role)role, 0);
	for (uint32_t l = 0; l < m->n_layer; l++)
		for (int role = 0; role < ROLE_COUNT; role++)
			if (role_layered[role])
				print_tensor(a, m, (Role)role, l);
}

static void
print_all(Arena *a, Model *m, bool digest)
{
	uint64_t bytes = 0;
	for (uint32_t i = 0; i < m->n_files; i++)
		bytes += m->files[i].bytes;
	printf("%s: %llu bytes%s\n", m->file, (unsigned long long)bytes,
	       m->n_files > 1 ? arena_printf(a, " in %u shards", m->n_files) : "");
	if (digest) {
		char hex[65];
		model_digest(m);
		sha256_hex(m->sha256, hex);
		printf("sha256 %s\n", hex);
	}
	print_container(a, m);
	print_model(m);
	print_tokenizer(&m->tokenizer);
	print_tensors(a, m);
}

int
inspect_main(int argc, char **argv)
{
	Arena *a = arena_new();
	Diag *d = diag_new(a, stderr);
	InspectOptions options = {0};
	StringList files = {0};
	Model *m = NULL;
	if (options_parse(&inspect_command, d, argc, argv, &options, &files)) {
		ModelOptions o = {.tokenizer = options.tokenizer};
		if (files.count == 1)
			m = model_read(a, d, files.items[0], &o);
		else
			diag_error(d, (Loc){0}, E_USAGE, "inspect wants one model, not %d",
				   files.count);
	}
	if (m)
		print_all(a, m, options.digest);
	arena_free(a);
	return m ? 0 : EXIT_USER;
}
