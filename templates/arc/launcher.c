/* ---- what a program needs besides its tables ---------------------------------------------- */

enum { POSITIONS = 64, BATCH_MAX = 4096, LOG_MAX = 4096, NAME_MAX_ = 256 };
enum { N_MODULES = (int)(sizeof modules / sizeof *modules) };
enum { N_STAGES = (int)(sizeof stages / sizeof *stages) };
enum { LANES = 16, BATCH_HEAD = 4, BATCH_TOKENS = 8 };
enum { ARENA, BATCH, ROPE, CACHE, LOGITS, CAPACITY, CTX, CONSTANTS };
/* cl_ext.h's; not every header has it. */
enum { DEVICE_SUB_GROUP_SIZES = 0x4108 };

/* A launch of a stage with its two kernels, arguments set. */
typedef struct Prepared {
	cl_kernel one, many;
	cl_mem constants[CONSTANTS_MAX];
	uint64_t offsets[CONSTANTS_MAX];
} Prepared;

struct @name@_arc {
	cl_context context;
	cl_device_id device;
	cl_command_queue queue;
	cl_program programs[N_MODULES];
	cl_mem arena, batch, rope, logits, caches[@name@_N_LAYER];
	Prepared *prepared; /* of all stages */
	int n_prepared;
	int n_ctx, n_ctx_padded, n_batch, n_past;
	int32_t *words; /* of the batch at work */
	uint64_t launches;
	char name[NAME_MAX_];
	char log[LOG_MAX];
};

/* ---- words -------------------------------------------------------------------------------- */

static int
say(@name@_arc *m, int error, const char *what, cl_int code)
{
	if (!m->log[0])
		snprintf(m->log, sizeof m->log, "%s: OpenCL error %d", what, (int)code);
	if (code == CL_OUT_OF_HOST_MEMORY || code == CL_OUT_OF_RESOURCES ||
	    code == CL_MEM_OBJECT_ALLOCATION_FAILURE || code == CL_INVALID_BUFFER_SIZE)
		return @name@_ARC_ERROR_MEMORY;
	return error;
}

const char *
@name@_arc_device(const @name@_arc *m)
{
	return m->name;
}

const char *
@name@_arc_log(const @name@_arc *m)
{
	return m->log;
}

uint64_t
@name@_arc_launches(const @name@_arc *m)
{
	return m->launches;
}

const char *
@name@_arc_strerror(int error)
{
	static const char *const text[] = {
		"no OpenCL platform with a device",
		"no OpenCL device takes the kernels",
		"out of memory",
		"the driver refused the kernels",
		"an error of OpenCL",
	};
	const int i = error - @name@_ARC_ERROR_PLATFORM;
	return i >= 0 && i < (int)(sizeof text / sizeof *text) ? text[i] : @name@_strerror(error);
}

/* ---- device ------------------------------------------------------------------------------- */

/* Why a device cannot run the kernels, or null. */
static const char *
device_lacks(cl_device_id d)
{
	size_t sizes[16], bytes = 0, lanes = 0;
	char il[512] = "";
	clGetDeviceInfo(d, CL_DEVICE_IL_VERSION, sizeof il - 1, il, NULL);
	if (!strstr(il, "SPIR-V_1.2"))
		return "SPIR-V 1.2";
	if (clGetDeviceInfo(d, DEVICE_SUB_GROUP_SIZES, sizeof sizes, sizes, &bytes))
		return "sub-groups of a required size";
	for (size_t i = 0; i < bytes / sizeof *sizes; i++)
		lanes |= sizes[i];
	return lanes & LANES ? NULL : "sub-groups of 16";
}

