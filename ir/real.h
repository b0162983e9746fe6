/*
 * Elementary functions in double, from IEEE add, multiply, divide and bit operations only, so that
 * constants computed at compile time are identical on every host (a libm is free to differ).
 */
#ifndef LATHE_IR_REAL_H
#define LATHE_IR_REAL_H

/* Relative error below 2^-50; x finite. Underflows to 0 and overflows to infinity. */
double real_exp(double x);
/* Relative error below 2^-50 (absolute near 1); x positive, finite and not subnormal. */
double real_log(double x);
/* Absolute error below 2^-50; |x| <= 2^24. */
void real_sincos(double x, double *sine, double *cosine);

#endif
