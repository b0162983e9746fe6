/* What an artefact's tokenizer needs for NFC, of templates/composition.def. */
#ifndef LATHE_TARGETS_TOKENIZER_NFC_H
#define LATHE_TARGETS_TOKENIZER_NFC_H

#include "../ir/model.h"

/* Appends the tables of templates/tokenizer_nfc.c. */
void tokenizer_print_nfc(Text *out);
/* Whether a text is in NFC for sure: it is UTF-8 and nothing in it could move. */
bool tokenizer_is_nfc(Arena *a, Bytes text);

#endif
