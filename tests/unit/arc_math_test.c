/*
 * math.h as the kernels of Arc have it and libclc's functions, from one bitcode (arc_math.cl):
 * compiled for this machine, their errors over sweeps against the C library's doubles and against
 * each other; as SPIR-V, that no function is left to the driver. arc_math_test [FILE]: FILE gets
 * the SPIR-V.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "targets/arc/arc.h"
#include "targets/arc/clc.h"

#include <llvm-c/ExecutionEngine.h>

static const char *spirv_path;

typedef float (*Function)(float x);

static double
silu(double x)
{
	return x / (1 + exp(-x));
}

static double
rcp(double x)
{
	return 1 / x;
}

static double
rsqrt(double x)
{
	return 1 / sqrt(x);
}

static double
pow17(double x)
{
	return pow(x, (double)1.7f);
}

/* ulp: most that an error may be; the contract's are those that math.h states. */
static const struct {
	const char *name;
	double (*exact)(double x);
	float from, to;
	double ulp_lathe, ulp_libclc;
} functions[] = {
	{"exp", exp, -87, 88, 1.01, 1},
	{"rcp", rcp, 0x1p-126f, 0x1p125f, 0.51, 0.5001},
	{"rsqrt", rsqrt, 0x1p-126f, 3e38f, 1.0, 1},
	{"silu", silu, -80, 80, 1.12, 3},
	{"exp2", exp2, -125, 127, 0, 1},
	{"log", log, 0x1p-126f, 3e38f, 0, 2},
	{"pow", pow17, 0x1p-60f, 0x1p60f, 0, 1},
	{"sin", sin, -1000, 1000, 0, 2},
	{"cos", cos, -1000, 1000, 0, 2},
	{"tanh", tanh, -20, 20, 0, 2.5},
	{"erf", erf, -4, 4, 0, 1},
};
enum { FUNCTIONS = sizeof functions / sizeof *functions, POINTS = 1 << 20 };

/* ---- modules ------------------------------------------------------------------------------ */

static LLVMModuleRef
load(LLVMContextRef c, const char *triple, LLVMTargetMachineRef tm)
{
	LLVMMemoryBufferRef b;
	LLVMModuleRef m;
	char *error = NULL;
	assert_false(LLVMCreateMemoryBufferWithContentsOfFile(ARC_MATH_BITCODE, &b, &error));
	assert_false(LLVMParseBitcodeInContext2(c, b, &m));
	LLVMDisposeMemoryBuffer(b);
	LLVMTargetDataRef layout = LLVMCreateTargetDataLayout(tm);
	LLVMSetTarget(m, triple);
	LLVMSetModuleDataLayout(m, layout);
	LLVMDisposeTargetData(layout);
	return m;
}

static void
optimise(LLVMModuleRef m, LLVMTargetMachineRef tm)
{
	LLVMPassBuilderOptionsRef o = LLVMCreatePassBuilderOptions();
	LLVMPassBuilderOptionsSetSLPVectorization(o, 0);
	LLVMPassBuilderOptionsSetLoopVectorization(o, 0);
	LLVMErrorRef e =
		LLVMRunPasses(m, "globaldce,default<O3>,globaldce,strip-dead-prototypes", tm, o);
	if (e)
		fail_msg("%s", LLVMGetErrorMessage(e));
	LLVMDisposePassBuilderOptions(o);
}

static void
export_function(LLVMModuleRef m, const char *source, const char *name)
{
	char words[64];
	snprintf(words, sizeof words, "%s_%s", source, name);
	LLVMValueRef f = LLVMGetNamedFunction(m, words);
	if (f)
		LLVMSetLinkage(f, LLVMExternalLinkage);
}

