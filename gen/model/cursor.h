/* A bounded cursor over the bytes of a file, and text from files made fit for messages. */
#ifndef LATHE_GEN_MODEL_CURSOR_H
#define LATHE_GEN_MODEL_CURSOR_H

#include "ir/model.h"

/*
 * The first read past the end reports E_TRUNCATED and sets `failed`; from then on every read gives
 * zeros and nothing more is reported. Numbers are little-endian.
 */
typedef struct Cursor {
	const uint8_t *data;
	uint64_t size, at;
	Diag *d;
	uint32_t file;
	bool failed;
} Cursor;

/* A position in the cursor's file. */
Loc cursor_loc(const Cursor *c, uint64_t at);
/* The next n bytes, null at the end of the file; `what` names them in the message. */
const uint8_t *cursor_bytes(Cursor *c, uint64_t n, const char *what);
uint32_t cursor_u32(Cursor *c, const char *what);
uint64_t cursor_u64(Cursor *c, const char *what);
uint64_t cursor_remaining(const Cursor *c);

bool bytes_equal(Bytes a, const char *s);
/* Order by bytes, then by length: for qsort-like uses. */
int bytes_compare(Bytes a, Bytes b);
/* Whether all of s is well-formed UTF-8. */
bool utf8_valid(Bytes s);
/*
 * s in single quotes for a message: control characters and bytes that are no UTF-8 as \xNN, cut
 * with "..." beyond 80 bytes.
 */
const char *bytes_quote(Arena *a, Bytes s);

#endif
