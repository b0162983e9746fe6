/* lathe inspect: what a model file holds and what Lathe makes of it. */
#include "gen/commands.h"
#include "gen/model/gguf.h"
#include "gen/model/model.h"

typedef struct InspectOptions {
	const char *tokenizer, *values;
	bool digest, container;
} InspectOptions;

#define FIELD(f) offsetof(InspectOptions, f)
static const Option inspect_options[] = {
	{"--tokenizer", "FILE", OPTION_STRING, FIELD(tokenizer),
	 "tokenizer of a llama2.c model, or `none`"},
	{"--container", NULL, OPTION_FLAG, FIELD(container),
	 "of one GGUF file, of any architecture, the metadata and tensors as they are"},
	{"--values", "FILE", OPTION_STRING, FIELD(values),
	 "write the values of all tensors, f32 in the order of the list, rows as stored"},
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

/* ---- values ------------------------------------------------------------------------------- */

/* Appends n values at data, whole blocks, to out; null: nobody asked for them. */
static void
write_values(OutFile *out, const StoredType *t, const uint8_t *data, uint64_t n)
{
	enum { PIECE = 1 << 12 };
	float values[PIECE];
	for (uint64_t at = 0; out && at < n; at += PIECE) {
		const int count = n - at < PIECE ? (int)(n - at) : PIECE;
		t->dequantize(data + at / t->block * t->block_bytes, count, values);
		outfile_write(out, values, (size_t)count * sizeof *values);
	}
}

/* ---- the container ------------------------------------------------------------------------ */

static void
print_keys(const Gguf *g)
{
	printf("GGUF version %u, alignment %u, %u metadata keys, %u tensors\n", g->version,
	       g->alignment, g->n_entries, g->n_tensors);
	for (uint32_t i = 0; i < g->n_entries; i++)
		printf("  %.*s = %s\n", (int)g->entries[i].key.size, g->entries[i].key.data,
		       gguf_show(g, &g->entries[i].value));
}

/* The containers as they are, for GGUF files: parsed a second time, which costs little. */
static void
print_containers(Arena *a, const Model *m)
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
		print_keys(&g);
	}
}

/* One file for itself, whatever its keys and names mean; values: where to write them, or null. */
static bool
inspect_container(Arena *a, Diag *d, const char *path, const char *values)
{
	Mapped map;
	const char *error;
	Gguf g;
	if (!file_map(path, &map, &error)) {
		diag_error(d, (Loc){0}, E_FILE, "cannot read %s: %s", path, error);
		return false;
	}
	const uint32_t file = diag_file(d, path, NULL, map.size);
	if (!gguf_is_magic(map.data, map.size)) {
		diag_error(d, (Loc){file, 0}, E_MAGIC, "no GGUF file");
		return false;
	}
	if (!gguf_parse(a, d, file, map.data, map.size, &g))
		return false;
	OutFile *out = values ? outfile_open(a, values) : NULL;
	print_keys(&g);
	printf("tensors: columns, rows; type; bytes; offset in the file\n");
	for (uint32_t i = 0; i < g.n_tensors; i++) {
		const GgufTensor *t = &g.tensors[i];
		printf("  %-26s %-16s %-5s %10llu %10llu\n", t->name, gguf_shape(a, t),
		       t->type->name, (unsigned long long)t->bytes, (unsigned long long)t->data_at);
		write_values(out, t->type, t->data,
			     t->bytes / t->type->block_bytes * t->type->block);
	}
	if (out)
		outfile_commit(out, NULL);
	return true;
}

/* ---- the model ---------------------------------------------------------------------------- */

static void
print_model(const Model *m)
{
	printf("architecture %s\n", m->arch);
	printf("  layers %u, hidden %u, inner %u, vocabulary %u, context %u\n", m->n_layer,
	       m->hidden, m->inter, m->n_vocab, m->n_ctx);
	if (m->n_expert)
		printf("  experts %u of inner %u, %u a token, weights by softmax over %s\n",
		       m->n_expert, m->expert_inter, m->n_used, m->norm_experts ? "these" : "all");
	printf("  heads %u of %u values, %u for keys and values\n", m->n_head, m->head_dim,
	       m->n_kv_head);
	printf("  norm epsilon %g, RoPE base %g%s, head %s\n", (double)m->norm_eps, m->rope_base,
	       m->rope_divisors ? " with divided frequencies" : "",
	       m->tied ? "tied to the embedding" : "of its own");
}

static void
print_chat_text(Arena *a, const char *name, Bytes text, unsigned trim)
{
	static const char *const trims[] = {"", ", left end trimmed", ", right end trimmed",
					    ", trimmed"};
	Text *t = text_new(a);
	text_json_string(t, text.data, text.size);
	printf("  %-14s %s%s\n", name, t->text, trims[trim]);
}

