/* One ISA level's vector words and functions behind pointers. */
#include "words_isa.h"

#include "isa_templates.h"

#include "../../templates/math.h"

#define VECTOR_FUNCTION(f)                                       \
	static void isa_##f(int n, const float *x, float *y)     \
	{                                                        \
		for (int i = 0; i < n; i += 16)                  \
			vf_store(y + i, vf_##f(vf_load(x + i))); \
	}
VECTOR_FUNCTION(exp)
VECTOR_FUNCTION(rcp)
VECTOR_FUNCTION(rsqrt)
VECTOR_FUNCTION(silu)
VECTOR_FUNCTION(gelu)

#define SCALAR_FUNCTION(f)                                            \
	static void isa_##f##_scalar(int n, const float *x, float *y) \
	{                                                             \
		for (int i = 0; i < n; i++)                           \
			y[i] = s_##f(x[i]);                           \
	}
SCALAR_FUNCTION(rcp)
SCALAR_FUNCTION(rsqrt)

static void
isa_from_f16(int n, const uint16_t *x, float *y, float *y_scalar)
{
	for (int i = 0; i < n; i += 16)
		vf_store(y + i, vf_load_f16(x + i));
	for (int i = 0; i < n; i++)
		y_scalar[i] = s_from_f16(x[i]);
}

static void
isa_to_f16(int n, const float *x, uint16_t *y, uint16_t *y_scalar)
{
	for (int i = 0; i < n; i += 16)
		vf_store_f16(y + i, vf_load(x + i));
	for (int i = 0; i < n; i++)
		y_scalar[i] = s_to_f16(x[i]);
}

static void
isa_fma(int n, const float *a, const float *b, const float *c, float *y)
{
	for (int i = 0; i < n; i += 16)
		vf_store(y + i, vf_fma(vf_load(a + i), vf_load(b + i), vf_load(c + i)));
}

#if defined(ISA_c)
static void
isa_fma_soft(int n, const float *a, const float *b, const float *c, float *y)
{
	for (int i = 0; i < n; i++)
		y[i] = s_fma_soft(a[i], b[i], c[i]);
}
#else
#define isa_fma_soft NULL
#endif

const WordsIsa ISA_SYMBOL(words_isa_) = {
	.name = ISA_NAME,
	.exp = isa_exp,
	.rcp = isa_rcp,
	.rsqrt = isa_rsqrt,
	.silu = isa_silu,
	.gelu = isa_gelu,
	.rcp_scalar = isa_rcp_scalar,
	.rsqrt_scalar = isa_rsqrt_scalar,
	.from_f16 = isa_from_f16,
	.to_f16 = isa_to_f16,
	.fma = isa_fma,
	.fma_soft = isa_fma_soft,
};
