/*
 * Hadamard transforms of rows of one type of numbers: included by hadamard.c with REAL, RUN,
 * BUTTERFLIES and RUN_CODELET. The order of operations on an element is that of plain loops over
 * ascending strides.
 */
/* x [runs], a power of two, by H of order runs, not divided by its root. */
static void
BUTTERFLIES(REAL *x, size_t runs)
{
	size_t stride = 1;
	for (size_t i = 0; runs >= LANES && i < runs; i += LANES) {
		REAL t[LANES], u[LANES];
		memcpy(t, x + i, sizeof t);
		for (int k = 0; k < LANES; k += 2) {
			u[k] = t[k] + t[k + 1];
			u[k + 1] = t[k] - t[k + 1];
		}
		for (int k = 0; k < LANES; k += 4) {
			t[k] = u[k] + u[k + 2];
			t[k + 1] = u[k + 1] + u[k + 3];
			t[k + 2] = u[k] - u[k + 2];
			t[k + 3] = u[k + 1] - u[k + 3];
		}
		for (int k = 0; k < 4; k++) {
			x[i + (size_t)k] = t[k] + t[k + 4];
			x[i + (size_t)k + 4] = t[k] - t[k + 4];
		}
		stride = LANES;
	}
	for (; stride < runs; stride *= 2)
		for (size_t i = 0; i < runs; i += 2 * stride) {
			size_t k = i;
			for (; stride >= LANES && k < i + stride; k += LANES) {
				REAL p[LANES], q[LANES], sum[LANES], difference[LANES];
				memcpy(p, x + k, sizeof p);
				memcpy(q, x + k + stride, sizeof q);
				for (int j = 0; j < LANES; j++)
					sum[j] = p[j] + q[j];
				for (int j = 0; j < LANES; j++)
					difference[j] = p[j] - q[j];
				memcpy(x + k, sum, sizeof sum);
				memcpy(x + k + stride, difference, sizeof difference);
			}
			for (; k < i + stride; k++) {
				REAL p = x[k], q = x[k + stride];
				x[k] = p + q;
				x[k + stride] = p - q;
			}
		}
}

void
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
