/*
 * The kernels of the likeliest tokens on logits that no model gives: many equal ones, zeros of both
 * signs, infinities, NaN. Usage: arc_top rows.spv; the module is that of stories260K.
 */
#include "templates/arc/opencl.h"
#include "tests/random.h"

#include <math.h>
#include <stdlib.h>

enum { N = 512, SHARES = 2, K = 64, ROW_BYTES = N * 4, TOP_BYTES = 8 * K * (1 + SHARES) };
enum { BATCH = 1, LOGITS = 4, CAPACITY = 5, CTX = 6, JOB_WORDS = 8, BATCHES = 3 };

static void
must(const char *what, cl_int code)
{
	char number[32];
	if (!code)
		return;
	printf("%s: %s\n", what, opencl_error(code, number));
	exit(1);
}

static char *
read_file(const char *path, size_t *bytes)
{
	enum { MOST = 1 << 22 };
	FILE *f = fopen(path, "rb");
	char *data = malloc(MOST);
	if (!f || !data)
		exit(2);
	*bytes = fread(data, 1, MOST, f);
	fclose(f);
	return data;
}

/* Whether token a comes in front of b. */
static int
before(const float *x, int a, int b)
{
	if (isnan(x[a]) || isnan(x[b]))
		return isnan(x[a]) == isnan(x[b]) ? a < b : !isnan(x[a]);
	return x[a] != x[b] ? x[a] > x[b] : a < b;
}

static int
wrong(const char *kind, const float *x, const uint32_t *found, int k)
{
	char taken[N] = {0};
	for (int i = 0; i < k; i++) {
		int best = -1;
		uint32_t bits;
		for (int t = 0; t < N; t++)
			if (!taken[t] && (best < 0 || before(x, t, best)))
				best = t;
		taken[best] = 1;
		memcpy(&bits, &x[best], sizeof bits);
		if (found[i] == (uint32_t)best && found[K + i] == bits)
			continue;
		printf("%s: likeliest %d of %d is %d (%08x) and not %d (%08x)\n", kind, i, k,
		       (int)found[i], (unsigned)found[K + i], best, (unsigned)bits);
		return 1;
	}
	return 0;
}

typedef struct Machine {
	OpenCl cl;
	cl_command_queue queue;
	cl_kernel kernels[2];
	cl_mem buffers[5];
} Machine;

static void
machine_new(Machine *m, const char *path)
{
	static const char *const names[] = {"top_of_share", "top_of_all"};
	static const size_t sizes[] = {64, 64, 64, 64, BATCHES * ROW_BYTES + TOP_BYTES};
	static const size_t lanes[] = {OPENCL_LANES, 0};
	static const OpenClNeeds needs = {OPENCL_LANES, 0, lanes};
	OpenClDevice d;
	char reason[256];
	cl_int code, capacity = BATCHES;
	int platforms;
	size_t bytes;
	char *il = read_file(path, &bytes);
	if (opencl_open(&m->cl, reason, sizeof reason) ||
	    !opencl_devices(&m->cl, &d, 1, &platforms) ||
	    opencl_lacks(&d, &needs, reason, sizeof reason)) {
		printf("no device: %s\n", reason);
		exit(2);
	}
	cl_context c = m->cl.CreateContext(NULL, 1, &d.id, NULL, NULL, &code);
	must("context", code);
	m->queue = m->cl.CreateCommandQueueWithProperties(c, d.id, NULL, &code);
	must("queue", code);
	cl_program p = m->cl.CreateProgramWithIL(c, il, bytes, &code);
	must("module", code);
	must("build", m->cl.BuildProgram(p, 1, &d.id, "", NULL, NULL));
	for (int i = 0; i < 5; i++) {
		m->buffers[i] = m->cl.CreateBuffer(c, CL_MEM_READ_WRITE, sizes[i], NULL, &code);
		must("buffer", code);
	}
	for (int k = 0; k < 2; k++) {
		m->kernels[k] = m->cl.CreateKernel(p, names[k], &code);
		must(names[k], code);
		for (cl_uint i = 0; i < CAPACITY; i++)
			must("argument",
			     m->cl.SetKernelArg(m->kernels[k], i, sizeof(cl_mem), &m->buffers[i]));
		must("argument", m->cl.SetKernelArg(m->kernels[k], CAPACITY, 4, &capacity));
		must("argument", m->cl.SetKernelArg(m->kernels[k], CTX, 4, &capacity));
	}
	free(il);
}

static int
try(Machine *m, const char *kind, const float *x, int k)
{
	const int32_t job[JOB_WORDS] = {0, 0, 0, 0, 0, 0, 0, k};
	const size_t local = 16, global[] = {16 * SHARES, 16};
	uint32_t found[2 * K];
	must("write", m->cl.EnqueueWriteBuffer(m->queue, m->buffers[BATCH], 1, 0, sizeof job, job,
					       0, NULL, NULL));
	must("write", m->cl.EnqueueWriteBuffer(m->queue, m->buffers[LOGITS], 1, 0, ROW_BYTES, x, 0,
					       NULL, NULL));
	for (int i = 0; i < 2; i++)
		must("launch", m->cl.EnqueueNDRangeKernel(m->queue, m->kernels[i], 1, NULL,
							  &global[i], &local, 0, NULL, NULL));
	must("read", m->cl.EnqueueReadBuffer(m->queue, m->buffers[LOGITS], 1, BATCHES * ROW_BYTES,
					     sizeof found, found, 0, NULL, NULL));
	return wrong(kind, x, found, k);
}

int
main(int argc, char **argv)
{
	const float odd[] = {0.0f,   -0.0f,	1.5f,	  -1.5f,	  NAN,
			     1e-45f, -INFINITY, INFINITY, -3.4028235e38f, 3.4028235e38f};
	static const int counts[] = {1, 2, 7, K};
	float x[N];
	uint64_t seed = 1;
	int failures = 0;
	Machine m;
	if (argc != 2)
		return 2;
	machine_new(&m, argv[1]);
	for (size_t j = 0; j < sizeof counts / sizeof *counts; j++) {
		const int most = counts[j];
		for (int i = 0; i < N; i++)
			x[i] = 0.25f;
		failures += try(&m, "all equal", x, most);
		for (int i = 0; i < N; i++)
			x[i] = NAN;
		failures += try(&m, "no number", x, most);
		for (int i = 0; i < N; i++)
			x[i] = (float)i - 300.0f;
		failures += try(&m, "increasing", x, most);
		for (size_t n = 1; n <= 10; n += 3) {
			for (int i = 0; i < N; i++)
				x[i] = odd[random_below(&seed, n)];
			failures += try(&m, "odd numbers", x, most);
		}
	}
	printf("%d failures\n", failures);
	return failures != 0;
}
