/* ---- the context -------------------------------------------------------------------------- */

/* Keys and values in pairs; a text of all of them for the key of blobs. */
static int
set_properties(@name@_npu *m, const char *const *p)
{
	ov_status_e status;
	char what[OPENVINO_TEXT];
	size_t at = 0;
	for (; p && p[0] && p[1]; p += 2) {
		const int n = snprintf(m->properties + at, sizeof m->properties - at, " %s=%s",
				       p[0], p[1]);
		at += n > 0 ? (size_t)n : 0;
		if (at >= sizeof m->properties) {
			say(m, "", "the properties are too long");
			return @name@_NPU_ERROR_DEVICE;
		}
		status = m->ov.core_set_property(m->core, m->device, p[0], p[1]);
		if (!status)
			continue;
		snprintf(what, sizeof what, "%.200s, %.100s=%.100s", m->device, p[0], p[1]);
		return failed(m, @name@_NPU_ERROR_DEVICE, what, status);
	}
	return 0;
}

/* The library, a core, the device's names. */
static int
open_device(@name@_npu *m, const @name@_npu_options *o)
{
	char words[WORDS_MAX], full[OPENVINO_TEXT];
	ov_status_e status;
	int e;
	if (openvino_open(&m->ov, o->openvino, words, sizeof words)) {
		say(m, "", words);
		return @name@_NPU_ERROR_OPENVINO;
	}
	status = m->ov.core_create(&m->core);
	if (status) {
		m->core = NULL;
		return failed(m, @name@_NPU_ERROR_OPENVINO, m->ov.library, status);
	}
	e = set_properties(m, o->properties);
	if (e)
		return e;
	if (!openvino_property(&m->ov, m->core, m->device, "DEVICE_ARCHITECTURE", m->platform,
			       sizeof m->platform))
		strcpy(m->platform, "none");
	if (!openvino_property(&m->ov, m->core, m->device, "FULL_DEVICE_NAME", full, sizeof full))
		strcpy(full, "unknown");
	snprintf(m->name, sizeof m->name, "%s (%s), OpenVINO %.*s", m->device, full,
		 (int)strcspn(m->ov.version, "-"), m->ov.version);
	return 0;
}

/* Zeroed memory that begins at a page, as drivers take it without a copy; null where there is none.
 */
static void *
pages(size_t bytes)
{
	void *p = NULL;
	if (posix_memalign(&p, PAGE, bytes))
		return NULL;
	return memset(p, 0, bytes);
}

/* All memory of a context, zeros: what the mask hides is multiplied too. */
static int
new_memory(@name@_npu *m)
{
	const size_t prefill_mask = (size_t)CHUNK * (CONTEXT + CHUNK);
	const struct {
		float **to;
		size_t floats;
	} parts[] = {
		{&m->cache, CACHE_FLOATS},
		{&m->fresh, FRESH_FLOATS},
		{&m->masks[PREFILL], prefill_mask},
		{&m->masks[DECODE], CONTEXT + 1},
		{&m->embeds, (size_t)CHUNK * @name@_HIDDEN},
		{&m->rows, (size_t)CHUNK * @name@_HIDDEN},
		{&m->row, @name@_HIDDEN},
		{&m->logits, @name@_N_VOCAB},
	};
	char words[WORDS_MAX];
	size_t i, all = sizeof *m->position_ids * CHUNK;
	int missing = 0;
	m->position_ids = pages(CHUNK * sizeof *m->position_ids);
	for (i = 0; i < sizeof parts / sizeof *parts; i++) {
		*parts[i].to = pages(parts[i].floats * sizeof(float));
		missing |= !*parts[i].to;
		all += parts[i].floats * sizeof(float);
	}
	if (!missing && m->position_ids)
		return 0;
	snprintf(words, sizeof words, "this context needs %llu bytes", (unsigned long long)all);
	say(m, "", words);
	return @name@_NPU_ERROR_MEMORY;
}

/* Nothing is open but each row's own and earlier rows of the call. */
static void
close_masks(@name@_npu *m)
{
	int t, k;
	for (t = 0; t < CHUNK; t++)
		for (k = 0; k < CONTEXT + CHUNK; k++)
			m->masks[PREFILL][(size_t)t * (CONTEXT + CHUNK) + (size_t)k] =
				k >= CONTEXT && k - CONTEXT <= t ? 0 : MASKED;
	for (k = 0; k < CONTEXT; k++)
		m->masks[DECODE][k] = MASKED;
	m->masks[DECODE][CONTEXT] = 0;
}

