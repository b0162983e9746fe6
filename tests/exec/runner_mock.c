/*
 * A library for the runner's tests: the interface of templates/api.h and templates/tokenizer.h over
 * a model whose logits are a hash of all tokens so far, so that tests/exec/runner_mock.py can
 * compute them again. Three kinds of context:
 *   usual         logit i = hash of the history and i, in [-4, 4)
 *   starts 298    logit i = hash of i alone: every draw is from one distribution
 *   starts 299 n  the next n ids are a script: they follow the prompt one by one, then EOS
 * Evaluation runs on all workers and meets at a barrier, as the real library does.
 * MOCK_FAULT=ISA in the environment changes one bit of one logit at position 70 in that ISA level.
 */
#include "mock.h"
#include "mock_tokenizer.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { STATIC_MARK = 298, SCRIPT_MARK = 299, WEIGHTS_BYTES = 4096, FAULT_POSITION = 70 };

struct mock {
	mock_options o;
	int n_ctx, n_past, isa;
	/* of the evaluation at work */
	const int32_t *tokens;
	int n, all;
	float *logits;
	uint64_t hash; /* written by worker 0 between the barriers */
	uint32_t arrived, generation;
	int32_t past[]; /* [n_ctx] */
};

static const char *const isa_names[] = {"x86-64-v4", "imaginary", "c"};

const char *
mock_isa_name(int i)
{
	return i >= 0 && i < 3 ? isa_names[i] : NULL;
}

int
mock_isa_usable(int i)
{
	return i == 0 || i == 2;
}

const char *
mock_isa(const mock *m)
{
	return isa_names[m->isa];
}

const void *
mock_linked_weights(size_t *bytes)
{
	static const char linked[WEIGHTS_BYTES] = "mock";

	*bytes = sizeof linked;
#ifdef MOCK_NO_WEIGHTS
	return NULL;
#else
	return linked;
#endif
}

uint64_t
mock_bytes_per_token(void)
{
	return 1000000;
}

const char *
mock_strerror(int error)
{
	static const char *const texts[] = {"success",	  "argument", "context",
					    "arena",	  "token",    "wrong weights",
					    "no weights", "isa",      "state"};

	return error >= 0 && error < 9 ? texts[error] : "unknown";
}

const char *
mock_build_info(void)
{
	return "mock model, build 0";
}

size_t
mock_arena_size(int n_ctx, int n_batch, int n_threads)
{
	if (n_ctx < 1 || n_ctx > mock_N_CTX || n_batch < 1 || n_batch > n_ctx || n_threads < 1)
		return 0;
	return sizeof(mock) + (size_t)n_ctx * sizeof(int32_t);
}

static int
weights_check(const void *weights, size_t bytes, int check)
{
	const unsigned char *p = weights;
	unsigned sum = 0;
	size_t i;

	if (bytes != WEIGHTS_BYTES || memcmp(p, "mock", 4) != 0)
		return mock_ERROR_WEIGHTS;
	for (i = 4; check && i < bytes; i++)
		sum += p[i];
	return sum ? mock_ERROR_WEIGHTS : mock_OK;
}

int
mock_init(mock **out, void *arena, size_t bytes, const void *weights, size_t weights_bytes,
	  int n_ctx, int n_batch, const mock_options *o)
{
	int e = 0, i, n_threads = o && o->n_threads ? o->n_threads : 1;
	mock *m = arena;

	if (n_ctx > mock_N_CTX)
		return mock_ERROR_CONTEXT;
	if (bytes < mock_arena_size(n_ctx, n_batch, n_threads) || (uintptr_t)arena % 64)
		return mock_ERROR_ARENA;
#ifdef MOCK_NO_WEIGHTS
	if (!weights)
		return mock_ERROR_NO_WEIGHTS;
#endif
	if (weights)
		e = weights_check(weights, weights_bytes, o && o->check_weights);
	if (e)
		return e;
	memset(m, 0, sizeof *m);
	if (o)
		m->o = *o;
	m->o.n_threads = n_threads;
	m->n_ctx = n_ctx;
	for (i = 0; o && o->isa && i < 3; i++)
		if (!strcmp(o->isa, isa_names[i]))
			m->isa = i;
	*out = m;
	return mock_OK;
}

