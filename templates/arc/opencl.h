/*
 * OpenCL as far as a launcher needs it, by the Khronos specification: types, constants and
 * functions, which are looked up in libOpenCL.so.1 at run time. So neither headers nor a loader are
 * needed to build, and a program starts where there is none. Also what the kernels ask of a device.
 */
#ifndef LATHE_OPENCL_H
#define LATHE_OPENCL_H

#include <dlfcn.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

typedef int32_t cl_int;
typedef uint32_t cl_uint;
typedef uint64_t cl_ulong;
typedef cl_uint cl_bool;
typedef cl_ulong cl_bitfield;
typedef struct _cl_platform_id *cl_platform_id;
typedef struct _cl_device_id *cl_device_id;
typedef struct _cl_context *cl_context;
typedef struct _cl_command_queue *cl_command_queue;
typedef struct _cl_mem *cl_mem;
typedef struct _cl_program *cl_program;
typedef struct _cl_kernel *cl_kernel;
typedef struct _cl_event *cl_event;

/* X(name, value). The names of errors go into messages. */
#define OPENCL_ERRORS(X)                        \
	X(CL_DEVICE_NOT_FOUND, -1)              \
	X(CL_DEVICE_NOT_AVAILABLE, -2)          \
	X(CL_COMPILER_NOT_AVAILABLE, -3)        \
	X(CL_MEM_OBJECT_ALLOCATION_FAILURE, -4) \
	X(CL_OUT_OF_RESOURCES, -5)              \
	X(CL_OUT_OF_HOST_MEMORY, -6)            \
	X(CL_BUILD_PROGRAM_FAILURE, -11)        \
	X(CL_INVALID_VALUE, -30)                \
	X(CL_INVALID_DEVICE, -33)               \
	X(CL_INVALID_BINARY, -42)               \
	X(CL_INVALID_BUILD_OPTIONS, -43)        \
	X(CL_INVALID_PROGRAM, -44)              \
	X(CL_INVALID_PROGRAM_EXECUTABLE, -45)   \
	X(CL_INVALID_KERNEL_NAME, -46)          \
	X(CL_INVALID_ARG_INDEX, -49)            \
	X(CL_INVALID_ARG_VALUE, -50)            \
	X(CL_INVALID_ARG_SIZE, -51)             \
	X(CL_INVALID_KERNEL_ARGS, -52)          \
	X(CL_INVALID_WORK_GROUP_SIZE, -54)      \
	X(CL_INVALID_OPERATION, -59)            \
	X(CL_INVALID_BUFFER_SIZE, -61)

#define OPENCL_CONSTANTS(X)                        \
	X(CL_TRUE, 1)                              \
	X(CL_MEM_READ_WRITE, 1)                    \
	X(CL_DEVICE_TYPE_CPU, 2)                   \
	X(CL_DEVICE_TYPE_GPU, 4)                   \
	X(CL_PLATFORM_NAME, 0x0902)                \
	X(CL_DEVICE_TYPE, 0x1000)                  \
	X(CL_DEVICE_MAX_WORK_GROUP_SIZE, 0x1004)   \
	X(CL_DEVICE_ADDRESS_BITS, 0x100D)          \
	X(CL_DEVICE_MAX_MEM_ALLOC_SIZE, 0x1010)    \
	X(CL_DEVICE_GLOBAL_MEM_SIZE, 0x101F)       \
	X(CL_DEVICE_LOCAL_MEM_SIZE, 0x1023)        \
	X(CL_DEVICE_NAME, 0x102B)                  \
	X(CL_DRIVER_VERSION, 0x102D)               \
	X(CL_DEVICE_EXTENSIONS, 0x1030)            \
	X(CL_DEVICE_IL_VERSION, 0x105B)            \
	X(CL_DEVICE_SUB_GROUP_SIZES_INTEL, 0x4108) \
	X(CL_PROGRAM_BUILD_LOG, 0x1183)

#define OPENCL_CONSTANT(name, value) name = (value),
enum { OPENCL_ERRORS(OPENCL_CONSTANT) OPENCL_CONSTANTS(OPENCL_CONSTANT) };
#undef OPENCL_CONSTANT
#define CL_DEVICE_TYPE_ALL ((cl_bitfield)0xffffffff)

