/* Between the files that read a Hugging Face folder. */
#ifndef LATHE_GEN_MODEL_HF_H
#define LATHE_GEN_MODEL_HF_H

#include "json.h"
#include "match.h"
#include "reader.h"
#include "rotation.h"
#include "safetensors.h"

/* What decides which tensors a model has. */
typedef enum HfFact {
	HF_ALWAYS = 1,
	HF_QKV_BIAS = 2,
	HF_O_BIAS = 4,
	HF_MLP_BIAS = 8,
	HF_HEAD_NORM = 16,
	HF_OWN_HEAD = 32,
	HF_TIED_HEAD = 64,
	HF_MLP = 128,	  /* one that all tokens go through, no experts */
	HF_MIXTRAL = 256, /* experts, by the names and keys of Mixtral or of Qwen */
	HF_QWEN_EXPERTS = 512,
	HF_SHARED = 1024, /* and one that all tokens go through */
	HF_EXPERTS = HF_MIXTRAL | HF_QWEN_EXPERTS
} HfFact;

enum { SHARDS_MAX = 4096, FILES_MAX = SHARDS_MAX + 8 };

/* How matrices are quantized; layout null: they are not. */
typedef struct HfQuant {
	const struct HfLayout *layout;
	uint32_t bits, group; /* group 0: a scale a row */
	bool symmetric, zero_plus_one;
	bool signed_scales; /* of symmetric ones; of others they are positive */
	const Json *extra;  /* object: what is another for a matrix by its name; null: nothing */
} HfQuant;

typedef struct HfReader {
	Arena *arena;
	Diag *d;
	Model *m;
	const ModelFolder *folder;
	ModelFile *files; /* [FILES_MAX] */
	uint32_t n_files;
	const Json *config;
	unsigned facts; /* HfFact that hold */
	HfQuant quant;
	ModelRotation *rotation; /* null: config.json says of none */
	const Safetensors **shards;
	uint32_t n_shards;
} HfReader;

/*
 * A file of the folder by name, which becomes one of the model's; null: *error says why, and
 * nothing was reported. `text`: messages print its lines.
 */
const ModelFile *hf_open(HfReader *r, const char *name, bool text, const char **error);
/* Whether the folder has a file of this name. */
bool hf_has(const HfReader *r, const char *name);
/* The JSON object of a file, which must be there; null after diagnostics. */
const Json *hf_open_json(HfReader *r, const char *name);

/* Each: false after diagnostics. Constants of the model from config.json, and facts. */
bool hf_config(HfReader *r);
/* Likewise its quantization_config. */
bool hf_quant_config(HfReader *r);
/* Opens the safetensors files, one or the shards of an index. */
bool hf_shards(HfReader *r);
/* What a tensor of a quantized checkpoint is. */
typedef enum HfPart {
	PART_NONE,  /* one of its own */
	PART_CODES, /* the codes of a matrix, which is in *found now */
	PART_OTHER, /* belongs to codes, which read it */
	PART_BAD    /* a diagnostic was given */
} HfPart;
/* hf_rotation.c. What config.json says of a rotated basis, at v (null, empty: nothing). */
bool hf_rotation_config(HfReader *r, RotationDialect dialect, const Json *v);
/* Whether s belongs to the rotation, which then has it. */
bool hf_rotation_part(HfReader *r, const SafeTensor *s);
HfPart hf_quant_part(const HfReader *r, const SafeTensor *s, FoundTensor *found);
/* Tensors of the shards become roles; n_vocab is set. */
bool hf_tensors(HfReader *r);
/* The tokenizer, if the folder has one. */
bool hf_tokenizer(HfReader *r);

#endif
