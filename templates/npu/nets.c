/* ---- what a host needs besides its tables ---------------------------------------------------- */

enum {
	LOG_MAX = 4096,
	WORDS_MAX = 2048,
	KEY_MAX = 3072,
	PROPERTIES_MAX = 1024,
	PORT_MAX = 64,
	PAGE = 4096
};
#define PATH_ROOM 4096

/* A file, mapped. */
typedef struct Bytes {
	const unsigned char *data;
	size_t size;
} Bytes;

/* A model compiled for the device, and how it is called. */
typedef struct Net {
	ov_compiled_model_t *compiled;
	ov_infer_request_t *request;
	Bytes blob; /* that `compiled` was imported from: it may read its weights there */
} Net;

enum { PREFILL, DECODE, HEAD, NETS };
static const char *const net_files[NETS] = {"npu_prefill", "npu_decode", "npu_head"};

/* Floats of a layer's keys or values, of all, and of what a prefill makes of them. */
#define PART_FLOATS ((size_t)KV_HEADS * CONTEXT * HEAD_DIM)
#define CACHE_FLOATS ((size_t)@name@_N_LAYER * 2 * PART_FLOATS)
#define FRESH_FLOATS ((size_t)@name@_N_LAYER * 2 * KV_HEADS * CHUNK * HEAD_DIM)

/* Of the ports: embeds, position_ids, mask, rows or logits of two nets and of a layer keys and
 * values that are kept and new ones; the head's two. */
enum { TENSORS_MAX = 2 * (4 + 4 * @name@_N_LAYER) + 2 };

struct @name@_npu {
	OpenVino ov;
	ov_core_t *core;
	Net nets[NETS];
	Bytes bin;
	ov_tensor_t *tensors[TENSORS_MAX];
	int n_tensors;
	/* What tensors show: [CHUNK] or one row of each. */
	float *embeds, *rows, *logits, *row;
	int64_t *position_ids;
	float *masks[2]; /* of PREFILL [CHUNK][CONTEXT + CHUNK], DECODE [1][CONTEXT + 1] */
	int shown[2];	 /* positions that the masks leave open */
	float *cache;	 /* [layer][keys, values][head][CONTEXT][HEAD_DIM] */
	float *fresh;	 /* [layer][keys, values][head][rows of the call][HEAD_DIM] */
	int n_ctx, n_past;
	uint64_t inferences;
	char device[OPENVINO_TEXT], platform[OPENVINO_TEXT], name[4 * OPENVINO_TEXT];
	char properties[PROPERTIES_MAX];
	char log[LOG_MAX];
};

/* ---- words -------------------------------------------------------------------------------- */

int
@name@_npu_positions(void)
{
	return CONTEXT;
}

int
@name@_npu_chunk(void)
{
	return CHUNK;
}

const char *
@name@_npu_device(const @name@_npu *m)
{
	return m->name;
}

const char *
@name@_npu_log(const @name@_npu *m)
{
	return m->log;
}

uint64_t
@name@_npu_inferences(const @name@_npu *m)
{
	return m->inferences;
}

const char *
@name@_npu_strerror(int error)
{
	static const char *const text[] = {
		"no OpenVINO that serves",
		"no such device of OpenVINO, or it refuses a property",
		"the models are missing, damaged or of another build",
		"out of memory",
		"the device refused a model",
		"an error of OpenVINO",
	};
	const int i = error - @name@_NPU_ERROR_OPENVINO;
	return i >= 0 && i < (int)(sizeof text / sizeof *text) ? text[i] : @name@_strerror(error);
}

/* A sentence behind the log; what has no room is left out. */
static void
say(@name@_npu *m, const char *what, const char *words)
{
	const size_t n = strlen(m->log);
	snprintf(m->log + n, sizeof m->log - n, "%s%s%s%s", n ? "; " : "", what,
		 what[0] && words[0] ? ": " : "", words);
}