/* X(name without cl, result, parameters); all are of OpenCL 2.1. */
#define OPENCL_FUNCTIONS(X)                                                                        \
	X(GetPlatformIDs, cl_int, (cl_uint, cl_platform_id *, cl_uint *))                          \
	X(GetPlatformInfo, cl_int, (cl_platform_id, cl_uint, size_t, void *, size_t *))            \
	X(GetDeviceIDs, cl_int, (cl_platform_id, cl_bitfield, cl_uint, cl_device_id *, cl_uint *)) \
	X(GetDeviceInfo, cl_int, (cl_device_id, cl_uint, size_t, void *, size_t *))                \
	X(CreateContext, cl_context,                                                               \
	  (const intptr_t *, cl_uint, const cl_device_id *,                                        \
	   void (*)(const char *, const void *, size_t, void *), void *, cl_int *))                \
	X(ReleaseContext, cl_int, (cl_context))                                                    \
	X(CreateCommandQueueWithProperties, cl_command_queue,                                      \
	  (cl_context, cl_device_id, const cl_bitfield *, cl_int *))                               \
	X(ReleaseCommandQueue, cl_int, (cl_command_queue))                                         \
	X(CreateProgramWithBinary, cl_program,                                                     \
	  (cl_context, cl_uint, const cl_device_id *, const size_t *, const unsigned char **,      \
	   cl_int *, cl_int *))                                                                    \
	X(CreateProgramWithIL, cl_program, (cl_context, const void *, size_t, cl_int *))           \
	X(BuildProgram, cl_int,                                                                    \
	  (cl_program, cl_uint, const cl_device_id *, const char *, void (*)(cl_program, void *),  \
	   void *))                                                                                \
	X(GetProgramBuildInfo, cl_int,                                                             \
	  (cl_program, cl_device_id, cl_uint, size_t, void *, size_t *))                           \
	X(ReleaseProgram, cl_int, (cl_program))                                                    \
	X(CreateBuffer, cl_mem, (cl_context, cl_bitfield, size_t, void *, cl_int *))               \
	X(RetainMemObject, cl_int, (cl_mem))                                                       \
	X(ReleaseMemObject, cl_int, (cl_mem))                                                      \
	X(EnqueueWriteBuffer, cl_int,                                                              \
	  (cl_command_queue, cl_mem, cl_bool, size_t, size_t, const void *, cl_uint,               \
	   const cl_event *, cl_event *))                                                          \
	X(EnqueueReadBuffer, cl_int,                                                               \
	  (cl_command_queue, cl_mem, cl_bool, size_t, size_t, void *, cl_uint, const cl_event *,   \
	   cl_event *))                                                                            \
	X(CreateKernel, cl_kernel, (cl_program, const char *, cl_int *))                           \
	X(SetKernelArg, cl_int, (cl_kernel, cl_uint, size_t, const void *))                        \
	X(ReleaseKernel, cl_int, (cl_kernel))                                                      \
	X(EnqueueNDRangeKernel, cl_int,                                                            \
	  (cl_command_queue, cl_kernel, cl_uint, const size_t *, const size_t *, const size_t *,   \
	   cl_uint, const cl_event *, cl_event *))                                                 \
	X(Finish, cl_int, (cl_command_queue))

typedef struct OpenCl {
#define OPENCL_MEMBER(name, result, parameters) result(*name) parameters;
	OPENCL_FUNCTIONS(OPENCL_MEMBER)
#undef OPENCL_MEMBER
} OpenCl;

#define OPENCL_INSTALL                                                                   \
	"install an OpenCL loader and the device's driver (Debian: ocl-icd-libopencl1, " \
	"intel-opencl-icd)"

