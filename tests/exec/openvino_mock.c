/*
 * A libopenvino_c.so for tests of what looks for one: it has the ports of targets/npu/models.def
 * for the sizes in OPENVINO_MOCK_DIMS (chunk,context,kv_heads,head_dim,layers,hidden,vocabulary)
 * and models that sum what their mask shows, so that logits tell whether the cache, the mask and
 * the positions are right. OPENVINO_MOCK: words separated by commas, see below. What it does is
 * told on stderr. -DMOCK_OLD leaves a function out.
 */
#define _POSIX_C_SOURCE 200809L
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { F32 = 4, I64 = 10, NAME = 64, TENSORS = 512, PREFILL = 0, DECODE, HEAD };

typedef struct {
	int64_t rank;
	int64_t *dims;
} Shape;

typedef struct {
	const char *build, *description;
} Version;

typedef struct {
	char **devices;
	size_t size;
} Devices;

typedef struct {
	int64_t dims[8];
	int rank, type;
	void *data;
} Tensor;

typedef struct {
	char platform[NAME];
} Core;

typedef struct {
	int which;
	char device[NAME], platform[NAME];
	const char *blob; /* that it was imported from, read at each inference */
} Model;

typedef struct {
	Model model;
	char names[TENSORS][NAME];
	Tensor tensors[TENSORS];
	int n;
} Request;

static struct {
	char words[2048];
	int objects, inferences;
} mock;

static const char *const files[] = {"npu_prefill", "npu_decode", "npu_head"};

/* ---- what it is told ---------------------------------------------------------------------- */

/* Behind WORD= of OPENVINO_MOCK, or "" where the word stands alone; null: it does not. */
static const char *
told(const char *word, char value[NAME])
{
	const char *s = getenv("OPENVINO_MOCK");
	const size_t n = strlen(word);
	for (; s && *s; s += strcspn(s, ","), s += *s == ',') {
		if (strncmp(s, word, n) != 0 || (s[n] && s[n] != ',' && s[n] != '='))
			continue;
		s += n + (s[n] == '=');
		snprintf(value, NAME, "%.*s", (int)strcspn(s, ","), s);
		return value;
	}
	return NULL;
}

static bool
is_told(const char *word)
{
	char value[NAME];
	return told(word, value) != NULL;
}

static int
fails(const char *words)
{
	snprintf(
		mock.words, sizeof mock.words,
		"Exception from src/mock/core.cpp:12:\nException from src/mock/plugin.cpp:7:\n%s\n",
		words);
	return -1;
}

typedef struct {
	int chunk, context, heads, dim, layers, hidden, vocabulary;
} Dims;

static Dims
dims(void)
{
	Dims d = {0};
	const char *s = getenv("OPENVINO_MOCK_DIMS");
	if (!s || sscanf(s, "%d,%d,%d,%d,%d,%d,%d", &d.chunk, &d.context, &d.heads, &d.dim,
			 &d.layers, &d.hidden, &d.vocabulary) != 7)
		abort();
	return d;
}

static void *
object(size_t bytes)
{
	void *p = calloc(1, bytes);
	if (!p)
		abort();
	mock.objects++;
	return p;
}

static void
gone(void *p)
{
	mock.objects -= p != NULL;
	free(p);
}

/* ---- library, core, devices --------------------------------------------------------------- */

int ov_get_openvino_version(Version *v);
int
ov_get_openvino_version(Version *v)
{
	char value[NAME], text[2 * NAME];
	snprintf(text, sizeof text, "%s-1-mock", told("version", value) ? value : "2026.9.9");
	v->build = strdup(text);
	v->description = NULL;
	return v->build ? 0 : -1;
}

void ov_version_free(Version *v);
void
ov_version_free(Version *v)
{
	free((char *)(uintptr_t)v->build);
}

const char *ov_get_error_info(int status);
const char *
ov_get_error_info(int status)
{
	return status == -1 ? "general error" : "unknown";
}

const char *ov_get_last_err_msg(void);
const char *
ov_get_last_err_msg(void)
{
	return mock.words;
}