/* An error of OpenVINO in its words; returns ours. */
static int
failed(@name@_npu *m, int error, const char *what, ov_status_e status)
{
	char words[WORDS_MAX];
	openvino_why(&m->ov, status, words, sizeof words);
	say(m, what, words);
	return openvino_no_memory(words) ? @name@_NPU_ERROR_MEMORY : error;
}

/* ---- files of the compile ----------------------------------------------------------------- */

/* Maps a file; 0, or 1 with errno. */
static int
map_file(const char *path, Bytes *b)
{
	struct stat st;
	const int fd = open(path, O_RDONLY);
	void *p = MAP_FAILED;
	if (fd < 0)
		return 1;
	b->data = NULL;
	b->size = 0;
	if (!fstat(fd, &st) && st.st_size > 0 && (uintmax_t)st.st_size <= SIZE_MAX)
		p = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	else
		errno = S_ISDIR(st.st_mode) ? EISDIR : ENODATA;
	close(fd);
	if (p == MAP_FAILED)
		return 1;
	b->data = p;
	b->size = (size_t)st.st_size;
	return 0;
}

static void
unmap_file(Bytes *b)
{
	/* The cast only takes const away, which munmap wants. */
	if (b->data)
		munmap((void *)(uintptr_t)b->data, b->size);
	b->data = NULL;
}

/* The constants that the models share: of this compile, all of them, and as they were. */
static int
open_bin(@name@_npu *m, const char *path, int check)
{
	char words[WORDS_MAX];
	const size_t n = sizeof identity;
	if (map_file(path, &m->bin)) {
		say(m, path, strerror(errno));
		return @name@_NPU_ERROR_FILES;
	}
	if (m->bin.size < n || memcmp(m->bin.data, identity, n) != 0)
		snprintf(words, sizeof words, "it is not of the compile '%s'", identity);
	else if (m->bin.size != BIN_BYTES)
		snprintf(words, sizeof words, "it has %llu bytes, and the models want %llu",
			 (unsigned long long)m->bin.size, (unsigned long long)BIN_BYTES);
	else if (check && openvino_digest(OPENVINO_DIGEST, m->bin.data, m->bin.size) != BIN_DIGEST)
		snprintf(words, sizeof words, "it is damaged");
	else
		return 0;
	say(m, path, words);
	return @name@_NPU_ERROR_FILES;
}

/* Whether an XML is of this compile: <net name="identity" ...>; *digest: of all of it. */
static int
check_xml(@name@_npu *m, const char *path, uint64_t *digest)
{
	static const char begin[] = "<net name=\"";
	const size_t skip = sizeof begin - 1, n = sizeof identity - 1;
	Bytes b;
	size_t at = 0;
	int ours;
	if (map_file(path, &b)) {
		say(m, path, strerror(errno));
		return @name@_NPU_ERROR_FILES;
	}
	while (at + skip + n < b.size && at < KEY_MAX && memcmp(b.data + at, begin, skip) != 0)
		at++;
	ours = at + skip + n < b.size && at < KEY_MAX && !memcmp(b.data + at + skip, identity, n) &&
	       b.data[at + skip + n] == '"';
	*digest = openvino_digest(OPENVINO_DIGEST, b.data, b.size);
	unmap_file(&b);
	if (ours)
		return 0;
	say(m, path, "it is not of the compile ");
	say(m, "", identity);
	return @name@_NPU_ERROR_FILES;
}

/* ---- compiled models ---------------------------------------------------------------------- */

/* The line of b in which a and b differ, without its end. */
static void
other_line(const char *a, const char *b, char *to, size_t room)
{
	size_t line = 0, i;
	for (i = 0; a[i] && a[i] == b[i]; i++)
		if (a[i] == '\n')
			line = i + 1;
	i = strcspn(b + line, "\n");
	snprintf(to, room, "%.*s", (int)(i < 200 ? i : 200), b + line);
}

/*
 * A compiled model out of `folder`, where there is one of the same key; returns whether. One that
 * is not used is spoken of.
 */
