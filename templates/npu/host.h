/*
 * @NAME@ through OpenVINO: the interface of @NAME@.h near its logits, computed in the device's own
 * precision. Plain C over OpenVINO's C interface, whose library is looked for at init; the models
 * are the files of the folder npu/.
 *
 *   @name@_npu_options o = {0};
 *   @name@_npu *m;
 *   o.models = "out/@NAME@/npu";
 *   int e = @name@_npu_init(&m, @name@_npu_positions(), &o);
 *   if (!e)
 *           e = @name@_npu_eval(m, tokens, n, logits, 0);
 *   @name@_npu_free(m);
 */
#ifndef LATHE_@name@_NPU_H
#define LATHE_@name@_NPU_H

#include "@NAME@.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Results beside those of @NAME@.h. */
enum {
	@name@_NPU_ERROR_OPENVINO = 200, /* no OpenVINO, or one that this does not know */
	@name@_NPU_ERROR_DEVICE = 201,	 /* no such device, or it refuses a property */
	@name@_NPU_ERROR_FILES = 202,	 /* the models are missing, damaged or of another build */
	@name@_NPU_ERROR_MEMORY = 203,	 /* out of memory, of the host or of the device */
	@name@_NPU_ERROR_COMPILE = 204,	 /* the device refused a model: see the log */
	@name@_NPU_ERROR_RUN = 205	 /* any other error of OpenVINO: see the log */
};

typedef struct @name@_npu @name@_npu;

typedef struct @name@_npu_options {
	const char *openvino; /* OpenVINO's folder or its libopenvino_c; null: what LATHE_OPENVINO
				 or INTEL_OPENVINO_DIR names, else the system's */
	const char *models;   /* the folder npu/ of the compile; null: "npu" */
	const char *device;   /* of OpenVINO: "NPU", "CPU", "GPU.1" ...; null: "NPU" */
	/* Of OpenVINO for the device: key, value, key, value ... and null; or null. */
	const char *const *properties;
	const char *cache; /* a folder where compiled models are kept; null: none */
	int check_weights; /* 1: verify the digest of the models' constants (reads them all once) */
} @name@_npu_options;

/* The most positions of a context, and the tokens of one prefill: fixed by the compile. */
int @name@_npu_positions(void);
int @name@_npu_chunk(void);

/*
 * Makes a context of no tokens; compiles the models for the device, or takes compiled ones of the
 * same OpenVINO, device and properties from the folder or the cache. *m is set on success, and on
 * the errors above with nothing but its log; free takes it in every case.
 */
int @name@_npu_init(@name@_npu **m, int n_ctx, const @name@_npu_options *options);
void @name@_npu_free(@name@_npu *m);

/* As of @NAME@.h. How tokens are split into calls may change bits. */
int @name@_npu_eval(@name@_npu *m, const int32_t *tokens, int n, float *logits, int all);
int @name@_npu_truncate(@name@_npu *m, int n_past);
int @name@_npu_n_past(const @name@_npu *m);

/* As of @NAME@.h, with keys and values in f32: states of the CPU library are others. */
size_t @name@_npu_state_size(const @name@_npu *m);
int @name@_npu_state_save(const @name@_npu *m, void *state, size_t bytes);
int @name@_npu_state_load(@name@_npu *m, const void *state, size_t bytes);

/* The device's name and OpenVINO's version; what went wrong, and what was remarkable about compiled
 * models, in sentences. */
const char *@name@_npu_device(const @name@_npu *m);
const char *@name@_npu_log(const @name@_npu *m);
const char *@name@_npu_strerror(int error);
/* Inferences since init. */
uint64_t @name@_npu_inferences(const @name@_npu *m);

#ifdef __cplusplus
}
#endif

#endif
