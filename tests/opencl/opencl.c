/*
 * libOpenCL.so.1 of one device, the interpreter of SPIR-V: as much of OpenCL as launchers call.
 * Commands run when they are enqueued. LATHE_FAKE_OPENCL changes what the device is, as words:
 * none (no platform), gpu (its type), lanes=N (sizes of its sub-groups), il=TEXT, local=BYTES,
 * memory=BYTES (what buffers may hold in all), binaries (each that is refused is said).
 */
#include "spirv.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef int32_t cl_int;
typedef uint32_t cl_uint;

enum {
	SUCCESS = 0,
	NO_MEMORY = -4,
	BAD_VALUE = -30,
	BAD_BINARY = -42,
	BAD_KERNEL_NAME = -46,
	BAD_ARGUMENT_INDEX = -49,
	BAD_ARGUMENT_SIZE = -51,
	BAD_ARGUMENTS = -52,
	BAD_GROUP_SIZE = -54,
	NO_PLATFORM = -1001
};
enum { TYPE_CPU = 2, TYPE_GPU = 4, ITEMS_MAX = 1024, WORDS_MAX = 256 };

#define EXPORT __attribute__((visibility("default")))

/* Every object counts its owners. */
typedef struct Memory {
	int owners;
	Region region;
} Memory;

typedef struct Program {
	int owners;
	Module *module;
} Program;

typedef struct Kernel {
	Program *program;
	const Function *function;
	uint64_t values[PARAMETERS_MAX];
	Region buffers[PARAMETERS_MAX];
	bool set[PARAMETERS_MAX];
} Kernel;

static char handle; /* of the platform, the device, contexts and queues: there is one of each */
static size_t in_use;

/* The value of a word in LATHE_FAKE_OPENCL, or null; "" where it has none. */
static const char *
setting(const char *name, char value[WORDS_MAX])
{
	const char *s = getenv("LATHE_FAKE_OPENCL");
	const size_t n = strlen(name);
	for (; s && *s; s += strcspn(s, " "), s += strspn(s, " ")) {
		const size_t length = strcspn(s, " ");
		if (length < n || strncmp(s, name, n) || (length > n && s[n] != '='))
			continue;
		snprintf(value, WORDS_MAX, "%.*s", length > n ? (int)(length - n - 1) : 0,
			 s + n + 1);
		return value;
	}
	return NULL;
}

static uint64_t
number(const char *name, uint64_t otherwise)
{
	char value[WORDS_MAX];
	return setting(name, value) ? strtoull(value, NULL, 10) : otherwise;
}

static cl_int
answer(const void *from, size_t bytes, size_t room, void *to, size_t *wanted)
{
	if (wanted)
		*wanted = bytes;
	if (to && room < bytes)
		return BAD_VALUE;
	if (to)
		memcpy(to, from, bytes);
	return SUCCESS;
}

static cl_int
answer_text(const char *text, size_t room, void *to, size_t *wanted)
{
	return answer(text, strlen(text) + 1, room, to, wanted);
}

static cl_int
answer_number(uint64_t n, size_t bytes, size_t room, void *to, size_t *wanted)
{
	return answer(&n, bytes, room, to, wanted);
}

/* ---- platform and device ------------------------------------------------------------------- */

EXPORT cl_int
clGetPlatformIDs(cl_uint most, void **to, cl_uint *n)
{
	char value[WORDS_MAX];
	if (setting("none", value)) {
		if (n)
			*n = 0;
		return NO_PLATFORM;
	}
	if (n)
		*n = 1;
	if (to && most)
		*to = &handle;
	return SUCCESS;
}

EXPORT cl_int
clGetPlatformInfo(void *platform, cl_uint what, size_t room, void *to, size_t *wanted)
{
	(void)platform, (void)what;
	return answer_text("Lathe's interpreter of SPIR-V", room, to, wanted);
}

EXPORT cl_int
clGetDeviceIDs(void *platform, uint64_t type, cl_uint most, void **to, cl_uint *n)
{
	(void)type;
	return clGetPlatformIDs(most, to, n) || !platform ? BAD_VALUE : SUCCESS;
}

