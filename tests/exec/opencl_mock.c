/*
 * libOpenCL.so.1 for tests of the launcher: the functions that it looks up, over devices that
 * compute nothing. OPENCL_MOCK in the environment says what is wrong with them, words separated by
 * commas:
 *   no_platform  no_device  no_lanes  no_spirv  no_subgroups  addresses  local  items
 *   no_eight     no sub-groups of 8, as a GPU behind DG2 has
 *   build        clBuildProgram of SPIR-V fails with a log
 *   binary       native binaries are refused
 *   buffer=N     a buffer takes N bytes at most; memory=N: the device has N bytes
 *   create=N     the Nth buffer is not to be had
 *   enqueue      a launch is out of resources
 *   two          a GPU behind the CPU
 * It writes to standard error what was built, "mock: built SPIR-V of N bytes", and at the end of a
 * context what was read and what is left, "mock: read N bytes", "mock: N objects are left".
 */
#define CL_TARGET_OPENCL_VERSION 300
#include <CL/cl.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct _cl_program {
	int binary;
	size_t bytes;
};
struct _cl_mem {
	int users;
	size_t bytes;
	unsigned char *data;
};

static char platform, queue, context, kernel, devices[2];
static int buffers, objects; /* that were asked for since the context; that nobody released */
static size_t bytes_read;

/* The value behind a word of OPENCL_MOCK (1 where it has none), or 0. */
static unsigned long long
asked(const char *word)
{
	const char *s = getenv("OPENCL_MOCK");
	const size_t n = strlen(word);
	while (s && *s) {
		if (!strncmp(s, word, n) && (!s[n] || s[n] == ','))
			return 1;
		if (!strncmp(s, word, n) && s[n] == '=')
			return strtoull(s + n + 1, NULL, 10);
		s = strchr(s, ',') ? strchr(s, ',') + 1 : NULL;
	}
	return 0;
}

static cl_int
give(const void *value, size_t bytes, size_t room, void *to, size_t *size)
{
	if (size)
		*size = bytes;
	if (to && room < bytes)
		return CL_INVALID_VALUE;
	if (to)
		memcpy(to, value, bytes);
	return CL_SUCCESS;
}

static cl_int
give_text(const char *value, size_t room, void *to, size_t *size)
{
	return give(value, strlen(value) + 1, room, to, size);
}

static cl_int
give_number(cl_ulong value, size_t room, void *to, size_t *size)
{
	const cl_uint narrow = (cl_uint)value;
	return room == sizeof narrow ? give(&narrow, sizeof narrow, room, to, size)
				     : give(&value, sizeof value, room, to, size);
}

cl_int
clGetPlatformIDs(cl_uint room, cl_platform_id *to, cl_uint *n)
{
	if (asked("no_platform"))
		return -1001;
	if (room && to)
		to[0] = (cl_platform_id)(void *)&platform;
	if (n)
		*n = 1;
	return CL_SUCCESS;
}

cl_int
clGetPlatformInfo(cl_platform_id p, cl_platform_info what, size_t room, void *to, size_t *size)
{
	(void)p;
	return what == CL_PLATFORM_NAME ? give_text("Mock platform", room, to, size)
					: CL_INVALID_VALUE;
}

cl_int
clGetDeviceIDs(cl_platform_id p, cl_device_type type, cl_uint room, cl_device_id *to, cl_uint *n)
{
	const cl_uint count = asked("two") ? 2 : 1;
	(void)p;
	if (asked("no_device") || type != CL_DEVICE_TYPE_ALL)
		return CL_DEVICE_NOT_FOUND;
	for (cl_uint i = 0; i < count && i < room && to; i++)
		to[i] = (cl_device_id)(void *)&devices[i];
	if (n)
		*n = count;
	return CL_SUCCESS;
}

