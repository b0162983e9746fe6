/* What the printer and the parser of the text form share. */
#ifndef LATHE_IR_GRAPH_TEXT_H
#define LATHE_IR_GRAPH_TEXT_H

#include "pass.h"

/* A constant of the model line: a uint32_t field of Model, 1 to `most`. */
typedef struct ModelField {
	const char *name;
	size_t offset;
	uint32_t most;
} ModelField;
enum { MODEL_FIELD_COUNT = 8 };
extern const ModelField model_fields[MODEL_FIELD_COUNT];

/* Whether a word may be printed bare: letters, digits, '_', '-', '.'. */
static inline bool
text_is_word_byte(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
	       c == '_' || c == '-' || c == '.';
}

#endif
