/*
 * Kernels for Intel Arc: entries (kernels as calls of template functions with literal arguments),
 * modules of them as SPIR-V, native binaries, the launcher. entries.c needs nothing but the graph;
 * module.c and check.c need LLVM and SPIRV-Tools, and absent.c stands in where lathe was built
 * without them.
 */
#ifndef LATHE_TARGETS_ARC_ARC_H
#define LATHE_TARGETS_ARC_ARC_H

#include "../artefact.h"

enum {
	ARC_CODELETS_MAX = 64,
	ARC_LANES = 16,	    /* of a sub-group, as the lines of packed weights want it */
	ARC_DPAS_LANES = 8, /* as DG2's matrix instruction wants it, and its tokens */
	ARC_DPAS_TOKENS = 8,
	ARC_DPAS_NARROW = 64, /* its columns where neither side has more than 4 bits */
	ARC_TOP_LAUNCHES = 2,
	ARC_LOCAL_MAX = 65536 /* bytes of local memory of a work-group */
};

/* Parameters that every entry has in this order; its constants follow. */
typedef enum ArcParameter {
	ARC_ARENA, /* the batch's buffers, as phase.h lays them out */
	ARC_BATCH, /* int32: {n_past, row0, rows, 0} of the layers, of the head; its
			0 may be k of the likeliest tokens; then tokens */
	ARC_ROPE,  /* cosines, then sines */
	ARC_CACHE, /* of the stage's layer */
	ARC_LOGITS,
	ARC_CAPACITY, /* tokens that the arena has room for */
	ARC_CTX,      /* positions that the cache has room for, a multiple of 64 */
	ARC_PARAMETERS,
} ArcParameter;
enum { ARC_BATCH_HEAD = 4, ARC_BATCH_TOP = 7, ARC_BATCH_TOKENS = 8 };

typedef enum ArcKind {
	ARC_INT,
	ARC_LONG,
	ARC_FLOAT,
	ARC_PARAMETER, /* parameter `value`, a pointer moved by `offset` bytes */
	ARC_CONSTANT,  /* constant `value` of the kernel, moved by `offset` bytes */
	ARC_LOCAL,     /* the entry's local memory from float `value` on */
	ARC_FLOATS,    /* a table of `value` f32, or uint16_t */
	ARC_WORDS,
	ARC_BY_BLOCK, /* values[i] of the first i with work-group < ends[i] */
} ArcKind;

enum { ARC_ARGUMENTS_MAX = 40 };

/* The matrices of a stack: which is at work, by the end of its blocks. */
typedef struct ArcByBlock {
	int n;
	bool wide; /* values of 64 bits */
	uint32_t ends[STACK_MAX];
	int64_t values[STACK_MAX];
} ArcByBlock;

typedef struct ArcArgument {
	ArcKind kind;
	float number;
	int64_t value, offset;
	const ArcByBlock *by_block;
	const void *table;
} ArcArgument;

/* A call of a function of the family's template. */
typedef struct ArcCall {
	const char *function;
	ArcArgument arguments[ARC_ARGUMENTS_MAX];
	int n;
	int from, end; /* done by work-groups [from, end) only; end 0: by all */
} ArcCall;

typedef enum ArcFamily { ARC_ROWS, ARC_LINEAR, ARC_ATTENTION, ARC_FAMILIES } ArcFamily;
extern const char *const arc_families[ARC_FAMILIES];

/* A kernel of a module. */
typedef struct ArcEntry {
	const char *name;  /* "layer0_1_q_k_v_one" */
	const char *words; /* the values that it computes */
	Loc loc;	   /* where they were asked for: the plan's line, else the model */
	ArcFamily family;
	ArcCall *calls;
	int n_calls, calls_room;
	int n_constants;
	int sub_groups; /* of a work-group */
	int groups;	/* work-groups of a tile of rows; 0: as many as the launch says */
	int lanes;	/* of a sub-group */
	int local_floats;
	bool dot; /* has products of codes: dp4a must be in its binary */
	int dpas; /* columns of the DPAS by which it has them, which must be; 0: by none */
} ArcEntry;

