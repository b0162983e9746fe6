/*
 * The k likeliest tokens of a row of logits: a sub-group looks for them in each share of the
 * vocabulary, one sub-group among those. Behind the rows of logits lie uint32: the ids, the logits'
 * bits, then a share's finds as pairs of keys. A key orders as the logit does and, where logits are
 * equal, as the smaller id; 0 is below all of them. A NaN is below every number.
 */
enum { TOP_MAX = 64 };

LATHE_INLINE ulong
top_key(float x, int id)
{
	const uint u = s_bits(x + 0.0f); /* -0 is 0 */
	const uint order = u & 0x80000000u ? ~u : u | 0x80000000u;
	const bool nan_ = (u & 0x7fffffffu) > 0x7f800000u;
	return (ulong)(nan_ ? 0u : order) << 32 | ~(uint)id;
}

LATHE_INLINE int
top_id(ulong key)
{
	return (int)~(uint)key;
}

LATHE_INLINE ulong
top_tree(ulong a)
{
	LATHE_UNROLL_ALL for (uint w = 8; w; w >>= 1)
	{
		const uint high = (uint)intel_sub_group_shuffle_xor((int)(a >> 32), w);
		const uint low = (uint)intel_sub_group_shuffle_xor((int)a, w);
		const ulong b = (ulong)high << 32 | low;
		a = b > a ? b : a;
	}
	return a;
}

LATHE_INLINE global uint *
top_memory(int n, global uchar *logits, int capacity)
{
	return (global uint *)logits + (ulong)capacity * (ulong)n;
}

/* Work-group g: the k largest keys of tokens share * g ... */
LATHE_OP
top_share(int n, int share, global uchar *logits, int capacity, const global int *k)
{
	const int group = (int)get_group_id(0), first = group * share;
	const int end = min(first + share, n);
	const global float *x = (const global float *)logits;
	global uint *to = top_memory(n, logits, capacity) + (2 * TOP_MAX) * (1 + group);
	ulong last = ~(ulong)0;
	for (int i = 0; i < *k; i++) {
		ulong best = 0;
		for (int t = first; t < end; t += 16) {
			const int id = min(t + lane(), n - 1);
			const ulong key = top_key(x[id], id);
			best = key < last && key > best ? key : best;
		}
		last = top_tree(best);
		if (lane() == 0) {
			to[2 * i] = (uint)(last >> 32);
			to[2 * i + 1] = (uint)last;
		}
	}
}

/* One work-group: the k largest of all shares. */
LATHE_OP
top_all(int n, int shares, global uchar *logits, int capacity, const global int *k)
{
	const global float *x = (const global float *)logits;
	global uint *to = top_memory(n, logits, capacity);
	ulong last = ~(ulong)0;
	for (int i = 0; i < *k; i++) {
		ulong best = 0;
		for (int t = 0; t < shares; t += 16) {
			const int share = min(t + lane(), shares - 1);
			const global uint *from = to + (2 * TOP_MAX) * (1 + share);
			for (int j = 0; j < *k; j++) {
				const ulong key = (ulong)from[2 * j] << 32 | from[2 * j + 1];
				best = key < last && key > best ? key : best;
			}
		}
		last = top_tree(best);
		if (lane() == 0) {
			to[i] = (uint)top_id(last);
			to[TOP_MAX + i] = s_bits(x[top_id(last)]);
		}
	}
}
