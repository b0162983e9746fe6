/* The templates of one ISA level in the order of an artefact: ISA_C, ISA_V3 or ISA_V4. */
#if defined(ISA_V4)
#include "../../templates/vec_v4.h"
#elif defined(ISA_V3)
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
#if defined(ISA_V4)
#include "../../templates/linear_v4.h"
#elif defined(ISA_V3)
#include "../../templates/linear_v3.h"
#else
#include "../../templates/linear_c.h"
#endif
#include "../../templates/linear.h"
