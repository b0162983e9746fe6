/*
 * libclc in a module. Its code is not optimised and calls nothing inline, on functions and on
 * calls; it declares basic operations, which become intrinsics here.
 */
#include "clc.h"

#include "../target.h"
#include "arc.h"

#include <string.h>

enum { CLC_FLAG = -1, OPERANDS_MAX = 3 };

static const struct {
	const char *name, *intrinsic;
	int operands;
} basics[] = {
#define CLC_BASIC(name, intrinsic, operands) {name, intrinsic, operands},
#include "clc.def"
};
static const char *const backend[] = {
#define CLC_BACKEND(name) name,
#include "clc.def"
};

/* ---- bodies ------------------------------------------------------------------------------- */

/* The place of a new body: a function of old's type, which takes old's place. */
static LLVMValueRef
replacement(const Llvm *l, LLVMModuleRef m, LLVMBuilderRef b, LLVMValueRef old)
{
	LLVMValueRef f = l->AddFunction(m, "", l->GlobalGetValueType(old));
	LLVMContextRef c = l->GetModuleContext(m);
	l->SetFunctionCallConv(f, l->GetFunctionCallConv(old));
	l->ReplaceAllUsesWith(old, f);
	l->DeleteFunction(old);
	l->PositionBuilderAtEnd(b, l->AppendBasicBlockInContext(c, f, "entry"));
	return f;
}

static void
basic(const Llvm *l, LLVMModuleRef m, LLVMBuilderRef b, const char *name, const char *intrinsic,
      int operands)
{
	LLVMValueRef old = l->GetNamedFunction(m, name), arguments[OPERANDS_MAX];
	if (!old)
		return;
	LLVMContextRef c = l->GetModuleContext(m);
	LLVMValueRef f = replacement(l, m, b, old);
	const unsigned id = l->LookupIntrinsicID(intrinsic, strlen(intrinsic));
	unsigned n = l->CountParams(f);
	LLVMTypeRef type = l->TypeOf(l->GetParam(f, 0));
	INVARIANT(id && n == (operands == CLC_FLAG ? 1u : (unsigned)operands));
	for (unsigned i = 0; i < n; i++)
		arguments[i] = l->GetParam(f, i);
	if (operands == CLC_FLAG)
		arguments[n++] = l->ConstInt(l->Int1TypeInContext(c), 0, 0);
	l->BuildRet(b,
		    l->BuildCall2(b, l->IntrinsicGetType(c, id, &type, 1),
				  l->GetIntrinsicDeclaration(m, id, &type, 1), arguments, n, ""));
}

/* isnan(x): an int. */
static void
is_nan(const Llvm *l, LLVMModuleRef m, LLVMBuilderRef b)
{
	LLVMValueRef old = l->GetNamedFunction(m, "_Z5isnanf");
	if (!old)
		return;
	LLVMValueRef f = replacement(l, m, b, old), x = l->GetParam(f, 0);
	l->BuildRet(b, l->BuildZExt(b, l->BuildFCmp(b, LLVMRealUNO, x, x, ""),
				    l->Int32TypeInContext(l->GetModuleContext(m)), ""));
}

/* The upper half of the product of unsigned numbers. */
static void
mul_hi(const Llvm *l, LLVMModuleRef m, LLVMBuilderRef b)
{
	LLVMValueRef old = l->GetNamedFunction(m, "_Z6mul_hijj");
	if (!old)
		return;
	LLVMContextRef c = l->GetModuleContext(m);
	LLVMTypeRef wide = l->Int64TypeInContext(c);
	LLVMValueRef f = replacement(l, m, b, old);
	LLVMValueRef p = l->BuildMul(b, l->BuildZExt(b, l->GetParam(f, 0), wide, ""),
				     l->BuildZExt(b, l->GetParam(f, 1), wide, ""), "");
	l->BuildRet(b, l->BuildTrunc(b, l->BuildLShr(b, p, l->ConstInt(wide, 32, 0), ""),
				     l->Int32TypeInContext(c), ""));
}

/* ---- inlining ----------------------------------------------------------------------------- */

static void
inline_calls(const Llvm *l, LLVMValueRef f, unsigned noinline)
{
	for (LLVMBasicBlockRef b = l->GetFirstBasicBlock(f); b; b = l->GetNextBasicBlock(b))
		for (LLVMValueRef i = l->GetFirstInstruction(b); i; i = l->GetNextInstruction(i))
			if (l->IsACallInst(i))
				l->RemoveCallSiteEnumAttribute(
					i, (LLVMAttributeIndex)LLVMAttributeFunctionIndex,
					noinline);
}

