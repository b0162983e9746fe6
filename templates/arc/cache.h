/*
 * A layer's cache: a KV head after another, all keys, then all values, in the layout of the CPUs
 * (templates/rows.h).
 */

/* An element as the cache stores it. */
LATHE_INLINE float
kv_rounded(int bits, float x)
{
	return bits == 16 ? s_from_f16(s_to_f16(x)) : x;
}

LATHE_INLINE void
kv_put(int bits, global uchar *p, ulong at, float x)
{
	if (bits == 16)
		((global ushort *)p)[at] = s_to_f16(x);
	else
		((global float *)p)[at] = x;
}

LATHE_INLINE float
kv_get(int bits, const global uchar *p, ulong at)
{
	return bits == 16 ? s_from_f16(((const global ushort *)p)[at])
			  : ((const global float *)p)[at];
}

/* Bytes of a KV head's keys, and of both. */
LATHE_INLINE ulong
keys_bytes(int bits, int d, int ctx)
{
	return (ulong)ctx * (ulong)(d * bits / 8);
}

LATHE_INLINE ulong
head_bytes(int bits, int d, int ctx)
{
	return keys_bytes(bits, d, ctx) + (ulong)ctx * (ulong)(LATHE_PAD(d, 16) * bits / 8);
}

LATHE_INLINE ulong
key_at(int d, int position, int i)
{
	return (ulong)(position / 16) * (ulong)(16 * d) + (ulong)(i * 16 + position % 16);
}

LATHE_INLINE void
kv_write(int bits, int d, int position, int i, float k, float v, global uchar *keys,
	 global uchar *values)
{
	if (i < d)
		kv_put(bits, keys, key_at(d, position, i), k);
	kv_put(bits, values, (ulong)position * LATHE_PAD(d, 16) + i, i < d ? v : 0.0f);
}
