/*
 * linear_block with a spec that is no literal: one object runs every case. Compiled like
 * linear_isa.c, at a low optimisation level.
 */
#define LINEAR_ROLLED
#include "linear_isa.h"
#include "linear_templates.h"

#if defined(ISA_V4)
#define LINEAR_ANY linear_any_v4
#elif defined(ISA_V3)
#define LINEAR_ANY linear_any_v3
#else
#define LINEAR_ANY linear_any_c
#endif

void
LINEAR_ANY(Linear s, int mt, const uint8_t *w, const Act *a, float *y)
{
	switch (mt) {
	case 1:
		linear_block(s, 1, w, a, y);
		break;
	case 2:
		linear_block(s, 2, w, a, y);
		break;
	case 3:
		linear_block(s, 3, w, a, y);
		break;
	case 4:
		linear_block(s, 4, w, a, y);
		break;
	case 6:
		linear_block(s, 6, w, a, y);
		break;
	case 8:
		linear_block(s, 8, w, a, y);
		break;
	default:
		break;
	}
}