void ov_free(const char *p);
void
ov_free(const char *p)
{
	free((char *)(uintptr_t)p);
}

int ov_core_create(Core **core);
int
ov_core_create(Core **core)
{
	if (is_told("core"))
		return fails("cannot read plugins.xml");
	*core = object(sizeof **core);
	mock.inferences = 0;
	return 0;
}

void ov_core_free(Core *core);
void
ov_core_free(Core *core)
{
	gone(core);
	if (mock.objects)
		fprintf(stderr, "mock: %d objects are left\n", mock.objects);
}

int ov_core_get_available_devices(const Core *core, Devices *d);
int
ov_core_get_available_devices(const Core *core, Devices *d)
{
	static const char *const names[] = {"CPU", "NPU"};
	(void)core;
	d->size = is_told("no_device") ? 1 : 2;
	d->devices = object(sizeof *d->devices * d->size);
	for (size_t i = 0; i < d->size; i++)
		d->devices[i] = strdup(names[i]);
	return 0;
}

void ov_available_devices_free(Devices *d);
void
ov_available_devices_free(Devices *d)
{
	for (size_t i = 0; i < d->size; i++)
		free(d->devices[i]);
	gone(d->devices);
}

static int
no_device(const char *device)
{
	char words[NAME + 80];
	snprintf(words, sizeof words,
		 "Device with \"%.60s\" name is not registered in the OpenVINO Runtime", device);
	return fails(words);
}

static bool
has_device(const char *device)
{
	return !strcmp(device, "CPU") || !strncmp(device, "HETERO", 6) ||
	       (!strcmp(device, "NPU") && !is_told("no_device"));
}

int ov_core_set_property(Core *core, const char *device, ...);
int
ov_core_set_property(Core *core, const char *device, ...)
{
	char words[256];
	va_list args;
	va_start(args, device);
	const char *key = va_arg(args, const char *), *value = va_arg(args, const char *);
	va_end(args);
	if (!has_device(device) && is_told("no_device"))
		return no_device(device);
	fprintf(stderr, "mock: %s: %s=%s\n", device, key, value);
	if (!strcmp(key, "NPU_PLATFORM")) {
		if (is_told("no_compiler"))
			return fails("VCL compiler loading failed, aborting");
		snprintf(core->platform, sizeof core->platform, "%s", value);
	}
	if (strcmp(key, "BOGUS") != 0)
		return 0;
	snprintf(words, sizeof words, "Unsupported property %.100s", key);
	return fails(words);
}

int ov_core_get_property(const Core *core, const char *device, const char *key, char **to);
int
ov_core_get_property(const Core *core, const char *device, const char *key, char **to)
{
	char value[NAME] = "4000";
	(void)core;
	if (!has_device(device))
		return no_device(device);
	if (!strcmp(key, "DEVICE_ARCHITECTURE"))
		*to = strdup(told("platform", value) ? value : "4000");
	else if (!strcmp(key, "FULL_DEVICE_NAME"))
		*to = strdup("Mock device");
	else
		return fails("no such property");
	return 0;
}

/* ---- models ------------------------------------------------------------------------------- */

int ov_core_read_model(const Core *core, const char *xml, const char *bin, Model **model);
int
ov_core_read_model(const Core *core, const char *xml, const char *bin, Model **model)
{
	const char *slash = strrchr(xml, '/');
	(void)core;
	if (access(xml, R_OK) || access(bin, R_OK) || is_told("read"))
		return fails("Unable to read the model");
	*model = object(sizeof **model);
	(*model)->which = -1;
	for (int i = 0; i < 3; i++)
		if (!strncmp(slash + 1, files[i], strlen(files[i])))
			(*model)->which = i;
	return 0;
}

void ov_model_free(Model *m);
void
ov_model_free(Model *m)
{
	gone(m);
}

int ov_core_compile_model(const Core *core, const Model *m, const char *device, size_t n,
			  Model **out, ...);