static void
inline_all(const Llvm *l, LLVMModuleRef m)
{
	const unsigned noinline = l->GetEnumAttributeKindForName("noinline", 8);
	const unsigned always = l->GetEnumAttributeKindForName("alwaysinline", 12);
	const LLVMAttributeIndex at = (LLVMAttributeIndex)LLVMAttributeFunctionIndex;
	LLVMAttributeRef wanted = l->CreateEnumAttribute(l->GetModuleContext(m), always, 0);
	for (LLVMValueRef f = l->GetFirstFunction(m); f; f = l->GetNextFunction(f)) {
		inline_calls(l, f, noinline);
		if (l->IsDeclaration(f) || l->GetFunctionCallConv(f) == LLVMSPIRKERNELCallConv)
			continue;
		l->SetLinkage(f, LLVMInternalLinkage);
		l->RemoveEnumAttributeAtIndex(f, at, noinline);
		l->AddAttributeAtIndex(f, at, wanted);
	}
	for (LLVMValueRef t = l->GetFirstGlobal(m); t; t = l->GetNextGlobal(t))
		if (!l->IsDeclaration(t))
			l->SetLinkage(t, LLVMInternalLinkage);
}

/* ---- linking ------------------------------------------------------------------------------ */

/* Another module's bitcode into m, whose triple and layout it takes. */
static void
link_bitcode(const Llvm *l, LLVMModuleRef m, const char *name)
{
	size_t size;
	const char *bitcode = template_text(name, &size);
	LLVMModuleRef other;
	if (!bitcode)
		BUG("no bitcode %s", name);
	LLVMMemoryBufferRef b = l->CreateMemoryBufferWithMemoryRange(bitcode, size, name, 0);
	if (l->ParseBitcodeInContext2(l->GetModuleContext(m), b, &other))
		BUG("%s cannot be parsed", name);
	l->DisposeMemoryBuffer(b);
	l->SetTarget(other, l->GetTarget(m));
	l->SetDataLayout(other, l->GetDataLayoutStr(m));
	if (l->LinkModules2(m, other))
		BUG("%s cannot be linked", name);
}

/* Behind `_Z` and the length of a mangled name; null for names that are not OpenCL's. */
static const char *
plain_name(const char *name)
{
	if (strncmp(name, "_Z", 2))
		return NULL;
	return name + 2 + strspn(name + 2, "0123456789");
}

static bool
is_wanted(const Llvm *l, LLVMValueRef f)
{
	size_t length;
	const char *name = plain_name(l->GetValueName2(f, &length));
	if (!name || !l->IsDeclaration(f) || !l->GetFirstUse(f))
		return false;
	for (size_t i = 0; i < sizeof backend / sizeof *backend; i++)
		if (!strncmp(name, backend[i], strlen(backend[i])))
			return false;
	return true;
}

bool
clc_link(const Llvm *l, LLVMModuleRef m)
{
	bool wanted = false;
	for (LLVMValueRef f = l->GetFirstFunction(m); f && !wanted; f = l->GetNextFunction(f))
		wanted = is_wanted(l, f);
	if (!wanted)
		return false;
	link_bitcode(l, m, "clc.bc");
	LLVMBuilderRef b = l->CreateBuilderInContext(l->GetModuleContext(m));
	for (size_t i = 0; i < sizeof basics / sizeof *basics; i++)
		basic(l, m, b, basics[i].name, basics[i].intrinsic, basics[i].operands);
	is_nan(l, m, b);
	mul_hi(l, m, b);
	l->DisposeBuilder(b);
	inline_all(l, m);
	return true;
}

void
clc_math(const Llvm *l, LLVMModuleRef m)
{
	static const char *const names[] = {"s_rcp",	"s_rsqrt", "vf_rcp",
					    "vf_rsqrt", "vf_exp",  "vf_silu"};
	enum { NAMES = sizeof names / sizeof *names };
	LLVMValueRef old[NAMES];
	for (int i = 0; i < NAMES; i++) {
		old[i] = l->GetNamedFunction(m, names[i]);
		if (old[i])
			l->SetValueName2(old[i], "", 0);
	}
	link_bitcode(l, m, "math_libclc.bc");
	for (int i = 0; i < NAMES; i++) {
		LLVMValueRef f = l->GetNamedFunction(m, names[i]);
		INVARIANT(f);
		l->SetLinkage(f, LLVMInternalLinkage);
		if (!old[i])
			continue;
		l->ReplaceAllUsesWith(old[i], f);
		l->DeleteFunction(old[i]);
	}
}