/* The first GPU, else the first device, whose name has `want` and that lacks nothing. */
static int
find_device(@name@_arc *m, const char *want)
{
	enum { MOST = 16 };
	cl_platform_id platforms[MOST];
	cl_uint n = 0, seen = 0;
	cl_device_type best = 0;
	if (clGetPlatformIDs(MOST, platforms, &n) || !n) {
		snprintf(m->log, sizeof m->log, "no OpenCL platform");
		return @name@_ARC_ERROR_PLATFORM;
	}
	for (cl_uint p = 0; p < n && p < MOST; p++) {
		cl_device_id devices[MOST];
		cl_uint count = 0;
		if (clGetDeviceIDs(platforms[p], CL_DEVICE_TYPE_ALL, MOST, devices, &count))
			continue;
		for (cl_uint i = 0; i < count && i < MOST; i++, seen++) {
			char name[NAME_MAX_ / 2] = "", driver[NAME_MAX_ / 4] = "";
			cl_device_type type = 0;
			const char *lacks = device_lacks(devices[i]);
			clGetDeviceInfo(devices[i], CL_DEVICE_NAME, sizeof name - 1, name, NULL);
			clGetDeviceInfo(devices[i], CL_DRIVER_VERSION, sizeof driver - 1, driver,
					NULL);
			clGetDeviceInfo(devices[i], CL_DEVICE_TYPE, sizeof type, &type, NULL);
			if (want && !strstr(name, want))
				continue;
			if (lacks)
				snprintf(m->log, sizeof m->log, "%s has no %s", name, lacks);
			if (lacks || (best && !(type & CL_DEVICE_TYPE_GPU)) ||
			    (best & CL_DEVICE_TYPE_GPU))
				continue;
			best = type;
			m->device = devices[i];
			snprintf(m->name, sizeof m->name, "%s, driver %s", name, driver);
		}
	}
	if (m->device) {
		m->log[0] = 0;
		return 0;
	}
	if (!m->log[0])
		snprintf(m->log, sizeof m->log, "%u devices, none%s%s", (unsigned)seen,
			 want ? " called " : "", want ? want : "");
	return seen ? @name@_ARC_ERROR_DEVICE : @name@_ARC_ERROR_PLATFORM;
}

/* ---- programs ----------------------------------------------------------------------------- */

static cl_program
build(@name@_arc *m, cl_program p, const char *options, cl_int *code)
{
	if (*code || !p)
		return NULL;
	*code = clBuildProgram(p, 1, &m->device, options, NULL, NULL);
	if (!*code)
		return p;
	clGetProgramBuildInfo(p, m->device, CL_PROGRAM_BUILD_LOG, sizeof m->log - 1, m->log, NULL);
	clReleaseProgram(p);
	return NULL;
}

/* Native binaries first: one of another device is refused, and SPIR-V serves. */
static int
load_module(@name@_arc *m, int i, const @name@_arc_options *o)
{
	const Module *from = &modules[i];
	cl_int code = 0;
	for (int k = 0; k < from->n_binaries && !(o && o->spirv) && !m->programs[i]; k++) {
		const size_t bytes = (size_t)(from->binaries[k].end - from->binaries[k].start);
		const unsigned char *start = from->binaries[k].start;
		cl_int status = 0;
		cl_program p = clCreateProgramWithBinary(m->context, 1, &m->device, &bytes, &start,
							 &status, &code);
		m->programs[i] = build(m, p, "", &code);
	}
	if (m->programs[i])
		return 0;
	m->log[0] = 0;
	code = 0;
	cl_program p = clCreateProgramWithIL(m->context, from->spirv.start,
					     (size_t)(from->spirv.end - from->spirv.start), &code);
	m->programs[i] = build(m, p, o && o->build ? o->build : "", &code);
	return m->programs[i] ? 0 : say(m, @name@_ARC_ERROR_BUILD, from->name, code);
}

/* ---- memory ------------------------------------------------------------------------------- */

/* A buffer of the device, filled from `from` or left as it is. */
static int
new_buffer(@name@_arc *m, uint64_t bytes, const void *from, cl_mem *out)
{
	cl_int code;
	if (bytes > SIZE_MAX) {
		snprintf(m->log, sizeof m->log, "a buffer of %llu bytes",
			 (unsigned long long)bytes);
		return @name@_ARC_ERROR_MEMORY;
	}
	*out = clCreateBuffer(m->context, CL_MEM_READ_WRITE, (size_t)(bytes ? bytes : 64), NULL,
			      &code);
	if (!code && from && bytes)
		code = clEnqueueWriteBuffer(m->queue, *out, CL_TRUE, 0, (size_t)bytes, from, 0,
					    NULL, NULL);
	if (!code)
		return 0;
	cl_ulong all = 0;
	clGetDeviceInfo(m->device, CL_DEVICE_GLOBAL_MEM_SIZE, sizeof all, &all, NULL);
	snprintf(m->log, sizeof m->log,
		 "a buffer of %llu bytes on a device of %llu: OpenCL error %d",
		 (unsigned long long)bytes, (unsigned long long)all, (int)code);
	return @name@_ARC_ERROR_MEMORY;
}

