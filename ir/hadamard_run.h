/* Hadamard transforms of rows of one type of numbers: included by hadamard.c. */
void
RUN(const Codelet *program, uint32_t n, REAL *rows, size_t count)
{
	const size_t runs = program ? n / program->order : n;
	const REAL scale = (REAL)(1.0 / sqrt((double)n));
	for (size_t r = 0; r < count; r++) {
		REAL *row = rows + r * n;
		for (size_t stride = 1; stride < runs; stride *= 2)
			for (size_t i = 0; i < n; i += 2 * stride)
				for (size_t k = i; k < i + stride; k++) {
					REAL x = row[k], y = row[k + stride];
					row[k] = x + y;
					row[k + stride] = x - y;
				}
		if (program)
			RUN_CODELET(program, row, runs, runs);
		for (size_t i = 0; i < n; i++)
			row[i] *= scale;
	}
}
#undef REAL
#undef RUN
#undef RUN_CODELET
