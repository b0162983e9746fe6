/*
 * Entries as SPIR-V by the C API of LLVM. A family's template comes as bitcode; each entry becomes
 * a kernel whose calls are inlined, so that the optimiser sees literals wherever the CPU's C
 * compiler would.
 */
#include "arc.h"

#include <llvm-c/Analysis.h>
#include <llvm-c/BitReader.h>
#include <llvm-c/Core.h>
#include <llvm-c/ErrorHandling.h>
#include <llvm-c/Support.h>
#include <llvm-c/Target.h>
#include <llvm-c/TargetMachine.h>
#include <llvm-c/Transforms/PassBuilder.h>

#include <string.h>

/* 1.2 is what both the driver's reader and sub-group sizes agree on (1.0 has no such mode). */
static const char triple[] = "spirv64v1.2-unknown-unknown";
static const char passes[] = "default<O3>,globaldce,strip-dead-prototypes";

enum { GLOBAL = 1, CONSTANT = 2, LOCAL = 3 };

typedef struct Module {
	Arena *a;
	const char *family;
	LLVMContextRef c;
	LLVMModuleRef m;
	LLVMBuilderRef b;
	LLVMTypeRef i32, i64, f32, pointer;
} Module;

const char *
arc_missing(void)
{
	return NULL;
}

/* LLVM ends the process behind this handler, so it has to say everything. */
static void
on_fatal(const char *reason)
{
	BUG("LLVM: %s", reason);
}

static void
fail(const Module *g, const char *what, char *error)
{
	BUG("arc module %s: %s: %s", g->family, what, error ? error : "no reason given");
}

/* Options of the backend are its process's: the same for every module. CodeGenPrepare makes
 * carry operations that drivers do not read. */
static LLVMTargetMachineRef
machine_new(const Module *g)
{
	static const char *const options[] = {
		"lathe", "--disable-cgp",
		"--spirv-ext=+SPV_INTEL_subgroups,+SPV_KHR_integer_dot_product"};
	LLVMTargetRef target;
	char *error = NULL;
	LLVMParseCommandLineOptions(3, options, "");
	LLVMInitializeSPIRVTargetInfo();
	LLVMInitializeSPIRVTarget();
	LLVMInitializeSPIRVTargetMC();
	LLVMInitializeSPIRVAsmPrinter();
	if (LLVMGetTargetFromTriple(triple, &target, &error))
		fail(g, "no target", error);
	return LLVMCreateTargetMachine(target, triple, "", "", LLVMCodeGenLevelAggressive,
				       LLVMRelocDefault, LLVMCodeModelDefault);
}

static void
load(Module *g)
{
	size_t size;
	const char *bitcode = template_text(arena_printf(g->a, "%s.bc", g->family), &size);
	LLVMMemoryBufferRef b;
	if (!bitcode)
		BUG("no bitcode of the template %s", g->family);
	b = LLVMCreateMemoryBufferWithMemoryRange(bitcode, size, g->family, 0);
	if (LLVMParseBitcodeInContext2(g->c, b, &g->m))
		fail(g, "parse", NULL);
	LLVMDisposeMemoryBuffer(b);
	LLVMSetModuleIdentifier(g->m, g->family, strlen(g->family));
}

/* ---- an entry ----------------------------------------------------------------------------- */

typedef struct Body {
	const ArcEntry *entry;
	LLVMValueRef kernel, local, block;
} Body;

static LLVMValueRef
moved(const Module *g, LLVMValueRef p, int64_t bytes)
{
	LLVMValueRef n = LLVMConstInt(g->i64, (unsigned long long)bytes, 0);
	return bytes ? LLVMBuildInBoundsGEP2(g->b, LLVMInt8TypeInContext(g->c), p, &n, 1, "") : p;
}

static LLVMValueRef
function(const Module *g, const char *name)
{
	LLVMValueRef f = LLVMGetNamedFunction(g->m, name);
	if (!f)
		BUG("template %s has no function %s", g->family, name);
	return f;
}

static LLVMValueRef
build_call(const Module *g, const char *name, LLVMValueRef *arguments, unsigned n)
{
	LLVMValueRef f = function(g, name);
	LLVMTypeRef type = LLVMGlobalGetValueType(f);
	if (LLVMCountParams(f) != n)
		BUG("%s takes %u arguments and not %u", name, LLVMCountParams(f), n);
	LLVMValueRef c = LLVMBuildCall2(g->b, type, f, arguments, n, "");
	LLVMSetInstructionCallConv(c, LLVMGetFunctionCallConv(f));
	return c;
}

