/*
 * LLVM's C interface as a table of functions, which llvm.c fills from the shared library: a compile
 * for CPUs alone never loads those 150 MB.
 */
#ifndef LATHE_TARGETS_ARC_LLVM_H
#define LATHE_TARGETS_ARC_LLVM_H

#include <llvm-c/Analysis.h>
#include <llvm-c/BitReader.h>
#include <llvm-c/Core.h>
#include <llvm-c/ErrorHandling.h>
#include <llvm-c/Linker.h>
#include <llvm-c/Support.h>
#include <llvm-c/Target.h>
#include <llvm-c/TargetMachine.h>
#include <llvm-c/Transforms/PassBuilder.h>

#include <stdbool.h>

typedef struct Llvm {
#define LLVM_FUNCTION(name) __typeof__(&LLVM##name) name;
#include "llvm.def"
} Llvm;

/* The library of this process, loaded at the first call and kept; where it is not to be had, the
 * program ends with EXIT_ENVIRONMENT and the name of its package. */
Llvm llvm_load(void);

#endif
