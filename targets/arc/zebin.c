/*
 * Reads a zebin. Instructions of Xe are 16 bytes, 8 where bit 29 is set; the low 7 bits are the
 * operation. .ze_info is YAML of which only the lines of single keys below `kernels:` matter.
 */
#include "zebin.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

enum { OP_ILLEGAL = 0x00, OP_SEND = 0x31, OP_SENDC = 0x32, OP_DP4A = 0x58, OP_DPAS = 0x59 };
enum { OP_NOP = 0x60, OPERATIONS = 128, COMPACT = 32 };
/* Of a DPAS: the byte with its operands' widths, 0 for 8 bits, 1 for 4, 2 for 2. */
enum { WIDTHS = 10, WEIGHTS_WIDTH = 0xc0, ACTIVATIONS_WIDTH = 0x30 };
enum { HEADER_BYTES = 64, SECTION_BYTES = 64, WORD_MAX = 128 };

typedef struct File {
	const uint8_t *data;
	size_t size;
	uint64_t sections, names; /* the table, and where names begin */
	uint64_t n, names_size;
} File;

typedef struct Section {
	const char *name;
	const uint8_t *data;
	uint64_t size;
} Section;

static bool
inside(const File *f, uint64_t at, uint64_t size)
{
	return at <= f->size && size <= f->size - at;
}

static const char *
open_file(File *f)
{
	static const uint8_t magic[] = {0x7f, 'E', 'L', 'F', 2, 1};
	if (f->size < HEADER_BYTES || memcmp(f->data, magic, sizeof magic))
		return "it is no ELF file of 64 bits";
	f->sections = little_endian(f->data + 0x28, 8);
	f->n = little_endian(f->data + 0x3c, 2);
	const uint64_t index = little_endian(f->data + 0x3e, 2);
	if (little_endian(f->data + 0x3a, 2) != SECTION_BYTES ||
	    !inside(f, f->sections, f->n * SECTION_BYTES))
		return "its table of sections is not inside the file";
	if (index >= f->n)
		return "its sections have no names";
	f->names = little_endian(f->data + f->sections + index * SECTION_BYTES + 0x18, 8);
	f->names_size = little_endian(f->data + f->sections + index * SECTION_BYTES + 0x20, 8);
	return inside(f, f->names, f->names_size) ? NULL : "names are not inside the file";
}

/* Section i < n; what is wrong with it, or null. */
static const char *
section(const File *f, uint64_t i, Section *s)
{
	enum { NOBITS = 8 };
	const uint64_t at = f->sections + i * SECTION_BYTES, name = little_endian(f->data + at, 4);
	const uint64_t offset = little_endian(f->data + at + 0x18, 8),
		       size = little_endian(f->data + at + 0x20, 8);
	if (name >= f->names_size ||
	    !memchr(f->data + f->names + name, 0, (size_t)(f->names_size - name)))
		return "the name of a section is not among the names";
	*s = (Section){(const char *)f->data + f->names + name, f->data, 0};
	if (little_endian(f->data + at + 4, 4) == NOBITS)
		return NULL;
	if (!inside(f, offset, size))
		return "a section is not inside the file";
	s->data = f->data + offset;
	s->size = size;
	return NULL;
}

static void
count_operations(Section s, ZebinKernel *k)
{
	int count[OPERATIONS] = {0}, narrow = 0;
	for (uint64_t i = 0; i < s.size && s.size - i >= 8;) {
		const int operation = s.data[i] & (OPERATIONS - 1);
		const int widths =
			operation == OP_DPAS && s.size - i > WIDTHS ? s.data[i + WIDTHS] : 0;
		count[operation]++;
		narrow += widths & WEIGHTS_WIDTH && widths & ACTIVATIONS_WIDTH;
		i += s.data[i + 3] & COMPACT ? 8 : 16;
	}
	k->dpas_narrow = narrow;
	k->instructions = 0;
	for (int i = OP_ILLEGAL + 1; i < OPERATIONS; i++)
		k->instructions += i == OP_NOP ? 0 : count[i];
	k->sends = count[OP_SEND] + count[OP_SENDC];
	k->dp4a = count[OP_DP4A];
	k->dpas = count[OP_DPAS];
}

/* The value of "key: value", which may be an item of a list. */
static bool
line_value(const char *line, const char *key, char value[WORD_MAX])
{
	const char *s = line + strspn(line, " -");
	const size_t n = strlen(key);
	if (strncmp(s, key, n) || s[n] != ':')
		return false;
	s += n + 1 + strspn(s + n + 1, " '\"");
	size_t length = strcspn(s, " '\"\r");
	if (length > WORD_MAX - 1)
		length = WORD_MAX - 1;
	memcpy(value, s, length);
	value[length] = 0;
	return true;
}

