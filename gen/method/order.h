/* Numbers in falling order, with where they stood. */
#ifndef LATHE_GEN_METHOD_ORDER_H
#define LATHE_GEN_METHOD_ORDER_H

#include "ir/support.h"

typedef struct Ranked {
	double value; /* no NaN */
	uint32_t i;
} Ranked;
/* n of them by falling value, of equals the lower i first. */
void order_falling(Ranked *x, size_t n);

#endif
