/*
 * ocloc's native binaries: ELF files with the code of each kernel in .text.NAME and a description
 * of all in .ze_info. The bytes are foreign: nothing beyond them is read, whatever they say.
 */
#ifndef LATHE_TARGETS_ARC_ZEBIN_H
#define LATHE_TARGETS_ARC_ZEBIN_H

#include "../../ir/support.h"

typedef struct ZebinKernel {
	const char *name;
	long simd, registers;
	long scratch;	    /* bytes of spilled registers, a thread */
	long private_bytes; /* of arrays that went to memory, a thread */
	int instructions, sends, dp4a, dpas;
	int dpas_narrow; /* of the DPAS, those of 4 bits or fewer on both sides */
} ZebinKernel;

typedef struct Zebin {
	ZebinKernel *kernels; /* [n], as .ze_info has them */
	int n, room;
} Zebin;

/* null, or what is wrong with the file. What z holds is the arena's, none of it the file's. */
const char *zebin_read(Arena *a, const void *data, size_t size, Zebin *z);
/* null: there is none of this name, or it has no code. */
const ZebinKernel *zebin_kernel(const Zebin *z, const char *name);

#endif