static LLVMValueRef
by_block(const Module *g, Body *body, const ArcByBlock *v)
{
	LLVMTypeRef type = v->wide ? g->i64 : g->i32;
	LLVMValueRef r = LLVMConstInt(type, (unsigned long long)v->values[v->n - 1], 0);
	if (!body->block)
		body->block = build_call(g, "linear_block", NULL, 0);
	for (int i = v->n - 1; i-- > 0;) {
		LLVMValueRef below = LLVMBuildICmp(g->b, LLVMIntULT, body->block,
						   LLVMConstInt(g->i32, v->ends[i], 0), "");
		LLVMValueRef value = LLVMConstInt(type, (unsigned long long)v->values[i], 0);
		r = LLVMBuildSelect(g->b, below, value, r, "");
	}
	return r;
}

/* A table of the module. */
static LLVMValueRef
table(const Module *g, const ArcArgument *v)
{
	const bool words = v->kind == ARC_WORDS;
	LLVMTypeRef type = words ? LLVMInt16TypeInContext(g->c) : g->f32;
	LLVMValueRef *e = ARENA_ARRAY(g->a, LLVMValueRef, v->value);
	for (int64_t i = 0; i < v->value; i++)
		e[i] = words ? LLVMConstInt(type, ((const uint32_t *)v->table)[i], 0)
			     : LLVMConstReal(type, (double)((const float *)v->table)[i]);
	LLVMValueRef array = LLVMConstArray2(type, e, (uint64_t)v->value);
	LLVMValueRef t = LLVMAddGlobalInAddressSpace(g->m, LLVMTypeOf(array), "table", CONSTANT);
	LLVMSetInitializer(t, array);
	LLVMSetGlobalConstant(t, 1);
	LLVMSetLinkage(t, LLVMInternalLinkage);
	LLVMSetUnnamedAddress(t, LLVMGlobalUnnamedAddr);
	LLVMSetAlignment(t, 4);
	return t;
}

static LLVMValueRef
argument(const Module *g, Body *body, const ArcArgument *v)
{
	switch (v->kind) {
	case ARC_INT:
		return LLVMConstInt(g->i32, (unsigned long long)v->value, 1);
	case ARC_LONG:
		return LLVMConstInt(g->i64, (unsigned long long)v->value, 0);
	case ARC_FLOAT:
		return LLVMConstReal(g->f32, (double)v->number);
	case ARC_PARAMETER:
		return moved(g, LLVMGetParam(body->kernel, (unsigned)v->value), v->offset);
	case ARC_CONSTANT:
		return moved(g, LLVMGetParam(body->kernel, ARC_PARAMETERS + (unsigned)v->value),
			     v->offset);
	case ARC_LOCAL:
		return moved(g, body->local, 4 * v->value);
	case ARC_FLOATS:
	case ARC_WORDS:
		return table(g, v);
	case ARC_BY_BLOCK:
		return by_block(g, body, v->by_block);
	}
	BUG("argument of kind %d", (int)v->kind);
}

static void
set_numbers(const Module *g, LLVMValueRef f, const char *kind, const unsigned *v, size_t n)
{
	LLVMMetadataRef m[3];
	for (size_t i = 0; i < n; i++)
		m[i] = LLVMValueAsMetadata(LLVMConstInt(g->i32, v[i], 0));
	LLVMGlobalSetMetadata(f, LLVMGetMDKindIDInContext(g->c, kind, (unsigned)strlen(kind)),
			      LLVMMDNodeInContext2(g->c, m, n));
}

static void
set_attribute(const Module *g, LLVMValueRef f, unsigned parameter, const char *name, uint64_t v)
{
	const unsigned kind = LLVMGetEnumAttributeKindForName(name, strlen(name));
	LLVMAddAttributeAtIndex(f, parameter + 1, LLVMCreateEnumAttribute(g->c, kind, v));
}

