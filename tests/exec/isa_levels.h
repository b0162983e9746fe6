/*
 * The ISA levels that tests run: LEVEL(suffix, name, whether this CPU has it), portable C first.
 * isa_flags_SUFFIX of tests/CMakeLists.txt compile them; x86-64-v3-vnni gets the EVEX encoding of
 * its instruction, which more machines have.
 */
#ifndef LATHE_TESTS_ISA_LEVELS_H
#define LATHE_TESTS_ISA_LEVELS_H

#define ISA_HAS(feature) __builtin_cpu_supports(feature)

#if defined(__x86_64__)
#define ISA_LEVELS                                                                     \
	LEVEL(c, "c", 1)                                                               \
	LEVEL(v3, "x86-64-v3", ISA_HAS("avx2") && ISA_HAS("fma"))                      \
	LEVEL(v3_vnni, "x86-64-v3-vnni", ISA_HAS("avx512vl") && ISA_HAS("avx512vnni")) \
	LEVEL(v4, "x86-64-v4",                                                         \
	      ISA_HAS("avx512bw") && ISA_HAS("avx512dq") && ISA_HAS("avx512vl") &&     \
		      ISA_HAS("avx512vnni") && ISA_HAS("avx512vbmi"))
#elif defined(__aarch64__)
#include <sys/auxv.h>
#define ISA_LEVELS       \
	LEVEL(c, "c", 1) \
	LEVEL(dotprod, "aarch64-dotprod", (getauxval(AT_HWCAP) >> 20 & 1) != 0)
#else
#define ISA_LEVELS LEVEL(c, "c", 1)
#endif

enum {
#define LEVEL(suffix, name, has) ISA_LEVEL_##suffix,
	ISA_LEVELS
#undef LEVEL
		ISA_LEVEL_COUNT
};

#endif
