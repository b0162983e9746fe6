/*
 * The GGUF container, version 3: metadata and tensor entries, every length and offset checked. What
 * keys and names mean is none of its business.
 */
#ifndef LATHE_GEN_MODEL_GGUF_H
#define LATHE_GEN_MODEL_GGUF_H

#include "cursor.h"

typedef enum GgufType {
#define GGUF_TYPE(e, number, name, bytes) e = number,
#include "gguf_types.def"
	GGUF_TYPE_COUNT
} GgufType;

enum { GGUF_DIMS = 4, GGUF_NAME_MAX = 64 };

typedef struct GgufValue {
	uint32_t type;	  /* GgufType */
	uint32_t element; /* GgufType of an array's elements */
	uint64_t count;	  /* elements of an array, bytes of a string, else 1 */
	uint64_t at;	  /* file offset of the first byte (of the first element) */
	uint64_t end;	  /* behind the last */
} GgufValue;

typedef struct GgufEntry {
	Bytes key;
	uint64_t at; /* file offset of the entry */
	GgufValue value;
} GgufEntry;

typedef struct GgufTensor {
	const char *name;
	uint32_t n_dims;
	uint64_t dims[GGUF_DIMS]; /* fastest first; 1 beyond n_dims */
	const StoredType *type;
	uint64_t bytes;
	uint64_t data_at; /* file offset */
	const uint8_t *data;
	Loc loc;
} GgufTensor;

typedef struct Gguf {
	Arena *arena;
	Diag *d;
	Cursor cursor;
	uint32_t version, alignment;
	const GgufEntry *entries;
	uint32_t n_entries;
	const GgufTensor *tensors;
	uint32_t n_tensors;
} Gguf;

bool gguf_is_magic(const uint8_t *data, size_t size);
/* false after diagnostics; data must outlive g. */
bool gguf_parse(Arena *a, Diag *d, uint32_t file, const uint8_t *data, size_t size, Gguf *g);
/* Whether no name of g's tensors, which may be of several files, occurs twice; false after
 * diagnostics. */
bool gguf_check_names(const Gguf *g);

const char *gguf_type_name(uint32_t type);
const GgufEntry *gguf_find(const Gguf *g, const char *key);
/* The string value itself. */
Bytes gguf_string(const Gguf *g, const GgufValue *v);
/* All strings of an array of strings. */
const Bytes *gguf_strings(const Gguf *g, const GgufValue *v);
/* First byte of a value or of an array's elements. */
const uint8_t *gguf_bytes(const Gguf *g, const GgufValue *v);
/* Scalars of any integer (or bool) and any float type; false where v is none. */
bool gguf_integer(const Gguf *g, const GgufValue *v, int64_t *n);
bool gguf_real(const Gguf *g, const GgufValue *v, double *x);

/* A value in short for messages and listings: `64`, `'llama'`, `[48900 strings]`. */
const char *gguf_show(const Gguf *g, const GgufValue *v);
/* "[576, 1536]", as in the file. */
const char *gguf_shape(Arena *a, const GgufTensor *t);

#endif
