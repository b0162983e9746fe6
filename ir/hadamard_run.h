/*
 * Hadamard transforms of rows of one type of numbers: included by hadamard.c with REAL, VECTOR,
 * RUN, BUTTERFLIES and RUN_CODELET; RUN is the body of a function of wide.h. The order of
 * operations on an element is that of plain loops over ascending strides.
 */
typedef REAL VECTOR __attribute__((vector_size(WIDE_BYTES), aligned(sizeof(REAL)), may_alias));

/* x [runs], a power of two, by H of order runs, not divided by its root. */
WIDE_BODY void
BUTTERFLIES(REAL *x, size_t runs)
{
	enum { WIDTH = WIDE_BYTES / sizeof(REAL) };
	size_t stride = 1;
	/* Two strides at a time: half the loads and stores. */
	for (; 4 * stride <= runs; stride *= 4)
		for (size_t i = 0; i < runs; i += 4 * stride) {
			REAL *p = x + i, *q = p + stride, *r = q + stride, *s = r + stride;
			size_t k = 0;
			for (; k + WIDTH <= stride; k += WIDTH) {
				VECTOR *a = (VECTOR *)(void *)(p + k),
				       *b = (VECTOR *)(void *)(q + k);
				VECTOR *c = (VECTOR *)(void *)(r + k),
				       *d = (VECTOR *)(void *)(s + k);
				const VECTOR e = *a + *b, f = *a - *b, g = *c + *d, h = *c - *d;
				*a = e + g;
				*b = f + h;
				*c = e - g;
				*d = f - h;
			}
			for (; k < stride; k++) {
				const REAL e = p[k] + q[k], f = p[k] - q[k];
				const REAL g = r[k] + s[k], h = r[k] - s[k];
				p[k] = e + g;
				q[k] = f + h;
				r[k] = e - g;
				s[k] = f - h;
			}
		}
	for (; stride < runs; stride *= 2)
		for (size_t i = 0; i < runs; i += 2 * stride) {
			REAL *p = x + i, *q = p + stride;
			size_t k = 0;
			for (; k + WIDTH <= stride; k += WIDTH) {
				VECTOR *a = (VECTOR *)(void *)(p + k),
				       *b = (VECTOR *)(void *)(q + k);
				const VECTOR sum = *a + *b, difference = *a - *b;
				*a = sum;
				*b = difference;
			}
			for (; k < stride; k++) {
				const REAL a = p[k], b = q[k];
				p[k] = a + b;
				q[k] = a - b;
			}
		}
}

WIDE_BODY void
RUN(const Codelet *program, uint32_t n, REAL *rows, size_t count)
{
	enum { ELEMENTS = 2048 }; /* that go through all three steps together, in L1 */
	const size_t runs = program ? n / program->order : n;
	const size_t group = n < ELEMENTS ? ELEMENTS / n : 1;
	const REAL scale = (REAL)(1.0 / sqrt((double)n));
	for (size_t r = 0; r < count; r += group) {
		REAL *x = rows + r * n;
		size_t some = count - r < group ? count - r : group;
		for (size_t i = 0; i < some * n; i += runs)
			BUTTERFLIES(x + i, runs);
		if (program)
			RUN_CODELET(program, x, runs, runs, n, some);
		for (size_t i = 0; i < some * n; i++)
			x[i] *= scale;
	}
}
#undef REAL
#undef RUN
#undef RUN_CODELET
#undef BUTTERFLIES
#undef VECTOR
