/* What diag.c and report.c share. */
#ifndef LATHE_IR_DIAG_IMPL_H
#define LATHE_IR_DIAG_IMPL_H

#include "report.h"

typedef struct DiagFile {
	const char *name, *text;
	size_t size;
} DiagFile;

typedef enum DiagMode { DIAG_TEXT, DIAG_JSON, DIAG_SARIF, DIAG_MODES } DiagMode;

/* One message; notes and hints belong to the error or warning in front of them. */
typedef struct DiagMessage DiagMessage;
struct DiagMessage {
	uint8_t severity; /* Severity */
	int id;		  /* DiagId, -1: none */
	Loc loc;
	const char *text;
	DiagMessage *notes, *hints, *next;
};

struct Diag {
	Arena *arena;
	FILE *out;
	DiagFile *files; /* [files_room] */
	uint32_t n_files, files_room;
	int errors, limit;
	DiagMode mode;
	const char *version;
	DiagMessage *messages; /* of a document */
	DiagMessage *last;
	bool truncated, finished;
};

typedef struct DiagPlace {
	const DiagFile *file; /* null: nowhere */
	size_t start;	      /* text: where its line starts */
	int line, column;     /* text: from 1; column in bytes. Else 0 */
} DiagPlace;

extern const char *const diag_ids[DIAG_COUNT], *const diag_meanings[DIAG_COUNT];
extern const char *const severity_names[];

DiagPlace diag_place(const Diag *d, Loc loc);
/* Keeps a message for the document. */
void diag_keep(Diag *d, Loc loc, Severity severity, int id, const char *format, va_list args);

#endif
