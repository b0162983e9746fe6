/* ---- the device npu: @NAME@_npu.h ----------------------------------------------------------- */

#include "@NAME@_npu.h"

enum { NPU_PROPERTIES_MAX = 64 };

/*
 * What stands behind --device npu: as DEVICE,KEY=VALUE,... Words without = are further parts of
 * OpenVINO's name of the device ("HETERO:NPU,CPU"); of the keys openvino, models and cache are the
 * host's own, and all others OpenVINO's.
 */
typedef struct NpuWords {
	@name@_npu_options options;
	const char *properties[2 * NPU_PROPERTIES_MAX + 1];
	int n;
	char *device, *text, *models;
} NpuWords;

static void
npu_word(NpuWords *w, char *word)
{
	char *value = strchr(word, '=');

	if (!value) {
		if (w->device[0])
			strcat(w->device, ",");
		strcat(w->device, word);
		return;
	}
	*value++ = 0;
	if (!strcmp(word, "openvino")) {
		w->options.openvino = value;
	} else if (!strcmp(word, "models")) {
		w->options.models = value;
	} else if (!strcmp(word, "cache")) {
		w->options.cache = value;
	} else {
		if (w->n == 2 * NPU_PROPERTIES_MAX)
			fail(STATUS_USER, NULL, "--device npu: more than %d properties",
			     NPU_PROPERTIES_MAX);
		w->properties[w->n++] = word;
		w->properties[w->n++] = value;
	}
}

/* The folder npu beside this program. */
static char *
npu_beside(void)
{
	static const char tail[] = "/npu";
	char *path = memory(PATH_MAX + sizeof tail, 1), *slash;
	const ssize_t n = readlink("/proc/self/exe", path, PATH_MAX - 1);

	path[n > 0 ? n : 0] = 0;
	slash = strrchr(path, '/');
	strcpy(slash ? slash : path, slash ? tail : tail + 1);
	return path;
}

static void
npu_words(NpuWords *w, const char *part)
{
	size_t bytes = strlen(part ? part : "") + 1;
	char *word, *end;

	memset(w, 0, sizeof *w);
	w->text = memory(bytes, 1);
	w->device = memory(bytes, 1);
	w->models = npu_beside();
	w->options.models = w->models;
	strcpy(w->text, part ? part : "");
	for (word = w->text; *word; word = end) {
		end = word + strcspn(word, ",");
		if (*end)
			*end++ = 0;
		npu_word(w, word);
	}
	w->options.device = w->device[0] ? w->device : NULL;
	w->options.properties = w->properties;
}

static int
npu_open(void **context, const char *part, const void *weights, size_t bytes, int check, int n_ctx,
	 int n_batch)
{
	NpuWords w;
	@name@_npu *m = NULL;
	int e;

	(void)weights, (void)bytes, (void)n_batch;
	npu_words(&w, part);
	w.options.check_weights = check;
	e = @name@_npu_init(&m, n_ctx, &w.options);
	*context = m;
	free(w.models);
	free(w.device);
	free(w.text);
	return e;
}

static void
npu_close(void *context)
{
	@name@_npu_free(context);
}

static int
npu_eval(void *context, const int32_t *ids, int n, float *logits, int all)
{
	return @name@_npu_eval(context, ids, n, logits, all);
}

static int
npu_truncate(void *context, int n_past)
{
	return @name@_npu_truncate(context, n_past);
}

static int
npu_n_past(const void *context)
{
	return @name@_npu_n_past(context);
}

static size_t
npu_state_size(const void *context)
{
	return @name@_npu_state_size(context);
}

static int
npu_state_save(void *context, void *state, size_t bytes)
{
	return @name@_npu_state_save(context, state, bytes);
}

static int
npu_state_load(void *context, const void *state, size_t bytes)
{
	return @name@_npu_state_load(context, state, bytes);
}

static const char *
npu_describe(const void *context)
{
	return @name@_npu_device(context);
}

static const char *
npu_log(const void *context)
{
	return context ? @name@_npu_log(context) : "";
}

static int
npu_environment(int error)
{
	return error >= @name@_NPU_ERROR_OPENVINO;
}

static const Device device_npu = {"npu",
				  npu_open,
				  npu_close,
				  npu_eval,
				  NULL,
				  npu_truncate,
				  npu_n_past,
				  npu_state_size,
				  npu_state_save,
				  npu_state_load,
				  npu_describe,
				  npu_log,
				  @name@_npu_strerror,
				  npu_environment,
				  0,
				  @name@_npu_positions};