/*
 * One kernel of a function at run time. The work-groups are [groups][rows / tile, rounded up];
 * `one` serves batches of one row; entries are indexes, -1: nothing to do.
 */
typedef struct ArcLaunch {
	int one, many;
	uint32_t groups;
	int tile_one, tile_many;
	int kernel; /* of the function: whose constants both have */
} ArcLaunch;

/* The launches of one unit. */
typedef struct ArcStage {
	const Unit *unit;
	ArcLaunch *launches;
	int n;
} ArcStage;

typedef struct ArcProgram {
	const Artefact *x;
	ArcEntry *entries;
	int n_entries, room;
	const Codelet *codelets[ARC_CODELETS_MAX]; /* base_program()'s, by number */
	int n_codelets;
	ArcStage *stages;		 /* [layout->n_units] */
	ArcLaunch top[ARC_TOP_LAUNCHES]; /* of the likeliest tokens, on demand */
	uint64_t arena_bytes;		 /* per token: the graph's and the attention's result */
} ArcProgram;

/* entries.c: what runs. false after diagnostics: what no template does, or no tile fits. */
bool arc_program(Arena *a, Diag *d, const Artefact *x, ArcProgram *p);
/* top.c: the entries of the likeliest tokens. */
void arc_make_top(Arena *a, ArcProgram *p);
/* The entries of a family, one line a call. */
void arc_print(Text *t, const ArcProgram *p, ArcFamily family);

/* A module as it is stored. */
typedef struct ArcBinary {
	const uint8_t *bytes;
	size_t size;
} ArcBinary;

/* module.c: why this lathe has no generator, or null; the entries of one family as SPIR-V 1.2. What
 * LLVM cannot do ends the process with ARC_FAILED, behind a line on stderr: modules.c finds the
 * kernel. */
enum { ARC_FAILED = 71 };
const char *arc_missing(void);
/* Whether libclc was found when lathe was built. */
bool arc_libclc(void);
/* Loads the libraries that arc_module needs, so that its processes share them; ends the program
 * with EXIT_ENVIRONMENT where they are missing. */
void arc_load(void);
ArcBinary arc_module(Arena *a, const ArcProgram *p, ArcFamily family);
/* check.c: why a module may not be used, or null: it is not valid for OpenCL 2.2, or word *word is
 * an operation outside `math` (operations.def). */
const char *arc_refusal(Arena *a, ArcBinary m, Math math, size_t *word);
/* Whether it may be used; if not, says why on stderr, with the disassembly around the word. */
bool arc_check(Arena *a, const char *name, ArcBinary m, Math math);
/* modules.c: the program's modules into the staging folder, and their disassembly where it is asked
 * for. A kernel that cannot be made is our bug: its name, and a note at its values' place. */
void arc_modules(Build *b, const ArcProgram *p);
/* Says in front of an error what the kernel computes, at the place where that was asked for. */
void arc_note(const Build *b, const ArcEntry *n);
/* The module as SPIRV-Tools' text. */
Text *arc_disassembly(Arena *a, ArcBinary m);

/*
 * native.c: binaries of all modules for some of ocloc's devices, read back, and arc/binaries.txt;
 * json: what it says as a member of the manifest. A failure of ocloc, spills, arrays in memory,
 * another width and fewer dp4a than products of codes end the compile.
 */
void arc_native(Build *b, const ArcProgram *p, const char *const *devices, int n_devices,
		Text *json);

/* roofline.c: what bounds each kernel of an A770, an estimate: for people, and as a member of the
 * manifest. */
void arc_roofline(Text *t, Text *json, const ArcProgram *p);

/* launcher.c: NAME_arc.h and NAME_arc.c, with the binaries of `devices`. */
Text *arc_launcher_header(Arena *a, const Artefact *x);
Text *arc_launcher(Arena *a, const ArcProgram *p, const char *const *devices, int n_devices);

/* devices.c: of Device (targets/target.h). */
void arc_machines(Text *t, bool json, int seconds);

/* arc.c: the target. */
extern const struct Device arc_device;

#endif