/* No kernels, functions and calls as of C. */
static void
make_native(LLVMModuleRef m)
{
	LLVMValueRef next;
	for (LLVMValueRef f = LLVMGetFirstFunction(m); f; f = next) {
		size_t length;
		const char *name = LLVMGetValueName2(f, &length);
		next = LLVMGetNextFunction(f);
		if (!strncmp(name, "kernel_", 7))
			LLVMDeleteFunction(f);
	}
	for (LLVMValueRef f = LLVMGetFirstFunction(m); f; f = LLVMGetNextFunction(f)) {
		if (LLVMGetIntrinsicID(f))
			continue;
		LLVMSetFunctionCallConv(f, LLVMCCallConv);
		for (LLVMBasicBlockRef b = LLVMGetFirstBasicBlock(f); b;
		     b = LLVMGetNextBasicBlock(b))
			for (LLVMValueRef i = LLVMGetFirstInstruction(b); i;
			     i = LLVMGetNextInstruction(i))
				if (LLVMIsACallInst(i))
					LLVMSetInstructionCallConv(i, LLVMCCallConv);
	}
}

/* ---- this machine ------------------------------------------------------------------------- */

static LLVMExecutionEngineRef
make_engine(LLVMContextRef c)
{
	const Llvm l = llvm_load();
	LLVMLinkInMCJIT();
	LLVMInitializeNativeTarget();
	LLVMInitializeNativeAsmPrinter();
	char *triple = LLVMGetDefaultTargetTriple(), *error = NULL;
	char *cpu = LLVMGetHostCPUName(), *features = LLVMGetHostCPUFeatures();
	LLVMTargetRef target;
	assert_false(LLVMGetTargetFromTriple(triple, &target, &error));
	LLVMTargetMachineRef tm =
		LLVMCreateTargetMachine(target, triple, cpu, features, LLVMCodeGenLevelAggressive,
					LLVMRelocPIC, LLVMCodeModelJITDefault);
	LLVMModuleRef m = load(c, triple, tm);
	assert_true(clc_link(&l, m));
	for (int i = 0; i < FUNCTIONS; i++) {
		export_function(m, "lathe", functions[i].name);
		export_function(m, "libclc", functions[i].name);
	}
	make_native(m);
	optimise(m, tm);
	LLVMDisposeTargetMachine(tm);
	struct LLVMMCJITCompilerOptions o;
	LLVMInitializeMCJITCompilerOptions(&o, sizeof o);
	o.OptLevel = 2;
	LLVMExecutionEngineRef engine;
	if (LLVMCreateMCJITCompilerForModule(&engine, m, &o, sizeof o, &error))
		fail_msg("%s", error);
	LLVMDisposeMessage(triple);
	LLVMDisposeMessage(cpu);
	LLVMDisposeMessage(features);
	return engine;
}

static Function
find(LLVMExecutionEngineRef engine, const char *source, const char *name)
{
	char words[64];
	snprintf(words, sizeof words, "%s_%s", source, name);
	const uint64_t at = LLVMGetFunctionAddress(engine, words);
	Function f = NULL;
	memcpy(&f, &at, sizeof f);
	return f;
}

/* Point i of a sweep: even over a range around 0, over the logarithm of a positive one. */
static float
point(float from, float to, int i)
{
	const double t = (double)i / (POINTS - 1);
	const double v = from > 0 ? from * pow((double)to / (double)from, t)
				  : from + ((double)to - (double)from) * t;
	return (float)v < from ? from : (float)v > to ? to : (float)v;
}

static double
ulp_of(double exact)
{
	int e;
	frexp(exact, &e);
	return ldexp(1, e - 24 < -149 ? -149 : e - 24);
}

static double
largest_error(Function f, double (*exact)(double x), float from, float to)
{
	double most = 0;
	for (int i = 0; i < POINTS; i++) {
		const float x = point(from, to, i);
		const double want = exact((double)x), e = fabs((double)f(x) - want) / ulp_of(want);
		if (fabs(want) >= 0x1p-126 && !(e <= most))
			most = e;
	}
	return most;
}

static double
largest_difference(Function a, Function b, float from, float to)
{
	double most = 0;
	for (int i = 0; i < POINTS; i++) {
		const float x = point(from, to, i), want = b(x);
		const double e = fabs((double)a(x) - (double)want) / ulp_of((double)want);
		if (fabsf(want) >= 0x1p-126f && !(e <= most))
			most = e;
	}
	return most;
}

