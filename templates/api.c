/*
 * @NAME@: the interface. Memory, checks, the order of stages, barriers; no arithmetic.
 */
#include "@NAME@_internal.h"

#if defined(__SSE2__)
#include <xmmintrin.h>
#endif
#if defined(__x86_64__) || defined(__i386__)
#include <cpuid.h>
#endif

/* ---- what the machine can do -------------------------------------------------------------- */

typedef struct Cpu {
	/* x86, with all companions that the levels use, and the OS saving the state: AVX2; AVX-VNNI
	 * beside it; AVX-512 VL VNNI; that of x86-64-v4. */
	int avx2, avx_vnni, avx512_vnni, avx512;
	int dotprod; /* AArch64 */
} Cpu;

#if defined(__x86_64__) || defined(__i386__)
static unsigned
xgetbv0(void)
{
	unsigned low, high;
	__asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
	return low;
}

static Cpu
cpu_detect(void)
{
	/* leaf 1 ecx: fma, osxsave, avx, f16c */
	const unsigned c1 = 1u << 12 | 1u << 27 | 1u << 28 | 1u << 29;
	/* leaf 7 ebx: bmi1, avx2, bmi2; then avx512 f, dq, bw, vl; ecx: vbmi, vnni */
	const unsigned b7 = 1u << 3 | 1u << 5 | 1u << 8;
	const unsigned b7_vnni = 1u << 16 | 1u << 31, b7_512 = b7_vnni | 1u << 17 | 1u << 30;
	const unsigned c7_vnni = 1u << 11, c7_512 = c7_vnni | 1u << 1;
	unsigned a, b, c, d;
	Cpu cpu = {0, 0, 0, 0, 0};
	if (!__get_cpuid(1, &a, &b, &c, &d) || (c & c1) != c1)
		return cpu;
	const unsigned xcr0 = xgetbv0();
	if ((xcr0 & 6) != 6 || !__get_cpuid_count(7, 0, &a, &b, &c, &d) || (b & b7) != b7)
		return cpu;
	cpu.avx2 = 1;
	if ((xcr0 & 0xe6) == 0xe6) {
		cpu.avx512_vnni = (b & b7_vnni) == b7_vnni && (c & c7_vnni) == c7_vnni;
		cpu.avx512 = (b & b7_512) == b7_512 && (c & c7_512) == c7_512;
	}
	/* leaf 7 has `a` further ones; of 1 eax: avx-vnni */
	if (a >= 1 && __get_cpuid_count(7, 1, &a, &b, &c, &d))
		cpu.avx_vnni = a >> 4 & 1;
	return cpu;
}
#elif defined(__aarch64__) && !defined(__APPLE__)
static Cpu
cpu_detect(void)
{
	/* Linux gives programs what they may know of this register, since 4.11. */
	uint64_t features;
	__asm__("mrs %0, id_aa64isar0_el1" : "=r"(features));
	const Cpu cpu = {0, 0, 0, 0, (features >> 44 & 15) != 0};
	return cpu;
}
#else
static Cpu
cpu_detect(void)
{
#if defined(__ARM_FEATURE_DOTPROD)
	const Cpu cpu = {0, 0, 0, 0, 1};
#else
	const Cpu cpu = {0, 0, 0, 0, 0};
#endif
	return cpu;
}
#endif

/* Identity of model, formats and layout: the weights and saved states of this build carry it. */
static const unsigned char build[32] = {BUILD};

@LEVELS@

/* Freestanding machines have memcpy and memset, but need not have memcmp or strcmp. */
static int
bytes_differ(const void *a, const void *b, size_t n)
{
	const unsigned char *x = a, *y = b;
	size_t i = 0;
	while (i < n && x[i] == y[i])
		i++;
	return i < n;
}

static int
text_equal(const char *a, const char *b)
{
	while (*a && *a == *b)
		a++, b++;
	return *a == *b;
}

/* The level that a name asks for, or the best usable one for null; -1: none. */
static int
level_find(const char *isa)
{
	for (int i = 0; i < N_LEVELS; i++)
		if ((isa ? text_equal(isa, levels[i]->name) : 1) && level_usable(i))
			return i;
	return -1;
}

const char *
@name@_isa_name(int i)
{
	return i >= 0 && i < N_LEVELS ? levels[i]->name : NULL;
}

int
@name@_isa_usable(int i)
{
	return i >= 0 && i < N_LEVELS && level_usable(i);
}

