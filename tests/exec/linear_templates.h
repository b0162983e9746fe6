/* The templates of one ISA level in the order of an artefact. */
#include "isa_levels.h"
#include "isa_templates.h"
#if defined(LINEAR_ROLLED)
/* Where specs are no literals unrolling only costs. */
#undef LATHE_UNROLL
#define LATHE_UNROLL(n)
#endif
#include "../../templates/math.h"
#if defined(ISA_v4)
#include "../../templates/linear_v4.h"
#elif defined(ISA_c) || defined(ISA_dotprod)
#include "../../templates/unpack_c.h"
#if defined(ISA_dotprod)
#include "../../templates/products_dotprod.h"
#else
#include "../../templates/products_c.h"
#endif
#include "../../templates/linear_c.h"
#else
#include "../../templates/unpack_v3.h"
#if defined(ISA_v3_vnni)
#include "../../templates/products_v3_vnni.h"
#else
#include "../../templates/products_v3.h"
#endif
#include "../../templates/linear_v3.h"
#endif
#include "../../templates/linear.h"

/* This CPU has the level. */
static int
isa_usable(void)
{
	const int usable[] = {
#define LEVEL(suffix, name, has) has,
		ISA_LEVELS
#undef LEVEL
	};
	return usable[ISA_SYMBOL(ISA_LEVEL_)];
}
