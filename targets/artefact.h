/*
 * The folder that one compile leaves: sources, weights, objects, library, runner, manifest. All of
 * it is made in a folder beside the place and moved there at the end, so a failure leaves what was
 * there before.
 */
#ifndef LATHE_TARGETS_ARTEFACT_H
#define LATHE_TARGETS_ARTEFACT_H

#include "emit.h"
#include "npu/options.h"

#include "../ir/proof.h"

typedef struct ArtefactOptions {
	const char *out;	 /* "out/smollm2": its last part is the name */
	const char *cc, *cflags; /* "cc", extra flags or null */
	const char *ar;		 /* "ar" */
	bool sources_only;	 /* --emit=c */
	const char *devices;	 /* that native binaries are made for, separated by commas */
	bool dpas;		 /* arc: as Artefact's */
	int device_seconds;	 /* that a device's compiler may take for a module; 0: any time */
	NpuOptions npu;
	Math math;
	bool disassembly; /* --emit=spvasm */
	int jobs;
	int n_golden;		   /* tokens of the golden vector, cut to the model's context; 0:
				      chosen by the model's size */
	const char *const *inputs; /* files that the artefact depends on, for the depfile */
	int n_inputs;
	const char *depfile_target; /* what depends on them; null: the files of the artefact */
	const ProofResult *proof;   /* null: there was none */
	const char *proof_words;    /* for people; never null */
	void (*progress)(void *arg, const char *step); /* may be null */
	void *progress_arg;
} ArtefactOptions;

/*
 * Compiles g for n targets. The graph has gone through all passes. false after diagnostics about
 * the model; the environment's failures and ours end the program.
 */
bool artefact_write(Arena *run, Diag *d, const Graph *g, const Target *const *targets,
		    int n_targets, const ArtefactOptions *o);

/* Of the C compiler, for all files of an artefact; null at the end. */
extern const char *const artefact_flags[];

/* Whether `name` can name an artefact: letters, digits, '.', '_', '-'. C symbols begin with it, or
 * with `lm_` and it where it is a word of the emitted C. */
bool artefact_name_ok(const char *name);

/* ---- pieces (artefact.c drives them) ------------------------------------------------------- */

/* A file of the artefact, in the order in which it is made. */
typedef struct MadeFile {
	const char *name;
	uint8_t sha256[32];
	uint64_t bytes;
} MadeFile;

/* Bytes of an object file by what they become in memory. */
typedef struct ObjectSize {
	const char *file;
	uint64_t text, constants, data; /* executed, only read, written */
	bool in_library;
} ObjectSize;
enum { OBJECTS_MAX = 16 };

typedef struct Build {
	Arena *run;
	Diag *d;
	const Artefact *x;
	const ArtefactOptions *o;
	const Device *const *devices; /* beside the levels */
	int n_devices;
	const char *dir; /* the staging folder */
	WeightsResult weights;
	MadeFile *files;
	int n_files;
	ObjectSize objects[OBJECTS_MAX]; /* of the library and the program, none: sources only */
	int n_objects;
	const char *cc_version;	  /* first line, or null */
	const char *const *flags; /* of the C compiler, all files */
	const char *folders[64];  /* below dir, null behind the last */
	/* What devices say of their files: members of the manifest, each with a comma behind it,
	 * and the end of the report. */
	Text *device_manifest, *device_report;
} Build;

/* For devices: what is at work, for people; a name's path in the staging folder; a file that is
 * there enters the list; a text becomes such a file; a folder of files. */
void artefact_step(const Build *b, const char *what);
const char *artefact_staged(const Build *b, const char *name);
void artefact_add(Build *b, const char *name);
void artefact_text(Build *b, const char *name, const Text *t);
void artefact_folder(Build *b, const char *name);

/* Golden vectors of the runner (templates/runner_golden.h) by the contract interpreter: n_tokens as
 * ArtefactOptions.n_golden, memory from run. */
void golden_emit(Text *t, Arena *run, const Graph *g, int n_tokens, int jobs);
/* Reads the sections of an ELF file; false where it is none. */
bool object_size(const char *path, ObjectSize *s);
/* manifest.json, NAME.spdx.json, NAME.pc, NAME.d, the CMake package, the reports. */
void manifest_write(Build *b);
/* report.html: what was decided, for people, in one file that needs no other. */
Text *report_html(const Build *b);

/* ---- processes ---------------------------------------------------------------------------- */

/*
 * Runs argv in dir, its output into the text file `log` (both streams), without input, in a process
 * group of its own that an early end of the program ends too. Returns the exit status, 128 + N for
 * signal N, or 127 with *error when it cannot be started.
 */
int process_run(const char *dir, const char *const *argv, const char *log, const char **error);

/* How a child ended. */
typedef struct ProcessEnd {
	int error;  /* errno where it could not be started, else 0 */
	int status; /* of its exit */
	int signal; /* that ended it, else 0 */
	bool late;  /* it was ended here, after `seconds` */
} ProcessEnd;

/* The same with an end after some seconds; 0: it may take as long as it likes. */
ProcessEnd process_run_within(const char *dir, const char *const *argv, const char *log,
			      int seconds);
/* The same with a call in a copy of this process, where nobody else runs: its status is what call
 * returns. */
ProcessEnd process_call_within(const char *dir, int (*call)(void *arg), void *arg, const char *log,
			       int seconds);

#endif
