/* A lathe without LLVM 22, its clang or SPIRV-Tools: the target says what is missing. */
#include "arc.h"

const char *
arc_missing(void)
{
	return LATHE_ARC_MISSING;
}

bool
arc_libclc(void)
{
	return false;
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

bool
arc_check(Arena *a, const char *name, ArcBinary m, Math math)
{
	(void)a, (void)m, (void)math;
	BUG("no validator for the module %s", name);
}

Text *
arc_disassembly(Arena *a, ArcBinary m)
{
	(void)a, (void)m;
	BUG("no disassembler");
}
