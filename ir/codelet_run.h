/*
 * The interpreter of codelets for one type of numbers: included by codelet.c with REAL and RUN.
 * LANES columns go through the program together, each with the bits that it would have alone.
 */
void
RUN(const Codelet *c, REAL *x, size_t stride, size_t width, size_t pitch, size_t count)
{
	enum { LANES = 8 };
	REAL values[CODELET_VALUES_MAX][LANES];
	for (size_t from = 0; from < width * count; from += LANES) {
		size_t lanes = width * count - from < LANES ? width * count - from : LANES;
		REAL *columns[LANES];
		for (size_t j = 0; j < LANES; j++) {
			size_t lane = from + (j < lanes ? j : 0);
			columns[j] = x + lane / width * pitch + lane % width;
		}
		for (size_t i = 0; i < c->order; i++)
			for (size_t j = 0; j < LANES; j++)
				values[i][j] = columns[j][i * stride];
		REAL(*to)[LANES] = values + c->order;
		for (size_t k = 0; k < c->n_steps; k++, to++) {
			const CodeletStep *s = &c->steps[k];
			const REAL *p = values[s->a], *q = values[s->b];
			REAL t[LANES];
			if (s->minus)
				for (size_t j = 0; j < LANES; j++)
					t[j] = p[j] - q[j];
			else
				for (size_t j = 0; j < LANES; j++)
					t[j] = p[j] + q[j];
			memcpy(*to, t, sizeof t);
		}
		for (size_t i = 0; i < c->order; i++) {
			const REAL *p = values[c->outputs[i].value];
			for (size_t j = 0; j < lanes; j++)
				columns[j][i * stride] = c->outputs[i].negative ? -p[j] : p[j];
		}
	}
}
#undef REAL
#undef RUN
