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

/* Zeros behind a row's n elements, up to `to`. */
LATHE_OP
row_pad(VIEW, int to, local float *x)
{
	for (int t = n + item(); t < to; t += items())
		x[t] = 0.0f;
	(void)outer, (void)pitch, (void)right;
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

/* One number of the weights. */
LATHE_OP
row_scale_global(VIEW, const global float *scale, local float *x)
{
	row_scale(n, outer, pitch, right, *scale, x);
}

LATHE_OP
row_givens_global(VIEW, int i, int j, const global float *angle, local float *x)
{
	row_givens(n, outer, pitch, right, i, j, angle[0], angle[1], x);
}

/* Tables of the module, and those of the weights. */
#define TABLE constant
#define TABLE_NAME(name) name
#include "tables.h"
#undef TABLE
#undef TABLE_NAME
#define TABLE global
#define TABLE_NAME(name) name##_global
#include "tables.h"
#undef TABLE
#undef TABLE_NAME
