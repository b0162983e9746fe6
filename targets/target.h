/* A target is facts and a few functions; a new one is a row of target_table and a folder. */
#ifndef LATHE_TARGETS_TARGET_H
#define LATHE_TARGETS_TARGET_H

#include "../ir/pass.h"

typedef struct Target {
	const char *name;    /* "x86-64-v4" */
	const char *suffix;  /* of symbols and files: "v4" */
	const char *what;
	int priority;        /* the highest that the CPU supports is chosen */
	const char *flags;   /* for the C compiler */
	const char *detect;  /* C expression over `cpu` of the emitted API, "1" for any machine */
	const char *const *templates; /* names of the texts its file is made of, null-terminated */
	int tile;            /* tokens in a prefill tile of 8-bit activations */
	int tile16;          /* of 16-bit activations */
	int tile_float;      /* of float activations */
} Target;

extern const Target target_table[];
extern const int target_count;
const Target *target_find(const char *name);

/* A template by name ("linear_v4.h"), embedded at build time; null: none. */
const char *template_text(const char *name, size_t *size);

#endif
