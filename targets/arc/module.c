/*
 * Entries as SPIR-V by the C API of LLVM. A family's template comes as bitcode; each entry becomes
 * a kernel whose calls are inlined, so that the optimiser sees literals wherever the CPU's C
 * compiler would.
 */
#define _POSIX_C_SOURCE 200809L
#include "arc.h"
#include "clc.h"
#include "llvm.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* 1.2 is what both the driver's reader and sub-group sizes agree on (1.0 has no such mode). */
static const char triple[] = "spirv64v1.2-unknown-unknown";
static const char passes[] = "globaldce,default<O3>,globaldce,strip-dead-prototypes";

enum { GLOBAL = 1, CONSTANT = 2, LOCAL = 3 };

typedef struct Module {
	Llvm l;
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

bool
arc_libclc(void)
{
	return template_text("clc.bc", NULL) != NULL;
}

void
arc_load(void)
{
	(void)llvm_load();
}

/* LLVM would end the process behind this handler. */
static void
on_fatal(const char *reason)
{
	fprintf(stderr, "lathe: LLVM: %s\n", reason);
	_exit(ARC_FAILED);
}

static void LATHE_NORETURN
fail(const Module *g, const char *what, const char *error)
{
	fprintf(stderr, "lathe: LLVM, %s of the %s kernels: %s\n", what, g->family,
		error ? error : "no reason given");
	_exit(ARC_FAILED);
}

/* Without a handler of diagnostics an error would end the process with status 1. */
static void
on_diagnostic(LLVMDiagnosticInfoRef info, void *module)
{
	const Module *g = module;
	if (g->l.GetDiagInfoSeverity(info) == LLVMDSError)
		fail(g, "a diagnostic", g->l.GetDiagInfoDescription(info));
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
	g->l.ParseCommandLineOptions(3, options, "");
	g->l.InitializeSPIRVTargetInfo();
	g->l.InitializeSPIRVTarget();
	g->l.InitializeSPIRVTargetMC();
	g->l.InitializeSPIRVAsmPrinter();
	if (g->l.GetTargetFromTriple(triple, &target, &error))
		fail(g, "the target", error);
	return g->l.CreateTargetMachine(target, triple, "", "", LLVMCodeGenLevelAggressive,
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
	b = g->l.CreateMemoryBufferWithMemoryRange(bitcode, size, g->family, 0);
	if (g->l.ParseBitcodeInContext2(g->c, b, &g->m))
		fail(g, "the bitcode", NULL);
	g->l.DisposeMemoryBuffer(b);
	g->l.SetModuleIdentifier(g->m, g->family, strlen(g->family));
}

/* ---- an entry ----------------------------------------------------------------------------- */

typedef struct Body {
	const ArcEntry *entry;
	LLVMValueRef kernel, local, block;
} Body;

static LLVMValueRef
moved(const Module *g, LLVMValueRef p, int64_t bytes)
{
	LLVMValueRef n = g->l.ConstInt(g->i64, (unsigned long long)bytes, 0);
	return bytes ? g->l.BuildInBoundsGEP2(g->b, g->l.Int8TypeInContext(g->c), p, &n, 1, "") : p;
}

static LLVMValueRef
function(const Module *g, const char *name)
{
	LLVMValueRef f = g->l.GetNamedFunction(g->m, name);
	if (!f)
		BUG("template %s has no function %s", g->family, name);
	return f;
}

static LLVMValueRef
build_call(const Module *g, const char *name, LLVMValueRef *arguments, unsigned n)
{
	LLVMValueRef f = function(g, name);
	LLVMTypeRef type = g->l.GlobalGetValueType(f);
	if (g->l.CountParams(f) != n)
		BUG("%s takes %u arguments and not %u", name, g->l.CountParams(f), n);
	LLVMValueRef c = g->l.BuildCall2(g->b, type, f, arguments, n, "");
	g->l.SetInstructionCallConv(c, g->l.GetFunctionCallConv(f));
	return c;
}

static LLVMValueRef
by_block(const Module *g, Body *body, const ArcByBlock *v)
{
	LLVMTypeRef type = v->wide ? g->i64 : g->i32;
	LLVMValueRef r = g->l.ConstInt(type, (unsigned long long)v->values[v->n - 1], 0);
	if (!body->block)
		body->block = build_call(g, "linear_block", NULL, 0);
	for (int i = v->n - 1; i-- > 0;) {
		LLVMValueRef below = g->l.BuildICmp(g->b, LLVMIntULT, body->block,
						    g->l.ConstInt(g->i32, v->ends[i], 0), "");
		LLVMValueRef value = g->l.ConstInt(type, (unsigned long long)v->values[i], 0);
		r = g->l.BuildSelect(g->b, below, value, r, "");
	}
	return r;
}

/* A table of the module. */
static LLVMValueRef
table(const Module *g, const ArcArgument *v)
{
	const bool words = v->kind == ARC_WORDS;
	LLVMTypeRef type = words ? g->l.Int16TypeInContext(g->c) : g->f32;
	LLVMValueRef *e = ARENA_ARRAY(g->a, LLVMValueRef, v->value);
	for (int64_t i = 0; i < v->value; i++)
		e[i] = words ? g->l.ConstInt(type, ((const uint16_t *)v->table)[i], 0)
			     : g->l.ConstReal(type, (double)((const float *)v->table)[i]);
	LLVMValueRef array = g->l.ConstArray2(type, e, (uint64_t)v->value);
	LLVMValueRef t = g->l.AddGlobalInAddressSpace(g->m, g->l.TypeOf(array), "table", CONSTANT);
	g->l.SetInitializer(t, array);
	g->l.SetGlobalConstant(t, 1);
	g->l.SetLinkage(t, LLVMInternalLinkage);
	g->l.SetUnnamedAddress(t, LLVMGlobalUnnamedAddr);
	g->l.SetAlignment(t, 4);
	return t;
}

static LLVMValueRef
argument(const Module *g, Body *body, const ArcArgument *v)
{
	switch (v->kind) {
	case ARC_INT:
		return g->l.ConstInt(g->i32, (unsigned long long)v->value, 1);
	case ARC_LONG:
		return g->l.ConstInt(g->i64, (unsigned long long)v->value, 0);
	case ARC_FLOAT:
		return g->l.ConstReal(g->f32, (double)v->number);
	case ARC_PARAMETER:
		return moved(g, g->l.GetParam(body->kernel, (unsigned)v->value), v->offset);
	case ARC_CONSTANT:
		return moved(g, g->l.GetParam(body->kernel, ARC_PARAMETERS + (unsigned)v->value),
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
		m[i] = g->l.ValueAsMetadata(g->l.ConstInt(g->i32, v[i], 0));
	g->l.GlobalSetMetadata(f, g->l.GetMDKindIDInContext(g->c, kind, (unsigned)strlen(kind)),
			       g->l.MDNodeInContext2(g->c, m, n));
}

static void
set_attribute(const Module *g, LLVMValueRef f, unsigned parameter, const char *name, uint64_t v)
{
	const unsigned kind = g->l.GetEnumAttributeKindForName(name, strlen(name));
	g->l.AddAttributeAtIndex(f, parameter + 1, g->l.CreateEnumAttribute(g->c, kind, v));
}

static LLVMValueRef
declare(const Module *g, const ArcEntry *n)
{
	LLVMTypeRef types[ARC_PARAMETERS + STACK_MAX + ARC_ARGUMENTS_MAX];
	const int count = ARC_PARAMETERS + n->n_constants;
	INVARIANT(n->n_constants < STACK_MAX + ARC_ARGUMENTS_MAX);
	for (int i = 0; i < count; i++)
		types[i] = i == ARC_CAPACITY || i == ARC_CTX ? g->i32 : g->pointer;
	LLVMTypeRef type =
		g->l.FunctionType(g->l.VoidTypeInContext(g->c), types, (unsigned)count, 0);
	LLVMValueRef f = g->l.AddFunction(g->m, n->name, type);
	g->l.SetFunctionCallConv(f, LLVMSPIRKERNELCallConv);
	for (int i = 0; i < count; i++)
		if (types[i] == g->pointer) {
			set_attribute(g, f, (unsigned)i, "noalias", 0);
			set_attribute(g, f, (unsigned)i, "align", 64);
		}
	set_numbers(g, f, "reqd_work_group_size",
		    (unsigned[]){(unsigned)(n->lanes * n->sub_groups), 1, 1}, 3);
	set_numbers(g, f, "intel_reqd_sub_group_size", (unsigned[]){(unsigned)n->lanes}, 1);
	return f;
}

/* Goes on in a block that only the work-groups of the call enter; returns the one behind it. */
static LLVMBasicBlockRef
build_guard(const Module *g, const Body *body, const ArcCall *c)
{
	LLVMBasicBlockRef only = g->l.AppendBasicBlockInContext(g->c, body->kernel, "only");
	LLVMBasicBlockRef behind = g->l.AppendBasicBlockInContext(g->c, body->kernel, "behind");
	LLVMValueRef group = build_call(g, "heads_group", NULL, 0);
	LLVMValueRef from = g->l.ConstInt(g->i32, (unsigned long long)-c->from, 1);
	LLVMValueRef count = g->l.ConstInt(g->i32, (unsigned long long)(c->end - c->from), 0);
	LLVMValueRef in =
		g->l.BuildICmp(g->b, LLVMIntULT, g->l.BuildAdd(g->b, group, from, ""), count, "");
	g->l.BuildCondBr(g->b, in, only, behind);
	g->l.PositionBuilderAtEnd(g->b, only);
	return behind;
}

static void
build_entry(const Module *g, const ArcEntry *n)
{
	Body body = {.entry = n, .kernel = declare(g, n)};
	if (n->local_floats) {
		LLVMTypeRef type = g->l.ArrayType2(g->f32, (unsigned)n->local_floats);
		body.local = g->l.AddGlobalInAddressSpace(
			g->m, type, arena_printf(g->a, "%s_local", n->name), LOCAL);
		g->l.SetInitializer(body.local, g->l.GetUndef(type));
		g->l.SetLinkage(body.local, LLVMInternalLinkage);
		g->l.SetAlignment(body.local, 64);
	}
	g->l.PositionBuilderAtEnd(g->b, g->l.AppendBasicBlockInContext(g->c, body.kernel, "entry"));
	for (int i = 0; i < n->n_calls; i++) {
		const ArcCall *c = &n->calls[i];
		LLVMValueRef arguments[ARC_ARGUMENTS_MAX];
		LLVMBasicBlockRef behind = c->end ? build_guard(g, &body, c) : NULL;
		for (int k = 0; k < c->n; k++)
			arguments[k] = argument(g, &body, &c->arguments[k]);
		build_call(g, c->function, arguments, (unsigned)c->n);
		if (behind) {
			g->l.BuildBr(g->b, behind);
			g->l.PositionBuilderAtEnd(g->b, behind);
		}
	}
	g->l.BuildRetVoid(g->b);
}

/* ---- base matrices ------------------------------------------------------------------------ */

/* One program in the block at work: base_program's x, stride and scale. */
static void
build_codelet(const Module *g, LLVMValueRef f, const Codelet *c)
{
	LLVMValueRef x = g->l.GetParam(f, 1), stride = g->l.GetParam(f, 2),
		     plus = g->l.GetParam(f, 3);
	LLVMValueRef minus = g->l.BuildFNeg(g->b, plus, "");
	LLVMValueRef *v = ARENA_ARRAY(g->a, LLVMValueRef, c->order + c->n_steps);
	LLVMValueRef *at = ARENA_ARRAY(g->a, LLVMValueRef, c->order);
	for (uint32_t i = 0; i < c->order; i++) {
		LLVMValueRef n = g->l.BuildMul(g->b, stride, g->l.ConstInt(g->i32, i, 0), "");
		at[i] = g->l.BuildInBoundsGEP2(g->b, g->f32, x, &n, 1, "");
		v[i] = g->l.BuildLoad2(g->b, g->f32, at[i], "");
	}
	for (uint32_t k = 0; k < c->n_steps; k++) {
		const CodeletStep *s = &c->steps[k];
		v[c->order + k] = s->minus ? g->l.BuildFSub(g->b, v[s->a], v[s->b], "")
					   : g->l.BuildFAdd(g->b, v[s->a], v[s->b], "");
	}
	for (uint32_t i = 0; i < c->order; i++) {
		const CodeletOutput *o = &c->outputs[i];
		g->l.BuildStore(g->b,
				g->l.BuildFMul(g->b, v[o->value], o->negative ? minus : plus, ""),
				at[i]);
	}
}

/* The body of a template's base_program: a switch over the programs, which inlining decides. */
static void
build_codelets(const Module *g, const ArcProgram *p)
{
	LLVMValueRef f = g->l.GetNamedFunction(g->m, "base_program");
	if (!f)
		return;
	LLVMBasicBlockRef entry = g->l.AppendBasicBlockInContext(g->c, f, "entry");
	LLVMBasicBlockRef end = g->l.AppendBasicBlockInContext(g->c, f, "end");
	g->l.PositionBuilderAtEnd(g->b, entry);
	LLVMValueRef choice =
		g->l.BuildSwitch(g->b, g->l.GetParam(f, 0), end, (unsigned)p->n_codelets);
	for (int i = 0; i < p->n_codelets; i++) {
		LLVMBasicBlockRef block = g->l.AppendBasicBlockInContext(g->c, f, "");
		g->l.AddCase(choice, g->l.ConstInt(g->i32, (unsigned)i, 0), block);
		g->l.PositionBuilderAtEnd(g->b, block);
		build_codelet(g, f, p->codelets[i]);
		g->l.BuildBr(g->b, end);
	}
	g->l.PositionBuilderAtEnd(g->b, end);
	g->l.BuildRetVoid(g->b);
	g->l.AddAttributeAtIndex(
		f, (LLVMAttributeIndex)LLVMAttributeFunctionIndex,
		g->l.CreateEnumAttribute(g->c, g->l.GetEnumAttributeKindForName("alwaysinline", 12),
					 0));
}

/* ---- a module ----------------------------------------------------------------------------- */

static void
optimise(const Module *g, LLVMTargetMachineRef tm)
{
	LLVMPassBuilderOptionsRef o = g->l.CreatePassBuilderOptions();
	char *error = NULL;
	for (LLVMValueRef f = g->l.GetFirstFunction(g->m); f; f = g->l.GetNextFunction(f))
		if (!g->l.IsDeclaration(f) && g->l.GetFunctionCallConv(f) != LLVMSPIRKERNELCallConv)
			g->l.SetLinkage(f, LLVMInternalLinkage);
	if (g->l.VerifyModule(g->m, LLVMReturnStatusAction, &error))
		fail(g, "the check", error);
	g->l.DisposeMessage(error);
	g->l.PassBuilderOptionsSetSLPVectorization(o, 0);
	g->l.PassBuilderOptionsSetLoopVectorization(o, 0);
	LLVMErrorRef e = g->l.RunPasses(g->m, passes, tm, o);
	if (e)
		fail(g, "the passes", g->l.GetErrorMessage(e));
	g->l.DisposePassBuilderOptions(o);
}

ArcBinary
arc_module(Arena *a, const ArcProgram *p, ArcFamily family)
{
	Module g = {.a = a, .family = arc_families[family], .l = llvm_load()};
	LLVMMemoryBufferRef out;
	char *error = NULL;
	g.c = g.l.ContextCreate();
	g.l.InstallFatalErrorHandler(on_fatal);
	g.l.ContextSetDiagnosticHandler(g.c, on_diagnostic, &g);
	g.l.ContextSetDiscardValueNames(g.c, 1);
	LLVMTargetMachineRef tm = machine_new(&g);
	load(&g);
	g.b = g.l.CreateBuilderInContext(g.c);
	g.i32 = g.l.Int32TypeInContext(g.c);
	g.i64 = g.l.Int64TypeInContext(g.c);
	g.f32 = g.l.FloatTypeInContext(g.c);
	g.pointer = g.l.PointerTypeInContext(g.c, GLOBAL);
	LLVMTargetDataRef layout = g.l.CreateTargetDataLayout(tm);
	g.l.SetTarget(g.m, triple);
	g.l.SetModuleDataLayout(g.m, layout);
	if (p->x->math == MATH_LIBCLC)
		clc_math(&g.l, g.m);
	build_codelets(&g, p);
	for (int i = 0; i < p->n_entries; i++)
		if (p->entries[i].family == family)
			build_entry(&g, &p->entries[i]);
	clc_link(&g.l, g.m);
	optimise(&g, tm);
	if (g.l.TargetMachineEmitToMemoryBuffer(tm, g.m, LLVMObjectFile, &error, &out))
		fail(&g, "the code", error);
	const size_t size = g.l.GetBufferSize(out);
	uint8_t *bytes = ARENA_ARRAY(a, uint8_t, size);
	memcpy(bytes, g.l.GetBufferStart(out), size);
	g.l.DisposeMemoryBuffer(out);
	g.l.DisposeTargetData(layout);
	g.l.DisposeBuilder(g.b);
	g.l.DisposeTargetMachine(tm);
	g.l.DisposeModule(g.m);
	g.l.ContextDispose(g.c);
	g.l.ResetFatalErrorHandler();
	return (ArcBinary){bytes, size};
}
