/* SPIRV-Tools in process: a module is valid, and has only the operations of the contract. */
#include "arc.h"

#include <spirv-tools/libspirv.h>

#include <stdio.h>

/*
 * The operations that a module may have (numbers of the SPIR-V specification). Not among them is
 * what rounds otherwise on another machine or in another order: division, square roots, the
 * driver's functions, reductions. Carry operations are left out because drivers do not read them.
 */
static const struct {
	uint16_t first, last;
} allowed[] = {
	{3, 8},	      /* source, names, strings, lines */
	{10, 17},     /* extensions, memory model, entry points, modes, capabilities; OpExtInst */
	{19, 33},     /* types */
	{41, 46},     /* constants */
	{54, 57},     /* functions */
	{59, 59},     /* variables */
	{61, 63},     /* loads, stores, copies of memory */
	{65, 67},     /* access chains */
	{70, 72},     /* in bounds; decorations */
	{79, 83},     /* vectors and composites as they stand */
	{111, 114},   /* integers to floats, widths of integers */
	{117, 124},   /* pointers, bit casts */
	{126, 135},   /* negations, sums, products, integer division */
	{137, 139},   /* of unsigned, remainders */
	{154, 191},   /* compares, logic, selections */
	{194, 204},   /* shifts and bits */
	{224, 225},   /* barriers */
	{245, 255},   /* phi, branches, labels, ends */
	{317, 317},   /* no line */
	{4450, 4455}, /* integer dot products */
	{5571, 5577}, /* shuffles and blocks of sub-groups */
};
enum { OP_EXT_INST = 12, EXT_INST_FUNCTION = 4 };
static const unsigned allowed_functions[] = {
	23,  /* fabs */
	26,  /* fma */
	156, /* s_max */
	157, /* u_max */
	158, /* s_min */
	159, /* u_min */
};

/* The lines of the disassembly around the word that an error is about. */
static void
show(spv_context c, spv_const_binary b, size_t word)
{
	enum { AROUND = 6 };
	spv_text t = NULL;
	const unsigned options = SPV_BINARY_TO_TEXT_OPTION_SHOW_BYTE_OFFSET |
				 SPV_BINARY_TO_TEXT_OPTION_FRIENDLY_NAMES |
				 SPV_BINARY_TO_TEXT_OPTION_NO_HEADER;
	if (spvBinaryToText(c, b->code, b->wordCount, options, &t, NULL) != SPV_SUCCESS || !t)
		return;
	size_t line = 0, at = 5; /* instructions follow the header's five words */
	for (; at < b->wordCount && at < word && (b->code[at] >> 16); line++)
		at += b->code[at] >> 16;
	const char *s = t->str;
	for (size_t i = 0; s && *s && i < line + AROUND; i++) {
		const char *end = s;
		while (*end && *end != '\n')
			end++;
		if (i + AROUND > line)
			fprintf(stderr, "%.*s\n", (int)(end - s), s);
		s = *end ? end + 1 : end;
	}
	spvTextDestroy(t);
}

static bool
is_allowed(const uint32_t *words)
{
	const unsigned op = words[0] & 0xffff;
	bool known = false;
	for (size_t i = 0; i < sizeof allowed / sizeof *allowed; i++)
		known |= op >= allowed[i].first && op <= allowed[i].last;
	if (!known || op != OP_EXT_INST)
		return known;
	for (size_t i = 0; i < sizeof allowed_functions / sizeof *allowed_functions; i++)
		if (allowed_functions[i] == words[EXT_INST_FUNCTION])
			return true;
	return false;
}

void
arc_check(const char *name, ArcBinary m)
{
	spv_context c = spvContextCreate(SPV_ENV_OPENCL_2_2);
	spv_validator_options o = spvValidatorOptionsCreate();
	spv_const_binary_t b = {(const uint32_t *)(const void *)m.bytes, m.size / 4};
	spv_diagnostic d = NULL;
	if (spvValidateWithOptions(c, o, &b, &d) != SPV_SUCCESS) {
		show(c, &b, d ? d->position.index : 0);
		BUG("arc module %s is not valid: %s", name, d ? d->error : "no reason given");
	}
	for (size_t at = 5; at < b.wordCount; at += b.code[at] >> 16) {
		INVARIANT(b.code[at] >> 16);
		if (!is_allowed(b.code + at)) {
			show(c, &b, at);
			BUG("arc module %s: operation %u at word %zu is outside the contract", name,
			    b.code[at] & 0xffff, at);
		}
	}
	spvDiagnosticDestroy(d);
	spvValidatorOptionsDestroy(o);
	spvContextDestroy(c);
}
