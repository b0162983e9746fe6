/* ---- the model: weights, context, ids ------------------------------------------------------- */

/* Weights of a file, mapped; data null means the linked ones. */
typedef struct Weights {
	const void *data;
	size_t bytes;
	const char *path;
	int check; /* verify the digest at the next init */
	int huge;  /* whether to copy them to huge pages at the next init */
} Weights;

/* Where a context runs. */
typedef struct Place {
	const char *device; /* NAME[:PART] of --device; null: the CPU */
	const char *isa;    /* null: the best */
	int threads;	    /* of the CPU, also beside a device */
	int park;	    /* 0 leaves park and wake out: each phase is one call of run */
} Place;

/* A context of the library with its workers; on the CPU also with its memory. */
typedef struct Model {
	const Device *device;
	void *m;
	const char *isa;  /* a level's name, or the device's */
	const char *what; /* the level's name, or the machine in words */
	void *arena;
	size_t arena_bytes;
	Pool *pool;
	int n_ctx, n_batch, threads;
} Model;

/*
 * Weights in pages of 2 MB are read a quarter faster or more than a file's pages of 4 KB; the copy
 * costs some 20 ms for 100 MB, and as much memory.
 */
enum { HUGE_NO, HUGE_YES, HUGE_AUTO };
enum { HUGE_PAGE = 2 << 20, HUGE_LEAST = 16 << 20 };

typedef struct Copy {
	char *to;
	const char *from;
	size_t bytes;
} Copy;

/* Share i of n of a copy, in whole pages. */
static void
copy_share(void *arg, int i, int n)
{
	const Copy *c = arg;
	const size_t pages = (c->bytes + HUGE_PAGE - 1) / HUGE_PAGE;
	const size_t first = pages * (size_t)i / (size_t)n * HUGE_PAGE;
	const size_t end = pages * ((size_t)i + 1) / (size_t)n * HUGE_PAGE;

	if (first < c->bytes)
		memcpy(c->to + first, c->from + first, (end < c->bytes ? end : c->bytes) - first);
}

/* Memory that asks for huge pages and starts at one; null on failure. */
static char *
huge_memory(size_t bytes)
{
	const size_t room = (bytes + HUGE_PAGE - 1) / HUGE_PAGE * HUGE_PAGE;
	char *p = mmap(NULL, room + HUGE_PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
		       -1, 0);

	if (p == MAP_FAILED)
		return NULL;
	p += (HUGE_PAGE - (uintptr_t)p % HUGE_PAGE) % HUGE_PAGE;
#ifdef MADV_HUGEPAGE
	madvise(p, room, MADV_HUGEPAGE);
#endif
	return p;
}

/* Moves the weights to huge pages; they stay where they are if there is no memory for it. */
static void
weights_copy(Weights *w, Pool *pool, int threads)
{
	Copy c;

	c.from = w->data;
	c.bytes = w->bytes;
	if (!c.from)
		c.from = @name@_linked_weights(&c.bytes);
	if (!c.from || (w->huge == HUGE_AUTO && c.bytes < HUGE_LEAST))
		return;
	c.to = huge_memory(c.bytes);
	if (!c.to)
		return;
	if (threads > 1)
		pool_run(pool, copy_share, &c, threads);
	else
		copy_share(&c, 0, 1);
	w->data = c.to;
	w->bytes = c.bytes;
	w->huge = HUGE_NO;
}

/* Maps a file; returns 0, or an errno. */
static int
weights_map(Weights *w, const char *path)
{
	struct stat st;
	void *p;
	int e, fd = open(path, O_RDONLY);

	if (fd < 0)
		return errno;
	if (fstat(fd, &st) != 0) {
		e = errno;
		close(fd);
		return e;
	}
	if (!S_ISREG(st.st_mode)) {
		close(fd);
		return S_ISDIR(st.st_mode) ? EISDIR : EINVAL;
	}
	if (st.st_size <= 0)
		fail(STATUS_USER, NULL, "%s: the file is empty", path);
	p = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	e = errno;
	close(fd);
	if (p == MAP_FAILED)
		return e;
	w->data = p;
	w->bytes = (size_t)st.st_size;
	w->path = path;
	return 0;
}

