/* The machines that Lathe compiles for. */
#include "target.h"

#include "arc/arc.h"
#include "npu/npu.h"

#include <string.h>

/* An ISA file of the CPU family: vector words and linear block of the level, the rest shared. */
#define CPU_TEMPLATES(suffix)                                                                   \
	(const char *const[])                                                                   \
	{                                                                                       \
		"vec_" suffix ".h", "math.h", "act.h", "codes.h", "rows.h", "dot_" suffix ".h", \
			"attention.h", "transform.h", "linear_" suffix ".h", "linear.h",        \
			"phase.h", NULL                                                         \
	}

const Target target_table[] = {
	{
		.name = "x86-64-v4",
		.suffix = "v4",
		.what = "AVX-512 F BW DQ VL VNNI VBMI",
		.flags = "-mavx512f -mavx512bw -mavx512dq -mavx512vl -mavx512vnni -mavx512vbmi "
			 "-mavx2 -mfma -mf16c -mbmi -mbmi2 -mprefer-vector-width=512",
		.detect = "cpu.avx512",
		.templates = CPU_TEMPLATES("v4"),
	},
	{
		.name = "x86-64-v3",
		.suffix = "v3",
		.what = "AVX2 FMA F16C",
		.flags = "-mavx2 -mfma -mf16c -mbmi -mbmi2",
		.detect = "cpu.avx2",
		.templates = CPU_TEMPLATES("v3"),
	},
	{
		.name = "c",
		.suffix = "c",
		.what = "portable C99",
		.flags = "",
		.detect = "1",
		.templates = CPU_TEMPLATES("c"),
	},
	{
		.name = "arc",
		.suffix = "arc",
		.what = "Intel Arc (DG2) through OpenCL, beside a CPU level",
		.flags = "",
		.detect = "0",
		.templates = (const char *const[]){"launcher.h", "opencl.h", "launcher.c",
						   "runner_arc.c", NULL},
		.device = &arc_device,
	},
	{
		.name = "npu",
		.suffix = "npu",
		.what = "Intel NPU through OpenVINO, beside a CPU level",
		.flags = "",
		.detect = "0",
		.templates = (const char *const[]){"host.h", "openvino.h", "nets.c", "host.c",
						   "runner_npu.c", NULL},
		.device = &npu_device,
	},
};
const int target_count = sizeof target_table / sizeof *target_table;

const Target *
target_find(const char *name)
{
	for (int i = 0; i < target_count; i++)
		if (!strcmp(target_table[i].name, name))
			return &target_table[i];
	return NULL;
}