static int
open_nets(@name@_npu *m, const @name@_npu_options *o)
{
	static const int tokens[] = {CHUNK, 1};
	const char *models = o->models ? o->models : "npu";
	char bin[PATH_ROOM];
	int i, e;
	if (strlen(models) + PORT_MAX > sizeof bin) {
		say(m, "", "the path of the models is too long");
		return @name@_NPU_ERROR_FILES;
	}
	snprintf(bin, sizeof bin, "%s/openvino_model.bin", models);
	e = open_bin(m, bin, o->check_weights);
	for (i = 0; i < NETS && !e; i++) {
		ov_status_e status;
		e = open_net(m, i, models, o->cache);
		if (e)
			break;
		status = m->ov.compiled_model_create_infer_request(m->nets[i].compiled,
								   &m->nets[i].request);
		if (status) {
			m->nets[i].request = NULL;
			e = failed(m, @name@_NPU_ERROR_RUN, net_files[i], status);
		} else {
			e = i == HEAD ? bind_head(m) : bind_layers_net(m, i, tokens[i]);
		}
	}
	return e;
}

int
@name@_npu_init(@name@_npu **out, int n_ctx, const @name@_npu_options *options)
{
	@name@_npu_options o;
	@name@_npu *m;
	char words[WORDS_MAX];
	int e;
	if (!out || n_ctx < 1)
		return @name@_ERROR_ARGUMENT;
	memset(&o, 0, sizeof o);
	if (options)
		o = *options;
	*out = NULL;
	m = calloc(1, sizeof *m);
	if (!m)
		return @name@_NPU_ERROR_MEMORY;
	*out = m;
	m->n_ctx = n_ctx;
	snprintf(m->device, sizeof m->device, "%s", o.device ? o.device : "NPU");
	snprintf(m->name, sizeof m->name, "%s", m->device);
	if (n_ctx > CONTEXT) {
		snprintf(words, sizeof words,
			 "%d positions are beyond the %d of the static models (--npu-context)",
			 n_ctx, CONTEXT);
		say(m, "", words);
		return @name@_ERROR_CONTEXT;
	}
	e = open_device(m, &o);
	if (!e)
		e = new_memory(m);
	if (!e) {
		close_masks(m);
		e = open_nets(m, &o);
	}
	return e;
}

void
@name@_npu_free(@name@_npu *m)
{
	int i;
	if (!m)
		return;
	for (i = 0; i < NETS; i++)
		if (m->nets[i].request)
			m->ov.infer_request_free(m->nets[i].request);
	for (i = 0; i < m->n_tensors; i++)
		m->ov.tensor_free(m->tensors[i]);
	for (i = 0; i < NETS; i++) {
		if (m->nets[i].compiled)
			m->ov.compiled_model_free(m->nets[i].compiled);
		unmap_file(&m->nets[i].blob);
	}
	if (m->core)
		m->ov.core_free(m->core);
	unmap_file(&m->bin);
	free(m->cache);
	free(m->fresh);
	free(m->masks[PREFILL]);
	free(m->masks[DECODE]);
	free(m->embeds);
	free(m->rows);
	free(m->row);
	free(m->logits);
	free(m->position_ids);
	free(m);
}

/* ---- the embedding ------------------------------------------------------------------------ */

static float
float_at(const unsigned char *p, uint64_t i)
{
	float x;
	memcpy(&x, p + sizeof x * i, sizeof x);
	return x;
}

static float
half_at(const unsigned char *p, uint64_t i)
{
	const unsigned h = p[2 * i] | (unsigned)p[2 * i + 1] << 8;
	const unsigned exponent = h >> 10 & 31, fraction = h & 1023;
	const float sign = h >> 15 ? -1.0F : 1.0F;
	uint32_t bits = (h & 0x8000U) << 16 | (exponent + 112) << 23 | fraction << 13;
	float x;
	if (!exponent)
		return sign * (float)fraction * (1.0F / 16777216);
	if (exponent == 31)
		bits |= 0x7f800000U;
	memcpy(&x, &bits, sizeof x);
	return x;
}

