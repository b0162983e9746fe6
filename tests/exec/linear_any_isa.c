/* linear_block with a spec that is no literal: one object an ISA level runs every case. */
#if defined(__GNUC__) && !defined(__clang__)
/* Without literals the dearer passes take minutes and find nothing. */
#pragma GCC optimize("O1")
#endif
#define LINEAR_ROLLED
#include "linear_isa.h"
#include "linear_templates.h"

static void
any_block(Linear s, int mt, const uint8_t *w, const Act *a, float *y)
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

static ptrdiff_t
any_block_bytes(Linear s)
{
	return linear_block_bytes(s);
}

const LinearAny ISA_SYMBOL(linear_any_) = {
	ISA_NAME,
	isa_usable,
	any_block_bytes,
	any_block,
};