static LLVMValueRef
declare(const Module *g, const ArcEntry *n)
{
	LLVMTypeRef types[ARC_PARAMETERS + STACK_MAX + ARC_ARGUMENTS_MAX];
	const int count = ARC_PARAMETERS + n->n_constants;
	INVARIANT(n->n_constants < STACK_MAX + ARC_ARGUMENTS_MAX);
	for (int i = 0; i < count; i++)
		types[i] = i == ARC_CAPACITY || i == ARC_CTX ? g->i32 : g->pointer;
	LLVMTypeRef type = LLVMFunctionType(LLVMVoidTypeInContext(g->c), types, (unsigned)count, 0);
	LLVMValueRef f = LLVMAddFunction(g->m, n->name, type);
	LLVMSetFunctionCallConv(f, LLVMSPIRKERNELCallConv);
	for (int i = 0; i < count; i++)
		if (types[i] == g->pointer) {
			set_attribute(g, f, (unsigned)i, "noalias", 0);
			set_attribute(g, f, (unsigned)i, "align", 64);
		}
	set_numbers(g, f, "reqd_work_group_size",
		    (unsigned[]){ARC_LANES * (unsigned)n->sub_groups, 1, 1}, 3);
	set_numbers(g, f, "intel_reqd_sub_group_size", (unsigned[]){ARC_LANES}, 1);
	return f;
}

static void
build_entry(const Module *g, const ArcEntry *n)
{
	Body body = {.entry = n, .kernel = declare(g, n)};
	if (n->local_floats) {
		LLVMTypeRef type = LLVMArrayType2(g->f32, (unsigned)n->local_floats);
		body.local = LLVMAddGlobalInAddressSpace(
			g->m, type, arena_printf(g->a, "%s_local", n->name), LOCAL);
		LLVMSetInitializer(body.local, LLVMGetUndef(type));
		LLVMSetLinkage(body.local, LLVMInternalLinkage);
		LLVMSetAlignment(body.local, 64);
	}
	LLVMPositionBuilderAtEnd(g->b, LLVMAppendBasicBlockInContext(g->c, body.kernel, "entry"));
	for (int i = 0; i < n->n_calls; i++) {
		const ArcCall *c = &n->calls[i];
		LLVMValueRef arguments[ARC_ARGUMENTS_MAX];
		for (int k = 0; k < c->n; k++)
			arguments[k] = argument(g, &body, &c->arguments[k]);
		build_call(g, c->function, arguments, (unsigned)c->n);
	}
	LLVMBuildRetVoid(g->b);
}

/* ---- base matrices ------------------------------------------------------------------------ */

/* One program in the block at work: base_program's x, stride and scale. */
static void
build_codelet(const Module *g, LLVMValueRef f, const Codelet *c)
{
	LLVMValueRef x = LLVMGetParam(f, 1), stride = LLVMGetParam(f, 2), plus = LLVMGetParam(f, 3);
	LLVMValueRef minus = LLVMBuildFNeg(g->b, plus, "");
	LLVMValueRef *v = ARENA_ARRAY(g->a, LLVMValueRef, c->order + c->n_steps);
	LLVMValueRef *at = ARENA_ARRAY(g->a, LLVMValueRef, c->order);
	for (uint32_t i = 0; i < c->order; i++) {
		LLVMValueRef n = LLVMBuildMul(g->b, stride, LLVMConstInt(g->i32, i, 0), "");
		at[i] = LLVMBuildInBoundsGEP2(g->b, g->f32, x, &n, 1, "");
		v[i] = LLVMBuildLoad2(g->b, g->f32, at[i], "");
	}
	for (uint32_t k = 0; k < c->n_steps; k++) {
		const CodeletStep *s = &c->steps[k];
		v[c->order + k] = s->minus ? LLVMBuildFSub(g->b, v[s->a], v[s->b], "")
					   : LLVMBuildFAdd(g->b, v[s->a], v[s->b], "");
	}
	for (uint32_t i = 0; i < c->order; i++) {
		const CodeletOutput *o = &c->outputs[i];
		LLVMBuildStore(g->b,
			       LLVMBuildFMul(g->b, v[o->value], o->negative ? minus : plus, ""),
			       at[i]);
	}
}

