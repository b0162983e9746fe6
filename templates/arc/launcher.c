/* ---- what a program needs besides its tables ---------------------------------------------- */

enum { POSITIONS = 64, BATCH_MAX = 4096, LOG_MAX = 4096, TEXT_MAX = 512, DEVICES_MAX = 32 };
enum { N_MODULES = (int)(sizeof modules / sizeof *modules) };
enum { N_STAGES = (int)(sizeof stages / sizeof *stages) };
enum { BATCH_TOKENS = 8 };
enum { ARENA, BATCH, ROPE, CACHE, LOGITS, CAPACITY, CTX, CONSTANTS };
/* Kernels address a buffer with 32 bits. */
#define BUFFER_MOST UINT64_C(0xffffffff)

/* uint32 behind the rows of logits: templates/arc/top.h. */
#define TOP_BYTES (UINT64_C(8) * @name@_ARC_TOP_MAX * (1 + TOP_SHARES))

/* What is wanted of a batch: logits of some rows, or the likeliest tokens of the last. */
typedef struct Wanted {
	float *logits;
	int top;	 /* 0: none */
	uint32_t *found; /* [2][TOP_MAX]: ids, bits of logits */
} Wanted;

/* A launch of a stage with its two kernels, arguments set. */
typedef struct Prepared {
	cl_kernel one, many;
	cl_mem constants[CONSTANTS_MAX];
	uint64_t offsets[CONSTANTS_MAX];
} Prepared;

struct @name@_arc {
	OpenCl cl;
	OpenClDevice facts;
	cl_device_id device;
	cl_context context;
	cl_command_queue queue;
	cl_program programs[N_MODULES];
	cl_mem arena, batch, rope, logits, caches[@name@_N_LAYER];
	Prepared *prepared; /* of all stages */
	Prepared top[TOP_LAUNCHES];
	int n_prepared;
	int n_ctx, n_ctx_padded, n_batch, n_past;
	int32_t *words; /* of the batch at work */
	uint64_t launches;
	uint64_t needed, taken; /* bytes of the device's memory */
	char name[TEXT_MAX];
	char log[LOG_MAX];
};

/* ---- words -------------------------------------------------------------------------------- */

static void
log_memory(@name@_arc *m, const char *what, cl_int code)
{
	char number[32];
	snprintf(m->log, sizeof m->log,
		 "%s: %s; this context needs %llu bytes, %llu of them are in buffers; %s has %llu",
		 what, opencl_error(code, number), (unsigned long long)m->needed,
		 (unsigned long long)m->taken, m->facts.name, (unsigned long long)m->facts.memory);
}

