/* The machines that Lathe compiles for. */
#include "target.h"

#include "arc/arc.h"
#include "npu/npu.h"

#include <string.h>

/*
 * An ISA file of the CPU family: vector words, products of keys and a linear block of the level,
 * the rest shared.
 */
#define ROWS_TEMPLATES "math.h", "act.h", "codes.h", "rows.h"
#define CACHE_TEMPLATES "attention.h", "transform.h"
#define LOOPS_TEMPLATES "linear.h", "phase.h", NULL

/* 256-bit VNNI in either encoding: the same text. */
static const char *const v3_vnni_templates[] = {
	"vec_v3.h",    "vec_v3_vnni.h",	     ROWS_TEMPLATES, "dot_bytes.h",   CACHE_TEMPLATES,
	"unpack_v3.h", "products_v3_vnni.h", "linear_v3.h",  LOOPS_TEMPLATES,
};

const Target target_table[] = {
	{
		.name = "x86-64-v4",
		.suffix = "v4",
		.what = "AVX-512 F BW DQ VL VNNI VBMI",
		.flags = "-mavx512f -mavx512bw -mavx512dq -mavx512vl -mavx512vnni -mavx512vbmi "
			 "-mavx2 -mfma -mf16c -mbmi -mbmi2 -mprefer-vector-width=512",
		.detect = "cpu.avx512",
		.templates = (const char *const[]){"vec_v4.h", ROWS_TEMPLATES, "dot_bytes.h",
						   CACHE_TEMPLATES, "linear_v4.h", LOOPS_TEMPLATES},
	},
	{
		.name = "x86-64-v3-vnni",
		.suffix = "v3_vnni",
		.what = "AVX2 FMA F16C AVX-VNNI",
		.flags = "-mavx2 -mfma -mf16c -mbmi -mbmi2 -mavxvnni",
		.detect = "cpu.avx2 && cpu.avx_vnni",
		.templates = v3_vnni_templates,
	},
	{
		.name = "x86-64-v3-evex",
		.suffix = "v3_evex",
		.what = "AVX2 FMA F16C, AVX-512 VL VNNI on 256 bits",
		.flags = "-mavx2 -mfma -mf16c -mbmi -mbmi2 -mavx512f -mavx512vl -mavx512vnni "
			 "-mprefer-vector-width=256",
		.detect = "cpu.avx2 && cpu.avx512_vnni",
		.templates = v3_vnni_templates,
	},
	{
		.name = "x86-64-v3",
		.suffix = "v3",
		.what = "AVX2 FMA F16C",
		.flags = "-mavx2 -mfma -mf16c -mbmi -mbmi2",
		.detect = "cpu.avx2",
		.templates = (const char *const[]){"vec_v3.h", ROWS_TEMPLATES, "dot_v3.h",
						   CACHE_TEMPLATES, "unpack_v3.h", "products_v3.h",
						   "linear_v3.h", LOOPS_TEMPLATES},
	},
	{
		.name = "aarch64-dotprod",
		.suffix = "dotprod",
		.what = "AArch64 with the dot products of Armv8.2",
		.flags = "-march=armv8.2-a+dotprod",
		.detect = "cpu.dotprod",
		.templates =
			(const char *const[]){"vec_c.h", "vec_dotprod.h", ROWS_TEMPLATES,
					      "dot_bytes.h", CACHE_TEMPLATES, "unpack_c.h",
					      "products_dotprod.h", "linear_c.h", LOOPS_TEMPLATES},
	},
	{
		.name = "c",
		.suffix = "c",
		.what = "portable C99",
		.flags = "",
		.detect = "1",
		.templates = (const char *const[]){"vec_c.h", ROWS_TEMPLATES, "dot_c.h",
						   CACHE_TEMPLATES, "unpack_c.h", "products_c.h",
						   "linear_c.h", LOOPS_TEMPLATES},
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