static int
import_blob(@name@_npu *m, int which, const char *folder, const char *key)
{
	char path[PATH_ROOM], file[PATH_ROOM + 8], found[KEY_MAX], line[256], words[WORDS_MAX];
	Bytes text, blob;
	size_t n = strlen(key);
	ov_status_e status;
	if (!openvino_blob_name(path, sizeof path, folder, net_files[which], m->platform))
		return 0;
	snprintf(file, sizeof file, "%s.key", path);
	if (map_file(file, &text))
		return 0;
	snprintf(found, sizeof found, "%.*s", (int)(text.size < KEY_MAX ? text.size : KEY_MAX),
		 (const char *)text.data);
	unmap_file(&text);
	snprintf(file, sizeof file, "%s.blob", path);
	if (strncmp(found, key, n) != 0) {
		other_line(key, found, line, sizeof line);
		snprintf(words, sizeof words, "it is of another: '%s'; compiled anew", line);
		say(m, file, words);
		return 0;
	}
	if (map_file(file, &blob)) {
		say(m, file, strerror(errno));
		return 0;
	}
	openvino_seal(line, sizeof line, blob.data, blob.size);
	if (strcmp(found + n, line) != 0) {
		say(m, file, "it is damaged; compiled anew");
		unmap_file(&blob);
		return 0;
	}
	m->nets[which].blob = blob;
	status = m->ov.core_import_model(m->core, (const char *)blob.data, blob.size, m->device,
					 &m->nets[which].compiled);
	if (!status)
		return 1;
	openvino_why(&m->ov, status, words, sizeof words);
	say(m, file, words);
	say(m, "", "compiled anew");
	m->nets[which].compiled = NULL;
	unmap_file(&m->nets[which].blob);
	return 0;
}

/* Keeps a compiled model and then its key; a failure is spoken of and else without consequence. */
static void
export_blob(@name@_npu *m, int which, const char *folder, const char *key)
{
	char path[PATH_ROOM], temporary[PATH_ROOM + 32], file[PATH_ROOM + 8], seal[64];
	ov_status_e status;
	Bytes blob;
	FILE *f;
	int bad;
	if (!openvino_blob_name(path, sizeof path, folder, net_files[which], m->platform))
		return;
	snprintf(temporary, sizeof temporary, "%s.%ld.new", path, (long)getpid());
	status = m->ov.compiled_model_export_model(m->nets[which].compiled, temporary);
	if (status || map_file(temporary, &blob)) {
		if (status)
			failed(m, 0, temporary, status);
		else
			say(m, temporary, strerror(errno));
		unlink(temporary);
		return;
	}
	openvino_seal(seal, sizeof seal, blob.data, blob.size);
	unmap_file(&blob);
	snprintf(file, sizeof file, "%s.blob", path);
	bad = rename(temporary, file);
	f = bad ? NULL : fopen(temporary, "w");
	if (f) {
		bad = fputs(key, f) < 0 || fputs(seal, f) < 0;
		bad |= fclose(f) != 0;
		snprintf(file, sizeof file, "%s.key", path);
		bad = bad || rename(temporary, file);
	}
	if (!bad && f)
		return;
	say(m, file, strerror(errno));
	unlink(temporary);
}

/* Which devices OpenVINO has here. */
static void
say_devices(@name@_npu *m)
{
	ov_available_devices_t d = {NULL, 0};
	size_t i;
	if (m->ov.core_get_available_devices(m->core, &d))
		return;
	say(m, "devices of this machine", d.size ? "" : "none");
	for (i = 0; i < d.size; i++) {
		const size_t n = strlen(m->log);
		snprintf(m->log + n, sizeof m->log - n, "%s%s", i ? ", " : ": ", d.devices[i]);
	}
	m->ov.available_devices_free(&d);
}

