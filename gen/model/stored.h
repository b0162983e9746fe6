/* The tensor types of model files: what each number of a file means, and which of them Lathe reads.
 */
#ifndef LATHE_GEN_MODEL_STORED_H
#define LATHE_GEN_MODEL_STORED_H

#include "ir/model.h"

/* The type of a ggml type number; null where Lathe does not read it. */
const StoredType *stored_type(uint32_t ggml_number);
/* The type of this name; null where Lathe does not read it. */
const StoredType *stored_type_named(const char *name);
/* The name of a ggml type number, read or not; null for a number nobody uses. */
const char *stored_type_name(uint32_t ggml_number);
/* "F32, F16, ...": all that Lathe reads. */
const char *stored_type_list(Arena *a);

/*
 * The first of n blocks whose scale, minimum or (for float types) value is NaN or infinite, or -1.
 * The name of the bad field and its byte offset in the block go to *what and *offset.
 */
int64_t stored_not_finite(const StoredType *t, const uint8_t *src, uint64_t n, const char **what,
			  uint32_t *offset);
/* The first of n blocks with a code that the type gives no value, or -1; its byte in the block goes
 * to *offset. */
int64_t stored_bad_code(const StoredType *t, const uint8_t *src, uint64_t n, uint32_t *offset);

#endif
