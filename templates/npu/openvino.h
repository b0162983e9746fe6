/*
 * OpenVINO as far as a host needs it, by its C interface of 2026: types, constants and functions,
 * which are looked up in libopenvino_c.so at run time. So neither headers nor a library are needed
 * to build, and a program starts where there is none.
 */
#ifndef LATHE_OPENVINO_H
#define LATHE_OPENVINO_H

#include <dirent.h>
#include <dlfcn.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#ifndef LATHE_OPENVINO_TYPES /* defined: OpenVINO's headers are here */
typedef struct ov_core ov_core_t;
typedef struct ov_model ov_model_t;
typedef struct ov_compiled_model ov_compiled_model_t;
typedef struct ov_infer_request ov_infer_request_t;
typedef struct ov_tensor ov_tensor_t;
typedef struct ov_output_const_port ov_output_const_port_t;
typedef int ov_status_e;       /* 0: success */
typedef int ov_element_type_e; /* its numbers are those of the major version */

typedef struct ov_version {
	const char *buildNumber, *description;
} ov_version_t;

typedef struct {
	int64_t rank;
	int64_t *dims;
} ov_shape_t;

typedef struct {
	char **devices;
	size_t size;
} ov_available_devices_t;
#endif

enum { OPENVINO_MAJOR = 2026, OPENVINO_F32 = 4, OPENVINO_I64 = 10, OPENVINO_RANK = 8 };
enum { OPENVINO_TEXT = 512, OPENVINO_PATH = 4096 };

/* X(name without ov, result, parameters). Properties are set one by one on a core: what compiles
 * or imports with properties has a variable number of arguments, or is not in each release. */
#define OPENVINO_FUNCTIONS(X)                                                                     \
	X(get_openvino_version, ov_status_e, (ov_version_t *))                                    \
	X(version_free, void, (ov_version_t *))                                                   \
	X(get_error_info, const char *, (ov_status_e))                                            \
	X(get_last_err_msg, const char *, (void))                                                 \
	X(free, void, (const char *))                                                             \
	X(core_create, ov_status_e, (ov_core_t **))                                               \
	X(core_free, void, (ov_core_t *))                                                         \
	X(core_get_available_devices, ov_status_e, (const ov_core_t *, ov_available_devices_t *)) \
	X(available_devices_free, void, (ov_available_devices_t *))                               \
	X(core_set_property, ov_status_e, (const ov_core_t *, const char *, ...))                 \
	X(core_get_property, ov_status_e,                                                         \
	  (const ov_core_t *, const char *, const char *, char **))                               \
	X(core_read_model, ov_status_e,                                                           \
	  (const ov_core_t *, const char *, const char *, ov_model_t **))                         \
	X(model_free, void, (ov_model_t *))                                                       \
	X(core_compile_model, ov_status_e,                                                        \
	  (const ov_core_t *, const ov_model_t *, const char *, size_t, ov_compiled_model_t **,   \
	   ...))                                                                                  \
	X(core_import_model, ov_status_e,                                                         \
	  (const ov_core_t *, const char *, size_t, const char *, ov_compiled_model_t **))        \
	X(compiled_model_export_model, ov_status_e, (const ov_compiled_model_t *, const char *))  \
	X(compiled_model_inputs_size, ov_status_e, (const ov_compiled_model_t *, size_t *))       \
	X(compiled_model_outputs_size, ov_status_e, (const ov_compiled_model_t *, size_t *))      \
	X(compiled_model_input_by_name, ov_status_e,                                              \
	  (const ov_compiled_model_t *, const char *, ov_output_const_port_t **))                 \
	X(compiled_model_output_by_name, ov_status_e,                                             \
	  (const ov_compiled_model_t *, const char *, ov_output_const_port_t **))                 \
	X(compiled_model_create_infer_request, ov_status_e,                                       \
	  (const ov_compiled_model_t *, ov_infer_request_t **))                                   \
	X(compiled_model_free, void, (ov_compiled_model_t *))                                     \
	X(const_port_get_shape, ov_status_e, (const ov_output_const_port_t *, ov_shape_t *))      \
	X(port_get_element_type, ov_status_e,                                                     \
	  (const ov_output_const_port_t *, ov_element_type_e *))                                  \
	X(output_const_port_free, void, (ov_output_const_port_t *))                               \
	X(shape_free, ov_status_e, (ov_shape_t *))                                                \
	X(infer_request_set_tensor, ov_status_e,                                                  \
	  (ov_infer_request_t *, const char *, const ov_tensor_t *))                              \
	X(infer_request_infer, ov_status_e, (ov_infer_request_t *))                               \
	X(infer_request_free, void, (ov_infer_request_t *))                                       \
	X(tensor_create_from_host_ptr, ov_status_e,                                               \
	  (ov_element_type_e, ov_shape_t, void *, ov_tensor_t **))                                \
	X(tensor_free, void, (ov_tensor_t *))