static int
say(@name@_arc *m, int error, const char *what, cl_int code)
{
	char number[32];
	if (code == CL_OUT_OF_HOST_MEMORY || code == CL_OUT_OF_RESOURCES ||
	    code == CL_MEM_OBJECT_ALLOCATION_FAILURE || code == CL_INVALID_BUFFER_SIZE) {
		log_memory(m, what, code);
		return @name@_ARC_ERROR_MEMORY;
	}
	if (!m->log[0])
		snprintf(m->log, sizeof m->log, "%s: %s", what, opencl_error(code, number));
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

/* A sentence behind the log; what has no room is left out. */
static void
log_add(@name@_arc *m, const char *text)
{
	const size_t n = strlen(m->log);
	snprintf(m->log + n, sizeof m->log - n, "%s%s", n ? "; " : "", text);
}

/* Why none of n devices serves: those whose name has `want` and what they lack, or all names. */
static int
log_devices(@name@_arc *m, const OpenClDevice *all, int n, const char *want)
{
	char list[TEXT_MAX], line[2 * TEXT_MAX];
	int matching = 0;
	for (int i = 0; i < n; i++) {
		if (want && !strstr(all[i].name, want))
			continue;
		matching++;
		opencl_lacks(&all[i], &needs, list, sizeof list);
		snprintf(line, sizeof line, "%s lacks %s", all[i].name, list);
		log_add(m, line);
	}
	if (matching)
		return @name@_ARC_ERROR_DEVICE;
	snprintf(m->log, sizeof m->log, "no device's name has '%.200s'", want ? want : "");
	for (int i = 0; i < n; i++) {
		snprintf(line, sizeof line, "%s%s", i ? "" : "there are: ", all[i].name);
		log_add(m, line);
	}
	return @name@_ARC_ERROR_DEVICE;
}

/* The first GPU, else the first device, whose name has `want` and that lacks nothing. */
static int
find_device(@name@_arc *m, const char *want)
{
	char list[TEXT_MAX];
	int platforms = 0, best = -1;
	if (opencl_open(&m->cl, m->log, sizeof m->log))
		return @name@_ARC_ERROR_PLATFORM;
	OpenClDevice *all = calloc(DEVICES_MAX, sizeof *all);
	if (!all)
		return @name@_ARC_ERROR_MEMORY;
	const int n = opencl_devices(&m->cl, all, DEVICES_MAX, &platforms);
	for (int i = 0; i < n; i++)
		if ((!want || strstr(all[i].name, want)) &&
		    !opencl_lacks(&all[i], &needs, list, sizeof list) &&
		    (best < 0 ||
		     (!(all[best].type & CL_DEVICE_TYPE_GPU) && all[i].type & CL_DEVICE_TYPE_GPU)))
			best = i;
	int e = 0;
	if (best >= 0) {
		m->facts = all[best];
		m->device = all[best].id;
		snprintf(m->name, sizeof m->name, "%s, driver %s", m->facts.name, m->facts.driver);
	} else if (n) {
		e = log_devices(m, all, n, want);
	} else {
		snprintf(m->log, sizeof m->log, "%d platforms: " OPENCL_INSTALL, platforms);
		e = @name@_ARC_ERROR_PLATFORM;
	}
	free(all);
	return e;
}

/* ---- programs ----------------------------------------------------------------------------- */

/* The driver's words, as many as there is room for. */
static void
log_build(@name@_arc *m, cl_program p)
{
	size_t bytes = 0;
	m->log[0] = 0;
	m->cl.GetProgramBuildInfo(p, m->device, CL_PROGRAM_BUILD_LOG, 0, NULL, &bytes);
	char *text = bytes ? calloc(bytes + 1, 1) : NULL;
	if (text &&
	    !m->cl.GetProgramBuildInfo(p, m->device, CL_PROGRAM_BUILD_LOG, bytes, text, NULL))
		snprintf(m->log, sizeof m->log, "%s", text);
	free(text);
	for (size_t n = strlen(m->log); n && (m->log[n - 1] == '\n' || m->log[n - 1] == ' '); n--)
		m->log[n - 1] = 0;
}

static cl_program
build(@name@_arc *m, cl_program p, const char *options, cl_int *code)
{
	if (*code || !p)
		return NULL;
	*code = m->cl.BuildProgram(p, 1, &m->device, options, NULL, NULL);
	if (!*code)
		return p;
	log_build(m, p);
	m->cl.ReleaseProgram(p);
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
		cl_program p = m->cl.CreateProgramWithBinary(m->context, 1, &m->device, &bytes,
							     &start, &status, &code);
		m->programs[i] = build(m, p, "", &code);
	}
	if (m->programs[i])
		return 0;
	m->log[0] = 0;
	code = 0;
	cl_program p =
		m->cl.CreateProgramWithIL(m->context, from->spirv.start,
					  (size_t)(from->spirv.end - from->spirv.start), &code);
	m->programs[i] = build(m, p, o && o->build ? o->build : "", &code);
	return m->programs[i] ? 0 : say(m, @name@_ARC_ERROR_BUILD, from->name, code);
}

/* ---- memory ------------------------------------------------------------------------------- */

/* Checks a buffer before anything is taken, and counts it. what: for people; layer -1: none. */
static int
count_buffer(@name@_arc *m, uint64_t bytes, const char *what, int layer)
{
	char where[32] = "";
	const uint64_t most =
		m->facts.most && m->facts.most < BUFFER_MOST ? m->facts.most : BUFFER_MOST;
	m->needed += bytes;
	if (bytes <= most && bytes <= SIZE_MAX)
		return 0;
	if (layer >= 0)
		snprintf(where, sizeof where, " of layer %d", layer);
	snprintf(m->log, sizeof m->log, "%s%s want a buffer of %llu bytes; %s takes %llu at most",
		 what, where, (unsigned long long)bytes, m->facts.name, (unsigned long long)most);
	return @name@_ARC_ERROR_MEMORY;
}

static uint64_t
cache_size(const @name@_arc *m, int layer)
{
	return (uint64_t)m->n_ctx_padded * cache_bytes[layer];
}

static uint64_t
logits_size(const @name@_arc *m)
{
	return (uint64_t)m->n_batch * 4 * @name@_N_VOCAB + TOP_BYTES;
}

static int
stage_constants(const Stage *s)
{
	int n = 0;
	for (int i = 0; i < s->n; i++)
		if (s->launches[i].first_constant + s->launches[i].n_constants > n)
			n = s->launches[i].first_constant + s->launches[i].n_constants;
	return n;
}

