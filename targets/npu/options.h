/* What the command line says of the target npu. */
#ifndef LATHE_TARGETS_NPU_OPTIONS_H
#define LATHE_TARGETS_NPU_OPTIONS_H

/* As given: null and 0 are defaults. */
typedef struct NpuOptions {
	const char *platforms; /* generations that the models must suit, separated by commas;
				  null: all */
	const char *w2;	       /* weights of 2 bits: "i4" (widened, default) or "u2" */
	const char *blob;      /* "auto": blobs where a compiler is found; "none" (default) */
	const char *openvino;  /* folder or library where OpenVINO is looked for, for blobs */
	int chunk;	       /* tokens of a prefill; 0: 128, or fewer */
	int context;	       /* positions of the static models; 0: 1024, or the model's */
} NpuOptions;

#endif
