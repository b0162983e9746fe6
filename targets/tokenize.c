/*
 * A text's ids by the tokenizer that artefacts have: its C is compiled and run in a temporary
 * folder, so that there is one text of it and ids cannot differ.
 */
#define _GNU_SOURCE
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "artefact.h"
#include "tokenizer.h"

static const char program[] =
	"#include \"text_tokenizer.h\"\n"
	"#include <stdio.h>\n"
	"#include <stdlib.h>\n"
	"\n"
	"int\n"
	"main(void)\n"
	"{\n"
	"\tFILE *in = fopen(\"text\", \"rb\"), *out = fopen(\"ids\", \"wb\");\n"
	"\tif (!in || !out || fseek(in, 0, SEEK_END))\n"
	"\t\treturn 1;\n"
	"\tconst long n = ftell(in);\n"
	"\trewind(in);\n"
	"\tconst size_t bytes = text_encode_scratch((size_t)n), most = (size_t)n + 16;\n"
	"\tchar *text = malloc((size_t)n + 1);\n"
	"\tint32_t *ids = malloc(most * sizeof *ids);\n"
	"\tvoid *scratch = bytes == SIZE_MAX ? NULL : malloc(bytes);\n"
	"\tif (n < 0 || !text || !ids || !scratch || fread(text, 1, (size_t)n, in) != (size_t)n)\n"
	"\t\treturn 1;\n"
	"\tconst long count = text_encode(text, (size_t)n, ids, most, 0, scratch, bytes);\n"
	"\tif (count < 0 || (size_t)count > most)\n"
	"\t\treturn 1;\n"
	"\treturn fwrite(ids, sizeof *ids, (size_t)count, out) != (size_t)count || fclose(out);\n"
	"}\n";

static void
put_file(Arena *a, const char *folder, const char *name, const void *data, size_t size)
{
	OutFile *f = outfile_open(a, arena_printf(a, "%s/%s", folder, name));
	uint8_t sha256[32];
	outfile_write(f, data, size);
	outfile_commit(f, sha256);
}

static void
run_in(const char *folder, const char *const *argv, const char *log)
{
	const char *error = NULL;
	const int status = process_run(folder, argv, log, &error);
	if (error)
		fatal_environment(
			"'%s' cannot be started: %s\n  hint: install gcc or clang, or name "
			"a compiler with --cc",
			argv[0], error);
	if (status)
		fatal_environment("'%s' failed with status %d on the tokenizer", argv[0], status);
}

int32_t *
tokenizer_run(Arena *run, Diag *d, const Tokenizer *t, const char *cc, const uint8_t *text,
	      size_t size, size_t *n)
{
	Text *source = text_new(run), *header = text_new(run);
	const char *error;
	if (!tokenizer_emit(source, t, d, "text", "text"))
		return NULL;
	tokenizer_emit_header(header, "text", "text");
	const char *folder = temporary_folder(run);
	put_file(run, folder, "text_tokenizer.c", source->text, source->size);
	put_file(run, folder, "text_tokenizer.h", header->text, header->size);
	put_file(run, folder, "main.c", program, sizeof program - 1);
	put_file(run, folder, "text", text, size);
	const char *log = arena_printf(run, "%s/log", folder);
	const char *const compile[] = {cc,	 "-std=c99",	     "-O1", "-o", "tokenize", "-w",
				       "main.c", "text_tokenizer.c", NULL};
	const char *const tokenize[] = {"./tokenize", NULL};
	run_in(folder, compile, log);
	run_in(folder, tokenize, log);
	Mapped ids;
	if (!file_map(arena_printf(run, "%s/ids", folder), &ids, &error))
		fatal_environment("cannot read the ids of the text: %s", error);
	*n = ids.size / sizeof(int32_t);
	int32_t *result = ARENA_ARRAY(run, int32_t, *n + 1);
	memcpy(result, ids.data, *n * sizeof *result);
	file_unmap(&ids);
	temporary_remove(folder);
	return result;
}
