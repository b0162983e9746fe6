/* Diagnostics for programs: all messages as one JSON document, at the end. */
#ifndef LATHE_IR_REPORT_H
#define LATHE_IR_REPORT_H

#include "support.h"

/*
 * How messages leave: "text" (as they come, the default), "json" or "sarif" (2.1.0); false: no such
 * name. `version` is the program's, for the document. Before the first message.
 *
 * json: { "lathe_diagnostics": 1, "truncated": false, "diagnostics": [ { "severity", "id",
 * "message", "file", "line", "column" (1 and up, bytes) or "offset" (binary files), "hints": [],
 * "notes": [ { "message", "file" ... } ] } ] }. Places are absent where there is none.
 */
bool diag_mode(Diag *d, const char *name, const char *version);
/* Whether messages are kept for a document: then nothing else should go where they go. */
bool diag_is_document(const Diag *d);
/* Writes the document, once; nothing in text mode. Every command that sets a mode ends with it.
 * Only an end by the machine's fault or our own leaves none. */
void diag_finish(Diag *d);

#endif
