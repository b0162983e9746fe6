/*
 * Transforms by tables (targets/tables.h) that lie in the address space TABLE, which
 * TABLE_NAME appends to their names: transform.h includes this once for each.
 */

LATHE_OP
TABLE_NAME(row_diagonal)(VIEW, const TABLE float *d, local float *x)
{
	FOR_ELEMENTS
	x[at] = x[at] * d[i];
	barrier(CLK_LOCAL_MEM_FENCE);
}

LATHE_OP
TABLE_NAME(row_permute)(VIEW, const TABLE ushort *perm, local float *x, local float *work)
{
	FOR_ELEMENTS
	work[at] = x[at];
	barrier(CLK_LOCAL_MEM_FENCE);
	FOR_ELEMENTS
	x[at] = work[at + (perm[i] - i) * right];
	barrier(CLK_LOCAL_MEM_FENCE);
}

/* columns[k][n rounded up to 16] is column k of the matrix; sums in k order from 0. */
LATHE_OP
TABLE_NAME(row_matrix)(VIEW, const TABLE float *columns, local float *x, local float *work)
{
	FOR_ELEMENTS
	work[at] = x[at];
	barrier(CLK_LOCAL_MEM_FENCE);
	FOR_ELEMENTS
	{
		float y = 0.0f;
		LATHE_ROLLED
		for (int k = 0; k < n; k++)
			y = s_fma(columns[k * LATHE_PAD(n, 16) + i], work[at + (k - i) * right], y);
		x[at] = y;
	}
	barrier(CLK_LOCAL_MEM_FENCE);
}

/* x -= v f, f = factor (v . x), the factor behind v's n rounded up to 16; a sub-group a column. */
LATHE_OP
TABLE_NAME(row_householder)(VIEW, const TABLE float *v, local float *x)
{
	for (int t = (int)get_sub_group_id(); t < outer * right; t += items() / 16) {
		local float *p = x + t / right * pitch + t % right;
		float sum = 0.0f;
		for (int k = 0; k < n; k += 16) {
			const bool in = k + lane() < n;
			const int i = in ? k + lane() : 0;
			sum = s_fma(in ? v[i] : 0.0f, in ? p[i * right] : 0.0f, sum);
		}
		const float f = vf_tree(sum) * v[LATHE_PAD(n, 16)];
		for (int i = lane(); i < n; i += 16)
			p[i * right] = s_fma(-f, v[i], p[i * right]);
	}
	barrier(CLK_LOCAL_MEM_FENCE);
}

/* Pairs (i, i + n/2) by cosines, then sines, each n/2 rounded up to 16. */
LATHE_OP
TABLE_NAME(row_so2)(VIEW, const TABLE float *angles, local float *x)
{
	const int pairs = n / 2;
	for (int t = item(); t < outer * pairs * right; t += items()) {
		const int i = t / right % pairs;
		local float *p = x + t / right / pairs * pitch + i * right + t % right;
		const float a = p[0], b = p[pairs * right];
		const float c = angles[i], s = angles[LATHE_PAD(pairs, 16) + i];
		p[0] = s_fma(a, c, -(b * s));
		p[pairs * right] = s_fma(a, s, b * c);
	}
	barrier(CLK_LOCAL_MEM_FENCE);
}