/* Zero where the value is none; huge numbers stay huge. */
static bool
line_number(const char *line, const char *key, long *n)
{
	char value[WORD_MAX];
	if (!line_value(line, key, value))
		return false;
	*n = strtol(value, NULL, 10);
	return true;
}

static void
add_bytes(long *sum, long n)
{
	*sum = n > 0 && n > LONG_MAX - *sum ? LONG_MAX : *sum + (n > 0 ? n : 0);
}

static ZebinKernel *
add_kernel(Arena *a, Zebin *z, const char *name)
{
	if (z->n == z->room) {
		const int room = z->room ? 2 * z->room : 64;
		ZebinKernel *more = ARENA_ARRAY(a, ZebinKernel, (size_t)room);
		if (z->n)
			memcpy(more, z->kernels, sizeof *more * (size_t)z->n);
		z->kernels = more;
		z->room = room;
	}
	z->kernels[z->n] = (ZebinKernel){.name = arena_strndup(a, name, strlen(name))};
	return &z->kernels[z->n++];
}

/* A buffer that is an item of a kernel's per_thread_memory_buffers. */
typedef struct Buffer {
	char type[WORD_MAX], usage[WORD_MAX];
} Buffer;

/* Newer compilers say spill_size; older ones have a buffer of scratch, or of private space. */
static void
read_line(const char *line, ZebinKernel *k, Buffer *b)
{
	long n = 0;
	if (line[strspn(line, " ")] == '-')
		*b = (Buffer){.type = ""};
	if (line_value(line, "type", b->type) || line_value(line, "usage", b->usage))
		return;
	if (line_number(line, "simd_size", &k->simd) ||
	    line_number(line, "grf_count", &k->registers))
		return;
	if (line_number(line, "spill_size", &n))
		add_bytes(&k->scratch, n);
	else if (line_number(line, "private_size", &n))
		add_bytes(&k->private_bytes, n);
	else if (b->usage[0] && line_number(line, "size", &n))
		add_bytes(!strcmp(b->type, "scratch") ? &k->scratch : &k->private_bytes,
			  !strcmp(b->type, "scratch") || !strcmp(b->usage, "private_space") ? n
											    : 0);
}

static void
read_info(Arena *a, Section info, Zebin *z)
{
	char *s = arena_strndup(a, (const char *)info.data, (size_t)info.size);
	char name[WORD_MAX], *line = s;
	bool inside_kernels = false;
	ZebinKernel *k = NULL;
	Buffer b = {.type = ""};
	for (bool last = false; !last; line += strlen(line) + !last) {
		char *end = line + strcspn(line, "\n");
		last = !*end;
		*end = 0;
		if (line[0] && line[0] != ' ') {
			inside_kernels = !strncmp(line, "kernels:", 8);
			k = NULL;
		} else if (inside_kernels && !strncmp(line, "  - ", 4)) {
			k = line_value(line, "name", name) ? add_kernel(a, z, name) : NULL;
		} else if (k) {
			read_line(line, k, &b);
		}
	}
}

static ZebinKernel *
kernel_of(const Zebin *z, const char *name)
{
	for (int i = 0; i < z->n; i++)
		if (!strcmp(z->kernels[i].name, name))
			return &z->kernels[i];
	return NULL;
}

const char *
zebin_read(Arena *a, const void *data, size_t size, Zebin *z)
{
	static const char text[] = ".text.";
	File f = {.data = data, .size = size};
	Section s;
	*z = (Zebin){.n = 0};
	const char *wrong = open_file(&f);
	for (uint64_t i = 0; !wrong && i < f.n; i++) {
		wrong = section(&f, i, &s);
		if (!wrong && !strcmp(s.name, ".ze_info") && !z->n)
			read_info(a, s, z);
	}
	for (uint64_t i = 0; !wrong && i < f.n; i++) {
		wrong = section(&f, i, &s);
		if (wrong || strncmp(s.name, text, sizeof text - 1))
			continue;
		ZebinKernel *k = kernel_of(z, s.name + sizeof text - 1);
		if (k)
			count_operations(s, k);
	}
	return wrong;
}

const ZebinKernel *
zebin_kernel(const Zebin *z, const char *name)
{
	const ZebinKernel *k = kernel_of(z, name);
	return k && k->instructions ? k : NULL;
}
