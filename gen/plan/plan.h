/*
 * Plan files: JSON with a safetensors file beside it enter, an ir Plan leaves. Whatever is not
 * understood, matches nothing or contradicts the model is refused where it stands.
 */
#ifndef LATHE_GEN_PLAN_H
#define LATHE_GEN_PLAN_H

#include "ir/plan.h"

/*
 * Maps and reads the plan at `path` for m. m->sha256 must be known where the plan pins it: see
 * plan_wants_digest. null after diagnostics, up to the Diag's limit.
 */
Plan *plan_read(Arena *run, Diag *d, const char *path, const Model *m);
/* The same from memory; data null: the sidecar is read from its path, beside `path`. */
Plan *plan_read_memory(Arena *run, Diag *d, const char *path, const char *text, size_t size,
		       const uint8_t *data, size_t data_size, const Model *m);
/* plan_read of a model whose digest is not known yet: taken first where the plan may pin it. */
Plan *plan_read_digest(Arena *run, Diag *d, const char *path, Model *m);
/* Whether the plan at path pins a digest or has a sidecar, which may: then model_digest goes first.
 * May say so for other reasons; a file that cannot be read gives false. */
bool plan_wants_digest(const char *path);

/*
 * The plan as a file and its sidecar, in a canonical order: equal plans give equal bytes, and
 * reading what was written gives an equal plan. `data_file` is the name written into the plan; the
 * sidecar is null where nothing needs it.
 */
typedef struct PlanText {
	const Text *json, *data;
} PlanText;
PlanText plan_write(Arena *a, const Plan *p, const Model *m, const char *data_file);
/* The plan at `path`, its sidecar beside it under the same name with .safetensors. */
void plan_write_files(Arena *a, const Plan *p, const Model *m, const char *path);

#endif