typedef struct OpenVino {
#define OPENVINO_MEMBER(name, result, parameters) result(*name) parameters;
	OPENVINO_FUNCTIONS(OPENVINO_MEMBER)
#undef OPENVINO_MEMBER
	char library[OPENVINO_PATH]; /* its path, or the name by which the loader found it */
	char version[OPENVINO_TEXT]; /* "2026.4.1-22982-e213a147257" */
} OpenVino;

#define OPENVINO_INSTALL                                                                     \
	"install OpenVINO 2026 (PyPI: openvino; its folder has libs/libopenvino_c.so.*) or " \
	"name its folder or library"

/* ---- where it is -------------------------------------------------------------------------- */

/* libopenvino_c.so, or the last by name of those with a version behind it, of a folder into `path`;
 * returns whether there is one. */
static int
openvino_in_folder(const char *folder, char *path, size_t room)
{
	static const char stem[] = "libopenvino_c.so";
	char best[256] = "";
	DIR *d = opendir(folder);
	const struct dirent *e;
	int n;
	if (!d)
		return 0;
	while ((e = readdir(d)) != NULL) {
		const char *tail = e->d_name + sizeof stem - 1;
		if (strncmp(e->d_name, stem, sizeof stem - 1) != 0 || (tail[0] && tail[0] != '.'))
			continue;
		if (strlen(e->d_name) < sizeof best && (!best[0] || strcmp(e->d_name, best) > 0))
			strcpy(best, e->d_name);
	}
	closedir(d);
	n = snprintf(path, room, "%s/%s", folder, best);
	return best[0] && n > 0 && (size_t)n < room;
}

/* The library of an installation, however it came: a file, a folder that holds it, a wheel's, an
 * archive's. Returns whether there is one. */
static int
openvino_find(const char *where, char *path, size_t room)
{
	static const char *const below[] = {"", "/libs", "/lib", "/openvino/libs",
					    "/runtime/lib/intel64"};
	char folder[OPENVINO_PATH];
	struct stat st;
	if (stat(where, &st))
		return 0;
	if (!S_ISDIR(st.st_mode))
		return (size_t)snprintf(path, room, "%s", where) < room;
	for (size_t i = 0; i < sizeof below / sizeof *below; i++)
		if ((size_t)snprintf(folder, sizeof folder, "%s%s", where, below[i]) <
			    sizeof folder &&
		    openvino_in_folder(folder, path, room))
			return 1;
	return 0;
}

/* Looks for the library: where it is said to be (null: not said), else where the environment says,
 * else by the loader's names and in the folders of systems. null with the reason. */
static void *
openvino_load(OpenVino *ov, const char *where, char *reason, size_t room)
{
	static const char *const variables[] = {"LATHE_OPENVINO", "INTEL_OPENVINO_DIR"};
	static const char *const folders[] = {"/opt/intel/openvino/runtime/lib/intel64",
					      "/usr/lib/x86_64-linux-gnu", "/usr/lib64",
					      "/usr/local/lib"};
	static const char plain[] = "libopenvino_c.so";
	const char *from = "", *why;
	void *library;
	for (size_t i = 0; i < sizeof variables / sizeof *variables && !where; i++) {
		where = getenv(variables[i]);
		where = where && where[0] ? where : NULL;
		from = where ? variables[i] : "";
	}
	if (where && !openvino_find(where, ov->library, sizeof ov->library)) {
		snprintf(reason, room, "no libopenvino_c.so in %.1000s%s%s: " OPENVINO_INSTALL,
			 where, from[0] ? ", that is " : "", from);
		return NULL;
	}
	if (!where)
		strcpy(ov->library, plain);
	library = dlopen(ov->library, RTLD_NOW | RTLD_LOCAL);
	for (size_t i = 0; i < sizeof folders / sizeof *folders && !library && !where; i++)
		if (openvino_in_folder(folders[i], ov->library, sizeof ov->library))
			library = dlopen(ov->library, RTLD_NOW | RTLD_LOCAL);
	why = library ? NULL : dlerror();
	if (!library)
		snprintf(reason, room, "%.1000s: " OPENVINO_INSTALL, why ? why : ov->library);
	return library;
}

/* ---- what it says ------------------------------------------------------------------------- */

/*
 * The words of the last error on one line: OpenVINO's own without the places in its sources, or of
 * the status where it has none.
 */
static inline void
openvino_why(const OpenVino *ov, ov_status_e status, char *to, size_t room)
{
	static const char place[] = "Exception from ";
	const char *words = ov->get_last_err_msg(), *end;
	size_t n = 0;
	if (!words || !words[0])
		words = ov->get_error_info(status);
	if (!words || !words[0])
		words = "it gives no reason";
	while (*words && n + 1 < room) {
		end = strncmp(words, place, sizeof place - 1) ? NULL : strstr(words, ":");
		end = end ? end + 1 + strspn(end + 1, "0123456789") : NULL;
		if (end && *end == ':') {
			words = end + 1 + strspn(end + 1, " \n");
			continue;
		}
		to[n++] = *words == '\n' ? ' ' : *words;
		words++;
	}
	while (n && to[n - 1] == ' ')
		n--;
	to[n] = 0;
}

