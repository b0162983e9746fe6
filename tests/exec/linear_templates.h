/* The templates of one ISA level in the order of an artefact: ISA_c, ISA_v3 or ISA_v4. */
#if defined(ISA_v4)
#include "../../templates/vec_v4.h"
#elif defined(ISA_v3)
#include "../../templates/vec_v3.h"
#else
#include "../../templates/vec_c.h"
#endif
#if defined(LINEAR_ROLLED)
/* Where specs are no literals unrolling only costs. */
#undef LATHE_UNROLL
#define LATHE_UNROLL(n)
#endif
#include "../../templates/math.h"
#if defined(ISA_v4)
#include "../../templates/linear_v4.h"
#elif defined(ISA_v3)
#include "../../templates/linear_v3.h"
#else
#include "../../templates/linear_c.h"
#endif
#include "../../templates/linear.h"

#define PASTE2(a, b) a##b
#define PASTE(a, b) PASTE2(a, b)
#define ISA_SYMBOL(prefix) PASTE(prefix, ISA_SUFFIX)

#if defined(ISA_v4)
#define ISA_SUFFIX v4
#define ISA_NAME "v4"
#elif defined(ISA_v3)
#define ISA_SUFFIX v3
#define ISA_NAME "v3"
#else
#define ISA_SUFFIX c
#define ISA_NAME "c"
#endif

/* This CPU has the level. */
static int
isa_usable(void)
{
#if defined(ISA_v4)
	return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
	       __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
	       __builtin_cpu_supports("avx512vnni") && __builtin_cpu_supports("avx512vbmi");
#elif defined(ISA_v3)
	return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
#else
	return 1;
#endif
}
