/* templates/arc/opencl.h against the Khronos headers: names, values, types of functions. */
#include "templates/arc/opencl.h"

enum {
#define SAVE(name, value) SAVED_##name = (value),
	OPENCL_ERRORS(SAVE) OPENCL_CONSTANTS(SAVE)
};
#define SAVE_TYPE(name, result, parameters) typedef result(*Saved##name) parameters;
OPENCL_FUNCTIONS(SAVE_TYPE)
static const cl_bitfield all_types = CL_DEVICE_TYPE_ALL;
#undef CL_DEVICE_TYPE_ALL

#define CL_TARGET_OPENCL_VERSION 300
#include <CL/cl.h>
#include <CL/cl_ext.h>

#ifndef CL_DEVICE_SUB_GROUP_SIZES_INTEL
#define CL_DEVICE_SUB_GROUP_SIZES_INTEL 0x4108
#endif

#define EQUAL(name, value) _Static_assert(SAVED_##name == (name), #name);
OPENCL_ERRORS(EQUAL)
OPENCL_CONSTANTS(EQUAL)
#define SAME(name, result, parameters) \
	_Static_assert(_Generic(&cl##name, Saved##name : 1, default : 0), #name);
OPENCL_FUNCTIONS(SAME)

int
main(void)
{
	OpenCl cl;
	OpenClDevice d[1];
	const size_t lanes[] = {OPENCL_LANES, OPENCL_LANES_DPAS, 0};
	const OpenClNeeds needs = {1, 1, lanes};
	char reason[256], number[32];
	int platforms;
	if (all_types != CL_DEVICE_TYPE_ALL || opencl_open(&cl, reason, sizeof reason))
		return 1;
	if (opencl_devices(&cl, d, 1, &platforms))
		opencl_lacks(&d[0], &needs, reason, sizeof reason);
	return strcmp(opencl_error(CL_INVALID_BINARY, number), "CL_INVALID_BINARY") != 0;
}