/* Number i of an array; numbers of fewer than 8 bits fill a byte from its low bits. */
static float
number_at(const unsigned char *p, Element type, uint64_t i)
{
	switch (type) {
	case ELEMENT_F32:
		return float_at(p, i);
	case ELEMENT_F16:
		return half_at(p, i);
	case ELEMENT_I8:
		return (float)(p[i] - 2 * (p[i] & 0x80));
	case ELEMENT_U8:
		return (float)p[i];
	case ELEMENT_I4: {
		const int c = p[i / 2] >> 4 * (i % 2) & 15;
		return (float)(c - 2 * (c & 8));
	}
	case ELEMENT_U4:
		return (float)(p[i / 2] >> 4 * (i % 2) & 15);
	case ELEMENT_U2:
		break;
	}
	return (float)(p[i / 4] >> 2 * (i % 4) & 3);
}

/* A row of the table: (code - zero) * scale, by groups. */
static void
look_up(const @name@_npu *m, int32_t token, float *row)
{
	const Table *t = &embedding;
	const unsigned char *p = m->bin.data;
	const uint64_t first = (uint64_t)token * t->padded;
	uint64_t i;
	for (i = 0; i < @name@_HIDDEN; i++) {
		const uint64_t group = (uint64_t)token * t->groups + i / t->group;
		float x = number_at(p + t->codes, t->type, first + i) - t->zero;
		if (t->zeros)
			x -= float_at(p + t->zeros, group);
		if (t->scales)
			x *= float_at(p + t->scales, group);
		row[i] = x;
	}
}

/* ---- evaluation --------------------------------------------------------------------------- */

static int
infer(@name@_npu *m, int which)
{
	const ov_status_e status = m->ov.infer_request_infer(m->nets[which].request);
	m->inferences++;
	return status ? failed(m, @name@_NPU_ERROR_RUN, net_files[which], status) : 0;
}

/* Opens n_past positions to all rows of a mask. */
static void
show_past(@name@_npu *m, int which, int rows)
{
	const size_t width = (size_t)CONTEXT + (size_t)rows;
	int t, k;
	for (t = 0; t < rows; t++) {
		float *row = m->masks[which] + (size_t)t * width;
		for (k = m->shown[which]; k < m->n_past; k++)
			row[k] = 0;
		for (k = m->n_past; k < m->shown[which]; k++)
			row[k] = MASKED;
	}
	m->shown[which] = m->n_past;
}

/* The keys and values of n tokens, of a call of `rows`, to their places. */
static void
keep_fresh(@name@_npu *m, int rows, int n)
{
	const float *from = m->fresh;
	float *to = m->cache + (size_t)m->n_past * HEAD_DIM;
	int i;
	for (i = 0; i < @name@_N_LAYER * 2 * KV_HEADS; i++) {
		memcpy(to, from, sizeof *to * (size_t)n * HEAD_DIM);
		from += (size_t)rows * HEAD_DIM;
		to += (size_t)CONTEXT * HEAD_DIM;
	}
}

/* n tokens at n_past by PREFILL or DECODE; rows behind them are zeros that nobody looks at. */
static int
evaluate_rows(@name@_npu *m, int which, const int32_t *tokens, int n)
{
	const int rows = which == PREFILL ? CHUNK : 1;
	int t, e;
	for (t = 0; t < n; t++) {
		look_up(m, tokens[t], m->embeds + (size_t)t * @name@_HIDDEN);
		m->position_ids[t] = m->n_past + t;
	}
	memset(m->embeds + (size_t)n * @name@_HIDDEN, 0,
	       sizeof *m->embeds * @name@_HIDDEN * (size_t)(rows - n));
	memset(m->position_ids + n, 0, sizeof *m->position_ids * (size_t)(rows - n));
	show_past(m, which, rows);
	e = infer(m, which);
	if (!e)
		keep_fresh(m, rows, n);
	return e;
}

/* Logits of rows first.. of a prefill's n. */
static int
evaluate_head(@name@_npu *m, int first, int n, float *logits)
{
	int t, e = 0;
	for (t = first; t < n && !e; t++, logits += @name@_N_VOCAB) {
		memcpy(m->row, m->rows + (size_t)t * @name@_HIDDEN, sizeof *m->row * @name@_HIDDEN);
		e = infer(m, HEAD);
		if (!e)
			memcpy(logits, m->logits, sizeof *logits * @name@_N_VOCAB);
	}
	return e;
}