cl_int
clGetDeviceInfo(cl_device_id d, cl_device_info what, size_t room, void *to, size_t *size)
{
	const int gpu = (void *)d == &devices[1];
	const size_t lanes[] = {8, 16, 32}, other[] = {8, 32}, wide[] = {16, 32};
	const unsigned long long memory = asked("memory"), most = asked("buffer");
	switch (what) {
	case CL_DEVICE_NAME:
		return give_text(gpu ? "Mock GPU" : "Mock CPU", room, to, size);
	case CL_DRIVER_VERSION:
		return give_text("1.2.3", room, to, size);
	case CL_DEVICE_IL_VERSION:
		return give_text(asked("no_spirv") ? "" : "SPIR-V_1.2 ", room, to, size);
	case CL_DEVICE_EXTENSIONS:
		return give_text(asked("no_subgroups") ? "cl_khr_icd"
						       : "cl_khr_icd cl_intel_subgroups",
				 room, to, size);
	case CL_DEVICE_TYPE:
		return give_number(gpu ? CL_DEVICE_TYPE_GPU : CL_DEVICE_TYPE_CPU, room, to, size);
	case CL_DEVICE_ADDRESS_BITS:
		return give_number(asked("addresses") ? 32 : 64, room, to, size);
	case CL_DEVICE_GLOBAL_MEM_SIZE:
		return give_number(memory ? memory : 1u << 30, room, to, size);
	case CL_DEVICE_MAX_MEM_ALLOC_SIZE:
		return give_number(most ? most : 1u << 29, room, to, size);
	case CL_DEVICE_LOCAL_MEM_SIZE:
		return give_number(asked("local") ? 16 : 65536, room, to, size);
	case CL_DEVICE_MAX_WORK_GROUP_SIZE:
		return give_number(asked("items") ? 8 : 1024, room, to, size);
	case 0x4108: /* CL_DEVICE_SUB_GROUP_SIZES_INTEL */
		return asked("no_lanes")   ? give(other, sizeof other, room, to, size)
		       : asked("no_eight") ? give(wide, sizeof wide, room, to, size)
					   : give(lanes, sizeof lanes, room, to, size);
	default:
		return CL_INVALID_VALUE;
	}
}

cl_context
clCreateContext(const cl_context_properties *p, cl_uint n, const cl_device_id *d,
		void (*notify)(const char *, const void *, size_t, void *), void *user,
		cl_int *error)
{
	(void)p, (void)n, (void)d, (void)notify, (void)user;
	*error = CL_SUCCESS;
	return (cl_context)(void *)&context;
}

cl_int
clReleaseContext(cl_context c)
{
	fprintf(stderr, "mock: read %zu bytes\n", bytes_read);
	if (objects)
		fprintf(stderr, "mock: %d objects are left\n", objects);
	buffers = objects = 0;
	return (void *)c == &context ? CL_SUCCESS : CL_INVALID_CONTEXT;
}

cl_command_queue
clCreateCommandQueueWithProperties(cl_context c, cl_device_id d, const cl_queue_properties *p,
				   cl_int *error)
{
	(void)c, (void)d, (void)p;
	*error = CL_SUCCESS;
	return (cl_command_queue)(void *)&queue;
}

cl_int
clReleaseCommandQueue(cl_command_queue q)
{
	(void)q;
	return CL_SUCCESS;
}

static cl_program
new_program(int binary, size_t bytes)
{
	cl_program p = malloc(sizeof *p);
	if (!p)
		abort();
	p->binary = binary;
	p->bytes = bytes;
	objects++;
	return p;
}

cl_program
clCreateProgramWithBinary(cl_context c, cl_uint n, const cl_device_id *d, const size_t *bytes,
			  const unsigned char **data, cl_int *status, cl_int *error)
{
	(void)c, (void)n, (void)d, (void)data;
	*status = *error = asked("binary") ? CL_INVALID_BINARY : CL_SUCCESS;
	return *error ? NULL : new_program(1, bytes[0]);
}

cl_program
clCreateProgramWithIL(cl_context c, const void *il, size_t bytes, cl_int *error)
{
	cl_uint magic = 0;
	(void)c;
	if (bytes >= sizeof magic)
		memcpy(&magic, il, sizeof magic);
	*error = magic == 0x07230203 ? CL_SUCCESS : CL_INVALID_VALUE;
	return *error ? NULL : new_program(0, bytes);
}