/* The body of a template's base_program: a switch over the programs, which inlining decides. */
static void
build_codelets(const Module *g, const ArcProgram *p)
{
	LLVMValueRef f = LLVMGetNamedFunction(g->m, "base_program");
	if (!f)
		return;
	LLVMBasicBlockRef entry = LLVMAppendBasicBlockInContext(g->c, f, "entry");
	LLVMBasicBlockRef end = LLVMAppendBasicBlockInContext(g->c, f, "end");
	LLVMPositionBuilderAtEnd(g->b, entry);
	LLVMValueRef choice =
		LLVMBuildSwitch(g->b, LLVMGetParam(f, 0), end, (unsigned)p->n_codelets);
	for (int i = 0; i < p->n_codelets; i++) {
		LLVMBasicBlockRef block = LLVMAppendBasicBlockInContext(g->c, f, "");
		LLVMAddCase(choice, LLVMConstInt(g->i32, (unsigned)i, 0), block);
		LLVMPositionBuilderAtEnd(g->b, block);
		build_codelet(g, f, p->codelets[i]);
		LLVMBuildBr(g->b, end);
	}
	LLVMPositionBuilderAtEnd(g->b, end);
	LLVMBuildRetVoid(g->b);
	LLVMAddAttributeAtIndex(
		f, (LLVMAttributeIndex)LLVMAttributeFunctionIndex,
		LLVMCreateEnumAttribute(g->c, LLVMGetEnumAttributeKindForName("alwaysinline", 12),
					0));
}

/* ---- a module ----------------------------------------------------------------------------- */

static void
optimise(const Module *g, LLVMTargetMachineRef tm)
{
	LLVMPassBuilderOptionsRef o = LLVMCreatePassBuilderOptions();
	char *error = NULL;
	for (LLVMValueRef f = LLVMGetFirstFunction(g->m); f; f = LLVMGetNextFunction(f))
		if (!LLVMIsDeclaration(f) && LLVMGetFunctionCallConv(f) != LLVMSPIRKERNELCallConv)
			LLVMSetLinkage(f, LLVMInternalLinkage);
	if (LLVMVerifyModule(g->m, LLVMReturnStatusAction, &error))
		fail(g, "verify", error);
	LLVMDisposeMessage(error);
	LLVMPassBuilderOptionsSetSLPVectorization(o, 0);
	LLVMPassBuilderOptionsSetLoopVectorization(o, 0);
	LLVMErrorRef e = LLVMRunPasses(g->m, passes, tm, o);
	if (e)
		fail(g, "passes", LLVMGetErrorMessage(e));
	LLVMDisposePassBuilderOptions(o);
}

ArcBinary
arc_module(Arena *a, const ArcProgram *p, ArcFamily family)
{
	Module g = {.a = a, .family = arc_families[family], .c = LLVMContextCreate()};
	LLVMMemoryBufferRef out;
	char *error = NULL;
	LLVMInstallFatalErrorHandler(on_fatal);
	LLVMContextSetDiscardValueNames(g.c, 1);
	LLVMTargetMachineRef tm = machine_new(&g);
	load(&g);
	g.b = LLVMCreateBuilderInContext(g.c);
	g.i32 = LLVMInt32TypeInContext(g.c);
	g.i64 = LLVMInt64TypeInContext(g.c);
	g.f32 = LLVMFloatTypeInContext(g.c);
	g.pointer = LLVMPointerTypeInContext(g.c, GLOBAL);
	LLVMTargetDataRef layout = LLVMCreateTargetDataLayout(tm);
	LLVMSetTarget(g.m, triple);
	LLVMSetModuleDataLayout(g.m, layout);
	build_codelets(&g, p);
	for (int i = 0; i < p->n_entries; i++)
		if (p->entries[i].family == family)
			build_entry(&g, &p->entries[i]);
	optimise(&g, tm);
	if (LLVMTargetMachineEmitToMemoryBuffer(tm, g.m, LLVMObjectFile, &error, &out))
		fail(&g, "emit", error);
	const size_t size = LLVMGetBufferSize(out);
	uint8_t *bytes = ARENA_ARRAY(a, uint8_t, size);
	memcpy(bytes, LLVMGetBufferStart(out), size);
	LLVMDisposeMemoryBuffer(out);
	LLVMDisposeTargetData(layout);
	LLVMDisposeBuilder(g.b);
	LLVMDisposeTargetMachine(tm);
	LLVMDisposeModule(g.m);
	LLVMContextDispose(g.c);
	LLVMResetFatalErrorHandler();
	return (ArcBinary){bytes, size};
}
