/*
 * The target npu: a plan's graph as models of OpenVINO, and a C host for them. What the pieces of
 * this folder give each other.
 */
#ifndef LATHE_TARGETS_NPU_H
#define LATHE_TARGETS_NPU_H

#include "../artefact.h"
#include "net.h"
#include "options.h"

/* Generations, and what each takes: rules.def. */
typedef enum NpuPlatform {
#define NPU_PLATFORM(e, name, what) e,
#include "platforms.def"
	NPU_PLATFORMS
} NpuPlatform;
extern const char *const npu_platform_names[NPU_PLATFORMS];

/* The options, checked. */
typedef struct NpuFacts {
	bool platform[NPU_PLATFORMS]; /* that the models must suit */
	bool u2;		      /* weights of 2 bits stay so */
	uint32_t chunk, context;
} NpuFacts;
/* false after diagnostics (E_NPU). */
bool npu_facts(Diag *d, const Graph *g, const NpuOptions *o, NpuFacts *f);

/*
 * How weights of a format are stored: floats, or codes of `element` whose value is
 * (code - zero) * scale, all three f32. Scales may be negative. A minimum is a zero point,
 * -minimum / scale: compilers keep such codes as they are, while code * scale + minimum becomes
 * f16.
 */
typedef struct NpuForm {
	Element element;
	int shift;  /* a stored code is Lathe's code minus this; i4: 8, 2-bit as i4: 2 */
	int zero;   /* the zero point of all groups, where there is none a group; 0: nothing to
		       subtract */
	bool zeros; /* a zero point a group, any f32 */
} NpuForm;
NpuForm npu_form(Format f, const NpuFacts *facts);
/*
 * Columns that share a stored scale: a row, or the largest power of two that divides the format's
 * group, whose scale then stands more than once. With other groups OpenVINO 2026.4's CPU plugin
 * gives wrong numbers, silently. 0: an odd group has none.
 */
uint32_t npu_group(Format f, uint32_t columns);

/* Every value and format against rules.def for the platforms: the refusal is at the plan's line
 * with the rule. false after diagnostics. */
bool npu_legal(Arena *run, Diag *d, const Graph *g, const NpuFacts *f);

/* ---- constants (constants.c) ---------------------------------------------------------------- */

/*
 * A matrix in the .bin: codes [rows, groups, group], scales f32 or f16 and zeros f32
 * [rows, groups, 1]; with one group codes [rows, padded], scales [rows, 1]; floats [rows,
 * columns], no scales. Columns behind the matrix's own, of a short last group or of a row that is
 * made longer, have codes 0 (of any value): what they meet must be 0.
 */
typedef struct NpuMatrix {
	NpuForm form;
	uint32_t rows, columns;
	uint32_t groups, group; /* in a row; columns of one: npu_group */
	uint32_t padded;	/* codes of a row, at least columns */
	BinPart codes, scales, zeros;
} NpuMatrix;

/* All constants of a graph, written once for the nets that share them. */
typedef struct NpuConstants {
	Bin *bin;
	const char *identity;	    /* of npu_identity: the name of every net */
	uint64_t digest;	    /* of the whole .bin by npu_digest, when it is closed */
	NpuMatrix **matrices;	    /* [func][value]: of OP_EMBED and OP_LINEAR */
	BinPart **vectors;	    /* [func][value]: f32, of OP_GAIN, OP_GAIN_HEADS, OP_BIAS */
	BinPart rope_cos, rope_sin; /* f32 [context, head_dim/2] */
} NpuConstants;
/* false after diagnostics (weights that are not finite). positions: rows of the rope tables. */
bool npu_constants(Arena *run, Diag *d, const Graph *g, const NpuFacts *f, uint32_t positions,
		   Bin *bin, int jobs, NpuConstants *c);

/* ---- lowering (lower.c, transform.c, attention.c) ------------------------------------------- */

/* The models of an artefact: rows of models.def. */
typedef enum NpuModel {
#define NPU_MODEL(e, file, what) e,
#include "models.def"
	NPU_MODELS
} NpuModel;
extern const char *const npu_model_files[NPU_MODELS]; /* "npu/npu_decode.xml" */

Net *npu_lower(Arena *run, const Graph *g, const NpuFacts *f, const NpuConstants *c,
	       NpuModel model);
/* x [..., n] times t: adds what runs. */
Wire npu_transform(Net *n, Wire x, const Transform *t);
/* x [..., width] and so many zeros behind each row. */
Wire npu_with_zeros(Net *n, Wire x, uint32_t width, uint32_t count);
/* What npu_transform adds, in words. */
void npu_transform_words(Text *t, const Transform *x);

/* ---- files ---------------------------------------------------------------------------------- */

/* config.json and generation_config.json, as GenAI reads them. */
void npu_config(Text *config, Text *generation, const Model *m);
/* What of the plan the NPU executes and what not: members of the manifest, words of the report. */
void npu_report(Text *report, Text *json, const Graph *g, const NpuFacts *f, const NpuConstants *c);
/* "NAME BUILD": by it the host knows the nets and the .bin of its own compile. Nets are called so,
 * and the first constant of the .bin is npu_stamp's (u8 [NPU_STAMP]): NUL-padded. */
enum { NPU_STAMP = 128 };
const char *npu_identity(Arena *a, const Artefact *x);
void npu_stamp(Bin *bin, const char *identity);
/* A file as the host digests it. */
uint64_t npu_digest(const char *path);
/* NAME_npu.h and NAME_npu.c. */
Text *npu_host_header(Arena *a, const Artefact *x);
Text *npu_host(Arena *a, const Artefact *x, const NpuFacts *f, const NpuConstants *c);
/* Blobs of the static models, where --npu-blob=auto and a compiler is found; otherwise a sentence
 * in the report says how to make one. */
void npu_blobs(Build *b, const NpuFacts *f, Text *report, Text *json);

/* For `lathe targets` and `lathe devices`: see Device. */
void npu_list(Text *t, int seconds);
void npu_machines(Text *t, bool json, int seconds);

extern const Device npu_device;

#endif