/* Looks the functions up; 0, or 1 with the reason. The library stays: drivers have threads. */
static int
opencl_open(OpenCl *cl, char *reason, size_t room)
{
	static const struct {
		const char *name;
		size_t at;
	} functions[] = {
#define OPENCL_ROW(name, result, parameters) {"cl" #name, offsetof(OpenCl, name)},
		OPENCL_FUNCTIONS(OPENCL_ROW)
#undef OPENCL_ROW
	};
	void *library = dlopen("libOpenCL.so.1", RTLD_NOW | RTLD_LOCAL);
	if (!library) {
		const char *why = dlerror();
		snprintf(reason, room, "%s: " OPENCL_INSTALL, why ? why : "no libOpenCL.so.1");
		return 1;
	}
	for (size_t i = 0; i < sizeof functions / sizeof *functions; i++) {
		void *f = dlsym(library, functions[i].name);
		if (!f) {
			snprintf(reason, room,
				 "libOpenCL.so.1 has no %s: it is older than OpenCL 2.1",
				 functions[i].name);
			return 1;
		}
		memcpy((char *)cl + functions[i].at, &f, sizeof f);
	}
	return 0;
}

/* "CL_INVALID_BINARY", or "error -9999". */
static inline const char *
opencl_error(cl_int code, char number[32])
{
	switch (code) {
#define OPENCL_CASE(name, value) \
	case name:               \
		return #name;
		OPENCL_ERRORS(OPENCL_CASE)
#undef OPENCL_CASE
	default:
		snprintf(number, 32, "error %d", (int)code);
		return number;
	}
}

/* ---- a device ----------------------------------------------------------------------------- */

enum { OPENCL_SIZES = 16, OPENCL_NAME = 160, OPENCL_PLATFORMS = 16 };

/* Sizes of sub-groups that kernels have: of all models', and of those with products by DPAS. */
enum { OPENCL_LANES = 16, OPENCL_LANES_DPAS = 8 };

typedef struct OpenClDevice {
	cl_platform_id platform;
	cl_device_id id;
	cl_bitfield type;
	char name[OPENCL_NAME], driver[OPENCL_NAME / 2], platform_name[OPENCL_NAME];
	char il[OPENCL_NAME], sizes[OPENCL_NAME / 2]; /* "SPIR-V_1.2 ...", "8, 16, 32" */
	cl_ulong memory, most, local; /* bytes in all, of a buffer, of a work-group's memory */
	size_t items;		      /* of a work-group */
	cl_uint address_bits;
	size_t lanes[OPENCL_SIZES]; /* of a sub-group; 0 behind the last */
	int subgroups;		    /* whether it has Intel's functions for them */
} OpenClDevice;

static void
opencl_text(const OpenCl *cl, cl_device_id d, cl_uint what, char *to, size_t room)
{
	if (cl->GetDeviceInfo(d, what, room - 1, to, NULL))
		to[0] = 0;
	to[room - 1] = 0;
}

/* What can be asked of a device; what it does not know is 0 or empty. */
static void
opencl_device(const OpenCl *cl, cl_device_id id, OpenClDevice *d)
{
	size_t bytes = 0, at = 0;
	char extensions[16384] = "";
	memset(d, 0, sizeof *d);
	d->id = id;
	opencl_text(cl, id, CL_DEVICE_NAME, d->name, sizeof d->name);
	opencl_text(cl, id, CL_DRIVER_VERSION, d->driver, sizeof d->driver);
	opencl_text(cl, id, CL_DEVICE_IL_VERSION, d->il, sizeof d->il);
	opencl_text(cl, id, CL_DEVICE_EXTENSIONS, extensions, sizeof extensions);
	cl->GetDeviceInfo(id, CL_DEVICE_TYPE, sizeof d->type, &d->type, NULL);
	cl->GetDeviceInfo(id, CL_DEVICE_GLOBAL_MEM_SIZE, sizeof d->memory, &d->memory, NULL);
	cl->GetDeviceInfo(id, CL_DEVICE_MAX_MEM_ALLOC_SIZE, sizeof d->most, &d->most, NULL);
	cl->GetDeviceInfo(id, CL_DEVICE_LOCAL_MEM_SIZE, sizeof d->local, &d->local, NULL);
	cl->GetDeviceInfo(id, CL_DEVICE_MAX_WORK_GROUP_SIZE, sizeof d->items, &d->items, NULL);
	cl->GetDeviceInfo(id, CL_DEVICE_ADDRESS_BITS, sizeof d->address_bits, &d->address_bits,
			  NULL);
	d->subgroups = strstr(extensions, "cl_intel_subgroups") != NULL;
	if (cl->GetDeviceInfo(id, CL_DEVICE_SUB_GROUP_SIZES_INTEL, sizeof d->lanes, d->lanes,
			      &bytes))
		bytes = 0;
	for (size_t i = bytes / sizeof *d->lanes; i < OPENCL_SIZES; i++)
		d->lanes[i] = 0;
	for (size_t i = 0; i < OPENCL_SIZES && d->lanes[i] && at < sizeof d->sizes; i++)
		at += (size_t)snprintf(d->sizes + at, sizeof d->sizes - at, "%s%zu", i ? ", " : "",
				       d->lanes[i]);
}