const char *
@name@_isa(const @name@ *m)
{
	return m->level->name;
}

/* ---- floating-point state: round to nearest, subnormals kept ------------------------------ */

static unsigned
float_state_enter(void)
{
#if defined(__SSE2__)
	const unsigned old = _mm_getcsr();
	_mm_setcsr(0x1f80);
	return old;
#else
	return 0;
#endif
}

static void
float_state_leave(unsigned old)
{
#if defined(__SSE2__)
	_mm_setcsr(old);
#else
	(void)old;
#endif
}

/* ---- barrier ------------------------------------------------------------------------------ */

#if defined(__GNUC__)
#define LOAD(p) __atomic_load_n((p), __ATOMIC_SEQ_CST)
#define STORE(p, v) __atomic_store_n((p), (v), __ATOMIC_SEQ_CST)
#define INCREMENT(p) __atomic_add_fetch((p), 1u, __ATOMIC_SEQ_CST)
#define DECREMENT(p) __atomic_sub_fetch((p), 1u, __ATOMIC_SEQ_CST)
#if defined(__x86_64__) || defined(__i386__)
#define RELAX() __builtin_ia32_pause()
#else
#define RELAX() ((void)0)
#endif
enum { HAVE_ATOMICS = 1, SPINS = 2000 };

/* The last to arrive starts the next generation; the others spin briefly, then sleep. */
static void
barrier_wait(@name@ *m, int n)
{
	const uint32_t generation = LOAD(&m->barrier_generation);
	if (INCREMENT(&m->barrier_arrived) == (uint32_t)n) {
		STORE(&m->barrier_arrived, 0);
		STORE(&m->barrier_generation, generation + 1);
		if (LOAD(&m->barrier_sleepers))
			m->options.wake(m->options.user, &m->barrier_generation);
		return;
	}
	for (int i = 0; i < SPINS; i++) {
		if (LOAD(&m->barrier_generation) != generation)
			return;
		RELAX();
	}
	INCREMENT(&m->barrier_sleepers);
	while (LOAD(&m->barrier_generation) == generation)
		m->options.park(m->options.user, &m->barrier_generation, generation);
	DECREMENT(&m->barrier_sleepers);
}
#else
/* Without atomics workers never wait for each other: each phase is one call of run. */
enum { HAVE_ATOMICS = 0 };
static void
barrier_wait(@name@ *m, int n)
{
	(void)m;
	(void)n;
}
#endif

/* ---- evaluation --------------------------------------------------------------------------- */

static @name@_job
stage_job(const @name@ *m, const @name@_stage *s)
{
	@name@_job j;
	j.layer = s->layer;
	j.row0 = s->head ? m->head_row0 : 0;
	j.rows = s->head && !m->logits ? 0 : m->n_tokens - j.row0;
	return j;
}

/* All stages by one worker of n. */
static void
evaluate_worker(void *arg, int tid, int n)
{
	@name@ *m = arg;
	const unsigned state = float_state_enter();
	for (int i = 0; i < m->level->n_stages; i++) {
		const @name@_stage *s = &m->level->stages[i];
		const @name@_job j = stage_job(m, s);
		for (int k = 0; k < s->n_phases && j.rows; k++) {
			if (s->phases[k].skip_at_one && j.rows == 1)
				continue;
			s->phases[k].fn(m, &j, tid, n);
			if (n > 1)
				barrier_wait(m, n);
		}
	}
	float_state_leave(state);
}

typedef struct PhaseCall {
	@name@ *m;
	const @name@_phase *phase;
	@name@_job job;
} PhaseCall;

static void
phase_worker(void *arg, int tid, int n)
{
	const PhaseCall *c = arg;
	const unsigned state = float_state_enter();
	c->phase->fn(c->m, &c->job, tid, n);
	float_state_leave(state);
}

static void
evaluate_batch(@name@ *m)
{
	const @name@_options *o = &m->options;
	if (!o->run || m->n_threads == 1) {
		evaluate_worker(m, 0, 1);
		return;
	}
	if (o->park && o->wake && HAVE_ATOMICS) {
		m->barrier_arrived = 0;
		o->run(o->user, evaluate_worker, m, m->n_threads);
		return;
	}
	for (int i = 0; i < m->level->n_stages; i++) {
		const @name@_stage *s = &m->level->stages[i];
		PhaseCall c;
		c.m = m;
		c.job = stage_job(m, s);
		for (int k = 0; k < s->n_phases && c.job.rows; k++) {
			c.phase = &s->phases[k];
			if (!(c.phase->skip_at_one && c.job.rows == 1))
				o->run(o->user, phase_worker, &c, m->n_threads);
		}
	}
}

