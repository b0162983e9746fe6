/* A lathe without LLVM 22, its clang or SPIRV-Tools: the target says what is missing. */
#include "arc.h"

const char *
arc_missing(void)
{
	return LATHE_ARC_MISSING;
}

void
arc_load(void)
{
}

ArcBinary
arc_module(Arena *a, const ArcProgram *p, ArcFamily family)
{
	(void)a, (void)p;
	BUG("no generator for the module %s", arc_families[family]);
}

void
arc_check(const char *name, ArcBinary m)
{
	(void)m;
	BUG("no validator for the module %s", name);
}
