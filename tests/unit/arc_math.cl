/* Functions of math.h and of libclc, side by side, for arc_math_test.c: each for itself and as a kernel. */
#include "templates/arc/words.h"

#include "templates/math.h"

#define FUNCTION(name, expression)                                                             \
	float name(float x)                                                                    \
	{                                                                                      \
		return expression;                                                             \
	}                                                                                      \
	kernel __attribute__((intel_reqd_sub_group_size(16))) void kernel_##name(              \
		const global float *restrict x, global float *restrict y)                      \
	{                                                                                      \
		const uint i = get_group_id(0) * 16 + (uint)lane();                            \
		y[i] = name(x[i]);                                                             \
	}
FUNCTION(lathe_exp, vf_exp(x))
FUNCTION(lathe_rcp, vf_rcp(x))
FUNCTION(lathe_rsqrt, vf_rsqrt(x))
FUNCTION(lathe_silu, vf_silu(x))
FUNCTION(libclc_exp, exp(x))
FUNCTION(libclc_rcp, 1.0f / x)
FUNCTION(libclc_rsqrt, powr(x, -0.5f))
FUNCTION(libclc_silu, x / (1.0f + exp(-x)))
FUNCTION(libclc_exp2, exp2(x))
FUNCTION(libclc_log, log(x))
FUNCTION(libclc_pow, pow(x, 1.7f))
FUNCTION(libclc_sin, sin(x))
FUNCTION(libclc_cos, cos(x))
FUNCTION(libclc_tanh, tanh(x))
FUNCTION(libclc_erf, erf(x))
