/*
 * Decoders of stored integers, one a type: n values, whole blocks, become unsigned codes and a
 * scale (and a minimum) for each group of the type's format, in the order of the values.
 */
#ifndef LATHE_GEN_MODEL_STORED_CODES_H
#define LATHE_GEN_MODEL_STORED_CODES_H

#include "stored.h"

#define STORED_FLOAT(name, number, bytes, format, exponent)
#define STORED_INT(name, number, block, bytes, format, fields, at) \
	void codes_##name(const uint8_t *src, int n, uint8_t *codes, float *scales, float *minima);
#include "stored_types.def"

static inline uint16_t
half_at(const uint8_t *p)
{
	return (uint16_t)(p[0] | p[1] << 8);
}

static inline float
scale_at(const uint8_t *p)
{
	return f16_to_f32(half_at(p));
}

#endif
