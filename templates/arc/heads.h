/*
 * Heads of a row: `heads` runs of d floats in local memory. Those in front of the cache go by the
 * work-group's number, w having heads w / per * heads on, with zeros behind them up to a multiple
 * of 16. Each function leaves with a barrier.
 */

/* The number that calls for some heads only ask for. */
__attribute__((always_inline)) int
heads_group(void)
{
	return (int)get_group_id(0);
}

LATHE_OP
heads_load(int d, int heads, int per, global uchar *arena, int capacity, const global int *job,
	   ulong at, int ld, int stream, local float *x)
{
	const int row = row_index() + (stream ? job_of(job).row0 : 0);
	const global float *from = (const global float *)part_at(arena, capacity, at) +
				   (ulong)row * ld + heads_group() / per * heads * d;
	for (int i = item(); i < LATHE_PAD(heads * d, 16); i += items())
		x[i] = i < heads * d ? from[i] : 0.0f;
	barrier(CLK_LOCAL_MEM_FENCE);
}

/* y = the heads of a whole row that the work-group has. */
LATHE_OP
heads_take(int d, int heads, int per, const local float *x, local float *y)
{
	const int first = heads_group() / per * heads * d;
	for (int i = item(); i < LATHE_PAD(heads * d, 16); i += items())
		y[i] = i < heads * d ? x[first + i] : 0.0f;
	barrier(CLK_LOCAL_MEM_FENCE);
}

LATHE_OP
heads_store(int d, int heads, global uchar *arena, int capacity, ulong at, int ld,
	    const local float *x)
{
	global float *to = (global float *)part_at(arena, capacity, at) + (ulong)row_index() * ld +
			   heads_group() * heads * d;
	for (int i = item(); i < heads * d; i += items())
		to[i] = x[i];
}

/* A sub-group a head. */
LATHE_OP
row_rmsnorm_heads(int heads, int d, float eps, float inv_d, local float *x)
{
	for (int h = (int)get_sub_group_id(); h < heads; h += items() / 16) {
		local float *y = x + h * d;
		vf p = vf_zero();
		for (int k = 0; k < d; k += 16) {
			const vf a = k + lane() < d ? y[k + lane()] : 0.0f;
			p = vf_fma(a, a, p);
		}
		const float r = s_rsqrt(s_fma(vf_tree(p), inv_d, eps));
		for (int k = lane(); k < d; k += 16)
			y[k] = y[k] * r;
	}
	barrier(CLK_LOCAL_MEM_FENCE);
}

LATHE_OP
row_gain_heads(int heads, int d, const global uchar *gain, local float *x)
{
	const global float *g = (const global float *)gain;
	for (int k = item(); k < heads * d; k += items())
		x[k] = x[k] * g[k % d];
	barrier(CLK_LOCAL_MEM_FENCE);
}

/* Rotates the pairs (i, i + d/2) of each head by the row's position. */
LATHE_OP
row_rope(int heads, int d, const global int *job, const global uchar *cosines,
	 const global uchar *sines, local float *x)
{
	const Job j = job_of(job);
	const ulong position = (ulong)(j.n_past + j.row0 + row_index());
	const global float *cosine = (const global float *)cosines + position * (ulong)(d / 2);
	const global float *sine = (const global float *)sines + position * (ulong)(d / 2);
	for (int t = item(); t < heads * (d / 2); t += items()) {
		const int i = t % (d / 2);
		local float *p = x + t / (d / 2) * d + i;
		const float a = p[0], b = p[d / 2], c = cosine[i], s = sine[i];
		p[0] = s_fma(a, c, -(b * s));
		p[d / 2] = s_fma(a, s, b * c);
	}
	barrier(CLK_LOCAL_MEM_FENCE);
}