/* Whether a stage before `stage`, or a launch of it before `place`, has that constant too. */
static int
constant_counted(int stage, int place, uint64_t offset)
{
	for (int i = 0; i <= stage; i++) {
		const int n = i < stage ? stage_constants(&stages[i]) : place;
		for (int k = 0; k < n; k++)
			if (stages[i].places[k].offset == offset)
				return 1;
	}
	return 0;
}

/* All that init will take: refused here where the device cannot have it. */
static int
count_buffers(@name@_arc *m)
{
	const uint64_t batch = (uint64_t)m->n_batch;
	int e = count_buffer(m, batch * ARC_ARENA_BYTES, "activations", -1);
	if (!e)
		e = count_buffer(m, logits_size(m), "logits", -1);
	m->needed += 4 * (BATCH_TOKENS + batch) + ROPE_BYTES;
	for (int i = 0; i < @name@_N_LAYER && !e; i++)
		e = count_buffer(m, cache_size(m, i), "keys and values", i);
	for (int i = 0; i < N_STAGES && !e; i++) {
		const int n = stage_constants(&stages[i]);
		for (int k = 0; k < n && !e; k++)
			if (!constant_counted(i, k, stages[i].places[k].offset))
				e = count_buffer(m, stages[i].places[k].bytes, "weights",
						 stages[i].layer);
	}
	if (!e && m->facts.memory && m->needed > m->facts.memory) {
		snprintf(m->log, sizeof m->log, "this context needs %llu bytes and %s has %llu",
			 (unsigned long long)m->needed, m->facts.name,
			 (unsigned long long)m->facts.memory);
		e = @name@_ARC_ERROR_MEMORY;
	}
	return e;
}

/* A buffer of the device, filled from `from` or left as it is. */
static int
new_buffer(@name@_arc *m, uint64_t bytes, const void *from, cl_mem *out)
{
	char what[64];
	cl_int code;
	*out = m->cl.CreateBuffer(m->context, CL_MEM_READ_WRITE, (size_t)(bytes ? bytes : 64), NULL,
				  &code);
	if (!code && from && bytes)
		code = m->cl.EnqueueWriteBuffer(m->queue, *out, CL_TRUE, 0, (size_t)bytes, from, 0,
						NULL, NULL);
	if (!code) {
		m->taken += bytes;
		return 0;
	}
	snprintf(what, sizeof what, "a buffer of %llu bytes", (unsigned long long)bytes);
	log_memory(m, what, code);
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
		e = new_buffer(m, logits_size(m), NULL, &m->logits);
	if (!e)
		e = new_buffer(m, ROPE_BYTES, payload + ROPE_COS, &m->rope);
	for (int i = 0; i < @name@_N_LAYER && !e; i++)
		e = new_buffer(m, cache_size(m, i), NULL, &m->caches[i]);
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
	*out = m->cl.CreateKernel(m->programs[l->module], name, &code);
	const cl_mem buffers[] = {m->arena, m->batch, m->rope,
				  m->caches[s->layer < 0 ? 0 : s->layer], m->logits};
	for (cl_uint i = 0; i < CAPACITY && !code; i++)
		code = m->cl.SetKernelArg(*out, i, sizeof *buffers, &buffers[i]);
	if (!code)
		code = m->cl.SetKernelArg(*out, CAPACITY, sizeof capacity, &capacity);
	if (!code)
		code = m->cl.SetKernelArg(*out, CTX, sizeof ctx, &ctx);
	for (int i = 0; i < l->n_constants && !code; i++)
		code = m->cl.SetKernelArg(*out, (cl_uint)(CONSTANTS + i), sizeof(cl_mem),
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
			m->cl.RetainMemObject(p->constants[i]);
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
		for (int k = 0; k < s->n && !e; k++) {
			const Launch *l = &s->launches[k];
			Prepared *p = &m->prepared[m->n_prepared++];
			e = new_constants(m, payload, s->places + l->first_constant, p,
					  l->n_constants);
			if (!e)
				e = new_kernel(m, s, l, p, l->one, &p->one);
			if (!e)
				e = new_kernel(m, s, l, p, l->many, &p->many);
		}
	}
	for (int i = 0; i < TOP_LAUNCHES && !e; i++)
		e = new_kernel(m, &stages[N_STAGES - 1], &top_launches[i], &m->top[i],
			       top_launches[i].one, &m->top[i].one);
	return e;
}

/* ---- the context -------------------------------------------------------------------------- */