int
@name@_eval(@name@ *m, const int32_t *tokens, int n, float *logits, int all)
{
	if (!m || !tokens || n < 1)
		return @name@_ERROR_ARGUMENT;
	if (n > m->n_ctx - m->n_past)
		return @name@_ERROR_CONTEXT;
	for (int i = 0; i < n; i++)
		if (tokens[i] < 0 || tokens[i] >= @name@_N_VOCAB)
			return @name@_ERROR_TOKEN;
	for (int i = 0; i < n; i += m->n_tokens) {
		const int last = n - i <= m->n_batch;
		m->tokens = tokens + i;
		m->n_tokens = last ? n - i : m->n_batch;
		m->head_row0 = all ? 0 : m->n_tokens - 1;
		m->logits = NULL;
		if (logits && all)
			m->logits = logits + (size_t)i * @name@_N_VOCAB;
		else if (logits && last)
			m->logits = logits;
		evaluate_batch(m);
		m->n_past += m->n_tokens;
	}
	return @name@_OK;
}

int
@name@_truncate(@name@ *m, int n_past)
{
	if (!m || n_past < 0 || n_past > m->n_past)
		return @name@_ERROR_ARGUMENT;
	m->n_past = n_past;
	return @name@_OK;
}

int
@name@_n_past(const @name@ *m)
{
	return m->n_past;
}

/* ---- memory ------------------------------------------------------------------------------- */

enum { ALIGN = 64, POSITIONS = 64, BATCH_MAX = 4096, THREADS_MAX = 256 };

/* Byte offsets of the parts of an arena; each is a multiple of ALIGN. */
typedef struct Places {
	size_t activations, scratch, kv, end;
} Places;

static size_t
align_up(size_t n, size_t to)
{
	return (n + to - 1) / to * to;
}

/* 0 when an argument is out of range or a size does not fit. */
static int
places(int n_ctx, int n_batch, int n_threads, Places *p)
{
	if (n_ctx < 1 || n_ctx > @name@_N_CTX || n_batch < 1 || n_batch > BATCH_MAX ||
	    n_threads < 1 || n_threads > THREADS_MAX)
		return 0;
	const uint64_t positions = align_up((size_t)n_ctx, POSITIONS);
	const uint64_t activations = align_up(sizeof(@name@), ALIGN);
	const uint64_t scratch = activations + (uint64_t)n_batch * ACTIVATION_BYTES;
	const uint64_t kv = scratch + (uint64_t)n_threads * SCRATCH_BYTES;
	const uint64_t end = kv + positions * KV_BYTES;
	if (end > SIZE_MAX)
		return 0;
	p->activations = (size_t)activations;
	p->scratch = (size_t)scratch;
	p->kv = (size_t)kv;
	p->end = (size_t)end;
	return 1;
}

size_t
@name@_arena_size(int n_ctx, int n_batch, int n_threads)
{
	Places p;
	return places(n_ctx, n_batch, n_threads, &p) ? p.end : 0;
}

/* ---- weights ------------------------------------------------------------------------------ */

/* Start of a weights file; the payload follows at byte ALIGN. */
typedef struct WeightsHeader {
	char magic[8]; /* "LATHEWTS" */
	uint32_t version, header_bytes;
	uint64_t payload_bytes;
	unsigned char build[32];
} WeightsHeader;

/* Every step is a bijection of the state and of the data, so one changed bit always shows. */
static uint64_t
checksum(const unsigned char *p, uint64_t n)
{
	const uint64_t prime = 0x9E3779B97F4A7C15u;
	uint64_t h[8], x[8], sum = n;
	for (int j = 0; j < 8; j++)
		h[j] = (uint64_t)j + 1;
	for (uint64_t i = 0; i + 64 <= n; i += 64) {
		memcpy(x, p + i, 64);
		for (int j = 0; j < 8; j++) {
			h[j] = (h[j] ^ x[j]) * prime;
			h[j] ^= h[j] >> 29;
		}
	}
	for (int j = 0; j < 8; j++) {
		sum = (sum ^ h[j]) * prime;
		sum ^= sum >> 29;
	}
	return sum;
}

