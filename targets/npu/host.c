/* NAME_npu.h and NAME_npu.c: the facts of a compile in front of the host's template. */
#include "npu.h"

#include <string.h>

enum { IDENTITY_BYTES = 16 };

const char *
npu_identity(Arena *a, const Artefact *x)
{
	char hex[65];
	sha256_hex(x->build, hex);
	return arena_printf(a, "%s %.*s", x->name, 2 * IDENTITY_BYTES, hex);
}

void
npu_stamp(Bin *bin, const char *identity)
{
	uint8_t stamp[NPU_STAMP] = {0};
	INVARIANT(strlen(identity) < sizeof stamp);
	memcpy(stamp, identity, strlen(identity));
	const BinPart p = bin_add(bin, ELEMENT_U8, SHAPE(NPU_STAMP), stamp);
	INVARIANT(p.offset == 0);
}
