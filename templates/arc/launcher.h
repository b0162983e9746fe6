/*
 * @NAME@ on an OpenCL device: the interface of @NAME@.h with the same bits. Plain C over OpenCL
 * 2.1, whose loader libOpenCL.so.1 is looked for at init; the kernels are linked in, as native
 * binaries where the compile made some and as SPIR-V.
 *
 *   @name@_arc *m;
 *   int e = @name@_arc_init(&m, NULL, 0, @name@_N_CTX, 32, NULL);
 *   if (!e)
 *           e = @name@_arc_eval(m, tokens, n, logits, 0);
 *   @name@_arc_free(m);
 */
#ifndef LATHE_@name@_ARC_H
#define LATHE_@name@_ARC_H

#include "@NAME@.h"

#ifdef __cplusplus
extern "C" {
#endif

/* 1: the contract's functions, bit by bit the results of @NAME@.h; 0: libclc's (--math=libclc),
 * near them. */
enum { @name@_ARC_CONTRACT = @CONTRACT@ };

/* Results beside those of @NAME@.h. */
enum {
	@name@_ARC_ERROR_PLATFORM = 100, /* no OpenCL platform, or none with a device */
	@name@_ARC_ERROR_DEVICE = 101,	 /* no device that the kernels fit */
	@name@_ARC_ERROR_MEMORY = 102,	 /* out of memory, of the host or of the device */
	@name@_ARC_ERROR_BUILD = 103,	 /* the driver refused the kernels: see the log */
	@name@_ARC_ERROR_OPENCL = 104	 /* any other error of OpenCL: see the log */
};

typedef struct @name@_arc @name@_arc;

typedef struct @name@_arc_options {
	const char *device; /* a part of the device's name; null: a GPU, else any */
	int spirv;	    /* 1: no native binary is tried */
	const char *build;  /* options of the driver's compiler for SPIR-V; null: none */
	int check_weights;  /* 1: verify the checksum of the weights (reads them all once) */
} @name@_arc_options;

/*
 * Makes a context of no tokens. weights as of @name@_init: they are copied to the device. *m is set
 * on success, and on the errors above with nothing but its log; free takes it in every case.
 */
int @name@_arc_init(@name@_arc **m, const void *weights, size_t weights_bytes, int n_ctx,
		    int n_batch, const @name@_arc_options *options);
void @name@_arc_free(@name@_arc *m);

int @name@_arc_eval(@name@_arc *m, const int32_t *tokens, int n, float *logits, int all);
/*
 * Eval, and of the last token's logits the k largest with their ids: descending, the lower id first
 * among equal ones, NaN behind all numbers. k: 1 to @name@_ARC_TOP_MAX and at most
 * @name@_N_VOCAB. Either result may be null.
 */
enum { @name@_ARC_TOP_MAX = 64 };
int @name@_arc_eval_top(@name@_arc *m, const int32_t *tokens, int n, int k, int32_t *ids,
			float *logits);
int @name@_arc_truncate(@name@_arc *m, int n_past);
int @name@_arc_n_past(const @name@_arc *m);

/* As of @NAME@.h, and the same bytes: a state may go from a device to a CPU and back. An error of
 * the device in a load leaves a context of no tokens. */
size_t @name@_arc_state_size(const @name@_arc *m);
int @name@_arc_state_save(@name@_arc *m, void *state, size_t bytes);
int @name@_arc_state_load(@name@_arc *m, const void *state, size_t bytes);

/* The device's name and the driver's version; what went wrong, in a sentence or the build log. */
const char *@name@_arc_device(const @name@_arc *m);
const char *@name@_arc_log(const @name@_arc *m);
const char *@name@_arc_strerror(int error);
/* Launches since init, and of the last batch. */
uint64_t @name@_arc_launches(const @name@_arc *m);

#ifdef __cplusplus
}
#endif

#endif
