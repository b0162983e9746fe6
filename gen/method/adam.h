/* Adam (Kingma and Ba, 2015) on numbers in double. */
#ifndef LATHE_GEN_METHOD_ADAM_H
#define LATHE_GEN_METHOD_ADAM_H

#include <stddef.h>

/* Decays 0.9 and 0.999. x, its slope and both means [n], the means zeros at first; step counts from
 * 1. */
void adam_move(double *x, const double *slope, double *first, double *second, size_t n, int step,
	       double rate);

#endif
