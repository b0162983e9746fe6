/* Prints the functions of row_transform_cases.def as an artefact has them, for row_transform_isa.c.
 */
#include <stdio.h>

#include "targets/emit.h"

#include "row_transform_cases.h"

int
main(int argc, char **argv)
{
	const Transform *all[TRANSFORM_CASES];
	const char *names[TRANSFORM_CASES];
	Arena *a = arena_new();
	for (int i = 0; i < TRANSFORM_CASES; i++) {
		all[i] = transform_case(a, i);
		names[i] = arena_printf(a, "row_%s", transform_cases[i].name);
	}
	Text *t = text_new(a);
	emit_transforms(t, names, all, TRANSFORM_CASES);
	FILE *f = argc == 2 ? fopen(argv[1], "w") : NULL;
	const bool wrong = !f || fwrite(t->text, 1, t->size, f) != t->size;
	if ((f && fclose(f)) || wrong) {
		fprintf(stderr, "usage: row_transform_print FILE\n");
		return 1;
	}
	arena_free(a);
	return 0;
}