static int
new_buffers(@name@_arc *m, const unsigned char *payload)
{
	const uint64_t batch = (uint64_t)m->n_batch;
	int e = new_buffer(m, batch * ARC_ARENA_BYTES, NULL, &m->arena);
	if (!e)
		e = new_buffer(m, 4 * (BATCH_TOKENS + batch), NULL, &m->batch);
	if (!e)
		e = new_buffer(m, batch * 4 * @name@_N_VOCAB, NULL, &m->logits);
	if (!e)
		e = new_buffer(m, ROPE_BYTES, payload + ROPE_COS, &m->rope);
	for (int i = 0; i < @name@_N_LAYER && !e; i++)
		e = new_buffer(m, (uint64_t)m->n_ctx_padded * cache_bytes[i], NULL, &m->caches[i]);
	return e;
}

/* ---- kernels ------------------------------------------------------------------------------ */

static int
new_kernel(@name@_arc *m, const Stage *s, const Launch *l, const Prepared *p, const char *name,
	   cl_kernel *out)
{
	const cl_int capacity = m->n_batch, ctx = m->n_ctx_padded;
	cl_int code = 0;
	if (!name)
		return 0;
	*out = clCreateKernel(m->programs[l->module], name, &code);
	const cl_mem buffers[] = {m->arena, m->batch, m->rope,
				  m->caches[s->layer < 0 ? 0 : s->layer], m->logits};
	for (cl_uint i = 0; i < CAPACITY && !code; i++)
		code = clSetKernelArg(*out, i, sizeof *buffers, &buffers[i]);
	if (!code)
		code = clSetKernelArg(*out, CAPACITY, sizeof capacity, &capacity);
	if (!code)
		code = clSetKernelArg(*out, CTX, sizeof ctx, &ctx);
	for (int i = 0; i < l->n_constants && !code; i++)
		code = clSetKernelArg(*out, (cl_uint)(CONSTANTS + i), sizeof(cl_mem),
				      &p->constants[i]);
	return code ? say(m, @name@_ARC_ERROR_OPENCL, name, code) : 0;
}

/* The buffer of an earlier launch that has the same constant, or null. */
static cl_mem
find_constant(const @name@_arc *m, uint64_t offset)
{
	for (int i = 0; i + 1 < m->n_prepared; i++)
		for (int k = 0; k < CONSTANTS_MAX; k++)
			if (m->prepared[i].constants[k] && m->prepared[i].offsets[k] == offset)
				return m->prepared[i].constants[k];
	return NULL;
}

/* The constants of a launch as buffers; one that an earlier launch has too is shared. */
static int
new_constants(@name@_arc *m, const unsigned char *payload, const Place *places, Prepared *p, int n)
{
	for (int i = 0; i < n; i++) {
		p->offsets[i] = places[i].offset;
		p->constants[i] = find_constant(m, places[i].offset);
		if (p->constants[i]) {
			clRetainMemObject(p->constants[i]);
			continue;
		}
		const int e = new_buffer(m, places[i].bytes, payload + places[i].offset,
					 &p->constants[i]);
		if (e)
			return e;
	}
	return 0;
}