int
ov_core_compile_model(const Core *core, const Model *m, const char *device, size_t n, Model **out,
		      ...)
{
	char which[NAME];
	if (n || m->which < 0)
		abort();
	if (!has_device(device))
		return no_device(device);
	if (told("crash", which) && !strcmp(which, files[m->which]))
		raise(SIGSEGV);
	if (told("refuse", which) && (!which[0] || !strcmp(which, core->platform)))
		return fails("Got negative output shape in Reshape");
	if (is_told("memory"))
		return fails("std::bad_alloc");
	fprintf(stderr, "mock: compiled %s for %s\n", files[m->which], device);
	*out = object(sizeof **out);
	**out = *m;
	snprintf((*out)->device, NAME, "%s", device);
	snprintf((*out)->platform, NAME, "%s", core->platform[0] ? core->platform : "4000");
	return 0;
}

int ov_compiled_model_export_model(const Model *m, const char *path);
int
ov_compiled_model_export_model(const Model *m, const char *path)
{
	char footer[2 * NAME], value[NAME];
	FILE *f = fopen(path, "wb");
	const int n =
		snprintf(footer, sizeof footer, "compiler=8.4;npu=%s;t=4;elf=1.2.2;mi=11.4.10",
			 told("made", value) ? value : m->platform);
	const uint64_t length = (uint64_t)n, offset = 0x3030;
	if (!f)
		return fails("cannot open the file to write");
	fprintf(f, "MOCK %d %s;", m->which, m->device);
	if (is_told("full")) {
		fclose(f);
		return fails("No space left on device");
	}
	fwrite(&length, 1, sizeof length, f);
	fwrite(footer, 1, (size_t)n + 1, f);
	fwrite(&offset, 1, sizeof offset, f);
	fputs(is_told("no_footer") ? "OTHER" : "OVNPU", f);
	return fclose(f) ? fails("cannot write") : 0;
}

#ifndef MOCK_OLD
int ov_core_import_model(const Core *core, const char *blob, size_t bytes, const char *device,
			 Model **out);
int
ov_core_import_model(const Core *core, const char *blob, size_t bytes, const char *device,
		     Model **out)
{
	char text[NAME];
	int which;
	(void)core;
	snprintf(text, sizeof text, "%.*s", (int)(bytes < 40 ? bytes : 40), blob);
	if (is_told("import") || sscanf(text, "MOCK %d", &which) != 1)
		return fails("the blob's version is not that of the driver");
	fprintf(stderr, "mock: imported %s for %s\n", files[which], device);
	*out = object(sizeof **out);
	(*out)->which = which;
	(*out)->blob = blob;
	return 0;
}
#endif

void ov_compiled_model_free(Model *m);
void
ov_compiled_model_free(Model *m)
{
	gone(m);
}

/* ---- ports -------------------------------------------------------------------------------- */

int ov_compiled_model_inputs_size(const Model *m, size_t *n);
int
ov_compiled_model_inputs_size(const Model *m, size_t *n)
{
	*n = m->which == HEAD ? 1 : 3 + 2 * (size_t)dims().layers;
	return 0;
}

int ov_compiled_model_outputs_size(const Model *m, size_t *n);
int
ov_compiled_model_outputs_size(const Model *m, size_t *n)
{
	*n = m->which == HEAD ? 1 : 1 + 2 * (size_t)dims().layers;
	return 0;
}

static void
set(Tensor *t, int type, int rank, int64_t a, int64_t b, int64_t c, int64_t d)
{
	const int64_t all[] = {a, b, c, d};
	t->type = type;
	t->rank = rank;
	memcpy(t->dims, all, sizeof all);
}

