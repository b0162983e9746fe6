/*
 * A function compiled twice, for any CPU and for AVX2, and chosen at every call: folding and
 * proving go through each weight many times. Nothing is contracted, so both give the same bits.
 *
 *     WIDE_BODY void add_body(double *x, size_t n) {...}
 *     WIDE(static, add, (double *x, size_t n), (x, n))
 */
#ifndef LATHE_IR_WIDE_H
#define LATHE_IR_WIDE_H

/* Of vectors (vector_size) in such functions. */
enum { WIDE_BYTES = 32 };

#if defined(__x86_64__) && defined(__GNUC__)

#define WIDE_BODY static inline __attribute__((always_inline))
#define WIDE(linkage, name, parameters, arguments)                         \
	__attribute__((target("avx2"))) static void name##_avx2 parameters \
	{                                                                  \
		name##_body arguments;                                     \
	}                                                                  \
	linkage void name parameters                                       \
	{                                                                  \
		if (__builtin_cpu_supports("avx2"))                        \
			name##_avx2 arguments;                             \
		else                                                       \
			name##_body arguments;                             \
	}

#else

#define WIDE_BODY static inline
#define WIDE(linkage, name, parameters, arguments) \
	linkage void name parameters               \
	{                                          \
		name##_body arguments;             \
	}

#endif

#endif
