#include "order.h"

#include <stdlib.h>

static int
falling(const void *a, const void *b)
{
	const Ranked *x = a, *y = b;
	if (x->value != y->value)
		return x->value < y->value ? 1 : -1;
	return (x->i > y->i) - (x->i < y->i);
}

void
order_falling(Ranked *x, size_t n)
{
	qsort(x, n, sizeof *x, falling);
}