/* Type and dimensions of a port by models.def; false: it has none of that name. */
static bool
port_of(const Model *m, const char *name, bool input, Tensor *t)
{
	const Dims d = dims();
	const int rows = m->which == PREFILL ? d.chunk : 1;
	int layer;
	char kind[NAME];
	if (!strcmp(name, "logits") && !input && m->which != PREFILL)
		set(t, F32, 3, 1, 1, d.vocabulary, 0);
	else if (!strcmp(name, "rows") && input == (m->which == HEAD) && m->which != DECODE)
		set(t, F32, 3, 1, rows, d.hidden, 0);
	else if (m->which == HEAD)
		return false;
	else if (!strcmp(name, "embeds") && input)
		set(t, F32, 3, 1, rows, d.hidden, 0);
	else if (!strcmp(name, "position_ids") && input)
		set(t, I64, 2, 1, rows, 0, 0);
	else if (!strcmp(name, "mask") && input)
		set(t, F32, 4, 1, 1, rows, d.context + rows);
	else if (sscanf(name, "past_%5[a-z].%d", kind, &layer) == 2 && input)
		set(t, F32, 4, 1, d.heads, d.context, d.dim);
	else if (sscanf(name, "new_%5[a-z].%d", kind, &layer) == 2 && !input)
		set(t, F32, 4, 1, d.heads, rows, d.dim);
	else
		return false;
	if (is_told("shape"))
		t->dims[t->rank - 1]++;
	if (is_told("type"))
		t->type = F32 + 1;
	return true;
}

static int
port(const Model *m, const char *name, bool input, Tensor **out)
{
	Tensor t;
	memset(&t, 0, sizeof t);
	if (!port_of(m, name, input, &t))
		return fails("Port for the tensor name is not found");
	*out = object(sizeof **out);
	**out = t;
	return 0;
}

int ov_compiled_model_input_by_name(const Model *m, const char *name, Tensor **out);
int
ov_compiled_model_input_by_name(const Model *m, const char *name, Tensor **out)
{
	return port(m, name, true, out);
}

int ov_compiled_model_output_by_name(const Model *m, const char *name, Tensor **out);
int
ov_compiled_model_output_by_name(const Model *m, const char *name, Tensor **out)
{
	return port(m, name, false, out);
}

int ov_const_port_get_shape(const Tensor *t, Shape *s);
int
ov_const_port_get_shape(const Tensor *t, Shape *s)
{
	s->rank = t->rank;
	s->dims = object(sizeof t->dims);
	memcpy(s->dims, t->dims, sizeof t->dims);
	return 0;
}

int ov_shape_free(Shape *s);
int
ov_shape_free(Shape *s)
{
	gone(s->dims);
	return 0;
}

int ov_port_get_element_type(const Tensor *t, int *type);
int
ov_port_get_element_type(const Tensor *t, int *type)
{
	*type = t->type;
	return 0;
}

void ov_output_const_port_free(Tensor *t);
void
ov_output_const_port_free(Tensor *t)
{
	gone(t);
}

/* ---- requests ----------------------------------------------------------------------------- */

int ov_compiled_model_create_infer_request(const Model *m, Request **r);
int
ov_compiled_model_create_infer_request(const Model *m, Request **r)
{
	*r = object(sizeof **r);
	(*r)->model = *m;
	return 0;
}

void ov_infer_request_free(Request *r);
void
ov_infer_request_free(Request *r)
{
	gone(r);
}

int ov_tensor_create_from_host_ptr(int type, Shape s, void *data, Tensor **out);
int
ov_tensor_create_from_host_ptr(int type, Shape s, void *data, Tensor **out)
{
	if (!data || s.rank > 4)
		abort();
	*out = object(sizeof **out);
	(*out)->type = type;
	(*out)->rank = (int)s.rank;
	(*out)->data = data;
	memcpy((*out)->dims, s.dims, sizeof *s.dims * (size_t)s.rank);
	return 0;
}

void ov_tensor_free(Tensor *t);
void
ov_tensor_free(Tensor *t)
{
	gone(t);
}

int ov_infer_request_set_tensor(Request *r, const char *name, const Tensor *t);
int
ov_infer_request_set_tensor(Request *r, const char *name, const Tensor *t)
{
	if (r->n == TENSORS)
		abort();
	snprintf(r->names[r->n], NAME, "%s", name);
	r->tensors[r->n++] = *t;
	return 0;
}