static int
prepare(@name@_arc *m, const unsigned char *payload)
{
	int n = 0, e = 0;
	for (int i = 0; i < N_STAGES; i++)
		n += stages[i].n;
	m->prepared = calloc((size_t)n, sizeof *m->prepared);
	if (!m->prepared)
		return @name@_ARC_ERROR_MEMORY;
	for (int i = 0; i < N_STAGES && !e; i++) {
		const Stage *s = &stages[i];
		const Place *places = s->places;
		for (int k = 0; k < s->n && !e; k++) {
			const Launch *l = &s->launches[k];
			Prepared *p = &m->prepared[m->n_prepared++];
			e = new_constants(m, payload, places, p, l->n_constants);
			if (!e)
				e = new_kernel(m, s, l, p, l->one, &p->one);
			if (!e)
				e = new_kernel(m, s, l, p, l->many, &p->many);
			places += l->n_constants;
		}
	}
	return e;
}

/* ---- the context -------------------------------------------------------------------------- */

static int
check_weights(const void **weights, size_t *bytes)
{
	/* Start of a weights file; the payload follows at byte 64. */
	struct {
		char magic[8];
		uint32_t version, header_bytes;
		uint64_t payload_bytes;
		unsigned char build[32];
	} h;
	if (!*weights)
		*weights = @name@_linked_weights(bytes);
	if (!*weights)
		return @name@_ERROR_NO_WEIGHTS;
	if (*bytes != 64 + WEIGHTS_BYTES)
		return @name@_ERROR_WEIGHTS;
	memcpy(&h, *weights, sizeof h);
	if (memcmp(h.magic, "LATHEWTS", 8) || h.version != 1 || h.header_bytes != 64 ||
	    h.payload_bytes != WEIGHTS_BYTES || memcmp(h.build, build_id, sizeof build_id))
		return @name@_ERROR_WEIGHTS;
	return 0;
}

static int
open_device(@name@_arc *m, const @name@_arc_options *o)
{
	cl_int code = 0;
	int e = find_device(m, o ? o->device : NULL);
	if (e)
		return e;
	m->context = clCreateContext(NULL, 1, &m->device, NULL, NULL, &code);
	if (code)
		return say(m, @name@_ARC_ERROR_OPENCL, "clCreateContext", code);
	m->queue = clCreateCommandQueueWithProperties(m->context, m->device, NULL, &code);
	if (code)
		return say(m, @name@_ARC_ERROR_OPENCL, "clCreateCommandQueue", code);
	for (int i = 0; i < N_MODULES && !e; i++)
		e = load_module(m, i, o);
	return e;
}

int
@name@_arc_init(@name@_arc **out, const void *weights, size_t weights_bytes, int n_ctx, int n_batch,
		const @name@_arc_options *options)
{
	if (!out || n_ctx < 1 || n_batch < 1 || n_batch > BATCH_MAX)
		return @name@_ERROR_ARGUMENT;
	*out = NULL;
	if (n_ctx > @name@_N_CTX)
		return @name@_ERROR_CONTEXT;
	int e = check_weights(&weights, &weights_bytes);
	if (e)
		return e;
	@name@_arc *m = calloc(1, sizeof *m);
	if (!m)
		return @name@_ARC_ERROR_MEMORY;
	*out = m;
	m->n_ctx = n_ctx;
	m->n_ctx_padded = (n_ctx + POSITIONS - 1) / POSITIONS * POSITIONS;
	m->n_batch = n_batch;
	m->words = calloc((size_t)(BATCH_TOKENS + n_batch), sizeof *m->words);
	if (!m->words)
		return @name@_ARC_ERROR_MEMORY;
	e = open_device(m, options);
	if (!e)
		e = new_buffers(m, (const unsigned char *)weights + 64);
	if (!e)
		e = prepare(m, (const unsigned char *)weights + 64);
	return e;
}

void
@name@_arc_free(@name@_arc *m)
{
	if (!m)
		return;
	for (int i = 0; i < m->n_prepared; i++) {
		const Prepared *p = &m->prepared[i];
		if (p->one)
			clReleaseKernel(p->one);
		if (p->many)
			clReleaseKernel(p->many);
		for (int k = 0; k < CONSTANTS_MAX; k++)
			if (p->constants[k])
				clReleaseMemObject(p->constants[k]);
	}
	const cl_mem buffers[] = {m->arena, m->batch, m->rope, m->logits};
	for (size_t i = 0; i < sizeof buffers / sizeof *buffers; i++)
		if (buffers[i])
			clReleaseMemObject(buffers[i]);
	for (int i = 0; i < @name@_N_LAYER; i++)
		if (m->caches[i])
			clReleaseMemObject(m->caches[i]);
	for (int i = 0; i < N_MODULES; i++)
		if (m->programs[i])
			clReleaseProgram(m->programs[i]);
	if (m->queue)
		clReleaseCommandQueue(m->queue);
	if (m->context)
		clReleaseContext(m->context);
	free(m->prepared);
	free(m->words);
	free(m);
}

