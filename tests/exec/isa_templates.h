/* The vector words of one ISA level, told which by ISA_SUFFIX (isa_levels.h), and what else is its
 * own. */
#if defined(ISA_v4)
#include "../../templates/vec_v4.h"
#define ISA_SUFFIX v4
#define ISA_NAME "x86-64-v4"
#define ISA_DOT "../../templates/dot_bytes.h"
#elif defined(ISA_v3_vnni)
#include "../../templates/vec_v3.h"
#include "../../templates/vec_v3_vnni.h"
#define ISA_SUFFIX v3_vnni
#define ISA_NAME "x86-64-v3-vnni"
#define ISA_DOT "../../templates/dot_bytes.h"
#elif defined(ISA_v3)
#include "../../templates/vec_v3.h"
#define ISA_SUFFIX v3
#define ISA_NAME "x86-64-v3"
#define ISA_DOT "../../templates/dot_v3.h"
#elif defined(ISA_dotprod)
#include "../../templates/vec_c.h"
#include "../../templates/vec_dotprod.h"
#define ISA_SUFFIX dotprod
#define ISA_NAME "aarch64-dotprod"
#define ISA_DOT "../../templates/dot_bytes.h"
#elif defined(ISA_c)
#include "../../templates/vec_c.h"
#define ISA_SUFFIX c
#define ISA_NAME "c"
#define ISA_DOT "../../templates/dot_c.h"
#else
#error "one of ISA_c, ISA_dotprod, ISA_v3, ISA_v3_vnni and ISA_v4 must be defined"
#endif

#define PASTE2(a, b) a##b
#define PASTE(a, b) PASTE2(a, b)
#define ISA_SYMBOL(prefix) PASTE(prefix, ISA_SUFFIX)