static uint64_t
mix(uint64_t z)
{
	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
	return z ^ (z >> 31);
}

/* The forced id of the position after n tokens, -1 for none. */
static int32_t
script_next(const mock *m, int n)
{
	int count, j;

	if (n < 2 || m->past[0] != SCRIPT_MARK)
		return -1;
	count = m->past[1];
	j = n - 2 - count;
	if (j < 0)
		return -1;
	return j < count ? m->past[2 + j] : 2;
}

/* Logits [from, to) after n tokens with this hash. */
static void
logits_part(const mock *m, int n, uint64_t hash, float *out, int from, int to)
{
	int32_t forced = script_next(m, n);
	int i;

	for (i = from; i < to; i++) {
		uint64_t h =
			m->past[0] == STATIC_MARK ? mix((uint64_t)i + 1) : mix(hash + (uint64_t)i);
		out[i] = (float)((double)(h >> 40) * 0x1p-21 - 4);
		if (i == forced)
			out[i] = 20;
	}
}

/* All n workers meet; the last one resets and wakes the others. */
static void
meet(mock *m, int n)
{
	uint32_t generation = __atomic_load_n(&m->generation, __ATOMIC_ACQUIRE);

	if (__atomic_add_fetch(&m->arrived, 1, __ATOMIC_ACQ_REL) == (uint32_t)n) {
		__atomic_store_n(&m->arrived, 0, __ATOMIC_RELAXED);
		__atomic_add_fetch(&m->generation, 1, __ATOMIC_RELEASE);
		m->o.wake(m->o.user, &m->generation);
		return;
	}
	while (__atomic_load_n(&m->generation, __ATOMIC_ACQUIRE) == generation)
		m->o.park(m->o.user, &m->generation, generation);
}

static void
append(mock *m, int k)
{
	uint64_t hash = 0;
	int i;

	m->past[m->n_past++] = m->tokens[k];
	for (i = 0; i < m->n_past; i++)
		hash = mix(hash ^ ((uint64_t)(uint32_t)m->past[i] + 0x9e3779b97f4a7c15u));
	m->hash = hash;
}

static void
row(mock *m, int k, int worker, int workers)
{
	int from = mock_N_VOCAB * worker / workers, to = mock_N_VOCAB * (worker + 1) / workers;
	float *out = m->logits + (m->all ? (size_t)k * mock_N_VOCAB : 0);
	const char *fault = getenv("MOCK_FAULT");

	if (!m->logits || (!m->all && k + 1 < m->n))
		return;
	logits_part(m, m->n_past, m->hash, out, from, to);
	if (fault && !strcmp(fault, isa_names[m->isa]) && m->n_past == FAULT_POSITION + 1 &&
	    from <= 5 && 5 < to)
		out[5] += 0x1p-20f;
}

static void
evaluate(void *arg, int worker, int workers)
{
	mock *m = arg;
	int k;

	for (k = 0; k < m->n; k++) {
		if (worker == 0)
			append(m, k);
		meet(m, workers);
		row(m, k, worker, workers);
		meet(m, workers);
	}
}

/* Phases of the mode without barriers. */
static void
phase_row(void *arg, int worker, int workers)
{
	mock *m = arg;

	row(m, m->n_past - (int)(m->generation >> 1), worker, workers);
}

