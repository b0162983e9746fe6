/* One ISA level's emitted transforms. Compiled with -DISA_c, -DISA_v3 or -DISA_v4. */
#include "row_transform_isa.h"

#if defined(ISA_v4)
#include "../../templates/vec_v4.h"
#define TABLE transform_isa_v4
#define NAME "x86-64-v4"
#elif defined(ISA_v3)
#include "../../templates/vec_v3.h"
#define TABLE transform_isa_v3
#define NAME "x86-64-v3"
#elif defined(ISA_c)
#include "../../templates/vec_c.h"
#define TABLE transform_isa_c
#define NAME "c"
#else
#error "ISA_c, ISA_v3 or ISA_v4 must be defined"
#endif
#include "../../templates/act.h"
#include "../../templates/math.h"

#include "../../templates/codes.h"

#include "../../templates/rows.h"
#include "../../templates/transform.h"

#include "row_transform_emitted.h"

static void (*const rows[])(float *x, float *work) = {
#define CASE(name, columns, text) row_##name,
#include "row_transform_cases.def"
};

static void
plain(int n, float *x)
{
	for (int h = 1; h < n; h *= 2)
		for (int i = 0; i < n; i += 2 * h)
			for (int k = i; k < i + h; k++) {
				const float a = x[k], b = x[k + h];
				x[k] = a + b;
				x[k + h] = a - b;
			}
}

const TransformIsa TABLE = {NAME, rows, plain};