static void *
data_of(const Request *r, const char *name, int layer)
{
	char full[NAME];
	snprintf(full, sizeof full, layer < 0 ? "%s" : "%s.%d", name, layer);
	for (int i = 0; i < r->n; i++)
		if (!strcmp(r->names[i], full))
			return r->tensors[i].data;
	fprintf(stderr, "mock: nothing is set for %s\n", full);
	abort();
}

/* What a token leaves in the cache depends on its row and its position. */
static void
fill_new(const Request *r, const Dims *d, int rows)
{
	const float *embeds = data_of(r, "embeds", -1);
	const int64_t *at = data_of(r, "position_ids", -1);
	for (int l = 0; l < d->layers; l++)
		for (int kind = 0; kind < 2; kind++) {
			float *to = data_of(r, kind ? "new_value" : "new_key", l);
			for (int h = 0; h < d->heads; h++)
				for (int t = 0; t < rows; t++)
					for (int i = 0; i < d->dim; i++)
						*to++ = embeds[t * d->hidden +
							       (i + h + l) % d->hidden] *
								(float)(1 + kind) +
							0.25F * (float)(at[t] * (i + 1));
		}
}

/* row [hidden] of token t: its embedding and all that the mask shows, in the order of positions. */
static void
attend(const Request *r, const Dims *d, int rows, int t, float *row)
{
	const float *embeds = data_of(r, "embeds", -1), *mask = data_of(r, "mask", -1);
	mask += t * (d->context + rows);
	memcpy(row, embeds + t * d->hidden, sizeof *row * (size_t)d->hidden);
	for (int l = 0; l < d->layers; l++)
		for (int kind = 0; kind < 2; kind++) {
			const float *past = data_of(r, kind ? "past_value" : "past_key", l);
			const float *fresh = data_of(r, kind ? "new_value" : "new_key", l);
			for (int j = 0; j < d->context + rows; j++) {
				if (mask[j] != 0 && mask[j] != -65504.0F)
					abort();
				for (int h = 0; h < d->heads && mask[j] == 0; h++)
					for (int i = 0; i < d->dim; i++)
						row[(h * d->dim + i) % d->hidden] +=
							j < d->context ? past[(h * d->context + j) *
										      d->dim +
									      i]
								       : fresh[(h * rows + j -
										d->context) *
										       d->dim +
									       i];
			}
		}
}

static void
make_logits(const Dims *d, const float *row, float *logits)
{
	for (int v = 0; v < d->vocabulary; v++) {
		logits[v] = 0;
		for (int i = 0; i < d->hidden; i++)
			logits[v] += row[i] * (float)((v * 31 + i * 7) % 17 - 8);
	}
}

int ov_infer_request_infer(Request *r);
int
ov_infer_request_infer(Request *r)
{
	const Dims d = dims();
	const int rows = r->model.which == PREFILL ? d.chunk : 1;
	char value[NAME];
	if (r->model.blob && memcmp(r->model.blob, "MOCK", 4) != 0)
		abort();
	if (told("infer", value) && ++mock.inferences == atoi(value))
		return fails("ZE_RESULT_ERROR_DEVICE_LOST");
	if (told("infer_memory", value) && ++mock.inferences == atoi(value))
		return fails("L0 zeCommandQueue result: ZE_RESULT_ERROR_OUT_OF_DEVICE_MEMORY");
	if (r->model.which == HEAD) {
		make_logits(&d, data_of(r, "rows", -1), data_of(r, "logits", -1));
		return 0;
	}
	fill_new(r, &d, rows);
	if (r->model.which == PREFILL) {
		for (int t = 0; t < rows; t++)
			attend(r, &d, rows, t, (float *)data_of(r, "rows", -1) + t * d.hidden);
		return 0;
	}
	float *row = calloc((size_t)d.hidden, sizeof *row);
	attend(r, &d, rows, 0, row);
	make_logits(&d, row, data_of(r, "logits", -1));
	free(row);
	return 0;
}