/* ---- evaluation --------------------------------------------------------------------------- */

static cl_int
enqueue(@name@_arc *m, const Launch *l, const Prepared *p, int rows)
{
	const Shape *s = rows == 1 ? &l->shape_one : &l->shape_many;
	cl_kernel kernel = rows == 1 ? p->one : p->many;
	const size_t local[2] = {(size_t)s->items, 1};
	const size_t global[2] = {(size_t)l->groups * (size_t)s->items,
				  (size_t)((rows + s->tile - 1) / s->tile)};
	if (!kernel)
		return 0;
	m->launches++;
	return clEnqueueNDRangeKernel(m->queue, kernel, 2, NULL, global, local, 0, NULL, NULL);
}

/* n tokens at n_past; logits of the rows from head_row0 on, null: none. */
static int
evaluate_batch(@name@_arc *m, const int32_t *tokens, int n, int head_row0, float *logits)
{
	const int head_rows = n - head_row0;
	const int32_t jobs[BATCH_TOKENS] = {m->n_past, 0, n, 0, m->n_past, head_row0, head_rows, 0};
	const Prepared *p = m->prepared;
	memcpy(m->words, jobs, sizeof jobs);
	memcpy(m->words + BATCH_TOKENS, tokens, sizeof *tokens * (size_t)n);
	cl_int code = clEnqueueWriteBuffer(m->queue, m->batch, CL_TRUE, 0,
					   sizeof *m->words * (size_t)(BATCH_TOKENS + n), m->words,
					   0, NULL, NULL);
	for (int i = 0; i < N_STAGES && !code; i++)
		for (int k = 0; k < stages[i].n && !code; k++, p++)
			if (!stages[i].head || logits)
				code = enqueue(m, &stages[i].launches[k], p,
					       stages[i].head ? head_rows : n);
	if (!code && logits)
		code = clEnqueueReadBuffer(m->queue, m->logits, CL_TRUE, 0,
					   sizeof *logits * @name@_N_VOCAB * (size_t)head_rows,
					   logits, 0, NULL, NULL);
	if (!code && !logits)
		code = clFinish(m->queue);
	return code ? say(m, @name@_ARC_ERROR_OPENCL, "a batch", code) : 0;
}

int
@name@_arc_eval(@name@_arc *m, const int32_t *tokens, int n, float *logits, int all)
{
	if (!m || !m->prepared || !tokens || n < 1)
		return @name@_ERROR_ARGUMENT;
	if (n > m->n_ctx - m->n_past)
		return @name@_ERROR_CONTEXT;
	for (int i = 0; i < n; i++)
		if (tokens[i] < 0 || tokens[i] >= @name@_N_VOCAB)
			return @name@_ERROR_TOKEN;
	const int before = m->n_past;
	for (int i = 0, batch; i < n; i += batch) {
		const int last = n - i <= m->n_batch;
		float *to = NULL;
		batch = last ? n - i : m->n_batch;
		if (logits && all)
			to = logits + (size_t)i * @name@_N_VOCAB;
		else if (logits && last)
			to = logits;
		const int e = evaluate_batch(m, tokens + i, batch, all ? 0 : batch - 1, to);
		if (e) {
			m->n_past = before;
			return e;
		}
		m->n_past += batch;
	}
	return @name@_OK;
}

int
@name@_arc_truncate(@name@_arc *m, int n_past)
{
	if (!m || n_past < 0 || n_past > m->n_past)
		return @name@_ERROR_ARGUMENT;
	m->n_past = n_past;
	return @name@_OK;
}

int
@name@_arc_n_past(const @name@_arc *m)
{
	return m->n_past;
}
