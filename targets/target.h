/* A target is facts; a new one is a row of target_table (and a folder for what is its own). */
#ifndef LATHE_TARGETS_TARGET_H
#define LATHE_TARGETS_TARGET_H

#include "../ir/pass.h"

struct Artefact;
struct Build;

/* A target that is no level of the CPU library but files beside it. */
typedef struct Device {
	/* Whether the artefact can be made for it; false after diagnostics. */
	bool (*check)(Arena *run, Diag *d, const struct Artefact *x);
	/* Before any work: the devices of a list that native binaries are made for (null: the usual
	 * ones), separated by commas; null after diagnostics. Its compiler may take `seconds`.
	 * null: it has no such devices. */
	const char *(*devices)(Arena *run, Diag *d, const char *list, int seconds);
	/* What binaries can be made here, for `lathe targets`; null: nothing to say. */
	void (*list)(Text *t, int seconds);
	/* This machine's devices, for `lathe devices`: text, or a JSON object and a newline; null
	 * as above. */
	void (*machines)(Text *t, bool json, int seconds);
	/* Adds its files to the folder; everything else of the artefact is known. */
	void (*write)(struct Build *b);
	/* Of what it writes: the name behind the artefact's of the C file that goes into the
	 * library, which finds its driver by dlopen, and the template of the runner that defines
	 * `device_NAME`. */
	const char *source, *runner, *name;
} Device;

typedef struct Target {
	const char *name;   /* "x86-64-v4" */
	const char *suffix; /* of symbols and files: "v4" */
	const char *what;   /* the features it wants, for people */
	const char *flags;  /* for the C compiler */
	const char *detect; /* C expression over `cpu` of templates/api.c: this machine has it */
	const char *const *templates; /* the texts that its file is made of, null at the end */
	const Device *device;	      /* null: a CPU level */
} Target;

/* Best first: the first that a CPU supports is chosen at run time. */
extern const Target target_table[];
extern const int target_count;
/* null: unknown. */
const Target *target_find(const char *name);

/* A template by name ("linear_v4.h"), embedded at build time, and its size; null: none. */
const char *template_text(const char *name, size_t *size);

#endif