/* A batch of at most CHUNK tokens. logits: of all of them, of the last, or null. */
static int
evaluate_batch(@name@_npu *m, const int32_t *tokens, int n, float *logits, int all)
{
	int e = evaluate_rows(m, n > 1 ? PREFILL : DECODE, tokens, n);
	if (e || !logits)
		return e;
	if (n > 1)
		return evaluate_head(m, all ? 0 : n - 1, n, logits);
	memcpy(logits, m->logits, sizeof *logits * @name@_N_VOCAB);
	return 0;
}

int
@name@_npu_eval(@name@_npu *m, const int32_t *tokens, int n, float *logits, int all)
{
	int i, batch, e = 0;
	if (!m || !m->nets[HEAD].request || !tokens || n < 1)
		return @name@_ERROR_ARGUMENT;
	if (n > m->n_ctx - m->n_past)
		return @name@_ERROR_CONTEXT;
	for (i = 0; i < n; i++)
		if (tokens[i] < 0 || tokens[i] >= @name@_N_VOCAB)
			return @name@_ERROR_TOKEN;
	const int before = m->n_past;
	m->log[0] = 0;
	for (i = 0; i < n && !e; i += batch) {
		float *here = logits && all ? logits + (size_t)i * @name@_N_VOCAB : logits;
		batch = n - i < CHUNK ? n - i : CHUNK;
		if (!all && i + batch < n)
			here = NULL;
		e = evaluate_batch(m, tokens + i, batch, here, all);
		m->n_past += batch;
	}
	if (e)
		m->n_past = before;
	return e;
}

int
@name@_npu_truncate(@name@_npu *m, int n_past)
{
	if (!m || n_past < 0 || n_past > m->n_past)
		return @name@_ERROR_ARGUMENT;
	m->n_past = n_past;
	return @name@_OK;
}

int
@name@_npu_n_past(const @name@_npu *m)
{
	return m->n_past;
}

/* ---- saved states ------------------------------------------------------------------------- */

typedef struct StateHeader {
	char magic[8]; /* "LATHENP1" */
	uint32_t n_past, reserved;
	unsigned char build[32];
} StateHeader;

static void
state_header(StateHeader *h, int n_past)
{
	memset(h, 0, sizeof *h);
	memcpy(h->magic, "LATHENP1", 8);
	memcpy(h->build, build, sizeof build);
	h->n_past = (uint32_t)n_past;
}

static size_t
state_bytes(int n_past)
{
	return sizeof(StateHeader) + CACHE_FLOATS / CONTEXT * (size_t)n_past * sizeof(float);
}

size_t
@name@_npu_state_size(const @name@_npu *m)
{
	return state_bytes(m->n_past);
}

/* Rows of n_past positions of each head between the cache and a dense image. */
static void
state_copy(float *cache, unsigned char *image, int n_past, int save)
{
	const size_t bytes = sizeof *cache * (size_t)n_past * HEAD_DIM;
	int i;
	for (i = 0; i < @name@_N_LAYER * 2 * KV_HEADS; i++) {
		if (save)
			memcpy(image, cache, bytes);
		else
			memcpy(cache, image, bytes);
		image += bytes;
		cache += (size_t)CONTEXT * HEAD_DIM;
	}
}

int
@name@_npu_state_save(const @name@_npu *m, void *state, size_t bytes)
{
	StateHeader h;
	if (!m || !m->cache || !state || bytes < @name@_npu_state_size(m))
		return @name@_ERROR_ARGUMENT;
	state_header(&h, m->n_past);
	memcpy(state, &h, sizeof h);
	state_copy(m->cache, (unsigned char *)state + sizeof h, m->n_past, 1);
	return @name@_OK;
}

int
@name@_npu_state_load(@name@_npu *m, const void *state, size_t bytes)
{
	StateHeader found, h;
	if (!m || !m->cache || !state || bytes < sizeof h)
		return @name@_ERROR_ARGUMENT;
	memcpy(&found, state, sizeof found);
	if (found.n_past > (uint32_t)m->n_ctx)
		return @name@_ERROR_STATE;
	state_header(&h, (int)found.n_past);
	if (memcmp(&h, &found, sizeof h) != 0 || bytes != state_bytes((int)h.n_past))
		return @name@_ERROR_STATE;
	/* The cast only shares one copy loop for both directions; loading reads the state. */
	state_copy(m->cache, (unsigned char *)(uintptr_t)state + sizeof h, (int)h.n_past, 0);
	m->n_past = (int)h.n_past;
	return @name@_OK;
}