static void
test_errors(void **state)
{
	(void)state;
	LLVMContextRef c = LLVMContextCreate();
	LLVMExecutionEngineRef engine = make_engine(c);
	printf("largest errors in ulp over %d points\n", POINTS);
	for (int i = 0; i < FUNCTIONS; i++) {
		const float from = functions[i].from, to = functions[i].to;
		Function theirs = find(engine, "libclc", functions[i].name);
		assert_non_null(theirs);
		const double of_theirs = largest_error(theirs, functions[i].exact, from, to);
		printf("%-6s libclc %6.3f", functions[i].name, of_theirs);
		assert_true(of_theirs <= functions[i].ulp_libclc);
		if (functions[i].ulp_lathe > 0) {
			Function ours = find(engine, "lathe", functions[i].name);
			assert_non_null(ours);
			const double of_ours = largest_error(ours, functions[i].exact, from, to);
			const double apart = largest_difference(ours, theirs, from, to);
			printf("  lathe %6.3f  apart %6.3f", of_ours, apart);
			assert_true(of_ours <= functions[i].ulp_lathe);
			assert_true(apart <= 1 + functions[i].ulp_lathe + functions[i].ulp_libclc);
		}
		printf("\n");
	}
	LLVMDisposeExecutionEngine(engine);
	LLVMContextDispose(c);
}

/* ---- SPIR-V ------------------------------------------------------------------------------- */

static void
test_nothing_left(void **state)
{
	(void)state;
	static const char triple[] = "spirv64v1.2-unknown-unknown";
	static const char *const options[] = {"test", "--disable-cgp",
					      "--spirv-ext=+SPV_INTEL_subgroups"};
	const Llvm l = llvm_load();
	Arena *a = arena_new();
	LLVMTargetRef target;
	LLVMMemoryBufferRef out;
	char *error = NULL;
	LLVMParseCommandLineOptions(3, options, "");
	LLVMInitializeSPIRVTargetInfo();
	LLVMInitializeSPIRVTarget();
	LLVMInitializeSPIRVTargetMC();
	LLVMInitializeSPIRVAsmPrinter();
	assert_false(LLVMGetTargetFromTriple(triple, &target, &error));
	LLVMTargetMachineRef tm =
		LLVMCreateTargetMachine(target, triple, "", "", LLVMCodeGenLevelAggressive,
					LLVMRelocDefault, LLVMCodeModelDefault);
	LLVMContextRef c = LLVMContextCreate();
	LLVMModuleRef m = load(c, triple, tm);
	assert_true(clc_link(&l, m));
	optimise(m, tm);
	assert_false(clc_link(&l, m)); /* nothing is wanted any more */
	if (LLVMTargetMachineEmitToMemoryBuffer(tm, m, LLVMObjectFile, &error, &out))
		fail_msg("%s", error);
	const ArcBinary binary = {(const uint8_t *)LLVMGetBufferStart(out), LLVMGetBufferSize(out)};
	if (spirv_path) {
		FILE *f = fopen(spirv_path, "wb");
		assert_non_null(f);
		assert_int_equal(fwrite(binary.bytes, 1, binary.size, f), binary.size);
		fclose(f);
	}
	size_t word;
	const char *refusal = arc_refusal(a, binary, MATH_LIBCLC, &word);
	if (refusal)
		fail_msg("word %zu: %s", word, refusal);
	/* libclc's divisions are outside the contract. */
	assert_non_null(arc_refusal(a, binary, MATH_CONTRACT, &word));
	LLVMDisposeMemoryBuffer(out);
	LLVMDisposeModule(m);
	LLVMDisposeTargetMachine(tm);
	LLVMContextDispose(c);
	arena_free(a);
}

int
main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_nothing_left),
		cmocka_unit_test(test_errors),
	};
	spirv_path = argc > 1 ? argv[1] : NULL;
	if (!arc_libclc()) {
		printf("skipped: lathe was built without libclc\n");
		return 77;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
