/* How rows become codes, as on CPUs: a sub-group does a group of columns, or sixteen codes, a lane
 * each. */
#include "packed.h"

#include "../codes.h"

/* The zero point as codes are kept: shifted like them. */
LATHE_INLINE float
code_zero(const RowFormat f, RowScale r)
{
	return r.zero + (float)ROW_LOW(f);
}
