/* The interpreter of codelets for one type of numbers: included by codelet.c with REAL and RUN. */
void
RUN(const Codelet *c, REAL *x, size_t stride, size_t width)
{
	REAL values[CODELET_VALUES_MAX];
	size_t n_values = (size_t)c->order + c->n_steps;
	size_t columns = CODELET_VALUES_MAX / n_values;
	for (size_t from = 0; from < width; from += columns) {
		size_t w = width - from < columns ? width - from : columns;
		for (size_t i = 0; i < c->order; i++)
			memcpy(values + i * w, x + i * stride + from, w * sizeof *x);
		REAL *to = values + c->order * w;
		for (size_t k = 0; k < c->n_steps; k++, to += w) {
			const CodeletStep *s = &c->steps[k];
			const REAL *p = values + s->a * w, *q = values + s->b * w;
			if (s->minus)
				for (size_t j = 0; j < w; j++)
					to[j] = p[j] - q[j];
			else
				for (size_t j = 0; j < w; j++)
					to[j] = p[j] + q[j];
		}
		for (size_t i = 0; i < c->order; i++) {
			const REAL *p = values + c->outputs[i].value * w;
			REAL *y = x + i * stride + from;
			for (size_t j = 0; j < w; j++)
				y[j] = c->outputs[i].negative ? -p[j] : p[j];
		}
	}
}
#undef REAL
#undef RUN