/* Whether its kernels may have sub-groups of `lanes`. */
static int
opencl_has_lanes(const OpenClDevice *d, size_t lanes)
{
	for (int i = 0; i < OPENCL_SIZES; i++)
		if (d->subgroups && d->lanes[i] == lanes)
			return 1;
	return 0;
}

/* What the kernels of an artefact want of a device, of the largest work-group. */
typedef struct OpenClNeeds {
	size_t items;
	cl_ulong local;	     /* bytes */
	const size_t *lanes; /* of sub-groups, OPENCL_SIZES at most, 0 behind the last */
} OpenClNeeds;

/* What the kernels want and the device has not, as a list; returns whether it lacks anything. */
static int
opencl_lacks(const OpenClDevice *d, const OpenClNeeds *needs, char *list, size_t room)
{
	char words[4 + OPENCL_SIZES][OPENCL_NAME + 64];
	size_t at = 0;
	int n = 0;
	if (d->address_bits != 64)
		snprintf(words[n++], sizeof *words, "64-bit addresses");
	if (!strstr(d->il, "SPIR-V_1.2"))
		snprintf(words[n++], sizeof *words, "SPIR-V 1.2 (%s)", d->il[0] ? d->il : "none");
	for (int i = 0; needs->lanes[i]; i++)
		if (!opencl_has_lanes(d, needs->lanes[i]))
			snprintf(words[n++], sizeof *words, "sub-groups of %zu (%s)",
				 needs->lanes[i],
				 !d->sizes[0]	? "none"
				 : d->subgroups ? d->sizes
						: "no cl_intel_subgroups");
	if (d->items < needs->items)
		snprintf(words[n++], sizeof *words, "work-groups of %zu (%zu)", needs->items,
			 d->items);
	if (d->local < needs->local)
		snprintf(words[n++], sizeof *words, "%llu bytes of local memory (%llu)",
			 (unsigned long long)needs->local, (unsigned long long)d->local);
	list[0] = 0;
	for (int i = 0; i < n && at < room; i++)
		at += (size_t)snprintf(list + at, room - at, "%s%s", i ? ", " : "", words[i]);
	return n > 0;
}

/*
 * The devices of all platforms, up to `most` of them, into `to`; returns how many. *platforms: how
 * many platforms there are.
 */
static int
opencl_devices(const OpenCl *cl, OpenClDevice *to, int most, int *platforms)
{
	cl_platform_id all[OPENCL_PLATFORMS];
	cl_device_id ids[OPENCL_PLATFORMS];
	cl_uint n = 0, count;
	int found = 0;
	if (cl->GetPlatformIDs(OPENCL_PLATFORMS, all, &n))
		n = 0;
	*platforms = (int)n;
	for (cl_uint p = 0; p < n && p < OPENCL_PLATFORMS; p++) {
		count = 0;
		if (cl->GetDeviceIDs(all[p], CL_DEVICE_TYPE_ALL, OPENCL_PLATFORMS, ids, &count))
			continue;
		for (cl_uint i = 0; i < count && i < OPENCL_PLATFORMS && found < most; i++) {
			opencl_device(cl, ids[i], &to[found]);
			to[found].platform = all[p];
			if (cl->GetPlatformInfo(all[p], CL_PLATFORM_NAME, OPENCL_NAME - 1,
						to[found].platform_name, NULL))
				to[found].platform_name[0] = 0;
			found++;
		}
	}
	return found;
}

#endif