EXPORT cl_int
clGetDeviceInfo(void *device, cl_uint what, size_t room, void *to, size_t *wanted)
{
	char value[WORDS_MAX];
	const size_t lanes = (size_t)number("lanes", LANES);
	const uint64_t memory = number("memory", (uint64_t)4 << 30);
	(void)device;
	switch (what) {
	case 0x1000: /* CL_DEVICE_TYPE */
		return answer_number(setting("gpu", value) ? TYPE_GPU : TYPE_CPU, 8, room, to,
				     wanted);
	case 0x1004: /* CL_DEVICE_MAX_WORK_GROUP_SIZE */
		return answer_number(ITEMS_MAX, 8, room, to, wanted);
	case 0x100d: /* CL_DEVICE_ADDRESS_BITS */
		return answer_number(64, 4, room, to, wanted);
	case 0x1010: /* CL_DEVICE_MAX_MEM_ALLOC_SIZE */
	case 0x101f: /* CL_DEVICE_GLOBAL_MEM_SIZE */
		return answer_number(memory, 8, room, to, wanted);
	case 0x1023: /* CL_DEVICE_LOCAL_MEM_SIZE */
		return answer_number(number("local", 65536), 8, room, to, wanted);
	case 0x102b: /* CL_DEVICE_NAME */
		return answer_text("interpreter of SPIR-V", room, to, wanted);
	case 0x102d: /* CL_DRIVER_VERSION */
		return answer_text("1", room, to, wanted);
	case 0x1030: /* CL_DEVICE_EXTENSIONS */
		return answer_text("cl_intel_subgroups cl_intel_required_subgroup_size "
				   "cl_khr_integer_dot_product",
				   room, to, wanted);
	case 0x105b: /* CL_DEVICE_IL_VERSION */
		return answer_text(setting("il", value) ? value : "SPIR-V_1.2", room, to, wanted);
	case 0x4108: /* CL_DEVICE_SUB_GROUP_SIZES_INTEL */
		return answer(&lanes, sizeof lanes, room, to, wanted);
	default:
		return BAD_VALUE;
	}
}

EXPORT void *
clCreateContext(const void *properties, cl_uint n, void *const *devices, void *notify, void *data,
		cl_int *code)
{
	(void)properties, (void)n, (void)devices, (void)notify, (void)data;
	if (code)
		*code = SUCCESS;
	return &handle;
}

EXPORT void *
clCreateCommandQueueWithProperties(void *context, void *device, const void *properties,
				   cl_int *code)
{
	(void)device, (void)properties;
	if (code)
		*code = SUCCESS;
	return context;
}

EXPORT cl_int
clReleaseContext(void *context)
{
	return context == &handle ? SUCCESS : BAD_VALUE;
}

EXPORT cl_int
clReleaseCommandQueue(void *queue)
{
	return clReleaseContext(queue);
}

EXPORT cl_int
clFinish(void *queue)
{
	return clReleaseContext(queue);
}

/* ---- programs and kernels -------------------------------------------------------------------- */

/* It knows no binary. */
EXPORT void *
clCreateProgramWithBinary(void *context, cl_uint n, void *const *devices, const size_t *bytes,
			  const unsigned char **binaries, cl_int *status, cl_int *code)
{
	char value[WORDS_MAX];
	(void)context, (void)devices;
	for (cl_uint i = 0; setting("binaries", value) && i < n; i++)
		fprintf(stderr, "a binary of %zu bytes is refused%s\n", bytes[i],
			memcmp(binaries[i], "\177ELF", 4) ? ": no ELF" : "");
	if (status)
		*status = BAD_BINARY;
	if (code)
		*code = BAD_BINARY;
	return NULL;
}

EXPORT void *
clCreateProgramWithIL(void *context, const void *words, size_t bytes, cl_int *code)
{
	Program *p = calloc(1, sizeof *p);
	(void)context;
	if (code)
		*code = p ? SUCCESS : NO_MEMORY;
	if (p)
		*p = (Program){1, spirv_read(words, bytes)};
	return p;
}

EXPORT cl_int
clBuildProgram(void *program, cl_uint n, void *const *devices, const char *options, void *notify,
	       void *data)
{
	(void)n, (void)devices, (void)options, (void)notify, (void)data;
	return program ? SUCCESS : BAD_VALUE;
}

EXPORT cl_int
clGetProgramBuildInfo(void *program, void *device, cl_uint what, size_t room, void *to,
		      size_t *wanted)
{
	(void)program, (void)device, (void)what;
	return answer_text("", room, to, wanted);
}

EXPORT cl_int
clReleaseProgram(void *program)
{
	Program *p = program;
	if (--p->owners == 0) {
		spirv_free(p->module);
		free(p);
	}
	return SUCCESS;
}

EXPORT void *
clCreateKernel(void *program, const char *name, cl_int *code)
{
	Program *p = program;
	const Function *f = spirv_entry(p->module, name);
	Kernel *k = f ? calloc(1, sizeof *k) : NULL;
	if (code)
		*code = k ? SUCCESS : f ? NO_MEMORY : BAD_KERNEL_NAME;
	if (k) {
		k->program = p;
		k->function = f;
		p->owners++;
	}
	return k;
}

