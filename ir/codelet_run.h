/*
 * The interpreter of codelets for one type of numbers: included by codelet.c with REAL, VECTOR and
 * RUN, the body of a function of wide.h. LANES columns go through the program together, each with
 * the bits that it would have alone.
 */
typedef REAL VECTOR __attribute__((vector_size(WIDE_BYTES)));

WIDE_BODY void
RUN(const Codelet *c, REAL *x, size_t stride, size_t width, size_t pitch, size_t count)
{
	enum { LANES = 8, WIDTH = WIDE_BYTES / sizeof(REAL), VECTORS = LANES / WIDTH };
	union {
		VECTOR vectors[VECTORS];
		REAL lanes[LANES];
	} values[CODELET_VALUES_MAX], *to;
	for (size_t from = 0; from < width * count; from += LANES) {
		size_t lanes = width * count - from < LANES ? width * count - from : LANES;
		REAL *columns[LANES];
		for (size_t j = 0; j < LANES; j++) {
			size_t lane = from + (j < lanes ? j : 0);
			columns[j] = x + lane / width * pitch + lane % width;
		}
		for (size_t i = 0; i < c->order; i++)
			for (size_t j = 0; j < LANES; j++)
				values[i].lanes[j] = columns[j][i * stride];
		to = values + c->order;
		for (size_t k = 0; k < c->n_steps; k++, to++) {
			const CodeletStep *s = &c->steps[k];
			for (size_t j = 0; j < VECTORS; j++) {
				const VECTOR p = values[s->a].vectors[j];
				const VECTOR q = values[s->b].vectors[j];
				to->vectors[j] = s->minus ? p - q : p + q;
			}
		}
		for (size_t i = 0; i < c->order; i++) {
			const REAL *p = values[c->outputs[i].value].lanes;
			for (size_t j = 0; j < lanes; j++)
				columns[j][i * stride] = c->outputs[i].negative ? -p[j] : p[j];
		}
	}
}
#undef REAL
#undef RUN
#undef VECTOR