static int
compile_net(@name@_npu *m, int which, const char *xml, const char *bin)
{
	char words[OPENVINO_TEXT];
	ov_model_t *model = NULL;
	ov_status_e status = m->ov.core_read_model(m->core, xml, bin, &model);
	int e;
	if (status)
		return failed(m, @name@_NPU_ERROR_FILES, xml, status);
	status = m->ov.core_compile_model(m->core, model, m->device, 0, &m->nets[which].compiled);
	m->ov.model_free(model);
	if (!status)
		return 0;
	m->nets[which].compiled = NULL;
	e = failed(m, @name@_NPU_ERROR_COMPILE, net_files[which], status);
	if (strstr(m->log, "compiler loading failed"))
		say(m, "", "the driver has a compiler too: NPU_COMPILER_TYPE=DRIVER");
	if (e == @name@_NPU_ERROR_MEMORY ||
	    openvino_property(&m->ov, m->core, m->device, "FULL_DEVICE_NAME", words, sizeof words))
		return e;
	say_devices(m);
	return @name@_NPU_ERROR_DEVICE;
}

/* A compiled model, from where it is to be had. */
static int
open_net(@name@_npu *m, int which, const char *models, const char *cache)
{
	char xml[PATH_ROOM], bin[PATH_ROOM], key[KEY_MAX];
	uint64_t digest;
	int e;
	snprintf(xml, sizeof xml, "%s/%s.xml", models, net_files[which]);
	snprintf(bin, sizeof bin, "%s/openvino_model.bin", models);
	e = check_xml(m, xml, &digest);
	if (e)
		return e;
	openvino_key(key, sizeof key, m->ov.version, m->device, m->platform, m->properties, digest);
	if (import_blob(m, which, models, key) || (cache && import_blob(m, which, cache, key)))
		return 0;
	e = compile_net(m, which, xml, bin);
	if (!e && cache)
		export_blob(m, which, cache, key);
	return e;
}

/* ---- ports -------------------------------------------------------------------------------- */

/* A port that is to be: `layer` -1: not of one. */
static int
check_port(@name@_npu *m, int which, const char *name, int input, int type, const int64_t *dims,
	   int rank)
{
	char words[WORDS_MAX];
	ov_output_const_port_t *port = NULL;
	ov_shape_t shape = {0, NULL};
	ov_element_type_e found = -1;
	const ov_compiled_model_t *c = m->nets[which].compiled;
	ov_status_e status = input ? m->ov.compiled_model_input_by_name(c, name, &port)
				   : m->ov.compiled_model_output_by_name(c, name, &port);
	int same, i;
	if (status)
		return failed(m, @name@_NPU_ERROR_FILES, net_files[which], status);
	status = m->ov.const_port_get_shape(port, &shape);
	if (!status)
		status = m->ov.port_get_element_type(port, &found);
	m->ov.output_const_port_free(port);
	if (status)
		return failed(m, @name@_NPU_ERROR_FILES, net_files[which], status);
	same = found == type && shape.rank == rank;
	for (i = 0; i < rank && same; i++)
		same = shape.dims[i] == dims[i];
	m->ov.shape_free(&shape);
	if (same)
		return 0;
	snprintf(words, sizeof words, "the port %s is not of this compile", name);
	say(m, net_files[which], words);
	return @name@_NPU_ERROR_FILES;
}

/* Lets a port of a net show memory of ours, [dims...]. */
static int
bind_port(@name@_npu *m, int which, const char *name, int input, int type, void *memory,
	  const int64_t *dims, int rank)
{
	int64_t copy[OPENVINO_RANK];
	ov_shape_t shape = {rank, copy};
	ov_tensor_t *t = NULL;
	ov_status_e status;
	const int e = check_port(m, which, name, input, type, dims, rank);
	if (e)
		return e;
	memcpy(copy, dims, sizeof *dims * (size_t)rank);
	status = m->ov.tensor_create_from_host_ptr(type, shape, memory, &t);
	if (status)
		return failed(m, @name@_NPU_ERROR_RUN, name, status);
	m->tensors[m->n_tensors++] = t;
	status = m->ov.infer_request_set_tensor(m->nets[which].request, name, t);
	return status ? failed(m, @name@_NPU_ERROR_RUN, name, status) : 0;
}