static int
open_device(@name@_arc *m, const @name@_arc_options *o)
{
	cl_int code = 0;
	int e = find_device(m, o ? o->device : NULL);
	if (e)
		return e;
	m->context = m->cl.CreateContext(NULL, 1, &m->device, NULL, NULL, &code);
	if (code)
		return say(m, @name@_ARC_ERROR_OPENCL, "clCreateContext", code);
	m->queue = m->cl.CreateCommandQueueWithProperties(m->context, m->device, NULL, &code);
	if (code)
		return say(m, @name@_ARC_ERROR_OPENCL, "clCreateCommandQueue", code);
	e = count_buffers(m);
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
	const unsigned char *payload;
	*out = NULL;
	if (n_ctx > @name@_N_CTX)
		return @name@_ERROR_CONTEXT;
	int e = @name@_weights_payload(weights, weights_bytes, options && options->check_weights,
				       &payload);
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
		e = new_buffers(m, payload);
	if (!e)
		e = prepare(m, payload);
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
			m->cl.ReleaseKernel(p->one);
		if (p->many)
			m->cl.ReleaseKernel(p->many);
		for (int k = 0; k < CONSTANTS_MAX; k++)
			if (p->constants[k])
				m->cl.ReleaseMemObject(p->constants[k]);
	}
	for (int i = 0; i < TOP_LAUNCHES; i++)
		if (m->top[i].one)
			m->cl.ReleaseKernel(m->top[i].one);
	const cl_mem buffers[] = {m->arena, m->batch, m->rope, m->logits};
	for (size_t i = 0; i < sizeof buffers / sizeof *buffers; i++)
		if (buffers[i])
			m->cl.ReleaseMemObject(buffers[i]);
	for (int i = 0; i < @name@_N_LAYER; i++)
		if (m->caches[i])
			m->cl.ReleaseMemObject(m->caches[i]);
	for (int i = 0; i < N_MODULES; i++)
		if (m->programs[i])
			m->cl.ReleaseProgram(m->programs[i]);
	if (m->queue)
		m->cl.ReleaseCommandQueue(m->queue);
	if (m->context)
		m->cl.ReleaseContext(m->context);
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
	const size_t global[2] = {(size_t)s->groups * (size_t)s->items,
				  (size_t)((rows + s->tile - 1) / s->tile)};
	if (!kernel)
		return 0;
	m->launches++;
	return m->cl.EnqueueNDRangeKernel(m->queue, kernel, 2, NULL, global, local, 0, NULL, NULL);
}

/* The likeliest tokens of the head's one row. */
static cl_int
read_top(@name@_arc *m, const Wanted *w)
{
	cl_int code = 0;
	for (int i = 0; i < TOP_LAUNCHES && !code; i++)
		code = enqueue(m, &top_launches[i], &m->top[i], 1);
	if (!code)
		code = m->cl.EnqueueReadBuffer(
			m->queue, m->logits, CL_TRUE, (size_t)(logits_size(m) - TOP_BYTES),
			sizeof *w->found * 2 * @name@_ARC_TOP_MAX, w->found, 0, NULL, NULL);
	return code;
}

/* n tokens at n_past; the head computes the rows from head_row0 on where something is wanted. */
static int
evaluate_batch(@name@_arc *m, const int32_t *tokens, int n, int head_row0, const Wanted *w)
{
	const int head_rows = n - head_row0, head = w->logits || w->top;
	const int32_t jobs[BATCH_TOKENS] = {m->n_past, 0,	  n,	     0,
					    m->n_past, head_row0, head_rows, w->top};
	const Prepared *p = m->prepared;
	memcpy(m->words, jobs, sizeof jobs);
	memcpy(m->words + BATCH_TOKENS, tokens, sizeof *tokens * (size_t)n);
	cl_int code = m->cl.EnqueueWriteBuffer(m->queue, m->batch, CL_TRUE, 0,
					       sizeof *m->words * (size_t)(BATCH_TOKENS + n),
					       m->words, 0, NULL, NULL);
	for (int i = 0; i < N_STAGES && !code; i++)
		for (int k = 0; k < stages[i].n && !code; k++, p++)
			if (!stages[i].head || head)
				code = enqueue(m, &stages[i].launches[k], p,
					       stages[i].head ? head_rows : n);
	if (!code && w->logits)
		code = m->cl.EnqueueReadBuffer(m->queue, m->logits, CL_TRUE, 0,
					       sizeof *w->logits * @name@_N_VOCAB *
						       (size_t)head_rows,
					       w->logits, 0, NULL, NULL);
	if (!code && w->top)
		code = read_top(m, w);
	if (!code && !head)
		code = m->cl.Finish(m->queue);
	return code ? say(m, @name@_ARC_ERROR_OPENCL, "a batch", code) : 0;
}