/* The texts between those of a conversation. */
static void
print_chat(Arena *a, const Chat *c)
{
	if (!c || c->why) {
		printf("chat none: %s\n", c ? c->why : "the file has no chat template");
		return;
	}
	printf("chat %s%s, answers end at eos", c->name, c->add_bos ? ", bos in front" : "");
	if (c->end >= 0)
		printf(", %d", c->end);
	if (c->eot >= 0 && c->eot != c->end)
		printf(", %d", c->eot);
	printf("\n");
	print_chat_text(a, "open", c->open, 0);
	if (c->system_why) {
		printf("  no system text: %s\n", c->system_why);
	} else {
		print_chat_text(a, "system", c->system, 0);
		print_chat_text(a, "behind system", c->behind_system, c->trim_system);
		if (c->trim_first != c->trim_user)
			print_chat_text(a, "first reply", c->reply, c->trim_first);
	}
	print_chat_text(a, "reply", c->reply, c->trim_user);
	print_chat_text(a, "next", c->next, 0);
}

static void
print_tokenizer(Arena *a, const Tokenizer *t)
{
	static const char *const kinds[TOKENIZER_KINDS] = {"none", "byte-level BPE", "scored BPE",
							   "SentencePiece BPE",
							   "SentencePiece unigram"};
	printf("tokenizer %s\n", kinds[t->kind]);
	if (t->kind == TOKENIZER_NONE)
		return;
	printf("  %u tokens", t->n_tokens);
	if (t->kind == TOKENIZER_BPE)
		printf(", %u merges, pre-tokenizer %s", t->n_merges, t->pre->name);
	printf(", bos %d, eos %d, unknown %d, padding %d%s%s\n", t->bos, t->eos, t->unk, t->pad,
	       t->add_bos ? ", adds bos" : "", t->add_space_prefix ? ", adds a space" : "");
	print_chat(a, t->chat);
}

static void
print_values(Arena *a, const Tensor *t, OutFile *out)
{
	if (!t->packed) {
		write_values(out, t->type, t->data, (uint64_t)t->rows * t->columns);
		return;
	}
	float *row = ARENA_ARRAY(a, float, t->columns);
	for (uint32_t i = 0; out && i < t->rows; i++) {
		tensor_row_f32(t, i, row);
		outfile_write(out, row, t->columns * sizeof *row);
	}
}

/* Of experts, which are alike, the first stands for all. */
static void
print_tensor(Arena *a, const Model *m, Role role, uint32_t layer, OutFile *out)
{
	const Tensor *t = model_tensor(m, role, layer);
	const uint32_t n = role_experts[role] ? m->n_expert : 1;
	if (!t)
		return;
	Text *format = text_new(a);
	format_print(format, t->type->format);
	printf("  %-26s %-10s %6u x %-6u %-4s %s%s%s\n", t->name, role_names[role], t->rows,
	       t->columns, t->type->name, format->text,
	       t->row_order == ROWS_ROPE_PAIRS ? ", rows in pairs" : "",
	       n > 1 ? arena_printf(a, ", of each of %u experts", n) : "");
	for (uint32_t e = 0; e < n; e++)
		print_values(a, model_expert(m, role, layer, e), out);
}

/* The tensors outside the layers, then layer by layer. */
static void
print_tensors(Arena *a, const Model *m, OutFile *out)
{
	printf("tensors: rows x columns\n");
	for (int role = 0; role < ROLE_COUNT; role++)
		if (!role_layered[role] && !(role == ROLE_HEAD && m->tied))
			print_tensor(a, m, (Role)role, 0, out);
	for (uint32_t l = 0; l < m->n_layer; l++)
		for (int role = 0; role < ROLE_COUNT; role++)
			if (role_layered[role])
				print_tensor(a, m, (Role)role, l, out);
}

static void
print_all(Arena *a, Model *m, bool digest, OutFile *out)
{
	uint64_t bytes = 0;
	for (uint32_t i = 0; i < m->n_files; i++)
		bytes += m->files[i].bytes;
	printf("%s: %llu bytes%s\n", m->file, (unsigned long long)bytes,
	       m->n_files > 1 ? arena_printf(a, " in %u files", m->n_files) : "");
	if (digest) {
		char hex[65];
		model_digest(m);
		sha256_hex(m->sha256, hex);
		printf("sha256 %s\n", hex);
	}
	print_containers(a, m);
	hf_print_files(a, m);
	print_model(m);
	print_tokenizer(a, &m->tokenizer);
	print_tensors(a, m, out);
}

static bool
inspect(Arena *a, Diag *d, const char *path, const InspectOptions *o)
{
	const ModelOptions how = {.tokenizer = o->tokenizer, .rotated = true};
	if (o->container)
		return inspect_container(a, d, path, o->values);
	Model *m = model_read(a, d, path, &how);
	if (!m)
		return false;
	OutFile *out = o->values ? outfile_open(a, o->values) : NULL;
	print_all(a, m, o->digest, out);
	if (out)
		outfile_commit(out, NULL);
	return true;
}

int
inspect_main(int argc, char **argv)
{
	Arena *a = arena_new();
	Diag *d = diag_new(a, stderr);
	InspectOptions options = {0};
	StringList files = {0};
	bool ok = false;
	if (options_parse(&inspect_command, d, argc, argv, &options, &files)) {
		if (files.count == 1)
			ok = inspect(a, d, files.items[0], &options);
		else
			diag_error(d, (Loc){0}, E_USAGE, "inspect wants one model, not %d",
				   files.count);
	}
	arena_free(a);
	return ok ? 0 : EXIT_USER;
}
