/* A step of Adam. */
#include "adam.h"

#include <math.h>

static const double first_decay = 0.9, second_decay = 0.999, least_root = 1e-8;

void
adam_move(double *x, const double *slope, double *first, double *second, size_t n, int step,
	  double rate)
{
	const double one = 1.0 - pow(first_decay, step), two = 1.0 - pow(second_decay, step);
	for (size_t i = 0; i < n; i++) {
		first[i] += (1.0 - first_decay) * (slope[i] - first[i]);
		second[i] += (1.0 - second_decay) * (slope[i] * slope[i] - second[i]);
		x[i] -= rate * (first[i] / one) / (sqrt(second[i] / two) + least_root);
	}
}
