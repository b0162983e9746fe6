/* SPIRV-Tools in process: a module is valid, and has only the operations of operations.def. */
#include "arc.h"

#include <spirv-tools/libspirv.h>

#include <stdio.h>
#include <string.h>

enum { HEADER_WORDS = 5, OP_EXT_INST = 12, OP_DECORATE = 71, STRING_MAX = 256 };
enum { DECORATION_LINKAGE = 41, LINKAGE_IMPORT = 1 };
enum { EXT_INST_FUNCTION = 4, DECORATION = 2, DECORATION_NAME = 3 }; /* words */

typedef struct Row {
	unsigned number;
	Math math;
	const char *name;
} Row;

static const Row operations[] = {
#define OPERATION(number, name, math) {number, MATH_##math, name},
#include "operations.def"
};
static const Row functions[] = {
#define FUNCTION(number, name, math) {number, MATH_##math, name},
#include "operations.def"
};
static const Row imports[] = {
#define IMPORT(name, math) {0, MATH_##math, name},
#include "operations.def"
};
static const struct {
	unsigned number;
	const char *reason;
} refused[] = {
#define REFUSED(number, reason) {number, reason},
#include "operations.def"
};

/* ---- the scan ----------------------------------------------------------------------------- */

static const Row *
row_of(const Row *rows, size_t n, unsigned number)
{
	for (size_t i = 0; i < n; i++)
		if (rows[i].number == number)
			return &rows[i];
	return NULL;
}

static const char *
outside(Arena *a, const char *kind, const char *name, const Row *row, const char *reason)
{
	if (row)
		return arena_printf(a, "%s %s is outside the contract: --math=libclc alone has it",
				    kind, name);
	return arena_printf(a, "%s %s is outside the contract%s%s", kind, name, reason ? ": " : "",
			    reason ? reason : "");
}

/* Names in C of Itanium's `_Z4sqrtf`, or the name itself. */
static const char *
unmangled(Arena *a, const char *name)
{
	size_t n = 0;
	const char *s = name;
	if (strncmp(s, "_Z", 2))
		return name;
	for (s += 2; *s >= '0' && *s <= '9' && n < STRING_MAX; s++)
		n = 10 * n + (size_t)(*s - '0');
	return n && n <= strlen(s) ? arena_strndup(a, s, n) : name;
}

/* A decoration that says that a function is the driver's. */
static const char *
check_import(Arena *a, const uint32_t *words, size_t n, Math math)
{
	char name[STRING_MAX];
	size_t length = 0, at = DECORATION_NAME;
	if (n <= DECORATION_NAME || words[DECORATION] != DECORATION_LINKAGE ||
	    words[n - 1] != LINKAGE_IMPORT)
		return NULL;
	for (; at < n - 1 && length + 4 < sizeof name; at++, length += 4)
		for (int i = 0; i < 4; i++)
			name[length + (size_t)i] = (char)(words[at] >> 8 * i);
	name[length] = 0;
	const char *plain = unmangled(a, name);
	for (size_t i = 0; i < sizeof imports / sizeof *imports; i++)
		if (!strncmp(imports[i].name, plain, strlen(imports[i].name)))
			return imports[i].math <= math
				       ? NULL
				       : outside(a, "the function", plain, &imports[i], NULL);
	return outside(a, "the function", plain, NULL, "nothing defines it");
}

static const char *
check_instruction(Arena *a, const uint32_t *words, Math math)
{
	const unsigned op = words[0] & 0xffff, n = words[0] >> 16;
	const Row *row = row_of(operations, sizeof operations / sizeof *operations, op);
	const char *reason = NULL;
	if (!row || row->math > math) {
		for (size_t i = 0; i < sizeof refused / sizeof *refused; i++)
			reason = refused[i].number == op ? refused[i].reason : reason;
		return outside(a, "the operation", arena_printf(a, "Op%s", spvOpcodeString(op)),
			       row, reason);
	}
	if (op == OP_DECORATE)
		return check_import(a, words, n, math);
	if (op != OP_EXT_INST)
		return NULL;
	const unsigned function = n > EXT_INST_FUNCTION ? words[EXT_INST_FUNCTION] : 0;
	row = row_of(functions, sizeof functions / sizeof *functions, function);
	if (row && row->math <= math)
		return NULL;
	return outside(a, "the driver's function",
		       row ? row->name : arena_printf(a, "%u of OpenCL.std", function), row, NULL);
}

