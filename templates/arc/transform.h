/*
 * Transforms of a local row, on views: element i of column r of run l lies at
 * l pitch + i right + r (targets/arc/transform.c). Each leaves with a barrier.
 */

#define VIEW int n, int outer, int pitch, int right

/* The straight-line program of base matrix `which` on elements `stride` apart, times scale: the
 * generator writes it. */
void base_program(int which, local float *x, int stride, float scale);

/* Butterflies in ascending strides, n a power of two. */
LATHE_OP
row_sylvester(VIEW, local float *x)
{
	LATHE_ROLLED
	for (int h = 1; h < n; h *= 2) {
		for (int t = item(); t < outer * (n / 2) * right; t += items()) {
			const int r = t % right, j = t / right % (n / 2), l = t / right / (n / 2);
			const int i = (j & -h) << 1 | (j & (h - 1));
			local float *p = x + l * pitch + i * right + r;
			const float a = p[0], b = p[h * right];
			p[0] = a + b;
			p[h * right] = a - b;
		}
		barrier(CLK_LOCAL_MEM_FENCE);
	}
}

LATHE_OP
row_base(VIEW, int which, float scale, local float *x)
{
	for (int t = item(); t < outer * right; t += items())
		base_program(which, x + t / right * pitch + t % right, right, scale);
	(void)n;
	barrier(CLK_LOCAL_MEM_FENCE);
}

#define FOR_ELEMENTS                                                                        \
	for (int t = item(), i, at; i = t / right % n,                                      \
		 at = t / right / n * pitch + i * right + t % right, t < outer * n * right; \
	     t += items())

/*
 * The program of a base matrix as words (targets/arc/transform.c), for one whose values have no
 * room in registers: they lie in work, those of `room` columns at a time.
 */
LATHE_OP
row_base_wide(VIEW, const constant ushort *program, int steps, int room, float scale,
	      local float *x, local float *work)
{
	const int columns = outer * right;
	const int at_once = room < items() ? room : items();
	local float *w = work + item();
	/* no literals, so that drivers do not unroll */
	const int end = intel_sub_group_shuffle(steps, 0), rows = intel_sub_group_shuffle(n, 0);
	for (int t = item(); item() < at_once && t < columns; t += at_once) {
		local float *p = x + t / right * pitch + t % right;
		int k = 0;
		LATHE_ROLLED
		do {
			const int a = program[3 * k], b = program[3 * k + 1] >> 1;
			const float u = a < n ? p[a * right] : w[(a - n) * at_once];
			const float v = b < n ? p[b * right] : w[(b - n) * at_once];
			w[program[3 * k + 2] * at_once] = program[3 * k + 1] & 1 ? u - v : u + v;
		} while (++k < end);
		k = 0;
		LATHE_ROLLED
		do {
			const int o = program[3 * end + k];
			p[k * right] = w[(o >> 1) * at_once] * (o & 1 ? -scale : scale);
		} while (++k < rows);
	}
	barrier(CLK_LOCAL_MEM_FENCE);
}

LATHE_OP
row_scale(VIEW, float scale, local float *x)
{
	FOR_ELEMENTS
	x[at] = x[at] * scale;
	barrier(CLK_LOCAL_MEM_FENCE);
}

LATHE_OP
row_diagonal(VIEW, const constant float *d, local float *x)
{
	FOR_ELEMENTS
	x[at] = x[at] * d[i];
	barrier(CLK_LOCAL_MEM_FENCE);
}

LATHE_OP
row_permute(VIEW, const constant ushort *perm, local float *x, local float *work)
{
	FOR_ELEMENTS
	work[at] = x[at];
	barrier(CLK_LOCAL_MEM_FENCE);
	FOR_ELEMENTS
	x[at] = work[at + (perm[i] - i) * right];
	barrier(CLK_LOCAL_MEM_FENCE);
}

/* columns[k][n] is column k of the matrix; sums in k order from 0. */
LATHE_OP
row_matrix(VIEW, const constant float *columns, local float *x, local float *work)
{
	FOR_ELEMENTS
	work[at] = x[at];
	barrier(CLK_LOCAL_MEM_FENCE);
	FOR_ELEMENTS
	{
		float y = 0.0f;
		LATHE_ROLLED
		for (int k = 0; k < n; k++)
			y = s_fma(columns[k * n + i], work[at + (k - i) * right], y);
		x[at] = y;
	}
	barrier(CLK_LOCAL_MEM_FENCE);
}

/* x -= v f, f = factor (v . x); a sub-group a column. */
LATHE_OP
row_householder(VIEW, const constant float *v, float factor, local float *x)
{
	for (int t = (int)get_sub_group_id(); t < outer * right; t += items() / 16) {
		local float *p = x + t / right * pitch + t % right;
		float sum = 0.0f;
		for (int k = 0; k < n; k += 16) {
			const bool in = k + lane() < n;
			const int i = in ? k + lane() : 0;
			sum = s_fma(in ? v[i] : 0.0f, in ? p[i * right] : 0.0f, sum);
		}
		const float f = vf_tree(sum) * factor;
		for (int i = lane(); i < n; i += 16)
			p[i * right] = s_fma(-f, v[i], p[i * right]);
	}
	barrier(CLK_LOCAL_MEM_FENCE);
}

LATHE_OP
row_givens(VIEW, int i, int j, float c, float s, local float *x)
{
	for (int t = item(); t < outer * right; t += items()) {
		local float *p = x + t / right * pitch + t % right;
		const float a = p[i * right], b = p[j * right];
		p[i * right] = s_fma(a, c, -(b * s));
		p[j * right] = s_fma(a, s, b * c);
	}
	(void)n;
	barrier(CLK_LOCAL_MEM_FENCE);
}

/* Pairs (i, i + n/2) by cosines [n/2], then sines [n/2]. */
LATHE_OP
row_so2(VIEW, const constant float *angles, local float *x)
{
	const int pairs = n / 2;
	for (int t = item(); t < outer * pairs * right; t += items()) {
		const int i = t / right % pairs;
		local float *p = x + t / right / pairs * pitch + i * right + t % right;
		const float a = p[0], b = p[pairs * right];
		const float c = angles[i], s = angles[pairs + i];
		p[0] = s_fma(a, c, -(b * s));
		p[pairs * right] = s_fma(a, s, b * c);
	}
	barrier(CLK_LOCAL_MEM_FENCE);
}