#if defined(LATHE_WEIGHTS_LINKED)
/* Whoever takes this library from an archive takes the weights in it too. */
extern const unsigned char @name@_weights_data[];
#define LINKED_WEIGHTS @name@_weights_data
#elif defined(__GNUC__)
extern const unsigned char @name@_weights_data[] __attribute__((weak));
#define LINKED_WEIGHTS @name@_weights_data
#else
#define LINKED_WEIGHTS NULL
#endif

const void *
@name@_linked_weights(size_t *bytes)
{
	*bytes = ALIGN + WEIGHTS_BYTES;
	return LINKED_WEIGHTS;
}

/* Sets *payload, or returns an error. */
int
@name@_weights_payload(const void *weights, size_t bytes, int check, const unsigned char **payload)
{
	WeightsHeader h;
	const unsigned char *p = weights;
	if (!p) {
		p = LINKED_WEIGHTS;
		if (!p)
			return @name@_ERROR_NO_WEIGHTS;
		bytes = ALIGN + WEIGHTS_BYTES;
	}
	if (bytes != ALIGN + WEIGHTS_BYTES || (uintptr_t)p % ALIGN)
		return @name@_ERROR_WEIGHTS;
	memcpy(&h, p, sizeof h);
	if (bytes_differ(h.magic, "LATHEWTS", 8) || h.version != 1 || h.header_bytes != ALIGN ||
	    h.payload_bytes != WEIGHTS_BYTES || bytes_differ(h.build, build, sizeof build))
		return @name@_ERROR_WEIGHTS;
	if (check && checksum(p + ALIGN, WEIGHTS_BYTES) != WEIGHTS_CHECKSUM)
		return @name@_ERROR_WEIGHTS;
	*payload = p + ALIGN;
	return @name@_OK;
}

int
@name@_init(@name@ **out, void *arena, size_t bytes, const void *weights, size_t weights_bytes,
	    int n_ctx, int n_batch, const @name@_options *options)
{
	const int n_threads = options && options->n_threads ? options->n_threads : 1;
	const int level = level_find(options ? options->isa : NULL);
	const unsigned char *payload;
	Places p;
	if (!out || !arena)
		return @name@_ERROR_ARGUMENT;
	if (n_ctx > @name@_N_CTX)
		return @name@_ERROR_CONTEXT;
	if (!places(n_ctx, n_batch, n_threads, &p))
		return @name@_ERROR_ARGUMENT;
	if (bytes < p.end || (uintptr_t)arena % ALIGN)
		return @name@_ERROR_ARENA;
	if (level < 0)
		return @name@_ERROR_ISA;
	const int error = @name@_weights_payload(weights, weights_bytes,
						 options ? options->check_weights : 0, &payload);
	if (error)
		return error;
	@name@ *m = arena;
	memset(m, 0, sizeof *m);
	m->weights = payload;
	m->level = levels[level];
	if (options)
		m->options = *options;
	m->n_ctx = n_ctx;
	m->n_ctx_padded = (int)align_up((size_t)n_ctx, POSITIONS);
	m->n_batch = n_batch;
	m->n_threads = m->options.run ? n_threads : 1;
	m->activations = (unsigned char *)arena + p.activations;
	m->scratch = (unsigned char *)arena + p.scratch;
	m->kv = (unsigned char *)arena + p.kv;
	/* No result depends on what the memory held, and no read finds it as it was. */
	memset(m->activations, 0, p.kv - p.activations);
	*out = m;
	return @name@_OK;
}

/* ---- saved states ------------------------------------------------------------------------- */

typedef struct StateHeader {
	char magic[8]; /* "LATHEKV1" */
	uint32_t n_past, reserved;
	unsigned char build[32];
} StateHeader;

/* An image is the cache of each head, [layer][head], in its parts. What lies behind n_past is zero.
 */
size_t
@name@_state_bytes(int n_past)
{
	return sizeof(StateHeader) + align_up((size_t)n_past, POSITIONS) * KV_BYTES;
}

size_t
@name@_state_size(const @name@ *m)
{
	return @name@_state_bytes(m->n_past);
}