int
mock_eval(mock *m, const int32_t *tokens, int n, float *logits, int all)
{
	int i, before = m->n_past;

	if (n < 1 || !tokens)
		return mock_ERROR_ARGUMENT;
	if (n > m->n_ctx - m->n_past)
		return mock_ERROR_CONTEXT;
	for (i = 0; i < n; i++)
		if (tokens[i] < 0 || tokens[i] >= mock_N_VOCAB)
			return mock_ERROR_TOKEN;
	m->tokens = tokens;
	m->n = n;
	m->all = all;
	m->logits = logits;
	if (m->o.n_threads > 1 && m->o.park) {
		m->o.run(m->o.user, evaluate, m, m->o.n_threads);
		return mock_OK;
	}
	m->generation = (uint32_t)(before + 1) << 1;
	for (i = 0; i < n; i++) {
		append(m, i);
		if (m->o.n_threads > 1)
			m->o.run(m->o.user, phase_row, m, m->o.n_threads);
		else
			row(m, i, 0, 1);
	}
	return mock_OK;
}

int
mock_truncate(mock *m, int n_past)
{
	if (n_past < 0 || n_past > m->n_past)
		return mock_ERROR_ARGUMENT;
	m->n_past = n_past;
	return mock_OK;
}

int
mock_n_past(const mock *m)
{
	return m->n_past;
}

size_t
mock_state_size(const mock *m)
{
	return (size_t)(m->n_past + 1) * sizeof(int32_t);
}

int
mock_state_save(const mock *m, void *state, size_t bytes)
{
	int32_t *p = state;

	if (bytes < mock_state_size(m))
		return mock_ERROR_STATE;
	p[0] = m->n_past;
	memcpy(p + 1, m->past, (size_t)m->n_past * sizeof *p);
	return mock_OK;
}

int
mock_state_load(mock *m, const void *state, size_t bytes)
{
	const int32_t *p = state;

	if (bytes != (size_t)(p[0] + 1) * sizeof *p || p[0] > m->n_ctx)
		return mock_ERROR_STATE;
	m->n_past = p[0];
	memcpy(m->past, p + 1, (size_t)p[0] * sizeof *p);
	return mock_OK;
}

/* ---- a tokenizer: the longest piece that fits ------------------------------------------------ */

#ifdef MOCK_ADD_BOS
enum { ADD_BOS = 1 };
#else
enum { ADD_BOS = 0 };
#endif
#ifdef MOCK_NO_TOKENIZER
enum { TOKENIZER = 0 };
#else
enum { TOKENIZER = 1 };
#endif

/* Ids: 0 unknown, 1 BOS, 2 EOS, 3 + byte, 259 + index here, then marks without text. */
static const char *const pieces[] = {"the ", "END",	 "EN",	   "D!",   " and",
				     "ab",   "\xe2\x82", "\xac x", "<|s|>"};

enum { PIECES = sizeof pieces / sizeof *pieces, SPECIAL = 259 + PIECES - 1 };

int
mock_has_tokenizer(void)
{
	return TOKENIZER;
}

int
mock_bos(void)
{
	return 1;
}

int
mock_eos(void)
{
	return TOKENIZER ? 2 : -1;
}

int
mock_add_bos(void)
{
	return ADD_BOS;
}

size_t
mock_encode_scratch(size_t n)
{
	return n + 1;
}

long
mock_encode(const char *text, size_t n, int32_t *ids, size_t capacity, int parse_special,
	    void *scratch, size_t scratch_bytes)
{
	size_t at, count = 0, best, length;
	int32_t id;
	int i;

	if (!TOKENIZER || !scratch || scratch_bytes < n + 1)
		return -1;
	for (at = 0; at < n; at += best) {
		id = 3 + (unsigned char)text[at];
		best = 1;
		for (i = 0; i < (parse_special ? PIECES : PIECES - 1); i++) {
			length = strlen(pieces[i]);
			if (length > best && length <= n - at &&
			    !memcmp(pieces[i], text + at, length)) {
				best = length;
				id = 259 + i;
			}
		}
		if (count < capacity)
			ids[count] = id;
		count++;
	}
	return (long)count;
}

/* Bytes of the sequence that a first byte starts; 0: none does. */
static int
sequence(unsigned char c)
{
	return c < 0x80 ? 1 : c < 0xc2 ? 0 : c < 0xe0 ? 2 : c < 0xf0 ? 3 : c < 0xf5 ? 4 : 0;
}

