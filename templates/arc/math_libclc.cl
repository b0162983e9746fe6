/*
 * What stands in for math.h under --math=libclc: the same names, by functions of OpenCL C, which
 * libclc defines. It has no 1/sqrt(x) for SPIR-V, but leaves it to drivers: here it is a power. Nor has
 * it 1/x, which is a division, as in its own exp.
 */
float
s_rcp(float d)
{
	return 1.0f / d;
}

float
vf_rcp(float d)
{
	return 1.0f / d;
}

float
s_rsqrt(float x)
{
	return powr(x, -0.5f);
}

float
vf_rsqrt(float x)
{
	return powr(x, -0.5f);
}

float
vf_exp(float x)
{
	return exp(x);
}

float
vf_silu(float x)
{
	return x / (1.0f + exp(-x));
}