/* Tokens in batches. all: logits of every token are wanted, else only of the last. */
static int
evaluate(@name@_arc *m, const int32_t *tokens, int n, int all, const Wanted *w)
{
	if (!m || !m->prepared || !tokens || n < 1)
		return @name@_ERROR_ARGUMENT;
	if (n > m->n_ctx - m->n_past)
		return @name@_ERROR_CONTEXT;
	for (int i = 0; i < n; i++)
		if (tokens[i] < 0 || tokens[i] >= @name@_N_VOCAB)
			return @name@_ERROR_TOKEN;
	const int before = m->n_past;
	m->log[0] = 0;
	for (int i = 0, batch; i < n; i += batch) {
		const int last = n - i <= m->n_batch;
		Wanted here = {NULL, 0, NULL};
		batch = last ? n - i : m->n_batch;
		if (last)
			here = *w;
		if (all && w->logits)
			here.logits = w->logits + (size_t)i * @name@_N_VOCAB;
		const int e = evaluate_batch(m, tokens + i, batch, all ? 0 : batch - 1, &here);
		if (e) {
			m->n_past = before;
			return e;
		}
		m->n_past += batch;
	}
	return @name@_OK;
}

int
@name@_arc_eval(@name@_arc *m, const int32_t *tokens, int n, float *logits, int all)
{
	const Wanted w = {logits, 0, NULL};
	return evaluate(m, tokens, n, all, &w);
}

int
@name@_arc_eval_top(@name@_arc *m, const int32_t *tokens, int n, int k, int32_t *ids, float *logits)
{
	uint32_t found[2 * @name@_ARC_TOP_MAX];
	const Wanted w = {NULL, k, found};
	if (k < 1 || k > @name@_ARC_TOP_MAX || k > @name@_N_VOCAB)
		return @name@_ERROR_ARGUMENT;
	const int e = evaluate(m, tokens, n, 0, &w);
	if (e)
		return e;
	for (int i = 0; i < k; i++) {
		if (ids)
			ids[i] = (int32_t)found[i];
		if (logits)
			memcpy(&logits[i], &found[@name@_ARC_TOP_MAX + i], sizeof *logits);
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

/* ---- saved states: those of @NAME@.h ------------------------------------------------------- */

size_t
@name@_arc_state_size(const @name@_arc *m)
{
	return @name@_state_bytes(m->n_past);
}

/* The caches of all layers out of a state, or into it. */
static int
state_copy(@name@_arc *m, unsigned char *state, int n_past, int save)
{
	cl_int code = 0;
	for (int i = 0; i < @name@_N_LAYER && !code && n_past; i++) {
		const size_t bytes = (size_t)cache_size(m, i);
		unsigned char *layer = calloc(bytes ? bytes : 1, 1);
		if (!layer)
			return say(m, @name@_ARC_ERROR_MEMORY, "a state", CL_OUT_OF_HOST_MEMORY);
		if (save)
			code = m->cl.EnqueueReadBuffer(m->queue, m->caches[i], CL_TRUE, 0, bytes,
						       layer, 0, NULL, NULL);
		@name@_state_layer(i, layer, m->n_ctx_padded, state, n_past, save);
		if (!save)
			code = m->cl.EnqueueWriteBuffer(m->queue, m->caches[i], CL_TRUE, 0, bytes,
							layer, 0, NULL, NULL);
		free(layer);
	}
	return code ? say(m, @name@_ARC_ERROR_OPENCL, "a state", code) : 0;
}

int
@name@_arc_state_save(@name@_arc *m, void *state, size_t bytes)
{
	if (!m || !m->prepared || !state || bytes < @name@_arc_state_size(m))
		return @name@_ERROR_ARGUMENT;
	m->log[0] = 0;
	@name@_state_begin(state, m->n_past);
	return state_copy(m, state, m->n_past, 1);
}

int
@name@_arc_state_load(@name@_arc *m, const void *state, size_t bytes)
{
	int n_past;
	if (!m || !m->prepared || !state)
		return @name@_ERROR_ARGUMENT;
	m->log[0] = 0;
	int e = @name@_state_check(state, bytes, m->n_ctx, &n_past);
	if (e)
		return e;
	/* The cast only shares one copy loop for both directions; loading reads the state. */
	e = state_copy(m, (unsigned char *)(uintptr_t)state, n_past, 0);
	m->n_past = e ? 0 : n_past;
	return e;
}
