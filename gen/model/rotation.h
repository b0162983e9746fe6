/*
 * What a model's files say of the basis that its weights are stored in. Readers find it and check
 * the form of what holds it; gen/plan/import.h understands it. A model that has one computes
 * nothing sensible without the plan that goes with it.
 */
#ifndef LATHE_GEN_MODEL_ROTATION_H
#define LATHE_GEN_MODEL_ROTATION_H

#include "gguf.h"
#include "json.h"
#include "safetensors.h"

typedef enum RotationDialect {
#define ROTATION(e, name, where) e,
#include "rotations.def"
	ROTATIONS
} RotationDialect;

typedef struct RotationInfo {
	const char *name, *where; /* "compressed-tensors", "transform_config of config.json" */
} RotationInfo;
extern const RotationInfo rotation_table[ROTATIONS];

typedef struct ModelRotation {
	uint8_t dialect; /* RotationDialect */
	Loc loc;
	const Json *config;		  /* folders: the object that says it */
	const SafeTensor *const *tensors; /* folders: those that belong to it, by shard and name */
	uint32_t n_tensors;
	const Gguf *gguf; /* GGUF: the file whose keys say it */
} ModelRotation;

#endif