/* NAME.weights in the folder of this program, where none are linked. */
static void
weights_find(Weights *w)
{
	static const char name[] = PROGRAM ".weights";
	char *path = memory(PATH_MAX + sizeof name, 1), *slash;
	ssize_t n = readlink("/proc/self/exe", path, PATH_MAX - 1);
	int e;

	path[n > 0 ? n : 0] = 0;
	slash = strrchr(path, '/');
	strcpy(slash ? slash + 1 : path, name);
	e = weights_map(w, path);
	if (e)
		fail_hint(STATUS_ENVIRONMENT, "no weights are linked into this program",
			  "%s: %s; name the file with --weights", path, strerror(e));
}

/* Weights as the options ask for them. */
static void
weights_open(Weights *w, const Settings *s)
{
	const char *check = s->check_weights, *huge = s->huge_pages;
	int e;

	memset(w, 0, sizeof *w);
	if (check && strcmp(check, "yes") != 0 && strcmp(check, "no") != 0)
		fail(STATUS_USER, NULL, "--check-weights: '%.200s' is neither yes nor no", check);
	w->check = check ? !strcmp(check, "yes") : s->weights != NULL;
	if (huge && strcmp(huge, "auto") != 0 && strcmp(huge, "yes") != 0 &&
	    strcmp(huge, "no") != 0)
		fail(STATUS_USER, NULL, "--huge-pages: '%.200s' is not auto, yes or no", huge);
	w->huge = !huge || huge[0] == 'a' ? HUGE_AUTO : huge[0] == 'y' ? HUGE_YES : HUGE_NO;
	if (!s->weights)
		return;
	e = weights_map(w, s->weights);
	if (e)
		fail(STATUS_ENVIRONMENT, NULL, "cannot read %s: %s", s->weights, strerror(e));
}

static void
isa_list(Text *t)
{
	int i;

	for (i = 0; @name@_isa_name(i); i++)
		text_printf(t, "%s%s%s", i ? ", " : "", @name@_isa_name(i),
			    @name@_isa_usable(i) ? "" : " (not on this CPU)");
}

/* The index of a level that this CPU can run; anything else ends the program. */
static int
isa_find(const char *name)
{
	char message[300];
	Text levels = {0};
	int i;

	for (i = 0; @name@_isa_name(i); i++)
		if (!strcmp(@name@_isa_name(i), name))
			break;
	isa_list(&levels);
	if (!@name@_isa_name(i)) {
		snprintf(message, sizeof message, "--isa: no level '%.200s' in this library", name);
		fail_hint(STATUS_USER, message, "it has %s", levels.text ? levels.text : "none");
	}
	if (!@name@_isa_usable(i)) {
		snprintf(message, sizeof message, "--isa: this CPU lacks %.200s", name);
		fail_hint(STATUS_ENVIRONMENT, message, "the library has %s", levels.text);
	}
	free(levels.text);
	return i;
}

/* Checks a context size that the user gave or that follows from what he gave. */
static void
ctx_check(long long n_ctx, const char *what)
{
	if (n_ctx > N_CTX)
		fail(STATUS_USER, NULL, "%s: %lld positions are beyond the model's %d", what, n_ctx,
		     N_CTX);
}

static void
model_init_fail(int e, const Weights *w)
{
	char message[PATH_MAX + 200];

	if (e == @name@_ERROR_WEIGHTS && w->path) {
		snprintf(message, sizeof message, "%s: %s", w->path, @name@_strerror(e));
		fail_hint(STATUS_USER, message,
			  "this program needs the weights of its own compile: %s",
			  @name@_build_info());
	}
	fail(STATUS_BUG, NULL, "init: %s", @name@_strerror(e));
}

/* An error of a device or of the library ends the program. what: the call. */
static void model_fail(const Model *m, const char *what, int e) RUNNER_NORETURN;

static void
model_fail(const Model *m, const char *what, int e)
{
	const char *log = m->device->log(m->m);
	const int status = m->device->environment(e) ? STATUS_ENVIRONMENT : STATUS_BUG;

	fail(status, NULL, "%s: %s%s%s%s%s", m->isa, what, what[0] ? ": " : "",
	     m->device->strerror(e), log[0] ? ": " : "", log);
}

/* The device of --device and the part of a name behind its colon; null: none asked for. */
static const Device *
device_find(const char *text, const char **part)
{
	char message[300];
	Text names = {0};
	size_t n;
	int i;

	*part = NULL;
	if (!text)
		return &device_cpu;
	n = strcspn(text, ":");
	if (text[n] && text[n + 1])
		*part = text + n + 1;
	for (i = 0; devices[i]; i++) {
		if (strlen(devices[i]->name) == n && !memcmp(devices[i]->name, text, n))
			return devices[i];
		text_printf(&names, "%s%s", i ? ", " : "", devices[i]->name);
	}
	snprintf(message, sizeof message, "--device: no device '%.*s' in this library",
		 (int)(n < 200 ? n : 200), text);
	if (names.text)
		fail_hint(STATUS_USER, message, "it has %s", names.text);
	fail(STATUS_USER, "lathe compile --target arc,... puts one in", "%s", message);
}