static int
decode_byte(mock_decoder *d, unsigned char c, char *out)
{
	int n = 0, i;

	if (d->n_held && (c & 0xc0) == 0x80) {
		d->held[d->n_held++] = c;
		if (d->n_held < sequence(d->held[0]))
			return 0;
		for (i = 0; i < d->n_held; i++)
			out[n++] = (char)d->held[i];
		d->n_held = 0;
		return n;
	}
	if (d->n_held) {
		memcpy(out, "\xef\xbf\xbd", 3);
		n = 3;
		d->n_held = 0;
	}
	if (sequence(c) == 1) {
		out[n++] = (char)c;
	} else if (sequence(c)) {
		d->held[d->n_held++] = c;
	} else {
		memcpy(out + n, "\xef\xbf\xbd", 3);
		n += 3;
	}
	return n;
}

int
mock_decode(mock_decoder *d, int32_t id, char *out)
{
	const char *p;
	int n = 0;

	if (id < -1 || id >= mock_N_VOCAB)
		return -1;
	if (id == -1) {
		if (d->n_held)
			memcpy(out, "\xef\xbf\xbd", n = 3);
		d->n_held = 0;
		return n;
	}
	if (id >= 3 && id < 259)
		return decode_byte(d, (unsigned char)(id - 3), out);
	if (id >= 259 && id < SPECIAL)
		for (p = pieces[id - 259]; *p; p++)
			n += decode_byte(d, (unsigned char)*p, out + n);
	return n;
}

int
mock_decode_max(void)
{
	return 64;
}

/* Conversations: 270 in front, 271 and 272 around a system text, 273 in front of an answer, 274
 * behind it; an answer ends at 2 ids in 8. */
enum { CHAT_OPEN = 270, CHAT_SYSTEM, CHAT_BEHIND, CHAT_REPLY, CHAT_NEXT };

const char *
mock_chat(void)
{
	return TOKENIZER && !ADD_BOS ? "mock" : NULL;
}

const char *
mock_chat_why(void)
{
	return mock_chat() ? NULL : "the mock has none";
}

const char *
mock_chat_system_why(void)
{
	return mock_chat_why();
}

int
mock_chat_ends(int32_t id)
{
	/* MOCK_ENDLESS: an answer fills the context, slowly, unless it is interrupted. */
	if (getenv("MOCK_ENDLESS")) {
		clock_t end = clock() + CLOCKS_PER_SEC / 500;
		while (clock() < end)
			;
		return 0;
	}
	return id == CHAT_NEXT || id % 8 == 5 || id % 8 == 6;
}

size_t
mock_chat_scratch(size_t n)
{
	return mock_encode_scratch(n);
}

long
mock_chat_turn(int first, const char *system, size_t n_system, const char *user, size_t n_user,
	       int32_t *ids, size_t capacity, void *scratch, size_t scratch_bytes)
{
	long count = 0, n;
	int part;

	if (!mock_chat() || (system && !first))
		return -1;
	for (part = system ? 0 : 2; part < 4; part++) {
		const char *text = part == 1 ? system : user;
		size_t size = part == 1 ? n_system : n_user;
		int32_t mark = part == 0 ? CHAT_SYSTEM
			       : system	 ? CHAT_BEHIND
			       : first	 ? CHAT_OPEN
					 : CHAT_NEXT;
		if (part % 2 == 0) {
			if ((size_t)count < capacity)
				ids[count] = mark;
			count++;
			continue;
		}
		n = mock_encode(text, size, (size_t)count < capacity ? ids + count : NULL,
				(size_t)count < capacity ? capacity - (size_t)count : 0, 0, scratch,
				scratch_bytes);
		if (n < 0)
			return -1;
		count += n;
	}
	if ((size_t)count < capacity)
		ids[count] = CHAT_REPLY;
	return count + 1;
}