/* ---- validation --------------------------------------------------------------------------- */

const char *
arc_refusal(Arena *a, ArcBinary m, Math math, size_t *word)
{
	spv_context c = spvContextCreate(SPV_ENV_OPENCL_2_2);
	spv_validator_options o = spvValidatorOptionsCreate();
	spv_const_binary_t b = {(const uint32_t *)(const void *)m.bytes, m.size / 4};
	spv_diagnostic d = NULL;
	const char *refusal = NULL;
	*word = 0;
	if (spvValidateWithOptions(c, o, &b, &d) != SPV_SUCCESS) {
		*word = d ? d->position.index : 0;
		refusal = arena_printf(a, "is not valid: %s", d ? d->error : "no reason given");
	}
	for (size_t at = HEADER_WORDS; at < b.wordCount && !refusal; at += b.code[at] >> 16) {
		*word = at;
		refusal = check_instruction(a, b.code + at, math);
	}
	spvDiagnosticDestroy(d);
	spvValidatorOptionsDestroy(o);
	spvContextDestroy(c);
	return refusal;
}

/* The disassembly, null where there is none. With offsets: a line an instruction, with its byte. */
static char *
disassemble(Arena *a, ArcBinary m, bool offsets)
{
	spv_context c = spvContextCreate(SPV_ENV_OPENCL_2_2);
	spv_text t = NULL;
	char *s = NULL;
	const unsigned options = SPV_BINARY_TO_TEXT_OPTION_FRIENDLY_NAMES |
				 (offsets ? SPV_BINARY_TO_TEXT_OPTION_SHOW_BYTE_OFFSET |
						    SPV_BINARY_TO_TEXT_OPTION_NO_HEADER
					  : SPV_BINARY_TO_TEXT_OPTION_INDENT);
	if (spvBinaryToText(c, (const uint32_t *)(const void *)m.bytes, m.size / 4, options, &t,
			    NULL) == SPV_SUCCESS &&
	    t)
		s = arena_strndup(a, t->str, t->length);
	spvTextDestroy(t);
	spvContextDestroy(c);
	return s;
}

/* The lines of the disassembly around the word that an error is about. */
static void
show(Arena *a, ArcBinary m, size_t word)
{
	enum { AROUND = 6 };
	const uint32_t *code = (const uint32_t *)(const void *)m.bytes;
	const char *s = disassemble(a, m, true);
	size_t line = 0, at = HEADER_WORDS;
	for (; at < m.size / 4 && at < word && (code[at] >> 16); line++)
		at += code[at] >> 16;
	for (size_t i = 0; s && *s && i < line + AROUND; i++) {
		const char *end = s;
		while (*end && *end != '\n')
			end++;
		if (i + AROUND > line)
			fprintf(stderr, "%.*s\n", (int)(end - s), s);
		s = *end ? end + 1 : end;
	}
}

bool
arc_check(Arena *a, const char *name, ArcBinary m, Math math)
{
	size_t word;
	const char *refusal = arc_refusal(a, m, math, &word);
	if (!refusal)
		return true;
	show(a, m, word);
	fprintf(stderr, "lathe: the module of the %s kernels, word %zu: %s\n", name, word, refusal);
	return false;
}

Text *
arc_disassembly(Arena *a, ArcBinary m)
{
	Text *t = text_new(a);
	const char *s = disassemble(a, m, false);
	if (!s)
		BUG("a valid module has no disassembly");
	text_add(t, s, strlen(s));
	return t;
}