static void
model_open_device(Model *m, Weights *w, const char *part)
{
	const int most = m->device->positions ? m->device->positions() : N_CTX;
	const char *log;
	int e;

	m->isa = m->device->name;
	if (m->n_ctx > most)
		fail(STATUS_USER, "a smaller --ctx or -n, or a compile with more (--npu-context)",
		     "%s: a context of %d positions is beyond the %d that it was compiled for",
		     m->isa, m->n_ctx, most);
	e = m->device->open(&m->m, part, w->data, w->bytes, w->check, m->n_ctx, m->n_batch);
	if (e && !m->device->environment(e))
		model_init_fail(e, w);
	if (e)
		model_fail(m, "", e);
	m->what = m->device->describe ? m->device->describe(m->m) : m->isa;
	log = m->device->log(m->m);
	if (log[0])
		fprintf(stderr, "%s: note: %s: %s\n", PROGRAM, m->isa, log);
}

static void
model_open_cpu(Model *m, Weights *w, const Place *place)
{
	@name@_options o;
	@name@ *context;
	int e;

	memset(&o, 0, sizeof o);
	if (place->isa)
		isa_find(place->isa);
	m->arena_bytes = @name@_arena_size(m->n_ctx, m->n_batch, m->threads);
	if (!m->arena_bytes)
		fail(STATUS_USER, NULL,
		     "the library takes no context of %d, batch of %d, %d threads", m->n_ctx,
		     m->n_batch, m->threads);
	m->arena = mmap(NULL, m->arena_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
			-1, 0);
	if (m->arena == MAP_FAILED)
		fail(STATUS_ENVIRONMENT, "a smaller --ctx needs less", "no memory for %zu bytes",
		     m->arena_bytes);
#ifdef MADV_HUGEPAGE
	madvise(m->arena, m->arena_bytes, MADV_HUGEPAGE);
#endif
	o.n_threads = m->threads;
	o.isa = place->isa;
	o.user = m->pool;
	o.check_weights = w->check;
	if (m->threads > 1) {
		o.run = pool_run;
		o.park = place->park ? word_park : NULL;
		o.wake = place->park ? word_wake : NULL;
	}
	if (w->huge)
		weights_copy(w, m->pool, m->threads);
	e = @name@_init(&context, m->arena, m->arena_bytes, w->data, w->bytes, m->n_ctx, m->n_batch,
			&o);
	if (e)
		model_init_fail(e, w);
	m->m = context;
	m->isa = m->what = @name@_isa(context);
}

/* Opens a context; n_batch is cut to n_ctx. */
static void
model_open(Model *m, Weights *w, int n_ctx, int n_batch, const Place *place)
{
	const char *part;
	size_t linked;

	memset(m, 0, sizeof *m);
	m->device = device_find(place->device, &part);
	if (place->device && place->isa)
		fail(STATUS_USER, NULL, "--isa is of the CPU: it does not go with --device");
	m->n_ctx = n_ctx;
	m->n_batch = n_batch < n_ctx ? n_batch : n_ctx;
	m->threads = place->threads;
	m->pool = pool_new(m->threads);
	if (!w->data && !@name@_linked_weights(&linked))
		weights_find(w);
	if (place->device)
		model_open_device(m, w, part);
	else
		model_open_cpu(m, w, place);
	w->check = 0;
}

static void
model_close(Model *m)
{
	if (m->device->close)
		m->device->close(m->m);
	pool_free(m->pool);
	if (m->arena)
		munmap(m->arena, m->arena_bytes);
}

/* Sizes and ids were checked before, so an error here is the machine's or a bug. */
static void
model_eval(Model *m, const int32_t *ids, int n, float *logits, int all)
{
	int e = m->device->eval(m->m, ids, n, logits, all);

	if (e)
		model_fail(m, "eval", e);
}

static int
model_n_past(const Model *m)
{
	return m->device->n_past(m->m);
}

static void
model_truncate(Model *m, int n_past)
{
	int e = m->device->truncate(m->m, n_past);

	if (e)
		model_fail(m, "truncate", e);
}

/* ---- ids ---- */

