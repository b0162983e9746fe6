/*
 * Compiles a model for an NPU that is not there, with the compiler of OpenVINO's Windows wheel:
 *
 *     wine compile.exe LIBRARY XML BIN PLATFORM BLOB
 *
 * LIBRARY is openvino_c.dll with its folder, beside which it finds its own. Prints the compile's
 * seconds; status 1 with OpenVINO's message where the model is refused, 2 where the machine fails.
 */
#include <windows.h>

#include <stdio.h>

/* openvino/c: the functions that are needed, and their enums as int. */
typedef int (*CreateFn)(void **core);
typedef int (*ReadFn)(const void *core, const char *xml, const char *bin, void **model);
/* count: of the strings behind it, keys and values. */
typedef int (*CompileFn)(const void *core, const void *model, const char *device, size_t count,
			 void **compiled, ...);
typedef int (*ExportFn)(const void *compiled, const char *path);
typedef const char *(*MessageFn)(void);

static FARPROC
symbol(HMODULE library, const char *name)
{
	FARPROC p = GetProcAddress(library, name);
	if (!p) {
		fprintf(stderr, "no %s\n", name);
		ExitProcess(2);
	}
	return p;
}

static int
refused(HMODULE library, const char *what)
{
	const MessageFn message = (MessageFn)(void *)symbol(library, "ov_get_last_err_msg");
	const char *words = message();
	printf("%s: %s\n", what, words ? words : "no message");
	return 1;
}

int
main(int argc, char **argv)
{
	void *core, *model, *compiled;
	if (argc != 6)
		return 2;
	HMODULE library = LoadLibraryExA(argv[1], NULL, LOAD_WITH_ALTERED_SEARCH_PATH);
	if (!library) {
		fprintf(stderr, "%s: error %lu\n", argv[1], GetLastError());
		return 2;
	}
	const CreateFn create = (CreateFn)(void *)symbol(library, "ov_core_create");
	const ReadFn read = (ReadFn)(void *)symbol(library, "ov_core_read_model");
	const CompileFn compile = (CompileFn)(void *)symbol(library, "ov_core_compile_model");
	const ExportFn export = (ExportFn)(void *)symbol(library, "ov_compiled_model_export_model");
	if (create(&core))
		return refused(library, "core");
	if (read(core, argv[2], argv[3], &model))
		return refused(library, "read");
	const ULONGLONG start = GetTickCount64();
	if (compile(core, model, "NPU", 4, &compiled, "NPU_PLATFORM", argv[4], "NPU_COMPILER_TYPE",
		    "PLUGIN"))
		return refused(library, "compile");
	const double seconds = (double)(GetTickCount64() - start) / 1000.0;
	if (export(compiled, argv[5]))
		return refused(library, "export");
	printf("%.1f\n", seconds);
	return 0;
}
