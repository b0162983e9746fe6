/*
 * The hand-written declarations of templates/npu/openvino.h against OpenVINO's own headers: every
 * function has the type that its pointer has, enums and numbers are the same. Use: openvino_header
 * FOLDER, whose library has the functions and the version.
 */
#define _POSIX_C_SOURCE 200809L
#include <openvino/c/openvino.h>

#define LATHE_OPENVINO_TYPES
#include "templates/npu/openvino.h"

#define SAME(name, result, parameters)                                                    \
	_Static_assert(__builtin_types_compatible_p(__typeof__(((OpenVino *)NULL)->name), \
						    __typeof__(&ov_##name)),              \
		       #name);
OPENVINO_FUNCTIONS(SAME)
_Static_assert(OPENVINO_F32 == (int)F32 && OPENVINO_I64 == (int)I64, "element types");
_Static_assert(sizeof(ov_status_e) == sizeof(int) && sizeof(ov_element_type_e) == sizeof(int),
	       "enums are int");

int
main(int argc, char **argv)
{
	OpenVino ov;
	char reason[2048] = "no folder";
	if (argc != 2 || openvino_open(&ov, argv[1], reason, sizeof reason)) {
		fprintf(stderr, "%s\n", reason);
		return 1;
	}
	return 0;
}
