/* `lathe targets`: the generations of the NPU; `lathe devices`: the OpenVINO of this machine. */
#include "npu.h"
#include "templates/npu/openvino.h"

enum { WORDS_MAX = 2048, MOST = 32 };

static const char *const machines[NPU_PLATFORMS] = {
#define NPU_PLATFORM(e, name, what) [e] = what,
#include "platforms.def"
};

void
npu_list(Text *t, int seconds)
{
	(void)seconds;
	text_printf(t, "           --npu-platform:");
	for (int i = 0; i < NPU_PLATFORMS; i++)
		text_printf(t, "%s %s (%s)", i ? "," : "", npu_platform_names[i], machines[i]);
	text_printf(t, "\n");
}

/* What OpenVINO says of one of its devices. */
typedef struct Found {
	char name[OPENVINO_TEXT], full[OPENVINO_TEXT], architecture[OPENVINO_TEXT];
} Found;

typedef struct Machine {
	OpenVino ov;
	char absent[WORDS_MAX];	  /* why there is no OpenVINO, or empty */
	char compiler[WORDS_MAX]; /* why it cannot compile for an NPU, or empty */
	Found devices[MOST];
	int n;
} Machine;

static void
ask(Machine *m, ov_core_t *core)
{
	const OpenVino *ov = &m->ov;
	ov_available_devices_t d = {NULL, 0};
	int code = ov->core_get_available_devices(core, &d);
	for (size_t i = 0; !code && i < d.size && m->n < MOST; i++) {
		Found *f = &m->devices[m->n++];
		snprintf(f->name, sizeof f->name, "%s", d.devices[i]);
		openvino_property(ov, core, f->name, "FULL_DEVICE_NAME", f->full, sizeof f->full);
		openvino_property(ov, core, f->name, "DEVICE_ARCHITECTURE", f->architecture,
				  sizeof f->architecture);
	}
	if (!code)
		ov->available_devices_free(&d);
	code = ov->core_set_property(core, "NPU", "NPU_COMPILER_TYPE", "PLUGIN");
	if (!code)
		code = ov->core_set_property(core, "NPU", "NPU_PLATFORM", npu_platform_names[0]);
	if (code)
		openvino_why(ov, code, m->compiler, sizeof m->compiler);
}

static Machine *
look(Arena *a)
{
	Machine *m = ARENA_NEW(a, Machine);
	ov_core_t *core = NULL;
	if (openvino_open(&m->ov, NULL, m->absent, sizeof m->absent))
		return m;
	const int code = m->ov.core_create(&core);
	if (code) {
		openvino_why(&m->ov, code, m->absent, sizeof m->absent);
		return m;
	}
	ask(m, core);
	m->ov.core_free(core);
	return m;
}

static void
put(Text *t, const char *key, const char *value, const char *behind)
{
	text_printf(t, "\"%s\": ", key);
	text_json_string(t, value, strlen(value));
	text_printf(t, "%s", behind);
}

static void
print_json(Text *t, const Machine *m)
{
	text_printf(t, "{\"npu\": {");
	put(t, "failure", m->absent, ", ");
	put(t, "openvino", m->ov.version, ", ");
	put(t, "library", m->absent[0] ? "" : m->ov.library, ", ");
	put(t, "compiler_failure", m->compiler, ", \"devices\": [");
	for (int i = 0; i < m->n; i++) {
		text_printf(t, "%s{", i ? ", " : "");
		put(t, "name", m->devices[i].name, ", ");
		put(t, "full_name", m->devices[i].full, ", ");
		put(t, "architecture", m->devices[i].architecture, "}");
	}
	text_printf(t, "]}}\n");
}

void
npu_machines(Text *t, bool json, int seconds)
{
	const Machine *m = look(t->arena);
	(void)seconds;
	if (json) {
		print_json(t, m);
		return;
	}
	if (m->absent[0]) {
		text_printf(t, "no OpenVINO: %s\n", m->absent);
		return;
	}
	text_printf(t, "OpenVINO %s (%s)\n", m->ov.version, m->ov.library);
	for (int i = 0; i < m->n; i++)
		text_printf(t, "  %s: %s, %s\n", m->devices[i].name, m->devices[i].full,
			    m->devices[i].architecture);
	text_printf(t, "  compiled models for the NPU (--npu-blob auto): %s%s\n",
		    m->compiler[0] ? "no: " : "yes", m->compiler);
}