/* Keys and values of a layer: what is kept goes in, new ones come out. */
static int
bind_layer(@name@_npu *m, int which, int layer, int rows)
{
	static const char *const kinds[2] = {"key", "value"};
	const int64_t kept[] = {1, KV_HEADS, CONTEXT, HEAD_DIM};
	const int64_t fresh[] = {1, KV_HEADS, rows, HEAD_DIM};
	char name[PORT_MAX];
	int k, e = 0;
	for (k = 0; k < 2 && !e; k++) {
		const size_t at = (size_t)layer * 2 + (size_t)k;
		snprintf(name, sizeof name, "past_%s.%d", kinds[k], layer);
		e = bind_port(m, which, name, 1, OPENVINO_F32, m->cache + at * PART_FLOATS, kept,
			      4);
		if (e)
			break;
		snprintf(name, sizeof name, "new_%s.%d", kinds[k], layer);
		e = bind_port(m, which, name, 0, OPENVINO_F32,
			      m->fresh + at * KV_HEADS * (size_t)rows * HEAD_DIM, fresh, 4);
	}
	return e;
}

/* That a net has as many ports as are bound: one that is left out would be read as it lies. */
static int
check_counts(@name@_npu *m, int which, size_t inputs, size_t outputs)
{
	char words[WORDS_MAX];
	const ov_compiled_model_t *c = m->nets[which].compiled;
	size_t in = 0, out = 0;
	if (!m->ov.compiled_model_inputs_size(c, &in) &&
	    !m->ov.compiled_model_outputs_size(c, &out) && in == inputs && out == outputs)
		return 0;
	snprintf(words, sizeof words, "it has %zu inputs and %zu outputs, not %zu and %zu", in, out,
		 inputs, outputs);
	say(m, net_files[which], words);
	return @name@_NPU_ERROR_FILES;
}

/* The ports of PREFILL or DECODE, which take `rows` tokens. */
static int
bind_layers_net(@name@_npu *m, int which, int rows)
{
	const int64_t embeds[] = {1, rows, @name@_HIDDEN}, ids[] = {1, rows};
	const int64_t mask[] = {1, 1, rows, CONTEXT + rows};
	const int64_t logits[] = {1, 1, @name@_N_VOCAB};
	int i, e = check_counts(m, which, 3 + 2 * @name@_N_LAYER, 1 + 2 * @name@_N_LAYER);
	if (!e)
		e = bind_port(m, which, "embeds", 1, OPENVINO_F32, m->embeds, embeds, 3);
	if (!e)
		e = bind_port(m, which, "position_ids", 1, OPENVINO_I64, m->position_ids, ids, 2);
	if (!e)
		e = bind_port(m, which, "mask", 1, OPENVINO_F32, m->masks[which], mask, 4);
	if (!e && which == PREFILL)
		e = bind_port(m, which, "rows", 0, OPENVINO_F32, m->rows, embeds, 3);
	if (!e && which == DECODE)
		e = bind_port(m, which, "logits", 0, OPENVINO_F32, m->logits, logits, 3);
	for (i = 0; i < @name@_N_LAYER && !e; i++)
		e = bind_layer(m, which, i, rows);
	return e;
}

static int
bind_head(@name@_npu *m)
{
	const int64_t row[] = {1, 1, @name@_HIDDEN}, logits[] = {1, 1, @name@_N_VOCAB};
	int e = check_counts(m, HEAD, 1, 1);
	if (!e)
		e = bind_port(m, HEAD, "rows", 1, OPENVINO_F32, m->row, row, 3);
	return e ? e : bind_port(m, HEAD, "logits", 0, OPENVINO_F32, m->logits, logits, 3);
}
