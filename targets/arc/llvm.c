/* libLLVM by its dynamic loader. */
#include "llvm.h"

#include "../../ir/support.h"

#include <dlfcn.h>
#include <string.h>

/* The library's name in builds of the older scheme, and in LLVM's own builds and Debian's: messages
 * are about the last. */
static const char *const libraries[] = {"libLLVM-22.so.1", "libLLVM.so.22.1"};

static const struct {
	const char *name;
	size_t at;
} functions[] = {
#define LLVM_FUNCTION(name) {"LLVM" #name, offsetof(Llvm, name)},
#include "llvm.def"
};

Llvm
llvm_load(void)
{
	Llvm l;
	void *library = NULL;
	for (size_t i = 0; i < sizeof libraries / sizeof *libraries && !library; i++)
		library = dlopen(libraries[i], RTLD_NOW | RTLD_LOCAL);
	const char *error = library ? NULL : dlerror();
	if (!library)
		fatal_environment("the target arc needs LLVM 22 (Debian: libllvm22): %s",
				  error ? error : "no reason given");
	for (size_t i = 0; i < sizeof functions / sizeof *functions; i++) {
		void *f = dlsym(library, functions[i].name);
		if (!f)
			fatal_environment("the target arc needs LLVM 22 (Debian: libllvm22): this "
					  "library has no %s",
					  functions[i].name);
		/* POSIX makes a function of an object's pointer; ISO C has no conversion. */
		memcpy((char *)&l + functions[i].at, &f, sizeof f);
	}
	return l;
}