cl_int
clBuildProgram(cl_program p, cl_uint n, const cl_device_id *d, const char *options,
	       void (*notify)(cl_program, void *), void *user)
{
	(void)n, (void)d, (void)options, (void)notify, (void)user;
	if (!p->binary && asked("build"))
		return CL_BUILD_PROGRAM_FAILURE;
	fprintf(stderr, "mock: built %s of %zu bytes\n", p->binary ? "a binary" : "SPIR-V",
		p->bytes);
	return CL_SUCCESS;
}

cl_int
clGetProgramBuildInfo(cl_program p, cl_device_id d, cl_program_build_info what, size_t room,
		      void *to, size_t *size)
{
	(void)p, (void)d;
	return what == CL_PROGRAM_BUILD_LOG
		       ? give_text("error: the mock knows no kernels\n", room, to, size)
		       : CL_INVALID_VALUE;
}

cl_int
clReleaseProgram(cl_program p)
{
	free(p);
	objects--;
	return CL_SUCCESS;
}

cl_mem
clCreateBuffer(cl_context c, cl_mem_flags flags, size_t bytes, void *host, cl_int *error)
{
	const unsigned long long refused = asked("create");
	cl_mem m = malloc(sizeof *m);
	(void)c, (void)flags, (void)host;
	*error = refused && ++buffers == (int)refused ? CL_MEM_OBJECT_ALLOCATION_FAILURE
						      : CL_SUCCESS;
	if (*error || !m) {
		free(m);
		return NULL;
	}
	m->users = 1;
	m->bytes = bytes;
	m->data = calloc(bytes, 1);
	objects++;
	return m;
}

cl_int
clRetainMemObject(cl_mem m)
{
	m->users++;
	return CL_SUCCESS;
}

cl_int
clReleaseMemObject(cl_mem m)
{
	if (--m->users)
		return CL_SUCCESS;
	free(m->data);
	free(m);
	objects--;
	return CL_SUCCESS;
}

cl_int
clEnqueueWriteBuffer(cl_command_queue q, cl_mem m, cl_bool wait, size_t at, size_t bytes,
		     const void *from, cl_uint n, const cl_event *events, cl_event *event)
{
	(void)q, (void)wait, (void)n, (void)events, (void)event;
	if (at > m->bytes || bytes > m->bytes - at)
		return CL_INVALID_VALUE;
	memcpy(m->data + at, from, bytes);
	return CL_SUCCESS;
}

cl_int
clEnqueueReadBuffer(cl_command_queue q, cl_mem m, cl_bool wait, size_t at, size_t bytes, void *to,
		    cl_uint n, const cl_event *events, cl_event *event)
{
	(void)q, (void)wait, (void)n, (void)events, (void)event;
	if (at > m->bytes || bytes > m->bytes - at)
		return CL_INVALID_VALUE;
	memcpy(to, m->data + at, bytes);
	bytes_read += bytes;
	return CL_SUCCESS;
}

cl_kernel
clCreateKernel(cl_program p, const char *name, cl_int *error)
{
	(void)p, (void)name;
	*error = CL_SUCCESS;
	objects++;
	return (cl_kernel)(void *)&kernel;
}

cl_int
clSetKernelArg(cl_kernel k, cl_uint i, size_t bytes, const void *value)
{
	(void)k, (void)i, (void)bytes;
	return value ? CL_SUCCESS : CL_INVALID_ARG_VALUE;
}

cl_int
clReleaseKernel(cl_kernel k)
{
	(void)k;
	objects--;
	return CL_SUCCESS;
}

cl_int
clEnqueueNDRangeKernel(cl_command_queue q, cl_kernel k, cl_uint dimensions, const size_t *offset,
		       const size_t *global, const size_t *local, cl_uint n, const cl_event *events,
		       cl_event *event)
{
	(void)q, (void)k, (void)offset, (void)n, (void)events, (void)event;
	for (cl_uint i = 0; i < dimensions; i++)
		if (!local[i] || global[i] % local[i])
			return CL_INVALID_WORK_GROUP_SIZE;
	return asked("enqueue") ? CL_OUT_OF_RESOURCES : CL_SUCCESS;
}

cl_int
clFinish(cl_command_queue q)
{
	(void)q;
	return CL_SUCCESS;
}