EXPORT cl_int
clReleaseKernel(void *kernel)
{
	Kernel *k = kernel;
	clReleaseProgram(k->program);
	free(k);
	return SUCCESS;
}

EXPORT cl_int
clSetKernelArg(void *kernel, cl_uint index, size_t bytes, const void *value)
{
	Kernel *k = kernel;
	const Module *m = k->program->module;
	if (index >= k->function->n_parameters)
		return BAD_ARGUMENT_INDEX;
	const Type *t = &m->types[m->type_of[k->function->parameters[index]]];
	if (bytes != t->bytes || !value)
		return BAD_ARGUMENT_SIZE;
	k->set[index] = true;
	k->values[index] = 0;
	memcpy(&k->values[index], value, bytes);
	if (t->kind == TYPE_POINTER) {
		const Memory *memory;
		memcpy(&memory, value, sizeof memory);
		k->buffers[index] = memory->region;
		k->values[index] = (uint64_t)(uintptr_t)memory->region.start;
	}
	return SUCCESS;
}

/* ---- buffers and commands ---------------------------------------------------------------------
 */

EXPORT void *
clCreateBuffer(void *context, uint64_t flags, size_t bytes, void *host, cl_int *code)
{
	const size_t most = (size_t)number("memory", (uint64_t)4 << 30);
	Memory *b = NULL;
	(void)context, (void)flags, (void)host;
	if (bytes <= most - in_use)
		b = calloc(1, sizeof *b);
	if (b) {
		/* So that no place beside a buffer is taken for one of it. */
		*b = (Memory){1, {aligned_alloc(4096, (bytes + 8191) / 4096 * 4096), bytes, false}};
		if (b->region.start)
			memset(b->region.start, 0xff, bytes);
		in_use += bytes;
	}
	if (code)
		*code = b && b->region.start ? SUCCESS : NO_MEMORY;
	return b;
}

EXPORT cl_int
clRetainMemObject(void *memory)
{
	((Memory *)memory)->owners++;
	return SUCCESS;
}

EXPORT cl_int
clReleaseMemObject(void *memory)
{
	Memory *b = memory;
	if (--b->owners == 0) {
		in_use -= b->region.bytes;
		free(b->region.start);
		free(b);
	}
	return SUCCESS;
}

static bool
part_of(const Memory *b, size_t offset, size_t bytes)
{
	return offset <= b->region.bytes && bytes <= b->region.bytes - offset;
}

EXPORT cl_int
clEnqueueWriteBuffer(void *queue, void *memory, cl_uint blocking, size_t offset, size_t bytes,
		     const void *from, cl_uint n, const void *events, void *event)
{
	Memory *b = memory;
	(void)queue, (void)blocking, (void)n, (void)events, (void)event;
	if (!part_of(b, offset, bytes))
		return BAD_VALUE;
	memcpy(b->region.start + offset, from, bytes);
	return SUCCESS;
}

EXPORT cl_int
clEnqueueReadBuffer(void *queue, void *memory, cl_uint blocking, size_t offset, size_t bytes,
		    void *to, cl_uint n, const void *events, void *event)
{
	Memory *b = memory;
	(void)queue, (void)blocking, (void)n, (void)events, (void)event;
	if (!part_of(b, offset, bytes))
		return BAD_VALUE;
	memcpy(to, b->region.start + offset, bytes);
	return SUCCESS;
}

EXPORT cl_int
clEnqueueNDRangeKernel(void *queue, void *kernel, cl_uint dimensions, const size_t *offset,
		       const size_t *global, const size_t *local, cl_uint n, const void *events,
		       void *event)
{
	const Kernel *k = kernel;
	size_t all[3] = {1, 1, 1}, group[3] = {1, 1, 1};
	(void)queue, (void)n, (void)events, (void)event;
	if (offset || !dimensions || dimensions > 3 || !local)
		return BAD_VALUE;
	for (cl_uint d = 0; d < dimensions; d++) {
		all[d] = global[d];
		group[d] = local[d];
		if (!group[d] || all[d] % group[d])
			return BAD_GROUP_SIZE;
	}
	const size_t items = group[0] * group[1] * group[2];
	const uint32_t wanted = k->function->local_size;
	if (items > ITEMS_MAX || items % LANES || (wanted && wanted != items))
		return BAD_GROUP_SIZE;
	for (uint32_t i = 0; i < k->function->n_parameters; i++)
		if (!k->set[i])
			return BAD_ARGUMENTS;
	spirv_launch(k->program->module, k->function, k->values, k->buffers,
		     (int)k->function->n_parameters, all, group);
	return SUCCESS;
}