/* Zeros in the keys of a head's image behind position n_past: [n / 16][unit][16]. */
static void
state_forget_keys(const @name@_cache *c, unsigned char *image, size_t n_past)
{
	const size_t lanes = 16;
	for (size_t p = n_past; p < align_up(n_past, POSITIONS); p++)
		for (size_t i = 0; i < c->k_bytes; i += c->k_unit)
			memset(image + p / lanes * lanes * c->k_bytes + i * lanes +
				       p % lanes * c->k_unit,
			       0, c->k_unit);
}

/* Copies the used part of a head between the cache and a dense image. */
static void
state_copy_head(const @name@_cache *c, unsigned char *head, size_t n, unsigned char *image,
		size_t n_past, int save)
{
	const size_t used = align_up(n_past, POSITIONS);
	for (unsigned part = 0; part < 2 + c->scales; part++) {
		const size_t row = part == 0 ? c->k_bytes : part == 1 ? c->v_bytes : sizeof(float);
		if (!save) {
			memcpy(head, image, used * row);
		} else {
			memcpy(image, head, used * row);
			if (part == 0)
				state_forget_keys(c, image, n_past);
			else
				memset(image + n_past * row, 0, (used - n_past) * row);
		}
		head += n * row;
		image += used * row;
	}
}

void
@name@_state_layer(int layer, unsigned char *cache, int n, unsigned char *state, int n_past,
		   int save)
{
	const @name@_cache *c = &caches[layer];
	const size_t used = align_up((size_t)n_past, POSITIONS);
	unsigned char *image = state + sizeof(StateHeader) + used * c->offset;
	for (size_t h = 0; h < N_KV_HEAD; h++)
		state_copy_head(c, cache + h * c->head_bytes * (size_t)n, (size_t)n,
				image + h * c->head_bytes * used, (size_t)n_past, save);
}

static void
state_copy(@name@ *m, unsigned char *state, int n_past, int save)
{
	for (int i = 0; i < @name@_N_LAYER; i++)
		@name@_state_layer(i, m->kv + caches[i].offset * (size_t)m->n_ctx_padded,
				   m->n_ctx_padded, state, n_past, save);
}

void
@name@_state_begin(void *state, int n_past)
{
	StateHeader h;
	memset(&h, 0, sizeof h);
	memcpy(h.magic, "LATHEKV1", 8);
	memcpy(h.build, build, sizeof build);
	h.n_past = (uint32_t)n_past;
	memcpy(state, &h, sizeof h);
}

int
@name@_state_save(const @name@ *m, void *state, size_t bytes)
{
	if (!m || !state || bytes < @name@_state_size(m))
		return @name@_ERROR_ARGUMENT;
	@name@_state_begin(state, m->n_past);
	/* The cast only shares one copy loop for both directions; saving reads the cache. */
	state_copy((@name@ *)(uintptr_t)m, state, m->n_past, 1);
	return @name@_OK;
}

int
@name@_state_check(const void *state, size_t bytes, int n_ctx, int *n_past)
{
	StateHeader h;
	if (bytes < sizeof h)
		return @name@_ERROR_ARGUMENT;
	memcpy(&h, state, sizeof h);
	if (bytes_differ(h.magic, "LATHEKV1", 8) || bytes_differ(h.build, build, sizeof build) ||
	    h.n_past > (uint32_t)n_ctx || bytes != @name@_state_bytes((int)h.n_past))
		return @name@_ERROR_STATE;
	*n_past = (int)h.n_past;
	return @name@_OK;
}

int
@name@_state_load(@name@ *m, const void *state, size_t bytes)
{
	int n_past;
	if (!m || !state)
		return @name@_ERROR_ARGUMENT;
	const int error = @name@_state_check(state, bytes, m->n_ctx, &n_past);
	if (error)
		return error;
	state_copy(m, (unsigned char *)(uintptr_t)state, n_past, 0);
	m->n_past = n_past;
	return @name@_OK;
}

/* ---- words -------------------------------------------------------------------------------- */

const char *
@name@_strerror(int error)
{
	static const char *const text[] = {
		"success",
		"an argument is null or out of range",
		"the context is full, or longer than the model's",
		"the arena is too small or not 64-byte aligned",
		"a token id is out of range",
		"the weights are of another build, of the wrong size or damaged",
		"no weights were given and none are linked",
		"the ISA level is unknown, or this CPU lacks it",
		"the saved state is of another build or of a longer context",
	};
	return error >= 0 && error < (int)(sizeof text / sizeof *text) ? text[error]
								       : "unknown error";
}
