/* `lathe devices`: the OpenCL devices of this machine and what each lacks, what ocloc knows. */
#include "arc.h"
#include "ocloc.h"
#include "templates/arc/opencl.h"

enum { MOST = 32, LIST_MAX = 512 };

typedef struct Found {
	OpenCl cl;
	OpenClDevice devices[MOST];
	int n, platforms;
	char absent[LIST_MAX]; /* why there is no OpenCL, or empty */
} Found;

static Found *
find(Arena *a)
{
	Found *f = ARENA_ARRAY(a, Found, 1);
	memset(f, 0, sizeof *f);
	if (!opencl_open(&f->cl, f->absent, sizeof f->absent))
		f->n = opencl_devices(&f->cl, f->devices, MOST, &f->platforms);
	return f;
}

static const char *
kind(const OpenClDevice *d)
{
	return d->type & CL_DEVICE_TYPE_GPU   ? "GPU"
	       : d->type & CL_DEVICE_TYPE_CPU ? "CPU"
					      : "other";
}

static const size_t any_sizes[] = {OPENCL_LANES, 0}, dpas_sizes[] = {OPENCL_LANES_DPAS, 0};
/* What any model's kernels want, and those of --arc-gemm=dpas besides; the memory of a work-group
 * depends on the model. */
static const OpenClNeeds any_needs = {OPENCL_LANES, 0, any_sizes};
static const OpenClNeeds dpas_needs = {OPENCL_LANES, 0, dpas_sizes};

static bool
lacks(const OpenClDevice *d, const OpenClNeeds *needs, char list[LIST_MAX])
{
	return opencl_lacks(d, needs, list, LIST_MAX);
}

static void
put_string(Text *t, const char *key, const char *value)
{
	text_printf(t, "\"%s\": ", key);
	text_json_string(t, value, strlen(value));
	text_printf(t, ", ");
}

static void
put_number(Text *t, const char *key, uint64_t value)
{
	text_printf(t, "\"%s\": %llu, ", key, (unsigned long long)value);
}

static void
print_json(Text *t, const Found *f, const char *const *names, int n, const char *failure)
{
	char list[LIST_MAX], dpas[LIST_MAX];
	text_printf(t, "{\"arc\": {");
	put_string(t, "opencl", f->absent);
	put_number(t, "platforms", (uint64_t)f->platforms);
	text_printf(t, "\"devices\": [");
	for (int i = 0; i < f->n; i++) {
		const OpenClDevice *d = &f->devices[i];
		const bool wanting = lacks(d, &any_needs, list);
		const bool dpas_wanting = lacks(d, &dpas_needs, dpas);
		text_printf(t, "%s{", i ? ", " : "");
		put_string(t, "name", d->name);
		put_string(t, "platform", d->platform_name);
		put_string(t, "driver", d->driver);
		put_string(t, "type", kind(d));
		put_string(t, "il", d->il);
		text_printf(t, "\"sub_groups\": [%s], ", d->sizes);
		put_number(t, "memory", d->memory);
		put_number(t, "buffer", d->most);
		put_number(t, "local", d->local);
		put_number(t, "work_group", d->items);
		put_string(t, "lacks", list);
		put_string(t, "dpas_lacks", dpas);
		text_printf(t, "\"usable\": %s, \"dpas_usable\": %s}", wanting ? "false" : "true",
			    wanting || dpas_wanting ? "false" : "true");
	}
	text_printf(t, "], \"ocloc\": {");
	put_string(t, "failure", failure ? failure : "");
	text_printf(t, "\"devices\": [");
	for (int i = 0; i < n; i++)
		text_printf(t, "%s\"%s\"", i ? ", " : "", names[i]);
	text_printf(t, "]}}}\n");
}

static void
print_text(Text *t, const Found *f, const char *const *names, int n, const char *failure)
{
	char list[LIST_MAX];
	if (f->absent[0])
		text_printf(t, "no OpenCL: %s\n", f->absent);
	else if (!f->n)
		text_printf(t, "no OpenCL device (%d platforms): %s\n", f->platforms,
			    OPENCL_INSTALL);
	for (int i = 0; i < f->n; i++) {
		const OpenClDevice *d = &f->devices[i];
		text_printf(t, "%s (%s, %s, driver %s)\n", d->name, kind(d), d->platform_name,
			    d->driver);
		text_printf(t, "  %llu MB, buffers of %llu MB, sub-groups of %s, %s\n",
			    (unsigned long long)(d->memory >> 20),
			    (unsigned long long)(d->most >> 20), d->sizes[0] ? d->sizes : "none",
			    d->il[0] ? d->il : "no SPIR-V");
		if (lacks(d, &any_needs, list))
			text_printf(t, "  cannot run arc kernels: lacks %s\n", list);
		else if (lacks(d, &dpas_needs, list))
			text_printf(t, "  runs arc kernels, but for --arc-gemm=dpas lacks %s\n",
				    list);
		else
			text_printf(t, "  runs arc kernels\n");
	}
	if (failure)
		text_printf(t, "ocloc: %s\n", failure);
	else
		text_printf(t, "ocloc makes binaries for");
	for (int i = 0; i < n; i++)
		text_printf(t, "%s %s", i ? "," : "", names[i]);
	text_printf(t, n ? "\n" : "");
}

void
arc_machines(Text *t, bool json, int seconds)
{
	const Found *f = find(t->arena);
	const char *failure = NULL;
	int n = 0;
	const char *const *names = ocloc_known(t->arena, seconds, &n, &failure);
	(json ? print_json : print_text)(t, f, names, n, failure);
}
