/*
 * safetensors: eight bytes of length, a JSON header, data. The file is mapped and tensors point
 * into it. Every length, offset and shape is checked; tensors must fill the data without holes.
 */
#ifndef LATHE_GEN_MODEL_SAFETENSORS_H
#define LATHE_GEN_MODEL_SAFETENSORS_H

#include "ir/support.h"

enum { SAFETENSORS_RANK = 4 };

typedef enum DataType {
#define DTYPE(name, bytes, whole, is_signed) DTYPE_##name,
#include "gen/model/dtypes.def"
	DTYPE_COUNT
} DataType;

typedef struct DataTypeInfo {
	const char *name;
	uint32_t bytes;
	bool whole, is_signed;
} DataTypeInfo;
extern const DataTypeInfo data_types[DTYPE_COUNT];

typedef struct SafeTensor {
	const char *name;
	uint8_t type; /* DataType */
	uint32_t rank;
	uint64_t shape[SAFETENSORS_RANK];
	uint64_t count, bytes;
	const uint8_t *data;
	Loc loc;
} SafeTensor;

typedef struct Safetensors {
	const char *path;
	const uint8_t *bytes; /* the whole file */
	size_t size;
	const SafeTensor *tensors; /* sorted by name */
	uint32_t count;
	const struct Json *metadata; /* an object, or null */
	Loc loc;
} Safetensors;

/* Whether the bytes begin as a safetensors file does. */
bool safetensors_looks_like(const uint8_t *data, size_t size);
/* null after diagnostics. The mapping lives until the program ends. */
const Safetensors *safetensors_read(Arena *a, Diag *d, const char *path);
/* The same from memory, which must outlive the result. */
const Safetensors *safetensors_read_memory(Arena *a, Diag *d, const char *path, const uint8_t *data,
					   size_t size);
/* Of a file that d knows as `file`. */
const Safetensors *safetensors_parse(Arena *a, Diag *d, uint32_t file, const char *path,
				     const uint8_t *data, size_t size);
/* null: there is none of this name. */
const SafeTensor *safetensors_find(const Safetensors *s, const char *name);
/* The present name that is nearest, or null. */
const char *safetensors_nearest(const Safetensors *s, const char *name);
/* Element i; exact but for 64-bit whole numbers beyond 2^53. */
double safetensor_number(const SafeTensor *t, uint64_t i);
/* Element i of a type of whole numbers; false where it is beyond an int64. */
bool safetensor_integer(const SafeTensor *t, uint64_t i, int64_t *out);
/* "F32 [576, 576]" */
const char *safetensor_describe(Arena *a, const SafeTensor *t);

/* A file in memory, tensor by tensor in the order given; the bytes follow from the arguments. */
typedef struct SafetensorsWriter {
	Text *header, *data;
} SafetensorsWriter;
/* metadata: key, value, key, value, null. */
void safetensors_begin(SafetensorsWriter *w, Arena *a, const char *const *metadata);
void safetensors_add(SafetensorsWriter *w, const char *name, DataType type, const uint64_t *shape,
		     uint32_t rank, const void *data, size_t bytes);
/* The finished file: length, header, data. */
const Text *safetensors_end(SafetensorsWriter *w);

#endif
