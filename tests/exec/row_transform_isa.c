/* One ISA level's emitted transforms. */
#include "row_transform_isa.h"

#include "isa_templates.h"

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

const TransformIsa ISA_SYMBOL(transform_isa_) = {ISA_NAME, rows, plain};
