/*
 * A table of keys of several objects and its check, for one file; without a guard, since each that
 * includes it has a table of its own. Before it:
 *   KEY_ROWS    the .def of HF_OBJECT, HF_USED, HF_HARMLESS and HF_ONLY (see hf_tokenizer_keys.def)
 *   KEY_READER  a type with `arena` and `d`
 *   KEY_ID      the diagnostic of a key or value that is not understood
 */
#include "gen/model/keys.h"

static const KeyObjectRow key_rows[] = {
#define HF_OBJECT(name) {name, {NULL, 0, NULL}},
#define HF_USED(key) {NULL, {key, KEY_USED, NULL}},
#define HF_HARMLESS(key) {NULL, {key, KEY_HARMLESS, NULL}},
#define HF_ONLY(key, value) {NULL, {key, KEY_ONLY, value}},
#include KEY_ROWS
};

/* Whether all keys of an object are understood by the rows of `name`; an absent one has none. */
static bool
check_keys(const KEY_READER *r, const Json *object, const char *name)
{
	return keys_check_object(r->arena, r->d, object, name, key_rows,
				 sizeof key_rows / sizeof *key_rows, KEY_ID);
}

#undef KEY_ROWS
#undef KEY_READER
#undef KEY_ID