typedef struct Ids {
	int32_t *ids;
	size_t n, capacity;
} Ids;

static void
ids_add(Ids *t, int32_t id)
{
	if (t->n == t->capacity) {
		size_t capacity = t->capacity * 2 + 64;
		int32_t *p = realloc(t->ids, capacity * sizeof *p);
		if (!p)
			fail(STATUS_ENVIRONMENT, NULL, "out of memory (%zu ids)", capacity);
		t->ids = p;
		t->capacity = capacity;
	}
	t->ids[t->n++] = id;
}

static void
ids_add_checked(Ids *t, long id, const char *where)
{
	char message[300];

	if (id < 0 || id >= N_VOCAB) {
		snprintf(message, sizeof message, "%.200s: token %ld (number %zu) is out of range",
			 where, id, t->n + 1);
		fail_hint(STATUS_USER, message, "the model has ids 0 to %d", N_VOCAB - 1);
	}
	ids_add(t, (int32_t)id);
}

/* Ids separated by commas or white space. */
static void
ids_parse(Ids *t, const char *text, const char *where)
{
	static const char between[] = ", \t\r\n";
	char *end;
	long id;

	for (text += strspn(text, between); *text; text = end + strspn(end, between)) {
		errno = 0;
		id = strtol(text, &end, 10);
		if (end == text || (*end && !strchr(between, *end)))
			fail(STATUS_USER, NULL, "%s: '%.*s' is not a token id", where,
			     (int)(strcspn(text, between) < 100 ? strcspn(text, between) : 100),
			     text);
		if (errno)
			fail(STATUS_USER, NULL, "%s: '%.*s' is not a token id", where,
			     (int)(end - text), text);
		ids_add_checked(t, id, where);
	}
}

static void
ids_read(Ids *t, const char *path)
{
	Text bytes = file_read(path);
	size_t i, n = strlen(path);
	const unsigned char *p = (const unsigned char *)bytes.text;

	if (n < 4 || strcmp(path + n - 4, ".i32") != 0) {
		if (strlen(bytes.text) != bytes.size)
			fail(STATUS_USER, "a binary file of ids has a name that ends in .i32",
			     "%s: not a list of token ids", path);
		ids_parse(t, bytes.text, path);
		free(bytes.text);
		return;
	}
	if (bytes.size % 4)
		fail(STATUS_USER, NULL, "%s: %zu bytes are not a whole number of int32", path,
		     bytes.size);
	for (i = 0; i < bytes.size; i += 4) {
		uint32_t u = p[i] | (uint32_t)p[i + 1] << 8 | (uint32_t)p[i + 2] << 16 |
			     (uint32_t)p[i + 3] << 24;
		ids_add_checked(t, u > INT32_MAX ? (long)u - 0x100000000L : (long)u, path);
	}
	free(bytes.text);
}

static void
tokenizer_need(void)
{
	if (!@name@_has_tokenizer())
		fail(STATUS_USER,
		     "give token ids with --ids 1,2,3, or compile with --tokenizer FILE",
		     "no tokenizer is compiled into this program");
}

/* Appends the ids of n bytes of text. */
static void
ids_encode(Ids *t, const char *text, size_t n, int special)
{
	size_t bytes = @name@_encode_scratch(n), capacity = n + 16;
	void *scratch;
	int32_t *ids;
	long i, count;

	if (bytes == SIZE_MAX || (n && !bytes))
		fail(STATUS_USER, NULL, "a text of %zu bytes is more than the tokenizer takes", n);
	scratch = memory(bytes, 1);
	ids = memory(capacity, sizeof *ids);
	count = @name@_encode(text, n, ids, capacity, special, scratch, bytes);
	if (count > (long)capacity) {
		free(ids);
		capacity = (size_t)count;
		ids = memory(capacity, sizeof *ids);
		count = @name@_encode(text, n, ids, capacity, special, scratch, bytes);
	}
	if (count < 0 || count > (long)capacity)
		fail(STATUS_BUG, NULL, "the tokenizer failed on %zu bytes", n);
	if (count > INT_MAX / 2)
		fail(STATUS_USER, NULL, "the text has %ld tokens, more than %d", count,
		     INT_MAX / 2);
	for (i = 0; i < count; i++)
		ids_add(t, ids[i]);
	free(ids);
	free(scratch);
}

static Place
place_of(const Settings *s)
{
	Place p;

	p.device = s->device;
	p.isa = s->isa;
	p.threads = s->threads ? s->threads : cores_usable();
	p.park = 1;
	return p;
}
