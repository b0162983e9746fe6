# cmake -D OUTPUT=FILE -D INPUTS=A;B... -P embed.cmake: a C file that holds the inputs' bytes in a table
# sorted by file name, and template_text() of target.h over it.
set(names)
foreach(input IN LISTS INPUTS)
	cmake_path(GET input FILENAME name)
	list(APPEND names ${name})
	set(path_${name} ${input})
endforeach()
list(SORT names)

set(texts "")
set(rows "")
foreach(name IN LISTS names)
	file(READ ${path_${name}} bytes HEX)
	string(LENGTH "${bytes}" size)
	math(EXPR size "${size} / 2")
	string(REGEX REPLACE "(................................)" "\\1\n\t" bytes "${bytes}")
	string(REGEX REPLACE "([0-9a-f][0-9a-f])" "0x\\1," bytes "${bytes}")
	string(MAKE_C_IDENTIFIER ${name} id)
	string(APPEND texts "static const unsigned char text_${id}[] = {\n\t${bytes}0\n};\n")
	string(APPEND rows "\t{\"${name}\", text_${id}, ${size}},\n")
endforeach()

file(WRITE ${OUTPUT}.new "#include \"targets/target.h\"

#include <stddef.h>
#include <string.h>

${texts}
static const struct {
	const char *name;
	const unsigned char *text;
	size_t size;
} texts[] = {
${rows}};

const char *
template_text(const char *name, size_t *size)
{
	for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
		if (strcmp(texts[i].name, name) == 0) {
			if (size)
				*size = texts[i].size;
			return (const char *)texts[i].text;
		}
	}
	return NULL;
}
")
file(RENAME ${OUTPUT}.new ${OUTPUT})