/* Looks the functions up and the version; 0, or 1 with the reason. The library stays: plugins have
 * threads. */
static int
openvino_open(OpenVino *ov, const char *where, char *reason, size_t room)
{
	static const struct {
		const char *name;
		size_t at;
	} functions[] = {
#define OPENVINO_ROW(name, result, parameters) {"ov_" #name, offsetof(OpenVino, name)},
		OPENVINO_FUNCTIONS(OPENVINO_ROW)
#undef OPENVINO_ROW
	};
	ov_version_t version = {NULL, NULL};
	void *library = openvino_load(ov, where, reason, room);
	ov_status_e status;
	if (!library)
		return 1;
	for (size_t i = 0; i < sizeof functions / sizeof *functions; i++) {
		void *f = dlsym(library, functions[i].name);
		if (!f) {
			snprintf(reason, room, "%.1000s has no %s: it is not OpenVINO's of %d",
				 ov->library, functions[i].name, OPENVINO_MAJOR);
			return 1;
		}
		memcpy((char *)ov + functions[i].at, &f, sizeof f);
	}
	status = ov->get_openvino_version(&version);
	if (status) {
		openvino_why(ov, status, reason, room);
		return 1;
	}
	snprintf(ov->version, sizeof ov->version, "%s",
		 version.buildNumber ? version.buildNumber : "");
	ov->version_free(&version);
	if (strtol(ov->version, NULL, 10) == OPENVINO_MAJOR)
		return 0;
	snprintf(reason, room, "%.1000s is OpenVINO %s, and this program knows %d alone",
		 ov->library, ov->version, OPENVINO_MAJOR);
	return 1;
}

/* Whether words of an error are about memory. */
static inline int
openvino_no_memory(const char *words)
{
	return strstr(words, "bad_alloc") || strstr(words, "OUT_OF_DEVICE_MEMORY") ||
	       strstr(words, "OUT_OF_HOST_MEMORY") || strstr(words, "out of memory") ||
	       strstr(words, "Can not allocate") || strstr(words, "Cannot allocate memory");
}

/* A property of a device as text, "" where it has none; returns whether it has one. */
static inline int
openvino_property(const OpenVino *ov, const ov_core_t *core, const char *device, const char *key,
		  char *to, size_t room)
{
	char *value = NULL;
	to[0] = 0;
	if (ov->core_get_property(core, device, key, &value) || !value)
		return 0;
	snprintf(to, room, "%s", value);
	ov->free(value);
	return 1;
}

/* ---- compiled models ---------------------------------------------------------------------- */

/* Of bytes, for files of ours: not against a forger. A file in pieces: each but the last of whole
 * words, h of the one before, first OPENVINO_DIGEST. */
#define OPENVINO_DIGEST UINT64_C(0xcbf29ce484222325)
static inline uint64_t
openvino_digest(uint64_t h, const void *bytes, size_t n)
{
	const unsigned char *p = bytes;
	uint64_t w;
	size_t i;
	for (i = 0; i < n; i += sizeof w) {
		w = 0;
		memcpy(&w, p + i, n - i < sizeof w ? n - i : sizeof w);
		h = (h ^ w) * UINT64_C(0x9e3779b97f4a7c15);
		h ^= h >> 32;
	}
	return h;
}

/*
 * What a compiled model is of, in lines; the file beside a blob has these and openvino_seal's.
 * properties: " KEY=VALUE ..." or empty; model: the digest of its XML.
 */
static inline void
openvino_key(char *to, size_t room, const char *version, const char *device, const char *platform,
	     const char *properties, uint64_t model)
{
	snprintf(to, room, "openvino %s\ndevice %s\nplatform %s\nproperties%s\nmodel %016llx\n",
		 version, device, platform, properties, (unsigned long long)model);
}

static inline void
openvino_seal(char *to, size_t room, const void *blob, size_t bytes)
{
	snprintf(to, room, "blob %016llx %llu\n",
		 (unsigned long long)openvino_digest(OPENVINO_DIGEST, blob, bytes),
		 (unsigned long long)bytes);
}

/* "FOLDER/MODEL.PLATFORM", which .blob and .key follow; returns whether it has room. */
static inline int
openvino_blob_name(char *to, size_t room, const char *folder, const char *model,
		   const char *platform)
{
	int n = snprintf(to, room, "%s/%s.", folder, model);
	if (n < 0 || (size_t)n + strlen(platform) + 8 > room)
		return 0;
	for (; *platform; platform++)
		to[n++] = (char)((*platform >= '0' && *platform <= '9') ||
						 (*platform >= 'a' && *platform <= 'z') ||
						 (*platform >= 'A' && *platform <= 'Z') ||
						 *platform == '.'
					 ? *platform
					 : '_');
	to[n] = 0;
	return 1;
}

#endif
