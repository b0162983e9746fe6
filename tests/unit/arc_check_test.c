/*
 * The scan of SPIR-V (targets/arc/check.c): names of operations.def are SPIRV-Tools' own, and a
 * valid module that is spoiled by one operation is refused for it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "targets/arc/arc.h"

/* The header defines a constant that check.c has too. */
#define kDefaultMaxIdBound arc_check_test_bound
#include <spirv-tools/libspirv.h>

/* A kernel that loads a float, does `body` to it and stores the result; `decoration` among the
 * decorations, `declaration` behind the types. */
static const char module_text[] = "OpCapability Addresses\n"
				  "OpCapability Kernel\n"
				  "OpCapability Linkage\n"
				  "OpCapability Int64\n"
				  "OpCapability Groups\n"
				  "%%std = OpExtInstImport \"OpenCL.std\"\n"
				  "OpMemoryModel Physical64 OpenCL\n"
				  "OpEntryPoint Kernel %%kernel \"kernel\"\n"
				  "%s\n"
				  "%%void = OpTypeVoid\n"
				  "%%uint = OpTypeInt 32 0\n"
				  "%%float = OpTypeFloat 32\n"
				  "%%two = OpTypeStruct %%uint %%uint\n"
				  "%%group = OpConstant %%uint 2\n"
				  "%%pointer = OpTypePointer CrossWorkgroup %%float\n"
				  "%%type = OpTypeFunction %%void %%pointer\n"
				  "%%unary = OpTypeFunction %%float %%float\n"
				  "%s\n"
				  "%%kernel = OpFunction %%void None %%type\n"
				  "%%at = OpFunctionParameter %%pointer\n"
				  "%%entry = OpLabel\n"
				  "%%x = OpLoad %%float %%at Aligned 4\n"
				  "%s\n"
				  "OpStore %%at %%y Aligned 4\n"
				  "OpReturn\n"
				  "OpFunctionEnd\n";

typedef struct Case {
	const char *body, *decoration, *declaration;
	const char *contract, *libclc; /* words of the refusal under each math; null: none */
} Case;

#define IMPORTED(name)                                                                  \
	"OpDecorate %f LinkageAttributes \"" name "\" Import",                          \
		"%f = OpFunction %float None %unary\n%p = OpFunctionParameter %float\n" \
		"OpFunctionEnd"

static const Case cases[] = {
	{"%y = OpFMul %float %x %x", "", "", NULL, NULL},
	{"%y = OpExtInst %float %std fma %x %x %x", "", "", NULL, NULL},
	{"%y = OpExtInst %float %std rint %x", "", "", NULL, NULL},
	{"%y = OpFDiv %float %x %x", "", "", "OpFDiv", NULL},
	{"%i = OpConvertFToS %uint %x\n%y = OpConvertSToF %float %i", "", "", "OpConvertFToS",
	 NULL},
	{"%y = OpFRem %float %x %x", "", "", "OpFRem", "OpFRem"},
	{"%y = OpExtInst %float %std sqrt %x", "", "", "61 of OpenCL.std", "61 of OpenCL.std"},
	{"%y = OpExtInst %float %std rsqrt %x", "", "", "56 of OpenCL.std", "56 of OpenCL.std"},
	{"%y = OpExtInst %float %std exp %x", "", "", "19 of OpenCL.std", "19 of OpenCL.std"},
	{"%y = OpExtInst %float %std native_exp %x", "", "", "of OpenCL.std", "of OpenCL.std"},
	{"%y = OpExtInst %float %std mad %x %x %x", "", "", "42 of OpenCL.std", "42 of OpenCL.std"},
	{"%y = OpExtInst %float %std copysign %x %x", "", "", "copysign", NULL},
	{"%y = OpGroupFAdd %float %group Reduce %x", "", "", "order of a reduction", "reduction"},
	{"%i = OpBitcast %uint %x\n%c = OpIAddCarry %two %i %i\n"
	 "%j = OpCompositeExtract %uint %c 0\n%y = OpBitcast %float %j",
	 "", "", "OpIAddCarry", "OpIAddCarry"},
	{"%y = OpFunctionCall %float %f %x", IMPORTED("_Z3expf"), "exp is outside",
	 "nothing defines"},
	{"%y = OpFunctionCall %float %f %x", IMPORTED("helper"), "helper is outside", "helper"},
	{"%y = OpFunctionCall %float %f %x", IMPORTED("__builtin_IB_dp4a_ss"), NULL, NULL},
	{"%y = OpFMul %uint %x %x", "", "", "not valid", "not valid"},
};

static void
check_case(const Case *c, Arena *a)
{
	char text[4096];
	spv_context context = spvContextCreate(SPV_ENV_UNIVERSAL_1_2);
	spv_binary b = NULL;
	spv_diagnostic d = NULL;
	snprintf(text, sizeof text, module_text, c->decoration, c->declaration, c->body);
	if (spvTextToBinary(context, text, strlen(text), &b, &d) != SPV_SUCCESS)
		fail_msg("%s: %s", c->body, d ? d->error : "no reason given");
	const ArcBinary m = {(const uint8_t *)b->code, b->wordCount * 4};
	for (int math = 0; math < MATHS; math++) {
		const char *want = math == MATH_CONTRACT ? c->contract : c->libclc;
		size_t word = 0;
		const char *refusal = arc_refusal(a, m, (Math)math, &word);
		if (!want != !refusal || (want && !strstr(refusal, want)))
			fail_msg("%s with %s: %s, not %s", c->body, math_names[math],
				 refusal ? refusal : "taken", want ? want : "taken");
		if (refusal)
			assert_in_range(word, 5, b->wordCount - 1);
	}
	spvBinaryDestroy(b);
	spvContextDestroy(context);
}

static void
test_refusals(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		Arena *a = arena_new();
		check_case(&cases[i], a);
		arena_free(a);
	}
}

static void
test_names(void **state)
{
	(void)state;
	static const struct {
		unsigned number;
		const char *name;
	} rows[] = {
#define OPERATION(number, name, math) {number, name},
#include "targets/arc/operations.def"
	};
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
		assert_string_equal(spvOpcodeString(rows[i].number), rows[i].name);
}

/* The number that the assembler gives a function; they take one, two or three operands. */
static unsigned
number_of(const char *function)
{
	static const char *const operands[] = {"%4", "%4 %4", "%4 %4 %4"};
	spv_context c = spvContextCreate(SPV_ENV_UNIVERSAL_1_2);
	unsigned number = 0;
	for (size_t i = 0; i < sizeof operands / sizeof *operands; i++) {
		char text[256];
		spv_binary b = NULL;
		snprintf(text, sizeof text,
			 "%%1 = OpExtInstImport \"OpenCL.std\"\n%%3 = OpExtInst %%2 %%1 %s %s\n",
			 function, operands[i]);
		if (spvTextToBinary(c, text, strlen(text), &b, NULL) == SPV_SUCCESS)
			number = b->code[5 + (b->code[5] >> 16) + 4];
		spvBinaryDestroy(b);
	}
	spvContextDestroy(c);
	return number;
}

static void
test_functions(void **state)
{
	(void)state;
	static const struct {
		unsigned number;
		const char *name;
	} rows[] = {
#define FUNCTION(number, name, math) {number, name},
#include "targets/arc/operations.def"
	};
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
		assert_int_equal(number_of(rows[i].name), rows[i].number);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_names),
		cmocka_unit_test(test_functions),
		cmocka_unit_test(test_refusals),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
