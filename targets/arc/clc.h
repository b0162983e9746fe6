/* libclc, an implementation of OpenCL C's functions, as bitcode in a module. */
#ifndef LATHE_TARGETS_ARC_CLC_H
#define LATHE_TARGETS_ARC_CLC_H

#include "llvm.h"

/* Puts libclc's exp, 1/x, 1/sqrt(x) and silu (math_libclc.cl) in the place of math.h's. */
void clc_math(const Llvm *l, LLVMModuleRef m);

/*
 * Links libclc for the functions of OpenCL that m calls, does not define, and that are not left to
 * the backend. All of it becomes internal and is inlined, so that what is not called goes with
 * `globaldce`, which must be the first pass. false: nothing is wanted.
 */
bool clc_link(const Llvm *l, LLVMModuleRef m);

#endif
